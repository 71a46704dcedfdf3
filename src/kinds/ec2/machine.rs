//! What instances and launch templates have in common: the root volume, the metadata service, user data, and
//! the tags of what is made along with an instance.

use serde::Serialize;

use crate::kinds::kms::Key;
use crate::resource::Ref;

/// The root volume of a node: gp3, encrypted with the site's key, gone with the node.
#[derive(Debug, Clone, Serialize)]
pub struct RootVolume {
    pub size_gib: u32,
    /// More than the 3,000 a gp3 volume has anyway.
    pub iops: Option<u32>,
    /// More than the 125 MiB/s a gp3 volume has anyway.
    pub throughput: Option<u32>,
    pub key: Ref<Key>,
}
