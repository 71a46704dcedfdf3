//! Procedures on a site that stands: changing its nodes' configuration, backing it up, restoring it.
//!
//! Everything here is a [`runbook`]: stages in an order, each written down before it begins and after it ends, so that
//! an interrupted procedure is taken up where it stopped. Nodes are reached through [`Hosts`], AWS through the
//! session's clients. Why procedures look as they do is in `docs/design/0010-runbooks.md`, and what a recovery point
//! is in `docs/design/0011-recovery-points.md`.

pub mod backup;
pub mod drill;
mod fault;
pub mod gitlab;
mod hosts;
mod ledger;
pub mod open;
pub mod order;
pub mod point;
pub mod prune;
pub mod restore;
pub mod retention;
pub mod runbook;
pub mod schedule;
pub mod snapshot;
pub mod transfer;
pub mod verify;

pub use self::fault::OpsFault;
pub use self::hosts::{Hosts, Played};
pub use self::ledger::{Entry, FileLedger, Ledger, LedgerError, MemoryLedger, Story};
