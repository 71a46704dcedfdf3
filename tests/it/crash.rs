//! Death at every point: before each call, after each call with the answer lost, after each record. The next run
//! must end in the same world, with nothing twice and nothing orphaned.
//!
//! One run is watched; at each of its moments the world and the journal are what a killed process would leave
//! behind. From each of those a fresh process goes on.

use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex};

use gantry::journal::Record;
use gantry::profile::ProfileName;
use gantry::sandbox::Moment;
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

/// Watches a run and keeps what would be left at each of its moments.
fn watch(stage: &Stage) -> Arc<Mutex<Vec<Remains>>> {
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
            keep(match moment {
                Moment::Before => format!("before call {number} ({call})"),
                Moment::After => format!("after call {number} ({call}), the answer lost"),
            });
        });
    });
    let keep = keeper(&remains);
    stage.store.gate(Arc::new(move |number, record| {
        // Asked before the record is written: what is there now is what a death before it leaves.
        keep(format!("before record {number} ({record:?})"));
        true
    }));
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
    go_on: GoOn,
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

type GoOn = fn(&Stage) -> futures::future::LocalBoxFuture<'_, Result<(), String>>;

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
        let remains = watch(&stage);
        stage.install().await;
        watched(stage, remains).await
    });
    assert!(
        remains.len() > 400,
        "the matrix is not empty: {}",
        remains.len()
    );
    go_on_from_all(profile, remains, &journal, &wanted, |stage| {
        Box::pin(async move {
            let report = stage
                .try_install(&gantry::engine::Stop::default(), &gantry::session::silent())
                .await
                .map_err(|e| e.to_string())?;
            complete(&report)
        })
    });
}

fn destroy_survives_death_anywhere(profile: ProfileName) {
    let (wanted, remains, journal) = runtime().block_on(async {
        let stage = Stage::new(profile);
        stage.install().await;
        let remains = watch(&stage);
        stage.destroy(&everything()).await;
        watched(stage, remains).await
    });
    assert!(
        remains.len() > 300,
        "the matrix is not empty: {}",
        remains.len()
    );
    go_on_from_all(profile, remains, &journal, &wanted, |stage| {
        Box::pin(async move {
            let session = stage.session().await.map_err(|e| e.to_string())?;
            let plan = session
                .plan_destroy(&everything())
                .await
                .map_err(|e| e.to_string())?;
            let (stop, silent) = (gantry::engine::Stop::default(), gantry::session::silent());
            let report = session
                .destroy("again", &plan, &everything(), &stop, &silent)
                .await
                .map_err(|e| e.to_string())?;
            complete(&report)
        })
    });
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
