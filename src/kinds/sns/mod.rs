//! SNS: where messages for operators go.

mod topic;

pub use self::topic::{Topic, TopicOutput};
use crate::resource::KindInfo;

/// The kinds of SNS.
pub const KINDS: &[KindInfo] = &[KindInfo::of::<Topic>()];
