//! The look before a restore: what the point is worth, and everything that speaks against it.

use super::super::OpsFault;
use super::super::backup::Ground;
use super::super::point::{Listed, Manifest, Points};
use super::super::verify::{Finding, Look, Wrong, examine_listed};
use super::{Onto, against, ground_of};

/// What a look at a point gave, for a restore onto a site.
#[derive(Debug, Clone)]
pub struct Considered {
    pub onto: Onto,
    /// The manifest, where it can be believed.
    pub manifest: Option<Manifest>,
    /// What is wrong with the point; of the copies in another region a restore needs none.
    pub findings: Vec<Finding>,
    /// What speaks against the restore, a sentence and a way out each; empty when nothing does.
    pub against: Vec<(String, String)>,
    /// What is said about the point and does not count.
    pub doubts: Vec<String>,
}

/// Which points may be of another site than the one that is restored onto.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// None: they are in this site's own bucket.
    Own,
    /// The person named another site's bucket and key.
    Anybody,
}

/// Looks at a point as `gantry backup verify` does, and compares it with the site of `here`. Changes nothing.
pub async fn consider(
    here: &Ground,
    points: &Points,
    listed: &Listed,
    whose: Whose,
    look: Look,
) -> Result<Considered, OpsFault> {
    let manifest = listed.manifest().cloned();
    let onto = manifest
        .as_ref()
        .map_or(Onto::Same, |m| Onto::of(&m.site, &here.site_of()));
    let origin = match &manifest {
        Some(manifest) if onto == Onto::Other && whose == Whose::Anybody => {
            ground_of(manifest, here)?
        }
        _ => here.clone(),
    };
    let examined = examine_listed(&origin, points, listed, look).await?;
    let mut findings = examined.findings;
    findings.retain(|finding| finding.wrong != Wrong::Copy);
    let against = match &manifest {
        Some(manifest) => against(manifest, onto, &here.site, &here.sizes, &findings),
        None => findings
            .iter()
            .map(|finding| (finding.to_string(), finding.help.clone()))
            .collect(),
    };
    Ok(Considered {
        onto,
        manifest,
        findings,
        against,
        doubts: examined.doubts,
    })
}
