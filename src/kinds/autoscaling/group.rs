//! The group that keeps the Rails nodes.
//!
//! Nodes are made from the default version of the launch template, carry the group's tags all but its
//! address, and are replaced when the load balancer finds them ill. How many there are between `min` and
//! `max` is the scaling policies' business and never drift.

use serde::{Deserialize, Serialize};

use crate::kinds::ec2::{LaunchTemplate, Subnet};
use crate::kinds::elb::TargetGroup;
use crate::resource::Ref;

#[derive(Debug, Clone, Serialize)]
pub struct Group {
    pub name: String,
    pub template: Ref<LaunchTemplate>,
    /// One per zone; nodes are spread over them.
    pub subnets: Vec<Ref<Subnet>>,
    pub targets: Vec<Ref<TargetGroup>>,
    pub min: u32,
    /// How many to begin with.
    pub desired: u32,
    pub max: u32,
    /// How long a new node may take before the load balancer's opinion counts.
    pub grace_seconds: u32,
    pub role: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupOutput {
    pub name: String,
    pub arn: String,
}
