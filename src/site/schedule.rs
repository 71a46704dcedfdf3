//! When something happens again: `hourly`, `daily 02:30`, `weekly sun 05:00`, `monthly 1 06:00`, five cron fields, or `off`.
//!
//! Times are in the site's time zone.

use std::fmt;
use std::str::FromStr;

use jiff::civil::Weekday;

use crate::text::{Complaint, Text, nearest, text_in_files};

/// A recurring time.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Schedule {
    Off,
    /// At the beginning of every hour.
    Hourly,
    Daily(TimeOfDay),
    Weekly(Weekday, TimeOfDay),
    /// Days 1 to 28, which every month has.
    Monthly(u8, TimeOfDay),
    Cron(Cron),
}

/// An hour and a minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimeOfDay {
    pub hour: u8,
    pub minute: u8,
}

/// Five cron fields: minute, hour, day of the month, month, day of the week.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Cron {
    text: String,
    /// For each field, a bit for each number that matches.
    fields: [u64; 5],
    /// Whether day of the month and day of the week were both given: then either is enough, as cron has it.
    either_day: bool,
}

impl Text for Schedule {
    const FORMAT: &'static str = "schedule";
    const NOUN: &'static str = "a schedule";
    const EXAMPLE: &'static str = "daily 02:30";
}

text_in_files!(Schedule);

const DAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.hour, self.minute)
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Hourly => f.write_str("hourly"),
            Self::Daily(time) => write!(f, "daily {time}"),
            Self::Weekly(day, time) => {
                let name = DAYS
                    .iter()
                    .find(|(_, known)| known == day)
                    .map_or("mon", |(name, _)| *name);
                write!(f, "weekly {name} {time}")
            }
            Self::Monthly(day, time) => write!(f, "monthly {day} {time}"),
            Self::Cron(cron) => f.write_str(&cron.text),
        }
    }
}

impl FromStr for Schedule {
    type Err = Complaint;

    fn from_str(text: &str) -> Result<Self, Complaint> {
        let words: Vec<&str> = text.split_whitespace().collect();
        match words.as_slice() {
            ["off"] => Ok(Self::Off),
            ["hourly"] => Ok(Self::Hourly),
            ["daily", time] => Ok(Self::Daily(time.parse()?)),
            ["weekly", day, time] => Ok(Self::Weekly(weekday(day)?, time.parse()?)),
            ["monthly", day, time] => Ok(Self::Monthly(month_day(day)?, time.parse()?)),
            ["hourly", ..] => Err(Complaint::new(
                "`hourly` takes nothing after it",
                "write `hourly`, or five cron fields for another minute: `15 * * * *`",
            )),
            ["daily", ..] => Err(Complaint::new(
                "`daily` takes one time of day",
                "write it like `daily 02:30`",
            )),
            ["weekly", ..] => Err(Complaint::new(
                "`weekly` takes a day and a time of day",
                "write it like `weekly sun 05:00`",
            )),
            ["monthly", ..] => Err(Complaint::new(
                "`monthly` takes a day from 1 to 28 and a time of day",
                "write it like `monthly 1 06:00`",
            )),
            [minute, hour, day, month, weekday] => {
                Cron::new([minute, hour, day, month, weekday]).map(Self::Cron)
            }
            _ => {
                let near = words.first().and_then(|word| {
                    nearest(word, ["hourly", "daily", "weekly", "monthly", "off"])
                });
                let help = match near {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "write `hourly`, `daily 02:30`, `weekly sun 05:00`, `monthly 1 06:00`, five cron fields, or `off`".to_owned(),
                };
                Err(Complaint::new(
                    "it does not begin with a word gantry knows, nor has it five cron fields",
                    help,
                ))
            }
        }
    }
}

impl FromStr for TimeOfDay {
    type Err = Complaint;

    fn from_str(text: &str) -> Result<Self, Complaint> {
        let number = |part: &str| {
            if part.len() == 2 {
                part.parse::<u8>().ok()
            } else {
                None
            }
        };
        match text
            .split_once(':')
            .map(|(hour, minute)| (number(hour), number(minute)))
        {
            Some((Some(hour), Some(minute))) if hour < 24 && minute < 60 => {
                Ok(Self { hour, minute })
            }
            _ => Err(Complaint::new(
                format!("`{text}` is not a time of day"),
                "write hours and minutes with two digits each, 00:00 to 23:59",
            )),
        }
    }
}

fn weekday(text: &str) -> Result<Weekday, Complaint> {
    DAYS.iter()
        .find(|(name, _)| *name == text)
        .map(|(_, day)| *day)
        .ok_or_else(|| {
            Complaint::new(
                format!("`{text}` is not a day of the week"),
                "write mon, tue, wed, thu, fri, sat or sun",
            )
        })
}

fn month_day(text: &str) -> Result<u8, Complaint> {
    match text.parse::<u8>() {
        Ok(day @ 1..=28) => Ok(day),
        Ok(29..=31) => Err(Complaint::new(
            format!("not every month has a day {text}"),
            "take a day from 1 to 28",
        )),
        _ => Err(Complaint::new(
            format!("`{text}` is not a day of the month"),
            "take a day from 1 to 28",
        )),
    }
}

/// Name, least and greatest number of each cron field. Day of the week: 0 and 7 are both Sunday.
const FIELDS: [(&str, u8, u8); 5] = [
    ("minute", 0, 59),
    ("hour", 0, 23),
    ("day of the month", 1, 31),
    ("month", 1, 12),
    ("day of the week", 0, 7),
];

impl Cron {
    fn new(words: [&str; 5]) -> Result<Self, Complaint> {
        let mut fields = [0; 5];
        for (position, word) in words.iter().enumerate() {
            fields[position] = field(word, FIELDS[position])?;
        }
        let sunday = 1 << 7;
        if fields[4] & sunday != 0 {
            fields[4] = (fields[4] | 1) & !sunday;
        }
        Ok(Self {
            text: words.join(" "),
            fields,
            either_day: !words[2].starts_with('*') && !words[4].starts_with('*'),
        })
    }

    /// As it was written, with single spaces.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it fires in this minute of the site's wall clock.
    pub fn matches(&self, minute: jiff::civil::DateTime) -> bool {
        let has = |field: usize, number: i8| self.fields[field] & (1 << number) != 0;
        let day = has(2, minute.day());
        let weekday = has(4, minute.weekday().to_sunday_zero_offset());
        let date = if self.either_day {
            day || weekday
        } else {
            day && weekday
        };
        has(0, minute.minute()) && has(1, minute.hour()) && has(3, minute.month()) && date
    }
}

/// The bits of one field: `*`, `*/5`, `1-5`, `1-5/2`, `1,15`.
fn field(text: &str, (name, least, most): (&str, u8, u8)) -> Result<u64, Complaint> {
    let refuse = || {
        Complaint::new(
            format!("`{text}` is not a cron {name}"),
            format!(
                "write numbers from {least} to {most}, with `*`, `-`, `,` and `/`; names are not known here"
            ),
        )
    };
    let number = |part: &str| {
        part.parse::<u8>()
            .ok()
            .filter(|number| (least..=most).contains(number))
    };
    let mut bits = 0_u64;
    for part in text.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (
                range,
                step.parse::<u8>()
                    .ok()
                    .filter(|step| *step > 0 && *step <= most)
                    .ok_or_else(refuse)?,
            ),
            None => (part, 1),
        };
        let (from, to) = match range.split_once('-') {
            _ if range == "*" => (least, most),
            Some((from, to)) => (
                number(from).ok_or_else(refuse)?,
                number(to).ok_or_else(refuse)?,
            ),
            None if part.contains('/') => (number(range).ok_or_else(refuse)?, most),
            None => number(range).map(|only| (only, only)).ok_or_else(refuse)?,
        };
        if from > to {
            return Err(refuse());
        }
        for value in (from..=to).step_by(usize::from(step)) {
            bits |= 1 << value;
        }
    }
    Ok(bits)
}

impl Schedule {
    /// The longest time between two runs in hours, rounded up; `None` when it never runs.
    ///
    /// Cron fields are tried over 800 days from the leap year 2028; daylight saving is not counted.
    pub fn longest_gap_hours(&self) -> Option<u32> {
        match self {
            Self::Off => None,
            Self::Hourly => Some(1),
            Self::Daily(_) => Some(24),
            Self::Weekly(..) => Some(7 * 24),
            Self::Monthly(..) => Some(31 * 24),
            Self::Cron(cron) => cron.longest_gap_hours(),
        }
    }
}

/// Two years and a bit, so that a yearly schedule comes round twice.
const DAYS_TRIED: u32 = 800;

impl Cron {
    fn longest_gap_hours(&self) -> Option<u32> {
        let minutes =
            |field: u64, count: u32| (0..count).filter(move |minute| field & (1 << minute) != 0);
        let midnight = jiff::civil::date(2028, 1, 1).at(0, 0, 0, 0);
        let mut fired: Vec<u32> = Vec::new();
        for day in 0..DAYS_TRIED {
            let Ok(date) = midnight.checked_add(jiff::Span::new().days(day)) else {
                break;
            };
            for hour in minutes(self.fields[1], 24) {
                let first = i8::try_from(self.fields[0].trailing_zeros()).ok()?;
                let Ok(time) = date
                    .with()
                    .hour(i8::try_from(hour).ok()?)
                    .minute(first)
                    .build()
                else {
                    continue;
                };
                if self.matches(time) {
                    fired.extend(
                        minutes(self.fields[0], 60).map(|minute| (day * 24 + hour) * 60 + minute),
                    );
                }
            }
        }
        if fired.is_empty() {
            return None;
        }
        let widest = fired
            .windows(2)
            .map(|pair| pair[1] - pair[0])
            .max()
            .unwrap_or(DAYS_TRIED * 24 * 60);
        Some(widest.div_ceil(60))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_form_prints_back() {
        for text in [
            "off",
            "hourly",
            "daily 02:30",
            "weekly sun 05:00",
            "monthly 28 23:59",
            "*/15 2-4 1,15 * 1-5",
        ] {
            assert_eq!(text.parse::<Schedule>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn wrong_forms_are_refused() {
        for text in [
            "",
            "dayly 02:30",
            "daily 2:30",
            "daily 24:00",
            "weekly sunday 05:00",
            "monthly 31 06:00",
            "60 * * * *",
            "* * * *",
            "5-1 * * * *",
            "*/0 * * * *",
            "* * * jan *",
            "hourly 15",
        ] {
            assert!(text.parse::<Schedule>().is_err(), "{text}");
        }
    }

    #[test]
    fn cron_matches_as_cron_does() {
        let Schedule::Cron(cron) = "30 2 1 * 0".parse().unwrap() else {
            panic!("five fields are cron")
        };
        let at = |day| jiff::civil::date(2026, 11, day).at(2, 30, 0, 0);
        assert!(cron.matches(at(1)), "the first of the month");
        assert!(cron.matches(at(8)), "a Sunday");
        assert!(!cron.matches(at(9)), "a Monday");
        let Schedule::Cron(seven) = "30 2 * * 7".parse().unwrap() else {
            panic!("five fields are cron")
        };
        assert!(seven.matches(at(8)) && !seven.matches(at(9)));
    }

    #[test]
    fn gaps_are_the_longest() {
        let gap = |text: &str| text.parse::<Schedule>().unwrap().longest_gap_hours();
        assert_eq!(gap("*/15 * * * *"), Some(1));
        assert_eq!(gap("0 8-18 * * *"), Some(14));
        assert_eq!(gap("0 3 * * 1-5"), Some(72));
        assert_eq!(gap("0 0 31 2 *"), None);
        assert_eq!(gap("off"), None);
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "[a-z0-9*/, :-]{0,20}") {
            let _ = text.parse::<Schedule>();
        }

        #[test]
        fn what_parses_prints_back(hour in 0_u8..24, minute in 0_u8..60, day in 1_u8..29) {
            for schedule in [Schedule::Daily(TimeOfDay { hour, minute }), Schedule::Monthly(day, TimeOfDay { hour, minute })] {
                prop_assert_eq!(schedule.to_string().parse::<Schedule>().unwrap(), schedule);
            }
        }
    }
}
