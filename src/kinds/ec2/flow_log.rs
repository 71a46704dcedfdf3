//! A record of all traffic in the network, written to a bucket under `flow/`.

use aws_sdk_ec2::types::{
    FlowLog as Live, FlowLogsResourceType, LogDestinationType, ResourceType, TrafficType,
};
use serde::{Deserialize, Serialize};

use super::{Vpc, by, in_order, ours, refused, remove, settle_tags, tagged, tags_of, text};
use crate::cloud::Fault;
use crate::kinds::s3;
use crate::resource::{
    Address, ApplyCx, Change, CloudCx, Created, Diff, Found, Kind, PlanCx, Readiness, Ref, Replay,
    Resource, Tags,
};

#[derive(Debug, Clone, Serialize)]
pub struct FlowLog {
    pub vpc: Ref<Vpc>,
    pub bucket: Ref<s3::Bucket>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowLogOutput {
    pub id: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowLogLive {
    pub vpc: String,
    pub destination: String,
    pub traffic: String,
    pub interval_seconds: Option<i32>,
    pub tags: Tags,
}

/// The coarser of the two intervals AWS has; one minute makes ten times the objects.
const INTERVAL: i32 = 600;

fn destination(bucket_arn: &str) -> String {
    format!("{bucket_arn}/flow/")
}

impl Resource for FlowLog {
    const KIND: Kind = Kind::new("ec2/flow_log");
    const REPLAY: Replay = Replay::Token;
    const ACTIONS: &'static [&'static str] = &[
        "ec2:CreateFlowLogs",
        "ec2:DescribeFlowLogs",
        "ec2:DeleteFlowLogs",
        "ec2:CreateTags",
        "ec2:DeleteTags",
        // Logs to S3 are set up as a delivery in the caller's name, which may add to the bucket's policy.
        "logs:CreateLogDelivery",
        "logs:DeleteLogDelivery",
        "s3:GetBucketPolicy",
        "s3:PutBucketPolicy",
    ];

    type Id = String;
    type Output = FlowLogOutput;
    type Live = FlowLogLive;

    fn refs(&self) -> Vec<&Address> {
        vec![self.vpc.address(), self.bucket.address()]
    }

    /// AWS changes nothing in a flow log but its tags.
    fn diff(&self, live: &FlowLogLive, cx: &PlanCx<'_>) -> Diff {
        Diff::new()
            .fixed("vpc", cx.want(&self.vpc, |v| v.id), &live.vpc)
            .fixed(
                "destination",
                cx.want(&self.bucket, |b| destination(&b.arn)),
                &live.destination,
            )
            .fixed("traffic", TrafficType::All.as_str(), &live.traffic)
            .fixed("interval_seconds", INTERVAL, live.interval_seconds)
            .field("tags", cx.tags(&Tags::new()), &live.tags)
    }

    async fn survey(cx: &CloudCx) -> Result<Vec<Found<Self>>, Fault> {
        let listed = cx
            .read("ec2:DescribeFlowLogs", || {
                cx.aws()
                    .ec2
                    .describe_flow_logs()
                    .filter(cx.site_filter())
                    .into_paginator()
                    .items()
                    .send()
                    .collect::<Result<Vec<_>, _>>()
            })
            .await?;
        Ok(listed.iter().filter_map(|t| found(t, cx.site())).collect())
    }

    async fn poll(ids: &[String], cx: &CloudCx) -> Result<Vec<Readiness<FlowLogOutput>>, Fault> {
        let listed = cx
            .read("ec2:DescribeFlowLogs", || {
                cx.aws()
                    .ec2
                    .describe_flow_logs()
                    .filter(by("flow-log-id", ids))
                    .into_paginator()
                    .items()
                    .send()
                    .collect::<Result<Vec<_>, _>>()
            })
            .await?;
        Ok(in_order(ids, &listed, Live::flow_log_id, readiness))
    }

    async fn create(&self, cx: &ApplyCx<'_>) -> Result<Created<Self>, Fault> {
        let vpc = cx.get(&self.vpc)?.id;
        let bucket = cx.get(&self.bucket)?.arn;
        let call = "ec2:CreateFlowLogs";
        let answer = cx
            .cloud
            .write(call, || {
                cx.aws()
                    .ec2
                    .create_flow_logs()
                    .client_token(cx.token)
                    .resource_ids(&vpc)
                    .resource_type(FlowLogsResourceType::Vpc)
                    .traffic_type(TrafficType::All)
                    .log_destination_type(LogDestinationType::S3)
                    .log_destination(destination(&bucket))
                    .max_aggregation_interval(INTERVAL)
                    .tag_specifications(tagged(ResourceType::VpcFlowLog, &cx.tags(&Tags::new())))
                    .send()
            })
            .await?;
        refused(call, answer.unsuccessful())?;
        let id = text(answer.flow_log_ids().first().map(String::as_str));
        Ok(Created::Done(id.clone(), FlowLogOutput { id }))
    }

    async fn configure(
        &self,
        id: &String,
        change: Change<'_>,
        cx: &ApplyCx<'_>,
    ) -> Result<(), Fault> {
        settle_tags(id, change, &Tags::new(), cx).await
    }

    async fn delete(id: &String, cx: &CloudCx) -> Result<(), Fault> {
        let call = "ec2:DeleteFlowLogs";
        remove(async {
            let answer = cx
                .put(call, || {
                    cx.aws().ec2.delete_flow_logs().flow_log_ids(id).send()
                })
                .await?;
            refused(call, answer.unsuccessful())
        })
        .await
    }
}

fn found(log: &Live, site: &str) -> Option<Found<FlowLog>> {
    Some(Found {
        address: ours::<FlowLog>(log.tags(), site)?,
        id: text(log.flow_log_id()),
        live: FlowLogLive {
            vpc: text(log.resource_id()),
            destination: text(log.log_destination()),
            traffic: text(log.traffic_type().map(TrafficType::as_str)),
            interval_seconds: log.max_aggregation_interval(),
            tags: tags_of(log.tags()),
        },
        readiness: readiness(log),
    })
}

fn readiness(log: &Live) -> Readiness<FlowLogOutput> {
    Readiness::Ready(FlowLogOutput {
        id: text(log.flow_log_id()),
    })
}
