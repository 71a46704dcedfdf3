//! Where records go: a file of JSON lines, or memory for tests.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::{Record, State, Succession};
use crate::lines::{self, Lines, LinesError};

/// The journal could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("the journal: {0}")]
    Lines(#[from] LinesError),
    #[error("{path}: {source}")]
    Succession { path: PathBuf, source: Succession },
}

/// A place for records. What `append` returned for is on disk.
pub trait Store: Send + Sync {
    /// Writes one record, to stay.
    fn append(&self, record: &Record) -> Result<(), JournalError>;
    /// What all records add up to, as of now. Shared: to ask costs nothing, whatever the size of the site.
    fn state(&self) -> Arc<State>;
}

/// A hook of tests: told about each record before it is written and after; may stop the world there.
pub type Gate = Arc<dyn Fn(u64, &Record) -> bool + Send + Sync>;

/// The journal of a site in its state directory: `journal.jsonl`.
pub struct LocalStore {
    path: PathBuf,
    inner: Mutex<(Lines, Arc<State>)>,
}

fn path_in(dir: &Path) -> PathBuf {
    dir.join("journal.jsonl")
}

impl LocalStore {
    /// Reads the journal, or begins one.
    pub fn open(dir: &Path) -> Result<Self, JournalError> {
        let path = path_in(dir);
        let mut state = State::default();
        let lines = Lines::open(&path, |record| follow(&mut state, &path, &record))?;
        Ok(Self {
            path,
            inner: Mutex::new((lines, Arc::new(state))),
        })
    }

    /// What the journal in `dir` says, without opening it for writing; an empty state where there is none.
    pub fn peek(dir: &Path) -> Result<State, JournalError> {
        let (path, mut state) = (path_in(dir), State::default());
        lines::read(&path, |record| follow(&mut state, &path, &record))?;
        Ok(state)
    }

    /// Starts over with these records, keeping the old journal beside the new one.
    pub fn rewrite(
        dir: &Path,
        records: &[Record],
        now: jiff::Timestamp,
    ) -> Result<(), JournalError> {
        let old = dir.join(format!("journal.{}.jsonl", now.as_second()));
        Ok(lines::replace(&path_in(dir), records, &old)?)
    }
}

fn follow(state: &mut State, path: &Path, record: &Record) -> Result<(), JournalError> {
    state
        .apply(record)
        .map_err(|source| JournalError::Succession {
            path: path.to_owned(),
            source,
        })
}

impl Store for LocalStore {
    fn append(&self, record: &Record) -> Result<(), JournalError> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let (lines, state) = &mut *inner;
        follow(Arc::make_mut(state), &self.path, record)?;
        Ok(lines.append(record)?)
    }

    fn state(&self) -> Arc<State> {
        self.inner
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .1
            .clone()
    }
}

/// A journal in memory; a gate may cut it, as a crash would.
#[derive(Default)]
pub struct MemoryStore {
    records: Mutex<(Vec<Record>, Arc<State>)>,
    gate: Mutex<Option<Gate>>,
}

impl MemoryStore {
    /// A journal that already holds these records. Records that may not follow are a defect of the test.
    pub fn with(records: &[Record]) -> Result<Self, Succession> {
        let mut state = State::default();
        for record in records {
            state.apply(record)?;
        }
        Ok(Self {
            records: Mutex::new((records.to_vec(), Arc::new(state))),
            gate: Mutex::default(),
        })
    }

    /// A journal that remembers this, for sessions that only read.
    pub fn remembering(state: State) -> Self {
        Self {
            records: Mutex::new((vec![], Arc::new(state))),
            gate: Mutex::default(),
        }
    }

    /// Asks `gate` after each record; when it says no, nothing is written any more.
    pub fn gate(&self, gate: Gate) {
        *self.gate.lock().unwrap_or_else(PoisonError::into_inner) = Some(gate);
    }

    /// All records so far.
    pub fn records(&self) -> Vec<Record> {
        self.records
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .0
            .clone()
    }
}

impl Store for MemoryStore {
    fn append(&self, record: &Record) -> Result<(), JournalError> {
        let gate = self
            .gate
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let number = self.state().records;
        // Asked without a lock held: a gate may look at the records so far.
        if gate.is_some_and(|gate| !gate(number, record)) {
            return Err(LinesError::Io {
                path: "memory".into(),
                source: std::io::Error::other("the test ended the process here"),
            }
            .into());
        }
        let mut inner = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        follow(Arc::make_mut(&mut inner.1), Path::new("memory"), record)?;
        inner.0.push(record.clone());
        Ok(())
    }

    fn state(&self) -> Arc<State> {
        self.records
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .1
            .clone()
    }
}
