//! The complete wanted world of a site: every resource with every detail, in an order in which each points
//! only at earlier ones.

mod carve;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::resource::{Address, AnyResource, Ref, Resource};

pub use self::carve::{Carved, carve};

/// Every resource a site wants, in the order they were added.
#[derive(Debug, Default)]
pub struct Blueprint {
    resources: Vec<(Address, Arc<dyn AnyResource>)>,
    /// Where an address stands in the list; the first, where one was used twice.
    places: BTreeMap<Address, usize>,
    twice: Vec<Address>,
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
        self.get(address).map(AnyResource::refs).unwrap_or_default()
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
