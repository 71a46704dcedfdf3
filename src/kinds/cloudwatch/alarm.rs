//! An alarm on one metric.
//!
//! Putting an alarm overwrites one of the same name without a word, so creating looks first whether the name is
//! free or ours. Alarms of a site begin with `gantry-SITE-`: the survey lists that beginning.

use std::fmt;

use aws_sdk_cloudwatch::types::{
    AlarmType, ComparisonOperator, Dimension as SdkDimension, MetricAlarm, Statistic, Tag,
};
use serde::{Deserialize, Serialize};

use crate::cloud::Fault;
use crate::kinds::acm::Certificate;
use crate::kinds::autoscaling::{Group, ScalingPolicy};
use crate::kinds::ec2::Instance;
use crate::kinds::elasticache::ReplicationGroup;
use crate::kinds::elb::{LoadBalancer, TargetGroup};
use crate::kinds::rds::{DbInstance, DbReplica};
use crate::kinds::sns::Topic;
use crate::kinds::tagged::{
    Owned, Whose, gone_is_fine, output_text, owned_by_tags, partition, still_owned, surplus, text,
    whose,
};
use crate::resource::{
    Address, ApplyCx, Change, CloudCx, Created, Diff, Found, KNOWN_LATER, Kind, Outputs, PlanCx,
    Readiness, Ref, Replay, Resource, Tags,
};

/// What one DescribeAlarms may name.
const NAMES_AT_ONCE: usize = 100;

#[derive(Debug, Clone, Serialize)]
pub struct Alarm {
    pub name: String,
    pub description: String,
    pub namespace: String,
    pub metric: String,
    /// `Average`, `Maximum`, `Minimum`, `Sum` or `SampleCount`.
    pub statistic: String,
    pub dimensions: Vec<(String, Dimension)>,
    pub period_seconds: u32,
    pub periods: u32,
    pub threshold: f64,
    pub comparison: Comparison,
    pub missing: Missing,
    pub actions: Vec<AlarmAction>,
}

/// Which thing a metric is of, in the words that CloudWatch knows the thing by.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dimension {
    Text(String),
    LoadBalancer(Ref<LoadBalancer>),
    TargetGroup(Ref<TargetGroup>),
    Instance(Ref<Instance>),
    Database(Ref<DbInstance>),
    Replica(Ref<DbReplica>),
    /// One node of a cache, by what follows the group's name: `-001`.
    Cache(Ref<ReplicationGroup>, String),
    Group(Ref<Group>),
    Certificate(Ref<Certificate>),
}

impl Dimension {
    fn of(&self) -> Option<&Address> {
        Some(match self {
            Self::Text(_) => return None,
            Self::LoadBalancer(r) => r.address(),
            Self::TargetGroup(r) => r.address(),
            Self::Instance(r) => r.address(),
            Self::Database(r) => r.address(),
            Self::Replica(r) => r.address(),
            Self::Cache(r, _) => r.address(),
            Self::Group(r) => r.address(),
            Self::Certificate(r) => r.address(),
        })
    }

    fn value(&self, outputs: &Outputs) -> Option<String> {
        // The part of an ARN behind `loadbalancer/`, or from `targetgroup/` on.
        let after = |arn: String, mark: &str| arn.split_once(mark).map(|(_, n)| n.to_owned());
        match self {
            Self::Text(text) => Some(text.clone()),
            Self::LoadBalancer(r) => after(outputs.of(r)?.arn, ":loadbalancer/"),
            Self::TargetGroup(r) => {
                after(outputs.of(r)?.arn, ":targetgroup/").map(|n| format!("targetgroup/{n}"))
            }
            Self::Instance(r) => output_text(outputs, r.address(), "id"),
            Self::Database(r) => Some(outputs.of(r)?.identifier),
            Self::Replica(r) => Some(outputs.of(r)?.identifier),
            Self::Cache(r, suffix) => Some(format!("{}{suffix}", outputs.of(r)?.id)),
            Self::Group(r) => output_text(outputs, r.address(), "name"),
            Self::Certificate(r) => Some(outputs.of(r)?.arn),
        }
    }
}

/// When the metric is wrong, compared with the threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Comparison {
    Above,
    AtLeast,
    Below,
    AtMost,
}

impl Comparison {
    fn sdk(self) -> ComparisonOperator {
        match self {
            Self::Above => ComparisonOperator::GreaterThanThreshold,
            Self::AtLeast => ComparisonOperator::GreaterThanOrEqualToThreshold,
            Self::Below => ComparisonOperator::LessThanThreshold,
            Self::AtMost => ComparisonOperator::LessThanOrEqualToThreshold,
        }
    }
}

/// What it means when the metric says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Missing {
    Ignore,
    NotBreaching,
    Breaching,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ignore => "ignore",
            Self::NotBreaching => "notBreaching",
            Self::Breaching => "breaching",
        })
    }
}

/// What an alarm does when it goes off.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AlarmAction {
    Notify(Ref<Topic>),
    Scale(Ref<ScalingPolicy>),
}

impl AlarmAction {
    fn of(&self) -> &Address {
        match self {
            Self::Notify(r) => r.address(),
            Self::Scale(r) => r.address(),
        }
    }

    fn arn(&self, outputs: &Outputs) -> Option<String> {
        match self {
            Self::Notify(r) => Some(outputs.of(r)?.arn),
            Self::Scale(r) => output_text(outputs, r.address(), "arn"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlarmOutput {
    pub arn: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AlarmLive {
    pub name: String,
    pub description: String,
    pub namespace: String,
    pub metric: String,
    pub statistic: String,
    /// `Name=value`, sorted.
    pub dimensions: Vec<String>,
    pub period_seconds: i32,
    pub periods: i32,
    pub threshold: f64,
    pub comparison: String,
    pub missing: String,
    pub actions: Vec<String>,
    pub enabled: bool,
    pub tags: Tags,
}

/// The fields that one PutMetricAlarm sets.
const SETTINGS: &[&str] = &[
    "description",
    "namespace",
    "metric",
    "statistic",
    "dimensions",
    "period_seconds",
    "periods",
    "threshold",
    "comparison",
    "missing",
    "actions",
    "enabled",
];

impl Alarm {
    /// Dimensions with their values, as far as they are known.
    fn dimensions(&self, cx: &PlanCx<'_>) -> Vec<String> {
        let mut all: Vec<String> = self
            .dimensions
            .iter()
            .map(|(name, dimension)| {
                let later = dimension.of().is_some_and(|a| cx.later.contains(a));
                let value = dimension.value(cx.outputs).filter(|_| !later);
                format!("{name}={}", value.as_deref().unwrap_or(KNOWN_LATER))
            })
            .collect();
        all.sort();
        all
    }

    fn actions(&self, cx: &PlanCx<'_>) -> Vec<String> {
        let mut all: Vec<String> = self
            .actions
            .iter()
            .map(|action| {
                let arn = action
                    .arn(cx.outputs)
                    .filter(|_| !cx.later.contains(action.of()));
                arn.unwrap_or_else(|| KNOWN_LATER.to_owned())
            })
            .collect();
        all.sort();
        all
    }

    async fn put(&self, tags: Option<Vec<Tag>>, cx: &ApplyCx<'_>) -> Result<(), Fault> {
        let missing = |address: &Address| {
            Fault::internal(format!(
                "{} needs {address}, which is not ready",
                cx.address
            ))
        };
        let mut dimensions = Vec::new();
        for (name, dimension) in &self.dimensions {
            let value = dimension
                .value(cx.outputs)
                .ok_or_else(|| missing(dimension.of().unwrap_or(cx.address)))?;
            dimensions.push(SdkDimension::builder().name(name).value(value).build());
        }
        let mut actions = Vec::new();
        for action in &self.actions {
            actions.push(action.arn(cx.outputs).ok_or_else(|| missing(action.of()))?);
        }
        cx.cloud
            .put("cloudwatch:PutMetricAlarm", || {
                cx.aws()
                    .cloudwatch
                    .put_metric_alarm()
                    .alarm_name(&self.name)
                    .alarm_description(&self.description)
                    .namespace(&self.namespace)
                    .metric_name(&self.metric)
                    .statistic(Statistic::from(self.statistic.as_str()))
                    .set_dimensions(Some(dimensions.clone()))
                    .period(whole(self.period_seconds))
                    .evaluation_periods(whole(self.periods))
                    .threshold(self.threshold)
                    .comparison_operator(self.comparison.sdk())
                    .treat_missing_data(self.missing.to_string())
                    .set_alarm_actions(Some(actions.clone()))
                    .actions_enabled(true)
                    .set_tags(tags.clone())
                    .send()
            })
            .await?;
        Ok(())
    }
}

impl Resource for Alarm {
    const KIND: Kind = Kind::new("cloudwatch/alarm");
    const REPLAY: Replay = Replay::Name;
    const ACTIONS: &'static [&'static str] = &[
        "cloudwatch:PutMetricAlarm",
        "cloudwatch:DescribeAlarms",
        "cloudwatch:DeleteAlarms",
        "cloudwatch:TagResource",
        "cloudwatch:UntagResource",
        "cloudwatch:ListTagsForResource",
        "tag:GetResources",
    ];

    type Id = String;
    type Output = AlarmOutput;
    type Live = AlarmLive;

    fn refs(&self) -> Vec<&Address> {
        let things = self.dimensions.iter().filter_map(|(_, d)| d.of());
        things
            .chain(self.actions.iter().map(AlarmAction::of))
            .collect()
    }

    fn diff(&self, live: &AlarmLive, cx: &PlanCx<'_>) -> Diff {
        Diff::new()
            .fixed("name", &self.name, &live.name)
            .field("description", &self.description, &live.description)
            .field("namespace", &self.namespace, &live.namespace)
            .field("metric", &self.metric, &live.metric)
            .field("statistic", &self.statistic, &live.statistic)
            .field("dimensions", self.dimensions(cx), &live.dimensions)
            .field("period_seconds", self.period_seconds, live.period_seconds)
            .field("periods", self.periods, live.periods)
            .field("threshold", self.threshold, live.threshold)
            .field(
                "comparison",
                self.comparison.sdk().as_str(),
                &live.comparison,
            )
            .field("missing", self.missing.to_string(), &live.missing)
            .field("actions", self.actions(cx), &live.actions)
            .field("enabled", true, live.enabled)
            .field("tags", cx.tags(&Tags::new()), &live.tags)
    }

    async fn survey(cx: &CloudCx) -> Result<Vec<Found<Self>>, Fault> {
        let prefix = format!("gantry-{}-", cx.site());
        let listed = cx
            .read("cloudwatch:DescribeAlarms", || {
                cx.aws()
                    .cloudwatch
                    .describe_alarms()
                    .alarm_name_prefix(&prefix)
                    .alarm_types(AlarmType::MetricAlarm)
                    .max_records(100)
                    .into_paginator()
                    .send()
                    .collect::<Result<Vec<_>, _>>()
            })
            .await?;
        let mut found = Vec::new();
        for alarm in listed.iter().flat_map(|page| page.metric_alarms()) {
            let arn = text(alarm.alarm_arn());
            let owned = match whose(&Self::KIND, &arn, &arn, cx).await? {
                Whose::Listed(owned) => Some(owned),
                Whose::Remembered(address) => still_owned(address, &tags_of(&arn, cx).await?, cx),
                Whose::Foreign => None,
            };
            found.extend(owned.map(|owned| found_as(alarm, arn, owned)));
        }
        Ok(found)
    }

    async fn poll(ids: &[String], cx: &CloudCx) -> Result<Vec<Readiness<AlarmOutput>>, Fault> {
        let mut there = Vec::new();
        for some in ids.chunks(NAMES_AT_ONCE) {
            let names: Vec<String> = some.iter().map(|id| name_of(id).to_owned()).collect();
            there.extend(by_name(names, cx).await?);
        }
        Ok(ids
            .iter()
            .map(|id| {
                if there.iter().any(|a| a.alarm_arn() == Some(id)) {
                    Readiness::Ready(AlarmOutput { arn: id.clone() })
                } else {
                    Readiness::Absent
                }
            })
            .collect())
    }

    async fn create(&self, cx: &ApplyCx<'_>) -> Result<Created<Self>, Fault> {
        let scope = cx.cloud.scope();
        let arn = format!(
            "arn:{}:cloudwatch:{}:{}:alarm:{}",
            partition(&scope.region),
            scope.region,
            scope.account,
            self.name
        );
        if !by_name(vec![self.name.clone()], cx.cloud).await?.is_empty() {
            let tags = tags_of(&arn, cx.cloud).await?;
            if owned_by_tags(&Self::KIND, &tags, cx.cloud).is_none() {
                return Err(Fault::Exists {
                    call: "cloudwatch:PutMetricAlarm".into(),
                    code: "AlarmExists".into(),
                    message: format!("an alarm named {} exists", self.name),
                });
            }
        }
        self.put(Some(sdk_tags(&cx.tags(&Tags::new()))), cx).await?;
        Ok(Created::Done(arn.clone(), AlarmOutput { arn }))
    }

    async fn configure(
        &self,
        id: &String,
        change: Change<'_>,
        cx: &ApplyCx<'_>,
    ) -> Result<(), Fault> {
        if change.touches(SETTINGS) {
            self.put(None, cx).await?;
        }
        if change.touches(&["tags"]) {
            let tags = cx.tags(&Tags::new());
            cx.cloud
                .put("cloudwatch:TagResource", || {
                    cx.aws()
                        .cloudwatch
                        .tag_resource()
                        .resource_arn(id)
                        .set_tags(Some(sdk_tags(&tags)))
                        .send()
                })
                .await?;
            let surplus = surplus(change, &tags);
            if !surplus.is_empty() {
                cx.cloud
                    .put("cloudwatch:UntagResource", || {
                        cx.aws()
                            .cloudwatch
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
            .put("cloudwatch:DeleteAlarms", || {
                cx.aws()
                    .cloudwatch
                    .delete_alarms()
                    .alarm_names(name_of(id))
                    .send()
            })
            .await;
        gone_is_fine(answer)
    }
}

fn whole(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn name_of(arn: &str) -> &str {
    arn.split_once(":alarm:").map_or(arn, |(_, name)| name)
}

fn sdk_tags(tags: &Tags) -> Vec<Tag> {
    tags.iter()
        .map(|(k, v)| Tag::builder().key(k).value(v).build())
        .collect()
}

async fn by_name(names: Vec<String>, cx: &CloudCx) -> Result<Vec<MetricAlarm>, Fault> {
    let answer = cx
        .read("cloudwatch:DescribeAlarms", || {
            cx.aws()
                .cloudwatch
                .describe_alarms()
                .set_alarm_names(Some(names.clone()))
                .alarm_types(AlarmType::MetricAlarm)
                .max_records(100)
                .send()
        })
        .await?;
    Ok(answer.metric_alarms().to_vec())
}

async fn tags_of(arn: &str, cx: &CloudCx) -> Result<Tags, Fault> {
    let answer = cx
        .read("cloudwatch:ListTagsForResource", || {
            cx.aws()
                .cloudwatch
                .list_tags_for_resource()
                .resource_arn(arn)
                .send()
        })
        .await;
    match answer {
        Ok(answer) => Ok(answer
            .tags()
            .iter()
            .filter_map(|t| Some((t.key()?, t.value().unwrap_or_default())))
            .collect()),
        Err(fault) if fault.is_gone() => Ok(Tags::new()),
        Err(fault) => Err(fault),
    }
}

fn found_as(alarm: &MetricAlarm, arn: String, owned: Owned) -> Found<Alarm> {
    let mut dimensions: Vec<String> = alarm
        .dimensions()
        .iter()
        .map(|d| format!("{}={}", text(d.name()), text(d.value())))
        .collect();
    dimensions.sort();
    let mut actions = alarm.alarm_actions().to_vec();
    actions.sort();
    Found {
        address: owned.address,
        live: AlarmLive {
            name: text(alarm.alarm_name()),
            description: text(alarm.alarm_description()),
            namespace: text(alarm.namespace()),
            metric: text(alarm.metric_name()),
            statistic: alarm
                .statistic()
                .map(|s| s.as_str().to_owned())
                .unwrap_or_default(),
            dimensions,
            period_seconds: alarm.period().unwrap_or_default(),
            periods: alarm.evaluation_periods().unwrap_or_default(),
            threshold: alarm.threshold().unwrap_or_default(),
            comparison: alarm
                .comparison_operator()
                .map(|c| c.as_str().to_owned())
                .unwrap_or_default(),
            missing: text(alarm.treat_missing_data()),
            actions,
            enabled: alarm.actions_enabled().unwrap_or_default(),
            tags: owned.tags,
        },
        readiness: Readiness::Ready(AlarmOutput { arn: arn.clone() }),
        id: arn,
    }
}
