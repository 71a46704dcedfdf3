//! Snapshots of a site's disks and databases: no kind makes them, so no survey of the kinds sees them.
//!
//! They are those of recovery points, of `gantry snapshot`, of the snapshot policy, and the last ones of databases that
//! are gone.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_ec2::types::Filter;
use serde::Serialize;

use crate::cloud::Fault;
use crate::engine::{Halt, Step};
use crate::resource::{CloudCx, POINT_TAG, SITE_TAG};

/// What a snapshot is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Of {
    Disk,
    Database,
}

/// What becomes of a snapshot when everything else goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It goes: of no use without the rest of its recovery point, or taken by the site's own policy.
    Goes,
    /// It stays: the last of a database, or taken by a person.
    Stays,
}

/// A snapshot that carries the site's tag.
#[derive(Debug, Clone, Serialize)]
pub struct SiteSnapshot {
    pub of: Of,
    /// `snap-…`, or the name of a database snapshot.
    pub id: String,
    pub fate: Fate,
    /// The ARN of the key that it is encrypted with.
    #[serde(skip)]
    pub key: Option<String>,
}

impl SiteSnapshot {
    /// How people see it: `ec2/snapshot:snap-…`.
    pub fn name(&self) -> String {
        match self.of {
            Of::Disk => format!("ec2/snapshot:{}", self.id),
            Of::Database => format!("rds/snapshot:{}", self.id),
        }
    }

    pub fn goes(&self) -> bool {
        self.fate == Fate::Goes
    }

    /// Its removal, after these.
    pub(super) fn step(&self, cx: CloudCx, after: Vec<usize>) -> Step<Fault> {
        let snapshot = Arc::new(self.clone());
        Step {
            name: self.name(),
            verb: "delete",
            usual: Duration::from_secs(1),
            after,
            lane: match self.of {
                Of::Disk => "ec2".into(),
                Of::Database => "rds".into(),
            },
            work: Box::new(move || {
                Box::pin(async move {
                    match snapshot.remove(&cx).await {
                        Err(fault) if !fault.is_gone() => Err(Halt::Failed(fault)),
                        _ => Ok(()),
                    }
                })
            }),
        }
    }

    async fn remove(&self, cx: &CloudCx) -> Result<(), Fault> {
        let (aws, id) = (cx.aws(), &self.id);
        match self.of {
            Of::Disk => cx
                .put("ec2:DeleteSnapshot", || {
                    aws.ec2.delete_snapshot().snapshot_id(id).send()
                })
                .await
                .map(drop),
            Of::Database => cx
                .put("rds:DeleteDBSnapshot", || {
                    let call = aws.rds.delete_db_snapshot();
                    call.db_snapshot_identifier(id).send()
                })
                .await
                .map(drop),
        }
    }
}

/// The site's snapshots in its own region: one paged listing of each service.
pub(super) async fn listed(cx: &CloudCx) -> Result<Vec<SiteSnapshot>, Fault> {
    let mut all = disks(cx).await?;
    all.extend(databases(cx).await?);
    Ok(all)
}

async fn disks(cx: &CloudCx) -> Result<Vec<SiteSnapshot>, Fault> {
    let ours = Filter::builder()
        .name(format!("tag:{SITE_TAG}"))
        .values(cx.site())
        .build();
    let found = cx
        .read("ec2:DescribeSnapshots", || {
            cx.aws()
                .ec2
                .describe_snapshots()
                .owner_ids("self")
                .filters(ours.clone())
                .into_paginator()
                .items()
                .send()
                .collect::<Result<Vec<_>, _>>()
        })
        .await?;
    let snapshot = |s: aws_sdk_ec2::types::Snapshot| {
        Some(SiteSnapshot {
            of: Of::Disk,
            id: s.snapshot_id?,
            // What a person takes does not get the tags of the volume.
            fate: Fate::Goes,
            key: s.kms_key_id,
        })
    };
    Ok(found.into_iter().filter_map(snapshot).collect())
}

async fn databases(cx: &CloudCx) -> Result<Vec<SiteSnapshot>, Fault> {
    let found = cx
        .read("rds:DescribeDBSnapshots", || {
            cx.aws()
                .rds
                .describe_db_snapshots()
                .snapshot_type("manual")
                .into_paginator()
                .items()
                .send()
                .collect::<Result<Vec<_>, _>>()
        })
        .await?;
    let snapshot = |s: aws_sdk_rds::types::DbSnapshot| {
        let tag = |key: &str| {
            let tag = s.tag_list().iter().find(|tag| tag.key() == Some(key));
            tag.and_then(|tag| tag.value())
        };
        if tag(SITE_TAG) != Some(cx.site()) {
            return None;
        }
        // The last one of a database, and what a person takes, get the tags of the database, which has no point.
        let fate = if tag(POINT_TAG).is_some() {
            Fate::Goes
        } else {
            Fate::Stays
        };
        Some(SiteSnapshot {
            of: Of::Database,
            fate,
            id: s.db_snapshot_identifier?,
            key: s.kms_key_id,
        })
    };
    Ok(found.into_iter().filter_map(snapshot).collect())
}
