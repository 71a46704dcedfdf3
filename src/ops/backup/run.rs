//! One run of taking a point: under the lock in the bucket, gone on with where an earlier run stopped.

use std::sync::Arc;

use super::book::{Ask, Closed, FRESH, Mode};
use super::lease::{Lease, LeaseError};
use super::parts::Taking;
use crate::engine::{Observer, Report, Stop};
use crate::journal::Holder;
use crate::ops::point::PointId;
use crate::ops::runbook::{Runbook, carry_out};
use crate::ops::{Entry, Ledger, OpsFault, Story};

/// Why a point was not taken.
#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    #[error(transparent)]
    Lease(#[from] LeaseError),
    #[error(transparent)]
    Ops(#[from] OpsFault),
}

/// What came of a run.
pub struct Taken {
    pub point: PointId,
    /// The manifest that was written; none when the run did not get that far.
    pub closed: Option<Closed>,
    pub report: Report<OpsFault>,
}

/// What to do about a procedure that an earlier run left unfinished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    /// Go on with it: it is what is asked for now.
    GoOn,
    /// Finish what it began, say that its point is not whole, and begin anew.
    Close,
}

/// Decides about an unfinished procedure.
pub fn before(story: &Story, ask: &Ask, now: jiff::Timestamp) -> Before {
    let same = serde_json::from_value::<Ask>(story.ask.clone()).is_ok_and(|other| other == *ask);
    let fresh = story.began.is_some_and(|began| {
        now.duration_since(began)
            .try_into()
            .is_ok_and(|age: std::time::Duration| age < FRESH)
    });
    if same && fresh {
        Before::GoOn
    } else {
        Before::Close
    }
}

/// What a run has beside its stages.
pub struct Run<'a> {
    pub taking: &'a Arc<Taking>,
    pub holder: &'a Holder,
    pub stop: &'a Stop,
    pub observe: &'a Observer,
}

impl Run<'_> {
    /// Takes the lock, carries the stages out, lets go. `book` makes them for the point and the mode.
    pub async fn carry(
        &self,
        id: &str,
        ledger: Arc<dyn Ledger>,
        mode: Mode,
        book: impl FnOnce(&PointId, Mode) -> Runbook,
    ) -> Result<Taken, TakeError> {
        let cx = &self.taking.ground.cx;
        let story = ledger.story();
        let id = if story.began.is_some() {
            story.id.as_str()
        } else {
            id
        };
        let point: PointId = id.parse().map_err(OpsFault::internal)?;
        let lease = Lease::take(cx, self.taking.bucket(), id, self.holder).await?;
        let carried = lease
            .hold(carry_out(
                book(&point, mode),
                id,
                ledger.clone(),
                self.stop,
                *cx.clock(),
                self.observe,
            ))
            .await?;
        let released = lease.release().await;
        let report = carried?;
        released.map_err(OpsFault::from)?;
        let story = ledger.story();
        if !report.complete() && !report.interrupted() && began_nothing(&story) {
            ledger
                .append(&Entry::Ended {
                    outcome: "refused by its checks".into(),
                    at: cx.clock().now(),
                })
                .map_err(OpsFault::from)?;
        }
        // What is written is what stands in the ledger, and only once the stage after it is through.
        let closed = story
            .output("manifest")
            .and(story.output("close"))
            .and_then(|closed| serde_json::from_value(closed.clone()).ok());
        Ok(Taken {
            point,
            closed,
            report,
        })
    }
}

/// Whether the checks were all that was done.
fn began_nothing(story: &Story) -> bool {
    story.stages.keys().all(|stage| stage == "check")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::point::{PartName, Purpose};

    #[test]
    fn only_the_same_thing_within_a_day_is_gone_on_with() {
        let ask = Ask {
            purpose: Purpose::Full,
            only: None,
            rank: None,
        };
        let now: jiff::Timestamp = "2026-11-25T10:00:00Z".parse().unwrap();
        let story = |began: &str, ask: &Ask| Story {
            ask: serde_json::to_value(ask).unwrap(),
            began: Some(began.parse().unwrap()),
            ..Story::default()
        };
        let today = "2026-11-25T02:30:00Z";
        assert_eq!(before(&story(today, &ask), &ask, now), Before::GoOn);
        let old = "2026-11-24T09:59:59Z";
        assert_eq!(before(&story(old, &ask), &ask, now), Before::Close);
        let other = Ask {
            only: Some(vec![PartName::Secrets]),
            ..ask.clone()
        };
        assert_eq!(before(&story(today, &other), &ask, now), Before::Close);
        assert_eq!(before(&Story::default(), &ask, now), Before::Close);
    }
}
