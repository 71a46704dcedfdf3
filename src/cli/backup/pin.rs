//! `gantry backup pin` and `gantry backup unpin`

use clap::Args;
use serde_json::json;

use super::super::CliError;
use super::super::open::{site, writing};
use super::{points_of, signer};
use crate::app::App;
use crate::engine::{Event, Totals};
use crate::exit::Exit;
use crate::ops::point::{Condition, Mark, Pin, PointId};

/// Keep a recovery point whatever its age.
#[derive(Debug, Args)]
pub struct PinArgs {
    /// The point's id.
    point: PointId,
    /// Why, for those who find the pin later.
    #[arg(long, value_name = "TEXT")]
    why: String,
}

/// Let a pinned recovery point grow old like the others.
#[derive(Debug, Args)]
pub struct UnpinArgs {
    /// The point's id.
    point: PointId,
    /// Why, for the record.
    #[arg(long, value_name = "TEXT", default_value = "")]
    why: String,
}

pub async fn pin(app: &App, args: &PinArgs) -> Result<Exit, CliError> {
    let why = args.why.trim();
    if why.is_empty() {
        return Err(CliError::usage("--why is empty")
            .help("say why the point is kept, for those who find the pin later"));
    }
    mark(app, &args.point, why, Pinning::On).await
}

pub async fn unpin(app: &App, args: &UnpinArgs) -> Result<Exit, CliError> {
    mark(app, &args.point, &args.why, Pinning::Off).await
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Pinning {
    On,
    Off,
}

async fn mark(app: &App, id: &PointId, why: &str, pinning: Pinning) -> Result<Exit, CliError> {
    let (site, profile) = site(app)?;
    let verb = match pinning {
        Pinning::On => "backup pin",
        Pinning::Off => "backup unpin",
    };
    let writing = writing(app, site, profile, verb).await?;
    let signer = signer(&writing.session).await?;
    let points = points_of(&writing.session, signer.trusted())?;
    let listed = points.read(id).await?;
    match listed.condition() {
        Condition::Whole | Condition::Incomplete => {}
        other => {
            return Err(CliError::usage(format!("{id} is {}", other.word()))
                .help("only a point that is there and signed can be kept; `gantry backup list` shows them"));
        }
    }
    let pinned = listed.marks.pinned.is_some();
    if pinning == Pinning::Off && !pinned {
        app.say.data(&format!("{id} is not pinned."));
    } else {
        let pin = Pin {
            at: app.clock.now(),
            by: app.user.clone(),
            why: why.to_owned(),
        };
        let mark = match pinning {
            Pinning::On => Mark::Pinned(pin),
            Pinning::Off => Mark::Unpinned(pin),
        };
        points.mark(&signer, id, &mark).await?;
        app.say.data(&match pinning {
            Pinning::On => format!("{id} is pinned: it stays until it is unpinned."),
            Pinning::Off => format!("{id} is not pinned any more: [backup.keep] decides about it."),
        });
    }
    (writing.observe)(&Event::Summary(Totals {
        done: 1,
        ..Totals::default()
    }));
    let now = pinning == Pinning::On;
    app.say.json(&json!({"format": 1, "id": id, "pinned": now}));
    Ok(Exit::Done)
}
