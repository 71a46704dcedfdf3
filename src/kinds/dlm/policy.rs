//! Snapshots of the volumes with these tags, every so many hours, the last so many kept.
//!
//! A listing of policies shows their tags and not their settings: one more call for each policy of the site,
//! and a site has one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::kinds::iam::Role;
use crate::resource::Ref;

#[derive(Debug, Clone, Serialize)]
pub struct Policy {
    pub description: String,
    pub role: Ref<Role>,
    /// Volumes with any of these are saved.
    pub target_tags: BTreeMap<String, String>,
    /// When the first one of a day begins, `03:00`, UTC.
    pub times: Vec<String>,
    pub every_hours: u32,
    /// How many snapshots of a volume are kept.
    pub retain: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyOutput {
    pub id: String,
}
