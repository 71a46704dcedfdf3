//! The group AWS makes with every network, closed: whatever is put into no other group lands in it, and AWS
//! lets everything in it talk to everything. Nobody can make or delete it; gantry finds it, tags it, and
//! takes its rules away. It goes with its network.

use aws_sdk_ec2::types::{SecurityGroup as Live, Tag};
use serde::{Deserialize, Serialize};

use super::security_group_rules::{LiveRule, Side, revoke, rules_of};
use super::{Vpc, by, in_order, ours, remove, retag, security_group, settle_tags, tags_of, text};
use crate::cloud::Fault;
use crate::resource::{
    ADDRESS_TAG, Address, ApplyCx, Change, CloudCx, Created, Diff, Found, Kind, PlanCx, Readiness,
    Ref, Replay, Resource, SITE_TAG, Tags,
};

#[derive(Debug, Clone, Serialize)]
pub struct DefaultSecurityGroup {
    pub vpc: Ref<Vpc>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DefaultSecurityGroupOutput {
    pub id: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DefaultSecurityGroupLive {
    pub vpc: String,
    pub ingress: Vec<LiveRule>,
    pub egress: Vec<LiveRule>,
    pub tags: Tags,
}

impl Resource for DefaultSecurityGroup {
    const KIND: Kind = Kind::new("ec2/default_security_group");
    /// Tagging the same group twice is the same as once.
    const REPLAY: Replay = Replay::Token;
    const CONFIGURES: bool = true;
    const ACTIONS: &'static [&'static str] = &[
        "ec2:DescribeSecurityGroups",
        "ec2:RevokeSecurityGroupIngress",
        "ec2:RevokeSecurityGroupEgress",
        "ec2:CreateTags",
        "ec2:DeleteTags",
    ];

    type Id = String;
    type Output = DefaultSecurityGroupOutput;
    type Live = DefaultSecurityGroupLive;

    fn refs(&self) -> Vec<&Address> {
        vec![self.vpc.address()]
    }

    fn diff(&self, live: &DefaultSecurityGroupLive, cx: &PlanCx<'_>) -> Diff {
        let none: &[LiveRule] = &[];
        Diff::new()
            .fixed("vpc", cx.want(&self.vpc, |v| v.id), &live.vpc)
            .field("ingress", none, &live.ingress)
            .field("egress", none, &live.egress)
            .field("tags", cx.tags(&Tags::new()), &live.tags)
    }

    async fn survey(cx: &CloudCx) -> Result<Vec<Found<Self>>, Fault> {
        let listed = security_group::of_site(cx).await?;
        Ok(listed
            .iter()
            .filter(|group| group.group_name() == Some("default"))
            .filter_map(|t| found(t, cx.site()))
            .collect())
    }

    async fn poll(
        ids: &[String],
        cx: &CloudCx,
    ) -> Result<Vec<Readiness<DefaultSecurityGroupOutput>>, Fault> {
        let listed = list("group-id", ids, cx).await?;
        Ok(in_order(ids, &listed, Live::group_id, readiness))
    }

    async fn create(&self, cx: &ApplyCx<'_>) -> Result<Created<Self>, Fault> {
        let vpc = cx.get(&self.vpc)?.id;
        let listed = list("vpc-id", &[vpc], cx.cloud).await?;
        let Some(group) = listed.iter().find(|g| g.group_name() == Some("default")) else {
            return Err(Fault::Later {
                call: "ec2:DescribeSecurityGroups".into(),
                code: "InvalidGroup.NotFound".into(),
                message: "the network's default group is not listed yet".into(),
            });
        };
        let id = text(group.group_id());
        retag(&id, &cx.tags(&Tags::new()), cx).await?;
        Ok(Created::Done(id.clone(), DefaultSecurityGroupOutput { id }))
    }

    async fn configure(
        &self,
        id: &String,
        change: Change<'_>,
        cx: &ApplyCx<'_>,
    ) -> Result<(), Fault> {
        settle_tags(id, change, &Tags::new(), cx).await?;
        if !change.touches(&["ingress", "egress"]) {
            return Ok(());
        }
        let listed = list("group-id", std::slice::from_ref(id), cx.cloud).await?;
        for group in &listed {
            revoke(id, Side::Ingress, &rules_of(group, Side::Ingress), cx.cloud).await?;
            revoke(id, Side::Egress, &rules_of(group, Side::Egress), cx.cloud).await?;
        }
        Ok(())
    }

    /// Lets go of it: without our tags it is no longer the site's. AWS deletes it with the network.
    async fn delete(id: &String, cx: &CloudCx) -> Result<(), Fault> {
        let tags = [SITE_TAG, ADDRESS_TAG].map(|key| Tag::builder().key(key).build());
        remove(cx.put("ec2:DeleteTags", || {
            cx.aws()
                .ec2
                .delete_tags()
                .resources(id)
                .set_tags(Some(tags.to_vec()))
                .send()
        }))
        .await
    }
}

async fn list(filter: &str, values: &[String], cx: &CloudCx) -> Result<Vec<Live>, Fault> {
    cx.read("ec2:DescribeSecurityGroups", || {
        cx.aws()
            .ec2
            .describe_security_groups()
            .filters(by(filter, values))
            .into_paginator()
            .items()
            .send()
            .collect::<Result<Vec<_>, _>>()
    })
    .await
}

fn found(group: &Live, site: &str) -> Option<Found<DefaultSecurityGroup>> {
    Some(Found {
        address: ours::<DefaultSecurityGroup>(group.tags(), site)?,
        id: text(group.group_id()),
        live: DefaultSecurityGroupLive {
            vpc: text(group.vpc_id()),
            ingress: rules_of(group, Side::Ingress),
            egress: rules_of(group, Side::Egress),
            tags: tags_of(group.tags()),
        },
        readiness: readiness(group),
    })
}

fn readiness(group: &Live) -> Readiness<DefaultSecurityGroupOutput> {
    Readiness::Ready(DefaultSecurityGroupOutput {
        id: text(group.group_id()),
    })
}
