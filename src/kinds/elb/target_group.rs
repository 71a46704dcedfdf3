//! What a listener sends its connections to.
//!
//! Attributes have no batch: the survey asks once for each group of ours, of which a site has a handful.

use aws_sdk_elasticloadbalancingv2::types::{
    Matcher, ProtocolEnum, TargetGroup as Live, TargetGroupAttribute, TargetTypeEnum,
};
use serde::{Deserialize, Serialize};

use super::{retag, sdk_tags, tags_of_ours};
use crate::cloud::Fault;
use crate::kinds::ec2::Vpc;
use crate::kinds::tagged::{Owned, gone_is_fine, text};
use crate::resource::{
    Address, ApplyCx, Change, CloudCx, Created, Diff, Found, Kind, PlanCx, Readiness, Ref, Replay,
    Resource, Tags,
};

/// Seconds between two checks of a target, and until a check counts as failed; checks in a row that turn a
/// target well or unwell. A node that hangs is out after 30 seconds.
const INTERVAL: i32 = 10;
const TIMEOUT: i32 = 6;
const IN_A_ROW: i32 = 3;

#[derive(Debug, Clone, Serialize)]
pub struct TargetGroup {
    /// At most 32 letters, digits and hyphens.
    pub name: String,
    pub vpc: Ref<Vpc>,
    pub port: u16,
    pub health: Health,
    pub proxy_protocol: bool,
    pub preserve_client_ip: bool,
    pub deregistration_seconds: u32,
}

/// How the load balancer finds out whether a target is well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Health {
    /// A request that must be answered with one of the codes of `success`, `200-399`; on the targets' own port
    /// unless `port` says otherwise.
    Http {
        path: String,
        port: Option<u16>,
        success: String,
    },
    /// The port accepts connections.
    Tcp,
}

impl Health {
    fn protocol(&self) -> ProtocolEnum {
        match self {
            Self::Http { .. } => ProtocolEnum::Http,
            Self::Tcp => ProtocolEnum::Tcp,
        }
    }

    /// The port in AWS's words.
    fn port(&self) -> String {
        match self {
            Self::Http {
                port: Some(port), ..
            } => port.to_string(),
            _ => "traffic-port".to_owned(),
        }
    }

    fn path(&self) -> Option<String> {
        match self {
            Self::Http { path, .. } => Some(path.clone()),
            Self::Tcp => None,
        }
    }

    fn matcher(&self) -> Option<Matcher> {
        match self {
            Self::Http { success, .. } => Some(Matcher::builder().http_code(success).build()),
            Self::Tcp => None,
        }
    }

    fn live(&self) -> LiveHealth {
        LiveHealth {
            protocol: self.protocol().as_str().to_owned(),
            port: self.port(),
            path: self.path(),
            success: match self {
                Self::Http { success, .. } => Some(success.clone()),
                Self::Tcp => None,
            },
            interval: INTERVAL,
            timeout: TIMEOUT,
            in_a_row: (IN_A_ROW, IN_A_ROW),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetGroupOutput {
    pub arn: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetGroupLive {
    pub name: String,
    pub vpc: String,
    pub port: u16,
    pub health: LiveHealth,
    pub proxy_protocol: bool,
    pub preserve_client_ip: bool,
    pub deregistration_seconds: u32,
    pub tags: Tags,
}

/// A health check as AWS tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveHealth {
    pub protocol: String,
    pub port: String,
    pub path: Option<String>,
    pub success: Option<String>,
    /// Seconds, as the next.
    pub interval: i32,
    pub timeout: i32,
    /// Good and bad checks in a row.
    pub in_a_row: (i32, i32),
}

impl Resource for TargetGroup {
    const KIND: Kind = Kind::new("elb/target_group");
    const REPLAY: Replay = Replay::Name;
    const CONFIGURES: bool = true;
    const ACTIONS: &'static [&'static str] = &[
        "elasticloadbalancing:CreateTargetGroup",
        "elasticloadbalancing:DescribeTargetGroups",
        "elasticloadbalancing:DescribeTargetGroupAttributes",
        "elasticloadbalancing:ModifyTargetGroup",
        "elasticloadbalancing:ModifyTargetGroupAttributes",
        "elasticloadbalancing:DeleteTargetGroup",
        "elasticloadbalancing:DescribeTags",
        "elasticloadbalancing:AddTags",
        "elasticloadbalancing:RemoveTags",
        "tag:GetResources",
        "ec2:DescribeVpcs",
    ];

    type Id = String;
    type Output = TargetGroupOutput;
    type Live = TargetGroupLive;

    fn refs(&self) -> Vec<&Address> {
        vec![self.vpc.address()]
    }

    fn diff(&self, live: &TargetGroupLive, cx: &PlanCx<'_>) -> Diff {
        Diff::new()
            .fixed("name", &self.name, &live.name)
            .fixed("vpc", cx.want(&self.vpc, |o| o.id), &live.vpc)
            .fixed("port", self.port, live.port)
            .field("health", self.health.live(), &live.health)
            .field("proxy_protocol", self.proxy_protocol, live.proxy_protocol)
            .field(
                "preserve_client_ip",
                self.preserve_client_ip,
                live.preserve_client_ip,
            )
            .field(
                "deregistration_seconds",
                self.deregistration_seconds,
                live.deregistration_seconds,
            )
            .field("tags", cx.tags(&Tags::new()), &live.tags)
    }

    async fn survey(cx: &CloudCx) -> Result<Vec<Found<Self>>, Fault> {
        let mut found = Vec::new();
        for (group, owned) in ours(cx).await? {
            let arn = text(group.target_group_arn());
            let answer = cx
                .read("elasticloadbalancing:DescribeTargetGroupAttributes", || {
                    cx.aws()
                        .elb
                        .describe_target_group_attributes()
                        .target_group_arn(&arn)
                        .send()
                })
                .await?;
            let value = |key: &str| {
                answer
                    .attributes()
                    .iter()
                    .find(|a| a.key() == Some(key))
                    .and_then(TargetGroupAttribute::value)
            };
            found.push(Found {
                address: owned.address,
                live: TargetGroupLive {
                    name: text(group.target_group_name()),
                    vpc: text(group.vpc_id()),
                    port: group
                        .port()
                        .and_then(|p| u16::try_from(p).ok())
                        .unwrap_or_default(),
                    health: health_of(&group),
                    proxy_protocol: value("proxy_protocol_v2.enabled") == Some("true"),
                    // On for groups of instances unless somebody switched it off.
                    preserve_client_ip: value("preserve_client_ip.enabled") != Some("false"),
                    deregistration_seconds: value("deregistration_delay.timeout_seconds")
                        .and_then(|v| v.parse().ok())
                        .unwrap_or(300),
                    tags: owned.tags,
                },
                readiness: Readiness::Ready(TargetGroupOutput { arn: arn.clone() }),
                id: arn,
            });
        }
        Ok(found)
    }

    async fn poll(
        ids: &[String],
        cx: &CloudCx,
    ) -> Result<Vec<Readiness<TargetGroupOutput>>, Fault> {
        // Asking by ARN is an error when one of them is gone; one page holds 400 groups.
        let listed = list(cx).await?;
        Ok(ids
            .iter()
            .map(|id| {
                if listed.iter().any(|g| g.target_group_arn() == Some(id)) {
                    Readiness::Ready(TargetGroupOutput { arn: id.clone() })
                } else {
                    Readiness::Absent
                }
            })
            .collect())
    }

    async fn create(&self, cx: &ApplyCx<'_>) -> Result<Created<Self>, Fault> {
        let vpc = cx.get(&self.vpc)?.id;
        let answer = cx
            .cloud
            .write("elasticloadbalancing:CreateTargetGroup", || {
                cx.aws()
                    .elb
                    .create_target_group()
                    .name(&self.name)
                    .protocol(ProtocolEnum::Tcp)
                    .port(i32::from(self.port))
                    .vpc_id(&vpc)
                    .target_type(TargetTypeEnum::Instance)
                    .health_check_enabled(true)
                    .health_check_protocol(self.health.protocol())
                    .health_check_port(self.health.port())
                    .set_health_check_path(self.health.path())
                    .set_matcher(self.health.matcher())
                    .health_check_interval_seconds(INTERVAL)
                    .health_check_timeout_seconds(TIMEOUT)
                    .healthy_threshold_count(IN_A_ROW)
                    .unhealthy_threshold_count(IN_A_ROW)
                    .set_tags(Some(sdk_tags(&cx.tags(&Tags::new()))))
                    .send()
            })
            .await?;
        let arn = answer
            .target_groups()
            .first()
            .and_then(Live::target_group_arn);
        let arn = text(arn);
        Ok(Created::Done(arn.clone(), TargetGroupOutput { arn }))
    }

    async fn configure(
        &self,
        id: &String,
        change: Change<'_>,
        cx: &ApplyCx<'_>,
    ) -> Result<(), Fault> {
        if let Change::Fields(diff) = change {
            if diff.has("health") {
                cx.cloud
                    .put("elasticloadbalancing:ModifyTargetGroup", || {
                        cx.aws()
                            .elb
                            .modify_target_group()
                            .target_group_arn(id)
                            .health_check_enabled(true)
                            .health_check_protocol(self.health.protocol())
                            .health_check_port(self.health.port())
                            .set_health_check_path(self.health.path())
                            .set_matcher(self.health.matcher())
                            .health_check_interval_seconds(INTERVAL)
                            .health_check_timeout_seconds(TIMEOUT)
                            .healthy_threshold_count(IN_A_ROW)
                            .unhealthy_threshold_count(IN_A_ROW)
                            .send()
                    })
                    .await?;
            }
            retag(id, change, &cx.tags(&Tags::new()), cx).await?;
        }
        if change.touches(&[
            "proxy_protocol",
            "preserve_client_ip",
            "deregistration_seconds",
        ]) {
            let pair = |key: &str, value: String| {
                TargetGroupAttribute::builder()
                    .key(key)
                    .value(value)
                    .build()
            };
            let attributes = vec![
                pair("proxy_protocol_v2.enabled", self.proxy_protocol.to_string()),
                pair(
                    "preserve_client_ip.enabled",
                    self.preserve_client_ip.to_string(),
                ),
                pair(
                    "deregistration_delay.timeout_seconds",
                    self.deregistration_seconds.to_string(),
                ),
            ];
            cx.cloud
                .put("elasticloadbalancing:ModifyTargetGroupAttributes", || {
                    cx.aws()
                        .elb
                        .modify_target_group_attributes()
                        .target_group_arn(id)
                        .set_attributes(Some(attributes.clone()))
                        .send()
                })
                .await?;
        }
        Ok(())
    }

    async fn delete(id: &String, cx: &CloudCx) -> Result<(), Fault> {
        let answer = cx
            .put("elasticloadbalancing:DeleteTargetGroup", || {
                cx.aws()
                    .elb
                    .delete_target_group()
                    .target_group_arn(id)
                    .send()
            })
            .await;
        gone_is_fine(answer)
    }
}

/// All target groups of the region.
async fn list(cx: &CloudCx) -> Result<Vec<Live>, Fault> {
    cx.read("elasticloadbalancing:DescribeTargetGroups", || {
        cx.aws()
            .elb
            .describe_target_groups()
            .into_paginator()
            .items()
            .send()
            .collect::<Result<Vec<_>, _>>()
    })
    .await
}

/// The site's target groups, with address and tags.
pub(super) async fn ours(cx: &CloudCx) -> Result<Vec<(Live, Owned)>, Fault> {
    cx.once("target groups", || ask_ours(cx)).await
}

async fn ask_ours(cx: &CloudCx) -> Result<Vec<(Live, Owned)>, Fault> {
    let listed = list(cx).await?;
    let arns: Vec<String> = listed.iter().map(|g| text(g.target_group_arn())).collect();
    let mut owned = tags_of_ours(&TargetGroup::KIND, &arns, cx).await?;
    Ok(listed
        .into_iter()
        .filter_map(|g| {
            let owned = owned.remove(g.target_group_arn()?)?;
            Some((g, owned))
        })
        .collect())
}

fn health_of(group: &Live) -> LiveHealth {
    let http = group
        .health_check_protocol()
        .is_some_and(|p| *p != ProtocolEnum::Tcp);
    let when_http = |value: Option<&str>| value.filter(|_| http).map(str::to_owned);
    LiveHealth {
        protocol: group
            .health_check_protocol()
            .map(|p| p.as_str().to_owned())
            .unwrap_or_default(),
        port: text(group.health_check_port()),
        path: when_http(group.health_check_path()),
        success: when_http(group.matcher().and_then(Matcher::http_code)),
        interval: group.health_check_interval_seconds().unwrap_or_default(),
        timeout: group.health_check_timeout_seconds().unwrap_or_default(),
        in_a_row: (
            group.healthy_threshold_count().unwrap_or_default(),
            group.unhealthy_threshold_count().unwrap_or_default(),
        ),
    }
}
