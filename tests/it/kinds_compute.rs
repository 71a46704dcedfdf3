//! Nodes, volumes, Auto Scaling groups and snapshot policies through their whole lives on the strict cloud,
//! and what that cloud refuses.

use std::collections::BTreeMap;

use aws_sdk_ec2::types::{
    AttributeBooleanValue, AttributeValue, EbsInstanceBlockDeviceSpecification, Filter,
    HttpTokensState, IamInstanceProfileSpecification, InstanceBlockDeviceMappingSpecification,
    InstanceSpecification, InstanceStateName, LocationType, RequestLaunchTemplateData,
    ResourceType, Tag, TagSpecification, VolumeType as SdkVolumeType,
};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use base64::Engine as _;
use gantry::cloud::Fault;
use gantry::kinds::Protection;
use gantry::kinds::ec2::{
    AddressAssociation, ElasticIp, Exposure, Instance, LaunchTemplate, RootVolume, SecurityGroup,
    Subnet, Volume, VolumeAttachment, VolumeType, Vpc,
};
use gantry::kinds::elb::{Health, TargetGroup};
use gantry::kinds::iam::{InstanceProfile, Role};
use gantry::kinds::kms::{Key, KeyUse};
use gantry::kinds::{autoscaling, dlm};
use gantry::resource::{ADDRESS_TAG, Readiness, Ref, Resource, SITE_TAG};
use gantry::sandbox::world::GLOBAL;
use serde_json::json;

use crate::stage::{REGION, Stage, refused};

/// What nodes stand on.
struct Ground {
    s: Stage,
    vpc: Ref<Vpc>,
    subnets: Vec<(Ref<Subnet>, String)>,
    group: (Ref<SecurityGroup>, String),
    key: Ref<Key>,
    role: Ref<Role>,
    profile: Ref<InstanceProfile>,
    image: String,
}

const PROFILE: &str = "gantry-acme-gitaly";

async fn ground() -> Ground {
    let mut s = Stage::new();
    let cidr = "10.20.0.0/16".parse().unwrap();
    let (vpc, _) = s.make("main", Vpc { cidr }).await;
    let mut subnets = Vec::new();
    for (n, zone) in ["a", "b"].into_iter().enumerate() {
        let spec = Subnet {
            vpc: vpc.clone(),
            cidr: format!("10.20.{n}.0/24").parse().unwrap(),
            zone: format!("{REGION}{zone}"),
            exposure: Exposure::Private,
        };
        subnets.push(s.make(&format!("private-{zone}"), spec).await);
    }
    let group = SecurityGroup {
        vpc: vpc.clone(),
        name: "acme-gitaly".into(),
        description: "The gitaly nodes".into(),
    };
    let group = s.make("gitaly", group).await;
    let key = Key {
        description: "acme".into(),
        used_for: KeyUse::Data,
        copied_into: None,
        rotation: true,
        pending_days: 7,
    };
    let (key, _) = s.make("site", key).await;
    let role = Role {
        name: PROFILE.into(),
        path: "/gantry/acme/".into(),
        service: "ec2.amazonaws.com".into(),
        grants: vec![],
    };
    let role = s.blueprint.add("gitaly", role);
    let profile = InstanceProfile {
        name: PROFILE.into(),
        path: "/gantry/acme/".into(),
        role: role.clone(),
    };
    let profile = s.blueprint.add("gitaly", profile);
    let image = newest_image(&s).await;
    let mut ground = Ground {
        s,
        vpc,
        subnets,
        group,
        key,
        role,
        profile,
        image,
    };
    ground.grant(PROFILE);
    ground.s.wait(60).await;
    ground
}

impl Ground {
    /// A role and a profile of this name, usable in a few seconds; the site's own nodes take this one.
    fn grant(&mut self, name: &str) {
        let now = self.s.sandbox.clock().now().as_millisecond();
        let arn = |what: &str| format!("arn:aws:iam::123456789012:{what}/gantry/acme/{name}");
        self.s.sandbox.change(|world| {
            let role = json!({"RoleName": name, "Arn": arn("role"), "_usableFrom": now + 6_000});
            world.insert(GLOBAL, "iam/role", name, role, now);
            let profile = json!({"InstanceProfileName": name, "Arn": arn("instance-profile"),
                "_role": name, "_usableFrom": now + 8_000});
            world.insert(GLOBAL, "iam/instance_profile", name, profile, now);
        });
        let output = |what: &str| json!({"name": name, "arn": arn(what)});
        let outputs = &mut self.s.outputs.0;
        outputs.insert(self.role.address().clone(), output("role"));
        outputs.insert(self.profile.address().clone(), output("instance-profile"));
    }

    fn root(&self) -> RootVolume {
        RootVolume {
            size_gib: 30,
            iops: None,
            throughput: None,
            key: self.key.clone(),
        }
    }

    fn node(&self) -> Instance {
        Instance {
            subnet: self.subnets[0].0.clone(),
            image: self.image.clone(),
            instance_type: "m5.xlarge".into(),
            profile: self.profile.clone(),
            groups: vec![self.group.0.clone()],
            root: self.root(),
            user_data: "#!/bin/sh\necho hello\n".into(),
            role: "gitaly".into(),
            protection: Protection::On,
        }
    }

    fn volume(&self) -> Volume {
        Volume {
            zone: format!("{REGION}a"),
            size_gib: 500,
            volume_type: VolumeType::Gp3,
            iops: 8_000,
            throughput: None,
            key: self.key.clone(),
            role: "gitaly".into(),
            snapshots: None,
        }
    }

    fn template(&self) -> LaunchTemplate {
        LaunchTemplate {
            name: "gantry-acme-rails".into(),
            image: self.image.clone(),
            instance_type: "c5.2xlarge".into(),
            profile: self.profile.clone(),
            groups: vec![self.group.0.clone()],
            root: self.root(),
            user_data: "#!/bin/sh\necho rails\n".into(),
            role: "rails".into(),
        }
    }

    fn scaled(
        &self,
        template: &Ref<LaunchTemplate>,
        targets: &[&Ref<TargetGroup>],
    ) -> autoscaling::Group {
        autoscaling::Group {
            name: "gantry-acme-rails".into(),
            template: template.clone(),
            subnets: self.subnets.iter().map(|(s, _)| s.clone()).collect(),
            targets: targets.iter().map(|t| (*t).clone()).collect(),
            min: 2,
            desired: 3,
            max: 4,
            grace_seconds: 900,
            role: "rails".into(),
        }
    }
}

async fn newest_image(s: &Stage) -> String {
    let named = Filter::builder()
        .name("name")
        .values("ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-*");
    let listed = s
        .ec2()
        .describe_images()
        .owners("099720109477")
        .filters(named.build())
        .send()
        .await
        .unwrap();
    let mut images = listed.images.unwrap();
    assert!(images.len() > 2);
    images.sort_by_key(|i| i.creation_date().unwrap().to_owned());
    let newest = images.pop().unwrap().image_id.unwrap();
    let name = "/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id";
    let ssm = &s.cloud.aws().ssm;
    let told = ssm.get_parameter().name(name).send().await.unwrap();
    assert_eq!(told.parameter().unwrap().value(), Some(newest.as_str()));
    newest
}

fn on(value: bool) -> AttributeBooleanValue {
    AttributeBooleanValue::builder().value(value).build()
}

#[tokio::test(start_paused = true)]
async fn a_node_is_made_mended_and_taken_down() {
    let mut g = ground().await;
    let hand = g.s.ec2();
    let spec = g.node();
    let (node, id) = g.s.make("gitaly-1", spec.clone()).await;
    g.s.same(&node, &spec).await;
    let output = g.s.outputs.of(&node).unwrap();
    assert_eq!(output.zone, "eu-west-1a");
    assert!(output.private_ip.starts_with("10.20.0."), "{output:?}");

    // What was asked for is there: encrypted root volume with the site's tags, IMDSv2, protection.
    let mine = Filter::builder().name("attachment.instance-id").values(&id);
    let volumes = hand.describe_volumes().filters(mine.build()).send().await;
    let volumes = volumes.unwrap().volumes.unwrap();
    assert_eq!(volumes.len(), 1);
    assert_eq!(volumes[0].encrypted(), Some(true));
    assert_eq!(volumes[0].size(), Some(30));
    let keys: Vec<&str> = volumes[0].tags().iter().filter_map(Tag::key).collect();
    assert!(
        keys.contains(&SITE_TAG) && !keys.contains(&ADDRESS_TAG),
        "{keys:?}"
    );
    refused!(
        hand.terminate_instances().instance_ids(&id),
        "OperationNotPermitted"
    );

    // Another image and other user data are no drift.
    let newer = Instance {
        image: "ami-00000000000000000".into(),
        user_data: "other".into(),
        ..spec.clone()
    };
    g.s.same(&node, &newer).await;

    // Drift of every kind.
    hand.modify_instance_metadata_options()
        .instance_id(&id)
        .http_tokens(HttpTokensState::Optional)
        .http_put_response_hop_limit(3)
        .send()
        .await
        .unwrap();
    hand.create_tags()
        .resources(&id)
        .tags(Tag::builder().key("stray").value("x").build())
        .send()
        .await
        .unwrap();
    let other = SecurityGroup {
        vpc: g.vpc.clone(),
        name: "acme-other".into(),
        description: "Another".into(),
    };
    let (_, other) = g.s.make("other", other).await;
    hand.modify_instance_attribute()
        .instance_id(&id)
        .groups(&other)
        .send()
        .await
        .unwrap();
    hand.modify_instance_attribute()
        .instance_id(&id)
        .disable_api_termination(on(false))
        .send()
        .await
        .unwrap();
    g.s.mend(
        &node,
        &id,
        &spec,
        &["groups", "metadata", "protection", "tags"],
    )
    .await;
    hand.stop_instances()
        .instance_ids(&id)
        .send()
        .await
        .unwrap();
    g.s.mend(&node, &id, &spec, &["running"]).await;

    // A larger type, a larger root volume and no protection: all in place.
    let larger = Instance {
        instance_type: "m5.2xlarge".into(),
        protection: Protection::Off,
        root: RootVolume {
            size_gib: 60,
            ..g.root()
        },
        ..spec.clone()
    };
    g.s.mend(
        &node,
        &id,
        &larger,
        &["instance_type", "protection", "tags", "root_size_gib"],
    )
    .await;
    let smaller = g.s.diff(&node, &spec).await;
    assert!(
        smaller.replaces(),
        "a root volume does not shrink: {smaller:?}"
    );
    let attribute = hand
        .describe_instance_attribute()
        .instance_id(&id)
        .attribute(aws_sdk_ec2::types::InstanceAttributeName::DisableApiTermination)
        .send()
        .await
        .unwrap();
    assert_eq!(
        attribute.disable_api_termination().unwrap().value(),
        Some(false)
    );

    // Another profile.
    g.grant("gantry-acme-other");
    g.s.wait(10).await;
    g.s.mend(&node, &id, &larger, &["profile"]).await;

    // Deleting switches protection off by itself; a terminated node stays listed and is not found.
    hand.modify_instance_attribute()
        .instance_id(&id)
        .disable_api_termination(on(true))
        .send()
        .await
        .unwrap();
    g.s.gone(&node, &id).await;
    let listed = hand
        .describe_instances()
        .instance_ids(&id)
        .send()
        .await
        .unwrap();
    let state = listed.reservations()[0].instances()[0].state().unwrap();
    assert_eq!(state.name(), Some(&InstanceStateName::Terminated));
    let left = hand.describe_volumes().send().await.unwrap();
    assert!(
        left.volumes().is_empty(),
        "the root volume goes with its node"
    );
    let left = hand.describe_network_interfaces().send().await.unwrap();
    assert!(left.network_interfaces().is_empty());
    g.s.wait(3_700).await;
    refused!(
        hand.describe_instances().instance_ids(&id),
        "InvalidInstanceID.NotFound"
    );
}

#[tokio::test(start_paused = true)]
async fn a_data_volume_outlives_its_node() {
    let mut g = ground().await;
    let hand = g.s.ec2();
    let spec = g.volume();
    let (volume, volume_id) = g.s.make("gitaly-1", spec.clone()).await;
    g.s.same(&volume, &spec).await;
    let (node, node_id) = g.s.make("gitaly-1", g.node()).await;
    let plug = VolumeAttachment {
        volume: volume.clone(),
        instance: node.clone(),
        device: "/dev/sdf".into(),
    };
    let (attachment, attachment_id) = g.s.make("gitaly-1", plug.clone()).await;
    g.s.same(&attachment, &plug).await;
    // Somebody has it go with its node.
    let goes = EbsInstanceBlockDeviceSpecification::builder()
        .delete_on_termination(true)
        .build();
    let mapping = InstanceBlockDeviceMappingSpecification::builder()
        .device_name("/dev/sdf")
        .ebs(goes)
        .build();
    let change = hand.modify_instance_attribute().instance_id(&node_id);
    let change = change.block_device_mappings(mapping);
    change.send().await.unwrap();
    g.s.mend(&attachment, &attachment_id, &plug, &["ends_with_instance"])
        .await;
    g.s.same(&volume, &spec).await;
    g.s.same(&node, &g.node()).await;
    let again = g.s.start(&plug, attachment.address()).await.unwrap_err();
    assert_eq!(again.code(), "VolumeInUse");
    refused!(hand.delete_volume().volume_id(&volume_id), "VolumeInUse");

    // Larger and faster in place; smaller only as another volume; not twice within six hours.
    let larger = Volume {
        size_gib: 900,
        iops: 9_000,
        throughput: Some(500),
        ..spec.clone()
    };
    g.s.mend(
        &volume,
        &volume_id,
        &larger,
        &["iops", "throughput", "size_gib"],
    )
    .await;
    assert!(g.s.diff(&volume, &spec).await.replaces());
    let resize = hand.modify_volume().volume_id(&volume_id).size(1_000);
    refused!(resize.clone(), "VolumeModificationRateExceeded");
    g.s.wait(6 * 3_600).await;
    resize.send().await.unwrap();
    let thousand = Volume {
        size_gib: 1_000,
        ..larger
    };
    g.s.same(&volume, &thousand).await;

    // All volumes of the node at one moment.
    let snapshots = hand
        .create_snapshots()
        .instance_specification(
            InstanceSpecification::builder()
                .instance_id(&node_id)
                .exclude_boot_volume(true)
                .build(),
        )
        .copy_tags_from_source(aws_sdk_ec2::types::CopyTagsFromSource::Volume)
        .send()
        .await
        .unwrap();
    let snapshot = snapshots.snapshots()[0].snapshot_id().unwrap().to_owned();
    assert_eq!(snapshots.snapshots().len(), 1);
    let restore = hand
        .create_volume()
        .availability_zone("eu-west-1b")
        .snapshot_id(&snapshot);
    refused!(restore.clone(), "IncorrectState");
    g.s.wait(300).await;
    restore.send().await.unwrap();
    hand.delete_snapshot()
        .snapshot_id(&snapshot)
        .send()
        .await
        .unwrap();
    refused!(
        hand.delete_snapshot().snapshot_id(&snapshot),
        "InvalidSnapshot.NotFound"
    );

    // Taking it out stops the node first.
    let fault = VolumeAttachment::delete(&attachment_id, &g.s.cloud)
        .await
        .unwrap_err();
    assert!(matches!(fault, Fault::Later { .. }), "{fault}");
    g.s.gone(&attachment, &attachment_id).await;
    g.s.mend(&node, &node_id, &g.node(), &["running"]).await;
    let (attachment, _) = g.s.make("gitaly-1-again", plug.clone()).await;
    assert_eq!(attachment.address().name(), "gitaly-1-again");

    // With the node gone the volume is free again.
    g.s.gone(&node, &node_id).await;
    let listed = hand
        .describe_volumes()
        .volume_ids(&volume_id)
        .send()
        .await
        .unwrap();
    assert_eq!(
        listed.volumes()[0].state(),
        Some(&aws_sdk_ec2::types::VolumeState::Available)
    );
    g.s.gone(&volume, &volume_id).await;
}

#[tokio::test(start_paused = true)]
async fn an_address_moves_from_node_to_node() {
    let mut g = ground().await;
    let (address, _) = g.s.make("bastion", ElasticIp {}).await;
    let (first, first_id) = g.s.make("bastion", g.node()).await;
    let spec = AddressAssociation {
        address: address.clone(),
        instance: first,
    };
    let (association, id) = g.s.make("bastion", spec.clone()).await;
    g.s.same(&association, &spec).await;

    let (second, second_id) = g.s.make("bastion-2", g.node()).await;
    let moved = AddressAssociation {
        address,
        instance: second,
    };
    let fault = g.s.start(&moved, association.address()).await.unwrap_err();
    assert_eq!(fault.code(), "Resource.AlreadyAssociated");
    g.s.mend(&association, &id, &moved, &["instance"]).await;
    let listed = g.s.ec2().describe_instances();
    let listed = listed.instance_ids(&first_id).instance_ids(&second_id);
    let listed = listed.send().await.unwrap();
    let public = listed
        .reservations()
        .iter()
        .flat_map(|r| r.instances())
        .filter(|i| i.public_ip_address().is_some());
    assert_eq!(public.count(), 1);
    g.s.gone(&association, &id).await;
}

#[tokio::test(start_paused = true)]
async fn a_group_keeps_its_nodes() {
    let mut g = ground().await;
    let hand = g.s.ec2();
    let template_spec = g.template();
    let (template, template_id) = g.s.make("rails", template_spec.clone()).await;
    g.s.same(&template, &template_spec).await;
    let mut targets = Vec::new();
    for name in ["web", "ssh"] {
        let target = TargetGroup {
            name: format!("gantry-acme-{name}"),
            vpc: g.vpc.clone(),
            port: 80,
            health: Health::Tcp,
            proxy_protocol: true,
            preserve_client_ip: false,
            deregistration_seconds: 60,
        };
        targets.push(g.s.make(name, target).await.0);
    }
    let spec = g.scaled(&template, &[&targets[0]]);
    let (group, id) = g.s.make("rails", spec.clone()).await;
    g.s.same(&group, &spec).await;
    let taken = g.s.start(&spec, group.address()).await.unwrap_err();
    assert!(taken.is_exists(), "{taken}");

    // Its nodes are spread, tagged, registered, and none of ours by address.
    let nodes = |g: &Ground| {
        let world = g.s.sandbox.world();
        let rows = world.rows(REGION, "ec2/instance");
        rows.filter(|(_, r)| r.v["instanceState"]["name"] == "running")
            .map(|(id, r)| (id.clone(), r.text("subnetId").to_owned(), r.tags.clone()))
            .collect::<Vec<_>>()
    };
    let there = nodes(&g);
    assert_eq!(there.len(), 3);
    let in_a = there.iter().filter(|n| n.1 == g.subnets[0].1).count();
    assert!((1..=2).contains(&in_a), "spread over both zones");
    for (_, _, tags) in &there {
        assert_eq!(tags.get(SITE_TAG).map(String::as_str), Some("acme"));
        assert_eq!(tags["aws:autoscaling:groupName"], "gantry-acme-rails");
        assert!(!tags.contains_key(ADDRESS_TAG), "{tags:?}");
    }
    assert!(Instance::survey(&g.s.cloud).await.unwrap().is_empty());
    assert!(Volume::survey(&g.s.cloud).await.unwrap().is_empty());
    let registered = |g: &Ground| {
        let world = g.s.sandbox.world();
        let mut rows: Vec<_> = world
            .rows(REGION, "elb/target_group")
            .map(|(_, r)| {
                let name = r.text("TargetGroupName").to_owned();
                (name, r.v["_targets"].as_array().map_or(0, Vec::len))
            })
            .collect();
        rows.sort();
        rows
    };
    let counts = |web, ssh| {
        vec![
            ("gantry-acme-ssh".to_owned(), ssh),
            ("gantry-acme-web".to_owned(), web),
        ]
    };
    assert_eq!(registered(&g), counts(3, 0));

    // A node that somebody ends is replaced.
    hand.terminate_instances()
        .instance_ids(&there[0].0)
        .send()
        .await
        .unwrap();
    g.s.seen(&group).await;
    g.s.wait(120).await;
    assert_eq!(nodes(&g).len(), 3);

    // Other bounds, another target group, other tags.
    let other = autoscaling::Group {
        min: 4,
        max: 6,
        grace_seconds: 600,
        targets: vec![targets[1].clone()],
        role: "web".into(),
        ..spec.clone()
    };
    g.s.put_right(
        &group,
        &id,
        &other,
        &["targets", "min", "max", "grace_seconds", "tags"],
    )
    .await;
    assert!(matches!(
        autoscaling::Group::poll(std::slice::from_ref(&id), &g.s.cloud)
            .await
            .unwrap()[0],
        Readiness::Pending(_)
    ));
    g.s.ready::<autoscaling::Group>(&id).await;
    g.s.same(&group, &other).await;
    assert_eq!(registered(&g), counts(0, 4));

    // A new version of the template is a matter of the template alone.
    let newer = LaunchTemplate {
        instance_type: "c5.4xlarge".into(),
        user_data: "#!/bin/sh\necho more\n".into(),
        root: RootVolume {
            size_gib: 40,
            iops: Some(4_000),
            throughput: Some(250),
            key: g.key.clone(),
        },
        ..template_spec.clone()
    };
    let fields = [
        "instance_type",
        "root_size_gib",
        "root_iops",
        "root_throughput",
        "user_data",
    ];
    g.s.mend(&template, &template_id, &newer, &fields).await;
    g.s.same(&group, &other).await;
    let found = g.s.seen(&template).await.unwrap();
    assert!(matches!(found.readiness, Readiness::Ready(o) if o.version == 2));
    // And another, and back to the version that had this already.
    for (kind, version) in [("c5.9xlarge", 3), ("c5.4xlarge", 2)] {
        let next = LaunchTemplate {
            instance_type: kind.into(),
            ..newer.clone()
        };
        g.s.mend(&template, &template_id, &next, &["instance_type"])
            .await;
        let found = g.s.seen(&template).await.unwrap();
        assert!(matches!(found.readiness, Readiness::Ready(o) if o.version == version));
    }

    // Policies.
    let out = autoscaling::ScalingPolicy {
        group: group.clone(),
        name: "gantry-acme-rails-out".into(),
        adjustment: 1,
        cooldown_seconds: 300,
    };
    let (policy, policy_id) = g.s.make("rails-out", out.clone()).await;
    g.s.same(&policy, &out).await;
    let more = autoscaling::ScalingPolicy {
        adjustment: 2,
        cooldown_seconds: 600,
        ..out
    };
    g.s.mend(
        &policy,
        &policy_id,
        &more,
        &["adjustment", "cooldown_seconds"],
    )
    .await;
    g.s.gone(&policy, &policy_id).await;

    // Deleting takes the nodes along; the name is free only afterwards.
    autoscaling::Group::delete(&id, &g.s.cloud).await.unwrap();
    let fault = g.s.start(&spec, group.address()).await.unwrap_err();
    assert!(matches!(fault, Fault::Later { .. }), "{fault}");
    g.s.gone(&group, &id).await;
    assert!(nodes(&g).is_empty());
    assert_eq!(registered(&g), counts(0, 0));
    g.s.gone(&template, &template_id).await;
}

#[tokio::test(start_paused = true)]
async fn groups_refuse_what_cannot_work() {
    let mut g = ground().await;
    let (template, _) = g.s.make("rails", g.template()).await;
    let scaling = g.s.cloud.aws().autoscaling.clone();
    let template_id = g.s.outputs.of(&template).unwrap().id;
    let call = |template: &str, subnet: &str, min, max| {
        let template = aws_sdk_autoscaling::types::LaunchTemplateSpecification::builder()
            .launch_template_id(template)
            .version("$Default")
            .build();
        scaling
            .create_auto_scaling_group()
            .auto_scaling_group_name("x")
            .launch_template(template)
            .vpc_zone_identifier(subnet)
            .min_size(min)
            .max_size(max)
    };
    let subnet = g.subnets[0].1.clone();
    refused!(
        call("lt-00000000000000000", &subnet, 1, 1),
        "ValidationError"
    );
    refused!(call(&template_id, "subnet-0", 1, 1), "ValidationError");
    refused!(call(&template_id, &subnet, 3, 2), "ValidationError");
    refused!(
        call(&template_id, &subnet, 1, 2).desired_capacity(3),
        "ValidationError"
    );
    refused!(
        call(&template_id, &subnet, 1, 2).target_group_arns("arn:aws:elasticloadbalancing:x"),
        "ValidationError"
    );
    call(&template_id, &subnet, 1, 1).send().await.unwrap();
    g.s.wait(60).await;
    refused!(
        scaling
            .delete_auto_scaling_group()
            .auto_scaling_group_name("x"),
        "ResourceInUse"
    );
    refused!(
        scaling
            .delete_auto_scaling_group()
            .auto_scaling_group_name("y"),
        "ValidationError"
    );

    // A profile that EC2 does not know yet is a matter of waiting.
    g.grant("gantry-acme-late");
    let late = LaunchTemplate {
        name: "gantry-acme-late".into(),
        ..g.template()
    };
    let (late, _) = g.s.make("late", late).await;
    let group = autoscaling::Group {
        name: "gantry-acme-late".into(),
        ..g.scaled(&late, &[])
    };
    let to = g.s.blueprint.add("late", group.clone());
    let fault = g.s.start(&group, to.address()).await.unwrap_err();
    assert!(matches!(fault, Fault::Later { .. }), "{fault}");
    g.s.wait(8).await;
    g.s.start(&group, to.address()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn launches_are_refused_as_aws_does() {
    let mut g = ground().await;
    let hand = g.s.ec2();
    let (subnet, image) = (g.subnets[0].1.clone(), g.image.clone());
    let run = |kind: &str| {
        hand.run_instances()
            .min_count(1)
            .max_count(1)
            .image_id(&image)
            .instance_type(kind.into())
            .subnet_id(&subnet)
    };
    refused!(
        run("c5.large").image_id("ami-00000000000000000"),
        "InvalidAMIID.NotFound"
    );
    refused!(run("c5.8xlarge"), "InvalidParameterValue");
    refused!(
        run("c5.large").subnet_id("subnet-0"),
        "InvalidSubnetID.NotFound"
    );
    refused!(
        run("c5.large").security_group_ids("sg-0"),
        "InvalidGroup.NotFound"
    );
    let profile = IamInstanceProfileSpecification::builder()
        .name("nobody")
        .build();
    refused!(
        run("c5.large").iam_instance_profile(profile),
        "InvalidParameterValue"
    );
    let long = base64::engine::general_purpose::STANDARD.encode([b'x'; 16_385]);
    refused!(run("c5.large").user_data(long), "InvalidParameterValue");
    g.s.sandbox.change(|world| {
        world.quotas.insert("offered:c5.large:eu-west-1a".into(), 0);
        world.quotas.insert("vcpus".into(), 20);
    });
    refused!(run("c5.large"), "Unsupported");
    refused!(run("m5.8xlarge"), "VcpuLimitExceeded");

    // One token, one instance.
    let once = run("m5.xlarge").client_token("one");
    let first = once.clone().send().await.unwrap();
    let second = once.clone().send().await.unwrap();
    let id = first.instances()[0].instance_id().unwrap().to_owned();
    assert_eq!(second.instances()[0].instance_id(), Some(id.as_str()));
    refused!(
        run("m5.2xlarge").client_token("one"),
        "IdempotentParameterMismatch"
    );
    refused!(
        hand.modify_instance_attribute()
            .instance_id(&id)
            .instance_type(AttributeValue::builder().value("m5.2xlarge").build()),
        "IncorrectInstanceState"
    );
    refused!(
        hand.stop_instances().instance_ids(&id),
        "IncorrectInstanceState"
    );
    hand.terminate_instances()
        .instance_ids(&id)
        .send()
        .await
        .unwrap();
    g.s.wait(60).await;
    refused!(once, "IdempotentInstanceTerminated");

    // A profile that is new is a matter of waiting.
    g.grant("gantry-acme-new");
    let spec = g.node();
    let to = g.s.blueprint.add("new", spec.clone());
    let fault = g.s.start(&spec, to.address()).await.unwrap_err();
    assert!(matches!(fault, Fault::Later { .. }), "{fault}");
    g.s.wait(8).await;
    let id = g.s.start(&spec, to.address()).await.unwrap();
    assert_eq!(
        g.s.start(&spec, to.address()).await.unwrap(),
        id,
        "the same token"
    );
    g.s.ready::<Instance>(&id).await;

    // A key that cannot be used shows only after the launch.
    g.s.sandbox.change(|world| {
        for row in world.table(REGION, "kms/key").values_mut() {
            row.set("Enabled", false);
            row.set("KeyState", "Disabled");
        }
    });
    let keyless = g.s.blueprint.add("keyless", spec.clone());
    let id = g.s.start(&spec, keyless.address()).await.unwrap();
    g.s.wait(60).await;
    let polled = Instance::poll(std::slice::from_ref(&id), &g.s.cloud)
        .await
        .unwrap();
    assert!(
        matches!(&polled[0], Readiness::Broken(why) if why.contains("disabled")),
        "{polled:?}"
    );
    let volume = g.volume();
    let to = g.s.blueprint.add("keyless", volume.clone());
    let id = g.s.start(&volume, to.address()).await.unwrap();
    g.s.wait(60).await;
    let polled = Volume::poll(&[id], &g.s.cloud).await.unwrap();
    assert!(matches!(polled[0], Readiness::Broken(_)), "{polled:?}");
}

#[tokio::test(start_paused = true)]
async fn volumes_and_templates_are_refused_as_aws_does() {
    let mut g = ground().await;
    let hand = g.s.ec2();
    let make = |size, kind: SdkVolumeType| {
        hand.create_volume()
            .availability_zone("eu-west-1b")
            .size(size)
            .volume_type(kind)
    };
    refused!(
        make(10, SdkVolumeType::Gp3).availability_zone("eu-west-1f"),
        "InvalidParameterValue"
    );
    refused!(
        make(10, SdkVolumeType::Gp3).iops(2_000),
        "InvalidParameterValue"
    );
    refused!(
        make(10, SdkVolumeType::Gp3).iops(6_000),
        "InvalidParameterValue"
    );
    refused!(
        make(10, SdkVolumeType::Gp3).throughput(1_000),
        "InvalidParameterValue"
    );
    refused!(make(10, SdkVolumeType::Io2), "MissingParameter");
    refused!(
        make(10, SdkVolumeType::Io2).iops(500).throughput(200),
        "InvalidParameterCombination"
    );
    refused!(
        make(10, SdkVolumeType::Gp3).kms_key_id("alias/aws/ebs"),
        "InvalidParameterDependency"
    );

    // The other zone, and a node that does not run yet.
    let elsewhere = make(10, SdkVolumeType::Gp3).send().await.unwrap();
    let elsewhere = elsewhere.volume_id().unwrap().to_owned();
    let spec = g.node();
    let to = g.s.blueprint.add("gitaly-1", spec.clone());
    let node = g.s.start(&spec, to.address()).await.unwrap();
    g.s.wait(10).await;
    let attach = hand
        .attach_volume()
        .volume_id(&elsewhere)
        .instance_id(&node)
        .device("/dev/sdf");
    refused!(attach.clone(), "IncorrectState");
    g.s.ready::<Instance>(&node).await;
    refused!(attach, "InvalidVolume.ZoneMismatch");
    refused!(hand.detach_volume().volume_id(&elsewhere), "IncorrectState");

    let template = |name: &str| {
        let data = RequestLaunchTemplateData::builder()
            .image_id("ami-1")
            .build();
        hand.create_launch_template()
            .launch_template_name(name)
            .launch_template_data(data)
    };
    refused!(
        template("a b"),
        "InvalidLaunchTemplateName.MalformedException"
    );
    template("twice").send().await.unwrap();
    let tags = TagSpecification::builder().resource_type(ResourceType::LaunchTemplate);
    refused!(
        template("twice").tag_specifications(tags.build()),
        "InvalidLaunchTemplateName.AlreadyExistsException"
    );
}

#[tokio::test(start_paused = true)]
async fn the_catalogue_answers() {
    let s = Stage::new();
    let hand = s.ec2();
    let zones = hand.describe_availability_zones().send().await.unwrap();
    let names: Vec<_> = zones
        .availability_zones()
        .iter()
        .filter_map(|z| z.zone_name())
        .collect();
    assert_eq!(names, ["eu-west-1a", "eu-west-1b", "eu-west-1c"]);
    let types = hand
        .describe_instance_types()
        .instance_types("c5.9xlarge".into())
        .instance_types("t3.small".into())
        .send()
        .await
        .unwrap();
    let sizes: Vec<_> = types
        .instance_types()
        .iter()
        .map(|t| {
            let processors = t.v_cpu_info().unwrap().default_v_cpus().unwrap();
            (processors, t.memory_info().unwrap().size_in_mib().unwrap())
        })
        .collect();
    assert_eq!(sizes, [(36, 73_728), (2, 2_048)]);
    refused!(
        hand.describe_instance_types()
            .instance_types("c5.tiny".into()),
        "InvalidInstanceType"
    );
    let offered = hand
        .describe_instance_type_offerings()
        .location_type(LocationType::AvailabilityZone)
        .filters(
            Filter::builder()
                .name("instance-type")
                .values("m5.16xlarge")
                .build(),
        )
        .send()
        .await
        .unwrap();
    assert_eq!(offered.instance_type_offerings().len(), 3);
    let gitlab = hand
        .describe_images()
        .owners("782774275127")
        .filters(
            Filter::builder()
                .name("name")
                .values("GitLab EE 19.5.3")
                .build(),
        )
        .send()
        .await
        .unwrap();
    assert_eq!(gitlab.images().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_policy_is_made_mended_and_taken_down() {
    let mut g = ground().await;
    let spec = dlm::Policy {
        description: "Volumes of acme".into(),
        role: g.role.clone(),
        target_tags: BTreeMap::from([("gantry:site".to_owned(), "acme".to_owned())]),
        times: vec!["03:00".into()],
        every_hours: 24,
        retain: 7,
    };
    let (policy, id) = g.s.make("volumes", spec.clone()).await;
    g.s.same(&policy, &spec).await;
    let more = dlm::Policy {
        every_hours: 12,
        retain: 14,
        ..spec.clone()
    };
    g.s.mend(&policy, &id, &more, &["every_hours", "retain"])
        .await;
    let hand = g.s.cloud.aws().dlm.clone();
    let arn = format!("arn:aws:dlm:{REGION}:123456789012:policy/{id}");
    hand.tag_resource()
        .resource_arn(&arn)
        .tags("stray", "x")
        .tags("Name", "y")
        .send()
        .await
        .unwrap();
    hand.update_lifecycle_policy()
        .policy_id(&id)
        .state(aws_sdk_dlm::types::SettablePolicyStateValues::Disabled)
        .send()
        .await
        .unwrap();
    g.s.mend(&policy, &id, &more, &["enabled", "tags"]).await;
    let never = dlm::Policy {
        every_hours: 5,
        ..spec
    };
    let to = g.s.blueprint.add("never", never.clone());
    let fault = g.s.start(&never, to.address()).await.unwrap_err();
    assert_eq!(fault.code(), "InvalidRequestException");
    g.s.gone(&policy, &id).await;
}
