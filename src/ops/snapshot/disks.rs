//! Snapshots of the data volumes of one instance: all of one moment, begun once, found again by their tags.

use std::time::Duration;

use aws_sdk_ec2::types::{
    Filter, InstanceSpecification, ResourceType, Snapshot, SnapshotState, Tag, TagSpecification,
};
use serde::{Deserialize, Serialize};

use super::{NODE_TAG, POLL};
use crate::cloud::Fault;
use crate::engine::Halt;
use crate::ops::OpsFault;
use crate::ops::point::PointId;
use crate::ops::runbook::StageCx;
use crate::resource::{CloudCx, POINT_TAG, SITE_TAG, Tags};

/// Usual time of a snapshot after the first one of a volume.
pub const USUAL: Duration = Duration::from_mins(4);

/// How long a listing by tags may lag behind (facts on AWS: further than one by id). What is not listed after this was
/// not made.
const LAG: Duration = Duration::from_mins(1);

/// One volume to be saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    pub node: String,
    pub instance: String,
    pub volume: String,
}

/// A snapshot that EC2 knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    pub disk: Disk,
    pub snapshot: String,
    pub gib: u32,
    pub began: jiff::Timestamp,
}

/// Begins the snapshot of a node's data volume, or finds it begun. Takes as long as a listing by tags may lag when an
/// earlier attempt may have got somewhere.
pub async fn begin(
    stage: &StageCx,
    cx: &CloudCx,
    point: &PointId,
    disk: &Disk,
    tags: &Tags,
) -> Result<Begun, Halt<OpsFault>> {
    let mut doubt = stage.again;
    loop {
        if let Some(found) = of_node(cx, point, disk).await? {
            return Ok(begun(disk, &found, cx));
        }
        if doubt {
            stage.waiting("whether the last attempt came through");
            stage.pause(LAG).await?;
            doubt = false;
            continue;
        }
        match create(cx, point, disk, tags).await {
            Ok(snapshot) => return Ok(snapshot),
            Err(Fault::Unknown { .. }) => doubt = true,
            Err(fault) => return Err(fault.into()),
        }
    }
}

async fn create(cx: &CloudCx, point: &PointId, disk: &Disk, tags: &Tags) -> Result<Begun, Fault> {
    let tags = tags
        .clone()
        .with(POINT_TAG, point.to_string())
        .with(NODE_TAG, &disk.node);
    let tags: Vec<Tag> = tags
        .0
        .iter()
        .map(|(key, value)| Tag::builder().key(key).value(value).build())
        .collect();
    let specification = InstanceSpecification::builder()
        .instance_id(&disk.instance)
        // The root volume is made again from the image and the node's bundle.
        .exclude_boot_volume(true)
        .build();
    let answer = cx
        .write("ec2:CreateSnapshots", || {
            cx.aws()
                .ec2
                .create_snapshots()
                .description(format!("{point} of {}", disk.node))
                .instance_specification(specification.clone())
                .tag_specifications(
                    TagSpecification::builder()
                        .resource_type(ResourceType::Snapshot)
                        .set_tags(Some(tags.clone()))
                        .build(),
                )
                .send()
        })
        .await?;
    let made = answer
        .snapshots()
        .iter()
        .find(|made| made.volume_id() == Some(&disk.volume));
    let Some(made) = made else {
        return Err(Fault::Broken {
            call: "ec2:CreateSnapshots".into(),
            message: format!(
                "the data volume {} is not attached to {} ({})",
                disk.volume, disk.node, disk.instance
            ),
        });
    };
    Ok(Begun {
        disk: disk.clone(),
        snapshot: made.snapshot_id().unwrap_or_default().to_owned(),
        gib: u32::try_from(made.volume_size().unwrap_or_default()).unwrap_or_default(),
        began: made
            .start_time()
            .map_or_else(|| cx.clock().now(), super::moment),
    })
}

fn begun(disk: &Disk, found: &Snapshot, cx: &CloudCx) -> Begun {
    Begun {
        disk: disk.clone(),
        snapshot: found.snapshot_id().unwrap_or_default().to_owned(),
        gib: u32::try_from(found.volume_size().unwrap_or_default()).unwrap_or_default(),
        began: found
            .start_time()
            .map_or_else(|| cx.clock().now(), super::moment),
    }
}

/// The snapshot of a disk that belongs to a point; the first, should there be more.
async fn of_node(cx: &CloudCx, point: &PointId, disk: &Disk) -> Result<Option<Snapshot>, Fault> {
    let filter = |name: String, value: &str| Filter::builder().name(name).values(value).build();
    let filters = vec![
        filter(format!("tag:{SITE_TAG}"), cx.site()),
        filter(format!("tag:{POINT_TAG}"), point.as_str()),
        filter("volume-id".to_owned(), &disk.volume),
    ];
    let mut found = list(cx, filters, vec![]).await?;
    found.sort_by_key(|snapshot| {
        (
            snapshot.start_time().map(super::moment),
            snapshot.snapshot_id().map(str::to_owned),
        )
    });
    Ok(found.into_iter().next())
}

/// Whether the snapshot of a disk is there, as far as EC2 lists it yet.
pub async fn is_begun(cx: &CloudCx, point: &PointId, disk: &Disk) -> Result<bool, Fault> {
    Ok(of_node(cx, point, disk).await?.is_some())
}

/// The snapshots of these ids that there are.
pub async fn find(cx: &CloudCx, ids: &[String]) -> Result<Vec<Snapshot>, Fault> {
    if ids.is_empty() {
        return Ok(vec![]);
    }
    // A filter, because asking by id for one that is gone is an error for all of them.
    let filter = Filter::builder()
        .name("snapshot-id")
        .set_values(Some(ids.to_vec()))
        .build();
    list(cx, vec![filter], vec!["self".to_owned()]).await
}

pub(super) async fn list(
    cx: &CloudCx,
    filters: Vec<Filter>,
    owners: Vec<String>,
) -> Result<Vec<Snapshot>, Fault> {
    cx.read("ec2:DescribeSnapshots", || {
        cx.aws()
            .ec2
            .describe_snapshots()
            .set_filters(Some(filters.clone()))
            .set_owner_ids((!owners.is_empty()).then(|| owners.clone()))
            .into_paginator()
            .items()
            .send()
            .collect::<Result<Vec<_>, _>>()
    })
    .await
}

/// Waits until all of these can be made volumes of.
pub async fn completed(
    stage: &StageCx,
    cx: &CloudCx,
    ids: &[String],
) -> Result<(), Halt<OpsFault>> {
    loop {
        let found = find(cx, ids).await?;
        let mut waiting = Vec::new();
        for id in ids {
            let snapshot = found.iter().find(|s| s.snapshot_id() == Some(id));
            match snapshot.and_then(Snapshot::state) {
                Some(SnapshotState::Completed) => {}
                Some(SnapshotState::Error) => {
                    let why = snapshot
                        .and_then(|s| s.state_message())
                        .unwrap_or("no reason given");
                    return Err(OpsFault::check(
                        format!("the snapshot {id}"),
                        format!("EC2 says error: {why}"),
                        "take a new point; the key of the volume may have been switched off",
                    )
                    .into());
                }
                // Not listed yet: a listing may lag behind what made it.
                None if cx.clock().since(stage.began()) > LAG * 60 => {
                    return Err(OpsFault::check(
                        format!("the snapshot {id}"),
                        "EC2 does not list it",
                        "somebody deleted it; take a new point",
                    )
                    .into());
                }
                _ => waiting.push(format!(
                    "{id} {}",
                    snapshot.and_then(|s| s.progress()).unwrap_or("pending")
                )),
            }
        }
        if waiting.is_empty() {
            return Ok(());
        }
        stage.waiting(waiting.join(", "));
        stage.pause(POLL).await?;
    }
}
