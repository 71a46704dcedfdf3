//! The door of the network to the internet.
//!
//! It is made on its own and attached to the network in `configure`; a network has room for one.

use aws_sdk_ec2::types::{InternetGateway as Live, ResourceType};
use serde::{Deserialize, Serialize};

use super::{Vpc, by, in_order, ours, remove, settle_tags, tagged, tags_of, text};
use crate::cloud::Fault;
use crate::resource::{
    Address, ApplyCx, Change, CloudCx, Created, Diff, Found, Kind, PlanCx, Readiness, Ref, Replay,
    Resource, Tags,
};

#[derive(Debug, Clone, Serialize)]
pub struct InternetGateway {
    pub vpc: Ref<Vpc>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InternetGatewayOutput {
    pub id: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InternetGatewayLive {
    /// The network it is attached to.
    pub vpc: Option<String>,
    pub tags: Tags,
}

impl Resource for InternetGateway {
    const KIND: Kind = Kind::new("ec2/internet_gateway");
    const REPLAY: Replay = Replay::TagLookup;
    const CONFIGURES: bool = true;
    const ACTIONS: &'static [&'static str] = &[
        "ec2:CreateInternetGateway",
        "ec2:AttachInternetGateway",
        "ec2:DetachInternetGateway",
        "ec2:DescribeInternetGateways",
        "ec2:DeleteInternetGateway",
        "ec2:CreateTags",
        "ec2:DeleteTags",
    ];

    type Id = String;
    type Output = InternetGatewayOutput;
    type Live = InternetGatewayLive;

    fn refs(&self) -> Vec<&Address> {
        vec![self.vpc.address()]
    }

    fn diff(&self, live: &InternetGatewayLive, cx: &PlanCx<'_>) -> Diff {
        let vpc = cx.want(&self.vpc, |v| v.id);
        let diff = match &live.vpc {
            None => Diff::new().field("vpc", vpc, None::<String>),
            // Attached elsewhere it holds the other network: a new one is made and this one goes.
            Some(other) => Diff::new().fixed("vpc", vpc, other),
        };
        diff.field("tags", cx.tags(&Tags::new()), &live.tags)
    }

    async fn survey(cx: &CloudCx) -> Result<Vec<Found<Self>>, Fault> {
        let listed = cx
            .read("ec2:DescribeInternetGateways", || {
                cx.aws()
                    .ec2
                    .describe_internet_gateways()
                    .filters(cx.site_filter())
                    .into_paginator()
                    .items()
                    .send()
                    .collect::<Result<Vec<_>, _>>()
            })
            .await?;
        Ok(listed.iter().filter_map(|t| found(t, cx.site())).collect())
    }

    async fn poll(
        ids: &[String],
        cx: &CloudCx,
    ) -> Result<Vec<Readiness<InternetGatewayOutput>>, Fault> {
        let listed = list(ids, cx).await?;
        Ok(in_order(ids, &listed, Live::internet_gateway_id, readiness))
    }

    async fn create(&self, cx: &ApplyCx<'_>) -> Result<Created<Self>, Fault> {
        let answer = cx
            .cloud
            .write("ec2:CreateInternetGateway", || {
                cx.aws()
                    .ec2
                    .create_internet_gateway()
                    .tag_specifications(tagged(
                        ResourceType::InternetGateway,
                        &cx.tags(&Tags::new()),
                    ))
                    .send()
            })
            .await?;
        let id = text(
            answer
                .internet_gateway()
                .and_then(Live::internet_gateway_id),
        );
        Ok(Created::Done(id.clone(), InternetGatewayOutput { id }))
    }

    async fn configure(
        &self,
        id: &String,
        change: Change<'_>,
        cx: &ApplyCx<'_>,
    ) -> Result<(), Fault> {
        settle_tags(id, change, &Tags::new(), cx).await?;
        if !change.touches(&["vpc"]) {
            return Ok(());
        }
        let vpc = cx.get(&self.vpc)?.id;
        let attached = cx
            .cloud
            .put("ec2:AttachInternetGateway", || {
                cx.aws()
                    .ec2
                    .attach_internet_gateway()
                    .internet_gateway_id(id)
                    .vpc_id(&vpc)
                    .send()
            })
            .await;
        let Err(fault) = attached else { return Ok(()) };
        // An earlier attempt may have attached it; AWS then says "already", whatever to.
        let listed = list(std::slice::from_ref(id), cx.cloud).await?;
        if listed.iter().any(|g| vpc_of(g) == Some(vpc.clone())) {
            return Ok(());
        }
        Err(fault)
    }

    async fn delete(id: &String, cx: &CloudCx) -> Result<(), Fault> {
        let listed = list(std::slice::from_ref(id), cx).await?;
        if let Some(vpc) = listed.first().and_then(vpc_of) {
            let detached = cx
                .put("ec2:DetachInternetGateway", || {
                    cx.aws()
                        .ec2
                        .detach_internet_gateway()
                        .internet_gateway_id(id)
                        .vpc_id(&vpc)
                        .send()
                })
                .await;
            match detached {
                Err(fault) if fault.code() != "Gateway.NotAttached" && !fault.is_gone() => {
                    return Err(fault);
                }
                _ => {}
            }
        }
        remove(cx.put("ec2:DeleteInternetGateway", || {
            cx.aws()
                .ec2
                .delete_internet_gateway()
                .internet_gateway_id(id)
                .send()
        }))
        .await
    }
}

async fn list(ids: &[String], cx: &CloudCx) -> Result<Vec<Live>, Fault> {
    cx.read("ec2:DescribeInternetGateways", || {
        cx.aws()
            .ec2
            .describe_internet_gateways()
            .filters(by("internet-gateway-id", ids))
            .into_paginator()
            .items()
            .send()
            .collect::<Result<Vec<_>, _>>()
    })
    .await
}

fn vpc_of(gateway: &Live) -> Option<String> {
    gateway.attachments().iter().find_map(|a| {
        let state = a.state().map_or("", |s| s.as_str());
        // EC2 says `available` where its type says `attached`.
        (state != "detached" && state != "detaching").then(|| text(a.vpc_id()))
    })
}

fn found(gateway: &Live, site: &str) -> Option<Found<InternetGateway>> {
    Some(Found {
        address: ours::<InternetGateway>(gateway.tags(), site)?,
        id: text(gateway.internet_gateway_id()),
        live: InternetGatewayLive {
            vpc: vpc_of(gateway),
            tags: tags_of(gateway.tags()),
        },
        readiness: readiness(gateway),
    })
}

fn readiness(gateway: &Live) -> Readiness<InternetGatewayOutput> {
    Readiness::Ready(InternetGatewayOutput {
        id: text(gateway.internet_gateway_id()),
    })
}
