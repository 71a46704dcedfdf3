//! What `gitlab.rb` knows, release by release: sections, keys, and what became of old ones.
//!
//! The package stops at an unknown section and at a removed key, and passes over an unknown key without a word. So
//! whatever ends up in that file is held against this table first. `keys.json` is made by
//! `tests/support/gitlab/reduce_keys.py`; it was read off the package's sources up to [`newest_release`], and what
//! later releases added is not in it.
//!
//! Checked is the key of a section, not what is below it: the package hands most of that on to the daemons as it is.
//! Below `nginx` of the sections that have it, members are checked too.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use serde::Deserialize;

use crate::text::nearest;

/// A release of GitLab as far as settings care: `19.2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Release {
    pub major: u16,
    pub minor: u16,
}

impl Release {
    pub const fn new(major: u16, minor: u16) -> Self {
        Self { major, minor }
    }

    /// The one after it. A major release of GitLab has minor versions 0 to 11.
    fn next(self) -> Self {
        if self.minor >= 11 {
            Self::new(self.major + 1, 0)
        } else {
            Self::new(self.major, self.minor + 1)
        }
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl FromStr for Release {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text
            .split_once('.')
            .and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
        parts
            .map(|(major, minor)| Self::new(major, minor))
            .ok_or_else(|| format!("`{text}` is no release"))
    }
}

impl TryFrom<String> for Release {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// What a release makes of a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    Known,
    /// It still works, and will not for ever.
    Deprecated {
        since: Release,
        removed: Option<Release>,
        /// What to write instead, as Ruby; empty when nothing replaces it.
        instead: String,
    },
    /// Reconfigure stops at it, or nothing reads it any more.
    Removed {
        since: Release,
        /// What to write instead, as Ruby; empty when nothing replaces it.
        instead: String,
    },
    /// A later release brought it.
    NotYet {
        since: Release,
    },
    /// The key, or the section, is not known.
    Unknown {
        /// The nearest known name at that place.
        near: Option<&'static str>,
        /// Whether the section itself is unknown.
        section: bool,
    },
}

/// What the release makes of a setting, given as section, key, and members below it.
pub fn standing(path: &[&str], release: Release) -> Standing {
    let table = &*TABLE;
    let whole = path.join("/");
    if let Some(old) = table.old_within(&whole, release) {
        return old;
    }
    let Some((section_name, below)) = path.split_first() else {
        return Standing::Unknown {
            near: None,
            section: true,
        };
    };
    let Some(section) = table.sections.get(*section_name) else {
        return Standing::Unknown {
            near: nearest(section_name, table.sections.keys().map(String::as_str)),
            section: true,
        };
    };
    if let Some(since) = section.since.filter(|since| *since > release) {
        return Standing::NotYet { since };
    }
    let mut at = String::new();
    for (depth, member) in below.iter().enumerate() {
        let above = at.clone();
        if !at.is_empty() {
            at.push('/');
        }
        at.push_str(member);
        match section.keys.get(&at) {
            Some(Some(since)) if *since > release => return Standing::NotYet { since: *since },
            Some(_) => {}
            None if depth == 0 && section.logs && table.common.contains(*member) => {}
            None if depth == 0 || section.is_closed(&above) => {
                let names = section.names_below(&above);
                let common = table.common.iter().map(String::as_str);
                return Standing::Unknown {
                    near: nearest(
                        member,
                        names.chain(common.filter(|_| depth == 0 && section.logs)),
                    ),
                    section: false,
                };
            }
            None => {}
        }
    }
    Standing::Known
}

/// The newest release whose package the table was read off.
pub fn newest_release() -> Release {
    TABLE.newest_release
}

/// Every section that holds keys, in alphabetical order.
pub fn sections() -> impl Iterator<Item = &'static str> {
    TABLE
        .sections
        .iter()
        .filter(|(_, section)| section.kind == Kind::Hash)
        .map(|(name, _)| name.as_str())
}

/// Whether it is written without keys: `external_url 'https://…'`.
pub fn is_plain(section: &str) -> bool {
    let section = TABLE.sections.get(section);
    section.is_some_and(|section| section.kind == Kind::Value)
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    serde_json::from_str(include_str!("keys.json")).expect("a test reads the embedded table")
});

#[derive(Deserialize)]
struct Table {
    newest_release: Release,
    #[serde(deserialize_with = "words")]
    common: BTreeSet<String>,
    sections: BTreeMap<String, Section>,
    /// Path, deprecated in, removed in, replacement.
    old: Vec<(String, Release, Option<Release>, String)>,
    /// Path to the last release that named it.
    gone: BTreeMap<String, Release>,
}

#[derive(Deserialize)]
struct Section {
    kind: Kind,
    since: Option<Release>,
    /// Whether it has the keys that every service with a log has.
    #[serde(default)]
    logs: bool,
    #[serde(deserialize_with = "keys")]
    keys: BTreeMap<String, Option<Release>>,
}

#[derive(Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Hash,
    Value,
}

impl Section {
    /// Whether the members of this key are a closed list: those of a site of nginx.
    fn is_closed(&self, key: &str) -> bool {
        key == "nginx" && self.keys.contains_key("nginx/listen_port")
    }

    /// The names one level below a key; at the top for an empty one.
    fn names_below(&self, above: &str) -> impl Iterator<Item = &str> {
        self.keys.keys().filter_map(move |key| {
            let rest = if above.is_empty() {
                key
            } else {
                key.strip_prefix(above)?.strip_prefix('/')?
            };
            (!rest.contains('/')).then_some(rest)
        })
    }
}

impl Table {
    /// What is known of the path, or of something above it, as old.
    fn old_within(&self, path: &str, release: Release) -> Option<Standing> {
        let covers = |old: &str| {
            path.strip_prefix(old)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let mut deprecated = None;
        // Some names went more than once: the last time counts.
        let mut last: Option<(Release, &String)> = None;
        for (old, since, removed, instead) in &self.old {
            if !covers(old) {
                continue;
            }
            if let Some(removed) = removed.filter(|removed| *removed <= release) {
                last = last.max(Some((removed, instead)));
            } else if *since <= release {
                deprecated = Some(Standing::Deprecated {
                    since: *since,
                    removed: *removed,
                    instead: instead.clone(),
                });
            }
        }
        if let Some((since, instead)) = last {
            return Some(Standing::Removed {
                since,
                instead: instead.clone(),
            });
        }
        let gone = self
            .gone
            .iter()
            .find(|(old, last)| covers(old) && **last < release);
        match gone {
            Some((_, last)) => Some(Standing::Removed {
                since: last.next(),
                instead: String::new(),
            }),
            None => deprecated,
        }
    }
}

fn words<'de, D: serde::Deserializer<'de>>(from: D) -> Result<BTreeSet<String>, D::Error> {
    let text = String::deserialize(from)?;
    Ok(text.split_whitespace().map(str::to_owned).collect())
}

fn keys<'de, D: serde::Deserializer<'de>>(
    from: D,
) -> Result<BTreeMap<String, Option<Release>>, D::Error> {
    let text = String::deserialize(from)?;
    text.split_whitespace()
        .map(|word| match word.split_once('@') {
            Some((key, since)) => {
                let since = since.parse().map_err(serde::de::Error::custom)?;
                Ok((key.to_owned(), Some(since)))
            }
            None => Ok((word.to_owned(), None)),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: Release = Release::new(18, 11);
    const NEW: Release = Release::new(19, 5);

    fn of(path: &str, release: Release) -> Standing {
        standing(&path.split('/').collect::<Vec<_>>(), release)
    }

    #[test]
    fn settings_come_and_go_with_releases() {
        assert_eq!(of("gitlab_rails/time_zone", OLD), Standing::Known);
        assert_eq!(
            of(
                "gitlab_rails/amazon_ses_mailer_enabled",
                Release::new(19, 2)
            ),
            Standing::NotYet {
                since: Release::new(19, 3)
            }
        );
        assert_eq!(
            of("gitlab_rails/amazon_ses_mailer_enabled", NEW),
            Standing::Known
        );
        assert_eq!(of("nginx/listen_port", OLD), Standing::Known);
        assert_eq!(
            of("nginx/listen_port", NEW),
            Standing::Deprecated {
                since: Release::new(19, 2),
                removed: None,
                instead: "gitlab_rails['nginx']['listen_port']".to_owned()
            }
        );
        assert_eq!(
            of("gitlab_rails/nginx/listen_port", OLD),
            Standing::NotYet {
                since: Release::new(19, 2)
            }
        );
        assert!(matches!(
            of("mattermost/enable", NEW),
            Standing::Removed {
                since: Release {
                    major: 19,
                    minor: 0
                },
                ..
            }
        ));
        assert!(matches!(of("git_data_dirs", OLD), Standing::Removed { .. }));
        assert!(matches!(
            of("gitaly/configuration/git/bin_path", NEW),
            Standing::Removed { .. }
        ));
        assert!(matches!(
            of("gitaly/configuration/git/bin_path", OLD),
            Standing::Deprecated { .. }
        ));
    }

    #[test]
    fn a_slip_of_the_pen_finds_the_nearest_name() {
        let near = |path| match of(path, NEW) {
            Standing::Unknown { near, section } => (near, section),
            other => panic!("{path}: {other:?}"),
        };
        assert_eq!(near("gitlab_rails/time_zon"), (Some("time_zone"), false));
        assert_eq!(near("gitlab_rail/time_zone"), (Some("gitlab_rails"), true));
        assert_eq!(
            near("registry/nginx/listen_prt"),
            (Some("listen_port"), false)
        );
        assert_eq!(near("puma/svlogd_siz"), (Some("svlogd_size"), false));
    }

    #[test]
    fn below_a_key_the_daemons_judge() {
        assert_eq!(
            of("gitaly/configuration/backup/go_cloud_url", NEW),
            Standing::Known
        );
        assert_eq!(of("gitlab_rails/env/ANYTHING", OLD), Standing::Known);
        assert_eq!(of("puma/svlogd_size", OLD), Standing::Known);
    }

    #[test]
    fn calls_are_no_sections() {
        assert!(is_plain("external_url"));
        assert!(!is_plain("gitlab_rails"));
        assert!(sections().any(|section| section == "gitlab_rails"));
        assert!(newest_release() >= Release::new(19, 3));
    }
}
