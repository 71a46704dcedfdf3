//! Whether secrets fit a database, without showing them.

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{said, unclear};
use crate::ops::OpsFault;
use crate::shell::{Command, Shell};

/// Ruby, because the file is YAML and Ruby is on every node.
pub const MARK: &str = include_str!("../../../templates/ops/secrets_mark.rb");

const RUBY: &str = "/opt/gitlab/embedded/bin/ruby";

/// What the running Rails reads; written by reconfigure from gitlab-secrets.json.
const SECRETS_YML: &str = "/var/opt/gitlab/gitlab-rails/etc/secrets.yml";

const DB_KEY_BASE: &str = "db_key_base";

/// What columns of the database are encrypted with (doc/development/application_secrets.md), in the order in which it
/// is hashed. Only the first has to be there: older versions of GitLab know fewer.
const KEYS: [&str; 5] = [
    DB_KEY_BASE,
    "otp_key_base",
    "active_record_encryption_primary_key",
    "active_record_encryption_deterministic_key",
    "active_record_encryption_key_derivation_salt",
];

/// The SHA-256 of the keys that the node's Rails encrypts columns of the database with. Only the digest leaves the
/// node.
pub async fn secrets_mark(shell: &dyn Shell) -> Result<String, OpsFault> {
    let command = Command::new(RUBY)
        .args(["-e", MARK, "--", SECRETS_YML])
        .sudo();
    let text = said(shell, &command).await?;
    let mark = text.trim();
    if mark.len() == 64 && mark.chars().all(|c| c.is_ascii_hexdigit()) {
        Ok(mark.to_owned())
    } else {
        // Not shown: who knows what was written there.
        Err(unclear(shell, "the mark of its secrets", "(not shown)"))
    }
}

/// The same mark, of the text of a gitlab-secrets.json. None when it has no such key.
pub fn secrets_mark_of(text: &str) -> Option<String> {
    let secrets: Value = serde_json::from_str(text).ok()?;
    let rails = secrets.get("gitlab_rails")?;
    let mut mark = Sha256::new();
    for name in KEYS {
        let keys = keys(rails, name)?;
        if name == DB_KEY_BASE && keys.is_empty() {
            return None;
        }
        // A line each, with its end.
        for line in std::iter::once(name).chain(keys) {
            mark.update(line);
            mark.update("\n");
        }
    }
    let digest = mark.finalize();
    Some(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The keys of this name: one, or those of a rotation; an empty one is none. None where it is no text.
fn keys<'a>(rails: &'a Value, name: &str) -> Option<Vec<&'a str>> {
    let mut keys: Vec<&str> = match rails.get(name) {
        None | Some(Value::Null) => vec![],
        Some(Value::String(key)) => vec![key.as_str()],
        Some(Value::Array(keys)) => keys.iter().map(Value::as_str).collect::<Option<_>>()?,
        Some(_) => return None,
    };
    keys.retain(|key| !key.is_empty());
    Some(keys)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::Local;

    /// What the script makes of a secrets.yml, with this machine's Ruby.
    async fn of_yaml(yaml: &str) -> Result<String, crate::shell::ShellFault> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secrets.yml");
        std::fs::write(&file, yaml).unwrap();
        let command = Command::new("ruby").args(["-e", MARK, "--", file.to_str().unwrap()]);
        let exit = Local::new("here").must(&command).await?;
        Ok(exit.stdout.text().trim().to_owned())
    }

    #[tokio::test]
    async fn node_and_text_agree() {
        // What secrets.yml and gitlab-secrets.json have of the same keys; YAML reads the form of JSON too.
        let same = [
            r#""db_key_base": "abc123""#,
            r#""db_key_base": ["abc123", "def456"]"#,
            r#""db_key_base": "abc123", "otp_key_base": "1f""#,
            r#""db_key_base": "abc123", "otp_key_base": "2f""#,
            r#""db_key_base": "abc123", "active_record_encryption_primary_key": ["1f"]"#,
            r#""db_key_base": "abc123", "active_record_encryption_deterministic_key": ["1f"]"#,
            r#""db_key_base": "abc123", "active_record_encryption_key_derivation_salt": "1f""#,
            r#""otp_key_base": "c", "active_record_encryption_primary_key": ["d", "e"], "db_key_base": "abc123",
               "active_record_encryption_deterministic_key": ["f"], "active_record_encryption_key_derivation_salt": "g""#,
        ];
        let mut marks = std::collections::BTreeSet::new();
        for keys in same {
            let node = of_yaml(&format!("{{production: {{{keys}}}}}")).await;
            let text = secrets_mark_of(&format!(r#"{{"gitlab_rails": {{{keys}}}}}"#));
            assert_eq!(text, Some(node.unwrap()), "{keys}");
            marks.insert(text);
        }
        assert_eq!(marks.len(), same.len(), "each key counts, and where it is");
    }

    #[tokio::test]
    async fn keys_that_are_missing_or_empty_are_the_same() {
        let alone = of_yaml("---\nproduction:\n  db_key_base: abc123\n")
            .await
            .unwrap();
        for keys in [
            r#""db_key_base": "abc123""#,
            r#""db_key_base": ["abc123"], "otp_key_base": """#,
            r#""db_key_base": ["abc123", ""], "otp_key_base": null, "secret_key_base": "other""#,
            r#""db_key_base": "abc123", "active_record_encryption_primary_key": []"#,
        ] {
            let node = of_yaml(&format!("{{production: {{{keys}}}}}")).await;
            assert_eq!(node.unwrap(), alone, "{keys}");
            let text = secrets_mark_of(&format!(r#"{{"gitlab_rails": {{{keys}}}}}"#));
            assert_eq!(text.as_ref(), Some(&alone), "{keys}");
        }
    }

    #[tokio::test]
    async fn a_node_without_the_key_has_no_mark() {
        for keys in ["db_key_base: ''", "otp_key_base: 'abc'", "db_key_base: 7"] {
            let node = of_yaml(&format!("---\nproduction:\n  {keys}\n")).await;
            assert!(node.is_err(), "{keys}");
        }
    }

    #[test]
    fn no_key_is_no_mark() {
        for text in [
            "",
            "{}",
            r#"{"gitlab_rails": {}}"#,
            r#"{"gitlab_rails": {"db_key_base": ""}}"#,
            r#"{"gitlab_rails": {"db_key_base": []}}"#,
            r#"{"gitlab_rails": {"db_key_base": 7}}"#,
            r#"{"gitlab_rails": {"otp_key_base": "abc"}}"#,
            r#"{"gitlab_rails": {"db_key_base": "abc", "otp_key_base": 7}}"#,
        ] {
            assert_eq!(secrets_mark_of(text), None, "{text}");
        }
    }
}
