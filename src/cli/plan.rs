//! `gantry plan`

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::CliError;
use super::open::reading;
use crate::app::App;
use crate::exit::Exit;
use crate::resource::Address;
use crate::session::InstallOptions;
use crate::ui::plan_text;

/// Show what install would change, and why; writes nothing.
///
/// Compares the site file with what is there. Exits with 0 when nothing would change and with 3 when something
/// would. A hand-made change to anything gantry manages shows up here as an update.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gantry plan
  gantry plan --save tonight.json      # later: gantry install --plan tonight.json
  gantry plan --output json | jq '.totals'")]
pub struct PlanArgs {
    /// Keep the plan in this file, for `gantry install --plan`.
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Data-bearing resources that may be removed and made anew, for example rds/db_instance:main.
    #[arg(long, value_name = "ADDRESS")]
    replace: Vec<Address>,
}

pub async fn run(app: &App, args: &PlanArgs) -> Result<Exit, CliError> {
    let session = reading(app).await?;
    let options = InstallOptions {
        replace: args.replace.iter().cloned().collect::<BTreeSet<_>>(),
    };
    let reading = session.read(&options).await?;
    let plan = &reading.plan;
    app.say.data(&plan_text(plan));
    app.say.json(&json!({
        "format": 1,
        "site": plan.site,
        "account": plan.account,
        "region": plan.region,
        "changes": plan.changes,
        "refused": plan.refused,
        "impossible": plan.impossible,
        "totals": plan.totals(),
        "basis": plan.basis,
    }));
    if let Some(path) = &args.save {
        let text = serde_json::to_string_pretty(plan).unwrap_or_default();
        std::fs::write(path, text + "\n").map_err(|e| {
            CliError::usage(format!("cannot write the plan to {}: {e}", path.display()))
        })?;
        app.say.tell(&format!(
            "Saved; carry it out with `gantry install --plan {}`.",
            path.display()
        ));
    }
    Ok(if plan.is_empty() {
        Exit::Done
    } else {
        Exit::Changes
    })
}
