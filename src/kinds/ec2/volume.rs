//! A data volume: Git repositories, or everything on a single box.
//!
//! It outlives its node. Larger, faster or of another type in place; smaller only as a new volume. AWS takes
//! the next change of a volume only six hours after the last one.

use aws_sdk_ec2::types::{ResourceType, Volume as Live, VolumeState, VolumeType as SdkVolumeType};
use serde::{Deserialize, Serialize};

use super::machine::{GP3_THROUGHPUT, number, sdk_size};
use super::{by, ours, remove, settle_tags, tagged, tags_of, text};
use crate::cloud::Fault;
use crate::kinds::kms::Key;
use crate::resource::{
    Address, ApplyCx, Bears, Change, CloudCx, Created, Diff, Found, Kind, PlanCx, ROLE_TAG,
    Readiness, Ref, Replay, Resource, Tags,
};

#[derive(Debug, Clone, Serialize)]
pub struct Volume {
    pub zone: String,
    pub size_gib: u32,
    pub volume_type: VolumeType,
    pub iops: u32,
    /// MiB/s, gp3 alone; 125 when not said.
    pub throughput: Option<u32>,
    pub key: Ref<Key>,
    /// What the node it belongs to runs.
    pub role: String,
    /// Whose snapshot policy saves it, as the tag [`SNAPSHOTS_TAG`]: root volumes share every other tag with it.
    pub snapshots: Option<String>,
}

/// The tag that Data Lifecycle Manager picks volumes by. It takes volumes with any of its tags, so it needs one
/// that says enough alone.
pub const SNAPSHOTS_TAG: &str = "gantry:snapshots";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VolumeType {
    Gp3,
    Io2,
}

impl VolumeType {
    fn sdk(self) -> SdkVolumeType {
        match self {
            Self::Gp3 => SdkVolumeType::Gp3,
            Self::Io2 => SdkVolumeType::Io2,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeOutput {
    pub id: String,
    pub zone: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeLive {
    pub zone: String,
    pub size_gib: u32,
    pub volume_type: String,
    pub iops: u32,
    pub throughput: Option<u32>,
    pub key: String,
    pub tags: Tags,
}

impl Volume {
    fn extra_tags(&self) -> Tags {
        let tags = Tags::new().with(ROLE_TAG, &self.role);
        match &self.snapshots {
            Some(whose) => tags.with(SNAPSHOTS_TAG, whose),
            None => tags,
        }
    }

    /// Only gp3 volumes have a throughput of their own.
    fn throughput(&self) -> Option<u32> {
        match self.volume_type {
            VolumeType::Gp3 => Some(self.throughput.unwrap_or(GP3_THROUGHPUT)),
            VolumeType::Io2 => None,
        }
    }
}

impl Resource for Volume {
    const KIND: Kind = Kind::new("ec2/volume");
    const REPLAY: Replay = Replay::Token;
    const BEARS: Bears = Bears::Data;
    const ACTIONS: &'static [&'static str] = &[
        "ec2:CreateVolume",
        "ec2:DescribeVolumes",
        "ec2:ModifyVolume",
        "ec2:DeleteVolume",
        "ec2:CreateTags",
        "ec2:DeleteTags",
        // EBS uses the key in the caller's name
        // (<https://docs.aws.amazon.com/ebs/latest/userguide/ebs-encryption-requirements.html>).
        "kms:CreateGrant",
        "kms:Decrypt",
        "kms:DescribeKey",
        "kms:GenerateDataKeyWithoutPlaintext",
        "kms:ReEncryptFrom",
        "kms:ReEncryptTo",
    ];
    const USUAL_SECONDS: u64 = 4;
    const DELETE_TAKES_TIME: bool = true;

    type Id = String;
    type Output = VolumeOutput;
    type Live = VolumeLive;

    fn refs(&self) -> Vec<&Address> {
        vec![self.key.address()]
    }

    fn diff(&self, live: &VolumeLive, cx: &PlanCx<'_>) -> Diff {
        let diff = Diff::new()
            .fixed("zone", &self.zone, &live.zone)
            .fixed("key", cx.want(&self.key, |k| k.arn), &live.key)
            .field("volume_type", self.volume_type, &live.volume_type)
            .field("iops", self.iops, live.iops)
            .field("throughput", self.throughput(), live.throughput)
            .field("tags", cx.tags(&self.extra_tags()), &live.tags);
        // EBS volumes grow and never shrink.
        if self.size_gib < live.size_gib {
            diff.fixed("size_gib", self.size_gib, live.size_gib)
        } else {
            diff.field("size_gib", self.size_gib, live.size_gib)
        }
    }

    async fn survey(cx: &CloudCx) -> Result<Vec<Found<Self>>, Fault> {
        let listed = of_site(cx).await?;
        Ok(listed.iter().filter_map(|v| found(v, cx.site())).collect())
    }

    async fn poll(ids: &[String], cx: &CloudCx) -> Result<Vec<Readiness<VolumeOutput>>, Fault> {
        let listed = by_id(ids, cx).await?;
        Ok(ids
            .iter()
            .map(|id| {
                listed
                    .iter()
                    .find(|v| v.volume_id() == Some(id))
                    .map_or(Readiness::Absent, readiness)
            })
            .collect())
    }

    async fn create(&self, cx: &ApplyCx<'_>) -> Result<Created<Self>, Fault> {
        let key = cx.get(&self.key)?.arn;
        let answer = cx
            .cloud
            .write("ec2:CreateVolume", || {
                cx.aws()
                    .ec2
                    .create_volume()
                    .client_token(cx.token)
                    .availability_zone(&self.zone)
                    .size(sdk_size(self.size_gib))
                    .volume_type(self.volume_type.sdk())
                    .iops(sdk_size(self.iops))
                    .set_throughput(self.throughput().map(sdk_size))
                    .encrypted(true)
                    .kms_key_id(&key)
                    .tag_specifications(tagged(ResourceType::Volume, &cx.tags(&self.extra_tags())))
                    .send()
            })
            .await?;
        Ok(Created::Waiting(text(answer.volume_id())))
    }

    async fn configure(
        &self,
        id: &String,
        change: Change<'_>,
        cx: &ApplyCx<'_>,
    ) -> Result<(), Fault> {
        let Change::Fields(diff) = change else {
            return Ok(());
        };
        if diff.has_any(&["size_gib", "volume_type", "iops", "throughput"]) {
            cx.cloud
                .put("ec2:ModifyVolume", || {
                    cx.aws()
                        .ec2
                        .modify_volume()
                        .volume_id(id)
                        .size(sdk_size(self.size_gib))
                        .volume_type(self.volume_type.sdk())
                        .iops(sdk_size(self.iops))
                        .set_throughput(self.throughput().map(sdk_size))
                        .send()
                })
                .await?;
        }
        settle_tags(id, change, &self.extra_tags(), cx).await
    }

    async fn delete(id: &String, cx: &CloudCx) -> Result<(), Fault> {
        remove(cx.put("ec2:DeleteVolume", || {
            cx.aws().ec2.delete_volume().volume_id(id).send()
        }))
        .await
    }
}

/// Every volume of the site, root volumes included.
pub(super) async fn of_site(cx: &CloudCx) -> Result<Vec<Live>, Fault> {
    cx.once("volumes", || ask_of_site(cx)).await
}

async fn ask_of_site(cx: &CloudCx) -> Result<Vec<Live>, Fault> {
    cx.read("ec2:DescribeVolumes", || {
        cx.aws()
            .ec2
            .describe_volumes()
            .filters(cx.site_filter())
            .into_paginator()
            .items()
            .send()
            .collect::<Result<Vec<_>, _>>()
    })
    .await
}

/// These volumes, those of them that AWS knows.
pub(super) async fn by_id(ids: &[String], cx: &CloudCx) -> Result<Vec<Live>, Fault> {
    cx.read("ec2:DescribeVolumes", || {
        cx.aws()
            .ec2
            .describe_volumes()
            .filters(by("volume-id", ids))
            .into_paginator()
            .items()
            .send()
            .collect::<Result<Vec<_>, _>>()
    })
    .await
}

/// The address of a data volume of ours that is not on its way out.
pub(super) fn address_of(volume: &Live, site: &str) -> Option<Address> {
    let going = matches!(
        volume.state(),
        Some(VolumeState::Deleting | VolumeState::Deleted)
    );
    ours::<Volume>(volume.tags(), site).filter(|_| !going)
}

fn found(volume: &Live, site: &str) -> Option<Found<Volume>> {
    Some(Found {
        address: address_of(volume, site)?,
        id: text(volume.volume_id()),
        live: VolumeLive {
            zone: text(volume.availability_zone()),
            size_gib: number(volume.size()).unwrap_or_default(),
            volume_type: text(volume.volume_type().map(SdkVolumeType::as_str)),
            iops: number(volume.iops()).unwrap_or_default(),
            throughput: throughput(volume),
            key: text(volume.kms_key_id()),
            tags: tags_of(volume.tags()),
        },
        readiness: readiness(volume),
    })
}

/// What a gp3 volume moves; a listing that does not say means what every gp3 volume has.
pub(super) fn throughput(volume: &Live) -> Option<u32> {
    match volume.volume_type() {
        Some(SdkVolumeType::Gp3) => Some(number(volume.throughput()).unwrap_or(GP3_THROUGHPUT)),
        _ => None,
    }
}

fn readiness(volume: &Live) -> Readiness<VolumeOutput> {
    match volume.state().map(VolumeState::as_str) {
        Some("creating") => Readiness::Pending("creating".into()),
        Some("deleting") => Readiness::Pending("deleting".into()),
        Some("deleted") => Readiness::Absent,
        Some("error") => {
            Readiness::Broken("error: AWS could not make the volume; is its key usable?".into())
        }
        _ => Readiness::Ready(VolumeOutput {
            id: text(volume.volume_id()),
            zone: text(volume.availability_zone()),
        }),
    }
}
