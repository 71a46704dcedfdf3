//! Data keys: made under a key, given out once in the open and once wrapped, and unwrapped again.
//!
//! A wrapped key hides nothing from somebody who reads this file; but it is bound to its key and its encryption
//! context, and a byte that changed is noticed, as with AES-GCM in KMS.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{find, key, missing};
use crate::sandbox::call::{Call, Outcome, Refusal};
use crate::sandbox::world::{Row, World};

/// First byte of every wrapped key.
const FORM: u8 = 1;
const NONCE: usize = 16;
const SEAL: usize = 32;

fn validation(message: impl Into<String>) -> Refusal {
    Refusal::bad("ValidationException", message)
}

fn unreadable() -> Refusal {
    Refusal::bad("InvalidCiphertextException", "")
}

/// A key can be used only while it is enabled.
fn enabled(row: &Row) -> Result<(), Refusal> {
    let arn = row.text("Arn");
    match row.text("KeyState") {
        "Enabled" => Ok(()),
        "Disabled" => Err(Refusal::bad(
            "DisabledException",
            format!("{arn} is disabled."),
        )),
        _ => Err(Refusal::bad(
            "KMSInvalidStateException",
            format!("{arn} is pending deletion."),
        )),
    }
}

/// The encryption context of a call, in one order.
fn context(call: &Call) -> Result<String, Refusal> {
    let Some(context) = call.at("EncryptionContext").filter(|v| !v.is_null()) else {
        return Ok(String::new());
    };
    let map: BTreeMap<String, String> = serde_json::from_value(context.clone())
        .map_err(|_| validation("The encryption context must be pairs of texts"))?;
    if map.is_empty() {
        return Ok(String::new());
    }
    if map.keys().any(String::is_empty) {
        return Err(validation("The encryption context has an empty name"));
    }
    let text = json!(map).to_string();
    // <https://docs.aws.amazon.com/kms/latest/developerguide/resource-limits.html>
    if text.len() > 8_192 {
        return Err(validation("The encryption context is too large"));
    }
    Ok(text)
}

pub(super) fn generate(world: &mut World, call: &Call) -> Outcome {
    let (_, row) = key(world, call)?;
    let size = match (call.opt("KeySpec"), call.int("NumberOfBytes")) {
        (Some("AES_256"), None) => 32,
        (Some("AES_128"), None) => 16,
        (None, Some(n @ 1..=1_024)) => usize::try_from(n).unwrap_or_default(),
        (Some(other), None) => {
            return Err(validation(format!(
                "Value '{other}' at 'keySpec' is not one of AES_256, AES_128"
            )));
        }
        (None, Some(n)) => {
            return Err(validation(format!(
                "Value '{n}' at 'numberOfBytes' must be between 1 and 1024"
            )));
        }
        _ => {
            return Err(validation(
                "Please specify either number of bytes or key spec.",
            ));
        }
    };
    let context = context(call)?;
    enabled(&row)?;
    let plain: Vec<u8> = stream("data key", world.hex(32).as_bytes())
        .take(size)
        .collect();
    let nonce = world.hex(NONCE);
    let wrapped = wrap(row.text("Arn"), &nonce, &plain, &context);
    Ok(
        json!({"KeyId": row.text("Arn"), "Plaintext": STANDARD.encode(&plain),
        "CiphertextBlob": STANDARD.encode(wrapped)})
        .into(),
    )
}

pub(super) fn decrypt(world: &mut World, call: &Call) -> Outcome {
    let blob = STANDARD
        .decode(call.need("CiphertextBlob")?)
        .map_err(|_| unreadable())?;
    if !(1..=6_144).contains(&blob.len()) {
        return Err(validation("CiphertextBlob has 1 to 6144 bytes"));
    }
    if call
        .opt("EncryptionAlgorithm")
        .is_some_and(|a| a != "SYMMETRIC_DEFAULT")
    {
        return Err(unreadable());
    }
    let named = match call.opt("KeyId") {
        None => None,
        Some(name) => {
            Some(find(world, &call.region, name).ok_or_else(|| missing(world, call, name))?)
        }
    };
    let (arn, plain) = unwrap(&blob, &context(call)?).ok_or_else(unreadable)?;
    let here = format!("arn:aws:kms:{}:{}:key/", call.region, world.account);
    let row = arn
        .strip_prefix(&here)
        .and_then(|id| world.get(&call.region, super::KEYS, id));
    let Some(row) = row else {
        return Err(Refusal::bad(
            "AccessDeniedException",
            "The ciphertext refers to a customer master key that does not exist, does not exist in this region, or you are not allowed to access.",
        ));
    };
    if named.is_some_and(|id| id != row.text("KeyId")) {
        return Err(Refusal::bad(
            "IncorrectKeyException",
            "The key ID in the request does not identify a CMK that can perform this operation.",
        ));
    }
    enabled(row)?;
    Ok(
        json!({"KeyId": arn, "Plaintext": STANDARD.encode(plain), "EncryptionAlgorithm": "SYMMETRIC_DEFAULT"})
            .into(),
    )
}

/// Bytes without end that follow from a seed.
fn stream(purpose: &str, seed: &[u8]) -> impl Iterator<Item = u8> {
    let start: [u8; 32] = Sha256::new()
        .chain_update(purpose)
        .chain_update(seed)
        .finalize()
        .into();
    (0_u32..).flat_map(move |n| -> [u8; 32] {
        Sha256::new()
            .chain_update(start)
            .chain_update(n.to_be_bytes())
            .finalize()
            .into()
    })
}

fn seal(body: &[u8], context: &str) -> [u8; SEAL] {
    Sha256::new()
        .chain_update(body)
        .chain_update(context)
        .finalize()
        .into()
}

/// Form, length and text of the key's ARN, nonce, the hidden bytes, seal.
fn wrap(arn: &str, nonce: &str, plain: &[u8], context: &str) -> Vec<u8> {
    let mut out = vec![FORM, u8::try_from(arn.len()).unwrap_or(u8::MAX)];
    out.extend(arn.as_bytes());
    out.extend(nonce.as_bytes());
    let mask = stream(arn, nonce.as_bytes());
    out.extend(plain.iter().zip(mask).map(|(byte, mask)| byte ^ mask));
    let seal = seal(&out, context);
    out.extend(seal);
    out
}

/// The ARN of the key and the bytes, if nothing changed since and the context is the same.
fn unwrap(blob: &[u8], context: &str) -> Option<(String, Vec<u8>)> {
    let (body, end) = blob.split_at_checked(blob.len().checked_sub(SEAL)?)?;
    if seal(body, context) != *end {
        return None;
    }
    let (form, rest) = body.split_first()?;
    let (length, rest) = rest.split_first()?;
    let (arn, rest) = rest.split_at_checked(usize::from(*length))?;
    let (nonce, hidden) = rest.split_at_checked(NONCE)?;
    let arn = std::str::from_utf8(arn).ok()?.to_owned();
    let mask = stream(&arn, nonce);
    let plain = hidden.iter().zip(mask).map(|(byte, mask)| byte ^ mask);
    (*form == FORM).then(|| (arn.clone(), plain.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_byte_is_noticed() {
        let arn = "arn:aws:kms:eu-west-1:123456789012:key/1";
        let blob = wrap(arn, "0123456789abcdef", b"secret", "{}");
        assert_eq!(
            unwrap(&blob, "{}"),
            Some((arn.to_owned(), b"secret".to_vec()))
        );
        assert_eq!(unwrap(&blob, ""), None);
        for at in 0..blob.len() {
            let mut flipped = blob.clone();
            flipped[at] ^= 1;
            assert_eq!(unwrap(&flipped, "{}"), None, "{at}");
        }
        for end in 0..blob.len() {
            assert_eq!(unwrap(&blob[..end], "{}"), None);
        }
    }
}
