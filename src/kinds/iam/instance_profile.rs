//! What puts a role onto an EC2 instance.

use serde::{Deserialize, Serialize};

use super::Role;
use crate::resource::Ref;

#[derive(Debug, Clone, Serialize)]
pub struct InstanceProfile {
    pub name: String,
    /// From [`super::path`].
    pub path: String,
    pub role: Ref<Role>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceProfileOutput {
    pub name: String,
    pub arn: String,
}
