//! What the nodes say about their boots.
//!
//! A node reports by writing an object that only its own role may write; reading them costs one listing for each
//! role and one call for each report, however long the site has stood.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{Delivered, Session, SessionError};
use crate::blueprint::Role;
use crate::boot::{Outcome, Report, report_key, report_name, reports_prefix};
use crate::kinds::autoscaling;
use crate::kinds::ec2::Instance;
use crate::resource::Resource;

/// A node and what it last said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Boot {
    /// `sidekiq-1`; for a machine of the Rails group `rails-i-0abc…`.
    pub name: String,
    pub role: Role,
    pub state: BootState,
}

/// How far a node is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum BootState {
    /// It has said nothing yet: it is starting, or cannot reach the bucket.
    Silent,
    /// It waits for what somebody else brings.
    Waiting { stage: String, detail: String },
    /// Something went wrong; the node tries again by itself.
    Failed { stage: String, detail: String },
    /// It is what an older bundle says, and has not looked since.
    Behind,
    /// It is what its bundle says.
    Ready { version: String },
}

impl BootState {
    /// What a report says about a bundle.
    pub fn of(report: &Report, wanted: &str) -> Self {
        let (stage, detail) = (report.stage.clone(), report.detail.clone());
        match report.outcome {
            Outcome::Waiting => Self::Waiting { stage, detail },
            Outcome::Failed => Self::Failed { stage, detail },
            Outcome::Ready if report.bundle == wanted => Self::Ready {
                version: report.version.clone(),
            },
            Outcome::Ready => Self::Behind,
        }
    }
}

impl std::fmt::Display for BootState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Silent => f.write_str("starting"),
            Self::Waiting { stage, detail } => write!(f, "waiting in {stage}: {detail}"),
            Self::Failed { stage, detail } => write!(f, "failed in {stage}: {detail}"),
            Self::Behind => f.write_str("ready with an older bundle"),
            Self::Ready { version } if version.is_empty() => f.write_str("ready"),
            Self::Ready { version } => write!(f, "ready with {version}"),
        }
    }
}

/// The machines of a role that there are.
enum Living {
    /// The instance of each node, as far as it is known.
    Nodes(BTreeMap<String, String>),
    /// The names of a group's machines.
    Members(BTreeSet<String>),
}

impl Living {
    /// Whether a machine of this name may be there.
    fn may_be(&self, name: &str) -> bool {
        match self {
            Self::Nodes(_) => true,
            Self::Members(names) => names.contains(name),
        }
    }

    /// Whether the machine of this name is this instance.
    fn is(&self, name: &str, instance: &str) -> bool {
        match self {
            Self::Nodes(nodes) => nodes.get(name).is_none_or(|id| id == instance),
            Self::Members(names) => names.contains(name),
        }
    }
}

impl Session {
    /// The reports of a role's living machines, by the name they were written under. One that cannot be read counts as not
    /// written: it comes from a machine, and a machine may write nonsense. One of a machine that is gone counts for
    /// nothing: another has its name by now, or its address.
    pub async fn reports(&self, role: Role) -> Result<Vec<(String, Report)>, SessionError> {
        let bucket = self.names()?.bucket("config");
        let prefix = reports_prefix(role);
        let living = self.living(role).await?;
        let mut keys = Vec::new();
        let mut next = None;
        loop {
            let page = self
                .cx
                .read("s3:ListBucket", || {
                    let list = self.cx.aws().s3.list_objects_v2();
                    list.bucket(&bucket)
                        .prefix(&prefix)
                        .set_continuation_token(next.clone())
                        .send()
                })
                .await?;
            keys.extend(
                page.contents()
                    .iter()
                    .filter_map(|object| Some(object.key()?.to_owned())),
            );
            next = page.next_continuation_token;
            if next.is_none() {
                break;
            }
        }
        let mut reports = Vec::new();
        for key in keys {
            let name = key
                .strip_prefix(&prefix)
                .and_then(|name| name.strip_suffix(".json"))
                .filter(|name| living.may_be(name));
            let Some(name) = name else { continue };
            if let Some(text) = self.object(&bucket, &key).await?
                && let Ok(report) = Report::parse(&text)
                && key == report_key(role, name)
                && living.is(name, &report.instance)
            {
                reports.push((name.to_owned(), report));
            }
        }
        Ok(reports)
    }

    /// Which machines of a role there are: one call for those of the Rails group, none for the others.
    async fn living(&self, role: Role) -> Result<Living, SessionError> {
        if role != Role::Rails {
            let outputs = self.store.state().outputs();
            let nodes = outputs
                .0
                .iter()
                .filter(|(a, _)| *a.kind() == Instance::KIND);
            let known = nodes.filter_map(|(address, output)| {
                let id = output.get("id")?.as_str()?;
                Some((address.name().to_owned(), id.to_owned()))
            });
            return Ok(Living::Nodes(known.collect()));
        }
        let Some(group) = self.rails_group() else {
            return Ok(Living::Nodes(BTreeMap::new()));
        };
        let members = autoscaling::members(&group, &self.cx).await?;
        let names = members.iter().map(|id| report_name(role, "rails", id));
        Ok(Living::Members(names.collect()))
    }

    /// How far each node is with the bundle it was pointed at. Machines of
    /// the Rails group are listed as they report.
    pub async fn boots(&self, bundles: &[Delivered]) -> Result<Vec<Boot>, SessionError> {
        let mut reports = BTreeMap::new();
        for role in bundles.iter().map(|bundle| bundle.role) {
            if let std::collections::btree_map::Entry::Vacant(new) = reports.entry(role) {
                new.insert(self.reports(role).await?);
            }
        }
        let mut boots = Vec::new();
        for bundle in bundles {
            let said = &reports[&bundle.role];
            let state = |report| BootState::of(report, &bundle.bundle);
            if bundle.role == Role::Rails {
                boots.extend(said.iter().map(|(name, report)| Boot {
                    name: name.clone(),
                    role: bundle.role,
                    state: state(report),
                }));
            } else {
                let report = said.iter().find(|(name, _)| *name == bundle.node);
                boots.push(Boot {
                    name: bundle.node.clone(),
                    role: bundle.role,
                    state: report.map_or(BootState::Silent, |(_, report)| state(report)),
                });
            }
        }
        Ok(boots)
    }
}
