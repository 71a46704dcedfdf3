//! Object Lock: versions that cannot be deleted before their time
//! (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lock.html>).

use jiff::Timestamp;
use serde_json::{Value, json};

use super::object::{find, key};
use super::{BUCKETS, body, checksum, iso, malformed, ours, plain};
use crate::sandbox::call::{Call, Outcome, Refusal, at};
use crate::sandbox::world::{Millis, Row, World};

/// The bucket's configuration.
pub(super) const LOCK: &str = "_objectLock";
/// A version's mode and end.
const MODE: &str = "_lockMode";
const UNTIL: &str = "_lockUntil";

/// The header that asks for a lock.
pub(super) const MODE_ASKED: &str = "x-amz-object-lock-mode";

const DAY: Millis = 24 * 60 * 60 * 1_000;

fn locks(world: &World, call: &Call, bucket: &str) -> Option<Value> {
    let row = world.get(&call.region, BUCKETS, bucket)?;
    row.v.get(LOCK).filter(|v| v.is_object()).cloned()
}

fn mode(word: &str) -> Result<&str, Refusal> {
    if matches!(word, "GOVERNANCE" | "COMPLIANCE") {
        return Ok(word);
    }
    Err(malformed())
}

/// What a bucket begins with that is made for locked objects.
pub(super) fn at_creation(call: &Call) -> Option<Value> {
    let asked = call.http.header("x-amz-bucket-object-lock-enabled")?;
    asked
        .eq_ignore_ascii_case("true")
        .then(|| json!({"ObjectLockEnabled": "Enabled"}))
}

pub(super) fn configure(world: &mut World, call: &Call) -> Outcome {
    let bucket = ours(world, call)?;
    let wanted = body(call).clone();
    if wanted.get("ObjectLockEnabled").and_then(Value::as_str) != Some("Enabled") {
        return Err(malformed());
    }
    if wanted.get("Rule").is_some() {
        let rule = at(&wanted, "Rule.DefaultRetention").ok_or_else(malformed)?;
        mode(rule["Mode"].as_str().unwrap_or_default())?;
        let length = match (rule["Days"].as_str(), rule["Years"].as_str()) {
            (Some(days), None) => days.parse::<i64>().map(|n| (n, 36_500)),
            (None, Some(years)) => years.parse::<i64>().map(|n| (n, 100)),
            _ => return Err(malformed()),
        };
        let fine = length.is_ok_and(|(n, most)| (1..=most).contains(&n));
        if !fine {
            return Err(Refusal::bad(
                "InvalidArgument",
                "Default retention period must be a positive integer value.",
            ));
        }
    }
    let row = world.get_mut(&call.region, BUCKETS, &bucket);
    if let Some(row) = row {
        if row.text("_versioning") != "Enabled" {
            return Err(Refusal::new(
                409,
                "InvalidBucketState",
                "Versioning must be 'Enabled' on the bucket to apply a Object Lock configuration",
            ));
        }
        row.set(LOCK, wanted);
    }
    plain(200, vec![])
}

/// Versions stay where objects are locked.
pub(super) fn check_versioning(row: &Row, status: &str) -> Result<(), Refusal> {
    if status == "Enabled" || !row.v.get(LOCK).is_some_and(Value::is_object) {
        return Ok(());
    }
    Err(Refusal::new(
        409,
        "InvalidBucketState",
        "An Object Lock configuration is present on this bucket, so the versioning state cannot be changed.",
    ))
}

/// Mode and end of a locked version.
pub(super) type Held = (String, Millis);

/// Mode and end of a new version: as the request asks, or as the bucket does.
pub(super) fn of_new(world: &World, call: &Call, bucket: &str) -> Result<Option<Held>, Refusal> {
    let asked = call.http.header(MODE_ASKED);
    let until = call.http.header("x-amz-object-lock-retain-until-date");
    let Some(lock) = locks(world, call, bucket) else {
        if asked.is_some() || until.is_some() {
            return Err(unlocked());
        }
        return Ok(None);
    };
    match (asked, until) {
        (Some(word), Some(until)) => {
            let bad = |why: &str| Refusal::bad("InvalidArgument", why);
            let word = mode(word).map_err(|_| bad("Unknown wormMode directive."))?;
            let until = until
                .parse::<Timestamp>()
                .map_err(|_| bad("The retain until date must be provided in ISO 8601 format"))?;
            if until.as_millisecond() <= call.now {
                return Err(bad("The retain until date must be in the future!"));
            }
            Ok(Some((word.to_owned(), until.as_millisecond())))
        }
        (None, None) => Ok(by_default(&lock, call.now)),
        _ => Err(Refusal::bad(
            "InvalidArgument",
            "x-amz-object-lock-retain-until-date and x-amz-object-lock-mode must both be supplied",
        )),
    }
}

fn by_default(lock: &Value, now: Millis) -> Option<Held> {
    let rule = at(lock, "Rule.DefaultRetention")?;
    let number = |key: &str| rule[key].as_str().and_then(|n| n.parse::<i64>().ok());
    let days = number("Days").or(number("Years").map(|years| years * 365))?;
    Some((rule["Mode"].as_str()?.to_owned(), now + days * DAY))
}

/// An upload that will be locked has to say what it is.
pub(super) fn check_digest(call: &Call) -> Result<(), Refusal> {
    let digest =
        |(header, _): &(String, String)| header == "content-md5" || checksum::carries(header);
    if call.http.headers.iter().any(digest) {
        return Ok(());
    }
    Err(Refusal::bad(
        "InvalidRequest",
        "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock parameters",
    ))
}

/// Puts mode and end into a new version's fields.
pub(super) fn put_on(v: &mut Value, lock: Option<Held>) {
    if let Some((mode, until)) = lock {
        v[MODE] = json!(mode);
        v[UNTIL] = json!(until);
    }
}

/// Mode and end of a version, or of the upload that becomes one.
pub(super) fn of(row: &Row) -> Option<(&str, Millis)> {
    Some((row.v.get(MODE)?.as_str()?, row.v.get(UNTIL)?.as_i64()?))
}

/// What GetObject and HeadObject say of it.
pub(super) fn headers(row: &Row) -> Vec<(String, String)> {
    let Some((mode, until)) = of(row) else {
        return vec![];
    };
    vec![
        (MODE_ASKED.into(), mode.to_owned()),
        ("x-amz-object-lock-retain-until-date".into(), iso(until)),
    ]
}

/// Whether this version may be deleted now.
pub(super) fn may_go(row: &Row, call: &Call) -> Result<(), Refusal> {
    let bypass = call.http.header("x-amz-bypass-governance-retention") == Some("true");
    match of(row) {
        Some((mode, until)) if until > call.now && !(mode == "GOVERNANCE" && bypass) => {
            Err(Refusal::new(
                403,
                "AccessDenied",
                "Access Denied because object protected by object lock.",
            ))
        }
        _ => Ok(()),
    }
}

fn unlocked() -> Refusal {
    Refusal::bad(
        "InvalidRequest",
        "Bucket is missing Object Lock Configuration",
    )
}

/// `GetObjectRetention`.
pub(super) fn retention(world: &mut World, call: &Call) -> Outcome {
    let bucket = ours(world, call)?;
    if locks(world, call, &bucket).is_none() {
        return Err(unlocked());
    }
    let version = call.http.query("versionId");
    let row = find(world, &call.region, &bucket, &key(call)?, version)?;
    let Some((mode, until)) = of(row) else {
        return Err(Refusal::new(
            404,
            "NoSuchObjectLockConfiguration",
            "The specified object does not have a ObjectLock configuration",
        ));
    };
    Ok(json!({"$root": "Retention", "Mode": mode, "RetainUntilDate": iso(until)}).into())
}
