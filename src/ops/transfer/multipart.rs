//! Uploads in parts, as S3 has them: nothing is there until they are completed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use aws_sdk_s3::operation::create_multipart_upload::builders::CreateMultipartUploadFluentBuilder;
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumMode, CompletedMultipartUpload, CompletedPart};
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::Length;
use serde::{Deserialize, Serialize};

use super::parts::MIB;
use super::{Digest, Overwrite, Place, Transfer, TransferFault};
use crate::cloud::{self, Fault};

/// The name of the metadata that tells one upload of a key from another, once it is completed.
const MARK: &str = "gantry-upload";

/// An upload that was begun.
#[derive(Debug, Clone)]
pub(super) struct Upload {
    pub(super) to: Place,
    pub(super) id: String,
    /// Random; the object that comes out of this upload carries it.
    pub(super) mark: String,
}

/// A part that S3 has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Part {
    pub(super) number: i32,
    pub(super) bytes: u64,
    pub(super) sha256: Digest,
    pub(super) etag: String,
}

/// What a part consists of; can be sent again.
#[derive(Debug, Clone)]
pub(super) enum Content {
    Memory(Vec<u8>),
    /// Read while it is sent, so that a part may be larger than memory. If the file changes meanwhile, its checksum
    /// no longer fits and S3 refuses it.
    File {
        path: PathBuf,
        from: u64,
        bytes: u64,
    },
}

/// The object that came out of an upload.
#[derive(Debug, Clone)]
pub(super) struct Landed {
    pub(super) etag: String,
    pub(super) version: Option<String>,
}

/// Pieces in which a file is read while it is sent.
const READ_BUFFER: usize = 256 * 1024;

/// Buffers that one part of a file takes on its way.
pub(super) const IN_FLIGHT: u64 = 2 * MIB;

/// As S3 gives it in headers, without quotes.
pub(super) fn plain_etag(etag: Option<&str>) -> String {
    etag.unwrap_or_default().trim_matches('"').to_owned()
}

/// S3 writes `null` for what has no version.
pub(super) fn real_version(version: Option<&str>) -> Option<String> {
    version.filter(|v| *v != "null").map(str::to_owned)
}

fn mark() -> Result<String, TransferFault> {
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes).map_err(|e| Fault::internal(format!("no random bytes: {e}")))?;
    Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
}

/// Whether a conditional write met something that is there already.
pub(super) fn is_taken(fault: &Fault) -> bool {
    matches!(
        fault.code(),
        "PreconditionFailed" | "ConditionalRequestConflict"
    )
}

impl Transfer {
    /// Begins an upload, and removes whatever earlier ones of this key left: also the one that was begun by a call
    /// whose answer was lost.
    pub(super) async fn begin(&self, to: &Place) -> Result<Upload, TransferFault> {
        let checksum = ChecksumAlgorithm::Sha256;
        self.begin_with(to, |call| call.checksum_algorithm(checksum.clone()))
            .await
    }

    /// As [`Self::begin`], of an object with properties of its own.
    pub(super) async fn begin_with(
        &self,
        to: &Place,
        more: impl Fn(CreateMultipartUploadFluentBuilder) -> CreateMultipartUploadFluentBuilder
        + Send
        + Sync,
    ) -> Result<Upload, TransferFault> {
        let mark = mark()?;
        let answer = self
            .cx
            .put("s3:PutObject", || {
                let call = self.s3().create_multipart_upload();
                more(call)
                    .bucket(&to.bucket)
                    .key(&to.key)
                    .metadata(MARK, &mark)
                    .send()
            })
            .await?;
        let id = answer.upload_id().unwrap_or_default().to_owned();
        let upload = Upload {
            to: to.clone(),
            id,
            mark,
        };
        for id in self.unfinished(to).await? {
            if id != upload.id {
                self.abort(to, &id).await?;
            }
        }
        Ok(upload)
    }

    /// Uploads of exactly this key that are neither completed nor aborted.
    async fn unfinished(&self, to: &Place) -> Result<Vec<String>, TransferFault> {
        let (mut ids, mut after) = (vec![], None::<(String, String)>);
        loop {
            let page = self
                .cx
                .read("s3:ListBucketMultipartUploads", || {
                    let (key, id) = after.clone().unzip();
                    self.s3()
                        .list_multipart_uploads()
                        .bucket(&to.bucket)
                        .prefix(&to.key)
                        .set_key_marker(key)
                        .set_upload_id_marker(id)
                        .send()
                })
                .await?;
            let exact = page
                .uploads()
                .iter()
                .filter(|u| u.key() == Some(to.key.as_str()));
            ids.extend(exact.filter_map(|u| u.upload_id().map(str::to_owned)));
            match (page.is_truncated(), page.next_key_marker()) {
                (Some(true), Some(key)) if key <= to.key.as_str() => {
                    let id = page.next_upload_id_marker().unwrap_or_default();
                    after = Some((key.to_owned(), id.to_owned()));
                }
                _ => return Ok(ids),
            }
        }
    }

    /// Removes an upload and its parts. Gone already is fine.
    pub(super) async fn abort(&self, to: &Place, id: &str) -> Result<(), TransferFault> {
        let aborted = self
            .cx
            .put("s3:AbortMultipartUpload", || {
                self.s3()
                    .abort_multipart_upload()
                    .bucket(&to.bucket)
                    .key(&to.key)
                    .upload_id(id)
                    .send()
            })
            .await;
        match aborted {
            Err(fault) if !fault.is_gone() => Err(fault.into()),
            _ => Ok(()),
        }
    }

    /// Sends one part. Sent twice, it is there once.
    pub(super) async fn send_part(
        &self,
        upload: &Upload,
        number: i32,
        content: Content,
        sha256: Digest,
    ) -> Result<Part, TransferFault> {
        let bytes = match &content {
            Content::Memory(content) => content.len() as u64,
            Content::File { bytes, .. } => *bytes,
        };
        let (body, length) = (Body::of(content), i64::try_from(bytes).unwrap_or(i64::MAX));
        let answer = self
            .cx
            .put("s3:PutObject", || async {
                self.s3()
                    .upload_part()
                    .bucket(&upload.to.bucket)
                    .key(&upload.to.key)
                    .upload_id(&upload.id)
                    .part_number(number)
                    .checksum_sha256(sha256.base64())
                    .content_length(length)
                    .body(
                        body.stream()
                            .await
                            .map_err(SdkError::construction_failure)?,
                    )
                    .customize()
                    .config_override(patience(bytes))
                    .send()
                    .await
            })
            .await?;
        Ok(Part {
            number,
            bytes,
            sha256,
            etag: plain_etag(answer.e_tag()),
        })
    }

    /// The parts S3 has, with their sizes and tags; none where the upload is not there any more.
    pub(super) async fn parts_there(
        &self,
        upload: &Upload,
    ) -> Result<Option<BTreeMap<i32, (u64, String)>>, TransferFault> {
        let (mut there, mut after) = (BTreeMap::new(), None::<String>);
        loop {
            let page = self
                .cx
                .read("s3:ListMultipartUploadParts", || {
                    self.s3()
                        .list_parts()
                        .bucket(&upload.to.bucket)
                        .key(&upload.to.key)
                        .upload_id(&upload.id)
                        .set_part_number_marker(after.clone())
                        .send()
                })
                .await;
            let page = match page {
                Err(fault) if fault.is_gone() => return Ok(None),
                other => other?,
            };
            there.extend(page.parts().iter().map(|part| {
                let bytes = part.size().and_then(|n| u64::try_from(n).ok());
                let tag = plain_etag(part.e_tag());
                (
                    part.part_number().unwrap_or_default(),
                    (bytes.unwrap_or_default(), tag),
                )
            }));
            match (page.is_truncated(), page.next_part_number_marker()) {
                (Some(true), Some(marker)) => after = Some(marker.to_owned()),
                _ => return Ok(Some(there)),
            }
        }
    }

    /// Makes the object of its parts. Only now it is there, all at once.
    pub(super) async fn complete(
        &self,
        upload: &Upload,
        parts: &[CompletedPart],
        bytes: u64,
        overwrite: Overwrite,
    ) -> Result<Landed, TransferFault> {
        let to = &upload.to;
        let answer = self
            .cx
            .put("s3:PutObject", || {
                let parts = CompletedMultipartUpload::builder().set_parts(Some(parts.to_vec()));
                self.s3()
                    .complete_multipart_upload()
                    .bucket(&to.bucket)
                    .key(&to.key)
                    .upload_id(&upload.id)
                    .multipart_upload(parts.build())
                    .set_if_none_match(if_none_match(overwrite))
                    .send()
            })
            .await;
        let fault = match answer {
            Ok(answer) => {
                return Ok(Landed {
                    etag: plain_etag(answer.e_tag()),
                    version: real_version(answer.version_id()),
                });
            }
            Err(fault) => fault,
        };
        // An earlier attempt may have done it and only its answer was lost: then the upload is gone, or the key taken.
        if let Some(landed) = self.landed(upload, bytes).await? {
            return Ok(landed);
        }
        if is_taken(&fault) {
            return Err(TransferFault::Taken { place: to.clone() });
        }
        Err(fault.into())
    }

    /// What came out of this very upload, if it is the newest version of its key.
    pub(super) async fn landed(
        &self,
        upload: &Upload,
        bytes: u64,
    ) -> Result<Option<Landed>, TransferFault> {
        let newest = self.newest(&upload.to).await?;
        Ok(newest
            .filter(|head| {
                let mark = head.metadata().and_then(|all| all.get(MARK));
                mark == Some(&upload.mark) && size(head) == bytes
            })
            .map(|head| Landed::from(&head)))
    }

    /// The newest version of a key, with the checksum S3 has of it; none where there is none.
    pub(super) async fn newest(
        &self,
        at: &Place,
    ) -> Result<Option<HeadObjectOutput>, TransferFault> {
        let head = self
            .cx
            .read("s3:GetObject", || {
                self.s3()
                    .head_object()
                    .bucket(&at.bucket)
                    .key(&at.key)
                    .checksum_mode(ChecksumMode::Enabled)
                    .send()
            })
            .await;
        match head {
            Err(fault) if fault.is_gone() => Ok(None),
            other => Ok(Some(other?)),
        }
    }
}

impl From<&HeadObjectOutput> for Landed {
    fn from(head: &HeadObjectOutput) -> Self {
        Self {
            etag: plain_etag(head.e_tag()),
            version: real_version(head.version_id()),
        }
    }
}

pub(super) fn size(head: &HeadObjectOutput) -> u64 {
    head.content_length()
        .and_then(|n| u64::try_from(n).ok())
        .unwrap_or_default()
}

/// As CompleteMultipartUpload wants to have the parts: in their order.
pub(super) fn completed(parts: &BTreeMap<i32, Part>) -> Vec<CompletedPart> {
    parts
        .values()
        .map(|part| {
            CompletedPart::builder()
                .part_number(part.number)
                .e_tag(&part.etag)
                .checksum_sha256(part.sha256.base64())
                .build()
        })
        .collect()
}

pub(super) fn if_none_match(overwrite: Overwrite) -> Option<String> {
    (overwrite == Overwrite::Never).then(|| "*".to_owned())
}

/// The usual time, and a second more for each mebibyte: a part may be half a gibibyte.
fn patience(bytes: u64) -> aws_sdk_s3::config::Builder {
    let more = Duration::from_secs(bytes / MIB);
    let usual = cloud::timeouts();
    let longer = |time: Option<Duration>| time.map(|time| time + more);
    let mut timeouts = usual.to_builder();
    timeouts
        .set_read_timeout(longer(usual.read_timeout()))
        .set_operation_attempt_timeout(longer(usual.operation_attempt_timeout()));
    aws_sdk_s3::Config::builder().timeout_config(timeouts.build())
}

/// Content as the SDK wants it, once for each attempt.
pub(super) enum Body {
    Memory(SdkBody),
    File {
        path: PathBuf,
        from: u64,
        bytes: u64,
    },
}

impl Body {
    pub(super) fn of(content: Content) -> Self {
        match content {
            Content::Memory(content) => Self::Memory(SdkBody::from(content)),
            Content::File { path, from, bytes } => Self::File { path, from, bytes },
        }
    }

    pub(super) async fn stream(
        &self,
    ) -> Result<ByteStream, Box<dyn std::error::Error + Send + Sync>> {
        match self {
            Self::Memory(body) => match body.try_clone() {
                Some(body) => Ok(ByteStream::new(body)),
                None => Err("a body in memory could not be cloned".into()),
            },
            Self::File { path, from, bytes } => ByteStream::read_from()
                .path(path)
                .offset(*from)
                .length(Length::Exact(*bytes))
                .buffer_size(READ_BUFFER)
                .build()
                .await
                .map_err(Into::into),
        }
    }
}
