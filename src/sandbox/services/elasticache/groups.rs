//! Subnet groups and parameter groups.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{
    GROUPS, PARAMETER_GROUPS, SUBNET_GROUPS, arn, catalogue, described, invalid, page, tags_asked,
};
use crate::sandbox::call::{Call, Outcome, Refusal};
use crate::sandbox::services::ec2::subnet_check;
use crate::sandbox::world::World;

fn name(call: &Call, key: &str) -> Result<String, Refusal> {
    let name = call.need(key)?.to_lowercase();
    let fine = name.len() <= 255
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && !name.ends_with('-')
        && !name.contains("--")
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    if fine {
        return Ok(name);
    }
    Err(invalid(format!(
        "The parameter {key} is not a valid identifier. Identifiers must begin with a letter; must contain only ASCII letters, digits, and hyphens; and must not end with a hyphen or contain two consecutive hyphens."
    )))
}

fn subnets(world: &World, call: &Call) -> Result<(Value, String), Refusal> {
    let mut vpcs = BTreeSet::new();
    let mut shown = Vec::new();
    for id in call.texts("SubnetIds") {
        let (vpc, zone) = subnet_check(world, &call.region, id).map_err(|_| {
            Refusal::bad("InvalidSubnet", format!("The subnet {id} does not exist."))
        })?;
        shown.push(json!({"SubnetIdentifier": id, "SubnetAvailabilityZone": {"Name": zone}}));
        vpcs.insert(vpc);
    }
    let mut vpcs = vpcs.into_iter();
    match (vpcs.next(), vpcs.next()) {
        (Some(vpc), None) => Ok((json!({"Subnet": shown}), vpc)),
        (None, _) => Err(invalid("At least one subnet is needed.")),
        _ => Err(Refusal::bad(
            "InvalidSubnet",
            "The subnets are not all in the same VPC.",
        )),
    }
}

pub(super) fn create_subnet_group(world: &mut World, call: &Call) -> Outcome {
    let name = name(call, "CacheSubnetGroupName")?;
    let description = call.need("CacheSubnetGroupDescription")?.to_owned();
    if world.get(&call.region, SUBNET_GROUPS, &name).is_some() {
        return Err(Refusal::bad(
            "CacheSubnetGroupAlreadyExists",
            format!("Cache subnet group {name} already exists."),
        ));
    }
    let (subnets, vpc) = subnets(world, call)?;
    let held = world.rows(&call.region, SUBNET_GROUPS).count() as u64;
    if held >= world.quota("cache_subnet_groups", 150) {
        return Err(Refusal::bad(
            "CacheSubnetGroupQuotaExceeded",
            "The request would exceed the number of cache subnet groups.",
        ));
    }
    let tags = tags_asked(call)?;
    let arn = arn(world, call, "subnetgroup", &name);
    let v = json!({"CacheSubnetGroupName": name, "CacheSubnetGroupDescription": description, "VpcId": vpc,
        "Subnets": subnets, "ARN": arn, "_arn": arn});
    let row = world.insert(&call.region, SUBNET_GROUPS, &name, v, call.now);
    row.tags = tags;
    Ok(json!({"CacheSubnetGroup": row.shown()}).into())
}

pub(super) fn missing_subnet_group(name: &str) -> Refusal {
    Refusal::new(
        400,
        "CacheSubnetGroupNotFoundFault",
        format!("Cache Subnet Group {name} does not exist."),
    )
}

fn missing_parameter_group(name: &str) -> Refusal {
    Refusal::new(
        404,
        "CacheParameterGroupNotFound",
        format!("CacheParameterGroup not found: {name}"),
    )
}

pub(super) fn describe_subnet_groups(world: &mut World, call: &Call) -> Outcome {
    let all = described(
        world,
        call,
        SUBNET_GROUPS,
        "CacheSubnetGroupName",
        "CacheSubnetGroupNotFoundFault",
    )?;
    Ok(page(call, "CacheSubnetGroups", "CacheSubnetGroup", all)?.into())
}

pub(super) fn modify_subnet_group(world: &mut World, call: &Call) -> Outcome {
    let name = call.need("CacheSubnetGroupName")?.to_owned();
    if world.get(&call.region, SUBNET_GROUPS, &name).is_none() {
        return Err(missing_subnet_group(&name));
    }
    let changed = if call.texts("SubnetIds").is_empty() {
        None
    } else {
        Some(subnets(world, call)?.0)
    };
    let kept = call.texts("SubnetIds");
    let held = world.rows(&call.region, GROUPS).any(|(_, g)| {
        let used = g.v["_subnets"].as_array().into_iter().flatten();
        g.text("_subnet_group") == name
            && used.filter_map(Value::as_str).any(|s| !kept.contains(&s))
    });
    if changed.is_some() && held {
        return Err(Refusal::bad(
            "SubnetInUse",
            "A subnet that is to be removed is in use by a cache cluster.",
        ));
    }
    let description = call.opt("CacheSubnetGroupDescription").map(str::to_owned);
    let Some(row) = world.get_mut(&call.region, SUBNET_GROUPS, &name) else {
        return Err(missing_subnet_group(&name));
    };
    if let Some(subnets) = changed {
        row.set("Subnets", subnets);
    }
    if let Some(description) = description {
        row.set("CacheSubnetGroupDescription", description);
    }
    let shown = row.shown();
    Ok(json!({"CacheSubnetGroup": shown}).into())
}

pub(super) fn delete_subnet_group(world: &mut World, call: &Call) -> Outcome {
    let name = call.need("CacheSubnetGroupName")?.to_owned();
    if world.get(&call.region, SUBNET_GROUPS, &name).is_none() {
        return Err(missing_subnet_group(&name));
    }
    if world
        .rows(&call.region, GROUPS)
        .any(|(_, g)| g.text("_subnet_group") == name)
    {
        return Err(Refusal::bad(
            "CacheSubnetGroupInUse",
            format!("Cache subnet group {name} is currently in use by a cache cluster."),
        ));
    }
    world.remove(&call.region, SUBNET_GROUPS, &name);
    Ok(json!({}).into())
}

pub(super) fn create_parameter_group(world: &mut World, call: &Call) -> Outcome {
    let name = name(call, "CacheParameterGroupName")?;
    let family = call.need("CacheParameterGroupFamily")?.to_owned();
    if !catalogue::family_known(&family) {
        return Err(invalid(format!(
            "CacheParameterGroupFamily {family} is not a valid parameter group family."
        )));
    }
    let description = call.need("Description")?.to_owned();
    if world.get(&call.region, PARAMETER_GROUPS, &name).is_some() {
        return Err(Refusal::bad(
            "CacheParameterGroupAlreadyExists",
            format!("Parameter group {name} already exists"),
        ));
    }
    let held = world.rows(&call.region, PARAMETER_GROUPS).count() as u64;
    if held >= world.quota("cache_parameter_groups", 150) {
        return Err(Refusal::bad(
            "CacheParameterGroupQuotaExceeded",
            "The request would exceed the number of cache parameter groups.",
        ));
    }
    let tags = tags_asked(call)?;
    let arn = arn(world, call, "parametergroup", &name);
    let v = json!({"CacheParameterGroupName": name, "CacheParameterGroupFamily": family, "Description": description,
        "IsGlobal": false, "ARN": arn, "_arn": arn, "_parameters": {}});
    let row = world.insert(&call.region, PARAMETER_GROUPS, &name, v, call.now);
    row.tags = tags;
    Ok(json!({"CacheParameterGroup": row.shown()}).into())
}

pub(super) fn describe_parameter_groups(world: &mut World, call: &Call) -> Outcome {
    let all = described(
        world,
        call,
        PARAMETER_GROUPS,
        "CacheParameterGroupName",
        "CacheParameterGroupNotFound",
    )?;
    Ok(page(call, "CacheParameterGroups", "CacheParameterGroup", all)?.into())
}

pub(super) fn describe_parameters(world: &mut World, call: &Call) -> Outcome {
    let name = call.need("CacheParameterGroupName")?;
    let row = world
        .get(&call.region, PARAMETER_GROUPS, name)
        .ok_or_else(|| missing_parameter_group(name))?;
    // Only what somebody set is kept; the engine's defaults have no rows here.
    let set: Vec<Value> = match call.opt("Source") {
        None | Some("user") => row.v["_parameters"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, value)| {
                json!({"ParameterName": name, "ParameterValue": value, "Source": "user", "IsModifiable": true,
                    "ChangeType": "immediate"})
            })
            .collect(),
        Some(_) => vec![],
    };
    Ok(page(call, "Parameters", "Parameter", set)?.into())
}

/// The group's own row, and not one of AWS's.
fn own_group(world: &World, call: &Call) -> Result<String, Refusal> {
    let name = call.need("CacheParameterGroupName")?;
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
    let asked = call.list("ParameterNameValues");
    if asked.len() > 20 {
        return Err(invalid(
            "Number of parameters in a single request exceeds the limit of 20",
        ));
    }
    asked
        .iter()
        .map(|p| {
            let name = p["ParameterName"].as_str().unwrap_or_default();
            let value = p["ParameterValue"].as_str();
            match catalogue::problem(name, value) {
                Some(problem) => Err(invalid(problem)),
                None => Ok((name.to_owned(), value.map(str::to_owned))),
            }
        })
        .collect()
}

pub(super) fn modify_parameter_group(world: &mut World, call: &Call) -> Outcome {
    let name = own_group(world, call)?;
    for (parameter, value) in known(call)? {
        let Some(value) = value else {
            return Err(invalid(format!("The parameter {parameter} needs a value")));
        };
        if let Some(row) = world.get_mut(&call.region, PARAMETER_GROUPS, &name) {
            row.v["_parameters"][&parameter] = json!(value);
        }
    }
    Ok(json!({"CacheParameterGroupName": name}).into())
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
    Ok(json!({"CacheParameterGroupName": name}).into())
}

pub(super) fn delete_parameter_group(world: &mut World, call: &Call) -> Outcome {
    let name = own_group(world, call)?;
    if world
        .rows(&call.region, GROUPS)
        .any(|(_, g)| g.text("_parameter_group") == name)
    {
        return Err(Refusal::bad(
            "InvalidCacheParameterGroupState",
            format!(
                "One or more cache clusters are still members of this parameter group {name}, so the group cannot be deleted."
            ),
        ));
    }
    world.remove(&call.region, PARAMETER_GROUPS, &name);
    Ok(json!({}).into())
}

/// Checks the parameter group a group of this version asks for, and answers its name.
pub(super) fn parameter_group_for(
    world: &World,
    call: &Call,
    version: &str,
) -> Result<String, Refusal> {
    let family = catalogue::family(version);
    let Some(name) = call.opt("CacheParameterGroupName") else {
        return Ok(format!("default.{family}"));
    };
    let its = if let Some(default) = name.strip_prefix("default.") {
        default
    } else {
        world
            .get(&call.region, PARAMETER_GROUPS, name)
            .ok_or_else(|| missing_parameter_group(name))?
            .text("CacheParameterGroupFamily")
    };
    if its != family {
        return Err(super::combination(format!(
            "Expected a parameter group of family {family} but found one of family {its}"
        )));
    }
    Ok(name.to_owned())
}
