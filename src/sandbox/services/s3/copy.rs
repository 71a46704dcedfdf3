//! Copies inside S3: whole objects, and pieces of them as parts of an upload.

use serde_json::{Map, Value, json};

use super::object::{conditions, content, find, key, meta, same_tag, store, within};
use super::{BUCKETS, checksum, foreign, iso, lock, ours, upload};
use crate::sandbox::call::{Answer, Call, Outcome, Refusal};
use crate::sandbox::codec;
use crate::sandbox::world::{Row, World};

/// The header that names what is copied.
pub(super) const SOURCE: &str = "x-amz-copy-source";

/// What is copied, and as what it was named.
struct Source {
    bucket: String,
    key: String,
    version: Option<String>,
    row: Row,
}

fn source(world: &World, call: &Call) -> Result<Source, Refusal> {
    let said = call.http.header(SOURCE).unwrap_or_default();
    let (path, version) = match said.split_once("?versionId=") {
        Some((path, version)) => (path, Some(version.to_owned())),
        None => (said, None),
    };
    let path = percent_encoding::percent_decode_str(path)
        .decode_utf8_lossy()
        .into_owned();
    let (bucket, key) = path
        .trim_start_matches('/')
        .split_once('/')
        .ok_or_else(|| {
            Refusal::bad(
                "InvalidArgument",
                "Copy Source must mention the source bucket and key: sourcebucket/sourcekey",
            )
        })?;
    let region = super::home(world, bucket)
        .ok_or_else(|| Refusal::new(404, "NoSuchBucket", "The specified bucket does not exist"))?;
    if world.get(&region, BUCKETS, bucket).is_some_and(foreign) {
        return Err(Refusal::new(403, "AccessDenied", "Access Denied"));
    }
    let row = match find(world, &region, bucket, key, version.as_deref()) {
        Err(no) if no.code == "MethodNotAllowed" => {
            return Err(Refusal::bad(
                "InvalidRequest",
                "The source of a copy request may not specifically refer to a delete marker by version id.",
            ));
        }
        other => other?.clone(),
    };
    let wanted = call.http.header("x-amz-copy-source-if-match");
    if wanted.is_some_and(|tag| !same_tag(tag, row.text("ETag"))) {
        return Err(Refusal::new(
            412,
            "PreconditionFailed",
            "At least one of the pre-conditions you specified did not hold",
        ));
    }
    Ok(Source {
        bucket: bucket.to_owned(),
        key: key.to_owned(),
        version,
        row,
    })
}

impl Source {
    /// The header that tells which version was copied.
    fn header(&self) -> Option<(String, String)> {
        let version = self.row.text("VersionId");
        (version != "null").then(|| ("x-amz-copy-source-version-id".into(), version.to_owned()))
    }
}

pub(super) fn object(world: &mut World, call: &Call) -> Outcome {
    let bucket = ours(world, call)?;
    let key = key(call)?;
    let source = source(world, call)?;
    conditions(world, call, &bucket, &key)?;
    let replaced = call.http.header("x-amz-metadata-directive") == Some("REPLACE");
    let asks_encryption = call.http.header("x-amz-server-side-encryption").is_some();
    let itself = source.bucket == bucket && source.key == key && source.version.is_none();
    if itself && !replaced && !asks_encryption {
        return Err(Refusal::bad(
            "InvalidRequest",
            "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes.",
        ));
    }
    let content = content(&source.row);
    let headers = source.row.v.get("_headers").and_then(Value::as_object);
    let own = headers.cloned().unwrap_or_default();
    // Encryption is asked for anew or the bucket's; checksums stay; the rest may be replaced.
    let encryption = "x-amz-server-side-encryption";
    let mut kept: Map<String, Value> = own
        .into_iter()
        .filter(|(k, _)| !k.starts_with(encryption))
        .filter(|(k, _)| !replaced || checksum::carries(k))
        .collect();
    kept.extend(
        meta(call)
            .into_iter()
            .filter(|(k, _)| replaced || k.starts_with(encryption)),
    );
    checksum::renew(&mut kept, &content);
    let lock = lock::of_new(world, call, &bucket)?;
    let made = store(world, call, &bucket, &key, &content, kept, lock);
    let result = json!({"ETag": made.etag, "LastModified": iso(call.now)});
    Ok(answer("CopyObjectResult", &result, made.headers, &source))
}

/// `UploadPartCopy`.
pub(super) fn part(world: &mut World, call: &Call) -> Outcome {
    let source = source(world, call)?;
    let content = content(&source.row);
    let piece = match call.http.header("x-amz-copy-source-range") {
        None => content,
        Some(range) => {
            // Both ends have to be there, and in the object.
            let exact = range
                .strip_prefix("bytes=")
                .and_then(|r| r.split_once('-'))
                .is_some_and(|(from, to)| {
                    from.parse::<usize>().is_ok()
                        && to.parse::<usize>().is_ok_and(|to| to < content.len())
                });
            let Some((from, to)) = within(range, content.len()).filter(|_| exact) else {
                return Err(Refusal::bad(
                    "InvalidArgument",
                    format!(
                        "Range specified is not valid for source object of size: {}",
                        content.len()
                    ),
                ));
            };
            content[from..=to].to_vec()
        }
    };
    let etag = upload::keep(world, call, &piece, &Map::new())?;
    let result = json!({"ETag": etag, "LastModified": iso(call.now)});
    Ok(answer("CopyPartResult", &result, vec![], &source))
}

fn answer(root: &str, result: &Value, own: Vec<(String, String)>, source: &Source) -> Answer {
    let mut headers = vec![("content-type".to_owned(), "application/xml".to_owned())];
    headers.extend(own.into_iter().filter(|(k, _)| k.starts_with("x-amz-")));
    headers.extend(source.header());
    Answer::Http {
        status: 200,
        headers,
        body: codec::to_xml(
            root,
            Some("http://s3.amazonaws.com/doc/2006-03-01/"),
            result,
        )
        .into_bytes(),
    }
}
