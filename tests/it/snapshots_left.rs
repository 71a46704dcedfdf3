//! Snapshots are of no kind, and outlive what they are of: what becomes of them when a site is destroyed with its data.

use std::time::Duration;

use aws_sdk_ec2::types::{ResourceType, Tag, TagSpecification};
use aws_sdk_kms::types::KeyState;
use gantry::cloud::{Aws, Fault};
use gantry::engine::Stop;
use gantry::profile::ProfileName;
use gantry::sandbox::{Fate, Faults, Refusal};
use gantry::session::{Destroy, silent};

use crate::support::stage::{Stage, everything};

const DATABASE: &str = "gantry-acme-main";

fn with_a_last_one() -> Destroy {
    Destroy {
        delete_data: true,
        final_snapshot: Some("final-1".to_owned()),
    }
}

fn aws(stage: &Stage) -> Aws {
    Aws::new(&stage.sandbox.config("eu-west-1"))
}

/// An installed site with a snapshot of a disk by its policy, one of the database for a point, and one of a disk of
/// another site.
async fn stage() -> Stage {
    let stage = Stage::new(ProfileName::Poc2k);
    stage.install().await;
    let aws = aws(&stage);
    let volumes = aws.ec2.describe_volumes().send().await.unwrap();
    let data = volumes.volumes().iter().find(|v| v.size() > Some(100));
    let volume = data.unwrap().volume_id().unwrap();
    for site in ["acme", "other"] {
        let tag = Tag::builder().key("gantry:site").value(site).build();
        let tags = TagSpecification::builder()
            .resource_type(ResourceType::Snapshot)
            .tags(tag)
            .build();
        let call = aws.ec2.create_snapshot().volume_id(volume);
        call.tag_specifications(tags).send().await.unwrap();
        stage.sandbox.clock().sleep(Duration::from_hours(1)).await;
    }
    let tag = |key: &str, value: &str| {
        let tag = aws_sdk_rds::types::Tag::builder().key(key).value(value);
        tag.build()
    };
    aws.rds
        .create_db_snapshot()
        .db_instance_identifier(DATABASE)
        .db_snapshot_identifier("gantry-acme-a-point")
        .tags(tag("gantry:site", "acme"))
        .tags(tag("gantry:point", "a-point"))
        .send()
        .await
        .unwrap();
    stage.settle().await;
    stage
}

/// The names of all snapshots there are, those of disks by the site in their tag.
async fn left(stage: &Stage) -> Vec<String> {
    let aws = aws(stage);
    let disks = aws.ec2.describe_snapshots().owner_ids("self").send();
    let mut all: Vec<String> = (disks.await.unwrap().snapshots().iter())
        .map(|s| format!("disk of {}", s.tags()[0].value().unwrap()))
        .collect();
    let databases = aws.rds.describe_db_snapshots().snapshot_type("manual");
    let databases = databases.send().await.unwrap();
    all.extend(
        (databases.db_snapshots().iter()).map(|s| s.db_snapshot_identifier().unwrap().to_owned()),
    );
    all.sort();
    all
}

#[tokio::test(start_paused = true)]
async fn they_go_with_the_data_and_the_last_one_keeps_its_key() {
    let stage = stage().await;
    let mut all = left(&stage).await;
    all.sort();
    assert_eq!(
        all,
        ["disk of acme", "disk of other", "gantry-acme-a-point"]
    );

    let session = stage.session().await.unwrap();
    let plan = session.plan_destroy(&Destroy::default()).await.unwrap();
    assert!(plan.snapshots.is_empty(), "data stays, and they with it");
    let plan = session.plan_destroy(&with_a_last_one()).await.unwrap();
    let keep: Vec<String> = plan.keep.iter().map(ToString::to_string).collect();
    assert_eq!(keep, ["kms/key:main"]);
    assert!(plan.snapshots.iter().all(|s| s.goes()));
    assert_eq!(plan.snapshots.len(), 2);

    stage.destroy(&with_a_last_one()).await;
    let last = format!("{DATABASE}-final-1");
    assert_eq!(left(&stage).await, ["disk of other", last.as_str()]);
    // Longer than AWS waits before it removes a key.
    stage.settle().await;
    let aws = aws(&stage);
    let found = aws.rds.describe_db_snapshots();
    let found = found.db_snapshot_identifier(&last).send().await.unwrap();
    let key = found.db_snapshots()[0].kms_key_id().unwrap();
    let key = aws.kms.describe_key().key_id(key).send().await.unwrap();
    let state = key.key_metadata().unwrap().key_state();
    assert_eq!(state, Some(&KeyState::Enabled), "it restores");

    // Nothing else is left, and asking again changes nothing while the snapshot is there.
    let session = stage.session().await.unwrap();
    let plan = session.plan_destroy(&everything()).await.unwrap();
    assert!(plan.is_empty(), "{:?}", plan.delete);
    assert_eq!(plan.keep.len(), 1);
    aws.rds
        .delete_db_snapshot()
        .db_snapshot_identifier(&last)
        .send()
        .await
        .unwrap();
    stage.destroy(&everything()).await;
    let session = stage.session().await.unwrap();
    let plan = session.plan_destroy(&everything()).await.unwrap();
    assert!(plan.is_empty() && plan.keep.is_empty(), "{:?}", plan.keep);
}

#[tokio::test(start_paused = true)]
async fn one_that_cannot_be_removed_is_named_and_tried_again() {
    let stage = stage().await;
    let session = stage.session().await.unwrap();
    let plan = session.plan_destroy(&everything()).await.unwrap();
    stage.sandbox.faults(|faults| {
        faults.set(|call, _| match call {
            "ec2:DeleteSnapshot" => {
                Fate::Refuse(Refusal::new(403, "UnauthorizedOperation", "not you"))
            }
            _ => Fate::Pass,
        });
    });
    let (stop, all) = (Stop::default(), everything());
    let report = session
        .destroy("run-1", &plan, &all, &stop, &silent())
        .await;
    let report = report.unwrap();
    let failed: Vec<_> = report.failures().collect();
    let [(name, Fault::Denied { call, .. })] = failed.as_slice() else {
        panic!("{failed:?}");
    };
    assert!(name.starts_with("ec2/snapshot:snap-"), "{name}");
    assert_eq!(call, "ec2:DeleteSnapshot");
    assert_eq!(left(&stage).await, ["disk of acme", "disk of other"]);

    stage.sandbox.faults(Faults::clear);
    stage.destroy(&everything()).await;
    assert_eq!(left(&stage).await, ["disk of other"]);
}
