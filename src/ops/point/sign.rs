//! Signatures: who wrote a manifest or a mark, and that nobody changed or moved it since.
//!
//! A document travels in an envelope that carries it as it was signed, to the byte. What is signed is more than the
//! document: also what kind of document it is, and the key of the object it is written to. A manifest copied to
//! another point's place, or a mark to another point, is found by that.
//!
//! ```text
//! {"format":1,"key":"ed25519:<public key>","signature":"<signature>","manifest":{…}}
//! ```
//!
//! Ed25519 gives the same signature for the same document, so writing it twice writes the same bytes.

use std::fmt;
use std::str::FromStr;

use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::hex::{hex, unhex};
use crate::cloud::Fault;
use crate::ops::OpsFault;
use crate::resource::CloudCx;
use crate::secret::Secret;

/// The envelope's present format.
const FORMAT: u32 = 1;

/// What the key signs is for recovery points and nothing else.
const DOMAIN: &str = "gantry recovery point 1";

/// The name of the secret that holds the seed, for `Names::secret`: 32 bytes as 64 hexadecimal digits.
pub const SIGNING_KEY: &str = "backup-signing-key";

/// What kind of document is signed: the name of the envelope's member that holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Manifest,
    Mark,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Manifest => "manifest",
            Self::Mark => "mark",
        }
    }
}

/// Why a document is not taken for what it says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    #[error("it is no signed document: {0}")]
    Shape(String),
    #[error("it is written in format {0}, and this gantry knows {FORMAT}")]
    Format(u32),
    #[error("it is signed with the key {found}, not with {trusted}")]
    OtherKey { found: String, trusted: Trusted },
    #[error(
        "its signature does not fit: it was changed after it was signed, or belongs to another place"
    )]
    Forged,
    /// The signature is good, but this gantry does not understand what it is over.
    #[error("it is signed, but says something this gantry does not know: {0}")]
    Content(String),
    #[error("the signing key is not 64 hexadecimal digits")]
    Seed,
    #[error("`{0}` is no public key, like ed25519: and 64 hexadecimal digits")]
    PublicKey(String),
}

impl SignError {
    pub fn help(&self) -> &'static str {
        match self {
            Self::Shape(_) | Self::Forged => {
                "the bucket keeps old versions: look who wrote the present one, and bring the former version back"
            }
            Self::Format(_) | Self::Content(_) => "use the gantry that wrote it, or a newer one",
            Self::OtherKey { .. } => {
                "if it is a point of an earlier life of this site, say that you trust its key with --trust KEY"
            }
            Self::Seed => {
                "the entry of Secrets Manager was changed by hand: bring its former version back"
            }
            Self::PublicKey(_) => "`gantry backup show` prints the key of a point",
        }
    }

    /// As what became of looking at `what`.
    pub fn about(&self, what: impl Into<String>) -> OpsFault {
        OpsFault::check(what, self.to_string(), self.help())
    }
}

/// The site's own key, for writing.
pub struct Signer {
    pair: Ed25519KeyPair,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({})", self.trusted())
    }
}

impl Signer {
    /// The key that this seed gives.
    pub fn new(seed: &Secret) -> Result<Self, SignError> {
        let seed = unhex::<32>(seed.reveal().trim()).ok_or(SignError::Seed)?;
        let pair = Ed25519KeyPair::from_seed_unchecked(&*seed).map_err(|_| SignError::Seed)?;
        Ok(Self { pair })
    }

    /// The key of a site, from its entry in Secrets Manager: one call.
    pub async fn of_site(cx: &CloudCx, entry: &str) -> Result<Self, OpsFault> {
        let asked = cx
            .read("secretsmanager:GetSecretValue", || {
                let ask = cx.aws().secrets.get_secret_value();
                ask.secret_id(entry).send()
            })
            .await;
        let seed = match asked {
            Ok(answer) => answer.secret_string.map(Secret::new),
            Err(Fault::Gone { .. }) => None,
            Err(fault) => return Err(fault.into()),
        };
        let Some(seed) = seed else {
            return Err(OpsFault::refused(
                "recovery points cannot be signed or checked",
                format!("Secrets Manager has no value for {entry}"),
                "`gantry install` makes it; where the account is gone, name the public key with --trust KEY",
            ));
        };
        Self::new(&seed).map_err(|error| error.about(entry))
    }

    /// What checks what this key signs.
    pub fn trusted(&self) -> Trusted {
        let mut public = [0; 32];
        public.copy_from_slice(self.pair.public_key().as_ref());
        Trusted(public)
    }

    /// The envelope of `document`, to be written to the object `key` and nowhere else.
    pub fn sign<T: Serialize>(
        &self,
        kind: Kind,
        key: &str,
        document: &T,
    ) -> Result<Vec<u8>, SignError> {
        let shape = |error: serde_json::Error| SignError::Shape(error.to_string());
        let raw = serde_json::value::to_raw_value(document).map_err(shape)?;
        let signature = self.pair.sign(&message(kind, key, raw.get()));
        let (manifest, mark) = match kind {
            Kind::Manifest => (Some(raw), None),
            Kind::Mark => (None, Some(raw)),
        };
        let envelope = Envelope {
            format: FORMAT,
            key: self.trusted().to_string(),
            signature: hex(signature.as_ref()),
            manifest,
            mark,
        };
        serde_json::to_vec(&envelope).map_err(shape)
    }
}

/// A public key whose signatures count: the site's own, or one that a person names when the old account is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trusted([u8; 32]);

impl Trusted {
    /// The document in the envelope that was read from the object `key`.
    pub fn open<T: DeserializeOwned>(
        &self,
        kind: Kind,
        key: &str,
        envelope: &[u8],
    ) -> Result<T, SignError> {
        let envelope = Envelope::read(envelope)?;
        if envelope.key.parse::<Self>().ok() != Some(*self) {
            return Err(SignError::OtherKey {
                // It may be anything that somebody wrote there.
                found: envelope.key.chars().take(80).collect(),
                trusted: *self,
            });
        }
        let document = envelope.member(kind)?;
        let signature = unhex::<64>(&envelope.signature).ok_or(SignError::Forged)?;
        UnparsedPublicKey::new(&ED25519, &self.0)
            .verify(&message(kind, key, document), &*signature)
            .map_err(|_| SignError::Forged)?;
        serde_json::from_str(document).map_err(|error| SignError::Content(error.to_string()))
    }
}

impl fmt::Display for Trusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ed25519:{}", hex(&self.0))
    }
}

impl FromStr for Trusted {
    type Err = SignError;

    fn from_str(text: &str) -> Result<Self, SignError> {
        let digits = text.strip_prefix("ed25519:").unwrap_or(text);
        match unhex::<32>(digits) {
            Some(key) => Ok(Self(*key)),
            None => Err(SignError::PublicKey(text.to_owned())),
        }
    }
}

/// What an envelope claims to hold, whoever wrote it: only for being careful with what it names.
pub(super) fn claims<T: DeserializeOwned>(kind: Kind, envelope: &[u8]) -> Option<T> {
    let envelope = Envelope::read(envelope).ok()?;
    serde_json::from_str(envelope.member(kind).ok()?).ok()
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    format: u32,
    key: String,
    signature: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    manifest: Option<Box<RawValue>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mark: Option<Box<RawValue>>,
}

/// Only the number, so that a newer format is told from nonsense.
#[derive(Deserialize)]
struct Numbered {
    format: u32,
}

impl Envelope {
    fn read(bytes: &[u8]) -> Result<Self, SignError> {
        let shape = |error: serde_json::Error| SignError::Shape(error.to_string());
        let Numbered { format } = serde_json::from_slice(bytes).map_err(shape)?;
        if format != FORMAT {
            return Err(SignError::Format(format));
        }
        serde_json::from_slice(bytes).map_err(shape)
    }

    /// The text of the document, as it was signed.
    fn member(&self, kind: Kind) -> Result<&str, SignError> {
        let member = match kind {
            Kind::Manifest => &self.manifest,
            Kind::Mark => &self.mark,
        };
        match member {
            Some(raw) => Ok(raw.get()),
            None => Err(SignError::Shape(format!("it holds no {}", kind.word()))),
        }
    }
}

/// What is signed. Neither the words nor an object's key can hold a zero byte, so no two cases give the same bytes.
fn message(kind: Kind, key: &str, document: &str) -> Vec<u8> {
    [DOMAIN, kind.word(), key, document].join("\0").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn signer(digit: char) -> Signer {
        Signer::new(&Secret::new(digit.to_string().repeat(64))).unwrap()
    }

    const KEY: &str = "points/20261125T023000Z-1a2b3c/manifest.json";

    #[test]
    fn what_is_signed_is_read_back_and_the_same_each_time() {
        let document = json!({"b": 1, "a": [1.50, "ü"]});
        let written = signer('a').sign(Kind::Manifest, KEY, &document).unwrap();
        assert_eq!(
            written,
            signer('a').sign(Kind::Manifest, KEY, &document).unwrap()
        );
        let read: Value = signer('a')
            .trusted()
            .open(Kind::Manifest, KEY, &written)
            .unwrap();
        assert_eq!(read, document);
    }

    /// RFC 8032, section 7.1, test 1: the key is the one that others derive from the seed.
    #[test]
    fn the_public_key_is_that_of_the_standard() {
        let seed = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
        let signer = Signer::new(&Secret::new(seed.into())).unwrap();
        assert_eq!(
            signer.trusted().to_string(),
            "ed25519:d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
        );
        assert!(!format!("{signer:?}").contains(&seed[..8]));
    }

    #[test]
    fn every_single_changed_byte_is_found() {
        let document = json!({"id": "x", "n": 17});
        let written = signer('a').sign(Kind::Manifest, KEY, &document).unwrap();
        for at in 0..written.len() {
            let mut changed = written.clone();
            changed[at] ^= 1;
            let read: Result<Value, _> = signer('a').trusted().open(Kind::Manifest, KEY, &changed);
            // Digits in capitals are the same digits.
            match read {
                Ok(read) => assert_eq!(read, document, "byte {at}"),
                Err(_) => continue,
            }
            assert!(changed.eq_ignore_ascii_case(&written), "byte {at}");
        }
    }

    #[test]
    fn a_document_in_another_place_is_found() {
        let written = signer('a').sign(Kind::Manifest, KEY, &json!({})).unwrap();
        let elsewhere = KEY.replace("1a2b3c", "4d5e6f");
        let trusted = signer('a').trusted();
        let open = |kind, key: &str, bytes: &[u8]| trusted.open::<Value>(kind, key, bytes);
        assert_eq!(
            open(Kind::Manifest, &elsewhere, &written),
            Err(SignError::Forged)
        );
        let as_mark = String::from_utf8(written)
            .unwrap()
            .replace("\"manifest\":", "\"mark\":");
        assert_eq!(
            open(Kind::Mark, KEY, as_mark.as_bytes()),
            Err(SignError::Forged)
        );
    }

    #[test]
    fn another_key_is_named() {
        let written = signer('b').sign(Kind::Mark, KEY, &json!({})).unwrap();
        let error = signer('a')
            .trusted()
            .open::<Value>(Kind::Mark, KEY, &written)
            .unwrap_err();
        let (a, b) = (signer('a').trusted(), signer('b').trusted());
        assert_eq!(
            error.to_string(),
            format!("it is signed with the key {b}, not with {a}")
        );
        assert_eq!(b.to_string().parse::<Trusted>().unwrap(), b);
        assert!("ed25519:12".parse::<Trusted>().is_err());
    }

    #[test]
    fn a_newer_format_and_nonsense_are_told_apart() {
        let trusted = signer('a').trusted();
        let open = |text: &str| trusted.open::<Value>(Kind::Mark, KEY, text.as_bytes());
        assert_eq!(
            open(r#"{"format":2,"new":true}"#),
            Err(SignError::Format(2))
        );
        assert!(matches!(open("<html>"), Err(SignError::Shape(_))));
        assert!(matches!(open(""), Err(SignError::Shape(_))));
    }

    #[test]
    fn seeds_are_64_digits() {
        for wrong in ["", "abc", &"g".repeat(64), &"a".repeat(63)] {
            let error = Signer::new(&Secret::new(wrong.to_owned())).unwrap_err();
            assert_eq!(error, SignError::Seed);
        }
    }
}
