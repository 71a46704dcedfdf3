//! Counts, machines and volumes.

use super::super::Site;
use super::super::nodes::{DataNode, FixedNodes, GitalyNodes, RailsNodes, SingleNode};
use super::super::place::Path;
use super::super::problem::Problem;
use super::{Merge, set};
use crate::profile::{Availability, InstanceType, NodeGroup, Volume};

impl Merge {
    pub(super) fn nodes(&mut self, site: &Site) {
        let nodes = &site.nodes;
        if let Some(wanted) = &nodes.single_box {
            self.single_box(wanted);
        }
        if let Some(wanted) = &nodes.rails {
            self.rails(wanted);
        }
        if let Some(wanted) = &nodes.gitaly {
            self.gitaly(wanted);
        }
        if let Some(wanted) = &nodes.sidekiq {
            let mut group = self.sizes.sidekiq.clone();
            self.fixed("sidekiq", wanted, group.as_mut());
            self.sizes.sidekiq = group;
        }
        if let Some(wanted) = &nodes.praefect {
            let mut group = self.sizes.praefect.clone();
            self.fixed("praefect", wanted, group.as_mut());
            if let Some(group) = &group {
                self.quorum("praefect", group.count);
            }
            self.sizes.praefect = group;
        }
        if let Some(wanted) = &nodes.monitoring {
            let mut group = self.sizes.monitoring.clone();
            self.single("monitoring", wanted, group.as_mut());
            self.sizes.monitoring = group;
        }
        if let Some(wanted) = &nodes.bastion {
            let mut group = self.sizes.bastion.clone();
            self.single("bastion", wanted, group.as_mut());
            self.sizes.bastion = group;
        }
    }

    fn single_box(&mut self, wanted: &DataNode) {
        let Some(mut group) = self.sizes.single_box.clone() else {
            return self.absent("nodes.single_box");
        };
        self.machine(
            "single_box",
            wanted.instance_type.as_ref(),
            &mut group.instance_type,
        );
        self.root("single_box", wanted.root_gib, &mut group.root);
        self.data(
            "single_box",
            (wanted.data_gib, wanted.iops, wanted.throughput),
            &mut group.data,
        );
        self.sizes.single_box = Some(group);
    }

    fn rails(&mut self, wanted: &RailsNodes) {
        let Some(mut group) = self.sizes.rails.clone() else {
            return self.absent("nodes.rails");
        };
        self.machine(
            "rails",
            wanted.instance_type.as_ref(),
            &mut group.instance_type,
        );
        self.root("rails", wanted.root_gib, &mut group.root);
        // A count alone moves the limits with it, so that the file need not repeat the profile.
        if let Some(count) = wanted.count {
            group.desired = count;
            group.min = group.min.min(count);
            group.max = group.max.max(count);
        }
        if let Some(min) = wanted.min {
            group.min = min;
            group.desired = if wanted.count.is_none() {
                group.desired.max(min)
            } else {
                group.desired
            };
            group.max = if wanted.max.is_none() {
                group.max.max(min)
            } else {
                group.max
            };
        }
        if let Some(max) = wanted.max {
            group.max = max;
            group.desired = if wanted.count.is_none() {
                group.desired.min(max)
            } else {
                group.desired
            };
            group.min = if wanted.min.is_none() {
                group.min.min(max)
            } else {
                group.min
            };
        }
        if !(1 <= group.min && group.min <= group.desired && group.desired <= group.max) {
            let what = format!(
                "the numbers of Rails nodes do not rise: min {}, count {}, max {}",
                group.min, group.desired, group.max
            );
            self.problems.push(
                Problem::at(Path::of("nodes.rails"), what)
                    .because("the Auto Scaling group moves between `min`, 1 at least, and `max`, and begins with `count`")
                    .help("choose 1 <= min <= count <= max"),
            );
        }
        if group.max > 100 {
            self.too_many("nodes.rails.max", group.max);
        }
        self.sizes.rails = Some(group);
    }

    fn gitaly(&mut self, wanted: &GitalyNodes) {
        let Some(mut group) = self.sizes.gitaly.clone() else {
            return self.absent("nodes.gitaly");
        };
        set(&mut group.count, wanted.count.as_ref());
        self.machine(
            "gitaly",
            wanted.instance_type.as_ref(),
            &mut group.instance_type,
        );
        self.root("gitaly", wanted.root_gib, &mut group.root);
        self.data(
            "gitaly",
            (wanted.data_gib, wanted.iops, wanted.throughput),
            &mut group.data,
        );
        if self.sizes.ha == Availability::Full {
            self.quorum("gitaly", group.count);
        } else if group.count != 1 {
            self.problems.push(
                Problem::at(Path::of("nodes.gitaly.count"), format!("`nodes.gitaly.count` is {}, and {} has one Gitaly node", group.count, self.sizes.name))
                    .because("without a Gitaly Cluster a second node would hold other repositories, not a copy")
                    .help("take ha-3k or larger for copies, or leave the key out")
                    .depends("site.profile"),
            );
        }
        self.sizes.gitaly = Some(group);
    }

    fn fixed(&mut self, role: &str, wanted: &FixedNodes, group: Option<&mut NodeGroup>) {
        let Some(group) = group else {
            return self.absent(&format!("nodes.{role}"));
        };
        set(&mut group.count, wanted.count.as_ref());
        self.machine(
            role,
            wanted.instance_type.as_ref(),
            &mut group.instance_type,
        );
        self.root(role, wanted.root_gib, &mut group.root);
        if group.count == 0 {
            self.problems.push(
                Problem::at(
                    Path::of(&format!("nodes.{role}.count")),
                    format!("`nodes.{role}.count` is 0"),
                )
                .because(if role == "sidekiq" {
                    "no job would run, and the first node is also the deploy node"
                } else {
                    "the role would be missing"
                })
                .help("write 1 at least"),
            );
        }
        if group.count > 100 {
            self.too_many(&format!("nodes.{role}.count"), group.count);
        }
    }

    fn single(&mut self, role: &str, wanted: &SingleNode, group: Option<&mut NodeGroup>) {
        let Some(group) = group else {
            return self.absent(&format!("nodes.{role}"));
        };
        self.machine(
            role,
            wanted.instance_type.as_ref(),
            &mut group.instance_type,
        );
        self.root(role, wanted.root_gib, &mut group.root);
    }

    fn too_many(&mut self, path: &str, count: u32) {
        self.problems.push(
            Problem::at(Path::of(path), format!("`{path}` is {count}"))
                .because("no reference size has more than a fifth of 100 nodes in one role; this looks like a slip")
                .help("take a number up to 100, or larger machines"),
        );
    }

    /// Votes need an odd number, three at least (doc/administration/gitaly/praefect/configure.md).
    fn quorum(&mut self, role: &str, count: u32) {
        if count >= 3 && count % 2 == 1 && count <= 9 {
            return;
        }
        let why = match count {
            0..3 => "with fewer than three, the loss of one node stops Git",
            10.. => "every Gitaly node holds a full copy, and every write waits for the majority",
            _ => "with an even number, halves can disagree and no majority decides",
        };
        self.problems.push(
            Problem::at(
                Path::of(&format!("nodes.{role}.count")),
                format!("`nodes.{role}.count` is {count}, and a Gitaly Cluster needs 3, 5, 7 or 9"),
            )
            .because(why)
            .help("write `count = 3`, as the reference architectures have it")
            .depends("site.profile"),
        );
    }

    fn machine(&mut self, role: &str, wanted: Option<&InstanceType>, target: &mut InstanceType) {
        let Some(wanted) = wanted else { return };
        if wanted.is_burstable() && role != "bastion" {
            self.problems.push(
                Problem::at(
                    Path::of(&format!("nodes.{role}.type")),
                    format!("{wanted} is burstable"),
                )
                .because(
                    "under GitLab's steady load it runs out of CPU credits and slows to a crawl",
                )
                .help(format!("take a type like the profile's, `{target}`")),
            );
        }
        *target = wanted.clone();
    }

    fn root(&mut self, role: &str, wanted: Option<u32>, target: &mut Volume) {
        let Some(gib) = wanted else { return };
        let least = if role == "bastion" { 20 } else { 40 };
        if !(least..=16_384).contains(&gib) {
            self.problems.push(
                Problem::at(
                    Path::of(&format!("nodes.{role}.root_gib")),
                    format!("`nodes.{role}.root_gib` is {gib}"),
                )
                .because(format!(
                    "a root volume here is {least} to 16384 GiB: package, logs and temporary files"
                ))
                .help(format!(
                    "write {least} at least, or leave the key out for {}",
                    target.gib
                )),
            );
        }
        target.gib = gib;
    }

    /// Limits of a gp3 volume (<https://docs.aws.amazon.com/ebs/latest/userguide/general-purpose.html>): 16 TiB,
    /// 3,000-16,000 IOPS at 500 a GiB at most, 125-1,000 MiB/s at a quarter of the IOPS at most.
    fn data(
        &mut self,
        role: &str,
        (gib, iops, throughput): (Option<u32>, Option<u32>, Option<u32>),
        target: &mut Volume,
    ) {
        let path = |key: &str| Path::of(&format!("nodes.{role}.{key}"));
        let own = target.gib;
        set(&mut target.gib, gib.as_ref());
        set(&mut target.iops, iops.as_ref());
        set(&mut target.throughput, throughput.as_ref());
        if !(20..=16_384).contains(&target.gib) {
            self.problems.push(
                Problem::at(
                    path("data_gib"),
                    format!("`nodes.{role}.data_gib` is {}", target.gib),
                )
                .because("a data volume is 20 to 16384 GiB")
                .help(format!(
                    "it must hold all repositories; leave the key out for {own}"
                )),
            );
            return;
        }
        let most = target.gib.saturating_mul(500).min(16_000);
        if !(3000..=most.max(3000)).contains(&target.iops) {
            self.problems.push(
                Problem::at(
                    path("iops"),
                    format!("`nodes.{role}.iops` is {}", target.iops),
                )
                .because(format!(
                    "a gp3 volume of {} GiB gives 3000 to {} operations a second",
                    target.gib,
                    most.max(3000)
                ))
                .help("take a number within, or leave the key out")
                .depends(&path("data_gib").to_string()),
            );
            return;
        }
        let most = (target.iops / 4).min(1000);
        if !(125..=most).contains(&target.throughput) {
            self.problems.push(
                Problem::at(
                    path("throughput"),
                    format!("`nodes.{role}.throughput` is {}", target.throughput),
                )
                .because(format!(
                    "a gp3 volume with {} IOPS gives 125 to {most} MiB a second",
                    target.iops
                ))
                .help("take a number within, raise `iops`, or leave the key out")
                .depends(&path("iops").to_string()),
            );
        }
    }
}
