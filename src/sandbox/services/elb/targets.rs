//! The targets of a group, in the group's own row as `_targets: [{id, port, since}]`.

use serde_json::{Value, json};

use super::groups::used_by;
use super::{GROUPS, need, yes};
use crate::sandbox::call::{Call, Outcome, Refusal};
use crate::sandbox::delays;
use crate::sandbox::world::{Row, World};

fn targets_of(row: &Row, key: &str) -> Vec<Value> {
    row.v
        .get(key)
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default()
}

/// Id and port of each target the call names; the group's own port unless it says otherwise.
fn asked(call: &Call, row: &Row) -> Vec<(String, i64)> {
    call.list("Targets")
        .iter()
        .filter_map(|t| {
            let port = t["Port"].as_str().and_then(|p| p.parse().ok());
            Some((
                t["Id"].as_str()?.to_owned(),
                port.or(row.v["Port"].as_i64())?,
            ))
        })
        .collect()
}

fn state_of(row: &Row) -> &str {
    row.v
        .pointer("/instanceState/name")
        .and_then(Value::as_str)
        .unwrap_or_default()
}

pub(super) fn register(world: &mut World, call: &Call) -> Outcome {
    let arn = call.need("TargetGroupArn")?.to_owned();
    let row = need(world, call, GROUPS, &arn)?.clone();
    let mut targets = targets_of(&row, "_targets");
    for (id, port) in asked(call, &row) {
        if !id.starts_with("i-") {
            return Err(Refusal::bad(
                "ValidationError",
                format!("Instance ID '{id}' is not valid"),
            ));
        }
        let instance = world.get(&call.region, "ec2/instance", &id);
        let invalid = |why: String| Refusal::bad("InvalidTarget", why);
        let instance = instance
            .ok_or_else(|| invalid(format!("The following targets do not exist: '{id}'")))?;
        if state_of(instance) != "running" {
            return Err(invalid(format!(
                "The following targets are not in a running state and cannot be registered: '{id}'"
            )));
        }
        if instance.text("vpcId") != row.text("VpcId") {
            return Err(invalid(format!(
                "The following targets are not in the target group VPC '{}': '{id}'",
                row.text("VpcId")
            )));
        }
        if !targets.iter().any(|t| t["id"] == id && t["port"] == port) {
            targets.push(json!({"id": id, "port": port, "since": call.now}));
        }
    }
    let limit = world.quota("targets_per_group", 500);
    if targets.len() as u64 > limit {
        return Err(Refusal::bad(
            "TooManyTargets",
            "The maximum number of targets of the group has been reached",
        ));
    }
    let draining: Vec<Value> = targets_of(&row, "_draining")
        .into_iter()
        .filter(|d| !targets.iter().any(|t| same(t, d)))
        .collect();
    save(world, call, &arn, targets, draining);
    yes()
}

pub(super) fn deregister(world: &mut World, call: &Call) -> Outcome {
    let arn = call.need("TargetGroupArn")?.to_owned();
    let row = need(world, call, GROUPS, &arn)?.clone();
    let ports_given = call.list("Targets").iter().all(|t| t.get("Port").is_some());
    let leaving = asked(call, &row);
    let used = !used_by(world, call, &arn).is_empty();
    let delay = row.v["_attributes"]["deregistration_delay.timeout_seconds"]
        .as_str()
        .and_then(|s| s.parse::<i64>().ok())
        .unwrap_or(300)
        * 1_000;
    let mut draining = targets_of(&row, "_draining");
    draining.retain(|d| d["until"].as_i64() > Some(call.now));
    let mut targets = Vec::new();
    for target in targets_of(&row, "_targets") {
        let leaves = leaving
            .iter()
            .any(|(id, port)| target["id"] == *id && (!ports_given || target["port"] == *port));
        if !leaves {
            targets.push(target);
        } else if used && delay > 0 {
            draining.push(
                json!({"id": target["id"], "port": target["port"], "until": call.now + delay}),
            );
        }
    }
    save(world, call, &arn, targets, draining);
    yes()
}

fn same(a: &Value, b: &Value) -> bool {
    a["id"] == b["id"] && a["port"] == b["port"]
}

fn save(world: &mut World, call: &Call, arn: &str, targets: Vec<Value>, draining: Vec<Value>) {
    if let Some(row) = world.get_mut(&call.region, GROUPS, arn) {
        row.set("_targets", targets);
        row.set("_draining", draining);
    }
}

pub(super) fn health(world: &mut World, call: &Call) -> Outcome {
    let arn = call.need("TargetGroupArn")?.to_owned();
    let row = need(world, call, GROUPS, &arn)?;
    let used = !used_by(world, call, &arn).is_empty();
    let alive = |id: &Value| {
        id.as_str()
            .and_then(|id| world.get(&call.region, "ec2/instance", id))
            .map(state_of)
    };
    let check_port = |port: &Value| match row.text("HealthCheckPort") {
        "traffic-port" => port.to_string(),
        other => other.to_owned(),
    };
    let mut all = Vec::new();
    for target in targets_of(row, "_targets") {
        let (state, reason) = match alive(&target["id"]) {
            // AWS takes terminated instances out by itself.
            None | Some("terminated" | "shutting-down") => continue,
            Some("running") if !used => ("unused", Some("Target.NotInUse")),
            Some("running") => {
                let since = target["since"].as_i64().unwrap_or_default();
                if since + delays::TARGET_HEALTHY <= call.now {
                    ("healthy", None)
                } else {
                    ("initial", Some("Elb.RegistrationInProgress"))
                }
            }
            Some(_) => ("unused", Some("Target.InvalidState")),
        };
        let mut health = json!({"State": state});
        if let Some(reason) = reason {
            health["Reason"] = json!(reason);
        }
        all.push(
            json!({"Target": {"Id": target["id"], "Port": target["port"]},
            "HealthCheckPort": check_port(&target["port"]), "TargetHealth": health}),
        );
    }
    for target in targets_of(row, "_draining") {
        if target["until"].as_i64() > Some(call.now) && alive(&target["id"]).is_some() {
            all.push(json!({"Target": {"Id": target["id"], "Port": target["port"]},
                "HealthCheckPort": check_port(&target["port"]),
                "TargetHealth": {"State": "draining", "Reason": "Target.DeregistrationInProgress"}}));
        }
    }
    let asked = asked(call, row);
    if !asked.is_empty() {
        all.retain(|t| {
            asked
                .iter()
                .any(|(id, port)| t["Target"]["Id"] == *id && t["Target"]["Port"] == *port)
        });
        for (id, port) in asked {
            if !all
                .iter()
                .any(|t| t["Target"]["Id"] == id && t["Target"]["Port"] == port)
            {
                all.push(json!({"Target": {"Id": id, "Port": port},
                    "TargetHealth": {"State": "unused", "Reason": "Target.NotRegistered"}}));
            }
        }
    }
    Ok(json!({"TargetHealthDescriptions": {"member": all}}).into())
}
