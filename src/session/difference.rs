//! What the nodes would be, beside what they are pointed at now.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::unified::unified;
use super::{Packed, Session, SessionError};
use crate::blueprint::Role;
use crate::boot::{Bundle, FileEntry, Manifest, Pointer, bundle_key, pointer_key};

/// How a node's bundle differs from the one it is pointed at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NodeDifference {
    /// `sidekiq-1`; `rails` for every machine of the group.
    pub node: String,
    pub role: Role,
    /// The bundle it is pointed at; none when it never was, or when that one is not to be had or read any more.
    pub now: Option<String>,
    pub wanted: String,
    pub files: Vec<FileDifference>,
    /// What differs beside the files: the package, the secrets that are read, the volume.
    pub settings: Vec<SettingDifference>,
}

/// One file. Secrets are in no file of a bundle, so they are in no difference either.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileDifference {
    pub path: String,
    pub change: FileChange,
    /// As `diff -u` writes it, without the names of the files.
    pub diff: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileChange {
    New,
    Gone,
    Changed,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SettingDifference {
    pub what: &'static str,
    pub now: String,
    pub wanted: String,
}

type Opened = (Manifest, BTreeMap<String, Vec<u8>>);

impl Session {
    /// The nodes that are pointed at another bundle than these, or at none. Two reads for a node that differs, and
    /// one for each other.
    pub async fn differences(
        &self,
        packed: &[Packed],
    ) -> Result<Vec<NodeDifference>, SessionError> {
        let bucket = self.names()?.bucket("config");
        let mut differences = Vec::new();
        for Packed { files, bundle, .. } in packed {
            let key = pointer_key(files.role, &files.node);
            let pointer = self.object(&bucket, &key).await?;
            let pointer = pointer.and_then(|text| Pointer::parse(&text).ok());
            if pointer.as_ref() == Some(&bundle.pointer()) {
                continue;
            }
            let present = match &pointer {
                Some(pointer) => {
                    let key = bundle_key(files.role, &pointer.bundle);
                    let bytes = self.object(&bucket, &key).await?;
                    bytes.and_then(|bytes| Bundle::open(&bytes).ok())
                }
                None => None,
            };
            let wanted = Bundle::open(&bundle.bytes)?;
            differences.push(NodeDifference {
                node: files.node.clone(),
                role: files.role,
                now: pointer.filter(|_| present.is_some()).map(|p| p.bundle),
                wanted: bundle.sha256.clone(),
                files: file_differences(present.as_ref(), &wanted),
                settings: present
                    .map(|present| setting_differences(&present.0, &wanted.0))
                    .unwrap_or_default(),
            });
        }
        Ok(differences)
    }
}

fn file_differences(now: Option<&Opened>, wanted: &Opened) -> Vec<FileDifference> {
    let nothing = BTreeMap::new();
    let old = now.map_or(&nothing, |(_, contents)| contents);
    let new = &wanted.1;
    let entry = |manifest: Option<&Manifest>, path: &str| -> Option<FileEntry> {
        let files = &manifest?.files;
        files.iter().find(|file| file.path == path).cloned()
    };
    let paths: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    paths
        .into_iter()
        .filter_map(|path| {
            let text = |contents: &BTreeMap<String, Vec<u8>>| {
                let bytes = contents.get(path);
                bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned())
            };
            let (before, after) = (text(old), text(new));
            let (was, is) = (entry(now.map(|n| &n.0), path), entry(Some(&wanted.0), path));
            if was == is {
                return None;
            }
            let mut diff = String::new();
            if let (Some(was), Some(is)) = (&was, &is)
                && (&was.mode, &was.owner) != (&is.mode, &is.owner)
            {
                diff = format!(
                    "-mode {} {}\n+mode {} {}\n",
                    was.mode, was.owner, is.mode, is.owner
                );
            }
            diff.push_str(&unified(
                before.as_deref().unwrap_or_default(),
                after.as_deref().unwrap_or_default(),
            ));
            Some(FileDifference {
                path: path.clone(),
                change: match (before, after) {
                    (None, _) => FileChange::New,
                    (_, None) => FileChange::Gone,
                    _ => FileChange::Changed,
                },
                diff,
            })
        })
        .collect()
}

fn setting_differences(now: &Manifest, wanted: &Manifest) -> Vec<SettingDifference> {
    let package = |m: &Manifest| match &m.package {
        Some(p) => format!("{} {} from {}", p.name, p.version, p.source),
        None => "none".to_owned(),
    };
    let secrets = |m: &Manifest| {
        let names: Vec<_> = m.secrets.iter().map(|s| s.entry.as_str()).collect();
        names.join(", ")
    };
    let volume = |m: &Manifest| match &m.volume {
        Some(v) => format!("{} on {}", v.id, v.mount),
        None => "none".to_owned(),
    };
    let database = |m: &Manifest| match &m.database {
        Some(d) => format!("{} on {} with {}", d.name, d.host, d.extensions.join(", ")),
        None => "none".to_owned(),
    };
    let rest = |m: &Manifest| format!("deploy {}, certificates of RDS {}", m.deploy, m.rds_ca);
    [
        ("package", package(now), package(wanted)),
        ("secrets", secrets(now), secrets(wanted)),
        ("volume", volume(now), volume(wanted)),
        ("database", database(now), database(wanted)),
        ("duties", rest(now), rest(wanted)),
    ]
    .into_iter()
    .filter(|(_, now, wanted)| now != wanted)
    .map(|(what, now, wanted)| SettingDifference { what, now, wanted })
    .collect()
}
