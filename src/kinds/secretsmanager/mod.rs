//! Secrets Manager: values made once and read only by the nodes that need them.

mod random;
mod secret;

pub use self::secret::{Secret, SecretLive, SecretOutput, SecretShape, value};
use crate::resource::KindInfo;

pub const KINDS: &[KindInfo] = &[KindInfo::of::<Secret>()];
