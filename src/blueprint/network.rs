//! The site's network: one VPC, a public and a private subnet in each zone, and the ways in and out.

use ipnet::Ipv4Net;

use super::{Draft, carve};
use crate::kinds::ec2::{
    DefaultSecurityGroup, ElasticIp, EndpointKind, Exposure, FlowLog, InternetGateway, NatGateway,
    Route, RouteTable, SecurityGroup, Subnet, Via, Vpc, VpcEndpoint,
};
use crate::kinds::s3::Bucket;
use crate::resource::Ref;
use crate::site::Nat;

/// What the other parts stand on.
pub(super) struct Network {
    pub vpc: Ref<Vpc>,
    /// The way out, attached; whatever has a public address waits for it.
    pub internet: Ref<InternetGateway>,
    pub zones: Vec<Zone>,
    /// What the private subnets' traffic comes from, seen from the world.
    pub ways_out: Vec<Ref<ElasticIp>>,
}

/// One availability zone of the site.
pub(super) struct Zone {
    /// AWS's name for it, `eu-west-1a`.
    pub name: String,
    pub public: Ref<Subnet>,
    /// None on a single box, which has nothing to hide behind a NAT gateway.
    pub private: Option<Ref<Subnet>>,
}

impl Network {
    pub fn publics(&self) -> Vec<Ref<Subnet>> {
        self.zones.iter().map(|zone| zone.public.clone()).collect()
    }

    pub fn privates(&self) -> Vec<Ref<Subnet>> {
        self.zones
            .iter()
            .filter_map(|zone| zone.private.clone())
            .collect()
    }

    /// Where the nth node (from 0) of a role lives: round and round over the zones.
    pub fn zone(&self, nth: usize) -> Option<&Zone> {
        self.zones.get(nth.checked_rem(self.zones.len())?)
    }
}

impl Zone {
    /// Where its nodes live.
    pub fn nodes(&self) -> &Ref<Subnet> {
        self.private.as_ref().unwrap_or(&self.public)
    }
}

/// The AWS services that nodes call and that have interface endpoints: secrets, the site's key, the tags of their
/// own machine, Session Manager.
const NODES_CALL: [&str; 7] = [
    "ec2",
    "ec2messages",
    "kms",
    "secretsmanager",
    "ssm",
    "ssmmessages",
    "sts",
];

pub(super) fn add(draft: &mut Draft<'_>, logs: &Ref<Bucket>) -> Network {
    let vpc = draft.world.add(
        "main",
        Vpc {
            cidr: draft.site.network.cidr,
        },
    );
    draft
        .world
        .add("main", DefaultSecurityGroup { vpc: vpc.clone() });
    let internet = draft
        .world
        .add("main", InternetGateway { vpc: vpc.clone() });
    let zones = subnets(draft, &vpc);
    let mut network = Network {
        vpc,
        zones,
        ways_out: Vec::new(),
        internet: internet.clone(),
    };
    let tables = routes(draft, &mut network, &internet);
    // Always: Git and artifact traffic to S3 must not pay the toll of the NAT gateways.
    draft.world.add(
        "s3",
        VpcEndpoint {
            vpc: network.vpc.clone(),
            service: "s3".to_owned(),
            attach: EndpointKind::Gateway {
                route_tables: tables,
            },
        },
    );
    if draft.site.network.flow_logs {
        draft.world.add(
            "main",
            FlowLog {
                vpc: network.vpc.clone(),
                bucket: logs.clone(),
            },
        );
    }
    network
}

/// Private doors to the AWS APIs, for sites that ask for them.
pub(super) fn interface_endpoints(
    draft: &mut Draft<'_>,
    network: &Network,
    group: &Ref<SecurityGroup>,
) {
    let subnets: Vec<_> = network
        .zones
        .iter()
        .map(|zone| zone.nodes().clone())
        .collect();
    for service in NODES_CALL {
        draft.world.add(
            service,
            VpcEndpoint {
                vpc: network.vpc.clone(),
                service: service.to_owned(),
                attach: EndpointKind::Interface {
                    subnets: subnets.clone(),
                    groups: vec![group.clone()],
                },
            },
        );
    }
}

fn subnets(draft: &mut Draft<'_>, vpc: &Ref<Vpc>) -> Vec<Zone> {
    let hides_nodes = draft.sizes.single_box.is_none();
    let names = draft.facts.zones.clone();
    let carved = carve(draft.site.network.cidr, names.len());
    let mut zones = Vec::new();
    for (name, ranges) in names.into_iter().zip(carved) {
        let letter = letter(&name);
        let mut subnet = |word: &str, cidr: Ipv4Net, exposure: Exposure| {
            draft.world.add(
                format!("{word}-{letter}"),
                Subnet {
                    vpc: vpc.clone(),
                    cidr,
                    zone: name.clone(),
                    exposure,
                },
            )
        };
        let public = subnet("public", ranges.public, Exposure::Public);
        let private = hides_nodes.then(|| subnet("private", ranges.private, Exposure::Private));
        zones.push(Zone {
            name,
            public,
            private,
        });
    }
    zones
}

/// The tables of all subnets: one to the internet for the public ones, one through its NAT gateway for each private.
fn routes(
    draft: &mut Draft<'_>,
    network: &mut Network,
    internet: &Ref<InternetGateway>,
) -> Vec<Ref<RouteTable>> {
    let public = draft.world.add(
        "public",
        RouteTable {
            vpc: network.vpc.clone(),
            routes: vec![Route {
                to: Ipv4Net::default(),
                via: Via::Internet(internet.clone()),
            }],
            subnets: network.publics(),
        },
    );
    let mut tables = vec![public];
    let mut gateways: Vec<Ref<NatGateway>> = Vec::new();
    for zone in &network.zones {
        let Some(private) = &zone.private else {
            continue;
        };
        let letter = letter(&zone.name);
        let gateway = match gateways.first() {
            Some(first) if draft.site.network.nat == Nat::Single => first.clone(),
            _ => {
                let address = draft.world.add(format!("nat-{letter}"), ElasticIp {});
                network.ways_out.push(address.clone());
                let spec = NatGateway {
                    subnet: zone.public.clone(),
                    address,
                    internet: internet.clone(),
                };
                draft.world.add(letter.as_str(), spec)
            }
        };
        let table = RouteTable {
            vpc: network.vpc.clone(),
            routes: vec![Route {
                to: Ipv4Net::default(),
                via: Via::Nat(gateway.clone()),
            }],
            subnets: vec![private.clone()],
        };
        tables.push(draft.world.add(format!("private-{letter}"), table));
        gateways.push(gateway);
    }
    tables
}

/// The letter that tells a zone from its neighbours: `eu-west-1a` is `a`.
fn letter(zone: &str) -> String {
    zone.chars().last().map(String::from).unwrap_or_default()
}
