//! What a procedure has done so far, one JSON line a fact, on disk before the next thing happens.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::lines::{self, Lines, LinesError};

/// The ledger's present format.
pub const FORMAT: u32 = 1;

/// One fact about a procedure. Holds no secret.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "snake_case")]
pub enum Entry {
    /// First line: which procedure this is, and what it was asked to do. `id` is the run that began it; a run that
    /// takes it up keeps this id, so that names made of it stay the same.
    Began {
        format: u32,
        id: String,
        verb: String,
        ask: Value,
        at: Timestamp,
    },
    /// A stage is about to begin (again).
    Started { stage: String, at: Timestamp },
    /// It is done, and this is what later stages may read.
    Done {
        stage: String,
        output: Value,
        at: Timestamp,
    },
    Failed {
        stage: String,
        fault: String,
        at: Timestamp,
    },
    /// The mark it left is taken away again.
    Released { stage: String, at: Timestamp },
    /// Nothing is left to do, or nobody will: `done`, or why not.
    Ended { outcome: String, at: Timestamp },
}

impl Entry {
    /// When it was written down.
    pub fn at(&self) -> Timestamp {
        match self {
            Self::Began { at, .. }
            | Self::Started { at, .. }
            | Self::Done { at, .. }
            | Self::Failed { at, .. }
            | Self::Released { at, .. }
            | Self::Ended { at, .. } => *at,
        }
    }
}

/// The ledger could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("the record of a procedure: {0}")]
pub struct LedgerError(#[from] LinesError);

/// What all entries add up to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Story {
    pub id: String,
    pub verb: String,
    pub ask: Value,
    pub began: Option<Timestamp>,
    pub stages: BTreeMap<String, StageStory>,
    /// When something was last written down.
    pub last: Option<Timestamp>,
    /// `done`, or why nobody goes on.
    pub ended: Option<String>,
}

/// What became of one stage.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StageStory {
    pub started: Option<Timestamp>,
    pub done: Option<(Value, Timestamp)>,
    /// Whether the mark that it leaves may still be there.
    pub marked: bool,
    pub fault: Option<String>,
}

impl Story {
    pub fn apply(&mut self, entry: &Entry) {
        self.last = self.last.max(Some(entry.at()));
        match entry {
            Entry::Began {
                id, verb, ask, at, ..
            } => {
                self.id.clone_from(id);
                self.verb.clone_from(verb);
                self.ask = ask.clone();
                self.began = Some(*at);
            }
            Entry::Started { stage, at } => {
                let stage = self.stages.entry(stage.clone()).or_default();
                stage.started.get_or_insert(*at);
                stage.done = None;
                stage.marked = true;
            }
            Entry::Done { stage, output, at } => {
                let stage = self.stages.entry(stage.clone()).or_default();
                stage.done = Some((output.clone(), *at));
                stage.fault = None;
            }
            Entry::Failed { stage, fault, .. } => {
                self.stages.entry(stage.clone()).or_default().fault = Some(fault.clone());
            }
            Entry::Released { stage, .. } => {
                let stage = self.stages.entry(stage.clone()).or_default();
                stage.marked = false;
            }
            Entry::Ended { outcome, .. } => self.ended = Some(outcome.clone()),
        }
    }

    /// The output of a stage that is done.
    pub fn output(&self, stage: &str) -> Option<&Value> {
        Some(&self.stages.get(stage)?.done.as_ref()?.0)
    }
}

/// A place for entries. What `append` returned for is on disk.
pub trait Ledger: Send + Sync {
    fn append(&self, entry: &Entry) -> Result<(), LedgerError>;
    fn story(&self) -> Story;
}

/// A procedure's file in the site's state directory: `procedures/<id>.jsonl`.
pub struct FileLedger {
    inner: Mutex<(Lines, Story)>,
}

fn folder(site_dir: &Path) -> PathBuf {
    site_dir.join("procedures")
}

impl FileLedger {
    /// Opens the file of the procedure `id`, or starts it.
    pub fn open(site_dir: &Path, id: &str) -> Result<Self, LedgerError> {
        let path = folder(site_dir).join(format!("{id}.jsonl"));
        let mut story = Story::default();
        let lines = Lines::open(&path, |entry| {
            story.apply(&entry);
            Ok::<(), LedgerError>(())
        })?;
        Ok(Self {
            inner: Mutex::new((lines, story)),
        })
    }

    /// The procedure of this verb that was begun last and has not ended, if there is one.
    pub fn unfinished(site_dir: &Path, verb: &str) -> Result<Option<Story>, LedgerError> {
        let mut stories = Self::all(site_dir)?;
        stories.retain(|story| story.verb == verb && story.ended.is_none());
        Ok(stories.pop())
    }

    /// Every procedure the state directory remembers, oldest first.
    pub fn all(site_dir: &Path) -> Result<Vec<Story>, LedgerError> {
        let folder = folder(site_dir);
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(vec![]),
            Err(source) => {
                return Err(LedgerError(LinesError::Io {
                    path: folder,
                    source,
                }));
            }
        };
        let mut paths: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|end| end == "jsonl"))
            .collect();
        paths.sort();
        let mut stories = Vec::new();
        for path in paths {
            let mut story = Story::default();
            lines::read(&path, |entry| {
                story.apply(&entry);
                Ok::<(), LedgerError>(())
            })?;
            // A file without a whole first line is of a procedure that never began.
            if story.began.is_some() {
                stories.push(story);
            }
        }
        stories.sort_by(|a, b| (a.began, &a.id).cmp(&(b.began, &b.id)));
        Ok(stories)
    }
}

impl Ledger for FileLedger {
    fn append(&self, entry: &Entry) -> Result<(), LedgerError> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let (lines, story) = &mut *inner;
        lines.append(entry)?;
        story.apply(entry);
        Ok(())
    }

    fn story(&self) -> Story {
        self.inner
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .1
            .clone()
    }
}

/// A hook of tests: told about each entry before it is written; when it says no, the process has died there.
pub type Gate = Arc<dyn Fn(usize, &Entry) -> bool + Send + Sync>;

/// A ledger in memory. Clones are the same ledger.
#[derive(Default, Clone)]
pub struct MemoryLedger {
    inner: Arc<Mutex<(Vec<Entry>, Story)>>,
    gate: Option<Gate>,
}

impl MemoryLedger {
    /// A ledger that already holds these entries.
    pub fn with(entries: &[Entry]) -> Self {
        let mut story = Story::default();
        for entry in entries {
            story.apply(entry);
        }
        Self {
            inner: Arc::new(Mutex::new((entries.to_vec(), story))),
            gate: None,
        }
    }

    #[must_use]
    pub fn gated(mut self, gate: Gate) -> Self {
        self.gate = Some(gate);
        self
    }

    /// All entries so far.
    pub fn entries(&self) -> Vec<Entry> {
        self.inner
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .0
            .clone()
    }
}

impl Ledger for MemoryLedger {
    fn append(&self, entry: &Entry) -> Result<(), LedgerError> {
        let number = self.entries().len();
        // Asked without a lock held: a gate may look at the entries so far.
        if self.gate.as_ref().is_some_and(|gate| !gate(number, entry)) {
            return Err(LedgerError(LinesError::Io {
                path: "memory".into(),
                source: std::io::Error::other("the test ended the process here"),
            }));
        }
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.1.apply(entry);
        inner.0.push(entry.clone());
        Ok(())
    }

    fn story(&self) -> Story {
        self.inner
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .1
            .clone()
    }
}
