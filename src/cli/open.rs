//! What most verbs begin with: the site file, the session, the lock, the record of the run.

use crate::app::{App, both};
use crate::cloud::Limits;
use crate::engine::Observer;
use crate::exit::Exit;
use crate::journal::{Holder, LocalStore, MemoryStore, RunLock, Store};
use crate::profile::Profile;
use crate::runs::{RunHead, record};
use crate::session::{Session, silent};
use crate::site::{self, Site};
use crate::ui::progress;

use super::CliError;

/// The site of the site file, and its sizes.
pub fn site(app: &App) -> Result<(Site, Profile), CliError> {
    if !app.site_file.exists() {
        return Err(CliError::usage(format!("there is no site file {}", app.site_file.display())).help(
            "write one with `gantry init --profile NAME --domain DOMAIN --region REGION`, or name another with --site-file",
        ));
    }
    // The files that it refers to stay where it was written; runs on the appliance host do without them.
    let site = if app.appliance().is_some() {
        copied(app)?
    } else {
        let loaded = site::load(&app.site_file);
        loaded
            .map_err(|e| CliError::diagnostic(Exit::Usage, e))?
            .site
    };
    let profile = sizes(&site)?;
    Ok((site, profile))
}

/// The copy of a site file on the appliance host.
fn copied(app: &App) -> Result<Site, CliError> {
    let path = app.site_file.display().to_string();
    let text = std::fs::read_to_string(&app.site_file)
        .map_err(|error| CliError::usage(format!("cannot read the site file {path}: {error}")))?;
    let loaded = site::parse(&path, &text);
    Ok(loaded
        .map_err(|e| CliError::diagnostic(Exit::Usage, e))?
        .site)
}

/// The sizes of a site: its profile with the overrides of the site file.
pub fn sizes(site: &Site) -> Result<Profile, CliError> {
    crate::profile::get(site.site.profile)
        .with_overrides(site)
        .map_err(|problems| CliError::usage(problems.to_string()))
}

/// A session that only reads: the journal is read as it is, and no lock is taken.
pub async fn reading(app: &App) -> Result<Session, CliError> {
    let (site, profile) = site(app)?;
    reading_of(app, site, profile).await
}

/// The same of a site that is not the one of the site file.
pub async fn reading_of(app: &App, site: Site, profile: Profile) -> Result<Session, CliError> {
    let state = LocalStore::peek(&app.site_dir(site.site.name.as_ref()))?;
    let store = std::sync::Arc::new(MemoryStore::remembering(state));
    open(app, site, profile, store, &silent()).await
}

/// A session that remembers nothing: for repairing a journal.
pub async fn forgetful(app: &App) -> Result<Session, CliError> {
    let (site, profile) = site(app)?;
    open(
        app,
        site,
        profile,
        std::sync::Arc::new(MemoryStore::default()),
        &silent(),
    )
    .await
}

/// A session that may write, with the lock it holds.
pub struct Writing {
    pub session: std::sync::Arc<Session>,
    pub run: String,
    pub observe: Observer,
    _lock: RunLock,
}

/// Takes the lock, opens the journal, starts the record of the run.
pub async fn writing(
    app: &App,
    site: Site,
    profile: Profile,
    verb: &str,
) -> Result<Writing, CliError> {
    let name = site.site.name.to_string();
    let dir = app.site_dir(&name);
    let run = app.run_id();
    let holder = Holder {
        run: run.clone(),
        verb: verb.to_owned(),
        process: std::process::id(),
        host: app.host.clone(),
        user: app.user.clone(),
        since: jiff::Timestamp::now(),
    };
    let lock = RunLock::take(&dir, &holder)?;
    if let Some(dead) = &lock.dead {
        app.say.tell(&format!("An earlier `gantry {}` (run {}) ended without saying goodbye; going on from its journal.", dead.verb, dead.run));
    }
    let store = std::sync::Arc::new(LocalStore::open(&dir)?);
    if let Some((open, _)) = &store.state().open_run {
        app.say
            .tell(&format!("Continuing after the interrupted run {open}."));
    }
    let head = RunHead {
        format: 1,
        run: run.clone(),
        verb: verb.to_owned(),
        site: name,
        at: app.clock.now(),
        version: env!("CARGO_PKG_VERSION").into(),
    };
    let shown = progress(&app.say, app.clock);
    // Before the diary starts: a refused account must leave nothing behind.
    let session = std::sync::Arc::new(open(app, site, profile, store, &shown).await?);
    let observe = both(shown, record(&dir, &head, app.clock)?);
    Ok(Writing {
        session,
        run,
        observe,
        _lock: lock,
    })
}

async fn open(
    app: &App,
    site: Site,
    profile: Profile,
    store: std::sync::Arc<dyn Store>,
    observe: &Observer,
) -> Result<Session, CliError> {
    let aws = app.aws(site.site.region.as_ref()).await;
    Ok(Session::open(
        site,
        profile,
        aws,
        app.clock,
        Limits::default(),
        store,
        observe,
    )
    .await?)
}
