//! A plan: one line per resource.

use serde::{Deserialize, Serialize};

use crate::resource::{Address, Diff};

/// What to do with one resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Action {
    /// As wanted.
    Keep,
    Create,
    /// Fields change in place.
    Update {
        diff: Diff,
    },
    /// AWS cannot change these fields: remove it and make it anew.
    Replace {
        diff: Diff,
    },
    /// It exists, but an earlier run did not finish with it: wait for it and configure it.
    Finish,
    /// It exists and carries our tags, but is not remembered: take it over as it is, or put right what differs.
    Adopt {
        diff: Diff,
    },
    /// No longer wanted.
    Delete,
    /// No longer wanted, but it holds data: left alone.
    Retain,
    /// Remembered, but neither wanted nor there.
    Forget,
}

impl Action {
    /// One word for people and machines.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Create => "create",
            Self::Update { .. } => "update",
            Self::Replace { .. } => "replace",
            Self::Finish => "finish",
            Self::Adopt { .. } => "adopt",
            Self::Delete => "delete",
            Self::Retain => "retain",
            Self::Forget => "forget",
        }
    }

    /// Whether install has anything to do for it.
    pub fn changes(&self) -> bool {
        !matches!(self, Self::Keep | Self::Retain)
    }

    /// The fields that differ, where fields are compared.
    pub fn diff(&self) -> Option<&Diff> {
        match self {
            Self::Update { diff } | Self::Replace { diff } | Self::Adopt { diff } => Some(diff),
            _ => None,
        }
    }
}

/// One line of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    pub address: Address,
    pub action: Action,
    /// Why, in a few words; empty where the action says it all.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// What it leans on.
    pub refs: Vec<Address>,
}

/// What a plan was made from: if either moved, the plan is stale.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Basis {
    /// Hash of everything wanted.
    pub wanted: String,
    /// Hash of everything seen and remembered.
    pub world: String,
}

/// Something the plan will not do without an explicit word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    pub address: Address,
    pub why: String,
}

/// All lines, in the order of the blueprint; removals last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    pub format: u32,
    pub site: String,
    pub account: String,
    pub region: String,
    pub changes: Vec<Change>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<Refused>,
    /// What no word makes gantry do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub impossible: Vec<Refused>,
    pub basis: Basis,
}

/// How many lines of each sort.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    pub create: usize,
    pub update: usize,
    pub replace: usize,
    pub finish: usize,
    pub adopt: usize,
    pub delete: usize,
    pub retain: usize,
    pub keep: usize,
}

impl Plan {
    /// Whether install would do nothing.
    pub fn is_empty(&self) -> bool {
        self.refused.is_empty() && !self.changes.iter().any(|c| c.action.changes())
    }

    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for change in &self.changes {
            match change.action {
                Action::Create => totals.create += 1,
                Action::Update { .. } => totals.update += 1,
                Action::Replace { .. } => totals.replace += 1,
                Action::Finish => totals.finish += 1,
                Action::Adopt { .. } => totals.adopt += 1,
                Action::Delete | Action::Forget => totals.delete += 1,
                Action::Retain => totals.retain += 1,
                Action::Keep => totals.keep += 1,
            }
        }
        totals
    }
}
