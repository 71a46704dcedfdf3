//! A data volume plugged into its node.
//!
//! Taking it out stops the node first: a volume pulled from a running node loses what was not written yet.

use aws_sdk_ec2::types::{
    EbsInstanceBlockDeviceSpecification, InstanceBlockDeviceMappingSpecification,
    InstanceStateName, Volume as LiveVolume, VolumeAttachmentState,
};
use serde::{Deserialize, Serialize};

use super::volume::{address_of, by_id, of_site};
use super::{Instance, Volume, remove, text};
use crate::cloud::Fault;
use crate::resource::{
    Address, ApplyCx, Change, CloudCx, Created, Diff, Found, Kind, PlanCx, Readiness, Ref, Replay,
    Resource,
};

#[derive(Debug, Clone, Serialize)]
pub struct VolumeAttachment {
    pub volume: Ref<Volume>,
    pub instance: Ref<Instance>,
    /// `/dev/sdf`; the node sees an NVMe device whose serial number is the volume's id.
    pub device: String,
}

/// It has no id of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeAttachmentId {
    pub volume: String,
    pub instance: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeAttachmentOutput {}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeAttachmentLive {
    pub volume: String,
    pub instance: String,
    pub device: String,
    /// Whether the volume, and all that is on it, goes when the instance is terminated.
    pub ends_with_instance: bool,
}

impl Resource for VolumeAttachment {
    const KIND: Kind = Kind::new("ec2/volume_attachment");
    // A volume has one place: a second attach is refused, and the survey then shows where it is.
    const REPLAY: Replay = Replay::TagLookup;
    const ACTIONS: &'static [&'static str] = &[
        "ec2:AttachVolume",
        "ec2:DescribeVolumes",
        "ec2:ModifyInstanceAttribute",
        "ec2:StopInstances",
        "ec2:DetachVolume",
    ];
    const USUAL_SECONDS: u64 = 3;
    const DELETE_TAKES_TIME: bool = true;

    type Id = VolumeAttachmentId;
    type Output = VolumeAttachmentOutput;
    type Live = VolumeAttachmentLive;

    fn refs(&self) -> Vec<&Address> {
        vec![self.volume.address(), self.instance.address()]
    }

    fn diff(&self, live: &VolumeAttachmentLive, cx: &PlanCx<'_>) -> Diff {
        Diff::new()
            .fixed("volume", cx.want(&self.volume, |v| v.id), &live.volume)
            .fixed(
                "instance",
                cx.want(&self.instance, |i| i.id),
                &live.instance,
            )
            .fixed("device", &self.device, &live.device)
            // Attaching leaves it off; only a change by hand switches it on.
            .field("ends_with_instance", false, live.ends_with_instance)
    }

    async fn survey(cx: &CloudCx) -> Result<Vec<Found<Self>>, Fault> {
        Ok(of_site(cx)
            .await?
            .iter()
            .filter_map(|v| found(v, cx.site()))
            .collect())
    }

    async fn poll(
        ids: &[VolumeAttachmentId],
        cx: &CloudCx,
    ) -> Result<Vec<Readiness<VolumeAttachmentOutput>>, Fault> {
        let volumes: Vec<String> = ids.iter().map(|id| id.volume.clone()).collect();
        let listed = by_id(&volumes, cx).await?;
        Ok(ids
            .iter()
            .map(|id| {
                listed
                    .iter()
                    .filter(|v| v.volume_id() == Some(&id.volume))
                    .find_map(|v| attachment(v, Some(&id.instance)))
                    .map_or(Readiness::Absent, |(_, state)| state)
            })
            .collect())
    }

    async fn create(&self, cx: &ApplyCx<'_>) -> Result<Created<Self>, Fault> {
        let id = VolumeAttachmentId {
            volume: cx.get(&self.volume)?.id,
            instance: cx.get(&self.instance)?.id,
        };
        cx.cloud
            .write("ec2:AttachVolume", || {
                cx.aws()
                    .ec2
                    .attach_volume()
                    .volume_id(&id.volume)
                    .instance_id(&id.instance)
                    .device(&self.device)
                    .send()
            })
            .await?;
        Ok(Created::Waiting(id))
    }

    async fn configure(
        &self,
        id: &VolumeAttachmentId,
        change: Change<'_>,
        cx: &ApplyCx<'_>,
    ) -> Result<(), Fault> {
        let Change::Fields(diff) = change else {
            return Ok(());
        };
        if !diff.has("ends_with_instance") {
            return Ok(());
        }
        let volume = EbsInstanceBlockDeviceSpecification::builder()
            .volume_id(&id.volume)
            .delete_on_termination(false)
            .build();
        let mapping = InstanceBlockDeviceMappingSpecification::builder()
            .device_name(&self.device)
            .ebs(volume)
            .build();
        cx.cloud
            .put("ec2:ModifyInstanceAttribute", || {
                cx.aws()
                    .ec2
                    .modify_instance_attribute()
                    .instance_id(&id.instance)
                    .block_device_mappings(mapping.clone())
                    .send()
            })
            .await?;
        Ok(())
    }

    async fn delete(id: &VolumeAttachmentId, cx: &CloudCx) -> Result<(), Fault> {
        let states = Self::poll(std::slice::from_ref(id), cx).await?;
        match states.first() {
            None | Some(Readiness::Absent) => return Ok(()),
            Some(Readiness::Pending(state)) if state == "detaching" => return Ok(()),
            Some(_) => {}
        }
        stop_first(&id.instance, cx).await?;
        remove(cx.put("ec2:DetachVolume", || {
            cx.aws()
                .ec2
                .detach_volume()
                .volume_id(&id.volume)
                .instance_id(&id.instance)
                .send()
        }))
        .await
    }
}

/// Stops the node; [`Fault::Later`] until it has stopped.
async fn stop_first(instance: &str, cx: &CloudCx) -> Result<(), Fault> {
    const CALL: &str = "ec2:StopInstances";
    let answer = cx
        .put(CALL, || {
            cx.aws().ec2.stop_instances().instance_ids(instance).send()
        })
        .await;
    let changes = match answer {
        Ok(answer) => answer.stopping_instances.unwrap_or_default(),
        Err(fault) if fault.is_gone() => return Ok(()),
        // Terminated, and its volumes with it let go.
        Err(fault) if fault.code() == "IncorrectInstanceState" => return Ok(()),
        Err(fault) => return Err(fault),
    };
    let state = changes
        .first()
        .and_then(|c| c.current_state()?.name().cloned());
    match state {
        Some(InstanceStateName::Stopped | InstanceStateName::Terminated) | None => Ok(()),
        Some(state) => Err(Fault::Later {
            call: CALL.into(),
            code: state.as_str().into(),
            message: format!(
                "{instance} is {}, its volume comes out once it has stopped",
                state.as_str()
            ),
        }),
    }
}

/// Where the volume is plugged in (into `instance`, if one is named), and how far that is.
fn attachment<'v>(
    volume: &'v LiveVolume,
    instance: Option<&str>,
) -> Option<(
    &'v aws_sdk_ec2::types::VolumeAttachment,
    Readiness<VolumeAttachmentOutput>,
)> {
    volume
        .attachments()
        .iter()
        .filter(|a| instance.is_none_or(|i| a.instance_id() == Some(i)))
        .find_map(|a| {
            let readiness = match a.state() {
                Some(VolumeAttachmentState::Detached) => return None,
                Some(VolumeAttachmentState::Attached) | None => {
                    Readiness::Ready(VolumeAttachmentOutput {})
                }
                Some(state) => Readiness::Pending(state.as_str().to_owned().into()),
            };
            Some((a, readiness))
        })
}

fn found(volume: &LiveVolume, site: &str) -> Option<Found<VolumeAttachment>> {
    let address = address_of(volume, site)?;
    let (attached, readiness) = attachment(volume, None)?;
    if attached.state() == Some(&VolumeAttachmentState::Detaching) {
        return None;
    }
    let id = VolumeAttachmentId {
        volume: text(volume.volume_id()),
        instance: text(attached.instance_id()),
    };
    Some(Found {
        address: Address::new(VolumeAttachment::KIND, address.name()),
        live: VolumeAttachmentLive {
            volume: id.volume.clone(),
            instance: id.instance.clone(),
            device: text(attached.device()),
            ends_with_instance: attached.delete_on_termination() == Some(true),
        },
        id,
        readiness,
    })
}
