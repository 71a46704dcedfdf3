//! The difference between what is wanted and what is there, field by field.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a changed field asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum How {
    /// AWS can change it in place.
    Update,
    /// AWS cannot: the resource must be made anew.
    Replace,
}

/// One field that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldChange {
    pub field: String,
    pub have: Value,
    pub want: Value,
    pub how: How,
}

/// All fields that differ; empty when the live thing is as wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diff {
    pub fields: Vec<FieldChange>,
    /// Why gantry does not do it, whatever word is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub impossible: Option<String>,
}

/// Stands in a plan for a value that AWS will choose when the resource is made.
pub const KNOWN_LATER: &str = "(known after it is made)";

impl Diff {
    pub fn new() -> Self {
        Self::default()
    }

    /// A field that AWS changes in place. The two sides are compared as JSON.
    #[must_use]
    pub fn field(self, name: &str, want: impl Serialize, have: impl Serialize) -> Self {
        self.push(name, want, have, How::Update)
    }

    /// A field that cannot change: a difference replaces the resource.
    #[must_use]
    pub fn fixed(self, name: &str, want: impl Serialize, have: impl Serialize) -> Self {
        self.push(name, want, have, How::Replace)
    }

    /// Says that the difference stays, and why; none leaves it as it is.
    #[must_use]
    pub fn impossible(mut self, why: Option<String>) -> Self {
        self.impossible = why;
        self
    }

    fn push(mut self, name: &str, want: impl Serialize, have: impl Serialize, how: How) -> Self {
        let want = serde_json::to_value(want).unwrap_or(Value::Null);
        let have = serde_json::to_value(have).unwrap_or(Value::Null);
        if want != have {
            self.fields.push(FieldChange {
                field: name.to_owned(),
                have,
                want,
                how,
            });
        }
        self
    }

    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Whether any field asks for a new resource.
    pub fn replaces(&self) -> bool {
        self.fields.iter().any(|f| f.how == How::Replace)
    }

    /// Whether the field of this name differs.
    pub fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|f| f.field == name)
    }

    /// Whether any of these fields differs.
    pub fn has_any(&self, names: &[&str]) -> bool {
        names.iter().any(|n| self.has(n))
    }
}

/// What `configure` is asked to put right: everything (just made), or what the diff names.
#[derive(Debug, Clone, Copy)]
pub enum Change<'a> {
    /// The resource was just made: set all that `create` could not.
    All,
    /// The resource exists and these fields differ.
    Fields(&'a Diff),
}

impl Change<'_> {
    /// Whether any of these fields is to be set.
    pub fn touches(&self, names: &[&str]) -> bool {
        match self {
            Self::All => true,
            Self::Fields(diff) => diff.has_any(names),
        }
    }
}
