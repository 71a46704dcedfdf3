//! `gaps.toml`, read.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::support;

/// What moto lacks, by id.
pub struct Gaps(pub BTreeMap<String, Gap>);

#[derive(Deserialize)]
struct File {
    gap: Vec<Gap>,
}

/// One thing that moto lacks.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "the words are for people")]
pub struct Gap {
    id: String,
    pub service: String,
    action: String,
    lacks: String,
    pub handled: Handled,
}

/// What the tests do about it.
#[derive(Debug, Deserialize, PartialEq, Eq, Clone, Copy)]
#[serde(rename_all = "kebab-case")]
pub enum Handled {
    Patched,
    SwitchedOff,
    Asserted,
}

impl Gaps {
    pub fn read() -> Self {
        let text = std::fs::read_to_string(support("gaps.toml")).unwrap();
        let file: File = toml::from_str(&text).unwrap();
        let count = file.gap.len();
        let gaps: BTreeMap<_, _> = file.gap.into_iter().map(|g| (g.id.clone(), g)).collect();
        assert_eq!(gaps.len(), count, "an id is used twice");
        Self(gaps)
    }

    /// The services that the tests do without.
    pub fn switched_off(&self) -> Vec<String> {
        let off = self
            .0
            .values()
            .filter(|g| g.handled == Handled::SwitchedOff);
        off.map(|g| g.service.clone()).collect()
    }
}
