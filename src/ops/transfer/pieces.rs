//! One object down, piece by piece in its order, several on their way at once.

use std::sync::Arc;

use aws_sdk_s3::types::ChecksumMode;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::{ConnectorError, SdkError};
use futures::StreamExt as _;
use futures::stream::FuturesOrdered;

use super::budget::Taken;
use super::multipart::{plain_etag, size};
use super::parts::MIB;
use super::progress::Meter;
use super::spawned::{Spawned, spawn};
use super::{Object, PARTS_AT_ONCE, Place, Transfer, TransferFault};

/// What one call fetches. An object up to this size is one call. Larger pieces are no faster, and the allocator keeps
/// more of them than are in use.
pub(super) const PIECE: u64 = 2 * MIB;

/// Some bytes of an object; they count against the memory budget until this is dropped.
pub(super) struct Piece {
    pub(super) content: Vec<u8>,
    _taken: Taken,
}

/// The pieces of one object.
pub(super) struct Pieces {
    transfer: Transfer,
    object: Arc<Object>,
    meter: Meter,
    from: u64,
    /// Size and tag of what is read; all pieces are of the same content.
    found: Option<Found>,
    flying: FuturesOrdered<Spawned<Piece>>,
}

#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) bytes: u64,
    pub(super) etag: String,
}

/// A body, or why it is not what was stored.
enum Came {
    Whole(Vec<u8>, String),
    /// The SDK compared it with the checksum that S3 keeps.
    Mismatch,
}

impl Pieces {
    pub(super) fn new(transfer: &Transfer, object: &Object, from: u64, meter: &Meter) -> Self {
        Self {
            transfer: transfer.clone(),
            object: Arc::new(object.clone()),
            meter: meter.clone(),
            from,
            found: None,
            flying: FuturesOrdered::new(),
        }
    }

    /// Size and tag, from S3; a size that is not the one that is known is an error.
    pub(super) async fn look(&mut self) -> Result<Found, TransferFault> {
        if let Some(found) = &self.found {
            return Ok(found.clone());
        }
        let object = &self.object;
        let head = self
            .transfer
            .cx
            .read("s3:GetObject", || {
                self.transfer
                    .s3()
                    .head_object()
                    .bucket(&object.place.bucket)
                    .key(&object.place.key)
                    .set_version_id(object.version.clone())
                    .send()
            })
            .await?;
        let found = Found {
            bytes: size(&head),
            etag: plain_etag(head.e_tag()),
        };
        check_size(object, found.bytes)?;
        Ok(self.found.insert(found).clone())
    }

    /// The next piece; none after the last byte.
    pub(super) async fn next(&mut self) -> Result<Option<Piece>, TransferFault> {
        // Small and its size is known: one call is enough.
        if let (None, 0, Some(bytes)) = (&self.found, self.from, self.object.bytes)
            && bytes <= PIECE
        {
            let taken = self.transfer.budget.take(bytes).await;
            let (content, etag) = fetch(&self.transfer, &self.object, None, bytes).await?;
            check_size(&self.object, content.len() as u64)?;
            self.found = Some(Found { bytes, etag });
            self.from = bytes;
            self.meter.add(bytes);
            return Ok((bytes > 0).then_some(Piece {
                content,
                _taken: taken,
            }));
        }
        let found = self.look().await?;
        while self.flying.len() < PARTS_AT_ONCE && self.from < found.bytes {
            let (from, bytes) = (self.from, PIECE.min(found.bytes - self.from));
            self.from += bytes;
            let (own, object) = (self.transfer.clone(), self.object.clone());
            let etag = found.etag.clone();
            let meter = self.meter.clone();
            self.flying.push_back(spawn(async move {
                let taken = own.budget.take(bytes).await;
                let range = Range { from, bytes, etag };
                let (content, _) = fetch(&own, &object, Some(&range), bytes).await?;
                if content.len() as u64 != bytes {
                    let why = format!("a piece of {bytes} bytes came with {}", content.len());
                    return Err(TransferFault::damaged(&object.place, why));
                }
                meter.add(bytes);
                Ok(Piece {
                    content,
                    _taken: taken,
                })
            }));
        }
        self.flying.next().await.transpose()
    }
}

pub(super) fn check_size(object: &Object, bytes: u64) -> Result<(), TransferFault> {
    match object.bytes {
        Some(wanted) if wanted != bytes => Err(TransferFault::damaged(
            &object.place,
            format!("it has {bytes} bytes and should have {wanted}"),
        )),
        _ => Ok(()),
    }
}

/// A part of one content.
struct Range {
    from: u64,
    bytes: u64,
    etag: String,
}

/// One call, its whole body within it, so that a line that breaks in the middle is a call to be repeated.
async fn fetch(
    transfer: &Transfer,
    object: &Object,
    range: Option<&Range>,
    bytes: u64,
) -> Result<(Vec<u8>, String), TransferFault> {
    // Where nobody else knows what it should be, S3's own checksum is compared. It has none of a range; a verification
    // therefore reads such objects in one piece (`whole.rs`).
    let mode = (object.sha256.is_none() && range.is_none()).then_some(ChecksumMode::Enabled);
    let size = usize::try_from(bytes).unwrap_or_default();
    let body = transfer
        .cx
        .read("s3:GetObject", || async {
            let mut answer = transfer
                .s3()
                .get_object()
                .bucket(&object.place.bucket)
                .key(&object.place.key)
                .set_version_id(object.version.clone())
                .set_range(range.map(|r| format!("bytes={}-{}", r.from, r.from + r.bytes - 1)))
                .set_if_match(range.map(|r| format!("\"{}\"", r.etag)))
                .set_checksum_mode(mode.clone())
                .send()
                .await?;
            let mut content = Vec::with_capacity(size);
            while let Some(some) = answer.body.next().await {
                match some {
                    Ok(some) if content.len() + some.len() > size => {
                        // Larger than it may be. One byte more is enough to tell.
                        content.push(0);
                        content.resize(size + 1, 0);
                        break;
                    }
                    Ok(some) => content.extend_from_slice(&some),
                    Err(error) if is_mismatch(&error) => return Ok(Came::Mismatch),
                    Err(error) => return Err(broken(error)),
                }
            }
            Ok(Came::Whole(content, plain_etag(answer.e_tag.as_deref())))
        })
        .await?;
    match body {
        Came::Whole(content, etag) => Ok((content, etag)),
        Came::Mismatch => Err(misfit(&object.place)),
    }
}

/// What [`is_mismatch`] means.
pub(super) fn misfit(place: &Place) -> TransferFault {
    TransferFault::damaged(
        place,
        "its content does not fit the checksum that S3 keeps of it",
    )
}

/// A body that ended too early, as a call to be repeated.
pub(super) fn broken<E>(
    error: aws_smithy_types::byte_stream::error::Error,
) -> SdkError<E, HttpResponse> {
    SdkError::dispatch_failure(ConnectorError::io(Box::new(error)))
}

/// The SDK tells a mismatch as one of many reasons why a body ended; its type is not public.
pub(super) fn is_mismatch(error: &aws_smithy_types::byte_stream::error::Error) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        if error.to_string().contains("checksum mismatch") {
            return true;
        }
        cause = error.source();
    }
    false
}
