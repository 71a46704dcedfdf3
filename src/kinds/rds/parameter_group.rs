//! Settings of a database engine.
//!
//! Every parameter is written with `pending-reboot`, the one method that static and dynamic ones both take;
//! a new instance starts with all of them. Parameters taken out of the site go back to the engine's default.
//!
//! Calls of a survey: the listing of groups, and the changed parameters of each group of the site.

use std::collections::BTreeMap;

use aws_sdk_rds::types::{ApplyMethod, DbParameterGroup, Parameter};
use serde::{Deserialize, Serialize};

use super::{Owned, owned, retag, sdk_tags};
use crate::cloud::Fault;
use crate::kinds::ec2::{remove, text};
use crate::resource::{
    Address, ApplyCx, Change, CloudCx, Created, Diff, Found, Kind, PlanCx, Readiness, Ref, Replay,
    Resource, Tags,
};

/// Parameters in one call: <https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_ModifyDBParameterGroup.html>.
const BATCH: usize = 20;

#[derive(Debug, Clone, Serialize)]
pub struct ParameterGroup {
    pub name: String,
    /// `postgres17`.
    pub family: String,
    pub parameters: BTreeMap<String, String>,
}

/// The parameter group of a database: one of the site's, or one that somebody else keeps.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ParameterGroupRef {
    Ours(Ref<ParameterGroup>),
    Existing(String),
}

impl ParameterGroupRef {
    pub(super) fn address(&self) -> Option<&Address> {
        match self {
            Self::Ours(group) => Some(group.address()),
            Self::Existing(_) => None,
        }
    }

    pub(super) fn wanted(&self, cx: &PlanCx<'_>) -> serde_json::Value {
        match self {
            Self::Ours(group) => cx.want(group, |o| o.name),
            Self::Existing(name) => name.as_str().into(),
        }
    }

    pub(super) fn name(&self, cx: &ApplyCx<'_>) -> Result<String, Fault> {
        match self {
            Self::Ours(group) => Ok(cx.get(group)?.name),
            Self::Existing(name) => Ok(name.clone()),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParameterGroupOutput {
    pub name: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParameterGroupLive {
    pub name: String,
    pub family: String,
    /// Those that differ from the engine's defaults.
    pub parameters: BTreeMap<String, String>,
    pub tags: Tags,
}

/// What is so anyway, in every version of PostgreSQL that GitLab runs on, and that RDS therefore does not list among the
/// parameters somebody set, set or not. TLS is demanded from PostgreSQL 15 on
/// (<https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/PostgreSQL.Concepts.General.SSL.html>).
const ALWAYS: [(&str, &str); 1] = [("rds.force_ssl", "1")];

impl Resource for ParameterGroup {
    const KIND: Kind = Kind::new("rds/parameter_group");
    const REPLAY: Replay = Replay::Name;
    const CONFIGURES: bool = true;
    const ACTIONS: &'static [&'static str] = &[
        "rds:CreateDBParameterGroup",
        "rds:DescribeDBParameterGroups",
        "rds:DescribeDBParameters",
        "rds:ModifyDBParameterGroup",
        "rds:ResetDBParameterGroup",
        "rds:DeleteDBParameterGroup",
        "rds:AddTagsToResource",
        "rds:RemoveTagsFromResource",
        "rds:ListTagsForResource",
        "tag:GetResources",
    ];

    /// The name.
    type Id = String;
    type Output = ParameterGroupOutput;
    type Live = ParameterGroupLive;

    fn refs(&self) -> Vec<&Address> {
        vec![]
    }

    fn diff(&self, live: &ParameterGroupLive, cx: &PlanCx<'_>) -> Diff {
        let mut have = live.parameters.clone();
        for (name, value) in ALWAYS {
            let wanted = self.parameters.get(name).map(String::as_str) == Some(value);
            if wanted && !have.contains_key(name) {
                have.insert(name.into(), value.into());
            }
        }
        Diff::new()
            .fixed("name", &self.name, &live.name)
            .fixed("family", &self.family, &live.family)
            .field("parameters", &self.parameters, have)
            .field("tags", cx.tags(&Tags::new()), &live.tags)
    }

    async fn survey(cx: &CloudCx) -> Result<Vec<Found<Self>>, Fault> {
        let mut found = Vec::new();
        for group in list(cx).await? {
            let arn = text(group.db_parameter_group_arn());
            let name = text(group.db_parameter_group_name());
            let Some(Owned { address, tags }) = owned(&arn, &name, &Self::KIND, cx).await? else {
                continue;
            };
            found.push(Found {
                address,
                id: name.clone(),
                readiness: Readiness::Ready(ParameterGroupOutput { name: name.clone() }),
                live: ParameterGroupLive {
                    family: text(group.db_parameter_group_family()),
                    parameters: changed(&name, cx).await?,
                    name,
                    tags,
                },
            });
        }
        Ok(found)
    }

    async fn poll(
        ids: &[String],
        cx: &CloudCx,
    ) -> Result<Vec<Readiness<ParameterGroupOutput>>, Fault> {
        let listed = list(cx).await?;
        Ok(ids
            .iter()
            .map(|id| {
                let there = listed
                    .iter()
                    .any(|g| g.db_parameter_group_name() == Some(id));
                if there {
                    Readiness::Ready(ParameterGroupOutput { name: id.clone() })
                } else {
                    Readiness::Absent
                }
            })
            .collect())
    }

    async fn create(&self, cx: &ApplyCx<'_>) -> Result<Created<Self>, Fault> {
        cx.cloud
            .write("rds:CreateDBParameterGroup", || {
                cx.aws()
                    .rds
                    .create_db_parameter_group()
                    .db_parameter_group_name(&self.name)
                    .db_parameter_group_family(&self.family)
                    // It cannot be changed later, so it says nothing that could.
                    .description(format!("gantry site {}", cx.cloud.site()))
                    .set_tags(Some(sdk_tags(&cx.tags(&Tags::new()))))
                    .send()
            })
            .await?;
        let name = self.name.clone();
        Ok(Created::Done(name.clone(), ParameterGroupOutput { name }))
    }

    async fn configure(
        &self,
        id: &String,
        change: Change<'_>,
        cx: &ApplyCx<'_>,
    ) -> Result<(), Fault> {
        let rds = &cx.aws().rds;
        if change.touches(&["parameters"]) {
            // A group that was just made has nothing to take back.
            let stray: Vec<Parameter> = match change {
                Change::All => vec![],
                Change::Fields(_) => changed(id, cx.cloud)
                    .await?
                    .keys()
                    .filter(|name| !self.parameters.contains_key(*name))
                    .map(|name| parameter(name, None))
                    .collect(),
            };
            for batch in stray.chunks(BATCH) {
                cx.cloud
                    .put("rds:ResetDBParameterGroup", || {
                        rds.reset_db_parameter_group()
                            .db_parameter_group_name(id)
                            .reset_all_parameters(false)
                            .set_parameters(Some(batch.to_vec()))
                            .send()
                    })
                    .await?;
            }
            let wanted: Vec<Parameter> = self
                .parameters
                .iter()
                .map(|(name, value)| parameter(name, Some(value)))
                .collect();
            for batch in wanted.chunks(BATCH) {
                cx.cloud
                    .put("rds:ModifyDBParameterGroup", || {
                        rds.modify_db_parameter_group()
                            .db_parameter_group_name(id)
                            .set_parameters(Some(batch.to_vec()))
                            .send()
                    })
                    .await?;
            }
        }
        if let Change::Fields(diff) = change
            && diff.has("tags")
        {
            let scope = cx.cloud.scope();
            let arn = format!("arn:aws:rds:{}:{}:pg:{id}", scope.region, scope.account);
            retag(&arn, &cx.tags(&Tags::new()), cx).await?;
        }
        Ok(())
    }

    async fn delete(id: &String, cx: &CloudCx) -> Result<(), Fault> {
        remove(cx.put("rds:DeleteDBParameterGroup", || {
            cx.aws()
                .rds
                .delete_db_parameter_group()
                .db_parameter_group_name(id)
                .send()
        }))
        .await
    }
}

fn parameter(name: &str, value: Option<&String>) -> Parameter {
    Parameter::builder()
        .parameter_name(name)
        .set_parameter_value(value.cloned())
        .apply_method(ApplyMethod::PendingReboot)
        .build()
}

async fn list(cx: &CloudCx) -> Result<Vec<DbParameterGroup>, Fault> {
    cx.read("rds:DescribeDBParameterGroups", || {
        cx.aws()
            .rds
            .describe_db_parameter_groups()
            .into_paginator()
            .items()
            .send()
            .collect::<Result<Vec<_>, _>>()
    })
    .await
}

/// The parameters of a group that somebody set.
async fn changed(name: &str, cx: &CloudCx) -> Result<BTreeMap<String, String>, Fault> {
    let listed = cx
        .read("rds:DescribeDBParameters", || {
            cx.aws()
                .rds
                .describe_db_parameters()
                .db_parameter_group_name(name)
                .source("user")
                .into_paginator()
                .items()
                .send()
                .collect::<Result<Vec<_>, _>>()
        })
        .await?;
    Ok(listed
        .iter()
        .filter_map(|p| Some((p.parameter_name()?.into(), p.parameter_value()?.into())))
        .collect())
}
