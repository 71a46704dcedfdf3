//! One turn of a schedule: whether it is due, the lock, the work, the record.

use std::path::PathBuf;
use std::time::Duration;

use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};

use super::record::{Ended, RecordError, Records, Turn};
use super::{Calendar, Name};
use crate::clock::Clock;
use crate::engine::{Stop, StopLevel};
use crate::exit::Exit;
use crate::journal::{Holder, LockError, RunLock};

/// How often a turn asks again while another run holds the site.
const ASK_AGAIN: Duration = Duration::from_mins(1);

/// A turn waits for another run at most so long.
const PATIENCE: Duration = Duration::from_hours(4);

/// A timer that elapses for its time does so within this.
const AT_ITS_TIME: SignedDuration = SignedDuration::from_hours(1);

/// What happens in a turn. Called again while it answers [`Exit::Locked`].
pub trait Work: Send + Sync {
    fn start(&self) -> BoxFuture<'_, (Exit, Option<String>)>;
}

/// Whether a turn must be due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// A person asked.
    Now,
    /// A timer asked: only if a time has passed that no turn has dealt with.
    IfDue,
}

/// A turn to take.
pub struct Job<'a> {
    pub name: Name,
    /// None where the schedule is off.
    pub calendar: Option<&'a Calendar>,
    /// The site's state directory.
    pub site_dir: PathBuf,
    pub when: When,
    /// Who takes it, for the lock.
    pub me: Holder,
    pub clock: Clock,
    pub stop: Stop,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Took {
    /// Every time that passed is dealt with; nothing was done.
    NotDue { next: Option<Timestamp> },
    /// It was taken, and this is its record and how the work ended.
    Turn { turn: Turn, exit: Exit },
}

/// A turn could not be taken, or not be recorded.
#[derive(Debug, thiserror::Error)]
pub enum ScheduleFault {
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The same schedule is at work.
    #[error(transparent)]
    Lock(#[from] LockError),
}

/// Takes a turn. However many times were missed, it is one turn, and it says how many.
pub async fn run(job: &Job<'_>, work: &dyn Work) -> Result<Took, ScheduleFault> {
    let _lock = RunLock::take(
        &job.site_dir.join("schedule").join(job.name.as_str()),
        &job.me,
    )?;
    let began = job.clock.now();
    let records = Records::read(&job.site_dir, job.name)?;
    let due = job.calendar.and_then(|c| due(job.name, c, &records, began));
    if job.when == When::IfDue && due.is_none() {
        let next = job.calendar.and_then(|c| c.next(began));
        return Ok(Took::NotDue { next });
    }
    let due = due.filter(|_| job.when == When::IfDue);
    let mut turn = Turn {
        run: job.me.run.clone(),
        due: due.map(|(at, _)| at),
        missed: due.map_or(0, |(_, missed)| missed),
        began,
        ended: None,
    };
    Records::begin(&job.site_dir, job.name, &turn)?;
    let (exit, why) = patiently(job, work).await;
    let ended = Ended {
        at: job.clock.now(),
        exit: exit as u8,
        why,
    };
    Records::end(&job.site_dir, job.name, &turn.run, &ended)?;
    turn.ended = Some(ended);
    Ok(Took::Turn { turn, exit })
}

/// The latest time that nobody dealt with, and how many more there were before it. What has never run is due at once,
/// and has missed nothing; but nobody wants a second site because timers were installed: the first drill waits for its
/// time.
fn due(
    name: Name,
    calendar: &Calendar,
    records: &Records,
    now: Timestamp,
) -> Option<(Timestamp, u32)> {
    let latest = calendar.previous(now)?;
    let Some(settled) = records.settled() else {
        let waits = name == Name::Drill && records.turns.is_empty();
        let late = now.duration_since(latest) > AT_ITS_TIME;
        return (!(waits && late)).then_some((latest, 0));
    };
    let open = calendar.runs(settled).take_while(|run| *run < latest);
    let missed = u32::try_from(open.count()).unwrap_or(u32::MAX);
    (latest > settled).then_some((latest, missed))
}

/// Starts the work, and again as long as another run holds the site: an hourly snapshot is often in the way of a weekly
/// check, and the week must not be lost for that.
async fn patiently(job: &Job<'_>, work: &dyn Work) -> (Exit, Option<String>) {
    let mut waited = Duration::ZERO;
    loop {
        let (exit, why) = work.start().await;
        if exit != Exit::Locked || waited >= PATIENCE {
            return (exit, why);
        }
        tokio::select! {
            () = job.clock.sleep(ASK_AGAIN) => waited += ASK_AGAIN,
            () = job.stop.reached(StopLevel::WindDown) => return (Exit::Interrupted, why),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Answers in turn, and then with the last answer.
    struct Answers(Mutex<Vec<Exit>>, Mutex<u32>);

    impl Answers {
        fn of(exits: &[Exit]) -> Self {
            let mut exits = exits.to_vec();
            exits.reverse();
            Self(Mutex::new(exits), Mutex::new(0))
        }

        fn asked(&self) -> u32 {
            *self.1.lock().unwrap()
        }
    }

    impl Work for Answers {
        fn start(&self) -> BoxFuture<'_, (Exit, Option<String>)> {
            let mut exits = self.0.lock().unwrap();
            let exit = if exits.len() > 1 {
                exits.pop().unwrap()
            } else {
                exits[0]
            };
            *self.1.lock().unwrap() += 1;
            Box::pin(async move { (exit, None) })
        }
    }

    struct Site {
        dir: tempfile::TempDir,
        calendar: Calendar,
    }

    impl Site {
        fn new(schedule: &str) -> Self {
            let zone = "Europe/Berlin".parse().unwrap();
            let calendar = Calendar::of(&schedule.parse().unwrap(), &zone).unwrap();
            Self {
                dir: tempfile::tempdir().unwrap(),
                calendar: calendar.unwrap(),
            }
        }

        fn job(&self, run: &str, now: &str, when: When) -> Job<'_> {
            let now: Timestamp = now.parse().unwrap();
            Job {
                name: Name::Full,
                calendar: Some(&self.calendar),
                site_dir: self.dir.path().to_owned(),
                when,
                me: Holder {
                    run: run.into(),
                    verb: "schedule run full".into(),
                    process: 1,
                    host: "bastion".into(),
                    user: "gantry".into(),
                    since: now,
                },
                clock: Clock::played(now, 1),
                stop: Stop::default(),
            }
        }

        async fn take(&self, run_id: &str, now: &str, exit: Exit) -> Took {
            let job = self.job(run_id, now, When::IfDue);
            run(&job, &Answers::of(&[exit])).await.unwrap()
        }
    }

    fn turn(took: Took) -> Turn {
        match took {
            Took::Turn { turn, .. } => turn,
            not @ Took::NotDue { .. } => panic!("{not:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_missed_is_made_up_for_once() {
        let site = Site::new("daily 02:30");
        let first = turn(site.take("a", "2026-03-20T01:31:00Z", Exit::Done).await);
        assert_eq!(first.due.unwrap().to_string(), "2026-03-20T01:30:00Z");
        assert_eq!(first.missed, 0);
        // The machine was off for five days.
        let late = turn(site.take("b", "2026-03-25T09:00:00Z", Exit::Done).await);
        assert_eq!(late.due.unwrap().to_string(), "2026-03-25T01:30:00Z");
        assert_eq!(late.missed, 4);
        // The timer and the boot both ask: the second finds nothing to do.
        let again = site.take("c", "2026-03-25T09:05:00Z", Exit::Done).await;
        let next = Some("2026-03-26T01:30:00Z".parse().unwrap());
        assert_eq!(again, Took::NotDue { next });
        let next = turn(site.take("d", "2026-03-26T01:31:00Z", Exit::Done).await);
        assert_eq!(next.missed, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_waits_for_the_next_time_and_an_interrupt_does_not() {
        let site = Site::new("daily 02:30");
        turn(
            site.take("a", "2026-03-20T01:31:00Z", Exit::Interrupted)
                .await,
        );
        let again = turn(site.take("b", "2026-03-20T02:00:00Z", Exit::Cloud).await);
        assert_eq!(again.ended.unwrap().exit, 4);
        let third = site.take("c", "2026-03-20T03:00:00Z", Exit::Done).await;
        assert!(matches!(third, Took::NotDue { .. }), "{third:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_person_is_not_asked_to_wait_and_takes_no_time_away() {
        let site = Site::new("daily 02:30");
        turn(site.take("a", "2026-03-20T01:31:00Z", Exit::Done).await);
        let job = site.job("b", "2026-03-20T12:00:00Z", When::Now);
        let by_hand = turn(run(&job, &Answers::of(&[Exit::Done])).await.unwrap());
        assert_eq!(by_hand.due, None);
        let next = turn(site.take("c", "2026-03-21T01:31:00Z", Exit::Done).await);
        assert_eq!((next.due.is_some(), next.missed), (true, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn it_waits_while_another_run_holds_the_site() {
        let site = Site::new("weekly sun 05:00");
        let job = site.job("a", "2026-03-22T04:01:00Z", When::IfDue);
        let work = Answers::of(&[Exit::Locked, Exit::Locked, Exit::Done]);
        let taken = turn(run(&job, &work).await.unwrap());
        assert_eq!(work.asked(), 3);
        assert_eq!(taken.took().unwrap(), 2 * ASK_AGAIN);
        // Not for ever: and then the time is still open.
        let job = site.job("b", "2026-03-29T04:01:00Z", When::IfDue);
        let held = turn(run(&job, &Answers::of(&[Exit::Locked])).await.unwrap());
        assert_eq!(held.ended.as_ref().unwrap().exit, 7);
        assert_eq!(held.took().unwrap(), PATIENCE);
        turn(site.take("c", "2026-03-29T10:00:00Z", Exit::Done).await);
    }

    #[tokio::test(start_paused = true)]
    async fn two_never_overlap() {
        let site = Site::new("hourly");
        let job = site.job("a", "2026-03-22T04:01:00Z", When::Now);
        let folder = site.dir.path().join("schedule/full");
        let _held = RunLock::take(&folder, &job.me).unwrap();
        let work = Answers::of(&[Exit::Done]);
        let error = run(&job, &work).await.unwrap_err();
        assert!(matches!(error, ScheduleFault::Lock(LockError::Held(_))));
        assert_eq!(work.asked(), 0);
        assert!(
            Records::read(site.dir.path(), Name::Full)
                .unwrap()
                .turns
                .is_empty()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_drill_waits_for_its_time_and_one_that_was_cut_off_does_not() {
        let site = Site::new("monthly 1 06:00");
        let take = |run_id: &'static str, now: &'static str, exit| {
            let mut job = site.job(run_id, now, When::IfDue);
            job.name = Name::Drill;
            async move { run(&job, &Answers::of(&[exit])).await.unwrap() }
        };
        // The timers are installed in the middle of the month.
        let installed = take("a", "2026-03-20T09:00:00Z", Exit::Done).await;
        assert!(matches!(installed, Took::NotDue { .. }), "{installed:?}");
        let first = turn(take("b", "2026-04-01T04:03:00Z", Exit::Interrupted).await);
        assert_eq!(first.due.unwrap().to_string(), "2026-04-01T04:00:00Z");
        // After a boot what was left is removed at once, and not in a month.
        let again = turn(take("c", "2026-04-03T09:00:00Z", Exit::Done).await);
        assert_eq!(again.due, first.due);
    }

    #[tokio::test(start_paused = true)]
    async fn a_schedule_that_is_off_is_never_due() {
        let site = Site::new("hourly");
        let mut job = site.job("a", "2026-03-22T04:01:00Z", When::IfDue);
        job.calendar = None;
        let took = run(&job, &Answers::of(&[Exit::Done])).await.unwrap();
        assert_eq!(took, Took::NotDue { next: None });
    }
}
