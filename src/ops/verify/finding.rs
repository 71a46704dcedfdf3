//! What is wrong with a point, in words that people can act on.

use std::fmt;

use serde::Serialize;

use crate::ops::point::PartName;

/// The sort of thing that is wrong. Stable: scripts read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wrong {
    /// The manifest's signature does not fit it, or it is not signed by this site's key.
    Signature,
    /// The manifest is of another point than its place says, or of a format that nobody knows.
    Manifest,
    /// The manifest is of another site, account or region.
    Foreign,
    /// A part failed when the point was taken, or the point says that it is not whole.
    Incomplete,
    /// Something a part consists of is not there.
    Missing,
    /// It is there, and has another size.
    Size,
    /// It is there, and holds other bytes.
    Content,
    /// An earlier step that the Git data builds on is not there.
    Chain,
    /// A snapshot is in error, or not available yet.
    Snapshot,
    /// The copy in the other region is missing or not available.
    Copy,
    /// The sealed part cannot be opened, or does not come from this point.
    Seal,
    /// The secrets are not those that the database was written with.
    Fit,
    /// The moments of the parts are too far apart.
    Skew,
}

impl Wrong {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Signature => "signature",
            Self::Manifest => "manifest",
            Self::Foreign => "foreign",
            Self::Incomplete => "incomplete",
            Self::Missing => "missing",
            Self::Size => "size",
            Self::Content => "content",
            Self::Chain => "chain",
            Self::Snapshot => "snapshot",
            Self::Copy => "copy",
            Self::Seal => "seal",
            Self::Fit => "fit",
            Self::Skew => "skew",
        }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One thing that is wrong: with which part, what, and what to do about it. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// None when it is about the whole point.
    pub part: Option<PartName>,
    pub wrong: Wrong,
    pub what: String,
    pub help: String,
}

impl Finding {
    pub fn of(
        part: &PartName,
        wrong: Wrong,
        what: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self {
            part: Some(part.clone()),
            wrong,
            what: what.into(),
            help: help.into(),
        }
    }

    /// About the point as a whole.
    pub fn whole(wrong: Wrong, what: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            part: None,
            wrong,
            what: what.into(),
            help: help.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.part {
            Some(part) => write!(f, "{part}: {} ({})", self.what, self.wrong),
            None => write!(f, "{} ({})", self.what, self.wrong),
        }
    }
}
