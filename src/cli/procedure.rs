//! Carrying out a runbook for a verb: its ledger, its end, and what is said about it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::CliError;
use super::error::exit_of;
use super::open::Writing;
use crate::app::App;
use crate::engine::{Outcome, Report};
use crate::exit::Exit;
use crate::ops::order::ROLL_OUT;
use crate::ops::restore;
use crate::ops::runbook::{Runbook, carry_out};
use crate::ops::{Entry, FileLedger, Ledger, OpsFault, Story};
use crate::session::Session;

/// Carries a runbook out, or goes on with the one that was interrupted and was asked for the same. One that asked for
/// something else is given up: whoever begins another sees to it that it does anew what that one left (see
/// [`left_over`]).
pub async fn carry(
    app: &App,
    writing: &Writing,
    book: Runbook,
) -> Result<Report<OpsFault>, CliError> {
    Ok(carry_told(app, writing, book).await?.0)
}

/// As [`carry`], with what the ledger tells in the end.
pub async fn carry_told(
    app: &App,
    writing: &Writing,
    book: Runbook,
) -> Result<(Report<OpsFault>, Story), CliError> {
    let folder = app.site_dir(writing.session.cx.site());
    let unfinished = FileLedger::unfinished(&folder, &book.verb).map_err(OpsFault::from)?;
    let id = match unfinished {
        Some(story) if story.ask == book.ask && !is_stale(&story, app.clock.now()) => {
            app.say
                .tell(&format!("Going on where {} stopped.", story.id));
            story.id
        }
        Some(story) => {
            let ledger = FileLedger::open(&folder, &story.id).map_err(OpsFault::from)?;
            let ended = Entry::Ended {
                outcome: format!("given up for {}", writing.run),
                at: app.clock.now(),
            };
            ledger.append(&ended).map_err(OpsFault::from)?;
            writing.run.clone()
        }
        None => writing.run.clone(),
    };
    // Two runbooks of one run, one after the other, have a file each.
    let id = match FileLedger::open(&folder, &id)
        .map_err(OpsFault::from)?
        .story()
    {
        story if story.began.is_some() && story.verb != book.verb => {
            format!("{id}-{}", book.verb.replace(' ', "-"))
        }
        _ => id,
    };
    let ledger = Arc::new(FileLedger::open(&folder, &id).map_err(OpsFault::from)?);
    let observe = &writing.observe;
    let report = carry_out(book, &id, ledger.clone(), &app.stop, app.clock, observe).await?;
    Ok((report, ledger.story()))
}

/// Whether a procedure was left for so long that going on would mix two moments. While its workers stand still, nobody
/// makes another one.
fn is_stale(story: &Story, now: Timestamp) -> bool {
    if story.stages.get("stop").is_some_and(|stop| stop.marked) {
        return false;
    }
    let idle = story.last.map(|last| now.duration_since(last));
    let idle = idle.and_then(|idle| Duration::try_from(idle).ok());
    story.verb == restore::VERB && idle.is_some_and(|idle| idle > restore::FRESH)
}

/// The nodes of a roll-out that did not come to its end. They are part of the next one, whatever they report: a machine
/// may be ready, and still be out of the balancer.
pub fn left_over(app: &App, session: &Session) -> Result<BTreeSet<String>, CliError> {
    let folder = app.site_dir(session.cx.site());
    let unfinished = FileLedger::unfinished(&folder, ROLL_OUT).map_err(OpsFault::from)?;
    let bundles = unfinished.map(|story| story.ask["bundles"].clone());
    let nodes = bundles.as_ref().and_then(Value::as_object);
    Ok(nodes
        .into_iter()
        .flat_map(|nodes| nodes.keys().cloned())
        .collect())
}

/// What became of each stage, for machines.
pub fn stages(report: &Report<OpsFault>) -> Vec<Value> {
    let outcomes = report.outcomes.iter();
    outcomes
        .map(|(stage, verb, outcome)| {
            let (word, detail) = match outcome {
                Outcome::Done => ("done", None),
                Outcome::Failed(fault) => ("failed", Some(fault.to_string())),
                Outcome::Interrupted => ("interrupted", None),
                Outcome::Blocked { by } => ("blocked", Some(format!("by {by}"))),
                Outcome::NotStarted => ("not-started", None),
            };
            json!({"stage": stage, "verb": verb, "outcome": word, "detail": detail})
        })
        .collect()
}

/// What failed, with what to do about it; none when nothing did.
pub fn trouble(report: &Report<OpsFault>, verb: &str) -> Option<CliError> {
    let failed: Vec<_> = report.failures().collect();
    // What a roll-out checks is a machine.
    let exit = exit_of(failed.first()?.1, Exit::Host);
    let names: Vec<_> = failed.iter().map(|(name, _)| *name).collect();
    let waits = |outcome: &Outcome<OpsFault>| matches!(outcome, Outcome::Blocked { .. });
    let blocked = report.outcomes.iter().filter(|(_, _, o)| waits(o)).count();
    let mut error = CliError::new(
        exit,
        format!(
            "{} failed; {blocked} of {} stages wait for that",
            names.join(", "),
            report.outcomes.len()
        ),
    );
    let mut hints: Vec<String> = Vec::new();
    for (name, fault) in &failed {
        error = error.because(format!("{name}: {fault}"));
        hints.extend(Some(fault.help()).filter(|help| !help.is_empty()));
    }
    hints.dedup();
    hints.push(format!("run `gantry {verb}` again to go on from there"));
    Some(error.help(hints.join("\n      ")))
}

/// How the command ends when nothing failed.
pub fn end(app: &App, report: &Report<OpsFault>, verb: &str) -> Exit {
    if report.complete() {
        return Exit::Done;
    }
    app.say.warn(&format!(
        "Interrupted. Everything under way is written down; run `gantry {verb}` again to go on."
    ));
    Exit::Interrupted
}
