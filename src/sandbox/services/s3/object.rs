//! Objects and their versions.
//!
//! A version is the row `bucket/key#version`; `_at` counts upwards and tells the newest. A delete marker is a
//! version with `_marker`.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::{
    BUCKETS, LARGEST, OBJECTS, body, checksum, http_date, iso, lock, malformed, many, ours, plain,
};
use crate::sandbox::call::{Answer, Call, Outcome, Refusal};
use crate::sandbox::world::{Row, World};

/// Headers of an object that are stored with it and come back with it.
const KEPT: &[&str] = &[
    "content-type",
    "cache-control",
    "content-disposition",
    "content-language",
    "expires",
];

pub(super) fn put(world: &mut World, call: &Call) -> Outcome {
    let bucket = ours(world, call)?;
    let key = key(call)?;
    conditions(world, call, &bucket, &key)?;
    fits(call.http.body.len())?;
    checksum::sent(call)?;
    let lock = lock::of_new(world, call, &bucket)?;
    if lock.is_some() {
        lock::check_digest(call)?;
    }
    let meta = meta(call);
    let made = store(world, call, &bucket, &key, &call.http.body, meta, lock);
    plain(200, made.headers)
}

/// A version that was made.
pub(super) struct Made {
    pub etag: String,
    /// Tag, version, encryption and checksums, as the answer to the request has them.
    pub headers: Vec<(String, String)>,
}

/// The object's own headers in a request that makes it.
pub(super) fn meta(call: &Call) -> Map<String, Value> {
    call.http
        .headers
        .iter()
        .filter(|(k, _)| {
            KEPT.contains(&k.as_str())
                || k.starts_with("x-amz-meta-")
                || k.starts_with("x-amz-server-side-encryption")
                || k.starts_with("x-amz-checksum-") && k != "x-amz-checksum-mode"
        })
        .map(|(k, v)| (k.clone(), json!(v)))
        .collect()
}

/// The sandbox's own limit.
pub(super) fn fits(size: usize) -> Result<(), Refusal> {
    if size <= LARGEST {
        return Ok(());
    }
    Err(Refusal::new(
        501,
        "NotImplemented",
        format!(
            "the sandbox keeps objects of up to {} KiB; this one has {size} bytes",
            LARGEST / 1024
        ),
    ))
}

/// Adds a version with this body as AWS would.
pub(super) fn store(
    world: &mut World,
    call: &Call,
    bucket: &str,
    key: &str,
    content: &[u8],
    mut meta: Map<String, Value>,
    lock: Option<lock::Held>,
) -> Made {
    encrypt(world, call, bucket, &mut meta);
    let etag = etag(content);
    let mut v = json!({"Bucket": bucket, "Key": key, "Size": content.len(), "ETag": etag,
        "_headers": meta, "_body": STANDARD.encode(content)});
    lock::put_on(&mut v, lock);
    let version = add(world, call, bucket, v);
    let mut headers = vec![("etag".to_owned(), etag.clone())];
    headers.extend(
        meta.iter()
            .filter(|(k, _)| {
                k.starts_with("x-amz-server-side-encryption") || k.starts_with("x-amz-checksum-")
            })
            .filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))),
    );
    if version != "null" {
        headers.push(("x-amz-version-id".into(), version));
    }
    Made { etag, headers }
}

/// The encryption an object gets when it asks for none: its bucket's.
fn encrypt(world: &World, call: &Call, bucket: &str, meta: &mut Map<String, Value>) {
    if meta.contains_key("x-amz-server-side-encryption") {
        return;
    }
    let rule = world
        .get(&call.region, BUCKETS, bucket)
        .and_then(|row| row.v.get("_encryption")?.get("Rule"));
    let default = rule.and_then(|r| r.get("ApplyServerSideEncryptionByDefault"));
    let word = |name: &str| default?.get(name)?.as_str();
    meta.insert(
        "x-amz-server-side-encryption".into(),
        json!(word("SSEAlgorithm").unwrap_or("AES256")),
    );
    if let Some(id) = word("KMSMasterKeyID") {
        meta.insert(
            "x-amz-server-side-encryption-aws-kms-key-id".into(),
            json!(id),
        );
        if rule.and_then(|r| r.get("BucketKeyEnabled")) == Some(&json!("true")) {
            meta.insert(
                "x-amz-server-side-encryption-bucket-key-enabled".into(),
                json!("true"),
            );
        }
    }
}

/// Inserts a version or a marker; gives its version id.
fn add(world: &mut World, call: &Call, bucket: &str, mut v: Value) -> String {
    let key = v
        .get("Key")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    let versioned = world
        .get(&call.region, BUCKETS, bucket)
        .is_some_and(|row| row.text("_versioning") == "Enabled");
    let version = if versioned {
        world.hex(32)
    } else {
        "null".to_owned()
    };
    world.serial += 1;
    v["VersionId"] = json!(version);
    v["_at"] = json!(world.serial);
    world.insert(
        &call.region,
        OBJECTS,
        &id(bucket, &key, &version),
        v,
        call.now,
    );
    version
}

fn id(bucket: &str, key: &str, version: &str) -> String {
    format!("{bucket}/{key}#{version}")
}

/// No MD5: like the tag of an object under a KMS key, it says nothing about the content but "the same".
pub(super) fn etag(content: &[u8]) -> String {
    let digest: String = Sha256::digest(content)
        .iter()
        .take(16)
        .map(|b| format!("{b:02x}"))
        .collect();
    format!("\"{digest}\"")
}

pub(super) fn key(call: &Call) -> Result<String, Refusal> {
    let key = call.opt("Key").unwrap_or_default();
    if key.len() > 1_024 {
        return Err(Refusal::bad("KeyTooLongError", "Your key is too long"));
    }
    Ok(key.to_owned())
}

/// All versions in a bucket whose keys begin with `prefix`: by key, the newest first.
fn versions<'w>(world: &'w World, region: &str, bucket: &str, prefix: &str) -> Vec<&'w Row> {
    let start = format!("{bucket}/{prefix}");
    let mut rows: Vec<&Row> = world
        .tables
        .get(&format!("{region}/{OBJECTS}"))
        .into_iter()
        .flat_map(|t| t.range(start.clone()..))
        .take_while(|(id, _)| id.starts_with(&start))
        .map(|(_, row)| row)
        .collect();
    rows.sort_by_key(|r| (r.text("Key"), Reverse(counted(r))));
    rows
}

fn counted(row: &Row) -> u64 {
    row.v.get("_at").and_then(Value::as_u64).unwrap_or_default()
}

/// The newest version of a key, which may be a delete marker.
fn newest<'w>(world: &'w World, region: &str, bucket: &str, key: &str) -> Option<&'w Row> {
    versions(world, region, bucket, key)
        .into_iter()
        .find(|r| r.text("Key") == key)
}

/// `If-Match` and `If-None-Match` of a write.
pub(super) fn conditions(
    world: &World,
    call: &Call,
    bucket: &str,
    key: &str,
) -> Result<(), Refusal> {
    let there = newest(world, &call.region, bucket, key).filter(|r| !r.is("_marker"));
    let failed = || {
        Refusal::new(
            412,
            "PreconditionFailed",
            "At least one of the pre-conditions you specified did not hold",
        )
    };
    match call.http.header("if-none-match") {
        Some("*") if there.is_some() => return Err(failed()),
        Some("*") | None => {}
        Some(_) => {
            return Err(Refusal::new(
                501,
                "NotImplemented",
                "A header you provided implies functionality that is not implemented",
            ));
        }
    }
    if let Some(wanted) = call.http.header("if-match") {
        let row = there.ok_or_else(no_such_key)?;
        if !same_tag(wanted, row.text("ETag")) {
            return Err(failed());
        }
    }
    Ok(())
}

pub(super) fn same_tag(one: &str, other: &str) -> bool {
    one == "*" || one.trim_matches('"') == other.trim_matches('"')
}

fn no_such_key() -> Refusal {
    Refusal::new(404, "NoSuchKey", "The specified key does not exist.")
}

/// The version a reading call is about.
pub(super) fn find<'w>(
    world: &'w World,
    region: &str,
    bucket: &str,
    key: &str,
    version: Option<&str>,
) -> Result<&'w Row, Refusal> {
    match version {
        Some(version) => {
            let row = world
                .get(region, OBJECTS, &id(bucket, key, version))
                .ok_or_else(|| {
                    Refusal::new(
                        404,
                        "NoSuchVersion",
                        "The specified version does not exist.",
                    )
                })?;
            if row.is("_marker") {
                return Err(Refusal::new(
                    405,
                    "MethodNotAllowed",
                    "The specified method is not allowed against this resource.",
                ));
            }
            Ok(row)
        }
        None => newest(world, region, bucket, key)
            .filter(|r| !r.is("_marker"))
            .ok_or_else(no_such_key),
    }
}

pub(super) fn get(world: &mut World, call: &Call) -> Outcome {
    let (row, mut headers) = look(world, call)?;
    let content = content(&row);
    let Some(range) = call.http.header("range") else {
        headers.push(("content-length".into(), content.len().to_string()));
        return Ok(Answer::Http {
            status: 200,
            headers,
            body: content,
        });
    };
    let Some((from, to)) = within(range, content.len()) else {
        return Err(Refusal::new(
            416,
            "InvalidRange",
            "The requested range is not satisfiable",
        ));
    };
    // The stored checksum is of the whole object.
    headers.retain(|(k, _)| !k.starts_with("x-amz-checksum-"));
    headers.push((
        "content-range".into(),
        format!("bytes {from}-{to}/{}", content.len()),
    ));
    headers.push(("content-length".into(), (to + 1 - from).to_string()));
    Ok(Answer::Http {
        status: 206,
        headers,
        body: content[from..=to].to_vec(),
    })
}

pub(super) fn head(world: &mut World, call: &Call) -> Outcome {
    let (row, mut headers) = look(world, call)?;
    let size = row
        .v
        .get("Size")
        .and_then(Value::as_u64)
        .unwrap_or_default();
    headers.push(("content-length".into(), size.to_string()));
    plain(200, headers)
}

/// The version asked for, with the headers that describe it.
fn look(world: &World, call: &Call) -> Result<(Row, Vec<(String, String)>), Refusal> {
    let bucket = ours(world, call)?;
    let key = key(call)?;
    let row = find(
        world,
        &call.region,
        &bucket,
        &key,
        call.http.query("versionId"),
    )?;
    let etag = row.text("ETag");
    if call
        .http
        .header("if-match")
        .is_some_and(|t| !same_tag(t, etag))
    {
        return Err(Refusal::new(
            412,
            "PreconditionFailed",
            "At least one of the pre-conditions you specified did not hold",
        ));
    }
    if call
        .http
        .header("if-none-match")
        .is_some_and(|t| same_tag(t, etag))
    {
        return Err(Refusal::new(304, "NotModified", "Not Modified"));
    }
    let checksums = call
        .http
        .header("x-amz-checksum-mode")
        .is_some_and(|m| m.eq_ignore_ascii_case("enabled"));
    let mut headers = vec![
        ("etag".to_owned(), etag.to_owned()),
        ("last-modified".to_owned(), http_date(row.born)),
        ("accept-ranges".to_owned(), "bytes".to_owned()),
    ];
    if row.text("VersionId") != "null" {
        headers.push(("x-amz-version-id".into(), row.text("VersionId").to_owned()));
    }
    headers.extend(lock::headers(row));
    let own = row.v.get("_headers").and_then(Value::as_object);
    for (k, v) in own.into_iter().flatten() {
        if checksums || !k.starts_with("x-amz-checksum-") {
            headers.push((k.clone(), v.as_str().unwrap_or_default().to_owned()));
        }
    }
    if !headers.iter().any(|(k, _)| k == "content-type") {
        headers.push(("content-type".into(), "binary/octet-stream".into()));
    }
    Ok((row.clone(), headers))
}

pub(super) fn content(row: &Row) -> Vec<u8> {
    STANDARD.decode(row.text("_body")).unwrap_or_default()
}

/// First and last byte of a `Range` header, if any of it is there.
pub(super) fn within(range: &str, size: usize) -> Option<(usize, usize)> {
    let (from, to) = range.strip_prefix("bytes=")?.split_once('-')?;
    let last = size.checked_sub(1)?;
    let (from, to) = match (from.parse::<usize>(), to.parse::<usize>()) {
        (Ok(from), Ok(to)) => (from, to.min(last)),
        (Ok(from), Err(_)) => (from, last),
        (Err(_), Ok(tail)) if tail > 0 => (size.saturating_sub(tail), last),
        _ => return None,
    };
    (from <= to).then_some((from, to))
}

pub(super) fn delete(world: &mut World, call: &Call) -> Outcome {
    let bucket = ours(world, call)?;
    let key = key(call)?;
    if call.http.header("if-match").is_some() {
        conditions(world, call, &bucket, &key)?;
    }
    let gone = remove(world, call, &bucket, &key, call.http.query("versionId"))?;
    let mut headers = vec![];
    if gone.marker {
        headers.push(("x-amz-delete-marker".to_owned(), "true".to_owned()));
    }
    if let Some(version) = gone.version {
        headers.push(("x-amz-version-id".into(), version));
    }
    plain(204, headers)
}

struct Removed {
    /// A marker was added, or the version removed was one.
    marker: bool,
    version: Option<String>,
}

/// Deletes as AWS does: this version for good, or, without a version, by a marker on top.
fn remove(
    world: &mut World,
    call: &Call,
    bucket: &str,
    key: &str,
    version: Option<&str>,
) -> Result<Removed, Refusal> {
    if let Some(version) = version {
        let id = id(bucket, key, version);
        if let Some(row) = world.get(&call.region, OBJECTS, &id) {
            lock::may_go(row, call)?;
        }
        let row = world.remove(&call.region, OBJECTS, &id);
        return Ok(Removed {
            marker: row.is_some_and(|r| r.is("_marker")),
            version: Some(version.to_owned()),
        });
    }
    let versioning = world
        .get(&call.region, BUCKETS, bucket)
        .map(|row| row.text("_versioning").to_owned())
        .unwrap_or_default();
    if versioning.is_empty() {
        world.remove(&call.region, OBJECTS, &id(bucket, key, "null"));
        return Ok(Removed {
            marker: false,
            version: None,
        });
    }
    let marker = json!({"Bucket": bucket, "Key": key, "_marker": true});
    Ok(Removed {
        marker: true,
        version: Some(add(world, call, bucket, marker)),
    })
}

pub(super) fn delete_many(world: &mut World, call: &Call) -> Outcome {
    let bucket = ours(world, call)?;
    let wanted = body(call).clone();
    let objects = many(&wanted, "Object");
    if objects.is_empty() || objects.len() > 1_000 {
        return Err(malformed());
    }
    let quiet = wanted.get("Quiet").and_then(Value::as_str) == Some("true");
    let mut deleted = vec![];
    let mut errors = vec![];
    for object in objects {
        let key = object
            .get("Key")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let version = object.get("VersionId").and_then(Value::as_str);
        let gone = match remove(world, call, &bucket, key, version) {
            Ok(gone) => gone,
            // The others go all the same.
            Err(no) => {
                errors.push(json!({"Key": key, "VersionId": version, "Code": no.code, "Message": no.message}));
                continue;
            }
        };
        if quiet {
            continue;
        }
        let mut line = json!({"Key": key});
        if let Some(version) = version {
            line["VersionId"] = json!(version);
        }
        if gone.marker {
            line["DeleteMarker"] = json!("true");
            line["DeleteMarkerVersionId"] = json!(gone.version);
        }
        deleted.push(line);
    }
    Ok(json!({"$root": "DeleteResult", "Deleted": deleted, "Error": errors}).into())
}

/// How many entries a page has.
fn page_size(call: &Call) -> usize {
    call.http
        .query("max-keys")
        .and_then(|n| n.parse().ok())
        .unwrap_or(1_000)
        .min(1_000)
}

pub(super) fn list(world: &mut World, call: &Call) -> Outcome {
    let bucket = ours(world, call)?;
    let http = &call.http;
    let prefix = http.query("prefix").unwrap_or_default();
    let delimiter = http.query("delimiter").filter(|d| !d.is_empty());
    let after = http
        .query("continuation-token")
        .or_else(|| http.query("start-after"))
        .unwrap_or_default();
    let size = page_size(call);
    let mut contents = vec![];
    let mut folders = BTreeSet::new();
    let mut last: Option<String> = None;
    let mut seen: Option<&str> = None;
    let mut more = false;
    for row in versions(world, &call.region, &bucket, prefix) {
        let key = row.text("Key");
        // Only the newest version of a key counts, and only if it is no marker.
        if seen == Some(key) {
            continue;
        }
        seen = Some(key);
        let folder = delimiter.and_then(|d| {
            let end = key[prefix.len()..].find(d)?;
            Some(key[..prefix.len() + end + d.len()].to_owned())
        });
        let entry = folder.clone().unwrap_or_else(|| key.to_owned());
        if row.is("_marker")
            || entry.as_str() <= after
            || folder.as_ref().is_some_and(|f| folders.contains(f))
        {
            continue;
        }
        if contents.len() + folders.len() >= size {
            more = true;
            break;
        }
        last = Some(entry);
        match folder {
            Some(folder) => {
                folders.insert(folder);
            }
            None => contents.push(
                json!({"Key": key, "LastModified": iso(row.born), "ETag": row.text("ETag"),
                "Size": row.v.get("Size"), "StorageClass": "STANDARD"}),
            ),
        }
    }
    let folders: Vec<Value> = folders.iter().map(|f| json!({"Prefix": f})).collect();
    let mut answer = json!({"$root": "ListBucketResult", "Name": bucket, "Prefix": prefix, "MaxKeys": size,
        "KeyCount": contents.len() + folders.len(), "IsTruncated": more, "Contents": contents, "CommonPrefixes": folders});
    if let Some(delimiter) = delimiter {
        answer["Delimiter"] = json!(delimiter);
    }
    if more {
        answer["NextContinuationToken"] = json!(last);
    }
    Ok(answer.into())
}

pub(super) fn list_versions(world: &mut World, call: &Call) -> Outcome {
    let bucket = ours(world, call)?;
    let http = &call.http;
    let prefix = http.query("prefix").unwrap_or_default();
    let key_marker = http.query("key-marker").unwrap_or_default();
    let version_marker = http.query("version-id-marker").filter(|v| !v.is_empty());
    if version_marker.is_some() && key_marker.is_empty() {
        return Err(Refusal::bad(
            "InvalidArgument",
            "A version-id marker cannot be specified without a key marker.",
        ));
    }
    let size = page_size(call);
    let all = versions(world, &call.region, &bucket, prefix);
    // Where the page begins within the marker's key: after the marker's version, which may be gone by now.
    let mark = version_marker
        .and_then(|v| {
            all.iter()
                .find(|r| r.text("Key") == key_marker && r.text("VersionId") == v)
        })
        .map(|r| counted(r));
    let rest: Vec<&&Row> = all
        .iter()
        .filter(|r| match r.text("Key").cmp(key_marker) {
            std::cmp::Ordering::Less => false,
            std::cmp::Ordering::Greater => true,
            std::cmp::Ordering::Equal => {
                key_marker.is_empty()
                    || version_marker.is_some() && mark.is_none_or(|m| counted(r) < m)
            }
        })
        .collect();
    let more = rest.len() > size;
    let page = &rest[..rest.len().min(size)];
    let mut versions = vec![];
    let mut markers = vec![];
    for row in page {
        let key = row.text("Key");
        let latest = newest(world, &call.region, &bucket, key)
            .is_some_and(|n| n.text("VersionId") == row.text("VersionId"));
        let mut line = json!({"Key": key, "VersionId": row.text("VersionId"), "IsLatest": latest, "LastModified": iso(row.born)});
        if row.is("_marker") {
            markers.push(line);
        } else {
            line["ETag"] = json!(row.text("ETag"));
            line["Size"] = row.v.get("Size").cloned().unwrap_or_default();
            line["StorageClass"] = json!("STANDARD");
            versions.push(line);
        }
    }
    let mut answer = json!({"$root": "ListVersionsResult", "Name": bucket, "Prefix": prefix, "KeyMarker": key_marker,
        "MaxKeys": size, "IsTruncated": more, "Version": versions, "DeleteMarker": markers});
    if let (true, Some(last)) = (more, page.last()) {
        answer["NextKeyMarker"] = json!(last.text("Key"));
        answer["NextVersionIdMarker"] = json!(last.text("VersionId"));
    }
    Ok(answer.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        assert_eq!(within("bytes=0-3", 10), Some((0, 3)));
        assert_eq!(within("bytes=5-", 10), Some((5, 9)));
        assert_eq!(within("bytes=-4", 10), Some((6, 9)));
        assert_eq!(within("bytes=8-99", 10), Some((8, 9)));
        assert_eq!(within("bytes=10-", 10), None);
    }
}
