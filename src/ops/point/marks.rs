//! What is found out or decided about a point after its manifest was written.
//!
//! A mark is an object of its own, `points/<id>/marks/<kind>-<moment>.json`, signed like a manifest and never
//! overwritten. The newest of its family counts: a point that is pinned and later unpinned is not pinned.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::manifest::PointId;

/// One mark. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "mark", rename_all = "kebab-case")]
pub enum Mark {
    Verified(Verified),
    Drilled(Drilled),
    Pinned(Pin),
    Unpinned(Pin),
    Dropping(Dropping),
}

/// Whether a point is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Health {
    Sound,
    Faulty,
}

/// The point was read back and compared with its manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verified {
    pub at: Timestamp,
    /// How much of the data was read, in per cent; the rest was looked at for existence and size only.
    pub share: u8,
    pub outcome: Health,
    /// What is wrong, a sentence each; empty when it is sound.
    pub findings: Vec<String>,
}

/// The point was restored for trial.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drilled {
    pub at: Timestamp,
    pub outcome: Health,
    /// The report of the restore: times, checks, what was compared.
    pub proof: Value,
}

/// A person keeps the point, or lets it go again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    pub at: Timestamp,
    pub by: String,
    pub why: String,
}

/// The point's parts are being removed: it restores nothing any more, however much of it is left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dropping {
    pub at: Timestamp,
    pub run: String,
}

impl Mark {
    /// The word in the object's name.
    fn kind(&self) -> &'static str {
        match self {
            Self::Verified(_) => "verified",
            Self::Drilled(_) => "drilled",
            Self::Pinned(_) => "pinned",
            Self::Unpinned(_) => "unpinned",
            Self::Dropping(_) => "dropping",
        }
    }

    pub fn at(&self) -> Timestamp {
        match self {
            Self::Verified(verified) => verified.at,
            Self::Drilled(drilled) => drilled.at,
            Self::Pinned(pin) | Self::Unpinned(pin) => pin.at,
            Self::Dropping(dropping) => dropping.at,
        }
    }

    /// The object it is written to.
    pub fn key(&self, id: &PointId) -> String {
        // Milliseconds in every stamp, so that names sort by time.
        let at = self.at().strftime("%Y%m%dT%H%M%S.%3fZ");
        format!("{}{}-{at}.json", folder(id), self.kind())
    }
}

/// Whether an object is the mark that says that this point is being dropped.
pub(in crate::ops) fn says_dropping(id: &PointId, key: &str) -> bool {
    let name = key.strip_prefix(&folder(id));
    name.is_some_and(|name| name.starts_with("dropping-"))
}

/// Below which the marks of a point are.
fn folder(id: &PointId) -> String {
    format!("points/{id}/marks/")
}

/// Marks of which only the newest counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Verified,
    Drilled,
    Pin,
    Dropping,
}

impl Family {
    pub(super) const ALL: [Self; 4] = [Self::Verified, Self::Drilled, Self::Pin, Self::Dropping];

    fn of(kind: &str) -> Option<Self> {
        Some(match kind {
            "verified" => Self::Verified,
            "drilled" => Self::Drilled,
            "pinned" | "unpinned" => Self::Pin,
            "dropping" => Self::Dropping,
            _ => return None,
        })
    }

    /// The keys of this family's marks on a point, the newest first.
    pub(super) fn keys<'a>(self, id: &PointId, all: &'a [String]) -> Vec<&'a str> {
        let folder = folder(id);
        let mut found: Vec<(&str, &str)> = all
            .iter()
            .filter_map(|key| {
                let name = key.strip_prefix(&folder)?.strip_suffix(".json")?;
                let (kind, at) = name.split_once('-')?;
                (Self::of(kind) == Some(self)).then_some((at, key.as_str()))
            })
            .collect();
        found.sort_unstable_by(|one, other| other.cmp(one));
        found.into_iter().map(|(_, key)| key).collect()
    }
}

/// What counts of a point's marks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks {
    pub verified: Option<Verified>,
    pub drilled: Option<Drilled>,
    /// None also when it was pinned once and is not any more.
    pub pinned: Option<Pin>,
    pub dropping: Option<Dropping>,
}

impl Marks {
    pub(super) fn take(&mut self, mark: Mark) {
        match mark {
            Mark::Verified(verified) => self.verified = Some(verified),
            Mark::Drilled(drilled) => self.drilled = Some(drilled),
            Mark::Pinned(pin) => self.pinned = Some(pin),
            Mark::Unpinned(_) => self.pinned = None,
            Mark::Dropping(dropping) => self.dropping = Some(dropping),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> PointId {
        "20261125T023000Z-1a2b3c".parse().unwrap()
    }

    fn pin(at: &str) -> Pin {
        Pin {
            at: at.parse().unwrap(),
            by: "ann".into(),
            why: "audit".into(),
        }
    }

    #[test]
    fn names_sort_by_time_within_a_family() {
        let marks = [
            Mark::Pinned(pin("2026-11-25T10:00:00Z")),
            Mark::Unpinned(pin("2026-11-25T10:00:00.250Z")),
            Mark::Pinned(pin("2026-11-25T09:59:59.999Z")),
            Mark::Dropping(Dropping {
                at: "2026-11-26T00:00:00Z".parse().unwrap(),
                run: "r".into(),
            }),
        ];
        let keys: Vec<String> = marks.iter().map(|mark| mark.key(&id())).collect();
        assert_eq!(
            keys[0],
            "points/20261125T023000Z-1a2b3c/marks/pinned-20261125T100000.000Z.json"
        );
        assert_eq!(
            Family::Pin.keys(&id(), &keys),
            [&keys[1], &keys[0], &keys[2]]
        );
        assert_eq!(Family::Dropping.keys(&id(), &keys), [&keys[3]]);
        assert!(Family::Verified.keys(&id(), &keys).is_empty());
    }

    #[test]
    fn marks_are_written_and_read_as_they_are() {
        let mark = Mark::Verified(Verified {
            at: "2026-11-25T10:00:00Z".parse().unwrap(),
            share: 5,
            outcome: Health::Faulty,
            findings: vec!["the snapshot is gone".into()],
        });
        let text = serde_json::to_string(&mark).unwrap();
        assert_eq!(
            text,
            r#"{"mark":"verified","at":"2026-11-25T10:00:00Z","share":5,"outcome":"faulty","findings":["the snapshot is gone"]}"#
        );
        assert_eq!(serde_json::from_str::<Mark>(&text).unwrap(), mark);
        let more = text.replace("\"share\"", "\"colour\":1,\"share\"");
        assert!(serde_json::from_str::<Mark>(&more).is_err());
    }
}
