//! What databases and disks hold: a text that stands for everything people wrote into them.
//!
//! The cloud itself never shows it. It goes where the data goes: into snapshots and their copies, and out of
//! them again, so that a restored world can be compared with the original.

use serde_json::{Value, json};

use super::Sandbox;
use super::world::{Millis, Row};

/// The hidden field of a row.
pub(super) const CONTENT: &str = "_content";
/// Of a database, what it held from when on: for restores to a point in time.
const PAST: &str = "_past";

/// A thing that holds data, by what names it in its region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder<'a> {
    /// A database by its identifier. A read replica holds what its source holds.
    Database(&'a str),
    /// A snapshot of a database by its identifier.
    DatabaseSnapshot(&'a str),
    /// An EBS volume by its id.
    Volume(&'a str),
    /// An EBS snapshot by its id.
    VolumeSnapshot(&'a str),
}

impl Holder<'_> {
    fn place(&self) -> (&'static str, &str) {
        match self {
            Self::Database(id) => ("rds/db_instance", id),
            Self::DatabaseSnapshot(id) => ("rds/snapshot", id),
            Self::Volume(id) => ("ec2/volume", id),
            Self::VolumeSnapshot(id) => ("ec2/snapshot", id),
        }
    }
}

impl Sandbox {
    /// What is written in it: empty when nothing is, nothing when there is no such thing.
    pub fn content(&self, region: &str, of: Holder<'_>) -> Option<String> {
        let world = self.world();
        let (table, id) = of.place();
        let row = world.get(region, table, id)?;
        let source = row.text("ReadReplicaSourceDBInstanceIdentifier");
        let row = world.get(region, table, source).unwrap_or(row);
        Some(row.text(CONTENT).to_owned())
    }

    /// Writes it anew, as the people who use it do; false when there is no such thing. Kept like any other change
    /// of the world.
    pub fn set_content(&self, region: &str, of: Holder<'_>, text: &str) -> bool {
        let now = self.now();
        let (table, id) = of.place();
        self.edit(now, |world| match world.get_mut(region, table, id) {
            None => false,
            Some(row) => {
                write(row, text, now);
                true
            }
        })
    }
}

fn write(row: &mut Row, text: &str, now: Millis) {
    row.set(CONTENT, text);
    let mut past = row.v.get(PAST).cloned().unwrap_or_else(|| json!([]));
    if let Value::Array(list) = &mut past {
        list.push(json!([now, text]));
    }
    row.set(PAST, past);
}

/// What a database held at a moment: what was written last before it.
pub(super) fn held_at(row: &Row, at: Millis) -> Value {
    let past = row.v.get(PAST).and_then(Value::as_array);
    let before = |entry: &&Value| entry[0].as_i64().is_some_and(|from| from <= at);
    let last = past.into_iter().flatten().rfind(before);
    last.map(|entry| entry[1].clone()).unwrap_or_default()
}

/// What it holds now, as a field for the row of a snapshot.
pub(super) fn held(row: &Row) -> Value {
    row.v.get(CONTENT).cloned().unwrap_or_default()
}

/// Lets a new thing begin with this content.
pub(super) fn fill(row: &mut Row, content: &Value) {
    if let Some(text) = content.as_str() {
        write(row, text, 0);
    }
}
