//! `gitlab-backup create` (doc/administration/backup_restore/backup_gitlab.md).

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Job, said};
use crate::ops::OpsFault;
use crate::shell::{Command, Shell};

pub const RUNNING: &str = include_str!("../../../templates/ops/running-backup.sh");

/// Where GitLab's backup and restore keep the number of their process, so that there is only one of both
/// (lib/tasks/gitlab/backup.rake).
const PID_FILE: &str = "/opt/gitlab/embedded/service/gitlab-rails/tmp/backup_restore.pid";

/// What to save, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Backup {
    /// Whether Gitaly itself writes repositories to its own bucket. Since 16.3.
    pub server_side: bool,
    /// Parts to leave out: `db repositories uploads builds artifacts pages lfs terraform_state registry packages
    /// ci_secure_files agent_plan_content external_diffs`, and `tar`, `remote` for ways of working.
    pub skip: Vec<&'static str>,
    /// Repositories only as they differ from this backup. Of a server-side backup GitLab ignores the value, but wants
    /// one (doc/administration/backup_restore/backup_large_reference_architectures.md).
    pub previous: Option<String>,
    /// A prefix in the backup bucket, instead of its top.
    pub directory: Option<String>,
}

impl Backup {
    /// The command. Variables stand after it, as make wants them; without `CRON=1`, because its output names the
    /// backup.
    pub fn job(&self) -> Job {
        let mut words = vec!["gitlab-backup".to_owned(), "create".to_owned()];
        if self.server_side {
            words.push("REPOSITORIES_SERVER_SIDE=true".into());
        }
        if !self.skip.is_empty() {
            words.push(format!("SKIP={}", self.skip.join(",")));
        }
        if let Some(previous) = &self.previous {
            words.push("INCREMENTAL=yes".into());
            words.push(format!("PREVIOUS_BACKUP={previous}"));
        }
        if let Some(directory) = &self.directory {
            words.push(format!("DIRECTORY={directory}"));
        }
        // Measured by GitLab: 100 GB of repositories in about two hours.
        Job::new(words).usually(Duration::from_mins(30))
    }
}

/// The name that the backup got: `1708568263_2024_02_22_16.9.0-ce`. None if it did not come to its end.
pub fn backup_id(output: &str) -> Option<String> {
    let named = |line: &str| {
        let (_, rest) = line.split_once("Backup ")?;
        let id = rest.trim_end().strip_suffix(" is done.")?;
        is_backup_id(id).then(|| id.to_owned())
    };
    output.lines().rev().find_map(named)
}

/// Whether a text is the name of a backup: seconds, date, version, edition.
pub fn is_backup_id(text: &str) -> bool {
    let parts: Vec<_> = text.splitn(5, '_').collect();
    let [seconds, year, month, day, version] = parts[..] else {
        return false;
    };
    let digits =
        |text: &str, least: usize| text.len() >= least && text.chars().all(|c| c.is_ascii_digit());
    digits(seconds, 9)
        && digits(year, 4)
        && digits(month, 2)
        && digits(day, 2)
        && version.starts_with(|c: char| c.is_ascii_digit())
        && version
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || ".-".contains(c))
}

/// The repositories that a backup or restore names as failed, by their path on disk. The list may be empty though the
/// run failed: not every failure is one repository's.
pub fn failed_repositories(output: &str) -> BTreeSet<String> {
    // The summary of gitaly-backup is one line of JSON, with its own line ends written as \n:
    //  - @hashed/ab/cd/….git (group/project): manager: …
    let apart = output.replace("\\n", "\n");
    let named = |line: &str| {
        let rest = line.trim_start().strip_prefix("- ")?;
        let path = rest.split([' ', ':']).next()?;
        let is_path = path.contains('/') && path.ends_with(".git");
        is_path.then(|| path.to_owned())
    };
    apart.lines().filter_map(named).collect()
}

/// The backup or restore that runs on the node, if one does: GitLab refuses a second one.
pub async fn running_backup(shell: &dyn Shell) -> Result<Option<String>, OpsFault> {
    let command = Command::script("look for a running backup", RUNNING)
        .arg(PID_FILE)
        .sudo();
    let text = said(shell, &command).await?;
    let line = text.trim();
    Ok((!line.is_empty()).then(|| line.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::Local;

    #[test]
    fn words_are_those_of_the_documentation() {
        let first = Backup {
            server_side: true,
            skip: vec!["db"],
            ..Backup::default()
        };
        assert_eq!(
            first.job().words().join(" "),
            "gitlab-backup create REPOSITORIES_SERVER_SIDE=true SKIP=db"
        );
        let next = Backup {
            previous: Some("1708568263_2024_02_22_16.9.0-ce".into()),
            directory: Some("daily".into()),
            ..first
        };
        assert_eq!(
            next.job().words().join(" "),
            "gitlab-backup create REPOSITORIES_SERVER_SIDE=true SKIP=db INCREMENTAL=yes \
             PREVIOUS_BACKUP=1708568263_2024_02_22_16.9.0-ce DIRECTORY=daily"
        );
        assert_eq!(
            Backup::default().job().words().join(" "),
            "gitlab-backup create"
        );
    }

    #[test]
    fn the_name_is_read_from_the_last_line_that_has_one() {
        let output = "2024-02-22 02:17:47 UTC -- Dumping database ... \n\
            2024-02-22 02:17:50 UTC -- Backup 1708568263_2024_02_22_16.9.0-ce is done.\n\
            2024-02-22 02:17:50 UTC -- Deleting backup and restore PID file ... done\n";
        assert_eq!(
            backup_id(output).as_deref(),
            Some("1708568263_2024_02_22_16.9.0-ce")
        );
        assert_eq!(backup_id("-- Backup done\nBackup of x is done.\n"), None);
    }

    #[test]
    fn names_of_backups() {
        for right in [
            "1708568263_2024_02_22_16.9.0-ce",
            "1790000000_2026_09_21_19.5.3-ee",
            "1790000000_2026_09_21_19.5.0-rc42-ee",
        ] {
            assert!(is_backup_id(right), "{right}");
        }
        for wrong in [
            "",
            "latest",
            "1708568263_2024_02_22",
            "1708568263_2024_02_22_../x",
            "x708568263_2024_02_22_16.9.0",
        ] {
            assert!(!is_backup_id(wrong), "{wrong}");
        }
    }

    #[test]
    fn failed_repositories_are_named() {
        let output = r#"{"level":"info","msg":"started create","relative_path":"@hashed/11/22/1122.git"}
{"level":"fatal","msg":"create: pipeline: 2 failures encountered:\n - @hashed/11/22/1122.git (group/one): manager: write bundle: x\n - @snippets/3/33.git: manager: y\n","pid":7}
2026-09-21 02:17:47 UTC -- Dumping repositories failed: gitaly-backup exit status 1
 - not a repository"#;
        let failed: Vec<_> = failed_repositories(output).into_iter().collect();
        assert_eq!(failed, ["@hashed/11/22/1122.git", "@snippets/3/33.git"]);
    }

    #[tokio::test]
    async fn a_running_backup_is_told_by_its_process() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("backup_restore.pid");
        let look = || async {
            let command = Command::script("look", RUNNING).arg(file.to_str().unwrap());
            said(&Local::new("here"), &command).await.unwrap()
        };
        assert_eq!(look().await, "");
        std::fs::write(&file, std::process::id().to_string()).unwrap();
        let found = look().await;
        assert!(
            found.starts_with(&format!("process {}: ", std::process::id())),
            "{found}"
        );
        // Left behind by a process that is gone.
        std::fs::write(&file, "4194305\n").unwrap();
        assert_eq!(look().await, "");
    }
}
