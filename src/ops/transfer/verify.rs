//! Whether what is stored is what was saved: existence and size of everything, the content of a share of it.

use std::fmt;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use sha2::{Digest as _, Sha256};

use super::index::IndexLine;
use super::listing::{Listed, Listing, What};
use super::pieces::Pieces;
use super::progress::Meter;
use super::spawned::{Spawned, blocking, spawn};
use super::{Digest, OBJECTS_AT_ONCE, Object, Place, Share, Transfer, TransferFault};
use crate::ops::point::ObjectIndex;

/// What is wrong with an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    Missing,
    Size {
        is: u64,
        should: u64,
    },
    /// Its content is not what was saved, and how that shows.
    Content(String),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("is missing"),
            Self::Size { is, should } => write!(f, "has {is} bytes and should have {should}"),
            Self::Content(why) => f.write_str(why),
        }
    }
}

/// What a verification of many objects found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// Objects whose existence and size were looked at: all of them.
    pub count: u64,
    /// Objects that were read back, and their bytes.
    pub read: u64,
    pub read_bytes: u64,
    /// By key; the first hundred.
    pub problems: Vec<(String, Problem)>,
    /// Problems beyond these.
    pub more: u64,
}

impl Findings {
    pub fn is_good(&self) -> bool {
        self.problems.is_empty()
    }

    fn add(&mut self, key: String, problem: Problem) {
        if self.problems.len() < 100 {
            self.problems.push((key, problem));
        } else {
            self.more += 1;
        }
    }
}

/// An object that was read back.
struct Read {
    key: String,
    bytes: u64,
    problem: Option<Problem>,
}

/// Up to this size an object is read in one call, for S3's checksum of the whole. A line that breaks begins it anew, which
/// larger ones would hardly come through.
const LARGEST_WHOLE: u64 = 64 << 30;

impl Transfer {
    /// Reads an object back, and compares what is known of it. None: it is as it was saved. Errors are only about the
    /// reading.
    ///
    /// Where its SHA-256 is not known, its content is compared with the checksum that S3 keeps of the whole object. One
    /// that S3 keeps none of (some uploads in parts, some from before 2025) was read to its end and has the right size;
    /// no more is known of it. That its tag may be its MD5 is not made use of.
    pub async fn verify_object(&self, object: &Object) -> Result<Option<Problem>, TransferFault> {
        let meter = self.meter(object.bytes);
        self.verify_counted(object, None, &meter).await
    }

    /// Compares a list in `list_bucket` with what is in a bucket now (or, where the list names versions, is still
    /// kept there): existence and size of every object, and the content of a share of them, chosen by `seed`, as
    /// [`Self::verify_object`] does. `of` is where the objects are, and the beginning of their keys.
    pub async fn verify_index(
        &self,
        list_bucket: &str,
        index: &ObjectIndex,
        of: &Place,
        share: Share,
        seed: u64,
    ) -> Result<Findings, TransferFault> {
        let meter = self.meter(None);
        let mut lines = self.read_index(list_bucket, index);
        let mut listing: Option<Listing> = None;
        let mut findings = Findings::default();
        let mut flying: FuturesUnordered<Spawned<Read>> = FuturesUnordered::new();
        while let Some(line) = lines.next().await? {
            findings.count += 1;
            // All objects of one list are from one bucket: with versions, or without.
            let what = match line.version {
                Some(_) => What::Versions,
                None => What::Objects,
            };
            let there = listing
                .get_or_insert_with(|| Listing::new(self, of, what))
                .at(&line.key)
                .await?;
            if let Some(problem) = compare(&line, &there) {
                findings.add(line.key, problem);
                continue;
            }
            if !share.holds(seed, &line.key) {
                continue;
            }
            while flying.len() >= OBJECTS_AT_ONCE {
                if let Some(read) = flying.next().await {
                    count(&mut findings, read?);
                }
            }
            flying.push(self.read_back(line, &of.bucket, &meter));
        }
        while let Some(read) = flying.next().await {
            count(&mut findings, read?);
        }
        findings.problems.sort_by(|one, other| one.0.cmp(&other.0));
        Ok(findings)
    }

    fn read_back(&self, line: IndexLine, bucket: &str, meter: &Meter) -> Spawned<Read> {
        let (own, meter, object) = (self.clone(), meter.clone(), line.object(bucket));
        spawn(async move {
            let problem = own
                .verify_counted(&object, Some(&line.etag), &meter)
                .await?;
            Ok(Read {
                key: line.key,
                bytes: line.bytes,
                problem,
            })
        })
    }

    async fn verify_counted(
        &self,
        object: &Object,
        etag: Option<&str>,
        meter: &Meter,
    ) -> Result<Option<Problem>, TransferFault> {
        let compared = match object.sha256 {
            Some(wanted) => self.compare_sha256(object, wanted, meter).await,
            None => self.compare_with_s3(object, etag, meter).await,
        };
        match compared {
            Err(TransferFault::Damaged { why, .. }) => Ok(Some(Problem::Content(why))),
            Err(TransferFault::Cloud(fault)) if fault.is_gone() => Ok(Some(Problem::Missing)),
            Err(TransferFault::Cloud(fault)) if fault.code() == "PreconditionFailed" => Ok(Some(
                Problem::Content("it changed while it was read".into()),
            )),
            other => other,
        }
    }

    /// Reads all of an object, several pieces at once.
    async fn compare_sha256(
        &self,
        object: &Object,
        wanted: Digest,
        meter: &Meter,
    ) -> Result<Option<Problem>, TransferFault> {
        let mut pieces = Pieces::new(self, object, 0, meter);
        let mut sha256 = Sha256::new();
        while let Some(piece) = pieces.next().await? {
            sha256 = blocking(move || Ok(sha256.chain_update(&piece.content))).await?;
        }
        let is = Digest::finish(sha256);
        if is == wanted {
            return Ok(None);
        }
        Ok(Some(Problem::Content(format!(
            "its SHA-256 is {is} and should be {wanted}"
        ))))
    }

    /// Reads all of an object in pieces, each of which is asked for again when the line breaks; its tag.
    async fn read_pieces(&self, object: &Object, meter: &Meter) -> Result<String, TransferFault> {
        let mut pieces = Pieces::new(self, object, 0, meter);
        while pieces.next().await?.is_some() {}
        Ok(pieces.look().await?.etag)
    }

    /// Reads all of an object of which only S3 knows a checksum. One that is larger than [`LARGEST_WHOLE`] is read, and
    /// compared by size and tag alone.
    async fn compare_with_s3(
        &self,
        object: &Object,
        etag: Option<&str>,
        meter: &Meter,
    ) -> Result<Option<Problem>, TransferFault> {
        let is = if object.bytes.is_some_and(|bytes| bytes > LARGEST_WHOLE) {
            self.read_pieces(object, meter).await?
        } else {
            self.stream_whole(object, meter).await?
        };
        let other = etag.filter(|wanted| *wanted != is);
        Ok(other.map(|wanted| Problem::Content(format!("its tag is {is} and should be {wanted}"))))
    }
}

fn compare(line: &IndexLine, there: &[Listed]) -> Option<Problem> {
    let found = there.iter().find(|object| match &line.version {
        Some(_) => object.version == line.version,
        None => object.newest,
    });
    match found {
        None => Some(Problem::Missing),
        Some(object) if object.bytes != line.bytes => Some(Problem::Size {
            is: object.bytes,
            should: line.bytes,
        }),
        Some(_) => None,
    }
}

fn count(findings: &mut Findings, read: Read) {
    findings.read += 1;
    findings.read_bytes += read.bytes;
    if let Some(problem) = read.problem {
        findings.add(read.key, problem);
    }
}
