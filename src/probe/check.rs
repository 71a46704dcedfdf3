//! One check and what came of it.

use std::fmt;

use serde::Serialize;

/// One thing looked at from outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    pub name: Name,
    /// What was looked at: a name, a URL, a port, or for `client-address` one of `web`, `redirect` and `ssh`.
    pub subject: String,
    pub verdict: Verdict,
    /// What was seen, or why the check was skipped.
    pub detail: String,
    /// What to do next; empty when nothing is to be done.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub help: String,
}

/// The checks there are, in the order in which they are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Name {
    Dns,
    Tls,
    Redirect,
    SignIn,
    GitHttps,
    Websocket,
    GitSsh,
    ClientAddress,
}

/// What came of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Ok,
    /// It works, but somebody should know.
    Warning,
    Failed,
    /// It could not be looked at, because something before it failed; the detail says what.
    Skipped,
}

impl Name {
    /// The name as people and scripts read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Tls => "tls",
            Self::Redirect => "redirect",
            Self::SignIn => "sign-in",
            Self::GitHttps => "git-https",
            Self::Websocket => "websocket",
            Self::GitSsh => "git-ssh",
            Self::ClientAddress => "client-address",
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "FAILED",
            Self::Skipped => "skipped",
        })
    }
}

/// A name and a subject, waiting for what is seen there.
#[derive(Debug, Clone)]
pub(super) struct Place {
    name: Name,
    subject: String,
}

impl Place {
    pub fn new(name: Name, subject: impl Into<String>) -> Self {
        Self {
            name,
            subject: subject.into(),
        }
    }

    pub fn ok(&self, detail: impl Into<String>) -> Check {
        self.check(Verdict::Ok, detail, "")
    }

    pub fn warning(&self, detail: impl Into<String>, help: impl Into<String>) -> Check {
        self.check(Verdict::Warning, detail, help)
    }

    pub fn failed(&self, detail: impl Into<String>, help: impl Into<String>) -> Check {
        self.check(Verdict::Failed, detail, help)
    }

    /// `because` is a clause: "the name does not resolve".
    pub fn skipped(&self, because: impl fmt::Display) -> Check {
        self.check(Verdict::Skipped, format!("skipped because {because}"), "")
    }

    fn check(&self, verdict: Verdict, detail: impl Into<String>, help: impl Into<String>) -> Check {
        Check {
            name: self.name,
            subject: self.subject.clone(),
            verdict,
            detail: detail.into(),
            help: help.into(),
        }
    }
}
