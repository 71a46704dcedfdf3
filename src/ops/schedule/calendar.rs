//! The runs of a schedule, as systemd's calendar timers see them.
//!
//! systemd searches wall clock times field by field and asks the C library what moment each is. On days when the
//! clocks change that search decides: a time that the clocks jump over is left out, a time that comes twice is the
//! first one (the second, when the search begins after the change). So the search itself is repeated here
//! (systemd.time(7); `find_next` in its `calendarspec.c`), and a test compares a thousand schedules with
//! `systemd-analyze calendar`.

mod rule;
mod search;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use self::rule::Rule;
use crate::site::{Schedule, TimeZoneName};

/// When a schedule runs, in one time zone.
#[derive(Debug, Clone)]
pub struct Calendar {
    rules: Vec<Rule>,
    zone: TimeZone,
    zone_name: String,
}

/// Further back than this no earlier run is looked for.
const LOOK_BACK: SignedDuration = SignedDuration::from_hours(24 * 366 * 9);

/// From here the gaps between runs are measured, so that they do not depend on today. A leap year.
const MEASURED_FROM: Timestamp = Timestamp::constant(1_830_297_600, 0);

/// So many runs are measured: every schedule of minutes, hours, days and weeks comes round.
const MEASURED: usize = 200;

impl Calendar {
    /// The calendar of a schedule; none where it is off. Fails where this machine does not know the zone.
    pub fn of(schedule: &Schedule, zone: &TimeZoneName) -> Result<Option<Self>, jiff::Error> {
        let rules = rule::of(schedule);
        if rules.is_empty() {
            return Ok(None);
        }
        let zone = zone.rules()?;
        // systemd wants the name as it is written in the list of zones.
        let zone_name = zone.iana_name().unwrap_or("UTC").to_owned();
        Ok(Some(Self {
            rules,
            zone,
            zone_name,
        }))
    }

    /// The name of its time zone.
    pub fn zone(&self) -> &str {
        &self.zone_name
    }

    /// A moment as the site's clocks show it.
    pub fn local(&self, at: Timestamp) -> jiff::Zoned {
        at.to_zoned(self.zone.clone())
    }

    /// `OnCalendar=` of a systemd timer. Two, where cron fields give both days: cron takes either, systemd takes both.
    pub fn expressions(&self) -> Vec<String> {
        let each = self.rules.iter();
        each.map(|rule| format!("{rule} {}", self.zone_name))
            .collect()
    }

    /// The first run after a moment; none if it never runs again.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let each = self.rules.iter();
        each.filter_map(|rule| search::next(rule, &self.zone, after))
            .min()
    }

    /// The runs after a moment, one after the other.
    pub fn runs(&self, after: Timestamp) -> Runs<'_> {
        Runs {
            calendar: self,
            after: Some(after),
        }
    }

    /// The last run up to a moment, that moment included.
    pub fn previous(&self, at: Timestamp) -> Option<Timestamp> {
        let mut back = SignedDuration::from_hours(1);
        while back < LOOK_BACK {
            let begin = at.checked_sub(back).ok()?;
            if let Some(last) = self.runs(begin).take_while(|run| *run <= at).last() {
                return Some(last);
            }
            back = back.saturating_mul(4);
        }
        None
    }

    /// The shortest time between two runs; none when it runs once at most.
    pub fn shortest_gap(&self) -> Option<SignedDuration> {
        let runs: Vec<_> = self.runs(MEASURED_FROM).take(MEASURED).collect();
        let gaps = runs.windows(2);
        gaps.map(|pair| pair[1].duration_since(pair[0])).min()
    }
}

/// Runs in their order.
pub struct Runs<'a> {
    calendar: &'a Calendar,
    after: Option<Timestamp>,
}

impl Iterator for Runs<'_> {
    type Item = Timestamp;

    fn next(&mut self) -> Option<Timestamp> {
        self.after = self.calendar.next(self.after?);
        self.after
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calendar(schedule: &str, zone: &str) -> Calendar {
        let zone = zone.parse().unwrap();
        Calendar::of(&schedule.parse().unwrap(), &zone)
            .unwrap()
            .unwrap()
    }

    fn runs(schedule: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
        let calendar = calendar(schedule, zone);
        let runs = calendar.runs(after.parse().unwrap()).take(count);
        runs.map(|run| run.to_string()).collect()
    }

    #[test]
    fn schedules_are_said_in_systemd_s_words() {
        for (schedule, said) in [
            ("hourly", vec!["*-*-* *:00:00 Europe/Berlin"]),
            ("daily 02:30", vec!["*-*-* 02:30:00 Europe/Berlin"]),
            ("weekly sun 05:00", vec!["Sun *-*-* 05:00:00 Europe/Berlin"]),
            ("monthly 1 06:00", vec!["*-*-01 06:00:00 Europe/Berlin"]),
            (
                "*/15 2-4 * 1,7 1-5",
                vec!["Mon,Tue,Wed,Thu,Fri *-01,07-* 02..04:00,15,30,45:00 Europe/Berlin"],
            ),
            (
                "30 2 1,15 * 0",
                vec![
                    "*-*-01,15 02:30:00 Europe/Berlin",
                    "Sun *-*-* 02:30:00 Europe/Berlin",
                ],
            ),
        ] {
            assert_eq!(calendar(schedule, "europe/berlin").expressions(), said);
        }
        let zone = "UTC".parse().unwrap();
        assert!(Calendar::of(&Schedule::Off, &zone).unwrap().is_none());
    }

    /// The clocks of Berlin go from 02:00 to 03:00 on 29 March, and from 03:00 to 02:00 on 25 October 2026.
    #[test]
    fn berlin() {
        // 02:30 does not exist on the 29th.
        assert_eq!(
            runs("daily 02:30", "Europe/Berlin", "2026-03-27T12:00:00Z", 2),
            ["2026-03-28T01:30:00Z", "2026-03-30T00:30:00Z"]
        );
        // It comes twice on the 25th, and the first is taken.
        assert_eq!(
            runs("daily 02:30", "Europe/Berlin", "2026-10-24T12:00:00Z", 2),
            ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]
        );
        // Every hour of a wall clock is once an hour in spring, and leaves one hour out in autumn.
        assert_eq!(
            runs("hourly", "Europe/Berlin", "2026-03-29T00:30:00Z", 2),
            ["2026-03-29T01:00:00Z", "2026-03-29T02:00:00Z"]
        );
        assert_eq!(
            runs("hourly", "Europe/Berlin", "2026-10-24T23:30:00Z", 2),
            ["2026-10-25T00:00:00Z", "2026-10-25T02:00:00Z"]
        );
    }

    /// The clocks of New York go from 02:00 to 03:00 on 8 March, and from 02:00 to 01:00 on 1 November 2026.
    #[test]
    fn new_york() {
        assert_eq!(
            runs("daily 02:30", "America/New_York", "2026-03-07T12:00:00Z", 1),
            ["2026-03-09T06:30:00Z"]
        );
        assert_eq!(
            runs("daily 01:30", "America/New_York", "2026-10-31T12:00:00Z", 2),
            ["2026-11-01T05:30:00Z", "2026-11-02T06:30:00Z"]
        );
        assert_eq!(
            runs(
                "monthly 1 06:00",
                "America/New_York",
                "2026-10-15T00:00:00Z",
                2
            ),
            ["2026-11-01T11:00:00Z", "2026-12-01T11:00:00Z"]
        );
    }

    /// The clocks of Lord Howe move by half an hour: back at 02:00 on 5 April, ahead at 02:00 on 4 October 2026.
    #[test]
    fn lord_howe() {
        assert_eq!(
            runs(
                "*/15 * * * *",
                "Australia/Lord_Howe",
                "2026-04-04T14:00:00Z",
                4
            ),
            [
                "2026-04-04T14:15:00Z",
                "2026-04-04T14:30:00Z",
                "2026-04-04T14:45:00Z",
                "2026-04-04T15:30:00Z"
            ]
        );
        assert_eq!(
            runs(
                "daily 02:15",
                "Australia/Lord_Howe",
                "2026-10-02T20:00:00Z",
                1
            ),
            ["2026-10-04T15:15:00Z"]
        );
    }

    #[test]
    fn the_run_before_is_found() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let daily = calendar("daily 02:30", "Europe/Berlin");
        for (now, before) in [
            ("2026-03-28T01:30:00Z", "2026-03-28T01:30:00Z"),
            ("2026-03-29T20:00:00Z", "2026-03-28T01:30:00Z"),
            ("2026-10-25T00:29:59Z", "2026-10-24T00:30:00Z"),
            ("2026-10-25T12:00:00Z", "2026-10-25T00:30:00Z"),
        ] {
            assert_eq!(daily.previous(at(now)), Some(at(before)), "{now}");
        }
        let leap = calendar("0 0 29 2 *", "UTC");
        assert_eq!(
            leap.previous(at("2027-12-31T00:00:00Z")),
            Some(at("2024-02-29T00:00:00Z"))
        );
        let never = calendar("0 0 31 2 *", "UTC");
        assert_eq!(never.previous(at("2027-12-31T00:00:00Z")), None);
        assert_eq!(never.next(at("2027-12-31T00:00:00Z")), None);
    }

    #[test]
    fn gaps_are_the_shortest() {
        let gap = |schedule: &str| calendar(schedule, "UTC").shortest_gap().unwrap().as_mins();
        assert_eq!(gap("hourly"), 60);
        assert_eq!(gap("*/15 2 * * *"), 15);
        assert_eq!(gap("weekly sun 05:00"), 7 * 24 * 60);
    }
}
