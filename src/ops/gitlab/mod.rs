//! Everything gantry asks of GitLab's own tools on a node: one file a subject, each command line with its source.
//!
//! Paths beginning with `doc/` are GitLab's own documentation. Commands that take long are [`Job`]s: they run under a
//! name ([`Unit`]), so that neither a cut line nor an end of gantry ends or doubles them.

mod archive;
mod archived;
mod backup;
mod check;
mod config_files;
mod ctl;
mod database;
mod freeze;
mod installed;
mod modes;
mod refs;
mod restore;
mod secrets;
mod space;
mod unit;

pub use self::archive::{Archive, archive, archive_path, bring_archive, lent, remove_archive};
pub use self::archived::{Archived, archived, not_restorable};
pub use self::backup::{Backup, backup_id, failed_repositories, is_backup_id, running_backup};
pub use self::check::{Check, Verdict, check};
pub use self::config_files::config_files;
pub use self::ctl::{
    Service, WORKERS, reconfigure, services, start, start_workers, stop, stop_workers,
};
pub use self::database::{Migration, analyze, extensions, unfinished_migrations};
pub use self::freeze::{Thawed, freeze, thaw};
pub use self::installed::{Installed, version};
pub use self::modes::{maintenance_mode, silent_mode};
pub use self::refs::{Refs, SAMPLE, refs};
pub use self::restore::{Restore, database_errors, restored};
pub use self::secrets::{secrets_mark, secrets_mark_of};
pub use self::space::{Disk, disk, size_of};
pub use self::unit::{Job, Progress, Unit};

/// The words of the scripts and commands here, for whoever plays a node.
pub mod words {
    pub use super::archive::BRING;
    pub use super::archived::ARCHIVED;
    pub use super::backup::RUNNING;
    pub use super::config_files::FILES;
    pub use super::database::{ANALYZE, EXTENSIONS, MIGRATIONS};
    pub use super::freeze::{FREEZE, THAW};
    pub use super::refs::REFS;
    pub use super::secrets::MARK;
    pub use super::unit::{BEGIN, FORGET, WATCH};
}

use std::time::Duration;

use super::OpsFault;
use crate::shell::{Command, Shell};

/// Long enough for a Rails process to start on a busy node, and for one pass over the database's catalogue.
const RUNNER_LIMIT: Duration = Duration::from_mins(10);

/// `gitlab-rails runner` with a script and its arguments (doc/administration/operations/rails_console.md).
fn runner(script: &str) -> Command {
    Command::new("gitlab-rails")
        .args(["runner", script])
        .timeout(RUNNER_LIMIT)
        .sudo()
}

/// What a command that must succeed wrote to its standard output.
async fn said(shell: &dyn Shell, command: &Command) -> Result<String, OpsFault> {
    Ok(shell.must(command).await?.stdout.text())
}

/// What a node said that nobody understands.
fn unclear(shell: &dyn Shell, what: &str, line: &str) -> OpsFault {
    OpsFault::check(
        format!("{}: {what}", shell.host()),
        format!("the answer is not understood: `{line}`"),
        "run the command on the node by hand and compare",
    )
}
