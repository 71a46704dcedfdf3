//! What the verbs that take and verify recovery points begin with.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::CliError;
use super::error::exit_of;
use super::hosts::hosts_or_played;
use super::open::Writing;
use crate::app::App;
use crate::blueprint;
use crate::exit::Exit;
use crate::facts::{self, Pins};
use crate::journal::Holder;
use crate::ops::backup::{
    Ask, Before, Checked, Closed, Ground, LeaseError, Looked, Mode, PartPlan, Run, TakeError,
    Taken, Taking, Trouble, Verdict, Wanted, Whose, before, plan,
};
use crate::ops::point::{By, PartName, PointId, Points, SIGNING_KEY, Signer};
use crate::ops::runbook::Runbook;
use crate::ops::{FileLedger, OpsFault, Story};
use crate::session::Session;
use crate::ui::table;

/// The ground of a site: its clients here, and in the region that gets copies.
pub async fn ground(app: &App, session: &Session) -> Result<Ground, CliError> {
    let away = match &session.site.backup.copy_to_region {
        Some(region) => Some(app.aws(region.as_ref()).await),
        None => None,
    };
    let ground = Ground::of(session, away)?;
    if session.store.state().resources.is_empty() {
        return Err(CliError::usage("nothing exists yet").help("`gantry install` makes it"));
    }
    Ok(ground)
}

/// The site's signing key, and the points it signed.
pub async fn points(session: &Session) -> Result<(Signer, Points), CliError> {
    let names = session.names()?;
    let signer = Signer::of_site(&session.cx, &names.secret(SIGNING_KEY)).await?;
    let bucket = names.bucket("backups");
    let points = Points::new(session.cx.clone(), bucket, signer.trusted());
    Ok((signer, points))
}

/// Everything that taking a point needs.
pub async fn taking(app: &App, session: &Session, run: &str) -> Result<Arc<Taking>, CliError> {
    let ground = ground(app, session).await?;
    let hosts = hosts_or_played(app, session, &[]).await?;
    let (signer, points) = points(session).await?;
    let site_file = std::fs::read(&app.site_file).map_err(|error| {
        CliError::usage(format!(
            "cannot read the site file {}: {error}",
            app.site_file.display()
        ))
    })?;
    Ok(Arc::new(Taking {
        blueprint: wanted(session).await?,
        ground,
        hosts,
        points,
        signer,
        by: By {
            user: app.user.clone(),
            host: app.host.clone(),
            run: run.to_owned(),
            gantry: env!("CARGO_PKG_VERSION").to_owned(),
        },
        site_file,
    }))
}

/// The SHA-256 of the site's blueprint.
async fn wanted(session: &Session) -> Result<String, CliError> {
    let pins = Pins(session.store.state().pins.clone());
    let facts = facts::look_up(&session.cx, &session.site, &session.profile, &pins).await?;
    let drawn = blueprint::build(&session.site, &session.profile, &facts);
    let text = serde_json::to_vec(&drawn.view()).unwrap_or_default();
    Ok(crate::boot::sha256(text))
}

/// Who holds the lock in the bucket.
pub fn holder(app: &App, run: &str, verb: &str) -> Holder {
    Holder {
        run: run.to_owned(),
        verb: verb.to_owned(),
        process: std::process::id(),
        host: app.host.clone(),
        user: app.user.clone(),
        since: jiff::Timestamp::now(),
    }
}

/// The plan as a table.
pub fn plan_table(parts: &[PartPlan]) -> String {
    let rows: Vec<_> = parts
        .iter()
        .map(|part| {
            vec![
                part.name.to_string(),
                part.how.to_string(),
                part.why.clone(),
            ]
        })
        .collect();
    table(&["PART", "WAY", "WHY"], &rows)
}

/// Ends a command whose checks found something.
pub fn or_exit(checked: Checked) -> Result<(), CliError> {
    match checked.or_refuse() {
        Ok(_) => Ok(()),
        Err(fault) => Err(CliError::new(Exit::Check, fault.to_string()).help(fault.help())),
    }
}

/// The checks as lines.
pub fn check_lines(checked: &Checked) -> String {
    let line = |looked: &Looked| {
        let word = match looked.verdict {
            Verdict::Pass => "ok  ",
            Verdict::Warn => "warn",
            Verdict::Fail => "FAIL",
        };
        format!("{word}  {}: {}", looked.name, looked.seen)
    };
    checked
        .looked
        .iter()
        .map(line)
        .collect::<Vec<_>>()
        .join("\n")
}

impl From<LeaseError> for CliError {
    fn from(error: LeaseError) -> Self {
        match error {
            LeaseError::Held { until, .. } => Self::new(Exit::Locked, error.to_string()).help(format!(
                "wait until it has ended; if that machine is gone for good, its lock ends at {}",
                until.strftime("%F %T UTC")
            )),
            LeaseError::Lost => Self::new(Exit::Locked, error.to_string())
                .help("run the same command again: it goes on where this one stopped"),
            LeaseError::Cloud(fault) => fault.into(),
        }
    }
}

impl From<TakeError> for CliError {
    fn from(error: TakeError) -> Self {
        match error {
            TakeError::Lease(error) => error.into(),
            TakeError::Ops(fault) => fault.into(),
        }
    }
}

/// What an earlier run left.
pub enum Left {
    Nothing,
    /// A procedure that is what is asked for now.
    GoOn(String),
    /// One that is not. What it began is finished, so that a manifest names all of it.
    Close(Box<Story>),
}

/// Looks for a procedure of this verb that never came to its end. `whole` is everything that was asked for, as its
/// ledger would have it.
pub fn left(app: &App, site: &str, verb: &str, ask: &Ask, whole: &Value) -> Result<Left, CliError> {
    let folder = app.site_dir(site);
    let Some(story) = FileLedger::unfinished(&folder, verb).map_err(OpsFault::from)? else {
        return Ok(Left::Nothing);
    };
    if story.ask == *whole && before(&story, ask, app.clock.now()) == Before::GoOn {
        app.say.tell(&format!("Going on with {}.", story.id));
        return Ok(Left::GoOn(story.id));
    }
    app.say.tell(&format!(
        "{} was interrupted and is not what is asked for now: what it began is finished first.",
        story.id
    ));
    Ok(Left::Close(Box::new(story)))
}

/// The stages of a point, in a mode.
type Book<'a> = &'a (dyn Fn(&PointId, Mode) -> Runbook + Sync);

/// Carries out the stages of a point.
pub async fn carry(
    app: &App,
    writing: &Writing,
    taking: &Arc<Taking>,
    id: &str,
    mode: Mode,
    (verb, book): (&str, Book<'_>),
) -> Result<Taken, CliError> {
    let folder = app.site_dir(writing.session.cx.site());
    let ledger = FileLedger::open(&folder, id).map_err(OpsFault::from)?;
    let run = Run {
        taking,
        holder: &holder(app, &writing.run, verb),
        stop: &app.stop,
        observe: &writing.observe,
    };
    Ok(run.carry(id, Arc::new(ledger), mode, book).await?)
}

/// What was asked for by the procedure of a ledger.
pub fn asked<T: serde::de::DeserializeOwned>(story: &Story) -> Result<T, OpsFault> {
    serde_json::from_value(story.ask.clone())
        .map_err(|error| OpsFault::internal(format!("the ledger of {}: {error}", story.id)))
}

/// A point as machines read it.
pub fn document(taken: &Taken) -> Value {
    let closed = taken.closed.as_ref();
    json!({
        "format": 1,
        "point": taken.point,
        "whole": closed.is_some_and(|closed| closed.manifest.whole),
        "manifest": closed.map(|closed| &closed.manifest),
        "troubles": closed.map(|closed| &closed.troubles),
    })
}

/// The parts of a point that was asked for.
pub fn planned(taking: &Taking, ask: &Ask) -> Result<Vec<PartPlan>, OpsFault> {
    let ground = &taking.ground;
    let wanted = match &ask.only {
        None => Wanted::All,
        Some(only) => Wanted::Only(only.iter().cloned().collect()),
    };
    plan(
        &ground.sizes,
        &ground.fleet,
        &ground.names,
        ask.purpose,
        &wanted,
    )
}

/// What a person asked for; none for everything.
pub fn only(parts: &[PartName]) -> Option<Vec<PartName>> {
    let parts: BTreeSet<PartName> = parts.iter().cloned().collect();
    (!parts.is_empty()).then(|| parts.into_iter().collect())
}

/// How taking a point ended, and what is said about it. `verb` is what to run again.
pub fn conclude(app: &App, taken: &Taken, verb: &str) -> Result<Exit, CliError> {
    let verb = app.again(verb);
    if let Some((stage, fault)) = taken.report.failures().next() {
        let mut error = CliError::new(
            exit_of(fault, Exit::Check),
            format!("the point {} is not taken", taken.point),
        );
        error = error.because(format!("{stage}: {fault}"));
        let help = fault.help();
        let again = format!("run `gantry {verb}` again to go on");
        return Err(error.help(if help.is_empty() {
            again
        } else {
            format!("{help}\n      {again}")
        }));
    }
    let Some(Closed { manifest, troubles }) = taken.closed.as_ref() else {
        app.say.warn(&format!(
            "Interrupted. Everything under way is written down; run `gantry {verb}` again to go on with {}.",
            taken.point
        ));
        return Ok(Exit::Interrupted);
    };
    if manifest.whole {
        app.say.data(&format!(
            "{} is taken: {} parts in {}.",
            taken.point,
            manifest.parts.len(),
            crate::ui::human(app.clock.since(manifest.began))
        ));
        return Ok(Exit::Done);
    }
    let exit = troubles.first().map_or(Exit::Unexpected, exit_of_trouble);
    let mut error = CliError::new(
        exit,
        format!(
            "the point {} is not whole: it restores nothing, and nothing is pruned for it",
            taken.point
        ),
    );
    let mut hints: Vec<String> = Vec::new();
    for trouble in troubles {
        error = error.because(trouble.what.clone());
        hints.extend(Some(trouble.help.clone()).filter(|help| !help.is_empty()));
    }
    hints.dedup();
    hints.push(format!(
        "mend it, and run `gantry {verb}` again: it takes a new point"
    ));
    Err(error.help(hints.join("\n      ")))
}

fn exit_of_trouble(trouble: &Trouble) -> Exit {
    match trouble.whose {
        Whose::Cloud => Exit::Cloud,
        Whose::Host | Whose::Check => Exit::Host,
    }
}
