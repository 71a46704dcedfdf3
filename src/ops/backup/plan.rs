//! Which part of a site is saved in which way, and why. Pure.
//!
//! The ways follow the profile: a box is small enough for one archive, everything larger is saved where it lies. A way
//! that GitLab does not support is refused with the reason, never replaced quietly by another.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use crate::blueprint::Role;
use crate::names::Names;
use crate::node::Fleet;
use crate::ops::OpsFault;
use crate::ops::point::{PartName, Purpose};
use crate::profile::Profile;

/// How a part is going to be saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "how")]
pub enum How {
    /// A snapshot of this RDS instance.
    DatabaseSnapshot { instance: String },
    /// Not saved: made again from another part.
    Rebuilt { from: PartName },
    /// `gitlab-backup` writes one archive of all of these.
    Archive { holds: Vec<PartName> },
    /// Gitaly writes the repositories to its own bucket.
    GitalyServerSide,
    /// Snapshots of the data volumes of these nodes.
    DiskSnapshots { nodes: Vec<String> },
    /// A list of the versions of this bucket's objects.
    ObjectVersions { bucket: String },
    /// Encrypted by gantry, under the recovery key.
    Sealed,
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DatabaseSnapshot { instance } => write!(f, "RDS snapshot of {instance}"),
            Self::Rebuilt { from } => write!(f, "rebuilt from {from}"),
            Self::Archive { holds } => {
                let holds: Vec<_> = holds.iter().map(ToString::to_string).collect();
                write!(f, "gitlab-backup archive of {}", holds.join(" and "))
            }
            Self::GitalyServerSide => f.write_str("Gitaly server-side backup"),
            Self::DiskSnapshots { nodes } => write!(f, "EBS snapshots of {}", nodes.join(", ")),
            Self::ObjectVersions { bucket } => write!(f, "object versions of {bucket}"),
            Self::Sealed => f.write_str("sealed under the recovery key"),
        }
    }
}

/// One part, the way it goes, and the reason for that way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PartPlan {
    pub name: PartName,
    #[serde(flatten)]
    pub how: How,
    pub why: String,
}

/// What a person asked to be saved.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Wanted {
    /// Everything that belongs into such a point.
    #[default]
    All,
    /// These and no others; one that such a point cannot have is refused.
    Only(BTreeSet<PartName>),
}

/// Why the disks of a Gitaly Cluster are not saved by snapshots
/// (doc/administration/gitaly/praefect/_index.md).
pub const NO_CLUSTER_SNAPSHOTS: &str = "snapshots of the disks of a Gitaly Cluster are not supported by GitLab: the disks \
     of its nodes and Praefect's database drift apart, and a restored set may need Praefect's database to be wiped";

/// The parts of a point of this site, in the order in which they are begun: databases before Git data before objects,
/// because an object that nobody refers to is harmless and one that is missing is not
/// (doc/administration/backup_restore/backup_large_reference_architectures.md).
pub fn plan(
    sizes: &Profile,
    fleet: &Fleet,
    names: &Names,
    purpose: Purpose,
    wanted: &Wanted,
) -> Result<Vec<PartPlan>, OpsFault> {
    let ground = Ground {
        sizes,
        fleet,
        names,
    };
    let mut parts = match purpose {
        Purpose::Full | Purpose::Partial => ground.full(),
        Purpose::Snapshot => ground.snapshot(),
    };
    let Wanted::Only(only) = wanted else {
        return Ok(parts);
    };
    for name in only {
        if !parts
            .iter()
            .any(|part| part.name == *name || part.holds(name))
        {
            return Err(ground.refusal(name, purpose, &parts));
        }
    }
    parts.retain(|part| only.contains(&part.name) || only.iter().any(|name| part.holds(name)));
    Ok(parts)
}

impl PartPlan {
    fn new(name: PartName, how: How, why: impl Into<String>) -> Self {
        Self {
            name,
            how,
            why: why.into(),
        }
    }

    fn holds(&self, name: &PartName) -> bool {
        matches!(&self.how, How::Archive { holds } if holds.contains(name))
    }
}

struct Ground<'a> {
    sizes: &'a Profile,
    fleet: &'a Fleet,
    names: &'a Names,
}

impl Ground<'_> {
    fn is_cluster(&self) -> bool {
        self.sizes.praefect.is_some()
    }

    fn full(&self) -> Vec<PartPlan> {
        let mut parts = self.databases();
        if self.sizes.single_box.is_some() {
            parts.push(PartPlan::new(
                PartName::Repositories,
                How::Archive {
                    holds: vec![PartName::Database, PartName::Repositories],
                },
                "a box is small enough for one archive, which also restores onto another disk layout",
            ));
        } else {
            parts.push(PartPlan::new(
                PartName::Repositories,
                How::GitalyServerSide,
                if self.is_cluster() {
                    "Gitaly writes each repository once, whatever the number of its copies, while people push"
                } else {
                    "Gitaly writes to S3 by itself: no disk and no network of the deploy node is needed"
                },
            ));
        }
        let objects = self.fleet.buckets.objects.iter().map(|(of, bucket)| {
            PartPlan::new(
                // Parts are named in the words of the buckets, with hyphens.
                PartName::Objects(of.replace('_', "-")),
                How::ObjectVersions {
                    bucket: bucket.clone(),
                },
                "gitlab-backup leaves objects in S3 out; the bucket keeps every version, the list says which",
            )
        });
        parts.extend(objects);
        parts.push(PartPlan::new(
            PartName::Registry,
            How::ObjectVersions {
                bucket: self.fleet.buckets.registry.clone(),
            },
            "container images lie in S3 like other objects, and are left out by gitlab-backup as well",
        ));
        parts.push(PartPlan::new(
            PartName::Secrets,
            How::Sealed,
            "kept apart from the data they decrypt, under another key",
        ));
        parts.push(PartPlan::new(
            PartName::Configuration,
            How::Sealed,
            "the files of the nodes, TLS keys and host keys are in no other part",
        ));
        parts
    }

    /// The managed databases; a box has its own, inside its archive and on its disk.
    fn databases(&self) -> Vec<PartPlan> {
        let mut parts = Vec::new();
        if self.sizes.database.is_some() {
            parts.push(PartPlan::new(
                PartName::Database,
                How::DatabaseSnapshot {
                    instance: self.names.database("main"),
                },
                "RDS takes it without load on GitLab, at any size; pg_dump is of no use beyond 100 GB",
            ));
        }
        if self.sizes.praefect_database.is_some() {
            parts.push(PartPlan::new(
                PartName::PraefectDatabase,
                How::Rebuilt {
                    from: PartName::Repositories,
                },
                "a copy would be of another moment than the repositories; restoring them fills it again",
            ));
        }
        parts
    }

    fn snapshot(&self) -> Vec<PartPlan> {
        // Praefect's database comes from the repositories, and there are none in such a point.
        let mut parts = self.databases();
        parts.retain(|part| part.name == PartName::Database);
        let nodes: Vec<String> = self
            .fleet
            .hosts
            .iter()
            .filter(|host| matches!(host.role, Role::Gitaly | Role::Box) && host.volume.is_some())
            .map(|host| host.name.clone())
            .collect();
        if self.is_cluster() || nodes.is_empty() {
            return parts;
        }
        let why = if self.sizes.single_box.is_some() {
            "everything of a box is on its data volume: one snapshot of it is a copy of one moment"
        } else {
            "there is one copy of each repository, so one disk of one moment is whole"
        };
        parts.push(PartPlan::new(
            PartName::Volumes,
            How::DiskSnapshots { nodes },
            why,
        ));
        parts
    }

    fn refusal(&self, name: &PartName, purpose: Purpose, parts: &[PartPlan]) -> OpsFault {
        let there: Vec<_> = parts.iter().map(|part| part.name.to_string()).collect();
        let there = format!("this site's point has the parts {}", there.join(", "));
        if *name == PartName::Volumes && self.is_cluster() {
            return OpsFault::refused(
                "volumes are not saved",
                NO_CLUSTER_SNAPSHOTS,
                "`gantry backup create` saves the repositories through Gitaly, with increments that can be as frequent",
            );
        }
        let (why, help) = match (name, purpose) {
            (PartName::Volumes, Purpose::Full | Purpose::Partial) => (
                "disks are saved by `gantry snapshot create`, not by `gantry backup create`".to_owned(),
                "run `gantry snapshot create`".to_owned(),
            ),
            (PartName::PraefectDatabase, Purpose::Snapshot) => (
                "it is made again from the repositories, which are in points of `gantry backup create`"
                    .to_owned(),
                "run `gantry backup create`".to_owned(),
            ),
            (_, Purpose::Snapshot) => (
                "a snapshot holds disks and databases only".to_owned(),
                "run `gantry backup create --only` with that part".to_owned(),
            ),
            (_, Purpose::Full | Purpose::Partial) => ("a site of this profile has no such part".to_owned(), there),
        };
        OpsFault::refused(format!("{name} is not saved"), why, help)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{ProfileName, get};
    use crate::resource::Outputs;
    use crate::site::Site;

    struct World {
        sizes: Profile,
        fleet: Fleet,
        names: Names,
    }

    fn world(profile: ProfileName) -> World {
        let site = Site::defaults_for(
            profile,
            "acme".parse().unwrap(),
            "gitlab.example.com".parse().unwrap(),
            "eu-west-1".parse().unwrap(),
        );
        let sizes = get(profile).with_overrides(&site).unwrap();
        let names = Names::new(
            site.site.name.clone(),
            "123456789012".parse().unwrap(),
            site.site.region.clone(),
        );
        let fleet = Fleet::of(&site, &sizes, &names, &Outputs::default());
        World {
            sizes,
            fleet,
            names,
        }
    }

    fn planned(
        profile: ProfileName,
        purpose: Purpose,
        wanted: &Wanted,
    ) -> Result<Vec<PartPlan>, OpsFault> {
        let w = world(profile);
        plan(&w.sizes, &w.fleet, &w.names, purpose, wanted)
    }

    fn lines(profile: ProfileName, purpose: Purpose) -> String {
        let parts = planned(profile, purpose, &Wanted::All).unwrap();
        let lines: Vec<_> = parts
            .iter()
            .filter(|part| !matches!(part.name, PartName::Objects(_)))
            .map(|part| format!("{}: {}", part.name, part.how))
            .collect();
        lines.join("\n")
    }

    const CLUSTERS: [ProfileName; 5] = [
        ProfileName::Ha3k,
        ProfileName::Ha5k,
        ProfileName::Ha10k,
        ProfileName::Ha25k,
        ProfileName::Ha50k,
    ];

    #[test]
    fn each_profile_goes_its_way() {
        const REST: &str = "registry: object versions of gantry-acme-registry-123456789012-eu-west-1\n\
            secrets: sealed under the recovery key\n\
            configuration: sealed under the recovery key";
        const DATABASE: &str = "database: RDS snapshot of gantry-acme-main";
        let full = |profile| lines(profile, Purpose::Full);
        let snapshot = |profile| lines(profile, Purpose::Snapshot);
        assert_eq!(
            full(ProfileName::SingleBox),
            format!("repositories: gitlab-backup archive of database and repositories\n{REST}")
        );
        assert_eq!(
            full(ProfileName::Poc2k),
            format!("{DATABASE}\nrepositories: Gitaly server-side backup\n{REST}")
        );
        assert_eq!(
            full(ProfileName::Ha3k),
            format!(
                "{DATABASE}\npraefect-database: rebuilt from repositories\n\
                 repositories: Gitaly server-side backup\n{REST}"
            )
        );
        assert_eq!(
            snapshot(ProfileName::SingleBox),
            "volumes: EBS snapshots of box"
        );
        assert_eq!(
            snapshot(ProfileName::Poc2k),
            format!("{DATABASE}\nvolumes: EBS snapshots of gitaly-1")
        );
        assert_eq!(snapshot(ProfileName::Ha3k), DATABASE);
    }

    #[test]
    fn every_type_of_object_is_a_part() {
        for profile in [
            ProfileName::SingleBox,
            ProfileName::Poc2k,
            ProfileName::Ha50k,
        ] {
            let parts = planned(profile, Purpose::Full, &Wanted::All).unwrap();
            for of in crate::blueprint::OBJECT_TYPES {
                let name = PartName::Objects(of.to_owned());
                assert!(
                    parts.iter().any(|part| part.name == name),
                    "{profile:?} {of}"
                );
            }
        }
    }

    #[test]
    fn no_disk_of_a_cluster_is_ever_planned_and_asking_for_one_is_refused_with_the_reason() {
        for profile in CLUSTERS {
            for purpose in [Purpose::Full, Purpose::Snapshot] {
                let parts = planned(profile, purpose, &Wanted::All).unwrap();
                assert!(
                    !parts
                        .iter()
                        .any(|part| matches!(part.how, How::DiskSnapshots { .. })),
                    "{profile:?}"
                );
                let asked = Wanted::Only(BTreeSet::from([PartName::Volumes]));
                let refused = planned(profile, purpose, &asked).unwrap_err().to_string();
                assert!(refused.contains("not supported by GitLab"), "{refused}");
            }
        }
    }

    #[test]
    fn a_part_that_is_not_there_is_refused_and_one_inside_another_brings_that_one() {
        let asked = |name: PartName| Wanted::Only(BTreeSet::from([name]));
        for (profile, purpose, name) in [
            (ProfileName::Poc2k, Purpose::Full, PartName::Volumes),
            (
                ProfileName::Poc2k,
                Purpose::Full,
                PartName::PraefectDatabase,
            ),
            (
                ProfileName::Ha3k,
                Purpose::Snapshot,
                PartName::PraefectDatabase,
            ),
            (ProfileName::Poc2k, Purpose::Snapshot, PartName::Secrets),
            (
                ProfileName::Poc2k,
                Purpose::Full,
                PartName::Objects("caches".into()),
            ),
        ] {
            let refused = planned(profile, purpose, &asked(name.clone())).unwrap_err();
            assert!(!refused.help().is_empty(), "{name}: {refused}");
        }
        let parts = planned(
            ProfileName::SingleBox,
            Purpose::Full,
            &asked(PartName::Database),
        )
        .unwrap();
        assert_eq!(parts.len(), 1);
        assert_eq!(parts[0].name, PartName::Repositories);
    }
}
