//! Where a subnet's traffic goes.
//!
//! Routes and associations are set in `configure`. The route to the network itself and those that a gateway
//! endpoint puts in belong to AWS and are left alone.

use aws_sdk_ec2::types::{ResourceType, RouteTable as Live, RouteTableAssociation};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::{
    InternetGateway, NatGateway, Subnet, Vpc, by, in_order, ours, remove, settle_tags, tagged,
    tags_of, text,
};
use crate::cloud::Fault;
use crate::resource::{
    Address, ApplyCx, Change, CloudCx, Created, Diff, Found, Kind, PlanCx, Readiness, Ref, Replay,
    Resource, Tags,
};

#[derive(Debug, Clone, Serialize)]
pub struct RouteTable {
    pub vpc: Ref<Vpc>,
    pub routes: Vec<Route>,
    pub subnets: Vec<Ref<Subnet>>,
}

#[derive(Debug, Clone, Serialize)]
pub struct Route {
    pub to: Ipv4Net,
    pub via: Via,
}

/// What carries the traffic of a route.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Via {
    Internet(Ref<InternetGateway>),
    Nat(Ref<NatGateway>),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteTableOutput {
    pub id: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteTableLive {
    pub vpc: String,
    pub routes: Vec<LiveRoute>,
    pub subnets: Vec<String>,
    pub tags: Tags,
}

/// A route by destination and the id of what carries it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LiveRoute {
    pub to: String,
    pub via: String,
}

impl Resource for RouteTable {
    const KIND: Kind = Kind::new("ec2/route_table");
    const REPLAY: Replay = Replay::Token;
    const CONFIGURES: bool = true;
    const ACTIONS: &'static [&'static str] = &[
        "ec2:CreateRouteTable",
        "ec2:CreateRoute",
        "ec2:ReplaceRoute",
        "ec2:DeleteRoute",
        "ec2:AssociateRouteTable",
        "ec2:ReplaceRouteTableAssociation",
        "ec2:DisassociateRouteTable",
        "ec2:DescribeRouteTables",
        "ec2:DeleteRouteTable",
        "ec2:CreateTags",
        "ec2:DeleteTags",
    ];

    type Id = String;
    type Output = RouteTableOutput;
    type Live = RouteTableLive;

    fn refs(&self) -> Vec<&Address> {
        let vias = self.routes.iter().map(|r| match &r.via {
            Via::Internet(gateway) => gateway.address(),
            Via::Nat(gateway) => gateway.address(),
        });
        std::iter::once(self.vpc.address())
            .chain(vias)
            .chain(self.subnets.iter().map(Ref::address))
            .collect()
    }

    fn diff(&self, live: &RouteTableLive, cx: &PlanCx<'_>) -> Diff {
        let mut routes: Vec<_> = self
            .routes
            .iter()
            .map(|r| {
                let via = match &r.via {
                    Via::Internet(gateway) => cx.want(gateway, |g| g.id),
                    Via::Nat(gateway) => cx.want(gateway, |g| g.id),
                };
                serde_json::json!({"to": r.to, "via": via})
            })
            .collect();
        routes.sort_by_key(ToString::to_string);
        let mut subnets: Vec<_> = self.subnets.iter().map(|s| cx.want(s, |s| s.id)).collect();
        subnets.sort_by_key(ToString::to_string);
        Diff::new()
            .fixed("vpc", cx.want(&self.vpc, |v| v.id), &live.vpc)
            .field("routes", routes, &live.routes)
            .field("subnets", subnets, &live.subnets)
            .field("tags", cx.tags(&Tags::new()), &live.tags)
    }

    async fn survey(cx: &CloudCx) -> Result<Vec<Found<Self>>, Fault> {
        let listed = cx
            .read("ec2:DescribeRouteTables", || {
                cx.aws()
                    .ec2
                    .describe_route_tables()
                    .filters(cx.site_filter())
                    .into_paginator()
                    .items()
                    .send()
                    .collect::<Result<Vec<_>, _>>()
            })
            .await?;
        Ok(listed.iter().filter_map(|t| found(t, cx.site())).collect())
    }

    async fn poll(ids: &[String], cx: &CloudCx) -> Result<Vec<Readiness<RouteTableOutput>>, Fault> {
        let listed = list("route-table-id", ids, cx).await?;
        Ok(in_order(ids, &listed, Live::route_table_id, readiness))
    }

    async fn create(&self, cx: &ApplyCx<'_>) -> Result<Created<Self>, Fault> {
        let vpc = cx.get(&self.vpc)?.id;
        let answer = cx
            .cloud
            .write("ec2:CreateRouteTable", || {
                cx.aws()
                    .ec2
                    .create_route_table()
                    .client_token(cx.token)
                    .vpc_id(&vpc)
                    .tag_specifications(tagged(ResourceType::RouteTable, &cx.tags(&Tags::new())))
                    .send()
            })
            .await?;
        let id = text(answer.route_table().and_then(Live::route_table_id));
        Ok(Created::Done(id.clone(), RouteTableOutput { id }))
    }

    async fn configure(
        &self,
        id: &String,
        change: Change<'_>,
        cx: &ApplyCx<'_>,
    ) -> Result<(), Fault> {
        settle_tags(id, change, &Tags::new(), cx).await?;
        if !change.touches(&["routes", "subnets"]) {
            return Ok(());
        }
        // A new table is empty; what an earlier attempt put in shows itself as a refusal below.
        let have = match change {
            Change::All => None,
            Change::Fields(_) => list("route-table-id", std::slice::from_ref(id), cx.cloud)
                .await?
                .into_iter()
                .next(),
        };
        self.settle_routes(id, have.as_ref(), cx).await?;
        self.settle_subnets(id, have.as_ref(), cx).await
    }

    async fn delete(id: &String, cx: &CloudCx) -> Result<(), Fault> {
        let listed = list("route-table-id", std::slice::from_ref(id), cx).await?;
        for association in listed.iter().flat_map(Live::associations) {
            disassociate(association, cx).await?;
        }
        remove(cx.put("ec2:DeleteRouteTable", || {
            cx.aws().ec2.delete_route_table().route_table_id(id).send()
        }))
        .await
    }
}

impl RouteTable {
    async fn settle_routes(
        &self,
        id: &str,
        have: Option<&Live>,
        cx: &ApplyCx<'_>,
    ) -> Result<(), Fault> {
        let have = have.map(routes_of).unwrap_or_default();
        for route in &self.routes {
            let to = route.to.to_string();
            let via = match &route.via {
                Via::Internet(gateway) => cx.get(gateway)?.id,
                Via::Nat(gateway) => cx.get(gateway)?.id,
            };
            match have.iter().find(|h| h.to == to) {
                Some(there) if there.via == via => {}
                Some(_) => replace_route(id, route, &via, cx).await?,
                None => match create_route(id, route, &via, cx).await {
                    Err(fault) if fault.is_exists() => replace_route(id, route, &via, cx).await?,
                    other => other?,
                },
            }
        }
        for surplus in &have {
            if self.routes.iter().any(|r| r.to.to_string() == surplus.to) {
                continue;
            }
            remove(cx.cloud.put("ec2:DeleteRoute", || {
                cx.aws()
                    .ec2
                    .delete_route()
                    .route_table_id(id)
                    .destination_cidr_block(&surplus.to)
                    .send()
            }))
            .await?;
        }
        Ok(())
    }

    async fn settle_subnets(
        &self,
        id: &str,
        have: Option<&Live>,
        cx: &ApplyCx<'_>,
    ) -> Result<(), Fault> {
        let moving = have.is_some();
        let have: Vec<&RouteTableAssociation> = have
            .map(Live::associations)
            .unwrap_or_default()
            .iter()
            .filter(|a| is_associated(a))
            .collect();
        let mut wanted = Vec::new();
        for subnet in &self.subnets {
            let subnet = cx.get(subnet)?.id;
            if !have.iter().any(|a| a.subnet_id() == Some(&subnet)) {
                associate(id, &subnet, moving, cx).await?;
            }
            wanted.push(subnet);
        }
        for surplus in have {
            let still = surplus
                .subnet_id()
                .is_some_and(|s| wanted.iter().any(|w| w == s));
            if !still {
                disassociate(surplus, cx.cloud).await?;
            }
        }
        Ok(())
    }
}

async fn list(filter: &str, values: &[String], cx: &CloudCx) -> Result<Vec<Live>, Fault> {
    cx.read("ec2:DescribeRouteTables", || {
        cx.aws()
            .ec2
            .describe_route_tables()
            .filters(by(filter, values))
            .into_paginator()
            .items()
            .send()
            .collect::<Result<Vec<_>, _>>()
    })
    .await
}

async fn create_route(id: &str, route: &Route, via: &str, cx: &ApplyCx<'_>) -> Result<(), Fault> {
    cx.cloud
        .put("ec2:CreateRoute", || {
            let call = cx
                .aws()
                .ec2
                .create_route()
                .route_table_id(id)
                .destination_cidr_block(route.to.to_string());
            match route.via {
                Via::Internet(_) => call.gateway_id(via),
                Via::Nat(_) => call.nat_gateway_id(via),
            }
            .send()
        })
        .await?;
    Ok(())
}

async fn replace_route(id: &str, route: &Route, via: &str, cx: &ApplyCx<'_>) -> Result<(), Fault> {
    cx.cloud
        .put("ec2:ReplaceRoute", || {
            let call = cx
                .aws()
                .ec2
                .replace_route()
                .route_table_id(id)
                .destination_cidr_block(route.to.to_string());
            match route.via {
                Via::Internet(_) => call.gateway_id(via),
                Via::Nat(_) => call.nat_gateway_id(via),
            }
            .send()
        })
        .await?;
    Ok(())
}

/// Associates a subnet with the table. When `moving`, it probably follows another one; then that is asked
/// first.
async fn associate(id: &str, subnet: &str, moving: bool, cx: &ApplyCx<'_>) -> Result<(), Fault> {
    if moving && take_over(id, subnet, cx).await? {
        return Ok(());
    }
    let answer = cx
        .cloud
        .put("ec2:AssociateRouteTable", || {
            cx.aws()
                .ec2
                .associate_route_table()
                .route_table_id(id)
                .subnet_id(subnet)
                .send()
        })
        .await;
    match answer {
        Err(fault) if fault.code() == "Resource.AlreadyAssociated" => {
            if take_over(id, subnet, cx).await? {
                return Ok(());
            }
            // The listing does not show it yet: later.
            Err(fault)
        }
        other => other.map(drop),
    }
}

/// Brings a subnet that follows some table under this one. False when it follows none.
async fn take_over(id: &str, subnet: &str, cx: &ApplyCx<'_>) -> Result<bool, Fault> {
    let holding = list("association.subnet-id", &[subnet.to_owned()], cx.cloud).await?;
    for table in &holding {
        let held = table
            .associations()
            .iter()
            .find(|a| a.subnet_id() == Some(subnet));
        let Some(association) = held.and_then(RouteTableAssociation::route_table_association_id)
        else {
            continue;
        };
        if table.route_table_id() == Some(id) {
            return Ok(true);
        }
        cx.cloud
            .put("ec2:ReplaceRouteTableAssociation", || {
                cx.aws()
                    .ec2
                    .replace_route_table_association()
                    .association_id(association)
                    .route_table_id(id)
                    .send()
            })
            .await?;
        return Ok(true);
    }
    Ok(false)
}

async fn disassociate(association: &RouteTableAssociation, cx: &CloudCx) -> Result<(), Fault> {
    let Some(id) = association.route_table_association_id() else {
        return Ok(());
    };
    remove(cx.put("ec2:DisassociateRouteTable", || {
        cx.aws()
            .ec2
            .disassociate_route_table()
            .association_id(id)
            .send()
    }))
    .await
}

fn is_associated(association: &RouteTableAssociation) -> bool {
    let state = association
        .association_state()
        .and_then(|s| s.state())
        .map_or("", |s| s.as_str());
    association.subnet_id().is_some() && !matches!(state, "disassociated" | "disassociating")
}

/// The routes that are ours to manage: those to an IPv4 range, but for the network's own.
fn routes_of(table: &Live) -> Vec<LiveRoute> {
    let mut routes: Vec<LiveRoute> = table
        .routes()
        .iter()
        .filter(|r| r.gateway_id() != Some("local"))
        .filter_map(|r| {
            let via = r
                .nat_gateway_id()
                .or(r.gateway_id())
                .or(r.network_interface_id())
                .or(r.transit_gateway_id())
                .or(r.vpc_peering_connection_id());
            Some(LiveRoute {
                to: r.destination_cidr_block()?.to_owned(),
                via: text(via),
            })
        })
        .collect();
    routes.sort();
    routes
}

fn found(table: &Live, site: &str) -> Option<Found<RouteTable>> {
    let mut subnets: Vec<String> = table
        .associations()
        .iter()
        .filter(|a| is_associated(a))
        .map(|a| text(a.subnet_id()))
        .collect();
    subnets.sort();
    Some(Found {
        address: ours::<RouteTable>(table.tags(), site)?,
        id: text(table.route_table_id()),
        live: RouteTableLive {
            vpc: text(table.vpc_id()),
            routes: routes_of(table),
            subnets,
            tags: tags_of(table.tags()),
        },
        readiness: readiness(table),
    })
}

fn readiness(table: &Live) -> Readiness<RouteTableOutput> {
    Readiness::Ready(RouteTableOutput {
        id: text(table.route_table_id()),
    })
}
