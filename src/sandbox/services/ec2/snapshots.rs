//! EBS snapshots.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::compute::{INSTANCES, when};
use super::storage::{MISSING, VOLUMES};
use super::{Handler, arn, describe, need, page, shown, tags_asked, yes};
use crate::sandbox::call::{Call, Outcome, Refusal};
use crate::sandbox::delays;
use crate::sandbox::world::World;

pub(super) const ACTIONS: &[&str] = &[
    "CreateSnapshot",
    "CreateSnapshots",
    "DescribeSnapshots",
    "DeleteSnapshot",
];

pub(super) fn find(action: &str) -> Option<Handler> {
    Some(match action {
        "CreateSnapshot" => create,
        "CreateSnapshots" => create_several,
        "DescribeSnapshots" => list,
        "DeleteSnapshot" => delete,
        _ => return None,
    })
}

const SNAPSHOTS: &str = "ec2/snapshot";

/// Begins a snapshot of a volume and answers its id.
fn begin(
    world: &mut World,
    call: &Call,
    volume: &str,
    tags: BTreeMap<String, String>,
) -> Result<String, Refusal> {
    let row = need(world, call, VOLUMES, volume, MISSING)?;
    if !matches!(row.text("status"), "available" | "in-use") {
        return Err(Refusal::bad(
            "IncorrectState",
            format!("Volume '{volume}' is {}", row.text("status")),
        ));
    }
    let (size, encrypted, key) = (
        row.v["size"].clone(),
        row.is("encrypted"),
        row.v["kmsKeyId"].clone(),
    );
    let id = world.id("snap");
    let v = json!({"snapshotId": id, "volumeId": volume, "status": "pending", "progress": "0%",
        "startTime": when(call.now), "ownerId": world.account, "volumeSize": size, "encrypted": encrypted,
        "kmsKeyId": key, "description": call.opt("Description").unwrap_or_default(), "storageTier": "standard",
        "_arn": arn(world, &call.region, "snapshot", &id)});
    let row = world.insert(&call.region, SNAPSHOTS, &id, v, call.now);
    row.tags = tags;
    row.later(
        call.now,
        delays::SNAPSHOT,
        json!({"status": "completed", "progress": "100%"}),
    );
    Ok(id)
}

fn create(world: &mut World, call: &Call) -> Outcome {
    let volume = call.need("VolumeId")?.to_owned();
    let id = begin(world, call, &volume, tags_asked(call, "snapshot"))?;
    let row = need(world, call, SNAPSHOTS, &id, "InvalidSnapshot.NotFound")?;
    Ok(shown(row).into())
}

/// All volumes of an instance at one moment.
fn create_several(world: &mut World, call: &Call) -> Outcome {
    let instance = call.need("InstanceSpecification.InstanceId")?.to_owned();
    need(
        world,
        call,
        INSTANCES,
        &instance,
        "InvalidInstanceID.NotFound",
    )?;
    let without_root = call.flag("InstanceSpecification.ExcludeBootVolume") == Some(true);
    let without = call.texts("InstanceSpecification.ExcludeDataVolumeId");
    let root = world
        .get(&call.region, INSTANCES, &instance)
        .map(|r| r.text("rootDeviceName").to_owned())
        .unwrap_or_default();
    let volumes: Vec<String> = super::storage::plugged(world, &call.region, &instance)
        .iter()
        .filter(|m| !(without_root && m["deviceName"] == root.as_str()))
        .filter_map(|m| m["ebs"]["volumeId"].as_str())
        .filter(|id| !without.contains(id))
        .map(Into::into)
        .collect();
    if volumes.is_empty() {
        return Err(Refusal::bad(
            "InvalidParameterValue",
            format!("Instance {instance} has no volumes to snapshot"),
        ));
    }
    let mut items = Vec::new();
    for volume in volumes {
        let mut tags = tags_asked(call, "snapshot");
        if call.opt("CopyTagsFromSource") == Some("volume") {
            let copied = need(world, call, VOLUMES, &volume, MISSING)?.tags.clone();
            tags = copied.into_iter().chain(tags).collect();
        }
        let id = begin(world, call, &volume, tags)?;
        let row = need(world, call, SNAPSHOTS, &id, "InvalidSnapshot.NotFound")?;
        let mut info = shown(row);
        info["state"] = info["status"].clone();
        items.push(info);
    }
    Ok(json!({"snapshotSet": {"item": items}}).into())
}

fn list(world: &mut World, call: &Call) -> Outcome {
    let rows = describe(
        world,
        call,
        SNAPSHOTS,
        "SnapshotId",
        "InvalidSnapshot.NotFound",
        |name, id, row| match name {
            "snapshot-id" => vec![id.to_owned()],
            "volume-id" => vec![row.text("volumeId").to_owned()],
            "status" => vec![row.text("status").to_owned()],
            "description" => vec![row.text("description").to_owned()],
            "owner-id" => vec![row.text("ownerId").to_owned()],
            _ => vec![],
        },
    )?;
    let items: Vec<Value> = rows.iter().map(|(_, r)| shown(r)).collect();
    Ok(page(call, items, "snapshotSet").into())
}

fn delete(world: &mut World, call: &Call) -> Outcome {
    let id = call.need("SnapshotId")?.to_owned();
    need(world, call, SNAPSHOTS, &id, "InvalidSnapshot.NotFound")?;
    let used = world
        .rows(&call.region, "ec2/image")
        .find(|(_, r)| r.v.to_string().contains(&id));
    if let Some((image, _)) = used {
        return Err(Refusal::bad(
            "InvalidSnapshot.InUse",
            format!("The snapshot {id} is currently in use by {image}"),
        ));
    }
    world.remove(&call.region, SNAPSHOTS, &id);
    yes()
}
