//! What is wrong with a site: a value, not yet a message.
//!
//! Checks know paths, not files. [`super::load`] finds the place in the text for each.

use std::fmt;

use thiserror::Error;

use super::place::Path;

/// Which part of a `key = value` line is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Key,
    Value,
}

/// One thing wrong with a site, why, and how to mend it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub path: Path,
    pub part: Part,
    /// What is wrong, as a headline.
    pub what: String,
    /// Why that is wrong; it stands beside the place.
    pub why: String,
    /// What to write instead.
    pub help: String,
    /// Other values the check looked at. When one of them is itself wrong, this problem is not worth telling.
    pub depends: Vec<Path>,
}

impl Problem {
    /// A problem with a value.
    pub fn at(path: Path, what: impl Into<String>) -> Self {
        Self {
            path,
            part: Part::Value,
            what: what.into(),
            why: String::new(),
            help: String::new(),
            depends: Vec::new(),
        }
    }

    /// A problem with a key.
    pub fn with_key(path: Path, what: impl Into<String>) -> Self {
        Self {
            part: Part::Key,
            ..Self::at(path, what)
        }
    }

    #[must_use]
    pub fn because(mut self, why: impl Into<String>) -> Self {
        self.why = why.into();
        self
    }

    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = help.into();
        self
    }

    #[must_use]
    pub fn depends(mut self, dotted: &str) -> Self {
        self.depends.push(Path::of(dotted));
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.what, self.why, self.help)
    }
}

/// Everything wrong with a site that did not come from a file.
#[derive(Debug, Clone, PartialEq, Eq, Error, miette::Diagnostic)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
#[diagnostic(help("correct the values in the site file or on the command line"))]
pub struct Problems(pub Vec<Problem>);
