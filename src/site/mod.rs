//! The site file, `gantry.toml`: its types, defaults, checks and JSON schema.
//!
//! [`load`] and [`parse`] answer with a [`Site`] in which every default is filled in, or with everything that
//! is wrong, each with its place in the text and a way to mend it. One file here is one section of the site
//! file: its types and its checks. The comments on the fields are the schema's descriptions.

mod backup;
mod document;
mod front;
mod gitlab;
mod identity;
mod integrations;
mod load;
mod monitoring;
mod network;
mod nodes;
mod place;
mod problem;
mod rb;
mod region;
mod schedule;
mod schema;
mod secret_ref;
mod sizes;
mod ssh_key;
mod stores;
mod structure;
mod tags;
mod tls;
mod vault;
mod write;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use backup::{Backup, BackupSchedule, Keep, Rpo, TimeZoneName, Within};
pub use front::{Door, Front};
pub use gitlab::{Edition, Email, Gitlab, GitlabVersion, PackageSource};
pub use identity::{AccountId, Domain, Identity, SiteName};
pub use integrations::{
    Ldap, LdapEncryption, Registry, Saml, Ses, Smtp, SmtpAuthentication, SmtpSecurity,
};
pub use load::{Finding, Loaded, SiteError, SiteErrors, load, load_with, parse};
pub use monitoring::{Monitoring, Protection};
pub use network::{Nat, Network};
pub use nodes::{DataNode, FixedNodes, GitalyNodes, Nodes, RailsNodes, SingleNode};
pub use place::Path;
pub use problem::{Part, Problem, Problems};
pub use rb::{RubySettings, RubyValue, YIELDS, held, leaves};
pub use region::Region;
pub use schedule::{Cron, Schedule, TimeOfDay};
pub use schema::schema;
pub use secret_ref::SecretRef;
pub use ssh_key::SshPublicKey;
pub use stores::{Cache, Database, PraefectDatabase};
pub use tls::{Certificate, Tls};
pub use vault::{Vault, VaultArn};

use crate::profile::{self, Profile, ProfileName, Profiles};

/// One GitLab installation, as its site file describes it, with every default filled in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Site {
    pub site: Identity,
    #[serde(default)]
    pub gitlab: Gitlab,
    #[serde(default)]
    pub network: Network,
    #[serde(default)]
    pub tls: Tls,
    #[serde(default)]
    pub front: Front,
    #[serde(default)]
    pub nodes: Nodes,
    #[serde(default)]
    pub database: Database,
    #[serde(default)]
    pub praefect_database: PraefectDatabase,
    #[serde(default)]
    pub cache: Cache,
    #[serde(default)]
    pub monitoring: Monitoring,
    #[serde(default)]
    pub smtp: Option<Smtp>,
    #[serde(default)]
    pub ses: Option<Ses>,
    #[serde(default)]
    pub ldap: Option<Ldap>,
    #[serde(default)]
    pub saml: Option<Saml>,
    #[serde(default)]
    pub registry: Option<Registry>,
    #[serde(default)]
    pub backup: Backup,
    #[serde(default)]
    pub protection: Protection,
    /// Tags of your own, put on every resource beside gantry's.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

impl Site {
    /// The domains under which the site is reached: its own, and those of the registry and of Pages.
    pub fn names(&self) -> impl Iterator<Item = &Domain> {
        [
            Some(&self.site.domain),
            self.front.registry_domain.as_ref(),
            self.front.pages_domain.as_ref(),
        ]
        .into_iter()
        .flatten()
    }

    /// The site that a file with nothing but a `[site]` section describes.
    pub fn defaults_for(
        profile: ProfileName,
        name: SiteName,
        domain: Domain,
        region: Region,
    ) -> Self {
        Self::defaults_of(profile::get(profile), name, domain, region)
    }

    /// [`Site::defaults_for`], with a profile that need not be an embedded one.
    pub fn defaults_of(profile: &Profile, name: SiteName, domain: Domain, region: Region) -> Self {
        let certificate = if profile.name == ProfileName::SingleBox {
            Certificate::LetsEncrypt
        } else {
            Certificate::Request
        };
        Self {
            site: Identity {
                name,
                profile: profile.name,
                domain,
                region,
                account: None,
            },
            gitlab: Gitlab::default(),
            network: Network {
                zones: profile.zones,
                ..Network::default()
            },
            tls: Tls {
                certificate,
                ..Tls::default()
            },
            front: Front::default(),
            nodes: Nodes::default(),
            database: Database::default(),
            praefect_database: PraefectDatabase::default(),
            cache: Cache::default(),
            monitoring: Monitoring::default(),
            smtp: None,
            ses: None,
            ldap: None,
            saml: None,
            registry: None,
            backup: Backup::default(),
            protection: Protection::default(),
            tags: BTreeMap::new(),
        }
    }

    /// Everything that speaks against building this site, apart from what only a file can have wrong.
    pub fn problems(&self, profiles: &Profiles) -> Vec<Problem> {
        let profile = profiles.get(self.site.profile);
        let mut problems = Vec::new();
        self.gitlab.check(self, &mut problems);
        self.network.check(self, profile, &mut problems);
        self.tls.check(self, &mut problems);
        self.front.check(self, &mut problems);
        problems.extend(sizes::apply(profile, self).1);
        self.monitoring.check(&mut problems);
        if let Some(smtp) = &self.smtp {
            smtp.check(&mut problems);
        }
        if let Some(ses) = &self.ses {
            ses.check(self, &mut problems);
        }
        if let Some(ldap) = &self.ldap {
            ldap.check(&mut problems);
        }
        if let Some(saml) = &self.saml {
            saml.check(&mut problems);
        }
        if let Some(registry) = &self.registry {
            registry.check(self, &mut problems);
        }
        self.backup.check(self, &mut problems);
        tags::check(&self.tags, &mut problems);
        problems
    }

    /// Whether the registry keeps its metadata in a database.
    pub fn registry_database(&self) -> bool {
        self.registry
            .as_ref()
            .is_some_and(|registry| registry.enabled && registry.metadata_database)
    }

    /// Every reference to a secret, with its key.
    pub fn secrets(&self) -> Vec<(Path, &SecretRef)> {
        let mut secrets = vec![
            (
                "gitlab.initial_root_password",
                Some(&self.gitlab.initial_root_password),
            ),
            ("gitlab.license", self.gitlab.license.as_ref()),
            (
                "gitlab.activation_code",
                self.gitlab.activation_code.as_ref(),
            ),
        ];
        secrets.push((
            "smtp.password",
            self.smtp.as_ref().and_then(|smtp| smtp.password.as_ref()),
        ));
        secrets.push((
            "ldap.password",
            self.ldap.as_ref().and_then(|ldap| ldap.password.as_ref()),
        ));
        secrets.push((
            "saml.idp_cert",
            self.saml.as_ref().map(|saml| &saml.idp_cert),
        ));
        secrets
            .into_iter()
            .filter_map(|(path, secret)| Some((Path::of(path), secret?)))
            .collect()
    }
}
