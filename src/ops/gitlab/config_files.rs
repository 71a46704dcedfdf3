//! What a node is configured by, as one archive.

use std::time::Duration;

use zeroize::Zeroizing;

use crate::ops::OpsFault;
use crate::shell::{Command, Shell};

pub const FILES: &str = include_str!("../../../templates/ops/config-files.sh");

/// More than this is no configuration.
const LARGEST: usize = 16 << 20;

/// A tar of `/etc/gitlab/gitlab.rb`, the certificates below `/etc/gitlab` and the SSH host keys, paths from the root.
/// Private keys are in it: it is wiped when dropped, and belongs sealed.
pub async fn config_files(shell: &dyn Shell) -> Result<Zeroizing<Vec<u8>>, OpsFault> {
    let command = Command::script("read the node's configuration", FILES)
        .arg("/")
        .keep(LARGEST, 0)
        .timeout(Duration::from_mins(2))
        .sudo();
    let exit = shell.must(&command).await?;
    match exit.stdout.whole() {
        Some(bytes) => Ok(Zeroizing::new(bytes)),
        None => Err(OpsFault::check(
            format!("{}: its configuration", shell.host()),
            format!("is larger than {} MiB", LARGEST >> 20),
            "look for files that do not belong below /etc/gitlab/ssl and /etc/gitlab/trusted-certs",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::Local;

    #[tokio::test]
    async fn the_archive_has_what_is_there_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in [
            ("etc/gitlab/gitlab.rb", "external_url 'x'"),
            ("etc/gitlab/gitlab-secrets.json", "{}"),
            ("etc/gitlab/config_backup/old.tar", "old"),
            ("etc/gitlab/trusted-certs/ca.crt", "ca"),
            ("etc/ssh/ssh_host_ed25519_key", "key"),
            ("etc/ssh/sshd_config", "Port 22"),
        ] {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let command = Command::script("x", FILES).arg(folder.path().to_str().unwrap());
        let exit = Local::new("here").must(&command).await.unwrap();
        let bytes = exit.stdout.whole().unwrap();
        let mut read = tar::Archive::new(bytes.as_slice());
        let mut names: Vec<String> = read
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect();
        names.sort();
        assert_eq!(
            names,
            [
                "etc/gitlab/gitlab.rb",
                "etc/gitlab/trusted-certs/",
                "etc/gitlab/trusted-certs/ca.crt",
                "etc/ssh/ssh_host_ed25519_key"
            ]
        );
        let empty = tempfile::tempdir().unwrap();
        let command = Command::script("x", FILES).arg(empty.path().to_str().unwrap());
        assert!(Local::new("here").must(&command).await.is_err());
    }
}
