//! Settings of the cache engine. Parameters taken out of the site go back to the engine's default.
//!
//! Calls of a survey: the listing of groups, and the changed parameters of each group of the site.

use std::collections::BTreeMap;

use aws_sdk_elasticache::operation::describe_cache_parameters::DescribeCacheParametersOutput;
use aws_sdk_elasticache::types::{CacheParameterGroup, ParameterNameValue};
use serde::{Deserialize, Serialize};

use super::{Owned, arn, owned, retag, sdk_tags};
use crate::cloud::Fault;
use crate::kinds::ec2::{remove, text};
use crate::resource::{
    Address, ApplyCx, Change, CloudCx, Created, Diff, Found, Kind, PlanCx, Readiness, Ref, Replay,
    Resource, Tags,
};

/// Parameters in one call: <https://docs.aws.amazon.com/AmazonElastiCache/latest/APIReference/API_ModifyCacheParameterGroup.html>.
const BATCH: usize = 20;

#[derive(Debug, Clone, Serialize)]
pub struct ParameterGroup {
    pub name: String,
    /// `valkey7`.
    pub family: String,
    pub parameters: BTreeMap<String, String>,
}

/// The parameter group of a cache: one of the site's, one that somebody else keeps, or the engine's default.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CacheParameterGroupRef {
    Ours(Ref<ParameterGroup>),
    Existing(String),
    Default,
}

impl CacheParameterGroupRef {
    pub(super) fn address(&self) -> Option<&Address> {
        match self {
            Self::Ours(group) => Some(group.address()),
            Self::Existing(_) | Self::Default => None,
        }
    }

    /// The wanted name; none where AWS chooses.
    pub(super) fn wanted(&self, cx: &PlanCx<'_>) -> Option<serde_json::Value> {
        match self {
            Self::Ours(group) => Some(cx.want(group, |o| o.name)),
            Self::Existing(name) => Some(name.as_str().into()),
            Self::Default => None,
        }
    }

    pub(super) fn name(&self, cx: &ApplyCx<'_>) -> Result<Option<String>, Fault> {
        match self {
            Self::Ours(group) => Ok(Some(cx.get(group)?.name)),
            Self::Existing(name) => Ok(Some(name.clone())),
            Self::Default => Ok(None),
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

impl Resource for ParameterGroup {
    const KIND: Kind = Kind::new("elasticache/parameter_group");
    const REPLAY: Replay = Replay::Name;
    const CONFIGURES: bool = true;
    const ACTIONS: &'static [&'static str] = &[
        "elasticache:CreateCacheParameterGroup",
        "elasticache:DescribeCacheParameterGroups",
        "elasticache:DescribeCacheParameters",
        "elasticache:ModifyCacheParameterGroup",
        "elasticache:ResetCacheParameterGroup",
        "elasticache:DeleteCacheParameterGroup",
        "elasticache:AddTagsToResource",
        "elasticache:RemoveTagsFromResource",
        "elasticache:ListTagsForResource",
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
        Diff::new()
            .fixed("name", &self.name, &live.name)
            .fixed("family", &self.family, &live.family)
            .field("parameters", &self.parameters, &live.parameters)
            .field("tags", cx.tags(&Tags::new()), &live.tags)
    }

    async fn survey(cx: &CloudCx) -> Result<Vec<Found<Self>>, Fault> {
        let mut found = Vec::new();
        for group in list(cx).await? {
            let arn = text(group.arn());
            let name = text(group.cache_parameter_group_name());
            let Some(Owned { address, tags }) = owned(&arn, &name, &Self::KIND, cx).await? else {
                continue;
            };
            found.push(Found {
                address,
                id: name.clone(),
                readiness: Readiness::Ready(ParameterGroupOutput { name: name.clone() }),
                live: ParameterGroupLive {
                    family: text(group.cache_parameter_group_family()),
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
                    .any(|g| g.cache_parameter_group_name() == Some(id));
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
            .write("elasticache:CreateCacheParameterGroup", || {
                cx.aws()
                    .elasticache
                    .create_cache_parameter_group()
                    .cache_parameter_group_name(&self.name)
                    .cache_parameter_group_family(&self.family)
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
        let cache = &cx.aws().elasticache;
        if change.touches(&["parameters"]) {
            // A group that was just made has nothing to take back.
            let stray: Vec<ParameterNameValue> = match change {
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
                    .put("elasticache:ResetCacheParameterGroup", || {
                        cache
                            .reset_cache_parameter_group()
                            .cache_parameter_group_name(id)
                            .reset_all_parameters(false)
                            .set_parameter_name_values(Some(batch.to_vec()))
                            .send()
                    })
                    .await?;
            }
            let wanted: Vec<ParameterNameValue> = self
                .parameters
                .iter()
                .map(|(name, value)| parameter(name, Some(value)))
                .collect();
            for batch in wanted.chunks(BATCH) {
                cx.cloud
                    .put("elasticache:ModifyCacheParameterGroup", || {
                        cache
                            .modify_cache_parameter_group()
                            .cache_parameter_group_name(id)
                            .set_parameter_name_values(Some(batch.to_vec()))
                            .send()
                    })
                    .await?;
            }
        }
        if let Change::Fields(diff) = change
            && diff.has("tags")
        {
            let arn = arn("parametergroup", id, cx.cloud);
            retag(&arn, &cx.tags(&Tags::new()), cx).await?;
        }
        Ok(())
    }

    async fn delete(id: &String, cx: &CloudCx) -> Result<(), Fault> {
        remove(cx.put("elasticache:DeleteCacheParameterGroup", || {
            cx.aws()
                .elasticache
                .delete_cache_parameter_group()
                .cache_parameter_group_name(id)
                .send()
        }))
        .await
    }
}

fn parameter(name: &str, value: Option<&String>) -> ParameterNameValue {
    ParameterNameValue::builder()
        .parameter_name(name)
        .set_parameter_value(value.cloned())
        .build()
}

async fn list(cx: &CloudCx) -> Result<Vec<CacheParameterGroup>, Fault> {
    cx.read("elasticache:DescribeCacheParameterGroups", || {
        cx.aws()
            .elasticache
            .describe_cache_parameter_groups()
            .into_paginator()
            .items()
            .send()
            .collect::<Result<Vec<_>, _>>()
    })
    .await
}

/// The parameters of a group that somebody set.
async fn changed(name: &str, cx: &CloudCx) -> Result<BTreeMap<String, String>, Fault> {
    let pages = cx
        .read("elasticache:DescribeCacheParameters", || {
            cx.aws()
                .elasticache
                .describe_cache_parameters()
                .cache_parameter_group_name(name)
                .source("user")
                .into_paginator()
                .send()
                .collect::<Result<Vec<_>, _>>()
        })
        .await?;
    Ok(pages
        .iter()
        .flat_map(DescribeCacheParametersOutput::parameters)
        .filter_map(|p| Some((p.parameter_name()?.into(), p.parameter_value()?.into())))
        .collect())
}
