//! What a restore is going to do, and what speaks against it. Pure.

use serde::Serialize;

use super::super::point::{Edition, Manifest, Part, PartName, Purpose, SiteOf, Way};
use super::super::verify::Finding;
use crate::profile::Profile;
use crate::site::{self, Site};

/// Which site is restored onto.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Onto {
    /// The site that the point was taken of.
    Same,
    /// Another one, installed and empty, or to be overwritten.
    Other,
}

impl Onto {
    pub fn of(point: &SiteOf, here: &SiteOf) -> Self {
        let one = (&point.name, &point.account, &point.region);
        if one == (&here.name, &here.account, &here.region) {
            Self::Same
        } else {
            Self::Other
        }
    }
}

/// One part, and how it comes back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    pub part: PartName,
    pub how: String,
    /// What becomes of what is there now.
    pub instead: String,
}

/// The parts of a point in the words of a restore.
pub fn plan(manifest: &Manifest, onto: Onto) -> Vec<Line> {
    let line = |part: &PartName, how: String, instead: &str| Line {
        part: part.clone(),
        how,
        instead: instead.to_owned(),
    };
    let saved = manifest
        .parts
        .iter()
        .filter_map(|part| Some((&part.name, part.way()?)));
    saved
        .map(|(part, way)| match way {
            Way::DatabaseSnapshot { snapshot, .. } => line(
                part,
                format!("a new RDS instance from the snapshot {snapshot}"),
                "the present instance is set aside under another name",
            ),
            Way::PointInTime { instance, at, .. } => line(
                part,
                format!("a new RDS instance as {instance} was at {at}"),
                "the present instance is set aside under another name",
            ),
            Way::Rebuilt { from } => line(
                part,
                format!("filled again by the restore of {from}"),
                "its entries follow the repositories",
            ),
            Way::Archive { backup, .. } => line(
                part,
                format!("gitlab-backup restore of {backup}"),
                "the database is dropped, repositories are overwritten",
            ),
            Way::GitalyServerSide { chain, index, .. } => line(
                part,
                format!(
                    "Gitaly reads the backup {} ({} objects) from S3",
                    chain.backup, index.count
                ),
                "repositories are overwritten",
            ),
            Way::DiskSnapshots { disks } => line(
                part,
                format!(
                    "new volumes for {}",
                    disks
                        .iter()
                        .map(|disk| disk.node.as_str())
                        .collect::<Vec<_>>()
                        .join(", ")
                ),
                "the present volumes are detached and set aside",
            ),
            Way::ObjectVersions { bucket, index } => line(
                part,
                match onto {
                    Onto::Same => format!(
                        "{} objects of {bucket} are made the newest versions again where they are not",
                        index.count
                    ),
                    Onto::Other => format!("{} objects are copied from {bucket}", index.count),
                },
                "objects that came later stay; nobody refers to them",
            ),
            Way::Sealed(_) if *part == PartName::Secrets => line(
                part,
                "gitlab-secrets.json and the host keys of Git go to Secrets Manager and onto the nodes".into(),
                "their present values stay as earlier versions in Secrets Manager",
            ),
            Way::Sealed(_) => line(
                part,
                format!(
                    "left sealed: `gantry backup open {} --to DIR` writes it into a folder",
                    manifest.id
                ),
                "the nodes have their files from the site file",
            ),
        })
        .collect()
}

/// Everything that speaks against restoring this point onto this site, a sentence and a way out each; empty when
/// nothing does. `findings` are those of the look at the point.
pub fn against(
    manifest: &Manifest,
    onto: Onto,
    site: &Site,
    sizes: &Profile,
    findings: &[Finding],
) -> Vec<(String, String)> {
    let mut reasons: Vec<(String, String)> = findings
        .iter()
        .map(|finding| (finding.to_string(), finding.help.clone()))
        .collect();
    let mut add = |what: String, help: String| reasons.push((what, help));
    let here = site.gitlab.version.to_string();
    if manifest.gitlab.version != here {
        add(
            format!(
                "the point is of GitLab {}, and this site is {here}: a backup restores into exactly its own version",
                manifest.gitlab.version
            ),
            format!(
                "write `version = \"{}\"` under [gitlab] of a new site's file, run `gantry install` there, and restore onto it",
                manifest.gitlab.version
            ),
        );
    }
    let edition = match site.gitlab.edition {
        site::Edition::Ee => Edition::Ee,
        site::Edition::Ce => Edition::Ce,
    };
    if manifest.gitlab.edition != edition {
        let word = |edition| match edition {
            Edition::Ee => "ee",
            Edition::Ce => "ce",
        };
        add(
            format!(
                "the point is of the edition {}, and this site is {}",
                word(manifest.gitlab.edition),
                word(edition)
            ),
            format!(
                "write `edition = \"{}\"` under [gitlab] of a new site's file, run `gantry install` there, and restore onto it",
                word(manifest.gitlab.edition)
            ),
        );
    }
    let holds = match manifest.purpose {
        Purpose::Full => None,
        Purpose::Snapshot => Some("a snapshot holds neither secrets nor objects"),
        Purpose::Partial => Some("the point holds some parts only"),
    };
    if let (Onto::Other, Some(holds)) = (onto, holds) {
        add(
            format!("{holds}, so it restores only onto the site it was taken of"),
            "take a point with `gantry backup create` and restore that".into(),
        );
    }
    let region = site.site.region.to_string();
    if manifest.site.region != region {
        add(
            format!(
                "the point's buckets are in {}, and this site is in {region}",
                manifest.site.region
            ),
            format!(
                "install a site in {} and restore onto it",
                manifest.site.region
            ),
        );
    }
    let in_time = |part: &Part| matches!(part.way(), Some(Way::PointInTime { .. }));
    if onto == Onto::Other && manifest.parts.iter().any(in_time) {
        add(
            "a database of a moment keeps the key of its own site, which another one does not use"
                .into(),
            "restore a point with a snapshot of the database".into(),
        );
    }
    for part in &manifest.parts {
        if let Some((what, help)) = misfit(&part.name, part.way(), sizes) {
            add(what, help);
        }
    }
    reasons
}

/// A part that this site has no place for.
fn misfit(name: &PartName, way: Option<&Way>, sizes: &Profile) -> Option<(String, String)> {
    let help = || {
        "restore it onto a site of the same kind: a box onto a box, RDS onto RDS; any size will do"
            .to_owned()
    };
    match way? {
        Way::DatabaseSnapshot { .. } | Way::PointInTime { .. } if sizes.database.is_none() => {
            Some((
                format!(
                    "{name}: the point has a snapshot of RDS, and this site's database is in its box"
                ),
                help(),
            ))
        }
        Way::Archive { .. } if sizes.single_box.is_none() => Some((
            format!(
                "{name}: the point has an archive of a box's own database, and this site's database is on RDS"
            ),
            help(),
        )),
        Way::DiskSnapshots { .. } if sizes.praefect.is_some() => Some((
            format!("{name}: the disks of a Gitaly Cluster are not restored from snapshots"),
            "restore a point of `gantry backup create`".to_owned(),
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::backup::tests::{manifest, part};
    use crate::ops::point::{Outcome, RegionCopy, Sealed};
    use crate::ops::verify::Wrong;
    use crate::profile::{ProfileName, get};

    fn site(profile: ProfileName, version: &str) -> (Site, Profile) {
        let mut site = Site::defaults_for(
            profile,
            "acme".parse().unwrap(),
            "gitlab.example.com".parse().unwrap(),
            "eu-west-1".parse().unwrap(),
        );
        site.gitlab.version = version.parse().unwrap();
        let sizes = get(profile).with_overrides(&site).unwrap();
        (site, sizes)
    }

    fn point() -> Manifest {
        let mut point = manifest(&"20261125T023000Z-1a2b3c".parse().unwrap());
        point.parts = vec![part(
            PartName::Database,
            Outcome::Saved(Way::DatabaseSnapshot {
                instance: "gantry-acme-main".into(),
                snapshot: "s".into(),
                arn: "arn:aws:rds:eu-west-1:123456789012:snapshot:s".into(),
                class: "db.m6i.large".into(),
                copies: Vec::<RegionCopy>::new(),
            }),
        )];
        point
    }

    #[test]
    fn what_is_left_sealed_is_said_with_the_way_to_it() {
        let mut point = point();
        point.parts = vec![part(
            PartName::Configuration,
            Outcome::Saved(Way::Sealed(Sealed {
                bucket: "backups".into(),
                key: "sealed/x".into(),
                kms: "arn".into(),
                sha256: String::new(),
                fits: String::new(),
            })),
        )];
        let lines = plan(&point, Onto::Same);
        let open = "`gantry backup open 20261125T023000Z-1a2b3c --to DIR`";
        assert!(lines[0].how.contains(open), "{}", lines[0].how);
    }

    #[test]
    fn nothing_speaks_against_the_same_site() {
        let (site, sizes) = site(ProfileName::Poc2k, "19.5.3");
        assert!(against(&point(), Onto::Same, &site, &sizes, &[]).is_empty());
    }

    #[test]
    fn another_version_is_refused_with_the_install_that_matches() {
        let (site, sizes) = site(ProfileName::Poc2k, "19.4.3");
        let said = against(&point(), Onto::Same, &site, &sizes, &[]);
        assert_eq!(said.len(), 1);
        assert!(said[0].0.contains("19.5.3") && said[0].0.contains("19.4.3"));
        assert!(said[0].1.contains("version = \"19.5.3\""), "{}", said[0].1);
    }

    #[test]
    fn another_edition_kind_and_every_finding_are_said_at_once() {
        let (mut site, sizes) = site(ProfileName::SingleBox, "19.5.3");
        site.gitlab.edition = site::Edition::Ce;
        let finding = Finding::of(
            &PartName::Database,
            Wrong::Snapshot,
            "it is in error",
            "take another",
        );
        let mut point = point();
        point.purpose = Purpose::Snapshot;
        let said = against(&point, Onto::Other, &site, &sizes, &[finding]);
        let all: String = said.iter().map(|(what, _)| format!("{what}\n")).collect();
        for word in ["in error", "edition ee", "neither secrets", "in its box"] {
            assert!(all.contains(word), "{word}: {all}");
        }
        assert!(said.iter().all(|(_, help)| !help.is_empty()));
    }
}
