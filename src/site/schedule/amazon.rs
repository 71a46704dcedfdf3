//! The same schedule as AWS Backup writes it: six fields, one of the two days a question mark, hourly at most
//! (<https://docs.aws.amazon.com/aws-backup/latest/devguide/API_BackupRule.html>).

use super::{Cron, Schedule};
use crate::text::Complaint;

/// Sunday first, as in the bits of a [`Cron`]; AWS's numbers begin with 1, so names are clearer.
const DAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

impl Schedule {
    /// As an expression of AWS, `cron(30 3 * * ? *)`; why not, where AWS cannot say it.
    pub fn amazon(&self) -> Result<String, Complaint> {
        Ok(match self {
            Self::Off => {
                return Err(Complaint::new(
                    "nothing would ever be saved",
                    "leave the whole section out for none",
                ));
            }
            Self::Hourly => "cron(0 * * * ? *)".to_owned(),
            Self::Daily(time) => format!("cron({} {} * * ? *)", time.minute, time.hour),
            Self::Weekly(day, time) => {
                let day = DAYS[usize::from(day.to_sunday_zero_offset().unsigned_abs())];
                format!("cron({} {} ? * {day} *)", time.minute, time.hour)
            }
            Self::Monthly(day, time) => {
                format!("cron({} {} {day} * ? *)", time.minute, time.hour)
            }
            Self::Cron(cron) => return amazon(cron),
        })
    }
}

fn amazon(cron: &Cron) -> Result<String, Complaint> {
    let [minutes, hours, days, months, weekdays] = cron.fields();
    if minutes.count_ones() != 1 {
        return Err(Complaint::new(
            "AWS Backup runs once an hour at most",
            "write one minute in the first field, `15 * * * *`, or a word: `hourly`, `daily 03:30`",
        ));
    }
    if cron.longest_gap_hours().is_none() {
        return Err(Complaint::new(
            "it never comes round",
            "write for example `daily 03:30`",
        ));
    }
    let minute = minutes.trailing_zeros();
    let (hours, months) = (numbers(hours, 0..=23), numbers(months, 1..=12));
    let (day, weekday) = (numbers(days, 1..=31), numbers(weekdays, 0..=6));
    let (day, weekday) = match (day.as_str(), weekday.as_str()) {
        (_, "*") => (day, "?".to_owned()),
        ("*", _) => ("?".to_owned(), names(weekdays)),
        _ => {
            return Err(Complaint::new(
                "AWS goes by the day of the month or by the day of the week, not by both",
                "write `*` for one of the two",
            ));
        }
    };
    Ok(format!("cron({minute} {hours} {day} {months} {weekday} *)"))
}

/// The numbers of a field, or a star for all of them.
fn numbers(bits: u64, range: std::ops::RangeInclusive<u32>) -> String {
    let all = range.clone().count();
    let set: Vec<String> = range
        .filter(|number| bits & (1 << number) != 0)
        .map(|number| number.to_string())
        .collect();
    if set.len() == all {
        "*".to_owned()
    } else {
        set.join(",")
    }
}

fn names(weekdays: u64) -> String {
    let set: Vec<&str> = (0..)
        .zip(DAYS)
        .filter(|(number, _)| weekdays & (1_u64 << number) != 0)
        .map(|(_, name)| name)
        .collect();
    set.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_as_aws_writes_it() {
        for (ours, theirs) in [
            ("hourly", "cron(0 * * * ? *)"),
            ("daily 03:30", "cron(30 3 * * ? *)"),
            ("weekly sun 05:00", "cron(0 5 ? * SUN *)"),
            ("weekly sat 05:00", "cron(0 5 ? * SAT *)"),
            ("monthly 28 06:15", "cron(15 6 28 * ? *)"),
            ("15 * * * *", "cron(15 * * * ? *)"),
            ("0 */6 * * *", "cron(0 0,6,12,18 * * ? *)"),
            ("5 2 1,15 1-3 *", "cron(5 2 1,15 1,2,3 ? *)"),
            ("5 2 * * 1-5", "cron(5 2 ? * MON,TUE,WED,THU,FRI *)"),
            ("5 2 * * 7", "cron(5 2 ? * SUN *)"),
            ("5 2 * * 0-6", "cron(5 2 * * ? *)"),
        ] {
            let schedule: Schedule = ours.parse().unwrap();
            assert_eq!(schedule.amazon().unwrap(), theirs, "{ours}");
        }
    }

    #[test]
    fn what_aws_cannot_say_is_refused() {
        for text in [
            "off",
            "*/15 * * * *",
            "0,30 3 * * *",
            "0 3 1 * 1",
            "0 3 */2 * 1",
            "0 3 31 2 *",
        ] {
            let schedule: Schedule = text.parse().unwrap();
            assert!(schedule.amazon().is_err(), "{text}");
        }
    }
}
