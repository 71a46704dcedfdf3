//! Emptying a bucket: every version, every delete marker, every upload begun.

use aws_sdk_s3::types::{Delete, Error, ObjectIdentifier};

use crate::cloud::Fault;
use crate::resource::CloudCx;

const CALL: &str = "s3:DeleteObjectVersion";

/// Removes everything in the bucket, a page of at most 1,000 a call.
pub(super) async fn empty(bucket: &str, cx: &CloudCx) -> Result<(), Fault> {
    // Always the first page: what it showed is gone when the next one is asked for.
    loop {
        let (page, more) = versions(bucket, cx).await?;
        if page.is_empty() {
            break;
        }
        remove(bucket, page, cx).await?;
        if !more {
            break;
        }
    }
    abort_uploads(bucket, cx).await
}

async fn versions(bucket: &str, cx: &CloudCx) -> Result<(Vec<ObjectIdentifier>, bool), Fault> {
    let answer = cx
        .read("s3:ListBucketVersions", || {
            cx.aws()
                .s3
                .list_object_versions()
                .bucket(bucket)
                .max_keys(1_000)
                .send()
        })
        .await?;
    let objects = answer.versions().iter().map(|v| (v.key(), v.version_id()));
    let markers = answer
        .delete_markers()
        .iter()
        .map(|m| (m.key(), m.version_id()));
    let page = objects
        .chain(markers)
        .map(|(key, version)| {
            ObjectIdentifier::builder()
                .key(key.unwrap_or_default())
                .set_version_id(version.map(str::to_owned))
                .build()
                .map_err(|e| Fault::internal(e.to_string()))
        })
        .collect::<Result<Vec<_>, _>>()?;
    Ok((page, answer.is_truncated().unwrap_or(false)))
}

async fn remove(bucket: &str, page: Vec<ObjectIdentifier>, cx: &CloudCx) -> Result<(), Fault> {
    let delete = Delete::builder()
        .set_objects(Some(page))
        .quiet(true)
        .build()
        .map_err(|e| Fault::internal(e.to_string()))?;
    let answer = cx
        .put(CALL, || {
            cx.aws()
                .s3
                .delete_objects()
                .bucket(bucket)
                .delete(delete.clone())
                .send()
        })
        .await?;
    // The call as a whole says yes even when some of it was refused.
    match answer.errors().first() {
        Some(error) => Err(refusal(bucket, error)),
        None => Ok(()),
    }
}

/// What one version's refusal means.
fn refusal(bucket: &str, error: &Error) -> Fault {
    let (call, code) = (CALL.to_owned(), error.code().unwrap_or_default().to_owned());
    let message = format!(
        "{} in {bucket}: {}",
        error.key().unwrap_or_default(),
        error.message().unwrap_or_default()
    );
    match code.as_str() {
        // No permission helps against a lock.
        "AccessDenied" if message.to_lowercase().contains("object lock") => Fault::Rejected {
            call,
            code,
            message: format!(
                "{message} Nobody can delete it before the time that `[backup] immutable_days` gave it is over; \
                 run again then"
            ),
        },
        "AccessDenied" => Fault::Denied { call, message },
        "SlowDown" | "InternalError" | "ServiceUnavailable" => Fault::Later {
            call,
            code,
            message,
        },
        _ => Fault::Rejected {
            call,
            code,
            message,
        },
    }
}

async fn abort_uploads(bucket: &str, cx: &CloudCx) -> Result<(), Fault> {
    loop {
        let answer = cx
            .read("s3:ListBucketMultipartUploads", || {
                cx.aws().s3.list_multipart_uploads().bucket(bucket).send()
            })
            .await?;
        for upload in answer.uploads() {
            let aborted = cx
                .put("s3:AbortMultipartUpload", || {
                    cx.aws()
                        .s3
                        .abort_multipart_upload()
                        .bucket(bucket)
                        .key(upload.key().unwrap_or_default())
                        .upload_id(upload.upload_id().unwrap_or_default())
                        .send()
                })
                .await;
            match aborted {
                Err(fault) if !fault.is_gone() => return Err(fault),
                _ => {}
            }
        }
        if !answer.is_truncated().unwrap_or(false) {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_no_missing_permission() {
        let error = |message: &str| {
            let error = Error::builder().key("points/x").code("AccessDenied");
            error.message(message).build()
        };
        let locked = refusal(
            "b",
            &error("Access Denied because object protected by object lock."),
        );
        assert!(
            matches!(&locked, Fault::Rejected { message, .. } if message.contains("immutable_days")),
            "{locked}"
        );
        let denied = refusal("b", &error("Access Denied"));
        assert!(matches!(denied, Fault::Denied { .. }), "{denied}");
    }
}
