//! Which key each host shows, and who vouched for it.
//!
//! Two sources: the boot reports, which come from the host itself through the site's own bucket, and the file
//! `known_hosts` in the state folder, which keeps them and can be read by OpenSSH. A host is known by its name, never
//! by its address: addresses are given to other machines later.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use sha2::{Digest, Sha256};

/// A host's public key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostKey {
    kind: String,
    blob: Vec<u8>,
}

impl HostKey {
    /// Reads `ssh-ed25519 AAAA… comment`; `None` if it is not one.
    pub fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let (kind, blob) = (words.next()?, words.next()?);
        let key = Self::from_blob(STANDARD.decode(blob).ok()?)?;
        (key.kind == kind).then_some(key)
    }

    /// A key as it is sent on the wire, which says its own kind.
    pub(super) fn from_blob(blob: Vec<u8>) -> Option<Self> {
        let length = u32::from_be_bytes(blob.get(..4)?.try_into().ok()?);
        let kind = blob.get(4..4 + usize::try_from(length).ok()?)?;
        let kind = String::from_utf8(kind.to_vec()).ok()?;
        Some(Self { kind, blob })
    }

    /// `ssh-ed25519`, `ecdsa-sha2-nistp256`, `ssh-rsa`, …
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// As `ssh-keygen -l` shows it: `SHA256:…`, after the kind.
    pub fn fingerprint(&self) -> String {
        format!("{} {}", self.kind, fingerprint(&self.blob))
    }
}

impl fmt::Display for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, STANDARD.encode(&self.blob))
    }
}

/// `SHA256:…` of any public key.
pub(super) fn fingerprint(blob: &[u8]) -> String {
    format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(blob)))
}

/// What to do with a host nobody has vouched for. A changed key is refused in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostKeyPolicy {
    /// Refuse it.
    KnownOnly,
    /// Believe the first key it shows, and write that down.
    RecordFirst,
}

/// What is known of a key that a host shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Known,
    Unknown,
    /// Another one is known: these.
    Changed(Vec<HostKey>),
}

/// The keys of all hosts of a site.
#[derive(Debug, Default)]
pub struct KnownHosts {
    file: Option<PathBuf>,
    keys: Mutex<BTreeMap<String, Vec<HostKey>>>,
}

impl KnownHosts {
    /// Knows nobody, and forgets everything.
    pub fn in_memory() -> Self {
        Self::default()
    }

    /// Reads a file in OpenSSH's format; one that does not exist is empty. Only lines with plain names are read: the
    /// file is ours, and we write no others.
    pub fn open(file: impl Into<PathBuf>) -> io::Result<Self> {
        let file = file.into();
        let text = match std::fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error),
        };
        let mut keys: BTreeMap<String, Vec<HostKey>> = BTreeMap::new();
        for line in text.lines().map(str::trim) {
            if line.starts_with(['#', '@', '|']) {
                continue;
            }
            let Some((names, key)) = line.split_once(char::is_whitespace) else {
                continue;
            };
            let Some(key) = HostKey::parse(key) else {
                continue;
            };
            for name in names.split(',') {
                keys.entry(name.to_owned()).or_default().push(key.clone());
            }
        }
        Ok(Self {
            file: Some(file),
            keys: Mutex::new(keys),
        })
    }

    /// The file behind it.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Takes a host's keys from its boot report, in place of what was known: whoever replaces a machine replaces its
    /// keys. Lines that are no key are passed over; a report without any key changes nothing.
    pub fn report<L: AsRef<str>>(
        &self,
        host: &str,
        lines: impl IntoIterator<Item = L>,
    ) -> io::Result<()> {
        let mut reported: Vec<_> = lines
            .into_iter()
            .filter_map(|line| HostKey::parse(line.as_ref()))
            .collect();
        reported.sort();
        reported.dedup();
        let mut keys = self.lock();
        if reported.is_empty() || keys.get(host) == Some(&reported) {
            return Ok(());
        }
        keys.insert(host.to_owned(), reported);
        self.save(&keys)
    }

    /// Forgets a host that is gone.
    pub fn forget(&self, host: &str) -> io::Result<()> {
        let mut keys = self.lock();
        if keys.remove(host).is_none() {
            return Ok(());
        }
        self.save(&keys)
    }

    /// The known keys of a host.
    pub fn keys(&self, host: &str) -> Vec<HostKey> {
        self.lock().get(host).cloned().unwrap_or_default()
    }

    /// Whether this is the key we know, and what to do if we know none.
    pub(super) fn check(
        &self,
        host: &str,
        shown: &HostKey,
        policy: HostKeyPolicy,
    ) -> io::Result<Verdict> {
        let mut keys = self.lock();
        match keys.get(host).filter(|known| !known.is_empty()) {
            Some(known) if known.contains(shown) => Ok(Verdict::Known),
            Some(known) => Ok(Verdict::Changed(known.clone())),
            None if policy == HostKeyPolicy::RecordFirst => {
                keys.insert(host.to_owned(), vec![shown.clone()]);
                self.save(&keys)?;
                Ok(Verdict::Known)
            }
            None => Ok(Verdict::Unknown),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Vec<HostKey>>> {
        // The map is whole between any two statements.
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new file takes the old one's name: a crash leaves one of the two.
    fn save(&self, keys: &BTreeMap<String, Vec<HostKey>>) -> io::Result<()> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        let mut text =
            String::from("# Written by gantry: the hosts of this site by their names.\n");
        for (host, keys) in keys {
            for key in keys {
                text += &format!("{host} {key}\n");
            }
        }
        let mut name = file.clone().into_os_string();
        name.push(".new");
        let new = PathBuf::from(name);
        let mut out = std::fs::File::create(&new)?;
        out.write_all(text.as_bytes())?;
        out.sync_all()?;
        std::fs::rename(&new, file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl";
    const TWO: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGNi4pLQJaJGYKXD2e4bmQ0Gt4IIb0DQY3nZ5l3R4xqF";

    fn key(line: &str) -> HostKey {
        HostKey::parse(line).unwrap()
    }

    #[test]
    fn keys_are_read_and_written() {
        assert_eq!(key(&format!("{ONE} root@gitaly-1")).to_string(), ONE);
        assert_eq!(key(ONE).kind(), "ssh-ed25519");
        // As `ssh-keygen -l` says; GitHub publishes this one.
        assert_eq!(
            key(ONE).fingerprint(),
            "ssh-ed25519 SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU"
        );
        for wrong in [
            "",
            "ssh-ed25519",
            "ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIA==",
            "ssh-ed25519 AAAA",
            "x !",
        ] {
            assert_eq!(HostKey::parse(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn unknown_is_refused_known_is_fine_changed_is_said() {
        let known = KnownHosts::in_memory();
        let check = |line, policy| known.check("gitaly-1", &key(line), policy).unwrap();
        assert_eq!(check(ONE, HostKeyPolicy::KnownOnly), Verdict::Unknown);
        assert_eq!(check(ONE, HostKeyPolicy::KnownOnly), Verdict::Unknown);
        known.report("gitaly-1", [ONE, "no key"]).unwrap();
        assert_eq!(check(ONE, HostKeyPolicy::KnownOnly), Verdict::Known);
        for policy in [HostKeyPolicy::KnownOnly, HostKeyPolicy::RecordFirst] {
            assert_eq!(check(TWO, policy), Verdict::Changed(vec![key(ONE)]));
        }
        // A report speaks for the machine that is there now; an empty one says nothing.
        known.report("gitaly-1", [TWO]).unwrap();
        known.report("gitaly-1", ["nothing"]).unwrap();
        assert_eq!(known.keys("gitaly-1"), [key(TWO)]);
    }

    #[test]
    fn the_first_key_is_recorded_only_where_that_is_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("known_hosts");
        let known = KnownHosts::open(&file).unwrap();
        let check =
            |known: &KnownHosts, line, policy| known.check("a", &key(line), policy).unwrap();
        assert_eq!(
            check(&known, ONE, HostKeyPolicy::KnownOnly),
            Verdict::Unknown
        );
        assert!(!file.exists());
        assert_eq!(
            check(&known, ONE, HostKeyPolicy::RecordFirst),
            Verdict::Known
        );
        let again = KnownHosts::open(&file).unwrap();
        assert_eq!(check(&again, ONE, HostKeyPolicy::KnownOnly), Verdict::Known);
        again.forget("a").unwrap();
        assert!(KnownHosts::open(&file).unwrap().keys("a").is_empty());
    }

    #[test]
    fn comments_and_names_in_one_line_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("known_hosts");
        std::fs::write(&file, format!("# x\n\na,b {ONE} c\nbroken\n|1|x|y {ONE}\n")).unwrap();
        let known = KnownHosts::open(&file).unwrap();
        assert_eq!(known.keys("a"), [key(ONE)]);
        assert_eq!(known.keys("b"), [key(ONE)]);
        assert!(known.keys("|1|x|y").is_empty());
    }
}
