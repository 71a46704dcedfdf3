//! What a run tells while it runs. The engine reports; whoever listens draws, or writes it down.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One thing that happened. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The steps that will run, and the longest chain of usual times among them.
    Planned {
        steps: Vec<StepNote>,
        #[serde(with = "seconds")]
        critical: Duration,
    },
    Started {
        name: String,
        verb: String,
    },
    /// AWS is working on it; its own word for the state.
    Waiting {
        name: String,
        status: String,
        #[serde(with = "seconds")]
        usual: Duration,
    },
    /// A call is put off and will be tried again.
    Retrying {
        name: String,
        attempt: u32,
        #[serde(with = "seconds")]
        after: Duration,
        why: String,
    },
    Finished {
        name: String,
        verb: String,
        #[serde(with = "seconds")]
        took: Duration,
    },
    Failed {
        name: String,
        verb: String,
        fault: String,
    },
    Blocked {
        name: String,
        verb: String,
        by: String,
    },
    /// Something worth saying that is not about one step.
    Note {
        text: String,
    },
    /// Ctrl-C was pressed for the n-th time.
    Stopping {
        presses: u8,
    },
    Summary(Totals),
}

/// A step as announced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepNote {
    pub name: String,
    pub verb: String,
    #[serde(with = "seconds")]
    pub usual: Duration,
    /// The longest chain of usual times that begins with this step, its own included.
    #[serde(default, with = "seconds")]
    pub chain: Duration,
}

/// How a run ended, in numbers of steps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    pub done: usize,
    pub failed: usize,
    pub blocked: usize,
    /// Interrupted or not started.
    pub left: usize,
}

/// Whoever listens.
pub type Observer = Arc<dyn Fn(&Event) + Send + Sync>;

mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64((time.as_secs_f64() * 1000.0).round() / 1000.0)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        Ok(Duration::try_from_secs_f64(f64::deserialize(from)?).unwrap_or_default())
    }
}
