//! What instances and launch templates have in common: the root volume, the metadata service, user data, and
//! the tags of what is made along with an instance.

use aws_sdk_ec2::types::{
    BlockDeviceMapping, EbsBlockDevice, LaunchTemplateBlockDeviceMappingRequest,
    LaunchTemplateEbsBlockDeviceRequest, VolumeType as SdkVolumeType,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::cloud::Fault;
use crate::kinds::kms::Key;
use crate::resource::{ADDRESS_TAG, ApplyCx, KNOWN_LATER, PlanCx, Ref, Resource, Tags};

/// The root volume of a node: gp3, encrypted with the site's key, gone with the node.
#[derive(Debug, Clone, Serialize)]
pub struct RootVolume {
    pub size_gib: u32,
    /// More than the 3,000 a gp3 volume has anyway.
    pub iops: Option<u32>,
    /// More than the 125 MiB/s a gp3 volume has anyway.
    pub throughput: Option<u32>,
    pub key: Ref<Key>,
}

/// What every gp3 volume gives: <https://docs.aws.amazon.com/ebs/latest/userguide/general-purpose.html>.
pub(super) const GP3_IOPS: u32 = 3_000;
pub(super) const GP3_THROUGHPUT: u32 = 125;

/// The root device of Ubuntu's and of GitLab's images. A mapping of another name would add a second volume.
pub(super) const ROOT_DEVICE: &str = "/dev/sda1";

/// Whether only session tokens open the metadata service, and how many hops its answers travel, as a plan
/// shows it. One hop: nothing but the node itself can ask.
pub(super) const METADATA: &str = "tokens required, 1 hop";
pub(super) const HOP_LIMIT: i32 = 1;

/// [`METADATA`]'s form for what is there.
pub(super) fn metadata(tokens: Option<&str>, hops: Option<i32>) -> String {
    let tokens = tokens.unwrap_or("optional");
    let hops = hops.unwrap_or(HOP_LIMIT);
    format!(
        "tokens {tokens}, {hops} hop{}",
        if hops == 1 { "" } else { "s" }
    )
}

/// A number as the API takes it.
pub(super) fn sdk_size(gib: u32) -> i32 {
    i32::try_from(gib).unwrap_or(i32::MAX)
}

/// A number of AWS's answer.
pub(super) fn number(value: Option<i32>) -> Option<u32> {
    value.and_then(|n| u32::try_from(n).ok())
}

impl RootVolume {
    /// For `RunInstances`.
    pub(super) fn mapping(&self, cx: &ApplyCx<'_>) -> Result<BlockDeviceMapping, Fault> {
        let ebs = EbsBlockDevice::builder()
            .volume_type(SdkVolumeType::Gp3)
            .volume_size(sdk_size(self.size_gib))
            .set_iops(self.iops.map(sdk_size))
            .set_throughput(self.throughput.map(sdk_size))
            .encrypted(true)
            .kms_key_id(cx.get(&self.key)?.arn)
            .delete_on_termination(true)
            .build();
        Ok(BlockDeviceMapping::builder()
            .device_name(ROOT_DEVICE)
            .ebs(ebs)
            .build())
    }

    /// For a launch template.
    pub(super) fn template_mapping(
        &self,
        cx: &ApplyCx<'_>,
    ) -> Result<LaunchTemplateBlockDeviceMappingRequest, Fault> {
        let ebs = LaunchTemplateEbsBlockDeviceRequest::builder()
            .volume_type(SdkVolumeType::Gp3)
            .volume_size(sdk_size(self.size_gib))
            .set_iops(self.iops.map(sdk_size))
            .set_throughput(self.throughput.map(sdk_size))
            .encrypted(true)
            .kms_key_id(cx.get(&self.key)?.arn)
            .delete_on_termination(true)
            .build();
        Ok(LaunchTemplateBlockDeviceMappingRequest::builder()
            .device_name(ROOT_DEVICE)
            .ebs(ebs)
            .build())
    }
}

/// User data as the API takes it; none when there is none.
pub(super) fn encoded(user_data: &str) -> Option<String> {
    (!user_data.is_empty()).then(|| STANDARD.encode(user_data))
}

/// What user data of the API's form says, for comparing.
pub(super) fn decoded_digest(encoded: Option<&str>) -> String {
    let text = STANDARD
        .decode(encoded.unwrap_or_default().trim())
        .unwrap_or_default();
    digest(&text)
}

/// Tells one user data from another; 16 hexadecimal digits of its SHA-256.
pub(super) fn digest(user_data: impl AsRef<[u8]>) -> String {
    Sha256::digest(user_data.as_ref())
        .iter()
        .take(8)
        .map(|b| format!("{b:02x}"))
        .collect()
}

/// The tags of what comes and goes with another thing: all but the address, which belongs to that thing.
pub(super) fn companion_tags(tags: &Tags) -> Tags {
    Tags(
        tags.0
            .iter()
            .filter(|(k, _)| *k != ADDRESS_TAG)
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect(),
    )
}

/// The wanted ids of several references, sorted; or "known later" as soon as one is still to be made.
pub(crate) fn wanted<R: Resource>(
    refs: &[Ref<R>],
    cx: &PlanCx<'_>,
    pick: impl Fn(R::Output) -> String,
) -> Value {
    let mut ids = Vec::new();
    for to in refs {
        match cx.known(to) {
            Some(output) => ids.push(pick(output)),
            None => return Value::String(KNOWN_LATER.into()),
        }
    }
    ids.sort();
    ids.into()
}

/// The same for applying, where everything pointed at is ready.
pub(crate) fn ready<R: Resource>(
    refs: &[Ref<R>],
    cx: &ApplyCx<'_>,
    pick: impl Fn(R::Output) -> String,
) -> Result<Vec<String>, Fault> {
    let mut ids = refs
        .iter()
        .map(|to| cx.get(to).map(&pick))
        .collect::<Result<Vec<_>, _>>()?;
    ids.sort();
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_data_is_compared_by_content() {
        let text = "#!/bin/sh\necho hello\n";
        assert_eq!(decoded_digest(encoded(text).as_deref()), digest(text));
        assert_eq!(decoded_digest(None), digest(""));
        assert_ne!(digest("a"), digest("b"));
    }

    #[test]
    fn companions_carry_everything_but_the_address() {
        let tags = Tags::new()
            .with("gantry:site", "acme")
            .with(ADDRESS_TAG, "ec2/instance:bastion");
        assert_eq!(
            companion_tags(&tags),
            Tags::new().with("gantry:site", "acme")
        );
    }

    #[test]
    fn the_metadata_words_match_what_is_asked_for() {
        assert_eq!(metadata(Some("required"), Some(HOP_LIMIT)), METADATA);
        assert_eq!(metadata(None, Some(2)), "tokens optional, 2 hops");
    }
}
