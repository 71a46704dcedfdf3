//! What is said about a drill, before and after.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::CliError;
use super::super::error::exit_of;
use super::super::open::{Writing, reading_of};
use super::super::procedure::stages;
use super::super::restore::{refused, show_lines, tell_checks};
use super::DrillArgs;
use super::ready::{Two, considered, ready};
use crate::app::App;
use crate::cloud::Fault;
use crate::exit::Exit;
use crate::ops::OpsFault;
use crate::ops::drill::{Came, MACHINES, Proof, REMOVAL, RESTORE, Recorded, SITE, own};
use crate::ops::restore::{Line, Onto, plan};
use crate::ui::human;

pub(super) fn lines(two: &Two) -> Vec<Line> {
    let mut lines = plan(&two.manifest, Onto::Other);
    for line in &mut lines {
        "nothing: the site is new".clone_into(&mut line.instead);
    }
    lines
}

pub(super) fn usual() -> Duration {
    SITE + MACHINES + RESTORE + REMOVAL
}

pub(super) fn tell_plan(app: &App, args: &DrillArgs, two: &Two) {
    let afterwards = if args.keep {
        "which STAYS until `gantry drill --clean`"
    } else {
        "which is removed afterwards"
    };
    show_lines(app, &lines(two));
    app.say.tell(&format!(
        "The point {} of {}, onto a new site {} ({}, GitLab {}), {afterwards}. Usually about {}.",
        two.manifest.id,
        two.manifest.began.strftime("%F %H:%M UTC"),
        two.drill.site.name,
        two.drill.site.profile,
        two.drill.gitlab.version,
        human(usual()),
    ));
}

pub(super) async fn show(app: &App, args: &DrillArgs, two: &Two) -> Result<Exit, CliError> {
    let considered = considered(app, two).await?;
    if !considered.against.is_empty() {
        return Err(refused(&two.manifest.id, &considered));
    }
    let session = reading_of(app, two.drill.clone(), two.sizes.clone()).await?;
    own(&session.cx).await?;
    let resources = ready(&session).await?;
    tell_plan(app, args, two);
    app.say.data(&format!(
        "{} would be restored onto {}: {resources} resources to make and to remove.",
        two.manifest.id, two.drill.site.name
    ));
    app.say.json(&json!({
        "format": 1,
        "point": two.manifest.id,
        "site": {
            "name": two.drill.site.name,
            "domain": two.drill.site.domain,
            "profile": two.drill.site.profile,
            "version": two.drill.gitlab.version,
            "resources": resources,
        },
        "plan": lines(two),
        "usual_seconds": usual().as_secs(),
    }));
    Ok(Exit::Done)
}

/// What is said about a drill, and how the command ends.
pub(super) fn conclude(
    app: &App,
    args: &DrillArgs,
    opened: &Writing,
    run: &str,
    came: Came,
) -> Result<Exit, CliError> {
    let site = opened.session.cx.site();
    let kept = if args.keep {
        format!(
            "The site {site} STILL STANDS, as you asked, and costs what a site costs. `gantry drill --clean` removes it."
        )
    } else {
        String::new()
    };
    if let Some((stage, fault)) = came.carried.failures().next() {
        let mut hints = vec![fault.help()];
        if matches!(fault, OpsFault::Cloud(Fault::Denied { .. })) {
            hints.push("`gantry policy --for drill` prints what a drill needs".to_owned());
        }
        hints.push("it says nothing about the point: mend it, and run `gantry drill` again".into());
        hints.push(kept);
        hints.retain(|hint| !hint.is_empty());
        return Err(CliError::new(
            exit_of(fault, Exit::Host),
            "the drill did not come to its end",
        )
        .because(format!("{stage}: {fault}"))
        .help(hints.join("\n      ")));
    }
    app.say.json(&document(args, site, run, &came));
    if args.keep {
        app.say.warn(&kept);
    }
    let Some(proof) = came.proof.filter(|_| came.carried.complete()) else {
        app.say.warn(
            "Interrupted. The next drill begins anew: one that was cut off measures nothing.",
        );
        return Ok(Exit::Interrupted);
    };
    tell(app, &proof);
    if came.recorded == Some(Recorded::Dropped) {
        app.say
            .warn("The point is being removed by now: nothing is written on it.");
    }
    Ok(if proof.sound { Exit::Done } else { Exit::Check })
}

pub(super) fn document(args: &DrillArgs, site: &str, run: &str, came: &Came) -> Value {
    json!({
        "format": 1,
        "run": run,
        "site": site,
        "point": came.proof.as_ref().map(|proof| &proof.point),
        "complete": came.carried.complete(),
        "stages": stages(&came.carried),
        "recorded": came.recorded,
        "kept": args.keep,
        "proof": came.proof,
    })
}

pub(super) fn tell(app: &App, proof: &Proof) {
    let words = |seconds: u64| human(Duration::from_secs(seconds));
    if let Some(report) = &proof.restore {
        tell_checks(app, report);
    }
    if let (true, Some(rto)) = (proof.sound, proof.rto_seconds) {
        app.say.data(&format!(
            "{} restores: from nothing to a GitLab that serves in {} (site {}, machines {}). The proof is on the point.",
            proof.point,
            words(rto),
            words(proof.site_seconds),
            words(proof.machines_seconds),
        ));
        return;
    }
    for finding in &proof.findings {
        app.say.data(&format!("FAIL  {finding}"));
    }
    app.say.warn(&format!(
        "{} does NOT restore as it should; that is written on the point.",
        proof.point
    ));
}
