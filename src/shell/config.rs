//! What OpenSSH needs to reach the same hosts the same way.

use std::ffi::{OsStr, OsString};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::fault::ShellFault;
use super::ssh::Endpoint;

/// What all hosts of a configuration share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientConfig {
    /// The file of [`super::KnownHosts`].
    pub known_hosts: PathBuf,
    /// Key files to offer besides the agent's.
    pub keys: Vec<PathBuf>,
}

/// A configuration for `ssh -F`: hosts by their names, nodes through the bastion, keys verified by the same names that
/// gantry uses.
///
/// The file it is written to needs a plain path: OpenSSH names it, unquoted, in the command for the jump.
pub fn config(hosts: &[Endpoint], bastion: Option<&Endpoint>, shared: &ClientConfig) -> String {
    let mut text = String::from("# Written by gantry.\n");
    if let Some(bastion) = bastion {
        text += &block(bastion, None);
    }
    for host in hosts {
        if bastion.is_none_or(|bastion| bastion.name != host.name) {
            text += &block(host, bastion);
        }
    }
    text += "\nHost *\n";
    text += &format!("  UserKnownHostsFile {}\n", path(&shared.known_hosts));
    text += "  GlobalKnownHostsFile /dev/null\n";
    text += "  StrictHostKeyChecking yes\n";
    text += "  UpdateHostKeys no\n";
    text += "  ServerAliveInterval 15\n";
    for key in &shared.keys {
        text += &format!("  IdentityFile {}\n", path(key));
    }
    text
}

fn block(host: &Endpoint, through: Option<&Endpoint>) -> String {
    let Endpoint {
        name,
        address,
        port,
        user,
    } = host;
    let mut text = format!(
        "\nHost {name}\n  HostName {address}\n  Port {port}\n  User {user}\n  HostKeyAlias {name}\n"
    );
    if let Some(bastion) = through {
        text += &format!("  ProxyJump {}\n", bastion.name);
    }
    text
}

/// A path as ssh_config reads it: quoted, and with `%` doubled, which would begin a token.
fn path(path: &Path) -> String {
    let text = path.display().to_string().replace('%', "%%");
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// The argument list that hands a terminal over to OpenSSH: the program first, found on `search` (the value of `PATH`).
///
/// `command` is for the host's shell and may be empty.
pub fn interactive(
    search: Option<&OsStr>,
    config: &Path,
    host: &str,
    command: &[String],
) -> Result<Vec<OsString>, ShellFault> {
    let ssh = search
        .into_iter()
        .flat_map(std::env::split_paths)
        .map(|folder| folder.join("ssh"))
        .find(|file| {
            file.metadata()
                .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
        })
        .ok_or_else(|| ShellFault::NoClient { host: host.into() })?;
    let mut argv = vec![
        ssh.into_os_string(),
        "-F".into(),
        config.into(),
        host.into(),
    ];
    if !command.is_empty() {
        let words: Vec<_> = command.iter().map(|word| super::quote(word)).collect();
        argv.extend(["--".into(), words.join(" ").into()]);
    }
    Ok(argv)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_client_the_fault_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let fault = interactive(
            Some(folder.path().as_os_str()),
            Path::new("/c"),
            "rails",
            &[],
        );
        let fault = fault.unwrap_err();
        assert_eq!(
            fault.to_string(),
            "rails: this machine has no `ssh` program"
        );
        assert!(fault.help().contains("openssh-client"));
        assert_eq!(fault.host(), "rails");
        // A file that cannot be run is none.
        std::fs::write(folder.path().join("ssh"), "").unwrap();
        assert!(
            interactive(
                Some(folder.path().as_os_str()),
                Path::new("/c"),
                "rails",
                &[]
            )
            .is_err()
        );
    }

    #[test]
    fn the_bastion_does_not_go_through_itself() {
        let bastion = Endpoint::new("bastion", "192.0.2.7");
        let hosts = [bastion.clone(), Endpoint::new("gitaly-1", "10.0.0.4")];
        let shared = ClientConfig {
            known_hosts: "/s/known_hosts".into(),
            keys: vec![],
        };
        let text = config(&hosts, Some(&bastion), &shared);
        assert_eq!(text.matches("Host bastion").count(), 1);
        assert_eq!(text.matches("ProxyJump bastion").count(), 1);
    }
}
