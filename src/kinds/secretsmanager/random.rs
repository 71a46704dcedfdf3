//! Secret texts from the operating system's randomness.

use zeroize::{Zeroize, Zeroizing};

use super::SecretShape;
use crate::cloud::Fault;

const LETTERS_DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const URL_SAFE: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const HEX: &[u8] = b"0123456789abcdef";

/// A new text of this shape; none for a secret that a node fills in later.
pub(super) fn make(shape: SecretShape) -> Result<Option<Zeroizing<String>>, Fault> {
    let (alphabet, length) = match shape {
        SecretShape::Password { length } => (LETTERS_DIGITS, length),
        SecretShape::Token { length } => (URL_SAFE, length),
        SecretShape::Hex { bytes } => (HEX, bytes * 2),
        SecretShape::Empty => return Ok(None),
    };
    draw(alphabet, length as usize).map(Some)
}

/// Every character equally likely: bytes beyond the last full round of the alphabet are thrown away.
fn draw(alphabet: &[u8], length: usize) -> Result<Zeroizing<String>, Fault> {
    // The full capacity at once, so that growing leaves no copy behind.
    let mut text = Zeroizing::new(String::with_capacity(length));
    let fair = 256 - 256 % alphabet.len();
    let mut bytes = [0u8; 64];
    while text.len() < length {
        getrandom::fill(&mut bytes)
            .map_err(|e| Fault::internal(format!("the system gives no randomness: {e}")))?;
        for byte in bytes.iter().map(|b| usize::from(*b)) {
            if byte < fair && text.len() < length {
                text.push(char::from(alphabet[byte % alphabet.len()]));
            }
        }
    }
    bytes.zeroize();
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_have_their_length_and_letters() {
        let of = |shape| make(shape).unwrap().map(|t| t.to_string());
        let password = of(SecretShape::Password { length: 40 }).unwrap();
        assert!(password.len() == 40 && password.bytes().all(|b| b.is_ascii_alphanumeric()));
        let token = of(SecretShape::Token { length: 100 }).unwrap();
        assert!(token.len() == 100 && token.bytes().all(|b| URL_SAFE.contains(&b)));
        let hex = of(SecretShape::Hex { bytes: 32 }).unwrap();
        assert!(hex.len() == 64 && hex.bytes().all(|b| HEX.contains(&b)));
        assert_eq!(of(SecretShape::Empty), None);
        assert_ne!(hex, of(SecretShape::Hex { bytes: 32 }).unwrap());
    }
}
