//! What happens on a schedule.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::site::{BackupSchedule, Schedule};

/// A key of `[backup.schedule]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Name {
    /// Disks and databases: `gantry snapshot create`.
    Snapshot,
    /// A whole recovery point: `gantry backup create`.
    Full,
    /// `gantry backup verify`
    Verify,
    /// `gantry drill`
    Drill,
}

impl Name {
    pub const ALL: [Self; 4] = [Self::Snapshot, Self::Full, Self::Verify, Self::Drill];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Snapshot => "snapshot",
            Self::Full => "full",
            Self::Verify => "verify",
            Self::Drill => "drill",
        }
    }

    /// The verb that does it.
    pub fn verb(self) -> &'static str {
        match self {
            Self::Snapshot => "gantry snapshot create",
            Self::Full => "gantry backup create",
            Self::Verify => "gantry backup verify",
            Self::Drill => "gantry drill",
        }
    }

    /// When the site file wants it.
    pub fn of(self, schedules: &BackupSchedule) -> &Schedule {
        match self {
            Self::Snapshot => &schedules.snapshot,
            Self::Full => &schedules.full,
            Self::Verify => &schedules.verify,
            Self::Drill => &schedules.drill,
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|name| name.as_str() == text);
        found.ok_or_else(|| {
            format!("`{text}` is no schedule; there are snapshot, full, verify and drill")
        })
    }
}
