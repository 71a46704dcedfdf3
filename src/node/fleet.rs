//! The machines of a site and everything they connect to, as data.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ipnet::Ipv4Net;
use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::blueprint::{OBJECT_TYPES, PRAEFECT_PORT, Role, secret_entries};
use crate::kinds::ec2::{Instance, Volume};
use crate::kinds::elasticache::ReplicationGroup;
use crate::kinds::elb::LoadBalancer;
use crate::kinds::kms::Key;
use crate::kinds::rds::{DbInstance, DbReplica};
use crate::names::Names;
use crate::profile::{CacheName, InstanceType, Profile};
use crate::resource::{Address, Kind, Outputs, Resource};
use crate::site::{Certificate, Domain, Region, Site, SiteName};

/// Where Gitaly keeps repositories, on a volume that outlives the node.
const GIT_DATA: &str = "/var/opt/gitlab/git-data";
/// Where everything of a box is, on a volume that outlives it.
const BOX_DATA: &str = "/var/opt/gitlab";

/// An address, an id or an ARN that AWS chooses.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    Known(String),
    /// Known only once it is built; what it is the address of, `database-main`.
    AfterInstall(String),
}

impl Place {
    pub fn is_known(&self) -> bool {
        matches!(self, Self::Known(_))
    }
}

/// A stand-in is a host name that can never exist, because `.invalid` is reserved (RFC 2606).
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(address) => f.pad(address),
            Self::AfterInstall(what) => write!(f, "{what}.after-install.invalid"),
        }
    }
}

impl Serialize for Place {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// Where a service answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Endpoint {
    pub host: Place,
    pub port: u16,
}

/// One machine; or the Rails group, whose machines all have the same files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Host {
    /// `sidekiq-1`, `box`; `rails` for the group.
    pub name: String,
    pub role: Role,
    /// The private address; none for the group, whose machines come and go.
    pub address: Option<Place>,
    /// The zone, by its place in the site's list; none for the group, which is in all of them.
    pub zone: Option<usize>,
    pub instance_type: InstanceType,
    pub volume: Option<DataVolume>,
    /// Whether it is the one that migrates the database, gives birth to `gitlab-secrets.json` and makes backups.
    pub deploy: bool,
}

/// A volume that outlives its machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DataVolume {
    pub id: Place,
    pub mount: &'static str,
}

/// What visitors connect to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PublicFront {
    pub domain: Domain,
    pub registry: Option<Domain>,
    pub pages: Option<Domain>,
    /// Whether a load balancer ends TLS; otherwise the box does, with a certificate of Let's Encrypt.
    pub balancer: bool,
    /// Whether the nodes are told the visitor's address by proxy protocol.
    pub proxy_protocol: bool,
}

/// The names of the site's buckets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Buckets {
    /// As GitLab calls the types, `external_diffs`; in the order of [`OBJECT_TYPES`].
    pub objects: Vec<(String, String)>,
    pub registry: String,
    pub backups: String,
    pub gitaly_backups: String,
    pub config: String,
}

/// Everything the files of the nodes are made of, beside the site file and the sizes. No secret is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fleet {
    pub site: SiteName,
    pub region: Region,
    pub vpc: Ipv4Net,
    /// The Rails group first, then the fixed nodes, the bastion last.
    pub hosts: Vec<Host>,
    pub front: PublicFront,
    pub database: Option<Endpoint>,
    pub replicas: Vec<Endpoint>,
    pub praefect_database: Option<Endpoint>,
    pub caches: BTreeMap<CacheName, Endpoint>,
    /// The load balancer before Praefect.
    pub praefect: Option<Endpoint>,
    pub buckets: Buckets,
    /// The ARN of the site's key.
    pub key: Place,
    /// Secret to its entry in Secrets Manager: a name, or an ARN of the site file.
    pub secrets: BTreeMap<String, String>,
}

impl Fleet {
    /// The fleet of a site, as far as `outputs` know it: those of a survey, or of the journal. With empty outputs,
    /// it is the fleet as planned.
    ///
    /// `sizes` are the profile with the site's overrides.
    pub fn of(site: &Site, sizes: &Profile, names: &Names, outputs: &Outputs) -> Self {
        let known = Known(outputs);
        Self {
            site: site.site.name.clone(),
            region: site.site.region.clone(),
            vpc: site.network.cidr,
            hosts: hosts(sizes, known),
            front: PublicFront {
                domain: site.site.domain.clone(),
                registry: site
                    .front
                    .registry_domain
                    .clone()
                    .filter(|_| site.registry.as_ref().is_some_and(|r| r.enabled)),
                pages: site.front.pages_domain.clone(),
                balancer: sizes.single_box.is_none()
                    || site.tls.certificate != Certificate::LetsEncrypt,
                proxy_protocol: site.front.proxy_protocol,
            },
            database: sizes
                .database
                .as_ref()
                .map(|_| known.endpoint(DbInstance::KIND, "main", "endpoint", "database", 5432)),
            replicas: (1..=sizes.database.as_ref().map_or(0, |d| d.read_replicas))
                .map(|number| {
                    let name = format!("main-{number}");
                    known.endpoint(DbReplica::KIND, &name, "endpoint", "database", 5432)
                })
                .collect(),
            praefect_database: sizes.praefect_database.as_ref().map(|_| {
                known.endpoint(DbInstance::KIND, "praefect", "endpoint", "database", 5432)
            }),
            caches: sizes
                .caches
                .iter()
                .map(|cache| {
                    let at = known.endpoint(
                        ReplicationGroup::KIND,
                        cache.name.as_str(),
                        "primary_endpoint",
                        "cache",
                        6379,
                    );
                    (cache.name, at)
                })
                .collect(),
            praefect: sizes.praefect.as_ref().map(|_| Endpoint {
                host: known.text(
                    LoadBalancer::KIND,
                    "praefect",
                    "dns_name",
                    "load-balancer-praefect",
                ),
                port: PRAEFECT_PORT,
            }),
            buckets: Buckets {
                objects: OBJECT_TYPES
                    .iter()
                    .map(|part| (part.replace('-', "_"), names.bucket(part)))
                    .collect(),
                registry: names.bucket("registry"),
                backups: names.bucket("backups"),
                gitaly_backups: names.bucket("gitaly-backups"),
                config: names.bucket("config"),
            },
            key: known.text(Key::KIND, "main", "arn", "key-main"),
            secrets: secret_entries(site, sizes, names),
        }
    }

    pub fn host(&self, name: &str) -> Option<&Host> {
        self.hosts.iter().find(|host| host.name == name)
    }

    pub fn of_role(&self, role: Role) -> impl Iterator<Item = &Host> {
        self.hosts.iter().filter(move |host| host.role == role)
    }

    /// What is known only after the first install: the stand-ins that the files hold instead, sorted.
    pub fn unknown(&self) -> Vec<String> {
        let endpoints = [&self.database, &self.praefect_database, &self.praefect]
            .into_iter()
            .flatten()
            .chain(&self.replicas)
            .chain(self.caches.values())
            .map(|endpoint| &endpoint.host);
        let addresses = self.hosts.iter().filter_map(|host| host.address.as_ref());
        let volumes = self
            .hosts
            .iter()
            .filter_map(|host| Some(&host.volume.as_ref()?.id));
        endpoints
            .chain(addresses)
            .chain(volumes)
            .chain([&self.key])
            .filter(|place| !place.is_known())
            .map(ToString::to_string)
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect()
    }
}

/// Every machine of the sizes; zones go round as in the blueprint.
fn hosts(sizes: &Profile, known: Known<'_>) -> Vec<Host> {
    let mut hosts = Vec::new();
    let zones = usize::from(sizes.zones).max(1);
    let mut add = |name: String, role: Role, machine: &InstanceType, place: usize, data| {
        let volume = |mount| DataVolume {
            id: known.text(Volume::KIND, &name, "id", &format!("volume-{name}")),
            mount,
        };
        hosts.push(Host {
            role,
            address: (role != Role::Rails)
                .then(|| known.text(Instance::KIND, &name, "private_ip", &name)),
            zone: (role != Role::Rails).then_some(place % zones),
            instance_type: machine.clone(),
            volume: Option::map(data, volume),
            deploy: name == "sidekiq-1" || role == Role::Box,
            name,
        });
    };
    if let Some(rails) = &sizes.rails {
        add(
            "rails".to_owned(),
            Role::Rails,
            &rails.instance_type,
            0,
            None,
        );
    }
    let numbered = |role: Role, count: u32| {
        (1..=count)
            .zip(0..)
            .map(move |(number, place): (u32, usize)| (format!("{role}-{number}"), place))
    };
    if let Some(group) = &sizes.gitaly {
        for (name, place) in numbered(Role::Gitaly, group.count) {
            add(
                name,
                Role::Gitaly,
                &group.instance_type,
                place,
                Some(GIT_DATA),
            );
        }
    }
    for (role, group) in [
        (Role::Praefect, &sizes.praefect),
        (Role::Sidekiq, &sizes.sidekiq),
        (Role::Monitoring, &sizes.monitoring),
    ] {
        let Some(group) = group else { continue };
        for (name, place) in numbered(role, group.count) {
            add(name, role, &group.instance_type, place, None);
        }
    }
    if let Some(node) = &sizes.single_box {
        add(
            "box".to_owned(),
            Role::Box,
            &node.instance_type,
            0,
            Some(BOX_DATA),
        );
    }
    if let Some(group) = &sizes.bastion {
        add(
            "bastion".to_owned(),
            Role::Bastion,
            &group.instance_type,
            0,
            None,
        );
    }
    hosts
}

/// Outputs, read member by member, so that those of a survey and of an old journal serve alike.
#[derive(Clone, Copy)]
struct Known<'a>(&'a Outputs);

impl<'a> Known<'a> {
    fn member(self, kind: Kind, name: &str, key: &str) -> Option<&'a Value> {
        self.0.0.get(&Address::new(kind, name))?.get(key)
    }

    fn text(self, kind: Kind, name: &str, key: &str, what: &str) -> Place {
        match self.member(kind, name, key).and_then(Value::as_str) {
            Some(text) if !text.is_empty() => Place::Known(text.to_owned()),
            _ => Place::AfterInstall(what.to_owned()),
        }
    }

    fn endpoint(self, kind: Kind, name: &str, key: &str, what: &str, usual: u16) -> Endpoint {
        let port = self
            .member(kind.clone(), name, "port")
            .and_then(Value::as_u64)
            .and_then(|port| u16::try_from(port).ok());
        Endpoint {
            host: self.text(kind, name, key, &format!("{what}-{name}")),
            port: port.unwrap_or(usual),
        }
    }
}
