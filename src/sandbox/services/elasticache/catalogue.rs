//! What ElastiCache offers: node types, engine versions and parameters.

/// Families of node types, and the sizes each comes in.
const TYPES: &[(&str, &[&str])] = &[
    ("cache.t3", &["micro", "small", "medium"]),
    ("cache.t4g", &["micro", "small", "medium"]),
    (
        "cache.m5",
        &[
            "large", "xlarge", "2xlarge", "4xlarge", "12xlarge", "24xlarge",
        ],
    ),
    (
        "cache.m6g",
        &[
            "large", "xlarge", "2xlarge", "4xlarge", "8xlarge", "12xlarge", "16xlarge",
        ],
    ),
    (
        "cache.m7g",
        &[
            "large", "xlarge", "2xlarge", "4xlarge", "8xlarge", "12xlarge", "16xlarge",
        ],
    ),
    (
        "cache.r5",
        &[
            "large", "xlarge", "2xlarge", "4xlarge", "12xlarge", "24xlarge",
        ],
    ),
    (
        "cache.r6g",
        &[
            "large", "xlarge", "2xlarge", "4xlarge", "8xlarge", "12xlarge", "16xlarge",
        ],
    ),
    (
        "cache.r7g",
        &[
            "large", "xlarge", "2xlarge", "4xlarge", "8xlarge", "12xlarge", "16xlarge",
        ],
    ),
];

/// Versions of Valkey asked for, and the release each is.
const VERSIONS: &[(&str, &str)] = &[("7.2", "7.2.6"), ("8.0", "8.0.1"), ("8.1", "8.1.0")];

/// Parameters of the family valkey7 that can be changed.
const PARAMETERS: &[&str] = &[
    "activedefrag",
    "active-defrag-cycle-max",
    "active-defrag-cycle-min",
    "active-defrag-ignore-bytes",
    "active-defrag-threshold-lower",
    "active-defrag-threshold-upper",
    "active-expire-effort",
    "activerehashing",
    "acllog-max-len",
    "client-output-buffer-limit-normal-hard-limit",
    "client-output-buffer-limit-normal-soft-limit",
    "client-output-buffer-limit-pubsub-hard-limit",
    "client-output-buffer-limit-pubsub-soft-limit",
    "client-output-buffer-limit-replica-soft-seconds",
    "close-on-slave-write",
    "cluster-allow-pubsubshard-when-down",
    "cluster-allow-reads-when-down",
    "cluster-enabled",
    "databases",
    "hash-max-listpack-entries",
    "hash-max-listpack-value",
    "hll-sparse-max-bytes",
    "latency-tracking",
    "lazyfree-lazy-eviction",
    "lazyfree-lazy-expire",
    "lazyfree-lazy-server-del",
    "lazyfree-lazy-user-del",
    "lfu-decay-time",
    "lfu-log-factor",
    "list-compress-depth",
    "list-max-listpack-size",
    "lua-time-limit",
    "maxmemory-clients",
    "maxmemory-policy",
    "maxmemory-samples",
    "min-replicas-max-lag",
    "min-replicas-to-write",
    "notify-keyspace-events",
    "proto-max-bulk-len",
    "replica-allow-chaining",
    "replica-lazy-flush",
    "reserved-memory-percent",
    "set-max-intset-entries",
    "slowlog-log-slower-than",
    "slowlog-max-len",
    "stream-node-max-bytes",
    "stream-node-max-entries",
    "tcp-keepalive",
    "timeout",
    "tracking-table-max-keys",
    "zset-max-listpack-entries",
    "zset-max-listpack-value",
];

const POLICIES: &[&str] = &[
    "volatile-lru",
    "allkeys-lru",
    "volatile-lfu",
    "allkeys-lfu",
    "volatile-random",
    "allkeys-random",
    "volatile-ttl",
    "noeviction",
];

pub(super) fn type_known(name: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(family, size)| {
        TYPES
            .iter()
            .any(|(f, sizes)| *f == family && sizes.contains(&size))
    })
}

/// The release of Valkey that a version means.
pub(super) fn release(asked: &str) -> Option<&'static str> {
    VERSIONS
        .iter()
        .find(|(version, release)| *version == asked || *release == asked)
        .map(|(_, release)| *release)
}

/// `valkey7` of `7.2.6`.
pub(super) fn family(version: &str) -> String {
    format!("valkey{}", version.split('.').next().unwrap_or(version))
}

pub(super) fn family_known(name: &str) -> bool {
    ["valkey7", "valkey8", "redis7", "redis6.x"].contains(&name)
}

/// Why a parameter cannot have this value.
pub(super) fn problem(name: &str, value: Option<&str>) -> Option<String> {
    if !PARAMETERS.contains(&name) {
        return Some(format!("Could not find parameter with name: {name}"));
    }
    let fine = match (name, value) {
        (_, None) => true,
        ("maxmemory-policy", Some(value)) => POLICIES.contains(&value),
        ("maxmemory-samples", Some(value)) => value.parse::<u32>().is_ok_and(|n| n > 0),
        _ => true,
    };
    (!fine).then(|| {
        format!(
            "The value {} of {name} is not allowed",
            value.unwrap_or_default()
        )
    })
}
