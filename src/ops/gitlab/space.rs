//! Room on a node's disks.

use std::time::Duration;

use super::{said, unclear};
use crate::ops::OpsFault;
use crate::shell::{Command, Shell};

/// A file system, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    pub total: u64,
    /// What GitLab's own user may still write.
    pub free: u64,
}

/// The file system that a path is on.
pub async fn disk(shell: &dyn Shell, path: &str) -> Result<Disk, OpsFault> {
    let command = Command::new("df")
        .args(["-B1", "--output=size,avail", "--", path])
        .sudo();
    let text = said(shell, &command).await?;
    let line = text.lines().last().unwrap_or_default();
    let numbers: Vec<u64> = line
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    match numbers[..] {
        [total, free] => Ok(Disk { total, free }),
        _ => Err(unclear(shell, &format!("the room of {path}"), line)),
    }
}

/// How many bytes are below a path, without other file systems. Walks all of it, for ten minutes at most; none when
/// that is not enough, or when there is no such path.
pub async fn size_of(shell: &dyn Shell, path: &str) -> Result<Option<u64>, OpsFault> {
    let command = Command::new("du")
        .args(["-sxB1", "--", path])
        .timeout(Duration::from_mins(10))
        .sudo();
    let text = match shell.run(&command).await {
        // Files that vanish meanwhile make du complain; its sum is good enough all the same.
        Ok(exit) => exit.stdout.text(),
        Err(crate::shell::ShellFault::Timeout { .. }) => return Ok(None),
        Err(fault) => return Err(fault.into()),
    };
    let line = text.lines().last().unwrap_or_default();
    Ok(line
        .split_whitespace()
        .next()
        .and_then(|word| word.parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::Local;
    use crate::shell::recorder::{Answer, Recorder};

    #[tokio::test]
    async fn columns_are_read_and_nonsense_is_not() {
        let nodes = Recorder::new();
        nodes.on("box", "df *").answer(Answer::out(
            "  1B-blocks       Avail\n10737418240  5368709120\n",
        ));
        let shell = nodes.shell("box");
        let found = disk(shell.as_ref(), "/var/opt/gitlab/backups")
            .await
            .unwrap();
        assert_eq!((found.total, found.free), (10 << 30, 5 << 30));
        assert_eq!(
            nodes.ran("box"),
            ["df -B1 --output=size,avail -- /var/opt/gitlab/backups"]
        );
        nodes.on("box", "df *").answer(Answer::out("df: what?\n"));
        assert!(disk(shell.as_ref(), "/x").await.is_err());
        nodes
            .on("box", "du *")
            .answer(Answer::code(1, "du: no such file"));
        assert_eq!(size_of(shell.as_ref(), "/x").await.unwrap(), None);
    }

    #[tokio::test]
    async fn real_tools_print_what_is_read() {
        let shell = Local::new("here");
        // Without sudo, which a machine of tests need not have.
        let df = Command::new("df").args(["-B1", "--output=size,avail", "--", "/"]);
        let text = said(&shell, &df).await.unwrap();
        assert_eq!(
            text.lines().last().unwrap().split_whitespace().count(),
            2,
            "{text}"
        );
    }
}
