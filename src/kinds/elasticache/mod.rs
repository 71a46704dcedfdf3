use crate::resource::KindInfo;

pub const KINDS: &[KindInfo] = &[];
