//! The complete wanted world of a site: every resource with every detail, in an order in which each points
//! only at earlier ones.

mod appliance;
mod backup;
mod carve;
mod compute;
mod data;
mod edge;
mod identity;
mod lint;
mod monitoring;
mod network;
mod secrets;
mod security;
mod storage;
mod vault;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::appliance::{COPIES_KEY, METRICS};
pub use self::carve::{Carved, MOST_ZONES, carve};
pub use self::identity::config_prefix;
pub use self::lint::{Complaint, lint};
pub use self::secrets::{SIGNING_KEY, secret_entries, secret_references, valkey_token};
pub use self::security::{
    End, GIT_SSH_PORT, Group, KAS_PORT, Line, PRAEFECT_PORT, REDIRECT_PORT, WEB_PORT, matrix,
};
pub use self::storage::{ARCHIVES, OBJECT_TYPES};
use crate::facts::Facts;
use crate::kinds::Protection;
use crate::names::Names;
use crate::profile::Profile;
use crate::resource::{Address, AnyResource, Ref, Resource};
use crate::site::Site;

/// Draws the complete world of a site. Pure: the same arguments give the same blueprint.
///
/// `sizes` are the profile with the site's overrides ([`Profile::with_overrides`]).
pub fn build(site: &Site, sizes: &Profile, facts: &Facts) -> Blueprint {
    let mut draft = Draft {
        site,
        sizes,
        facts,
        names: Names::new(
            site.site.name.clone(),
            facts.account.clone(),
            site.site.region.clone(),
        ),
        world: Blueprint::new(),
    };
    let storage = storage::add(&mut draft);
    let network = network::add(&mut draft, &storage.logs);
    let groups = security::add(&mut draft, &network);
    if let Some(group) = groups.get(Group::Endpoints) {
        network::interface_endpoints(&mut draft, &network, group);
    }
    let secrets = secrets::add(&mut draft, &storage.key);
    let profiles = identity::add(&mut draft, &storage, &secrets);
    let data = data::add(&mut draft, &network, &groups, &storage.key, &secrets);
    let front = edge::front(&mut draft, &network, &groups, &storage.logs);
    let praefect = edge::praefect(&mut draft, &network, &groups);
    let machines = compute::add(
        &mut draft,
        &compute::Ground {
            network: &network,
            groups: &groups,
            profiles: &profiles,
            key: &storage.key,
            front: front.as_ref(),
            praefect: praefect.as_ref(),
        },
    );
    if let Some(front) = &front {
        edge::records(&mut draft, &edge::Door::Balancer(&front.balancer));
    } else if let Some(address) = &machines.address {
        edge::records(&mut draft, &edge::Door::Address(address));
    }
    backup::add(&mut draft);
    vault::add(&mut draft, &storage, &data, &machines);
    monitoring::add(
        &mut draft,
        &monitoring::Watched {
            key: &storage.key,
            data: &data,
            machines: &machines,
            front: front.as_ref(),
            praefect: praefect.as_ref(),
        },
    );
    draft.world
}

/// A blueprint being drawn, with everything the parts look at.
struct Draft<'a> {
    site: &'a Site,
    sizes: &'a Profile,
    facts: &'a Facts,
    names: Names,
    world: Blueprint,
}

/// What a machine runs: its tag `gantry:role`, its IAM role, its folder of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    Rails,
    Sidekiq,
    Gitaly,
    Praefect,
    Monitoring,
    Bastion,
    Box,
}

impl Role {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rails => "rails",
            Self::Sidekiq => "sidekiq",
            Self::Gitaly => "gitaly",
            Self::Praefect => "praefect",
            Self::Monitoring => "monitoring",
            Self::Bastion => "bastion",
            Self::Box => "box",
        }
    }

    /// The roles that a size has.
    pub fn of(sizes: &Profile) -> Vec<Self> {
        [
            (Self::Rails, sizes.rails.is_some()),
            (Self::Sidekiq, sizes.sidekiq.is_some()),
            (Self::Gitaly, sizes.gitaly.is_some()),
            (Self::Praefect, sizes.praefect.is_some()),
            (Self::Monitoring, sizes.monitoring.is_some()),
            (Self::Bastion, sizes.bastion.is_some()),
            (Self::Box, sizes.single_box.is_some()),
        ]
        .into_iter()
        .filter_map(|(role, there)| there.then_some(role))
        .collect()
    }

    /// The security group around its machines.
    pub fn group(self) -> Group {
        match self {
            Self::Rails => Group::Rails,
            Self::Sidekiq => Group::Sidekiq,
            Self::Gitaly => Group::Gitaly,
            Self::Praefect => Group::Praefect,
            Self::Monitoring => Group::Monitoring,
            Self::Bastion => Group::Bastion,
            Self::Box => Group::Box,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What `[protection] deletion` says.
fn protection(site: &Site) -> Protection {
    if site.protection.deletion {
        Protection::On
    } else {
        Protection::Off
    }
}

/// Every resource a site wants, in the order they were added.
#[derive(Debug, Default)]
pub struct Blueprint {
    resources: Vec<(Address, Arc<dyn AnyResource>)>,
    /// Where an address stands in the list; the first, where one was used twice.
    places: BTreeMap<Address, usize>,
    twice: Vec<Address>,
    /// Order that no field of a resource says: what must stand before it.
    after: BTreeMap<Address, Vec<Address>>,
}

impl Blueprint {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a resource. The only source of a [`Ref`], so an edge always points at something earlier.
    ///
    /// An address used twice is a mistake in the blueprint's code; `lint` reports it.
    pub fn add<R: Resource>(&mut self, name: impl Into<String>, spec: R) -> Ref<R> {
        let address = Address::new(R::KIND, name);
        if self.places.contains_key(&address) {
            self.twice.push(address.clone());
        } else {
            self.places.insert(address.clone(), self.resources.len());
        }
        self.resources.push((address.clone(), Arc::new(spec)));
        Ref::to(address)
    }

    /// Makes `later` only after `first`, although it does not point at it. `first` must have been added before.
    pub fn after<A: Resource, B: Resource>(&mut self, later: &Ref<A>, first: &Ref<B>) {
        let list = self.after.entry(later.address().clone()).or_default();
        list.push(first.address().clone());
    }

    /// All resources, in the order they were added.
    pub fn iter(&self) -> impl Iterator<Item = (&Address, &dyn AnyResource)> {
        self.resources
            .iter()
            .map(|(address, resource)| (address, resource.as_ref()))
    }

    /// All resources by address, to hand to steps that outlive the blueprint.
    pub fn shared(&self) -> BTreeMap<Address, Arc<dyn AnyResource>> {
        self.resources.iter().cloned().collect()
    }

    /// All resources of one kind, with their types.
    pub fn of<R: Resource>(&self) -> impl Iterator<Item = (&Address, &R)> {
        self.iter().filter_map(|(address, resource)| {
            Some((address, (resource as &dyn std::any::Any).downcast_ref()?))
        })
    }

    pub fn get(&self, address: &Address) -> Option<&dyn AnyResource> {
        let place = *self.places.get(address)?;
        self.resources.get(place).map(|(_, r)| r.as_ref())
    }

    /// What the resource at an address points at; empty for an address that is not here.
    pub fn refs(&self, address: &Address) -> Vec<Address> {
        let mut refs = self.get(address).map(AnyResource::refs).unwrap_or_default();
        refs.extend(self.after.get(address).into_iter().flatten().cloned());
        refs
    }

    pub fn contains(&self, address: &Address) -> bool {
        self.places.contains_key(address)
    }

    pub fn len(&self) -> usize {
        self.resources.len()
    }

    pub fn is_empty(&self) -> bool {
        self.resources.is_empty()
    }

    /// Addresses that were added more than once.
    pub fn twice(&self) -> &[Address] {
        &self.twice
    }

    /// Address to specification, sorted: what golden files and a plan's fingerprint are made of. No secret is in it.
    pub fn view(&self) -> BTreeMap<String, Value> {
        self.iter()
            .map(|(address, resource)| (address.to_string(), resource.spec()))
            .collect()
    }
}
