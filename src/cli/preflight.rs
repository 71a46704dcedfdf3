//! `gantry preflight`

use clap::Args;
use serde_json::json;

use super::CliError;
use super::open::reading;
use crate::app::App;
use crate::exit::Exit;
use crate::session::Verdict;

/// Check everything that can be checked before the first write.
///
/// Identity, instance types per zone, DNS, the plan itself, names that must be unique in the world, permissions by IAM's
/// simulator, and quotas against what the plan makes and what the account has already. Changes nothing. Exits with 8
/// when a check fails.
#[derive(Debug, Args)]
pub struct PreflightArgs {}

pub async fn run(app: &App, _: &PreflightArgs) -> Result<Exit, CliError> {
    let checks = reading(app).await?.preflight().await?;
    let failed = checks.iter().filter(|c| c.verdict == Verdict::Fail).count();
    app.say
        .json(&json!({"format": 1, "checks": checks, "failed": failed}));
    for check in &checks {
        let word = match check.verdict {
            Verdict::Pass => "pass",
            Verdict::Warn => "warn",
            Verdict::Fail => "FAIL",
        };
        app.say
            .data(&format!("{word}  {:<11} {}", check.name, check.seen));
        if !check.help.is_empty() {
            app.say.data(&format!("      {:<11} {}", "", check.help));
        }
    }
    Ok(if failed == 0 { Exit::Done } else { Exit::Check })
}
