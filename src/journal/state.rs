//! What the records add up to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{FORMAT, Record};
use crate::resource::{Address, Outputs};

/// How far a resource is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Somebody meant to create it; whether the call went through is unknown.
    Intended,
    /// Created, not yet ready or not yet configured.
    Made,
    /// Usable.
    Ready,
    /// Somebody meant to remove it; whether the call went through is unknown.
    Leaving,
}

/// What is remembered of one resource.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    pub phase: Phase,
    pub token: String,
    pub id: Value,
    pub output: Value,
    /// Hash of the spec it was made from.
    pub spec: String,
    pub refs: Vec<Address>,
}

/// All that is remembered of a site.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    pub format: u32,
    pub site: String,
    pub account: String,
    pub region: String,
    pub pins: BTreeMap<String, String>,
    pub resources: BTreeMap<Address, Entry>,
    /// The run that began and has not ended: its id and verb.
    pub open_run: Option<(String, String)>,
    /// How many records led here.
    pub records: u64,
}

/// A record that may not follow what went before.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("record {number} ({what}) may not follow: {why}")]
pub struct Succession {
    pub number: u64,
    pub what: String,
    pub why: String,
}

impl State {
    /// Takes one record in. The only place that knows the legal successions.
    pub fn apply(&mut self, record: &Record) -> Result<(), Succession> {
        let number = self.records + 1;
        let refuse = |what: &str, why: String| {
            Err(Succession {
                number,
                what: what.to_owned(),
                why,
            })
        };
        if self.records == 0 && !matches!(record, Record::Opened { .. }) {
            return refuse("anything", "a journal begins with `opened`".into());
        }
        match record {
            Record::Opened {
                format,
                site,
                account,
                region,
            } => {
                if self.records > 0 {
                    return refuse("opened", "the journal is open already".into());
                }
                if *format > FORMAT {
                    return refuse(
                        "opened",
                        format!(
                            "format {format} was written by a newer gantry; this one reads up to {FORMAT}"
                        ),
                    );
                }
                self.format = *format;
                self.site.clone_from(site);
                self.account.clone_from(account);
                self.region.clone_from(region);
            }
            // An empty choice takes the choice back.
            Record::Pinned { key, value } if value.is_empty() => {
                self.pins.remove(key);
            }
            Record::Pinned { key, value } => {
                self.pins.insert(key.clone(), value.clone());
            }
            Record::RunBegan { run, verb, .. } => self.open_run = Some((run.clone(), verb.clone())),
            Record::RunEnded { .. } => self.open_run = None,
            Record::Intent {
                address,
                token,
                spec,
            } => {
                match self.resources.get(address).map(|e| e.phase) {
                    None | Some(Phase::Intended) => {}
                    Some(phase) => return refuse("intent", format!("{address} is {phase:?}")),
                }
                self.resources.insert(
                    address.clone(),
                    Entry {
                        phase: Phase::Intended,
                        token: token.clone(),
                        id: Value::Null,
                        output: Value::Null,
                        spec: spec.clone(),
                        refs: vec![],
                    },
                );
            }
            Record::Made { address, id } => match self.resources.get_mut(address) {
                Some(entry) if entry.phase == Phase::Intended => {
                    entry.phase = Phase::Made;
                    entry.id = id.clone();
                }
                other => {
                    return refuse("made", format!("{address} is {:?}", other.map(|e| e.phase)));
                }
            },
            Record::Ready {
                address,
                id,
                output,
                spec,
                refs,
            } => {
                // Also the record of an adoption: a survey found it, whatever was remembered before.
                let token = self
                    .resources
                    .get(address)
                    .map(|e| e.token.clone())
                    .unwrap_or_default();
                self.resources.insert(
                    address.clone(),
                    Entry {
                        phase: Phase::Ready,
                        token,
                        id: id.clone(),
                        output: output.clone(),
                        spec: spec.clone(),
                        refs: refs.clone(),
                    },
                );
            }
            Record::Leaving { address } => {
                if let Some(entry) = self.resources.get_mut(address) {
                    entry.phase = Phase::Leaving;
                }
            }
            Record::Gone { address } => {
                self.resources.remove(address);
            }
            Record::Failed { .. } => {}
        }
        self.records = number;
        Ok(())
    }

    /// The outputs of everything that is ready.
    pub fn outputs(&self) -> Outputs {
        Outputs(
            self.resources
                .iter()
                .filter(|(_, e)| !e.output.is_null())
                .map(|(a, e)| (a.clone(), e.output.clone()))
                .collect(),
        )
    }

    /// Every text in a remembered id, and whose it is: surveys recognise things by it when tags lag behind.
    pub fn known(&self) -> BTreeMap<String, Address> {
        let mut known = BTreeMap::new();
        for (address, entry) in &self.resources {
            texts(&entry.id, &mut |text| {
                known.insert(text.to_owned(), address.clone());
            });
        }
        known
    }
}

fn texts(value: &Value, see: &mut impl FnMut(&str)) {
    match value {
        Value::String(text) if !text.is_empty() => see(text),
        Value::Object(map) => map.values().for_each(|v| texts(v, see)),
        Value::Array(list) => list.iter().for_each(|v| texts(v, see)),
        _ => {}
    }
}
