//! `gantry reconfigure`

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::CliError;
use super::hosts::{hosts, out_of_reach};
use super::nodes::node_of;
use super::open::{reading, site, writing};
use super::procedure::{carry, end, left_over, stages, trouble};
use crate::app::App;
use crate::engine::{Event, Totals};
use crate::exit::Exit;
use crate::ops::order::Order;
use crate::session::{BootState, Change, FileChange, NodeDifference, Packed, Session};
use crate::ui::{Answer, ask_yes};

/// Show what differs in the files of the nodes, and roll it out in the right order.
///
/// The files are compared with those that the nodes are pointed at now. Then one node at a time is changed: Gitaly,
/// Praefect, the deploy node, Rails, Sidekiq, monitoring. Nodes behind a load balancer are drained first and put back
/// when they are well; the last healthy one is never taken out. The first node that is not well afterwards stops
/// everything behind it. Interrupted, run it again.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gantry reconfigure --dry-run       # exits with 3 when something differs
  gantry reconfigure                 # shows, asks, rolls out
  gantry reconfigure sidekiq --yes")]
pub struct ReconfigureArgs {
    /// Only these nodes or roles.
    #[arg(value_name = "NODE|ROLE")]
    only: Vec<String>,
    /// Show the difference and stop.
    #[arg(long)]
    dry_run: bool,
    /// A private key to offer. Can be repeated.
    #[arg(long, short = 'i', value_name = "FILE")]
    identity: Vec<PathBuf>,
}

/// Since a roll-out runs the boot program itself and waits for its end, this is only for what comes after it.
const PATIENCE: Duration = Duration::from_mins(10);

/// What there is to change.
struct Changes {
    packed: Vec<Packed>,
    differences: Vec<NodeDifference>,
    /// Machines that are pointed at the right bundle and are not what it says yet.
    behind: Vec<(String, BootState)>,
    /// Nodes of a roll-out that was interrupted.
    left: BTreeSet<String>,
    /// The nodes of the fleet that are changed.
    nodes: BTreeSet<String>,
}

pub async fn run(app: &App, args: &ReconfigureArgs) -> Result<Exit, CliError> {
    if args.dry_run {
        let session = Arc::new(reading(app).await?);
        let changes = changes(app, &session, args).await?;
        show(app, &changes);
        app.say.json(&document(&session, &changes, None, None));
        return Ok(if changes.nodes.is_empty() {
            Exit::Done
        } else {
            Exit::Changes
        });
    }
    let (site, profile) = site(app)?;
    let writing = writing(app, site, profile, "reconfigure").await?;
    app.watch_interrupts(writing.observe.clone());
    let session = &writing.session;
    let changes = changes(app, session, args).await?;
    show(app, &changes);
    if changes.nodes.is_empty() {
        (writing.observe)(&Event::Summary(Totals::default()));
        app.say
            .json(&document(session, &changes, Some(&writing.run), Some(&[])));
        return Ok(Exit::Done);
    }
    same_package(&changes.differences)?;
    if !app.has_no_machines()
        && let Some(why) = out_of_reach(app, session, &args.identity)
    {
        return Err(
            CliError::usage(format!("the nodes cannot be reached: {why}"))
                .help("nothing was changed"),
        );
    }
    if !app.assume_yes {
        match ask_yes(&question(session, &changes)) {
            Answer::Yes => {}
            Answer::No => {
                return Err(CliError::usage("nothing was changed").help("say yes, or pass --yes"));
            }
            Answer::Nobody => {
                return Err(CliError::usage("nobody is there to say yes")
                    .help("pass --yes to roll out without a question, or --dry-run to look"));
            }
        }
    }
    if app.has_no_machines() {
        let delivered = session.deliver(&changes.packed).await?;
        (writing.observe)(&Event::Summary(Totals::default()));
        let pointed = delivered.iter().filter(|d| d.change == Change::Pointed);
        app.say.data(&format!(
            "{} nodes are pointed at their new files, and nothing is rolled out: there are no machines here.",
            pointed.count()
        ));
        app.say
            .json(&document(session, &changes, Some(&writing.run), Some(&[])));
        return Ok(Exit::Done);
    }
    let order = Order::new(
        session.clone(),
        hosts(app, session, &args.identity).await?,
        session.known_fleet()?,
        bundles(&changes.packed),
        PATIENCE,
    );
    let book = order
        .roll_out(changes.packed.clone(), &changes.nodes)
        .await?;
    let report = carry(app, &writing, book).await?;
    let outcomes = stages(&report);
    app.say.json(&document(
        session,
        &changes,
        Some(&writing.run),
        Some(&outcomes),
    ));
    let again = app.again("reconfigure");
    if let Some(trouble) = trouble(&report, &again) {
        return Err(trouble);
    }
    let exit = end(app, &report, &again);
    if exit == Exit::Done {
        app.say.data(&format!(
            "{} is rolled out.",
            count(changes.nodes.len(), "node")
        ));
    }
    Ok(exit)
}

/// What would be rendered, beside what the nodes are pointed at and what they last reported.
async fn changes(
    app: &App,
    session: &Arc<Session>,
    args: &ReconfigureArgs,
) -> Result<Changes, CliError> {
    let only = &args.only;
    if session.store.state().resources.is_empty() {
        return Err(CliError::usage("nothing exists yet").help("`gantry install` makes it"));
    }
    let fleet = session.known_fleet()?;
    let unknown = fleet.unknown();
    if !unknown.is_empty() {
        return Err(CliError::new(
            Exit::Unexpected,
            format!(
                "the files of the nodes need addresses that are not known: {}",
                unknown.join(", ")
            ),
        )
        .help("`gantry install` makes what is missing; `gantry state rebuild` reads addresses again from AWS"));
    }
    let mut packed = session.pack(&fleet)?;
    let is = |packed: &Packed, word: &String| {
        packed.files.node == *word || packed.files.role.as_str() == word
    };
    if let Some(stranger) = only
        .iter()
        .find(|word| !packed.iter().any(|packed| is(packed, word)))
    {
        let there: Vec<_> = packed.iter().map(|p| p.files.node.as_str()).collect();
        return Err(
            CliError::usage(format!("there is no node and no role `{stranger}`"))
                .help(format!("there are {}", there.join(", "))),
        );
    }
    let left = left_over(app, session)?;
    packed.retain(|packed| {
        only.is_empty()
            || only.iter().any(|word| is(packed, word))
            || left.contains(&packed.files.node)
    });
    let differences = session.differences(&packed).await?;
    let mut nodes: BTreeSet<String> = differences.iter().map(|d| d.node.clone()).collect();
    let known = |node: &&String| packed.iter().any(|p| p.files.node == **node);
    nodes.extend(left.iter().filter(known).cloned());
    let mut behind = Vec::new();
    if !app.has_no_machines() {
        let hosts = hosts(app, session, &args.identity).await?;
        let bundles = bundles(&packed);
        let same: BTreeSet<String> = bundles
            .keys()
            .filter(|node| !nodes.contains(*node))
            .cloned()
            .collect();
        let order = Order::new(session.clone(), hosts, fleet, bundles, PATIENCE);
        behind = order.behind(&same).await?;
        nodes.extend(behind.iter().map(|(name, _)| node_of(name)));
    }
    Ok(Changes {
        packed,
        differences,
        behind,
        left,
        nodes,
    })
}

/// The bundle of each node.
pub(super) fn bundles(packed: &[Packed]) -> std::collections::BTreeMap<String, String> {
    let bundle = |p: &Packed| (p.files.node.clone(), p.bundle.sha256.clone());
    packed.iter().map(bundle).collect()
}

/// Another version of the package has an order of its own, and a way back that has to be prepared.
fn same_package(differences: &[NodeDifference]) -> Result<(), CliError> {
    let packages = |d: &NodeDifference| {
        let of = d.settings.iter().find(|s| s.what == "package")?;
        let version = |text: &str| {
            text.split(' ')
                .take(2)
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        (version(&of.now) != version(&of.wanted)).then(|| (d.node.clone(), of.clone()))
    };
    let Some((node, of)) = differences.iter().find_map(packages) else {
        return Ok(());
    };
    Err(CliError::usage(format!(
        "{node} has {}, and the site file wants {}: that is an upgrade, and none of a roll-out's business",
        of.now, of.wanted
    ))
    .help("set [gitlab] version and edition in the site file to what the nodes have; nothing was changed"))
}

fn question(session: &Session, changes: &Changes) -> String {
    let scope = session.cx.scope();
    let mut text = format!(
        "Roll this out over {} in account {}, region {}?",
        count(changes.nodes.len(), "node"),
        scope.account,
        scope.region
    );
    if changes.nodes.contains("box") {
        text.push_str(" GitLab does not answer for some minutes, because the box is alone.");
    }
    text
}

fn count(number: usize, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        _ => format!("{number} {what}s"),
    }
}

fn show(app: &App, changes: &Changes) {
    for difference in &changes.differences {
        let first = if difference.now.is_some() {
            ""
        } else {
            " (has no files yet)"
        };
        app.say.data(&format!("{}{first}", difference.node));
        for setting in &difference.settings {
            app.say.data(&format!(
                "  {}: {} -> {}",
                setting.what, setting.now, setting.wanted
            ));
        }
        for file in &difference.files {
            let word = match file.change {
                FileChange::New => "new",
                FileChange::Gone => "gone",
                FileChange::Changed => "changed",
            };
            app.say.data(&format!("  {} ({word})", file.path));
            // A node that never had files would show all of them.
            if difference.now.is_some() {
                for line in file.diff.lines() {
                    app.say.data(&format!("    {line}"));
                }
            }
        }
    }
    for (name, state) in &changes.behind {
        app.say.data(&format!("{name}: {state}"));
    }
    if !changes.left.is_empty() {
        let names: Vec<_> = changes.left.iter().map(String::as_str).collect();
        app.say.data(&format!(
            "A roll-out over {} did not come to its end, and is gone on with.",
            names.join(", ")
        ));
    }
    if changes.nodes.is_empty() {
        app.say
            .data("Nothing differs: every node has the files it should have.");
    }
    if changes.nodes.contains("box") {
        app.say.tell(
            "A box is alone: GitLab does not answer for some minutes while it is reconfigured.",
        );
    }
}

fn document(
    session: &Session,
    changes: &Changes,
    run: Option<&str>,
    outcomes: Option<&[Value]>,
) -> Value {
    let behind: Vec<_> = changes
        .behind
        .iter()
        .map(|(name, state)| json!({"node": name, "boot": state}))
        .collect();
    let complete = outcomes.map(|all| all.iter().all(|stage| stage["outcome"] == "done"));
    json!({
        "format": 1,
        "site": session.cx.site(),
        "run": run,
        "differences": changes.differences,
        "behind": behind,
        "unfinished": changes.left,
        "stages": outcomes,
        "complete": complete,
    })
}
