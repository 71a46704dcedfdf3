//! Service Quotas: the limits this world plays.

use serde_json::{Value, json};

use super::ec2::launch::PROCESSORS;
use crate::cloud::quotas::{QUOTAS, QuotaLine};
use crate::sandbox::call::{Call, Outcome, Refusal};
use crate::sandbox::world::World;

pub const ACTIONS: &[&str] = &[
    "GetServiceQuota",
    "ListServiceQuotas",
    "ListAWSDefaultServiceQuotas",
];

pub fn handle(world: &mut World, call: &Call) -> Outcome {
    match call.action.as_str() {
        "GetServiceQuota" => {
            let (service, code) = (need(call, "ServiceCode")?, need(call, "QuotaCode")?);
            let line = QUOTAS
                .iter()
                .find(|q| q.service_code == service && q.code == code)
                .ok_or_else(|| {
                    Refusal::bad(
                        "NoSuchResourceException",
                        "The request failed because the specified service quota does not exist.",
                    )
                })?;
            Ok(json!({"Quota": shown(world, call, line, allowed(world, line))}).into())
        }
        "ListServiceQuotas" => list(world, call, |line| allowed(world, line)),
        "ListAWSDefaultServiceQuotas" => list(world, call, |line| line.default),
        _ => Err(Refusal::unknown_action(call)),
    }
}

/// What the calls of this world hold to.
fn allowed(world: &World, line: &QuotaLine) -> u64 {
    let usual = match line.key {
        "vcpus" => PROCESSORS,
        _ => line.default,
    };
    world.quota(line.key, usual)
}

fn need<'c>(call: &'c Call, name: &str) -> Result<&'c str, Refusal> {
    call.opt(name).ok_or_else(|| {
        Refusal::bad(
            "IllegalArgumentException",
            format!("{name} must not be empty"),
        )
    })
}

fn list(world: &World, call: &Call, value: impl Fn(&QuotaLine) -> u64) -> Outcome {
    let service = need(call, "ServiceCode")?;
    let lines: Vec<Value> = QUOTAS
        .iter()
        .filter(|q| q.service_code == service)
        .map(|q| shown(world, call, q, value(q)))
        .collect();
    if lines.is_empty() {
        return Err(Refusal::bad(
            "NoSuchResourceException",
            format!("The sandbox knows no quotas of the service {service}"),
        ));
    }
    let from: usize = call
        .opt("NextToken")
        .and_then(|t| t.parse().ok())
        .unwrap_or(0);
    let size = call
        .int("MaxResults")
        .and_then(|n| usize::try_from(n).ok())
        .unwrap_or(100);
    let more = from + size < lines.len();
    let page: Vec<Value> = lines.into_iter().skip(from).take(size).collect();
    let mut answer = json!({ "Quotas": page });
    if more {
        answer["NextToken"] = json!((from + size).to_string());
    }
    Ok(answer.into())
}

fn shown(world: &World, call: &Call, line: &QuotaLine, value: u64) -> Value {
    json!({
        "ServiceCode": line.service_code,
        "QuotaCode": line.code,
        "QuotaName": line.name,
        "QuotaArn": format!("arn:aws:servicequotas:{}:{}:{}/{}", call.region, world.account, line.service_code, line.code),
        "Value": value,
        "Unit": "None",
        "Adjustable": true,
        "GlobalQuota": false,
    })
}
