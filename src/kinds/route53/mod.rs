//! Route 53: the site's names.

mod record;

pub use self::record::{Record, RecordOutput, RecordValue, hosted_zones};
use crate::resource::KindInfo;

/// The kinds of Route 53.
pub const KINDS: &[KindInfo] = &[KindInfo::of::<Record>()];
