//! EC2: network, security, compute.

mod vpc;

use std::future::Future;

use aws_sdk_ec2::types::{ResourceType, Tag, TagSpecification};

pub use self::vpc::{Vpc, VpcOutput};
use crate::cloud::Fault;
use crate::resource::{Address, ApplyCx, KindInfo, Tags};

/// The kinds of EC2.
pub const KINDS: &[KindInfo] = &[KindInfo::of::<Vpc>()];

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

/// The address in a thing's tags; things without one are not ours to touch.
pub(super) fn address_in(tags: &[Tag]) -> Option<Address> {
    tags_of(tags).address()
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
