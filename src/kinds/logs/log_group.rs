//! A group of logs that a service writes, made before the service makes it untagged and kept for ever.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Serialize)]
pub struct LogGroup {
    /// `/aws/rds/instance/ID/postgresql`.
    pub name: String,
    pub retention_days: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogGroupOutput {
    pub name: String,
    pub arn: String,
}
