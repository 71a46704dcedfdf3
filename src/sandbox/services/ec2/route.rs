//! Route tables, their routes, and which subnets follow them.

use ipnet::Ipv4Net;
use serde_json::{Value, json};

use super::{Handler, arn, describe, gateway, need, page, shown, subnet_check, tags_asked, yes};
use crate::sandbox::call::{Call, Outcome, Refusal};
use crate::sandbox::world::{Row, World};

pub(super) const ACTIONS: &[&str] = &[
    "CreateRouteTable",
    "DescribeRouteTables",
    "DeleteRouteTable",
    "CreateRoute",
    "ReplaceRoute",
    "DeleteRoute",
    "AssociateRouteTable",
    "ReplaceRouteTableAssociation",
    "DisassociateRouteTable",
];

pub(super) fn find(action: &str) -> Option<Handler> {
    Some(match action {
        "CreateRouteTable" => create,
        "DescribeRouteTables" => list,
        "DeleteRouteTable" => delete,
        "CreateRoute" => create_route,
        "ReplaceRoute" => replace_route,
        "DeleteRoute" => delete_route,
        "AssociateRouteTable" => associate,
        "ReplaceRouteTableAssociation" => move_association,
        "DisassociateRouteTable" => disassociate,
        _ => return None,
    })
}

pub(super) const TABLE: &str = "ec2/route_table";

/// A new table with the network's own route.
fn insert<'w>(world: &'w mut World, call: &Call, vpc: &str, cidr: &str) -> (String, &'w mut Row) {
    let id = world.id("rtb");
    let local = json!({"destinationCidrBlock": cidr, "gatewayId": "local", "state": "active", "origin": "CreateRouteTable"});
    let v = json!({"routeTableId": id, "vpcId": vpc, "ownerId": world.account, "routeSet": {"item": [local]},
        "associationSet": {"item": []}, "_arn": arn(world, &call.region, "route-table", &id)});
    let row = world.insert(&call.region, TABLE, &id, v, call.now);
    (id, row)
}

/// The main table that comes and goes with its network.
pub(super) fn main_table(world: &mut World, call: &Call, vpc: &str, cidr: &str) {
    let association = world.id("rtbassoc");
    let (id, row) = insert(world, call, vpc, cidr);
    row.set("_default", true);
    items(row, "associationSet").push(
        json!({"routeTableAssociationId": association, "routeTableId": id,
        "main": true, "associationState": {"state": "associated"}}),
    );
}

/// The items of a set in a row, to change.
pub(super) fn items<'r>(row: &'r mut Row, set: &str) -> &'r mut Vec<Value> {
    let list = &mut row.v[set]["item"];
    if !list.is_array() {
        *list = json!([]);
    }
    match list {
        Value::Array(items) => items,
        // It was made an array just above.
        _ => unreachable!("a set is a list"),
    }
}

/// The items of a set in a row.
fn items_of<'r>(row: &'r Row, set: &str) -> &'r [Value] {
    row.v[set]["item"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default()
}

fn create(world: &mut World, call: &Call) -> Outcome {
    let token = call.opt("ClientToken").unwrap_or_default();
    if !token.is_empty()
        && let Some(id) = call.replayed(world, token)?
    {
        let row = need_table(world, call, &id)?.clone();
        return Ok(json!({"clientToken": token, "routeTable": show(world, call, &row)}).into());
    }
    let vpc = call.need("VpcId")?.to_owned();
    let row = need(world, call, "ec2/vpc", &vpc, "InvalidVpcID.NotFound")?;
    let cidr = row.text("cidrBlock").to_owned();
    let used = world
        .rows(&call.region, TABLE)
        .filter(|(_, r)| r.text("vpcId") == vpc)
        .count() as u64;
    if used >= world.quota("route_tables", 200) {
        return Err(Refusal::bad(
            "RouteTableLimitExceeded",
            "The maximum number of route tables has been reached.",
        ));
    }
    let tags = tags_asked(call, "route-table");
    let (id, row) = insert(world, call, &vpc, &cidr);
    row.tags = tags;
    let row = row.clone();
    if !token.is_empty() {
        call.remember(world, token, &id);
    }
    Ok(json!({"clientToken": token, "routeTable": show(world, call, &row)}).into())
}

fn need_table<'w>(world: &'w World, call: &Call, id: &str) -> Result<&'w Row, Refusal> {
    need(world, call, TABLE, id, "InvalidRouteTableID.NotFound")
}

/// With routes into nowhere marked as such.
fn show(world: &World, call: &Call, row: &Row) -> Value {
    let mut row = row.clone();
    let vpc = row.text("vpcId").to_owned();
    for route in items(&mut row, "routeSet") {
        let dead = match (route["natGatewayId"].as_str(), route["gatewayId"].as_str()) {
            (Some(nat), _) => gateway::nat_usable(world, &call.region, nat).is_none(),
            (_, Some(id)) if id.starts_with("igw-") => {
                gateway::internet_of(world, &call.region, &vpc) != Some(id)
            }
            _ => false,
        };
        route["state"] = json!(if dead { "blackhole" } else { "active" });
    }
    shown(&row)
}

fn list(world: &mut World, call: &Call) -> Outcome {
    let rows = describe(
        world,
        call,
        TABLE,
        "RouteTableId",
        "InvalidRouteTableID.NotFound",
        field,
    )?;
    let items = rows.iter().map(|(_, r)| show(world, call, r)).collect();
    Ok(page(call, items, "routeTableSet").into())
}

fn field(name: &str, id: &str, row: &Row) -> Vec<String> {
    let of = |set: &str, key: &str| {
        let texts = items_of(row, set).iter().filter_map(|i| i[key].as_str());
        texts.map(Into::into).collect()
    };
    match name {
        "route-table-id" => vec![id.to_owned()],
        "vpc-id" => vec![row.text("vpcId").to_owned()],
        "association.subnet-id" => of("associationSet", "subnetId"),
        "association.route-table-association-id" => of("associationSet", "routeTableAssociationId"),
        "association.main" => vec![
            items_of(row, "associationSet")
                .iter()
                .any(|a| a["main"] == true)
                .to_string(),
        ],
        "route.nat-gateway-id" => of("routeSet", "natGatewayId"),
        "route.gateway-id" => of("routeSet", "gatewayId"),
        "route.destination-cidr-block" => of("routeSet", "destinationCidrBlock"),
        _ => vec![],
    }
}

fn delete(world: &mut World, call: &Call) -> Outcome {
    let id = call.need("RouteTableId")?.to_owned();
    let row = need_table(world, call, &id)?;
    if !items_of(row, "associationSet").is_empty() {
        return Err(Refusal::bad(
            "DependencyViolation",
            format!("The routeTable '{id}' has dependencies and cannot be deleted."),
        ));
    }
    world.remove(&call.region, TABLE, &id);
    for endpoint in world.table(&call.region, "ec2/vpc_endpoint").values_mut() {
        items(endpoint, "routeTableIdSet").retain(|t| t != &json!(id));
    }
    yes()
}

// Routes

/// Destination and route as a call asks for it, checked against the table's network.
fn asked(world: &World, call: &Call, table: &Row) -> Result<(String, Value), Refusal> {
    let text = call.need("DestinationCidrBlock")?;
    let to: Ipv4Net = text.parse().map_err(|_| {
        Refusal::bad(
            "InvalidParameterValue",
            format!("Value ({text}) for parameter destinationCidrBlock is invalid. This is not a valid CIDR block."),
        )
    })?;
    let to = to.trunc().to_string();
    let table_id = table.text("routeTableId");
    let vpc = table.text("vpcId");
    let elsewhere = |noun: &str, id: &str| {
        Refusal::bad(
            "InvalidParameterValue",
            format!("route table {table_id} and {noun} {id} belong to different networks"),
        )
    };
    let mut route = json!({"destinationCidrBlock": to, "state": "active", "origin": "CreateRoute"});
    match (call.opt("GatewayId"), call.opt("NatGatewayId")) {
        (Some(id), None) => {
            let row = need(
                world,
                call,
                "ec2/internet_gateway",
                id,
                "InvalidGatewayID.NotFound",
            )?;
            if row.text("_vpcId") != vpc {
                return Err(elsewhere("network gateway", id));
            }
            route["gatewayId"] = json!(id);
        }
        (None, Some(id)) => match gateway::nat_usable(world, &call.region, id) {
            Some(of) if of == vpc => route["natGatewayId"] = json!(id),
            Some(_) => return Err(elsewhere("nat gateway", id)),
            None => {
                return Err(Refusal::bad(
                    "InvalidNatGatewayID.NotFound",
                    format!("The natGateway ID '{id}' does not exist"),
                ));
            }
        },
        _ => {
            return Err(Refusal::bad(
                "InvalidParameterCombination",
                "The request must contain exactly one of gatewayId, natGatewayId",
            ));
        }
    }
    Ok((to, route))
}

/// Most routes of one table; <https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html>.
const MOST: u64 = 50;

fn create_route(world: &mut World, call: &Call) -> Outcome {
    let id = call.need("RouteTableId")?.to_owned();
    let table = need_table(world, call, &id)?;
    let (to, route) = asked(world, call, table)?;
    let routes = items_of(table, "routeSet");
    if routes.iter().any(|r| r["destinationCidrBlock"] == to) {
        return Err(Refusal::bad(
            "RouteAlreadyExists",
            format!("The route identified by {to} already exists."),
        ));
    }
    if routes.len() as u64 >= world.quota("routes", MOST) {
        return Err(Refusal::bad(
            "RouteLimitExceeded",
            "The maximum number of routes has been reached.",
        ));
    }
    if let Some(row) = world.get_mut(&call.region, TABLE, &id) {
        items(row, "routeSet").push(route);
    }
    yes()
}

fn unknown_route(id: &str, to: &str) -> Refusal {
    Refusal::bad(
        "InvalidRoute.NotFound",
        format!("no route with destination-cidr-block {to} in route table {id}"),
    )
}

fn replace_route(world: &mut World, call: &Call) -> Outcome {
    let id = call.need("RouteTableId")?.to_owned();
    let table = need_table(world, call, &id)?;
    let (to, route) = asked(world, call, table)?;
    let there = world
        .get_mut(&call.region, TABLE, &id)
        .and_then(|row| {
            items(row, "routeSet")
                .iter_mut()
                .find(|r| r["destinationCidrBlock"] == to)
        })
        .ok_or_else(|| unknown_route(&id, &to))?;
    *there = route;
    yes()
}

fn delete_route(world: &mut World, call: &Call) -> Outcome {
    let id = call.need("RouteTableId")?.to_owned();
    let to = call.need("DestinationCidrBlock")?.to_owned();
    let table = need_table(world, call, &id)?;
    let there = items_of(table, "routeSet")
        .iter()
        .find(|r| r["destinationCidrBlock"] == to)
        .ok_or_else(|| unknown_route(&id, &to))?;
    if there["gatewayId"] == "local" {
        return Err(Refusal::bad(
            "InvalidParameterValue",
            format!("cannot remove local route {to} in route table {id}"),
        ));
    }
    if let Some(row) = world.get_mut(&call.region, TABLE, &id) {
        items(row, "routeSet").retain(|r| r["destinationCidrBlock"] != to);
    }
    yes()
}

// Associations

fn association(id: &str, table: &str, subnet: &str) -> Value {
    json!({"routeTableAssociationId": id, "routeTableId": table, "subnetId": subnet, "main": false,
        "associationState": {"state": "associated"}})
}

/// Refuses a table and a subnet of different networks.
fn same_network(world: &World, call: &Call, table: &str, subnet: &str) -> Result<(), Refusal> {
    let of = need_table(world, call, table)?.text("vpcId");
    let (vpc, _) = subnet_check(world, &call.region, subnet)?;
    if of == vpc {
        return Ok(());
    }
    Err(Refusal::bad(
        "InvalidParameterValue",
        format!("route table {table} and subnet {subnet} belong to different networks"),
    ))
}

fn associate(world: &mut World, call: &Call) -> Outcome {
    let table = call.need("RouteTableId")?.to_owned();
    let subnet = call.need("SubnetId")?.to_owned();
    same_network(world, call, &table, &subnet)?;
    let taken = world.rows(&call.region, TABLE).any(|(_, r)| {
        items_of(r, "associationSet")
            .iter()
            .any(|a| a["subnetId"] == subnet)
    });
    if taken {
        return Err(Refusal::bad(
            "Resource.AlreadyAssociated",
            format!(
                "the specified association for route table {table} conflicts with an existing association"
            ),
        ));
    }
    let id = world.id("rtbassoc");
    if let Some(row) = world.get_mut(&call.region, TABLE, &table) {
        items(row, "associationSet").push(association(&id, &table, &subnet));
    }
    Ok(json!({"associationId": id, "associationState": {"state": "associated"}}).into())
}

/// The table an association belongs to, and the subnet it is about; the main one cannot be undone.
fn held(world: &World, call: &Call, id: &str) -> Result<(String, String), Refusal> {
    let found = world.rows(&call.region, TABLE).find_map(|(table, r)| {
        let association = items_of(r, "associationSet")
            .iter()
            .find(|a| a["routeTableAssociationId"] == id)?;
        Some((table.clone(), association["subnetId"].as_str()))
    });
    match found {
        Some((table, Some(subnet))) => Ok((table, subnet.to_owned())),
        Some((table, None)) => Err(Refusal::bad(
            "InvalidParameterValue",
            format!("cannot disassociate the main route table association {id} of {table}"),
        )),
        None => Err(Refusal::bad(
            "InvalidAssociationID.NotFound",
            format!("The association ID '{id}' does not exist"),
        )),
    }
}

fn undo(world: &mut World, call: &Call, table: &str, id: &str) {
    if let Some(row) = world.get_mut(&call.region, TABLE, table) {
        items(row, "associationSet").retain(|a| a["routeTableAssociationId"] != id);
    }
}

fn disassociate(world: &mut World, call: &Call) -> Outcome {
    let id = call.need("AssociationId")?.to_owned();
    let (table, _) = held(world, call, &id)?;
    undo(world, call, &table, &id);
    yes()
}

fn move_association(world: &mut World, call: &Call) -> Outcome {
    let id = call.need("AssociationId")?.to_owned();
    let to = call.need("RouteTableId")?.to_owned();
    let (from, subnet) = held(world, call, &id)?;
    same_network(world, call, &to, &subnet)?;
    undo(world, call, &from, &id);
    let new = world.id("rtbassoc");
    if let Some(row) = world.get_mut(&call.region, TABLE, &to) {
        items(row, "associationSet").push(association(&new, &to, &subnet));
    }
    Ok(json!({"newAssociationId": new, "associationState": {"state": "associated"}}).into())
}

/// A deleted subnet takes its association along.
pub(super) fn forget_subnet(world: &mut World, region: &str, subnet: &str) {
    for row in world.table(region, TABLE).values_mut() {
        items(row, "associationSet").retain(|a| a["subnetId"] != subnet);
    }
}
