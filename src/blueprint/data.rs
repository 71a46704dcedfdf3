//! The managed data stores: PostgreSQL on RDS, Valkey on ElastiCache.

use std::collections::BTreeMap;

use super::network::Network;
use super::secrets::{Secrets, valkey_token};
use super::security::{Group, Groups};
use super::{Draft, protection};
use crate::kinds::elasticache::{self, CacheParameterGroupRef, ReplicationGroup};
use crate::kinds::kms::Key;
use crate::kinds::logs::LogGroup;
use crate::kinds::rds::{self, DbInstance, DbReplica, ParameterGroupRef};
use crate::profile::{CacheName, Database, MaxmemoryPolicy, Profile};
use crate::resource::Ref;

/// What the nodes and the alarms ask of the stores.
#[derive(Default)]
pub(super) struct Data {
    pub main: Option<Ref<DbInstance>>,
    pub praefect: Option<Ref<DbInstance>>,
    pub replicas: Vec<Ref<DbReplica>>,
    pub caches: Vec<(CacheName, Ref<ReplicationGroup>)>,
}

/// Which of the site's databases, and what it is called.
struct Which {
    part: &'static str,
    database: &'static str,
    user: &'static str,
    secret: &'static str,
    group: Group,
}

/// doc/install/aws/_index.md.
const MAIN: Which = Which {
    part: "main",
    database: "gitlabhq_production",
    user: "gitlab",
    secret: "database-password",
    group: Group::Database,
};

/// doc/administration/gitaly/praefect/configure.md.
const PRAEFECT: Which = Which {
    part: "praefect",
    database: "praefect_production",
    user: "praefect",
    secret: "praefect-database-password",
    group: Group::PraefectDatabase,
};

// Windows are in UTC, apart from each other, and before the usual full backup at 02:30.
const DATABASE_BACKUP: &str = "00:30-01:30";
const DATABASE_MAINTENANCE: &str = "sun:03:30-sun:04:30";
const CACHE_SNAPSHOT: &str = "01:30-02:30";
const CACHE_MAINTENANCE: &str = "sun:04:30-sun:05:30";

/// Automated backups of RDS go back 35 days at most.
const MOST_BACKUP_DAYS: u32 = 35;

/// What RDS hands to CloudWatch Logs; each goes to a group of its own.
const LOG_EXPORTS: [&str; 2] = ["postgresql", "upgrade"];

pub(super) fn add(
    draft: &mut Draft<'_>,
    network: &Network,
    groups: &Groups,
    key: &Ref<Key>,
    secrets: &Secrets,
) -> Data {
    let mut data = Data::default();
    let sizes = draft.sizes;
    if sizes.database.is_none() && sizes.caches.is_empty() {
        return data;
    }
    let mut stores = Stores {
        draft,
        network,
        groups,
        key,
        secrets,
    };
    if let Some(database) = &sizes.database {
        let subnets = stores.database_subnets();
        let parameters = stores.parameters(&MAIN, database);
        data.main = stores.database(&MAIN, database, &subnets, &parameters);
        if let Some(source) = &data.main {
            data.replicas = stores.replicas(database, source, &parameters);
        }
        if let Some(small) = &sizes.praefect_database {
            let parameters = stores.parameters(&PRAEFECT, small);
            data.praefect = stores.database(&PRAEFECT, small, &subnets, &parameters);
        }
    }
    data.caches = stores.caches(sizes);
    data
}

struct Stores<'d, 's> {
    draft: &'d mut Draft<'s>,
    network: &'d Network,
    groups: &'d Groups,
    key: &'d Ref<Key>,
    secrets: &'d Secrets,
}

impl Stores<'_, '_> {
    fn database_subnets(&mut self) -> Ref<rds::SubnetGroup> {
        let spec = rds::SubnetGroup {
            name: self.draft.names.database_subnet_group("main"),
            description: format!("Private subnets of {}", self.draft.site.site.name),
            subnets: self.network.privates(),
        };
        self.draft.world.add("main", spec)
    }

    fn parameters(&mut self, which: &Which, database: &Database) -> ParameterGroupRef {
        let site = self.draft.site;
        let existing = if which.part == MAIN.part {
            &site.database.parameter_group
        } else {
            &site.praefect_database.parameter_group
        };
        if let Some(name) = existing {
            return ParameterGroupRef::Existing(name.clone());
        }
        let parameters = if which.part == MAIN.part {
            main_parameters(database)
        } else {
            common_parameters(database)
        };
        // A group belongs to one major version. The database moves to the next one's before its own can go, so both
        // stand side by side for a while, and have names of their own.
        let major = database.engine_version.major();
        let part = format!("{}-{major}", which.part);
        let spec = rds::ParameterGroup {
            name: self.draft.names.database_parameter_group(&part),
            family: format!("postgres{major}"),
            parameters,
        };
        ParameterGroupRef::Ours(self.draft.world.add(&part, spec))
    }

    fn database(
        &mut self,
        which: &Which,
        database: &Database,
        subnets: &Ref<rds::SubnetGroup>,
        parameters: &ParameterGroupRef,
    ) -> Option<Ref<DbInstance>> {
        let identifier = self.draft.names.database(which.part);
        let logs = self.log_groups(which.part, &identifier);
        let spec = DbInstance {
            identifier,
            class: database.class.to_string(),
            engine_version: database.engine_version.to_string(),
            database: which.database.to_owned(),
            user: which.user.to_owned(),
            password: self.secrets.ours(which.secret)?,
            storage_gib: database.storage_gib,
            max_storage_gib: Some(database.max_storage_gib),
            storage_type: database.storage_type.as_str().to_owned(),
            iops: database.iops,
            throughput: None,
            multi_az: database.multi_az,
            subnet_group: subnets.clone(),
            parameter_group: parameters.clone(),
            groups: self.groups.of(which.group),
            key: self.key.clone(),
            backup_days: self.draft.site.backup.keep.daily.clamp(1, MOST_BACKUP_DAYS),
            backup_window: DATABASE_BACKUP.to_owned(),
            maintenance_window: DATABASE_MAINTENANCE.to_owned(),
            protection: protection(self.draft.site),
            insights: true,
            log_exports: LOG_EXPORTS.map(str::to_owned).to_vec(),
            logs,
        };
        Some(self.draft.world.add(which.part, spec))
    }

    /// Made before the database makes them itself, without tags and for ever; and removed after it, for the same reason.
    fn log_groups(&mut self, part: &str, identifier: &str) -> Vec<Ref<LogGroup>> {
        LOG_EXPORTS
            .iter()
            .map(|log| {
                let spec = LogGroup {
                    name: format!("/aws/rds/instance/{identifier}/{log}"),
                    retention_days: super::storage::LOG_DAYS,
                };
                self.draft.world.add(format!("{part}-{log}"), spec)
            })
            .collect()
    }

    fn replicas(
        &mut self,
        database: &Database,
        source: &Ref<DbInstance>,
        parameters: &ParameterGroupRef,
    ) -> Vec<Ref<DbReplica>> {
        (1..=database.read_replicas)
            .map(|number| {
                let part = format!("main-{number}");
                let identifier = self.draft.names.database(&part);
                let logs = self.log_groups(&part, &identifier);
                let spec = DbReplica {
                    identifier,
                    source: source.clone(),
                    class: database.class.to_string(),
                    groups: self.groups.of(Group::Database),
                    parameter_group: parameters.clone(),
                    key: self.key.clone(),
                    max_storage_gib: Some(database.max_storage_gib),
                    maintenance_window: DATABASE_MAINTENANCE.to_owned(),
                    protection: protection(self.draft.site),
                    insights: true,
                    log_exports: LOG_EXPORTS.map(str::to_owned).to_vec(),
                    logs,
                };
                self.draft.world.add(part, spec)
            })
            .collect()
    }

    fn caches(&mut self, sizes: &Profile) -> Vec<(CacheName, Ref<ReplicationGroup>)> {
        if sizes.caches.is_empty() {
            return Vec::new();
        }
        let spec = elasticache::SubnetGroup {
            name: self.draft.names.cache_subnet_group("main"),
            description: format!("Private subnets of {}", self.draft.site.site.name),
            subnets: self.network.privates(),
        };
        let subnets = self.draft.world.add("main", spec);
        sizes
            .caches
            .iter()
            .filter_map(|cache| {
                let part = cache.name.as_str();
                let spec = ReplicationGroup {
                    id: self.draft.names.replication_group(part),
                    description: purpose(cache.name).to_owned(),
                    node_type: cache.node_type.to_string(),
                    engine_version: cache.engine_version.to_string(),
                    replicas: cache.replicas,
                    subnet_group: subnets.clone(),
                    parameter_group: self.cache_parameters(cache),
                    groups: self.groups.of(Group::Cache),
                    key: self.key.clone(),
                    token: self.secrets.ours(&valkey_token(cache.name))?,
                    // What can be computed again is not worth a snapshot; queues and sessions are.
                    snapshot_days: if cache.name == CacheName::Cache { 0 } else { 3 },
                    snapshot_window: CACHE_SNAPSHOT.to_owned(),
                    maintenance_window: CACHE_MAINTENANCE.to_owned(),
                };
                Some((cache.name, self.draft.world.add(part, spec)))
            })
            .collect()
    }

    fn cache_parameters(&mut self, cache: &crate::profile::Cache) -> CacheParameterGroupRef {
        if let Some(name) = &self.draft.site.cache.parameter_group {
            return CacheParameterGroupRef::Existing(name.clone());
        }
        let mut parameters = BTreeMap::from([(
            "maxmemory-policy".to_owned(),
            cache.maxmemory_policy.as_str().to_owned(),
        )]);
        if let (MaxmemoryPolicy::AllKeysLru, Some(samples)) =
            (cache.maxmemory_policy, cache.maxmemory_samples)
        {
            parameters.insert("maxmemory-samples".to_owned(), samples.to_string());
        }
        let part = cache.name.as_str();
        let spec = elasticache::ParameterGroup {
            name: self.draft.names.cache_parameter_group(part),
            family: format!(
                "valkey{}",
                cache
                    .engine_version
                    .as_str()
                    .split('.')
                    .next()
                    .unwrap_or_default()
            ),
            parameters,
        };
        CacheParameterGroupRef::Ours(self.draft.world.add(part, spec))
    }
}

fn purpose(cache: CacheName) -> &'static str {
    match cache {
        CacheName::Main => "Queues, sessions, shared state and cache of GitLab",
        CacheName::Cache => "What GitLab can compute again",
        CacheName::Persistent => "Queues, sessions and shared state of GitLab",
    }
}

/// What both databases want.
fn common_parameters(database: &Database) -> BTreeMap<String, String> {
    named(&[
        // No connection without TLS.
        ("rds.force_ssl", "1"),
        // From the demand of the size, doc/administration/postgresql/tune.md; the profile has the sum.
        ("max_connections", &database.max_connections.to_string()),
        // What an operator looks for after a slow hour: statements above a second, waits for locks, large sorts.
        ("log_min_duration_statement", "1000"),
        ("log_lock_waits", "1"),
        ("log_temp_files", "10240"),
    ])
}

/// What GitLab's own database wants besides (doc/administration/postgresql/tune.md, and for the quoting
/// OM:doc/settings/database.md). `shared_buffers` stays RDS's quarter of the memory, 2 GB or more in every size.
fn main_parameters(database: &Database) -> BTreeMap<String, String> {
    let mut parameters = common_parameters(database);
    parameters.extend(named(&[
        // kB; 8 MB at least.
        ("work_mem", "16384"),
        // kB; 64 MB at least.
        ("maintenance_work_mem", "262144"),
        // ms; 15 to 60 seconds.
        ("statement_timeout", "60000"),
        // So that a long query on a replica is not cancelled by the primary's clean-up.
        ("hot_standby_feedback", "1"),
        // Migrations fail with "can't quote Array" otherwise.
        ("quote_all_identifiers", "0"),
        // Recommended in doc/install/requirements.md.
        ("shared_preload_libraries", "pg_stat_statements"),
    ]));
    parameters
}

fn named(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}
