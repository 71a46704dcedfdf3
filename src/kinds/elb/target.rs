//! One node in a target group.
//!
//! AWS cannot tag a target. A target is named after its instance: `ec2/instance:praefect-1` is
//! `elb/target:praefect-1`; an instance that serves in several groups has one target in each, named after
//! instance and group, `box-1-https`. The survey makes one DescribeTargetHealth for each group of ours that no
//! Auto Scaling group fills, and takes the names of the instances from the shared listing. Members that an
//! Auto Scaling group put in are not ours to manage.
//!
//! Ready means registered, not healthy: a node answers its checks only after it has been set up.

use aws_sdk_elasticloadbalancingv2::types::{TargetDescription, TargetHealthStateEnum};
use serde::{Deserialize, Serialize};

use super::{TargetGroup, target_group};
use crate::cloud::Fault;
use crate::kinds::autoscaling;
use crate::kinds::ec2::Instance;
use crate::kinds::tagged::{gone_is_fine, output_text, text, want_text};
use crate::resource::{
    Address, ApplyCx, Change, CloudCx, Created, Diff, Found, Kind, PlanCx, Readiness, Ref, Replay,
    Resource,
};

/// The kind whose things are nodes.
const NODE: &str = "ec2/instance";

#[derive(Debug, Clone, Serialize)]
pub struct Target {
    pub group: Ref<TargetGroup>,
    pub instance: Ref<Instance>,
    pub port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetOutput {}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetLive {
    pub group: String,
    pub instance: String,
    pub port: u16,
}

/// Group, instance and port in one text, which no other resource has for its id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TargetId {
    pub group: String,
    pub instance: String,
    pub port: u16,
}

impl From<TargetId> for String {
    fn from(id: TargetId) -> Self {
        format!("{} {} {}", id.group, id.instance, id.port)
    }
}

impl TryFrom<String> for TargetId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let parts: Vec<&str> = text.split(' ').collect();
        match parts.as_slice() {
            [group, instance, port] => Ok(Self {
                group: (*group).to_owned(),
                instance: (*instance).to_owned(),
                port: port
                    .parse()
                    .map_err(|_| format!("`{text}` has no port at its end"))?,
            }),
            _ => Err(format!("`{text}` is not group, instance and port")),
        }
    }
}

impl TargetId {
    fn sdk(&self) -> TargetDescription {
        TargetDescription::builder()
            .id(&self.instance)
            .port(i32::from(self.port))
            .build()
    }
}

impl Resource for Target {
    const KIND: Kind = Kind::new("elb/target");
    // Registering what is registered changes nothing.
    const REPLAY: Replay = Replay::Name;
    const ACTIONS: &'static [&'static str] = &[
        "autoscaling:DescribeAutoScalingGroups",
        "elasticloadbalancing:RegisterTargets",
        "elasticloadbalancing:DeregisterTargets",
        "elasticloadbalancing:DescribeTargetGroups",
        "elasticloadbalancing:DescribeTargetHealth",
        "elasticloadbalancing:DescribeTags",
        "tag:GetResources",
        // The tagging API and the registration look at instances with the caller's own permissions.
        "ec2:DescribeInstances",
    ];

    type Id = TargetId;
    type Output = TargetOutput;
    type Live = TargetLive;

    fn refs(&self) -> Vec<&Address> {
        vec![self.group.address(), self.instance.address()]
    }

    fn diff(&self, live: &TargetLive, cx: &PlanCx<'_>) -> Diff {
        Diff::new()
            .fixed("group", cx.want(&self.group, |o| o.arn), &live.group)
            .fixed(
                "instance",
                want_text(cx, self.instance.address(), "id"),
                &live.instance,
            )
            .fixed("port", self.port, live.port)
    }

    async fn survey(cx: &CloudCx) -> Result<Vec<Found<Self>>, Fault> {
        // Each target with the name of its instance and of its group.
        let mut seen: Vec<(TargetId, String, String)> = Vec::new();
        let kept = autoscaling::target_groups(cx).await?;
        for (group, owned) in target_group::ours(cx).await? {
            // Who stands in these, Auto Scaling decides.
            if group
                .target_group_arn()
                .is_some_and(|arn| kept.contains(arn))
            {
                continue;
            }
            for id in registered(&text(group.target_group_arn()), cx).await? {
                if let Some(name) = instance_name(&id.instance, cx).await? {
                    seen.push((id, name, owned.address.name().to_owned()));
                }
            }
        }
        let mut found = Vec::new();
        for (id, instance, group) in &seen {
            let known = cx.address_of("", &String::from(id.clone())).await?;
            let address = known.unwrap_or_else(|| {
                let places = seen.iter().filter(|(_, name, _)| name == instance).count();
                let name = if places > 1 {
                    format!("{instance}-{group}")
                } else {
                    instance.clone()
                };
                Address::new(Self::KIND, name)
            });
            found.push(Found {
                address,
                live: TargetLive {
                    group: id.group.clone(),
                    instance: id.instance.clone(),
                    port: id.port,
                },
                id: id.clone(),
                readiness: Readiness::Ready(TargetOutput {}),
            });
        }
        Ok(found)
    }

    async fn poll(ids: &[TargetId], cx: &CloudCx) -> Result<Vec<Readiness<TargetOutput>>, Fault> {
        let mut groups: Vec<&str> = ids.iter().map(|id| id.group.as_str()).collect();
        groups.sort_unstable();
        groups.dedup();
        let mut there = Vec::new();
        for group in groups {
            match registered(group, cx).await {
                Ok(targets) => there.extend(targets),
                Err(fault) if fault.is_gone() => {}
                Err(fault) => return Err(fault),
            }
        }
        Ok(ids
            .iter()
            .map(|id| {
                if there.contains(id) {
                    Readiness::Ready(TargetOutput {})
                } else {
                    Readiness::Absent
                }
            })
            .collect())
    }

    async fn create(&self, cx: &ApplyCx<'_>) -> Result<Created<Self>, Fault> {
        let id = TargetId {
            group: cx.get(&self.group)?.arn,
            instance: output_text(cx.outputs, self.instance.address(), "id").ok_or_else(|| {
                Fault::internal(format!("{} is not ready", self.instance.address()))
            })?,
            port: self.port,
        };
        cx.cloud
            .put("elasticloadbalancing:RegisterTargets", || {
                cx.aws()
                    .elb
                    .register_targets()
                    .target_group_arn(&id.group)
                    .targets(id.sdk())
                    .send()
            })
            .await
            .map_err(starts_soon)?;
        Ok(Created::Done(id, TargetOutput {}))
    }

    async fn configure(
        &self,
        _id: &TargetId,
        _change: Change<'_>,
        _cx: &ApplyCx<'_>,
    ) -> Result<(), Fault> {
        Ok(())
    }

    async fn delete(id: &TargetId, cx: &CloudCx) -> Result<(), Fault> {
        let answer = cx
            .put("elasticloadbalancing:DeregisterTargets", || {
                cx.aws()
                    .elb
                    .deregister_targets()
                    .target_group_arn(&id.group)
                    .targets(id.sdk())
                    .send()
            })
            .await;
        match answer {
            // An instance that is gone has been taken out already.
            Err(Fault::Rejected { code, .. }) if code == "InvalidTarget" => Ok(()),
            other => gone_is_fine(other),
        }
    }
}

/// The targets of a group, without those that are on their way out.
async fn registered(group: &str, cx: &CloudCx) -> Result<Vec<TargetId>, Fault> {
    let answer = cx
        .read("elasticloadbalancing:DescribeTargetHealth", || {
            cx.aws()
                .elb
                .describe_target_health()
                .target_group_arn(group)
                .send()
        })
        .await?;
    Ok(answer
        .target_health_descriptions()
        .iter()
        .filter(|d| {
            d.target_health().and_then(|h| h.state()) != Some(&TargetHealthStateEnum::Draining)
        })
        .filter_map(|d| {
            let target = d.target()?;
            Some(TargetId {
                group: group.to_owned(),
                instance: target.id()?.to_owned(),
                port: target.port().and_then(|p| u16::try_from(p).ok())?,
            })
        })
        .collect())
}

/// The name of the node behind an instance id; none for instances that are not nodes of the blueprint.
async fn instance_name(id: &str, cx: &CloudCx) -> Result<Option<String>, Fault> {
    let end = format!(":instance/{id}");
    let listing = cx.listing().await?;
    let listed = listing.by_arn.keys().find(|arn| arn.ends_with(&end));
    let arn = listed.map_or("", String::as_str);
    let address = cx.address_of(arn, id).await?;
    Ok(address
        .filter(|a| a.kind().as_str() == NODE)
        .map(|a| a.name().to_owned()))
}

/// A node that is still starting can be registered in a moment.
fn starts_soon(fault: Fault) -> Fault {
    match fault {
        Fault::Rejected {
            call,
            code,
            message,
        } if code == "InvalidTarget" => Fault::Later {
            call,
            code,
            message,
        },
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_there_and_back() {
        let id = TargetId {
            group: "arn:aws:elasticloadbalancing:eu-west-1:1:targetgroup/a/b".into(),
            instance: "i-1".into(),
            port: 2305,
        };
        assert_eq!(TargetId::try_from(String::from(id.clone())), Ok(id));
        assert!(TargetId::try_from("nothing".to_owned()).is_err());
    }
}
