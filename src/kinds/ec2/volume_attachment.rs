//! A data volume plugged into its node.
//!
//! Taking it out stops the node first: a volume pulled from a running node loses what was not written yet.

use serde::{Deserialize, Serialize};

use super::{Instance, Volume};
use crate::resource::Ref;

#[derive(Debug, Clone, Serialize)]
pub struct VolumeAttachment {
    pub volume: Ref<Volume>,
    pub instance: Ref<Instance>,
    /// `/dev/sdf`; the node sees an NVMe device whose serial number is the volume's id.
    pub device: String,
}

/// It has no id of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeAttachmentId {
    pub volume: String,
    pub instance: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeAttachmentOutput {}
