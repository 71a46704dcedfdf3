//! Secrets: waited for, laid down, changed.

use gantry::blueprint::Role;
use gantry::boot::Outcome;
use serde_json::{Value, json};

use super::node::{CANARY, FILES, Node};

const DATABASE: &str = "gantry/acme/database-password";

#[test]
fn a_secret_without_a_value_is_waited_for() {
    let node = Node::new(Role::Rails, "rails");
    node.publish(node.manifest(), &FILES);
    node.cloud
        .keep(DATABASE, Some(&format!("{CANARY}database")));
    let run = node.boot();
    assert_eq!(run.code, Some(75), "{}", run.said);
    let report = node.report();
    assert_eq!(
        (report.outcome, report.stage.as_str()),
        (Outcome::Waiting, "secrets")
    );
    assert!(
        report
            .detail
            .starts_with("no value yet in Secrets Manager: gitlab-secrets ssh-host-keys"),
        "{}",
        report.detail
    );
    assert_eq!(node.cloud.tag("gantry:boot").unwrap(), "waiting secrets");
    for path in [
        "etc/gantry/secrets.json",
        "etc/gitlab/gitlab-secrets.json",
        "etc/gitlab/skip-auto-reconfigure",
    ] {
        assert!(!node.path(path).exists(), "{path}");
    }
    assert_eq!(node.reconfigured(), [""; 0]);

    node.fill_secrets();
    node.boots();
    assert_eq!(node.reconfigured(), ["reconfigured"]);
}

#[test]
fn a_secret_that_is_not_required_comes_when_it_comes() {
    let node = Node::ready(Role::Gitaly, "gitaly-1");
    node.boots();
    let keys = || -> Vec<String> {
        let text = node.read("etc/gantry/secrets.json").unwrap();
        let secrets: Value = serde_json::from_str(&text).unwrap();
        secrets.as_object().unwrap().keys().cloned().collect()
    };
    assert_eq!(keys(), ["database-password"]);
    node.cloud.keep(
        "gantry/acme/license",
        Some(&format!("{CANARY}license\nof two lines\n")),
    );
    node.boots();
    assert_eq!(keys(), ["database-password", "license"]);
    assert_eq!(node.reconfigured().len(), 2);
}

#[test]
fn a_changed_secret_is_a_reason_to_configure_anew() {
    let node = Node::ready(Role::Gitaly, "gitaly-1");
    node.boots();
    node.effects();
    let odd = format!("{CANARY}\u{e9}\t\"\\$(id)`'\r\n");
    node.cloud.keep(DATABASE, Some(&odd));
    node.boots();
    assert_eq!(node.effects(), ["gitlab-ctl reconfigure"]);
    let secrets: Value =
        serde_json::from_str(&node.read("etc/gantry/secrets.json").unwrap()).unwrap();
    assert_eq!(secrets, json!({ "database-password": odd }));
}

#[test]
fn a_secret_of_another_role_is_a_failure() {
    let node = Node::ready(Role::Gitaly, "gitaly-1");
    let mut manifest = node.manifest();
    manifest.secrets[0].entry =
        "arn:aws:secretsmanager:eu-west-1:123456789012:secret:theirs-AbCdEf".into();
    node.publish(manifest, &FILES);
    let run = node.boot();
    assert_eq!(run.code, Some(1), "{}", run.said);
    assert!(node.report().detail.starts_with(
        "Secrets Manager answered 400 AccessDeniedException for arn:aws:secretsmanager"
    ));
}

#[test]
fn host_keys_that_are_no_host_keys_are_refused() {
    for value in [
        json!({"../../root/.ssh/authorized_keys": format!("{CANARY}x")}).to_string(),
        format!("{CANARY} no map"),
    ] {
        let node = Node::ready(Role::Rails, "rails");
        node.cloud.keep("gantry/acme/ssh-host-keys", Some(&value));
        let run = node.boot();
        assert_eq!(run.code, Some(1), "{}", run.said);
        assert_eq!(node.report().stage, "secrets");
        assert!(!node.path("root").exists());
    }
}

#[test]
fn what_the_package_added_to_its_secrets_stays() {
    let node = Node::ready(Role::Rails, "rails");
    node.new_secret("made_here");
    node.boots();
    let path = "etc/gitlab/gitlab-secrets.json";
    let mine = node.read(path).unwrap();
    assert!(mine.contains("made_here"));
    node.boots();
    assert_eq!(node.read(path).unwrap(), mine);

    // Where the site says otherwise, the site is right.
    let entry = "gantry/acme/gitlab-secrets";
    let site =
        json!({"gitlab_rails": {"db_key_base": format!("{CANARY}base of the site")}}).to_string();
    node.cloud.keep(entry, Some(&site));
    node.boots();
    let now: Value = serde_json::from_str(&node.read(path).unwrap()).unwrap();
    assert_eq!(
        now["gitlab_rails"]["db_key_base"],
        format!("{CANARY}base of the site")
    );
    assert_eq!(node.cloud.versions(entry), 0, "only the deploy node writes");
}
