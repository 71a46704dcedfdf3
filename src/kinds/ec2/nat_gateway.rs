//! The way out for nodes without a public address.
//!
//! A deleted one stays in listings as `deleted` for about an hour, and its address is free only once it is.

use aws_sdk_ec2::types::{NatGateway as Live, ResourceType};
use serde::{Deserialize, Serialize};

use super::{
    ElasticIp, InternetGateway, Subnet, by, in_order, ours, remove, settle_tags, tagged, tags_of,
    text,
};
use crate::cloud::Fault;
use crate::resource::{
    Address, ApplyCx, Change, CloudCx, Created, Diff, Found, Kind, PlanCx, Readiness, Ref, Replay,
    Resource, Tags,
};

#[derive(Debug, Clone, Serialize)]
pub struct NatGateway {
    /// A public subnet.
    pub subnet: Ref<Subnet>,
    pub address: Ref<ElasticIp>,
    /// Must be attached to the network first: without it AWS makes a gateway that fails.
    pub internet: Ref<InternetGateway>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NatGatewayOutput {
    pub id: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NatGatewayLive {
    pub subnet: String,
    /// The allocation id of its address.
    pub address: String,
    pub tags: Tags,
}

impl Resource for NatGateway {
    const KIND: Kind = Kind::new("ec2/nat_gateway");
    const REPLAY: Replay = Replay::Token;
    const ACTIONS: &'static [&'static str] = &[
        "ec2:CreateNatGateway",
        "ec2:DescribeNatGateways",
        "ec2:DeleteNatGateway",
        "ec2:CreateTags",
        "ec2:DeleteTags",
    ];
    const USUAL_SECONDS: u64 = 105;
    const DELETE_TAKES_TIME: bool = true;

    type Id = String;
    type Output = NatGatewayOutput;
    type Live = NatGatewayLive;

    fn refs(&self) -> Vec<&Address> {
        vec![
            self.subnet.address(),
            self.address.address(),
            self.internet.address(),
        ]
    }

    fn diff(&self, live: &NatGatewayLive, cx: &PlanCx<'_>) -> Diff {
        Diff::new()
            .fixed("subnet", cx.want(&self.subnet, |s| s.id), &live.subnet)
            .fixed(
                "address",
                cx.want(&self.address, |a| a.allocation_id),
                &live.address,
            )
            .field("tags", cx.tags(&Tags::new()), &live.tags)
    }

    async fn survey(cx: &CloudCx) -> Result<Vec<Found<Self>>, Fault> {
        let listed = cx
            .read("ec2:DescribeNatGateways", || {
                cx.aws()
                    .ec2
                    .describe_nat_gateways()
                    .filter(cx.site_filter())
                    .into_paginator()
                    .items()
                    .send()
                    .collect::<Result<Vec<_>, _>>()
            })
            .await?;
        Ok(listed.iter().filter_map(|t| found(t, cx.site())).collect())
    }

    async fn poll(ids: &[String], cx: &CloudCx) -> Result<Vec<Readiness<NatGatewayOutput>>, Fault> {
        let listed = cx
            .read("ec2:DescribeNatGateways", || {
                cx.aws()
                    .ec2
                    .describe_nat_gateways()
                    .filter(by("nat-gateway-id", ids))
                    .into_paginator()
                    .items()
                    .send()
                    .collect::<Result<Vec<_>, _>>()
            })
            .await?;
        Ok(in_order(ids, &listed, Live::nat_gateway_id, readiness))
    }

    async fn create(&self, cx: &ApplyCx<'_>) -> Result<Created<Self>, Fault> {
        let subnet = cx.get(&self.subnet)?.id;
        let address = cx.get(&self.address)?.allocation_id;
        let answer = cx
            .cloud
            .write("ec2:CreateNatGateway", || {
                cx.aws()
                    .ec2
                    .create_nat_gateway()
                    .client_token(cx.token)
                    .subnet_id(&subnet)
                    .allocation_id(&address)
                    .tag_specifications(tagged(ResourceType::Natgateway, &cx.tags(&Tags::new())))
                    .send()
            })
            .await?;
        let id = text(answer.nat_gateway().and_then(Live::nat_gateway_id));
        Ok(Created::Waiting(id))
    }

    async fn configure(
        &self,
        id: &String,
        change: Change<'_>,
        cx: &ApplyCx<'_>,
    ) -> Result<(), Fault> {
        settle_tags(id, change, &Tags::new(), cx).await
    }

    async fn delete(id: &String, cx: &CloudCx) -> Result<(), Fault> {
        remove(cx.put("ec2:DeleteNatGateway", || {
            cx.aws().ec2.delete_nat_gateway().nat_gateway_id(id).send()
        }))
        .await
    }
}

fn state(gateway: &Live) -> &str {
    gateway.state().map_or("", |s| s.as_str())
}

fn found(gateway: &Live, site: &str) -> Option<Found<NatGateway>> {
    // What is on its way out is no longer the site's; what it still holds says so itself.
    if matches!(state(gateway), "deleted" | "deleting") {
        return None;
    }
    Some(Found {
        address: ours::<NatGateway>(gateway.tags(), site)?,
        id: text(gateway.nat_gateway_id()),
        live: NatGatewayLive {
            subnet: text(gateway.subnet_id()),
            address: gateway
                .nat_gateway_addresses()
                .iter()
                .find(|a| a.is_primary().unwrap_or(true))
                .map(|a| text(a.allocation_id()))
                .unwrap_or_default(),
            tags: tags_of(gateway.tags()),
        },
        readiness: readiness(gateway),
    })
}

fn readiness(gateway: &Live) -> Readiness<NatGatewayOutput> {
    match state(gateway) {
        "available" => Readiness::Ready(NatGatewayOutput {
            id: text(gateway.nat_gateway_id()),
        }),
        "deleted" => Readiness::Absent,
        "failed" => Readiness::Broken(
            format!(
                "failed ({}): {}",
                text(gateway.failure_code()),
                text(gateway.failure_message())
            )
            .into(),
        ),
        other => Readiness::Pending(other.to_owned().into()),
    }
}
