//! AWS Backup: vaults, plans and selections through their whole lives on the strict cloud, and what that cloud refuses.

use std::collections::BTreeMap;

use aws_sdk_backup::types::{
    BackupPlanInput, BackupRuleInput, BackupSelection, Condition, ConditionType, CopyAction,
    Lifecycle,
};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use gantry::cloud::Fault;
use gantry::kinds::backup::{Plan, Selected, Selection, SelectionId, Vault};
use gantry::kinds::ec2::{Volume, VolumeType};
use gantry::kinds::iam::{self, Role};
use gantry::kinds::kms::{Key, KeyUse};
use gantry::kinds::s3::{Bucket, BucketEncryption, LifecycleRule, Purpose};
use gantry::resource::{ADDRESS_TAG, Address, Found, Readiness, Ref, Resource, SITE_TAG};
use serde_json::json;

use crate::stage::{REGION, Stage, refused};

const OTHER: &str = "arn:aws:backup:eu-west-1:210987654321:backup-vault:acme";

/// What AWS Backup saves, and by which role.
struct Ground {
    s: Stage,
    key: Ref<Key>,
    role: Ref<Role>,
    bucket: Ref<Bucket>,
    volume: Ref<Volume>,
}

async fn ground() -> Ground {
    let mut s = Stage::new();
    let key = Key {
        description: "acme".into(),
        used_for: KeyUse::Data,
        copied_into: Some("210987654321".into()),
        rotation: true,
        pending_days: 7,
    };
    let (key, _) = s.make("main", key).await;
    let role = Role {
        name: "gantry-acme-backup".into(),
        path: iam::path("acme"),
        service: "backup.amazonaws.com".into(),
        grants: vec![],
    };
    let (role, _) = s.make("backup", role).await;
    let bucket = Bucket {
        name: "gantry-acme-uploads-4f1d".into(),
        purpose: Purpose::Objects,
        encryption: BucketEncryption::Key(key.clone()),
        lifecycle: vec![LifecycleRule::AbortIncomplete { days: 7 }],
        log_to: None,
        allow_delivery: vec![],
        immutable_days: None,
    };
    let (bucket, _) = s.make("uploads", bucket).await;
    let volume = Volume {
        zone: format!("{REGION}a"),
        size_gib: 100,
        volume_type: VolumeType::Gp3,
        iops: 3_000,
        throughput: Some(125),
        key: key.clone(),
        role: "gitaly".into(),
        snapshots: None,
    };
    let (volume, _) = s.make("gitaly-1", volume).await;
    Ground {
        s,
        key,
        role,
        bucket,
        volume,
    }
}

impl Ground {
    fn vault(&self) -> Vault {
        Vault {
            name: "gantry-acme-main".into(),
            key: self.key.clone(),
            role: self.role.clone(),
        }
    }

    fn selection(&self, plan: &Ref<Plan>) -> Selection {
        Selection {
            name: "gantry-acme-main".into(),
            plan: plan.clone(),
            role: self.role.clone(),
            resources: vec![
                Selected::Bucket(self.bucket.clone()),
                Selected::Volume(self.volume.clone()),
            ],
        }
    }

    fn hand(&self) -> aws_sdk_backup::Client {
        self.s.cloud.aws().backup.clone()
    }

    fn role_arn(&self) -> String {
        self.s.outputs.of(&self.role).unwrap().arn
    }

    /// What AWS Backup would have saved in a night.
    fn point(&self, vault: &str, name: &str) {
        let arn = format!("arn:aws:backup:{REGION}:123456789012:recovery-point:{name}");
        let now = self.s.sandbox.clock().now().as_millisecond();
        let role = self.role_arn();
        self.s.sandbox.change(|world| {
            let v = json!({"RecoveryPointArn": arn, "_arn": arn, "BackupVaultName": vault, "Status": "COMPLETED",
                "ResourceType": "S3", "IamRoleArn": role, "CreationDate": now / 1_000, "IsEncrypted": true,
                "IsParent": false});
            world.insert(REGION, "backup/recovery_point", &arn, v, now);
        });
    }

    fn points(&self) -> usize {
        let world = self.s.sandbox.world();
        world.rows(REGION, "backup/recovery_point").count()
    }
}

fn plan(vault: &Ref<Vault>) -> Plan {
    Plan {
        name: "gantry-acme-main".into(),
        vault: vault.clone(),
        schedule: "cron(30 3 * * ? *)".into(),
        timezone: "Europe/Berlin".into(),
        local_days: 7,
        copy_to: OTHER.into(),
        keep_days: 35,
    }
}

/// A rule as somebody else would write it.
fn rule(name: &str) -> aws_sdk_backup::types::builders::BackupRuleInputBuilder {
    BackupRuleInput::builder()
        .rule_name(name)
        .target_backup_vault_name("gantry-acme-main")
}

fn document(rules: Vec<BackupRuleInput>) -> BackupPlanInput {
    BackupPlanInput::builder()
        .backup_plan_name("theirs")
        .set_rules(Some(rules))
        .build()
        .unwrap()
}

/// What a survey finds with the journal's memory of these ids.
async fn remembered<R: Resource>(g: &Ground, known: &[(&str, &Ref<R>)]) -> Vec<Found<R>> {
    g.s.wait(2).await;
    let known: BTreeMap<String, Address> = known
        .iter()
        .map(|(id, to)| ((*id).to_owned(), to.address().clone()))
        .collect();
    R::survey(&g.s.cloud.fresh(known)).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_vault_is_made_mended_and_taken_down() {
    let mut g = ground().await;
    let spec = g.vault();
    let (vault, name) = g.s.make("main", spec.clone()).await;
    g.s.same(&vault, &spec).await;
    let fault = g.s.start(&spec, vault.address()).await.unwrap_err();
    assert!(fault.is_exists(), "{fault}");

    let arn = g.s.outputs.of(&vault).unwrap().arn;
    let hand = g.hand();
    hand.tag_resource()
        .resource_arn(&arn)
        .tags("stray", "x")
        .tags("Name", "y")
        .send()
        .await
        .unwrap();
    g.s.mend(&vault, &name, &spec, &["tags"]).await;

    // Without our tags it is found by memory, and its own tags say that nobody else has it.
    hand.untag_resource()
        .resource_arn(&arn)
        .tag_key_list(SITE_TAG)
        .tag_key_list(ADDRESS_TAG)
        .send()
        .await
        .unwrap();
    assert!(remembered::<Vault>(&g, &[]).await.is_empty());
    let found = remembered(&g, &[(&name, &vault)]).await;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].live.tags.get(SITE_TAG), None);
    hand.tag_resource()
        .resource_arn(&arn)
        .tags(SITE_TAG, "another")
        .send()
        .await
        .unwrap();
    assert!(remembered(&g, &[(&name, &vault)]).await.is_empty());
    hand.tag_resource()
        .resource_arn(&arn)
        .tags(SITE_TAG, "acme")
        .tags(ADDRESS_TAG, vault.address().to_string())
        .send()
        .await
        .unwrap();

    // Another key would be another vault.
    let key = g.s.blueprint.add(
        "other",
        Key {
            description: "other".into(),
            used_for: KeyUse::Data,
            copied_into: None,
            rotation: true,
            pending_days: 7,
        },
    );
    let output = json!({"id": "2222", "arn": "arn:aws:kms:eu-west-1:123456789012:key/2222"});
    g.s.outputs.0.insert(key.address().clone(), output);
    let other = Vault { key, ..spec };
    let diff = g.s.diff(&vault, &other).await;
    assert!(diff.replaces() && diff.has("key"), "{diff:?}");
    g.s.gone(&vault, &name).await;
}

#[tokio::test(start_paused = true)]
async fn a_vault_goes_with_what_is_in_it_and_a_locked_one_says_so() {
    let mut g = ground().await;
    let spec = g.vault();
    let (vault, name) = g.s.make("main", spec.clone()).await;
    g.point(&name, "one");
    g.point(&name, "two");
    g.s.wait(5).await;
    refused!(
        g.hand().delete_backup_vault().backup_vault_name(&name),
        "InvalidRequestException"
    );

    let lock = |until: Option<i64>| {
        g.s.sandbox.change(|world| {
            let row = world.get_mut(REGION, "backup/vault", &name).unwrap();
            row.set("Locked", true);
            row.set("MinRetentionDays", 14);
            row.set("LockDate", until);
        });
    };
    let now = g.s.sandbox.clock().now().as_second();
    for (until, says) in [
        (None, "after the lock was taken away"),
        (Some(now + 86_400), "after the lock was taken away"),
        (Some(now - 86_400), "nobody can delete it before"),
    ] {
        lock(until);
        let fault = Vault::delete(&name, &g.s.cloud).await.unwrap_err();
        let Fault::Rejected { call, message, .. } = &fault else {
            panic!("{fault:?}")
        };
        assert_eq!(call, "backup:DeleteRecoveryPoint");
        assert!(
            message.contains("gantry-acme-main is locked") && message.contains("14 days"),
            "{message}"
        );
        assert!(message.contains(says), "{message}");
    }
    assert_eq!(g.points(), 2);

    g.s.sandbox.change(|world| {
        let row = world.get_mut(REGION, "backup/vault", &name).unwrap();
        row.set("Locked", false);
    });
    // The points need a while; until then the vault is not empty, and that passes.
    let fault = Vault::delete(&name, &g.s.cloud).await.unwrap_err();
    assert!(matches!(fault, Fault::Later { .. }), "{fault:?}");
    g.s.gone(&vault, &name).await;
    assert_eq!(g.points(), 0);
}

#[tokio::test(start_paused = true)]
async fn without_its_role_nothing_leaves_a_vault() {
    let mut g = ground().await;
    let spec = g.vault();
    let (_, name) = g.s.make("main", spec.clone()).await;
    // So the vault leans on the role, which stays as long as it does.
    let refs: Vec<String> = spec.refs().iter().map(ToString::to_string).collect();
    assert_eq!(refs, ["kms/key:main", "iam/role:backup"]);

    g.point(&name, "one");
    Role::delete(&"gantry-acme-backup".to_owned(), &g.s.cloud)
        .await
        .unwrap();
    for _ in 0..3 {
        let fault = Vault::delete(&name, &g.s.cloud).await.unwrap_err();
        assert!(matches!(fault, Fault::Later { .. }), "{fault:?}");
        g.s.wait(60).await;
    }
    assert_eq!(g.points(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_plan_is_made_once_mended_and_taken_down() {
    let mut g = ground().await;
    let vault = g.vault();
    let (vault, _) = g.s.make("main", vault).await;
    let spec = plan(&vault);
    let (to, id) = g.s.make("main", spec.clone()).await;
    g.s.same(&to, &spec).await;
    let again = g.s.start(&spec, to.address()).await.unwrap();
    assert_eq!(again, id, "the same token gives the same plan");

    let more = Plan {
        schedule: "cron(0 * * * ? *)".into(),
        timezone: "UTC".into(),
        local_days: 3,
        keep_days: 90,
        ..spec.clone()
    };
    let fields = ["schedule", "timezone", "local", "copies"];
    g.s.mend(&to, &id, &more, &fields).await;

    // By hand: no copies, other windows, a second rule, things kept for ever.
    let hand = g.hand();
    let theirs = document(vec![
        rule("gantry")
            .schedule_expression("cron(0 * * * ? *)")
            .schedule_expression_timezone("UTC")
            .start_window_minutes(60)
            .completion_window_minutes(180)
            .enable_continuous_backup(true)
            .build()
            .unwrap(),
        rule("more").build().unwrap(),
    ]);
    hand.update_backup_plan()
        .backup_plan_id(&id)
        .backup_plan(theirs)
        .send()
        .await
        .unwrap();
    let arn = format!("arn:aws:backup:{REGION}:123456789012:backup-plan:{id}");
    hand.tag_resource()
        .resource_arn(&arn)
        .tags("stray", "x")
        .send()
        .await
        .unwrap();
    let fields = [
        "name",
        "rules",
        "start_minutes",
        "completion_minutes",
        "local",
        "copies",
        "continuous",
        "tags",
    ];
    g.s.mend(&to, &id, &more, &fields).await;

    // A copy into another vault is no small thing: it shows as well.
    let copy = CopyAction::builder()
        .destination_backup_vault_arn(OTHER.replace("acme", "elsewhere"))
        .lifecycle(Lifecycle::builder().delete_after_days(90).build())
        .build()
        .unwrap();
    let theirs = document(vec![rule("gantry").copy_actions(copy).build().unwrap()]);
    hand.update_backup_plan()
        .backup_plan_id(&id)
        .backup_plan(theirs)
        .send()
        .await
        .unwrap();
    let diff = g.s.diff(&to, &more).await;
    assert!(diff.has("copies") && !diff.replaces(), "{diff:?}");
    g.s.gone(&to, &id).await;
}

#[tokio::test(start_paused = true)]
async fn a_selection_is_made_replaced_and_gone_before_its_plan() {
    let mut g = ground().await;
    let vault = g.vault();
    let (vault, _) = g.s.make("main", vault).await;
    let (plan, plan_id) = g.s.make("main", plan(&vault)).await;
    let spec = g.selection(&plan);
    let (to, id) = g.s.make("main", spec.clone()).await;
    g.s.same(&to, &spec).await;

    let volume = g.s.outputs.of(&g.volume).unwrap().id;
    let hand = g.hand();
    let seen = hand
        .get_backup_selection()
        .backup_plan_id(&plan_id)
        .selection_id(&id.id)
        .send()
        .await
        .unwrap();
    let seen = seen.backup_selection.unwrap();
    assert_eq!(
        seen.resources(),
        [
            "arn:aws:s3:::gantry-acme-uploads-4f1d".to_owned(),
            format!("arn:aws:ec2:{REGION}:123456789012:volume/{volume}"),
        ]
    );
    assert_eq!(seen.iam_role_arn(), g.role_arn());

    // The plan waits until it has none.
    let fault = Plan::delete(&plan_id, &g.s.cloud).await.unwrap_err();
    assert!(matches!(fault, Fault::Later { .. }), "{fault:?}");

    // Nothing of it can be changed in place.
    let fewer = Selection {
        resources: vec![Selected::Bucket(g.bucket.clone())],
        ..spec.clone()
    };
    let diff = g.s.diff(&to, &fewer).await;
    assert!(diff.replaces() && diff.has("resources"), "{diff:?}");

    // Somebody made another in its place, which goes by tags as well.
    Selection::delete(&id, &g.s.cloud).await.unwrap();
    let role = g.role_arn();
    let by_tag = Condition::builder()
        .condition_type(ConditionType::Stringequals)
        .condition_key("keep")
        .condition_value("no")
        .build()
        .unwrap();
    let theirs = BackupSelection::builder()
        .selection_name("gantry-acme-main")
        .iam_role_arn(&role)
        .set_resources(seen.resources.clone())
        .list_of_tags(by_tag)
        .build()
        .unwrap();
    let made = hand
        .create_backup_selection()
        .backup_plan_id(&plan_id)
        .backup_selection(theirs)
        .send()
        .await
        .unwrap();
    let diff = g.s.diff(&to, &spec).await;
    let names: Vec<&str> = diff.fields.iter().map(|f| f.field.as_str()).collect();
    assert_eq!(names, ["filtered"]);
    assert!(diff.replaces());

    let theirs = SelectionId {
        plan: plan_id.clone(),
        id: made.selection_id.unwrap(),
    };
    let polled = Selection::poll(&[id.clone(), theirs.clone()], &g.s.cloud)
        .await
        .unwrap();
    assert!(matches!(
        polled[..],
        [Readiness::Absent, Readiness::Ready(_)]
    ));
    g.s.gone(&to, &theirs).await;
    g.s.gone(&plan, &plan_id).await;
    // Of a plan that is gone there are none.
    Selection::delete(&id, &g.s.cloud).await.unwrap();
    assert_eq!(
        Selection::poll(&[id], &g.s.cloud).await.unwrap(),
        [Readiness::Absent]
    );
}

#[tokio::test(start_paused = true)]
async fn a_role_too_new_to_be_taken_passes_by_itself() {
    let mut g = ground().await;
    let vault = g.vault();
    let (vault, _) = g.s.make("main", vault).await;
    let (plan, _) = g.s.make("main", plan(&vault)).await;
    let spec = g.selection(&plan);
    let to = g.s.blueprint.add("main", spec.clone());
    g.s.sandbox.change(|world| {
        let later = i64::MAX;
        let row = world
            .get_mut("global", "iam/role", "gantry-acme-backup")
            .unwrap();
        row.set("_usableFrom", later);
    });
    let fault = g.s.start(&spec, to.address()).await.unwrap_err();
    assert!(matches!(fault, Fault::Later { .. }), "{fault:?}");
}

#[tokio::test(start_paused = true)]
async fn what_aws_backup_refuses() {
    let mut g = ground().await;
    let hand = g.hand();
    let invalid = "InvalidParameterValueException";
    for name in ["a", "with space", "with.point", &"x".repeat(51)] {
        refused!(hand.create_backup_vault().backup_vault_name(name), invalid);
    }
    refused!(
        hand.create_backup_vault()
            .backup_vault_name("acme")
            .encryption_key_arn("arn:aws:kms:eu-west-1:123456789012:key/none"),
        invalid
    );
    refused!(
        hand.create_backup_vault()
            .backup_vault_name("acme")
            .creator_request_id("with space"),
        invalid
    );
    let gone = "ResourceNotFoundException";
    refused!(hand.describe_backup_vault().backup_vault_name("acme"), gone);
    refused!(hand.delete_backup_vault().backup_vault_name("acme"), gone);
    refused!(hand.get_backup_plan().backup_plan_id("none"), gone);
    refused!(hand.list_backup_selections().backup_plan_id("none"), gone);

    let vault = g.vault();
    let (vault, name) = g.s.make("main", vault).await;
    refused!(
        hand.delete_recovery_point()
            .backup_vault_name(&name)
            .recovery_point_arn("arn:aws:ec2:eu-west-1::snapshot/snap-1"),
        gone
    );
    refused!(
        hand.create_backup_plan().backup_plan(document(vec![])),
        "MissingParameterValueException"
    );
    let days = |delete: i64, cold: Option<i64>| {
        Lifecycle::builder()
            .delete_after_days(delete)
            .set_move_to_cold_storage_after_days(cold)
            .build()
    };
    let copy = |arn: &str| {
        CopyAction::builder()
            .destination_backup_vault_arn(arn)
            .build()
            .unwrap()
    };
    for wrong in [
        rule("with space"),
        rule("ok").target_backup_vault_name("nowhere"),
        rule("ok").schedule_expression("cron(0/15 * * * ? *)"),
        rule("ok").schedule_expression("cron(30 3 * * * *)"),
        rule("ok").schedule_expression("30 3 * * *"),
        rule("ok").schedule_expression_timezone("Berlin"),
        rule("ok").start_window_minutes(30),
        rule("ok")
            .start_window_minutes(60)
            .completion_window_minutes(90),
        rule("ok").lifecycle(days(0, None)),
        rule("ok").lifecycle(days(90, Some(30))),
        rule("ok").copy_actions(copy("arn:aws:s3:::acme")),
    ] {
        let plan = document(vec![wrong.build().unwrap()]);
        refused!(hand.create_backup_plan().backup_plan(plan), invalid);
    }
    let spec = plan(&vault);
    let (_, id) = g.s.make("main", spec.clone()).await;
    // The same document under another token is the same plan twice.
    let to = g.s.blueprint.add("other", spec.clone());
    let fault = g.s.start(&spec, to.address()).await.unwrap_err();
    assert!(fault.is_exists(), "{fault}");

    let selection = |name: &str, role: &str| {
        BackupSelection::builder()
            .selection_name(name)
            .iam_role_arn(role)
            .resources("arn:aws:s3:::gantry-acme-uploads-4f1d")
            .build()
            .unwrap()
    };
    let role = g.role_arn();
    for (plan, selection) in [
        ("none", selection("ok", &role)),
        (id.as_str(), selection("with space", &role)),
        (
            id.as_str(),
            selection("ok", "arn:aws:iam::123456789012:role/none"),
        ),
    ] {
        refused!(
            hand.create_backup_selection()
                .backup_plan_id(plan)
                .backup_selection(selection),
            invalid
        );
    }
    refused!(
        hand.tag_resource()
            .resource_arn("arn:aws:backup:eu-west-1:123456789012:backup-vault:none")
            .tags("a", "b"),
        gone
    );
}
