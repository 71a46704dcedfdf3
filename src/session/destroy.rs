//! Taking a site down, from what exists.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{Session, SessionError};
use crate::apply::{kept, removal_steps, survey};
use crate::cloud::Fault;
use crate::engine::{self, Observer, Report, Stop};
use crate::journal::Record;
use crate::plan::{Refused, Survey, TWO};
use crate::resource::Address;

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
    /// Stays, because it holds data or something that holds data leans on it.
    pub keep: Vec<Address>,
    #[serde(skip)]
    survey: Survey,
    #[serde(skip)]
    refs: BTreeMap<Address, Vec<Address>>,
}

impl DestroyPlan {
    /// Whether there is nothing to remove.
    pub fn is_empty(&self) -> bool {
        self.delete.is_empty()
    }
}

impl Session {
    /// Surveys, and divides what is there into what goes and what stays. Writes nothing.
    pub async fn plan_destroy(&self, choice: &Destroy) -> Result<DestroyPlan, SessionError> {
        let state = self.store.state();
        let cx = self.cx.fresh(state.known());
        let survey = survey(&cx, &state, &self.kinds(&state)).await?;
        // Edges as remembered; the blueprint knows those of a state that was lost.
        let mut refs: BTreeMap<Address, Vec<Address>> = BTreeMap::new();
        if state.resources.len() < survey.found.len() {
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
        let keep = if choice.delete_data {
            BTreeSet::new()
        } else {
            kept(&survey, &refs)
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
        let session_run = self.shared(run, cx, stop, observe, &plan.survey);
        let keep: BTreeSet<Address> = plan.keep.iter().cloned().collect();
        let steps = removal_steps(&session_run, &plan.survey, &plan.refs, &keep);
        let report = engine::run(steps, stop, *self.cx.clock(), observe).await;
        if report.complete() && keep.is_empty() {
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
