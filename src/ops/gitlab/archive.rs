//! The archive of a backup on a node's disk.

use std::time::Duration;

use aws_sdk_s3::presigning::PresigningConfig;

use super::{Job, said, unclear};
use crate::cloud::Fault;
use crate::ops::OpsFault;
use crate::ops::transfer::Place;
use crate::resource::CloudCx;
use crate::secret::Secret;
use crate::shell::{Command, Shell};

pub const BRING: &str = include_str!("../../../templates/ops/bring.sh");

/// Where GitLab writes archives and looks for them, unless gitlab.rb says otherwise; gantry's does not
/// (doc/administration/backup_restore/backup_gitlab.md).
const BACKUPS: &str = "/var/opt/gitlab/backups";

/// The path of a backup's archive.
pub fn archive_path(backup: &str) -> String {
    format!("{BACKUPS}/{backup}_gitlab_backup.tar")
}

/// A file on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    pub bytes: u64,
    /// In hexadecimal digits.
    pub sha256: String,
}

/// Size and SHA-256 of a backup's archive, read whole: half a minute for ten GiB.
pub async fn archive(shell: &dyn Shell, backup: &str) -> Result<Archive, OpsFault> {
    let path = archive_path(backup);
    let size = Command::new("stat")
        .args(["--format=%s", "--", &path])
        .sudo();
    let text = said(shell, &size).await?;
    let bytes = text.trim().parse();
    let bytes = bytes.map_err(|_| unclear(shell, &format!("the size of {path}"), text.trim()))?;
    let sum = Command::new("sha256sum")
        .args(["--", &path])
        .timeout(Duration::from_hours(2))
        .sudo();
    let text = said(shell, &sum).await?;
    let sha256 = text
        .split_whitespace()
        .next()
        .unwrap_or_default()
        .to_owned();
    if sha256.len() != 64 {
        return Err(unclear(
            shell,
            &format!("the checksum of {path}"),
            text.trim(),
        ));
    }
    Ok(Archive { bytes, sha256 })
}

/// How long the URL of an archive is good for: as long as credentials of an instance at the most.
const GOOD_FOR: Duration = Duration::from_hours(6);

/// The URL by which whoever knows it may read an archive, for some hours.
pub async fn lent(cx: &CloudCx, archive: &Place) -> Result<Secret, OpsFault> {
    let config = PresigningConfig::expires_in(GOOD_FOR)
        .map_err(|error| OpsFault::internal(error.to_string()))?;
    let get = cx.aws().s3.get_object();
    let signed = get
        .bucket(&archive.bucket)
        .key(&archive.key)
        .presigned(config)
        .await
        .map_err(|error| Fault::internal(format!("no URL for {archive}: {error}")))?;
    Ok(Secret::new(signed.uri().to_owned()))
}

/// Brings an archive from a presigned URL to where a restore looks for it, owned by GitLab's user. It gets its name
/// only when its SHA-256 is the right one; run again, it goes on where it stopped. `path` is [`archive_path`].
pub fn bring_archive(url: Secret, path: &str, sha256: &str) -> Job {
    Job::new(["sh", "-c", BRING, "sh", path, sha256, "git:git"])
        .input(url)
        .usually(Duration::from_mins(5))
}

/// Removes a backup's archive from the node: its copy in the bucket is the one that counts. Fine when there is none.
pub async fn remove_archive(shell: &dyn Shell, backup: &str) -> Result<(), OpsFault> {
    let command = Command::new("rm")
        .args(["-f", "--", &archive_path(backup)])
        .sudo();
    shell.must(&command).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::recorder::{Answer, Recorder};

    #[tokio::test]
    async fn size_and_checksum_are_read() {
        let nodes = Recorder::new();
        let sum = "a".repeat(64);
        nodes.on("box", "stat *").answer(Answer::out("10240\n"));
        nodes.on("box", "sha256sum *").answer(Answer::out(format!(
            "{sum}  /var/opt/gitlab/backups/x_gitlab_backup.tar\n"
        )));
        let shell = nodes.shell("box");
        let found = archive(shell.as_ref(), "x").await.unwrap();
        assert_eq!(
            found,
            Archive {
                bytes: 10240,
                sha256: sum
            }
        );
        nodes.on("box", "sha256sum *").answer(Answer::out("?"));
        assert!(archive(shell.as_ref(), "x").await.is_err());
    }

    #[test]
    fn the_address_is_in_no_word() {
        let job = bring_archive(
            Secret::new("https://x/?X-Amz-Signature=abc".into()),
            "/x",
            "0",
        );
        assert!(!format!("{job:?}").contains("Signature"));
    }

    /// Brings a file of this machine, by the script itself.
    async fn bring(
        from: &std::path::Path,
        to: &std::path::Path,
        sum: &str,
    ) -> Result<String, String> {
        use std::os::unix::fs::MetadataExt as _;
        let meta = std::fs::metadata(from).unwrap();
        let command = Command::script("bring", BRING)
            .args([to.to_str().unwrap(), sum])
            .arg(format!("{}:{}", meta.uid(), meta.gid()))
            .stdin(format!("file://{}", from.display()));
        let exit = crate::shell::Local::new("here")
            .run(&command)
            .await
            .unwrap();
        let line = exit.last_line();
        if exit.ok() { Ok(line) } else { Err(line) }
    }

    #[tokio::test]
    async fn a_file_gets_its_name_when_it_is_whole_and_right() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (
            folder.path().join("from"),
            folder.path().join("to/backup.tar"),
        );
        let part = folder.path().join("to/backup.tar.part");
        std::fs::write(&from, "archive").unwrap();
        // SHA-256 of `archive`.
        let right = "0eb3e36bfb24dcd9bb1d1bece1531216b59539a8fde17ee80224af0653c92aa3";
        let wrong = "0".repeat(64);
        let refused = bring(&from, &to, &wrong).await.unwrap_err();
        assert!(refused.contains("is another"), "{refused}");
        assert!(!to.exists() && !part.exists());
        // Half of it came before the line was cut.
        std::fs::write(&part, "arch").unwrap();
        assert_eq!(bring(&from, &to, right).await.unwrap(), "brought");
        assert_eq!(std::fs::read_to_string(&to).unwrap(), "archive");
        assert_eq!(
            bring(&from, &to, right).await.unwrap(),
            "it is there already"
        );
        // All of it came, and then the node was restarted.
        std::fs::rename(&to, &part).unwrap();
        assert_eq!(bring(&from, &to, right).await.unwrap(), "brought");
        assert!(!part.exists());
    }
}
