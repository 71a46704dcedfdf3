//! The databases, through Rails: it knows how to reach them, wherever they are.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Job, runner, said, unclear};
use crate::ops::OpsFault;
use crate::shell::Shell;

pub const EXTENSIONS: &str = include_str!("../../../templates/ops/extensions.rb");
pub const ANALYZE: &str = include_str!("../../../templates/ops/analyze.rb");
pub const MIGRATIONS: &str = include_str!("../../../templates/ops/migrations.rb");

/// The extensions of each database: `main` to `pg_trgm`, …
pub async fn extensions(shell: &dyn Shell) -> Result<BTreeMap<String, BTreeSet<String>>, OpsFault> {
    let text = said(shell, &runner(EXTENSIONS)).await?;
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (database, extension) in text.lines().filter_map(|line| line.split_once(' ')) {
        let of = found.entry(database.to_owned()).or_default();
        of.insert(extension.trim().to_owned());
    }
    if found.is_empty() {
        return Err(unclear(
            shell,
            "the extensions of its databases",
            text.trim(),
        ));
    }
    Ok(found)
}

/// Gathers the planner's statistics, which no restore brings back
/// (doc/administration/backup_restore/restore_gitlab.md).
pub fn analyze() -> Job {
    Job::new(["gitlab-rails", "runner", ANALYZE]).usually(Duration::from_mins(5))
}

/// A background migration that is not through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migration {
    pub database: String,
    pub job: String,
    pub table: String,
    /// `active`, `paused`, `failed`, …
    pub status: &'static str,
}

/// The background migrations that are neither finished nor finalized, of all databases
/// (doc/update/background_migrations.md).
pub async fn unfinished_migrations(shell: &dyn Shell) -> Result<Vec<Migration>, OpsFault> {
    let text = said(shell, &runner(MIGRATIONS)).await?;
    // Its last line tells that the query was answered at all.
    let Some(rows) = text.trim_end().strip_suffix("read") else {
        return Err(unclear(shell, "its background migrations", text.trim()));
    };
    rows.lines()
        .map(|line| read(line).ok_or_else(|| unclear(shell, "its background migrations", line)))
        .collect()
}

fn read(line: &str) -> Option<Migration> {
    let words: Vec<_> = line.split_whitespace().collect();
    let [database, job, table, status] = words[..] else {
        return None;
    };
    Some(Migration {
        database: database.to_owned(),
        job: job.to_owned(),
        table: table.to_owned(),
        // The numbers of `batched_background_migrations.status`.
        status: match status {
            "0" => "paused",
            "1" => "active",
            "4" => "failed",
            "5" => "finalizing",
            _ => "in another state",
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::recorder::{Answer, Recorder};

    #[tokio::test]
    async fn extensions_and_migrations_are_read() {
        let nodes = Recorder::new();
        let shell = nodes.shell("box");
        let runs = "gitlab-rails runner *";
        nodes
            .on("box", runs)
            .answer(Answer::out("main btree_gist\nmain pg_trgm\nci pg_trgm\n"));
        let found = extensions(shell.as_ref()).await.unwrap();
        assert_eq!(found["main"].len(), 2);
        assert!(found["ci"].contains("pg_trgm"));
        nodes
            .on("box", runs)
            .answer(Answer::out("main BackfillX users 4\nread\n"));
        let left = unfinished_migrations(shell.as_ref()).await.unwrap();
        assert_eq!(
            (left[0].job.as_str(), left[0].status),
            ("BackfillX", "failed")
        );
        nodes.on("box", runs).answer(Answer::out("read\n"));
        assert!(
            unfinished_migrations(shell.as_ref())
                .await
                .unwrap()
                .is_empty()
        );
        for nonsense in ["", "main BackfillX\nread\n"] {
            nodes.on("box", runs).answer(Answer::out(nonsense));
            assert!(
                unfinished_migrations(shell.as_ref()).await.is_err(),
                "{nonsense}"
            );
        }
        nodes.on("box", runs).answer(Answer::out(""));
        assert!(extensions(shell.as_ref()).await.is_err());
    }
}
