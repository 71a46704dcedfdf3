//! Snapshots and automated backups.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::instance::{available, need};
use super::{
    BACKUPS, INSTANCES, SNAPSHOTS, arn, combination, invalid, kms, page, rules, tag_list,
    tags_asked,
};
use crate::sandbox::call::{Call, Outcome, Refusal};
use crate::sandbox::content::{fill, held};
use crate::sandbox::delays;
use crate::sandbox::services::presigned;
use crate::sandbox::world::{Millis, Row, World};

/// When the first backup of an instance was done: it can be restored from there on.
pub(super) const FROM: &str = "_restorableFrom";

/// A moment as the query protocol writes it.
pub(super) fn time(at: Millis) -> String {
    jiff::Timestamp::from_millisecond(at)
        .unwrap_or_default()
        .strftime("%Y-%m-%dT%H:%M:%SZ")
        .to_string()
}

/// What a snapshot says of its instance.
const SAID: &[&str] = &[
    "DBInstanceIdentifier",
    "Engine",
    "EngineVersion",
    "AllocatedStorage",
    "MasterUsername",
    "StorageType",
    "Iops",
    "StorageThroughput",
    "KmsKeyId",
    "AvailabilityZone",
    "DbiResourceId",
    "InstanceCreateTime",
    "LicenseModel",
    "IAMDatabaseAuthenticationEnabled",
];

/// What it keeps for a restore and does not say.
const KEPT: &[&str] = &[
    "DBInstanceClass",
    "DBName",
    "BackupRetentionPeriod",
    "PreferredBackupWindow",
    "PreferredMaintenanceWindow",
];

/// The name of a new snapshot, which is free, and there is room for one.
fn new_name(world: &World, call: &Call, key: &str) -> Result<String, Refusal> {
    let id = rules::identifier(call, key, 255)?;
    if world.get(&call.region, SNAPSHOTS, &id).is_some() {
        return Err(Refusal::bad(
            "DBSnapshotAlreadyExists",
            format!(
                "Cannot create the snapshot because a snapshot with the identifier {id} already exists."
            ),
        ));
    }
    if world.rows(&call.region, SNAPSHOTS).count() as u64 >= world.quota("db_snapshots", 100) {
        return Err(Refusal::bad(
            "SnapshotQuotaExceeded",
            "The request would exceed the number of manual snapshots.",
        ));
    }
    Ok(id)
}

/// Adds a snapshot that is ready after a while.
fn insert(
    world: &mut World,
    call: &Call,
    id: &str,
    mut v: Value,
    tags: BTreeMap<String, String>,
    content: &Value,
    takes: Millis,
) -> Value {
    let arn = arn(world, call, "snapshot", id);
    let more = json!({"DBSnapshotIdentifier": id, "DBSnapshotArn": arn, "_arn": arn, "SnapshotType": "manual",
        "Status": "creating", "PercentProgress": 0, "SnapshotCreateTime": time(call.now), "SnapshotTarget": "region"});
    crate::sandbox::codec::merge(&mut v, &more);
    let row = world.insert(&call.region, SNAPSHOTS, id, v, call.now);
    row.tags = tags;
    fill(row, content);
    row.later(call.now, takes / 2, json!({"PercentProgress": 50}));
    row.later(
        call.now,
        takes,
        json!({"Status": "available", "PercentProgress": 100}),
    );
    shown(row)
}

/// A snapshot of this instance as it is now.
fn take(
    world: &mut World,
    call: &Call,
    id: &str,
    row: &Row,
    tags: BTreeMap<String, String>,
) -> Value {
    let mut v = json!({"Encrypted": row.v["StorageEncrypted"], "OriginalSnapshotCreateTime": time(call.now),
        "VpcId": row.v["DBSubnetGroup"]["VpcId"], "Port": row.v["Endpoint"]["Port"]});
    for same in SAID {
        v[*same] = row.v.get(*same).cloned().unwrap_or_default();
    }
    for same in KEPT {
        v[format!("_{same}")] = row.v.get(*same).cloned().unwrap_or_default();
    }
    let content = held(row);
    insert(
        world,
        call,
        id,
        v,
        tags,
        &content,
        delays::DATABASE_SNAPSHOT,
    )
}

fn copied_tags(row: &Row) -> BTreeMap<String, String> {
    if row.is("CopyTagsToSnapshot") {
        return row.tags.clone();
    }
    BTreeMap::new()
}

/// The tags asked for. Where some are, none are copied (seen on AWS by the authors of moto).
fn tags_or(
    call: &Call,
    copied: impl FnOnce() -> BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, Refusal> {
    let asked = tags_asked(call)?;
    Ok(if asked.is_empty() { copied() } else { asked })
}

/// The final snapshot of an instance that is deleted.
pub(super) fn take_last(world: &mut World, call: &Call, row: &Row) -> Result<(), Refusal> {
    let id = new_name(world, call, "FinalDBSnapshotIdentifier")?;
    take(world, call, &id, row, copied_tags(row));
    Ok(())
}

pub(super) fn create(world: &mut World, call: &Call) -> Outcome {
    let row = need(world, call, "DBInstanceIdentifier")?;
    let id = new_name(world, call, "DBSnapshotIdentifier")?;
    available(&row)?;
    if let Some(key) = row.v["KmsKeyId"].as_str() {
        kms::usable(world, &call.region, key)
            .map_err(|why| Refusal::bad("KMSKeyNotAccessibleFault", why))?;
    }
    let tags = tags_or(call, || copied_tags(&row))?;
    let answer = take(world, call, &id, &row, tags);
    let instance = row.text("DBInstanceIdentifier");
    if let Some(row) = world.get_mut(&call.region, INSTANCES, instance) {
        row.set("DBInstanceStatus", "backing-up");
        row.later(
            call.now,
            delays::DATABASE_SNAPSHOT,
            json!({"DBInstanceStatus": "available"}),
        );
    }
    Ok(json!({"DBSnapshot": answer}).into())
}

/// Region and name of the snapshot that is to be copied: by name here, by ARN anywhere.
fn source(call: &Call) -> Result<(String, String), Refusal> {
    let said = call.need("SourceDBSnapshotIdentifier")?;
    let Some(rest) = said.strip_prefix("arn:aws:rds:") else {
        return Ok((call.region.clone(), said.to_lowercase()));
    };
    let mut parts = rest.splitn(4, ':');
    let region = parts.next().unwrap_or_default().to_owned();
    match (parts.nth(1), parts.next()) {
        (Some("snapshot"), Some(name)) => Ok((region, name.to_owned())),
        _ => Err(invalid(format!("Invalid snapshot identifier: {said}"))),
    }
}

pub(super) fn copy(world: &mut World, call: &Call) -> Outcome {
    let (region, name) = source(call)?;
    let row = world
        .get(&region, SNAPSHOTS, &name)
        .cloned()
        .ok_or_else(|| missing(&name))?;
    let id = new_name(world, call, "TargetDBSnapshotIdentifier")?;
    ready(&row)?;
    let elsewhere = region != call.region;
    let encrypted = row.is("Encrypted") || call.opt("KmsKeyId").is_some();
    let key = key_of_copy(world, call, &row, elsewhere)?;
    if row.is("Encrypted") && elsewhere {
        check_url(call, &region)?;
    } else if call.opt("PreSignedUrl").is_some() {
        return Err(combination(
            "PreSignedUrl is only for copies of encrypted snapshots from another region.",
        ));
    }
    let copies = call.flag("CopyTags") == Some(true);
    let tags = tags_or(call, || {
        if copies {
            row.tags.clone()
        } else {
            BTreeMap::new()
        }
    })?;
    let mut v = row.v.clone();
    v["Encrypted"] = json!(encrypted);
    v["KmsKeyId"] = key;
    v["SourceDBSnapshotIdentifier"] = row.v["DBSnapshotArn"].clone();
    let takes = if elsewhere {
        v["SourceRegion"] = json!(region);
        // Zones and networks are those of the other region.
        v["AvailabilityZone"] = json!(format!("{}a", call.region));
        v["VpcId"] = Value::Null;
        delays::DATABASE_SNAPSHOT_COPY
    } else {
        delays::DATABASE_SNAPSHOT
    };
    let answer = insert(world, call, &id, v, tags, &held(&row), takes);
    Ok(json!({"DBSnapshot": answer}).into())
}

/// The key of the copy: the one asked for, or that of the original where the copy stays with it.
fn key_of_copy(world: &World, call: &Call, row: &Row, elsewhere: bool) -> Result<Value, Refusal> {
    let fault = |why| Refusal::bad("KMSKeyNotAccessibleFault", why);
    let its = row.v["KmsKeyId"].as_str();
    let name = match (call.opt("KmsKeyId"), its) {
        (None, None) => return Ok(Value::Null),
        (None, Some(_)) if elsewhere => {
            return Err(invalid(
                "Must specify new KMS key for cross region encrypted snapshot copy.",
            ));
        }
        (None, Some(its)) => its,
        (Some(name), _) => name,
    };
    if let Some(its) = its {
        let from = its.split(':').nth(3).unwrap_or_default();
        kms::usable(world, from, its).map_err(fault)?;
    }
    kms::usable(world, &call.region, name)
        .map(Value::String)
        .map_err(fault)
}

/// The URL that lets this region read an encrypted snapshot in another.
fn check_url(call: &Call, region: &str) -> Result<(), Refusal> {
    let Some(url) = call.opt("PreSignedUrl") else {
        return Err(invalid(
            "A pre-signed url must be specified for copying encrypted snapshot across region.",
        ));
    };
    let wanted = presigned::Wanted {
        service: "rds",
        action: "CopyDBSnapshot",
        region,
        parameters: &[
            ("DestinationRegion", &call.region),
            ("KmsKeyId", call.opt("KmsKeyId").unwrap_or_default()),
            (
                "SourceDBSnapshotIdentifier",
                call.opt("SourceDBSnapshotIdentifier").unwrap_or_default(),
            ),
        ],
    };
    if presigned::fits(url, &wanted, call.now) {
        return Ok(());
    }
    Err(invalid("PreSignedUrl could not be authenticated."))
}

fn shown(row: &Row) -> Value {
    let mut v = row.shown();
    v["TagList"] = tag_list(row);
    v
}

pub(super) fn describe(world: &mut World, call: &Call) -> Outcome {
    let kind = call.opt("SnapshotType");
    if let Some(kind) =
        kind.filter(|k| !["automated", "manual", "shared", "public", "awsbackup"].contains(k))
    {
        return Err(invalid(format!(
            "The parameter SnapshotType is not valid: {kind}"
        )));
    }
    if let Some(id) = call.opt("DBSnapshotIdentifier") {
        let id = id.to_lowercase();
        let row = world
            .get(&call.region, SNAPSHOTS, &id)
            .ok_or_else(|| missing(&id))?;
        return Ok(json!({"DBSnapshots": {"DBSnapshot": [shown(row)]}}).into());
    }
    let of = call.opt("DBInstanceIdentifier").map(str::to_lowercase);
    let resource = call.opt("DbiResourceId");
    let filters = filters(call)?;
    let all = world
        .seen(&call.region, SNAPSHOTS, call.now)
        .map(|(_, r)| r)
        .filter(|r| {
            of.as_ref()
                .is_none_or(|id| r.text("DBInstanceIdentifier") == id)
        })
        .filter(|r| resource.is_none_or(|id| r.text("DbiResourceId") == id))
        .filter(|r| kind.is_none_or(|k| r.text("SnapshotType") == k))
        .filter(|r| {
            filters
                .iter()
                .all(|(field, values)| values.iter().any(|v| v == r.text(field)))
        })
        .map(shown)
        .collect();
    Ok(page(call, "DBSnapshots", "DBSnapshot", all)?.into())
}

/// The fields that filters look at, with the values they let pass; an ARN stands for a name.
fn filters(call: &Call) -> Result<Vec<(&'static str, Vec<String>)>, Refusal> {
    let field = |name: &str| {
        Ok(match name {
            "db-instance-id" => "DBInstanceIdentifier",
            "db-snapshot-id" => "DBSnapshotIdentifier",
            "dbi-resource-id" => "DbiResourceId",
            "snapshot-type" => "SnapshotType",
            "engine" => "Engine",
            other => return Err(invalid(format!("Unrecognized filter name: {other}"))),
        })
    };
    call.list("Filters")
        .iter()
        .map(|filter| {
            let values = filter["Values"].as_array().into_iter().flatten();
            let name = |v: &str| v.rsplit(':').next().unwrap_or(v).to_owned();
            Ok((
                field(filter["Name"].as_str().unwrap_or_default())?,
                values.filter_map(Value::as_str).map(name).collect(),
            ))
        })
        .collect()
}

pub(super) fn missing(id: &str) -> Refusal {
    Refusal::new(
        404,
        "DBSnapshotNotFound",
        format!("DBSnapshot {id} not found."),
    )
}

/// Only a snapshot that is done can be used.
pub(super) fn ready(row: &Row) -> Result<(), Refusal> {
    if row.text("Status") == "available" {
        return Ok(());
    }
    Err(Refusal::bad(
        "InvalidDBSnapshotState",
        format!(
            "Snapshot {} is in state {}.",
            row.text("DBSnapshotIdentifier"),
            row.text("Status")
        ),
    ))
}

pub(super) fn delete(world: &mut World, call: &Call) -> Outcome {
    let id = call.need("DBSnapshotIdentifier")?.to_lowercase();
    let row = world
        .get(&call.region, SNAPSHOTS, &id)
        .ok_or_else(|| missing(&id))?;
    // One that failed can be thrown away; an automated one goes with its retention.
    if row.text("Status") != "failed" {
        ready(row)?;
    }
    if row.text("SnapshotType") == "automated" {
        return Err(invalid(format!(
            "The snapshot {id} is not a manual snapshot."
        )));
    }
    let mut shown = row.shown();
    shown["Status"] = json!("deleted");
    world.remove(&call.region, SNAPSHOTS, &id);
    Ok(json!({"DBSnapshot": shown}).into())
}

// --- automated backups ----------------------------------------------------------------------------

const DAY: Millis = 24 * 60 * 60 * 1_000;

/// From when and until when an instance can be restored: between its first backup that is kept and the last
/// logs that were sent away. None without automated backups.
pub(super) fn restorable(row: &Row, now: Millis) -> Option<(Millis, Millis)> {
    let days = row.v["BackupRetentionPeriod"].as_i64().filter(|d| *d > 0)?;
    // In whole seconds, as it is shown and asked for.
    let from = row.v.get(FROM).and_then(Value::as_i64)?.div_euclid(1_000) * 1_000;
    let earliest = from.max(now - days * DAY);
    let latest = now - now.rem_euclid(delays::DATABASE_LOGS);
    (from <= now).then_some((earliest, latest.max(from)))
}

/// The automated backups of an instance begin.
pub(super) fn start_backups(world: &mut World, call: &Call, id: &str) {
    let Some(row) = world.get(&call.region, INSTANCES, id).cloned() else {
        return;
    };
    let resource = row.text("DbiResourceId").to_owned();
    let arn = arn(
        world,
        call,
        "auto-backup",
        &format!("ab-{}", &resource[3..].to_lowercase()),
    );
    let v = json!({"DBInstanceIdentifier": id, "DbiResourceId": resource, "Status": "active", "Region": call.region,
        "DBInstanceAutomatedBackupsArn": arn, "Engine": "postgres", "Encrypted": row.v["StorageEncrypted"],
        "BackupRetentionPeriod": row.v["BackupRetentionPeriod"], "AllocatedStorage": row.v["AllocatedStorage"]});
    world.insert(&call.region, BACKUPS, &resource, v, call.now);
}

/// What becomes of the automated backups when their instance goes: with it, or kept with all that a restore needs.
pub(super) fn end_backups(world: &mut World, call: &Call, id: &str, delete: bool) {
    let instance = world.get(&call.region, INSTANCES, id).cloned();
    let table = world.table(&call.region, BACKUPS);
    if delete {
        table.retain(|_, r| r.text("DBInstanceIdentifier") != id);
        return;
    }
    for row in table
        .values_mut()
        .filter(|r| r.text("DBInstanceIdentifier") == id)
    {
        row.set("Status", "retained");
        row.set("_until", call.now);
        row.set("_instance", instance.as_ref().map(|i| i.v.clone()));
    }
}

/// The instance that these backups are of, while it is there and after, and the last moment it was there.
pub(super) fn instance_of(
    world: &World,
    call: &Call,
    backup: &Row,
) -> Option<(Row, Option<Millis>)> {
    if let Some(kept) = backup.v.get("_instance").filter(|v| v.is_object()) {
        let row = Row {
            v: kept.clone(),
            ..Row::default()
        };
        return Some((row, backup.v["_until"].as_i64()));
    }
    let id = backup.text("DBInstanceIdentifier");
    Some((world.get(&call.region, INSTANCES, id)?.clone(), None))
}

pub(super) fn describe_backups(world: &mut World, call: &Call) -> Outcome {
    let of = call.opt("DBInstanceIdentifier");
    let resource = call.opt("DbiResourceId");
    let all: Vec<Value> = world
        .rows(&call.region, BACKUPS)
        .filter(|(id, r)| {
            of.is_none_or(|of| r.text("DBInstanceIdentifier") == of)
                && resource.is_none_or(|want| *id == want)
        })
        .map(|(_, r)| {
            let mut v = r.shown();
            let window = instance_of(world, call, r)
                .and_then(|(instance, until)| restorable(&instance, until.unwrap_or(call.now)));
            if let Some((earliest, latest)) = window {
                v["RestoreWindow"] =
                    json!({"EarliestTime": time(earliest), "LatestTime": time(latest)});
            }
            v
        })
        .collect();
    Ok(page(
        call,
        "DBInstanceAutomatedBackups",
        "DBInstanceAutomatedBackup",
        all,
    )?
    .into())
}

/// The automated backups a call means by resource or ARN.
pub(super) fn backup(world: &World, call: &Call, by: &str, arn_by: &str) -> Option<(String, Row)> {
    let resource = call.opt(by);
    let arn = call.opt(arn_by);
    world
        .rows(&call.region, BACKUPS)
        .find(|(id, r)| match resource {
            Some(resource) => *id == resource,
            None => arn.is_some_and(|a| r.text("DBInstanceAutomatedBackupsArn") == a),
        })
        .map(|(id, r)| (id.clone(), r.clone()))
}

pub(super) fn no_backup() -> Refusal {
    Refusal::new(
        404,
        "DBInstanceAutomatedBackupNotFound",
        "No automated backup for this DB instance was found.",
    )
}

pub(super) fn delete_backup(world: &mut World, call: &Call) -> Outcome {
    let found = backup(
        world,
        call,
        "DbiResourceId",
        "DBInstanceAutomatedBackupsArn",
    );
    let (id, row) = found.ok_or_else(no_backup)?;
    world.remove(&call.region, BACKUPS, &id);
    Ok(json!({"DBInstanceAutomatedBackup": row.shown()}).into())
}
