//! A read replica of the main database.
//!
//! AWS makes one only of a source that is available and has backups; until then the answer is "not yet".
//! Storage, version, key and subnets come from the source.

use serde::Serialize;

use super::instance::{self, CA, Common, DbInstanceOutput, INSIGHTS_DAYS, InstanceLive, whole};
use super::{DbInstance, ParameterGroupRef, retag, sdk_tags};
use crate::cloud::Fault;
use crate::kinds::Protection;
use crate::kinds::ec2::SecurityGroup;
use crate::kinds::kms::Key;
use crate::kinds::logs::LogGroup;
use crate::resource::{
    Address, ApplyCx, Change, CloudCx, ConfigureWhen, Created, Diff, Found, Kind, PlanCx,
    Readiness, Ref, Replay, Resource, Tags,
};

#[derive(Debug, Clone, Serialize)]
pub struct DbReplica {
    pub identifier: String,
    pub source: Ref<DbInstance>,
    pub class: String,
    pub parameter_group: ParameterGroupRef,
    pub groups: Vec<Ref<SecurityGroup>>,
    /// The key of the source, for Performance Insights.
    pub key: Ref<Key>,
    pub max_storage_gib: Option<u32>,
    /// `sun:03:00-sun:04:00`, UTC.
    pub maintenance_window: String,
    pub protection: Protection,
    pub insights: bool,
    pub log_exports: Vec<String>,
    /// Where they go. The database writes until it is gone, and makes a group that is missing.
    pub logs: Vec<Ref<LogGroup>>,
}

impl DbReplica {
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
}

impl Resource for DbReplica {
    const KIND: Kind = Kind::new("rds/db_replica");
    const REPLAY: Replay = Replay::Name;
    const CONFIGURES: bool = true;
    // The creating call has no maintenance window, and nothing is changed while AWS creates.
    const CONFIGURE: ConfigureWhen = ConfigureWhen::WhenReady;
    const ACTIONS: &'static [&'static str] = &[
        "rds:CreateDBInstanceReadReplica",
        "rds:DescribeDBInstances",
        "rds:ModifyDBInstance",
        "rds:StartDBInstance",
        "rds:DeleteDBInstance",
        "rds:AddTagsToResource",
        "rds:RemoveTagsFromResource",
        "rds:ListTagsForResource",
        "ec2:DescribeSubnets",
        "ec2:DescribeVpcs",
        "ec2:DescribeSecurityGroups",
        "kms:DescribeKey",
        "kms:CreateGrant",
    ];
    const USUAL_SECONDS: u64 = 12 * 60;

    /// The identifier.
    type Id = String;
    type Output = DbInstanceOutput;
    type Live = InstanceLive;

    fn refs(&self) -> Vec<&Address> {
        let mut refs = vec![self.source.address(), self.key.address()];
        refs.extend(self.parameter_group.address());
        refs.extend(self.groups.iter().map(Ref::address));
        refs.extend(self.logs.iter().map(Ref::address));
        refs
    }

    fn diff(&self, live: &InstanceLive, cx: &PlanCx<'_>) -> Diff {
        let diff = Diff::new()
            .fixed("identifier", &self.identifier, &live.identifier)
            .fixed(
                "source",
                cx.want(&self.source, |o| o.identifier),
                &live.source,
            );
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
        let source = cx.get(&self.source)?.identifier;
        let key = cx.get(&self.key)?.arn;
        let parameters = self.parameter_group.name(cx)?;
        let groups = instance::group_ids(&self.groups, cx)?;
        let exports = (!self.log_exports.is_empty()).then(|| self.log_exports.clone());
        cx.cloud
            .write("rds:CreateDBInstanceReadReplica", || {
                let mut call = cx.aws().rds.create_db_instance_read_replica();
                if self.insights {
                    call = call
                        .performance_insights_kms_key_id(&key)
                        .performance_insights_retention_period(INSIGHTS_DAYS);
                }
                call.db_instance_identifier(&self.identifier)
                    .source_db_instance_identifier(&source)
                    .db_instance_class(&self.class)
                    .db_parameter_group_name(&parameters)
                    .set_vpc_security_group_ids(Some(groups.clone()))
                    .set_max_allocated_storage(self.max_storage_gib.map(whole))
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
        let call = cx
            .aws()
            .rds
            .modify_db_instance()
            .db_instance_identifier(id)
            .apply_immediately(true);
        let call = match change {
            Change::All => call.preferred_maintenance_window(&self.maintenance_window),
            Change::Fields(diff) => {
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
                self.common().modify(call, &now, diff, cx)?
            }
        };
        cx.cloud
            .put("rds:ModifyDBInstance", || call.clone().send())
            .await?;
        Ok(())
    }

    async fn delete(id: &String, cx: &CloudCx) -> Result<(), Fault> {
        // RDS takes no final snapshot of a replica; the data is the source's.
        instance::delete(id, None, cx).await
    }

    const DELETE_TAKES_TIME: bool = true;
}
