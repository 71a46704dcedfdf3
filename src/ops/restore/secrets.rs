//! The secrets of a point, into Secrets Manager: before any node is configured with them.

use std::collections::BTreeMap;

use super::super::backup::{SealedSecrets, read_sealed_secrets};
use super::super::point::seal::{SealContext, open};
use super::super::point::{PartName, Sealed, Way};
use super::super::{OpsFault, gitlab};
use super::Restoring;
use crate::cloud::Fault;
use crate::engine::Halt;

/// What a restored site takes over. The others (passwords of databases, tokens between nodes) are a site's own, and
/// what is restored is told them.
const TAKEN_OVER: [&str; 2] = ["gitlab-secrets", "ssh-host-keys"];

/// Opens the sealed secrets of the point.
pub async fn opened(r: &Restoring) -> Result<SealedSecrets, OpsFault> {
    let name = PartName::Secrets;
    let Some(Way::Sealed(sealed)) = r.manifest.part(&name).and_then(|part| part.way()) else {
        return Err(OpsFault::refused(
            "the secrets are not restored",
            "the point has none",
            "restore a point of `gantry backup create`",
        ));
    };
    let bytes = bytes(r, sealed).await?;
    let context = SealContext::new(
        r.manifest.site.name.clone(),
        r.manifest.id.clone(),
        name.clone(),
    );
    let content = open(r.points.cloud(), &sealed.kms, &context, &bytes).await?;
    read_sealed_secrets(&content).ok_or_else(|| {
        OpsFault::check(
            format!("{name}"),
            "what was sealed is not what gantry writes",
            "restore it with the gantry that took the point",
        )
    })
}

async fn bytes(r: &Restoring, sealed: &Sealed) -> Result<Vec<u8>, OpsFault> {
    let cx = r.points.cloud();
    let answer = cx
        .read("s3:GetObject", || {
            let get = cx.aws().s3.get_object();
            get.bucket(&sealed.bucket).key(&sealed.key).send()
        })
        .await?;
    let content = answer.body.collect().await.map_err(|error| {
        Fault::internal(format!(
            "s3://{}/{} broke off: {error}",
            sealed.bucket, sealed.key
        ))
    })?;
    Ok(content.to_vec())
}

/// Puts the point's `gitlab-secrets.json` and host keys where nodes take them from. Values that are there stay as
/// earlier versions.
pub async fn restore(r: &Restoring) -> Result<Vec<String>, Halt<OpsFault>> {
    let sealed = opened(r).await?;
    let mark = gitlab::secrets_mark_of(sealed.gitlab_secrets.reveal());
    let Some(Way::Sealed(said)) = r
        .manifest
        .part(&PartName::Secrets)
        .and_then(|part| part.way())
    else {
        return Err(OpsFault::internal("a sealed part lost its way").into());
    };
    if mark.as_deref() != Some(said.fits.as_str()) {
        return Err(OpsFault::check(
            "secrets",
            "they are not those that the database of this point was written with",
            "`gantry backup verify` names such points; restore another one",
        )
        .into());
    }
    let mut values = BTreeMap::new();
    for name in TAKEN_OVER {
        let value = if name == "gitlab-secrets" {
            Some(sealed.gitlab_secrets.clone())
        } else {
            sealed.entries.get(name).cloned()
        };
        if let Some(value) = value {
            values.insert(name.to_owned(), value);
        }
    }
    Ok(r.session.fill_secrets(&values).await?)
}
