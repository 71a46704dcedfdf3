//! Snapshots and automated backups.

use serde_json::{Value, json};

use super::{BACKUPS, INSTANCES, SNAPSHOTS, arn, page, rules, tag_list};
use crate::sandbox::call::{Call, Outcome, Refusal};
use crate::sandbox::delays;
use crate::sandbox::world::{Millis, Row, World};

/// A moment as the query protocol writes it.
pub(super) fn time(at: Millis) -> String {
    jiff::Timestamp::from_millisecond(at)
        .unwrap_or_default()
        .strftime("%Y-%m-%dT%H:%M:%SZ")
        .to_string()
}

/// The final snapshot of an instance that is deleted.
pub(super) fn take_last(world: &mut World, call: &Call, row: &Row) -> Result<(), Refusal> {
    let id = rules::identifier(call, "FinalDBSnapshotIdentifier", 255)?;
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
    let arn = arn(world, call, "snapshot", &id);
    let mut v = json!({"DBSnapshotIdentifier": id, "DBSnapshotArn": arn, "_arn": arn, "SnapshotType": "manual",
        "Status": "creating", "PercentProgress": 0, "SnapshotCreateTime": time(call.now), "Port": 5432,
        "Encrypted": row.v["StorageEncrypted"]});
    for same in [
        "DBInstanceIdentifier",
        "Engine",
        "EngineVersion",
        "AllocatedStorage",
        "MasterUsername",
        "StorageType",
        "KmsKeyId",
        "AvailabilityZone",
        "DbiResourceId",
    ] {
        v[same] = row.v[same].clone();
    }
    let tags = if row.is("CopyTagsToSnapshot") {
        row.tags.clone()
    } else {
        std::collections::BTreeMap::new()
    };
    let snapshot = world.insert(&call.region, SNAPSHOTS, &id, v, call.now);
    snapshot.tags = tags;
    snapshot.later(
        call.now,
        delays::DATABASE_SNAPSHOT,
        json!({"Status": "available", "PercentProgress": 100}),
    );
    Ok(())
}

pub(super) fn describe(world: &mut World, call: &Call) -> Outcome {
    let shown = |row: &Row| {
        let mut v = row.shown();
        v["TagList"] = tag_list(row);
        v
    };
    if let Some(id) = call.opt("DBSnapshotIdentifier") {
        let row = world
            .get(&call.region, SNAPSHOTS, id)
            .ok_or_else(|| missing(id))?;
        return Ok(json!({"DBSnapshots": {"DBSnapshot": [shown(row)]}}).into());
    }
    let of = call.opt("DBInstanceIdentifier");
    let kind = call.opt("SnapshotType");
    let all = world
        .seen(&call.region, SNAPSHOTS, call.now)
        .filter(|(_, r)| of.is_none_or(|id| r.text("DBInstanceIdentifier") == id))
        .filter(|(_, r)| kind.is_none_or(|k| r.text("SnapshotType") == k))
        .map(|(_, r)| shown(r))
        .collect();
    Ok(page(call, "DBSnapshots", "DBSnapshot", all)?.into())
}

fn missing(id: &str) -> Refusal {
    Refusal::new(
        404,
        "DBSnapshotNotFound",
        format!("DBSnapshot {id} not found."),
    )
}

pub(super) fn delete(world: &mut World, call: &Call) -> Outcome {
    let id = call.need("DBSnapshotIdentifier")?.to_owned();
    let row = world
        .get(&call.region, SNAPSHOTS, &id)
        .ok_or_else(|| missing(&id))?;
    if row.text("Status") != "available" {
        return Err(Refusal::bad(
            "InvalidDBSnapshotState",
            format!("Snapshot {id} is in state {}.", row.text("Status")),
        ));
    }
    let mut shown = row.shown();
    shown["Status"] = json!("deleted");
    world.remove(&call.region, SNAPSHOTS, &id);
    Ok(json!({"DBSnapshot": shown}).into())
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

/// What becomes of the automated backups when their instance goes.
pub(super) fn end_backups(world: &mut World, call: &Call, id: &str, delete: bool) {
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
    }
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
        .map(|(_, r)| r.shown())
        .collect();
    Ok(page(
        call,
        "DBInstanceAutomatedBackups",
        "DBInstanceAutomatedBackup",
        all,
    )?
    .into())
}

pub(super) fn delete_backup(world: &mut World, call: &Call) -> Outcome {
    let arn = call.opt("DBInstanceAutomatedBackupsArn");
    let id = match call.opt("DbiResourceId") {
        Some(id) => Some(id.to_owned()),
        None => world
            .rows(&call.region, BACKUPS)
            .find(|(_, r)| arn.is_some_and(|a| r.text("DBInstanceAutomatedBackupsArn") == a))
            .map(|(id, _)| id.clone()),
    };
    let gone = id.and_then(|id| world.remove(&call.region, BACKUPS, &id));
    match gone {
        Some(row) => Ok(json!({"DBInstanceAutomatedBackup": row.shown()}).into()),
        None => Err(Refusal::new(
            404,
            "DBInstanceAutomatedBackupNotFound",
            "No automated backup for this DB instance was found.",
        )),
    }
}
