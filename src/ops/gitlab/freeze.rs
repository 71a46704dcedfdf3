//! Holding back writes to a disk while it is imaged.

use std::time::Duration;

use super::{said, unclear};
use crate::ops::OpsFault;
use crate::shell::{Command, Shell};

pub const FREEZE: &str = include_str!("../../../templates/ops/freeze.sh");
pub const THAW: &str = include_str!("../../../templates/ops/thaw.sh");

/// Where the node marks what is frozen: in memory, where writing works whatever is frozen.
const MARKS: &str = "/run/gantry/frozen";

/// Whether a file system was frozen until it was let go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Thawed {
    Now,
    /// The switch on the node was faster, or it was never frozen: an image taken meanwhile is of a disk in motion.
    Before,
}

/// Holds back all writes to the file system at `mount`, for `most` at most: then a switch on the node lets them
/// through, even if nobody comes back. Refused for the root file system and for what has none of its own. May be
/// called again; the time begins anew.
pub async fn freeze(shell: &dyn Shell, mount: &str, most: Duration) -> Result<(), OpsFault> {
    let command = Command::script(format!("freeze {mount}"), FREEZE)
        .args([mount, &most.as_secs().max(1).to_string(), &marks(mount)])
        .timeout(Duration::from_mins(1))
        .sudo();
    shell.must(&command).await?;
    Ok(())
}

/// Lets writes through again, and tells whether they were held back until now. Fine when nothing is frozen.
pub async fn thaw(shell: &dyn Shell, mount: &str) -> Result<Thawed, OpsFault> {
    let command = Command::script(format!("thaw {mount}"), THAW)
        .args([mount, &marks(mount)])
        .timeout(Duration::from_mins(1))
        .sudo();
    let text = said(shell, &command).await?;
    match text.trim() {
        "thawed now" => Ok(Thawed::Now),
        "thawed before" => Ok(Thawed::Before),
        other => Err(unclear(
            shell,
            &format!("the end of the freeze of {mount}"),
            other,
        )),
    }
}

/// One folder for each mount: `/run/gantry/frozen/var-opt-gitlab`.
fn marks(mount: &str) -> String {
    format!("{MARKS}/{}", mount.trim_matches('/').replace('/', "-"))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::shell::{Local, Status};

    /// A machine whose `fsfreeze` and `mountpoint` are played: they write down what they are asked.
    struct Machine {
        folder: tempfile::TempDir,
    }

    impl Machine {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let machine = Self { folder };
            let log = machine.path("log");
            machine.tool("fsfreeze", &format!("echo \"$1\" >>{log}"));
            machine.tool("mountpoint", "exit 0");
            // The mount and the root are on different devices.
            machine.tool("stat", "case $4 in /) echo 1 ;; *) echo 2 ;; esac");
            machine
        }

        fn path(&self, name: &str) -> String {
            self.folder.path().join(name).to_str().unwrap().to_owned()
        }

        fn tool(&self, name: &str, body: &str) {
            let path = self.path(name);
            fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }

        async fn run(&self, script: &str, args: &[&str]) -> crate::shell::Exit {
            let path = std::env::var("PATH").unwrap();
            let command = Command::script("x", script)
                .args(args.iter().copied())
                .env("PATH", format!("{}:{path}", self.folder.path().display()));
            Local::new("here").run(&command).await.unwrap()
        }

        async fn freeze(&self, seconds: &str) -> crate::shell::Exit {
            self.run(FREEZE, &["/data", seconds, &self.path("marks")])
                .await
        }

        async fn thaw(&self) -> String {
            let exit = self.run(THAW, &["/data", &self.path("marks")]).await;
            exit.stdout.text().trim().to_owned()
        }

        fn log(&self) -> Vec<String> {
            let text = fs::read_to_string(self.path("log")).unwrap_or_default();
            text.lines().map(ToOwned::to_owned).collect()
        }

        fn marked(&self) -> bool {
            fs::read_dir(self.path("marks")).is_ok_and(|mut all| all.next().is_some())
        }
    }

    #[tokio::test]
    async fn what_was_frozen_is_thawed_once() {
        let machine = Machine::new();
        assert!(machine.freeze("100").await.ok());
        assert!(machine.marked());
        assert_eq!(machine.thaw().await, "thawed now");
        assert_eq!(machine.thaw().await, "thawed before");
        assert_eq!(machine.log(), ["--freeze", "--unfreeze"]);
    }

    #[tokio::test]
    async fn a_freeze_that_was_left_is_ended_before_the_next() {
        let machine = Machine::new();
        assert!(machine.freeze("100").await.ok());
        assert!(machine.freeze("100").await.ok());
        assert_eq!(machine.thaw().await, "thawed now");
        assert_eq!(
            machine.log(),
            ["--freeze", "--unfreeze", "--freeze", "--unfreeze"]
        );
    }

    #[tokio::test]
    async fn the_switch_thaws_when_nobody_does() {
        let machine = Machine::new();
        // The switch's own wait ends at once.
        machine.tool("sleep", "exit 0");
        assert!(machine.freeze("1").await.ok());
        let thawed = || async {
            while machine.marked() || machine.log().len() < 2 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_mins(1), thawed())
            .await
            .unwrap();
        assert_eq!(machine.thaw().await, "thawed before");
        assert_eq!(
            machine
                .log()
                .iter()
                .filter(|line| *line == "--unfreeze")
                .count(),
            1
        );
    }

    #[tokio::test]
    async fn the_root_and_plain_folders_are_refused() {
        let machine = Machine::new();
        let root = machine
            .run(FREEZE, &["/", "9", &machine.path("marks")])
            .await;
        assert_eq!(root.status, Status::Code(1));
        machine.tool("mountpoint", "exit 1");
        let exit = machine.freeze("9").await;
        assert_eq!(
            exit.stderr.text(),
            "/data is not a file system of its own: freezing it would stop the whole machine\n"
        );
        machine.tool("mountpoint", "exit 0");
        machine.tool("stat", "echo 1");
        assert!(!machine.freeze("9").await.ok());
        assert!(machine.log().is_empty() && !machine.marked());
    }

    #[tokio::test]
    async fn a_freeze_that_fails_leaves_no_mark() {
        let machine = Machine::new();
        machine.tool("fsfreeze", "exit 1");
        assert!(!machine.freeze("9").await.ok());
        assert!(!machine.marked());
    }
}
