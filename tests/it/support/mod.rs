//! What the integration tests stand on: a site in the strict cloud, in memory, on a clock that is played.

pub mod cloud;
pub mod command;
pub mod compare;
pub mod deaths;
pub mod package;
pub mod shelf;
pub mod ssh;
pub mod stage;

pub use command::{Place, Said};
pub use compare::{difference, picture};
