//! What AWS asks of tags, the same in every service but for the code of the refusal.

use std::collections::BTreeMap;

use crate::sandbox::call::Refusal;

/// Tags a thing may carry at most.
const MOST: usize = 50;

/// Refuses tags that AWS refuses: reserved keys, keys and values too long, too many of them.
pub(super) fn check(
    have: &BTreeMap<String, String>,
    more: &BTreeMap<String, String>,
    code: &str,
    too_many: &str,
) -> Result<(), Refusal> {
    for (key, value) in more {
        if key.starts_with("aws:") {
            return Err(Refusal::bad(
                code,
                format!("Tag key '{key}' begins with the reserved prefix aws:"),
            ));
        }
        if key.is_empty() || key.chars().count() > 128 || value.chars().count() > 256 {
            return Err(Refusal::bad(
                code,
                format!(
                    "Tag '{key}' is too long: at most 128 characters in a key and 256 in a value"
                ),
            ));
        }
    }
    let new = more.keys().filter(|k| !have.contains_key(*k)).count();
    if have.len() + new > MOST {
        return Err(Refusal::bad(too_many, format!("At most {MOST} tags")));
    }
    Ok(())
}
