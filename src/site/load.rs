//! From text to a site, or to everything that is wrong with it.

use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use miette::{Diagnostic, NamedSource, SourceSpan};
use serde_json::Value;
use thiserror::Error;

use super::document::Document;
use super::place::Path;
use super::problem::{Part, Problem};
use super::structure::{self, looks_secret};
use super::{SecretRef, Site};
use crate::profile::Profiles;

/// A site and the text it was read from.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub site: Site,
    /// For messages that point into the file; secrets that stood in it are starred out.
    pub source: Arc<NamedSource<String>>,
}

/// A site file that cannot be used.
#[derive(Debug, Error, Diagnostic)]
pub enum SiteError {
    #[error("there is no site file at {}", path.display())]
    #[diagnostic(help("`gantry init` writes one; `--site-file PATH` names another"))]
    Missing { path: PathBuf },

    #[error("cannot read the site file {}", path.display())]
    #[diagnostic(help("check that it is a text file in UTF-8 and that you may read it"))]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },

    #[error(transparent)]
    #[diagnostic(transparent)]
    Invalid(#[from] SiteErrors),
}

/// Everything wrong with a site file, in the order of the file.
#[derive(Debug, Error, Diagnostic)]
#[error("{name} has {}", if findings.len() == 1 { "a mistake".to_owned() } else { format!("{} mistakes", findings.len()) })]
pub struct SiteErrors {
    pub name: String,
    #[related]
    pub findings: Vec<Finding>,
}

/// One thing wrong, with its place.
#[derive(Debug, Clone, Error, Diagnostic)]
#[error("{what}")]
#[diagnostic(help("{help}"))]
pub struct Finding {
    /// What is wrong.
    pub what: String,
    /// Why that is wrong.
    pub why: String,
    /// What to write instead.
    pub help: String,
    #[source_code]
    pub file: Arc<NamedSource<String>>,
    #[label("{why}")]
    pub span: SourceSpan,
}

/// Read and check the site file at `path`. Files that `file:` references name must exist beside it.
pub fn load(path: &FilePath) -> Result<Loaded, SiteError> {
    load_with(path, Profiles::embedded())
}

/// [`load`], with other profiles than the embedded ones.
pub fn load_with(path: &FilePath, profiles: &Profiles) -> Result<Loaded, SiteError> {
    let text = std::fs::read_to_string(path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => SiteError::Missing {
            path: path.to_owned(),
        },
        _ => SiteError::Read {
            path: path.to_owned(),
            source,
        },
    })?;
    let folder = path.parent().unwrap_or(FilePath::new(""));
    Ok(check(
        &path.display().to_string(),
        &text,
        Some(folder),
        profiles,
    )?)
}

/// Check the text of a site file called `name`. No file is looked for.
pub fn parse(name: &str, text: &str) -> Result<Loaded, SiteErrors> {
    check(name, text, None, Profiles::embedded())
}

fn check(
    name: &str,
    text: &str,
    folder: Option<&FilePath>,
    profiles: &Profiles,
) -> Result<Loaded, SiteErrors> {
    let document = Document::parse(text).map_err(|error| syntax(name, text, &error))?;
    let reading = structure::read(&document);
    let source =
        Arc::new(NamedSource::new(name, starred(text, &reading.secrets)).with_language("toml"));
    let mut problems = reading.problems;
    let site = build(reading.value, profiles);
    match &site {
        Ok(site) => {
            let mut more = site.problems(profiles);
            more.extend(
                folder
                    .into_iter()
                    .flat_map(|folder| missing_files(site, folder)),
            );
            more.retain(|problem| !rests_on(problem, &reading.bad));
            problems.extend(more);
        }
        // The schema and the types say the same, so this is for what neither of us thought of.
        Err(error) if problems.is_empty() => {
            problems.push(
                Problem::with_key(Path::default(), "the site file cannot be understood")
                    .because(error.to_string())
                    .help("`gantry init` writes a file to compare with"),
            );
        }
        Err(_) => {}
    }
    match site {
        Ok(site) if problems.is_empty() => Ok(Loaded { site, source }),
        _ => Err(errors(name, &document, &source, problems)),
    }
}

/// The values of the file over the defaults of its profile.
fn build(read: Value, profiles: &Profiles) -> Result<Site, serde_json::Error> {
    let word = |key: &str| {
        read.pointer(&format!("/site/{key}"))
            .cloned()
            .unwrap_or_default()
    };
    let profile = profiles.get(serde_json::from_value(word("profile"))?);
    let name = serde_json::from_value(word("name"))?;
    let domain = serde_json::from_value(word("domain"))?;
    let region = serde_json::from_value(word("region"))?;
    let mut values = serde_json::to_value(Site::defaults_of(profile, name, domain, region))?;
    overlay(&mut values, read);
    serde_json::from_value(values)
}

fn overlay(base: &mut Value, over: Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                overlay(base.entry(key).or_insert(Value::Null), value);
            }
        }
        (base, over) => *base = over,
    }
}

/// Whether a check looked at a value that is itself wrong.
fn rests_on(problem: &Problem, bad: &[Path]) -> bool {
    let looked_at = std::iter::once(&problem.path).chain(&problem.depends);
    looked_at
        .into_iter()
        .any(|path| bad.iter().any(|bad| path.is_within(bad)))
}

fn missing_files(site: &Site, folder: &FilePath) -> Vec<Problem> {
    let missing = |(path, secret): (Path, &SecretRef)| {
        let SecretRef::File(file) = secret else {
            return None;
        };
        let file = folder.join(file);
        (!file.is_file()).then(|| {
            Problem::at(path.clone(), format!("the file of `{path}` is missing"))
                .because(format!("there is no file {}", file.display()))
                .help("put the file there, or name another; paths begin at the site file's folder")
        })
    };
    site.secrets().into_iter().filter_map(missing).collect()
}

fn errors(
    name: &str,
    document: &Document,
    source: &Arc<NamedSource<String>>,
    problems: Vec<Problem>,
) -> SiteErrors {
    let place = |problem: &Problem| {
        let exact = document.find(&problem.path, problem.part);
        // A default can be wrong because of another value: then that one is where to look.
        let cause = || {
            problem
                .depends
                .iter()
                .find_map(|path| document.find(path, Part::Value))
        };
        exact
            .or_else(cause)
            .unwrap_or_else(|| document.nearest(&problem.path))
    };
    let finding = |problem: Problem| Finding {
        span: place(&problem).into(),
        what: problem.what,
        why: problem.why,
        help: problem.help,
        file: source.clone(),
    };
    let mut findings: Vec<Finding> = problems.into_iter().map(finding).collect();
    findings.sort_by_key(|finding| finding.span.offset());
    SiteErrors {
        name: name.to_owned(),
        findings,
    }
}

fn syntax(name: &str, text: &str, error: &toml_edit::TomlError) -> SiteErrors {
    let message = error.message().trim().replace('\n', "; ");
    let help = if message.contains("duplicate key") {
        "join the two, or take one away"
    } else if message.contains("key with no value") {
        "write `key = value`; texts stand in double quotes"
    } else {
        "texts stand in double quotes, lists in brackets, and each `key = value` on a line of its own"
    };
    let source =
        Arc::new(NamedSource::new(name, starred(text, &secret_lines(text))).with_language("toml"));
    let span = error.span().unwrap_or(0..0);
    let finding = Finding {
        what: "this is not TOML".to_owned(),
        why: message,
        help: help.to_owned(),
        file: source,
        span: span.into(),
    };
    SiteErrors {
        name: name.to_owned(),
        findings: vec![finding],
    }
}

/// The values of lines that look as if they held a secret, for a text too broken to be read properly.
fn secret_lines(text: &str) -> Vec<std::ops::Range<usize>> {
    let mut found = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        if let Some((key, value)) = line.split_once('=') {
            let reference = value.trim().trim_matches('"').parse::<SecretRef>().is_ok();
            if looks_secret(key) && !reference {
                let end = start + line.trim_end().len();
                let from = end - value.trim_start().trim_end().len();
                found.push(from..end);
            }
        }
        start += line.len();
    }
    found
}

/// The text with stars in place of these parts, byte for byte, so that places stay what they were.
fn starred(text: &str, parts: &[std::ops::Range<usize>]) -> String {
    let mut starred = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        let hidden = c != '"' && c != '\n' && parts.iter().any(|part| part.contains(&at));
        if hidden {
            starred.extend(std::iter::repeat_n('*', c.len_utf8()));
        } else {
            starred.push(c);
        }
    }
    starred
}
