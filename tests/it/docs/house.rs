//! Who knows whom: read off the `crate::` paths in the code.

use std::collections::{BTreeMap, BTreeSet};

use super::{files, read};

/// What the inner modules may know, and nothing else.
const MAY_KNOW: [(&str, &[&str]); 16] = [
    ("clock", &[]),
    ("text", &[]),
    ("secret", &[]),
    ("exit", &[]),
    ("engine", &["clock"]),
    ("lines", &[]),
    ("journal", &["lines", "resource"]),
    ("cloud", &["clock"]),
    ("resource", &["clock", "cloud"]),
    ("profile", &["site", "text"]),
    ("gitlab_rb", &["text"]),
    ("site", &["gitlab_rb", "profile", "text"]),
    ("names", &["site"]),
    ("shell", &["secret"]),
    // Pure: a site, its sizes and what is known of the world go in, files come out.
    (
        "node",
        &[
            "blueprint",
            "gitlab_rb",
            "kinds",
            "names",
            "profile",
            "resource",
            "site",
        ],
    ),
    // Pure: what is wanted, seen and remembered goes in, a plan comes out. `kinds` is the registry's lines.
    ("plan", &["cloud", "journal", "kinds", "resource"]),
];

/// Modules that only these may know.
const KNOWN_BY: [(&str, &[&str]); 4] = [
    ("cli", &["main"]),
    ("app", &["cli", "main"]),
    // The embedded cloud is a target like AWS: nothing that works on AWS may know that it exists.
    ("sandbox", &["app", "cli"]),
    // Tables of an inventory are for people; everything else reports events.
    ("ui", &["app", "cli", "inventory"]),
];

/// Known exceptions to both: the file, what it names, and why. A new one is a decision, not an accident.
const EXCEPTIONS: [(&str, &str, &str); 2] = [
    (
        "src/cloud/quotas.rs",
        "resource",
        "asks Service Quotas through the paced calls of `CloudCx`",
    ),
    (
        "src/session/preflight.rs",
        "ui",
        "borrows the line of totals for the check of the plan",
    ),
];

/// Marks of code that prints, and the modules that may.
const PRINTS: [&str; 8] = [
    "print!(",
    "println!(",
    "eprint!(",
    "eprintln!(",
    "dbg!(",
    "io::stdout(",
    "io::stderr(",
    "anstream::std",
];

/// Marks of code that reads the environment.
const READS_ENVIRONMENT: [&str; 4] = ["env::var(", "env::var_os(", "env::vars(", "env::args"];

/// Known exceptions: the file, and why.
const MAY_READ_ENVIRONMENT: [(&str, &str); 1] = [(
    "src/ui/say.rs",
    "TERM=dumb, beside the question whether stderr is a terminal",
)];

/// One line of code with the module it stands in.
struct Line {
    module: String,
    place: String,
    text: String,
}

/// All code of `src/` without comments and without unit tests.
fn code() -> Vec<Line> {
    let mut lines = Vec::new();
    for path in files("src", "rs") {
        let place = super::short(&path);
        let inside = place.trim_start_matches("src/");
        let module = inside
            .split('/')
            .next()
            .unwrap_or_default()
            .trim_end_matches(".rs")
            .to_owned();
        if inside.ends_with("tests.rs") || inside.contains("/tests/") {
            continue;
        }
        for (number, text) in read(&path).lines().enumerate() {
            // Unit tests stand at the end of a file, under this line.
            if text.trim() == "#[cfg(test)]" {
                break;
            }
            let text = text.trim();
            if text.starts_with("//") {
                continue;
            }
            lines.push(Line {
                module: module.clone(),
                place: format!("{place}:{}", number + 1),
                text: text.to_owned(),
            });
        }
    }
    lines
}

/// The modules named after `crate::` in a line; several in a group.
fn named(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        // `$crate::` is a macro's, `pub(crate)` has no colons.
        let rest = &text[at + "crate::".len()..];
        let list = match rest.strip_prefix('{') {
            Some(group) => group
                .split('}')
                .next()
                .unwrap_or_default()
                .split(',')
                .collect(),
            None => vec![rest],
        };
        for item in list {
            let word: String = item
                .trim()
                .chars()
                .take_while(|c| c.is_ascii_lowercase() || *c == '_' || c.is_ascii_digit())
                .collect();
            if !word.is_empty() {
                found.push(word);
            }
        }
    }
    found
}

/// From module to the modules it names, and the places where it does.
fn knows() -> BTreeMap<String, BTreeMap<String, Vec<String>>> {
    let modules: BTreeSet<String> = code().iter().map(|line| line.module.clone()).collect();
    let mut knows: BTreeMap<String, BTreeMap<String, Vec<String>>> = BTreeMap::new();
    for line in code() {
        let of = knows.entry(line.module.clone()).or_default();
        for word in named(&line.text) {
            if word != line.module && modules.contains(&word) {
                of.entry(word).or_default().push(line.place.clone());
            }
        }
    }
    knows
}

#[test]
fn modules_know_only_what_they_may() {
    let knows = knows();
    let mut wrong = Vec::new();
    for (module, may) in MAY_KNOW {
        assert!(knows.contains_key(module), "there is no module {module}");
        for (word, places) in &knows[module] {
            if !may.contains(&word.as_str()) {
                wrong.extend(places.iter().map(|place| (place, module, word.as_str())));
            }
        }
    }
    for (module, by) in KNOWN_BY {
        for (other, names) in &knows {
            let places = names.get(module).filter(|_| !by.contains(&other.as_str()));
            for place in places.into_iter().flatten() {
                wrong.push((place, other.as_str(), module));
            }
        }
    }
    let is_exception = |place: &str, names: &str, (file, word, _): &(&str, &str, &str)| {
        place.starts_with(file) && names == *word
    };
    let unknown: Vec<String> = wrong
        .iter()
        .filter(|(place, _, names)| !EXCEPTIONS.iter().any(|e| is_exception(place, names, e)))
        .map(|(place, module, names)| format!("{place}: `{module}` must not know `{names}`"))
        .collect();
    assert!(unknown.is_empty(), "{}", unknown.join("\n"));
    for exception in EXCEPTIONS {
        assert!(
            wrong
                .iter()
                .any(|(place, _, names)| is_exception(place, names, &exception)),
            "{exception:?} is no exception any more: take it off the list"
        );
    }
}

#[test]
fn engine_and_journal_know_no_aws() {
    let wrong: Vec<String> = code()
        .iter()
        .filter(|line| matches!(line.module.as_str(), "engine" | "journal" | "plan"))
        .filter(|line| line.text.contains("aws_"))
        .map(|line| format!("{}: {}", line.place, line.text))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn only_cli_and_ui_print() {
    let wrong: Vec<String> = code()
        .iter()
        .filter(|line| !matches!(line.module.as_str(), "cli" | "ui"))
        .filter(|line| PRINTS.iter().any(|mark| line.text.contains(mark)))
        .map(|line| format!("{}: {}", line.place, line.text))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn only_app_reads_the_environment() {
    let reads: Vec<Line> = code()
        .into_iter()
        .filter(|line| line.module != "app")
        .filter(|line| {
            READS_ENVIRONMENT
                .iter()
                .any(|mark| line.text.contains(mark))
        })
        .collect();
    let wrong: Vec<String> = reads
        .iter()
        .filter(|line| {
            !MAY_READ_ENVIRONMENT
                .iter()
                .any(|(file, _)| line.place.starts_with(file))
        })
        .map(|line| format!("{}: {}", line.place, line.text))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for (file, why) in MAY_READ_ENVIRONMENT {
        assert!(
            reads.iter().any(|line| line.place.starts_with(file)),
            "{file} no longer reads the environment ({why}): take it off the list"
        );
    }
}

#[test]
fn the_scanner_sees_what_it_should() {
    assert_eq!(named("use crate::cloud::{Fault, sort};"), ["cloud"]);
    assert_eq!(
        named("use crate::{cloud::Fault, engine};"),
        ["cloud", "engine"]
    );
    assert_eq!(
        named("Err(crate::text::Complaint) | crate::site::X"),
        ["text", "site"]
    );
    assert!(knows()["apply"].contains_key("engine"));
}
