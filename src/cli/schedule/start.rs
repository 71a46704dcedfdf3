//! `gantry schedule run`, and what a failed unit starts.

use std::path::Path;

use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::super::CliError;
use super::super::open::{reading, site};
use super::super::taking::points;
use super::super::{backup, drill, snapshot};
use crate::app::App;
use crate::exit::Exit;
use crate::journal::Holder;
use crate::ops::point::{Condition, Health, Purpose};
use crate::ops::schedule::{
    self, Ended, Job, Message, Name, Objective, Records, Took, Turn, When, Work, calendar, measure,
    objective, publish, standing, textfile, topic_arn, write_textfile,
};
use crate::session::Session;
use crate::site::Site;

/// A verb, as the timers start it.
type Verb = for<'a> fn(&'a App) -> BoxFuture<'a, Result<Exit, CliError>>;

/// What this gantry can start. What is not in the table is refused.
const VERBS: &[(Name, Verb)] = &[
    (Name::Snapshot, |app| Box::pin(snapshot::scheduled(app))),
    (Name::Full, |app| Box::pin(backup::create::scheduled(app))),
    (Name::Verify, |app| Box::pin(backup::verify::scheduled(app))),
    (Name::Drill, |app| Box::pin(drill::scheduled(app))),
];

/// What the recovery points of a site say.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Newest {
    /// When the newest whole one was begun; none without any.
    pub whole: Option<Timestamp>,
    /// When a drill last showed that one restores.
    pub drilled: Option<Timestamp>,
}

async fn newest(session: &Session) -> Result<Newest, CliError> {
    let (_, points) = points(session).await?;
    let listed = points.list().await?;
    let whole = listed
        .iter()
        .filter(|point| point.condition() == Condition::Whole)
        .filter_map(|point| point.manifest())
        .filter(|manifest| manifest.purpose != Purpose::Partial)
        .map(|manifest| manifest.began);
    let drilled = listed
        .iter()
        .filter_map(|point| point.marks.drilled.as_ref())
        .filter(|drilled| drilled.outcome == Health::Sound)
        .map(|drilled| drilled.at);
    Ok(Newest {
        whole: whole.max(),
        drilled: drilled.max(),
    })
}

/// A unit that failed this soon after a recorded end is the run of that end, which gantry has reported.
const JUST_ENDED: SignedDuration = SignedDuration::from_mins(10);

struct Start<'a> {
    app: &'a App,
    verb: Verb,
}

impl Work for Start<'_> {
    fn start(&self) -> BoxFuture<'_, (Exit, Option<String>)> {
        Box::pin(async {
            match (self.verb)(self.app).await {
                Ok(exit @ Exit::Done) => (exit, None),
                Ok(exit) => (
                    exit,
                    Some(format!("it ended with exit code {}", exit as u8)),
                ),
                Err(error) => {
                    let (exit, why) = error.brief();
                    error.report(&self.app.say);
                    (exit, Some(why))
                }
            }
        })
    }
}

pub async fn start(
    app: &App,
    name: Name,
    if_due: bool,
    metrics: Option<&Path>,
) -> Result<Exit, CliError> {
    let (site, _) = site(app)?;
    let Some((_, verb)) = VERBS.iter().find(|(of, _)| *of == name) else {
        return Err(CliError::usage(format!(
            "this gantry cannot run {name}: it has no `{}`",
            name.verb()
        ))
        .help("a newer gantry may; `gantry --version` says which this is"));
    };
    let calendar = calendar(&site, name)?;
    let job = Job {
        name,
        calendar: calendar.as_ref(),
        site_dir: app.site_dir(site.site.name.as_ref()),
        when: if if_due { When::IfDue } else { When::Now },
        me: Holder {
            run: app.run_id(),
            verb: format!("schedule run {name}"),
            process: std::process::id(),
            host: app.host.clone(),
            user: app.user.clone(),
            since: app.clock.now(),
        },
        clock: app.clock,
        stop: app.stop.clone(),
    };
    let work = Start { app, verb: *verb };
    let (turn, exit) = match schedule::run(&job, &work).await? {
        Took::Turn { turn, exit } => (turn, exit),
        Took::NotDue { next } => {
            app.say
                .json(&json!({"format": 1, "schedule": name, "due": false, "next": next}));
            app.say.tell(&format!("{name} is not due."));
            return Ok(Exit::Done);
        }
    };
    if turn.missed > 0 {
        app.say.tell(&format!(
            "This run makes up for {} earlier ones as well.",
            turn.missed
        ));
    }
    // The run is over and recorded; what cannot be told must not change how it ended.
    if let Err(error) = tell(app, &site, name, &turn, metrics).await {
        let (_, why) = error.brief();
        app.say
            .warn(&format!("the run could not be reported: {why}"));
    }
    Ok(exit)
}

/// Tells people and machines about a turn.
async fn tell(
    app: &App,
    site: &Site,
    name: Name,
    turn: &Turn,
    metrics: Option<&Path>,
) -> Result<(), CliError> {
    let now = app.clock.now();
    let session = reading(app).await?;
    let (newest, stands) = point(&session, site, now).await?;
    if let Some(path) = metrics {
        let all = standings(app, site, now)?;
        let text = textfile(
            session.cx.site(),
            &all,
            newest.whole,
            newest.drilled,
            site.backup.rpo,
        );
        write_textfile(path, &text).map_err(|error| {
            CliError::new(
                Exit::Unexpected,
                format!("cannot write {}: {error}", path.display()),
            )
        })?;
    }
    let rpo = site.backup.rpo.to_string();
    if let Some(message) = Message::about(session.cx.site(), name, turn, &stands, &rpo) {
        say_to_people(app, &session, &message).await?;
    }
    measure(&session.cx, name, turn, &stands, now).await?;
    Ok(())
}

/// The newest whole point, and what that means.
pub(super) async fn point(
    session: &Session,
    site: &Site,
    now: Timestamp,
) -> Result<(Newest, Objective), CliError> {
    // Before the first install there is nothing that could hold a point.
    if session.store.state().resources.is_empty() {
        return Ok((Newest::default(), Objective::Unknown));
    }
    let newest = newest(session).await?;
    Ok((newest, objective(newest.whole, site.backup.rpo, now)))
}

async fn say_to_people(app: &App, session: &Session, message: &Message) -> Result<(), CliError> {
    let Some(topic) = topic_arn(&session.store.state().outputs()) else {
        app.say
            .tell("Nobody is told: the site has no topic for alarms ([monitoring] alarms).");
        return Ok(());
    };
    Ok(publish(&session.cx, &topic, message).await?)
}

/// How all schedules stand, by the records of this machine.
pub(super) fn standings(
    app: &App,
    site: &Site,
    now: Timestamp,
) -> Result<Vec<schedule::Standing>, CliError> {
    let dir = app.site_dir(site.site.name.as_ref());
    let each = Name::ALL.into_iter().map(|name| {
        let records = Records::read(&dir, name).map_err(schedule::ScheduleFault::from)?;
        let calendar = calendar(site, name)?;
        let said = name.of(&site.backup.schedule).to_string();
        Ok(standing(name, &said, calendar.as_ref(), &records, now))
    });
    each.collect()
}

pub async fn report_failure(app: &App, name: Name) -> Result<Exit, CliError> {
    let (site, _) = site(app)?;
    let dir = app.site_dir(site.site.name.as_ref());
    let records = Records::read(&dir, name).map_err(schedule::ScheduleFault::from)?;
    let now = app.clock.now();
    let last = records.last();
    let ended = last.and_then(|turn| turn.ended.as_ref());
    if ended.is_some_and(|ended| now.duration_since(ended.at) < JUST_ENDED) {
        return Ok(Exit::Done);
    }
    let open = last.filter(|turn| turn.ended.is_none());
    if let Some(turn) = open {
        let ended = Ended {
            at: now,
            exit: Exit::Unexpected as u8,
            why: Some("it ended without a word".to_owned()),
        };
        Records::end(&dir, name, &turn.run, &ended).map_err(schedule::ScheduleFault::from)?;
    }
    let session = reading(app).await?;
    let message = Message::silent_end(session.cx.site(), name, open);
    say_to_people(app, &session, &message).await?;
    Ok(Exit::Done)
}
