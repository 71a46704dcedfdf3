//! The state of the strict cloud: rows in tables, and what time will do to them.
//!
//! A row is the thing as AWS would describe it (JSON in the shape of the answer), its tags, and a list of
//! changes that become due: a NAT gateway is `pending` until its time has come. One world is one value:
//! it is cloned to fork a test, compared to see that nothing was left behind, and written to disk as it is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// A moment of cloud time, in milliseconds since 1970.
pub type Millis = i64;

/// The region under which global services (IAM, Route 53) keep their rows.
pub const GLOBAL: &str = "global";

/// One thing in the cloud.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// As AWS describes it. Keys that begin with `_` are the engine's own and never leave it.
    pub v: Value,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    pub born: Millis,
    /// Listings by filter show it from here on; reads by id show it at once.
    pub seen_from: Millis,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub due: Vec<Due>,
}

/// A change that happens by itself when its time has come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Due {
    pub at: Millis,
    pub what: What,
}

/// What becomes of the row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum What {
    /// These top-level fields change (a field set to null is removed).
    Set(Map<String, Value>),
    /// The row vanishes.
    Remove,
}

impl Row {
    /// A text field, empty when absent.
    pub fn text(&self, key: &str) -> &str {
        self.v.get(key).and_then(Value::as_str).unwrap_or_default()
    }

    /// Whether a (possibly engine-own) boolean field is true, written as `true` or `"true"`.
    pub fn is(&self, key: &str) -> bool {
        match self.v.get(key) {
            Some(Value::Bool(b)) => *b,
            Some(Value::String(s)) => s == "true",
            _ => false,
        }
    }

    /// Sets a field now.
    pub fn set(&mut self, key: &str, value: impl Into<Value>) {
        if let Value::Object(map) = &mut self.v {
            map.insert(key.to_owned(), value.into());
        }
    }

    /// The fields as AWS shows them: without the engine's own.
    pub fn shown(&self) -> Value {
        match &self.v {
            Value::Object(map) => Value::Object(
                map.iter()
                    .filter(|(k, _)| !k.starts_with('_'))
                    .map(|(k, v)| (k.clone(), v.clone()))
                    .collect(),
            ),
            other => other.clone(),
        }
    }

    /// Plans a change of fields `after` milliseconds from `now`.
    pub fn later(&mut self, now: Millis, after: Millis, fields: Value) {
        if let Value::Object(map) = fields {
            self.due.push(Due {
                at: now + after,
                what: What::Set(map),
            });
        }
    }

    /// Plans the row's end.
    pub fn vanish(&mut self, now: Millis, after: Millis) {
        self.due.clear();
        self.due.push(Due {
            at: now + after,
            what: What::Remove,
        });
    }
}

/// Rows of one type in one region, by id.
pub type Table = BTreeMap<String, Row>;

/// The whole strict cloud.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct World {
    pub account: String,
    /// Rows by `region/table`.
    pub tables: BTreeMap<String, Table>,
    /// Answers already given to client tokens: `action/token` to (hash of the request, id made).
    pub tokens: BTreeMap<String, (String, String)>,
    /// Counts upwards for ids; never reused.
    pub serial: u64,
    /// How long a new row stays out of listings by filter.
    #[serde(default)]
    pub lag: Millis,
    /// Counts the saves, so that another process notices a newer world.
    #[serde(default)]
    pub generation: u64,
    /// Account limits by quota name, where they differ from AWS's defaults.
    #[serde(default)]
    pub quotas: BTreeMap<String, u64>,
    #[serde(skip)]
    pub dirty: bool,
}

impl World {
    /// An empty account.
    pub fn new(account: &str) -> Self {
        Self {
            account: account.to_owned(),
            lag: 1_500,
            ..Self::default()
        }
    }

    /// The rows of one table.
    pub fn rows(&self, region: &str, table: &str) -> impl Iterator<Item = (&String, &Row)> {
        self.tables.get(&key(region, table)).into_iter().flatten()
    }

    /// The rows a listing by filter shows at `now`.
    pub fn seen(
        &self,
        region: &str,
        table: &str,
        now: Millis,
    ) -> impl Iterator<Item = (&String, &Row)> {
        self.rows(region, table)
            .filter(move |(_, r)| r.seen_from <= now)
    }

    /// One table, to change. Marks the world as changed.
    pub fn table(&mut self, region: &str, table: &str) -> &mut Table {
        self.dirty = true;
        self.tables.entry(key(region, table)).or_default()
    }

    pub fn get(&self, region: &str, table: &str, id: &str) -> Option<&Row> {
        self.tables.get(&key(region, table))?.get(id)
    }

    /// One row, to change. Marks the world as changed.
    pub fn get_mut(&mut self, region: &str, table: &str, id: &str) -> Option<&mut Row> {
        self.dirty = true;
        self.tables.get_mut(&key(region, table))?.get_mut(id)
    }

    /// Adds a row; listings by filter show it only after the world's lag.
    pub fn insert(
        &mut self,
        region: &str,
        table: &str,
        id: &str,
        v: Value,
        now: Millis,
    ) -> &mut Row {
        let seen_from = now + self.lag;
        let row = Row {
            v,
            born: now,
            seen_from,
            ..Row::default()
        };
        let table = self.table(region, table);
        table.insert(id.to_owned(), row);
        table.entry(id.to_owned()).or_default()
    }

    pub fn remove(&mut self, region: &str, table: &str, id: &str) -> Option<Row> {
        self.dirty = true;
        self.tables.get_mut(&key(region, table))?.remove(id)
    }

    /// A fresh id in AWS's form: `vpc-0123456789abcdef0`.
    pub fn id(&mut self, prefix: &str) -> String {
        format!("{prefix}-{}", self.hex(17))
    }

    /// Fresh lowercase hexadecimal digits, never the same twice.
    pub fn hex(&mut self, digits: usize) -> String {
        self.serial += 1;
        self.dirty = true;
        let mut text: String = Sha256::digest(format!("{}/{}", self.account, self.serial))
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        text.truncate(digits);
        text
    }

    /// The limit of this name: the world's own, or AWS's default.
    pub fn quota(&self, name: &str, default: u64) -> u64 {
        self.quotas.get(name).copied().unwrap_or(default)
    }

    /// Lets everything happen that is due by `now`.
    pub fn tick(&mut self, now: Millis) {
        for table in self.tables.values_mut() {
            let due = table.values().any(|r| r.due.iter().any(|d| d.at <= now));
            if !due {
                continue;
            }
            self.dirty = true;
            table.retain(|_, row| pass(row, now));
        }
        self.tables.retain(|_, t| !t.is_empty());
    }
}

/// Applies what is due to one row; false when it vanishes.
fn pass(row: &mut Row, now: Millis) -> bool {
    row.due.sort_by_key(|d| d.at);
    while row.due.first().is_some_and(|d| d.at <= now) {
        match row.due.remove(0).what {
            What::Remove => return false,
            What::Set(fields) => {
                for (k, v) in fields {
                    if let Value::Object(map) = &mut row.v {
                        if v.is_null() {
                            map.remove(&k);
                        } else {
                            map.insert(k, v);
                        }
                    }
                }
            }
        }
    }
    true
}

fn key(region: &str, table: &str) -> String {
    format!("{region}/{table}")
}
