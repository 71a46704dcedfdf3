//! Versions of the managed engines, and why GitLab refuses the others
//! (doc/install/requirements.md, doc/install/cloud-services.md; facts: `versions`).

use crate::text::{Complaint, text_type};

text_type!(
    /// A version of RDS for PostgreSQL: `17` or `17.6`; `16.5` and later of 16 for GitLab 18.
    PostgresVersion, "postgres-version", "a PostgreSQL version", "17", check_postgres
);

text_type!(
    /// A version of ElastiCache for Valkey. Only 7.2: GitLab asks for it, and ElastiCache cannot go back down.
    ValkeyVersion, "valkey-version", "a Valkey version", "7.2", check_valkey
);

text_type!(
    /// The database engine, only `postgres`.
    DatabaseEngine, "database-engine", "a database engine", "postgres", check_database_engine
);

text_type!(
    /// The cache engine, only `valkey`.
    CacheEngine, "cache-engine", "a cache engine", "valkey", check_cache_engine
);

impl PostgresVersion {
    /// The major version: 17.
    pub fn major(&self) -> u32 {
        self.as_str()
            .split('.')
            .next()
            .and_then(|major| major.parse().ok())
            .unwrap_or_default()
    }
}

fn check_postgres(text: &str) -> Result<(), Complaint> {
    let numbers: Option<Vec<u32>> = text.split('.').map(|part| part.parse().ok()).collect();
    match numbers.as_deref() {
        Some([17 | 16] | [17, _]) => Ok(()),
        Some([16, minor]) if *minor >= 5 => Ok(()),
        Some([major, ..]) if *major >= 18 => Err(Complaint::new(
            "GitLab 19 is tested with PostgreSQL 17 and no newer",
            "write `engine_version = \"17\"`",
        )),
        Some([_] | [_, _]) => Err(Complaint::new(
            "it is older than GitLab accepts: 17 for GitLab 19, 16.5 at least for GitLab 18",
            "write `engine_version = \"17\"`",
        )),
        _ => Err(Complaint::new(
            "a version is a major number, or a major and a minor number",
            "write `engine_version = \"17\"`",
        )),
    }
}

fn check_valkey(text: &str) -> Result<(), Complaint> {
    let help = "write `engine_version = \"7.2\"`";
    match text.split('.').next() {
        _ if text == "7.2" => Ok(()),
        Some("5" | "6") => Err(Complaint::new(
            "Redis 6 and older were removed in GitLab 19.0",
            help,
        )),
        Some("7") => Err(Complaint::new(
            "GitLab asks for Valkey 7.2; ElastiCache's Redis 7.1 is Redis 7.0 inside and not for new sites",
            help,
        )),
        Some("8" | "9") => Err(Complaint::new(
            "GitLab is tested with Valkey 7.2, and ElastiCache cannot be taken back to it later",
            help,
        )),
        _ => Err(Complaint::new(
            "that is no version of ElastiCache for Valkey",
            help,
        )),
    }
}

fn check_database_engine(text: &str) -> Result<(), Complaint> {
    let help = "write `engine = \"postgres\"`, or leave the key out";
    match text {
        "postgres" => Ok(()),
        _ if text.starts_with("aurora") => Err(Complaint::new(
            "GitLab does not support Aurora: it breaks database load balancing",
            help,
        )),
        _ => Err(Complaint::new("GitLab runs on PostgreSQL only", help)),
    }
}

fn check_cache_engine(text: &str) -> Result<(), Complaint> {
    let help = "write `engine = \"valkey\"`, or leave the key out";
    match text {
        "valkey" => Ok(()),
        "redis" => Err(Complaint::new(
            "ElastiCache has no Redis 7.2, and its Redis 7.1 is not for new sites",
            help,
        )),
        "memcached" => Err(Complaint::new(
            "GitLab keeps queues and sessions there, which Memcached would lose",
            help,
        )),
        _ => Err(Complaint::new(
            "GitLab's cache and queues run on Valkey",
            help,
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_gitlab_accepts() {
        for good in ["17", "17.6", "16.5", "16.11", "16"] {
            assert!(good.parse::<PostgresVersion>().is_ok(), "{good}");
        }
        for bad in ["15", "16.4", "18.1", "seventeen", "17.1.2", ""] {
            assert!(bad.parse::<PostgresVersion>().is_err(), "{bad}");
        }
        for bad in ["6.2", "7.0", "7.1", "8.0", "", "x"] {
            assert!(bad.parse::<ValkeyVersion>().is_err(), "{bad}");
        }
    }
}
