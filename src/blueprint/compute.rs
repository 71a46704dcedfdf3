//! The machines: Rails in an Auto Scaling group, every other role as fixed nodes spread over the zones.

use std::collections::BTreeMap;

use super::edge::{Front, PraefectFront};
use super::identity::Profiles;
use super::network::Network;
use super::security::{Group, Groups, PRAEFECT_PORT};
use super::{Draft, Role, protection};
use crate::boot::{self, Birth};
use crate::kinds::Protection;
use crate::kinds::autoscaling::{self, ScalingPolicy};
use crate::kinds::ec2::{
    AddressAssociation, ElasticIp, Instance, LaunchTemplate, RootVolume, Volume, VolumeAttachment,
    VolumeType,
};
use crate::kinds::elb::Target;
use crate::kinds::iam::InstanceProfile;
use crate::kinds::kms::Key;
use crate::profile::{DataNodeGroup, InstanceType, NodeGroup, RailsGroup, Volume as Disk};
use crate::resource::Ref;

/// What a data volume is called in the API; the node sees an NVMe device with the volume's id for its serial number.
const DATA_DEVICE: &str = "/dev/sdf";

/// A Rails node installs the package and configures itself before it answers. The walkthrough's 300 seconds are for
/// an image with GitLab in it.
const GRACE_SECONDS: u32 = 900;

/// No second step before the node of the first can have taken over load.
const COOLDOWN_SECONDS: u32 = 600;

/// The machines, for what looks after them.
#[derive(Default)]
pub(super) struct Machines {
    /// Fixed nodes by name: `sidekiq-1`, `bastion`, `box`.
    pub instances: BTreeMap<String, Ref<Instance>>,
    /// The volumes with Git data, or with all of the box's.
    pub volumes: Vec<Ref<Volume>>,
    pub rails: Option<Rails>,
    /// The Elastic IP of the box.
    pub address: Option<Ref<ElasticIp>>,
}

pub(super) struct Rails {
    pub group: Ref<autoscaling::Group>,
    pub out: Ref<ScalingPolicy>,
    pub back: Ref<ScalingPolicy>,
}

/// What machines stand on.
pub(super) struct Ground<'a> {
    pub network: &'a Network,
    pub groups: &'a Groups,
    pub profiles: &'a Profiles,
    pub key: &'a Ref<Key>,
    pub front: Option<&'a Front>,
    pub praefect: Option<&'a PraefectFront>,
}

pub(super) fn add(draft: &mut Draft<'_>, ground: &Ground<'_>) -> Machines {
    let sizes = draft.sizes;
    let mut workshop = Workshop {
        draft,
        network: ground.network,
        groups: ground.groups,
        profiles: ground.profiles,
        key: ground.key,
        made: Machines::default(),
    };
    if let Some(rails) = &sizes.rails {
        workshop.rails(rails, ground.front);
    }
    if let Some(group) = &sizes.sidekiq {
        workshop.fixed(Role::Sidekiq, group);
    }
    if let Some(group) = &sizes.gitaly {
        workshop.gitaly(group);
    }
    if let Some(group) = &sizes.praefect {
        for (name, instance) in workshop.fixed(Role::Praefect, group) {
            if let Some(front) = ground.praefect {
                workshop.target(&name, &front.target, &instance, PRAEFECT_PORT);
            }
        }
    }
    if let Some(group) = &sizes.monitoring {
        workshop.fixed(Role::Monitoring, group);
    }
    if let Some(group) = &sizes.bastion {
        workshop.bastion(group);
    }
    if let Some(node) = &sizes.single_box {
        workshop.single_box(node, ground.front);
    }
    workshop.made
}

struct Workshop<'d, 's> {
    draft: &'d mut Draft<'s>,
    network: &'d Network,
    groups: &'d Groups,
    profiles: &'d Profiles,
    key: &'d Ref<Key>,
    made: Machines,
}

/// One machine to be.
struct Machine<'a> {
    role: Role,
    group: Group,
    /// The zone, by its place in the list.
    place: usize,
    public: bool,
    instance_type: &'a InstanceType,
    root: &'a Disk,
    protection: Protection,
}

impl Workshop<'_, '_> {
    /// Fixed nodes of a role: `sidekiq-1`, `sidekiq-2`, …, one zone after the other.
    fn fixed(&mut self, role: Role, group: &NodeGroup) -> Vec<(String, Ref<Instance>)> {
        (1..=group.count)
            .zip(0..)
            .filter_map(|(number, place)| {
                let name = format!("{}-{number}", role.as_str());
                let machine = Machine {
                    role,
                    group: role.group(),
                    place,
                    public: false,
                    instance_type: &group.instance_type,
                    root: &group.root,
                    protection: Protection::Off,
                };
                let instance = self.machine(&name, &machine)?;
                Some((name, instance))
            })
            .collect()
    }

    /// Gitaly nodes, each with its data on a volume that outlives it.
    fn gitaly(&mut self, group: &DataNodeGroup) {
        for (number, place) in (1..=group.count).zip(0..) {
            let name = format!("gitaly-{number}");
            let machine = Machine {
                role: Role::Gitaly,
                group: Group::Gitaly,
                place,
                public: false,
                instance_type: &group.instance_type,
                root: &group.root,
                protection: protection(self.draft.site),
            };
            if let Some(instance) = self.machine(&name, &machine) {
                self.data_volume(&name, &machine, &group.data, &instance);
            }
        }
    }

    /// Alone in the public subnet of the first zone, with an address that stays.
    fn bastion(&mut self, group: &NodeGroup) {
        let machine = Machine {
            role: Role::Bastion,
            group: Group::Bastion,
            place: 0,
            public: true,
            instance_type: &group.instance_type,
            root: &group.root,
            protection: Protection::Off,
        };
        if let Some(instance) = self.machine("bastion", &machine) {
            self.address("bastion", &instance);
        }
    }

    fn single_box(&mut self, node: &crate::profile::BoxNode, front: Option<&Front>) {
        let machine = Machine {
            role: Role::Box,
            group: Group::Box,
            place: 0,
            public: true,
            instance_type: &node.instance_type,
            root: &node.root,
            protection: protection(self.draft.site),
        };
        let Some(instance) = self.machine("box", &machine) else {
            return;
        };
        self.data_volume("box", &machine, &node.data, &instance);
        self.made.address = Some(self.address("box", &instance));
        for (part, group, port) in front.into_iter().flat_map(|front| &front.targets) {
            self.target(&format!("box-{part}"), group, &instance, *port);
        }
    }

    fn machine(&mut self, name: &str, machine: &Machine<'_>) -> Option<Ref<Instance>> {
        let zone = self.network.zone(machine.place)?;
        let subnet = if machine.public {
            &zone.public
        } else {
            zone.nodes()
        };
        let spec = Instance {
            subnet: subnet.clone(),
            image: self.draft.facts.image(machine.instance_type),
            instance_type: machine.instance_type.to_string(),
            profile: self.profile(machine.role)?,
            groups: self.groups.of(machine.group),
            root: self.root(machine.root),
            user_data: self.draft.user_data(machine.role, name),
            role: machine.role.as_str().to_owned(),
            protection: machine.protection,
        };
        let instance = self.draft.world.add(name, spec);
        self.made
            .instances
            .insert(name.to_owned(), instance.clone());
        Some(instance)
    }

    fn profile(&self, role: Role) -> Option<Ref<InstanceProfile>> {
        self.profiles.get(role).cloned()
    }

    fn root(&self, disk: &Disk) -> RootVolume {
        RootVolume {
            size_gib: disk.gib,
            iops: Some(disk.iops),
            throughput: Some(disk.throughput),
            key: self.key.clone(),
        }
    }

    fn data_volume(
        &mut self,
        name: &str,
        machine: &Machine<'_>,
        disk: &Disk,
        instance: &Ref<Instance>,
    ) {
        let Some(zone) = self.network.zone(machine.place) else {
            return;
        };
        let spec = Volume {
            zone: zone.name.clone(),
            size_gib: disk.gib,
            volume_type: VolumeType::Gp3,
            iops: disk.iops,
            throughput: Some(disk.throughput),
            key: self.key.clone(),
            role: machine.role.as_str().to_owned(),
            snapshots: self.draft.snapshots(),
        };
        let volume = self.draft.world.add(name, spec);
        self.made.volumes.push(volume.clone());
        let spec = VolumeAttachment {
            volume,
            instance: instance.clone(),
            device: DATA_DEVICE.to_owned(),
        };
        self.draft.world.add(name, spec);
    }

    fn address(&mut self, name: &str, instance: &Ref<Instance>) -> Ref<ElasticIp> {
        let address = self.draft.world.add(name, ElasticIp {});
        let spec = AddressAssociation {
            address: address.clone(),
            instance: instance.clone(),
        };
        let association = self.draft.world.add(name, spec);
        self.draft.world.after(&association, &self.network.internet);
        address
    }

    fn target(
        &mut self,
        name: &str,
        group: &Ref<crate::kinds::elb::TargetGroup>,
        instance: &Ref<Instance>,
        port: u16,
    ) {
        let spec = Target {
            group: group.clone(),
            instance: instance.clone(),
            port,
        };
        self.draft.world.add(name, spec);
    }

    fn rails(&mut self, rails: &RailsGroup, front: Option<&Front>) {
        let Some(profile) = self.profile(Role::Rails) else {
            return;
        };
        let spec = LaunchTemplate {
            name: self.draft.names.launch_template("rails"),
            image: self.draft.facts.image(&rails.instance_type),
            instance_type: rails.instance_type.to_string(),
            profile,
            groups: self.groups.of(Group::Rails),
            root: self.root(&rails.root),
            user_data: self.draft.user_data(Role::Rails, "rails"),
            role: Role::Rails.as_str().to_owned(),
        };
        let template = self.draft.world.add("rails", spec);
        let spec = autoscaling::Group {
            name: self.draft.names.auto_scaling_group("rails"),
            template,
            subnets: self.network.privates(),
            targets: front
                .into_iter()
                .flat_map(|front| front.targets.iter().map(|(_, group, _)| group.clone()))
                .collect(),
            min: rails.min,
            desired: rails.desired,
            max: rails.max,
            grace_seconds: GRACE_SECONDS,
            role: Role::Rails.as_str().to_owned(),
        };
        let group = self.draft.world.add("rails", spec);
        let mut policy = |part: &str, adjustment: i32| {
            let spec = ScalingPolicy {
                group: group.clone(),
                name: self.draft.names.scaling_policy(part),
                adjustment,
                cooldown_seconds: COOLDOWN_SECONDS,
            };
            self.draft.world.add(part, spec)
        };
        let out = policy("rails-out", 1);
        let back = policy("rails-in", -1);
        self.made.rails = Some(Rails { group, out, back });
    }
}

impl Draft<'_> {
    /// What a node is told at birth.
    fn user_data(&self, role: Role, node: &str) -> String {
        boot::user_data(&Birth {
            site: self.site.site.name.as_str().to_owned(),
            node: node.to_owned(),
            role,
            region: self.site.site.region.as_str().to_owned(),
            bucket: self.names.bucket("config"),
        })
    }
}
