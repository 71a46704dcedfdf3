//! Objects: the versions that a point names become the newest ones.

use serde::{Deserialize, Serialize};

use super::super::OpsFault;
use super::super::point::{ObjectIndex, PartName};
use super::super::runbook::StageCx;
use super::super::transfer::{Place, Transfer};
use super::Restoring;
use crate::engine::Halt;

/// What came of a bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copied {
    pub count: u64,
    pub bytes: u64,
    /// Of these, what was as it should be.
    pub kept: u64,
}

/// Brings the listed versions of `from` into the bucket `to`, which may be the same.
pub async fn bring(
    r: &Restoring,
    cx: &StageCx,
    index: &ObjectIndex,
    from: &str,
    to: &str,
) -> Result<Copied, Halt<OpsFault>> {
    let transfer = Transfer::new(r.ground.cx.clone())
        .with_journals(&r.journals)
        .with_progress(progress(cx));
    let list = r.points.bucket();
    let copied = if from == to {
        transfer.revert_index(list, index, from).await
    } else {
        let everything = |bucket: &str| Place::new(bucket, "");
        transfer
            .copy_index(list, index, &everything(from), &everything(to))
            .await
    };
    let copied = copied.map_err(OpsFault::from)?;
    Ok(Copied {
        count: copied.count,
        bytes: copied.bytes,
        kept: copied.kept,
    })
}

/// The bucket of this site that a part belongs into.
pub fn bucket_of(r: &Restoring, part: &PartName) -> Result<String, OpsFault> {
    let buckets = &r.ground.fleet.buckets;
    let found = match part {
        PartName::Registry => Some(buckets.registry.clone()),
        PartName::Objects(of) => {
            let mut types = buckets.objects.iter();
            // Parts are named in the words of the buckets, with hyphens.
            let found = types.find(|(word, _)| word.replace('_', "-") == *of);
            found.map(|(_, bucket)| bucket.clone())
        }
        _ => None,
    };
    found.ok_or_else(|| {
        OpsFault::refused(
            format!("{part} is not restored"),
            "this gantry has no bucket for that type of object",
            "restore it with the gantry that took the point",
        )
    })
}

/// Tells how far it is, in whole per cents.
fn progress(cx: &StageCx) -> super::super::transfer::Progress {
    use std::sync::atomic::{AtomicU64, Ordering};
    let (cx, told) = (cx.clone(), AtomicU64::new(u64::MAX));
    std::sync::Arc::new(move |moved| {
        let Some(total) = moved.total.filter(|total| *total > 0) else {
            return;
        };
        let percent = moved.done.saturating_mul(100) / total;
        if told.swap(percent, Ordering::Relaxed) != percent {
            cx.waiting(format!("{percent}%"));
        }
    })
}
