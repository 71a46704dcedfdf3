//! Values that must not be seen: no `Serialize`, a fingerprint instead of the text in `Debug`, zeroed on drop.

use std::fmt;

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// A secret text. Only [`Secret::reveal`] shows it, and only calls to AWS or a node's own file may ask.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Eight hexadecimal digits that tell two secrets apart and nothing else about them.
    pub fn fingerprint(&self) -> String {
        Sha256::digest(self.0.as_bytes())
            .iter()
            .take(4)
            .map(|b| format!("{b:02x}"))
            .collect()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({})", self.fingerprint())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_a_fingerprint_only() {
        let secret = Secret::new("correct horse".into());
        let shown = format!("{secret:?}");
        assert!(!shown.contains("horse"), "{shown}");
        assert_ne!(
            secret.fingerprint(),
            Secret::new("other".into()).fingerprint()
        );
    }
}
