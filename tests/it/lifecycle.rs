//! Every profile through its life in the strict cloud: install, plan nothing, destroy, world as before.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_elasticloadbalancingv2::types::LoadBalancerAttribute;
use gantry::cloud::Aws;
use gantry::engine::Stop;
use gantry::profile::ProfileName;
use gantry::resource::{ADDRESS_TAG, ROLE_TAG, SITE_TAG};
use gantry::sandbox::world::{Row, World};
use gantry::sandbox::{Fate, Faults, Moment};
use gantry::session::{Destroy, SessionError, silent};
use gantry::site::Site;

use crate::support::deaths::is_read;
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

/// Tables whose rows carry no tags of ours.
const WITHOUT_TAGS: [&str; 6] = [
    // Takes none at AWS.
    "autoscaling/policy",
    "backup/selection",
    "kms/alias",
    "route53/record_set",
    // Made by AWS for what carries ours, and gone with it.
    "ec2/network_interface",
    "rds/automated_backup",
];

/// What `now` has, `before` had not, and lacks one of our tags; save for the rows to leave aside.
fn untagged(before: &World, now: &World, aside: fn(&str, &Row) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for (place, rows) in &now.tables {
        let (_, table) = place.split_once('/').unwrap();
        if WITHOUT_TAGS.contains(&table) {
            continue;
        }
        let old = before.tables.get(place);
        for (id, row) in rows {
            if old.is_some_and(|rows| rows.contains_key(id)) || aside(table, row) {
                continue;
            }
            let missing = lacks(table, row);
            if !missing.is_empty() {
                found.push(format!("{place} {id} lacks {missing:?}: {:?}", row.tags));
            }
        }
    }
    found
}

/// Which of our tags a row should have and has not.
fn lacks(table: &str, row: &Row) -> Vec<&'static str> {
    let node = ["ec2/instance", "ec2/volume"].contains(&table);
    let wanted = [
        (SITE_TAG, true),
        ("Name", true),
        (ADDRESS_TAG, !comes_with_another(row)),
        (ROLE_TAG, node),
    ];
    let has = |key: &str| match row.tags.get(key) {
        Some(site) if key == SITE_TAG => site == "acme",
        Some(text) => !text.is_empty(),
        None => false,
    };
    let missing = wanted.iter().filter(|(key, due)| *due && !has(key));
    missing.map(|(key, _)| *key).collect()
}

/// The node of an Auto Scaling group, or the root volume of a node: no resource of the blueprint, so without an address.
fn comes_with_another(row: &Row) -> bool {
    row.tags.contains_key("aws:autoscaling:groupName")
        || row.v["attachmentSet"]["item"][0]["deleteOnTermination"] == true
}

#[tokio::test(start_paused = true)]
async fn everything_that_can_carry_tags_carries_ours() {
    for profile in [
        ProfileName::SingleBox,
        ProfileName::Poc2k,
        ProfileName::Ha3k,
    ] {
        let stage = Stage::with_a_vault(profile);
        let before = stage.sandbox.world();
        stage.install().await;
        let now = stage.sandbox.world();
        // AWS makes one with each VPC; every subnet follows one of ours.
        let found = untagged(&before, &now, |table, row| {
            table == "ec2/route_table" && row.is("_default")
        });
        assert_eq!(found, Vec::<String>::new(), "{profile}");
        let nodes = now.rows("eu-west-1", "ec2/instance").count();
        let volumes = now.rows("eu-west-1", "ec2/volume").count();
        assert!(volumes > nodes && nodes > 0, "each has its root volume");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_without_our_tags_for_a_moment() {
    let stage = Stage::with_a_vault(ProfileName::Poc2k);
    let (before, sandbox) = (stage.sandbox.world(), stage.sandbox.clone());
    let found: Arc<Mutex<BTreeSet<String>>> = Arc::default();
    let seen = found.clone();
    let looks: Arc<Mutex<u32>> = Arc::default();
    let count = looks.clone();
    stage.sandbox.faults(|faults| {
        faults.watch(move |moment, call| {
            if moment == Moment::Before || is_read(call) {
                return;
            }
            *count.lock().unwrap() += 1;
            // What AWS makes with a VPC gets its tags afterwards, or none.
            let bare = untagged(&before, &sandbox.world(), |_, row| row.is("_default"));
            seen.lock().unwrap().extend(bare);
        });
    });
    stage.install().await;
    stage.sandbox.faults(Faults::clear);
    assert_eq!(*found.lock().unwrap(), BTreeSet::new());
    assert!(*looks.lock().unwrap() > 100, "there was something to see");
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

/// The same world and the same memory, after a change of the site file.
fn with_another_file(stage: &Stage, change: impl FnOnce(&mut Site)) -> Stage {
    let mut site = stage.site.clone();
    change(&mut site);
    let now = stage.sandbox.clock().now();
    Stage::with(site, stage.sandbox.world(), &stage.store.records(), now)
}

/// What an install would do, a word and an address each.
async fn plan(stage: &Stage) -> Vec<String> {
    let changes = stage.read().await.plan.changes;
    changes
        .iter()
        .filter(|change| change.action.changes())
        .map(|change| format!("{} {}", change.action.word(), change.address))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_database_moves_to_the_parameters_of_its_next_major_version() {
    let file = |version: &'static str| {
        move |site: &mut Site| {
            // The last that takes both.
            site.gitlab.version = "18.11.0".parse().unwrap();
            site.database.engine_version = Some(version.parse().unwrap());
        }
    };
    let old = with_another_file(&Stage::new(ProfileName::Poc2k), file("16"));
    old.install().await;
    let new = with_another_file(&old, file("17"));
    assert_eq!(
        plan(&new).await,
        [
            "create rds/parameter_group:main-17",
            "update rds/db_instance:main",
            "delete rds/parameter_group:main-16",
        ]
    );
    new.install().await;
    assert_eq!(plan(&new).await, Vec::<String>::new());
    let world = new.sandbox.world();
    let (_, database) = world.rows("eu-west-1", "rds/db_instance").next().unwrap();
    assert!(database.text("EngineVersion").starts_with("17."));
    let groups: Vec<&str> = world
        .rows("eu-west-1", "rds/parameter_group")
        .map(|(_, row)| row.text("DBParameterGroupFamily"))
        .collect();
    assert_eq!(groups, ["postgres17"]);
}

#[tokio::test(start_paused = true)]
async fn a_database_on_its_way_out_is_waited_for_and_made_anew() {
    let stage = Stage::new(ProfileName::Poc2k);
    stage.install().await;
    stage.settle().await;
    let wanted = picture(&stage.sandbox.world());
    let rds = Aws::new(&stage.sandbox.config("eu-west-1")).rds;
    rds.modify_db_instance()
        .db_instance_identifier("gantry-acme-main")
        .deletion_protection(false)
        .apply_immediately(true)
        .send()
        .await
        .unwrap();
    rds.delete_db_instance()
        .db_instance_identifier("gantry-acme-main")
        .skip_final_snapshot(true)
        .delete_automated_backups(true)
        .send()
        .await
        .unwrap();

    let began = stage.sandbox.clock().now();
    stage.install().await;
    // Seven minutes to its end, a few looks, and seventeen for the new one.
    let took = stage.sandbox.clock().since(began);
    assert!(took < Duration::from_mins(45), "{took:?}");
    assert_eq!(plan(&stage).await, Vec::<String>::new());
    stage.settle().await;
    let diff = difference(&wanted, &picture(&stage.sandbox.world()));
    assert_eq!(diff, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn access_logs_that_somebody_led_elsewhere_are_brought_back() {
    let stage = Stage::new(ProfileName::Poc2k);
    stage.install().await;
    let world = stage.sandbox.world();
    let (arn, _) = world.rows("eu-west-1", "elb/load_balancer").next().unwrap();
    let elsewhere = LoadBalancerAttribute::builder()
        .key("access_logs.s3.prefix")
        .value("elsewhere")
        .build();
    let elb = Aws::new(&stage.sandbox.config("eu-west-1")).elb;
    let call = elb.modify_load_balancer_attributes();
    let call = call.load_balancer_arn(arn).attributes(elsewhere);
    call.send().await.unwrap();

    let reading = stage.read().await;
    let mut drifted = reading.plan.changes.iter().filter(|c| c.action.changes());
    let change = drifted.next().unwrap();
    assert_eq!(change.address.to_string(), "elb/load_balancer:public");
    let fields = &change.action.diff().unwrap().fields;
    let fields: Vec<&str> = fields.iter().map(|f| f.field.as_str()).collect();
    assert_eq!(fields, ["logs"]);
    assert!(drifted.next().is_none(), "nothing else drifted");
    stage.install().await;
    assert_eq!(plan(&stage).await, Vec::<String>::new());
}

/// Type and name of each record that did not come with its hosted zone.
fn records(world: &World) -> Vec<String> {
    let all = world.rows("global", "route53/record_set");
    all.filter(|(_, row)| !row.is("_seeded"))
        .map(|(_, row)| format!("{} {}", row.text("Type"), row.text("Name")))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_record_that_leads_to_the_successor_outlives_the_site_and_the_others_go() {
    let mut stage = Stage::new(ProfileName::Poc2k);
    stage.site.front.registry_domain = Some("registry.example.com".parse().unwrap());
    let before = picture(&stage.sandbox.world());
    stage.install().await;
    let made = records(&stage.sandbox.world());
    assert_eq!(made.len(), 4, "an alias and a proof each: {made:?}");
    let successor = "successor-0123456789abcdef.elb.eu-west-1.amazonaws.com.";
    stage.sandbox.change(|world| {
        let mut rows = world.table("global", "route53/record_set").values_mut();
        let alias =
            rows.find(|row| (row.text("Type"), row.text("Name")) == ("A", "gitlab.example.com."));
        alias.unwrap().v["AliasTarget"]["DNSName"] = successor.into();
    });

    stage.destroy(&everything()).await;
    stage.settle().await;
    let world = stage.sandbox.world();
    assert_eq!(records(&world), ["A gitlab.example.com."]);
    let left = difference(&before, &picture(&world));
    assert_eq!(left.len(), 1, "{left:#?}");
    assert!(
        left[0].starts_with("only after: global/route53/record_set"),
        "{left:?}"
    );
    let rows = world.rows("global", "route53/record_set");
    let led = rows.filter(|(_, row)| row.v["AliasTarget"]["DNSName"] == successor);
    assert_eq!(led.count(), 1, "it leads where somebody led it");
}
