//! How an Auto Scaling group makes its nodes.
//!
//! A template never changes: every change is a new version, made the default one, and the group's next node
//! is made from that.

use serde::{Deserialize, Serialize};

use super::{RootVolume, SecurityGroup};
use crate::kinds::iam::InstanceProfile;
use crate::resource::Ref;

#[derive(Debug, Clone, Serialize)]
pub struct LaunchTemplate {
    pub name: String,
    pub image: String,
    pub instance_type: String,
    pub profile: Ref<InstanceProfile>,
    pub groups: Vec<Ref<SecurityGroup>>,
    pub root: RootVolume,
    pub user_data: String,
    pub role: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchTemplateOutput {
    pub id: String,
    /// The default version.
    pub version: i64,
}
