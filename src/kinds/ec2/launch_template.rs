//! How an Auto Scaling group makes its nodes.
//!
//! A template never changes: every change is a new version, made the default one, and the group's next node
//! is made from that.

use aws_sdk_ec2::types::{
    LaunchTemplate as Live, LaunchTemplateHttpTokensState,
    LaunchTemplateIamInstanceProfileSpecificationRequest,
    LaunchTemplateInstanceMetadataOptionsRequest,
    LaunchTemplateInstanceNetworkInterfaceSpecificationRequest,
    LaunchTemplateTagSpecificationRequest, LaunchTemplateVersion, RequestLaunchTemplateData,
    ResourceType, ResponseLaunchTemplateData, VolumeType,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::machine::{
    GP3_IOPS, GP3_THROUGHPUT, HOP_LIMIT, METADATA, RootVolume, companion_tags, decoded_digest,
    digest, encoded, metadata, number, ready, wanted,
};
use super::{SecurityGroup, ours, remove, sdk_tags, settle_tags, tagged, tags_of, text};
use crate::cloud::Fault;
use crate::kinds::iam::InstanceProfile;
use crate::resource::{
    Address, ApplyCx, Change, CloudCx, Created, Diff, Found, Kind, PlanCx, ROLE_TAG, Readiness,
    Ref, Replay, Resource, Tags,
};

#[derive(Debug, Clone, Serialize)]
pub struct LaunchTemplate {
    pub name: String,
    pub image: String,
    pub instance_type: String,
    pub profile: Ref<InstanceProfile>,
    pub groups: Vec<Ref<SecurityGroup>>,
    pub root: RootVolume,
    pub user_data: String,
    pub role: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchTemplateOutput {
    pub id: String,
    /// The default version.
    pub version: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchTemplateLive {
    pub name: String,
    pub image: String,
    pub instance_type: String,
    pub profile: String,
    pub groups: Vec<String>,
    /// Whether a node gets an address that the world can reach.
    pub public_address: bool,
    pub root_encrypted: bool,
    /// `gp3`.
    pub root_type: String,
    pub root_size_gib: u32,
    pub root_iops: u32,
    pub root_throughput: u32,
    pub root_key: String,
    pub user_data: String,
    pub metadata: String,
    /// What the nodes and their volumes are tagged with.
    pub node_tags: Tags,
    pub tags: Tags,
}

/// The fields that live in a version.
const VERSIONED: &[&str] = &[
    "image",
    "instance_type",
    "profile",
    "groups",
    "public_address",
    "root_encrypted",
    "root_type",
    "root_size_gib",
    "root_iops",
    "root_throughput",
    "root_key",
    "user_data",
    "metadata",
    "node_tags",
];

impl LaunchTemplate {
    fn extra_tags(&self) -> Tags {
        Tags::new().with(ROLE_TAG, &self.role)
    }

    fn data(&self, cx: &ApplyCx<'_>) -> Result<RequestLaunchTemplateData, Fault> {
        let companions = companion_tags(&cx.tags(&self.extra_tags()));
        let tagging = |what: ResourceType| {
            LaunchTemplateTagSpecificationRequest::builder()
                .resource_type(what)
                .set_tags(Some(sdk_tags(&companions)))
                .build()
        };
        let interface = LaunchTemplateInstanceNetworkInterfaceSpecificationRequest::builder()
            .device_index(0)
            .associate_public_ip_address(false)
            .delete_on_termination(true)
            .set_groups(Some(ready(&self.groups, cx, |g| g.id)?));
        let service = LaunchTemplateInstanceMetadataOptionsRequest::builder()
            .http_tokens(LaunchTemplateHttpTokensState::Required)
            .http_put_response_hop_limit(HOP_LIMIT);
        let profile = LaunchTemplateIamInstanceProfileSpecificationRequest::builder()
            .name(cx.get(&self.profile)?.name);
        Ok(RequestLaunchTemplateData::builder()
            .image_id(&self.image)
            .instance_type(self.instance_type.as_str().into())
            .iam_instance_profile(profile.build())
            .network_interfaces(interface.build())
            .block_device_mappings(self.root.template_mapping(cx)?)
            .metadata_options(service.build())
            .set_user_data(encoded(&self.user_data))
            .tag_specifications(tagging(ResourceType::Instance))
            .tag_specifications(tagging(ResourceType::Volume))
            .build())
    }

    /// A new version, made the default one. Its token is made of its content: a repeat is answered with the same version,
    /// and the next change is no repeat.
    async fn renew(&self, id: &str, cx: &ApplyCx<'_>) -> Result<(), Fault> {
        let data = self.data(cx)?;
        let token: String = Sha256::digest(format!("{id} {data:?}"))
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let answer = cx
            .cloud
            .put("ec2:CreateLaunchTemplateVersion", || {
                cx.aws()
                    .ec2
                    .create_launch_template_version()
                    .client_token(&token)
                    .launch_template_id(id)
                    .launch_template_data(data.clone())
                    .send()
            })
            .await?;
        let version = answer
            .launch_template_version()
            .and_then(LaunchTemplateVersion::version_number)
            .ok_or_else(|| Fault::internal("a template version without a number"))?;
        cx.cloud
            .put("ec2:ModifyLaunchTemplate", || {
                cx.aws()
                    .ec2
                    .modify_launch_template()
                    .launch_template_id(id)
                    .default_version(version.to_string())
                    .send()
            })
            .await?;
        Ok(())
    }
}

impl Resource for LaunchTemplate {
    const KIND: Kind = Kind::new("ec2/launch_template");
    const REPLAY: Replay = Replay::Name;
    const ACTIONS: &'static [&'static str] = &[
        "ec2:CreateLaunchTemplate",
        "ec2:CreateLaunchTemplateVersion",
        "ec2:ModifyLaunchTemplate",
        "ec2:DescribeLaunchTemplates",
        "ec2:DescribeLaunchTemplateVersions",
        "ec2:DeleteLaunchTemplate",
        "ec2:CreateTags",
        "ec2:DeleteTags",
    ];

    type Id = String;
    type Output = LaunchTemplateOutput;
    type Live = LaunchTemplateLive;

    fn refs(&self) -> Vec<&Address> {
        let mut refs = vec![self.profile.address(), self.root.key.address()];
        refs.extend(self.groups.iter().map(Ref::address));
        refs
    }

    fn diff(&self, live: &LaunchTemplateLive, cx: &PlanCx<'_>) -> Diff {
        let tags = cx.tags(&self.extra_tags());
        Diff::new()
            .fixed("name", &self.name, &live.name)
            .field("image", &self.image, &live.image)
            .field("instance_type", &self.instance_type, &live.instance_type)
            .field("profile", cx.want(&self.profile, |p| p.name), &live.profile)
            .field("groups", wanted(&self.groups, cx, |g| g.id), &live.groups)
            .field("public_address", false, live.public_address)
            .field("root_encrypted", true, live.root_encrypted)
            .field("root_type", VolumeType::Gp3.as_str(), &live.root_type)
            .field("root_size_gib", self.root.size_gib, live.root_size_gib)
            .field(
                "root_iops",
                self.root.iops.unwrap_or(GP3_IOPS),
                live.root_iops,
            )
            .field(
                "root_throughput",
                self.root.throughput.unwrap_or(GP3_THROUGHPUT),
                live.root_throughput,
            )
            .field(
                "root_key",
                cx.want(&self.root.key, |k| k.arn),
                &live.root_key,
            )
            .field("user_data", digest(&self.user_data), &live.user_data)
            .field("metadata", METADATA, &live.metadata)
            .field("node_tags", companion_tags(&tags), &live.node_tags)
            .field("tags", tags, &live.tags)
    }

    /// Two listings: the templates, which carry the tags, and the default version of every template.
    async fn survey(cx: &CloudCx) -> Result<Vec<Found<Self>>, Fault> {
        let templates = cx
            .read("ec2:DescribeLaunchTemplates", || {
                cx.aws()
                    .ec2
                    .describe_launch_templates()
                    .filters(cx.site_filter())
                    .into_paginator()
                    .items()
                    .send()
                    .collect::<Result<Vec<_>, _>>()
            })
            .await?;
        if templates.is_empty() {
            return Ok(vec![]);
        }
        let versions = cx
            .read("ec2:DescribeLaunchTemplateVersions", || {
                cx.aws()
                    .ec2
                    .describe_launch_template_versions()
                    .versions("$Default")
                    .into_paginator()
                    .items()
                    .send()
                    .collect::<Result<Vec<_>, _>>()
            })
            .await?;
        Ok(templates
            .iter()
            .filter_map(|t| found(t, &versions, cx.site()))
            .collect())
    }

    async fn poll(
        ids: &[String],
        cx: &CloudCx,
    ) -> Result<Vec<Readiness<LaunchTemplateOutput>>, Fault> {
        // Templates cannot be filtered by id, and one unknown id refuses the whole call: so by the site's tag.
        let listed = cx
            .read("ec2:DescribeLaunchTemplates", || {
                cx.aws()
                    .ec2
                    .describe_launch_templates()
                    .filters(cx.site_filter())
                    .into_paginator()
                    .items()
                    .send()
                    .collect::<Result<Vec<_>, _>>()
            })
            .await?;
        Ok(ids
            .iter()
            .map(|id| {
                listed
                    .iter()
                    .find(|t| t.launch_template_id() == Some(id))
                    .map_or(Readiness::Absent, readiness)
            })
            .collect())
    }

    async fn create(&self, cx: &ApplyCx<'_>) -> Result<Created<Self>, Fault> {
        let data = self.data(cx)?;
        let answer = cx
            .cloud
            .write("ec2:CreateLaunchTemplate", || {
                cx.aws()
                    .ec2
                    .create_launch_template()
                    .client_token(cx.token)
                    .launch_template_name(&self.name)
                    .launch_template_data(data.clone())
                    .tag_specifications(tagged(
                        ResourceType::LaunchTemplate,
                        &cx.tags(&self.extra_tags()),
                    ))
                    .send()
            })
            .await?;
        let id = text(answer.launch_template().and_then(Live::launch_template_id));
        Ok(Created::Done(
            id.clone(),
            LaunchTemplateOutput { id, version: 1 },
        ))
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
        if diff.has_any(VERSIONED) {
            self.renew(id, cx).await?;
        }
        settle_tags(id, change, &self.extra_tags(), cx).await
    }

    async fn delete(id: &String, cx: &CloudCx) -> Result<(), Fault> {
        remove(cx.put("ec2:DeleteLaunchTemplate", || {
            cx.aws()
                .ec2
                .delete_launch_template()
                .launch_template_id(id)
                .send()
        }))
        .await
    }
}

fn readiness(template: &Live) -> Readiness<LaunchTemplateOutput> {
    Readiness::Ready(LaunchTemplateOutput {
        id: text(template.launch_template_id()),
        version: template.default_version_number().unwrap_or(1),
    })
}

fn found(
    template: &Live,
    versions: &[LaunchTemplateVersion],
    site: &str,
) -> Option<Found<LaunchTemplate>> {
    let address = ours::<LaunchTemplate>(template.tags(), site)?;
    let data = versions
        .iter()
        .find(|v| v.launch_template_id() == template.launch_template_id())
        .and_then(LaunchTemplateVersion::launch_template_data);
    Some(Found {
        address,
        id: text(template.launch_template_id()),
        live: live(template, data),
        readiness: readiness(template),
    })
}

fn live(template: &Live, data: Option<&ResponseLaunchTemplateData>) -> LaunchTemplateLive {
    let interface = data.and_then(|d| d.network_interfaces().first());
    let mut groups = interface.map_or_else(Vec::new, |i| i.groups().to_vec());
    groups.sort();
    let root = data
        .and_then(|d| d.block_device_mappings().first())
        .and_then(|m| m.ebs());
    let options = data.and_then(ResponseLaunchTemplateData::metadata_options);
    LaunchTemplateLive {
        name: text(template.launch_template_name()),
        image: text(data.and_then(|d| d.image_id())),
        instance_type: text(
            data.and_then(|d| d.instance_type())
                .map(aws_sdk_ec2::types::InstanceType::as_str),
        ),
        profile: text(
            data.and_then(|d| d.iam_instance_profile())
                .and_then(|p| p.name()),
        ),
        groups,
        public_address: interface.and_then(|i| i.associate_public_ip_address()) != Some(false),
        root_encrypted: root.and_then(|r| r.encrypted()) == Some(true),
        root_type: text(root.and_then(|r| r.volume_type()).map(VolumeType::as_str)),
        root_size_gib: number(root.and_then(|r| r.volume_size())).unwrap_or_default(),
        root_iops: number(root.and_then(|r| r.iops())).unwrap_or(GP3_IOPS),
        root_throughput: number(root.and_then(|r| r.throughput())).unwrap_or(GP3_THROUGHPUT),
        root_key: text(root.and_then(|r| r.kms_key_id())),
        user_data: decoded_digest(data.and_then(|d| d.user_data())),
        metadata: metadata(
            options
                .and_then(|o| o.http_tokens())
                .map(LaunchTemplateHttpTokensState::as_str),
            options.and_then(|o| o.http_put_response_hop_limit()),
        ),
        node_tags: data
            .map(|d| d.tag_specifications())
            .unwrap_or_default()
            .iter()
            .find(|s| s.resource_type() == Some(&ResourceType::Instance))
            .map(|s| tags_of(s.tags()))
            .unwrap_or_default(),
        tags: tags_of(template.tags()),
    }
}
