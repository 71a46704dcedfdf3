//! What a node says about its last boot.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The content of `<role>/reports/<name>.json`, and of `/var/lib/gantry/report.json` on the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    format: u32,
    pub node: String,
    pub role: String,
    /// The instance's id.
    pub instance: String,
    /// Its private address.
    pub address: String,
    /// The SHA-256 of its bundle; empty before there was one.
    pub bundle: String,
    /// The installed version of the package, `19.5.3-ee.0`; empty where none is.
    pub version: String,
    pub outcome: Outcome,
    /// Where it stopped; empty when it is ready.
    pub stage: String,
    /// What went wrong, and the last lines of that stage's output. No secret is in it.
    pub detail: String,
    /// The public keys of the machine's SSH server: `ssh-ed25519 AAAA…`.
    pub host_keys: Vec<String>,
    pub at: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The node is what its bundle says.
    Ready,
    /// Something is not there yet that somebody else brings: a bundle, a secret's value.
    Waiting,
    /// Something went wrong. The node tries again by itself.
    Failed,
}

/// Why something is no report.
#[derive(Debug, Error)]
pub enum ReportError {
    #[error("the report is not JSON as it should be")]
    Shape(#[source] serde_json::Error),
    #[error("the report is of format {0}, and this gantry knows 1")]
    Format(u32),
}

impl Report {
    /// Reads a report. It comes from a node, so it is a claim: nothing in it is to be believed about other nodes.
    pub fn parse(text: &[u8]) -> Result<Self, ReportError> {
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        let head: Head = serde_json::from_slice(text).map_err(ReportError::Shape)?;
        if head.format != 1 {
            return Err(ReportError::Format(head.format));
        }
        serde_json::from_slice(text).map_err(ReportError::Shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = r#"{"format": 1, "node": "gitaly-1", "role": "gitaly", "instance": "i-0abc",
        "address": "10.20.1.5", "bundle": "", "version": "", "outcome": "waiting", "stage": "bundle",
        "detail": "there is no bundle", "host_keys": ["ssh-ed25519 AAAA"], "at": "2026-11-20T10:00:00Z"}"#;

    #[test]
    fn a_report_of_format_one() {
        let report = Report::parse(SAMPLE.as_bytes()).unwrap();
        assert_eq!(report.outcome, Outcome::Waiting);
        assert_eq!(report.host_keys, ["ssh-ed25519 AAAA"]);
    }

    #[test]
    fn another_format_is_named_before_its_shape_is_judged() {
        let error = Report::parse(br#"{"format": 2}"#).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the report is of format 2, and this gantry knows 1"
        );
    }
}
