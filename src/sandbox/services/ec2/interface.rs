//! Network interfaces: what instances, NAT gateways, endpoints, databases, caches and load balancers hold
//! in a subnet, and what keeps that subnet and their groups from being deleted.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde_json::{Value, json};

use super::{Handler, arn, describe, need, page, shown, yes};
use crate::sandbox::call::{Call, Outcome, Refusal};
use crate::sandbox::world::{Millis, Row, World};

pub(super) const ACTIONS: &[&str] = &["DescribeNetworkInterfaces", "DeleteNetworkInterface"];

pub(super) fn find(action: &str) -> Option<Handler> {
    Some(match action {
        "DescribeNetworkInterfaces" => list,
        "DeleteNetworkInterface" => delete,
        _ => return None,
    })
}

const TABLE: &str = "ec2/network_interface";

/// Puts an interface of `owner` (`rds/main`) into a subnet and answers its id. Its private address is the
/// row's `privateIpAddress`. The caller has checked subnet and groups ([`subnet_check`], [`group_check`]).
pub(in crate::sandbox) fn plug(
    world: &mut World,
    region: &str,
    now: Millis,
    subnet_id: &str,
    groups: &[String],
    description: &str,
    owner: &str,
) -> String {
    let id = world.id("eni");
    let address = free_address(world, region, subnet_id);
    let (vpc, zone) = subnet_check(world, region, subnet_id).unwrap_or_default();
    let group_set: Vec<Value> = groups
        .iter()
        .map(|g| {
            let name = world
                .get(region, "ec2/security_group", g)
                .map(|r| r.text("groupName").to_owned())
                .unwrap_or_default();
            json!({"groupId": g, "groupName": name})
        })
        .collect();
    let v = json!({"networkInterfaceId": id, "subnetId": subnet_id, "vpcId": vpc, "availabilityZone": zone,
        "description": description, "ownerId": world.account, "requesterManaged": !owner.starts_with("ec2/i-"),
        "status": "in-use", "interfaceType": "interface", "sourceDestCheck": true,
        "privateIpAddress": address.to_string(),
        "privateIpAddressesSet": {"item": [{"privateIpAddress": address.to_string(), "primary": true}]},
        "groupSet": {"item": group_set}, "_owner": owner,
        "_arn": arn(world, region, "network-interface", &id)});
    world.insert(region, TABLE, &id, v, now);
    id
}

/// Takes all interfaces of `owner` out, `after` milliseconds from `now`; at once when that is 0.
pub(in crate::sandbox) fn unplug(
    world: &mut World,
    region: &str,
    owner: &str,
    now: Millis,
    after: Millis,
) {
    let table = world.table(region, TABLE);
    if after <= 0 {
        table.retain(|_, row| row.text("_owner") != owner);
        return;
    }
    for row in table.values_mut().filter(|r| r.text("_owner") == owner) {
        row.vanish(now, after);
    }
}

/// VPC and zone of a subnet, or EC2's refusal.
pub(in crate::sandbox) fn subnet_check(
    world: &World,
    region: &str,
    id: &str,
) -> Result<(String, String), Refusal> {
    match world.get(region, "ec2/subnet", id) {
        Some(row) => Ok((
            row.text("vpcId").to_owned(),
            row.text("availabilityZone").to_owned(),
        )),
        None => Err(Refusal::bad(
            "InvalidSubnetID.NotFound",
            format!("The subnet ID '{id}' does not exist"),
        )),
    }
}

/// The VPC of a security group, or EC2's refusal.
pub(in crate::sandbox) fn group_check(
    world: &World,
    region: &str,
    id: &str,
) -> Result<String, Refusal> {
    match world.get(region, "ec2/security_group", id) {
        Some(row) => Ok(row.text("vpcId").to_owned()),
        None => Err(Refusal::bad(
            "InvalidGroup.NotFound",
            format!("The security group '{id}' does not exist"),
        )),
    }
}

/// The first address of the subnet that nothing has. AWS keeps the first four and the last for itself.
fn free_address(world: &World, region: &str, subnet_id: &str) -> Ipv4Addr {
    let used: BTreeSet<Ipv4Addr> = world
        .rows(region, TABLE)
        .filter(|(_, r)| r.text("subnetId") == subnet_id)
        .filter_map(|(_, r)| r.text("privateIpAddress").parse().ok())
        .collect();
    let first: Ipv4Net = world
        .get(region, "ec2/subnet", subnet_id)
        .and_then(|r| r.text("cidrBlock").parse().ok())
        .unwrap_or_default();
    first
        .hosts()
        .skip(3)
        .find(|a| !used.contains(a))
        .unwrap_or(Ipv4Addr::UNSPECIFIED)
}

fn list(world: &mut World, call: &Call) -> Outcome {
    let rows = describe(
        world,
        call,
        TABLE,
        "NetworkInterfaceId",
        "InvalidNetworkInterfaceID.NotFound",
        field,
    )?;
    let items = rows.iter().map(|(_, r)| shown(r)).collect();
    Ok(page(call, items, "networkInterfaceSet").into())
}

fn field(name: &str, id: &str, row: &Row) -> Vec<String> {
    match name {
        "network-interface-id" => vec![id.to_owned()],
        "vpc-id" => vec![row.text("vpcId").to_owned()],
        "subnet-id" => vec![row.text("subnetId").to_owned()],
        "availability-zone" => vec![row.text("availabilityZone").to_owned()],
        "description" => vec![row.text("description").to_owned()],
        "status" => vec![row.text("status").to_owned()],
        "group-id" => groups_of(row),
        _ => vec![],
    }
}

/// The groups an interface is in.
pub(super) fn groups_of(row: &Row) -> Vec<String> {
    row.v["groupSet"]["item"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|g| g["groupId"].as_str())
        .map(Into::into)
        .collect()
}

fn delete(world: &mut World, call: &Call) -> Outcome {
    let id = call.need("NetworkInterfaceId")?.to_owned();
    let row = need(
        world,
        call,
        TABLE,
        &id,
        "InvalidNetworkInterfaceID.NotFound",
    )?;
    if row.text("status") == "in-use" {
        return Err(Refusal::bad(
            "InvalidParameterValue",
            format!("Network interface '{id}' is currently in use."),
        ));
    }
    world.remove(&call.region, TABLE, &id);
    yes()
}
