//! Whether two worlds are the same, although every id in them differs.
//!
//! A picture of a world shows each row by what it is (its `gantry:address`, or its content where it has none),
//! with ids, addresses and moments masked. Equal pictures mean: the same things, as often, set up alike.

use std::collections::{BTreeMap, BTreeSet};

use gantry::sandbox::world::{Row, World};
use serde_json::Value;

/// One line a row, sorted: `table | address | tags | fields`.
pub fn picture(world: &World) -> Vec<String> {
    let names = names(world);
    let mut lines = Vec::new();
    for (table, rows) in &world.tables {
        for row in rows.values() {
            lines.push(line(table, row, &names));
        }
    }
    lines.sort();
    lines
}

/// What one picture has and the other has not; empty when the worlds are the same.
pub fn difference(left: &[String], right: &[String]) -> Vec<String> {
    let mut counts: BTreeMap<&String, i64> = BTreeMap::new();
    for line in left {
        *counts.entry(line).or_default() += 1;
    }
    for line in right {
        *counts.entry(line).or_default() -= 1;
    }
    let (before, after): (Vec<_>, Vec<_>) = counts
        .into_iter()
        .filter(|(_, n)| *n != 0)
        .partition(|(_, n)| *n > 0);
    let mut after: Vec<&String> = after.into_iter().map(|(line, _)| line).collect();
    let mut told = Vec::new();
    for (line, _) in before {
        let head = line.split(" | ").take(2).collect::<Vec<_>>();
        let twin = after
            .iter()
            .position(|a| a.split(" | ").take(2).eq(head.iter().copied()));
        match twin {
            Some(twin) => told.push(apart(line, after.remove(twin))),
            None => told.push(format!("only before: {}", cut(line, 0))),
        }
    }
    told.extend(
        after
            .into_iter()
            .map(|line| format!("only after: {}", cut(line, 0))),
    );
    told
}

/// Where two pictures of one row part.
fn apart(before: &str, after: &str) -> String {
    let same = before
        .bytes()
        .zip(after.bytes())
        .take_while(|(a, b)| a == b)
        .count();
    let from = same.saturating_sub(60);
    let head: String = before.chars().take(70).collect();
    format!(
        "{head}: before …{} / after …{}",
        cut(before, from),
        cut(after, from)
    )
}

fn cut(line: &str, from: usize) -> String {
    String::from_utf8_lossy(line.as_bytes().get(from..).unwrap_or_default())
        .chars()
        .take(260)
        .collect()
}

/// Ids of rows that carry an address, and that address.
fn names(world: &World) -> BTreeMap<String, String> {
    let mut names = BTreeMap::new();
    for table in world.tables.values() {
        for (id, row) in table {
            if let Some(address) = row.tags.get("gantry:address") {
                names.insert(id.clone(), address.clone());
            }
        }
    }
    names
}

fn line(table: &str, row: &Row, names: &BTreeMap<String, String>) -> String {
    let address = row.tags.get("gantry:address").map_or("-", String::as_str);
    let tags: BTreeMap<_, _> = row.tags.iter().map(|(k, v)| (k, mask(v, names))).collect();
    let fields = show(&row.v, names);
    format!("{table} | {address} | {tags:?} | {fields}")
}

/// Keys whose values are moments, secrets or random by nature.
fn moment(key: &str) -> bool {
    key.contains("Time")
        || key.contains("Date")
        || key.starts_with("_value")
        || key == "_version"
        || key == "clientToken"
        || key == "createdAt"
        || key == "_usableFrom"
        || key == "since"
        || key == "CallerReference"
        || key == "_etag"
        || key == "ETag"
}

fn show(value: &Value, names: &BTreeMap<String, String>) -> String {
    match value {
        Value::Object(map) => {
            let fields: BTreeMap<_, _> = map
                .iter()
                .filter(|(k, _)| !moment(k))
                .map(|(k, v)| (mask(k, names), show(v, names)))
                .collect();
            format!("{fields:?}")
        }
        Value::Array(items) => {
            // The order of answers is not part of what a thing is.
            let items: BTreeSet<_> = items.iter().map(|v| show(v, names)).collect();
            format!("{items:?}")
        }
        Value::String(text) => mask(text, names),
        Value::Number(n) if n.as_f64().is_some_and(|n| n > 1e9) => "moment".into(),
        other => other.to_string(),
    }
}

/// Replaces known ids by addresses, then whatever looks random: long hexadecimal runs and addresses.
fn mask(text: &str, names: &BTreeMap<String, String>) -> String {
    let stamp = text.len() >= 20 && text.ends_with('Z') && text.as_bytes()[10] == b'T';
    if stamp {
        return "moment".into();
    }
    if let Some(name) = names.get(text) {
        return format!("<{name}>");
    }
    let mut out = String::new();
    let mut word = String::new();
    for c in text.chars().chain(std::iter::once('\0')) {
        if c.is_ascii_alphanumeric() {
            word.push(c);
            continue;
        }
        let hex = word.len() >= 6
            && word.chars().all(|c| c.is_ascii_hexdigit())
            && word.chars().any(|c| c.is_ascii_digit());
        let number =
            !word.is_empty() && word.len() <= 3 && word.chars().all(|c| c.is_ascii_digit());
        // The middle of a UUID.
        let hex = hex
            || (word.len() == 4
                && out.ends_with("#-")
                && word.chars().all(|c| c.is_ascii_hexdigit()));
        // AWS's ids of roles and profiles: AROA…, AIPA….
        let shouted = word.len() >= 16
            && word
                .chars()
                .all(|c| c.is_ascii_digit() || c.is_ascii_uppercase());
        let random = hex
            || shouted
            || (number && text.matches('.').count() >= 3)
            || (number && text.starts_with("ip-"));
        out.push_str(if random && word != "123456789012" {
            "#"
        } else {
            &word
        });
        word.clear();
        if c != '\0' {
            out.push(c);
        }
    }
    out
}
