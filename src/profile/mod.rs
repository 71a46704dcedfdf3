//! Profiles: GitLab's reference sizes, mapped to AWS.
//!
//! The numbers come from GitLab's reference architectures; each file in `profiles/` names the source of each
//! number, and a test compares them with a copy of the facts. The seven files are embedded; a directory can
//! replace any of them ([`Profiles::load_dir`]).

mod choice;
mod engine;
mod files;
mod machine;

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use choice::{Choice, NoSuchSize, size};
pub use engine::{CacheEngine, DatabaseEngine, PostgresVersion, ValkeyVersion};
pub use files::{ProfileError, Profiles, all, get, load_dir};
pub use machine::{Architecture, CacheNodeType, DbClass, InstanceType};

/// The reference sizes.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum ProfileName {
    /// Up to 1,000 users: everything on one machine.
    #[serde(rename = "single-box")]
    SingleBox,
    /// Up to 2,000 users: managed data stores, one Gitaly node; two zones.
    #[serde(rename = "poc-2k")]
    Poc2k,
    /// Up to 3,000 users, highly available.
    #[serde(rename = "ha-3k")]
    Ha3k,
    /// Up to 5,000 users, highly available.
    #[serde(rename = "ha-5k")]
    Ha5k,
    /// Up to 10,000 users, highly available.
    #[serde(rename = "ha-10k")]
    Ha10k,
    /// Up to 25,000 users, highly available.
    #[serde(rename = "ha-25k")]
    Ha25k,
    /// Up to 50,000 users, highly available.
    #[serde(rename = "ha-50k")]
    Ha50k,
}

impl ProfileName {
    /// From the smallest to the largest.
    pub const ALL: [Self; 7] = [
        Self::SingleBox,
        Self::Poc2k,
        Self::Ha3k,
        Self::Ha5k,
        Self::Ha10k,
        Self::Ha25k,
        Self::Ha50k,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::SingleBox => "single-box",
            Self::Poc2k => "poc-2k",
            Self::Ha3k => "ha-3k",
            Self::Ha5k => "ha-5k",
            Self::Ha10k => "ha-10k",
            Self::Ha25k => "ha-25k",
            Self::Ha50k => "ha-50k",
        }
    }

    /// Whether Git data is on a Gitaly Cluster, which needs three zones.
    pub fn is_ha(self) -> bool {
        !matches!(self, Self::SingleBox | Self::Poc2k)
    }
}

impl fmt::Display for ProfileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::str::FromStr for ProfileName {
    type Err = crate::text::Complaint;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|name| name.as_str() == text)
            .ok_or_else(|| {
                let names = Self::ALL.map(Self::as_str);
                let help = match crate::text::nearest(text, names) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("take one of {}", names.join(", ")),
                };
                crate::text::Complaint::new(format!("there is no profile `{text}`"), help)
            })
    }
}

/// One reference size on AWS, complete: what is created, how often, and how large.
///
/// Groups that a size does not have are `None`: single-box has only `single_box`, poc-2k has no Praefect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    pub name: ProfileName,
    /// One line for the list of profiles.
    pub summary: String,
    /// Users it is meant for, at the request rates below.
    pub users: u32,
    /// Peak requests a second it is meant for.
    pub target_rps: TargetRps,
    pub ha: Availability,
    /// Availability zones by default; the least, too, save for sites of one box.
    pub zones: u8,
    #[serde(default)]
    pub single_box: Option<BoxNode>,
    #[serde(default)]
    pub rails: Option<RailsGroup>,
    #[serde(default)]
    pub sidekiq: Option<NodeGroup>,
    #[serde(default)]
    pub gitaly: Option<DataNodeGroup>,
    #[serde(default)]
    pub praefect: Option<NodeGroup>,
    #[serde(default)]
    pub monitoring: Option<NodeGroup>,
    #[serde(default)]
    pub bastion: Option<NodeGroup>,
    #[serde(default)]
    pub database: Option<Database>,
    #[serde(default)]
    pub praefect_database: Option<Database>,
    #[serde(default)]
    pub caches: Vec<Cache>,
}

/// Peak requests a second by kind of traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetRps {
    /// The figure the size is called by.
    pub headline: u32,
    pub api: u32,
    pub web: u32,
    pub git_pull: u32,
    pub git_push: u32,
}

/// What a lost zone, or a lost machine, takes with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Availability {
    /// One machine: all of it.
    None,
    /// Rails, database and cache survive; Git data waits for its one node.
    WithoutGit,
    /// Everything survives the loss of one zone.
    Full,
}

/// An EBS volume of type gp3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Volume {
    pub gib: u32,
    /// Operations a second; 3,000 are in the price of every gp3 volume.
    #[serde(default = "Volume::base_iops")]
    pub iops: u32,
    /// MiB a second; 125 are in the price of every gp3 volume.
    #[serde(default = "Volume::base_throughput")]
    pub throughput: u32,
}

impl Volume {
    fn base_iops() -> u32 {
        3000
    }

    fn base_throughput() -> u32 {
        125
    }
}

/// Rails nodes, in an Auto Scaling group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RailsGroup {
    pub min: u32,
    pub desired: u32,
    pub max: u32,
    pub instance_type: InstanceType,
    pub root: Volume,
}

/// Fixed nodes without data of their own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeGroup {
    pub count: u32,
    pub instance_type: InstanceType,
    pub root: Volume,
}

/// Fixed nodes with a data volume each, which outlives the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataNodeGroup {
    pub count: u32,
    pub instance_type: InstanceType,
    pub root: Volume,
    pub data: Volume,
}

/// The one machine of single-box, with a data volume that outlives it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BoxNode {
    pub instance_type: InstanceType,
    pub root: Volume,
    pub data: Volume,
}

/// An RDS for PostgreSQL instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    pub class: DbClass,
    /// `17` lets RDS choose the minor version.
    pub engine_version: PostgresVersion,
    pub storage_gib: u32,
    /// RDS grows the storage by itself up to here.
    pub max_storage_gib: u32,
    pub storage_type: StorageType,
    /// Provisioned operations a second. `None` on gp3 below 400 GiB, where RDS gives 3,000 and refuses the parameter.
    #[serde(default)]
    pub iops: Option<u32>,
    /// A standby in another zone.
    pub multi_az: bool,
    pub read_replicas: u32,
    /// Connections that GitLab can ask for at worst; the parameter group must allow them.
    pub max_connections: u32,
}

/// What an RDS instance's storage is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StorageType {
    /// General purpose.
    Gp3,
    /// Provisioned IOPS.
    Io1,
    /// Provisioned IOPS, more durable.
    Io2,
}

impl StorageType {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gp3 => "gp3",
            Self::Io1 => "io1",
            Self::Io2 => "io2",
        }
    }
}

/// An ElastiCache for Valkey replication group, cluster mode disabled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cache {
    pub name: CacheName,
    pub node_type: CacheNodeType,
    /// Beside the primary, in other zones, with automatic failover.
    pub replicas: u32,
    pub engine_version: ValkeyVersion,
    pub maxmemory_policy: MaxmemoryPolicy,
    /// Keys looked at per eviction; only where keys are evicted.
    #[serde(default)]
    pub maxmemory_samples: Option<u32>,
}

/// What a replication group holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CacheName {
    /// Everything.
    Main,
    /// What can be computed again.
    Cache,
    /// Sessions, queues, shared state.
    Persistent,
}

impl CacheName {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::Cache => "cache",
            Self::Persistent => "persistent",
        }
    }
}

/// What Valkey does when its memory is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum MaxmemoryPolicy {
    #[serde(rename = "noeviction")]
    NoEviction,
    #[serde(rename = "allkeys-lru")]
    AllKeysLru,
}

impl MaxmemoryPolicy {
    /// As the parameter group spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoEviction => "noeviction",
            Self::AllKeysLru => "allkeys-lru",
        }
    }
}

impl Profile {
    /// EC2 machines at the desired size, without the bastion.
    pub fn nodes(&self) -> u32 {
        let fixed = [&self.sidekiq, &self.praefect, &self.monitoring]
            .into_iter()
            .flatten()
            .map(|group| group.count)
            .sum::<u32>();
        let gitaly = self.gitaly.as_ref().map_or(0, |group| group.count);
        let rails = self.rails.as_ref().map_or(0, |rails| rails.desired);
        fixed + gitaly + rails + u32::from(self.single_box.is_some())
    }
}
