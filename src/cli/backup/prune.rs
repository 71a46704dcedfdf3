//! `gantry backup prune`

use std::collections::BTreeMap;
use std::sync::Arc;

use clap::Args;
use serde_json::{Value, json};

use super::super::CliError;
use super::super::open::{reading, site, writing};
use super::super::taking::holder;
use super::{describe, judged, open_points, points_of, signer, tell_doubts};
use crate::app::App;
use crate::cloud::Limits;
use crate::engine::{Event, Report, Totals};
use crate::exit::Exit;
use crate::ops::backup::Lease;
use crate::ops::point::Purpose;
use crate::ops::prune::{self, Clouds, DropPlan, PrunePlan, Pruning};
use crate::ops::retention::Fate;
use crate::ops::{FileLedger, OpsFault, runbook};
use crate::resource::{CloudCx, Scope};
use crate::session::Session;
use crate::ui::{Answer, ask_yes, bytes, table};

/// Remove the recovery points that nothing keeps.
///
/// What is kept is in [backup.keep] of the site file. The newest whole point, the last verified one, pinned points,
/// what a chain still needs and what is held by object lock never go; and nothing goes while the newest attempt is
/// incomplete. Objects get a delete marker, and the bucket's lifecycle removes their old versions later. The role that
/// writes backups may not delete: this wants an administrator. Interrupted, run it again.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gantry backup prune --dry-run    # each point with keep or drop, and why; exit code 3 when something would go
  gantry backup prune              # asks first
  gantry backup prune --yes        # from a timer")]
pub struct PruneArgs {
    /// Show what would stay and what would go, and stop.
    #[arg(long)]
    dry_run: bool,
}

pub async fn run(app: &App, args: &PruneArgs) -> Result<Exit, CliError> {
    prune_of(app, None, args.dry_run).await
}

/// The points with their verdicts, and what of each point goes.
fn plan_document(plan: &PrunePlan) -> Value {
    let drop = |drop: &DropPlan| {
        let shared = drop.shared.iter();
        json!({
            "id": drop.id,
            "removes": drop.things.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "stays": shared.map(|(thing, with)| json!({"what": thing.to_string(), "for": with})).collect::<Vec<_>>(),
            "bytes": drop.bytes,
        })
    };
    json!({
        "format": 1,
        "points": plan.points.iter().map(describe).collect::<Vec<_>>(),
        "drops": plan.drops.iter().map(drop).collect::<Vec<_>>(),
        "bytes": plan.bytes(),
    })
}

fn show_plan(app: &App, plan: &PrunePlan) {
    let rows: Vec<_> = plan
        .points
        .iter()
        .map(|point| {
            let verdict = match point.verdict.fate {
                Fate::Keep => "keep",
                Fate::Drop => "drop",
            };
            vec![
                verdict.to_owned(),
                point.listed.id.to_string(),
                point.listed.condition().word().to_owned(),
                point.verdict.why(),
            ]
        })
        .collect();
    app.say.data(&table(&["", "POINT", "STATE", "WHY"], &rows));
    for drop in &plan.drops {
        for (thing, with) in &drop.shared {
            app.say
                .data(&format!("{thing} of {} stays: {with} needs it.", drop.id));
        }
    }
    app.say.data(&format!(
        "{} to keep, {} to drop, which frees up to {}.",
        plan.points.len() - plan.drops.len(),
        plan.drops.len(),
        bytes(plan.bytes())
    ));
    tell_doubts(app, plan);
}

/// Removes what nothing keeps of the points of one purpose, or of all; or shows what would go.
pub async fn prune_of(app: &App, only: Option<Purpose>, dry: bool) -> Result<Exit, CliError> {
    if dry {
        dry_run(app, only).await
    } else {
        prune(app, only).await
    }
}

async fn dry_run(app: &App, only: Option<Purpose>) -> Result<Exit, CliError> {
    let session = reading(app).await?;
    let points = open_points(&session, None).await?;
    let plan = judged(app, &session, &points, only).await?;
    app.say.json(&plan_document(&plan));
    show_plan(app, &plan);
    Ok(if plan.drops.is_empty() {
        Exit::Done
    } else {
        Exit::Changes
    })
}

async fn prune(app: &App, only: Option<Purpose>) -> Result<Exit, CliError> {
    let (site, profile) = site(app)?;
    let dir = app.site_dir(site.site.name.as_ref());
    let writing = writing(app, site, profile, prune::VERB).await?;
    app.watch_interrupts(writing.observe.clone());
    let session = &writing.session;
    let signer = Arc::new(signer(session).await?);
    let points = points_of(session, signer.trusted())?;
    let plan = judged(app, session, &points, only).await?;
    if plan.drops.is_empty() {
        (writing.observe)(&Event::Summary(Totals::default()));
        app.say.data("Nothing to drop.");
        let mut document = plan_document(&plan);
        document["complete"] = json!(true);
        app.say.json(&document);
        tell_doubts(app, &plan);
        return Ok(Exit::Done);
    }
    show_plan(app, &plan);
    if !app.assume_yes {
        let question = format!("Drop these {} recovery points for good?", plan.drops.len());
        match ask_yes(&question) {
            Answer::Yes => {}
            Answer::No => return Err(CliError::usage("nothing was dropped")),
            Answer::Nobody => {
                return Err(CliError::usage("nobody is there to confirm")
                    .help("pass --yes; --dry-run shows what would go"));
            }
        }
    }
    prune::supersede(&dir, &writing.run, app.clock).map_err(OpsFault::from)?;
    let ledger = FileLedger::open(&dir, &writing.run).map_err(OpsFault::from)?;
    let clouds = clouds(app, session, &plan).await;
    // Not while a point is taken or restored, from whichever machine: what goes may be what is being read.
    let bucket = points.bucket().to_owned();
    let me = holder(app, &writing.run, prune::VERB);
    let lease = Lease::take(&session.cx, &bucket, &writing.run, &me).await?;
    let pruned = lease.hold(async {
        // A point that was taken, pinned or restored since may need what was to go.
        let now = judged(app, session, &points, only).await?;
        if plan_document(&now)["drops"] != plan_document(&plan)["drops"] {
            return Err(CliError::usage(
                "the points have changed since they were judged; nothing was dropped",
            )
            .help("run the same command again"));
        }
        let with = Pruning {
            points,
            signer,
            clouds,
        };
        let report = runbook::carry_out(
            prune::runbook(&now, &with),
            &writing.run,
            Arc::new(ledger),
            &app.stop,
            app.clock,
            &writing.observe,
        );
        Ok(report.await?)
    });
    let pruned = pruned.await?;
    let released = lease.release().await;
    let report = pruned?;
    released?;
    ended(app, &plan, &report)
}

/// The clients of every region in which something goes.
async fn clouds(app: &App, session: &Session, plan: &PrunePlan) -> Clouds {
    let mut clouds = Clouds::new(session.cx.clone());
    let scope = session.cx.scope();
    for region in plan.regions() {
        if region == scope.region {
            continue;
        }
        let there = Scope {
            region: region.to_owned(),
            ..scope.clone()
        };
        let aws = app.aws(region).await;
        let limits = Limits::default();
        clouds = clouds.with(CloudCx::new(
            aws,
            there,
            app.clock,
            limits,
            None,
            BTreeMap::new(),
        ));
    }
    clouds
}

fn ended(app: &App, plan: &PrunePlan, report: &Report<OpsFault>) -> Result<Exit, CliError> {
    let failed: Vec<(&str, String)> = report
        .failures()
        .map(|(stage, fault)| (stage, fault.to_string()))
        .collect();
    let mut document = plan_document(plan);
    document["complete"] = json!(report.complete());
    document["failed"] = failed
        .iter()
        .map(|(stage, fault)| json!({"stage": stage, "fault": fault}))
        .collect();
    app.say.json(&document);
    if let Some((_, first)) = report.failures().next() {
        let exit = match first {
            OpsFault::Check { .. } => Exit::Check,
            _ => Exit::Cloud,
        };
        let mut error = CliError::new(
            exit,
            "not everything could be removed; what is left is marked as being dropped and restores nothing",
        );
        for (stage, fault) in &failed {
            error = error.because(format!("{stage}: {fault}"));
        }
        let first = first.help();
        let again = "run the same command again to go on";
        return Err(error.help(if first.is_empty() {
            again.to_owned()
        } else {
            format!("{first}\n      {again}")
        }));
    }
    if report.interrupted() {
        app.say.warn(
            "Interrupted; run the same command again to go on. What is marked as being dropped restores nothing.",
        );
        return Ok(Exit::Interrupted);
    }
    app.say.data(&format!(
        "{} recovery points are gone. Objects keep their old versions until the bucket's lifecycle removes them.",
        plan.drops.len()
    ));
    Ok(Exit::Done)
}
