//! CloudWatch Logs: groups and how long they are kept.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::tag_rules;
use crate::sandbox::call::{Call, Outcome, Refusal};
use crate::sandbox::world::{Millis, Row, World};

const TABLE: &str = "logs/log_group";

/// The numbers of days AWS offers.
const RETENTION: &[i64] = &[
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922,
    3288, 3653,
];

pub const ACTIONS: &[&str] = &[
    "CreateLogGroup",
    "DescribeLogGroups",
    "PutRetentionPolicy",
    "DeleteRetentionPolicy",
    "DeleteLogGroup",
    "TagResource",
    "UntagResource",
    "ListTagsForResource",
];

pub fn handle(world: &mut World, call: &Call) -> Outcome {
    match call.action.as_str() {
        "CreateLogGroup" => create(world, call),
        "DescribeLogGroups" => describe(world, call),
        "PutRetentionPolicy" => put_retention(world, call),
        "DeleteRetentionPolicy" => delete_retention(world, call),
        "DeleteLogGroup" => delete(world, call),
        "TagResource" => tag(world, call),
        "UntagResource" => untag(world, call),
        "ListTagsForResource" => list_tags(world, call),
        _ => Err(Refusal::unknown_action(call)),
    }
}

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::bad("InvalidParameterException", message)
}

/// Makes a group as a service does that starts to log: without tags, kept for ever. Nothing when it is there.
pub(in crate::sandbox) fn ensure(world: &mut World, region: &str, name: &str, now: Millis) {
    if world.get(region, TABLE, name).is_some() {
        return;
    }
    let arn = format!("arn:aws:logs:{region}:{}:log-group:{name}", world.account);
    let v = json!({"logGroupName": name, "creationTime": now, "metricFilterCount": 0, "arn": format!("{arn}:*"),
        "storedBytes": 0, "logGroupClass": "STANDARD", "logGroupArn": arn, "_arn": arn});
    world.insert(region, TABLE, name, v, now);
}

fn create(world: &mut World, call: &Call) -> Outcome {
    let name = call.need("logGroupName")?.to_owned();
    let fits = name.len() <= 512
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_-/.#".contains(c));
    if !fits || name.starts_with("aws/") {
        return Err(invalid(format!(
            "1 validation error detected: Value '{name}' at 'logGroupName' failed to satisfy constraint"
        )));
    }
    let tags: BTreeMap<String, String> = map_of(call.at("tags"));
    tag_rules::check(
        &BTreeMap::new(),
        &tags,
        "InvalidParameterException",
        "TooManyTagsException",
    )?;
    if world.get(&call.region, TABLE, &name).is_some() {
        return Err(Refusal::bad(
            "ResourceAlreadyExistsException",
            "The specified log group already exists",
        ));
    }
    if world.rows(&call.region, TABLE).count() as u64 >= world.quota("log_groups", 1_000_000) {
        return Err(Refusal::bad(
            "LimitExceededException",
            "Resource limit exceeded.",
        ));
    }
    ensure(world, &call.region, &name, call.now);
    if let Some(row) = world.get_mut(&call.region, TABLE, &name) {
        row.tags = tags;
    }
    Ok(json!({}).into())
}

fn map_of(value: Option<&Value>) -> BTreeMap<String, String> {
    value
        .and_then(Value::as_object)
        .map(Map::iter)
        .into_iter()
        .flatten()
        .map(|(k, v)| (k.clone(), v.as_str().unwrap_or_default().to_owned()))
        .collect()
}

fn describe(world: &mut World, call: &Call) -> Outcome {
    let prefix = call.opt("logGroupNamePrefix").unwrap_or_default();
    let all: Vec<Value> = world
        .seen(&call.region, TABLE, call.now)
        .filter(|(name, _)| name.starts_with(prefix))
        .map(|(_, r)| r.shown())
        .collect();
    let size = call.int("limit").unwrap_or(50);
    let size = usize::try_from(size)
        .ok()
        .filter(|n| (1..=50).contains(n))
        .ok_or_else(|| invalid("limit must be between 1 and 50"))?;
    let from: usize = call
        .opt("nextToken")
        .and_then(|t| t.parse().ok())
        .unwrap_or(0);
    let total = all.len();
    let page: Vec<Value> = all.into_iter().skip(from).take(size).collect();
    let mut answer = json!({"logGroups": page});
    if from + size < total {
        answer["nextToken"] = json!((from + size).to_string());
    }
    Ok(answer.into())
}

fn missing() -> Refusal {
    Refusal::bad(
        "ResourceNotFoundException",
        "The specified log group does not exist.",
    )
}

fn put_retention(world: &mut World, call: &Call) -> Outcome {
    let name = call.need("logGroupName")?.to_owned();
    let days = call.int("retentionInDays").unwrap_or_default();
    if !RETENTION.contains(&days) {
        return Err(invalid(format!(
            "1 validation error detected: Value '{days}' at 'retentionInDays' failed to satisfy constraint"
        )));
    }
    let row = world
        .get_mut(&call.region, TABLE, &name)
        .ok_or_else(missing)?;
    row.set("retentionInDays", days);
    Ok(json!({}).into())
}

fn delete_retention(world: &mut World, call: &Call) -> Outcome {
    let name = call.need("logGroupName")?.to_owned();
    let row = world
        .get_mut(&call.region, TABLE, &name)
        .ok_or_else(missing)?;
    if let Value::Object(map) = &mut row.v {
        map.remove("retentionInDays");
    }
    Ok(json!({}).into())
}

fn delete(world: &mut World, call: &Call) -> Outcome {
    let name = call.need("logGroupName")?;
    world
        .remove(&call.region, TABLE, name)
        .ok_or_else(missing)?;
    Ok(json!({}).into())
}

fn need<'w>(world: &'w World, call: &Call) -> Result<(String, &'w Row), Refusal> {
    let arn = call.need("resourceArn")?;
    // The form with `:*` names the streams inside and carries no tags.
    let name = arn
        .split_once(":log-group:")
        .map(|(_, n)| n)
        .filter(|n| !n.ends_with(":*"))
        .ok_or_else(|| invalid(format!("'{arn}' is not the ARN of a log group")))?;
    let row = world.get(&call.region, TABLE, name).ok_or_else(missing)?;
    Ok((name.to_owned(), row))
}

fn tag(world: &mut World, call: &Call) -> Outcome {
    let (name, row) = need(world, call)?;
    let tags = map_of(call.at("tags"));
    tag_rules::check(
        &row.tags,
        &tags,
        "InvalidParameterException",
        "TooManyTagsException",
    )?;
    if let Some(row) = world.get_mut(&call.region, TABLE, &name) {
        row.tags.extend(tags);
    }
    Ok(json!({}).into())
}

fn untag(world: &mut World, call: &Call) -> Outcome {
    let (name, _) = need(world, call)?;
    let keys = call.texts("tagKeys");
    if let Some(row) = world.get_mut(&call.region, TABLE, &name) {
        row.tags.retain(|k, _| !keys.contains(&k.as_str()));
    }
    Ok(json!({}).into())
}

fn list_tags(world: &mut World, call: &Call) -> Outcome {
    let (_, row) = need(world, call)?;
    Ok(json!({"tags": row.tags}).into())
}
