//! `[database]`, `[praefect_database]`, `[cache]`: other managed stores than the profile's.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::profile::{
    CacheEngine, CacheNodeType, DatabaseEngine, DbClass, PostgresVersion, StorageType,
    ValkeyVersion,
};

/// Overrides for GitLab's database, RDS for PostgreSQL.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Database {
    /// Only `postgres`; Aurora is not supported by GitLab.
    pub engine: Option<DatabaseEngine>,
    /// `17`, or an exact minor version like `17.6`.
    pub engine_version: Option<PostgresVersion>,
    /// The RDS instance class, not burstable.
    pub class: Option<DbClass>,
    /// Storage to begin with, in GiB.
    pub storage_gib: Option<u32>,
    /// How far RDS may grow the storage by itself, in GiB.
    pub max_storage_gib: Option<u32>,
    /// What the storage is made of.
    pub storage_type: Option<StorageType>,
    /// Provisioned operations a second.
    pub iops: Option<u32>,
    /// Keep a standby in another zone.
    pub multi_az: Option<bool>,
    /// Read replicas that GitLab balances over.
    pub read_replicas: Option<u32>,
    /// The name of an existing parameter group to use instead of ours.
    pub parameter_group: Option<String>,
}

/// Overrides for Praefect's own small database.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PraefectDatabase {
    /// `17`, or an exact minor version like `17.6`.
    pub engine_version: Option<PostgresVersion>,
    /// The RDS instance class, not burstable.
    pub class: Option<DbClass>,
    /// Storage to begin with, in GiB.
    pub storage_gib: Option<u32>,
    /// How far RDS may grow the storage by itself, in GiB.
    pub max_storage_gib: Option<u32>,
    /// What the storage is made of.
    pub storage_type: Option<StorageType>,
    /// Provisioned operations a second.
    pub iops: Option<u32>,
    /// Keep a standby in another zone.
    pub multi_az: Option<bool>,
    /// The name of an existing parameter group to use instead of ours.
    pub parameter_group: Option<String>,
}

/// Overrides for every cache of the profile, ElastiCache for Valkey.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Cache {
    /// Only `valkey`.
    pub engine: Option<CacheEngine>,
    /// Only `7.2`.
    pub engine_version: Option<ValkeyVersion>,
    /// The ElastiCache node type, not burstable.
    pub node_type: Option<CacheNodeType>,
    /// Replicas beside the primary, 0 to 5.
    pub replicas: Option<u32>,
    /// The name of an existing parameter group to use instead of ours.
    pub parameter_group: Option<String>,
}
