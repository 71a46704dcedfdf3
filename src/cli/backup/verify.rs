//! `gantry backup verify`

use clap::Args;
use serde_json::{Value, json};

use super::super::CliError;
use super::super::open::{site, writing};
use super::super::taking::{ground, points};
use crate::app::App;
use crate::engine::{Event, Totals};
use crate::exit::Exit;
use crate::ops::point::{Condition, Listed, PointId};
use crate::ops::transfer::Share;
use crate::ops::verify::{Examined, Look, examine_listed, note};

/// The verb, in the record of runs.
const VERB: &str = "backup verify";

/// Look whether recovery points are what their manifests say.
///
/// Checks the signature, that every part is there with its size, that chains are complete, that snapshots and their
/// copies can be restored, that sealed secrets open and fit their database, and that the parts are of one moment. What
/// it finds is written on the point, signed. Exits with 8 when something is wrong.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gantry backup verify                           # the newest point
  gantry backup verify --all --read-data 5%      # every point, and a twentieth of all data, as the weekly timer may
  gantry backup verify 20261125T023000Z-1a2b3c --read-data 100%")]
pub struct VerifyArgs {
    /// The point's id, as `gantry backup list` shows it; the newest whole one if none is named.
    #[arg(conflicts_with_all = ["latest", "all"])]
    point: Option<PointId>,
    /// The newest whole point.
    #[arg(long, conflicts_with = "all")]
    latest: bool,
    /// Every point.
    #[arg(long)]
    all: bool,
    /// How much of the data to read back; other objects each time.
    #[arg(long, value_name = "SHARE", default_value = "0%")]
    read_data: Share,
    /// Every whole point, the newest first, and the data of that one alone: versions of objects are the same in many points,
    /// and a timer has a day at the most.
    #[arg(skip)]
    by_timer: bool,
}

/// How much a timer reads back each time, in the words of the option.
const SCHEDULED_SHARE: &str = "5%";

/// As a timer starts it: every whole point, and a part of the newest one's data.
pub async fn scheduled(app: &App) -> Result<Exit, CliError> {
    let args = VerifyArgs {
        point: None,
        latest: false,
        all: true,
        read_data: SCHEDULED_SHARE.parse().map_err(CliError::usage)?,
        by_timer: true,
    };
    run(app, &args).await
}

pub async fn run(app: &App, args: &VerifyArgs) -> Result<Exit, CliError> {
    let (site, profile) = site(app)?;
    let writing = writing(app, site, profile, VERB).await?;
    app.watch_interrupts(writing.observe.clone());
    let session = &writing.session;
    let ground = ground(app, session).await?;
    let (signer, points) = points(session).await?;
    let chosen = match &args.point {
        Some(id) => vec![points.read(id).await?],
        None if args.by_timer => whole(points.list().await?)?,
        None => choose(points.list().await?, args.all)?,
    };
    let mut seed = [0; 8];
    // Without randomness the same objects are read each time.
    let _ = getrandom::fill(&mut seed);
    let mut look = Look {
        read: args.read_data,
        seed: u64::from_le_bytes(seed),
    };
    let mut found = Vec::new();
    for listed in &chosen {
        if args.by_timer && !found.is_empty() {
            look.read = Share::NONE;
        }
        let examined = examine_listed(&ground, &points, listed, look).await?;
        tell(app, &examined);
        // Nobody signs a word about what was not signed.
        if examined.manifest.is_some() {
            let now = app.clock.now();
            note(&points, &signer, &examined, percent(look.read), now).await?;
        }
        found.push(examined);
    }
    (writing.observe)(&Event::Summary(Totals {
        done: found.len(),
        ..Totals::default()
    }));
    let bad = found.iter().filter(|examined| !examined.is_sound()).count();
    app.say.json(&json!({
        "format": 1,
        "read_data": args.read_data.to_string(),
        "points": found.iter().map(document).collect::<Vec<_>>(),
        "sound": bad == 0,
    }));
    if bad > 0 {
        app.say.warn(&format!(
            "{bad} of {} points are not what their manifests say.",
            found.len()
        ));
        return Ok(Exit::Check);
    }
    Ok(Exit::Done)
}

/// The whole points, the newest first. One that failed has been told of when it failed.
fn whole(all: Vec<Listed>) -> Result<Vec<Listed>, CliError> {
    let whole = all.into_iter().rev();
    let whole: Vec<Listed> = whole
        .filter(|listed| {
            !matches!(
                listed.condition(),
                Condition::Dropping | Condition::Incomplete | Condition::Unfinished
            )
        })
        .collect();
    if whole.is_empty() {
        Err(none())
    } else {
        Ok(whole)
    }
}

fn none() -> CliError {
    CliError::new(Exit::Check, "there is no whole recovery point")
        .help("take one with `gantry backup create`")
}

/// The points to look at.
fn choose(all: Vec<Listed>, every: bool) -> Result<Vec<Listed>, CliError> {
    if every {
        let chosen: Vec<Listed> = all
            .into_iter()
            // What is being removed is no point any more, and its parts are missing by intention.
            .filter(|listed| listed.condition() != Condition::Dropping)
            .collect();
        return if chosen.is_empty() {
            Err(none())
        } else {
            Ok(chosen)
        };
    }
    // The newest, whatever can be said of it, unless it never became a point.
    let newest = all.into_iter().rev().find(|listed| {
        !matches!(
            listed.condition(),
            Condition::Dropping | Condition::Unfinished | Condition::Incomplete
        )
    });
    newest.map(|listed| vec![listed]).ok_or_else(none)
}

fn percent(share: Share) -> u8 {
    let text = share.to_string();
    let number: f64 = text.trim_end_matches('%').parse().unwrap_or_default();
    format!("{:.0}", number.floor()).parse().unwrap_or(0)
}

fn tell(app: &App, examined: &Examined) {
    let counted = format!(
        "{} things looked at, {} read back",
        examined.seen, examined.read
    );
    if examined.is_sound() {
        app.say.data(&format!("{}: sound ({counted})", examined.id));
    } else {
        app.say
            .data(&format!("{}: FAULTY ({counted})", examined.id));
    }
    for finding in &examined.findings {
        app.say.data(&format!("  {finding}"));
        if !finding.help.is_empty() {
            app.say.data(&format!("    {}", finding.help));
        }
    }
    for doubt in &examined.doubts {
        app.say.warn(&format!("{}: {doubt}", examined.id));
    }
}

fn document(examined: &Examined) -> Value {
    json!({
        "id": examined.id,
        "sound": examined.is_sound(),
        "findings": examined.findings,
        "doubts": examined.doubts,
        "seen": examined.seen,
        "read": examined.read,
    })
}
