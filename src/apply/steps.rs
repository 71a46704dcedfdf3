//! From a plan to the steps that carry it out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::create::{adopt, create, finish, update};
use super::remove::{delete_step, forget};
use super::{Run, Stepped};
use crate::cloud::Fault;
use crate::engine::{Step, StepIndex};
use crate::plan::{Action, Change, Plan, Survey};
use crate::resource::{Address, AnyResource};
use futures::future::BoxFuture;

/// The steps of an install. Things are made after what they lean on; a replaced thing is removed first, after
/// everything replaced that leans on it; what goes for good is removed after what leaned on it has changed.
pub fn install_steps(
    run: &Arc<Run>,
    plan: &Plan,
    wanted: &BTreeMap<Address, Arc<dyn AnyResource>>,
    survey: &Survey,
) -> Vec<Step<Fault>> {
    let mut steps: Vec<Step<Fault>> = Vec::new();
    let mut removed: BTreeMap<&Address, StepIndex> = BTreeMap::new();
    let mut made: BTreeMap<&Address, StepIndex> = BTreeMap::new();

    // Removals of what is replaced, in reverse: the plan lists things after what they lean on.
    for change in plan.changes.iter().rev() {
        let goes = matches!(change.action, Action::Replace { .. } | Action::Delete);
        let Some(found) = survey.found.get(&change.address).filter(|_| goes) else {
            continue;
        };
        let after = plan
            .changes
            .iter()
            .filter(|c| c.refs.contains(&change.address))
            .filter_map(|c| removed.get(&c.address).copied())
            .collect();
        removed.insert(&change.address, steps.len());
        steps.push(delete_step(run, &change.address, &found.id, after));
    }

    for change in &plan.changes {
        let address = &change.address;
        let mut after: Vec<StepIndex> = change
            .refs
            .iter()
            .filter_map(|r| made.get(r).copied())
            .collect();
        after.extend(removed.get(address));
        let id = survey.found.get(address).map(|f| f.id.clone());
        let Some(work) = work(run, &change.action, address, wanted.get(address), id) else {
            continue;
        };
        made.insert(address, steps.len());
        steps.push(Step {
            name: address.to_string(),
            verb: change.action.word(),
            usual: usual(address, &change.action),
            after,
            lane: address.kind().service().to_owned(),
            work,
        });
    }

    // What goes for good waits until those that leaned on it lean on something else: a listener on its new certificate.
    let state = run.state();
    let goes = |change: &&Change| change.action == Action::Delete;
    for gone in plan.changes.iter().filter(goes).map(|c| &c.address) {
        let Some(&step) = removed.get(gone) else {
            continue;
        };
        for (address, &other) in &made {
            let known = state.resources.get(*address);
            if known.is_some_and(|e| e.refs.contains(gone)) && !waits_for(&steps, other, step) {
                steps[step].after.push(other);
            }
        }
    }
    steps
}

/// Whether a step waits for another, directly or not.
fn waits_for(steps: &[Step<Fault>], step: StepIndex, other: StepIndex) -> bool {
    let (mut seen, mut open) = (BTreeSet::new(), vec![step]);
    while let Some(next) = open.pop() {
        if next == other {
            return true;
        }
        if seen.insert(next) {
            open.extend(&steps[next].after);
        }
    }
    false
}

type StepWork = Box<dyn FnOnce() -> BoxFuture<'static, Stepped> + Send>;

fn work(
    run: &Arc<Run>,
    action: &Action,
    address: &Address,
    resource: Option<&Arc<dyn AnyResource>>,
    id: Option<Value>,
) -> Option<StepWork> {
    let (run, of) = (run.clone(), address.clone());
    if *action == Action::Forget {
        return Some(Box::new(move || Box::pin(forget(run, of))));
    }
    let resource = resource?.clone();
    Some(match (action.clone(), id) {
        (Action::Create | Action::Replace { .. }, _) => {
            Box::new(move || Box::pin(create(run, of, resource)))
        }
        (Action::Finish, Some(id)) => Box::new(move || Box::pin(finish(run, of, resource, id))),
        (Action::Update { diff }, Some(id)) => {
            Box::new(move || Box::pin(update(run, of, resource, id, diff)))
        }
        (Action::Adopt { diff }, Some(id)) => {
            Box::new(move || Box::pin(adopt(run, of, resource, id, diff)))
        }
        _ => return None,
    })
}

fn usual(address: &Address, action: &Action) -> Duration {
    let kind = crate::kinds::registry::find(address.kind().as_str());
    match action {
        Action::Create | Action::Replace { .. } | Action::Finish => {
            kind.map(|k| k.usual).unwrap_or_default()
        }
        _ => Duration::from_secs(2),
    }
}
