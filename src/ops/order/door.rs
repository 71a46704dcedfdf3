//! In and out of a load balancer: the target groups that a node stands in, and the group that would replace it.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_elasticloadbalancingv2::types::{TargetDescription, TargetHealthStateEnum};

use super::super::OpsFault;
use super::super::runbook::StageCx;
use super::PUBLIC;
use crate::cloud::Fault;
use crate::engine::Halt;
use crate::kinds::autoscaling;
use crate::names::Names;
use crate::resource::CloudCx;

/// How often the balancer is asked. Its own checks of a node are ten seconds apart.
const PAUSE: Duration = Duration::from_secs(10);

/// How long a node may take to leave: the delay of its groups, 300 s, and a little.
const LEAVING: Duration = Duration::from_mins(10);

/// How long a node that was put back, or another that is starting, may take to be found healthy.
const HEALTHY: Duration = Duration::from_mins(15);

/// What an Auto Scaling group leaves off while one of its nodes is out on purpose: finding it ill, replacing it, and
/// taking others away.
const LEFT_OFF: [&str; 4] = [
    "AZRebalance",
    "AlarmNotification",
    "HealthCheck",
    "ReplaceUnhealthy",
];

/// How a node stands in one target group.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Standing {
    Healthy,
    /// Registered, and the balancer's word for why it gets nothing.
    Ill(String),
    Leaving,
}

/// The target groups in front of a role.
#[derive(Clone)]
pub struct Door {
    pub cx: CloudCx,
    /// Name and ARN of each.
    pub groups: Vec<(String, String)>,
    /// The Auto Scaling group whose nodes stand behind it.
    pub keeper: Option<String>,
}

/// For each target group, its targets by instance.
type Standings = Vec<BTreeMap<String, Standing>>;

impl Door {
    async fn standings(&self) -> Result<Standings, Fault> {
        let mut all = Vec::new();
        for (_, arn) in &self.groups {
            let answer = self
                .cx
                .read("elasticloadbalancing:DescribeTargetHealth", || {
                    let ask = self.cx.aws().elb.describe_target_health();
                    ask.target_group_arn(arn).send()
                })
                .await?;
            let mut standings = BTreeMap::new();
            for told in answer.target_health_descriptions() {
                let Some(id) = told.target().and_then(|target| target.id()) else {
                    continue;
                };
                let health = told.target_health();
                let standing = match health.and_then(|health| health.state()) {
                    Some(TargetHealthStateEnum::Healthy) => Standing::Healthy,
                    Some(TargetHealthStateEnum::Draining) => Standing::Leaving,
                    // Not registered, or in a group that nothing leads to.
                    Some(TargetHealthStateEnum::Unused) => continue,
                    other => Standing::Ill(other.map_or("unknown", |s| s.as_str()).to_owned()),
                };
                standings.insert(id.to_owned(), standing);
            }
            all.push(standings);
        }
        Ok(all)
    }

    /// Whether each target group finds another node than this one healthy.
    fn others_serve(standings: &Standings, instance: &str) -> bool {
        let serves = |group: &BTreeMap<String, Standing>| {
            group
                .iter()
                .any(|(id, standing)| id != instance && *standing == Standing::Healthy)
        };
        standings.iter().all(serves)
    }

    /// Takes a node out of every target group and waits until nobody is connected to it any more. Not before another
    /// node is healthy in each of them: the last one is never taken.
    pub async fn take_out(
        &self,
        cx: &StageCx,
        name: &str,
        instance: &str,
    ) -> Result<(), Halt<OpsFault>> {
        let began = cx.clock.now();
        let mut standings = self.standings().await?;
        let in_some = |all: &Standings| all.iter().any(|group| group.contains_key(instance));
        while in_some(&standings) && !Self::others_serve(&standings, instance) {
            if cx.clock.since(began) >= HEALTHY {
                return Err(OpsFault::check(
                    format!("{name} stays in the balancer, unchanged"),
                    "no other node is healthy there, and the last one is never taken out",
                    "look at the others first: `gantry status`, and `gantry ssh NODE -- sudo gitlab-ctl status`",
                )
                .into());
            }
            cx.waiting("another healthy node");
            cx.pause(PAUSE).await?;
            standings = self.standings().await?;
        }
        for ((_, arn), group) in self.groups.iter().zip(&standings) {
            if matches!(group.get(instance), None | Some(Standing::Leaving)) {
                continue;
            }
            self.cx
                .put("elasticloadbalancing:DeregisterTargets", || {
                    let ask = self.cx.aws().elb.deregister_targets();
                    ask.target_group_arn(arn).targets(target(instance)).send()
                })
                .await?;
        }
        let began = cx.clock.now();
        while in_some(&self.standings().await?) {
            if cx.clock.since(began) >= LEAVING {
                return Err(OpsFault::check(
                    format!("{name} does not leave the balancer"),
                    format!(
                        "it is still draining after {} minutes",
                        LEAVING.as_secs() / 60
                    ),
                    "look at the target groups in the AWS console; then run the same command again",
                )
                .into());
            }
            cx.waiting("draining");
            cx.pause(PAUSE).await?;
        }
        Ok(())
    }

    /// Puts a node back into the target groups that it is not in.
    pub async fn put_back(&self, instance: &str) -> Result<(), Fault> {
        let standings = self.standings().await?;
        for ((_, arn), group) in self.groups.iter().zip(&standings) {
            if matches!(
                group.get(instance),
                Some(Standing::Healthy | Standing::Ill(_))
            ) {
                continue;
            }
            self.cx
                .put("elasticloadbalancing:RegisterTargets", || {
                    let ask = self.cx.aws().elb.register_targets();
                    ask.target_group_arn(arn).targets(target(instance)).send()
                })
                .await?;
        }
        Ok(())
    }

    /// Whether it is in all of them, healthy or not.
    pub async fn has(&self, instance: &str) -> Result<bool, Fault> {
        let is_in = |group: &BTreeMap<String, Standing>| {
            matches!(
                group.get(instance),
                Some(Standing::Healthy | Standing::Ill(_))
            )
        };
        Ok(self.standings().await?.iter().all(is_in))
    }

    /// Waits until every target group finds it healthy.
    pub async fn until_healthy(
        &self,
        cx: &StageCx,
        name: &str,
        instance: &str,
    ) -> Result<(), Halt<OpsFault>> {
        let began = cx.clock.now();
        loop {
            let standings = self.standings().await?;
            let found = self.groups.iter().zip(&standings);
            let ill = found
                .map(|((group, _), targets)| (group, targets.get(instance)))
                .find(|(_, standing)| *standing != Some(&Standing::Healthy));
            let Some((group, standing)) = ill else {
                return Ok(());
            };
            let word = match standing {
                Some(Standing::Ill(word)) => word.as_str(),
                Some(Standing::Leaving) => "draining",
                _ => "not registered",
            };
            if cx.clock.since(began) >= HEALTHY {
                return Err(OpsFault::check(
                    format!("{name} gets nothing from the balancer"),
                    format!("the target group {group} finds it {word}"),
                    format!("`gantry ssh {name} -- sudo gitlab-ctl status` and `gitlab-ctl tail nginx` show why"),
                )
                .into());
            }
            cx.waiting(format!("{group}: {word}"));
            cx.pause(PAUSE).await?;
        }
    }

    /// The public door of a site's Rails machines, by the names of its target groups.
    pub async fn public(cx: &CloudCx, names: &Names) -> Result<Self, Fault> {
        let wanted = PUBLIC.map(|part| names.target_group(part));
        let answer = cx
            .read("elasticloadbalancing:DescribeTargetGroups", || {
                let ask = cx.aws().elb.describe_target_groups();
                ask.set_names(Some(wanted.to_vec())).send()
            })
            .await?;
        let groups = answer.target_groups().iter().filter_map(|group| {
            let (name, arn) = (group.target_group_name()?, group.target_group_arn()?);
            Some((name.to_owned(), arn.to_owned()))
        });
        Ok(Self {
            cx: cx.clone(),
            groups: groups.collect(),
            keeper: Some(names.auto_scaling_group("rails")),
        })
    }

    /// Waits until everyone who stands in it is found healthy, as long as a node may take. Who is ill after that is so for
    /// good, and the keeper's to replace.
    pub async fn until_all_healthy(&self, cx: &StageCx) -> Result<(), Halt<OpsFault>> {
        let began = cx.clock.now();
        loop {
            let standings = self.standings().await?;
            let mut all = standings.iter().flat_map(BTreeMap::values);
            let ill = all.find_map(|standing| match standing {
                Standing::Ill(word) => Some(word),
                _ => None,
            });
            let Some(word) = ill else {
                return Ok(());
            };
            if cx.clock.since(began) >= HEALTHY {
                cx.note(format!("a Rails machine is still {word} to the balancer"));
                return Ok(());
            }
            cx.waiting(format!("the balancer: {word}"));
            cx.pause(PAUSE).await?;
        }
    }

    /// Tells the Auto Scaling group to leave off replacing nodes, or to go on with it.
    pub async fn hold_keeper(&self, hold: bool) -> Result<(), Fault> {
        let Some(keeper) = &self.keeper else {
            return Ok(());
        };
        autoscaling::hold(&self.cx, keeper, &LEFT_OFF, hold).await
    }

    /// Ends what the Auto Scaling group leaves off since it was made.
    pub async fn go_on(&self) -> Result<(), Fault> {
        let Some(keeper) = &self.keeper else {
            return Ok(());
        };
        autoscaling::hold(&self.cx, keeper, &autoscaling::AT_BIRTH, false).await
    }

    /// The instances of the Auto Scaling group that are in service, sorted; none where there is no group.
    pub async fn kept(&self) -> Result<Vec<String>, Fault> {
        let Some(keeper) = &self.keeper else {
            return Ok(vec![]);
        };
        let answer = self
            .cx
            .read("autoscaling:DescribeAutoScalingGroups", || {
                let ask = self.cx.aws().autoscaling.describe_auto_scaling_groups();
                ask.auto_scaling_group_names(keeper).send()
            })
            .await?;
        let mut ids: Vec<String> = answer
            .auto_scaling_groups()
            .iter()
            .flat_map(|group| group.instances())
            .filter(|instance| {
                instance
                    .lifecycle_state()
                    .is_some_and(|s| s.as_str() == "InService")
            })
            .filter_map(|instance| Some(instance.instance_id()?.to_owned()))
            .collect();
        ids.sort();
        Ok(ids)
    }
}

/// With the group's own port.
fn target(instance: &str) -> TargetDescription {
    TargetDescription::builder().id(instance).build()
}
