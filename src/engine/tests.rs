//! The engine on plain futures: order, failure, interrupts.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{Event, Halt, Observer, Outcome, Step, Stop, chains, run};
use crate::clock::Clock;

type Log = Arc<Mutex<Vec<String>>>;

fn step(name: &str, after: &[usize], log: &Log, result: Result<(), Halt<String>>) -> Step<String> {
    let (log, called) = (log.clone(), name.to_owned());
    Step {
        name: name.to_owned(),
        verb: "create",
        usual: Duration::from_secs(10),
        after: after.to_vec(),
        lane: "x".into(),
        work: Box::new(move || {
            Box::pin(async move {
                log.lock().unwrap().push(called);
                result
            })
        }),
    }
}

fn silent() -> Observer {
    Arc::new(|_| {})
}

#[tokio::test]
async fn steps_run_after_what_they_need() {
    let log = Log::default();
    let steps = vec![
        step("a", &[], &log, Ok(())),
        step("b", &[0], &log, Ok(())),
        step("c", &[0, 1], &log, Ok(())),
    ];
    assert_eq!(chains(&steps), [30, 20, 10].map(Duration::from_secs));
    let report = run(steps, &Stop::default(), Clock::System, &silent()).await;
    assert!(report.complete());
    assert_eq!(*log.lock().unwrap(), ["a", "b", "c"]);
}

#[tokio::test]
async fn a_failure_stops_what_stands_on_it_and_nothing_else() {
    let log = Log::default();
    let steps = vec![
        step("a", &[], &log, Err(Halt::Failed("no".into()))),
        step("b", &[0], &log, Ok(())),
        step("c", &[1], &log, Ok(())),
        step("d", &[], &log, Ok(())),
    ];
    let report = run(steps, &Stop::default(), Clock::System, &silent()).await;
    let outcomes: Vec<_> = report.outcomes.iter().map(|(_, _, o)| o.clone()).collect();
    assert_eq!(
        outcomes,
        [
            Outcome::Failed("no".into()),
            Outcome::Blocked { by: "a".into() },
            Outcome::Blocked { by: "a".into() },
            Outcome::Done
        ]
    );
}

#[tokio::test]
async fn after_an_interrupt_nothing_new_starts() {
    let log = Log::default();
    let stop = Stop::default();
    let pressing = stop.clone();
    let mut first = step("a", &[], &log, Ok(()));
    first.work = Box::new(move || {
        Box::pin(async move {
            pressing.press();
            Ok(())
        })
    });
    let report = run(
        vec![first, step("b", &[0], &log, Ok(()))],
        &stop,
        Clock::System,
        &silent(),
    )
    .await;
    assert!(report.interrupted());
    assert_eq!(report.outcomes[1].2, Outcome::NotStarted);
    assert!(log.lock().unwrap().is_empty());
}

#[tokio::test]
async fn events_tell_the_story_in_order() {
    let seen: Arc<Mutex<Vec<Event>>> = Arc::default();
    let keep = seen.clone();
    let observer: Observer = Arc::new(move |e| keep.lock().unwrap().push(e.clone()));
    let log = Log::default();
    run(
        vec![step("a", &[], &log, Ok(()))],
        &Stop::default(),
        Clock::System,
        &observer,
    )
    .await;
    let seen = seen.lock().unwrap();
    assert!(matches!(seen[0], Event::Planned { .. }));
    assert!(matches!(seen[1], Event::Started { .. }));
    assert!(matches!(seen[2], Event::Finished { .. }));
    assert!(matches!(seen[3], Event::Summary(_)));
}
