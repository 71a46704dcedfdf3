//! The JSON schema of the site file, for editors, for the reference page, and for reading the file itself.

use std::sync::LazyLock;

use serde_json::{Map, Value};

use super::Site;

/// Defaults that depend on the profile; their descriptions say how.
const BY_PROFILE: [(&str, &str); 2] = [("Network", "zones"), ("Tls", "certificate")];

static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    let mut schema = without_null(schemars::schema_for!(Site).to_value());
    for (section, key) in BY_PROFILE {
        if let Some(property) = schema
            .pointer_mut(&format!("/$defs/{section}/properties/{key}"))
            .and_then(Value::as_object_mut)
        {
            property.shift_remove("default");
        }
    }
    // Each section's own keys carry their defaults; the whole again at the top would only be long.
    if let Some(sections) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        for section in sections.values_mut().filter_map(Value::as_object_mut) {
            section.shift_remove("default");
        }
    }
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("title".to_owned(), "gantry.toml".into());
        schema.insert(
            "description".to_owned(),
            "One GitLab installation on AWS.".into(),
        );
    }
    schema
});

/// TOML has no null: what may be absent is left out, so the schema need not offer it.
fn without_null(value: Value) -> Value {
    match value {
        Value::Array(values) => values.into_iter().map(without_null).collect(),
        Value::Object(map) => {
            let mut plain = Map::new();
            for (key, value) in map {
                match (key.as_str(), value) {
                    (_, Value::Null) => {}
                    ("type", Value::Array(kinds)) => plain.extend(
                        kinds
                            .into_iter()
                            .find(|kind| kind != "null")
                            .map(|kind| (key, kind)),
                    ),
                    ("anyOf", Value::Array(options)) => {
                        let kept = options
                            .into_iter()
                            .find(|option| option.get("type").is_none_or(|kind| kind != "null"));
                        if let Some(Value::Object(option)) = kept.map(without_null) {
                            plain.extend(option);
                        }
                    }
                    (_, value) => {
                        plain.insert(key, without_null(value));
                    }
                }
            }
            Value::Object(plain)
        }
        plain => plain,
    }
}

/// The JSON schema of `gantry.toml` (draft 2020-12).
pub fn schema() -> Value {
    SCHEMA.clone()
}

/// A part of the schema, with references followed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape<'a> {
    schema: &'a Value,
    /// The comment on the field; without one, that on its type counts.
    comment: Option<&'a str>,
    /// Likewise the example.
    example: Option<&'a Value>,
}

impl<'a> Shape<'a> {
    pub(super) fn root() -> Shape<'static> {
        Shape::of(&SCHEMA)
    }

    fn of(value: &'a Value) -> Self {
        let comment = value.get("description").and_then(Value::as_str);
        let example = value.get("examples").and_then(|examples| examples.get(0));
        let target = value
            .get("$ref")
            .and_then(Value::as_str)
            .and_then(|reference| SCHEMA.pointer(reference.trim_start_matches('#')));
        match target {
            Some(inner) => {
                let inner = Shape::of(inner);
                Self {
                    comment: comment.or(inner.comment),
                    example: example.or(inner.example),
                    ..inner
                }
            }
            None => Self {
                schema: value,
                comment,
                example,
            },
        }
    }

    /// `object`, `array`, `string`, `integer` or `boolean`; `any` where everything goes.
    pub(super) fn kind(self) -> &'a str {
        if !["type", "enum", "oneOf", "const"]
            .iter()
            .any(|word| self.schema.get(word).is_some())
        {
            return "any";
        }
        // Words with a description each come as `oneOf` constants without a type above them.
        self.schema
            .get("type")
            .and_then(Value::as_str)
            .unwrap_or("string")
    }

    pub(super) fn format(self) -> Option<&'a str> {
        self.schema.get("format").and_then(Value::as_str)
    }

    fn properties(self) -> Option<&'a Map<String, Value>> {
        self.schema.get("properties").and_then(Value::as_object)
    }

    /// The keys of a section; none where keys are free.
    pub(super) fn keys(self) -> impl Iterator<Item = &'a str> {
        self.properties()
            .into_iter()
            .flat_map(|properties| properties.keys().map(String::as_str))
    }

    /// What belongs under a key: its own shape, or the common one where keys are free.
    pub(super) fn member(self, key: &str) -> Option<Shape<'a>> {
        let own = self.properties().and_then(|properties| properties.get(key));
        own.or_else(|| {
            self.schema
                .get("additionalProperties")
                .filter(|common| common.is_object())
        })
        .map(Shape::of)
    }

    /// What the elements of a list look like.
    pub(super) fn element(self) -> Option<Shape<'a>> {
        self.schema.get("items").map(Shape::of)
    }

    pub(super) fn required(self) -> impl Iterator<Item = &'a str> {
        self.schema
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
    }

    /// The fixed words, where only those are possible.
    pub(super) fn words(self) -> Option<Vec<&'a str>> {
        let constant = |option: &'a Value| {
            option
                .get("const")
                .or_else(|| option.get("enum")?.get(0))
                .and_then(Value::as_str)
        };
        if let Some(words) = self.schema.get("enum").and_then(Value::as_array) {
            return Some(words.iter().filter_map(Value::as_str).collect());
        }
        Some(
            self.schema
                .get("oneOf")?
                .as_array()?
                .iter()
                .filter_map(constant)
                .collect(),
        )
    }

    /// The least and the greatest whole number.
    pub(super) fn bounds(self) -> (i64, i64) {
        let most = match self.format() {
            Some("uint8") => i64::from(u8::MAX),
            Some("uint16") => i64::from(u16::MAX),
            _ => i64::from(u32::MAX),
        };
        (
            self.schema
                .get("minimum")
                .and_then(Value::as_i64)
                .unwrap_or(0),
            self.schema
                .get("maximum")
                .and_then(Value::as_i64)
                .unwrap_or(most),
        )
    }

    /// The comment on the field, or on the type of a section.
    pub(super) fn description(self) -> Option<&'a str> {
        self.comment
    }

    /// A right value, as it is written in the file.
    pub(super) fn example(self) -> String {
        let example = self.example.and_then(Value::as_str);
        match self.kind() {
            "integer" => self
                .example
                .and_then(Value::as_u64)
                .unwrap_or(1)
                .to_string(),
            "boolean" => "true".to_owned(),
            "array" => format!(
                "[{}]",
                self.element().map_or_else(String::new, Shape::example)
            ),
            _ => match example.or_else(|| self.words()?.first().copied()) {
                Some(example) => format!("\"{example}\""),
                None => "\"…\"".to_owned(),
            },
        }
    }
}
