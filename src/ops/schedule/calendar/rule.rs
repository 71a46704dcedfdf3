//! Which minutes of a wall clock a schedule means.

use std::fmt;

use crate::site::{Schedule, TimeOfDay};

/// For each field, a bit for each number that fits. All of them must.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rule {
    pub minutes: u64,
    pub hours: u64,
    pub days: u64,
    pub months: u64,
    /// From Sunday, 0.
    pub weekdays: u64,
}

/// Numbers that a field has, from the least to the greatest.
const fn all(least: u32, most: u32) -> u64 {
    (u64::MAX >> (63 - most)) & (u64::MAX << least)
}

const MINUTES: u64 = all(0, 59);
const HOURS: u64 = all(0, 23);
const DAYS: u64 = all(1, 31);
const MONTHS: u64 = all(1, 12);
const WEEKDAYS: u64 = all(0, 6);

/// systemd begins the week on Monday.
const WEEK: [(u32, &str); 7] = [
    (1, "Mon"),
    (2, "Tue"),
    (3, "Wed"),
    (4, "Thu"),
    (5, "Fri"),
    (6, "Sat"),
    (0, "Sun"),
];

impl Rule {
    const EVERY_MINUTE: Self = Self {
        minutes: MINUTES,
        hours: HOURS,
        days: DAYS,
        months: MONTHS,
        weekdays: WEEKDAYS,
    };

    fn at(time: TimeOfDay) -> Self {
        Self {
            minutes: 1 << time.minute,
            hours: 1 << time.hour,
            ..Self::EVERY_MINUTE
        }
    }
}

/// The rules of a schedule, of which any may fit; none where it is off.
pub(super) fn of(schedule: &Schedule) -> Vec<Rule> {
    match schedule {
        Schedule::Off => vec![],
        Schedule::Hourly => vec![Rule {
            minutes: 1,
            ..Rule::EVERY_MINUTE
        }],
        Schedule::Daily(time) => vec![Rule::at(*time)],
        Schedule::Weekly(day, time) => vec![Rule {
            weekdays: 1 << day.to_sunday_zero_offset(),
            ..Rule::at(*time)
        }],
        Schedule::Monthly(day, time) => vec![Rule {
            days: 1 << day,
            ..Rule::at(*time)
        }],
        Schedule::Cron(cron) => {
            let [minutes, hours, days, months, weekdays] = cron.fields();
            let both = Rule {
                minutes,
                hours,
                days,
                months,
                weekdays,
            };
            if !cron.either_day() {
                return vec![both];
            }
            vec![
                Rule {
                    weekdays: WEEKDAYS,
                    ..both
                },
                Rule { days: DAYS, ..both },
            ]
        }
    }
}

/// `*`, or the numbers, with `..` where three or more follow each other.
fn numbers(bits: u64, every: u64) -> String {
    if bits == every {
        return "*".to_owned();
    }
    let mut parts = Vec::new();
    let mut number = 0;
    while number < 64 {
        let run = (bits >> number).trailing_ones();
        match run {
            0 => {}
            1 => parts.push(format!("{number:02}")),
            2 => parts.push(format!("{number:02},{:02}", number + 1)),
            _ => parts.push(format!("{number:02}..{:02}", number + run - 1)),
        }
        number += run.max(1);
    }
    parts.join(",")
}

/// As `OnCalendar=` has it, without the zone.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.weekdays != WEEKDAYS {
            let days = WEEK
                .iter()
                .filter(|(day, _)| self.weekdays & (1 << day) != 0);
            let names: Vec<_> = days.map(|(_, name)| *name).collect();
            write!(f, "{} ", names.join(","))?;
        }
        write!(
            f,
            "*-{}-{} {}:{}:00",
            numbers(self.months, MONTHS),
            numbers(self.days, DAYS),
            numbers(self.hours, HOURS),
            numbers(self.minutes, MINUTES)
        )
    }
}
