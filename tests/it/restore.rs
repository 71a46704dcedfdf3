//! Restoring recovery points in the strict cloud with played nodes: onto the same site, onto another, and not at all.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use gantry::cloud::Aws;
use gantry::engine::{Report as Carried, Stop};
use gantry::node::Fleet;
use gantry::ops::backup::{Ground, sealed_key};
use gantry::ops::point::{Manifest, Outcome, PartName, PointId, Points, Way, manifest_key};
use gantry::ops::restore::{
    Ask, Considered, Onto, Report, Restoring, Whose, book, consider, plan, report,
};
use gantry::ops::runbook::carry_out;
use gantry::ops::snapshot::Stillness;
use gantry::ops::transfer::Share;
use gantry::ops::verify::Look;
use gantry::ops::{Hosts, Ledger, MemoryLedger, OpsFault};
use gantry::profile::ProfileName;
use gantry::sandbox::Holder;
use gantry::sandbox::machines::{Machines, Picture, difference};
use gantry::session::{InstallOptions, silent};
use gantry::site::{Edition, Site};

use crate::support::stage::{Stage, site};
use crate::taking::{FIRST, Place, resigned};

const RUN: &str = "20260923T130000Z-00000a";

/// Everything that a manifest names, as people have it.
pub struct Seen {
    pub picture: Picture,
    /// Content by part and key.
    pub objects: BTreeMap<String, BTreeMap<String, Vec<u8>>>,
    /// What a restore takes over.
    pub secrets: BTreeMap<String, String>,
}

impl Seen {
    pub async fn of(place: &Place) -> Self {
        let ground = &place.taking.ground;
        Self::look(ground.cx.aws(), &ground.fleet, &place.machines).await
    }

    pub async fn look(aws: &Aws, fleet: &Fleet, machines: &Machines) -> Self {
        let mut buckets: Vec<(String, String)> = fleet.buckets.objects.clone();
        buckets.push(("registry".into(), fleet.buckets.registry.clone()));
        let mut objects = BTreeMap::new();
        for (part, bucket) in buckets {
            objects.insert(part, newest(aws, &bucket).await);
        }
        let mut secrets = BTreeMap::new();
        for name in ["gitlab-secrets", "ssh-host-keys"] {
            let ask = aws.secrets.get_secret_value();
            let value = ask.secret_id(&fleet.secrets[name]).send().await.unwrap();
            secrets.insert(name.to_owned(), value.secret_string.unwrap());
        }
        Self {
            picture: machines.picture().await.unwrap(),
            objects,
            secrets,
        }
    }

    /// What is missing or different in another world; what is there beside it does not count.
    pub fn lost_in(&self, other: &Self) -> Vec<String> {
        let mut lost = difference(&self.picture, &other.picture);
        for (part, objects) in &self.objects {
            for (key, content) in objects {
                if other.objects[part].get(key) != Some(content) {
                    lost.push(format!("{part}: {key}"));
                }
            }
        }
        for (name, value) in &self.secrets {
            if other.secrets[name] != *value {
                lost.push(format!("the secret {name}"));
            }
        }
        lost
    }
}

/// What is in a bucket now, by key.
async fn newest(aws: &Aws, bucket: &str) -> BTreeMap<String, Vec<u8>> {
    let listed = aws.s3.list_objects_v2().bucket(bucket).send().await;
    let mut content = BTreeMap::new();
    for object in listed.unwrap().contents() {
        let key = object.key().unwrap().to_owned();
        let got = aws.s3.get_object().bucket(bucket).key(&key).send().await;
        let bytes = got.unwrap().body.collect().await.unwrap().to_vec();
        content.insert(key, bytes);
    }
    content
}

/// Where a point is: the bucket and the key of the site that took it.
pub struct Source {
    pub bucket: String,
    pub trusted: gantry::ops::point::Trusted,
}

impl Source {
    pub fn of(place: &Place) -> Self {
        Self {
            bucket: place.taking.bucket().to_owned(),
            trusted: place.taking.signer.trusted(),
        }
    }
}

/// Restores a point onto a site, as the command does after its question.
pub async fn restored(
    place: &Place,
    hosts: Arc<dyn Hosts>,
    source: &Source,
    ledger: Arc<dyn Ledger>,
) -> Result<(Carried<OpsFault>, Option<Report>), OpsFault> {
    let session = Arc::new(place.stage.session().await?);
    let ground = Ground::of(&session, None)?;
    let points = Points::new(session.cx.clone(), &source.bucket, source.trusted);
    let id: PointId = FIRST.parse().unwrap();
    let listed = points.read(&id).await?;
    let manifest = listed.restorable()?.clone();
    let onto = Onto::of(&manifest.site, &ground.site_of());
    let ask = Ask {
        point: id,
        from: source.bucket.clone(),
        silent: false,
    };
    let name = session.cx.site().to_owned();
    let clock = *session.cx.clock();
    let restoring = Arc::new(Restoring {
        ground,
        session,
        hosts,
        points,
        manifest: manifest.clone(),
        onto,
        journals: PathBuf::from("/nonexistent/journals"),
        silent: false,
    });
    let book = book(&restoring, &ask, &silent());
    let stop = Stop::default();
    let carried = carry_out(book, RUN, ledger.clone(), &stop, clock, &silent()).await?;
    let proof = report(&ledger.story(), &manifest, &name);
    Ok((carried, proof))
}

pub fn failures(carried: &Carried<OpsFault>) -> Vec<String> {
    carried
        .failures()
        .map(|(stage, fault)| format!("{stage}: {fault}"))
        .collect()
}

async fn restore(place: &Place, source: &Source) -> Report {
    restore_noted(place, source, Arc::new(MemoryLedger::default())).await
}

/// Restores, and writes down in this ledger what was done.
async fn restore_noted(place: &Place, source: &Source, ledger: Arc<dyn Ledger>) -> Report {
    let hosts = Arc::new(place.machines.hosts());
    let (carried, proof) = restored(place, hosts, source, ledger).await.unwrap();
    assert!(carried.complete(), "{:#?}", failures(&carried));
    let proof = proof.unwrap();
    assert!(proof.sound, "{proof:#?}");
    proof
}

fn artifacts(place: &Place) -> String {
    let fleet = &place.taking.ground.fleet;
    fleet.buckets.objects[0].1.clone()
}

/// People leave something in the buckets.
pub async fn fill(place: &Place) {
    let registry = place.taking.ground.fleet.buckets.registry.clone();
    for key in ["ab/job.log", "cd/trace.log", "ef/gone.log"] {
        let content = format!("all is well with {key}").into_bytes();
        place.put(&artifacts(place), key, content).await;
    }
    place.put(&registry, "blobs/1", b"layer".to_vec()).await;
    let entry = &place.taking.ground.fleet.secrets["ssh-host-keys"];
    let put = place.taking.ground.cx.aws().secrets.put_secret_value();
    let put = put.secret_id(entry).secret_string("{\"host\":\"key\"}");
    put.send().await.unwrap();
}

/// Work goes on after the point, and some of it is a disaster.
pub async fn ruin(place: &Place) {
    let bucket = artifacts(place);
    place.machines.add_project().await.unwrap();
    let pushed = place.machines.push("group/project-1", "main", "bad").await;
    pushed.unwrap();
    place.machines.rotate_secrets("other").await.unwrap();
    place.put(&bucket, "ab/job.log", b"broken".to_vec()).await;
    place.delete(&bucket, "ef/gone.log").await;
    place.put(&bucket, "new/later.log", b"later".to_vec()).await;
}

/// A site with a point of it and what was there then.
pub async fn taken(profile: ProfileName) -> (Place, Seen) {
    let place = Place::profile(profile).await;
    fill(&place).await;
    let before = Seen::of(&place).await;
    let taken = place.create(FIRST).await;
    let closed = taken.closed.unwrap();
    assert!(closed.manifest.whole, "{:?}", closed.troubles);
    assert_eq!(closed.manifest.refs.len(), 3);
    (place, before)
}

pub async fn nothing_to_do(place: &Place) {
    let reading = place.stage.read().await;
    let changes = &reading.plan.changes;
    let other: Vec<_> = changes
        .iter()
        .filter(|change| change.action != gantry::plan::Action::Keep)
        .map(|change| format!("{}: {:?} {}", change.address, change.action, change.reason))
        .collect();
    assert!(reading.plan.is_empty(), "{other:#?}");
}

async fn onto_itself(profile: ProfileName) {
    let (place, before) = taken(profile).await;
    ruin(&place).await;
    let ruined = Seen::of(&place).await;
    assert!(before.lost_in(&ruined).len() > 4);
    let proof = restore(&place, &Source::of(&place)).await;
    assert_eq!(proof.compared.repositories, 3);
    let after = Seen::of(&place).await;
    assert_eq!(before.lost_in(&after), Vec::<String>::new());
    // What came later stays: nobody refers to it.
    assert!(after.objects["artifacts"].contains_key("new/later.log"));
    if profile == ProfileName::SingleBox {
        assert!(proof.set_aside.is_empty());
    } else {
        let aside = &proof.set_aside["the database"];
        let kept = place
            .stage
            .sandbox
            .content("eu-west-1", Holder::Database(aside));
        assert!(kept.unwrap().contains("group/project-4"), "{aside}");
    }
    nothing_to_do(&place).await;
}

#[tokio::test(start_paused = true)]
async fn a_box_comes_back_as_it_was() {
    onto_itself(ProfileName::SingleBox).await;
}

#[tokio::test(start_paused = true)]
async fn a_small_site_comes_back_as_it_was() {
    onto_itself(ProfileName::Poc2k).await;
}

#[tokio::test(start_paused = true)]
async fn a_cluster_comes_back_as_it_was() {
    onto_itself(ProfileName::Ha3k).await;
}

/// A point names versions: what was deleted or written over since is still stored, and Gitaly, which reads what is
/// newest in its bucket, finds it there again.
#[tokio::test(start_paused = true)]
async fn objects_of_gitaly_that_were_deleted_or_written_over_come_back() {
    let (place, before) = taken(ProfileName::Poc2k).await;
    let aws = place.taking.ground.cx.aws();
    let gitaly = &place.taking.ground.fleet.buckets.gitaly_backups;
    let saved = newest(aws, gitaly).await;
    let mut bundles = saved.keys().filter(|key| key.ends_with(".bundle"));
    let (deleted, changed) = (bundles.next().unwrap(), bundles.next().unwrap());
    ruin(&place).await;
    place.delete(gitaly, deleted).await;
    place.put(gitaly, changed, b"broken".to_vec()).await;
    let found = place.examine(FIRST).await;
    assert!(found.is_sound(), "{:#?}", found.findings);
    assert_eq!(considered(&place).await.against, []);

    let ledger = MemoryLedger::default();
    let proof = restore_noted(&place, &Source::of(&place), Arc::new(ledger.clone())).await;
    assert_eq!(proof.compared.repositories, 3);
    let after = Seen::of(&place).await;
    assert_eq!(before.lost_in(&after), Vec::<String>::new());
    assert_eq!(newest(aws, gitaly).await, saved);
    // The other objects were left alone.
    let story = ledger.story();
    let copied = story.output("git-objects").unwrap();
    let number = |name: &str| copied[name].as_u64().unwrap();
    assert_eq!(number("kept") + 2, number("count"));
    nothing_to_do(&place).await;
}

/// A second site in the same account, in whose bucket there is no point.
async fn beside(place: &Place, profile: ProfileName) -> Place {
    let mut other = site(profile);
    other.site.name = "beta".parse().unwrap();
    other.site.domain = "gitlab.beta.example.com".parse().unwrap();
    let stage = installed_beside(place, other).await;
    Place::on(stage, None, Some(1)).await
}

/// Another site in the account of a place, with room for it.
pub async fn installed_beside(place: &Place, target: Site) -> Stage {
    let sandbox = &place.stage.sandbox;
    let mut world = sandbox.world();
    for quota in ["addresses", "vpcs"] {
        world.quotas.insert(quota.into(), 40);
    }
    let stage = Stage::with(target, world, &[], sandbox.clock().now());
    // A run of its own: tokens of AWS are made of the run.
    let session = stage.session().await.unwrap();
    let reading = session.read(&InstallOptions::default()).await.unwrap();
    let installed = session
        .install("run-beside", &reading, &Stop::default(), &silent())
        .await
        .unwrap();
    assert!(installed.complete());
    stage
}

async fn onto_another(profile: ProfileName) {
    let (place, before) = taken(profile).await;
    let other = beside(&place, profile).await;
    restore(&other, &Source::of(&place)).await;
    let after = Seen::of(&other).await;
    assert_eq!(before.lost_in(&after), Vec::<String>::new());
    nothing_to_do(&other).await;
}

#[tokio::test(start_paused = true)]
async fn a_box_is_restored_onto_another_site() {
    onto_another(ProfileName::SingleBox).await;
}

#[tokio::test(start_paused = true)]
async fn a_small_site_is_restored_onto_another_one() {
    onto_another(ProfileName::Poc2k).await;
}

#[tokio::test(start_paused = true)]
async fn a_cluster_is_restored_onto_another_site() {
    onto_another(ProfileName::Ha3k).await;
}

#[tokio::test(start_paused = true)]
async fn disks_and_databases_come_back_from_their_snapshots() {
    for profile in [ProfileName::SingleBox, ProfileName::Poc2k] {
        let place = Place::profile(profile).await;
        let before = place.machines.picture().await.unwrap();
        let taken = place.snapshot(FIRST, Stillness::Paused).await;
        assert!(taken.closed.unwrap().manifest.whole);
        place.machines.add_project().await.unwrap();
        let proof = restore(&place, &Source::of(&place)).await;
        let after = place.machines.picture().await.unwrap();
        assert_eq!(difference(&before, &after), Vec::<String>::new());
        for (what, aside) in &proof.set_aside {
            let holder = if what == "the database" {
                Holder::Database(aside)
            } else {
                Holder::Volume(aside)
            };
            let kept = place.stage.sandbox.content("eu-west-1", holder);
            assert!(kept.is_some_and(|text| !text.is_empty()), "{what}: {aside}");
        }
        nothing_to_do(&place).await;
    }
}

/// What speaks against a restore of the first point; looking for it changes nothing.
pub async fn considered(place: &Place) -> Considered {
    considered_of(place, FIRST).await
}

async fn considered_of(place: &Place, id: &str) -> Considered {
    let look = Look {
        read: Share::ALL,
        seed: 1,
    };
    let taking = &place.taking;
    place.stage.sandbox.clear_log();
    let listed = taking.points.read(&id.parse().unwrap()).await.unwrap();
    let found = consider(&taking.ground, &taking.points, &listed, Whose::Own, look)
        .await
        .unwrap();
    let changes: Vec<String> = place
        .stage
        .sandbox
        .log()
        .into_iter()
        .map(|logged| logged.call)
        .filter(|call| !crate::support::deaths::is_read(call) && call != "kms:Decrypt")
        .collect();
    assert_eq!(changes, Vec::<String>::new());
    found
}

pub async fn is_refused(place: &Place, what: &str) {
    is_refused_of(place, FIRST, what).await;
}

async fn is_refused_of(place: &Place, id: &str, what: &str) {
    let found = considered_of(place, id).await;
    assert!(!found.against.is_empty(), "{what} is not refused");
    for (why, help) in &found.against {
        assert!(!why.is_empty() && !help.is_empty(), "{what}: {why}");
    }
}

#[tokio::test(start_paused = true)]
async fn points_that_are_not_sound_are_refused_before_anything_is_changed() {
    let (place, _) = taken(ProfileName::Poc2k).await;
    let good = considered(&place).await;
    assert_eq!(good.against, []);
    let said: Manifest = good.manifest.unwrap();
    assert!(plan(&said, Onto::Same).len() > 5);
    let id: PointId = FIRST.parse().unwrap();
    let backups = place.taking.bucket().to_owned();
    let mut keys = vec![
        manifest_key(&id),
        sealed_key(&id, &PartName::Secrets),
        sealed_key(&id, &PartName::Configuration),
    ];
    for part in &said.parts {
        match part.way() {
            Some(Way::ObjectVersions { index, .. }) => keys.push(index.key.clone()),
            Some(Way::GitalyServerSide {
                archive_key, index, ..
            }) => {
                keys.push(archive_key.clone());
                keys.push(index.key.clone());
            }
            _ => {}
        }
    }
    for key in keys {
        let kept = place.get(&backups, &key).await;
        let mut flipped = kept.clone();
        let middle = flipped.len() / 2;
        flipped[middle] ^= 1;
        place.put(&backups, &key, flipped).await;
        is_refused(&place, &format!("{key} with a flipped bit")).await;
        let short = kept[..kept.len() - 3].to_vec();
        place.put(&backups, &key, short).await;
        is_refused(&place, &format!("{key} cut short")).await;
        place.delete(&backups, &key).await;
        is_refused(&place, &format!("{key} gone")).await;
        place.put(&backups, &key, kept).await;
    }
    // A manifest signed by the right key that does not fit the world.
    let key = manifest_key(&id);
    let kept = place.get(&backups, &key).await;
    type Lie = (&'static str, fn(&mut Manifest));
    let lies: [Lie; 5] = [
        ("of another account", |said| {
            said.site.account = "999999999999".into();
        }),
        ("of another site", |said| said.site.name = "other".into()),
        ("with parts of two days", |said| {
            let day = std::time::Duration::from_hours(30);
            said.began -= day;
            said.parts[0].began -= day;
        }),
        ("whose secrets do not fit", |said| {
            for part in &mut said.parts {
                if let Outcome::Saved(Way::Sealed(sealed)) = &mut part.outcome {
                    sealed.fits = "0".repeat(64);
                }
            }
        }),
        ("of another version", |said| {
            said.gitlab.version = "18.11.1".into();
        }),
    ];
    for (what, lie) in lies {
        resigned(&place, lie).await;
        is_refused(&place, &format!("a manifest {what}")).await;
        place.put(&backups, &key, kept.clone()).await;
    }
    let Some(Way::DatabaseSnapshot { snapshot, .. }) =
        said.part(&PartName::Database).and_then(|part| part.way())
    else {
        panic!("no snapshot");
    };
    place.stage.sandbox.change(|world| {
        let row = world.get_mut("eu-west-1", "rds/snapshot", snapshot);
        row.unwrap().set("Status", "failed");
    });
    is_refused(&place, "a snapshot in error").await;
}

#[tokio::test(start_paused = true)]
async fn a_point_on_a_broken_chain_is_refused_before_anything_is_changed() {
    const SECOND: &str = "20260922T130000Z-000002";
    let (place, _) = taken(ProfileName::Poc2k).await;
    let pushed = place.machines.push("group/project-1", "main", "more").await;
    pushed.unwrap();
    let said = place.create(SECOND).await.closed.unwrap().manifest;
    let first = said.chain().unwrap().previous.clone().unwrap();
    assert_eq!(first.as_str(), FIRST);
    assert_eq!(considered_of(&place, SECOND).await.against, []);

    // An object of the backup that this one is an increment of.
    let (backups, key) = (place.taking.bucket().to_owned(), manifest_key(&first));
    let base: Manifest = place
        .taking
        .points
        .read(&first)
        .await
        .unwrap()
        .restorable()
        .unwrap()
        .clone();
    place.lose_a_bundle(&base.chain().unwrap().backup).await;
    is_refused_of(&place, SECOND, "a chain without an object of its base").await;
    place.delete(&backups, &key).await;
    is_refused_of(&place, SECOND, "a chain without its base").await;
}

#[tokio::test(start_paused = true)]
async fn another_version_or_edition_is_refused_with_the_install_that_matches() {
    let (mut place, _) = taken(ProfileName::Poc2k).await;
    let good = considered(&place).await;
    assert_eq!(good.against, []);
    let taking = Arc::get_mut(&mut place.taking).unwrap();
    taking.ground.site.gitlab.edition = Edition::Ce;
    taking.ground.site.gitlab.version = "18.11.1".parse().unwrap();
    let found = considered(&place).await;
    assert!(found.findings.is_empty());
    let helps: Vec<&str> = found
        .against
        .iter()
        .map(|(_, help)| help.as_str())
        .collect();
    assert_eq!(helps.len(), 2, "{helps:?}");
    assert!(helps[0].contains("version = "), "{helps:?}");
    assert!(helps[1].contains("edition = \"ee\""), "{helps:?}");
}
