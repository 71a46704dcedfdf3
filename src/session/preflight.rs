//! Every check that can be made before the first write.

mod names;
mod quotas;
mod rights;

use serde::Serialize;

use super::{InstallOptions, Reading, Session, SessionError};

/// One check and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was checked, in a word or two.
    pub name: String,
    pub verdict: Verdict,
    /// What was seen.
    pub seen: String,
    /// What to do when it failed; empty otherwise.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub help: String,
}

/// What came of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Pass,
    /// Install works, but somebody should know.
    Warn,
    Fail,
}

impl Check {
    fn new(name: &str, verdict: Verdict, seen: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            verdict,
            seen: seen.into(),
            help: help.into(),
        }
    }

    fn pass(name: &str, seen: impl Into<String>) -> Self {
        Self::new(name, Verdict::Pass, seen, "")
    }
}

impl Session {
    /// Looks at identity, offerings, DNS, names, permissions, quotas and the plan. Writes nothing.
    pub async fn preflight(&self) -> Result<Vec<Check>, SessionError> {
        let mut checks = vec![Check::pass(
            "identity",
            format!("{} in account {}", self.identity.arn, self.identity.account),
        )];
        let reading = match self.read(&InstallOptions::default()).await {
            Ok(reading) => reading,
            Err(SessionError::Facts(error)) => {
                let help = miette::Diagnostic::help(&error)
                    .map(|h| h.to_string())
                    .unwrap_or_default();
                checks.push(Check::new(
                    "offerings",
                    Verdict::Fail,
                    error.to_string(),
                    help,
                ));
                return Ok(checks);
            }
            Err(SessionError::Contradiction(complaints)) => {
                let help = "change the site file; `gantry plan` says the same".to_owned();
                checks.push(Check::new(
                    "blueprint",
                    Verdict::Fail,
                    complaints.join("; "),
                    help,
                ));
                return Ok(checks);
            }
            Err(other) => return Err(other),
        };
        checks.push(Check::pass(
            "offerings",
            format!(
                "every instance type is offered in {}",
                reading.facts.zones.join(", ")
            ),
        ));
        checks.push(self.dns(&reading));
        checks.push(doubles(&reading));
        checks.push(refusals(&reading));
        checks.push(self.names_free(&reading).await?);
        checks.push(self.rights(&reading).await?);
        checks.extend(self.quotas(&reading).await?);
        Ok(checks)
    }

    fn dns(&self, reading: &Reading) -> Check {
        let zones = &reading.facts.hosted_zones;
        let without: Vec<String> = (self.site.names())
            .filter(|name| reading.facts.zone_of(name).is_none())
            .map(ToString::to_string)
            .collect();
        if without.is_empty() {
            let names: Vec<&str> = zones.iter().map(|zone| zone.name.as_str()).collect();
            let word = if names.len() == 1 { "zone" } else { "zones" };
            return Check::pass(
                "dns",
                format!(
                    "{} is in the hosted {word} {}",
                    self.site.site.domain,
                    names.join(", ")
                ),
            );
        }
        Check::new(
            "dns",
            Verdict::Warn,
            format!(
                "no hosted zone of this account holds {}",
                without.join(", ")
            ),
            "install will print the records to create by hand, and finish in a later run",
        )
    }
}

fn doubles(reading: &Reading) -> Check {
    let doubles = &reading.survey.doubles;
    if doubles.is_empty() {
        return Check::pass("tags", "no two resources carry the same address");
    }
    let names: Vec<_> = doubles.keys().map(ToString::to_string).collect();
    Check::new(
        "tags",
        Verdict::Fail,
        format!("more than one resource is tagged {}", names.join(", ")),
        "remove the tags of the wrong one",
    )
}

fn refusals(reading: &Reading) -> Check {
    let refused = &reading.plan.refused;
    if refused.is_empty() {
        return Check::pass("plan", crate::ui::totals_line(&reading.plan));
    }
    let names: Vec<_> = refused
        .iter()
        .map(|r| format!("{}: {}", r.address, r.why))
        .collect();
    Check::new(
        "plan",
        Verdict::Fail,
        names.join("; "),
        "install refuses this without --replace",
    )
}
