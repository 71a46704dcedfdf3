//! What a manifest says.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The manifest's present format.
pub const FORMAT: u32 = 1;

/// A point's name: `20261125T023000Z-1a2b3c`, the run that took it. Sorts by time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PointId(String);

impl PointId {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As it may stand in names of AWS: small letters, digits and hyphens.
    pub fn stamp(&self) -> String {
        self.0.to_ascii_lowercase()
    }
}

impl fmt::Display for PointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for PointId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shape = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if (8..=40).contains(&text.len()) && text.chars().all(shape) && text.contains('T') {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!(
                "`{text}` is not the id of a recovery point, like 20261125T023000Z-1a2b3c"
            ))
        }
    }
}

impl TryFrom<String> for PointId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<PointId> for String {
    fn from(id: PointId) -> Self {
        id.0
    }
}

/// Everything that is needed to know what a point is and how each part of it comes back. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    pub format: u32,
    pub id: PointId,
    pub purpose: Purpose,
    pub site: SiteOf,
    pub gitlab: Gitlab,
    pub engines: Engines,
    /// `ha-3k`.
    pub profile: String,
    /// SHA-256 of the blueprint at that time, in hexadecimal digits.
    pub blueprint: String,
    pub by: By,
    pub began: Timestamp,
    pub ended: Timestamp,
    /// Whether every part was saved. A point that is not whole restores nothing and lets nothing be pruned.
    pub whole: bool,
    pub parts: Vec<Part>,
    /// A sample of repositories by their paths on disk, with a digest of their refs: those that nobody pushed to while
    /// the point was taken. A restore is compared with it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub refs: BTreeMap<String, String>,
}

/// Why a point was taken: which schedule, or a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// Everything, as `gantry backup create` takes it.
    Full,
    /// Disks and databases, as `gantry snapshot create` takes them.
    Snapshot,
    /// Some of the parts of a full one, because a person asked for those. It stands for no full one anywhere.
    Partial,
}

/// Whose point it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiteOf {
    pub name: String,
    pub account: String,
    pub region: String,
    pub domain: String,
}

/// The GitLab that wrote the data. It restores into exactly this version and edition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gitlab {
    /// `19.5.3`
    pub version: String,
    pub edition: Edition,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Edition {
    Ee,
    Ce,
}

/// Versions of the engines, as the profile or the service names them; none where the box runs its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Engines {
    pub postgresql: Option<String>,
    pub valkey: Option<String>,
}

/// Who took it, where, in which run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct By {
    pub user: String,
    pub host: String,
    pub run: String,
    /// gantry's own version.
    pub gantry: String,
}

/// What a part is of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PartName {
    /// The main database.
    Database,
    /// Praefect's own database.
    PraefectDatabase,
    /// Git data: repositories, wikis, snippets, designs.
    Repositories,
    /// Data volumes of nodes.
    Volumes,
    /// One bucket of objects, by GitLab's word for the type: `artifacts`, `lfs`.
    Objects(String),
    /// The container registry's bucket.
    Registry,
    /// `gitlab-secrets.json`, the host keys of Git over SSH, and the other values in Secrets Manager.
    Secrets,
    /// The files of the nodes and the site file.
    Configuration,
}

impl fmt::Display for PartName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Database => f.pad("database"),
            Self::PraefectDatabase => f.pad("praefect-database"),
            Self::Repositories => f.pad("repositories"),
            Self::Volumes => f.pad("volumes"),
            Self::Objects(of) => f.pad(&format!("objects-{of}")),
            Self::Registry => f.pad("registry"),
            Self::Secrets => f.pad("secrets"),
            Self::Configuration => f.pad("configuration"),
        }
    }
}

impl FromStr for PartName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "database" => Self::Database,
            "praefect-database" => Self::PraefectDatabase,
            "repositories" => Self::Repositories,
            "volumes" => Self::Volumes,
            "registry" => Self::Registry,
            "secrets" => Self::Secrets,
            "configuration" => Self::Configuration,
            _ => match text.strip_prefix("objects-") {
                Some(of) if !of.is_empty() => Self::Objects(of.to_owned()),
                _ => return Err(format!("`{text}` is no part of a recovery point")),
            },
        })
    }
}

impl Serialize for PartName {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PartName {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// One part: when it was saved, how it comes back, how large it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    pub name: PartName,
    pub began: Timestamp,
    pub ended: Timestamp,
    /// Bytes, as far as they are known: of snapshots, the size of the disks.
    pub bytes: u64,
    pub outcome: Outcome,
}

/// What became of a part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[expect(
    clippy::large_enum_variant,
    reason = "a point has a dozen parts, and nearly all are saved"
)]
pub enum Outcome {
    Saved(Way),
    Failed { why: String },
}

impl Part {
    /// How the part comes back; none where it was not saved.
    pub fn way(&self) -> Option<&Way> {
        match &self.outcome {
            Outcome::Saved(way) => Some(way),
            Outcome::Failed { .. } => None,
        }
    }
}

impl Manifest {
    pub fn part(&self, name: &PartName) -> Option<&Part> {
        self.parts.iter().find(|part| part.name == *name)
    }

    /// The chain its Git data belongs to.
    pub fn chain(&self) -> Option<&Chain> {
        match self.part(&PartName::Repositories)?.way()? {
            Way::GitalyServerSide { chain, .. } => Some(chain),
            _ => None,
        }
    }

    /// How far apart the moments of the parts are, from the first that began to the last that ended.
    pub fn skew(&self) -> std::time::Duration {
        let began = self.parts.iter().map(|part| part.began).min();
        let ended = self.parts.iter().map(|part| part.ended).max();
        match (began, ended) {
            (Some(began), Some(ended)) => {
                ended.duration_since(began).try_into().unwrap_or_default()
            }
            _ => std::time::Duration::ZERO,
        }
    }
}

/// What brings a part back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "way", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Way {
    /// A snapshot of an RDS instance.
    DatabaseSnapshot {
        instance: String,
        snapshot: String,
        arn: String,
        /// `db.m6i.large`, so that what it is restored into fits.
        class: String,
        copies: Vec<RegionCopy>,
    },
    /// A moment in the log of an RDS instance, as long as its automated backups are kept.
    PointInTime {
        instance: String,
        resource: String,
        at: Timestamp,
    },
    /// Made again from another part, because a copy would be of an unrelated moment
    /// (doc/administration/backup_restore/backup_archive_process.md).
    Rebuilt { from: PartName },
    /// The archive of `gitlab-backup`: database and repositories of a box.
    Archive {
        bucket: String,
        key: String,
        /// What `gitlab-backup restore` wants as `BACKUP=`; never renamed.
        backup: String,
        /// SHA-256 of the archive, in hexadecimal digits.
        sha256: String,
        /// What is in it.
        holds: Vec<PartName>,
    },
    /// Repositories that Gitaly wrote to a bucket of its own, and the small archive that names them.
    GitalyServerSide {
        bucket: String,
        archive_bucket: String,
        archive_key: String,
        archive_sha256: String,
        chain: Chain,
        /// Everything the backup consists of in Gitaly's bucket, and the earlier steps it builds on.
        index: ObjectIndex,
    },
    /// Disks of one instance each, all of one moment.
    DiskSnapshots { disks: Vec<DiskImage> },
    /// The versions of a bucket's objects at that time.
    ObjectVersions { bucket: String, index: ObjectIndex },
    /// Encrypted by gantry itself, under a key that the data is not encrypted with.
    Sealed(Sealed),
}

/// A copy in another region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegionCopy {
    pub region: String,
    /// The snapshot's id or ARN there.
    pub id: String,
}

/// A place in a chain of Gitaly's backups: each increment needs every step before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chain {
    /// The id that `gitlab-backup` gave to this backup.
    pub backup: String,
    /// The point whose backup is the whole one that the chain begins with; itself, if this is it.
    pub first: PointId,
    /// The point this one adds to; none for the first.
    pub previous: Option<PointId>,
    pub rank: Rank,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rank {
    Whole,
    Increment,
}

/// A list of objects: gzip of one JSON line each, `{"key", "version", "bytes", "etag"}`, sorted by key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObjectIndex {
    /// Where the list is, in the backup bucket.
    pub key: String,
    /// SHA-256 of the list as stored, in hexadecimal digits.
    pub sha256: String,
    pub count: u64,
    pub bytes: u64,
}

/// A snapshot of one volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskImage {
    pub node: String,
    pub volume: String,
    pub snapshot: String,
    pub gib: u32,
    pub copies: Vec<RegionCopy>,
}

/// Something encrypted with AES-256-GCM under a data key of KMS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sealed {
    pub bucket: String,
    pub key: String,
    /// The ARN of the key in KMS that the data key is encrypted with.
    pub kms: String,
    /// SHA-256 of the sealed bytes, in hexadecimal digits.
    pub sha256: String,
    /// SHA-256 of the database's own mark of its secrets, for telling whether they fit; see `seal`.
    pub fits: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_ids_of_runs() {
        let id: PointId = "20261125T023000Z-1a2b3c".parse().unwrap();
        assert_eq!(id.stamp(), "20261125t023000z-1a2b3c");
        for wrong in ["", "latest", "../20261125T023000Z", "20261125T023000Z/1"] {
            assert!(wrong.parse::<PointId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn parts_print_back() {
        for text in [
            "database",
            "praefect-database",
            "repositories",
            "volumes",
            "objects-lfs",
            "registry",
            "secrets",
            "configuration",
        ] {
            assert_eq!(text.parse::<PartName>().unwrap().to_string(), text);
        }
        assert!("objects-".parse::<PartName>().is_err());
    }
}
