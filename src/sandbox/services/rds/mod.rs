//! RDS for PostgreSQL, the part gantry calls: one file per family of things.

mod catalogue;
mod groups;
mod instance;
mod modify;
mod rename;
mod restore;
mod rules;
mod snapshot;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::kms;
use crate::sandbox::call::{Call, Outcome, Refusal};
use crate::sandbox::world::{Row, World};

pub const ACTIONS: &[&str] = &[
    "CreateDBInstance",
    "CreateDBInstanceReadReplica",
    "DescribeDBInstances",
    "ModifyDBInstance",
    "StartDBInstance",
    "StopDBInstance",
    "DeleteDBInstance",
    "CreateDBSubnetGroup",
    "DescribeDBSubnetGroups",
    "ModifyDBSubnetGroup",
    "DeleteDBSubnetGroup",
    "CreateDBParameterGroup",
    "DescribeDBParameterGroups",
    "DescribeDBParameters",
    "ModifyDBParameterGroup",
    "ResetDBParameterGroup",
    "DeleteDBParameterGroup",
    "CreateDBSnapshot",
    "CopyDBSnapshot",
    "DescribeDBSnapshots",
    "DeleteDBSnapshot",
    "RestoreDBInstanceFromDBSnapshot",
    "RestoreDBInstanceToPointInTime",
    "DescribeDBInstanceAutomatedBackups",
    "DeleteDBInstanceAutomatedBackup",
    "DescribeDBEngineVersions",
    "DescribeOrderableDBInstanceOptions",
    "ListTagsForResource",
    "AddTagsToResource",
    "RemoveTagsFromResource",
];

const INSTANCES: &str = "rds/db_instance";
const SUBNET_GROUPS: &str = "rds/subnet_group";
const PARAMETER_GROUPS: &str = "rds/parameter_group";
const SNAPSHOTS: &str = "rds/snapshot";
const BACKUPS: &str = "rds/automated_backup";

pub fn handle(world: &mut World, call: &Call) -> Outcome {
    rename::settle(world, call);
    match call.action.as_str() {
        "CreateDBInstance" => instance::create(world, call),
        "CreateDBInstanceReadReplica" => instance::create_replica(world, call),
        "DescribeDBInstances" => instance::describe(world, call),
        "ModifyDBInstance" => modify::modify(world, call),
        "StartDBInstance" => instance::start(world, call),
        "StopDBInstance" => instance::stop(world, call),
        "DeleteDBInstance" => instance::delete(world, call),
        "CreateDBSubnetGroup" => groups::create_subnet_group(world, call),
        "DescribeDBSubnetGroups" => groups::describe_subnet_groups(world, call),
        "ModifyDBSubnetGroup" => groups::modify_subnet_group(world, call),
        "DeleteDBSubnetGroup" => groups::delete_subnet_group(world, call),
        "CreateDBParameterGroup" => groups::create_parameter_group(world, call),
        "DescribeDBParameterGroups" => groups::describe_parameter_groups(world, call),
        "DescribeDBParameters" => groups::describe_parameters(world, call),
        "ModifyDBParameterGroup" => groups::modify_parameter_group(world, call),
        "ResetDBParameterGroup" => groups::reset_parameter_group(world, call),
        "DeleteDBParameterGroup" => groups::delete_parameter_group(world, call),
        "CreateDBSnapshot" => snapshot::create(world, call),
        "CopyDBSnapshot" => snapshot::copy(world, call),
        "RestoreDBInstanceFromDBSnapshot" => restore::from_snapshot(world, call),
        "RestoreDBInstanceToPointInTime" => restore::in_time(world, call),
        "DescribeDBSnapshots" => snapshot::describe(world, call),
        "DeleteDBSnapshot" => snapshot::delete(world, call),
        "DescribeDBInstanceAutomatedBackups" => snapshot::describe_backups(world, call),
        "DeleteDBInstanceAutomatedBackup" => snapshot::delete_backup(world, call),
        "DescribeDBEngineVersions" => catalogue::describe_versions(call),
        "DescribeOrderableDBInstanceOptions" => catalogue::describe_orderable(world, call),
        "ListTagsForResource" => {
            let (table, id) = resource(world, call)?;
            let row = world.get(&call.region, table, &id);
            Ok(json!({"TagList": row.map(tag_list)}).into())
        }
        "AddTagsToResource" => {
            let (table, id) = resource(world, call)?;
            let asked = call.pairs("Tags");
            retag(world, call, table, &id, |tags| tags.extend(asked))
        }
        "RemoveTagsFromResource" => {
            let (table, id) = resource(world, call)?;
            let gone = call.texts("TagKeys");
            retag(world, call, table, &id, |tags| {
                tags.retain(|k, _| !gone.contains(&k.as_str()));
            })
        }
        _ => Err(Refusal::unknown_action(call)),
    }
}

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::bad("InvalidParameterValue", message)
}

fn combination(message: impl Into<String>) -> Refusal {
    Refusal::bad("InvalidParameterCombination", message)
}

fn arn(world: &World, call: &Call, what: &str, name: &str) -> String {
    format!(
        "arn:aws:rds:{}:{}:{what}:{name}",
        call.region, world.account
    )
}

fn tag_list(row: &Row) -> Value {
    json!({"Tag": row.tags.iter().map(|(k, v)| json!({"Key": k, "Value": v})).collect::<Vec<_>>()})
}

/// The tags a creating call asks for.
fn tags_asked(call: &Call) -> Result<BTreeMap<String, String>, Refusal> {
    let tags = call.pairs("Tags");
    match kms::tag_problem(&tags) {
        Some(problem) => Err(invalid(problem)),
        None => Ok(tags),
    }
}

/// Table and id of the thing a tag call means.
fn resource(world: &World, call: &Call) -> Result<(&'static str, String), Refusal> {
    let arn = call.need("ResourceName")?;
    let mut parts = arn.splitn(7, ':').skip(5);
    let (what, name) = (
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
    );
    let (table, missing) = match what {
        "db" => (INSTANCES, "DBInstanceNotFound"),
        "subgrp" => (SUBNET_GROUPS, "DBSubnetGroupNotFoundFault"),
        "pg" => (PARAMETER_GROUPS, "DBParameterGroupNotFound"),
        "snapshot" => (SNAPSHOTS, "DBSnapshotNotFound"),
        _ => return Err(invalid(format!("Invalid resource name: {arn}"))),
    };
    if world.get(&call.region, table, name).is_none() {
        return Err(Refusal::new(404, missing, format!("{name} not found.")));
    }
    Ok((table, name.to_owned()))
}

fn retag(
    world: &mut World,
    call: &Call,
    table: &str,
    id: &str,
    change: impl FnOnce(&mut BTreeMap<String, String>),
) -> Outcome {
    if let Some(row) = world.get_mut(&call.region, table, id) {
        let mut tags = row.tags.clone();
        change(&mut tags);
        if let Some(problem) = kms::tag_problem(&tags) {
            return Err(invalid(problem));
        }
        row.tags = tags;
    }
    Ok(json!({}).into())
}

/// One page of a listing: `MaxRecords` items from `Marker` on. ElastiCache pages alike.
pub(super) fn page(
    call: &Call,
    list: &str,
    item: &str,
    items: Vec<Value>,
) -> Result<Value, Refusal> {
    let from: usize = match call.opt("Marker") {
        None => 0,
        Some(marker) => marker
            .parse()
            .map_err(|_| invalid("Invalid value for marker"))?,
    };
    let size = call.int("MaxRecords").unwrap_or(100);
    if !(20..=100).contains(&size) {
        return Err(invalid(
            "Invalid value for max records. Must be between 20 and 100",
        ));
    }
    let size = usize::try_from(size).unwrap_or(100);
    let more = from + size < items.len();
    let shown: Vec<Value> = items.into_iter().skip(from).take(size).collect();
    let mut answer = json!({ list: { item: shown } });
    if more {
        answer["Marker"] = json!((from + size).to_string());
    }
    Ok(answer)
}
