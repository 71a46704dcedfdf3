//! First boots, and all later ones: the real fetcher and boot program as root, in a folder, against services on
//! loopback that check signatures. Volumes are loop devices; apt, dpkg, gitlab-ctl and systemctl are stood in for.
//! After each run, the list of processes, the journal, the report and the tag are searched for secrets.

mod births;
mod bundles;
mod databases;
mod keys;
mod node;
mod packages;
mod scripts;
mod secrets;
mod volumes;

use gantry::blueprint::{Role, build};
use gantry::boot::{Outcome, boot_key, boot_program};
use gantry::facts::Facts;
use gantry::kinds::iam;
use gantry::profile::{self, ProfileName};
use serde_json::{Value, json};

use self::node::{FILES, Node, VERSION};

#[test]
fn a_first_boot_and_a_second_one() {
    let node = Node::ready(Role::Rails, "rails");
    let run = node.boots();
    insta::with_settings!({filters => vec![("[0-9a-f]{64}", "[hash]"), (r"/\S*/var/lib", "/var/lib")]}, {
        insta::assert_snapshot!("first-boot-journal", run.said);
    });
    insta::assert_snapshot!("first-boot-effects", node.effects().join("\n"));
    assert_eq!(node.reconfigured(), ["reconfigured"]);

    // Files.
    assert_eq!(node.read("etc/gitlab/gitlab.rb").unwrap(), FILES[0].1);
    assert_eq!(node.mode("etc/gitlab/gitlab.rb"), "0600 0:0");
    let secrets: Value =
        serde_json::from_str(&node.read("etc/gantry/secrets.json").unwrap()).unwrap();
    let kept = node.cloud.kept("gantry/acme/database-password").unwrap();
    assert_eq!(secrets, json!({ "database-password": kept }));
    assert_eq!(node.mode("etc/gantry/secrets.json"), "0600 0:0");
    assert_eq!(node.mode("etc/gitlab/gitlab-secrets.json"), "0600 0:0");
    let keys = "var/opt/gitlab/gitlab-sshd";
    assert_eq!(node.mode(keys), "0700 4242:4242");
    assert_eq!(
        node.mode(&format!("{keys}/ssh_host_ed25519_key")),
        "0600 4242:4242"
    );
    assert_eq!(
        node.mode(&format!("{keys}/ssh_host_ed25519_key.pub")),
        "0644 4242:4242"
    );
    assert!(
        node.read("etc/gitlab/ssl/rds-bundle.pem")
            .unwrap()
            .contains("BEGIN CERTIFICATE")
    );
    assert_eq!(
        node.read("etc/apt/sources.list.d/gitlab_gitlab-ee.list")
            .unwrap()
            .replace(&node.cloud.url("download"), "…"),
        "deb [signed-by=/etc/apt/keyrings/gitlab-keyring.asc] …/packages/gitlab/gitlab-ee/ubuntu/noble noble main\n"
    );
    // One of many: called by its instance.
    assert_eq!(
        node.read("etc/hostname").unwrap(),
        "rails-i-0123456789abcdef0\n"
    );

    // What it says.
    let report = node.report();
    assert_eq!(
        (
            report.outcome,
            report.stage.as_str(),
            report.detail.as_str()
        ),
        (Outcome::Ready, "", "")
    );
    assert_eq!(
        (
            report.node.as_str(),
            report.role.as_str(),
            report.version.as_str(),
            report.address.as_str()
        ),
        ("rails", "rails", VERSION, "10.20.1.5")
    );
    assert_eq!(report.host_keys, ["ssh-ed25519 AAAAC3"]);
    assert_eq!(
        node.cloud.tag("gantry:boot").unwrap(),
        format!("ready {}", &report.bundle[..12])
    );

    // Nothing is left of what passed through memory.
    assert!(!node.path("run/gantry/values").exists());
    assert!(!node.path("run/gantry/answer").exists());

    let before = node.tree();
    for _ in 0..2 {
        node.reboot();
        node.boots();
        assert_eq!(node.effects(), [""; 0]);
        assert_eq!(node.reconfigured(), ["reconfigured"]);
        assert_eq!(node.tree(), before);
    }
}

#[test]
fn a_bastion_installs_no_gitlab() {
    let node = Node::new(Role::Bastion, "bastion");
    node.publish(
        gantry::boot::Manifest::new("bastion", Role::Bastion),
        &[(
            "/etc/systemd/system/gantry-backup.timer",
            "[Timer]\nOnCalendar=daily\n",
        )],
    );
    node.boots();
    assert_eq!(
        node.effects(),
        [
            "systemctl restart systemd-timesyncd.service",
            "hostnamectl set-hostname bastion",
            "systemctl daemon-reload"
        ]
    );
    assert_eq!(node.report().version, "");
    assert!(!node.path("etc/gantry/secrets.json").exists());
}

#[test]
fn where_chrony_is_it_gets_the_time_server() {
    let node = Node::new(Role::Bastion, "bastion");
    std::fs::create_dir_all(node.path("etc/chrony")).unwrap();
    node.publish(gantry::boot::Manifest::new("bastion", Role::Bastion), &[]);
    node.boots();
    assert_eq!(
        node.read("etc/chrony/sources.d/gantry.sources").unwrap(),
        "server 169.254.169.123 prefer iburst minpoll 4 maxpoll 4\n"
    );
    assert_eq!(node.effects()[0], "systemctl restart chrony.service");
}

#[test]
fn only_the_program_that_user_data_names_is_run() {
    let node = Node::ready(Role::Gitaly, "gitaly-1");
    let (program, hash) = boot_program();
    let key = boot_key(Role::Gitaly, hash);
    let before = node.tree();

    node.cloud.put(
        &key,
        program.replace("set -euo pipefail", "touch /tmp/owned"),
    );
    let run = node.boot();
    assert_eq!(run.code, Some(1));
    assert_eq!(
        run.said.trim(),
        format!("gantry: the boot program does not hash to {hash}: not run")
    );

    // Once it was there, it is not asked for again; and what lies there is looked at again.
    node.cloud.put(&key, program);
    node.boots();
    let kept = format!("var/lib/gantry/boot/{hash}.sh");
    node.write(&kept, "touch /tmp/owned\n");
    node.cloud.put(&key, "gone");
    let run = node.boot();
    assert_eq!(run.code, Some(1), "{}", run.said);
    assert_ne!(node.tree(), before);
}

#[test]
fn without_a_program_there_is_nothing_to_run() {
    let node = Node::new(Role::Gitaly, "gitaly-1");
    node.cloud.set("readable", "elsewhere/");
    let run = node.boot();
    assert_eq!(run.code, Some(1));
    assert_eq!(
        run.said.trim(),
        "gantry: the boot program is not to be had: S3 answered 403 AccessDenied; trying again later"
    );
}

#[test]
fn a_wrong_key_and_a_wrong_clock_are_refused() {
    let node = Node::ready(Role::Gitaly, "gitaly-1");
    node.cloud.set("told_secret_key", "another");
    let run = node.boot();
    assert_eq!(run.code, Some(1));
    assert!(
        run.said.contains("S3 answered 403 SignatureDoesNotMatch"),
        "{}",
        run.said
    );

    let node = Node::ready(Role::Gitaly, "gitaly-1");
    node.boots();
    let before = node.tree();
    node.cloud.set("skew", 3600);
    let run = node.boot();
    assert_eq!(run.code, Some(1));
    assert!(run.said.contains("failed at bundle: the pointer to the bundle is not to be had: S3 answered 403 RequestTimeTooSkewed"), "{}", run.said);
    assert!(
        run.said.contains("the report could not be delivered"),
        "{}",
        run.said
    );
    assert_eq!(node.tree(), before);
}

#[test]
fn what_passes_by_itself_is_tried_again() {
    let node = Node::ready(Role::Gitaly, "gitaly-1");
    for action in [
        "s3:GetObject",
        "secretsmanager:GetSecretValue",
        "s3:PutObject",
        "ec2:CreateTags",
        "imds",
    ] {
        for fault in [
            json!({"action": action, "how": "status", "status": 503, "times": 1}),
            json!({"action": action, "how": "drop-after", "times": 1}),
        ] {
            node.cloud.fault(&fault);
            node.boots();
        }
    }
    // Not for ever.
    node.cloud
        .fault(&json!({"action": "s3:GetObject", "how": "status", "status": 503, "times": 9}));
    let run = node.boot();
    assert_eq!(run.code, Some(1));
    assert!(
        run.said.contains("S3 answered 503 InternalError"),
        "{}",
        run.said
    );
}

#[test]
fn a_report_that_is_not_taken_is_a_failure_too() {
    let node = Node::ready(Role::Gitaly, "gitaly-1");
    node.cloud.set("writable", "elsewhere/");
    let run = node.boot();
    assert_eq!(run.code, Some(1));
    assert!(
        run.said
            .contains("S3 did not take the report: 403 AccessDenied"),
        "{}",
        run.said
    );
}

/// Whether a policy's pattern with `*` says this.
fn says(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, _)) => text.starts_with(head),
    }
}

#[test]
fn every_call_of_a_boot_is_granted_to_its_role() {
    let text = "[site]\nname = \"acme\"\nprofile = \"ha-3k\"\ndomain = \"gitlab.acme.example\"\nregion = \"eu-west-1\"\naccount = \"123456789012\"\n";
    let site = gantry::site::parse("gantry.toml", text).unwrap().site;
    let sizes = profile::get(ProfileName::Ha3k)
        .with_overrides(&site)
        .unwrap();
    let blueprint = build(&site, &sizes, &Facts::imagined(&site, &sizes));
    for (role, name) in [(Role::Rails, "rails"), (Role::Sidekiq, "sidekiq-1")] {
        let node = Node::ready(role, name);
        if role == Role::Sidekiq {
            let mut manifest = node.manifest();
            manifest.deploy = true;
            node.cloud.keep("gantry/acme/gitlab-secrets", None);
            node.cloud.keep("gantry/acme/ssh-host-keys", None);
            node.publish(manifest, &FILES);
        }
        node.boots();
        let (_, spec) = blueprint
            .of::<iam::Role>()
            .find(|(a, _)| a.name() == role.as_str())
            .unwrap();
        // The license is in the manifest, and not in this site.
        for call in node
            .cloud
            .calls()
            .iter()
            .filter(|c| c.action != "download" && c.resource != "gantry/acme/license")
        {
            let granted = spec.grants.iter().any(|grant| {
                grant.actions.contains(&call.action)
                    && grant.on.iter().any(|on| match on {
                        iam::Target::Secret(to) => {
                            call.resource == format!("gantry/acme/{}", to.address().name())
                        }
                        iam::Target::Arn(arn) => {
                            says(arn, &format!("arn:aws:s3:::{}", call.resource))
                                || says(
                                    arn,
                                    &format!(
                                        "arn:aws:ec2:eu-west-1:123456789012:instance/{}",
                                        call.resource
                                    ),
                                )
                        }
                        _ => false,
                    })
            });
            assert!(
                granted,
                "{role} may not {} on {}",
                call.action, call.resource
            );
        }
    }
}
