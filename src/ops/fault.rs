//! Why a procedure did not come to its end.

use crate::cloud::Fault;
use crate::session::SessionError;
use crate::shell::ShellFault;

use super::LedgerError;

/// What went wrong in a stage, or before the first one.
#[derive(Debug, thiserror::Error)]
pub enum OpsFault {
    #[error(transparent)]
    Cloud(#[from] Fault),
    #[error(transparent)]
    Host(#[from] ShellFault),
    #[error(transparent)]
    Session(#[from] SessionError),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Something was looked at and is not as it has to be: a node's own check, a checksum, a signature.
    #[error("{what}: {why}")]
    Check {
        what: String,
        why: String,
        help: String,
    },
    /// What was asked for is not done, for a reason that people can do something about. Nothing was changed.
    #[error("{what}: {why}")]
    Refused {
        what: String,
        why: String,
        help: String,
    },
}

impl OpsFault {
    pub fn check(what: impl Into<String>, why: impl Into<String>, help: impl Into<String>) -> Self {
        Self::Check {
            what: what.into(),
            why: why.into(),
            help: help.into(),
        }
    }

    pub fn refused(
        what: impl Into<String>,
        why: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self::Refused {
            what: what.into(),
            why: why.into(),
            help: help.into(),
        }
    }

    /// A defect of gantry's own, with what was found.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::Cloud(Fault::internal(message))
    }

    /// What the person should do next; empty when there is nothing better than the message itself.
    pub fn help(&self) -> String {
        match self {
            Self::Cloud(fault) => fault.help(),
            Self::Host(fault) => fault.help(),
            Self::Session(SessionError::Cloud(fault)) => fault.help(),
            Self::Session(_) | Self::Ledger(_) => String::new(),
            Self::Check { help, .. } | Self::Refused { help, .. } => help.clone(),
        }
    }
}
