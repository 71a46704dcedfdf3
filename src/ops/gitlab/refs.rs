//! What a sample of repositories points at, for comparing two worlds.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use super::{runner, said, unclear};
use crate::ops::OpsFault;
use crate::shell::Shell;

pub const REFS: &str = include_str!("../../../templates/ops/refs.rb");

/// How many repositories a restore is compared with.
pub const SAMPLE: u32 = 50;

/// What stands for the digest where there is no repository.
pub const NO_REPOSITORY: &str = "none";

/// Repositories, by their path on disk without `.git`, with a digest of all their refs, or `none`.
pub type Refs = BTreeMap<String, String>;

/// The refs of so many projects' repositories, as Gitaly lists them to Rails: the same way for one Gitaly and for a
/// Gitaly Cluster. The same seed in the same database makes the same sample. `shell` is a node with Rails.
pub async fn refs(shell: &dyn Shell, sample: u32, seed: &str) -> Result<Refs, OpsFault> {
    let command = runner(REFS)
        .args([sample.to_string(), seed.to_owned()])
        .keep(64 << 20, 0)
        .timeout(Duration::from_hours(1));
    let text = said(shell, &command).await?;
    let mut found = Refs::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let read: Line = serde_json::from_str(line)
            .map_err(|_| unclear(shell, "the refs of its repositories", line))?;
        found.insert(read.repository, read.refs);
    }
    Ok(found)
}

#[derive(Deserialize)]
struct Line {
    repository: String,
    refs: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::recorder::{Answer, Effect, Recorder};

    #[tokio::test]
    async fn one_line_each() {
        let nodes = Recorder::new();
        nodes.on("box", "gitlab-rails runner *").answer(Answer::out(
            "{\"repository\":\"@hashed/1\",\"refs\":\"aa\"}\n{\"repository\":\"@hashed/2\",\"refs\":\"none\"}\n",
        ));
        let shell = nodes.shell("box");
        let found = refs(shell.as_ref(), 20, "point-1").await.unwrap();
        assert_eq!(found["@hashed/1"], "aa");
        assert_eq!(found["@hashed/2"], "none");
        let effects = nodes.effects();
        assert!(matches!(&effects[0], Effect::Ran { said, .. } if said.ends_with(" 20 point-1")));
        nodes.on("box", "*").answer(Answer::out("warning: x\n"));
        assert!(refs(shell.as_ref(), 20, "point-1").await.is_err());
    }
}
