//! `[nodes.ROLE]`: other counts, machines and volumes than the profile's.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::profile::InstanceType;

/// Other counts, machines and volumes than the profile's, role by role.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Nodes {
    /// The one machine of single-box.
    pub single_box: Option<DataNode>,
    /// The Rails nodes.
    pub rails: Option<RailsNodes>,
    /// The Sidekiq nodes; the first is the deploy node.
    pub sidekiq: Option<FixedNodes>,
    /// The Gitaly nodes.
    pub gitaly: Option<GitalyNodes>,
    /// The Praefect nodes.
    pub praefect: Option<FixedNodes>,
    /// The Prometheus node.
    pub monitoring: Option<SingleNode>,
    /// The bastion, where gantry's timers live.
    pub bastion: Option<SingleNode>,
}

/// Overrides for the Rails nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RailsNodes {
    /// Nodes to begin with.
    pub count: Option<u32>,
    /// The least that scaling in may leave.
    pub min: Option<u32>,
    /// The most that scaling out may reach.
    pub max: Option<u32>,
    /// The EC2 instance type.
    #[serde(rename = "type")]
    pub instance_type: Option<InstanceType>,
    /// Size of the root volume in GiB, 40 at least.
    pub root_gib: Option<u32>,
}

/// Overrides for fixed nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FixedNodes {
    /// How many.
    pub count: Option<u32>,
    /// The EC2 instance type.
    #[serde(rename = "type")]
    pub instance_type: Option<InstanceType>,
    /// Size of the root volume in GiB, 40 at least.
    pub root_gib: Option<u32>,
}

/// Overrides for the Gitaly nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GitalyNodes {
    /// How many. On a Gitaly Cluster each holds a full copy: odd, and 3 at least.
    pub count: Option<u32>,
    /// The EC2 instance type.
    #[serde(rename = "type")]
    pub instance_type: Option<InstanceType>,
    /// Size of the root volume in GiB, 40 at least.
    pub root_gib: Option<u32>,
    /// Size of the data volume in GiB. It can grow later, never shrink.
    pub data_gib: Option<u32>,
    /// Operations a second of the data volume, 3000 to 16000.
    pub iops: Option<u32>,
    /// MiB a second of the data volume, 125 to 1000.
    pub throughput: Option<u32>,
}

/// Overrides for a role with one node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SingleNode {
    /// The EC2 instance type.
    #[serde(rename = "type")]
    pub instance_type: Option<InstanceType>,
    /// Size of the root volume in GiB.
    pub root_gib: Option<u32>,
}

/// Overrides for the one machine of single-box.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DataNode {
    /// The EC2 instance type.
    #[serde(rename = "type")]
    pub instance_type: Option<InstanceType>,
    /// Size of the root volume in GiB, 40 at least.
    pub root_gib: Option<u32>,
    /// Size of the data volume in GiB. It can grow later, never shrink.
    pub data_gib: Option<u32>,
    /// Operations a second of the data volume, 3000 to 16000.
    pub iops: Option<u32>,
    /// MiB a second of the data volume, 125 to 1000.
    pub throughput: Option<u32>,
}
