//! Death at every point: before each call, after each call with the answer lost, after each record. The next run
//! must end in the same world, with nothing twice and nothing orphaned.
//!
//! One run is watched; at each of its moments the world and the journal are what a killed process would leave
//! behind. From each of those a fresh process goes on.

use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_ec2::types::AttributeBooleanValue;
use gantry::cloud::Aws;
use gantry::journal::{Phase, Record, Store};
use gantry::profile::ProfileName;
use gantry::resource::{ADDRESS_TAG, Address};
use gantry::sandbox::Moment;
use gantry::session::Destroy;
use jiff::Timestamp;

use crate::support::stage::{Stage, everything, site};
use crate::support::{difference, picture};

/// What a killed process leaves behind.
struct Remains {
    what: String,
    /// The world, written as the sandbox writes it: a thousand worlds side by side are large.
    world: Vec<u8>,
    /// How many records the journal had.
    records: usize,
    now: Timestamp,
}

/// Which moments of a run are places to die at.
#[derive(Clone, Copy)]
struct Places {
    /// Before and after these changes in AWS, by number, from 1, and by name.
    around: fn(usize, &str) -> bool,
    /// Before each record.
    records: bool,
}

const EVERYWHERE: Places = Places {
    around: |_, _| true,
    records: true,
};

/// Around every fifth change in AWS, and around each to a database or a key.
const HERE_AND_THERE: Places = Places {
    around: |number, call| {
        number.is_multiple_of(5) || call.starts_with("rds:") || call.starts_with("kms:")
    },
    records: false,
};

/// Watches a run and keeps what would be left at these of its moments.
fn watch(stage: &Stage, places: Places) -> Arc<Mutex<Vec<Remains>>> {
    let remains: Arc<Mutex<Vec<Remains>>> = Arc::default();
    let seen: Arc<Mutex<HashSet<(u64, usize)>>> = Arc::default();
    let keeper = |remains: &Arc<Mutex<Vec<Remains>>>| {
        let (sandbox, store, remains, seen) = (
            stage.sandbox.clone(),
            Arc::downgrade(&stage.store),
            remains.clone(),
            seen.clone(),
        );
        move |what: String| {
            let Some(store) = store.upgrade() else { return };
            let world = serde_json::to_vec(&sandbox.world()).unwrap();
            let records = store.records().len();
            // Two moments that leave the same behind are one point of death.
            if !seen.lock().unwrap().insert((fingerprint(&world), records)) {
                return;
            }
            remains.lock().unwrap().push(Remains {
                what,
                world,
                records,
                now: sandbox.clock().now(),
            });
        }
    };
    let keep = keeper(&remains);
    let mut number = 0;
    stage.sandbox.faults(|faults| {
        faults.watch(move |moment, call| {
            // Reads change nothing: dying around one is dying at the moment before or after a change.
            if is_read(call) {
                return;
            }
            number += usize::from(moment == Moment::Before);
            if !(places.around)(number, call) {
                return;
            }
            keep(match moment {
                Moment::Before => format!("before call {number} ({call})"),
                Moment::After => format!("after call {number} ({call}), the answer lost"),
            });
        });
    });
    if places.records {
        let keep = keeper(&remains);
        stage.store.gate(Arc::new(move |number, record| {
            // Asked before the record is written: what is there now is what a death before it leaves.
            keep(format!("before record {number} ({record:?})"));
            true
        }));
    }
    remains
}

fn fingerprint(bytes: &[u8]) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

fn is_read(call: &str) -> bool {
    let action = call.split(':').nth(1).unwrap_or_default();
    ["Describe", "Get", "List", "Head", "Search"]
        .iter()
        .any(|p| action.starts_with(p))
}

/// Goes on from each of `remains`, on as many threads as there are processors.
fn go_on_from_all(
    profile: ProfileName,
    remains: Vec<Remains>,
    journal: &[Record],
    wanted: &[String],
    go_on: impl AsyncFn(&Stage) -> Result<(), String> + Sync,
) {
    let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let queue = Mutex::new(remains.into_iter());
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let Some(next) = queue.lock().unwrap().next() else {
                        break;
                    };
                    let world = serde_json::from_slice(&next.world).unwrap();
                    let result = runtime().block_on(async {
                        let stage =
                            Stage::with(site(profile), world, &journal[..next.records], next.now);
                        go_on(&stage).await?;
                        stage.settle().await;
                        same(wanted, &stage)
                    });
                    if let Err(why) = result {
                        failures
                            .lock()
                            .unwrap()
                            .push(format!("killed {}: {why}", next.what));
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    let shown = failures
        .iter()
        .take(3)
        .cloned()
        .collect::<Vec<_>>()
        .join("\n\n");
    assert!(
        failures.is_empty(),
        "{} points of death go wrong:\n{shown}",
        failures.len()
    );
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap()
}

fn same(wanted: &[String], stage: &Stage) -> Result<(), String> {
    let diff = difference(wanted, &picture(&stage.sandbox.world()));
    if diff.is_empty() {
        Ok(())
    } else {
        Err(format!("another world: {:#?}", &diff[..diff.len().min(6)]))
    }
}

/// The picture wanted in the end, what is left at each moment, and the whole journal.
type Watched = (Vec<String>, Vec<Remains>, Vec<Record>);

async fn watched(stage: Stage, remains: Arc<Mutex<Vec<Remains>>>) -> Watched {
    stage.sandbox.faults(gantry::sandbox::Faults::clear);
    stage.store.gate(Arc::new(|_, _| true));
    let journal = stage.store.records();
    stage.settle().await;
    let wanted = picture(&stage.sandbox.world());
    let remains = std::mem::take(&mut *remains.lock().unwrap());
    (wanted, remains, journal)
}

fn install_survives_death_anywhere(profile: ProfileName) {
    let (wanted, remains, journal) = runtime().block_on(async {
        let stage = Stage::new(profile);
        let remains = watch(&stage, EVERYWHERE);
        stage.install().await;
        watched(stage, remains).await
    });
    assert!(
        remains.len() > 400,
        "the matrix is not empty: {}",
        remains.len()
    );
    go_on_from_all(profile, remains, &journal, &wanted, async |stage| {
        install_again(stage).await
    });
}

async fn install_again(stage: &Stage) -> Result<(), String> {
    let (stop, silent) = (gantry::engine::Stop::default(), gantry::session::silent());
    let report = stage
        .try_install(&stop, &silent)
        .await
        .map_err(|e| e.to_string())?;
    complete(&report)
}

fn destroy_survives_death_anywhere(profile: ProfileName) {
    let choices = [everything(), everything()];
    destroy_survives_death(profile, choices, EVERYWHERE, 300);
}

/// Destroys with the first choice, and goes on from each place with the second. There are more places than `least`.
fn destroy_survives_death(
    profile: ProfileName,
    [first, second]: [Destroy; 2],
    places: Places,
    least: usize,
) {
    let (wanted, remains, journal) = runtime().block_on(async {
        let stage = Stage::new(profile);
        stage.install().await;
        let remains = watch(&stage, places);
        stage.destroy(&first).await;
        watched(stage, remains).await
    });
    assert!(
        remains.len() > least,
        "the matrix is not empty: {}",
        remains.len()
    );
    go_on_from_all(profile, remains, &journal, &wanted, async |stage| {
        destroy_again(stage, &second).await
    });
}

async fn destroy_again(stage: &Stage, choice: &Destroy) -> Result<(), String> {
    let session = stage.session().await.map_err(|e| e.to_string())?;
    let plan = session
        .plan_destroy(choice)
        .await
        .map_err(|e| e.to_string())?;
    let (stop, silent) = (gantry::engine::Stop::default(), gantry::session::silent());
    let report = session
        .destroy("again", &plan, choice, &stop, &silent)
        .await
        .map_err(|e| e.to_string())?;
    complete(&report)
}

fn complete(report: &gantry::engine::Report<gantry::cloud::Fault>) -> Result<(), String> {
    let failures: Vec<_> = report
        .failures()
        .map(|(n, f)| format!("{n}: {f}"))
        .collect();
    if report.complete() {
        Ok(())
    } else {
        Err(format!("did not complete: {failures:?}"))
    }
}

#[test]
fn poc_2k_install_survives_death_anywhere() {
    install_survives_death_anywhere(ProfileName::Poc2k);
}

#[test]
fn ha_3k_install_survives_death_anywhere() {
    install_survives_death_anywhere(ProfileName::Ha3k);
}

#[test]
fn poc_2k_destroy_survives_death_anywhere() {
    destroy_survives_death_anywhere(ProfileName::Poc2k);
}

#[test]
fn ha_3k_destroy_survives_death_anywhere() {
    destroy_survives_death_anywhere(ProfileName::Ha3k);
}

#[test]
fn poc_2k_destroy_that_keeps_the_data_survives_death() {
    let choices = [Destroy::default(), Destroy::default()];
    destroy_survives_death(ProfileName::Poc2k, choices, HERE_AND_THERE, 25);
}

/// A last snapshot is named for the moment at which the run begins: the second run has another name for it.
#[test]
fn poc_2k_destroy_with_a_last_snapshot_survives_death() {
    let choices = ["100000", "110000"].map(|hour| Destroy {
        delete_data: true,
        final_snapshot: Some(format!("final-20260921-{hour}")),
    });
    destroy_survives_death(ProfileName::Poc2k, choices, HERE_AND_THERE, 40);
}

#[test]
fn a_node_nobody_heard_of_that_ended_by_hand_is_made_once_more() {
    let launches = Places {
        around: |_, call| call == "ec2:RunInstances",
        records: false,
    };
    for profile in [ProfileName::SingleBox, ProfileName::Poc2k] {
        let (wanted, mut remains, journal) = runtime().block_on(async {
            let stage = Stage::new(profile);
            let remains = watch(&stage, launches);
            stage.install().await;
            watched(stage, remains).await
        });
        remains.retain(|left| left.what.ends_with("the answer lost"));
        assert!(!remains.is_empty(), "{profile}: the matrix is not empty");
        go_on_from_all(profile, remains, &journal, &wanted, async |stage| {
            let ended = end_by_hand(stage).await;
            install_again(stage).await?;
            made_once_more(stage, &ended)
        });
    }
}

/// Ends each node of which the journal knows no more than that it was meant; their addresses.
async fn end_by_hand(stage: &Stage) -> Vec<String> {
    let state = stage.store.state();
    let meant = |address: &str| {
        let address: Address = address.parse().unwrap();
        let known = state.resources.get(&address);
        known.is_some_and(|entry| entry.phase == Phase::Intended)
    };
    let aws = Aws::new(&stage.sandbox.config("eu-west-1"));
    let off = AttributeBooleanValue::builder().value(false).build();
    let mut ended = Vec::new();
    let world = stage.sandbox.world();
    for (id, row) in world.rows("eu-west-1", "ec2/instance") {
        let Some(address) = row.tags.get(ADDRESS_TAG).filter(|a| meant(a)) else {
            continue;
        };
        let unprotect = aws.ec2.modify_instance_attribute().instance_id(id);
        let unprotect = unprotect.disable_api_termination(off.clone());
        unprotect.send().await.unwrap();
        let end = aws.ec2.terminate_instances().instance_ids(id);
        end.send().await.unwrap();
        ended.push(address.clone());
    }
    stage.sandbox.clock().sleep(Duration::from_mins(5)).await;
    ended
}

/// Each of these was refused for its spent token, and stands once.
fn made_once_more(stage: &Stage, ended: &[String]) -> Result<(), String> {
    if ended.is_empty() {
        return Err("nothing was there to end".into());
    }
    let log = stage.sandbox.log();
    let refused = log.iter().map(|logged| logged.refused.as_str());
    let spent = refused.filter(|code| *code == "IdempotentInstanceTerminated");
    if spent.count() != ended.len() {
        return Err(format!("other refusals than one for each of {ended:?}"));
    }
    let world = stage.sandbox.world();
    for address in ended {
        let standing = world
            .rows("eu-west-1", "ec2/instance")
            .filter(|(_, row)| row.tags.get(ADDRESS_TAG) == Some(address))
            .filter(|(_, row)| row.v["instanceState"]["name"] != "terminated")
            .count();
        if standing != 1 {
            return Err(format!("{address} stands {standing} times"));
        }
    }
    Ok(())
}
