//! IAM: what nodes and AWS services may do.

mod instance_profile;
pub mod policy;
mod role;

use aws_sdk_iam::types::Tag;

pub use self::instance_profile::{InstanceProfile, InstanceProfileOutput};
pub use self::role::{Grant, Role, RoleOutput, Target};
use crate::cloud::Fault;
use crate::resource::{Diff, KindInfo, Tags};

/// The kinds of IAM.
pub const KINDS: &[KindInfo] = &[KindInfo::of::<Role>(), KindInfo::of::<InstanceProfile>()];

/// The path that roles and instance profiles of a site have: surveys list by it.
pub fn path(site: &str) -> String {
    format!("/gantry/{site}/")
}

/// Tags in IAM's type.
fn sdk_tags(tags: &Tags) -> Result<Vec<Tag>, Fault> {
    tags.iter()
        .map(|(k, v)| {
            Tag::builder()
                .key(k)
                .value(v)
                .build()
                .map_err(|e| Fault::internal(e.to_string()))
        })
        .collect()
}

/// IAM's tags as ours.
fn tags_of(tags: &[Tag]) -> Tags {
    tags.iter()
        .map(|t| (t.key(), t.value()))
        .collect::<Tags>()
        .ours()
}

/// The keys of tags that are there and should not be.
fn tags_too_many(diff: &Diff) -> Vec<String> {
    let Some(tags) = diff.fields.iter().find(|f| f.field == "tags") else {
        return vec![];
    };
    let keys = tags.have.as_object().into_iter().flat_map(|m| m.keys());
    keys.filter(|k| tags.want.get(k.as_str()).is_none())
        .cloned()
        .collect()
}

/// For removals: gone already is fine.
fn gone_is_fine<T>(answer: Result<T, Fault>) -> Result<(), Fault> {
    match answer {
        Ok(_) => Ok(()),
        Err(fault) if fault.is_gone() => Ok(()),
        Err(fault) => Err(fault),
    }
}
