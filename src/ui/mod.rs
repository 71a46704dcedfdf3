//! How gantry speaks: data on stdout, conversation on stderr, colour only where it adds to words.

mod bytes;
mod duration;
mod plan;
mod progress;
mod prompt;
mod say;
mod table;

pub use self::bytes::bytes;
pub use self::duration::human;
pub use self::plan::{plan_text, totals_line};
pub use self::progress::progress;
pub use self::prompt::{Answer, ask, ask_name, ask_yes};
pub use self::say::{Output, Say};
pub use self::table::table;
