//! The strict cloud: AWS as gantry meets it, in memory or in a folder, behind the SDK's own HTTP client.
//!
//! It is one world with two uses: `--sandbox` for people, and the ground of nearly every test. It refuses
//! what AWS refuses, takes the time AWS takes (on a clock that can be played fast), honours client tokens,
//! shows new things late, and keeps a log of every call. `docs/design/0003-strict-cloud.md` says why it is
//! not one of the emulators.

mod call;
pub mod codec;
mod content;
pub mod delays;
mod faults;
mod http;
pub mod machines;
mod services;
mod signals;
mod store;
pub mod world;

use std::sync::{Arc, Mutex, PoisonError};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_types::retry::RetryConfig;

pub use self::call::{Answer, Call, Http, Outcome, Refusal};
pub use self::content::Holder;
pub use self::faults::{Fate, Faults, Moment};
pub use self::services::actions;
pub use self::signals::{Datum, Message};
pub use self::store::{Folder, StoreError};
use self::world::World;
use crate::clock::Clock;

/// The account the sandbox plays.
pub const ACCOUNT: &str = "123456789012";

/// One call as the log keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    /// `ec2:CreateVpc`.
    pub call: String,
    pub region: String,
    /// What the thing was tagged or named, for messages of tests; may be empty.
    pub subject: String,
    /// The refusal's code, or empty.
    pub refused: String,
}

/// The strict cloud. Cheap to clone; all clones share one world.
#[derive(Clone)]
pub struct Sandbox {
    shared: Arc<Shared>,
}

struct Shared {
    world: Mutex<World>,
    clock: Clock,
    folder: Option<Folder>,
    faults: Mutex<Faults>,
    log: Mutex<Vec<Logged>>,
}

impl std::fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sandbox")
    }
}

impl Sandbox {
    /// A world in memory, for tests.
    pub fn in_memory(world: World, clock: Clock) -> Self {
        Self::build(world, clock, None)
    }

    /// The world kept in `folder`, or a new one. Time goes on where it stopped, `speed` times real time.
    pub fn open(folder: Folder, speed: u32) -> Result<Self, StoreError> {
        let (world, base) = folder.open(speed)?;
        Ok(Self::build(world, Clock::played(base, speed), Some(folder)))
    }

    fn build(mut world: World, clock: Clock, folder: Option<Folder>) -> Self {
        services::seed(&mut world);
        Self {
            shared: Arc::new(Shared {
                world: Mutex::new(world),
                clock,
                folder,
                faults: Mutex::new(Faults::default()),
                log: Mutex::default(),
            }),
        }
    }

    /// The clock everything here runs on.
    pub fn clock(&self) -> Clock {
        self.shared.clock
    }

    /// A copy of the world as it is now.
    pub fn world(&self) -> World {
        let mut world = self.lock().clone();
        world.tick(self.now());
        world
    }

    /// Changes the world behind gantry's back: drift, and things of other people.
    pub fn change(&self, change: impl FnOnce(&mut World)) {
        change(&mut self.lock());
    }

    /// What shall go wrong.
    pub fn faults(&self, change: impl FnOnce(&mut Faults)) {
        change(
            &mut self
                .shared
                .faults
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
    }

    /// Every call so far.
    pub fn log(&self) -> Vec<Logged> {
        self.shared
            .log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Forgets the calls so far.
    pub fn clear_log(&self) {
        self.shared
            .log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    /// SDK configuration whose calls end up here; nothing leaves the machine.
    pub fn config(&self, region: &str) -> SdkConfig {
        SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(region.to_owned()))
            .http_client(self.clone())
            .credentials_provider(SharedCredentialsProvider::new(Credentials::from_keys(
                "SANDBOX", "sandbox", None,
            )))
            .sleep_impl(aws_smithy_async::rt::sleep::TokioSleep::new())
            .time_source(aws_smithy_async::time::SystemTimeSource::new())
            .retry_config(RetryConfig::disabled())
            .build()
    }

    /// Changes the world as it is at `now`; what is kept in a folder is kept then.
    fn edit<T>(&self, now: world::Millis, change: impl FnOnce(&mut World) -> T) -> T {
        let mut world = self.lock();
        let guard = self
            .shared
            .folder
            .as_ref()
            .and_then(|f| f.enter(&mut world));
        world.tick(now);
        world.dirty = false;
        let answer = change(&mut world);
        if world.dirty
            && let Some(folder) = &self.shared.folder
        {
            folder.save(&mut world, self.shared.clock.now());
        }
        drop(guard);
        answer
    }

    fn now(&self) -> world::Millis {
        self.shared.clock.now().as_millisecond()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, World> {
        self.shared
            .world
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries out one call on the world. The log has the calls in the order in which they happened.
    fn handle(&self, call: &Call) -> Outcome {
        self.edit(call.now, |world| {
            let outcome = match self.fate(call) {
                Fate::Refuse(refusal) => Err(refusal),
                _ => services::handle(world, call),
            };
            self.note(call, &outcome);
            outcome
        })
    }

    fn note(&self, call: &Call, outcome: &Outcome) {
        let refused = outcome.as_ref().err().map(|r| r.code.clone());
        self.shared
            .log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Logged {
                call: format!("{}:{}", call.service, call.action),
                region: call.region.clone(),
                subject: services::subject(call),
                refused: refused.unwrap_or_default(),
            });
    }

    fn fate(&self, call: &Call) -> Fate {
        self.shared
            .faults
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .refusal(call)
    }
}
