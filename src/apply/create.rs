//! Making one resource, so that it is made once whatever happens in between.
//!
//! The records: `intent` before the creating call, `made` when it answered, `ready` when it is usable and
//! configured. An intent without `made` means that nobody knows; then the cloud is asked, in the way the kind's
//! [`Replay`] names, before anything is sent again.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::{LATER_ATTEMPTS, Run, Stepped, kind_of, later_pause};
use crate::cloud::Fault;
use crate::engine::Halt;
use crate::journal::{Phase, Record};
use crate::plan::fingerprint;
use crate::resource::{
    Address, AnyResource, ApplyCx, Change, ConfigureWhen, Diff, Readiness, Replay,
};

/// Looks before a second create of something that only tags identify: as often, and as far apart, as listings
/// by tag have been seen to lag.
const LOOKS: u32 = 6;
const BETWEEN_LOOKS: Duration = Duration::from_secs(4);
/// Attempts at a create whose answer was lost, or for which there was no capacity.
const ATTEMPTS: u32 = 6;

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
    let (id, mut output) = match known(&run, &address)? {
        Known::Uncertain(token) => make(&run, &address, &*resource, &token, true).await?,
        known => {
            let token = token(&run.id, &address);
            let spec = fingerprint(&resource.spec());
            run.record(&Record::Intent {
                address: address.clone(),
                token: token.clone(),
                spec,
            })?;
            make(
                &run,
                &address,
                &*resource,
                &token,
                matches!(known, Known::Lost),
            )
            .await?
        }
    };
    if kind.configures && kind.configure == ConfigureWhen::AtOnce {
        configure(&run, &address, &*resource, &id, None).await?;
    }
    if output.is_none() {
        output = Some(run.wait_ready(&address, &id).await?);
    }
    if kind.configures && kind.configure == ConfigureWhen::WhenReady {
        configure(&run, &address, &*resource, &id, None).await?;
        output = Some(run.wait_ready(&address, &id).await?);
    }
    settled(&run, &address, &*resource, id, output.unwrap_or_default())
}

/// Takes over something found that no journal remembers, putting right what differs.
pub async fn adopt(
    run: Arc<Run>,
    address: Address,
    resource: Arc<dyn AnyResource>,
    id: Value,
    diff: Diff,
) -> Stepped {
    let output = run.wait_ready(&address, &id).await?;
    if !diff.is_empty() {
        configure(&run, &address, &*resource, &id, Some(&diff)).await?;
        let output = run.wait_ready(&address, &id).await?;
        return settled(&run, &address, &*resource, id, output);
    }
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
    if kind.configures && kind.configure == ConfigureWhen::AtOnce {
        configure(&run, &address, &*resource, &id, None).await?;
    }
    let mut output = run.wait_ready(&address, &id).await?;
    if kind.configures && kind.configure == ConfigureWhen::WhenReady {
        configure(&run, &address, &*resource, &id, None).await?;
        output = run.wait_ready(&address, &id).await?;
    }
    settled(&run, &address, &*resource, id, output)
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
    token: &str,
    mut uncertain: bool,
) -> Result<(Value, Option<Value>), Halt<Fault>> {
    let kind = kind_of(address)?;
    let name = address.to_string();
    let mut attempt = 0;
    let mut later = 0;
    loop {
        if uncertain
            && kind.replay == Replay::TagLookup
            && let Some(found) = look(run, address, LOOKS).await?
        {
            return made(run, address, found);
        }
        let outputs = run.outputs();
        let cx = ApplyCx {
            cloud: &run.cx,
            address,
            token,
            outputs: &outputs,
        };
        let fault = match resource.create(&cx).await {
            Ok(answer) => return made(run, address, answer),
            Err(fault) => fault,
        };
        attempt += 1;
        match &fault {
            Fault::Exists { .. } => {
                // Ours, if it carries our tags; those may show up late.
                return match look(run, address, LOOKS).await? {
                    Some(found) => made(run, address, found),
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

fn made(
    run: &Run,
    address: &Address,
    (id, output): (Value, Option<Value>),
) -> Result<(Value, Option<Value>), Halt<Fault>> {
    run.record(&Record::Made {
        address: address.clone(),
        id: id.clone(),
    })?;
    Ok((id, output))
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
