//! A security group, without its rules: groups name each other in rules, so all groups come first and
//! [`super::SecurityGroupRules`] after them.
//!
//! AWS puts a rule into every new group that lets everything out; it is taken away at once.

use aws_sdk_ec2::types::{ResourceType, SecurityGroup as Live};
use serde::{Deserialize, Serialize};

use super::security_group_rules::{LiveRule, Side, revoke, rules_of};
use super::{Vpc, by, in_order, ours, remove, settle_tags, tagged, tags_of, text};
use crate::cloud::Fault;
use crate::resource::{
    Address, ApplyCx, Change, CloudCx, Created, Diff, Found, Kind, PlanCx, Readiness, Ref, Replay,
    Resource, Tags,
};

#[derive(Debug, Clone, Serialize)]
pub struct SecurityGroup {
    pub vpc: Ref<Vpc>,
    /// Unique in the network.
    pub name: String,
    pub description: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityGroupOutput {
    pub id: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityGroupLive {
    pub vpc: String,
    pub name: String,
    pub description: String,
    /// Whether AWS's first rule, everything out, is there.
    pub open_egress: bool,
    pub tags: Tags,
}

impl Resource for SecurityGroup {
    const KIND: Kind = Kind::new("ec2/security_group");
    const REPLAY: Replay = Replay::Name;
    const CONFIGURES: bool = true;
    const ACTIONS: &'static [&'static str] = &[
        "ec2:CreateSecurityGroup",
        "ec2:RevokeSecurityGroupEgress",
        "ec2:DescribeSecurityGroups",
        "ec2:DeleteSecurityGroup",
        "ec2:CreateTags",
        "ec2:DeleteTags",
    ];

    type Id = String;
    type Output = SecurityGroupOutput;
    type Live = SecurityGroupLive;

    fn refs(&self) -> Vec<&Address> {
        vec![self.vpc.address()]
    }

    fn diff(&self, live: &SecurityGroupLive, cx: &PlanCx<'_>) -> Diff {
        Diff::new()
            .fixed("vpc", cx.want(&self.vpc, |v| v.id), &live.vpc)
            .fixed("name", &self.name, &live.name)
            .fixed("description", &self.description, &live.description)
            .field("open_egress", false, live.open_egress)
            .field("tags", cx.tags(&Tags::new()), &live.tags)
    }

    async fn survey(cx: &CloudCx) -> Result<Vec<Found<Self>>, Fault> {
        let listed = of_site(cx).await?;
        Ok(listed.iter().filter_map(|t| found(t, cx.site())).collect())
    }

    async fn poll(
        ids: &[String],
        cx: &CloudCx,
    ) -> Result<Vec<Readiness<SecurityGroupOutput>>, Fault> {
        let listed = cx
            .read("ec2:DescribeSecurityGroups", || {
                cx.aws()
                    .ec2
                    .describe_security_groups()
                    .filters(by("group-id", ids))
                    .into_paginator()
                    .items()
                    .send()
                    .collect::<Result<Vec<_>, _>>()
            })
            .await?;
        Ok(in_order(ids, &listed, Live::group_id, readiness))
    }

    async fn create(&self, cx: &ApplyCx<'_>) -> Result<Created<Self>, Fault> {
        let vpc = cx.get(&self.vpc)?.id;
        let answer = cx
            .cloud
            .write("ec2:CreateSecurityGroup", || {
                cx.aws()
                    .ec2
                    .create_security_group()
                    .vpc_id(&vpc)
                    .group_name(&self.name)
                    .description(&self.description)
                    .tag_specifications(tagged(ResourceType::SecurityGroup, &cx.tags(&Tags::new())))
                    .send()
            })
            .await?;
        let id = text(answer.group_id());
        Ok(Created::Done(id.clone(), SecurityGroupOutput { id }))
    }

    async fn configure(
        &self,
        id: &String,
        change: Change<'_>,
        cx: &ApplyCx<'_>,
    ) -> Result<(), Fault> {
        settle_tags(id, change, &Tags::new(), cx).await?;
        if change.touches(&["open_egress"]) {
            revoke(id, Side::Egress, &[LiveRule::everything()], cx.cloud).await?;
        }
        Ok(())
    }

    async fn delete(id: &String, cx: &CloudCx) -> Result<(), Fault> {
        remove(cx.put("ec2:DeleteSecurityGroup", || {
            cx.aws().ec2.delete_security_group().group_id(id).send()
        }))
        .await
    }
}

/// The site's groups, those that came with a VPC included, asked for once per survey.
pub(super) async fn of_site(cx: &CloudCx) -> Result<Vec<Live>, Fault> {
    let ask = || {
        cx.read("ec2:DescribeSecurityGroups", || {
            cx.aws()
                .ec2
                .describe_security_groups()
                .filters(cx.site_filter())
                .into_paginator()
                .items()
                .send()
                .collect::<Result<Vec<_>, _>>()
        })
    };
    cx.once("security groups", ask).await
}

fn found(group: &Live, site: &str) -> Option<Found<SecurityGroup>> {
    let everything = LiveRule::everything();
    Some(Found {
        address: ours::<SecurityGroup>(group.tags(), site)?,
        id: text(group.group_id()),
        live: SecurityGroupLive {
            vpc: text(group.vpc_id()),
            name: text(group.group_name()),
            description: text(group.description()),
            open_egress: rules_of(group, Side::Egress)
                .iter()
                .any(|r| r.same_traffic(&everything)),
            tags: tags_of(group.tags()),
        },
        readiness: readiness(group),
    })
}

fn readiness(group: &Live) -> Readiness<SecurityGroupOutput> {
    Readiness::Ready(SecurityGroupOutput {
        id: text(group.group_id()),
    })
}
