//! `gantry man`

use std::path::PathBuf;

use clap::Args;

use super::CliError;
use crate::app::App;
use crate::exit::Exit;

/// Write the manual pages.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// The folder for gantry.1 and one page a verb; without it, gantry.1 goes to stdout.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub fn run(app: &App, args: &ManArgs) -> Result<Exit, CliError> {
    let cannot = |e: std::io::Error| CliError::usage(format!("cannot write the manual: {e}"));
    match &args.out {
        Some(dir) => {
            std::fs::create_dir_all(dir).map_err(cannot)?;
            clap_mangen::generate_to(super::command(), dir).map_err(cannot)?;
        }
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(super::command())
                .render(&mut page)
                .map_err(cannot)?;
            app.say.file(&page);
        }
    }
    Ok(Exit::Done)
}
