//! Everything AWS can answer, at every call: either it passes by itself, or it is a clear error, the rest of the
//! graph is finished, and the next run completes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use gantry::cloud::Fault;
use gantry::cloud::quotas::quota;
use gantry::engine::{Outcome, Report, Stop};
use gantry::journal::Record;
use gantry::profile::ProfileName;
use gantry::sandbox::world::World;
use gantry::sandbox::{Fate, Refusal};
use gantry::session::{SessionError, silent};
use gantry::site::{FixedNodes, GitalyNodes, Site};
use jiff::Timestamp;

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

/// A piece of work on a site, and what it begins with.
struct Work {
    act: Act,
    site: Site,
    world: World,
    records: Vec<Record>,
    now: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Install,
    /// With all its data.
    Destroy,
}

impl Work {
    /// The first install.
    fn first(site: Site) -> Self {
        Self {
            act: Act::Install,
            site,
            world: account(),
            records: Vec::new(),
            now: BEGINNING,
        }
    }

    /// The install after a change of the site file.
    fn update(profile: ProfileName, change: impl FnOnce(&mut Site)) -> Self {
        let mut work = Self::on_installed(profile);
        change(&mut work.site);
        work
    }

    fn destroy(profile: ProfileName) -> Self {
        Self {
            act: Act::Destroy,
            ..Self::on_installed(profile)
        }
    }

    fn on_installed(profile: ProfileName) -> Self {
        runtime().block_on(async {
            let stage = Stage::new(profile);
            stage.install().await;
            Self {
                act: Act::Install,
                world: stage.sandbox.world(),
                records: stage.store.records(),
                now: stage.sandbox.clock().now(),
                site: stage.site,
            }
        })
    }

    /// Where it begins.
    fn stage(&self) -> Stage {
        Stage::with(
            self.site.clone(),
            self.world.clone(),
            &self.records,
            self.now,
        )
    }

    async fn run(&self, stage: &Stage) -> Result<Report<Fault>, SessionError> {
        match self.act {
            Act::Install => stage.try_install(&Stop::default(), &silent()).await,
            Act::Destroy => destroy(stage).await,
        }
    }

    /// Whether this may be said of a step whose call was not refused: AWS keeps what something else still holds.
    fn follows(&self, fault: &Fault) -> bool {
        self.act == Act::Destroy && matches!(fault, Fault::Later { .. })
    }
}

async fn destroy(stage: &Stage) -> Result<Report<Fault>, SessionError> {
    let session = stage.session().await?;
    let plan = session.plan_destroy(&everything()).await?;
    session
        .destroy("destroy", &plan, &everything(), &Stop::default(), &silent())
        .await
}

/// Another machine, a larger volume, a larger database.
fn grown(site: &mut Site) {
    site.nodes.sidekiq = Some(FixedNodes {
        instance_type: Some("m5.2xlarge".parse().unwrap()),
        ..FixedNodes::default()
    });
    site.nodes.gitaly = Some(GitalyNodes {
        data_gib: Some(300),
        ..GitalyNodes::default()
    });
    site.database.storage_gib = Some(200);
}

/// Grown, and with one more tag on everything.
fn changed(site: &mut Site) {
    grown(site);
    site.tags.insert("team".to_owned(), "forge".to_owned());
}

/// The world that quiet work makes, and the calls it takes.
fn quiet(work: &Work) -> (Vec<String>, BTreeSet<String>) {
    runtime().block_on(async {
        let stage = work.stage();
        let report = work.run(&stage).await.unwrap();
        let failures: Vec<_> = report.failures().collect();
        assert!(report.complete(), "{failures:?}");
        let calls = stage.sandbox.log().into_iter().map(|l| l.call).collect();
        stage.settle().await;
        (picture(&stage.sandbox.world()), calls)
    })
}

/// Every call meets its fate the first `times` times; then it passes.
fn passes_by_itself(times: u32, fate: fn(&str) -> Fate) {
    for profile in PROFILES {
        let work = Work::first(site(profile));
        let (wanted, _) = quiet(&work);
        runtime().block_on(async {
            let stage = work.stage();
            let mut met: BTreeMap<String, u32> = BTreeMap::new();
            stage.sandbox.faults(|f| {
                f.set(move |call, _| {
                    let n = met.entry(call.to_owned()).or_default();
                    *n += 1;
                    // The first call of a run has no patience: it decides whether there is an account at all.
                    if *n > times || call.starts_with("sts:") {
                        Fate::Pass
                    } else {
                        fate(call)
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
    passes_by_itself(3, |_| {
        Fate::Refuse(Refusal::new(
            503,
            "RequestLimitExceeded",
            "Request limit exceeded.",
        ))
    });
}

#[test]
fn every_call_throttled_at_first_in_the_words_of_other_services() {
    passes_by_itself(2, |_| {
        Fate::Refuse(Refusal::new(400, "ThrottlingException", "Rate exceeded"))
    });
}

#[test]
fn every_call_lost_on_its_way_at_first() {
    passes_by_itself(1, |_| Fate::LostBefore);
}

#[test]
fn every_answer_lost_at_first() {
    passes_by_itself(1, |_| Fate::LostAfter);
}

#[test]
fn every_call_meets_a_server_error_at_first() {
    passes_by_itself(1, |_| {
        Fate::Refuse(Refusal::new(
            500,
            "InternalError",
            "We encountered an internal error.",
        ))
    });
}

/// Four times, so that each of the two groups of a single box meets it twice. Equal worlds mean that the egress that a
/// new group leaves open was closed.
#[test]
fn what_was_just_made_is_unknown_to_the_first_calls_that_name_it() {
    passes_by_itself(4, |call| {
        let code = match call {
            "ec2:AssociateRouteTable" | "ec2:CreateNatGateway" | "ec2:RunInstances" => {
                "InvalidSubnetID.NotFound"
            }
            "ec2:AuthorizeSecurityGroupEgress"
            | "ec2:AuthorizeSecurityGroupIngress"
            | "ec2:RevokeSecurityGroupEgress" => "InvalidGroup.NotFound",
            _ => return Fate::Pass,
        };
        Fate::Refuse(Refusal::bad(code, "It does not exist."))
    });
}

/// The refusal at every changing call of this work in turn, until it is lifted.
fn stands_in_the_way(work: &Work, refusal: &Refusal, clear: impl Fn(&str, &Fault) -> bool + Sync) {
    let (wanted, mut calls) = quiet(work);
    calls.retain(|call| !is_read(call));
    at_each(work, calls, &wanted, refusal, clear);
}

/// The refusal at each of these calls in turn, until it is lifted.
fn at_each(
    work: &Work,
    calls: BTreeSet<String>,
    wanted: &[String],
    refusal: &Refusal,
    clear: impl Fn(&str, &Fault) -> bool + Sync,
) {
    assert!(!calls.is_empty(), "nothing to refuse");
    let queue = Mutex::new(calls.into_iter());
    let failures: Mutex<Vec<String>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let Some(call) = queue.lock().unwrap().next() else {
                        break;
                    };
                    let result = runtime()
                        .block_on(refused_then_lifted(work, &call, refusal, wanted, &clear));
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
    work: &Work,
    call: &str,
    refusal: &Refusal,
    wanted: &[String],
    clear: &impl Fn(&str, &Fault) -> bool,
) -> Result<(), String> {
    let stage = work.stage();
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
    let report = work.run(&stage).await.map_err(|e| e.to_string())?;
    let faults: Vec<(String, Fault)> = report
        .failures()
        .map(|(n, f)| (n.to_owned(), f.clone()))
        .collect();
    if !faults.iter().any(|(_, fault)| clear(call, fault)) {
        return Err(format!("nothing says so: {faults:?}"));
    }
    for (name, fault) in &faults {
        if !clear(call, fault) && !work.follows(fault) {
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
    let report = work.run(&stage).await.map_err(|e| e.to_string())?;
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

fn denied() -> Refusal {
    Refusal::new(
        403,
        "AccessDenied",
        "User is not authorized to perform this",
    )
}

fn names_the_permission(call: &str, fault: &Fault) -> bool {
    matches!(fault, Fault::Denied { .. })
        && fault.help().contains(fault.call())
        && same_call(call, fault)
}

#[test]
fn a_missing_permission_is_named_and_granting_it_is_enough() {
    let work = Work::first(site(ProfileName::Ha3k));
    stands_in_the_way(&work, &denied(), names_the_permission);
}

#[test]
fn a_missing_permission_for_an_update_is_named_and_granting_it_is_enough() {
    let work = Work::update(ProfileName::Poc2k, changed);
    stands_in_the_way(&work, &denied(), names_the_permission);
}

#[test]
fn a_missing_permission_for_a_destroy_is_named_and_granting_it_is_enough() {
    let work = Work::destroy(ProfileName::Poc2k);
    stands_in_the_way(&work, &denied(), names_the_permission);
}

#[test]
fn a_missing_permission_that_only_a_large_site_with_a_vault_needs_is_named_too() {
    let large = runtime().block_on(async { Stage::with_a_vault(ProfileName::Ha10k).site });
    let work = Work::first(large);
    let (wanted, mut calls) = quiet(&work);
    for profile in PROFILES {
        let (_, met) = quiet(&Work::first(site(profile)));
        calls.retain(|call| !is_read(call) && !met.contains(call));
    }
    at_each(&work, calls, &wanted, &denied(), names_the_permission);
}

#[test]
fn a_validation_refusal_is_handed_on_in_awss_words() {
    let refusal = Refusal::bad("ValidationError", "1 validation error detected");
    for work in [
        Work::first(site(ProfileName::Poc2k)),
        Work::update(ProfileName::Poc2k, grown),
    ] {
        stands_in_the_way(&work, &refusal, |call, fault| {
            matches!(fault, Fault::Rejected { .. })
                && fault.to_string().contains("1 validation error")
                && same_call(call, fault)
        });
    }
}

#[test]
fn a_quota_is_named() {
    let refusal = Refusal::bad(
        "AddressLimitExceeded",
        "The maximum number of addresses has been reached.",
    );
    let work = Work::first(site(ProfileName::Poc2k));
    stands_in_the_way(&work, &refusal, |call, fault| {
        fault.help().contains("L-0263D0A3") && same_call(call, fault)
    });
}

#[test]
fn a_quota_that_a_larger_site_meets_is_named() {
    let work = Work::update(ProfileName::Poc2k, grown);
    let (wanted, made) = quiet(&work);
    for (call, code, listed) in [
        ("ec2:ModifyVolume", "VolumeLimitExceeded", "L-7A658B76"),
        ("ec2:StartInstances", "VcpuLimitExceeded", "L-1216C47A"),
        ("rds:ModifyDBInstance", "StorageQuotaExceeded", "L-7ADDB58A"),
    ] {
        assert!(made.contains(call), "{call} is not made");
        let calls = BTreeSet::from([call.to_owned()]);
        let refusal = Refusal::bad(code, "The limit has been reached.");
        at_each(&work, calls, &wanted, &refusal, |call, fault| {
            matches!(fault, Fault::Quota { .. })
                && fault.help().contains(listed)
                && same_call(call, fault)
        });
    }
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
    let (wanted, _) = quiet(&Work::first(site(ProfileName::Ha3k)));
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
    let work = Work::first(site(ProfileName::Poc2k));
    let (wanted, _) = quiet(&work);
    for (call, status, code) in [
        ("ec2:RunInstances", 500, "InsufficientInstanceCapacity"),
        (
            "rds:CreateDBInstance",
            400,
            "InsufficientDBInstanceCapacity",
        ),
        (
            "elasticache:CreateReplicationGroup",
            400,
            "InsufficientCacheClusterCapacity",
        ),
    ] {
        runtime().block_on(full_then_free(
            &work,
            call,
            Refusal::new(status, code, "We currently do not have capacity."),
            &wanted,
        ));
    }
}

/// AWS has no room at this call; then it has.
async fn full_then_free(work: &Work, call: &'static str, full: Refusal, wanted: &[String]) {
    let stage = work.stage();
    stage.sandbox.faults(|f| {
        f.set(move |name, _| {
            if name == call {
                Fate::Refuse(full.clone())
            } else {
                Fate::Pass
            }
        });
    });
    let report = work.run(&stage).await.unwrap();
    let faults: Vec<_> = report.failures().collect();
    let told = |fault: &Fault| matches!(fault, Fault::Capacity { .. }) && same_call(call, fault);
    assert!(
        !faults.is_empty() && faults.iter().all(|(_, fault)| told(fault)),
        "{call}: {faults:?}"
    );
    let log = stage.sandbox.log();
    let tries = log.iter().filter(|l| l.call == call).count();
    assert!(
        tries > faults.len(),
        "{call} is tried more than once each: {tries}"
    );
    stage.sandbox.faults(gantry::sandbox::Faults::clear);
    stage.install().await;
    stage.settle().await;
    let diff = difference(wanted, &picture(&stage.sandbox.world()));
    assert_eq!(diff, Vec::<String>::new(), "{call}: another world");
}

#[test]
fn a_read_that_is_denied_stops_before_anything_is_made() {
    let (_, calls) = quiet(&Work::first(site(ProfileName::Poc2k)));
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
    let (wanted, _) = quiet(&Work::first(site(ProfileName::Poc2k)));
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
