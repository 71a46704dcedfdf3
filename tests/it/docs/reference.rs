//! The pages under `docs/reference/` are made here from the code and compared with the files.
//!
//! `GANTRY_BLESS=1 cargo test --test it docs` writes them anew.

use std::fmt::Write as _;

use gantry::cli;
use gantry::exit::Exit;
use gantry::kinds::registry;
use gantry::profile::{self, Profile};
use gantry::resource::{ADDRESS_TAG, Bears, KindInfo, ROLE_TAG, Replay, SITE_TAG};
use gantry::site;
use serde_json::{Map, Value};

use super::file;

/// The first words of every page.
const MADE: &str = "<!-- Made from the code by `GANTRY_BLESS=1 cargo test --test it docs`: change the code, not this page. -->\n\n";

/// Compares a page with its file, or writes the file when blessed.
fn page(name: &str, text: &str) {
    let path = file("docs/reference").join(name);
    let text = format!("{MADE}{}\n", text.trim_end());
    if std::env::var_os("GANTRY_BLESS").is_some_and(|v| v == "1") {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        return;
    }
    let have = std::fs::read_to_string(&path).unwrap_or_default();
    if have == text {
        return;
    }
    let differs = have
        .lines()
        .zip(text.lines())
        .enumerate()
        .find(|(_, (a, b))| a != b);
    let place = match differs {
        Some((n, (have, want))) => format!("line {}:\n  file: {have}\n  code: {want}", n + 1),
        None => format!(
            "{} lines in the file, {} from the code",
            have.lines().count(),
            text.lines().count()
        ),
    };
    panic!(
        "docs/reference/{name} is out of date ({place})\nwrite it anew: GANTRY_BLESS=1 cargo test --test it docs"
    );
}

/// A text for one cell of a table.
fn cell(text: &str) -> String {
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace('|', "\\|")
}

fn row(cells: &[&str]) -> String {
    format!("| {} |\n", cells.join(" | "))
}

fn head(cells: &[&str]) -> String {
    row(cells) + &format!("|{}\n", "---|".repeat(cells.len()))
}

// ---------------------------------------------------------------- the command line

#[test]
fn cli_page() {
    let mut root = cli::command();
    root.build();
    let mut text = String::from("# Command line\n\n");
    text.push_str(&about(&root));
    text.push_str("\n| verb | |\n|---|---|\n");
    for verb in verbs(&root) {
        let name = verb.get_name();
        let short = verb
            .get_about()
            .map(ToString::to_string)
            .unwrap_or_default();
        text.push_str(&row(&[
            &format!("[`gantry {name}`](#gantry-{name})"),
            &cell(&short),
        ]));
    }
    for verb in verbs(&root) {
        describe(&mut text, verb, "gantry", 2);
    }
    text.push_str("\n## Global options\n\nEvery verb takes these.\n\n");
    options(&mut text, &root, true);
    page("cli.md", &text);
}

fn verbs(command: &clap::Command) -> impl Iterator<Item = &clap::Command> {
    command
        .get_subcommands()
        .filter(|c| c.get_name() != "help" && !c.is_hide_set())
}

fn about(command: &clap::Command) -> String {
    let text = command
        .get_long_about()
        .or(command.get_about())
        .map(ToString::to_string)
        .unwrap_or_default();
    format!("{}\n", text.trim())
}

fn describe(text: &mut String, command: &clap::Command, before: &str, level: usize) {
    let path = format!("{before} {}", command.get_name());
    let _ = write!(text, "\n{} {path}\n\n{}", "#".repeat(level), about(command));
    let own = command
        .get_arguments()
        .any(|a| !a.is_global_set() && a.get_id() != "help");
    if own || !command.is_subcommand_required_set() {
        let usage = command.clone().bin_name(&path).render_usage().to_string();
        let _ = write!(
            text,
            "\n```text\n{}\n```\n",
            usage.trim_start_matches("Usage: ")
        );
    }
    if own {
        text.push('\n');
        options(text, command, false);
    }
    if let Some(after) = command.get_after_help() {
        let _ = write!(text, "\n```text\n{}\n```\n", after.to_string().trim());
    }
    for sub in verbs(command) {
        describe(text, sub, &path, level + 1);
    }
}

/// The table of a command's own arguments, or of the global ones.
fn options(text: &mut String, command: &clap::Command, global: bool) {
    let arguments: Vec<_> = command
        .get_arguments()
        .filter(|a| a.is_global_set() == global)
        .filter(|a| !matches!(a.get_id().as_str(), "help" | "version"))
        .collect();
    if arguments.is_empty() {
        return;
    }
    text.push_str(&head(&["argument", "meaning"]));
    for argument in arguments {
        text.push_str(&row(&[
            &format!("`{}`", spelling(argument)),
            &cell(&meaning(argument)),
        ]));
    }
}

fn spelling(argument: &clap::Arg) -> String {
    let mut words = Vec::new();
    if let Some(short) = argument.get_short() {
        words.push(format!("-{short}"));
    }
    if let Some(long) = argument.get_long() {
        words.push(format!("--{long}"));
    }
    let value = argument
        .get_value_names()
        .filter(|_| argument.get_action().takes_values())
        .map(|names| {
            names
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(" ")
        });
    match (words.is_empty(), value) {
        (true, Some(value)) => value,
        (false, Some(value)) => format!("{} {value}", words.join(", ")),
        _ => words.join(", "),
    }
}

fn meaning(argument: &clap::Arg) -> String {
    let mut text = argument
        .get_long_help()
        .or(argument.get_help())
        .map(ToString::to_string)
        .unwrap_or_default();
    let values: Vec<String> = argument
        .get_possible_values()
        .iter()
        .filter(|_| argument.get_action().takes_values())
        .map(|v| format!("`{}`", v.get_name()))
        .collect();
    if !values.is_empty() {
        let _ = write!(text, " One of {}.", values.join(", "));
    }
    let defaults: Vec<String> = argument
        .get_default_values()
        .iter()
        .filter(|_| argument.get_action().takes_values())
        .map(|v| format!("`{}`", v.to_string_lossy()))
        .collect();
    if !defaults.is_empty() {
        let _ = write!(text, " Default: {}.", defaults.join(", "));
    }
    if let Some(variable) = argument.get_env() {
        let _ = write!(text, " Environment: `{}`.", variable.to_string_lossy());
    }
    text
}

// ---------------------------------------------------------------- the site file

#[test]
fn site_page() {
    let schema = site::schema();
    let mut text = String::from(
        "# The site file\n\nOne TOML file describes a site. Unknown keys are errors, with their place and the nearest known key. `gantry schema`\nprints the same as a JSON schema, for editors.\n\nSecret values are never written in the open; they are references: `env:NAME`, `file:PATH`, `secret:ARN`, or `generate`\nwhere gantry can make one.\n",
    );
    let empty = Map::new();
    let sections = schema["properties"].as_object().unwrap_or(&empty);
    for (name, section) in sections {
        section_text(&mut text, &schema, name, section, 2);
    }
    page("site.md", &text);
}

/// A property with what its `$ref` says filled in.
fn resolved(schema: &Value, property: &Value) -> Map<String, Value> {
    let mut whole = Map::new();
    if let Some(pointer) = property.get("$ref").and_then(Value::as_str)
        && let Some(Value::Object(target)) = schema.pointer(pointer.trim_start_matches('#'))
    {
        whole.extend(target.clone());
    }
    if let Value::Object(own) = property {
        whole.extend(own.clone());
    }
    whole
}

fn section_text(text: &mut String, schema: &Value, name: &str, section: &Value, level: usize) {
    let whole = resolved(schema, section);
    let words = whole
        .get("description")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let _ = write!(
        text,
        "\n{} `[{name}]`\n\n{}\n\n",
        "#".repeat(level),
        words.trim()
    );
    let empty = Map::new();
    let keys = whole
        .get("properties")
        .and_then(Value::as_object)
        .unwrap_or(&empty);
    let needed: Vec<&str> = whole
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let (mut rows, mut inner) = (String::new(), Vec::new());
    for (key, property) in keys {
        let property_whole = resolved(schema, property);
        if property_whole.contains_key("properties") {
            inner.push((format!("{name}.{key}"), property));
            continue;
        }
        let default = match property_whole.get("default") {
            Some(default) => format!("`{default}`"),
            None if needed.contains(&key.as_str()) => "needed".to_owned(),
            None => String::new(),
        };
        let words = property_whole
            .get("description")
            .and_then(Value::as_str)
            .unwrap_or_default();
        rows.push_str(&row(&[
            &format!("`{key}`"),
            &cell(&sort_of(schema, &property_whole)),
            &default,
            &cell(words),
        ]));
    }
    if !rows.is_empty() {
        text.push('\n');
        text.push_str(&head(&["key", "value", "default", "meaning"]));
        text.push_str(&rows);
    } else if inner.is_empty() {
        text.push_str("\nAny keys, each with a text.\n");
    }
    for (name, property) in inner {
        section_text(text, schema, &name, property, level + 1);
    }
}

/// What sort of value a property takes, in a few words.
fn sort_of(schema: &Value, property: &Map<String, Value>) -> String {
    let words: Vec<String> = property
        .get("enum")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(|v| format!("`{v}`"))
        .chain(
            property
                .get("oneOf")
                .or(property.get("anyOf"))
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .map(|option| sort_of(schema, &resolved(schema, option))),
        )
        .chain(property.get("const").map(|v| format!("`{v}`")))
        .collect();
    if !words.is_empty() {
        return words.join(", ");
    }
    match property.get("type").and_then(Value::as_str) {
        Some("array") => {
            let item = property
                .get("items")
                .map(|i| resolved(schema, i))
                .unwrap_or_default();
            format!("list of {}", sort_of(schema, &item))
        }
        Some("string") => "text".to_owned(),
        Some("integer") => "number".to_owned(),
        Some("boolean") => "true or false".to_owned(),
        Some(other) => other.to_owned(),
        None => "value".to_owned(),
    }
}

// ---------------------------------------------------------------- kinds

#[test]
fn kinds_page() {
    let mut text = String::from(
        "# Kinds\n\nEverything gantry makes in AWS is one of these. An address is a kind and a name, `ec2/subnet:public-a`; it stands in plans,\nin the journal and in the tag `gantry:address`.\n\n*Recognised by* says how a repeated creation is known to be the same one: the *token* that AWS honours, a unique *name*, or\nthe *tags* put on at creation. *Usual time* is how long AWS usually takes until it is ready, and what estimates are\nmade from.\n\n",
    );
    let mut kinds: Vec<&KindInfo> = registry::all().collect();
    kinds.sort_by_key(|k| k.kind.clone());
    text.push_str(&head(&[
        "kind",
        "recognised by",
        "holds data",
        "usual time",
        "removal",
    ]));
    for kind in &kinds {
        let replay = match kind.replay {
            Replay::Token => "token",
            Replay::Name => "name",
            Replay::TagLookup => "tags",
        };
        let data = if kind.bears == Bears::Data { "yes" } else { "" };
        let removal = if kind.delete_takes_time {
            "takes time"
        } else {
            "at once"
        };
        text.push_str(&row(&[
            &format!("`{}`", kind.kind),
            replay,
            data,
            &time(kind.usual.as_secs()),
            removal,
        ]));
    }
    text.push_str("\n## Permissions\n\nThe IAM actions each kind uses. `gantry policy` prints the policy for one site, with conditions; see\n[the guide](../guides/least-privilege.md).\n\n");
    text.push_str(&head(&["kind", "actions"]));
    for kind in &kinds {
        let mut actions: Vec<_> = kind.actions.iter().map(|a| format!("`{a}`")).collect();
        actions.sort();
        actions.dedup();
        text.push_str(&row(&[&format!("`{}`", kind.kind), &actions.join(" ")]));
    }
    page("kinds.md", &text);
}

fn time(seconds: u64) -> String {
    match (seconds / 60, seconds % 60) {
        (0, s) => format!("{s} s"),
        (m, 0) => format!("{m} min"),
        (m, s) => format!("{m} min {s} s"),
    }
}

// ---------------------------------------------------------------- profiles

#[test]
fn profiles_page() {
    let mut text = String::from(
        "# Profiles\n\nThe sizes of GitLab's reference architectures, on AWS with managed data stores. `gantry profiles show NAME` prints one,\n`gantry size` picks one. Each file under [`profiles/`](../../profiles) names the source of each number. Counts, types and\nstorage can be changed per site, in [the site file](site.md).\n\n",
    );
    text.push_str(&table());
    for profile in profile::all() {
        let _ = write!(text, "\n## {}\n\n{}.\n\n", profile.name, profile.summary);
        text.push_str(&head(&["part", "count", "type", "storage"]));
        parts(&mut text, profile);
    }
    page("profiles.md", &text);
}

/// The overview; README carries the same lines.
pub fn table() -> String {
    let mut text = head(&[
        "profile",
        "users",
        "requests/s",
        "zones",
        "Rails",
        "Sidekiq",
        "Git data",
        "PostgreSQL",
        "Valkey",
    ]);
    for p in profile::all() {
        let boxed = p.single_box.is_some();
        let inside = || "in the box".to_owned();
        let rails = p.rails.as_ref().map_or_else(inside, |r| {
            format!("{} to {} × {}", r.min, r.max, r.instance_type)
        });
        let sidekiq = p
            .sidekiq
            .as_ref()
            .map_or_else(inside, |s| format!("{} × {}", s.count, s.instance_type));
        let git = match (&p.gitaly, &p.praefect) {
            (Some(g), Some(c)) => format!(
                "{} Gitaly × {}, {} Praefect",
                g.count, g.instance_type, c.count
            ),
            (Some(g), None) => format!("{} Gitaly × {}", g.count, g.instance_type),
            _ if boxed => inside(),
            _ => String::new(),
        };
        let database = p.database.as_ref().map_or_else(inside, |d| {
            let replicas = match d.read_replicas {
                0 => String::new(),
                n => format!(", {n} replicas"),
            };
            format!("{}{replicas}", d.class)
        });
        let caches = match p.caches.as_slice() {
            [] => inside(),
            [one] => format!("{} × {}", 1 + one.replicas, one.node_type),
            many => format!(
                "{} groups, {} × {} each",
                many.len(),
                1 + many[0].replicas,
                many[0].node_type
            ),
        };
        text.push_str(&row(&[
            &format!("`{}`", p.name),
            &p.users.to_string(),
            &p.target_rps.headline.to_string(),
            &p.zones.to_string(),
            &rails,
            &sidekiq,
            &git,
            &database,
            &caches,
        ]));
    }
    text
}

fn parts(text: &mut String, p: &Profile) {
    let mut add = |part: &str, count: String, kind: String, storage: String| {
        text.push_str(&row(&[part, &count, &kind, &storage]));
    };
    let data = |v: &profile::Volume| {
        format!(
            "data {} GiB gp3, {} IOPS, {} MiB/s",
            v.gib, v.iops, v.throughput
        )
    };
    if let Some(b) = &p.single_box {
        add(
            "the box",
            "1".into(),
            b.instance_type.to_string(),
            data(&b.data),
        );
    }
    if let Some(r) = &p.rails {
        let count = format!("{} (up to {})", r.desired, r.max);
        add(
            "Rails",
            count,
            r.instance_type.to_string(),
            format!("root {} GiB", r.root.gib),
        );
    }
    if let Some(g) = &p.gitaly {
        add(
            "Gitaly",
            g.count.to_string(),
            g.instance_type.to_string(),
            data(&g.data),
        );
    }
    let groups = [
        ("Sidekiq", &p.sidekiq),
        ("Praefect", &p.praefect),
        ("monitoring", &p.monitoring),
        ("bastion", &p.bastion),
    ];
    for (part, group) in groups {
        if let Some(g) = group {
            add(
                part,
                g.count.to_string(),
                g.instance_type.to_string(),
                format!("root {} GiB", g.root.gib),
            );
        }
    }
    for (part, database) in [
        ("database", &p.database),
        ("Praefect database", &p.praefect_database),
    ] {
        if let Some(d) = database {
            let iops = d.iops.map(|n| format!(", {n} IOPS")).unwrap_or_default();
            let zones = if d.multi_az { "1, Multi-AZ" } else { "1" };
            let replicas = match d.read_replicas {
                0 => String::new(),
                n => format!(", {n} read replicas"),
            };
            let storage = format!(
                "{} GiB {}{iops}, grows to {} GiB",
                d.storage_gib,
                d.storage_type.as_str(),
                d.max_storage_gib
            );
            add(
                part,
                format!("{zones}{replicas}"),
                d.class.to_string(),
                storage,
            );
        }
    }
    for cache in &p.caches {
        let part = format!("Valkey, {}", cache.name.as_str());
        let replicas = if cache.replicas == 1 {
            "replica"
        } else {
            "replicas"
        };
        let count = format!("{} ({} {replicas})", 1 + cache.replicas, cache.replicas);
        add(
            &part,
            count,
            cache.node_type.to_string(),
            cache.maxmemory_policy.as_str().into(),
        );
    }
}

#[test]
fn readme_has_the_profiles_of_the_code() {
    let readme = std::fs::read_to_string(file("README.md")).unwrap();
    let mut fresh = String::new();
    let (before, rest) = readme
        .split_once("<!-- profiles -->\n")
        .expect("README.md has no mark <!-- profiles -->");
    let (_, after) = rest
        .split_once("<!-- end -->")
        .expect("README.md has no mark <!-- end -->");
    let _ = write!(
        fresh,
        "{before}<!-- profiles -->\n{}<!-- end -->{after}",
        table()
    );
    if std::env::var_os("GANTRY_BLESS").is_some_and(|v| v == "1") {
        std::fs::write(file("README.md"), fresh).unwrap();
        return;
    }
    assert!(
        readme == fresh,
        "the table of profiles in README.md is out of date: GANTRY_BLESS=1 cargo test --test it docs"
    );
}

// ---------------------------------------------------------------- promises to scripts

#[test]
fn promises_page() {
    let codes = [
        (Exit::Done, "Done. For `plan`: nothing would change."),
        (
            Exit::Unexpected,
            "Something nobody foresaw. Please report it with what was printed.",
        ),
        (
            Exit::Usage,
            "A wrong command line, site file or saved plan. Nothing was changed.",
        ),
        (
            Exit::Changes,
            "`plan` (and every `--dry-run`): there are changes.",
        ),
        (
            Exit::Cloud,
            "AWS refused, or a person has to do something first. What could be done is done; run again.",
        ),
        (Exit::Host, "A node failed."),
        (
            Exit::Interrupted,
            "Interrupted. Run the same command again to go on.",
        ),
        (
            Exit::Locked,
            "Another run is at work on this site; the message names it.",
        ),
        (Exit::Check, "A check failed."),
    ];
    let mut text = String::from(
        "# What scripts may rely on\n\nThese stay the same from release to release. Where one has to change, [the changelog](../../CHANGELOG.md) says so.\n\n## Exit codes\n\n",
    );
    text.push_str(&head(&["code", "meaning"]));
    for (number, (code, words)) in codes.iter().enumerate() {
        assert_eq!(*code as usize, number, "exit codes are listed in order");
        text.push_str(&row(&[&format!("{}", *code as u8), words]));
    }
    let _ = write!(
        text,
        "\n## Streams\n\nstdout carries data, stderr the conversation: questions, progress, warnings, errors. With `--output json` stdout is one\nJSON document with `\"format\": 1`; a new format gets a new number. No document holds a secret.\n\n## Tags\n\nEvery resource that can carry tags has these from the moment it exists:\n\n"
    );
    text.push_str(&head(&["tag", "value"]));
    for (tag, words) in [
        (SITE_TAG, "the site's name"),
        (
            ADDRESS_TAG,
            "the address, for example `ec2/subnet:public-a`",
        ),
        (
            ROLE_TAG,
            "on nodes and their volumes: what the node does, for example `gitaly`",
        ),
        ("Name", "a readable name, for the console"),
    ] {
        text.push_str(&row(&[&format!("`{tag}`"), words]));
    }
    text.push_str("\nThe `[tags]` of the site file are added to all of them.\n\n## Files\n\n");
    text.push_str(&head(&["path", "what"]));
    for (path, words) in [
        ("gantry.toml", "the site file"),
        (
            ".gantry/SITE/journal.jsonl",
            "what gantry remembers, one record a line",
        ),
        (".gantry/SITE/run.lock", "who is at work"),
        (
            ".gantry/SITE/runs/RUN.jsonl",
            "what each run did, one event a line",
        ),
        (
            ".gantry/sandbox/",
            "the same for `--sandbox`, and the embedded world",
        ),
    ] {
        text.push_str(&row(&[&format!("`{path}`"), words]));
    }
    text.push_str(
        "\nThe folder stands beside the site file unless `--state-dir` says otherwise.\n",
    );
    page("promises.md", &text);
}
