//! What has to be right before anything of a standing site is changed.

use super::{Session, SessionError};
use crate::kinds::s3::Bucket;
use crate::resource::{Address, Resource};
use crate::site::Edition;

impl Session {
    /// The boot program of this gantry for a site that stands: a group may start a machine at any moment, and its new user data
    /// names the program by its hash.
    pub async fn bring_programs_ahead(&self) -> Result<(), SessionError> {
        if !self.has_config_bucket() {
            return Ok(());
        }
        let fleet = self.known_fleet()?;
        self.bring_programs(fleet.hosts.iter().map(|host| host.role))
            .await
    }

    /// Whether an install has come as far as the bucket that nodes get their files from and report to.
    fn has_config_bucket(&self) -> bool {
        let state = self.store.state();
        let bucket = state.resources.get(&Address::new(Bucket::KIND, "config"));
        bucket.is_some_and(|entry| !entry.output.is_null())
    }

    /// The version of GitLab's package that the node has which was configured first, as it reported it: none before it was
    /// installed there, and none for a site whose machines never boot.
    pub async fn installed_version(&self) -> Result<Option<String>, SessionError> {
        if !self.has_config_bucket() {
            return Ok(None);
        }
        let fleet = self.known_fleet()?;
        let Some(host) = fleet.hosts.iter().find(|host| host.deploy) else {
            return Ok(None);
        };
        let reports = self.reports(host.role).await?;
        let of = reports.into_iter().find(|(name, _)| *name == host.name);
        Ok(of
            .map(|(_, r)| r.version)
            .filter(|version| !version.is_empty()))
    }

    /// The version of GitLab's package that the site file asks for: `19.5.3-ee.0`.
    pub fn wanted_version(&self) -> String {
        let gitlab = &self.site.gitlab;
        let edition = match gitlab.edition {
            Edition::Ee => "ee",
            Edition::Ce => "ce",
        };
        format!("{}-{edition}.0", gitlab.version)
    }
}
