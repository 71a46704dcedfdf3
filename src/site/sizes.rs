//! The profile with the site's overrides: the sizes that are built.

mod nodes;
mod stores;

use super::Site;
use super::place::Path;
use super::problem::{Problem, Problems};
use crate::profile::Profile;

impl Profile {
    /// The final sizes of a site: these, with the counts, machines, volumes and stores its file names instead.
    ///
    /// Fails when an override names what the profile does not have, or a size that AWS or GitLab refuses.
    pub fn with_overrides(&self, site: &Site) -> Result<Self, Problems> {
        let (sizes, problems) = apply(self, site);
        if problems.is_empty() {
            Ok(sizes)
        } else {
            Err(Problems(problems))
        }
    }
}

/// The final sizes, and everything that speaks against them.
pub(super) fn apply(profile: &Profile, site: &Site) -> (Profile, Vec<Problem>) {
    let mut merge = Merge {
        sizes: profile.clone(),
        problems: Vec::new(),
    };
    merge.sizes.zones = site.network.zones;
    merge.nodes(site);
    merge.stores(site);
    (merge.sizes, merge.problems)
}

/// The sizes so far, and what speaks against them.
struct Merge {
    sizes: Profile,
    problems: Vec<Problem>,
}

fn set<T: Clone>(target: &mut T, wanted: Option<&T>) {
    if let Some(wanted) = wanted {
        *target = wanted.clone();
    }
}

impl Merge {
    /// An override of something the profile does not have.
    fn absent(&mut self, section: &str) {
        let name = self.sizes.name;
        self.problems.push(
            Problem::with_key(
                Path::of(section),
                format!(
                    "{name} has no {}",
                    section.trim_start_matches("nodes.").replace('_', " ")
                ),
            )
            .because("there is nothing here that these values could change")
            .help("take the section away, or choose another profile")
            .depends("site.profile"),
        );
    }
}
