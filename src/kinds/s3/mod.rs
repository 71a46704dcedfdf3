//! S3: buckets.

mod bucket;

pub use self::bucket::{
    Bucket, BucketEncryption, BucketOutput, Delivery, LOCKABLE, LifecycleRule, Purpose,
};
use crate::resource::KindInfo;

/// The kinds of S3.
pub const KINDS: &[KindInfo] = &[KindInfo::of::<Bucket>()];
