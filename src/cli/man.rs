//! `gantry man`

use std::path::PathBuf;

use clap::Args;

use super::CliError;
use crate::exit::Exit;

/// Write the manual pages.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// The folder for gantry.1 and one page a verb; without it, gantry.1 goes to stdout.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub fn run(args: &ManArgs) -> Result<Exit, CliError> {
    let cannot = |e: std::io::Error| CliError::usage(format!("cannot write the manual: {e}"));
    match &args.out {
        Some(dir) => {
            std::fs::create_dir_all(dir).map_err(cannot)?;
            clap_mangen::generate_to(super::command(), dir).map_err(cannot)?;
        }
        None => clap_mangen::Man::new(super::command())
            .render(&mut std::io::stdout())
            .map_err(cannot)?,
    }
    Ok(Exit::Done)
}
