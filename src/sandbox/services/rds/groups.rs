//! Subnet groups and parameter groups.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{
    INSTANCES, PARAMETER_GROUPS, SUBNET_GROUPS, arn, catalogue, combination, invalid, page,
    tags_asked,
};
use crate::sandbox::call::{Call, Outcome, Refusal};
use crate::sandbox::services::ec2::subnet_check;
use crate::sandbox::world::{Row, World};

/// A group name as RDS keeps it: small letters, and none of the signs it refuses.
fn name(call: &Call, key: &str) -> Result<String, Refusal> {
    let name = call.need(key)?.to_lowercase();
    let fine = name.len() <= 255
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && !name.ends_with('-')
        && !name.contains("--")
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-._ ".contains(c));
    if fine && name != "default" {
        return Ok(name);
    }
    Err(invalid(format!(
        "The parameter {key} is not a valid identifier. Identifiers must begin with a letter; must contain only ASCII letters, digits, and hyphens; and must not end with a hyphen or contain two consecutive hyphens."
    )))
}

/// The subnets of a group as RDS shows them, and their VPC.
fn subnets(world: &World, call: &Call) -> Result<(Value, String), Refusal> {
    let mut zones = BTreeSet::new();
    let mut vpcs = BTreeSet::new();
    let mut shown = Vec::new();
    for id in call.texts("SubnetIds") {
        let (vpc, zone) = subnet_check(world, &call.region, id).map_err(|_| {
            Refusal::bad(
                "InvalidSubnet",
                format!("Some input subnets in :[{id}] are invalid."),
            )
        })?;
        shown.push(json!({"SubnetIdentifier": id, "SubnetAvailabilityZone": {"Name": zone}, "SubnetStatus": "Active"}));
        zones.insert(zone);
        vpcs.insert(vpc);
    }
    if vpcs.len() > 1 {
        return Err(Refusal::bad(
            "InvalidSubnet",
            "The subnets are not all in the same VPC.",
        ));
    }
    if zones.len() < 2 {
        return Err(Refusal::bad(
            "DBSubnetGroupDoesNotCoverEnoughAZs",
            "The DB subnet group doesn't meet Availability Zone (AZ) coverage requirement. Current AZ coverage: 1. Add subnets to cover at least 2 AZs.",
        ));
    }
    let vpc = vpcs.into_iter().next().unwrap_or_default();
    Ok((json!({"Subnet": shown}), vpc))
}

pub(super) fn create_subnet_group(world: &mut World, call: &Call) -> Outcome {
    let name = name(call, "DBSubnetGroupName")?;
    if world.get(&call.region, SUBNET_GROUPS, &name).is_some() {
        return Err(Refusal::bad(
            "DBSubnetGroupAlreadyExists",
            format!("The DB subnet group '{name}' already exists."),
        ));
    }
    let description = call.need("DBSubnetGroupDescription")?.to_owned();
    let (subnets, vpc) = subnets(world, call)?;
    if world.rows(&call.region, SUBNET_GROUPS).count() as u64 >= world.quota("db_subnet_groups", 50)
    {
        return Err(Refusal::bad(
            "DBSubnetGroupQuotaExceeded",
            "The request would exceed the number of DB subnet groups.",
        ));
    }
    let tags = tags_asked(call)?;
    let arn = arn(world, call, "subgrp", &name);
    let v = json!({"DBSubnetGroupName": name, "DBSubnetGroupDescription": description, "VpcId": vpc,
        "SubnetGroupStatus": "Complete", "Subnets": subnets, "DBSubnetGroupArn": arn, "_arn": arn});
    let row = world.insert(&call.region, SUBNET_GROUPS, &name, v, call.now);
    row.tags = tags;
    Ok(json!({"DBSubnetGroup": row.shown()}).into())
}

fn missing_subnet_group(name: &str) -> Refusal {
    Refusal::new(
        404,
        "DBSubnetGroupNotFoundFault",
        format!("DB subnet group '{name}' does not exist."),
    )
}

fn missing_parameter_group(name: &str) -> Refusal {
    Refusal::new(
        404,
        "DBParameterGroupNotFound",
        format!("DBParameterGroup not found: {name}"),
    )
}

pub(super) fn subnet_group<'w>(
    world: &'w World,
    call: &Call,
    name: &str,
) -> Result<&'w Row, Refusal> {
    world
        .get(&call.region, SUBNET_GROUPS, name)
        .ok_or_else(|| missing_subnet_group(name))
}

/// One thing by name at once, or all in pages.
fn describe(
    world: &World,
    call: &Call,
    table: &str,
    by: &str,
    missing: fn(&str) -> Refusal,
) -> Result<Vec<Value>, Refusal> {
    if let Some(name) = call.opt(by) {
        let row = world
            .get(&call.region, table, name)
            .ok_or_else(|| missing(name))?;
        return Ok(vec![row.shown()]);
    }
    Ok(world
        .seen(&call.region, table, call.now)
        .map(|(_, r)| r.shown())
        .collect())
}

pub(super) fn describe_subnet_groups(world: &mut World, call: &Call) -> Outcome {
    let all = describe(
        world,
        call,
        SUBNET_GROUPS,
        "DBSubnetGroupName",
        missing_subnet_group,
    )?;
    Ok(page(call, "DBSubnetGroups", "DBSubnetGroup", all)?.into())
}

pub(super) fn modify_subnet_group(world: &mut World, call: &Call) -> Outcome {
    let name = call.need("DBSubnetGroupName")?.to_owned();
    let vpc_was = subnet_group(world, call, &name)?.text("VpcId").to_owned();
    let (subnets, vpc) = subnets(world, call)?;
    if vpc != vpc_was {
        return Err(Refusal::bad(
            "InvalidSubnet",
            "The new subnets are in another VPC.",
        ));
    }
    let kept: BTreeSet<&str> = call.texts("SubnetIds").into_iter().collect();
    let held = world.rows(&call.region, INSTANCES).any(|(_, i)| {
        i.v["DBSubnetGroup"]["DBSubnetGroupName"] == name.as_str()
            && texts(&i.v["_subnets"])
                .iter()
                .any(|s| !kept.contains(s.as_str()))
    });
    if held {
        return Err(Refusal::bad(
            "SubnetAlreadyInUse",
            "A subnet that is to be removed is in use by a DB instance.",
        ));
    }
    let description = call.opt("DBSubnetGroupDescription").map(str::to_owned);
    let Some(row) = world.get_mut(&call.region, SUBNET_GROUPS, &name) else {
        return Err(missing_subnet_group(&name));
    };
    row.set("Subnets", subnets);
    if let Some(description) = description {
        row.set("DBSubnetGroupDescription", description);
    }
    let shown = row.shown();
    Ok(json!({"DBSubnetGroup": shown}).into())
}

fn texts(value: &Value) -> Vec<String> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

pub(super) fn delete_subnet_group(world: &mut World, call: &Call) -> Outcome {
    let name = call.need("DBSubnetGroupName")?.to_owned();
    subnet_group(world, call, &name)?;
    let used = world
        .rows(&call.region, INSTANCES)
        .find(|(_, i)| i.v["DBSubnetGroup"]["DBSubnetGroupName"] == name.as_str());
    if let Some((id, _)) = used {
        return Err(Refusal::bad(
            "InvalidDBSubnetGroupStateFault",
            format!(
                "Cannot delete the subnet group '{name}' because at least one database instance: {id} is still using it."
            ),
        ));
    }
    world.remove(&call.region, SUBNET_GROUPS, &name);
    Ok(json!({}).into())
}

pub(super) fn create_parameter_group(world: &mut World, call: &Call) -> Outcome {
    let name = name(call, "DBParameterGroupName")?;
    let family = call.need("DBParameterGroupFamily")?.to_owned();
    if !catalogue::family_known(&family) {
        return Err(invalid(format!(
            "ParameterGroupFamily {family} is not a valid parameter group family"
        )));
    }
    let description = call.need("Description")?.to_owned();
    if world.get(&call.region, PARAMETER_GROUPS, &name).is_some() {
        return Err(Refusal::bad(
            "DBParameterGroupAlreadyExists",
            format!("Parameter group {name} already exists"),
        ));
    }
    let held = world.rows(&call.region, PARAMETER_GROUPS).count() as u64;
    if held >= world.quota("db_parameter_groups", 50) {
        return Err(Refusal::bad(
            "DBParameterGroupQuotaExceeded",
            "The request would exceed the number of DB parameter groups.",
        ));
    }
    let tags = tags_asked(call)?;
    let arn = arn(world, call, "pg", &name);
    let v = json!({"DBParameterGroupName": name, "DBParameterGroupFamily": family, "Description": description,
        "DBParameterGroupArn": arn, "_arn": arn, "_parameters": {}});
    let row = world.insert(&call.region, PARAMETER_GROUPS, &name, v, call.now);
    row.tags = tags;
    Ok(json!({"DBParameterGroup": row.shown()}).into())
}

pub(super) fn describe_parameter_groups(world: &mut World, call: &Call) -> Outcome {
    let all = describe(
        world,
        call,
        PARAMETER_GROUPS,
        "DBParameterGroupName",
        missing_parameter_group,
    )?;
    Ok(page(call, "DBParameterGroups", "DBParameterGroup", all)?.into())
}

pub(super) fn describe_parameters(world: &mut World, call: &Call) -> Outcome {
    let name = call.need("DBParameterGroupName")?;
    let row = world
        .get(&call.region, PARAMETER_GROUPS, name)
        .ok_or_else(|| missing_parameter_group(name))?;
    // Only what somebody set is kept; the engine's defaults have no rows here.
    let set: Vec<Value> = match call.opt("Source") {
        None | Some("user") => row.v["_parameters"]
            .as_object()
            .into_iter()
            .flatten()
            // A value that is the default anyway is nobody's: TLS is demanded from PostgreSQL 15 on.
            .filter(|(name, value)| *name != "rds.force_ssl" || *value != "1")
            .map(|(name, value)| {
                let fixed = catalogue::parameter(name) == Some(true);
                json!({"ParameterName": name, "ParameterValue": value, "Source": "user", "IsModifiable": true,
                    "ApplyType": if fixed { "static" } else { "dynamic" }, "ApplyMethod": "pending-reboot"})
            })
            .collect(),
        Some(_) => vec![],
    };
    Ok(page(call, "Parameters", "Parameter", set)?.into())
}

/// The group's own row, and not one of AWS's.
fn own_group(world: &World, call: &Call) -> Result<String, Refusal> {
    let name = call.need("DBParameterGroupName")?;
    if name.starts_with("default.") {
        return Err(invalid(format!(
            "The parameter group {name} is a default parameter group and cannot be modified."
        )));
    }
    if world.get(&call.region, PARAMETER_GROUPS, name).is_none() {
        return Err(missing_parameter_group(name));
    }
    Ok(name.to_owned())
}

fn known(call: &Call) -> Result<Vec<(String, Option<String>)>, Refusal> {
    let asked = call.list("Parameters");
    if asked.len() > 20 {
        return Err(invalid(
            "Number of parameters in a single request exceeds the limit of 20",
        ));
    }
    let mut all = Vec::new();
    for p in asked {
        let name = p["ParameterName"].as_str().unwrap_or_default();
        let Some(fixed) = catalogue::parameter(name) else {
            return Err(invalid(format!(
                "Could not find parameter with name: {name}"
            )));
        };
        match p["ApplyMethod"].as_str() {
            Some("pending-reboot") => {}
            Some("immediate") if !fixed => {}
            Some("immediate") => {
                return Err(combination(
                    "cannot use immediate apply method for static parameter",
                ));
            }
            _ => return Err(invalid("The parameter ApplyMethod must be provided")),
        }
        let value = p["ParameterValue"].as_str().map(str::to_owned);
        all.push((name.to_owned(), value));
    }
    Ok(all)
}

pub(super) fn modify_parameter_group(world: &mut World, call: &Call) -> Outcome {
    let name = own_group(world, call)?;
    let asked = known(call)?;
    for (parameter, value) in asked {
        let Some(value) = value else {
            return Err(invalid(format!("The parameter {parameter} needs a value")));
        };
        if let Some(row) = world.get_mut(&call.region, PARAMETER_GROUPS, &name) {
            row.v["_parameters"][&parameter] = json!(value);
        }
    }
    Ok(json!({"DBParameterGroupName": name}).into())
}

pub(super) fn reset_parameter_group(world: &mut World, call: &Call) -> Outcome {
    let name = own_group(world, call)?;
    let asked = known(call)?;
    let all = call.flag("ResetAllParameters") == Some(true);
    if let Some(row) = world.get_mut(&call.region, PARAMETER_GROUPS, &name)
        && let Some(Value::Object(set)) = row.v.get_mut("_parameters")
    {
        set.retain(|k, _| !all && !asked.iter().any(|(name, _)| name == k));
    }
    Ok(json!({"DBParameterGroupName": name}).into())
}

pub(super) fn delete_parameter_group(world: &mut World, call: &Call) -> Outcome {
    let name = own_group(world, call)?;
    let used = world.rows(&call.region, INSTANCES).any(|(_, i)| {
        i.v["DBParameterGroups"]["DBParameterGroup"][0]["DBParameterGroupName"] == name.as_str()
    });
    if used {
        return Err(Refusal::bad(
            "InvalidDBParameterGroupState",
            format!(
                "One or more database instances are still members of this parameter group {name}, so the group cannot be deleted"
            ),
        ));
    }
    world.remove(&call.region, PARAMETER_GROUPS, &name);
    Ok(json!({}).into())
}

/// Checks the parameter group an instance of this version asks for, and answers its name.
pub(super) fn parameter_group_for(
    world: &World,
    call: &Call,
    version: &str,
) -> Result<String, Refusal> {
    let family = catalogue::family(version);
    let Some(name) = call.opt("DBParameterGroupName") else {
        return Ok(format!("default.{family}"));
    };
    let its = if let Some(default) = name.strip_prefix("default.") {
        default
    } else {
        world
            .get(&call.region, PARAMETER_GROUPS, name)
            .ok_or_else(|| missing_parameter_group(name))?
            .text("DBParameterGroupFamily")
    };
    if its != family {
        return Err(combination(format!(
            "The Parameter Group {name} with DBParameterGroupFamily {its} cannot be used for this instance. Please use a Parameter Group with DBParameterGroupFamily {family}"
        )));
    }
    Ok(name.to_owned())
}
