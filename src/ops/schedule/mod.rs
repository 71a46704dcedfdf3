//! Backups on their own: which runs are due when, the timers that start them, and what became of each.
//!
//! systemd on the appliance host fires the timers, so a [`Calendar`] says what systemd's calendar says, on days of
//! daylight saving too. A timer starts `gantry schedule run NAME --if-due`, and the records decide whether anything is
//! due: a run that was missed, however often, is made up for once (docs/guides/schedules.md).

mod calendar;
mod metrics;
mod name;
mod place;
mod record;
mod report;
mod run;
mod standing;
mod units;

pub use self::calendar::{Calendar, Runs};
pub use self::metrics::{textfile, write_textfile};
pub use self::name::Name;
pub use self::place::{Binary, Change, Placed, Placing, Program, place, remove};
pub use self::record::{Ended, RecordError, Records, Turn};
pub use self::report::{Message, measure, publish, topic_arn};
pub use self::run::{Job, ScheduleFault, Took, When, Work, run};
pub use self::standing::{Objective, Standing, objective, standing};
pub use self::units::{Layout, Unit, calendar, stale_units, units};
