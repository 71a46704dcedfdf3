//! What gantry told the world: metric data and messages, for tests to read. AWS shows the first as statistics
//! only, and the second not at all.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use super::Sandbox;
use super::world::{Row, World};

pub(super) const METRICS: &str = "cloudwatch/datum";
pub(super) const MESSAGES: &str = "sns/message";

/// One value of a metric.
#[derive(Debug, Clone, PartialEq)]
pub struct Datum {
    pub region: String,
    pub namespace: String,
    pub metric: String,
    pub dimensions: BTreeMap<String, String>,
    pub value: f64,
    /// AWS's word, `None` when none was given.
    pub unit: String,
    pub at: Timestamp,
}

/// One message to a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub region: String,
    pub topic: String,
    /// Empty when there was none.
    pub subject: String,
    pub text: String,
    pub at: Timestamp,
}

impl Sandbox {
    /// Every value put so far, in the order in which they came.
    pub fn metrics(&self) -> Vec<Datum> {
        told(&self.world(), METRICS, |region, row| Datum {
            region,
            namespace: row.text("Namespace").to_owned(),
            metric: row.text("MetricName").to_owned(),
            dimensions: named(&row.v["Dimensions"]),
            value: row.v["Value"].as_f64().unwrap_or_default(),
            unit: row.text("Unit").to_owned(),
            at: moment(row.v["Timestamp"].as_i64()),
        })
    }

    /// Every message published so far, in the order in which they came.
    pub fn messages(&self) -> Vec<Message> {
        told(&self.world(), MESSAGES, |region, row| Message {
            region,
            topic: row.text("TopicArn").to_owned(),
            subject: row.text("Subject").to_owned(),
            text: row.text("Message").to_owned(),
            at: moment(Some(row.born)),
        })
    }
}

fn told<T>(world: &World, table: &str, read: impl Fn(String, &Row) -> T) -> Vec<T> {
    let end = format!("/{table}");
    let mut rows: Vec<(u64, String, &Row)> = world
        .tables
        .iter()
        .filter_map(|(place, rows)| Some((place.strip_suffix(&end)?, rows)))
        .flat_map(|(region, rows)| rows.values().map(move |row| (region, row)))
        .map(|(region, row)| (order(row), region.to_owned(), row))
        .collect();
    rows.sort_by_key(|(order, ..)| *order);
    rows.into_iter()
        .map(|(_, region, row)| read(region, row))
        .collect()
}

fn order(row: &Row) -> u64 {
    row.v["_order"].as_u64().unwrap_or_default()
}

fn named(dimensions: &Value) -> BTreeMap<String, String> {
    dimensions
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|d| {
            let text = |key: &str| d[key].as_str().map(str::to_owned);
            Some((text("Name")?, text("Value")?))
        })
        .collect()
}

fn moment(millis: Option<i64>) -> Timestamp {
    Timestamp::from_millisecond(millis.unwrap_or_default()).unwrap_or_default()
}

/// Keeps one, in the order in which it came.
pub(super) fn keep(world: &mut World, region: &str, table: &str, mut v: Value, now: i64) -> String {
    let id = world.hex(32);
    v["_order"] = world.serial.into();
    world.insert(region, table, &id, v, now);
    id
}
