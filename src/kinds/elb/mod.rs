//! Network load balancers and what belongs to them.

mod target_group;

pub use self::target_group::{Health, TargetGroup, TargetGroupOutput};
use crate::resource::KindInfo;

/// The kinds of Elastic Load Balancing.
pub const KINDS: &[KindInfo] = &[];
