//! What an alarm makes a group do: so many nodes more or fewer, then a pause.
//!
//! Policies carry no tags. One belongs to the site because its group does; its address is what the journal
//! remembers, or the end of its name: the policy `gantry-acme-rails-out` is `rails-out`.

use serde::{Deserialize, Serialize};

use super::Group;
use crate::resource::Ref;

#[derive(Debug, Clone, Serialize)]
pub struct ScalingPolicy {
    pub group: Ref<Group>,
    pub name: String,
    /// Nodes to add; negative takes away.
    pub adjustment: i32,
    pub cooldown_seconds: u32,
}

/// Unique within the group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScalingPolicyId {
    pub group: String,
    pub name: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScalingPolicyOutput {
    pub arn: String,
}
