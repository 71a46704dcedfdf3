//! The procedure: mark, remove the parts, remove the manifest.

use std::path::Path;
use std::sync::Arc;

use serde_json::json;

use super::calls::Clouds;
use super::keys::removable;
use super::{DropPlan, PrunePlan, Thing, VERB};
use crate::clock::Clock;
use crate::ops::point::{Dropping, Mark, Points, Signer, manifest_key, says_dropping};
use crate::ops::runbook::{Runbook, Stage, StageCx, act};
use crate::ops::{Entry, FileLedger, Ledger, LedgerError, OpsFault};

/// What a prune works with. Cheap to clone.
#[derive(Clone)]
pub struct Pruning {
    pub points: Points,
    pub signer: Arc<Signer>,
    pub clouds: Clouds,
}

const MARK: &str = "mark";
const GIT_DATA: &str = "git-data";

/// The procedure that carries a plan out.
pub fn runbook(plan: &PrunePlan, with: &Pruning) -> Runbook {
    let ids: Vec<&str> = plan.drops.iter().map(|drop| drop.id.as_str()).collect();
    let mut book = Runbook::new(VERB, json!({ "drop": ids }));
    let plan = Arc::new(plan.clone());
    let shared = |with: &Pruning| (with.clone(), plan.clone());

    let (tools, all) = shared(with);
    let mark = act(move |cx: StageCx| {
        let (tools, all) = (tools.clone(), all.clone());
        async move { Ok(mark(&cx, &tools, &all).await?) }
    });
    // All of them before anything is removed: two that go may share a part.
    book.add(Stage::new(MARK, "mark", mark));

    let (tools, all) = shared(with);
    let git_data = act(move |cx: StageCx| {
        let (tools, all) = (tools.clone(), all.clone());
        async move { Ok(remove_git_data(&cx, &tools, &all).await?) }
    });
    if plan.drops.iter().any(has_git_data) {
        book.add(Stage::new(GIT_DATA, "remove", git_data).after(MARK));
    }

    for (number, drop) in plan.drops.iter().enumerate() {
        let parts = format!("parts of {}", drop.id);
        let (tools, all) = shared(with);
        let work = act(move |_: StageCx| {
            let (tools, all) = (tools.clone(), all.clone());
            async move { Ok(remove_parts(&tools, &all.drops[number]).await?) }
        });
        let mut stage = Stage::new(&parts, "remove", work).after(MARK);
        if has_git_data(drop) {
            stage = stage.after(GIT_DATA);
        }
        book.add(stage);

        let (tools, all) = shared(with);
        let work = act(move |_: StageCx| {
            let (tools, all) = (tools.clone(), all.clone());
            async move { Ok(forget(&tools, &all, &all.drops[number]).await?) }
        });
        let manifest = format!("manifest of {}", drop.id);
        book.add(Stage::new(manifest, "remove", work).after(parts));
    }
    book
}

/// Ends what an earlier prune left in the ledger: the bucket says what is left to do, and the new plan has it all.
pub fn supersede(site_dir: &Path, run: &str, clock: Clock) -> Result<(), LedgerError> {
    while let Some(story) = FileLedger::unfinished(site_dir, VERB)? {
        FileLedger::open(site_dir, &story.id)?.append(&Entry::Ended {
            outcome: format!("planned anew by {run}"),
            at: clock.now(),
        })?;
    }
    Ok(())
}

fn has_git_data(drop: &DropPlan) -> bool {
    let mut things = drop.things.iter();
    things.any(|thing| matches!(thing, Thing::GitData { .. }))
}

/// The same mark each time, so that marking again after a lost answer is fine.
async fn mark(cx: &StageCx, with: &Pruning, plan: &PrunePlan) -> Result<usize, OpsFault> {
    let mark = Mark::Dropping(Dropping {
        at: cx.began(),
        run: cx.id.clone(),
    });
    let unmarked = plan.drops.iter().filter(|drop| !drop.marked);
    for drop in unmarked {
        with.points.mark(&with.signer, &drop.id, &mark).await?;
    }
    Ok(plan.drops.len())
}

async fn remove_git_data(
    cx: &StageCx,
    with: &Pruning,
    plan: &PrunePlan,
) -> Result<usize, OpsFault> {
    let things = plan.drops.iter().flat_map(|drop| &drop.things);
    let going: Vec<(String, String, String)> = things
        .filter_map(|thing| match thing {
            Thing::GitData {
                bucket,
                list,
                sha256,
            } => Some((bucket.clone(), list.clone(), sha256.clone())),
            _ => None,
        })
        .collect();
    let note = |text: String| cx.note(text);
    let keys = removable(&with.points, &going, &plan.needed, &plan.claimed, note).await?;
    let mut removed = 0;
    for (bucket, keys) in &keys {
        let each = keys.iter().map(String::as_str);
        with.clouds.delete_keys(bucket, each).await?;
        removed += keys.len();
    }
    Ok(removed)
}

async fn remove_parts(with: &Pruning, drop: &DropPlan) -> Result<usize, OpsFault> {
    for thing in &drop.things {
        with.clouds.remove_snapshot(thing).await?;
    }
    let objects: Vec<(&str, &str)> = drop
        .things
        .iter()
        .filter_map(|thing| match thing {
            Thing::Object { bucket, key } => Some((bucket.as_str(), key.as_str())),
            _ => None,
        })
        .collect();
    for in_bucket in objects.chunk_by(|one, next| one.0 == next.0) {
        let keys = in_bucket.iter().map(|(_, key)| *key);
        with.clouds.delete_keys(in_bucket[0].0, keys).await?;
    }
    Ok(drop.things.len())
}

/// Removes what is left below the point's name: the manifest first, so that nothing is a point without its parts, and
/// last the mark that says why the rest is there.
async fn forget(with: &Pruning, plan: &PrunePlan, drop: &DropPlan) -> Result<usize, OpsFault> {
    let found = with.points.keys_of(&drop.id).await?;
    let bucket = with.points.bucket();
    let manifest = manifest_key(&drop.id);
    if found.contains(&manifest) {
        with.clouds.delete_keys(bucket, [manifest.as_str()]).await?;
    }
    let rest = found.iter().map(String::as_str);
    let rest = rest.filter(|key| *key != manifest && !plan.spared.contains(*key));
    let (marks, others): (Vec<&str>, Vec<&str>) =
        rest.partition(|key| says_dropping(&drop.id, key));
    with.clouds.delete_keys(bucket, others).await?;
    with.clouds.delete_keys(bucket, marks).await?;
    Ok(found.len())
}
