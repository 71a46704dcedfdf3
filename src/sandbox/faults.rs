//! What goes wrong on purpose.

use std::sync::Arc;

use tokio::sync::Notify;

use super::call::{Call, Refusal};

/// What happens to a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It is carried out and answered.
    Pass,
    /// AWS refuses it.
    Refuse(Refusal),
    /// It never arrives; the caller sees a broken connection.
    LostBefore,
    /// It is carried out, and the answer is lost.
    LostAfter,
    /// The caller dies before sending it.
    KilledBefore,
    /// The caller dies after it was carried out.
    KilledAfter,
}

/// A moment in the life of a call, for those who watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// About to be carried out.
    Before,
    /// Carried out, not yet answered.
    After,
}

type Watcher = Box<dyn FnMut(Moment, &str) + Send>;
type Rule = Box<dyn FnMut(&str, u64) -> Fate + Send>;

/// Decides the fate of each call by `service:Action` and its number since the start.
#[derive(Default)]
pub struct Faults {
    rule: Option<Rule>,
    count: u64,
    pending: Option<Refusal>,
    watcher: Option<Watcher>,
    killed: Arc<Notify>,
}

impl Faults {
    /// Asks `rule` about every call from now on, with the call's name and its number (from 0).
    pub fn set(&mut self, rule: impl FnMut(&str, u64) -> Fate + Send + 'static) {
        self.count = 0;
        self.rule = Some(Box::new(rule));
    }

    /// Everything passes again.
    pub fn clear(&mut self) {
        self.rule = None;
        self.watcher = None;
    }

    /// Shows every call to `watcher`, before and after it is carried out.
    pub fn watch(&mut self, watcher: impl FnMut(Moment, &str) + Send + 'static) {
        self.watcher = Some(Box::new(watcher));
    }

    pub(super) fn show(&mut self, moment: Moment, name: &str) {
        if let Some(watcher) = &mut self.watcher {
            watcher(moment, name);
        }
    }

    /// Told when a call met a `Killed…` fate: the test drops the run then.
    pub fn killed(&self) -> Arc<Notify> {
        self.killed.clone()
    }

    pub(super) fn decide(&mut self, name: &str) -> Fate {
        let number = self.count;
        self.count += 1;
        let fate = self
            .rule
            .as_mut()
            .map_or(Fate::Pass, |rule| rule(name, number));
        self.pending = match &fate {
            Fate::Refuse(refusal) => Some(refusal.clone()),
            _ => None,
        };
        if matches!(fate, Fate::KilledBefore | Fate::KilledAfter) {
            self.killed.notify_one();
        }
        fate
    }

    pub(super) fn refusal(&mut self, _call: &Call) -> Fate {
        self.pending.take().map_or(Fate::Pass, Fate::Refuse)
    }
}
