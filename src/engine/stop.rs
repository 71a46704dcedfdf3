//! Ctrl-C: once winds down, twice stops at the next record, thrice leaves.

use tokio::sync::watch;

/// How urgently a run should end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StopLevel {
    /// Carry on.
    Go,
    /// Start nothing new, drop waits, finish calls in flight and their records.
    WindDown,
    /// Stop as soon as no record is half written.
    Now,
}

/// The switch, shared by everything that runs.
#[derive(Debug, Clone)]
pub struct Stop {
    level: watch::Sender<StopLevel>,
}

impl Default for Stop {
    fn default() -> Self {
        Self {
            level: watch::Sender::new(StopLevel::Go),
        }
    }
}

impl Stop {
    pub fn level(&self) -> StopLevel {
        *self.level.borrow()
    }

    /// One more press; what it now means.
    pub fn press(&self) -> StopLevel {
        self.level.send_modify(|level| {
            *level = match level {
                StopLevel::Go => StopLevel::WindDown,
                StopLevel::WindDown | StopLevel::Now => StopLevel::Now,
            };
        });
        self.level()
    }

    /// Returns once the level is at least this.
    pub async fn reached(&self, wanted: StopLevel) {
        let mut changes = self.level.subscribe();
        // The sender lives in `self`, so this cannot fail.
        let _ = changes.wait_for(|level| *level >= wanted).await;
    }
}
