//! What a run is doing: redrawn lines on a terminal, plain lines elsewhere.
//!
//! Times are the cloud's own: in the sandbox, where AWS is played faster, a minute here is shorter than a minute
//! on the wall.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use jiff::Timestamp;

use super::{Say, human};
use crate::clock::Clock;
use crate::engine::{Event, Observer};

/// At most this many lines of things under way.
const LINES: usize = 8;

struct Item {
    verb: String,
    began: Timestamp,
    status: String,
    usual: Duration,
    line: Option<ProgressBar>,
}

/// A step that is not through, and what its usual times are.
struct Ahead {
    usual: Duration,
    chain: Duration,
}

struct Drawn {
    say: Say,
    clock: Clock,
    multi: MultiProgress,
    bar: Option<ProgressBar>,
    items: BTreeMap<String, Item>,
    ahead: BTreeMap<String, Ahead>,
    total: usize,
    done: usize,
    /// Runs that were planned and have not ended: a stage of a procedure may be an install.
    depth: usize,
}

/// An observer that shows a run.
pub fn progress(say: &Say, clock: Clock) -> Observer {
    let drawn = Mutex::new(Drawn::new(say, clock));
    Arc::new(move |event| {
        drawn
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .see(event);
    })
}

impl Drawn {
    fn new(say: &Say, clock: Clock) -> Self {
        Self {
            say: say.clone(),
            clock,
            multi: MultiProgress::new(),
            bar: None,
            items: BTreeMap::new(),
            ahead: BTreeMap::new(),
            total: 0,
            done: 0,
            depth: 0,
        }
    }

    fn see(&mut self, event: &Event) {
        match event {
            Event::Planned { steps, critical } => self.begin(steps, *critical),
            Event::Started { name, verb } => self.start(name, verb),
            Event::Waiting { name, status, usual } => self.wait(name, status, *usual),
            Event::Retrying { name, attempt, after, why } => {
                if self.say.verbose || *attempt >= 3 {
                    self.line(&format!("retry   {name}: {why}; attempt {attempt}, again in {}", human(*after)));
                }
            }
            Event::Finished { name, verb, took } => self.finish(name, verb, *took),
            Event::Failed { name, verb, fault } => {
                self.end(name);
                self.line(&format!("FAILED  {verb} {name}: {fault}"));
            }
            Event::Blocked { name, by, .. } => {
                self.end(name);
                if self.say.verbose {
                    self.line(&format!("blocked {name}: waits for {by}"));
                }
            }
            Event::Note { text } => self.line(text),
            Event::Stopping { presses } => self.line(match presses {
                1 => "stopping: nothing new is started; calls under way are finished. Ctrl-C again to stop at the next record.",
                _ => "stopping at the next record. Ctrl-C again to leave at once.",
            }),
            Event::Summary(_) => self.finish_run(),
        }
        self.redraw();
    }

    fn begin(&mut self, steps: &[crate::engine::StepNote], critical: Duration) {
        let ahead = |s: &crate::engine::StepNote| Ahead {
            usual: s.usual,
            chain: s.chain,
        };
        self.depth += 1;
        self.ahead
            .extend(steps.iter().map(|s| (s.name.clone(), ahead(s))));
        self.total += steps.len();
        if steps.is_empty() {
            return;
        }
        if let Some(bar) = &self.bar {
            bar.set_length(self.total as u64);
        } else if self.say.live {
            let style = ProgressStyle::with_template("{bar:24} {pos}/{len} {msg}");
            let bar = self.multi.add(ProgressBar::new(self.total as u64));
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            self.bar = Some(bar);
        } else {
            self.line(&format!(
                "{} steps, usually about {}",
                steps.len(),
                human(critical)
            ));
        }
    }

    /// Forgets what an ended run did not come to; a run around it goes on.
    fn finish_run(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        if self.depth > 0 {
            return;
        }
        self.ahead.clear();
        (self.total, self.done) = (0, 0);
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    fn start(&mut self, name: &str, verb: &str) {
        let usual = self.ahead.get(name).map_or(Duration::ZERO, |a| a.usual);
        let line = (self.say.live
            && self.items.values().filter(|i| i.line.is_some()).count() < LINES)
            .then(|| {
                let line = self.multi.add(ProgressBar::new_spinner());
                line.set_style(
                    ProgressStyle::with_template("  {msg}")
                        .unwrap_or_else(|_| ProgressStyle::default_spinner()),
                );
                line
            });
        let item = Item {
            verb: verb.to_owned(),
            began: self.clock.now(),
            status: String::new(),
            usual,
            line,
        };
        self.items.insert(name.to_owned(), item);
    }

    fn wait(&mut self, name: &str, status: &str, usual: Duration) {
        let waited = self.items.get_mut(name).map(|item| {
            status.clone_into(&mut item.status);
            self.clock.since(item.began)
        });
        if !self.say.live {
            let so_far = human(waited.unwrap_or_default());
            self.line(&format!(
                "wait    {name}: {status} for {so_far}, usually {}{}",
                human(usual),
                self.left()
            ));
        }
    }

    fn finish(&mut self, name: &str, verb: &str, took: Duration) {
        self.end(name);
        if !self.say.live {
            self.line(&format!(
                "{:<7} {name}  ({}, {}/{}{})",
                past(verb),
                human(took),
                self.done,
                self.total,
                self.left()
            ));
        }
    }

    fn end(&mut self, name: &str) {
        self.done += 1;
        self.ahead.remove(name);
        if let Some(line) = self.items.remove(name).and_then(|i| i.line) {
            line.finish_and_clear();
            self.multi.remove(&line);
        }
    }

    /// `, about 4 min 10 s left`: the longest chain of usual times that is still to be walked. Less is left as soon as
    /// something was quicker than usual, and not before something that is slower is through.
    fn left(&self) -> String {
        let chains = self.ahead.iter().map(|(name, step)| {
            let Some(item) = self.items.get(name) else {
                return step.chain;
            };
            let after = step.chain.saturating_sub(step.usual);
            step.usual.saturating_sub(self.clock.since(item.began)) + after
        });
        let left = chains.max().unwrap_or_default();
        if left < Duration::from_secs(1) {
            String::new()
        } else {
            format!(", about {} left", human(left))
        }
    }

    fn redraw(&self) {
        let Some(bar) = &self.bar else { return };
        bar.set_position(self.done as u64);
        bar.set_message(self.left().trim_start_matches(", ").to_owned());
        for (name, item) in &self.items {
            if let Some(line) = &item.line {
                let status = if item.status.is_empty() {
                    String::new()
                } else {
                    format!(": {}", item.status)
                };
                let so_far = human(self.clock.since(item.began));
                line.set_message(format!(
                    "{} {name}{status}, {so_far} (usually {})",
                    item.verb,
                    human(item.usual)
                ));
            }
        }
    }

    fn line(&self, text: &str) {
        if self.say.quiet && !text.starts_with("FAILED") {
            return;
        }
        if self.bar.is_some() {
            // A terminal that cannot be written to is nobody's loss here.
            let _ = self.multi.println(text);
        } else {
            super::say::complain(text);
        }
    }
}

fn past(verb: &str) -> &str {
    match verb {
        "create" => "made",
        "update" => "updated",
        "replace" => "remade",
        "delete" => "gone",
        "finish" => "ready",
        "adopt" => "adopted",
        "forget" => "forgot",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{StepNote, Totals};
    use crate::ui::Output;

    fn planned(steps: &[(&str, u64, u64)]) -> Event {
        let step = |(name, usual, chain): &(&str, u64, u64)| StepNote {
            name: (*name).into(),
            verb: "create".into(),
            usual: Duration::from_mins(*usual),
            chain: Duration::from_mins(*chain),
        };
        Event::Planned {
            steps: steps.iter().map(step).collect(),
            critical: Duration::ZERO,
        }
    }

    fn started(name: &str) -> Event {
        Event::Started {
            name: name.into(),
            verb: "create".into(),
        }
    }

    fn finished(name: &str) -> Event {
        Event::Finished {
            name: name.into(),
            verb: "create".into(),
            took: Duration::ZERO,
        }
    }

    fn shown() -> Drawn {
        let say = Say::new(Output::Text, true, false, false);
        let clock = Clock::played("2026-11-26T06:00:00Z".parse().unwrap(), 1);
        Drawn::new(&say, clock)
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_left_shrinks_when_something_was_quick_and_waits_for_what_is_slow() {
        let mut shown = shown();
        shown.see(&planned(&[("a", 10, 40), ("b", 30, 30), ("c", 5, 5)]));
        assert_eq!(shown.left(), ", about 40 min 00 s left");
        shown.see(&started("a"));
        shown.see(&started("c"));
        shown.see(&finished("a"));
        assert_eq!(shown.left(), ", about 30 min 00 s left");
        shown.see(&started("b"));
        tokio::time::sleep(Duration::from_mins(20)).await;
        assert_eq!(shown.left(), ", about 10 min 00 s left");
        shown.see(&finished("b"));
        assert_eq!(shown.left(), "", "c takes longer than usual");
        assert_eq!((shown.done, shown.total), (2, 3));
    }

    #[tokio::test(start_paused = true)]
    async fn a_run_inside_a_run_adds_to_it() {
        let mut shown = shown();
        shown.see(&planned(&[("converge", 5, 25), ("check", 20, 20)]));
        shown.see(&started("converge"));
        shown.see(&planned(&[("rds/db_instance:main", 10, 10)]));
        assert_eq!(shown.total, 3);
        shown.see(&started("rds/db_instance:main"));
        shown.see(&finished("rds/db_instance:main"));
        shown.see(&Event::Summary(Totals::default()));
        assert_eq!(shown.left(), ", about 25 min 00 s left");
        shown.see(&finished("converge"));
        shown.see(&finished("check"));
        assert_eq!((shown.done, shown.total), (3, 3));
        assert_eq!(shown.left(), "");
        shown.see(&Event::Summary(Totals::default()));
        assert_eq!((shown.done, shown.total), (0, 0));
    }
}
