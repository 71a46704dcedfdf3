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

impl Transfer {
    /// Reads an object back, and compares what is known of it. None: it is as it was saved. Errors are only about the
    /// reading.
    pub async fn verify_object(&self, object: &Object) -> Result<Option<Problem>, TransferFault> {
        let meter = self.meter(object.bytes);
        self.verify_counted(object, None, &meter).await
    }

    /// Compares a list in `list_bucket` with what is in a bucket now (or, where the list names versions, is still
    /// kept there): existence and size of every object, and the content of a share of them, chosen by `seed`.
    /// `of` is where the objects are, and the beginning of their keys.
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
        let problem = match self.read_through(object, meter).await {
            Ok((sha256, is)) => match (object.sha256, etag) {
                (Some(wanted), _) if wanted != sha256 => Some(Problem::Content(format!(
                    "its SHA-256 is {sha256} and should be {wanted}"
                ))),
                (None, Some(wanted)) if wanted != is => Some(Problem::Content(format!(
                    "its tag is {is} and should be {wanted}"
                ))),
                _ => None,
            },
            Err(TransferFault::Damaged { why, .. }) => Some(Problem::Content(why)),
            Err(TransferFault::Cloud(fault)) if fault.is_gone() => Some(Problem::Missing),
            Err(TransferFault::Cloud(fault)) if fault.code() == "PreconditionFailed" => {
                Some(Problem::Content("it changed while it was read".into()))
            }
            Err(fault) => return Err(fault),
        };
        Ok(problem)
    }

    /// Reads all of an object; its SHA-256 and its tag.
    async fn read_through(
        &self,
        object: &Object,
        meter: &Meter,
    ) -> Result<(Digest, String), TransferFault> {
        let mut pieces = Pieces::new(self, object, 0, meter);
        let mut sha256 = Sha256::new();
        while let Some(piece) = pieces.next().await? {
            sha256 = blocking(move || Ok(sha256.chain_update(&piece.content))).await?;
        }
        Ok((Digest::finish(sha256), pieces.look().await?.etag))
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
