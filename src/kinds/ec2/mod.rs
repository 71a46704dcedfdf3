//! EC2: network, security, compute.

mod default_security_group;
mod elastic_ip;
mod flow_log;
mod internet_gateway;
mod nat_gateway;
mod route_table;
mod security_group;
mod security_group_rules;
mod subnet;
mod vpc;
mod vpc_endpoint;

mod address_association;
mod instance;
mod launch_template;
pub(crate) mod machine;
mod volume;
mod volume_attachment;

use std::future::Future;

use aws_sdk_ec2::types::{Filter, ResourceType, Tag, TagSpecification, UnsuccessfulItem};

pub use self::default_security_group::{DefaultSecurityGroup, DefaultSecurityGroupOutput};
pub(super) use self::elastic_ip::of_site as addresses_of_ours;
pub use self::elastic_ip::{ElasticIp, ElasticIpOutput};
pub use self::flow_log::{FlowLog, FlowLogOutput};
pub use self::internet_gateway::{InternetGateway, InternetGatewayOutput};
pub use self::nat_gateway::{NatGateway, NatGatewayOutput};
pub use self::route_table::{Route, RouteTable, RouteTableOutput, Via};
pub use self::security_group::{SecurityGroup, SecurityGroupOutput};
pub use self::security_group_rules::{
    Peer, Protocol, Rule, SecurityGroupRules, SecurityGroupRulesOutput,
};
pub use self::subnet::{Exposure, Subnet, SubnetOutput};
pub use self::vpc::{Vpc, VpcOutput};
pub use self::vpc_endpoint::{EndpointKind, VpcEndpoint, VpcEndpointOutput};

pub use self::address_association::{AddressAssociation, AddressAssociationOutput};
pub use self::instance::{BOOT_TAG, Instance, InstanceOutput, PROTECTION_TAG, USER_DATA_TAG};
pub use self::launch_template::{LaunchTemplate, LaunchTemplateOutput};
pub use self::machine::RootVolume;
pub use self::volume::{SNAPSHOTS_TAG, Volume, VolumeOutput, VolumeType};
pub use self::volume_attachment::{VolumeAttachment, VolumeAttachmentId, VolumeAttachmentOutput};

use crate::cloud::{Fault, by_code};
use crate::resource::{Address, ApplyCx, Change, KindInfo, Readiness, Resource, SITE_TAG, Tags};

/// The kinds of EC2.
pub const KINDS: &[KindInfo] = &[
    KindInfo::of::<Vpc>(),
    KindInfo::of::<InternetGateway>(),
    KindInfo::of::<Subnet>(),
    KindInfo::of::<ElasticIp>(),
    KindInfo::of::<NatGateway>(),
    KindInfo::of::<RouteTable>(),
    KindInfo::of::<VpcEndpoint>(),
    KindInfo::of::<FlowLog>(),
    KindInfo::of::<DefaultSecurityGroup>(),
    KindInfo::of::<SecurityGroup>(),
    KindInfo::of::<SecurityGroupRules>(),
    KindInfo::of::<Volume>(),
    KindInfo::of::<LaunchTemplate>(),
    KindInfo::of::<Instance>(),
    KindInfo::of::<VolumeAttachment>(),
    KindInfo::of::<AddressAssociation>(),
];

/// The tag specification that makes a thing carry its tags from its first moment.
pub(super) fn tagged(resource: ResourceType, tags: &Tags) -> TagSpecification {
    TagSpecification::builder()
        .resource_type(resource)
        .set_tags(Some(sdk_tags(tags)))
        .build()
}

/// Tags in EC2's type.
pub(super) fn sdk_tags(tags: &Tags) -> Vec<Tag> {
    tags.iter()
        .map(|(k, v)| Tag::builder().key(k).value(v).build())
        .collect()
}

/// EC2's tags as ours.
pub(super) fn tags_of(tags: &[Tag]) -> Tags {
    tags.iter()
        .filter_map(|t| Some((t.key()?.to_owned(), t.value()?.to_owned())))
        .collect::<Tags>()
        .ours()
}

/// Sets the tags on something that exists.
pub(super) async fn retag(id: &str, tags: &Tags, cx: &ApplyCx<'_>) -> Result<(), Fault> {
    cx.cloud
        .put("ec2:CreateTags", || {
            cx.aws()
                .ec2
                .create_tags()
                .resources(id)
                .set_tags(Some(sdk_tags(tags)))
                .send()
        })
        .await?;
    Ok(())
}

/// Puts the tags right where they differ: sets ours and takes away those that nobody wants there.
pub(super) async fn settle_tags(
    id: &str,
    change: Change<'_>,
    extra: &Tags,
    cx: &ApplyCx<'_>,
) -> Result<(), Fault> {
    let Change::Fields(diff) = change else {
        return Ok(());
    };
    let Some(field) = diff.fields.iter().find(|f| f.field == "tags") else {
        return Ok(());
    };
    let want = cx.tags(extra);
    retag(id, &want, cx).await?;
    let surplus: Vec<Tag> = field
        .have
        .as_object()
        .into_iter()
        .flat_map(serde_json::Map::keys)
        .filter(|key| want.get(key).is_none())
        .map(|key| Tag::builder().key(key).build())
        .collect();
    if surplus.is_empty() {
        return Ok(());
    }
    cx.cloud
        .put("ec2:DeleteTags", || {
            cx.aws()
                .ec2
                .delete_tags()
                .resources(id)
                .set_tags(Some(surplus.clone()))
                .send()
        })
        .await?;
    Ok(())
}

/// The address in a thing's tags if it is of this site and this kind: kinds that share a listing tell theirs
/// apart by it, and nothing rests on the listing's filter alone.
pub(super) fn ours<R: Resource>(tags: &[Tag], site: &str) -> Option<Address> {
    let tags = tags_of(tags);
    let here = tags.get(SITE_TAG) == Some(site);
    tags.address().filter(|a| here && *a.kind() == R::KIND)
}

/// A filter for any of these values.
pub(super) fn by<T: Clone + Into<String>>(name: &str, values: &[T]) -> Filter {
    Filter::builder()
        .name(name)
        .set_values(Some(values.iter().cloned().map(Into::into).collect()))
        .build()
}

/// The readiness of each id, in order, out of a listing; what is not listed is absent.
pub(super) fn in_order<T, O>(
    ids: &[String],
    listed: &[T],
    id_of: impl Fn(&T) -> Option<&str>,
    readiness: impl Fn(&T) -> Readiness<O>,
) -> Vec<Readiness<O>> {
    ids.iter()
        .map(|id| {
            listed
                .iter()
                .find(|t| id_of(t) == Some(id))
                .map_or(Readiness::Absent, &readiness)
        })
        .collect()
}

/// The fault in an answer that lists what it refused; these calls answer 200 whatever happens.
pub(super) fn refused(call: &str, items: &[UnsuccessfulItem]) -> Result<(), Fault> {
    match items.iter().find_map(UnsuccessfulItem::error) {
        None => Ok(()),
        Some(error) => Err(by_code(
            call.to_owned(),
            400,
            text(error.code()),
            text(error.message()),
        )),
    }
}

/// Runs a removal, for which gone already is fine.
pub(super) async fn remove<T>(call: impl Future<Output = Result<T, Fault>>) -> Result<(), Fault> {
    match call.await {
        Ok(_) => Ok(()),
        Err(fault) if fault.is_gone() => Ok(()),
        Err(fault) => Err(fault),
    }
}

/// The text or empty, for the many optional fields of EC2's answers that are always there.
pub(super) fn text(value: Option<&str>) -> String {
    value.unwrap_or_default().to_owned()
}
