//! One run at a time: a lock file that says who holds it.
//!
//! The lock itself is the kernel's (`flock`), so a dead holder holds nothing; the text in the file only tells
//! people who it is and since when.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

/// Who holds the lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    pub run: String,
    pub verb: String,
    pub process: u32,
    pub host: String,
    pub user: String,
    pub since: jiff::Timestamp,
}

/// The lock cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error("cannot use the lock {path}: {source}")]
    Io {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error(transparent)]
    Held(#[from] Held),
}

/// Another run holds it.
#[derive(Debug, thiserror::Error)]
#[error("`gantry {}` is at work on this site: {} on {}, process {}, since {}", holder.verb, holder.user, holder.host, holder.process, holder.since)]
pub struct Held {
    pub holder: Holder,
}

/// The right to change the site, until dropped.
#[derive(Debug)]
pub struct RunLock {
    file: File,
    /// Whoever held the lock and died without letting go properly.
    pub dead: Option<Holder>,
}

impl RunLock {
    /// Takes the lock in `dir`, or says who has it.
    pub fn take(dir: &Path, me: &Holder) -> Result<Self, LockError> {
        let path = dir.join("run.lock");
        let io = |source| LockError::Io {
            path: path.clone(),
            source,
        };
        fs::create_dir_all(dir).map_err(io)?;
        let mut file = OpenOptions::new()
            .create(true)
            .read(true)
            .write(true)
            .truncate(false)
            .open(&path)
            .map_err(io)?;
        let held = flock(&file, FlockOperation::NonBlockingLockExclusive).is_err();
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(io)?;
        let before: Option<Holder> = serde_json::from_str(&text).ok();
        if held {
            // The holder may be between taking the lock and writing its name.
            let holder = before.unwrap_or_else(|| Holder {
                run: "unknown".into(),
                verb: "run".into(),
                process: 0,
                host: "this host".into(),
                user: "somebody".into(),
                since: me.since,
            });
            return Err(Held { holder }.into());
        }
        file.set_len(0).map_err(io)?;
        file.rewind().map_err(io)?;
        file.write_all(serde_json::to_string(me).unwrap_or_default().as_bytes())
            .map_err(io)?;
        file.sync_data().map_err(io)?;
        Ok(Self { file, dead: before })
    }

    /// Whoever holds the lock in `dir` right now.
    pub fn holder(dir: &Path) -> Option<Holder> {
        let file = File::open(dir.join("run.lock")).ok()?;
        let free = flock(&file, FlockOperation::NonBlockingLockShared).is_ok();
        if free {
            return None;
        }
        serde_json::from_reader(file).ok()
    }
}

impl Drop for RunLock {
    fn drop(&mut self) {
        // An empty file says the last run ended properly; if it stays, the next run merely mentions it.
        let _ = self.file.set_len(0);
    }
}
