//! What an alarm makes a group do: so many nodes more or fewer, then a pause.
//!
//! Policies carry no tags. One belongs to the site because its group does; its address is what the journal
//! remembers, or the end of its name: the policy `gantry-acme-rails-out` is `rails-out`.

use aws_sdk_autoscaling::types::ScalingPolicy as Live;
use serde::{Deserialize, Serialize};

use super::{Group, group};
use crate::cloud::Fault;
use crate::kinds::tagged::{gone_is_fine, text};
use crate::resource::{
    Address, ApplyCx, Change, CloudCx, Created, Diff, Found, Kind, PlanCx, Readiness, Ref, Replay,
    Resource,
};

#[derive(Debug, Clone, Serialize)]
pub struct ScalingPolicy {
    pub group: Ref<Group>,
    pub name: String,
    /// Nodes to add; negative takes away.
    pub adjustment: i32,
    pub cooldown_seconds: u32,
}

/// Unique within the group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScalingPolicyId {
    pub group: String,
    pub name: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScalingPolicyOutput {
    pub arn: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScalingPolicyLive {
    pub group: String,
    pub name: String,
    pub policy: String,
    pub adjustment: i32,
    pub cooldown_seconds: i32,
}

const TYPE: &str = "SimpleScaling";
const ADJUSTMENT: &str = "ChangeInCapacity";

impl ScalingPolicy {
    async fn put(&self, group: &str, cx: &ApplyCx<'_>) -> Result<String, Fault> {
        let answer = cx
            .cloud
            .put("autoscaling:PutScalingPolicy", || {
                cx.aws()
                    .autoscaling
                    .put_scaling_policy()
                    .auto_scaling_group_name(group)
                    .policy_name(&self.name)
                    .policy_type(TYPE)
                    .adjustment_type(ADJUSTMENT)
                    .scaling_adjustment(self.adjustment)
                    .cooldown(i32::try_from(self.cooldown_seconds).unwrap_or(i32::MAX))
                    .send()
            })
            .await?;
        Ok(text(answer.policy_arn()))
    }
}

impl Resource for ScalingPolicy {
    const KIND: Kind = Kind::new("autoscaling/scaling_policy");
    const REPLAY: Replay = Replay::Name;
    const ACTIONS: &'static [&'static str] = &[
        "autoscaling:PutScalingPolicy",
        "autoscaling:DescribePolicies",
        "autoscaling:DescribeAutoScalingGroups",
        "autoscaling:DeletePolicy",
        "tag:GetResources",
    ];

    type Id = ScalingPolicyId;
    type Output = ScalingPolicyOutput;
    type Live = ScalingPolicyLive;

    fn refs(&self) -> Vec<&Address> {
        vec![self.group.address()]
    }

    fn diff(&self, live: &ScalingPolicyLive, cx: &PlanCx<'_>) -> Diff {
        Diff::new()
            .fixed("group", cx.want(&self.group, |g| g.name), &live.group)
            .fixed("name", &self.name, &live.name)
            .field("policy", format!("{TYPE} {ADJUSTMENT}"), &live.policy)
            .field("adjustment", self.adjustment, live.adjustment)
            .field(
                "cooldown_seconds",
                self.cooldown_seconds,
                live.cooldown_seconds,
            )
    }

    /// Two listings: the site's groups, and all policies.
    async fn survey(cx: &CloudCx) -> Result<Vec<Found<Self>>, Fault> {
        let groups: Vec<String> = group::of_site(cx)
            .await?
            .iter()
            .filter_map(|g| g.auto_scaling_group_name().map(Into::into))
            .collect();
        if groups.is_empty() {
            return Ok(vec![]);
        }
        let mut all = Vec::new();
        for policy in list(cx).await? {
            let id = id_of(&policy);
            if !groups.contains(&id.group) {
                continue;
            }
            let arn = policy.policy_arn().unwrap_or_default();
            let address = match cx.address_of(arn, &id.name).await? {
                Some(address) if *address.kind() == Self::KIND => address,
                _ => Address::new(Self::KIND, short(&id.name, cx.site())),
            };
            all.push(found(address, id, &policy));
        }
        Ok(all)
    }

    async fn poll(
        ids: &[ScalingPolicyId],
        cx: &CloudCx,
    ) -> Result<Vec<Readiness<ScalingPolicyOutput>>, Fault> {
        let listed = list(cx).await?;
        Ok(ids
            .iter()
            .map(|id| {
                listed
                    .iter()
                    .find(|p| id_of(p) == *id)
                    .map_or(Readiness::Absent, readiness)
            })
            .collect())
    }

    async fn create(&self, cx: &ApplyCx<'_>) -> Result<Created<Self>, Fault> {
        let group = cx.get(&self.group)?.name;
        let arn = self.put(&group, cx).await?;
        let id = ScalingPolicyId {
            group,
            name: self.name.clone(),
        };
        Ok(Created::Done(id, ScalingPolicyOutput { arn }))
    }

    async fn configure(
        &self,
        id: &ScalingPolicyId,
        change: Change<'_>,
        cx: &ApplyCx<'_>,
    ) -> Result<(), Fault> {
        if matches!(change, Change::Fields(_)) {
            self.put(&id.group, cx).await?;
        }
        Ok(())
    }

    async fn delete(id: &ScalingPolicyId, cx: &CloudCx) -> Result<(), Fault> {
        gone_is_fine(
            cx.put("autoscaling:DeletePolicy", || {
                cx.aws()
                    .autoscaling
                    .delete_policy()
                    .auto_scaling_group_name(&id.group)
                    .policy_name(&id.name)
                    .send()
            })
            .await,
        )
    }
}

async fn list(cx: &CloudCx) -> Result<Vec<Live>, Fault> {
    cx.read("autoscaling:DescribePolicies", || {
        cx.aws()
            .autoscaling
            .describe_policies()
            .into_paginator()
            .items()
            .send()
            .collect::<Result<Vec<_>, _>>()
    })
    .await
}

/// The part of a policy's name that its address has.
fn short<'n>(name: &'n str, site: &str) -> &'n str {
    name.strip_prefix(&format!("gantry-{site}-"))
        .unwrap_or(name)
}

fn id_of(policy: &Live) -> ScalingPolicyId {
    ScalingPolicyId {
        group: text(policy.auto_scaling_group_name()),
        name: text(policy.policy_name()),
    }
}

fn readiness(policy: &Live) -> Readiness<ScalingPolicyOutput> {
    Readiness::Ready(ScalingPolicyOutput {
        arn: text(policy.policy_arn()),
    })
}

fn found(address: Address, id: ScalingPolicyId, policy: &Live) -> Found<ScalingPolicy> {
    Found {
        address,
        live: ScalingPolicyLive {
            group: id.group.clone(),
            name: id.name.clone(),
            policy: format!(
                "{} {}",
                policy.policy_type().unwrap_or_default(),
                policy.adjustment_type().unwrap_or_default()
            ),
            adjustment: policy.scaling_adjustment().unwrap_or_default(),
            cooldown_seconds: policy.cooldown().unwrap_or_default(),
        },
        id,
        readiness: readiness(policy),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_the_end_of_the_name() {
        assert_eq!(short("gantry-acme-rails-out", "acme"), "rails-out");
        assert_eq!(short("somebody-elses", "acme"), "somebody-elses");
    }
}
