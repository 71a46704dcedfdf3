//! One run on one site: what the verbs have in common, without a word printed.
//!
//! A [`Session`] joins the site file, the profile, the AWS clients and the journal. Verbs ask it for a
//! [`Reading`] (lookups, blueprint, survey, plan) and hand the reading back to install or destroy.

mod ahead;
mod boots;
mod deliver;
mod destroy;
mod difference;
mod doors;
mod machines;
mod preflight;
mod program;
mod rebuild;
mod unified;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

pub use self::boots::{Boot, BootState};
pub use self::deliver::{Change, Delivered, EXTENSIONS, Packed};
pub use self::destroy::{Destroy, DestroyPlan, Fate, Of, SiteSnapshot};
pub use self::difference::{FileChange, FileDifference, NodeDifference, SettingDifference};
pub use self::preflight::{Check, Verdict};
pub use self::rebuild::Rebuilt;
use crate::apply::{Run, install_steps, survey};
use crate::blueprint::{self, Blueprint};
use crate::clock::Clock;
use crate::cloud::{Aws, Fault, Identity, Limits};
use crate::engine::{self, Event, Observer, Report, Stop};
use crate::facts::{self, Facts, FactsError};
use crate::journal::{FORMAT, JournalError, Record, State, Store};
use crate::kinds::registry;
use crate::plan::{Plan, Survey, decide};
use crate::profile::Profile;
use crate::resource::{Address, CloudCx, KindInfo, Scope, Tags};
use crate::site::Site;

/// Why a run could not begin, or could not go on as a whole.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    #[error(transparent)]
    Cloud(#[from] Fault),
    #[error(transparent)]
    Facts(#[from] FactsError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The caller is somebody else than the site file or the journal says.
    #[error("{0}")]
    WrongPlace(String),
    /// The blueprint contradicts itself.
    #[error("the blueprint contradicts itself: {}", .0.join("; "))]
    Contradiction(Vec<String>),
    /// A plan asks for something that needs an explicit word.
    #[error("{}", refused(.0))]
    NeedsWord(Vec<crate::plan::Refused>),
    /// A plan asks for something that no word allows.
    #[error("{}", listed(.0))]
    Impossible(Vec<crate::plan::Refused>),
    /// The files of the nodes cannot be written.
    #[error("the files of the nodes cannot be written")]
    Render(#[from] crate::node::RenderError),
    #[error("a node's bundle cannot be packed")]
    Bundle(#[from] crate::boot::BundleError),
    /// A saved plan no longer fits.
    #[error("the saved plan no longer fits: {0}")]
    Stale(String),
}

fn refused(list: &[crate::plan::Refused]) -> String {
    format!("this plan would lose data: {}", listed(list))
}

fn listed(list: &[crate::plan::Refused]) -> String {
    let lines: Vec<_> = list
        .iter()
        .map(|r| format!("{}: {}", r.address, r.why))
        .collect();
    lines.join("; ")
}

/// A site, ready to be worked on.
pub struct Session {
    pub site: Site,
    pub profile: Profile,
    pub cx: CloudCx,
    pub identity: Identity,
    pub store: Arc<dyn Store>,
}

/// What is wanted, what is there, and the difference.
pub struct Reading {
    pub facts: Facts,
    pub blueprint: Blueprint,
    pub survey: Survey,
    pub plan: Plan,
}

/// Choices of an install.
#[derive(Debug, Clone, Default)]
pub struct InstallOptions {
    /// Data-bearing resources that may be replaced.
    pub replace: BTreeSet<Address>,
}

impl Session {
    /// Asks who is calling and compares it with site file and journal. Writes nothing.
    pub async fn open(
        site: Site,
        profile: Profile,
        aws: Aws,
        clock: Clock,
        limits: Limits,
        store: Arc<dyn Store>,
        observe: &Observer,
    ) -> Result<Self, SessionError> {
        let identity = Identity::of_caller(&aws).await?;
        check_place(&site, &identity, &store.state())?;
        let scope = Scope {
            site: site.site.name.to_string(),
            account: identity.account.clone(),
            region: site.site.region.to_string(),
            tags: Tags(site.tags.clone()),
        };
        let tell = observe.clone();
        let notice = Arc::new(move |call: &str, attempt: u32, after, fault: &Fault| {
            tell(&Event::Retrying {
                name: call.to_owned(),
                attempt,
                after,
                why: fault.to_string(),
            });
        });
        let known = store.state().known();
        let cx = CloudCx::new(aws, scope, clock, limits, Some(notice), known);
        Ok(Self {
            site,
            profile,
            cx,
            identity,
            store,
        })
    }

    /// The kinds worth asking for. What the journal remembers is asked for even where it is switched off.
    fn kinds(&self, state: &State) -> Vec<&'static KindInfo> {
        let off = switched_off(&self.site);
        registry::all()
            .filter(|info| {
                let word = info.kind.as_str();
                !off.contains(&word) || state.resources.keys().any(|a| a.kind().as_str() == word)
            })
            .collect()
    }

    /// Looks up, surveys, compares. Writes nothing.
    pub async fn read(&self, options: &InstallOptions) -> Result<Reading, SessionError> {
        let state = self.store.state();
        let pins = facts::Pins(state.pins.clone());
        let kinds = self.kinds(&state);
        // Of one memory: both read the hosted zones.
        let cx = self.cx.fresh(state.known());
        let (facts, survey) = futures::join!(
            facts::look_up(&cx, &self.site, &self.profile, &pins),
            survey(&cx, &state, &kinds)
        );
        let (facts, survey) = (facts?, survey?);
        let blueprint = blueprint::build(&self.site, &self.profile, &facts);
        let complaints: Vec<String> = blueprint::lint(&blueprint, &self.site)
            .iter()
            .map(ToString::to_string)
            .collect();
        if !complaints.is_empty() {
            return Err(SessionError::Contradiction(complaints));
        }
        let wanted = blueprint.iter().collect();
        let mut plan = decide(&wanted, &survey, &state, self.cx.scope(), &options.replace)?;
        for change in plan
            .changes
            .iter_mut()
            .filter(|c| blueprint.contains(&c.address))
        {
            change.refs = blueprint.refs(&change.address);
        }
        Ok(Reading {
            facts,
            blueprint,
            survey,
            plan,
        })
    }

    /// Carries a reading's plan out. The report says what became of each step.
    pub async fn install(
        &self,
        run: &str,
        reading: &Reading,
        stop: &Stop,
        observe: &Observer,
    ) -> Result<Report<Fault>, SessionError> {
        if !reading.plan.impossible.is_empty() {
            return Err(SessionError::Impossible(reading.plan.impossible.clone()));
        }
        if !reading.plan.refused.is_empty() {
            return Err(SessionError::NeedsWord(reading.plan.refused.clone()));
        }
        self.begin(run, "install")?;
        for (key, value) in &reading.facts.pins().0 {
            if self.store.state().pins.get(key) != Some(value) {
                self.store.append(&Record::Pinned {
                    key: key.clone(),
                    value: value.clone(),
                })?;
            }
        }
        let shared = self.shared(run, self.cx.clone(), stop, observe, &reading.survey);
        let steps = install_steps(
            &shared,
            &reading.plan,
            &reading.blueprint.shared(),
            &reading.survey,
        );
        let report = engine::run(steps, stop, *self.cx.clock(), observe).await;
        self.end(run, &report)?;
        Ok(report)
    }

    /// What the steps of a run share. Outputs of what is there already are known from the start.
    fn shared(
        &self,
        run: &str,
        cx: CloudCx,
        stop: &Stop,
        observe: &Observer,
        survey: &Survey,
    ) -> Arc<Run> {
        let mut outputs = self.store.state().outputs();
        for found in survey.found.values() {
            if let crate::resource::Readiness::Ready(output) = &found.readiness {
                outputs.0.insert(found.address.clone(), output.clone());
            }
        }
        Run::new(
            run.to_owned(),
            cx,
            self.store.clone(),
            stop.clone(),
            observe.clone(),
            outputs,
        )
    }

    /// Opens the journal if it is new, and writes that a run began.
    fn begin(&self, run: &str, verb: &str) -> Result<(), JournalError> {
        if self.store.state().records == 0 {
            self.store.append(&self.opened())?;
        }
        let at = self.cx.clock().now();
        self.store.append(&Record::RunBegan {
            run: run.to_owned(),
            verb: verb.to_owned(),
            at,
        })
    }

    /// The first record of a journal of this site.
    fn opened(&self) -> Record {
        let scope = self.cx.scope();
        Record::Opened {
            format: FORMAT,
            site: scope.site.clone(),
            account: scope.account.clone(),
            region: scope.region.clone(),
        }
    }

    fn end(&self, run: &str, report: &Report<Fault>) -> Result<(), JournalError> {
        for (name, fault) in report.failures() {
            if let Ok(address) = name.parse() {
                self.store.append(&Record::Failed {
                    address,
                    fault: fault.to_string(),
                })?;
            }
        }
        let outcome = if report.complete() {
            "done"
        } else if report.interrupted() {
            // The run stays open in the journal: the next one says that it continues.
            return Ok(());
        } else {
            "failed"
        };
        let at = self.cx.clock().now();
        self.store.append(&Record::RunEnded {
            run: run.to_owned(),
            outcome: outcome.into(),
            at,
        })
    }
}

/// Kinds of services that the site file switches off or does not ask for, because the account or the endpoint lacks
/// them.
fn switched_off(site: &Site) -> Vec<&'static str> {
    let vault = site.backup.vault.is_some();
    let kinds = [
        ("dlm/policy", site.backup.dlm),
        ("backup/vault", vault),
        ("backup/plan", vault),
        ("backup/selection", vault),
        ("cloudwatch/alarm", site.monitoring.alarms),
    ];
    let off = kinds.into_iter().filter(|(_, on)| !on);
    off.map(|(kind, _)| kind).collect()
}

/// The kinds that a survey of the site asks for, whether its blueprint has any or not.
pub fn surveyed(site: &Site) -> Vec<&'static KindInfo> {
    let off = switched_off(site);
    registry::all()
        .filter(|info| !off.contains(&info.kind.as_str()))
        .collect()
}

fn check_place(site: &Site, identity: &Identity, state: &State) -> Result<(), SessionError> {
    if let Some(account) = &site.site.account
        && account.to_string() != identity.account
    {
        return Err(SessionError::WrongPlace(format!(
            "the credentials are for account {}, but the site file says [site] account = \"{account}\"",
            identity.account
        )));
    }
    if state.records == 0 {
        return Ok(());
    }
    if state.account != identity.account {
        return Err(SessionError::WrongPlace(format!(
            "the credentials are for account {}, but this site was made in account {}",
            identity.account, state.account
        )));
    }
    let region = site.site.region.to_string();
    if state.region != region {
        return Err(SessionError::WrongPlace(format!(
            "the site file says region {region}, but this site was made in {}",
            state.region
        )));
    }
    let name = site.site.name.to_string();
    if state.site != name {
        return Err(SessionError::WrongPlace(format!(
            "the site file is for the site {name}, but the state directory remembers the site {}",
            state.site
        )));
    }
    Ok(())
}

/// Collects events, for those who want to read them afterwards.
#[derive(Clone, Default)]
pub struct Collected(Arc<Mutex<Vec<Event>>>);

impl Collected {
    /// An observer that collects into this.
    pub fn observer(&self) -> Observer {
        let events = self.0.clone();
        Arc::new(move |event| {
            events
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(event.clone());
        })
    }

    pub fn events(&self) -> Vec<Event> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// An observer that listens to nobody.
pub fn silent() -> Observer {
    Arc::new(|_| {})
}

/// Where a site's journal and runs are kept: one folder a site.
pub fn site_dir(root: &std::path::Path, site: &str) -> PathBuf {
    root.join(site)
}
