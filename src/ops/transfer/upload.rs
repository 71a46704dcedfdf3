//! One object up: a file, a stream, or bytes at hand.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::journal::{Heading, Journal};
use super::multipart::{
    Body, Content, IN_FLIGHT, Landed, Part, Upload, completed, if_none_match, is_taken, plain_etag,
    real_version, size,
};
use super::parts::{SINGLE, part_size, stream_limit, stream_part};
use super::progress::Meter;
use super::spawned::{Spawned, blocking, spawn};
use super::{Digest, Overwrite, PARTS_AT_ONCE, Place, Stored, Transfer, TransferFault};

/// A file that is to be uploaded, as it was when we looked.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    /// Nanoseconds since 1970.
    pub(super) modified: u64,
}

impl Source {
    pub(super) fn look(path: &Path) -> Result<Self, TransferFault> {
        let meta = std::fs::metadata(path).map_err(|e| TransferFault::local(path, e))?;
        if !meta.is_file() {
            return Err(TransferFault::Name {
                name: path.display().to_string(),
                why: "is no file".into(),
            });
        }
        Ok(Self::of(path, &meta))
    }

    pub(super) fn of(path: &Path, meta: &Metadata) -> Self {
        let modified = meta
            .modified()
            .ok()
            .and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        Self {
            path: path.to_owned(),
            bytes: meta.len(),
            modified: modified.map_or(0, |t| u64::try_from(t.as_nanos()).unwrap_or(u64::MAX)),
        }
    }

    fn changed(&self) -> TransferFault {
        TransferFault::Changed {
            path: self.path.clone(),
        }
    }

    fn still_the_same(&self) -> Result<(), TransferFault> {
        let now = Self::look(&self.path)?;
        if now.bytes == self.bytes && now.modified == self.modified {
            Ok(())
        } else {
            Err(self.changed())
        }
    }
}

impl Transfer {
    /// Uploads a file: in one piece when it is small, in parallel parts otherwise. With journals, a run that was cut
    /// short is taken up, and parts that are there with the right size and checksum are not sent again.
    pub async fn upload_file(
        &self,
        file: &Path,
        to: &Place,
        overwrite: Overwrite,
    ) -> Result<Stored, TransferFault> {
        let source = Source::look(file)?;
        let meter = self.meter(Some(source.bytes));
        self.upload_source(&source, to, overwrite, &meter).await
    }

    /// Uploads bytes that are at hand.
    pub async fn upload_bytes(
        &self,
        content: Vec<u8>,
        to: &Place,
        overwrite: Overwrite,
    ) -> Result<Stored, TransferFault> {
        let meter = self.meter(Some(content.len() as u64));
        self.upload_read(content.as_slice(), to, overwrite, &meter)
            .await
    }

    /// Uploads whatever comes, to its end; nobody needs to know beforehand where that is, up to [`stream_limit`]. It
    /// cannot be taken up: what is on its way when it fails is removed. An empty stream is an empty object.
    pub async fn upload_stream(
        &self,
        from: impl AsyncRead + Send + Unpin,
        to: &Place,
        overwrite: Overwrite,
    ) -> Result<Stored, TransferFault> {
        let meter = self.meter(None);
        self.upload_read(from, to, overwrite, &meter).await
    }

    pub(super) async fn upload_source(
        &self,
        source: &Source,
        to: &Place,
        overwrite: Overwrite,
        meter: &Meter,
    ) -> Result<Stored, TransferFault> {
        if source.bytes <= SINGLE {
            let _taken = self.budget.take(source.bytes).await;
            let content = read_whole(source).await?;
            return self.put_whole(content, to, overwrite, meter).await;
        }
        self.upload_parts(source, to, overwrite, meter).await
    }

    /// One call, one object.
    async fn put_whole(
        &self,
        content: Vec<u8>,
        to: &Place,
        overwrite: Overwrite,
        meter: &Meter,
    ) -> Result<Stored, TransferFault> {
        let bytes = content.len() as u64;
        let (content, sha256) = blocking(move || {
            let sha256 = Digest::of(&content);
            Ok((content, sha256))
        })
        .await?;
        let body = Body::of(Content::Memory(content));
        let answer = self
            .cx
            .put("s3:PutObject", || async {
                self.s3()
                    .put_object()
                    .bucket(&to.bucket)
                    .key(&to.key)
                    .checksum_sha256(sha256.base64())
                    .set_if_none_match(if_none_match(overwrite))
                    .body(body.stream().await.map_err(construction)?)
                    .send()
                    .await
            })
            .await;
        let landed = match answer {
            Ok(answer) => Landed {
                etag: plain_etag(answer.e_tag()),
                version: real_version(answer.version_id()),
            },
            // An earlier attempt of ours may have written it, and only its answer was lost.
            Err(fault) if is_taken(&fault) => self
                .same_content(to, bytes, sha256)
                .await?
                .ok_or_else(|| TransferFault::Taken { place: to.clone() })?,
            Err(fault) => return Err(fault.into()),
        };
        meter.add(bytes);
        Ok(stored(to, bytes, sha256, landed))
    }

    /// The newest version of this key, if it is exactly this content by S3's own checksum.
    async fn same_content(
        &self,
        to: &Place,
        bytes: u64,
        sha256: Digest,
    ) -> Result<Option<Landed>, TransferFault> {
        let newest = self.newest(to).await?;
        Ok(newest
            .filter(|head| size(head) == bytes && head.checksum_sha256() == Some(&sha256.base64()))
            .map(|head| Landed::from(&head)))
    }

    async fn upload_parts(
        &self,
        source: &Source,
        to: &Place,
        overwrite: Overwrite,
        meter: &Meter,
    ) -> Result<Stored, TransferFault> {
        let part_size = part_size(source.bytes)?;
        let mut heading = Heading::new(to, source.bytes, source.modified, part_size);
        let mut journal = self.journals.as_ref().map(|f| Journal::of(f, to));
        let (upload, known) = match self.take_up(journal.as_ref(), &heading).await? {
            Past::Parts(upload, known) => (upload, known),
            Past::Landed(landed) => {
                let source = source.clone();
                let bytes = source.bytes;
                let (sha256, _) =
                    blocking(move || hash(&source, Sha256::new(), 0, source.bytes)).await?;
                meter.add(bytes);
                if let Some(journal) = &mut journal {
                    journal.remove()?;
                }
                return Ok(stored(to, bytes, Digest::finish(sha256), landed));
            }
            Past::Nothing => (self.begin(to).await?, BTreeMap::new()),
        };
        heading.upload.clone_from(&upload.id);
        heading.mark.clone_from(&upload.mark);
        if let Some(journal) = &mut journal {
            journal.begin(&heading, known.values())?;
        }
        let sent = self
            .send_parts(source, &upload, part_size, &known, &mut journal, meter)
            .await;
        let sent = match sent {
            Ok((parts, sha256)) => self
                .complete(&upload, &completed(&parts), source.bytes, overwrite)
                .await
                .map(|landed| stored(to, source.bytes, sha256, landed)),
            Err(fault) => Err(fault),
        };
        // What nobody will take up is removed: without a journal, of a file that is another by now, and of a key
        // that is taken.
        let hopeless = |fault: &TransferFault| {
            matches!(
                fault,
                TransferFault::Changed { .. } | TransferFault::Taken { .. }
            )
        };
        match &sent {
            Err(fault) if journal.is_none() || hopeless(fault) => {
                // The first fault is the one to tell; the next upload of this key tries to remove it again.
                let _ = self.abort(to, &upload.id).await;
            }
            Err(_) => return sent,
            Ok(_) => {}
        }
        if let Some(journal) = &mut journal {
            journal.remove()?;
        }
        sent
    }

    /// What an earlier run left of this upload.
    async fn take_up(
        &self,
        journal: Option<&Journal>,
        heading: &Heading,
    ) -> Result<Past, TransferFault> {
        let Some((old, noted)) = journal.and_then(Journal::read) else {
            return Ok(Past::Nothing);
        };
        if !old.same_source(heading) {
            // Of another state of the file. `begin` aborts it.
            return Ok(Past::Nothing);
        }
        let upload = Upload {
            to: Place::new(&old.bucket, &old.key),
            id: old.upload,
            mark: old.mark,
        };
        if let Some(there) = self.parts_there(&upload).await? {
            // Even without a part: what was sent last is often there before anybody could note it.
            let known = noted
                .into_iter()
                .filter(|(number, part)| {
                    there.get(number).is_some_and(|(bytes, etag)| {
                        *bytes == part.bytes && (etag.is_empty() || *etag == part.etag)
                    })
                })
                .collect();
            return Ok(Past::Parts(upload, known));
        }
        // The upload is gone: it was completed, or somebody aborted it.
        if let Some(landed) = self.landed(&upload, old.bytes).await? {
            return Ok(Past::Landed(landed));
        }
        Ok(Past::Nothing)
    }

    /// Hashes the file part by part, in order, and sends those that are not there while it goes on.
    async fn send_parts(
        &self,
        source: &Source,
        upload: &Upload,
        part_size: u64,
        known: &BTreeMap<i32, Part>,
        journal: &mut Option<Journal>,
        meter: &Meter,
    ) -> Result<(BTreeMap<i32, Part>, Digest), TransferFault> {
        let mut whole = Sha256::new();
        let mut done = BTreeMap::new();
        let mut flying: FuturesUnordered<Spawned<Part>> = FuturesUnordered::new();
        let mut landed = |part: Part, done: &mut BTreeMap<i32, Part>| {
            meter.add(part.bytes);
            if let Some(journal) = journal.as_mut() {
                journal.note(&part)?;
            }
            done.insert(part.number, part);
            Ok::<(), TransferFault>(())
        };
        let (mut number, mut from) = (0, 0);
        while from < source.bytes {
            number += 1;
            let bytes = part_size.min(source.bytes - from);
            let (same, hasher) = (source.clone(), whole);
            let (hasher, sha256) = blocking(move || hash(&same, hasher, from, bytes)).await?;
            whole = hasher;
            let part = known.get(&number);
            if let Some(part) = part.filter(|p| p.sha256 == sha256 && p.bytes == bytes) {
                meter.add(bytes);
                done.insert(number, part.clone());
            } else {
                while flying.len() >= PARTS_AT_ONCE {
                    if let Some(part) = flying.next().await {
                        landed(part?, &mut done)?;
                    }
                }
                let content = Content::File {
                    path: source.path.clone(),
                    from,
                    bytes,
                };
                let (own, upload) = (self.clone(), upload.clone());
                flying.push(spawn(async move {
                    let _taken = own.budget.take(IN_FLIGHT).await;
                    own.send_part(&upload, number, content, sha256).await
                }));
            }
            from += bytes;
        }
        while let Some(part) = flying.next().await {
            landed(part?, &mut done)?;
        }
        source.still_the_same()?;
        Ok((done, Digest::finish(whole)))
    }

    async fn upload_read(
        &self,
        mut from: impl AsyncRead + Send + Unpin,
        to: &Place,
        overwrite: Overwrite,
        meter: &Meter,
    ) -> Result<Stored, TransferFault> {
        let first_size = stream_part(1, self.memory).unwrap_or(SINGLE);
        let taken = self.budget.take(first_size).await;
        let first = fill(&mut from, first_size, to).await?;
        if (first.len() as u64) < first_size {
            return self.put_whole(first, to, overwrite, meter).await;
        }
        let upload = self.begin(to).await?;
        let sent = match self.send_stream(first, taken, from, &upload, meter).await {
            Ok((parts, sha256)) => {
                let bytes = parts.values().map(|part| part.bytes).sum();
                self.complete(&upload, &completed(&parts), bytes, overwrite)
                    .await
                    .map(|landed| stored(to, bytes, sha256, landed))
            }
            Err(fault) => Err(fault),
        };
        if sent.is_err() {
            // The first fault is the one to tell; the next upload of this key tries to remove it again.
            let _ = self.abort(to, &upload.id).await;
        }
        sent
    }

    /// Sends a stream that begins with `first`, which holds `taken`.
    async fn send_stream(
        &self,
        first: Vec<u8>,
        taken: super::budget::Taken,
        mut from: impl AsyncRead + Send + Unpin,
        upload: &Upload,
        meter: &Meter,
    ) -> Result<(BTreeMap<i32, Part>, Digest), TransferFault> {
        let mut whole = Sha256::new();
        let mut done = BTreeMap::new();
        let mut flying: FuturesUnordered<Spawned<Part>> = FuturesUnordered::new();
        let (mut part, mut held, mut number) = (first, taken, 1_i32);
        while !part.is_empty() {
            let hasher = whole;
            let (hasher, content, sha256) = blocking(move || {
                let sha256 = Digest::of(&part);
                Ok((hasher.chain_update(&part), part, sha256))
            })
            .await?;
            whole = hasher;
            let (own, to) = (self.clone(), upload.clone());
            flying.push(spawn(async move {
                let sent = own
                    .send_part(&to, number, Content::Memory(content), sha256)
                    .await;
                drop(held);
                sent
            }));
            number += 1;
            let next = u64::try_from(number).unwrap_or(u64::MAX);
            let size = stream_part(next, self.memory);
            // Asked for without waiting for the parts under way: they give back what is missing.
            let mut wait = Box::pin(self.budget.take(size.unwrap_or(1)));
            held = loop {
                tokio::select! {
                    taken = &mut wait => break taken,
                    Some(part) = flying.next(), if !flying.is_empty() => {
                        let part = part?;
                        meter.add(part.bytes);
                        done.insert(part.number, part);
                    }
                }
            };
            part = fill(&mut from, size.unwrap_or(1), &upload.to).await?;
            if size.is_none() && !part.is_empty() {
                return Err(TransferFault::TooLarge {
                    limit: stream_limit(self.memory),
                    help: "a stream may be longer when there is more memory for its parts; a file has no such limit".into(),
                });
            }
        }
        while let Some(part) = flying.next().await {
            let part = part?;
            meter.add(part.bytes);
            done.insert(part.number, part);
        }
        Ok((done, Digest::finish(whole)))
    }
}

/// What an earlier run left.
enum Past {
    Nothing,
    Parts(Upload, BTreeMap<i32, Part>),
    /// It was completed, and only the end of the run is missing.
    Landed(Landed),
}

pub(super) fn stored(to: &Place, bytes: u64, sha256: Digest, landed: Landed) -> Stored {
    Stored {
        place: to.clone(),
        bytes,
        sha256,
        etag: landed.etag,
        version: landed.version,
    }
}

fn construction<E>(
    error: Box<dyn std::error::Error + Send + Sync>,
) -> aws_smithy_runtime_api::client::result::SdkError<
    E,
    aws_smithy_runtime_api::client::orchestrator::HttpResponse,
> {
    aws_smithy_runtime_api::client::result::SdkError::construction_failure(error)
}

async fn read_whole(source: &Source) -> Result<Vec<u8>, TransferFault> {
    let source = source.clone();
    blocking(move || {
        let content =
            std::fs::read(&source.path).map_err(|e| TransferFault::local(&source.path, e))?;
        if content.len() as u64 == source.bytes {
            Ok(content)
        } else {
            Err(source.changed())
        }
    })
    .await
}

/// Adds this range of the file to the hash of the whole; the hash of the range besides.
fn hash(
    source: &Source,
    mut whole: Sha256,
    from: u64,
    bytes: u64,
) -> Result<(Sha256, Digest), TransferFault> {
    let at = |error: io::Error| match error.kind() {
        io::ErrorKind::UnexpectedEof => source.changed(),
        _ => TransferFault::local(&source.path, error),
    };
    let file = File::open(&source.path).map_err(at)?;
    let mut own = Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    let (mut from, end) = (from, from + bytes);
    while from < end {
        let size = usize::try_from(end - from)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        file.read_exact_at(&mut buffer[..size], from).map_err(at)?;
        whole.update(&buffer[..size]);
        own.update(&buffer[..size]);
        from += size as u64;
    }
    Ok((whole, Digest::finish(own)))
}

/// Reads until there are so many bytes, or no more.
async fn fill(
    from: &mut (impl AsyncRead + Send + Unpin),
    bytes: u64,
    to: &Place,
) -> Result<Vec<u8>, TransferFault> {
    // Room for all of it at once, so that it is never held twice; the system gives what is really used.
    let mut content = Vec::with_capacity(usize::try_from(bytes).unwrap_or_default());
    from.take(bytes)
        .read_to_end(&mut content)
        .await
        .map_err(|error| TransferFault::Source {
            to: to.clone(),
            error,
        })?;
    Ok(content)
}
