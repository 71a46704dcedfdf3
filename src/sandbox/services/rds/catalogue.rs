//! What RDS offers: releases of PostgreSQL, instance classes and parameters.

use serde_json::{Value, json};

use super::page;
use crate::sandbox::call::{Call, Outcome, Refusal};
use crate::sandbox::world::World;

/// Releases, oldest first in each major version.
const VERSIONS: &[&str] = &[
    "15.10", "15.12", "15.13", "15.14", "16.4", "16.5", "16.6", "16.8", "16.9", "16.10", "16.11",
    "17.2", "17.4", "17.5", "17.6", "17.7",
];

/// Families of instance classes, and the sizes each comes in.
const CLASSES: &[(&str, &[&str])] = &[
    (
        "db.t3",
        &["micro", "small", "medium", "large", "xlarge", "2xlarge"],
    ),
    (
        "db.t4g",
        &["micro", "small", "medium", "large", "xlarge", "2xlarge"],
    ),
    (
        "db.m5",
        &[
            "large", "xlarge", "2xlarge", "4xlarge", "8xlarge", "12xlarge", "16xlarge", "24xlarge",
        ],
    ),
    (
        "db.m6i",
        &[
            "large", "xlarge", "2xlarge", "4xlarge", "8xlarge", "12xlarge", "16xlarge", "24xlarge",
            "32xlarge",
        ],
    ),
    (
        "db.m6g",
        &[
            "large", "xlarge", "2xlarge", "4xlarge", "8xlarge", "12xlarge", "16xlarge",
        ],
    ),
    (
        "db.m7i",
        &[
            "large", "xlarge", "2xlarge", "4xlarge", "8xlarge", "12xlarge", "16xlarge", "24xlarge",
            "48xlarge",
        ],
    ),
    (
        "db.m7g",
        &[
            "large", "xlarge", "2xlarge", "4xlarge", "8xlarge", "12xlarge", "16xlarge",
        ],
    ),
    (
        "db.m8g",
        &[
            "large", "xlarge", "2xlarge", "4xlarge", "8xlarge", "12xlarge", "16xlarge", "24xlarge",
            "48xlarge",
        ],
    ),
    (
        "db.r5",
        &[
            "large", "xlarge", "2xlarge", "4xlarge", "8xlarge", "12xlarge", "16xlarge", "24xlarge",
        ],
    ),
    (
        "db.r6i",
        &[
            "large", "xlarge", "2xlarge", "4xlarge", "8xlarge", "12xlarge", "16xlarge", "24xlarge",
            "32xlarge",
        ],
    ),
    (
        "db.r6g",
        &[
            "large", "xlarge", "2xlarge", "4xlarge", "8xlarge", "12xlarge", "16xlarge",
        ],
    ),
    (
        "db.r7i",
        &[
            "large", "xlarge", "2xlarge", "4xlarge", "8xlarge", "12xlarge", "16xlarge", "24xlarge",
            "48xlarge",
        ],
    ),
    (
        "db.r7g",
        &[
            "large", "xlarge", "2xlarge", "4xlarge", "8xlarge", "12xlarge", "16xlarge",
        ],
    ),
    (
        "db.r8g",
        &[
            "large", "xlarge", "2xlarge", "4xlarge", "8xlarge", "12xlarge", "16xlarge", "24xlarge",
            "48xlarge",
        ],
    ),
];

/// Parameters that need a restart.
const STATIC: &[&str] = &[
    "autovacuum_freeze_max_age",
    "autovacuum_max_workers",
    "hot_standby",
    "huge_pages",
    "max_connections",
    "max_files_per_process",
    "max_locks_per_transaction",
    "max_logical_replication_workers",
    "max_pred_locks_per_transaction",
    "max_prepared_transactions",
    "max_replication_slots",
    "max_wal_senders",
    "max_worker_processes",
    "pg_stat_statements.max",
    "rds.logical_replication",
    "shared_buffers",
    "shared_preload_libraries",
    "superuser_reserved_connections",
    "track_activity_query_size",
    "track_commit_timestamp",
    "wal_buffers",
];

/// Parameters that take effect at once.
const DYNAMIC: &[&str] = &[
    "application_name",
    "auto_explain.log_min_duration",
    "autovacuum",
    "autovacuum_analyze_scale_factor",
    "autovacuum_analyze_threshold",
    "autovacuum_naptime",
    "autovacuum_vacuum_cost_delay",
    "autovacuum_vacuum_cost_limit",
    "autovacuum_vacuum_insert_scale_factor",
    "autovacuum_vacuum_scale_factor",
    "autovacuum_vacuum_threshold",
    "autovacuum_work_mem",
    "bgwriter_delay",
    "checkpoint_completion_target",
    "checkpoint_timeout",
    "client_min_messages",
    "commit_delay",
    "cursor_tuple_fraction",
    "datestyle",
    "deadlock_timeout",
    "default_statistics_target",
    "default_transaction_isolation",
    "effective_cache_size",
    "effective_io_concurrency",
    "enable_hashjoin",
    "enable_mergejoin",
    "enable_nestloop",
    "enable_seqscan",
    "from_collapse_limit",
    "geqo",
    "hash_mem_multiplier",
    "hot_standby_feedback",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "intervalstyle",
    "jit",
    "join_collapse_limit",
    "lc_messages",
    "lock_timeout",
    "log_autovacuum_min_duration",
    "log_checkpoints",
    "log_connections",
    "log_disconnections",
    "log_duration",
    "log_error_verbosity",
    "log_lock_waits",
    "log_min_duration_statement",
    "log_min_error_statement",
    "log_min_messages",
    "log_rotation_age",
    "log_statement",
    "log_statement_stats",
    "log_temp_files",
    "logical_decoding_work_mem",
    "maintenance_work_mem",
    "max_parallel_maintenance_workers",
    "max_parallel_workers",
    "max_parallel_workers_per_gather",
    "max_slot_wal_keep_size",
    "max_stack_depth",
    "max_standby_archive_delay",
    "max_standby_streaming_delay",
    "max_wal_size",
    "min_wal_size",
    "password_encryption",
    "pg_stat_statements.track",
    "plan_cache_mode",
    "quote_all_identifiers",
    "random_page_cost",
    "rds.accepted_password_auth_method",
    "rds.force_autovacuum_logging_level",
    "rds.force_ssl",
    "rds.log_retention_period",
    "rds.restrict_password_commands",
    "search_path",
    "seq_page_cost",
    "session_replication_role",
    "ssl_ciphers",
    "ssl_max_protocol_version",
    "ssl_min_protocol_version",
    "statement_timeout",
    "synchronous_commit",
    "tcp_keepalives_count",
    "tcp_keepalives_idle",
    "tcp_keepalives_interval",
    "temp_buffers",
    "temp_file_limit",
    "timezone",
    "track_functions",
    "track_io_timing",
    "vacuum_cost_delay",
    "vacuum_cost_limit",
    "vacuum_freeze_min_age",
    "wal_compression",
    "wal_keep_size",
    "wal_receiver_timeout",
    "wal_sender_timeout",
    "work_mem",
];

/// The release a call means: itself, or the newest of a major version.
pub(super) fn release(asked: &str) -> Option<&'static str> {
    if let Some(exact) = VERSIONS.iter().find(|v| **v == asked) {
        return Some(exact);
    }
    let newest = VERSIONS.iter().rev();
    newest
        .into_iter()
        .find(|v| v.split('.').next() == Some(asked))
        .copied()
}

pub(super) fn class_known(class: &str) -> bool {
    class.rsplit_once('.').is_some_and(|(family, size)| {
        CLASSES
            .iter()
            .any(|(f, sizes)| *f == family && sizes.contains(&size))
    })
}

/// `postgres17` of `17.6`.
pub(super) fn family(version: &str) -> String {
    format!("postgres{}", version.split('.').next().unwrap_or(version))
}

pub(super) fn family_known(name: &str) -> bool {
    VERSIONS.iter().any(|v| family(v) == name)
}

/// Whether a parameter is static; none when there is no such parameter.
pub(super) fn parameter(name: &str) -> Option<bool> {
    if STATIC.contains(&name) {
        return Some(true);
    }
    DYNAMIC.contains(&name).then_some(false)
}

pub(super) fn describe_versions(call: &Call) -> Outcome {
    let engine = call.opt("Engine").unwrap_or("postgres");
    let asked = call.opt("EngineVersion");
    let versions: Vec<Value> = VERSIONS
        .iter()
        .filter(|v| engine == "postgres" && asked.is_none_or(|a| **v == a || v.split('.').next() == Some(a)))
        .map(|v| {
            json!({"Engine": "postgres", "EngineVersion": v, "MajorEngineVersion": v.split('.').next(),
                "DBParameterGroupFamily": family(v), "DBEngineDescription": "PostgreSQL",
                "DBEngineVersionDescription": format!("PostgreSQL {v}-R1"), "Status": "available",
                "SupportsReadReplica": true, "SupportsLogExportsToCloudwatchLogs": true,
                "ExportableLogTypes": {"member": ["postgresql", "upgrade", "iam-db-auth-error"]}})
        })
        .collect();
    let versions = match call.flag("DefaultOnly") {
        Some(true) => versions.into_iter().rev().take(1).collect(),
        _ => versions,
    };
    Ok(page(call, "DBEngineVersions", "DBEngineVersion", versions)?.into())
}

pub(super) fn describe_orderable(world: &World, call: &Call) -> Outcome {
    let engine = call.need("Engine")?;
    let version = call.opt("EngineVersion").unwrap_or("17");
    let Some(version) = release(version).filter(|_| engine == "postgres") else {
        return Err(Refusal::bad(
            "InvalidParameterCombination",
            format!("Cannot find version {version} for {engine}"),
        ));
    };
    let class = call.opt("DBInstanceClass");
    let zones: Vec<Value> = zones(world, &call.region)
        .into_iter()
        .map(|z| json!({"Name": z}))
        .collect();
    let mut options = Vec::new();
    for (family, sizes) in CLASSES {
        for size in *sizes {
            let name = format!("{family}.{size}");
            if class.is_some_and(|c| c != name) {
                continue;
            }
            for storage in ["gp3", "io1", "io2"] {
                options.push(json!({"Engine": engine, "EngineVersion": version, "DBInstanceClass": name,
                    "LicenseModel": "postgresql-license", "StorageType": storage, "MultiAZCapable": true,
                    "ReadReplicaCapable": true, "Vpc": true, "SupportsStorageEncryption": true,
                    "SupportsPerformanceInsights": !name.starts_with("db.t3.micro") && !name.starts_with("db.t3.small"),
                    "AvailabilityZones": {"AvailabilityZone": zones}}));
            }
        }
    }
    Ok(page(
        call,
        "OrderableDBInstanceOptions",
        "OrderableDBInstanceOption",
        options,
    )?
    .into())
}

/// The zones in which the account has subnets, or the first three.
fn zones(world: &World, region: &str) -> Vec<String> {
    let used: std::collections::BTreeSet<String> = world
        .rows(region, "ec2/subnet")
        .map(|(_, r)| r.text("availabilityZone").to_owned())
        .collect();
    if used.is_empty() {
        return ["a", "b", "c"]
            .iter()
            .map(|z| format!("{region}{z}"))
            .collect();
    }
    used.into_iter().collect()
}
