//! Buckets come and go.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{BUCKETS, OBJECTS, UPLOADS, body, foreign, home, iso, lock, many, ours, plain};
use crate::sandbox::call::{Call, Outcome, Refusal, pairs};
use crate::sandbox::world::World;

pub(super) fn list(world: &mut World, call: &Call) -> Outcome {
    let http = &call.http;
    let prefix = http.query("prefix").unwrap_or_default();
    let region = http.query("bucket-region");
    let after = http.query("continuation-token").unwrap_or_default();
    let size: usize = http
        .query("max-buckets")
        .and_then(|n| n.parse().ok())
        .unwrap_or(10_000);
    let mut all: Vec<(String, Value)> = vec![];
    for (place, table) in &world.tables {
        let Some(at) = place.strip_suffix(&format!("/{BUCKETS}")) else {
            continue;
        };
        if region.is_some_and(|r| r != at) {
            continue;
        }
        for (name, row) in table {
            if !foreign(row) && row.seen_from <= call.now && name.starts_with(prefix) {
                all.push((
                    name.clone(),
                    json!({"Name": name, "CreationDate": iso(row.born), "BucketRegion": at,
                        "BucketArn": format!("arn:aws:s3:::{name}")}),
                ));
            }
        }
    }
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all.retain(|(name, _)| name.as_str() > after);
    let more = all.len() > size;
    all.truncate(size);
    let mut answer = json!({"$root": "ListAllMyBucketsResult", "Owner": {"ID": "sandbox"}});
    if !prefix.is_empty() {
        answer["Prefix"] = json!(prefix);
    }
    if more {
        answer["ContinuationToken"] = json!(all.last().map(|(name, _)| name));
    }
    let shown: Vec<Value> = all.into_iter().map(|(_, v)| v).collect();
    answer["Buckets"] = json!({"Bucket": shown});
    Ok(answer.into())
}

pub(super) fn create(world: &mut World, call: &Call) -> Outcome {
    let name = call.opt("Name").unwrap_or_default().to_owned();
    if !named_well(&name) {
        return Err(Refusal::bad(
            "InvalidBucketName",
            format!("The specified bucket is not valid: {name}"),
        ));
    }
    let region = place(call)?;
    if let Some(at) = home(world, &name) {
        if world.get(&at, BUCKETS, &name).is_some_and(foreign) {
            return Err(Refusal::new(
                409,
                "BucketAlreadyExists",
                "The requested bucket name is not available. The bucket namespace is shared by all users of the system. Please select a different name and try again.",
            ));
        }
        // The oldest region answers as it always did: yes, and nothing changes.
        if at == "us-east-1" && region == at {
            return plain(200, vec![("location".into(), format!("/{name}"))]);
        }
        return Err(Refusal::new(
            409,
            "BucketAlreadyOwnedByYou",
            "Your previous request to create the named bucket succeeded and you already own it.",
        ));
    }
    let used: usize = world
        .tables
        .iter()
        .filter(|(k, _)| k.ends_with(&format!("/{BUCKETS}")))
        .map(|(_, t)| t.values().filter(|r| !foreign(r)).count())
        .sum();
    if used as u64 >= world.quota("buckets", 10_000) {
        return Err(Refusal::bad(
            "TooManyBuckets",
            "You have attempted to create more buckets than allowed",
        ));
    }
    let tags = tags_in(body(call).get("Tags").unwrap_or(&Value::Null))?;
    // What AWS gives every new bucket: S3's own encryption, closed to the public, no access lists.
    let v = json!({
        "Name": name,
        "_arn": format!("arn:aws:s3:::{name}"),
        "_encryption": {"Rule": {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}, "BucketKeyEnabled": "false"}},
        "_publicAccessBlock": {"BlockPublicAcls": "true", "IgnorePublicAcls": "true", "BlockPublicPolicy": "true", "RestrictPublicBuckets": "true"},
        "_ownershipControls": {"Rule": {"ObjectOwnership": "BucketOwnerEnforced"}},
    });
    let row = world.insert(&region, BUCKETS, &name, v, call.now);
    row.tags = tags;
    if let Some(lock) = lock::at_creation(call) {
        row.set(lock::LOCK, lock);
        row.set("_versioning", "Enabled");
    }
    plain(200, vec![("location".into(), format!("/{name}"))])
}

/// Where the bucket is to be: the endpoint and the location constraint must agree.
fn place(call: &Call) -> Result<String, Refusal> {
    let asked = body(call)
        .get("LocationConstraint")
        .and_then(Value::as_str)
        .filter(|s| !s.is_empty());
    match asked {
        Some("us-east-1") => Err(Refusal::bad(
            "InvalidLocationConstraint",
            "The specified location-constraint is not valid",
        )),
        Some(region) if region == call.region || call.region == "us-east-1" => {
            Ok(region.to_owned())
        }
        Some(other) => Err(Refusal::bad(
            "IllegalLocationConstraintException",
            format!(
                "The {other} location constraint is incompatible for the region specific endpoint this request was sent to."
            ),
        )),
        None if call.region == "us-east-1" => Ok(call.region.clone()),
        None => Err(Refusal::bad(
            "IllegalLocationConstraintException",
            "The unspecified location constraint is incompatible for the region specific endpoint this request was sent to.",
        )),
    }
}

/// The naming rules of general purpose buckets.
fn named_well(name: &str) -> bool {
    let end = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    (3..=63).contains(&name.len())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.')
        && end(name.chars().next())
        && end(name.chars().last())
        && !name.contains("..")
        && name.parse::<std::net::Ipv4Addr>().is_err()
        && !["xn--", "sthree-", "amzn-s3-demo-"]
            .iter()
            .any(|p| name.starts_with(p))
        && !["-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"]
            .iter()
            .any(|s| name.ends_with(s))
}

/// The tags in a `TagSet` or `Tags` element, checked.
pub(super) fn tags_in(set: &Value) -> Result<BTreeMap<String, String>, Refusal> {
    let list: Vec<Value> = many(set, "Tag").into_iter().cloned().collect();
    let tags = pairs(&list);
    if tags.len() < list.len() {
        return Err(Refusal::bad(
            "InvalidTag",
            "Cannot provide multiple Tags with the same key",
        ));
    }
    if tags.len() > 50 {
        return Err(Refusal::bad(
            "BadRequest",
            "Bucket tag count cannot be greater than 50",
        ));
    }
    for (key, value) in &tags {
        let good = |text: &str| {
            text.chars()
                .all(|c| c.is_alphanumeric() || " +-=._:/@".contains(c))
        };
        if key.starts_with("aws:") {
            return Err(Refusal::bad(
                "InvalidTag",
                "System tags cannot be added/updated by requester",
            ));
        }
        if key.is_empty() || key.chars().count() > 128 || !good(key) {
            return Err(Refusal::bad(
                "InvalidTag",
                "The TagKey you have provided is invalid",
            ));
        }
        if value.chars().count() > 256 || !good(value) {
            return Err(Refusal::bad(
                "InvalidTag",
                "The TagValue you have provided is invalid",
            ));
        }
    }
    Ok(tags)
}

pub(super) fn head(world: &mut World, call: &Call) -> Outcome {
    ours(world, call)?;
    plain(
        200,
        vec![("x-amz-bucket-region".into(), call.region.clone())],
    )
}

pub(super) fn location(world: &mut World, call: &Call) -> Outcome {
    ours(world, call)?;
    let region = if call.region == "us-east-1" {
        ""
    } else {
        &call.region
    };
    let xml = format!(
        "<LocationConstraint xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{region}</LocationConstraint>"
    );
    Ok(crate::sandbox::call::Answer::Http {
        status: 200,
        headers: vec![("content-type".into(), "application/xml".into())],
        body: xml.into_bytes(),
    })
}

pub(super) fn delete(world: &mut World, call: &Call) -> Outcome {
    let bucket = ours(world, call)?;
    let within = format!("{bucket}/");
    let held = [OBJECTS, UPLOADS].iter().any(|table| {
        world
            .rows(&call.region, table)
            .any(|(id, _)| id.starts_with(&within))
    });
    if held {
        return Err(Refusal::new(
            409,
            "BucketNotEmpty",
            "The bucket you tried to delete is not empty. You must delete all versions in the bucket.",
        ));
    }
    world.remove(&call.region, BUCKETS, &bucket);
    plain(204, vec![])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_the_rules() {
        for good in ["gantry-acme-logs-123456789012-eu-west-1", "abc", "a.b-c.d"] {
            assert!(named_well(good), "{good}");
        }
        for bad in [
            "ab",
            "Abc",
            "-abc",
            "abc-",
            "a..b",
            "10.0.0.1",
            "a_b",
            "xn--abc",
            "abc-s3alias",
        ] {
            assert!(!named_well(bad), "{bad}");
        }
    }
}
