//! `gantry destroy`

use clap::Args;
use serde_json::json;

use super::CliError;
use super::open::{site, writing};
use crate::app::App;
use crate::engine::{Event, Outcome, Totals};
use crate::exit::Exit;
use crate::session::{Destroy, DestroyPlan, Fate};
use crate::ui::{Answer, ask_name, human};

/// Remove the site; data stays unless you say otherwise.
///
/// Works from what exists, not from what is remembered. Databases, Git volumes, buckets, secrets and the key that
/// encrypts them stay, with the network they need, unless --delete-data is given. Then snapshots go too, except the last
/// one of each database, which --delete-data takes first: it stays, with the key that it needs. Interrupted, run it again.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gantry destroy                             # asks for the site's name; keeps all data
  gantry destroy --delete-data               # removes everything; a final database snapshot stays
  gantry destroy --site acme --yes --delete-data --no-final-snapshot")]
pub struct DestroyArgs {
    /// The site's name, as the word that confirms (asked for otherwise).
    #[arg(long, value_name = "NAME")]
    site: Option<String>,
    /// Remove databases, Git volumes, buckets with all their versions, secrets and keys too.
    #[arg(long)]
    delete_data: bool,
    /// Take no final snapshot of the databases.
    #[arg(long, requires = "delete_data")]
    no_final_snapshot: bool,
    /// Show what would go and what would stay, and stop.
    #[arg(long)]
    dry_run: bool,
}

pub async fn run(app: &App, args: &DestroyArgs) -> Result<Exit, CliError> {
    let (site, profile) = site(app)?;
    let name = site.site.name.to_string();
    if args.site.as_ref().is_some_and(|s| *s != name) {
        return Err(CliError::usage(format!(
            "--site says {}, but the site file is for {name}",
            args.site.as_deref().unwrap_or_default()
        )));
    }
    let began = app.clock.now();
    let writing = writing(app, site, profile, "destroy").await?;
    app.watch_interrupts(writing.observe.clone());
    let final_snapshot = (args.delete_data && !args.no_final_snapshot)
        .then(|| format!("final-{}", app.clock.now().strftime("%Y%m%d-%H%M%S")));
    let choice = Destroy {
        delete_data: args.delete_data,
        final_snapshot,
    };
    let plan = writing.session.plan_destroy(&choice).await?;
    if plan.is_empty() {
        app.say.data("Nothing to remove.");
        app.say
            .json(&json!({"format": 1, "run": writing.run, "plan": plan, "complete": true}));
        tell_kept(app, &plan, &choice);
        return Ok(Exit::Done);
    }
    if args.dry_run {
        (writing.observe)(&Event::Summary(Totals::default()));
        show(app, &plan);
        app.say.json(&json!({"format": 1, "plan": plan}));
        return Ok(Exit::Changes);
    }
    // --yes alone is not enough: the name must be said.
    if !(app.assume_yes && args.site.is_some()) {
        if app.assume_yes {
            return Err(
                CliError::usage("destroy wants the site's name as well as --yes")
                    .help(format!("pass --site {name}; --dry-run shows what would go")),
            );
        }
        show(app, &plan);
        match ask_name(
            &format!("Type the site's name ({name}) to remove these:"),
            &name,
        ) {
            Answer::Yes => {}
            Answer::No => {
                return Err(CliError::usage(
                    "that is not the site's name; nothing was removed",
                ));
            }
            Answer::Nobody => {
                return Err(CliError::usage("nobody is there to confirm")
                    .help(format!("pass --yes --site {name}")));
            }
        }
    }
    let report = writing
        .session
        .destroy(&writing.run, &plan, &choice, &app.stop, &writing.observe)
        .await?;
    let failed: Vec<_> = report
        .failures()
        .map(|(n, f)| (n.to_owned(), f.clone()))
        .collect();
    app.say.json(&json!({
        "format": 1,
        "run": writing.run,
        "plan": plan,
        "complete": report.complete(),
        "failed": failed.iter().map(|(n, f)| json!({"address": n, "fault": f.to_string()})).collect::<Vec<_>>(),
    }));
    if let Some((_, first)) = failed.first() {
        let blocked = report
            .outcomes
            .iter()
            .filter(|(_, _, o)| matches!(o, Outcome::Blocked { .. }))
            .count();
        let mut error = CliError::new(
            Exit::Cloud,
            format!(
                "{} of {} removals failed; {blocked} waited for them; the rest is gone",
                failed.len(),
                report.outcomes.len()
            ),
        );
        for (name, fault) in &failed {
            error = error.because(format!("{name}: {fault}"));
        }
        return Err(error.help(format!(
            "{}\n      run the same command again to go on",
            first.help()
        )));
    }
    if report.interrupted() {
        app.say
            .warn("Interrupted; run the same command again to go on.");
        return Ok(Exit::Interrupted);
    }
    app.say.data(&format!(
        "{name} is gone ({} resources, {}).",
        plan.delete.len(),
        human(app.clock.since(began))
    ));
    tell_kept(app, &plan, &choice);
    if let Some(suffix) = &choice.final_snapshot
        && plan
            .delete
            .iter()
            .any(|a| a.kind().as_str() == "rds/db_instance")
    {
        app.say.tell(&format!(
            "Final database snapshots, which cost money until you delete them, end in {suffix}."
        ));
    }
    Ok(Exit::Done)
}

fn show(app: &App, plan: &DestroyPlan) {
    for address in &plan.delete {
        app.say.data(&format!("- {address}"));
    }
    for address in &plan.keep {
        app.say.data(&format!("= {address}  (stays)"));
    }
    for snapshot in &plan.snapshots {
        let line = match snapshot.fate {
            Fate::Goes => format!("- {}", snapshot.name()),
            Fate::Stays => format!("= {}  (stays)", snapshot.name()),
        };
        app.say.data(&line);
    }
    let going = plan.snapshots.iter().filter(|s| s.goes()).count();
    app.say.data(&format!(
        "{} to remove, {} stay.",
        plan.delete.len() + going,
        plan.keep.len() + plan.snapshots.len() - going
    ));
}

fn tell_kept(app: &App, plan: &DestroyPlan, choice: &Destroy) {
    if !choice.delete_data && !plan.keep.is_empty() {
        app.say.tell(&format!(
            "{} resources stay: data, and what it leans on. `gantry destroy --delete-data` removes them too.",
            plan.keep.len()
        ));
    }
    for snapshot in plan.snapshots.iter().filter(|s| !s.goes()) {
        app.say.tell(&format!("{} stays.", snapshot.name()));
    }
    if choice.delete_data && !plan.keep.is_empty() {
        let keys: Vec<String> = plan.keep.iter().map(ToString::to_string).collect();
        app.say.tell(&format!(
            "{} stays: database snapshots are encrypted with it. Once you have deleted those, run destroy again.",
            keys.join(", ")
        ));
    }
    if let Some(region) = &plan.copies_in {
        app.say.tell(&format!(
            "Copies of snapshots in {region}, and their key there, are not touched."
        ));
    }
}
