//! How far a transfer is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes that are where they should be, those of an earlier run included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moved {
    pub done: u64,
    /// None where nobody knows before the end.
    pub total: Option<u64>,
}

/// Told after every piece; from any thread, so it must be quick.
pub type Progress = Arc<dyn Fn(Moved) + Send + Sync>;

/// Counts for one call; clones count together.
#[derive(Clone)]
pub(super) struct Meter {
    to: Option<Progress>,
    done: Arc<AtomicU64>,
    total: Option<u64>,
}

impl Meter {
    pub(super) fn new(to: Option<Progress>, total: Option<u64>) -> Self {
        Self {
            to,
            done: Arc::default(),
            total,
        }
    }

    pub(super) fn add(&self, bytes: u64) {
        let done = self.done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if let Some(to) = &self.to {
            to(Moved {
                done,
                total: self.total,
            });
        }
    }
}
