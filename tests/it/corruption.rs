//! The corruption matrix, beyond the objects and the chain of a full point of a small site: the archive of a box,
//! snapshots and their copies, manifests that somebody else wrote or that tell of other times. Verify names what is
//! wrong, and a restore refuses it before it changes anything.

use std::time::Duration;

use gantry::journal::Store;
use gantry::ops::backup::sealed_key;
use gantry::ops::point::{
    Kind, Manifest, Outcome, Part, PartName, PointId, Sealed, Signer, Way, manifest_key,
};
use gantry::ops::snapshot::Stillness;
use gantry::ops::verify::Wrong;
use gantry::profile::ProfileName;
use gantry::resource::Address;
use gantry::sandbox::world::{Row, World};
use gantry::secret::Secret;

use crate::restore::{considered, is_refused};
use crate::support::stage::site;
use crate::taking::{FIRST, Place, after, resigned};

const HOME: &str = "eu-west-1";
const AWAY: &str = "eu-central-1";
const DISKS: &str = "ec2/snapshot";
const DATABASES: &str = "rds/snapshot";

/// A full point of a new site.
async fn full(profile: ProfileName) -> (Place, Manifest) {
    let place = Place::profile(profile).await;
    let said = place.create(FIRST).await.closed.unwrap().manifest;
    is_sound(&place).await;
    (place, said)
}

/// A snapshot of a new small site, with copies in another region.
async fn copied() -> (Place, Manifest) {
    let mut wanted = site(ProfileName::Poc2k);
    wanted.backup.copy_to_region = Some(AWAY.parse().unwrap());
    let place = Place::new(wanted).await;
    let taken = place.snapshot(FIRST, Stillness::Paused).await;
    let said = taken.closed.unwrap().manifest;
    is_sound(&place).await;
    (place, said)
}

/// Verify finds nothing, and nothing speaks against a restore.
async fn is_sound(place: &Place) {
    assert_eq!(after(place).await, []);
    assert_eq!(considered(place).await.against, []);
}

/// Verify names exactly this, and a restore is refused before it changes anything.
async fn is_found(place: &Place, what: &str, wrong: &[(Option<PartName>, Wrong)]) {
    assert_eq!(after(place).await, wrong, "{what}");
    is_refused(place, what).await;
}

/// The world is again as it was.
fn undo(place: &Place, kept: &World) {
    place.stage.sandbox.change(|world| world.clone_from(kept));
}

fn way<'a>(said: &'a Manifest, name: &PartName) -> &'a Way {
    said.part(name).and_then(Part::way).unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_archive_that_is_gone_or_changed_is_found() {
    let (place, said) = full(ProfileName::SingleBox).await;
    let git = PartName::Repositories;
    let Way::Archive { bucket, key, .. } = way(&said, &git) else {
        panic!("no archive");
    };
    let kept = place.get(bucket, key).await;
    let mut flipped = kept.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    place.put(bucket, key, flipped).await;
    is_found(
        &place,
        "an archive with a flipped bit",
        &[(Some(git.clone()), Wrong::Content)],
    )
    .await;
    let short = kept[..kept.len() - 3].to_vec();
    place.put(bucket, key, short).await;
    is_found(
        &place,
        "an archive cut short",
        &[(Some(git.clone()), Wrong::Size)],
    )
    .await;
    place.delete(bucket, key).await;
    is_found(
        &place,
        "an archive that is gone",
        &[(Some(git), Wrong::Missing)],
    )
    .await;
    place.put(bucket, key, kept).await;
    is_sound(&place).await;
}

/// What is done to a snapshot of this id, and what that is.
type Spoil = (&'static str, fn(&mut World, &str), Wrong);

fn row<'a>(world: &'a mut World, table: &str, id: &str) -> &'a mut Row {
    world.get_mut(HOME, table, id).unwrap()
}

fn disk_spoils() -> [Spoil; 3] {
    [
        (
            "gone",
            |world, id| assert!(world.remove(HOME, DISKS, id).is_some()),
            Wrong::Missing,
        ),
        (
            "in error",
            |world, id| row(world, DISKS, id).set("status", "error"),
            Wrong::Snapshot,
        ),
        (
            "of another volume",
            |world, id| row(world, DISKS, id).set("volumeId", "vol-0123456789abcdef0"),
            Wrong::Content,
        ),
    ]
}

fn database_spoils() -> [Spoil; 3] {
    [
        (
            "gone",
            |world, id| assert!(world.remove(HOME, DATABASES, id).is_some()),
            Wrong::Missing,
        ),
        (
            "in error",
            |world, id| row(world, DATABASES, id).set("Status", "failed"),
            Wrong::Snapshot,
        ),
        (
            "of another database",
            |world, id| row(world, DATABASES, id).set("DBInstanceIdentifier", "other"),
            Wrong::Content,
        ),
    ]
}

async fn spoilt(place: &Place, part: &PartName, id: &str, spoils: [Spoil; 3]) {
    let kept = place.stage.sandbox.world();
    for (how, spoil, wrong) in spoils {
        place.stage.sandbox.change(|world| spoil(world, id));
        let what = format!("a snapshot of {part}, {how}");
        is_found(place, &what, &[(Some(part.clone()), wrong)]).await;
        undo(place, &kept);
    }
}

/// A restore needs no copy, so one that is gone is named and keeps nobody from restoring.
async fn without_its_copy(place: &Place, part: &PartName, table: &str, id: &str) {
    let kept = place.stage.sandbox.world();
    place
        .stage
        .sandbox
        .change(|world| assert!(world.remove(AWAY, table, id).is_some()));
    assert_eq!(after(place).await, [(Some(part.clone()), Wrong::Copy)]);
    assert_eq!(considered(place).await.against, []);
    undo(place, &kept);
}

#[tokio::test(start_paused = true)]
async fn snapshots_and_copies_that_are_gone_or_others_are_found() {
    let (place, said) = copied().await;
    let (volumes, database) = (PartName::Volumes, PartName::Database);
    let Way::DiskSnapshots { disks } = way(&said, &volumes) else {
        panic!("no snapshots of disks");
    };
    let Way::DatabaseSnapshot { snapshot, .. } = way(&said, &database) else {
        panic!("no snapshot of the database");
    };
    let disk = &disks[0];
    spoilt(&place, &volumes, &disk.snapshot, disk_spoils()).await;
    spoilt(&place, &database, snapshot, database_spoils()).await;
    without_its_copy(&place, &volumes, DISKS, &disk.copies[0].id).await;
    // The copy of a database has the name of its original.
    without_its_copy(&place, &database, DATABASES, snapshot).await;
    is_sound(&place).await;
}

/// Another point's manifest in the place of this one's, and one that somebody else signed.
async fn manifests_of_others(place: &Place, said: &Manifest) {
    let (kept, bucket) = (place.stage.sandbox.world(), place.taking.bucket());
    let key = manifest_key(&FIRST.parse().unwrap());

    // Signed by the right key, for its own place.
    let other: PointId = "20260922T130000Z-000002".parse().unwrap();
    let mut theirs = said.clone();
    theirs.id = other.clone();
    let signer = &place.taking.signer;
    let swapped = signer.sign(Kind::Manifest, &manifest_key(&other), &theirs);
    place.put(bucket, &key, swapped.unwrap()).await;
    is_found(
        place,
        "a swapped manifest",
        &[(None, Wrong::Signature), (None, Wrong::Manifest)],
    )
    .await;
    undo(place, &kept);

    // The same to the letter, signed by another key.
    let stranger = Signer::new(&Secret::new("ab".repeat(32))).unwrap();
    let signed = stranger.sign(Kind::Manifest, &key, said);
    place.put(bucket, &key, signed.unwrap()).await;
    is_found(
        place,
        "the signature of a stranger",
        &[(None, Wrong::Signature)],
    )
    .await;
    undo(place, &kept);
}

/// The key of KMS is the right one, and the part is not; the part is the right one, and the key is not.
async fn seals_of_others(place: &Place) {
    let (kept, bucket) = (place.stage.sandbox.world(), place.taking.bucket());
    let id: PointId = FIRST.parse().unwrap();
    let secrets = PartName::Secrets;

    let other = sealed_key(&id, &PartName::Configuration);
    let other = place.get(bucket, &other).await;
    place.put(bucket, &sealed_key(&id, &secrets), other).await;
    is_found(
        place,
        "secrets sealed for another part",
        &[
            (Some(secrets.clone()), Wrong::Content),
            (Some(secrets.clone()), Wrong::Seal),
        ],
    )
    .await;
    undo(place, &kept);

    let main: Address = "kms/key:main".parse().unwrap();
    let outputs = Store::state(place.stage.store.as_ref()).outputs();
    let main = outputs.0[&main]["arn"].as_str().unwrap().to_owned();
    resigned(place, |said| {
        sealed_of(said, &PartName::Secrets).kms = main;
    })
    .await;
    is_found(
        place,
        "secrets sealed under another key",
        &[(Some(secrets), Wrong::Seal)],
    )
    .await;
    undo(place, &kept);
}

fn part_of<'a>(said: &'a mut Manifest, name: &PartName) -> &'a mut Part {
    let mut parts = said.parts.iter_mut();
    parts.find(|part| part.name == *name).unwrap()
}

fn sealed_of<'a>(said: &'a mut Manifest, name: &PartName) -> &'a mut Sealed {
    match &mut part_of(said, name).outcome {
        Outcome::Saved(Way::Sealed(sealed)) => sealed,
        other => panic!("{other:?}"),
    }
}

fn artifacts() -> PartName {
    PartName::Objects("artifacts".into())
}

/// What a manifest says, signed by the right key, and what is wrong with it.
type Lie = (&'static str, fn(&mut Manifest), PartName, Wrong);

const MINUTE: Duration = Duration::from_mins(1);

fn lies() -> [Lie; 5] {
    [
        (
            "a part from before the point",
            |said| {
                part_of(said, &PartName::Configuration).began = said.began - MINUTE * 6;
            },
            PartName::Configuration,
            Wrong::Skew,
        ),
        (
            "a part from after the point",
            |said| {
                part_of(said, &PartName::Configuration).ended = said.ended + MINUTE * 6;
            },
            PartName::Configuration,
            Wrong::Skew,
        ),
        (
            "a part that ended before it began",
            |said| {
                let part = part_of(said, &PartName::Configuration);
                part.ended = part.began - Duration::from_secs(1);
            },
            PartName::Configuration,
            Wrong::Skew,
        ),
        (
            "objects that are older than the database",
            |said| {
                let database = part_of(said, &PartName::Database).began;
                let part = part_of(said, &artifacts());
                part.ended = database - Duration::from_secs(1);
                part.began = part.ended;
            },
            artifacts(),
            Wrong::Skew,
        ),
        (
            "secrets that were sealed as another part",
            |said| {
                let other = sealed_of(said, &PartName::Configuration).clone();
                *sealed_of(said, &PartName::Secrets) = other;
            },
            PartName::Secrets,
            Wrong::Seal,
        ),
    ]
}

/// What two clocks may differ by is no skew.
async fn clocks_may_differ(place: &Place) {
    resigned(place, |said| {
        let (began, ended) = (said.began - MINUTE * 4, said.ended + MINUTE * 4);
        let part = part_of(said, &PartName::Configuration);
        (part.began, part.ended) = (began, ended);
    })
    .await;
    is_sound(place).await;
}

#[tokio::test(start_paused = true)]
async fn manifests_and_seals_of_others_and_of_other_times_are_found() {
    let (place, said) = full(ProfileName::Poc2k).await;
    manifests_of_others(&place, &said).await;
    seals_of_others(&place).await;
    let kept = place.stage.sandbox.world();
    for (what, lie, part, wrong) in lies() {
        resigned(&place, lie).await;
        is_found(&place, what, &[(Some(part), wrong)]).await;
        undo(&place, &kept);
    }
    clocks_may_differ(&place).await;
}
