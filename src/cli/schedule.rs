//! `gantry schedule`: backups on their own.

mod backups;
mod place;
mod show;
mod start;

use std::path::PathBuf;

use clap::{Args, Subcommand};

pub use self::backups::Backups;
pub use self::place::settle;
use super::CliError;
use crate::app::App;
use crate::exit::Exit;
use crate::ops::schedule::Name;

/// Run backups by timers: show them, install them, start one.
///
/// Times are those of [backup.schedule] in the site's time zone. The timers are systemd's, on the appliance host: the
/// bastion, or the box itself.
#[derive(Debug, Args)]
pub struct ScheduleArgs {
    #[command(subcommand)]
    what: ScheduleCommand,
}

#[derive(Debug, Subcommand)]
enum ScheduleCommand {
    /// Show when each runs next, how the last run ended, and whether the objective is kept.
    Show(HereArgs),
    /// Install the timers on the appliance host, or bring them up to date.
    Install(PlaceArgs),
    /// Take the timers away again. Records stay.
    Remove(PlaceArgs),
    /// Do now what a timer does, and record it.
    ///
    /// Exits as the verb does. Exits with 7 if the same schedule is at work.
    Run(RunArgs),
    /// Report that a unit failed, unless gantry has done so itself. Started by systemd.
    #[command(hide = true)]
    ReportFailure {
        /// snapshot, full, verify or drill.
        name: Name,
    },
}

#[derive(Debug, Args)]
struct HereArgs {
    /// This machine, instead of the appliance host.
    #[arg(long)]
    here: bool,
}

#[derive(Debug, Args)]
struct PlaceArgs {
    /// This machine, instead of the appliance host. Uses sudo.
    #[arg(long)]
    here: bool,
    /// Show what would be written, and write nothing. Exits with 3 if there is anything.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Args)]
struct RunArgs {
    /// snapshot, full, verify or drill.
    name: Name,
    /// Only if a time has passed that no run has dealt with; however many did, it runs once.
    #[arg(long)]
    if_due: bool,
    /// Write metrics for Prometheus into this file.
    #[arg(long, value_name = "FILE")]
    metrics: Option<PathBuf>,
}

pub async fn run(app: &App, args: &ScheduleArgs) -> Result<Exit, CliError> {
    match &args.what {
        ScheduleCommand::Show(args) => show::show(app, args.here).await,
        ScheduleCommand::Install(args) => place::install(app, args.here, args.dry_run).await,
        ScheduleCommand::Remove(args) => place::remove(app, args.here, args.dry_run).await,
        ScheduleCommand::Run(args) => {
            start::start(app, args.name, args.if_due, args.metrics.as_deref()).await
        }
        ScheduleCommand::ReportFailure { name } => start::report_failure(app, *name).await,
    }
}
