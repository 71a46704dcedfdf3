//! What a restore onto a drill's site leaves beside the site: the database it set aside, one that it was still making,
//! the copy of the snapshot, and the log groups that RDS makes for databases of these names. None of that has the site's
//! tags, so no destroy sees it.
//!
//! A thing counts only if it carries the tags of a restore and is called exactly what a restore onto this very site
//! calls it. The name of one site may begin with the name of another.

use std::time::Duration;

use aws_sdk_rds::types::{DbInstance, Tag};

use super::super::OpsFault;
use super::super::restore::{ASIDE_BY_TAG, ASIDE_TAG, RESTORE_TAG, stamp};
use super::super::runbook::StageCx;
use crate::cloud::Fault;
use crate::engine::Halt;
use crate::names::Names;
use crate::resource::{CloudCx, SITE_TAG};

const LOOK: Duration = Duration::from_secs(30);

/// A copy that is being made, or a rename, ends within this.
const PATIENCE: Duration = Duration::from_hours(3);

/// Removes them, and waits until they are gone: subnets and groups go afterwards.
pub async fn remove(cx: &StageCx, cloud: &CloudCx, names: &Names) -> Result<(), Halt<OpsFault>> {
    let began = cx.clock.now();
    loop {
        let (databases, snapshots) =
            futures::try_join!(databases(cloud, names), snapshots(cloud, names))?;
        let left = databases.len() + snapshots.len();
        if left == 0 {
            return Ok(remove_logs(cloud, names).await?);
        }
        if cx.clock.since(began) >= PATIENCE {
            return Err(OpsFault::check(
                "what the restore left beside the drill's site",
                format!("{left} databases and snapshots do not go away"),
                "look at those whose names begin like the drill's site in the RDS console; then run `gantry drill --clean`",
            )
            .into());
        }
        for snapshot in &snapshots {
            tolerate(delete_snapshot(cloud, snapshot).await)?;
        }
        for database in &databases {
            tolerate(delete(cloud, database).await)?;
        }
        cx.waiting(format!("{left} databases and snapshots beside it go"));
        cx.pause(LOOK).await?;
    }
}

/// What is gone, on its way or busy is looked at again.
fn tolerate(result: Result<(), Fault>) -> Result<(), Fault> {
    match result {
        Err(Fault::Gone { .. } | Fault::Later { .. } | Fault::Unknown { .. }) => Ok(()),
        other => other,
    }
}

async fn delete_snapshot(cloud: &CloudCx, snapshot: &str) -> Result<(), Fault> {
    cloud
        .put("rds:DeleteDBSnapshot", || {
            let call = cloud.aws().rds.delete_db_snapshot();
            call.db_snapshot_identifier(snapshot).send()
        })
        .await?;
    Ok(())
}

async fn delete(cloud: &CloudCx, instance: &DbInstance) -> Result<(), Fault> {
    let rds = &cloud.aws().rds;
    let identifier = instance.db_instance_identifier().unwrap_or_default();
    if instance.db_instance_status() == Some("deleting") {
        return Ok(());
    }
    if instance.deletion_protection() == Some(true) {
        cloud
            .put("rds:ModifyDBInstance", || {
                rds.modify_db_instance()
                    .db_instance_identifier(identifier)
                    .deletion_protection(false)
                    .apply_immediately(true)
                    .send()
            })
            .await?;
    }
    cloud
        .put("rds:DeleteDBInstance", || {
            rds.delete_db_instance()
                .db_instance_identifier(identifier)
                .skip_final_snapshot(true)
                .delete_automated_backups(true)
                .send()
        })
        .await?;
    Ok(())
}

/// A database writes to the last, so its groups go after it.
async fn remove_logs(cloud: &CloudCx, names: &Names) -> Result<(), Fault> {
    let logs = &cloud.aws().logs;
    let prefix = format!("/aws/rds/instance/{}-", names.database("main"));
    let groups = cloud
        .read("logs:DescribeLogGroups", || {
            logs.describe_log_groups()
                .log_group_name_prefix(&prefix)
                .into_paginator()
                .items()
                .send()
                .collect::<Result<Vec<_>, _>>()
        })
        .await?;
    let ours = groups.iter().filter_map(|group| group.log_group_name());
    for group in ours.filter(|group| is_log_of_restore(&prefix, group)) {
        let deleted = cloud
            .put("logs:DeleteLogGroup", || {
                logs.delete_log_group().log_group_name(group).send()
            })
            .await;
        match deleted {
            Err(fault) if !fault.is_gone() => return Err(fault),
            _ => {}
        }
    }
    Ok(())
}

/// Whether a log group is of a database that only a restore has: set aside, or still being made. The site's own, replicas
/// among them, have no moment in their names.
fn is_log_of_restore(prefix: &str, group: &str) -> bool {
    let Some((name, _)) = group
        .strip_prefix(prefix)
        .and_then(|rest| rest.split_once('/'))
    else {
        return false;
    };
    let moment = name.strip_prefix("before-").unwrap_or(name);
    let shape = |of: char| match of {
        '0'..='9' => '0',
        other => other,
    };
    let begins: String = moment.chars().take(17).map(shape).collect();
    begins == "00000000t000000z-" && !moment[17..].contains('-')
}

fn value<'a>(tags: &'a [Tag], key: &str) -> Option<&'a str> {
    let tag = tags.iter().find(|tag| tag.key() == Some(key))?;
    tag.value()
}

/// Whether an instance of this name with these tags was left by a restore onto the site of `names`.
fn is_left(names: &Names, identifier: &str, tags: &[Tag]) -> bool {
    // What the site itself has goes with the site.
    if value(tags, SITE_TAG).is_some() {
        return false;
    }
    // Cut short between a rename and its tags, either may be called what the site's own is called.
    let is_main = identifier == names.database("main");
    let called = |part: &str, run: &str| {
        is_main || identifier == names.database(&format!("{part}-{}", stamp(run)))
    };
    let made = value(tags, RESTORE_TAG).is_some_and(|run| called("main", run));
    let aside = value(tags, ASIDE_TAG) == Some(names.site().as_str())
        && value(tags, ASIDE_BY_TAG).is_some_and(|run| called("main-before", run));
    made || aside
}

async fn databases(cloud: &CloudCx, names: &Names) -> Result<Vec<DbInstance>, Fault> {
    let all = cloud
        .read("rds:DescribeDBInstances", || {
            cloud
                .aws()
                .rds
                .describe_db_instances()
                .into_paginator()
                .items()
                .send()
                .collect::<Result<Vec<_>, _>>()
        })
        .await?;
    let left = |instance: &DbInstance| {
        let identifier = instance.db_instance_identifier().unwrap_or_default();
        is_left(names, identifier, instance.tag_list())
    };
    Ok(all.into_iter().filter(left).collect())
}

async fn snapshots(cloud: &CloudCx, names: &Names) -> Result<Vec<String>, Fault> {
    let all = cloud
        .read("rds:DescribeDBSnapshots", || {
            cloud
                .aws()
                .rds
                .describe_db_snapshots()
                .snapshot_type("manual")
                .into_paginator()
                .items()
                .send()
                .collect::<Result<Vec<_>, _>>()
        })
        .await?;
    let left = all.into_iter().filter_map(|snapshot| {
        let run = value(snapshot.tag_list(), RESTORE_TAG)?;
        let identifier = snapshot.db_snapshot_identifier()?;
        let copy = names.database_snapshot("restore", &stamp(run));
        (identifier == copy).then(|| identifier.to_owned())
    });
    Ok(left.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_logs_of_a_restores_databases_go() {
        let prefix = "/aws/rds/instance/gantry-acme-drill-main-";
        for (group, expected) in [
            ("before-20260923t130000z-1a2b3c/postgresql", true),
            ("20260923t130000z-1a2b3c/upgrade", true),
            ("1/postgresql", false),
            ("before-20260923t130000z-1a2b3c", false),
            ("20260923t130000z-1a2b3c-main/postgresql", false),
            ("praefect/postgresql", false),
            ("/postgresql", false),
        ] {
            let group = format!("{prefix}{group}");
            assert_eq!(is_log_of_restore(prefix, &group), expected, "{group}");
        }
        let other = "/aws/rds/instance/gantry-acme-main-20260923t130000z-1a2b3c/upgrade";
        assert!(!is_log_of_restore(prefix, other));
    }

    const RUN: &str = "20261126T061500Z-00000a-restore";

    fn names(site: &str) -> Names {
        Names::new(
            site.parse().unwrap(),
            "123456789012".parse().unwrap(),
            "eu-west-1".parse().unwrap(),
        )
    }

    fn tags(pairs: &[(&str, &str)]) -> Vec<Tag> {
        let tag = |(key, value): &(&str, &str)| Tag::builder().key(*key).value(*value).build();
        pairs.iter().map(tag).collect()
    }

    #[test]
    fn what_a_restore_onto_the_drill_left_and_nothing_else() {
        let drill = names("acme-drill");
        let made = tags(&[(RESTORE_TAG, RUN)]);
        let aside = tags(&[(ASIDE_TAG, "acme-drill"), (ASIDE_BY_TAG, RUN)]);
        let stamp = stamp(RUN);
        let new = format!("gantry-acme-drill-main-{stamp}");
        let old = format!("gantry-acme-drill-main-before-{stamp}");
        let left: [(&str, &[Tag]); 4] = [
            (&new, &made),
            (&old, &aside),
            ("gantry-acme-drill-main", &made),
            ("gantry-acme-drill-main", &aside),
        ];
        for (name, tags) in left {
            assert!(is_left(&drill, name, tags), "{name}");
        }
        let of_site = tags(&[(RESTORE_TAG, RUN), (SITE_TAG, "acme-drill")]);
        let of_another = tags(&[(ASIDE_TAG, "acme"), (ASIDE_BY_TAG, RUN)]);
        let others: [(&str, &[Tag]); 9] = [
            // The site's own, and those of other sites whose names begin alike.
            ("gantry-acme-drill-main", &of_site),
            ("gantry-acme-drill-main", &[]),
            ("gantry-acme-main", &made),
            (&format!("gantry-acme-main-{stamp}"), &made),
            (&format!("gantry-acme-drill-main-main-{stamp}"), &made),
            (&format!("gantry-acme-drill-2-main-{stamp}"), &made),
            (&format!("gantry-acme-main-before-{stamp}"), &of_another),
            (&old, &of_another),
            (&new, &aside),
        ];
        for (name, tags) in others {
            assert!(!is_left(&drill, name, tags), "{name} {tags:?}");
        }
    }
}
