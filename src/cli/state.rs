//! `gantry state`

use clap::{Args, Subcommand};
use serde_json::json;

use super::CliError;
use super::open::{reading, site};
use crate::app::App;
use crate::exit::Exit;
use crate::journal::{Holder, LocalStore, LockError, RunLock};
use crate::ui::table;

/// Show what gantry remembers, or get it back from the tags.
///
/// gantry remembers ids and endpoints in a journal. The tags on the resources say the same, so one can be made
/// from the other.
#[derive(Debug, Args)]
pub struct StateArgs {
    #[command(subcommand)]
    what: StateCommand,
}

#[derive(Debug, Subcommand)]
enum StateCommand {
    /// List what is remembered.
    Show,
    /// Make a new journal from the tags in AWS; the old one is kept beside it.
    Rebuild,
    /// Say who holds the site's lock, and clear what a dead run left.
    Unlock,
}

pub async fn run(app: &App, args: &StateArgs) -> Result<Exit, CliError> {
    match args.what {
        StateCommand::Show => show(app),
        StateCommand::Rebuild => rebuild(app).await,
        StateCommand::Unlock => unlock(app),
    }
}

fn show(app: &App) -> Result<Exit, CliError> {
    let (site, _) = site(app)?;
    let state = LocalStore::peek(&app.site_dir(site.site.name.as_ref()))?;
    app.say.json(&json!({
        "format": 1,
        "site": state.site,
        "account": state.account,
        "region": state.region,
        "pins": state.pins,
        "open_run": state.open_run,
        "resources": state.resources,
    }));
    let rows: Vec<_> = state
        .resources
        .iter()
        .map(|(address, entry)| {
            vec![
                address.to_string(),
                format!("{:?}", entry.phase).to_lowercase(),
                entry.id.to_string(),
            ]
        })
        .collect();
    app.say.data(&table(&["RESOURCE", "PHASE", "ID"], &rows));
    Ok(Exit::Done)
}

async fn rebuild(app: &App) -> Result<Exit, CliError> {
    let (site, _) = site(app)?;
    let name = site.site.name.to_string();
    let dir = app.site_dir(&name);
    let _lock = take(app, &dir, "state rebuild")?;
    // A journal that cannot be read must not stop its own repair: the session starts without one.
    let session = match reading(app).await {
        Ok(session) => session,
        Err(_) => super::open::forgetful(app).await?,
    };
    let rebuilt = session.rebuild(&dir).await?;
    app.say.json(&rebuilt);
    app.say.data(&format!(
        "{} resources of {name} are remembered again.",
        rebuilt.resources.len()
    ));
    if !rebuilt.unfinished.is_empty() {
        app.say.tell(&format!(
            "{} are not ready yet; `gantry install` finishes them.",
            rebuilt.unfinished.len()
        ));
    }
    Ok(Exit::Done)
}

fn unlock(app: &App) -> Result<Exit, CliError> {
    let (site, _) = site(app)?;
    let dir = app.site_dir(site.site.name.as_ref());
    let lock = take(app, &dir, "state unlock")?;
    match &lock.dead {
        Some(dead) => app.say.data(&format!(
            "Cleared the lock of a dead run: {} (gantry {}).",
            dead.run, dead.verb
        )),
        None => app.say.data("The site is not locked."),
    }
    app.say.json(&json!({"format": 1, "cleared": lock.dead}));
    Ok(Exit::Done)
}

fn take(app: &App, dir: &std::path::Path, verb: &str) -> Result<RunLock, LockError> {
    let holder = Holder {
        run: app.run_id(),
        verb: verb.to_owned(),
        process: std::process::id(),
        host: app.host.clone(),
        user: app.user.clone(),
        since: jiff::Timestamp::now(),
    };
    RunLock::take(dir, &holder)
}
