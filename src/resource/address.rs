//! What a resource is called: its kind and its name in the blueprint.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::{Deserialize, Serialize};

/// A sort of cloud thing, `ec2/subnet`: service and noun. It stands in tags, journal and messages.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Kind(Cow<'static, str>);

impl Kind {
    /// A kind known when gantry is built.
    pub const fn new(word: &'static str) -> Self {
        Self(Cow::Borrowed(word))
    }

    /// `ec2/subnet`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The AWS service, `ec2`.
    pub fn service(&self) -> &str {
        self.0.split('/').next().unwrap_or_default()
    }

    /// The noun for people: `ec2/nat_gateway` is a "nat gateway".
    pub fn noun(&self) -> String {
        self.0
            .split('/')
            .nth(1)
            .unwrap_or(&self.0)
            .replace('_', " ")
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One resource of one site: `ec2/subnet:public-a`. The value of the tag `gantry:address`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Address {
    kind: Kind,
    name: String,
}

impl Address {
    pub fn new(kind: Kind, name: impl Into<String>) -> Self {
        Self {
            kind,
            name: name.into(),
        }
    }

    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// The part after the colon; unique within the kind and the site.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.name)
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.to_string()
    }
}

/// A text that is not an address.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not an address; addresses look like ec2/subnet:public-a")]
pub struct NotAnAddress(pub String);

impl TryFrom<String> for Address {
    type Error = NotAnAddress;

    fn try_from(text: String) -> Result<Self, NotAnAddress> {
        match text.split_once(':') {
            Some((kind, name)) if kind.contains('/') && !name.is_empty() => Ok(Self {
                kind: Kind(Cow::Owned(kind.to_owned())),
                name: name.to_owned(),
            }),
            _ => Err(NotAnAddress(text)),
        }
    }
}

impl std::str::FromStr for Address {
    type Err = NotAnAddress;

    fn from_str(text: &str) -> Result<Self, NotAnAddress> {
        Self::try_from(text.to_owned())
    }
}

/// An edge of the blueprint: a typed pointer to a resource that was added earlier.
///
/// Only `Blueprint::add` makes one, so it always points backwards: no cycles and no dangling names.
#[derive(Serialize)]
#[serde(transparent)]
pub struct Ref<R> {
    address: Address,
    #[serde(skip)]
    of: PhantomData<fn() -> R>,
}

impl<R> Ref<R> {
    pub(crate) fn to(address: Address) -> Self {
        Self {
            address,
            of: PhantomData,
        }
    }

    pub fn address(&self) -> &Address {
        &self.address
    }
}

impl<R> Clone for Ref<R> {
    fn clone(&self) -> Self {
        Self::to(self.address.clone())
    }
}

impl<R> fmt::Debug for Ref<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ref({})", self.address)
    }
}

impl<R> PartialEq for Ref<R> {
    fn eq(&self, other: &Self) -> bool {
        self.address == other.address
    }
}
