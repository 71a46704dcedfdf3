//! What backups, snapshots and restores call, the same steps on the strict cloud and on moto.

use std::time::Duration;

use aws_sdk_cloudwatch::types::{Dimension, MetricDatum};
use aws_sdk_ec2::types::{
    CopyTagsFromSource, Filter, InstanceSpecification, InstanceType, ResourceType, Tag,
    TagSpecification,
};
use aws_sdk_kms::primitives::Blob;
use aws_sdk_rds::types::Tag as DbTag;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    BucketLocationConstraint, BucketVersioningStatus, CompletedMultipartUpload, CompletedPart,
    CreateBucketConfiguration, DefaultRetention, Delete, ObjectIdentifier, ObjectLockConfiguration,
    ObjectLockEnabled, ObjectLockRetentionMode, ObjectLockRule,
};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use gantry::clock::Clock;
use gantry::cloud::Aws;
use gantry::sandbox::world::World;
use gantry::sandbox::{ACCOUNT, Sandbox};

use super::REGION;
use crate::moto::Moto;

/// Where copies go.
pub const FAR: &str = "eu-central-1";

/// One cloud, seen from two regions.
pub struct Clouds {
    pub home: Aws,
    pub far: Aws,
    pub clock: Clock,
}

/// What nodes and databases stand on.
pub struct Network {
    pub subnets: Vec<String>,
    pub group: String,
}

/// The code of a refusal.
pub fn code<T, E: ProvideErrorMetadata>(answer: Result<T, E>) -> String {
    match answer {
        Ok(_) => "accepted".into(),
        Err(e) => e.code().unwrap_or("(no code)").into(),
    }
}

impl Clouds {
    /// The strict cloud, on a Monday morning.
    pub fn strict() -> (Self, Sandbox) {
        let sandbox = Sandbox::in_memory(
            World::new(ACCOUNT),
            Clock::played("2026-01-05T06:00:00Z".parse().unwrap(), 1),
        );
        let clouds = Self {
            home: Aws::new(&sandbox.config(REGION)),
            far: Aws::new(&sandbox.config(FAR)),
            clock: sandbox.clock(),
        };
        (clouds, sandbox)
    }

    fn moto(moto: &Moto) -> Self {
        Self {
            home: Aws::new(&moto.config(REGION)),
            far: Aws::new(&moto.config(FAR)),
            clock: Clock::System,
        }
    }

    pub async fn pause(&self, seconds: u64) {
        // Nothing takes long on moto.
        let pause = match self.clock {
            Clock::System => Duration::from_millis(20),
            Clock::Played { .. } => Duration::from_secs(seconds),
        };
        self.clock.sleep(pause).await;
    }

    /// Waits until a look answers this word; AWS may take an hour.
    pub async fn until(&self, wanted: &str, look: impl AsyncFn() -> String) {
        let mut last = String::new();
        for _ in 0..360 {
            last = look().await;
            if last == wanted {
                return;
            }
            self.pause(10).await;
        }
        panic!("it is {last} and not {wanted}");
    }

    pub async fn network(&self) -> Network {
        let ec2 = &self.home.ec2;
        let vpc = ec2.create_vpc().cidr_block("10.20.0.0/16").send().await;
        let vpc = vpc.unwrap().vpc.unwrap().vpc_id.unwrap();
        let mut subnets = Vec::new();
        for (n, zone) in ["a", "b"].into_iter().enumerate() {
            let made = ec2
                .create_subnet()
                .vpc_id(&vpc)
                .cidr_block(format!("10.20.{n}.0/24"))
                .availability_zone(format!("{REGION}{zone}"))
                .send()
                .await;
            subnets.push(made.unwrap().subnet.unwrap().subnet_id.unwrap());
        }
        let group = ec2
            .create_security_group()
            .vpc_id(&vpc)
            .group_name("databases")
            .description("databases")
            .send()
            .await;
        self.home
            .rds
            .create_db_subnet_group()
            .db_subnet_group_name("acme")
            .db_subnet_group_description("acme")
            .set_subnet_ids(Some(subnets.clone()))
            .send()
            .await
            .unwrap();
        Network {
            subnets,
            group: group.unwrap().group_id.unwrap(),
        }
    }

    /// A node with a root volume and an encrypted data volume; the instance and the data volume.
    pub async fn node(&self, network: &Network, key: &str) -> (String, String) {
        let ec2 = &self.home.ec2;
        let images = ec2.describe_images().owners("099720109477");
        let image = images.send().await.unwrap().images.unwrap();
        let image = image.into_iter().find(|i| {
            i.architecture
                .as_ref()
                .is_some_and(|a| a.as_str() == "x86_64")
        });
        let made = ec2
            .run_instances()
            .image_id(image.unwrap().image_id.unwrap())
            .instance_type(InstanceType::M5Large)
            .subnet_id(&network.subnets[0])
            .min_count(1)
            .max_count(1)
            .send()
            .await;
        let node = made.unwrap().instances.unwrap()[0]
            .instance_id
            .clone()
            .unwrap();
        self.until("running", async || {
            let found = ec2.describe_instances().instance_ids(&node).send().await;
            let found = found.unwrap().reservations.unwrap();
            let state = found[0].instances()[0].state().unwrap().name().unwrap();
            state.as_str().to_owned()
        })
        .await;
        let volume = self.volume(key, 20).await;
        ec2.attach_volume()
            .instance_id(&node)
            .volume_id(&volume)
            .device("/dev/sdf")
            .send()
            .await
            .unwrap();
        self.pause(10).await;
        (node, volume)
    }

    pub async fn volume(&self, key: &str, gib: i32) -> String {
        let made = self
            .home
            .ec2
            .create_volume()
            .availability_zone(format!("{REGION}a"))
            .size(gib)
            .volume_type(aws_sdk_ec2::types::VolumeType::Gp3)
            .encrypted(true)
            .kms_key_id(key)
            .tag_specifications(tagged(ResourceType::Volume, "gantry:role", "gitaly"))
            .send()
            .await;
        let id = made.unwrap().volume_id.unwrap();
        self.until("available", async || self.volume_state(&id).await)
            .await;
        id
    }

    pub async fn volume_state(&self, id: &str) -> String {
        let found = self.home.ec2.describe_volumes().volume_ids(id).send().await;
        let found = found.unwrap().volumes.unwrap();
        found[0].state().unwrap().as_str().to_owned()
    }

    /// A database, available.
    pub async fn database(&self, id: &str, key: &str) {
        self.home
            .rds
            .create_db_instance()
            .db_instance_identifier(id)
            .engine("postgres")
            .engine_version("17")
            .db_instance_class("db.m6g.large")
            .db_name("gitlabhq_production")
            .master_username("gitlab")
            .master_user_password("a-long-password")
            .allocated_storage(100)
            .storage_type("gp3")
            .storage_encrypted(true)
            .kms_key_id(key)
            .db_subnet_group_name("acme")
            .backup_retention_period(7)
            .copy_tags_to_snapshot(true)
            .tags(rds_tag("gantry:site", "acme"))
            .send()
            .await
            .unwrap();
        self.running(id).await;
    }

    /// Begins a copy of an encrypted database snapshot in the other region, with its tags.
    pub async fn copy_db_snapshot(&self, id: &str, source: &str, key: &str) {
        self.far
            .rds
            .copy_db_snapshot()
            .source_db_snapshot_identifier(source)
            .target_db_snapshot_identifier(id)
            .kms_key_id(key)
            .pre_signed_url(presigned(&self.clock, source, key))
            .copy_tags(true)
            .send()
            .await
            .unwrap();
    }

    /// Waits until a database is available.
    pub async fn running(&self, id: &str) {
        let state = async || self.instance(id).await.db_instance_status.unwrap();
        self.until("available", state).await;
    }

    pub async fn instance(&self, id: &str) -> aws_sdk_rds::types::DbInstance {
        let ask = self.home.rds.describe_db_instances();
        let found = ask.db_instance_identifier(id).send().await.unwrap();
        found.db_instances.unwrap().remove(0)
    }
}

pub async fn key(aws: &Aws) -> String {
    let made = aws.kms.create_key().send().await.unwrap();
    made.key_metadata.unwrap().arn.unwrap()
}

pub fn tagged(kind: ResourceType, key: &str, value: &str) -> TagSpecification {
    TagSpecification::builder()
        .resource_type(kind)
        .tags(Tag::builder().key(key).value(value).build())
        .build()
}

pub fn rds_tag(key: &str, value: &str) -> DbTag {
    DbTag::builder().key(key).value(value).build()
}

pub async fn snapshot(aws: &Aws, id: &str) -> aws_sdk_ec2::types::Snapshot {
    let found = aws.ec2.describe_snapshots().snapshot_ids(id).send().await;
    found.unwrap().snapshots.unwrap().remove(0)
}

pub async fn snapshot_state(aws: &Aws, id: &str) -> String {
    snapshot(aws, id).await.state.unwrap().as_str().to_owned()
}

pub async fn db_snapshot(aws: &Aws, id: &str) -> aws_sdk_rds::types::DbSnapshot {
    let ask = aws.rds.describe_db_snapshots().db_snapshot_identifier(id);
    ask.send().await.unwrap().db_snapshots.unwrap().remove(0)
}

pub async fn db_snapshot_state(aws: &Aws, id: &str) -> String {
    db_snapshot(aws, id).await.status.unwrap()
}

/// A URL as the copy of an encrypted database snapshot needs it, but for the worth of its signature.
pub fn presigned(clock: &Clock, source: &str, key: &str) -> String {
    let pairs = [
        ("Action", "CopyDBSnapshot"),
        ("DestinationRegion", FAR),
        ("KmsKeyId", key),
        ("SourceDBSnapshotIdentifier", source),
        ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"),
        (
            "X-Amz-Credential",
            &format!("SANDBOX/20260105/{REGION}/rds/aws4_request"),
        ),
        (
            "X-Amz-Date",
            &clock.now().strftime("%Y%m%dT%H%M%SZ").to_string(),
        ),
        ("X-Amz-Expires", "3600"),
        ("X-Amz-Signature", &"0".repeat(64)),
    ];
    let query: Vec<String> = pairs
        .iter()
        .map(|(k, v)| format!("{k}={}", v.replace(':', "%3A").replace('/', "%2F")))
        .collect();
    format!("https://rds.{REGION}.amazonaws.com/?{}", query.join("&"))
}

// --- disks ----------------------------------------------------------------------------------------

async fn disks(c: &Clouds, network: &Network) {
    let (here, there) = (key(&c.home).await, key(&c.far).await);
    let (node, volume) = c.node(network, &here).await;
    let made = c
        .home
        .ec2
        .create_snapshots()
        .instance_specification(
            InstanceSpecification::builder()
                .instance_id(&node)
                .exclude_boot_volume(true)
                .build(),
        )
        .copy_tags_from_source(CopyTagsFromSource::Volume)
        .tag_specifications(tagged(ResourceType::Snapshot, "gantry:point", "p1"))
        .description("p1 of acme")
        .send()
        .await
        .unwrap()
        .snapshots
        .unwrap();
    let of: Vec<&str> = made
        .iter()
        .filter_map(aws_sdk_ec2::types::SnapshotInfo::volume_id)
        .collect();
    assert_eq!(of, [&volume], "the boot volume is left out");
    let id = made[0].snapshot_id().unwrap();
    c.until("completed", async || snapshot_state(&c.home, id).await)
        .await;
    let found = c
        .home
        .ec2
        .describe_snapshots()
        .owner_ids("self")
        .filters(
            Filter::builder()
                .name("tag:gantry:point")
                .values("p1")
                .build(),
        )
        .send()
        .await
        .unwrap()
        .snapshots
        .unwrap();
    let [found] = &found[..] else {
        panic!("{found:?}")
    };
    let mut tags: Vec<&str> = found.tags().iter().filter_map(Tag::key).collect();
    tags.sort_unstable();
    assert_eq!(tags, ["gantry:point", "gantry:role"]);
    assert_eq!(found.volume_size(), Some(20));
    assert_eq!(found.kms_key_id(), Some(here.as_str()));

    // A volume of it, in another zone, is as large and encrypted without a word.
    let again = c
        .home
        .ec2
        .create_volume()
        .availability_zone(format!("{REGION}b"))
        .snapshot_id(id)
        .volume_type(aws_sdk_ec2::types::VolumeType::Gp3)
        .send()
        .await
        .unwrap()
        .volume_id
        .unwrap();
    c.until("available", async || c.volume_state(&again).await)
        .await;
    let found = c
        .home
        .ec2
        .describe_volumes()
        .volume_ids(&again)
        .send()
        .await;
    let found = found.unwrap().volumes.unwrap().remove(0);
    assert_eq!(
        (found.size(), found.encrypted(), found.snapshot_id()),
        (Some(20), Some(true), Some(id))
    );
    assert_eq!(found.kms_key_id(), Some(here.as_str()));

    let copy = c
        .far
        .ec2
        .copy_snapshot()
        .source_region(REGION)
        .source_snapshot_id(id)
        .encrypted(true)
        .kms_key_id(&there)
        .tag_specifications(tagged(ResourceType::Snapshot, "gantry:point", "p1"))
        .send()
        .await
        .unwrap()
        .snapshot_id
        .unwrap();
    c.until("completed", async || snapshot_state(&c.far, &copy).await)
        .await;
    let copied = snapshot(&c.far, &copy).await;
    assert_eq!(copied.encrypted(), Some(true));
    assert_eq!(copied.kms_key_id(), Some(there.as_str()));
    assert_eq!(copied.tags()[0].value(), Some("p1"));
    let stray = c.home.ec2.describe_snapshots().snapshot_ids(&copy);
    assert_eq!(code(stray.send().await), "InvalidSnapshot.NotFound");

    let delete = async || code(c.home.ec2.delete_snapshot().snapshot_id(id).send().await);
    assert_eq!(delete().await, "accepted");
    assert_eq!(delete().await, "InvalidSnapshot.NotFound");
    assert_eq!(snapshot_state(&c.far, &copy).await, "completed");
}

// --- databases ------------------------------------------------------------------------------------

async fn databases(c: &Clouds, network: &Network) {
    let (here, there) = (key(&c.home).await, key(&c.far).await);
    let rds = &c.home.rds;
    c.database("main", &here).await;
    let take = async || {
        let ask = rds.create_db_snapshot().db_instance_identifier("main");
        let ask = ask.db_snapshot_identifier("acme-p1");
        code(ask.tags(rds_tag("gantry:point", "p1")).send().await)
    };
    assert_eq!(take().await, "accepted");
    assert_eq!(take().await, "DBSnapshotAlreadyExists");
    c.until("available", async || {
        db_snapshot_state(&c.home, "acme-p1").await
    })
    .await;
    let taken = db_snapshot(&c.home, "acme-p1").await;
    assert_eq!(taken.engine(), Some("postgres"));
    assert_eq!(taken.allocated_storage(), Some(100));
    assert_eq!(taken.encrypted(), Some(true));
    assert_eq!(taken.kms_key_id(), Some(here.as_str()));
    let tags: Vec<&str> = taken.tag_list().iter().filter_map(DbTag::key).collect();
    assert_eq!(
        tags,
        ["gantry:point"],
        "none are copied where some are asked for"
    );
    let listed = rds.describe_db_snapshots().db_instance_identifier("main");
    let listed = listed.send().await.unwrap().db_snapshots.unwrap();
    assert!(
        listed
            .iter()
            .any(|s| s.db_snapshot_identifier() == Some("acme-p1"))
    );

    // A copy in the other region, under a key there.
    let arn = taken.db_snapshot_arn().unwrap();
    c.copy_db_snapshot("acme-p1", arn, &there).await;
    c.until("available", async || {
        db_snapshot_state(&c.far, "acme-p1").await
    })
    .await;
    let copied = db_snapshot(&c.far, "acme-p1").await;
    assert_eq!(copied.kms_key_id(), Some(there.as_str()));
    assert_eq!(copied.source_region(), Some(REGION));
    assert!(copied.tag_list().iter().any(|t| t.value() == Some("p1")));

    c.running("main").await;
    restores(c, &here, &network.group).await;

    let delete = async || {
        let ask = rds.delete_db_snapshot().db_snapshot_identifier("acme-p1");
        code(ask.send().await)
    };
    assert_eq!(delete().await, "accepted");
    assert_eq!(delete().await, "DBSnapshotNotFound");
    assert_eq!(db_snapshot_state(&c.far, "acme-p1").await, "available");
}

/// A new instance from the snapshot, and one to a point in time.
async fn restores(c: &Clouds, key: &str, group: &str) {
    let rds = &c.home.rds;
    let restore = async |id: &str| {
        rds.restore_db_instance_from_db_snapshot()
            .db_instance_identifier(id)
            .db_snapshot_identifier("acme-p1")
            .db_subnet_group_name("acme")
            .vpc_security_group_ids(group)
            .db_instance_class("db.m6g.xlarge")
            .deletion_protection(true)
            .tags(rds_tag("gantry:site", "second"))
            .send()
            .await
    };
    assert_eq!(code(restore("main").await), "DBInstanceAlreadyExists");
    restore("main-p1").await.unwrap();
    c.running("main-p1").await;
    let (old, new) = (c.instance("main").await, c.instance("main-p1").await);
    assert_ne!(new.endpoint().unwrap().address(), None);
    assert_ne!(
        new.endpoint().unwrap().address(),
        old.endpoint().unwrap().address()
    );
    assert_eq!(new.db_instance_class(), Some("db.m6g.xlarge"));
    assert_eq!(new.engine_version(), old.engine_version());
    assert_eq!(new.allocated_storage(), Some(100));
    assert_eq!(new.master_username(), Some("gitlab"));
    assert_eq!(new.kms_key_id(), Some(key));
    assert_eq!(new.deletion_protection(), Some(true));
    let own: Vec<&str> = new.tag_list().iter().filter_map(DbTag::value).collect();
    assert_eq!(own, ["second"], "tags are not restored");
    let member = new.vpc_security_groups()[0].vpc_security_group_id();
    assert_eq!(member, Some(group));

    rds.restore_db_instance_to_point_in_time()
        .source_db_instance_identifier("main")
        .target_db_instance_identifier("main-now")
        .use_latest_restorable_time(true)
        .db_subnet_group_name("acme")
        .vpc_security_group_ids(group)
        .send()
        .await
        .unwrap();
    c.running("main-now").await;
    let new = c.instance("main-now").await;
    assert_eq!(new.kms_key_id(), Some(key));
    assert_eq!(new.db_instance_class(), Some("db.m6g.large"));
    assert_ne!(
        new.endpoint().unwrap().address(),
        old.endpoint().unwrap().address()
    );
}

// --- data keys ------------------------------------------------------------------------------------

async fn data_keys(c: &Clouds) {
    let kms = &c.home.kms;
    let id = key(&c.home).await;
    let made = kms
        .generate_data_key()
        .key_id(&id)
        .key_spec(aws_sdk_kms::types::DataKeySpec::Aes256)
        .encryption_context("gantry:point", "p1")
        .send()
        .await
        .unwrap();
    let (plain, wrapped) = (made.plaintext.unwrap(), made.ciphertext_blob.unwrap());
    assert_eq!(plain.as_ref().len(), 32);
    let decrypt = async |aws: &Aws, blob: &[u8], point: &str| {
        aws.kms
            .decrypt()
            .ciphertext_blob(Blob::new(blob))
            .encryption_context("gantry:point", point)
            .send()
            .await
    };
    let opened = decrypt(&c.home, wrapped.as_ref(), "p1").await.unwrap();
    assert_eq!(opened.plaintext, Some(plain));
    assert_eq!(opened.key_id, Some(id.clone()));
    let mut flipped = wrapped.clone().into_inner();
    *flipped.last_mut().unwrap() ^= 1;
    let why = "InvalidCiphertextException";
    assert_eq!(code(decrypt(&c.home, wrapped.as_ref(), "p2").await), why);
    assert_eq!(code(decrypt(&c.home, &flipped, "p1").await), why);
    let there = decrypt(&c.far, wrapped.as_ref(), "p1").await;
    assert_eq!(code(there), "AccessDeniedException");
    // moto knows keys by ARN in few calls.
    let short = id.rsplit('/').next().unwrap();
    kms.disable_key().key_id(short).send().await.unwrap();
    let why = "DisabledException";
    assert_eq!(code(decrypt(&c.home, wrapped.as_ref(), "p1").await), why);
    let again = kms.generate_data_key().key_id(&id).number_of_bytes(32);
    assert_eq!(code(again.send().await), why);
    let going = kms.schedule_key_deletion().key_id(short);
    going.pending_window_in_days(7).send().await.unwrap();
    let why = "KMSInvalidStateException";
    assert_eq!(code(decrypt(&c.home, wrapped.as_ref(), "p1").await), why);
}

// --- objects --------------------------------------------------------------------------------------

async fn bucket(c: &Clouds, name: &str, locked: bool) {
    let place = CreateBucketConfiguration::builder()
        .location_constraint(BucketLocationConstraint::from(REGION))
        .build();
    c.home
        .s3
        .create_bucket()
        .bucket(name)
        .create_bucket_configuration(place)
        .object_lock_enabled_for_bucket(locked)
        .send()
        .await
        .unwrap();
}

async fn objects(c: &Clouds) {
    bucket(c, "acme-backups", true).await;
    let s3 = &c.home.s3;
    let versioning = s3.get_bucket_versioning().bucket("acme-backups");
    let versioning = versioning.send().await.unwrap();
    assert_eq!(versioning.status, Some(BucketVersioningStatus::Enabled));

    let put = async |key: &str, text: &'static str| {
        s3.put_object()
            .bucket("acme-backups")
            .key(key)
            .body(ByteStream::from_static(text.as_bytes()))
            .if_none_match("*")
            .send()
            .await
    };
    // Written once, however many write at once.
    let race = futures::future::join_all(["one", "two", "three"].map(|text| put("p1", text))).await;
    let mut codes: Vec<String> = race.into_iter().map(code).collect();
    codes.sort_unstable();
    assert_eq!(
        codes,
        ["PreconditionFailed", "PreconditionFailed", "accepted"]
    );
    uploads(c).await;
    locks(c).await;
}

/// An upload of parts, one of them copied, that writes nothing over what is there.
async fn uploads(c: &Clouds) {
    let s3 = &c.home.s3;
    let (bucket, key) = ("acme-backups", "parts/p1");
    const PART: usize = 5 << 20;
    let first: Vec<u8> = (0..PART).map(|n| u8::try_from(n % 251).unwrap()).collect();
    let source = s3.put_object().bucket(bucket).key("source");
    let body = ByteStream::from(first.clone());
    source.body(body).send().await.unwrap();
    let begun = s3.create_multipart_upload().bucket(bucket).key(key);
    let upload = begun.send().await.unwrap().upload_id.unwrap();
    let copied = s3
        .upload_part_copy()
        .bucket(bucket)
        .key(key)
        .upload_id(&upload)
        .part_number(1)
        .copy_source("acme-backups/source")
        .copy_source_range(format!("bytes=0-{}", PART - 1))
        .send()
        .await
        .unwrap();
    let last = s3
        .upload_part()
        .bucket(bucket)
        .key(key)
        .upload_id(&upload)
        .part_number(2)
        .body(ByteStream::from_static(b"the end"))
        .send()
        .await
        .unwrap();
    let listed = s3.list_parts().bucket(bucket).key(key).upload_id(&upload);
    let sizes: Vec<i64> = listed
        .send()
        .await
        .unwrap()
        .parts()
        .iter()
        .filter_map(|p| p.size)
        .collect();
    assert_eq!(sizes, [i64::try_from(PART).unwrap(), 7]);
    let part = |number, tag: Option<String>| {
        CompletedPart::builder()
            .part_number(number)
            .set_e_tag(tag)
            .build()
    };
    let copied = copied.copy_part_result.unwrap().e_tag;
    let parts = CompletedMultipartUpload::builder()
        .parts(part(1, copied))
        .parts(part(2, last.e_tag))
        .build();
    let complete = async |condition: Option<&str>| {
        let ask = s3.complete_multipart_upload().bucket(bucket).key(key);
        let ask = ask.upload_id(&upload).multipart_upload(parts.clone());
        ask.set_if_none_match(condition.map(str::to_owned))
            .send()
            .await
    };
    let other = s3.put_object().bucket(bucket).key(key);
    let other = other.body(ByteStream::from_static(b"somebody else's"));
    let other = other.send().await.unwrap().version_id.unwrap();
    assert_eq!(code(complete(Some("*")).await), "PreconditionFailed");
    let made = complete(None).await.unwrap();
    let version = made.version_id.unwrap();
    assert_ne!(version, other);

    let get = s3.get_object().bucket(bucket).key(key);
    let end = get.range(format!("bytes={PART}-")).send().await.unwrap();
    let end = end.body.collect().await.unwrap().into_bytes();
    assert_eq!(end.as_ref(), b"the end");
    let older = s3.get_object().bucket(bucket).key(key);
    let older = older.version_id(&other).range("bytes=0-7").send().await;
    let older = older.unwrap().body.collect().await.unwrap().into_bytes();
    assert_eq!(older.as_ref(), b"somebody");

    // The older version back on top, as a copy.
    let back = s3
        .copy_object()
        .bucket(bucket)
        .key(key)
        .copy_source(format!("{bucket}/{key}?versionId={other}"))
        .send()
        .await
        .unwrap();
    assert_eq!(back.copy_source_version_id(), Some(other.as_str()));
    let now = s3
        .get_object()
        .bucket(bucket)
        .key(key)
        .send()
        .await
        .unwrap();
    assert_eq!(now.version_id(), back.version_id());
    let now = now.body.collect().await.unwrap().into_bytes();
    assert_eq!(now.as_ref(), b"somebody else's");

    let pages = s3.list_objects_v2().bucket(bucket).max_keys(1);
    let first = pages.clone().send().await.unwrap();
    assert_eq!(first.is_truncated(), Some(true));
    let next = pages.set_continuation_token(first.next_continuation_token);
    let next = next.send().await.unwrap();
    assert_eq!(next.contents()[0].key(), Some("parts/p1"));
    let folders = s3.list_objects_v2().bucket(bucket).delimiter("/");
    let folders = folders.send().await.unwrap();
    assert_eq!(folders.common_prefixes()[0].prefix(), Some("parts/"));
}

/// Versions that cannot go before their time.
async fn locks(c: &Clouds) {
    let s3 = &c.home.s3;
    // One of its own: moto locks none that holds objects, and AWS does.
    let bucket = "acme-locked";
    self::bucket(c, bucket, true).await;
    let rule = |mode: ObjectLockRetentionMode, days| {
        let default = DefaultRetention::builder().mode(mode).days(days).build();
        ObjectLockConfiguration::builder()
            .object_lock_enabled(ObjectLockEnabled::Enabled)
            .rule(ObjectLockRule::builder().default_retention(default).build())
            .build()
    };
    let keep = s3.put_object_lock_configuration().bucket(bucket);
    let wanted = rule(ObjectLockRetentionMode::Compliance, 14);
    let keep = keep.object_lock_configuration(wanted.clone());
    keep.send().await.unwrap();
    let have = s3.get_object_lock_configuration().bucket(bucket);
    let have = have.send().await.unwrap().object_lock_configuration;
    assert_eq!(have, Some(wanted));
    let put = s3.put_object().bucket(bucket).key("kept");
    let put = put.body(ByteStream::from_static(b"for two weeks"));
    let version = put.send().await.unwrap().version_id.unwrap();
    let kept = s3.get_object_retention().bucket(bucket).key("kept");
    let kept = kept.version_id(&version).send().await.unwrap();
    let kept = kept.retention.unwrap();
    assert_eq!(kept.mode(), Some(&ObjectLockRetentionMode::Compliance));
    let left = kept.retain_until_date().unwrap().secs() - c.clock.now().as_second();
    assert!((14 * 86_400 - 60..=14 * 86_400).contains(&left), "{left}");

    let delete = s3.delete_object().bucket(bucket).key("kept");
    let gone = delete.clone().version_id(&version).send().await;
    assert_eq!(code(gone), "AccessDenied");
    let one = ObjectIdentifier::builder().key("kept").version_id(&version);
    let all = Delete::builder().objects(one.build().unwrap()).build();
    let many = s3.delete_objects().bucket(bucket).delete(all.unwrap());
    let many = many.send().await.unwrap();
    assert_eq!(many.errors()[0].code(), Some("AccessDenied"));
    // A marker on top is no loss.
    let marker = delete.send().await.unwrap();
    assert_eq!(marker.delete_marker(), Some(true));
    let hidden = s3.get_object().bucket(bucket).key("kept");
    assert_eq!(code(hidden.send().await), "NoSuchKey");
    let there = s3.get_object().bucket(bucket).key("kept");
    let there = there.version_id(&version).send().await.unwrap();
    let there = there.body.collect().await.unwrap().into_bytes();
    assert_eq!(there.as_ref(), b"for two weeks");

    // Versions stay where they are locked; a bucket without versions takes no lock.
    let suspended = aws_sdk_s3::types::VersioningConfiguration::builder()
        .status(BucketVersioningStatus::Suspended)
        .build();
    let suspend = s3.put_bucket_versioning().bucket(bucket);
    let suspend = suspend.versioning_configuration(suspended).send().await;
    assert_eq!(code(suspend), "InvalidBucketState");
    self::bucket(c, "acme-plain", false).await;
    let late = s3.put_object_lock_configuration().bucket("acme-plain");
    let late = late.object_lock_configuration(rule(ObjectLockRetentionMode::Governance, 1));
    assert_eq!(code(late.send().await), "InvalidBucketState");
    let none = s3.get_object_lock_configuration().bucket("acme-plain");
    let none = code(none.send().await);
    assert_eq!(none, "ObjectLockConfigurationNotFoundError");
}

// --- what is told ---------------------------------------------------------------------------------

async fn signals(c: &Clouds) {
    let datum = MetricDatum::builder()
        .metric_name("BackupAge")
        .dimensions(Dimension::builder().name("Site").value("acme").build())
        .value(3_600.5)
        .unit(aws_sdk_cloudwatch::types::StandardUnit::Seconds)
        .build();
    let put = async |namespace: &str| {
        let ask = c.home.cloudwatch.put_metric_data().namespace(namespace);
        code(ask.metric_data(datum.clone()).send().await)
    };
    assert_eq!(put("gantry").await, "accepted");
    // The protocol calls it by the name of the shape, or by that of older days.
    let taken = put("AWS/RDS").await;
    assert!(taken.starts_with("InvalidParameterValue"), "{taken}");
    let topic = c.home.sns.create_topic().name("acme").send().await;
    let topic = topic.unwrap().topic_arn.unwrap();
    let publish = async |topic: &str| {
        let ask = c.home.sns.publish().topic_arn(topic);
        let ask = ask.subject("acme: a backup failed").message("p1");
        ask.send().await
    };
    assert!(publish(&topic).await.unwrap().message_id.is_some());
    let nobody = topic.replace("acme", "nobody");
    assert_eq!(code(publish(&nobody).await), "NotFound");
}

async fn all(c: &Clouds) {
    let network = c.network().await;
    disks(c, &network).await;
    databases(c, &network).await;
    data_keys(c).await;
    objects(c).await;
    signals(c).await;
}

#[tokio::test(start_paused = true)]
async fn backups_on_the_strict_cloud() {
    let (clouds, _) = Clouds::strict();
    all(&clouds).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backups_on_moto() {
    let moto = Moto::fresh();
    all(&Clouds::moto(&moto)).await;
}
