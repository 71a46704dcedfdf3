//! Recovery points in a small strict cloud: two buckets with versions, and snapshots in two regions.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::sync::Arc;

use aws_sdk_s3::types::{
    BucketLocationConstraint, BucketVersioningStatus, CreateBucketConfiguration,
    VersioningConfiguration,
};
use gantry::clock::Clock;
use gantry::cloud::{Aws, Limits};
use gantry::ops::point::{
    By, Chain, DiskImage, Edition, Engines, FORMAT, Gitlab, Manifest, ObjectIndex, Outcome, Part,
    PartName, PointId, Points, Purpose, Rank, RegionCopy, Sealed, Signer, SiteOf, Way,
};
use gantry::ops::prune::{Clouds, Pruning};
use gantry::resource::{CloudCx, Scope, Tags};
use gantry::sandbox::world::World;
use gantry::sandbox::{ACCOUNT, Sandbox};
use gantry::secret::Secret;
use jiff::Timestamp;
use serde_json::json;
use sha2::{Digest, Sha256};

pub const HOME: &str = "eu-west-1";
pub const AWAY: &str = "eu-central-1";
pub const BACKUPS: &str = "acme-backups";
pub const GITALY: &str = "acme-gitaly";

/// The moment at which these worlds begin.
pub const TODAY: Timestamp = Timestamp::constant(1_795_651_200, 0); // 2026-11-26T00:00:00Z

/// A backup bucket and what its points name.
pub struct Shelf {
    pub sandbox: Sandbox,
    pub points: Points,
    pub signer: Arc<Signer>,
}

/// The key that a seed of this digit alone gives.
pub fn signer(digit: char) -> Signer {
    Signer::new(&Secret::new(digit.to_string().repeat(64))).unwrap()
}

pub fn id(text: &str) -> PointId {
    text.parse().unwrap()
}

impl Shelf {
    /// Empty buckets.
    pub async fn new() -> Self {
        let shelf = Self::of(World::new(ACCOUNT), TODAY);
        for bucket in [BACKUPS, GITALY] {
            let s3 = &shelf.points.cloud().aws().s3;
            let place = CreateBucketConfiguration::builder()
                .location_constraint(BucketLocationConstraint::from(HOME));
            let create = s3.create_bucket().bucket(bucket);
            create
                .create_bucket_configuration(place.build())
                .send()
                .await
                .unwrap();
            let versions =
                VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled);
            let put = s3.put_bucket_versioning().bucket(bucket);
            put.versioning_configuration(versions.build())
                .send()
                .await
                .unwrap();
        }
        shelf
    }

    /// A world as somebody left it.
    pub fn of(world: World, now: Timestamp) -> Self {
        let sandbox = Sandbox::in_memory(world, Clock::played(now, 1));
        let signer = Arc::new(signer('a'));
        let points = Points::new(cloud(&sandbox, HOME), BACKUPS, signer.trusted());
        Self {
            sandbox,
            points,
            signer,
        }
    }

    pub fn pruning(&self) -> Pruning {
        Pruning {
            points: self.points.clone(),
            signer: self.signer.clone(),
            clouds: Clouds::new(self.points.cloud().clone()).with(cloud(&self.sandbox, AWAY)),
        }
    }

    pub async fn put(&self, bucket: &str, key: &str, content: &[u8]) {
        let put = self.points.cloud().aws().s3.put_object();
        let put = put.bucket(bucket).key(key).body(content.to_vec().into());
        put.send().await.unwrap();
    }

    pub async fn get(&self, bucket: &str, key: &str) -> Vec<u8> {
        let get = self.points.cloud().aws().s3.get_object();
        let answer = get.bucket(bucket).key(key).send().await.unwrap();
        answer.body.collect().await.unwrap().to_vec()
    }

    /// Everything that there is: objects by bucket and key, snapshots by region and id. Old versions are not.
    pub fn there(&self) -> BTreeSet<String> {
        let world = self.sandbox.world();
        let mut newest: BTreeMap<String, (u64, bool)> = BTreeMap::new();
        for (_, row) in world.rows(HOME, "s3/object") {
            let name = format!("s3://{}/{}", row.text("Bucket"), row.text("Key"));
            let at = row.v["_at"].as_u64().unwrap();
            let entry = newest.entry(name).or_default();
            *entry = (*entry).max((at, !row.is("_marker")));
        }
        let mut there: BTreeSet<String> = newest
            .into_iter()
            .filter(|(_, (_, is))| *is)
            .map(|(name, _)| name)
            .collect();
        for region in [HOME, AWAY] {
            for table in ["rds/snapshot", "ec2/snapshot"] {
                let rows = world.rows(region, table);
                there.extend(rows.map(|(id, _)| format!("{region}/{table}/{id}")));
            }
        }
        there
    }

    /// Everything that a manifest names and that must be there for it to restore.
    pub fn named(manifest: &Manifest, lists: &BTreeMap<String, Vec<String>>) -> BTreeSet<String> {
        let mut named = BTreeSet::new();
        let object = |bucket: &str, key: &str| format!("s3://{bucket}/{key}");
        for part in &manifest.parts {
            match part.way() {
                Some(Way::DatabaseSnapshot {
                    snapshot, copies, ..
                }) => {
                    named.insert(format!("{HOME}/rds/snapshot/{snapshot}"));
                    named.extend(copies.iter().map(|copy| {
                        let name = copy.id.rsplit(':').next().unwrap();
                        format!("{}/rds/snapshot/{name}", copy.region)
                    }));
                }
                Some(Way::DiskSnapshots { disks }) => {
                    for disk in disks {
                        named.insert(format!("{HOME}/ec2/snapshot/{}", disk.snapshot));
                        let copies = disk.copies.iter();
                        named.extend(
                            copies.map(|copy| format!("{}/ec2/snapshot/{}", copy.region, copy.id)),
                        );
                    }
                }
                Some(Way::Archive { bucket, key, .. }) => {
                    named.insert(object(bucket, key));
                }
                Some(Way::GitalyServerSide {
                    archive_key, index, ..
                }) => {
                    named.insert(object(BACKUPS, archive_key));
                    named.insert(object(BACKUPS, &index.key));
                    named.extend(lists[&index.key].iter().map(|key| object(GITALY, key)));
                }
                Some(Way::ObjectVersions { index, .. }) => {
                    named.insert(object(BACKUPS, &index.key));
                }
                Some(Way::Sealed(sealed)) => {
                    named.insert(object(BACKUPS, &sealed.key));
                }
                _ => {}
            }
        }
        named
    }

    /// A list of objects, written; `key` is where.
    pub async fn list_of(&self, key: &str, objects: &[&str]) -> ObjectIndex {
        let mut objects = objects.to_vec();
        objects.sort_unstable();
        let lines: String = objects
            .iter()
            .map(|key| {
                let line = json!({"key": key, "version": null, "bytes": 10, "etag": "\"e\""});
                format!("{line}\n")
            })
            .collect();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(lines.as_bytes()).unwrap();
        let packed = gzip.finish().unwrap();
        self.put(BACKUPS, key, &packed).await;
        let digest = Sha256::digest(&packed);
        ObjectIndex {
            key: key.to_owned(),
            sha256: digest.iter().map(|b| format!("{b:02x}")).collect(),
            count: objects.len() as u64,
            bytes: 10 * objects.len() as u64,
        }
    }

    /// A snapshot of a database, with a copy in the other region.
    pub fn database(&self, name: &str) -> Way {
        let now = TODAY.as_millisecond();
        self.sandbox.change(|world| {
            for region in [HOME, AWAY] {
                let v = json!({"DBSnapshotIdentifier": name, "Status": "available"});
                world.insert(region, "rds/snapshot", name, v, now);
            }
        });
        let arn = |region: &str| format!("arn:aws:rds:{region}:{ACCOUNT}:snapshot:{name}");
        Way::DatabaseSnapshot {
            instance: "gantry-acme-main".into(),
            snapshot: name.into(),
            arn: arn(HOME),
            class: "db.m6i.large".into(),
            copies: vec![RegionCopy {
                region: AWAY.into(),
                id: arn(AWAY),
            }],
        }
    }

    /// A snapshot of a disk, with a copy in the other region.
    pub fn disk(&self, snapshot: &str) -> Way {
        let now = TODAY.as_millisecond();
        let copy = format!("{snapshot}c");
        self.sandbox.change(|world| {
            for (region, id) in [(HOME, snapshot), (AWAY, copy.as_str())] {
                let v = json!({"snapshotId": id, "status": "completed"});
                world.insert(region, "ec2/snapshot", id, v, now);
            }
        });
        Way::DiskSnapshots {
            disks: vec![DiskImage {
                node: "gitaly-1".into(),
                volume: "vol-1".into(),
                snapshot: snapshot.into(),
                gib: 100,
                copies: vec![RegionCopy {
                    region: AWAY.into(),
                    id: copy,
                }],
            }],
        }
    }

    /// Git data in Gitaly's bucket: an archive, a list, and the objects that are new with this step.
    pub async fn git(&self, id: &PointId, chain: Chain, all: &[&str]) -> Way {
        for key in all {
            self.put(GITALY, key, b"git").await;
        }
        let archive = format!("points/{id}/archive.tar");
        self.put(BACKUPS, &archive, b"archive").await;
        let list = format!("points/{id}/parts/repositories.jsonl.gz");
        Way::GitalyServerSide {
            bucket: GITALY.into(),
            archive_bucket: BACKUPS.into(),
            archive_key: archive,
            archive_sha256: "0".repeat(64),
            chain,
            index: self.list_of(&list, all).await,
        }
    }

    /// The archive of a box, as `gitlab-backup` names it.
    pub async fn archive(&self, backup: &str) -> Way {
        let key = format!("archives/{backup}_gitlab_backup.tar");
        self.put(BACKUPS, &key, b"archive").await;
        Way::Archive {
            bucket: BACKUPS.into(),
            key,
            backup: backup.into(),
            sha256: "0".repeat(64),
            holds: vec![PartName::Database, PartName::Repositories],
        }
    }

    /// The versions of a bucket's objects.
    pub async fn objects(&self, id: &PointId) -> Way {
        let list = format!("points/{id}/parts/objects-lfs.jsonl.gz");
        Way::ObjectVersions {
            bucket: "acme-lfs".into(),
            index: self.list_of(&list, &["one", "two"]).await,
        }
    }

    pub async fn sealed(&self, id: &PointId) -> Way {
        let key = format!("sealed/{id}/secrets");
        self.put(BACKUPS, &key, b"sealed").await;
        Way::Sealed(Sealed {
            bucket: BACKUPS.into(),
            key,
            kms: format!("arn:aws:kms:{HOME}:{ACCOUNT}:key/1"),
            sha256: "0".repeat(64),
            fits: "0".repeat(64),
        })
    }

    /// Writes a manifest of these parts.
    pub async fn write(&self, manifest: &Manifest) {
        self.points.write(&self.signer, manifest).await.unwrap();
    }
}

/// The clients of one region.
fn cloud(sandbox: &Sandbox, region: &str) -> CloudCx {
    let scope = Scope {
        site: "acme".into(),
        account: ACCOUNT.into(),
        region: region.into(),
        tags: Tags::new(),
    };
    let aws = Aws::new(&sandbox.config(region));
    let clock = sandbox.clock();
    CloudCx::new(
        aws,
        scope,
        clock,
        Limits::default(),
        None,
        BTreeMap::default(),
    )
}

pub fn part(name: PartName, way: Way) -> Part {
    Part {
        name,
        began: TODAY,
        ended: TODAY,
        bytes: 1 << 30,
        outcome: Outcome::Saved(way),
    }
}

/// The first of a chain, or what adds to it.
pub fn chain(first: &PointId, previous: Option<&PointId>) -> Chain {
    Chain {
        backup: "1795651200_2026_11_26_19.5.3-ee".into(),
        first: first.clone(),
        previous: previous.cloned(),
        rank: match previous {
            Some(_) => Rank::Increment,
            None => Rank::Whole,
        },
    }
}

/// A manifest without parts that is whole.
pub fn manifest(id: &PointId, purpose: Purpose, began: Timestamp) -> Manifest {
    Manifest {
        format: FORMAT,
        id: id.clone(),
        purpose,
        site: SiteOf {
            name: "acme".into(),
            account: ACCOUNT.into(),
            region: HOME.into(),
            domain: "gitlab.acme.example".into(),
        },
        gitlab: Gitlab {
            version: "19.5.3".into(),
            edition: Edition::Ee,
        },
        engines: Engines {
            postgresql: Some("17.6".into()),
            valkey: Some("7.2".into()),
        },
        profile: "poc-2k".into(),
        blueprint: "0".repeat(64),
        by: By {
            user: "ann".into(),
            host: "bastion".into(),
            run: id.to_string(),
            gantry: "0.1.0".into(),
        },
        began,
        ended: began,
        whole: true,
        parts: vec![],
        refs: BTreeMap::new(),
    }
}
