//! Data Lifecycle Manager: policies as they are kept; the sandbox takes no snapshots by itself.

use serde_json::{Value, json};

use crate::sandbox::call::{Call, Outcome, Refusal, at};
use crate::sandbox::world::{GLOBAL, World};

pub const ACTIONS: &[&str] = &[
    "CreateLifecyclePolicy",
    "GetLifecyclePolicies",
    "GetLifecyclePolicy",
    "UpdateLifecyclePolicy",
    "DeleteLifecyclePolicy",
    "TagResource",
    "UntagResource",
];

const TABLE: &str = "dlm/policy";

/// Finds action and parameters of a call in its path.
pub fn route(call: &mut Call) {
    call.p = serde_json::from_slice(&call.http.body).unwrap_or(json!({}));
    let path = call.http.path.clone();
    let mut parts = path.trim_matches('/').splitn(2, '/');
    let (area, id) = (parts.next().unwrap_or_default(), parts.next());
    let action = match (call.http.method.as_str(), area, id) {
        ("POST", "policies", None) => "CreateLifecyclePolicy",
        ("GET", "policies", None) => "GetLifecyclePolicies",
        ("GET", "policies", Some(_)) => "GetLifecyclePolicy",
        ("PATCH", "policies", Some(_)) => "UpdateLifecyclePolicy",
        ("DELETE", "policies", Some(_)) => "DeleteLifecyclePolicy",
        ("POST", "tags", Some(_)) => "TagResource",
        ("DELETE", "tags", Some(_)) => "UntagResource",
        _ => "",
    };
    action.clone_into(&mut call.action);
    if let (Value::Object(map), Some(id)) = (&mut call.p, id) {
        // A tagged thing is named by its ARN, whose last part is the policy.
        let id = id.rsplit('/').next().unwrap_or_default();
        map.insert("$id".into(), id.into());
    }
}

pub fn handle(world: &mut World, call: &Call) -> Outcome {
    match call.action.as_str() {
        "CreateLifecyclePolicy" => create(world, call),
        "GetLifecyclePolicies" => Ok(list(world, call)),
        "GetLifecyclePolicy" => get(world, call),
        "UpdateLifecyclePolicy" => update(world, call),
        "DeleteLifecyclePolicy" => {
            let id = known(world, call)?;
            world.remove(&call.region, TABLE, &id);
            Ok(json!({}).into())
        }
        "TagResource" => {
            let more = tags(call.at("Tags"));
            let id = known(world, call)?;
            if let Some(row) = world.get_mut(&call.region, TABLE, &id) {
                row.tags.extend(more);
            }
            Ok(json!({}).into())
        }
        "UntagResource" => {
            let id = known(world, call)?;
            if let Some(row) = world.get_mut(&call.region, TABLE, &id) {
                for (key, value) in &call.http.query {
                    if key == "tagKeys" {
                        row.tags.remove(value);
                    }
                }
            }
            Ok(json!({}).into())
        }
        _ => Err(Refusal::unknown_action(call)),
    }
}

fn known(world: &World, call: &Call) -> Result<String, Refusal> {
    let id = call.opt("$id").unwrap_or_default();
    match world.get(&call.region, TABLE, id) {
        Some(_) => Ok(id.to_owned()),
        None => Err(Refusal::new(
            404,
            "ResourceNotFoundException",
            format!("The policy {id} does not exist"),
        )),
    }
}

fn tags(value: Option<&Value>) -> std::collections::BTreeMap<String, String> {
    value
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned())))
        .collect()
}

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::bad("InvalidRequestException", message)
}

/// How often snapshots may be taken (<https://docs.aws.amazon.com/dlm/latest/APIReference/API_CreateRule.html>).
const INTERVALS: &[i64] = &[1, 2, 3, 4, 6, 8, 12, 24];

fn check(world: &World, call: &Call) -> Result<(), Refusal> {
    if let Some(role) = call.opt("ExecutionRoleArn") {
        let usable = world
            .rows(GLOBAL, "iam/role")
            .find(|(_, r)| r.text("Arn") == role)
            .is_some_and(|(_, r)| r.v["_usableFrom"].as_i64().unwrap_or(r.born) <= call.now);
        if !usable {
            return Err(invalid(format!("The role {role} cannot be assumed by DLM")));
        }
    }
    if let Some(text) = call.opt("Description") {
        let plain = text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || " _-".contains(c));
        if !plain || text.len() > 500 {
            return Err(invalid(
                "Description must be at most 500 letters, digits, spaces, _ and -",
            ));
        }
    }
    let Some(details) = call.at("PolicyDetails") else {
        return Ok(());
    };
    let list = |path: &str| {
        at(details, path)
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default()
    };
    if list("TargetTags").is_empty() || list("ResourceTypes").is_empty() {
        return Err(invalid("A policy needs resource types and target tags"));
    }
    let schedules = list("Schedules");
    if schedules.is_empty() || schedules.len() > 4 {
        return Err(invalid("A policy has one to four schedules"));
    }
    for schedule in schedules {
        let rule = &schedule["CreateRule"];
        if rule["CronExpression"].is_null() {
            let every = rule["Interval"].as_i64().unwrap_or_default();
            let times = rule["Times"].as_array().map_or(0, Vec::len);
            if !INTERVALS.contains(&every) || rule["IntervalUnit"] != "HOURS" || times > 1 {
                return Err(invalid(
                    "A schedule runs every 1, 2, 3, 4, 6, 8, 12 or 24 HOURS, from one time on",
                ));
            }
        }
        let kept = schedule["RetainRule"]["Count"].as_i64().unwrap_or_default();
        if !(1..=1_000).contains(&kept) && schedule["RetainRule"]["Interval"].is_null() {
            return Err(invalid("A schedule keeps 1 to 1000 snapshots"));
        }
    }
    Ok(())
}

fn create(world: &mut World, call: &Call) -> Outcome {
    for name in ["ExecutionRoleArn", "Description", "State"] {
        if call.opt(name).is_none() {
            return Err(invalid(format!("{name} is required")));
        }
    }
    check(world, call)?;
    if world.rows(&call.region, TABLE).count() >= 100 {
        return Err(Refusal::new(
            429,
            "LimitExceededException",
            "A region has at most 100 lifecycle policies",
        ));
    }
    let id = world.id("policy");
    let arn = format!("arn:aws:dlm:{}:{}:policy/{id}", call.region, world.account);
    let moment = super::ec2::when(call.now);
    let v = json!({"PolicyId": id, "PolicyArn": arn, "Description": call.at("Description"),
        "State": call.at("State"), "StatusMessage": call.at("State"), "ExecutionRoleArn": call.at("ExecutionRoleArn"),
        "DateCreated": moment, "DateModified": moment, "DefaultPolicy": false,
        "PolicyDetails": call.at("PolicyDetails").cloned().unwrap_or(json!({}))});
    let row = world.insert(&call.region, TABLE, &id, v, call.now);
    row.tags = tags(call.at("Tags"));
    Ok(json!({"PolicyId": id}).into())
}

fn list(world: &World, call: &Call) -> crate::sandbox::call::Answer {
    let asked: Vec<&str> = call
        .http
        .query
        .iter()
        .filter(|(k, _)| k == "policyIds")
        .map(|(_, v)| v.as_str())
        .collect();
    let items: Vec<Value> = world
        .seen(&call.region, TABLE, call.now)
        .filter(|(id, _)| asked.is_empty() || asked.contains(&id.as_str()))
        .map(|(id, r)| {
            json!({"PolicyId": id, "Description": r.text("Description"), "State": r.text("State"), "Tags": r.tags,
                "PolicyType": "EBS_SNAPSHOT_MANAGEMENT", "DefaultPolicy": false})
        })
        .collect();
    json!({"Policies": items}).into()
}

fn get(world: &World, call: &Call) -> Outcome {
    let id = known(world, call)?;
    let mut policy = json!({});
    if let Some(row) = world.get(&call.region, TABLE, &id) {
        policy = row.shown();
        policy["Tags"] = json!(row.tags);
    }
    Ok(json!({"Policy": policy}).into())
}

fn update(world: &mut World, call: &Call) -> Outcome {
    let id = known(world, call)?;
    check(world, call)?;
    if let Some(row) = world.get_mut(&call.region, TABLE, &id) {
        for name in ["ExecutionRoleArn", "Description", "State", "PolicyDetails"] {
            if let Some(value) = call.at(name) {
                row.set(name, value.clone());
            }
        }
        row.set("DateModified", super::ec2::when(call.now));
    }
    Ok(json!({}).into())
}
