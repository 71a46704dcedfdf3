//! Objects from bucket to bucket, inside S3: their bytes do not come by here.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::types::CompletedPart;
use futures::{StreamExt as _, TryStreamExt as _};
use serde::{Deserialize, Serialize};

use super::index::IndexLine;
use super::journal::{path_of, remove};
use super::listing::{Listing, What};
use super::multipart::{Upload, plain_etag};
use super::parts::MIB;
use super::progress::Meter;
use super::restore::Lines;
use super::spawned::spawn;
use super::{OBJECTS_AT_ONCE, Overwrite, PARTS_AT_ONCE, Place, Transfer, TransferFault};
use crate::ops::point::ObjectIndex;

/// What is in the other bucket now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Copied {
    pub count: u64,
    pub bytes: u64,
    /// Of these, what was there already.
    pub kept: u64,
}

/// What S3 copies in one call: a whole object, or a piece of a larger one; 5 TiB are 5,120 pieces. It would take 5 GiB,
/// but answers when it is done, and from region to region not within the time that a call has.
pub(super) const COPY_PART: u64 = 1024 * MIB;

/// How many objects are copied between two notes of how far it is.
const NOTE_EVERY: u64 = 256;

/// What is noted of a copy under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Note {
    format: u32,
    /// The list's checksum: it says everything about what is copied.
    list: String,
    from: String,
    done: u64,
}

impl Transfer {
    /// Copies the versions that a list in `list_bucket` names. `from` is where they are, and the beginning of their
    /// keys that is replaced by the key of `to`. An object whose tag is not the one in the list any more is an error.
    ///
    /// With journals it can be taken up. Copied twice, an object is the same, with one version more.
    pub async fn copy_index(
        &self,
        list_bucket: &str,
        index: &ObjectIndex,
        from: &Place,
        to: &Place,
    ) -> Result<Copied, TransferFault> {
        let meter = self.meter(Some(index.bytes));
        let journal = self
            .journals
            .as_ref()
            .map(|folder| path_of(folder, to, "copy.json"));
        let mut note = Note {
            format: 1,
            list: index.sha256.clone(),
            from: from.to_string(),
            done: 0,
        };
        let before = earlier(journal.as_deref(), &note);
        let lines = Lines::Index(Box::new(self.read_index(list_bucket, index)));
        let copied = lines
            .stream()
            .enumerate()
            .map(|(place, line)| {
                let skip = (place as u64) < before;
                self.copy_line(line, skip, from, to, &meter)
            })
            .buffered(OBJECTS_AT_ONCE);
        let mut copied = std::pin::pin!(copied);
        let mut sum = Copied::default();
        while let Some(bytes) = copied.try_next().await? {
            sum.count += 1;
            sum.bytes += bytes;
            if let Some(path) = &journal
                && sum.count.is_multiple_of(NOTE_EVERY)
                && sum.count > before
            {
                note.done = sum.count;
                write(path, &note)?;
            }
        }
        sum.kept = before.min(sum.count);
        if let Some(path) = &journal {
            remove(path)?;
        }
        Ok(sum)
    }

    /// Makes the versions that a list in `list_bucket` names the newest ones of their keys in `bucket` again, where they
    /// are not: overwritten since, or deleted. Objects that the list does not name stay. Done again, it
    /// copies at most what it copied before, with one version more.
    pub async fn revert_index(
        &self,
        list_bucket: &str,
        index: &ObjectIndex,
        bucket: &str,
    ) -> Result<Copied, TransferFault> {
        let meter = self.meter(Some(index.bytes));
        let everything = Place::new(bucket, "");
        let now = Listing::new(self, &everything, What::Objects);
        let lines = self.read_index(list_bucket, index);
        let pairs = futures::stream::try_unfold((lines, now), |(mut lines, mut now)| async move {
            let Some(line) = lines.next().await? else {
                return Ok::<_, TransferFault>(None);
            };
            let there = now.at(&line.key).await?;
            // Only the same content has the same tag; under a key of KMS, only the same version.
            let same = there.iter().any(|object| {
                !line.etag.is_empty() && object.etag == line.etag && object.bytes == line.bytes
            });
            Ok(Some(((line, same), (lines, now))))
        });
        let done = pairs
            .map(|pair| {
                let meter = &meter;
                let everything = &everything;
                async move {
                    let (line, same) = pair?;
                    let kept = u64::from(same);
                    let bytes = self
                        .copy_line(Ok(line), same, everything, everything, meter)
                        .await?;
                    Ok::<_, TransferFault>((bytes, kept))
                }
            })
            .buffered(OBJECTS_AT_ONCE);
        let mut done = std::pin::pin!(done);
        let mut sum = Copied::default();
        while let Some((bytes, kept)) = done.try_next().await? {
            sum.count += 1;
            sum.bytes += bytes;
            sum.kept += kept;
        }
        Ok(sum)
    }

    async fn copy_line(
        &self,
        line: Result<IndexLine, TransferFault>,
        skip: bool,
        from: &Place,
        to: &Place,
        meter: &Meter,
    ) -> Result<u64, TransferFault> {
        let line = line?;
        let bytes = line.bytes;
        if !skip {
            let rest = line
                .key
                .strip_prefix(&from.key)
                .ok_or_else(|| TransferFault::Name {
                    name: line.key.clone(),
                    why: format!("is not below {from}"),
                })?;
            let place = Place::new(&to.bucket, format!("{}{rest}", to.key));
            let (own, bucket) = (self.clone(), from.bucket.clone());
            spawn(async move { own.copy_object(&bucket, &line, &place).await }).await?;
        }
        meter.add(bytes);
        Ok(bytes)
    }

    /// Copies one version.
    pub async fn copy_object(
        &self,
        from_bucket: &str,
        line: &IndexLine,
        to: &Place,
    ) -> Result<(), TransferFault> {
        if line.bytes > self.largest_copy {
            return self.copy_parts(from_bucket, line, to).await;
        }
        self.cx
            .put("s3:PutObject", || {
                self.s3()
                    .copy_object()
                    .copy_source(source(from_bucket, line))
                    .set_copy_source_if_match(tag(line))
                    .bucket(&to.bucket)
                    .key(&to.key)
                    .send()
            })
            .await
            .map(|_| ())
            .map_err(|fault| moved_on(fault, from_bucket, line))
    }

    async fn copy_parts(
        &self,
        from_bucket: &str,
        line: &IndexLine,
        to: &Place,
    ) -> Result<(), TransferFault> {
        let head = self
            .cx
            .read("s3:GetObject", || {
                self.s3()
                    .head_object()
                    .bucket(from_bucket)
                    .key(&line.key)
                    .set_version_id(line.version.clone())
                    .send()
            })
            .await?;
        let upload = self.begin_copy(to, &head).await?;
        let part_size = COPY_PART.min(self.largest_copy);
        let parts = (0..line.bytes.div_ceil(part_size)).map(|place| {
            let from = place * part_size;
            let to = line.bytes.min(from + part_size);
            let number = i32::try_from(place + 1).unwrap_or(i32::MAX);
            self.copy_part(&upload, number, from_bucket, line, from..to)
        });
        let copied: Result<BTreeMap<i32, CompletedPart>, TransferFault> =
            futures::stream::iter(parts)
                .buffer_unordered(PARTS_AT_ONCE)
                .try_collect()
                .await;
        let done = match copied {
            Ok(parts) => {
                let parts: Vec<CompletedPart> = parts.into_values().collect();
                self.complete(&upload, &parts, line.bytes, Overwrite::Allowed)
                    .await
                    .map(|_| ())
            }
            Err(fault) => Err(fault),
        };
        if done.is_err() {
            // The first fault is the one to tell; the next upload of this key tries to remove it again.
            let _ = self.abort(to, &upload.id).await;
        }
        done
    }

    /// An upload that keeps what a plain copy would: the type and the metadata.
    async fn begin_copy(
        &self,
        to: &Place,
        head: &HeadObjectOutput,
    ) -> Result<Upload, TransferFault> {
        self.begin_with(to, |call| {
            let metadata = head.metadata().cloned().unwrap_or_default();
            metadata
                .into_iter()
                .fold(call, |call, (name, value)| call.metadata(name, value))
                .set_content_type(head.content_type().map(str::to_owned))
                .set_content_encoding(head.content_encoding().map(str::to_owned))
                .set_content_disposition(head.content_disposition().map(str::to_owned))
                .set_content_language(head.content_language().map(str::to_owned))
                .set_cache_control(head.cache_control().map(str::to_owned))
        })
        .await
    }

    async fn copy_part(
        &self,
        upload: &Upload,
        number: i32,
        from_bucket: &str,
        line: &IndexLine,
        range: std::ops::Range<u64>,
    ) -> Result<(i32, CompletedPart), TransferFault> {
        let answer = self
            .cx
            .put("s3:PutObject", || {
                self.s3()
                    .upload_part_copy()
                    .copy_source(source(from_bucket, line))
                    .set_copy_source_if_match(tag(line))
                    .copy_source_range(format!("bytes={}-{}", range.start, range.end - 1))
                    .bucket(&upload.to.bucket)
                    .key(&upload.to.key)
                    .upload_id(&upload.id)
                    .part_number(number)
                    .send()
            })
            .await
            .map_err(|fault| moved_on(fault, from_bucket, line))?;
        let result = answer.copy_part_result();
        let etag = plain_etag(result.and_then(|r| r.e_tag()));
        let part = CompletedPart::builder().part_number(number).e_tag(etag);
        Ok((number, part.build()))
    }
}

/// How many objects an earlier run of the same copy had done, in the order of the list.
fn earlier(journal: Option<&Path>, now: &Note) -> u64 {
    journal
        .and_then(|path| fs::read(path).ok())
        .and_then(|text| serde_json::from_slice::<Note>(&text).ok())
        .filter(|old| {
            Note {
                done: 0,
                ..old.clone()
            } == *now
        })
        .map_or(0, |old| old.done)
}

fn write(path: &Path, note: &Note) -> Result<(), TransferFault> {
    let at = |error| TransferFault::local(path, error);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(at)?;
    }
    let next = path.with_extension("next");
    let text = serde_json::to_vec(note).unwrap_or_default();
    fs::write(&next, text).map_err(at)?;
    fs::rename(&next, path).map_err(at)
}

/// The tag that the source must still have; none where its server tells none.
fn tag(line: &IndexLine) -> Option<String> {
    (!line.etag.is_empty()).then(|| format!("\"{}\"", line.etag))
}

fn moved_on(fault: crate::cloud::Fault, bucket: &str, line: &IndexLine) -> TransferFault {
    if fault.code() == "PreconditionFailed" {
        let place = Place::new(bucket, &line.key);
        return TransferFault::damaged(&place, "it is not the content that the list names");
    }
    fault.into()
}

/// `bucket/key?versionId=…`, its key percent-encoded as the header wants it.
fn source(bucket: &str, line: &IndexLine) -> String {
    let key: String = line
        .key
        .bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect();
    match &line.version {
        Some(version) => format!("{bucket}/{key}?versionId={version}"),
        None => format!("{bucket}/{key}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_encoded() {
        let mut line = IndexLine {
            key: "a b/ü?+%".into(),
            version: None,
            bytes: 0,
            etag: String::new(),
            sha256: None,
        };
        assert_eq!(source("from", &line), "from/a%20b/%C3%BC%3F%2B%25");
        line.version = Some("v1".into());
        assert!(source("from", &line).ends_with("?versionId=v1"));
    }
}
