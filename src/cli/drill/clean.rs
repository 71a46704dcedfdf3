//! Removing what an earlier drill left.

use std::path::Path;
use std::sync::Arc;

use serde_json::json;

use super::super::CliError;
use super::super::error::exit_of;
use super::super::open::{Writing, sizes};
use super::DrillArgs;
use super::ready::{alone, begin};
use super::tell::conclude;
use crate::app::App;
use crate::exit::Exit;
use crate::ops::drill::{Came, Settled, VERB, clean, settle};
use crate::ops::{FileLedger, OpsFault};
use crate::session::Session;
use crate::site::Site;

/// A drill that was cut off before is dealt with first. Some, when that was all there was to do.
pub(super) async fn left_over(
    app: &App,
    args: &DrillArgs,
    real: &Session,
    opened: &Writing,
) -> Result<Option<Exit>, CliError> {
    let folder = app.site_dir(real.cx.site());
    let Some(story) = FileLedger::unfinished(&folder, VERB).map_err(OpsFault::from)? else {
        return Ok(None);
    };
    let site = opened.session.cx.site();
    app.say.tell(&format!(
        "The drill {} was cut off: what it left is removed first.",
        story.id
    ));
    let earlier = FileLedger::open(&folder, &story.id).map_err(OpsFault::from)?;
    let (session, observe) = (&opened.session, &opened.observe);
    let settled = settle(session, Arc::new(earlier), &app.stop, app.clock, observe)
        .await
        .map_err(|fault| not_removed(site, &fault))?;
    forget(&app.site_dir(site))?;
    let wanted = |came: &Came| {
        let of = came.proof.as_ref().map(|proof| &proof.point);
        !args.clean && !args.keep && (args.point.is_none() || args.point.as_ref() == of)
    };
    match settled {
        Settled::Interrupted => Ok(Some(interrupted(app, "gantry drill --clean"))),
        // It had said its word, and that was what is asked for.
        Settled::Came(came) if wanted(&came) => {
            conclude(app, args, opened, &story.id, *came).map(Some)
        }
        Settled::Came(_) | Settled::Removed => Ok(None),
    }
}

/// Removes what an earlier drill left, whoever began it.
pub(super) async fn remove(app: &App, real: &Session, drill: Site) -> Result<Exit, CliError> {
    let profile = sizes(&drill)?;
    let opened = begin(app, real, drill, profile).await?;
    let lease = alone(app, real, &opened).await?;
    let done = cleaned(app, real, &opened).await;
    let released = lease.release().await;
    let exit = done?;
    released?;
    Ok(exit)
}

pub(super) async fn cleaned(app: &App, real: &Session, opened: &Writing) -> Result<Exit, CliError> {
    let folder = app.site_dir(real.cx.site());
    let (session, observe) = (&opened.session, &opened.observe);
    let site = session.cx.site();
    let failed = |fault: &OpsFault| not_removed(site, fault);
    let unfinished = FileLedger::unfinished(&folder, VERB).map_err(OpsFault::from)?;
    let carried = clean(session, &opened.run, &app.stop, app.clock, observe)
        .await
        .map_err(|fault| failed(&fault))?;
    if let Some((_, fault)) = carried.failures().next() {
        return Err(failed(fault));
    }
    if !carried.complete() {
        return Ok(interrupted(app, "gantry drill --clean"));
    }
    if let Some(story) = unfinished {
        // Nothing is left of it; this writes down that nobody goes on.
        let earlier = FileLedger::open(&folder, &story.id).map_err(OpsFault::from)?;
        settle(session, Arc::new(earlier), &app.stop, app.clock, observe)
            .await
            .map_err(|fault| failed(&fault))?;
    }
    forget(&app.site_dir(site))?;
    app.say.json(&json!({
        "format": 1, "run": opened.run, "site": site, "complete": true,
    }));
    app.say.data(&format!("Nothing is left of {site}."));
    Ok(Exit::Done)
}

/// What is known of machines and procedures of a site that is gone. Its journal and the record of its runs stay.
pub(super) fn forget(folder: &Path) -> Result<(), CliError> {
    let gone = |result: std::io::Result<()>, path: &Path| match result {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(CliError::new(
            Exit::Unexpected,
            format!("cannot remove {}: {error}", path.display()),
        )),
        _ => Ok(()),
    };
    for name in ["procedures", "transfers", "nodes"] {
        let path = folder.join(name);
        gone(std::fs::remove_dir_all(&path), &path)?;
    }
    for name in ["machines.json", "known_hosts"] {
        let path = folder.join(name);
        gone(std::fs::remove_file(&path), &path)?;
    }
    Ok(())
}

pub(super) fn not_removed(site: &str, fault: &OpsFault) -> CliError {
    let help = fault.help();
    let again = "`gantry drill --clean` tries it again";
    CliError::new(
        exit_of(fault, Exit::Host),
        format!(
            "the site {site} of the drill is not removed, and costs money as long as it stands"
        ),
    )
    .because(fault.to_string())
    .help(if help.is_empty() {
        again.to_owned()
    } else {
        format!("{help}\n      {again}")
    })
}

pub(super) fn interrupted(app: &App, again: &str) -> Exit {
    app.say.warn(&format!("Interrupted; run `{again}` again."));
    Exit::Interrupted
}
