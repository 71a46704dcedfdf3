//! What gantry makes in AWS: one file per kind, and the [`registry`] that lists them.

pub mod acm;
pub mod autoscaling;
pub mod backup;
pub mod cloudwatch;
pub mod dlm;
pub mod ec2;
pub mod elasticache;
pub mod elb;
pub mod iam;
pub mod kms;
pub mod logs;
pub mod rds;
pub mod registry;
pub mod route53;
pub mod s3;
pub mod secretsmanager;
pub mod sns;
mod tagged;

use serde::{Deserialize, Serialize};

/// Whether AWS refuses to delete the thing until somebody says so twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protection {
    On,
    Off,
}

impl Protection {
    pub fn is_on(self) -> bool {
        self == Self::On
    }
}
