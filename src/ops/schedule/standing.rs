//! How a schedule stands: what comes next, what was last, and whether the promise of the site file is kept.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::record::{Records, Turn};
use super::{Calendar, Name};
use crate::site::Rpo;

/// A run may be so late before it counts as missing: the timer's own delay, and a little.
const GRACE: SignedDuration = SignedDuration::from_mins(15);

/// The timers end a run that takes longer; what began before and has not ended was cut off.
const LONGEST: SignedDuration = SignedDuration::from_hours(24);

/// One schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Standing {
    pub name: Name,
    /// As the site file has it: `daily 02:30`.
    pub schedule: String,
    pub next: Vec<Timestamp>,
    pub last: Option<Turn>,
    /// When a run last ended well.
    pub last_good: Option<Timestamp>,
    /// A time has passed that no run has dealt with.
    pub overdue: Option<Timestamp>,
}

/// How a schedule stands at a moment. Pure.
pub fn standing(
    name: Name,
    schedule: &str,
    calendar: Option<&Calendar>,
    records: &Records,
    now: Timestamp,
) -> Standing {
    let next = calendar.map(|c| c.runs(now).take(3).collect());
    let last = records.last();
    let at_work =
        last.is_some_and(|turn| turn.ended.is_none() && now.duration_since(turn.began) < LONGEST);
    // Before the first run nobody knows since when there should have been one.
    let overdue = calendar
        .zip(records.settled())
        .and_then(|(calendar, settled)| {
            let open = calendar.next(settled)?;
            let late = now.duration_since(open) > GRACE;
            (late && !at_work).then_some(open)
        });
    Standing {
        name,
        schedule: schedule.to_owned(),
        next: next.unwrap_or_default(),
        last: last.cloned(),
        last_good: records
            .last_good()
            .and_then(|turn| Some(turn.ended.as_ref()?.at)),
        overdue,
    }
}

/// Whether no more would be lost than the site file allows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum Objective {
    /// Nobody has looked at the recovery points.
    Unknown,
    /// There is no whole point at all.
    NoPoint,
    Kept {
        age_seconds: u64,
    },
    Missed {
        age_seconds: u64,
    },
}

impl Objective {
    /// The age of the newest whole point, where there is one.
    pub fn age(&self) -> Option<Duration> {
        match self {
            Self::Unknown | Self::NoPoint => None,
            Self::Kept { age_seconds } | Self::Missed { age_seconds } => {
                Some(Duration::from_secs(*age_seconds))
            }
        }
    }

    pub fn missed(&self) -> bool {
        matches!(self, Self::NoPoint | Self::Missed { .. })
    }
}

/// Compares the newest whole point with the objective. `newest` is when that point began: everything later would be
/// lost. Pure.
pub fn objective(newest: Option<Timestamp>, rpo: Rpo, now: Timestamp) -> Objective {
    let Some(newest) = newest else {
        return Objective::NoPoint;
    };
    let age = now.duration_since(newest).max(SignedDuration::ZERO);
    let age_seconds = age.unsigned_abs().as_secs();
    if age > SignedDuration::from_mins(rpo.minutes.into()) {
        Objective::Missed { age_seconds }
    } else {
        Objective::Kept { age_seconds }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Ended;
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn the_objective_is_kept_up_to_its_last_second() {
        let rpo = Rpo { minutes: 60 };
        let newest = Some(at("2026-03-20T01:00:00Z"));
        let kept = objective(newest, rpo, at("2026-03-20T02:00:00Z"));
        assert_eq!(kept, Objective::Kept { age_seconds: 3600 });
        let missed = objective(newest, rpo, at("2026-03-20T02:00:01Z"));
        assert_eq!(missed, Objective::Missed { age_seconds: 3601 });
        // A clock that is behind makes no point old.
        let ahead = objective(newest, rpo, at("2026-03-20T00:00:00Z"));
        assert_eq!(ahead, Objective::Kept { age_seconds: 0 });
        assert!(objective(None, rpo, at("2026-03-20T00:00:00Z")).missed());
    }

    #[test]
    fn a_time_that_nobody_dealt_with_is_overdue() {
        let zone = "UTC".parse().unwrap();
        let calendar = Calendar::of(&"daily 02:30".parse().unwrap(), &zone).unwrap();
        let calendar = calendar.as_ref();
        let mut records = Records::default();
        let stands = |records: &Records, now: &str| {
            standing(Name::Full, "daily 02:30", calendar, records, at(now))
        };
        let new = stands(&records, "2026-03-22T12:00:00Z");
        assert_eq!((new.overdue, new.next.len()), (None, 3));
        records.turns.push(Turn {
            run: "a".into(),
            due: Some(at("2026-03-20T02:30:00Z")),
            missed: 0,
            began: at("2026-03-20T02:31:00Z"),
            ended: Some(Ended {
                at: at("2026-03-20T03:00:00Z"),
                exit: 8,
                why: None,
            }),
        });
        assert_eq!(stands(&records, "2026-03-21T02:44:00Z").overdue, None);
        let late = stands(&records, "2026-03-22T12:00:00Z");
        assert_eq!(late.overdue, Some(at("2026-03-21T02:30:00Z")));
        assert_eq!(late.last_good, None);
        records.turns.push(Turn {
            run: "b".into(),
            due: Some(at("2026-03-22T02:30:00Z")),
            missed: 1,
            began: at("2026-03-22T11:00:00Z"),
            ended: None,
        });
        assert_eq!(
            stands(&records, "2026-03-22T12:00:00Z").overdue,
            None,
            "at work"
        );
    }
}
