//! `[backup]`: what is kept, when it is taken, and where.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Site;
use super::place::Path;
use super::problem::Problem;
use super::region::Region;
use super::schedule::Schedule;
use crate::text::{Complaint, Text, nearest, text_in_files, text_type};

/// Backups: how much may be lost, when they are taken, how long they are kept, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Backup {
    /// The time zone of the schedules, as in the IANA list.
    pub timezone: TimeZoneName,
    /// The most work that may be lost, `15m` to `7d`; the schedules must keep this promise.
    pub rpo: Rpo,
    /// A second region that gets a copy of every backup.
    #[schemars(example = "eu-central-1")]
    pub copy_to_region: Option<Region>,
    /// Days in which nobody, not even an administrator, can delete a backup.
    #[schemars(example = 14)]
    pub immutable_days: Option<u32>,
    /// EBS snapshots by Amazon Data Lifecycle Manager, where the profile allows EBS snapshots.
    pub dlm: bool,
    /// When each kind of backup runs.
    pub schedule: BackupSchedule,
    /// How many are kept.
    pub keep: Keep,
}

impl Default for Backup {
    fn default() -> Self {
        Self {
            timezone: TimeZoneName("UTC".to_owned()),
            rpo: Rpo { minutes: 60 },
            copy_to_region: None,
            immutable_days: None,
            dlm: true,
            schedule: BackupSchedule::default(),
            keep: Keep::default(),
        }
    }
}

/// When each kind of backup runs: `hourly`, `daily 02:30`, `weekly sun 05:00`, `monthly 1 06:00`, five cron fields, or `off`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BackupSchedule {
    /// Snapshots of disks and databases.
    pub snapshot: Schedule,
    /// A full recovery point in S3.
    pub full: Schedule,
    /// Reading a recovery point back and comparing it.
    pub verify: Schedule,
    /// Restoring one onto machines made for it.
    pub drill: Schedule,
}

impl Default for BackupSchedule {
    fn default() -> Self {
        let at = |hour, minute| super::schedule::TimeOfDay { hour, minute };
        Self {
            snapshot: Schedule::Hourly,
            full: Schedule::Daily(at(2, 30)),
            verify: Schedule::Weekly(jiff::civil::Weekday::Sunday, at(5, 0)),
            drill: Schedule::Monthly(1, at(6, 0)),
        }
    }
}

/// How many recovery points are kept: the newest of each of the last hours, days, weeks and months.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Keep {
    /// Of the last hours.
    pub hourly: u32,
    /// Of the last days.
    pub daily: u32,
    /// Of the last weeks.
    pub weekly: u32,
    /// Of the last months.
    pub monthly: u32,
}

impl Default for Keep {
    fn default() -> Self {
        Self {
            hourly: 24,
            daily: 7,
            weekly: 5,
            monthly: 12,
        }
    }
}

text_type!(
    /// A time zone of the IANA list.
    TimeZoneName, "time-zone", "a time zone", "UTC", check_time_zone
);

impl TimeZoneName {
    /// The rules of the zone.
    ///
    /// Fails when this machine's list of zones does not have it, though the file was written on one that has.
    pub fn rules(&self) -> Result<jiff::tz::TimeZone, jiff::Error> {
        jiff::tz::TimeZone::get(self.as_str())
    }
}

fn check_time_zone(text: &str) -> Result<(), Complaint> {
    if jiff::tz::TimeZone::get(text).is_ok() && text != "local" {
        return Ok(());
    }
    let known: Vec<String> = jiff::tz::db()
        .available()
        .map(|name| name.to_string())
        .collect();
    // A city alone is the commonest slip: Berlin for Europe/Berlin.
    let city = text.replace(' ', "_").to_lowercase();
    let by_city = known.iter().find(|name| {
        name.rsplit('/')
            .next()
            .is_some_and(|last| last.to_lowercase() == city)
    });
    let lowered: Vec<(String, &String)> = known
        .iter()
        .map(|name| (name.to_lowercase(), name))
        .collect();
    let by_spelling = || {
        let near = nearest(text, lowered.iter().map(|(lower, _)| lower.as_str()))?;
        lowered
            .iter()
            .find(|(lower, _)| lower == near)
            .map(|(_, name)| *name)
    };
    let help = match by_city.or_else(by_spelling) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "write it like `Europe/Berlin`, or `UTC`".to_owned(),
    };
    Err(Complaint::new(
        "the IANA list has no zone of that name",
        help,
    ))
}

/// The most work that may be lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rpo {
    pub minutes: u32,
}

impl Text for Rpo {
    const FORMAT: &'static str = "recovery-point-objective";
    const NOUN: &'static str = "a recovery point objective";
    const EXAMPLE: &'static str = "1h";
}

text_in_files!(Rpo);

impl fmt::Display for Rpo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.minutes {
            minutes if minutes % (24 * 60) == 0 => write!(f, "{}d", minutes / (24 * 60)),
            minutes if minutes % 60 == 0 => write!(f, "{}h", minutes / 60),
            minutes => write!(f, "{minutes}m"),
        }
    }
}

impl FromStr for Rpo {
    type Err = Complaint;

    fn from_str(text: &str) -> Result<Self, Complaint> {
        let help = "write minutes, hours or days, 15m to 7d: `30m`, `1h`, `1d`";
        let minutes_each = match text.chars().last() {
            Some('m') => 1,
            Some('h') => 60,
            Some('d') => 24 * 60,
            _ => {
                return Err(Complaint::new(
                    "the unit is missing, or is none gantry knows",
                    help,
                ));
            }
        };
        let number = text[..text.len() - 1]
            .parse::<u32>()
            .ok()
            .and_then(|number| number.checked_mul(minutes_each));
        match number {
            Some(minutes @ 15..=10_080) => Ok(Self { minutes }),
            Some(_) => Err(Complaint::new("no schedule here can promise that", help)),
            None => Err(Complaint::new(
                "a number and a unit are expected, without a space",
                help,
            )),
        }
    }
}

impl Backup {
    pub(super) fn check(&self, site: &Site, problems: &mut Vec<Problem>) {
        if self.copy_to_region.as_ref() == Some(&site.site.region) {
            problems.push(
                Problem::at(
                    Path::of("backup.copy_to_region"),
                    "`backup.copy_to_region` is the site's own region",
                )
                .because("a copy beside the original is lost together with it")
                .help("take another region, or leave the key out")
                .depends("site.region"),
            );
        }
        // Ten years: S3 Object Lock would take a hundred, and nobody could undo a slip of the finger.
        if let Some(days) = self.immutable_days
            && !(1..=3650).contains(&days)
        {
            problems.push(
                Problem::at(
                    Path::of("backup.immutable_days"),
                    format!("`backup.immutable_days` is {days}"),
                )
                .because("it must be from 1 to 3650, because nobody can shorten it afterwards")
                .help("write for example `immutable_days = 14`, or leave the key out for none"),
            );
        }
        self.check_rpo(problems);
        self.check_keep(problems);
    }

    fn check_rpo(&self, problems: &mut Vec<Problem>) {
        let gaps = [&self.schedule.snapshot, &self.schedule.full].map(Schedule::longest_gap_hours);
        let Some(shortest) = gaps.into_iter().flatten().min() else {
            problems.push(
                Problem::at(Path::of("backup.schedule"), "no backup would ever be taken")
                    .because("`snapshot` and `full` are both off, or never come round")
                    .help("write at least `full = \"daily 02:30\"`")
                    .depends("backup.schedule.full")
                    .depends("backup.schedule.snapshot"),
            );
            return;
        };
        // Hourly is the shortest schedule; what lies between is covered by the database's own log.
        if u64::from(shortest) * 60 > u64::from(self.rpo.minutes.max(60)) {
            problems.push(
                Problem::at(
                    Path::of("backup.rpo"),
                    format!("the schedules cannot keep `backup.rpo`, {}", self.rpo),
                )
                .because(format!("up to {shortest} hours pass between two backups"))
                .help(format!(
                    "run `snapshot` or `full` more often, or write `rpo = \"{}\"`",
                    Rpo {
                        minutes: (shortest * 60).min(10_080)
                    }
                ))
                .depends("backup.schedule.full")
                .depends("backup.schedule.snapshot"),
            );
        }
    }

    fn check_keep(&self, problems: &mut Vec<Problem>) {
        let keep = &self.keep;
        if keep.hourly + keep.daily == 0 {
            problems.push(
                Problem::at(
                    Path::of("backup.keep"),
                    "`[backup.keep]` keeps neither hourly nor daily backups",
                )
                .because("a backup would be pruned before the next is known to be good")
                .help("write at least `daily = 7`")
                .depends("backup.keep.hourly")
                .depends("backup.keep.daily"),
            );
        }
        for (key, count) in [
            ("hourly", keep.hourly),
            ("daily", keep.daily),
            ("weekly", keep.weekly),
            ("monthly", keep.monthly),
        ] {
            if count > 400 {
                problems.push(
                    Problem::at(
                        Path::of("backup.keep").key(key),
                        format!("`backup.keep.{key}` is {count}"),
                    )
                    .because(
                        "more than 400 of one kind is above what snapshot quotas and listings bear",
                    )
                    .help("take a number up to 400; older ones belong to the next longer kind"),
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objectives_print_back() {
        for text in ["15m", "90m", "1h", "36h", "1d", "7d"] {
            assert_eq!(text.parse::<Rpo>().unwrap().to_string(), text);
        }
        for text in ["", "h", "1", "5m", "8d", "1 h", "1w", "-1h", "99999999d"] {
            assert!(text.parse::<Rpo>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_city_finds_its_zone() {
        assert!(
            check_time_zone("Berlin")
                .unwrap_err()
                .help
                .contains("Europe/Berlin")
        );
        assert!(
            check_time_zone("Europe/Berlni")
                .unwrap_err()
                .help
                .contains("Europe/Berlin")
        );
    }
}
