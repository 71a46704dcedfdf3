//! Taking a site down, from what exists.

mod snapshots;

pub use self::snapshots::{Fate, Of, SiteSnapshot};

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{Session, SessionError};
use crate::apply::{kept, removal_steps, survey};
use crate::cloud::Fault;
use crate::engine::{self, Observer, Report, Stop};
use crate::journal::{Phase, Record};
use crate::kinds::kms::Key;
use crate::kinds::rds::DbInstance;
use crate::plan::{Refused, Survey, TWO};
use crate::resource::{Address, Resource};

/// What goes and what stays.
#[derive(Debug, Clone, Default)]
pub struct Destroy {
    /// Remove databases, volumes, buckets, secrets and keys as well.
    pub delete_data: bool,
    /// The suffix of the databases' final snapshots; none skips them.
    pub final_snapshot: Option<String>,
}

/// What a destroy will do, for people to see before they say yes.
#[derive(Debug, Clone, Serialize)]
pub struct DestroyPlan {
    pub format: u32,
    pub site: String,
    pub account: String,
    pub region: String,
    pub delete: Vec<Address>,
    /// Stays, because it holds data or something that holds data leans on it; or because it is the key of a snapshot that
    /// stays.
    pub keep: Vec<Address>,
    /// The site's snapshots, when data goes; otherwise they stay, and are not asked for.
    pub snapshots: Vec<SiteSnapshot>,
    /// The region with copies of snapshots, which stay, and with them their key.
    pub copies_in: Option<String>,
    #[serde(skip)]
    survey: Survey,
    #[serde(skip)]
    refs: BTreeMap<Address, Vec<Address>>,
}

impl DestroyPlan {
    /// Whether there is nothing to remove.
    pub fn is_empty(&self) -> bool {
        self.delete.is_empty() && self.snapshots_to_go().next().is_none()
    }

    fn snapshots_to_go(&self) -> impl Iterator<Item = &SiteSnapshot> {
        self.snapshots.iter().filter(|snapshot| snapshot.goes())
    }
}

impl Session {
    /// Surveys, and divides what is there into what goes and what stays. Writes nothing.
    pub async fn plan_destroy(&self, choice: &Destroy) -> Result<DestroyPlan, SessionError> {
        let state = self.store.state();
        let cx = self.cx.fresh(state.known());
        let survey = survey(&cx, &state, &self.kinds(&state)).await?;
        // Edges as remembered; the blueprint knows those of a state that was lost, and of what was never ready.
        let unsure = |address: &Address| {
            let known = state.resources.get(address).map(|entry| entry.phase);
            !matches!(known, Some(Phase::Ready | Phase::Leaving))
        };
        let mut refs: BTreeMap<Address, Vec<Address>> = BTreeMap::new();
        if survey.found.keys().any(unsure) {
            let pins = crate::facts::Pins(state.pins.clone());
            if let Ok(facts) = crate::facts::look_up(&cx, &self.site, &self.profile, &pins).await {
                let blueprint = crate::blueprint::build(&self.site, &self.profile, &facts);
                refs.extend(blueprint.iter().map(|(a, r)| (a.clone(), r.refs())));
            }
        }
        refs.extend(
            state
                .resources
                .iter()
                .filter(|(_, e)| !e.refs.is_empty())
                .map(|(a, e)| (a.clone(), e.refs.clone())),
        );
        let (keep, snapshots) = if choice.delete_data {
            let snapshots = snapshots::listed(&cx).await?;
            (keys(&survey, &refs, &snapshots, choice), snapshots)
        } else {
            (kept(&survey, &refs), vec![])
        };
        let scope = self.cx.scope();
        Ok(DestroyPlan {
            format: 1,
            site: scope.site.clone(),
            account: scope.account.clone(),
            region: scope.region.clone(),
            delete: survey
                .found
                .keys()
                .filter(|a| !keep.contains(*a))
                .cloned()
                .collect(),
            keep: keep.into_iter().collect(),
            snapshots,
            copies_in: (choice.delete_data)
                .then_some(self.site.backup.copy_to_region.as_ref())
                .flatten()
                .map(ToString::to_string),
            survey,
            refs,
        })
    }

    /// Removes what the plan says, in waves.
    pub async fn destroy(
        &self,
        run: &str,
        plan: &DestroyPlan,
        choice: &Destroy,
        stop: &Stop,
        observe: &Observer,
    ) -> Result<Report<Fault>, SessionError> {
        let undecided = plan.survey.undecided(&self.store.state());
        if !undecided.is_empty() {
            let two = |address: &&Address| Refused {
                address: (*address).clone(),
                why: TWO.to_owned(),
            };
            return Err(SessionError::Impossible(
                undecided.iter().map(two).collect(),
            ));
        }
        self.begin(run, "destroy")?;
        let cx = self.cx.with_final_snapshot(choice.final_snapshot.clone());
        let session_run = self.shared(run, cx.clone(), stop, observe, &plan.survey);
        let keep: BTreeSet<Address> = plan.keep.iter().cloned().collect();
        let mut steps = removal_steps(&session_run, &plan.survey, &plan.refs, &keep);
        // Last, when nothing is left that knows or makes them.
        let before: Vec<usize> = (0..steps.len()).collect();
        steps.extend(
            plan.snapshots_to_go()
                .map(|snapshot| snapshot.step(cx.clone(), before.clone())),
        );
        let report = engine::run(steps, stop, *self.cx.clock(), observe).await;
        if report.complete() && choice.delete_data {
            // Nothing is left that the choices were made for; a later site chooses afresh.
            for key in self.store.state().pins.keys() {
                self.store.append(&Record::Pinned {
                    key: key.clone(),
                    value: String::new(),
                })?;
            }
        }
        self.end(run, &report)?;
        Ok(report)
    }
}

/// The keys that must outlive the site: a snapshot that stays is worth nothing once its key is gone. AWS removes a key 30
/// days after it was told to, and everything that is encrypted with it is lost then.
fn keys(
    survey: &Survey,
    refs: &BTreeMap<Address, Vec<Address>>,
    snapshots: &[SiteSnapshot],
    choice: &Destroy,
) -> BTreeSet<Address> {
    let is_key = |a: &&Address| *a.kind() == Key::KIND && survey.found.contains_key(*a);
    // Of databases whose last snapshot this destroy takes.
    let coming = survey
        .found
        .keys()
        .filter(|a| *a.kind() == DbInstance::KIND && choice.final_snapshot.is_some())
        .flat_map(|a| refs.get(a).into_iter().flatten())
        .filter(is_key);
    // Of those that are there.
    let there = survey.found.values().filter(|found| {
        let of = |key: &String| found.id.as_str().is_some_and(|id| key.ends_with(id));
        let stays = snapshots.iter().filter(|s| !s.goes());
        *found.address.kind() == Key::KIND && stays.filter_map(|s| s.key.as_ref()).any(of)
    });
    coming
        .chain(there.map(|found| &found.address))
        .cloned()
        .collect()
}
