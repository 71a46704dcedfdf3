//! Parse, run, exit code; nothing else.

use std::process::ExitCode;

use clap::Parser;
use gantry::cli::{self, Cli};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let Ok(runtime) = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    else {
        return gantry::exit::Exit::Unexpected.into();
    };
    let exit = runtime.block_on(cli::run(cli));
    // Waits that were dropped on an interrupt must not hold the process.
    runtime.shutdown_background();
    exit.into()
}
