//! The sandbox's world on disk: one JSON file, written whole after each change, guarded by a lock so that
//! two gantry processes see one world.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::world::World;

/// The world's file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("cannot use {path}: {source}")]
    Io {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{path} is not a sandbox world: {source}")]
    Format {
        path: PathBuf,
        source: serde_json::Error,
    },
}

/// A folder that holds one world.
#[derive(Debug, Clone)]
pub struct Folder {
    dir: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Saved {
    format: u32,
    /// Cloud time and real time of the last change.
    cloud: Timestamp,
    real: Timestamp,
    world: World,
}

/// However long the folder lay untouched, cloud time goes on by at most this much.
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_hours(2);

impl Folder {
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Where the world is kept.
    pub fn path(&self) -> PathBuf {
        self.dir.join("world.json")
    }

    /// The world, and the cloud's present time.
    pub(super) fn open(&self, speed: u32) -> Result<(World, Timestamp), StoreError> {
        fs::create_dir_all(&self.dir).map_err(|source| StoreError::Io {
            path: self.dir.clone(),
            source,
        })?;
        let now = Timestamp::now();
        let Some(saved) = self.load()? else {
            return Ok((World::new(super::ACCOUNT), now));
        };
        let paused = now.duration_since(saved.real).max(SignedDuration::ZERO);
        let played = paused
            .checked_mul(i32::try_from(speed).unwrap_or(1))
            .unwrap_or(LONGEST_PAUSE)
            .min(LONGEST_PAUSE);
        Ok((
            saved.world,
            saved.cloud.checked_add(played).unwrap_or(saved.cloud),
        ))
    }

    fn load(&self) -> Result<Option<Saved>, StoreError> {
        let path = self.path();
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|source| StoreError::Format { path, source }),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StoreError::Io { path, source }),
        }
    }

    /// Takes the lock and, if another process changed the world meanwhile, loads its version.
    pub(super) fn enter(&self, world: &mut World) -> Option<Guard> {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.dir.join("world.lock"))
            .ok()?;
        flock(&file, FlockOperation::LockExclusive).ok()?;
        if let Ok(Some(saved)) = self.load_if_newer(world) {
            *world = saved.world;
        }
        Some(Guard { _file: file })
    }

    fn load_if_newer(&self, world: &World) -> Result<Option<Saved>, StoreError> {
        let serial = fs::read_to_string(serial_path(&self.dir))
            .ok()
            .and_then(|s| s.trim().parse::<u64>().ok());
        if serial.is_none_or(|s| s == world.generation) {
            Ok(None)
        } else {
            self.load()
        }
    }

    /// Writes the world: whole, beside the old one, then in its place.
    pub(super) fn save(&self, world: &mut World, cloud: Timestamp) {
        world.generation += 1;
        let saved = Saved {
            format: 1,
            cloud,
            real: Timestamp::now(),
            world: world.clone(),
        };
        let Ok(text) = serde_json::to_vec(&saved) else {
            return;
        };
        let temporary = self.dir.join("world.json.new");
        // A sandbox that cannot write goes on in memory; the next command would see the older world.
        if fs::write(&temporary, text).is_ok() && fs::rename(&temporary, self.path()).is_ok() {
            let _ = fs::write(serial_path(&self.dir), world.generation.to_string());
        }
    }
}

fn serial_path(dir: &Path) -> PathBuf {
    dir.join("world.generation")
}

/// The lock, let go when dropped.
pub(super) struct Guard {
    _file: File,
}
