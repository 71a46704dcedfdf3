//! `gantry ssh`, `gantry exec`: onto the nodes, through the bastion, with verified host keys.

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::CliError;
use super::hosts::{Ways, no_machines, ways};
use super::open::reading;
use crate::app::App;
use crate::exit::Exit;
use crate::shell::{
    ClientConfig, Command, Endpoint, Line, Outcome, Shell, Status, Together, config, interactive,
    many,
};

/// Open a shell on a node, or run one command there.
///
/// Goes through the bastion. Host keys are those that the node itself reported at its first boot, so there is no
/// blind trust; keys of yours come from the SSH agent, or from --identity.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gantry ssh gitaly-1
  gantry ssh sidekiq-1 -- sudo gitlab-ctl status
  gantry ssh --print-config > gitlab.ssh      # for ssh -F, scp, rsync and editors")]
pub struct SshArgs {
    /// The node: sidekiq-1, bastion, or a machine of the Rails group as `gantry ssh --list` names it.
    #[arg(required_unless_present_any = ["list", "print_config"])]
    node: Option<String>,
    /// Name the nodes that can be reached.
    #[arg(long)]
    list: bool,
    /// Print the configuration for OpenSSH instead.
    #[arg(long)]
    print_config: bool,
    /// A private key to offer. Can be repeated.
    #[arg(long, short = 'i', value_name = "FILE")]
    identity: Vec<PathBuf>,
    /// What to run there instead of a shell.
    #[arg(last = true)]
    command: Vec<String>,
}

/// Run a command on one node, or on every node of a role.
///
/// Ten nodes at a time. What they print comes with the node's name before it. Exits with 5 if a node could not be
/// reached or its command failed.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gantry exec gitaly -- df -h /var/opt/gitlab/git-data
  gantry exec rails -- sudo gitlab-ctl status")]
pub struct ExecArgs {
    /// A role (rails, sidekiq, gitaly, praefect, monitoring, bastion, box), a node, or `all`.
    #[arg(value_name = "ROLE")]
    target: String,
    /// A private key to offer. Can be repeated.
    #[arg(long, short = 'i', value_name = "FILE")]
    identity: Vec<PathBuf>,
    /// How long the command may take on each node.
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,
    /// The command.
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// The ways, for a command that only looks. Without machines it says so before it asks AWS anything.
async fn ways_there(app: &App) -> Result<Ways, CliError> {
    no_machines(app)?;
    ways(app, &reading(app).await?).await
}

pub async fn ssh(app: &App, args: &SshArgs) -> Result<Exit, CliError> {
    let ways = ways_there(app).await?;
    if args.list {
        app.say.json(
            &json!({"format": 1, "nodes": ways.nodes.iter().map(|(role, node)| json!({
            "node": node.name, "role": role, "address": node.address})).collect::<Vec<_>>()}),
        );
        for (role, node) in &ways.nodes {
            app.say
                .data(&format!("{:<24} {role:<12} {}", node.name, node.address));
        }
        return Ok(Exit::Done);
    }
    let shared = ClientConfig {
        known_hosts: ways.known_file.clone(),
        keys: args.identity.clone(),
    };
    let hosts: Vec<Endpoint> = ways.nodes.iter().map(|(_, node)| node.clone()).collect();
    let text = config(&hosts, ways.bastion.as_ref(), &shared);
    if args.print_config {
        app.say.data(&text);
        return Ok(Exit::Done);
    }
    let node = ways.find(args.node.as_deref().unwrap_or_default())?;
    let file = ways.known_file.with_file_name("ssh_config");
    std::fs::write(&file, text).map_err(|error| {
        CliError::new(
            Exit::Unexpected,
            format!("cannot write {}: {error}", file.display()),
        )
    })?;
    let argv = interactive(
        app.search_path().as_deref(),
        &file,
        &node.name,
        &args.command,
    )?;
    let mut words = argv.into_iter();
    let program = words.next().unwrap_or_else(|| "ssh".into());
    // The terminal is OpenSSH's from here on; coming back means that it could not be started.
    let error = std::process::Command::new(&program).args(words).exec();
    Err(CliError::new(
        Exit::Host,
        format!("{} cannot be started: {error}", program.display()),
    ))
}

pub async fn exec(app: &App, args: &ExecArgs) -> Result<Exit, CliError> {
    let ways = ways_there(app).await?;
    let wanted: Vec<&Endpoint> = ways
        .nodes
        .iter()
        .filter(|(role, node)| {
            args.target == "all" || args.target == role.as_str() || args.target == node.name
        })
        .map(|(_, node)| node)
        .collect();
    if wanted.is_empty() {
        return Err(
            CliError::usage(format!("there is no node and no role `{}`", args.target))
                .help(ways.names()),
        );
    }
    let access = ways.access(app, &args.identity);
    let shells: Vec<Arc<dyn Shell>> = wanted
        .iter()
        .map(|node| ways.shell(node, &access))
        .collect();
    let Some((program, rest)) = args.command.split_first() else {
        return Err(CliError::usage("no command is given"));
    };
    let say = app.say.clone();
    let alone = shells.len() == 1;
    let command = rest
        .iter()
        .fold(Command::new(program), |command, word| command.arg(word))
        .timeout(Duration::from_secs(args.timeout))
        .observe(Arc::new(move |line: Line<'_>| {
            if alone {
                say.data(line.text);
            } else {
                say.data(&format!("{}: {}", line.host, line.text));
            }
        }));
    let outcomes = many(&shells, Together::default(), |shell| {
        let command = command.clone();
        Box::pin(async move { shell.run(&command).await })
    })
    .await;
    let mut failed = 0;
    let mut rows = Vec::new();
    for (node, outcome) in wanted.iter().zip(&outcomes) {
        let (status, detail) = match outcome {
            Outcome::Done(exit) => match &exit.status {
                Status::Code(0) => ("ok", String::new()),
                Status::Code(code) => ("failed", format!("exit code {code}")),
                Status::Signal(signal) => ("failed", format!("ended by {signal}")),
            },
            Outcome::Failed(fault) => ("unreachable", fault.to_string()),
            Outcome::NotBegun => ("not begun", String::new()),
        };
        if status != "ok" {
            failed += 1;
            let help = match outcome {
                Outcome::Failed(fault) => fault.help(),
                _ => String::new(),
            };
            app.say.warn(&format!("{}: {status}: {detail}", node.name));
            if !help.is_empty() {
                app.say.warn(&format!("  hint: {help}"));
            }
        }
        rows.push(json!({"node": node.name, "status": status, "detail": detail}));
    }
    app.say
        .json(&json!({"format": 1, "nodes": rows, "failed": failed}));
    Ok(if failed == 0 { Exit::Done } else { Exit::Host })
}
