//! What gantry remembers, written down before it acts.
//!
//! A journal is a list of records, one JSON line each, flushed to disk before the next thing happens.
//! [`State`] is what the records add up to; [`State::apply`] is the one function that says which record may
//! follow which, used when writing and when reading back after a crash.

mod lock;
mod state;
mod store;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::lock::{Held, Holder, LockError, RunLock};
pub use self::state::{Entry, Phase, State, Succession};
pub use self::store::{Gate, JournalError, LocalStore, MemoryStore, Store};
use crate::resource::Address;

/// One fact. The journal's four facts about a resource are intent, made, ready and gone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub enum Record {
    /// First line of a journal: which format, and whose world this is.
    Opened {
        format: u32,
        site: String,
        account: String,
        region: String,
    },
    /// A choice that stays the same between runs (image, zones).
    Pinned { key: String, value: String },
    /// A run began.
    RunBegan {
        run: String,
        verb: String,
        at: jiff::Timestamp,
    },
    /// About to be created, with the client token every attempt will use.
    Intent {
        address: Address,
        token: String,
        spec: String,
    },
    /// The creating call answered.
    Made { address: Address, id: Value },
    /// Usable, and configured as wanted. `refs` are the things it leans on.
    Ready {
        address: Address,
        id: Value,
        output: Value,
        spec: String,
        refs: Vec<Address>,
    },
    /// About to be removed.
    Leaving { address: Address },
    /// It is gone.
    Gone { address: Address },
    /// It failed; a note for people.
    Failed { address: Address, fault: String },
    /// A run ended.
    RunEnded {
        run: String,
        outcome: String,
        at: jiff::Timestamp,
    },
}

/// The journal's present format.
pub const FORMAT: u32 = 1;
