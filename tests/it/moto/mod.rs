//! moto's server over HTTP: an AWS that gantry did not write, and a second client (boto3) to look at it with.
//!
//! What moto lacks is listed in `tests/support/moto/gaps.toml`. Python 3 and the package index that pip is
//! configured for are needed; without them these tests fail and say so.

mod gaps;
mod python;
mod server;

pub use self::gaps::{Gaps, Handled};
pub use self::python::support;
pub use self::server::{Moto, Policy, REGION, Said};
