//! Snapshots of the volumes with these tags, every so many hours, the last so many kept.
//!
//! A listing of policies shows their tags and not their settings: one more call for each policy of the site,
//! and a site has one.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_dlm::types::{
    CreateRule, GettablePolicyStateValues, IntervalUnitValues, LifecyclePolicy, PolicyDetails,
    PolicyTypeValues, ResourceTypeValues, RetainRule, Schedule, SettablePolicyStateValues, Tag,
};
use serde::{Deserialize, Serialize};

use crate::cloud::Fault;
use crate::kinds::iam::Role;
use crate::kinds::tagged::{gone_is_fine, partition, surplus, tag_map, text};
use crate::resource::{
    Address, ApplyCx, Change, CloudCx, Created, Diff, Found, Kind, PlanCx, Readiness, Ref, Replay,
    Resource, SITE_TAG, Tags,
};

#[derive(Debug, Clone, Serialize)]
pub struct Policy {
    pub description: String,
    pub role: Ref<Role>,
    /// Volumes with any of these are saved.
    pub target_tags: BTreeMap<String, String>,
    /// When the first one of a day begins, `03:00`, UTC.
    pub times: Vec<String>,
    pub every_hours: u32,
    /// How many snapshots of a volume are kept.
    pub retain: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyOutput {
    pub id: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyLive {
    pub description: String,
    pub role: String,
    pub enabled: bool,
    pub target_tags: BTreeMap<String, String>,
    pub times: Vec<String>,
    pub every_hours: u32,
    pub retain: u32,
    pub copy_tags: bool,
    pub tags: Tags,
}

const SCHEDULE: &str = "gantry";

impl Policy {
    fn details(&self) -> PolicyDetails {
        let create = CreateRule::builder()
            .interval(whole(self.every_hours))
            .interval_unit(IntervalUnitValues::Hours)
            .set_times(Some(self.times.clone()))
            .build();
        let schedule = Schedule::builder()
            .name(SCHEDULE)
            .create_rule(create)
            .retain_rule(RetainRule::builder().count(whole(self.retain)).build())
            // A snapshot that carries its volume's tags can be found, and restored, by them.
            .copy_tags(true)
            .build();
        let targets = self
            .target_tags
            .iter()
            .map(|(k, v)| Tag::builder().key(k).value(v).build())
            .collect();
        PolicyDetails::builder()
            .policy_type(PolicyTypeValues::EbsSnapshotManagement)
            .resource_types(ResourceTypeValues::Volume)
            .set_target_tags(Some(targets))
            .schedules(schedule)
            .build()
    }

    async fn retag(&self, id: &str, change: Change<'_>, cx: &ApplyCx<'_>) -> Result<(), Fault> {
        let scope = cx.cloud.scope();
        let (region, account) = (&scope.region, &scope.account);
        let arn = format!(
            "arn:{}:dlm:{region}:{account}:policy/{id}",
            partition(region)
        );
        let want = cx.tags(&Tags::new());
        cx.cloud
            .put("dlm:TagResource", || {
                cx.aws()
                    .dlm
                    .tag_resource()
                    .resource_arn(&arn)
                    .set_tags(Some(tag_map(&want)))
                    .send()
            })
            .await?;
        let surplus = surplus(change, &want);
        if surplus.is_empty() {
            return Ok(());
        }
        cx.cloud
            .put("dlm:UntagResource", || {
                cx.aws()
                    .dlm
                    .untag_resource()
                    .resource_arn(&arn)
                    .set_tag_keys(Some(surplus.clone()))
                    .send()
            })
            .await?;
        Ok(())
    }
}

fn whole(n: u32) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

fn our_tags(tags: Option<&HashMap<String, String>>) -> Tags {
    tags.into_iter()
        .flatten()
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect::<Tags>()
        .ours()
}

impl Resource for Policy {
    const KIND: Kind = Kind::new("dlm/policy");
    const REPLAY: Replay = Replay::TagLookup;
    const ACTIONS: &'static [&'static str] = &[
        "dlm:CreateLifecyclePolicy",
        "dlm:GetLifecyclePolicies",
        "dlm:GetLifecyclePolicy",
        "dlm:UpdateLifecyclePolicy",
        "dlm:DeleteLifecyclePolicy",
        "dlm:TagResource",
        "dlm:UntagResource",
        "iam:PassRole",
    ];

    type Id = String;
    type Output = PolicyOutput;
    type Live = PolicyLive;

    fn refs(&self) -> Vec<&Address> {
        vec![self.role.address()]
    }

    fn diff(&self, live: &PolicyLive, cx: &PlanCx<'_>) -> Diff {
        Diff::new()
            .field("description", &self.description, &live.description)
            .field("role", cx.want(&self.role, |r| r.arn), &live.role)
            .field("enabled", true, live.enabled)
            .field("target_tags", &self.target_tags, &live.target_tags)
            .field("times", &self.times, &live.times)
            .field("every_hours", self.every_hours, live.every_hours)
            .field("retain", self.retain, live.retain)
            .field("copy_tags", true, live.copy_tags)
            .field("tags", cx.tags(&Tags::new()), &live.tags)
    }

    async fn survey(cx: &CloudCx) -> Result<Vec<Found<Self>>, Fault> {
        let listed = cx
            .read("dlm:GetLifecyclePolicies", || {
                cx.aws().dlm.get_lifecycle_policies().send()
            })
            .await?;
        let mut all = Vec::new();
        for summary in listed.policies() {
            let tags = our_tags(summary.tags());
            let ours = tags.get(SITE_TAG) == Some(cx.site());
            let address = tags.address().filter(|a| ours && *a.kind() == Self::KIND);
            let (Some(address), Some(id)) = (address, summary.policy_id()) else {
                continue;
            };
            if let Some(policy) = get(id, cx).await? {
                all.push(found(address, id, &policy, tags));
            }
        }
        Ok(all)
    }

    async fn poll(ids: &[String], cx: &CloudCx) -> Result<Vec<Readiness<PolicyOutput>>, Fault> {
        let listed = cx
            .read("dlm:GetLifecyclePolicies", || {
                cx.aws().dlm.get_lifecycle_policies().send()
            })
            .await?;
        Ok(ids
            .iter()
            .map(|id| {
                listed
                    .policies()
                    .iter()
                    .find(|p| p.policy_id() == Some(id))
                    .map_or(Readiness::Absent, |p| {
                        readiness(id, p.state(), "the listing gives no reason")
                    })
            })
            .collect())
    }

    async fn create(&self, cx: &ApplyCx<'_>) -> Result<Created<Self>, Fault> {
        let role = cx.get(&self.role)?.arn;
        let details = self.details();
        let tags = tag_map(&cx.tags(&Tags::new()));
        let answer = cx
            .cloud
            .write("dlm:CreateLifecyclePolicy", || {
                cx.aws()
                    .dlm
                    .create_lifecycle_policy()
                    .execution_role_arn(&role)
                    .description(&self.description)
                    .state(SettablePolicyStateValues::Enabled)
                    .policy_details(details.clone())
                    .set_tags(Some(tags.clone()))
                    .send()
            })
            .await?;
        let id = text(answer.policy_id());
        Ok(Created::Done(id.clone(), PolicyOutput { id }))
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
            let role = cx.get(&self.role)?.arn;
            let details = self.details();
            cx.cloud
                .put("dlm:UpdateLifecyclePolicy", || {
                    cx.aws()
                        .dlm
                        .update_lifecycle_policy()
                        .policy_id(id)
                        .execution_role_arn(&role)
                        .description(&self.description)
                        .state(SettablePolicyStateValues::Enabled)
                        .policy_details(details.clone())
                        .send()
                })
                .await?;
        }
        if diff.has("tags") {
            self.retag(id, change, cx).await?;
        }
        Ok(())
    }

    async fn delete(id: &String, cx: &CloudCx) -> Result<(), Fault> {
        gone_is_fine(
            cx.put("dlm:DeleteLifecyclePolicy", || {
                cx.aws().dlm.delete_lifecycle_policy().policy_id(id).send()
            })
            .await,
        )
    }
}

async fn get(id: &str, cx: &CloudCx) -> Result<Option<LifecyclePolicy>, Fault> {
    let answer = cx
        .read("dlm:GetLifecyclePolicy", || {
            cx.aws().dlm.get_lifecycle_policy().policy_id(id).send()
        })
        .await;
    match answer {
        Ok(answer) => Ok(answer.policy),
        // Deleted between the two calls.
        Err(fault) if fault.is_gone() => Ok(None),
        Err(fault) => Err(fault),
    }
}

fn readiness(
    id: &str,
    state: Option<&GettablePolicyStateValues>,
    message: &str,
) -> Readiness<PolicyOutput> {
    match state {
        Some(GettablePolicyStateValues::Error) => {
            Readiness::Broken(format!("ERROR: {message}").into())
        }
        _ => Readiness::Ready(PolicyOutput { id: id.to_owned() }),
    }
}

fn found(address: Address, id: &str, policy: &LifecyclePolicy, tags: Tags) -> Found<Policy> {
    let details = policy.policy_details();
    let schedule = details.and_then(|d| d.schedules().first());
    let rule = schedule.and_then(Schedule::create_rule);
    let number = |n: Option<i32>| n.and_then(|n| u32::try_from(n).ok()).unwrap_or_default();
    Found {
        address,
        id: id.to_owned(),
        live: PolicyLive {
            description: text(policy.description()),
            role: text(policy.execution_role_arn()),
            enabled: policy.state() == Some(&GettablePolicyStateValues::Enabled),
            target_tags: details
                .map(PolicyDetails::target_tags)
                .unwrap_or_default()
                .iter()
                .map(|t| (text(t.key()), text(t.value())))
                .collect(),
            times: rule.map(|r| r.times().to_vec()).unwrap_or_default(),
            every_hours: number(rule.and_then(CreateRule::interval)),
            retain: number(
                schedule
                    .and_then(Schedule::retain_rule)
                    .and_then(RetainRule::count),
            ),
            copy_tags: schedule.and_then(Schedule::copy_tags).unwrap_or_default(),
            tags,
        },
        readiness: readiness(
            id,
            policy.state(),
            policy.status_message().unwrap_or_default(),
        ),
    }
}
