//! Restores: always a new instance with a new address. What a restore is not told it takes from RDS's defaults,
//! not from the original: groups, parameters, one zone, no protection, no tags.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::instance::{
    check_class, check_public, check_quota, insert, log_types, missing, new_name, security_groups,
};
use super::snapshot::{self, backup, instance_of, no_backup, ready, restorable, time};
use super::{INSTANCES, SNAPSHOTS, combination, groups, invalid, kms, rules, tags_asked};
use crate::sandbox::call::{Call, Outcome, Refusal};
use crate::sandbox::content::{fill, held, held_at};
use crate::sandbox::delays;
use crate::sandbox::world::{Millis, Row, What, World};

/// What a restored instance begins with.
struct Original {
    /// The fields of an instance that stay as they were, and that may be asked for anew.
    v: Value,
    port: i64,
    content: Value,
}

pub(super) fn from_snapshot(world: &mut World, call: &Call) -> Outcome {
    let id = new_name(world, call, "DBInstanceIdentifier")?;
    // A name, or the ARN of one in this region.
    let said = call.need("DBSnapshotIdentifier")?.to_lowercase();
    let name = match said.strip_prefix(&format!("arn:aws:rds:{}:", call.region)) {
        Some(rest) => rest.rsplit(':').next().unwrap_or(rest).to_owned(),
        None => said,
    };
    let row = world
        .get(&call.region, SNAPSHOTS, &name)
        .cloned()
        .ok_or_else(|| snapshot::missing(&name))?;
    ready(&row)?;
    let mut v = json!({"StorageEncrypted": row.v["Encrypted"]});
    for same in SAME {
        let kept = row.v.get(format!("_{same}"));
        let said = row.v.get(*same);
        v[*same] = kept.or(said).cloned().unwrap_or_default();
    }
    let original = Original {
        v,
        port: row.v["Port"].as_i64().unwrap_or(5432),
        content: held(&row),
    };
    restore(world, call, &id, original, delays::DATABASE_RESTORE)
}

/// What comes back as it was, whatever it comes back from.
const SAME: &[&str] = &[
    "Engine",
    "EngineVersion",
    "MasterUsername",
    "DBName",
    "DBInstanceClass",
    "AllocatedStorage",
    "StorageType",
    "Iops",
    "StorageThroughput",
    "KmsKeyId",
    "BackupRetentionPeriod",
    "PreferredBackupWindow",
    "PreferredMaintenanceWindow",
];

pub(super) fn in_time(world: &mut World, call: &Call) -> Outcome {
    let id = new_name(world, call, "TargetDBInstanceIdentifier")?;
    let (row, until) = source(world, call)?;
    let state = row.text("DBInstanceStatus");
    if state == "creating" {
        return Err(Refusal::bad(
            "InvalidDBInstanceState",
            format!("The source instance is {state}."),
        ));
    }
    let Some((earliest, latest)) = restorable(&row, until.unwrap_or(call.now)) else {
        return Err(Refusal::bad(
            "PointInTimeRestoreNotEnabled",
            "Point in time restore is not enabled for this instance: it has no automated backups.",
        ));
    };
    let at = moment(call, latest)?;
    for (wrong, word, limit) in [
        (at < earliest, "earlier", earliest),
        (at > latest, "later", latest),
    ] {
        if wrong {
            return Err(invalid(format!(
                "The specified instance cannot be restored to a time {word} than {}",
                time(limit)
            )));
        }
    }
    let mut v = json!({"StorageEncrypted": row.v["StorageEncrypted"]});
    for same in SAME {
        v[*same] = row.v.get(*same).cloned().unwrap_or_default();
    }
    let original = Original {
        v,
        port: row.v["Endpoint"]["Port"].as_i64().unwrap_or(5432),
        content: held_at(&row, at),
    };
    restore(world, call, &id, original, delays::DATABASE_RESTORE_IN_TIME)
}

/// The instance that is restored, there or gone, and when it went.
fn source(world: &World, call: &Call) -> Result<(Row, Option<Millis>), Refusal> {
    if let Some(id) = call.opt("SourceDBInstanceIdentifier") {
        let id = id.to_lowercase();
        let row = world.get(&call.region, INSTANCES, &id).cloned();
        return Ok((row.ok_or_else(|| missing(&id))?, None));
    }
    let by = ("SourceDbiResourceId", "SourceDBInstanceAutomatedBackupsArn");
    if call.opt(by.0).is_none() && call.opt(by.1).is_none() {
        return Err(combination(
            "Name the source by SourceDBInstanceIdentifier, SourceDbiResourceId or SourceDBInstanceAutomatedBackupsArn.",
        ));
    }
    let (_, backup) = backup(world, call, by.0, by.1).ok_or_else(no_backup)?;
    instance_of(world, call, &backup).ok_or_else(no_backup)
}

/// The moment asked for: one and only one of the two ways to say it.
fn moment(call: &Call, latest: Millis) -> Result<Millis, Refusal> {
    let newest = call.flag("UseLatestRestorableTime") == Some(true);
    match (call.opt("RestoreTime"), newest) {
        (None, true) => Ok(latest),
        (Some(text), false) => text
            .parse::<Timestamp>()
            .map(Timestamp::as_millisecond)
            .map_err(|_| invalid(format!("RestoreTime is no time: {text}"))),
        (Some(_), true) => Err(combination(
            "RestoreTime can't be specified if UseLatestRestorableTime is true.",
        )),
        (None, false) => Err(combination(
            "Specify RestoreTime, or UseLatestRestorableTime.",
        )),
    }
}

/// The default group of a VPC, which an instance gets that is told none.
fn default_group(world: &World, call: &Call, vpc: &str) -> Option<String> {
    world
        .rows(&call.region, "ec2/security_group")
        .find(|(_, r)| r.text("groupName") == "default" && r.text("vpcId") == vpc)
        .map(|(id, _)| id.clone())
}

fn restore(world: &mut World, call: &Call, id: &str, original: Original, takes: Millis) -> Outcome {
    let mut v = original.v;
    if call.opt("Engine").is_some_and(|e| e != "postgres") {
        return Err(invalid("The engine must be that of the snapshot: postgres"));
    }
    if let Some(class) = call.opt("DBInstanceClass") {
        v["DBInstanceClass"] = json!(class);
    }
    check_class(v["DBInstanceClass"].as_str().unwrap_or_default())?;
    let version = v["EngineVersion"].as_str().unwrap_or_default().to_owned();
    let parameters = groups::parameter_group_for(world, call, &version)?;
    let subnet_group = call.opt("DBSubnetGroupName").unwrap_or("default");
    let subnets = groups::subnet_group(world, call, &subnet_group.to_lowercase())?.shown();
    let vpc = subnets["VpcId"].as_str().unwrap_or_default().to_owned();
    let (mut security, mut ids) = security_groups(world, call, &vpc)?;
    if ids.is_empty()
        && let Some(default) = default_group(world, call, &vpc)
    {
        security = json!({"VpcSecurityGroupMembership": [{"VpcSecurityGroupId": default, "Status": "active"}]});
        ids.push(default);
    }
    let exports = log_types(call, "EnableCloudwatchLogsExports")?;
    let gib = storage(call, &mut v)?;
    if let Some(key) = v["KmsKeyId"].as_str() {
        kms::usable(world, &call.region, key)
            .map_err(|why| Refusal::bad("KMSKeyNotAccessibleFault", why))?;
    }
    if call.flag("PubliclyAccessible") == Some(true) {
        check_public(world, call, &vpc)?;
    }
    if let Some(days) = call.int("BackupRetentionPeriod") {
        if !(0..=35).contains(&days) {
            return Err(invalid(
                "Invalid backup retention period. Must be between 0 and 35",
            ));
        }
        v["BackupRetentionPeriod"] = json!(days);
    }
    check_quota(world, call, gib)?;
    let tags = tags_asked(call)?;
    let multi = call.flag("MultiAZ") == Some(true);
    let more = json!({"DBInstanceIdentifier": id, "MultiAZ": multi, "DBSubnetGroup": subnets,
        "DBParameterGroups": {"DBParameterGroup": [{"DBParameterGroupName": parameters, "ParameterApplyStatus": "in-sync"}]},
        "VpcSecurityGroups": security, "MaxAllocatedStorage": call.int("MaxAllocatedStorage")});
    crate::sandbox::codec::merge(&mut v, &more);
    let answer = insert(world, call, id, v, &exports, &ids, takes, tags)?;
    if let Some(row) = world.get_mut(&call.region, INSTANCES, id) {
        fill(row, &original.content);
        port(row, call.int("Port").unwrap_or(original.port));
    }
    Ok(answer)
}

/// The storage it comes back on: as large as the original's at least.
fn storage(call: &Call, v: &mut Value) -> Result<i64, Refusal> {
    let had = v["AllocatedStorage"].as_i64().unwrap_or_default();
    let gib = call.int("AllocatedStorage").unwrap_or(had);
    if gib < had {
        return Err(invalid(
            "Requested storage size cannot be less than the storage size of the original.",
        ));
    }
    let asked = ["StorageType", "Iops", "StorageThroughput"];
    if gib == had && asked.iter().all(|key| call.at(key).is_none()) {
        return Ok(gib);
    }
    let kept = call.opt("StorageType").is_none();
    let its = v["StorageType"].as_str().unwrap_or("gp2").to_owned();
    let provisioned = kept && (its.starts_with("io") || its == "gp3" && had >= 400);
    let number = |key: &str| call.int(key).or(v[key].as_i64().filter(|_| provisioned));
    let wanted = rules::Storage {
        gib,
        kind: call.opt("StorageType").map_or(its, str::to_owned),
        iops: number("Iops"),
        throughput: number("StorageThroughput"),
    };
    rules::storage(&wanted)?;
    let (iops, throughput) = rules::baseline(&wanted);
    v["AllocatedStorage"] = json!(gib);
    v["StorageType"] = json!(wanted.kind);
    v["Iops"] = iops;
    v["StorageThroughput"] = throughput;
    Ok(gib)
}

/// The port comes with the address, when the instance is made.
fn port(row: &mut Row, port: i64) {
    for due in &mut row.due {
        if let What::Set(fields) = &mut due.what
            && let Some(endpoint) = fields.get_mut("Endpoint")
        {
            endpoint["Port"] = json!(port);
        }
    }
}
