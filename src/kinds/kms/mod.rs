//! KMS: the site's key and its name.

mod key;

pub use self::key::{Key, KeyOutput};
use crate::resource::KindInfo;

pub const KINDS: &[KindInfo] = &[];
