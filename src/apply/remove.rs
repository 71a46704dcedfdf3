//! Removing resources: what leans on others goes first, and "still in use" means later.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::{LATER_ATTEMPTS, Run, Stepped, Until, Waited, kind_of, later_pause};
use crate::cloud::Fault;
use crate::engine::{Halt, Step};
use crate::journal::Record;
use crate::plan::Survey;
use crate::resource::{Address, Bears};

/// Removes one thing and waits until it is gone.
pub async fn remove(run: Arc<Run>, address: Address, id: Value) -> Stepped {
    let kind = kind_of(&address)?;
    run.record(&Record::Leaving {
        address: address.clone(),
    })?;
    let mut attempt = 0;
    loop {
        let fault = match (kind.delete)(&id, &run.cx).await {
            Ok(()) => break,
            Err(fault) => fault,
        };
        attempt += 1;
        let passes = match fault {
            Fault::Later { .. } => attempt < LATER_ATTEMPTS,
            Fault::Unknown { .. } | Fault::Throttled { .. } => attempt < 8,
            _ => false,
        };
        if !passes {
            return Err(Halt::Failed(fault));
        }
        run.pause(&address.to_string(), attempt, &fault, later_pause(attempt))
            .await?;
    }
    if kind.delete_takes_time {
        let call = format!("{} (waiting for its end)", address.kind());
        match run
            .poller
            .wait(kind, &id, &address.to_string(), Until::Gone)
            .await
        {
            Waited::Absent | Waited::Ready(_) => {}
            Waited::Interrupted => return Err(Halt::Interrupted),
            Waited::Fault(fault) => return Err(Halt::Failed(fault)),
            Waited::Broken(message) => return Err(Halt::Failed(Fault::Broken { call, message })),
            Waited::TooLong(code) => {
                let message = "it was not gone in the time allowed".into();
                return Err(Halt::Failed(Fault::Later {
                    call,
                    code,
                    message,
                }));
            }
        }
    }
    run.record(&Record::Gone { address })
}

/// Forgets something remembered that is not there.
pub async fn forget(run: Arc<Run>, address: Address) -> Stepped {
    run.record(&Record::Gone { address })
}

/// What must stay when data stays: the data-bearing things, and all they lean on.
pub fn kept(survey: &Survey, refs: &BTreeMap<Address, Vec<Address>>) -> BTreeSet<Address> {
    let mut keep: BTreeSet<Address> = BTreeSet::new();
    let mut reach: Vec<Address> = survey
        .found
        .keys()
        .filter(|a| kind_of(a).is_ok_and(|k| k.bears == Bears::Data))
        .cloned()
        .collect();
    while let Some(address) = reach.pop() {
        if keep.insert(address.clone()) {
            reach.extend(
                refs.get(&address)
                    .into_iter()
                    .flatten()
                    .filter(|a| survey.found.contains_key(*a))
                    .cloned(),
            );
        }
    }
    keep
}

/// The steps that remove everything found, except what is kept.
pub fn removal_steps(
    run: &Arc<Run>,
    survey: &Survey,
    refs: &BTreeMap<Address, Vec<Address>>,
    keep: &BTreeSet<Address>,
) -> Vec<Step<Fault>> {
    let going: Vec<_> = survey
        .found
        .values()
        .filter(|f| !keep.contains(&f.address))
        .collect();
    let place: BTreeMap<&Address, usize> = going
        .iter()
        .enumerate()
        .map(|(i, f)| (&f.address, i))
        .collect();
    let mut after: Vec<Vec<usize>> = vec![vec![]; going.len()];
    for (index, found) in going.iter().enumerate() {
        for on in refs.get(&found.address).into_iter().flatten() {
            if let Some(target) = place.get(on) {
                after[*target].push(index);
            }
        }
    }
    let mut steps: Vec<Step<Fault>> = going
        .iter()
        .zip(after)
        .map(|(found, after)| delete_step(run, &found.address, &found.id, after))
        .collect();
    for address in run
        .state()
        .resources
        .keys()
        .filter(|a| !survey.found.contains_key(*a))
    {
        let (run, of) = (run.clone(), address.clone());
        steps.push(Step {
            name: address.to_string(),
            verb: "forget",
            usual: Duration::ZERO,
            after: vec![],
            lane: "journal".into(),
            work: Box::new(move || Box::pin(forget(run, of))),
        });
    }
    steps
}

/// One removal as a step.
pub(super) fn delete_step(
    run: &Arc<Run>,
    address: &Address,
    id: &Value,
    after: Vec<usize>,
) -> Step<Fault> {
    let (run, of, id) = (run.clone(), address.clone(), id.clone());
    let usual = kind_of(address).map(|k| {
        if k.delete_takes_time {
            k.usual / 2
        } else {
            Duration::from_secs(1)
        }
    });
    Step {
        name: address.to_string(),
        verb: "delete",
        usual: usual.unwrap_or_default(),
        after,
        lane: address.kind().service().to_owned(),
        work: Box::new(move || Box::pin(remove(run, of, id))),
    }
}
