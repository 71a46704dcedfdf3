//! Objects in S3, and container images: not copied, but listed with the version each has now. The buckets keep every
//! version as long as a point may name it.

use super::{Saving, Taking, bytes_of, index_key};
use crate::engine::Halt;
use crate::ops::OpsFault;
use crate::ops::point::{ObjectIndex, PartName, PointId, Way};
use crate::ops::transfer::Place;

/// Lists the newest version of every object in a bucket.
pub async fn objects(
    taking: &Taking,
    point: &PointId,
    part: &PartName,
    bucket: &str,
) -> Result<Saving, Halt<OpsFault>> {
    let to = Place::new(taking.bucket(), index_key(point, part));
    let of = Place::new(bucket, "");
    let index = taking.transfer().write_index(&of, &to).await?;
    names_versions(taking, bucket, &index).await?;
    Ok(Saving {
        began: None,
        bytes: bytes_of(&index),
        way: Way::ObjectVersions {
            bucket: bucket.to_owned(),
            index,
        },
    })
}

/// A list without versions is worth nothing: what is overwritten or deleted in such a bucket is gone.
async fn names_versions(
    taking: &Taking,
    bucket: &str,
    index: &ObjectIndex,
) -> Result<(), Halt<OpsFault>> {
    let mut lines = taking.transfer().read_index(taking.bucket(), index);
    match lines.next().await? {
        Some(line) if line.version.is_none() => Err(OpsFault::check(
            format!("s3://{bucket}"),
            "it keeps no versions, so what is overwritten or deleted there cannot be brought back",
            "`gantry install` switches versioning on",
        )
        .into()),
        _ => Ok(()),
    }
}
