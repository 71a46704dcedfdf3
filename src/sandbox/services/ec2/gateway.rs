//! Internet gateways, public addresses, NAT gateways.

use serde_json::{Value, json};

use super::{
    Handler, arn, describe, need, page, plug, shown, stamp, subnet_check, tags_asked, unplug, yes,
};
use crate::sandbox::call::{Call, Outcome, Refusal, at};
use crate::sandbox::delays;
use crate::sandbox::world::{Row, World};

pub(super) const ACTIONS: &[&str] = &[
    "CreateInternetGateway",
    "AttachInternetGateway",
    "DetachInternetGateway",
    "DescribeInternetGateways",
    "DeleteInternetGateway",
    "AllocateAddress",
    "DescribeAddresses",
    "ReleaseAddress",
    "CreateNatGateway",
    "DescribeNatGateways",
    "DeleteNatGateway",
];

pub(super) fn find(action: &str) -> Option<Handler> {
    Some(match action {
        "CreateInternetGateway" => create_internet,
        "AttachInternetGateway" => attach,
        "DetachInternetGateway" => detach,
        "DescribeInternetGateways" => list_internet,
        "DeleteInternetGateway" => delete_internet,
        "AllocateAddress" => allocate,
        "DescribeAddresses" => list_addresses,
        "ReleaseAddress" => release,
        "CreateNatGateway" => create_nat,
        "DescribeNatGateways" => list_nat,
        "DeleteNatGateway" => delete_nat,
        _ => return None,
    })
}

const INTERNET: &str = "ec2/internet_gateway";
const ADDRESS: &str = "ec2/address";
const NAT: &str = "ec2/nat_gateway";

// Internet gateways

fn create_internet(world: &mut World, call: &Call) -> Outcome {
    let used = world.rows(&call.region, INTERNET).count() as u64;
    if used >= world.quota("internet_gateways", 5) {
        return Err(Refusal::bad(
            "InternetGatewayLimitExceeded",
            "The maximum number of internet gateways has been reached.",
        ));
    }
    let id = world.id("igw");
    let v = json!({"internetGatewayId": id, "ownerId": world.account, "attachmentSet": {"item": []},
        "_arn": arn(world, &call.region, "internet-gateway", &id)});
    let row = world.insert(&call.region, INTERNET, &id, v, call.now);
    row.tags = tags_asked(call, "internet-gateway");
    Ok(json!({"internetGateway": shown(row)}).into())
}

/// The internet gateway attached to a network.
pub(super) fn internet_of<'w>(world: &'w World, region: &str, vpc: &str) -> Option<&'w str> {
    world
        .rows(region, INTERNET)
        .find(|(_, r)| r.text("_vpcId") == vpc)
        .map(|(id, _)| id.as_str())
}

fn need_internet<'w>(world: &'w World, call: &Call, id: &str) -> Result<&'w Row, Refusal> {
    need(
        world,
        call,
        INTERNET,
        id,
        "InvalidInternetGatewayID.NotFound",
    )
}

fn attach(world: &mut World, call: &Call) -> Outcome {
    let id = call.need("InternetGatewayId")?.to_owned();
    let vpc = call.need("VpcId")?.to_owned();
    let row = need_internet(world, call, &id)?;
    need(world, call, "ec2/vpc", &vpc, "InvalidVpcID.NotFound")?;
    if !row.text("_vpcId").is_empty() {
        let other = row.text("_vpcId");
        return Err(Refusal::bad(
            "Resource.AlreadyAssociated",
            format!("resource {id} is already attached to network {other}"),
        ));
    }
    if internet_of(world, &call.region, &vpc).is_some() {
        return Err(Refusal::bad(
            "InvalidParameterValue",
            format!("Network {vpc} already has an internet gateway attached"),
        ));
    }
    if let Some(row) = world.get_mut(&call.region, INTERNET, &id) {
        row.set(
            "attachmentSet",
            json!({"item": [{"vpcId": vpc, "state": "available"}]}),
        );
        row.set("_vpcId", vpc);
    }
    yes()
}

/// The public addresses in a network keep its internet gateway attached: those of interfaces, whoever
/// they belong to, by the interface's `association`.
fn detach(world: &mut World, call: &Call) -> Outcome {
    let id = call.need("InternetGatewayId")?.to_owned();
    let vpc = call.need("VpcId")?.to_owned();
    let row = need_internet(world, call, &id)?;
    need(world, call, "ec2/vpc", &vpc, "InvalidVpcID.NotFound")?;
    if row.text("_vpcId") != vpc {
        return Err(Refusal::bad(
            "Gateway.NotAttached",
            format!("resource {id} is not attached to network {vpc}"),
        ));
    }
    let interfaces = || {
        world
            .rows(&call.region, "ec2/network_interface")
            .filter(|(_, r)| r.text("vpcId") == vpc)
    };
    let mapped = interfaces().any(|(_, r)| r.v.get("association").is_some_and(|a| !a.is_null()))
        || world
            .rows(&call.region, ADDRESS)
            .any(|(_, a)| interfaces().any(|(id, _)| a.text("networkInterfaceId") == id));
    if mapped {
        return Err(Refusal::bad(
            "DependencyViolation",
            format!(
                "Network {vpc} has some mapped public address(es). Please unmap those public address(es) before detaching the gateway."
            ),
        ));
    }
    if let Some(row) = world.get_mut(&call.region, INTERNET, &id) {
        row.set("attachmentSet", json!({"item": []}));
        row.set("_vpcId", "");
    }
    yes()
}

fn list_internet(world: &mut World, call: &Call) -> Outcome {
    let rows = describe(
        world,
        call,
        INTERNET,
        "InternetGatewayId",
        "InvalidInternetGatewayID.NotFound",
        |name, id, row| match name {
            "internet-gateway-id" => vec![id.to_owned()],
            "attachment.vpc-id" => vec![row.text("_vpcId").to_owned()],
            "attachment.state" if !row.text("_vpcId").is_empty() => vec!["available".into()],
            _ => vec![],
        },
    )?;
    let items = rows.iter().map(|(_, r)| shown(r)).collect();
    Ok(page(call, items, "internetGatewaySet").into())
}

fn delete_internet(world: &mut World, call: &Call) -> Outcome {
    let id = call.need("InternetGatewayId")?.to_owned();
    if !need_internet(world, call, &id)?.text("_vpcId").is_empty() {
        return Err(Refusal::bad(
            "DependencyViolation",
            format!("The internetGateway '{id}' has dependencies and cannot be deleted."),
        ));
    }
    world.remove(&call.region, INTERNET, &id);
    yes()
}

// Addresses

fn allocate(world: &mut World, call: &Call) -> Outcome {
    let used = world.rows(&call.region, ADDRESS).count() as u64;
    if used >= world.quota("addresses", 5) {
        return Err(Refusal::bad(
            "AddressLimitExceeded",
            "The maximum number of addresses has been reached.",
        ));
    }
    let id = world.id("eipalloc");
    // The range for benchmarks, RFC 2544: addresses nobody can have on the internet.
    let n = world.serial;
    let ip = format!("198.{}.{}.{}", 18 + (n >> 16) % 2, (n >> 8) % 256, n % 256);
    let v = json!({"allocationId": id, "publicIp": ip, "domain": "vpc", "publicIpv4Pool": "amazon",
        "networkBorderGroup": call.region, "_arn": arn(world, &call.region, "elastic-ip", &id)});
    let row = world.insert(&call.region, ADDRESS, &id, v, call.now);
    row.tags = tags_asked(call, "elastic-ip");
    Ok(row.shown().into())
}

fn list_addresses(world: &mut World, call: &Call) -> Outcome {
    let rows = describe(
        world,
        call,
        ADDRESS,
        "AllocationId",
        "InvalidAllocationID.NotFound",
        |name, id, row| match name {
            "allocation-id" => vec![id.to_owned()],
            "public-ip" => vec![row.text("publicIp").to_owned()],
            "domain" => vec!["vpc".into()],
            "association-id" => vec![row.text("associationId").to_owned()],
            "instance-id" => vec![row.text("instanceId").to_owned()],
            "network-interface-id" => vec![row.text("networkInterfaceId").to_owned()],
            "private-ip-address" => vec![row.text("privateIpAddress").to_owned()],
            _ => vec![],
        },
    )?;
    // This listing has no pages.
    let items: Vec<Value> = rows.iter().map(|(_, r)| shown(r)).collect();
    Ok(json!({"addressesSet": {"item": items}}).into())
}

fn need_address<'w>(world: &'w World, call: &Call, id: &str) -> Result<&'w Row, Refusal> {
    need(world, call, ADDRESS, id, "InvalidAllocationID.NotFound")
}

fn release(world: &mut World, call: &Call) -> Outcome {
    let id = call.need("AllocationId")?.to_owned();
    if !need_address(world, call, &id)?
        .text("associationId")
        .is_empty()
    {
        return Err(Refusal::bad(
            "InvalidIPAddress.InUse",
            format!("The address '{id}' is in use."),
        ));
    }
    world.remove(&call.region, ADDRESS, &id);
    yes()
}

// NAT gateways

fn create_nat(world: &mut World, call: &Call) -> Outcome {
    let token = call.opt("ClientToken").unwrap_or_default();
    if !token.is_empty()
        && let Some(id) = call.replayed(world, token)?
    {
        let row = need(world, call, NAT, &id, "NatGatewayNotFound")?;
        return Ok(json!({"clientToken": token, "natGateway": shown(row)}).into());
    }
    let subnet = call.need("SubnetId")?.to_owned();
    let (vpc, zone) = subnet_check(world, &call.region, &subnet)?;
    let allocation = call.need("AllocationId")?.to_owned();
    let address = need_address(world, call, &allocation)?;
    let ip = address.text("publicIp").to_owned();
    if !address.text("associationId").is_empty() {
        return Err(Refusal::bad(
            "Resource.AlreadyAssociated",
            format!("Elastic IP address [{allocation}] is already associated"),
        ));
    }
    let in_zone = world
        .rows(&call.region, NAT)
        .filter(|(_, r)| r.text("_zone") == zone && !is_over(r))
        .count() as u64;
    if in_zone >= world.quota("nat_gateways", 5) {
        return Err(Refusal::bad(
            "NatGatewayLimitExceeded",
            format!("Performing this operation would exceed the limit of NAT gateways in {zone}"),
        ));
    }
    let id = world.id("nat");
    let reachable = internet_of(world, &call.region, &vpc).is_some();
    let mut part = json!({"allocationId": allocation, "publicIp": ip, "isPrimary": true, "status": "associating"});
    if reachable {
        hold_address(world, call, &id, &subnet, &allocation, &mut part);
    }
    let v = json!({"natGatewayId": id, "subnetId": subnet, "vpcId": vpc, "state": "pending",
        "connectivityType": "public", "createTime": stamp(call.now), "natGatewayAddressSet": {"item": [part]},
        "_zone": zone, "_arn": arn(world, &call.region, "natgateway", &id)});
    let row = world.insert(&call.region, NAT, &id, v, call.now);
    row.tags = tags_asked(call, "natgateway");
    if reachable {
        part["status"] = json!("succeeded");
        row.later(
            call.now,
            delays::NAT_GATEWAY,
            json!({"state": "available", "natGatewayAddressSet": {"item": [part]}}),
        );
    } else {
        // AWS takes the call, and only then looks for the internet gateway.
        row.vanish(call.now, delays::NAT_GATEWAY_MEMORY);
        row.later(
            call.now,
            5_000,
            json!({"state": "failed", "failureCode": "Gateway.NotAttached",
                "failureMessage": format!("Network {vpc} has no Internet gateway attached")}),
        );
    }
    let answer = json!({"clientToken": token, "natGateway": shown(row)});
    if !token.is_empty() {
        call.remember(world, token, &id);
    }
    Ok(answer.into())
}

/// Gives the gateway an interface in its subnet and ties the address to it.
fn hold_address(
    world: &mut World,
    call: &Call,
    id: &str,
    subnet: &str,
    allocation: &str,
    part: &mut Value,
) {
    let description = format!("Interface for NAT Gateway {id}");
    let owner = format!("ec2/{id}");
    let eni = plug(
        world,
        &call.region,
        call.now,
        subnet,
        &[],
        &description,
        &owner,
    );
    let association = world.id("eipassoc");
    let mut private = String::new();
    if let Some(row) = world.get_mut(&call.region, "ec2/network_interface", &eni) {
        row.text("privateIpAddress").clone_into(&mut private);
        let ip = part["publicIp"].clone();
        row.set("interfaceType", "nat_gateway");
        row.set(
            "association",
            json!({"publicIp": ip, "allocationId": allocation, "associationId": association}),
        );
    }
    if let Some(row) = world.get_mut(&call.region, ADDRESS, allocation) {
        row.set("associationId", association.clone());
        row.set("networkInterfaceId", eni.clone());
        row.set("privateIpAddress", private.clone());
    }
    part["associationId"] = json!(association);
    part["networkInterfaceId"] = json!(eni);
    part["privateIp"] = json!(private);
}

/// Whether a gateway is only remembered.
fn is_over(row: &Row) -> bool {
    matches!(row.text("state"), "deleted" | "failed")
}

/// Whether routes may lead through this gateway, which must be in the network.
pub(super) fn nat_usable(world: &World, region: &str, id: &str) -> Option<String> {
    world
        .get(region, NAT, id)
        .filter(|r| r.text("state") == "available")
        .map(|r| r.text("vpcId").to_owned())
}

fn list_nat(world: &mut World, call: &Call) -> Outcome {
    let rows = describe(
        world,
        call,
        NAT,
        "NatGatewayId",
        "NatGatewayNotFound",
        |name, id, row| match name {
            "nat-gateway-id" => vec![id.to_owned()],
            "state" => vec![row.text("state").to_owned()],
            "subnet-id" => vec![row.text("subnetId").to_owned()],
            "vpc-id" => vec![row.text("vpcId").to_owned()],
            _ => vec![],
        },
    )?;
    let items = rows.iter().map(|(_, r)| shown(r)).collect();
    Ok(page(call, items, "natGatewaySet").into())
}

fn delete_nat(world: &mut World, call: &Call) -> Outcome {
    let id = call.need("NatGatewayId")?.to_owned();
    let row = need(world, call, NAT, &id, "NatGatewayNotFound")?;
    let answer = json!({"natGatewayId": id});
    match row.text("state") {
        "deleted" => {
            return Err(Refusal::bad(
                "NatGatewayNotFound",
                format!("NatGateway {id} was not found"),
            ));
        }
        "deleting" => return Ok(answer.into()),
        _ => {}
    }
    let allocation = at(&row.v, "natGatewayAddressSet.item.0.allocationId")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    let interface = at(&row.v, "natGatewayAddressSet.item.0.networkInterfaceId").cloned();
    let after = delays::NAT_GATEWAY_DELETE;
    if let Some(row) = world.get_mut(&call.region, NAT, &id) {
        row.set("state", "deleting");
        row.set("deleteTime", stamp(call.now));
        row.vanish(call.now, after + delays::NAT_GATEWAY_MEMORY);
        row.later(call.now, after, json!({"state": "deleted"}));
    }
    unplug(world, &call.region, &format!("ec2/{id}"), call.now, after);
    // The address is free when the gateway is gone; a failed gateway holds none.
    if let Some(row) = world.get_mut(&call.region, ADDRESS, &allocation)
        && row.v.get("networkInterfaceId") == interface.as_ref()
        && interface.is_some()
    {
        row.later(
            call.now,
            after,
            json!({"associationId": null, "networkInterfaceId": null, "privateIpAddress": null}),
        );
    }
    Ok(answer.into())
}
