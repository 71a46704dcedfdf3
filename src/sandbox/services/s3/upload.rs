//! Uploads in parts: nothing until they are completed, and they block their bucket's deletion.

use serde_json::{Map, Value, json};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::object::{conditions, etag, fits, key, meta, store};
use super::{UPLOADS, body, checksum, iso, lock, malformed, many, ours, plain};
use crate::sandbox::call::{Answer, Call, Outcome, Refusal};
use crate::sandbox::codec;
use crate::sandbox::world::{Row, World};

/// The smallest part that is not the last one.
const SMALLEST: u64 = 5 * 1024 * 1024;

pub(super) fn create(world: &mut World, call: &Call) -> Outcome {
    let bucket = ours(world, call)?;
    let key = key(call)?;
    let upload = world.hex(40);
    let mut v = json!({"Bucket": bucket, "Key": key, "UploadId": upload, "_headers": meta(call), "_parts": {}});
    if call.http.header(lock::MODE_ASKED).is_some() {
        lock::put_on(&mut v, lock::of_new(world, call, &bucket)?);
    }
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
    let sums = checksum::sent(call)?;
    let etag = keep(world, call, &call.http.body, &sums)?;
    let mut headers = vec![("etag".to_owned(), etag)];
    headers.extend(
        sums.into_iter()
            .filter_map(|(k, v)| Some((k, v.as_str()?.to_owned()))),
    );
    plain(200, headers)
}

/// Keeps a part of the upload the call is about, in place of one of that number, and answers its tag.
pub(super) fn keep(
    world: &mut World,
    call: &Call,
    content: &[u8],
    sums: &Map<String, Value>,
) -> Result<String, Refusal> {
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
    fits(content.len())?;
    let etag = etag(content);
    if let Some(row) = world.get_mut(&call.region, UPLOADS, &id) {
        row.v["_parts"][number.to_string()] = json!({"ETag": etag, "Size": content.len(),
            "LastModified": iso(call.now), "_sums": sums, "_body": STANDARD.encode(content)});
    }
    Ok(etag)
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
            let mut line = json!({"PartNumber": number, "ETag": p["ETag"], "Size": p["Size"], "LastModified": p["LastModified"]});
            for (header, sum) in p["_sums"].as_object().into_iter().flatten() {
                line[checksum::element(header)] = sum.clone();
            }
            (number, line)
        })
        .collect();
    parts.sort_by_key(|(n, _)| *n);
    let number = |key: &str| call.http.query(key).and_then(|n| n.parse::<u32>().ok());
    let after = number("part-number-marker").unwrap_or_default();
    let size = number("max-parts").unwrap_or(1_000).min(1_000) as usize;
    parts.retain(|(n, _)| *n > after);
    let more = parts.len() > size;
    parts.truncate(size);
    let next = parts.last().map(|(n, _)| *n).filter(|_| more);
    let parts: Vec<Value> = parts.into_iter().map(|(_, p)| p).collect();
    Ok(
        json!({"$root": "ListPartsResult", "Bucket": row.text("Bucket"), "Key": row.text("Key"),
        "UploadId": row.text("UploadId"), "IsTruncated": more, "NextPartNumberMarker": next, "Part": parts})
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
    let mut used = vec![];
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
        let mut sums = have["_sums"].as_object().into_iter().flatten();
        if sums.any(|(header, sum)| {
            let said = part.get(checksum::element(header));
            said.is_some_and(|said| said != sum)
        }) {
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
        used.push(have);
        content.extend(
            STANDARD
                .decode(have["_body"].as_str().unwrap_or_default())
                .unwrap_or_default(),
        );
    }
    fits(content.len())?;
    let (bucket, key) = (row.text("Bucket").to_owned(), row.text("Key").to_owned());
    conditions(world, call, &bucket, &key)?;
    let kept = row.v.get("_headers").and_then(Value::as_object);
    let mut kept = kept.cloned().unwrap_or_default();
    let sum = checksum::of_parts(&used);
    if let Some((header, sum)) = &sum {
        kept.insert((*header).to_owned(), json!(sum));
    }
    // Asked for when the upload began, or the bucket's own from now on.
    let lock = match lock::of(&row) {
        Some((mode, until)) => Some((mode.to_owned(), until)),
        None => lock::of_new(world, call, &bucket)?,
    };
    let made = store(world, call, &bucket, &key, &content, kept, lock);
    world.remove(&call.region, UPLOADS, &id);
    let mut result = json!({"Bucket": bucket, "Key": key, "ETag": made.etag});
    if let Some((header, sum)) = sum {
        result[checksum::element(header)] = json!(sum);
    }
    let mut headers = vec![("content-type".to_owned(), "application/xml".to_owned())];
    headers.extend(
        made.headers
            .into_iter()
            .filter(|(k, _)| k == "x-amz-version-id" || k.starts_with("x-amz-server-side")),
    );
    Ok(Answer::Http {
        status: 200,
        headers,
        body: codec::to_xml(
            "CompleteMultipartUploadResult",
            Some("http://s3.amazonaws.com/doc/2006-03-01/"),
            &result,
        )
        .into_bytes(),
    })
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
