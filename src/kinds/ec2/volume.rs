//! A data volume: Git repositories, or everything on a single box.
//!
//! It outlives its node. Larger, faster or of another type in place; smaller only as a new volume. AWS takes
//! the next change of a volume only six hours after the last one.

use serde::{Deserialize, Serialize};

use crate::kinds::kms::Key;
use crate::resource::Ref;

#[derive(Debug, Clone, Serialize)]
pub struct Volume {
    pub zone: String,
    pub size_gib: u32,
    pub volume_type: VolumeType,
    pub iops: u32,
    /// MiB/s, gp3 alone; 125 when not said.
    pub throughput: Option<u32>,
    pub key: Ref<Key>,
    /// What the node it belongs to runs.
    pub role: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VolumeType {
    Gp3,
    Io2,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeOutput {
    pub id: String,
    pub zone: String,
}
