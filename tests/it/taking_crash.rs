//! Death while a recovery point or a snapshot is taken. The next run must end with one whole point, nothing twice,
//! nothing that no manifest names; a run that comes too late closes the point as what it is, and takes another.
//!
//! On poc-2k at every point: before each entry of the ledger, before each change in AWS, after it with the answer lost.
//! On a box and on ha-3k at the end of each stage, before that is written down, and around every fifth change in AWS:
//! what [`Watch::Sparsely`] says.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use gantry::ops::backup::{Mode, Taken};
use gantry::ops::point::{Condition, Purpose};
use gantry::ops::snapshot::Stillness;
use gantry::ops::{Entry, Ledger as _, MemoryLedger};
use gantry::profile::ProfileName;
use gantry::sandbox::world::World;
use gantry::site::Site;

use crate::support::deaths::{Deaths, Remains, Watch, from_each, runtime};
use crate::support::stage::{Stage, site};
use crate::taking::{FIRST, Place, taking};

const SECOND: &str = "20260922T130000Z-000002";

/// What there is of points: keys with their moments masked, and how many versions each has; snapshots by their points.
fn shape(world: &World) -> BTreeMap<String, usize> {
    let mut shape = BTreeMap::new();
    for (table, rows) in &world.tables {
        for (id, row) in rows {
            let name = if table.ends_with("s3/object") {
                let key = id.split('#').next().unwrap_or_default();
                // Who holds the lock is said more or less often.
                if key.ends_with("/points/lock.json") {
                    continue;
                }
                // A list that is written again takes its own place; the bucket's lifecycle removes the version before.
                if key.contains("/parts/") {
                    shape.insert(key.to_owned(), 1);
                    continue;
                }
                key.to_owned()
            } else if ["s3/upload", "rds/snapshot", "ec2/snapshot"]
                .iter()
                .any(|kind| table.ends_with(kind))
            {
                format!("{table} {}", row.tags.get("gantry:point").unwrap_or(id))
            } else {
                continue;
            };
            let masked: String = name
                .chars()
                .map(|c| if c.is_ascii_digit() { '9' } else { c })
                .collect();
            *shape.entry(masked).or_default() += 1;
        }
    }
    shape
}

/// What is taken, of which site, and where it is killed.
#[derive(Clone, Copy)]
struct Case {
    purpose: Purpose,
    site: fn() -> Site,
    watch: Watch,
    /// How many moments there are at least.
    least: usize,
}

impl Case {
    async fn take(self, place: &Place, id: &str, ledger: MemoryLedger, mode: Mode) -> Taken {
        let ledger = Arc::new(ledger);
        match self.purpose {
            Purpose::Full | Purpose::Partial => place.create_on(id, ledger, mode).await,
            Purpose::Snapshot => {
                let paused = Stillness::Paused;
                place.snapshot_on(id, paused, ledger, mode).await
            }
        }
        .unwrap()
    }
}

struct Story {
    case: Case,
    wanted: BTreeMap<String, usize>,
    remains: Vec<Remains>,
    entries: Vec<Entry>,
}

async fn watched(case: Case, folder: &Path) -> Story {
    let place = Place::new((case.site)()).await;
    let journal = place.stage.store.records();
    let world = place.stage.sandbox.world();
    let now = place.stage.sandbox.clock().now();
    // Again from the same world, with nodes that keep what they know in a file.
    let stage = Stage::with((case.site)(), world, &journal, now);
    let file = folder.join("nodes.json");
    let mut place = Place::on(stage, Some(file.clone()), Some(3)).await;
    let session = place.stage.session().await.unwrap();
    let deaths = Deaths::watch(&place, &file, case.watch);
    place.taking = taking(&place.stage, &session, deaths.hosts(&place)).await;
    let ledger = deaths.ledger(&place);
    let taken = case.take(&place, FIRST, ledger.clone(), Mode::Take).await;
    assert!(taken.report.complete());
    Story {
        case,
        remains: deaths.end(&place, case.least),
        wanted: shape(&place.stage.sandbox.world()),
        entries: ledger.entries(),
    }
}

async fn conditions(place: &Place) -> Result<Vec<Condition>, String> {
    let listed = place.taking.points.list().await;
    let listed = listed.map_err(|fault| fault.to_string())?;
    Ok(listed.iter().map(|point| point.condition()).collect())
}

fn complete(taken: &Taken) -> Result<(), String> {
    if taken.report.complete() {
        return Ok(());
    }
    let failures = taken.report.failures();
    let failures: Vec<String> = failures.map(|(at, f)| format!("{at}: {f}")).collect();
    Err(format!("it did not come to its end: {failures:?}"))
}

async fn sound(place: &Place, id: &str) -> Result<(), String> {
    let found = place.examine(id).await;
    if found.is_sound() {
        Ok(())
    } else {
        Err(format!("{id}: {:#?}", found.findings))
    }
}

async fn go_on(story: &Story, remains: &Remains, file: &Path) -> Result<(), String> {
    let place = remains.place((story.case.site)(), file).await?;
    if conditions(&place).await?.contains(&Condition::Incomplete) {
        return Err("a point says that it is incomplete before anybody said so".into());
    }
    let ledger = MemoryLedger::clone(&remains.ledger(&story.entries));
    let taken = story.case.take(&place, FIRST, ledger, Mode::Take).await;
    complete(&taken)?;
    let conditions = conditions(&place).await?;
    if conditions != [Condition::Whole] {
        return Err(format!("points: {conditions:?}, {:?}", taken.closed));
    }
    sound(&place, FIRST).await?;
    let shape = shape(&place.stage.sandbox.world());
    if shape == story.wanted {
        return Ok(());
    }
    let keys = story.wanted.keys().chain(shape.keys());
    let differs: Vec<String> = keys
        .filter(|key| story.wanted.get(*key) != shape.get(*key))
        .map(|key| {
            let (wanted, is) = (story.wanted.get(key), shape.get(key));
            format!("{key}: {wanted:?} and {is:?}")
        })
        .collect();
    Err(format!("another world: {differs:#?}"))
}

/// The run that died is not gone on with: what it began is finished, the point says that it is not whole, unless its
/// manifest was written already, and the next point is.
async fn close(story: &Story, remains: &Remains, file: &Path) -> Result<(), String> {
    let place = remains.place((story.case.site)(), file).await?;
    let was_whole = conditions(&place).await? == [Condition::Whole];
    let ledger = remains.ledger(&story.entries);
    let told = ledger.story();
    // Nobody remembers that it began, or it has ended.
    if told.began.is_none() || told.ended.is_some() {
        return Ok(());
    }
    let ledger = MemoryLedger::clone(&ledger);
    let closed = story.case.take(&place, FIRST, ledger, Mode::Close).await;
    let after = conditions(&place).await?;
    let is_whole = match after[..] {
        // It died in its checks: nothing was begun, so there is nothing to say.
        [] => None,
        [Condition::Incomplete] if !was_whole => Some(false),
        // Everything was saved already, or began to be.
        [Condition::Whole] => Some(true),
        _ => {
            let failures: Vec<_> = closed.report.failures().collect();
            return Err(format!("closed as {after:?}: {failures:?}"));
        }
    };
    if is_whole == Some(true) {
        sound(&place, FIRST).await?;
    }
    let world = place.stage.sandbox.world();
    if let Some(left) = shape(&world).keys().find(|key| key.contains("s3/upload")) {
        return Err(format!("left over: {left}"));
    }
    let next = story
        .case
        .take(&place, SECOND, MemoryLedger::default(), Mode::Take)
        .await;
    complete(&next)?;
    if conditions(&place).await?.last() != Some(&Condition::Whole) {
        return Err(format!("the next one is not whole: {:?}", next.closed));
    }
    sound(&place, SECOND).await
}

fn survives(case: Case) {
    let folder = tempfile::tempdir().unwrap();
    let story = runtime().block_on(watched(case, folder.path()));
    let story = &story;
    from_each(&story.remains, folder.path(), async |left, file| {
        go_on(story, left, file).await
    });
    from_each(&story.remains, folder.path(), async |left, file| {
        close(story, left, file).await
    });
}

#[test]
fn taking_a_point_survives_death_anywhere() {
    survives(Case {
        purpose: Purpose::Full,
        site: || site(ProfileName::Poc2k),
        watch: Watch::Closely,
        least: 31,
    });
}

#[test]
fn taking_a_snapshot_and_its_copies_survives_death_anywhere() {
    survives(Case {
        purpose: Purpose::Snapshot,
        site: || {
            let mut site = site(ProfileName::Poc2k);
            site.backup.copy_to_region = Some("eu-central-1".parse().unwrap());
            site
        },
        watch: Watch::Closely,
        least: 31,
    });
}

#[test]
fn taking_a_point_of_a_box_survives_death_in_each_stage() {
    survives(Case {
        purpose: Purpose::Full,
        site: || site(ProfileName::SingleBox),
        watch: Watch::Sparsely,
        least: 13,
    });
}

#[test]
fn taking_a_point_of_a_cluster_survives_death_in_each_stage() {
    survives(Case {
        purpose: Purpose::Full,
        site: || site(ProfileName::Ha3k),
        watch: Watch::Sparsely,
        least: 13,
    });
}
