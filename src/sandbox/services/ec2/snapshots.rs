//! EBS snapshots, and their copies in other regions.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::compute::{INSTANCES, state, when};
use super::storage::{MISSING as NO_VOLUME, VOLUMES};
use super::{Handler, arn, describe, launch, need, page, shown, tags_asked, yes};
use crate::sandbox::call::{Call, Outcome, Refusal};
use crate::sandbox::content::{fill, held};
use crate::sandbox::delays;
use crate::sandbox::services::presigned;
use crate::sandbox::world::{Millis, Row, World};

pub(super) const ACTIONS: &[&str] = &[
    "CreateSnapshot",
    "CreateSnapshots",
    "CopySnapshot",
    "DescribeSnapshots",
    "DeleteSnapshot",
];

pub(super) fn find(action: &str) -> Option<Handler> {
    Some(match action {
        "CreateSnapshot" => create,
        "CreateSnapshots" => create_several,
        "CopySnapshot" => copy,
        "DescribeSnapshots" => list,
        "DeleteSnapshot" => delete,
        _ => return None,
    })
}

pub(super) const SNAPSHOTS: &str = "ec2/snapshot";
const MISSING: &str = "InvalidSnapshot.NotFound";

/// Between two snapshots of one volume while the first is under way.
const APART: Millis = 15_000;

/// Refuses what keeps a volume from being snapshotted now: its state, and the limits of
/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html>.
fn may_begin(world: &World, call: &Call, volume: &str) -> Result<(), Refusal> {
    let row = need(world, call, VOLUMES, volume, NO_VOLUME)?;
    if !matches!(row.text("status"), "available" | "in-use") {
        return Err(Refusal::bad(
            "IncorrectState",
            format!("Volume '{volume}' is {}", row.text("status")),
        ));
    }
    let under_way: Vec<&Row> = world
        .rows(&call.region, SNAPSHOTS)
        .map(|(_, r)| r)
        .filter(|r| r.text("volumeId") == volume && r.text("status") == "pending")
        .collect();
    if under_way.iter().any(|r| r.born + APART > call.now) {
        return Err(Refusal::bad(
            "SnapshotCreationPerVolumeRateExceeded",
            "The maximum per volume CreateSnapshot request rate has been exceeded. Use an increasing or variable sleep interval between requests.",
        ));
    }
    if under_way.len() >= 5 {
        return Err(Refusal::bad(
            "ConcurrentSnapshotLimitExceeded",
            format!("Maximum allowed in-progress snapshots for a single volume exceeded: {volume}"),
        ));
    }
    within_quota(world, call)
}

fn within_quota(world: &World, call: &Call) -> Result<(), Refusal> {
    let held = world.rows(&call.region, SNAPSHOTS).count() as u64;
    let most = world.quota("snapshots", 100_000);
    if held < most {
        return Ok(());
    }
    Err(Refusal::bad(
        "SnapshotLimitExceeded",
        format!("Maximum number of snapshots ({most}) already reached."),
    ))
}

/// Begins a snapshot of a volume, which may begin one, and answers its id.
fn begin(world: &mut World, call: &Call, volume: &Row, tags: BTreeMap<String, String>) -> String {
    let key = volume.v["kmsKeyId"].as_str();
    let id = world.id("snap");
    let v = json!({"snapshotId": id, "volumeId": volume.text("volumeId"), "status": "pending", "progress": "0%",
        "startTime": when(call.now), "ownerId": world.account, "volumeSize": volume.v["size"],
        "encrypted": volume.is("encrypted"), "kmsKeyId": key,
        "description": call.opt("Description").unwrap_or_default(), "storageTier": "standard",
        "_arn": arn(world, &call.region, "snapshot", &id)});
    // AWS takes the call and finds out later.
    let usable = key.is_none_or(|key| launch::usable_key(world, &call.region, key).is_ok());
    let content = held(volume);
    let row = world.insert(&call.region, SNAPSHOTS, &id, v, call.now);
    row.tags = tags;
    fill(row, &content);
    run(row, call.now, delays::SNAPSHOT, usable);
    id
}

/// What becomes of a snapshot that was begun.
fn run(row: &mut Row, now: Millis, takes: Millis, usable: bool) {
    if !usable {
        row.later(
            now,
            takes / 4,
            json!({"status": "error", "statusMessage": "Given key ID is not accessible"}),
        );
        return;
    }
    row.later(now, takes / 2, json!({"progress": "50%"}));
    row.later(
        now,
        takes,
        json!({"status": "completed", "progress": "100%", "completionTime": when(now + takes)}),
    );
}

fn create(world: &mut World, call: &Call) -> Outcome {
    let volume = call.need("VolumeId")?.to_owned();
    may_begin(world, call, &volume)?;
    let volume = need(world, call, VOLUMES, &volume, NO_VOLUME)?.clone();
    let id = begin(world, call, &volume, tags_asked(call, "snapshot"));
    Ok(shown(need(world, call, SNAPSHOTS, &id, MISSING)?).into())
}

/// All volumes of an instance at one moment: all of them begin, or none.
fn create_several(world: &mut World, call: &Call) -> Outcome {
    let instance = call.need("InstanceSpecification.InstanceId")?.to_owned();
    let host = need(
        world,
        call,
        INSTANCES,
        &instance,
        "InvalidInstanceID.NotFound",
    )?;
    if !matches!(state(host), "running" | "stopping" | "stopped") {
        return Err(Refusal::bad(
            "IncorrectInstanceState",
            format!("The instance '{instance}' is {}", state(host)),
        ));
    }
    let root = host.text("rootDeviceName").to_owned();
    let without_root = call.flag("InstanceSpecification.ExcludeBootVolume") == Some(true);
    let without = call.texts("InstanceSpecification.ExcludeDataVolumeId");
    let plugged = super::storage::plugged(world, &call.region, &instance);
    let id_of = |m: &Value| m["ebs"]["volumeId"].as_str().unwrap_or_default().to_owned();
    for id in &without {
        match plugged.iter().find(|m| id_of(m) == *id) {
            None => {
                return Err(Refusal::bad(
                    "InvalidParameterValue",
                    format!("The volume '{id}' is not attached to the instance '{instance}'"),
                ));
            }
            Some(m) if m["deviceName"] == root.as_str() => {
                return Err(Refusal::bad(
                    "InvalidParameterValue",
                    format!("The volume '{id}' is the root volume; use ExcludeBootVolume"),
                ));
            }
            Some(_) => {}
        }
    }
    let volumes: Vec<String> = plugged
        .iter()
        .filter(|m| !(without_root && m["deviceName"] == root.as_str()))
        .map(id_of)
        .filter(|id| !without.contains(&id.as_str()))
        .collect();
    if volumes.is_empty() {
        return Err(Refusal::bad(
            "InvalidParameterValue",
            format!("Instance {instance} has no volumes to snapshot"),
        ));
    }
    for volume in &volumes {
        may_begin(world, call, volume)?;
    }
    let mut items = Vec::new();
    for volume in volumes {
        let volume = need(world, call, VOLUMES, &volume, NO_VOLUME)?.clone();
        let mut tags = tags_asked(call, "snapshot");
        if call.opt("CopyTagsFromSource") == Some("volume") {
            tags = volume.tags.clone().into_iter().chain(tags).collect();
        }
        let id = begin(world, call, &volume, tags);
        let mut info = shown(need(world, call, SNAPSHOTS, &id, MISSING)?);
        info["state"] = info["status"].clone();
        items.push(info);
    }
    Ok(json!({"snapshotSet": {"item": items}}).into())
}

/// A copy in the region that is called, of a snapshot there or elsewhere.
fn copy(world: &mut World, call: &Call) -> Outcome {
    let from = call.need("SourceRegion")?.to_owned();
    let id = call.need("SourceSnapshotId")?.to_owned();
    // It is for the URL alone; where the call goes decides.
    if let Some(to) = call.opt("DestinationRegion")
        && to != call.region
    {
        return Err(Refusal::bad(
            "InvalidParameterValue",
            format!(
                "Destination region {to} is not {}, which was called",
                call.region
            ),
        ));
    }
    let source = world
        .get(&from, SNAPSHOTS, &id)
        .cloned()
        .ok_or_else(|| Refusal::bad(MISSING, format!("The snapshot '{id}' does not exist.")))?;
    if source.text("status") != "completed" {
        return Err(Refusal::bad(
            "IncorrectState",
            format!("Snapshot {id} is not completed."),
        ));
    }
    let encrypted = source.is("encrypted") || call.flag("Encrypted") == Some(true);
    if call.opt("KmsKeyId").is_some() && !encrypted {
        return Err(Refusal::bad(
            "InvalidParameterDependency",
            "The parameter KmsKeyId requires the parameter Encrypted to be set.",
        ));
    }
    within_quota(world, call)?;
    let copying = world
        .rows(&call.region, SNAPSHOTS)
        .filter(|(_, r)| r.is("_copy") && r.text("status") == "pending")
        .count() as u64;
    // <https://docs.aws.amazon.com/ebs/latest/userguide/ebs-copy-snapshot.html>
    if copying >= world.quota("snapshot_copies", 20) {
        return Err(Refusal::bad(
            "ResourceLimitExceeded",
            "The maximum number of in-progress snapshot copies to this region has been reached.",
        ));
    }
    let name = call.opt("KmsKeyId").unwrap_or("alias/aws/ebs");
    let key = encrypted.then(|| launch::usable_key(world, &call.region, name));
    let readable = source.v["kmsKeyId"]
        .as_str()
        .is_none_or(|key| launch::usable_key(world, &from, key).is_ok());
    // The maintainers of the SDK call the URL deprecated by the service (smithy-rs issue 133), and the SDK makes
    // none. A wrong one is found out later, as AWS's reference says.
    let signed = call.opt("PresignedUrl").is_none_or(|url| {
        let wanted = presigned::Wanted {
            service: "ec2",
            action: "CopySnapshot",
            region: &from,
            parameters: &[
                ("SourceRegion", &from),
                ("SourceSnapshotId", &id),
                ("DestinationRegion", &call.region),
            ],
        };
        presigned::fits(url, &wanted, call.now)
    });
    let usable = key.as_ref().is_none_or(Result::is_ok) && readable && signed;
    let description = call.opt("Description").map_or_else(
        || format!("[Copied {id} from {from}] {}", source.text("description")),
        str::to_owned,
    );
    let new = world.id("snap");
    let v = json!({"snapshotId": new, "volumeId": "vol-ffffffff", "status": "pending", "progress": "0%",
        "startTime": when(call.now), "ownerId": world.account, "volumeSize": source.v["volumeSize"],
        "encrypted": encrypted, "kmsKeyId": key.and_then(Result::ok), "description": description,
        "storageTier": "standard", "_copy": true, "_arn": arn(world, &call.region, "snapshot", &new)});
    let row = world.insert(&call.region, SNAPSHOTS, &new, v, call.now);
    row.tags = tags_asked(call, "snapshot");
    fill(row, &held(&source));
    let takes = if from == call.region {
        delays::SNAPSHOT
    } else {
        delays::SNAPSHOT_COPY
    };
    run(row, call.now, takes, usable);
    let tags = super::tag_set(row);
    Ok(json!({"snapshotId": new, "tagSet": tags}).into())
}

fn list(world: &mut World, call: &Call) -> Outcome {
    if !call.texts("SnapshotId").is_empty() && call.opt("MaxResults").is_some() {
        return Err(Refusal::bad(
            "InvalidParameterCombination",
            "The parameter SnapshotIds cannot be used with the parameter MaxResults",
        ));
    }
    if call.int("MaxResults").is_some_and(|n| n < 5) {
        return Err(Refusal::bad(
            "InvalidParameterValue",
            "MaxResults must be at least 5",
        ));
    }
    let rows = describe(
        world,
        call,
        SNAPSHOTS,
        "SnapshotId",
        MISSING,
        |name, id, row| match name {
            "snapshot-id" => vec![id.to_owned()],
            "encrypted" => vec![row.is("encrypted").to_string()],
            "volume-size" => vec![row.v["volumeSize"].to_string()],
            "volume-id" => vec![row.text("volumeId").to_owned()],
            "status" => vec![row.text("status").to_owned()],
            "start-time" => vec![row.text("startTime").to_owned()],
            "description" => vec![row.text("description").to_owned()],
            "owner-id" => vec![row.text("ownerId").to_owned()],
            _ => vec![],
        },
    )?;
    // Nobody else shows snapshots to this account.
    let owners = call.texts("Owner");
    let asked = owners.is_empty()
        || owners
            .iter()
            .any(|o| *o == "self" || *o == world.account.as_str());
    let items: Vec<Value> = rows
        .iter()
        .filter(|_| asked)
        .map(|(_, r)| shown(r))
        .collect();
    Ok(page(call, items, "snapshotSet").into())
}

fn delete(world: &mut World, call: &Call) -> Outcome {
    let id = call.need("SnapshotId")?.to_owned();
    need(world, call, SNAPSHOTS, &id, MISSING)?;
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
