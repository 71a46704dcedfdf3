//! Lists of objects: gzip of one JSON line each, sorted by key. Written and read as streams.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::{GzDecoder, GzEncoder};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncWriteExt as _, DuplexStream};

use super::listing::{Listed, Listing, What};
use super::pieces::Pieces;
use super::spawned::{Spawned, spawn};
use super::{Digest, Object, Overwrite, Place, Stored, Transfer, TransferFault};
use crate::ops::point::ObjectIndex;

/// One object of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IndexLine {
    pub key: String,
    /// None where the bucket has no versions.
    pub version: Option<String>,
    pub bytes: u64,
    pub etag: String,
    /// Of what gantry uploaded itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Digest>,
}

impl IndexLine {
    /// What the line says, as something to be read.
    pub fn object(&self, bucket: &str) -> Object {
        Object {
            place: Place::new(bucket, &self.key),
            version: self.version.clone(),
            bytes: Some(self.bytes),
            sha256: self.sha256,
        }
    }
}

impl From<Listed> for IndexLine {
    fn from(listed: Listed) -> Self {
        Self {
            key: listed.key,
            version: listed.version,
            bytes: listed.bytes,
            etag: listed.etag,
            sha256: None,
        }
    }
}

/// Bytes that wait to be taken by the other side.
const PIPE: usize = 64 * 1024;

/// Writes a list straight to its key.
pub(super) struct IndexWriter {
    gzip: GzEncoder<Vec<u8>>,
    pipe: DuplexStream,
    upload: Spawned<Stored>,
    to: Place,
    last: Option<String>,
    count: u64,
    bytes: u64,
}

impl IndexWriter {
    pub(super) fn new(transfer: &Transfer, to: &Place) -> Self {
        let (pipe, from) = tokio::io::duplex(PIPE);
        // The list is not what people wait for: its bytes are not counted.
        let mut own = transfer.clone();
        own.progress = None;
        let place = to.clone();
        Self {
            gzip: GzEncoder::new(vec![], Compression::default()),
            pipe,
            upload: spawn(async move { own.upload_stream(from, &place, Overwrite::Allowed).await }),
            to: to.clone(),
            last: None,
            count: 0,
            bytes: 0,
        }
    }

    pub(super) async fn write(&mut self, line: &IndexLine) -> Result<(), TransferFault> {
        if self.last.as_ref().is_some_and(|last| *last >= line.key) {
            return Err(TransferFault::damaged(
                &self.to,
                format!("`{}` was listed out of order", line.key),
            ));
        }
        self.last = Some(line.key.clone());
        self.count += 1;
        self.bytes += line.bytes;
        let text = serde_json::to_string(line).unwrap_or_default();
        // Into memory: this cannot fail.
        let _ = writeln!(self.gzip, "{text}");
        if self.gzip.get_ref().len() >= PIPE / 4 {
            let ready = std::mem::take(self.gzip.get_mut());
            if self.pipe.write_all(&ready).await.is_err() {
                // The upload ended too early, and knows why.
                return Err(self.broken().await);
            }
        }
        Ok(())
    }

    async fn broken(&mut self) -> TransferFault {
        match (&mut self.upload).await {
            Err(fault) => fault,
            Ok(_) => TransferFault::damaged(&self.to, "its upload ended before the list did"),
        }
    }

    pub(super) async fn finish(mut self) -> Result<ObjectIndex, TransferFault> {
        let rest = self
            .gzip
            .finish()
            .map_err(|error| TransferFault::damaged(&self.to, error.to_string()))?;
        // When the upload is not there to take it, it says why.
        let _ = self.pipe.write_all(&rest).await;
        drop(self.pipe);
        let stored = self.upload.await?;
        Ok(ObjectIndex {
            key: stored.place.key,
            sha256: stored.sha256.to_string(),
            count: self.count,
            bytes: self.bytes,
        })
    }
}

/// The most a list of objects may grow to between two lines; a key has at most 1,024 bytes.
const LONGEST_LINE: usize = 16 * 1024;

/// How much is unpacked at once: at most a thousandfold comes out of it.
const UNPACKED_AT_ONCE: usize = 2 * 1024;

/// Reads a list, line by line.
pub struct IndexReader {
    place: Place,
    wanted: ObjectIndex,
    pieces: Pieces,
    gunzip: GzDecoder<Vec<u8>>,
    sha256: Sha256,
    ready: Vec<u8>,
    at: usize,
    packed: Vec<u8>,
    packed_at: usize,
    last: Option<String>,
    count: u64,
    bytes: u64,
}

impl IndexReader {
    /// The next object. None comes only when the whole list was as the manifest says: checksum, count and bytes.
    pub async fn next(&mut self) -> Result<Option<IndexLine>, TransferFault> {
        loop {
            if let Some(end) = self.ready[self.at..].iter().position(|byte| *byte == b'\n') {
                let line = self.at..self.at + end;
                self.at = line.end + 1;
                let line: IndexLine = serde_json::from_slice(&self.ready[line])
                    .map_err(|error| self.damaged(format!("a line cannot be read: {error}")))?;
                if self.last.as_ref().is_some_and(|last| *last >= line.key) {
                    return Err(self.damaged(format!("`{}` is out of order", line.key)));
                }
                self.last = Some(line.key.clone());
                self.count += 1;
                self.bytes += line.bytes;
                return Ok(Some(line));
            }
            if !self.unpack().await? {
                return Ok(None);
            }
        }
    }

    /// More lines, if there are.
    async fn unpack(&mut self) -> Result<bool, TransferFault> {
        self.ready.drain(..self.at);
        self.at = 0;
        if self.ready.len() > LONGEST_LINE {
            return Err(self.damaged("a line is too long"));
        }
        if self.packed_at == self.packed.len() {
            match self.pieces.next().await? {
                Some(piece) => {
                    self.sha256.update(&piece.content);
                    self.packed = piece.content;
                    self.packed_at = 0;
                }
                None => return self.end().map(|()| false),
            }
        }
        let end = self.packed.len().min(self.packed_at + UNPACKED_AT_ONCE);
        let some = &self.packed[self.packed_at..end];
        self.packed_at = end;
        let unpacked = self
            .gunzip
            .write_all(some)
            .and_then(|()| self.gunzip.flush());
        if let Err(error) = unpacked {
            return Err(self.damaged(format!("it cannot be unpacked: {error}")));
        }
        self.ready.append(self.gunzip.get_mut());
        Ok(true)
    }

    fn end(&mut self) -> Result<(), TransferFault> {
        if let Err(error) = self.gunzip.try_finish() {
            return Err(self.damaged(format!("it cannot be unpacked: {error}")));
        }
        self.ready.append(self.gunzip.get_mut());
        if !self.ready.is_empty() {
            return Err(self.damaged("its last line is not complete"));
        }
        let is = Digest::finish(std::mem::take(&mut self.sha256)).to_string();
        let wanted = &self.wanted;
        if is != wanted.sha256 {
            return Err(self.damaged(format!(
                "its SHA-256 is {is}, the manifest says {}",
                wanted.sha256
            )));
        }
        if (self.count, self.bytes) != (wanted.count, wanted.bytes) {
            return Err(self.damaged(format!(
                "it names {} objects of {} bytes, the manifest says {} of {}",
                self.count, self.bytes, wanted.count, wanted.bytes
            )));
        }
        Ok(())
    }

    fn damaged(&self, why: impl Into<String>) -> TransferFault {
        TransferFault::damaged(&self.place, why)
    }
}

impl Transfer {
    /// Lists the newest version of every object whose key begins as `of`, and writes the list to `to`.
    pub async fn write_index(&self, of: &Place, to: &Place) -> Result<ObjectIndex, TransferFault> {
        self.write_index_of(of, to, |_| true).await
    }

    /// As [`Transfer::write_index`], of the keys that `belongs` wants.
    pub async fn write_index_of(
        &self,
        of: &Place,
        to: &Place,
        belongs: impl Fn(&str) -> bool + Send + Sync,
    ) -> Result<ObjectIndex, TransferFault> {
        let mut listing = Listing::new(self, of, What::Versions);
        let mut index = IndexWriter::new(self, to);
        while let Some(object) = listing.next().await? {
            if object.newest && belongs(&object.key) {
                index.write(&object.into()).await?;
            }
        }
        index.finish().await
    }

    /// Reads a list that lies in this bucket.
    pub fn read_index(&self, bucket: &str, index: &ObjectIndex) -> IndexReader {
        let place = Place::new(bucket, &index.key);
        let mut own = self.clone();
        own.progress = None;
        IndexReader {
            pieces: Pieces::new(&own, &Object::newest(place.clone()), 0, &own.meter(None)),
            place,
            wanted: index.clone(),
            gunzip: GzDecoder::new(vec![]),
            sha256: Sha256::new(),
            ready: vec![],
            at: 0,
            packed: vec![],
            packed_at: 0,
            last: None,
            count: 0,
            bytes: 0,
        }
    }
}
