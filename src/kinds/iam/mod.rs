//! IAM: what nodes and AWS services may do.

mod instance_profile;
mod role;

pub use self::instance_profile::{InstanceProfile, InstanceProfileOutput};
pub use self::role::{Grant, Role, RoleOutput, Target};
use crate::resource::KindInfo;

/// The kinds of IAM.
pub const KINDS: &[KindInfo] = &[];

/// The path that roles and instance profiles of a site have: surveys list by it.
pub fn path(site: &str) -> String {
    format!("/gantry/{site}/")
}
