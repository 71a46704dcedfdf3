//! `gantry completions`

use clap::Args;
use clap_complete::Shell;

use crate::exit::Exit;

/// Print completions for a shell.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  gantry completions bash > ~/.local/share/bash-completion/completions/gantry")]
pub struct CompletionsArgs {
    /// bash, zsh, fish, elvish or powershell.
    shell: Shell,
}

pub fn run(args: &CompletionsArgs) -> Exit {
    clap_complete::generate(
        args.shell,
        &mut super::command(),
        "gantry",
        &mut std::io::stdout(),
    );
    Exit::Done
}
