//! One fixed node: Gitaly, Praefect, Sidekiq, the bastion, a single box.
//!
//! Its image and user data say how it is born, not how it stays: a newer image or other user data is no
//! reason to touch a running node, so neither is compared; the tag `gantry:user-data` remembers what it was
//! born with. AWS shows termination protection only one instance at a time, so the tag `gantry:protection`
//! tells surveys which few to ask. Another instance type is set in place: stop, change, start.

use std::time::Duration;

use aws_sdk_ec2::types::{
    AttributeBooleanValue, AttributeValue, Filter, HttpTokensState,
    IamInstanceProfileSpecification, Instance as Live, InstanceAttributeName,
    InstanceMetadataOptionsRequest, InstanceNetworkInterfaceSpecification, InstanceStateName,
    ResourceType, Volume as LiveVolume,
};
use serde::{Deserialize, Serialize};

use super::machine::{
    GP3_IOPS, GP3_THROUGHPUT, HOP_LIMIT, METADATA, ROOT_DEVICE, RootVolume, companion_tags, digest,
    encoded, metadata, number, ready, sdk_size, wanted,
};
use super::{SecurityGroup, Subnet, by, ours, remove, settle_tags, tagged, tags_of, text, volume};
use crate::cloud::Fault;
use crate::kinds::Protection;
use crate::kinds::iam::InstanceProfile;
use crate::resource::{
    Address, ApplyCx, Change, CloudCx, Created, Diff, Found, Kind, PlanCx, ROLE_TAG, Readiness,
    Ref, Replay, Resource, Tags,
};

#[derive(Debug, Clone, Serialize)]
pub struct Instance {
    pub subnet: Ref<Subnet>,
    pub image: String,
    pub instance_type: String,
    pub profile: Ref<InstanceProfile>,
    pub groups: Vec<Ref<SecurityGroup>>,
    pub root: RootVolume,
    pub user_data: String,
    pub role: String,
    /// Against termination by hand.
    pub protection: Protection,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceOutput {
    pub id: String,
    pub private_ip: String,
    pub zone: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceLive {
    pub subnet: String,
    pub instance_type: String,
    pub profile: String,
    pub groups: Vec<String>,
    pub metadata: String,
    pub running: bool,
    pub protection: Protection,
    /// Absent when the root volume lost its tags.
    pub root: Option<RootLive>,
    pub tags: Tags,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootLive {
    pub size_gib: u32,
    pub iops: u32,
    pub throughput: u32,
    pub key: String,
}

/// What the node was born with.
pub const USER_DATA_TAG: &str = "gantry:user-data";
/// What became of the node's last boot: `ready 0f3a…`, `waiting secrets`, `failed package`. The node writes it.
pub const BOOT_TAG: &str = "gantry:boot";
/// Whether termination protection was asked for.
pub const PROTECTION_TAG: &str = "gantry:protection";

/// How long a node may take to stop or start, and how often to look.
const PATIENCE: Duration = Duration::from_mins(10);
const PAUSE: Duration = Duration::from_secs(5);

impl Instance {
    fn extra_tags(&self) -> Tags {
        let protection = match self.protection {
            Protection::On => "on",
            Protection::Off => "off",
        };
        Tags::new()
            .with(ROLE_TAG, &self.role)
            .with(USER_DATA_TAG, digest(&self.user_data))
            .with(PROTECTION_TAG, protection)
    }
}

/// The wanted tags, with the memory of its birth as the node has it.
fn keeping_birth(mut want: Tags, born: Option<&str>) -> Tags {
    match born {
        Some(born) => want.with(USER_DATA_TAG, born),
        None => {
            want.0.remove(USER_DATA_TAG);
            want
        }
    }
}

impl Resource for Instance {
    const KIND: Kind = Kind::new("ec2/instance");
    const REPLAY: Replay = Replay::Token;
    const ACTIONS: &'static [&'static str] = &[
        "ec2:RunInstances",
        "ec2:DescribeInstances",
        "ec2:DescribeInstanceAttribute",
        "ec2:DescribeVolumes",
        "ec2:ModifyInstanceAttribute",
        "ec2:ModifyInstanceMetadataOptions",
        "ec2:DescribeIamInstanceProfileAssociations",
        "ec2:AssociateIamInstanceProfile",
        "ec2:ReplaceIamInstanceProfileAssociation",
        "ec2:ModifyVolume",
        "ec2:StopInstances",
        "ec2:StartInstances",
        "ec2:TerminateInstances",
        "ec2:CreateTags",
        "ec2:DeleteTags",
        "iam:PassRole",
        "kms:CreateGrant",
        "kms:DescribeKey",
        "kms:GenerateDataKeyWithoutPlaintext",
    ];
    const USUAL_SECONDS: u64 = 25;
    const DELETE_TAKES_TIME: bool = true;

    type Id = String;
    type Output = InstanceOutput;
    type Live = InstanceLive;

    fn refs(&self) -> Vec<&Address> {
        let mut refs = vec![
            self.subnet.address(),
            self.profile.address(),
            self.root.key.address(),
        ];
        refs.extend(self.groups.iter().map(Ref::address));
        refs
    }

    fn diff(&self, live: &InstanceLive, cx: &PlanCx<'_>) -> Diff {
        let tags = keeping_birth(cx.tags(&self.extra_tags()), live.tags.get(USER_DATA_TAG));
        let diff = Diff::new()
            .fixed("subnet", cx.want(&self.subnet, |s| s.id), &live.subnet)
            .field("instance_type", &self.instance_type, &live.instance_type)
            .field("profile", cx.want(&self.profile, |p| p.arn), &live.profile)
            .field("groups", wanted(&self.groups, cx, |g| g.id), &live.groups)
            .field("metadata", METADATA, &live.metadata)
            .field("running", true, live.running)
            .field("protection", self.protection, live.protection)
            .field("tags", tags, &live.tags);
        let Some(root) = &live.root else {
            return diff;
        };
        let diff = diff
            .fixed("root_key", cx.want(&self.root.key, |k| k.arn), &root.key)
            .field("root_iops", self.root.iops.unwrap_or(GP3_IOPS), root.iops)
            .field(
                "root_throughput",
                self.root.throughput.unwrap_or(GP3_THROUGHPUT),
                root.throughput,
            );
        // EBS volumes grow and never shrink.
        if self.root.size_gib < root.size_gib {
            diff.fixed("root_size_gib", self.root.size_gib, root.size_gib)
        } else {
            diff.field("root_size_gib", self.root.size_gib, root.size_gib)
        }
    }

    /// Two listings: the instances, and the site's volumes for what their root volumes are like. And a question for
    /// each of the few that are to be protected.
    async fn survey(cx: &CloudCx) -> Result<Vec<Found<Self>>, Fault> {
        let listed = list(cx.site_filter(), cx).await?;
        let ours: Vec<(Address, Live)> = listed
            .into_iter()
            .filter_map(|i| Some((address_of(&i, cx.site())?, i)))
            .collect();
        if ours.is_empty() {
            return Ok(vec![]);
        }
        let volumes = volume::of_site(cx).await?;
        let mut all = Vec::new();
        for (address, instance) in ours {
            let protection = protection_of(&instance, cx).await?;
            all.push(found(address, &instance, protection, &volumes));
        }
        Ok(all)
    }

    async fn poll(ids: &[String], cx: &CloudCx) -> Result<Vec<Readiness<InstanceOutput>>, Fault> {
        let listed = list(by("instance-id", ids), cx).await?;
        Ok(ids
            .iter()
            .map(|id| {
                listed
                    .iter()
                    .find(|i| i.instance_id() == Some(id))
                    .map_or(Readiness::Absent, readiness)
            })
            .collect())
    }

    async fn create(&self, cx: &ApplyCx<'_>) -> Result<Created<Self>, Fault> {
        let tags = cx.tags(&self.extra_tags());
        let companions = companion_tags(&tags);
        let root = self.root.mapping(cx)?;
        let profile = IamInstanceProfileSpecification::builder()
            .name(cx.get(&self.profile)?.name)
            .build();
        let interface = InstanceNetworkInterfaceSpecification::builder()
            .device_index(0)
            .subnet_id(cx.get(&self.subnet)?.id)
            .set_groups(Some(ready(&self.groups, cx, |g| g.id)?))
            .associate_public_ip_address(false)
            .delete_on_termination(true)
            .build();
        let service = InstanceMetadataOptionsRequest::builder()
            .http_tokens(HttpTokensState::Required)
            .http_put_response_hop_limit(HOP_LIMIT)
            .build();
        let answer = cx
            .cloud
            .write("ec2:RunInstances", || {
                cx.aws()
                    .ec2
                    .run_instances()
                    .client_token(cx.token)
                    .min_count(1)
                    .max_count(1)
                    .image_id(&self.image)
                    .instance_type(self.instance_type.as_str().into())
                    .iam_instance_profile(profile.clone())
                    .network_interfaces(interface.clone())
                    .block_device_mappings(root.clone())
                    .metadata_options(service.clone())
                    .set_user_data(encoded(&self.user_data))
                    .disable_api_termination(self.protection.is_on())
                    .tag_specifications(tagged(ResourceType::Instance, &tags))
                    .tag_specifications(tagged(ResourceType::Volume, &companions))
                    .send()
            })
            .await?;
        let id = answer.instances().first().and_then(Live::instance_id);
        match id {
            Some(id) => Ok(Created::Waiting(id.to_owned())),
            None => Err(Fault::internal("RunInstances answered without an instance")),
        }
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
        // Before the tag that stands for it: a run that ends in between does it again.
        if diff.has("protection") {
            protect(id, self.protection.is_on(), cx.cloud).await?;
        }
        if diff.has("tags") {
            self.retag(id, change, cx).await?;
        }
        if diff.has("groups") {
            let groups = ready(&self.groups, cx, |g| g.id)?;
            cx.cloud
                .put("ec2:ModifyInstanceAttribute", || {
                    cx.aws()
                        .ec2
                        .modify_instance_attribute()
                        .instance_id(id)
                        .set_groups(Some(groups.clone()))
                        .send()
                })
                .await?;
        }
        if diff.has("metadata") {
            cx.cloud
                .put("ec2:ModifyInstanceMetadataOptions", || {
                    cx.aws()
                        .ec2
                        .modify_instance_metadata_options()
                        .instance_id(id)
                        .http_tokens(HttpTokensState::Required)
                        .http_put_response_hop_limit(HOP_LIMIT)
                        .send()
                })
                .await?;
        }
        if diff.has("profile") {
            self.set_profile(id, cx).await?;
        }
        if diff.has_any(&["root_size_gib", "root_iops", "root_throughput"]) {
            self.resize_root(id, cx).await?;
        }
        if diff.has("instance_type") {
            stop(id, cx.cloud).await?;
            cx.cloud
                .put("ec2:ModifyInstanceAttribute", || {
                    cx.aws()
                        .ec2
                        .modify_instance_attribute()
                        .instance_id(id)
                        .instance_type(
                            AttributeValue::builder()
                                .value(self.instance_type.as_str())
                                .build(),
                        )
                        .send()
                })
                .await?;
        }
        if diff.has_any(&["instance_type", "running"]) {
            start(id, cx.cloud).await?;
        }
        Ok(())
    }

    async fn delete(id: &String, cx: &CloudCx) -> Result<(), Fault> {
        match terminate(id, cx).await {
            Err(fault) if fault.code() == "OperationNotPermitted" => {
                protect(id, false, cx).await?;
                terminate(id, cx).await
            }
            other => other,
        }
    }
}

impl Instance {
    async fn retag(&self, id: &str, change: Change<'_>, cx: &ApplyCx<'_>) -> Result<(), Fault> {
        let Change::Fields(diff) = change else {
            return Ok(());
        };
        let have = diff
            .fields
            .iter()
            .find(|f| f.field == "tags")
            .map(|f| &f.have);
        let born = have.and_then(|h| h.get(USER_DATA_TAG)?.as_str());
        settle_tags(id, change, &keeping_birth(self.extra_tags(), born), cx).await
    }

    async fn set_profile(&self, id: &str, cx: &ApplyCx<'_>) -> Result<(), Fault> {
        let profile = IamInstanceProfileSpecification::builder()
            .name(cx.get(&self.profile)?.name)
            .build();
        let listed = cx
            .cloud
            .read("ec2:DescribeIamInstanceProfileAssociations", || {
                cx.aws()
                    .ec2
                    .describe_iam_instance_profile_associations()
                    .filters(by("instance-id", &[id]))
                    .filters(by("state", &["associated", "associating"]))
                    .send()
            })
            .await?;
        let association = listed
            .iam_instance_profile_associations()
            .first()
            .and_then(|a| a.association_id());
        if let Some(association) = association {
            cx.cloud
                .put("ec2:ReplaceIamInstanceProfileAssociation", || {
                    cx.aws()
                        .ec2
                        .replace_iam_instance_profile_association()
                        .association_id(association)
                        .iam_instance_profile(profile.clone())
                        .send()
                })
                .await?;
        } else {
            cx.cloud
                .put("ec2:AssociateIamInstanceProfile", || {
                    cx.aws()
                        .ec2
                        .associate_iam_instance_profile()
                        .instance_id(id)
                        .iam_instance_profile(profile.clone())
                        .send()
                })
                .await?;
        }
        Ok(())
    }

    async fn resize_root(&self, id: &str, cx: &ApplyCx<'_>) -> Result<(), Fault> {
        let listed = list(by("instance-id", &[id]), cx.cloud).await?;
        let Some(root) = listed.first().and_then(root_id) else {
            return Err(Fault::internal(format!("{id} has no root volume")));
        };
        cx.cloud
            .put("ec2:ModifyVolume", || {
                cx.aws()
                    .ec2
                    .modify_volume()
                    .volume_id(root)
                    .size(sdk_size(self.root.size_gib))
                    .iops(sdk_size(self.root.iops.unwrap_or(GP3_IOPS)))
                    .throughput(sdk_size(self.root.throughput.unwrap_or(GP3_THROUGHPUT)))
                    .send()
            })
            .await?;
        Ok(())
    }
}

async fn protect(id: &str, on: bool, cx: &CloudCx) -> Result<(), Fault> {
    cx.put("ec2:ModifyInstanceAttribute", || {
        cx.aws()
            .ec2
            .modify_instance_attribute()
            .instance_id(id)
            .disable_api_termination(AttributeBooleanValue::builder().value(on).build())
            .send()
    })
    .await?;
    Ok(())
}

/// Whether the node is protected; asked of those whose tag says that it was wanted.
async fn protection_of(instance: &Live, cx: &CloudCx) -> Result<Protection, Fault> {
    if tags_of(instance.tags()).get(PROTECTION_TAG) != Some("on") {
        return Ok(Protection::Off);
    }
    let asked = cx
        .read("ec2:DescribeInstanceAttribute", || {
            cx.aws()
                .ec2
                .describe_instance_attribute()
                .instance_id(text(instance.instance_id()))
                .attribute(InstanceAttributeName::DisableApiTermination)
                .send()
        })
        .await;
    let on = match asked {
        Ok(answer) => answer
            .disable_api_termination()
            .and_then(AttributeBooleanValue::value),
        // Gone since it was listed.
        Err(Fault::Gone { .. }) => None,
        Err(fault) => return Err(fault),
    };
    Ok(if on == Some(true) {
        Protection::On
    } else {
        Protection::Off
    })
}

async fn terminate(id: &str, cx: &CloudCx) -> Result<(), Fault> {
    remove(cx.put("ec2:TerminateInstances", || {
        cx.aws().ec2.terminate_instances().instance_ids(id).send()
    }))
    .await
}

async fn stop(id: &str, cx: &CloudCx) -> Result<(), Fault> {
    cx.put("ec2:StopInstances", || {
        cx.aws().ec2.stop_instances().instance_ids(id).send()
    })
    .await?;
    until(id, &InstanceStateName::Stopped, cx).await
}

async fn start(id: &str, cx: &CloudCx) -> Result<(), Fault> {
    // A node that is still stopping cannot be started.
    if state(id, cx).await? == Some(InstanceStateName::Stopping) {
        until(id, &InstanceStateName::Stopped, cx).await?;
    }
    cx.put("ec2:StartInstances", || {
        cx.aws().ec2.start_instances().instance_ids(id).send()
    })
    .await?;
    until(id, &InstanceStateName::Running, cx).await
}

async fn state(id: &str, cx: &CloudCx) -> Result<Option<InstanceStateName>, Fault> {
    let listed = list(by("instance-id", &[id]), cx).await?;
    Ok(listed.first().and_then(|i| i.state()?.name().cloned()))
}

/// Waits for a state in the middle of an update; the engine only waits for what was just made.
async fn until(id: &str, wanted: &InstanceStateName, cx: &CloudCx) -> Result<(), Fault> {
    let start = cx.clock().now();
    loop {
        let now = state(id, cx).await?;
        if now.as_ref() == Some(wanted) {
            return Ok(());
        }
        if cx.clock().since(start) > PATIENCE {
            let now = now.map_or("unknown".to_owned(), |s| s.as_str().to_owned());
            return Err(Fault::Later {
                call: "ec2:DescribeInstances".into(),
                message: format!("{id} is {now}, not yet {}", wanted.as_str()),
                code: now,
            });
        }
        cx.clock().sleep(PAUSE).await;
    }
}

async fn list(filter: Filter, cx: &CloudCx) -> Result<Vec<Live>, Fault> {
    let reservations = cx
        .read("ec2:DescribeInstances", || {
            cx.aws()
                .ec2
                .describe_instances()
                .filters(filter.clone())
                .into_paginator()
                .items()
                .send()
                .collect::<Result<Vec<_>, _>>()
        })
        .await?;
    Ok(reservations
        .into_iter()
        .flat_map(|r| r.instances.unwrap_or_default())
        .collect())
}

fn state_of(instance: &Live) -> Option<&InstanceStateName> {
    instance.state()?.name()
}

/// The address of a node of ours that is not on its way out. Nodes of Auto Scaling groups carry none.
fn address_of(instance: &Live, site: &str) -> Option<Address> {
    let going = matches!(
        state_of(instance),
        Some(InstanceStateName::ShuttingDown | InstanceStateName::Terminated)
    );
    ours::<Instance>(instance.tags(), site).filter(|_| !going)
}

fn root_id(instance: &Live) -> Option<&str> {
    instance
        .block_device_mappings()
        .iter()
        .find(|m| m.device_name() == Some(ROOT_DEVICE))?
        .ebs()?
        .volume_id()
}

/// What the node itself says is neither wanted nor drift.
fn without_reports(mut tags: Tags) -> Tags {
    tags.0.remove(BOOT_TAG);
    tags
}

fn found(
    address: Address,
    instance: &Live,
    protection: Protection,
    volumes: &[LiveVolume],
) -> Found<Instance> {
    let interface = instance.network_interfaces().first();
    let mut groups: Vec<String> = interface
        .map_or_else(|| instance.security_groups(), |i| i.groups())
        .iter()
        .filter_map(|g| g.group_id().map(Into::into))
        .collect();
    groups.sort();
    let options = instance.metadata_options();
    let root = root_id(instance)
        .and_then(|id| volumes.iter().find(|v| v.volume_id() == Some(id)))
        .map(|v| RootLive {
            size_gib: number(v.size()).unwrap_or_default(),
            iops: number(v.iops()).unwrap_or(GP3_IOPS),
            throughput: volume::throughput(v).unwrap_or(GP3_THROUGHPUT),
            key: text(v.kms_key_id()),
        });
    Found {
        address,
        id: text(instance.instance_id()),
        live: InstanceLive {
            subnet: text(instance.subnet_id()),
            instance_type: text(
                instance
                    .instance_type()
                    .map(aws_sdk_ec2::types::InstanceType::as_str),
            ),
            profile: text(instance.iam_instance_profile().and_then(|p| p.arn())),
            groups,
            metadata: metadata(
                options
                    .and_then(|o| o.http_tokens())
                    .map(HttpTokensState::as_str),
                options.and_then(|o| o.http_put_response_hop_limit()),
            ),
            running: matches!(
                state_of(instance),
                Some(InstanceStateName::Pending | InstanceStateName::Running)
            ),
            protection,
            root,
            tags: without_reports(tags_of(instance.tags())),
        },
        readiness: readiness(instance),
    }
}

fn readiness(instance: &Live) -> Readiness<InstanceOutput> {
    match state_of(instance) {
        Some(InstanceStateName::Pending) => Readiness::Pending("pending".into()),
        Some(InstanceStateName::ShuttingDown) => Readiness::Pending("shutting-down".into()),
        Some(InstanceStateName::Terminated) => ended(instance),
        // A stopped node keeps id, address and volumes; that it should run is a matter of `diff`.
        _ => Readiness::Ready(InstanceOutput {
            id: text(instance.instance_id()),
            private_ip: text(instance.private_ip_address()),
            zone: text(instance.placement().and_then(|p| p.availability_zone())),
        }),
    }
}

/// Terminated on request is gone; terminated because it could not start is a failure with a reason
/// (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_StateReason.html>).
fn ended(instance: &Live) -> Readiness<InstanceOutput> {
    let reason = instance.state_reason();
    match reason.and_then(|r| r.code()) {
        Some(
            code @ ("Client.InternalError"
            | "Client.InvalidSnapshot.NotFound"
            | "Client.VolumeLimitExceeded"
            | "Server.InternalError"
            | "Server.InsufficientInstanceCapacity"),
        ) => {
            let message = reason.and_then(|r| r.message()).unwrap_or_default();
            Readiness::Broken(format!("terminated: {code}: {message}").into())
        }
        _ => Readiness::Absent,
    }
}
