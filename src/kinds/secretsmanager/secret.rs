//! A secret that is made once, inside AWS, and never kept anywhere else.

use serde::{Deserialize, Serialize};

use crate::kinds::kms::Key;
use crate::resource::Ref;

#[derive(Debug, Clone, Serialize)]
pub struct Secret {
    pub name: String,
    pub description: String,
    pub shape: SecretShape,
    pub key: Ref<Key>,
}

/// What the value looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SecretShape {
    /// Letters and digits, safe in every configuration file and accepted by RDS.
    Password { length: u32 },
    /// URL-safe: letters, digits, `-` and `_`.
    Token { length: u32 },
    /// Hexadecimal digits of so many random bytes.
    Hex { bytes: u32 },
    /// No value yet: a node fills it in.
    Empty,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretOutput {
    pub arn: String,
    pub name: String,
}
