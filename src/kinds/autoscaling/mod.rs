//! EC2 Auto Scaling: the Rails nodes, as many as the work asks for.

mod group;
mod scaling_policy;

use crate::resource::KindInfo;

pub(super) use self::group::target_groups;
pub use self::group::{AT_BIRTH, Group, GroupOutput, hold, members};
pub use self::scaling_policy::{ScalingPolicy, ScalingPolicyId, ScalingPolicyOutput};

/// The kinds of Auto Scaling.
pub const KINDS: &[KindInfo] = &[KindInfo::of::<Group>(), KindInfo::of::<ScalingPolicy>()];
