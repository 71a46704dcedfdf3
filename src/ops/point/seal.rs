//! Sealing: secrets and configuration, encrypted by gantry itself with AES-256-GCM under a data key of KMS.
//!
//! The data key is made by KMS for one part of one point and comes with that said in its encryption context: KMS gives
//! it out again only to somebody who may use the key and names the same site, point and part. Sealed bytes are:
//!
//! ```text
//! "gantry-sealed-1\n"          16 bytes
//! length of the wrapped key     2 bytes, big endian
//! the data key, as KMS wrapped it
//! nonce                        12 bytes
//! commitment to key and context 32 bytes: tells a wrong key from a flipped byte
//! length of the content         8 bytes, big endian
//! SHA-256 of all of the above  32 bytes: tells a damaged header from a damaged content
//! the content, encrypted, and GCM's tag of 16 bytes over it, the header and the context
//! ```

use std::collections::HashMap;
use std::fmt;

use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::DataKeySpec;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::manifest::{PartName, PointId};
use crate::cloud::Fault;
use crate::ops::OpsFault;
use crate::resource::CloudCx;

const MAGIC: &[u8; 16] = b"gantry-sealed-1\n";
const NONCE: usize = 12;
const DIGEST: usize = 32;
const TAG: usize = 16;
/// What KMS gives back as the wrapped key is 6,144 bytes at most
/// (<https://docs.aws.amazon.com/kms/latest/APIReference/API_Decrypt.html>).
const LONGEST_WRAPPED: usize = 6_144;

/// The most that is sealed at once: secrets and configuration are small, and both ends hold them in memory.
pub const LARGEST: usize = 64 * 1024 * 1024;

/// Why something does not open, or cannot be sealed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    #[error("it is not sealed, or by a newer gantry")]
    NotSealed,
    #[error("it ends too early: {have} bytes of {want}")]
    Truncated { have: u64, want: u64 },
    #[error("its {part} was changed after it was sealed")]
    Damaged { part: &'static str },
    #[error("it was sealed under another key, or for another site, point or part")]
    WrongKey,
    #[error("{0} bytes are more than the {LARGEST} that are sealed at once")]
    TooLarge(usize),
    #[error("the machine gives no random numbers")]
    NoRandomness,
}

impl SealError {
    /// As what became of sealing or opening `what`.
    pub fn about(&self, what: impl Into<String>) -> OpsFault {
        let help = match self {
            Self::NotSealed => "use the gantry that wrote it, or a newer one",
            Self::Truncated { .. } | Self::Damaged { .. } => {
                "the bucket keeps old versions: look who wrote the present one, or take another recovery point"
            }
            Self::WrongKey => {
                "look at the manifest for the key of KMS and the point it belongs to; a key that was deleted is gone for good"
            }
            Self::TooLarge(_) => "look for what is so large among the files of /etc/gitlab",
            Self::NoRandomness => "look at /dev/urandom on this machine",
        };
        OpsFault::check(what, self.to_string(), help)
    }
}

/// What a sealed thing belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealContext {
    pub site: String,
    pub point: PointId,
    pub part: PartName,
}

impl SealContext {
    pub fn new(site: impl Into<String>, point: PointId, part: PartName) -> Self {
        Self {
            site: site.into(),
            point,
            part,
        }
    }

    /// The encryption context, as policies of keys and CloudTrail show it.
    pub fn pairs(&self) -> [(&'static str, String); 3] {
        [
            ("gantry:site", self.site.clone()),
            ("gantry:point", self.point.to_string()),
            ("gantry:part", self.part.to_string()),
        ]
    }

    fn map(&self) -> HashMap<String, String> {
        let pairs = self.pairs().into_iter();
        pairs
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }

    fn text(&self) -> String {
        let pairs = self.pairs().into_iter();
        pairs
            .map(|(name, value)| format!("{name}\0{value}\0"))
            .collect()
    }
}

/// A key for one thing: itself, and as KMS wrapped it.
pub struct DataKey {
    plain: Zeroizing<[u8; 32]>,
    wrapped: Vec<u8>,
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataKey")
    }
}

impl DataKey {
    /// A key that somebody else made, and what brings it back.
    pub fn given(plain: [u8; 32], wrapped: Vec<u8>) -> Self {
        Self {
            plain: Zeroizing::new(plain),
            wrapped,
        }
    }

    /// A new key, wrapped under the key `kms` (an ARN, id or alias): one call.
    pub async fn generate(cx: &CloudCx, kms: &str, context: &SealContext) -> Result<Self, Fault> {
        let answer = cx
            .read("kms:GenerateDataKey", || {
                let ask = cx.aws().kms.generate_data_key().key_id(kms);
                ask.key_spec(DataKeySpec::Aes256)
                    .set_encryption_context(Some(context.map()))
                    .send()
            })
            .await?;
        let wrapped = answer.ciphertext_blob.map(Blob::into_inner);
        let plain = answer.plaintext.and_then(|blob| key_of(blob.into_inner()));
        match (plain, wrapped) {
            (Some(plain), Some(wrapped)) => Ok(Self { plain, wrapped }),
            _ => Err(Fault::internal("kms:GenerateDataKey gave no key")),
        }
    }

    /// Encrypts. The nonce is random, and a key is used for one thing only, so no nonce is used twice.
    pub fn seal(&self, context: &SealContext, content: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce).map_err(|_| SealError::NoRandomness)?;
        if content.len() > LARGEST {
            return Err(SealError::TooLarge(content.len()));
        }
        let length = u16::try_from(self.wrapped.len())
            .ok()
            .filter(|_| self.wrapped.len() <= LONGEST_WRAPPED)
            .ok_or(SealError::TooLarge(self.wrapped.len()))?;
        let mut sealed = Vec::with_capacity(content.len() + self.wrapped.len() + 128);
        sealed.extend_from_slice(MAGIC);
        sealed.extend_from_slice(&length.to_be_bytes());
        sealed.extend_from_slice(&self.wrapped);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&commitment(&self.plain, context));
        sealed.extend_from_slice(&(content.len() as u64).to_be_bytes());
        let digest = Sha256::digest(&sealed);
        sealed.extend_from_slice(&digest);
        let bound = bound(&sealed, context);
        let mut body = Zeroizing::new(content.to_vec());
        let tag = cipher(&self.plain)?
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(bound),
                &mut body,
            )
            .map_err(|_| SealError::TooLarge(content.len()))?;
        sealed.extend_from_slice(&body);
        sealed.extend_from_slice(tag.as_ref());
        Ok(sealed)
    }
}

/// Seals `content` under a new data key of the key `kms`: one call.
pub async fn seal(
    cx: &CloudCx,
    kms: &str,
    context: &SealContext,
    content: &[u8],
) -> Result<Vec<u8>, OpsFault> {
    let key = DataKey::generate(cx, kms, context).await?;
    key.seal(context, content)
        .map_err(|error| error.about(format!("sealing {}", context.part)))
}

/// Opens what [`seal`] wrote: one call. `kms` is the key that the manifest names; KMS refuses another.
pub async fn open(
    cx: &CloudCx,
    kms: &str,
    context: &SealContext,
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, OpsFault> {
    let what = || format!("{} of {}", context.part, context.point);
    let read = Header::read(sealed).map_err(|error| error.about(what()))?;
    let asked = cx
        .read("kms:Decrypt", || {
            let ask = cx.aws().kms.decrypt().key_id(kms);
            ask.ciphertext_blob(Blob::new(read.wrapped))
                .set_encryption_context(Some(context.map()))
                .send()
        })
        .await;
    let plain = match asked {
        Ok(answer) => answer.plaintext.and_then(|blob| key_of(blob.into_inner())),
        Err(fault) if fault.code().starts_with("InvalidCiphertext") => None,
        Err(fault) if fault.code().starts_with("IncorrectKey") => None,
        Err(fault) => return Err(fault.into()),
    };
    let Some(plain) = plain else {
        return Err(SealError::WrongKey.about(what()));
    };
    open_with(&plain, context, sealed).map_err(|error| error.about(what()))
}

/// Opens with a data key that is known already.
pub fn open_with(
    key: &[u8; 32],
    context: &SealContext,
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let read = Header::read(sealed)?;
    if read.commitment != commitment(key, context) {
        return Err(SealError::WrongKey);
    }
    let bound = bound(read.bytes, context);
    let mut body = Zeroizing::new(read.body.to_vec());
    let length = cipher(key)?
        .open_in_place(
            Nonce::assume_unique_for_key(read.nonce),
            Aad::from(bound),
            &mut body,
        )
        .map_err(|_| SealError::Damaged { part: "content" })?
        .len();
    body.truncate(length);
    Ok(body)
}

/// What stands before the content, looked through.
struct Header<'a> {
    bytes: &'a [u8],
    wrapped: &'a [u8],
    nonce: [u8; NONCE],
    commitment: [u8; DIGEST],
    /// The content, encrypted, with its tag.
    body: &'a [u8],
}

impl<'a> Header<'a> {
    fn read(sealed: &'a [u8]) -> Result<Self, SealError> {
        let begins = &sealed[..sealed.len().min(MAGIC.len())];
        if !MAGIC.starts_with(begins) {
            return Err(SealError::NotSealed);
        }
        let mut rest = Rest { all: sealed, at: 0 };
        rest.take(MAGIC.len())?;
        let wrapped = usize::from(u16::from_be_bytes(rest.array()?));
        if wrapped > LONGEST_WRAPPED {
            return Err(SealError::Damaged { part: "header" });
        }
        let wrapped = rest.take(wrapped)?;
        let nonce = rest.array()?;
        let commitment = rest.array()?;
        let length = u64::from_be_bytes(rest.array()?);
        let hashed = &sealed[..rest.at];
        let digest: [u8; DIGEST] = rest.array()?;
        if Sha256::digest(hashed)[..] != digest {
            return Err(SealError::Damaged { part: "header" });
        }
        let header = &sealed[..rest.at];
        let body = &sealed[rest.at..];
        let (have, want) = (body.len() as u64, length.saturating_add(TAG as u64));
        match have.cmp(&want) {
            std::cmp::Ordering::Less => Err(SealError::Truncated {
                have: sealed.len() as u64,
                want: want.saturating_add(header.len() as u64),
            }),
            std::cmp::Ordering::Greater => Err(SealError::Damaged { part: "length" }),
            std::cmp::Ordering::Equal => Ok(Self {
                bytes: header,
                wrapped,
                nonce,
                commitment,
                body,
            }),
        }
    }
}

/// What is left to be read.
struct Rest<'a> {
    all: &'a [u8],
    at: usize,
}

impl<'a> Rest<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], SealError> {
        let end = self.at + count;
        let Some(taken) = self.all.get(self.at..end) else {
            return Err(SealError::Truncated {
                have: self.all.len() as u64,
                want: end as u64,
            });
        };
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], SealError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }
}

fn key_of(bytes: Vec<u8>) -> Option<Zeroizing<[u8; 32]>> {
    let bytes = Zeroizing::new(bytes);
    let mut key = Zeroizing::new([0; 32]);
    if bytes.len() != key.len() {
        return None;
    }
    key.copy_from_slice(&bytes);
    Some(key)
}

/// Says which key it was without saying anything about the key: 256 random bits do not come back out of a hash.
fn commitment(key: &[u8; 32], context: &SealContext) -> [u8; DIGEST] {
    let mut hash = Sha256::new();
    hash.update(b"gantry sealed: which key\0");
    hash.update(context.text());
    hash.update(key);
    hash.finalize().into()
}

/// What the tag is over besides the content.
fn bound(header: &[u8], context: &SealContext) -> Vec<u8> {
    let mut bound = header.to_vec();
    bound.extend_from_slice(context.text().as_bytes());
    bound
}

fn cipher(key: &[u8; 32]) -> Result<LessSafeKey, SealError> {
    let key = UnboundKey::new(&AES_256_GCM, key).map_err(|_| SealError::WrongKey)?;
    Ok(LessSafeKey::new(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 32] = [7; 32];

    fn context() -> SealContext {
        let point = "20261125T023000Z-1a2b3c".parse().unwrap();
        SealContext::new("acme", point, PartName::Secrets)
    }

    fn sealed(content: &[u8]) -> Vec<u8> {
        let key = DataKey::given(KEY, b"wrapped".to_vec());
        key.seal(&context(), content).unwrap()
    }

    #[test]
    fn what_is_sealed_opens_and_is_not_readable_before() {
        for content in [&b""[..], b"x", b"correct horse battery staple"] {
            let sealed = sealed(content);
            assert_eq!(*open_with(&KEY, &context(), &sealed).unwrap(), content);
            let shown = String::from_utf8_lossy(&sealed).into_owned();
            assert!(!shown.contains("horse"), "{shown}");
        }
        // Twice the same content looks different.
        assert_ne!(sealed(b"same"), sealed(b"same"));
    }

    #[test]
    fn each_flipped_byte_is_named() {
        let whole = sealed(b"correct horse");
        let header = whole.len() - b"correct horse".len() - TAG;
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            let error = open_with(&KEY, &context(), &changed).unwrap_err();
            let fits = match at {
                0..16 => error == SealError::NotSealed,
                // The length of the wrapped key: everything after it is read from the wrong place.
                16..18 => matches!(
                    error,
                    SealError::Damaged { part: "header" } | SealError::Truncated { .. }
                ),
                _ if at < header => error == SealError::Damaged { part: "header" },
                _ => error == SealError::Damaged { part: "content" },
            };
            assert!(fits, "byte {at}: {error:?}");
        }
    }

    #[test]
    fn each_length_too_short_or_too_long_is_named() {
        let whole = sealed(b"correct horse");
        for length in 0..whole.len() {
            let error = open_with(&KEY, &context(), &whole[..length]).unwrap_err();
            assert!(
                matches!(error, SealError::Truncated { have, want }
                    if have == length as u64 && want > have),
                "{length}: {error:?}"
            );
        }
        let mut longer = whole;
        longer.push(0);
        assert_eq!(
            open_with(&KEY, &context(), &longer).unwrap_err(),
            SealError::Damaged { part: "length" }
        );
    }

    #[test]
    fn another_key_or_another_place_is_named() {
        let sealed = sealed(b"correct horse");
        let wrong = |key: &[u8; 32], context: &SealContext| open_with(key, context, &sealed);
        assert_eq!(wrong(&[8; 32], &context()), Err(SealError::WrongKey));
        let point = "20261125T023000Z-4d5e6f".parse().unwrap();
        for other in [
            SealContext { point, ..context() },
            SealContext {
                part: PartName::Configuration,
                ..context()
            },
            SealContext {
                site: "other".into(),
                ..context()
            },
        ] {
            assert_eq!(wrong(&KEY, &other), Err(SealError::WrongKey), "{other:?}");
        }
    }

    #[test]
    fn too_much_is_refused() {
        let key = DataKey::given(KEY, vec![]);
        let error = key.seal(&context(), &vec![0; LARGEST + 1]).unwrap_err();
        assert_eq!(error, SealError::TooLarge(LARGEST + 1));
        assert!(!format!("{key:?}").contains('7'));
    }
}
