//! Who may talk to whom: one table, from which the rules of every security group follow.
//!
//! The lines are those of GitLab's port tables for managed data stores (doc/administration/reference_architectures,
//! doc/administration/gitaly/praefect/configure.md, doc/administration/package_information/defaults.md). Each makes
//! a rule in on its target's group and a rule out on its source's, so that neither can be forgotten.

use std::collections::BTreeMap;
use std::fmt;

use ipnet::Ipv4Net;
use serde::Serialize;

use super::Draft;
use super::network::Network;
use crate::kinds::ec2::{Peer, Protocol, Rule, SecurityGroup, SecurityGroupRules};
use crate::profile::Profile;
use crate::resource::Ref;
use crate::site::{Certificate, Site};

/// Where nginx answers web requests on a node, behind the load balancer that ended TLS.
pub const WEB_PORT: u16 = 80;
/// Where a second nginx server answers every plain HTTP request with a redirect to https: the load balancer's port
/// 80 cannot redirect by itself. 8080 would be Puma's own port.
pub const REDIRECT_PORT: u16 = 8081;
/// Where gitlab-sshd listens: it runs as `git` and cannot bind a port below 1024.
pub const GIT_SSH_PORT: u16 = 2222;
/// Where Praefect listens, on its nodes and on the load balancer before them.
pub const PRAEFECT_PORT: u16 = 2305;

/// Where the agent server of a Rails node answers those of the others, to hand agents' connections on.
pub const KAS_PORT: u16 = 8155;

/// A security group, named for what it stands around.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Group {
    Nlb,
    Rails,
    Sidekiq,
    Gitaly,
    PraefectNlb,
    Praefect,
    Monitoring,
    Bastion,
    Box,
    Database,
    Cache,
    PraefectDatabase,
    Endpoints,
}

impl Group {
    /// Its name in addresses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nlb => "nlb",
            Self::Rails => "rails",
            Self::Sidekiq => "sidekiq",
            Self::Gitaly => "gitaly",
            Self::PraefectNlb => "praefect-nlb",
            Self::Praefect => "praefect",
            Self::Monitoring => "monitoring",
            Self::Bastion => "bastion",
            Self::Box => "box",
            Self::Database => "database",
            Self::Cache => "cache",
            Self::PraefectDatabase => "praefect-database",
            Self::Endpoints => "endpoints",
        }
    }

    fn purpose(self) -> &'static str {
        match self {
            Self::Nlb => "The public load balancer",
            Self::Rails => "Rails nodes",
            Self::Sidekiq => "Sidekiq nodes",
            Self::Gitaly => "Gitaly nodes",
            Self::PraefectNlb => "The load balancer before Praefect",
            Self::Praefect => "Praefect nodes",
            Self::Monitoring => "The Prometheus node",
            Self::Bastion => "The bastion",
            Self::Box => "The one machine of the site",
            Self::Database => "The database of GitLab",
            Self::Cache => "The caches",
            Self::PraefectDatabase => "The database of Praefect",
            Self::Endpoints => "Private doors to the AWS APIs",
        }
    }
}

/// One end of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    Group(Group),
    /// A range of the site file or, going out, the world.
    Range(Ipv4Net),
    /// The site's own nodes, as the world sees them: the addresses of its NAT gateways.
    WaysOut,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Group(group) => f.pad(group.as_str()),
            Self::Range(range) => f.pad(&range.to_string()),
            Self::WaysOut => f.pad("ways-out"),
        }
    }
}

/// One line of the port matrix: `from` opens connections to `port` of `to`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    pub from: End,
    pub to: End,
    #[serde(skip)]
    pub protocol: Protocol,
    pub port: u16,
    pub why: String,
}

/// The port matrix of a site. `sizes` are the final ones.
pub fn matrix(site: &Site, sizes: &Profile) -> Vec<Line> {
    let mut table = Table::default();
    if sizes.single_box.is_some() {
        table.single_box(site);
    } else {
        table.front(site, Group::Rails);
        table.stores();
        for node in [Group::Rails, Group::Sidekiq] {
            table.tcp(node, Group::Rails, &[(KAS_PORT, "Agent server")]);
        }
        if sizes.praefect.is_some() {
            table.gitaly_cluster();
        } else {
            table.gitaly_alone();
        }
        if sizes.monitoring.is_some() {
            table.monitoring(sizes);
        }
        table.administration(site, sizes);
    }
    let nodes = nodes(sizes);
    for node in &nodes {
        table.outside(site, *node);
        if site.network.interface_endpoints {
            table.tcp(
                *node,
                Group::Endpoints,
                &[(443, "AWS APIs by their private doors")],
            );
        }
    }
    table.lines
}

/// The groups that stand around machines.
fn nodes(sizes: &Profile) -> Vec<Group> {
    if sizes.single_box.is_some() {
        return vec![Group::Box];
    }
    let mut nodes = vec![Group::Rails, Group::Sidekiq, Group::Gitaly];
    nodes.extend(sizes.praefect.as_ref().map(|_| Group::Praefect));
    nodes.extend(sizes.monitoring.as_ref().map(|_| Group::Monitoring));
    nodes.extend(sizes.bastion.as_ref().map(|_| Group::Bastion));
    nodes
}

/// Whether a load balancer stands before the site; a box with a certificate of its own has none.
pub(super) fn has_load_balancer(site: &Site, sizes: &Profile) -> bool {
    sizes.single_box.is_none() || site.tls.certificate != Certificate::LetsEncrypt
}

#[derive(Default)]
struct Table {
    lines: Vec<Line>,
}

impl Table {
    fn push(&mut self, from: End, to: End, protocol: Protocol, port: u16, why: &str) {
        // AWS refuses a second rule for the same range and port: one rule, both reasons.
        let same = self.lines.iter_mut().find(|line| {
            (line.from, line.to, line.protocol, line.port) == (from, to, protocol, port)
        });
        match same {
            Some(line) => line.why = format!("{}; {why}", line.why),
            None => self.lines.push(Line {
                from,
                to,
                protocol,
                port,
                why: why.to_owned(),
            }),
        }
    }

    fn tcp(&mut self, from: Group, to: Group, ports: &[(u16, &str)]) {
        for (port, why) in ports {
            self.push(End::Group(from), End::Group(to), Protocol::Tcp, *port, why);
        }
    }

    fn ranges(&mut self, ranges: &[Ipv4Net], to: Group, port: u16, why: &str) {
        for range in ranges {
            self.push(End::Range(*range), End::Group(to), Protocol::Tcp, port, why);
        }
    }

    /// Users to the load balancer, and from there to what answers them.
    fn front(&mut self, site: &Site, to: Group) {
        let network = &site.network;
        self.ranges(
            &network.https_from,
            Group::Nlb,
            80,
            "Web, redirected (https_from)",
        );
        self.ranges(&network.https_from, Group::Nlb, 443, "Web (https_from)");
        self.ranges(
            &network.git_ssh_from,
            Group::Nlb,
            22,
            "Git over SSH (git_ssh_from)",
        );
        // Gitaly and Praefect call GitLab's internal API under the site's own name, and pushes fail without it
        // (configure.md): where not everybody may come in, the site itself still must.
        let everybody = network.https_from.contains(&Ipv4Net::default());
        if to != Group::Box && !everybody {
            self.push(
                End::WaysOut,
                End::Group(Group::Nlb),
                Protocol::Tcp,
                443,
                "The internal API, for Gitaly and Praefect",
            );
        }
        self.tcp(
            Group::Nlb,
            to,
            &[
                (WEB_PORT, "Web, and health checks"),
                (REDIRECT_PORT, "Plain HTTP, to be redirected"),
                (GIT_SSH_PORT, "Git over SSH"),
            ],
        );
    }

    fn stores(&mut self) {
        for node in [Group::Rails, Group::Sidekiq] {
            self.tcp(node, Group::Database, &[(5432, "PostgreSQL")]);
            self.tcp(node, Group::Cache, &[(6379, "Valkey over TLS")]);
        }
    }

    fn gitaly_alone(&mut self) {
        for node in [Group::Rails, Group::Sidekiq] {
            self.tcp(node, Group::Gitaly, &[(8075, "Gitaly")]);
        }
    }

    fn gitaly_cluster(&mut self) {
        for node in [Group::Rails, Group::Sidekiq, Group::Gitaly] {
            self.tcp(node, Group::PraefectNlb, &[(PRAEFECT_PORT, "Praefect")]);
        }
        self.tcp(
            Group::PraefectNlb,
            Group::Praefect,
            &[(PRAEFECT_PORT, "Praefect, and health checks")],
        );
        // Gitaly dials only the load balancer, and GitLab asks for this way to be open all the same (configure.md).
        self.tcp(
            Group::Gitaly,
            Group::Praefect,
            &[(PRAEFECT_PORT, "Praefect")],
        );
        self.tcp(Group::Praefect, Group::Gitaly, &[(8075, "Gitaly")]);
        self.tcp(
            Group::Gitaly,
            Group::Gitaly,
            &[(8075, "Replication between Gitaly nodes")],
        );
        self.tcp(
            Group::Praefect,
            Group::PraefectDatabase,
            &[(5432, "PostgreSQL")],
        );
    }

    fn monitoring(&mut self, sizes: &Profile) {
        let gitlab_nodes = nodes(sizes)
            .into_iter()
            .filter(|node| !matches!(node, Group::Monitoring | Group::Bastion));
        for node in gitlab_nodes {
            self.tcp(Group::Monitoring, node, &[(9100, "Node exporter")]);
        }
        self.tcp(
            Group::Monitoring,
            Group::Rails,
            &[
                (80, "Rails metrics"),
                (5001, "Registry metrics"),
                (8060, "Nginx status"),
                (8083, "Puma exporter"),
                (9168, "GitLab exporter"),
                (9229, "Workhorse metrics"),
            ],
        );
        self.tcp(
            Group::Monitoring,
            Group::Sidekiq,
            &[(8082, "Sidekiq metrics"), (8092, "Sidekiq health")],
        );
        self.tcp(
            Group::Monitoring,
            Group::Gitaly,
            &[(9236, "Gitaly metrics")],
        );
        if sizes.praefect.is_some() {
            self.tcp(
                Group::Monitoring,
                Group::Praefect,
                &[(9652, "Praefect metrics")],
            );
        }
        for node in [Group::Rails, Group::Sidekiq] {
            self.tcp(node, Group::Monitoring, &[(9090, "Prometheus")]);
        }
    }

    fn administration(&mut self, site: &Site, sizes: &Profile) {
        if sizes.bastion.is_none() {
            return;
        }
        self.ranges(
            &site.network.admin_from,
            Group::Bastion,
            22,
            "Administrators (admin_from)",
        );
        for node in nodes(sizes) {
            if node != Group::Bastion {
                self.tcp(Group::Bastion, node, &[(22, "Administration")]);
            }
        }
    }

    /// The box answers by itself, or stands behind the load balancer like a Rails node.
    fn single_box(&mut self, site: &Site) {
        let network = &site.network;
        if site.tls.certificate == Certificate::LetsEncrypt {
            self.ranges(
                &network.https_from,
                Group::Box,
                80,
                "Web, redirected (https_from)",
            );
            self.ranges(&network.https_from, Group::Box, 443, "Web (https_from)");
            self.ranges(
                &network.git_ssh_from,
                Group::Box,
                22,
                "Git over SSH (git_ssh_from)",
            );
        } else {
            self.front(site, Group::Box);
        }
        self.ranges(
            &network.admin_from,
            Group::Box,
            22,
            "Administrators (admin_from)",
        );
    }

    /// What a node may reach in the world.
    fn outside(&mut self, site: &Site, node: Group) {
        let world = End::Range(Ipv4Net::default());
        let from = End::Group(node);
        self.push(
            from,
            world,
            Protocol::Tcp,
            443,
            "AWS APIs, packages, the site itself",
        );
        self.push(from, world, Protocol::Tcp, 80, "Package mirrors");
        self.push(from, world, Protocol::Udp, 123, "Time");
        // Rails sends and signs in; Sidekiq does the same from its queues.
        if !matches!(node, Group::Rails | Group::Sidekiq | Group::Box) {
            return;
        }
        if let Some(smtp) = &site.smtp {
            self.push(from, world, Protocol::Tcp, smtp.port, "Outgoing mail");
        }
        if let Some(ldap) = &site.ldap {
            self.push(from, world, Protocol::Tcp, ldap.port, "LDAP directory");
        }
    }
}

/// Every group of the site, by its name.
pub(super) struct Groups(BTreeMap<Group, Ref<SecurityGroup>>);

impl Groups {
    /// The group, as the list things carry; empty for a group this site does not have.
    pub fn of(&self, group: Group) -> Vec<Ref<SecurityGroup>> {
        self.0.get(&group).cloned().into_iter().collect()
    }

    pub fn get(&self, group: Group) -> Option<&Ref<SecurityGroup>> {
        self.0.get(&group)
    }
}

/// All groups first, then their rules: groups name each other.
pub(super) fn add(draft: &mut Draft<'_>, network: &Network) -> Groups {
    let lines = matrix(draft.site, draft.sizes);
    let mut groups = BTreeMap::new();
    for end in lines.iter().flat_map(|line| [line.from, line.to]) {
        let End::Group(group) = end else { continue };
        if groups.contains_key(&group) {
            continue;
        }
        let spec = SecurityGroup {
            vpc: network.vpc.clone(),
            name: draft.names.security_group(group.as_str()),
            description: format!("{} of {}", group.purpose(), draft.site.site.name),
        };
        groups.insert(group, draft.world.add(group.as_str(), spec));
    }
    for (group, reference) in &groups {
        let rules = |picked: fn(&Line) -> (End, End)| -> Vec<Rule> {
            lines
                .iter()
                .filter(|line| picked(line).0 == End::Group(*group))
                .flat_map(|line| {
                    let rule = |peer| Rule {
                        peer,
                        protocol: line.protocol,
                        from_port: line.port,
                        to_port: line.port,
                        why: line.why.clone(),
                    };
                    peers(picked(line).1, &groups, network)
                        .into_iter()
                        .map(rule)
                })
                .collect()
        };
        let spec = SecurityGroupRules {
            group: reference.clone(),
            ingress: rules(|line| (line.to, line.from)),
            egress: rules(|line| (line.from, line.to)),
        };
        draft.world.add(group.as_str(), spec);
    }
    Groups(groups)
}

/// Who stands at an end, as rules name them.
fn peers(end: End, groups: &BTreeMap<Group, Ref<SecurityGroup>>, network: &Network) -> Vec<Peer> {
    match end {
        End::Range(range) => vec![Peer::Cidr(range)],
        End::Group(other) => groups
            .get(&other)
            .cloned()
            .map(Peer::Group)
            .into_iter()
            .collect(),
        End::WaysOut => network
            .ways_out
            .iter()
            .cloned()
            .map(Peer::Address)
            .collect(),
    }
}
