//! EBS volumes.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::compute::{INSTANCES, state, token, when};
use super::snapshots::SNAPSHOTS;
use super::{Handler, arn, catalogue, describe, launch, need, page, shown, tags_asked, yes};
use crate::sandbox::call::{Call, Outcome, Refusal};
use crate::sandbox::content::{fill, held};
use crate::sandbox::delays;
use crate::sandbox::world::{Millis, Row, World};

pub(super) const ACTIONS: &[&str] = &[
    "CreateVolume",
    "DescribeVolumes",
    "ModifyVolume",
    "DeleteVolume",
    "AttachVolume",
    "DetachVolume",
];

pub(super) fn find(action: &str) -> Option<Handler> {
    Some(match action {
        "CreateVolume" => create,
        "DescribeVolumes" => list,
        "ModifyVolume" => modify,
        "DeleteVolume" => delete,
        "AttachVolume" => attach,
        "DetachVolume" => detach,
        _ => return None,
    })
}

pub(super) const VOLUMES: &str = "ec2/volume";
pub(super) const MISSING: &str = "InvalidVolume.NotFound";

/// A volume as somebody asks for it.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub zone: String,
    pub size: Option<i64>,
    pub kind: String,
    pub iops: Option<i64>,
    pub throughput: Option<i64>,
    pub snapshot: Option<String>,
    pub ends_with_instance: bool,
    encrypted: bool,
    key_name: Option<String>,
}

impl Asked {
    /// From the parameters of `CreateVolume` or of a block device mapping's `Ebs`.
    pub fn from(p: &Value) -> Self {
        let word = |key: &str| p[key].as_str().filter(|s| !s.is_empty()).map(Into::into);
        let number = |key: &str| match &p[key] {
            Value::String(s) => s.parse().ok(),
            other => other.as_i64(),
        };
        Self {
            zone: word("AvailabilityZone").unwrap_or_default(),
            size: number("Size").or_else(|| number("VolumeSize")),
            kind: word("VolumeType").unwrap_or_else(|| "gp2".into()),
            iops: number("Iops"),
            throughput: number("Throughput"),
            snapshot: word("SnapshotId"),
            ends_with_instance: p["DeleteOnTermination"] == "true",
            encrypted: p["Encrypted"] == "true",
            key_name: word("KmsKeyId"),
        }
    }

    /// Refuses what the volume types do not allow
    /// (<https://docs.aws.amazon.com/ebs/latest/userguide/ebs-volume-types.html>).
    pub fn check(&self, world: &World, region: &str) -> Result<(), Refusal> {
        if !catalogue::zones(region).contains(&self.zone) {
            return Err(Refusal::bad(
                "InvalidParameterValue",
                format!("Invalid availability zone: [{}]", self.zone),
            ));
        }
        if let Some(snapshot) = &self.snapshot {
            let row = world.get(region, SNAPSHOTS, snapshot).ok_or_else(|| {
                Refusal::bad(
                    "InvalidSnapshot.NotFound",
                    format!("The snapshot '{snapshot}' does not exist."),
                )
            })?;
            if row.text("status") != "completed" {
                return Err(Refusal::bad(
                    "IncorrectState",
                    format!("Snapshot {snapshot} is not completed."),
                ));
            }
            let least = row.v["volumeSize"].as_i64().unwrap_or_default();
            if self.size.is_some_and(|s| s < least) {
                return Err(Refusal::bad(
                    "InvalidParameterValue",
                    format!(
                        "Volume of size {}GB is smaller than snapshot '{snapshot}', expect size >= {least}GB",
                        self.size.unwrap_or_default()
                    ),
                ));
            }
        } else if self.size.is_none() {
            return Err(Refusal::bad(
                "MissingParameter",
                "The request must contain the parameter size/snapshot",
            ));
        }
        if self.key_name.is_some() && !self.encrypted {
            return Err(Refusal::bad(
                "InvalidParameterDependency",
                "The parameter KmsKeyId requires the parameter Encrypted to be set.",
            ));
        }
        self.shape(self.size.unwrap_or_else(|| self.least(world, region)))
    }

    /// The snapshot it comes from, if it is there.
    fn source<'w>(&self, world: &'w World, region: &str) -> Option<&'w Row> {
        world.get(region, SNAPSHOTS, self.snapshot.as_ref()?)
    }

    /// The size of a volume for which none was asked: its snapshot's.
    fn least(&self, world: &World, region: &str) -> i64 {
        let source = self.source(world, region);
        source.and_then(|r| r.v["volumeSize"].as_i64()).unwrap_or(8)
    }

    /// What comes from an encrypted snapshot is encrypted, asked for or not.
    fn is_encrypted(&self, world: &World, region: &str) -> bool {
        self.encrypted
            || self
                .source(world, region)
                .is_some_and(|r| r.is("encrypted"))
    }

    fn shape(&self, size: i64) -> Result<(), Refusal> {
        let bad = |message: String| Err(Refusal::bad("InvalidParameterValue", message));
        let (sizes, iops, ratio) = match self.kind.as_str() {
            "gp2" => (1..=16_384, None, 0),
            "gp3" => (1..=65_536, Some(3_000..=80_000), 500),
            "io1" => (4..=16_384, Some(100..=64_000), 50),
            "io2" => (4..=65_536, Some(100..=256_000), 1_000),
            other => return bad(format!("Invalid value '{other}' for VolumeType.")),
        };
        if !sizes.contains(&size) {
            return bad(format!(
                "Volume of {size} GiB is invalid for {}: {} to {} GiB",
                self.kind,
                sizes.start(),
                sizes.end()
            ));
        }
        match (&iops, self.iops) {
            (None, Some(_)) => {
                return Err(Refusal::bad(
                    "InvalidParameterCombination",
                    format!(
                        "The parameter iops is not supported for {} volumes.",
                        self.kind
                    ),
                ));
            }
            (Some(range), Some(n)) if !range.contains(&n) => {
                return bad(format!(
                    "Volume iops of {n} is invalid for {}: {} to {}",
                    self.kind,
                    range.start(),
                    range.end()
                ));
            }
            (Some(range), Some(n)) if n > *range.start() && n > ratio * size => {
                return bad(format!(
                    "Iops to volume size ratio of {n}/{size} is too high; the maximum is {ratio}"
                ));
            }
            (Some(_), None) if self.kind.starts_with("io") => {
                return Err(Refusal::bad(
                    "MissingParameter",
                    "The request must contain the parameter iops",
                ));
            }
            _ => {}
        }
        match self.throughput {
            Some(_) if self.kind != "gp3" => Err(Refusal::bad(
                "InvalidParameterCombination",
                format!(
                    "The parameter throughput is not supported for {} volumes.",
                    self.kind
                ),
            )),
            Some(n) if !(125..=2_000).contains(&n) => bad(format!(
                "Throughput of {n} MiB/s is invalid for gp3: 125 to 2000"
            )),
            Some(n) if n * 4 > self.iops.unwrap_or(3_000) => bad(format!(
                "Throughput to iops ratio of {n}/{} is too high; the maximum is 0.25 MiB/s per iops",
                self.iops.unwrap_or(3_000)
            )),
            _ => Ok(()),
        }
    }

    /// The ARN of the key it is encrypted with, if it is, or why that key cannot be used.
    pub fn key(&self, world: &World, region: &str) -> Result<Option<String>, String> {
        if !self.is_encrypted(world, region) {
            return Ok(None);
        }
        let source = self.source(world, region);
        let its = source.and_then(|r| r.v["kmsKeyId"].as_str());
        // The key of the snapshot is needed to read it, whatever key the volume gets.
        if let Some(its) = its {
            launch::usable_key(world, region, its)?;
        }
        let name = self.key_name.as_deref().or(its).unwrap_or("alias/aws/ebs");
        launch::usable_key(world, region, name).map(Some)
    }
}

/// Makes a volume and answers its id. With a key that cannot be used it never becomes available, as in AWS,
/// where the call succeeds all the same.
pub(super) fn make(
    world: &mut World,
    region: &str,
    now: Millis,
    asked: &Asked,
    tags: BTreeMap<String, String>,
) -> String {
    let key = asked.key(world, region);
    let size = asked.size.unwrap_or_else(|| asked.least(world, region));
    let encrypted = asked.is_encrypted(world, region);
    let content = asked.source(world, region).map(held).unwrap_or_default();
    let iops = asked.iops.unwrap_or(if asked.kind == "gp3" {
        3_000
    } else {
        (3 * size).clamp(100, 16_000)
    });
    let id = world.id("vol");
    let mut v = json!({"volumeId": id, "size": size, "volumeType": asked.kind, "iops": iops,
        "availabilityZone": asked.zone, "status": "creating", "createTime": when(now),
        "snapshotId": asked.snapshot.clone().unwrap_or_default(), "encrypted": encrypted,
        "multiAttachEnabled": false, "_arn": arn(world, region, "volume", &id)});
    if asked.kind == "gp3" {
        v["throughput"] = asked.throughput.unwrap_or(125).into();
    }
    if let Ok(Some(arn)) = &key {
        v["kmsKeyId"] = arn.as_str().into();
    }
    let end = if key.is_ok() { "available" } else { "error" };
    let row = world.insert(region, VOLUMES, &id, v, now);
    row.tags = tags;
    fill(row, &content);
    row.later(now, delays::VOLUME, json!({"status": end}));
    id
}

/// Plugs a volume into an instance at once: how instances get the volumes they are made with.
pub(super) fn plug_in(
    world: &mut World,
    region: &str,
    now: Millis,
    volume: &str,
    instance: &str,
    device: &str,
    ends_with_instance: bool,
) {
    if let Some(row) = world.get_mut(region, VOLUMES, volume) {
        row.due.clear();
        row.set("status", "in-use");
        row.set(
            "attachmentSet",
            attached(
                volume,
                instance,
                device,
                "attached",
                ends_with_instance,
                now,
            ),
        );
    }
}

fn attached(
    volume: &str,
    instance: &str,
    device: &str,
    status: &str,
    ends_with_instance: bool,
    now: Millis,
) -> Value {
    json!({"item": [{"volumeId": volume, "instanceId": instance, "device": device, "status": status,
        "attachTime": when(now), "deleteOnTermination": ends_with_instance}]})
}

/// The one attachment of a volume.
fn attachment(row: &Row) -> &Value {
    &row.v["attachmentSet"]["item"][0]
}

/// An instance's volumes as its own listing shows them.
pub(super) fn plugged(world: &World, region: &str, instance: &str) -> Vec<Value> {
    let mut all: Vec<Value> = world
        .rows(region, VOLUMES)
        .filter(|(_, r)| attachment(r)["instanceId"] == instance)
        .map(|(id, r)| {
            let a = attachment(r);
            json!({"deviceName": a["device"], "ebs": {"volumeId": id, "status": a["status"],
                "attachTime": a["attachTime"], "deleteOnTermination": a["deleteOnTermination"]}})
        })
        .collect();
    all.sort_by_key(|m| m["deviceName"].as_str().unwrap_or_default().to_owned());
    all
}

/// Whether the volume at a device of an instance goes with it.
pub(super) fn ends_with(
    world: &mut World,
    region: &str,
    instance: &str,
    device: &str,
    ends: bool,
) -> Result<(), Refusal> {
    let mut volumes = world.table(region, VOLUMES).values_mut();
    let at = |row: &&mut Row| {
        let a = attachment(row);
        a["instanceId"] == instance && a["device"] == device
    };
    let Some(row) = volumes.find(at) else {
        return Err(Refusal::bad(
            "InvalidInstanceAttributeValue",
            format!("No device is currently mapped at {device}"),
        ));
    };
    let mut set = row.v["attachmentSet"].clone();
    set["item"][0]["deleteOnTermination"] = json!(ends);
    row.set("attachmentSet", set);
    Ok(())
}

/// What becomes of an instance's volumes when it ends: gone with it, or free again.
pub(super) fn let_go(world: &mut World, region: &str, now: Millis, instance: &str, after: Millis) {
    for row in world.table(region, VOLUMES).values_mut() {
        if attachment(row)["instanceId"] != instance {
            continue;
        }
        if attachment(row)["deleteOnTermination"] == true {
            row.vanish(now, after);
        } else {
            row.due.clear();
            row.later(
                now,
                after,
                json!({"status": "available", "attachmentSet": null}),
            );
        }
    }
}

fn create(world: &mut World, call: &Call) -> Outcome {
    let token = token(call)?;
    if let Some(token) = &token
        && let Some(id) = call.replayed(world, token)?
    {
        return Ok(shown(need(world, call, VOLUMES, &id, MISSING)?).into());
    }
    let asked = Asked::from(&call.p);
    asked.check(world, &call.region)?;
    let used: i64 = world
        .rows(&call.region, VOLUMES)
        .filter(|(_, r)| r.text("volumeType") == asked.kind)
        .filter_map(|(_, r)| r.v["size"].as_i64())
        .sum();
    let limit = world.quota(&format!("{}_storage", asked.kind), 50);
    if u64::try_from(
        used + asked
            .size
            .unwrap_or_else(|| asked.least(world, &call.region)),
    )
    .unwrap_or_default()
        > limit * 1_024
    {
        return Err(Refusal::bad(
            "VolumeLimitExceeded",
            format!(
                "The {} storage limit of {limit} TiB would be exceeded.",
                asked.kind
            ),
        ));
    }
    let id = make(
        world,
        &call.region,
        call.now,
        &asked,
        tags_asked(call, "volume"),
    );
    if let Some(token) = token {
        call.remember(world, &token, &id);
    }
    Ok(shown(need(world, call, VOLUMES, &id, MISSING)?).into())
}

fn list(world: &mut World, call: &Call) -> Outcome {
    let rows = describe(
        world,
        call,
        VOLUMES,
        "VolumeId",
        MISSING,
        |name, id, row| {
            let text = |v: &Value| v.as_str().map(Into::into).into_iter().collect();
            match name {
                "volume-id" => vec![id.to_owned()],
                "status" => vec![row.text("status").to_owned()],
                "availability-zone" => vec![row.text("availabilityZone").to_owned()],
                "volume-type" => vec![row.text("volumeType").to_owned()],
                "snapshot-id" => vec![row.text("snapshotId").to_owned()],
                "encrypted" => vec![row.is("encrypted").to_string()],
                "attachment.instance-id" => text(&attachment(row)["instanceId"]),
                "attachment.status" => text(&attachment(row)["status"]),
                "attachment.device" => text(&attachment(row)["device"]),
                _ => vec![],
            }
        },
    )?;
    Ok(page(
        call,
        rows.iter().map(|(_, r)| shown(r)).collect(),
        "volumeSet",
    )
    .into())
}

/// AWS lets a volume rest this long between two changes.
const REST: Millis = 6 * 60 * 60 * 1_000;

fn modify(world: &mut World, call: &Call) -> Outcome {
    let id = call.need("VolumeId")?.to_owned();
    let row = need(world, call, VOLUMES, &id, MISSING)?;
    if !matches!(row.text("status"), "available" | "in-use") {
        return Err(Refusal::bad(
            "IncorrectState",
            format!("The volume '{id}' is {}", row.text("status")),
        ));
    }
    if row.v["_modified"]
        .as_i64()
        .is_some_and(|at| at + REST > call.now)
    {
        return Err(Refusal::bad(
            "VolumeModificationRateExceeded",
            format!(
                "You've reached the maximum modification rate per volume limit. Wait at least 6 hours between modifications per EBS volume. ({id})"
            ),
        ));
    }
    let have = |key: &str| row.v[key].as_i64();
    let mut asked = Asked::from(&call.p);
    let kind_stays = call
        .opt("VolumeType")
        .is_none_or(|k| k == row.text("volumeType"));
    if call.opt("VolumeType").is_none() {
        row.text("volumeType").clone_into(&mut asked.kind);
    }
    let size = asked.size.or(have("size")).unwrap_or_default();
    if size < have("size").unwrap_or_default() {
        return Err(Refusal::bad(
            "InvalidParameterValue",
            "New size cannot be smaller than existing size",
        ));
    }
    if kind_stays {
        asked.iops = asked.iops.or(have("iops").filter(|_| asked.kind != "gp2"));
        asked.throughput = asked.throughput.or(have("throughput"));
    }
    asked.shape(size)?;
    let iops = asked.iops.unwrap_or(3_000);
    let throughput = (asked.kind == "gp3").then(|| asked.throughput.unwrap_or(125));
    let before = shown(row);
    if let Some(row) = world.get_mut(&call.region, VOLUMES, &id) {
        row.set("size", size);
        row.set("iops", iops);
        row.set("throughput", throughput);
        row.set("volumeType", asked.kind.clone());
        row.set("_modified", call.now);
    }
    Ok(json!({"volumeModification": {"volumeId": id, "modificationState": "modifying", "progress": 0,
        "startTime": when(call.now), "targetSize": size, "targetIops": iops, "targetVolumeType": asked.kind,
        "targetThroughput": throughput, "originalSize": before["size"], "originalIops": before["iops"],
        "originalVolumeType": before["volumeType"], "originalThroughput": before["throughput"]}})
    .into())
}

fn delete(world: &mut World, call: &Call) -> Outcome {
    let id = call.need("VolumeId")?.to_owned();
    let row = need(world, call, VOLUMES, &id, MISSING)?;
    if let Some(instance) = attachment(row)["instanceId"].as_str() {
        return Err(Refusal::bad(
            "VolumeInUse",
            format!("Volume {id} is currently attached to {instance}"),
        ));
    }
    if let Some(row) = world.get_mut(&call.region, VOLUMES, &id)
        && row.text("status") != "deleting"
    {
        row.set("status", "deleting");
        row.vanish(call.now, delays::VOLUME_DELETE);
    }
    yes()
}

fn attach(world: &mut World, call: &Call) -> Outcome {
    let id = call.need("VolumeId")?.to_owned();
    let instance = call.need("InstanceId")?.to_owned();
    let device = call.need("Device")?.to_owned();
    let row = need(world, call, VOLUMES, &id, MISSING)?;
    let host = need(
        world,
        call,
        INSTANCES,
        &instance,
        "InvalidInstanceID.NotFound",
    )?;
    if attachment(row).is_object() {
        return Err(Refusal::bad(
            "VolumeInUse",
            format!("{id} is already attached to an instance"),
        ));
    }
    if row.text("status") != "available" {
        return Err(Refusal::bad(
            "IncorrectState",
            format!("Volume '{id}' is not 'available'."),
        ));
    }
    if !matches!(state(host), "running" | "stopped") {
        return Err(Refusal::bad(
            "IncorrectState",
            format!("Instance '{instance}' is not 'running'."),
        ));
    }
    if host.v["placement"]["availabilityZone"] != row.text("availabilityZone") {
        return Err(Refusal::bad(
            "InvalidVolume.ZoneMismatch",
            format!(
                "The volume '{id}' is not in the same availability zone as instance '{instance}'"
            ),
        ));
    }
    if plugged(world, &call.region, &instance)
        .iter()
        .any(|m| m["deviceName"] == device)
    {
        return Err(Refusal::bad(
            "InvalidParameterValue",
            format!(
                "Invalid value '{device}' for unixDevice. Attachment point {device} is already in use"
            ),
        ));
    }
    let set = |status: &str| attached(&id, &instance, &device, status, false, call.now);
    let (first, then) = (set("attaching"), set("attached"));
    if let Some(row) = world.get_mut(&call.region, VOLUMES, &id) {
        row.set("status", "in-use");
        row.set("attachmentSet", first.clone());
        row.later(
            call.now,
            delays::VOLUME_ATTACH,
            json!({"attachmentSet": then}),
        );
    }
    Ok(first["item"][0].clone().into())
}

fn detach(world: &mut World, call: &Call) -> Outcome {
    let id = call.need("VolumeId")?.to_owned();
    let row = need(world, call, VOLUMES, &id, MISSING)?;
    let now = attachment(row).clone();
    if now.is_null() {
        return Err(Refusal::bad(
            "IncorrectState",
            format!("Volume '{id}' is in the '{}' state.", row.text("status")),
        ));
    }
    let instance = now["instanceId"].as_str().unwrap_or_default().to_owned();
    if call
        .opt("InstanceId")
        .is_some_and(|asked| asked != instance)
    {
        return Err(Refusal::bad(
            "InvalidAttachment.NotFound",
            format!("The volume '{id}' is not attached to that instance"),
        ));
    }
    let host = world.get(&call.region, INSTANCES, &instance);
    let is_root = host.is_some_and(|h| now["device"] == h.text("rootDeviceName"));
    if is_root && host.is_some_and(|h| state(h) == "running") {
        return Err(Refusal::bad(
            "OperationNotPermitted",
            format!("Unable to detach root volume '{id}' from instance '{instance}'"),
        ));
    }
    let mut going = now;
    going["status"] = "detaching".into();
    if let Some(row) = world.get_mut(&call.region, VOLUMES, &id) {
        row.due.clear();
        row.set("attachmentSet", json!({"item": [going.clone()]}));
        row.later(
            call.now,
            delays::VOLUME_ATTACH,
            json!({"attachmentSet": null, "status": "available"}),
        );
    }
    Ok(going.into())
}
