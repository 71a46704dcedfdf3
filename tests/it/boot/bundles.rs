//! Bundles: changed ones, and those that are not what they should be.

use std::io::Write;

use gantry::blueprint::Role;
use gantry::boot::{Bundle, FileEntry, Manifest, Outcome, Pointer, bundle_key, sha256};

use super::node::{FILES, Node};

#[test]
fn a_changed_bundle_changes_its_files_and_nothing_else() {
    let node = Node::ready(Role::Gitaly, "gitaly-1");
    node.boots();
    node.effects();
    let secrets = node.mode("etc/gantry/secrets.json");

    let unit = ("/etc/systemd/system/gantry-check.service", "[Service]\n");
    let changed = (FILES[0].0, "external_url 'https://git.acme.example'\n");
    let bundle = node.publish(node.manifest(), &[changed, unit]);
    node.boots();
    assert_eq!(
        node.effects(),
        ["systemctl daemon-reload", "gitlab-ctl reconfigure"]
    );
    assert_eq!(node.read("etc/gitlab/gitlab.rb").unwrap(), changed.1);
    assert!(
        !node.path("etc/gitlab/skip-auto-reconfigure").exists(),
        "gone from the bundle"
    );
    assert_eq!(node.mode("etc/gantry/secrets.json"), secrets);
    assert_eq!(node.report().bundle, bundle.sha256);
    // The last good one, and no other.
    let kept: Vec<_> = std::fs::read_dir(node.path("var/lib/gantry/bundles"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(kept, [format!("{}.tar.gz", bundle.sha256)]);

    // What somebody changed by hand is put right, and is no reason to configure GitLab anew.
    node.write("etc/gitlab/gitlab.rb", "by hand\n");
    node.boots();
    assert_eq!(node.effects(), [""; 0]);
    assert_eq!(node.read("etc/gitlab/gitlab.rb").unwrap(), changed.1);
    // What it never laid down, it does not take away.
    assert!(node.path("etc/gitlab/gitlab-secrets.json").exists());
}

#[test]
fn without_a_pointer_the_node_waits() {
    let node = Node::new(Role::Gitaly, "gitaly-1");
    let run = node.boot();
    assert_eq!(run.code, Some(75), "{}", run.said);
    let report = node.report();
    assert_eq!(
        (report.outcome, report.stage.as_str()),
        (Outcome::Waiting, "bundle")
    );
    assert_eq!(report.bundle, "");
    assert_eq!(node.cloud.tag("gantry:boot").unwrap(), "waiting bundle");

    node.fill_secrets();
    node.publish(node.manifest(), &FILES);
    node.boots();
    assert_eq!(node.report().outcome, Outcome::Ready);
}

/// An archive of these entries, as somebody else would make one.
fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let zip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    let mut archive = tar::Builder::new(zip);
    for (name, content) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        // As it is: `set_path` would refuse some of these.
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        archive.append(&header, *content).unwrap();
    }
    archive.into_inner().unwrap().finish().unwrap()
}

fn manifest(node: &str, files: Vec<FileEntry>) -> Vec<u8> {
    let manifest = Manifest {
        files,
        ..Manifest::new(node, Role::Gitaly)
    };
    serde_json::to_vec(&manifest).unwrap()
}

#[test]
fn a_bundle_that_is_not_what_it_should_be_is_refused() {
    let node = Node::ready(Role::Gitaly, "gitaly-1");
    let good = node.publish(node.manifest(), &FILES);
    node.boots();
    node.effects();
    let before = node.tree();

    let file = |path: &str, content: &str| FileEntry::of(path, "0600", "root:root", content);
    let own = |files| manifest("gitaly-1", files);
    // What its hash and size are true of.
    let made: Vec<(&str, Vec<u8>)> = vec![
        ("no archive", b"no archive at all".to_vec()),
        (
            "cut short within",
            good.bytes[..good.bytes.len() / 2].to_vec(),
        ),
        ("no manifest", archive(&[("files/etc/x", b"x")])),
        (
            "a manifest that is none",
            archive(&[("manifest.json", b"[]")]),
        ),
        (
            "for another node",
            archive(&[("manifest.json", &manifest("gitaly-2", vec![]))]),
        ),
        (
            "another content",
            archive(&[
                ("manifest.json", &own(vec![file("/etc/x", "x")])),
                ("files/etc/x", b"y"),
            ]),
        ),
        (
            "a file missing",
            archive(&[("manifest.json", &own(vec![file("/etc/x", "x")]))]),
        ),
        (
            "a file more",
            archive(&[("manifest.json", &own(vec![])), ("files/etc/x", b"x")]),
        ),
        (
            "out of the folder",
            archive(&[
                ("manifest.json", &own(vec![file("/../../x", "x")])),
                ("files/../../x", b"x"),
            ]),
        ),
        (
            "another format",
            archive(&[(
                "manifest.json",
                &String::from_utf8(own(vec![]))
                    .unwrap()
                    .replace("\"format\":1", "\"format\":2")
                    .into_bytes(),
            )]),
        ),
        (
            "a mode of its own",
            archive(&[
                (
                    "manifest.json",
                    &own(vec![FileEntry::of("/etc/x", "4755", "root:root", "x")]),
                ),
                ("files/etc/x", b"x"),
            ]),
        ),
    ];
    for (what, bytes) in made {
        let hash = sha256(&bytes);
        node.cloud.put(&bundle_key(Role::Gitaly, &hash), &bytes);
        node.point(Pointer::new("gitaly-1", &hash, bytes.len() as u64).text());
        refused(&node, what, &before);
    }

    // What it is not true of.
    let mut other = good.bytes.clone();
    other[40] ^= 1;
    let hash = sha256("x");
    for (what, bytes, size) in [
        ("too short", &good.bytes[..100], good.size()),
        ("too long", &good.bytes[..], good.size() - 1),
        ("other bytes", &other[..], good.size()),
    ] {
        node.cloud.put(&bundle_key(Role::Gitaly, &hash), bytes);
        node.point(Pointer::new("gitaly-1", &hash, size).text());
        refused(&node, what, &before);
    }
    for (what, text) in [
        ("no pointer", "{}".to_owned()),
        (
            "another node's",
            Pointer::new("gitaly-2", &good.sha256, good.size()).text(),
        ),
        (
            "a bundle of 100 MiB",
            Pointer::new("gitaly-1", &good.sha256, 100 << 20).text(),
        ),
        (
            "a hash that is a path",
            Pointer::new("gitaly-1", "../../x", 1).text(),
        ),
    ] {
        node.point(text);
        refused(&node, what, &before);
    }

    node.point(good.pointer().text());
    node.boots();
    assert_eq!(node.tree(), before);
}

fn refused(node: &Node, what: &str, before: &std::collections::BTreeMap<String, String>) {
    let run = node.boot();
    assert_eq!(run.code, Some(1), "{what}: {}", run.said);
    let report = node.report();
    assert_eq!(
        (report.outcome, report.stage.as_str()),
        (Outcome::Failed, "bundle"),
        "{what}"
    );
    assert!(
        !report.detail.contains("Traceback"),
        "{what}: {}",
        report.detail
    );
    assert_eq!(
        node.cloud.tag("gantry:boot").unwrap(),
        "failed bundle",
        "{what}"
    );
    assert_eq!(node.effects(), [""; 0], "{what}");
    assert_eq!(&node.tree(), before, "{what}: {}", report.detail);
}

#[test]
fn a_kept_bundle_that_rotted_is_fetched_again() {
    let node = Node::ready(Role::Gitaly, "gitaly-1");
    let bundle: Bundle = node.publish(node.manifest(), &FILES);
    node.boots();
    let kept = node.path(&format!("var/lib/gantry/bundles/{}.tar.gz", bundle.sha256));
    std::fs::OpenOptions::new()
        .append(true)
        .open(&kept)
        .unwrap()
        .write_all(b"rot")
        .unwrap();
    node.boots();
    assert_eq!(std::fs::read(&kept).unwrap(), bundle.bytes);
}
