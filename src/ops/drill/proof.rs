//! What a drill came to.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::super::OpsFault;
use super::super::point::{Health, PointId};
use super::super::restore::Report;
use crate::cloud::Fault;
use crate::engine::{Outcome, Report as Carried};
use crate::session::SessionError;
use crate::shell::ShellFault;

/// The proof of a drill, as it is kept on the point. Times are in seconds. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    pub point: PointId,
    /// The site that was made for it, and is gone. None when the point was found faulty before.
    pub site: Option<String>,
    pub began: Timestamp,
    /// When the restore and its checks were through; the removal comes after.
    pub ended: Timestamp,
    /// How long the site took to make.
    pub site_seconds: u64,
    /// How long its machines took to come up.
    pub machines_seconds: u64,
    /// From nothing to a GitLab that serves: what a lost site would take. None when it never did.
    pub rto_seconds: Option<u64>,
    /// Whether the point restores, and every check was good.
    pub sound: bool,
    /// What is wrong, a sentence each; empty when it is sound.
    pub findings: Vec<String>,
    /// The report of the restore; none when it did not come to its end.
    pub restore: Option<Report>,
}

impl Proof {
    /// Of a point that a look finds faulty: a restore would refuse it, so no site is made for it.
    pub fn of_faulty(point: &PointId, at: Timestamp, findings: Vec<String>) -> Self {
        Self {
            point: point.clone(),
            site: None,
            began: at,
            ended: at,
            site_seconds: 0,
            machines_seconds: 0,
            rto_seconds: None,
            sound: false,
            findings,
            restore: None,
        }
    }

    pub fn outcome(&self) -> Health {
        if self.sound {
            Health::Sound
        } else {
            Health::Faulty
        }
    }
}

/// What became of the proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Recorded {
    OnThePoint,
    /// The point was being removed by then: nothing is said about it any more.
    Dropped,
}

/// What speaks against the point in a report.
pub fn findings(report: &Report) -> Vec<String> {
    let mut findings = Vec::new();
    for check in report.checks.iter().filter(|check| !check.ok) {
        let found = if check.findings.is_empty() {
            "not good".to_owned()
        } else {
            check.findings.join(", ")
        };
        findings.push(format!("{}: {}: {found}", check.node, check.check));
    }
    let differing = report.compared.differing.iter();
    findings.extend(
        differing.map(|repository| {
            format!("the refs of {repository} are not those that the point names")
        }),
    );
    findings
}

/// What a restore that did not come to its end says about the point; or the fault, when it says nothing: a permission, a
/// quota or a broken line has nothing to do with it. None when nothing failed.
pub fn blame(carried: Carried<OpsFault>) -> Option<Result<Vec<String>, OpsFault>> {
    let failed: Vec<(String, OpsFault)> = carried
        .outcomes
        .into_iter()
        .filter_map(|(stage, _, outcome)| match outcome {
            Outcome::Failed(fault) => Some((stage, fault)),
            _ => None,
        })
        .collect();
    if failed.iter().any(|(_, fault)| is_about_the_point(fault)) {
        let said = failed
            .iter()
            .map(|(stage, fault)| format!("{stage}: {fault}"));
        return Some(Ok(said.collect()));
    }
    failed.into_iter().next().map(|(_, fault)| Err(fault))
}

fn is_about_the_point(fault: &OpsFault) -> bool {
    match fault {
        OpsFault::Cloud(fault) | OpsFault::Session(SessionError::Cloud(fault)) => matches!(
            fault,
            Fault::Gone { .. } | Fault::Rejected { .. } | Fault::Broken { .. }
        ),
        // A command that ran and said no.
        OpsFault::Host(fault) => matches!(
            fault,
            ShellFault::Failed { .. } | ShellFault::Timeout { .. } | ShellFault::Missing { .. }
        ),
        OpsFault::Check { .. } | OpsFault::Refused { .. } => true,
        OpsFault::Session(_) | OpsFault::Ledger(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn carried(faults: Vec<OpsFault>) -> Carried<OpsFault> {
        let of = |(number, fault)| (format!("stage-{number}"), "do", Outcome::Failed(fault));
        Carried {
            outcomes: faults.into_iter().enumerate().map(of).collect(),
        }
    }

    fn denied() -> OpsFault {
        let fault = Fault::Denied {
            call: "rds:CopyDBSnapshot".into(),
            message: "no".into(),
        };
        fault.into()
    }

    #[test]
    fn a_missing_permission_says_nothing_about_the_point() {
        let Some(Err(fault)) = blame(carried(vec![denied()])) else {
            panic!("it is held against the point");
        };
        assert!(fault.to_string().contains("rds:CopyDBSnapshot"), "{fault}");
    }

    #[test]
    fn what_is_not_as_it_should_be_does_with_everything_else_that_failed() {
        let check = OpsFault::check("secrets", "they do not fit", "");
        let Some(Ok(said)) = blame(carried(vec![denied(), check])) else {
            panic!("it is not held against the point");
        };
        assert_eq!(said.len(), 2);
        assert!(said[1].contains("they do not fit"), "{said:?}");
        assert!(blame(carried(vec![])).is_none());
    }
}
