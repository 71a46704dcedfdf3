//! Data volumes: new ones from snapshots, which then take the place of the present ones.
//!
//! A volume lives in the zone of its node. The node is stopped while its volume is changed: one pulled from a running
//! node loses what was not written yet. What was there keeps its data, detached and without the site's tags.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_ec2::types::{
    Filter, InstanceStateName, ResourceType, Tag, TagSpecification, Volume, VolumeState,
};
use serde::{Deserialize, Serialize};

use super::super::OpsFault;
use super::super::point::DiskImage;
use super::super::runbook::StageCx;
use super::Restoring;
use super::database::{ASIDE_TAG, RESTORE_TAG};
use crate::cloud::Fault;
use crate::engine::Halt;
use crate::journal::Record;
use crate::kinds::ec2::{Volume as VolumeKind, VolumeAttachment};
use crate::resource::{ADDRESS_TAG, Address, CloudCx, Resource as _, SITE_TAG, Tags};

/// A volume from a snapshot is usable in a minute; its blocks are fetched as they are read.
pub const USUAL: Duration = Duration::from_mins(3);

const LOOK: Duration = Duration::from_secs(10);

/// How long a listing by tags may lag behind.
const LAG: Duration = Duration::from_mins(1);

/// A new volume for a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    pub node: String,
    pub volume: String,
    /// The one in whose place it comes.
    pub present: String,
}

fn address(node: &str) -> Address {
    Address::new(VolumeKind::KIND, node)
}

/// The volume that the site has for a node now.
async fn present(cx: &CloudCx, node: &str) -> Result<Volume, OpsFault> {
    let of_node = Filter::builder()
        .name(format!("tag:{ADDRESS_TAG}"))
        .values(address(node).to_string())
        .build();
    let found = list(cx, vec![cx.site_filter(), of_node]).await?;
    found.into_iter().next().ok_or_else(|| {
        OpsFault::refused(
            format!("the volume of {node} is not restored"),
            "this site has no such volume whose place it could take",
            "run `gantry install` first",
        )
    })
}

async fn list(cx: &CloudCx, filters: Vec<Filter>) -> Result<Vec<Volume>, Fault> {
    cx.read("ec2:DescribeVolumes", || {
        cx.aws()
            .ec2
            .describe_volumes()
            .set_filters(Some(filters.clone()))
            .into_paginator()
            .items()
            .send()
            .collect::<Result<Vec<_>, _>>()
    })
    .await
}

async fn by_id(cx: &CloudCx, id: &str) -> Result<Option<Volume>, Fault> {
    let filter = Filter::builder().name("volume-id").values(id).build();
    Ok(list(cx, vec![filter]).await?.into_iter().next())
}

/// Makes a volume for each disk of the point, or finds it made, and waits until all can be used.
pub async fn make(
    r: &Restoring,
    cx: &StageCx,
    disks: &[DiskImage],
) -> Result<Vec<Made>, Halt<OpsFault>> {
    let cloud = &r.ground.cx;
    let mut doubt = cx.again;
    let mut all = Vec::new();
    for disk in disks {
        let present = present(cloud, &disk.node).await?;
        let mine = vec![
            tag_filter(RESTORE_TAG, &cx.id),
            tag_filter("gantry:node", &disk.node),
        ];
        let mut found = list(cloud, mine.clone()).await?;
        if found.is_empty() && doubt {
            cx.waiting("whether the last attempt came through");
            cx.pause(LAG).await?;
            doubt = false;
            found = list(cloud, mine).await?;
        }
        let volume = match found.into_iter().next() {
            Some(found) => found.volume_id().unwrap_or_default().to_owned(),
            None => create(cloud, cx, disk, &present).await?,
        };
        all.push(Made {
            node: disk.node.clone(),
            volume,
            present: present.volume_id().unwrap_or_default().to_owned(),
        });
    }
    for made in &all {
        until(cloud, cx, &made.volume, |volume| {
            matches!(
                volume.state(),
                Some(VolumeState::Available | VolumeState::InUse)
            )
        })
        .await?;
    }
    Ok(all)
}

fn tag_filter(key: &str, value: &str) -> Filter {
    let name = format!("tag:{key}");
    Filter::builder().name(name).values(value).build()
}

async fn create(
    cloud: &CloudCx,
    cx: &StageCx,
    disk: &DiskImage,
    present: &Volume,
) -> Result<String, Fault> {
    let tags = Tags::new()
        .with(RESTORE_TAG, &cx.id)
        .with("gantry:node", &disk.node);
    // The same in every attempt, so that a call whose answer was lost makes no second volume.
    let token = format!("{}-{}", cx.id, disk.node);
    let answer = cloud
        .put("ec2:CreateVolume", || {
            cloud
                .aws()
                .ec2
                .create_volume()
                .client_token(&token)
                .snapshot_id(&disk.snapshot)
                .availability_zone(present.availability_zone().unwrap_or_default())
                .set_size(present.size())
                .set_volume_type(present.volume_type().cloned())
                .set_iops(present.iops())
                .set_throughput(present.throughput())
                .encrypted(true)
                .set_kms_key_id(present.kms_key_id().map(str::to_owned))
                .tag_specifications(
                    TagSpecification::builder()
                        .resource_type(ResourceType::Volume)
                        .set_tags(Some(sdk(&tags)))
                        .build(),
                )
                .send()
        })
        .await?;
    Ok(answer.volume_id().unwrap_or_default().to_owned())
}

fn sdk(tags: &Tags) -> Vec<Tag> {
    let tags = tags.0.iter();
    tags.map(|(key, value)| Tag::builder().key(key).value(value).build())
        .collect()
}

/// Waits until a volume is as it should be.
async fn until(
    cloud: &CloudCx,
    cx: &StageCx,
    id: &str,
    good: impl Fn(&Volume) -> bool,
) -> Result<(), Halt<OpsFault>> {
    loop {
        let found = by_id(cloud, id).await?;
        match &found {
            Some(volume) if good(volume) => return Ok(()),
            Some(volume) if volume.state() == Some(&VolumeState::Error) => {
                return Err(OpsFault::check(
                    format!("the volume {id}"),
                    "EC2 says error",
                    "look at it in the EC2 console, delete it there, and run the restore again",
                )
                .into());
            }
            Some(volume) => cx.waiting(format!(
                "{id} {}",
                volume.state().map_or("unknown", VolumeState::as_str)
            )),
            None => cx.waiting(format!("{id} is not listed yet")),
        }
        cx.pause(LOOK).await?;
    }
}

/// Puts the new volumes in the place of the present ones, each with its node stopped. What was done before is found
/// done. Returns what was set aside: the node, and the volume.
pub async fn swap(
    r: &Restoring,
    cx: &StageCx,
    all: &[Made],
) -> Result<BTreeMap<String, String>, Halt<OpsFault>> {
    let cloud = &r.ground.cx;
    let mut aside = BTreeMap::new();
    for made in all {
        let at = match place_of(cloud, &made.present).await? {
            Some(at) => {
                stopped(cloud, cx, &at.0).await?;
                detach(cloud, cx, &made.present, &at).await?;
                at
            }
            // Cut short after that: the old one says on its tags where it was.
            None => was_at(cloud, &made.present).await?,
        };
        if place_of(cloud, &made.volume).await?.is_none() {
            plug(cloud, cx, &made.volume, &at).await?;
        }
        start(cloud, &at.0).await?;
        let own = cloud
            .scope()
            .tags_of(&address(&made.node), &extra(r, &made.node));
        tags(cloud, &made.volume, &own).await?;
        let set_aside = Tags::new().with(ASIDE_TAG, cloud.site());
        tags(cloud, &made.present, &set_aside).await?;
        untag(
            cloud,
            &made.present,
            &[SITE_TAG, ADDRESS_TAG, crate::kinds::ec2::SNAPSHOTS_TAG],
        )
        .await?;
        forget(r, &made.node)?;
        aside.insert(made.node.clone(), made.present.clone());
    }
    Ok(aside)
}

/// The tags that a data volume carries beside those of every resource.
fn extra(r: &Restoring, node: &str) -> Tags {
    let host = r.ground.fleet.host(node);
    host.map_or_else(Tags::new, |host| {
        Tags::new().with(crate::resource::ROLE_TAG, host.role.as_str())
    })
}

/// The journal knows the old ones; the next survey takes the new ones over by their tags.
fn forget(r: &Restoring, node: &str) -> Result<(), OpsFault> {
    let store = &r.session.store;
    for gone in [address(node), Address::new(VolumeAttachment::KIND, node)] {
        if store.state().resources.contains_key(&gone) {
            let record = Record::Gone { address: gone };
            store
                .append(&record)
                .map_err(crate::session::SessionError::from)?;
        }
    }
    Ok(())
}

/// The instance and the device that a volume is plugged into.
type At = (String, String);

async fn place_of(cx: &CloudCx, volume: &str) -> Result<Option<At>, Fault> {
    let found = by_id(cx, volume).await?;
    Ok(found.and_then(|volume| {
        let at = volume.attachments().iter().find(|attached| {
            attached.state() != Some(&aws_sdk_ec2::types::VolumeAttachmentState::Detached)
        })?;
        Some((at.instance_id()?.to_owned(), at.device()?.to_owned()))
    }))
}

/// Before a volume is pulled, where it was is written onto it.
const WAS_AT: &str = "gantry:was-at";

async fn was_at(cx: &CloudCx, volume: &str) -> Result<At, OpsFault> {
    let found = by_id(cx, volume).await?;
    let text = found.as_ref().and_then(|volume| {
        let tag = volume.tags().iter().find(|tag| tag.key() == Some(WAS_AT))?;
        tag.value()
    });
    let at = text.and_then(|text| text.split_once(' '));
    at.map(|(instance, device)| (instance.to_owned(), device.to_owned()))
        .ok_or_else(|| {
            OpsFault::check(
                format!("the volume {volume}"),
                "it is plugged in nowhere, and nothing says where it was",
                "plug it into its node again in the EC2 console, and run the restore again",
            )
        })
}

async fn stopped(cloud: &CloudCx, cx: &StageCx, instance: &str) -> Result<(), Halt<OpsFault>> {
    loop {
        let answer = cloud
            .put("ec2:StopInstances", || {
                let call = cloud.aws().ec2.stop_instances();
                call.instance_ids(instance).send()
            })
            .await?;
        let state = answer
            .stopping_instances()
            .first()
            .and_then(|change| change.current_state()?.name().cloned());
        if matches!(state, None | Some(InstanceStateName::Stopped)) {
            return Ok(());
        }
        cx.waiting(format!("{instance} stops"));
        cx.pause(LOOK).await?;
    }
}

async fn start(cloud: &CloudCx, instance: &str) -> Result<(), Fault> {
    cloud
        .put("ec2:StartInstances", || {
            let call = cloud.aws().ec2.start_instances();
            call.instance_ids(instance).send()
        })
        .await?;
    Ok(())
}

async fn detach(
    cloud: &CloudCx,
    cx: &StageCx,
    volume: &str,
    (instance, device): &At,
) -> Result<(), Halt<OpsFault>> {
    let was = Tags::new().with(WAS_AT, format!("{instance} {device}"));
    tags(cloud, volume, &was).await?;
    let detached = cloud
        .put("ec2:DetachVolume", || {
            cloud.aws().ec2.detach_volume().volume_id(volume).send()
        })
        .await;
    match detached {
        Ok(_) => {}
        // Out already, or on its way: the wait below tells.
        Err(fault) if fault.code() == "IncorrectState" => {}
        Err(fault) => return Err(fault.into()),
    }
    until(cloud, cx, volume, |volume| {
        volume.state() == Some(&VolumeState::Available)
    })
    .await
}

async fn plug(
    cloud: &CloudCx,
    cx: &StageCx,
    volume: &str,
    (instance, device): &At,
) -> Result<(), Halt<OpsFault>> {
    let attached = cloud
        .write("ec2:AttachVolume", || {
            let call = cloud.aws().ec2.attach_volume();
            call.volume_id(volume)
                .instance_id(instance)
                .device(device)
                .send()
        })
        .await;
    match attached {
        Ok(_) | Err(Fault::Unknown { .. }) => {}
        Err(fault) if fault.code() == "VolumeInUse" => {}
        Err(fault) => return Err(fault.into()),
    }
    until(cloud, cx, volume, |volume| {
        volume.state() == Some(&VolumeState::InUse)
    })
    .await
}

async fn tags(cx: &CloudCx, id: &str, add: &Tags) -> Result<(), Fault> {
    let list = sdk(add);
    cx.put("ec2:CreateTags", || {
        let call = cx.aws().ec2.create_tags();
        call.resources(id).set_tags(Some(list.clone())).send()
    })
    .await?;
    Ok(())
}

async fn untag(cx: &CloudCx, id: &str, keys: &[&str]) -> Result<(), Fault> {
    let list: Vec<Tag> = keys
        .iter()
        .map(|key| Tag::builder().key(*key).build())
        .collect();
    cx.put("ec2:DeleteTags", || {
        let call = cx.aws().ec2.delete_tags();
        call.resources(id).set_tags(Some(list.clone())).send()
    })
    .await?;
    Ok(())
}
