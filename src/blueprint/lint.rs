//! What must never be in a blueprint, whoever drew it: a second look that shares no code with the drawing.

use std::collections::BTreeSet;
use std::fmt;

use ipnet::Ipv4Net;

use super::{ARCHIVES, Blueprint};
use crate::kinds::ec2::{
    AddressAssociation, ElasticIp, Exposure, Instance, LaunchTemplate, Peer, Protocol, Rule,
    SecurityGroup, SecurityGroupRules, Subnet, Volume,
};
use crate::kinds::s3::{Bucket, BucketEncryption, Delivery, LOCKABLE, LifecycleRule, Purpose};
use crate::kinds::{
    autoscaling, backup, cloudwatch, dlm, elasticache, elb, iam, kms, rds, route53, secretsmanager,
    sns,
};
use crate::resource::{ADDRESS_TAG, Address, ROLE_TAG, Ref, Resource, SITE_TAG};
use crate::site::Site;

/// A contradiction: where, and what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    pub address: Address,
    pub rule: &'static str,
    pub what: String,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.address, self.what, self.rule)
    }
}

/// Everything that speaks against a blueprint of this site, in the order of the blueprint.
pub fn lint(blueprint: &Blueprint, site: &Site) -> Vec<Complaint> {
    let mut desk = Desk {
        blueprint,
        site,
        complaints: Vec::new(),
    };
    desk.addresses();
    desk.references();
    desk.names();
    desk.tags();
    desk.ports();
    desk.nodes();
    desk.stores();
    desk.buckets();
    desk.load_balancers();
    desk.snapshots();
    desk.roles();
    desk.recovery_key();
    desk.locks();
    desk.complaints
}

struct Desk<'a> {
    blueprint: &'a Blueprint,
    site: &'a Site,
    complaints: Vec<Complaint>,
}

impl<'a> Desk<'a> {
    fn complain(&mut self, address: &Address, rule: &'static str, what: impl Into<String>) {
        self.complaints.push(Complaint {
            address: address.clone(),
            rule,
            what: what.into(),
        });
    }

    fn of<R: Resource>(&self) -> Vec<(&'a Address, &'a R)> {
        self.blueprint.of::<R>().collect()
    }

    fn find<R: Resource>(&self, to: &Ref<R>) -> Option<&'a R> {
        self.blueprint
            .of::<R>()
            .find(|(address, _)| *address == to.address())
            .map(|(_, spec)| spec)
    }

    fn addresses(&mut self) {
        for address in self.blueprint.twice() {
            self.complain(address, "duplicate-address", "is there twice");
        }
        for (address, _) in self.blueprint.iter() {
            // The value of a tag.
            if address.to_string().len() > 256 {
                self.complain(
                    address,
                    "name-too-long",
                    "an address has 256 characters at most",
                );
            }
        }
    }

    /// Edges point at something earlier. `Blueprint::add` sees to it, unless two blueprints were mixed.
    fn references(&mut self) {
        let mut earlier = BTreeSet::new();
        for (address, resource) in self.blueprint.iter() {
            for other in resource.refs() {
                if !earlier.contains(&other) {
                    self.complain(
                        address,
                        "dangling-reference",
                        format!("points at {other}, which does not come before it"),
                    );
                }
            }
            earlier.insert(address.clone());
        }
    }

    /// The limits of the AWS API reference of each kind.
    fn names(&mut self) {
        let mut names: Vec<(&Address, &str, usize)> = Vec::new();
        let mut take = |found: Vec<(&'a Address, &'a str)>, limit: usize| {
            names.extend(
                found
                    .into_iter()
                    .map(|(address, name)| (address, name, limit)),
            );
        };
        take(named(&self.of::<elb::LoadBalancer>(), |r| &r.name), 32);
        take(named(&self.of::<elb::TargetGroup>(), |r| &r.name), 32);
        take(named(&self.of::<rds::DbInstance>(), |r| &r.identifier), 63);
        take(named(&self.of::<rds::DbReplica>(), |r| &r.identifier), 63);
        take(named(&self.of::<rds::SubnetGroup>(), |r| &r.name), 255);
        take(named(&self.of::<rds::ParameterGroup>(), |r| &r.name), 255);
        take(
            named(&self.of::<elasticache::ReplicationGroup>(), |r| &r.id),
            40,
        );
        take(
            named(&self.of::<elasticache::SubnetGroup>(), |r| &r.name),
            255,
        );
        take(
            named(&self.of::<elasticache::ParameterGroup>(), |r| &r.name),
            255,
        );
        take(named(&self.of::<iam::Role>(), |r| &r.name), 64);
        take(named(&self.of::<iam::InstanceProfile>(), |r| &r.name), 128);
        take(named(&self.of::<Bucket>(), |r| &r.name), 63);
        take(named(&self.of::<LaunchTemplate>(), |r| &r.name), 128);
        take(named(&self.of::<autoscaling::Group>(), |r| &r.name), 255);
        take(
            named(&self.of::<autoscaling::ScalingPolicy>(), |r| &r.name),
            255,
        );
        take(named(&self.of::<SecurityGroup>(), |r| &r.name), 255);
        take(named(&self.of::<SecurityGroup>(), |r| &r.description), 255);
        take(named(&self.of::<kms::Alias>(), |r| &r.name), 256);
        take(
            named(&self.of::<secretsmanager::Secret>(), |r| &r.name),
            512,
        );
        take(named(&self.of::<sns::Topic>(), |r| &r.name), 256);
        take(named(&self.of::<cloudwatch::Alarm>(), |r| &r.name), 255);
        take(named(&self.of::<dlm::Policy>(), |r| &r.description), 500);
        take(named(&self.of::<backup::Vault>(), |r| &r.name), 50);
        take(named(&self.of::<backup::Plan>(), |r| &r.name), 50);
        take(named(&self.of::<backup::Selection>(), |r| &r.name), 50);
        take(named(&self.of::<route53::Record>(), |r| &r.name), 255);
        for (address, name, limit) in names {
            let length = name.chars().count();
            if length > limit {
                self.complain(
                    address,
                    "name-too-long",
                    format!("`{name}` has {length} characters, and AWS takes {limit}"),
                );
            } else if name.is_empty() {
                self.complain(address, "name-empty", "has no name");
            }
        }
        for (address, balancer) in self.of::<elb::LoadBalancer>() {
            if balancer.name.starts_with("internal-") {
                self.complain(address, "name-reserved", "AWS keeps `internal-` for itself");
            }
        }
    }

    /// Machines and their volumes say what they run; nobody's own tags may stand in for ours.
    fn tags(&mut self) {
        let roles = named(&self.of::<Instance>(), |r| &r.role)
            .into_iter()
            .chain(named(&self.of::<LaunchTemplate>(), |r| &r.role))
            .chain(named(&self.of::<Volume>(), |r| &r.role))
            .chain(named(&self.of::<autoscaling::Group>(), |r| &r.role));
        for (address, role) in roles.collect::<Vec<_>>() {
            if role.is_empty() {
                self.complain(address, "missing-tag", format!("has no {ROLE_TAG}"));
            }
        }
        let Some((first, _)) = self.blueprint.iter().next() else {
            return;
        };
        for key in [SITE_TAG, ADDRESS_TAG, ROLE_TAG, "Name"] {
            if self.site.tags.contains_key(key) {
                self.complain(
                    first,
                    "missing-tag",
                    format!("the site's own tag `{key}` would take the place of gantry's"),
                );
            }
        }
    }

    fn ports(&mut self) {
        for (address, rules) in self.of::<SecurityGroupRules>() {
            for rule in &rules.ingress {
                self.comes_in(address, rule);
            }
            for rule in &rules.egress {
                self.goes_out(address, rule);
            }
            // https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html
            for (direction, count) in [("in", rules.ingress.len()), ("out", rules.egress.len())] {
                if count > 60 {
                    self.complain(
                        address,
                        "too-many-rules",
                        format!("has {count} rules {direction}, and AWS takes 60"),
                    );
                }
            }
            for rule in rules.ingress.iter().chain(&rules.egress) {
                self.rule_text(address, rule);
            }
        }
    }

    /// A range may come in only where the site file names it, on the ports that list is for.
    fn comes_in(&mut self, address: &Address, rule: &Rule) {
        let range = match &rule.peer {
            Peer::Cidr(range) => range,
            Peer::Group(_) => return,
            Peer::Address(own) => return self.own_address(address, own, rule),
        };
        let network = &self.site.network;
        let public = matches!(address.name(), "nlb" | "box");
        let lists: [(&[Ipv4Net], bool); 4] = [
            (&network.https_from, public && rule.from_port == 80),
            (&network.https_from, public && rule.from_port == 443),
            (&network.git_ssh_from, public && rule.from_port == 22),
            (
                &network.admin_from,
                matches!(address.name(), "bastion" | "box") && rule.from_port == 22,
            ),
        ];
        let given = rule.from_port == rule.to_port
            && rule.protocol == Protocol::Tcp
            && lists
                .iter()
                .any(|(list, fits)| *fits && list.contains(range));
        if !given {
            self.complain(
                address,
                "open-port",
                format!(
                    "lets {range} in on {} {} to {}, which no list of the site file says",
                    rule.protocol.as_str(),
                    rule.from_port,
                    rule.to_port
                ),
            );
        }
    }

    /// The site's own nodes may come back in by the front door, and nowhere else.
    fn own_address(&mut self, address: &Address, own: &Ref<ElasticIp>, rule: &Rule) {
        let front = address.name() == "nlb" && rule.from_port == 443 && rule.to_port == 443;
        if !front || !own.address().name().starts_with("nat-") {
            self.complain(
                address,
                "open-port",
                format!("lets {} in on {}", own.address(), rule.from_port),
            );
        }
    }

    /// Data stores open no connections; machines reach the world on few ports.
    fn goes_out(&mut self, address: &Address, rule: &Rule) {
        if matches!(
            address.name(),
            "database" | "cache" | "praefect-database" | "endpoints"
        ) {
            self.complain(
                address,
                "store-egress",
                format!("is a store, and may go out on port {}", rule.from_port),
            );
        }
        if !matches!(rule.peer, Peer::Cidr(_)) {
            return;
        }
        let mail = self.site.smtp.as_ref().map(|smtp| smtp.port);
        let directory = self.site.ldap.as_ref().map(|ldap| ldap.port);
        let usual = match rule.protocol {
            Protocol::Udp => rule.from_port == 123,
            Protocol::Tcp => {
                matches!(rule.from_port, 80 | 443)
                    || [mail, directory].contains(&Some(rule.from_port))
            }
        };
        if !usual || rule.from_port != rule.to_port {
            self.complain(
                address,
                "open-egress",
                format!(
                    "may reach the world on {} {} to {} without a reason",
                    rule.protocol.as_str(),
                    rule.from_port,
                    rule.to_port
                ),
            );
        }
    }

    /// What EC2 takes as a rule's description: a reason, of its few characters.
    fn rule_text(&mut self, address: &Address, rule: &Rule) {
        let allowed = |c: char| c.is_ascii_alphanumeric() || " ._-:/()#,@[]+=&;{}!$*".contains(c);
        if rule.why.is_empty() {
            self.complain(
                address,
                "rule-without-reason",
                "has a rule that says no reason",
            );
        } else if rule.why.len() > 255 || !rule.why.chars().all(allowed) {
            self.complain(
                address,
                "rule-text",
                format!("EC2 does not take the description `{}`", rule.why),
            );
        }
    }

    /// Machines: private but for the two that may be public, encrypted by their key, small user data without secrets.
    fn nodes(&mut self) {
        for (address, node) in self.of::<Instance>() {
            let exposed = self
                .find(&node.subnet)
                .is_some_and(|subnet| subnet.exposure == Exposure::Public);
            if exposed && !matches!(address.name(), "bastion" | "box") {
                self.complain(address, "public-node", "lives in a public subnet");
            }
            self.machine(
                address,
                &node.image,
                &node.user_data,
                node.groups.is_empty(),
            );
        }
        for (address, template) in self.of::<LaunchTemplate>() {
            self.machine(
                address,
                &template.image,
                &template.user_data,
                template.groups.is_empty(),
            );
        }
        for (address, group) in self.of::<autoscaling::Group>() {
            for subnet in &group.subnets {
                if self
                    .find(subnet)
                    .is_some_and(|s| s.exposure == Exposure::Public)
                {
                    self.complain(
                        address,
                        "public-node",
                        format!("puts nodes into {}", subnet.address()),
                    );
                }
            }
            if !(group.min <= group.desired && group.desired <= group.max) {
                self.complain(address, "sizes", "min, desired and max must rise");
            }
        }
        for (address, association) in self.of::<AddressAssociation>() {
            if !matches!(association.instance.address().name(), "bastion" | "box") {
                self.complain(
                    address,
                    "public-node",
                    format!("gives {} a public address", association.instance.address()),
                );
            }
        }
        // Nothing here can be unencrypted or answer to IMDSv1 by its type: every root volume, volume, machine and
        // template of these kinds carries a key and asks for IMDSv2. What remains is the address it is reached at.
        for (address, subnet) in self.of::<Subnet>() {
            if subnet.zone.is_empty() {
                self.complain(address, "zone", "lies in no zone");
            }
        }
    }

    fn machine(&mut self, address: &Address, image: &str, user_data: &str, open: bool) {
        if !image.starts_with("ami-") {
            self.complain(address, "image", format!("`{image}` is no machine image"));
        }
        if open {
            self.complain(
                address,
                "no-group",
                "has no security group, and would get the default one",
            );
        }
        if user_data.len() > 16 * 1024 {
            self.complain(
                address,
                "user-data",
                format!(
                    "has {} bytes of user data, and AWS takes 16 KiB",
                    user_data.len()
                ),
            );
        }
        // Without it, whoever can write to the bucket could run anything on a new node.
        if !user_data
            .split(|c: char| !c.is_ascii_hexdigit())
            .any(|word| word.len() == 64)
        {
            self.complain(
                address,
                "user-data",
                "has user data that names no boot program by its hash",
            );
        }
        // What asks the metadata service for a session has to say the header's name.
        let lower = [
            "x-aws-ec2-metadata-token",
            "x-amz-security-token",
            "latest/api/token",
            "found[\"token\"]",
        ]
        .iter()
        .fold(user_data.to_lowercase(), |text, name| {
            text.replace(name, "")
        });
        if ["password", "token", "private key", "secret:"]
            .iter()
            .any(|word| lower.contains(word))
        {
            self.complain(
                address,
                "user-data",
                "has user data that speaks of a secret",
            );
        }
    }

    fn stores(&mut self) {
        let keys: BTreeSet<&Address> = self.of::<kms::Key>().into_iter().map(|(a, _)| a).collect();
        let mut carried: Vec<(&Address, &Address)> = Vec::new();
        carried.extend(
            self.of::<rds::DbInstance>()
                .iter()
                .map(|(a, r)| (*a, r.key.address())),
        );
        carried.extend(
            self.of::<rds::DbReplica>()
                .iter()
                .map(|(a, r)| (*a, r.key.address())),
        );
        carried.extend(
            self.of::<Volume>()
                .iter()
                .map(|(a, r)| (*a, r.key.address())),
        );
        carried.extend(
            self.of::<secretsmanager::Secret>()
                .iter()
                .map(|(a, r)| (*a, r.key.address())),
        );
        carried.extend(
            self.of::<sns::Topic>()
                .iter()
                .map(|(a, r)| (*a, r.key.address())),
        );
        carried.extend(
            self.of::<elasticache::ReplicationGroup>()
                .iter()
                .map(|(a, r)| (*a, r.key.address())),
        );
        carried.extend(
            self.of::<backup::Vault>()
                .iter()
                .map(|(a, r)| (*a, r.key.address())),
        );
        carried.extend(
            self.of::<Instance>()
                .iter()
                .map(|(a, r)| (*a, r.root.key.address())),
        );
        carried.extend(
            self.of::<LaunchTemplate>()
                .iter()
                .map(|(a, r)| (*a, r.root.key.address())),
        );
        for (address, key) in carried {
            if !keys.contains(key) {
                self.complain(
                    address,
                    "unencrypted",
                    format!("{key} is no key of this site"),
                );
            }
        }
        for (address, key) in self.of::<kms::Key>() {
            if !key.rotation {
                self.complain(address, "key-rotation", "is never renewed");
            }
            if !(7..=30).contains(&key.pending_days) {
                self.complain(
                    address,
                    "key-pending",
                    "AWS keeps a deleted key 7 to 30 days",
                );
            }
        }
        for (address, group) in self.of::<rds::ParameterGroup>() {
            if group.parameters.get("rds.force_ssl").map(String::as_str) != Some("1") {
                self.complain(address, "plain-connections", "lets clients in without TLS");
            }
        }
        for (address, database) in self.of::<rds::DbInstance>() {
            if database.groups.is_empty() {
                self.complain(address, "no-group", "has no security group");
            }
            if database.backup_days == 0 {
                self.complain(address, "no-backup", "has no automated backups");
            }
            if self.site.protection.deletion && !database.protection.is_on() {
                self.complain(address, "unprotected", "can be deleted by one call");
            }
            let public = self.find(&database.subnet_group).is_some_and(|group| {
                group.subnets.iter().any(|subnet| {
                    self.find(subnet)
                        .is_some_and(|s| s.exposure == Exposure::Public)
                })
            });
            if public {
                self.complain(address, "public-store", "lies in a public subnet");
            }
        }
        for (address, cache) in self.of::<elasticache::ReplicationGroup>() {
            let public = self.find(&cache.subnet_group).is_some_and(|group| {
                group.subnets.iter().any(|subnet| {
                    self.find(subnet)
                        .is_some_and(|s| s.exposure == Exposure::Public)
                })
            });
            if public {
                self.complain(address, "public-store", "lies in a public subnet");
            }
        }
    }

    fn buckets(&mut self) {
        for (address, bucket) in self.of::<Bucket>() {
            let keyed = matches!(bucket.encryption, BucketEncryption::Key(_));
            if !keyed && bucket.purpose != Purpose::Logs {
                self.complain(address, "unencrypted", "does not use the site's key");
            }
            if bucket.log_to.is_none() && bucket.purpose != Purpose::Logs {
                self.complain(address, "no-access-log", "nobody would know who read it");
            }
            if !bucket.allow_delivery.is_empty() && bucket.purpose != Purpose::Logs {
                self.complain(address, "public-bucket", "lets AWS services write into it");
            }
            if keyed && bucket.allow_delivery.contains(&Delivery::ServerAccessLogs) {
                self.complain(
                    address,
                    "log-encryption",
                    "server access logs cannot be delivered to a bucket with a key",
                );
            }
            let aborts = bucket
                .lifecycle
                .iter()
                .any(|rule| matches!(rule, LifecycleRule::AbortIncomplete { .. }));
            if !aborts {
                self.complain(
                    address,
                    "incomplete-uploads",
                    "keeps incomplete uploads for ever",
                );
            }
            let expires = bucket.lifecycle.iter().any(|rule| {
                matches!(rule, LifecycleRule::Expire { .. })
                    || bucket.purpose == Purpose::GitalyBackups
                        && matches!(rule, LifecycleRule::ExpireNoncurrent { .. })
            });
            if expires && bucket.purpose != Purpose::Logs {
                self.complain(address, "data-expires", "lets data expire by itself");
            }
        }
    }

    fn load_balancers(&mut self) {
        for (address, balancer) in self.of::<elb::LoadBalancer>() {
            if balancer.groups.is_empty() {
                self.complain(
                    address,
                    "no-group",
                    "has no security group, and can never be given one later",
                );
            }
            if self.site.protection.deletion && !balancer.protection.is_on() {
                self.complain(address, "unprotected", "can be deleted by one call");
            }
            let wanted = match balancer.scheme {
                elb::Scheme::Public => Exposure::Public,
                elb::Scheme::Internal => Exposure::Private,
            };
            for subnet in &balancer.subnets {
                if self.find(subnet).is_some_and(|s| s.exposure != wanted) {
                    self.complain(
                        address,
                        "wrong-subnet",
                        format!("does not belong into {}", subnet.address()),
                    );
                }
            }
            if balancer.scheme == elb::Scheme::Public && balancer.logs.is_none() {
                self.complain(address, "no-access-log", "nobody would know who came");
            }
        }
        for (address, group) in self.of::<elb::TargetGroup>() {
            if group.proxy_protocol && group.preserve_client_ip {
                self.complain(
                    address,
                    "two-client-addresses",
                    "tells the visitor's address in two ways; one of them will be wrong",
                );
            }
            if group.proxy_protocol && matches!(group.health, elb::Health::Tcp) {
                self.complain(
                    address,
                    "noisy-check",
                    "checks by TCP a port that expects the proxy header",
                );
            }
        }
        for (address, listener) in self.of::<elb::Listener>() {
            if listener.port == 443 && matches!(listener.protocol, elb::ListenerProtocol::Tcp) {
                self.complain(address, "no-tls", "answers on port 443 without TLS");
            }
        }
    }

    /// One copy of a Gitaly Cluster, put back alone, does not fit the others.
    fn snapshots(&mut self) {
        let cluster = self
            .of::<Instance>()
            .iter()
            .any(|(_, node)| node.role == "praefect");
        for (address, policy) in self.of::<dlm::Policy>() {
            if policy.target_tags.len() != 1 {
                self.complain(
                    address,
                    "snapshot-target",
                    "names other than one tag, and volumes with any of them are taken",
                );
            }
            for key in [SITE_TAG, ROLE_TAG, "Name"] {
                if policy.target_tags.contains_key(key) {
                    self.complain(
                        address,
                        "snapshot-target",
                        format!(
                            "goes by the tag {key}, which root volumes or other sites carry as well"
                        ),
                    );
                }
            }
            if cluster {
                self.complain(
                    address,
                    "cluster-snapshot",
                    "takes snapshots of single nodes of a Gitaly Cluster",
                );
            }
        }
        for (address, selection) in self.of::<backup::Selection>() {
            let of_cluster = |selected: &backup::Selected| match selected {
                backup::Selected::Volume(volume) => {
                    self.find(volume).is_none_or(|v| v.role == "gitaly")
                }
                backup::Selected::Database(_) | backup::Selected::Bucket(_) => false,
            };
            if cluster && selection.resources.iter().any(of_cluster) {
                self.complain(
                    address,
                    "cluster-snapshot",
                    "saves disks of single nodes of a Gitaly Cluster",
                );
            }
        }
        for (address, volume) in self.of::<Volume>() {
            if cluster && volume.role == "gitaly" && volume.snapshots.is_some() {
                self.complain(
                    address,
                    "cluster-snapshot",
                    "is a Gitaly Cluster's, and marked for snapshots",
                );
            }
        }
    }

    fn roles(&mut self) {
        for (address, role) in self.of::<iam::Role>() {
            for grant in &role.grants {
                let wild = |action: &String| action == "*" || action.ends_with(":*");
                if grant.actions.iter().any(wild) {
                    self.complain(
                        address,
                        "wide-grant",
                        format!("`{}` allows everything", grant.sid),
                    );
                }
                if !grant.sid.chars().all(|c| c.is_ascii_alphanumeric()) {
                    self.complain(
                        address,
                        "sid",
                        format!("IAM takes letters and digits, not `{}`", grant.sid),
                    );
                }
                let anything = grant.on.iter().any(|on| matches!(on, iam::Target::Any));
                // A key to be made has no name yet; what is asked for instead is its tag. Which buckets there are is told
                // of all or none.
                let narrow = |action: &String| {
                    let makes_tagged = action == "kms:CreateKey" && !grant.conditions.is_empty();
                    !makes_tagged
                        && action != "s3:ListAllMyBuckets"
                        && ["s3:", "secretsmanager:", "kms:", "iam:"]
                            .iter()
                            .any(|service| action.starts_with(service))
                };
                if anything && grant.actions.iter().any(narrow) {
                    self.complain(
                        address,
                        "wide-grant",
                        format!(
                            "`{}` is about everything of a service that knows names",
                            grant.sid
                        ),
                    );
                }
                self.never_deletes_backups(address, role, grant);
            }
        }
    }

    /// Who takes over a machine must not be able to take the backups with it: neither by deleting them nor by what
    /// deletes them later, and neither the objects nor the snapshots nor the keys.
    fn never_deletes_backups(&mut self, address: &Address, role: &iam::Role, grant: &iam::Grant) {
        let any = |words: &[&str]| {
            // Who is told of changes in a bucket deletes nothing by that.
            let says = |action: &String| {
                action != "s3:PutBucketNotification"
                    && words.iter().any(|word| action.contains(word))
            };
            grant.actions.iter().any(says)
        };
        let backups = grant.on.iter().any(|on| self.is_of_backups(on));
        let machine = role.service == "ec2.amazonaws.com";
        // DLM and AWS Backup delete the snapshots that they took, by their own roles.
        let snapshots = machine
            && any(&[
                "DeleteDBSnapshot",
                "ec2:DeleteSnapshot",
                "backup:Delete",
                "backup:Disassociate",
                "backup:PutBackupVault",
                "backup:Update",
            ]);
        let keys = any(&[
            "kms:ScheduleKeyDeletion",
            "kms:DisableKey",
            "kms:PutKeyPolicy",
        ]);
        let objects = backups
            && any(&[
                "s3:Delete",
                "Lifecycle",
                "s3:BypassGovernanceRetention",
                "s3:PutObjectRetention",
                "s3:PutBucket",
            ]);
        if snapshots || keys || objects {
            self.complain(
                address,
                "deletes-backups",
                format!("`{}` could delete backups", grant.sid),
            );
        }
        let beyond_archives = machine
            && role_is_of_gitlab(address)
            && any(&["s3:GetObject", "s3:PutObject"])
            && grant.on.iter().any(|on| match on {
                iam::Target::Objects(bucket) => self.purpose(bucket) == Some(Purpose::Backups),
                iam::Target::Folder(bucket, folder) => {
                    self.purpose(bucket) == Some(Purpose::Backups) && folder != ARCHIVES
                }
                _ => false,
            });
        if beyond_archives {
            self.complain(
                address,
                "reaches-points",
                format!(
                    "`{}` reaches more of the backups than GitLab's archives",
                    grant.sid
                ),
            );
        }
    }

    fn purpose(&self, bucket: &Ref<Bucket>) -> Option<Purpose> {
        self.find(bucket).map(|bucket| bucket.purpose)
    }

    /// Whether a grant is about a bucket of backups, by its address or by its name.
    fn is_of_backups(&self, on: &iam::Target) -> bool {
        let kept = |purpose| matches!(purpose, Purpose::Backups | Purpose::GitalyBackups);
        match on {
            iam::Target::Any => true,
            iam::Target::Bucket(bucket)
            | iam::Target::Objects(bucket)
            | iam::Target::Folder(bucket, _) => self.purpose(bucket).is_some_and(kept),
            iam::Target::Arn(arn) => self.of::<Bucket>().iter().any(|(_, bucket)| {
                kept(bucket.purpose) && arn.starts_with(&format!("arn:aws:s3:::{}", bucket.name))
            }),
            iam::Target::Key(_) | iam::Target::Secret(_) | iam::Target::Topic(_) => false,
        }
    }

    /// The key of secrets is for the machine that takes recovery points; nobody else's role names it. And what is
    /// sealed with it lies beside data that is not encrypted with it.
    fn recovery_key(&mut self) {
        let of_recovery: BTreeSet<&Address> = self
            .of::<kms::Key>()
            .into_iter()
            .filter(|(_, key)| key.used_for == kms::KeyUse::Recovery)
            .map(|(address, _)| address)
            .collect();
        for (address, bucket) in self.of::<Bucket>() {
            let sealed = |key: &Ref<kms::Key>| of_recovery.contains(key.address());
            if matches!(&bucket.encryption, BucketEncryption::Key(key) if sealed(key)) {
                self.complain(
                    address,
                    "one-key-for-all",
                    "is encrypted with the key of the secrets",
                );
            }
        }
        for (address, role) in self.of::<iam::Role>() {
            let host = matches!(address.name(), "bastion" | "box");
            let names_it = role.grants.iter().flat_map(|grant| &grant.on).any(
                |on| matches!(on, iam::Target::Key(key) if of_recovery.contains(key.address())),
            );
            if names_it && !host {
                self.complain(
                    address,
                    "opens-secrets",
                    "may use the key of the secrets, and takes no recovery points",
                );
            }
        }
    }

    /// Only the backups are locked: GitLab deletes objects of its own, and the name is what a survey goes by.
    fn locks(&mut self) {
        for (address, bucket) in self.of::<Bucket>() {
            let lockable = bucket.purpose == Purpose::Backups && address.name() == LOCKABLE;
            if bucket.immutable_days.is_some() && !lockable {
                self.complain(
                    address,
                    "locked",
                    "is not the backups, and cannot be locked",
                );
            }
        }
    }
}

/// Whether the role is of a machine that runs GitLab alone. The box runs both, and is its own appliance host.
fn role_is_of_gitlab(address: &Address) -> bool {
    !matches!(address.name(), "bastion" | "box")
}

fn named<'a, R>(
    found: &[(&'a Address, &'a R)],
    pick: fn(&R) -> &String,
) -> Vec<(&'a Address, &'a str)> {
    found
        .iter()
        .map(|(address, spec)| (*address, pick(spec).as_str()))
        .collect()
}
