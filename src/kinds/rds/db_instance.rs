//! A PostgreSQL database, encrypted, private, in one zone or two.
//!
//! AWS changes nothing while the instance is not available; such a change is tried again later. Storage that
//! AWS has grown by itself within the site's ceiling is no drift, and storage never shrinks.

use serde::Serialize;

use super::instance::{self, CA, Common, DbInstanceOutput, INSIGHTS_DAYS, InstanceLive, whole};
use super::{ParameterGroupRef, SubnetGroup, retag, sdk_tags};
use crate::cloud::Fault;
use crate::kinds::Protection;
use crate::kinds::ec2::SecurityGroup;
use crate::kinds::kms::Key;
use crate::kinds::logs::LogGroup;
use crate::kinds::secretsmanager::{self, Secret};
use crate::resource::{
    Address, ApplyCx, Bears, Change, CloudCx, Created, Diff, Found, Kind, PlanCx, Readiness, Ref,
    Replay, Resource, Tags,
};

#[derive(Debug, Clone, Serialize)]
pub struct DbInstance {
    pub identifier: String,
    /// `db.m6i.xlarge`.
    pub class: String,
    /// `17` for the newest release of 17, or one release, `17.6`.
    pub engine_version: String,
    pub database: String,
    pub user: String,
    pub password: Ref<Secret>,
    pub storage_gib: u32,
    /// Up to where AWS may grow the storage by itself.
    pub max_storage_gib: Option<u32>,
    /// `gp3`, `io1` or `io2`.
    pub storage_type: String,
    pub iops: Option<u32>,
    /// MiB/s, gp3 only.
    pub throughput: Option<u32>,
    pub multi_az: bool,
    pub subnet_group: Ref<SubnetGroup>,
    pub parameter_group: ParameterGroupRef,
    pub groups: Vec<Ref<SecurityGroup>>,
    pub key: Ref<Key>,
    pub backup_days: u32,
    /// `02:00-02:30`, UTC.
    pub backup_window: String,
    /// `sun:03:00-sun:04:00`, UTC.
    pub maintenance_window: String,
    pub protection: Protection,
    /// Performance Insights.
    pub insights: bool,
    /// Logs sent to CloudWatch: `postgresql`, `upgrade`.
    pub log_exports: Vec<String>,
    /// Where they go. The database writes until it is gone, and makes a group that is missing.
    pub logs: Vec<Ref<LogGroup>>,
}

impl DbInstance {
    fn common(&self) -> Common<'_> {
        Common {
            class: &self.class,
            parameter_group: &self.parameter_group,
            groups: &self.groups,
            key: &self.key,
            max_storage_gib: self.max_storage_gib,
            maintenance_window: &self.maintenance_window,
            protection: self.protection,
            insights: self.insights,
            log_exports: &self.log_exports,
        }
    }

    /// Storage as the site wants it: what AWS grew within the ceiling counts as wanted.
    fn storage(&self, have: i64) -> i64 {
        let least = i64::from(self.storage_gib);
        match self.max_storage_gib {
            Some(most) if have > least && have <= i64::from(most) => have,
            _ => least,
        }
    }
}

impl Resource for DbInstance {
    const KIND: Kind = Kind::new("rds/db_instance");
    const REPLAY: Replay = Replay::Name;
    const BEARS: Bears = Bears::Data;
    const ACTIONS: &'static [&'static str] = &[
        "rds:CreateDBInstance",
        "rds:DescribeDBInstances",
        "rds:ModifyDBInstance",
        "rds:StartDBInstance",
        "rds:DeleteDBInstance",
        "rds:DeleteDBInstanceAutomatedBackup",
        "rds:CreateDBSnapshot",
        "rds:AddTagsToResource",
        "rds:RemoveTagsFromResource",
        "rds:ListTagsForResource",
        "ec2:DescribeSubnets",
        "ec2:DescribeVpcs",
        "ec2:DescribeVpcAttribute",
        "ec2:DescribeSecurityGroups",
        "iam:CreateServiceLinkedRole",
        "kms:DescribeKey",
        "kms:CreateGrant",
        "kms:Decrypt",
        "kms:GenerateDataKey",
        "secretsmanager:GetSecretValue",
    ];
    /// Multi-AZ, the usual case, takes 15 to 20 minutes.
    const USUAL_SECONDS: u64 = 17 * 60;

    /// The identifier.
    type Id = String;
    type Output = DbInstanceOutput;
    type Live = InstanceLive;

    fn refs(&self) -> Vec<&Address> {
        let mut refs = vec![
            self.password.address(),
            self.subnet_group.address(),
            self.key.address(),
        ];
        refs.extend(self.parameter_group.address());
        refs.extend(self.groups.iter().map(Ref::address));
        refs.extend(self.logs.iter().map(Ref::address));
        refs
    }

    fn diff(&self, live: &InstanceLive, cx: &PlanCx<'_>) -> Diff {
        let storage = self.storage(live.storage_gib);
        let diff = Diff::new()
            .fixed("identifier", &self.identifier, &live.identifier)
            .fixed("database", &self.database, &live.database)
            .fixed("user", &self.user, &live.user)
            .fixed(
                "subnet_group",
                cx.want(&self.subnet_group, |o| o.name),
                &live.subnet_group,
            );
        let mut diff = if storage < live.storage_gib {
            diff.fixed("storage_gib", storage, live.storage_gib)
        } else {
            diff.field("storage_gib", storage, live.storage_gib)
        };
        // Where the site names no number, AWS's baseline is right, whatever it is for this size.
        if let Some(iops) = self.iops {
            diff = diff.field("iops", iops, live.iops);
        }
        if let Some(throughput) = self.throughput {
            diff = diff.field("throughput", throughput, live.throughput);
        }
        let diff = diff
            .field("storage_type", &self.storage_type, &live.storage_type)
            .field(
                "engine_version",
                instance::same_version(&self.engine_version, &live.engine_version),
                &live.engine_version,
            )
            .field("multi_az", self.multi_az, live.multi_az)
            .field("backup_days", self.backup_days, live.backup_days)
            .field("backup_window", &self.backup_window, &live.backup_window);
        self.common()
            .diff(diff, live, cx)
            .field("tags", cx.tags(&Tags::new()), &live.tags)
    }

    async fn survey(cx: &CloudCx) -> Result<Vec<Found<Self>>, Fault> {
        instance::survey(cx).await
    }

    async fn poll(ids: &[String], cx: &CloudCx) -> Result<Vec<Readiness<DbInstanceOutput>>, Fault> {
        instance::poll(ids, cx).await
    }

    async fn create(&self, cx: &ApplyCx<'_>) -> Result<Created<Self>, Fault> {
        let key = cx.get(&self.key)?.arn;
        let subnets = cx.get(&self.subnet_group)?.name;
        let parameters = self.parameter_group.name(cx)?;
        let groups = instance::group_ids(&self.groups, cx)?;
        let password = secretsmanager::value(cx, &self.password).await?;
        let exports = (!self.log_exports.is_empty()).then(|| self.log_exports.clone());
        cx.cloud
            .write("rds:CreateDBInstance", || {
                let mut call = cx.aws().rds.create_db_instance();
                if self.insights {
                    call = call
                        .performance_insights_kms_key_id(&key)
                        .performance_insights_retention_period(INSIGHTS_DAYS);
                }
                call.db_instance_identifier(&self.identifier)
                    .db_instance_class(&self.class)
                    .engine("postgres")
                    .engine_version(&self.engine_version)
                    .db_name(&self.database)
                    .master_username(&self.user)
                    .master_user_password(password.reveal())
                    .allocated_storage(whole(self.storage_gib))
                    .set_max_allocated_storage(self.max_storage_gib.map(whole))
                    .storage_type(&self.storage_type)
                    .set_iops(self.iops.map(whole))
                    .set_storage_throughput(self.throughput.map(whole))
                    .multi_az(self.multi_az)
                    .db_subnet_group_name(&subnets)
                    .db_parameter_group_name(&parameters)
                    .set_vpc_security_group_ids(Some(groups.clone()))
                    .storage_encrypted(true)
                    .kms_key_id(&key)
                    .backup_retention_period(whole(self.backup_days))
                    .preferred_backup_window(&self.backup_window)
                    .preferred_maintenance_window(&self.maintenance_window)
                    .deletion_protection(self.protection.is_on())
                    .enable_performance_insights(self.insights)
                    .set_enable_cloudwatch_logs_exports(exports.clone())
                    .auto_minor_version_upgrade(false)
                    .publicly_accessible(false)
                    .copy_tags_to_snapshot(true)
                    .enable_iam_database_authentication(false)
                    .ca_certificate_identifier(CA)
                    .set_tags(Some(sdk_tags(&cx.tags(&Tags::new()))))
                    .send()
            })
            .await?;
        Ok(Created::Waiting(self.identifier.clone()))
    }

    async fn configure(
        &self,
        id: &String,
        change: Change<'_>,
        cx: &ApplyCx<'_>,
    ) -> Result<(), Fault> {
        let Change::Fields(diff) = change else {
            return Ok(());
        };
        let Some(found) = instance::find(id, cx.cloud).await? else {
            return Err(Fault::internal(format!("{} is gone", cx.address)));
        };
        let now = instance::live(&found);
        if diff.has("tags") {
            retag(&now.arn, &cx.tags(&Tags::new()), cx).await?;
        }
        instance::start(&found, diff, cx).await?;
        if !instance::modifies(diff) {
            return Ok(());
        }
        let mut call = cx
            .aws()
            .rds
            .modify_db_instance()
            .db_instance_identifier(id)
            .apply_immediately(true);
        call = self.common().modify(call, &now, diff, cx)?;
        // RDS wants the figures of the storage together.
        if diff.has_any(&["storage_gib", "storage_type", "iops", "throughput"]) {
            call = call
                .allocated_storage(whole(self.storage(now.storage_gib).max(now.storage_gib)))
                .storage_type(&self.storage_type)
                .set_iops(self.iops.map(whole))
                .set_storage_throughput(self.throughput.map(whole));
        }
        if diff.has("engine_version") {
            let major = |version: &str| text_before_dot(version).to_owned();
            call = call
                .engine_version(&self.engine_version)
                .allow_major_version_upgrade(
                    major(&self.engine_version) != major(&now.engine_version),
                );
        }
        if diff.has("multi_az") {
            call = call.multi_az(self.multi_az);
        }
        if diff.has("backup_days") {
            call = call.backup_retention_period(whole(self.backup_days));
        }
        if diff.has("backup_window") {
            call = call.preferred_backup_window(&self.backup_window);
        }
        cx.cloud
            .put("rds:ModifyDBInstance", || call.clone().send())
            .await?;
        Ok(())
    }

    async fn delete(id: &String, cx: &CloudCx) -> Result<(), Fault> {
        let last = cx.final_snapshot().map(|suffix| format!("{id}-{suffix}"));
        instance::delete(id, last, cx).await
    }

    const DELETE_TAKES_TIME: bool = true;
}

fn text_before_dot(version: &str) -> &str {
    version.split('.').next().unwrap_or(version)
}
