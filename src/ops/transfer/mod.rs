//! Bytes to and from S3, where gantry moves them itself: files, streams, folders, lists of objects.
//!
//! Nothing is copied to the local disk on the way, memory is bounded by [`Transfer::with_memory`] whatever the size,
//! every part carries a SHA-256 that S3 checks, and the SHA-256 of the whole is computed while it streams. Every call
//! may be lost or repeated without harm. What was interrupted is taken up: uploads of files and folders by a journal
//! on disk ([`Transfer::with_journals`]), downloads by the `.part` file they leave.
//!
//! One transfer of a key at a time: an upload that begins anew removes what earlier ones of the same key left.
//! Encryption is the bucket's own.
//!
//! Limits of S3 are from <https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>.

mod budget;
mod copy;
mod digest;
mod download;
mod fault;
mod index;
mod journal;
mod listing;
mod multipart;
mod parts;
mod pieces;
mod progress;
mod restore;
mod share;
mod spawned;
mod tree;
mod upload;
mod verify;
mod walk;
mod whole;

use std::path::PathBuf;

use crate::resource::CloudCx;

use self::budget::Budget;
use self::copy::COPY_PART;
use self::parts::MIB;
use self::progress::Meter;

pub use self::copy::Copied;
pub use self::digest::Digest;
pub use self::fault::TransferFault;
pub use self::index::{IndexLine, IndexReader};
pub use self::parts::stream_limit;
pub use self::progress::{Moved, Progress};
pub use self::restore::Restored;
pub use self::share::Share;
pub use self::verify::{Findings, Problem};

/// A key in a bucket; in calls about many objects, the beginning of their keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub bucket: String,
    pub key: String,
}

impl Place {
    pub fn new(bucket: impl Into<String>, key: impl Into<String>) -> Self {
        Self {
            bucket: bucket.into(),
            key: key.into(),
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "s3://{}/{}", self.bucket, self.key)
    }
}

/// An object to be read, and what is known of it. What is known is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    pub place: Place,
    /// None reads the newest version.
    pub version: Option<String>,
    pub bytes: Option<u64>,
    pub sha256: Option<Digest>,
}

impl Object {
    /// The newest version, of which nothing is known.
    pub fn newest(place: Place) -> Self {
        Self {
            place,
            version: None,
            bytes: None,
            sha256: None,
        }
    }
}

/// An object that is in S3 now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    pub place: Place,
    pub bytes: u64,
    /// Of the whole content.
    pub sha256: Digest,
    /// As S3 gave it, without quotes. No MD5: parts and KMS keys change it.
    pub etag: String,
    /// None in a bucket without versioning.
    pub version: Option<String>,
}

/// Whether an object that is there already may get a new version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overwrite {
    Allowed,
    /// A conditional put: refused by S3 itself when the key is taken. The same content counts as written.
    Never,
}

/// Moves bytes between this machine and S3. Cheap to clone; clones share the memory budget.
#[derive(Clone)]
pub struct Transfer {
    cx: CloudCx,
    budget: Budget,
    memory: u64,
    largest_copy: u64,
    journals: Option<PathBuf>,
    progress: Option<Progress>,
}

/// Parts of one object that are under way at once.
const PARTS_AT_ONCE: usize = 4;

/// Small objects that are under way at once. S3 answers one in some ten milliseconds, so this is a few thousand a second.
const OBJECTS_AT_ONCE: usize = 32;

impl Transfer {
    /// 64 MiB of buffers, no journals, nobody listening.
    pub fn new(cx: CloudCx) -> Self {
        let memory = 64 * MIB;
        Self {
            cx,
            budget: Budget::new(memory),
            memory,
            largest_copy: COPY_PART,
            journals: None,
            progress: None,
        }
    }

    /// Bytes that all buffers together may take, at least 16 MiB. It limits how long a stream may be: [`stream_limit`].
    #[must_use]
    pub fn with_memory(mut self, bytes: u64) -> Self {
        self.memory = bytes.max(16 * MIB);
        self.budget = Budget::new(self.memory);
        self
    }

    /// From where on S3 copies in parts, 1 GiB. A store that takes less in one call needs less.
    #[must_use]
    pub fn with_largest_copy(mut self, bytes: u64) -> Self {
        self.largest_copy = bytes;
        self
    }

    /// The folder in which uploads note what was sent, so that a later run takes them up. Made when needed; empty
    /// after success. Without it an upload that fails is aborted.
    #[must_use]
    pub fn with_journals(mut self, folder: impl Into<PathBuf>) -> Self {
        self.journals = Some(folder.into());
        self
    }

    /// Who is told about every piece that was moved.
    #[must_use]
    pub fn with_progress(mut self, progress: Progress) -> Self {
        self.progress = Some(progress);
        self
    }

    fn meter(&self, total: Option<u64>) -> Meter {
        Meter::new(self.progress.clone(), total)
    }

    fn s3(&self) -> &aws_sdk_s3::Client {
        &self.cx.aws().s3
    }
}
