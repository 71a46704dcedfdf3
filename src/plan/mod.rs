//! The difference between what is wanted and what is there, decided before anything is done. Pure.

mod decide;
mod model;
mod world;

pub use self::decide::{TWO, Wanted, decide};
pub use self::model::{Action, Basis, Change, Plan, Refused, Totals};
pub use self::world::{Survey, fingerprint};
