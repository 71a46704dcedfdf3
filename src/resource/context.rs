//! What a kind may see while it plans, surveys and applies.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use serde_json::Value;
use tokio::sync::OnceCell;

use super::{ADDRESS_TAG, Address, Ref, Resource, SITE_TAG, Tags};
use crate::clock::Clock;
use crate::cloud::{Aws, Fault, Limits, sort};

/// Whose world this is: the values every name and tag is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    pub site: String,
    pub account: String,
    pub region: String,
    /// The `[tags]` of the site file; on everything.
    pub tags: Tags,
}

impl Scope {
    /// The tags the resource at `address` carries: ours, the site file's, and the kind's own extras.
    pub fn tags_of(&self, address: &Address, extra: &Tags) -> Tags {
        let mut tags = self.tags.clone();
        tags.0.extend(extra.0.clone());
        tags.with(SITE_TAG, &self.site)
            .with(ADDRESS_TAG, address.to_string())
            .with("Name", format!("{}-{}", self.site, address.name()))
    }
}

/// Everything in the account that carries this site's tag, by ARN, from one paged listing of the tagging API.
///
/// EC2 kinds do not need it (their own listings filter by tag); it serves the services whose listings
/// do not show tags.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    pub by_arn: BTreeMap<String, Tags>,
}

/// Called when a call is put off and tried again: the call, the attempt, the pause, and why.
pub type RetryNotice = Arc<dyn Fn(&str, u32, Duration, &Fault) + Send + Sync>;

struct Inner {
    aws: Aws,
    scope: Scope,
    clock: Clock,
    limits: Limits,
    notice: Option<RetryNotice>,
    known: BTreeMap<String, Address>,
    final_snapshot: Option<String>,
    shared: Mutex<BTreeMap<&'static str, Shared>>,
}

/// What a listing said that several kinds share.
type Shared = Arc<OnceCell<Arc<dyn Any + Send + Sync>>>;

/// How kinds reach AWS: the clients, the site, rate limits and retries. Cheap to clone.
#[derive(Clone)]
pub struct CloudCx {
    inner: Arc<Inner>,
}

/// How often a throttled or unanswered call is tried before the fault is handed on.
const ATTEMPTS: u32 = 8;

impl CloudCx {
    /// `known` maps ids the journal remembers to their addresses: a listing by tag lags behind, memory does not.
    pub fn new(
        aws: Aws,
        scope: Scope,
        clock: Clock,
        limits: Limits,
        notice: Option<RetryNotice>,
        known: BTreeMap<String, Address>,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                aws,
                scope,
                clock,
                limits,
                notice,
                known,
                final_snapshot: None,
                shared: Mutex::default(),
            }),
        }
    }

    /// The same context with an empty memory of listings: the start of a new survey.
    #[must_use]
    pub fn fresh(&self, known: BTreeMap<String, Address>) -> Self {
        let i = &self.inner;
        Self::new(
            i.aws.clone(),
            i.scope.clone(),
            i.clock,
            i.limits.clone(),
            i.notice.clone(),
            known,
        )
    }

    /// The same site in another region, which remembers nothing.
    #[must_use]
    pub fn elsewhere(&self, aws: Aws, scope: Scope) -> Self {
        let i = &self.inner;
        Self::new(
            aws,
            scope,
            i.clock,
            i.limits.clone(),
            i.notice.clone(),
            BTreeMap::new(),
        )
    }

    /// The same context in which deleting a database takes a final snapshot named `<identifier>-<suffix>`.
    #[must_use]
    pub fn with_final_snapshot(&self, suffix: Option<String>) -> Self {
        let i = &self.inner;
        Self {
            inner: Arc::new(Inner {
                aws: i.aws.clone(),
                scope: i.scope.clone(),
                clock: i.clock,
                limits: i.limits.clone(),
                notice: i.notice.clone(),
                known: i.known.clone(),
                final_snapshot: suffix,
                shared: Mutex::default(),
            }),
        }
    }

    /// The suffix of the final snapshot a database deletion takes; none means no snapshot.
    pub fn final_snapshot(&self) -> Option<&str> {
        self.inner.final_snapshot.as_deref()
    }

    pub fn aws(&self) -> &Aws {
        &self.inner.aws
    }

    pub fn scope(&self) -> &Scope {
        &self.inner.scope
    }

    /// The site's name.
    pub fn site(&self) -> &str {
        &self.inner.scope.site
    }

    pub fn clock(&self) -> &Clock {
        &self.inner.clock
    }

    /// The EC2 filter that keeps a listing to this site.
    pub fn site_filter(&self) -> aws_sdk_ec2::types::Filter {
        aws_sdk_ec2::types::Filter::builder()
            .name(format!("tag:{SITE_TAG}"))
            .values(self.site())
            .build()
    }

    /// A listing that several kinds read, fetched once per survey: the first of them asks, and the others get the
    /// same. For surveys only: what is polled must be asked for anew.
    pub async fn once<T, Fut>(
        &self,
        listing: &'static str,
        ask: impl FnOnce() -> Fut,
    ) -> Result<T, Fault>
    where
        T: Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<T, Fault>>,
    {
        let shared = {
            let mut all = self
                .inner
                .shared
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            all.entry(listing).or_default().clone()
        };
        let kept = shared
            .get_or_try_init(|| async {
                let said = ask().await?;
                Ok::<_, Fault>(Arc::new(said) as Arc<dyn Any + Send + Sync>)
            })
            .await?;
        match kept.downcast_ref::<T>() {
            Some(said) => Ok(said.clone()),
            None => Err(Fault::internal(format!(
                "two kinds mean different things by the listing {listing}"
            ))),
        }
    }

    /// Tags by ARN of everything of this site, fetched once per survey.
    pub async fn listing(&self) -> Result<Arc<Listing>, Fault> {
        self.once("tags", || self.ask_listing()).await
    }

    async fn ask_listing(&self) -> Result<Arc<Listing>, Fault> {
        let found = self
            .read("tag:GetResources", || {
                self.aws()
                    .tagging
                    .get_resources()
                    .tag_filters(
                        aws_sdk_resourcegroupstagging::types::TagFilter::builder()
                            .key(SITE_TAG)
                            .values(self.site())
                            .build(),
                    )
                    .resources_per_page(100)
                    .into_paginator()
                    .items()
                    .send()
                    .collect::<Result<Vec<_>, _>>()
            })
            .await?;
        let by_arn = found
            .into_iter()
            .filter_map(|m| {
                let tags = m
                    .tags()
                    .iter()
                    .map(|t| (t.key().to_owned(), t.value().to_owned()))
                    .collect();
                Some((m.resource_arn()?.to_owned(), tags))
            })
            .collect();
        Ok(Arc::new(Listing { by_arn }))
    }

    /// Which of our addresses the thing with this ARN (or id, or name) is, by tag or by memory.
    pub async fn address_of(&self, arn: &str, id: &str) -> Result<Option<Address>, Fault> {
        if let Some(tags) = self.listing().await?.by_arn.get(arn) {
            return Ok(tags.address());
        }
        Ok(self
            .inner
            .known
            .get(arn)
            .or_else(|| self.inner.known.get(id))
            .cloned())
    }

    /// The tags of the thing with this ARN as the listing shows them; empty when it is not listed.
    pub async fn tags_by_arn(&self, arn: &str) -> Result<Tags, Fault> {
        Ok(self
            .listing()
            .await?
            .by_arn
            .get(arn)
            .cloned()
            .unwrap_or_default())
    }

    /// A call that changes nothing: retried after throttles and after lost answers.
    pub async fn read<T, E, F, Fut>(&self, call: &str, make: F) -> Result<T, Fault>
    where
        F: Fn() -> Fut + Send + Sync,
        Fut: Future<Output = Result<T, SdkError<E, HttpResponse>>> + Send,
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
        T: Send,
    {
        self.attempt(call, make, true).await
    }

    /// A change that may be sent twice without harm (a put, a delete, a call with a token): as [`Self::read`].
    pub async fn put<T, E, F, Fut>(&self, call: &str, make: F) -> Result<T, Fault>
    where
        F: Fn() -> Fut + Send + Sync,
        Fut: Future<Output = Result<T, SdkError<E, HttpResponse>>> + Send,
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
        T: Send,
    {
        self.attempt(call, make, true).await
    }

    /// A change that must not be sent twice blindly: retried only when AWS said it was not carried out.
    /// A lost answer comes back as [`Fault::Unknown`], and the engine looks before it tries again.
    pub async fn write<T, E, F, Fut>(&self, call: &str, make: F) -> Result<T, Fault>
    where
        F: Fn() -> Fut + Send + Sync,
        Fut: Future<Output = Result<T, SdkError<E, HttpResponse>>> + Send,
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
        T: Send,
    {
        self.attempt(call, make, false).await
    }

    async fn attempt<T, E, F, Fut>(&self, call: &str, make: F, harmless: bool) -> Result<T, Fault>
    where
        F: Fn() -> Fut + Send + Sync,
        Fut: Future<Output = Result<T, SdkError<E, HttpResponse>>> + Send,
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
        T: Send,
    {
        let mut attempt = 1;
        loop {
            self.inner.limits.pace(call, &self.inner.clock).await;
            let fault = match make().await {
                Ok(answer) => return Ok(answer),
                Err(error) => sort(call, error),
            };
            let again = match fault {
                Fault::Throttled { .. } => true,
                Fault::Unknown { .. } => harmless,
                _ => false,
            };
            if !again || attempt >= ATTEMPTS {
                return Err(fault);
            }
            let pause = backoff(attempt);
            if let Some(notice) = &self.inner.notice {
                notice(call, attempt, pause, &fault);
            }
            self.inner.clock.sleep(pause).await;
            attempt += 1;
        }
    }
}

/// Half fixed, half random: 0.5 to 1 s, then doubling up to 20 s.
fn backoff(attempt: u32) -> Duration {
    let full = Duration::from_secs(1)
        .saturating_mul(1 << (attempt - 1).min(5))
        .min(Duration::from_secs(20));
    let mut byte = [128u8];
    // Without randomness the pause is merely less spread out.
    let _ = getrandom::fill(&mut byte);
    full / 2 + full.mul_f64(f64::from(byte[0]) / 512.0)
}

/// The outputs of everything that is ready, by address.
#[derive(Debug, Clone, Default)]
pub struct Outputs(pub BTreeMap<Address, Value>);

impl Outputs {
    /// The output of the resource behind a [`Ref`], if it is ready.
    pub fn of<R: Resource>(&self, to: &Ref<R>) -> Option<R::Output> {
        serde_json::from_value(self.0.get(to.address())?.clone()).ok()
    }
}

/// What `diff` may see. No I/O.
pub struct PlanCx<'a> {
    pub address: &'a Address,
    pub scope: &'a Scope,
    pub outputs: &'a Outputs,
    /// Resources whose outputs will be new: they are to be made or replaced.
    pub later: &'a BTreeSet<Address>,
}

impl PlanCx<'_> {
    /// The output of a resource that exists and stays; `None` when it is still to be made.
    pub fn known<R: Resource>(&self, to: &Ref<R>) -> Option<R::Output> {
        if self.later.contains(to.address()) {
            return None;
        }
        self.outputs.of(to)
    }

    /// A value taken from another resource's output, for `Diff::field`: the value, or "known later",
    /// which differs from whatever is there.
    pub fn want<R: Resource, T: serde::Serialize>(
        &self,
        to: &Ref<R>,
        pick: impl FnOnce(R::Output) -> T,
    ) -> Value {
        match self.known(to) {
            Some(output) => serde_json::to_value(pick(output)).unwrap_or(Value::Null),
            None => Value::String(super::KNOWN_LATER.to_owned()),
        }
    }

    /// The tags this resource should carry.
    pub fn tags(&self, extra: &Tags) -> Tags {
        self.scope.tags_of(self.address, extra)
    }
}

/// What `create` and `configure` may see.
pub struct ApplyCx<'a> {
    pub cloud: &'a CloudCx,
    pub address: &'a Address,
    /// The client token of this step: the same in every attempt, across crashes. At most 64 letters and digits.
    pub token: &'a str,
    pub outputs: &'a Outputs,
}

impl ApplyCx<'_> {
    /// The output of a resource this one points at. The engine runs a step only after those are ready.
    pub fn get<R: Resource>(&self, to: &Ref<R>) -> Result<R::Output, Fault> {
        self.outputs.of(to).ok_or_else(|| {
            Fault::internal(format!(
                "{} needs {}, which is not ready",
                self.address,
                to.address()
            ))
        })
    }

    /// The tags this resource carries.
    pub fn tags(&self, extra: &Tags) -> Tags {
        self.cloud.scope().tags_of(self.address, extra)
    }

    /// The AWS clients.
    pub fn aws(&self) -> &Aws {
        self.cloud.aws()
    }
}
