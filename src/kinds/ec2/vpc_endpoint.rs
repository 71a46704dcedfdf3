//! A private way to an AWS service, past the NAT gateways and their tolls.

use aws_sdk_ec2::types::{ResourceType, VpcEndpoint as Live, VpcEndpointType};
use serde::{Deserialize, Serialize};

use super::{
    RouteTable, SecurityGroup, Subnet, Vpc, in_order, ours, refused, remove, settle_tags, tagged,
    tags_of, text,
};
use crate::cloud::Fault;
use crate::resource::{
    Address, ApplyCx, Change, CloudCx, Created, Diff, Found, Kind, PlanCx, Readiness, Ref, Replay,
    Resource, Tags,
};

#[derive(Debug, Clone, Serialize)]
pub struct VpcEndpoint {
    pub vpc: Ref<Vpc>,
    /// The last part of the service's name: `s3`, `ssm`.
    pub service: String,
    pub attach: EndpointKind,
}

/// How the endpoint is reached.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EndpointKind {
    /// By a route in these tables; costs nothing, and only S3 and DynamoDB have it.
    Gateway { route_tables: Vec<Ref<RouteTable>> },
    /// By an interface in each of these subnets.
    Interface {
        subnets: Vec<Ref<Subnet>>,
        groups: Vec<Ref<SecurityGroup>>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VpcEndpointOutput {
    pub id: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VpcEndpointLive {
    pub vpc: String,
    /// In full: `com.amazonaws.eu-west-1.s3`.
    pub service: String,
    /// `Gateway` or `Interface`.
    pub reached_by: String,
    pub route_tables: Vec<String>,
    pub subnets: Vec<String>,
    pub groups: Vec<String>,
    pub private_dns: bool,
    pub tags: Tags,
}

impl Resource for VpcEndpoint {
    const KIND: Kind = Kind::new("ec2/vpc_endpoint");
    const REPLAY: Replay = Replay::Token;
    const ACTIONS: &'static [&'static str] = &[
        "ec2:CreateVpcEndpoint",
        "ec2:ModifyVpcEndpoint",
        "ec2:DescribeVpcEndpoints",
        "ec2:DeleteVpcEndpoints",
        "ec2:CreateTags",
        "ec2:DeleteTags",
        // Private DNS names are kept in a hidden zone that AWS makes in the caller's name.
        "route53:AssociateVPCWithHostedZone",
    ];
    const USUAL_SECONDS: u64 = 60;
    const DELETE_TAKES_TIME: bool = true;

    type Id = String;
    type Output = VpcEndpointOutput;
    type Live = VpcEndpointLive;

    fn refs(&self) -> Vec<&Address> {
        let mut refs = vec![self.vpc.address()];
        match &self.attach {
            EndpointKind::Gateway { route_tables } => {
                refs.extend(route_tables.iter().map(Ref::address));
            }
            EndpointKind::Interface { subnets, groups } => {
                refs.extend(subnets.iter().map(Ref::address));
                refs.extend(groups.iter().map(Ref::address));
            }
        }
        refs
    }

    fn diff(&self, live: &VpcEndpointLive, cx: &PlanCx<'_>) -> Diff {
        let (mut tables, mut nets, mut guards) = (vec![], vec![], vec![]);
        match &self.attach {
            EndpointKind::Gateway { route_tables } => {
                tables.extend(route_tables.iter().map(|t| cx.want(t, |t| t.id)));
            }
            EndpointKind::Interface { subnets, groups } => {
                nets.extend(subnets.iter().map(|s| cx.want(s, |s| s.id)));
                guards.extend(groups.iter().map(|g| cx.want(g, |g| g.id)));
            }
        }
        for list in [&mut tables, &mut nets, &mut guards] {
            list.sort_by_key(ToString::to_string);
        }
        let diff = Diff::new()
            .fixed("vpc", cx.want(&self.vpc, |v| v.id), &live.vpc)
            .fixed(
                "service",
                service_name(&cx.scope.region, &self.service),
                &live.service,
            )
            .fixed("reached_by", self.reached_by().as_str(), &live.reached_by)
            .field("route_tables", tables, &live.route_tables)
            .field("subnets", nets, &live.subnets)
            .field("groups", guards, &live.groups)
            .field("tags", cx.tags(&Tags::new()), &live.tags);
        // A gateway endpoint bears no name; what stands there says nothing.
        match self.attach {
            EndpointKind::Gateway { .. } => diff,
            EndpointKind::Interface { .. } => {
                diff.field("private_dns", self.private_dns(), live.private_dns)
            }
        }
    }

    async fn survey(cx: &CloudCx) -> Result<Vec<Found<Self>>, Fault> {
        let listed = list(cx).await?;
        Ok(listed.iter().filter_map(|t| found(t, cx.site())).collect())
    }

    async fn poll(
        ids: &[String],
        cx: &CloudCx,
    ) -> Result<Vec<Readiness<VpcEndpointOutput>>, Fault> {
        let listed = list(cx).await?;
        Ok(in_order(ids, &listed, Live::vpc_endpoint_id, readiness))
    }

    async fn create(&self, cx: &ApplyCx<'_>) -> Result<Created<Self>, Fault> {
        let vpc = cx.get(&self.vpc)?.id;
        let wanted = self.parts(cx)?;
        let service = service_name(&cx.cloud.scope().region, &self.service);
        let answer = cx
            .cloud
            .write("ec2:CreateVpcEndpoint", || {
                let call = cx
                    .aws()
                    .ec2
                    .create_vpc_endpoint()
                    .client_token(cx.token)
                    .vpc_id(&vpc)
                    .service_name(&service)
                    .vpc_endpoint_type(self.reached_by())
                    .tag_specifications(tagged(ResourceType::VpcEndpoint, &cx.tags(&Tags::new())));
                match self.attach {
                    EndpointKind::Gateway { .. } => {
                        call.set_route_table_ids(Some(wanted.route_tables.clone()))
                    }
                    EndpointKind::Interface { .. } => call
                        .set_subnet_ids(Some(wanted.subnets.clone()))
                        .set_security_group_ids(Some(wanted.groups.clone()))
                        .private_dns_enabled(self.private_dns()),
                }
                .send()
            })
            .await?;
        let Some(made) = answer.vpc_endpoint() else {
            return Err(Fault::internal("an endpoint was made without an answer"));
        };
        let id = text(made.vpc_endpoint_id());
        Ok(match readiness(made) {
            Readiness::Ready(output) => Created::Done(id, output),
            _ => Created::Waiting(id),
        })
    }

    async fn configure(
        &self,
        id: &String,
        change: Change<'_>,
        cx: &ApplyCx<'_>,
    ) -> Result<(), Fault> {
        settle_tags(id, change, &Tags::new(), cx).await?;
        // `create` sets everything; only a difference asks for more.
        let Change::Fields(diff) = change else {
            return Ok(());
        };
        if !diff.has_any(&["route_tables", "subnets", "groups", "private_dns"]) {
            return Ok(());
        }
        let listed = list(cx.cloud).await?;
        let have = listed
            .iter()
            .find(|e| e.vpc_endpoint_id() == Some(id))
            .map(Parts::of)
            .unwrap_or_default();
        let want = self.parts(cx)?;
        cx.cloud
            .put("ec2:ModifyVpcEndpoint", || {
                let call = cx
                    .aws()
                    .ec2
                    .modify_vpc_endpoint()
                    .vpc_endpoint_id(id)
                    .set_add_route_table_ids(more(&want.route_tables, &have.route_tables))
                    .set_remove_route_table_ids(more(&have.route_tables, &want.route_tables))
                    .set_add_subnet_ids(more(&want.subnets, &have.subnets))
                    .set_remove_subnet_ids(more(&have.subnets, &want.subnets))
                    .set_add_security_group_ids(more(&want.groups, &have.groups))
                    .set_remove_security_group_ids(more(&have.groups, &want.groups));
                if diff.has("private_dns") {
                    call.private_dns_enabled(self.private_dns())
                } else {
                    call
                }
                .send()
            })
            .await?;
        Ok(())
    }

    async fn delete(id: &String, cx: &CloudCx) -> Result<(), Fault> {
        let call = "ec2:DeleteVpcEndpoints";
        remove(async {
            let answer = cx
                .put(call, || {
                    cx.aws()
                        .ec2
                        .delete_vpc_endpoints()
                        .vpc_endpoint_ids(id)
                        .send()
                })
                .await?;
            refused(call, answer.unsuccessful())
        })
        .await
    }
}

impl VpcEndpoint {
    fn reached_by(&self) -> VpcEndpointType {
        match self.attach {
            EndpointKind::Gateway { .. } => VpcEndpointType::Gateway,
            EndpointKind::Interface { .. } => VpcEndpointType::Interface,
        }
    }

    /// Whether the service's public name resolves to the endpoint inside the network. S3 and DynamoDB
    /// interfaces cannot do it without resolver endpoints; their gateway endpoints need no name.
    fn private_dns(&self) -> bool {
        matches!(self.attach, EndpointKind::Interface { .. })
            && !matches!(self.service.as_str(), "s3" | "dynamodb")
    }

    fn parts(&self, cx: &ApplyCx<'_>) -> Result<Parts, Fault> {
        let mut parts = Parts::default();
        match &self.attach {
            EndpointKind::Gateway { route_tables } => {
                for table in route_tables {
                    parts.route_tables.push(cx.get(table)?.id);
                }
            }
            EndpointKind::Interface { subnets, groups } => {
                for subnet in subnets {
                    parts.subnets.push(cx.get(subnet)?.id);
                }
                for group in groups {
                    parts.groups.push(cx.get(group)?.id);
                }
            }
        }
        Ok(parts)
    }
}

/// What an endpoint is attached to, by id, sorted when it comes from AWS.
#[derive(Debug, Default)]
struct Parts {
    route_tables: Vec<String>,
    subnets: Vec<String>,
    groups: Vec<String>,
}

impl Parts {
    fn of(endpoint: &Live) -> Self {
        let groups = endpoint.groups().iter().map(|g| text(g.group_id()));
        let mut parts = Self {
            route_tables: endpoint.route_table_ids().to_vec(),
            subnets: endpoint.subnet_ids().to_vec(),
            groups: groups.collect(),
        };
        parts.route_tables.sort();
        parts.subnets.sort();
        parts.groups.sort();
        parts
    }
}

/// Those of `these` that are not among `those`; none instead of an empty list.
fn more(these: &[String], those: &[String]) -> Option<Vec<String>> {
    let more: Vec<String> = these
        .iter()
        .filter(|t| !those.contains(t))
        .cloned()
        .collect();
    (!more.is_empty()).then_some(more)
}

fn service_name(region: &str, service: &str) -> String {
    format!("com.amazonaws.{region}.{service}")
}

/// All of the site: there are few, and emulators know no filter by id.
async fn list(cx: &CloudCx) -> Result<Vec<Live>, Fault> {
    cx.read("ec2:DescribeVpcEndpoints", || {
        cx.aws()
            .ec2
            .describe_vpc_endpoints()
            .filters(cx.site_filter())
            .into_paginator()
            .items()
            .send()
            .collect::<Result<Vec<_>, _>>()
    })
    .await
}

/// The state in lower case: AWS writes it both ways.
fn state(endpoint: &Live) -> String {
    endpoint
        .state()
        .map(|s| s.as_str().to_ascii_lowercase())
        .unwrap_or_default()
}

fn found(endpoint: &Live, site: &str) -> Option<Found<VpcEndpoint>> {
    if matches!(state(endpoint).as_str(), "deleting" | "deleted") {
        return None;
    }
    let parts = Parts::of(endpoint);
    Some(Found {
        address: ours::<VpcEndpoint>(endpoint.tags(), site)?,
        id: text(endpoint.vpc_endpoint_id()),
        live: VpcEndpointLive {
            vpc: text(endpoint.vpc_id()),
            service: text(endpoint.service_name()),
            reached_by: endpoint
                .vpc_endpoint_type()
                .map(|t| t.as_str().to_owned())
                .unwrap_or_default(),
            route_tables: parts.route_tables,
            subnets: parts.subnets,
            groups: parts.groups,
            private_dns: endpoint.private_dns_enabled().unwrap_or(false),
            tags: tags_of(endpoint.tags()),
        },
        readiness: readiness(endpoint),
    })
}

fn readiness(endpoint: &Live) -> Readiness<VpcEndpointOutput> {
    match state(endpoint).as_str() {
        "available" => Readiness::Ready(VpcEndpointOutput {
            id: text(endpoint.vpc_endpoint_id()),
        }),
        "deleted" => Readiness::Absent,
        word @ ("failed" | "rejected" | "expired" | "partial") => {
            let why = endpoint.last_error().and_then(|e| e.message());
            Readiness::Broken(format!("{word}: {}", why.unwrap_or("no reason given")).into())
        }
        other => Readiness::Pending(other.to_owned().into()),
    }
}
