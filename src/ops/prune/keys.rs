//! Which objects of Gitaly's backups go: those that the going points list and no staying one does.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};

use flate2::read::GzDecoder;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::ops::OpsFault;
use crate::ops::point::{ObjectIndex, Points};

/// What Gitaly overwrites with every backup to say which is the newest: it belongs to no point, and the next increment
/// reads it (doc/administration/backup_restore/backup_archive_process.md).
const NEWEST: &str = "/+latest.toml";

/// Keys by bucket.
pub(super) type Keys = BTreeMap<String, BTreeSet<String>>;

/// Reads a list of objects, checks it against its sum, and gives each key to `take`. False where the list is not there.
async fn each_key(
    points: &Points,
    list: &str,
    sha256: &str,
    mut take: impl FnMut(String),
) -> Result<bool, OpsFault> {
    #[derive(Deserialize)]
    struct Line {
        key: String,
    }
    let damaged = |why: String| {
        OpsFault::check(
            format!("the list s3://{}/{list}", points.bucket()),
            why,
            "nothing that it could name was removed; `gantry backup verify` looks at the whole point",
        )
    };
    let Some(packed) = points.get(list).await? else {
        return Ok(false);
    };
    let is: String = Sha256::digest(&packed)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    if is != sha256 {
        return Err(damaged(format!(
            "its SHA-256 is {is}, and the manifest says {sha256}"
        )));
    }
    for line in BufReader::new(GzDecoder::new(packed.as_slice())).lines() {
        let line = line.map_err(|error| damaged(error.to_string()))?;
        let line: Line = serde_json::from_str(&line).map_err(|error| damaged(error.to_string()))?;
        take(line.key);
    }
    Ok(true)
}

/// The keys to be removed: all of `going` (bucket, list, checksum) but those in `needed` and `claimed`. Every list is
/// read once; only the keys that go are held in memory.
pub(super) async fn removable(
    points: &Points,
    going: &[(String, String, String)],
    needed: &[(String, ObjectIndex)],
    claimed: &[(String, ObjectIndex)],
    note: impl Fn(String),
) -> Result<Keys, OpsFault> {
    let mut keys = Keys::new();
    for (bucket, list, sha256) in going {
        let of = keys.entry(bucket.clone()).or_default();
        let found = each_key(points, list, sha256, |key| {
            if !key.ends_with(NEWEST) {
                of.insert(key);
            }
        });
        if !found.await? {
            note(format!(
                "{list} is gone already: what only it named stays in s3://{bucket}"
            ));
        }
    }
    keys.retain(|_, keys| !keys.is_empty());
    for (bucket, index) in needed {
        let Some(of) = keys.get_mut(bucket) else {
            continue;
        };
        let found = each_key(points, &index.key, &index.sha256, |key| {
            of.remove(&key);
        });
        if !found.await? {
            return Err(OpsFault::check(
                format!("the list s3://{}/{}", points.bucket(), index.key),
                "a point that stays names it, and it is not there: what that point needs is not known",
                "bring the former version of the object back, or remove that point; then run the same command again",
            ));
        }
    }
    for (bucket, index) in claimed {
        if let Some(of) = keys.get_mut(bucket) {
            // Whoever wrote that manifest does not get to stop a prune with a list that cannot be read.
            let read = each_key(points, &index.key, &index.sha256, |key| {
                of.remove(&key);
            });
            match read.await {
                Ok(_) | Err(OpsFault::Check { .. }) => {}
                Err(fault) => return Err(fault),
            }
        }
    }
    Ok(keys)
}
