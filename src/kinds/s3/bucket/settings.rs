//! The settings of a bucket, each read and put by calls of its own.

use aws_sdk_s3::types::{
    AbortIncompleteMultipartUpload, BucketLifecycleConfiguration, BucketLoggingStatus,
    BucketVersioningStatus, ExpirationStatus, LifecycleExpiration, LifecycleRule as SdkRule,
    LifecycleRuleFilter, LoggingEnabled, NoncurrentVersionExpiration, ObjectOwnership,
    OwnershipControls, OwnershipControlsRule, PublicAccessBlockConfiguration, ServerSideEncryption,
    ServerSideEncryptionByDefault, ServerSideEncryptionConfiguration, ServerSideEncryptionRule,
    Tag, Tagging, VersioningConfiguration,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{BucketLive, LifecycleRule};
use crate::cloud::Fault;
use crate::kinds::iam::policy::meaning;
use crate::resource::{ApplyCx, CloudCx, Tags};

/// Nobody but the bucket's owner owns objects, and access lists say nothing.
pub(super) const OWNERSHIP: &str = "BucketOwnerEnforced";

/// The four blocks of public access.
pub(super) const ALL_BLOCKS: [&str; 4] = [
    "BlockPublicAcls",
    "BlockPublicPolicy",
    "IgnorePublicAcls",
    "RestrictPublicBuckets",
];

/// The default encryption of new objects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Encryption {
    /// `aws:kms` or `AES256`.
    pub algorithm: String,
    pub key: Option<String>,
    /// Whether one data key serves many objects for a while.
    pub bucket_key: bool,
}

impl Encryption {
    pub(super) fn with_key(arn: &str) -> Self {
        Self {
            algorithm: "aws:kms".into(),
            key: Some(arn.into()),
            bucket_key: true,
        }
    }

    pub(super) fn s3_managed() -> Self {
        Self {
            algorithm: "AES256".into(),
            key: None,
            bucket_key: false,
        }
    }
}

/// A lifecycle rule in the form it is compared in.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Rule {
    pub id: String,
    pub on: bool,
    pub prefix: String,
    pub expire_days: Option<i32>,
    pub noncurrent_days: Option<i32>,
    pub abort_days: Option<i32>,
    /// Removes delete markers that hide nothing any more.
    pub lone_markers: bool,
    /// Says something that gantry never asks for, a move to another storage class for example.
    pub more: bool,
}

/// The rules of a spec, sorted.
pub(super) fn rules(wanted: &[LifecycleRule]) -> Vec<Rule> {
    let days = |n: &u32| Some(i32::try_from(*n).unwrap_or(i32::MAX));
    let mut rules: Vec<Rule> = wanted
        .iter()
        .map(|rule| {
            let on = Rule {
                on: true,
                ..Rule::default()
            };
            match rule {
                LifecycleRule::AbortIncomplete { days: n } => Rule {
                    id: "abort-incomplete".into(),
                    abort_days: days(n),
                    ..on
                },
                LifecycleRule::ExpireNoncurrent { days: n } => Rule {
                    id: "expire-noncurrent".into(),
                    noncurrent_days: days(n),
                    lone_markers: true,
                    ..on
                },
                LifecycleRule::Expire { days: n, prefix } => Rule {
                    id: format!("expire-{prefix}")
                        .trim_end_matches(['-', '/'])
                        .into(),
                    prefix: prefix.clone(),
                    expire_days: days(n),
                    ..on
                },
            }
        })
        .collect();
    rules.sort();
    rules
}

/// Where a bucket's access logs begin in the bucket that takes them.
pub(super) fn log_prefix(bucket: &str) -> String {
    format!("access/{bucket}/")
}

/// Absent is none; other faults stay.
pub(super) fn if_set<T>(answer: Result<T, Fault>) -> Result<Option<T>, Fault> {
    match answer {
        Ok(t) => Ok(Some(t)),
        Err(fault) if fault.is_gone() && fault.code() != "NoSuchBucket" => Ok(None),
        Err(fault) => Err(fault),
    }
}

/// All settings of a bucket but its lock: seven reads at once.
pub(super) async fn read(name: &str, tags: Tags, cx: &CloudCx) -> Result<BucketLive, Fault> {
    let (versioning, encryption, public_access_block, ownership, policy, lifecycle, logging) = futures::try_join!(
        versioning(name, cx),
        encryption(name, cx),
        blocks(name, cx),
        ownership(name, cx),
        policy(name, cx),
        lifecycle(name, cx),
        logging(name, cx),
    )?;
    Ok(BucketLive {
        versioning,
        encryption,
        public_access_block,
        ownership,
        policy,
        lifecycle,
        logging,
        lock: None,
        tags,
    })
}

async fn versioning(name: &str, cx: &CloudCx) -> Result<Option<String>, Fault> {
    let answer = cx
        .read("s3:GetBucketVersioning", || {
            cx.aws().s3.get_bucket_versioning().bucket(name).send()
        })
        .await?;
    Ok(answer.status().map(|s| s.as_str().to_owned()))
}

async fn encryption(name: &str, cx: &CloudCx) -> Result<Option<Encryption>, Fault> {
    let answer = if_set(
        cx.read("s3:GetEncryptionConfiguration", || {
            cx.aws().s3.get_bucket_encryption().bucket(name).send()
        })
        .await,
    )?;
    let rule = answer
        .as_ref()
        .and_then(|a| a.server_side_encryption_configuration()?.rules().first());
    Ok(rule.and_then(|rule| {
        let default = rule.apply_server_side_encryption_by_default()?;
        Some(Encryption {
            algorithm: default.sse_algorithm().as_str().to_owned(),
            key: default.kms_master_key_id().map(str::to_owned),
            bucket_key: rule.bucket_key_enabled().unwrap_or(false),
        })
    }))
}

async fn blocks(name: &str, cx: &CloudCx) -> Result<Vec<String>, Fault> {
    let answer = if_set(
        cx.read("s3:GetBucketPublicAccessBlock", || {
            cx.aws().s3.get_public_access_block().bucket(name).send()
        })
        .await,
    )?;
    let Some(block) = answer
        .as_ref()
        .and_then(|a| a.public_access_block_configuration())
    else {
        return Ok(vec![]);
    };
    let on = [
        block.block_public_acls(),
        block.block_public_policy(),
        block.ignore_public_acls(),
        block.restrict_public_buckets(),
    ];
    Ok(ALL_BLOCKS
        .iter()
        .zip(on)
        .filter(|(_, on)| *on == Some(true))
        .map(|(word, _)| (*word).to_owned())
        .collect())
}

async fn ownership(name: &str, cx: &CloudCx) -> Result<Option<String>, Fault> {
    let answer = if_set(
        cx.read("s3:GetBucketOwnershipControls", || {
            cx.aws()
                .s3
                .get_bucket_ownership_controls()
                .bucket(name)
                .send()
        })
        .await,
    )?;
    Ok(answer
        .as_ref()
        .and_then(|a| a.ownership_controls()?.rules().first())
        .map(|r| r.object_ownership().as_str().to_owned()))
}

async fn policy(name: &str, cx: &CloudCx) -> Result<Option<Value>, Fault> {
    let answer = if_set(
        cx.read("s3:GetBucketPolicy", || {
            cx.aws().s3.get_bucket_policy().bucket(name).send()
        })
        .await,
    )?;
    Ok(answer.and_then(|a| a.policy().map(meaning)))
}

async fn lifecycle(name: &str, cx: &CloudCx) -> Result<Vec<Rule>, Fault> {
    let answer = if_set(
        cx.read("s3:GetLifecycleConfiguration", || {
            cx.aws()
                .s3
                .get_bucket_lifecycle_configuration()
                .bucket(name)
                .send()
        })
        .await,
    )?;
    let mut rules: Vec<Rule> = answer
        .iter()
        .flat_map(|a| a.rules().iter().map(rule))
        .collect();
    rules.sort();
    Ok(rules)
}

/// A rule as AWS gives it, in the form it is compared in.
fn rule(rule: &SdkRule) -> Rule {
    let filter = rule.filter();
    let expiration = rule.expiration();
    let noncurrent = rule.noncurrent_version_expiration();
    let more = filter.is_some_and(|f| {
        f.tag().is_some()
            || f.and().is_some()
            || f.object_size_greater_than().is_some()
            || f.object_size_less_than().is_some()
    }) || expiration.is_some_and(|e| e.date().is_some())
        || noncurrent.is_some_and(|n| n.newer_noncurrent_versions().is_some())
        || !rule.transitions().is_empty()
        || !rule.noncurrent_version_transitions().is_empty();
    Rule {
        id: rule.id().unwrap_or_default().to_owned(),
        on: *rule.status() == ExpirationStatus::Enabled,
        prefix: filter
            .and_then(LifecycleRuleFilter::prefix)
            .unwrap_or_default()
            .to_owned(),
        expire_days: expiration.and_then(LifecycleExpiration::days),
        noncurrent_days: noncurrent.and_then(NoncurrentVersionExpiration::noncurrent_days),
        abort_days: rule
            .abort_incomplete_multipart_upload()
            .and_then(AbortIncompleteMultipartUpload::days_after_initiation),
        lone_markers: expiration
            .and_then(LifecycleExpiration::expired_object_delete_marker)
            .unwrap_or(false),
        more,
    }
}

async fn logging(name: &str, cx: &CloudCx) -> Result<Option<(String, String)>, Fault> {
    let answer = cx
        .read("s3:GetBucketLogging", || {
            cx.aws().s3.get_bucket_logging().bucket(name).send()
        })
        .await?;
    Ok(answer
        .logging_enabled()
        .map(|l| (l.target_bucket().to_owned(), l.target_prefix().to_owned())))
}

/// The tags by the bucket's own reading call, for a bucket that the tag listing does not show.
pub(super) async fn tags(name: &str, cx: &CloudCx) -> Result<Tags, Fault> {
    let answer = if_set(
        cx.read("s3:GetBucketTagging", || {
            cx.aws().s3.get_bucket_tagging().bucket(name).send()
        })
        .await,
    )?;
    Ok(answer
        .iter()
        .flat_map(|a| a.tag_set().iter().map(|t| (t.key(), t.value())))
        .collect::<Tags>()
        .ours())
}

/// Tags in S3's type.
pub(super) fn sdk_tags(tags: &Tags) -> Result<Vec<Tag>, Fault> {
    tags.iter()
        .map(|(k, v)| built(Tag::builder().key(k).value(v).build()))
        .collect()
}

/// What the SDK's builders refuse is a defect of ours.
fn built<T, E: std::fmt::Display>(result: Result<T, E>) -> Result<T, Fault> {
    result.map_err(|e| Fault::internal(e.to_string()))
}

pub(super) async fn block_public_access(id: &str, cx: &ApplyCx<'_>) -> Result<(), Fault> {
    let all = PublicAccessBlockConfiguration::builder()
        .block_public_acls(true)
        .block_public_policy(true)
        .ignore_public_acls(true)
        .restrict_public_buckets(true)
        .build();
    cx.cloud
        .put("s3:PutBucketPublicAccessBlock", || {
            cx.aws()
                .s3
                .put_public_access_block()
                .bucket(id)
                .public_access_block_configuration(all.clone())
                .send()
        })
        .await?;
    Ok(())
}

pub(super) async fn own_objects(id: &str, cx: &ApplyCx<'_>) -> Result<(), Fault> {
    let rule = built(
        OwnershipControlsRule::builder()
            .object_ownership(ObjectOwnership::from(OWNERSHIP))
            .build(),
    )?;
    let controls = built(OwnershipControls::builder().rules(rule).build())?;
    cx.cloud
        .put("s3:PutBucketOwnershipControls", || {
            cx.aws()
                .s3
                .put_bucket_ownership_controls()
                .bucket(id)
                .ownership_controls(controls.clone())
                .send()
        })
        .await?;
    Ok(())
}

pub(super) async fn encrypt(id: &str, wanted: &Encryption, cx: &ApplyCx<'_>) -> Result<(), Fault> {
    let default = built(
        ServerSideEncryptionByDefault::builder()
            .sse_algorithm(ServerSideEncryption::from(wanted.algorithm.as_str()))
            .set_kms_master_key_id(wanted.key.clone())
            .build(),
    )?;
    let rule = ServerSideEncryptionRule::builder()
        .apply_server_side_encryption_by_default(default)
        .bucket_key_enabled(wanted.bucket_key)
        .build();
    let configuration = built(
        ServerSideEncryptionConfiguration::builder()
            .rules(rule)
            .build(),
    )?;
    cx.cloud
        .put("s3:PutEncryptionConfiguration", || {
            cx.aws()
                .s3
                .put_bucket_encryption()
                .bucket(id)
                .server_side_encryption_configuration(configuration.clone())
                .send()
        })
        .await?;
    Ok(())
}

pub(super) async fn keep_versions(id: &str, cx: &ApplyCx<'_>) -> Result<(), Fault> {
    let on = VersioningConfiguration::builder()
        .status(BucketVersioningStatus::Enabled)
        .build();
    cx.cloud
        .put("s3:PutBucketVersioning", || {
            cx.aws()
                .s3
                .put_bucket_versioning()
                .bucket(id)
                .versioning_configuration(on.clone())
                .send()
        })
        .await?;
    Ok(())
}

/// Puts the rules; without any, removes what is there.
pub(super) async fn set_rules(id: &str, wanted: &[Rule], cx: &ApplyCx<'_>) -> Result<(), Fault> {
    if wanted.is_empty() {
        cx.cloud
            .put("s3:PutLifecycleConfiguration", || {
                cx.aws().s3.delete_bucket_lifecycle().bucket(id).send()
            })
            .await?;
        return Ok(());
    }
    let rules = wanted.iter().map(sdk_rule).collect::<Result<Vec<_>, _>>()?;
    let configuration = built(
        BucketLifecycleConfiguration::builder()
            .set_rules(Some(rules))
            .build(),
    )?;
    cx.cloud
        .put("s3:PutLifecycleConfiguration", || {
            cx.aws()
                .s3
                .put_bucket_lifecycle_configuration()
                .bucket(id)
                .lifecycle_configuration(configuration.clone())
                .send()
        })
        .await?;
    Ok(())
}

fn sdk_rule(rule: &Rule) -> Result<SdkRule, Fault> {
    let expiration = (rule.expire_days.is_some() || rule.lone_markers).then(|| {
        LifecycleExpiration::builder()
            .set_days(rule.expire_days)
            .set_expired_object_delete_marker(rule.lone_markers.then_some(true))
            .build()
    });
    let noncurrent = rule.noncurrent_days.map(|days| {
        NoncurrentVersionExpiration::builder()
            .noncurrent_days(days)
            .build()
    });
    let abort = rule.abort_days.map(|days| {
        AbortIncompleteMultipartUpload::builder()
            .days_after_initiation(days)
            .build()
    });
    built(
        SdkRule::builder()
            .id(&rule.id)
            .status(ExpirationStatus::Enabled)
            .filter(LifecycleRuleFilter::builder().prefix(&rule.prefix).build())
            .set_expiration(expiration)
            .set_noncurrent_version_expiration(noncurrent)
            .set_abort_incomplete_multipart_upload(abort)
            .build(),
    )
}

/// Sends access logs to `target`; none switches them off.
pub(super) async fn log_to(id: &str, target: Option<&str>, cx: &ApplyCx<'_>) -> Result<(), Fault> {
    let enabled = match target {
        Some(target) => Some(built(
            LoggingEnabled::builder()
                .target_bucket(target)
                .target_prefix(log_prefix(id))
                .build(),
        )?),
        None => None,
    };
    let status = BucketLoggingStatus::builder()
        .set_logging_enabled(enabled)
        .build();
    cx.cloud
        .put("s3:PutBucketLogging", || {
            cx.aws()
                .s3
                .put_bucket_logging()
                .bucket(id)
                .bucket_logging_status(status.clone())
                .send()
        })
        .await?;
    Ok(())
}

/// Puts the whole set of tags: what was there before and is not wanted goes.
pub(super) async fn retag(id: &str, tags: &Tags, cx: &ApplyCx<'_>) -> Result<(), Fault> {
    let tagging = built(
        Tagging::builder()
            .set_tag_set(Some(sdk_tags(tags)?))
            .build(),
    )?;
    cx.cloud
        .put("s3:PutBucketTagging", || {
            cx.aws()
                .s3
                .put_bucket_tagging()
                .bucket(id)
                .tagging(tagging.clone())
                .send()
        })
        .await?;
    Ok(())
}
