//! The subnets a database may live in: private ones, in at least two zones.

use std::collections::BTreeSet;

use aws_sdk_rds::types::{DbSubnetGroup, Subnet as SdkSubnet};
use serde::{Deserialize, Serialize};

use super::{Owned, owned, retag, sdk_tags};
use crate::cloud::Fault;
use crate::kinds::ec2::{Subnet, remove, text};
use crate::resource::{
    Address, ApplyCx, Change, CloudCx, Created, Diff, Found, Kind, PlanCx, Readiness, Ref, Replay,
    Resource, Tags,
};

#[derive(Debug, Clone, Serialize)]
pub struct SubnetGroup {
    pub name: String,
    pub description: String,
    pub subnets: Vec<Ref<Subnet>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubnetGroupOutput {
    pub name: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubnetGroupLive {
    pub name: String,
    pub arn: String,
    pub description: String,
    pub subnets: BTreeSet<String>,
    pub tags: Tags,
}

impl Resource for SubnetGroup {
    const KIND: Kind = Kind::new("rds/subnet_group");
    const REPLAY: Replay = Replay::Name;
    const ACTIONS: &'static [&'static str] = &[
        "rds:CreateDBSubnetGroup",
        "rds:DescribeDBSubnetGroups",
        "rds:ModifyDBSubnetGroup",
        "rds:DeleteDBSubnetGroup",
        "rds:AddTagsToResource",
        "rds:RemoveTagsFromResource",
        "rds:ListTagsForResource",
        "tag:GetResources",
        "ec2:DescribeSubnets",
        "ec2:DescribeVpcs",
        "iam:CreateServiceLinkedRole",
    ];

    /// The name.
    type Id = String;
    type Output = SubnetGroupOutput;
    type Live = SubnetGroupLive;

    fn refs(&self) -> Vec<&Address> {
        self.subnets.iter().map(Ref::address).collect()
    }

    fn diff(&self, live: &SubnetGroupLive, cx: &PlanCx<'_>) -> Diff {
        let mut subnets: Vec<_> = self
            .subnets
            .iter()
            .map(|s| cx.want(s, |o| o.id).as_str().unwrap_or_default().to_owned())
            .collect();
        subnets.sort_unstable();
        Diff::new()
            .fixed("name", &self.name, &live.name)
            .field("description", &self.description, &live.description)
            .field("subnets", subnets, &live.subnets)
            .field("tags", cx.tags(&Tags::new()), &live.tags)
    }

    async fn survey(cx: &CloudCx) -> Result<Vec<Found<Self>>, Fault> {
        let mut found = Vec::new();
        for group in list(cx).await? {
            let arn = text(group.db_subnet_group_arn());
            let name = text(group.db_subnet_group_name());
            let Some(Owned { address, tags }) = owned(&arn, &name, &Self::KIND, cx).await? else {
                continue;
            };
            found.push(Found {
                address,
                id: name.clone(),
                readiness: Readiness::Ready(SubnetGroupOutput { name: name.clone() }),
                live: SubnetGroupLive {
                    name,
                    arn,
                    description: text(group.db_subnet_group_description()),
                    subnets: group
                        .subnets()
                        .iter()
                        .filter_map(SdkSubnet::subnet_identifier)
                        .map(str::to_owned)
                        .collect(),
                    tags,
                },
            });
        }
        Ok(found)
    }

    async fn poll(
        ids: &[String],
        cx: &CloudCx,
    ) -> Result<Vec<Readiness<SubnetGroupOutput>>, Fault> {
        let listed = list(cx).await?;
        Ok(ids
            .iter()
            .map(|id| {
                if listed.iter().any(|g| g.db_subnet_group_name() == Some(id)) {
                    Readiness::Ready(SubnetGroupOutput { name: id.clone() })
                } else {
                    Readiness::Absent
                }
            })
            .collect())
    }

    async fn create(&self, cx: &ApplyCx<'_>) -> Result<Created<Self>, Fault> {
        let subnets = self.subnet_ids(cx)?;
        cx.cloud
            .write("rds:CreateDBSubnetGroup", || {
                cx.aws()
                    .rds
                    .create_db_subnet_group()
                    .db_subnet_group_name(&self.name)
                    .db_subnet_group_description(&self.description)
                    .set_subnet_ids(Some(subnets.clone()))
                    .set_tags(Some(sdk_tags(&cx.tags(&Tags::new()))))
                    .send()
            })
            .await?;
        let name = self.name.clone();
        Ok(Created::Done(name.clone(), SubnetGroupOutput { name }))
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
        if diff.has_any(&["description", "subnets"]) {
            let subnets = self.subnet_ids(cx)?;
            cx.cloud
                .put("rds:ModifyDBSubnetGroup", || {
                    cx.aws()
                        .rds
                        .modify_db_subnet_group()
                        .db_subnet_group_name(id)
                        .db_subnet_group_description(&self.description)
                        .set_subnet_ids(Some(subnets.clone()))
                        .send()
                })
                .await?;
        }
        if diff.has("tags") {
            let scope = cx.cloud.scope();
            let arn = format!("arn:aws:rds:{}:{}:subgrp:{id}", scope.region, scope.account);
            retag(&arn, &cx.tags(&Tags::new()), cx).await?;
        }
        Ok(())
    }

    async fn delete(id: &String, cx: &CloudCx) -> Result<(), Fault> {
        remove(cx.put("rds:DeleteDBSubnetGroup", || {
            cx.aws()
                .rds
                .delete_db_subnet_group()
                .db_subnet_group_name(id)
                .send()
        }))
        .await
    }
}

impl SubnetGroup {
    fn subnet_ids(&self, cx: &ApplyCx<'_>) -> Result<Vec<String>, Fault> {
        self.subnets.iter().map(|s| Ok(cx.get(s)?.id)).collect()
    }
}

async fn list(cx: &CloudCx) -> Result<Vec<DbSubnetGroup>, Fault> {
    cx.read("rds:DescribeDBSubnetGroups", || {
        cx.aws()
            .rds
            .describe_db_subnet_groups()
            .into_paginator()
            .items()
            .send()
            .collect::<Result<Vec<_>, _>>()
    })
    .await
}
