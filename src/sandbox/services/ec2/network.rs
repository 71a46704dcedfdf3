//! VPCs and subnets.

use serde_json::json;

use super::{Handler, describe, need, page, shown, tags_asked, yes};
use crate::sandbox::call::{Call, Outcome, Refusal};
use crate::sandbox::world::{Row, World};

pub(super) const ACTIONS: &[&str] = &[
    "CreateVpc",
    "DescribeVpcs",
    "DeleteVpc",
    "ModifyVpcAttribute",
];

pub(super) fn find(action: &str) -> Option<Handler> {
    Some(match action {
        "CreateVpc" => create_vpc,
        "DescribeVpcs" => describe_vpcs,
        "DeleteVpc" => delete_vpc,
        "ModifyVpcAttribute" => modify_vpc,
        _ => return None,
    })
}

fn create_vpc(world: &mut World, call: &Call) -> Outcome {
    let cidr = call.need("CidrBlock")?.to_owned();
    let used = world.rows(&call.region, "ec2/vpc").count() as u64;
    if used >= world.quota("vpcs", 5) {
        return Err(Refusal::bad(
            "VpcLimitExceeded",
            "The maximum number of VPCs has been reached.",
        ));
    }
    let id = world.id("vpc");
    let v = json!({"vpcId": id, "cidrBlock": cidr, "state": "available", "isDefault": false, "ownerId": world.account,
        "instanceTenancy": "default", "_dnsSupport": true, "_dnsHostnames": false});
    let tags = tags_asked(call, "vpc");
    let row = world.insert(&call.region, "ec2/vpc", &id, v, call.now);
    row.tags = tags;
    let vpc = shown(row);
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
        _ => vec![],
    }
}

fn modify_vpc(world: &mut World, call: &Call) -> Outcome {
    let id = call.need("VpcId")?.to_owned();
    need(world, call, "ec2/vpc", &id, "InvalidVpcID.NotFound")?;
    for (param, field) in [
        ("EnableDnsSupport.Value", "_dnsSupport"),
        ("EnableDnsHostnames.Value", "_dnsHostnames"),
    ] {
        if let (Some(on), Some(row)) = (
            call.flag(param),
            world.get_mut(&call.region, "ec2/vpc", &id),
        ) {
            row.set(field, on);
        }
    }
    yes()
}

fn delete_vpc(world: &mut World, call: &Call) -> Outcome {
    let id = call.need("VpcId")?.to_owned();
    need(world, call, "ec2/vpc", &id, "InvalidVpcID.NotFound")?;
    let held = world
        .tables
        .iter()
        .filter(|(k, _)| k.starts_with(&format!("{}/", call.region)) && !k.ends_with("ec2/vpc"))
        .any(|(_, t)| {
            t.values()
                .any(|r| r.text("vpcId") == id && !r.is("_default"))
        });
    if held {
        return Err(Refusal::bad(
            "DependencyViolation",
            format!("The vpc '{id}' has dependencies and cannot be deleted."),
        ));
    }
    world.remove(&call.region, "ec2/vpc", &id);
    yes()
}
