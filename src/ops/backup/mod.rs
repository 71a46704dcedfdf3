//! Taking recovery points: what is saved in which way, the checks before, the parts, the manifest at the end.
//!
//! [`plan`] decides, purely; [`book`] makes stages of the plan; [`Run`] carries them out under a lock in the
//! backup bucket, so that two never overlap, on whichever machines. What a point is: `docs/design/0011-recovery-points.md`.

mod book;
mod chain;
mod check;
mod ground;
mod lease;
mod parts;
mod plan;
mod run;

pub use self::book::{
    Ask, Attempted, Closed, Copied, First, Mode, VERB, add_manifest, begun, book, chosen, closed,
    copy_database, copy_key, database_part, instance_part, kept, purpose_of,
};
pub use self::chain::{Next, next};
pub use self::check::{Checked, Looked, Verdict, check, size};
pub use self::ground::{Away, Ground};
pub use self::lease::{DRILL_LOCK_KEY, LOCK_KEY, Lease, LeaseError};
pub use self::parts::{
    Saved, Saving, SealedSecrets, Taking, Trouble, Whose, attempt, belongs, everything, failed,
    index_key, read_sealed_secrets, sealed_key,
};
pub use self::plan::{How, NO_CLUSTER_SNAPSHOTS, PartPlan, Wanted, plan};
pub use self::run::{Before, Run, TakeError, Taken, before};

#[cfg(test)]
pub(super) mod tests {
    //! Manifests for the tests of other modules.

    use crate::ops::point::{
        By, Edition, Engines, FORMAT, Gitlab, Manifest, Outcome, Part, PartName, PointId, Purpose,
        SiteOf,
    };

    pub fn manifest(id: &PointId) -> Manifest {
        let at = "2026-11-25T02:30:00Z".parse().unwrap();
        Manifest {
            format: FORMAT,
            id: id.clone(),
            purpose: Purpose::Full,
            site: SiteOf {
                name: "acme".into(),
                account: "123456789012".into(),
                region: "eu-west-1".into(),
                domain: "gitlab.example.com".into(),
            },
            gitlab: Gitlab {
                version: "19.5.3".into(),
                edition: Edition::Ee,
            },
            engines: Engines {
                postgresql: None,
                valkey: None,
            },
            profile: "poc-2k".into(),
            blueprint: "0".repeat(64),
            by: By {
                user: "tester".into(),
                host: "here".into(),
                run: id.to_string(),
                gantry: "0.1.0".into(),
            },
            began: at,
            ended: at,
            whole: true,
            parts: vec![],
            refs: std::collections::BTreeMap::new(),
        }
    }

    pub fn part(name: PartName, outcome: Outcome) -> Part {
        let at = "2026-11-25T02:30:00Z".parse().unwrap();
        Part {
            name,
            began: at,
            ended: at,
            bytes: 0,
            outcome,
        }
    }
}
