//! The group that keeps the Rails nodes.
//!
//! Nodes are made from the default version of the launch template, carry the group's tags all but its
//! address, and are replaced when the load balancer finds them ill. How many there are between `min` and
//! `max` is the scaling policies' business and never drift.

use std::collections::BTreeSet;

use aws_sdk_autoscaling::types::{
    AutoScalingGroup as Live, Filter, LaunchTemplateSpecification, LifecycleState,
    ScalingActivityStatusCode, Tag, TagDescription,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::cloud::Fault;
use crate::kinds::ec2::machine::{ready, wanted};
use crate::kinds::ec2::{LaunchTemplate, Subnet};
use crate::kinds::elb::TargetGroup;
use crate::kinds::tagged::{gone_is_fine, surplus, text};
use crate::resource::{
    ADDRESS_TAG, Address, ApplyCx, Change, CloudCx, Created, Diff, Found, Kind, PlanCx, ROLE_TAG,
    Readiness, Ref, Replay, Resource, SITE_TAG, Tags,
};

#[derive(Debug, Clone, Serialize)]
pub struct Group {
    pub name: String,
    pub template: Ref<LaunchTemplate>,
    /// One per zone; nodes are spread over them.
    pub subnets: Vec<Ref<Subnet>>,
    pub targets: Vec<Ref<TargetGroup>>,
    pub min: u32,
    /// How many to begin with.
    pub desired: u32,
    pub max: u32,
    /// How long a new node may take before the load balancer's opinion counts.
    pub grace_seconds: u32,
    pub role: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupOutput {
    pub name: String,
    pub arn: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupLive {
    pub template: String,
    pub template_version: String,
    pub subnets: Vec<String>,
    pub targets: Vec<String>,
    pub min: u32,
    pub max: u32,
    pub grace_seconds: u32,
    pub health: String,
    pub tags: Tags,
    /// The keys of the tags that nodes get.
    pub passed_on: Vec<String>,
}

/// A node is made from whatever version of the template is the default one then.
const VERSION: &str = "$Default";
const HEALTH: &str = "ELB";
/// How many groups one answer may name.
const PAGE: i32 = 100;

impl Group {
    fn extra_tags(&self) -> Tags {
        Tags::new().with(ROLE_TAG, &self.role)
    }

    fn template(&self, cx: &ApplyCx<'_>) -> Result<LaunchTemplateSpecification, Fault> {
        Ok(LaunchTemplateSpecification::builder()
            .launch_template_id(cx.get(&self.template)?.id)
            .version(VERSION)
            .build())
    }

    fn zones(&self, cx: &ApplyCx<'_>) -> Result<String, Fault> {
        Ok(ready(&self.subnets, cx, |s| s.id)?.join(","))
    }

    fn sdk_tags(&self, tags: &Tags) -> Vec<Tag> {
        tags.iter()
            .map(|(key, value)| {
                Tag::builder()
                    .resource_id(&self.name)
                    .resource_type(RESOURCE)
                    .key(key)
                    .value(value)
                    .propagate_at_launch(passes(key))
                    .build()
            })
            .collect()
    }

    async fn update(&self, cx: &ApplyCx<'_>) -> Result<(), Fault> {
        let template = self.template(cx)?;
        let zones = self.zones(cx)?;
        cx.cloud
            .put("autoscaling:UpdateAutoScalingGroup", || {
                // AWS itself lifts or lowers the number of nodes into the new bounds.
                cx.aws()
                    .autoscaling
                    .update_auto_scaling_group()
                    .auto_scaling_group_name(&self.name)
                    .launch_template(template.clone())
                    .vpc_zone_identifier(&zones)
                    .min_size(count(self.min))
                    .max_size(count(self.max))
                    .health_check_type(HEALTH)
                    .health_check_grace_period(count(self.grace_seconds))
                    .send()
            })
            .await?;
        Ok(())
    }

    /// Attaches the target groups that are missing and detaches the others.
    async fn set_targets(&self, have: &Value, cx: &ApplyCx<'_>) -> Result<(), Fault> {
        let want = ready(&self.targets, cx, |t| t.arn)?;
        let have: Vec<String> = have
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|v| v.as_str().map(Into::into))
            .collect();
        let more: Vec<String> = want.iter().filter(|t| !have.contains(t)).cloned().collect();
        let less: Vec<String> = have.iter().filter(|t| !want.contains(t)).cloned().collect();
        if !more.is_empty() {
            cx.cloud
                .put("autoscaling:AttachLoadBalancerTargetGroups", || {
                    cx.aws()
                        .autoscaling
                        .attach_load_balancer_target_groups()
                        .auto_scaling_group_name(&self.name)
                        .set_target_group_arns(Some(more.clone()))
                        .send()
                })
                .await?;
        }
        if !less.is_empty() {
            cx.cloud
                .put("autoscaling:DetachLoadBalancerTargetGroups", || {
                    cx.aws()
                        .autoscaling
                        .detach_load_balancer_target_groups()
                        .auto_scaling_group_name(&self.name)
                        .set_target_group_arns(Some(less.clone()))
                        .send()
                })
                .await?;
        }
        Ok(())
    }

    async fn retag(&self, change: Change<'_>, cx: &ApplyCx<'_>) -> Result<(), Fault> {
        let want = cx.tags(&self.extra_tags());
        cx.cloud
            .put("autoscaling:CreateOrUpdateTags", || {
                cx.aws()
                    .autoscaling
                    .create_or_update_tags()
                    .set_tags(Some(self.sdk_tags(&want)))
                    .send()
            })
            .await?;
        let surplus = surplus(change, &want);
        if surplus.is_empty() {
            return Ok(());
        }
        cx.cloud
            .put("autoscaling:DeleteTags", || {
                let gone = surplus.iter().map(|key| {
                    Tag::builder()
                        .resource_id(&self.name)
                        .resource_type(RESOURCE)
                        .key(key)
                        .build()
                });
                cx.aws()
                    .autoscaling
                    .delete_tags()
                    .set_tags(Some(gone.collect()))
                    .send()
            })
            .await?;
        Ok(())
    }
}

const RESOURCE: &str = "auto-scaling-group";

/// Whether nodes get this tag: not the address, which is the group's alone.
fn passes(key: &str) -> bool {
    key != ADDRESS_TAG
}

fn count(n: u32) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

impl Resource for Group {
    const KIND: Kind = Kind::new("autoscaling/group");
    const REPLAY: Replay = Replay::Name;
    const CONFIGURES: bool = true;
    const ACTIONS: &'static [&'static str] = &[
        "autoscaling:CreateAutoScalingGroup",
        "autoscaling:SuspendProcesses",
        "autoscaling:ResumeProcesses",
        "autoscaling:DescribeAutoScalingGroups",
        "autoscaling:DescribeScalingActivities",
        "autoscaling:UpdateAutoScalingGroup",
        "autoscaling:AttachLoadBalancerTargetGroups",
        "autoscaling:DetachLoadBalancerTargetGroups",
        "autoscaling:CreateOrUpdateTags",
        "autoscaling:DeleteTags",
        "autoscaling:DeleteAutoScalingGroup",
        // Checked against the caller when a group names a launch template
        // (<https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-launch-template-permissions.html>).
        "ec2:RunInstances",
        "ec2:CreateTags",
        "iam:PassRole",
        // The first group of an account makes AWSServiceRoleForAutoScaling.
        "iam:CreateServiceLinkedRole",
    ];
    const USUAL_SECONDS: u64 = 40;
    const DELETE_TAKES_TIME: bool = true;

    /// Its name, which is unique.
    type Id = String;
    type Output = GroupOutput;
    type Live = GroupLive;

    fn refs(&self) -> Vec<&Address> {
        let mut refs = vec![self.template.address()];
        refs.extend(self.subnets.iter().map(Ref::address));
        refs.extend(self.targets.iter().map(Ref::address));
        refs
    }

    fn diff(&self, live: &GroupLive, cx: &PlanCx<'_>) -> Diff {
        let tags = cx.tags(&self.extra_tags());
        // Of what is there: a missing tag shows up under `tags` alone.
        let passed_on: Vec<&str> = live
            .tags
            .iter()
            .map(|(key, _)| key)
            .filter(|key| passes(key) && tags.get(key).is_some())
            .collect();
        let have_passed: Vec<&str> = live
            .passed_on
            .iter()
            .map(String::as_str)
            .filter(|key| tags.get(key).is_some())
            .collect();
        Diff::new()
            .field(
                "template",
                cx.want(&self.template, |t| t.id),
                &live.template,
            )
            .field("template_version", VERSION, &live.template_version)
            .field(
                "subnets",
                wanted(&self.subnets, cx, |s| s.id),
                &live.subnets,
            )
            .field(
                "targets",
                wanted(&self.targets, cx, |t| t.arn),
                &live.targets,
            )
            .field("min", self.min, live.min)
            .field("max", self.max, live.max)
            .field("grace_seconds", self.grace_seconds, live.grace_seconds)
            .field("health", HEALTH, &live.health)
            .field("passed_on", passed_on, have_passed)
            .field("tags", tags, &live.tags)
    }

    async fn survey(cx: &CloudCx) -> Result<Vec<Found<Self>>, Fault> {
        let listed = of_site(cx).await?;
        Ok(listed.iter().filter_map(found).collect())
    }

    /// Ready once the nodes it begins with run: where AWS has none, or may not make one, it shows here.
    async fn poll(ids: &[String], cx: &CloudCx) -> Result<Vec<Readiness<GroupOutput>>, Fault> {
        let listed = cx
            .read("autoscaling:DescribeAutoScalingGroups", || {
                cx.aws()
                    .autoscaling
                    .describe_auto_scaling_groups()
                    .set_auto_scaling_group_names(Some(ids.to_vec()))
                    .max_records(PAGE)
                    .into_paginator()
                    .items()
                    .send()
                    .collect::<Result<Vec<_>, _>>()
            })
            .await?;
        let mut all = Vec::new();
        for id in ids {
            let group = listed
                .iter()
                .find(|g| g.auto_scaling_group_name() == Some(id));
            let mut ready = group.map_or(Readiness::Absent, readiness);
            // One that is being deleted launches nothing, and may be gone by now.
            if let (Some(group), Readiness::Pending(_)) = (group, &ready)
                && group.status().is_none()
                && group.instances().len() < desired(group)
                && let Some(fault) = not_launched(id, cx).await?
            {
                ready = Readiness::Held(Box::new(fault));
            }
            all.push(ready);
        }
        Ok(all)
    }

    async fn create(&self, cx: &ApplyCx<'_>) -> Result<Created<Self>, Fault> {
        let template = self.template(cx)?;
        let zones = self.zones(cx)?;
        let targets = ready(&self.targets, cx, |t| t.arn)?;
        let tags = cx.tags(&self.extra_tags());
        cx.cloud
            .write("autoscaling:CreateAutoScalingGroup", || {
                cx.aws()
                    .autoscaling
                    .create_auto_scaling_group()
                    .auto_scaling_group_name(&self.name)
                    .launch_template(template.clone())
                    .vpc_zone_identifier(&zones)
                    .set_target_group_arns(Some(targets.clone()))
                    .min_size(count(self.min))
                    .desired_capacity(count(self.desired))
                    .max_size(count(self.max))
                    .health_check_type(HEALTH)
                    .health_check_grace_period(count(self.grace_seconds))
                    .set_tags(Some(self.sdk_tags(&tags)))
                    .send()
            })
            .await?;
        Ok(Created::Waiting(self.name.clone()))
    }

    async fn configure(
        &self,
        _: &String,
        change: Change<'_>,
        cx: &ApplyCx<'_>,
    ) -> Result<(), Fault> {
        let Change::Fields(diff) = change else {
            return hold(cx.cloud, &self.name, &AT_BIRTH, true).await;
        };
        if diff.has_any(&[
            "template",
            "template_version",
            "subnets",
            "min",
            "max",
            "grace_seconds",
            "health",
        ]) {
            self.update(cx).await?;
        }
        if let Some(targets) = diff.fields.iter().find(|f| f.field == "targets") {
            self.set_targets(&targets.have, cx).await?;
        }
        if diff.has_any(&["tags", "passed_on"]) {
            self.retag(change, cx).await?;
        }
        Ok(())
    }

    /// Its nodes go with it, without asking each of them to finish.
    async fn delete(id: &String, cx: &CloudCx) -> Result<(), Fault> {
        gone_is_fine(
            cx.put("autoscaling:DeleteAutoScalingGroup", || {
                cx.aws()
                    .autoscaling
                    .delete_auto_scaling_group()
                    .auto_scaling_group_name(id)
                    .force_delete(true)
                    .send()
            })
            .await,
        )
    }
}

/// What a new group leaves off until its first machines serve: they wait for databases, for the files that the install
/// brings at its end, and for the migrations, and whoever waits is ill to a load balancer. Replacing them every quarter of an
/// hour would begin all of it anew.
pub const AT_BIRTH: [&str; 2] = ["HealthCheck", "ReplaceUnhealthy"];

/// Tells a group to leave off these processes, or to go on with them.
pub async fn hold(cx: &CloudCx, group: &str, processes: &[&str], hold: bool) -> Result<(), Fault> {
    let words: Vec<String> = processes.iter().map(|word| (*word).to_owned()).collect();
    if hold {
        cx.put("autoscaling:SuspendProcesses", || {
            let ask = cx.aws().autoscaling.suspend_processes();
            ask.auto_scaling_group_name(group)
                .set_scaling_processes(Some(words.clone()))
                .send()
        })
        .await?;
    } else {
        cx.put("autoscaling:ResumeProcesses", || {
            let ask = cx.aws().autoscaling.resume_processes();
            ask.auto_scaling_group_name(group)
                .set_scaling_processes(Some(words.clone()))
                .send()
        })
        .await?;
    }
    Ok(())
}

/// The instances of a group, whatever their state, but for those that are on their way out.
pub async fn members(group: &str, cx: &CloudCx) -> Result<Vec<String>, Fault> {
    let answer = cx
        .read("autoscaling:DescribeAutoScalingGroups", || {
            let ask = cx.aws().autoscaling.describe_auto_scaling_groups();
            ask.auto_scaling_group_names(group).send()
        })
        .await?;
    let stays = |state: &str| !state.starts_with("Terminat") && !state.starts_with("Detach");
    Ok(answer
        .auto_scaling_groups()
        .iter()
        .flat_map(|group| group.instances())
        .filter(|i| i.lifecycle_state().is_some_and(|s| stays(s.as_str())))
        .filter_map(|i| Some(i.instance_id()?.to_owned()))
        .collect())
}

/// The groups of the site that are not being deleted.
pub(super) async fn of_site(cx: &CloudCx) -> Result<Vec<Live>, Fault> {
    cx.once("Auto Scaling groups", || ask_of_site(cx)).await
}

/// The target groups that the site's Auto Scaling groups fill.
pub(in crate::kinds) async fn target_groups(cx: &CloudCx) -> Result<BTreeSet<String>, Fault> {
    let groups = of_site(cx).await?;
    let arns = groups.iter().flat_map(|group| group.target_group_arns());
    Ok(arns.cloned().collect())
}

async fn ask_of_site(cx: &CloudCx) -> Result<Vec<Live>, Fault> {
    let listed = cx
        .read("autoscaling:DescribeAutoScalingGroups", || {
            cx.aws()
                .autoscaling
                .describe_auto_scaling_groups()
                .filters(
                    Filter::builder()
                        .name(format!("tag:{SITE_TAG}"))
                        .values(cx.site())
                        .build(),
                )
                .max_records(PAGE)
                .into_paginator()
                .items()
                .send()
                .collect::<Result<Vec<_>, _>>()
        })
        .await?;
    Ok(listed
        .into_iter()
        .filter(|g| g.status().is_none())
        .collect())
}

fn tags_of(tags: &[TagDescription]) -> Tags {
    tags.iter()
        .filter_map(|t| {
            Some((
                t.key()?.to_owned(),
                t.value().unwrap_or_default().to_owned(),
            ))
        })
        .collect::<Tags>()
        .ours()
}

fn output(group: &Live) -> GroupOutput {
    GroupOutput {
        name: text(group.auto_scaling_group_name()),
        arn: text(group.auto_scaling_group_arn()),
    }
}

fn found(group: &Live) -> Option<Found<Group>> {
    let tags = tags_of(group.tags());
    let address = tags.address().filter(|a| *a.kind() == Group::KIND)?;
    let whole = |n: Option<i32>| n.and_then(|n| u32::try_from(n).ok()).unwrap_or_default();
    let template = group.launch_template();
    let sorted = |mut list: Vec<String>| {
        list.sort();
        list
    };
    Some(Found {
        address,
        id: output(group).name,
        live: GroupLive {
            template: text(template.and_then(|t| t.launch_template_id())),
            template_version: text(template.and_then(|t| t.version())),
            subnets: sorted(
                group
                    .vpc_zone_identifier()
                    .unwrap_or_default()
                    .split(',')
                    .filter(|s| !s.is_empty())
                    .map(Into::into)
                    .collect(),
            ),
            targets: sorted(group.target_group_arns().to_vec()),
            min: whole(group.min_size()),
            max: whole(group.max_size()),
            grace_seconds: whole(group.health_check_grace_period()),
            health: text(group.health_check_type()),
            passed_on: sorted(
                group
                    .tags()
                    .iter()
                    .filter(|t| t.propagate_at_launch() == Some(true))
                    .filter_map(|t| t.key().map(Into::into))
                    .collect(),
            ),
            tags,
        },
        // The group stands; how many nodes it has at the moment changes by itself.
        readiness: Readiness::Ready(output(group)),
    })
}

fn desired(group: &Live) -> usize {
    usize::try_from(group.desired_capacity().unwrap_or_default()).unwrap_or_default()
}

/// Why the group launched nothing when it last tried; none if it did. It tries again by itself.
async fn not_launched(name: &str, cx: &CloudCx) -> Result<Option<Fault>, Fault> {
    let newest = cx
        .read("autoscaling:DescribeScalingActivities", || {
            cx.aws()
                .autoscaling
                .describe_scaling_activities()
                .auto_scaling_group_name(name)
                .max_records(1)
                .send()
        })
        .await?;
    let failed = newest
        .activities()
        .iter()
        .find(|a| a.status_code() == Some(&ScalingActivityStatusCode::Failed));
    Ok(failed.map(|activity| why_not_launched(activity.status_message().unwrap_or_default())))
}

/// An activity says in words what `RunInstances` says by a code.
fn why_not_launched(message: &str) -> Fault {
    let call = "ec2:RunInstances".to_owned();
    let message = message.to_owned();
    if message.contains("VcpuLimitExceeded") || message.contains("vCPU limit") {
        return Fault::Quota {
            call,
            code: "VcpuLimitExceeded".into(),
            message,
        };
    }
    if message.contains("InsufficientInstanceCapacity")
        || message.contains("do not have sufficient")
    {
        return Fault::Capacity {
            call,
            code: "InsufficientInstanceCapacity".into(),
            message,
        };
    }
    Fault::Rejected {
        call,
        code: "Failed".into(),
        message,
    }
}

fn readiness(group: &Live) -> Readiness<GroupOutput> {
    if let Some(status) = group.status() {
        return Readiness::Pending(status.to_owned().into());
    }
    let desired = desired(group);
    let serving = group
        .instances()
        .iter()
        .filter(|i| i.lifecycle_state() == Some(&LifecycleState::InService))
        .count();
    if serving < desired {
        return Readiness::Pending(format!("{serving} of {desired} nodes in service").into());
    }
    Readiness::Ready(output(group))
}
