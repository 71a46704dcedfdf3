//! The kinds that hold data, and what they stand on: KMS, Secrets Manager, RDS and ElastiCache, each through its
//! whole life on the strict cloud, and what that cloud refuses.

use std::collections::BTreeMap;

use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use gantry::cloud::Fault;
use gantry::kinds::Protection;
use gantry::kinds::ec2::{Exposure, SecurityGroup, Subnet, Vpc};
use gantry::kinds::elasticache::{self, CacheParameterGroupRef, ReplicationGroup};
use gantry::kinds::kms::{Alias, Key, KeyUse};
use gantry::kinds::rds::{self, DbInstance, DbReplica, ParameterGroupRef};
use gantry::kinds::secretsmanager::{self, Secret, SecretShape};
use gantry::resource::{Address, Readiness, Ref, Resource};

use crate::stage::{REGION, Stage, refused};

fn key_spec() -> Key {
    Key {
        description: "Everything of acme".into(),
        used_for: KeyUse::Data,
        copied_into: None,
        rotation: true,
        pending_days: 7,
    }
}

fn secret_spec(key: &Ref<Key>, name: &str, shape: SecretShape) -> Secret {
    Secret {
        name: format!("gantry/acme/{name}"),
        description: format!("The {name}"),
        shape,
        key: key.clone(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_and_its_alias_live_and_die() {
    let mut s = Stage::new();
    let hand = s.hand();
    let spec = key_spec();
    let (key, id) = s.make("main", spec.clone()).await;
    s.same(&key, &spec).await;
    let name = Alias {
        name: "alias/gantry-acme-main".into(),
        key: key.clone(),
    };
    let (alias, alias_id) = s.make("main", name.clone()).await;
    s.same(&alias, &name).await;

    // By hand: rotation off, another description, a stray tag, another policy, switched off.
    let kms = &hand.kms;
    kms.disable_key_rotation().key_id(&id).send().await.unwrap();
    kms.update_key_description()
        .key_id(&id)
        .description("mine")
        .send()
        .await
        .unwrap();
    let stray = aws_sdk_kms::types::Tag::builder()
        .tag_key("somebody")
        .tag_value("else");
    kms.tag_resource()
        .key_id(&id)
        .tags(stray.build().unwrap())
        .send()
        .await
        .unwrap();
    let open = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:root"},"Action":"kms:*","Resource":"*"}]}"#;
    kms.put_key_policy()
        .key_id(&id)
        .policy_name("default")
        .policy(open)
        .send()
        .await
        .unwrap();
    kms.disable_key().key_id(&id).send().await.unwrap();
    s.mend(
        &key,
        &id,
        &spec,
        &["description", "rotation", "enabled", "policy", "tags"],
    )
    .await;

    // The alias turned to another key of the site's.
    let (other, other_id) = s.make("other", spec.clone()).await;
    kms.update_alias()
        .alias_name(&name.name)
        .target_key_id(&other_id)
        .send()
        .await
        .unwrap();
    let listed = Alias::survey(&s.cloud.fresh(BTreeMap::from([(
        name.name.clone(),
        alias.address().clone(),
    )])))
    .await
    .unwrap();
    assert_eq!(listed[0].address, *alias.address());
    assert_eq!(listed[0].live.key, other_id);
    kms.update_alias()
        .alias_name(&name.name)
        .target_key_id(&id)
        .send()
        .await
        .unwrap();

    // A second alias of that name, bad names, bad policies.
    let again = s.start(&name, alias.address()).await.unwrap_err();
    assert!(again.is_exists(), "{again}");
    refused!(
        kms.create_alias().alias_name("main").target_key_id(&id),
        "ValidationException"
    );
    refused!(
        kms.create_alias()
            .alias_name("alias/x")
            .target_key_id("00000000-0000-0000-0000-000000000000"),
        "NotFoundException"
    );
    refused!(
        kms.create_key().policy("not json"),
        "MalformedPolicyDocumentException"
    );
    refused!(
        kms.create_key()
            .policy(open.replace(":root", ":role/nobody")),
        "MalformedPolicyDocumentException"
    );
    refused!(
        kms.schedule_key_deletion()
            .key_id(&id)
            .pending_window_in_days(5),
        "ValidationException"
    );

    s.gone(&alias, &alias_id).await;
    s.gone(&key, &id).await;
    s.gone(&other, &other_id).await;
    refused!(
        kms.enable_key_rotation().key_id(&id),
        "KMSInvalidStateException"
    );
    s.wait(8 * 24 * 3600).await;
    assert_eq!(s.sandbox.world().rows(REGION, "kms/key").count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_secret_keeps_its_value_and_its_name() {
    let mut s = Stage::new();
    let hand = s.hand();
    let (key, key_id) = s.make("main", key_spec()).await;
    let spec = secret_spec(
        &key,
        "database-password",
        SecretShape::Password { length: 40 },
    );
    let (secret, id) = s.make("database-password", spec.clone()).await;
    s.same(&secret, &spec).await;
    let value = secretsmanager::value(&s.apply(secret.address()), &secret)
        .await
        .unwrap();
    assert_eq!(value.reveal().len(), 40);

    let secrets = &hand.secrets;
    secrets
        .update_secret()
        .secret_id(&id)
        .description("mine")
        .kms_key_id("alias/aws/secretsmanager")
        .send()
        .await
        .unwrap();
    let stray = aws_sdk_secretsmanager::types::Tag::builder()
        .key("somebody")
        .value("else");
    secrets
        .tag_resource()
        .secret_id(&id)
        .tags(stray.build())
        .send()
        .await
        .unwrap();
    s.mend(&secret, &id, &spec, &["description", "key", "tags"])
        .await;

    // Taken, and then waiting for its end: called back with the value it had.
    let again = s.start(&spec, secret.address()).await.unwrap_err();
    assert!(again.is_exists(), "{again}");
    secrets
        .delete_secret()
        .secret_id(&id)
        .recovery_window_in_days(7)
        .send()
        .await
        .unwrap();
    assert!(s.seen(&secret).await.is_none());
    refused!(
        secrets.get_secret_value().secret_id(&id),
        "InvalidRequestException"
    );
    let back = s.start(&spec, secret.address()).await.unwrap();
    assert_eq!(back, id);
    s.same(&secret, &spec).await;
    let after = secretsmanager::value(&s.apply(secret.address()), &secret)
        .await
        .unwrap();
    assert_eq!(after.fingerprint(), value.fingerprint());

    // A name that somebody else's secret keeps.
    let foreign = "gantry/acme/foreign";
    secrets
        .create_secret()
        .name(foreign)
        .secret_string("x")
        .send()
        .await
        .unwrap();
    secrets
        .delete_secret()
        .secret_id(foreign)
        .send()
        .await
        .unwrap();
    let taken = secret_spec(&key, "foreign", SecretShape::Empty);
    let fault = s.start(&taken, secret.address()).await.unwrap_err();
    assert!(fault.is_exists(), "{fault}");

    // Empty until a node fills it.
    let later = secret_spec(&key, "ssh-keys", SecretShape::Empty);
    let (empty, empty_id) = s.make("ssh-keys", later.clone()).await;
    refused!(
        secrets.get_secret_value().secret_id(&empty_id),
        "ResourceNotFoundException"
    );
    secrets
        .put_secret_value()
        .secret_id(&empty_id)
        .secret_string("filled")
        .send()
        .await
        .unwrap();
    s.same(&empty, &later).await;
    refused!(
        secrets.create_secret().name("no spaces allowed"),
        "ValidationException"
    );
    s.gone(&empty, &empty_id).await;
    s.gone(&secret, &id).await;
    s.gone(&key, &key_id).await;
}

/// What databases and caches stand on.
struct Ground {
    s: Stage,
    key: Ref<Key>,
    password: Ref<Secret>,
    subnets: Vec<Ref<Subnet>>,
    subnet_ids: Vec<String>,
    group: (Ref<SecurityGroup>, String),
    other: (Ref<SecurityGroup>, String),
}

async fn ground() -> Ground {
    let mut s = Stage::new();
    let (key, _) = s.make("main", key_spec()).await;
    let shape = SecretShape::Password { length: 64 };
    let (password, _) = s
        .make("password", secret_spec(&key, "password", shape))
        .await;
    let cidr = "10.20.0.0/16".parse().unwrap();
    let (vpc, _) = s.make("main", Vpc { cidr }).await;
    let (mut subnets, mut subnet_ids) = (vec![], vec![]);
    for (n, zone) in ["a", "b", "c"].iter().enumerate() {
        let spec = Subnet {
            vpc: vpc.clone(),
            cidr: format!("10.20.{n}.0/24").parse().unwrap(),
            zone: format!("{REGION}{zone}"),
            exposure: Exposure::Private,
        };
        let (subnet, id) = s.make(&format!("private-{zone}"), spec).await;
        subnets.push(subnet);
        subnet_ids.push(id);
    }
    let spec = |name: &str| SecurityGroup {
        vpc: vpc.clone(),
        name: format!("gantry-acme-{name}"),
        description: name.into(),
    };
    let group = s.make("data", spec("data")).await;
    let other = s.make("other", spec("other")).await;
    Ground {
        s,
        key,
        password,
        subnets,
        subnet_ids,
        group,
        other,
    }
}

struct Database {
    g: Ground,
    subnets: (Ref<rds::SubnetGroup>, String, rds::SubnetGroup),
    parameters: (Ref<rds::ParameterGroup>, String, rds::ParameterGroup),
    spec: DbInstance,
}

async fn database() -> Database {
    let mut g = ground().await;
    let subnets = rds::SubnetGroup {
        name: "gantry-acme-main".into(),
        description: "Private subnets of acme".into(),
        subnets: g.subnets.clone(),
    };
    let (subnet_group, subnet_id) = g.s.make("main", subnets.clone()).await;
    let pairs = [
        ("rds.force_ssl", "1"),
        ("max_connections", "400"),
        ("shared_preload_libraries", "pg_stat_statements"),
        ("work_mem", "16384"),
    ];
    let parameters = rds::ParameterGroup {
        name: "gantry-acme-main".into(),
        family: "postgres17".into(),
        parameters: pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
    };
    let (parameter_group, parameter_id) = g.s.make("main", parameters.clone()).await;
    let spec = DbInstance {
        identifier: "gantry-acme-main".into(),
        class: "db.m6i.large".into(),
        engine_version: "17".into(),
        database: "gitlabhq_production".into(),
        user: "gitlab".into(),
        password: g.password.clone(),
        storage_gib: 400,
        max_storage_gib: Some(1000),
        storage_type: "gp3".into(),
        iops: Some(12_000),
        throughput: Some(500),
        multi_az: true,
        subnet_group: subnet_group.clone(),
        parameter_group: ParameterGroupRef::Ours(parameter_group.clone()),
        groups: vec![g.group.0.clone()],
        key: g.key.clone(),
        backup_days: 14,
        backup_window: "02:00-02:30".into(),
        maintenance_window: "sun:03:00-sun:04:00".into(),
        protection: Protection::On,
        insights: true,
        log_exports: vec!["postgresql".into(), "upgrade".into()],
        logs: vec![],
    };
    Database {
        g,
        subnets: (subnet_group, subnet_id, subnets),
        parameters: (parameter_group, parameter_id, parameters),
        spec,
    }
}

#[tokio::test(start_paused = true)]
async fn groups_of_a_database_are_mended() {
    let mut d = database().await;
    let rds = d.g.s.hand().rds;
    let (to, id, spec) = &d.subnets;
    d.g.s.same(to, spec).await;
    rds.modify_db_subnet_group()
        .db_subnet_group_name(id)
        .db_subnet_group_description("mine")
        .set_subnet_ids(Some(d.g.subnet_ids[..2].to_vec()))
        .send()
        .await
        .unwrap();
    let stray = aws_sdk_rds::types::Tag::builder()
        .key("a")
        .value("b")
        .build();
    rds.add_tags_to_resource()
        .resource_name(format!("arn:aws:rds:{REGION}:123456789012:subgrp:{id}"))
        .tags(stray)
        .send()
        .await
        .unwrap();
    d.g.s
        .mend(to, id, spec, &["description", "subnets", "tags"])
        .await;

    let (to, id, spec) = &d.parameters;
    d.g.s.same(to, spec).await;
    let parameter = |name: &str, value: &str, method| {
        aws_sdk_rds::types::Parameter::builder()
            .parameter_name(name)
            .parameter_value(value)
            .apply_method(method)
            .build()
    };
    use aws_sdk_rds::types::ApplyMethod::{Immediate, PendingReboot};
    let change = || rds.modify_db_parameter_group().db_parameter_group_name(id);
    change()
        .parameters(parameter("jit", "0", Immediate))
        .parameters(parameter("work_mem", "4", PendingReboot))
        .send()
        .await
        .unwrap();
    d.g.s.mend(to, id, spec, &["parameters"]).await;
    refused!(
        change().parameters(parameter("no_such_thing", "1", PendingReboot)),
        "InvalidParameterValue"
    );
    refused!(
        change().parameters(parameter("max_connections", "1", Immediate)),
        "InvalidParameterCombination"
    );
    refused!(
        rds.create_db_parameter_group()
            .db_parameter_group_name("x")
            .db_parameter_group_family("postgres9")
            .description("x"),
        "InvalidParameterValue"
    );
    let one_zone = || {
        rds.create_db_subnet_group()
            .db_subnet_group_name("one")
            .db_subnet_group_description("one")
    };
    refused!(
        one_zone().subnet_ids(&d.g.subnet_ids[0]),
        "DBSubnetGroupDoesNotCoverEnoughAZs"
    );
    refused!(one_zone().subnet_ids("subnet-nowhere"), "InvalidSubnet");
    let again = d.g.s.start(spec, to.address()).await.unwrap_err();
    assert!(again.is_exists(), "{again}");
    let again = d.g.s.start(&d.subnets.2, d.subnets.0.address()).await;
    assert!(again.unwrap_err().is_exists());

    d.parameters.2.parameters.clear();
    let (to, id, spec) = &d.parameters;
    d.g.s.mend(to, id, spec, &["parameters"]).await;
    d.g.s.gone(to, id).await;
    d.g.s.gone(&d.subnets.0, &d.subnets.1).await;
}

#[tokio::test(start_paused = true)]
async fn a_database_and_its_replica_live_and_die() {
    let mut d = database().await;
    let rds = d.g.s.hand().rds;
    let spec = d.spec.clone();
    let (main, id) = d.g.s.make("main", spec.clone()).await;
    d.g.s.same(&main, &spec).await;
    let shown = |r: aws_sdk_rds::operation::describe_db_instances::DescribeDbInstancesOutput| {
        r.db_instances()[0].clone()
    };
    let one = || rds.describe_db_instances().db_instance_identifier(&id);
    let first = shown(one().send().await.unwrap());
    assert_eq!(first.engine_version(), Some("17.7"));
    assert_eq!(first.storage_encrypted(), Some(true));
    assert!(first.endpoint().is_some());

    // The source backs up first, so the replica has to wait.
    let replica = DbReplica {
        identifier: "gantry-acme-replica-1".into(),
        source: main.clone(),
        class: "db.m6i.large".into(),
        parameter_group: spec.parameter_group.clone(),
        groups: spec.groups.clone(),
        key: d.g.key.clone(),
        max_storage_gib: spec.max_storage_gib,
        maintenance_window: "mon:03:00-mon:04:00".into(),
        protection: Protection::On,
        insights: true,
        log_exports: vec!["postgresql".into()],
        logs: vec![],
    };
    let early = Address::new(DbReplica::KIND, "early");
    let fault = d.g.s.start(&replica, &early).await.unwrap_err();
    assert!(matches!(fault, Fault::Later { .. }), "{fault}");
    d.g.s.wait(120).await;
    let (second, second_id) = d.g.s.make("replica-1", replica.clone()).await;
    d.g.s.same(&second, &replica).await;
    d.g.s.same(&main, &spec).await;

    // Changed by hand, in many places.
    rds.modify_db_instance()
        .db_instance_identifier(&id)
        .db_instance_class("db.m6i.xlarge")
        .multi_az(false)
        .backup_retention_period(3)
        .preferred_backup_window("05:00-05:30")
        .deletion_protection(false)
        .auto_minor_version_upgrade(true)
        .vpc_security_group_ids(&d.g.other.1)
        .db_parameter_group_name("default.postgres17")
        .apply_immediately(true)
        .send()
        .await
        .unwrap();
    refused!(
        rds.modify_db_instance()
            .db_instance_identifier(&id)
            .multi_az(true),
        "InvalidDBInstanceState"
    );
    d.g.s.wait(300).await;
    let drifted = [
        "multi_az",
        "backup_days",
        "backup_window",
        "class",
        "parameter_group",
        "groups",
        "protection",
        "minor_upgrades",
    ];
    d.g.s.mend(&main, &id, &spec, &drifted).await;
    // Stopped by hand, it has lost nothing and is started again.
    let rds = d.g.s.cloud.aws().rds.clone();
    let stop = rds.stop_db_instance().db_instance_identifier(&id);
    stop.send().await.unwrap();
    d.g.s.mend(&main, &id, &spec, &["running"]).await;

    // Asked for anew: more storage, other logs, no insights.
    let mut next = spec.clone();
    next.storage_gib = 500;
    next.iops = Some(16_000);
    next.log_exports = vec!["postgresql".into()];
    next.insights = false;
    d.g.s
        .mend(
            &main,
            &id,
            &next,
            &["storage_gib", "iops", "insights", "log_exports"],
        )
        .await;
    // AWS grew the storage by itself: no drift below the ceiling.
    d.g.s.sandbox.change(|w| {
        let row = w.get_mut(REGION, "rds/db_instance", "gantry-acme-main");
        row.unwrap().set("AllocatedStorage", 600);
    });
    d.g.s.same(&main, &next).await;

    // Refused while it lives.
    let delete = || {
        rds.delete_db_instance()
            .db_instance_identifier(&id)
            .skip_final_snapshot(true)
    };
    refused!(delete(), "InvalidParameterCombination");
    let fault = rds::SubnetGroup::delete(&d.subnets.1, &d.g.s.cloud).await;
    assert!(matches!(fault, Err(Fault::Later { .. })), "{fault:?}");
    let fault = rds::ParameterGroup::delete(&d.parameters.1, &d.g.s.cloud).await;
    assert!(matches!(fault, Err(Fault::Later { .. })), "{fault:?}");
    let fault = Subnet::delete(&d.g.subnet_ids[0], &d.g.s.cloud).await;
    assert!(matches!(fault, Err(Fault::Later { .. })), "{fault:?}");
    let again = d.g.s.start(&spec, main.address()).await.unwrap_err();
    assert!(again.is_exists(), "{again}");

    d.g.s.gone(&second, &second_id).await;
    let last = d.g.s.cloud.with_final_snapshot(Some("20260105".into()));
    while let Err(fault) = DbInstance::delete(&id, &last).await {
        assert!(matches!(fault, Fault::Later { .. }), "{fault}");
        d.g.s.wait(20).await;
    }
    DbInstance::delete(&id, &last).await.unwrap();
    let going = DbInstance::poll(std::slice::from_ref(&id), &last)
        .await
        .unwrap();
    assert!(matches!(&going[0], Readiness::Pending(why) if why == "deleting"));
    d.g.s.gone(&main, &id).await;
    let snapshots = rds.describe_db_snapshots().send().await.unwrap();
    let snapshot = &snapshots.db_snapshots()[0];
    assert_eq!(
        snapshot.db_snapshot_identifier(),
        Some("gantry-acme-main-20260105")
    );
    assert_eq!(snapshot.status(), Some("available"));
    let backups = rds.describe_db_instance_automated_backups().send().await;
    assert!(backups.unwrap().db_instance_automated_backups().is_empty());
    rds.delete_db_snapshot()
        .db_snapshot_identifier("gantry-acme-main-20260105")
        .send()
        .await
        .unwrap();
    d.g.s.gone(&d.subnets.0, &d.subnets.1).await;
    d.g.s.gone(&d.parameters.0, &d.parameters.1).await;
    for (subnet, id) in d.g.subnets.iter().zip(&d.g.subnet_ids) {
        d.g.s.gone(subnet, id).await;
    }
}

#[tokio::test(start_paused = true)]
async fn databases_that_aws_refuses() {
    let d = database().await;
    let rds = d.g.s.hand().rds;
    let ask = || {
        rds.create_db_instance()
            .db_instance_identifier("x")
            .db_instance_class("db.m6i.large")
            .engine("postgres")
            .engine_version("17")
            .master_username("gitlab")
            .master_user_password("long enough?".replace(' ', "-"))
            .allocated_storage(100)
            .storage_type("gp3")
            .db_subnet_group_name(&d.subnets.1)
    };
    refused!(ask().db_instance_identifier("9x"), "InvalidParameterValue");
    refused!(
        ask().db_instance_identifier("x--y"),
        "InvalidParameterValue"
    );
    refused!(
        ask().db_instance_class("db.q1.large"),
        "InvalidParameterValue"
    );
    refused!(ask().engine_version("9.6"), "InvalidParameterCombination");
    refused!(ask().master_username("rdsadmin"), "InvalidParameterValue");
    refused!(ask().master_user_password("short"), "InvalidParameterValue");
    refused!(
        ask().master_user_password("has a/slash"),
        "InvalidParameterValue"
    );
    refused!(ask().allocated_storage(5), "InvalidParameterValue");
    refused!(ask().iops(12_000), "InvalidParameterCombination");
    refused!(ask().storage_type("io2"), "InvalidParameterCombination");
    refused!(
        ask().storage_type("io1").iops(6_000),
        "InvalidParameterCombination"
    );
    refused!(
        ask().max_allocated_storage(100),
        "InvalidParameterCombination"
    );
    refused!(
        ask().db_subnet_group_name("none"),
        "DBSubnetGroupNotFoundFault"
    );
    refused!(
        ask().db_parameter_group_name("none"),
        "DBParameterGroupNotFound"
    );
    refused!(
        ask().db_parameter_group_name("default.postgres16"),
        "InvalidParameterCombination"
    );
    refused!(
        ask().vpc_security_group_ids("sg-none"),
        "InvalidParameterValue"
    );
    refused!(
        ask().storage_encrypted(true).kms_key_id("none"),
        "KMSKeyNotAccessibleFault"
    );
    refused!(ask().backup_retention_period(36), "InvalidParameterValue");
    refused!(
        ask()
            .preferred_backup_window("03:00-04:00")
            .preferred_maintenance_window("sun:03:30-sun:04:30"),
        "InvalidParameterCombination"
    );
    refused!(
        ask().enable_cloudwatch_logs_exports("audit"),
        "InvalidParameterCombination"
    );
    d.g.s.sandbox.change(|w| {
        w.quotas.insert("db_instances".into(), 0);
    });
    refused!(ask(), "InstanceQuotaExceeded");
    d.g.s.sandbox.change(|w| w.quotas.clear());

    ask().send().await.unwrap();
    refused!(ask(), "DBInstanceAlreadyExists");
    let delete = || rds.delete_db_instance().db_instance_identifier("x");
    refused!(delete().skip_final_snapshot(true), "InvalidDBInstanceState");
    let made = rds.describe_db_instances().db_instance_identifier("x");
    let made = made.send().await.unwrap();
    assert!(made.db_instances()[0].endpoint().is_none());
    d.g.s.wait(3600).await;
    refused!(delete(), "InvalidParameterCombination");
    // The logs nobody asked for in time are not there.
    let logs =
        d.g.s
            .hand()
            .logs
            .describe_log_groups()
            .send()
            .await
            .unwrap();
    assert!(logs.log_groups().is_empty());
    refused!(
        rds.describe_db_instances().db_instance_identifier("nobody"),
        "DBInstanceNotFound"
    );
    let versions = rds.describe_db_engine_versions().engine("postgres");
    let versions = versions.engine_version("17").send().await.unwrap();
    assert!(versions.db_engine_versions().len() > 1);
    let orderable = rds
        .describe_orderable_db_instance_options()
        .engine("postgres")
        .db_instance_class("db.m7g.large");
    let orderable = orderable.send().await.unwrap();
    assert_eq!(orderable.orderable_db_instance_options().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn the_instance_list_comes_in_pages() {
    let d = database().await;
    let rds = d.g.s.hand().rds;
    for n in 0..25 {
        rds.create_db_instance()
            .db_instance_identifier(format!("x{n}"))
            .db_instance_class("db.t4g.micro")
            .engine("postgres")
            .master_username("gitlab")
            .master_user_password("long-enough")
            .allocated_storage(20)
            .db_subnet_group_name(&d.subnets.1)
            .send()
            .await
            .unwrap();
    }
    d.g.s.wait(5).await;
    let first = rds.describe_db_instances().max_records(20);
    assert_eq!(first.clone().send().await.unwrap().db_instances().len(), 20);
    let all: Result<Vec<_>, _> = first.into_paginator().items().send().collect().await;
    assert_eq!(all.unwrap().len(), 25);
}

struct Cache {
    g: Ground,
    subnets: (
        Ref<elasticache::SubnetGroup>,
        String,
        elasticache::SubnetGroup,
    ),
    parameters: (
        Ref<elasticache::ParameterGroup>,
        String,
        elasticache::ParameterGroup,
    ),
    spec: ReplicationGroup,
}

async fn cache() -> Cache {
    let mut g = ground().await;
    let subnets = elasticache::SubnetGroup {
        name: "gantry-acme-main".into(),
        description: "Private subnets of acme".into(),
        subnets: g.subnets.clone(),
    };
    let (subnet_group, subnet_id) = g.s.make("main", subnets.clone()).await;
    let parameters = elasticache::ParameterGroup {
        name: "gantry-acme-main".into(),
        family: "valkey7".into(),
        parameters: [("maxmemory-policy".to_owned(), "noeviction".to_owned())].into(),
    };
    let (parameter_group, parameter_id) = g.s.make("main", parameters.clone()).await;
    let spec = ReplicationGroup {
        id: "gantry-acme-main".into(),
        description: "Queues and sessions".into(),
        node_type: "cache.m7g.large".into(),
        engine_version: "7.2".into(),
        replicas: 2,
        subnet_group: subnet_group.clone(),
        parameter_group: CacheParameterGroupRef::Ours(parameter_group.clone()),
        groups: vec![g.group.0.clone()],
        key: g.key.clone(),
        token: g.password.clone(),
        snapshot_days: 3,
        snapshot_window: "03:00-04:00".into(),
        maintenance_window: "sun:04:00-sun:05:00".into(),
    };
    Cache {
        g,
        subnets: (subnet_group, subnet_id, subnets),
        parameters: (parameter_group, parameter_id, parameters),
        spec,
    }
}

#[tokio::test(start_paused = true)]
async fn a_cache_lives_and_dies() {
    let mut c = cache().await;
    let cache = c.g.s.hand().elasticache;
    let (to, id, group) = &c.subnets;
    c.g.s.same(to, group).await;
    cache
        .modify_cache_subnet_group()
        .cache_subnet_group_name(id)
        .cache_subnet_group_description("mine")
        .send()
        .await
        .unwrap();
    c.g.s.mend(to, id, group, &["description"]).await;
    let (to, id, group) = &c.parameters;
    c.g.s.same(to, group).await;
    let parameter = |name: &str, value: &str| {
        aws_sdk_elasticache::types::ParameterNameValue::builder()
            .parameter_name(name)
            .parameter_value(value)
            .build()
    };
    let change = || {
        cache
            .modify_cache_parameter_group()
            .cache_parameter_group_name(id)
    };
    change()
        .parameter_name_values(parameter("maxmemory-samples", "10"))
        .parameter_name_values(parameter("maxmemory-policy", "allkeys-lru"))
        .send()
        .await
        .unwrap();
    c.g.s.mend(to, id, group, &["parameters"]).await;
    refused!(
        change().parameter_name_values(parameter("no-such-thing", "1")),
        "InvalidParameterValue"
    );

    let spec = c.spec.clone();
    let (main, id) = c.g.s.make("main", spec.clone()).await;
    c.g.s.same(&main, &spec).await;
    let shown = cache
        .describe_replication_groups()
        .replication_group_id(&id);
    let shown = shown.send().await.unwrap().replication_groups()[0].clone();
    assert_eq!(shown.member_clusters().len(), 3);
    assert_eq!(shown.transit_encryption_enabled(), Some(true));

    // By hand.
    let stray = aws_sdk_elasticache::types::Tag::builder()
        .key("a")
        .value("b");
    cache
        .add_tags_to_resource()
        .resource_name(shown.arn().unwrap())
        .tags(stray.build())
        .send()
        .await
        .unwrap();
    cache
        .modify_replication_group()
        .replication_group_id(&id)
        .replication_group_description("mine")
        .cache_node_type("cache.m7g.xlarge")
        .multi_az_enabled(false)
        .snapshot_retention_limit(1)
        .snapshot_window("05:00-06:00")
        .preferred_maintenance_window("mon:04:00-mon:05:00")
        .auto_minor_version_upgrade(true)
        .security_group_ids(&c.g.other.1)
        .cache_parameter_group_name("default.valkey7")
        .apply_immediately(true)
        .send()
        .await
        .unwrap();
    refused!(
        cache.delete_replication_group().replication_group_id(&id),
        "InvalidReplicationGroupState"
    );
    c.g.s.wait(300).await;
    let drifted = [
        "description",
        "node_type",
        "multi_az",
        "snapshot_days",
        "minor_upgrades",
        "tags",
        "snapshot_window",
        "groups",
        "maintenance_window",
        "parameter_group",
    ];
    c.g.s.mend(&main, &id, &spec, &drifted).await;

    // Down to one node, which takes failover off first, and up again.
    let mut alone = spec.clone();
    alone.replicas = 0;
    let all = ["replicas", "failover", "multi_az"];
    c.g.s.mend(&main, &id, &alone, &all).await;
    c.g.s.mend(&main, &id, &spec, &all).await;

    let fault = elasticache::SubnetGroup::delete(&c.subnets.1, &c.g.s.cloud).await;
    assert!(matches!(fault, Err(Fault::Later { .. })), "{fault:?}");
    let fault = elasticache::ParameterGroup::delete(&c.parameters.1, &c.g.s.cloud).await;
    assert!(matches!(fault, Err(Fault::Later { .. })), "{fault:?}");
    let fault = Subnet::delete(&c.g.subnet_ids[0], &c.g.s.cloud).await;
    assert!(matches!(fault, Err(Fault::Later { .. })), "{fault:?}");
    let again = c.g.s.start(&spec, main.address()).await.unwrap_err();
    assert!(again.is_exists(), "{again}");
    c.g.s.gone(&main, &id).await;
    c.g.s.gone(&c.subnets.0, &c.subnets.1).await;
    c.g.s.gone(&c.parameters.0, &c.parameters.1).await;
    for (subnet, id) in c.g.subnets.iter().zip(&c.g.subnet_ids) {
        c.g.s.gone(subnet, id).await;
    }
}

#[tokio::test(start_paused = true)]
async fn caches_that_aws_refuses() {
    let c = cache().await;
    let cache = c.g.s.hand().elasticache;
    let ask = || {
        cache
            .create_replication_group()
            .replication_group_id("x")
            .replication_group_description("x")
            .engine("valkey")
            .engine_version("7.2")
            .cache_node_type("cache.m7g.large")
            .num_cache_clusters(2)
            .cache_subnet_group_name(&c.subnets.1)
    };
    let long = "y".repeat(41);
    refused!(ask().replication_group_id(long), "InvalidParameterValue");
    refused!(ask().replication_group_id("x_y"), "InvalidParameterValue");
    refused!(ask().engine_version("6.2"), "InvalidParameterValue");
    refused!(
        ask().cache_node_type("cache.q1.large"),
        "InvalidParameterValue"
    );
    let token = "0123456789abcdef";
    refused!(ask().auth_token(token), "InvalidParameterCombination");
    let tls = || ask().transit_encryption_enabled(true);
    refused!(tls().auth_token("short"), "InvalidParameterValue");
    refused!(
        tls().auth_token("0123456789abcde/"),
        "InvalidParameterValue"
    );
    let alone = || ask().num_cache_clusters(1);
    refused!(
        alone().automatic_failover_enabled(true),
        "InvalidParameterCombination"
    );
    refused!(ask().multi_az_enabled(true), "InvalidParameterCombination");
    refused!(
        ask().cache_subnet_group_name("none"),
        "CacheSubnetGroupNotFoundFault"
    );
    refused!(
        ask().cache_parameter_group_name("none"),
        "CacheParameterGroupNotFound"
    );
    refused!(ask().security_group_ids("sg-none"), "InvalidParameterValue");
    refused!(
        ask().snapshot_window("03:00-03:30"),
        "InvalidParameterValue"
    );
    refused!(
        ask().at_rest_encryption_enabled(true).kms_key_id("none"),
        "InvalidParameterValue"
    );
    c.g.s.sandbox.change(|w| {
        w.quotas.insert("cache_nodes".into(), 1);
    });
    refused!(ask(), "NodeQuotaForCustomerExceeded");
    c.g.s.sandbox.change(|w| w.quotas.clear());
    tls().auth_token(token).send().await.unwrap();
    refused!(ask(), "ReplicationGroupAlreadyExists");
    let made = cache
        .describe_replication_groups()
        .replication_group_id("x");
    let made = made.send().await.unwrap();
    assert!(made.replication_groups()[0].node_groups().is_empty());
}
