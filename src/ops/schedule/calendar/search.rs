//! systemd's search for the next time that fits, and the C library's answer to which moment a wall clock means.

use std::cmp::Ordering;

use jiff::civil::{Date, DateTime};
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};
use jiff::{SignedDuration, Span, Timestamp};

use super::rule::Rule;

/// systemd gives up after so many rounds.
const ROUNDS: usize = 1000;

/// systemd looks no further than this year.
const LAST_YEAR: i16 = 2199;

/// A reading of a wall clock. Fields may be one too large until it is set right, as the C library's `struct tm`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Wall {
    year: i16,
    month: i8,
    day: i8,
    hour: i8,
    minute: i8,
    /// Any part of a minute is as much as one second: nothing runs within a minute.
    second: i8,
}

impl Wall {
    fn of(time: DateTime) -> Self {
        Self {
            year: time.year(),
            month: time.month(),
            day: time.day(),
            hour: time.hour(),
            minute: time.minute(),
            second: time.second(),
        }
    }

    /// With what is too large carried over; none beyond the years that jiff knows.
    fn carried(self) -> Option<DateTime> {
        let (year, month) = if self.month > 12 {
            (self.year + 1, self.month - 12)
        } else {
            (self.year, self.month)
        };
        let first = Date::new(year, month, 1).ok()?.at(0, 0, 0, 0);
        let span = Span::new()
            .try_days(self.day - 1)
            .and_then(|span| span.try_hours(self.hour))
            .and_then(|span| span.try_minutes(self.minute))
            .and_then(|span| span.try_seconds(self.second));
        first.checked_add(span.ok()?).ok()
    }
}

/// The fields in the order in which they are settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Month,
    Day,
    Hour,
    Minute,
}

const FIELDS: [Field; 4] = [Field::Month, Field::Day, Field::Hour, Field::Minute];

/// Where a field got to.
enum Fits {
    /// Nowhere, or backwards: the field before it must grow.
    Not,
    /// The clocks or the calendar moved it on: begin the round again.
    Moved,
    Yes,
}

struct Search<'a> {
    zone: &'a TimeZone,
    wall: Wall,
    /// The offset of the last answer. The C library begins its next answer with it.
    guess: Offset,
}

/// The first moment after `after` whose wall clock fits.
pub(super) fn next(rule: &Rule, zone: &TimeZone, after: Timestamp) -> Option<Timestamp> {
    let begin = after.checked_add(SignedDuration::from_micros(1)).ok()?;
    let mut wall = Wall::of(zone.to_datetime(begin));
    if begin.subsec_nanosecond() != 0 {
        wall.second = wall.second.max(1);
    }
    let guess = zone.to_offset(begin);
    Search { zone, wall, guess }.run(rule)
}

impl Search<'_> {
    fn run(&mut self, rule: &Rule) -> Option<Timestamp> {
        'round: for _ in 0..ROUNDS {
            self.wall = Wall::of(self.carried_on()?);
            if !matches!(self.stands()?, Fits::Yes) {
                return None;
            }
            for field in FIELDS {
                if field == Field::Hour && !self.weekday_fits(rule)? {
                    self.wall.day += 1;
                    self.restart_below(Field::Day);
                    continue 'round;
                }
                match self.settle(field, rule)? {
                    Fits::Yes => {}
                    Fits::Moved => continue 'round,
                    Fits::Not => {
                        self.grow_before(field);
                        continue 'round;
                    }
                }
            }
            if self.wall.second > 0 {
                self.wall.minute += 1;
                self.wall.second = 0;
                continue;
            }
            return Some(self.moment()?.0);
        }
        None
    }

    /// Moves a field on to the next number that the rule has.
    fn settle(&mut self, field: Field, rule: &Rule) -> Option<Fits> {
        let (now, bits) = match field {
            Field::Month => (&mut self.wall.month, rule.months),
            Field::Day => (&mut self.wall.day, rule.days),
            Field::Hour => (&mut self.wall.hour, rule.hours),
            Field::Minute => (&mut self.wall.minute, rule.minutes),
        };
        let from = u32::try_from(*now).ok()?;
        let later = bits.checked_shr(from).unwrap_or(0);
        if later == 0 {
            return Some(Fits::Not);
        }
        let further = later.trailing_zeros();
        if further > 0 {
            *now = i8::try_from(from + further).ok()?;
            self.restart_below(field);
        }
        self.stands()
    }

    fn restart_below(&mut self, field: Field) {
        let wall = &mut self.wall;
        wall.second = 0;
        if field == Field::Minute {
            return;
        }
        wall.minute = 0;
        if field == Field::Hour {
            return;
        }
        wall.hour = 0;
        if field == Field::Month {
            wall.day = 1;
        }
    }

    fn grow_before(&mut self, field: Field) {
        let wall = &mut self.wall;
        match field {
            Field::Month => {
                wall.year += 1;
                wall.month = 1;
                self.restart_below(Field::Month);
            }
            Field::Day => {
                wall.month += 1;
                self.restart_below(Field::Month);
            }
            Field::Hour => {
                wall.day += 1;
                self.restart_below(Field::Day);
            }
            Field::Minute => {
                wall.hour += 1;
                self.restart_below(Field::Hour);
            }
        }
    }

    fn weekday_fits(&mut self, rule: &Rule) -> Option<bool> {
        let day = self.moment()?.1.weekday().to_sunday_zero_offset();
        Some(rule.weekdays & (1 << day) != 0)
    }

    /// Whether there is such a time. If not, and there is a later one, the clock is moved to where that begins.
    fn stands(&mut self) -> Option<Fits> {
        if self.wall.year > LAST_YEAR {
            return None;
        }
        let mut there = Wall::of(self.moment()?.1);
        let mut order = Ordering::Equal;
        let fields = |wall: &Wall| {
            let Wall {
                month,
                day,
                hour,
                minute,
                second,
                ..
            } = *wall;
            [
                wall.year,
                month.into(),
                day.into(),
                hour.into(),
                minute.into(),
                second.into(),
            ]
        };
        for (place, (is, was)) in fields(&there).iter().zip(fields(&self.wall)).enumerate() {
            order = is.cmp(&was);
            if order == Ordering::Equal {
                continue;
            }
            match place {
                0 => there.month = 1,
                1 => there.day = 1,
                2 => there.hour = 0,
                3 => there.minute = 0,
                4 => there.second = 0,
                _ => {}
            }
            break;
        }
        Some(match order {
            Ordering::Less => Fits::Not,
            Ordering::Equal => Fits::Yes,
            Ordering::Greater => {
                self.wall = there;
                Fits::Moved
            }
        })
    }

    /// The clock that a round begins with: what is too large is carried over, and a time that is left out goes to behind
    /// the gap, whichever side of it is daylight saving. A round that began before the gap again would find a time
    /// that has passed.
    fn carried_on(&mut self) -> Option<DateTime> {
        let time = self.wall.carried()?;
        if let AmbiguousOffset::Gap { before, .. } = self.zone.to_ambiguous_timestamp(time).offset()
        {
            self.guess = before;
            return Some(self.zone.to_datetime(before.to_timestamp(time).ok()?));
        }
        Some(self.moment()?.1)
    }

    /// What `mktime` of the GNU C library makes of the clock: the moment, and the clock of that moment.
    ///
    /// Of a time that comes twice it takes the one that fits the offset of its last answer. A time that is left out it
    /// carries over the gap, to the side where daylight saving is.
    fn moment(&mut self) -> Option<(Timestamp, DateTime)> {
        let time = self.wall.carried()?;
        let offset = match self.zone.to_ambiguous_timestamp(time).offset() {
            AmbiguousOffset::Unambiguous { offset } => offset,
            AmbiguousOffset::Fold { before, after } => {
                if self.guess == before || self.guess == after {
                    self.guess
                } else {
                    self.zone.to_offset(self.guess.to_timestamp(time).ok()?)
                }
            }
            AmbiguousOffset::Gap { before, after } => {
                let summer = |offset: Offset| {
                    let at = offset.to_timestamp(time).ok()?;
                    Some(self.zone.to_offset_info(at).dst().is_dst())
                };
                if !summer(before)? && summer(after)? {
                    after
                } else {
                    before
                }
            }
        };
        self.guess = offset;
        let at = offset.to_timestamp(time).ok()?;
        Some((at, self.zone.to_datetime(at)))
    }
}
