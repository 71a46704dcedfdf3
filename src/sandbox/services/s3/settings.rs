//! The settings of a bucket: each is one sub-resource, put and read whole.

use serde_json::{Value, json};

use super::{BUCKETS, body, bucket, home, lock, malformed, many, ours, plain, policy};
use crate::sandbox::call::{Answer, Call, Outcome, Refusal, at};
use crate::sandbox::world::{Row, World};

pub(super) fn handle(world: &mut World, call: &Call) -> Outcome {
    let bucket = ours(world, call)?;
    match call.action.as_str() {
        "PutBucketVersioning" => put_versioning(world, call, &bucket),
        "PutBucketEncryption" => put_encryption(world, call, &bucket),
        // A bucket is never without: removing the setting brings back S3's own key.
        "DeleteBucketEncryption" => {
            let own = json!({"Rule": {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}, "BucketKeyEnabled": "false"}});
            set(world, call, &bucket, "_encryption", own, 204)
        }
        "PutPublicAccessBlock" => put_access_block(world, call, &bucket),
        "DeletePublicAccessBlock" => {
            set(world, call, &bucket, "_publicAccessBlock", Value::Null, 204)
        }
        "PutBucketOwnershipControls" => put_ownership(world, call, &bucket),
        "DeleteBucketOwnershipControls" => {
            set(world, call, &bucket, "_ownershipControls", Value::Null, 204)
        }
        "PutBucketPolicy" => {
            let text = policy::checked(world, call, &bucket)?;
            set(world, call, &bucket, "_policy", json!(text), 204)
        }
        "DeleteBucketPolicy" => set(world, call, &bucket, "_policy", Value::Null, 204),
        "PutBucketLifecycleConfiguration" => put_lifecycle(world, call, &bucket),
        "DeleteBucketLifecycle" => set(world, call, &bucket, "_lifecycle", Value::Null, 204),
        "PutBucketLogging" => put_logging(world, call, &bucket),
        "PutBucketTagging" => {
            let set = body(call).get("TagSet").ok_or_else(malformed)?;
            let tags = bucket::tags_in(set)?;
            if let Some(row) = world.get_mut(&call.region, BUCKETS, &bucket) {
                row.tags = tags;
            }
            plain(204, vec![])
        }
        "DeleteBucketTagging" => {
            if let Some(row) = world.get_mut(&call.region, BUCKETS, &bucket) {
                row.tags.clear();
            }
            plain(204, vec![])
        }
        _ => {
            let row = world
                .get(&call.region, BUCKETS, &bucket)
                .cloned()
                .unwrap_or_default();
            read(&row, call)
        }
    }
}

/// The reading actions: the setting as it was put, or AWS's code for "never set".
fn read(row: &Row, call: &Call) -> Outcome {
    let (field, root, absent, message) = match call.action.as_str() {
        "GetBucketVersioning" => {
            let mut answer = json!({"$root": "VersioningConfiguration"});
            if !row.text("_versioning").is_empty() {
                answer["Status"] = json!(row.text("_versioning"));
            }
            return Ok(answer.into());
        }
        "GetBucketLogging" => {
            let mut answer = json!({"$root": "BucketLoggingStatus"});
            if let Some(logging) = row.v.get("_logging").filter(|v| !v.is_null()) {
                answer["LoggingEnabled"] = logging.clone();
            }
            return Ok(answer.into());
        }
        "GetBucketPolicy" => {
            if row.text("_policy").is_empty() {
                return Err(Refusal::new(
                    404,
                    "NoSuchBucketPolicy",
                    "The bucket policy does not exist",
                ));
            }
            return Ok(Answer::Http {
                status: 200,
                headers: vec![("content-type".into(), "application/json".into())],
                body: row.text("_policy").as_bytes().to_vec(),
            });
        }
        "GetBucketTagging" => {
            if row.tags.is_empty() {
                return Err(Refusal::new(
                    404,
                    "NoSuchTagSet",
                    "The TagSet does not exist",
                ));
            }
            let tags: Vec<Value> = row
                .tags
                .iter()
                .map(|(k, v)| json!({"Key": k, "Value": v}))
                .collect();
            return Ok(json!({"$root": "Tagging", "TagSet": {"Tag": tags}}).into());
        }
        "GetBucketEncryption" => (
            "_encryption",
            "ServerSideEncryptionConfiguration",
            "ServerSideEncryptionConfigurationNotFoundError",
            "The server side encryption configuration was not found",
        ),
        "GetPublicAccessBlock" => (
            "_publicAccessBlock",
            "PublicAccessBlockConfiguration",
            "NoSuchPublicAccessBlockConfiguration",
            "The public access block configuration was not found",
        ),
        "GetBucketOwnershipControls" => (
            "_ownershipControls",
            "OwnershipControls",
            "OwnershipControlsNotFoundError",
            "The bucket ownership controls were not found",
        ),
        "GetBucketLifecycleConfiguration" => (
            "_lifecycle",
            "LifecycleConfiguration",
            "NoSuchLifecycleConfiguration",
            "The lifecycle configuration does not exist",
        ),
        "GetObjectLockConfiguration" => (
            lock::LOCK,
            "ObjectLockConfiguration",
            "ObjectLockConfigurationNotFoundError",
            "Object Lock configuration does not exist for this bucket",
        ),
        _ => return Err(Refusal::unknown_action(call)),
    };
    match row.v.get(field) {
        Some(Value::Object(map)) => {
            let mut answer = json!({"$root": root});
            crate::sandbox::codec::merge(&mut answer, &Value::Object(map.clone()));
            Ok(answer.into())
        }
        _ => Err(Refusal::new(404, absent, message)),
    }
}

fn set(
    world: &mut World,
    call: &Call,
    bucket: &str,
    field: &str,
    value: Value,
    status: u16,
) -> Outcome {
    if let Some(row) = world.get_mut(&call.region, BUCKETS, bucket) {
        row.set(field, value);
    }
    plain(status, vec![])
}

fn put_versioning(world: &mut World, call: &Call, bucket: &str) -> Outcome {
    match body(call).get("Status").and_then(Value::as_str) {
        Some(status @ ("Enabled" | "Suspended")) => {
            if let Some(row) = world.get(&call.region, BUCKETS, bucket) {
                lock::check_versioning(row, status)?;
            }
            set(world, call, bucket, "_versioning", json!(status), 200)
        }
        _ => Err(Refusal::bad(
            "IllegalVersioningConfigurationException",
            "The Versioning element must be specified",
        )),
    }
}

fn put_encryption(world: &mut World, call: &Call, bucket: &str) -> Outcome {
    let wanted = body(call).clone();
    let default = at(&wanted, "Rule.ApplyServerSideEncryptionByDefault").ok_or_else(malformed)?;
    let key = default.get("KMSMasterKeyID").and_then(Value::as_str);
    match default.get("SSEAlgorithm").and_then(Value::as_str) {
        Some("AES256") if key.is_some() => Err(Refusal::bad(
            "InvalidArgument",
            "a KMSMasterKeyID is not applicable if the default sse algorithm is not aws:kms or aws:kms:dsse",
        )),
        Some("AES256" | "aws:kms" | "aws:kms:dsse") => {
            set(world, call, bucket, "_encryption", wanted, 200)
        }
        _ => Err(malformed()),
    }
}

fn put_access_block(world: &mut World, call: &Call, bucket: &str) -> Outcome {
    let wanted = body(call);
    if !wanted.is_object() {
        return Err(Refusal::bad(
            "InvalidRequest",
            "Must specify at least one configuration.",
        ));
    }
    // What is not named is off.
    let mut all = json!({});
    for word in [
        "BlockPublicAcls",
        "IgnorePublicAcls",
        "BlockPublicPolicy",
        "RestrictPublicBuckets",
    ] {
        all[word] = wanted.get(word).cloned().unwrap_or_else(|| json!("false"));
    }
    set(world, call, bucket, "_publicAccessBlock", all, 200)
}

fn put_ownership(world: &mut World, call: &Call, bucket: &str) -> Outcome {
    let wanted = body(call).clone();
    match at(&wanted, "Rule.ObjectOwnership").and_then(Value::as_str) {
        Some("BucketOwnerEnforced" | "BucketOwnerPreferred" | "ObjectWriter") => {
            set(world, call, bucket, "_ownershipControls", wanted, 200)
        }
        _ => Err(malformed()),
    }
}

fn put_lifecycle(world: &mut World, call: &Call, bucket: &str) -> Outcome {
    let wanted = body(call).clone();
    let rules = many(&wanted, "Rule");
    if rules.is_empty() || rules.len() > 1_000 {
        return Err(malformed());
    }
    let mut ids = std::collections::BTreeSet::new();
    for rule in rules {
        let status = rule.get("Status").and_then(Value::as_str);
        if !matches!(status, Some("Enabled" | "Disabled")) {
            return Err(malformed());
        }
        if rule.get("Filter").is_none() && rule.get("Prefix").is_none() {
            return Err(malformed());
        }
        if let Some(id) = rule.get("ID").and_then(Value::as_str)
            && (id.len() > 255 || !ids.insert(id.to_owned()))
        {
            return Err(Refusal::bad(
                "InvalidArgument",
                "Rule ID must be unique. Found same ID for more than one rule",
            ));
        }
        let days = [
            "Expiration.Days",
            "NoncurrentVersionExpiration.NoncurrentDays",
            "AbortIncompleteMultipartUpload.DaysAfterInitiation",
        ]
        .map(|path| at(rule, path).and_then(Value::as_str));
        if days
            .iter()
            .flatten()
            .any(|d| d.parse::<u32>().map_or(true, |n| n == 0))
        {
            return Err(Refusal::bad(
                "InvalidArgument",
                "'Days' for Expiration action must be a positive integer",
            ));
        }
        let marker = at(rule, "Expiration.ExpiredObjectDeleteMarker").is_some();
        if marker && days[0].is_some() {
            return Err(malformed());
        }
        if !marker && days.iter().all(Option::is_none) && rule.get("Transition").is_none() {
            return Err(Refusal::bad(
                "InvalidRequest",
                "At least one action needs to be specified in a rule",
            ));
        }
    }
    set(world, call, bucket, "_lifecycle", wanted, 200)
}

fn put_logging(world: &mut World, call: &Call, bucket: &str) -> Outcome {
    let Some(wanted) = body(call).get("LoggingEnabled").cloned() else {
        return set(world, call, bucket, "_logging", Value::Null, 200);
    };
    let target = wanted
        .get("TargetBucket")
        .and_then(Value::as_str)
        .ok_or_else(malformed)?;
    match home(world, target) {
        None => Err(Refusal::bad(
            "InvalidTargetBucketForLogging",
            "The target bucket for logging does not exist",
        )),
        Some(region) if region != call.region => Err(Refusal::bad(
            "CrossLocationLoggingProhibitted",
            "Cross S3 location logging not allowed.",
        )),
        Some(_) => set(world, call, bucket, "_logging", wanted, 200),
    }
}
