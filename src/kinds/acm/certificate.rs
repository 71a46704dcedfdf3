//! A certificate asked for, proved by DNS.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Serialize)]
pub struct Certificate {
    pub domain: String,
    pub alternative: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateOutput {
    pub arn: String,
    pub records: Vec<ValidationRecord>,
}

/// A CNAME that proves to ACM that the domain is ours.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ValidationRecord {
    pub domain: String,
    pub name: String,
    pub value: String,
}
