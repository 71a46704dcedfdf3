//! How a node becomes configured with nobody watching: user data, the boot program, bundles, pointers, reports.
//!
//! User data says who the node is and names the boot program by its hash. The program finds its bundle through the
//! node's pointer, makes the node what the bundle says, and reports. Why it is pinned here and pointed at there is
//! told in docs/design/0008-node-bundles.md. Nothing in this module talks to AWS.

mod bundle;
mod keys;
mod pointer;
mod program;
mod report;
mod user_data;

pub use self::bundle::{
    Bundle, BundleError, DatabaseEntry, FileEntry, Filesystem, Manifest, OwnedDatabase,
    PackageEntry, SecretEntry, VolumeEntry,
};
pub use self::keys::{boot_key, bundle_key, pointer_key, report_key, report_name, reports_prefix};
pub use self::pointer::{Pointer, PointerError};
pub use self::program::boot_program;
pub use self::report::{Outcome, Report, ReportError};
pub use self::user_data::{Birth, user_data};

use sha2::{Digest, Sha256};

/// The SHA-256 of something, in 64 small hexadecimal digits.
pub fn sha256(content: impl AsRef<[u8]>) -> String {
    Sha256::digest(content.as_ref())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Whether a text is the hash of something, as [`sha256`] writes it.
fn is_sha256(text: &str) -> bool {
    text.len() == 64
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}
