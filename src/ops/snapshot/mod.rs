//! Snapshots of disks and databases: begun once, found again after a crash, waited for, copied to another region.
//!
//! Each carries the point it belongs to as a tag, from the moment it is made. A database snapshot has a name that is
//! made of the point; a disk snapshot has none, and is found by its tags.

mod book;
pub mod copies;
pub mod database;
pub mod disks;

pub use self::book::{SnapshotAsk, Stillness, Target, VERB, book, targets};

use std::time::Duration;

use crate::cloud::Fault;
use crate::engine::Halt;
use crate::ops::OpsFault;
use crate::ops::backup::Ground;
use crate::ops::point::PointId;
use crate::ops::runbook::StageCx;
use crate::resource::{POINT_TAG, SITE_TAG, Tags};

/// Which node's disk it is of.
pub const NODE_TAG: &str = "gantry:node";

/// Between two looks at something that takes minutes.
pub const POLL: Duration = Duration::from_secs(15);

/// How long a refusal that passes by itself is waited for: a backup or a change that RDS makes by itself.
const PATIENCE: Duration = Duration::from_hours(1);

impl Ground {
    /// The tags of something that belongs to the site and not to its blueprint.
    pub(super) fn tags(&self, what: &str) -> Tags {
        let scope = self.cx.scope();
        scope
            .tags
            .clone()
            .with(SITE_TAG, &scope.site)
            .with("Name", self.names.display(what))
    }

    /// The tags of what belongs to a point.
    pub(super) fn point_tags(&self, point: &PointId, what: &str) -> Tags {
        self.tags(what).with(POINT_TAG, point.to_string())
    }
}

pub(super) fn rds_tags(tags: &Tags) -> Vec<aws_sdk_rds::types::Tag> {
    tags.iter()
        .map(|(key, value)| {
            aws_sdk_rds::types::Tag::builder()
                .key(key)
                .value(value)
                .build()
        })
        .collect()
}

/// A moment as AWS writes it.
fn moment(at: &aws_sdk_ec2::primitives::DateTime) -> jiff::Timestamp {
    let nanos = i32::try_from(at.subsec_nanos()).unwrap_or_default();
    jiff::Timestamp::new(at.secs(), nanos).unwrap_or_default()
}

/// Waits for refusals that pass by themselves, for an hour at most.
pub(super) struct Patience<'a> {
    stage: &'a StageCx,
    why: &'static str,
    began: jiff::Timestamp,
}

impl<'a> Patience<'a> {
    pub(super) fn new(stage: &'a StageCx, why: &'static str) -> Self {
        Self {
            stage,
            why,
            began: stage.clock.now(),
        }
    }

    /// Waits a while when the fault is one of these; any other ends it.
    pub(super) async fn with(&self, fault: Fault) -> Result<(), Halt<OpsFault>> {
        match &fault {
            Fault::Later { message, .. } if self.stage.clock.since(self.began) < PATIENCE => {
                self.stage.waiting(format!("{}: {message}", self.why));
                self.stage.pause(POLL).await
            }
            _ => Err(fault.into()),
        }
    }
}
