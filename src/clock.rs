//! Time, as a thing that can be replaced.
//!
//! Everything that waits asks the [`Clock`], so that tests and the sandbox can play twenty minutes of AWS
//! in no time while the code that waits stays the same.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

/// Where "now" comes from and how fast waiting passes.
#[derive(Debug, Clone, Copy)]
pub enum Clock {
    /// The machine's clock.
    System,
    /// A clock that starts at `base` and runs `speed` times as fast as the real one.
    Played {
        base: Timestamp,
        start: Instant,
        speed: u32,
    },
}

impl Clock {
    /// A clock that starts now-ish at `base` and runs `speed` times real time.
    pub fn played(base: Timestamp, speed: u32) -> Self {
        Self::Played {
            base,
            start: Instant::now(),
            speed: speed.max(1),
        }
    }

    /// The present moment, in the clock's own time.
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => Timestamp::now(),
            Self::Played { base, start, speed } => {
                let played = start.elapsed().saturating_mul(*speed);
                base.checked_add(played).unwrap_or(*base)
            }
        }
    }

    /// Waits for `time` of the clock's own time.
    pub async fn sleep(&self, time: Duration) {
        tokio::time::sleep(time / self.speed()).await;
    }

    /// How many of its seconds pass in one real second.
    pub fn speed(&self) -> u32 {
        match self {
            Self::System => 1,
            Self::Played { speed, .. } => *speed,
        }
    }

    /// Time since `then`, never negative.
    pub fn since(&self, then: Timestamp) -> Duration {
        self.now()
            .duration_since(then)
            .try_into()
            .unwrap_or(Duration::ZERO)
    }
}
