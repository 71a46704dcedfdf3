//! VPCs, with the group and the route table that AWS makes along with them.

use ipnet::Ipv4Net;
use serde_json::{Value, json};

use super::{Handler, arn, describe, need, page, route, security, shown, tags_asked, yes};
use crate::sandbox::call::{Call, Outcome, Refusal, at};
use crate::sandbox::world::{Row, World};

pub(super) const ACTIONS: &[&str] = &[
    "CreateVpc",
    "DescribeVpcs",
    "DeleteVpc",
    "ModifyVpcAttribute",
    "DescribeVpcAttribute",
];

pub(super) fn find(action: &str) -> Option<Handler> {
    Some(match action {
        "CreateVpc" => create_vpc,
        "DescribeVpcs" => describe_vpcs,
        "DeleteVpc" => delete_vpc,
        "ModifyVpcAttribute" => modify_vpc,
        "DescribeVpcAttribute" => vpc_attribute,
        _ => return None,
    })
}

/// A range as EC2 takes it: bits of the host part are dropped, and sizes outside /16 to /28 are refused.
pub(super) fn range(call: &Call, code: &str) -> Result<Ipv4Net, Refusal> {
    let text = call.need("CidrBlock")?;
    let range: Ipv4Net = text.parse().map_err(|_| {
        Refusal::bad(
            "InvalidParameterValue",
            format!(
                "Value ({text}) for parameter cidrBlock is invalid. This is not a valid CIDR block."
            ),
        )
    })?;
    if !(16..=28).contains(&range.prefix_len()) {
        return Err(Refusal::bad(code, format!("The CIDR '{text}' is invalid.")));
    }
    Ok(range.trunc())
}

fn create_vpc(world: &mut World, call: &Call) -> Outcome {
    let cidr = range(call, "InvalidVpc.Range")?.to_string();
    let used = world.rows(&call.region, "ec2/vpc").count() as u64;
    if used >= world.quota("vpcs", 5) {
        return Err(Refusal::bad(
            "VpcLimitExceeded",
            "The maximum number of VPCs has been reached.",
        ));
    }
    let id = world.id("vpc");
    let v = json!({"vpcId": id, "cidrBlock": cidr, "state": "available", "isDefault": false, "ownerId": world.account,
        "instanceTenancy": "default", "_dnsSupport": true, "_dnsHostnames": false,
        "_arn": arn(world, &call.region, "vpc", &id)});
    let tags = tags_asked(call, "vpc");
    let row = world.insert(&call.region, "ec2/vpc", &id, v, call.now);
    row.tags = tags;
    let vpc = shown(row);
    security::default_group(world, call, &id);
    route::main_table(world, call, &id, &cidr);
    Ok(json!({"vpc": vpc}).into())
}

fn describe_vpcs(world: &mut World, call: &Call) -> Outcome {
    let rows = describe(
        world,
        call,
        "ec2/vpc",
        "VpcId",
        "InvalidVpcID.NotFound",
        vpc_field,
    )?;
    Ok(page(call, rows.iter().map(|(_, r)| shown(r)).collect(), "vpcSet").into())
}

fn vpc_field(name: &str, id: &str, row: &Row) -> Vec<String> {
    match name {
        "vpc-id" => vec![id.to_owned()],
        "cidr" => vec![row.text("cidrBlock").to_owned()],
        "state" => vec![row.text("state").to_owned()],
        "is-default" | "isDefault" => vec![row.is("isDefault").to_string()],
        _ => vec![],
    }
}

fn modify_vpc(world: &mut World, call: &Call) -> Outcome {
    let id = call.need("VpcId")?.to_owned();
    let row = need(world, call, "ec2/vpc", &id, "InvalidVpcID.NotFound")?;
    let support = call.flag("EnableDnsSupport.Value");
    let names = call.flag("EnableDnsHostnames.Value");
    if support.is_some() && names.is_some() {
        return Err(Refusal::bad(
            "InvalidParameterCombination",
            "Only one of EnableDnsSupport and EnableDnsHostnames can be given",
        ));
    }
    if names == Some(true) && !row.is("_dnsSupport") {
        return Err(Refusal::bad(
            "InvalidParameterValue",
            "DNS hostnames need DNS support to be enabled",
        ));
    }
    for (value, field) in [(support, "_dnsSupport"), (names, "_dnsHostnames")] {
        if let (Some(on), Some(row)) = (value, world.get_mut(&call.region, "ec2/vpc", &id)) {
            row.set(field, on);
        }
    }
    yes()
}

fn vpc_attribute(world: &mut World, call: &Call) -> Outcome {
    let id = call.need("VpcId")?.to_owned();
    let row = need(world, call, "ec2/vpc", &id, "InvalidVpcID.NotFound")?;
    let (name, field) = match call.need("Attribute")? {
        "enableDnsSupport" => ("enableDnsSupport", "_dnsSupport"),
        "enableDnsHostnames" => ("enableDnsHostnames", "_dnsHostnames"),
        other => {
            return Err(Refusal::bad(
                "InvalidParameterValue",
                format!("Value ({other}) for parameter attribute is invalid. Unknown attribute."),
            ));
        }
    };
    Ok(json!({"vpcId": id, name: {"value": row.is(field)}}).into())
}

fn delete_vpc(world: &mut World, call: &Call) -> Outcome {
    let id = call.need("VpcId")?.to_owned();
    need(world, call, "ec2/vpc", &id, "InvalidVpcID.NotFound")?;
    let region = format!("{}/", call.region);
    let held = world
        .tables
        .iter()
        .filter(|(table, _)| table.starts_with(&region) && !table.ends_with("ec2/vpc"))
        .any(|(_, rows)| rows.values().any(|row| holds(row, &id)));
    if held {
        return Err(Refusal::bad(
            "DependencyViolation",
            format!("The vpc '{id}' has dependencies and cannot be deleted."),
        ));
    }
    for (_, rows) in world
        .tables
        .iter_mut()
        .filter(|(table, _)| table.starts_with(&region))
    {
        rows.retain(|_, row| row.text("vpcId") != id || !row.is("_default"));
    }
    world.remove(&call.region, "ec2/vpc", &id);
    yes()
}

/// Whether a thing lies in the network and is more than a memory of one, or a thing that goes with it.
fn holds(row: &Row, vpc: &str) -> bool {
    let inside = row.text("vpcId") == vpc || row.text("_vpcId") == vpc;
    let state = at(&row.v, "instanceState.name").and_then(Value::as_str);
    inside
        && !row.is("_default")
        && !matches!(row.text("state"), "deleted" | "failed")
        && state != Some("terminated")
}
