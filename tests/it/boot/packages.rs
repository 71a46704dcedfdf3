//! GitLab's package and its configuration.

use gantry::blueprint::Role;
use gantry::boot::Outcome;

use super::node::{CANARY, FILES, Node, VERSION};
use crate::support::cloud::script;

fn failed(node: &Node, stage: &str) -> String {
    let run = node.boot();
    assert_eq!(run.code, Some(1), "{}", run.said);
    let report = node.report();
    assert_eq!(
        (report.outcome, report.stage.as_str()),
        (Outcome::Failed, stage),
        "{}",
        run.said
    );
    assert_eq!(
        node.cloud.tag("gantry:boot").unwrap(),
        format!("failed {stage}")
    );
    report.detail
}

#[test]
fn another_version_is_never_replaced() {
    let node = Node::ready(Role::Gitaly, "gitaly-1");
    node.package("gitlab-ee", "installed 19.4.0-ee.0");
    let detail = failed(&node, "package");
    assert!(
        detail.starts_with("gitlab-ee 19.4.0-ee.0 is there, and the bundle wants 19.5.3-ee.0: upgrades are done by gantry upgrade"),
        "{detail}"
    );
    assert!(!node.effects().iter().any(|e| e.starts_with("apt-get")));
    assert_eq!(node.report().version, "19.4.0-ee.0");
    assert!(
        node.read("etc/gitlab/gitlab.rb").is_none(),
        "nothing after it is done"
    );

    let node = Node::ready(Role::Gitaly, "gitaly-1");
    node.package("gitlab-ce", "installed 19.5.3-ce.0");
    let detail = failed(&node, "package");
    assert!(
        detail.contains("another edition is a migration"),
        "{detail}"
    );
}

#[test]
fn an_image_that_has_the_package_gets_it_held() {
    let node = Node::ready(Role::Gitaly, "gitaly-1");
    node.package("gitlab-ee", &format!("installed {VERSION}"));
    node.boots();
    let effects = node.effects();
    assert!(
        !effects.iter().any(|e| e.starts_with("apt-get")),
        "{effects:?}"
    );
    assert!(
        effects.contains(&"apt-mark hold gitlab-ee".to_owned()),
        "{effects:?}"
    );
}

#[test]
fn what_dpkg_did_not_finish_is_finished() {
    let node = Node::ready(Role::Gitaly, "gitaly-1");
    node.package("gitlab-ee", &format!("half-configured {VERSION}"));
    node.boots();
    assert!(node.effects().contains(&"dpkg --configure -a".to_owned()));
    assert_eq!(
        node.package_state("gitlab-ee").unwrap(),
        format!("installed {VERSION}")
    );
}

#[test]
fn a_package_that_cannot_be_had_is_reported_and_tried_again() {
    let node = Node::ready(Role::Gitaly, "gitaly-1");
    node.break_it(
        "apt-get",
        "E: Failed to fetch https://packages.gitlab.com/… 503\n",
    );
    let detail = failed(&node, "package");
    assert!(detail.contains("E: Failed to fetch"), "{detail}");
    node.mend("apt-get");
    node.boots();
}

#[test]
fn a_repository_with_another_key_is_not_used() {
    for key in ["other", "both"] {
        let node = Node::ready(Role::Gitaly, "gitaly-1");
        let content = std::fs::read(script(&format!("boot/keys/{key}.asc"))).unwrap();
        node.cloud.serve("packages/gpgkey/gpg.key", content);
        let detail = failed(&node, "package");
        assert!(
            detail.contains("is not the one that signs GitLab's packages"),
            "{detail}"
        );
        assert!(!node.path("etc/apt/sources.list.d").exists());
        assert!(!node.path("etc/apt/keyrings").exists());
    }
    for text in [
        "",
        "<html>Sign in</html>",
        "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmQ==\n-----END PGP PUBLIC KEY BLOCK-----\n",
    ] {
        let node = Node::ready(Role::Gitaly, "gitaly-1");
        node.cloud.serve("packages/gpgkey/gpg.key", text);
        failed(&node, "package");
    }
}

#[test]
fn a_mirror_stands_in_for_the_repository() {
    let node = Node::ready(Role::Gitaly, "gitaly-1");
    let key = std::fs::read(script("boot/keys/packages.asc")).unwrap();
    node.cloud.serve("mirror/gpgkey/gpg.key", key);
    let mirror = node.cloud.url("download/mirror");
    let mut manifest = node.manifest();
    manifest
        .package
        .as_mut()
        .unwrap()
        .source
        .clone_from(&mirror);
    node.publish(manifest, &FILES);
    node.boots();
    let list = node
        .read("etc/apt/sources.list.d/gitlab_gitlab-ee.list")
        .unwrap();
    assert!(
        list.contains(&format!(
            " {mirror}/gitlab/gitlab-ee/ubuntu/noble noble main"
        )),
        "{list}"
    );
}

#[test]
fn a_reconfigure_that_fails_is_reported_with_its_last_words_and_without_secrets() {
    let node = Node::ready(Role::Gitaly, "gitaly-1");
    let password = node.cloud.kept("gantry/acme/database-password").unwrap();
    let words = format!(
        "FATAL: the database said no\npassword={password}\n{}There was an error running gitlab-ctl reconfigure\n",
        "noise\n".repeat(40)
    );
    node.break_it("gitlab-ctl", &words);
    let detail = failed(&node, "reconfigure");
    assert!(
        detail.contains("There was an error running gitlab-ctl reconfigure"),
        "{detail}"
    );

    node.break_it(
        "gitlab-ctl",
        &format!("password={password}\nFATAL: the database said no\n"),
    );
    let detail = failed(&node, "reconfigure");
    assert!(
        detail.contains("password=[secret]\nFATAL: the database said no"),
        "{detail}"
    );
    assert!(!detail.contains(CANARY));
    // All of it, for root.
    assert!(
        node.read("var/lib/gantry/log/reconfigure.log")
            .unwrap()
            .contains(&password)
    );
    assert_eq!(node.mode("var/lib/gantry"), "0700 0:0");

    node.mend("gitlab-ctl");
    node.boots();
    assert_eq!(node.reconfigured(), ["reconfigured"]);
    node.boots();
    assert_eq!(node.reconfigured(), ["reconfigured"]);
}

#[test]
fn certificates_of_rds_are_only_replaced_by_certificates() {
    let node = Node::ready(Role::Gitaly, "gitaly-1");
    let place = "rds/eu-west-1/eu-west-1-bundle.pem";
    let target = "etc/gitlab/ssl/rds-bundle.pem";
    node.cloud.serve(place, "<html>Sign in</html>");
    let detail = failed(&node, "rds-ca");
    assert!(
        detail.contains("the certificates of RDS are not to be had"),
        "{detail}"
    );
    assert!(!node.path(target).exists());

    let authority = std::fs::read_to_string(script("boot/keys/authority.pem")).unwrap();
    node.cloud.serve(place, &authority);
    node.boots();
    assert_eq!(node.read(target).unwrap(), authority);
    assert_eq!(node.mode(target), "0644 0:0");
    node.cloud.serve(place, "");
    node.boots();
    assert_eq!(node.read(target).unwrap(), authority);
}
