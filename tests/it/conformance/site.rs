//! A small site with one of everything: what the conformance checks make and take away again.

use std::collections::BTreeMap;

use gantry::blueprint::Blueprint;
use gantry::kinds::acm::{Certificate, Validation};
use gantry::kinds::autoscaling::{Group, ScalingPolicy};
use gantry::kinds::backup::{Plan, Selected, Selection, Vault};
use gantry::kinds::cloudwatch::{Alarm, AlarmAction, Comparison, Dimension, Missing};
use gantry::kinds::ec2::{
    AddressAssociation, DefaultSecurityGroup, ElasticIp, EndpointKind, Exposure, FlowLog, Instance,
    InternetGateway, LaunchTemplate, NatGateway, Peer, Protocol, RootVolume, Route, RouteTable,
    Rule, SecurityGroup, SecurityGroupRules, Subnet, Via, Volume, VolumeAttachment, VolumeType,
    Vpc, VpcEndpoint,
};
use gantry::kinds::elasticache::{self, CacheParameterGroupRef, ReplicationGroup};
use gantry::kinds::elb::{
    CertificateRef, Health, Listener, ListenerProtocol, LoadBalancer, Scheme, Target, TargetGroup,
};
use gantry::kinds::iam::{self, Grant, InstanceProfile, Role};
use gantry::kinds::kms::{Alias, Key, KeyUse};
use gantry::kinds::logs::LogGroup;
use gantry::kinds::rds::{self, DbInstance, DbReplica, ParameterGroupRef};
use gantry::kinds::route53::{Record, RecordValue};
use gantry::kinds::s3::{Bucket, BucketEncryption, Delivery, LifecycleRule, Purpose};
use gantry::kinds::secretsmanager::{Secret, SecretShape};
use gantry::kinds::sns::Topic;
use gantry::kinds::{Protection, dlm};
use gantry::resource::Ref;

use super::REGION;

/// What the cloud has before the site is made.
pub struct Ground {
    pub hosted_zone: String,
    pub image: String,
}

/// How the site is wanted: as first made, or with a change in every kind that has something to change.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    First,
    Changed,
}

impl Wanted {
    fn pick<T>(self, first: T, changed: T) -> T {
        match self {
            Self::First => first,
            Self::Changed => changed,
        }
    }
}

/// The site, in an order in which each resource points only at earlier ones.
pub fn site(ground: &Ground, wanted: Wanted) -> Blueprint {
    let mut b = Blueprint::new();
    let key = keys(&mut b, wanted);
    let stores = stores(&mut b, &key, wanted);
    let topic = b.add(
        "alarms",
        Topic {
            name: "gantry-acme-alarms".into(),
            key: key.clone(),
            emails: vec!["ops@example.com".into()],
        },
    );
    let profile = identity(&mut b, &key, &stores, &topic, wanted);
    let network = network(&mut b, &stores.logs, wanted);
    data(&mut b, &key, &stores, &network, wanted);
    let node = node(&mut b, ground, &key, &profile, &network, wanted);
    vault(&mut b, &key, &stores, wanted);
    front(
        &mut b, ground, &stores, &network, &topic, &node, &profile, &key, wanted,
    );
    b
}

fn keys(b: &mut Blueprint, wanted: Wanted) -> Ref<Key> {
    let key = b.add(
        "site",
        Key {
            description: wanted
                .pick("The site acme", "The site acme, of gantry")
                .into(),
            used_for: KeyUse::Data,
            copied_into: None,
            rotation: true,
            pending_days: 7,
        },
    );
    b.add(
        "site",
        Alias {
            name: "alias/gantry/acme".into(),
            key: key.clone(),
        },
    );
    key
}

struct Stores {
    logs: Ref<Bucket>,
    uploads: Ref<Bucket>,
    password: Ref<Secret>,
    token: Ref<Secret>,
}

fn stores(b: &mut Blueprint, key: &Ref<Key>, wanted: Wanted) -> Stores {
    let logs = b.add(
        "logs",
        Bucket {
            name: "gantry-acme-logs-4f1d".into(),
            purpose: Purpose::Logs,
            encryption: BucketEncryption::S3Managed,
            lifecycle: vec![
                LifecycleRule::AbortIncomplete { days: 7 },
                LifecycleRule::Expire {
                    days: wanted.pick(90, 120),
                    prefix: String::new(),
                },
            ],
            log_to: None,
            allow_delivery: vec![
                Delivery::LoadBalancerLogs,
                Delivery::FlowLogs,
                Delivery::ServerAccessLogs,
            ],
            immutable_days: None,
        },
    );
    let uploads = b.add(
        "uploads",
        Bucket {
            name: "gantry-acme-uploads-4f1d".into(),
            purpose: Purpose::Objects,
            encryption: BucketEncryption::Key(key.clone()),
            lifecycle: vec![
                LifecycleRule::AbortIncomplete { days: 7 },
                LifecycleRule::ExpireNoncurrent { days: 30 },
            ],
            log_to: Some(logs.clone()),
            allow_delivery: vec![],
            immutable_days: None,
        },
    );
    let mut secret = |name: &str, shape: SecretShape| {
        b.add(
            name,
            Secret {
                name: format!("gantry/acme/{name}"),
                description: wanted
                    .pick("Made by gantry", "Made by gantry for acme")
                    .into(),
                shape,
                key: key.clone(),
            },
        )
    };
    Stores {
        logs,
        uploads,
        password: secret("database", SecretShape::Password { length: 32 }),
        token: secret("cache", SecretShape::Password { length: 48 }),
    }
}

fn identity(
    b: &mut Blueprint,
    key: &Ref<Key>,
    stores: &Stores,
    topic: &Ref<Topic>,
    wanted: Wanted,
) -> Ref<InstanceProfile> {
    let grant =
        |sid: &str, actions: &[&str], on: iam::Target| Grant::new(sid, actions, vec![on], &[]);
    let role = b.add(
        "rails",
        Role {
            name: "gantry-acme-rails".into(),
            path: iam::path("acme"),
            service: "ec2.amazonaws.com".into(),
            grants: vec![
                grant(
                    "Objects",
                    wanted.pick(&["s3:GetObject"], &["s3:GetObject", "s3:PutObject"]),
                    iam::Target::Objects(stores.uploads.clone()),
                ),
                grant(
                    "Bucket",
                    &["s3:ListBucket"],
                    iam::Target::Bucket(stores.uploads.clone()),
                ),
                grant("Key", &["kms:Decrypt"], iam::Target::Key(key.clone())),
                grant(
                    "Secret",
                    &["secretsmanager:GetSecretValue"],
                    iam::Target::Secret(stores.password.clone()),
                ),
                grant("Topic", &["sns:Publish"], iam::Target::Topic(topic.clone())),
            ],
        },
    );
    b.add(
        "rails",
        InstanceProfile {
            name: "gantry-acme-rails".into(),
            path: iam::path("acme"),
            role,
        },
    )
}

struct Network {
    vpc: Ref<Vpc>,
    public: Vec<Ref<Subnet>>,
    private: Vec<Ref<Subnet>>,
    front: Ref<SecurityGroup>,
    rails: Ref<SecurityGroup>,
}

fn network(b: &mut Blueprint, logs: &Ref<Bucket>, wanted: Wanted) -> Network {
    let vpc = b.add(
        "main",
        Vpc {
            cidr: "10.20.0.0/16".parse().unwrap(),
        },
    );
    let gateway = b.add("main", InternetGateway { vpc: vpc.clone() });
    let mut subnet = |name: &str, zone: char, third: u8, exposure: Exposure| {
        b.add(
            format!("{name}-{zone}"),
            Subnet {
                vpc: vpc.clone(),
                cidr: format!("10.20.{third}.0/24").parse().unwrap(),
                zone: format!("{REGION}{zone}"),
                exposure,
            },
        )
    };
    let public = vec![
        subnet("public", 'a', 0, Exposure::Public),
        subnet("public", 'b', 1, Exposure::Public),
    ];
    let private = vec![
        subnet("private", 'a', 16, Exposure::Private),
        subnet("private", 'b', 17, Exposure::Private),
    ];
    let address = b.add("nat-a", ElasticIp {});
    let nat = b.add(
        "a",
        NatGateway {
            subnet: public[0].clone(),
            address,
            internet: gateway.clone(),
        },
    );
    let anywhere = || "0.0.0.0/0".parse().unwrap();
    b.add(
        "public",
        RouteTable {
            vpc: vpc.clone(),
            routes: vec![Route {
                to: anywhere(),
                via: Via::Internet(gateway),
            }],
            subnets: public.clone(),
        },
    );
    let routes = b.add(
        "private",
        RouteTable {
            vpc: vpc.clone(),
            routes: vec![Route {
                to: anywhere(),
                via: Via::Nat(nat),
            }],
            subnets: wanted.pick(private.clone(), private[..1].to_vec()),
        },
    );
    b.add(
        "main",
        FlowLog {
            vpc: vpc.clone(),
            bucket: logs.clone(),
        },
    );
    b.add("main", DefaultSecurityGroup { vpc: vpc.clone() });
    let mut group = |name: &str| {
        b.add(
            name,
            SecurityGroup {
                vpc: vpc.clone(),
                name: format!("gantry-acme-{name}"),
                description: format!("{name} of acme"),
            },
        )
    };
    let (front, rails) = (group("front"), group("rails"));
    let rule = |peer: Peer, port: u16, why: &str| Rule {
        peer,
        protocol: Protocol::Tcp,
        from_port: port,
        to_port: port,
        why: why.into(),
    };
    b.add(
        "front",
        SecurityGroupRules {
            group: front.clone(),
            ingress: vec![
                rule(Peer::Cidr(anywhere()), 443, "HTTPS"),
                rule(
                    Peer::Cidr(anywhere()),
                    80,
                    wanted.pick("redirect", "redirect to HTTPS"),
                ),
            ],
            egress: vec![rule(Peer::Group(rails.clone()), 80, "to Rails")],
        },
    );
    let mut ingress = vec![
        rule(Peer::Group(front.clone()), 80, "from the front"),
        rule(Peer::Group(front.clone()), 8080, "from the front"),
    ];
    if wanted == Wanted::Changed {
        ingress.pop();
        ingress.push(rule(
            Peer::Cidr("10.20.0.0/16".parse().unwrap()),
            9168,
            "metrics",
        ));
    }
    b.add(
        "rails",
        SecurityGroupRules {
            group: rails.clone(),
            ingress,
            egress: vec![rule(Peer::Cidr(anywhere()), 443, "packages and AWS")],
        },
    );
    b.add(
        "s3",
        VpcEndpoint {
            vpc: vpc.clone(),
            service: "s3".into(),
            attach: EndpointKind::Gateway {
                route_tables: vec![routes],
            },
        },
    );
    b.add(
        "kms",
        VpcEndpoint {
            vpc: vpc.clone(),
            service: "kms".into(),
            attach: EndpointKind::Interface {
                subnets: wanted.pick(private.clone(), private[..1].to_vec()),
                groups: vec![rails.clone()],
            },
        },
    );
    Network {
        vpc,
        public,
        private,
        front,
        rails,
    }
}

fn data(b: &mut Blueprint, key: &Ref<Key>, stores: &Stores, network: &Network, wanted: Wanted) {
    let log = |name: &str| LogGroup {
        name: format!("/aws/rds/instance/{name}/postgresql"),
        retention_days: wanted.pick(30, 90),
    };
    b.add("main", log("gantry-acme-main"));
    let subnets = b.add(
        "main",
        rds::SubnetGroup {
            name: "gantry-acme".into(),
            description: "Databases of acme".into(),
            subnets: network.private.clone(),
        },
    );
    let parameters = b.add(
        "main",
        rds::ParameterGroup {
            name: "gantry-acme-postgres17".into(),
            family: "postgres17".into(),
            parameters: BTreeMap::from([
                ("rds.force_ssl".into(), "1".into()),
                ("max_connections".into(), wanted.pick("400", "500").into()),
            ]),
        },
    );
    let main = b.add(
        "main",
        DbInstance {
            identifier: "gantry-acme-main".into(),
            class: wanted.pick("db.m6g.large", "db.m6g.xlarge").into(),
            engine_version: "17".into(),
            database: "gitlabhq_production".into(),
            user: "gitlab".into(),
            password: stores.password.clone(),
            storage_gib: wanted.pick(400, 500),
            max_storage_gib: Some(1000),
            storage_type: "gp3".into(),
            iops: Some(12_000),
            throughput: Some(500),
            multi_az: true,
            subnet_group: subnets,
            parameter_group: ParameterGroupRef::Ours(parameters.clone()),
            groups: vec![network.rails.clone()],
            key: key.clone(),
            backup_days: wanted.pick(14, 21),
            backup_window: "01:00-02:00".into(),
            maintenance_window: "sun:04:00-sun:05:00".into(),
            protection: Protection::On,
            insights: true,
            log_exports: vec!["postgresql".into(), "upgrade".into()],
            logs: vec![],
        },
    );
    b.add(
        "main-1",
        DbReplica {
            identifier: "gantry-acme-main-1".into(),
            source: main,
            class: "db.m6g.large".into(),
            parameter_group: ParameterGroupRef::Ours(parameters),
            groups: vec![network.rails.clone()],
            key: key.clone(),
            max_storage_gib: Some(1000),
            maintenance_window: "sun:05:00-sun:06:00".into(),
            protection: Protection::On,
            insights: true,
            log_exports: vec!["postgresql".into()],
            logs: vec![],
        },
    );
    let subnets = b.add(
        "main",
        elasticache::SubnetGroup {
            name: "gantry-acme".into(),
            description: "Caches of acme".into(),
            subnets: network.private.clone(),
        },
    );
    let parameters = b.add(
        "main",
        elasticache::ParameterGroup {
            name: "gantry-acme-valkey7".into(),
            family: "valkey7".into(),
            parameters: BTreeMap::from([(
                "maxmemory-policy".into(),
                wanted.pick("noeviction", "allkeys-lru").into(),
            )]),
        },
    );
    b.add(
        "main",
        ReplicationGroup {
            id: "gantry-acme".into(),
            description: "The cache of acme".into(),
            node_type: wanted.pick("cache.m7g.large", "cache.m7g.xlarge").into(),
            engine_version: "7.2".into(),
            replicas: wanted.pick(1, 2),
            subnet_group: subnets,
            parameter_group: CacheParameterGroupRef::Ours(parameters),
            groups: vec![network.rails.clone()],
            key: key.clone(),
            token: stores.token.clone(),
            snapshot_days: wanted.pick(7, 3),
            snapshot_window: "01:00-02:00".into(),
            maintenance_window: "sun:04:00-sun:05:00".into(),
        },
    );
}

fn root(key: &Ref<Key>) -> RootVolume {
    RootVolume {
        size_gib: 50,
        iops: None,
        throughput: Some(250),
        key: key.clone(),
    }
}

fn node(
    b: &mut Blueprint,
    ground: &Ground,
    key: &Ref<Key>,
    profile: &Ref<InstanceProfile>,
    network: &Network,
    wanted: Wanted,
) -> Ref<Instance> {
    let volume = b.add(
        "gitaly-1",
        Volume {
            zone: format!("{REGION}a"),
            size_gib: wanted.pick(500, 600),
            volume_type: VolumeType::Gp3,
            iops: wanted.pick(8_000, 9_000),
            throughput: Some(500),
            key: key.clone(),
            role: "gitaly".into(),
            snapshots: wanted.pick(None, Some("acme".into())),
        },
    );
    let instance = b.add(
        "gitaly-1",
        Instance {
            subnet: network.private[0].clone(),
            image: ground.image.clone(),
            instance_type: wanted.pick("m5.xlarge", "m5.2xlarge").into(),
            profile: profile.clone(),
            groups: vec![network.rails.clone()],
            root: root(key),
            user_data: "#cloud-config\n# where the bundle is\n".into(),
            role: "gitaly".into(),
            protection: wanted.pick(Protection::On, Protection::Off),
        },
    );
    b.add(
        "gitaly-1",
        VolumeAttachment {
            volume,
            instance: instance.clone(),
            device: "/dev/sdf".into(),
        },
    );
    let address = b.add("bastion", ElasticIp {});
    b.add(
        "bastion",
        AddressAssociation {
            address,
            instance: instance.clone(),
        },
    );
    let mut role = Role {
        name: "gantry-acme-snapshots".into(),
        path: iam::path("acme"),
        service: "dlm.amazonaws.com".into(),
        grants: vec![],
    };
    role.grants.push(Grant {
        sid: "Snapshots".into(),
        actions: vec!["ec2:CreateSnapshots".into(), "ec2:DeleteSnapshot".into()],
        on: vec![iam::Target::Any],
        conditions: BTreeMap::new(),
    });
    let role = b.add("snapshots", role);
    b.add(
        "data",
        dlm::Policy {
            description: "Volumes of acme".into(),
            role,
            target_tags: BTreeMap::from([("gantry:site".into(), "acme".into())]),
            times: vec!["03:00".into()],
            every_hours: 24,
            retain: wanted.pick(7, 14),
        },
    );
    instance
}

/// Copies into a vault of another account. What is saved cannot be changed in place, so it stays as it is.
fn vault(b: &mut Blueprint, key: &Ref<Key>, stores: &Stores, wanted: Wanted) {
    let role = b.add(
        "backup",
        Role {
            name: "gantry-acme-backup".into(),
            path: iam::path("acme"),
            service: "backup.amazonaws.com".into(),
            grants: vec![],
        },
    );
    let name = || "gantry-acme-main".to_owned();
    let vault = b.add(
        "main",
        Vault {
            name: name(),
            key: key.clone(),
            role: role.clone(),
        },
    );
    let plan = b.add(
        "main",
        Plan {
            name: name(),
            vault,
            schedule: wanted
                .pick("cron(30 3 * * ? *)", "cron(0 5 ? * SUN *)")
                .into(),
            timezone: wanted.pick("UTC", "Europe/Berlin").into(),
            local_days: wanted.pick(7, 3),
            copy_to: "arn:aws:backup:eu-west-1:210987654321:backup-vault:acme".into(),
            keep_days: wanted.pick(35, 90),
        },
    );
    b.add(
        "main",
        Selection {
            name: name(),
            plan,
            role,
            resources: vec![Selected::Bucket(stores.uploads.clone())],
        },
    );
}

#[allow(
    clippy::too_many_arguments,
    reason = "the front holds on to everything made before"
)]
fn front(
    b: &mut Blueprint,
    ground: &Ground,
    stores: &Stores,
    network: &Network,
    topic: &Ref<Topic>,
    node: &Ref<Instance>,
    profile: &Ref<InstanceProfile>,
    key: &Ref<Key>,
    wanted: Wanted,
) {
    let certificate = b.add(
        "main",
        Certificate {
            domain: "gitlab.example.com".into(),
            alternative: vec!["registry.example.com".into()],
        },
    );
    for domain in ["gitlab.example.com", "registry.example.com"] {
        b.add(
            format!("validation-{domain}"),
            Record {
                zone_id: ground.hosted_zone.clone(),
                name: domain.into(),
                value: RecordValue::Validation {
                    certificate: certificate.clone(),
                    domain: domain.into(),
                },
            },
        );
    }
    let validated = b.add(
        "main",
        Validation {
            certificate: certificate.clone(),
            by_hand: vec![],
        },
    );
    let balancer = b.add(
        "front",
        LoadBalancer {
            name: "gantry-acme-front".into(),
            scheme: Scheme::Public,
            subnets: network.public.clone(),
            groups: vec![network.front.clone()],
            logs: Some(stores.logs.clone()),
            protection: Protection::On,
            cross_zone: wanted.pick(true, false),
        },
    );
    let mut targets = |name: &str, port: u16, health: Health| {
        b.add(
            name,
            TargetGroup {
                name: format!("gantry-acme-{name}"),
                vpc: network.vpc.clone(),
                port,
                health,
                proxy_protocol: true,
                preserve_client_ip: false,
                deregistration_seconds: wanted.pick(60, 120),
            },
        )
    };
    let path = wanted.pick("/-/readiness", "/-/liveness");
    let web = targets(
        "web",
        80,
        Health::Http {
            path: path.into(),
            port: Some(8060),
            success: "200-399".into(),
        },
    );
    let ssh = targets("ssh", 2222, Health::Tcp);
    b.add(
        "front-443",
        Listener {
            load_balancer: balancer.clone(),
            port: 443,
            protocol: ListenerProtocol::Tls {
                certificate: CertificateRef::Ours(validated),
                policy: wanted
                    .pick(
                        "ELBSecurityPolicy-TLS13-1-2-2021-06",
                        "ELBSecurityPolicy-TLS13-1-2-Res-2021-06",
                    )
                    .into(),
            },
            target: web.clone(),
        },
    );
    b.add(
        "front-22",
        Listener {
            load_balancer: balancer.clone(),
            port: 22,
            protocol: ListenerProtocol::Tcp,
            target: ssh.clone(),
        },
    );
    b.add(
        "gitaly-1",
        Target {
            group: ssh,
            instance: node.clone(),
            port: 2222,
        },
    );
    b.add(
        "alias-gitlab.example.com",
        Record {
            zone_id: ground.hosted_zone.clone(),
            name: "gitlab.example.com".into(),
            value: RecordValue::LoadBalancer(balancer.clone()),
        },
    );
    let template = b.add(
        "rails",
        LaunchTemplate {
            name: "gantry-acme-rails".into(),
            image: ground.image.clone(),
            instance_type: wanted.pick("c5.2xlarge", "c5.4xlarge").into(),
            profile: profile.clone(),
            groups: vec![network.rails.clone()],
            root: root(key),
            user_data: "#cloud-config\n".into(),
            role: "rails".into(),
        },
    );
    let group = b.add(
        "rails",
        Group {
            name: "gantry-acme-rails".into(),
            template,
            subnets: network.private.clone(),
            targets: vec![web],
            min: 2,
            desired: 2,
            max: wanted.pick(4, 6),
            grace_seconds: wanted.pick(600, 900),
            role: "rails".into(),
        },
    );
    let out = b.add(
        "rails-out",
        ScalingPolicy {
            group,
            name: "gantry-acme-rails-out".into(),
            adjustment: wanted.pick(1, 2),
            cooldown_seconds: 300,
        },
    );
    b.add(
        "front-unhealthy",
        Alarm {
            name: "gantry-acme-front-unhealthy".into(),
            description: "A node does not answer".into(),
            namespace: "AWS/NetworkELB".into(),
            metric: "UnHealthyHostCount".into(),
            statistic: "Maximum".into(),
            dimensions: vec![("LoadBalancer".into(), Dimension::LoadBalancer(balancer))],
            period_seconds: 60,
            periods: 5,
            threshold: wanted.pick(0.0, 1.0),
            comparison: Comparison::Above,
            missing: Missing::Breaching,
            actions: vec![AlarmAction::Notify(topic.clone()), AlarmAction::Scale(out)],
        },
    );
}
