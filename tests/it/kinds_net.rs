//! The kinds of the network and of security groups, each through its whole life on the strict cloud,
//! and what that cloud refuses.

use aws_sdk_ec2::types::{
    AttributeBooleanValue, FlowLogsResourceType, IpPermission, IpRange, LogDestinationType,
    ResourceType, Tag, TagSpecification, TrafficType, UserIdGroupPair, VpcEndpointType,
};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use gantry::cloud::Fault;
use gantry::kinds::ec2::{
    DefaultSecurityGroup, ElasticIp, EndpointKind, Exposure, InternetGateway, NatGateway, Peer,
    Protocol, Route, RouteTable, Rule, SecurityGroup, SecurityGroupRules, Subnet, Via, Vpc,
    VpcEndpoint,
};
use gantry::resource::{Change, Readiness, Ref, Resource, SITE_TAG};
use gantry::sandbox::Fate;

use crate::stage::{REGION, Stage, refused};

fn net(text: &str) -> ipnet::Ipv4Net {
    text.parse().unwrap()
}

fn subnet(vpc: &Ref<Vpc>, cidr: &str, zone: &str, exposure: Exposure) -> Subnet {
    Subnet {
        vpc: vpc.clone(),
        cidr: net(cidr),
        zone: format!("{REGION}{zone}"),
        exposure,
    }
}

fn group(vpc: &Ref<Vpc>, name: &str) -> SecurityGroup {
    SecurityGroup {
        vpc: vpc.clone(),
        name: format!("acme-{name}"),
        description: format!("The {name} nodes"),
    }
}

fn rule(peer: Peer, port: u16, why: &str) -> Rule {
    Rule {
        peer,
        protocol: Protocol::Tcp,
        from_port: port,
        to_port: port,
        why: why.into(),
    }
}

fn tag(key: &str, value: &str) -> Tag {
    Tag::builder().key(key).value(value).build()
}

fn permission(from: i32, to: i32, cidr: &str) -> IpPermission {
    IpPermission::builder()
        .ip_protocol("tcp")
        .from_port(from)
        .to_port(to)
        .ip_ranges(IpRange::builder().cidr_ip(cidr).build())
        .build()
}

/// The network of a small site with everything in it, for the tests that bend or break something.
struct Network {
    s: Stage,
    vpc: (Ref<Vpc>, String),
    door: (Ref<InternetGateway>, String),
    public: (Ref<Subnet>, String),
    private: (Ref<Subnet>, String),
    address: (Ref<ElasticIp>, String),
    nat: (Ref<NatGateway>, String),
}

async fn network() -> Network {
    let mut s = Stage::new();
    let vpc = s
        .make(
            "main",
            Vpc {
                cidr: net("10.20.0.0/16"),
            },
        )
        .await;
    let door = s.make("main", InternetGateway { vpc: vpc.0.clone() }).await;
    let public = subnet(&vpc.0, "10.20.0.0/24", "a", Exposure::Public);
    let public = s.make("public-a", public).await;
    let private = subnet(&vpc.0, "10.20.1.0/24", "a", Exposure::Private);
    let private = s.make("private-a", private).await;
    let address = s.make("nat-a", ElasticIp {}).await;
    let nat = NatGateway {
        subnet: public.0.clone(),
        address: address.0.clone(),
        internet: door.0.clone(),
    };
    let nat = s.make("a", nat).await;
    Network {
        s,
        vpc,
        door,
        public,
        private,
        address,
        nat,
    }
}

#[tokio::test(start_paused = true)]
async fn dns_that_was_switched_off_by_hand_comes_back() {
    let n = network().await;
    let vpc = Vpc {
        cidr: net("10.20.0.0/16"),
    };
    let off = AttributeBooleanValue::builder().value(false).build();
    let switch = || n.s.ec2().modify_vpc_attribute().vpc_id(&n.vpc.1);
    let names = switch().enable_dns_hostnames(off.clone());
    names.send().await.unwrap();
    let support = switch().enable_dns_support(off);
    support.send().await.unwrap();
    n.s.mend(&n.vpc.0, &n.vpc.1, &vpc, &["dns_support", "dns_hostnames"])
        .await;
}

#[tokio::test(start_paused = true)]
async fn the_network_is_made_mended_and_taken_down() {
    let mut n = network().await;
    let hand = n.s.ec2();
    let stray = tag("somebody", "else");

    // Each is as wanted right after it was made, and stays found after its tags were tampered with.
    let door = InternetGateway {
        vpc: n.vpc.0.clone(),
    };
    let public = subnet(&n.vpc.0, "10.20.0.0/24", "a", Exposure::Public);
    let nat = NatGateway {
        subnet: n.public.0.clone(),
        address: n.address.0.clone(),
        internet: n.door.0.clone(),
    };
    n.s.same(
        &n.vpc.0,
        &Vpc {
            cidr: net("10.20.0.0/16"),
        },
    )
    .await;
    n.s.same(&n.door.0, &door).await;
    n.s.same(&n.public.0, &public).await;
    n.s.same(&n.address.0, &ElasticIp {}).await;
    n.s.same(&n.nat.0, &nat).await;
    let everything = [&n.vpc.1, &n.door.1, &n.public.1, &n.address.1, &n.nat.1];
    for id in everything {
        let change = hand.create_tags().resources(id).tags(stray.clone());
        change.tags(tag("cost_center", "43")).send().await.unwrap();
    }
    let vpc = Vpc {
        cidr: net("10.20.0.0/16"),
    };
    n.s.mend(&n.vpc.0, &n.vpc.1, &vpc, &["tags"]).await;
    n.s.mend(&n.door.0, &n.door.1, &door, &["tags"]).await;
    n.s.mend(&n.address.0, &n.address.1, &ElasticIp {}, &["tags"])
        .await;
    n.s.mend(&n.nat.0, &n.nat.1, &nat, &["tags"]).await;
    let on = AttributeBooleanValue::builder().value(true).build();
    hand.modify_subnet_attribute()
        .subnet_id(&n.public.1)
        .map_public_ip_on_launch(on)
        .send()
        .await
        .unwrap();
    n.s.mend(
        &n.public.0,
        &n.public.1,
        &public,
        &["public_addresses", "tags"],
    )
    .await;

    // Routes and associations.
    let outside = RouteTable {
        vpc: n.vpc.0.clone(),
        routes: vec![Route {
            to: net("0.0.0.0/0"),
            via: Via::Internet(n.door.0.clone()),
        }],
        subnets: vec![n.public.0.clone()],
    };
    let inside = RouteTable {
        vpc: n.vpc.0.clone(),
        routes: vec![Route {
            to: net("0.0.0.0/0"),
            via: Via::Nat(n.nat.0.clone()),
        }],
        subnets: vec![n.private.0.clone()],
    };
    let out_table = n.s.make("public", outside.clone()).await;
    let in_table = n.s.make("private-a", inside.clone()).await;
    n.s.same(&out_table.0, &outside).await;
    n.s.same(&in_table.0, &inside).await;
    // Configured again from the start, as after a lost answer, it stays the same.
    let cx = n.s.apply(in_table.0.address());
    inside
        .configure(&in_table.1, Change::All, &cx)
        .await
        .unwrap();
    n.s.same(&in_table.0, &inside).await;
    // A route bent, one added, and the subnet moved to the other table.
    hand.replace_route()
        .route_table_id(&in_table.1)
        .destination_cidr_block("0.0.0.0/0")
        .gateway_id(&n.door.1)
        .send()
        .await
        .unwrap();
    hand.create_route()
        .route_table_id(&in_table.1)
        .destination_cidr_block("192.0.2.0/24")
        .nat_gateway_id(&n.nat.1)
        .send()
        .await
        .unwrap();
    let shown = hand.describe_route_tables().route_table_ids(&in_table.1);
    let shown = shown.send().await.unwrap();
    let held = shown.route_tables()[0].associations()[0]
        .route_table_association_id()
        .unwrap();
    hand.replace_route_table_association()
        .association_id(held)
        .route_table_id(&out_table.1)
        .send()
        .await
        .unwrap();
    n.s.mend(&in_table.0, &in_table.1, &inside, &["routes", "subnets"])
        .await;
    n.s.same(&out_table.0, &outside).await;

    // The endpoint puts a route into the tables, which the tables do not take for drift.
    let endpoint = VpcEndpoint {
        vpc: n.vpc.0.clone(),
        service: "s3".into(),
        attach: EndpointKind::Gateway {
            route_tables: vec![out_table.0.clone(), in_table.0.clone()],
        },
    };
    let s3 = n.s.make("s3", endpoint.clone()).await;
    n.s.same(&s3.0, &endpoint).await;
    n.s.same(&in_table.0, &inside).await;
    hand.modify_vpc_endpoint()
        .vpc_endpoint_id(&s3.1)
        .remove_route_table_ids(&in_table.1)
        .send()
        .await
        .unwrap();
    n.s.mend(&s3.0, &s3.1, &endpoint, &["route_tables"]).await;

    // Down again, in an order that has to wait: the address is free only after its gateway.
    assert!(matches!(
        ElasticIp::delete(&n.address.1, &n.s.cloud).await,
        Err(Fault::Later { .. })
    ));
    n.s.gone(&s3.0, &s3.1).await;
    n.s.gone(&in_table.0, &in_table.1).await;
    n.s.gone(&out_table.0, &out_table.1).await;
    NatGateway::delete(&n.nat.1, &n.s.cloud).await.unwrap();
    n.s.gone(&n.address.0, &n.address.1).await;
    n.s.gone(&n.nat.0, &n.nat.1).await;
    n.s.gone(&n.door.0, &n.door.1).await;
    n.s.gone(&n.private.0, &n.private.1).await;
    n.s.gone(&n.public.0, &n.public.1).await;
    n.s.gone(&n.vpc.0, &n.vpc.1).await;
    // Only the memory of the NAT gateway is left, for an hour.
    assert_eq!(n.s.left(), ["eu-west-1/ec2/nat_gateway"]);
    n.s.wait(3_700).await;
    assert!(n.s.left().is_empty());
}

#[tokio::test(start_paused = true)]
async fn groups_are_made_mended_and_taken_down() {
    let mut s = Stage::new();
    let vpc = s
        .make(
            "main",
            Vpc {
                cidr: net("10.20.0.0/16"),
            },
        )
        .await;
    let hand = s.ec2();

    let closed = DefaultSecurityGroup { vpc: vpc.0.clone() };
    let default = s.make("default", closed.clone()).await;
    s.same(&default.0, &closed).await;
    hand.authorize_security_group_ingress()
        .group_id(&default.1)
        .ip_permissions(permission(22, 22, "0.0.0.0/0"))
        .send()
        .await
        .unwrap();
    s.mend(&default.0, &default.1, &closed, &["ingress"]).await;

    let rails_spec = group(&vpc.0, "rails");
    let gitaly_spec = group(&vpc.0, "gitaly");
    let rails = s.make("rails", rails_spec.clone()).await;
    let gitaly = s.make("gitaly", gitaly_spec.clone()).await;
    s.same(&rails.0, &rails_spec).await;
    let shown = hand.describe_security_groups().group_ids(&rails.1);
    let shown = shown.send().await.unwrap();
    assert!(
        shown.security_groups()[0]
            .ip_permissions_egress()
            .is_empty()
    );

    // The two name each other, as real ones do.
    let to_rails = SecurityGroupRules {
        group: rails.0.clone(),
        ingress: vec![
            rule(
                Peer::Cidr(net("10.20.0.0/16")),
                80,
                "Web from the load balancer",
            ),
            rule(
                Peer::Group(gitaly.0.clone()),
                80,
                "Internal API from Gitaly",
            ),
        ],
        egress: vec![rule(Peer::Group(gitaly.0.clone()), 8075, "Git")],
    };
    let to_gitaly = SecurityGroupRules {
        group: gitaly.0.clone(),
        ingress: vec![rule(Peer::Group(rails.0.clone()), 8075, "Git from Rails")],
        egress: vec![rule(Peer::Group(rails.0.clone()), 80, "Internal API")],
    };
    let rails_rules = s.make("rails", to_rails.clone()).await;
    let gitaly_rules = s.make("gitaly", to_gitaly.clone()).await;
    s.same(&rails_rules.0, &to_rails).await;
    s.same(&gitaly_rules.0, &to_gitaly).await;
    s.same(&rails.0, &rails_spec).await;
    // Made again, as after a lost answer, it is the same set.
    s.start(&to_rails, rails_rules.0.address()).await.unwrap();
    s.same(&rails_rules.0, &to_rails).await;

    // One added by hand, one taken away, one reworded; and everything let out.
    hand.authorize_security_group_ingress()
        .group_id(&rails.1)
        .ip_permissions(permission(22, 22, "0.0.0.0/0"))
        .send()
        .await
        .unwrap();
    hand.revoke_security_group_ingress()
        .group_id(&rails.1)
        .ip_permissions(permission(80, 80, "10.20.0.0/16"))
        .send()
        .await
        .unwrap();
    let pair = UserIdGroupPair::builder()
        .group_id(&gitaly.1)
        .description("Changed by hand");
    let reworded = IpPermission::builder()
        .ip_protocol("tcp")
        .from_port(80)
        .to_port(80)
        .user_id_group_pairs(pair.build());
    hand.update_security_group_rule_descriptions_ingress()
        .group_id(&rails.1)
        .ip_permissions(reworded.build())
        .send()
        .await
        .unwrap();
    let everything = IpPermission::builder()
        .ip_protocol("-1")
        .ip_ranges(IpRange::builder().cidr_ip("0.0.0.0/0").build());
    hand.authorize_security_group_egress()
        .group_id(&rails.1)
        .ip_permissions(everything.build())
        .send()
        .await
        .unwrap();
    s.mend(&rails.0, &rails.1, &rails_spec, &["open_egress"])
        .await;
    s.mend(&rails_rules.0, &rails_rules.1, &to_rails, &["ingress"])
        .await;

    // Groups that name each other hold each other until the rules are gone.
    assert!(matches!(
        SecurityGroup::delete(&rails.1, &s.cloud).await,
        Err(Fault::Later { .. })
    ));
    s.gone(&rails_rules.0, &rails_rules.1).await;
    s.gone(&gitaly_rules.0, &gitaly_rules.1).await;
    s.gone(&rails.0, &rails.1).await;
    s.gone(&gitaly.0, &gitaly.1).await;
    s.gone(&default.0, &default.1).await;
    s.gone(&vpc.0, &vpc.1).await;
    // Rules and default group of a network that is gone are gone as well.
    SecurityGroupRules::delete(&rails.1, &s.cloud)
        .await
        .unwrap();
    DefaultSecurityGroup::delete(&default.1, &s.cloud)
        .await
        .unwrap();
    assert!(s.left().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_interface_endpoint_takes_its_time_and_holds_its_subnet_and_group() {
    let mut n = network().await;
    let web = n.s.make("endpoints", group(&n.vpc.0, "endpoints")).await;
    let spec = VpcEndpoint {
        vpc: n.vpc.0.clone(),
        service: "ssm".into(),
        attach: EndpointKind::Interface {
            subnets: vec![n.private.0.clone()],
            groups: vec![web.0.clone()],
        },
    };
    let ssm = n.s.make("ssm", spec.clone()).await;
    n.s.same(&ssm.0, &spec).await;
    let other = n.s.make("other", group(&n.vpc.0, "other")).await;
    n.s.ec2()
        .modify_vpc_endpoint()
        .vpc_endpoint_id(&ssm.1)
        .add_security_group_ids(&other.1)
        .private_dns_enabled(false)
        .send()
        .await
        .unwrap();
    n.s.mend(&ssm.0, &ssm.1, &spec, &["groups", "private_dns"])
        .await;

    VpcEndpoint::delete(&ssm.1, &n.s.cloud).await.unwrap();
    for held in [
        SecurityGroup::delete(&web.1, &n.s.cloud).await,
        Subnet::delete(&n.private.1, &n.s.cloud).await,
    ] {
        assert!(matches!(held, Err(Fault::Later { .. })), "{held:?}");
    }
    n.s.gone(&ssm.0, &ssm.1).await;
    n.s.gone(&web.0, &web.1).await;
    n.s.gone(&n.private.0, &n.private.1).await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_makes_nothing_twice() {
    let mut s = Stage::new();
    let vpc = s
        .make(
            "main",
            Vpc {
                cidr: net("10.20.0.0/16"),
            },
        )
        .await;
    let door = s.make("main", InternetGateway { vpc: vpc.0.clone() }).await;
    let place = subnet(&vpc.0, "10.20.0.0/24", "a", Exposure::Public);
    let place = s.make("public-a", place).await;
    let address = s.make("nat-a", ElasticIp {}).await;
    let nat = NatGateway {
        subnet: place.0.clone(),
        address: address.0.clone(),
        internet: door.0.clone(),
    };
    let table = RouteTable {
        vpc: vpc.0.clone(),
        routes: vec![],
        subnets: vec![],
    };
    let (nat_at, table_at) = (s.blueprint.add("a", nat.clone()), {
        s.blueprint.add("t", table.clone())
    });
    s.sandbox.faults(|f| {
        f.set(|call, _| match call {
            "ec2:CreateNatGateway" | "ec2:CreateRouteTable" => Fate::LostAfter,
            _ => Fate::Pass,
        });
    });
    let lost = [
        s.start(&nat, nat_at.address()).await,
        s.start(&table, table_at.address()).await,
    ];
    for one in lost {
        assert!(matches!(one, Err(Fault::Unknown { .. })), "{one:?}");
    }
    s.sandbox.faults(gantry::sandbox::Faults::clear);
    let again = s.start(&nat, nat_at.address()).await.unwrap();
    s.ready::<NatGateway>(&again).await;
    s.same(&nat_at, &nat).await;
    s.start(&table, table_at.address()).await.unwrap();
    s.same(&table_at, &table).await;
}

#[tokio::test(start_paused = true)]
async fn a_nat_gateway_without_a_way_out_fails() {
    let mut s = Stage::new();
    let vpc = s
        .make(
            "main",
            Vpc {
                cidr: net("10.20.0.0/16"),
            },
        )
        .await;
    let place = subnet(&vpc.0, "10.20.0.0/24", "a", Exposure::Public);
    let place = s.make("public-a", place).await;
    let address = s.make("nat-a", ElasticIp {}).await;
    // Wanted, but never attached.
    let internet = s
        .blueprint
        .add("main", InternetGateway { vpc: vpc.0.clone() });
    let nat = NatGateway {
        subnet: place.0.clone(),
        address: address.0.clone(),
        internet,
    };
    let at = s.blueprint.add("a", nat.clone());
    let id = s.start(&nat, at.address()).await.unwrap();
    s.wait(10).await;
    let polled = NatGateway::poll(&[id], &s.cloud).await.unwrap();
    let Readiness::Broken(why) = &polled[0] else {
        panic!("{polled:?}");
    };
    assert!(why.contains("Gateway.NotAttached"), "{why}");
    // It holds nothing.
    ElasticIp::delete(&address.1, &s.cloud).await.unwrap();
    Subnet::delete(&place.1, &s.cloud).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_cloud_refuses_bad_networks() {
    let n = network().await;
    let ec2 = n.s.ec2();
    let (vpc, zone_a) = (&n.vpc.1, format!("{REGION}a"));
    let cut = |cidr: &str, zone: &str| {
        let call = ec2.create_subnet().vpc_id(vpc).cidr_block(cidr);
        call.availability_zone(zone)
    };

    refused!(
        ec2.create_vpc().cidr_block("10.0.0.0/8"),
        "InvalidVpc.Range"
    );
    refused!(ec2.create_vpc().cidr_block("ten"), "InvalidParameterValue");
    refused!(cut("10.20.0.128/25", &zone_a), "InvalidSubnet.Conflict");
    refused!(cut("10.21.0.0/24", &zone_a), "InvalidSubnet.Range");
    refused!(cut("10.20.9.0/29", &zone_a), "InvalidSubnet.Range");
    refused!(cut("10.20.9.0/24", "eu-west-1z"), "InvalidParameterValue");
    refused!(cut("10.20.9.0/24", "us-east-1a"), "InvalidParameterValue");
    let unknown = ec2
        .create_subnet()
        .vpc_id("vpc-0")
        .cidr_block("10.0.0.0/24");
    refused!(unknown, "InvalidVpcID.NotFound");

    for _ in 0..4 {
        ec2.create_vpc()
            .cidr_block("10.9.0.0/16")
            .send()
            .await
            .unwrap();
        ec2.allocate_address().send().await.unwrap();
        ec2.create_internet_gateway().send().await.unwrap();
    }
    refused!(
        ec2.create_vpc().cidr_block("10.9.0.0/16"),
        "VpcLimitExceeded"
    );
    refused!(ec2.allocate_address(), "AddressLimitExceeded");
    refused!(
        ec2.create_internet_gateway(),
        "InternetGatewayLimitExceeded"
    );

    let second = ec2.create_nat_gateway().subnet_id(&n.private.1);
    refused!(
        second.allocation_id(&n.address.1),
        "Resource.AlreadyAssociated"
    );
    refused!(
        ec2.create_nat_gateway().subnet_id(&n.private.1),
        "MissingParameter"
    );
    let mismatch = ec2.create_nat_gateway().subnet_id(&n.private.1);
    refused!(
        mismatch.allocation_id(&n.address.1).client_token("a"),
        "IdempotentParameterMismatch"
    );
    refused!(
        ec2.release_address().allocation_id(&n.address.1),
        "InvalidIPAddress.InUse"
    );

    let attach = ec2.attach_internet_gateway().internet_gateway_id(&n.door.1);
    refused!(attach.vpc_id(vpc), "Resource.AlreadyAssociated");
    let detach = ec2.detach_internet_gateway().internet_gateway_id(&n.door.1);
    refused!(detach.vpc_id(vpc), "DependencyViolation");
    refused!(
        ec2.delete_internet_gateway().internet_gateway_id(&n.door.1),
        "DependencyViolation"
    );
    refused!(
        ec2.delete_subnet().subnet_id(&n.public.1),
        "DependencyViolation"
    );
    refused!(ec2.delete_vpc().vpc_id(vpc), "DependencyViolation");
    refused!(
        ec2.describe_subnets().subnet_ids("subnet-0"),
        "InvalidSubnetID.NotFound"
    );

    // Tags.
    let tagged = ec2.create_tags().resources(vpc);
    refused!(
        tagged.clone().tags(tag("aws:x", "1")),
        "InvalidParameterValue"
    );
    refused!(
        tagged.clone().tags(tag("x", &"y".repeat(257))),
        "InvalidParameterValue"
    );
    let many = (0..48).map(|i| tag(&format!("k{i}"), "v")).collect();
    refused!(tagged.set_tags(Some(many)), "TagLimitExceeded");
    let reserved = TagSpecification::builder()
        .resource_type(ResourceType::Subnet)
        .tags(tag("AWS:x", "1"));
    let reserved = cut("10.20.9.0/24", &zone_a).tag_specifications(reserved.build());
    refused!(reserved, "InvalidParameterValue");
    refused!(
        ec2.delete_tags()
            .resources("sg-0")
            .tags(tag(SITE_TAG, "acme")),
        "InvalidGroup.NotFound"
    );
}

#[tokio::test(start_paused = true)]
async fn the_cloud_refuses_bad_routes_endpoints_and_flow_logs() {
    let mut n = network().await;
    let ec2 = n.s.ec2();
    let spec = RouteTable {
        vpc: n.vpc.0.clone(),
        routes: vec![Route {
            to: net("0.0.0.0/0"),
            via: Via::Nat(n.nat.0.clone()),
        }],
        subnets: vec![n.private.0.clone()],
    };
    let (_, table) = n.s.make("private-a", spec).await;
    let other = ec2.create_vpc().cidr_block("10.9.0.0/16").send().await;
    let other = other.unwrap().vpc.unwrap().vpc_id.unwrap();
    let far = ec2
        .create_route_table()
        .vpc_id(&other)
        .send()
        .await
        .unwrap();
    let far = far.route_table.unwrap().route_table_id.unwrap();

    let route = || ec2.create_route().route_table_id(&table);
    let everywhere = route().destination_cidr_block("0.0.0.0/0");
    refused!(everywhere.nat_gateway_id(&n.nat.1), "RouteAlreadyExists");
    let local = route().destination_cidr_block("10.20.0.0/16");
    refused!(local.nat_gateway_id(&n.nat.1), "RouteAlreadyExists");
    let to = || route().destination_cidr_block("192.0.2.0/24");
    refused!(to().gateway_id("igw-0"), "InvalidGatewayID.NotFound");
    refused!(to().nat_gateway_id("nat-0"), "InvalidNatGatewayID.NotFound");
    let elsewhere = ec2.create_route().route_table_id(&far);
    let elsewhere = elsewhere.destination_cidr_block("0.0.0.0/0");
    refused!(elsewhere.gateway_id(&n.door.1), "InvalidParameterValue");
    let unknown = ec2.delete_route().route_table_id(&table);
    refused!(
        unknown.destination_cidr_block("192.0.2.0/24"),
        "InvalidRoute.NotFound"
    );

    let again = ec2.associate_route_table().route_table_id(&table);
    refused!(again.subnet_id(&n.private.1), "Resource.AlreadyAssociated");
    let wrong = ec2.associate_route_table().route_table_id(&far);
    refused!(wrong.subnet_id(&n.public.1), "InvalidParameterValue");
    refused!(
        ec2.delete_route_table().route_table_id(&table),
        "DependencyViolation"
    );
    refused!(
        ec2.disassociate_route_table().association_id("rtbassoc-0"),
        "InvalidAssociationID.NotFound"
    );
    refused!(ec2.delete_vpc().vpc_id(&other), "DependencyViolation");

    let endpoint = |service: &str| {
        let name = format!("com.amazonaws.{REGION}.{service}");
        ec2.create_vpc_endpoint()
            .vpc_id(&n.vpc.1)
            .service_name(name)
    };
    refused!(endpoint("gitlab"), "InvalidServiceName");
    refused!(endpoint("ssm").route_table_ids(&table), "InvalidParameter");
    refused!(endpoint("s3").route_table_ids(&far), "InvalidParameter");
    endpoint("s3").route_table_ids(&table).send().await.unwrap();
    refused!(endpoint("s3").route_table_ids(&table), "RouteAlreadyExists");
    let twice = endpoint("ssm").vpc_endpoint_type(VpcEndpointType::Interface);
    let twice = twice.subnet_ids(&n.private.1).subnet_ids(&n.public.1);
    refused!(twice, "DuplicateSubnetsInSameZone");
    let gone = ec2.delete_vpc_endpoints().vpc_endpoint_ids("vpce-0");
    let gone = gone.send().await.unwrap();
    assert_eq!(gone.unsuccessful().len(), 1);

    // A flow log that cannot be is told inside a good answer.
    let log = ec2
        .create_flow_logs()
        .resource_ids(&n.vpc.1)
        .resource_type(FlowLogsResourceType::Vpc)
        .traffic_type(TrafficType::All)
        .log_destination_type(LogDestinationType::S3)
        .log_destination("arn:aws:s3:::nobodys-bucket/flow/");
    let answer = log.send().await.unwrap();
    assert!(answer.flow_log_ids().is_empty());
    let error = answer.unsuccessful()[0].error().unwrap();
    assert!(error.message().unwrap().contains("nobodys-bucket"));
}

#[tokio::test(start_paused = true)]
async fn the_cloud_refuses_bad_groups() {
    let mut s = Stage::new();
    let vpc = s
        .make(
            "main",
            Vpc {
                cidr: net("10.20.0.0/16"),
            },
        )
        .await;
    let web = s.make("web", group(&vpc.0, "web")).await;
    let ec2 = s.ec2();
    let named = |name: &str, description: &str| {
        let call = ec2.create_security_group().vpc_id(&vpc.1);
        call.group_name(name).description(description)
    };
    refused!(named("acme-web", "again"), "InvalidGroup.Duplicate");
    refused!(named("sg-web", "x"), "InvalidParameterValue");
    refused!(named("default", "x"), "InvalidParameterValue");
    refused!(named("web", "not “plain”"), "InvalidParameterValue");
    refused!(named(&"x".repeat(256), "x"), "InvalidParameterValue");
    refused!(named("web", ""), "MissingParameter");
    let twin = group(&vpc.0, "web");
    let at = s.blueprint.add("twin", twin.clone());
    assert!(s.start(&twin, at.address()).await.unwrap_err().is_exists());

    let open = |permission: IpPermission| {
        let call = ec2.authorize_security_group_ingress().group_id(&web.1);
        call.ip_permissions(permission)
    };
    open(permission(80, 80, "10.0.0.0/8")).send().await.unwrap();
    refused!(
        open(permission(80, 80, "10.0.0.0/8")),
        "InvalidPermission.Duplicate"
    );
    refused!(
        open(permission(80, 79, "10.0.0.0/8")),
        "InvalidParameterValue"
    );
    refused!(
        open(permission(80, 70_000, "10.0.0.0/8")),
        "InvalidParameterValue"
    );
    refused!(
        open(permission(80, 80, "10.1.0.0/8")),
        "InvalidParameterValue"
    );
    let twice = open(permission(81, 81, "10.0.0.0/8"));
    refused!(
        twice.ip_permissions(permission(81, 81, "10.0.0.0/8")),
        "InvalidParameterValue"
    );
    let nobody = IpPermission::builder().ip_protocol("tcp").from_port(1);
    let nobody = nobody
        .to_port(1)
        .user_id_group_pairs(UserIdGroupPair::builder().group_id("sg-0").build());
    refused!(open(nobody.build()), "InvalidGroup.NotFound");
    let shut = ec2.revoke_security_group_ingress().group_id(&web.1);
    refused!(
        shut.ip_permissions(permission(1, 1, "10.0.0.0/8")),
        "InvalidPermission.NotFound"
    );
    let many = (1..=60).map(|p| permission(p, p, "192.0.2.0/24")).collect();
    let many = ec2
        .authorize_security_group_ingress()
        .group_id(&web.1)
        .set_ip_permissions(Some(many));
    refused!(many, "RulesPerSecurityGroupLimitExceeded");

    let listed = ec2.describe_security_groups().send().await.unwrap();
    let default = listed.security_groups().iter();
    let default = default.filter(|g| g.group_name() == Some("default"));
    let default: Vec<_> = default.collect();
    assert_eq!(default.len(), 1);
    let id = default[0].group_id().unwrap();
    assert_eq!(
        default[0].ip_permissions()[0].user_id_group_pairs()[0].group_id(),
        Some(id)
    );
    refused!(ec2.delete_security_group().group_id(id), "CannotDelete");
    refused!(
        ec2.delete_security_group().group_id("sg-0"),
        "InvalidGroup.NotFound"
    );
}

#[tokio::test(start_paused = true)]
async fn listings_come_in_pages() {
    let mut s = Stage::new();
    let vpc = s
        .make(
            "main",
            Vpc {
                cidr: net("10.20.0.0/16"),
            },
        )
        .await;
    for i in 0..5 {
        let name = format!("g{i}");
        s.make(&name, group(&vpc.0, &name)).await;
    }
    s.wait(2).await;
    let pages = s
        .ec2()
        .describe_security_groups()
        .max_results(5)
        .into_paginator()
        .send()
        .collect::<Result<Vec<_>, _>>()
        .await
        .unwrap();
    let sizes: Vec<usize> = pages.iter().map(|p| p.security_groups().len()).collect();
    assert_eq!(sizes, [5, 1]);
}
