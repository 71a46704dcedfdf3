//! The site's own network.
//!
//! DNS and its host names are on, so that RDS and ElastiCache names resolve to private addresses inside. No listing shows
//! the two: a survey asks for each.

use aws_sdk_ec2::types::{AttributeBooleanValue, ResourceType, Vpc as Live, VpcAttributeName};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::{ours, remove, settle_tags, tagged, tags_of, text};
use crate::cloud::Fault;
use crate::resource::{
    Address, ApplyCx, Change, CloudCx, Created, Diff, Found, Kind, PlanCx, Readiness, Replay,
    Resource, Tags,
};

#[derive(Debug, Clone, Serialize)]
pub struct Vpc {
    pub cidr: Ipv4Net,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VpcOutput {
    pub id: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VpcLive {
    pub cidr: String,
    pub dns_support: bool,
    pub dns_hostnames: bool,
    pub tags: Tags,
}

impl Resource for Vpc {
    const KIND: Kind = Kind::new("ec2/vpc");
    const REPLAY: Replay = Replay::TagLookup;
    const CONFIGURES: bool = true;
    const ACTIONS: &'static [&'static str] = &[
        "ec2:CreateVpc",
        "ec2:ModifyVpcAttribute",
        "ec2:DescribeVpcs",
        "ec2:DescribeVpcAttribute",
        "ec2:DeleteVpc",
        "ec2:CreateTags",
        "ec2:DeleteTags",
    ];

    type Id = String;
    type Output = VpcOutput;
    type Live = VpcLive;

    fn refs(&self) -> Vec<&Address> {
        vec![]
    }

    fn diff(&self, live: &VpcLive, cx: &PlanCx<'_>) -> Diff {
        Diff::new()
            .fixed("cidr", self.cidr, &live.cidr)
            .field("dns_support", true, live.dns_support)
            .field("dns_hostnames", true, live.dns_hostnames)
            .field("tags", cx.tags(&Tags::new()), &live.tags)
    }

    async fn survey(cx: &CloudCx) -> Result<Vec<Found<Self>>, Fault> {
        let listed = cx
            .read("ec2:DescribeVpcs", || {
                cx.aws()
                    .ec2
                    .describe_vpcs()
                    .filters(cx.site_filter())
                    .into_paginator()
                    .items()
                    .send()
                    .collect::<Result<Vec<_>, _>>()
            })
            .await?;
        let mut all = Vec::new();
        for vpc in &listed {
            let Some(address) = ours::<Self>(vpc.tags(), cx.site()) else {
                continue;
            };
            let id = text(vpc.vpc_id());
            let live = match live(vpc, &id, cx).await {
                // It went between the two calls.
                Err(fault) if fault.is_gone() => continue,
                other => other?,
            };
            all.push(Found {
                address,
                id,
                live,
                readiness: readiness(vpc),
            });
        }
        Ok(all)
    }

    async fn poll(ids: &[String], cx: &CloudCx) -> Result<Vec<Readiness<VpcOutput>>, Fault> {
        let listed = cx
            .read("ec2:DescribeVpcs", || {
                let by_id = aws_sdk_ec2::types::Filter::builder()
                    .name("vpc-id")
                    .set_values(Some(ids.to_vec()))
                    .build();
                cx.aws()
                    .ec2
                    .describe_vpcs()
                    .filters(by_id)
                    .into_paginator()
                    .items()
                    .send()
                    .collect::<Result<Vec<_>, _>>()
            })
            .await?;
        Ok(ids
            .iter()
            .map(|id| {
                listed
                    .iter()
                    .find(|v| v.vpc_id() == Some(id))
                    .map_or(Readiness::Absent, readiness)
            })
            .collect())
    }

    async fn create(&self, cx: &ApplyCx<'_>) -> Result<Created<Self>, Fault> {
        let answer = cx
            .cloud
            .write("ec2:CreateVpc", || {
                cx.aws()
                    .ec2
                    .create_vpc()
                    .cidr_block(self.cidr.to_string())
                    .tag_specifications(tagged(ResourceType::Vpc, &cx.tags(&Tags::new())))
                    .send()
            })
            .await?;
        let id = text(answer.vpc().and_then(Live::vpc_id));
        Ok(Created::Done(id.clone(), VpcOutput { id }))
    }

    async fn configure(
        &self,
        id: &String,
        change: Change<'_>,
        cx: &ApplyCx<'_>,
    ) -> Result<(), Fault> {
        // One attribute a call: AWS refuses both at once. Host names need the other.
        let on = || AttributeBooleanValue::builder().value(true).build();
        if change.touches(&["dns_support"]) {
            cx.cloud
                .put("ec2:ModifyVpcAttribute", || {
                    let call = cx.aws().ec2.modify_vpc_attribute().vpc_id(id);
                    call.enable_dns_support(on()).send()
                })
                .await?;
        }
        if change.touches(&["dns_hostnames"]) {
            cx.cloud
                .put("ec2:ModifyVpcAttribute", || {
                    let call = cx.aws().ec2.modify_vpc_attribute().vpc_id(id);
                    call.enable_dns_hostnames(on()).send()
                })
                .await?;
        }
        match change {
            Change::Fields(_) => settle_tags(id, change, &Tags::new(), cx).await,
            Change::All => Ok(()),
        }
    }

    async fn delete(id: &String, cx: &CloudCx) -> Result<(), Fault> {
        remove(cx.put("ec2:DeleteVpc", || {
            cx.aws().ec2.delete_vpc().vpc_id(id).send()
        }))
        .await
    }
}

async fn live(vpc: &Live, id: &str, cx: &CloudCx) -> Result<VpcLive, Fault> {
    let attribute = async |name: VpcAttributeName| {
        cx.read("ec2:DescribeVpcAttribute", || {
            let call = cx.aws().ec2.describe_vpc_attribute().vpc_id(id);
            call.attribute(name.clone()).send()
        })
        .await
    };
    let is_on = |value: Option<&AttributeBooleanValue>| value.and_then(|v| v.value()) == Some(true);
    let support = attribute(VpcAttributeName::EnableDnsSupport).await?;
    let names = attribute(VpcAttributeName::EnableDnsHostnames).await?;
    Ok(VpcLive {
        cidr: text(vpc.cidr_block()),
        dns_support: is_on(support.enable_dns_support()),
        dns_hostnames: is_on(names.enable_dns_hostnames()),
        tags: tags_of(vpc.tags()),
    })
}

fn readiness(vpc: &Live) -> Readiness<VpcOutput> {
    match vpc.state().map(aws_sdk_ec2::types::VpcState::as_str) {
        Some("pending") => Readiness::Pending("pending".into()),
        _ => Readiness::Ready(VpcOutput {
            id: text(vpc.vpc_id()),
        }),
    }
}
