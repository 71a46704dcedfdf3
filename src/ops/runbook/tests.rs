//! Order, resuming, marks.

use std::sync::Mutex;

use serde_json::json;

use super::super::MemoryLedger;
use super::*;

type Said = Arc<Mutex<Vec<String>>>;

fn says(said: &Said, word: &str) -> Act {
    let (said, word) = (said.clone(), word.to_owned());
    act(move |_| {
        let (said, word) = (said.clone(), word.clone());
        async move {
            said.lock().unwrap().push(word.clone());
            Ok(word)
        }
    })
}

fn fails() -> Act {
    act(|cx: StageCx| async move {
        Err::<(), _>(OpsFault::check(cx.stage, "it says no", "ask again").into())
    })
}

/// `stop` stops the workers, `one` and `two` need that, `end` comes last.
fn book(said: &Said, two: Act) -> Runbook {
    let mut book = Runbook::new("test", json!({}));
    book.add(
        Stage::new("stop", "stop", says(said, "stop")).leaves_a_mark(says(said, "start again")),
    );
    book.add(Stage::new("one", "do", says(said, "one")).after("stop"));
    book.add(Stage::new("two", "do", two).after("one"));
    book.add(Stage::new("other", "do", says(said, "other")));
    book.add(Stage::new("end", "do", says(said, "end")).after_all(["two", "other"]));
    book
}

async fn carry(book: Runbook, ledger: &MemoryLedger) -> Result<Report<OpsFault>, OpsFault> {
    carry_out(
        book,
        "run-1",
        Arc::new(ledger.clone()),
        &Stop::default(),
        Clock::System,
        &crate::session::silent(),
    )
    .await
}

fn taken(said: &Said) -> Vec<String> {
    std::mem::take(&mut said.lock().unwrap())
}

#[tokio::test]
async fn stages_run_in_their_order_and_marks_go() {
    let said = Said::default();
    let ledger = MemoryLedger::default();
    let report = carry(book(&said, says(&said, "two")), &ledger)
        .await
        .unwrap();
    assert!(report.complete());
    let said = taken(&said);
    let at = |word: &str| said.iter().position(|s| s == word).unwrap();
    assert!(at("stop") < at("one") && at("one") < at("two") && at("two") < at("end"));
    assert!(at("end") < at("start again"));
    assert_eq!(ledger.story().ended.as_deref(), Some("done"));
}

#[tokio::test]
async fn a_failure_takes_marks_away_and_the_next_run_goes_on() {
    let said = Said::default();
    let ledger = MemoryLedger::default();
    let report = carry(book(&said, fails()), &ledger).await.unwrap();
    assert!(!report.complete());
    let first = taken(&said);
    assert!(!first.contains(&"end".to_owned()), "{first:?}");
    assert_eq!(first.last().unwrap(), "start again");
    let report = carry(book(&said, says(&said, "two")), &ledger)
        .await
        .unwrap();
    assert!(report.complete());
    // The mark is made again for those that need it; what is done is not done again.
    assert_eq!(taken(&said), ["stop", "two", "end", "start again"]);
}

#[tokio::test]
async fn killed_at_every_entry_and_run_again_it_ends_the_same() {
    let whole = MemoryLedger::default();
    let said = Said::default();
    carry(book(&said, says(&said, "two")), &whole)
        .await
        .unwrap();
    for cut in 0..whole.entries().len() {
        let said = Said::default();
        let dying = MemoryLedger::default().gated(Arc::new(move |number, _| number < cut));
        let _ = carry(book(&said, says(&said, "two")), &dying).await;
        let kept = MemoryLedger::with(&dying.entries());
        let report = carry(book(&said, says(&said, "two")), &kept).await.unwrap();
        assert!(report.complete(), "cut at {cut}");
        let said = taken(&said);
        for word in ["stop", "one", "two", "other", "end"] {
            assert!(said.contains(&word.to_owned()), "cut at {cut}: {said:?}");
        }
        assert_eq!(
            said.last().unwrap(),
            "start again",
            "cut at {cut}: {said:?}"
        );
        let story = kept.story();
        assert!(story.stages.values().all(|stage| stage.done.is_some()));
        assert!(!story.stages["stop"].marked, "cut at {cut}");
    }
}

#[tokio::test]
async fn an_interrupt_takes_marks_away() {
    let said = Said::default();
    let ledger = MemoryLedger::default();
    let stop = Stop::default();
    let press = stop.clone();
    let two = act(move |cx: StageCx| {
        press.press();
        async move { cx.pause(Duration::from_hours(1)).await }
    });
    let report = carry_out(
        book(&said, two),
        "run-1",
        Arc::new(ledger.clone()),
        &stop,
        Clock::System,
        &crate::session::silent(),
    )
    .await
    .unwrap();
    assert!(report.interrupted());
    assert_eq!(taken(&said).last().unwrap(), "start again");
    assert_eq!(ledger.story().ended, None);
}

#[tokio::test]
async fn waiting_for_what_comes_later_is_found() {
    let said = Said::default();
    let mut book = Runbook::new("test", json!({}));
    book.add(Stage::new("one", "do", says(&said, "one")).after("two"));
    book.add(Stage::new("two", "do", says(&said, "two")));
    let error = carry(book, &MemoryLedger::default()).await.unwrap_err();
    assert!(error.to_string().contains("waits for two"), "{error}");
}

/// `one` and `two`, each with a mark of its own that is there only while it runs.
fn in_turn(said: &Said, two: Act) -> Runbook {
    let mut book = Runbook::new("test", json!({}));
    let tidy = |word| says(said, word);
    book.add(Stage::new("one", "do", says(said, "one")).cleaned_up_by(tidy("tidy one")));
    let two = Stage::new("two", "do", two).after("one");
    book.add(two.cleaned_up_by(tidy("tidy two")));
    book
}

#[tokio::test]
async fn what_only_a_cut_leaves_is_cleaned_up_once_and_is_no_reason_to_begin_again() {
    let said = Said::default();
    let ledger = MemoryLedger::default();
    let report = carry(in_turn(&said, fails()), &ledger).await.unwrap();
    assert!(!report.complete());
    assert_eq!(taken(&said), ["one", "tidy two"]);
    let report = carry(in_turn(&said, says(&said, "two")), &ledger)
        .await
        .unwrap();
    assert!(report.complete());
    assert_eq!(taken(&said), ["two"]);
}
