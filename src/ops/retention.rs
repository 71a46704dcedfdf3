//! Which recovery points stay, and why. Pure: points and a policy go in, a verdict with its reasons comes out.
//!
//! Full points and snapshots are counted apart. Of each, the newest whole point of each of the last N hours, days, ISO
//! weeks, months and years that have one stays; hours and days are those of the site's time zone. What stays besides,
//! whatever the numbers say, is in [`Reason`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, Zoned};

use super::point::{Condition, Health, Listed, Manifest, Marks, PointId, Purpose, Standing};
use crate::site::Backup;

/// How long an incomplete point stays, so that somebody can look why.
const INCOMPLETE_STAYS: SignedDuration = SignedDuration::from_hours(7 * 24);

/// What the numbers count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Span {
    Hourly,
    Daily,
    Weekly,
    Monthly,
    Yearly,
}

impl Span {
    pub const ALL: [Self; 5] = [
        Self::Hourly,
        Self::Daily,
        Self::Weekly,
        Self::Monthly,
        Self::Yearly,
    ];

    fn word(self) -> &'static str {
        match self {
            Self::Hourly => "hourly",
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
            Self::Yearly => "yearly",
        }
    }

    /// The hour, day, week, month or year that a moment is in. An hour that comes twice, when clocks are put back, is
    /// two, told apart by the offset.
    fn of(self, at: &Zoned) -> String {
        match self {
            Self::Hourly => at.strftime("%F %H:00%:z").to_string(),
            Self::Daily => at.strftime("%F").to_string(),
            Self::Weekly => {
                let week = at.date().iso_week_date();
                format!("{:04}-W{:02}", week.year(), week.week())
            }
            Self::Monthly => at.strftime("%Y-%m").to_string(),
            Self::Yearly => at.strftime("%Y").to_string(),
        }
    }
}

/// What shall stay.
#[derive(Debug, Clone)]
pub struct Policy {
    /// How many of each of [`Span::ALL`].
    pub counts: [u32; 5],
    /// Everything that is not older than the newest whole point by more than this.
    pub within: Option<SignedDuration>,
    /// Days in which nothing is deleted.
    pub immutable_days: Option<u32>,
    pub zone: TimeZone,
}

impl Policy {
    /// The policy of `[backup]`.
    ///
    /// Fails when this machine's list of time zones lacks the site's.
    pub fn of(backup: &Backup) -> Result<Self, jiff::Error> {
        let keep = backup.keep;
        let within = keep.within.map(|within| i64::from(within.hours));
        Ok(Self {
            counts: [
                keep.hourly,
                keep.daily,
                keep.weekly,
                keep.monthly,
                keep.yearly,
            ],
            within: within.map(SignedDuration::from_hours),
            immutable_days: backup.immutable_days,
            zone: backup.timezone.rules()?,
        })
    }

    /// How many of a span stay.
    pub fn count(&self, span: Span) -> u32 {
        self.counts[span as usize]
    }
}

/// What has to be known of a point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    pub id: PointId,
    pub condition: Condition,
    /// None where no manifest says it that can be believed.
    pub saved: Option<Saved>,
    /// Whether the last verification or drill found it sound.
    pub sound: bool,
    /// Who pinned it, and why.
    pub pinned: Option<String>,
    /// Points that it does not restore without: the first and the previous step of its chain.
    pub needs: Vec<PointId>,
}

/// When and why a point was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Saved {
    pub purpose: Purpose,
    /// The moment it is of.
    pub began: Timestamp,
    /// From which on nothing of it is written any more.
    pub ended: Timestamp,
}

impl Candidate {
    pub fn of(listed: &Listed) -> Self {
        let claimed = match &listed.standing {
            Standing::Signed(manifest) => Some(manifest.as_ref()),
            Standing::Untrusted { claims, .. } => claims.as_deref(),
            Standing::Unfinished => None,
        };
        let needs = |manifest: &Manifest| match manifest.chain() {
            Some(chain) => {
                let mut needs = vec![chain.first.clone()];
                needs.extend(chain.previous.clone());
                needs.retain(|needed| *needed != listed.id);
                needs
            }
            None => Vec::new(),
        };
        let pinned = listed.marks.pinned.as_ref();
        Self {
            id: listed.id.clone(),
            condition: listed.condition(),
            saved: listed.manifest().map(|manifest| Saved {
                purpose: manifest.purpose,
                began: manifest.began,
                ended: manifest.ended,
            }),
            sound: is_sound(&listed.marks),
            pinned: pinned.map(|pin| format!("{}: {}", pin.by, pin.why)),
            needs: claimed.map(needs).unwrap_or_default(),
        }
    }

    fn saved_as(&self, condition: Condition, purpose: Purpose) -> Option<&Saved> {
        let saved = self.saved.as_ref()?;
        (self.condition == condition && saved.purpose == purpose).then_some(saved)
    }
}

/// Whether the last who looked closely, a verification or a drill, found the point sound.
fn is_sound(marks: &Marks) -> bool {
    let verified = marks.verified.as_ref().map(|v| (v.at, v.outcome));
    let drilled = marks.drilled.as_ref().map(|d| (d.at, d.outcome));
    let last = verified
        .into_iter()
        .chain(drilled)
        .max_by_key(|(at, _)| *at);
    last.is_some_and(|(_, outcome)| outcome == Health::Sound)
}

/// Why a point stays, or goes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The newest whole point of its sort: never goes.
    Newest,
    LastVerified,
    Pinned {
        by: String,
    },
    NewestOf {
        span: Span,
        of: String,
    },
    Within {
        hours: i64,
    },
    /// A point that stays needs it.
    BaseOf {
        point: PointId,
    },
    Held {
        until: String,
    },
    /// The last attempt failed: until one is whole again, nothing of that sort goes.
    Stuck {
        attempt: PointId,
    },
    /// A failed attempt that nothing whole has come after.
    LastAttempt,
    Incomplete {
        until: String,
    },
    Untrusted,
    Unfinished,
    /// It goes: no rule speaks for it.
    NoRule,
    /// It goes: incomplete, and somebody had time to look.
    Stale,
    /// It goes: an earlier run began to remove it.
    Begun,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Newest => f.write_str("newest of all"),
            Self::LastVerified => f.write_str("last verified point"),
            Self::Pinned { by } => write!(f, "pinned by {by}"),
            Self::NewestOf { span, of } => write!(f, "the newest of {of} ({})", span.word()),
            Self::Within { hours } => write!(f, "within {hours} h of the newest"),
            Self::BaseOf { point } => write!(f, "base of the chain of {point}"),
            Self::Held { until } => write!(f, "held until {until} (object lock)"),
            Self::Stuck { attempt } => write!(
                f,
                "the newest attempt, {attempt}, is incomplete: nothing is pruned until one is whole"
            ),
            Self::LastAttempt => f.write_str("incomplete: never counts, shows what failed last"),
            Self::Incomplete { until } => {
                write!(f, "incomplete: never counts, dropped after {until}")
            }
            Self::Untrusted => f.write_str("not to be trusted: look at it, nothing removes it"),
            Self::Unfinished => {
                f.write_str("no manifest: being taken, or taking it broke off; no point")
            }
            Self::NoRule => f.write_str("no rule keeps it"),
            Self::Stale => f.write_str("incomplete: never counts, and older than 7 days"),
            Self::Begun => f.write_str("an earlier run began to remove it"),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    Keep,
    Drop,
}

/// What becomes of a point, with every reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub id: PointId,
    pub fate: Fate,
    pub reasons: Vec<Reason>,
}

impl Verdict {
    /// All reasons as one clause. Of the many that a chain may need it for, one is named.
    pub fn why(&self) -> String {
        let is_base = |reason: &&Reason| matches!(reason, Reason::BaseOf { .. });
        let bases = self.reasons.iter().filter(is_base).count();
        let mut told: Vec<String> = Vec::new();
        for reason in &self.reasons {
            let text = reason.to_string();
            match (is_base(&reason), bases) {
                (true, 2..) if told.last().is_some_and(|last| last.starts_with("base ")) => {}
                (true, 2..) => told.push(format!("{text} and {} more", bases - 1)),
                _ => told.push(text),
            }
        }
        told.join("; ")
    }
}

/// Points of one purpose are counted among themselves: none takes the place of another sort.
const PURPOSES: [Purpose; 3] = [Purpose::Full, Purpose::Snapshot, Purpose::Partial];

/// A verdict on each of `points`, in their order. The same at any time of the day but for holds that end and
/// incomplete points that grow old.
pub fn judge(policy: &Policy, now: Timestamp, points: &[Candidate]) -> Vec<Verdict> {
    let mut judging = Judging {
        policy,
        now,
        points,
        stays: BTreeMap::new(),
    };
    for purpose in PURPOSES {
        judging.count(purpose);
    }
    judging.each();
    for purpose in PURPOSES {
        judging.stuck(purpose);
    }
    judging.chains();
    let mut stays = judging.stays;
    let verdict = |point: &Candidate| {
        let reasons = stays.remove(&point.id).unwrap_or_default();
        let (fate, reasons) = match point.condition {
            Condition::Dropping => (Fate::Drop, vec![Reason::Begun]),
            _ if !reasons.is_empty() => (Fate::Keep, reasons.into_iter().collect()),
            Condition::Incomplete => (Fate::Drop, vec![Reason::Stale]),
            _ => (Fate::Drop, vec![Reason::NoRule]),
        };
        Verdict {
            id: point.id.clone(),
            fate,
            reasons,
        }
    };
    points.iter().map(verdict).collect()
}

struct Judging<'a> {
    policy: &'a Policy,
    now: Timestamp,
    points: &'a [Candidate],
    stays: BTreeMap<PointId, BTreeSet<Reason>>,
}

impl<'a> Judging<'a> {
    fn keep(&mut self, id: &PointId, reason: Reason) {
        self.stays.entry(id.clone()).or_default().insert(reason);
    }

    /// Points of a sort, the newest first.
    fn newest_first(
        &self,
        condition: Condition,
        purpose: Purpose,
    ) -> Vec<(&'a Candidate, &'a Saved)> {
        let points = self.points.iter();
        let mut found: Vec<_> = points
            .filter_map(|point| Some((point, point.saved_as(condition, purpose)?)))
            .collect();
        found.sort_by(|(one, a), (other, b)| (b.began, &other.id).cmp(&(a.began, &one.id)));
        found
    }

    /// What the numbers keep of the whole points.
    fn count(&mut self, purpose: Purpose) {
        let whole = self.newest_first(Condition::Whole, purpose);
        let Some((newest, last)) = whole.first() else {
            return;
        };
        self.keep(&newest.id, Reason::Newest);
        if let Some((verified, _)) = whole.iter().find(|(point, _)| point.sound) {
            self.keep(&verified.id, Reason::LastVerified);
        }
        for span in Span::ALL {
            let wanted = self.policy.count(span) as usize;
            let mut seen = BTreeSet::new();
            for (point, saved) in &whole {
                if seen.len() >= wanted {
                    break;
                }
                let of = span.of(&saved.began.to_zoned(self.policy.zone.clone()));
                if seen.insert(of.clone()) {
                    self.keep(&point.id, Reason::NewestOf { span, of });
                }
            }
        }
        let Some(within) = self.policy.within else {
            return;
        };
        for (point, saved) in &whole {
            if last.began.duration_since(saved.began) <= within {
                let hours = within.as_hours();
                self.keep(&point.id, Reason::Within { hours });
            }
        }
    }

    /// What speaks for each point by itself.
    fn each(&mut self) {
        for point in self.points {
            if let Some(by) = &point.pinned {
                self.keep(&point.id, Reason::Pinned { by: by.clone() });
            }
            match point.condition {
                Condition::Untrusted => self.keep(&point.id, Reason::Untrusted),
                Condition::Unfinished => self.keep(&point.id, Reason::Unfinished),
                Condition::Whole | Condition::Incomplete | Condition::Dropping => {}
            }
            let hold = self.policy.immutable_days.zip(point.saved.as_ref());
            if let Some((days, saved)) = hold
                && let Some(until) = later(
                    saved.ended,
                    SignedDuration::from_hours(i64::from(days) * 24),
                )
                && until > self.now
            {
                let until = self.local(until);
                self.keep(&point.id, Reason::Held { until });
            }
        }
    }

    /// What becomes of failed attempts, and of everything else when the last one failed.
    fn stuck(&mut self, purpose: Purpose) {
        let whole = self.newest_first(Condition::Whole, purpose);
        let incomplete = self.newest_first(Condition::Incomplete, purpose);
        let newest_whole = whole.first().map(|(_, saved)| saved.began);
        let after_it = |saved: &Saved| newest_whole.is_none_or(|whole| saved.began > whole);
        for (point, saved) in &incomplete {
            if after_it(saved) {
                self.keep(&point.id, Reason::LastAttempt);
                continue;
            }
            if let Some(until) = later(saved.ended, INCOMPLETE_STAYS)
                && until > self.now
            {
                let until = self.local(until);
                self.keep(&point.id, Reason::Incomplete { until });
            }
        }
        let Some((attempt, _)) = incomplete.first().filter(|(_, saved)| after_it(saved)) else {
            return;
        };
        for (point, _) in whole.iter().chain(&incomplete) {
            if !self.stays.contains_key(&point.id) {
                let attempt = attempt.id.clone();
                self.keep(&point.id, Reason::Stuck { attempt });
            }
        }
    }

    /// What the points that stay do not restore without, and what that does not restore without.
    fn chains(&mut self) {
        let by_id: BTreeMap<&PointId, &Candidate> =
            self.points.iter().map(|point| (&point.id, point)).collect();
        let mut look: Vec<PointId> = self.stays.keys().cloned().collect();
        while let Some(id) = look.pop() {
            let Some(point) = by_id.get(&id) else {
                continue;
            };
            // It goes, whatever needs it: what it needed itself is of no more use through it.
            if point.condition == Condition::Dropping {
                continue;
            }
            for needed in &point.needs {
                if *needed == id || !by_id.contains_key(needed) {
                    continue;
                }
                if !self.stays.contains_key(needed) {
                    look.push(needed.clone());
                }
                self.keep(needed, Reason::BaseOf { point: id.clone() });
            }
        }
    }

    fn local(&self, at: Timestamp) -> String {
        let at = at.to_zoned(self.policy.zone.clone());
        at.strftime("%F %H:%M").to_string()
    }
}

/// None at the end of all calendars.
fn later(at: Timestamp, by: SignedDuration) -> Option<Timestamp> {
    at.checked_add(by).ok()
}

#[cfg(test)]
mod tests;
