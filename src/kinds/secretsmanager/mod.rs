//! Secrets Manager: values made once and read only by the nodes that need them.

mod secret;

pub use self::secret::{Secret, SecretOutput, SecretShape};
use crate::resource::KindInfo;

pub const KINDS: &[KindInfo] = &[];
