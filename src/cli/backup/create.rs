//! `gantry backup create`

use std::sync::Arc;

use clap::Args;
use serde_json::json;

use super::super::CliError;
use super::super::open::{Writing, reading, site, writing};
use super::super::taking::{
    Left, asked, carry, check_lines, conclude, document, left, only, or_exit, plan_table, planned,
    taking,
};
use crate::app::App;
use crate::exit::Exit;
use crate::ops::OpsFault;
use crate::ops::backup::{Ask, How, Mode, Taken, Taking, VERB, book, check, chosen};
use crate::ops::point::{PartName, PointId, Purpose, Rank};

/// Take a recovery point: database, Git data, objects, secrets and configuration of one moment.
///
/// Looks first whether everything is well, then saves the parts side by side, and writes the signed manifest last:
/// without it there is no point. Interrupted at any place, the next run goes on where it stopped. A part that fails
/// leaves a point that says that it is not whole. Git data is saved whole on the first of a month and as an increment
/// otherwise.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gantry backup create                           # as the timer does
  gantry backup create --dry-run                 # what would be saved, in which way, and whether it could be
  gantry backup create --only secrets --only configuration
  gantry backup create --whole                   # begin a new chain of Git data")]
pub struct CreateArgs {
    /// Save only this part; can be repeated. Such a point does not restore a site by itself.
    #[arg(long, value_name = "PART")]
    only: Vec<PartName>,
    /// Save Git data whole, and begin a new chain.
    #[arg(long, conflicts_with = "increment")]
    whole: bool,
    /// Save Git data as an increment, also on the first of a month.
    #[arg(long)]
    increment: bool,
    /// Show the plan and the checks, and stop.
    #[arg(long)]
    dry_run: bool,
}

impl CreateArgs {
    fn ask(&self) -> Ask {
        Ask {
            purpose: Purpose::Full,
            only: only(&self.only),
            rank: match (self.whole, self.increment) {
                (true, _) => Some(Rank::Whole),
                (_, true) => Some(Rank::Increment),
                _ => None,
            },
        }
    }
}

/// As a timer starts it: everything, whole or an increment as it falls due.
pub async fn scheduled(app: &App) -> Result<Exit, CliError> {
    let args = CreateArgs {
        only: vec![],
        whole: false,
        increment: false,
        dry_run: false,
    };
    run(app, &args).await
}

pub async fn run(app: &App, args: &CreateArgs) -> Result<Exit, CliError> {
    let ask = args.ask();
    if args.dry_run {
        return dry_run(app, &ask).await;
    }
    let (site, profile) = site(app)?;
    let writing = writing(app, site, profile, VERB).await?;
    app.watch_interrupts(writing.observe.clone());
    let taking = taking(app, &writing.session, &writing.run).await?;
    let parts = planned(&taking, &ask)?;
    let whole = serde_json::to_value(&ask).unwrap_or_default();
    let id = match left(app, writing.session.cx.site(), VERB, &ask, &whole)? {
        Left::Nothing => writing.run.clone(),
        Left::GoOn(id) => id,
        Left::Close(story) => {
            let before: Ask = asked(&story)?;
            take(app, &writing, &taking, &story.id, Mode::Close, &before).await?;
            writing.run.clone()
        }
    };
    app.say.tell(&plan_table(&parts));
    let taken = take(app, &writing, &taking, &id, Mode::Take, &ask).await?;
    app.say.json(&document(&taken));
    conclude(app, &taken, VERB)
}

async fn take(
    app: &App,
    writing: &Writing,
    taking: &Arc<Taking>,
    id: &str,
    mode: Mode,
    ask: &Ask,
) -> Result<Taken, CliError> {
    let parts = planned(taking, ask)?;
    let made = |point: &PointId, mode| book(taking, point, &parts, ask, mode);
    carry(app, writing, taking, id, mode, (VERB, &made)).await
}

async fn dry_run(app: &App, ask: &Ask) -> Result<Exit, CliError> {
    let session = reading(app).await?;
    let run = app.run_id();
    let taking = taking(app, &session, &run).await?;
    let parts = planned(&taking, ask)?;
    let checked = check(&taking, &parts).await;
    let me: PointId = run.parse().map_err(OpsFault::internal)?;
    let next = if parts.iter().any(|part| part.how == How::GitalyServerSide) {
        Some(chosen(&taking, &me, ask.rank).await?)
    } else {
        None
    };
    app.say.json(&json!({
        "format": 1, "parts": parts, "checks": checked.looked, "git": next,
    }));
    app.say.data(&plan_table(&parts));
    app.say.data(&format!("\n{}", check_lines(&checked)));
    if let Some(next) = &next {
        let rank = match next.rank {
            Rank::Whole => "whole",
            Rank::Increment => "an increment",
        };
        app.say
            .data(&format!("\nGit data would be {rank}: {}.", next.why));
    }
    or_exit(checked)?;
    Ok(Exit::Done)
}
