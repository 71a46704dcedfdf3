//! Copies of snapshots in another region, under a key that lives there.
//!
//! What is encrypted with a key of one region is copied by encrypting it anew with one of the other. The keys that AWS
//! itself manages cannot be shared with anybody later, so a key of the site's own is made there once: found by its
//! alias, and by its tags while the alias is not there yet.

use std::time::Duration;

use aws_sdk_ec2::types::{Filter, ResourceType, Snapshot, Tag, TagSpecification};
use serde::{Deserialize, Serialize};

use super::{POLL, Patience, database, disks, rds_tags};
use crate::cloud::Fault;
use crate::engine::Halt;
use crate::ops::OpsFault;
use crate::ops::backup::{Away, Ground};
use crate::ops::point::{PointId, RegionCopy};
use crate::ops::runbook::StageCx;
use crate::resource::{CloudCx, POINT_TAG, SITE_TAG, Tags};

/// What a copy between regions usually takes.
pub const USUAL: Duration = Duration::from_mins(15);

/// The part of the site that the key there is, for its alias.
pub const KEY: &str = "recovery-copy";

/// What tells the key there from others of the site.
const KEY_TAG: &str = "gantry:key";
/// Which snapshot a copy is of.
const COPY_TAG: &str = "gantry:copy-of";

/// How long a listing by tags may lag behind.
const LAG: Duration = Duration::from_mins(1);

/// The key in the other region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyThere {
    pub region: String,
    pub arn: String,
}

/// Finds the key in the other region, or makes it: first the key, then its alias.
pub async fn key(
    stage: &StageCx,
    ground: &Ground,
    away: &Away,
) -> Result<KeyThere, Halt<OpsFault>> {
    let alias = ground.names.key_alias(KEY);
    let cx = &away.cx;
    if let Some(arn) = by_alias(cx, &alias).await? {
        return Ok(there(away, arn));
    }
    let mut doubt = stage.again;
    let arn = loop {
        if let Some(arn) = by_tags(cx).await? {
            break arn;
        }
        if doubt {
            stage.waiting("whether the last attempt made a key");
            stage.pause(LAG).await?;
            doubt = false;
            continue;
        }
        match make(ground, cx).await {
            Ok(arn) => break arn,
            Err(Fault::Unknown { .. }) => doubt = true,
            Err(fault) => return Err(fault.into()),
        }
    };
    let named = cx
        .put("kms:CreateAlias", || {
            let call = cx.aws().kms.create_alias();
            call.alias_name(&alias).target_key_id(&arn).send()
        })
        .await;
    match named {
        Err(fault) if !fault.is_exists() => Err(fault.into()),
        _ => Ok(there(away, arn)),
    }
}

fn there(away: &Away, arn: String) -> KeyThere {
    KeyThere {
        region: away.region.to_string(),
        arn,
    }
}

async fn by_alias(cx: &CloudCx, alias: &str) -> Result<Option<String>, Fault> {
    let asked = cx
        .read("kms:DescribeKey", || {
            cx.aws().kms.describe_key().key_id(alias).send()
        })
        .await;
    match asked {
        Ok(answer) => Ok(answer
            .key_metadata
            .filter(aws_sdk_kms::types::KeyMetadata::enabled)
            .and_then(|key| key.arn)),
        Err(fault) if fault.is_gone() => Ok(None),
        Err(fault) => Err(fault),
    }
}

async fn by_tags(cx: &CloudCx) -> Result<Option<String>, Fault> {
    use aws_sdk_resourcegroupstagging::types::TagFilter;
    let filter = |key: &str, value: &str| TagFilter::builder().key(key).values(value).build();
    let filters = vec![filter(SITE_TAG, cx.site()), filter(KEY_TAG, KEY)];
    let found = cx
        .read("tag:GetResources", || {
            cx.aws()
                .tagging
                .get_resources()
                .set_tag_filters(Some(filters.clone()))
                .resources_per_page(100)
                .into_paginator()
                .items()
                .send()
                .collect::<Result<Vec<_>, _>>()
        })
        .await?;
    let mut keys: Vec<String> = found
        .into_iter()
        .filter_map(|found| found.resource_arn)
        .filter(|arn| arn.contains(":kms:"))
        .collect();
    keys.sort();
    for arn in keys {
        // One that waits for its deletion is listed like the others.
        if let Some(arn) = by_alias(cx, &arn).await? {
            return Ok(Some(arn));
        }
    }
    Ok(None)
}

async fn make(ground: &Ground, cx: &CloudCx) -> Result<String, Fault> {
    let tags = ground
        .tags("recovery copies")
        .with(KEY_TAG, KEY)
        .0
        .into_iter()
        .map(|(key, value)| {
            aws_sdk_kms::types::Tag::builder()
                .tag_key(key)
                .tag_value(value)
                .build()
                .map_err(|error| Fault::internal(error.to_string()))
        })
        .collect::<Result<Vec<_>, _>>()?;
    let made = cx
        .write("kms:CreateKey", || {
            cx.aws()
                .kms
                .create_key()
                .description(format!(
                    "Copies of the snapshots of the GitLab site {} in {}",
                    cx.site(),
                    ground.cx.scope().region
                ))
                .set_tags(Some(tags.clone()))
                .send()
        })
        .await?;
    made.key_metadata
        .and_then(|key| key.arn)
        .ok_or_else(|| Fault::internal("KMS names no key"))
}

/// Copies a database snapshot that is available, and waits for the copy. It has the original's name.
pub async fn of_database(
    stage: &StageCx,
    ground: &Ground,
    away: &Away,
    key: &KeyThere,
    snapshot: &database::Begun,
    tags: &Tags,
) -> Result<RegionCopy, Halt<OpsFault>> {
    let patience = Patience::new(stage, "the other region is busy");
    while let Err(fault) = copy_database(ground, away, key, snapshot, tags).await {
        patience.with(fault).await?;
    }
    let copy = database::available(stage, &away.cx, &snapshot.snapshot).await?;
    Ok(RegionCopy {
        region: key.region.clone(),
        id: copy.db_snapshot_arn().unwrap_or_default().to_owned(),
    })
}

/// Begins the copy, or finds it begun.
async fn copy_database(
    ground: &Ground,
    away: &Away,
    key: &KeyThere,
    snapshot: &database::Begun,
    tags: &Tags,
) -> Result<(), Fault> {
    let cx = &away.cx;
    let name = snapshot.snapshot.as_str();
    if database::find(cx, name).await?.is_some() {
        return Ok(());
    }
    let region = away.region.to_string();
    let presigner = &ground.cx.aws().presigner;
    let parameters = [
        ("Action", "CopyDBSnapshot"),
        ("Version", "2014-10-31"),
        ("SourceDBSnapshotIdentifier", snapshot.arn.as_str()),
        ("TargetDBSnapshotIdentifier", name),
        ("KmsKeyId", key.arn.as_str()),
        ("DestinationRegion", region.as_str()),
    ];
    let url = presigner.url("rds", &parameters, cx.clock().now()).await?;
    let copied = cx
        .write("rds:CopyDBSnapshot", || {
            cx.aws()
                .rds
                .copy_db_snapshot()
                .source_db_snapshot_identifier(&snapshot.arn)
                .target_db_snapshot_identifier(name)
                .kms_key_id(&key.arn)
                .pre_signed_url(&url)
                .set_tags(Some(rds_tags(tags)))
                .send()
        })
        .await;
    match copied {
        Ok(_) | Err(Fault::Exists { .. }) => Ok(()),
        // Looked for, and asked for again only where it is not there.
        Err(fault @ Fault::Unknown { .. }) => match database::find(cx, name).await? {
            Some(_) => Ok(()),
            None => Err(fault),
        },
        Err(fault) => Err(fault),
    }
}

/// Copies disk snapshots that are complete, and waits for the copies. In the order of `snapshots`.
pub async fn of_disks(
    stage: &StageCx,
    ground: &Ground,
    away: &Away,
    key: &KeyThere,
    point: &PointId,
    snapshots: &[disks::Begun],
) -> Result<Vec<RegionCopy>, Halt<OpsFault>> {
    let mut copies = Vec::with_capacity(snapshots.len());
    for snapshot in snapshots {
        let id = begin_disk(stage, ground, away, key, point, snapshot).await?;
        copies.push(RegionCopy {
            region: key.region.clone(),
            id,
        });
    }
    let ids: Vec<String> = copies.iter().map(|copy| copy.id.clone()).collect();
    disks::completed(stage, &away.cx, &ids).await?;
    Ok(copies)
}

async fn begin_disk(
    stage: &StageCx,
    ground: &Ground,
    away: &Away,
    key: &KeyThere,
    point: &PointId,
    snapshot: &disks::Begun,
) -> Result<String, Halt<OpsFault>> {
    let mut doubt = stage.again;
    loop {
        if let Some(id) = copy_of(&away.cx, point, &snapshot.snapshot).await? {
            return Ok(id);
        }
        if doubt {
            stage.waiting("whether the last attempt came through");
            stage.pause(LAG).await?;
            doubt = false;
            continue;
        }
        match copy_disk(ground, away, key, point, snapshot).await {
            Ok(id) => return Ok(id),
            Err(Fault::Unknown { .. }) => doubt = true,
            // So many copies at once, and no more: the next poll asks again.
            Err(Fault::Quota { code, .. }) if code == "ResourceLimitExceeded" => {
                stage.waiting("other copies");
                stage.pause(POLL).await?;
            }
            Err(fault) => return Err(fault.into()),
        }
    }
}

async fn copy_of(cx: &CloudCx, point: &PointId, original: &str) -> Result<Option<String>, Fault> {
    let filter = |name: String, value: &str| Filter::builder().name(name).values(value).build();
    let filters = vec![
        filter(format!("tag:{SITE_TAG}"), cx.site()),
        filter(format!("tag:{POINT_TAG}"), point.as_str()),
        filter(format!("tag:{COPY_TAG}"), original),
    ];
    let found = disks::list(cx, filters, vec![]).await?;
    let mut ids: Vec<String> = found
        .iter()
        .filter_map(Snapshot::snapshot_id)
        .map(str::to_owned)
        .collect();
    ids.sort();
    Ok(ids.into_iter().next())
}

async fn copy_disk(
    ground: &Ground,
    away: &Away,
    key: &KeyThere,
    point: &PointId,
    snapshot: &disks::Begun,
) -> Result<String, Fault> {
    let cx = &away.cx;
    let here = ground.cx.scope().region.clone();
    let region = away.region.to_string();
    let presigner = &ground.cx.aws().presigner;
    let parameters = [
        ("Action", "CopySnapshot"),
        ("Version", "2016-11-15"),
        ("SourceRegion", here.as_str()),
        ("SourceSnapshotId", snapshot.snapshot.as_str()),
        ("DestinationRegion", region.as_str()),
        ("Encrypted", "true"),
        ("KmsKeyId", key.arn.as_str()),
    ];
    let url = presigner.url("ec2", &parameters, cx.clock().now()).await?;
    let tags: Vec<Tag> = ground
        .point_tags(point, &snapshot.disk.node)
        .with(super::NODE_TAG, &snapshot.disk.node)
        .with(COPY_TAG, &snapshot.snapshot)
        .iter()
        .map(|(key, value)| Tag::builder().key(key).value(value).build())
        .collect();
    let copied = cx
        .write("ec2:CopySnapshot", || {
            cx.aws()
                .ec2
                .copy_snapshot()
                .description(format!("{point} of {}", snapshot.disk.node))
                .source_region(&here)
                .source_snapshot_id(&snapshot.snapshot)
                .destination_region(&region)
                .encrypted(true)
                .kms_key_id(&key.arn)
                .presigned_url(&url)
                .tag_specifications(
                    TagSpecification::builder()
                        .resource_type(ResourceType::Snapshot)
                        .set_tags(Some(tags.clone()))
                        .build(),
                )
                .send()
        })
        .await?;
    copied
        .snapshot_id
        .ok_or_else(|| Fault::internal("EC2 names no copy"))
}
