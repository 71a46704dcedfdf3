//! What an upload notes on disk, so that another run can take it up: JSON lines, one file for each key.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::multipart::Part;
use super::{Digest, Place, TransferFault};

const FORMAT: u32 = 1;

/// The first line: what is uploaded where, and by which upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Heading {
    pub(super) format: u32,
    pub(super) bucket: String,
    pub(super) key: String,
    /// The source, as it was.
    pub(super) bytes: u64,
    pub(super) modified: u64,
    pub(super) part_size: u64,
    pub(super) upload: String,
    pub(super) mark: String,
}

impl Heading {
    pub(super) fn new(to: &Place, bytes: u64, modified: u64, part_size: u64) -> Self {
        Self {
            format: FORMAT,
            bucket: to.bucket.clone(),
            key: to.key.clone(),
            bytes,
            modified,
            part_size,
            upload: String::new(),
            mark: String::new(),
        }
    }

    /// Whether both are about the same source and the same key.
    pub(super) fn same_source(&self, other: &Self) -> bool {
        let source = |h: &Self| Self {
            upload: String::new(),
            mark: String::new(),
            ..h.clone()
        };
        source(self) == source(other)
    }
}

/// The journal of one key.
pub(super) struct Journal {
    path: PathBuf,
    file: Option<File>,
}

/// Where the journal of something about this key is.
pub(super) fn path_of(folder: &Path, to: &Place, what: &str) -> PathBuf {
    folder.join(format!("{}.{what}", Digest::of(to.to_string().as_bytes())))
}

impl Journal {
    pub(super) fn of(folder: &Path, to: &Place) -> Self {
        Self {
            path: path_of(folder, to, "parts.jsonl"),
            file: None,
        }
    }

    /// What an earlier run noted. A torn last line was not finished and does not count; a file that cannot be
    /// understood is as none.
    pub(super) fn read(&self) -> Option<(Heading, BTreeMap<i32, Part>)> {
        let text = fs::read_to_string(&self.path).ok()?;
        let mut lines = text
            .split_inclusive('\n')
            .filter_map(|line| line.strip_suffix('\n'));
        let heading: Heading = serde_json::from_str(lines.next()?).ok()?;
        let parts = lines
            .map_while(|line| serde_json::from_str::<Part>(line).ok())
            .map(|part| (part.number, part));
        (heading.format == FORMAT).then(|| (heading.clone(), parts.collect()))
    }

    /// Begins it anew.
    pub(super) fn begin<'p>(
        &mut self,
        heading: &Heading,
        parts: impl Iterator<Item = &'p Part>,
    ) -> Result<(), TransferFault> {
        let at = |error| TransferFault::local(&self.path, error);
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder).map_err(at)?;
        }
        // Whole or not at all: half a list of parts would only cost time, half a heading the upload's id.
        let next = self.path.with_extension("next");
        let mut text = line(heading);
        parts.for_each(|part| text.push_str(&line(part)));
        fs::write(&next, text).map_err(at)?;
        fs::rename(&next, &self.path).map_err(at)?;
        let file = OpenOptions::new().append(true).open(&self.path);
        self.file = Some(file.map_err(at)?);
        Ok(())
    }

    /// Notes that S3 has this part.
    pub(super) fn note(&mut self, part: &Part) -> Result<(), TransferFault> {
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        file.write_all(line(part).as_bytes())
            .map_err(|error| TransferFault::local(&self.path, error))
    }

    /// The upload is over.
    pub(super) fn remove(&mut self) -> Result<(), TransferFault> {
        self.file = None;
        remove(&self.path)
    }
}

/// Removes a file. Gone already is fine.
pub(super) fn remove(path: &Path) -> Result<(), TransferFault> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(TransferFault::local(path, error))
        }
        _ => Ok(()),
    }
}

fn line(value: &impl Serialize) -> String {
    // Plain structs of text and numbers: they always have a JSON form.
    let mut text = serde_json::to_string(value).unwrap_or_default();
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heading() -> Heading {
        Heading::new(&Place::new("bucket", "key"), 100, 7, 16)
    }

    fn part(number: i32) -> Part {
        Part {
            number,
            bytes: 16,
            sha256: Digest::of(&[1]),
            etag: format!("tag-{number}"),
        }
    }

    #[test]
    fn a_torn_line_does_not_count_and_the_rest_does() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::of(folder.path(), &Place::new("bucket", "key"));
        assert_eq!(journal.read(), None);
        journal.begin(&heading(), [&part(1)].into_iter()).unwrap();
        journal.note(&part(2)).unwrap();
        let whole = fs::read(&journal.path).unwrap();
        journal.note(&part(3)).unwrap();
        let all = fs::read(&journal.path).unwrap();
        for end in whole.len()..all.len() {
            fs::write(&journal.path, &all[..end]).unwrap();
            let (read, parts) = journal.read().unwrap();
            assert!(read.same_source(&heading()));
            assert_eq!(parts.into_values().collect::<Vec<_>>(), [part(1), part(2)]);
        }
        journal.remove().unwrap();
        journal.remove().unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn another_source_is_told() {
        let (mut changed, mut moved) = (heading(), heading());
        changed.modified += 1;
        moved.key = "other".into();
        let mut resumed = heading();
        resumed.upload = "id".into();
        assert!(heading().same_source(&resumed));
        assert!(!heading().same_source(&changed) && !heading().same_source(&moved));
    }
}
