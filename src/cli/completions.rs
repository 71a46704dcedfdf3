//! `gantry completions`

use clap::Args;
use clap_complete::Shell;

use crate::app::App;
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

pub fn run(app: &App, args: &CompletionsArgs) -> Exit {
    // Not straight to stdout: whoever reads only its first lines would make clap_complete panic.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::command(), "gantry", &mut script);
    app.say.file(&script);
    Exit::Done
}
