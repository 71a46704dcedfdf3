//! The profile with the site's overrides: the sizes that are built.

use super::Site;
use super::nodes::{DataNode, FixedNodes, GitalyNodes, SingleNode};
use super::place::Path;
use super::problem::{Problem, Problems};
use super::stores::{Cache, Database, PraefectDatabase};
use crate::profile::{self, Availability, InstanceType, Profile, StorageType, Volume};

impl Profile {
    /// The final sizes of a site: these, with the counts, machines, volumes and stores its file names instead.
    ///
    /// Fails when an override names what the profile does not have, or a size that AWS or GitLab refuses.
    pub fn with_overrides(&self, site: &Site) -> Result<Self, Problems> {
        let (sizes, problems) = apply(self, site);
        if problems.is_empty() {
            Ok(sizes)
        } else {
            Err(Problems(problems))
        }
    }
}

/// The final sizes, and everything that speaks against them.
pub(super) fn apply(profile: &Profile, site: &Site) -> (Profile, Vec<Problem>) {
    let mut merge = Merge {
        sizes: profile.clone(),
        problems: Vec::new(),
    };
    merge.sizes.zones = site.network.zones;
    merge.nodes(site);
    merge.stores(site);
    (merge.sizes, merge.problems)
}

struct Merge {
    sizes: Profile,
    problems: Vec<Problem>,
}

fn set<T: Clone>(target: &mut T, wanted: Option<&T>) {
    if let Some(wanted) = wanted {
        *target = wanted.clone();
    }
}

impl Merge {
    fn nodes(&mut self, site: &Site) {
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

    fn rails(&mut self, wanted: &super::nodes::RailsNodes) {
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

    fn fixed(&mut self, role: &str, wanted: &FixedNodes, group: Option<&mut profile::NodeGroup>) {
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

    fn single(&mut self, role: &str, wanted: &SingleNode, group: Option<&mut profile::NodeGroup>) {
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

    fn absent(&mut self, section: &str) {
        let name = self.sizes.name;
        self.problems.push(
            Problem::with_key(
                Path::of(section),
                format!(
                    "{name} has no {}",
                    section.trim_start_matches("nodes.").replace('_', " ")
                ),
            )
            .because("there is nothing here that these values could change")
            .help("take the section away, or choose another profile")
            .depends("site.profile"),
        );
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

    fn stores(&mut self, site: &Site) {
        self.database(&site.database);
        self.praefect_database(&site.praefect_database);
        self.cache(&site.cache, site.network.zones);
    }

    fn database(&mut self, wanted: &Database) {
        if *wanted == Database::default() {
            return;
        }
        let Some(mut database) = self.sizes.database.clone() else {
            return self.absent("database");
        };
        set(&mut database.class, wanted.class.as_ref());
        set(&mut database.engine_version, wanted.engine_version.as_ref());
        set(&mut database.multi_az, wanted.multi_az.as_ref());
        set(&mut database.read_replicas, wanted.read_replicas.as_ref());
        if database.read_replicas > 15 {
            self.problems.push(
                Problem::at(
                    Path::of("database.read_replicas"),
                    format!("`database.read_replicas` is {}", database.read_replicas),
                )
                .because("RDS makes at most 15 read replicas of one database")
                .help("the reference architectures have 2 from ha-10k up"),
            );
        }
        self.storage(
            "database",
            (
                wanted.storage_type,
                wanted.storage_gib,
                wanted.max_storage_gib,
                wanted.iops,
            ),
            &mut database,
        );
        self.sizes.database = Some(database);
    }

    fn praefect_database(&mut self, wanted: &PraefectDatabase) {
        if *wanted == PraefectDatabase::default() {
            return;
        }
        let Some(mut database) = self.sizes.praefect_database.clone() else {
            return self.absent("praefect_database");
        };
        set(&mut database.class, wanted.class.as_ref());
        set(&mut database.engine_version, wanted.engine_version.as_ref());
        set(&mut database.multi_az, wanted.multi_az.as_ref());
        self.storage(
            "praefect_database",
            (
                wanted.storage_type,
                wanted.storage_gib,
                wanted.max_storage_gib,
                wanted.iops,
            ),
            &mut database,
        );
        self.sizes.praefect_database = Some(database);
    }

    /// Limits of RDS for PostgreSQL storage (<https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/CHAP_Storage.html>).
    fn storage(
        &mut self,
        section: &str,
        (kind, gib, max_gib, iops): (Option<StorageType>, Option<u32>, Option<u32>, Option<u32>),
        target: &mut profile::Database,
    ) {
        let path = |key: &str| Path::of(&format!("{section}.{key}"));
        let own = target.clone();
        set(&mut target.storage_type, kind.as_ref());
        set(&mut target.storage_gib, gib.as_ref());
        if kind.is_some_and(|kind| kind != own.storage_type) {
            target.iops = None;
        }
        if iops.is_some() {
            target.iops = iops;
        }
        // Below 400 GiB gp3 has one speed; above, the least that can be asked for is in the price.
        if target.storage_type == StorageType::Gp3 && iops.is_none() {
            target.iops = if target.storage_gib < 400 {
                None
            } else {
                Some(target.iops.unwrap_or(12_000))
            };
        }
        match max_gib {
            Some(max_gib) => target.max_storage_gib = max_gib,
            None => {
                target.max_storage_gib = target
                    .max_storage_gib
                    .max(target.storage_gib.saturating_mul(5))
                    .min(65_536)
            }
        }
        let least = if target.storage_type == StorageType::Gp3 {
            20
        } else {
            100
        };
        if !(least..=65_536).contains(&target.storage_gib) {
            self.problems.push(
                Problem::at(
                    path("storage_gib"),
                    format!("`{section}.storage_gib` is {}", target.storage_gib),
                )
                .because(format!(
                    "storage of type {} is {least} to 65536 GiB",
                    target.storage_type.as_str()
                ))
                .help(format!("leave the key out for {}", own.storage_gib))
                .depends(&path("storage_type").to_string()),
            );
            return;
        }
        // RDS wants room of a tenth at least before it grows the storage by itself.
        if u64::from(target.max_storage_gib) * 10 < u64::from(target.storage_gib) * 11
            || target.max_storage_gib > 65_536
        {
            self.problems.push(
                Problem::at(path("max_storage_gib"), format!("`{section}.max_storage_gib` is {}", target.max_storage_gib))
                    .because(format!("it must be at least a tenth above the {} GiB it begins with, and 65536 at most", target.storage_gib))
                    .help("raise it, or leave the key out for five times the start")
                    .depends(&path("storage_gib").to_string()),
            );
        }
        self.check_iops(section, target);
    }

    fn check_iops(&mut self, section: &str, target: &profile::Database) {
        let (kind, gib) = (target.storage_type, target.storage_gib);
        let problem = |because: String, help: &str| {
            let what = match target.iops {
                Some(iops) => format!("`{section}.iops` is {iops}"),
                None => format!("`{section}.iops` is missing"),
            };
            Problem::at(Path::of(&format!("{section}.iops")), what)
                .because(because)
                .help(help)
                .depends(&format!("{section}.storage_type"))
                .depends(&format!("{section}.storage_gib"))
        };
        let ratio = |per_gib: u32| gib.saturating_mul(per_gib).min(256_000);
        match (kind, target.iops) {
            (StorageType::Gp3, None) => {}
            (StorageType::Gp3, Some(_)) if gib < 400 => {
                self.problems.push(problem(format!("gp3 storage of {gib} GiB has 3000 operations a second, and RDS takes a number only from 400 GiB up"), "leave the key out, or raise `storage_gib` to 400"));
            }
            (StorageType::Gp3, Some(iops))
                if !(12_000..=64_000.min(ratio(500))).contains(&iops) =>
            {
                self.problems.push(problem(
                    format!(
                        "gp3 storage of {gib} GiB takes 12000 to {}",
                        64_000.min(ratio(500))
                    ),
                    "take a number within, or leave the key out for 12000",
                ));
            }
            (StorageType::Gp3, Some(_)) => {}
            (StorageType::Io1 | StorageType::Io2, None) => {
                self.problems.push(problem(
                    format!(
                        "storage of type {} is bought by operations a second",
                        kind.as_str()
                    ),
                    "write for example `iops = 3000`, or `storage_type = \"gp3\"`",
                ));
            }
            (StorageType::Io1, Some(iops)) if !(1000..=ratio(50).max(1000)).contains(&iops) => {
                self.problems.push(problem(
                    format!(
                        "io1 storage of {gib} GiB takes 1000 to {}, 50 a GiB",
                        ratio(50).max(1000)
                    ),
                    "take a number within, or raise `storage_gib`",
                ));
            }
            (StorageType::Io2, Some(iops)) if !(1000..=ratio(1000)).contains(&iops) => {
                self.problems.push(problem(
                    format!("io2 storage of {gib} GiB takes 1000 to {}", ratio(1000)),
                    "take a number within",
                ));
            }
            (StorageType::Io1 | StorageType::Io2, Some(_)) => {}
        }
    }

    fn cache(&mut self, wanted: &Cache, zones: u8) {
        if *wanted == Cache::default() {
            return;
        }
        if self.sizes.caches.is_empty() {
            return self.absent("cache");
        }
        for cache in &mut self.sizes.caches {
            set(&mut cache.node_type, wanted.node_type.as_ref());
            set(&mut cache.replicas, wanted.replicas.as_ref());
            set(&mut cache.engine_version, wanted.engine_version.as_ref());
        }
        let Some(replicas) = wanted.replicas else {
            return;
        };
        let problem = |why: &str, help: &str| {
            Problem::at(
                Path::of("cache.replicas"),
                format!("`cache.replicas` is {replicas}"),
            )
            .because(why)
            .help(help)
        };
        if replicas > 5 {
            self.problems.push(problem(
                "ElastiCache makes at most 5 replicas",
                "the profiles have 1 or 2",
            ));
        } else if replicas == 0 && zones > 1 {
            self.problems.push(problem(
                "the loss of one machine would lose queues and sessions",
                "write 1 at least",
            ));
        }
    }
}
