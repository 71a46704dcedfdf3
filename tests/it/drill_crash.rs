//! Death during a drill: before each entry of its ledger, and around changes in AWS. The next run must end with the same
//! proof on the point, with nothing left of either drill, and with the site itself as it was.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use gantry::journal::Record;
use gantry::ops::drill::Settled;
use gantry::ops::point::Health;
use gantry::ops::{Entry, Ledger, MemoryLedger};
use gantry::profile::ProfileName;
use gantry::sandbox::Moment;
use gantry::sandbox::world::World;
use jiff::Timestamp;

use crate::drill::{Ground, RUN};
use crate::support::deaths::{Left, fingerprint, from_each, is_read, runtime};
use crate::support::stage::{Stage, site};
use crate::taking::Place;

const AGAIN: &str = "20260924T130000Z-00000b";

/// Of the changes in AWS, every so many is a place to die at; each such death costs a drill.
const EVERY: usize = 60;

/// What a killed process leaves behind.
struct Remains {
    what: String,
    world: Vec<u8>,
    journal: Vec<Record>,
    entries: usize,
    now: Timestamp,
}

impl Left for Remains {
    fn what(&self) -> &str {
        &self.what
    }
}

struct Story {
    profile: ProfileName,
    before: World,
    /// The journal of the site itself.
    journal: Vec<Record>,
    remains: Vec<Remains>,
    entries: Vec<Entry>,
}

async fn watched(profile: ProfileName) -> Story {
    let ground = Ground::new(profile).await;
    let before = ground.world();
    let remains: Arc<Mutex<Vec<Remains>>> = Arc::default();
    let seen: Arc<Mutex<HashSet<(u64, usize)>>> = Arc::default();
    let count = Arc::new(AtomicUsize::new(0));
    let keeper = || {
        let (sandbox, store) = (ground.place.stage.sandbox.clone(), ground.store.clone());
        let (remains, seen, count) = (remains.clone(), seen.clone(), count.clone());
        move |what: String| {
            let world = serde_json::to_vec(&sandbox.world()).unwrap();
            let entries = count.load(Ordering::SeqCst);
            if !seen.lock().unwrap().insert((fingerprint(&world), entries)) {
                return;
            }
            remains.lock().unwrap().push(Remains {
                what,
                world,
                journal: store.records(),
                entries,
                now: sandbox.clock().now(),
            });
        }
    };
    let (keep, mut calls) = (keeper(), 0_usize);
    ground.place.stage.sandbox.faults(|faults| {
        faults.watch(move |moment, call| {
            if is_read(call) || moment == Moment::Before {
                return;
            }
            calls += 1;
            if calls.is_multiple_of(EVERY) {
                keep(format!("after {call}, change {calls}, the answer lost"));
            }
        });
    });
    let (keep, counted) = (keeper(), count.clone());
    let gated = MemoryLedger::default().gated(Arc::new(move |number, entry| {
        counted.store(number, Ordering::SeqCst);
        keep(format!("before the entry {number} ({entry:?})"));
        counted.store(number + 1, Ordering::SeqCst);
        true
    }));
    let came = ground.go(RUN, Arc::new(gated.clone())).await.unwrap();
    assert!(came.carried.complete() && came.proof.unwrap().sound);
    ground
        .place
        .stage
        .sandbox
        .faults(gantry::sandbox::Faults::clear);
    let remains = std::mem::take(&mut *remains.lock().unwrap());
    Story {
        profile,
        before,
        journal: ground.place.stage.store.records(),
        remains,
        entries: gated.entries(),
    }
}

async fn go_on(story: &Story, remains: &Remains) -> Result<(), String> {
    let world = serde_json::from_slice(&remains.world).unwrap();
    let stage = Stage::with(site(story.profile), world, &story.journal, remains.now);
    let place = Place::on(stage, None, None).await;
    let ground = Ground::on(place, &remains.journal).await;
    let earlier = MemoryLedger::with(&story.entries[..remains.entries]);
    let mut anew = true;
    if earlier.story().began.is_some() && earlier.story().ended.is_none() {
        let settled = ground.settle(Arc::new(earlier.clone())).await;
        anew = match settled.map_err(|e| e.to_string())? {
            Settled::Came(came) => !came.proof.ok_or("no proof")?.sound,
            Settled::Removed => true,
            Settled::Interrupted => return Err("interrupted".into()),
        };
        if earlier.story().ended.is_none() {
            return Err("the earlier drill is still open".into());
        }
        let left = ground.is_as_before(&story.before).await;
        left.map_err(|why| format!("after it was settled: {why}"))?;
    }
    if anew {
        let ledger = Arc::new(MemoryLedger::default());
        let came = ground.go(AGAIN, ledger).await.map_err(|e| e.to_string())?;
        if !came.carried.complete() {
            let failed: Vec<_> = came.carried.failures().map(|f| f.1.to_string()).collect();
            return Err(format!("it did not come to its end: {failed:?}"));
        }
    }
    let mark = ground.mark().await.ok_or("there is no mark")?;
    if mark.outcome != Health::Sound {
        return Err(format!("{mark:?}"));
    }
    ground.is_as_before(&story.before).await
}

fn survives(profile: ProfileName, least: usize) {
    let story = runtime().block_on(watched(profile));
    assert!(
        story.remains.len() >= least,
        "the matrix is not empty: {}",
        story.remains.len()
    );
    let (story, folder) = (&story, tempfile::tempdir().unwrap());
    from_each(&story.remains, folder.path(), async |left, _| {
        go_on(story, left).await
    });
}

#[test]
fn a_drill_of_a_box_survives_death() {
    survives(ProfileName::SingleBox, 11);
}

#[test]
fn a_drill_of_a_small_site_survives_death() {
    survives(ProfileName::Poc2k, 11);
}
