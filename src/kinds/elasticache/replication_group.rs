//! A Valkey primary with its replicas: TLS, a token, encrypted, cluster mode off.
//!
//! The listing of groups lacks security groups, parameter group and maintenance window; one listing of the
//! nodes has them. Changes one after the other, because AWS refuses the next while it works on one: what is
//! left over shows up as a difference and is set by the next turn.

use std::collections::BTreeSet;

use aws_sdk_elasticache::types::{
    AutomaticFailoverStatus, CacheCluster, MultiAzStatus, NodeGroup, ReplicationGroup as SdkGroup,
    SecurityGroupMembership,
};
use serde::{Deserialize, Serialize};

use super::{CacheParameterGroupRef, Owned, SubnetGroup, owned, retag, sdk_tags};
use crate::cloud::Fault;
use crate::kinds::ec2::{SecurityGroup, text};
use crate::kinds::kms::Key;
use crate::kinds::secretsmanager::{self, Secret};
use crate::resource::{
    Address, ApplyCx, Change, CloudCx, Created, Diff, Found, Kind, PlanCx, Readiness, Ref, Replay,
    Resource, Tags,
};

#[derive(Debug, Clone, Serialize)]
pub struct ReplicationGroup {
    pub id: String,
    pub description: String,
    /// `cache.m7g.large`.
    pub node_type: String,
    /// `7.2`.
    pub engine_version: String,
    /// Beside the primary; with any, a failure of the primary's zone makes one of them the primary.
    pub replicas: u32,
    pub subnet_group: Ref<SubnetGroup>,
    pub parameter_group: CacheParameterGroupRef,
    pub groups: Vec<Ref<SecurityGroup>>,
    pub key: Ref<Key>,
    pub token: Ref<Secret>,
    pub snapshot_days: u32,
    /// `03:00-04:00`, UTC; an hour at least.
    pub snapshot_window: String,
    /// `sun:04:00-sun:05:00`, UTC.
    pub maintenance_window: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicationGroupOutput {
    pub id: String,
    pub arn: String,
    pub primary_endpoint: String,
    pub port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicationGroupLive {
    pub id: String,
    pub arn: String,
    pub description: String,
    pub node_type: String,
    pub replicas: u32,
    pub failover: bool,
    pub multi_az: bool,
    pub tls: bool,
    pub encrypted: bool,
    pub token: bool,
    /// The key's ARN.
    pub key: String,
    pub snapshot_days: u32,
    pub snapshot_window: String,
    pub minor_upgrades: bool,
    /// What only the nodes show; none before the first of them is listed.
    pub node: Option<NodeLive>,
    pub tags: Tags,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeLive {
    pub engine_version: String,
    pub subnet_group: String,
    pub parameter_group: String,
    pub groups: BTreeSet<String>,
    pub maintenance_window: String,
}

impl ReplicationGroup {
    /// Whether a replica can take over.
    fn spare(&self) -> bool {
        self.replicas > 0
    }
}

impl Resource for ReplicationGroup {
    const KIND: Kind = Kind::new("elasticache/replication_group");
    const REPLAY: Replay = Replay::Name;
    const ACTIONS: &'static [&'static str] = &[
        "elasticache:CreateReplicationGroup",
        "elasticache:DescribeReplicationGroups",
        "elasticache:DescribeCacheClusters",
        "elasticache:ModifyReplicationGroup",
        "elasticache:IncreaseReplicaCount",
        "elasticache:DecreaseReplicaCount",
        "elasticache:DeleteReplicationGroup",
        "elasticache:AddTagsToResource",
        "elasticache:RemoveTagsFromResource",
        "elasticache:ListTagsForResource",
        "tag:GetResources",
        "ec2:DescribeSubnets",
        "ec2:DescribeVpcs",
        "ec2:DescribeSecurityGroups",
        "ec2:CreateNetworkInterface",
        "ec2:DeleteNetworkInterface",
        "ec2:DescribeNetworkInterfaces",
        "iam:CreateServiceLinkedRole",
        "kms:DescribeKey",
        "kms:CreateGrant",
        "kms:Decrypt",
        "secretsmanager:GetSecretValue",
    ];
    const USUAL_SECONDS: u64 = 8 * 60;

    /// The group's id.
    type Id = String;
    type Output = ReplicationGroupOutput;
    type Live = ReplicationGroupLive;

    fn refs(&self) -> Vec<&Address> {
        let mut refs = vec![
            self.subnet_group.address(),
            self.key.address(),
            self.token.address(),
        ];
        refs.extend(self.parameter_group.address());
        refs.extend(self.groups.iter().map(Ref::address));
        refs
    }

    fn diff(&self, live: &ReplicationGroupLive, cx: &PlanCx<'_>) -> Diff {
        let diff = Diff::new()
            .fixed("id", &self.id, &live.id)
            .field("description", &self.description, &live.description)
            .field("node_type", &self.node_type, &live.node_type)
            .field("replicas", self.replicas, live.replicas)
            .field("failover", self.spare(), live.failover)
            .field("multi_az", self.spare(), live.multi_az)
            .fixed("tls", true, live.tls)
            .fixed("encrypted", true, live.encrypted)
            .fixed("token", true, live.token)
            .fixed("key", cx.want(&self.key, |key| key.arn), &live.key)
            .field("snapshot_days", self.snapshot_days, live.snapshot_days)
            .field("minor_upgrades", false, live.minor_upgrades)
            .field("tags", cx.tags(&Tags::new()), &live.tags);
        // Without snapshots the window means nothing, and AWS shows one of its own.
        let diff = match self.snapshot_days {
            0 => diff,
            _ => diff.field(
                "snapshot_window",
                &self.snapshot_window,
                &live.snapshot_window,
            ),
        };
        let Some(node) = &live.node else { return diff };
        let groups: BTreeSet<String> = self
            .groups
            .iter()
            .map(|g| text(cx.want(g, |o| o.id).as_str()))
            .collect();
        // AWS shows the patch too: 7.2.6 is a 7.2.
        let same = node
            .engine_version
            .strip_prefix(&self.engine_version)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        let version = if same {
            &node.engine_version
        } else {
            &self.engine_version
        };
        let diff = diff
            .field("engine_version", version, &node.engine_version)
            .fixed(
                "subnet_group",
                cx.want(&self.subnet_group, |o| o.name),
                &node.subnet_group,
            )
            .field("groups", groups, &node.groups)
            .field(
                "maintenance_window",
                self.maintenance_window.to_lowercase(),
                node.maintenance_window.to_lowercase(),
            );
        match self.parameter_group.wanted(cx) {
            Some(name) => diff.field("parameter_group", name, &node.parameter_group),
            None => diff,
        }
    }

    async fn survey(cx: &CloudCx) -> Result<Vec<Found<Self>>, Fault> {
        let groups = list(cx).await?;
        let mut found = Vec::new();
        let mut nodes: Option<Vec<CacheCluster>> = None;
        for group in &groups {
            let id = text(group.replication_group_id());
            let arn = text(group.arn());
            let Some(Owned { address, tags }) = owned(&arn, &id, &Self::KIND, cx).await? else {
                continue;
            };
            if nodes.is_none() {
                nodes = Some(list_nodes(cx).await?);
            }
            let node = nodes
                .iter()
                .flatten()
                .find(|n| n.replication_group_id() == Some(&id));
            found.push(Found {
                address,
                readiness: readiness(group),
                live: live(group, node, tags),
                id,
            });
        }
        Ok(found)
    }

    async fn poll(
        ids: &[String],
        cx: &CloudCx,
    ) -> Result<Vec<Readiness<ReplicationGroupOutput>>, Fault> {
        let groups = list(cx).await?;
        Ok(ids
            .iter()
            .map(|id| {
                groups
                    .iter()
                    .find(|g| g.replication_group_id() == Some(id))
                    .map_or(Readiness::Absent, readiness)
            })
            .collect())
    }

    async fn create(&self, cx: &ApplyCx<'_>) -> Result<Created<Self>, Fault> {
        let key = cx.get(&self.key)?.arn;
        let subnets = cx.get(&self.subnet_group)?.name;
        let parameters = self.parameter_group.name(cx)?;
        let groups = self.group_ids(cx)?;
        let window = (self.snapshot_days > 0).then(|| self.snapshot_window.clone());
        let token = secretsmanager::value(cx, &self.token).await?;
        cx.cloud
            .write("elasticache:CreateReplicationGroup", || {
                cx.aws()
                    .elasticache
                    .create_replication_group()
                    .replication_group_id(&self.id)
                    .replication_group_description(&self.description)
                    .engine("valkey")
                    .engine_version(&self.engine_version)
                    .cache_node_type(&self.node_type)
                    .num_cache_clusters(whole(self.replicas + 1))
                    .automatic_failover_enabled(self.spare())
                    .multi_az_enabled(self.spare())
                    .cache_subnet_group_name(&subnets)
                    .set_cache_parameter_group_name(parameters.clone())
                    .set_security_group_ids(Some(groups.clone()))
                    .transit_encryption_enabled(true)
                    .at_rest_encryption_enabled(true)
                    .kms_key_id(&key)
                    .auth_token(token.reveal())
                    .auto_minor_version_upgrade(false)
                    .snapshot_retention_limit(whole(self.snapshot_days))
                    .set_snapshot_window(window.clone())
                    .preferred_maintenance_window(&self.maintenance_window)
                    .set_tags(Some(sdk_tags(&cx.tags(&Tags::new()))))
                    .send()
            })
            .await?;
        Ok(Created::Waiting(self.id.clone()))
    }

    async fn configure(
        &self,
        id: &String,
        change: Change<'_>,
        cx: &ApplyCx<'_>,
    ) -> Result<(), Fault> {
        let Change::Fields(asked) = change else {
            return Ok(());
        };
        if asked.has("tags") {
            let arn = super::arn("replicationgroup", id, cx.cloud);
            retag(&arn, &cx.tags(&Tags::new()), cx).await?;
        }
        // This may be the second turn, so only what still differs is asked for.
        let diff = &self.still_differs(id, cx).await?;
        // Replicas come before the failover that needs them, and go after it.
        let more = diff
            .fields
            .iter()
            .find(|f| f.field == "replicas")
            .map(|f| f.want.as_u64() > f.have.as_u64());
        if more == Some(true) {
            self.set_replicas(id, true, cx).await?;
        }
        let settings = [
            "description",
            "node_type",
            "failover",
            "multi_az",
            "snapshot_days",
            "snapshot_window",
            "minor_upgrades",
            "engine_version",
            "groups",
            "maintenance_window",
            "parameter_group",
        ];
        if diff.has_any(&settings) {
            self.modify(id, diff, cx).await?;
        }
        if more == Some(false) {
            self.set_replicas(id, false, cx).await?;
        }
        Ok(())
    }

    async fn delete(id: &String, cx: &CloudCx) -> Result<(), Fault> {
        let cache = &cx.aws().elasticache;
        let deleted = cx
            .put("elasticache:DeleteReplicationGroup", || {
                cache
                    .delete_replication_group()
                    .replication_group_id(id)
                    .retain_primary_cluster(false)
                    .send()
            })
            .await;
        match deleted {
            Ok(_) => Ok(()),
            Err(fault) if fault.is_gone() => Ok(()),
            // Refused because it is on its way out already.
            Err(fault) => {
                let going = list(cx)
                    .await?
                    .iter()
                    .filter(|g| g.replication_group_id() == Some(id))
                    .all(|g| g.status() == Some("deleting"));
                if going { Ok(()) } else { Err(fault) }
            }
        }
    }

    const DELETE_TAKES_TIME: bool = true;
}

impl ReplicationGroup {
    fn group_ids(&self, cx: &ApplyCx<'_>) -> Result<Vec<String>, Fault> {
        self.groups.iter().map(|g| Ok(cx.get(g)?.id)).collect()
    }

    async fn still_differs(&self, id: &str, cx: &ApplyCx<'_>) -> Result<Diff, Fault> {
        let groups = list(cx.cloud).await?;
        let group = groups
            .iter()
            .find(|g| g.replication_group_id() == Some(id))
            .ok_or_else(|| Fault::internal(format!("{} is gone", cx.address)))?;
        let nodes = list_nodes(cx.cloud).await?;
        let node = nodes.iter().find(|n| n.replication_group_id() == Some(id));
        let plan = PlanCx {
            address: cx.address,
            scope: cx.cloud.scope(),
            outputs: cx.outputs,
            later: &BTreeSet::new(),
        };
        Ok(self.diff(&live(group, node, cx.tags(&Tags::new())), &plan))
    }

    async fn set_replicas(&self, id: &str, more: bool, cx: &ApplyCx<'_>) -> Result<(), Fault> {
        let cache = &cx.aws().elasticache;
        if more {
            cx.cloud
                .put("elasticache:IncreaseReplicaCount", || {
                    cache
                        .increase_replica_count()
                        .replication_group_id(id)
                        .new_replica_count(whole(self.replicas))
                        .apply_immediately(true)
                        .send()
                })
                .await?;
        } else {
            cx.cloud
                .put("elasticache:DecreaseReplicaCount", || {
                    cache
                        .decrease_replica_count()
                        .replication_group_id(id)
                        .new_replica_count(whole(self.replicas))
                        .apply_immediately(true)
                        .send()
                })
                .await?;
        }
        Ok(())
    }

    async fn modify(&self, id: &str, diff: &Diff, cx: &ApplyCx<'_>) -> Result<(), Fault> {
        let mut call = cx
            .aws()
            .elasticache
            .modify_replication_group()
            .replication_group_id(id)
            .apply_immediately(true);
        if diff.has("description") {
            call = call.replication_group_description(&self.description);
        }
        if diff.has("node_type") {
            call = call.cache_node_type(&self.node_type);
        }
        // The two belong together: Multi-AZ is refused without failover.
        if diff.has_any(&["failover", "multi_az"]) {
            call = call
                .automatic_failover_enabled(self.spare())
                .multi_az_enabled(self.spare());
        }
        if diff.has("snapshot_days") {
            call = call.snapshot_retention_limit(whole(self.snapshot_days));
        }
        if diff.has("snapshot_window") {
            call = call.snapshot_window(&self.snapshot_window);
        }
        if diff.has("minor_upgrades") {
            call = call.auto_minor_version_upgrade(false);
        }
        if diff.has("engine_version") {
            call = call.engine_version(&self.engine_version);
        }
        if diff.has("groups") {
            call = call.set_security_group_ids(Some(self.group_ids(cx)?));
        }
        if diff.has("maintenance_window") {
            call = call.preferred_maintenance_window(&self.maintenance_window);
        }
        if diff.has("parameter_group") {
            call = call.set_cache_parameter_group_name(self.parameter_group.name(cx)?);
        }
        cx.cloud
            .put("elasticache:ModifyReplicationGroup", || call.clone().send())
            .await?;
        Ok(())
    }
}

fn whole(number: u32) -> i32 {
    number.try_into().unwrap_or(i32::MAX)
}

async fn list(cx: &CloudCx) -> Result<Vec<SdkGroup>, Fault> {
    cx.read("elasticache:DescribeReplicationGroups", || {
        cx.aws()
            .elasticache
            .describe_replication_groups()
            .into_paginator()
            .items()
            .send()
            .collect::<Result<Vec<_>, _>>()
    })
    .await
}

async fn list_nodes(cx: &CloudCx) -> Result<Vec<CacheCluster>, Fault> {
    cx.read("elasticache:DescribeCacheClusters", || {
        cx.aws()
            .elasticache
            .describe_cache_clusters()
            .into_paginator()
            .items()
            .send()
            .collect::<Result<Vec<_>, _>>()
    })
    .await
}

fn live(g: &SdkGroup, node: Option<&CacheCluster>, tags: Tags) -> ReplicationGroupLive {
    let pending = g.pending_modified_values();
    let failover = pending
        .and_then(|p| p.automatic_failover_status())
        .map(|s| s.as_str())
        .or(g.automatic_failover().map(AutomaticFailoverStatus::as_str));
    let members = g.member_clusters().len();
    let count = |n: i32| u32::try_from(n).unwrap_or_default();
    ReplicationGroupLive {
        id: text(g.replication_group_id()),
        arn: text(g.arn()),
        description: text(g.description()),
        node_type: text(g.cache_node_type()),
        replicas: u32::try_from(members.saturating_sub(1)).unwrap_or_default(),
        failover: matches!(failover, Some("enabled" | "enabling")),
        multi_az: g.multi_az() == Some(&MultiAzStatus::Enabled),
        tls: g.transit_encryption_enabled().unwrap_or_default(),
        encrypted: g.at_rest_encryption_enabled().unwrap_or_default(),
        token: g.auth_token_enabled().unwrap_or_default(),
        key: text(g.kms_key_id()),
        snapshot_days: g.snapshot_retention_limit().map(count).unwrap_or_default(),
        snapshot_window: text(g.snapshot_window()),
        minor_upgrades: g.auto_minor_version_upgrade().unwrap_or_default(),
        node: node.map(|n| NodeLive {
            engine_version: text(n.engine_version()),
            subnet_group: text(n.cache_subnet_group_name()),
            parameter_group: text(
                n.cache_parameter_group()
                    .and_then(|p| p.cache_parameter_group_name()),
            ),
            groups: n
                .security_groups()
                .iter()
                .filter_map(SecurityGroupMembership::security_group_id)
                .map(str::to_owned)
                .collect(),
            maintenance_window: text(n.preferred_maintenance_window()),
        }),
        tags,
    }
}

fn readiness(group: &SdkGroup) -> Readiness<ReplicationGroupOutput> {
    let state = text(group.status());
    let primary = group
        .node_groups()
        .first()
        .and_then(NodeGroup::primary_endpoint);
    match (state.as_str(), primary.and_then(|p| p.address())) {
        // A nightly snapshot leaves the cache in use.
        ("available" | "snapshotting", Some(address)) => Readiness::Ready(ReplicationGroupOutput {
            id: text(group.replication_group_id()),
            arn: text(group.arn()),
            primary_endpoint: address.to_owned(),
            port: primary
                .and_then(|p| p.port())
                .and_then(|p| p.try_into().ok())
                .unwrap_or(6379),
        }),
        ("create-failed", _) => Readiness::Broken(state.into()),
        _ => Readiness::Pending(state.into()),
    }
}
