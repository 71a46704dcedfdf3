//! One object in one call, read to its end, of which nothing is kept: S3's own checksum is of the whole object, and
//! does not come with a range.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_sdk_s3::primitives::{ByteStream, ByteStreamError};
use aws_sdk_s3::types::ChecksumMode;
use aws_smithy_runtime_api::client::result::SdkError;

use super::multipart::plain_etag;
use super::parts::MIB;
use super::pieces::{broken, check_size, is_mismatch, misfit};
use super::progress::Meter;
use super::{OBJECTS_AT_ONCE, Object, Transfer, TransferFault};
use crate::cloud;

/// What a body has in memory on its way: the HTTP client reads some 400 KiB ahead.
const BUFFERED: u64 = MIB / 2;

/// How a call ended that was answered.
enum Came {
    /// With so many bytes, and no checksum that speaks against them; and the object's tag.
    Unsuspected { bytes: u64, etag: String },
    /// The SDK compared them with the checksum that S3 keeps.
    Mismatch,
}

impl Transfer {
    /// Reads all of an object and compares its size, and its content with S3's own checksum; its tag.
    ///
    /// A checksum of checksums, as some uploads in parts have it, cannot be compared, and objects from before 2025 may
    /// have none at all. Of those only the size is compared. The tag of one that was sent in one piece, without a key
    /// of KMS, is the MD5 of its content (no dash in it); that is not computed here.
    pub(super) async fn stream_whole(
        &self,
        object: &Object,
        meter: &Meter,
    ) -> Result<String, TransferFault> {
        let _taken = self.budget.take(BUFFERED).await;
        let told = Told::new(meter);
        let came = self
            .cx
            .read("s3:GetObject", || async {
                let mut answer = self
                    .s3()
                    .get_object()
                    .bucket(&object.place.bucket)
                    .key(&object.place.key)
                    .set_version_id(object.version.clone())
                    .checksum_mode(ChecksumMode::Enabled)
                    .send()
                    .await?;
                let etag = plain_etag(answer.e_tag());
                let length = answer.content_length().and_then(|n| u64::try_from(n).ok());
                let bytes = length.or(object.bytes).unwrap_or_default();
                // Another size is wrong whatever comes: its bytes need not come.
                if object.bytes.is_some_and(|wanted| wanted != bytes) {
                    return Ok(Came::Unsuspected { bytes, etag });
                }
                let body = drain(&mut answer.body, &told);
                match tokio::time::timeout(time_for(bytes), body).await {
                    Ok(Ok(bytes)) => Ok(Came::Unsuspected { bytes, etag }),
                    Ok(Err(error)) if is_mismatch(&error) => Ok(Came::Mismatch),
                    Ok(Err(error)) => Err(broken(error)),
                    Err(late) => Err(SdkError::timeout_error(late)),
                }
            })
            .await?;
        match came {
            Came::Unsuspected { bytes, etag } => check_size(object, bytes).map(|()| etag),
            Came::Mismatch => Err(misfit(&object.place)),
        }
    }
}

/// Reads a body to its end, where the SDK compares the checksum; how many bytes it had.
async fn drain(body: &mut ByteStream, told: &Told) -> Result<u64, ByteStreamError> {
    let mut bytes = 0;
    while let Some(some) = body.next().await {
        bytes += some?.len() as u64;
        told.reached(bytes);
    }
    Ok(bytes)
}

/// The usual time, and for each mebibyte a second more for every object that may share the line. A line that is dead is
/// noticed long before, by the SDK; this ends one that only drips.
fn time_for(bytes: u64) -> Duration {
    let usual = cloud::timeouts().operation_attempt_timeout();
    usual.unwrap_or_default() + Duration::from_secs(bytes / MIB * OBJECTS_AT_ONCE as u64)
}

/// Tells how far one object is. Bytes that come again after a line broke are not told again.
struct Told {
    meter: Meter,
    most: AtomicU64,
}

impl Told {
    fn new(meter: &Meter) -> Self {
        Self {
            meter: meter.clone(),
            most: AtomicU64::new(0),
        }
    }

    fn reached(&self, bytes: u64) {
        let before = self.most.fetch_max(bytes, Ordering::Relaxed);
        if bytes > before {
            self.meter.add(bytes - before);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::super::Progress;
    use super::*;

    #[test]
    fn bytes_that_come_again_are_told_once() {
        let seen: Arc<Mutex<Vec<u64>>> = Arc::default();
        let to = seen.clone();
        let progress: Progress = Arc::new(move |moved| to.lock().unwrap().push(moved.done));
        let told = Told::new(&Meter::new(Some(progress), None));
        for bytes in [10, 20, 10, 20, 30] {
            told.reached(bytes);
        }
        assert_eq!(*seen.lock().unwrap(), [10, 20, 30]);
    }

    #[test]
    fn large_objects_have_more_time() {
        assert_eq!(time_for(0), Duration::from_secs(90));
        let part = time_for(1024 * MIB);
        assert_eq!(part, Duration::from_secs(90 + 1024 * 32));
    }
}
