//! Our own keys: the agent's, and files.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::secret::Secret;

/// Asks a person for the passphrase of a key file; `None` when they would rather not.
pub type Prompt = dyn Fn(&Path) -> Option<Secret> + Send + Sync;

/// How often a passphrase is asked for.
pub(super) const ATTEMPTS: usize = 3;

/// What a person can log in with.
#[derive(Default)]
pub struct Keys {
    pub(super) agent: Option<PathBuf>,
    pub(super) files: Vec<PathBuf>,
    prompt: Option<Arc<Prompt>>,
    /// What was answered, so that thirty hosts ask once. Held while asking: the others wait for the answer.
    answers: Mutex<BTreeMap<PathBuf, Option<Secret>>>,
}

impl Keys {
    /// No keys yet.
    pub fn none() -> Self {
        Self::default()
    }

    /// The agent that listens on this socket: the value of `SSH_AUTH_SOCK`.
    #[must_use]
    pub fn agent(mut self, socket: impl Into<PathBuf>) -> Self {
        self.agent = Some(socket.into());
        self
    }

    /// A private key, in OpenSSH's or PEM format: ed25519, ECDSA or RSA.
    #[must_use]
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.files.push(path.into());
        self
    }

    /// Who is asked for passphrases.
    #[must_use]
    pub fn prompt(mut self, prompt: Arc<Prompt>) -> Self {
        self.prompt = Some(prompt);
        self
    }

    /// The passphrase of a key file, asked for at most once until it proves wrong.
    pub(super) fn passphrase(&self, path: &Path) -> Option<Secret> {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(answer) = answers.get(path) {
            return answer.clone();
        }
        let answer = self.prompt.as_ref().and_then(|prompt| prompt(path));
        answers.insert(path.to_owned(), answer.clone());
        answer
    }

    /// Forgets a passphrase that was wrong, unless another one has been given since.
    pub(super) fn wrong(&self, path: &Path, tried: &Secret) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Some(answer)) = answers.get(path)
            && answer.reveal() == tried.reveal()
        {
            answers.remove(path);
        }
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys")
            .field("agent", &self.agent)
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

/// Whether a private key needs a passphrase.
pub(super) fn is_locked(pem: &str) -> bool {
    // PEM says it in clear: `Proc-Type: 4,ENCRYPTED` or `BEGIN ENCRYPTED PRIVATE KEY`.
    if !pem.contains("BEGIN OPENSSH PRIVATE KEY") {
        return pem.contains("ENCRYPTED");
    }
    // OpenSSH's own format begins with a magic word and the name of the cipher:
    // https://github.com/openssh/openssh-portable/blob/master/PROTOCOL.key
    let body: String = pem
        .lines()
        .filter(|line| !line.starts_with("-----"))
        .collect();
    let Ok(body) = STANDARD.decode(body.trim()) else {
        return false;
    };
    body.strip_prefix(b"openssh-key-v1\0")
        .is_some_and(|rest| !rest.starts_with(b"\0\0\0\x04none"))
}

/// The public half that lies beside a private key, as it is sent on the wire.
pub(super) fn public_half(path: &Path) -> Option<Vec<u8>> {
    let mut name = path.as_os_str().to_owned();
    name.push(".pub");
    let line = std::fs::read_to_string(PathBuf::from(name)).ok()?;
    STANDARD.decode(line.split_whitespace().nth(1)?).ok()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn a_passphrase_is_asked_for_once_and_again_when_it_was_wrong() {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let keys = Keys::none().prompt(Arc::new(move |_: &Path| {
            Some(Secret::new(format!(
                "try {}",
                count.fetch_add(1, Ordering::SeqCst)
            )))
        }));
        let path = Path::new("/k");
        let first = keys.passphrase(path).unwrap();
        assert_eq!(keys.passphrase(path).unwrap().reveal(), "try 0");
        keys.wrong(path, &first);
        assert_eq!(keys.passphrase(path).unwrap().reveal(), "try 1");
        // Somebody else found out first: the new answer stays.
        keys.wrong(path, &first);
        assert_eq!(keys.passphrase(path).unwrap().reveal(), "try 1");
        assert_eq!(asked.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn locked_keys_are_told_apart() {
        assert!(is_locked(
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n"
        ));
        assert!(is_locked("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"));
        assert!(!is_locked("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n"));
        let openssh = |cipher: &[u8]| {
            let body = [b"openssh-key-v1\0".as_slice(), cipher].concat();
            format!(
                "-----BEGIN OPENSSH PRIVATE KEY-----\n{}\n-----END OPENSSH PRIVATE KEY-----\n",
                STANDARD.encode(body)
            )
        };
        assert!(!is_locked(&openssh(b"\0\0\0\x04none")));
        assert!(is_locked(&openssh(b"\0\0\0\x0aaes256-ctr")));
    }
}
