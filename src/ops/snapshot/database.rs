//! Snapshots of RDS instances, begun once and waited for.

use std::time::Duration;

use aws_sdk_rds::types::{DbSnapshot, Filter};
use serde::{Deserialize, Serialize};

use super::{POLL, Patience, moment};
use crate::cloud::Fault;
use crate::engine::Halt;
use crate::ops::OpsFault;
use crate::ops::runbook::StageCx;
use crate::resource::{CloudCx, Tags};

/// Usual time of a snapshot: facts on AWS, 3 to 20 minutes.
pub const USUAL: Duration = Duration::from_mins(5);

/// A snapshot that RDS knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    pub snapshot: String,
    pub arn: String,
    pub instance: String,
    pub class: String,
    /// The size of the disk.
    pub gib: u64,
    pub began: jiff::Timestamp,
}

/// How many manual snapshots the account has in the region.
pub async fn manual(cx: &CloudCx) -> Result<usize, Fault> {
    let all = cx
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
    Ok(all.len())
}

/// Begins the snapshot `name` of an instance, or finds it begun.
pub async fn begin(
    stage: &StageCx,
    cx: &CloudCx,
    instance: &str,
    name: &str,
    tags: &Tags,
) -> Result<Begun, Halt<OpsFault>> {
    let class = class(cx, instance).await?;
    let at = cx.clock().now();
    let found = match find(cx, name).await? {
        Some(found) => found,
        None => create(stage, cx, instance, name, tags).await?,
    };
    if found.db_instance_identifier() != Some(instance) {
        return Err(OpsFault::refused(
            format!("the snapshot {name} is not taken"),
            "a snapshot of that name is of another database",
            "look at it in the RDS console, and begin a new point",
        )
        .into());
    }
    Ok(Begun {
        snapshot: name.to_owned(),
        arn: found.db_snapshot_arn().unwrap_or_default().to_owned(),
        instance: instance.to_owned(),
        class,
        gib: u64::try_from(found.allocated_storage().unwrap_or_default()).unwrap_or_default(),
        began: found.snapshot_create_time().map_or(at, moment),
    })
}

async fn create(
    stage: &StageCx,
    cx: &CloudCx,
    instance: &str,
    name: &str,
    tags: &Tags,
) -> Result<DbSnapshot, Halt<OpsFault>> {
    let patience = Patience::new(stage, "the database is busy");
    loop {
        match ask(cx, instance, name, tags).await {
            Ok(snapshot) => return Ok(snapshot),
            Err(fault) => patience.with(fault).await?,
        }
    }
}

async fn ask(cx: &CloudCx, instance: &str, name: &str, tags: &Tags) -> Result<DbSnapshot, Fault> {
    let made = cx
        .write("rds:CreateDBSnapshot", || {
            cx.aws()
                .rds
                .create_db_snapshot()
                .db_instance_identifier(instance)
                .db_snapshot_identifier(name)
                .set_tags(Some(super::rds_tags(tags)))
                .send()
        })
        .await;
    match made {
        Ok(answer) => answer
            .db_snapshot
            .ok_or_else(|| Fault::internal("RDS names no snapshot")),
        // Carried out, and only the answer was lost; or made by the attempt before this one.
        Err(fault @ (Fault::Unknown { .. } | Fault::Exists { .. })) => {
            find(cx, name).await?.ok_or(fault)
        }
        Err(fault) => Err(fault),
    }
}

/// The snapshot of this name, as it is now.
pub async fn find(cx: &CloudCx, name: &str) -> Result<Option<DbSnapshot>, Fault> {
    let asked = cx
        .read("rds:DescribeDBSnapshots", || {
            cx.aws()
                .rds
                .describe_db_snapshots()
                .db_snapshot_identifier(name)
                .send()
        })
        .await;
    match asked {
        Ok(answer) => Ok(answer.db_snapshots.unwrap_or_default().into_iter().next()),
        Err(fault) if fault.is_gone() => Ok(None),
        Err(fault) => Err(fault),
    }
}

/// Waits until the snapshot can be restored.
pub async fn available(
    stage: &StageCx,
    cx: &CloudCx,
    name: &str,
) -> Result<DbSnapshot, Halt<OpsFault>> {
    loop {
        let Some(snapshot) = find(cx, name).await? else {
            return Err(OpsFault::check(
                format!("the snapshot {name}"),
                "RDS no longer knows it",
                "somebody deleted it; take a new point",
            )
            .into());
        };
        match snapshot.status().unwrap_or_default() {
            "available" => return Ok(snapshot),
            word @ ("failed" | "error" | "incompatible-restore") => {
                return Err(OpsFault::check(
                    format!("the snapshot {name}"),
                    format!("RDS says {word}"),
                    "look at the events of the instance in the RDS console",
                )
                .into());
            }
            word => stage.waiting(format!(
                "{word}, {}%",
                snapshot.percent_progress().unwrap_or_default()
            )),
        }
        stage.pause(POLL).await?;
    }
}

/// What an instance is like at the moment of a check.
pub struct Instance {
    pub status: String,
    pub multi_az: bool,
    pub class: String,
    pub engine: String,
    pub gib: u64,
    pub replicas: Vec<String>,
}

/// An instance as RDS describes it; none where there is none.
pub async fn instance(cx: &CloudCx, name: &str) -> Result<Option<Instance>, Fault> {
    let filter = Filter::builder()
        .name("db-instance-id")
        .values(name)
        .build();
    let asked = cx
        .read("rds:DescribeDBInstances", || {
            let describe = cx.aws().rds.describe_db_instances();
            describe.filters(filter.clone()).send()
        })
        .await;
    let answer = match asked {
        Err(fault) if fault.is_gone() => return Ok(None),
        other => other?,
    };
    let first = answer.db_instances.unwrap_or_default().into_iter().next();
    Ok(first.map(|i| Instance {
        status: i.db_instance_status().unwrap_or_default().to_owned(),
        multi_az: i.multi_az().unwrap_or_default(),
        class: i.db_instance_class().unwrap_or_default().to_owned(),
        engine: i.engine_version().unwrap_or_default().to_owned(),
        gib: u64::try_from(i.allocated_storage().unwrap_or_default()).unwrap_or_default(),
        replicas: i.read_replica_db_instance_identifiers().to_vec(),
    }))
}

/// What passes by itself, and in which RDS begins no snapshot
/// (<https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/accessing-monitoring.html>).
const BUSY: [&str; 9] = [
    "backing-up",
    "configuring-enhanced-monitoring",
    "configuring-iam-database-auth",
    "configuring-log-exports",
    "maintenance",
    "modifying",
    "rebooting",
    "starting",
    "upgrading",
];

/// Waits until nothing else is at work on the instance: RDS begins no snapshot of it before.
pub async fn idle(stage: &StageCx, cx: &CloudCx, name: &str) -> Result<(), Halt<OpsFault>> {
    let patience = Patience::new(stage, "the database is busy");
    while let Some(Instance { status, .. }) = instance(cx, name).await?
        && BUSY.contains(&status.as_str())
    {
        let busy = Fault::Later {
            call: "rds:CreateDBSnapshot".into(),
            message: format!("{name} is {status}"),
            code: status,
        };
        patience.with(busy).await?;
    }
    Ok(())
}

async fn class(cx: &CloudCx, name: &str) -> Result<String, Halt<OpsFault>> {
    match instance(cx, name).await? {
        Some(instance) => Ok(instance.class),
        None => Err(OpsFault::refused(
            format!("the database {name} is not saved"),
            "RDS does not know it",
            "`gantry status` shows what exists; `gantry state rebuild` reads it again from AWS",
        )
        .into()),
    }
}
