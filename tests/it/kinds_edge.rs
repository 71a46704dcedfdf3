//! The kinds at the edge of a site, each through its whole life on the strict cloud, and what that cloud refuses:
//! load balancers and what belongs to them, certificates, DNS records, topics, log groups, alarms.

use aws_sdk_acm::types::ValidationMethod;
use aws_sdk_cloudwatch::types::{ComparisonOperator, Statistic, Tag as CwTag};
use aws_sdk_elasticloadbalancingv2::types::{
    Action, ActionTypeEnum, Certificate as SdkCertificate, LoadBalancerAttribute,
    LoadBalancerTypeEnum, ProtocolEnum, Tag as ElbTag, TargetDescription, TargetGroupAttribute,
};
use aws_sdk_route53::types::{
    Change as SdkChange, ChangeAction, ChangeBatch, ChangeStatus, ResourceRecord,
    ResourceRecordSet, RrType,
};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use gantry::cloud::Fault;
use gantry::kinds::Protection;
use gantry::kinds::acm::{Certificate, Validation};
use gantry::kinds::cloudwatch::{Alarm, AlarmAction, Comparison, Dimension, Missing};
use gantry::kinds::ec2::{Exposure, InternetGateway, SecurityGroup, Subnet, Vpc};
use gantry::kinds::elb::{
    CertificateRef, Health, Listener, ListenerProtocol, LoadBalancer, Scheme, TargetGroup,
};
use gantry::kinds::kms::{Key, KeyUse};
use gantry::kinds::logs::LogGroup;
use gantry::kinds::route53::{Record, RecordValue};
use gantry::kinds::sns::Topic;
use gantry::resource::{Change, Readiness, Ref, Resource};
use serde_json::json;

use crate::stage::{REGION, Stage};

const POLICY: &str = "ELBSecurityPolicy-TLS13-1-2-Res-2021-06";

/// The refusal's code of a call that must not go through.
fn refused<T, E, R>(
    answer: Result<T, aws_smithy_runtime_api::client::result::SdkError<E, R>>,
) -> String
where
    T: std::fmt::Debug,
    E: ProvideErrorMetadata + std::fmt::Debug,
    R: std::fmt::Debug,
{
    match answer.unwrap_err() {
        aws_smithy_runtime_api::client::result::SdkError::ServiceError(e) => {
            e.err().code().unwrap_or_default().to_owned()
        }
        other => panic!("{other:?}"),
    }
}

/// A network with two zones and a way to the world.
struct Edge {
    s: Stage,
    vpc: Ref<Vpc>,
    subnets: Vec<Ref<Subnet>>,
    subnet_ids: Vec<String>,
    group: Ref<SecurityGroup>,
    group_id: String,
}

impl Edge {
    async fn new() -> Self {
        let mut s = Stage::new();
        let (vpc, _) = s
            .make(
                "main",
                Vpc {
                    cidr: "10.20.0.0/16".parse().unwrap(),
                },
            )
            .await;
        s.make("main", InternetGateway { vpc: vpc.clone() }).await;
        let (mut subnets, mut subnet_ids) = (vec![], vec![]);
        for (zone, cidr) in [("a", "10.20.0.0/24"), ("b", "10.20.1.0/24")] {
            let spec = Subnet {
                vpc: vpc.clone(),
                cidr: cidr.parse().unwrap(),
                zone: format!("{REGION}{zone}"),
                exposure: Exposure::Public,
            };
            let (subnet, id) = s.make(&format!("public-{zone}"), spec).await;
            subnets.push(subnet);
            subnet_ids.push(id);
        }
        let spec = SecurityGroup {
            vpc: vpc.clone(),
            name: "gantry-acme-front".into(),
            description: "The front door".into(),
        };
        let (group, group_id) = s.make("front", spec).await;
        Self {
            s,
            vpc,
            subnets,
            subnet_ids,
            group,
            group_id,
        }
    }

    fn balancer(&self, name: &str) -> LoadBalancer {
        LoadBalancer {
            name: format!("gantry-acme-{name}"),
            scheme: Scheme::Public,
            subnets: self.subnets.clone(),
            groups: vec![self.group.clone()],
            logs: None,
            protection: Protection::On,
            cross_zone: true,
        }
    }

    fn targets(&self, name: &str, port: u16) -> TargetGroup {
        TargetGroup {
            name: format!("gantry-acme-{name}"),
            vpc: self.vpc.clone(),
            port,
            health: Health::Http {
                path: "/-/readiness".into(),
                port: Some(8080),
                success: "200-399".into(),
            },
            proxy_protocol: true,
            preserve_client_ip: false,
            deregistration_seconds: 120,
        }
    }

    fn zone(&self, domain: &str) -> String {
        let world = self.s.sandbox.world();
        let (id, _) = world
            .rows("global", "route53/hosted_zone")
            .find(|(_, r)| r.text("Name") == format!("{domain}."))
            .unwrap();
        id.clone()
    }

    /// A certificate with its record, and the wait for it.
    async fn certified(
        &mut self,
        domain: &str,
    ) -> (Ref<Certificate>, Ref<Validation>, Ref<Record>) {
        let spec = Certificate {
            domain: domain.into(),
            alternative: vec![format!("*.pages.{domain}")],
        };
        let (certificate, _) = self.s.make("front", spec).await;
        let zone_id = self.zone("acme.example");
        let mut first = None;
        for name in [domain.to_owned(), format!("pages.{domain}")] {
            let record = Record {
                zone_id: zone_id.clone(),
                name: name.clone(),
                value: RecordValue::Validation {
                    certificate: certificate.clone(),
                    domain: name.clone(),
                },
            };
            let (to, _) = self.s.make(&format!("validation-{name}"), record).await;
            first.get_or_insert(to);
        }
        let spec = Validation {
            certificate: certificate.clone(),
            by_hand: vec![],
        };
        let (validation, _) = self.s.make("front", spec).await;
        (certificate, validation, first.unwrap())
    }
}

fn elb_attribute(key: &str, value: &str) -> LoadBalancerAttribute {
    LoadBalancerAttribute::builder()
        .key(key)
        .value(value)
        .build()
}

#[tokio::test(start_paused = true)]
async fn a_load_balancer_from_first_to_last() {
    let mut e = Edge::new().await;
    let mut spec = e.balancer("front");
    let (front, id) = e.s.make("front", spec.clone()).await;
    e.s.same(&front, &spec).await;
    e.s.same(&front, &spec).await;
    assert!(id.contains(":loadbalancer/net/gantry-acme-front/"), "{id}");

    // The same again is the same one; the same name with other settings is another's.
    assert_eq!(e.s.start(&spec, front.address()).await.unwrap(), id);
    spec.subnets.pop();
    let fault = e.s.start(&spec, front.address()).await.unwrap_err();
    assert!(fault.is_exists(), "{fault}");
    spec = e.balancer("front");

    let elb = e.s.hand().elb;
    elb.modify_load_balancer_attributes()
        .load_balancer_arn(&id)
        .attributes(elb_attribute("deletion_protection.enabled", "false"))
        .attributes(elb_attribute("load_balancing.cross_zone.enabled", "false"))
        .send()
        .await
        .unwrap();
    elb.add_tags()
        .resource_arns(&id)
        .tags(ElbTag::builder().key("stray").value("1").build())
        .send()
        .await
        .unwrap();
    e.s.mend(&front, &id, &spec, &["protection", "cross_zone", "tags"])
        .await;
    elb.set_subnets()
        .load_balancer_arn(&id)
        .subnets(&e.subnet_ids[0])
        .send()
        .await
        .unwrap();
    e.s.mend(&front, &id, &spec, &["subnets"]).await;
    elb.set_security_groups()
        .load_balancer_arn(&id)
        .security_groups(&e.group_id)
        .send()
        .await
        .unwrap();
    e.s.same(&front, &spec).await;

    assert_eq!(
        refused(
            elb.delete_load_balancer()
                .load_balancer_arn(&id)
                .send()
                .await
        ),
        "OperationNotPermitted"
    );
    e.s.gone(&front, &id).await;
    // Its interfaces hold the subnets for a while.
    let interfaces = |e: &Edge| {
        e.s.sandbox
            .world()
            .rows(REGION, "ec2/network_interface")
            .count()
    };
    assert_eq!(interfaces(&e), 2);
    e.s.wait(120).await;
    assert_eq!(interfaces(&e), 0);
}

#[tokio::test(start_paused = true)]
async fn load_balancers_that_aws_refuses() {
    let mut e = Edge::new().await;
    let elb = e.s.hand().elb;
    let ask = |name: &str| {
        elb.create_load_balancer()
            .name(name)
            .r#type(LoadBalancerTypeEnum::Network)
    };
    let some = &e.subnet_ids[0];
    for name in [
        "-x",
        "x-",
        "internal-x",
        "a_b",
        "a234567890123456789012345678901234",
    ] {
        assert_eq!(
            refused(ask(name).subnets(some).send().await),
            "ValidationError",
            "{name}"
        );
    }
    assert_eq!(refused(ask("x").send().await), "ValidationError");
    assert_eq!(
        refused(ask("x").subnets("subnet-1").send().await),
        "SubnetNotFound"
    );
    assert_eq!(
        refused(ask("x").subnets(some).subnets(some).send().await),
        "InvalidConfigurationRequest"
    );
    assert_eq!(
        refused(ask("x").subnets(some).security_groups("sg-1").send().await),
        "InvalidSecurityGroup"
    );

    // Groups cannot come later.
    let answer = ask("bare").subnets(some).send().await.unwrap();
    let arn = answer.load_balancers()[0]
        .load_balancer_arn()
        .unwrap()
        .to_owned();
    assert_eq!(
        refused(
            elb.set_security_groups()
                .load_balancer_arn(&arn)
                .security_groups(&e.group_id)
                .send()
                .await
        ),
        "InvalidConfigurationRequest"
    );
    let modify = |key: &str, value: &str| {
        elb.modify_load_balancer_attributes()
            .load_balancer_arn(&arn)
            .attributes(elb_attribute(key, value))
    };
    assert_eq!(
        refused(modify("idle_timeout.timeout_seconds", "60").send().await),
        "ValidationError"
    );

    // Access logs need a bucket that lets the service write.
    let logs = |bucket: &str| {
        modify("access_logs.s3.enabled", "true")
            .attributes(elb_attribute("access_logs.s3.bucket", bucket))
    };
    assert_eq!(
        refused(logs("logs").send().await),
        "InvalidConfigurationRequest"
    );
    let s3 = e.s.hand().s3;
    let place = aws_sdk_s3::types::CreateBucketConfiguration::builder()
        .location_constraint(REGION.into())
        .build();
    s3.create_bucket()
        .bucket("logs")
        .create_bucket_configuration(place)
        .send()
        .await
        .unwrap();
    assert_eq!(
        refused(logs("logs").send().await),
        "InvalidConfigurationRequest"
    );
    let policy = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "delivery.logs.amazonaws.com"},
        "Action": "s3:PutObject", "Resource": "arn:aws:s3:::logs/*"}]});
    s3.put_bucket_policy()
        .bucket("logs")
        .policy(policy.to_string())
        .send()
        .await
        .unwrap();
    logs("logs").send().await.unwrap();

    // No way to the world, no public load balancer: that passes once the gateway is attached.
    let (vpc, _) =
        e.s.make(
            "closed",
            Vpc {
                cidr: "10.30.0.0/16".parse().unwrap(),
            },
        )
        .await;
    let spec = Subnet {
        vpc,
        cidr: "10.30.0.0/24".parse().unwrap(),
        zone: format!("{REGION}a"),
        exposure: Exposure::Private,
    };
    let (subnet, _) = e.s.make("closed", spec).await;
    let mut spec = e.balancer("closed");
    spec.subnets = vec![subnet];
    spec.groups = vec![];
    let to = e.s.blueprint.add("closed", spec.clone());
    let fault = e.s.start(&spec, to.address()).await.unwrap_err();
    assert!(
        matches!(&fault, Fault::Later { code, .. } if code == "InvalidSubnet"),
        "{fault}"
    );

    e.s.sandbox.change(|w| {
        w.quotas.insert("load_balancers".into(), 1);
    });
    assert_eq!(
        refused(ask("more").subnets(some).send().await),
        "TooManyLoadBalancers"
    );
}

#[tokio::test(start_paused = true)]
async fn a_target_group_from_first_to_last() {
    let mut e = Edge::new().await;
    let mut spec = e.targets("https", 443);
    let (https, id) = e.s.make("https", spec.clone()).await;
    e.s.same(&https, &spec).await;
    assert_eq!(e.s.start(&spec, https.address()).await.unwrap(), id);

    let elb = e.s.hand().elb;
    let set = |key: &str, value: &str| {
        let pair = TargetGroupAttribute::builder()
            .key(key)
            .value(value)
            .build();
        elb.modify_target_group_attributes()
            .target_group_arn(&id)
            .attributes(pair)
    };
    set("proxy_protocol_v2.enabled", "false")
        .send()
        .await
        .unwrap();
    set("preserve_client_ip.enabled", "true")
        .send()
        .await
        .unwrap();
    e.s.mend(
        &https,
        &id,
        &spec,
        &["proxy_protocol", "preserve_client_ip"],
    )
    .await;
    assert_eq!(
        refused(set("slow_start.duration_seconds", "30").send().await),
        "ValidationError"
    );
    assert_eq!(
        refused(
            set("deregistration_delay.timeout_seconds", "3601")
                .send()
                .await
        ),
        "ValidationError"
    );

    elb.modify_target_group()
        .target_group_arn(&id)
        .health_check_timeout_seconds(9)
        .send()
        .await
        .unwrap();
    e.s.mend(&https, &id, &spec, &["health"]).await;

    spec.health = Health::Tcp;
    spec.deregistration_seconds = 30;
    e.s.mend(&https, &id, &spec, &["health", "deregistration_seconds"])
        .await;
    spec.health = Health::Http {
        path: "/".into(),
        port: None,
        success: "200".into(),
    };
    e.s.mend(&https, &id, &spec, &["health"]).await;

    spec.port = 444;
    assert!(e.s.diff(&https, &spec).await.replaces());
    let fault = e.s.start(&spec, https.address()).await.unwrap_err();
    assert!(fault.is_exists(), "{fault}");

    let vpc = e.s.outputs.of(&e.vpc).unwrap().id;
    let ask = || {
        elb.create_target_group()
            .name("x")
            .protocol(ProtocolEnum::Tcp)
            .port(80)
            .vpc_id(&vpc)
    };
    assert_eq!(refused(ask().name("x-").send().await), "ValidationError");
    assert_eq!(refused(ask().port(0).send().await), "ValidationError");
    assert_eq!(
        refused(ask().vpc_id("vpc-1").send().await),
        "ValidationError"
    );
    assert_eq!(
        refused(ask().health_check_path("/x").send().await),
        "InvalidConfigurationRequest"
    );
    assert_eq!(
        refused(ask().health_check_interval_seconds(4).send().await),
        "ValidationError"
    );
    e.s.gone(&https, &id).await;
}

#[tokio::test(start_paused = true)]
async fn listeners_and_what_they_hold() {
    let mut e = Edge::new().await;
    let (front, front_id) = e.s.make("front", e.balancer("front")).await;
    let (https, https_id) = e.s.make("https", e.targets("https", 443)).await;
    let (ssh, ssh_id) = e.s.make("ssh", e.targets("ssh", 2222)).await;
    let mut spec = Listener {
        load_balancer: front.clone(),
        port: 22,
        protocol: ListenerProtocol::Tcp,
        target: ssh.clone(),
    };
    let (plain, plain_id) = e.s.make("ssh", spec.clone()).await;
    e.s.same(&plain, &spec).await;
    let fault = e.s.start(&spec, plain.address()).await.unwrap_err();
    assert_eq!(
        (fault.is_exists(), fault.code()),
        (true, "DuplicateListener")
    );

    // A certificate that is not issued yet is refused; the engine comes again.
    let request = Certificate {
        domain: "gitlab.acme.example".into(),
        alternative: vec![],
    };
    let (_, early) = e.s.make("early", request).await;
    let elb = e.s.hand().elb;
    let forward = |arn: &str| {
        Action::builder()
            .r#type(ActionTypeEnum::Forward)
            .target_group_arn(arn)
            .build()
    };
    let tls = |certificate: &str| {
        elb.create_listener()
            .load_balancer_arn(&front_id)
            .port(443)
            .protocol(ProtocolEnum::Tls)
            .default_actions(forward(&https_id))
            .ssl_policy(POLICY)
            .certificates(
                SdkCertificate::builder()
                    .certificate_arn(certificate)
                    .build(),
            )
    };
    assert_eq!(refused(tls(&early).send().await), "UnsupportedCertificate");
    assert_eq!(
        refused(
            tls("arn:aws:acm:eu-west-1:123456789012:certificate/x")
                .send()
                .await
        ),
        "CertificateNotFound"
    );

    let (certificate, validation, _) = e.certified("gitlab.acme.example").await;
    let mut secure = Listener {
        load_balancer: front.clone(),
        port: 443,
        protocol: ListenerProtocol::Tls {
            certificate: CertificateRef::Ours(validation),
            policy: POLICY.into(),
        },
        target: https.clone(),
    };
    let (tls_listener, tls_id) = e.s.make("https", secure.clone()).await;
    e.s.same(&tls_listener, &secure).await;
    let issued = e.s.outputs.of(&certificate).unwrap().arn;
    assert_eq!(
        refused(tls(&issued).port(444).ssl_policy("nothing").send().await),
        "SSLPolicyNotFound"
    );

    // Drift: somebody weakens the policy.
    elb.modify_listener()
        .listener_arn(&tls_id)
        .ssl_policy("ELBSecurityPolicy-2016-08")
        .send()
        .await
        .unwrap();
    e.s.mend(&tls_listener, &tls_id, &secure, &["policy"]).await;
    secure.port = 8443;
    e.s.mend(&tls_listener, &tls_id, &secure, &["port"]).await;

    // What is in use stays.
    let fault = TargetGroup::delete(&https_id, &e.s.cloud)
        .await
        .unwrap_err();
    assert!(matches!(fault, Fault::Later { .. }), "{fault}");
    let fault = Certificate::delete(&issued, &e.s.cloud).await.unwrap_err();
    assert!(matches!(fault, Fault::Later { .. }), "{fault}");

    // A group serves one load balancer.
    let (_, other) = e.s.make("other", e.balancer("other")).await;
    let second = elb
        .create_listener()
        .load_balancer_arn(&other)
        .port(22)
        .protocol(ProtocolEnum::Tcp)
        .default_actions(forward(&ssh_id))
        .send()
        .await;
    assert_eq!(refused(second), "TargetGroupAssociationLimit");

    spec.target = https.clone();
    e.s.mend(&plain, &plain_id, &spec, &["target"]).await;
    e.s.gone(&plain, &plain_id).await;
    e.s.gone(&tls_listener, &tls_id).await;
    Certificate::delete(&issued, &e.s.cloud).await.unwrap();
    e.s.gone(&https, &https_id).await;
}

#[tokio::test(start_paused = true)]
async fn listings_come_in_pages() {
    let mut e = Edge::new().await;
    for name in ["a", "b", "c"] {
        e.s.make(name, e.targets(name, 80)).await;
    }
    e.s.wait(2).await;
    let elb = e.s.hand().elb;
    let mut pages = elb
        .describe_target_groups()
        .page_size(2)
        .into_paginator()
        .send();
    let mut sizes = vec![];
    while let Some(page) = pages.next().await {
        sizes.push(page.unwrap().target_groups().len());
    }
    assert_eq!(sizes, [2, 1]);
    let arns: Vec<String> = (0..21).map(|n| format!("arn:{n}:targetgroup/")).collect();
    assert_eq!(
        refused(
            elb.describe_tags()
                .set_resource_arns(Some(arns))
                .send()
                .await
        ),
        "ValidationError"
    );
}

#[tokio::test(start_paused = true)]
async fn certificates_wait_for_their_records() {
    let mut e = Edge::new().await;
    let spec = Certificate {
        domain: "gitlab.acme.example".into(),
        alternative: vec!["registry.acme.example".into()],
    };
    let to = e.s.blueprint.add("front", spec.clone());
    let id = e.s.start(&spec, to.address()).await.unwrap();
    // The token answers with the same certificate.
    assert_eq!(e.s.start(&spec, to.address()).await.unwrap(), id);
    let first = Certificate::poll(std::slice::from_ref(&id), &e.s.cloud)
        .await
        .unwrap();
    assert!(matches!(first[0], Readiness::Pending(_)), "{first:?}");
    let output = e.s.ready::<Certificate>(&id).await;
    assert_eq!(output.records.len(), 2);
    e.s.outputs
        .0
        .insert(to.address().clone(), serde_json::to_value(&output).unwrap());
    e.s.same(&to, &spec).await;

    // Nobody makes the records: the person is told which.
    let by_hand = Validation {
        certificate: to.clone(),
        by_hand: vec!["gitlab.acme.example".into(), "registry.acme.example".into()],
    };
    let waits = e.s.blueprint.add("front", by_hand.clone());
    let fault = e.s.start(&by_hand, waits.address()).await.unwrap_err();
    let Fault::Parked { message } = fault else {
        panic!("{fault}")
    };
    assert!(
        output
            .records
            .iter()
            .all(|r| message.contains(&r.name) && message.contains(&r.value)),
        "{message}"
    );
    assert!(e.s.seen(&waits).await.is_none());

    let zone_id = e.zone("acme.example");
    for domain in ["gitlab.acme.example", "registry.acme.example"] {
        e.s.wait(600).await;
        let polled = Validation::poll(&[format!("issued {id}")], &e.s.cloud)
            .await
            .unwrap();
        assert!(matches!(polled[0], Readiness::Pending(_)), "{polled:?}");
        let value = RecordValue::Validation {
            certificate: to.clone(),
            domain: domain.into(),
        };
        e.s.make(
            &format!("validation-{domain}"),
            Record {
                zone_id: zone_id.clone(),
                name: domain.into(),
                value,
            },
        )
        .await;
    }
    let (waits, waits_id) =
        e.s.make(
            "front",
            Validation {
                certificate: to.clone(),
                by_hand: vec![],
            },
        )
        .await;
    e.s.same(&waits, &by_hand).await;
    Validation::delete(&waits_id, &e.s.cloud).await.unwrap();

    let acm = e.s.hand().acm;
    acm.add_tags_to_certificate()
        .certificate_arn(&id)
        .tags(
            aws_sdk_acm::types::Tag::builder()
                .key("stray")
                .value("1")
                .build()
                .unwrap(),
        )
        .send()
        .await
        .unwrap();
    e.s.mend(&to, &id, &spec, &["tags"]).await;
    let bad = acm
        .request_certificate()
        .domain_name("x.example")
        .validation_method(ValidationMethod::Dns)
        .idempotency_token("a-b")
        .send()
        .await;
    assert_eq!(refused(bad), "ValidationException");
    e.s.gone(&to, &id).await;
}

#[tokio::test(start_paused = true)]
async fn a_certificate_nobody_proves_fails() {
    let mut e = Edge::new().await;
    let spec = Certificate {
        domain: "gitlab.acme.example".into(),
        alternative: vec![],
    };
    let (_, id) = e.s.make("front", spec).await;
    e.s.wait(73 * 3_600).await;
    let polled = Certificate::poll(&[id], &e.s.cloud).await.unwrap();
    assert!(
        matches!(&polled[0], Readiness::Broken(why) if why.contains("TIMED_OUT")),
        "{polled:?}"
    );
}

fn change(action: ChangeAction, name: &str, value: &str) -> ChangeBatch {
    let set = ResourceRecordSet::builder()
        .name(name)
        .r#type(RrType::A)
        .ttl(60)
        .resource_records(ResourceRecord::builder().value(value).build().unwrap())
        .build()
        .unwrap();
    ChangeBatch::builder()
        .changes(
            SdkChange::builder()
                .action(action)
                .resource_record_set(set)
                .build()
                .unwrap(),
        )
        .build()
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn records_from_first_to_last() {
    let mut e = Edge::new().await;
    let zone_id = e.zone("acme.example");
    let (front, _) = e.s.make("front", e.balancer("front")).await;
    let spec = Record {
        zone_id: zone_id.clone(),
        name: "gitlab.acme.example".into(),
        value: RecordValue::LoadBalancer(front),
    };
    let (alias, id) = e.s.make("alias-gitlab.acme.example", spec.clone()).await;
    e.s.same(&alias, &spec).await;
    // A lost answer: the same record again is ours.
    assert_eq!(e.s.start(&spec, alias.address()).await.unwrap(), id);
    e.s.gone(&alias, &id).await;

    // Somebody else's record is left alone.
    let dns = e.s.hand().route53;
    let send = |batch: ChangeBatch| {
        dns.change_resource_record_sets()
            .hosted_zone_id(&zone_id)
            .change_batch(batch)
            .send()
    };
    let made = send(change(
        ChangeAction::Create,
        "gitlab.acme.example",
        "192.0.2.1",
    ))
    .await
    .unwrap();
    let fault = e.s.start(&spec, alias.address()).await.unwrap_err();
    assert!(fault.is_exists(), "{fault}");
    assert!(e.s.seen(&alias).await.is_none());

    let info = made.change_info().unwrap();
    assert_eq!(info.status(), &ChangeStatus::Pending);
    e.s.wait(60).await;
    let later = dns.get_change().id(info.id()).send().await.unwrap();
    assert_eq!(later.change_info().unwrap().status(), &ChangeStatus::Insync);

    for wrong in [
        change(ChangeAction::Create, "gitlab.acme.example", "192.0.2.2"),
        change(ChangeAction::Delete, "gitlab.acme.example", "192.0.2.2"),
        change(ChangeAction::Delete, "other.acme.example", "192.0.2.1"),
        change(
            ChangeAction::Upsert,
            "gitlab.elsewhere.example",
            "192.0.2.1",
        ),
        change(
            ChangeAction::Upsert,
            "gitlab.acme.example",
            "not an address",
        ),
    ] {
        assert_eq!(refused(send(wrong).await), "InvalidChangeBatch");
    }
    send(change(
        ChangeAction::Delete,
        "gitlab.acme.example",
        "192.0.2.1",
    ))
    .await
    .unwrap();
    assert_eq!(
        refused(
            dns.list_resource_record_sets()
                .hosted_zone_id("Z1")
                .send()
                .await
        ),
        "NoSuchHostedZone"
    );
}

#[tokio::test(start_paused = true)]
async fn records_that_moved_are_put_right() {
    let mut e = Edge::new().await;
    let zone_id = e.zone("acme.example");
    let (front, _) = e.s.make("front", e.balancer("front")).await;
    let spec = Record {
        zone_id: zone_id.clone(),
        name: "gitlab.acme.example".into(),
        value: RecordValue::LoadBalancer(front),
    };
    let (alias, id) = e.s.make("alias-gitlab.acme.example", spec.clone()).await;
    let dns = e.s.hand().route53;
    dns.change_resource_record_sets()
        .hosted_zone_id(&zone_id)
        .change_batch(change(
            ChangeAction::Upsert,
            "gitlab.acme.example",
            "192.0.2.1",
        ))
        .send()
        .await
        .unwrap();
    // What it says is no proof any more; the journal knows it.
    assert!(e.s.seen(&alias).await.is_none());
    let known = (String::from(id.clone()), alias.address().clone());
    e.s.known.extend([known]);
    e.s.mend(&alias, &id, &spec, &["value", "ttl"]).await;
    e.s.gone(&alias, &id).await;
}

#[tokio::test(start_paused = true)]
async fn records_come_in_pages() {
    let e = Edge::new().await;
    let zone_id = e.zone("acme.example");
    let dns = e.s.hand().route53;
    for n in 0..5 {
        let name = format!("n{n}.acme.example");
        dns.change_resource_record_sets()
            .hosted_zone_id(&zone_id)
            .change_batch(change(ChangeAction::Create, &name, "192.0.2.1"))
            .send()
            .await
            .unwrap();
    }
    let first = dns
        .list_resource_record_sets()
        .hosted_zone_id(&zone_id)
        .max_items(3)
        .send()
        .await
        .unwrap();
    let names: Vec<&str> = first
        .resource_record_sets()
        .iter()
        .map(|r| r.name())
        .collect();
    assert_eq!(
        names,
        ["acme.example.", "acme.example.", "n0.acme.example."]
    );
    assert_eq!(
        (first.is_truncated(), first.next_record_name()),
        (true, Some("n1.acme.example."))
    );
    let zones = dns
        .list_hosted_zones()
        .max_items(2)
        .into_paginator()
        .items()
        .send()
        .collect::<Result<Vec<_>, _>>()
        .await
        .unwrap();
    assert_eq!(zones.len(), 3);
    let named = dns
        .list_hosted_zones_by_name()
        .dns_name("acme.example")
        .max_items(1)
        .send()
        .await
        .unwrap();
    assert_eq!(named.hosted_zones()[0].name(), "acme.example.");
}

#[tokio::test(start_paused = true)]
async fn a_topic_from_first_to_last() {
    let mut e = Edge::new().await;
    let (key, _) =
        e.s.make(
            "main",
            Key {
                description: "k".into(),
                used_for: KeyUse::Data,
                copied_into: None,
                rotation: true,
                pending_days: 7,
            },
        )
        .await;
    let mut spec = Topic {
        name: "gantry-acme-alarms".into(),
        key,
        emails: vec!["ops@acme.example".into()],
    };
    let (alarms, id) = e.s.make("alarms", spec.clone()).await;
    e.s.same(&alarms, &spec).await;
    assert_eq!(e.s.start(&spec, alarms.address()).await.unwrap(), id);

    let sns = e.s.hand().sns;
    let other = json!({"Version": "2012-10-17", "Statement": []}).to_string();
    sns.set_topic_attributes()
        .topic_arn(&id)
        .attribute_name("Policy")
        .attribute_value(other)
        .send()
        .await
        .unwrap();
    sns.set_topic_attributes()
        .topic_arn(&id)
        .attribute_name("KmsMasterKeyId")
        .attribute_value("")
        .send()
        .await
        .unwrap();
    sns.untag_resource()
        .resource_arn(&id)
        .tag_keys("cost_center")
        .send()
        .await
        .unwrap();
    e.s.mend(&alarms, &id, &spec, &["key", "policy", "tags"])
        .await;
    assert_eq!(
        refused(
            sns.set_topic_attributes()
                .topic_arn(&id)
                .attribute_name("Policy")
                .attribute_value("{")
                .send()
                .await
        ),
        "InvalidParameter"
    );

    // An address nobody confirmed cannot be taken out, and is not drift.
    spec.emails = vec!["new@acme.example".into()];
    e.s.mend(&alarms, &id, &spec, &["emails"]).await;
    // A confirmed one can.
    e.s.sandbox.change(|w| {
        let row = w.get_mut(REGION, "sns/topic", &id).unwrap();
        let all = row.v["_subscriptions"].as_array_mut().unwrap();
        for subscription in all {
            subscription["pending"] = json!(false);
        }
    });
    e.s.mend(&alarms, &id, &spec, &["emails"]).await;

    // The name with other tags is somebody else's.
    let theirs = e.s.hand().sns;
    theirs.create_topic().name("theirs").send().await.unwrap();
    let taken = Topic {
        name: "theirs".into(),
        ..spec.clone()
    };
    let fault = e.s.start(&taken, alarms.address()).await.unwrap_err();
    assert!(fault.is_exists(), "{fault}");
    e.s.gone(&alarms, &id).await;
}

#[tokio::test(start_paused = true)]
async fn a_log_group_from_first_to_last() {
    let mut e = Edge::new().await;
    let name = "/aws/rds/instance/gantry-acme-main/postgresql";
    let spec = LogGroup {
        name: name.into(),
        retention_days: 30,
    };
    let (logs, id) = e.s.make("main", spec.clone()).await;
    e.s.same(&logs, &spec).await;
    let hand = e.s.hand().logs;
    hand.put_retention_policy()
        .log_group_name(name)
        .retention_in_days(1)
        .send()
        .await
        .unwrap();
    hand.tag_resource()
        .resource_arn(&id)
        .tags("stray", "1")
        .send()
        .await
        .unwrap();
    e.s.mend(&logs, &id, &spec, &["retention_days", "tags"])
        .await;
    let odd = hand
        .put_retention_policy()
        .log_group_name(name)
        .retention_in_days(2)
        .send()
        .await;
    assert_eq!(refused(odd), "InvalidParameterException");
    assert_eq!(
        refused(hand.create_log_group().log_group_name(name).send().await),
        "ResourceAlreadyExistsException"
    );
    e.s.gone(&logs, &id).await;

    // The service was faster: its group is taken over.
    hand.create_log_group()
        .log_group_name(name)
        .send()
        .await
        .unwrap();
    assert_eq!(e.s.start(&spec, logs.address()).await.unwrap(), id);
    spec.configure(&id, Change::All, &e.s.apply(logs.address()))
        .await
        .unwrap();
    e.s.same(&logs, &spec).await;
    // Another site's is not.
    hand.tag_resource()
        .resource_arn(&id)
        .tags("gantry:site", "other")
        .send()
        .await
        .unwrap();
    assert!(
        e.s.start(&spec, logs.address())
            .await
            .unwrap_err()
            .is_exists()
    );
}

#[tokio::test(start_paused = true)]
async fn an_alarm_from_first_to_last() {
    let mut e = Edge::new().await;
    let key = Key {
        description: "k".into(),
        used_for: KeyUse::Data,
        copied_into: None,
        rotation: true,
        pending_days: 7,
    };
    let (key, _) = e.s.make("main", key).await;
    let topic = Topic {
        name: "gantry-acme-alarms".into(),
        key,
        emails: vec![],
    };
    let (topic, _) = e.s.make("alarms", topic).await;
    let (front, _) = e.s.make("front", e.balancer("front")).await;
    let (https, _) = e.s.make("https", e.targets("https", 443)).await;
    let mut spec = Alarm {
        name: "gantry-acme-unhealthy".into(),
        description: "A node does not answer".into(),
        namespace: "AWS/NetworkELB".into(),
        metric: "UnHealthyHostCount".into(),
        statistic: "Maximum".into(),
        dimensions: vec![
            ("TargetGroup".into(), Dimension::TargetGroup(https)),
            ("LoadBalancer".into(), Dimension::LoadBalancer(front)),
        ],
        period_seconds: 60,
        periods: 3,
        threshold: 1.0,
        comparison: Comparison::AtLeast,
        missing: Missing::NotBreaching,
        actions: vec![AlarmAction::Notify(topic)],
    };
    let (alarm, id) = e.s.make("unhealthy", spec.clone()).await;
    e.s.same(&alarm, &spec).await;
    // A lost answer: the same alarm again is ours.
    assert_eq!(e.s.start(&spec, alarm.address()).await.unwrap(), id);

    let hand = e.s.hand().cloudwatch;
    let put = |name: &str| {
        hand.put_metric_alarm()
            .alarm_name(name)
            .namespace("AWS/NetworkELB")
            .metric_name("UnHealthyHostCount")
            .statistic(Statistic::Maximum)
            .period(60)
            .evaluation_periods(3)
            .threshold(2.5)
            .comparison_operator(ComparisonOperator::GreaterThanThreshold)
    };
    put("gantry-acme-unhealthy").send().await.unwrap();
    let stray = CwTag::builder().key("stray").value("1").build();
    hand.tag_resource()
        .resource_arn(&id)
        .tags(stray)
        .send()
        .await
        .unwrap();
    let drifted = [
        "description",
        "dimensions",
        "threshold",
        "comparison",
        "missing",
        "actions",
        "tags",
    ];
    e.s.mend(&alarm, &id, &spec, &drifted).await;
    spec.periods = 5;
    e.s.mend(&alarm, &id, &spec, &["periods"]).await;

    // Somebody else's alarm is not overwritten.
    put("gantry-acme-theirs").send().await.unwrap();
    let taken = Alarm {
        name: "gantry-acme-theirs".into(),
        ..spec.clone()
    };
    let fault = e.s.start(&taken, alarm.address()).await.unwrap_err();
    assert!(fault.is_exists(), "{fault}");

    let odd = put("x").period(45).send().await;
    assert_eq!(refused(odd), "InvalidParameterValue");
    let odd = put("x").evaluation_periods(1_441).send().await;
    assert_eq!(refused(odd), "InvalidParameterValue");
    let odd = put("x").alarm_actions("nothing").send().await;
    assert_eq!(refused(odd), "ValidationError");
    let odd = hand.delete_alarms().alarm_names("x").send().await;
    assert_eq!(refused(odd), "ResourceNotFound");
    e.s.wait(2).await;
    let pages = hand
        .describe_alarms()
        .max_records(1)
        .into_paginator()
        .send()
        .collect::<Result<Vec<_>, _>>()
        .await
        .unwrap();
    assert_eq!(pages.len(), 2);
    e.s.gone(&alarm, &id).await;
}

#[tokio::test(start_paused = true)]
async fn targets_need_running_nodes_of_the_network() {
    let mut e = Edge::new().await;
    let (front, front_id) = e.s.make("front", e.balancer("front")).await;
    let (_, group_id) = e.s.make("ssh", e.targets("ssh", 2222)).await;
    let _ = front;
    let vpc = e.s.outputs.of(&e.vpc).unwrap().id;
    e.s.sandbox.change(|w| {
        for (id, state, vpc) in [
            ("i-1", "running", vpc.as_str()),
            ("i-2", "stopped", vpc.as_str()),
            ("i-3", "running", "vpc-other"),
        ] {
            let v = json!({"instanceId": id, "vpcId": vpc, "instanceState": {"code": 16, "name": state}});
            w.insert(REGION, "ec2/instance", id, v, 0);
        }
    });
    let elb = e.s.hand().elb;
    let register = |id: &str| {
        let target = TargetDescription::builder().id(id).build();
        elb.register_targets()
            .target_group_arn(&group_id)
            .targets(target)
    };
    for id in ["i-2", "i-3", "i-4"] {
        assert_eq!(refused(register(id).send().await), "InvalidTarget", "{id}");
    }
    register("i-1").send().await.unwrap();
    register("i-1").send().await.unwrap();
    let states = async || {
        let answer = elb
            .describe_target_health()
            .target_group_arn(&group_id)
            .send()
            .await
            .unwrap();
        answer
            .target_health_descriptions()
            .iter()
            .map(|d| {
                d.target_health()
                    .unwrap()
                    .state()
                    .unwrap()
                    .as_str()
                    .to_owned()
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(states().await, ["unused"]);
    elb.create_listener()
        .load_balancer_arn(&front_id)
        .port(22)
        .protocol(ProtocolEnum::Tcp)
        .default_actions(
            Action::builder()
                .r#type(ActionTypeEnum::Forward)
                .target_group_arn(&group_id)
                .build(),
        )
        .send()
        .await
        .unwrap();
    assert_eq!(states().await, ["initial"]);
    e.s.wait(120).await;
    assert_eq!(states().await, ["healthy"]);
    let leaving = TargetDescription::builder().id("i-1").port(2222).build();
    elb.deregister_targets()
        .target_group_arn(&group_id)
        .targets(leaving)
        .send()
        .await
        .unwrap();
    assert_eq!(states().await, ["draining"]);
    e.s.wait(120).await;
    assert!(states().await.is_empty());
}
