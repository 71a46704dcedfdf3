//! What the main database and its replicas share: both are DB instances to RDS.

use std::collections::BTreeSet;

use aws_sdk_rds::operation::modify_db_instance::builders::ModifyDBInstanceFluentBuilder;
use aws_sdk_rds::types::{
    CloudwatchLogsExportConfiguration, DbInstance as Sdk, DbParameterGroupStatus, Endpoint, Filter,
    VpcSecurityGroupMembership,
};
use serde::{Deserialize, Serialize};

use super::{ParameterGroupRef, tags_of};
use crate::cloud::Fault;
use crate::kinds::Protection;
use crate::kinds::ec2::{SecurityGroup, text};
use crate::kinds::kms::Key;
use crate::resource::{ApplyCx, CloudCx, Diff, Found, PlanCx, Readiness, Ref, Resource, Tags};

/// The certificate authority of the server's own certificate: RSA 2048, the one every PostgreSQL client knows.
pub(super) const CA: &str = "rds-ca-rsa2048-g1";
/// The state of an instance that somebody stopped.
const STOPPED: &str = "stopped";
/// Days of performance data that cost nothing.
pub(super) const INSIGHTS_DAYS: i32 = 7;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DbInstanceOutput {
    pub identifier: String,
    pub arn: String,
    pub endpoint: String,
    pub port: u16,
}

/// A DB instance as RDS describes it, with what RDS is about to change already changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceLive {
    pub identifier: String,
    pub arn: String,
    /// Not stopped by hand.
    pub running: bool,
    /// The identifier of the instance it is a replica of.
    pub source: Option<String>,
    pub class: String,
    pub engine_version: String,
    pub database: String,
    pub user: String,
    pub storage_gib: i64,
    pub max_storage_gib: Option<i64>,
    pub storage_type: String,
    pub iops: Option<i64>,
    pub throughput: Option<i64>,
    pub multi_az: bool,
    pub subnet_group: String,
    pub parameter_group: String,
    pub groups: BTreeSet<String>,
    pub encrypted: bool,
    /// The key's ARN.
    pub key: String,
    pub backup_days: i64,
    pub backup_window: String,
    pub maintenance_window: String,
    pub protection: bool,
    pub insights: bool,
    pub log_exports: BTreeSet<String>,
    pub public: bool,
    pub minor_upgrades: bool,
    pub copy_tags: bool,
    pub iam_login: bool,
    pub authority: String,
    pub tags: Tags,
}

/// The settings that a main database and a replica have alike.
pub(super) struct Common<'a> {
    pub class: &'a str,
    pub parameter_group: &'a ParameterGroupRef,
    pub groups: &'a [Ref<SecurityGroup>],
    pub key: &'a Ref<Key>,
    pub max_storage_gib: Option<u32>,
    pub maintenance_window: &'a str,
    pub protection: Protection,
    pub insights: bool,
    pub log_exports: &'a [String],
}

impl Common<'_> {
    /// The fields of this part that differ.
    pub(super) fn diff(&self, diff: Diff, live: &InstanceLive, cx: &PlanCx<'_>) -> Diff {
        let groups: BTreeSet<String> = self
            .groups
            .iter()
            .map(|g| text(cx.want(g, |o| o.id).as_str()))
            .collect();
        let exports: BTreeSet<&String> = self.log_exports.iter().collect();
        // With scaling off RDS names no ceiling, or one that leaves no room.
        let ceiling = live.max_storage_gib.filter(|max| *max > live.storage_gib);
        diff.field("running", true, live.running)
            .field("class", self.class, &live.class)
            .field(
                "parameter_group",
                self.parameter_group.wanted(cx),
                &live.parameter_group,
            )
            .field("groups", groups, &live.groups)
            .field("max_storage_gib", self.max_storage_gib, ceiling)
            .field(
                "maintenance_window",
                self.maintenance_window.to_lowercase(),
                live.maintenance_window.to_lowercase(),
            )
            .field("protection", self.protection.is_on(), live.protection)
            .field("insights", self.insights, live.insights)
            .field("log_exports", exports, &live.log_exports)
            .field("minor_upgrades", false, live.minor_upgrades)
            .field("public", false, live.public)
            .field("copy_tags", true, live.copy_tags)
            .field("iam_login", false, live.iam_login)
            .field("authority", CA, &live.authority)
            .fixed("encrypted", true, live.encrypted)
            .fixed("key", cx.want(self.key, |key| key.arn), &live.key)
    }

    /// Adds to a modification what differs in this part.
    pub(super) fn modify(
        &self,
        mut call: ModifyDBInstanceFluentBuilder,
        now: &InstanceLive,
        diff: &Diff,
        cx: &ApplyCx<'_>,
    ) -> Result<ModifyDBInstanceFluentBuilder, Fault> {
        if diff.has("class") {
            call = call.db_instance_class(self.class);
        }
        if diff.has("parameter_group") {
            call = call.db_parameter_group_name(self.parameter_group.name(cx)?);
        }
        if diff.has("groups") {
            call = call.set_vpc_security_group_ids(Some(group_ids(self.groups, cx)?));
        }
        if diff.has("max_storage_gib") {
            // A ceiling at the present size switches the scaling off.
            let ceiling = self.max_storage_gib.map_or(now.storage_gib, i64::from);
            call = call.max_allocated_storage(whole(ceiling));
        }
        if diff.has("maintenance_window") {
            call = call.preferred_maintenance_window(self.maintenance_window);
        }
        if diff.has("protection") {
            call = call.deletion_protection(self.protection.is_on());
        }
        if diff.has("insights") {
            call = call.enable_performance_insights(self.insights);
            if self.insights {
                call = call
                    .performance_insights_kms_key_id(cx.get(self.key)?.arn)
                    .performance_insights_retention_period(INSIGHTS_DAYS);
            }
        }
        if diff.has("log_exports") {
            let want: BTreeSet<String> = self.log_exports.iter().cloned().collect();
            let list = |a: &BTreeSet<String>, b: &BTreeSet<String>| {
                let only: Vec<String> = a.difference(b).cloned().collect();
                (!only.is_empty()).then_some(only)
            };
            call = call.cloudwatch_logs_export_configuration(
                CloudwatchLogsExportConfiguration::builder()
                    .set_enable_log_types(list(&want, &now.log_exports))
                    .set_disable_log_types(list(&now.log_exports, &want))
                    .build(),
            );
        }
        if diff.has("minor_upgrades") {
            call = call.auto_minor_version_upgrade(false);
        }
        if diff.has("public") {
            call = call.publicly_accessible(false);
        }
        if diff.has("copy_tags") {
            call = call.copy_tags_to_snapshot(true);
        }
        if diff.has("iam_login") {
            call = call.enable_iam_database_authentication(false);
        }
        if diff.has("authority") {
            call = call.ca_certificate_identifier(CA);
        }
        Ok(call)
    }
}

/// The fields that one modification sets; tags are set apart, and so is whether it runs.
pub(super) fn modifies(diff: &Diff) -> bool {
    let apart = ["tags", "running"];
    diff.fields.iter().any(|f| !apart.contains(&&*f.field))
}

/// Starts what somebody stopped. Other changes are refused until it runs, and asked for again.
pub(super) async fn start(instance: &Sdk, diff: &Diff, cx: &ApplyCx<'_>) -> Result<(), Fault> {
    if !diff.has("running") || instance.db_instance_status() != Some(STOPPED) {
        return Ok(());
    }
    cx.cloud
        .put("rds:StartDBInstance", || {
            let call = cx.aws().rds.start_db_instance();
            call.set_db_instance_identifier(instance.db_instance_identifier().map(str::to_owned))
                .send()
        })
        .await?;
    Ok(())
}

/// SDK numbers are signed and of 32 bits.
pub(super) fn whole(number: impl TryInto<i32>) -> i32 {
    number.try_into().unwrap_or(i32::MAX)
}

pub(super) fn group_ids(
    groups: &[Ref<SecurityGroup>],
    cx: &ApplyCx<'_>,
) -> Result<Vec<String>, Fault> {
    groups.iter().map(|g| Ok(cx.get(g)?.id)).collect()
}

/// The wanted version, or the live one where it is a release of the wanted: `17` means any 17.x.
pub(super) fn same_version<'a>(want: &'a str, have: &'a str) -> &'a str {
    if have
        .strip_prefix(want)
        .is_some_and(|rest| rest.starts_with('.'))
    {
        have
    } else {
        want
    }
}

/// The site's DB instances of one of the two kinds.
pub(super) async fn survey<R>(cx: &CloudCx) -> Result<Vec<Found<R>>, Fault>
where
    R: Resource<Id = String, Output = DbInstanceOutput, Live = InstanceLive>,
{
    let listed = cx.once("databases", || list(&[], cx)).await?;
    Ok(listed
        .iter()
        .filter_map(|instance| {
            let live = live(instance);
            let ours = live.tags.get(crate::resource::SITE_TAG) == Some(cx.site());
            let address = live
                .tags
                .address()
                .filter(|a| ours && *a.kind() == R::KIND)?;
            Some(Found {
                address,
                id: live.identifier.clone(),
                readiness: standing(instance),
                live,
            })
        })
        .collect())
}

pub(super) async fn poll(
    ids: &[String],
    cx: &CloudCx,
) -> Result<Vec<Readiness<DbInstanceOutput>>, Fault> {
    let listed = list(ids, cx).await?;
    Ok(ids
        .iter()
        .map(|id| {
            listed
                .iter()
                .find(|i| i.db_instance_identifier() == Some(id))
                .map_or(Readiness::Absent, readiness)
        })
        .collect())
}

/// One instance as it is now.
pub(super) async fn find(id: &str, cx: &CloudCx) -> Result<Option<Sdk>, Fault> {
    Ok(list(&[id.to_owned()], cx).await?.into_iter().next())
}

/// The instances of these identifiers, or all. A filter, because asking for one that is gone is an error.
async fn list(ids: &[String], cx: &CloudCx) -> Result<Vec<Sdk>, Fault> {
    let filter = (!ids.is_empty()).then(|| {
        vec![
            Filter::builder()
                .name("db-instance-id")
                .set_values(Some(ids.to_vec()))
                .build(),
        ]
    });
    let listed = cx
        .read("rds:DescribeDBInstances", || {
            cx.aws()
                .rds
                .describe_db_instances()
                .set_filters(filter.clone())
                .into_paginator()
                .items()
                .send()
                .collect::<Result<Vec<_>, _>>()
        })
        .await;
    match listed {
        Err(fault) if fault.is_gone() => Ok(vec![]),
        other => other,
    }
}

/// Takes the instance away: protection off first, then the deletion, with a final snapshot named `last` or none.
pub(super) async fn delete(id: &str, last: Option<String>, cx: &CloudCx) -> Result<(), Fault> {
    let rds = &cx.aws().rds;
    let Some(instance) = find(id, cx).await? else {
        return Ok(());
    };
    if is_deleting(&instance) {
        return Ok(());
    }
    if instance.deletion_protection() == Some(true) {
        cx.put("rds:ModifyDBInstance", || {
            rds.modify_db_instance()
                .db_instance_identifier(id)
                .deletion_protection(false)
                .apply_immediately(true)
                .send()
        })
        .await?;
    }
    let deleted = cx
        .put("rds:DeleteDBInstance", || {
            rds.delete_db_instance()
                .db_instance_identifier(id)
                .skip_final_snapshot(last.is_none())
                .set_final_db_snapshot_identifier(last.clone())
                .delete_automated_backups(true)
                .send()
        })
        .await;
    match deleted {
        Ok(_) => Ok(()),
        Err(fault) if fault.is_gone() => Ok(()),
        // The first attempt was carried out and only its answer was lost.
        Err(fault) => match find(id, cx).await? {
            Some(instance) if !is_deleting(&instance) => Err(fault),
            _ => Ok(()),
        },
    }
}

fn is_deleting(instance: &Sdk) -> bool {
    instance.db_instance_status() == Some("deleting")
}

/// What RDS says of an instance, with its pending changes laid over.
pub(super) fn live(i: &Sdk) -> InstanceLive {
    let pending = i.pending_modified_values();
    let coming = |now: Option<i32>, then: Option<i32>| then.or(now).map(i64::from);
    let next = |now: Option<&str>, then: Option<&str>| text(then.or(now));
    let mut log_exports: BTreeSet<String> = i
        .enabled_cloudwatch_logs_exports()
        .iter()
        .cloned()
        .collect();
    if let Some(exports) = pending.and_then(|p| p.pending_cloudwatch_logs_exports()) {
        log_exports.extend(exports.log_types_to_enable().iter().cloned());
        for off in exports.log_types_to_disable() {
            log_exports.remove(off);
        }
    }
    InstanceLive {
        identifier: text(i.db_instance_identifier()),
        arn: text(i.db_instance_arn()),
        running: i.db_instance_status() != Some(STOPPED),
        source: i
            .read_replica_source_db_instance_identifier()
            .map(str::to_owned),
        class: next(
            i.db_instance_class(),
            pending.and_then(|p| p.db_instance_class()),
        ),
        engine_version: next(i.engine_version(), pending.and_then(|p| p.engine_version())),
        database: text(i.db_name()),
        user: text(i.master_username()),
        storage_gib: coming(
            i.allocated_storage(),
            pending.and_then(|p| p.allocated_storage()),
        )
        .unwrap_or_default(),
        max_storage_gib: i.max_allocated_storage().map(i64::from),
        storage_type: next(i.storage_type(), pending.and_then(|p| p.storage_type())),
        iops: coming(i.iops(), pending.and_then(|p| p.iops())),
        throughput: coming(
            i.storage_throughput(),
            pending.and_then(|p| p.storage_throughput()),
        ),
        multi_az: pending
            .and_then(|p| p.multi_az())
            .or(i.multi_az())
            .unwrap_or_default(),
        subnet_group: text(i.db_subnet_group().and_then(|g| g.db_subnet_group_name())),
        parameter_group: text(
            i.db_parameter_groups()
                .first()
                .and_then(DbParameterGroupStatus::db_parameter_group_name),
        ),
        groups: i
            .vpc_security_groups()
            .iter()
            .filter(|g| g.status() != Some("removing"))
            .filter_map(VpcSecurityGroupMembership::vpc_security_group_id)
            .map(str::to_owned)
            .collect(),
        encrypted: i.storage_encrypted().unwrap_or_default(),
        key: text(i.kms_key_id()),
        backup_days: coming(
            i.backup_retention_period(),
            pending.and_then(|p| p.backup_retention_period()),
        )
        .unwrap_or_default(),
        backup_window: text(i.preferred_backup_window()),
        maintenance_window: text(i.preferred_maintenance_window()),
        protection: i.deletion_protection().unwrap_or_default(),
        insights: i.performance_insights_enabled().unwrap_or_default(),
        log_exports,
        public: i.publicly_accessible().unwrap_or_default(),
        minor_upgrades: i.auto_minor_version_upgrade().unwrap_or_default(),
        copy_tags: i.copy_tags_to_snapshot().unwrap_or_default(),
        iam_login: i.iam_database_authentication_enabled().unwrap_or_default(),
        authority: next(
            i.ca_certificate_identifier(),
            pending.and_then(|p| p.ca_certificate_identifier()),
        ),
        tags: tags_of(i.tag_list()),
    }
}

/// For a survey: what is stopped or full is there with all its settings, and an install changes those.
fn standing(i: &Sdk) -> Readiness<DbInstanceOutput> {
    match i.db_instance_status() {
        Some(STOPPED | "storage-full") => ready(i),
        _ => readiness(i),
    }
}

fn ready(i: &Sdk) -> Readiness<DbInstanceOutput> {
    let state = text(i.db_instance_status());
    match i.endpoint().and_then(Endpoint::address) {
        Some(endpoint) => Readiness::Ready(DbInstanceOutput {
            identifier: text(i.db_instance_identifier()),
            arn: text(i.db_instance_arn()),
            endpoint: endpoint.to_owned(),
            port: i
                .endpoint()
                .and_then(Endpoint::port)
                .and_then(|p| p.try_into().ok())
                .unwrap_or(5432),
        }),
        None => Readiness::Pending(state.into()),
    }
}

/// Some states with work going on leave the database in use.
/// <https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/accessing-monitoring.html>
fn readiness(i: &Sdk) -> Readiness<DbInstanceOutput> {
    let state = text(i.db_instance_status());
    match state.as_str() {
        "available"
        | "backing-up"
        | "storage-optimization"
        | "configuring-enhanced-monitoring"
        | "configuring-iam-database-auth"
        | "configuring-log-exports" => ready(i),
        // It keeps its data through these, and comes back once the cause is gone.
        "insufficient-capacity" => Readiness::Held(Box::new(Fault::Capacity {
            call: "rds:StartDBInstance".into(),
            code: state,
            message: "AWS has no machine of this class in this zone for it".into(),
        })),
        "inaccessible-encryption-credentials-recoverable" => {
            Readiness::Held(Box::new(Fault::Broken {
                call: "rds:StartDBInstance".into(),
                message: format!(
                    "{state}: it cannot use its KMS key; enable the key, and start the database"
                ),
            }))
        }
        "failed" | "inaccessible-encryption-credentials" | "restore-error" => {
            Readiness::Broken(state.into())
        }
        other if other.starts_with("incompatible-") => Readiness::Broken(state.into()),
        _ => Readiness::Pending(state.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_major_version_means_any_of_its_releases() {
        assert_eq!(same_version("17", "17.6"), "17.6");
        assert_eq!(same_version("17.6", "17.6"), "17.6");
        assert_eq!(same_version("17.6", "17.5"), "17.6");
        assert_eq!(same_version("1", "17.5"), "1");
    }
}
