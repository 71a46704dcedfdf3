//! Why bytes did not get where they should.

use std::io;
use std::path::{Path, PathBuf};

use crate::cloud::Fault;
use crate::engine::Halt;
use crate::ops::OpsFault;

use super::Place;

#[derive(Debug, thiserror::Error)]
pub enum TransferFault {
    #[error(transparent)]
    Cloud(#[from] Fault),
    #[error("{}: {error}", path.display())]
    Local { path: PathBuf, error: io::Error },
    /// The stream that was to be uploaded broke off.
    #[error("what was to be uploaded to {to} could not be read: {error}")]
    Source { to: Place, error: io::Error },
    #[error("{} changed while it was uploaded", path.display())]
    Changed { path: PathBuf },
    /// A conditional put found something else there. Nothing was changed.
    #[error("{place} is taken by other content")]
    Taken { place: Place },
    /// What was read is not what was written.
    #[error("{place}: {why}")]
    Damaged { place: Place, why: String },
    #[error("too large: at most {limit} bytes can be stored")]
    TooLarge { limit: u64, help: String },
    /// Neither a file nor a folder, or a name that cannot be a key; or a key that cannot be a file's name.
    #[error("{name}: {why}")]
    Name { name: String, why: String },
}

impl TransferFault {
    pub(super) fn local(path: &Path, error: io::Error) -> Self {
        Self::Local {
            path: path.to_owned(),
            error,
        }
    }

    pub(super) fn damaged(place: &Place, why: impl Into<String>) -> Self {
        Self::Damaged {
            place: place.clone(),
            why: why.into(),
        }
    }

    /// What the person should do next.
    pub fn help(&self) -> String {
        match self {
            Self::Cloud(fault) => fault.help(),
            Self::Local { .. } => {
                "make room or mend the permissions, then run the same command again: it continues where it stopped.".into()
            }
            Self::Source { .. } => "look why its writer stopped, then run the same command again.".into(),
            Self::Changed { .. } => {
                "run the same command again when nothing writes to it any more.".into()
            }
            Self::Taken { .. } => {
                "nothing is ever overwritten there; look who wrote it, and take another name.".into()
            }
            Self::Damaged { .. } => {
                "the stored copy is not what was saved: use another recovery point, and look into the bucket's history.".into()
            }
            Self::TooLarge { help, .. } => help.clone(),
            Self::Name { .. } => "rename or move it, then run the same command again.".into(),
        }
    }
}

impl From<TransferFault> for OpsFault {
    fn from(fault: TransferFault) -> Self {
        let help = fault.help();
        match fault {
            TransferFault::Cloud(fault) => Self::Cloud(fault),
            TransferFault::Damaged { place, why } => Self::check(place.to_string(), why, help),
            other => Self::refused("moving bytes", other.to_string(), help),
        }
    }
}

impl From<TransferFault> for Halt<OpsFault> {
    fn from(fault: TransferFault) -> Self {
        Self::Failed(fault.into())
    }
}
