//! What `gantry status` says of backups: the newest whole recovery point, and what runs next.

use jiff::Timestamp;
use serde::Serialize;

use super::super::CliError;
use super::show::{at, promise};
use super::start::{point, standings};
use crate::app::App;
use crate::ops::schedule::{Name, Objective, calendar};
use crate::session::Session;
use crate::site::Site;

/// The backups of a site, in short.
#[derive(Debug, Serialize)]
pub struct Backups {
    /// When the newest whole recovery point was begun.
    newest: Option<Timestamp>,
    objective: Objective,
    /// Why the recovery points could not be looked at.
    unread: Option<String>,
    next: Vec<Next>,
    #[serde(skip)]
    site: Site,
}

#[derive(Debug, Serialize)]
struct Next {
    schedule: Name,
    at: Timestamp,
}

impl Backups {
    /// One look at the recovery points. That they cannot be read is told, and hides nothing else.
    pub async fn of(app: &App, session: &Session) -> Result<Self, CliError> {
        let (site, now) = (&session.site, app.clock.now());
        let (newest, objective, unread) = match point(session, site, now).await {
            Ok((newest, objective)) => (newest.whole, objective, None),
            Err(error) => (None, Objective::Unknown, Some(error.brief().1)),
        };
        let next = standings(app, site, now)?
            .into_iter()
            .filter_map(|standing| {
                let schedule = standing.name;
                let at = *standing.next.first()?;
                Some(Next { schedule, at })
            });
        Ok(Self {
            newest,
            objective,
            unread,
            next: next.collect(),
            site: site.clone(),
        })
    }

    pub fn tell(&self, app: &App) {
        app.say.data(&match &self.unread {
            Some(why) => format!("! The recovery points could not be looked at: {why}"),
            None => promise(&self.objective, self.site.backup.rpo),
        });
        let next: Vec<String> = (self.next.iter())
            .filter_map(|next| {
                let calendar = calendar(&self.site, next.schedule).ok()??;
                Some(format!("{} {}", next.schedule, at(&calendar, next.at)))
            })
            .collect();
        if !next.is_empty() {
            app.say.data(&format!("Next runs: {}.", next.join(", ")));
        }
    }
}
