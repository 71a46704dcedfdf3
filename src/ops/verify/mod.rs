//! Whether a recovery point is what its manifest says: before it is trusted by retention, and before it is restored.
//!
//! [`examine`] changes nothing. It looks at everything that a restore would need, and names what is wrong with it.

mod finding;
mod parts;

use std::time::Duration;

use futures::stream::{self, StreamExt as _};

pub use self::finding::{Finding, Wrong};
use self::parts::Looking;
use crate::ops::OpsFault;
use crate::ops::backup::Ground;
use crate::ops::point::{
    Health, Listed, Manifest, Mark, Outcome, PartName, PointId, Points, Signer, Standing, Verified,
};
use crate::ops::transfer::Share;

/// How far apart the parts of a point may be. A backup of a large site takes most of a night; what took longer than a
/// day is a database of one day beside the repositories of the next.
pub const SKEW: Duration = Duration::from_hours(24);

/// How far AWS's clock and ours may differ, and AWS tells whole seconds: its own calls allow as much
/// (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html>).
const DRIFT: jiff::SignedDuration = jiff::SignedDuration::from_mins(5);

/// How many parts are looked at at once.
const AT_ONCE: usize = 8;

/// How closely to look.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Look {
    /// How much of the data is read back. Existence and size of everything is looked at in any case.
    pub read: Share,
    /// Which part of the data that is: another seed reads other objects.
    pub seed: u64,
}

/// What a look at a point gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Examined {
    pub id: PointId,
    /// The manifest, where it can be believed.
    pub manifest: Option<Manifest>,
    /// What is wrong; empty when the point is sound.
    pub findings: Vec<Finding>,
    /// What is said about the point and does not count.
    pub doubts: Vec<String>,
    /// Objects whose existence and size were looked at, and those whose content was read.
    pub seen: u64,
    pub read: u64,
}

impl Examined {
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty()
    }
}

/// Looks at a point of the site whose ground this is. `points` are those of its backup bucket. A point that is not
/// there at all is refused by name; everything else that is wrong with it is a finding. Changes nothing.
pub async fn examine(
    ground: &Ground,
    points: &Points,
    id: &PointId,
    look: Look,
) -> Result<Examined, OpsFault> {
    let listed = points.read(id).await?;
    examine_listed(ground, points, &listed, look).await
}

/// As [`examine`], of a point that was read already.
pub async fn examine_listed(
    ground: &Ground,
    points: &Points,
    listed: &Listed,
    look: Look,
) -> Result<Examined, OpsFault> {
    let mut examined = Examined {
        id: listed.id.clone(),
        manifest: None,
        findings: standing(ground, listed),
        doubts: listed.doubts.clone(),
        seen: 0,
        read: 0,
    };
    let Some(manifest) = listed.manifest() else {
        return Ok(examined);
    };
    examined.manifest = Some(manifest.clone());
    examined.findings.extend(of_manifest(ground, manifest));
    // What is not the site's own is not asked for: its names may be anything.
    if manifest.site != ground.site_of() {
        return Ok(examined);
    }
    let looking = Looking {
        ground,
        points,
        manifest,
        look,
    };
    let looks: Vec<_> = manifest
        .parts
        .iter()
        .map(|part| looking.part(part))
        .collect();
    let mut looks = stream::iter(looks).buffered(AT_ONCE);
    while let Some(seen) = looks.next().await {
        let seen = seen?;
        examined.findings.extend(seen.findings);
        examined.seen += seen.looked_at;
        examined.read += seen.read;
    }
    Ok(examined)
}

/// What is wrong with the point as such.
fn standing(ground: &Ground, listed: &Listed) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(dropping) = &listed.marks.dropping {
        findings.push(Finding::whole(
            Wrong::Incomplete,
            format!("its parts are being removed since {}", dropping.at),
            "take another point; `gantry backup prune` finishes the removal",
        ));
    }
    match &listed.standing {
        Standing::Signed(_) => {}
        Standing::Untrusted { why, claims } => {
            let here = ground.site_of();
            if let Some(claims) = claims.as_ref().filter(|claims| claims.site != here) {
                findings.push(foreign(claims, ground));
            } else if let Some(claims) = claims.as_ref().filter(|claims| claims.id != listed.id) {
                findings.push(Finding::whole(
                    Wrong::Manifest,
                    format!("its manifest is that of {}", claims.id),
                    "bring the former version of the object back: the bucket keeps it",
                ));
            }
            findings.push(Finding::whole(
                Wrong::Signature,
                format!("its manifest cannot be trusted: {why}"),
                "look who wrote it, and bring the former version back: the bucket keeps it",
            ));
        }
        Standing::Unfinished => findings.push(Finding::whole(
            Wrong::Manifest,
            "it has no manifest: taking it never came to its end, or it was removed in part",
            "take another point; `gantry backup create` finishes what an earlier run on this machine began",
        )),
    }
    findings
}

fn foreign(manifest: &Manifest, ground: &Ground) -> Finding {
    let (theirs, ours) = (&manifest.site, ground.site_of());
    Finding::whole(
        Wrong::Foreign,
        format!(
            "it is a point of the site {} in account {}, region {}, and this is {} in {}, {}",
            theirs.name, theirs.account, theirs.region, ours.name, ours.account, ours.region
        ),
        "use it with the site file of the site that took it",
    )
}

/// What the manifest itself says is wrong.
fn of_manifest(ground: &Ground, manifest: &Manifest) -> Vec<Finding> {
    let mut findings = Vec::new();
    if manifest.site != ground.site_of() {
        findings.push(foreign(manifest, ground));
    }
    if manifest.format != crate::ops::point::FORMAT {
        findings.push(Finding::whole(
            Wrong::Manifest,
            format!("its manifest is of format {}", manifest.format),
            "use the gantry that wrote it, or a newer one",
        ));
    }
    for part in &manifest.parts {
        if let Outcome::Failed { why } = &part.outcome {
            findings.push(Finding::of(
                &part.name,
                Wrong::Incomplete,
                format!("it was not saved: {why}"),
                "mend the cause and take another point",
            ));
        }
    }
    if !manifest.whole && findings.is_empty() {
        findings.push(Finding::whole(
            Wrong::Incomplete,
            "it says of itself that it is not whole",
            "take another point",
        ));
    }
    findings.extend(skew(manifest));
    findings
}

/// Parts whose moments do not fit each other.
fn skew(manifest: &Manifest) -> Vec<Finding> {
    let mut findings = Vec::new();
    let skew = manifest.skew();
    if skew > SKEW {
        let first = manifest.parts.iter().min_by_key(|part| part.began);
        let last = manifest.parts.iter().max_by_key(|part| part.ended);
        let name = |part: Option<&crate::ops::point::Part>| {
            part.map(|part| part.name.to_string()).unwrap_or_default()
        };
        findings.push(Finding::whole(
            Wrong::Skew,
            format!(
                "{} h lie between {} and {}, and {} h are the most",
                skew.as_secs() / 3600,
                name(first),
                name(last),
                SKEW.as_secs() / 3600
            ),
            "take another point; look with `gantry runs show` what took so long",
        ));
    }
    for part in &manifest.parts {
        // Before the point was begun, or after it was closed.
        let before = manifest.began.duration_since(part.began);
        let after = part.ended.duration_since(manifest.ended);
        if part.began > part.ended || before > DRIFT || after > DRIFT {
            findings.push(Finding::of(
                &part.name,
                Wrong::Skew,
                format!(
                    "it says that it was saved from {} to {}, and the point was taken from {} to {}",
                    part.began, part.ended, manifest.began, manifest.ended
                ),
                "look at the clocks of the machine that took it; take another point",
            ));
        }
    }
    // Objects must not be older than the database that names them.
    let database = manifest
        .part(&PartName::Database)
        .filter(|part| part.way().is_some());
    if let Some(database) = database {
        let older = manifest.parts.iter().filter(|part| {
            matches!(part.name, PartName::Objects(_) | PartName::Registry)
                && part.way().is_some()
                && part.ended < database.began
        });
        findings.extend(older.map(|part| {
            Finding::of(
                &part.name,
                Wrong::Skew,
                "it is older than the database, which may name objects that it has not",
                "take another point",
            )
        }));
    }
    findings
}

/// Writes down on a point what was found: signed, beside its manifest.
pub async fn note(
    points: &Points,
    signer: &Signer,
    examined: &Examined,
    percent: u8,
    at: jiff::Timestamp,
) -> Result<Verified, OpsFault> {
    let verified = Verified {
        at,
        share: percent,
        outcome: if examined.is_sound() {
            Health::Sound
        } else {
            Health::Faulty
        },
        findings: examined.findings.iter().map(ToString::to_string).collect(),
    };
    points
        .mark(signer, &examined.id, &Mark::Verified(verified.clone()))
        .await?;
    Ok(verified)
}
