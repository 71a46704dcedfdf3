//! What each run did: its events, kept as JSON lines, so that the story can be told again.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::engine::{Event, Observer};

/// The first line of a run's file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunHead {
    pub format: u32,
    pub run: String,
    pub verb: String,
    pub site: String,
    pub at: Timestamp,
    pub version: String,
}

/// One later line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunLine {
    pub at: Timestamp,
    pub what: Event,
}

/// A run as kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeptRun {
    pub head: RunHead,
    pub lines: Vec<RunLine>,
}

/// A run's file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum RunsError {
    #[error("cannot use {path}: {source}")]
    Io {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{path} is not a record of a run")]
    Format { path: PathBuf },
    #[error("there is no run {0}")]
    Unknown(String),
}

/// Starts the record of a run in `dir/runs`, and returns the observer that writes it.
pub fn record(dir: &Path, head: &RunHead, clock: Clock) -> Result<Observer, RunsError> {
    let dir = dir.join("runs");
    let path = dir.join(format!("{}.jsonl", head.run));
    let io = |source| RunsError::Io {
        path: path.clone(),
        source,
    };
    fs::create_dir_all(&dir).map_err(io)?;
    let mut file = OpenOptions::new()
        .create_new(true)
        .append(true)
        .open(&path)
        .map_err(io)?;
    file.write_all(line(head).as_bytes()).map_err(io)?;
    let file = Mutex::new(file);
    Ok(Arc::new(move |event| {
        let told = RunLine {
            at: clock.now(),
            what: event.clone(),
        };
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        // A full disk must not stop a run because of its diary; the journal itself is checked.
        let _ = file.write_all(line(&told).as_bytes());
    }))
}

/// In one piece, so that a crash leaves all of it or none.
fn line(of: &impl Serialize) -> String {
    let mut text = serde_json::to_string(of).unwrap_or_default();
    text.push('\n');
    text
}

/// All runs in `dir/runs`, oldest first.
pub fn list(dir: &Path) -> Result<Vec<KeptRun>, RunsError> {
    let dir = dir.join("runs");
    let entries = match fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(vec![]),
        Err(source) => return Err(RunsError::Io { path: dir, source }),
    };
    let mut paths: Vec<PathBuf> = entries
        .filter_map(|e| Some(e.ok()?.path()))
        .filter(|p| p.extension().is_some_and(|x| x == "jsonl"))
        .collect();
    paths.sort();
    // Killed before it could write its first line, a run has an empty file, and did nothing.
    paths.retain(|p| fs::metadata(p).is_ok_and(|meta| meta.len() > 0));
    paths.iter().map(|p| load(p)).collect()
}

/// One run by its id, or by the beginning of it; `last` is the newest.
pub fn find(dir: &Path, run: &str) -> Result<KeptRun, RunsError> {
    let mut runs = list(dir)?;
    if run == "last" {
        return runs.pop().ok_or_else(|| RunsError::Unknown(run.to_owned()));
    }
    runs.into_iter()
        .find(|r| r.head.run.starts_with(run))
        .ok_or_else(|| RunsError::Unknown(run.to_owned()))
}

fn load(path: &Path) -> Result<KeptRun, RunsError> {
    let file = File::open(path).map_err(|source| RunsError::Io {
        path: path.to_owned(),
        source,
    })?;
    let mut lines = BufReader::new(file).lines().map_while(Result::ok);
    let head = lines
        .next()
        .and_then(|l| serde_json::from_str(&l).ok())
        .ok_or_else(|| RunsError::Format {
            path: path.to_owned(),
        })?;
    // A line cut short by a crash ends the story there.
    let lines = lines.map_while(|l| serde_json::from_str(&l).ok()).collect();
    Ok(KeptRun { head, lines })
}
