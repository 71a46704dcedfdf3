//! What a plan saves: databases, buckets and disks, each by its ARN, and the role by which AWS Backup does it.
//!
//! A selection carries no tags and cannot be changed. It belongs to the site because its plan does; its address is what
//! the journal remembers, or the end of its name: `gantry-acme-main` is `main`.

use std::collections::BTreeSet;

use aws_sdk_backup::types::{BackupSelection, BackupSelectionsListMember, Conditions};
use serde::{Deserialize, Serialize};

use super::{Plan, plan};
use crate::cloud::Fault;
use crate::kinds::ec2::Volume;
use crate::kinds::iam::Role;
use crate::kinds::rds::DbInstance;
use crate::kinds::s3::Bucket;
use crate::kinds::tagged::{gone_is_fine, partition, text};
use crate::resource::{
    Address, ApplyCx, CloudCx, Created, Diff, Found, KNOWN_LATER, Kind, Outputs, PlanCx, Readiness,
    Ref, Replay, Resource, Scope,
};

#[derive(Debug, Clone, Serialize)]
pub struct Selection {
    /// 1 to 50 letters, digits, hyphens, underscores and points.
    pub name: String,
    pub plan: Ref<Plan>,
    pub role: Ref<Role>,
    pub resources: Vec<Selected>,
}

/// One thing that is saved.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Selected {
    Database(Ref<DbInstance>),
    Bucket(Ref<Bucket>),
    Volume(Ref<Volume>),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelectionId {
    pub plan: String,
    pub id: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelectionOutput {
    pub id: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelectionLive {
    pub name: String,
    pub plan: String,
    pub role: String,
    pub resources: BTreeSet<String>,
    /// Whether tags or exceptions leave out some of them, or bring others in.
    pub filtered: bool,
}

impl Selected {
    pub fn address(&self) -> &Address {
        match self {
            Self::Database(to) => to.address(),
            Self::Bucket(to) => to.address(),
            Self::Volume(to) => to.address(),
        }
    }

    fn arn(&self, outputs: &Outputs, scope: &Scope) -> Option<String> {
        Some(match self {
            Self::Database(to) => outputs.of(to)?.arn,
            Self::Bucket(to) => outputs.of(to)?.arn,
            Self::Volume(to) => {
                let (region, account) = (&scope.region, &scope.account);
                let id = outputs.of(to)?.id;
                format!(
                    "arn:{}:ec2:{region}:{account}:volume/{id}",
                    partition(region)
                )
            }
        })
    }
}

impl Selection {
    fn wanted(&self, cx: &PlanCx<'_>) -> BTreeSet<String> {
        let arn = |selected: &Selected| {
            selected
                .arn(cx.outputs, cx.scope)
                .filter(|_| !cx.later.contains(selected.address()))
                .unwrap_or_else(|| KNOWN_LATER.to_owned())
        };
        self.resources.iter().map(arn).collect()
    }

    fn arns(&self, cx: &ApplyCx<'_>) -> Result<Vec<String>, Fault> {
        let arn = |selected: &Selected| {
            selected.arn(cx.outputs, cx.cloud.scope()).ok_or_else(|| {
                Fault::internal(format!(
                    "{} needs {}, which is not ready",
                    cx.address,
                    selected.address()
                ))
            })
        };
        self.resources.iter().map(arn).collect()
    }
}

impl Resource for Selection {
    const KIND: Kind = Kind::new("backup/selection");
    const REPLAY: Replay = Replay::TagLookup;
    const ACTIONS: &'static [&'static str] = &[
        "backup:CreateBackupSelection",
        "backup:ListBackupPlans",
        "backup:ListBackupSelections",
        "backup:GetBackupSelection",
        "backup:DeleteBackupSelection",
        "backup:ListTags",
        "iam:PassRole",
        "tag:GetResources",
    ];

    type Id = SelectionId;
    type Output = SelectionOutput;
    type Live = SelectionLive;

    fn refs(&self) -> Vec<&Address> {
        let mut refs = vec![self.plan.address(), self.role.address()];
        refs.extend(self.resources.iter().map(Selected::address));
        refs
    }

    fn diff(&self, live: &SelectionLive, cx: &PlanCx<'_>) -> Diff {
        Diff::new()
            .fixed("name", &self.name, &live.name)
            .fixed("plan", cx.want(&self.plan, |plan| plan.id), &live.plan)
            .fixed("role", cx.want(&self.role, |role| role.arn), &live.role)
            .fixed("resources", self.wanted(cx), &live.resources)
            .fixed("filtered", false, live.filtered)
    }

    /// A listing of plans, one of selections for each plan of the site, and a call for each selection: one, usually.
    async fn survey(cx: &CloudCx) -> Result<Vec<Found<Self>>, Fault> {
        let mut found = Vec::new();
        for plan in plan::ours(cx).await? {
            for member in list(&plan.id, cx).await? {
                let id = SelectionId {
                    plan: plan.id.clone(),
                    id: text(member.selection_id()),
                };
                let Some(selection) = get(&id, cx).await? else {
                    continue;
                };
                let address = match cx.address_of("", &id.id).await? {
                    Some(address) if *address.kind() == Self::KIND => address,
                    _ => Address::new(Self::KIND, short(selection.selection_name(), cx.site())),
                };
                found.push(Found {
                    address,
                    readiness: ready(&id),
                    live: live(&selection, &id.plan),
                    id,
                });
            }
        }
        Ok(found)
    }

    async fn poll(
        ids: &[SelectionId],
        cx: &CloudCx,
    ) -> Result<Vec<Readiness<SelectionOutput>>, Fault> {
        let plans: BTreeSet<&String> = ids.iter().map(|id| &id.plan).collect();
        let mut there = BTreeSet::new();
        for plan in plans {
            let listed = list(plan, cx).await?;
            there.extend(listed.iter().map(|member| text(member.selection_id())));
        }
        Ok(ids
            .iter()
            .map(|id| {
                if there.contains(&id.id) {
                    ready(id)
                } else {
                    Readiness::Absent
                }
            })
            .collect())
    }

    async fn create(&self, cx: &ApplyCx<'_>) -> Result<Created<Self>, Fault> {
        let plan = cx.get(&self.plan)?.id;
        let selection = BackupSelection::builder()
            .selection_name(&self.name)
            .iam_role_arn(cx.get(&self.role)?.arn)
            .set_resources(Some(self.arns(cx)?))
            .build()
            .map_err(|e| Fault::internal(e.to_string()))?;
        let answer = cx
            .cloud
            .write("backup:CreateBackupSelection", || {
                cx.aws()
                    .backup
                    .create_backup_selection()
                    .backup_plan_id(&plan)
                    .backup_selection(selection.clone())
                    .creator_request_id(cx.token)
                    .send()
            })
            .await?;
        let id = SelectionId {
            plan,
            id: text(answer.selection_id()),
        };
        let output = SelectionOutput { id: id.id.clone() };
        Ok(Created::Done(id, output))
    }

    async fn delete(id: &SelectionId, cx: &CloudCx) -> Result<(), Fault> {
        gone_is_fine(
            cx.put("backup:DeleteBackupSelection", || {
                cx.aws()
                    .backup
                    .delete_backup_selection()
                    .backup_plan_id(&id.plan)
                    .selection_id(&id.id)
                    .send()
            })
            .await,
        )
    }
}

/// The selections of a plan; none of one that is gone.
async fn list(plan: &str, cx: &CloudCx) -> Result<Vec<BackupSelectionsListMember>, Fault> {
    let listed = cx
        .read("backup:ListBackupSelections", || {
            cx.aws()
                .backup
                .list_backup_selections()
                .backup_plan_id(plan)
                .into_paginator()
                .items()
                .send()
                .collect::<Result<Vec<_>, _>>()
        })
        .await;
    match listed {
        Err(fault) if fault.is_gone() => Ok(vec![]),
        other => other,
    }
}

async fn get(id: &SelectionId, cx: &CloudCx) -> Result<Option<BackupSelection>, Fault> {
    let answer = cx
        .read("backup:GetBackupSelection", || {
            cx.aws()
                .backup
                .get_backup_selection()
                .backup_plan_id(&id.plan)
                .selection_id(&id.id)
                .send()
        })
        .await;
    match answer {
        Ok(answer) => Ok(answer.backup_selection),
        // Deleted between the two calls.
        Err(fault) if fault.is_gone() => Ok(None),
        Err(fault) => Err(fault),
    }
}

/// The part of a selection's name that its address has.
fn short<'n>(name: &'n str, site: &str) -> &'n str {
    name.strip_prefix(&format!("gantry-{site}-"))
        .unwrap_or(name)
}

fn ready(id: &SelectionId) -> Readiness<SelectionOutput> {
    Readiness::Ready(SelectionOutput { id: id.id.clone() })
}

fn live(selection: &BackupSelection, plan: &str) -> SelectionLive {
    let conditions = selection.conditions().is_some_and(|c: &Conditions| {
        let lists = [
            c.string_equals(),
            c.string_not_equals(),
            c.string_like(),
            c.string_not_like(),
        ];
        lists.iter().any(|list| !list.is_empty())
    });
    SelectionLive {
        name: selection.selection_name().to_owned(),
        plan: plan.to_owned(),
        role: selection.iam_role_arn().to_owned(),
        resources: selection.resources().iter().cloned().collect(),
        filtered: conditions
            || !selection.list_of_tags().is_empty()
            || !selection.not_resources().is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_the_end_of_the_name() {
        assert_eq!(short("gantry-acme-main", "acme"), "main");
        assert_eq!(short("somebody-elses", "acme"), "somebody-elses");
    }
}
