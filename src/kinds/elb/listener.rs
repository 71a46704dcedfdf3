//! A port of a load balancer.
//!
//! AWS lists listeners per load balancer only: the survey makes one DescribeListeners for each balancer of
//! ours, at most two, and reads the tags of what it found with one DescribeTags.

use aws_sdk_elasticloadbalancingv2::types::{
    Action, ActionTypeEnum, Certificate as SdkCertificate, Listener as Live, ProtocolEnum,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{LoadBalancer, TargetGroup, balancers_of_ours, retag, sdk_tags, tags_from_service};
use crate::cloud::Fault;
use crate::kinds::acm::Validation;
use crate::kinds::tagged::{gone_is_fine, owned_by_tags, text};
use crate::resource::{
    Address, ApplyCx, Change, CloudCx, Created, Diff, Found, Kind, PlanCx, Readiness, Ref, Replay,
    Resource, Tags,
};

#[derive(Debug, Clone, Serialize)]
pub struct Listener {
    pub load_balancer: Ref<LoadBalancer>,
    pub port: u16,
    pub protocol: ListenerProtocol,
    pub target: Ref<TargetGroup>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ListenerProtocol {
    Tcp,
    /// The load balancer ends TLS with this certificate and security policy.
    Tls {
        certificate: CertificateRef,
        policy: String,
    },
}

/// Where a listener's certificate comes from.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CertificateRef {
    /// Ours, once it is issued.
    Ours(Ref<Validation>),
    /// The ARN of one that the site file names.
    Existing(String),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerOutput {
    pub arn: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerLive {
    pub load_balancer: String,
    pub port: u16,
    pub protocol: String,
    pub certificate: Option<String>,
    pub policy: Option<String>,
    pub target: String,
    pub tags: Tags,
}

impl Listener {
    fn sdk_protocol(&self) -> ProtocolEnum {
        match self.protocol {
            ListenerProtocol::Tcp => ProtocolEnum::Tcp,
            ListenerProtocol::Tls { .. } => ProtocolEnum::Tls,
        }
    }

    fn policy(&self) -> Option<String> {
        match &self.protocol {
            ListenerProtocol::Tcp => None,
            ListenerProtocol::Tls { policy, .. } => Some(policy.clone()),
        }
    }

    fn certificates(&self, cx: &ApplyCx<'_>) -> Result<Option<Vec<SdkCertificate>>, Fault> {
        let arn = match &self.protocol {
            ListenerProtocol::Tcp => return Ok(None),
            ListenerProtocol::Tls { certificate, .. } => match certificate {
                CertificateRef::Ours(validation) => cx.get(validation)?.arn,
                CertificateRef::Existing(arn) => arn.clone(),
            },
        };
        Ok(Some(vec![
            SdkCertificate::builder().certificate_arn(arn).build(),
        ]))
    }

    fn action(&self, cx: &ApplyCx<'_>) -> Result<Action, Fault> {
        Ok(Action::builder()
            .r#type(ActionTypeEnum::Forward)
            .target_group_arn(cx.get(&self.target)?.arn)
            .build())
    }
}

impl Resource for Listener {
    const KIND: Kind = Kind::new("elb/listener");
    // The port is unique on its load balancer.
    const REPLAY: Replay = Replay::Name;
    const ACTIONS: &'static [&'static str] = &[
        "elasticloadbalancing:CreateListener",
        "elasticloadbalancing:DescribeLoadBalancers",
        "elasticloadbalancing:DescribeListeners",
        "elasticloadbalancing:ModifyListener",
        "elasticloadbalancing:DeleteListener",
        "elasticloadbalancing:DescribeTags",
        "elasticloadbalancing:AddTags",
        "elasticloadbalancing:RemoveTags",
        "tag:GetResources",
        // AWS takes the certificate with the caller's own permissions.
        "acm:DescribeCertificate",
    ];

    type Id = String;
    type Output = ListenerOutput;
    type Live = ListenerLive;

    fn refs(&self) -> Vec<&Address> {
        let mut refs = vec![self.load_balancer.address(), self.target.address()];
        if let ListenerProtocol::Tls {
            certificate: CertificateRef::Ours(validation),
            ..
        } = &self.protocol
        {
            refs.push(validation.address());
        }
        refs
    }

    fn diff(&self, live: &ListenerLive, cx: &PlanCx<'_>) -> Diff {
        let certificate = match &self.protocol {
            ListenerProtocol::Tcp => Value::Null,
            ListenerProtocol::Tls { certificate, .. } => match certificate {
                CertificateRef::Ours(validation) => cx.want(validation, |o| o.arn),
                CertificateRef::Existing(arn) => Value::String(arn.clone()),
            },
        };
        Diff::new()
            .fixed(
                "load_balancer",
                cx.want(&self.load_balancer, |o| o.arn),
                &live.load_balancer,
            )
            .field("port", self.port, live.port)
            .field("protocol", self.sdk_protocol().as_str(), &live.protocol)
            .field("certificate", certificate, &live.certificate)
            .field("policy", self.policy(), &live.policy)
            .field("target", cx.want(&self.target, |o| o.arn), &live.target)
            .field("tags", cx.tags(&Tags::new()), &live.tags)
    }

    async fn survey(cx: &CloudCx) -> Result<Vec<Found<Self>>, Fault> {
        let mut listed = Vec::new();
        for (balancer, _) in balancers_of_ours(cx).await? {
            let arn = text(balancer.load_balancer_arn());
            listed.extend(
                cx.read("elasticloadbalancing:DescribeListeners", || {
                    cx.aws()
                        .elb
                        .describe_listeners()
                        .load_balancer_arn(&arn)
                        .into_paginator()
                        .items()
                        .send()
                        .collect::<Result<Vec<_>, _>>()
                })
                .await?,
            );
        }
        let arns: Vec<String> = listed.iter().map(|l| text(l.listener_arn())).collect();
        let tags = tags_from_service(&arns, cx).await?;
        Ok(listed.iter().filter_map(|l| found(l, &tags, cx)).collect())
    }

    async fn poll(ids: &[String], cx: &CloudCx) -> Result<Vec<Readiness<ListenerOutput>>, Fault> {
        let all = describe(ids, cx).await;
        let mut states = Vec::new();
        for id in ids {
            // One that is gone spoils the answer for all of them; only then each is asked for.
            let there = match &all {
                Ok(listed) => listed.iter().any(|l| l.listener_arn() == Some(id)),
                Err(fault) if fault.is_gone() => match describe(std::slice::from_ref(id), cx).await
                {
                    Ok(one) => !one.is_empty(),
                    Err(fault) if fault.is_gone() => false,
                    Err(fault) => return Err(fault),
                },
                Err(fault) => return Err(fault.clone()),
            };
            states.push(if there {
                Readiness::Ready(ListenerOutput { arn: id.clone() })
            } else {
                Readiness::Absent
            });
        }
        Ok(states)
    }

    async fn create(&self, cx: &ApplyCx<'_>) -> Result<Created<Self>, Fault> {
        let balancer = cx.get(&self.load_balancer)?.arn;
        let certificates = self.certificates(cx)?;
        let action = self.action(cx)?;
        let answer = cx
            .cloud
            .write("elasticloadbalancing:CreateListener", || {
                cx.aws()
                    .elb
                    .create_listener()
                    .load_balancer_arn(&balancer)
                    .port(i32::from(self.port))
                    .protocol(self.sdk_protocol())
                    .set_ssl_policy(self.policy())
                    .set_certificates(certificates.clone())
                    .default_actions(action.clone())
                    .set_tags(Some(sdk_tags(&cx.tags(&Tags::new()))))
                    .send()
            })
            .await?;
        let arn = text(answer.listeners().first().and_then(Live::listener_arn));
        Ok(Created::Done(arn.clone(), ListenerOutput { arn }))
    }

    async fn configure(
        &self,
        id: &String,
        change: Change<'_>,
        cx: &ApplyCx<'_>,
    ) -> Result<(), Fault> {
        // The creating call said everything.
        let Change::Fields(diff) = change else {
            return Ok(());
        };
        if diff.has_any(&["port", "protocol", "certificate", "policy", "target"]) {
            let certificates = self.certificates(cx)?;
            let action = self.action(cx)?;
            cx.cloud
                .put("elasticloadbalancing:ModifyListener", || {
                    cx.aws()
                        .elb
                        .modify_listener()
                        .listener_arn(id)
                        .port(i32::from(self.port))
                        .protocol(self.sdk_protocol())
                        .set_ssl_policy(self.policy())
                        .set_certificates(certificates.clone())
                        .default_actions(action.clone())
                        .send()
                })
                .await?;
        }
        retag(id, change, &cx.tags(&Tags::new()), cx).await
    }

    async fn delete(id: &String, cx: &CloudCx) -> Result<(), Fault> {
        let answer = cx
            .put("elasticloadbalancing:DeleteListener", || {
                cx.aws().elb.delete_listener().listener_arn(id).send()
            })
            .await;
        gone_is_fine(answer)
    }
}

async fn describe(arns: &[String], cx: &CloudCx) -> Result<Vec<Live>, Fault> {
    let answer = cx
        .read("elasticloadbalancing:DescribeListeners", || {
            cx.aws()
                .elb
                .describe_listeners()
                .set_listener_arns(Some(arns.to_vec()))
                .send()
        })
        .await?;
    Ok(answer.listeners().to_vec())
}

fn found(
    listener: &Live,
    tags: &std::collections::BTreeMap<String, Tags>,
    cx: &CloudCx,
) -> Option<Found<Listener>> {
    let arn = listener.listener_arn()?.to_owned();
    let owned = owned_by_tags(&Listener::KIND, tags.get(&arn)?, cx)?;
    let tls = listener.protocol() == Some(&ProtocolEnum::Tls);
    let action = listener.default_actions().first();
    // AWS writes the target in one of two places, or in both.
    let target = action.and_then(Action::target_group_arn).or_else(|| {
        action?
            .forward_config()?
            .target_groups()
            .first()?
            .target_group_arn()
    });
    Some(Found {
        address: owned.address,
        live: ListenerLive {
            load_balancer: text(listener.load_balancer_arn()),
            port: listener.port().and_then(|p| u16::try_from(p).ok())?,
            protocol: listener
                .protocol()
                .map(|p| p.as_str().to_owned())
                .unwrap_or_default(),
            certificate: listener
                .certificates()
                .first()
                .and_then(|c| c.certificate_arn())
                .filter(|_| tls)
                .map(str::to_owned),
            policy: listener.ssl_policy().filter(|_| tls).map(str::to_owned),
            target: text(target),
            tags: owned.tags,
        },
        readiness: Readiness::Ready(ListenerOutput { arn: arn.clone() }),
        id: arn,
    })
}
