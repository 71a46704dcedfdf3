//! Elastic Load Balancing, the part of version 2 that network load balancers use.

mod balancers;
mod groups;
mod listeners;
mod targets;

use serde_json::{Value, json};

use super::{acm, tag_rules};
use crate::sandbox::call::{Call, Outcome, Refusal};
use crate::sandbox::world::{Millis, Row, World};

pub(super) const BALANCERS: &str = "elb/load_balancer";
pub(super) const GROUPS: &str = "elb/target_group";
pub(super) const LISTENERS: &str = "elb/listener";

pub const ACTIONS: &[&str] = &[
    "CreateLoadBalancer",
    "DescribeLoadBalancers",
    "DeleteLoadBalancer",
    "DescribeLoadBalancerAttributes",
    "ModifyLoadBalancerAttributes",
    "SetSubnets",
    "SetSecurityGroups",
    "CreateTargetGroup",
    "DescribeTargetGroups",
    "ModifyTargetGroup",
    "DeleteTargetGroup",
    "DescribeTargetGroupAttributes",
    "ModifyTargetGroupAttributes",
    "CreateListener",
    "DescribeListeners",
    "ModifyListener",
    "DeleteListener",
    "RegisterTargets",
    "DeregisterTargets",
    "DescribeTargetHealth",
    "DescribeTags",
    "AddTags",
    "RemoveTags",
];

pub fn handle(world: &mut World, call: &Call) -> Outcome {
    acm::settle(world, call.now);
    match call.action.as_str() {
        "CreateLoadBalancer" => balancers::create(world, call),
        "DescribeLoadBalancers" => balancers::describe(world, call),
        "DeleteLoadBalancer" => balancers::delete(world, call),
        "DescribeLoadBalancerAttributes" => balancers::attributes(world, call),
        "ModifyLoadBalancerAttributes" => balancers::modify_attributes(world, call),
        "SetSubnets" => balancers::set_subnets(world, call),
        "SetSecurityGroups" => balancers::set_groups(world, call),
        "CreateTargetGroup" => groups::create(world, call),
        "DescribeTargetGroups" => groups::describe(world, call),
        "ModifyTargetGroup" => groups::modify(world, call),
        "DeleteTargetGroup" => groups::delete(world, call),
        "DescribeTargetGroupAttributes" => groups::attributes(world, call),
        "ModifyTargetGroupAttributes" => groups::modify_attributes(world, call),
        "CreateListener" => listeners::create(world, call),
        "DescribeListeners" => listeners::describe(world, call),
        "ModifyListener" => listeners::modify(world, call),
        "DeleteListener" => listeners::delete(world, call),
        "RegisterTargets" => targets::register(world, call),
        "DeregisterTargets" => targets::deregister(world, call),
        "DescribeTargetHealth" => targets::health(world, call),
        "DescribeTags" => describe_tags(world, call),
        "AddTags" => add_tags(world, call),
        "RemoveTags" => remove_tags(world, call),
        _ => Err(Refusal::unknown_action(call)),
    }
}

/// Nothing to say but yes.
fn yes() -> Outcome {
    Ok(json!({}).into())
}

/// Letters, digits and single hyphens inside, 32 at most: the rule of load balancers and target groups.
fn check_name(noun: &str, name: &str) -> Result<(), Refusal> {
    let wrong = if name.is_empty() || name.len() > 32 {
        format!("{noun} name '{name}' cannot be longer than '32' characters")
    } else if !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
        format!(
            "{noun} name '{name}' can only contain characters that are alphanumeric characters or hyphens(-)"
        )
    } else if name.starts_with('-') || name.ends_with('-') {
        format!("{noun} name '{name}' cannot begin or end with a hyphen(-)")
    } else {
        return Ok(());
    };
    Err(Refusal::bad("ValidationError", wrong))
}

/// The row of this ARN, or the refusal of its kind.
fn need<'w>(world: &'w World, call: &Call, table: &str, arn: &str) -> Result<&'w Row, Refusal> {
    world
        .get(&call.region, table, arn)
        .ok_or_else(|| missing(table, arn))
}

fn missing(table: &str, arn: &str) -> Refusal {
    let (code, noun) = match table {
        BALANCERS => ("LoadBalancerNotFound", "load balancers"),
        GROUPS => ("TargetGroupNotFound", "target groups"),
        _ => ("ListenerNotFound", "listeners"),
    };
    Refusal::bad(code, format!("One or more {noun} not found: '{arn}'"))
}

/// One page by `Marker` and `PageSize`; AWS's page is 400 at most.
fn page(call: &Call, set: &str, items: Vec<Value>) -> Result<Value, Refusal> {
    let size = call.int("PageSize").unwrap_or(400);
    let size = usize::try_from(size)
        .ok()
        .filter(|n| (1..=400).contains(n))
        .ok_or_else(|| Refusal::bad("ValidationError", "PageSize must be between 1 and 400"))?;
    let from: usize = match call.opt("Marker") {
        None => 0,
        Some(marker) => marker
            .parse()
            .map_err(|_| Refusal::bad("ValidationError", "Invalid marker"))?,
    };
    let total = items.len();
    let items: Vec<Value> = items.into_iter().skip(from).take(size).collect();
    let mut answer = json!({ set: {"member": items} });
    if from + size < total {
        answer["NextMarker"] = json!((from + size).to_string());
    }
    Ok(answer)
}

/// The tags a creating call asks for.
fn tags_asked(call: &Call) -> Result<std::collections::BTreeMap<String, String>, Refusal> {
    let tags = call.pairs("Tags");
    tag_rules::check(
        &std::collections::BTreeMap::new(),
        &tags,
        "ValidationError",
        "TooManyTags",
    )?;
    Ok(tags)
}

/// `[{Key, Value}]` pairs of attributes as AWS shows them.
fn attribute_list(row: &Row) -> Value {
    let list: Vec<Value> = row.v["_attributes"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(k, v)| json!({"Key": k, "Value": v}))
        .collect();
    json!({"Attributes": {"member": list}})
}

fn time(now: Millis) -> String {
    jiff::Timestamp::from_millisecond(now)
        .unwrap_or_default()
        .to_string()
}

fn table_of(arn: &str) -> &'static str {
    if arn.contains(":targetgroup/") {
        GROUPS
    } else if arn.contains(":listener/") {
        LISTENERS
    } else {
        BALANCERS
    }
}

fn arns(call: &Call) -> Result<Vec<&str>, Refusal> {
    let arns = call.texts("ResourceArns");
    if arns.is_empty() || arns.len() > 20 {
        return Err(Refusal::bad(
            "ValidationError",
            "Between 1 and 20 resource ARNs may be named in one call",
        ));
    }
    Ok(arns)
}

fn describe_tags(world: &mut World, call: &Call) -> Outcome {
    let mut all = Vec::new();
    for arn in arns(call)? {
        let row = need(world, call, table_of(arn), arn)?;
        let tags: Vec<Value> = row
            .tags
            .iter()
            .map(|(k, v)| json!({"Key": k, "Value": v}))
            .collect();
        all.push(json!({"ResourceArn": arn, "Tags": {"member": tags}}));
    }
    Ok(json!({"TagDescriptions": {"member": all}}).into())
}

fn add_tags(world: &mut World, call: &Call) -> Outcome {
    let tags = call.pairs("Tags");
    for arn in arns(call)? {
        let row = need(world, call, table_of(arn), arn)?;
        tag_rules::check(&row.tags, &tags, "ValidationError", "TooManyTags")?;
    }
    for arn in arns(call)? {
        if let Some(row) = world.get_mut(&call.region, table_of(arn), arn) {
            row.tags.extend(tags.clone());
        }
    }
    yes()
}

fn remove_tags(world: &mut World, call: &Call) -> Outcome {
    let keys = call.texts("TagKeys");
    for arn in arns(call)? {
        need(world, call, table_of(arn), arn)?;
        if let Some(row) = world.get_mut(&call.region, table_of(arn), arn) {
            row.tags.retain(|k, _| !keys.contains(&k.as_str()));
        }
    }
    yes()
}
