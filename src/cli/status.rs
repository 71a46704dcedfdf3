//! `gantry status`

use clap::Args;
use serde_json::json;

use super::CliError;
use super::open::reading;
use super::schedule::Backups;
use crate::app::App;
use crate::exit::Exit;
use crate::inventory::Inventory;
use crate::journal::RunLock;
use crate::plan::Action;
use crate::session::InstallOptions;
use crate::ui::{table, totals_line};

/// Show what exists, and how it differs from what is wanted.
///
/// Looks at the live world: machines with what became of their last boot and what the load balancers think of them,
/// endpoints, drift, the newest whole recovery point and the next runs of the schedules. Writes nothing.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// List every resource, not only nodes and endpoints.
    #[arg(long)]
    all: bool,
}

pub async fn run(app: &App, args: &StatusArgs) -> Result<Exit, CliError> {
    let session = reading(app).await?;
    let reading = session.read(&InstallOptions::default()).await?;
    let machines = session.machines(&reading).await?;
    let inventory = Inventory::of(&session.site, &reading.survey, machines);
    let drift: Vec<_> = reading
        .plan
        .changes
        .iter()
        .filter(|c| c.action != Action::Keep)
        .collect();
    let running = RunLock::holder(&app.site_dir(session.cx.site()));
    let backups = Backups::of(app, &session).await?;
    app.say.json(&json!({
        "format": 1,
        "site": session.cx.site(),
        "account": reading.plan.account,
        "region": reading.plan.region,
        "inventory": inventory,
        "drift": drift,
        "totals": reading.plan.totals(),
        "running": running,
        "backups": backups,
    }));
    app.say.data(&format!(
        "{}  profile {}, account {}, region {}\n",
        session.cx.site(),
        session.site.site.profile,
        reading.plan.account,
        reading.plan.region
    ));
    if let Some(holder) = &running {
        app.say.data(&format!(
            "Under way: gantry {} by {} since {}\n",
            holder.verb, holder.user, holder.since
        ));
    }
    if reading.survey.found.is_empty() {
        app.say
            .data("Nothing exists yet; `gantry install` makes it.");
        return Ok(Exit::Done);
    }
    app.say.data(&inventory.text());
    if args.all {
        let rows = reading
            .survey
            .found
            .values()
            .map(|f| vec![f.address.to_string(), id_text(&f.id)])
            .collect::<Vec<_>>();
        app.say
            .data(&format!("\n{}", table(&["RESOURCE", "ID"], &rows)));
    } else {
        app.say.data(&format!(
            "\n{} resources in all; --all lists them.",
            reading.survey.found.len()
        ));
    }
    for (address, times) in &reading.survey.doubles {
        app.say.data(&format!(
            "! {address} exists {times} times: more than one thing carries its tags"
        ));
    }
    backups.tell(app);
    app.say.data(&totals_line(&reading.plan));
    if !drift.is_empty() {
        app.say
            .data("`gantry plan` shows the differences, `gantry install` puts them right.");
    }
    Ok(Exit::Done)
}

fn id_text(id: &serde_json::Value) -> String {
    match id {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
