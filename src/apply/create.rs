//! Making one resource, so that it is made once whatever happens in between.
//!
//! The records: `intent` before the creating call, `made` when it answered, `ready` when it is usable and
//! configured. An intent without `made` means that nobody knows; then the cloud is asked, in the way the kind's
//! [`Replay`] names, before anything is sent again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::{LATER_ATTEMPTS, Run, Stepped, Until, VANISHED, kind_of, later_pause};
use crate::cloud::Fault;
use crate::engine::Halt;
use crate::journal::{Phase, Record};
use crate::plan::fingerprint;
use crate::resource::{
    Address, AnyResource, ApplyCx, Change, ConfigureWhen, Diff, KindInfo, PlanCx, Readiness, Replay,
};

/// Looks before a second create of something that only tags identify: as often, and as far apart, as listings
/// by tag have been seen to lag.
const LOOKS: u32 = 6;
const BETWEEN_LOOKS: Duration = Duration::from_secs(4);
/// Attempts at a create whose answer was lost, or for which there was no capacity.
const ATTEMPTS: u32 = 6;
/// How often a thing that was just made may be unknown to AWS when it is named: a minute, with the pauses between.
const UNHEARD: u32 = 8;

/// What is known of the thing when a step begins.
enum Known {
    /// It was never begun, or is known to be gone.
    Nothing,
    /// An intent stands without an answer; its token.
    Uncertain(String),
    /// An earlier run made it, and now nothing shows it. It may be late, or gone.
    Lost,
}

/// Creates what no survey shows, or finds out that an earlier run did.
pub async fn create(run: Arc<Run>, address: Address, resource: Arc<dyn AnyResource>) -> Stepped {
    let kind = kind_of(&address)?;
    let (id, output, origin) = match known(&run, &address)? {
        Known::Uncertain(token) => make(&run, &address, &*resource, &token, true).await?,
        known => {
            let token = token(&run.id, &address);
            let spec = fingerprint(&resource.spec());
            run.record(&Record::Intent {
                address: address.clone(),
                token: token.clone(),
                spec,
            })?;
            let lost = matches!(known, Known::Lost);
            make(&run, &address, &*resource, &token, lost).await?
        }
    };
    complete(&run, kind, &address, &*resource, id, output, origin).await
}

/// Whether this very run made the thing, or came upon it half made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Made,
    Found,
}

/// From made to ready: configures, waits, and compares what was found half made with what is wanted.
async fn complete(
    run: &Run,
    kind: &KindInfo,
    address: &Address,
    resource: &dyn AnyResource,
    id: Value,
    output: Option<Value>,
    origin: Origin,
) -> Stepped {
    let mut output = output;
    if kind.configures && kind.configure == ConfigureWhen::AtOnce {
        configure(run, address, resource, &id, None).await?;
    }
    if output.is_none() {
        let until = match origin {
            Origin::Made => Until::Ready,
            Origin::Found => Until::Found,
        };
        output = Some(run.wait(address, &id, until).await?);
    }
    if kind.configures && kind.configure == ConfigureWhen::WhenReady {
        configure(run, address, resource, &id, None).await?;
        output = Some(run.wait_ready(address, &id).await?);
    }
    if origin == Origin::Found && mend(run, kind, address, resource, &id).await? {
        output = Some(run.wait_ready(address, &id).await?);
    }
    settled(run, address, resource, id, output.unwrap_or_default())
}

/// Puts right what a creation cut in the middle left undone; whether there was anything.
async fn mend(
    run: &Run,
    kind: &KindInfo,
    address: &Address,
    resource: &dyn AnyResource,
    id: &Value,
) -> Result<bool, Halt<Fault>> {
    let cx = run.cx.fresh(run.state().known());
    let listed = (kind.survey)(&cx).await.map_err(Halt::Failed)?;
    let Some(found) = listed.into_iter().find(|f| f.address == *address) else {
        return Ok(false);
    };
    let (outputs, later) = (run.outputs(), BTreeSet::new());
    let cx = PlanCx {
        address,
        scope: run.cx.scope(),
        outputs: &outputs,
        later: &later,
    };
    let diff = resource.diff(&found.live, &cx).map_err(Halt::Failed)?;
    // What can only be replaced is for the next plan to show.
    if diff.is_empty() || diff.replaces() {
        return Ok(false);
    }
    configure(run, address, resource, id, Some(&diff)).await?;
    Ok(true)
}

/// Takes over something found that no journal remembers, putting right what differs.
pub async fn adopt(
    run: Arc<Run>,
    address: Address,
    resource: Arc<dyn AnyResource>,
    id: Value,
    diff: Diff,
) -> Stepped {
    // What was found may have changed since: put right first, so that waiting waits for something.
    if !diff.is_empty() {
        configure(&run, &address, &*resource, &id, Some(&diff)).await?;
    }
    let output = run.wait_ready(&address, &id).await?;
    settled(&run, &address, &*resource, id, output)
}

/// Changes fields in place.
pub async fn update(
    run: Arc<Run>,
    address: Address,
    resource: Arc<dyn AnyResource>,
    id: Value,
    diff: Diff,
) -> Stepped {
    configure(&run, &address, &*resource, &id, Some(&diff)).await?;
    let output = run.wait_ready(&address, &id).await?;
    settled(&run, &address, &*resource, id, output)
}

/// Goes on with something found in the making.
pub async fn finish(
    run: Arc<Run>,
    address: Address,
    resource: Arc<dyn AnyResource>,
    id: Value,
) -> Stepped {
    let phase = run.state().resources.get(&address).map(|e| e.phase);
    if phase.is_none() {
        let token = token(&run.id, &address);
        run.record(&Record::Intent {
            address: address.clone(),
            token,
            spec: fingerprint(&resource.spec()),
        })?;
    }
    if matches!(phase, None | Some(Phase::Intended)) {
        run.record(&Record::Made {
            address: address.clone(),
            id: id.clone(),
        })?;
    }
    let kind = kind_of(&address)?;
    let finished = async {
        // What leaves is not configured before it is seen to stay after all.
        if phase == Some(Phase::Leaving) {
            run.wait(&address, &id, Until::Found).await?;
        }
        complete(&run, kind, &address, &*resource, id, None, Origin::Found).await
    };
    match finished.await {
        // Found on its way out, and waited for until it was gone.
        Err(Halt::Failed(Fault::Gone { code, .. })) if code == VANISHED => {
            run.record(&Record::Gone {
                address: address.clone(),
            })?;
            create(run, address, resource).await
        }
        other => other,
    }
}

fn settled(
    run: &Run,
    address: &Address,
    resource: &dyn AnyResource,
    id: Value,
    output: Value,
) -> Stepped {
    run.learn(address, output.clone());
    run.record(&Record::Ready {
        address: address.clone(),
        id,
        output,
        spec: fingerprint(&resource.spec()),
        refs: resource.refs(),
    })
}

fn known(run: &Run, address: &Address) -> Result<Known, Halt<Fault>> {
    let state = run.state();
    let Some(entry) = state.resources.get(address) else {
        return Ok(Known::Nothing);
    };
    if entry.phase == Phase::Intended {
        return Ok(Known::Uncertain(entry.token.clone()));
    }
    run.record(&Record::Gone {
        address: address.clone(),
    })?;
    Ok(if entry.phase == Phase::Made {
        Known::Lost
    } else {
        Known::Nothing
    })
}

/// The client token: 32 hexadecimal digits from the run and the address, random enough and repeatable.
fn token(run: &str, address: &Address) -> String {
    fingerprint(&(run, address)) + &fingerprint(&(address, run))[..8]
}

/// Calls `create` until it is certain that exactly one thing was made.
async fn make(
    run: &Run,
    address: &Address,
    resource: &dyn AnyResource,
    first_token: &str,
    mut uncertain: bool,
) -> Result<(Value, Option<Value>, Origin), Halt<Fault>> {
    let kind = kind_of(address)?;
    let name = address.to_string();
    let mut token = first_token.to_owned();
    let mut attempt = 0;
    let mut later = 0;
    let mut unheard = 0;
    loop {
        if uncertain
            && kind.replay == Replay::TagLookup
            && let Some(found) = look(run, address, LOOKS).await?
        {
            return made(run, address, found, Origin::Found);
        }
        let outputs = run.outputs();
        let cx = ApplyCx {
            cloud: &run.cx,
            address,
            token: &token,
            outputs: &outputs,
        };
        let fault = match resource.create(&cx).await {
            // A token's answer may be that of an earlier attempt.
            Ok(answer) => {
                let origin = if uncertain {
                    Origin::Found
                } else {
                    Origin::Made
                };
                return made(run, address, answer, origin);
            }
            Err(fault) => fault,
        };
        attempt += 1;
        match &fault {
            Fault::Exists { .. } => {
                // Ours, if it carries our tags; those may show up late.
                return match look(run, address, LOOKS).await? {
                    Some(found) => made(run, address, found, Origin::Found),
                    None => Err(Halt::Failed(fault)),
                };
            }
            Fault::Unknown { .. } | Fault::Throttled { .. } if attempt < ATTEMPTS => {
                uncertain = true;
                run.pause(
                    &name,
                    attempt,
                    &fault,
                    Duration::from_secs(2 << attempt.min(3)),
                )
                .await?;
            }
            // What the call names was made a moment ago, and not all of AWS has heard of it.
            Fault::Gone { .. } if unheard < UNHEARD => {
                attempt -= 1;
                unheard += 1;
                run.pause(&name, unheard, &fault, later_pause(unheard))
                    .await?;
            }
            // The attempt of an earlier run came to nothing, or to something that has ended; its token is of no more use.
            _ if uncertain && is_spent(&fault) => {
                if let Some(found) = look(run, address, LOOKS).await? {
                    return made(run, address, found, Origin::Found);
                }
                let fresh = self::token(&run.id, address);
                if fresh == token {
                    return Err(Halt::Failed(fault));
                }
                run.record(&Record::Intent {
                    address: address.clone(),
                    token: fresh.clone(),
                    spec: fingerprint(&resource.spec()),
                })?;
                token = fresh;
                uncertain = false;
            }
            Fault::Capacity { .. } if attempt < ATTEMPTS => {
                run.pause(&name, attempt, &fault, Duration::from_secs(30))
                    .await?;
            }
            Fault::Later { .. } if later < LATER_ATTEMPTS => {
                attempt -= 1;
                later += 1;
                run.pause(&name, later, &fault, later_pause(later)).await?;
            }
            _ => return Err(Halt::Failed(fault)),
        }
    }
}

/// Whether AWS remembers the client token of another request, or of a thing that has ended since.
fn is_spent(fault: &Fault) -> bool {
    matches!(
        fault.code(),
        "IdempotentParameterMismatch" | "IdempotentInstanceTerminated"
    )
}

fn made(
    run: &Run,
    address: &Address,
    (id, output): (Value, Option<Value>),
    origin: Origin,
) -> Result<(Value, Option<Value>, Origin), Halt<Fault>> {
    run.record(&Record::Made {
        address: address.clone(),
        id: id.clone(),
    })?;
    Ok((id, output, origin))
}

/// Searches the cloud for the thing, with patience for listings that lag.
async fn look(
    run: &Run,
    address: &Address,
    looks: u32,
) -> Result<Option<(Value, Option<Value>)>, Halt<Fault>> {
    let kind = kind_of(address)?;
    for n in 0..looks {
        if n > 0 {
            run.cx.clock().sleep(BETWEEN_LOOKS).await;
        }
        let cx = run.cx.fresh(run.state().known());
        let listed = (kind.survey)(&cx).await.map_err(Halt::Failed)?;
        if let Some(found) = listed.into_iter().find(|f| f.address == *address) {
            let output = match found.readiness {
                Readiness::Ready(output) => Some(output),
                _ => None,
            };
            return Ok(Some((found.id, output)));
        }
    }
    Ok(None)
}

/// Runs `configure`, going on after what passes by itself.
async fn configure(
    run: &Run,
    address: &Address,
    resource: &dyn AnyResource,
    id: &Value,
    diff: Option<&Diff>,
) -> Stepped {
    let mut attempt = 0;
    loop {
        let outputs = run.outputs();
        let known = run
            .state()
            .resources
            .get(address)
            .map(|e| e.token.clone())
            .unwrap_or_default();
        let cx = ApplyCx {
            cloud: &run.cx,
            address,
            token: &known,
            outputs: &outputs,
        };
        let change = diff.map_or(Change::All, Change::Fields);
        let fault = match resource.configure(id, change, &cx).await {
            Ok(()) => return Ok(()),
            Err(fault) => fault,
        };
        attempt += 1;
        let passes = match fault {
            // Just made, not visible yet: AWS answers "not found" for a while.
            Fault::Later { .. } => attempt < LATER_ATTEMPTS,
            Fault::Gone { .. } => attempt < 8,
            Fault::Unknown { .. } | Fault::Throttled { .. } => attempt < ATTEMPTS,
            _ => false,
        };
        if !passes {
            return Err(Halt::Failed(fault));
        }
        run.pause(&address.to_string(), attempt, &fault, later_pause(attempt))
            .await?;
    }
}
