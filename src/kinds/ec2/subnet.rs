//! A part of the network in one zone.
//!
//! Nothing started in it gets a public address by itself, public subnet or not: what the internet may reach
//! (load balancer, NAT gateway, bastion) brings its own address. What makes a subnet public is the route
//! table it is associated with.

use aws_sdk_ec2::types::{AttributeBooleanValue, ResourceType, Subnet as Live};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::{Vpc, by, in_order, ours, remove, settle_tags, tagged, tags_of, text};
use crate::cloud::Fault;
use crate::resource::{
    Address, ApplyCx, Change, CloudCx, Created, Diff, Found, Kind, PlanCx, Readiness, Ref, Replay,
    Resource, Tags,
};

/// Whether things with public addresses belong there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exposure {
    Public,
    Private,
}

#[derive(Debug, Clone, Serialize)]
pub struct Subnet {
    pub vpc: Ref<Vpc>,
    pub cidr: Ipv4Net,
    pub zone: String,
    /// For the checks over the blueprint; AWS has no such setting.
    pub exposure: Exposure,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubnetOutput {
    pub id: String,
    pub zone: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubnetLive {
    pub vpc: String,
    pub cidr: String,
    pub zone: String,
    pub public_addresses: bool,
    pub tags: Tags,
}

impl Resource for Subnet {
    const KIND: Kind = Kind::new("ec2/subnet");
    const REPLAY: Replay = Replay::TagLookup;
    const ACTIONS: &'static [&'static str] = &[
        "ec2:CreateSubnet",
        "ec2:ModifySubnetAttribute",
        "ec2:DescribeSubnets",
        "ec2:DeleteSubnet",
        "ec2:CreateTags",
        "ec2:DeleteTags",
    ];

    type Id = String;
    type Output = SubnetOutput;
    type Live = SubnetLive;

    fn refs(&self) -> Vec<&Address> {
        vec![self.vpc.address()]
    }

    fn diff(&self, live: &SubnetLive, cx: &PlanCx<'_>) -> Diff {
        Diff::new()
            .fixed("vpc", cx.want(&self.vpc, |v| v.id), &live.vpc)
            .fixed("cidr", self.cidr, &live.cidr)
            .fixed("zone", &self.zone, &live.zone)
            .field("public_addresses", false, live.public_addresses)
            .field("tags", cx.tags(&Tags::new()), &live.tags)
    }

    async fn survey(cx: &CloudCx) -> Result<Vec<Found<Self>>, Fault> {
        let listed = cx
            .read("ec2:DescribeSubnets", || {
                cx.aws()
                    .ec2
                    .describe_subnets()
                    .filters(cx.site_filter())
                    .into_paginator()
                    .items()
                    .send()
                    .collect::<Result<Vec<_>, _>>()
            })
            .await?;
        Ok(listed.iter().filter_map(|t| found(t, cx.site())).collect())
    }

    async fn poll(ids: &[String], cx: &CloudCx) -> Result<Vec<Readiness<SubnetOutput>>, Fault> {
        let listed = cx
            .read("ec2:DescribeSubnets", || {
                cx.aws()
                    .ec2
                    .describe_subnets()
                    .filters(by("subnet-id", ids))
                    .into_paginator()
                    .items()
                    .send()
                    .collect::<Result<Vec<_>, _>>()
            })
            .await?;
        Ok(in_order(ids, &listed, Live::subnet_id, readiness))
    }

    async fn create(&self, cx: &ApplyCx<'_>) -> Result<Created<Self>, Fault> {
        let vpc = cx.get(&self.vpc)?.id;
        let answer = cx
            .cloud
            .write("ec2:CreateSubnet", || {
                cx.aws()
                    .ec2
                    .create_subnet()
                    .vpc_id(&vpc)
                    .cidr_block(self.cidr.to_string())
                    .availability_zone(&self.zone)
                    .tag_specifications(tagged(ResourceType::Subnet, &cx.tags(&Tags::new())))
                    .send()
            })
            .await?;
        let id = text(answer.subnet().and_then(Live::subnet_id));
        let zone = self.zone.clone();
        Ok(Created::Done(id.clone(), SubnetOutput { id, zone }))
    }

    async fn configure(
        &self,
        id: &String,
        change: Change<'_>,
        cx: &ApplyCx<'_>,
    ) -> Result<(), Fault> {
        // A new subnet gives out no public addresses; only a change by hand makes it.
        let Change::Fields(diff) = change else {
            return Ok(());
        };
        settle_tags(id, change, &Tags::new(), cx).await?;
        if diff.has("public_addresses") {
            let off = AttributeBooleanValue::builder().value(false).build();
            cx.cloud
                .put("ec2:ModifySubnetAttribute", || {
                    cx.aws()
                        .ec2
                        .modify_subnet_attribute()
                        .subnet_id(id)
                        .map_public_ip_on_launch(off.clone())
                        .send()
                })
                .await?;
        }
        Ok(())
    }

    async fn delete(id: &String, cx: &CloudCx) -> Result<(), Fault> {
        remove(cx.put("ec2:DeleteSubnet", || {
            cx.aws().ec2.delete_subnet().subnet_id(id).send()
        }))
        .await
    }
}

fn found(subnet: &Live, site: &str) -> Option<Found<Subnet>> {
    Some(Found {
        address: ours::<Subnet>(subnet.tags(), site)?,
        id: text(subnet.subnet_id()),
        live: SubnetLive {
            vpc: text(subnet.vpc_id()),
            cidr: text(subnet.cidr_block()),
            zone: text(subnet.availability_zone()),
            public_addresses: subnet.map_public_ip_on_launch().unwrap_or(false),
            tags: tags_of(subnet.tags()),
        },
        readiness: readiness(subnet),
    })
}

fn readiness(subnet: &Live) -> Readiness<SubnetOutput> {
    match subnet.state().map(aws_sdk_ec2::types::SubnetState::as_str) {
        Some("pending") => Readiness::Pending("pending".into()),
        Some("failed") => Readiness::Broken("failed".into()),
        _ => Readiness::Ready(SubnetOutput {
            id: text(subnet.subnet_id()),
            zone: text(subnet.availability_zone()),
        }),
    }
}
