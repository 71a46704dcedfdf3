//! Text with rules: what a value in a file may look like, said once.
//!
//! A type here is written as a string, parses with [`FromStr`], prints back to the same string, and knows
//! how to explain a refusal: why, and what to write instead. The site file, the profiles and the JSON
//! schema all read the rules from the type.

use std::str::FromStr;

/// Why a text was refused and what to write instead. The caller adds where it stood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}; {help}")]
pub struct Complaint {
    /// The cause, as a clause that can stand beside the value: "it begins with a digit".
    pub why: String,
    /// The fix, as a sentence without a full stop.
    pub help: String,
}

impl Complaint {
    pub fn new(why: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            help: help.into(),
        }
    }
}

/// A type that people write as one string.
pub trait Text: FromStr<Err = Complaint> {
    /// The word for it in the JSON schema (`format`) and in the list of checks.
    const FORMAT: &'static str;
    /// What people call it, with its article: "a region".
    const NOUN: &'static str;
    /// A value that is right.
    const EXAMPLE: &'static str;
}

/// The nearest of the known words, if one is near enough to be what was meant.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len().max(word.len()) / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Serde and JSON schema for a [`Text`] that also has `Display`.
macro_rules! text_in_files {
    ($name:ident) => {
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl schemars::JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({
                    "type": "string",
                    "format": <Self as $crate::text::Text>::FORMAT,
                    "examples": [<Self as $crate::text::Text>::EXAMPLE],
                })
            }
        }
    };
}

/// A newtype over `String` whose rule is one function `fn(&str) -> Result<(), Complaint>`.
macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident, $format:literal, $noun:literal, $example:literal, $check:path) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl $crate::text::Text for $name {
            const FORMAT: &'static str = $format;
            const NOUN: &'static str = $noun;
            const EXAMPLE: &'static str = $example;
        }

        impl std::str::FromStr for $name {
            type Err = $crate::text::Complaint;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                $check(text)?;
                Ok(Self(text.to_owned()))
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        $crate::text::text_in_files!($name);
    };
}

pub(crate) use {text_in_files, text_type};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_near() {
        assert_eq!(nearest("zone", ["zones", "cidr"]), Some("zones"));
        assert_eq!(nearest("Poc-2k", ["poc-2k", "ha-3k"]), Some("poc-2k"));
        assert_eq!(nearest("banana", ["zones", "cidr"]), None);
    }
}
