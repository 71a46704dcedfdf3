//! The bucket's policy: nothing without TLS, and the AWS services that deliver logs.

use super::{Bucket, Delivery};
use crate::cloud::Fault;
use crate::kinds::iam::policy::{Policy, Statement};
use crate::resource::{ApplyCx, Scope};

/// The policy of a bucket.
///
/// Who delivers what where is in the user guides: of Elastic Load Balancing ("Access logs for your Network Load
/// Balancer"), of VPC ("Publish flow logs to Amazon S3"), and of S3 ("Permissions for log delivery").
pub(super) fn of(bucket: &Bucket, scope: &Scope) -> Policy {
    let arn = format!("arn:aws:s3:::{}", bucket.name);
    let mut statements = vec![
        Statement::deny("TlsOnly")
            .for_all()
            .actions(["s3:*"])
            .on([arn.clone(), format!("{arn}/*")])
            .when("Bool", "aws:SecureTransport", "false"),
    ];
    let delivers = |what: Delivery| bucket.allow_delivery.contains(&what);
    // Both come through the log delivery service of CloudWatch, under a prefix or none.
    if delivers(Delivery::LoadBalancerLogs) || delivers(Delivery::FlowLogs) {
        let by = |statement: Statement| {
            statement
                .for_service("delivery.logs.amazonaws.com")
                .when("StringEquals", "aws:SourceAccount", &scope.account)
                .when(
                    "ArnLike",
                    "aws:SourceArn",
                    format!("arn:aws:logs:{}:{}:*", scope.region, scope.account),
                )
        };
        statements.push(
            by(Statement::allow("AWSLogDeliveryAclCheck"))
                .actions(["s3:GetBucketAcl", "s3:ListBucket"])
                .on([arn.clone()]),
        );
        statements.push(
            by(Statement::allow("AWSLogDeliveryWrite"))
                .actions(["s3:PutObject"])
                .on([
                    format!("{arn}/AWSLogs/{}/*", scope.account),
                    format!("{arn}/*/AWSLogs/{}/*", scope.account),
                ])
                .when("StringEquals", "s3:x-amz-acl", "bucket-owner-full-control"),
        );
    }
    if delivers(Delivery::ServerAccessLogs) {
        statements.push(
            Statement::allow("S3ServerAccessLogs")
                .for_service("logging.s3.amazonaws.com")
                .actions(["s3:PutObject"])
                .on([format!("{arn}/*")])
                .when("StringEquals", "aws:SourceAccount", &scope.account),
        );
    }
    Policy::new(statements)
}

pub(super) async fn put(bucket: &Bucket, id: &str, cx: &ApplyCx<'_>) -> Result<(), Fault> {
    let text = of(bucket, cx.cloud.scope()).text();
    cx.cloud
        .put("s3:PutBucketPolicy", || {
            cx.aws()
                .s3
                .put_bucket_policy()
                .bucket(id)
                .policy(&text)
                .send()
        })
        .await?;
    Ok(())
}
