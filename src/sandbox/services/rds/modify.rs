//! Changes to a DB instance: some at once, some slowly, none while it is not available.

use serde_json::{Map, Value, json};

use super::instance::{ceiling, log_group, log_types, need, security_groups, shown};
use super::{INSTANCES, catalogue, combination, groups, invalid, rename, rules};
use crate::sandbox::call::{Call, Outcome, Refusal};
use crate::sandbox::delays;
use crate::sandbox::services::ec2::{plug, unplug};
use crate::sandbox::world::{Row, World};

pub(super) fn modify(world: &mut World, call: &Call) -> Outcome {
    let row = need(world, call, "DBInstanceIdentifier")?;
    let id = row.text("DBInstanceIdentifier").to_owned();
    let state = row.text("DBInstanceStatus");
    if !["available", "storage-optimization", "storage-full"].contains(&state) {
        return Err(Refusal::bad(
            "InvalidDBInstanceState",
            format!("Database instance is not in available state: {state}."),
        ));
    }
    let quick = quick(world, call, &row)?;
    let slow = slow(call, &row)?;
    let security = if call.texts("VpcSecurityGroupIds").is_empty() {
        None
    } else {
        let vpc = row.v["DBSubnetGroup"]["VpcId"].as_str().unwrap_or_default();
        Some(security_groups(world, call, vpc)?)
    };
    let exports = exports(call, &row)?;
    let name = rename::asked(world, call, &id)?;
    let parameters = match call.opt("DBParameterGroupName") {
        None => None,
        Some(_) => {
            let version = slow
                .get("EngineVersion")
                .and_then(Value::as_str)
                .unwrap_or(row.text("EngineVersion"));
            Some(groups::parameter_group_for(world, call, version)?)
        }
    };

    let changes =
        !slow.is_empty() || security.is_some() || exports.is_some() || parameters.is_some();
    let now = call.flag("ApplyImmediately") == Some(true);
    if let Some(name) = &name {
        rename::begin(world, call, &id, name, now)?;
    }
    if let Some(row) = world.get_mut(&call.region, INSTANCES, &id) {
        for (key, value) in quick {
            row.set(&key, value);
        }
        if let Some((shown, _)) = &security {
            row.set("VpcSecurityGroups", shown.clone());
        }
        if let Some((shown, _, _)) = &exports {
            row.set("EnabledCloudwatchLogsExports", json!({"member": shown}));
        }
        if let Some(name) = parameters {
            row.set("DBParameterGroups", json!({"DBParameterGroup": [{"DBParameterGroupName": name, "ParameterApplyStatus": "pending-reboot"}]}));
        }
        if !slow.is_empty() {
            row.set("PendingModifiedValues", Value::Object(slow.clone()));
        }
        if changes && now {
            row.set("DBInstanceStatus", "modifying");
            let mut done = slow;
            done.insert("PendingModifiedValues".into(), json!({}));
            done.insert("DBInstanceStatus".into(), json!("available"));
            row.later(call.now, delays::DATABASE_MODIFY, Value::Object(done));
        }
    }
    if let Some((_, ids)) = security {
        replug(world, call, &row, &ids);
    }
    if let Some((_, on, _)) = exports {
        for kind in on {
            log_group(world, call, &id, &kind, delays::DATABASE_MODIFY);
        }
    }
    let answer = world.get(&call.region, INSTANCES, &id).map(shown);
    Ok(json!({"DBInstance": answer}).into())
}

/// What changes at once and leaves the instance available.
fn quick(world: &World, call: &Call, row: &Row) -> Result<Map<String, Value>, Refusal> {
    let mut set = Map::new();
    for (key, field) in [
        ("DeletionProtection", "DeletionProtection"),
        ("AutoMinorVersionUpgrade", "AutoMinorVersionUpgrade"),
        ("CopyTagsToSnapshot", "CopyTagsToSnapshot"),
        ("PubliclyAccessible", "PubliclyAccessible"),
        (
            "EnableIAMDatabaseAuthentication",
            "IAMDatabaseAuthenticationEnabled",
        ),
        ("EnablePerformanceInsights", "PerformanceInsightsEnabled"),
    ] {
        if let Some(on) = call.flag(key) {
            set.insert(field.into(), on.into());
        }
    }
    if let Some(name) = call.opt("PerformanceInsightsKMSKeyId") {
        super::kms::usable(world, &call.region, name)
            .map_err(|why| Refusal::bad("KMSKeyNotAccessibleFault", why))?;
    }
    if let Some(authority) = call.opt("CACertificateIdentifier") {
        if !["rds-ca-rsa2048-g1", "rds-ca-rsa4096-g1", "rds-ca-ecc384-g1"].contains(&authority) {
            return Err(Refusal::new(
                404,
                "CertificateNotFound",
                format!("{authority} is not a certificate."),
            ));
        }
        set.insert("CACertificateIdentifier".into(), authority.into());
    }
    let backup = call.opt("PreferredBackupWindow");
    let maintenance = call
        .opt("PreferredMaintenanceWindow")
        .map(str::to_lowercase);
    if backup.is_some() || maintenance.is_some() {
        let backup = backup.unwrap_or(row.text("PreferredBackupWindow"));
        let maintenance = maintenance.unwrap_or(row.text("PreferredMaintenanceWindow").to_owned());
        rules::windows(backup, &maintenance)?;
        set.insert("PreferredBackupWindow".into(), backup.into());
        set.insert("PreferredMaintenanceWindow".into(), maintenance.into());
    }
    if let Some(most) = call.int("MaxAllocatedStorage") {
        let gib = call
            .int("AllocatedStorage")
            .or(row.v["AllocatedStorage"].as_i64())
            .unwrap_or_default();
        let value = if most == gib {
            Value::Null
        } else {
            ceiling(Some(most), gib)?
        };
        set.insert("MaxAllocatedStorage".into(), value);
    }
    Ok(set)
}

/// What takes minutes: shown as pending until then. Values that are there already ask for nothing.
fn slow(call: &Call, row: &Row) -> Result<Map<String, Value>, Refusal> {
    let mut set = Map::new();
    if let Some(class) = call.opt("DBInstanceClass") {
        if !catalogue::class_known(class) {
            return Err(invalid(format!("Invalid DB Instance class: {class}")));
        }
        set.insert("DBInstanceClass".into(), class.into());
    }
    if let Some(on) = call.flag("MultiAZ") {
        set.insert("MultiAZ".into(), on.into());
    }
    if let Some(days) = call.int("BackupRetentionPeriod") {
        if !(0..=35).contains(&days) {
            return Err(invalid(
                "Invalid backup retention period. Must be between 0 and 35",
            ));
        }
        set.insert("BackupRetentionPeriod".into(), days.into());
    }
    if let Some(asked) = call.opt("EngineVersion") {
        set.insert("EngineVersion".into(), upgrade(call, row, asked)?.into());
    }
    if [
        "AllocatedStorage",
        "StorageType",
        "Iops",
        "StorageThroughput",
    ]
    .iter()
    .any(|key| call.at(key).is_some())
    {
        storage(call, row, &mut set)?;
    }
    set.retain(|key, value| row.v.get(key.as_str()) != Some(value));
    Ok(set)
}

fn upgrade(call: &Call, row: &Row, asked: &str) -> Result<&'static str, Refusal> {
    let have = row.text("EngineVersion");
    let number = |v: &str| -> Vec<u32> { v.split('.').filter_map(|n| n.parse().ok()).collect() };
    let Some(version) = catalogue::release(asked) else {
        return Err(combination(format!(
            "Cannot find version {asked} for postgres"
        )));
    };
    if number(version) < number(have) {
        return Err(combination(format!(
            "Cannot upgrade postgres from {have} to {version}"
        )));
    }
    if catalogue::family(version) != catalogue::family(have) {
        if call.flag("AllowMajorVersionUpgrade") != Some(true) {
            return Err(combination(
                "The AllowMajorVersionUpgrade flag must be present when upgrading to a new major version.",
            ));
        }
        if call.opt("DBParameterGroupName").is_none() {
            return Err(combination(
                "The current DB instance parameter group is for another major version; name one for the new version.",
            ));
        }
    }
    Ok(version)
}

fn storage(call: &Call, row: &Row, set: &mut Map<String, Value>) -> Result<(), Refusal> {
    let have = row.v["AllocatedStorage"].as_i64().unwrap_or_default();
    let wanted = rules::Storage {
        gib: call.int("AllocatedStorage").unwrap_or(have),
        kind: call
            .opt("StorageType")
            .unwrap_or(row.text("StorageType"))
            .to_owned(),
        iops: call.int("Iops"),
        throughput: call.int("StorageThroughput"),
    };
    if wanted.gib < have {
        return Err(invalid(
            "Requested storage size cannot be less than the current storage size.",
        ));
    }
    if wanted.gib > have && wanted.gib * 10 < have * 11 {
        return Err(combination(
            "Storage can only be increased by 10 percent or more.",
        ));
    }
    rules::storage(&wanted)?;
    let (iops, throughput) = rules::baseline(&wanted);
    set.insert("AllocatedStorage".into(), wanted.gib.into());
    set.insert("StorageType".into(), wanted.kind.into());
    set.insert("Iops".into(), iops);
    set.insert("StorageThroughput".into(), throughput);
    Ok(())
}

type Exports = Option<(Vec<String>, Vec<String>, Vec<String>)>;

/// The log types sent afterwards, those switched on, and those switched off.
fn exports(call: &Call, row: &Row) -> Result<Exports, Refusal> {
    let on = log_types(call, "CloudwatchLogsExportConfiguration.EnableLogTypes")?;
    let off = log_types(call, "CloudwatchLogsExportConfiguration.DisableLogTypes")?;
    if on.is_empty() && off.is_empty() {
        return Ok(None);
    }
    let mut all: Vec<String> = row.v["EnabledCloudwatchLogsExports"]["member"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    if let Some(twice) = on.iter().find(|k| all.contains(k)) {
        return Err(combination(format!(
            "You cannot enable the log type '{twice}' because it is enabled already."
        )));
    }
    all.retain(|k| !off.contains(k));
    all.extend(on.iter().cloned());
    Ok(Some((all, on, off)))
}

/// Puts the instance's interfaces into its new groups.
fn replug(world: &mut World, call: &Call, row: &Row, groups: &[String]) {
    let owner = format!("rds/{}", row.text("DBInstanceIdentifier"));
    unplug(world, &call.region, &owner, call.now, 0);
    let subnets = row.v["_subnets"].as_array().cloned().unwrap_or_default();
    for subnet in subnets.iter().filter_map(Value::as_str) {
        plug(
            world,
            &call.region,
            call.now,
            subnet,
            groups,
            "RDSNetworkInterface",
            &owner,
        );
    }
}
