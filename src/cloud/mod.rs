//! How gantry talks to AWS: clients, identity, rate limits, and errors sorted into [`Fault`].

mod fault;
mod identity;
mod limits;
mod presign;
pub mod quotas;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use std::time::Duration;

pub use self::fault::{Fault, by_code, quota_of, sort};
pub use self::identity::Identity;
pub use self::limits::Limits;
pub use self::presign::Presigner;

/// One client per AWS service gantry calls. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Aws {
    pub acm: aws_sdk_acm::Client,
    pub autoscaling: aws_sdk_autoscaling::Client,
    pub backup: aws_sdk_backup::Client,
    pub cloudwatch: aws_sdk_cloudwatch::Client,
    pub dlm: aws_sdk_dlm::Client,
    pub ec2: aws_sdk_ec2::Client,
    pub elasticache: aws_sdk_elasticache::Client,
    pub elb: aws_sdk_elasticloadbalancingv2::Client,
    pub iam: aws_sdk_iam::Client,
    pub kms: aws_sdk_kms::Client,
    pub logs: aws_sdk_cloudwatchlogs::Client,
    pub presigner: Presigner,
    pub quotas: aws_sdk_servicequotas::Client,
    pub rds: aws_sdk_rds::Client,
    pub route53: aws_sdk_route53::Client,
    pub s3: aws_sdk_s3::Client,
    pub secrets: aws_sdk_secretsmanager::Client,
    pub sns: aws_sdk_sns::Client,
    pub ssm: aws_sdk_ssm::Client,
    pub sts: aws_sdk_sts::Client,
    pub tagging: aws_sdk_resourcegroupstagging::Client,
}

impl Aws {
    /// Clients over one configuration.
    pub fn new(config: &SdkConfig) -> Self {
        // A custom endpoint is one host for everything: buckets go into the path, not into the host name.
        let s3 = aws_sdk_s3::config::Builder::from(config)
            .force_path_style(config.endpoint_url().is_some())
            .build();
        Self {
            acm: aws_sdk_acm::Client::new(config),
            autoscaling: aws_sdk_autoscaling::Client::new(config),
            backup: aws_sdk_backup::Client::new(config),
            cloudwatch: aws_sdk_cloudwatch::Client::new(config),
            dlm: aws_sdk_dlm::Client::new(config),
            ec2: aws_sdk_ec2::Client::new(config),
            elasticache: aws_sdk_elasticache::Client::new(config),
            elb: aws_sdk_elasticloadbalancingv2::Client::new(config),
            iam: aws_sdk_iam::Client::new(config),
            kms: aws_sdk_kms::Client::new(config),
            logs: aws_sdk_cloudwatchlogs::Client::new(config),
            presigner: Presigner::new(config),
            quotas: aws_sdk_servicequotas::Client::new(config),
            rds: aws_sdk_rds::Client::new(config),
            route53: aws_sdk_route53::Client::new(config),
            s3: aws_sdk_s3::Client::from_conf(s3),
            secrets: aws_sdk_secretsmanager::Client::new(config),
            sns: aws_sdk_sns::Client::new(config),
            ssm: aws_sdk_ssm::Client::new(config),
            sts: aws_sdk_sts::Client::new(config),
            tagging: aws_sdk_resourcegroupstagging::Client::new(config),
        }
    }
}

/// The configuration for the real thing (or for whatever `AWS_ENDPOINT_URL` points at): the standard
/// variables, profiles and credential chain of the AWS CLI, our own retries, and bounded waiting for answers.
pub async fn configuration(region: &str) -> SdkConfig {
    aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new(region.to_owned()))
        .http_client(
            aws_smithy_http_client::Builder::new()
                .tls_provider(aws_smithy_http_client::tls::Provider::Rustls(
                    aws_smithy_http_client::tls::rustls_provider::CryptoMode::Ring,
                ))
                .build_https(),
        )
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts())
        .load()
        .await
}

/// Long enough for the slowest honest answer, short enough that a dead line is noticed.
pub fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(10))
        .read_timeout(Duration::from_mins(1))
        .operation_attempt_timeout(Duration::from_secs(90))
        .build()
}
