//! What backups, snapshots and restores call: what the strict cloud refuses of it, how long it takes, and where
//! the content of databases and disks goes.

use std::time::Duration;

use aws_sdk_cloudwatch::primitives::DateTime;
use aws_sdk_cloudwatch::types::{Dimension, MetricDatum};
use aws_sdk_ec2::types::{Filter, InstanceSpecification, ResourceType};
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::DataKeySpec;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    BucketLocationConstraint, ChecksumAlgorithm, ChecksumMode, CompletedMultipartUpload,
    CompletedPart, CreateBucketConfiguration, ObjectLockMode,
};
use gantry::cloud::Aws;
use gantry::sandbox::{Folder, Holder, Sandbox};
use serde_json::json;

use crate::conformance::backups::{
    Clouds, FAR, code, db_snapshot, db_snapshot_state, key, presigned, rds_tag, snapshot,
    snapshot_state, tagged,
};

const REGION: &str = "eu-west-1";

async fn minutes(n: u64) {
    tokio::time::sleep(Duration::from_mins(n)).await;
}

async fn seconds(n: u64) {
    tokio::time::sleep(Duration::from_secs(n)).await;
}

async fn take(aws: &Aws, volume: &str) -> String {
    let made = aws.ec2.create_snapshot().volume_id(volume).send().await;
    made.unwrap().snapshot_id.unwrap()
}

// --- disks ----------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn a_disk_goes_through_snapshot_and_copy_and_comes_back() {
    let (c, sandbox) = Clouds::strict();
    let (here, there) = (key(&c.home).await, key(&c.far).await);
    let volume = c.volume(&here, 20).await;
    assert_eq!(
        sandbox.content(REGION, Holder::Volume(&volume)),
        Some(String::new())
    );
    assert!(sandbox.set_content(REGION, Holder::Volume(&volume), "repositories"));
    let id = take(&c.home, &volume).await;
    // What is written later is not in it, although it is not done.
    sandbox.set_content(REGION, Holder::Volume(&volume), "later");
    assert_eq!(snapshot_state(&c.home, &id).await, "pending");
    minutes(3).await;
    let half = snapshot(&c.home, &id).await;
    assert_eq!(half.progress(), Some("50%"));
    let early = c.home.ec2.create_volume().snapshot_id(&id);
    let early = early.availability_zone(format!("{REGION}a")).send().await;
    assert_eq!(code(early), "IncorrectState");
    minutes(1).await;
    assert_eq!(snapshot_state(&c.home, &id).await, "completed");

    let copy = c.far.ec2.copy_snapshot().source_region(REGION);
    let copy = copy.source_snapshot_id(&id).kms_key_id(&there);
    let copy = copy.encrypted(true).send().await.unwrap();
    let copy = copy.snapshot_id.unwrap();
    minutes(8).await;
    assert_eq!(snapshot_state(&c.far, &copy).await, "pending");
    minutes(1).await;
    assert_eq!(snapshot_state(&c.far, &copy).await, "completed");
    let held = sandbox.content(FAR, Holder::VolumeSnapshot(&copy));
    assert_eq!(held.as_deref(), Some("repositories"));

    let back = c.far.ec2.create_volume().snapshot_id(&copy).size(30);
    let back = back.availability_zone(format!("{FAR}a")).send().await;
    let back = back.unwrap();
    assert_eq!((back.size(), back.encrypted()), (Some(30), Some(true)));
    assert_eq!(back.kms_key_id(), Some(there.as_str()));
    let held = sandbox.content(FAR, Holder::Volume(back.volume_id().unwrap()));
    assert_eq!(held.as_deref(), Some("repositories"));
    let held = sandbox.content(REGION, Holder::Volume(&volume));
    assert_eq!(held.as_deref(), Some("later"));
    assert!(!sandbox.set_content(FAR, Holder::Volume(&volume), "nowhere"));
    assert_eq!(sandbox.content(FAR, Holder::Volume(&volume)), None);
}

#[tokio::test(start_paused = true)]
async fn snapshots_of_disks_are_refused() {
    let (c, sandbox) = Clouds::strict();
    let here = key(&c.home).await;
    let network = c.network().await;
    let (node, data) = c.node(&network, &here).await;
    let ec2 = &c.home.ec2;
    let of = |node: &str| InstanceSpecification::builder().instance_id(node);
    let several = async |of: InstanceSpecification| {
        let ask = ec2.create_snapshots().instance_specification(of);
        code(ask.send().await)
    };
    let root = ec2.describe_instances().instance_ids(&node).send().await;
    let root = root.unwrap().reservations()[0].instances()[0]
        .block_device_mappings()
        .iter()
        .find(|m| m.device_name() == Some("/dev/sda1"))
        .and_then(|m| m.ebs()?.volume_id().map(str::to_owned))
        .unwrap();
    for (spec, why) in [
        (of("i-0123456789abcdef0"), "InvalidInstanceID.NotFound"),
        (
            of(&node).exclude_data_volume_ids("vol-0123456789abcdef0"),
            "InvalidParameterValue",
        ),
        (
            of(&node).exclude_data_volume_ids(&root),
            "InvalidParameterValue",
        ),
        (
            of(&node)
                .exclude_boot_volume(true)
                .exclude_data_volume_ids(&data),
            "InvalidParameterValue",
        ),
        (of(&node), "accepted"),
        // Both volumes are being snapshotted.
        (of(&node), "SnapshotCreationPerVolumeRateExceeded"),
    ] {
        assert_eq!(several(spec.build()).await, why);
    }
    let mut ids: Vec<String> = Vec::new();
    for _ in 0..4 {
        seconds(16).await;
        ids.push(take(&c.home, &data).await);
    }
    seconds(16).await;
    let sixth = ec2.create_snapshot().volume_id(&data).send().await;
    assert_eq!(code(sixth), "ConcurrentSnapshotLimitExceeded");
    // None or all: the root volume could, and does not.
    let before = ec2.describe_snapshots().send().await.unwrap();
    assert_eq!(before.snapshots().len(), 6);
    assert_eq!(
        several(of(&node).build()).await,
        "ConcurrentSnapshotLimitExceeded"
    );
    seconds(3).await;
    let all = ec2.describe_snapshots().send().await.unwrap();
    assert_eq!(all.snapshots().len(), 6);

    let copy = |id: &str| {
        let ask = c.far.ec2.copy_snapshot().source_region(REGION);
        ask.source_snapshot_id(id)
    };
    let pending = copy(&ids[0]).send().await;
    assert_eq!(code(pending), "IncorrectState");
    minutes(5).await;
    let missing = copy("snap-0123456789abcdef0").send().await;
    assert_eq!(code(missing), "InvalidSnapshot.NotFound");
    let elsewhere = copy(&ids[0]).destination_region("us-east-1");
    assert_eq!(code(elsewhere.send().await), "InvalidParameterValue");
    sandbox.change(|w| {
        w.quotas.insert("snapshot_copies".into(), 1);
    });
    assert_eq!(code(copy(&ids[0]).send().await), "accepted");
    let second = copy(&ids[1]).send().await;
    assert_eq!(code(second), "ResourceLimitExceeded");

    let both = ec2
        .describe_snapshots()
        .snapshot_ids(&ids[0])
        .max_results(5);
    assert_eq!(code(both.send().await), "InvalidParameterCombination");
    let page = ec2.describe_snapshots().owner_ids("self").max_results(5);
    let page = page.send().await.unwrap();
    assert_eq!((page.snapshots().len(), page.next_token()), (5, Some("5")));
    let others = ec2.describe_snapshots().owner_ids("amazon").send().await;
    assert!(others.unwrap().snapshots().is_empty());
    let filter = |name: &str, value: &str| Filter::builder().name(name).values(value).build();
    let of_data = ec2
        .describe_snapshots()
        .filters(filter("volume-id", &data))
        .filters(filter("status", "completed"));
    assert_eq!(of_data.send().await.unwrap().snapshots().len(), 5);
    let smaller = ec2.create_volume().snapshot_id(&ids[0]).size(19);
    let smaller = smaller.availability_zone(format!("{REGION}a"));
    assert_eq!(code(smaller.send().await), "InvalidParameterValue");

    // An image holds on to its snapshot.
    sandbox.change(|w| {
        let v = json!({"imageId": "ami-1", "blockDeviceMapping": {"item": [{"ebs": {"snapshotId": ids[0]}}]}});
        w.insert(REGION, "ec2/image", "ami-1", v, 0);
    });
    let used = ec2.delete_snapshot().snapshot_id(&ids[0]).send().await;
    assert_eq!(code(used), "InvalidSnapshot.InUse");
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_gone_shows_later_on_disks() {
    let (c, _) = Clouds::strict();
    let (here, there) = (key(&c.home).await, key(&c.far).await);
    let volume = c.volume(&here, 20).await;
    let good = take(&c.home, &volume).await;
    minutes(5).await;
    let copy = async |key: &str| {
        let ask = c.far.ec2.copy_snapshot().source_region(REGION);
        let ask = ask
            .source_snapshot_id(&good)
            .kms_key_id(key)
            .encrypted(true);
        ask.send().await.unwrap().snapshot_id.unwrap()
    };
    // A key of another region, and a URL that is not one: taken, and broken minutes later.
    let foreign = copy(&here).await;
    let unsigned = c.far.ec2.copy_snapshot().source_region(REGION);
    let unsigned = unsigned
        .source_snapshot_id(&good)
        .presigned_url("https://ec2/");
    let unsigned = unsigned.send().await.unwrap().snapshot_id.unwrap();
    c.home.kms.disable_key().key_id(&here).send().await.unwrap();
    let bad = take(&c.home, &volume).await;
    let unread = copy(&there).await;
    assert_eq!(snapshot_state(&c.home, &bad).await, "pending");
    minutes(10).await;
    assert_eq!(snapshot_state(&c.home, &bad).await, "error");
    for id in [foreign, unsigned, unread] {
        assert_eq!(snapshot_state(&c.far, &id).await, "error");
    }
    let volume = c.home.ec2.create_volume().snapshot_id(&good);
    let volume = volume.availability_zone(format!("{REGION}a"));
    let volume = volume.send().await.unwrap().volume_id.unwrap();
    minutes(1).await;
    assert_eq!(c.volume_state(&volume).await, "error");
}

// --- databases ------------------------------------------------------------------------------------

async fn snapshot_of(c: &Clouds, id: &str) -> String {
    let ask = c.home.rds.create_db_snapshot();
    let ask = ask.db_instance_identifier("main");
    code(ask.db_snapshot_identifier(id).send().await)
}

#[tokio::test(start_paused = true)]
async fn a_database_goes_through_snapshot_and_copy_and_comes_back() {
    let (c, sandbox) = Clouds::strict();
    let (here, there) = (key(&c.home).await, key(&c.far).await);
    c.network().await;
    c.database("main", &here).await;
    let main = Holder::Database("main");
    sandbox.set_content(REGION, main, "first");
    minutes(20).await;
    let first = c.clock.now();
    minutes(20).await;
    sandbox.set_content(REGION, main, "second");
    assert_eq!(snapshot_of(&c, "acme-p1").await, "accepted");
    sandbox.set_content(REGION, main, "third");
    let state = c.instance("main").await.db_instance_status;
    assert_eq!(state.as_deref(), Some("backing-up"));
    minutes(4).await;
    assert_eq!(db_snapshot_state(&c.home, "acme-p1").await, "creating");
    minutes(1).await;
    let taken = db_snapshot(&c.home, "acme-p1").await;
    assert_eq!(taken.status(), Some("available"));
    c.running("main").await;

    let arn = taken.db_snapshot_arn().unwrap();
    c.copy_db_snapshot("acme-p1", arn, &there).await;
    minutes(10).await;
    assert_eq!(db_snapshot_state(&c.far, "acme-p1").await, "creating");
    minutes(1).await;
    assert_eq!(db_snapshot_state(&c.far, "acme-p1").await, "available");
    let held = sandbox.content(FAR, Holder::DatabaseSnapshot("acme-p1"));
    assert_eq!(held.as_deref(), Some("second"));

    let ask = c.home.rds.restore_db_instance_from_db_snapshot();
    let ask = ask.db_instance_identifier("main-p1");
    let ask = ask.db_snapshot_identifier("acme-p1");
    ask.db_subnet_group_name("acme").send().await.unwrap();
    minutes(14).await;
    let state = c.instance("main-p1").await;
    assert_eq!(state.db_instance_status(), Some("creating"));
    assert_eq!(state.endpoint(), None);
    minutes(2).await;
    let back = c.instance("main-p1").await;
    assert_eq!(back.db_instance_status(), Some("available"));
    // What nobody named is RDS's own choice, not the original's.
    let parameters = back.db_parameter_groups()[0].db_parameter_group_name();
    assert_eq!(parameters, Some("default.postgres17"));
    let groups = c.home.ec2.describe_security_groups().send().await.unwrap();
    let default = groups.security_groups();
    let default = default.iter().find(|g| g.group_name() == Some("default"));
    assert_eq!(
        back.vpc_security_groups()[0].vpc_security_group_id(),
        default.unwrap().group_id()
    );
    assert_eq!(
        (back.multi_az(), back.deletion_protection()),
        (Some(false), Some(false))
    );
    let held = sandbox.content(REGION, Holder::Database("main-p1"));
    assert_eq!(held.as_deref(), Some("second"));

    let ask = c.home.rds.restore_db_instance_to_point_in_time();
    let ask = ask.source_db_instance_identifier("main");
    let ask = ask.target_db_instance_identifier("main-then");
    let ask = ask.restore_time(DateTime::from_secs(first.as_second()));
    ask.db_subnet_group_name("acme").send().await.unwrap();
    minutes(18).await;
    let state = c.instance("main-then").await.db_instance_status;
    assert_ne!(state.as_deref(), Some("available"));
    minutes(1).await;
    c.running("main-then").await;
    let held = sandbox.content(REGION, Holder::Database("main-then"));
    assert_eq!(held.as_deref(), Some("first"));
    let held = sandbox.content(REGION, main);
    assert_eq!(held.as_deref(), Some("third"));
}

#[tokio::test(start_paused = true)]
async fn snapshots_of_databases_are_refused() {
    let (c, sandbox) = Clouds::strict();
    let (here, there) = (key(&c.home).await, key(&c.far).await);
    c.network().await;
    assert_eq!(snapshot_of(&c, "acme-p1").await, "DBInstanceNotFound");
    c.database("main", &here).await;
    for (id, why) in [
        ("1acme", "InvalidParameterValue"),
        ("acme--p1", "InvalidParameterValue"),
        ("acme_p1", "InvalidParameterValue"),
        ("Acme-P1", "accepted"),
        ("acme-p1", "DBSnapshotAlreadyExists"),
        // The first is under way.
        ("acme-p2", "InvalidDBInstanceState"),
    ] {
        assert_eq!(snapshot_of(&c, id).await, why, "{id}");
    }
    let copy = || {
        let ask = c.far.rds.copy_db_snapshot();
        ask.target_db_snapshot_identifier("acme-p1")
    };
    let arn = db_snapshot(&c.home, "ACME-p1")
        .await
        .db_snapshot_arn
        .unwrap();
    let url = |key: &str| presigned(&c.clock, &arn, key);
    let delete = c.home.rds.delete_db_snapshot();
    let delete = delete.db_snapshot_identifier("acme-p1");
    assert_eq!(code(delete.clone().send().await), "InvalidDBSnapshotState");
    let early = copy().source_db_snapshot_identifier(&arn).send().await;
    assert_eq!(code(early), "InvalidDBSnapshotState");
    minutes(5).await;

    let named = copy().source_db_snapshot_identifier("acme-p1").send().await;
    assert_eq!(
        code(named),
        "DBSnapshotNotFound",
        "a name is of this region"
    );
    let from = || copy().source_db_snapshot_identifier(&arn);
    assert_eq!(code(from().send().await), "InvalidParameterValue", "no key");
    let with = from().kms_key_id(&here).pre_signed_url(url(&here));
    assert_eq!(code(with.send().await), "KMSKeyNotAccessibleFault");
    let with = from().kms_key_id(&there);
    assert_eq!(
        code(with.clone().send().await),
        "InvalidParameterValue",
        "no URL"
    );
    let wrong = with.clone().pre_signed_url(url(&here)).send().await;
    assert_eq!(code(wrong), "InvalidParameterValue");
    let right = with.pre_signed_url(url(&there));
    assert_eq!(code(right.clone().send().await), "accepted");
    assert_eq!(code(right.send().await), "DBSnapshotAlreadyExists");
    let near = c.home.rds.copy_db_snapshot();
    let near = near.source_db_snapshot_identifier("acme-p1");
    let near = near.target_db_snapshot_identifier("acme-p3");
    let signed = near.clone().pre_signed_url(url(&there)).send().await;
    assert_eq!(code(signed), "InvalidParameterCombination");
    let near = near.tags(rds_tag("gantry:point", "p3")).send().await;
    let near = near.unwrap().db_snapshot.unwrap();
    assert_eq!(near.kms_key_id(), Some(here.as_str()));
    assert_eq!(near.tag_list().len(), 1, "tags are copied when asked for");

    let list = |kind: &str| {
        let ask = c.home.rds.describe_db_snapshots();
        ask.snapshot_type(kind).send()
    };
    assert_eq!(code(list("old").await), "InvalidParameterValue");
    seconds(3).await;
    assert_eq!(list("manual").await.unwrap().db_snapshots().len(), 2);
    assert!(list("automated").await.unwrap().db_snapshots().is_empty());
    let by = |name: &str| {
        let filter = aws_sdk_rds::types::Filter::builder();
        let filter = filter.name(name).values("acme-p1").build();
        c.home.rds.describe_db_snapshots().filters(filter).send()
    };
    let found = by("db-snapshot-id").await.unwrap();
    assert_eq!(found.db_snapshots().len(), 1);
    assert_eq!(code(by("colour").await), "InvalidParameterValue");

    sandbox.change(|w| {
        w.quotas.insert("db_snapshots".into(), 2);
    });
    assert_eq!(snapshot_of(&c, "acme-p4").await, "SnapshotQuotaExceeded");
    assert_eq!(code(delete.clone().send().await), "accepted");
    assert_eq!(code(delete.send().await), "DBSnapshotNotFound");
    c.home.kms.disable_key().key_id(&here).send().await.unwrap();
    assert_eq!(snapshot_of(&c, "acme-p4").await, "KMSKeyNotAccessibleFault");
}

#[tokio::test(start_paused = true)]
async fn restores_of_databases_are_refused() {
    let (c, sandbox) = Clouds::strict();
    let here = key(&c.home).await;
    c.network().await;
    c.database("main", &here).await;
    snapshot_of(&c, "acme-p1").await;
    let rds = &c.home.rds;
    let restore = || {
        let ask = rds.restore_db_instance_from_db_snapshot();
        let ask = ask.db_instance_identifier("new");
        ask.db_snapshot_identifier("acme-p1")
            .db_subnet_group_name("acme")
    };
    assert_eq!(code(restore().send().await), "InvalidDBSnapshotState");
    minutes(6).await;
    for (ask, why) in [
        (
            restore().db_instance_identifier("main"),
            "DBInstanceAlreadyExists",
        ),
        (
            restore().db_snapshot_identifier("acme-p0"),
            "DBSnapshotNotFound",
        ),
        (
            restore().db_subnet_group_name("nets"),
            "DBSubnetGroupNotFoundFault",
        ),
        (
            restore().set_db_subnet_group_name(None),
            "DBSubnetGroupNotFoundFault",
        ),
        (
            restore().db_parameter_group_name("none"),
            "DBParameterGroupNotFound",
        ),
        (
            restore().db_parameter_group_name("default.postgres16"),
            "InvalidParameterCombination",
        ),
        (
            restore().vpc_security_group_ids("sg-0123456789abcdef0"),
            "InvalidParameterValue",
        ),
        (
            restore().db_instance_class("db.huge"),
            "InvalidParameterValue",
        ),
        (restore().allocated_storage(50), "InvalidParameterValue"),
        (restore().engine("mysql"), "InvalidParameterValue"),
        (
            restore().backup_retention_period(36),
            "InvalidParameterValue",
        ),
    ] {
        assert_eq!(code(ask.send().await), why);
    }
    let many = restore().allocated_storage(500).storage_type("gp3");
    let made = many.iops(12_000).send().await.unwrap();
    let made = made.db_instance.unwrap();
    assert_eq!(
        (made.allocated_storage(), made.iops()),
        (Some(500), Some(12_000))
    );

    let in_time = || {
        let ask = rds.restore_db_instance_to_point_in_time();
        let ask = ask.source_db_instance_identifier("main");
        let ask = ask.target_db_instance_identifier("then");
        ask.db_subnet_group_name("acme")
    };
    let at = |back: i64| DateTime::from_secs(c.clock.now().as_second() - back);
    let latest = c.instance("main").await.latest_restorable_time.unwrap();
    let behind = c.clock.now().as_second() - latest.secs();
    assert!((0..=300).contains(&behind), "{behind}");
    for (ask, why) in [
        (in_time(), "InvalidParameterCombination"),
        (
            in_time()
                .restore_time(at(600))
                .use_latest_restorable_time(true),
            "InvalidParameterCombination",
        ),
        (in_time().restore_time(at(-1)), "InvalidParameterValue"),
        (in_time().restore_time(at(86_400)), "InvalidParameterValue"),
        (
            in_time()
                .source_db_instance_identifier("none")
                .restore_time(at(600)),
            "DBInstanceNotFound",
        ),
        (
            in_time()
                .source_db_instance_identifier("new")
                .restore_time(at(600)),
            "InvalidDBInstanceState",
        ),
        (
            in_time()
                .set_source_db_instance_identifier(None)
                .restore_time(at(600)),
            "InvalidParameterCombination",
        ),
        (
            in_time()
                .set_source_db_instance_identifier(None)
                .source_dbi_resource_id("db-NONE")
                .restore_time(at(600)),
            "DBInstanceAutomatedBackupNotFound",
        ),
        (
            in_time()
                .target_db_instance_identifier("main")
                .use_latest_restorable_time(true),
            "DBInstanceAlreadyExists",
        ),
    ] {
        assert_eq!(code(ask.send().await), why);
    }
    sandbox.change(|w| {
        w.get_mut(REGION, "rds/db_instance", "main")
            .unwrap()
            .set("BackupRetentionPeriod", 0);
    });
    let none = in_time().use_latest_restorable_time(true).send().await;
    assert_eq!(code(none), "PointInTimeRestoreNotEnabled");
    c.home.kms.disable_key().key_id(&here).send().await.unwrap();
    let locked = restore().db_instance_identifier("other").send().await;
    assert_eq!(code(locked), "KMSKeyNotAccessibleFault");
}

#[tokio::test(start_paused = true)]
async fn a_deleted_database_comes_back_from_backups_that_were_kept() {
    let (c, sandbox) = Clouds::strict();
    let here = key(&c.home).await;
    c.network().await;
    c.database("main", &here).await;
    sandbox.set_content(REGION, Holder::Database("main"), "issues");
    minutes(30).await;
    let resource = c.instance("main").await.dbi_resource_id.unwrap();
    let delete = c.home.rds.delete_db_instance();
    let delete = delete.db_instance_identifier("main");
    let delete = delete
        .skip_final_snapshot(true)
        .delete_automated_backups(false);
    delete.send().await.unwrap();
    minutes(60).await;
    let kept = c.home.rds.describe_db_instance_automated_backups();
    let kept = kept.dbi_resource_id(&resource).send().await.unwrap();
    let kept = &kept.db_instance_automated_backups()[0];
    assert_eq!(kept.status(), Some("retained"));
    let latest = kept.restore_window().unwrap().latest_time().unwrap();
    assert!(c.clock.now().as_second() - latest.secs() >= 3_600);
    let ask = c.home.rds.restore_db_instance_to_point_in_time();
    let ask = ask.source_dbi_resource_id(&resource);
    let ask = ask.target_db_instance_identifier("main");
    let ask = ask.use_latest_restorable_time(true);
    ask.db_subnet_group_name("acme").send().await.unwrap();
    minutes(20).await;
    c.running("main").await;
    let held = sandbox.content(REGION, Holder::Database("main"));
    assert_eq!(held.as_deref(), Some("issues"));
}

// --- data keys ------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn data_keys_are_refused() {
    let (c, _) = Clouds::strict();
    let (id, other) = (key(&c.home).await, key(&c.home).await);
    let kms = &c.home.kms;
    let make = || kms.generate_data_key().key_id(&id);
    for (ask, why) in [
        (make(), "ValidationException"),
        (
            make().number_of_bytes(32).key_spec(DataKeySpec::Aes256),
            "ValidationException",
        ),
        (make().number_of_bytes(1_025), "ValidationException"),
        (
            make().key_id("alias/none").number_of_bytes(8),
            "NotFoundException",
        ),
        (make().number_of_bytes(8), "accepted"),
    ] {
        assert_eq!(code(ask.send().await), why);
    }
    let made = make().key_spec(DataKeySpec::Aes128).send().await.unwrap();
    let blob = made.ciphertext_blob.unwrap();
    assert_eq!(made.plaintext.unwrap().as_ref().len(), 16);
    let open = || kms.decrypt().ciphertext_blob(blob.clone());
    let twice = make().key_spec(DataKeySpec::Aes128).send().await.unwrap();
    assert_ne!(twice.ciphertext_blob, Some(blob.clone()));
    for (ask, why) in [
        (open().key_id(&id), "accepted"),
        (open().key_id(&other), "IncorrectKeyException"),
        (open().key_id("alias/none"), "NotFoundException"),
        (
            open().ciphertext_blob(Blob::new(b"short".to_vec())),
            "InvalidCiphertextException",
        ),
        (
            open().encryption_context("more", "than before"),
            "InvalidCiphertextException",
        ),
    ] {
        assert_eq!(code(ask.send().await), why);
    }
}

// --- objects --------------------------------------------------------------------------------------

async fn bucket(c: &Clouds, name: &str) {
    let place = CreateBucketConfiguration::builder()
        .location_constraint(BucketLocationConstraint::from(REGION))
        .build();
    let ask = c.home.s3.create_bucket().bucket(name);
    let ask = ask.create_bucket_configuration(place);
    ask.object_lock_enabled_for_bucket(true)
        .send()
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn checksums_are_compared_and_come_back() {
    let (c, _) = Clouds::strict();
    bucket(&c, "acme").await;
    let s3 = &c.home.s3;
    // Of "abc", from FIPS 180-4, and of nothing else.
    let sum = "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=";
    let put = |key: &str, text: &'static str| {
        let ask = s3.put_object().bucket("acme").key(key);
        ask.body(ByteStream::from_static(text.as_bytes()))
    };
    let wrong = put("a", "abd").checksum_sha256(sum).send().await;
    assert_eq!(code(wrong), "BadDigest");
    let right = put("a", "abc").checksum_sha256(sum).send().await.unwrap();
    assert_eq!(right.checksum_sha256(), Some(sum));
    let head = s3.head_object().bucket("acme").key("a");
    let told = head.checksum_mode(ChecksumMode::Enabled).send().await;
    assert_eq!(told.unwrap().checksum_sha256(), Some(sum));
    let computed = put("b", "abc").checksum_algorithm(ChecksumAlgorithm::Sha256);
    assert_eq!(
        computed.send().await.unwrap().checksum_sha256(),
        Some(sum),
        "the SDK's own"
    );

    // Of an upload: over the sums of its parts.
    let begun = s3.create_multipart_upload().bucket("acme").key("c");
    let begun = begun.checksum_algorithm(ChecksumAlgorithm::Sha256);
    let upload = begun.send().await.unwrap().upload_id.unwrap();
    let part = s3.upload_part().bucket("acme").key("c").upload_id(&upload);
    let part = part.part_number(1).body(ByteStream::from_static(b"abc"));
    let part = part.checksum_sha256(sum).send().await.unwrap();
    assert_eq!(part.checksum_sha256(), Some(sum));
    let listed = s3.list_parts().bucket("acme").key("c").upload_id(&upload);
    let listed = listed.send().await.unwrap();
    assert_eq!(listed.parts()[0].checksum_sha256(), Some(sum));
    let complete = async |sum: &str| {
        let part = CompletedPart::builder()
            .part_number(1)
            .e_tag(part.e_tag().unwrap())
            .checksum_sha256(sum)
            .build();
        let parts = CompletedMultipartUpload::builder().parts(part).build();
        let ask = s3.complete_multipart_upload().bucket("acme").key("c");
        ask.upload_id(&upload).multipart_upload(parts).send().await
    };
    let other = complete("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").await;
    assert_eq!(code(other), "InvalidPart");
    let made = complete(sum).await.unwrap();
    assert!(made.checksum_sha256().unwrap().ends_with("-1"));
    assert!(made.version_id().is_some());
}

#[tokio::test(start_paused = true)]
async fn locks_hold_as_long_as_they_say() {
    let (c, _) = Clouds::strict();
    bucket(&c, "acme").await;
    let s3 = &c.home.s3;
    let put = |mode: ObjectLockMode, seconds: i64| {
        let until = c.clock.now().as_second() + seconds;
        let ask = s3.put_object().bucket("acme").key("p1");
        let ask = ask.body(ByteStream::from_static(b"manifest"));
        ask.object_lock_mode(mode)
            .object_lock_retain_until_date(DateTime::from_secs(until))
    };
    let past = put(ObjectLockMode::Governance, -60).send().await;
    assert_eq!(code(past), "InvalidArgument");
    let half = put(ObjectLockMode::Governance, 60).set_object_lock_mode(None);
    assert_eq!(code(half.send().await), "InvalidArgument");
    let soft = put(ObjectLockMode::Governance, 86_400).send().await;
    let soft = soft.unwrap().version_id.unwrap();
    let hard = put(ObjectLockMode::Compliance, 86_400).send().await;
    let hard = hard.unwrap().version_id.unwrap();
    let head = s3.head_object().bucket("acme").key("p1").send().await;
    let head = head.unwrap();
    assert_eq!(head.object_lock_mode(), Some(&ObjectLockMode::Compliance));
    let delete = |version: &str| {
        let ask = s3.delete_object().bucket("acme").key("p1");
        ask.version_id(version)
    };
    assert_eq!(code(delete(&soft).send().await), "AccessDenied");
    let with_right = delete(&soft).bypass_governance_retention(true);
    assert_eq!(code(with_right.send().await), "accepted");
    let with_right = delete(&hard).bypass_governance_retention(true);
    assert_eq!(code(with_right.send().await), "AccessDenied");
    minutes(24 * 60).await;
    assert_eq!(code(delete(&hard).send().await), "accepted");

    // Of an upload: as it was asked for when it began.
    let until = DateTime::from_secs(c.clock.now().as_second() + 3_600);
    let begun = s3.create_multipart_upload().bucket("acme").key("large");
    let begun = begun.object_lock_mode(ObjectLockMode::Governance);
    let begun = begun.object_lock_retain_until_date(until).send().await;
    let upload = begun.unwrap().upload_id.unwrap();
    let part = s3.upload_part().bucket("acme").key("large");
    let part = part.upload_id(&upload).part_number(1);
    let part = part.body(ByteStream::from_static(b"large")).send().await;
    let part = CompletedPart::builder()
        .part_number(1)
        .set_e_tag(part.unwrap().e_tag)
        .build();
    let parts = CompletedMultipartUpload::builder().parts(part).build();
    let made = s3.complete_multipart_upload().bucket("acme").key("large");
    let made = made.upload_id(&upload).multipart_upload(parts);
    let made = made.send().await.unwrap().version_id.unwrap();
    let kept = s3.get_object_retention().bucket("acme").key("large");
    let kept = kept.version_id(&made).send().await.unwrap().retention;
    assert_eq!(kept.unwrap().retain_until_date(), Some(&until));

    let free = s3.put_object().bucket("acme").key("free");
    let free = free.body(ByteStream::from_static(b"free"));
    let free = free.send().await.unwrap().version_id.unwrap();
    let kept = s3.get_object_retention().bucket("acme").key("free");
    let kept = kept.version_id(&free).send().await;
    assert_eq!(code(kept), "NoSuchObjectLockConfiguration");
}

#[tokio::test(start_paused = true)]
async fn copies_of_objects_are_refused() {
    let (c, _) = Clouds::strict();
    bucket(&c, "acme").await;
    let s3 = &c.home.s3;
    let put = s3.put_object().bucket("acme").key("a");
    put.body(ByteStream::from_static(b"abc"))
        .send()
        .await
        .unwrap();
    let marker = s3.delete_object().bucket("acme").key("gone").send().await;
    let marker = marker.unwrap().version_id.unwrap();
    let copy = |source: &str, to: &str| {
        let ask = s3.copy_object().bucket("acme").key(to);
        ask.copy_source(format!("acme/{source}"))
    };
    for (ask, why) in [
        (copy("none", "b"), "NoSuchKey"),
        (copy("a?versionId=none", "b"), "NoSuchVersion"),
        (
            copy(&format!("gone?versionId={marker}"), "b"),
            "InvalidRequest",
        ),
        (copy("a", "a"), "InvalidRequest"),
        (copy("a", "b").copy_source("nobody/a"), "NoSuchBucket"),
        (
            copy("a", "b").copy_source_if_match("\"other\""),
            "PreconditionFailed",
        ),
        (copy("a", "b"), "accepted"),
    ] {
        assert_eq!(code(ask.send().await), why);
    }
    let begun = s3.create_multipart_upload().bucket("acme").key("c");
    let upload = begun.send().await.unwrap().upload_id.unwrap();
    let part = |range: &str| {
        let ask = s3.upload_part_copy().bucket("acme").key("c");
        let ask = ask.upload_id(&upload).part_number(1);
        ask.copy_source("acme/a").copy_source_range(range)
    };
    for (range, why) in [
        ("bytes=1-", "InvalidArgument"),
        ("bytes=1-3", "InvalidArgument"),
        ("bytes=1-2", "accepted"),
    ] {
        assert_eq!(code(part(range).send().await), why, "{range}");
    }
    let lost = part("bytes=1-2").upload_id("none").send().await;
    assert_eq!(code(lost), "NoSuchUpload");
}

// --- what is told, and what is kept ---------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn what_is_told_can_be_read() {
    let (c, sandbox) = Clouds::strict();
    let datum = |name: &str| {
        let of = Dimension::builder().name("Site").value("acme").build();
        MetricDatum::builder().metric_name(name).dimensions(of)
    };
    let put = async |data: Vec<MetricDatum>| {
        let ask = c.home.cloudwatch.put_metric_data().namespace("gantry");
        code(ask.set_metric_data(Some(data)).send().await)
    };
    let at = |seconds: i64| DateTime::from_secs(c.clock.now().as_second() + seconds);
    for (datum, why) in [
        (datum("BackupAge"), "InvalidParameterValue"),
        (datum("BackupAge").value(f64::NAN), "InvalidParameterValue"),
        (
            datum("BackupAge").value(1.0).timestamp(at(8_000)),
            "InvalidParameterValue",
        ),
        (
            datum("BackupAge").value(1.0).timestamp(at(-15 * 86_400)),
            "InvalidParameterValue",
        ),
        (datum("").value(1.0), "MissingParameter"),
        (
            datum("BackupAge").value(3_600.5).timestamp(at(-60)),
            "accepted",
        ),
    ] {
        assert_eq!(put(vec![datum.build()]).await, why);
    }
    let many = (0..500).map(|n| datum("Sizes").value(f64::from(n)).build());
    assert_eq!(put(many.collect()).await, "accepted", "the SDK packs these");
    let told = sandbox.metrics();
    assert_eq!(told.len(), 501);
    assert_eq!(told[0].metric, "BackupAge");
    assert_eq!(told[0].dimensions["Site"], "acme");
    assert!((told[0].value - 3_600.5).abs() < f64::EPSILON);
    assert_eq!(told[0].at.as_second(), c.clock.now().as_second() - 60);
    assert!((told[500].value - 499.0).abs() < f64::EPSILON);

    let topic = c.home.sns.create_topic().name("acme").send().await;
    let topic = topic.unwrap().topic_arn.unwrap();
    let publish = |subject: &str, text: &str| {
        let ask = c.home.sns.publish().topic_arn(&topic);
        ask.subject(subject).message(text).send()
    };
    let long = "x".repeat(101);
    assert_eq!(code(publish(&long, "text").await), "InvalidParameter");
    assert_eq!(
        code(publish("two\nlines", "text").await),
        "InvalidParameter"
    );
    let large = "x".repeat(256 * 1024 + 1);
    assert_eq!(code(publish("subject", &large).await), "InvalidParameter");
    assert_eq!(code(publish("subject", "text").await), "accepted");
    let messages = sandbox.messages();
    let [message] = &messages[..] else {
        panic!("{messages:?}")
    };
    assert_eq!(
        (message.subject.as_str(), message.text.as_str()),
        ("subject", "text")
    );
    assert_eq!(message.topic, topic);
}

#[tokio::test]
async fn content_is_kept_with_the_world() {
    let folder = tempfile::tempdir().unwrap();
    let open = || Sandbox::open(Folder::new(folder.path()), 1).unwrap();
    let sandbox = open();
    let aws = Aws::new(&sandbox.config(REGION));
    let volume = aws
        .ec2
        .create_volume()
        .availability_zone(format!("{REGION}a"))
        .size(10)
        .tag_specifications(tagged(ResourceType::Volume, "gantry:site", "acme"))
        .send()
        .await
        .unwrap()
        .volume_id
        .unwrap();
    assert!(sandbox.set_content(REGION, Holder::Volume(&volume), "repositories"));
    let held = open().content(REGION, Holder::Volume(&volume));
    assert_eq!(held.as_deref(), Some("repositories"));
}
