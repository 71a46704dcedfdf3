//! Removing recovery points: which go, what of each, and in which order.
//!
//! A point that goes is marked first; from then on it restores nothing, whatever is still there of it. Then its parts
//! go, then its manifest, then what is left below its name, the mark last. A run that was cut short leaves points that
//! say what they are, and the next run goes on from what it finds in the bucket, whoever began it.
//!
//! Something that a staying point needs too is left to that point: the same snapshot, the same object, the same step
//! of a chain of Gitaly's backups. Objects are deleted as S3 deletes in a bucket with versions: a marker is put on top.
//! The backup bucket's lifecycle removes the old versions after a month, so the bytes are paid for until then. In Gitaly's
//! bucket nothing expires by itself: what was pruned there is paid for until an administrator removes its versions.

mod calls;
mod keys;
mod work;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

pub use self::calls::Clouds;
pub use self::work::{Pruning, runbook, supersede};
use super::point::{Condition, Listed, Manifest, ObjectIndex, PointId, Standing, Way};
use super::retention::{Candidate, Fate, Policy, Verdict, judge};

/// The verb under which the procedure is in the ledger.
pub const VERB: &str = "backup prune";

/// Something of a point that is removed by itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Thing {
    /// A snapshot of an RDS instance.
    DatabaseSnapshot { region: String, name: String },
    /// An EBS snapshot.
    DiskSnapshot { region: String, id: String },
    /// Those objects of a Gitaly backup that no staying point needs.
    GitData {
        bucket: String,
        /// The key of the list of them, in the backup bucket.
        list: String,
        sha256: String,
    },
    /// One object.
    Object { bucket: String, key: String },
}

impl std::fmt::Display for Thing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::DatabaseSnapshot { region, name } => {
                write!(f, "database snapshot {name} in {region}")
            }
            Self::DiskSnapshot { region, id } => write!(f, "disk snapshot {id} in {region}"),
            Self::GitData { bucket, list, .. } => {
                write!(f, "objects in s3://{bucket} that {list} names")
            }
            Self::Object { bucket, key } => write!(f, "s3://{bucket}/{key}"),
        }
    }
}

/// What is done about one point that goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DropPlan {
    pub id: PointId,
    /// Whether an earlier run has marked it already.
    pub marked: bool,
    /// In the order in which they are removed.
    pub things: Vec<Thing>,
    /// What stays, and for whom.
    pub shared: Vec<(Thing, PointId)>,
    /// Bytes that become free at most; of disks and databases, their size.
    pub bytes: u64,
}

/// A point with what becomes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    pub listed: Listed,
    pub verdict: Verdict,
}

/// All points with what becomes of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrunePlan {
    /// Oldest first.
    pub points: Vec<Judged>,
    pub drops: Vec<DropPlan>,
    /// Lists of Gitaly's objects that staying points need, with their bucket: those that must be read.
    needed: Vec<(String, ObjectIndex)>,
    /// The same of points whose manifests are not trusted: read as far as they can be.
    claimed: Vec<(String, ObjectIndex)>,
    /// Objects in the backup bucket that staying points name.
    spared: BTreeSet<String>,
}

impl PrunePlan {
    /// The regions in which something is removed.
    pub fn regions(&self) -> BTreeSet<&str> {
        let things = self.drops.iter().flat_map(|drop| &drop.things);
        let regions = things.filter_map(|thing| match thing {
            Thing::DatabaseSnapshot { region, .. } | Thing::DiskSnapshot { region, .. } => {
                Some(region.as_str())
            }
            Thing::GitData { .. } | Thing::Object { .. } => None,
        });
        regions.collect()
    }

    /// Bytes that become free at most.
    pub fn bytes(&self) -> u64 {
        self.drops.iter().map(|drop| drop.bytes).sum()
    }
}

/// Decides what a prune of these points does; `backups` is the backup bucket. The same for a dry run and a real one.
pub fn plan(policy: &Policy, now: Timestamp, points: Vec<Listed>, backups: &str) -> PrunePlan {
    let candidates: Vec<Candidate> = points.iter().map(Candidate::of).collect();
    let verdicts = judge(policy, now, &candidates);
    let judged = points.into_iter().zip(verdicts);
    let points: Vec<Judged> = judged
        .map(|(listed, verdict)| Judged { listed, verdict })
        .collect();
    let mut plan = PrunePlan {
        points: Vec::new(),
        drops: Vec::new(),
        needed: Vec::new(),
        claimed: Vec::new(),
        spared: BTreeSet::new(),
    };
    let stays = |point: &&Judged| point.verdict.fate == Fate::Keep;
    let mut owners: BTreeMap<Thing, PointId> = BTreeMap::new();
    for point in points.iter().filter(stays) {
        let (manifest, lists) = match &point.listed.standing {
            Standing::Signed(manifest) => (manifest, &mut plan.needed),
            Standing::Untrusted {
                claims: Some(claims),
                ..
            } => (claims, &mut plan.claimed),
            Standing::Untrusted { .. } | Standing::Unfinished => continue,
        };
        lists.extend(git_lists(manifest));
        for (thing, _) in things(manifest, backups) {
            if let Thing::Object { bucket, key } = &thing
                && bucket == backups
            {
                plan.spared.insert(key.clone());
            }
            owners.entry(thing).or_insert(point.listed.id.clone());
        }
    }
    let mut taken: BTreeSet<Thing> = BTreeSet::new();
    for point in points.iter().filter(|point| !stays(point)) {
        let drop = drop_plan(&point.listed, backups, &owners, &mut taken);
        plan.drops.push(drop);
    }
    plan.points = points;
    plan
}

fn drop_plan(
    listed: &Listed,
    backups: &str,
    owners: &BTreeMap<Thing, PointId>,
    taken: &mut BTreeSet<Thing>,
) -> DropPlan {
    let mut drop = DropPlan {
        id: listed.id.clone(),
        marked: listed.condition() == Condition::Dropping,
        things: Vec::new(),
        shared: Vec::new(),
        bytes: 0,
    };
    let Some(manifest) = listed.manifest() else {
        return drop;
    };
    for (thing, bytes) in things(manifest, backups) {
        if let Some(owner) = owners.get(&thing) {
            drop.shared.push((thing, owner.clone()));
        } else if taken.insert(thing.clone()) {
            drop.bytes += bytes;
            drop.things.push(thing);
        }
    }
    // The lists of objects go after the objects.
    drop.things.sort();
    drop
}

/// Everything that a manifest names and that goes with it, with the bytes that this frees.
fn things(manifest: &Manifest, backups: &str) -> Vec<(Thing, u64)> {
    let mut things = Vec::new();
    let home = &manifest.site.region;
    let object = |bucket: &str, key: &str| Thing::Object {
        bucket: bucket.to_owned(),
        key: key.to_owned(),
    };
    let database = |region: &str, name: &str| Thing::DatabaseSnapshot {
        region: region.to_owned(),
        name: snapshot_name(name).to_owned(),
    };
    let disk = |region: &str, id: &str| Thing::DiskSnapshot {
        region: region.to_owned(),
        id: id.to_owned(),
    };
    for part in &manifest.parts {
        match part.way() {
            None | Some(Way::PointInTime { .. } | Way::Rebuilt { .. }) => {}
            Some(Way::DatabaseSnapshot {
                snapshot, copies, ..
            }) => {
                things.push((database(home, snapshot), part.bytes));
                let copies = copies.iter();
                things.extend(copies.map(|c| (database(&c.region, &c.id), part.bytes)));
            }
            Some(Way::DiskSnapshots { disks }) => {
                for image in disks {
                    let bytes = u64::from(image.gib) << 30;
                    things.push((disk(home, &image.snapshot), bytes));
                    let copies = image.copies.iter();
                    things.extend(copies.map(|c| (disk(&c.region, &c.id), bytes)));
                }
            }
            Some(Way::Archive { bucket, key, .. }) => {
                things.push((object(bucket, key), part.bytes));
            }
            Some(Way::GitalyServerSide {
                bucket,
                archive_bucket,
                archive_key,
                index,
                ..
            }) => {
                let data = Thing::GitData {
                    bucket: bucket.clone(),
                    list: index.key.clone(),
                    sha256: index.sha256.clone(),
                };
                things.push((data, part.bytes));
                things.push((object(archive_bucket, archive_key), 0));
                things.push((object(backups, &index.key), 0));
            }
            // The objects themselves are GitLab's.
            Some(Way::ObjectVersions { index, .. }) => {
                things.push((object(backups, &index.key), 0));
            }
            Some(Way::Sealed(sealed)) => {
                things.push((object(&sealed.bucket, &sealed.key), part.bytes));
            }
        }
    }
    things
}

/// The name of a database snapshot that is given by its name or its ARN, `arn:aws:rds:REGION:ACCOUNT:snapshot:NAME`.
fn snapshot_name(text: &str) -> &str {
    match text.split_once(":snapshot:") {
        Some((_, name)) if text.starts_with("arn:") => name,
        _ => text,
    }
}

fn git_lists(manifest: &Manifest) -> impl Iterator<Item = (String, ObjectIndex)> {
    manifest.parts.iter().filter_map(|part| match part.way()? {
        Way::GitalyServerSide { bucket, index, .. } => Some((bucket.clone(), index.clone())),
        _ => None,
    })
}
