//! One reading of the live world, and the hash that tells whether it moved.

use std::collections::BTreeMap;

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::resource::{Address, AnyFound};

/// Everything of the site that is there, by address.
#[derive(Debug, Clone, Default)]
pub struct Survey {
    pub found: BTreeMap<Address, AnyFound>,
    /// Addresses seen more than once, with how often: a second thing carries the tags of the first.
    pub doubles: BTreeMap<Address, usize>,
}

impl Survey {
    /// Collects listings of kinds.
    pub fn new(listed: impl IntoIterator<Item = AnyFound>) -> Self {
        let mut survey = Self::default();
        for found in listed {
            if survey.found.contains_key(&found.address) {
                *survey.doubles.entry(found.address.clone()).or_insert(1) += 1;
            }
            survey.found.insert(found.address.clone(), found);
        }
        survey
    }
}

/// A short hash of anything that can be written as JSON.
pub fn fingerprint(value: &impl Serialize) -> String {
    let text = serde_json::to_string(value).unwrap_or_default();
    Sha256::digest(text)
        .iter()
        .take(12)
        .map(|b| format!("{b:02x}"))
        .collect()
}
