//! Where data is: in volumes and databases of the cloud, so that it goes wherever snapshots and restores take it.

use std::path::PathBuf;

use aws_sdk_rds::types::{DbInstance, DbSnapshot, SourceType};
use jiff::{SignedDuration, Timestamp};

use super::memory::Memory;
use crate::cloud::Aws;
use crate::sandbox::{Holder, Sandbox};

/// Who keeps the data.
#[derive(Debug, Clone)]
pub enum Disks {
    /// The strict cloud itself, with the rows of its volumes and databases.
    Strict(Sandbox),
    /// A folder beside the sites of an emulator that keeps no data: what each volume and database held, and from when
    /// on. What was made from a snapshot begins with what the other held then: a volume says which snapshot that was,
    /// of a database RDS tells it among its events.
    Remembered(PathBuf),
}

/// One place for data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Store {
    Volume(String),
    Database(String),
}

impl Disks {
    pub(super) async fn read(&self, aws: &Aws, region: &str, of: &Store) -> Result<String, String> {
        match self {
            Self::Strict(sandbox) => sandbox
                .content(region, holder(of))
                .ok_or_else(|| format!("there is no {of:?}")),
            Self::Remembered(folder) => remember(&Memory::new(folder), aws, of).await,
        }
    }

    pub(super) async fn write(
        &self,
        aws: &Aws,
        region: &str,
        now: Timestamp,
        of: &Store,
        text: String,
    ) -> Result<(), String> {
        match self {
            Self::Strict(sandbox) => {
                if sandbox.set_content(region, holder(of), &text) {
                    Ok(())
                } else {
                    Err(format!("there is no {of:?}"))
                }
            }
            Self::Remembered(folder) => {
                let thing = Thing::find(aws, of).await?;
                Memory::new(folder).put(thing.key(), now, text)
            }
        }
    }
}

fn holder(of: &Store) -> Holder<'_> {
    match of {
        Store::Volume(id) => Holder::Volume(id),
        Store::Database(id) => Holder::Database(id),
    }
}

/// What a thing holds; the first time, what it was made from.
async fn remember(memory: &Memory<'_>, aws: &Aws, of: &Store) -> Result<String, String> {
    let thing = Thing::find(aws, of).await?;
    if let Some(text) = memory.at(thing.key(), Timestamp::MAX)? {
        return Ok(text);
    }
    let Some((source, when)) = thing.origin(aws).await? else {
        return Ok(String::new());
    };
    let text = memory.at(&source, when)?.unwrap_or_default();
    if !text.is_empty() {
        // The snapshot may be gone the next time.
        memory.put(thing.key(), Timestamp::MIN, text.clone())?;
    }
    Ok(text)
}

/// A volume or database as the emulator describes it.
enum Thing {
    Volume { id: String, snapshot: String },
    Database { key: String, made: Timestamp },
}

impl Thing {
    async fn find(aws: &Aws, of: &Store) -> Result<Self, String> {
        match of {
            Store::Volume(id) => {
                let answer = aws.ec2.describe_volumes().volume_ids(id).send().await;
                let answer = answer.map_err(|e| format!("volume {id}: {e:?}"))?;
                let found = answer.volumes().first();
                let snapshot = found.and_then(|volume| volume.snapshot_id());
                Ok(Self::Volume {
                    id: id.clone(),
                    snapshot: snapshot.unwrap_or_default().to_owned(),
                })
            }
            Store::Database(id) => {
                let ask = aws.rds.describe_db_instances().db_instance_identifier(id);
                let answer = ask.send().await;
                let answer = answer.map_err(|e| format!("database {id}: {e:?}"))?;
                let found = answer.db_instances().first();
                Self::database(found.ok_or_else(|| format!("there is no database {id}"))?)
            }
        }
    }

    /// A database keeps its resource id when it is renamed.
    fn database(found: &DbInstance) -> Result<Self, String> {
        let key = found.dbi_resource_id().ok_or("a database has no id")?;
        let made = found.instance_create_time();
        Ok(Self::Database {
            key: key.to_owned(),
            made: made.map_or(Timestamp::MIN, exactly),
        })
    }

    fn key(&self) -> &str {
        match self {
            Self::Volume { id, .. } => id,
            Self::Database { key, .. } => key,
        }
    }

    /// What it was made from, by its key here, and the moment of the copy.
    async fn origin(&self, aws: &Aws) -> Result<Option<Origin>, String> {
        match self {
            Self::Volume { snapshot, .. } if snapshot.is_empty() => Ok(None),
            Self::Volume { snapshot, .. } => volume_of(aws, snapshot).await,
            Self::Database { made, .. } => match restored_from(aws, *made).await? {
                Some(snapshot) => database_of(aws, &snapshot).await,
                None => Ok(None),
            },
        }
    }
}

type Origin = (String, Timestamp);

async fn volume_of(aws: &Aws, snapshot: &str) -> Result<Option<Origin>, String> {
    let ask = aws.ec2.describe_snapshots().snapshot_ids(snapshot);
    let answer = ask.send().await;
    let answer = answer.map_err(|e| format!("snapshot {snapshot}: {e:?}"))?;
    let found = answer.snapshots().first();
    Ok(found.and_then(|found| {
        let at = found.start_time().map(at_the_latest)?;
        Some((found.volume_id()?.to_owned(), at))
    }))
}

/// As long as RDS keeps its events, in minutes.
const FORTNIGHT: i32 = 14 * 24 * 60;

/// How far the event of a restore may be from the moment at which the instance was made.
const APART: SignedDuration = SignedDuration::from_secs(5);

/// The snapshot that the instance made at this moment came from. RDS says so nowhere but among its events
/// (RDS-EVENT-0043), under the name that the instance had then.
async fn restored_from(aws: &Aws, made: Timestamp) -> Result<Option<String>, String> {
    let mut pages = aws
        .rds
        .describe_events()
        .source_type(SourceType::DbInstance)
        .event_categories("restoration")
        .duration(FORTNIGHT)
        .into_paginator()
        .items()
        .send();
    let mut nearest: Option<(SignedDuration, String)> = None;
    while let Some(event) = pages.next().await {
        let event = event.map_err(|e| format!("events of RDS: {e:?}"))?;
        let told = event.message().unwrap_or_default();
        let (Some(snapshot), Some(at)) =
            (told.strip_prefix("Restored from snapshot "), event.date())
        else {
            continue;
        };
        let apart = exactly(at).duration_since(made).abs();
        if apart <= APART && nearest.as_ref().is_none_or(|(least, _)| apart < *least) {
            nearest = Some((apart, snapshot.trim_end_matches('.').to_owned()));
        }
    }
    Ok(nearest.map(|(_, snapshot)| snapshot))
}

/// The database that a snapshot is of. A copy is of the moment of its original.
async fn database_of(aws: &Aws, snapshot: &str) -> Result<Option<Origin>, String> {
    let ask = aws.rds.describe_db_snapshots();
    let answer = ask.db_snapshot_identifier(snapshot).send().await;
    let answer = answer.map_err(|e| format!("snapshot {snapshot}: {e:?}"))?;
    let taken = |found: &DbSnapshot| {
        let original = found.original_snapshot_create_time();
        original.or(found.snapshot_create_time()).map(at_the_latest)
    };
    let found = answer.db_snapshots().first();
    Ok(found.and_then(|found| Some((found.dbi_resource_id()?.to_owned(), taken(found)?))))
}

fn exactly(at: &aws_sdk_rds::primitives::DateTime) -> Timestamp {
    let nanos = i32::try_from(at.subsec_nanos()).unwrap_or_default();
    Timestamp::new(at.secs(), nanos).unwrap_or_default()
}

/// The end of what may be meant: some tell moments in whole seconds.
fn at_the_latest(at: &aws_sdk_rds::primitives::DateTime) -> Timestamp {
    if at.subsec_nanos() > 0 {
        return exactly(at);
    }
    Timestamp::new(at.secs(), 999_999_999).unwrap_or_default()
}
