use std::collections::BTreeSet;

use jiff::civil::DateTime;
use proptest::prelude::*;

use super::*;

fn policy(counts: [u32; 5], zone: &str) -> Policy {
    Policy {
        counts,
        within: None,
        immutable_days: None,
        zone: TimeZone::get(zone).unwrap(),
    }
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn id(number: usize) -> PointId {
    format!("20260101T000000Z-{number:06}").parse().unwrap()
}

fn candidate(number: usize, condition: Condition, began: Timestamp) -> Candidate {
    Candidate {
        id: id(number),
        condition,
        saved: Some(Saved {
            purpose: Purpose::Full,
            began,
            ended: began,
        }),
        sound: false,
        pinned: None,
        needs: vec![],
    }
}

fn whole(number: usize, began: &str) -> Candidate {
    candidate(number, Condition::Whole, at(began))
}

fn broken(number: usize, began: &str) -> Candidate {
    candidate(number, Condition::Incomplete, at(began))
}

/// The numbers of the points that stay.
fn kept(policy: &Policy, now: &str, points: &[Candidate]) -> Vec<usize> {
    let verdicts = judge(policy, at(now), points);
    let kept = verdicts.iter().enumerate();
    kept.filter(|(_, verdict)| verdict.fate == Fate::Keep)
        .map(|(number, _)| number)
        .collect()
}

/// Points at these moments of local time, in order.
fn local(zone: &str, moments: &[&str]) -> Vec<Candidate> {
    let zone = TimeZone::get(zone).unwrap();
    let points = moments.iter().enumerate().map(|(number, moment)| {
        let began = match moment.parse::<DateTime>() {
            Ok(local) => zone.to_timestamp(local).unwrap(),
            Err(_) => at(moment),
        };
        candidate(number, Condition::Whole, began)
    });
    points.collect()
}

const NOW: &str = "2030-01-01T00:00:00Z";

#[test]
fn each_span_keeps_the_newest_of_those_that_have_one() {
    // Two a day, on days with gaps.
    let points = local(
        "Europe/Berlin",
        &[
            "2026-11-20T02:30",
            "2026-11-20T14:30",
            "2026-11-22T02:30",
            "2026-11-24T02:30",
            "2026-11-24T14:30",
        ],
    );
    let daily = |count| policy([0, count, 0, 0, 0], "Europe/Berlin");
    assert_eq!(kept(&daily(2), NOW, &points), [2, 4]);
    assert_eq!(kept(&daily(3), NOW, &points), [1, 2, 4]);
    assert_eq!(kept(&daily(9), NOW, &points), [1, 2, 4]);
    // With nothing asked for, the newest stays.
    assert_eq!(kept(&daily(0), NOW, &points), [4]);
}

#[test]
fn reasons_read_well() {
    let mut points = local(
        "Europe/Berlin",
        &["2026-11-23T02:30", "2026-11-24T02:30", "2026-11-24T03:30"],
    );
    points[0].pinned = Some("ann: the audit of 2026".into());
    points[0].sound = true;
    let mut policy = policy([1, 1, 1, 1, 1], "Europe/Berlin");
    policy.immutable_days = Some(1);
    let verdicts = judge(&policy, at("2026-11-25T02:00:00Z"), &points);
    let told: Vec<String> = verdicts
        .iter()
        .map(|verdict| format!("{:?}: {}", verdict.fate, verdict.why()))
        .collect();
    assert_eq!(
        told,
        [
            "Keep: last verified point; pinned by ann: the audit of 2026",
            "Drop: no rule keeps it",
            "Keep: newest of all; the newest of 2026-11-24 03:00+01:00 (hourly); the newest of 2026-11-24 (daily); \
             the newest of 2026-W48 (weekly); the newest of 2026-11 (monthly); the newest of 2026 (yearly); \
             held until 2026-11-25 03:30 (object lock)",
        ]
    );
}

/// Zone, span, how many, the moments in local time (or with an offset), and which of them stay.
type Line = (
    &'static str,
    Span,
    u32,
    &'static [&'static str],
    &'static [usize],
);

#[test]
fn days_on_which_clocks_change_leap_days_and_ends_of_years() {
    use Span::{Daily, Hourly, Monthly, Weekly, Yearly};
    const BERLIN: &str = "Europe/Berlin";
    const NEW_YORK: &str = "America/New_York";
    const LORD_HOWE: &str = "Australia/Lord_Howe";
    #[rustfmt::skip]
    let lines: [Line; 22] = [
        // The hour from two to three comes twice: two hours.
        (BERLIN, Hourly, 9, &["2026-10-25T00:30:00Z", "2026-10-25T00:50:00Z", "2026-10-25T01:30:00Z"], &[1, 2]),
        (NEW_YORK, Hourly, 9, &["2026-11-01T05:10:00Z", "2026-11-01T05:50:00Z", "2026-11-01T06:10:00Z"], &[1, 2]),
        // There the clocks are put back by half an hour: the hour from one to two has a second half of its own.
        (LORD_HOWE, Hourly, 9, &["2026-04-04T14:10:00Z", "2026-04-04T14:50:00Z", "2026-04-04T15:10:00Z"], &[1, 2]),
        // The hour that is left out keeps nothing apart: one before it, one after it.
        (BERLIN, Hourly, 9, &["2026-03-29T00:59:59Z", "2026-03-29T01:00:00Z"], &[0, 1]),
        (NEW_YORK, Hourly, 1, &["2026-03-08T06:59:59Z", "2026-03-08T07:00:00Z"], &[1]),
        // A day of 23 and a day of 25 hours are one day each.
        (BERLIN, Daily, 9, &["2026-03-29T00:00", "2026-03-29T23:59", "2026-03-30T00:00"], &[1, 2]),
        (BERLIN, Daily, 9, &["2026-10-24T22:00:00Z", "2026-10-25T22:59:00Z", "2026-10-25T23:00:00Z"], &[1, 2]),
        (NEW_YORK, Daily, 9, &["2026-11-01T00:00", "2026-11-01T23:59", "2026-11-02T00:00"], &[1, 2]),
        (NEW_YORK, Daily, 9, &["2026-03-08T05:00:00Z", "2026-03-09T03:59:00Z", "2026-03-09T04:00:00Z"], &[1, 2]),
        (LORD_HOWE, Daily, 9, &["2026-04-05T00:00", "2026-04-05T23:59", "2026-04-06T00:00"], &[1, 2]),
        // One moment is of three days: the zone of the site decides.
        (BERLIN, Daily, 9, &["2026-06-30T21:30:00Z", "2026-06-30T22:30:00Z"], &[0, 1]),
        (NEW_YORK, Daily, 9, &["2026-06-30T21:30:00Z", "2026-06-30T22:30:00Z"], &[1]),
        (LORD_HOWE, Daily, 9, &["2026-06-30T13:00:00Z", "2026-06-30T14:00:00Z"], &[0, 1]),
        // The leap day is a day of February.
        (BERLIN, Daily, 2, &["2028-02-28T12:00", "2028-02-29T12:00", "2028-03-01T12:00"], &[1, 2]),
        (NEW_YORK, Monthly, 2, &["2028-01-31T12:00", "2028-02-28T12:00", "2028-02-29T23:59", "2028-03-01T00:00"], &[2, 3]),
        (LORD_HOWE, Monthly, 1, &["2028-02-28T12:00", "2028-02-29T12:00"], &[1]),
        // 31 December 2026 is a Thursday of week 53, which ends on 3 January.
        (BERLIN, Weekly, 2, &["2026-12-27T12:00", "2026-12-31T12:00", "2027-01-03T12:00", "2027-01-04T12:00"], &[2, 3]),
        // 31 December 2029 is a Monday of the first week of 2030.
        (NEW_YORK, Weekly, 2, &["2029-12-30T12:00", "2029-12-31T12:00", "2030-01-06T12:00"], &[0, 2]),
        // New year comes at another moment in each zone.
        (BERLIN, Yearly, 2, &["2026-12-31T22:59:00Z", "2026-12-31T23:00:00Z"], &[0, 1]),
        (NEW_YORK, Yearly, 2, &["2026-12-31T23:00:00Z", "2027-01-01T04:59:00Z", "2027-01-01T05:00:00Z"], &[1, 2]),
        (LORD_HOWE, Yearly, 2, &["2026-12-31T12:59:00Z", "2026-12-31T13:00:00Z"], &[0, 1]),
        (LORD_HOWE, Monthly, 2, &["2026-12-31T12:59:00Z", "2026-12-31T13:00:00Z"], &[0, 1]),
    ];
    for (zone, span, count, moments, stay) in lines {
        let mut counts = [0; 5];
        counts[span as usize] = count;
        let policy = policy(counts, zone);
        let points = local(zone, moments);
        assert_eq!(
            kept(&policy, NOW, &points),
            stay,
            "{zone} {span:?} {count} {moments:?}"
        );
    }
}

#[test]
fn an_offset_of_half_an_hour_moves_the_hours() {
    let policy = policy([9, 0, 0, 0, 0], "Asia/Kolkata");
    let points = local(
        "Asia/Kolkata",
        &["2026-06-30T18:25:00Z", "2026-06-30T18:35:00Z"],
    );
    assert_eq!(kept(&policy, NOW, &points), [0, 1]);
}

#[test]
fn within_is_counted_from_the_newest() {
    let mut policy = policy([0; 5], "UTC");
    policy.within = Some(SignedDuration::from_hours(48));
    let points = [
        whole(0, "2026-11-20T00:00:00Z"),
        whole(1, "2026-11-22T23:59:59Z"),
        whole(2, "2026-11-23T00:00:00Z"),
        whole(3, "2026-11-25T00:00:00Z"),
    ];
    // Years later, with backups long stopped, the last ones are still all there.
    assert_eq!(kept(&policy, NOW, &points), [2, 3]);
}

#[test]
fn snapshots_and_full_points_are_counted_apart() {
    let policy = policy([0, 1, 0, 0, 0], "UTC");
    let mut points = vec![
        whole(0, "2026-11-24T02:30:00Z"),
        whole(1, "2026-11-25T02:30:00Z"),
        whole(2, "2026-11-25T03:00:00Z"),
        whole(3, "2026-11-25T04:00:00Z"),
    ];
    for snapshot in &mut points[2..] {
        snapshot.saved.as_mut().unwrap().purpose = Purpose::Snapshot;
    }
    assert_eq!(kept(&policy, NOW, &points), [1, 3]);
}

#[test]
fn a_failed_attempt_stops_the_pruning_of_its_sort() {
    let policy = policy([0, 1, 0, 0, 0], "UTC");
    let mut points = vec![
        whole(0, "2026-11-23T02:30:00Z"),
        whole(1, "2026-11-24T02:30:00Z"),
        broken(2, "2026-11-25T02:30:00Z"),
        whole(3, "2026-11-23T04:00:00Z"),
        whole(4, "2026-11-24T04:00:00Z"),
    ];
    for snapshot in &mut points[3..] {
        snapshot.saved.as_mut().unwrap().purpose = Purpose::Snapshot;
    }
    assert_eq!(kept(&policy, NOW, &points), [0, 1, 2, 4]);
    let verdicts = judge(&policy, at(NOW), &points);
    assert_eq!(
        verdicts[0].reasons,
        [Reason::Stuck { attempt: id(2) }],
        "{}",
        verdicts[0].why()
    );
    // A whole one after it sets it going again.
    points.push(whole(5, "2026-11-26T02:30:00Z"));
    assert_eq!(kept(&policy, NOW, &points), [4, 5]);
}

#[test]
fn incomplete_points_go_after_a_week_and_never_count() {
    let policy = policy([0, 5, 0, 0, 0], "UTC");
    let points = [
        whole(0, "2026-11-20T02:30:00Z"),
        broken(1, "2026-11-21T02:30:00Z"),
        whole(2, "2026-11-22T02:30:00Z"),
    ];
    let verdicts = judge(&policy, at("2026-11-28T02:29:59Z"), &points);
    assert_eq!(
        verdicts[1].why(),
        "incomplete: never counts, dropped after 2026-11-28 02:30"
    );
    assert_eq!(kept(&policy, "2026-11-28T02:30:00Z", &points), [0, 2]);
}

#[test]
fn chains_stay_whole() {
    let policy = policy([0, 1, 0, 0, 0], "UTC");
    let mut points: Vec<Candidate> = (1..=9)
        .map(|day| whole(day - 1, &format!("2026-11-0{day}T02:30:00Z")))
        .collect();
    // Two chains: 0-1-2, and 3-4-5 with 8 that goes on after two others.
    for (point, first, previous) in [(1, 0, 0), (2, 0, 1), (4, 3, 3), (5, 3, 4), (8, 3, 5)] {
        points[point].needs = vec![id(first), id(previous)];
    }
    assert_eq!(kept(&policy, NOW, &points), [3, 4, 5, 8]);
    let verdicts = judge(&policy, at(NOW), &points);
    assert_eq!(verdicts[4].reasons, [Reason::BaseOf { point: id(5) }]);
    // The first chain stays for its pinned end.
    points[2].pinned = Some("ann: audit".into());
    assert_eq!(kept(&policy, NOW, &points), [0, 1, 2, 3, 4, 5, 8]);
}

#[test]
fn what_nobody_can_judge_stays_and_what_is_being_dropped_goes() {
    let policy = policy([0, 1, 0, 0, 0], "UTC");
    let mut points = vec![
        candidate(0, Condition::Untrusted, at("2026-11-01T00:00:00Z")),
        candidate(1, Condition::Unfinished, at("2026-11-01T00:00:00Z")),
        candidate(2, Condition::Dropping, at("2026-12-01T00:00:00Z")),
        whole(3, "2026-11-02T00:00:00Z"),
    ];
    points[0].saved = None;
    points[1].saved = None;
    // What is being dropped is no newest, and no pin brings it back.
    points[2].pinned = Some("ann: too late".into());
    assert_eq!(kept(&policy, NOW, &points), [0, 1, 3]);
}

#[test]
fn holds_end() {
    let mut policy = policy([0, 1, 0, 0, 0], "UTC");
    policy.immutable_days = Some(14);
    let points = [
        whole(0, "2026-11-01T02:30:00Z"),
        whole(1, "2026-11-10T02:30:00Z"),
    ];
    assert_eq!(kept(&policy, "2026-11-15T02:29:59Z", &points), [0, 1]);
    assert_eq!(kept(&policy, "2026-11-15T02:30:00Z", &points), [1]);
}

fn any_condition() -> impl Strategy<Value = Condition> {
    prop_oneof![
        8 => Just(Condition::Whole),
        2 => Just(Condition::Incomplete),
        1 => Just(Condition::Dropping),
        1 => Just(Condition::Untrusted),
    ]
}

/// Points over two years, some in chains, some pinned, some verified.
fn any_points() -> impl Strategy<Value = Vec<Candidate>> {
    let point = (
        any_condition(),
        0..17_520_i64,
        0..60_i64,
        any::<bool>(),
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.2),
        prop::option::weighted(0.3, any::<prop::sample::Index>()),
    );
    prop::collection::vec(point, 0..60).prop_map(|points| {
        let count = points.len();
        let points = points.into_iter().enumerate();
        points
            .map(
                |(number, (condition, hours, minutes, full, pinned, sound, needs))| {
                    let began = at("2026-01-01T00:00:00Z")
                        + SignedDuration::from_mins(hours * 60 + minutes);
                    let mut point = candidate(number, condition, began);
                    if !full {
                        point.saved.as_mut().unwrap().purpose = Purpose::Snapshot;
                    }
                    if condition == Condition::Untrusted {
                        point.saved = None;
                    }
                    point.pinned = pinned.then(|| "ann: because".to_owned());
                    point.sound = sound;
                    point.needs = needs
                        .map(|index| index.index(count))
                        .filter(|needed| *needed != number)
                        .map(id)
                        .into_iter()
                        .collect();
                    point
                },
            )
            .collect()
    })
}

fn any_policy() -> impl Strategy<Value = Policy> {
    let zone = prop::sample::select(vec![
        "UTC",
        "Europe/Berlin",
        "America/New_York",
        "Australia/Lord_Howe",
        "Asia/Kolkata",
    ]);
    let counts = [0..6_u32, 0..6, 0..6, 0..6, 0..3];
    let within = prop::option::of(1..500_i64);
    (zone, counts, within, prop::option::of(1..60_u32)).prop_map(
        |(zone, counts, within, immutable_days)| Policy {
            within: within.map(SignedDuration::from_hours),
            immutable_days,
            ..policy(counts, zone)
        },
    )
}

/// The points that a prune shows to go.
fn going(policy: &Policy, points: &[Candidate]) -> BTreeSet<PointId> {
    let verdicts = judge(policy, at("2028-01-01T00:00:00Z"), points);
    let going = verdicts
        .into_iter()
        .filter(|verdict| verdict.fate == Fate::Drop);
    going.map(|verdict| verdict.id).collect()
}

/// A prune on a shelf of points, as its runbook has it: all that go are marked before any is removed. It is killed
/// after so many steps.
fn prune(policy: &Policy, shelf: &mut Vec<Candidate>, steps: usize) {
    let going: Vec<PointId> = going(policy, shelf).into_iter().collect();
    let marked = steps.min(going.len());
    let removed = (steps - marked).min(going.len());
    for point in shelf.iter_mut() {
        if going[..marked].contains(&point.id) {
            point.condition = Condition::Dropping;
        }
    }
    shelf.retain(|point| !going[..removed].contains(&point.id));
}

/// The bucket a moment is in, worked out another way than by the label.
fn bucket(span: Span, zone: &TimeZone, at: Timestamp) -> (i64, i64, i64) {
    let at = at.to_zoned(zone.clone());
    let (year, month, day) = (at.year(), at.month(), at.day());
    match span {
        Span::Hourly => (
            at.timestamp().as_second() - i64::from(at.minute()) * 60 - i64::from(at.second()),
            i64::from(at.offset().seconds()),
            0,
        ),
        Span::Daily => (i64::from(year), i64::from(month), i64::from(day)),
        Span::Weekly => {
            let back = i64::from(at.weekday().to_monday_zero_offset());
            let monday = at.date() - jiff::Span::new().days(back);
            let (year, month, day) = (monday.year(), monday.month(), monday.day());
            (i64::from(year), i64::from(month), i64::from(day))
        }
        Span::Monthly => (i64::from(year), i64::from(month), 0),
        Span::Yearly => (i64::from(year), 0, 0),
    }
}

proptest! {
    #[test]
    fn never_fewer_than_asked_for(points in any_points(), policy in any_policy()) {
        let verdicts = judge(&policy, at("2028-01-01T00:00:00Z"), &points);
        for purpose in [Purpose::Full, Purpose::Snapshot] {
            let of = |keep: bool| -> Vec<Timestamp> {
                let both = points.iter().zip(&verdicts);
                both.filter(|(_, verdict)| !keep || verdict.fate == Fate::Keep)
                    .filter_map(|(point, _)| Some(point.saved_as(Condition::Whole, purpose)?.began))
                    .collect()
            };
            prop_assert_eq!(of(true).into_iter().max(), of(false).into_iter().max(), "the newest stays");
            for span in Span::ALL {
                let wanted = policy.count(span) as usize;
                let buckets = |moments: Vec<Timestamp>| -> BTreeSet<_> {
                    moments.into_iter().map(|at| bucket(span, &policy.zone, at)).collect()
                };
                let (have, stay) = (buckets(of(false)), buckets(of(true)));
                let expected: Vec<_> = have.iter().rev().take(wanted).collect();
                for one in expected {
                    prop_assert!(stay.contains(one), "{:?} of {:?}", one, span);
                }
            }
        }
    }

    #[test]
    fn pruning_what_was_pruned_drops_nothing(points in any_points(), policy in any_policy()) {
        let now = at("2028-01-01T00:00:00Z");
        let first = judge(&policy, now, &points);
        let left: Vec<Candidate> = points.iter().zip(&first)
            .filter(|(_, verdict)| verdict.fate == Fate::Keep)
            .map(|(point, _)| point.clone())
            .collect();
        let second = judge(&policy, now, &left);
        for verdict in &second {
            prop_assert_eq!(verdict.fate, Fate::Keep, "{}: {}", &verdict.id, verdict.why());
        }
    }

    #[test]
    fn what_goes_is_what_was_shown_wherever_the_run_was_cut(
        points in any_points(),
        policy in any_policy(),
        steps in 0..120_usize,
    ) {
        let shown = going(&policy, &points);
        let mut shelf = points.clone();
        prune(&policy, &mut shelf, steps);
        prune(&policy, &mut shelf, usize::MAX);
        let left: BTreeSet<&PointId> = shelf.iter().map(|point| &point.id).collect();
        let gone: BTreeSet<PointId> = points.iter()
            .map(|point| point.id.clone())
            .filter(|id| !left.contains(id))
            .collect();
        prop_assert_eq!(gone, shown);
        prop_assert_eq!(going(&policy, &shelf), BTreeSet::new(), "nothing is left to drop");
    }

    #[test]
    fn whatever_must_stay_stays(points in any_points(), policy in any_policy()) {
        let verdicts = judge(&policy, at("2028-01-01T00:00:00Z"), &points);
        let stays = |id: &PointId| verdicts.iter().any(|v| v.id == *id && v.fate == Fate::Keep);
        for (point, verdict) in points.iter().zip(&verdicts) {
            prop_assert!(!verdict.reasons.is_empty());
            if point.condition == Condition::Dropping {
                prop_assert_eq!(verdict.fate, Fate::Drop);
                continue;
            }
            let must = point.pinned.is_some() || point.condition == Condition::Untrusted;
            prop_assert!(!must || verdict.fate == Fate::Keep, "{}", &point.id);
            if verdict.fate == Fate::Keep {
                for needed in &point.needs {
                    let gone = points.iter().any(|p| p.id == *needed && p.condition == Condition::Dropping);
                    prop_assert!(gone || stays(needed), "{} needs {needed}", &point.id);
                }
            }
        }
        for purpose in [Purpose::Full, Purpose::Snapshot] {
            let whole = points.iter().filter_map(|point| Some((point.saved_as(Condition::Whole, purpose)?.began, point)));
            let verified = whole.filter(|(_, point)| point.sound).max_by_key(|(began, point)| (*began, point.id.clone()));
            if let Some((_, point)) = verified {
                prop_assert!(stays(&point.id), "the last verified, {}", &point.id);
            }
        }
    }

    #[test]
    fn the_order_of_the_list_changes_nothing(points in any_points(), policy in any_policy()) {
        let now = at("2028-01-01T00:00:00Z");
        let forth = judge(&policy, now, &points);
        let mut turned: Vec<Candidate> = points.clone();
        turned.reverse();
        let mut back = judge(&policy, now, &turned);
        back.reverse();
        prop_assert_eq!(forth, back);
    }
}

#[test]
fn the_last_who_looked_decides_whether_a_point_is_sound() {
    use crate::ops::point::{Drilled, Health, Listed, Marks, Standing, Verified};
    let id: PointId = "20261125T023000Z-1a2b3c".parse().unwrap();
    let verified = |at: &str, outcome| Verified {
        at: at.parse().unwrap(),
        share: 0,
        outcome,
        findings: vec![],
    };
    let drilled = |at: &str, outcome| Drilled {
        at: at.parse().unwrap(),
        outcome,
        proof: serde_json::Value::Null,
    };
    let (early, late) = ("2026-11-26T05:00:00Z", "2026-11-27T06:00:00Z");
    let (good, bad) = (Health::Sound, Health::Faulty);
    for (verified, drilled, sound) in [
        (None, None, false),
        (Some(verified(early, good)), None, true),
        (None, Some(drilled(early, good)), true),
        (Some(verified(early, good)), Some(drilled(late, bad)), false),
        (Some(verified(late, good)), Some(drilled(early, bad)), true),
        (Some(verified(early, bad)), Some(drilled(late, good)), true),
    ] {
        let marks = Marks {
            verified,
            drilled,
            ..Marks::default()
        };
        let listed = Listed {
            id: id.clone(),
            standing: Standing::Signed(Box::new(crate::ops::backup::tests::manifest(&id))),
            marks: marks.clone(),
            doubts: vec![],
            keys: vec![],
        };
        assert_eq!(Candidate::of(&listed).sound, sound, "{marks:?}");
    }
}

#[test]
fn a_point_of_some_parts_takes_the_place_of_no_full_one() {
    let policy = policy([0, 1, 0, 0, 0], "UTC");
    let some = |number: usize, began: &str| {
        let mut point = whole(number, began);
        point.saved.as_mut().unwrap().purpose = Purpose::Partial;
        point
    };
    let points = [
        whole(0, "2026-11-24T02:30:00Z"),
        whole(1, "2026-11-25T02:30:00Z"),
        some(2, "2026-11-25T16:00:00Z"),
        some(3, "2026-11-25T17:00:00Z"),
    ];
    // The newest full one, and the newest of those that a person asked for.
    assert_eq!(kept(&policy, "2026-11-25T18:00:00Z", &points), [1, 3]);
}
