//! Where alarms go.

use serde::{Deserialize, Serialize};

use crate::kinds::kms::Key;
use crate::resource::Ref;

#[derive(Debug, Clone, Serialize)]
pub struct Topic {
    pub name: String,
    pub key: Ref<Key>,
    pub emails: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicOutput {
    pub arn: String,
}
