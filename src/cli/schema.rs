//! `gantry schema`

use clap::Args;

use crate::app::App;
use crate::exit::Exit;
use crate::site;
use crate::ui::Output;

/// Print the JSON schema of the site file, for editors.
#[derive(Debug, Args)]
pub struct SchemaArgs {}

pub fn run(app: &App) -> Exit {
    let schema = site::schema();
    match app.say.output {
        Output::Json => app.say.json(&schema),
        Output::Text => app
            .say
            .data(&serde_json::to_string_pretty(&schema).unwrap_or_default()),
    }
    Exit::Done
}
