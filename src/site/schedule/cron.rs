//! Five cron fields.

use crate::text::Complaint;

/// Five cron fields: minute, hour, day of the month, month, day of the week.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Cron {
    text: String,
    /// For each field, a bit for each number that matches.
    fields: [u64; 5],
    /// Whether day of the month and day of the week were both given: then either is enough, as cron has it.
    either_day: bool,
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
    pub(super) fn new(words: [&str; 5]) -> Result<Self, Complaint> {
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

    /// Minute, hour, day of the month, month, day of the week (Sunday is 0): a bit for each number that matches.
    pub fn fields(&self) -> [u64; 5] {
        self.fields
    }

    /// Whether one of the two days is enough.
    pub fn either_day(&self) -> bool {
        self.either_day
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

/// Two years and a bit, so that a yearly schedule comes round twice.
const DAYS_TRIED: u32 = 800;

impl Cron {
    /// The longest time between two runs in hours, rounded up; `None` when it never runs.
    pub(super) fn longest_gap_hours(&self) -> Option<u32> {
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

    #[test]
    fn cron_matches_as_cron_does() {
        let cron = Cron::new(["30", "2", "1", "*", "0"]).unwrap();
        let at = |day| jiff::civil::date(2026, 11, day).at(2, 30, 0, 0);
        assert!(cron.matches(at(1)), "the first of the month");
        assert!(cron.matches(at(8)), "a Sunday");
        assert!(!cron.matches(at(9)), "a Monday");
        let seven = Cron::new(["30", "2", "*", "*", "7"]).unwrap();
        assert!(seven.matches(at(8)) && !seven.matches(at(9)));
    }
}
