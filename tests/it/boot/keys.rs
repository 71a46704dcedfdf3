//! The keys of administrators: on the machine before anything that may fail, in words that OpenSSH understands.

use std::process::Command;

use gantry::blueprint::Role;
use gantry::boot::Outcome;
use gantry::node::{LOGIN, admin_keys};
use gantry::profile::ProfileName;

use super::node::{FILES, Node};

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAswVXqfxOkOM1h9osfsETZbgKXK7xQ5XoOozfIXPGGG ada@example.com";
const KEYS: &str = "/etc/ssh/gantry_keys_ubuntu";
const CONFIG: &str = "/etc/ssh/sshd_config.d/10-gantry.conf";

/// The files of a site that names one key.
fn files() -> Vec<(String, String)> {
    assert_eq!(gantry::shell::Endpoint::new("a", "b").user, LOGIN);
    let mut site = crate::support::stage::site(ProfileName::Poc2k);
    assert_eq!(admin_keys(&site), []);
    site.network.admin_keys = vec![KEY.parse().unwrap()];
    let files = admin_keys(&site).into_iter();
    files.map(|file| (file.path, file.content)).collect()
}

#[test]
fn administrators_are_let_in_before_anything_may_fail_and_shut_out_again() {
    let node = Node::ready(Role::Gitaly, "gitaly-1");
    let files = files();
    let mut with: Vec<(&str, &str)> = FILES.to_vec();
    with.extend(
        files
            .iter()
            .map(|(path, text)| (path.as_str(), text.as_str())),
    );
    node.publish(node.manifest(), &with);
    node.package("gitlab-ee", "installed 19.4.0-ee.0");
    node.boot();
    let report = node.report();
    assert_eq!(
        (report.outcome, report.stage.as_str()),
        (Outcome::Failed, "package")
    );
    assert!(
        node.read(&KEYS[1..])
            .unwrap()
            .ends_with(&format!("{KEY}\n"))
    );
    let reload = "systemctl try-reload-or-restart ssh.service".to_owned();
    assert!(node.effects().contains(&reload));

    node.package("gitlab-ee", "installed 19.5.3-ee.0");
    node.boots();
    assert!(!node.effects().contains(&reload), "nothing changed there");

    node.publish(node.manifest(), &FILES);
    node.boots();
    assert_eq!(
        (node.read(&KEYS[1..]), node.read(&CONFIG[1..])),
        (None, None)
    );
}

#[test]
fn openssh_takes_the_configuration_and_the_keys() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let keygen = |args: &[&str]| {
        let output = Command::new("ssh-keygen").args(args).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let host = at("host").to_str().unwrap().to_owned();
    keygen(&["-q", "-t", "ed25519", "-N", "", "-f", &host]);
    for (path, content) in files() {
        match path.as_str() {
            CONFIG => std::fs::write(at("config"), content).unwrap(),
            KEYS => std::fs::write(at("keys"), content).unwrap(),
            other => panic!("{other}"),
        }
    }
    // sshd as root asks for it, and a machine without a running sshd has none.
    std::fs::create_dir_all("/run/sshd").unwrap();
    let said = Command::new("/usr/sbin/sshd")
        .args(["-T", "-h", &host, "-f"])
        .arg(at("config"))
        .output()
        .unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    assert!(
        said.contains("authorizedkeysfile .ssh/authorized_keys /etc/ssh/gantry_keys_%u\n"),
        "{said}"
    );
    let listed = keygen(&["-l", "-f", at("keys").to_str().unwrap()]);
    assert!(listed.contains("ada@example.com (ED25519)"), "{listed}");
}
