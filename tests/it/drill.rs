//! Drills in the strict cloud with played nodes: sound ones, ones that find something, and ones that cannot be carried
//! out. The second site is gone afterwards, and of the first nothing has changed but the mark on the point.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use gantry::clock::Clock;
use gantry::cloud::{Aws, Limits};
use gantry::engine::{Halt, Stop};
use gantry::journal::{MemoryStore, Record};
use gantry::ops::drill::{
    Afterwards, Ask, Came, Drill, Proof, Recorded, Settled, Surroundings, clean, go, settle,
    site_of,
};
use gantry::ops::point::{Drilled, Health, Manifest, PointId};
use gantry::ops::runbook::StageCx;
use gantry::ops::{Hosts, Ledger, MemoryLedger, OpsFault};
use gantry::profile::ProfileName;
use gantry::sandbox::machines::{Disks, Machines, installed};
use gantry::sandbox::world::World;
use gantry::sandbox::{Fate, Refusal, Sandbox};
use gantry::session::{InstallOptions, Session, silent};
use gantry::site::Site;
use tokio::sync::OnceCell;

use crate::restore::{Seen, fill};
use crate::support::stage::{BEGINNING, Stage, account, everything, site};
use crate::support::{difference, picture};
use crate::taking::{FIRST, Place, resigned};

pub const RUN: &str = "20260923T130000Z-00000a";

/// What surrounds a drill where no machine boots.
struct Around {
    session: Arc<Session>,
    sandbox: Sandbox,
    machines: OnceCell<Machines>,
    /// Pressed when the machines come up.
    press: Option<Stop>,
}

impl Surroundings for Around {
    fn bring_up<'a>(&'a self, _: &'a StageCx) -> BoxFuture<'a, Result<(), Halt<OpsFault>>> {
        Box::pin(async move {
            if let Some(stop) = &self.press {
                stop.press();
                return Err(Halt::Interrupted);
            }
            let reading = self.session.read(&InstallOptions::default()).await?;
            let fleet = self.session.fleet(&reading)?;
            self.session.deliver(&self.session.pack(&fleet)?).await?;
            Ok(())
        })
    }

    fn hosts(&self) -> BoxFuture<'_, Result<Arc<dyn Hosts>, OpsFault>> {
        Box::pin(async move {
            let machines = self.machines.get_or_init(|| async {
                let machines = Machines::open(
                    self.session.known_fleet().unwrap(),
                    installed(&self.session.site),
                    self.session.cx.aws().clone(),
                    self.sandbox.clock(),
                    Disks::Strict(self.sandbox.clone()),
                    None,
                );
                let machines = machines.await.unwrap();
                machines.first_life().await.unwrap();
                machines
            });
            let hosts: Arc<dyn Hosts> = Arc::new(machines.await.hosts());
            Ok(hosts)
        })
    }
}

/// A site with a point, and the site of its drill.
pub struct Ground {
    pub place: Place,
    pub session: Arc<Session>,
    pub store: Arc<MemoryStore>,
}

/// Room for two sites.
pub fn wide() -> World {
    let mut world = account();
    for quota in ["addresses", "vpcs"] {
        world.quotas.insert(quota.into(), 40);
    }
    world
}

pub async fn session_of(sandbox: &Sandbox, wanted: Site, store: Arc<MemoryStore>) -> Arc<Session> {
    let aws = Aws::new(&sandbox.config(wanted.site.region.as_ref()));
    let sizes = gantry::profile::get(wanted.site.profile).with_overrides(&wanted);
    let (limits, clock, listens) = (Limits::default(), sandbox.clock(), silent());
    let opening = Session::open(wanted, sizes.unwrap(), aws, clock, limits, store, &listens);
    Arc::new(opening.await.unwrap())
}

impl Ground {
    /// A site with people's work on it and a point of that.
    pub async fn new(profile: ProfileName) -> Self {
        let stage = Stage::with(site(profile), wide(), &[], BEGINNING);
        stage.install().await;
        let place = Place::on(stage, None, Some(3)).await;
        fill(&place).await;
        let taken = place.create(FIRST).await;
        let closed = taken.closed.unwrap();
        assert!(closed.manifest.whole, "{:?}", closed.troubles);
        Self::on(place, &[]).await
    }

    /// `records` are what the journal of the drill's site remembers.
    pub async fn on(place: Place, records: &[Record]) -> Self {
        let store = Arc::new(MemoryStore::with(records).unwrap());
        let wanted = site_of(&place.stage.site, None).unwrap();
        let session = session_of(&place.stage.sandbox, wanted, store.clone()).await;
        Self {
            place,
            session,
            store,
        }
    }

    async fn drill(&self, afterwards: Afterwards, press: Option<Stop>) -> Arc<Drill> {
        let taking = &self.place.taking;
        let id: PointId = FIRST.parse().unwrap();
        let listed = taking.points.read(&id).await.unwrap();
        let names = &taking.ground.names;
        let entry = names.secret(gantry::ops::point::SIGNING_KEY);
        let signer = gantry::ops::point::Signer::of_site(&taking.ground.cx, &entry);
        Arc::new(Drill {
            ask: Ask {
                point: id,
                afterwards,
            },
            manifest: listed.restorable().unwrap().clone(),
            session: self.session.clone(),
            points: taking.points.clone(),
            signer: signer.await.unwrap(),
            around: Arc::new(Around {
                session: self.session.clone(),
                sandbox: self.place.stage.sandbox.clone(),
                machines: OnceCell::new(),
                press,
            }),
            journals: PathBuf::from("/nonexistent/journals"),
            observe: silent(),
        })
    }

    /// Drills the point, as the command does after its question.
    pub async fn go(&self, run: &str, ledger: Arc<dyn Ledger>) -> Result<Came, OpsFault> {
        let drill = self.drill(Afterwards::Remove, None).await;
        let clock = self.place.stage.sandbox.clock();
        go(&drill, run, ledger, &Stop::default(), clock).await
    }

    pub async fn settle(&self, earlier: Arc<dyn Ledger>) -> Result<Settled, OpsFault> {
        let clock = self.place.stage.sandbox.clock();
        let (session, stop) = (&self.session, Stop::default());
        settle(session, earlier, &stop, clock, &silent()).await
    }

    /// What the last drill wrote on the point.
    pub async fn mark(&self) -> Option<Drilled> {
        let id = FIRST.parse().unwrap();
        let listed = self.place.taking.points.read(&id).await.unwrap();
        assert_eq!(listed.doubts, Vec::<String>::new());
        listed.marks.drilled
    }

    pub fn world(&self) -> World {
        self.place.stage.sandbox.world()
    }

    /// That nothing is left of the drill, and that the world of `before` is there with nothing but marks beside it.
    pub async fn is_as_before(&self, before: &World) -> Result<(), String> {
        let plan = self.session.plan_destroy(&everything()).await;
        let plan = plan.map_err(|e| e.to_string())?;
        if !plan.is_empty() {
            return Err(format!("left: {:?}", plan.delete));
        }
        let (was, is) = (settled(before).await, settled(&self.world()).await);
        let new: BTreeSet<_> = objects(&is).difference(&objects(&was)).cloned().collect();
        let marks = format!("points/{FIRST}/marks/drilled-");
        if let Some(other) = new.iter().find(|key| !key.contains(&marks)) {
            return Err(format!("{other} is new"));
        }
        let differs = difference(&picture(&was), &picture(&is));
        let other: Vec<_> = differs
            .iter()
            .filter(|line| !(line.starts_with("only after: ") && line.contains("s3/object")))
            .collect();
        if !other.is_empty() || differs.len() != new.len() {
            return Err(format!("{differs:#?}"));
        }
        Ok(())
    }
}

/// The world after forty days: what AWS keeps for a month is gone by then.
async fn settled(world: &World) -> World {
    let sandbox = Sandbox::in_memory(world.clone(), Clock::played(BEGINNING, 1));
    sandbox.clock().sleep(Duration::from_hours(24 * 45)).await;
    sandbox.world()
}

/// Every version of every object.
fn objects(world: &World) -> BTreeSet<String> {
    let tables = world
        .tables
        .iter()
        .filter(|(t, _)| t.ends_with("s3/object"));
    tables.flat_map(|(_, rows)| rows.keys().cloned()).collect()
}

fn failures(came: &Came) -> Vec<String> {
    let failures = came.carried.failures();
    failures
        .map(|(stage, fault)| format!("{stage}: {fault}"))
        .collect()
}

async fn is_sound(profile: ProfileName) {
    let ground = Ground::new(profile).await;
    let before = ground.world();
    let seen = Seen::of(&ground.place).await;
    let ledger = Arc::new(MemoryLedger::default());
    let came = ground.go(RUN, ledger.clone()).await.unwrap();
    assert!(came.carried.complete(), "{:#?}", failures(&came));
    assert_eq!(ledger.story().ended.as_deref(), Some("done"));
    let proof = came.proof.unwrap();
    assert!(proof.sound && proof.findings.is_empty(), "{proof:#?}");
    assert_eq!(came.recorded, Some(Recorded::OnThePoint));
    let report = proof.restore.as_ref().unwrap();
    assert_eq!(report.compared.repositories, 3);
    assert!(
        report.checks.len() > 4 && report.set_aside.is_empty(),
        "{report:#?}"
    );
    // From nothing: the making of the site and the restore.
    let rto = proof.rto_seconds.unwrap();
    assert!(
        rto >= proof.site_seconds + proof.machines_seconds + report.rto_seconds,
        "{rto}"
    );
    assert!(proof.site_seconds > 60, "{proof:#?}");

    let mark = ground.mark().await.unwrap();
    assert_eq!(mark.outcome, Health::Sound);
    assert_eq!(mark.proof, serde_json::to_value(&proof).unwrap());
    ground.is_as_before(&before).await.unwrap();
    let lost = seen.lost_in(&Seen::of(&ground.place).await);
    assert_eq!(lost, Vec::<String>::new());
    crate::restore::nothing_to_do(&ground.place).await;
}

#[tokio::test(start_paused = true)]
async fn a_drill_of_a_box_proves_its_point_and_leaves_nothing() {
    is_sound(ProfileName::SingleBox).await;
}

#[tokio::test(start_paused = true)]
async fn a_drill_of_a_small_site_proves_its_point_and_leaves_nothing() {
    is_sound(ProfileName::Poc2k).await;
}

#[tokio::test(start_paused = true)]
async fn a_drill_of_a_cluster_proves_its_point_and_leaves_nothing() {
    is_sound(ProfileName::Ha3k).await;
}

/// Drills a point that this was done to. It is found to be faulty, the point says so, and nothing is left.
async fn is_faulty(profile: ProfileName, lie: impl FnOnce(&mut Manifest)) -> Proof {
    let ground = Ground::new(profile).await;
    resigned(&ground.place, lie).await;
    let before = ground.world();
    let came = ground
        .go(RUN, Arc::new(MemoryLedger::default()))
        .await
        .unwrap();
    assert!(came.carried.complete(), "{:#?}", failures(&came));
    let proof = came.proof.unwrap();
    assert!(!proof.sound, "{proof:#?}");
    assert_eq!(ground.mark().await.unwrap().outcome, Health::Faulty);
    ground.is_as_before(&before).await.unwrap();
    proof
}

#[tokio::test(start_paused = true)]
async fn repositories_that_differ_are_held_against_the_point_and_the_site_goes() {
    let proof = is_faulty(ProfileName::SingleBox, |said| {
        for digest in said.refs.values_mut().take(1) {
            *digest = "0".repeat(64);
        }
    })
    .await;
    assert!(proof.restore.is_some(), "{proof:#?}");
    assert!(
        proof.findings[0].contains("refs of"),
        "{:?}",
        proof.findings
    );
}

#[tokio::test(start_paused = true)]
async fn a_restore_that_fails_is_held_against_the_point_and_the_site_goes() {
    use gantry::ops::point::{Outcome, Way};
    let proof = is_faulty(ProfileName::Poc2k, |said| {
        for part in &mut said.parts {
            if let Outcome::Saved(Way::Sealed(sealed)) = &mut part.outcome {
                sealed.fits = "0".repeat(64);
            }
        }
    })
    .await;
    assert!(proof.restore.is_none(), "{proof:#?}");
    assert!(
        proof.findings[0].contains("secrets"),
        "{:?}",
        proof.findings
    );
}

#[tokio::test(start_paused = true)]
async fn a_missing_permission_is_not_held_against_the_point_and_the_site_goes() {
    let ground = Ground::new(ProfileName::Poc2k).await;
    let before = ground.world();
    ground.place.stage.sandbox.faults(|faults| {
        faults.set(|call, _| {
            if call == "rds:CopyDBSnapshot" {
                Fate::Refuse(Refusal::new(403, "AccessDenied", "you may not copy it"))
            } else {
                Fate::Pass
            }
        });
    });
    let ledger = Arc::new(MemoryLedger::default());
    let came = ground.go(RUN, ledger.clone()).await.unwrap();
    let told = failures(&came);
    assert!(
        told[0].contains("rds:CopyDBSnapshot: access denied"),
        "{told:?}"
    );
    assert_eq!(came.recorded, None);
    assert_eq!(ledger.story().ended.as_deref(), Some("failed"));
    assert_eq!(ground.mark().await, None);
    ground.is_as_before(&before).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn ctrl_c_removes_the_site_and_says_nothing_about_the_point() {
    let ground = Ground::new(ProfileName::SingleBox).await;
    let before = ground.world();
    let stop = Stop::default();
    let drill = ground.drill(Afterwards::Remove, Some(stop.clone())).await;
    let ledger = Arc::new(MemoryLedger::default());
    let clock = ground.place.stage.sandbox.clock();
    let came = go(&drill, RUN, ledger.clone(), &stop, clock).await.unwrap();
    assert!(!came.carried.complete() && came.proof.is_none());
    assert_eq!(ledger.story().ended.as_deref(), Some("interrupted"));
    assert_eq!(ground.mark().await, None);
    ground.is_as_before(&before).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_kept_site_stands_until_it_is_cleaned() {
    let ground = Ground::new(ProfileName::SingleBox).await;
    let before = ground.world();
    let drill = ground.drill(Afterwards::Keep, None).await;
    let clock = ground.place.stage.sandbox.clock();
    let (stop, ledger) = (Stop::default(), Arc::new(MemoryLedger::default()));
    let came = go(&drill, RUN, ledger, &stop, clock).await.unwrap();
    assert!(came.carried.complete() && came.proof.unwrap().sound);
    let plan = ground.session.plan_destroy(&everything()).await.unwrap();
    assert!(plan.delete.len() > 20, "{:?}", plan.delete);
    for _ in 0..2 {
        let cleaned = clean(&ground.session, "clean", &stop, clock, &silent()).await;
        assert!(cleaned.unwrap().complete());
    }
    ground.is_as_before(&before).await.unwrap();
}

/// Somebody may have called a site of theirs what a drill would call its own.
#[tokio::test(start_paused = true)]
async fn a_site_that_only_has_the_name_is_not_touched() {
    let ground = Ground::new(ProfileName::SingleBox).await;
    let sandbox = &ground.place.stage.sandbox;
    let mut theirs = site(ProfileName::SingleBox);
    theirs.site.name = "acme-drill".parse().unwrap();
    theirs.site.domain = "gitlab.drill.example.com".parse().unwrap();
    let session = session_of(sandbox, theirs, Arc::new(MemoryStore::default())).await;
    let reading = session.read(&InstallOptions::default()).await.unwrap();
    let (stop, clock) = (Stop::default(), sandbox.clock());
    let made = session.install("theirs", &reading, &stop, &silent()).await;
    assert!(made.unwrap().complete());
    sandbox.clock().sleep(Duration::from_mins(10)).await;
    let before = picture(&ground.world());

    let cleaned = clean(&ground.session, "clean", &stop, clock, &silent()).await;
    let cleaned = cleaned.unwrap();
    let (_, fault) = cleaned.failures().next().unwrap();
    assert!(fault.to_string().contains("a site of its own"), "{fault}");
    let refused = ground.go(RUN, Arc::new(MemoryLedger::default())).await;
    let fault = refused.unwrap_err();
    assert!(fault.to_string().contains("a site of its own"), "{fault}");
    assert_eq!(
        difference(&before, &picture(&ground.world())),
        Vec::<String>::new()
    );
}
