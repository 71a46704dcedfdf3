//! The text of a site file, and where each value stands in it.

use std::ops::Range;

use toml_edit::{Item, TableLike, Value};

use super::place::{Path, Step};
use super::problem::Part;

/// A TOML document that remembers its places.
#[derive(Debug)]
pub(super) struct Document {
    toml: toml_edit::Document<String>,
}

/// One thing in the document, whichever way it was written.
#[derive(Clone, Copy)]
pub(super) enum Node<'a> {
    Section(&'a dyn TableLike),
    /// `[[name]]`, which no key of a site file is.
    Sections,
    List(&'a toml_edit::Array),
    Text(&'a str),
    Whole(i64),
    Truth(bool),
    Fraction(f64),
    Moment,
}

impl<'a> Node<'a> {
    pub(super) fn of(item: &'a Item) -> Option<Self> {
        match item {
            Item::None => None,
            Item::Value(value) => Some(Self::of_value(value)),
            Item::Table(table) => Some(Self::Section(table)),
            Item::ArrayOfTables(_) => Some(Self::Sections),
        }
    }

    pub(super) fn of_value(value: &'a Value) -> Self {
        match value {
            Value::String(text) => Self::Text(text.value()),
            Value::Integer(number) => Self::Whole(*number.value()),
            Value::Float(number) => Self::Fraction(*number.value()),
            Value::Boolean(truth) => Self::Truth(*truth.value()),
            Value::Datetime(_) => Self::Moment,
            Value::Array(array) => Self::List(array),
            Value::InlineTable(table) => Self::Section(table),
        }
    }

    /// What people call it, with its article.
    pub(super) fn noun(self) -> &'static str {
        match self {
            Self::Section(_) => "a section",
            Self::Sections => "a list of sections",
            Self::List(_) => "a list",
            Self::Text(_) => "a text",
            Self::Whole(_) => "a whole number",
            Self::Truth(_) => "true or false",
            Self::Fraction(_) => "a number with a fraction",
            Self::Moment => "a date or time",
        }
    }
}

impl Document {
    pub(super) fn parse(text: &str) -> Result<Self, toml_edit::TomlError> {
        Ok(Self {
            toml: toml_edit::Document::parse(text.to_owned())?,
        })
    }

    pub(super) fn root(&self) -> Node<'_> {
        Node::Section(self.toml.as_table())
    }

    /// Where a key or its value stands; `None` when the file does not have it.
    pub(super) fn find(&self, path: &Path, part: Part) -> Option<Range<usize>> {
        let (span, found) = self.walk(path, part);
        if found { span } else { None }
    }

    /// Where the nearest thing above it stands; the beginning of the file if there is nothing.
    pub(super) fn nearest(&self, path: &Path) -> Range<usize> {
        self.walk(path, Part::Key).0.unwrap_or(0..0)
    }

    fn walk(&self, path: &Path, part: Part) -> (Option<Range<usize>>, bool) {
        let mut node = Some(self.root());
        let mut span = None;
        for step in path.steps() {
            let (key, value, next) = match (node, step) {
                (Some(Node::Section(table)), Step::Key(name)) => match table.get_key_value(name) {
                    Some((key, item)) => (key.span(), item.span(), Node::of(item)),
                    None => return (span, false),
                },
                (Some(Node::List(array)), Step::Index(index)) => match array.get(*index) {
                    Some(value) => (None, value.span(), Some(Node::of_value(value))),
                    None => return (span, false),
                },
                _ => return (span, false),
            };
            // A section's "value" would be all its lines; its header is enough.
            let is_section = matches!(next, Some(Node::Section(_) | Node::Sections));
            span = if part == Part::Key || is_section {
                key.or(value)
            } else {
                value.or(key)
            };
            node = next;
        }
        (span, true)
    }
}
