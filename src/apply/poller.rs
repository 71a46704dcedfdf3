//! Waiting, together: pending things of one kind are asked for in one listing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::oneshot;

use crate::cloud::Fault;
use crate::engine::{Event, Observer, Stop, StopLevel};
use crate::resource::{CloudCx, KindInfo, Readiness};

/// What a wait ends with.
#[derive(Debug)]
pub enum Waited {
    Ready(Value),
    Absent,
    Broken(String),
    Interrupted,
    /// The time allowed is over; the last state seen.
    TooLong(String),
    Fault(Fault),
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    Ready,
    /// As `Ready`, of something that was seen already: it may be on its way out.
    Found,
    Gone,
}

struct Ticket {
    id: Value,
    name: String,
    until: Until,
    /// Listings left before the wait is given up.
    left: u32,
    tell: oneshot::Sender<Waited>,
    status: String,
    /// Listings in a row that did not show it, after one that did.
    missed: Option<u32>,
}

/// Listings without a thing they showed before, until it counts as gone: one may come from a place that lags.
const MISSED: u32 = 5;

/// One loop per kind with somebody waiting. Cheap to clone.
#[derive(Clone)]
pub struct Poller {
    cx: CloudCx,
    stop: Stop,
    observe: Observer,
    queues: Arc<Mutex<BTreeMap<String, Vec<Ticket>>>>,
}

/// Between two listings of one kind: a twentieth of the usual time, 2 to 30 seconds. Thirty is what AWS's own waiters
/// take for databases.
fn pace(kind: &KindInfo) -> Duration {
    (kind.usual / 20).clamp(Duration::from_secs(2), Duration::from_secs(30))
}

/// How many listings a wait may take before it is a fault: five times the usual time, at least half an hour.
/// Listings are counted and not time, so that a machine that slept has not waited.
fn patience(kind: &KindInfo) -> u32 {
    let time = (kind.usual * 5).max(Duration::from_mins(30));
    u32::try_from(time.as_secs() / pace(kind).as_secs().max(1)).unwrap_or(u32::MAX)
}

impl Poller {
    pub fn new(cx: CloudCx, stop: Stop, observe: Observer) -> Self {
        Self {
            cx,
            stop,
            observe,
            queues: Arc::default(),
        }
    }

    /// Waits until the thing is ready, or gone.
    pub async fn wait(
        &self,
        kind: &'static KindInfo,
        id: &Value,
        name: &str,
        until: Until,
    ) -> Waited {
        let (tell, told) = oneshot::channel();
        let ticket = Ticket {
            id: id.clone(),
            name: name.to_owned(),
            until,
            left: patience(kind),
            tell,
            status: String::new(),
            missed: (until == Until::Found).then_some(0),
        };
        let first = {
            let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
            let queue = queues.entry(kind.kind.to_string()).or_default();
            queue.push(ticket);
            queue.len() == 1
        };
        if first {
            tokio::spawn(self.clone().poll(kind));
        }
        told.await.unwrap_or(Waited::Interrupted)
    }

    /// Asks until nobody waits for this kind any more.
    async fn poll(self, kind: &'static KindInfo) {
        loop {
            if self.stop.level() != StopLevel::Go {
                for ticket in self.take(kind) {
                    let _ = ticket.tell.send(Waited::Interrupted);
                }
                return;
            }
            let tickets = self.take_copy(kind);
            let readiness = (kind.poll)(&tickets, &self.cx).await;
            let more = match readiness {
                Ok(readiness) => self.tell(kind, &tickets, readiness),
                Err(fault) => {
                    for ticket in self.take(kind) {
                        let _ = ticket.tell.send(Waited::Fault(fault.clone()));
                    }
                    false
                }
            };
            if !more {
                return;
            }
            tokio::select! {
                () = self.cx.clock().sleep(pace(kind)) => {}
                () = self.stop.reached(StopLevel::WindDown) => {}
            }
        }
    }

    fn take(&self, kind: &KindInfo) -> Vec<Ticket> {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        queues.remove(kind.kind.as_str()).unwrap_or_default()
    }

    fn take_copy(&self, kind: &KindInfo) -> Vec<Value> {
        let queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        queues
            .get(kind.kind.as_str())
            .into_iter()
            .flatten()
            .map(|t| t.id.clone())
            .collect()
    }

    /// Hands out what was learnt; whether anybody still waits.
    fn tell(&self, kind: &KindInfo, asked: &[Value], learnt: Vec<Readiness<Value>>) -> bool {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        let queue = queues.remove(kind.kind.as_str()).unwrap_or_default();
        let mut left = Vec::new();
        for mut ticket in queue {
            // A ticket that came while the listing was under way waits for the next one.
            let Some(readiness) = asked
                .iter()
                .position(|id| *id == ticket.id)
                .and_then(|i| learnt.get(i))
            else {
                left.push(ticket);
                continue;
            };
            ticket.missed = match (readiness, ticket.missed) {
                (Readiness::Absent, missed) => missed.map(|n| n + 1),
                _ => Some(0),
            };
            let until = match ticket.until {
                Until::Found => Until::Ready,
                other => other,
            };
            let status = match (until, readiness) {
                (Until::Ready, Readiness::Absent) if ticket.missed >= Some(MISSED) => {
                    let _ = ticket.tell.send(Waited::Absent);
                    continue;
                }
                (Until::Ready, Readiness::Ready(output)) => {
                    let _ = ticket.tell.send(Waited::Ready(output.clone()));
                    continue;
                }
                (Until::Ready, Readiness::Broken(why)) => {
                    let _ = ticket.tell.send(Waited::Broken(why.to_string()));
                    continue;
                }
                (Until::Gone, Readiness::Absent) => {
                    let _ = ticket.tell.send(Waited::Absent);
                    continue;
                }
                (Until::Ready, Readiness::Held(fault)) if ticket.left <= 1 => {
                    let _ = ticket.tell.send(Waited::Fault((**fault).clone()));
                    continue;
                }
                (_, Readiness::Pending(word) | Readiness::Broken(word)) => word.to_string(),
                (_, Readiness::Held(fault)) => fault.to_string(),
                (_, Readiness::Absent) => "not visible yet".to_owned(),
                (_, Readiness::Ready(_)) => "still there".to_owned(),
            };
            ticket.left = ticket.left.saturating_sub(1);
            if ticket.left == 0 {
                let _ = ticket.tell.send(Waited::TooLong(status));
                continue;
            }
            if status != ticket.status {
                (self.observe)(&Event::Waiting {
                    name: ticket.name.clone(),
                    status: status.clone(),
                    usual: kind.usual,
                });
                ticket.status = status;
            }
            left.push(ticket);
        }
        if left.is_empty() {
            return false;
        }
        queues.insert(kind.kind.to_string(), left);
        true
    }
}
