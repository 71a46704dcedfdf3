//! The object-safe twin of [`Resource`], so that engine and plan handle all kinds alike.
//!
//! Ids, outputs and live states travel as JSON here; the kinds themselves stay typed.

use std::any::Any;
use std::fmt::Debug;
use std::time::Duration;

use futures::future::BoxFuture;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Address, ApplyCx, Bears, Change, CloudCx, ConfigureWhen, Created, Diff, Kind, PlanCx,
    Readiness, Replay, Resource,
};
use crate::cloud::Fault;

/// [`super::Found`] with its values as JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AnyFound {
    pub address: Address,
    pub id: Value,
    pub live: Value,
    pub readiness: Readiness<Value>,
}

/// A spec of any kind.
pub trait AnyResource: Any + Debug + Send + Sync {
    fn info(&self) -> &'static KindInfo;
    fn refs(&self) -> Vec<Address>;
    /// The spec as JSON; what a plan's fingerprint is made of. Holds no secret.
    fn spec(&self) -> Value;
    fn diff(&self, live: &Value, cx: &PlanCx<'_>) -> Result<Diff, Fault>;
    fn create<'a>(
        &'a self,
        cx: &'a ApplyCx<'a>,
    ) -> BoxFuture<'a, Result<(Value, Option<Value>), Fault>>;
    fn configure<'a>(
        &'a self,
        id: &'a Value,
        change: Change<'a>,
        cx: &'a ApplyCx<'a>,
    ) -> BoxFuture<'a, Result<(), Fault>>;
}

type Survey = for<'a> fn(&'a CloudCx) -> BoxFuture<'a, Result<Vec<AnyFound>, Fault>>;
type Poll =
    for<'a> fn(&'a [Value], &'a CloudCx) -> BoxFuture<'a, Result<Vec<Readiness<Value>>, Fault>>;
type Delete = for<'a> fn(&'a Value, &'a CloudCx) -> BoxFuture<'a, Result<(), Fault>>;

/// What the engine knows about a kind: one line of the registry.
pub struct KindInfo {
    pub kind: Kind,
    pub replay: Replay,
    pub bears: Bears,
    pub configures: bool,
    pub configure: ConfigureWhen,
    pub actions: &'static [&'static str],
    pub usual: Duration,
    pub delete_takes_time: bool,
    pub survey: Survey,
    pub poll: Poll,
    pub delete: Delete,
}

impl Debug for KindInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KindInfo({})", self.kind)
    }
}

impl KindInfo {
    /// The line for a kind.
    pub const fn of<R: Resource>() -> Self {
        Self {
            kind: R::KIND,
            replay: R::REPLAY,
            bears: R::BEARS,
            configures: R::CONFIGURES,
            configure: R::CONFIGURE,
            actions: R::ACTIONS,
            usual: Duration::from_secs(R::USUAL_SECONDS),
            delete_takes_time: R::DELETE_TAKES_TIME,
            survey: survey::<R>,
            poll: poll::<R>,
            delete: delete::<R>,
        }
    }
}

fn survey<R: Resource>(cx: &CloudCx) -> BoxFuture<'_, Result<Vec<AnyFound>, Fault>> {
    Box::pin(async move {
        let found = R::survey(cx).await?;
        found
            .into_iter()
            .map(|f| {
                Ok(AnyFound {
                    address: f.address,
                    id: to_json(&f.id)?,
                    live: to_json(&f.live)?,
                    readiness: readiness_json(f.readiness)?,
                })
            })
            .collect()
    })
}

fn poll<'a, R: Resource>(
    ids: &'a [Value],
    cx: &'a CloudCx,
) -> BoxFuture<'a, Result<Vec<Readiness<Value>>, Fault>> {
    Box::pin(async move {
        let ids = ids
            .iter()
            .map(from_json::<R::Id>)
            .collect::<Result<Vec<_>, _>>()?;
        R::poll(&ids, cx)
            .await?
            .into_iter()
            .map(readiness_json)
            .collect()
    })
}

fn delete<'a, R: Resource>(id: &'a Value, cx: &'a CloudCx) -> BoxFuture<'a, Result<(), Fault>> {
    Box::pin(async move {
        let id = from_json::<R::Id>(id)?;
        match R::delete(&id, cx).await {
            Err(fault) if fault.is_gone() => Ok(()),
            other => other,
        }
    })
}

impl<R: Resource + Registered> AnyResource for R {
    fn info(&self) -> &'static KindInfo {
        R::INFO
    }

    fn refs(&self) -> Vec<Address> {
        Resource::refs(self).into_iter().cloned().collect()
    }

    fn spec(&self) -> Value {
        serde_json::to_value(self).unwrap_or(Value::Null)
    }

    fn diff(&self, live: &Value, cx: &PlanCx<'_>) -> Result<Diff, Fault> {
        Ok(Resource::diff(self, &from_json(live)?, cx))
    }

    fn create<'a>(
        &'a self,
        cx: &'a ApplyCx<'a>,
    ) -> BoxFuture<'a, Result<(Value, Option<Value>), Fault>> {
        Box::pin(async move {
            Ok(match Resource::create(self, cx).await? {
                Created::Done(id, output) => (to_json(&id)?, Some(to_json(&output)?)),
                Created::Waiting(id) => (to_json(&id)?, None),
            })
        })
    }

    fn configure<'a>(
        &'a self,
        id: &'a Value,
        change: Change<'a>,
        cx: &'a ApplyCx<'a>,
    ) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move { Resource::configure(self, &from_json(id)?, change, cx).await })
    }
}

/// A kind's own line as a constant. Blanket: every [`Resource`] has one.
pub trait Registered {
    const INFO: &'static KindInfo;
}

impl<R: Resource> Registered for R {
    const INFO: &'static KindInfo = &KindInfo::of::<R>();
}

fn to_json<T: Serialize>(value: &T) -> Result<Value, Fault> {
    serde_json::to_value(value)
        .map_err(|e| Fault::internal(format!("a value that cannot be written down: {e}")))
}

fn from_json<T: DeserializeOwned>(value: &Value) -> Result<T, Fault> {
    T::deserialize(value).map_err(|e| {
        Fault::internal(format!(
            "a remembered value that cannot be read: {e}: {value}"
        ))
    })
}

fn readiness_json<T: Serialize>(readiness: Readiness<T>) -> Result<Readiness<Value>, Fault> {
    Ok(match readiness {
        Readiness::Ready(t) => Readiness::Ready(to_json(&t)?),
        Readiness::Pending(why) => Readiness::Pending(why),
        Readiness::Held(fault) => Readiness::Held(fault),
        Readiness::Broken(why) => Readiness::Broken(why),
        Readiness::Absent => Readiness::Absent,
    })
}
