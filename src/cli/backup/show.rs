//! `gantry backup show`

use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::super::CliError;
use super::super::open::reading;
use super::{Trust, age, doubts, open_points};
use crate::app::App;
use crate::exit::Exit;
use crate::ops::drill::Proof;
use crate::ops::point::{
    Drilled, Edition, Health, Listed, Manifest, Outcome, Part, PointId, Trusted,
};
use crate::ui::{bytes, human, table};

/// Show one recovery point: what it is of, its parts, and what was found out about it.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The point's id, as `gantry backup list` shows it.
    point: PointId,
    #[command(flatten)]
    trust: Trust,
}

pub async fn run(app: &App, args: &ShowArgs) -> Result<Exit, CliError> {
    let session = reading(app).await?;
    let points = open_points(&session, Some(&args.trust)).await?;
    let listed = points.read(&args.point).await?;
    let marks = &listed.marks;
    app.say.json(&json!({
        "format": 1,
        "id": listed.id,
        "condition": listed.condition(),
        "trusted": points.trusted().to_string(),
        "manifest": listed.manifest(),
        "marks": {
            "verified": marks.verified, "drilled": marks.drilled, "pinned": marks.pinned, "dropping": marks.dropping,
        },
        "doubts": doubts(&listed),
    }));
    app.say.data(&told(app, &listed, points.trusted()));
    Ok(Exit::Done)
}

/// A point as text.
fn told(app: &App, listed: &Listed, trusted: Trusted) -> String {
    let mut lines = vec![format!("{}  {}", listed.id, listed.condition().word())];
    let mut line = |name: &str, value: String| lines.push(format!("  {name:<10} {value}"));
    if let Some(manifest) = listed.manifest() {
        head(manifest, &mut line);
        line("key", trusted.to_string());
    }
    let marks = &listed.marks;
    let ago = |at| age(app.clock.since(at));
    if let Some(verified) = &marks.verified {
        let found = match verified.outcome {
            Health::Sound => "sound".to_owned(),
            Health::Faulty => format!("FAULTY: {}", verified.findings.join("; ")),
        };
        let share = verified.share;
        line(
            "verified",
            format!("{}, {share} % of the data read: {found}", ago(verified.at)),
        );
    }
    if let Some(drilled) = &marks.drilled {
        line(
            "drilled",
            format!("{}: {}", ago(drilled.at), what_came(drilled)),
        );
    }
    if let Some(pin) = &marks.pinned {
        line(
            "pinned",
            format!("by {}, {}: {}", pin.by, ago(pin.at), pin.why),
        );
    }
    if let Some(dropping) = &marks.dropping {
        line(
            "dropping",
            format!("since {} (run {})", ago(dropping.at), dropping.run),
        );
    }
    for doubt in doubts(listed) {
        line("doubt", doubt);
    }
    if let Some(manifest) = listed.manifest() {
        lines.push(String::new());
        lines.push(table(
            &["PART", "BEGAN (UTC)", "SIZE", "HOW"],
            &part_rows(manifest),
        ));
    }
    lines.join("\n")
}

/// What a drill came to. The mark is signed, but a later gantry may have written it in other words.
fn what_came(drilled: &Drilled) -> String {
    let proof: Option<Proof> = serde_json::from_value(drilled.proof.clone()).ok();
    match drilled.outcome {
        Health::Sound => match proof.and_then(|proof| proof.rto_seconds) {
            Some(rto) => format!(
                "it restores, from nothing in {}",
                human(Duration::from_secs(rto))
            ),
            None => "it restores".to_owned(),
        },
        Health::Faulty => {
            let findings = proof.map(|proof| proof.findings).unwrap_or_default();
            if findings.is_empty() {
                "it does NOT restore".to_owned()
            } else {
                format!("it does NOT restore: {}", findings.join("; "))
            }
        }
    }
}

fn head(manifest: &Manifest, line: &mut impl FnMut(&str, String)) {
    let (site, by) = (&manifest.site, &manifest.by);
    line(
        "site",
        format!(
            "{} ({}) in {}, account {}",
            site.name, site.domain, site.region, site.account
        ),
    );
    let edition = match manifest.gitlab.edition {
        Edition::Ee => "ee",
        Edition::Ce => "ce",
    };
    line("GitLab", format!("{}-{edition}", manifest.gitlab.version));
    let engine = |name: &str, version: &Option<String>| {
        let version = version.as_deref().unwrap_or("in the box");
        format!("{name} {version}")
    };
    line(
        "engines",
        format!(
            "{}, {}",
            engine("PostgreSQL", &manifest.engines.postgresql),
            engine("Valkey", &manifest.engines.valkey)
        ),
    );
    line("profile", manifest.profile.clone());
    let moment = |at: jiff::Timestamp| at.strftime("%F %T").to_string();
    line(
        "taken",
        format!(
            "{} to {} UTC, its parts within {}",
            moment(manifest.began),
            moment(manifest.ended),
            human(manifest.skew())
        ),
    );
    line(
        "by",
        format!(
            "{} on {}, run {}, gantry {}",
            by.user, by.host, by.run, by.gantry
        ),
    );
    if let Some(chain) = manifest.chain() {
        let place = match &chain.previous {
            None => "begins here".to_owned(),
            Some(previous) => format!("begins with {}, adds to {previous}", chain.first),
        };
        line("chain", place);
    }
}

fn part_rows(manifest: &Manifest) -> Vec<Vec<String>> {
    let parts = manifest.parts.iter();
    let row = |part: &Part| {
        let how = match &part.outcome {
            Outcome::Failed { why } => format!("FAILED: {why}"),
            // The tag of the way is its word.
            Outcome::Saved(way) => match serde_json::to_value(way) {
                Ok(value) => value["way"].as_str().unwrap_or_default().replace('-', " "),
                Err(_) => String::new(),
            },
        };
        vec![
            part.name.to_string(),
            part.began.strftime("%F %T").to_string(),
            bytes(part.bytes),
            how,
        ]
    };
    parts.map(row).collect()
}
