//! Checksums of objects and parts: sent with them, compared, kept, and given back.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::sandbox::call::{Call, Refusal};

const PREFIX: &str = "x-amz-checksum-";

/// The algorithms computed here. Others are kept as they were sent.
const KNOWN: &[&str] = &["x-amz-checksum-sha256", "x-amz-checksum-crc32"];

/// What the algorithm of this header says of the content.
fn sum(header: &str, content: &[u8]) -> Option<Vec<u8>> {
    match header {
        "x-amz-checksum-sha256" => Some(Sha256::digest(content).to_vec()),
        "x-amz-checksum-crc32" => {
            let mut crc = flate2::Crc::new();
            crc.update(content);
            Some(crc.sum().to_be_bytes().to_vec())
        }
        _ => None,
    }
}

/// Whether the header carries a checksum, and not a word about one.
pub(super) fn carries(header: &str) -> bool {
    let told = ["mode", "algorithm", "type"];
    header
        .strip_prefix(PREFIX)
        .is_some_and(|rest| !told.contains(&rest))
}

/// The checksums sent with a request, which fit its body.
pub(super) fn sent(call: &Call) -> Result<Map<String, Value>, Refusal> {
    let mut all = Map::new();
    for (header, said) in &call.http.headers {
        if !carries(header) {
            continue;
        }
        let computed = sum(header, &call.http.body).map(|sum| STANDARD.encode(sum));
        if computed.is_some_and(|computed| computed != *said) {
            let name = header.trim_start_matches(PREFIX).to_uppercase();
            return Err(Refusal::bad(
                "BadDigest",
                format!("The {name} you specified did not match the calculated checksum."),
            ));
        }
        all.insert(header.clone(), json!(said));
    }
    Ok(all)
}

/// The checksums of a copy: those of the original's algorithms, over the content as one piece.
pub(super) fn renew(headers: &mut Map<String, Value>, content: &[u8]) {
    headers.remove("x-amz-checksum-type");
    headers.remove("x-amz-checksum-algorithm");
    headers.retain(|header, _| !carries(header) || KNOWN.contains(&header.as_str()));
    for header in KNOWN {
        if let (Some(value), Some(sum)) = (headers.get_mut(*header), sum(header, content)) {
            *value = json!(STANDARD.encode(sum));
        }
    }
}

/// The checksum of an object made of parts: over the parts' checksums, with their number. None when a part has none.
pub(super) fn of_parts(parts: &[&Value]) -> Option<(&'static str, String)> {
    KNOWN.iter().find_map(|header| {
        let mut all = Vec::new();
        for part in parts {
            all.extend(STANDARD.decode(part["_sums"][*header].as_str()?).ok()?);
        }
        let sum = STANDARD.encode(sum(header, &all)?);
        Some((*header, format!("{sum}-{}", parts.len())))
    })
}

/// The name of a checksum in XML: `ChecksumSHA256`.
pub(super) fn element(header: &str) -> String {
    format!(
        "Checksum{}",
        header.trim_start_matches(PREFIX).to_uppercase()
    )
}
