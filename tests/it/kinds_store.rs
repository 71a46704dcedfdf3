//! Buckets, roles and instance profiles, each through its whole life on the strict cloud, and what that cloud
//! refuses of S3, IAM, the tagging API and Service Quotas.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    BucketLocationConstraint, CompletedMultipartUpload, CompletedPart, CreateBucketConfiguration,
    LoggingEnabled,
};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use gantry::blueprint::Blueprint;
use gantry::clock::Clock;
use gantry::cloud::quotas::{QUOTAS, current, quota};
use gantry::cloud::{Aws, Fault, Limits};
use gantry::kinds::iam::{self, Grant, InstanceProfile, Role, Target};
use gantry::kinds::kms::{Key, KeyUse};
use gantry::kinds::s3::{Bucket, BucketEncryption, Delivery, LifecycleRule, Purpose};
use gantry::resource::{
    Address, ApplyCx, Change, CloudCx, Created, Diff, Found, Outputs, PlanCx, Readiness, Ref,
    Resource, Scope, Tags,
};
use gantry::sandbox::world::World;
use gantry::sandbox::{Fate, Sandbox};
use serde_json::json;

const ACCOUNT: &str = "123456789012";
const KEY: &str = "arn:aws:kms:eu-west-1:123456789012:key/11111111-2222-3333-4444-555555555555";

/// A site without an engine: the calls of a kind in the order the engine makes them.
struct Stage {
    sandbox: Sandbox,
    cloud: CloudCx,
    blueprint: Blueprint,
    outputs: Outputs,
}

impl Stage {
    fn new() -> Self {
        Self::within("eu-west-1")
    }

    fn within(region: &str) -> Self {
        let clock = Clock::played("2026-01-05T06:00:00Z".parse().unwrap(), 1);
        let sandbox = Sandbox::in_memory(World::new(ACCOUNT), clock);
        let scope = Scope {
            site: "acme".into(),
            account: ACCOUNT.into(),
            region: region.into(),
            tags: Tags::new().with("cost_center", "42"),
        };
        let aws = Aws::new(&sandbox.config(region));
        let limits = Limits::default();
        let cloud = CloudCx::new(aws, scope, clock, limits, None, BTreeMap::new());
        Self {
            sandbox,
            cloud,
            blueprint: Blueprint::new(),
            outputs: Outputs::default(),
        }
    }

    fn aws(&self) -> &Aws {
        self.cloud.aws()
    }

    fn apply<'a>(&'a self, address: &'a Address) -> ApplyCx<'a> {
        ApplyCx {
            cloud: &self.cloud,
            address,
            token: address.name(),
            outputs: &self.outputs,
        }
    }

    /// The key that other things point at, without making it.
    fn key(&mut self) -> Ref<Key> {
        let to = self.blueprint.add(
            "main",
            Key {
                description: "acme".into(),
                used_for: KeyUse::Data,
                copied_into: None,
                rotation: true,
                pending_days: 7,
            },
        );
        self.outputs
            .0
            .insert(to.address().clone(), json!({"id": "1111", "arn": KEY}));
        to
    }

    async fn make<R: Resource>(&mut self, name: &str, spec: &R) -> (Ref<R>, R::Id) {
        let to = self.blueprint.add(name, spec.clone());
        let cx = self.apply(to.address());
        let Created::Done(id, output) = spec.create(&cx).await.unwrap() else {
            panic!("{} is usable at once", R::KIND)
        };
        spec.configure(&id, Change::All, &cx).await.unwrap();
        // As after a crash: the same again changes nothing.
        spec.configure(&id, Change::All, &cx).await.unwrap();
        let value = serde_json::to_value(&output).unwrap();
        self.outputs.0.insert(to.address().clone(), value.clone());
        tokio::time::sleep(Duration::from_secs(10)).await;
        let polled = R::poll(std::slice::from_ref(&id), &self.cloud)
            .await
            .unwrap();
        match &polled[..] {
            [Readiness::Ready(seen)] => assert_eq!(serde_json::to_value(seen).unwrap(), value),
            other => panic!("{other:?}"),
        }
        // A second create is told that it exists.
        let fault = spec.create(&self.apply(to.address())).await.unwrap_err();
        assert!(fault.is_exists(), "{fault}");
        (to, id)
    }

    async fn survey<R: Resource>(&self, known: BTreeMap<String, Address>) -> Vec<Found<R>> {
        R::survey(&self.cloud.fresh(known)).await.unwrap()
    }

    async fn seen<R: Resource>(&self, to: &Ref<R>) -> Found<R> {
        tokio::time::sleep(Duration::from_secs(3)).await;
        let mut found = self.survey::<R>(BTreeMap::new()).await;
        found.retain(|f| f.address == *to.address());
        assert_eq!(found.len(), 1);
        found.remove(0)
    }

    fn compare<R: Resource>(&self, to: &Ref<R>, spec: &R, live: &R::Live) -> Diff {
        // The live state goes through JSON on its way to the plan.
        let live = serde_json::from_value(serde_json::to_value(live).unwrap()).unwrap();
        spec.diff(
            &live,
            &PlanCx {
                address: to.address(),
                scope: self.cloud.scope(),
                outputs: &self.outputs,
                later: &BTreeSet::new(),
            },
        )
    }

    async fn same<R: Resource>(&self, to: &Ref<R>, spec: &R) {
        let diff = self.compare(to, spec, &self.seen(to).await.live);
        assert!(diff.is_empty(), "{}: {diff:#?}", to.address());
    }

    /// Sees drift in exactly these fields, puts it right, and sees none.
    async fn mend<R: Resource>(&self, to: &Ref<R>, id: &R::Id, spec: &R, fields: &[&str]) {
        let diff = self.compare(to, spec, &self.seen(to).await.live);
        let names: Vec<&str> = diff.fields.iter().map(|f| f.field.as_str()).collect();
        assert_eq!(names, fields, "{}: {diff:#?}", to.address());
        assert!(!diff.replaces());
        let cx = self.apply(to.address());
        spec.configure(id, Change::Fields(&diff), &cx)
            .await
            .unwrap();
        self.same(to, spec).await;
    }

    async fn remove<R: Resource>(&self, to: &Ref<R>, id: &R::Id) {
        R::delete(id, &self.cloud).await.unwrap();
        R::delete(id, &self.cloud).await.unwrap();
        let polled = R::poll(std::slice::from_ref(id), &self.cloud)
            .await
            .unwrap();
        assert!(matches!(polled[..], [Readiness::Absent]));
        let found = self.survey::<R>(BTreeMap::new()).await;
        assert!(found.iter().all(|f| f.address != *to.address()));
    }

    fn calls(&self) -> usize {
        self.sandbox.log().len()
    }
}

/// The code of a refusal.
fn code<T, E: ProvideErrorMetadata>(answer: Result<T, E>) -> String {
    match answer {
        Ok(_) => "accepted".into(),
        Err(e) => e.code().unwrap_or("(no code)").into(),
    }
}

fn bucket(part: &str, encryption: BucketEncryption) -> Bucket {
    Bucket {
        name: format!("gantry-acme-{part}-{ACCOUNT}-eu-west-1"),
        purpose: Purpose::Objects,
        encryption,
        lifecycle: vec![],
        log_to: None,
        allow_delivery: vec![],
        immutable_days: None,
    }
}

fn logs() -> Bucket {
    Bucket {
        purpose: Purpose::Logs,
        lifecycle: vec![
            LifecycleRule::Expire {
                days: 90,
                prefix: String::new(),
            },
            LifecycleRule::AbortIncomplete { days: 3 },
        ],
        allow_delivery: vec![
            Delivery::LoadBalancerLogs,
            Delivery::FlowLogs,
            Delivery::ServerAccessLogs,
        ],
        ..bucket("logs", BucketEncryption::S3Managed)
    }
}

#[tokio::test(start_paused = true)]
async fn a_bucket_is_locked_from_birth_or_later_and_its_lock_is_seen() {
    use aws_sdk_s3::types::{
        DefaultRetention, ObjectLockConfiguration, ObjectLockEnabled, ObjectLockRetentionMode,
        ObjectLockRule,
    };

    let locked = |days| Bucket {
        purpose: Purpose::Backups,
        immutable_days: days,
        ..bucket("backups", BucketEncryption::S3Managed)
    };
    let mut stage = Stage::new();
    let (at, id) = stage.make("backups", &locked(Some(14))).await;
    stage.same(&at, &locked(Some(14))).await;
    stage.mend(&at, &id, &locked(Some(21)), &["lock"]).await;

    // By hand: in a mode that some may get around, and counted in years.
    let retention = DefaultRetention::builder()
        .mode(ObjectLockRetentionMode::Governance)
        .years(1)
        .build();
    let rule = ObjectLockRule::builder()
        .default_retention(retention)
        .build();
    let by_hand = ObjectLockConfiguration::builder()
        .object_lock_enabled(ObjectLockEnabled::Enabled)
        .rule(rule)
        .build();
    let put = || {
        let s3 = stage.aws().s3.put_object_lock_configuration();
        s3.bucket(&id)
            .object_lock_configuration(by_hand.clone())
            .send()
    };
    put().await.unwrap();
    stage.mend(&at, &id, &locked(Some(21)), &["lock"]).await;
    put().await.unwrap();
    stage.mend(&at, &id, &locked(None), &["lock"]).await;

    let mut stage = Stage::new();
    let (at, id) = stage.make("backups", &locked(None)).await;
    stage.same(&at, &locked(None)).await;
    stage.mend(&at, &id, &locked(Some(7)), &["lock"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_bucket_lives_drifts_and_goes() {
    let mut stage = Stage::new();
    let before = stage.sandbox.world();
    let key = stage.key();
    let logs = logs();
    let (logs_at, logs_id) = stage.make("logs", &logs).await;
    stage.same(&logs_at, &logs).await;

    let spec = Bucket {
        lifecycle: vec![
            LifecycleRule::ExpireNoncurrent { days: 30 },
            LifecycleRule::AbortIncomplete { days: 3 },
            LifecycleRule::Expire {
                days: 7,
                prefix: "tmp/".into(),
            },
        ],
        log_to: Some(logs_at.clone()),
        ..bucket("uploads", BucketEncryption::Key(key))
    };
    let (at, id) = stage.make("uploads", &spec).await;
    stage.same(&at, &spec).await;

    // Everything that gantry sets, undone by hand.
    let s3 = &stage.aws().s3;
    let rule = aws_sdk_s3::types::LifecycleRule::builder()
        .id("mine")
        .status(aws_sdk_s3::types::ExpirationStatus::Enabled)
        .filter(
            aws_sdk_s3::types::LifecycleRuleFilter::builder()
                .prefix("")
                .build(),
        )
        .expiration(
            aws_sdk_s3::types::LifecycleExpiration::builder()
                .days(1)
                .build(),
        )
        .build()
        .unwrap();
    s3.put_bucket_lifecycle_configuration()
        .bucket(&id)
        .lifecycle_configuration(
            aws_sdk_s3::types::BucketLifecycleConfiguration::builder()
                .rules(rule)
                .build()
                .unwrap(),
        )
        .send()
        .await
        .unwrap();
    stage.mend(&at, &id, &spec, &["lifecycle"]).await;
    s3.delete_bucket_policy().bucket(&id).send().await.unwrap();
    s3.delete_public_access_block()
        .bucket(&id)
        .send()
        .await
        .unwrap();
    s3.delete_bucket_ownership_controls()
        .bucket(&id)
        .send()
        .await
        .unwrap();
    s3.delete_bucket_encryption()
        .bucket(&id)
        .send()
        .await
        .unwrap();
    s3.delete_bucket_lifecycle()
        .bucket(&id)
        .send()
        .await
        .unwrap();
    s3.put_bucket_versioning()
        .bucket(&id)
        .versioning_configuration(
            aws_sdk_s3::types::VersioningConfiguration::builder()
                .status(aws_sdk_s3::types::BucketVersioningStatus::Suspended)
                .build(),
        )
        .send()
        .await
        .unwrap();
    s3.put_bucket_logging()
        .bucket(&id)
        .bucket_logging_status(aws_sdk_s3::types::BucketLoggingStatus::builder().build())
        .send()
        .await
        .unwrap();
    stage.sandbox.change(|w| {
        let row = w.get_mut("eu-west-1", "s3/bucket", &id).unwrap();
        row.tags.insert("mine".into(), "too".into());
        row.tags.remove("cost_center");
    });
    stage
        .mend(
            &at,
            &id,
            &spec,
            &[
                "versioning",
                "encryption",
                "public_access_block",
                "ownership",
                "policy",
                "lifecycle",
                "logging",
                "tags",
            ],
        )
        .await;

    // Settings that are no longer wanted go away.
    let plainer = Bucket {
        lifecycle: vec![],
        log_to: None,
        ..spec.clone()
    };
    stage
        .mend(&at, &id, &plainer, &["lifecycle", "logging"])
        .await;

    // Without its tags, only the journal knows it.
    s3.delete_bucket_tagging().bucket(&id).send().await.unwrap();
    assert_eq!(stage.survey::<Bucket>(BTreeMap::new()).await.len(), 1);
    let known = BTreeMap::from([(id.clone(), at.address().clone())]);
    let found = stage.survey::<Bucket>(known).await;
    assert_eq!(found.len(), 2);
    let found = found.into_iter().find(|f| f.id == id).unwrap();
    let diff = stage.compare(&at, &plainer, &found.live);
    assert!(diff.has("tags") && diff.fields.len() == 1);
    plainer
        .configure(&id, Change::Fields(&diff), &stage.apply(at.address()))
        .await
        .unwrap();
    stage.same(&at, &plainer).await;

    stage.remove(&at, &id).await;
    stage.remove(&logs_at, &logs_id).await;
    assert_eq!(stage.sandbox.world().tables, before.tables);
}

#[tokio::test(start_paused = true)]
async fn a_survey_costs_seven_reads_a_bucket_and_two_listings() {
    let mut stage = Stage::new();
    for part in ["artifacts", "lfs", "packages"] {
        stage
            .make(part, &bucket(part, BucketEncryption::S3Managed))
            .await;
    }
    let before = stage.calls();
    assert_eq!(stage.survey::<Bucket>(BTreeMap::new()).await.len(), 3);
    assert_eq!(stage.calls() - before, 2 + 3 * 7);
}

#[tokio::test(start_paused = true)]
async fn a_full_bucket_is_emptied_before_it_goes() {
    let mut stage = Stage::new();
    let spec = bucket("backups", BucketEncryption::S3Managed);
    let (at, id) = stage.make("backups", &spec).await;
    let s3 = stage.aws().s3.clone();
    for round in 0..3 {
        for n in 0..400 {
            s3.put_object()
                .bucket(&id)
                .key(format!("a/{n}"))
                .body(ByteStream::from(format!("{round}").into_bytes()))
                .send()
                .await
                .unwrap();
        }
    }
    for n in 0..50 {
        s3.delete_object()
            .bucket(&id)
            .key(format!("a/{n}"))
            .send()
            .await
            .unwrap();
    }
    for n in 0..3 {
        s3.create_multipart_upload()
            .bucket(&id)
            .key(format!("up/{n}"))
            .send()
            .await
            .unwrap();
    }
    assert_eq!(
        code(s3.delete_bucket().bucket(&id).send().await),
        "BucketNotEmpty"
    );
    stage.sandbox.clear_log();
    stage.remove(&at, &id).await;
    let deletes = stage
        .sandbox
        .log()
        .iter()
        .filter(|c| c.call == "s3:DeleteObjects")
        .count();
    assert_eq!(deletes, 2, "1,250 versions and markers, 1,000 a call");
    assert!(
        stage
            .sandbox
            .world()
            .tables
            .keys()
            .all(|t| !t.contains("s3/"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_bucket_whose_creation_was_not_answered_is_found_with_its_tags() {
    let mut stage = Stage::new();
    let spec = bucket("lfs", BucketEncryption::S3Managed);
    let at = stage.blueprint.add("lfs", spec.clone());
    stage.sandbox.faults(|f| {
        f.set(|call, _| match call {
            "s3:CreateBucket" => Fate::LostAfter,
            _ => Fate::Pass,
        });
    });
    let fault = spec.create(&stage.apply(at.address())).await.unwrap_err();
    assert!(matches!(fault, Fault::Unknown { .. }), "{fault}");
    let found = stage.seen(&at).await;
    assert_eq!(found.id, spec.name);
    stage.remove(&at, &found.id).await;
}

#[tokio::test(start_paused = true)]
async fn buckets_of_the_oldest_region_are_not_taken_over_unseen() {
    let mut stage = Stage::within("us-east-1");
    let spec = bucket("lfs", BucketEncryption::S3Managed);
    let (at, id) = stage.make("lfs", &spec).await;
    stage.same(&at, &spec).await;
    // S3 itself says yes there.
    let again = stage.aws().s3.create_bucket().bucket(&id).send().await;
    assert_eq!(code(again), "accepted");
    stage.remove(&at, &id).await;
}

#[tokio::test(start_paused = true)]
async fn other_sites_and_other_accounts_keep_their_buckets() {
    let mut stage = Stage::new();
    let spec = bucket("lfs", BucketEncryption::S3Managed);
    let (_, id) = stage.make("lfs", &spec).await;
    // A site whose name begins the same.
    stage.sandbox.change(|w| {
        let mut row = w.get("eu-west-1", "s3/bucket", &id).unwrap().clone();
        row.tags.insert("gantry:site".into(), "acme-two".into());
        row.set("_arn", "arn:aws:s3:::gantry-acme-two-lfs");
        w.table("eu-west-1", "s3/bucket")
            .insert("gantry-acme-two-lfs".into(), row.clone());
        row.set("_foreign", true);
        w.table("eu-west-1", "s3/bucket")
            .insert("taken".into(), row);
    });
    assert_eq!(stage.survey::<Bucket>(BTreeMap::new()).await.len(), 1);
    let taken = Bucket {
        name: "taken".into(),
        ..spec
    };
    let at = stage.blueprint.add("taken", taken.clone());
    let fault = taken.create(&stage.apply(at.address())).await.unwrap_err();
    assert_eq!(fault.code(), "BucketAlreadyExists");
}

#[tokio::test(start_paused = true)]
async fn s3_refuses_what_aws_refuses() {
    let stage = Stage::new();
    let s3 = &stage.aws().s3;
    let here = || {
        CreateBucketConfiguration::builder().location_constraint(BucketLocationConstraint::EuWest1)
    };
    let create = |name: &str, configuration: Option<CreateBucketConfiguration>| {
        s3.create_bucket()
            .bucket(name)
            .set_create_bucket_configuration(configuration)
            .send()
    };
    assert_eq!(
        code(create("abc", None).await),
        "IllegalLocationConstraintException"
    );
    let elsewhere = CreateBucketConfiguration::builder()
        .location_constraint(BucketLocationConstraint::EuWest2)
        .build();
    assert_eq!(
        code(create("abc", Some(elsewhere)).await),
        "IllegalLocationConstraintException"
    );
    assert_eq!(
        code(create("Abc_d", Some(here().build())).await),
        "InvalidBucketName"
    );
    let aws_tag = aws_sdk_s3::types::Tag::builder()
        .key("aws:mine")
        .value("x")
        .build()
        .unwrap();
    assert_eq!(
        code(create("abc", Some(here().tags(aws_tag).build())).await),
        "InvalidTag"
    );
    create("abc", Some(here().build())).await.unwrap();
    assert_eq!(
        code(create("abc", Some(here().build())).await),
        "BucketAlreadyOwnedByYou"
    );
    stage.sandbox.change(|w| {
        w.quotas.insert("buckets".into(), 1);
    });
    assert_eq!(
        code(create("abd", Some(here().build())).await),
        "TooManyBuckets"
    );

    assert_eq!(
        code(s3.get_bucket_policy().bucket("abc").send().await),
        "NoSuchBucketPolicy"
    );
    assert_eq!(
        code(
            s3.get_bucket_lifecycle_configuration()
                .bucket("abc")
                .send()
                .await
        ),
        "NoSuchLifecycleConfiguration"
    );
    assert_eq!(
        code(s3.get_bucket_tagging().bucket("abc").send().await),
        "NoSuchTagSet"
    );
    assert_eq!(
        code(s3.get_bucket_policy().bucket("none").send().await),
        "NoSuchBucket"
    );
    let policy = |text: String| s3.put_bucket_policy().bucket("abc").policy(text).send();
    let statement = |principal: serde_json::Value, resource: &str| {
        json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": principal, "Action": "s3:GetObject", "Resource": resource}]})
            .to_string()
    };
    assert_eq!(code(policy("{".into()).await), "MalformedPolicy");
    assert_eq!(
        code(
            policy(statement(
                json!({"Service": "rds.amazonaws.com"}),
                "arn:aws:s3:::other/*"
            ))
            .await
        ),
        "MalformedPolicy"
    );
    let role = format!("arn:aws:iam::{ACCOUNT}:role/nobody");
    assert_eq!(
        code(policy(statement(json!({"AWS": role}), "arn:aws:s3:::abc/*")).await),
        "MalformedPolicy"
    );
    assert_eq!(
        code(policy(statement(json!("*"), "arn:aws:s3:::abc/*")).await),
        "AccessDenied"
    );
    let to = LoggingEnabled::builder()
        .target_bucket("none")
        .target_prefix("")
        .build()
        .unwrap();
    let logging = s3
        .put_bucket_logging()
        .bucket("abc")
        .bucket_logging_status(
            aws_sdk_s3::types::BucketLoggingStatus::builder()
                .logging_enabled(to)
                .build(),
        )
        .send()
        .await;
    assert_eq!(code(logging), "InvalidTargetBucketForLogging");
    let elsewhere = Aws::new(&stage.sandbox.config("eu-west-2"));
    assert_eq!(
        code(elsewhere.s3.get_bucket_policy().bucket("abc").send().await),
        "PermanentRedirect"
    );
}

#[tokio::test(start_paused = true)]
async fn objects_have_versions_conditions_ranges_and_uploads() {
    let mut stage = Stage::new();
    let (_, id) = stage
        .make("config", &bucket("config", BucketEncryption::S3Managed))
        .await;
    let s3 = &stage.aws().s3;
    let put = |text: &'static str| {
        s3.put_object()
            .bucket(&id)
            .key("a b/ü+1")
            .metadata("hash", "42")
            .content_type("text/plain")
            .body(ByteStream::from_static(text.as_bytes()))
    };
    let first = put("one").if_none_match("*").send().await.unwrap();
    assert_eq!(
        code(put("two").if_none_match("*").send().await),
        "PreconditionFailed"
    );
    assert_eq!(
        code(put("two").if_match("\"no\"").send().await),
        "PreconditionFailed"
    );
    put("two")
        .if_match(first.e_tag().unwrap())
        .send()
        .await
        .unwrap();
    let get = || s3.get_object().bucket(&id).key("a b/ü+1");
    let answer = get().send().await.unwrap();
    assert_eq!(answer.metadata().unwrap()["hash"], "42");
    assert_eq!(answer.content_type(), Some("text/plain"));
    assert_eq!(answer.body.collect().await.unwrap().to_vec(), b"two");
    let old = get()
        .version_id(first.version_id().unwrap())
        .send()
        .await
        .unwrap();
    assert_eq!(old.body.collect().await.unwrap().to_vec(), b"one");
    let part = get().range("bytes=1-").send().await.unwrap();
    assert_eq!(part.content_range(), Some("bytes 1-2/3"));
    assert_eq!(part.body.collect().await.unwrap().to_vec(), b"wo");
    let head = s3
        .head_object()
        .bucket(&id)
        .key("a b/ü+1")
        .send()
        .await
        .unwrap();
    assert_eq!(head.content_length(), Some(3));

    s3.delete_object()
        .bucket(&id)
        .key("a b/ü+1")
        .send()
        .await
        .unwrap();
    assert_eq!(code(get().send().await), "NoSuchKey");
    let versions = s3
        .list_object_versions()
        .bucket(&id)
        .max_keys(2)
        .send()
        .await
        .unwrap();
    assert_eq!(
        (versions.versions().len(), versions.delete_markers().len()),
        (1, 1)
    );
    assert_eq!(versions.is_truncated(), Some(true));
    let rest = s3
        .list_object_versions()
        .bucket(&id)
        .set_key_marker(versions.next_key_marker().map(str::to_owned))
        .set_version_id_marker(versions.next_version_id_marker().map(str::to_owned))
        .send()
        .await
        .unwrap();
    assert_eq!(rest.versions().len(), 1);
    assert_eq!(rest.versions()[0].version_id(), first.version_id());

    for key in ["x/1", "x/2", "y/1", "z"] {
        s3.put_object().bucket(&id).key(key).send().await.unwrap();
    }
    let listed = s3
        .list_objects_v2()
        .bucket(&id)
        .delimiter("/")
        .send()
        .await
        .unwrap();
    let folders: Vec<_> = listed
        .common_prefixes()
        .iter()
        .filter_map(|p| p.prefix())
        .collect();
    assert_eq!((folders, listed.contents().len()), (vec!["x/", "y/"], 1));
    let paged: Vec<_> = s3
        .list_objects_v2()
        .bucket(&id)
        .max_keys(1)
        .into_paginator()
        .send()
        .collect::<Result<Vec<_>, _>>()
        .await
        .unwrap();
    assert_eq!(paged.len(), 4);

    // A large body goes through, in one chunked piece, up to the sandbox's limit.
    let big = vec![7u8; 200_000];
    s3.put_object()
        .bucket(&id)
        .key("big")
        .body(ByteStream::from(big.clone()))
        .send()
        .await
        .unwrap();
    let back = s3.get_object().bucket(&id).key("big").send().await.unwrap();
    assert_eq!(back.body.collect().await.unwrap().to_vec(), big);
    let bigger = s3
        .put_object()
        .bucket(&id)
        .key("big")
        .body(ByteStream::from(vec![7u8; (16 << 20) + 1]))
        .send()
        .await;
    assert_eq!(code(bigger), "NotImplemented");

    let upload = s3
        .create_multipart_upload()
        .bucket(&id)
        .key("parts")
        .send()
        .await
        .unwrap();
    let upload = upload.upload_id().unwrap();
    let part = s3
        .upload_part()
        .bucket(&id)
        .key("parts")
        .upload_id(upload)
        .part_number(1)
        .body(ByteStream::from_static(b"all of it"))
        .send()
        .await
        .unwrap();
    let listed = s3
        .list_multipart_uploads()
        .bucket(&id)
        .send()
        .await
        .unwrap();
    assert_eq!(listed.uploads().len(), 1);
    let complete = |tag: &str| {
        let part = CompletedPart::builder().part_number(1).e_tag(tag).build();
        s3.complete_multipart_upload()
            .bucket(&id)
            .key("parts")
            .upload_id(upload)
            .multipart_upload(CompletedMultipartUpload::builder().parts(part).build())
            .send()
    };
    assert_eq!(code(complete("\"other\"").await), "InvalidPart");
    complete(part.e_tag().unwrap()).await.unwrap();
    assert_eq!(code(complete(part.e_tag().unwrap()).await), "NoSuchUpload");
    let copy = s3
        .copy_object()
        .bucket(&id)
        .key("copy")
        .copy_source(format!("{id}/parts"))
        .send()
        .await;
    assert_eq!(code(copy), "accepted");
    let back = s3
        .get_object()
        .bucket(&id)
        .key("copy")
        .send()
        .await
        .unwrap();
    assert_eq!(back.body.collect().await.unwrap().to_vec(), b"all of it");
}

fn role(grants: Vec<Grant>) -> Role {
    Role {
        name: "gantry-acme-rails-eu-west-1".into(),
        path: iam::path("acme"),
        service: "ec2.amazonaws.com".into(),
        grants,
    }
}

fn grant(sid: &str, actions: &[&str], on: Vec<Target>) -> Grant {
    Grant::new(sid, actions, on, &[])
}

#[tokio::test(start_paused = true)]
async fn a_role_and_its_profile_live_drift_and_go() {
    let mut stage = Stage::new();
    let before = stage.sandbox.world();
    let key = stage.key();
    let objects = bucket("lfs", BucketEncryption::S3Managed);
    let (objects_at, objects_id) = stage.make("lfs", &objects).await;
    let mut tagged = grant("Describe", &["ec2:DescribeTags"], vec![Target::Any]);
    tagged.conditions = BTreeMap::from([(
        "StringEquals".into(),
        BTreeMap::from([("ec2:Region".into(), "eu-west-1".into())]),
    )]);
    let spec = role(vec![
        tagged,
        grant(
            "Objects",
            &["s3:PutObject", "s3:GetObject"],
            vec![Target::Objects(objects_at.clone())],
        ),
        grant(
            "Buckets",
            &["s3:ListBucket"],
            vec![Target::Bucket(objects_at.clone())],
        ),
        grant("Key", &["kms:Decrypt"], vec![Target::Key(key)]),
    ]);
    let (at, id) = stage.make("rails", &spec).await;
    stage.same(&at, &spec).await;
    let profile = InstanceProfile {
        name: spec.name.clone(),
        path: iam::path("acme"),
        role: at.clone(),
    };
    let (profile_at, profile_id) = stage.make("rails", &profile).await;
    stage.same(&profile_at, &profile).await;

    // The role by hand: other trust, more policies, other tags.
    let iam = &stage.aws().iam;
    let admin = json!({"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}});
    iam.put_role_policy()
        .role_name(&id)
        .policy_name("mine")
        .policy_document(admin.to_string())
        .send()
        .await
        .unwrap();
    stage.mend(&at, &id, &spec, &["policies"]).await;
    let trust = json!({"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": format!("arn:aws:iam::{ACCOUNT}:root")}}});
    iam.update_assume_role_policy()
        .role_name(&id)
        .policy_document(trust.to_string())
        .send()
        .await
        .unwrap();
    iam.delete_role_policy()
        .role_name(&id)
        .policy_name("gantry")
        .send()
        .await
        .unwrap();
    iam.attach_role_policy()
        .role_name(&id)
        .policy_arn("arn:aws:iam::aws:policy/AdministratorAccess")
        .send()
        .await
        .unwrap();
    iam.untag_role()
        .role_name(&id)
        .tag_keys("cost_center")
        .send()
        .await
        .unwrap();
    let mine = aws_sdk_iam::types::Tag::builder()
        .key("mine")
        .value("x")
        .build()
        .unwrap();
    iam.tag_role()
        .role_name(&id)
        .tags(mine.clone())
        .send()
        .await
        .unwrap();
    stage
        .mend(&at, &id, &spec, &["trust", "policies", "attached", "tags"])
        .await;
    let narrower = role(vec![]);
    stage.mend(&at, &id, &narrower, &["policies"]).await;
    stage.mend(&at, &id, &spec, &["policies"]).await;

    // The profile by hand: another role, other tags.
    iam.remove_role_from_instance_profile()
        .instance_profile_name(&profile_id)
        .role_name(&id)
        .send()
        .await
        .unwrap();
    stage
        .mend(&profile_at, &profile_id, &profile, &["role"])
        .await;
    let other = role(vec![]);
    let other = Role {
        name: "gantry-acme-other".into(),
        ..other
    };
    let (other_at, other_id) = stage.make("other", &other).await;
    let iam = &stage.aws().iam;
    iam.remove_role_from_instance_profile()
        .instance_profile_name(&profile_id)
        .role_name(&id)
        .send()
        .await
        .unwrap();
    iam.add_role_to_instance_profile()
        .instance_profile_name(&profile_id)
        .role_name(&other_id)
        .send()
        .await
        .unwrap();
    iam.tag_instance_profile()
        .instance_profile_name(&profile_id)
        .tags(mine)
        .send()
        .await
        .unwrap();
    stage
        .mend(&profile_at, &profile_id, &profile, &["role", "tags"])
        .await;

    // A role in use waits; what was put on it by hand goes with it.
    let fault = Role::delete(&id, &stage.cloud).await.unwrap_err();
    assert!(matches!(fault, Fault::Later { .. }), "{fault}");
    iam.put_role_policy()
        .role_name(&id)
        .policy_name("mine")
        .policy_document(admin.to_string())
        .send()
        .await
        .unwrap();
    iam.attach_role_policy()
        .role_name(&id)
        .policy_arn("arn:aws:iam::aws:policy/AdministratorAccess")
        .send()
        .await
        .unwrap();
    stage.remove(&profile_at, &profile_id).await;
    stage.remove(&at, &id).await;
    stage.remove(&other_at, &other_id).await;
    stage.remove(&objects_at, &objects_id).await;
    assert_eq!(stage.sandbox.world().tables, before.tables);
}

#[tokio::test(start_paused = true)]
async fn iam_refuses_what_aws_refuses() {
    let stage = Stage::new();
    let iam = &stage.aws().iam;
    let trust = |principal: serde_json::Value| {
        json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": principal}]})
            .to_string()
    };
    let ec2 = trust(json!({"Service": "ec2.amazonaws.com"}));
    let create = |name: &str, trust: &str| {
        iam.create_role()
            .role_name(name)
            .assume_role_policy_document(trust)
            .send()
    };
    assert_eq!(
        code(create("one", "no JSON").await),
        "MalformedPolicyDocument"
    );
    assert_eq!(code(create("one two", &ec2).await), "ValidationError");
    let one = format!("arn:aws:iam::{ACCOUNT}:role/one");
    assert_eq!(
        code(create("two", &trust(json!({"AWS": one}))).await),
        "MalformedPolicyDocument"
    );
    create("one", &ec2).await.unwrap();
    assert_eq!(code(create("one", &ec2).await), "EntityAlreadyExists");
    // A new role can be named only after a while.
    assert_eq!(
        code(create("two", &trust(json!({"AWS": one}))).await),
        "MalformedPolicyDocument"
    );
    tokio::time::sleep(Duration::from_secs(7)).await;
    create("two", &trust(json!({"AWS": one}))).await.unwrap();

    let put = |document: &str| {
        iam.put_role_policy()
            .role_name("one")
            .policy_name("p")
            .policy_document(document)
            .send()
    };
    let good = json!({"Version": "2012-10-17", "Statement": [{"Sid": "A", "Effect": "Allow", "Action": "s3:*", "Resource": "*"}]});
    assert_eq!(code(put("{}").await), "MalformedPolicyDocument");
    assert_eq!(
        code(put(&good.to_string().replace("\"A\"", "\"A b\"")).await),
        "MalformedPolicyDocument"
    );
    put(&good.to_string()).await.unwrap();
    assert_eq!(
        code(iam.delete_role().role_name("one").send().await),
        "DeleteConflict"
    );
    assert_eq!(
        code(
            iam.delete_role_policy()
                .role_name("one")
                .policy_name("q")
                .send()
                .await
        ),
        "NoSuchEntity"
    );
    iam.delete_role_policy()
        .role_name("one")
        .policy_name("p")
        .send()
        .await
        .unwrap();

    iam.create_instance_profile()
        .instance_profile_name("p")
        .send()
        .await
        .unwrap();
    let add = |role: &str| {
        iam.add_role_to_instance_profile()
            .instance_profile_name("p")
            .role_name(role)
            .send()
    };
    assert_eq!(code(add("none").await), "NoSuchEntity");
    add("one").await.unwrap();
    assert_eq!(code(add("two").await), "LimitExceeded");
    assert_eq!(
        code(iam.delete_role().role_name("one").send().await),
        "DeleteConflict"
    );
    assert_eq!(
        code(
            iam.delete_instance_profile()
                .instance_profile_name("p")
                .send()
                .await
        ),
        "DeleteConflict"
    );
    iam.create_service_linked_role()
        .aws_service_name("autoscaling.amazonaws.com")
        .send()
        .await
        .unwrap();
    assert_eq!(
        code(
            iam.create_service_linked_role()
                .aws_service_name("autoscaling.amazonaws.com")
                .send()
                .await
        ),
        "InvalidInput"
    );
}

#[tokio::test(start_paused = true)]
async fn the_tag_listing_is_late_paged_and_without_iam() {
    let mut stage = Stage::new();
    for part in ["artifacts", "lfs", "packages"] {
        stage
            .make(part, &bucket(part, BucketEncryption::S3Managed))
            .await;
    }
    stage.make("rails", &role(vec![])).await;
    let listing = stage.cloud.fresh(BTreeMap::new());
    assert_eq!(listing.listing().await.unwrap().by_arn.len(), 3);
    let pages = stage
        .aws()
        .tagging
        .get_resources()
        .resources_per_page(1)
        .resource_type_filters("s3")
        .into_paginator()
        .send()
        .collect::<Result<Vec<_>, _>>()
        .await
        .unwrap();
    assert_eq!(pages.len(), 3);
    let spec = bucket("late", BucketEncryption::S3Managed);
    let at = stage.blueprint.add("late", spec.clone());
    spec.create(&stage.apply(at.address())).await.unwrap();
    let early = stage.cloud.fresh(BTreeMap::new());
    assert_eq!(early.listing().await.unwrap().by_arn.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn the_account_limits_are_the_worlds() {
    let stage = Stage::new();
    stage.sandbox.change(|w| {
        w.quotas.insert("addresses".into(), 2);
    });
    let all: Vec<_> = QUOTAS.iter().collect();
    let values = current(&stage.cloud, &all).await.unwrap();
    for line in QUOTAS {
        let value = match line.key {
            "addresses" => 2,
            // This account is not a new one.
            "vcpus" => 1_152,
            _ => line.default,
        };
        assert_eq!(values[line.code], value, "{}", line.name);
    }
    let addresses = quota("addresses").unwrap();
    let one = stage
        .aws()
        .quotas
        .get_service_quota()
        .service_code(addresses.service_code)
        .quota_code(addresses.code)
        .send()
        .await
        .unwrap();
    assert_eq!(one.quota().and_then(|q| q.value()), Some(2.0));
}
