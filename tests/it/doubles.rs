//! Somebody's thing carries the tags of one of ours, as copies of instances do.

use aws_sdk_ec2::types::{DomainType, ResourceType, Tag, TagSpecification};
use gantry::cloud::Aws;
use gantry::engine::Stop;
use gantry::profile::ProfileName;
use gantry::session::{Destroy, SessionError, silent};

use crate::support::stage::{BEGINNING, Stage, site};

const ADDRESS: &str = "ec2/elastic_ip:bastion";

/// An installed site, and a second address with the tags of the bastion's.
async fn stage() -> Stage {
    let stage = Stage::new(ProfileName::Poc2k);
    stage.install().await;
    let tag = |key: &str, value: &str| Tag::builder().key(key).value(value).build();
    let tags = TagSpecification::builder()
        .resource_type(ResourceType::ElasticIp)
        .tags(tag("gantry:site", "acme"))
        .tags(tag("gantry:address", ADDRESS))
        .build();
    Aws::new(&stage.sandbox.config("eu-west-1"))
        .ec2
        .allocate_address()
        .domain(DomainType::Vpc)
        .tag_specifications(tags)
        .send()
        .await
        .unwrap();
    stage.settle().await;
    stage
}

#[tokio::test(start_paused = true)]
async fn the_one_that_is_remembered_is_ours() {
    let stage = stage().await;
    let reading = stage.read().await;
    let doubles: Vec<_> = reading
        .survey
        .doubles
        .keys()
        .map(ToString::to_string)
        .collect();
    assert_eq!(doubles, [ADDRESS]);
    assert!(reading.plan.is_empty(), "{:#?}", reading.plan);
    assert!(reading.plan.impossible.is_empty());
}

#[tokio::test(start_paused = true)]
async fn where_nothing_is_remembered_nothing_is_touched() {
    let before = stage().await;
    let now = before.sandbox.clock().now();
    let world = before.sandbox.world();
    let stage = Stage::with(site(ProfileName::Poc2k), world, &[], now.max(BEGINNING));
    stage.sandbox.clear_log();
    let refused = stage.try_install(&Stop::default(), &silent()).await;
    let Err(SessionError::Impossible(refused)) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(refused[0].address.to_string(), ADDRESS);
    let session = stage.session().await.unwrap();
    let choice = Destroy {
        delete_data: true,
        final_snapshot: None,
    };
    let plan = session.plan_destroy(&choice).await.unwrap();
    let refused = session
        .destroy("run-1", &plan, &choice, &Stop::default(), &silent())
        .await;
    assert!(
        matches!(refused, Err(SessionError::Impossible(_))),
        "{refused:?}"
    );
    for logged in stage.sandbox.log() {
        assert!(
            crate::support::deaths::is_read(&logged.call),
            "{}",
            logged.call
        );
    }
}
