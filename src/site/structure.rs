//! Reading a document against the schema: unknown keys, wrong types, words that are none, texts that break
//! their rule. Everything is found in one go; what is right comes back as JSON.

use std::ops::Range;

use serde_json::{Map, Value};

use super::document::{Document, Node};
use super::place::Path;
use super::problem::{Part, Problem};
use super::schema::Shape;
use super::{
    AccountId, Certificate, Domain, Email, GitlabVersion, PackageSource, Region, Rpo, Schedule,
    SecretRef, SiteName, SshPublicKey, TimeZoneName, VaultArn, Within, network,
};
use crate::profile::{
    CacheEngine, CacheNodeType, DatabaseEngine, DbClass, InstanceType, PostgresVersion,
    ValkeyVersion,
};
use crate::text::{Complaint, Text, nearest};

/// What could be read.
pub(super) struct Reading {
    /// The values that are right.
    pub value: Value,
    pub problems: Vec<Problem>,
    /// The paths of values that are wrong or missing, and are not in `value`, or only as stand-ins.
    pub bad: Vec<Path>,
    /// Where a secret stands in the open.
    pub secrets: Vec<Range<usize>>,
}

/// Read the whole document.
pub(super) fn read(document: &Document) -> Reading {
    let mut reader = Reader {
        document,
        problems: Vec::new(),
        bad: Vec::new(),
        secrets: Vec::new(),
    };
    let value = reader
        .node(Shape::root(), document.root(), &Path::default())
        .unwrap_or_else(|| Value::Object(Map::new()));
    let value = stand_in(value, &mut reader);
    Reading {
        value,
        problems: reader.problems,
        bad: reader.bad,
        secrets: reader.secrets,
    }
}

/// Values for what `[site]` lacks, so that the rest can be checked; they are marked as bad.
fn stand_in(mut value: Value, reader: &mut Reader<'_>) -> Value {
    let Some(root) = value.as_object_mut() else {
        return value;
    };
    let site = root
        .entry("site")
        .or_insert_with(|| Value::Object(Map::new()));
    let Some(site) = site.as_object_mut() else {
        return value;
    };
    for (key, example) in [
        ("name", SiteName::EXAMPLE),
        ("profile", "ha-3k"),
        ("domain", Domain::EXAMPLE),
        ("region", Region::EXAMPLE),
    ] {
        if !site.contains_key(key) {
            site.insert(key.to_owned(), example.into());
            reader.bad.push(Path::of("site").key(key));
        }
    }
    value
}

struct Reader<'a> {
    document: &'a Document,
    problems: Vec<Problem>,
    bad: Vec<Path>,
    secrets: Vec<Range<usize>>,
}

impl Reader<'_> {
    fn node(&mut self, shape: Shape<'_>, node: Node<'_>, path: &Path) -> Option<Value> {
        let value = match (shape.kind(), node) {
            ("object", Node::Section(table)) => return self.section(shape, table, path),
            ("any", node) => return self.any(node, path),
            ("array", Node::List(array)) => {
                let element = shape.element()?;
                let elements = array.iter().enumerate();
                return Some(
                    elements
                        .filter_map(|(index, value)| {
                            self.node(element, Node::of_value(value), &path.index(index))
                        })
                        .collect(),
                );
            }
            ("boolean", Node::Truth(truth)) => Some(Value::Bool(truth)),
            ("integer", Node::Whole(number)) => self.whole(shape, number, path),
            ("string", Node::Text(text)) => self.text(shape, text, path),
            _ => {
                self.wrong_type(shape, node, path);
                None
            }
        };
        if value.is_none() {
            self.bad.push(path.clone());
            if shape.format() == Some(SecretRef::FORMAT) {
                self.hide(path);
            }
        }
        value
    }

    fn section(
        &mut self,
        shape: Shape<'_>,
        table: &dyn toml_edit::TableLike,
        path: &Path,
    ) -> Option<Value> {
        let mut values = Map::new();
        for (key, item) in table.iter() {
            let Some(node) = Node::of(item) else { continue };
            let below = path.key(key);
            let Some(member) = shape.member(key) else {
                self.unknown_key(shape, key, &below);
                continue;
            };
            if let Some(value) = self.node(member, node, &below) {
                values.insert(key.to_owned(), value);
            }
        }
        let absent: Vec<&str> = shape
            .required()
            .filter(|key| !table.contains_key(key))
            .collect();
        if !absent.is_empty() {
            self.absent(shape, &absent, path);
        }
        let complete = shape.required().all(|key| values.contains_key(key));
        // `[site]` gets stand-ins; any other section is left out whole when it lacks something.
        if complete || path.steps().is_empty() || *path == Path::of("site") {
            return Some(Value::Object(values));
        }
        self.bad.push(path.clone());
        None
    }

    fn absent(&mut self, shape: Shape<'_>, keys: &[&str], path: &Path) {
        let problem = if path.steps().is_empty() {
            Problem::with_key(path.clone(), "there is no `[site]` section")
                .because("it says which site this is, how large, and where")
                .help("`gantry init` writes a file that has it; or add `[site]` with `name`, `profile`, `domain` and `region`")
        } else {
            let named: Vec<String> = keys.iter().map(|key| format!("`{key}`")).collect();
            let lines: Vec<String> = keys
                .iter()
                .filter_map(|key| Some(format!("`{key} = {}`", shape.member(key)?.example())))
                .collect();
            Problem::with_key(path.clone(), format!("`[{path}]` lacks {}", listed(&named)))
                .because(if keys.len() == 1 {
                    "this section needs it"
                } else {
                    "this section needs them"
                })
                .help(format!("add {}", listed(&lines)))
        };
        self.problems.push(problem);
    }

    fn unknown_key(&mut self, shape: Shape<'_>, key: &str, path: &Path) {
        let known: Vec<&str> = shape.keys().collect();
        let above = path.to_string();
        let section = above.rsplit_once('.').map(|(section, _)| section);
        let why = match section {
            Some(section) => format!("`[{section}]` has no such key"),
            None => "the site file has no such section or key".to_owned(),
        };
        let elsewhere = || {
            sections()
                .filter(|(name, shape)| {
                    Some(name.as_str()) != section && shape.keys().any(|known| known == key)
                })
                .map(|(name, _)| name)
                .collect::<Vec<_>>()
        };
        let near = nearest(key, known.iter().copied());
        // What was meant is not missing, only misspelt.
        self.bad
            .extend(near.map(|near| section.map_or_else(Path::default, Path::of).key(near)));
        let help = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => match elsewhere().as_slice() {
                [] => format!("known here: {}", known.join(", ")),
                places => format!(
                    "`{key}` belongs in {}",
                    places
                        .iter()
                        .map(|place| format!("[{place}]"))
                        .collect::<Vec<_>>()
                        .join(" or ")
                ),
            },
        };
        self.problems.push(
            Problem::with_key(path.clone(), format!("`{path}` is not known"))
                .because(why)
                .help(help),
        );
        // A misspelt `pasword` holds a password all the same.
        if looks_secret(key) {
            self.hide(path);
        }
    }

    /// A value that Ruby gets as it is.
    fn any(&mut self, node: Node<'_>, path: &Path) -> Option<Value> {
        let value = match node {
            Node::Text(text) if self.is_secret(text, path) => None,
            Node::Text(text) => Some(text.into()),
            Node::Whole(number) => Some(number.into()),
            Node::Truth(truth) => Some(truth.into()),
            Node::Fraction(number) => serde_json::Number::from_f64(number).map(Value::Number),
            Node::List(array) => {
                let elements = array.iter().enumerate();
                return Some(
                    elements
                        .filter_map(|(index, value)| {
                            self.any(Node::of_value(value), &path.index(index))
                        })
                        .collect(),
                );
            }
            Node::Section(table) => {
                let mut values = Map::new();
                for (key, item) in table.iter() {
                    let Some(node) = Node::of(item) else { continue };
                    if let Some(value) = self.any(node, &path.key(key)) {
                        values.insert(key.to_owned(), value);
                    }
                }
                return Some(Value::Object(values));
            }
            Node::Moment | Node::Sections => None,
        };
        if value.is_none() {
            self.bad.push(path.clone());
            if !matches!(node, Node::Text(_)) {
                self.problems.push(
                    Problem::at(path.clone(), format!("`{path}` cannot be handed to GitLab"))
                        .because(format!("this is {}", node.noun()))
                        .help("write a text, a number, true or false, a list in brackets, or a table in braces"),
                );
            }
        }
        value
    }

    /// Whether a text for Ruby is a secret by the name of its key. Paths of files are none.
    fn is_secret(&mut self, text: &str, path: &Path) -> bool {
        let name = path.to_string();
        let endings = ["password", "secret", "token", "_key", "key_base"];
        let secret = !text.is_empty()
            && !text.starts_with('/')
            && endings.iter().any(|ending| name.ends_with(ending));
        if secret {
            self.problems.push(
                Problem::at(path.clone(), format!("`{path}` holds a secret"))
                    .because("a secret itself must not stand in the site file")
                    .help("settings with secrets have sections of their own, [smtp] or [ldap] for example; a secret that was written here should be changed"),
            );
            self.hide(path);
        }
        secret
    }

    fn whole(&mut self, shape: Shape<'_>, number: i64, path: &Path) -> Option<Value> {
        let (least, most) = shape.bounds();
        if (least..=most).contains(&number) {
            return Some(number.into());
        }
        self.problems.push(
            Problem::at(path.clone(), format!("`{path}` is {number}"))
                .because(if number < least {
                    format!("it cannot be less than {least}")
                } else {
                    format!("it cannot be more than {most}")
                })
                .help("write a number within these bounds, or leave the key out for the default"),
        );
        None
    }

    fn text(&mut self, shape: Shape<'_>, text: &str, path: &Path) -> Option<Value> {
        if let Some(words) = shape.words() {
            if words.contains(&text) {
                return Some(text.into());
            }
            let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
            let quoted = quoted.join(", ");
            let (why, help) = match nearest(text, words.iter().copied()) {
                Some(near) => (
                    format!("it is one of {quoted}"),
                    format!("did you mean `{near}`?"),
                ),
                None => (
                    "gantry knows no such word here".to_owned(),
                    format!("write one of {quoted}"),
                ),
            };
            self.problems.push(
                Problem::at(
                    path.clone(),
                    format!("`{path}` is `{text}`, which it cannot be"),
                )
                .because(why)
                .help(help),
            );
            return None;
        }
        if let Some((noun, complaint)) = shape.format().and_then(|format| broken_rule(format, text))
        {
            self.problems.push(
                Problem::at(path.clone(), format!("`{path}` is not {noun}"))
                    .because(complaint.why)
                    .help(complaint.help),
            );
            return None;
        }
        if text.trim().is_empty() && shape.format().is_none() && !path.is_within(&Path::of("tags"))
        {
            self.problems.push(
                Problem::at(path.clone(), format!("`{path}` is empty"))
                    .because("nothing can be done with an empty text")
                    .help("write a value, or leave the key out"),
            );
            return None;
        }
        Some(text.into())
    }

    fn wrong_type(&mut self, shape: Shape<'_>, node: Node<'_>, path: &Path) {
        let wanted = match shape.kind() {
            "object" => "a section",
            "array" => "a list",
            "integer" => "a whole number",
            "boolean" => "true or false",
            _ => "a text",
        };
        let key = path.to_string();
        let key = key.rsplit('.').next().unwrap_or_default();
        let secret = shape.format() == Some(SecretRef::FORMAT);
        let help = match (shape.kind(), node) {
            ("integer", Node::Text(text)) if text.parse::<u32>().is_ok() => {
                format!("take the quotes away: `{key} = {text}`")
            }
            ("boolean", Node::Text(text)) if ["true", "yes", "on"].contains(&text) => {
                format!("write `{key} = true`, without quotes")
            }
            ("boolean", Node::Text(text)) if ["false", "no", "off"].contains(&text) => {
                format!("write `{key} = false`, without quotes")
            }
            ("string", Node::Whole(number)) if !secret => {
                format!("put it in quotes: `{key} = \"{number}\"`")
            }
            ("array", Node::Text(text)) => format!("put it in brackets: `{key} = [\"{text}\"]`"),
            ("object", Node::Sections) => {
                format!("write `[{path}]` with single brackets, and once")
            }
            ("object", _) if path.is_within(&Path::of("gitlab.rb")) => {
                "settings stand below a section, `[gitlab.rb.SECTION]`; names are in [site] and [front]".to_owned()
            }
            ("object", _) => {
                format!("write it as a section of its own, `[{path}]`, with its keys below")
            }
            _ => format!("write for example `{key} = {}`", shape.example()),
        };
        self.problems.push(
            Problem::at(path.clone(), format!("`{path}` must be {wanted}"))
                .because(format!("this is {}", node.noun()))
                .help(help),
        );
    }

    fn hide(&mut self, path: &Path) {
        self.secrets.extend(self.document.find(path, Part::Value));
    }
}

/// The sections and their shapes, those below sections too.
fn sections() -> impl Iterator<Item = (String, Shape<'static>)> {
    let below = |name: String, shape: Shape<'static>| {
        let inner = shape
            .keys()
            .filter_map(move |key| Some((format!("{name}.{key}"), shape.member(key)?)))
            .collect::<Vec<_>>();
        inner.into_iter()
    };
    let root = Shape::root();
    let top = root
        .keys()
        .filter_map(move |name| Some((name.to_owned(), root.member(name)?)));
    top.flat_map(move |(name, shape)| {
        std::iter::once((name.clone(), shape)).chain(below(name, shape))
    })
    .filter(|(_, shape)| shape.kind() == "object")
}

/// Whether what stands under such a key is probably a secret.
pub(super) fn looks_secret(key: &str) -> bool {
    let key = key.to_lowercase();
    [
        "pass",
        "pasw",
        "secret",
        "token",
        "credential",
        "private_key",
        "license",
    ]
    .iter()
    .any(|word| key.contains(word))
}

fn listed(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// The noun of the type and the complaint, when a text breaks the rule of its format.
fn broken_rule(format: &str, text: &str) -> Option<(&'static str, Complaint)> {
    fn try_as<T: Text>(format: &str, text: &str) -> Option<Result<(), (&'static str, Complaint)>> {
        (format == T::FORMAT).then(|| {
            T::from_str(text)
                .map(drop)
                .map_err(|complaint| (T::NOUN, complaint))
        })
    }
    let types = [
        try_as::<SiteName>,
        try_as::<Domain>,
        try_as::<AccountId>,
        try_as::<Region>,
        try_as::<GitlabVersion>,
        try_as::<PackageSource>,
        try_as::<Email>,
        try_as::<SecretRef>,
        try_as::<Certificate>,
        try_as::<Schedule>,
        try_as::<TimeZoneName>,
        try_as::<Rpo>,
        try_as::<Within>,
        try_as::<VaultArn>,
        try_as::<network::Cidr>,
        try_as::<SshPublicKey>,
        try_as::<InstanceType>,
        try_as::<DbClass>,
        try_as::<CacheNodeType>,
        try_as::<DatabaseEngine>,
        try_as::<CacheEngine>,
        try_as::<PostgresVersion>,
        try_as::<ValkeyVersion>,
    ];
    types
        .iter()
        .find_map(|try_type| try_type(format, text))
        .and_then(Result::err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_of_the_schema_has_its_rule() {
        fn formats(value: &Value, found: &mut Vec<String>) {
            match value {
                Value::Object(map) => {
                    if map.get("type").is_some_and(|kind| {
                        kind != "integer" && *kind != serde_json::json!(["integer", "null"])
                    }) {
                        found.extend(map.get("format").and_then(Value::as_str).map(str::to_owned));
                    }
                    map.values().for_each(|value| formats(value, found));
                }
                Value::Array(values) => values.iter().for_each(|value| formats(value, found)),
                _ => {}
            }
        }
        let mut found = Vec::new();
        formats(&super::super::schema(), &mut found);
        assert!(found.len() > 15);
        for format in found {
            assert!(
                broken_rule(&format, "\u{1}").is_some(),
                "no rule for {format}"
            );
        }
    }
}
