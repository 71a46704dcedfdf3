//! One node in a target group.

use serde::{Deserialize, Serialize};

use super::TargetGroup;
use crate::kinds::ec2::Instance;
use crate::resource::Ref;

#[derive(Debug, Clone, Serialize)]
pub struct Target {
    pub group: Ref<TargetGroup>,
    pub instance: Ref<Instance>,
    pub port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetOutput {}
