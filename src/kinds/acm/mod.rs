//! ACM: the certificate of the front door.

mod certificate;
mod validation;

pub use self::certificate::{Certificate, CertificateOutput, ValidationRecord};
pub(super) use self::certificate::{
    others_prove, ours as certificates_of_ours, records as validation_records,
};
pub use self::validation::{Validation, ValidationOutput};
use crate::resource::KindInfo;

/// The kinds of ACM.
pub const KINDS: &[KindInfo] = &[KindInfo::of::<Certificate>(), KindInfo::of::<Validation>()];
