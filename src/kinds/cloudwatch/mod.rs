//! CloudWatch: alarms.

mod alarm;

pub use self::alarm::{Alarm, AlarmAction, AlarmOutput, Comparison, Dimension, Missing};
use crate::resource::KindInfo;

/// The kinds of CloudWatch.
pub const KINDS: &[KindInfo] = &[KindInfo::of::<Alarm>()];
