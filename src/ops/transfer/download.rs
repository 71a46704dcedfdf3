//! One object down, into a file that is there only when it is whole and right.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::journal::remove;
use super::multipart::Landed;
use super::pieces::{Found, PIECE, Pieces};
use super::progress::Meter;
use super::spawned::blocking;
use super::upload::stored;
use super::{Digest, Object, Stored, Transfer, TransferFault};

/// `name`, with this behind it.
fn beside(file: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(file);
    name.push(ending);
    PathBuf::from(name)
}

impl Transfer {
    /// Downloads an object into `file`, over what is there. It is written to `file.part` and gets its name when size
    /// and checksum are those of `object`. A download of more than 2 MiB that was cut short goes on where it
    /// stopped, if the object is still the same.
    pub async fn download(&self, object: &Object, file: &Path) -> Result<Stored, TransferFault> {
        let meter = self.meter(object.bytes);
        self.download_counted(object, file, &meter).await
    }

    pub(super) async fn download_counted(
        &self,
        object: &Object,
        file: &Path,
        meter: &Meter,
    ) -> Result<Stored, TransferFault> {
        let part = Part {
            path: beside(file, ".part"),
            note: beside(file, ".part.of"),
        };
        let mut writer = if object.bytes.is_some_and(|bytes| bytes <= PIECE) {
            part.anew(None)?
        } else {
            let found = Pieces::new(self, object, 0, meter).look().await?;
            let part = part.clone();
            let object = object.clone();
            blocking(move || part.take_up(&object, &found)).await?
        };
        meter.add(writer.bytes);
        let mut pieces = Pieces::new(self, object, writer.bytes, meter);
        while let Some(piece) = pieces.next().await? {
            writer = blocking(move || {
                writer.add(&piece.content)?;
                Ok(writer)
            })
            .await?;
        }
        let found = pieces.look().await?;
        let (bytes, sha256) = (writer.bytes, Digest::finish(writer.sha256));
        if let Some(wanted) = object.sha256.filter(|wanted| *wanted != sha256) {
            part.remove()?;
            return Err(TransferFault::damaged(
                &object.place,
                format!("its SHA-256 is {sha256} and should be {wanted}"),
            ));
        }
        fs::rename(&part.path, file).map_err(|e| TransferFault::local(file, e))?;
        remove(&part.note)?;
        let landed = Landed {
            etag: found.etag,
            version: object.version.clone(),
        };
        Ok(stored(&object.place, bytes, sha256, landed))
    }
}

/// The file on its way, and the note that says which object it is of.
#[derive(Debug, Clone)]
struct Part {
    path: PathBuf,
    note: PathBuf,
}

/// What was written so far.
struct Writer {
    path: PathBuf,
    file: File,
    bytes: u64,
    sha256: Sha256,
}

impl Part {
    fn remove(&self) -> Result<(), TransferFault> {
        remove(&self.path)?;
        remove(&self.note)
    }

    /// Begins with nothing.
    fn anew(&self, note: Option<&str>) -> Result<Writer, TransferFault> {
        self.remove()?;
        if let Some(note) = note {
            fs::write(&self.note, note).map_err(|e| TransferFault::local(&self.note, e))?;
        }
        let file = File::create(&self.path).map_err(|e| TransferFault::local(&self.path, e))?;
        Ok(Writer {
            path: self.path.clone(),
            file,
            bytes: 0,
            sha256: Sha256::new(),
        })
    }

    /// Goes on where an earlier run stopped, if it was about the same content.
    fn take_up(&self, object: &Object, found: &Found) -> Result<Writer, TransferFault> {
        let version = object.version.as_deref().unwrap_or_default();
        let note = format!(
            "{} {version} {} {}\n",
            object.place, found.etag, found.bytes
        );
        let same = fs::read_to_string(&self.note).is_ok_and(|old| old == note);
        let there = fs::metadata(&self.path).map(|meta| meta.len());
        if !same || !there.is_ok_and(|bytes| bytes <= found.bytes) {
            return self.anew(Some(&note));
        }
        let at = |error| TransferFault::local(&self.path, error);
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .open(&self.path)
            .map_err(at)?;
        let (mut sha256, mut bytes) = (Sha256::new(), 0);
        let mut buffer = vec![0; 256 * 1024];
        loop {
            match file.read(&mut buffer).map_err(at)? {
                0 => break,
                some => {
                    sha256.update(&buffer[..some]);
                    bytes += some as u64;
                }
            }
        }
        Ok(Writer {
            path: self.path.clone(),
            file,
            bytes,
            sha256,
        })
    }
}

impl Writer {
    fn add(&mut self, content: &[u8]) -> Result<(), TransferFault> {
        self.file
            .write_all(content)
            .map_err(|e| TransferFault::local(&self.path, e))?;
        self.sha256.update(content);
        self.bytes += content.len() as u64;
        Ok(())
    }
}
