//! A whole folder up, many objects at once, and the list of them.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::iter::Peekable;
use std::path::{Path, PathBuf};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::Receiver;

use super::index::{IndexLine, IndexWriter};
use super::journal::{path_of, remove};
use super::listing::{Listing, What};
use super::progress::Meter;
use super::spawned::spawn;
use super::walk::{Entry, walk};
use super::{Digest, OBJECTS_AT_ONCE, Overwrite, Place, Transfer, TransferFault};
use crate::ops::point::ObjectIndex;

/// A file that was uploaded, as the journal has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    key: String,
    bytes: u64,
    modified: u64,
    sha256: Digest,
    etag: String,
    version: Option<String>,
}

impl From<Line> for IndexLine {
    fn from(line: Line) -> Self {
        Self {
            key: line.key,
            version: line.version,
            bytes: line.bytes,
            etag: line.etag,
            sha256: Some(line.sha256),
        }
    }
}

/// What is to be done about a file.
enum Step {
    /// An earlier run sent it, and it is there.
    Kept(Line),
    Send(Entry),
}

impl Transfer {
    /// Uploads every file below `folder`; keys are `to.key` and the path. The list of them, with checksums, is written
    /// to `list` in the same bucket, last. Memory does not grow with their number.
    ///
    /// With journals it can be taken up: what the journal names, the bucket lists with the same size and the file
    /// still looks like is not sent again.
    pub async fn upload_tree(
        &self,
        folder: &Path,
        to: &Place,
        list: &str,
    ) -> Result<ObjectIndex, TransferFault> {
        let meter = self.meter(None);
        let mut notes = Notes::open(self.journals.as_deref(), folder, to)?;
        let past = notes.past();
        let plan = Plan {
            files: walk(folder, &to.key),
            listing: past
                .is_some()
                .then(|| Listing::new(self, to, What::Objects)),
            past,
        };
        let lines = stream::try_unfold(plan, |mut plan| async move {
            Ok::<_, TransferFault>(plan.next().await?.map(|step| (step, plan)))
        })
        .map(|step| self.carry_out(to, step, &meter))
        .buffered(OBJECTS_AT_ONCE);
        let mut lines = std::pin::pin!(lines);
        let mut index = IndexWriter::new(self, &Place::new(&to.bucket, list));
        while let Some((line, new)) = lines.try_next().await? {
            notes.write(&line, new)?;
            index.write(&line.into()).await?;
        }
        let index = index.finish().await?;
        notes.remove()?;
        Ok(index)
    }

    async fn carry_out(
        &self,
        to: &Place,
        step: Result<(Step, Age), TransferFault>,
        meter: &Meter,
    ) -> Result<(Line, Age), TransferFault> {
        let (step, age) = step?;
        let entry = match step {
            Step::Kept(line) => {
                meter.add(line.bytes);
                return Ok((line, age));
            }
            Step::Send(entry) => entry,
        };
        let (own, meter) = (self.clone(), meter.clone());
        let place = Place::new(&to.bucket, &entry.key);
        // On another thread, so that many small objects use all processors.
        spawn(async move {
            let stored = own
                .upload_source(&entry.source, &place, Overwrite::Allowed, &meter)
                .await?;
            let line = Line {
                key: entry.key,
                bytes: stored.bytes,
                modified: entry.source.modified,
                sha256: stored.sha256,
                etag: stored.etag,
                version: stored.version,
            };
            Ok((line, age))
        })
        .await
    }
}

/// Whether a file is among those that the earlier run came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Age {
    Old,
    New,
}

type Past = Peekable<Box<dyn Iterator<Item = Line> + Send>>;

/// Three sorted streams side by side: the files, the journal of an earlier run, and what is in the bucket.
struct Plan {
    files: Receiver<Result<Entry, TransferFault>>,
    past: Option<Past>,
    listing: Option<Listing>,
}

impl Plan {
    async fn next(&mut self) -> Result<Option<(Step, Age)>, TransferFault> {
        let Some(entry) = self.files.recv().await.transpose()? else {
            return Ok(None);
        };
        let (Some(past), Some(listing)) = (&mut self.past, &mut self.listing) else {
            return Ok(Some((Step::Send(entry), Age::New)));
        };
        while past.next_if(|line| line.key < entry.key).is_some() {}
        if past.peek().is_none() {
            self.past = None;
            self.listing = None;
            return Ok(Some((Step::Send(entry), Age::New)));
        }
        let source = &entry.source;
        let same = past.next_if(|line| {
            line.key == entry.key && line.bytes == source.bytes && line.modified == source.modified
        });
        let Some(line) = same else {
            return Ok(Some((Step::Send(entry), Age::Old)));
        };
        let there = listing.at(&entry.key).await?;
        let kept = there.iter().any(|object| {
            object.bytes == line.bytes && (object.etag.is_empty() || object.etag == line.etag)
        });
        let step = if kept {
            Step::Kept(line)
        } else {
            Step::Send(entry)
        };
        Ok(Some((step, Age::Old)))
    }
}

/// The journal of a folder: what was sent, in the order of keys. While an earlier journal is gone through, a new one
/// is written beside it, and takes its place when it has come as far.
struct Notes {
    path: Option<PathBuf>,
    heading: Heading,
    file: Option<File>,
    replaced: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Heading {
    format: u32,
    folder: PathBuf,
    to: String,
}

impl Notes {
    fn open(journals: Option<&Path>, folder: &Path, to: &Place) -> Result<Self, TransferFault> {
        let heading = Heading {
            format: 1,
            folder: folder.to_owned(),
            to: to.to_string(),
        };
        let Some(journals) = journals else {
            return Ok(Self {
                path: None,
                heading,
                file: None,
                replaced: true,
            });
        };
        fs::create_dir_all(journals).map_err(|e| TransferFault::local(journals, e))?;
        let path = path_of(journals, to, "tree.jsonl");
        let next = path.with_extension("next");
        let file = File::create(&next).map_err(|e| TransferFault::local(&next, e))?;
        let mut notes = Self {
            path: Some(path),
            heading: heading.clone(),
            file: Some(file),
            replaced: false,
        };
        notes.line(&heading)?;
        Ok(notes)
    }

    /// What an earlier run sent; a torn last line does not count.
    fn past(&self) -> Option<Past> {
        let file = File::open(self.path.as_ref()?).ok()?;
        let mut lines = BufReader::new(file).lines().map_while(Result::ok);
        let heading: Heading = serde_json::from_str(&lines.next()?).ok()?;
        if heading != self.heading {
            return None;
        }
        let lines = lines.map_while(|line| serde_json::from_str(&line).ok());
        let lines: Box<dyn Iterator<Item = Line> + Send> = Box::new(lines);
        Some(lines.peekable())
    }

    fn write(&mut self, line: &Line, age: Age) -> Result<(), TransferFault> {
        if age == Age::New {
            self.replace()?;
        }
        self.line(line)
    }

    fn replace(&mut self) -> Result<(), TransferFault> {
        if let (false, Some(path)) = (self.replaced, &self.path) {
            fs::rename(path.with_extension("next"), path)
                .map_err(|e| TransferFault::local(path, e))?;
            self.replaced = true;
        }
        Ok(())
    }

    fn line(&mut self, line: &impl Serialize) -> Result<(), TransferFault> {
        let (Some(file), Some(path)) = (&mut self.file, &self.path) else {
            return Ok(());
        };
        // Plain structs of text and numbers: they always have a JSON form.
        let mut text = serde_json::to_string(line).unwrap_or_default();
        text.push('\n');
        file.write_all(text.as_bytes())
            .map_err(|e| TransferFault::local(path, e))
    }

    fn remove(self) -> Result<(), TransferFault> {
        if let Some(path) = &self.path {
            remove(&path.with_extension("next"))?;
            remove(path)?;
        }
        Ok(())
    }
}
