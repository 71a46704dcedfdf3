//! Route 53: the site's names.

mod record;

pub use self::record::{Record, RecordOutput, RecordValue};
use crate::resource::KindInfo;

/// The kinds of Route 53.
pub const KINDS: &[KindInfo] = &[KindInfo::of::<Record>()];
