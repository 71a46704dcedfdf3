//! EC2, the part gantry calls: one file per family of things.

mod catalogue;
mod compute;
mod endpoint;
mod gateway;
mod images;
mod interface;
pub(super) mod launch;
mod network;
mod route;
mod security;
mod snapshots;
mod storage;
mod subnet;
mod tags;
mod templates;

use serde_json::{Value, json};

pub(in crate::sandbox) use self::compute::{end, state, when};
pub(in crate::sandbox) use self::images::newest_ubuntu;
pub(in crate::sandbox) use self::interface::{group_check, plug, subnet_check, unplug};
use crate::sandbox::call::{Call, Outcome, Refusal};
use crate::sandbox::world::{Millis, Row, World};

/// A family's table of actions: what it knows and what carries it out.
pub(super) type Handler = fn(&mut World, &Call) -> Outcome;

/// What each family knows.
pub const FAMILIES: &[&[&str]] = &[
    network::ACTIONS,
    subnet::ACTIONS,
    gateway::ACTIONS,
    route::ACTIONS,
    endpoint::ACTIONS,
    interface::ACTIONS,
    security::ACTIONS,
    compute::ACTIONS,
    templates::ACTIONS,
    storage::ACTIONS,
    snapshots::ACTIONS,
    images::ACTIONS,
    catalogue::ACTIONS,
    tags::ACTIONS,
];

pub fn handle(world: &mut World, call: &Call) -> Outcome {
    if call.flag("DryRun") == Some(true) {
        return Err(Refusal::new(
            412,
            "DryRunOperation",
            "Request would have succeeded, but DryRun flag is set.",
        ));
    }
    tags::check(call)?;
    for family in [
        network::find,
        subnet::find,
        gateway::find,
        route::find,
        endpoint::find,
        interface::find,
        security::find,
        compute::find,
        templates::find,
        storage::find,
        snapshots::find,
        images::find,
        catalogue::find,
        tags::find,
    ] {
        if let Some(handler) = family(&call.action) {
            return handler(world, call);
        }
    }
    Err(Refusal::unknown_action(call))
}

/// The tags a creating call asks for, `TagSpecification.N` of this resource type.
pub(super) fn tags_asked(
    call: &Call,
    resource: &str,
) -> std::collections::BTreeMap<String, String> {
    call.list("TagSpecification")
        .iter()
        .filter(|s| s.get("ResourceType").and_then(Value::as_str) == Some(resource))
        .flat_map(|s| {
            crate::sandbox::call::pairs(
                s.get("Tag")
                    .and_then(Value::as_array)
                    .map(Vec::as_slice)
                    .unwrap_or_default(),
            )
        })
        .collect()
}

/// A row's tags as EC2 shows them.
pub(super) fn tag_set(row: &Row) -> Value {
    json!({"item": row.tags.iter().map(|(k, v)| json!({"key": k, "value": v})).collect::<Vec<_>>()})
}

/// A row as a listing shows it: its fields and its tags.
pub(super) fn shown(row: &Row) -> Value {
    let mut v = row.shown();
    if let Value::Object(map) = &mut v {
        map.insert("tagSet".into(), tag_set(row));
    }
    v
}

/// Lists the rows of a table as EC2's Describe actions do: by id (`id_param`, at once, `missing` when one is
/// not there) or by `Filter` (late, as listings are), in pages.
///
/// `field` gives the values a filter of that name looks at; `tag:…` filters are handled here.
pub(super) fn describe(
    world: &World,
    call: &Call,
    table: &str,
    id_param: &str,
    missing: &str,
    field: impl Fn(&str, &str, &Row) -> Vec<String>,
) -> Result<Vec<(String, Row)>, Refusal> {
    let values: usize = call
        .list("Filter")
        .iter()
        .filter_map(|f| f.get("Value")?.as_array())
        .map(Vec::len)
        .sum();
    if values > 200 {
        return Err(Refusal::bad(
            "FilterLimitExceeded",
            "The maximum number of filter values specified on a single call is 200",
        ));
    }
    let ids = call.texts(id_param);
    for id in &ids {
        if world.get(&call.region, table, id).is_none() {
            return Err(Refusal::bad(
                missing,
                format!("The ID '{id}' does not exist"),
            ));
        }
    }
    Ok(world
        .rows(&call.region, table)
        .filter(|(id, row)| {
            if ids.is_empty() {
                row.seen_from <= call.now
            } else {
                ids.contains(&id.as_str())
            }
        })
        .filter(|(id, row)| {
            call.list("Filter").iter().all(|filter| {
                let name = filter
                    .get("Name")
                    .and_then(Value::as_str)
                    .unwrap_or_default();
                let values: Vec<&str> = filter
                    .get("Value")
                    .and_then(Value::as_array)
                    .into_iter()
                    .flatten()
                    .filter_map(Value::as_str)
                    .collect();
                let have = match name.strip_prefix("tag:") {
                    Some(key) => row.tags.get(key).cloned().into_iter().collect(),
                    None if name == "tag-key" => row.tags.keys().cloned().collect(),
                    None => field(name, id, row),
                };
                have.iter().any(|h| values.iter().any(|v| matches(v, h)))
            })
        })
        .map(|(id, row)| (id.clone(), row.clone()))
        .collect())
}

/// EC2's filter patterns: `*` stands for anything.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, tail)) => {
            text.starts_with(head)
                && (tail.is_empty() || text[head.len()..].ends_with(tail.trim_start_matches('*')))
        }
    }
}

/// One page of a listing: `MaxResults` items from `NextToken` on, and the token of the next page.
pub(super) fn page(call: &Call, items: Vec<Value>, set: &str) -> Value {
    let from: usize = call
        .opt("NextToken")
        .and_then(|t| t.parse().ok())
        .unwrap_or(0);
    let size = call
        .int("MaxResults")
        .and_then(|n| usize::try_from(n).ok())
        .unwrap_or(1_000);
    let total = items.len();
    let items: Vec<Value> = items.into_iter().skip(from).take(size).collect();
    let mut answer = json!({ set: {"item": items} });
    if from + size < total {
        answer["nextToken"] = json!((from + size).to_string());
    }
    answer
}

/// The row of this id, or EC2's refusal.
pub(super) fn need<'w>(
    world: &'w World,
    call: &Call,
    table: &str,
    id: &str,
    missing: &str,
) -> Result<&'w Row, Refusal> {
    world
        .get(&call.region, table, id)
        .ok_or_else(|| Refusal::bad(missing, format!("The ID '{id}' does not exist")))
}

/// A moment as EC2 writes it.
pub(super) fn stamp(now: Millis) -> String {
    jiff::Timestamp::from_millisecond(now)
        .unwrap_or_default()
        .to_string()
}

/// The ARN of an EC2 thing: what the tagging API lists it by.
pub(super) fn arn(world: &World, region: &str, noun: &str, id: &str) -> String {
    format!("arn:aws:ec2:{region}:{}:{noun}/{id}", world.account)
}

/// `{"return": true}`, EC2's plain yes.
pub(super) fn yes() -> Outcome {
    Ok(json!({"return": true}).into())
}
