//! S3: buckets and their settings, objects with versions and locks, uploads in parts.
//!
//! Buckets stand in the table of their region, their names are one for all regions. Object bodies are kept in
//! the world itself as base64, which is why they are limited to [`LARGEST`].

mod bucket;
mod checksum;
mod copy;
mod lock;
mod object;
mod policy;
mod settings;
mod upload;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::sandbox::call::{Answer, Call, Outcome, Refusal};
use crate::sandbox::codec;
use crate::sandbox::world::{Millis, Row, World};

pub const ACTIONS: &[&str] = &[
    "ListBuckets",
    "CreateBucket",
    "HeadBucket",
    "DeleteBucket",
    "GetBucketLocation",
    "GetBucketVersioning",
    "PutBucketVersioning",
    "GetBucketEncryption",
    "PutBucketEncryption",
    "DeleteBucketEncryption",
    "GetPublicAccessBlock",
    "PutPublicAccessBlock",
    "DeletePublicAccessBlock",
    "GetBucketOwnershipControls",
    "PutBucketOwnershipControls",
    "DeleteBucketOwnershipControls",
    "GetBucketPolicy",
    "PutBucketPolicy",
    "DeleteBucketPolicy",
    "GetBucketLifecycleConfiguration",
    "PutBucketLifecycleConfiguration",
    "DeleteBucketLifecycle",
    "GetBucketLogging",
    "PutBucketLogging",
    "GetBucketTagging",
    "PutBucketTagging",
    "DeleteBucketTagging",
    "GetObjectLockConfiguration",
    "PutObjectLockConfiguration",
    "ListObjectsV2",
    "ListObjectVersions",
    "DeleteObjects",
    "PutObject",
    "CopyObject",
    "GetObject",
    "HeadObject",
    "GetObjectRetention",
    "DeleteObject",
    "ListMultipartUploads",
    "CreateMultipartUpload",
    "UploadPart",
    "UploadPartCopy",
    "ListParts",
    "CompleteMultipartUpload",
    "AbortMultipartUpload",
];

/// The largest object body the sandbox keeps: an upload of a few parts.
const LARGEST: usize = 16 << 20;

const BUCKETS: &str = "s3/bucket";
const OBJECTS: &str = "s3/object";
const UPLOADS: &str = "s3/upload";

/// Finds bucket, key and action of a request. `call.p` becomes `{Name, Key, Body}`: the bucket's name, the
/// object's key, and the XML of the body.
pub fn route(call: &mut Call) {
    let path = call.http.path.trim_start_matches('/').to_owned();
    let host = call.http.host.split(':').next().unwrap_or_default();
    let (bucket, key) = match host.find(".s3.").or_else(|| host.find(".s3-")) {
        Some(end) => (host[..end].to_owned(), path),
        None => match path.split_once('/') {
            Some((bucket, key)) => (bucket.to_owned(), key.to_owned()),
            None => (path, String::new()),
        },
    };
    call.action = action(call, &bucket, &key).to_owned();
    let mut p = Map::new();
    if !bucket.is_empty() {
        p.insert("Name".into(), json!(bucket));
    }
    if !key.is_empty() {
        p.insert("Key".into(), json!(key));
    }
    if call.http.body.starts_with(b"<")
        && !matches!(call.action.as_str(), "PutObject" | "UploadPart")
    {
        p.insert("Body".into(), codec::from_xml(&call.http.body));
    }
    call.p = Value::Object(p);
}

/// The sub-resources of a bucket: the query's word, and the actions that read, set and remove it.
const SETTINGS: &[(&str, &str, &str, &str)] = &[
    ("location", "GetBucketLocation", "", ""),
    (
        "versioning",
        "GetBucketVersioning",
        "PutBucketVersioning",
        "",
    ),
    (
        "encryption",
        "GetBucketEncryption",
        "PutBucketEncryption",
        "DeleteBucketEncryption",
    ),
    (
        "publicAccessBlock",
        "GetPublicAccessBlock",
        "PutPublicAccessBlock",
        "DeletePublicAccessBlock",
    ),
    (
        "ownershipControls",
        "GetBucketOwnershipControls",
        "PutBucketOwnershipControls",
        "DeleteBucketOwnershipControls",
    ),
    (
        "policy",
        "GetBucketPolicy",
        "PutBucketPolicy",
        "DeleteBucketPolicy",
    ),
    (
        "lifecycle",
        "GetBucketLifecycleConfiguration",
        "PutBucketLifecycleConfiguration",
        "DeleteBucketLifecycle",
    ),
    ("logging", "GetBucketLogging", "PutBucketLogging", ""),
    (
        "tagging",
        "GetBucketTagging",
        "PutBucketTagging",
        "DeleteBucketTagging",
    ),
    (
        "object-lock",
        "GetObjectLockConfiguration",
        "PutObjectLockConfiguration",
        "",
    ),
];

fn action(call: &Call, bucket: &str, key: &str) -> &'static str {
    let http = &call.http;
    let asks = |word: &str| http.query(word).is_some();
    let method = http.method.as_str();
    if bucket.is_empty() {
        return if method == "GET" { "ListBuckets" } else { "" };
    }
    if !key.is_empty() {
        return match method {
            "GET" if asks("uploadId") => "ListParts",
            "GET" if asks("retention") => "GetObjectRetention",
            // Tags, holds and access lists of objects are not played, nor are changes of a lock.
            _ if [
                "tagging",
                "acl",
                "retention",
                "legal-hold",
                "attributes",
                "restore",
                "select",
            ]
            .iter()
            .any(|w| asks(w)) =>
            {
                ""
            }
            "GET" => "GetObject",
            "HEAD" => "HeadObject",
            "PUT" if asks("partNumber") && http.header(copy::SOURCE).is_some() => "UploadPartCopy",
            "PUT" if asks("partNumber") => "UploadPart",
            "PUT" if http.header(copy::SOURCE).is_some() => "CopyObject",
            "PUT" => "PutObject",
            "DELETE" if asks("uploadId") => "AbortMultipartUpload",
            "DELETE" => "DeleteObject",
            "POST" if asks("uploads") => "CreateMultipartUpload",
            "POST" if asks("uploadId") => "CompleteMultipartUpload",
            _ => "",
        };
    }
    if let Some((_, get, put, delete)) = SETTINGS.iter().find(|(word, ..)| asks(word)) {
        return match method {
            "GET" => get,
            "PUT" => put,
            "DELETE" => delete,
            _ => "",
        };
    }
    match method {
        "GET" if asks("versions") => "ListObjectVersions",
        "GET" if asks("uploads") => "ListMultipartUploads",
        "GET" if http.query("list-type") == Some("2") => "ListObjectsV2",
        "POST" if asks("delete") => "DeleteObjects",
        "HEAD" => "HeadBucket",
        "PUT" if only_id(http.query.as_slice()) => "CreateBucket",
        "DELETE" if only_id(http.query.as_slice()) => "DeleteBucket",
        _ => "",
    }
}

/// Whether the query asks for no sub-resource (the SDK adds `x-id`).
fn only_id(query: &[(String, String)]) -> bool {
    query.iter().all(|(k, _)| k == "x-id")
}

pub fn handle(world: &mut World, call: &Call) -> Outcome {
    let outcome = answer(world, call);
    match outcome {
        // An answer to HEAD has no body, so AWS cannot say more than the status.
        Err(refusal) if call.http.method == "HEAD" => Ok(Answer::Http {
            status: refusal.status,
            headers: vec![],
            body: vec![],
        }),
        other => other,
    }
}

fn answer(world: &mut World, call: &Call) -> Outcome {
    match call.action.as_str() {
        "ListBuckets" => bucket::list(world, call),
        "CreateBucket" => bucket::create(world, call),
        "HeadBucket" => bucket::head(world, call),
        "DeleteBucket" => bucket::delete(world, call),
        "GetBucketLocation" => bucket::location(world, call),
        "ListObjectsV2" => object::list(world, call),
        "ListObjectVersions" => object::list_versions(world, call),
        "DeleteObjects" => object::delete_many(world, call),
        "PutObject" => object::put(world, call),
        "CopyObject" => copy::object(world, call),
        "PutObjectLockConfiguration" => lock::configure(world, call),
        "GetObjectRetention" => lock::retention(world, call),
        "UploadPartCopy" => copy::part(world, call),
        "GetObject" => object::get(world, call),
        "HeadObject" => object::head(world, call),
        "DeleteObject" => object::delete(world, call),
        "ListMultipartUploads" => upload::list(world, call),
        "CreateMultipartUpload" => upload::create(world, call),
        "UploadPart" => upload::part(world, call),
        "ListParts" => upload::list_parts(world, call),
        "CompleteMultipartUpload" => upload::complete(world, call),
        "AbortMultipartUpload" => upload::abort(world, call),
        _ => settings::handle(world, call),
    }
}

/// Where a bucket of this name is, in all the world.
fn home(world: &World, bucket: &str) -> Option<String> {
    world
        .tables
        .iter()
        .find(|(k, t)| k.ends_with(&format!("/{BUCKETS}")) && t.contains_key(bucket))
        .and_then(|(k, _)| k.split('/').next())
        .map(str::to_owned)
}

/// The name of the bucket the call is about, after AWS's checks: it exists, is ours, and is here.
fn ours(world: &World, call: &Call) -> Result<String, Refusal> {
    let bucket = call.opt("Name").unwrap_or_default();
    let Some(region) = home(world, bucket) else {
        return Err(Refusal::new(
            404,
            "NoSuchBucket",
            "The specified bucket does not exist",
        ));
    };
    if world.get(&region, BUCKETS, bucket).is_some_and(foreign) {
        return Err(Refusal::new(403, "AccessDenied", "Access Denied"));
    }
    if region != call.region {
        return Err(Refusal::new(
            301,
            "PermanentRedirect",
            format!("The bucket is in {region}; address it there"),
        ));
    }
    Ok(bucket.to_owned())
}

/// Whether somebody else's account has this bucket. Tests make such rows by hand.
fn foreign(row: &Row) -> bool {
    row.is("_foreign")
}

/// The children of this name in a piece of XML, one or many.
fn many<'a>(value: &'a Value, name: &str) -> Vec<&'a Value> {
    match value.get(name) {
        None | Some(Value::Null) => vec![],
        Some(Value::Array(list)) => list.iter().collect(),
        Some(one) => vec![one],
    }
}

/// The body's XML; null when there was none.
fn body(call: &Call) -> &Value {
    call.at("Body").unwrap_or(&Value::Null)
}

/// An answer without a body.
fn plain(status: u16, headers: Vec<(String, String)>) -> Outcome {
    Ok(Answer::Http {
        status,
        headers,
        body: vec![],
    })
}

fn malformed() -> Refusal {
    Refusal::bad(
        "MalformedXML",
        "The XML you provided was not well-formed or did not validate against our published schema",
    )
}

/// A moment as S3 writes it in XML.
fn iso(at: Millis) -> String {
    Timestamp::from_millisecond(at)
        .unwrap_or(Timestamp::UNIX_EPOCH)
        .strftime("%Y-%m-%dT%H:%M:%S.000Z")
        .to_string()
}

/// A moment as HTTP headers have it.
fn http_date(at: Millis) -> String {
    Timestamp::from_millisecond(at)
        .unwrap_or(Timestamp::UNIX_EPOCH)
        .strftime("%a, %d %b %Y %H:%M:%S GMT")
        .to_string()
}
