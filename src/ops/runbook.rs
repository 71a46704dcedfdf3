//! A procedure as a list of stages that can be taken up where it stopped.
//!
//! A stage is done once: its output is in the ledger, and a run that takes the procedure up reads it there. A stage
//! that was cut short is begun again, so its work must bear being repeated; names it gives to things are made of
//! [`StageCx::id`], which stays the same. A stage that leaves a mark on the site (stopped workers, a node taken out of
//! the balancer) says how the mark is taken away: that happens when everything that needs it is through, and also when
//! something failed or somebody pressed Ctrl-C.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::ledger::{Entry, FORMAT, Ledger};
use super::{LedgerError, OpsFault, Story};
use crate::clock::Clock;
use crate::cloud::Fault;
use crate::engine::{self, Event, Halt, Observer, Report, Step, StepIndex, Stop, StopLevel};
use crate::session::SessionError;
use crate::shell::ShellFault;

/// The work of a stage. It may be called again after a crash in its middle.
pub type Act =
    Arc<dyn Fn(StageCx) -> BoxFuture<'static, Result<Value, Halt<OpsFault>>> + Send + Sync>;

/// Makes an [`Act`] of a function. Faults of any sort become failures of the stage.
pub fn act<F, Fut, T>(work: F) -> Act
where
    F: Fn(StageCx) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<T, Halt<OpsFault>>> + Send + 'static,
    T: Serialize,
{
    Arc::new(move |cx| {
        let doing = work(cx);
        Box::pin(async move {
            let output = doing.await?;
            serde_json::to_value(output)
                .map_err(|error| Halt::Failed(OpsFault::internal(error.to_string())))
        })
    })
}

/// Lets `?` turn what went wrong into the end of a stage.
macro_rules! fails_with {
    ($($fault:ty),*) => {$(
        impl From<$fault> for Halt<OpsFault> {
            fn from(fault: $fault) -> Self {
                Self::Failed(fault.into())
            }
        }
    )*};
}

fails_with!(OpsFault, Fault, ShellFault, SessionError, LedgerError);

/// One part of a procedure.
pub struct Stage {
    id: String,
    verb: &'static str,
    usual: Duration,
    after: BTreeSet<String>,
    work: Act,
    release: Option<Act>,
    /// Whether the mark lasts beyond the stage, for others to stand on.
    lasting: bool,
}

impl Stage {
    /// `id` names it in the ledger, in events and for [`Stage::after`]: `gitaly-1`, `repositories`; `verb` says what is
    /// done: `check`, `save`.
    pub fn new(id: impl Into<String>, verb: &'static str, work: Act) -> Self {
        Self {
            id: id.into(),
            verb,
            usual: Duration::from_secs(2),
            after: BTreeSet::new(),
            work,
            release: None,
            lasting: false,
        }
    }

    /// How long it usually takes; for the time that is left.
    #[must_use]
    pub fn usually(mut self, usual: Duration) -> Self {
        self.usual = usual;
        self
    }

    /// Not before this one is done.
    #[must_use]
    pub fn after(mut self, stage: impl Into<String>) -> Self {
        self.after.insert(stage.into());
        self
    }

    /// Not before all of these are done.
    #[must_use]
    pub fn after_all<S: Into<String>>(mut self, stages: impl IntoIterator<Item = S>) -> Self {
        self.after.extend(stages.into_iter().map(Into::into));
        self
    }

    /// It leaves a mark, and this takes the mark away. It is called whatever happens, perhaps more than once, and
    /// perhaps when the stage itself was cut short.
    #[must_use]
    pub fn leaves_a_mark(mut self, release: Act) -> Self {
        self.release = Some(release);
        self.lasting = true;
        self
    }

    /// It leaves a mark only when it is cut short or fails, and this takes that mark away. Nobody stands on it: once
    /// the stage is done, there is none, and the stage is not done again.
    #[must_use]
    pub fn cleaned_up_by(mut self, release: Act) -> Self {
        self.release = Some(release);
        self.lasting = false;
        self
    }
}

/// A procedure: its stages in an order in which none comes before what it waits for.
pub struct Runbook {
    /// `reconfigure`, `backup create`.
    pub verb: String,
    /// What was asked for. A procedure is only taken up by a run that asks for the same.
    pub ask: Value,
    stages: Vec<Stage>,
}

impl Runbook {
    pub fn new(verb: impl Into<String>, ask: Value) -> Self {
        Self {
            verb: verb.into(),
            ask,
            stages: Vec::new(),
        }
    }

    /// Adds a stage. Waiting for one that is not there yet is a mistake of the author, and is found by the first run.
    pub fn add(&mut self, stage: Stage) -> &mut Self {
        self.stages.push(stage);
        self
    }

    /// The names of the stages, in order.
    pub fn stages(&self) -> impl Iterator<Item = &str> {
        self.stages.iter().map(|stage| stage.id.as_str())
    }
}

/// What a stage may see.
#[derive(Clone)]
pub struct StageCx {
    /// The id of the run that began the procedure.
    pub id: String,
    /// This stage's name.
    pub stage: String,
    /// Whether an earlier attempt may have got somewhere.
    pub again: bool,
    pub clock: Clock,
    pub stop: Stop,
    observe: Observer,
    story: Story,
    usual: Duration,
}

impl StageCx {
    /// The output of a stage that this one waits for.
    pub fn output<T: DeserializeOwned>(&self, stage: &str) -> Result<T, OpsFault> {
        let output = self.story.output(stage).ok_or_else(|| {
            OpsFault::internal(format!("{} reads {stage}, which is not done", self.stage))
        })?;
        serde_json::from_value(output.clone())
            .map_err(|error| OpsFault::internal(format!("the output of {stage}: {error}")))
    }

    /// When the procedure began.
    pub fn began(&self) -> jiff::Timestamp {
        self.story.began.unwrap_or_else(|| self.clock.now())
    }

    /// Tells what is being waited for.
    pub fn waiting(&self, status: impl Into<String>) {
        (self.observe)(&Event::Waiting {
            name: self.stage.clone(),
            status: status.into(),
            usual: self.usual,
        });
    }

    /// Something worth saying.
    pub fn note(&self, text: impl Into<String>) {
        (self.observe)(&Event::Note { text: text.into() });
    }

    /// Waits; an interrupt ends the stage, to be begun again by the next run.
    pub async fn pause(&self, time: Duration) -> Result<(), Halt<OpsFault>> {
        tokio::select! {
            () = self.clock.sleep(time) => Ok(()),
            () = self.stop.reached(StopLevel::WindDown) => Err(Halt::Interrupted),
        }
    }
}

/// Carries a procedure out, or on: what the ledger says is done is not done again.
///
/// `id` is this run's; a procedure that is taken up keeps the id it began with.
pub async fn carry_out(
    book: Runbook,
    id: &str,
    ledger: Arc<dyn Ledger>,
    stop: &Stop,
    clock: Clock,
    observe: &Observer,
) -> Result<Report<OpsFault>, OpsFault> {
    if ledger.story().began.is_none() {
        ledger.append(&Entry::Began {
            format: FORMAT,
            id: id.to_owned(),
            verb: book.verb.clone(),
            ask: book.ask.clone(),
            at: clock.now(),
        })?;
    }
    let all = Arc::new(Shared {
        ledger,
        stop: stop.clone(),
        clock,
        observe: observe.clone(),
    });
    let marks: Vec<(String, Act)> = book
        .stages
        .iter()
        .filter_map(|stage| Some((stage.id.clone(), stage.release.clone()?)))
        .collect();
    let steps = steps(&all, book.stages)?;
    let report = engine::run(steps, stop, clock, observe).await;
    let complete = report.complete();
    if !complete {
        let faults = release(&all, &marks).await;
        if let Some(fault) = faults.into_iter().next() {
            return Err(fault);
        }
    }
    if complete {
        all.ledger.append(&Entry::Ended {
            outcome: "done".into(),
            at: clock.now(),
        })?;
    }
    Ok(report)
}

/// Gives a procedure up: takes away the marks it left, and writes that nobody will go on.
pub async fn abandon(
    book: Runbook,
    why: &str,
    ledger: Arc<dyn Ledger>,
    clock: Clock,
    observe: &Observer,
) -> Result<(), OpsFault> {
    let all = Arc::new(Shared {
        ledger,
        stop: Stop::default(),
        clock,
        observe: observe.clone(),
    });
    let marks: Vec<(String, Act)> = book
        .stages
        .into_iter()
        .filter_map(|stage| Some((stage.id, stage.release?)))
        .collect();
    if let Some(fault) = release(&all, &marks).await.into_iter().next() {
        return Err(fault);
    }
    all.ledger.append(&Entry::Ended {
        outcome: why.to_owned(),
        at: clock.now(),
    })?;
    Ok(())
}

struct Shared {
    ledger: Arc<dyn Ledger>,
    stop: Stop,
    clock: Clock,
    observe: Observer,
}

impl Shared {
    fn cx(&self, stage: &str, usual: Duration) -> StageCx {
        let story = self.ledger.story();
        StageCx {
            id: story.id.clone(),
            stage: stage.to_owned(),
            again: story.stages.contains_key(stage),
            clock: self.clock,
            stop: self.stop.clone(),
            observe: self.observe.clone(),
            story,
            usual,
        }
    }
}

/// For each stage, everything it waits for in the end.
fn all_before(stages: &[Stage]) -> Result<BTreeMap<String, BTreeSet<String>>, OpsFault> {
    let mut before: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for stage in stages {
        let mut all = stage.after.clone();
        for direct in &stage.after {
            let Some(further) = before.get(direct) else {
                return Err(OpsFault::internal(format!(
                    "the stage {} waits for {direct}, which does not come before it",
                    stage.id
                )));
            };
            all.extend(further.iter().cloned());
        }
        if before.insert(stage.id.clone(), all).is_some() {
            let twice = format!("there are two stages {}", stage.id);
            return Err(OpsFault::internal(twice));
        }
    }
    Ok(before)
}

/// The steps of what is left, and for each mark a step that takes it away once everything behind it is through.
fn steps(all: &Arc<Shared>, stages: Vec<Stage>) -> Result<Vec<Step<OpsFault>>, OpsFault> {
    let story = all.ledger.story();
    let before = all_before(&stages)?;
    let told = |id: &str| story.stages.get(id);
    let is_done = |id: &str| told(id).is_some_and(|told| told.done.is_some());
    let marked = |id: &str| told(id).is_some_and(|told| told.marked);
    let behind = |id: &str| -> Vec<&String> {
        let waits = before.iter().filter(|(_, all)| all.contains(id));
        waits.map(|(stage, _)| stage).collect()
    };
    let mut steps: Vec<Step<OpsFault>> = Vec::new();
    let mut index: BTreeMap<String, StepIndex> = BTreeMap::new();
    let mut releases: Vec<(String, Act)> = Vec::new();
    for stage in stages {
        // A mark that was taken away must be made again for those that still need it.
        let stands = !stage.lasting
            || marked(&stage.id)
            || behind(&stage.id).into_iter().all(|id| is_done(id));
        let done = is_done(&stage.id) && stands;
        let fleeting = stage.release.is_some() && !stage.lasting;
        if let Some(release) = stage.release
            && stage.lasting
            && (!done || marked(&stage.id))
        {
            releases.push((stage.id.clone(), release));
        }
        if done {
            continue;
        }
        let after = stage.after.iter().filter_map(|id| index.get(id).copied());
        let after = after.collect();
        index.insert(stage.id.clone(), steps.len());
        let (shared, id, work, usual) = (all.clone(), stage.id.clone(), stage.work, stage.usual);
        steps.push(Step {
            name: stage.id,
            verb: stage.verb,
            usual: stage.usual,
            after,
            lane: "stages".into(),
            work: Box::new(move || Box::pin(perform(shared, id, usual, work, fleeting))),
        });
    }
    for (id, release) in releases {
        let mut after: Vec<StepIndex> = behind(&id)
            .into_iter()
            .filter_map(|stage| index.get(stage).copied())
            .collect();
        after.extend(index.get(&id));
        let shared = all.clone();
        steps.push(Step {
            name: id.clone(),
            verb: "release",
            usual: Duration::from_secs(2),
            after,
            lane: "stages".into(),
            work: Box::new(move || {
                Box::pin(async move { let_go(&shared, &id, &release).await.map_err(Halt::Failed) })
            }),
        });
    }
    Ok(steps)
}

async fn perform(
    all: Arc<Shared>,
    id: String,
    usual: Duration,
    work: Act,
    fleeting: bool,
) -> Result<(), Halt<OpsFault>> {
    let cx = all.cx(&id, usual);
    all.ledger.append(&Entry::Started {
        stage: id.clone(),
        at: all.clock.now(),
    })?;
    match work(cx).await {
        Ok(output) => {
            let at = all.clock.now();
            let stage = id.clone();
            all.ledger.append(&Entry::Done { stage, output, at })?;
            if fleeting {
                all.ledger.append(&Entry::Released { stage: id, at })?;
            }
            Ok(())
        }
        Err(Halt::Failed(fault)) => {
            all.ledger.append(&Entry::Failed {
                stage: id,
                fault: fault.to_string(),
                at: all.clock.now(),
            })?;
            Err(Halt::Failed(fault))
        }
        Err(Halt::Interrupted) => Err(Halt::Interrupted),
    }
}

/// Takes away every mark that may still be there, the latest first. One that resists does not keep the others.
async fn release(all: &Arc<Shared>, marks: &[(String, Act)]) -> Vec<OpsFault> {
    let mut faults = Vec::new();
    for (id, release) in marks.iter().rev() {
        let marked = all.ledger.story().stages.get(id).is_some_and(|s| s.marked);
        if marked && let Err(fault) = let_go(all, id, release).await {
            (all.observe)(&Event::Failed {
                name: id.clone(),
                verb: "release".into(),
                fault: fault.to_string(),
            });
            faults.push(fault);
        }
    }
    faults
}

async fn let_go(all: &Arc<Shared>, id: &str, release: &Act) -> Result<(), OpsFault> {
    let mut cx = all.cx(id, Duration::from_secs(2));
    // What takes a mark away is not itself stopped by Ctrl-C.
    cx.stop = Stop::default();
    match release(cx).await {
        Ok(_) => {}
        Err(Halt::Failed(fault)) => return Err(fault),
        Err(Halt::Interrupted) => return Err(OpsFault::internal(format!("{id}: put down"))),
    }
    all.ledger.append(&Entry::Released {
        stage: id.to_owned(),
        at: all.clock.now(),
    })?;
    Ok(())
}

#[cfg(test)]
mod tests;
