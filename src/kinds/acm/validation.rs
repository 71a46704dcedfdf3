//! The wait for a certificate to be issued.

use serde::{Deserialize, Serialize};

use super::Certificate;
use crate::resource::Ref;

#[derive(Debug, Clone, Serialize)]
pub struct Validation {
    pub certificate: Ref<Certificate>,
    /// Nobody but the person at the keyboard can make the DNS records.
    pub by_hand: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValidationOutput {
    pub arn: String,
}
