//! When something happens again: `hourly`, `daily 02:30`, `weekly sun 05:00`, `monthly 1 06:00`, five cron fields, or `off`.
//!
//! Times are in the site's time zone.

mod amazon;
mod cron;

use std::fmt;
use std::str::FromStr;

use jiff::civil::Weekday;

pub use cron::Cron;

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
            Self::Cron(cron) => f.write_str(cron.as_str()),
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
