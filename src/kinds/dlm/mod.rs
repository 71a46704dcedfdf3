//! Data Lifecycle Manager: AWS's own clock for snapshots of volumes.

mod policy;

use crate::resource::KindInfo;

pub use self::policy::{Policy, PolicyOutput};

/// The kinds of Data Lifecycle Manager.
pub const KINDS: &[KindInfo] = &[KindInfo::of::<Policy>()];
