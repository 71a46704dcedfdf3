//! Links, commands and samples in README and docs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::Parser;
use gantry::cli::{Cli, command};
use gantry::site;

use super::{file, files, read, short};

/// Every page people read.
fn pages() -> Vec<PathBuf> {
    let mut pages = vec![file("README.md"), file("CHANGELOG.md")];
    pages.extend(files("docs", "md"));
    pages
}

/// A fenced block: its language and its lines.
struct Block {
    language: String,
    text: String,
}

/// Splits a page into its fenced blocks and everything else.
fn blocks(page: &str) -> (Vec<Block>, String) {
    let (mut blocks, mut prose) = (Vec::new(), String::new());
    let mut open: Option<Block> = None;
    for line in page.lines() {
        match (line.trim_start().strip_prefix("```"), &mut open) {
            (Some(language), None) => {
                open = Some(Block {
                    language: language.trim().to_owned(),
                    text: String::new(),
                });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some(block)) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, None) => {
                prose.push_str(line);
                prose.push('\n');
            }
        }
    }
    (blocks, prose)
}

/// The name GitHub and GitLab give to a heading.
fn slug(heading: &str) -> String {
    heading
        .trim()
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .collect::<String>()
        .replace(' ', "-")
}

fn anchors(page: &str) -> BTreeSet<String> {
    blocks(page)
        .1
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| slug(line.trim_start_matches('#')))
        .collect()
}

/// The targets of links and pictures in a page.
fn targets(prose: &str) -> Vec<String> {
    prose
        .match_indices("](")
        .filter_map(|(at, _)| prose[at + 2..].split(')').next())
        .map(|target| {
            target
                .split_whitespace()
                .next()
                .unwrap_or_default()
                .to_owned()
        })
        .collect()
}

#[test]
fn links_lead_somewhere() {
    let mut wrong = Vec::new();
    for page in pages() {
        let text = read(&page);
        for target in targets(&blocks(&text).1) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (path, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let to = if path.is_empty() {
                page.clone()
            } else {
                page.parent().unwrap_or(Path::new("")).join(path)
            };
            if !to.exists() {
                wrong.push(format!("{}: {target} does not exist", short(&page)));
            } else if !anchor.is_empty() && !anchors(&read(&to)).contains(anchor) {
                wrong.push(format!("{}: {target} has no such heading", short(&page)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn pages_named_in_the_code_exist() {
    let mut wrong = Vec::new();
    for path in files("src", "rs") {
        for (number, line) in read(&path).lines().enumerate() {
            for word in line.split(|c: char| !(c.is_alphanumeric() || "/._-".contains(c))) {
                let page = word.trim_end_matches('.');
                if page.starts_with("docs/") && page.ends_with(".md") && !file(page).exists() {
                    wrong.push(format!("{}:{}: {page}", short(&path), number + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Splits as a shell would, as far as our examples need it: quotes, comments, and the end at a pipe or redirection.
fn split(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut any = false;
    for c in line.chars() {
        match (c, quote) {
            (c, Some(q)) if c == q => quote = None,
            (c, Some(_)) => word.push(c),
            ('\'' | '"', None) => {
                quote = Some(c);
                any = true;
            }
            ('#', None) if word.is_empty() => break,
            ('|' | '>' | ';' | '&', None) => break,
            (c, None) if c.is_whitespace() => {
                if !word.is_empty() || any {
                    words.push(std::mem::take(&mut word));
                }
                any = false;
            }
            (c, None) => word.push(c),
        }
    }
    if !word.is_empty() || any {
        words.push(word);
    }
    words
}

/// The command lines of gantry in a page's shell blocks, as arguments.
fn commands(page: &str) -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    for block in blocks(page).0 {
        if !matches!(block.language.as_str(), "sh" | "console") {
            continue;
        }
        for line in block.text.replace("\\\n", " ").lines() {
            let line = line.trim().trim_start_matches("$ ");
            let mut words = split(line);
            // Settings before a command: `AWS_PROFILE=acme gantry plan`.
            while words.first().is_some_and(|w| {
                w.contains('=') && w.chars().next().is_some_and(char::is_uppercase)
            }) {
                words.remove(0);
            }
            match words.first().map(String::as_str) {
                Some("gantry") => found.push((line.to_owned(), words)),
                Some("cargo") if words.get(1).is_some_and(|w| w == "run") => {
                    let at = words.iter().position(|w| w == "--");
                    let rest = at.map(|at| words.split_off(at + 1)).unwrap_or_default();
                    let words = std::iter::once("gantry".to_owned()).chain(rest).collect();
                    found.push((line.to_owned(), words));
                }
                _ => {}
            }
        }
    }
    found
}

#[test]
fn commands_of_the_pages_parse() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for page in pages() {
        for (line, words) in commands(&read(&page)) {
            count += 1;
            if let Err(error) = Cli::try_parse_from(&words) {
                let first = error.to_string();
                let first = first.lines().next().unwrap_or_default();
                wrong.push(format!("{}: `{line}`: {first}", short(&page)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count > 20, "only {count} commands were found");
}

#[test]
fn verbs_and_flags_named_in_the_pages_exist() {
    let mut wrong = Vec::new();
    for page in pages() {
        let (_, prose) = blocks(&read(&page));
        // Every second piece between backticks is code.
        for code in prose.split('`').skip(1).step_by(2) {
            let words = split(code);
            if words.first().is_none_or(|w| w != "gantry") || words.len() < 2 {
                continue;
            }
            if let Some(unknown) = unknown(&words[1..]) {
                wrong.push(format!("{}: `{code}`: {unknown}", short(&page)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What clap does not know in these words: a verb, or a flag of a verb. Placeholders pass.
fn unknown(words: &[String]) -> Option<String> {
    let mut root = command();
    root.build();
    let mut at = &root;
    for word in words {
        if let Some(flag) = word.strip_prefix("--") {
            let flag = flag.split('=').next().unwrap_or_default();
            let known = flag.is_empty()
                || [at, &root]
                    .iter()
                    .any(|c| c.get_arguments().any(|a| a.get_long() == Some(flag)));
            if !known {
                return Some(format!("there is no --{flag}"));
            }
        } else if let Some(next) = at.find_subcommand(word) {
            at = next;
        } else if std::ptr::eq(at, &raw const root) && word.chars().all(|c| c.is_ascii_lowercase())
        {
            return Some(format!("there is no verb {word}"));
        }
    }
    None
}

#[test]
fn site_files_in_the_pages_are_valid() {
    let mut wrong = Vec::new();
    for page in pages() {
        for block in blocks(&read(&page)).0 {
            if block.language != "toml" {
                continue;
            }
            // A fragment is read as part of a highly available site.
            let text = if block.text.contains("[site]") {
                block.text
            } else {
                format!(
                    "[site]\nname = \"acme\"\nprofile = \"ha-3k\"\ndomain = \"gitlab.acme.example\"\nregion = \"eu-west-1\"\n\n{}",
                    block.text
                )
            };
            if let Err(error) = site::parse("gantry.toml", &text) {
                wrong.push(format!("{}: {error:?}\n{text}", short(&page)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_readme_begins_with_its_two_commands() {
    let text = read(&file("README.md"));
    let lines: Vec<String> = blocks(&text)
        .0
        .into_iter()
        .filter(|block| block.language == "sh")
        .flat_map(|block| block.text.lines().map(str::to_owned).collect::<Vec<_>>())
        .take(2)
        .collect();
    assert!(
        lines[0].starts_with("cargo run --release -- install"),
        "{lines:?}"
    );
    assert!(lines[0].contains("--sandbox"), "{lines:?}");
    assert_eq!(lines[1], "cargo test");
    let ci = read(&file(".ci/run"));
    assert!(ci.contains(&format!("step \"tests\" {}\n", lines[1])));
}

#[test]
fn the_splitter_splits() {
    assert_eq!(
        split("gantry plan --save 'a b' # why"),
        ["gantry", "plan", "--save", "a b"]
    );
    assert_eq!(
        split("gantry plan --output json | jq .x"),
        ["gantry", "plan", "--output", "json"]
    );
    assert_eq!(slug("Lost state, and `rebuild`"), "lost-state-and-rebuild");
}
