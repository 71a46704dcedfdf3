//! Files on a host: written in one step, read whole.
//!
//! Both are a small script for the host's `sh`. The content travels on standard input, so it is in no argument list.

use std::fmt;
use std::time::Duration;

use zeroize::Zeroizing;

use super::command::{As, Command};
use super::fault::ShellFault;
use super::{Exit, Shell, Status};
use crate::secret::Secret;

/// The largest file that is read, in bytes; [`Shell::get`] promises it.
const LARGEST: usize = 64 << 20;

/// How long writing or reading one file may take.
const LIMIT: Duration = Duration::from_mins(2);

/// The exit code of our scripts for "there is no such file".
const MISSING: i32 = 44;

/// The exit code of our scripts for "the content came only in part".
const SHORT: i32 = 45;

/// A new file beside the old one, complete and with its owner and mode, takes its name. The size is compared because
/// a line that breaks looks to the host like the end of the content.
const PUT: &str = r#"set -eu
umask 077
new=$(mktemp -- "$1/.gantry-XXXXXXXXXX")
trap 'rm -f -- "$new"' EXIT
cat > "$new"
[ "$(wc -c < "$new")" -eq "$5" ] || exit 45
[ -z "$4" ] || chown -- "$4" "$new"
chmod -- "$3" "$new"
sync -- "$new"
mv -fT -- "$new" "$2"
trap - EXIT
"#;

const GET: &str = r#"[ -e "$1" ] || [ -L "$1" ] || exit 44
exec cat -- "$1"
"#;

/// An absolute path on a host. Any byte but NUL may be in its names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RemotePath {
    path: String,
    /// As whom it is read.
    user: As,
}

impl RemotePath {
    /// The path of a file; `None` unless it is absolute, names a file and holds no NUL.
    pub fn new(path: impl Into<String>) -> Option<Self> {
        let path = path.into();
        let named = path.starts_with('/') && !path.ends_with('/') && !path.contains('\0');
        named.then_some(Self {
            path,
            user: As::Login,
        })
    }

    /// Reads as root.
    #[must_use]
    pub fn sudo(mut self) -> Self {
        self.user = As::Root;
        self
    }

    pub fn as_str(&self) -> &str {
        &self.path
    }

    /// The folder it is in.
    fn folder(&self) -> &str {
        match self.path.rfind('/') {
            Some(0) | None => "/",
            Some(at) => &self.path[..at],
        }
    }
}

impl fmt::Display for RemotePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)
    }
}

/// What is in a file. `Debug` shows its size, or the fingerprint of a secret.
#[derive(Clone)]
pub enum Content {
    Bytes(Vec<u8>),
    Secret(Secret),
}

impl Content {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Secret(secret) => secret.reveal().as_bytes(),
        }
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "{} bytes", bytes.len()),
            Self::Secret(secret) => secret.fmt(f),
        }
    }
}

impl From<Vec<u8>> for Content {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<&str> for Content {
    fn from(text: &str) -> Self {
        Self::Bytes(text.as_bytes().to_vec())
    }
}

impl From<String> for Content {
    fn from(text: String) -> Self {
        Self::Bytes(text.into_bytes())
    }
}

impl From<Secret> for Content {
    fn from(secret: Secret) -> Self {
        Self::Secret(secret)
    }
}

/// A file to be written. A link of that name is replaced, not followed.
#[derive(Debug, Clone)]
pub struct RemoteFile {
    path: RemotePath,
    mode: u32,
    owner: Option<String>,
    content: Content,
    user: As,
}

impl RemoteFile {
    /// A file that only its owner may read: mode 0600.
    pub fn new(path: RemotePath, content: impl Into<Content>) -> Self {
        Self {
            user: path.user.clone(),
            path,
            mode: 0o600,
            owner: None,
            content: content.into(),
        }
    }

    #[must_use]
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode & 0o7777;
        self
    }

    /// `user` or `user:group`.
    #[must_use]
    pub fn owner(mut self, owner: impl Into<String>) -> Self {
        self.owner = Some(owner.into());
        self
    }

    /// Writes as root.
    #[must_use]
    pub fn sudo(mut self) -> Self {
        self.user = As::Root;
        self
    }

    pub fn path(&self) -> &RemotePath {
        &self.path
    }

    pub fn content(&self) -> &Content {
        &self.content
    }

    pub fn permissions(&self) -> u32 {
        self.mode
    }

    fn command(&self) -> Command {
        let bytes = Zeroizing::new(self.content.bytes().to_vec());
        Command::script(format!("write {}", self.path), PUT)
            .arg(self.path.folder())
            .arg(self.path.as_str())
            .arg(format!("{:04o}", self.mode))
            .arg(self.owner.clone().unwrap_or_default())
            .arg(bytes.len().to_string())
            .stdin(bytes.to_vec())
            .as_user(self.user.clone())
            .timeout(LIMIT)
    }
}

/// [`Shell::put`] for a shell that can run commands.
pub(super) async fn put(shell: &dyn Shell, file: &RemoteFile) -> Result<(), ShellFault> {
    let exit = shell.run(&file.command()).await?;
    if exit.ok() {
        return Ok(());
    }
    let why = match exit.status {
        Status::Code(SHORT) => "the content came only in part".into(),
        _ => why(&exit),
    };
    Err(ShellFault::File {
        at: Box::new(shell.place()),
        path: file.path.to_string(),
        what: "written",
        why,
    })
}

/// [`Shell::get`] for a shell that can run commands.
pub(super) async fn get(shell: &dyn Shell, path: &RemotePath) -> Result<Vec<u8>, ShellFault> {
    let command = Command::script(format!("read {path}"), GET)
        .arg(path.as_str())
        .as_user(path.user.clone())
        .keep(LARGEST, 0)
        .timeout(LIMIT);
    let exit = shell.run(&command).await?;
    let at = Box::new(shell.place());
    let path = path.to_string();
    let what = "read";
    if exit.status == Status::Code(MISSING) {
        return Err(ShellFault::Missing { at, path });
    }
    if !exit.ok() {
        let why = why(&exit);
        return Err(ShellFault::File {
            at,
            path,
            what,
            why,
        });
    }
    exit.stdout.whole().ok_or_else(|| ShellFault::File {
        at,
        path,
        what,
        why: format!("it is larger than {} MiB", LARGEST >> 20),
    })
}

fn why(exit: &Exit) -> String {
    let line = exit.stderr.last_line();
    if line.is_empty() {
        exit.status.to_string()
    } else {
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_absolute_and_name_a_file() {
        for wrong in ["", "etc/x", "/", "/etc/", "/a\0b"] {
            assert_eq!(RemotePath::new(wrong), None, "{wrong:?}");
        }
        assert_eq!(RemotePath::new("/x").unwrap().folder(), "/");
        assert_eq!(RemotePath::new("/a/b c/d\n").unwrap().folder(), "/a/b c");
    }

    #[test]
    fn content_is_in_no_argument_and_no_debug() {
        let path = RemotePath::new("/etc/gantry/secrets.json").unwrap();
        let secret = Secret::new("correct horse".into());
        for content in [Content::from(secret), Content::from("correct horse")] {
            let file = RemoteFile::new(path.clone(), content).owner("root:root");
            let command = file.command();
            for shown in [
                format!("{file:?}"),
                format!("{command:?}"),
                command.line(),
                command.title(),
            ] {
                assert!(!shown.contains("horse"), "{shown}");
            }
            assert_eq!(command.input().as_slice(), b"correct horse");
        }
    }
}
