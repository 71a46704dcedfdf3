//! KMS: the site's keys and their names.

mod alias;
mod key;

pub use self::alias::{Alias, AliasOutput};
pub use self::key::{CONTEXT, Key, KeyOutput, KeyUse};
use crate::resource::KindInfo;

pub const KINDS: &[KindInfo] = &[KindInfo::of::<Key>(), KindInfo::of::<Alias>()];
