//! Files of JSON lines: one fact a line, on disk before the next thing happens.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Such a file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LinesError {
    #[error("cannot use {path}: {source}")]
    Io {
        path: PathBuf,
        source: std::io::Error,
    },
    /// The number of the line counts from 1.
    #[error("{path}, line {line}: not understood: {source}")]
    Format {
        path: PathBuf,
        line: usize,
        source: serde_json::Error,
    },
}

/// A file that facts are added to.
#[derive(Debug)]
pub struct Lines {
    path: PathBuf,
    file: File,
    /// The bytes of its whole lines.
    whole: u64,
}

impl Lines {
    /// Opens the file and tells each of its facts, or begins it and its folder.
    ///
    /// A last line cut short by a crash never happened (its flush had not returned) and is removed.
    pub fn open<T: DeserializeOwned, E: From<LinesError>>(
        path: &Path,
        each: impl FnMut(T) -> Result<(), E>,
    ) -> Result<Self, E> {
        let io = |source| at(path, source);
        let whole = read(path, each)?;
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(io)?;
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .map_err(io)?;
        file.set_len(whole).map_err(io)?;
        sync_folder(path).map_err(io)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            whole,
        })
    }

    /// Adds a fact. It is on disk when this returns; when it cannot be, nothing of it is in the file.
    pub fn append(&mut self, fact: &impl Serialize) -> Result<(), LinesError> {
        let line = line(fact);
        let written = self
            .file
            .write_all(line.as_bytes())
            .and_then(|()| self.file.sync_data());
        if let Err(source) = written {
            // A disk that was full may have taken half of it, and the next fact must not be added to that half. Should
            // this fail as well, the file ends here like one that a crash cut short.
            let _ = self.file.set_len(self.whole);
            return Err(at(&self.path, source));
        }
        self.whole += line.len() as u64;
        Ok(())
    }
}

/// Tells each fact of a file; how many bytes its whole lines have. A file that is not there has none.
pub fn read<T: DeserializeOwned, E: From<LinesError>>(
    path: &Path,
    each: impl FnMut(T) -> Result<(), E>,
) -> Result<u64, E> {
    match File::open(path) {
        Ok(file) => parse(path, BufReader::new(file), each),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
        Err(source) => Err(at(path, source).into()),
    }
}

/// As [`read`], of what was read of the file `path` by other means.
pub fn parse<T: DeserializeOwned, E: From<LinesError>>(
    path: &Path,
    mut reader: impl BufRead,
    mut each: impl FnMut(T) -> Result<(), E>,
) -> Result<u64, E> {
    let (mut text, mut whole) = (Vec::new(), 0);
    for line in 1.. {
        text.clear();
        let length = reader
            .read_until(b'\n', &mut text)
            .map_err(|source| at(path, source))?;
        if text.last() != Some(&b'\n') {
            break;
        }
        let fact = serde_json::from_slice(&text).map_err(|source| LinesError::Format {
            path: path.to_owned(),
            line,
            source,
        })?;
        each(fact)?;
        whole += length as u64;
    }
    Ok(whole)
}

/// Puts a file of these facts in the place of another, which keeps a name of its own. At every moment there is one of
/// the two at `path`.
pub fn replace(path: &Path, facts: &[impl Serialize], keep_as: &Path) -> Result<(), LinesError> {
    let io = |source| at(path, source);
    fs::create_dir_all(path.parent().unwrap_or(Path::new("."))).map_err(io)?;
    let fresh = path.with_extension("jsonl.new");
    let mut file = File::create(&fresh).map_err(io)?;
    let text: String = facts.iter().map(line).collect();
    file.write_all(text.as_bytes()).map_err(io)?;
    file.sync_all().map_err(io)?;
    match fs::copy(path, keep_as) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(at(keep_as, error)),
        _ => {}
    }
    fs::rename(&fresh, path).map_err(io)?;
    sync_folder(path).map_err(io)
}

/// The names in a folder, too, are written only when they are asked to be.
fn sync_folder(path: &Path) -> std::io::Result<()> {
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

fn line(fact: &impl Serialize) -> String {
    // A fact is plain data: writing it as JSON cannot fail.
    let mut text = serde_json::to_string(fact).unwrap_or_default();
    text.push('\n');
    text
}

fn at(path: &Path, source: std::io::Error) -> LinesError {
    LinesError::Io {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(path: &Path) -> Result<Vec<u32>, LinesError> {
        let mut facts = vec![];
        read(path, |fact| {
            facts.push(fact);
            Ok::<(), LinesError>(())
        })?;
        Ok(facts)
    }

    #[test]
    fn half_a_line_never_happened() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("deep/down/facts.jsonl");
        assert_eq!(facts(&path).unwrap(), Vec::<u32>::new());
        let open = || Lines::open(&path, |_: u32| Ok::<(), LinesError>(())).unwrap();
        open().append(&1).unwrap();
        fs::write(&path, "1\n2").unwrap();
        assert_eq!(facts(&path).unwrap(), [1]);
        open().append(&3).unwrap();
        assert_eq!(facts(&path).unwrap(), [1, 3]);
    }

    #[test]
    fn a_line_that_is_not_understood_is_named_and_stays() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("facts.jsonl");
        fs::write(&path, "1\n\"two\"\n3\n").unwrap();
        let error = Lines::open(&path, |_: u32| Ok::<(), LinesError>(())).unwrap_err();
        assert!(
            matches!(error, LinesError::Format { line: 2, .. }),
            "{error}"
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), "1\n\"two\"\n3\n");
    }

    #[test]
    fn what_is_replaced_keeps_a_name() {
        let home = tempfile::tempdir().unwrap();
        let (path, old) = (home.path().join("f.jsonl"), home.path().join("f.old.jsonl"));
        replace(&path, &[1, 2], &old).unwrap();
        assert!(!old.exists());
        replace(&path, &[3], &old).unwrap();
        assert_eq!(
            (facts(&path).unwrap(), facts(&old).unwrap()),
            (vec![3], vec![1, 2])
        );
    }
}
