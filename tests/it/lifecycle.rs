//! Every profile through its life in the strict cloud: install, plan nothing, destroy, world as before.

use gantry::profile::ProfileName;
use gantry::resource::{ADDRESS_TAG, SITE_TAG};
use gantry::session::Destroy;

use crate::support::stage::{Stage, everything};
use crate::support::{difference, picture};

async fn life(profile: ProfileName) {
    let stage = Stage::new(profile);
    let before = picture(&stage.sandbox.world());
    stage.install().await;

    let reading = stage.read().await;
    let changes: Vec<_> = reading
        .plan
        .changes
        .iter()
        .filter(|c| c.action.changes())
        .collect();
    assert!(reading.plan.is_empty(), "plan after install: {changes:#?}");
    assert!(
        reading.survey.doubles.is_empty(),
        "made twice: {:?}",
        reading.survey.doubles
    );
    assert_eq!(
        reading.survey.found.len(),
        reading.blueprint.len(),
        "everything wanted is there, and nothing else"
    );

    stage.destroy(&everything()).await;
    stage.settle().await;
    let after = picture(&stage.sandbox.world());
    assert_eq!(
        difference(&before, &after),
        Vec::<String>::new(),
        "the world is as it was"
    );
}

macro_rules! lives {
    ($($name:ident: $profile:ident),* $(,)?) => {$(
        #[tokio::test(start_paused = true)]
        async fn $name() {
            life(ProfileName::$profile).await;
        }
    )*};
}

lives! {
    single_box_lives_and_dies: SingleBox,
    poc_2k_lives_and_dies: Poc2k,
    ha_3k_lives_and_dies: Ha3k,
    ha_5k_lives_and_dies: Ha5k,
    ha_10k_lives_and_dies: Ha10k,
    ha_25k_lives_and_dies: Ha25k,
    ha_50k_lives_and_dies: Ha50k,
}

#[tokio::test(start_paused = true)]
async fn destroy_keeps_data_and_what_it_leans_on_unless_told_otherwise() {
    let stage = Stage::new(ProfileName::Poc2k);
    stage.install().await;
    stage.destroy(&Destroy::default()).await;
    let left = stage.read().await.survey.found;
    let has = |text: &str| left.keys().any(|a| a.to_string() == text);
    for kept in [
        "rds/db_instance:main",
        "ec2/volume:gitaly-1",
        "s3/bucket:artifacts",
        "kms/key:main",
        "ec2/vpc:main",
    ] {
        assert!(has(kept), "{kept} stays");
    }
    for gone in [
        "ec2/instance:gitaly-1",
        "elb/load_balancer:public",
        "ec2/nat_gateway:a",
        "autoscaling/group:rails",
    ] {
        assert!(!has(gone), "{gone} goes");
    }

    stage.install().await;
    assert!(
        stage.read().await.plan.is_empty(),
        "install builds around the data again"
    );
    stage.destroy(&everything()).await;
    assert!(stage.read().await.survey.found.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_lost_journal_comes_back_from_the_tags() {
    let stage = Stage::new(ProfileName::Ha3k);
    stage.install().await;
    stage.settle().await;
    let (rebuilt, records) = {
        let empty = Stage::with(
            stage.site.clone(),
            stage.sandbox.world(),
            &[],
            stage.sandbox.clock().now(),
        );
        empty.session().await.unwrap().recover().await.unwrap()
    };
    assert!(rebuilt.unfinished.is_empty(), "{:?}", rebuilt.unfinished);
    let again = Stage::with(
        stage.site.clone(),
        stage.sandbox.world(),
        &records,
        stage.sandbox.clock().now(),
    );
    let plan = again.read().await.plan;
    let changes: Vec<_> = plan.changes.iter().filter(|c| c.action.changes()).collect();
    assert!(plan.is_empty(), "plan after rebuild: {changes:#?}");
}

#[tokio::test(start_paused = true)]
async fn everything_that_can_carry_tags_carries_ours() {
    let stage = Stage::new(ProfileName::Ha3k);
    stage.install().await;
    let world = stage.sandbox.world();
    for (table, rows) in &world.tables {
        for (id, row) in rows.iter().filter(|(_, r)| r.tags.contains_key(SITE_TAG)) {
            assert_eq!(
                row.tags.get(SITE_TAG).map(String::as_str),
                Some("acme"),
                "{table} {id}"
            );
            let grown = row.tags.contains_key("aws:autoscaling:groupName")
                || row.tags.contains_key("gantry:role");
            assert!(
                row.tags.contains_key(ADDRESS_TAG) || grown,
                "{table} {id} says which resource it is: {:?}",
                row.tags
            );
        }
    }
}
