//! One reading of the live world, and the hash that tells whether it moved.

use std::collections::BTreeMap;

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::journal::State;
use crate::resource::{Address, AnyFound, Readiness};

/// Everything of the site that is there, by address.
#[derive(Debug, Clone, Default)]
pub struct Survey {
    pub found: BTreeMap<Address, AnyFound>,
    /// Addresses seen more than once, with how often: a second thing carries the tags of the first.
    pub doubles: BTreeMap<Address, usize>,
}

impl Survey {
    /// Collects listings of kinds. Of two things that carry the same address, the one that `state` remembers is ours; what
    /// is on its way in or out is no second thing.
    pub fn new(listed: impl IntoIterator<Item = AnyFound>, state: &State) -> Self {
        let mut survey = Self::default();
        let ours = |found: &AnyFound| {
            let known = state.resources.get(&found.address);
            known.is_some_and(|entry| entry.id == found.id)
        };
        for found in listed {
            if let Some(before) = survey.found.get(&found.address) {
                let stands = |found: &AnyFound| matches!(found.readiness, Readiness::Ready(_));
                if stands(before) && stands(&found) {
                    *survey.doubles.entry(found.address.clone()).or_insert(1) += 1;
                }
                if ours(before) || stands(before) && !stands(&found) && !ours(&found) {
                    continue;
                }
            }
            survey.found.insert(found.address.clone(), found);
        }
        survey
    }

    /// Addresses of which nobody can tell which thing is ours.
    pub fn undecided(&self, state: &State) -> Vec<&Address> {
        let open = |address: &&Address| {
            let known = state.resources.get(*address).map(|entry| &entry.id);
            known != self.found.get(*address).map(|found| &found.id)
        };
        self.doubles.keys().filter(open).collect()
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
