//! Runs steps: a ready queue over a graph, limits, and interrupts. Knows neither AWS nor GitLab.
//!
//! Each step runs in a task of its own, so that what it has begun is never cut in the middle by a dropped
//! future. A step that fails stops what depends on it and nothing else.

mod event;
mod stop;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

pub use self::event::{Event, Observer, StepNote, Totals};
pub use self::stop::{Stop, StopLevel};

/// A step's place in its graph.
pub type StepIndex = usize;

/// One unit of work.
pub struct Step<F> {
    /// What it is called in events: an address.
    pub name: String,
    /// What it does: "create", "delete", …
    pub verb: &'static str,
    /// How long it usually takes.
    pub usual: Duration,
    /// Steps that must have succeeded before.
    pub after: Vec<StepIndex>,
    /// Steps of one lane share a limit on how many run at once (a lane is an AWS service).
    pub lane: String,
    /// The work.
    pub work: Work<F>,
}

/// The work of a step: called once, when everything before it has succeeded.
pub type Work<F> = Box<dyn FnOnce() -> BoxFuture<'static, Result<(), Halt<F>>> + Send>;

/// Why a step did not finish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Halt<F> {
    /// It failed.
    Failed(F),
    /// It put its work down because of an interrupt; a later run picks it up.
    Interrupted,
}

/// What became of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome<F> {
    Done,
    Failed(F),
    Interrupted,
    /// Not started, because this other step did not succeed.
    Blocked {
        by: String,
    },
    /// Not started, because of an interrupt.
    NotStarted,
}

/// What became of all steps, in their order.
#[derive(Debug)]
pub struct Report<F> {
    pub outcomes: Vec<(String, &'static str, Outcome<F>)>,
}

impl<F> Report<F> {
    /// Whether every step was done.
    pub fn complete(&self) -> bool {
        self.outcomes
            .iter()
            .all(|(_, _, o)| matches!(o, Outcome::Done))
    }

    /// Steps that failed, with their faults.
    pub fn failures(&self) -> impl Iterator<Item = (&str, &F)> {
        self.outcomes.iter().filter_map(|(name, _, o)| match o {
            Outcome::Failed(fault) => Some((name.as_str(), fault)),
            _ => None,
        })
    }

    /// Whether an interrupt kept any step from being done.
    pub fn interrupted(&self) -> bool {
        self.outcomes
            .iter()
            .any(|(_, _, o)| matches!(o, Outcome::Interrupted | Outcome::NotStarted))
    }
}

/// How many steps of one lane run at once.
const LANE_WIDTH: usize = 16;

/// Runs all steps. `observe` sees every event in order, from one place.
pub async fn run<F>(
    steps: Vec<Step<F>>,
    stop: &Stop,
    clock: crate::clock::Clock,
    observe: &Observer,
) -> Report<F>
where
    F: std::fmt::Display + Send + 'static,
{
    let names: Vec<(String, &'static str)> =
        steps.iter().map(|s| (s.name.clone(), s.verb)).collect();
    let mut outcomes: Vec<Option<Outcome<F>>> = steps.iter().map(|_| None).collect();
    let mut waiting: BTreeMap<StepIndex, BTreeSet<StepIndex>> = BTreeMap::new();
    let mut followers: BTreeMap<StepIndex, Vec<StepIndex>> = BTreeMap::new();
    let mut works: Vec<Option<Step<F>>> = Vec::with_capacity(steps.len());
    let mut ready: BTreeSet<StepIndex> = BTreeSet::new();
    let chains = chains(&steps);
    observe(&Event::Planned {
        critical: chains.iter().max().copied().unwrap_or_default(),
        steps: steps
            .iter()
            .zip(chains)
            .map(|(s, chain)| StepNote {
                name: s.name.clone(),
                verb: s.verb.into(),
                usual: s.usual,
                chain,
            })
            .collect(),
    });
    for (index, step) in steps.into_iter().enumerate() {
        let before: BTreeSet<StepIndex> = step.after.iter().copied().collect();
        for b in &before {
            followers.entry(*b).or_default().push(index);
        }
        if before.is_empty() {
            ready.insert(index);
        } else {
            waiting.insert(index, before);
        }
        works.push(Some(step));
    }

    let mut lanes: BTreeMap<String, Arc<Semaphore>> = BTreeMap::new();
    let mut tasks: JoinSet<(StepIndex, Duration, Result<(), Halt<F>>)> = JoinSet::new();
    loop {
        while stop.level() == StopLevel::Go {
            let Some(index) = ready.pop_first() else {
                break;
            };
            let Some(step) = works[index].take() else {
                continue;
            };
            let lane = lanes
                .entry(step.lane)
                .or_insert_with(|| Arc::new(Semaphore::new(LANE_WIDTH)))
                .clone();
            let (name, verb, observe, stop) = (step.name, step.verb, observe.clone(), stop.clone());
            tasks.spawn(async move {
                // The semaphore is never closed.
                let _permit = lane.acquire_owned().await;
                if stop.level() != StopLevel::Go {
                    return (index, Duration::ZERO, Err(Halt::Interrupted));
                }
                let began = clock.now();
                observe(&Event::Started {
                    name,
                    verb: verb.into(),
                });
                let result = (step.work)().await;
                (index, clock.since(began), result)
            });
        }
        let joined = tokio::select! {
            joined = tasks.join_next() => joined,
            // Records are written whole or not at all, so tasks may be cut anywhere.
            () = stop.reached(StopLevel::Now), if !tasks.is_empty() => None,
        };
        let Some(joined) = joined else { break };
        let Ok((index, took, result)) = joined else {
            continue;
        };
        let (name, verb) = (&names[index].0, names[index].1);
        match result {
            Ok(()) => {
                observe(&Event::Finished {
                    name: name.clone(),
                    verb: verb.into(),
                    took,
                });
                outcomes[index] = Some(Outcome::Done);
                for follower in followers.remove(&index).unwrap_or_default() {
                    if let Some(before) = waiting.get_mut(&follower) {
                        before.remove(&index);
                        if before.is_empty() {
                            waiting.remove(&follower);
                            ready.insert(follower);
                        }
                    }
                }
            }
            Err(Halt::Failed(fault)) => {
                observe(&Event::Failed {
                    name: name.clone(),
                    verb: verb.into(),
                    fault: fault.to_string(),
                });
                outcomes[index] = Some(Outcome::Failed(fault));
                block(
                    index,
                    name,
                    &mut followers,
                    &mut waiting,
                    &mut outcomes,
                    &names,
                    observe,
                );
            }
            Err(Halt::Interrupted) => outcomes[index] = Some(Outcome::Interrupted),
        }
    }

    let outcomes: Vec<_> = names
        .into_iter()
        .zip(outcomes)
        .map(|((name, verb), outcome)| (name, verb, outcome.unwrap_or(Outcome::NotStarted)))
        .collect();
    let count =
        |wanted: fn(&Outcome<F>) -> bool| outcomes.iter().filter(|(_, _, o)| wanted(o)).count();
    observe(&Event::Summary(Totals {
        done: count(|o| matches!(o, Outcome::Done)),
        failed: count(|o| matches!(o, Outcome::Failed(_))),
        blocked: count(|o| matches!(o, Outcome::Blocked { .. })),
        left: count(|o| matches!(o, Outcome::Interrupted | Outcome::NotStarted)),
    }));
    Report { outcomes }
}

/// Marks everything that stands on `failed` as blocked by it.
fn block<F>(
    failed: StepIndex,
    by: &str,
    followers: &mut BTreeMap<StepIndex, Vec<StepIndex>>,
    waiting: &mut BTreeMap<StepIndex, BTreeSet<StepIndex>>,
    outcomes: &mut [Option<Outcome<F>>],
    names: &[(String, &'static str)],
    observe: &Observer,
) {
    let mut reached = vec![failed];
    while let Some(index) = reached.pop() {
        for follower in followers.remove(&index).unwrap_or_default() {
            if waiting.remove(&follower).is_some() {
                let (name, verb) = &names[follower];
                observe(&Event::Blocked {
                    name: name.clone(),
                    verb: (*verb).into(),
                    by: by.to_owned(),
                });
                outcomes[follower] = Some(Outcome::Blocked { by: by.to_owned() });
                reached.push(follower);
            }
        }
    }
}

/// For each step, the longest chain of usual times that begins with it: when it starts, no run ends sooner.
fn chains<F>(steps: &[Step<F>]) -> Vec<Duration> {
    fn reach<F>(
        index: StepIndex,
        steps: &[Step<F>],
        followers: &[Vec<StepIndex>],
        known: &mut [Option<Duration>],
    ) -> Duration {
        if let Some(chain) = known[index] {
            return chain;
        }
        let rest = followers[index]
            .iter()
            .map(|next| reach(*next, steps, followers, known))
            .max()
            .unwrap_or_default();
        let chain = steps[index].usual + rest;
        known[index] = Some(chain);
        chain
    }
    let mut followers = vec![Vec::new(); steps.len()];
    for (index, step) in steps.iter().enumerate() {
        for before in &step.after {
            followers[*before].push(index);
        }
    }
    let mut known = vec![None; steps.len()];
    (0..steps.len())
        .map(|index| reach(index, steps, &followers, &mut known))
        .collect()
}

#[cfg(test)]
mod tests;
