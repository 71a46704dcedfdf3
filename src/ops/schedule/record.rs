//! What became of each run: `schedule/<name>.jsonl` in the site's state directory, a line when a run begins and one
//! when it ends.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Name;
use crate::exit::Exit;
use crate::lines::{self, Lines, LinesError};

/// The records' present format.
const FORMAT: u32 = 1;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "snake_case")]
enum Entry {
    Began {
        format: u32,
        run: String,
        /// The time it was due; none when a person asked.
        due: Option<Timestamp>,
        /// How many earlier times it makes up for as well.
        missed: u32,
        at: Timestamp,
    },
    Ended {
        run: String,
        exit: u8,
        why: Option<String>,
        at: Timestamp,
    },
}

/// One run of a schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Turn {
    pub run: String,
    /// The time it was due; none when a person asked.
    pub due: Option<Timestamp>,
    /// How many earlier times it makes up for as well.
    pub missed: u32,
    pub began: Timestamp,
    /// None while it is at work, and for ever if it was cut off.
    pub ended: Option<Ended>,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ended {
    pub at: Timestamp,
    /// gantry's exit code.
    pub exit: u8,
    pub why: Option<String>,
}

impl Ended {
    pub fn good(&self) -> bool {
        self.exit == Exit::Done as u8
    }

    /// Whether the time it was due is dealt with: not, when it could not begin or was told to stop.
    fn settles(&self) -> bool {
        self.exit != Exit::Locked as u8 && self.exit != Exit::Interrupted as u8
    }
}

impl Turn {
    pub fn good(&self) -> bool {
        self.ended.as_ref().is_some_and(Ended::good)
    }

    /// How long it took; none while it has not ended.
    pub fn took(&self) -> Option<std::time::Duration> {
        let ended = self.ended.as_ref()?;
        ended.at.duration_since(self.began).try_into().ok()
    }
}

/// The records cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("the record of scheduled runs: {0}")]
pub struct RecordError(#[from] LinesError);

/// The runs of one schedule, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Records {
    pub turns: Vec<Turn>,
}

impl Records {
    /// Where they are kept in a site's state directory.
    pub fn path(site_dir: &Path, name: Name) -> PathBuf {
        site_dir.join("schedule").join(format!("{name}.jsonl"))
    }

    /// What is recorded; nothing, where nothing has run yet.
    pub fn read(site_dir: &Path, name: Name) -> Result<Self, RecordError> {
        let mut records = Self::default();
        let path = Self::path(site_dir, name);
        lines::read(&path, |entry| {
            records.apply(entry);
            Ok::<(), RecordError>(())
        })?;
        Ok(records)
    }

    /// The records of a file that came from elsewhere. A line cut short by a crash never happened.
    pub fn parse(place: &str, text: &str) -> Result<Self, RecordError> {
        let mut records = Self::default();
        lines::parse(Path::new(place), text.as_bytes(), |entry| {
            records.apply(entry);
            Ok::<(), RecordError>(())
        })?;
        Ok(records)
    }

    fn apply(&mut self, entry: Entry) {
        match entry {
            Entry::Began {
                run,
                due,
                missed,
                at,
                ..
            } => self.turns.push(Turn {
                run,
                due,
                missed,
                began: at,
                ended: None,
            }),
            Entry::Ended { run, exit, why, at } => {
                let turn = self.turns.iter_mut().rev().find(|turn| turn.run == run);
                if let Some(turn) = turn {
                    turn.ended = Some(Ended { at, exit, why });
                }
            }
        }
    }

    pub fn last(&self) -> Option<&Turn> {
        self.turns.last()
    }

    /// The last run that went well.
    pub fn last_good(&self) -> Option<&Turn> {
        self.turns.iter().rev().find(|turn| turn.good())
    }

    /// The latest time that a run was due and is dealt with, well or badly.
    pub fn settled(&self) -> Option<Timestamp> {
        let settled = self
            .turns
            .iter()
            .filter(|turn| turn.ended.as_ref().is_some_and(Ended::settles));
        settled.filter_map(|turn| turn.due).max()
    }

    pub(super) fn begin(site_dir: &Path, name: Name, turn: &Turn) -> Result<(), RecordError> {
        let entry = Entry::Began {
            format: FORMAT,
            run: turn.run.clone(),
            due: turn.due,
            missed: turn.missed,
            at: turn.began,
        };
        append(&Self::path(site_dir, name), &entry)
    }

    /// Writes how a run ended.
    pub fn end(site_dir: &Path, name: Name, run: &str, ended: &Ended) -> Result<(), RecordError> {
        let entry = Entry::Ended {
            run: run.to_owned(),
            exit: ended.exit,
            why: ended.why.clone(),
            at: ended.at,
        };
        append(&Self::path(site_dir, name), &entry)
    }
}

/// Adds a line, on disk before this returns.
fn append(path: &Path, entry: &Entry) -> Result<(), RecordError> {
    let mut lines = Lines::open(path, |_: Entry| Ok::<_, LinesError>(()))?;
    Ok(lines.append(entry)?)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::new(1_790_000_000 + second, 0).unwrap()
    }

    fn turn(run: &str, due: Option<i64>, second: i64) -> Turn {
        Turn {
            run: run.into(),
            due: due.map(at),
            missed: 0,
            began: at(second),
            ended: None,
        }
    }

    #[test]
    fn runs_read_back_with_their_ends() {
        let dir = tempfile::tempdir().unwrap();
        let name = Name::Full;
        assert_eq!(Records::read(dir.path(), name).unwrap(), Records::default());
        Records::begin(dir.path(), name, &turn("a", Some(0), 5)).unwrap();
        let ended = Ended {
            at: at(65),
            exit: 0,
            why: None,
        };
        Records::end(dir.path(), name, "a", &ended).unwrap();
        Records::begin(dir.path(), name, &turn("b", Some(100), 105)).unwrap();
        let refused = Ended {
            at: at(110),
            exit: 4,
            why: Some("AWS said no".into()),
        };
        Records::end(dir.path(), name, "b", &refused).unwrap();
        let read = Records::read(dir.path(), name).unwrap();
        assert_eq!(read.turns.len(), 2);
        assert_eq!(read.last_good().unwrap().run, "a");
        assert_eq!(read.turns[0].took().unwrap().as_secs(), 60);
        assert_eq!(read.settled(), Some(at(100)), "failed, and dealt with");
    }

    #[test]
    fn what_never_began_settles_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let name = Name::Snapshot;
        for (run, due, exit) in [
            ("a", 0, Some(0)),
            ("b", 10, Some(7)),
            ("c", 20, Some(6)),
            ("d", 30, None),
        ] {
            Records::begin(dir.path(), name, &turn(run, Some(due), due)).unwrap();
            if let Some(exit) = exit {
                let ended = Ended {
                    at: at(due + 1),
                    exit,
                    why: None,
                };
                Records::end(dir.path(), name, run, &ended).unwrap();
            }
        }
        assert_eq!(
            Records::read(dir.path(), name).unwrap().settled(),
            Some(at(0))
        );
    }

    #[test]
    fn a_line_cut_short_never_happened() {
        let dir = tempfile::tempdir().unwrap();
        let name = Name::Full;
        Records::begin(dir.path(), name, &turn("a", None, 0)).unwrap();
        let path = Records::path(dir.path(), name);
        let whole = fs::read_to_string(&path).unwrap();
        for cut in 1..whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            assert!(
                Records::read(dir.path(), name).unwrap().turns.is_empty(),
                "cut at {cut}"
            );
            Records::begin(dir.path(), name, &turn("b", None, 0)).unwrap();
            let runs = Records::read(dir.path(), name).unwrap().turns;
            assert_eq!(runs.last().unwrap().run, "b", "cut at {cut}");
        }
        fs::write(&path, "{\"entry\":\"dance\"}\n").unwrap();
        assert!(Records::read(dir.path(), name).is_err());
    }
}
