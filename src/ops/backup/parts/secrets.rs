//! Secrets: the values of the site's entries in Secrets Manager and `gitlab-secrets.json`, sealed.
//!
//! The key that signs points is left out: it proves that a point is the site's own, and is of no use to a restore.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::{Saving, Taking, seal_away};
use crate::cloud::Fault;
use crate::engine::Halt;
use crate::ops::OpsFault;
use crate::ops::gitlab::{secrets_mark, secrets_mark_of};
use crate::ops::point::{PartName, PointId, SIGNING_KEY};
use crate::resource::CloudCx;
use crate::secret::Secret;
use crate::shell::{RemotePath, ShellFault};

const FORMAT: u64 = 1;

/// The entry that the file was born into.
const GITLAB_ENTRY: &str = "gitlab-secrets";

/// Where a node keeps GitLab's own secrets.
const GITLAB_SECRETS: &str = "/etc/gitlab/gitlab-secrets.json";

/// What a sealed part of secrets holds.
#[derive(Debug)]
pub struct SealedSecrets {
    /// By the names of `blueprint::secret_entries`.
    pub entries: BTreeMap<String, Secret>,
    /// The text of `gitlab-secrets.json`, as it was on the deploy node.
    pub gitlab_secrets: Secret,
}

/// Reads what was opened; none when it is not what `secrets` wrote.
pub fn read_sealed_secrets(content: &[u8]) -> Option<SealedSecrets> {
    let mut document: Value = serde_json::from_slice(content).ok()?;
    if document.get("format")?.as_u64()? != FORMAT {
        return None;
    }
    let text = |value: Value| match value {
        Value::String(text) => Some(Secret::new(text)),
        _ => None,
    };
    let gitlab_secrets = text(document.get_mut("gitlab_secrets")?.take())?;
    let Value::Object(entries) = document.get_mut("entries")?.take() else {
        return None;
    };
    let entries = entries
        .into_iter()
        .map(|(name, value)| Some((name, text(value)?)))
        .collect::<Option<_>>()?;
    Some(SealedSecrets {
        entries,
        gitlab_secrets,
    })
}

/// Seals everything that a site keeps secret.
pub async fn secrets(taking: &Taking, point: &PointId) -> Result<Saving, Halt<OpsFault>> {
    let mut entries = Map::new();
    for (name, entry) in &taking.ground.fleet.secrets {
        if name == SIGNING_KEY {
            continue;
        }
        if let Some(value) = value(&taking.ground.cx, entry).await? {
            entries.insert(name.clone(), Value::String(value.reveal().to_owned()));
        }
    }
    let born = taking.ground.fleet.secrets.get(GITLAB_ENTRY);
    let born = match born {
        Some(entry) => value(&taking.ground.cx, entry).await?,
        None => None,
    };
    let file = gitlab_secrets(taking, born).await?;
    let fits = secrets_mark(taking.deploy_node()?.as_ref()).await?;
    if secrets_mark_of(file.reveal()).as_deref() != Some(fits.as_str()) {
        return Err(OpsFault::check(
            "secrets",
            "gitlab-secrets.json is not what GitLab runs with: the database would not fit it",
            "run `gitlab-ctl reconfigure` on the deploy node, and compare the file with its entry in Secrets Manager",
        )
        .into());
    }
    let document = json!({
        "format": FORMAT,
        "entries": entries,
        "gitlab_secrets": file.reveal(),
    });
    let content = Zeroizing::new(serde_json::to_vec(&document).unwrap_or_default());
    Ok(seal_away(taking, point, &PartName::Secrets, &content, fits).await?)
}

/// The value of an entry; none where it has none yet.
async fn value(cx: &CloudCx, entry: &str) -> Result<Option<Secret>, Fault> {
    let asked = cx
        .read("secretsmanager:GetSecretValue", || {
            let ask = cx.aws().secrets.get_secret_value();
            ask.secret_id(entry).send()
        })
        .await;
    match asked {
        Ok(answer) => Ok(answer.secret_string.map(Secret::new)),
        Err(fault) if fault.is_gone() => Ok(None),
        Err(fault) => Err(fault),
    }
}

/// The file itself, because an upgrade may have changed it since it was put into Secrets Manager
/// (doc/administration/backup_restore/backup_gitlab.md); `born`, the entry, where the node has none.
async fn gitlab_secrets(taking: &Taking, born: Option<Secret>) -> Result<Secret, OpsFault> {
    let shell = taking.deploy_node()?;
    let path = RemotePath::new(GITLAB_SECRETS)
        .ok_or_else(|| OpsFault::internal("gitlab-secrets.json has no path"))?
        .sudo();
    let bytes = match (shell.get(&path).await, born) {
        (Ok(bytes), _) => bytes,
        (Err(ShellFault::Missing { .. }), Some(born)) => return Ok(born),
        (Err(fault), _) => return Err(fault.into()),
    };
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Secret::new(text)),
        Err(_) => Err(OpsFault::check(
            format!("{}: {GITLAB_SECRETS}", shell.host()),
            "it is no text",
            "bring the file back from its entry in Secrets Manager",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_nothing_else() {
        let text = br#"{"format":1,"entries":{"a":"hunter2"},"gitlab_secrets":"{}"}"#;
        let read = read_sealed_secrets(text).unwrap();
        assert_eq!(read.entries["a"].reveal(), "hunter2");
        assert_eq!(read.gitlab_secrets.reveal(), "{}");
        assert!(!format!("{read:?}").contains("hunter2"), "{read:?}");
        for wrong in [
            r#"{"format":2,"entries":{},"gitlab_secrets":""}"#,
            r#"{"format":1,"entries":{"a":1},"gitlab_secrets":""}"#,
            r#"{"format":1,"entries":[],"gitlab_secrets":""}"#,
            r#"{"format":1,"entries":{}}"#,
            "",
        ] {
            assert!(read_sealed_secrets(wrong.as_bytes()).is_none(), "{wrong}");
        }
    }
}
