//! The list of kinds.

use crate::resource::KindInfo;

use super::{
    acm, autoscaling, backup, cloudwatch, dlm, ec2, elasticache, elb, iam, kms, logs, rds, route53,
    s3, secretsmanager, sns,
};

/// Every kind there is, service by service. A new kind is its file and one line in its service's `KINDS`.
pub fn all() -> impl Iterator<Item = &'static KindInfo> {
    [
        kms::KINDS,
        s3::KINDS,
        iam::KINDS,
        secretsmanager::KINDS,
        ec2::KINDS,
        rds::KINDS,
        elasticache::KINDS,
        acm::KINDS,
        route53::KINDS,
        elb::KINDS,
        autoscaling::KINDS,
        sns::KINDS,
        logs::KINDS,
        cloudwatch::KINDS,
        dlm::KINDS,
        backup::KINDS,
    ]
    .into_iter()
    .flatten()
}

/// The line of a kind by its word, `ec2/vpc`.
pub fn find(kind: &str) -> Option<&'static KindInfo> {
    all().find(|info| info.kind.as_str() == kind)
}
