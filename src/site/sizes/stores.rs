//! Databases and caches.

use super::super::Site;
use super::super::place::Path;
use super::super::problem::Problem;
use super::super::stores::{Cache, Database, PraefectDatabase};
use super::{Merge, set};
use crate::profile::{self, StorageType};

impl Merge {
    pub(super) fn stores(&mut self, site: &Site) {
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
                let wide = target.storage_gib.saturating_mul(5);
                target.max_storage_gib = target.max_storage_gib.max(wide).min(65_536);
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
            (StorageType::Gp3, _) | (StorageType::Io1 | StorageType::Io2, Some(_)) => {}
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
