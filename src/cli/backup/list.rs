//! `gantry backup list`

use clap::Args;
use serde_json::json;

use super::super::CliError;
use super::super::open::reading;
use super::{Trust, age, describe, judged, open_points, size, tell_doubts};
use crate::app::App;
use crate::exit::Exit;
use crate::ops::point::{Health, Manifest, Purpose};
use crate::ops::prune::Judged;
use crate::ops::retention::{Fate, Verdict};
use crate::ui::{bytes, table};

/// List the recovery points, oldest first, with what keeps each.
#[derive(Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    trust: Trust,
}

pub async fn run(app: &App, args: &ListArgs) -> Result<Exit, CliError> {
    list(app, &args.trust, None).await
}

/// The list of the points of one purpose, by the site's own key.
pub async fn list_of(app: &App, only: Option<Purpose>) -> Result<Exit, CliError> {
    list(app, &Trust { key: None }, only).await
}

async fn list(app: &App, trust: &Trust, only: Option<Purpose>) -> Result<Exit, CliError> {
    let session = reading(app).await?;
    let points = open_points(&session, Some(trust)).await?;
    let plan = judged(app, &session, &points, only).await?;
    let described = plan.points.iter().map(describe);
    app.say
        .json(&json!({"format": 1, "points": described.collect::<Vec<_>>()}));
    if plan.points.is_empty() {
        app.say.data("There are no recovery points yet.");
        return Ok(Exit::Done);
    }
    let rows: Vec<_> = plan.points.iter().map(|point| row(app, point)).collect();
    app.say.data(&table(&HEADINGS, &rows));
    tell_doubts(app, &plan);
    Ok(Exit::Done)
}

const HEADINGS: [&str; 9] = [
    "POINT",
    "BEGAN (UTC)",
    "PURPOSE",
    "STATE",
    "PARTS",
    "SIZE",
    "VERIFIED",
    "DRILLED",
    "KEPT",
];

fn row(app: &App, point: &Judged) -> Vec<String> {
    let listed = &point.listed;
    let none = || "-".to_owned();
    let manifest = listed.manifest();
    let said = |what: fn(&Manifest) -> String| manifest.map_or_else(none, what);
    let marks = &listed.marks;
    let found = |health: Health, at| {
        let age = age(app.clock.since(at));
        match health {
            Health::Sound => age,
            Health::Faulty => format!("FAULTY {age}"),
        }
    };
    vec![
        listed.id.to_string(),
        said(|m| m.began.strftime("%F %H:%M").to_string()),
        said(|m| purpose(m.purpose).to_owned()),
        listed.condition().word().to_owned(),
        said(parts),
        said(|m| bytes(size(m))),
        marks
            .verified
            .as_ref()
            .map_or_else(none, |v| found(v.outcome, v.at)),
        marks
            .drilled
            .as_ref()
            .map_or_else(none, |d| found(d.outcome, d.at)),
        match point.verdict.fate {
            Fate::Keep => first_reason(&point.verdict),
            Fate::Drop => format!("goes: {}", point.verdict.why()),
        },
    ]
}

/// The weightiest of the reasons, and how many there are besides; `prune --dry-run` prints them all.
fn first_reason(verdict: &Verdict) -> String {
    let mut reasons = verdict.reasons.iter();
    let first = reasons.next().map(ToString::to_string).unwrap_or_default();
    match reasons.count() {
        0 => first,
        more => format!("{first} (+{more})"),
    }
}

fn purpose(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Full => "full",
        Purpose::Snapshot => "snapshot",
        Purpose::Partial => "partial",
    }
}

/// How many there are, and how many of them were saved where not all were.
fn parts(manifest: &Manifest) -> String {
    let all = manifest.parts.len();
    let saved = manifest.parts.iter().filter(|part| part.way().is_some());
    match saved.count() {
        saved if saved == all => all.to_string(),
        saved => format!("{saved} of {all}"),
    }
}
