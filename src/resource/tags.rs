//! The tags every resource carries from the moment it is made.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Address;

/// Which site a resource belongs to.
pub const SITE_TAG: &str = "gantry:site";
/// Which resource of the blueprint it is.
pub const ADDRESS_TAG: &str = "gantry:address";
/// What a node, or a node's volume, runs.
pub const ROLE_TAG: &str = "gantry:role";
/// Which recovery point a snapshot belongs to.
pub const POINT_TAG: &str = "gantry:point";
/// On what a drill makes, and only there, with the name of the site it is a drill of: nothing without it is removed.
pub const DRILL_TAG: &str = "gantry:drill";

/// Tags by key; always sorted, so that two equal sets compare equal.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tags(pub BTreeMap<String, String>);

impl Tags {
    pub fn new() -> Self {
        Self::default()
    }

    #[must_use]
    pub fn with(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.0.insert(key.into(), value.into());
        self
    }

    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(k, v)| (k.as_str(), v.as_str()))
    }

    /// The address in `gantry:address`, if there is a readable one.
    pub fn address(&self) -> Option<Address> {
        self.get(ADDRESS_TAG)?.parse().ok()
    }

    /// Without the tags AWS itself puts on (`aws:…`), which nobody can change.
    #[must_use]
    pub fn ours(&self) -> Self {
        Self(
            self.0
                .iter()
                .filter(|(k, _)| !k.starts_with("aws:"))
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect(),
        )
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Tags {
    fn from_iter<T: IntoIterator<Item = (K, V)>>(pairs: T) -> Self {
        Self(
            pairs
                .into_iter()
                .map(|(k, v)| (k.into(), v.into()))
                .collect(),
        )
    }
}
