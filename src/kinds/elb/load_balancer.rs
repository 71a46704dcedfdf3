//! A network load balancer.
//!
//! Its security groups can only be given when it is made; a balancer made without any can never have some.
//! Attributes have no batch: the survey asks once for each balancer of ours, of which a site has at most two.

use aws_sdk_elasticloadbalancingv2::types::{
    LoadBalancer as Live, LoadBalancerAttribute, LoadBalancerSchemeEnum, LoadBalancerStateEnum,
    LoadBalancerTypeEnum,
};
use serde::{Deserialize, Serialize};

use super::{get_all, retag, sdk_tags, tags_of_ours, want_all};
use crate::cloud::Fault;
use crate::kinds::Protection;
use crate::kinds::ec2::{SecurityGroup, Subnet};
use crate::kinds::s3::Bucket;
use crate::kinds::tagged::{Owned, gone_is_fine, output_text, text, want_text};
use crate::resource::{
    Address, ApplyCx, Change, CloudCx, Created, Diff, Found, Kind, PlanCx, Readiness, Ref, Replay,
    Resource, Tags,
};

/// Where in the log bucket the access logs lie.
const LOG_PREFIX: &str = "load-balancer";

#[derive(Debug, Clone, Serialize)]
pub struct LoadBalancer {
    /// At most 32 letters, digits and hyphens.
    pub name: String,
    pub scheme: Scheme,
    pub subnets: Vec<Ref<Subnet>>,
    pub groups: Vec<Ref<SecurityGroup>>,
    /// Where the access logs go. Network load balancers log TLS listeners only.
    pub logs: Option<Ref<Bucket>>,
    pub protection: Protection,
    pub cross_zone: bool,
}

/// Who can reach it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    Public,
    Internal,
}

impl Scheme {
    fn sdk(self) -> LoadBalancerSchemeEnum {
        match self {
            Self::Public => LoadBalancerSchemeEnum::InternetFacing,
            Self::Internal => LoadBalancerSchemeEnum::Internal,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadBalancerOutput {
    pub arn: String,
    pub dns_name: String,
    /// The hosted zone that alias records to it name.
    pub zone_id: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadBalancerLive {
    pub name: String,
    pub scheme: String,
    pub subnets: Vec<String>,
    pub groups: Vec<String>,
    /// Bucket and prefix, with a slash between.
    pub logs: Option<String>,
    pub protection: Protection,
    pub cross_zone: bool,
    pub tags: Tags,
}

impl Resource for LoadBalancer {
    const KIND: Kind = Kind::new("elb/load_balancer");
    const REPLAY: Replay = Replay::Name;
    const CONFIGURES: bool = true;
    const USUAL_SECONDS: u64 = 150;
    const ACTIONS: &'static [&'static str] = &[
        "elasticloadbalancing:CreateLoadBalancer",
        "elasticloadbalancing:DescribeLoadBalancers",
        "elasticloadbalancing:DescribeLoadBalancerAttributes",
        "elasticloadbalancing:ModifyLoadBalancerAttributes",
        "elasticloadbalancing:SetSubnets",
        "elasticloadbalancing:SetSecurityGroups",
        "elasticloadbalancing:DeleteLoadBalancer",
        "elasticloadbalancing:DescribeTags",
        "elasticloadbalancing:AddTags",
        "elasticloadbalancing:RemoveTags",
        "tag:GetResources",
        // Looked at by AWS with the caller's own permissions when a load balancer is made.
        "ec2:DescribeInternetGateways",
        "ec2:DescribeSecurityGroups",
        "ec2:DescribeSubnets",
        "ec2:DescribeVpcs",
        // The first load balancer of an account makes the service's role.
        "iam:CreateServiceLinkedRole",
    ];

    type Id = String;
    type Output = LoadBalancerOutput;
    type Live = LoadBalancerLive;

    fn refs(&self) -> Vec<&Address> {
        let subnets = self.subnets.iter().map(Ref::address);
        let groups = self.groups.iter().map(Ref::address);
        let logs = self.logs.iter().map(Ref::address);
        subnets.chain(groups).chain(logs).collect()
    }

    fn diff(&self, live: &LoadBalancerLive, cx: &PlanCx<'_>) -> Diff {
        let subnets = want_all(&self.subnets, cx, |o| o.id);
        let groups = want_all(&self.groups, cx, |o| o.id);
        let logs = match &self.logs {
            Some(bucket) => {
                place_of_logs(&want_text(cx, bucket.address(), "name"), LOG_PREFIX).into()
            }
            None => serde_json::Value::Null,
        };
        let diff = Diff::new()
            .fixed("name", &self.name, &live.name)
            .fixed("scheme", self.scheme.sdk().as_str(), &live.scheme)
            .field("subnets", subnets, &live.subnets);
        let diff = if live.groups.is_empty() == self.groups.is_empty() {
            diff.field("groups", groups, &live.groups)
        } else {
            diff.fixed("groups", groups, &live.groups)
        };
        diff.field("logs", logs, &live.logs)
            .field("protection", self.protection, live.protection)
            .field("cross_zone", self.cross_zone, live.cross_zone)
            .field("tags", cx.tags(&Tags::new()), &live.tags)
    }

    async fn survey(cx: &CloudCx) -> Result<Vec<Found<Self>>, Fault> {
        let mut found = Vec::new();
        for (balancer, owned) in ours(cx).await? {
            let arn = text(balancer.load_balancer_arn());
            let attributes = attributes_of(&arn, cx).await?;
            let on = |key: &str| attribute(&attributes, key) == Some("true");
            let word = |key: &str| attribute(&attributes, key).unwrap_or_default();
            let logs = on("access_logs.s3.enabled").then(|| {
                place_of_logs(word("access_logs.s3.bucket"), word("access_logs.s3.prefix"))
            });
            found.push(Found {
                address: owned.address,
                live: LoadBalancerLive {
                    name: text(balancer.load_balancer_name()),
                    scheme: balancer
                        .scheme()
                        .map(|s| s.as_str().to_owned())
                        .unwrap_or_default(),
                    subnets: sorted(
                        balancer
                            .availability_zones()
                            .iter()
                            .map(|z| text(z.subnet_id())),
                    ),
                    groups: sorted(balancer.security_groups().iter().cloned()),
                    logs,
                    protection: if on("deletion_protection.enabled") {
                        Protection::On
                    } else {
                        Protection::Off
                    },
                    cross_zone: on("load_balancing.cross_zone.enabled"),
                    tags: owned.tags,
                },
                readiness: readiness(&balancer),
                id: arn,
            });
        }
        Ok(found)
    }

    async fn poll(
        ids: &[String],
        cx: &CloudCx,
    ) -> Result<Vec<Readiness<LoadBalancerOutput>>, Fault> {
        // Asking by ARN is an error when one of them is gone; a region has few load balancers.
        let listed = list(cx).await?;
        Ok(ids
            .iter()
            .map(|id| {
                listed
                    .iter()
                    .find(|b| b.load_balancer_arn() == Some(id))
                    .map_or(Readiness::Absent, readiness)
            })
            .collect())
    }

    async fn create(&self, cx: &ApplyCx<'_>) -> Result<Created<Self>, Fault> {
        let subnets = get_all(&self.subnets, cx, |o| o.id)?;
        let groups = get_all(&self.groups, cx, |o| o.id)?;
        let answer = cx
            .cloud
            .write("elasticloadbalancing:CreateLoadBalancer", || {
                cx.aws()
                    .elb
                    .create_load_balancer()
                    .name(&self.name)
                    .r#type(LoadBalancerTypeEnum::Network)
                    .scheme(self.scheme.sdk())
                    .set_subnets(Some(subnets.clone()))
                    .set_security_groups((!groups.is_empty()).then(|| groups.clone()))
                    .set_tags(Some(sdk_tags(&cx.tags(&Tags::new()))))
                    .send()
            })
            .await
            .map_err(gateway_comes)?;
        let arn = answer
            .load_balancers()
            .first()
            .and_then(Live::load_balancer_arn);
        Ok(Created::Waiting(text(arn)))
    }

    async fn configure(
        &self,
        id: &String,
        change: Change<'_>,
        cx: &ApplyCx<'_>,
    ) -> Result<(), Fault> {
        if let Change::Fields(diff) = change {
            if diff.has("subnets") {
                let subnets = get_all(&self.subnets, cx, |o| o.id)?;
                cx.cloud
                    .put("elasticloadbalancing:SetSubnets", || {
                        cx.aws()
                            .elb
                            .set_subnets()
                            .load_balancer_arn(id)
                            .set_subnets(Some(subnets.clone()))
                            .send()
                    })
                    .await?;
            }
            if diff.has("groups") {
                let groups = get_all(&self.groups, cx, |o| o.id)?;
                cx.cloud
                    .put("elasticloadbalancing:SetSecurityGroups", || {
                        cx.aws()
                            .elb
                            .set_security_groups()
                            .load_balancer_arn(id)
                            .set_security_groups(Some(groups.clone()))
                            .send()
                    })
                    .await?;
            }
            retag(id, change, &cx.tags(&Tags::new()), cx).await?;
        }
        if change.touches(&["logs", "protection", "cross_zone"]) {
            let mut attributes = vec![
                pair("deletion_protection.enabled", self.protection.is_on()),
                pair("load_balancing.cross_zone.enabled", self.cross_zone),
                pair("access_logs.s3.enabled", self.logs.is_some()),
            ];
            if let Some(bucket) = &self.logs {
                let name = output_text(cx.outputs, bucket.address(), "name");
                let name = name
                    .ok_or_else(|| Fault::internal(format!("{} is not ready", bucket.address())))?;
                attributes.push(pair("access_logs.s3.bucket", name));
                attributes.push(pair("access_logs.s3.prefix", LOG_PREFIX));
            }
            set_attributes(id, attributes, cx.cloud).await?;
        }
        Ok(())
    }

    async fn delete(id: &String, cx: &CloudCx) -> Result<(), Fault> {
        gone_is_fine(
            set_attributes(id, vec![pair("deletion_protection.enabled", false)], cx).await,
        )?;
        let answer = cx
            .put("elasticloadbalancing:DeleteLoadBalancer", || {
                cx.aws()
                    .elb
                    .delete_load_balancer()
                    .load_balancer_arn(id)
                    .send()
            })
            .await;
        gone_is_fine(answer)
    }
}

fn place_of_logs(bucket: &str, prefix: &str) -> String {
    format!("{bucket}/{prefix}")
}

/// All load balancers of the region.
async fn list(cx: &CloudCx) -> Result<Vec<Live>, Fault> {
    cx.read("elasticloadbalancing:DescribeLoadBalancers", || {
        cx.aws()
            .elb
            .describe_load_balancers()
            .into_paginator()
            .items()
            .send()
            .collect::<Result<Vec<_>, _>>()
    })
    .await
}

/// The site's load balancers, with address and tags.
pub(in crate::kinds) async fn ours(cx: &CloudCx) -> Result<Vec<(Live, Owned)>, Fault> {
    cx.once("load balancers", || ask_ours(cx)).await
}

async fn ask_ours(cx: &CloudCx) -> Result<Vec<(Live, Owned)>, Fault> {
    let listed = list(cx).await?;
    let arns: Vec<String> = listed.iter().map(|b| text(b.load_balancer_arn())).collect();
    let mut owned = tags_of_ours(&LoadBalancer::KIND, &arns, cx).await?;
    Ok(listed
        .into_iter()
        .filter_map(|b| {
            let owned = owned.remove(b.load_balancer_arn()?)?;
            Some((b, owned))
        })
        .collect())
}

async fn attributes_of(arn: &str, cx: &CloudCx) -> Result<Vec<LoadBalancerAttribute>, Fault> {
    let answer = cx
        .read(
            "elasticloadbalancing:DescribeLoadBalancerAttributes",
            || {
                cx.aws()
                    .elb
                    .describe_load_balancer_attributes()
                    .load_balancer_arn(arn)
                    .send()
            },
        )
        .await?;
    Ok(answer.attributes().to_vec())
}

fn attribute<'a>(attributes: &'a [LoadBalancerAttribute], key: &str) -> Option<&'a str> {
    attributes
        .iter()
        .find(|a| a.key() == Some(key))
        .and_then(LoadBalancerAttribute::value)
}

fn pair(key: &str, value: impl ToString) -> LoadBalancerAttribute {
    LoadBalancerAttribute::builder()
        .key(key)
        .value(value.to_string())
        .build()
}

async fn set_attributes(
    arn: &str,
    attributes: Vec<LoadBalancerAttribute>,
    cx: &CloudCx,
) -> Result<(), Fault> {
    cx.put("elasticloadbalancing:ModifyLoadBalancerAttributes", || {
        cx.aws()
            .elb
            .modify_load_balancer_attributes()
            .load_balancer_arn(arn)
            .set_attributes(Some(attributes.clone()))
            .send()
    })
    .await?;
    Ok(())
}

fn sorted(items: impl Iterator<Item = String>) -> Vec<String> {
    let mut items: Vec<String> = items.collect();
    items.sort();
    items
}

fn readiness(balancer: &Live) -> Readiness<LoadBalancerOutput> {
    let state = balancer.state();
    match state.and_then(|s| s.code()) {
        Some(LoadBalancerStateEnum::Provisioning) => Readiness::Pending("provisioning".into()),
        Some(LoadBalancerStateEnum::Failed) => {
            let reason = state.and_then(|s| s.reason()).unwrap_or_default();
            Readiness::Broken(format!("failed {reason}").trim().to_owned().into())
        }
        _ => Readiness::Ready(LoadBalancerOutput {
            arn: text(balancer.load_balancer_arn()),
            dns_name: text(balancer.dns_name()),
            zone_id: text(balancer.canonical_hosted_zone_id()),
        }),
    }
}

/// A VPC without an internet gateway gets one while the rest of the site is made.
fn gateway_comes(fault: Fault) -> Fault {
    match fault {
        Fault::Rejected {
            call,
            code,
            message,
        } if code == "InvalidSubnet" && message.contains("internet gateway") => Fault::Later {
            call,
            code,
            message,
        },
        other => other,
    }
}
