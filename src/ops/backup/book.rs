//! `gantry backup create` as a runbook.
//!
//! ```text
//! check ─┬─ refs-before ─┬─ database-begin ─── database ─┬─ objects-…, registry ─┐
//!        │               └─ repositories ─── refs ───────┘ (a box: archived)     ├─ close ── manifest ── tidy
//!        ├─ secrets, configuration ──────────────────────────────────────────────┤
//!        └─ copy-key ─── database-copy ──────────────────────────────────────────┘
//! ```
//!
//! The database's moment comes first: objects that it names must be in the lists, one too many does no harm. A part
//! that fails stops no other; the manifest then says that the point is not whole. The manifest is put together once,
//! and written as it then is: a run that is taken up writes the same again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::chain::{self, Next};
use super::check::{Checked, check};
use super::parts::{
    Saved, Saving, Taking, Trouble, archive, attempt, configuration, failed, objects, secrets,
    server_side, tidy,
};
use super::plan::{How, PartPlan, Wanted, plan};
use crate::engine::Halt;
use crate::ops::OpsFault;
use crate::ops::gitlab::{Refs, SAMPLE, archived, not_restorable, refs};
use crate::ops::point::{
    By, FORMAT, Manifest, Outcome, Part, PartName, PointId, Purpose, Rank, RegionCopy, Way,
};
use crate::ops::runbook::{Act, Runbook, Stage, StageCx, act};
use crate::ops::snapshot::{copies, database};

/// The verb of the procedure, in the ledger.
pub const VERB: &str = "backup create";

/// An attempt older than this is not gone on with: what it would still save would be too far from what it has.
pub const FRESH: Duration = Duration::from_hours(24);

/// What was asked for. A run that asks for something else does not take the procedure up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    pub purpose: Purpose,
    /// Sorted; none for everything.
    pub only: Option<Vec<PartName>>,
    pub rank: Option<Rank>,
}

/// Whether parts that are not begun yet are still saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Take,
    /// Only finishes what an earlier run began, so that nothing is left that no manifest names.
    Close,
}

/// The stages of a point.
pub fn book(
    taking: &Arc<Taking>,
    point: &PointId,
    parts: &[PartPlan],
    ask: &Ask,
    mode: Mode,
) -> Runbook {
    let shared = Shared {
        taking: taking.clone(),
        point: point.clone(),
        parts: parts.into(),
        mode,
    };
    let mut book = Runbook::new(VERB, serde_json::to_value(ask).unwrap_or_default());
    let rank = ask.rank;
    book.add(Stage::new(
        "check",
        "check",
        shared.act(move |shared, _| Box::pin(async move { first(&shared, rank).await })),
    ));
    let mut ends = Vec::new();
    if shared.has_git() {
        // Before the moment of the database: what is in both samples is in it too.
        let before = shared.act(|shared, cx| Box::pin(async move { sample(&shared, &cx).await }));
        book.add(Stage::new("refs-before", "read", before).after("check"));
    }
    let database = parts
        .iter()
        .find(|part| matches!(part.how, How::DatabaseSnapshot { .. }));
    if let Some(part) = database {
        ends.extend(add_database(&mut book, &shared, part));
    }
    for part in parts {
        if let Some(stage) = stage(&shared, part, database.is_some()) {
            ends.push(part.name.to_string());
            book.add(stage);
        }
    }
    if shared.has_git() {
        let after = shared.act(|shared, cx| Box::pin(async move { sample(&shared, &cx).await }));
        book.add(Stage::new("refs", "read", after).after("repositories"));
        ends.push("refs".to_owned());
    }
    if shared.has_archive() {
        // While the archive is on the node, and with the refs that nobody changed meanwhile.
        let look = shared.act(|shared, cx| Box::pin(async move { prove(&shared, &cx).await }));
        book.add(
            Stage::new("archived", "check", look)
                .usually(Duration::from_mins(10))
                .after("refs"),
        );
        ends.push("archived".to_owned());
    }
    book.add(
        Stage::new(
            "close",
            "put together",
            shared.act(|shared, cx| Box::pin(async move { put_together(&shared, &cx) })),
        )
        .after("check")
        .after_all(ends),
    );
    add_manifest(&mut book, taking);
    if shared.has_git() {
        book.add(
            Stage::new(
                "tidy",
                "tidy",
                shared.act(|shared, cx| Box::pin(async move { clear(&shared, &cx).await })),
            )
            .after("manifest"),
        );
    }
    book
}

/// Writes what the stage `close` put together.
pub fn add_manifest(book: &mut Runbook, taking: &Arc<Taking>) {
    let taking = taking.clone();
    let write = act(move |cx: StageCx| {
        let taking = taking.clone();
        async move {
            let closed: Closed = cx.output("close")?;
            taking
                .points
                .write(&taking.signer, &closed.manifest)
                .await?;
            Ok(())
        }
    });
    book.add(Stage::new("manifest", "write", write).after("close"));
}

/// What the stage `check` leaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct First {
    pub checked: Checked,
    /// What Gitaly is going to be asked for, where it is asked.
    pub next: Option<Next>,
}

/// What the stage `close` leaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closed {
    pub manifest: Manifest,
    pub troubles: Vec<Trouble>,
}

/// A copy in the other region, or why there is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Copied {
    Done(RegionCopy),
    /// There was nothing to copy; why not, the part itself says.
    Nothing,
    Failed(Trouble),
}

/// A step on the way to a part: it failed, and the part will say so.
pub type Attempted<T> = Result<T, Trouble>;

#[derive(Clone)]
struct Shared {
    taking: Arc<Taking>,
    point: PointId,
    parts: Arc<[PartPlan]>,
    mode: Mode,
}

impl Shared {
    fn act<T, F>(&self, work: F) -> Act
    where
        T: Serialize + Send + 'static,
        F: Fn(Self, StageCx) -> futures::future::BoxFuture<'static, Result<T, Halt<OpsFault>>>
            + Send
            + Sync
            + 'static,
    {
        let shared = self.clone();
        act(move |cx| work(shared.clone(), cx))
    }

    /// Why this stage does nothing: it was not begun when the procedure was given up.
    fn given_up(&self, cx: &StageCx) -> Option<OpsFault> {
        (self.mode == Mode::Close && !cx.again).then(|| {
            OpsFault::check(
                cx.stage.clone(),
                "the run was interrupted, and not gone on with in time",
                "take a new point",
            )
        })
    }
}

/// Turns a failure into something that the ledger keeps; an interrupt stays one.
pub fn kept<T>(result: Result<T, Halt<OpsFault>>) -> Result<Attempted<T>, Halt<OpsFault>> {
    match result {
        Ok(done) => Ok(Ok(done)),
        Err(Halt::Failed(fault)) => Ok(Err(Trouble::of(&fault))),
        Err(Halt::Interrupted) => Err(Halt::Interrupted),
    }
}

async fn first(shared: &Shared, rank: Option<Rank>) -> Result<First, Halt<OpsFault>> {
    let taking = &shared.taking;
    let checked = check(taking, &shared.parts).await.or_refuse()?;
    let server_side = shared
        .parts
        .iter()
        .any(|part| part.how == How::GitalyServerSide);
    let next = if server_side {
        Some(chosen(taking, &shared.point, rank).await?)
    } else {
        None
    };
    Ok(First { checked, next })
}

/// Whether Gitaly's next backup is whole, by the points there are.
pub async fn chosen(
    taking: &Taking,
    point: &PointId,
    rank: Option<Rank>,
) -> Result<Next, OpsFault> {
    let zone = taking.ground.site.backup.timezone.rules();
    let zone = zone.unwrap_or(jiff::tz::TimeZone::UTC);
    let points = taking.points.list().await?;
    let now = taking.ground.cx.clock().now();
    let gitlab = taking.ground.gitlab();
    chain::next(&points, point, &gitlab, now, &zone, rank)
}

/// The stages of an RDS snapshot; returns those that the end waits for.
fn add_database(book: &mut Runbook, shared: &Shared, part: &PartPlan) -> Vec<String> {
    let How::DatabaseSnapshot { instance } = part.how.clone() else {
        return vec![];
    };
    let name = part.name.clone();
    let snapshot = shared
        .taking
        .ground
        .names
        .database_snapshot(instance_part(&name), &shared.point.stamp());
    let begin = shared.act(move |shared, cx| {
        let (instance, snapshot) = (instance.clone(), snapshot.clone());
        Box::pin(async move {
            let begun = async {
                if let Some(fault) = shared.given_up(&cx) {
                    return Err(fault.into());
                }
                let ground = &shared.taking.ground;
                let tags = ground.point_tags(&shared.point, "database");
                database::begin(&cx, &ground.cx, &instance, &snapshot, &tags).await
            };
            kept(begun.await)
        })
    });
    book.add(Stage::new("database-begin", "begin", begin).after(shared.first_stage()));
    let wait = shared.act(move |shared, cx| {
        let name = name.clone();
        Box::pin(async move {
            attempt(&cx, name, async {
                let begun: database::Begun = begun(&cx, "database-begin")?;
                let found =
                    database::available(&cx, &shared.taking.ground.cx, &begun.snapshot).await?;
                Ok(database_part(&begun, found.db_snapshot_arn()))
            })
            .await
        })
    });
    book.add(
        Stage::new("database", "save", wait)
            .usually(database::USUAL)
            .after("database-begin"),
    );
    let mut ends = vec!["database".to_owned()];
    if shared.taking.ground.away.is_some() {
        add_copy_key(book, shared);
        let copy = shared.act(|shared, cx| {
            Box::pin(async move { copy_database(&shared.taking, &shared.point, &cx).await })
        });
        book.add(
            Stage::new("database-copy", "copy", copy)
                .usually(copies::USUAL)
                .after_all(["copy-key", "database"]),
        );
        ends.push("database-copy".to_owned());
    }
    ends
}

/// What a step before left, or its trouble as a fault again.
pub fn begun<T: serde::de::DeserializeOwned>(cx: &StageCx, stage: &str) -> Result<T, OpsFault> {
    let attempted: Attempted<T> = cx.output(stage)?;
    attempted.map_err(|trouble| OpsFault::check(stage, trouble.what, trouble.help))
}

pub fn database_part(begun: &database::Begun, arn: Option<&str>) -> Saving {
    Saving {
        began: Some(begun.began),
        bytes: begun.gib << 30,
        way: Way::DatabaseSnapshot {
            instance: begun.instance.clone(),
            snapshot: begun.snapshot.clone(),
            arn: arn.unwrap_or(&begun.arn).to_owned(),
            class: begun.class.clone(),
            copies: vec![],
        },
    }
}

/// The word for a database in the names of its snapshots.
pub fn instance_part(name: &PartName) -> &'static str {
    match name {
        PartName::PraefectDatabase => "praefect",
        _ => "main",
    }
}

fn add_copy_key(book: &mut Runbook, shared: &Shared) {
    let key = shared.act(|shared, cx| Box::pin(async move { copy_key(&shared.taking, &cx).await }));
    book.add(Stage::new("copy-key", "ensure", key).after("check"));
}

/// The key in the other region.
pub async fn copy_key(
    taking: &Taking,
    cx: &StageCx,
) -> Result<Attempted<copies::KeyThere>, Halt<OpsFault>> {
    let ground = &taking.ground;
    let Some(away) = &ground.away else {
        return Err(OpsFault::internal("there is no other region").into());
    };
    kept(copies::key(cx, ground, away).await)
}

/// Copies the database snapshot that the stage `database` waited for.
pub async fn copy_database(
    taking: &Taking,
    point: &PointId,
    cx: &StageCx,
) -> Result<Copied, Halt<OpsFault>> {
    let saved: Saved = cx.output("database")?;
    if saved.part.way().is_none() {
        return Ok(Copied::Nothing);
    }
    let ground = &taking.ground;
    let Some(away) = &ground.away else {
        return Ok(Copied::Nothing);
    };
    let copied = async {
        let begun: database::Begun = begun(cx, "database-begin")?;
        let key: copies::KeyThere = self::begun(cx, "copy-key")?;
        let tags = ground.point_tags(point, "database");
        copies::of_database(cx, ground, away, &key, &begun, &tags).await
    };
    Ok(match kept(copied.await)? {
        Ok(copy) => Copied::Done(copy),
        Err(trouble) => Copied::Failed(trouble),
    })
}

/// The stage of a part that has one of its own.
fn stage(shared: &Shared, part: &PartPlan, database: bool) -> Option<Stage> {
    let (name, how) = (part.name.clone(), part.how.clone());
    let after = match &how {
        How::DatabaseSnapshot { .. } | How::Rebuilt { .. } | How::DiskSnapshots { .. } => {
            return None;
        }
        // Not before the moment of the database.
        How::ObjectVersions { .. } if database => "database",
        How::ObjectVersions { .. } if shared.has_archive() => "repositories",
        How::GitalyServerSide if database => "database-begin",
        How::Archive { .. } | How::GitalyServerSide => "refs-before",
        _ => "check",
    };
    let usual = match &how {
        How::Archive { .. } | How::GitalyServerSide => Duration::from_mins(30),
        How::ObjectVersions { .. } => Duration::from_mins(1),
        _ => Duration::from_secs(5),
    };
    let work = shared.act(move |shared, cx| {
        let (name, how) = (name.clone(), how.clone());
        Box::pin(async move {
            let work = save(&shared, &cx, &name, &how);
            attempt(&cx, name.clone(), work).await
        })
    });
    Some(
        Stage::new(part.name.to_string(), "save", work)
            .usually(usual)
            .after(after),
    )
}

impl Shared {
    /// Whether Git data is saved, in whichever way.
    fn has_git(&self) -> bool {
        self.parts
            .iter()
            .any(|part| matches!(part.how, How::Archive { .. } | How::GitalyServerSide))
    }

    /// What everything else waits for.
    fn first_stage(&self) -> &'static str {
        if self.has_git() {
            "refs-before"
        } else {
            "check"
        }
    }

    fn has_archive(&self) -> bool {
        self.parts
            .iter()
            .any(|part| matches!(part.how, How::Archive { .. }))
    }
}

async fn save(
    shared: &Shared,
    cx: &StageCx,
    name: &PartName,
    how: &How,
) -> Result<Saving, Halt<OpsFault>> {
    if let Some(fault) = shared.given_up(cx) {
        return Err(fault.into());
    }
    let (taking, point) = (&shared.taking, &shared.point);
    match how {
        How::Archive { holds } => archive(cx, taking, point, holds).await,
        How::GitalyServerSide => {
            let first: First = cx.output("check")?;
            let next = first.next.ok_or_else(|| {
                OpsFault::internal("nobody decided whether the Git data is whole")
            })?;
            cx.note(match next.rank {
                Rank::Whole => format!("Git data: whole ({})", next.why),
                Rank::Increment => format!("Git data: an increment ({})", next.why),
            });
            server_side(cx, taking, point, &next).await
        }
        How::ObjectVersions { bucket } => objects(taking, point, name, bucket).await,
        How::Sealed if *name == PartName::Secrets => secrets(taking, point).await,
        How::Sealed => configuration(taking, point).await,
        How::DatabaseSnapshot { .. } | How::Rebuilt { .. } | How::DiskSnapshots { .. } => {
            Err(OpsFault::internal(format!("{name} has no stage of its own")).into())
        }
    }
}

fn put_together(shared: &Shared, cx: &StageCx) -> Result<Closed, Halt<OpsFault>> {
    close(shared, cx).map_err(Halt::Failed)
}

/// Puts the manifest together from what the stages left.
fn close(shared: &Shared, cx: &StageCx) -> Result<Closed, OpsFault> {
    let first: First = cx.output("check")?;
    let mut parts = Vec::new();
    let mut troubles = Vec::new();
    for plan in shared.parts.iter() {
        let stage = match &plan.how {
            How::DatabaseSnapshot { .. } => "database".to_owned(),
            How::Rebuilt { from } => {
                parts.push(shared.rebuilt(plan, from, cx)?);
                continue;
            }
            _ => plan.name.to_string(),
        };
        let saved: Saved = cx.output(&stage)?;
        troubles.extend(saved.trouble);
        parts.push(saved.part);
    }
    if shared.has_archive() {
        let proven: Attempted<()> = cx.output("archived")?;
        troubles.extend(proven.err());
    }
    if shared.taking.ground.away.is_some() && parts.iter().any(is_database) {
        match cx.output("database-copy")? {
            Copied::Done(copy) => parts.iter_mut().for_each(|part| {
                if let Outcome::Saved(Way::DatabaseSnapshot { copies, .. }) = &mut part.outcome {
                    copies.push(copy.clone());
                }
            }),
            Copied::Nothing => {}
            Copied::Failed(trouble) => troubles.push(trouble),
        }
    }
    let mut closed = closed(
        &shared.taking,
        &shared.point,
        purpose_of(&shared.taking, Purpose::Full, &parts)?,
        cx.began(),
        &first.checked,
        parts,
        troubles,
    );
    if shared.has_git() {
        let before: Refs = cx.output("refs-before")?;
        let after: Refs = cx.output("refs")?;
        closed.manifest.refs = unchanged(before, &after);
    }
    Ok(closed)
}

/// What a point with these parts is: `whole` when it has every part that such a point of this site has, partial otherwise.
pub fn purpose_of(taking: &Taking, whole: Purpose, parts: &[Part]) -> Result<Purpose, OpsFault> {
    let ground = &taking.ground;
    let all = plan(
        &ground.sizes,
        &ground.fleet,
        &ground.names,
        whole,
        &Wanted::All,
    )?;
    let is_there = |wanted: &PartPlan| parts.iter().any(|part| part.name == wanted.name);
    Ok(if all.iter().all(is_there) {
        whole
    } else {
        Purpose::Partial
    })
}

/// What a sample of repositories points at. Proof for later, and no part: where it cannot be had, the point is whole
/// all the same.
async fn sample(shared: &Shared, cx: &StageCx) -> Result<Refs, Halt<OpsFault>> {
    if shared.given_up(cx).is_some() {
        return Ok(Refs::new());
    }
    let taken = async {
        let shell = shared.taking.deploy_node()?;
        refs(shell.as_ref(), SAMPLE, shared.point.as_str()).await
    };
    Ok(taken.await.unwrap_or_else(|fault| {
        cx.note(format!("no repositories are noted for comparing: {fault}"));
        Refs::new()
    }))
}

/// Whether the repositories of a box's archive restore, and point at what they pointed at while they were saved. What
/// is found makes the point one that is not whole; the archive stays, for what of it is good.
async fn prove(shared: &Shared, cx: &StageCx) -> Result<Attempted<()>, Halt<OpsFault>> {
    let saved: Saved = cx.output("repositories")?;
    let Some(Way::Archive { backup, .. }) = saved.part.way() else {
        // It failed, and says so itself.
        return Ok(Ok(()));
    };
    let known = unchanged(cx.output("refs-before")?, &cx.output("refs")?);
    let proven = async {
        let shell = shared.taking.deploy_node()?;
        let found = archived(shell.as_ref(), backup).await?;
        for (repository, name) in found
            .unlike
            .iter()
            .filter(|(repository, _)| !known.contains_key(*repository))
        {
            cx.note(format!(
                "{repository}: its {name} was changed while it was saved"
            ));
        }
        let against = found.against(&known);
        if against.is_empty() {
            return Ok(());
        }
        Err(not_restorable(shell.host(), &against))
    };
    kept(proven.await.map_err(Halt::Failed))
}

/// Those that nobody pushed to while they were saved: what was saved of them is known.
fn unchanged(before: Refs, after: &Refs) -> Refs {
    before
        .into_iter()
        .filter(|(repository, refs)| after.get(repository) == Some(refs))
        .collect()
}

fn is_database(part: &Part) -> bool {
    matches!(part.way(), Some(Way::DatabaseSnapshot { .. }))
}

impl Shared {
    /// A part that is not saved, because another brings it back; of the same moment as that one.
    fn rebuilt(&self, plan: &PartPlan, from: &PartName, cx: &StageCx) -> Result<Part, OpsFault> {
        if !self.parts.iter().any(|part| part.name == *from) {
            let why = format!("it is made again from {from}, which is not in this point");
            return Ok(failed(plan.name.clone(), cx.began(), cx.began(), why));
        }
        let saved: Saved = cx.output(&from.to_string())?;
        Ok(Part {
            name: plan.name.clone(),
            began: saved.part.began,
            ended: saved.part.ended,
            bytes: 0,
            outcome: Outcome::Saved(Way::Rebuilt { from: from.clone() }),
        })
    }
}

/// The manifest of these parts. A point with any trouble is not whole.
pub fn closed(
    taking: &Taking,
    point: &PointId,
    purpose: Purpose,
    began: Timestamp,
    checked: &Checked,
    parts: Vec<Part>,
    troubles: Vec<Trouble>,
) -> Closed {
    let ground = &taking.ground;
    let gitlab = checked.gitlab.clone().unwrap_or_else(|| ground.gitlab());
    let whole = troubles.is_empty() && parts.iter().all(|part| part.way().is_some());
    let manifest = Manifest {
        format: FORMAT,
        id: point.clone(),
        purpose,
        site: ground.site_of(),
        gitlab,
        engines: checked.engines.clone(),
        profile: ground.sizes.name.to_string(),
        blueprint: taking.blueprint.clone(),
        by: By {
            run: point.to_string(),
            ..taking.by.clone()
        },
        began,
        ended: ground.cx.clock().now(),
        whole,
        parts,
        refs: BTreeMap::new(),
    };
    Closed { manifest, troubles }
}

async fn clear(shared: &Shared, cx: &StageCx) -> Result<(), Halt<OpsFault>> {
    let saved: Saved = cx.output("repositories")?;
    let way = saved.part.way();
    if let Err(fault) = tidy(&shared.taking, &shared.point, way).await {
        // The point is written: what is left on the node costs room there and nothing else.
        cx.note(format!("the deploy node was not tidied: {fault}"));
    }
    Ok(())
}
