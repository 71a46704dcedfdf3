//! DB instances and read replicas: made slowly, deleted slowly, and refused in between.

use serde_json::{Value, json};

use super::{
    INSTANCES, arn, catalogue, combination, groups, invalid, page, rules, snapshot, tag_list,
    tags_asked,
};
use crate::sandbox::call::{Call, Outcome, Refusal};
use crate::sandbox::delays;
use crate::sandbox::services::ec2::{group_check, plug, unplug};
use crate::sandbox::services::{kms, logs};
use crate::sandbox::world::{Millis, Row, World};

/// The first backup, at the end of creation.
const FIRST_BACKUP: Millis = 60_000;

pub(super) fn missing(id: &str) -> Refusal {
    Refusal::new(
        404,
        "DBInstanceNotFound",
        format!("DBInstance {id} not found."),
    )
}

/// The instance a call means.
pub(super) fn need(world: &World, call: &Call, key: &str) -> Result<Row, Refusal> {
    let id = call.need(key)?.to_lowercase();
    world
        .get(&call.region, INSTANCES, &id)
        .cloned()
        .ok_or_else(|| missing(&id))
}

/// Not while it changes: what AWS says then.
pub(super) fn available(row: &Row) -> Result<(), Refusal> {
    let state = row.text("DBInstanceStatus");
    if state == "available" {
        return Ok(());
    }
    Err(Refusal::bad(
        "InvalidDBInstanceState",
        format!(
            "Instance {} is not in available state, but {state}.",
            row.text("DBInstanceIdentifier")
        ),
    ))
}

/// The name of a new instance.
pub(super) fn new_name(world: &World, call: &Call, key: &str) -> Result<String, Refusal> {
    let id = rules::identifier(call, key, 63)?;
    match world.get(&call.region, INSTANCES, &id) {
        None => Ok(id),
        Some(_) => Err(Refusal::bad(
            "DBInstanceAlreadyExists",
            "DB instance already exists",
        )),
    }
}

/// A row as RDS shows it.
pub(super) fn shown(row: &Row) -> Value {
    let mut v = row.shown();
    v["TagList"] = tag_list(row);
    v
}

pub(super) fn check_class(class: &str) -> Result<(), Refusal> {
    if catalogue::class_known(class) {
        return Ok(());
    }
    Err(invalid(format!("Invalid DB Instance class: {class}")))
}

/// Security groups that exist and are in the VPC, as RDS shows them.
pub(super) fn security_groups(
    world: &World,
    call: &Call,
    vpc: &str,
) -> Result<(Value, Vec<String>), Refusal> {
    let ids: Vec<String> = call
        .texts("VpcSecurityGroupIds")
        .into_iter()
        .map(str::to_owned)
        .collect();
    for id in &ids {
        let of = group_check(world, &call.region, id).map_err(|_| {
            invalid(format!(
                "Invalid security group , groupId= {id}, groupName=."
            ))
        })?;
        if of != vpc {
            return Err(combination(
                "The DB instance and EC2 security group are in different VPCs.",
            ));
        }
    }
    let shown: Vec<Value> = ids
        .iter()
        .map(|id| json!({"VpcSecurityGroupId": id, "Status": "active"}))
        .collect();
    Ok((json!({"VpcSecurityGroupMembership": shown}), ids))
}

pub(super) fn log_types(call: &Call, key: &str) -> Result<Vec<String>, Refusal> {
    let asked = call.texts(key);
    if let Some(unknown) = asked
        .iter()
        .find(|t| !["postgresql", "upgrade", "iam-db-auth-error"].contains(t))
    {
        return Err(combination(format!(
            "You cannot use the log types '{unknown}' with engine version postgres."
        )));
    }
    Ok(asked.into_iter().map(str::to_owned).collect())
}

/// Stops at once, where AWS takes minutes.
pub(super) fn stop(world: &mut World, call: &Call) -> Outcome {
    switch(world, call, "available", |row, _| {
        row.set("DBInstanceStatus", "stopped");
    })
}

pub(super) fn start(world: &mut World, call: &Call) -> Outcome {
    switch(world, call, "stopped", |row, now| {
        row.set("DBInstanceStatus", "starting");
        row.later(
            now,
            delays::DATABASE_MODIFY,
            json!({"DBInstanceStatus": "available"}),
        );
    })
}

fn switch(
    world: &mut World,
    call: &Call,
    from: &str,
    to: impl FnOnce(&mut Row, Millis),
) -> Outcome {
    let row = need(world, call, "DBInstanceIdentifier")?;
    let id = row.text("DBInstanceIdentifier").to_owned();
    let state = row.text("DBInstanceStatus");
    if state != from {
        return Err(Refusal::bad(
            "InvalidDBInstanceState",
            format!("Instance {id} is not in {from} state: {state}."),
        ));
    }
    if let Some(row) = world.get_mut(&call.region, INSTANCES, &id) {
        to(row, call.now);
    }
    let row = need(world, call, "DBInstanceIdentifier")?;
    Ok(json!({"DBInstance": shown(&row)}).into())
}

pub(super) fn check_quota(world: &World, call: &Call, gib: i64) -> Result<(), Refusal> {
    let held = world.rows(&call.region, INSTANCES).count() as u64;
    if held >= world.quota("db_instances", 40) {
        return Err(Refusal::bad(
            "InstanceQuotaExceeded",
            "The request would exceed the allowed quota for DB instances.",
        ));
    }
    let stored: i64 = world
        .rows(&call.region, INSTANCES)
        .filter_map(|(_, r)| r.v["AllocatedStorage"].as_i64())
        .sum();
    if u64::try_from(stored + gib).unwrap_or_default() > world.quota("db_storage", 100_000) {
        return Err(Refusal::bad(
            "StorageQuotaExceeded",
            "The request would exceed the allowed amount of storage.",
        ));
    }
    Ok(())
}

pub(super) fn storage_asked(call: &Call) -> Result<rules::Storage, Refusal> {
    let kind = call.opt("StorageType").unwrap_or(
        // RDS's own choice.
        if call.int("Iops").is_some() {
            "io1"
        } else {
            "gp2"
        },
    );
    let storage = rules::Storage {
        gib: call
            .int("AllocatedStorage")
            .ok_or_else(|| Refusal::bad("MissingParameter", "AllocatedStorage is required"))?,
        kind: kind.to_owned(),
        iops: call.int("Iops"),
        throughput: call.int("StorageThroughput"),
    };
    rules::storage(&storage)?;
    Ok(storage)
}

pub(super) fn ceiling(asked: Option<i64>, gib: i64) -> Result<Value, Refusal> {
    match asked {
        Some(most) if most * 10 < gib * 11 => Err(combination(
            "Max storage size must be at least 10% greater than the current storage size.",
        )),
        Some(most) => Ok(json!(most)),
        None => Ok(Value::Null),
    }
}

pub(super) fn create(world: &mut World, call: &Call) -> Outcome {
    let id = new_name(world, call, "DBInstanceIdentifier")?;
    let engine = call.need("Engine")?;
    if engine != "postgres" {
        return Err(invalid(format!("Invalid DB engine: {engine}")));
    }
    let class = call.need("DBInstanceClass")?.to_owned();
    check_class(&class)?;
    let asked = call.opt("EngineVersion").unwrap_or("17");
    let Some(version) = catalogue::release(asked) else {
        return Err(combination(format!(
            "Cannot find version {asked} for postgres"
        )));
    };
    rules::master(call)?;
    let storage = storage_asked(call)?;
    let ceiling = ceiling(call.int("MaxAllocatedStorage"), storage.gib)?;
    let days = call.int("BackupRetentionPeriod").unwrap_or(1);
    if !(0..=35).contains(&days) {
        return Err(invalid(
            "Invalid backup retention period. Must be between 0 and 35",
        ));
    }
    let backup = call.opt("PreferredBackupWindow").unwrap_or("03:00-03:30");
    let maintenance = call
        .opt("PreferredMaintenanceWindow")
        .unwrap_or("sat:05:00-sat:05:30")
        .to_lowercase();
    rules::windows(backup, &maintenance)?;
    let parameters = groups::parameter_group_for(world, call, version)?;
    let subnet_group = call.need("DBSubnetGroupName")?.to_lowercase();
    let subnets = groups::subnet_group(world, call, &subnet_group)?.shown();
    let vpc = subnets["VpcId"].as_str().unwrap_or_default().to_owned();
    let (security_groups, ids) = security_groups(world, call, &vpc)?;
    let exports = log_types(call, "EnableCloudwatchLogsExports")?;
    let encrypted = call.flag("StorageEncrypted") == Some(true);
    let key = encryption_key(world, call, encrypted)?;
    if call.flag("PubliclyAccessible") == Some(true) {
        check_public(world, call, &vpc)?;
    }
    check_quota(world, call, storage.gib)?;
    let tags = tags_asked(call)?;
    let multi = call.flag("MultiAZ") == Some(true);
    let total = if multi {
        delays::DATABASE_MULTI_AZ
    } else {
        delays::DATABASE_SINGLE
    };
    let (iops, throughput) = rules::baseline(&storage);
    let v = json!({
        "DBInstanceIdentifier": id, "DBInstanceClass": class, "Engine": "postgres", "EngineVersion": version,
        "MasterUsername": call.need("MasterUsername")?, "DBName": call.opt("DBName"),
        "AllocatedStorage": storage.gib, "MaxAllocatedStorage": ceiling, "StorageType": storage.kind,
        "Iops": iops, "StorageThroughput": throughput, "MultiAZ": multi,
        "DBSubnetGroup": subnets, "StorageEncrypted": encrypted, "KmsKeyId": key,
        "BackupRetentionPeriod": days, "PreferredBackupWindow": backup, "PreferredMaintenanceWindow": maintenance,
        "DBParameterGroups": {"DBParameterGroup": [{"DBParameterGroupName": parameters, "ParameterApplyStatus": "in-sync"}]},
        "VpcSecurityGroups": security_groups,
    });
    insert(world, call, &id, v, &exports, &ids, total, tags)
}

fn encryption_key(world: &World, call: &Call, encrypted: bool) -> Result<Value, Refusal> {
    match call.opt("KmsKeyId") {
        Some(_) if !encrypted => Err(combination(
            "KmsKeyId cannot be specified without StorageEncrypted",
        )),
        None if !encrypted => Ok(Value::Null),
        name => kms::usable(world, &call.region, name.unwrap_or("alias/aws/rds"))
            .map(Value::String)
            .map_err(|why| Refusal::bad("KMSKeyNotAccessibleFault", why)),
    }
}

pub(super) fn check_public(world: &World, call: &Call, vpc: &str) -> Result<(), Refusal> {
    let gate = world
        .rows(&call.region, "ec2/internet_gateway")
        .any(|(_, r)| r.v.to_string().contains(vpc));
    if gate {
        return Ok(());
    }
    Err(Refusal::bad(
        "InvalidVPCNetworkStateFault",
        "Cannot create a publicly accessible DBInstance. The specified VPC does not have an internet gateway attached.",
    ))
}

/// The part of creation that a main database, a replica and a restored one share.
#[expect(
    clippy::too_many_arguments,
    reason = "few callers, and all of it is the new row"
)]
pub(super) fn insert(
    world: &mut World,
    call: &Call,
    id: &str,
    mut v: Value,
    exports: &[String],
    security: &[String],
    total: Millis,
    tags: std::collections::BTreeMap<String, String>,
) -> Outcome {
    let arn = arn(world, call, "db", id);
    let multi = v["MultiAZ"] == true;
    let subnets: Vec<(String, String)> = v["DBSubnetGroup"]["Subnets"]["Subnet"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|s| {
            let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
            (
                text(&s["SubnetIdentifier"]),
                text(&s["SubnetAvailabilityZone"]["Name"]),
            )
        })
        .collect();
    let Some((subnet, zone)) = subnets.first().cloned() else {
        return Err(invalid("The subnet group has no subnets"));
    };
    let mut used = vec![subnet];
    let second = subnets.iter().find(|(_, z)| *z != zone).filter(|_| multi);
    if let Some((subnet, zone)) = second {
        used.push(subnet.clone());
        v["SecondaryAvailabilityZone"] = json!(zone);
    }
    let insights = call.flag("EnablePerformanceInsights") == Some(true);
    let resource = format!("db-{}", world.hex(26).to_uppercase());
    let more = json!({
        "DBInstanceStatus": "creating", "DBInstanceArn": arn, "_arn": arn, "AvailabilityZone": zone,
        "DbiResourceId": resource, "DbInstancePort": 0, "PendingModifiedValues": {}, "_subnets": used,
        "AutoMinorVersionUpgrade": call.flag("AutoMinorVersionUpgrade").unwrap_or(true),
        "PubliclyAccessible": call.flag("PubliclyAccessible").unwrap_or(false),
        "CopyTagsToSnapshot": call.flag("CopyTagsToSnapshot").unwrap_or(false),
        "IAMDatabaseAuthenticationEnabled": call.flag("EnableIAMDatabaseAuthentication").unwrap_or(false),
        "CACertificateIdentifier": call.opt("CACertificateIdentifier").unwrap_or("rds-ca-rsa2048-g1"),
        "DeletionProtection": call.flag("DeletionProtection").unwrap_or(false),
        "PerformanceInsightsEnabled": insights,
        "EnabledCloudwatchLogsExports": {"member": exports},
        "LicenseModel": "postgresql-license", "MonitoringInterval": 0, "NetworkType": "IPV4",
        "InstanceCreateTime": snapshot::time(call.now),
    });
    crate::sandbox::codec::merge(&mut v, &more);
    let backs_up = v["BackupRetentionPeriod"].as_i64().unwrap_or_default() > 0;
    let host = format!("{id}.c{}.{}.rds.amazonaws.com", &world.hex(11), call.region);
    let endpoint = json!({"Address": host, "Port": call.int("Port").unwrap_or(5432), "HostedZoneId": "Z29XKXDKYMONMX"});
    let row = world.insert(&call.region, INSTANCES, id, v, call.now);
    row.tags = tags;
    let made = if backs_up {
        total - FIRST_BACKUP
    } else {
        total
    };
    row.later(
        call.now,
        made,
        json!({"DBInstanceStatus": if backs_up { "backing-up" } else { "available" }, "Endpoint": endpoint}),
    );
    if backs_up {
        row.later(call.now, total, json!({"DBInstanceStatus": "available"}));
        row.set(snapshot::FROM, call.now + total);
    }
    let answer = shown(row);
    for subnet in &used {
        plug(
            world,
            &call.region,
            call.now,
            subnet,
            security,
            "RDSNetworkInterface",
            &format!("rds/{id}"),
        );
    }
    for kind in exports {
        log_group(world, call, id, kind, total);
    }
    if backs_up {
        snapshot::start_backups(world, call, id);
    }
    Ok(json!({"DBInstance": answer}).into())
}

/// The log group RDS makes when an instance starts to send its logs; listed from then on.
pub(super) fn log_group(world: &mut World, call: &Call, id: &str, kind: &str, after: Millis) {
    let name = format!("/aws/rds/instance/{id}/{kind}");
    if world.get(&call.region, "logs/log_group", &name).is_some() {
        return;
    }
    logs::ensure(world, &call.region, &name, call.now);
    if let Some(row) = world.get_mut(&call.region, "logs/log_group", &name) {
        row.seen_from = row.seen_from.max(call.now + after);
    }
}

pub(super) fn create_replica(world: &mut World, call: &Call) -> Outcome {
    let id = new_name(world, call, "DBInstanceIdentifier")?;
    let source = need(world, call, "SourceDBInstanceIdentifier")?;
    let source_id = source.text("DBInstanceIdentifier").to_owned();
    let backs_up = source.v["BackupRetentionPeriod"]
        .as_i64()
        .unwrap_or_default()
        > 0;
    if source.text("DBInstanceStatus") != "available" || !backs_up {
        let why = if backs_up {
            "is not in the available state"
        } else {
            "has no automated backups"
        };
        return Err(Refusal::bad(
            "InvalidDBInstanceState",
            format!("The source instance {source_id} {why}."),
        ));
    }
    let class = call
        .opt("DBInstanceClass")
        .unwrap_or(source.text("DBInstanceClass"))
        .to_owned();
    check_class(&class)?;
    let siblings = source.v["ReadReplicaDBInstanceIdentifiers"]["ReadReplicaDBInstanceIdentifier"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    if siblings.len() >= 15 {
        return Err(invalid("The source instance has 15 read replicas already."));
    }
    let version = source.text("EngineVersion").to_owned();
    let parameters = groups::parameter_group_for(world, call, &version)?;
    let vpc = source.v["DBSubnetGroup"]["VpcId"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let (security_groups, ids) = security_groups(world, call, &vpc)?;
    let exports = log_types(call, "EnableCloudwatchLogsExports")?;
    let gib = source.v["AllocatedStorage"].as_i64().unwrap_or_default();
    let ceiling = ceiling(call.int("MaxAllocatedStorage"), gib)?;
    check_quota(world, call, gib)?;
    let tags = tags_asked(call)?;
    let mut v = json!({
        "DBInstanceIdentifier": id, "DBInstanceClass": class, "MultiAZ": call.flag("MultiAZ").unwrap_or(false),
        "MaxAllocatedStorage": ceiling, "BackupRetentionPeriod": 0, "PreferredMaintenanceWindow": "sat:05:00-sat:05:30",
        "ReadReplicaSourceDBInstanceIdentifier": source_id, "VpcSecurityGroups": security_groups,
        "DBParameterGroups": {"DBParameterGroup": [{"DBParameterGroupName": parameters, "ParameterApplyStatus": "in-sync"}]},
    });
    for same in [
        "Engine",
        "EngineVersion",
        "MasterUsername",
        "DBName",
        "AllocatedStorage",
        "StorageType",
        "Iops",
        "StorageThroughput",
        "DBSubnetGroup",
        "StorageEncrypted",
        "KmsKeyId",
        "PreferredBackupWindow",
    ] {
        v[same] = source.v[same].clone();
    }
    let answer = insert(
        world,
        call,
        &id,
        v,
        &exports,
        &ids,
        delays::DATABASE_REPLICA,
        tags,
    )?;
    let mut all = siblings;
    all.push(json!(id));
    if let Some(row) = world.get_mut(&call.region, INSTANCES, &source_id) {
        row.set(
            "ReadReplicaDBInstanceIdentifiers",
            json!({"ReadReplicaDBInstanceIdentifier": all}),
        );
    }
    Ok(answer)
}

pub(super) fn describe(world: &mut World, call: &Call) -> Outcome {
    if call.opt("DBInstanceIdentifier").is_some() {
        let row = need(world, call, "DBInstanceIdentifier")?;
        return Ok(json!({"DBInstances": {"DBInstance": [described(&row, call.now)]}}).into());
    }
    let mut ids: Option<Vec<String>> = None;
    for filter in call.list("Filters") {
        let values = filter["Values"].as_array().into_iter().flatten();
        match filter["Name"].as_str().unwrap_or_default() {
            "db-instance-id" => {
                ids = Some(
                    values
                        .filter_map(Value::as_str)
                        // An ARN is taken too.
                        .map(|v| v.rsplit(':').next().unwrap_or(v).to_lowercase())
                        .collect(),
                );
            }
            other => return Err(invalid(format!("Unrecognized filter name: {other}"))),
        }
    }
    let all = world
        .rows(&call.region, INSTANCES)
        .filter(|(id, r)| match &ids {
            Some(ids) => ids.contains(id),
            None => r.seen_from <= call.now,
        })
        .map(|(_, r)| described(r, call.now))
        .collect();
    Ok(page(call, "DBInstances", "DBInstance", all)?.into())
}

/// A row as a listing shows it: with how far it can be restored by now.
fn described(row: &Row, now: Millis) -> Value {
    let mut v = shown(row);
    if let Some((_, latest)) = snapshot::restorable(row, now) {
        v["LatestRestorableTime"] = json!(snapshot::time(latest));
    }
    v
}

pub(super) fn delete(world: &mut World, call: &Call) -> Outcome {
    let row = need(world, call, "DBInstanceIdentifier")?;
    let id = row.text("DBInstanceIdentifier").to_owned();
    if row.is("DeletionProtection") {
        return Err(combination(
            "Cannot delete protected DB Instance, please disable deletion protection and try again.",
        ));
    }
    let state = row.text("DBInstanceStatus").to_owned();
    if ![
        "available",
        "failed",
        "stopped",
        "incompatible-parameters",
        "storage-full",
    ]
    .contains(&state.as_str())
    {
        return Err(Refusal::bad(
            "InvalidDBInstanceState",
            format!("Instance {id} is not in available state, but {state}."),
        ));
    }
    let skip = call.flag("SkipFinalSnapshot") == Some(true);
    let replica = row.text("ReadReplicaSourceDBInstanceIdentifier").to_owned();
    match call.opt("FinalDBSnapshotIdentifier") {
        Some(_) if skip => {
            return Err(combination(
                "FinalDBSnapshotIdentifier can not be specified when SkipFinalSnapshot is true.",
            ));
        }
        None if !skip => {
            return Err(combination(
                "FinalDBSnapshotIdentifier is required unless SkipFinalSnapshot is specified.",
            ));
        }
        Some(_) if !replica.is_empty() => {
            return Err(Refusal::bad(
                "InvalidDBInstanceState",
                "A final snapshot of a read replica is not taken.",
            ));
        }
        Some(_) => snapshot::take_last(world, call, &row)?,
        None => {}
    }
    snapshot::end_backups(
        world,
        call,
        &id,
        call.flag("DeleteAutomatedBackups") != Some(false),
    );
    let after = if skip {
        delays::DATABASE_DELETE
    } else {
        delays::DATABASE_DELETE + delays::DATABASE_SNAPSHOT
    };
    if let Some(row) = world.get_mut(&call.region, INSTANCES, &id) {
        row.set("DBInstanceStatus", "deleting");
        row.vanish(call.now, after);
    }
    unplug(world, &call.region, &format!("rds/{id}"), call.now, after);
    // It writes to the last, and makes a log group that is gone before it.
    for kind in row.v["EnabledCloudwatchLogsExports"]["member"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
    {
        log_group(world, call, &id, kind, 0);
    }
    // A source leaves its replicas behind as databases of their own; a replica leaves its source's list.
    for other in world.table(&call.region, INSTANCES).values_mut() {
        if other.text("ReadReplicaSourceDBInstanceIdentifier") == id {
            other.set("ReadReplicaSourceDBInstanceIdentifier", Value::Null);
        }
        let list = "/ReadReplicaDBInstanceIdentifiers/ReadReplicaDBInstanceIdentifier";
        if let Some(Value::Array(list)) = other.v.pointer_mut(list) {
            list.retain(|r| *r != id.as_str());
        }
    }
    let answer = world.get(&call.region, INSTANCES, &id).map(shown);
    Ok(json!({"DBInstance": answer}).into())
}
