//! Death during a restore. The next run must end in the world that was saved, with what was replaced, if anything, still
//! kept, and with nothing there twice.
//!
//! A full point of poc-2k and the volume of a box are restored with a death at every point: before each entry of the
//! ledger, before each change in AWS, after it with the answer lost. An archive, and a point onto another site, with a
//! death at the end of each stage, before that is written down, and around every fifth change in AWS: what
//! [`Watch::Sparsely`] says.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use gantry::ops::Entry;
use gantry::ops::point::Purpose;
use gantry::ops::restore::Onto;
use gantry::ops::snapshot::Stillness;
use gantry::profile::ProfileName;
use gantry::sandbox::Holder;
use gantry::sandbox::world::World;
use gantry::site::Site;

use crate::restore::{
    Seen, Source, failures, fill, installed_beside, nothing_to_do, restored, ruin,
};
use crate::support::deaths::{Deaths, Remains, Watch, from_each, runtime};
use crate::support::stage::{Stage, site};
use crate::taking::{FIRST, Place};

const REGION: &str = "eu-west-1";

/// What is restored, onto what, and where it is killed.
#[derive(Clone, Copy)]
struct Case {
    profile: ProfileName,
    purpose: Purpose,
    onto: Onto,
    /// What is replaced and kept, in the words of the report.
    replaces: &'static [&'static str],
    watch: Watch,
    /// How many moments there are at least.
    least: usize,
}

impl Case {
    /// The site that is restored onto.
    fn target(self) -> Site {
        let mut target = site(self.profile);
        if self.onto == Onto::Other {
            target.site.name = "beta".parse().unwrap();
            target.site.domain = "gitlab.beta.example.com".parse().unwrap();
        }
        target
    }
}

struct Story {
    case: Case,
    before: Seen,
    source: Source,
    /// A repository that only what is replaced knows.
    later: String,
    set_aside: BTreeMap<String, String>,
    holders: (usize, usize),
    remains: Vec<Remains>,
    entries: Vec<Entry>,
}

/// How many databases there are, and how many volumes with something on them.
fn holders(world: &World) -> (usize, usize) {
    let databases = world.rows(REGION, "rds/db_instance").count();
    let volumes = world.rows(REGION, "ec2/volume");
    let filled = volumes.filter(|(_, row)| !row.text("_content").is_empty());
    (databases, filled.count())
}

/// A site of which a point was taken, and what was there then; its nodes keep what they know in a file.
async fn saved(case: Case, file: &Path) -> (Place, Seen) {
    let stage = Stage::new(case.profile);
    stage.install().await;
    let place = Place::on(stage, Some(file.to_owned()), Some(3)).await;
    fill(&place).await;
    let before = Seen::of(&place).await;
    let taken = match case.purpose {
        Purpose::Full | Purpose::Partial => place.create(FIRST).await,
        Purpose::Snapshot => place.snapshot(FIRST, Stillness::Paused).await,
    };
    assert!(taken.closed.unwrap().manifest.whole);
    (place, before)
}

/// Work goes on after the point, as far as the point can undo it: a snapshot holds no objects and no secrets.
async fn work(case: Case, place: &Place) {
    match case.purpose {
        Purpose::Full | Purpose::Partial => ruin(place).await,
        Purpose::Snapshot => {
            place.machines.add_project().await.unwrap();
            let pushed = place.machines.push("group/project-1", "main", "bad").await;
            pushed.unwrap();
        }
    }
}

/// A second site in the same account, on which others have worked.
async fn beside(case: Case, place: &Place, file: &Path) -> Place {
    let stage = installed_beside(place, case.target()).await;
    Place::on(stage, Some(file.to_owned()), Some(5)).await
}

/// A repository that a site has and the point has not.
async fn later(before: &Seen, place: &Place) -> String {
    let picture = place.machines.picture().await.unwrap();
    let mut paths = picture.repositories.into_keys();
    let saved = &before.picture.repositories;
    paths.find(|path| !saved.contains_key(path)).unwrap()
}

async fn watched(case: Case, folder: &Path) -> Story {
    let (first, second) = (folder.join("nodes.json"), folder.join("beside.json"));
    let (origin, before) = saved(case, &first).await;
    let source = Source::of(&origin);
    let (place, file) = if case.onto == Onto::Same {
        work(case, &origin).await;
        (origin, first)
    } else {
        let other = beside(case, &origin, &second).await;
        (other, second)
    };
    let later = later(&before, &place).await;
    let deaths = Deaths::watch(&place, &file, case.watch);
    let ledger = deaths.ledger(&place);
    let hosts = deaths.hosts(&place);
    let (carried, proof) = restored(&place, hosts, &source, Arc::new(ledger.clone()))
        .await
        .unwrap();
    assert!(carried.complete(), "{:#?}", failures(&carried));
    let set_aside = proof.unwrap().set_aside;
    let replaced: Vec<&str> = set_aside.keys().map(String::as_str).collect();
    assert_eq!(replaced, case.replaces);
    Story {
        case,
        before,
        source,
        later,
        set_aside,
        remains: deaths.end(&place, case.least),
        holders: holders(&place.stage.sandbox.world()),
        entries: ledger.entries(),
    }
}

/// Whether what was replaced is there, with what only it knows.
fn kept(story: &Story, place: &Place, aside: &BTreeMap<String, String>) -> Result<(), String> {
    if *aside != story.set_aside {
        let wanted = &story.set_aside;
        return Err(format!("set aside: {aside:?} and not {wanted:?}"));
    }
    for (what, name) in aside {
        let holder = if what == "the database" {
            Holder::Database(name)
        } else {
            Holder::Volume(name)
        };
        let kept = place.stage.sandbox.content(REGION, holder);
        if !kept.is_some_and(|text| text.contains(&story.later)) {
            return Err(format!("{name} is not {what} that was there"));
        }
    }
    Ok(())
}

async fn go_on(story: &Story, remains: &Remains, file: &Path) -> Result<(), String> {
    let place = remains.place(story.case.target(), file).await?;
    let hosts = Arc::new(place.machines.hosts());
    let ledger = remains.ledger(&story.entries);
    let (carried, proof) = restored(&place, hosts, &story.source, ledger)
        .await
        .map_err(|e| e.to_string())?;
    if !carried.complete() {
        return Err(format!(
            "it did not come to its end: {:?}",
            failures(&carried)
        ));
    }
    let lost = story.before.lost_in(&Seen::of(&place).await);
    if !lost.is_empty() {
        return Err(format!("lost: {lost:?}"));
    }
    let proof = proof.ok_or("there is no report")?;
    if !proof.sound {
        return Err(format!("{proof:#?}"));
    }
    kept(story, &place, &proof.set_aside)?;
    let there = holders(&place.stage.sandbox.world());
    if there != story.holders {
        let (databases, volumes) = there;
        return Err(format!("{databases} databases, {volumes} volumes"));
    }
    nothing_to_do(&place).await;
    Ok(())
}

fn survives(case: Case) {
    let folder = tempfile::tempdir().unwrap();
    let story = runtime().block_on(watched(case, folder.path()));
    let story = &story;
    from_each(&story.remains, folder.path(), async |left, file| {
        go_on(story, left, file).await
    });
}

#[test]
fn a_restore_survives_death_anywhere() {
    survives(Case {
        profile: ProfileName::Poc2k,
        purpose: Purpose::Full,
        onto: Onto::Same,
        replaces: &["the database"],
        watch: Watch::Closely,
        least: 31,
    });
}

/// Stop, detach, attach, start: of all the deaths these are the ones that leave a volume plugged in nowhere.
#[test]
fn a_swap_of_volumes_survives_death_anywhere() {
    survives(Case {
        profile: ProfileName::SingleBox,
        purpose: Purpose::Snapshot,
        onto: Onto::Same,
        replaces: &["the volume of box"],
        watch: Watch::Closely,
        least: 25,
    });
}

#[test]
fn a_restore_of_an_archive_survives_death_in_each_stage() {
    survives(Case {
        profile: ProfileName::SingleBox,
        purpose: Purpose::Full,
        onto: Onto::Same,
        replaces: &[],
        watch: Watch::Sparsely,
        least: 12,
    });
}

#[test]
fn a_restore_onto_another_site_survives_death_in_each_stage() {
    survives(Case {
        profile: ProfileName::Poc2k,
        purpose: Purpose::Full,
        onto: Onto::Other,
        replaces: &["the database"],
        watch: Watch::Sparsely,
        least: 15,
    });
}
