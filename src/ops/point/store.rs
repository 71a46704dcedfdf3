//! The points of a site, in its backup bucket.
//!
//! A list costs one paged listing below `points/`, one GET for each manifest, and one for each mark that matters: the
//! newest that says verified, drilled, pinned or unpinned, and being dropped, so five GETs a point at most. Manifests
//! and marks are never overwritten; each is written only where nothing is yet.

use std::collections::BTreeMap;

use aws_sdk_s3::primitives::ByteStream;
use futures::stream::{self, StreamExt, TryStreamExt};

use super::manifest::{Manifest, PointId};
use super::marks::{Family, Mark, Marks};
use super::sign::{Kind, Signer, Trusted, claims};
use crate::cloud::Fault;
use crate::ops::OpsFault;
use crate::resource::CloudCx;

/// Below which everything about points is.
const ALL: &str = "points/";

/// How many points are read at once.
const AT_ONCE: usize = 16;

/// How often a write that met another at the same moment is tried.
const TRIES: u32 = 5;

/// The points in one bucket, taken for true when this key signed them. Cheap to clone.
#[derive(Clone)]
pub struct Points {
    cx: CloudCx,
    bucket: String,
    trusted: Trusted,
}

/// What is below `points/<id>/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub id: PointId,
    pub standing: Standing,
    pub marks: Marks,
    /// What is said about it but cannot be trusted, a sentence each.
    pub doubts: Vec<String>,
    /// Every object below `points/<id>/`, sorted.
    pub keys: Vec<String>,
}

/// What a point's manifest is worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Signed as it should be.
    Signed(Box<Manifest>),
    /// Not to be believed. What it claims counts only for being careful with what it names.
    Untrusted {
        why: String,
        claims: Option<Box<Manifest>>,
    },
    /// There is none: it is being taken, or taking or removing it broke off. No point.
    Unfinished,
}

/// In one word, what can be done with a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    Whole,
    Incomplete,
    Dropping,
    Untrusted,
    Unfinished,
}

impl Condition {
    pub fn word(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Incomplete => "incomplete",
            Self::Dropping => "being dropped",
            Self::Untrusted => "not trusted",
            Self::Unfinished => "unfinished",
        }
    }
}

impl Listed {
    /// Its manifest, if it can be believed.
    pub fn manifest(&self) -> Option<&Manifest> {
        match &self.standing {
            Standing::Signed(manifest) => Some(manifest),
            Standing::Untrusted { .. } | Standing::Unfinished => None,
        }
    }

    pub fn condition(&self) -> Condition {
        match &self.standing {
            // Before anything else: what is not believed cannot say what would have to be removed.
            Standing::Untrusted { .. } => Condition::Untrusted,
            _ if self.marks.dropping.is_some() => Condition::Dropping,
            Standing::Signed(manifest) if manifest.whole => Condition::Whole,
            Standing::Signed(_) => Condition::Incomplete,
            Standing::Unfinished => Condition::Unfinished,
        }
    }

    /// The manifest of a point that may be restored, or why it may not.
    pub fn restorable(&self) -> Result<&Manifest, OpsFault> {
        let refused = |why: String| {
            OpsFault::refused(
                format!("the recovery point {} cannot be restored", self.id),
                why,
                "`gantry backup list` shows the points that are whole",
            )
        };
        if let Some(dropping) = &self.marks.dropping {
            return Err(refused(format!(
                "its parts are being removed since {} (run {})",
                dropping.at.strftime("%F %T UTC"),
                dropping.run
            )));
        }
        match &self.standing {
            Standing::Signed(manifest) if manifest.whole => Ok(manifest),
            Standing::Signed(_) => {
                Err(refused("it is incomplete: not every part was saved".into()))
            }
            Standing::Untrusted { why, .. } => {
                Err(refused(format!("its manifest cannot be trusted: {why}")))
            }
            Standing::Unfinished => {
                Err(refused("it has no manifest: it was never finished".into()))
            }
        }
    }
}

/// Where a point's manifest is.
pub fn manifest_key(id: &PointId) -> String {
    format!("{ALL}{id}/manifest.json")
}

impl Points {
    /// The points in `bucket`, which is in the region of `cx`.
    pub fn new(cx: CloudCx, bucket: impl Into<String>, trusted: Trusted) -> Self {
        Self {
            cx,
            bucket: bucket.into(),
            trusted,
        }
    }

    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    pub fn cloud(&self) -> &CloudCx {
        &self.cx
    }

    pub fn trusted(&self) -> Trusted {
        self.trusted
    }

    /// Every point, oldest first, also those that are not whole or not to be trusted. See above for what it costs.
    pub async fn list(&self) -> Result<Vec<Listed>, OpsFault> {
        let mut all: BTreeMap<PointId, Vec<String>> = BTreeMap::new();
        for key in self.keys(ALL).await? {
            let id = key[ALL.len()..].split_once('/').map(|(id, _)| id.parse());
            // What is below no point's name, somebody else put there.
            if let Some(Ok(id)) = id {
                all.entry(id).or_default().push(key);
            }
        }
        let reads = all.into_iter().map(|(id, keys)| self.look(id, keys));
        stream::iter(reads)
            .buffered(AT_ONCE)
            .try_collect::<Vec<_>>()
            .await
    }

    /// One point, at the cost of one listing and its own GETs. One that is not there at all is refused by name.
    pub async fn read(&self, id: &PointId) -> Result<Listed, OpsFault> {
        let keys = self.keys_of(id).await?;
        if keys.is_empty() {
            return Err(OpsFault::refused(
                format!("there is no recovery point {id}"),
                format!("nothing is below s3://{}/{ALL}{id}/", self.bucket),
                "`gantry backup list` shows those there are",
            ));
        }
        self.look(id.clone(), keys).await
    }

    /// Writes the manifest of a point; from then on the point is there. The same manifest again is fine (an answer was
    /// lost); another one in its place is refused.
    pub async fn write(&self, signer: &Signer, manifest: &Manifest) -> Result<(), OpsFault> {
        let key = manifest_key(&manifest.id);
        self.write_signed(signer, Kind::Manifest, &key, manifest)
            .await
    }

    /// Puts a mark beside a manifest. The same mark again is fine.
    pub async fn mark(&self, signer: &Signer, id: &PointId, mark: &Mark) -> Result<(), OpsFault> {
        self.write_signed(signer, Kind::Mark, &mark.key(id), mark)
            .await
    }

    async fn write_signed<T: serde::Serialize>(
        &self,
        signer: &Signer,
        kind: Kind,
        key: &str,
        document: &T,
    ) -> Result<(), OpsFault> {
        if signer.trusted() != self.trusted {
            return Err(OpsFault::internal(format!(
                "{key} would be signed with {}, which is not trusted here",
                signer.trusted()
            )));
        }
        let envelope = signer
            .sign(kind, key, document)
            .map_err(|error| error.about(key))?;
        self.put_once(key, envelope).await
    }

    /// Writes an object that must not be there yet, or be the same.
    async fn put_once(&self, key: &str, content: Vec<u8>) -> Result<(), OpsFault> {
        for _ in 0..TRIES {
            let put = self
                .cx
                .put("s3:PutObject", || {
                    let put = self.cx.aws().s3.put_object();
                    put.bucket(&self.bucket)
                        .key(key)
                        .if_none_match("*")
                        .content_type("application/json")
                        .body(ByteStream::from(content.clone()))
                        .send()
                })
                .await;
            match put {
                Ok(_) => return Ok(()),
                // Another write of the same key is under way: it may fail or not.
                Err(fault) if fault.code() == "ConditionalRequestConflict" => {
                    self.cx
                        .clock()
                        .sleep(std::time::Duration::from_secs(1))
                        .await;
                    continue;
                }
                Err(fault) if fault.code() == "PreconditionFailed" => {}
                Err(fault) => return Err(fault.into()),
            }
            match self.get(key).await? {
                Some(there) if there == content => return Ok(()),
                Some(_) => {
                    return Err(OpsFault::refused(
                        format!("s3://{}/{key} is not written", self.bucket),
                        "it is there already, with another content, and is never overwritten",
                        "a run of the same id wrote it: look at it with `gantry backup show`",
                    ));
                }
                // Removed between the two calls.
                None => {}
            }
        }
        Err(OpsFault::refused(
            format!("s3://{}/{key} is not written", self.bucket),
            "others write and remove it at the same time",
            "see that only one gantry works on the site, and run the same command again",
        ))
    }

    /// Reads what is below one point's name.
    async fn look(&self, id: PointId, keys: Vec<String>) -> Result<Listed, OpsFault> {
        let mut listed = Listed {
            standing: Standing::Unfinished,
            marks: Marks::default(),
            doubts: Vec::new(),
            keys,
            id,
        };
        let manifest = manifest_key(&listed.id);
        if listed.keys.contains(&manifest)
            && let Some(envelope) = self.get(&manifest).await?
        {
            listed.standing = self.judge(&listed.id, &manifest, &envelope);
        }
        for family in Family::ALL {
            // Of something without a manifest only one thing matters: whether it is the remains of a removal.
            if listed.standing == Standing::Unfinished && family != Family::Dropping {
                continue;
            }
            self.newest(family, &mut listed).await?;
        }
        Ok(listed)
    }

    fn judge(&self, id: &PointId, key: &str, envelope: &[u8]) -> Standing {
        let why = match self.trusted.open::<Manifest>(Kind::Manifest, key, envelope) {
            Ok(manifest) if manifest.id == *id => return Standing::Signed(Box::new(manifest)),
            Ok(manifest) => format!("it says that it is {}", manifest.id),
            Err(error) => error.to_string(),
        };
        Standing::Untrusted {
            why,
            claims: claims(Kind::Manifest, envelope).map(Box::new),
        }
    }

    /// Takes the newest mark of a family that can be trusted.
    async fn newest(&self, family: Family, listed: &mut Listed) -> Result<(), OpsFault> {
        for key in family.keys(&listed.id, &listed.keys) {
            let Some(envelope) = self.get(key).await? else {
                continue;
            };
            match self.trusted.open::<Mark>(Kind::Mark, key, &envelope) {
                Ok(mark) => {
                    listed.marks.take(mark);
                    return Ok(());
                }
                // Whoever may write to the bucket could put it there: the one before it counts.
                Err(error) => listed.doubts.push(format!("{key} does not count: {error}")),
            }
        }
        Ok(())
    }

    /// Every object below a point's name, as it is now.
    pub(in crate::ops) async fn keys_of(&self, id: &PointId) -> Result<Vec<String>, OpsFault> {
        self.keys(&format!("{ALL}{id}/")).await
    }

    /// Every key below a prefix, sorted.
    async fn keys(&self, prefix: &str) -> Result<Vec<String>, OpsFault> {
        let mut keys = Vec::new();
        let mut next: Option<String> = None;
        loop {
            let page = self
                .cx
                .read("s3:ListBucket", || {
                    let ask = self.cx.aws().s3.list_objects_v2();
                    ask.bucket(&self.bucket)
                        .prefix(prefix)
                        .set_continuation_token(next.clone())
                        .send()
                })
                .await;
            let page = match page {
                Ok(page) => page,
                Err(fault) if fault.is_gone() => {
                    return Err(OpsFault::refused(
                        "there are no recovery points",
                        format!("the bucket {} does not exist", self.bucket),
                        "`gantry install` makes it; look at site.name, site.account and site.region of the site file",
                    ));
                }
                Err(fault) => return Err(fault.into()),
            };
            let found = page.contents().iter().filter_map(|object| object.key());
            keys.extend(found.map(str::to_owned));
            next = page.next_continuation_token().map(str::to_owned);
            if next.is_none() {
                return Ok(keys);
            }
        }
    }

    /// The content of an object in the backup bucket; none where it is not there.
    pub(in crate::ops) async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, OpsFault> {
        let asked = self
            .cx
            .read("s3:GetObject", || {
                let ask = self.cx.aws().s3.get_object();
                ask.bucket(&self.bucket).key(key).send()
            })
            .await;
        let answer = match asked {
            Ok(answer) => answer,
            Err(fault) if fault.is_gone() => return Ok(None),
            Err(fault) => return Err(fault.into()),
        };
        match answer.body.collect().await {
            Ok(content) => Ok(Some(content.to_vec())),
            Err(error) => Err(Fault::Unknown {
                call: "s3:GetObject".into(),
                message: format!("s3://{}/{key} broke off: {error}", self.bucket),
            }
            .into()),
        }
    }
}
