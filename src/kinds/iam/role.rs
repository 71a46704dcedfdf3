//! A role: who may take it, and what it may do.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::kinds::kms::Key;
use crate::kinds::s3::Bucket;
use crate::kinds::secretsmanager::Secret;
use crate::kinds::sns::Topic;
use crate::resource::Ref;

#[derive(Debug, Clone, Serialize)]
pub struct Role {
    pub name: String,
    /// From [`super::path`].
    pub path: String,
    /// Who may take the role: `ec2.amazonaws.com`.
    pub service: String,
    pub grants: Vec<Grant>,
}

/// One allowance.
#[derive(Debug, Clone, Serialize)]
pub struct Grant {
    pub sid: String,
    pub actions: Vec<String>,
    pub on: Vec<Target>,
    /// Operator to key to value, as in a policy: `StringEquals`, `ec2:ResourceTag/gantry:site`, `acme`.
    pub conditions: BTreeMap<String, BTreeMap<String, String>>,
}

/// What an allowance is about.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    Any,
    Arn(String),
    Bucket(Ref<Bucket>),
    /// Everything in the bucket.
    Objects(Ref<Bucket>),
    Key(Ref<Key>),
    Secret(Ref<Secret>),
    Topic(Ref<Topic>),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleOutput {
    pub name: String,
    pub arn: String,
}
