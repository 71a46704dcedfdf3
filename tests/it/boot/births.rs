//! The deploy node gives birth to gitlab-secrets.json and the host keys: once, whatever happens.

use gantry::blueprint::Role;
use gantry::boot::Outcome;
use serde_json::{Value, json};

use super::node::{CANARY, FILES, Node};

const SECRETS: &str = "gantry/acme/gitlab-secrets";
const KEYS: &str = "gantry/acme/ssh-host-keys";

fn deploy_node() -> Node {
    let node = Node::new(Role::Sidekiq, "sidekiq-1");
    let mut manifest = node.manifest();
    manifest.deploy = true;
    node.publish(manifest, &FILES);
    node.cloud.keep(
        "gantry/acme/database-password",
        Some(&format!("{CANARY}database")),
    );
    node
}

/// Both are kept once, and are what lies on the node.
fn born_once(node: &Node) {
    assert_eq!(
        (node.cloud.versions(SECRETS), node.cloud.versions(KEYS)),
        (1, 1)
    );
    assert_eq!(
        node.cloud.kept(SECRETS),
        node.read("etc/gitlab/gitlab-secrets.json")
    );
    let keys: Value = serde_json::from_str(&node.cloud.kept(KEYS).unwrap()).unwrap();
    let names: Vec<_> = keys.as_object().unwrap().keys().cloned().collect();
    assert_eq!(
        names,
        ["ecdsa", "ed25519", "rsa"]
            .map(|t| [format!("ssh_host_{t}_key"), format!("ssh_host_{t}_key.pub")])
            .concat()
    );
    for name in names {
        let there = node
            .read(&format!("var/opt/gitlab/gitlab-sshd/{name}"))
            .unwrap();
        assert_eq!(there, keys[&name].as_str().unwrap());
    }
    assert!(!node.path("etc/gantry/birth").exists());
    assert!(!node.path("var/lib/gantry/birth").exists());
    assert_eq!(node.report().outcome, Outcome::Ready);
}

#[test]
fn a_birth() {
    let node = deploy_node();
    node.boots();
    born_once(&node);
    // First without migrations, and only when its secrets are safe, with them.
    assert_eq!(
        node.reconfigured(),
        ["birth flag reconfigured", "reconfigured"]
    );

    node.effects();
    node.reboot();
    node.boots();
    assert_eq!(node.effects(), [""; 0]);
    born_once(&node);
}

#[test]
fn killed_between_reconfigure_and_keeping() {
    let node = deploy_node();
    node.break_it("kill-after-reconfigure", "");
    let run = node.boot();
    assert_eq!(run.code, None, "killed: {}", run.said);
    assert_eq!(node.cloud.versions(SECRETS), 0);
    assert!(node.path("etc/gantry/birth").exists());
    let made = node.read("etc/gitlab/gitlab-secrets.json").unwrap();

    node.reboot();
    node.boots();
    born_once(&node);
    assert_eq!(
        node.cloud.kept(SECRETS).unwrap(),
        made,
        "the same, not others"
    );
    assert_eq!(
        node.reconfigured(),
        [
            "birth flag reconfigured",
            "birth flag reconfigured",
            "reconfigured"
        ]
    );
}

#[test]
fn answers_that_are_lost_make_nothing_twice() {
    let node = deploy_node();
    node.cloud.fault(
        &json!({"action": "secretsmanager:PutSecretValue", "how": "drop-after", "times": 1}),
    );
    node.boots();
    born_once(&node);

    // All of them are lost: the node fails, and at its next boot finds what it kept.
    let node = deploy_node();
    node.cloud.fault(
        &json!({"action": "secretsmanager:PutSecretValue", "how": "drop-after", "times": 2}),
    );
    let run = node.boot();
    assert_eq!(run.code, Some(1), "{}", run.said);
    assert_eq!(node.report().stage, "birth");
    node.boots();
    born_once(&node);
}

#[test]
fn secrets_manager_that_refuses_is_no_reason_for_other_keys() {
    let node = deploy_node();
    node.cloud.fault(&json!({"action": "secretsmanager:PutSecretValue", "how": "status", "status": 400, "times": 1}));
    let run = node.boot();
    assert_eq!(run.code, Some(1), "{}", run.said);
    let made = node.read("var/lib/gantry/birth/ssh_host_rsa_key").unwrap();
    node.boots();
    born_once(&node);
    assert_eq!(
        node.read("var/opt/gitlab/gitlab-sshd/ssh_host_rsa_key")
            .unwrap(),
        made
    );
}

#[test]
fn a_site_that_has_its_secrets_gets_no_others() {
    let node = deploy_node();
    node.fill_secrets();
    let before = (node.cloud.kept(SECRETS), node.cloud.kept(KEYS));
    // Left by a birth that another node finished.
    node.write("etc/gantry/birth", "");
    node.boots();
    assert_eq!((node.cloud.kept(SECRETS), node.cloud.kept(KEYS)), before);
    assert_eq!(node.reconfigured(), ["reconfigured"]);
}

#[test]
fn what_an_upgrade_adds_is_kept_for_the_others() {
    let node = deploy_node();
    node.boots();
    node.new_secret("of_the_new_version");
    let mut manifest = node.manifest();
    manifest.deploy = true;
    node.publish(manifest, &FILES[..1]);
    node.boots();
    assert_eq!(node.cloud.versions(SECRETS), 2);
    assert!(
        node.cloud
            .kept(SECRETS)
            .unwrap()
            .contains("of_the_new_version")
    );
    node.effects();
    node.boots();
    assert_eq!(node.effects(), [""; 0]);
    assert_eq!(node.cloud.versions(SECRETS), 2);
}

#[test]
fn other_nodes_bear_nothing() {
    let node = Node::new(Role::Sidekiq, "sidekiq-2");
    node.publish(node.manifest(), &FILES);
    node.cloud.keep(
        "gantry/acme/database-password",
        Some(&format!("{CANARY}database")),
    );
    let run = node.boot();
    assert_eq!(run.code, Some(75), "{}", run.said);
    assert_eq!(
        (node.cloud.versions(SECRETS), node.cloud.versions(KEYS)),
        (0, 0)
    );
}
