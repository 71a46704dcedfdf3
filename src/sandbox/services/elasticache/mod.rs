//! ElastiCache for Valkey, the part gantry calls: one file per family of things.

mod catalogue;
mod groups;
mod replication_group;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{kms, rds::page};
use crate::sandbox::call::{Call, Outcome, Refusal};
use crate::sandbox::world::{Row, World};

pub const ACTIONS: &[&str] = &[
    "CreateReplicationGroup",
    "DescribeReplicationGroups",
    "ModifyReplicationGroup",
    "IncreaseReplicaCount",
    "DecreaseReplicaCount",
    "DeleteReplicationGroup",
    "DescribeCacheClusters",
    "CreateCacheSubnetGroup",
    "DescribeCacheSubnetGroups",
    "ModifyCacheSubnetGroup",
    "DeleteCacheSubnetGroup",
    "CreateCacheParameterGroup",
    "DescribeCacheParameterGroups",
    "DescribeCacheParameters",
    "ModifyCacheParameterGroup",
    "ResetCacheParameterGroup",
    "DeleteCacheParameterGroup",
    "ListTagsForResource",
    "AddTagsToResource",
    "RemoveTagsFromResource",
];

const GROUPS: &str = "elasticache/replication_group";
const SUBNET_GROUPS: &str = "elasticache/subnet_group";
const PARAMETER_GROUPS: &str = "elasticache/parameter_group";

pub fn handle(world: &mut World, call: &Call) -> Outcome {
    match call.action.as_str() {
        "CreateReplicationGroup" => replication_group::create(world, call),
        "DescribeReplicationGroups" => replication_group::describe(world, call),
        "ModifyReplicationGroup" => replication_group::modify(world, call),
        "IncreaseReplicaCount" => replication_group::resize(world, call, true),
        "DecreaseReplicaCount" => replication_group::resize(world, call, false),
        "DeleteReplicationGroup" => replication_group::delete(world, call),
        "DescribeCacheClusters" => replication_group::describe_nodes(world, call),
        "CreateCacheSubnetGroup" => groups::create_subnet_group(world, call),
        "DescribeCacheSubnetGroups" => groups::describe_subnet_groups(world, call),
        "ModifyCacheSubnetGroup" => groups::modify_subnet_group(world, call),
        "DeleteCacheSubnetGroup" => groups::delete_subnet_group(world, call),
        "CreateCacheParameterGroup" => groups::create_parameter_group(world, call),
        "DescribeCacheParameterGroups" => groups::describe_parameter_groups(world, call),
        "DescribeCacheParameters" => groups::describe_parameters(world, call),
        "ModifyCacheParameterGroup" => groups::modify_parameter_group(world, call),
        "ResetCacheParameterGroup" => groups::reset_parameter_group(world, call),
        "DeleteCacheParameterGroup" => groups::delete_parameter_group(world, call),
        "ListTagsForResource" => {
            let (table, id) = resource(world, call)?;
            let tags = world.get(&call.region, table, &id).map(tag_list);
            Ok(json!({"TagList": tags}).into())
        }
        "AddTagsToResource" => {
            let asked = call.pairs("Tags");
            retag(world, call, |tags| tags.extend(asked))
        }
        "RemoveTagsFromResource" => {
            let gone = call.texts("TagKeys");
            retag(world, call, |tags| {
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
        "arn:aws:elasticache:{}:{}:{what}:{name}",
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

/// Table and id of the thing a tag call means. Tags of a group are out of reach while it is not available.
fn resource(world: &World, call: &Call) -> Result<(&'static str, String), Refusal> {
    let arn = call.need("ResourceName")?;
    let mut parts = arn.splitn(7, ':').skip(5);
    let (what, name) = (
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
    );
    let (table, missing) = match what {
        "replicationgroup" => (GROUPS, "ReplicationGroupNotFoundFault"),
        "subnetgroup" => (SUBNET_GROUPS, "CacheSubnetGroupNotFoundFault"),
        "parametergroup" => (PARAMETER_GROUPS, "CacheParameterGroupNotFound"),
        _ => {
            return Err(Refusal::bad(
                "InvalidARN",
                format!("{arn} is not an ARN here"),
            ));
        }
    };
    let Some(row) = world.get(&call.region, table, name) else {
        return Err(Refusal::new(404, missing, format!("{name} not found.")));
    };
    if table == GROUPS && row.text("Status") != "available" {
        return Err(Refusal::bad(
            "InvalidReplicationGroupState",
            format!("Replication group {name} is {}.", row.text("Status")),
        ));
    }
    Ok((table, name.to_owned()))
}

fn retag(
    world: &mut World,
    call: &Call,
    change: impl FnOnce(&mut BTreeMap<String, String>),
) -> Outcome {
    let (table, id) = resource(world, call)?;
    let mut tags = world
        .get(&call.region, table, &id)
        .map(|r| r.tags.clone())
        .unwrap_or_default();
    change(&mut tags);
    if let Some(problem) = kms::tag_problem(&tags) {
        return Err(invalid(problem));
    }
    if let Some(row) = world.get_mut(&call.region, table, &id) {
        row.tags = tags;
    }
    let shown = world.get(&call.region, table, &id).map(tag_list);
    Ok(json!({"TagList": shown}).into())
}

/// One thing by name at once, or all in pages.
fn described(
    world: &World,
    call: &Call,
    table: &str,
    by: &str,
    missing: &str,
) -> Result<Vec<Value>, Refusal> {
    if let Some(name) = call.opt(by) {
        let name = name.to_lowercase();
        return match world.get(&call.region, table, &name) {
            Some(row) => Ok(vec![row.shown()]),
            None => Err(Refusal::new(404, missing, format!("{name} not found."))),
        };
    }
    Ok(world
        .seen(&call.region, table, call.now)
        .map(|(_, r)| r.shown())
        .collect())
}
