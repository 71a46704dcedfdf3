//! A plan: when AWS Backup saves, how long it keeps what it saved, and the vault of another account that gets a copy.
//!
//! A listing of plans shows neither tags nor rules: one more call for each plan of the site, and a site has one.

use aws_sdk_backup::error::BuildError;
use aws_sdk_backup::types::{
    BackupPlan, BackupPlanInput, BackupPlansListMember, BackupRule, BackupRuleInput, CopyAction,
    Lifecycle,
};
use serde::{Deserialize, Serialize};

use super::{Vault, arn, days, list_plans, owned, retag};
use crate::cloud::Fault;
use crate::kinds::tagged::{gone_is_fine, tag_map, text};
use crate::resource::{
    Address, ApplyCx, Change, CloudCx, Created, Diff, Found, Kind, PlanCx, Readiness, Ref, Replay,
    Resource, Tags,
};

#[derive(Debug, Clone, Serialize)]
pub struct Plan {
    pub name: String,
    /// The vault of this account that is filled first: a copy is always of something that is there.
    pub vault: Ref<Vault>,
    /// AWS's cron of six fields: `cron(30 3 * * ? *)`.
    pub schedule: String,
    /// The zone of the schedule, as in the IANA list.
    pub timezone: String,
    /// Days in the vault of this account.
    pub local_days: u32,
    /// The ARN of the vault that gets a copy.
    pub copy_to: String,
    /// Days in that vault.
    pub keep_days: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanOutput {
    pub id: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanLive {
    pub name: String,
    /// The names of all rules.
    pub rules: Vec<String>,
    pub vault: String,
    pub schedule: String,
    pub timezone: String,
    pub start_minutes: i64,
    pub completion_minutes: i64,
    pub local: LifecycleLive,
    /// The vaults that get copies, and how long each keeps them.
    pub copies: Vec<CopyLive>,
    pub continuous: bool,
    pub tags: Tags,
}

/// How long AWS Backup keeps something.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LifecycleLive {
    /// None of what a site has can go into cold storage, and nothing there is kept for less than 90 days.
    pub cold_after_days: u32,
    pub delete_after_days: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyLive {
    pub to: String,
    pub lifecycle: LifecycleLive,
}

/// The name of the one rule.
const RULE: &str = "gantry";

/// AWS's own defaults, written down so that a change shows. A database is not saved during its maintenance and its
/// automated backup, nor in the hour before; within the first AWS tries again every ten minutes
/// (<https://docs.aws.amazon.com/aws-backup/latest/devguide/plan-options-and-configuration.html>). The first copy of
/// large buckets needs the second.
const START_MINUTES: i64 = 8 * 60;
const COMPLETION_MINUTES: i64 = 7 * 24 * 60;

const NOUN: &str = "backup-plan";

impl LifecycleLive {
    fn delete_after(days: u32) -> Self {
        Self {
            cold_after_days: 0,
            delete_after_days: days,
        }
    }

    fn of(lifecycle: Option<&Lifecycle>) -> Self {
        Self {
            cold_after_days: days(lifecycle.and_then(Lifecycle::move_to_cold_storage_after_days)),
            delete_after_days: days(lifecycle.and_then(Lifecycle::delete_after_days)),
        }
    }
}

impl Plan {
    fn copies(&self) -> Vec<CopyLive> {
        vec![CopyLive {
            to: self.copy_to.clone(),
            lifecycle: LifecycleLive::delete_after(self.keep_days),
        }]
    }

    fn document(&self, cx: &ApplyCx<'_>) -> Result<BackupPlanInput, Fault> {
        let vault = cx.get(&self.vault)?.name;
        self.build(&vault)
            .map_err(|e| Fault::internal(e.to_string()))
    }

    fn build(&self, vault: &str) -> Result<BackupPlanInput, BuildError> {
        let lifecycle = |days: u32| {
            Lifecycle::builder()
                .delete_after_days(i64::from(days))
                .build()
        };
        let copy = CopyAction::builder()
            .destination_backup_vault_arn(&self.copy_to)
            .lifecycle(lifecycle(self.keep_days))
            .build()?;
        let rule = BackupRuleInput::builder()
            .rule_name(RULE)
            .target_backup_vault_name(vault)
            .schedule_expression(&self.schedule)
            .schedule_expression_timezone(&self.timezone)
            .start_window_minutes(START_MINUTES)
            .completion_window_minutes(COMPLETION_MINUTES)
            .lifecycle(lifecycle(self.local_days))
            .copy_actions(copy)
            // A continuous backup of a database takes RDS's own automated backups over, and is not copied as such.
            .enable_continuous_backup(false)
            .build()?;
        BackupPlanInput::builder()
            .backup_plan_name(&self.name)
            .rules(rule)
            .build()
    }
}

impl Resource for Plan {
    const KIND: Kind = Kind::new("backup/plan");
    const REPLAY: Replay = Replay::Token;
    const ACTIONS: &'static [&'static str] = &[
        "backup:CreateBackupPlan",
        "backup:ListBackupPlans",
        "backup:GetBackupPlan",
        "backup:UpdateBackupPlan",
        "backup:DeleteBackupPlan",
        "backup:ListTags",
        "backup:TagResource",
        "backup:UntagResource",
        "tag:GetResources",
    ];

    type Id = String;
    type Output = PlanOutput;
    type Live = PlanLive;

    fn refs(&self) -> Vec<&Address> {
        vec![self.vault.address()]
    }

    fn diff(&self, live: &PlanLive, cx: &PlanCx<'_>) -> Diff {
        Diff::new()
            .field("name", &self.name, &live.name)
            .field("rules", [RULE], &live.rules)
            .field(
                "vault",
                cx.want(&self.vault, |vault| vault.name),
                &live.vault,
            )
            .field("schedule", &self.schedule, &live.schedule)
            .field("timezone", &self.timezone, &live.timezone)
            .field("start_minutes", START_MINUTES, live.start_minutes)
            .field(
                "completion_minutes",
                COMPLETION_MINUTES,
                live.completion_minutes,
            )
            .field(
                "local",
                LifecycleLive::delete_after(self.local_days),
                &live.local,
            )
            .field("copies", self.copies(), &live.copies)
            .field("continuous", false, live.continuous)
            .field("tags", cx.tags(&Tags::new()), &live.tags)
    }

    async fn survey(cx: &CloudCx) -> Result<Vec<Found<Self>>, Fault> {
        let mut found = Vec::new();
        for member in ours(cx).await? {
            let Some(plan) = get(&member.id, cx).await? else {
                continue;
            };
            found.push(Found {
                address: member.address,
                readiness: Readiness::Ready(PlanOutput {
                    id: member.id.clone(),
                }),
                id: member.id,
                live: live(&plan, member.tags),
            });
        }
        Ok(found)
    }

    async fn poll(ids: &[String], cx: &CloudCx) -> Result<Vec<Readiness<PlanOutput>>, Fault> {
        let listed = list_plans(cx).await?;
        let is_there = |id: &String| {
            listed
                .iter()
                .any(|plan| plan.backup_plan_id() == Some(id.as_str()))
        };
        Ok(ids
            .iter()
            .map(|id| {
                if is_there(id) {
                    Readiness::Ready(PlanOutput { id: id.clone() })
                } else {
                    Readiness::Absent
                }
            })
            .collect())
    }

    async fn create(&self, cx: &ApplyCx<'_>) -> Result<Created<Self>, Fault> {
        let document = self.document(cx)?;
        let tags = tag_map(&cx.tags(&Tags::new()));
        let answer = cx
            .cloud
            .write("backup:CreateBackupPlan", || {
                cx.aws()
                    .backup
                    .create_backup_plan()
                    .backup_plan(document.clone())
                    .creator_request_id(cx.token)
                    .set_backup_plan_tags(Some(tags.clone()))
                    .send()
            })
            .await?;
        let id = text(answer.backup_plan_id());
        Ok(Created::Done(id.clone(), PlanOutput { id }))
    }

    async fn configure(
        &self,
        id: &String,
        change: Change<'_>,
        cx: &ApplyCx<'_>,
    ) -> Result<(), Fault> {
        let Change::Fields(diff) = change else {
            return Ok(());
        };
        if diff.fields.iter().any(|f| f.field != "tags") {
            let document = self.document(cx)?;
            cx.cloud
                .put("backup:UpdateBackupPlan", || {
                    cx.aws()
                        .backup
                        .update_backup_plan()
                        .backup_plan_id(id)
                        .backup_plan(document.clone())
                        .send()
                })
                .await?;
        }
        if diff.has("tags") {
            retag(&arn(cx.cloud, NOUN, id), change, cx).await?;
        }
        Ok(())
    }

    async fn delete(id: &String, cx: &CloudCx) -> Result<(), Fault> {
        gone_is_fine(
            cx.put("backup:DeleteBackupPlan", || {
                cx.aws()
                    .backup
                    .delete_backup_plan()
                    .backup_plan_id(id)
                    .send()
            })
            .await,
        )
    }
}

/// A plan of this site.
#[derive(Clone)]
pub(super) struct Ours {
    pub id: String,
    pub address: Address,
    tags: Tags,
}

/// The plans of this site: one listing, and the shared one.
pub(super) async fn ours(cx: &CloudCx) -> Result<Vec<Ours>, Fault> {
    cx.once("backup plans", || ask_ours(cx)).await
}

async fn ask_ours(cx: &CloudCx) -> Result<Vec<Ours>, Fault> {
    let mut ours = Vec::new();
    for plan in list_plans(cx).await? {
        let (id, arn) = ids(&plan);
        if let Some(owned) = owned(&Plan::KIND, &arn, &id, cx).await? {
            ours.push(Ours {
                id,
                address: owned.address,
                tags: owned.tags,
            });
        }
    }
    Ok(ours)
}

fn ids(plan: &BackupPlansListMember) -> (String, String) {
    (text(plan.backup_plan_id()), text(plan.backup_plan_arn()))
}

async fn get(id: &str, cx: &CloudCx) -> Result<Option<BackupPlan>, Fault> {
    let answer = cx
        .read("backup:GetBackupPlan", || {
            cx.aws().backup.get_backup_plan().backup_plan_id(id).send()
        })
        .await;
    match answer {
        Ok(answer) => Ok(answer.backup_plan),
        // Deleted between the two calls.
        Err(fault) if fault.is_gone() => Ok(None),
        Err(fault) => Err(fault),
    }
}

fn live(plan: &BackupPlan, tags: Tags) -> PlanLive {
    let rule = plan.rules().first();
    let number = |pick: fn(&BackupRule) -> Option<i64>| rule.and_then(pick).unwrap_or_default();
    PlanLive {
        name: plan.backup_plan_name().to_owned(),
        rules: plan
            .rules()
            .iter()
            .map(|rule| rule.rule_name().to_owned())
            .collect(),
        vault: text(rule.map(BackupRule::target_backup_vault_name)),
        schedule: text(rule.and_then(BackupRule::schedule_expression)),
        timezone: text(rule.and_then(BackupRule::schedule_expression_timezone)),
        start_minutes: number(BackupRule::start_window_minutes),
        completion_minutes: number(BackupRule::completion_window_minutes),
        local: LifecycleLive::of(rule.and_then(BackupRule::lifecycle)),
        copies: rule
            .map(BackupRule::copy_actions)
            .unwrap_or_default()
            .iter()
            .map(|copy| CopyLive {
                to: copy.destination_backup_vault_arn().to_owned(),
                lifecycle: LifecycleLive::of(copy.lifecycle()),
            })
            .collect(),
        continuous: rule
            .and_then(BackupRule::enable_continuous_backup)
            .unwrap_or_default(),
        tags,
    }
}
