//! Everything AWS can answer, at every call: either it passes by itself, or it is a clear error, the rest of the
//! graph is finished, and the next run completes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use gantry::cloud::Fault;
use gantry::cloud::quotas::quota;
use gantry::engine::{Outcome, Stop};
use gantry::profile::ProfileName;
use gantry::sandbox::{Fate, Refusal};
use gantry::session::silent;

use crate::support::stage::{BEGINNING, Stage, account, everything, site};
use crate::support::{difference, picture};

const PROFILES: [ProfileName; 3] = [
    ProfileName::SingleBox,
    ProfileName::Poc2k,
    ProfileName::Ha3k,
];

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap()
}

fn is_read(call: &str) -> bool {
    let action = call.split(':').nth(1).unwrap_or_default();
    ["Describe", "Get", "List", "Head", "Search"]
        .iter()
        .any(|p| action.starts_with(p))
}

/// The world a quiet install makes, and the calls it takes.
fn quiet(profile: ProfileName) -> (Vec<String>, BTreeSet<String>) {
    runtime().block_on(async {
        let stage = Stage::new(profile);
        stage.install().await;
        let calls = stage.sandbox.log().into_iter().map(|l| l.call).collect();
        stage.settle().await;
        (picture(&stage.sandbox.world()), calls)
    })
}

/// Every call meets `fate` the first `times` times; then it passes.
fn passes_by_itself(times: u32, fate: &Fate) {
    for profile in PROFILES {
        let (wanted, _) = quiet(profile);
        runtime().block_on(async {
            let stage = Stage::new(profile);
            let mut met: BTreeMap<String, u32> = BTreeMap::new();
            let fate = fate.clone();
            stage.sandbox.faults(|f| {
                f.set(move |call, _| {
                    let n = met.entry(call.to_owned()).or_default();
                    *n += 1;
                    // The first call of a run has no patience: it decides whether there is an account at all.
                    if *n > times || call.starts_with("sts:") {
                        Fate::Pass
                    } else {
                        fate.clone()
                    }
                });
            });
            stage.install().await;
            stage.sandbox.faults(gantry::sandbox::Faults::clear);
            stage.settle().await;
            let diff = difference(&wanted, &picture(&stage.sandbox.world()));
            assert_eq!(diff, Vec::<String>::new(), "{profile}: another world");
            assert!(stage.read().await.plan.is_empty());
        });
    }
}

#[test]
fn every_call_throttled_at_first() {
    passes_by_itself(
        3,
        &Fate::Refuse(Refusal::new(
            503,
            "RequestLimitExceeded",
            "Request limit exceeded.",
        )),
    );
}

#[test]
fn every_call_throttled_at_first_in_the_words_of_other_services() {
    passes_by_itself(
        2,
        &Fate::Refuse(Refusal::new(400, "ThrottlingException", "Rate exceeded")),
    );
}

#[test]
fn every_call_lost_on_its_way_at_first() {
    passes_by_itself(1, &Fate::LostBefore);
}

#[test]
fn every_answer_lost_at_first() {
    passes_by_itself(1, &Fate::LostAfter);
}

#[test]
fn every_call_meets_a_server_error_at_first() {
    passes_by_itself(
        1,
        &Fate::Refuse(Refusal::new(
            500,
            "InternalError",
            "We encountered an internal error.",
        )),
    );
}

/// The refusal at every changing call in turn, until it is lifted.
fn stands_in_the_way(
    profile: ProfileName,
    refusal: &Refusal,
    clear: impl Fn(&str, &Fault) -> bool + Sync,
) {
    let (wanted, calls) = quiet(profile);
    let queue = Mutex::new(
        calls
            .into_iter()
            .filter(|c| !is_read(c))
            .collect::<Vec<_>>()
            .into_iter(),
    );
    let failures: Mutex<Vec<String>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let Some(call) = queue.lock().unwrap().next() else {
                        break;
                    };
                    let result = runtime().block_on(refused_then_lifted(
                        profile, &call, refusal, &wanted, &clear,
                    ));
                    if let Err(why) = result {
                        failures
                            .lock()
                            .unwrap()
                            .push(format!("{} at {call}: {why}", refusal.code));
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(
        failures.is_empty(),
        "{} calls:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

async fn refused_then_lifted(
    profile: ProfileName,
    call: &str,
    refusal: &Refusal,
    wanted: &[String],
    clear: &impl Fn(&str, &Fault) -> bool,
) -> Result<(), String> {
    let stage = Stage::new(profile);
    let (refused, answer) = (call.to_owned(), refusal.clone());
    stage.sandbox.faults(|f| {
        f.set(move |name, _| {
            if name == refused {
                Fate::Refuse(answer.clone())
            } else {
                Fate::Pass
            }
        });
    });
    let report = stage
        .try_install(&Stop::default(), &silent())
        .await
        .map_err(|e| e.to_string())?;
    let faults: Vec<(String, Fault)> = report
        .failures()
        .map(|(n, f)| (n.to_owned(), f.clone()))
        .collect();
    if faults.is_empty() {
        return Err("nothing failed".into());
    }
    for (name, fault) in &faults {
        if !clear(call, fault) {
            return Err(format!(
                "{name} is told as: {fault}; help: {}",
                fault.help()
            ));
        }
    }
    // What did not depend on it is finished: every step is done, failed on this call, or blocked by one that did.
    for (name, _, outcome) in &report.outcomes {
        if !matches!(
            outcome,
            Outcome::Done | Outcome::Failed(_) | Outcome::Blocked { .. }
        ) {
            return Err(format!("{name} was left as {outcome:?}"));
        }
    }
    stage.sandbox.faults(gantry::sandbox::Faults::clear);
    let report = stage
        .try_install(&Stop::default(), &silent())
        .await
        .map_err(|e| e.to_string())?;
    if !report.complete() {
        let left: Vec<_> = report
            .failures()
            .map(|(n, f)| format!("{n}: {f}"))
            .collect();
        return Err(format!("run again, it does not complete: {left:?}"));
    }
    stage.settle().await;
    let diff = difference(wanted, &picture(&stage.sandbox.world()));
    if diff.is_empty() {
        Ok(())
    } else {
        Err(format!("another world: {diff:#?}"))
    }
}

#[test]
fn a_missing_permission_is_named_and_granting_it_is_enough() {
    let refusal = Refusal::new(
        403,
        "AccessDenied",
        "User is not authorized to perform this",
    );
    stands_in_the_way(ProfileName::Ha3k, &refusal, |call, fault| {
        matches!(fault, Fault::Denied { .. })
            && fault.help().contains(fault.call())
            && same_call(call, fault)
    });
}

#[test]
fn a_validation_refusal_is_handed_on_in_awss_words() {
    let refusal = Refusal::bad("ValidationError", "1 validation error detected");
    stands_in_the_way(ProfileName::Poc2k, &refusal, |call, fault| {
        matches!(fault, Fault::Rejected { .. })
            && fault.to_string().contains("1 validation error")
            && same_call(call, fault)
    });
}

#[test]
fn a_quota_is_named() {
    let refusal = Refusal::bad(
        "AddressLimitExceeded",
        "The maximum number of addresses has been reached.",
    );
    stands_in_the_way(ProfileName::Poc2k, &refusal, |call, fault| {
        fault.help().contains("L-0263D0A3") && same_call(call, fault)
    });
}

/// Every limit of the account that a site can meet, by the strict cloud's name for it.
const LIMITS: [&str; 29] = [
    "addresses",
    "buckets",
    "cache_nodes",
    "cache_parameter_groups",
    "cache_subnet_groups",
    "certificates",
    "db_instances",
    "db_parameter_groups",
    "db_storage",
    "db_subnet_groups",
    "domains_per_certificate",
    "gp3_storage",
    "internet_gateways",
    "kms_keys",
    "listeners",
    "load_balancers",
    "log_groups",
    "nat_gateways",
    "roles",
    "route_tables",
    "routes",
    "secrets",
    "security_group_rules",
    "security_groups",
    "subnets",
    "target_groups",
    "topics",
    "vcpus",
    "vpcs",
];

#[test]
fn each_limit_of_an_account_is_named_where_it_is_met_and_raising_it_is_enough() {
    let (wanted, _) = quiet(ProfileName::Ha3k);
    let mut wrong = Vec::new();
    for limit in LIMITS {
        let met = runtime().block_on(reached_then_raised(limit, &wanted));
        wrong.extend(met.err().map(|why| format!("{limit}: {why}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// None of what this limits is allowed; then as much as an account has.
async fn reached_then_raised(limit: &str, wanted: &[String]) -> Result<(), String> {
    let mut world = account();
    let allowed = world.quotas.insert(limit.to_owned(), 0);
    let stage = Stage::with(site(ProfileName::Ha3k), world, &[], BEGINNING);
    let report = stage
        .try_install(&Stop::default(), &silent())
        .await
        .map_err(|e| e.to_string())?;
    if report.failures().next().is_none() {
        return Err("nothing failed".into());
    }
    let code = quota(limit).map_or("Service Quotas", |line| line.code);
    for (name, fault) in report.failures() {
        if !matches!(fault, Fault::Quota { .. }) || !fault.help().contains(code) {
            return Err(format!(
                "{name} is told as: {fault}; help: {}",
                fault.help()
            ));
        }
    }
    stage.sandbox.change(|world| {
        match allowed {
            Some(allowed) => world.quotas.insert(limit.to_owned(), allowed),
            None => world.quotas.remove(limit),
        };
    });
    stage.install().await;
    stage.settle().await;
    let diff = difference(wanted, &picture(&stage.sandbox.world()));
    if diff.is_empty() {
        Ok(())
    } else {
        Err(format!("another world: {diff:#?}"))
    }
}

/// Whether the fault names the call, by the action; services have other names in IAM than on the wire.
fn same_call(call: &str, fault: &Fault) -> bool {
    let action = |c: &str| c.split(':').nth(1).unwrap_or_default().to_owned();
    // S3's permissions are not named as its calls are.
    call.starts_with("s3:") || action(call) == action(fault.call())
}

#[test]
fn no_capacity_is_tried_again_and_then_told() {
    runtime().block_on(async {
        let stage = Stage::new(ProfileName::Poc2k);
        stage.sandbox.faults(|f| {
            f.set(|name, _| {
                if name == "ec2:RunInstances" {
                    Fate::Refuse(Refusal::new(
                        500,
                        "InsufficientInstanceCapacity",
                        "We currently do not have capacity.",
                    ))
                } else {
                    Fate::Pass
                }
            });
        });
        let report = stage
            .try_install(&Stop::default(), &silent())
            .await
            .unwrap();
        let faults: Vec<_> = report.failures().collect();
        assert!(
            !faults.is_empty()
                && faults
                    .iter()
                    .all(|(_, f)| matches!(f, Fault::Capacity { .. })),
            "{faults:?}"
        );
        let tries = stage
            .sandbox
            .log()
            .iter()
            .filter(|l| l.call == "ec2:RunInstances")
            .count();
        assert!(tries > faults.len(), "tried more than once each: {tries}");
        stage.sandbox.faults(gantry::sandbox::Faults::clear);
        stage.install().await;
    });
}

#[test]
fn a_read_that_is_denied_stops_before_anything_is_made() {
    let (_, calls) = quiet(ProfileName::Poc2k);
    for call in calls
        .iter()
        .filter(|c| is_read(c) && !c.starts_with("ec2:DescribeInstanceTypes"))
    {
        runtime().block_on(async {
            let stage = Stage::new(ProfileName::Poc2k);
            let before = picture(&stage.sandbox.world());
            let refused = call.clone();
            stage.sandbox.faults(|f| {
                f.set(move |name, _| {
                    let no = Refusal::new(403, "AccessDenied", "not authorized");
                    if name == refused {
                        Fate::Refuse(no)
                    } else {
                        Fate::Pass
                    }
                });
            });
            match stage.try_install(&Stop::default(), &silent()).await {
                Err(error) => {
                    assert!(error.to_string().contains("denied"), "{call}: {error}");
                    let diff = difference(&before, &picture(&stage.sandbox.world()));
                    assert_eq!(diff, Vec::<String>::new(), "{call}: nothing was made");
                }
                // Calls that only happen while making (a secret read for the database) fail their own step.
                Ok(report) => {
                    assert!(
                        report
                            .failures()
                            .all(|(_, f)| matches!(f, Fault::Denied { .. })),
                        "{call}"
                    );
                    assert!(
                        report.failures().count() > 0,
                        "{call} is called and its refusal is not hidden"
                    );
                }
            }
        });
    }
}

#[test]
fn a_destroy_that_loses_every_first_answer_still_leaves_nothing() {
    runtime().block_on(async {
        let stage = Stage::new(ProfileName::Ha3k);
        let before = picture(&stage.sandbox.world());
        stage.install().await;
        let mut met = BTreeSet::new();
        stage.sandbox.faults(|f| {
            f.set(move |call, _| {
                if call.starts_with("sts:") || !met.insert(call.to_owned()) {
                    Fate::Pass
                } else {
                    Fate::LostAfter
                }
            });
        });
        stage.destroy(&everything()).await;
        stage.sandbox.faults(gantry::sandbox::Faults::clear);
        stage.settle().await;
        assert_eq!(
            difference(&before, &picture(&stage.sandbox.world())),
            Vec::<String>::new()
        );
    });
}

#[test]
fn the_wrong_account_is_refused_before_the_first_write() {
    runtime().block_on(async {
        let mut stage = Stage::new(ProfileName::Poc2k);
        stage.site.site.account = Some("999999999999".parse().unwrap());
        let Err(error) = stage.session().await else {
            panic!("it was let in")
        };
        assert!(
            error.to_string().contains("999999999999")
                && error.to_string().contains("123456789012"),
            "{error}"
        );
        assert!(
            stage
                .sandbox
                .log()
                .iter()
                .all(|l| l.call == "sts:GetCallerIdentity")
        );
        assert!(stage.store.records().is_empty());
    });
}

#[test]
fn another_region_than_remembered_is_refused() {
    runtime().block_on(async {
        let stage = Stage::new(ProfileName::SingleBox);
        stage.install().await;
        let mut moved = stage.site.clone();
        moved.site.region = "eu-central-1".parse().unwrap();
        let world = stage.sandbox.world();
        let later = Stage::with(
            moved,
            world,
            &stage.store.records(),
            stage.sandbox.clock().now(),
        );
        let Err(error) = later.session().await else {
            panic!("it was let in")
        };
        assert!(error.to_string().contains("eu-west-1"), "{error}");
    });
}

/// Shared by tests that press Ctrl-C: an observer that presses at the n-th event.
fn press_at(n: usize, stop: &Stop) -> gantry::engine::Observer {
    let (seen, stop) = (Arc::new(Mutex::new(0)), stop.clone());
    Arc::new(move |_| {
        let mut seen = seen.lock().unwrap();
        *seen += 1;
        if *seen == n {
            stop.press();
        }
    })
}

#[test]
fn ctrl_c_at_any_event_leaves_a_run_that_can_be_resumed() {
    let (wanted, _) = quiet(ProfileName::Poc2k);
    for n in (1..400).step_by(7) {
        runtime().block_on(async {
            let stage = Stage::new(ProfileName::Poc2k);
            let stop = Stop::default();
            let report = stage.try_install(&stop, &press_at(n, &stop)).await.unwrap();
            assert_eq!(
                report.failures().count(),
                0,
                "an interrupt is no failure (event {n})"
            );
            stage.install().await;
            stage.settle().await;
            let diff = difference(&wanted, &picture(&stage.sandbox.world()));
            assert_eq!(diff, Vec::<String>::new(), "after Ctrl-C at event {n}");
        });
    }
}
