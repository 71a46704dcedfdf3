//! Death at every point of a restore: before each entry of the ledger, before each change in AWS, after it with the
//! answer lost. The next run must end in the world that was saved, with what was replaced still kept.

use std::path::Path;
use std::sync::Arc;

use gantry::ops::Entry;
use gantry::profile::ProfileName;
use gantry::sandbox::Holder;
use gantry::sandbox::world::World;

use crate::restore::{Seen, Source, failures, fill, nothing_to_do, restored, ruin};
use crate::support::deaths::{Deaths, Remains, from_each, runtime};
use crate::support::stage::{Stage, site};
use crate::taking::{FIRST, Place};

struct Story {
    before: Seen,
    source: Source,
    databases: usize,
    remains: Vec<Remains>,
    entries: Vec<Entry>,
}

fn databases(world: &World) -> usize {
    world.rows("eu-west-1", "rds/db_instance").count()
}

/// A site of which a point was taken, and that was ruined afterwards; its nodes keep what they know in a file.
async fn ruined(file: &Path) -> (Place, Seen) {
    let stage = Stage::new(ProfileName::Poc2k);
    stage.install().await;
    let place = Place::on(stage, Some(file.to_owned()), Some(3)).await;
    fill(&place).await;
    let before = Seen::of(&place).await;
    let taken = place.create(FIRST).await;
    assert!(taken.closed.unwrap().manifest.whole);
    ruin(&place).await;
    (place, before)
}

async fn watched(folder: &Path) -> Story {
    let file = folder.join("nodes.json");
    let (place, before) = ruined(&file).await;
    let deaths = Deaths::watch(&place, &file);
    let ledger = deaths.ledger(&place);
    let source = Source::of(&place);
    let hosts = deaths.hosts(&place);
    let (carried, _) = restored(&place, hosts, &source, Arc::new(ledger.clone()))
        .await
        .unwrap();
    assert!(carried.complete(), "{:#?}", failures(&carried));
    Story {
        remains: deaths.end(&place),
        databases: databases(&place.stage.sandbox.world()),
        before,
        source,
        entries: ledger.entries(),
    }
}

async fn go_on(story: &Story, remains: &Remains, file: &Path) -> Result<(), String> {
    let place = remains.place(site(ProfileName::Poc2k), file).await?;
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
    let aside = proof
        .set_aside
        .get("the database")
        .ok_or("nothing is set aside")?;
    let kept = place
        .stage
        .sandbox
        .content("eu-west-1", Holder::Database(aside));
    if !kept.is_some_and(|text| text.contains("group/project-4")) {
        return Err(format!("{aside} is not what was there"));
    }
    let there = databases(&place.stage.sandbox.world());
    if there != story.databases {
        return Err(format!("{there} databases"));
    }
    nothing_to_do(&place).await;
    Ok(())
}

#[test]
fn a_restore_survives_death_anywhere() {
    let folder = tempfile::tempdir().unwrap();
    let story = runtime().block_on(watched(folder.path()));
    let story = &story;
    from_each(&story.remains, folder.path(), async |left, file| {
        go_on(story, left, file).await
    });
}
