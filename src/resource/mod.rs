//! The vocabulary of cloud things: what a kind must be able to do, and how kinds point at each other.
//!
//! One kind is one file under `kinds/`; see `docs/design/0001-resources.md` for why it has this shape.

mod address;
mod context;
mod diff;
mod erased;
mod tags;

use std::borrow::Cow;
use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use self::address::{Address, Kind, NotAnAddress, Ref};
pub use self::context::{ApplyCx, CloudCx, Listing, Outputs, PlanCx, Scope};
pub use self::diff::{Change, Diff, FieldChange, How, KNOWN_LATER};
pub use self::erased::{AnyFound, AnyResource, KindInfo};
pub use self::tags::{ADDRESS_TAG, DRILL_TAG, POINT_TAG, ROLE_TAG, SITE_TAG, Tags};
use crate::cloud::Fault;

/// A value that outlives the process: it is written to the journal and read back.
pub trait Durable: Serialize + DeserializeOwned + Clone + Debug + Send + Sync + 'static {}
impl<T: Serialize + DeserializeOwned + Clone + Debug + Send + Sync + 'static> Durable for T {}

/// How a repeated create is recognised as the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replay {
    /// AWS honours a client token: the same call with the same token answers with the same thing.
    Token,
    /// The name is unique: a second create says "exists", and it is ours if it carries our tags.
    Name,
    /// Nothing but the tags put on at creation; before a second create somebody must look, with patience.
    TagLookup,
}

/// Whether losing it loses data. Data-bearing things are never replaced or deleted without an explicit word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bears {
    Nothing,
    Data,
}

/// When `configure` may run after `create`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigureWhen {
    /// Right after `create` answered.
    AtOnce,
    /// After the first poll that says ready.
    WhenReady,
}

/// What `create` gives back.
#[derive(Debug, Clone)]
pub enum Created<R: Resource> {
    /// Usable at once.
    Done(R::Id, R::Output),
    /// Made, but AWS needs time: poll until ready.
    Waiting(R::Id),
}

/// Whether a made thing can be used yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Readiness<T> {
    Ready(T),
    /// Not yet; AWS's own word for the state.
    Pending(Cow<'static, str>),
    /// Not yet, and this stands in the way. Once it is gone, AWS goes on by itself.
    Held(Box<Fault>),
    /// Never; AWS's own word for what went wrong.
    Broken(Cow<'static, str>),
    /// AWS does not know it: not visible yet when it was just made, gone when it was just deleted.
    Absent,
}

impl<T> Readiness<T> {
    /// The same state with the output changed.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Readiness<U> {
        match self {
            Self::Ready(t) => Readiness::Ready(f(t)),
            Self::Pending(why) => Readiness::Pending(why),
            Self::Held(fault) => Readiness::Held(fault),
            Self::Broken(why) => Readiness::Broken(why),
            Self::Absent => Readiness::Absent,
        }
    }
}

/// One thing of ours seen in a survey.
#[derive(Debug, Clone)]
pub struct Found<R: Resource> {
    pub address: Address,
    pub id: R::Id,
    pub live: R::Live,
    pub readiness: Readiness<R::Output>,
}

/// One kind of cloud thing. The file implementing it is the whole story of that kind.
///
/// Every method may run twice: after a crash, a lost answer, or a throttle, gantry calls it again with the
/// same values. `create` puts the site's tags on in the creating call itself, so that there is no moment in
/// which the thing exists without them.
pub trait Resource: Debug + Clone + Serialize + Send + Sync + 'static {
    const KIND: Kind;
    const REPLAY: Replay;
    const BEARS: Bears = Bears::Nothing;
    /// Whether `configure` has work to do after `create` (settings that the creating call cannot carry).
    const CONFIGURES: bool = false;
    /// When that work may start.
    const CONFIGURE: ConfigureWhen = ConfigureWhen::AtOnce;
    /// The IAM actions that the methods below use; `gantry policy` prints them.
    const ACTIONS: &'static [&'static str];
    /// How long AWS usually takes until it is ready, for estimates; seconds. From public logs, see `docs/`.
    const USUAL_SECONDS: u64 = 1;

    /// Known as soon as `create` answers; enough to poll and to delete.
    type Id: Durable;
    /// Known once it is ready; what other resources may read.
    type Output: Durable;
    /// The live fields that `diff` compares.
    type Live: Durable;

    /// The edges: every [`Ref`] this spec holds.
    fn refs(&self) -> Vec<&Address>;

    /// A line for each field that differs. Pure.
    fn diff(&self, live: &Self::Live, cx: &PlanCx<'_>) -> Diff;

    /// Everything of this kind that belongs to the site: one paged listing, whatever the size of the site.
    fn survey(cx: &CloudCx) -> impl Future<Output = Result<Vec<Found<Self>>, Fault>> + Send;

    /// How far these are, in the same order, with one listing by id for all of them.
    /// What AWS does not know is [`Readiness::Absent`], never an error.
    fn poll(
        ids: &[Self::Id],
        cx: &CloudCx,
    ) -> impl Future<Output = Result<Vec<Readiness<Self::Output>>, Fault>> + Send;

    /// Makes it, tagged. [`Fault::Exists`] when the name is taken.
    fn create(&self, cx: &ApplyCx<'_>)
    -> impl Future<Output = Result<Created<Self>, Fault>> + Send;

    /// Sets what `create` cannot, and what an update asks for. Idempotent.
    fn configure(
        &self,
        _id: &Self::Id,
        _change: Change<'_>,
        _cx: &ApplyCx<'_>,
    ) -> impl Future<Output = Result<(), Fault>> + Send {
        async { Ok(()) }
    }

    /// Starts its removal. Gone already is fine. [`Fault::Later`] while something still depends on it.
    fn delete(id: &Self::Id, cx: &CloudCx) -> impl Future<Output = Result<(), Fault>> + Send;

    /// Whether removal goes on after `delete` answered; then `poll` is asked until it says `Absent`.
    const DELETE_TAKES_TIME: bool = false;
}

/// The usual time of a kind as a duration.
pub fn usual<R: Resource>() -> Duration {
    Duration::from_secs(R::USUAL_SECONDS)
}
