//! CloudWatch Logs.

mod log_group;

pub use self::log_group::{LogGroup, LogGroupOutput};
use crate::resource::KindInfo;

/// The kinds of CloudWatch Logs.
pub const KINDS: &[KindInfo] = &[KindInfo::of::<LogGroup>()];
