//! Whether the repositories in a backup's archive restore, and what they then point at.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use super::refs::{NO_REPOSITORY, Refs};
use super::{archive_path, said, unclear};
use crate::boot::sha256;
use crate::ops::OpsFault;
use crate::shell::{Command, Shell};

pub const ARCHIVED: &str = include_str!("../../../templates/ops/archived.py");

/// The package's own Git.
const GIT: &str = "/opt/gitlab/embedded/bin/git";

/// Every repository is unpacked and all its objects are looked for.
const LIMIT: Duration = Duration::from_hours(12);

/// The repositories of an archive.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Archived {
    /// Those that were brought back, with the digest of their refs that [`super::refs()`] gives of living ones.
    pub refs: Refs,
    /// Those that cannot be brought back, with the reason.
    pub wrong: BTreeMap<String, String>,
    /// Those of [`Archived::refs`] that came back other than their refs were listed just before they were saved, with
    /// the first ref that differs: somebody pushed in between, or a byte is wrong.
    pub unlike: BTreeMap<String, String>,
}

/// Brings each repository of a backup's archive back into an empty one beside the archive, which lies on the node at
/// [`archive_path`], and removes it again. Needs as much room as the largest repository. The backup is a whole one,
/// not an increment.
pub async fn archived(shell: &dyn Shell, backup: &str) -> Result<Archived, OpsFault> {
    let command = Command::new("python3")
        .args(["-c", ARCHIVED])
        .args([archive_path(backup).as_str(), backup, GIT])
        .keep(64 << 20, 0)
        .timeout(LIMIT)
        .sudo();
    let text = said(shell, &command).await?;
    let nonsense = |line: &str| unclear(shell, "the repositories in its archive", line);
    let mut found = Archived::default();
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    while let Some(line) = lines.next() {
        match serde_json::from_str(line).map_err(|_| nonsense(line))? {
            Line::Good {
                repository,
                refs,
                unlike,
            } => {
                found
                    .unlike
                    .extend(unlike.map(|name| (repository.clone(), name)));
                found.refs.insert(repository, refs);
            }
            Line::Bad { repository, wrong } => drop(found.wrong.insert(repository, wrong)),
            Line::End { read } if lines.next().is_none() && read <= found.len() => {
                return Ok(found);
            }
            Line::End { .. } => break,
        }
    }
    // Cut short, it would look as if everything were well.
    Err(nonsense(text.lines().last().unwrap_or_default()))
}

impl Archived {
    fn len(&self) -> usize {
        self.refs.len() + self.wrong.len()
    }

    /// What speaks against the archive, by repository; `known` is what some of them point at, and pointed at all the
    /// time while they were saved. Empty when nothing does.
    pub fn against(mut self, known: &Refs) -> BTreeMap<String, String> {
        for (repository, refs) in known {
            // Of a repository without refs an archive may have nothing at all.
            let nothing = refs == NO_REPOSITORY || *refs == sha256(b"");
            let wrong = match (self.refs.get(repository), self.unlike.get(repository)) {
                (Some(_), Some(name)) => format!("nobody pushed to it, and its {name} is another"),
                (Some(archived), None) if archived == refs => continue,
                (Some(_), None) => "its refs are not those that it had while it was saved".into(),
                (None, _) if nothing => continue,
                (None, _) => "it is not in the archive".into(),
            };
            // That it cannot be brought back says more.
            self.wrong.entry(repository.clone()).or_insert(wrong);
        }
        self.wrong
    }
}

/// Says what [`Archived::against`] found, for people.
pub fn not_restorable(host: &str, found: &BTreeMap<String, String>) -> OpsFault {
    let shown: Vec<String> = found
        .iter()
        .take(5)
        .map(|(repository, wrong)| format!("{repository}: {wrong}"))
        .collect();
    OpsFault::check(
        format!("{host}: the archive of gitlab-backup"),
        format!(
            "{} repositories do not come back from it: {}",
            found.len(),
            shown.join("; ")
        ),
        "check them with `gitlab-rake gitlab:git:fsck` on that node, and its disk; then take a new point",
    )
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Good {
        repository: String,
        refs: String,
        unlike: Option<String>,
    },
    Bad {
        repository: String,
        wrong: String,
    },
    End {
        read: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::recorder::{Answer, Recorder};

    #[tokio::test]
    async fn each_line_is_read_and_the_end_must_be_there() {
        let good = "{\"repository\":\"@hashed/1\",\"refs\":\"aa\"}\n";
        let bad = "{\"repository\":\"@hashed/2\",\"wrong\":\"git bundle: bad\"}\n";
        let nodes = Recorder::new();
        let shell = nodes.shell("box");
        let end = "{\"read\":2}\n";
        nodes
            .on("box", "python3 *")
            .answer(Answer::out(format!("{good}{bad}{end}")));
        let found = archived(shell.as_ref(), "b").await.unwrap();
        assert_eq!(found.refs["@hashed/1"], "aa");
        assert_eq!(found.wrong["@hashed/2"], "git bundle: bad");
        for cut in [
            String::new(),
            format!("{good}{bad}"),
            format!("{good}{end}"),
            format!("{good}{end}{bad}"),
            format!("warning\n{end}"),
        ] {
            nodes.on("box", "python3 *").answer(Answer::out(&*cut));
            assert!(archived(shell.as_ref(), "b").await.is_err(), "{cut}");
        }
    }
}
