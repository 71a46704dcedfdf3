//! What gantry makes in AWS: one file per kind, and the [`registry`] that lists them.

pub mod acm;
pub mod autoscaling;
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
