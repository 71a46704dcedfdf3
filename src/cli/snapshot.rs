//! `gantry snapshot`

use std::sync::Arc;

use clap::{Args, Subcommand};
use serde_json::json;

use super::CliError;
use super::backup;
use super::open::{Writing, reading, site, writing};
use super::taking::{
    Left, asked, carry, check_lines, conclude, document, left, only, or_exit, plan_table, planned,
    taking,
};
use crate::app::App;
use crate::exit::Exit;
use crate::ops::OpsFault;
use crate::ops::backup::{Ask, How, Mode, PartPlan, Taken, Taking, check};
use crate::ops::point::{PartName, PointId, Purpose};
use crate::ops::snapshot::{SnapshotAsk, Stillness, Target, VERB, book, targets};
use crate::session::Session;

/// Take, list and remove snapshots of disks and databases.
///
/// A snapshot is quicker than a backup and lives in AWS alone: it brings back disks and databases of one moment, and
/// neither objects nor secrets. Disks of a Gitaly Cluster are never saved this way, because GitLab does not support it.
#[derive(Debug, Args)]
pub struct SnapshotArgs {
    #[command(subcommand)]
    what: SnapshotCommand,
}

#[derive(Debug, Subcommand)]
enum SnapshotCommand {
    Create(CreateArgs),
    /// List the snapshots, oldest first, with what keeps each.
    List,
    /// Remove the snapshots that nothing keeps.
    Prune(PruneArgs),
}

/// Take a snapshot of the site's databases and data volumes.
///
/// Where everything is on one disk, its file system is frozen for the moment in which the snapshot begins. Where
/// database and Git data are on different ones, GitLab's workers are stopped for that moment, and people see an error
/// page for some seconds; --live leaves them alone. Interrupted, run it again.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gantry snapshot create --live      # every hour, without disturbing anybody
  gantry snapshot create             # before something dangerous
  gantry snapshot create --dry-run")]
struct CreateArgs {
    /// Save only this part (database, volumes); can be repeated.
    #[arg(long, value_name = "PART")]
    only: Vec<PartName>,
    /// Do not stop GitLab's workers: each disk and database is whole in itself, and they may differ by some seconds.
    #[arg(long)]
    live: bool,
    /// Show the plan and the checks, and stop.
    #[arg(long)]
    dry_run: bool,
}

/// What `[backup.keep]` says decides, as for `gantry backup prune`.
#[derive(Debug, Args)]
struct PruneArgs {
    /// Show what would stay and what would go, and stop.
    #[arg(long)]
    dry_run: bool,
}

impl CreateArgs {
    fn ask(&self) -> SnapshotAsk {
        SnapshotAsk {
            ask: Ask {
                purpose: Purpose::Snapshot,
                only: only(&self.only),
                rank: None,
            },
            stillness: if self.live {
                Stillness::Live
            } else {
                Stillness::Paused
            },
        }
    }
}

/// As a timer starts it: without disturbing anybody.
pub async fn scheduled(app: &App) -> Result<Exit, CliError> {
    let what = SnapshotCommand::Create(CreateArgs {
        only: vec![],
        live: true,
        dry_run: false,
    });
    run(app, &SnapshotArgs { what }).await
}

pub async fn run(app: &App, args: &SnapshotArgs) -> Result<Exit, CliError> {
    match &args.what {
        SnapshotCommand::Create(args) if args.dry_run => dry_run(app, &args.ask()).await,
        SnapshotCommand::Create(args) => create(app, &args.ask()).await,
        SnapshotCommand::List => backup::list_of(app, Some(Purpose::Snapshot)).await,
        SnapshotCommand::Prune(args) => {
            backup::prune_of(app, Some(Purpose::Snapshot), args.dry_run).await
        }
    }
}

/// The disks of the plan, and the machines they are attached to.
fn disks(session: &Session, taking: &Taking, parts: &[PartPlan]) -> Result<Vec<Target>, OpsFault> {
    let outputs = session.store.state().outputs();
    let instance = |node: &str| {
        let address = format!("ec2/instance:{node}").parse().ok()?;
        Some(outputs.0.get(&address)?.get("id")?.as_str()?.to_owned())
    };
    let nodes: Vec<String> = parts
        .iter()
        .filter_map(|part| match &part.how {
            How::DiskSnapshots { nodes } => Some(nodes.clone()),
            _ => None,
        })
        .flatten()
        .collect();
    targets(taking, &nodes, instance)
}

async fn create(app: &App, ask: &SnapshotAsk) -> Result<Exit, CliError> {
    let (site, profile) = site(app)?;
    let writing = writing(app, site, profile, VERB).await?;
    app.watch_interrupts(writing.observe.clone());
    let taking = taking(app, &writing.session, &writing.run).await?;
    let parts = planned(&taking, &ask.ask)?;
    let whole = serde_json::to_value(ask).unwrap_or_default();
    let id = match left(app, writing.session.cx.site(), VERB, &ask.ask, &whole)? {
        Left::Nothing => writing.run.clone(),
        Left::GoOn(id) => id,
        Left::Close(story) => {
            let before: SnapshotAsk = asked(&story)?;
            take(app, &writing, &taking, &story.id, Mode::Close, &before).await?;
            writing.run.clone()
        }
    };
    app.say.tell(&plan_table(&parts));
    let taken = take(app, &writing, &taking, &id, Mode::Take, ask).await?;
    app.say.json(&document(&taken));
    conclude(app, &taken, VERB)
}

async fn take(
    app: &App,
    writing: &Writing,
    taking: &Arc<Taking>,
    id: &str,
    mode: Mode,
    ask: &SnapshotAsk,
) -> Result<Taken, CliError> {
    let parts = planned(taking, &ask.ask)?;
    let targets = disks(&writing.session, taking, &parts)?;
    let made = |point: &PointId, mode| book(taking, point, &parts, &targets, ask, mode);
    carry(app, writing, taking, id, mode, (VERB, &made)).await
}

async fn dry_run(app: &App, ask: &SnapshotAsk) -> Result<Exit, CliError> {
    let session = reading(app).await?;
    let taking = taking(app, &session, &app.run_id()).await?;
    let parts = planned(&taking, &ask.ask)?;
    let checked = check(&taking, &parts).await;
    app.say
        .json(&json!({"format": 1, "parts": parts, "checks": checked.looked}));
    app.say.data(&plan_table(&parts));
    app.say.data(&format!("\n{}", check_lines(&checked)));
    or_exit(checked)?;
    Ok(Exit::Done)
}
