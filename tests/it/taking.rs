//! Taking recovery points in the strict cloud with played nodes, verifying them, and finding everything that can be
//! wrong with one.

use std::sync::Arc;

use futures::future::BoxFuture;
use gantry::blueprint::Role;
use gantry::journal::Holder;
use gantry::node::Fleet;
use gantry::ops::backup::{
    Ask, Closed, Ground, LOCK_KEY, Lease, LeaseError, Mode, PartPlan, Run, TakeError, Taken,
    Taking, Wanted, book, plan, sealed_key,
};
use gantry::ops::gitlab::Installed;
use gantry::ops::point::{
    By, Condition, Edition, Manifest, Part, PartName, PointId, Points, Purpose, Rank, SIGNING_KEY,
    Signer, Way, manifest_key,
};
use gantry::ops::snapshot::{self, SnapshotAsk, Stillness, targets};
use gantry::ops::transfer::Share;
use gantry::ops::verify::{Examined, Look, Wrong, examine, note};
use gantry::ops::{Hosts, Ledger, MemoryLedger, OpsFault};
use gantry::profile::ProfileName;
use gantry::sandbox::machines::{Disks, Machines};
use gantry::session::{Session, silent};
use gantry::shell::{Command, Exit, RemoteFile, RemotePath, Shell, ShellFault};
use gantry::site::Site;

use crate::support::stage::{Stage, site};

/// A site with played nodes and people's work on them.
pub struct Place {
    pub stage: Stage,
    pub machines: Machines,
    pub taking: Arc<Taking>,
}

pub const FIRST: &str = "20260921T130000Z-000001";

impl Place {
    /// Installs a site and lets people work on it.
    pub async fn new(site: Site) -> Self {
        let stage = Stage::with(
            site,
            crate::support::stage::account(),
            &[],
            crate::support::stage::BEGINNING,
        );
        stage.install().await;
        Self::on(stage, None, Some(3)).await
    }

    /// A site that stands; `file` is what the nodes remember.
    pub async fn on(stage: Stage, file: Option<std::path::PathBuf>, seed: Option<usize>) -> Self {
        let session = stage.session().await.unwrap();
        let fleet = session.known_fleet().unwrap();
        let machines = machines(&stage, &session, fleet, file).await;
        if let Some(projects) = seed {
            machines.seed(projects).await.unwrap();
        }
        let taking = taking(&stage, &session, Arc::new(machines.hosts())).await;
        Self {
            stage,
            machines,
            taking,
        }
    }

    pub async fn profile(profile: ProfileName) -> Self {
        Self::new(site(profile)).await
    }

    pub fn parts(&self, purpose: Purpose) -> Vec<PartPlan> {
        let ground = &self.taking.ground;
        plan(
            &ground.sizes,
            &ground.fleet,
            &ground.names,
            purpose,
            &Wanted::All,
        )
        .unwrap()
    }

    /// Takes a full point under this id.
    pub async fn create(&self, id: &str) -> Taken {
        self.create_on(id, Arc::new(MemoryLedger::default()), Mode::Take)
            .await
            .unwrap()
    }

    pub async fn create_on(
        &self,
        id: &str,
        ledger: Arc<dyn Ledger>,
        mode: Mode,
    ) -> Result<Taken, TakeError> {
        let parts = self.parts(Purpose::Full);
        let made =
            |point: &PointId, mode| book(&self.taking, point, &parts, &ask(Purpose::Full), mode);
        self.run().carry(id, ledger, mode, made).await
    }

    /// Takes a snapshot point under this id.
    pub async fn snapshot(&self, id: &str, stillness: Stillness) -> Taken {
        self.snapshot_on(id, stillness, Arc::new(MemoryLedger::default()), Mode::Take)
            .await
            .unwrap()
    }

    pub async fn snapshot_on(
        &self,
        id: &str,
        stillness: Stillness,
        ledger: Arc<dyn Ledger>,
        mode: Mode,
    ) -> Result<Taken, TakeError> {
        let parts = self.parts(Purpose::Snapshot);
        let outputs = gantry::journal::Store::state(self.stage.store.as_ref()).outputs();
        let instance = |node: &str| {
            let address = format!("ec2/instance:{node}").parse().unwrap();
            Some(outputs.0.get(&address)?["id"].as_str()?.to_owned())
        };
        let nodes: Vec<String> = parts
            .iter()
            .filter_map(|part| match &part.how {
                gantry::ops::backup::How::DiskSnapshots { nodes } => Some(nodes.clone()),
                _ => None,
            })
            .flatten()
            .collect();
        let targets = targets(&self.taking, &nodes, instance).unwrap();
        let wanted = SnapshotAsk {
            ask: ask(Purpose::Snapshot),
            stillness,
        };
        let made = |point: &PointId, mode| {
            snapshot::book(&self.taking, point, &parts, &targets, &wanted, mode)
        };
        self.run().carry(id, ledger, mode, made).await
    }

    fn run(&self) -> Run<'_> {
        static STOP: std::sync::OnceLock<gantry::engine::Stop> = std::sync::OnceLock::new();
        static SILENT: std::sync::OnceLock<gantry::engine::Observer> = std::sync::OnceLock::new();
        static HOLDER: std::sync::OnceLock<Holder> = std::sync::OnceLock::new();
        Run {
            taking: &self.taking,
            holder: HOLDER.get_or_init(|| holder("run-1", "backup create")),
            stop: STOP.get_or_init(gantry::engine::Stop::default),
            observe: SILENT.get_or_init(silent),
        }
    }

    pub async fn examine(&self, id: &str) -> Examined {
        let look = Look {
            read: Share::ALL,
            seed: 1,
        };
        let id = id.parse().unwrap();
        examine(&self.taking.ground, &self.taking.points, &id, look)
            .await
            .unwrap()
    }

    pub fn s3(&self) -> &aws_sdk_s3::Client {
        &self.taking.ground.cx.aws().s3
    }

    pub async fn get(&self, bucket: &str, key: &str) -> Vec<u8> {
        let got = self.s3().get_object().bucket(bucket).key(key).send().await;
        got.unwrap().body.collect().await.unwrap().to_vec()
    }

    pub async fn put(&self, bucket: &str, key: &str, content: Vec<u8>) {
        let put = self.s3().put_object().bucket(bucket).key(key);
        put.body(content.into()).send().await.unwrap();
    }

    pub async fn delete(&self, bucket: &str, key: &str) {
        let delete = self.s3().delete_object().bucket(bucket).key(key);
        delete.send().await.unwrap();
    }

    /// Takes a bundle of this Gitaly backup away with all its versions: in a bucket that keeps them the object itself
    /// has to go.
    pub async fn lose_a_bundle(&self, backup: &str) {
        let gitaly = &self.taking.ground.fleet.buckets.gitaly_backups;
        let listed = self.s3().list_objects_v2().bucket(gitaly).send().await;
        let listed = listed.unwrap();
        let bundle = listed
            .contents()
            .iter()
            .filter_map(|object| object.key())
            .find(|key| key.contains(backup) && key.ends_with(".bundle"))
            .unwrap();
        let versions = self.s3().list_object_versions().bucket(gitaly);
        let versions = versions.prefix(bundle).send().await.unwrap();
        for version in versions.versions() {
            let delete = self.s3().delete_object().bucket(gitaly).key(bundle);
            let delete = delete.version_id(version.version_id().unwrap());
            delete.send().await.unwrap();
        }
    }
}

pub fn ask(purpose: Purpose) -> Ask {
    Ask {
        purpose,
        only: None,
        rank: None,
    }
}

pub fn holder(run: &str, verb: &str) -> Holder {
    Holder {
        run: run.into(),
        verb: verb.into(),
        process: std::process::id(),
        host: "here".into(),
        user: "tester".into(),
        since: crate::support::stage::BEGINNING,
    }
}

async fn machines(
    stage: &Stage,
    session: &Session,
    fleet: Fleet,
    file: Option<std::path::PathBuf>,
) -> Machines {
    let installed = Installed {
        version: session.site.gitlab.version.to_string(),
        edition: Edition::Ee,
    };
    Machines::open(
        fleet,
        installed,
        session.cx.aws().clone(),
        stage.sandbox.clock(),
        Disks::Strict(stage.sandbox.clone()),
        file,
    )
    .await
    .unwrap()
}

pub async fn taking(stage: &Stage, session: &Session, hosts: Arc<dyn Hosts>) -> Arc<Taking> {
    let away = session.site.backup.copy_to_region.as_ref();
    let away = away.map(|region| gantry::cloud::Aws::new(&stage.sandbox.config(region.as_ref())));
    let ground = Ground::of(session, away).unwrap();
    let names = session.names().unwrap();
    let signer = Signer::of_site(&session.cx, &names.secret(SIGNING_KEY))
        .await
        .unwrap();
    Arc::new(Taking {
        points: Points::new(
            session.cx.clone(),
            names.bucket("backups"),
            signer.trusted(),
        ),
        signer,
        ground,
        hosts,
        by: By {
            user: "tester".into(),
            host: "here".into(),
            run: "run-1".into(),
            gantry: "0.1.0".into(),
        },
        site_file: b"[site]".to_vec(),
        blueprint: "0".repeat(64),
    })
}

fn manifest(taken: &Taken) -> &Manifest {
    let Some(Closed { manifest, troubles }) = &taken.closed else {
        let failures: Vec<_> = taken.report.failures().collect();
        panic!("no manifest: {failures:?}");
    };
    assert!(troubles.is_empty(), "{troubles:?}");
    manifest
}

fn part<'a>(manifest: &'a Manifest, name: &PartName) -> &'a Part {
    manifest.part(name).unwrap()
}

async fn cycle(profile: ProfileName) -> (Place, Manifest) {
    let place = Place::profile(profile).await;
    let taken = place.create(FIRST).await;
    let said = manifest(&taken).clone();
    assert!(said.whole);
    let found = place.examine(FIRST).await;
    assert!(found.is_sound(), "{:#?}", found.findings);
    assert!(found.read > 0 && found.seen > 2, "{found:?}");
    (place, said)
}

#[tokio::test(start_paused = true)]
async fn a_box_is_saved_in_one_archive() {
    let (_, said) = cycle(ProfileName::SingleBox).await;
    let git = part(&said, &PartName::Repositories);
    assert!(
        matches!(git.way(), Some(Way::Archive { holds, .. }) if holds.len() == 2),
        "{git:?}"
    );
    assert!(said.part(&PartName::Database).is_none());
}

/// Hosts whose disk loses a bit of a repository between `gitlab-backup` and the look at its archive.
struct Rotten {
    hosts: Arc<dyn Hosts>,
    repository: String,
}

struct RottenShell {
    shell: Arc<dyn Shell>,
    repository: String,
}

impl Hosts for Rotten {
    fn nodes(&self) -> Vec<(String, Role)> {
        self.hosts.nodes()
    }

    fn shell(&self, node: &str) -> Result<Arc<dyn Shell>, OpsFault> {
        Ok(Arc::new(RottenShell {
            shell: self.hosts.shell(node)?,
            repository: self.repository.clone(),
        }))
    }
}

impl RottenShell {
    async fn lose_a_bit(&self, archive: &str) {
        let path = RemotePath::new(archive).unwrap();
        let mut bytes = self.shell.get(&path).await.unwrap();
        let at = {
            let mut tar = tar::Archive::new(bytes.as_slice());
            let mut entries = tar.entries().unwrap().map(Result::unwrap);
            let bundle = entries.find(|entry| {
                let name = entry.path().unwrap().display().to_string();
                name.contains(&self.repository) && name.ends_with(".bundle")
            });
            usize::try_from(bundle.unwrap().raw_file_position()).unwrap()
        };
        bytes[at + 20] ^= 4;
        let file = RemoteFile::new(path, bytes);
        self.shell.put(&file).await.unwrap();
    }
}

impl Shell for RottenShell {
    fn host(&self) -> &str {
        self.shell.host()
    }

    fn place(&self) -> gantry::shell::Place {
        self.shell.place()
    }

    fn run<'a>(&'a self, command: &'a Command) -> BoxFuture<'a, Result<Exit, ShellFault>> {
        Box::pin(async move {
            if let [python, _, script, archive, ..] = command.words()
                && python == "python3"
                && script == gantry::ops::gitlab::words::ARCHIVED
            {
                self.lose_a_bit(archive).await;
            }
            self.shell.run(command).await
        })
    }

    fn put<'a>(&'a self, file: &'a RemoteFile) -> BoxFuture<'a, Result<(), ShellFault>> {
        self.shell.put(file)
    }

    fn get<'a>(&'a self, path: &'a RemotePath) -> BoxFuture<'a, Result<Vec<u8>, ShellFault>> {
        self.shell.get(path)
    }
}

#[tokio::test(start_paused = true)]
async fn an_archive_that_does_not_come_back_makes_no_whole_point() {
    let mut place = Place::profile(ProfileName::SingleBox).await;
    let repository = place.machines.picture().await.unwrap().repositories;
    let repository = repository.into_keys().next().unwrap();
    let session = place.stage.session().await.unwrap();
    let hosts = Arc::new(Rotten {
        hosts: Arc::new(place.machines.hosts()),
        repository: repository.clone(),
    });
    place.taking = taking(&place.stage, &session, hosts).await;
    let taken = place.create(FIRST).await;
    let closed = taken.closed.as_ref().unwrap();
    assert!(!closed.manifest.whole);
    let what = &closed.troubles[0].what;
    assert!(
        what.contains("1 repositories do not come back from it") && what.contains(&repository),
        "{what}"
    );
    // What is good of it is still there, for a person in need.
    let git = part(&closed.manifest, &PartName::Repositories);
    assert!(matches!(git.way(), Some(Way::Archive { .. })), "{git:?}");
    let found = place.examine(FIRST).await;
    assert_eq!(found.findings[0].wrong, Wrong::Incomplete, "{found:?}");
}

#[tokio::test(start_paused = true)]
async fn a_small_site_is_saved_by_snapshot_and_by_gitaly_and_then_by_increments() {
    let (place, said) = cycle(ProfileName::Poc2k).await;
    let database = part(&said, &PartName::Database);
    assert!(matches!(database.way(), Some(Way::DatabaseSnapshot { .. })));
    for of in gantry::blueprint::OBJECT_TYPES {
        let objects = part(&said, &PartName::Objects(of.into()));
        assert!(objects.began >= database.ended, "{of} is not older");
    }
    assert_eq!(said.chain().unwrap().rank, Rank::Whole);
    place
        .machines
        .push("group/project-1", "main", "more")
        .await
        .unwrap();
    let second = "20260922T130000Z-000002";
    let taken = place.create(second).await;
    let chain = manifest(&taken).chain().unwrap().clone();
    assert_eq!(chain.rank, Rank::Increment);
    assert_eq!(chain.first.as_str(), FIRST);
    assert_eq!(chain.previous.unwrap().as_str(), FIRST);
    let found = place.examine(second).await;
    assert!(found.is_sound(), "{:#?}", found.findings);
    let third = "20260923T130000Z-000003";
    let chain = manifest(&place.create(third).await)
        .chain()
        .unwrap()
        .clone();
    assert_eq!(chain.previous.unwrap().as_str(), second);
}

#[tokio::test(start_paused = true)]
async fn a_cluster_is_never_saved_by_its_disks() {
    let (place, said) = cycle(ProfileName::Ha3k).await;
    let praefect = part(&said, &PartName::PraefectDatabase);
    assert!(matches!(praefect.way(), Some(Way::Rebuilt { .. })));
    let taken = place
        .snapshot("20260921T140000Z-000009", Stillness::Paused)
        .await;
    assert!(manifest(&taken).part(&PartName::Volumes).is_none());
    let calls = place.stage.sandbox.log();
    let disks: Vec<_> = calls
        .iter()
        .filter(|call| call.call.contains("CreateSnapshot"))
        .collect();
    assert!(disks.is_empty(), "{disks:?}");
}

#[tokio::test(start_paused = true)]
async fn disks_and_databases_are_saved_together_and_copied_to_the_other_region() {
    for (profile, copies) in [(ProfileName::SingleBox, 0), (ProfileName::Poc2k, 1)] {
        let mut wanted = site(profile);
        wanted.backup.copy_to_region = (copies > 0).then(|| "eu-central-1".parse().unwrap());
        let place = Place::new(wanted).await;
        let taken = place.snapshot(FIRST, Stillness::Paused).await;
        let said = manifest(&taken);
        assert_eq!(said.purpose, Purpose::Snapshot);
        let volumes = part(said, &PartName::Volumes);
        let Some(Way::DiskSnapshots { disks }) = volumes.way() else {
            panic!("{volumes:?}");
        };
        assert!(
            disks.iter().all(|disk| disk.copies.len() == copies),
            "{disks:?}"
        );
        let found = place.examine(FIRST).await;
        assert!(found.is_sound(), "{:#?}", found.findings);
        // Nobody is left standing still.
        let picture = place.machines.picture().await.unwrap();
        assert_eq!(picture.database.projects.len(), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn a_part_that_fails_leaves_a_point_that_says_so() {
    let place = Place::profile(ProfileName::Poc2k).await;
    place
        .machines
        .break_repository("group/project-2")
        .await
        .unwrap();
    let taken = place.create(FIRST).await;
    let closed = taken.closed.unwrap();
    assert!(!closed.manifest.whole);
    assert!(
        closed.troubles[0]
            .what
            .contains("1 repositories could not be saved"),
        "{:?}",
        closed.troubles
    );
    let found = place.examine(FIRST).await;
    let wrong: Vec<_> = found
        .findings
        .iter()
        .map(|f| (f.part.clone(), f.wrong))
        .collect();
    assert_eq!(wrong, [(Some(PartName::Repositories), Wrong::Incomplete)]);
    // The next point does not build on what may have been left.
    let listed = place.taking.points.list().await.unwrap();
    assert_eq!(listed[0].condition(), Condition::Incomplete);
}

#[tokio::test(start_paused = true)]
async fn one_machine_waits_for_another_and_not_for_a_dead_one() {
    let place = Place::profile(ProfileName::Poc2k).await;
    let (cx, bucket) = (&place.taking.ground.cx, place.taking.bucket());
    let elsewhere = Holder {
        host: "elsewhere".into(),
        ..holder("run-2", "backup create")
    };
    let held = Lease::take(cx, bucket, "other", &elsewhere).await.unwrap();
    let refused = place
        .create_on(FIRST, Arc::new(MemoryLedger::default()), Mode::Take)
        .await;
    let Err(TakeError::Lease(LeaseError::Held { holder, .. })) = refused else {
        panic!("taken twice");
    };
    assert_eq!(holder.host, "elsewhere");
    // Its process dies without a word: half an hour later it counts as dead.
    drop(held);
    tokio::time::sleep(std::time::Duration::from_mins(31)).await;
    let taken = place.create(FIRST).await;
    assert!(manifest(&taken).whole);
    // A process of this machine that is gone is dead at once.
    let gone = Holder {
        process: 4_194_305,
        ..self::holder("run-3", "backup create")
    };
    let held = Lease::take(cx, bucket, "third", &gone).await.unwrap();
    drop(held);
    assert!(manifest(&place.create("20260922T130000Z-000002").await).whole);
    assert!(!place.get(bucket, LOCK_KEY).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn who_lost_the_lock_stops_where_it_is() {
    let place = Place::profile(ProfileName::Poc2k).await;
    let (cx, bucket) = (&place.taking.ground.cx, place.taking.bucket());
    let me = holder("run-1", "backup create");
    let lease = Lease::take(cx, bucket, "mine", &me).await.unwrap();
    let hours = std::time::Duration::from_hours(2);
    assert!(lease.hold(tokio::time::sleep(hours)).await.is_ok());
    // This machine slept; somebody else waited half an hour, and took it.
    let text = String::from_utf8(place.get(bucket, LOCK_KEY).await).unwrap();
    let text = text.replace("\"mine\"", "\"another\"");
    place.put(bucket, LOCK_KEY, text.into_bytes()).await;
    let held = lease.hold(tokio::time::sleep(hours)).await;
    assert!(matches!(held, Err(LeaseError::Lost)), "{held:?}");
    lease.release().await.unwrap();
    let still = String::from_utf8(place.get(bucket, LOCK_KEY).await).unwrap();
    assert!(still.contains("another"), "{still}");
}

#[tokio::test(start_paused = true)]
async fn a_point_of_some_parts_says_that_it_is_one() {
    let place = Place::profile(ProfileName::Poc2k).await;
    let ground = &place.taking.ground;
    let only = Wanted::Only([PartName::Secrets, PartName::Configuration].into());
    let parts = plan(
        &ground.sizes,
        &ground.fleet,
        &ground.names,
        Purpose::Full,
        &only,
    )
    .unwrap();
    let made =
        |point: &PointId, mode| book(&place.taking, point, &parts, &ask(Purpose::Full), mode);
    let ledger = Arc::new(MemoryLedger::default());
    let taken = place.run().carry(FIRST, ledger, Mode::Take, made).await;
    let said = manifest(&taken.unwrap()).clone();
    assert!(said.whole, "all that was asked for");
    assert_eq!(said.purpose, Purpose::Partial);
}

/// What is wrong with a point after something was done to it.
pub async fn after(place: &Place) -> Vec<(Option<PartName>, Wrong)> {
    let found = place.examine(FIRST).await;
    for finding in &found.findings {
        assert!(
            !finding.what.is_empty() && !finding.help.is_empty(),
            "{finding:?}"
        );
    }
    let mut wrong: Vec<_> = found
        .findings
        .into_iter()
        .map(|finding| (finding.part, finding.wrong))
        .collect();
    wrong.sort();
    wrong.dedup();
    wrong
}

/// A point of a small site, with an object in a bucket.
async fn spoilt() -> (Place, Manifest) {
    let place = Place::profile(ProfileName::Poc2k).await;
    let bucket = place.taking.ground.fleet.buckets.objects[0].1.clone();
    place
        .put(&bucket, "ab/job.log", b"all is well".to_vec())
        .await;
    let taken = place.create(FIRST).await;
    let said = manifest(&taken).clone();
    assert_eq!(after(&place).await, []);
    (place, said)
}

fn index(manifest: &Manifest, name: &PartName) -> (String, String) {
    match part(manifest, name).way() {
        Some(Way::ObjectVersions { bucket, index }) => (bucket.clone(), index.key.clone()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn missing_truncated_and_changed_objects_are_named() {
    let (place, said) = spoilt().await;
    let artifacts = PartName::Objects("artifacts".into());
    let backups = place.taking.bucket().to_owned();
    let (_, list) = index(&said, &artifacts);
    let kept = place.get(&backups, &list).await;

    place.delete(&backups, &list).await;
    assert_eq!(
        after(&place).await,
        [(Some(artifacts.clone()), Wrong::Missing)]
    );
    let mut flipped = kept.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    place.put(&backups, &list, flipped).await;
    assert_eq!(
        after(&place).await,
        [(Some(artifacts.clone()), Wrong::Content)]
    );
    place
        .put(&backups, &list, kept[..kept.len() - 3].to_vec())
        .await;
    assert_eq!(
        after(&place).await,
        [(Some(artifacts.clone()), Wrong::Content)]
    );
    place.put(&backups, &list, kept).await;
    assert_eq!(after(&place).await, []);

    let Some(Way::GitalyServerSide { archive_key, .. }) =
        part(&said, &PartName::Repositories).way()
    else {
        panic!("no Gitaly backup");
    };
    let archive = place.get(&backups, archive_key).await;
    let mut flipped = archive.clone();
    flipped[0] ^= 1;
    place.put(&backups, archive_key, flipped).await;
    let git = Some(PartName::Repositories);
    assert_eq!(after(&place).await, [(git.clone(), Wrong::Content)]);
    place.delete(&backups, archive_key).await;
    assert_eq!(after(&place).await, [(git, Wrong::Missing)]);
}

#[tokio::test(start_paused = true)]
async fn a_broken_chain_is_named() {
    let (place, said) = spoilt().await;
    let second = "20260922T130000Z-000002";
    place
        .machines
        .push("group/project-1", "main", "more")
        .await
        .unwrap();
    place.create(second).await;
    let first = said.chain().unwrap().backup.clone();
    place.lose_a_bundle(&first).await;
    let found = place.examine(second).await;
    assert!(
        found
            .findings
            .iter()
            .any(|finding| finding.wrong == Wrong::Chain),
        "{:#?}",
        found.findings
    );
    // The point before it is gone altogether.
    place
        .delete(
            place.taking.bucket(),
            &manifest_key(&FIRST.parse().unwrap()),
        )
        .await;
    let found = place.examine(second).await;
    assert!(
        found
            .findings
            .iter()
            .any(|finding| finding.wrong == Wrong::Chain && finding.what.contains(FIRST)),
        "{:#?}",
        found.findings
    );
}

#[tokio::test(start_paused = true)]
async fn snapshots_that_are_gone_or_in_error_are_named() {
    let (place, said) = spoilt().await;
    let Some(Way::DatabaseSnapshot { snapshot, .. }) = part(&said, &PartName::Database).way()
    else {
        panic!("no snapshot");
    };
    let snapshot = snapshot.clone();
    place.stage.sandbox.change(|world| {
        let row = world
            .get_mut("eu-west-1", "rds/snapshot", &snapshot)
            .unwrap();
        row.set("Status", "failed");
    });
    let database = Some(PartName::Database);
    assert_eq!(after(&place).await, [(database.clone(), Wrong::Snapshot)]);
    place.stage.sandbox.change(|world| {
        world.remove("eu-west-1", "rds/snapshot", &snapshot);
    });
    assert_eq!(after(&place).await, [(database, Wrong::Missing)]);
}

#[tokio::test(start_paused = true)]
async fn sealed_parts_that_do_not_open_or_fit_are_named() {
    let (place, _) = spoilt().await;
    let backups = place.taking.bucket().to_owned();
    let id: PointId = FIRST.parse().unwrap();
    let secrets = sealed_key(&id, &PartName::Secrets);
    let configuration = sealed_key(&id, &PartName::Configuration);
    let kept = place.get(&backups, &secrets).await;
    let mut flipped = kept.clone();
    let last = flipped.len() - 1;
    flipped[last] ^= 1;
    place.put(&backups, &secrets, flipped).await;
    let part = Some(PartName::Secrets);
    assert_eq!(
        after(&place).await,
        [(part.clone(), Wrong::Content), (part.clone(), Wrong::Seal)]
    );
    // Sealed for another part: the key is the same, and it does not open.
    let other = place.get(&backups, &configuration).await;
    place.put(&backups, &secrets, other).await;
    assert_eq!(
        after(&place).await,
        [(part.clone(), Wrong::Content), (part, Wrong::Seal)]
    );
}

/// Signs a changed manifest with the site's own key: what only gantry itself could have written.
pub async fn resigned(place: &Place, change: impl FnOnce(&mut Manifest)) {
    let id: PointId = FIRST.parse().unwrap();
    let listed = place.taking.points.read(&id).await.unwrap();
    let mut said = listed.manifest().unwrap().clone();
    change(&mut said);
    let key = manifest_key(&id);
    let kind = gantry::ops::point::Kind::Manifest;
    let bytes = place.taking.signer.sign(kind, &key, &said).unwrap();
    place.put(place.taking.bucket(), &key, bytes).await;
}

#[tokio::test(start_paused = true)]
async fn manifests_that_lie_are_named() {
    let (place, said) = spoilt().await;
    let key = manifest_key(&FIRST.parse().unwrap());
    let backups = place.taking.bucket().to_owned();
    let kept = place.get(&backups, &key).await;

    let text = String::from_utf8(kept.clone()).unwrap();
    place
        .put(
            &backups,
            &key,
            text.replace("poc-2k", "ha-50k").into_bytes(),
        )
        .await;
    assert_eq!(after(&place).await, [(None, Wrong::Signature)]);

    // Another point's, put in this one's place.
    let second = "20260922T130000Z-000002";
    place.put(&backups, &key, kept.clone()).await;
    place.create(second).await;
    let other = place
        .get(&backups, &manifest_key(&second.parse().unwrap()))
        .await;
    place.put(&backups, &key, other).await;
    assert_eq!(
        after(&place).await,
        [(None, Wrong::Signature), (None, Wrong::Manifest)]
    );

    // Signed by somebody else's key.
    let stranger = Signer::new(&gantry::secret::Secret::new("ab".repeat(32))).unwrap();
    let kind = gantry::ops::point::Kind::Manifest;
    let mut theirs = said.clone();
    theirs.site.name = "other".into();
    place
        .put(&backups, &key, stranger.sign(kind, &key, &theirs).unwrap())
        .await;
    assert_eq!(
        after(&place).await,
        [(None, Wrong::Signature), (None, Wrong::Foreign)]
    );

    place.put(&backups, &key, kept.clone()).await;
    resigned(&place, |said| said.site.account = "999999999999".into()).await;
    assert_eq!(after(&place).await, [(None, Wrong::Foreign)]);

    place.put(&backups, &key, kept.clone()).await;
    resigned(&place, |said| {
        let day = std::time::Duration::from_hours(30);
        said.began -= day;
        said.parts[0].began -= day;
    })
    .await;
    assert_eq!(after(&place).await, [(None, Wrong::Skew)]);

    place.put(&backups, &key, kept).await;
    resigned(&place, |said| {
        for part in &mut said.parts {
            if let gantry::ops::point::Outcome::Saved(Way::Sealed(sealed)) = &mut part.outcome {
                sealed.fits = "0".repeat(64);
            }
        }
    })
    .await;
    assert_eq!(after(&place).await, [(Some(PartName::Secrets), Wrong::Fit)]);
}

#[tokio::test(start_paused = true)]
async fn what_was_found_stands_on_the_point() {
    let (place, _) = spoilt().await;
    let found = place.examine(FIRST).await;
    let taking = &place.taking;
    let now = place.stage.sandbox.clock().now();
    note(&taking.points, &taking.signer, &found, 100, now)
        .await
        .unwrap();
    let listed = taking.points.read(&FIRST.parse().unwrap()).await.unwrap();
    assert_eq!(listed.marks.verified.unwrap().share, 100);
}

#[tokio::test(start_paused = true)]
async fn no_secret_leaves_the_seal() {
    let (place, _) = spoilt().await;
    let ledger = MemoryLedger::default();
    place
        .create_on(
            "20260922T130000Z-000002",
            Arc::new(ledger.clone()),
            Mode::Take,
        )
        .await
        .unwrap();
    let entries = serde_json::to_string(&ledger.entries()).unwrap();
    let fleet = &place.taking.ground.fleet;
    let secrets = &place.taking.ground.cx.aws().secrets;
    let mut looked = 0;
    for entry in fleet.secrets.values() {
        let Ok(value) = secrets.get_secret_value().secret_id(entry).send().await else {
            continue;
        };
        let value = value.secret_string().unwrap_or_default().to_owned();
        looked += 1;
        assert!(!entries.contains(&value), "{entry} is in the ledger");
    }
    assert!(looked > 3);
}
