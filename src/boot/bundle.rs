//! A node's files in one archive, with a manifest of everything the boot program does on that node.
//!
//! The same manifest and contents always give the same bytes, so a bundle's hash says whether anything changed.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use flate2::read::GzDecoder;
use flate2::{Compression, GzBuilder};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{Pointer, sha256};
use crate::blueprint::Role;

/// The boot program refuses anything longer, in bytes.
const LONGEST: u64 = 64 * 1024 * 1024;

/// Where the manifest lies in the archive.
const MANIFEST: &str = "manifest.json";

/// Files that the boot program writes itself, or that user data brought.
const RESERVED: [&str; 4] = [
    "/etc/gantry/node.json",
    "/etc/gantry/secrets.json",
    "/etc/gitlab/gitlab-secrets.json",
    "/etc/fstab",
];

/// What a node should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// 1; see [`Manifest::new`].
    pub format: u32,
    /// `gitaly-1`; `rails` for every member of the group.
    pub node: String,
    pub role: Role,
    /// None on the bastion.
    pub package: Option<PackageEntry>,
    /// Sorted by path.
    pub files: Vec<FileEntry>,
    pub secrets: Vec<SecretEntry>,
    pub volume: Option<VolumeEntry>,
    /// Whether `gitlab-secrets` and `ssh-host-keys` are born here when they have no value yet.
    pub deploy: bool,
    /// Whether `/etc/gitlab/ssl/rds-bundle.pem` is wanted.
    pub rds_ca: bool,
    /// What the deploy node prepares before its first migration; none where the package runs PostgreSQL itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<DatabaseEntry>,
}

/// GitLab's database on RDS, and what else is to be there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseEntry {
    pub host: String,
    pub port: u16,
    pub name: String,
    /// Who may create extensions, users and databases: RDS's first user.
    pub user: String,
    /// The name of its password among the node's secrets.
    pub secret: String,
    /// Extensions that migrations count on.
    pub extensions: Vec<String>,
    /// Databases beside it on the same server, each with a user who owns it.
    pub beside: Vec<OwnedDatabase>,
}

/// A database with a user of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnedDatabase {
    pub name: String,
    pub user: String,
    pub secret: String,
}

/// GitLab's package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageEntry {
    /// `gitlab-ee`
    pub name: String,
    /// As apt knows it: `19.5.3-ee.0`.
    pub version: String,
    /// `official`, or the https address of a copy of packages.gitlab.com.
    pub source: String,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Absolute.
    pub path: String,
    /// `0600`
    pub mode: String,
    /// `root:root`
    pub owner: String,
    pub sha256: String,
}

/// A secret that the node reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretEntry {
    /// Its key in `/etc/gantry/secrets.json`. `gitlab-secrets` and `ssh-host-keys` go to files of their own.
    pub name: String,
    /// The name or ARN in Secrets Manager.
    pub entry: String,
    /// Whether the node waits for a value.
    pub required: bool,
}

/// The data volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeEntry {
    /// `vol-…`
    pub id: String,
    /// Where it is mounted.
    pub mount: String,
    /// What an empty volume is formatted with. One that has a file system keeps it.
    pub filesystem: Filesystem,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Filesystem {
    Ext4,
    Xfs,
}

/// Why a bundle cannot be made, or read.
#[derive(Debug, Error)]
pub enum BundleError {
    #[error("`{0}` is no absolute path of plain parts")]
    Path(String),
    #[error("{0} is written by the boot program itself")]
    Reserved(String),
    #[error("{path} has the mode `{mode}`")]
    Mode { path: String, mode: String },
    #[error("{path} has the owner `{owner}`")]
    Owner { path: String, owner: String },
    #[error("{0} is in the manifest twice")]
    Twice(String),
    #[error("{0} is in the manifest, and its content is not there")]
    Missing(String),
    #[error("{0} is not in the manifest")]
    Surplus(String),
    #[error("{0} does not hash to what the manifest says")]
    Content(String),
    #[error("`{0}` is no name of a secret")]
    Secret(String),
    #[error("the bundle of {node} has {size} bytes, and {LONGEST} are taken")]
    Long { node: String, size: u64 },
    #[error("the manifest is of format {0}, and this gantry knows 1")]
    Format(u32),
    #[error("the manifest is not JSON as it should be")]
    Shape(#[source] serde_json::Error),
    #[error("the archive cannot be read or written")]
    Archive(#[source] io::Error),
}

impl Manifest {
    /// A node that installs nothing and has no files yet.
    pub fn new(node: impl Into<String>, role: Role) -> Self {
        Self {
            format: 1,
            node: node.into(),
            role,
            package: None,
            files: vec![],
            secrets: vec![],
            volume: None,
            deploy: false,
            rds_ca: false,
            database: None,
        }
    }

    fn check(&self) -> Result<(), BundleError> {
        let mut seen = std::collections::BTreeSet::new();
        for file in &self.files {
            file.check()?;
            if !seen.insert(&file.path) {
                return Err(BundleError::Twice(file.path.clone()));
            }
        }
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        for secret in &self.secrets {
            if secret.name.is_empty() || !secret.name.chars().all(plain) {
                return Err(BundleError::Secret(secret.name.clone()));
            }
        }
        Ok(())
    }
}

impl FileEntry {
    /// The entry of a file with this content.
    pub fn of(
        path: impl Into<String>,
        mode: impl Into<String>,
        owner: impl Into<String>,
        content: impl AsRef<[u8]>,
    ) -> Self {
        Self {
            path: path.into(),
            mode: mode.into(),
            owner: owner.into(),
            sha256: sha256(content),
        }
    }

    fn check(&self) -> Result<(), BundleError> {
        let path = || self.path.clone();
        let part = |part: &str| !part.is_empty() && part != "." && part != "..";
        let rest = self.path.strip_prefix('/').unwrap_or_default();
        if !rest.split('/').all(part) || self.path.chars().any(char::is_control) {
            return Err(BundleError::Path(path()));
        }
        if RESERVED.contains(&self.path.as_str()) {
            return Err(BundleError::Reserved(path()));
        }
        if !matches!(self.mode.len(), 3 | 4)
            || !self.mode.bytes().all(|b| (b'0'..=b'7').contains(&b))
            || (self.mode.len() == 4 && !self.mode.starts_with('0'))
        {
            return Err(BundleError::Mode {
                path: path(),
                mode: self.mode.clone(),
            });
        }
        let name = |name: &str| {
            !name.is_empty()
                && name
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-".contains(&b))
        };
        match self.owner.split_once(':') {
            Some((user, group)) if name(user) && name(group) => Ok(()),
            _ => Err(BundleError::Owner {
                path: path(),
                owner: self.owner.clone(),
            }),
        }
    }
}

/// A packed bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    pub bytes: Vec<u8>,
    pub sha256: String,
    node: String,
}

impl Bundle {
    /// Packs a manifest with the content of each of its files, by path.
    pub fn pack(
        manifest: &Manifest,
        contents: &BTreeMap<String, Vec<u8>>,
    ) -> Result<Self, BundleError> {
        manifest.check()?;
        let mut files: Vec<&FileEntry> = manifest.files.iter().collect();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        if let Some(path) = contents
            .keys()
            .find(|path| !files.iter().any(|f| f.path == **path))
        {
            return Err(BundleError::Surplus(path.clone()));
        }
        let sorted = Manifest {
            files: files.iter().map(|f| (*f).clone()).collect(),
            ..manifest.clone()
        };
        let mut text = serde_json::to_vec_pretty(&sorted).map_err(BundleError::Shape)?;
        text.push(b'\n');

        // No name and no time; 255 is "unknown system".
        let zip = GzBuilder::new()
            .mtime(0)
            .operating_system(255)
            .write(Vec::new(), Compression::best());
        let mut archive = tar::Builder::new(zip);
        append(&mut archive, MANIFEST, &text)?;
        for file in files {
            let content = contents
                .get(&file.path)
                .ok_or_else(|| BundleError::Missing(file.path.clone()))?;
            if sha256(content) != file.sha256 {
                return Err(BundleError::Content(file.path.clone()));
            }
            append(&mut archive, &format!("files{}", file.path), content)?;
        }
        let bytes = archive
            .into_inner()
            .and_then(|zip| zip.finish())
            .map_err(BundleError::Archive)?;
        let bundle = Self {
            sha256: sha256(&bytes),
            bytes,
            node: manifest.node.clone(),
        };
        if bundle.size() > LONGEST {
            return Err(BundleError::Long {
                node: bundle.node.clone(),
                size: bundle.size(),
            });
        }
        Ok(bundle)
    }

    /// The length in bytes.
    pub fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// What points the node at this bundle.
    pub fn pointer(&self) -> Pointer {
        Pointer::new(&self.node, &self.sha256, self.size())
    }

    /// Reads a bundle back: its manifest, and the content of each file by path. Refuses what the boot program would
    /// refuse.
    pub fn open(bytes: &[u8]) -> Result<(Manifest, BTreeMap<String, Vec<u8>>), BundleError> {
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        let mut found = BTreeMap::new();
        let mut archive = tar::Archive::new(GzDecoder::new(bytes));
        for entry in archive.entries().map_err(BundleError::Archive)? {
            let mut entry = entry.map_err(BundleError::Archive)?;
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let mut content = Vec::new();
            entry
                .read_to_end(&mut content)
                .map_err(BundleError::Archive)?;
            if found.insert(name.clone(), content).is_some() {
                return Err(BundleError::Twice(name));
            }
        }
        // The archive ends before the checksum over it does: what follows is read, so that a cut is noticed.
        io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(BundleError::Archive)?;
        let text = found
            .remove(MANIFEST)
            .ok_or_else(|| BundleError::Missing(MANIFEST.to_owned()))?;
        let head: Head = serde_json::from_slice(&text).map_err(BundleError::Shape)?;
        if head.format != 1 {
            return Err(BundleError::Format(head.format));
        }
        let manifest: Manifest = serde_json::from_slice(&text).map_err(BundleError::Shape)?;
        manifest.check()?;
        let mut contents = BTreeMap::new();
        for file in &manifest.files {
            let content = found
                .remove(&format!("files{}", file.path))
                .ok_or_else(|| BundleError::Missing(file.path.clone()))?;
            if sha256(&content) != file.sha256 {
                return Err(BundleError::Content(file.path.clone()));
            }
            contents.insert(file.path.clone(), content);
        }
        match found.into_keys().next() {
            Some(name) => Err(BundleError::Surplus(name)),
            None => Ok((manifest, contents)),
        }
    }
}

/// One entry: root's, and of no time. Modes of the archive mean nothing; the manifest's do.
fn append(
    archive: &mut tar::Builder<impl Write>,
    name: &str,
    content: &[u8],
) -> Result<(), BundleError> {
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o600);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    archive
        .append_data(&mut header, name, content)
        .map_err(BundleError::Archive)
}

#[cfg(test)]
mod tests;
