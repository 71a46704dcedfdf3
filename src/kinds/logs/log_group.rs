//! A group of logs that a service writes, made before the service makes it untagged and kept for ever.
//!
//! When the service was faster, its group is taken over: the name says exactly whose it is. AWS lists groups by
//! the beginning of their names, so the survey makes a listing for each of the two beginnings that a site's
//! groups have.

use aws_sdk_cloudwatchlogs::types::LogGroup as Live;
use serde::{Deserialize, Serialize};

use crate::cloud::Fault;
use crate::kinds::tagged::{
    Whose, gone_is_fine, owned_by_tags, partition, surplus, tag_map, text, whose,
};
use crate::resource::{
    Address, ApplyCx, Change, CloudCx, Created, Diff, Found, Kind, PlanCx, Readiness, Replay,
    Resource, SITE_TAG, Tags,
};

#[derive(Debug, Clone, Serialize)]
pub struct LogGroup {
    /// `/aws/rds/instance/ID/postgresql`.
    pub name: String,
    pub retention_days: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogGroupOutput {
    pub name: String,
    pub arn: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogGroupLive {
    pub name: String,
    pub retention_days: Option<u32>,
    pub tags: Tags,
}

impl Resource for LogGroup {
    const KIND: Kind = Kind::new("logs/log_group");
    const REPLAY: Replay = Replay::Name;
    const CONFIGURES: bool = true;
    const ACTIONS: &'static [&'static str] = &[
        "logs:CreateLogGroup",
        "logs:DescribeLogGroups",
        "logs:PutRetentionPolicy",
        "logs:DeleteLogGroup",
        "logs:TagResource",
        "logs:UntagResource",
        "logs:ListTagsForResource",
        "tag:GetResources",
    ];

    /// The ARN, without the star of its streams.
    type Id = String;
    type Output = LogGroupOutput;
    type Live = LogGroupLive;

    fn refs(&self) -> Vec<&Address> {
        vec![]
    }

    fn diff(&self, live: &LogGroupLive, cx: &PlanCx<'_>) -> Diff {
        Diff::new()
            .fixed("name", &self.name, &live.name)
            .field("retention_days", self.retention_days, live.retention_days)
            .field("tags", cx.tags(&Tags::new()), &live.tags)
    }

    async fn survey(cx: &CloudCx) -> Result<Vec<Found<Self>>, Fault> {
        let site = cx.site();
        let listed = list(&format!("/aws/rds/instance/gantry-{site}-"), cx).await?;
        let mut found = Vec::new();
        for group in listed {
            let name = text(group.log_group_name());
            let arn = arn_of(&name, cx);
            // A group of this name that the shared listing does not show is asked for itself: there are few.
            let owned = match whose(&Self::KIND, &arn, &name, cx).await? {
                Whose::Listed(owned) => Some(owned),
                Whose::Remembered(_) | Whose::Foreign => {
                    owned_by_tags(&Self::KIND, &tags_of(&arn, cx).await?, cx)
                }
            };
            let Some(owned) = owned else { continue };
            found.push(Found {
                address: owned.address,
                live: LogGroupLive {
                    name: name.clone(),
                    retention_days: group.retention_in_days().and_then(|d| d.try_into().ok()),
                    tags: owned.tags,
                },
                readiness: Readiness::Ready(LogGroupOutput {
                    name,
                    arn: arn.clone(),
                }),
                id: arn,
            });
        }
        Ok(found)
    }

    async fn poll(ids: &[String], cx: &CloudCx) -> Result<Vec<Readiness<LogGroupOutput>>, Fault> {
        // The longest beginning that all the names share keeps it to one listing.
        let names: Vec<&str> = ids.iter().map(|id| name_of(id)).collect();
        let listed = list(shared_beginning(&names), cx).await?;
        Ok(ids
            .iter()
            .zip(names)
            .map(|(id, name)| {
                if listed.iter().any(|g| g.log_group_name() == Some(name)) {
                    Readiness::Ready(LogGroupOutput {
                        name: name.to_owned(),
                        arn: id.clone(),
                    })
                } else {
                    Readiness::Absent
                }
            })
            .collect())
    }

    async fn create(&self, cx: &ApplyCx<'_>) -> Result<Created<Self>, Fault> {
        let arn = arn_of(&self.name, cx.cloud);
        let tags = cx.tags(&Tags::new());
        let answer = cx
            .cloud
            .write("logs:CreateLogGroup", || {
                cx.aws()
                    .logs
                    .create_log_group()
                    .log_group_name(&self.name)
                    .set_tags(Some(tag_map(&tags)))
                    .send()
            })
            .await;
        match answer {
            Ok(_) => {}
            // The service that logs there made it, unless it carries the tag of another site.
            Err(fault) if fault.is_exists() => {
                let have = tags_of(&arn, cx.cloud).await?;
                if have.get(SITE_TAG).is_some_and(|s| s != cx.cloud.site()) {
                    return Err(fault);
                }
                tag(&arn, &tags, cx).await?;
            }
            Err(fault) => return Err(fault),
        }
        Ok(Created::Done(
            arn.clone(),
            LogGroupOutput {
                name: self.name.clone(),
                arn,
            },
        ))
    }

    async fn configure(
        &self,
        id: &String,
        change: Change<'_>,
        cx: &ApplyCx<'_>,
    ) -> Result<(), Fault> {
        if change.touches(&["retention_days"]) {
            let days = i32::try_from(self.retention_days).unwrap_or(i32::MAX);
            cx.cloud
                .put("logs:PutRetentionPolicy", || {
                    cx.aws()
                        .logs
                        .put_retention_policy()
                        .log_group_name(&self.name)
                        .retention_in_days(days)
                        .send()
                })
                .await?;
        }
        if let Change::Fields(diff) = change
            && diff.has("tags")
        {
            let tags = cx.tags(&Tags::new());
            tag(id, &tags, cx).await?;
            let surplus = surplus(change, &tags);
            if !surplus.is_empty() {
                cx.cloud
                    .put("logs:UntagResource", || {
                        cx.aws()
                            .logs
                            .untag_resource()
                            .resource_arn(id)
                            .set_tag_keys(Some(surplus.clone()))
                            .send()
                    })
                    .await?;
            }
        }
        Ok(())
    }

    async fn delete(id: &String, cx: &CloudCx) -> Result<(), Fault> {
        let answer = cx
            .put("logs:DeleteLogGroup", || {
                cx.aws()
                    .logs
                    .delete_log_group()
                    .log_group_name(name_of(id))
                    .send()
            })
            .await;
        gone_is_fine(answer)
    }
}

fn arn_of(name: &str, cx: &CloudCx) -> String {
    let scope = cx.scope();
    format!(
        "arn:{}:logs:{}:{}:log-group:{name}",
        partition(&scope.region),
        scope.region,
        scope.account
    )
}

fn name_of(arn: &str) -> &str {
    arn.split_once(":log-group:").map_or(arn, |(_, name)| name)
}

fn shared_beginning<'a>(names: &[&'a str]) -> &'a str {
    let Some(first) = names.first() else {
        return "";
    };
    let mut end = first.len();
    for name in names {
        let same = first.bytes().zip(name.bytes()).take_while(|(a, b)| a == b);
        end = end.min(same.count());
    }
    first.get(..end).unwrap_or_default()
}

async fn list(prefix: &str, cx: &CloudCx) -> Result<Vec<Live>, Fault> {
    let prefix = (!prefix.is_empty()).then(|| prefix.to_owned());
    cx.read("logs:DescribeLogGroups", || {
        cx.aws()
            .logs
            .describe_log_groups()
            .set_log_group_name_prefix(prefix.clone())
            .into_paginator()
            .items()
            .send()
            .collect::<Result<Vec<_>, _>>()
    })
    .await
}

async fn tags_of(arn: &str, cx: &CloudCx) -> Result<Tags, Fault> {
    let answer = cx
        .read("logs:ListTagsForResource", || {
            cx.aws()
                .logs
                .list_tags_for_resource()
                .resource_arn(arn)
                .send()
        })
        .await;
    match answer {
        Ok(answer) => Ok(answer
            .tags()
            .into_iter()
            .flatten()
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect()),
        Err(fault) if fault.is_gone() => Ok(Tags::new()),
        Err(fault) => Err(fault),
    }
}

async fn tag(arn: &str, tags: &Tags, cx: &ApplyCx<'_>) -> Result<(), Fault> {
    cx.cloud
        .put("logs:TagResource", || {
            cx.aws()
                .logs
                .tag_resource()
                .resource_arn(arn)
                .set_tags(Some(tag_map(tags)))
                .send()
        })
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beginnings() {
        assert_eq!(shared_beginning(&["/aws/a/x", "/aws/a/y"]), "/aws/a/");
        assert_eq!(shared_beginning(&["/a"]), "/a");
        assert_eq!(shared_beginning(&["/a", "b"]), "");
        assert_eq!(shared_beginning(&[]), "");
    }
}
