//! From instances to nodes with files: rendering, delivery, the nodes' own reports.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aws_sdk_s3::primitives::ByteStream;
use gantry::blueprint::Role;
use gantry::boot::{Bundle, Pointer, boot_key, boot_program, bundle_key, pointer_key, report_key};
use gantry::profile::ProfileName;
use gantry::secret::Secret;
use gantry::session::{BootState, Change, Reading, Session};
use serde_json::json;

use crate::support::Place;
use crate::support::stage::Stage;

#[test]
fn an_install_in_the_sandbox_ends_with_rendered_nodes() {
    let place = Place::new();
    let said = place.poc();
    assert!(
        said.out
            .contains("5 nodes are rendered and not booted: the sandbox has no machines."),
        "{}",
        said.out
    );
    let nodes = place.file(".gantry/sandbox/gitlab-example/nodes");
    for node in ["rails", "sidekiq-1", "gitaly-1", "monitoring-1"] {
        let file = nodes.join(node).join("etc/gitlab/gitlab.rb");
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(!text.contains("after-install"), "{node}: {text}");
    }
    let again = place.ok("install --yes --output json").json();
    let delivered = again["nodes"]["delivered"].as_array().unwrap();
    assert!(delivered.len() >= 4);
    assert!(delivered.iter().all(|d| d["change"] == "none"), "{again}");
}

#[test]
fn every_profile_renders_without_an_account() {
    for profile in ProfileName::ALL {
        for version in ["18.11.9", "19.0.10", "19.2.6", "19.5.3"] {
            let place = Place::new();
            place.ok(&format!(
                "init --profile {profile} --domain gitlab.example.com"
            ));
            let path = place.file("gantry.toml");
            let text = std::fs::read_to_string(&path).unwrap();
            let set = text.replacen(
                "[gitlab]\n",
                &format!("[gitlab]\nversion = \"{version}\"\n"),
                1,
            );
            let set = if set == text {
                format!("{text}\n[gitlab]\nversion = \"{version}\"\n")
            } else {
                // Without the line that init wrote.
                let mut seen = false;
                set.lines()
                    .filter(|line| {
                        let is = line.starts_with("version = ");
                        let keep = !is || !seen;
                        seen |= is;
                        keep
                    })
                    .collect::<Vec<_>>()
                    .join("\n")
            };
            std::fs::write(&path, set).unwrap();
            let said = place.ok("render --out files");
            assert!(said.err.contains("after-install"), "{}", said.err);
            let first = if profile == ProfileName::SingleBox {
                "box"
            } else {
                "rails"
            };
            assert!(
                place
                    .file(&format!("files/{first}/etc/gitlab/gitlab.rb"))
                    .exists()
            );
        }
    }
}

#[test]
fn a_node_that_is_not_there_is_not_rendered() {
    let place = Place::new();
    place.ok("init --profile poc-2k --domain gitlab.example.com");
    let said = place.run("render gitaly-7");
    assert_eq!(said.code, 2);
    assert!(
        said.err.contains("no node and no role `gitaly-7`"),
        "{}",
        said.err
    );
    assert!(said.err.contains("gitaly-1"), "{}", said.err);
    let one = place.ok("render gitaly --output json").json();
    assert_eq!(one["nodes"].as_array().unwrap().len(), 1);
}

#[test]
fn the_sandbox_has_no_machines_to_go_to() {
    let place = Place::new();
    place.ok("init --profile poc-2k --domain gitlab.example.com");
    for line in ["ssh gitaly-1", "exec rails -- true"] {
        let said = place.run(line);
        assert_eq!(said.code, 2, "{line}: {}", said.err);
        assert!(said.err.contains("no machines"), "{line}: {}", said.err);
    }
}

async fn standing() -> (Stage, Session, Reading) {
    let stage = Stage::new(ProfileName::Poc2k);
    let report = stage.install().await;
    assert!(report.complete());
    let session = stage.session().await.unwrap();
    let reading = stage.read().await;
    (stage, session, reading)
}

async fn object(session: &Session, bucket: &str, key: &str) -> Vec<u8> {
    let get = session.cx.aws().s3.get_object().bucket(bucket).key(key);
    let answer = get.send().await.unwrap_or_else(|e| panic!("{key}: {e:?}"));
    answer.body.collect().await.unwrap().to_vec()
}

#[tokio::test(start_paused = true)]
async fn a_node_finds_its_program_its_pointer_and_its_bundle() {
    let (_stage, session, reading) = standing().await;
    let fleet = session.fleet(&reading).unwrap();
    assert!(fleet.unknown().is_empty(), "{:?}", fleet.unknown());
    let packed = session.pack(&fleet).unwrap();
    let delivered = session.deliver(&packed).await.unwrap();
    assert!(delivered.iter().all(|d| d.change == Change::Pointed));
    let hosts: BTreeSet<&str> = fleet.hosts.iter().map(|host| host.name.as_str()).collect();
    let nodes: BTreeSet<&str> = delivered.iter().map(|d| d.node.as_str()).collect();
    assert_eq!(nodes, hosts, "every machine finds a bundle");
    let bucket = &fleet.buckets.config;
    for node in &delivered {
        let pointer = object(&session, bucket, &pointer_key(node.role, &node.node)).await;
        let pointer = Pointer::parse(&pointer).unwrap();
        assert_eq!(pointer.bundle, node.bundle);
        let bundle = object(&session, bucket, &bundle_key(node.role, &node.bundle)).await;
        let (manifest, files) = Bundle::open(&bundle).unwrap();
        assert_eq!((&manifest.node, manifest.role), (&node.node, node.role));
        assert_eq!(files.len(), node.files);
        assert_eq!(manifest.package.is_some(), node.role != Role::Bastion);
        let (program, hash) = boot_program();
        let there = object(&session, bucket, &boot_key(node.role, hash)).await;
        assert_eq!(there, program.as_bytes());
    }
    let again = session.deliver(&packed).await.unwrap();
    assert!(again.iter().all(|d| d.change == Change::None));
}

#[tokio::test(start_paused = true)]
async fn secrets_from_elsewhere_are_written_once() {
    let (_stage, session, _) = standing().await;
    let given = |text: &str| {
        BTreeMap::from([(
            "initial-root-password".to_owned(),
            Secret::new(text.to_owned()),
        )])
    };
    let name = ["initial-root-password"];
    assert_eq!(
        session.fill_secrets(&given("one two three")).await.unwrap(),
        name
    );
    assert!(
        session
            .fill_secrets(&given("one two three"))
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        session.fill_secrets(&given("four five six")).await.unwrap(),
        name
    );
}

#[tokio::test(start_paused = true)]
async fn reports_say_how_far_each_node_is() {
    let (_stage, session, reading) = standing().await;
    let fleet = session.fleet(&reading).unwrap();
    let packed = session.pack(&fleet).unwrap();
    let delivered = session.deliver(&packed).await.unwrap();
    let bundle = |node: &str| {
        let found = delivered.iter().find(|d| d.node == node);
        found.unwrap().bundle.clone()
    };
    let outputs = session.store.state().outputs();
    let instance = |node: &str| {
        let address = format!("ec2/instance:{node}").parse().unwrap();
        outputs.0[&address]["id"].as_str().unwrap().to_owned()
    };
    let groups = session.cx.aws().autoscaling.describe_auto_scaling_groups();
    let groups = groups.send().await.unwrap();
    let member = groups.auto_scaling_groups()[0].instances()[0].instance_id();
    let member = member.unwrap();
    let report = |node: &str, instance: &str, outcome: &str, bundle: String| {
        json!({"format": 1, "node": node, "role": "gitaly", "instance": instance, "address": "10.0.0.9",
            "bundle": bundle, "version": "19.5.3-ee.0", "outcome": outcome, "stage": "volume",
            "detail": "vol-1 is not there", "host_keys": ["ssh-ed25519 AAAA"], "at": "2026-11-20T10:00:00Z"})
        .to_string()
    };
    let of = |role: Role, node: &str, outcome: &str, bundle: String| {
        let text = report(node, &instance(node), outcome, bundle);
        (role, node.to_owned(), text)
    };
    let reports = [
        of(Role::Gitaly, "gitaly-1", "failed", bundle("gitaly-1")),
        of(Role::Sidekiq, "sidekiq-1", "ready", bundle("sidekiq-1")),
        of(Role::Monitoring, "monitoring-1", "ready", "0".repeat(64)),
        (
            Role::Rails,
            format!("rails-{member}"),
            report("rails", member, "waiting", bundle("rails")),
        ),
        // Of a machine that Auto Scaling took away, and of one whose name another has by now.
        (
            Role::Rails,
            "rails-i-0dead".to_owned(),
            report("rails", "i-0dead", "failed", bundle("rails")),
        ),
        (
            Role::Bastion,
            "bastion".to_owned(),
            report("bastion", "i-0dead", "ready", bundle("bastion")),
        ),
        (
            Role::Rails,
            "rails-i-8".to_owned(),
            "no report at all".to_owned(),
        ),
    ];
    for (role, name, text) in reports {
        let put = session
            .cx
            .aws()
            .s3
            .put_object()
            .bucket(&fleet.buckets.config);
        put.key(report_key(role, &name))
            .body(ByteStream::from(text.into_bytes()))
            .send()
            .await
            .unwrap();
    }
    let boots = session.boots(&delivered).await.unwrap();
    let state = |name: &str| {
        boots
            .iter()
            .find(|b| b.name == name)
            .map(|b| b.state.to_string())
    };
    assert_eq!(
        state("gitaly-1").unwrap(),
        "failed in volume: vol-1 is not there"
    );
    assert_eq!(state("sidekiq-1").unwrap(), "ready with 19.5.3-ee.0");
    assert_eq!(
        state("monitoring-1").unwrap(),
        BootState::Behind.to_string()
    );
    assert_eq!(
        state(&format!("rails-{member}")).unwrap(),
        "waiting in volume: vol-1 is not there"
    );
    let rails = boots.iter().filter(|b| b.role == Role::Rails);
    assert_eq!(rails.count(), 1, "those that are gone count for nothing");
    assert_eq!(state("bastion").unwrap(), BootState::Silent.to_string());
    let there = session.installed_version().await.unwrap();
    assert_eq!(there.as_deref(), Some("19.5.3-ee.0"), "as sidekiq-1 says");
}

#[tokio::test(start_paused = true)]
async fn the_boot_program_is_there_before_anything_names_it() {
    let (_stage, session, reading) = standing().await;
    let fleet = session.fleet(&reading).unwrap();
    let packed = session.pack(&fleet).unwrap();
    session.deliver(&packed).await.unwrap();
    let (_, hash) = boot_program();
    let roles = [Role::Rails, Role::Gitaly, Role::Bastion];
    let forget = async || {
        for role in roles {
            let delete = session.cx.aws().s3.delete_object();
            let delete = delete.bucket(&fleet.buckets.config);
            delete.key(boot_key(role, hash)).send().await.unwrap();
        }
    };
    let there = async |role: Role| {
        let head = session.cx.aws().s3.head_object();
        let head = head.bucket(&fleet.buckets.config);
        head.key(boot_key(role, hash)).send().await.is_ok()
    };
    forget().await;
    assert!(!there(Role::Rails).await);
    // Another gantry made the machines: the files are the same, the program is not.
    session.bring_programs_ahead().await.unwrap();
    for role in roles {
        assert!(there(role).await, "{role:?}");
    }
    forget().await;
    session.deliver(&packed).await.unwrap();
    for role in roles {
        assert!(there(role).await, "{role:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_group_leaves_machines_that_wait_alone() {
    let (_stage, session, _) = standing().await;
    let left_off = async || {
        let groups = session.cx.aws().autoscaling.describe_auto_scaling_groups();
        let groups = groups.send().await.unwrap();
        let all = groups.auto_scaling_groups()[0].suspended_processes();
        let mut names: Vec<String> = (all.iter())
            .map(|p| p.process_name().unwrap().to_owned())
            .collect();
        names.sort();
        names
    };
    assert_eq!(left_off().await, ["HealthCheck", "ReplaceUnhealthy"]);
    session.release_group().await.unwrap();
    assert!(left_off().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn each_node_names_the_secrets_that_it_reads() {
    let (_stage, session, reading) = standing().await;
    let fleet = session.fleet(&reading).unwrap();
    let packed = session.pack(&fleet).unwrap();
    let readers = |secret: &str| {
        let reads = packed
            .iter()
            .filter(|p| p.secrets.iter().any(|s| s == secret));
        let names = reads.map(|p| p.files.node.as_str());
        names.collect::<Vec<_>>()
    };
    assert_eq!(readers("initial-root-password"), ["sidekiq-1"]);
    assert!(readers("database-password").contains(&"rails"));
    assert!(readers("gitaly-token").contains(&"gitaly-1"));
}

#[tokio::test(start_paused = true)]
async fn status_shows_every_machine_with_its_boot_and_its_place_in_the_balancer() {
    let (stage, session, reading) = standing().await;
    // By now the balancer has looked at the machines of the group.
    stage.sandbox.clock().sleep(Duration::from_mins(10)).await;
    let ec2 = &session.cx.aws().ec2;
    let gitaly = session.store.state().outputs().0[&"ec2/instance:gitaly-1".parse().unwrap()]
        .get("id")
        .and_then(|id| Some(id.as_str()?.to_owned()))
        .unwrap();
    let word = aws_sdk_ec2::types::Tag::builder()
        .key("gantry:boot")
        .value("failed package")
        .build();
    let tags = ec2.create_tags().resources(&gitaly).tags(word);
    tags.send().await.unwrap();
    stage.sandbox.clear_log();
    let machines = session.machines(&reading).await.unwrap();
    let names: Vec<&str> = machines.iter().map(|m| m.role.as_str()).collect();
    assert_eq!(
        names,
        [
            "bastion",
            "gitaly",
            "monitoring",
            "rails",
            "rails",
            "sidekiq"
        ]
    );
    let of = |name: &str| machines.iter().find(|m| m.name.starts_with(name)).unwrap();
    assert_eq!(of("gitaly-1").boot.as_deref(), Some("failed package"));
    assert_eq!(of("gitaly-1").state, "running");
    assert!(of("sidekiq-1").boot.is_none());
    let mut balancers = of("rails-i-").balancers.clone();
    balancers.sort();
    assert_eq!(
        balancers,
        ["redirect healthy", "ssh healthy", "web healthy"]
    );
    let groups = reading.survey.found.keys();
    let groups = groups.filter(|a| a.kind().as_str() == "elb/target_group");
    let calls = stage.sandbox.log().len();
    assert_eq!(calls, 1 + groups.count(), "whatever the number of machines");
}
