//! The site's own encryption key.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Serialize)]
pub struct Key {
    pub description: String,
    /// Whether AWS makes new key material every year.
    pub rotation: bool,
    /// How many days a deleted key can still be called back, 7 to 30.
    pub pending_days: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyOutput {
    pub id: String,
    pub arn: String,
}
