//! Every profile through its life in the strict cloud: install, plan nothing, destroy, world as before.

use std::collections::BTreeSet;

use gantry::engine::Stop;
use gantry::profile::ProfileName;
use gantry::resource::{ADDRESS_TAG, SITE_TAG};
use gantry::sandbox::{Fate, Faults};
use gantry::session::{Destroy, SessionError, silent};

use crate::support::stage::{BEGINNING, Stage, account, everything};
use crate::support::{difference, picture};

async fn life(profile: ProfileName) {
    life_of(Stage::new(profile)).await;
}

async fn life_of(stage: Stage) {
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

/// The certificate that the TLS listener shows, and how many there are.
fn shown(stage: &Stage) -> (String, usize) {
    let world = stage.sandbox.world();
    let listeners = world.rows("eu-west-1", "elb/listener");
    let shown: BTreeSet<String> = listeners
        .filter_map(|(_, row)| {
            let text = row.v.to_string();
            let at = text.find("arn:aws:acm:")?;
            Some(text[at..].split('"').next().unwrap().to_owned())
        })
        .collect();
    assert_eq!(shown.len(), 1, "{shown:?}");
    let all = world.rows("eu-west-1", "acm/certificate").count();
    (shown.into_iter().next().unwrap(), all)
}

#[tokio::test(start_paused = true)]
async fn other_names_get_another_certificate_and_the_listener_is_never_without() {
    let mut stage = Stage::new(ProfileName::Poc2k);
    stage.install().await;
    let mut before = shown(&stage).0;
    for (registry, pages, domain) in [
        (Some("registry.example.com"), None, "gitlab.example.com"),
        (
            Some("registry.example.com"),
            Some("pages.example.com"),
            "gitlab.example.com",
        ),
        (None, None, "gitlab.example.com"),
        (None, None, "git.example.com"),
    ] {
        stage.site.front.registry_domain = registry.map(|name| name.parse().unwrap());
        stage.site.front.pages_domain = pages.map(|name| name.parse().unwrap());
        stage.site.site.domain = domain.parse().unwrap();
        stage.install().await;
        let reading = stage.read().await;
        assert!(reading.plan.is_empty(), "{domain}: {:#?}", reading.plan);
        let (now, all) = shown(&stage);
        assert_ne!(now, before, "{domain}");
        assert_eq!(all, 1, "the old one is gone");
        before = now;
    }
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

macro_rules! lives_with_a_vault {
    ($($name:ident: $profile:ident),* $(,)?) => {$(
        #[tokio::test(start_paused = true)]
        async fn $name() {
            life_of(Stage::with_a_vault(ProfileName::$profile)).await;
        }
    )*};
}

lives_with_a_vault! {
    single_box_lives_and_dies_with_a_vault: SingleBox,
    poc_2k_lives_and_dies_with_a_vault: Poc2k,
    ha_3k_lives_and_dies_with_a_vault: Ha3k,
}

/// The ARNs that AWS Backup was told to save.
fn saved(stage: &Stage) -> Vec<String> {
    let world = stage.sandbox.world();
    let (_, row) = world.rows("eu-west-1", "backup/selection").next().unwrap();
    let arns = row.v["BackupSelection"]["Resources"].as_array().unwrap();
    arns.iter()
        .map(|arn| arn.as_str().unwrap().to_owned())
        .collect()
}

/// What AWS Backup would have put into the site's own vault in a night.
fn put_a_point(stage: &Stage) {
    let arn = "arn:aws:backup:eu-west-1:123456789012:recovery-point:one";
    let now = stage.sandbox.clock().now().as_millisecond();
    stage.sandbox.change(|world| {
        let role = world
            .rows("global", "iam/role")
            .find(|(name, _)| name.contains("-backup-"))
            .map(|(_, row)| row.text("Arn").to_owned());
        let v = serde_json::json!({"RecoveryPointArn": arn, "_arn": arn, "BackupVaultName": "gantry-acme-main",
            "Status": "COMPLETED", "ResourceType": "RDS", "IamRoleArn": role, "IsEncrypted": true, "IsParent": false});
        let row = world.insert("eu-west-1", "backup/recovery_point", arn, v, now);
        // AWS Backup copies the tags of what it saved; the point is not taken for the thing itself.
        row.tags.insert(SITE_TAG.into(), "acme".into());
        row.tags.insert(ADDRESS_TAG.into(), "rds/db_instance:main".into());
    });
}

#[tokio::test(start_paused = true)]
async fn a_vault_stays_with_its_key_and_its_role_until_the_data_goes() {
    let stage = Stage::with_a_vault(ProfileName::Poc2k);
    let before = picture(&stage.sandbox.world());
    stage.install().await;
    let arns = saved(&stage);
    assert!(
        arns.iter().any(|arn| arn.ends_with(":db:gantry-acme-main")),
        "{arns:?}"
    );
    assert!(
        arns.iter().any(|arn| arn.contains(":volume/vol-")),
        "{arns:?}"
    );
    put_a_point(&stage);
    stage.settle().await;
    assert!(stage.read().await.plan.is_empty());

    stage.destroy(&Destroy::default()).await;
    let left = stage.read().await.survey.found;
    let has = |text: &str| left.keys().any(|a| a.to_string() == text);
    for kept in ["backup/vault:main", "iam/role:backup", "kms/key:main"] {
        assert!(has(kept), "{kept} stays");
    }
    for gone in ["backup/plan:main", "backup/selection:main"] {
        assert!(!has(gone), "{gone} goes");
    }
    stage.install().await;
    assert!(stage.read().await.plan.is_empty());
    stage.destroy(&everything()).await;
    stage.settle().await;
    let after = picture(&stage.sandbox.world());
    assert_eq!(difference(&before, &after), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn answers_of_aws_backup_that_get_lost_make_nothing_twice() {
    let quiet = Stage::with_a_vault(ProfileName::SingleBox);
    quiet.install().await;
    quiet.settle().await;
    let wanted = picture(&quiet.sandbox.world());
    for fate in [Fate::LostBefore, Fate::LostAfter] {
        let stage = Stage::with_a_vault(ProfileName::SingleBox);
        let (mut met, what) = (BTreeSet::new(), fate.clone());
        stage.sandbox.faults(|faults| {
            faults.set(move |call, _| {
                let first = call.starts_with("backup:") && met.insert(call.to_owned());
                if first { what.clone() } else { Fate::Pass }
            });
        });
        stage.install().await;
        stage.sandbox.faults(Faults::clear);
        stage.settle().await;
        let diff = difference(&wanted, &picture(&stage.sandbox.world()));
        assert_eq!(diff, Vec::<String>::new(), "{fate:?}");
        assert!(stage.read().await.plan.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_locked_vault_outlives_the_site_and_says_why() {
    let stage = Stage::with_a_vault(ProfileName::SingleBox);
    stage.install().await;
    put_a_point(&stage);
    let lock = |locked: bool| {
        stage.sandbox.change(|world| {
            let row = world.get_mut("eu-west-1", "backup/vault", "gantry-acme-main");
            let row = row.unwrap();
            row.set("Locked", locked);
            row.set("MinRetentionDays", 14);
        });
    };
    lock(true);
    let session = stage.session().await.unwrap();
    let plan = session.plan_destroy(&everything()).await.unwrap();
    let report = session
        .destroy("first", &plan, &everything(), &Stop::default(), &silent())
        .await
        .unwrap();
    let failures: Vec<String> = report
        .failures()
        .map(|(name, f)| format!("{name}: {f}"))
        .collect();
    assert_eq!(failures.len(), 1, "{failures:?}");
    let said = &failures[0];
    assert!(
        said.starts_with("backup/vault:main") && said.contains("is locked"),
        "{said}"
    );
    // What the vault leans on waits for it.
    let left = stage.read().await.survey.found;
    for waits in ["backup/vault:main", "iam/role:backup", "kms/key:main"] {
        assert!(left.keys().any(|a| a.to_string() == waits), "{waits} waits");
    }
    lock(false);
    stage.destroy(&everything()).await;
    assert!(stage.read().await.survey.found.is_empty());
}

#[tokio::test(start_paused = true)]
async fn without_its_section_a_vault_is_no_longer_filled_and_still_emptied() {
    let mut stage = Stage::with_a_vault(ProfileName::SingleBox);
    stage.install().await;
    put_a_point(&stage);
    let wanted = stage.site.backup.vault.take();
    let plan = stage.read().await.plan;
    let words: Vec<String> = plan
        .changes
        .iter()
        .filter(|c| c.action.word() != "keep")
        .map(|c| format!("{} {}", c.action.word(), c.address))
        .collect();
    // The role stays: without it nothing that is in the vault would ever expire.
    assert_eq!(
        words,
        [
            "update kms/key:main",
            "delete backup/plan:main",
            "delete backup/selection:main",
            "retain backup/vault:main",
            "retain iam/role:backup",
        ]
    );
    stage.install().await;
    let left = stage.read().await;
    assert!(left.plan.is_empty(), "{:#?}", left.plan.changes);

    stage.site.backup.vault = wanted;
    stage.install().await;
    stage.settle().await;
    let again = stage.read().await.plan;
    assert!(again.is_empty(), "{:#?}", again.changes);
    assert_eq!(saved(&stage).len(), 14, "13 buckets and the box's disk");
    stage.destroy(&everything()).await;
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
        "kms/key:recovery",
        "secretsmanager/secret:backup-signing-key",
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

#[tokio::test(start_paused = true)]
async fn backups_become_immutable_for_longer_and_never_for_less() {
    let mut stage = Stage::new(ProfileName::SingleBox);
    stage.install().await;
    for days in [14, 30] {
        stage.site.backup.immutable_days = Some(days);
        let plan = stage.read().await.plan;
        let changed: Vec<_> = plan.changes.iter().filter(|c| c.action.changes()).collect();
        let addresses: Vec<_> = changed.iter().map(|c| c.address.to_string()).collect();
        assert_eq!(addresses, ["s3/bucket:backups"]);
        stage.install().await;
        assert!(stage.read().await.plan.is_empty(), "{days}");
    }

    for weaker in [Some(29), None] {
        stage.site.backup.immutable_days = weaker;
        let plan = stage.read().await.plan;
        assert_eq!(plan.impossible.len(), 1, "{weaker:?}");
        let why = &plan.impossible[0].why;
        assert!(why.contains("immutable_days = 30"), "{why}");
        let refused = stage.try_install(&Stop::default(), &silent()).await;
        let Err(SessionError::Impossible(_)) = refused else {
            panic!("installed with {weaker:?}");
        };
    }
    stage.site.backup.immutable_days = Some(30);
    assert!(stage.read().await.plan.is_empty(), "and nothing was done");
}

/// The role of a box has the rights of three, and IAM takes 10,240 characters of them: also for the longest name, a
/// second region and everything switched on.
#[tokio::test(start_paused = true)]
async fn the_longest_names_fit_into_what_aws_allows() {
    for profile in [ProfileName::SingleBox, ProfileName::Poc2k] {
        let mut site = crate::support::stage::site(profile);
        site.site.name = "a-site-with-a-long-name1".parse().unwrap();
        site.backup.copy_to_region = Some("ap-southeast-2".parse().unwrap());
        site.backup.vault = Stage::with_a_vault(profile).site.backup.vault;
        let stage = Stage::with(site, account(), &[], BEGINNING);
        stage.install().await;
    }
}
