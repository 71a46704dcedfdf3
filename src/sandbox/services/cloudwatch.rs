//! CloudWatch: metric alarms, and the data of gantry's own metrics.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::tag_rules;
use crate::sandbox::call::{Call, Outcome, Refusal};
use crate::sandbox::signals::{METRICS, keep};
use crate::sandbox::world::{Millis, Row, World};

const TABLE: &str = "cloudwatch/alarm";

pub const ACTIONS: &[&str] = &[
    "PutMetricAlarm",
    "DescribeAlarms",
    "DeleteAlarms",
    "PutMetricData",
    "TagResource",
    "UntagResource",
    "ListTagsForResource",
];

pub fn handle(world: &mut World, call: &Call) -> Outcome {
    match call.action.as_str() {
        "PutMetricAlarm" => put(world, call),
        "DescribeAlarms" => describe(world, call),
        "DeleteAlarms" => delete(world, call),
        "PutMetricData" => put_data(world, call),
        "TagResource" => tag(world, call),
        "UntagResource" => untag(world, call),
        "ListTagsForResource" => list_tags(world, call),
        _ => Err(Refusal::unknown_action(call)),
    }
}

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::bad("InvalidParameterValue", message)
}

/// A moment as CBOR writes it.
fn time(now: Millis) -> Value {
    json!({"$time": now / 1_000})
}

/// What an alarm is told, copied as it is.
const SETTINGS: &[&str] = &[
    "AlarmDescription",
    "OKActions",
    "AlarmActions",
    "InsufficientDataActions",
    "MetricName",
    "Namespace",
    "Statistic",
    "ExtendedStatistic",
    "Dimensions",
    "Period",
    "Unit",
    "EvaluationPeriods",
    "DatapointsToAlarm",
    "Threshold",
    "ComparisonOperator",
    "TreatMissingData",
];

fn check(call: &Call) -> Result<(), Refusal> {
    for key in ["MetricName", "Namespace", "ComparisonOperator"] {
        call.need(key)?;
    }
    let one_of = |key: &str, words: &[&str]| match call.opt(key) {
        Some(word) if !words.contains(&word) => {
            Err(invalid(format!("Value '{word}' at '{key}' is not valid")))
        }
        _ => Ok(()),
    };
    one_of(
        "ComparisonOperator",
        &[
            "GreaterThanOrEqualToThreshold",
            "GreaterThanThreshold",
            "LessThanThreshold",
            "LessThanOrEqualToThreshold",
        ],
    )?;
    one_of(
        "Statistic",
        &["SampleCount", "Average", "Sum", "Minimum", "Maximum"],
    )?;
    one_of(
        "TreatMissingData",
        &["breaching", "notBreaching", "ignore", "missing"],
    )?;
    if call.opt("Statistic").is_none() && call.opt("ExtendedStatistic").is_none() {
        return Err(Refusal::bad(
            "MissingParameter",
            "Exactly one of Statistic or ExtendedStatistic is required",
        ));
    }
    let period = call.int("Period").unwrap_or_default();
    if !([10, 20, 30].contains(&period) || period > 0 && period % 60 == 0) {
        return Err(invalid(format!(
            "Period {period} must be 10, 20, 30 or a multiple of 60"
        )));
    }
    let periods = call.int("EvaluationPeriods").unwrap_or_default();
    // A day, or a week for periods of an hour and more.
    let most = if period >= 3_600 { 604_800 } else { 86_400 };
    if periods < 1 || period * periods > most {
        return Err(invalid(format!(
            "{periods} evaluation periods of {period} seconds are more than {most} seconds"
        )));
    }
    if call.at("Threshold").and_then(Value::as_f64).is_none() {
        return Err(Refusal::bad("MissingParameter", "Threshold is required"));
    }
    check_dimensions(call.list("Dimensions"))
}

fn check_dimensions(dimensions: &[Value]) -> Result<(), Refusal> {
    let empty = |d: &Value, k: &str| d[k].as_str().is_none_or(str::is_empty);
    if dimensions.len() > 30
        || dimensions
            .iter()
            .any(|d| empty(d, "Name") || empty(d, "Value"))
    {
        return Err(invalid(
            "Dimensions need names and values, and there may be 30 of them",
        ));
    }
    Ok(())
}

/// How far from now a value may be; <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_MetricDatum.html>.
const OLDEST: Millis = 14 * 24 * 60 * 60 * 1_000;
const FARTHEST: Millis = 2 * 60 * 60 * 1_000;

const UNITS: &[&str] = &[
    "Seconds",
    "Microseconds",
    "Milliseconds",
    "Bytes",
    "Kilobytes",
    "Megabytes",
    "Gigabytes",
    "Terabytes",
    "Percent",
    "Count",
    "Bytes/Second",
    "Count/Second",
    "None",
];

/// One value a datum is what gantry sends; sets of values are not played.
fn put_data(world: &mut World, call: &Call) -> Outcome {
    let namespace = call.need("Namespace")?;
    if namespace.starts_with("AWS/") || namespace.starts_with(':') || namespace.len() > 255 {
        return Err(invalid(format!(
            "The value {namespace} for parameter Namespace is invalid."
        )));
    }
    let data = call.list("MetricData");
    if data.is_empty() || data.len() > 1_000 {
        return Err(invalid("MetricData takes 1 to 1000 values"));
    }
    let mut rows = Vec::new();
    for datum in data {
        let name = datum["MetricName"].as_str().unwrap_or_default();
        if name.is_empty() || name.len() > 255 {
            return Err(Refusal::bad(
                "MissingParameter",
                "The parameter MetricData.member.1.MetricName is required.",
            ));
        }
        check_dimensions(datum["Dimensions"].as_array().map_or(&[], Vec::as_slice))?;
        let Some(value) = datum["Value"].as_f64().filter(|v| v.is_finite()) else {
            return Err(invalid(format!(
                "The value of {name} must be a number, and one only"
            )));
        };
        let unit = datum["Unit"].as_str().unwrap_or("None");
        if !UNITS.contains(&unit) {
            return Err(invalid(format!("The unit {unit} is not valid")));
        }
        #[expect(
            clippy::cast_possible_truncation,
            reason = "seconds of this century, in milliseconds"
        )]
        let at = datum["Timestamp"]
            .as_f64()
            .map_or(call.now, |seconds| (seconds * 1_000.0) as Millis);
        if at < call.now - OLDEST || at > call.now + FARTHEST {
            return Err(invalid(
                "The parameter MetricData.member.1.Timestamp must specify a time no more than two weeks in the past, and two hours in the future.",
            ));
        }
        rows.push(
            json!({"Namespace": namespace, "MetricName": name, "Value": value, "Unit": unit,
            "Dimensions": datum["Dimensions"], "Timestamp": at}),
        );
    }
    for v in rows {
        keep(world, &call.region, METRICS, v, call.now);
    }
    Ok(json!({}).into())
}

/// Actions must be ARNs of topics and policies of this account that exist.
fn check_actions(world: &World, call: &Call) -> Result<(), Refusal> {
    for key in ["AlarmActions", "OKActions", "InsufficientDataActions"] {
        let actions = call.texts(key);
        if actions.len() > 5 {
            return Err(invalid(format!("{key} may name 5 actions")));
        }
        for action in actions {
            let known = action.starts_with("arn:aws:automate:")
                || action.starts_with("arn:aws:sns:")
                || action.starts_with("arn:aws:autoscaling:")
                || action.starts_with("arn:aws:ssm:");
            if !known {
                return Err(Refusal::bad(
                    "ValidationError",
                    format!("Invalid arn syntax: {action}"),
                ));
            }
            let policy = action.starts_with("arn:aws:autoscaling:");
            let there = world
                .rows(&call.region, "autoscaling/policy")
                .any(|(id, r)| id == action || r.text("PolicyARN") == action);
            if policy && !there {
                return Err(Refusal::bad(
                    "ValidationError",
                    format!("The scaling policy {action} does not exist"),
                ));
            }
        }
    }
    Ok(())
}

fn put(world: &mut World, call: &Call) -> Outcome {
    let name = call.need("AlarmName")?.to_owned();
    if name.chars().count() > 255 {
        return Err(invalid("AlarmName may have 255 characters"));
    }
    check(call)?;
    check_actions(world, call)?;
    let tags = call.pairs("Tags");
    tag_rules::check(
        &BTreeMap::new(),
        &tags,
        "InvalidParameterValue",
        "LimitExceeded",
    )?;
    let arn = format!(
        "arn:aws:cloudwatch:{}:{}:alarm:{name}",
        call.region, world.account
    );
    let mut v = json!({
        "AlarmName": name,
        "AlarmArn": arn,
        "ActionsEnabled": call.flag("ActionsEnabled").unwrap_or(true),
        "AlarmConfigurationUpdatedTimestamp": time(call.now),
        "StateValue": "INSUFFICIENT_DATA",
        "StateReason": "Unchecked: Initial alarm creation",
        "StateUpdatedTimestamp": time(call.now),
        "OKActions": [],
        "AlarmActions": [],
        "InsufficientDataActions": [],
        "Dimensions": [],
        "_arn": arn,
    });
    if let Value::Object(map) = &mut v {
        let settings: Map<String, Value> = SETTINGS
            .iter()
            .filter_map(|k| Some(((*k).to_owned(), call.at(k)?.clone())))
            .collect();
        map.extend(settings);
    }
    if let Some(row) = world.get_mut(&call.region, TABLE, &name) {
        // The tags of an update are ignored, as AWS does.
        row.v = v;
        return Ok(json!({}).into());
    }
    let row = world.insert(&call.region, TABLE, &name, v, call.now);
    row.tags = tags;
    Ok(json!({}).into())
}

fn describe(world: &mut World, call: &Call) -> Outcome {
    let names = call.texts("AlarmNames");
    let prefix = call.opt("AlarmNamePrefix").unwrap_or_default();
    if !names.is_empty() && !prefix.is_empty() {
        return Err(Refusal::bad(
            "InvalidParameterCombination",
            "AlarmNames and AlarmNamePrefix cannot be used together",
        ));
    }
    if names.len() > 100 {
        return Err(invalid("AlarmNames may name 100 alarms"));
    }
    let all: Vec<Value> = world
        .rows(&call.region, TABLE)
        .filter(|(name, row)| {
            if names.is_empty() {
                name.starts_with(prefix) && row.seen_from <= call.now
            } else {
                names.contains(&name.as_str())
            }
        })
        .map(|(_, r)| r.shown())
        .collect();
    let size = call.int("MaxRecords").unwrap_or(50);
    let size = usize::try_from(size)
        .ok()
        .filter(|n| (1..=100).contains(n))
        .ok_or_else(|| invalid("MaxRecords must be between 1 and 100"))?;
    let from: usize = call
        .opt("NextToken")
        .and_then(|t| t.parse().ok())
        .unwrap_or(0);
    let total = all.len();
    let page: Vec<Value> = all.into_iter().skip(from).take(size).collect();
    let mut answer = json!({"MetricAlarms": page, "CompositeAlarms": []});
    if from + size < total {
        answer["NextToken"] = json!((from + size).to_string());
    }
    Ok(answer.into())
}

fn delete(world: &mut World, call: &Call) -> Outcome {
    let names = call.texts("AlarmNames");
    if names.len() > 100 {
        return Err(invalid("AlarmNames may name 100 alarms"));
    }
    // One alarm that is not there keeps all of them from being deleted.
    for name in &names {
        if world.get(&call.region, TABLE, name).is_none() {
            return Err(Refusal::new(
                404,
                "ResourceNotFound",
                format!("The alarm {name} does not exist"),
            ));
        }
    }
    for name in names {
        world.remove(&call.region, TABLE, name);
    }
    Ok(json!({}).into())
}

fn need<'w>(world: &'w World, call: &Call) -> Result<(String, &'w Row), Refusal> {
    let arn = call.need("ResourceARN")?;
    let name = arn.split_once(":alarm:").map_or(arn, |(_, n)| n);
    match world.get(&call.region, TABLE, name) {
        Some(row) => Ok((name.to_owned(), row)),
        None => Err(Refusal::new(
            404,
            "ResourceNotFoundException",
            format!("Unknown alarm {arn}"),
        )),
    }
}

fn tag(world: &mut World, call: &Call) -> Outcome {
    let (name, row) = need(world, call)?;
    let tags = call.pairs("Tags");
    tag_rules::check(&row.tags, &tags, "InvalidParameterValue", "LimitExceeded")?;
    if let Some(row) = world.get_mut(&call.region, TABLE, &name) {
        row.tags.extend(tags);
    }
    Ok(json!({}).into())
}

fn untag(world: &mut World, call: &Call) -> Outcome {
    let (name, _) = need(world, call)?;
    let keys = call.texts("TagKeys");
    if let Some(row) = world.get_mut(&call.region, TABLE, &name) {
        row.tags.retain(|k, _| !keys.contains(&k.as_str()));
    }
    Ok(json!({}).into())
}

fn list_tags(world: &mut World, call: &Call) -> Outcome {
    let (_, row) = need(world, call)?;
    let tags: Vec<Value> = row
        .tags
        .iter()
        .map(|(k, v)| json!({"Key": k, "Value": v}))
        .collect();
    Ok(json!({"Tags": tags}).into())
}
