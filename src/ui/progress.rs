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

struct Drawn {
    say: Say,
    clock: Clock,
    multi: MultiProgress,
    bar: Option<ProgressBar>,
    items: BTreeMap<String, Item>,
    usual: BTreeMap<String, Duration>,
    total: usize,
    done: usize,
    began: Timestamp,
    critical: Duration,
}

/// An observer that shows a run.
pub fn progress(say: &Say, clock: Clock) -> Observer {
    let drawn = Mutex::new(Drawn {
        say: say.clone(),
        clock,
        multi: MultiProgress::new(),
        bar: None,
        items: BTreeMap::new(),
        usual: BTreeMap::new(),
        total: 0,
        done: 0,
        began: clock.now(),
        critical: Duration::ZERO,
    });
    Arc::new(move |event| {
        drawn
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .see(event);
    })
}

impl Drawn {
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
                self.done += 1;
                if self.say.verbose {
                    self.line(&format!("blocked {name}: waits for {by}"));
                }
            }
            Event::Note { text } => self.line(text),
            Event::Stopping { presses } => self.line(match presses {
                1 => "stopping: nothing new is started; calls under way are finished. Ctrl-C again to stop at the next record.",
                _ => "stopping at the next record. Ctrl-C again to leave at once.",
            }),
            Event::Summary(_) => {
                if let Some(bar) = self.bar.take() {
                    bar.finish_and_clear();
                }
            }
        }
        self.redraw();
    }

    fn begin(&mut self, steps: &[crate::engine::StepNote], critical: Duration) {
        self.usual = steps.iter().map(|s| (s.name.clone(), s.usual)).collect();
        self.total = steps.len();
        self.critical = critical;
        self.began = self.clock.now();
        if self.total == 0 {
            return;
        }
        if self.say.live {
            let style = ProgressStyle::with_template("{bar:24} {pos}/{len} {msg}");
            let bar = self.multi.add(ProgressBar::new(self.total as u64));
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            self.bar = Some(bar);
        } else {
            self.line(&format!(
                "{} steps, usually about {}",
                self.total,
                human(critical)
            ));
        }
    }

    fn start(&mut self, name: &str, verb: &str) {
        let usual = self.usual.get(name).copied().unwrap_or_default();
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
        if let Some(line) = self.items.remove(name).and_then(|i| i.line) {
            line.finish_and_clear();
            self.multi.remove(&line);
        }
    }

    /// `, about 4 min 10 s left`: what remains of the longest chain, or of the slowest thing under way.
    fn left(&self) -> String {
        let now = self.clock.now();
        let chain = self.critical.saturating_sub(self.clock.since(self.began));
        let slowest = self
            .items
            .values()
            .map(|i| {
                i.usual.saturating_sub(
                    Duration::try_from(now.duration_since(i.began)).unwrap_or_default(),
                )
            })
            .max()
            .unwrap_or_default();
        let left = chain.max(slowest);
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
