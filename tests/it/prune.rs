//! Pruning in the strict cloud: what goes, what stays for others, and death at every point.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex};

use gantry::engine::{Report, Stop};
use gantry::ops::point::{
    Condition, Manifest, Mark, Outcome, PartName, Pin, PointId, Purpose, Way, manifest_key,
};
use gantry::ops::prune::{self, PrunePlan};
use gantry::ops::retention::{Fate as Verdict, Policy};
use gantry::ops::{Entry, MemoryLedger, OpsFault, runbook};
use gantry::sandbox::world::World;
use gantry::sandbox::{Fate, Moment, Refusal};
use gantry::session::{Collected, silent};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::support::Place;
use crate::support::shelf::{
    AWAY, BACKUPS, GITALY, HOME, Shelf, TODAY, chain, id, manifest, part, signer,
};

/// The points of [`stocked`], in the order they were taken.
const OLD_BASE: &str = "20261101T023000Z-000001";
const OLD_STEP: &str = "20261102T023000Z-000002";
const BROKEN: &str = "20261103T023000Z-000003";
const OF_A_BOX: &str = "20261105T023000Z-000008";
const BASE: &str = "20261120T023000Z-000004";
const FIRST_SNAPSHOT: &str = "20261120T040000Z-000005";
const STEP: &str = "20261125T023000Z-000006";
const SNAPSHOT: &str = "20261125T040000Z-000007";

const GOES: [&str; 5] = [OLD_BASE, OLD_STEP, BROKEN, OF_A_BOX, FIRST_SNAPSHOT];

/// One full point and one snapshot.
fn policy() -> Policy {
    Policy {
        counts: [0, 1, 0, 0, 0],
        within: None,
        immutable_days: None,
        zone: TimeZone::UTC,
    }
}

fn moment(of: &str) -> Timestamp {
    let parsed = jiff::fmt::strtime::parse("%Y%m%dT%H%M%SZ", &of[..16]).unwrap();
    let utc = parsed.to_datetime().unwrap();
    TimeZone::UTC.to_timestamp(utc).unwrap()
}

/// What each list of Gitaly's objects names, by its key in the backup bucket.
type Lists = BTreeMap<String, Vec<String>>;

/// Two chains, a failed attempt, an archive, and two snapshots that share the database's.
async fn stocked() -> (Shelf, Lists) {
    let shelf = Shelf::new().await;
    let mut lists = Lists::new();
    // `common` was taken over by the second chain; `+latest.toml` is overwritten each time.
    let newest = "manifests/default/r.git/+latest.toml";
    let steps: [(&str, &str, Option<&str>, &[&str]); 4] = [
        (OLD_BASE, OLD_BASE, None, &["old/001", "common", newest]),
        (
            OLD_STEP,
            OLD_BASE,
            Some(OLD_BASE),
            &["old/001", "old/002", "common"],
        ),
        (BASE, BASE, None, &["new/001", "common"]),
        (
            STEP,
            BASE,
            Some(BASE),
            &["new/001", "new/002", "common", newest],
        ),
    ];
    for (point, first, previous, keys) in steps {
        let (point, previous) = (id(point), previous.map(id));
        let place = chain(&id(first), previous.as_ref());
        let mut whole = manifest(&point, Purpose::Full, moment(point.as_str()));
        whole.parts = vec![
            part(
                PartName::Database,
                shelf.database(&format!("full-{}", point.stamp())),
            ),
            part(PartName::Repositories, shelf.git(&point, place, keys).await),
            part(PartName::Objects("lfs".into()), shelf.objects(&point).await),
            part(PartName::Secrets, shelf.sealed(&point).await),
        ];
        let list = format!("points/{point}/parts/repositories.jsonl.gz");
        lists.insert(list, keys.iter().map(|key| (*key).to_owned()).collect());
        shelf.write(&whole).await;
    }
    let point = id(BROKEN);
    let mut broken = manifest(&point, Purpose::Full, moment(BROKEN));
    broken.whole = false;
    let from = PartName::Database;
    let mut failed = part(PartName::Secrets, Way::Rebuilt { from });
    failed.outcome = Outcome::Failed {
        why: "the key is disabled".into(),
    };
    broken.parts = vec![part(PartName::Database, shelf.database("broken")), failed];
    // What the failed part left below the point's name.
    let left = format!("points/{point}/parts/left-behind");
    shelf.put(BACKUPS, &left, b"half").await;
    shelf.write(&broken).await;
    let point = id(OF_A_BOX);
    let mut of_a_box = manifest(&point, Purpose::Full, moment(OF_A_BOX));
    of_a_box.profile = "single-box".into();
    let archive = shelf.archive("1793845800_2026_11_05_19.5.3-ee").await;
    of_a_box.parts = vec![
        part(PartName::Repositories, archive),
        part(PartName::Objects("lfs".into()), shelf.objects(&point).await),
        part(PartName::Secrets, shelf.sealed(&point).await),
    ];
    shelf.write(&of_a_box).await;
    for (point, disk) in [(FIRST_SNAPSHOT, "snap-1"), (SNAPSHOT, "snap-2")] {
        let mut snapshot = manifest(&id(point), Purpose::Snapshot, moment(point));
        snapshot.parts = vec![
            part(PartName::Database, shelf.database("shared")),
            part(PartName::Volumes, shelf.disk(disk)),
        ];
        shelf.write(&snapshot).await;
    }
    (shelf, lists)
}

async fn plan(shelf: &Shelf) -> PrunePlan {
    let listed = shelf.points.list().await.unwrap();
    prune::plan(&policy(), TODAY, listed, BACKUPS)
}

async fn carry_out(
    shelf: &Shelf,
    plan: &PrunePlan,
    ledger: MemoryLedger,
) -> Result<Report<OpsFault>, OpsFault> {
    let clock = shelf.sandbox.clock();
    let book = prune::runbook(plan, &shelf.pruning());
    let (stop, silent) = (Stop::default(), silent());
    runbook::carry_out(
        book,
        "20261126T000000Z-00000a",
        Arc::new(ledger),
        &stop,
        clock,
        &silent,
    )
    .await
}

/// Plans and carries out; everything must work.
async fn prune_all(shelf: &Shelf) -> Result<PrunePlan, String> {
    let plan = plan(shelf).await;
    let report = carry_out(shelf, &plan, MemoryLedger::default())
        .await
        .map_err(|fault| fault.to_string())?;
    let failures: Vec<String> = report
        .failures()
        .map(|(name, fault)| format!("{name}: {fault}"))
        .collect();
    if report.complete() {
        Ok(plan)
    } else {
        Err(failures.join("; "))
    }
}

fn ids(plan: &PrunePlan) -> Vec<&str> {
    plan.drops.iter().map(|drop| drop.id.as_str()).collect()
}

/// Everything that a shelf must hold when only these points are left.
async fn wanted(shelf: &Shelf, lists: &Lists) -> BTreeSet<String> {
    let mut wanted = BTreeSet::new();
    for listed in shelf.points.list().await.unwrap() {
        if GOES.contains(&listed.id.as_str()) {
            continue;
        }
        let manifest = listed.manifest().unwrap();
        wanted.extend(Shelf::named(manifest, lists));
        wanted.insert(format!("s3://{BACKUPS}/{}", manifest_key(&listed.id)));
    }
    wanted
}

#[tokio::test(start_paused = true)]
async fn what_nothing_keeps_goes_with_all_that_is_its_own() {
    let (shelf, lists) = stocked().await;
    let wanted = wanted(&shelf, &lists).await;
    let plan = plan(&shelf).await;
    assert_eq!(ids(&plan), GOES);
    let told: Vec<String> = plan
        .points
        .iter()
        .map(|point| format!("{} {}", point.listed.id, point.verdict.why()))
        .collect();
    assert_eq!(
        told,
        [
            format!("{OLD_BASE} no rule keeps it"),
            format!("{OLD_STEP} no rule keeps it"),
            format!("{BROKEN} incomplete: never counts, and older than 7 days"),
            format!("{OF_A_BOX} no rule keeps it"),
            format!("{BASE} base of the chain of {STEP}"),
            format!("{FIRST_SNAPSHOT} no rule keeps it"),
            format!("{STEP} newest of all; the newest of 2026-11-25 (daily)"),
            format!("{SNAPSHOT} newest of all; the newest of 2026-11-25 (daily)"),
        ]
    );
    let shared: Vec<String> = plan
        .drops
        .iter()
        .flat_map(|drop| &drop.shared)
        .map(|(thing, with)| format!("{thing} for {with}"))
        .collect();
    assert_eq!(
        shared,
        [HOME, AWAY].map(|region| format!("database snapshot shared in {region} for {SNAPSHOT}"))
    );
    assert_eq!(plan.regions(), BTreeSet::from([HOME, AWAY]));
    // Looking changes nothing, and finds the same again.
    assert_eq!(self::plan(&shelf).await, plan);

    prune_all(&shelf).await.unwrap();
    assert_eq!(shelf.there(), wanted);
    let left = shelf.points.list().await.unwrap();
    assert!(
        left.iter()
            .all(|point| point.condition() == Condition::Whole)
    );
    // Once more: nothing.
    assert!(self::plan(&shelf).await.drops.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_pinned_end_keeps_its_chain() {
    let (shelf, _) = stocked().await;
    let pin = Mark::Pinned(Pin {
        at: TODAY,
        by: "ann".into(),
        why: "audit".into(),
    });
    shelf
        .points
        .mark(&shelf.signer, &id(OLD_STEP), &pin)
        .await
        .unwrap();
    let plan = prune_all(&shelf).await.unwrap();
    assert_eq!(ids(&plan), [BROKEN, OF_A_BOX, FIRST_SNAPSHOT]);
    let there = shelf.there();
    for key in ["old/001", "old/002"] {
        assert!(there.contains(&format!("s3://{GITALY}/{key}")), "{key}");
    }
}

/// A point whose manifest is not believed is no witness against others, and loses nothing itself.
#[tokio::test(start_paused = true)]
async fn what_an_untrusted_point_claims_is_left_alone() {
    let (shelf, lists) = stocked().await;
    let key = manifest_key(&id(OLD_STEP));
    let text = String::from_utf8(shelf.get(BACKUPS, &key).await).unwrap();
    let claims: Manifest = {
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        serde_json::from_value(value["manifest"].clone()).unwrap()
    };
    shelf
        .put(BACKUPS, &key, text.replace("19.5.3", "19.5.4").as_bytes())
        .await;
    let plan = prune_all(&shelf).await.unwrap();
    // It needs the base of its chain, or says so.
    assert_eq!(ids(&plan), [BROKEN, OF_A_BOX, FIRST_SNAPSHOT]);
    let there = shelf.there();
    let lost: Vec<String> = Shelf::named(&claims, &lists)
        .difference(&there)
        .cloned()
        .collect();
    assert!(lost.is_empty(), "{lost:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_list_that_cannot_be_read_stops_the_removal_of_git_data() {
    let (shelf, _) = stocked().await;
    let list = format!("points/{STEP}/parts/repositories.jsonl.gz");
    let content = shelf.get(BACKUPS, &list).await;
    shelf.put(BACKUPS, &list, b"other").await;
    let before: BTreeSet<String> = git(&shelf);
    let fault = prune_all(&shelf).await.unwrap_err();
    assert!(
        fault.contains(&list) && fault.contains("its SHA-256 is"),
        "{fault}"
    );
    assert_eq!(git(&shelf), before);
    // The points without Git data are gone; those with some are marked, and go when the list is back.
    let listed = shelf.points.list().await.unwrap();
    let conditions: Vec<(&str, Condition)> = listed
        .iter()
        .map(|point| (point.id.as_str(), point.condition()))
        .collect();
    use Condition::{Dropping, Whole};
    assert_eq!(
        conditions,
        [
            (OLD_BASE, Dropping),
            (OLD_STEP, Dropping),
            (BASE, Whole),
            (STEP, Whole),
            (SNAPSHOT, Whole)
        ]
    );
    shelf.put(BACKUPS, &list, &content).await;
    assert_eq!(ids(&prune_all(&shelf).await.unwrap()), [OLD_BASE, OLD_STEP]);
    let left: Vec<String> = git(&shelf).into_iter().collect();
    let expected = [
        "common",
        "manifests/default/r.git/+latest.toml",
        "new/001",
        "new/002",
    ];
    assert_eq!(left, expected.map(|key| format!("s3://{GITALY}/{key}")));
}

fn git(shelf: &Shelf) -> BTreeSet<String> {
    let mut there = shelf.there();
    there.retain(|name| name.starts_with(&format!("s3://{GITALY}/")));
    there
}

#[tokio::test(start_paused = true)]
async fn the_role_that_writes_cannot_delete_and_that_is_said() {
    let (shelf, lists) = stocked().await;
    shelf.sandbox.faults(|faults| {
        faults.set(|call, _| {
            if call.starts_with("s3:Delete") || call.contains("DeleteSnapshot") {
                Fate::Refuse(Refusal::new(403, "AccessDenied", "Access Denied"))
            } else {
                Fate::Pass
            }
        });
    });
    let plan = plan(&shelf).await;
    let report = carry_out(&shelf, &plan, MemoryLedger::default())
        .await
        .unwrap();
    let faults: Vec<&OpsFault> = report.failures().map(|(_, fault)| fault).collect();
    assert!(!faults.is_empty());
    for fault in faults {
        let said = fault.to_string();
        assert!(said.contains("cannot delete them, on purpose"), "{said}");
        assert!(fault.help().contains("administrator"), "{}", fault.help());
    }
    shelf.sandbox.faults(gantry::sandbox::Faults::clear);
    // Nothing pretends to be whole, and an administrator finishes it.
    for listed in shelf.points.list().await.unwrap() {
        let goes = GOES.contains(&listed.id.as_str());
        assert_eq!(listed.condition() == Condition::Dropping, goes);
    }
    prune_all(&shelf).await.unwrap();
    assert_eq!(shelf.there(), wanted(&shelf, &lists).await);
}

#[tokio::test(start_paused = true)]
async fn what_another_hand_removed_is_no_obstacle() {
    let (shelf, lists) = stocked().await;
    shelf.sandbox.change(|world| {
        world.remove(HOME, "ec2/snapshot", "snap-1");
        world.remove(AWAY, "rds/snapshot", "broken");
    });
    let wanted = wanted(&shelf, &lists).await;
    prune_all(&shelf).await.unwrap();
    assert_eq!(shelf.there(), wanted);
}

#[tokio::test(start_paused = true)]
async fn lost_answers_change_nothing() {
    let (shelf, lists) = stocked().await;
    let wanted = wanted(&shelf, &lists).await;
    let mut number = 0;
    shelf.sandbox.faults(|faults| {
        faults.set(move |_, _| {
            number += 1;
            // Every third call, before or after it was carried out.
            match number % 6 {
                0 => Fate::LostAfter,
                3 => Fate::LostBefore,
                _ => Fate::Pass,
            }
        });
    });
    prune_all(&shelf).await.unwrap();
    shelf.sandbox.faults(gantry::sandbox::Faults::clear);
    assert_eq!(shelf.there(), wanted);
}

/// What a killed process leaves behind.
struct Remains {
    what: String,
    world: World,
    entries: Vec<Entry>,
    now: Timestamp,
}

/// What was kept, and what of it is known already.
type Kept = Arc<Mutex<(Vec<Remains>, HashSet<(u64, usize)>)>>;

/// Watches a prune, and keeps what would be left at each of its moments.
async fn watched(shelf: &Shelf, plan: &PrunePlan) -> Vec<Remains> {
    let kept = Kept::default();
    let ledger = MemoryLedger::default();
    let keeper = || {
        let (kept, sandbox, ledger) = (kept.clone(), shelf.sandbox.clone(), ledger.clone());
        move |what: String| {
            let (world, entries) = (sandbox.world(), ledger.entries());
            let mut hash = std::hash::DefaultHasher::new();
            serde_json::to_vec(&world).unwrap().hash(&mut hash);
            let mut kept = kept.lock().unwrap();
            if kept.1.insert((hash.finish(), entries.len())) {
                let now = sandbox.clock().now();
                kept.0.push(Remains {
                    what,
                    world,
                    entries,
                    now,
                });
            }
        }
    };
    let keep = keeper();
    shelf.sandbox.faults(|faults| {
        faults.watch(move |moment, call| match moment {
            Moment::Before => keep(format!("before {call}")),
            Moment::After => keep(format!("after {call}, the answer lost")),
        });
    });
    let keep = keeper();
    let gated = ledger.clone().gated(Arc::new(move |_, entry| {
        keep(format!("before the entry {entry:?}"));
        true
    }));
    let report = carry_out(shelf, plan, gated).await.unwrap();
    assert!(report.complete());
    shelf.sandbox.faults(gantry::sandbox::Faults::clear);
    std::mem::take(&mut kept.lock().unwrap().0)
}

/// No point lies about itself: what can be restored is all there.
async fn honest(shelf: &Shelf, lists: &Lists) -> Result<(), String> {
    let there = shelf.there();
    let listed = shelf.points.list().await.map_err(|f| f.to_string())?;
    for point in &listed {
        if let Ok(manifest) = point.restorable() {
            let named = Shelf::named(manifest, lists);
            let lost: Vec<&String> = named.difference(&there).collect();
            if !lost.is_empty() {
                return Err(format!("{} is whole without {lost:?}", point.id));
            }
        }
    }
    for stays in [BASE, STEP, SNAPSHOT] {
        if !listed
            .iter()
            .any(|p| p.id.as_str() == stays && p.restorable().is_ok())
        {
            return Err(format!("{stays} is lost"));
        }
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_prune_survives_death_anywhere() {
    let (shelf, lists) = stocked().await;
    let wanted = wanted(&shelf, &lists).await;
    let plan = plan(&shelf).await;
    let remains = watched(&shelf, &plan).await;
    // Moments that leave the same world and the same ledger behind are one.
    assert!(remains.len() > 40, "only {} moments", remains.len());
    assert_eq!(shelf.there(), wanted);
    let mut failures = Vec::new();
    for left in remains {
        // By a run that knows nothing of the one that died, and by one that takes its ledger up.
        for takes_up in [false, true] {
            let shelf = Shelf::of(left.world.clone(), left.now);
            let result = async {
                honest(&shelf, &lists).await?;
                if takes_up {
                    let ledger = MemoryLedger::with(&left.entries);
                    let report = carry_out(&shelf, &plan, ledger)
                        .await
                        .map_err(|fault| fault.to_string())?;
                    let faults: Vec<String> =
                        report.failures().map(|(_, f)| f.to_string()).collect();
                    if !report.complete() {
                        return Err(faults.join("; "));
                    }
                } else {
                    prune_all(&shelf).await?;
                }
                honest(&shelf, &lists).await?;
                let there = shelf.there();
                let more: Vec<_> = there.difference(&wanted).collect();
                let less: Vec<_> = wanted.difference(&there).collect();
                if more.is_empty() && less.is_empty() {
                    Ok(())
                } else {
                    Err(format!("left over: {more:?}; lost: {less:?}"))
                }
            };
            if let Err(why) = result.await {
                failures.push(format!("killed {} ({takes_up}): {why}", left.what));
            }
        }
    }
    assert!(
        failures.is_empty(),
        "{} deaths go wrong:\n{}",
        failures.len(),
        failures[..failures.len().min(3)].join("\n")
    );
}

#[tokio::test(start_paused = true)]
async fn an_interrupted_prune_says_what_it_did() {
    let (shelf, _) = stocked().await;
    let plan = plan(&shelf).await;
    let events = Collected::default();
    let stop = Stop::default();
    let pressed = stop.clone();
    let told = events.observer();
    let observe: gantry::engine::Observer = Arc::new(move |event| {
        told(event);
        if let gantry::engine::Event::Finished { name, .. } = event
            && name == "mark"
        {
            pressed.press();
        }
    });
    let report = runbook::carry_out(
        prune::runbook(&plan, &shelf.pruning()),
        "20261126T000000Z-00000a",
        Arc::new(MemoryLedger::default()),
        &stop,
        shelf.sandbox.clock(),
        &observe,
    )
    .await
    .unwrap();
    assert!(report.interrupted());
    // Marked, and nothing removed: it cannot be taken back, but it does not lie.
    let again = self::plan(&shelf).await;
    assert_eq!(ids(&again), GOES);
    assert!(again.drops.iter().all(|drop| drop.marked));
    for point in &again.points {
        let goes = point.verdict.fate == Verdict::Drop;
        assert_eq!(goes, point.listed.condition() == Condition::Dropping);
    }
}

/// The same through the command line, on a site that was installed.
#[test]
fn the_verbs_of_the_command_line() {
    let place = Place::new();
    place.poc();
    let (kept, old) = stock_the_sandbox(&place);
    let listed = place.ok("backup list");
    assert!(listed.out.contains(kept.as_str()), "{}", listed.out);
    let goes = |said: &str, id: &PointId| {
        let line = said.lines().find(|line| line.contains(id.as_str()));
        line.unwrap().contains("goes: no rule keeps it")
    };
    assert!(goes(&listed.out, &old), "{}", listed.out);
    let shown = place.ok(&format!("backup show {kept}"));
    for part in ["19.5.3-ee", "ed25519:", "secrets", "sealed"] {
        assert!(shown.out.contains(part), "{part}: {}", shown.out);
    }

    place.ok(&format!("backup pin {old} --why audit"));
    let dry = place.run("backup prune --dry-run");
    assert_eq!(dry.code, 0, "{}\n{}", dry.out, dry.err);
    assert!(dry.out.contains("pinned by tester: audit"), "{}", dry.out);
    place.ok(&format!("backup unpin {old}"));
    let dry = place.run("backup prune --dry-run --output json");
    assert_eq!(dry.code, 3, "{}", dry.err);
    assert_eq!(dry.json()["drops"][0]["id"], old.as_str());

    let asked = place.run("backup prune");
    assert_eq!(asked.code, 2, "{}", asked.err);
    assert!(asked.err.contains("--yes"), "{}", asked.err);
    let pruned = place.ok("backup prune --yes --output json");
    assert_eq!(pruned.json()["complete"], true);
    let listed = place.ok("backup list --output json").json();
    assert_eq!(listed["points"].as_array().unwrap().len(), 1);
    assert_eq!(listed["points"][0]["id"], kept.as_str());
    let again = place.ok("backup prune --yes");
    assert!(again.out.contains("Nothing to drop."), "{}", again.out);

    // With another key, nothing is believed, and nothing goes.
    let other = signer('b').trusted();
    let doubted = place.ok(&format!("backup list --trust {other}"));
    assert!(doubted.out.contains("not trusted"), "{}", doubted.out);
    assert!(
        doubted.err.contains("signed with the key"),
        "{}",
        doubted.err
    );
    let missing = place.run("backup show 20200101T000000Z-aaaaaa");
    assert_eq!(missing.code, 2, "{}", missing.err);
    let story = place.ok("runs list");
    for verb in ["backup pin", "backup unpin", "backup prune"] {
        assert!(story.out.contains(verb), "{}", story.out);
    }
}

/// Puts two points of one hour into the backup bucket of the site that lies in this folder: the newer stays, the older
/// goes.
fn stock_the_sandbox(place: &Place) -> (PointId, PointId) {
    use gantry::cloud::{Aws, Fault, sort};
    use gantry::names::Names;
    use gantry::ops::point::{Points, SIGNING_KEY, Sealed, Signer};
    use gantry::resource::{CloudCx, Scope, Tags};
    use gantry::sandbox::{ACCOUNT, Folder, Sandbox};
    use gantry::secret::Secret;

    let folder = Folder::new(place.file(".gantry/sandbox/world"));
    let sandbox = Sandbox::open(folder, 100_000).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let text = std::fs::read_to_string(place.file("gantry.toml")).unwrap();
    let site: toml::Value = toml::from_str(&text).unwrap();
    let name = site["site"]["name"].as_str().unwrap();
    let names = Names::new(
        name.parse().unwrap(),
        ACCOUNT.parse().unwrap(),
        HOME.parse().unwrap(),
    );
    let aws = Aws::new(&sandbox.config(HOME));
    let scope = Scope {
        site: name.into(),
        account: ACCOUNT.into(),
        region: HOME.into(),
        tags: Tags::new(),
    };
    let now = sandbox.clock().now();
    let cx = CloudCx::new(
        aws,
        scope,
        sandbox.clock(),
        gantry::cloud::Limits::default(),
        None,
        BTreeMap::default(),
    );
    runtime.block_on(async {
        let entry = names.secret(SIGNING_KEY);
        let create = cx.aws().secrets.create_secret().name(&entry);
        let made = create.secret_string("a".repeat(64)).send().await;
        let made = made.map_err(|error| sort("secretsmanager:CreateSecret", error));
        // The site may have one of its own.
        assert!(
            matches!(made, Ok(_) | Err(Fault::Exists { .. })),
            "{made:?}"
        );
        let value = cx.aws().secrets.get_secret_value().secret_id(&entry);
        let seed = value.send().await.unwrap().secret_string.unwrap();
        let signer = Signer::new(&Secret::new(seed)).unwrap();
        let bucket = names.bucket("backups");
        let points = Points::new(cx.clone(), &bucket, signer.trusted());
        let mut taken = Vec::new();
        let hour = Timestamp::from_second(now.as_second() / 3600 * 3600 - 3600).unwrap();
        for (minutes, suffix) in [(20, "000001"), (10, "000002")] {
            let began = hour + SignedDuration::from_mins(minutes);
            let point = id(&format!("{}-{suffix}", began.strftime("%Y%m%dT%H%M%SZ")));
            let mut whole = manifest(&point, Purpose::Full, began);
            whole.parts = vec![part(
                PartName::Secrets,
                Way::Sealed(Sealed {
                    bucket: bucket.clone(),
                    key: format!("points/{point}/secrets"),
                    kms: "arn:aws:kms:eu-west-1:123456789012:key/1".into(),
                    sha256: "0".repeat(64),
                    fits: "0".repeat(64),
                }),
            )];
            points.write(&signer, &whole).await.unwrap();
            taken.push(point);
        }
        let [kept, old] = <[PointId; 2]>::try_from(taken).unwrap();
        (kept, old)
    })
}
