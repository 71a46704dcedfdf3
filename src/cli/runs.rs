//! `gantry runs`

use clap::{Args, Subcommand};
use serde_json::json;

use super::CliError;
use super::open::site;
use crate::app::App;
use crate::engine::Event;
use crate::exit::Exit;
use crate::runs::{self, KeptRun};
use crate::ui::{human, table};

/// Tell again what each run did.
#[derive(Debug, Args)]
pub struct RunsArgs {
    #[command(subcommand)]
    what: RunsCommand,
}

#[derive(Debug, Subcommand)]
enum RunsCommand {
    /// List the runs, oldest first.
    List,
    /// Tell one run's story from its events.
    Show {
        /// The run's id, the beginning of it, or `last`.
        run: String,
    },
}

pub fn run(app: &App, args: &RunsArgs) -> Result<Exit, CliError> {
    let (site, _) = site(app)?;
    let dir = app.site_dir(site.site.name.as_ref());
    match &args.what {
        RunsCommand::List => {
            let all = runs::list(&dir)?;
            app.say
                .json(&json!({"format": 1, "runs": all.iter().map(|r| json!({
                "run": r.head.run, "verb": r.head.verb, "at": r.head.at, "outcome": outcome(r),
            })).collect::<Vec<_>>()}));
            let rows: Vec<_> = all
                .iter()
                .map(|r| {
                    vec![
                        r.head.run.clone(),
                        r.head.verb.clone(),
                        r.head.at.strftime("%F %T").to_string(),
                        outcome(r),
                    ]
                })
                .collect();
            app.say
                .data(&table(&["RUN", "VERB", "BEGAN (UTC)", "OUTCOME"], &rows));
        }
        RunsCommand::Show { run } => {
            let kept = runs::find(&dir, run)?;
            app.say
                .json(&json!({"format": 1, "head": kept.head, "lines": kept.lines}));
            app.say.data(&story(&kept));
        }
    }
    Ok(Exit::Done)
}

/// In a few words: how it ended, or that it did not.
fn outcome(run: &KeptRun) -> String {
    match run.lines.iter().rev().find_map(|l| {
        if let Event::Summary(t) = &l.what {
            Some(t)
        } else {
            None
        }
    }) {
        None => "did not end".into(),
        Some(t) if t.failed > 0 => format!("{} failed, {} done", t.failed, t.done),
        Some(t) if t.left > 0 => format!("interrupted, {} done", t.done),
        Some(t) => format!("{} done", t.done),
    }
}

fn story(run: &KeptRun) -> String {
    let mut lines = vec![format!(
        "gantry {} of {}, run {}, gantry {}",
        run.head.verb, run.head.site, run.head.run, run.head.version
    )];
    for line in &run.lines {
        let said = match &line.what {
            Event::Planned { steps, critical } => {
                format!("{} steps, usually about {}", steps.len(), human(*critical))
            }
            Event::Started { name, verb } => format!("{verb} {name}"),
            Event::Waiting { name, status, .. } => format!("{name} is {status}"),
            Event::Retrying {
                name,
                attempt,
                after,
                why,
            } => {
                format!(
                    "{name}: attempt {attempt} put off by {}: {why}",
                    human(*after)
                )
            }
            Event::Finished { name, verb, took } => {
                format!("{verb} {name}: done in {}", human(*took))
            }
            Event::Failed { name, verb, fault } => format!("{verb} {name}: FAILED: {fault}"),
            Event::Blocked { name, by, .. } => format!("{name}: not started, waits for {by}"),
            Event::Note { text } => text.clone(),
            Event::Stopping { presses } => format!("Ctrl-C ({presses})"),
            Event::Summary(t) => format!(
                "{} done, {} failed, {} blocked, {} left",
                t.done, t.failed, t.blocked, t.left
            ),
        };
        lines.push(format!("{}  {said}", line.at.strftime("%T")));
    }
    lines.join("\n")
}
