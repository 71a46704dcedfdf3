//! `gitlab-backup restore` (doc/administration/backup_restore/restore_gitlab.md).

use std::time::Duration;

use super::Job;

/// Which backup to bring back. Its archive lies at [`super::archive_path`], the workers are stopped, and the secrets
/// are those of the backup's database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restore {
    /// Its name; never another than it got when it was made, because repositories are looked up by it.
    pub backup: String,
    /// `db uploads builds artifacts lfs terraform_state registry pages repositories packages`
    pub skip: Vec<&'static str>,
}

impl Restore {
    /// The command; it asks nothing. That repositories are server-side GitLab knows from the archive.
    pub fn job(&self) -> Job {
        let mut words = vec![
            "env".to_owned(),
            "GITLAB_ASSUME_YES=1".into(),
            "gitlab-backup".into(),
            "restore".into(),
            format!("BACKUP={}", self.backup),
        ];
        if !self.skip.is_empty() {
            words.push(format!("SKIP={}", self.skip.join(",")));
        }
        Job::new(words).usually(Duration::from_mins(30))
    }
}

/// Whether the output is of a restore that came to its end. The exit code alone does not tell for every version.
pub fn restored(output: &str) -> bool {
    output
        .lines()
        .any(|line| line.trim_end().ends_with("Restore task is done."))
}

/// What the database said while it was restored, other than what GitLab knows to be harmless and leaves out itself. It
/// tells so and goes on, where nobody is asked, and ends as if all were well.
pub fn database_errors(output: &str) -> Option<String> {
    let mut lines = output.lines().map(str::trim_end);
    lines.find(|line| line.ends_with("BEGIN ERRORS -----"))?;
    let said: Vec<&str> = lines
        .take_while(|line| !line.contains("END ERRORS"))
        .filter(|line| !line.is_empty())
        .take(3)
        .collect();
    Some(said.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_the_documentation() {
        let restore = Restore {
            backup: "1708568263_2024_02_22_16.9.0-ce".into(),
            skip: vec!["db", "uploads"],
        };
        assert_eq!(
            restore.job().words().join(" "),
            "env GITLAB_ASSUME_YES=1 gitlab-backup restore BACKUP=1708568263_2024_02_22_16.9.0-ce SKIP=db,uploads"
        );
    }

    #[test]
    fn the_end_is_told_by_the_last_lines() {
        assert!(restored(
            "x\n2022-11-09 04:27:13 +0000 -- Restore task is done.\n-- Deleting lock file\n"
        ));
        assert!(!restored("Restoring database ... done\n"));
    }

    #[test]
    fn errors_of_the_database_are_found_in_front_of_a_good_end() {
        let fine =
            "Restoring PostgreSQL database gitlabhq_production ... [DONE]\nRestore task is done.\n";
        assert_eq!(database_errors(fine), None);
        let bad = "------ BEGIN ERRORS -----\nERROR:  could not extend file: No space left on device\n\n\
            ------ END ERRORS -------\nThere were errors in restoring the schema.\nRestore task is done.\n";
        assert!(restored(bad));
        assert_eq!(
            database_errors(bad).as_deref(),
            Some("ERROR:  could not extend file: No space left on device")
        );
    }
}
