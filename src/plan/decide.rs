//! What to do with each resource.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::model::{Action, Basis, Change, Plan, Refused};
use super::world::{Survey, fingerprint};
use crate::cloud::Fault;
use crate::journal::{Phase, State};
use crate::kinds::registry;
use crate::resource::{
    Address, AnyFound, AnyResource, Bears, Diff, How, Outputs, PlanCx, Readiness, Scope, Tags,
};

/// Everything wanted, things before what leans on them.
pub type Wanted<'a> = Vec<(&'a Address, &'a dyn AnyResource)>;

/// Said of an address that two things carry, where memory cannot tell them apart.
pub const TWO: &str = "two things carry this address, and nothing here remembers which of them is the site's: take the tag \
    `gantry:address` off the other one";

/// Compares wanted, seen and remembered. `word` names data-bearing resources somebody explicitly allowed to replace.
pub fn decide(
    wanted: &Wanted<'_>,
    survey: &Survey,
    state: &State,
    scope: &Scope,
    word: &BTreeSet<Address>,
) -> Result<Plan, Fault> {
    let mut outputs = live_outputs(survey, state);
    let mut later = BTreeSet::new();
    let mut changes = Vec::new();
    let mut refused = Vec::new();
    let mut impossible = Vec::new();

    for (address, resource) in wanted {
        let refs = resource.refs();
        let (action, reason) = match survey.found.get(*address) {
            Some(found) => present(address, *resource, found, state, scope, &outputs, &later)?,
            None => absent(address, state),
        };
        let fresh = matches!(
            action,
            Action::Create | Action::Replace { .. } | Action::Finish
        );
        if fresh
            && survey
                .found
                .get(*address)
                .is_none_or(|f| !matches!(f.readiness, Readiness::Ready(_)))
            || matches!(action, Action::Replace { .. })
        {
            later.insert((*address).clone());
            outputs.0.remove(*address);
        }
        if matches!(action, Action::Replace { .. })
            && resource.info().bears == Bears::Data
            && !word.contains(*address)
        {
            refused.push(Refused {
                address: (*address).clone(),
                why: format!(
                    "it holds data, and {reason} means removing it and making a new, empty one"
                ),
            });
        }
        if let Some(why) = action.diff().and_then(|diff| diff.impossible.clone()) {
            impossible.push(Refused {
                address: (*address).clone(),
                why,
            });
        }
        changes.push(Change {
            address: (*address).clone(),
            action,
            reason,
            refs,
        });
    }

    for address in survey.undecided(state) {
        impossible.push(Refused {
            address: address.clone(),
            why: TWO.to_owned(),
        });
    }

    let names: BTreeSet<&Address> = wanted.iter().map(|(a, _)| *a).collect();
    let unwanted: BTreeSet<&Address> = survey.found.keys().filter(|a| !names.contains(a)).collect();
    let leant_on = leant_on(&unwanted, state);
    for address in &unwanted {
        let (action, reason) = if bears_data(address) {
            (Action::Retain, "no longer wanted, but it holds data")
        } else if leant_on.contains(*address) {
            (
                Action::Retain,
                "no longer wanted, but something that holds data leans on it",
            )
        } else {
            (Action::Delete, "no longer wanted")
        };
        let (address, reason) = (*address, reason.to_owned());
        let refs = state
            .resources
            .get(address)
            .map(|e| e.refs.clone())
            .unwrap_or_default();
        changes.push(Change {
            address: address.clone(),
            action,
            reason,
            refs,
        });
    }
    for address in state
        .resources
        .keys()
        .filter(|a| !names.contains(a) && !survey.found.contains_key(*a))
    {
        changes.push(Change {
            address: address.clone(),
            action: Action::Forget,
            reason: "gone".into(),
            refs: vec![],
        });
    }

    let specs: Vec<_> = wanted
        .iter()
        .map(|(a, r)| (a.to_string(), r.spec()))
        .collect();
    let basis = Basis {
        wanted: fingerprint(&(&specs, &scope.tags)),
        world: fingerprint(&json!({
            "found": survey.found.values().map(|f| json!([f.address, f.id, f.live])).collect::<Vec<_>>(),
            "known": state.resources.iter().map(|(a, e)| json!([a, e.phase, e.id])).collect::<Vec<_>>(),
        })),
    };
    Ok(Plan {
        format: 1,
        site: scope.site.clone(),
        account: scope.account.clone(),
        region: scope.region.clone(),
        changes,
        refused,
        impossible,
        basis,
    })
}

fn bears_data(address: &Address) -> bool {
    registry::find(address.kind().as_str()).is_some_and(|k| k.bears == Bears::Data)
}

/// What unwanted things that hold data lean on: they stay, and what they lean on has to stay with them.
fn leant_on<'a>(unwanted: &BTreeSet<&'a Address>, state: &'a State) -> BTreeSet<&'a Address> {
    let mut leant_on = BTreeSet::new();
    let mut reach: Vec<&Address> = unwanted.iter().copied().filter(|a| bears_data(a)).collect();
    while let Some(address) = reach.pop() {
        let refs = state.resources.get(address).map(|e| &e.refs);
        for on in refs.into_iter().flatten() {
            if unwanted.contains(on) && leant_on.insert(on) {
                reach.push(on);
            }
        }
    }
    leant_on
}

/// Outputs as the survey sees them now, and as remembered where it cannot see them.
fn live_outputs(survey: &Survey, state: &State) -> Outputs {
    let mut outputs: BTreeMap<_, _> = state.outputs().0;
    for found in survey.found.values() {
        if let Readiness::Ready(output) = &found.readiness {
            outputs.insert(found.address.clone(), output.clone());
        }
    }
    Outputs(outputs)
}

fn absent(address: &Address, state: &State) -> (Action, String) {
    match state.resources.get(address).map(|e| e.phase) {
        Some(Phase::Made) => (
            Action::Create,
            "an earlier run made it, but it is not there".into(),
        ),
        Some(Phase::Intended) => (
            Action::Create,
            "an earlier run was interrupted while making it".into(),
        ),
        Some(Phase::Ready) => (Action::Create, "it was removed behind our back".into()),
        Some(Phase::Leaving) | None => (Action::Create, String::new()),
    }
}

fn present(
    address: &Address,
    resource: &dyn AnyResource,
    found: &AnyFound,
    state: &State,
    scope: &Scope,
    outputs: &Outputs,
    later: &BTreeSet<Address>,
) -> Result<(Action, String), Fault> {
    let phase = state.resources.get(address).map(|e| e.phase);
    if found.live.is_null() {
        // On its way out by our own hand: waited for until it is gone, and made anew.
        if phase == Some(Phase::Leaving) {
            return Ok((Action::Finish, "its removal is under way".into()));
        }
        // AWS knows its id, but no listing by tag shows it: somebody took the tags off.
        let diff = Diff::new().field("tags", scope.tags_of(address, &Tags::new()), ());
        return Ok((Action::Update { diff }, "it lost this site's tags".into()));
    }
    match &found.readiness {
        Readiness::Broken(why) => {
            let diff = Diff {
                fields: vec![crate::resource::FieldChange {
                    field: "state".into(),
                    have: json!(why),
                    want: json!("usable"),
                    how: How::Replace,
                }],
                ..Diff::default()
            };
            return Ok((Action::Replace { diff }, format!("its state is {why}")));
        }
        Readiness::Pending(why) => return Ok((Action::Finish, format!("its state is {why}"))),
        Readiness::Held(fault) => return Ok((Action::Finish, fault.to_string())),
        Readiness::Absent => return Ok((Action::Create, String::new())),
        Readiness::Ready(_) => {}
    }
    if matches!(phase, Some(Phase::Made | Phase::Intended)) {
        return Ok((
            Action::Finish,
            "made by an earlier run, not yet finished".into(),
        ));
    }
    let diff = resource.diff(
        &found.live,
        &PlanCx {
            address,
            scope,
            outputs,
            later,
        },
    )?;
    if diff.replaces() {
        let fields: Vec<_> = diff
            .fields
            .iter()
            .filter(|f| f.how == How::Replace)
            .map(|f| f.field.as_str())
            .collect();
        let reason = format!("AWS cannot change {}", fields.join(" and "));
        return Ok((Action::Replace { diff }, reason));
    }
    if phase.is_none() {
        return Ok((
            Action::Adopt { diff },
            "it carries our tags but is not remembered".into(),
        ));
    }
    if phase == Some(Phase::Leaving) {
        return Ok((
            Action::Adopt { diff },
            "an earlier run began to remove it".into(),
        ));
    }
    Ok(if diff.is_empty() {
        (Action::Keep, String::new())
    } else {
        (Action::Update { diff }, String::new())
    })
}
