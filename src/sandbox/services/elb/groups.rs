//! Target groups: where a load balancer sends connections, and how it checks the targets.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::{
    BALANCERS, GROUPS, LISTENERS, attribute_list, check_name, missing, need, page, tags_asked, yes,
};
use crate::sandbox::call::{Call, Outcome, Refusal};
use crate::sandbox::world::{Row, World};

/// The attributes of a TCP group of instances and what they are at first.
const ATTRIBUTES: &[(&str, &str)] = &[
    (
        "deregistration_delay.connection_termination.enabled",
        "false",
    ),
    ("deregistration_delay.timeout_seconds", "300"),
    (
        "load_balancing.cross_zone.enabled",
        "use_load_balancer_configuration",
    ),
    ("preserve_client_ip.enabled", "true"),
    ("proxy_protocol_v2.enabled", "false"),
    ("stickiness.enabled", "false"),
    ("stickiness.type", "source_ip"),
    (
        "target_group_health.dns_failover.minimum_healthy_targets.count",
        "1",
    ),
    (
        "target_group_health.dns_failover.minimum_healthy_targets.percentage",
        "off",
    ),
    (
        "target_group_health.unhealthy_state_routing.minimum_healthy_targets.count",
        "1",
    ),
    (
        "target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage",
        "off",
    ),
    (
        "target_health_state.unhealthy.connection_termination.enabled",
        "true",
    ),
    (
        "target_health_state.unhealthy.draining_interval_seconds",
        "0",
    ),
];

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::bad("ValidationError", message)
}

fn within(call: &Call, key: &str, default: i64, from: i64, to: i64) -> Result<i64, Refusal> {
    let value = call.int(key).unwrap_or(default);
    if (from..=to).contains(&value) {
        Ok(value)
    } else {
        Err(invalid(format!(
            "{key} '{value}' must be between '{from}' and '{to}'"
        )))
    }
}

/// The health check the call asks for, over what is there already.
fn health(call: &Call, have: &Value) -> Result<Map<String, Value>, Refusal> {
    let old = |key: &str| have.get(key).and_then(Value::as_str).map(str::to_owned);
    let number = |key: &str, default: i64| have.get(key).and_then(Value::as_i64).unwrap_or(default);
    let protocol = call
        .opt("HealthCheckProtocol")
        .map(Into::into)
        .or_else(|| old("HealthCheckProtocol"))
        .unwrap_or_else(|| "TCP".to_owned());
    if !["TCP", "HTTP", "HTTPS"].contains(&protocol.as_str()) {
        return Err(Refusal::bad(
            "InvalidConfigurationRequest",
            format!(
                "Health check protocol '{protocol}' is not supported for target groups with the protocol TCP"
            ),
        ));
    }
    let http = protocol != "TCP";
    let path = call.opt("HealthCheckPath");
    let matcher = call.opt("Matcher.HttpCode");
    if !http && (path.is_some() || matcher.is_some()) {
        return Err(Refusal::bad(
            "InvalidConfigurationRequest",
            "Health check path and matcher are not supported for health checks with the protocol TCP",
        ));
    }
    if path.is_some_and(|p| !p.starts_with('/') || p.len() > 1024) {
        return Err(invalid("The health check path must begin with '/'"));
    }
    if matcher.is_some_and(|m| !is_matcher(m)) {
        return Err(Refusal::bad(
            "InvalidConfigurationRequest",
            "The matcher must name codes between 200 and 599",
        ));
    }
    let port = call
        .opt("HealthCheckPort")
        .map(Into::into)
        .or_else(|| old("HealthCheckPort"))
        .unwrap_or_else(|| "traffic-port".to_owned());
    if port != "traffic-port" && !port.parse::<u16>().is_ok_and(|p| p > 0) {
        return Err(invalid(format!("Health check port '{port}' is not valid")));
    }
    let interval = within(
        call,
        "HealthCheckIntervalSeconds",
        number("HealthCheckIntervalSeconds", 30),
        5,
        300,
    )?;
    let usual_timeout = if http { 6 } else { 10 };
    let timeout = within(
        call,
        "HealthCheckTimeoutSeconds",
        number("HealthCheckTimeoutSeconds", usual_timeout),
        2,
        120,
    )?;
    if timeout > interval {
        return Err(invalid("Health check timeout must be at most the interval"));
    }
    let healthy = within(
        call,
        "HealthyThresholdCount",
        number("HealthyThresholdCount", 5),
        2,
        10,
    )?;
    let unhealthy = within(
        call,
        "UnhealthyThresholdCount",
        number("UnhealthyThresholdCount", 2),
        2,
        10,
    )?;

    let mut set = Map::new();
    set.insert("HealthCheckProtocol".into(), json!(protocol));
    set.insert("HealthCheckPort".into(), json!(port));
    set.insert("HealthCheckEnabled".into(), json!(true));
    set.insert("HealthCheckIntervalSeconds".into(), json!(interval));
    set.insert("HealthCheckTimeoutSeconds".into(), json!(timeout));
    set.insert("HealthyThresholdCount".into(), json!(healthy));
    set.insert("UnhealthyThresholdCount".into(), json!(unhealthy));
    if http {
        let path = path.map(Into::into).or_else(|| old("HealthCheckPath"));
        let codes = matcher.map(Into::into).or_else(|| {
            have.pointer("/Matcher/HttpCode")
                .and_then(Value::as_str)
                .map(str::to_owned)
        });
        set.insert(
            "HealthCheckPath".into(),
            json!(path.unwrap_or_else(|| "/".into())),
        );
        set.insert(
            "Matcher".into(),
            json!({"HttpCode": codes.unwrap_or_else(|| "200-399".into())}),
        );
    } else {
        set.insert("HealthCheckPath".into(), Value::Null);
        set.insert("Matcher".into(), Value::Null);
    }
    Ok(set)
}

/// `200`, `200,302`, `200-399`: codes from 200 to 599.
fn is_matcher(text: &str) -> bool {
    text.split([',', '-'])
        .all(|n| n.parse::<u16>().is_ok_and(|n| (200..600).contains(&n)))
}

pub(super) fn create(world: &mut World, call: &Call) -> Outcome {
    let name = call.need("Name")?.to_owned();
    check_name("Target group", &name)?;
    let protocol = call.need("Protocol")?.to_owned();
    if !["TCP", "TLS", "UDP", "TCP_UDP"].contains(&protocol.as_str()) {
        return Err(Refusal::unknown_action(call));
    }
    call.need("Port")?;
    let port = within(call, "Port", 0, 1, 65_535)?;
    let kind = call.opt("TargetType").unwrap_or("instance").to_owned();
    let vpc = call.need("VpcId")?.to_owned();
    if world.get(&call.region, "ec2/vpc", &vpc).is_none() {
        return Err(invalid(format!("The VPC ID '{vpc}' is not found")));
    }
    let tags = tags_asked(call)?;
    let health = health(call, &Value::Null)?;

    let twin = world
        .rows(&call.region, GROUPS)
        .find(|(_, r)| r.text("TargetGroupName") == name)
        .map(|(_, r)| r.clone());
    if let Some(row) = twin {
        let same = row.text("Protocol") == protocol
            && row.v["Port"] == port
            && row.text("VpcId") == vpc
            && row.text("TargetType") == kind
            && health
                .iter()
                .all(|(k, v)| row.v.get(k).unwrap_or(&Value::Null) == v);
        return if same {
            Ok(json!({"TargetGroups": {"member": [shown(world, call, &row)]}}).into())
        } else {
            Err(Refusal::bad(
                "DuplicateTargetGroupName",
                format!(
                    "A target group with the same name '{name}' exists, but with different settings"
                ),
            ))
        };
    }
    if world.rows(&call.region, GROUPS).count() as u64 >= world.quota("target_groups", 3_000) {
        return Err(Refusal::bad(
            "TooManyTargetGroups",
            "The maximum number of target groups has been reached",
        ));
    }
    let id = world.hex(16);
    let arn = format!(
        "arn:aws:elasticloadbalancing:{}:{}:targetgroup/{name}/{id}",
        call.region, world.account
    );
    let attributes: Map<String, Value> = ATTRIBUTES
        .iter()
        .map(|(k, v)| ((*k).to_owned(), json!(v)))
        .collect();
    let mut v = json!({
        "TargetGroupArn": arn,
        "TargetGroupName": name,
        "Protocol": protocol,
        "Port": port,
        "VpcId": vpc,
        "TargetType": kind,
        "IpAddressType": "ipv4",
        "_arn": arn,
        "_attributes": attributes,
        "_targets": [],
    });
    if let Value::Object(map) = &mut v {
        map.extend(health.into_iter().filter(|(_, v)| !v.is_null()));
    }
    let row = world.insert(&call.region, GROUPS, &arn, v, call.now);
    row.tags = tags;
    let row = row.clone();
    Ok(json!({"TargetGroups": {"member": [shown(world, call, &row)]}}).into())
}

/// The load balancers whose listeners send to this group.
pub(super) fn used_by(world: &World, call: &Call, arn: &str) -> BTreeSet<String> {
    world
        .rows(&call.region, LISTENERS)
        .filter(|(_, l)| l.text("_target") == arn)
        .map(|(_, l)| l.text("LoadBalancerArn").to_owned())
        .collect()
}

fn shown(world: &World, call: &Call, row: &Row) -> Value {
    let mut v = row.shown();
    v["LoadBalancerArns"] = json!({"member": used_by(world, call, row.text("TargetGroupArn"))});
    v
}

pub(super) fn describe(world: &mut World, call: &Call) -> Outcome {
    let arns = call.texts("TargetGroupArns");
    let names = call.texts("Names");
    let balancer = call.opt("LoadBalancerArn");
    let mut rows = Vec::new();
    for arn in &arns {
        rows.push(need(world, call, GROUPS, arn)?);
    }
    for name in &names {
        let row = world
            .rows(&call.region, GROUPS)
            .find(|(_, r)| r.text("TargetGroupName") == *name);
        rows.push(row.ok_or_else(|| missing(GROUPS, name))?.1);
    }
    if arns.is_empty() && names.is_empty() {
        rows = world
            .seen(&call.region, GROUPS, call.now)
            .map(|(_, r)| r)
            .collect();
    }
    if let Some(balancer) = balancer {
        need(world, call, BALANCERS, balancer)?;
        rows.retain(|r| used_by(world, call, r.text("TargetGroupArn")).contains(balancer));
    }
    let rows = rows.into_iter().map(|r| shown(world, call, r)).collect();
    Ok(page(call, "TargetGroups", rows)?.into())
}

pub(super) fn modify(world: &mut World, call: &Call) -> Outcome {
    let arn = call.need("TargetGroupArn")?.to_owned();
    let row = need(world, call, GROUPS, &arn)?;
    let health = health(call, &row.v)?;
    if let Some(row) = world.get_mut(&call.region, GROUPS, &arn)
        && let Value::Object(map) = &mut row.v
    {
        for (key, value) in health {
            if value.is_null() {
                map.remove(&key);
            } else {
                map.insert(key, value);
            }
        }
    }
    let row = need(world, call, GROUPS, &arn)?;
    Ok(json!({"TargetGroups": {"member": [shown(world, call, row)]}}).into())
}

pub(super) fn delete(world: &mut World, call: &Call) -> Outcome {
    let arn = call.need("TargetGroupArn")?.to_owned();
    if !used_by(world, call, &arn).is_empty() {
        return Err(Refusal::bad(
            "ResourceInUse",
            format!("Target group '{arn}' is currently in use by a listener or a rule"),
        ));
    }
    world.remove(&call.region, GROUPS, &arn);
    yes()
}

pub(super) fn attributes(world: &mut World, call: &Call) -> Outcome {
    let arn = call.need("TargetGroupArn")?;
    Ok(attribute_list(need(world, call, GROUPS, arn)?).into())
}

pub(super) fn modify_attributes(world: &mut World, call: &Call) -> Outcome {
    let arn = call.need("TargetGroupArn")?.to_owned();
    let mut have = need(world, call, GROUPS, &arn)?.v["_attributes"].clone();
    for (key, value) in call.pairs("Attributes") {
        if !ATTRIBUTES.iter().any(|(k, _)| *k == key) {
            return Err(invalid(format!(
                "Target group attribute key '{key}' is not recognized"
            )));
        }
        let fits = match key.as_str() {
            "deregistration_delay.timeout_seconds" => {
                value.parse::<u32>().is_ok_and(|n| n <= 3_600)
            }
            "load_balancing.cross_zone.enabled" => {
                ["true", "false", "use_load_balancer_configuration"].contains(&value.as_str())
            }
            k if k.ends_with(".enabled") => ["true", "false"].contains(&value.as_str()),
            _ => true,
        };
        if !fits {
            return Err(invalid(format!(
                "'{value}' is not a value of the attribute '{key}'"
            )));
        }
        have[key] = json!(value);
    }
    if let Some(row) = world.get_mut(&call.region, GROUPS, &arn) {
        row.set("_attributes", have);
        return Ok(attribute_list(row).into());
    }
    yes()
}

#[cfg(test)]
mod tests {
    use super::is_matcher;

    #[test]
    fn matchers() {
        assert!(is_matcher("200-399") && is_matcher("200,302") && is_matcher("200"));
        assert!(!is_matcher("100") && !is_matcher("ok") && !is_matcher(""));
    }
}
