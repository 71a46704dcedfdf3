//! `gantry install`

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::CliError;
use super::init::{NewSite, write_site};
use super::nodes::{Care, Nodes, bring_up};
use super::open::{Writing, site, sizes, writing};
use crate::app::App;
use crate::cloud::Fault;
use crate::engine::{Event, Outcome, Report, Totals};
use crate::exit::Exit;
use crate::plan::Plan;
use crate::resource::Address;
use crate::session::{InstallOptions, Reading, Session, SessionError};
use crate::ui::{Answer, ask_yes, human, plan_text, totals_line};

/// Make the world as the site file says; run again to converge.
///
/// Plans, asks, and carries out. Interrupted at any point (Ctrl-C, a lost connection, a killed process), the next
/// install continues where it stopped: nothing is made twice. Without a site file, --profile and --domain write one.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gantry install --profile poc-2k --domain gitlab.example.com --region eu-west-1
  gantry install --yes                          # converge the site in gantry.toml, as a timer would
  gantry install --plan tonight.json            # exactly what was planned, or nothing")]
pub struct InstallArgs {
    #[command(flatten)]
    new: NewSite,
    /// Carry out this saved plan; refused when the world or the site file moved since.
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,
    /// Show the plan and stop: the same as `gantry plan`.
    #[arg(long, conflicts_with = "plan")]
    dry_run: bool,
    /// Data-bearing resources that may be removed and made anew, for example rds/db_instance:main.
    #[arg(long, value_name = "ADDRESS")]
    replace: Vec<Address>,
    /// How long to wait for the nodes to report that they are configured; 0 does not wait.
    #[arg(long, value_name = "MINUTES", default_value_t = 60, value_parser = clap::value_parser!(u64).range(0..=1440))]
    wait: u64,
    /// A private key to offer to the nodes, for the checks over SSH. Can be repeated.
    #[arg(long, short = 'i', value_name = "FILE")]
    identity: Vec<PathBuf>,
}

pub async fn run(app: &App, args: &InstallArgs) -> Result<Exit, CliError> {
    let (site, profile) = match args.new.make(app)? {
        Some(new) => {
            let profile = sizes(&new)?;
            if !args.dry_run {
                write_site(app, &new)?;
            }
            (new, profile)
        }
        None => site(app)?,
    };
    if app.is_sandbox() {
        app.say.tell(&format!(
            "Sandbox: an embedded AWS; its delays pass {} times faster.",
            app.clock.speed()
        ));
    }
    let began = app.clock.now();
    let writing = writing(app, site, profile, "install").await?;
    app.watch_interrupts(writing.observe.clone());
    let options = InstallOptions {
        replace: args.replace.iter().cloned().collect::<BTreeSet<_>>(),
    };
    let reading = writing.session.read(&options).await?;
    if let Some(path) = &args.plan {
        still_fits(path, &reading.plan)?;
    }
    same_version(&writing.session).await?;
    // An interrupted run stays open in the journal until one completes, even one with nothing left to do.
    if reading.plan.is_empty() && writing.session.store.state().open_run.is_none() {
        (writing.observe)(&Event::Summary(Totals::default()));
        app.say.data(&totals_line(&reading.plan));
        if args.dry_run {
            app.say.json(&document(&writing, &reading, None, None));
            return Ok(Exit::Done);
        }
        let nodes = bring_up(app, &writing, &reading, care(args)).await?;
        app.say
            .json(&document(&writing, &reading, None, Some(&nodes)));
        return nodes.trouble.map_or(Ok(nodes.exit), Err);
    }
    if args.dry_run {
        (writing.observe)(&Event::Summary(Totals::default()));
        app.say.data(&plan_text(&reading.plan));
        app.say.json(&document(&writing, &reading, None, None));
        return Ok(Exit::Changes);
    }
    if args.plan.is_none() && !app.assume_yes {
        app.say.warn(&plan_text(&reading.plan));
        let place = format!(
            "account {}, region {}",
            reading.plan.account, reading.plan.region
        );
        match ask_yes(&format!("Carry this out in {place}?")) {
            Answer::Yes => {}
            Answer::No => {
                return Err(CliError::usage("nothing was changed").help("say yes, or pass --yes"));
            }
            Answer::Nobody => {
                return Err(CliError::usage("nobody is there to say yes")
                    .help("pass --yes to install without a question, or --plan FILE to carry out a saved plan"));
            }
        }
    } else {
        app.say.tell(&totals_line(&reading.plan));
    }
    writing.session.bring_programs_ahead().await?;
    let report = writing
        .session
        .install(&writing.run, &reading, &app.stop, &writing.observe)
        .await?;
    let took = app.clock.since(began);
    // Nodes wait for their files by themselves, so what failed elsewhere is said first.
    let nodes = if report.complete() {
        Some(bring_up(app, &writing, &reading, care(args)).await?)
    } else if only_waits(&report) {
        // Nothing of theirs needs the certificate. Their checks ask the balancer, which has no listener yet.
        let care = Care {
            wait: Duration::ZERO,
            identities: &args.identity,
        };
        Some(bring_up(app, &writing, &reading, care).await?)
    } else {
        None
    };
    app.say
        .json(&document(&writing, &reading, Some(&report), nodes.as_ref()));
    let stands = conclude(app, &writing, &reading, &report, took)?;
    match (stands, nodes) {
        (Exit::Done, Some(nodes)) => nodes.trouble.map_or(Ok(nodes.exit), Err),
        (stands, _) => Ok(stands),
    }
}

/// Whether all that is left to do waits for a person.
fn only_waits(report: &Report<Fault>) -> bool {
    let mut failures = report.failures();
    !report.interrupted() && failures.all(|(_, fault)| matches!(fault, Fault::Parked { .. }))
}

/// Refuses another version of GitLab than the nodes have. They would refuse it one by one, and a machine that Auto Scaling
/// starts would install it beside them, on a database that nobody migrated.
async fn same_version(session: &Session) -> Result<(), CliError> {
    let wanted = session.wanted_version();
    match session.installed_version().await? {
        Some(there) if there != wanted => Err(CliError::usage(format!(
            "the nodes have GitLab {there}, and the site file wants {wanted}: that is an upgrade, and none of install's business"
        ))
        .help("set [gitlab] version and edition in the site file to what the nodes have; nothing was changed")),
        _ => Ok(()),
    }
}

fn care(args: &InstallArgs) -> Care<'_> {
    Care {
        wait: Duration::from_secs(args.wait * 60),
        identities: &args.identity,
    }
}

/// Refuses a saved plan whose basis moved.
fn still_fits(path: &PathBuf, now: &Plan) -> Result<(), CliError> {
    let text = std::fs::read_to_string(path).map_err(|e| {
        CliError::usage(format!("cannot read the plan {}: {e}", path.display()))
            .help("make one with `gantry plan --save FILE`")
    })?;
    let saved: Plan = serde_json::from_str(&text).map_err(|e| {
        CliError::usage(format!(
            "{} is not a plan saved by gantry: {e}",
            path.display()
        ))
    })?;
    let moved =
        if (&saved.site, &saved.account, &saved.region) != (&now.site, &now.account, &now.region) {
            "it was made for another site, account or region"
        } else if saved.basis.wanted != now.basis.wanted {
            "the site file (or gantry itself) wants something else now"
        } else if saved.basis.world != now.basis.world {
            "the world moved since it was made"
        } else {
            return Ok(());
        };
    Err(SessionError::Stale(moved.into()).into())
}

fn document(
    writing: &Writing,
    reading: &Reading,
    report: Option<&Report<Fault>>,
    nodes: Option<&Nodes>,
) -> serde_json::Value {
    let failed: Vec<_> = report
        .into_iter()
        .flat_map(Report::failures)
        .map(|(name, fault)| json!({"address": name, "fault": fault.to_string(), "help": fault.help()}))
        .collect();
    let done = report.map_or(0, |r| {
        r.outcomes
            .iter()
            .filter(|(_, _, o)| *o == Outcome::Done)
            .count()
    });
    json!({
        "format": 1,
        "run": writing.run,
        "site": reading.plan.site,
        "account": reading.plan.account,
        "region": reading.plan.region,
        "totals": reading.plan.totals(),
        "done": done,
        "complete": report.is_none_or(Report::complete),
        "records_by_hand": writing.session.records_by_hand(&reading.facts),
        "failed": failed,
        "nodes": nodes.map(|n| json!({"delivered": n.delivered, "boots": n.boots, "stages": n.stages})),
    })
}

fn conclude(
    app: &App,
    writing: &Writing,
    reading: &Reading,
    report: &Report<Fault>,
    took: Duration,
) -> Result<Exit, CliError> {
    let parked: Vec<_> = report
        .failures()
        .filter(|(_, f)| matches!(f, Fault::Parked { .. }))
        .collect();
    let failed: Vec<_> = report
        .failures()
        .filter(|(_, f)| !matches!(f, Fault::Parked { .. }))
        .collect();
    for (_, fault) in &parked {
        app.say.warn(&format!("\n{fault}"));
    }
    let records = writing.session.records_by_hand(&reading.facts);
    if !records.is_empty() {
        app.say.tell(&format!(
            "People reach the site once these records are where its DNS is kept:\n  {}",
            records.join("\n  ")
        ));
    }
    if !failed.is_empty() {
        let blocked = report
            .outcomes
            .iter()
            .filter(|(_, _, o)| matches!(o, Outcome::Blocked { .. }))
            .count();
        let mut error = CliError::new(
            Exit::Cloud,
            format!(
                "{} of {} steps failed; {blocked} waited for them; the rest is done",
                failed.len(),
                report.outcomes.len()
            ),
        );
        for (name, fault) in &failed {
            error = error.because(format!("{name}: {fault}"));
        }
        let mut hints: Vec<_> = failed
            .iter()
            .map(|(_, f)| f.help())
            .filter(|h| !h.is_empty())
            .collect();
        hints.dedup();
        hints.push(format!(
            "`gantry runs show {}` tells what happened; run `gantry {}` again to go on",
            app.again(&writing.run),
            app.again("install")
        ));
        return Err(error.help(hints.join("\n      ")));
    }
    if report.interrupted() {
        app.say.warn(&format!(
            "Interrupted. Everything under way is written down; run `gantry {}` again to go on.",
            app.again("install")
        ));
        return Ok(Exit::Interrupted);
    }
    // A person has to do something first: nothing goes on by itself when it is run again.
    if !parked.is_empty() {
        return Ok(Exit::Cloud);
    }
    let site = &writing.session.site.site;
    app.say.data(&format!(
        "{} stands in {} ({} resources, {}).",
        site.name,
        site.region,
        reading.blueprint.len(),
        human(took)
    ));
    app.say.tell(&format!(
        "https://{} is where it will answer; `gantry {}` lists what exists.",
        site.domain,
        app.again("status")
    ));
    if writing.session.site.network.admin_from.is_empty() {
        app.say.tell("The bastion is closed: name your networks in [network] admin_from to open its SSH port.");
    } else if writing.session.site.network.admin_keys.is_empty() {
        app.say.tell("Nobody's SSH key is on the machines: name those of your administrators in [network] admin_keys, unless your image has them.");
    }
    Ok(Exit::Done)
}
