//! One fixed node: Gitaly, Praefect, Sidekiq, the bastion, a single box.
//!
//! Its image and user data say how it is born, not how it stays: a newer image or other user data is no
//! reason to touch a running node, so neither is compared; the tag `gantry:user-data` remembers what it was
//! born with. AWS shows termination protection only one instance at a time, so the tag `gantry:protection`
//! stands for it in surveys. Another instance type is set in place: stop, change, start.

use serde::{Deserialize, Serialize};

use super::{RootVolume, SecurityGroup, Subnet};
use crate::kinds::Protection;
use crate::kinds::iam::InstanceProfile;
use crate::resource::Ref;

#[derive(Debug, Clone, Serialize)]
pub struct Instance {
    pub subnet: Ref<Subnet>,
    pub image: String,
    pub instance_type: String,
    pub profile: Ref<InstanceProfile>,
    pub groups: Vec<Ref<SecurityGroup>>,
    pub root: RootVolume,
    pub user_data: String,
    pub role: String,
    /// Against termination by hand.
    pub protection: Protection,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceOutput {
    pub id: String,
    pub private_ip: String,
    pub zone: String,
}

/// What the node was born with.
pub const USER_DATA_TAG: &str = "gantry:user-data";

/// Whether termination protection was asked for.
pub const PROTECTION_TAG: &str = "gantry:protection";
