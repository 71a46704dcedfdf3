//! GitLab's own checks after a restore, and a sample of repositories compared by refs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::super::OpsFault;
use super::super::gitlab::{Check, SAMPLE, check, refs};
use super::super::runbook::StageCx;
use super::Restoring;
use crate::blueprint::Role;
use crate::engine::Halt;

/// What one check said. Something it found may have been so before the restore: the same check on the site the point
/// was taken of tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    pub node: String,
    pub check: String,
    pub ok: bool,
    pub findings: Vec<String>,
}

/// Repositories whose refs were compared with those that the point names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compared {
    pub repositories: u64,
    /// Those that are missing or differ.
    pub differing: Vec<String>,
}

/// GitLab's checks of itself, of its database's extensions, of its secrets and of its files, and of the cluster where
/// there is one.
pub async fn checks(r: &Restoring, cx: &StageCx) -> Result<Vec<Checked>, Halt<OpsFault>> {
    let deploy = r.deploy_node()?;
    let mut all = Vec::new();
    for what in [
        Check::GitLab,
        Check::Extensions,
        Check::Secrets,
        Check::Artifacts,
        Check::Lfs,
        Check::Uploads,
    ] {
        cx.waiting(what.name());
        let verdict = check(deploy.as_ref(), what).await?;
        all.push(checked(deploy.host(), what, verdict.ok, verdict.findings));
    }
    if let Some(praefect) = r.hosts.of_role(Role::Praefect).first() {
        let shell = r.hosts.shell(praefect)?;
        cx.waiting(Check::DataLoss.name());
        let verdict = check(shell.as_ref(), Check::DataLoss).await?;
        all.push(checked(
            praefect,
            Check::DataLoss,
            verdict.ok,
            verdict.findings,
        ));
    }
    Ok(all)
}

fn checked(node: &str, what: Check, ok: bool, findings: Vec<String>) -> Checked {
    Checked {
        node: node.to_owned(),
        check: what.name().to_owned(),
        ok,
        findings,
    }
}

/// Compares the sample that the point names with what is there now.
pub async fn compare(r: &Restoring) -> Result<Compared, Halt<OpsFault>> {
    let wanted = &r.manifest.refs;
    if wanted.is_empty() {
        return Ok(Compared::default());
    }
    // More than was sampled: those that were pushed to meanwhile are not wanted, and leave gaps among the first; projects
    // that are as new as the point shift the others.
    let count = u32::try_from(wanted.len()).unwrap_or(u32::MAX / 4) * 2 + SAMPLE;
    let have = refs(r.deploy_node()?.as_ref(), count, r.manifest.id.as_str()).await?;
    Ok(difference(wanted, &have))
}

fn difference(wanted: &BTreeMap<String, String>, have: &BTreeMap<String, String>) -> Compared {
    let differing = wanted
        .iter()
        .filter(|(repository, digest)| have.get(*repository) != Some(digest))
        .map(|(repository, _)| repository.clone())
        .collect();
    Compared {
        repositories: wanted.len() as u64,
        differing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_and_changed_repositories_differ() {
        let of = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            let own = pairs
                .iter()
                .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()));
            own.collect()
        };
        let wanted = of(&[("a", "1"), ("b", "2"), ("c", "3")]);
        let have = of(&[("a", "1"), ("b", "x"), ("d", "4")]);
        let compared = difference(&wanted, &have);
        assert_eq!(compared.differing, ["b", "c"]);
        assert_eq!(compared.repositories, 3);
    }
}
