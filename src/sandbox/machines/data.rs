//! What people keep in a played GitLab: rows of its database, and repositories.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The database, as far as it is played.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Database {
    /// Full path to the repository's path on disk, without `.git`.
    pub projects: BTreeMap<String, String>,
    pub users: u64,
    /// The mark of the secrets that its columns are encrypted with; see `ops::gitlab::secrets_mark`.
    pub mark: String,
    pub silent: bool,
    pub maintenance: bool,
}

/// Refs of a repository: name to object.
pub type Refs = BTreeMap<String, String>;

/// Repositories by their path on disk.
pub type Repositories = BTreeMap<String, Refs>;

/// What a data volume holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Disk {
    /// Of a box.
    pub database: Option<Database>,
    pub repositories: Repositories,
}

/// Everything people would miss.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    pub database: Database,
    pub repositories: Repositories,
}

/// How two sites differ, a line each; empty when they are the same to the people who use them.
pub fn difference(a: &Picture, b: &Picture) -> Vec<String> {
    let mut lines = Vec::new();
    let mut compare = |what: &str, one: String, two: String| {
        if one != two {
            lines.push(format!("{what}: {one} and {two}"));
        }
    };
    let (x, y) = (&a.database, &b.database);
    compare("users", x.users.to_string(), y.users.to_string());
    compare("secrets", x.mark.clone(), y.mark.clone());
    let keys = x.projects.keys().chain(y.projects.keys());
    for project in keys.collect::<std::collections::BTreeSet<_>>() {
        let of = |d: &Database| format!("{:?}", d.projects.get(project));
        compare(&format!("project {project}"), of(x), of(y));
    }
    let keys = a.repositories.keys().chain(b.repositories.keys());
    for path in keys.collect::<std::collections::BTreeSet<_>>() {
        let of = |p: &Picture| format!("{:?}", p.repositories.get(path));
        compare(&format!("repository {path}"), of(a), of(b));
    }
    lines
}

pub(super) fn hex(text: impl AsRef<[u8]>) -> String {
    let digest = Sha256::digest(text.as_ref());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The path on disk of a project's repository, as GitLab hashes it.
pub(super) fn hashed(number: usize) -> String {
    let hash = hex(number.to_string());
    format!("@hashed/{}/{}/{hash}", &hash[..2], &hash[2..4])
}

/// As `git show-ref` prints them.
pub(super) fn listed(refs: &Refs) -> String {
    refs.iter()
        .map(|(name, at)| format!("{at} {name}\n"))
        .collect()
}

pub(super) fn read_refs(text: &str) -> Refs {
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    lines
        .map(|(at, name)| (name.to_owned(), at.to_owned()))
        .collect()
}
