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
use super::vault::Vault;
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
    /// A vault of AWS Backup in another account, which gets a copy as well.
    pub vault: Option<Vault>,
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
            vault: None,
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
    /// Restoring one onto a site made for it, which is removed afterwards. The appliance host needs a role for that: see the guide on schedules.
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

/// How many recovery points are kept: the newest of each of the last hours, days, weeks, months and years that have one.
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
    /// Of the last years.
    pub yearly: u32,
    /// Besides, everything that is not older than the newest by more than this, `1h` to `400d`.
    #[schemars(example = "48h")]
    pub within: Option<Within>,
}

impl Default for Keep {
    fn default() -> Self {
        Self {
            hourly: 24,
            daily: 7,
            weekly: 5,
            monthly: 12,
            yearly: 0,
            within: None,
        }
    }
}

/// A stretch of time in which every recovery point is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Within {
    pub hours: u32,
}

impl Text for Within {
    const FORMAT: &'static str = "stretch-of-time";
    const NOUN: &'static str = "a stretch of time";
    const EXAMPLE: &'static str = "48h";
}

text_in_files!(Within);

impl fmt::Display for Within {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.hours {
            hours if hours % 24 == 0 => write!(f, "{}d", hours / 24),
            hours => write!(f, "{hours}h"),
        }
    }
}

impl FromStr for Within {
    type Err = Complaint;

    fn from_str(text: &str) -> Result<Self, Complaint> {
        let help = "write hours or days, 1h to 400d: `48h`, `14d`";
        match counted(text, &[('h', 1), ('d', 24)], help)? {
            Some(hours @ 1..=9_600) => Ok(Self { hours }),
            Some(_) => Err(Complaint::new(
                "it is out of the range that can be kept whole",
                help,
            )),
            None => Err(Complaint::new(NUMBER_AND_UNIT, help)),
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
        match counted(text, &[('m', 1), ('h', 60), ('d', 24 * 60)], help)? {
            Some(minutes @ 15..=10_080) => Ok(Self { minutes }),
            Some(_) => Err(Complaint::new("no schedule here can promise that", help)),
            None => Err(Complaint::new(NUMBER_AND_UNIT, help)),
        }
    }
}

const NUMBER_AND_UNIT: &str = "a number and a unit are expected, without a space";

/// A number with one of these units; none where it is no number, or one too large.
fn counted(text: &str, units: &[(char, u32)], help: &str) -> Result<Option<u32>, Complaint> {
    let unit = text.chars().last();
    let Some((_, each)) = units.iter().find(|(known, _)| unit == Some(*known)) else {
        return Err(Complaint::new(
            "the unit is missing, or is none gantry knows",
            help,
        ));
    };
    let number = text[..text.len() - 1].parse::<u32>().ok();
    Ok(number.and_then(|number| number.checked_mul(*each)))
}

/// The fewest days for which what was overwritten or deleted can be brought back.
const LEAST_HORIZON_DAYS: u32 = 30;

impl Backup {
    /// For how many days a version of an object must outlive its deletion, so that every recovery point that may name
    /// it still finds it: the age that the oldest kept point may have, and a day more, and at least 30. A point that is
    /// held by object lock is kept, whatever the rules say.
    ///
    /// A rule keeps one point a period, and counts only periods that have one. With a point a day, `hourly = 24`
    /// reaches back 24 days. A point that is pinned may grow older than that.
    pub fn horizon_days(&self) -> u32 {
        const HOUR: u32 = 1;
        const DAY: u32 = 24 * HOUR;
        let Keep {
            hourly,
            daily,
            weekly,
            monthly,
            yearly,
            within,
        } = self.keep;
        // The longest that each period may last.
        let rules = [
            (hourly, HOUR),
            (daily, DAY),
            (weekly, 7 * DAY),
            (monthly, 31 * DAY),
            (yearly, 366 * DAY),
        ];
        let apart = self.schedule.full.longest_gap_hours().unwrap_or(HOUR);
        let oldest = rules
            .into_iter()
            .map(|(count, period)| count.saturating_mul(period.max(apart)))
            .chain(within.map(|within| within.hours))
            .max()
            .unwrap_or(0);
        oldest
            .div_ceil(DAY)
            .max(self.immutable_days.unwrap_or(0))
            .saturating_add(1)
            .max(LEAST_HORIZON_DAYS)
    }

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
        if let Some(vault) = &self.vault {
            vault.check(site, problems);
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
        if keep.hourly == 0 && keep.daily == 0 && keep.within.is_none() {
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
            ("yearly", keep.yearly),
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
    fn stretches_of_time_print_back() {
        for text in ["1h", "36h", "2d", "400d"] {
            assert_eq!(text.parse::<Within>().unwrap().to_string(), text);
        }
        assert_eq!("48h".parse::<Within>().unwrap().to_string(), "2d");
        for text in ["", "d", "0h", "30m", "401d", "1 d", "2w", "99999999999d"] {
            assert!(text.parse::<Within>().is_err(), "{text}");
        }
    }

    #[test]
    fn versions_outlive_the_oldest_point_that_may_name_them() {
        let with = |full: &str, hourly, daily, weekly, monthly| {
            let keep = Keep {
                hourly,
                daily,
                weekly,
                monthly,
                ..Keep::default()
            };
            let mut backup = Backup {
                keep,
                ..Backup::default()
            };
            backup.schedule.full = full.parse().unwrap();
            backup.horizon_days()
        };
        assert_eq!(Backup::default().horizon_days(), 12 * 31 + 1);
        assert_eq!(with("daily 02:30", 0, 7, 0, 0), 30, "never below a month");
        assert_eq!(with("daily 02:30", 0, 45, 5, 0), 46);
        assert_eq!(with("daily 02:30", 0, 7, 10, 1), 71);
        assert_eq!(with("hourly", 48, 7, 0, 0), 30);
        assert_eq!(with("daily 02:30", 48, 7, 0, 0), 49, "a point a day");
        assert_eq!(with("weekly sun 02:30", 0, 8, 0, 0), 57, "a point a week");
        assert_eq!(with("0 */7 * * *", 400, 0, 0, 0), 118, "seven hours apart");
        assert_eq!(with("off", 400, 1, 0, 0), 30, "points by hand, or none");
        let held = |days| Backup {
            immutable_days: Some(days),
            ..Backup::default()
        };
        assert_eq!(held(14).horizon_days(), 12 * 31 + 1);
        assert_eq!(held(400).horizon_days(), 401, "the hold lasts longer");
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
