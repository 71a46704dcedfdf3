//! Uploads in parts: nothing until they are completed, and they block their bucket's deletion.

use serde_json::{Value, json};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::object::{conditions, etag, fits, key, meta, store};
use super::{UPLOADS, body, iso, malformed, many, ours, plain};
use crate::sandbox::call::{Call, Outcome, Refusal};
use crate::sandbox::world::{Row, World};

/// The smallest part that is not the last one.
const SMALLEST: u64 = 5 * 1024 * 1024;

pub(super) fn create(world: &mut World, call: &Call) -> Outcome {
    let bucket = ours(world, call)?;
    let key = key(call)?;
    let upload = world.hex(40);
    let v = json!({"Bucket": bucket, "Key": key, "UploadId": upload, "_headers": meta(call), "_parts": {}});
    world.insert(
        &call.region,
        UPLOADS,
        &id(&bucket, &key, &upload),
        v,
        call.now,
    );
    Ok(json!({"$root": "InitiateMultipartUploadResult", "Bucket": bucket, "Key": key, "UploadId": upload}).into())
}

fn id(bucket: &str, key: &str, upload: &str) -> String {
    format!("{bucket}/{key}#{upload}")
}

/// The row id of the upload the call is about.
fn find(world: &World, call: &Call) -> Result<(String, Row), Refusal> {
    let bucket = ours(world, call)?;
    let id = id(
        &bucket,
        &key(call)?,
        call.http.query("uploadId").unwrap_or_default(),
    );
    match world.get(&call.region, UPLOADS, &id) {
        Some(row) => Ok((id, row.clone())),
        None => Err(Refusal::new(
            404,
            "NoSuchUpload",
            "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.",
        )),
    }
}

pub(super) fn part(world: &mut World, call: &Call) -> Outcome {
    let (id, _) = find(world, call)?;
    let number = call
        .http
        .query("partNumber")
        .and_then(|n| n.parse::<u32>().ok())
        .filter(|n| (1..=10_000).contains(n))
        .ok_or_else(|| {
            Refusal::bad(
                "InvalidArgument",
                "Part number must be an integer between 1 and 10000, inclusive",
            )
        })?;
    fits(call.http.body.len())?;
    let etag = etag(&call.http.body);
    if let Some(row) = world.get_mut(&call.region, UPLOADS, &id) {
        row.v["_parts"][number.to_string()] = json!({"ETag": etag, "Size": call.http.body.len(),
            "LastModified": iso(call.now), "_body": STANDARD.encode(&call.http.body)});
    }
    plain(200, vec![("etag".into(), etag)])
}

pub(super) fn list_parts(world: &mut World, call: &Call) -> Outcome {
    let (_, row) = find(world, call)?;
    let mut parts: Vec<(u32, Value)> = row
        .v
        .get("_parts")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(n, p)| {
            let number = n.parse().unwrap_or_default();
            let line = json!({"PartNumber": number, "ETag": p["ETag"], "Size": p["Size"], "LastModified": p["LastModified"]});
            (number, line)
        })
        .collect();
    parts.sort_by_key(|(n, _)| *n);
    let parts: Vec<Value> = parts.into_iter().map(|(_, p)| p).collect();
    Ok(
        json!({"$root": "ListPartsResult", "Bucket": row.text("Bucket"), "Key": row.text("Key"),
        "UploadId": row.text("UploadId"), "IsTruncated": false, "Part": parts})
        .into(),
    )
}

pub(super) fn complete(world: &mut World, call: &Call) -> Outcome {
    let (id, row) = find(world, call)?;
    let wanted = body(call).clone();
    let parts = many(&wanted, "Part");
    if parts.is_empty() {
        return Err(malformed());
    }
    let mut content = vec![];
    let mut before = 0;
    for (place, part) in parts.iter().enumerate() {
        let number: u32 = part
            .get("PartNumber")
            .and_then(Value::as_str)
            .and_then(|n| n.parse().ok())
            .ok_or_else(malformed)?;
        if number <= before {
            return Err(Refusal::bad(
                "InvalidPartOrder",
                "The list of parts was not in ascending order. Parts must be ordered by part number.",
            ));
        }
        before = number;
        let have = &row.v["_parts"][number.to_string()];
        let tag = |v: &Value| v.as_str().unwrap_or_default().trim_matches('"').to_owned();
        if have.is_null() || part.get("ETag").map(tag) != have.get("ETag").map(tag) {
            return Err(Refusal::bad(
                "InvalidPart",
                "One or more of the specified parts could not be found.",
            ));
        }
        if place + 1 < parts.len() && have["Size"].as_u64().unwrap_or_default() < SMALLEST {
            return Err(Refusal::bad(
                "EntityTooSmall",
                "Your proposed upload is smaller than the minimum allowed size",
            ));
        }
        content.extend(
            STANDARD
                .decode(have["_body"].as_str().unwrap_or_default())
                .unwrap_or_default(),
        );
    }
    fits(content.len())?;
    let (bucket, key) = (row.text("Bucket").to_owned(), row.text("Key").to_owned());
    conditions(world, call, &bucket, &key)?;
    let headers = row
        .v
        .get("_headers")
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    store(world, call, &bucket, &key, &content, headers)?;
    world.remove(&call.region, UPLOADS, &id);
    Ok(json!({"$root": "CompleteMultipartUploadResult", "Bucket": bucket, "Key": key, "ETag": etag(&content)}).into())
}

pub(super) fn abort(world: &mut World, call: &Call) -> Outcome {
    let (id, _) = find(world, call)?;
    world.remove(&call.region, UPLOADS, &id);
    plain(204, vec![])
}

pub(super) fn list(world: &mut World, call: &Call) -> Outcome {
    let bucket = ours(world, call)?;
    let http = &call.http;
    let prefix = http.query("prefix").unwrap_or_default();
    let key_marker = http.query("key-marker").unwrap_or_default();
    let upload_marker = http.query("upload-id-marker").filter(|v| !v.is_empty());
    let size: usize = http
        .query("max-uploads")
        .and_then(|n| n.parse().ok())
        .unwrap_or(1_000)
        .min(1_000);
    let mut rows: Vec<&Row> = world
        .rows(&call.region, UPLOADS)
        .map(|(_, row)| row)
        .filter(|r| r.text("Bucket") == bucket && r.text("Key").starts_with(prefix))
        .filter(|r| match r.text("Key").cmp(key_marker) {
            std::cmp::Ordering::Less => false,
            std::cmp::Ordering::Greater => true,
            std::cmp::Ordering::Equal => {
                key_marker.is_empty() || upload_marker.is_some_and(|m| r.text("UploadId") > m)
            }
        })
        .collect();
    rows.sort_by_key(|r| (r.text("Key"), r.text("UploadId")));
    let more = rows.len() > size;
    rows.truncate(size);
    let uploads: Vec<Value> = rows
        .iter()
        .map(|r| json!({"Key": r.text("Key"), "UploadId": r.text("UploadId"), "Initiated": iso(r.born), "StorageClass": "STANDARD"}))
        .collect();
    let mut answer = json!({"$root": "ListMultipartUploadsResult", "Bucket": bucket, "KeyMarker": key_marker,
        "MaxUploads": size, "IsTruncated": more, "Upload": uploads});
    if let (true, Some(last)) = (more, rows.last()) {
        answer["NextKeyMarker"] = json!(last.text("Key"));
        answer["NextUploadIdMarker"] = json!(last.text("UploadId"));
    }
    Ok(answer.into())
}
