//! KMS: the site's key and its name.

mod alias;
mod key;

pub use self::alias::{Alias, AliasOutput};
pub use self::key::{Key, KeyOutput};
use crate::resource::KindInfo;

pub const KINDS: &[KindInfo] = &[KindInfo::of::<Key>(), KindInfo::of::<Alias>()];
