//! Whether secrets fit a database, without showing them.

use serde_json::Value;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{said, unclear};
use crate::ops::OpsFault;
use crate::shell::{Command, Shell};

/// Ruby, because the file is YAML and Ruby is on every node.
pub const MARK: &str = include_str!("../../../templates/ops/secrets_mark.rb");

const RUBY: &str = "/opt/gitlab/embedded/bin/ruby";

/// What the running Rails reads; written by reconfigure from gitlab-secrets.json.
const SECRETS_YML: &str = "/var/opt/gitlab/gitlab-rails/etc/secrets.yml";

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
    let keys: Vec<&str> = match secrets.get("gitlab_rails")?.get("db_key_base")? {
        Value::String(key) => vec![key],
        Value::Array(keys) => keys.iter().map(Value::as_str).collect::<Option<_>>()?,
        _ => return None,
    };
    if keys.is_empty() || keys.iter().any(|key| key.is_empty()) {
        return None;
    }
    let joined = Zeroizing::new(keys.join("\n"));
    let digest = Sha256::digest(joined.as_bytes());
    Some(digest.iter().map(|byte| format!("{byte:02x}")).collect())
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
        let one = of_yaml("---\nproduction:\n  db_key_base: abc123\n")
            .await
            .unwrap();
        assert_eq!(
            secrets_mark_of(r#"{"gitlab_rails": {"db_key_base": "abc123"}}"#).unwrap(),
            one
        );
        let two = of_yaml("---\nproduction:\n  db_key_base:\n  - abc123\n  - def456\n")
            .await
            .unwrap();
        assert_eq!(
            secrets_mark_of(r#"{"gitlab_rails": {"db_key_base": ["abc123", "def456"]}}"#).unwrap(),
            two
        );
        assert_ne!(one, two);
        assert!(
            of_yaml("---\nproduction:\n  db_key_base: ''\n")
                .await
                .is_err()
        );
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
        ] {
            assert_eq!(secrets_mark_of(text), None, "{text}");
        }
    }
}
