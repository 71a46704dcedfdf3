//! Bytes as hexadecimal digits, and back.

use zeroize::Zeroizing;

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Exactly `N` bytes; none where the text is anything else.
pub(super) fn unhex<const N: usize>(text: &str) -> Option<Zeroizing<[u8; N]>> {
    let text = text.as_bytes();
    if text.len() != 2 * N {
        return None;
    }
    let digit = |c: u8| char::from(c).to_digit(16);
    let mut bytes = Zeroizing::new([0; N]);
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        assert_eq!(hex(&[0, 15, 255]), "000fff");
        assert_eq!(*unhex::<3>("000FfF").unwrap(), [0, 15, 255]);
        for wrong in ["", "000ff", "000fff0", "000fxf", "+00fff", "00 fff"] {
            assert!(unhex::<3>(wrong).is_none(), "{wrong}");
        }
    }
}
