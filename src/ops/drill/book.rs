//! A drill as a runbook, and what is done about one that was cut off.
//!
//! ```text
//! site ─ machines ─ restore ─ record
//!   └─────────────────────────────── removed, whatever happens
//! ```

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::backup::Ground;
use super::super::ledger::Entry;
use super::super::point::{Condition, Drilled, Manifest, Mark, PointId, Points, Signer};
use super::super::restore::{self, Onto, Restoring};
use super::super::runbook::{Act, Runbook, Stage, StageCx, act, carry_out};
use super::super::{Hosts, Ledger, MemoryLedger, OpsFault, Story};
use super::proof::{Proof, Recorded, blame, findings};
use super::{aside, own};
use crate::clock::Clock;
use crate::cloud::Fault;
use crate::engine::{Halt, Observer, Report as Carried, Stop};
use crate::session::{Destroy, InstallOptions, Session};

/// The verb of the procedure, in the ledger.
pub const VERB: &str = "drill";

/// Usual times, for people who want to know before.
pub const SITE: Duration = Duration::from_mins(25);
pub const MACHINES: Duration = Duration::from_mins(15);
pub const RESTORE: Duration = Duration::from_hours(1);
pub const REMOVAL: Duration = Duration::from_mins(20);

/// How often a site is removed: what was made by a call whose answer was lost may be listed only later, and holds what
/// it stands on.
const LOOKS: usize = 6;

/// How long a listing by tags may lag behind.
const LAG: Duration = Duration::from_mins(1);

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    pub point: PointId,
    pub afterwards: Afterwards,
}

/// What becomes of the drill's site in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Afterwards {
    Remove,
    /// It stays, for a person to look at, and is removed by [`clean`].
    Keep,
}

/// What a drill needs of whoever begins it: the ways to the machines of its site.
pub trait Surroundings: Send + Sync {
    /// Sees to it that the machines are configured, and waits until they are.
    fn bring_up<'a>(&'a self, cx: &'a StageCx) -> BoxFuture<'a, Result<(), Halt<OpsFault>>>;

    /// The machines. Called when they are up.
    fn hosts(&self) -> BoxFuture<'_, Result<Arc<dyn Hosts>, OpsFault>>;
}

/// A drill to be carried out.
pub struct Drill {
    pub ask: Ask,
    pub manifest: Manifest,
    /// The site of the drill.
    pub session: Arc<Session>,
    /// Where the point is: the bucket of the site that took it.
    pub points: Points,
    /// That site's.
    pub signer: Signer,
    pub around: Arc<dyn Surroundings>,
    /// Where copies note how far they are.
    pub journals: PathBuf,
    pub observe: Observer,
}

/// What a drill came to.
#[derive(Debug)]
pub struct Came {
    pub carried: Carried<OpsFault>,
    /// None when it did not get so far.
    pub proof: Option<Proof>,
    pub recorded: Option<Recorded>,
}

impl Came {
    fn of(carried: Carried<OpsFault>, story: &Story) -> Self {
        let (proof, recorded) = verdict(story);
        Self {
            carried,
            proof,
            recorded,
        }
    }
}

/// How long a stage took, in seconds.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Took {
    seconds: u64,
}

impl Took {
    fn since(began: jiff::Timestamp, cx: &StageCx) -> Self {
        Self {
            seconds: cx.clock.since(began).as_secs(),
        }
    }
}

/// What the ledger of a drill says that it came to, as far as it got.
pub fn verdict(story: &Story) -> (Option<Proof>, Option<Recorded>) {
    fn of<T: serde::de::DeserializeOwned>(story: &Story, stage: &str) -> Option<T> {
        serde_json::from_value(story.output(stage)?.clone()).ok()
    }
    (of(story, "restore"), of(story, "record"))
}

/// Carries a drill out. Its site is removed whatever happens, unless it is to be kept; when that fails, the ledger stays
/// open, and [`settle`] tries it again.
pub async fn go(
    drill: &Arc<Drill>,
    id: &str,
    ledger: Arc<dyn Ledger>,
    stop: &Stop,
    clock: Clock,
) -> Result<Came, OpsFault> {
    let observe = &drill.observe;
    let carried = carry_out(book(drill), id, ledger.clone(), stop, clock, observe).await?;
    if !carried.complete() {
        // Its site is removed: there is nothing to go on with.
        let outcome = if carried.failures().next().is_some() {
            "failed"
        } else {
            "interrupted"
        };
        ledger.append(&Entry::Ended {
            outcome: outcome.to_owned(),
            at: clock.now(),
        })?;
    }
    Ok(Came::of(carried, &ledger.story()))
}

/// What became of a drill that was cut off.
#[derive(Debug)]
pub enum Settled {
    /// It had said its word about the point; what was left of it is removed.
    Came(Box<Came>),
    /// What was left of it is removed, and nothing else came of it.
    Removed,
    /// The removal was interrupted, and is not through.
    Interrupted,
}

/// Deals with a drill that was cut off: removes what it left, and says what it came to. `session` is that of its site.
pub async fn settle(
    session: &Arc<Session>,
    earlier: Arc<dyn Ledger>,
    stop: &Stop,
    clock: Clock,
    observe: &Observer,
) -> Result<Settled, OpsFault> {
    let story = earlier.story();
    let (_, recorded) = verdict(&story);
    let asked: Option<Ask> = serde_json::from_value(story.ask.clone()).ok();
    let kept = asked.is_some_and(|ask| ask.afterwards == Afterwards::Keep);
    let mut carried = Carried { outcomes: vec![] };
    if recorded.is_none() || !kept {
        carried = clean(session, &story.id, stop, clock, observe).await?;
        if let Some(fault) = failed(&mut carried) {
            return Err(fault);
        }
        if !carried.complete() {
            return Ok(Settled::Interrupted);
        }
    }
    earlier.append(&Entry::Ended {
        outcome: if recorded.is_some() {
            "done"
        } else {
            "cut off"
        }
        .to_owned(),
        at: clock.now(),
    })?;
    Ok(match recorded {
        Some(_) => Settled::Came(Box::new(Came::of(carried, &story))),
        None => Settled::Removed,
    })
}

/// The first fault, taken out.
fn failed(carried: &mut Carried<OpsFault>) -> Option<OpsFault> {
    use crate::engine::Outcome;
    let at = carried
        .outcomes
        .iter()
        .position(|(_, _, outcome)| matches!(outcome, Outcome::Failed(_)))?;
    match carried.outcomes.swap_remove(at).2 {
        Outcome::Failed(fault) => Some(fault),
        _ => None,
    }
}

/// Removes what there is of a drill's site, and nothing else. Works from what exists: no ledger and no journal is needed.
pub async fn clean(
    session: &Arc<Session>,
    id: &str,
    stop: &Stop,
    clock: Clock,
    observe: &Observer,
) -> Result<Carried<OpsFault>, OpsFault> {
    let (session, told) = (session.clone(), observe.clone());
    let work = act(move |cx| remove(session.clone(), told.clone(), cx));
    let mut book = Runbook::new("drill clean", Value::Null);
    book.add(Stage::new("site", "remove", work).usually(REMOVAL));
    let ledger = Arc::new(MemoryLedger::default());
    carry_out(book, id, ledger, stop, clock, observe).await
}

/// The stages of a drill.
fn book(drill: &Arc<Drill>) -> Runbook {
    let ask = serde_json::to_value(&drill.ask).unwrap_or_default();
    let mut book = Runbook::new(VERB, ask);
    let site = Stage::new("site", "install", doing(drill, install)).usually(SITE);
    book.add(match drill.ask.afterwards {
        Afterwards::Remove => site.leaves_a_mark(doing(drill, |drill, cx| {
            remove(drill.session.clone(), drill.observe.clone(), cx)
        })),
        Afterwards::Keep => site,
    });
    let machines = Stage::new("machines", "bring up", doing(drill, machines));
    book.add(machines.usually(MACHINES).after("site"));
    let restore = Stage::new("restore", "restore", doing(drill, restore));
    book.add(restore.usually(RESTORE).after("machines"));
    book.add(Stage::new("record", "record", doing(drill, record)).after("restore"));
    book
}

fn doing<F, Fut, T>(drill: &Arc<Drill>, work: F) -> Act
where
    F: Fn(Arc<Drill>, StageCx) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<T, Halt<OpsFault>>> + Send + 'static,
    T: Serialize,
{
    let drill = drill.clone();
    act(move |cx| work(drill.clone(), cx))
}

async fn install(drill: Arc<Drill>, cx: StageCx) -> Result<Took, Halt<OpsFault>> {
    let session = &drill.session;
    own(&session.cx).await?;
    let began = cx.clock.now();
    let reading = session.read(&InstallOptions::default()).await?;
    // Tokens of AWS are made of the run: another in each drill.
    let run = format!("{}-install", cx.id);
    let report = session
        .install(&run, &reading, &cx.stop, &drill.observe)
        .await?;
    // What failed is told as it happens, with its name.
    if let Some((_, fault)) = report.failures().next() {
        return Err(fault.clone().into());
    }
    if !report.complete() {
        return Err(Halt::Interrupted);
    }
    Ok(Took::since(began, &cx))
}

async fn machines(drill: Arc<Drill>, cx: StageCx) -> Result<Took, Halt<OpsFault>> {
    let began = cx.clock.now();
    drill.around.bring_up(&cx).await?;
    Ok(Took::since(began, &cx))
}

/// The restore with its report. One that fails of the point is what a drill is for: that is a proof too.
async fn restore(drill: Arc<Drill>, cx: StageCx) -> Result<Proof, Halt<OpsFault>> {
    let restoring = Arc::new(Restoring {
        ground: Ground::of(&drill.session, None)?,
        session: drill.session.clone(),
        hosts: drill.around.hosts().await?,
        points: drill.points.clone(),
        manifest: drill.manifest.clone(),
        onto: Onto::Other,
        journals: drill.journals.clone(),
        silent: true,
    });
    let ask = restore::Ask {
        point: drill.ask.point.clone(),
        from: drill.points.bucket().to_owned(),
        silent: true,
    };
    let site = drill.session.cx.site();
    let took = |stage: &str| -> Result<u64, OpsFault> { Ok(cx.output::<Took>(stage)?.seconds) };
    let mut proof = Proof {
        point: drill.ask.point.clone(),
        site: Some(site.to_owned()),
        began: cx.began(),
        ended: cx.began(),
        site_seconds: took("site")?,
        machines_seconds: took("machines")?,
        rto_seconds: None,
        sound: false,
        findings: Vec::new(),
        restore: None,
    };
    let book = restore::book(&restoring, &ask, &drill.observe);
    // A drill is not taken up, so nobody would read it.
    let ledger = MemoryLedger::default();
    let kept = Arc::new(ledger.clone());
    let carried = carry_out(book, &cx.id, kept, &cx.stop, cx.clock, &drill.observe).await?;
    let report = restore::report(&ledger.story(), &drill.manifest, site);
    match (carried.complete(), report) {
        (true, Some(mut report)) => {
            // It goes with the site.
            report.set_aside.clear();
            let before = report.began.duration_since(proof.began).as_secs();
            proof.rto_seconds = Some(before.unsigned_abs() + report.rto_seconds);
            proof.sound = report.sound;
            proof.findings = findings(&report);
            proof.restore = Some(report);
        }
        (true, None) => return Err(OpsFault::internal("a restore without a report").into()),
        (false, _) => match blame(carried) {
            Some(Ok(findings)) => proof.findings = findings,
            Some(Err(fault)) => return Err(fault.into()),
            None => return Err(Halt::Interrupted),
        },
    }
    proof.ended = cx.clock.now();
    Ok(proof)
}

async fn record(drill: Arc<Drill>, cx: StageCx) -> Result<Recorded, Halt<OpsFault>> {
    let proof: Proof = cx.output("restore")?;
    Ok(note(&drill.points, &drill.signer, &proof).await?)
}

/// Puts a proof on its point, signed. The same proof again is the same mark.
pub async fn note(points: &Points, signer: &Signer, proof: &Proof) -> Result<Recorded, OpsFault> {
    // Half of its parts may have been gone by the time that they were wanted.
    if points.read(&proof.point).await?.condition() == Condition::Dropping {
        return Ok(Recorded::Dropped);
    }
    let mark = Mark::Drilled(Drilled {
        at: proof.ended,
        outcome: proof.outcome(),
        proof: serde_json::to_value(proof).unwrap_or_default(),
    });
    points.mark(signer, &proof.point, &mark).await?;
    Ok(Recorded::OnThePoint)
}

/// Takes the site of a drill away, data and all. Nothing that is of another site is seen here: everything is found by
/// the tags and the exact names of the drill's own.
async fn remove(
    session: Arc<Session>,
    observe: Observer,
    cx: StageCx,
) -> Result<(), Halt<OpsFault>> {
    own(&session.cx).await?;
    cx.note(format!(
        "The site {} of the drill is removed.",
        session.cx.site()
    ));
    aside::remove(&cx, &session.cx, &session.names()?).await?;
    let choice = Destroy {
        delete_data: true,
        final_snapshot: None,
    };
    let run = format!("{}-remove", cx.id);
    for look in 1..=LOOKS {
        cx.pause(LAG).await?;
        let plan = session.plan_destroy(&choice).await?;
        if plan.is_empty() {
            return Ok(());
        }
        let report = session
            .destroy(&run, &plan, &choice, &cx.stop, &observe)
            .await?;
        if report.interrupted() {
            return Err(Halt::Interrupted);
        }
        let stays = |fault: &Fault| look == LOOKS || !matches!(fault, Fault::Later { .. });
        if let Some((_, fault)) = report.failures().find(|(_, fault)| stays(fault)) {
            return Err(fault.clone().into());
        }
    }
    Err(OpsFault::check(
        format!("the site {} of the drill", session.cx.site()),
        "something of it is found again and again",
        "run `gantry drill --clean` in some minutes",
    )
    .into())
}
