//! A bucket and its settings.

use serde::{Deserialize, Serialize};

use crate::kinds::kms::Key;
use crate::resource::Ref;

#[derive(Debug, Clone, Serialize)]
pub struct Bucket {
    /// Unique in the world: it carries site, account and region.
    pub name: String,
    pub purpose: Purpose,
    pub encryption: BucketEncryption,
    pub lifecycle: Vec<LifecycleRule>,
    /// Where S3 writes who read and wrote what, under the bucket's own name.
    pub log_to: Option<Ref<Bucket>>,
    /// Which AWS services may put their logs here.
    pub allow_delivery: Vec<Delivery>,
}

/// What a bucket holds; for the blueprint's checks and for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    Objects,
    Backups,
    GitalyBackups,
    Registry,
    Config,
    Logs,
}

/// What new objects are encrypted with.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BucketEncryption {
    /// The site's key, with a bucket key, so that not every object costs a call to KMS.
    Key(Ref<Key>),
    /// S3's own key. Server access logs can be delivered to nothing else.
    S3Managed,
}

/// What S3 does away with by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LifecycleRule {
    /// Uploads that were begun and never completed.
    AbortIncomplete { days: u32 },
    /// Versions that have been overwritten or deleted, and the markers left alone by that.
    ExpireNoncurrent { days: u32 },
    /// Objects under a prefix; empty means all.
    Expire { days: u32, prefix: String },
}

/// An AWS service that writes logs into a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Delivery {
    LoadBalancerLogs,
    FlowLogs,
    ServerAccessLogs,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketOutput {
    pub name: String,
    pub arn: String,
}
