//! `[tags]`: the owner's own tags.

use std::collections::BTreeMap;

use super::place::Path;
use super::problem::Problem;

/// What every AWS service takes in a tag (<https://docs.aws.amazon.com/tag-editor/latest/userguide/best-practices-and-strats.html>).
const PUNCTUATION: &str = " _.:/=+-@";

/// A resource carries 50 tags, an S3 object 10; gantry keeps some for itself.
const MOST: usize = 40;

pub(super) fn check(tags: &BTreeMap<String, String>, problems: &mut Vec<Problem>) {
    if tags.len() > MOST {
        problems.push(
            Problem::with_key(
                Path::of("tags"),
                format!("`[tags]` has {} tags", tags.len()),
            )
            .because("AWS takes 50 on a resource, and gantry needs some of them")
            .help(format!("keep {MOST} at most")),
        );
    }
    for (key, value) in tags {
        check_key(key, problems);
        check_value(key, value, problems);
    }
}

fn check_key(key: &str, problems: &mut Vec<Problem>) {
    let problem = |what: String| Problem::with_key(Path::of("tags").key(key), what);
    let lower = key.to_lowercase();
    let length = key.chars().count();
    if lower.starts_with("aws:") {
        problems.push(
            problem(format!("the tag `{key}` begins with `aws:`"))
                .because("AWS keeps that prefix for itself and refuses it")
                .help("take another prefix, or none"),
        );
    } else if lower.starts_with("gantry:") {
        problems.push(
            problem(format!("the tag `{key}` begins with `gantry:`"))
                .because("gantry finds its resources by these tags")
                .help("take another prefix, or none"),
        );
    } else if key == "Name" {
        problems.push(
            problem("the tag `Name` is taken".to_owned())
                .because("gantry gives each resource a readable name of its own")
                .help("take another key, for example `project`"),
        );
    } else if length == 0 || length > 128 {
        problems.push(
            problem(format!("a tag's key has {length} characters"))
                .because("AWS takes 1 to 128")
                .help("shorten the key, or take the tag away"),
        );
    } else if let Some(wrong) = unwelcome(key) {
        problems.push(
            problem(format!("the tag `{key}` has `{wrong}` in its key"))
                .because("not every AWS service takes it")
                .help(format!(
                    "use letters, digits, spaces and `{}`",
                    PUNCTUATION.trim()
                )),
        );
    }
}

fn check_value(key: &str, value: &str, problems: &mut Vec<Problem>) {
    let problem = |what: String| Problem::at(Path::of("tags").key(key), what);
    let length = value.chars().count();
    if length > 256 {
        problems.push(
            problem(format!(
                "the tag `{key}` has a value of {length} characters"
            ))
            .because("AWS takes 256")
            .help("shorten the value"),
        );
    } else if let Some(wrong) = unwelcome(value) {
        problems.push(
            problem(format!("the tag `{key}` has `{wrong}` in its value"))
                .because("not every AWS service takes it")
                .help(format!(
                    "use letters, digits, spaces and `{}`",
                    PUNCTUATION.trim()
                )),
        );
    }
}

fn unwelcome(text: &str) -> Option<char> {
    text.chars()
        .find(|c| !(c.is_alphanumeric() || PUNCTUATION.contains(*c)))
}
