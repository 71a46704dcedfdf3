//! `gantry size`

use clap::Args;
use serde_json::json;

use super::CliError;
use crate::app::App;
use crate::exit::Exit;
use crate::profile;

/// Pick the reference size for a number of users or a request rate.
///
/// GitLab sizes by peak requests a second; 20 API requests a second for each 1,000 users is its rule of thumb.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("load").required(true).multiple(true))]
pub struct SizeArgs {
    /// How many people will use it.
    #[arg(long, group = "load", value_name = "N")]
    users: Option<u32>,
    /// Peak requests a second.
    #[arg(long, group = "load", value_name = "N")]
    rps: Option<u32>,
}

pub fn run(app: &App, args: &SizeArgs) -> Result<Exit, CliError> {
    let choice = profile::size(args.users, args.rps).map_err(|e| CliError::usage(e.to_string()))?;
    app.say
        .json(&json!({"format": 1, "profile": choice.profile, "reason": choice.reason}));
    app.say
        .data(&format!("{}\n{}", choice.profile, choice.reason));
    Ok(Exit::Done)
}
