//! `gantry schedule show`

use serde::Serialize;
use serde_json::json;

use super::super::CliError;
use super::super::hosts::hosts;
use super::super::open::{reading, site};
use super::place::appliance;
use super::start::{point, standings};
use crate::app::App;
use crate::exit::Exit;
use crate::ops::schedule::{
    Calendar, Layout, Name, Objective, Records, ScheduleFault, Standing, calendar, standing,
};
use crate::shell::{RemotePath, ShellFault};
use crate::site::{Rpo, Site};
use crate::ui::{human, table};

/// Where the records are from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "from")]
enum Source {
    Here,
    Appliance {
        host: String,
    },
    /// The appliance host could not be asked.
    HereInstead {
        why: String,
    },
}

pub async fn show(app: &App, here: bool) -> Result<Exit, CliError> {
    let (site, _) = site(app)?;
    let now = app.clock.now();
    let (standings, source) = if here || app.appliance().is_some() {
        (standings(app, &site, now)?, Source::Here)
    } else {
        match remote(app, &site).await {
            Ok((standings, host)) => (standings, Source::Appliance { host }),
            Err(error) => {
                let (_, why) = error.brief();
                (standings(app, &site, now)?, Source::HereInstead { why })
            }
        }
    };
    let objective = match reading(app).await {
        Ok(session) => point(&session, &site, now).await?.1,
        Err(_) => Objective::Unknown,
    };
    app.say.json(&json!({
        "format": 1,
        "site": site.site.name.to_string(),
        "timezone": site.backup.timezone.to_string(),
        "rpo": site.backup.rpo.to_string(),
        "records": source,
        "schedules": standings,
        "objective": objective,
    }));
    text(app, &site, &standings, &objective, &source)?;
    Ok(Exit::Done)
}

/// The records of the appliance host.
async fn remote(app: &App, site: &Site) -> Result<(Vec<Standing>, String), CliError> {
    let session = reading(app).await?;
    let (_, node) = appliance(&session)?;
    let layout = Layout::new(session.cx.site(), &node);
    let shell = hosts(app, &session, &[]).await?.shell(&node)?;
    let now = app.clock.now();
    let mut standings = Vec::new();
    for name in Name::ALL {
        let path = format!("{}/schedule/{name}.jsonl", layout.state());
        let path = RemotePath::new(path)
            .ok_or_else(|| CliError::new(Exit::Unexpected, "the records have no path"))?;
        let text = match shell.get(&path.clone().sudo()).await {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(ShellFault::Missing { .. }) => String::new(),
            Err(fault) => return Err(fault.into()),
        };
        let place = format!("{node}:{path}");
        let records = Records::parse(&place, &text).map_err(ScheduleFault::from)?;
        let said = name.of(&site.backup.schedule).to_string();
        let calendar = calendar(site, name)?;
        standings.push(standing(name, &said, calendar.as_ref(), &records, now));
    }
    Ok((standings, node))
}

fn text(
    app: &App,
    site: &Site,
    standings: &[Standing],
    objective: &Objective,
    source: &Source,
) -> Result<(), CliError> {
    let mut rows = Vec::new();
    let mut late = Vec::new();
    for standing in standings {
        let calendar = calendar(site, standing.name)?;
        rows.push(row(standing, calendar.as_ref()));
        if let (Some(since), Some(calendar)) = (standing.overdue, &calendar) {
            late.push(format!(
                "! {} is overdue since {}",
                standing.name,
                at(calendar, since)
            ));
        }
    }
    let headings = ["SCHEDULE", "WHEN", "NEXT", "LAST", "RESULT", "TOOK"];
    app.say.data(&table(&headings, &rows));
    for standing in standings {
        if let (Some(calendar), [_, then @ ..]) =
            (calendar(site, standing.name)?, standing.next.as_slice())
        {
            let then: Vec<_> = then.iter().map(|run| at(&calendar, *run)).collect();
            app.say.data(&format!(
                "{} after that: {}",
                standing.name,
                then.join(", ")
            ));
        }
    }
    app.say.data("");
    app.say
        .data(&format!("Times are in {}.", site.backup.timezone));
    app.say.data(&match source {
        Source::Here => "Last runs as recorded on this machine.".to_owned(),
        Source::Appliance { host } => format!("Last runs as recorded on {host}."),
        Source::HereInstead { why } => format!(
            "Last runs as recorded on this machine; the appliance host could not be asked: {why}"
        ),
    });
    for line in late {
        app.say.data(&line);
    }
    app.say.data(&promise(objective, site.backup.rpo));
    Ok(())
}

/// Whether the promise of the site file is kept, in a sentence.
pub(super) fn promise(objective: &Objective, rpo: Rpo) -> String {
    match objective {
        Objective::Unknown => format!("Objective {rpo}: nobody has looked at the recovery points."),
        Objective::NoPoint => format!("! Objective {rpo}: there is no whole recovery point."),
        Objective::Kept { .. } | Objective::Missed { .. } => {
            let age = human(objective.age().unwrap_or_default());
            let (mark, word) = if objective.missed() {
                ("! ", "missed")
            } else {
                ("", "kept")
            };
            format!("{mark}Objective {rpo}: {word}, the newest whole recovery point is {age} old.")
        }
    }
}

fn row(standing: &Standing, calendar: Option<&Calendar>) -> Vec<String> {
    let next = calendar.zip(standing.next.first());
    let last = standing.last.as_ref();
    let result = match last.map(|turn| &turn.ended) {
        None => "-".to_owned(),
        Some(None) => "no end yet".to_owned(),
        Some(Some(ended)) if ended.good() => "done".to_owned(),
        Some(Some(ended)) => format!("failed ({})", ended.exit),
    };
    let began = last.map(|turn| match calendar {
        Some(calendar) => at(calendar, turn.began),
        None => turn.began.to_string(),
    });
    let took = last.and_then(|turn| turn.took()).map(human);
    let dash = || "-".to_owned();
    vec![
        standing.name.to_string(),
        standing.schedule.clone(),
        next.map_or_else(dash, |(calendar, run)| at(calendar, *run)),
        began.unwrap_or_else(dash),
        result,
        took.unwrap_or_else(dash),
    ]
}

/// `Wed 2026-11-25 02:30 +01:00`
pub(super) fn at(calendar: &Calendar, moment: jiff::Timestamp) -> String {
    calendar.local(moment).strftime("%a %F %R %:z").to_string()
}
