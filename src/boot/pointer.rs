//! A node's pointer: which bundle it should be. Written last, after the bundle itself lies in the bucket.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::is_sha256;

/// The content of `<role>/nodes/<node>.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pointer {
    format: u32,
    pub node: String,
    /// The bundle's SHA-256.
    pub bundle: String,
    /// The bundle's length in bytes.
    pub size: u64,
}

/// Why something is no pointer.
#[derive(Debug, Error)]
pub enum PointerError {
    #[error("the pointer is not JSON as it should be")]
    Shape(#[source] serde_json::Error),
    #[error("the pointer is of format {0}, and this gantry knows 1")]
    Format(u32),
    #[error("the pointer names `{0}`, which is no SHA-256")]
    Hash(String),
}

impl Pointer {
    pub fn new(node: impl Into<String>, bundle: impl Into<String>, size: u64) -> Self {
        Self {
            format: 1,
            node: node.into(),
            bundle: bundle.into(),
            size,
        }
    }

    pub fn parse(text: &[u8]) -> Result<Self, PointerError> {
        let pointer: Self = serde_json::from_slice(text).map_err(PointerError::Shape)?;
        if pointer.format != 1 {
            return Err(PointerError::Format(pointer.format));
        }
        if !is_sha256(&pointer.bundle) {
            return Err(PointerError::Hash(pointer.bundle));
        }
        Ok(pointer)
    }

    /// As it lies in the bucket.
    pub fn text(&self) -> String {
        serde_json::to_string(self).expect("a pointer is a document")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        // More than 32 bits.
        let pointer = Pointer::new("gitaly-1", "0f".repeat(32), 5_000_000_000);
        assert_eq!(Pointer::parse(pointer.text().as_bytes()).unwrap(), pointer);
    }

    #[test]
    fn anything_else_is_named() {
        let wrong = |text: &str| Pointer::parse(text.as_bytes()).unwrap_err().to_string();
        let hash = "0f".repeat(32);
        assert_eq!(
            wrong(&format!(
                r#"{{"format": 2, "node": "a", "bundle": "{hash}", "size": 1}}"#
            )),
            "the pointer is of format 2, and this gantry knows 1"
        );
        assert_eq!(
            wrong(r#"{"format": 1, "node": "a", "bundle": "../x", "size": 1}"#),
            "the pointer names `../x`, which is no SHA-256"
        );
        assert_eq!(wrong("[]"), "the pointer is not JSON as it should be");
    }
}
