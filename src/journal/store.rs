//! Where records go: a file of JSON lines, or memory for tests.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::{Record, State, Succession};

/// The journal could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("cannot use the journal {path}: {source}")]
    Io {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{path}, line {line}: not a journal record: {source}")]
    Format {
        path: PathBuf,
        line: usize,
        source: serde_json::Error,
    },
    #[error("{path}: {source}")]
    Succession { path: PathBuf, source: Succession },
}

/// A place for records. What `append` returned for is on disk.
pub trait Store: Send + Sync {
    /// Writes one record, to stay.
    fn append(&self, record: &Record) -> Result<(), JournalError>;
    /// What all records add up to.
    fn state(&self) -> State;
}

/// A hook of tests: told about each record before it is written and after; may stop the world there.
pub type Gate = Arc<dyn Fn(u64, &Record) -> bool + Send + Sync>;

/// The journal of a site in its state directory: `journal.jsonl`.
pub struct LocalStore {
    path: PathBuf,
    inner: Mutex<(File, State)>,
}

impl LocalStore {
    /// Reads the journal, or starts none: the file appears with the first record.
    ///
    /// A last line cut short by a crash never happened (its flush had not returned) and is dropped.
    pub fn open(dir: &Path) -> Result<Self, JournalError> {
        let path = dir.join("journal.jsonl");
        let io = |source| JournalError::Io {
            path: path.clone(),
            source,
        };
        fs::create_dir_all(dir).map_err(io)?;
        let (state, whole) = read(&path)?;
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(io)?;
        file.set_len(whole).map_err(io)?;
        Ok(Self {
            path,
            inner: Mutex::new((file, state)),
        })
    }

    /// What the journal in `dir` says, without opening it for writing; an empty state where there is none.
    pub fn peek(dir: &Path) -> Result<State, JournalError> {
        Ok(read(&dir.join("journal.jsonl"))?.0)
    }

    /// Starts over with these records, keeping the old journal beside the new one.
    pub fn rewrite(
        dir: &Path,
        records: &[Record],
        now: jiff::Timestamp,
    ) -> Result<(), JournalError> {
        let path = dir.join("journal.jsonl");
        let io = |source| JournalError::Io {
            path: path.clone(),
            source,
        };
        fs::create_dir_all(dir).map_err(io)?;
        let fresh = dir.join("journal.jsonl.new");
        let mut file = File::create(&fresh).map_err(io)?;
        for record in records {
            file.write_all(line(record).as_bytes()).map_err(io)?;
        }
        file.sync_all().map_err(io)?;
        if path.exists() {
            fs::rename(
                &path,
                dir.join(format!("journal.{}.jsonl", now.as_second())),
            )
            .map_err(io)?;
        }
        fs::rename(&fresh, &path).map_err(io)
    }
}

fn line(record: &Record) -> String {
    // A record is plain data: writing it as JSON cannot fail.
    let mut text = serde_json::to_string(record).unwrap_or_default();
    text.push('\n');
    text
}

/// State and length of the whole lines of a journal file.
fn read(path: &Path) -> Result<(State, u64), JournalError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok((State::default(), 0)),
        Err(source) => {
            return Err(JournalError::Io {
                path: path.to_owned(),
                source,
            });
        }
    };
    let mut state = State::default();
    let mut whole = 0;
    let mut reader = BufReader::new(file);
    let mut text = String::new();
    for number in 1.. {
        text.clear();
        let length = reader
            .read_line(&mut text)
            .map_err(|source| JournalError::Io {
                path: path.to_owned(),
                source,
            })?;
        if length == 0 || !text.ends_with('\n') {
            break;
        }
        let record = serde_json::from_str(&text).map_err(|source| JournalError::Format {
            path: path.to_owned(),
            line: number,
            source,
        })?;
        state
            .apply(&record)
            .map_err(|source| JournalError::Succession {
                path: path.to_owned(),
                source,
            })?;
        whole += length as u64;
    }
    Ok((state, whole))
}

impl Store for LocalStore {
    fn append(&self, record: &Record) -> Result<(), JournalError> {
        let io = |source| JournalError::Io {
            path: self.path.clone(),
            source,
        };
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner
            .1
            .apply(record)
            .map_err(|source| JournalError::Succession {
                path: self.path.clone(),
                source,
            })?;
        inner.0.write_all(line(record).as_bytes()).map_err(io)?;
        inner.0.sync_data().map_err(io)
    }

    fn state(&self) -> State {
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
    records: Mutex<(Vec<Record>, State)>,
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
            records: Mutex::new((records.to_vec(), state)),
            gate: Mutex::default(),
        })
    }

    /// A journal that remembers this, for sessions that only read.
    pub fn remembering(state: State) -> Self {
        Self {
            records: Mutex::new((vec![], state)),
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
            return Err(JournalError::Io {
                path: "memory".into(),
                source: std::io::Error::other("the test ended the process here"),
            });
        }
        let mut inner = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        inner
            .1
            .apply(record)
            .map_err(|source| JournalError::Succession {
                path: "memory".into(),
                source,
            })?;
        inner.0.push(record.clone());
        Ok(())
    }

    fn state(&self) -> State {
        self.records
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .1
            .clone()
    }
}
