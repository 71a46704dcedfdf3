//! Bringing a recovery point back: onto the site it was taken of, or onto another.
//!
//! Nothing that holds data is deleted: what a restore replaces (a database, a volume) is set aside under a name of its
//! own, without the site's tags, and named in the report. The database and the volumes get the names and tags of what
//! they replace, so that an install afterwards finds the world it wants; objects become the newest versions of their
//! keys. Before the first change the point is looked at as `gantry backup verify` does, and everything that speaks
//! against the restore is said at once. Why it is done so: `docs/design/0013-restore.md`.

mod book;
mod checks;
mod database;
mod look;
mod machines;
mod objects;
mod plan;
mod report;
mod repositories;
mod secrets;
mod volumes;

use std::path::PathBuf;
use std::sync::Arc;

use super::backup::Ground;
use super::point::{Manifest, Points};
use super::{Hosts, OpsFault};
use crate::session::Session;
use crate::shell::Shell;
use crate::site::Site;

pub use self::book::{Ask, FRESH, VERB, book};
pub use self::checks::{Checked, Compared};
pub(in crate::ops) use self::database::{ASIDE_BY_TAG, ASIDE_TAG, RESTORE_TAG};
pub use self::look::{Considered, Whose, consider};
pub use self::plan::{Line, Onto, against, plan};
pub use self::report::{Report, StageTime, report};
pub use self::repositories::job;

/// Everything that the stages of a restore share.
pub struct Restoring {
    /// The site that is restored onto.
    pub ground: Ground,
    pub session: Arc<Session>,
    pub hosts: Arc<dyn Hosts>,
    /// Where the point is: the bucket of the site it was taken of.
    pub points: Points,
    pub manifest: Manifest,
    /// Whether it is the site that the point was taken of.
    pub onto: Onto,
    /// Where copies note how far they are.
    pub journals: PathBuf,
    /// Whether nothing may leave the restored GitLab: no mail, no webhooks.
    pub silent: bool,
}

impl Restoring {
    /// The node that restores, migrates and checks.
    fn deploy_node(&self) -> Result<Arc<dyn Shell>, OpsFault> {
        let node = self.ground.fleet.hosts.iter().find(|host| host.deploy);
        match node {
            Some(host) => self.hosts.shell(&host.name),
            None => Err(OpsFault::internal("the fleet has no deploy node")),
        }
    }
}

/// The word that names made by a restore end in.
pub(in crate::ops) fn stamp(id: &str) -> String {
    id.to_ascii_lowercase()
}

/// The ground of the site that a point was taken of, when it is not the one that is restored onto: as far as the
/// manifest tells, which is enough to find and check what it names.
pub fn ground_of(manifest: &Manifest, here: &Ground) -> Result<Ground, OpsFault> {
    let unclear = |what: &str| {
        OpsFault::check(
            format!("the point {}", manifest.id),
            format!("its {what} is none that gantry knows"),
            "restore it with the gantry that took it",
        )
    };
    let site = Site::defaults_for(
        manifest.profile.parse().map_err(|_| unclear("profile"))?,
        manifest.site.name.parse().map_err(|_| unclear("site"))?,
        manifest
            .site
            .domain
            .parse()
            .map_err(|_| unclear("domain"))?,
        manifest
            .site
            .region
            .parse()
            .map_err(|_| unclear("region"))?,
    );
    here.of_another(site, &manifest.site.account)
}
