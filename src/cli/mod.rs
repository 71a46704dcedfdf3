//! The command line: one verb, one file. The doc comment of each `Args` is its help text.

mod backup;
mod completions;
mod destroy;
mod drill;
mod error;
mod hosts;
mod init;
mod install;
mod man;
mod nodes;
mod open;
mod plan;
mod policy;
mod preflight;
mod probe;
mod procedure;
mod profiles;
mod reconfigure;
mod render;
mod restore;
mod runs;
mod schedule;
mod schema;
mod size;
mod snapshot;
mod ssh;
mod state;
mod status;
mod taking;

use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand};

pub use self::error::CliError;
use crate::app::{App, Target, default_state_root, region_of_environment, whoami};
use crate::clock::Clock;
use crate::engine::Stop;
use crate::exit::Exit;
use crate::ui::{Output, Say};

/// Self-hosted GitLab on AWS: sized, secured, backed up and restorable.
///
/// A site is described by one file, gantry.toml. `gantry install` makes the world as the file says and can be
/// run again at any time; `gantry plan` shows what it would do.
#[derive(Debug, Parser)]
#[command(
    name = "gantry",
    version,
    propagate_version = true,
    arg_required_else_help = true
)]
#[command(after_help = "\
Try it without an AWS account:
  gantry install --profile poc-2k --domain gitlab.example.com --sandbox --yes

Exit codes: 0 done, 1 unexpected, 2 usage or site file, 3 changes pending (plan), 4 refused by AWS,
5 a host failed, 6 interrupted (run again to resume), 7 locked by another run, 8 a check failed.")]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Flags every verb takes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// The site file.
    #[arg(
        long,
        global = true,
        value_name = "PATH",
        default_value = "gantry.toml",
        env = "GANTRY_SITE_FILE"
    )]
    pub site_file: PathBuf,
    /// Where gantry remembers what it made [default: .gantry beside the site file].
    #[arg(long, global = true, value_name = "PATH", env = "GANTRY_STATE_DIR")]
    pub state_dir: Option<PathBuf>,
    /// The form of data on stdout.
    #[arg(
        long,
        global = true,
        value_enum,
        default_value = "text",
        value_name = "FORM"
    )]
    pub output: Output,
    /// Answer every question with yes.
    #[arg(long, short = 'y', global = true)]
    pub yes: bool,
    /// Say only what went wrong.
    #[arg(long, short = 'q', global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Say more: every retry, everything blocked.
    #[arg(long, short = 'v', global = true)]
    pub verbose: bool,
    /// No colours and no redrawn lines.
    #[arg(long, global = true)]
    pub no_color: bool,
    /// Use the embedded AWS: no account needed, nothing leaves this machine.
    #[arg(long, global = true, env = "GANTRY_SANDBOX", value_parser = clap::builder::FalseyValueParser::new())]
    pub sandbox: bool,
    /// How many times faster than AWS the sandbox plays its delays.
    #[arg(long, global = true, value_name = "TIMES", default_value_t = 60, env = "GANTRY_SANDBOX_SPEED",
          value_parser = clap::value_parser!(u32).range(1..=100_000), hide_short_help = true)]
    pub sandbox_speed: u32,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Init(init::InitArgs),
    Profiles(profiles::ProfilesArgs),
    Size(size::SizeArgs),
    Preflight(preflight::PreflightArgs),
    Plan(plan::PlanArgs),
    Install(install::InstallArgs),
    Status(status::StatusArgs),
    Probe(probe::ProbeArgs),
    Backup(backup::BackupArgs),
    Snapshot(snapshot::SnapshotArgs),
    Restore(restore::RestoreArgs),
    Drill(drill::DrillArgs),
    Destroy(destroy::DestroyArgs),
    Render(render::RenderArgs),
    Reconfigure(reconfigure::ReconfigureArgs),
    Ssh(ssh::SshArgs),
    Exec(ssh::ExecArgs),
    Schedule(schedule::ScheduleArgs),
    State(state::StateArgs),
    Runs(runs::RunsArgs),
    Policy(policy::PolicyArgs),
    Schema(schema::SchemaArgs),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
}

/// The command line as clap knows it, for completions, man pages and the reference.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs one command line; what it has to say is said when it returns.
pub async fn run(cli: Cli) -> Exit {
    let say = Say::new(
        cli.global.output,
        cli.global.quiet,
        cli.global.verbose,
        cli.global.no_color,
    );
    let result = match app(&cli.global, say.clone()) {
        Ok(app) => dispatch(&app, cli.command).await,
        Err(error) => Err(error),
    };
    let exit = match result {
        Ok(exit) => exit,
        Err(error) => error.report(&say),
    };
    say.end();
    exit
}

async fn dispatch(app: &App, command: Command) -> Result<Exit, CliError> {
    match command {
        Command::Init(args) => init::run(app, &args),
        Command::Profiles(args) => profiles::run(app, &args),
        Command::Size(args) => size::run(app, &args),
        Command::Preflight(args) => preflight::run(app, &args).await,
        Command::Plan(args) => plan::run(app, &args).await,
        Command::Install(args) => install::run(app, &args).await,
        Command::Status(args) => status::run(app, &args).await,
        Command::Probe(args) => probe::run(app, &args).await,
        Command::Backup(args) => backup::run(app, &args).await,
        Command::Snapshot(args) => snapshot::run(app, &args).await,
        Command::Restore(args) => restore::run(app, &args).await,
        Command::Drill(args) => drill::run(app, &args).await,
        Command::Destroy(args) => destroy::run(app, &args).await,
        Command::Render(args) => render::run(app, &args),
        Command::Reconfigure(args) => reconfigure::run(app, &args).await,
        Command::Ssh(args) => ssh::ssh(app, &args).await,
        Command::Exec(args) => ssh::exec(app, &args).await,
        Command::Schedule(args) => schedule::run(app, &args).await,
        Command::State(args) => state::run(app, &args).await,
        Command::Runs(args) => runs::run(app, &args),
        Command::Policy(args) => policy::run(app, &args),
        Command::Schema(_) => Ok(schema::run(app)),
        Command::Completions(args) => Ok(completions::run(app, &args)),
        Command::Man(args) => man::run(app, &args),
    }
}

/// The surroundings the flags and the environment ask for.
fn app(global: &Global, say: Say) -> Result<App, CliError> {
    let mut state_root = global
        .state_dir
        .clone()
        .unwrap_or_else(|| default_state_root(&global.site_file));
    let (target, clock) = if global.sandbox {
        state_root = state_root.join("sandbox");
        sandbox(&state_root, global.sandbox_speed)?
    } else {
        (Target::Aws, Clock::System)
    };
    let (user, host) = whoami();
    Ok(App {
        say,
        target,
        clock,
        stop: Stop::default(),
        site_file: global.site_file.clone(),
        state_root,
        assume_yes: global.yes,
        default_region: region_of_environment()
            .or_else(|| global.sandbox.then(|| "eu-west-1".to_owned())),
        user,
        host,
    })
}

#[cfg(feature = "sandbox")]
fn sandbox(root: &std::path::Path, speed: u32) -> Result<(Target, Clock), CliError> {
    use crate::sandbox::{Folder, Sandbox};
    let sandbox = Sandbox::open(Folder::new(root.join("world")), speed).map_err(|e| {
        CliError::new(Exit::Unexpected, e.to_string())
            .help("remove the folder to start with an empty sandbox")
    })?;
    let clock = sandbox.clock();
    Ok((Target::Sandbox(sandbox), clock))
}

#[cfg(not(feature = "sandbox"))]
fn sandbox(_: &std::path::Path, _: u32) -> Result<(Target, Clock), CliError> {
    Err(CliError::new(
        Exit::Usage,
        "this gantry was built without the sandbox",
    ))
}
