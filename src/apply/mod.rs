//! Carries a plan out: steps that write down what they are about to do, do it, wait, and write down what came
//! of it.
//!
//! The order of records around a call is what makes a crash harmless; `docs/design/0004-journal.md` has it.

mod create;
mod poller;
mod remove;
mod steps;
mod survey;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;

pub use self::poller::{Poller, Until, Waited};
pub use self::remove::{kept, removal_steps};
pub use self::steps::install_steps;
pub use self::survey::survey;
use crate::cloud::Fault;
use crate::engine::{Event, Halt, Observer, Stop, StopLevel};
use crate::journal::{Record, State, Store};
use crate::resource::{Address, CloudCx, Outputs};

/// What every step of a run shares.
pub struct Run {
    /// The run's id; part of every client token made in it.
    pub id: String,
    pub cx: CloudCx,
    pub store: Arc<dyn Store>,
    pub poller: Poller,
    pub stop: Stop,
    pub observe: Observer,
    outputs: Mutex<Outputs>,
}

/// The result of a step, in this module's terms.
pub type Stepped = Result<(), Halt<Fault>>;

impl Run {
    pub fn new(
        id: String,
        cx: CloudCx,
        store: Arc<dyn Store>,
        stop: Stop,
        observe: Observer,
        outputs: Outputs,
    ) -> Arc<Self> {
        let poller = Poller::new(cx.clone(), stop.clone(), observe.clone());
        Arc::new(Self {
            id,
            cx,
            store,
            poller,
            stop,
            observe,
            outputs: Mutex::new(outputs),
        })
    }

    /// A copy of what is known of everything that is ready.
    fn outputs(&self) -> Outputs {
        self.outputs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn learn(&self, address: &Address, output: Value) {
        self.outputs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .0
            .insert(address.clone(), output);
    }

    fn state(&self) -> Arc<State> {
        self.store.state()
    }

    /// Writes one record. A journal that cannot be written ends the step at once.
    fn record(&self, record: &Record) -> Stepped {
        self.store
            .append(record)
            .map_err(|e| Halt::Failed(Fault::internal(e.to_string())))
    }

    /// Tells that a call will be tried again, and pauses; interrupted when the run winds down.
    async fn pause(&self, name: &str, attempt: u32, fault: &Fault, after: Duration) -> Stepped {
        (self.observe)(&Event::Retrying {
            name: name.to_owned(),
            attempt,
            after,
            why: fault.to_string(),
        });
        tokio::select! {
            () = self.cx.clock().sleep(after) => Ok(()),
            () = self.stop.reached(StopLevel::WindDown) => Err(Halt::Interrupted),
        }
    }

    /// Waits by polling; turns what is not success into a halt.
    async fn wait_ready(&self, address: &Address, id: &Value) -> Result<Value, Halt<Fault>> {
        self.wait(address, id, Until::Ready).await
    }

    async fn wait(
        &self,
        address: &Address,
        id: &Value,
        until: Until,
    ) -> Result<Value, Halt<Fault>> {
        let kind = kind_of(address)?;
        let call = format!("{} (waiting)", address.kind());
        match self
            .poller
            .wait(kind, id, &address.to_string(), until)
            .await
        {
            Waited::Ready(output) => Ok(output),
            Waited::Broken(message) => Err(Halt::Failed(Fault::Broken { call, message })),
            Waited::Absent => Err(Halt::Failed(Fault::Gone {
                call,
                code: VANISHED.into(),
                message: "it vanished while it was waited for".into(),
            })),
            Waited::Interrupted => Err(Halt::Interrupted),
            Waited::TooLong(status) => Err(Halt::Failed(Fault::Later {
                call,
                code: status,
                message: "it did not become ready in the time allowed".into(),
            })),
            Waited::Fault(fault) => Err(Halt::Failed(fault)),
        }
    }
}

/// The code of a fault that AWS did not word: something seen is not there any more.
const VANISHED: &str = "vanished";

/// The registry's line for an address.
fn kind_of(address: &Address) -> Result<&'static crate::resource::KindInfo, Halt<Fault>> {
    crate::kinds::registry::find(address.kind().as_str()).ok_or_else(|| {
        Halt::Failed(Fault::internal(format!(
            "this version of gantry does not know the kind {}",
            address.kind()
        )))
    })
}

/// Waiting for what AWS says will pass: 2 s, then longer, up to 20 s.
fn later_pause(attempt: u32) -> Duration {
    Duration::from_secs(u64::from(attempt.min(10)) * 2)
}

/// How often "not yet" is heard before it is a failure: with the pauses above, about twenty minutes.
///
/// Attempts are counted and not time: a laptop that slept overnight has not been patient all night.
const LATER_ATTEMPTS: u32 = 65;
