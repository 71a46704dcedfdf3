//! EC2 Auto Scaling: groups that make and replace their nodes, and their policies.
//!
//! A group looks after its nodes whenever somebody calls this service: what is missing is launched, what is
//! too much is ended. Its nodes stand in the target groups' rows as `_targets: [{id, port, since}]`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::ec2::{self, launch};
use crate::sandbox::call::{Call, Outcome, Refusal, pairs};
use crate::sandbox::delays;
use crate::sandbox::world::{Millis, Row, World};

pub const ACTIONS: &[&str] = &[
    "CreateAutoScalingGroup",
    "DescribeAutoScalingGroups",
    "DescribeScalingActivities",
    "UpdateAutoScalingGroup",
    "DeleteAutoScalingGroup",
    "AttachLoadBalancerTargetGroups",
    "DetachLoadBalancerTargetGroups",
    "CreateOrUpdateTags",
    "DeleteTags",
    "PutScalingPolicy",
    "DescribePolicies",
    "DeletePolicy",
];

const GROUPS: &str = "autoscaling/group";
const POLICIES: &str = "autoscaling/policy";
const TARGETS: &str = "elb/target_group";
const GROUP_TAG: &str = "aws:autoscaling:groupName";

pub fn handle(world: &mut World, call: &Call) -> Outcome {
    look_after(world, &call.region, call.now);
    let answer = match call.action.as_str() {
        "CreateAutoScalingGroup" => create(world, call),
        "DescribeAutoScalingGroups" => list(world, call),
        "DescribeScalingActivities" => activities(world, call),
        "UpdateAutoScalingGroup" => update(world, call),
        "DeleteAutoScalingGroup" => delete(world, call),
        "AttachLoadBalancerTargetGroups" => targets(world, call, true),
        "DetachLoadBalancerTargetGroups" => targets(world, call, false),
        "SuspendProcesses" => processes(world, call, true),
        "ResumeProcesses" => processes(world, call, false),
        "CreateOrUpdateTags" => tag(world, call),
        "DeleteTags" => untag(world, call),
        "PutScalingPolicy" => put_policy(world, call),
        "DescribePolicies" => list_policies(world, call),
        "DeletePolicy" => delete_policy(world, call),
        _ => return Err(Refusal::unknown_action(call)),
    };
    look_after(world, &call.region, call.now);
    answer
}

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::bad("ValidationError", message)
}

fn missing(name: &str) -> Refusal {
    invalid(format!(
        "AutoScalingGroup name not found - AutoScalingGroup {name} not found"
    ))
}

/// The group a call names.
fn named<'w>(world: &'w World, call: &Call) -> Result<(String, &'w Row), Refusal> {
    let name = call.need("AutoScalingGroupName")?;
    let row = world
        .get(&call.region, GROUPS, name)
        .ok_or_else(|| missing(name))?;
    Ok((name.to_owned(), row))
}

fn texts(value: &Value) -> Vec<String> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|v| v.as_str().map(Into::into))
        .collect()
}

fn number(row: &Row, key: &str) -> i64 {
    row.v[key].as_i64().unwrap_or_default()
}

/// Subnets as a list, from `a,b`.
fn subnets(text: &str) -> Vec<String> {
    text.split(',')
        .map(str::trim)
        .filter(|s| !s.is_empty())
        .map(Into::into)
        .collect()
}

fn bounds(min: i64, desired: i64, max: i64) -> Result<(), Refusal> {
    if min > max {
        return Err(invalid(format!(
            "Max bound, {max}, must be greater than or equal to min bound, {min}"
        )));
    }
    if desired < min || desired > max {
        return Err(invalid(format!(
            "Desired capacity:{desired} must be between the specified min size:{min} and max size:{max}"
        )));
    }
    Ok(())
}

/// Refuses a launch template that would not make a node in each of the subnets; answers what one is made of.
fn plan(world: &World, call: &Call, template: &Value, subnets: &[String]) -> Result<(), Refusal> {
    if subnets.is_empty() {
        return Err(invalid(
            "At least one Availability Zone or VPC Subnet is required.",
        ));
    }
    for subnet in subnets {
        let p = json!({ "LaunchTemplate": template });
        launch::prepare(world, &call.region, call.now, &p, Some(subnet)).map_err(|refusal| {
            invalid(if refusal.code == "InvalidSubnetID.NotFound" {
                refusal.message
            } else {
                format!(
                    "You must use a valid fully-formed launch template. {}",
                    refusal.message
                )
            })
        })?;
    }
    Ok(())
}

fn known_targets(world: &World, region: &str, arns: &[String]) -> Result<(), Refusal> {
    for arn in arns {
        if target(world, region, arn).is_none() {
            return Err(invalid(format!("Target groups '{arn}' not found")));
        }
    }
    Ok(())
}

/// The key of a target group's row.
fn target(world: &World, region: &str, arn: &str) -> Option<String> {
    world
        .rows(region, TARGETS)
        .find(|(id, r)| *id == arn || r.text("TargetGroupArn") == arn)
        .map(|(id, _)| id.clone())
}

fn template_of(call: &Call) -> Option<Value> {
    call.at("LaunchTemplate").cloned()
}

/// The template's name and id, as an answer shows them.
fn full_template(world: &World, region: &str, template: &Value) -> Value {
    let row = world.rows(region, "ec2/launch_template").find(|(id, r)| {
        template["LaunchTemplateId"] == id.as_str()
            || template["LaunchTemplateName"] == r.text("launchTemplateName")
    });
    match row {
        Some((id, row)) => {
            json!({"LaunchTemplateId": id, "LaunchTemplateName": row.text("launchTemplateName"),
                "Version": template["Version"].as_str().unwrap_or("$Default")})
        }
        None => template.clone(),
    }
}

fn create(world: &mut World, call: &Call) -> Outcome {
    let name = call.need("AutoScalingGroupName")?.to_owned();
    if name.len() > 255 || name.contains(':') {
        return Err(invalid(format!("'{name}' is not a valid group name")));
    }
    if let Some(row) = world.get(&call.region, GROUPS, &name) {
        let going = if row.text("Status").is_empty() {
            ""
        } else {
            " and is pending delete"
        };
        return Err(Refusal::bad(
            "AlreadyExists",
            format!(
                "AutoScalingGroup by this name already exists - A group with the name {name} already exists{going}"
            ),
        ));
    }
    let template = template_of(call).ok_or_else(|| {
        invalid("Valid requests must contain either LaunchTemplate, LaunchConfigurationName, InstanceId or MixedInstancesPolicy parameter.")
    })?;
    let zones = subnets(call.opt("VPCZoneIdentifier").unwrap_or_default());
    plan(world, call, &template, &zones)?;
    let arns: Vec<String> = call
        .texts("TargetGroupARNs")
        .into_iter()
        .map(Into::into)
        .collect();
    known_targets(world, &call.region, &arns)?;
    let (Some(min), Some(max)) = (call.int("MinSize"), call.int("MaxSize")) else {
        return Err(invalid("MinSize and MaxSize are required"));
    };
    let desired = call.int("DesiredCapacity").unwrap_or(min);
    bounds(min, desired, max)?;
    let number = world.hex(12);
    let arn = format!(
        "arn:aws:autoscaling:{}:{}:autoScalingGroup:00000000-0000-4000-8000-{number}:autoScalingGroupName/{name}",
        call.region, world.account
    );
    let v = json!({"AutoScalingGroupName": name, "AutoScalingGroupARN": arn,
        "LaunchTemplate": full_template(world, &call.region, &template), "MinSize": min, "MaxSize": max,
        "DesiredCapacity": desired, "DefaultCooldown": 300,
        "HealthCheckType": call.opt("HealthCheckType").unwrap_or("EC2"),
        "HealthCheckGracePeriod": call.int("HealthCheckGracePeriod").unwrap_or_default(),
        "VPCZoneIdentifier": zones.join(","), "CreatedTime": ec2::when(call.now),
        "NewInstancesProtectedFromScaleIn": false, "_targetGroups": arns, "_passedOn": [],
        "_failed": null});
    world.insert(&call.region, GROUPS, &name, v, call.now);
    set_tags(world, &call.region, &name, call.list("Tags"));
    Ok(json!({}).into())
}

/// Puts tags on a group, noting which of them its nodes get.
fn set_tags(world: &mut World, region: &str, name: &str, tags: &[Value]) {
    let Some(row) = world.get_mut(region, GROUPS, name) else {
        return;
    };
    let mut passed = texts(&row.v["_passedOn"]);
    for tag in tags {
        let key = tag["Key"].as_str().unwrap_or_default().to_owned();
        passed.retain(|k| *k != key);
        if tag["PropagateAtLaunch"] == "true" {
            passed.push(key);
        }
    }
    row.tags.extend(pairs(tags));
    row.set("_passedOn", passed);
}

/// A group's nodes that are not ended, by id.
fn nodes(world: &World, region: &str, name: &str) -> Vec<String> {
    world
        .rows(region, "ec2/instance")
        .filter(|(_, r)| r.tags.get(GROUP_TAG).is_some_and(|g| g == name))
        .filter(|(_, r)| !matches!(ec2::state(r), "shutting-down" | "terminated"))
        .map(|(id, _)| id.clone())
        .collect()
}

/// A group's nodes that somebody else ended.
fn ended(world: &World, region: &str, name: &str) -> Vec<String> {
    world
        .rows(region, "ec2/instance")
        .filter(|(_, r)| r.tags.get(GROUP_TAG).is_some_and(|g| g == name))
        .filter(|(_, r)| matches!(ec2::state(r), "shutting-down" | "terminated"))
        .map(|(id, _)| id.clone())
        .collect()
}

/// Launches what is missing and ends what is too much, in every group of the region.
fn look_after(world: &mut World, region: &str, now: Millis) {
    let groups: Vec<(String, Row)> = world
        .rows(region, GROUPS)
        .filter(|(_, r)| r.text("Status").is_empty())
        .map(|(name, row)| (name.clone(), row.clone()))
        .collect();
    for (name, group) in groups {
        for node in ended(world, region, &name) {
            deregister(world, region, &node, None);
        }
        let there = nodes(world, region, &name);
        let wanted = usize::try_from(number(&group, "DesiredCapacity")).unwrap_or_default();
        for extra in there.iter().skip(wanted) {
            end(world, region, now, extra);
        }
        for _ in there.len()..wanted {
            if !add(world, region, now, &name, &group) {
                break;
            }
        }
    }
}

/// Launches one node in the emptiest subnet; false when AWS would not, and the group tries again later.
fn add(world: &mut World, region: &str, now: Millis, name: &str, group: &Row) -> bool {
    let there = nodes(world, region, name);
    let zones = subnets(group.text("VPCZoneIdentifier"));
    let load = |subnet: &String| {
        there
            .iter()
            .filter(|id| {
                world
                    .get(region, "ec2/instance", id)
                    .is_some_and(|r| r.text("subnetId") == subnet)
            })
            .count()
    };
    let Some(subnet) = zones.iter().min_by_key(|s| load(s)).cloned() else {
        return false;
    };
    let p = json!({"LaunchTemplate": group.v["LaunchTemplate"]});
    let prepared = launch::prepare(world, region, now, &p, Some(&subnet)).and_then(|prepared| {
        launch::quota(world, region, prepared.vcpus())?;
        Ok(prepared)
    });
    let prepared = match prepared {
        Ok(prepared) => prepared,
        Err(refusal) => {
            note(world, region, now, name, Some(&refusal.message));
            return false;
        }
    };
    note(world, region, now, name, None);
    let passed = texts(&group.v["_passedOn"]);
    let mut tags: BTreeMap<String, String> = group
        .tags
        .iter()
        .filter(|(k, _)| passed.contains(k))
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    tags.insert(GROUP_TAG.into(), name.to_owned());
    let id = launch::launch(world, region, now, &prepared, &tags);
    for arn in texts(&group.v["_targetGroups"]) {
        register(world, region, now, &arn, &id);
    }
    true
}

/// Notes how the newest launch failed. AWS remembers every activity for six weeks; here a failure is forgotten with the
/// next launch that works.
fn note(world: &mut World, region: &str, now: Millis, group: &str, why: Option<&str>) {
    let failed = |row: &Row| row.v["_failed"]["message"].as_str().map(ToOwned::to_owned);
    let Some(before) = world.get(region, GROUPS, group).map(failed) else {
        return;
    };
    // Asking for the row to change it marks the world as changed.
    if before.as_deref() == why {
        return;
    }
    if let Some(row) = world.get_mut(region, GROUPS, group) {
        row.set(
            "_failed",
            why.map_or(Value::Null, |why| json!({"message": why, "at": now})),
        );
    }
}

fn activities(world: &mut World, call: &Call) -> Outcome {
    let (name, row) = named(world, call)?;
    let failed = row.v.get("_failed").filter(|f| !f.is_null()).map(|failed| {
        let at = ec2::when(failed["at"].as_i64().unwrap_or_default());
        json!({"ActivityId": format!("{name}-launch"), "AutoScalingGroupName": name,
            "Description": "Launching a new EC2 instance", "Cause": "an instance was started in response to a difference between desired and actual capacity",
            "StartTime": at, "EndTime": at, "StatusCode": "Failed", "Progress": 100,
            "StatusMessage": format!("{} Launching EC2 instance failed.", failed["message"].as_str().unwrap_or_default())})
    });
    Ok(page(call, failed.into_iter().collect(), "Activities").into())
}

fn register(world: &mut World, region: &str, now: Millis, arn: &str, node: &str) {
    let Some(key) = target(world, region, arn) else {
        return;
    };
    if let Some(row) = world.get_mut(region, TARGETS, &key) {
        let port = match &row.v["Port"] {
            Value::String(s) => s.parse().unwrap_or_default(),
            other => other.as_i64().unwrap_or_default(),
        };
        let mut all = row.v["_targets"].as_array().cloned().unwrap_or_default();
        all.retain(|t| t["id"] != node);
        all.push(json!({"id": node, "port": port, "since": now + delays::INSTANCE_RUNNING}));
        row.set("_targets", all);
    }
}

fn deregister(world: &mut World, region: &str, node: &str, only: Option<&str>) {
    let listed = |row: &Row| {
        let all = row.v["_targets"].as_array();
        all.is_some_and(|all| all.iter().any(|t| t["id"] == node))
    };
    // Asking for the table to change it marks the world as changed.
    if !world.rows(region, TARGETS).any(|(_, row)| listed(row)) {
        return;
    }
    for (key, row) in world.table(region, TARGETS) {
        if only.is_some_and(|arn| key != arn && row.text("TargetGroupArn") != arn) {
            continue;
        }
        let all = row.v["_targets"].as_array().cloned().unwrap_or_default();
        let left: Vec<Value> = all.iter().filter(|t| t["id"] != node).cloned().collect();
        if left.len() != all.len() {
            row.set("_targets", left);
        }
    }
}

fn end(world: &mut World, region: &str, now: Millis, node: &str) {
    deregister(world, region, node, None);
    let reason = json!({"code": "Client.UserInitiatedShutdown", "message": "Client.UserInitiatedShutdown: User initiated shutdown"});
    ec2::end(world, region, now, node, reason);
}

fn shown(world: &World, region: &str, name: &str, row: &Row) -> Value {
    let mut v = row.shown();
    let template = row.v["LaunchTemplate"].clone();
    let instances: Vec<Value> = nodes(world, region, name)
        .iter()
        .filter_map(|id| Some((id, world.get(region, "ec2/instance", id)?)))
        .map(|(id, r)| {
            let running = ec2::state(r) == "running";
            json!({"InstanceId": id, "InstanceType": r.text("instanceType"),
                "AvailabilityZone": r.v["placement"]["availabilityZone"], "HealthStatus": "Healthy",
                "LifecycleState": if running { "InService" } else { "Pending" },
                "ProtectedFromScaleIn": false, "LaunchTemplate": template})
        })
        .collect();
    let zones: Vec<String> = subnets(row.text("VPCZoneIdentifier"))
        .iter()
        .filter_map(|s| world.get(region, "ec2/subnet", s))
        .map(|r| r.text("availabilityZone").to_owned())
        .collect();
    let passed = texts(&row.v["_passedOn"]);
    let tags: Vec<Value> = row
        .tags
        .iter()
        .map(|(key, value)| {
            json!({"ResourceId": name, "ResourceType": "auto-scaling-group", "Key": key, "Value": value,
                "PropagateAtLaunch": passed.contains(key)})
        })
        .collect();
    v["Instances"] = json!({"member": instances});
    v["AvailabilityZones"] = json!({"member": zones});
    v["TargetGroupARNs"] = json!({"member": row.v["_targetGroups"]});
    v["Tags"] = json!({"member": tags});
    let suspended: Vec<Value> = texts(&row.v["_suspended"])
        .iter()
        .map(|process| json!({"ProcessName": process, "SuspensionReason": "User suspended"}))
        .collect();
    v["SuspendedProcesses"] = json!({"member": suspended});
    v["TerminationPolicies"] = json!({"member": ["Default"]});
    v
}

/// A page of a listing, as this service pages: `MaxRecords` and `NextToken`.
fn page(call: &Call, items: Vec<Value>, set: &str) -> Value {
    let from: usize = call
        .opt("NextToken")
        .and_then(|t| t.parse().ok())
        .unwrap_or(0);
    let size = call
        .int("MaxRecords")
        .and_then(|n| usize::try_from(n).ok())
        .unwrap_or(50)
        .clamp(1, 100);
    let total = items.len();
    let items: Vec<Value> = items.into_iter().skip(from).take(size).collect();
    let mut answer = json!({ set: {"member": items} });
    if from + size < total {
        answer["NextToken"] = (from + size).to_string().into();
    }
    answer
}

fn list(world: &mut World, call: &Call) -> Outcome {
    let names = call.texts("AutoScalingGroupNames");
    let items: Vec<Value> = world
        .rows(&call.region, GROUPS)
        .filter(|(name, row)| {
            if names.is_empty() {
                row.seen_from <= call.now
            } else {
                names.contains(&name.as_str())
            }
        })
        .filter(|(_, row)| {
            call.list("Filters").iter().all(|filter| {
                let name = filter["Name"].as_str().unwrap_or_default();
                let values = texts(&filter["Values"]);
                match name.strip_prefix("tag:") {
                    Some(key) => row.tags.get(key).is_some_and(|v| values.contains(v)),
                    None if name == "tag-key" => row.tags.keys().any(|k| values.contains(k)),
                    None if name == "tag-value" => row.tags.values().any(|v| values.contains(v)),
                    None => false,
                }
            })
        })
        .map(|(name, row)| shown(world, &call.region, name, row))
        .collect();
    Ok(page(call, items, "AutoScalingGroups").into())
}

fn update(world: &mut World, call: &Call) -> Outcome {
    let (name, row) = named(world, call)?;
    standing(&name, row)?;
    let template = template_of(call).unwrap_or_else(|| row.v["LaunchTemplate"].clone());
    let zones = call
        .opt("VPCZoneIdentifier")
        .unwrap_or(row.text("VPCZoneIdentifier"));
    let zones = subnets(zones);
    plan(world, call, &template, &zones)?;
    let min = call.int("MinSize").unwrap_or(number(row, "MinSize"));
    let max = call.int("MaxSize").unwrap_or(number(row, "MaxSize"));
    if min > max {
        bounds(min, min, max)?;
    }
    let desired = match call.int("DesiredCapacity") {
        Some(asked) => {
            bounds(min, asked, max)?;
            asked
        }
        None => number(row, "DesiredCapacity").clamp(min, max),
    };
    let template = full_template(world, &call.region, &template);
    let health = call.opt("HealthCheckType").map(ToOwned::to_owned);
    let grace = call.int("HealthCheckGracePeriod");
    if let Some(row) = world.get_mut(&call.region, GROUPS, &name) {
        row.set("LaunchTemplate", template);
        row.set("VPCZoneIdentifier", zones.join(","));
        row.set("MinSize", min);
        row.set("MaxSize", max);
        row.set("DesiredCapacity", desired);
        if let Some(health) = health {
            row.set("HealthCheckType", health);
        }
        if let Some(grace) = grace {
            row.set("HealthCheckGracePeriod", grace);
        }
    }
    Ok(json!({}).into())
}

/// Refuses changes to a group that is being deleted.
fn standing(name: &str, row: &Row) -> Result<(), Refusal> {
    if row.text("Status").is_empty() {
        return Ok(());
    }
    Err(invalid(format!(
        "AutoScalingGroup {name} is pending delete and cannot be changed"
    )))
}

fn delete(world: &mut World, call: &Call) -> Outcome {
    let (name, row) = named(world, call)?;
    if !row.text("Status").is_empty() {
        return Ok(json!({}).into());
    }
    let there = nodes(world, &call.region, &name);
    if !there.is_empty() && call.flag("ForceDelete") != Some(true) {
        return Err(Refusal::bad(
            "ResourceInUse",
            "You cannot delete an AutoScalingGroup while there are instances or pending Spot instance request(s) still in the group.",
        ));
    }
    for node in &there {
        end(world, &call.region, call.now, node);
    }
    world
        .table(&call.region, POLICIES)
        .retain(|_, r| r.text("AutoScalingGroupName") != name);
    if let Some(row) = world.get_mut(&call.region, GROUPS, &name) {
        row.set("Status", "Delete in progress");
        row.vanish(call.now, delays::GROUP_DELETE);
    }
    Ok(json!({}).into())
}

fn targets(world: &mut World, call: &Call, on: bool) -> Outcome {
    let (name, row) = named(world, call)?;
    standing(&name, row)?;
    let mut have = texts(&row.v["_targetGroups"]);
    let asked: Vec<String> = call
        .texts("TargetGroupARNs")
        .into_iter()
        .map(Into::into)
        .collect();
    if on {
        known_targets(world, &call.region, &asked)?;
    }
    let there = nodes(world, &call.region, &name);
    for arn in &asked {
        have.retain(|a| a != arn);
        for node in &there {
            if on {
                register(world, &call.region, call.now, arn, node);
            } else {
                deregister(world, &call.region, node, Some(arn));
            }
        }
        if on {
            have.push(arn.clone());
        }
    }
    if let Some(row) = world.get_mut(&call.region, GROUPS, &name) {
        row.set("_targetGroups", have);
    }
    Ok(json!({}).into())
}

/// What a group does by itself, and may be told to leave for a while.
const PROCESSES: [&str; 9] = [
    "Launch",
    "Terminate",
    "AddToLoadBalancer",
    "AlarmNotification",
    "AZRebalance",
    "HealthCheck",
    "InstanceRefresh",
    "ReplaceUnhealthy",
    "ScheduledActions",
];

fn processes(world: &mut World, call: &Call, suspend: bool) -> Outcome {
    let (name, row) = named(world, call)?;
    standing(&name, row)?;
    let mut suspended = texts(&row.v["_suspended"]);
    let mut asked: Vec<&str> = call.texts("ScalingProcesses");
    if asked.is_empty() {
        asked = PROCESSES.to_vec();
    }
    for process in asked {
        if !PROCESSES.contains(&process) {
            return Err(invalid(format!("{process} is not a valid process")));
        }
        suspended.retain(|s| s != process);
        if suspend {
            suspended.push(process.to_owned());
        }
    }
    if let Some(row) = world.get_mut(&call.region, GROUPS, &name) {
        row.set("_suspended", suspended);
    }
    Ok(json!({}).into())
}

/// The group a tag is for.
fn tagged(world: &World, call: &Call, tag: &Value) -> Result<String, Refusal> {
    let name = tag["ResourceId"].as_str().unwrap_or_default();
    if tag["ResourceType"] != "auto-scaling-group" {
        return Err(invalid("ResourceType must be auto-scaling-group"));
    }
    if world.get(&call.region, GROUPS, name).is_none() {
        return Err(missing(name));
    }
    Ok(name.to_owned())
}

fn tag(world: &mut World, call: &Call) -> Outcome {
    for tag in call.list("Tags") {
        let name = tagged(world, call, tag)?;
        set_tags(world, &call.region, &name, std::slice::from_ref(tag));
    }
    Ok(json!({}).into())
}

fn untag(world: &mut World, call: &Call) -> Outcome {
    for tag in call.list("Tags") {
        let name = tagged(world, call, tag)?;
        let key = tag["Key"].as_str().unwrap_or_default();
        if let Some(row) = world.get_mut(&call.region, GROUPS, &name) {
            row.tags.remove(key);
            let left: Vec<String> = texts(&row.v["_passedOn"])
                .into_iter()
                .filter(|k| k != key)
                .collect();
            row.set("_passedOn", left);
        }
    }
    Ok(json!({}).into())
}

fn put_policy(world: &mut World, call: &Call) -> Outcome {
    let (group, row) = named(world, call)?;
    standing(&group, row)?;
    let name = call.need("PolicyName")?.to_owned();
    let kind = call.opt("PolicyType").unwrap_or("SimpleScaling");
    let adjustment = call.opt("AdjustmentType").unwrap_or_default();
    if kind != "SimpleScaling" {
        return Err(invalid(format!(
            "The sandbox knows SimpleScaling policies alone, not {kind}"
        )));
    }
    if !matches!(
        adjustment,
        "ChangeInCapacity" | "ExactCapacity" | "PercentChangeInCapacity"
    ) {
        return Err(invalid("AdjustmentType is required for simple scaling"));
    }
    let Some(by) = call.int("ScalingAdjustment") else {
        return Err(invalid("ScalingAdjustment is required for simple scaling"));
    };
    let key = format!("{group}/{name}");
    let (kind, adjustment) = (kind.to_owned(), adjustment.to_owned());
    let cooldown = call.int("Cooldown");
    if world.get(&call.region, POLICIES, &key).is_none() {
        let number = world.hex(12);
        let arn = format!(
            "arn:aws:autoscaling:{}:{}:scalingPolicy:00000000-0000-4000-8000-{number}:autoScalingGroupName/{group}:policyName/{name}",
            call.region, world.account
        );
        let v = json!({"PolicyName": name, "PolicyARN": arn, "AutoScalingGroupName": group, "Enabled": true});
        world.insert(&call.region, POLICIES, &key, v, call.now);
    }
    let mut arn = String::new();
    if let Some(row) = world.get_mut(&call.region, POLICIES, &key) {
        row.set("PolicyType", kind);
        row.set("AdjustmentType", adjustment);
        row.set("ScalingAdjustment", by);
        row.set("Cooldown", cooldown);
        row.text("PolicyARN").clone_into(&mut arn);
    }
    Ok(json!({"PolicyARN": arn, "Alarms": {}}).into())
}

fn list_policies(world: &mut World, call: &Call) -> Outcome {
    let group = call.opt("AutoScalingGroupName");
    if let Some(group) = group
        && world.get(&call.region, GROUPS, group).is_none()
    {
        return Err(invalid(format!("Group {group} not found")));
    }
    let names = call.texts("PolicyNames");
    let items: Vec<Value> = world
        .rows(&call.region, POLICIES)
        .filter(|(_, r)| group.is_none_or(|g| r.text("AutoScalingGroupName") == g))
        .filter(|(_, r)| {
            names.is_empty()
                || names.contains(&r.text("PolicyName"))
                || names.contains(&r.text("PolicyARN"))
        })
        .map(|(_, r)| r.shown())
        .collect();
    Ok(page(call, items, "ScalingPolicies").into())
}

fn delete_policy(world: &mut World, call: &Call) -> Outcome {
    let asked = call.need("PolicyName")?;
    let group = call.opt("AutoScalingGroupName");
    let key = world
        .rows(&call.region, POLICIES)
        .find(|(_, r)| {
            (r.text("PolicyName") == asked || r.text("PolicyARN") == asked)
                && group.is_none_or(|g| r.text("AutoScalingGroupName") == g)
        })
        .map(|(key, _)| key.clone());
    match key {
        Some(key) => {
            world.remove(&call.region, POLICIES, &key);
            Ok(json!({}).into())
        }
        None => Err(invalid(format!("Policy {asked} not found"))),
    }
}
