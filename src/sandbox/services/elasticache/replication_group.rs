//! Replication groups: made slowly, changed slowly, deleted slowly, and refused in between.

use serde_json::{Map, Value, json};

use super::{
    GROUPS, SUBNET_GROUPS, arn, catalogue, combination, described, groups, invalid, page,
    tags_asked,
};
use crate::sandbox::call::{Call, Outcome, Refusal};
use crate::sandbox::delays;
use crate::sandbox::services::ec2::{group_check, plug, unplug};
use crate::sandbox::services::kms;
use crate::sandbox::world::{Row, World};

fn identifier(call: &Call) -> Result<String, Refusal> {
    let id = call.need("ReplicationGroupId")?.to_lowercase();
    let fine = id.len() <= 40
        && id.starts_with(|c: char| c.is_ascii_alphabetic())
        && !id.ends_with('-')
        && !id.contains("--")
        && id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    if fine {
        return Ok(id);
    }
    Err(invalid(
        "The parameter ReplicationGroupId is not a valid identifier. Identifiers must begin with a letter; must contain only ASCII letters, digits, and hyphens; and must not end with a hyphen or contain two consecutive hyphens.",
    ))
}

fn need(world: &World, call: &Call) -> Result<Row, Refusal> {
    let id = call.need("ReplicationGroupId")?.to_lowercase();
    world
        .get(&call.region, GROUPS, &id)
        .cloned()
        .ok_or_else(|| {
            Refusal::new(
                404,
                "ReplicationGroupNotFoundFault",
                format!("ReplicationGroup {id} not found."),
            )
        })
}

fn available(row: &Row) -> Result<(), Refusal> {
    match row.text("Status") {
        "available" => Ok(()),
        state => Err(Refusal::bad(
            "InvalidReplicationGroupState",
            format!(
                "Cluster not in available state to perform this action: {} is {state}.",
                row.text("ReplicationGroupId")
            ),
        )),
    }
}

/// <https://docs.aws.amazon.com/AmazonElastiCache/latest/APIReference/API_CreateReplicationGroup.html>: "The only
/// permitted printable special characters are !, &, #, $, ^, <, >, and -."
fn check_token(token: &str) -> Result<(), Refusal> {
    let length = (16..=128).contains(&token.len());
    let letters = token
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "!&#$^<>-".contains(c));
    if length && letters {
        return Ok(());
    }
    Err(invalid(
        "Invalid AuthToken provided. Token must be 16 to 128 letters, digits and the characters ! & # $ ^ < > -",
    ))
}

fn check_type(name: &str) -> Result<(), Refusal> {
    if catalogue::type_known(name) {
        return Ok(());
    }
    Err(invalid(format!(
        "The parameter CacheNodeType {name} is not a valid cache node type."
    )))
}

fn check_groups(world: &World, call: &Call, vpc: &str) -> Result<Vec<String>, Refusal> {
    let ids: Vec<String> = call
        .texts("SecurityGroupIds")
        .into_iter()
        .map(str::to_owned)
        .collect();
    for id in &ids {
        let of = group_check(world, &call.region, id)
            .map_err(|_| invalid(format!("Security group {id} does not exist.")))?;
        if of != vpc {
            return Err(combination(format!(
                "Security group {id} is in another VPC than the subnets."
            )));
        }
    }
    Ok(ids)
}

fn check_window(call: &Call) -> Result<(), Refusal> {
    let minutes = |text: &str| {
        let (h, m) = text.split_once(':')?;
        Some(h.parse::<i64>().ok()? * 60 + m.parse::<i64>().ok()?)
    };
    if let Some(window) = call.opt("SnapshotWindow") {
        let length = window
            .split_once('-')
            .and_then(|(from, to)| Some((minutes(to)? - minutes(from)?).rem_euclid(24 * 60)));
        if length.is_none_or(|l| l < 60) {
            return Err(invalid(format!(
                "The snapshot window {window} is not valid; it must be at least 60 minutes."
            )));
        }
    }
    if let Some(window) = call.opt("PreferredMaintenanceWindow") {
        let days = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
        let fine = window.split('-').count() == 2
            && window.to_lowercase().split('-').all(|end| {
                end.split_once(':')
                    .is_some_and(|(d, t)| days.contains(&d) && minutes(t).is_some())
            });
        if !fine {
            return Err(invalid(format!(
                "The maintenance window {window} is not valid."
            )));
        }
    }
    Ok(())
}

/// Multi-AZ asks for failover, and failover for somebody to fail over to.
fn check_failover(failover: bool, multi: bool, nodes: i64) -> Result<(), Refusal> {
    if failover && nodes < 2 {
        return Err(combination(
            "Automatic failover is not supported for replication groups without replicas.",
        ));
    }
    if multi && !failover {
        return Err(combination(
            "Multi-AZ requires automatic failover to be enabled.",
        ));
    }
    Ok(())
}

pub(super) fn create(world: &mut World, call: &Call) -> Outcome {
    let id = identifier(call)?;
    let description = call.need("ReplicationGroupDescription")?.to_owned();
    if world.get(&call.region, GROUPS, &id).is_some() {
        return Err(Refusal::bad(
            "ReplicationGroupAlreadyExists",
            format!("Replication group {id} already exists."),
        ));
    }
    let engine = call.opt("Engine").unwrap_or("redis");
    if engine != "valkey" {
        return Err(invalid(format!("The engine {engine} is not played here")));
    }
    let asked = call.opt("EngineVersion").unwrap_or("7.2");
    let Some(version) = catalogue::release(asked) else {
        return Err(invalid(format!("Cannot find version {asked} for valkey")));
    };
    let node_type = call.need("CacheNodeType")?.to_owned();
    check_type(&node_type)?;
    let nodes = call.int("NumCacheClusters").unwrap_or(1);
    if !(1..=6).contains(&nodes) {
        return Err(invalid("NumCacheClusters must be between 1 and 6."));
    }
    let failover = call.flag("AutomaticFailoverEnabled") == Some(true);
    let multi = call.flag("MultiAZEnabled") == Some(true);
    check_failover(failover, multi, nodes)?;
    let tls = call.flag("TransitEncryptionEnabled") == Some(true);
    if let Some(token) = call.opt("AuthToken") {
        if !tls {
            return Err(combination(
                "The AUTH token is only supported when encryption-in-transit is enabled.",
            ));
        }
        check_token(token)?;
    }
    check_window(call)?;
    let days = call.int("SnapshotRetentionLimit").unwrap_or(0);
    if !(0..=35).contains(&days) {
        return Err(invalid("SnapshotRetentionLimit must be between 0 and 35."));
    }
    let encrypted = call.flag("AtRestEncryptionEnabled") == Some(true);
    let key = match call.opt("KmsKeyId") {
        Some(_) if !encrypted => {
            return Err(combination(
                "KmsKeyId needs encryption at rest to be enabled.",
            ));
        }
        Some(name) => kms::usable(world, &call.region, name)
            .map(Value::String)
            .map_err(invalid)?,
        None => Value::Null,
    };
    let parameters = groups::parameter_group_for(world, call, version)?;
    let subnet_group = call.need("CacheSubnetGroupName")?.to_lowercase();
    let subnets = world
        .get(&call.region, SUBNET_GROUPS, &subnet_group)
        .ok_or_else(|| groups::missing_subnet_group(&subnet_group))?
        .clone();
    let security = check_groups(world, call, subnets.text("VpcId"))?;
    let held: usize = world
        .rows(&call.region, GROUPS)
        .map(|(_, g)| members(g).len())
        .sum();
    if held as u64 + nodes.unsigned_abs() > world.quota("cache_nodes", 300) {
        return Err(Refusal::bad(
            "NodeQuotaForCustomerExceeded",
            "The request would exceed the number of nodes.",
        ));
    }
    let tags = tags_asked(call)?;

    let arn = arn(world, call, "replicationgroup", &id);
    let places: Vec<Value> = subnets.v["Subnets"]["Subnet"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let used: Vec<String> = places
        .iter()
        .take(usize::try_from(nodes).unwrap_or(1))
        .filter_map(|s| s["SubnetIdentifier"].as_str())
        .map(str::to_owned)
        .collect();
    let tail = world.hex(6);
    let v = json!({
        "ReplicationGroupId": id, "Description": description, "Status": "creating", "ARN": arn, "_arn": arn,
        "PendingModifiedValues": {}, "CacheNodeType": node_type, "Engine": "valkey", "ClusterEnabled": false,
        "ClusterMode": "disabled", "AutomaticFailover": on_off(failover), "MultiAZ": on_off(multi),
        "TransitEncryptionEnabled": tls, "TransitEncryptionMode": if tls { json!("required") } else { Value::Null },
        "AtRestEncryptionEnabled": encrypted, "KmsKeyId": key, "AuthTokenEnabled": call.opt("AuthToken").is_some(),
        "SnapshotRetentionLimit": days, "SnapshotWindow": call.opt("SnapshotWindow").unwrap_or("05:30-06:30"),
        "AutoMinorVersionUpgrade": call.flag("AutoMinorVersionUpgrade").unwrap_or(true),
        "MemberClusters": cluster_ids(&id, nodes),
        "_version": version, "_parameter_group": parameters, "_subnet_group": subnet_group, "_groups": security,
        "_maintenance": call.opt("PreferredMaintenanceWindow").unwrap_or("sun:05:00-sun:06:00").to_lowercase(),
        "_subnets": used, "_places": places, "_tail": tail,
    });
    let row = world.insert(&call.region, GROUPS, &id, v, call.now);
    row.tags = tags;
    let shards = node_groups(row, nodes, &call.region);
    row.later(
        call.now,
        delays::CACHE,
        json!({"Status": "available", "NodeGroups": shards}),
    );
    let answer = row.shown();
    replug(world, call, &id, &used, &security);
    Ok(json!({"ReplicationGroup": answer}).into())
}

fn on_off(on: bool) -> &'static str {
    if on { "enabled" } else { "disabled" }
}

fn cluster_ids(id: &str, nodes: i64) -> Value {
    json!({"ClusterId": (1..=nodes).map(|n| format!("{id}-{n:03}")).collect::<Vec<_>>()})
}

fn members(row: &Row) -> Vec<String> {
    row.v["MemberClusters"]["ClusterId"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

/// The one shard of a group with cluster mode off.
fn node_groups(row: &Row, nodes: i64, region: &str) -> Value {
    let id = row.text("ReplicationGroupId");
    let tail = row.text("_tail");
    let places = row.v["_places"].as_array().cloned().unwrap_or_default();
    let prefix = if row.is("TransitEncryptionEnabled") {
        ("master.", "replica.")
    } else {
        ("", "")
    };
    let host = |front: &str| json!({"Address": format!("{front}{id}.{tail}.{region}.cache.amazonaws.com"), "Port": 6379});
    let members: Vec<Value> = (1..=nodes)
        .map(|n| {
            let place = usize::try_from(n - 1).unwrap_or_default() % places.len().max(1);
            json!({"CacheClusterId": format!("{id}-{n:03}"), "CacheNodeId": "0001",
                "ReadEndpoint": host(&format!("{id}-{n:03}.")), "CurrentRole": if n == 1 { "primary" } else { "replica" },
                "PreferredAvailabilityZone": places.get(place).map(|p| p["SubnetAvailabilityZone"]["Name"].clone())})
        })
        .collect();
    json!({"NodeGroup": [{"NodeGroupId": "0001", "Status": "available", "PrimaryEndpoint": host(prefix.0),
        "ReaderEndpoint": host(prefix.1), "NodeGroupMembers": {"NodeGroupMember": members}}]})
}

/// Puts the nodes' interfaces into their subnets and groups, in place of those that were there.
fn replug(world: &mut World, call: &Call, id: &str, subnets: &[String], groups: &[String]) {
    let owner = format!("elasticache/{id}");
    unplug(world, &call.region, &owner, call.now, 0);
    for subnet in subnets {
        plug(
            world,
            &call.region,
            call.now,
            subnet,
            groups,
            &format!("ElastiCache {id}"),
            &owner,
        );
    }
}

pub(super) fn describe(world: &mut World, call: &Call) -> Outcome {
    let all = described(
        world,
        call,
        GROUPS,
        "ReplicationGroupId",
        "ReplicationGroupNotFoundFault",
    )?;
    Ok(page(call, "ReplicationGroups", "ReplicationGroup", all)?.into())
}

pub(super) fn describe_nodes(world: &mut World, call: &Call) -> Outcome {
    let asked = call.opt("CacheClusterId");
    let mut nodes = Vec::new();
    for (id, g) in world.seen(&call.region, GROUPS, call.now) {
        let groups: Vec<Value> = g.v["_groups"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|group| json!({"SecurityGroupId": group, "Status": "active"}))
            .collect();
        for cluster in members(g) {
            if asked.is_some_and(|a| a != cluster) {
                continue;
            }
            nodes.push(json!({"CacheClusterId": cluster, "ReplicationGroupId": id, "CacheClusterStatus": g.text("Status"),
                "CacheNodeType": g.text("CacheNodeType"), "Engine": "valkey", "EngineVersion": g.text("_version"),
                "NumCacheNodes": 1, "PreferredMaintenanceWindow": g.text("_maintenance"),
                "CacheParameterGroup": {"CacheParameterGroupName": g.text("_parameter_group"), "ParameterApplyStatus": "in-sync"},
                "CacheSubnetGroupName": g.text("_subnet_group"), "SecurityGroups": {"member": groups},
                "AutoMinorVersionUpgrade": g.v["AutoMinorVersionUpgrade"], "AuthTokenEnabled": g.v["AuthTokenEnabled"],
                "TransitEncryptionEnabled": g.v["TransitEncryptionEnabled"], "AtRestEncryptionEnabled": g.v["AtRestEncryptionEnabled"]}));
        }
    }
    if asked.is_some() && nodes.is_empty() {
        return Err(Refusal::new(
            404,
            "CacheClusterNotFound",
            "CacheCluster not found.",
        ));
    }
    Ok(page(call, "CacheClusters", "CacheCluster", nodes)?.into())
}

pub(super) fn modify(world: &mut World, call: &Call) -> Outcome {
    let row = need(world, call)?;
    available(&row)?;
    check_window(call)?;
    let id = row.text("ReplicationGroupId").to_owned();
    let nodes = i64::try_from(members(&row).len()).unwrap_or(1);
    let failover = call
        .flag("AutomaticFailoverEnabled")
        .unwrap_or(row.text("AutomaticFailover") == "enabled");
    let multi = call
        .flag("MultiAZEnabled")
        .unwrap_or(row.text("MultiAZ") == "enabled");
    check_failover(failover, multi, nodes)?;

    // Words and windows change at once.
    let mut quick = Map::new();
    if let Some(text) = call.opt("ReplicationGroupDescription") {
        quick.insert("Description".into(), text.into());
    }
    if let Some(days) = call.int("SnapshotRetentionLimit") {
        if !(0..=35).contains(&days) {
            return Err(invalid("SnapshotRetentionLimit must be between 0 and 35."));
        }
        quick.insert("SnapshotRetentionLimit".into(), days.into());
    }
    if let Some(window) = call.opt("SnapshotWindow") {
        quick.insert("SnapshotWindow".into(), window.into());
    }
    if let Some(on) = call.flag("AutoMinorVersionUpgrade") {
        quick.insert("AutoMinorVersionUpgrade".into(), on.into());
    }
    if let Some(window) = call.opt("PreferredMaintenanceWindow") {
        quick.insert("_maintenance".into(), window.to_lowercase().into());
    }

    // The rest takes minutes.
    let mut slow = Map::new();
    slow.insert("AutomaticFailover".into(), on_off(failover).into());
    slow.insert("MultiAZ".into(), on_off(multi).into());
    if let Some(name) = call.opt("CacheNodeType") {
        check_type(name)?;
        slow.insert("CacheNodeType".into(), name.into());
    }
    if let Some(asked) = call.opt("EngineVersion") {
        let Some(version) = catalogue::release(asked) else {
            return Err(invalid(format!("Cannot find version {asked} for valkey")));
        };
        if version < row.text("_version") {
            return Err(invalid("The engine version cannot be taken back."));
        }
        slow.insert("_version".into(), version.into());
    }
    if call.opt("CacheParameterGroupName").is_some() {
        let name = groups::parameter_group_for(world, call, row.text("_version"))?;
        slow.insert("_parameter_group".into(), name.into());
    }
    let mut security = None;
    if !call.texts("SecurityGroupIds").is_empty() {
        let vpc = world
            .get(&call.region, SUBNET_GROUPS, row.text("_subnet_group"))
            .map(|g| g.text("VpcId").to_owned())
            .unwrap_or_default();
        let ids = check_groups(world, call, &vpc)?;
        slow.insert("_groups".into(), json!(ids));
        security = Some(ids);
    }
    slow.retain(|key, value| row.v.get(key.as_str()) != Some(value));
    if let Some(token) = call.opt("AuthToken") {
        check_token(token)?;
        slow.insert("AuthTokenEnabled".into(), true.into());
    }
    if let Some(row) = world.get_mut(&call.region, GROUPS, &id) {
        for (key, value) in quick {
            row.set(&key, value);
        }
        if !slow.is_empty() {
            row.set("Status", "modifying");
            slow.insert("Status".into(), "available".into());
            row.later(call.now, delays::CACHE_MODIFY, Value::Object(slow));
        }
    }
    if let Some(groups) = security {
        replug(world, call, &id, &subnets_of(&row), &groups);
    }
    let answer = world.get(&call.region, GROUPS, &id).map(Row::shown);
    Ok(json!({"ReplicationGroup": answer}).into())
}

fn subnets_of(row: &Row) -> Vec<String> {
    texts(&row.v["_subnets"])
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

pub(super) fn resize(world: &mut World, call: &Call, more: bool) -> Outcome {
    let row = need(world, call)?;
    available(&row)?;
    if call.flag("ApplyImmediately") != Some(true) {
        return Err(combination("ApplyImmediately must be true."));
    }
    let id = row.text("ReplicationGroupId").to_owned();
    let have = i64::try_from(members(&row).len()).unwrap_or(1) - 1;
    let want = call
        .int("NewReplicaCount")
        .ok_or_else(|| invalid("NewReplicaCount is needed."))?;
    if !(0..=5).contains(&want) || (more && want <= have) || (!more && want >= have) {
        return Err(invalid(format!(
            "NewReplicaCount {want} does not fit a group with {have} replicas."
        )));
    }
    if want == 0 && row.text("AutomaticFailover") == "enabled" {
        return Err(combination(
            "The last replica cannot be removed while automatic failover is enabled.",
        ));
    }
    let nodes = want + 1;
    let shards = node_groups(&row, nodes, &call.region);
    let used: Vec<String> = row.v["_places"]
        .as_array()
        .into_iter()
        .flatten()
        .take(usize::try_from(nodes).unwrap_or(1))
        .filter_map(|s| s["SubnetIdentifier"].as_str())
        .map(str::to_owned)
        .collect();
    if let Some(row) = world.get_mut(&call.region, GROUPS, &id) {
        row.set("Status", "modifying");
        row.set("_subnets", json!(used));
        row.later(
            call.now,
            delays::CACHE_MODIFY,
            json!({"Status": "available", "MemberClusters": cluster_ids(&id, nodes), "NodeGroups": shards}),
        );
    }
    let groups = texts(&row.v["_groups"]);
    replug(world, call, &id, &used, &groups);
    let answer = world.get(&call.region, GROUPS, &id).map(Row::shown);
    Ok(json!({"ReplicationGroup": answer}).into())
}

/// Automatic snapshots go with their group; only a final snapshot, which gantry never asks for, would stay.
pub(super) fn delete(world: &mut World, call: &Call) -> Outcome {
    let row = need(world, call)?;
    let id = row.text("ReplicationGroupId").to_owned();
    match row.text("Status") {
        "available" | "create-failed" => {}
        state => {
            return Err(Refusal::bad(
                "InvalidReplicationGroupState",
                format!(
                    "Replication group {id} has status {state}, which is not valid for deletion."
                ),
            ));
        }
    }
    if call.flag("RetainPrimaryCluster") == Some(true)
        || call.opt("FinalSnapshotIdentifier").is_some()
    {
        return Err(invalid(
            "Keeping a primary or a final snapshot is not played here",
        ));
    }
    if let Some(row) = world.get_mut(&call.region, GROUPS, &id) {
        row.set("Status", "deleting");
        row.vanish(call.now, delays::CACHE_DELETE);
    }
    unplug(
        world,
        &call.region,
        &format!("elasticache/{id}"),
        call.now,
        delays::CACHE_DELETE,
    );
    let answer = world.get(&call.region, GROUPS, &id).map(Row::shown);
    Ok(json!({"ReplicationGroup": answer}).into())
}
