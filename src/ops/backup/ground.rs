//! What taking a point, and looking at one, stands on.

use crate::cloud::Aws;
use crate::kinds::kms::Key;
use crate::names::Names;
use crate::node::Fleet;
use crate::ops::OpsFault;
use crate::ops::point::{Edition, Gitlab, SiteOf};
use crate::profile::Profile;
use crate::resource::{Address, CloudCx, Outputs, Resource, Scope};
use crate::session::Session;
use crate::site::{Region, Site};

/// A site, its machines, and the way to AWS: here, and in the region that gets copies. Cheap to clone.
#[derive(Clone)]
pub struct Ground {
    pub site: Site,
    pub sizes: Profile,
    pub names: Names,
    pub fleet: Fleet,
    pub cx: CloudCx,
    /// The ARN of the key that seals secrets; none before the install that makes it.
    pub recovery_key: Option<String>,
    /// The region that gets copies, and its clients.
    pub away: Option<Away>,
}

/// The region of `[backup] copy_to_region`.
#[derive(Clone)]
pub struct Away {
    pub region: Region,
    pub cx: CloudCx,
}

impl Ground {
    /// The GitLab of the site file, which is that of the nodes: install refuses another.
    pub fn gitlab(&self) -> Gitlab {
        let gitlab = &self.site.gitlab;
        Gitlab {
            version: gitlab.version.to_string(),
            edition: match gitlab.edition {
                crate::site::Edition::Ee => Edition::Ee,
                crate::site::Edition::Ce => Edition::Ce,
            },
        }
    }

    /// The ground of a session. `away` are the clients of the site file's second region, where it names one.
    pub fn of(session: &Session, away: Option<Aws>) -> Result<Self, OpsFault> {
        let region = session.site.backup.copy_to_region.clone();
        let away = region.zip(away).map(|(region, aws)| {
            let scope = Scope {
                region: region.to_string(),
                ..session.cx.scope().clone()
            };
            Away {
                cx: session.cx.elsewhere(aws, scope),
                region,
            }
        });
        let outputs = session.store.state().outputs();
        let recovery = Address::new(Key::KIND, "recovery");
        let arn = outputs.0.get(&recovery).and_then(|key| key.get("arn"));
        Ok(Self {
            recovery_key: arn.and_then(|arn| arn.as_str()).map(str::to_owned),
            site: session.site.clone(),
            sizes: session.profile.clone(),
            names: session.names()?,
            fleet: session.known_fleet()?,
            cx: session.cx.clone(),
            away,
        })
    }

    /// The same clients for another site, as far as its site file tells: its names and its fleet. What only its journal
    /// knows is not known here.
    pub fn of_another(&self, site: Site, account: &str) -> Result<Self, OpsFault> {
        let unclear = |why: String| {
            OpsFault::check(
                format!("the site {}", site.site.name),
                why,
                "look at what the manifest says of the site that the point was taken of",
            )
        };
        let sizes = crate::profile::get(site.site.profile)
            .with_overrides(&site)
            .map_err(|problems| unclear(problems.to_string()))?;
        let account_id = account
            .parse()
            .map_err(|_| unclear(format!("{account} is no account number")))?;
        let names = Names::new(site.site.name.clone(), account_id, site.site.region.clone());
        let scope = Scope {
            site: site.site.name.to_string(),
            account: account.to_owned(),
            region: site.site.region.to_string(),
            tags: self.cx.scope().tags.clone(),
        };
        Ok(Self {
            fleet: Fleet::of(&site, &sizes, &names, &Outputs::default()),
            recovery_key: None,
            cx: self.cx.elsewhere(self.cx.aws().clone(), scope),
            away: self.away.clone(),
            site,
            sizes,
            names,
        })
    }

    /// The site as manifests name it.
    pub fn site_of(&self) -> SiteOf {
        let scope = self.cx.scope();
        SiteOf {
            name: scope.site.clone(),
            account: scope.account.clone(),
            region: scope.region.clone(),
            domain: self.site.site.domain.to_string(),
        }
    }
}
