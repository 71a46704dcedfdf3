//! Subnets.

use ipnet::Ipv4Net;
use serde_json::{Value, json};

use super::{
    Handler, arn, catalogue, describe, need, network, page, route, shown, subnet_check, tags_asked,
    yes,
};
use crate::sandbox::call::{Call, Outcome, Refusal};
use crate::sandbox::world::{Row, World};

pub(super) const ACTIONS: &[&str] = &[
    "CreateSubnet",
    "DescribeSubnets",
    "DeleteSubnet",
    "ModifySubnetAttribute",
];

pub(super) fn find(action: &str) -> Option<Handler> {
    Some(match action {
        "CreateSubnet" => create,
        "DescribeSubnets" => list,
        "DeleteSubnet" => delete,
        "ModifySubnetAttribute" => modify,
        _ => return None,
    })
}

const TABLE: &str = "ec2/subnet";

fn create(world: &mut World, call: &Call) -> Outcome {
    let vpc = call.need("VpcId")?.to_owned();
    let cidr = network::range(call, "InvalidSubnet.Range")?;
    let row = need(world, call, "ec2/vpc", &vpc, "InvalidVpcID.NotFound")?;
    let whole: Ipv4Net = row.text("cidrBlock").parse().unwrap_or_default();
    if !whole.contains(&cidr) {
        return Err(Refusal::bad(
            "InvalidSubnet.Range",
            format!("The CIDR '{cidr}' is invalid."),
        ));
    }
    let siblings: Vec<&Row> = world
        .rows(&call.region, TABLE)
        .map(|(_, r)| r)
        .filter(|r| r.text("vpcId") == vpc)
        .collect();
    let overlaps = siblings
        .iter()
        .filter_map(|r| r.text("cidrBlock").parse::<Ipv4Net>().ok())
        .any(|other| other.contains(&cidr) || cidr.contains(&other));
    if overlaps {
        return Err(Refusal::bad(
            "InvalidSubnet.Conflict",
            format!("The CIDR '{cidr}' conflicts with another subnet"),
        ));
    }
    if siblings.len() as u64 >= world.quota("subnets", 200) {
        return Err(Refusal::bad(
            "SubnetLimitExceeded",
            "The maximum number of subnets has been reached.",
        ));
    }
    let zone = call
        .opt("AvailabilityZone")
        .map_or_else(|| format!("{}a", call.region), Into::into);
    if !catalogue::zones(&call.region).contains(&zone) {
        return Err(Refusal::bad(
            "InvalidParameterValue",
            format!(
                "Value ({zone}) for parameter availabilityZone is invalid. Subnets can currently only be created in the zones of {}.",
                call.region
            ),
        ));
    }
    let id = world.id("subnet");
    let arn = arn(world, &call.region, "subnet", &id);
    let v = json!({"subnetId": id, "subnetArn": arn, "vpcId": vpc, "cidrBlock": cidr.to_string(), "state": "available",
        "availabilityZone": zone, "mapPublicIpOnLaunch": false, "defaultForAz": false, "ownerId": world.account,
        "assignIpv6AddressOnCreation": false, "_arn": arn});
    let tags = tags_asked(call, "subnet");
    let row = world.insert(&call.region, TABLE, &id, v, call.now);
    row.tags = tags;
    let row = row.clone();
    Ok(json!({"subnet": show(world, call, &row)}).into())
}

/// With the count of free addresses: all but five, less those of the interfaces.
fn show(world: &World, call: &Call, row: &Row) -> Value {
    let mut v = shown(row);
    let cidr: Ipv4Net = row.text("cidrBlock").parse().unwrap_or_default();
    let used = world
        .rows(&call.region, "ec2/network_interface")
        .filter(|(_, r)| r.text("subnetId") == row.text("subnetId"))
        .count();
    let size = 1_usize << (32 - cidr.prefix_len().clamp(16, 28));
    v["availableIpAddressCount"] = json!(size.saturating_sub(5 + used));
    v
}

fn list(world: &mut World, call: &Call) -> Outcome {
    let rows = describe(
        world,
        call,
        TABLE,
        "SubnetId",
        "InvalidSubnetID.NotFound",
        field,
    )?;
    let items = rows.iter().map(|(_, r)| show(world, call, r)).collect();
    Ok(page(call, items, "subnetSet").into())
}

fn field(name: &str, id: &str, row: &Row) -> Vec<String> {
    match name {
        "subnet-id" => vec![id.to_owned()],
        "vpc-id" => vec![row.text("vpcId").to_owned()],
        "cidr-block" | "cidr" => vec![row.text("cidrBlock").to_owned()],
        "availability-zone" | "availabilityZone" => vec![row.text("availabilityZone").to_owned()],
        "state" => vec![row.text("state").to_owned()],
        "map-public-ip-on-launch" => vec![row.is("mapPublicIpOnLaunch").to_string()],
        _ => vec![],
    }
}

fn modify(world: &mut World, call: &Call) -> Outcome {
    let id = call.need("SubnetId")?.to_owned();
    subnet_check(world, &call.region, &id)?;
    if let (Some(on), Some(row)) = (
        call.flag("MapPublicIpOnLaunch.Value"),
        world.get_mut(&call.region, TABLE, &id),
    ) {
        row.set("mapPublicIpOnLaunch", on);
    }
    yes()
}

fn delete(world: &mut World, call: &Call) -> Outcome {
    let id = call.need("SubnetId")?.to_owned();
    subnet_check(world, &call.region, &id)?;
    let held = world
        .rows(&call.region, "ec2/network_interface")
        .any(|(_, r)| r.text("subnetId") == id);
    if held {
        return Err(Refusal::bad(
            "DependencyViolation",
            format!("The subnet '{id}' has dependencies and cannot be deleted."),
        ));
    }
    route::forget_subnet(world, &call.region, &id);
    world.remove(&call.region, TABLE, &id);
    yes()
}
