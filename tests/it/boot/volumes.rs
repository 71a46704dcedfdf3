//! The data volume, on real loop devices: formatted when it is empty, and never otherwise.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use gantry::blueprint::Role;
use gantry::boot::{Filesystem, Outcome, VolumeEntry, sha256};

use super::node::{FILES, Node, real};

const MOUNT: &str = "/var/opt/gitlab/git-data";
const DATA: &str = "var/opt/gitlab/git-data";

fn with_volume(filesystem: Filesystem) -> Node {
    let node = Node::ready(Role::Gitaly, "gitaly-1");
    let mut manifest = node.manifest();
    manifest.volume = Some(VolumeEntry {
        id: "vol-0abc".into(),
        mount: MOUNT.into(),
        filesystem,
    });
    node.publish(manifest, &FILES);
    node
}

fn formatted(node: &Node) -> usize {
    node.effects()
        .iter()
        .filter(|line| line.starts_with("mkfs"))
        .count()
}

/// The whole device.
fn content(device: &Path) -> String {
    sha256(fs::read(device).unwrap())
}

fn write_at(device: &Path, offset: u64, bytes: &[u8]) {
    let mut file = fs::OpenOptions::new().write(true).open(device).unwrap();
    file.seek(SeekFrom::Start(offset)).unwrap();
    file.write_all(bytes).unwrap();
    file.sync_all().unwrap();
}

fn refused(node: &Node, device: &Path, why: &str) {
    let before = content(device);
    let run = node.boot();
    assert_eq!(run.code, Some(1), "{}", run.said);
    let report = node.report();
    assert_eq!(
        (report.outcome, report.stage.as_str()),
        (Outcome::Failed, "volume")
    );
    assert!(report.detail.contains(why), "{}", report.detail);
    assert_eq!(
        node.effects(),
        ["systemctl restart systemd-timesyncd.service"],
        "nothing else is done"
    );
    assert_eq!(content(device), before, "not touched");
}

#[test]
fn an_empty_volume_is_formatted_once() {
    for (filesystem, command) in [
        (Filesystem::Ext4, "mkfs.ext4"),
        (Filesystem::Xfs, "mkfs.xfs"),
    ] {
        let mut node = with_volume(filesystem);
        let device = node.attach("vol-0abc");
        node.boots();
        let effects = node.effects();
        let device = device.to_string_lossy();
        let at = |line: &str| {
            effects
                .iter()
                .position(|e| e.starts_with(line))
                .unwrap_or_else(|| panic!("{line}: {effects:?}"))
        };
        assert!(at(&format!("{command} -q -L gitlab-data {device}")) < at("mount "));
        assert!(at("mount ") < at("hostnamectl"));
        let fstab = node.read("etc/fstab").unwrap();
        assert!(
            fstab.starts_with("LABEL=cloudimg-rootfs / ext4 discard 0 1\nUUID="),
            "{fstab}"
        );
        assert_eq!(fstab.lines().count(), 2);
        assert!(
            fstab.contains(&format!(" {MOUNT} ")) && fstab.contains(",nofail,"),
            "{fstab}"
        );
        node.write(&format!("{DATA}/repository"), "precious");

        // Mounted already.
        node.boots();
        assert_eq!(node.effects(), [""; 0]);
        // Not mounted yet: systemd was slower, or has not heard of it.
        for _ in 0..2 {
            node.reboot();
            assert!(!node.path(&format!("{DATA}/repository")).exists());
            node.boots();
            assert_eq!(
                node.read(&format!("{DATA}/repository")).unwrap(),
                "precious"
            );
            assert_eq!(formatted(&node), 0);
            assert_eq!(node.read("etc/fstab").unwrap(), fstab);
        }
    }
}

#[test]
fn a_volume_with_a_file_system_keeps_it() {
    // Not what the manifest would format it with: what is there counts.
    for (command, wanted) in [
        ("mkfs.xfs", Filesystem::Ext4),
        ("mkfs.ext4", Filesystem::Xfs),
    ] {
        let mut node = with_volume(wanted);
        let device = node.attach("vol-0abc");
        assert!(
            real(command)
                .arg("-q")
                .arg(&device)
                .status()
                .unwrap()
                .success()
        );
        let elsewhere = tempfile::tempdir().unwrap();
        assert!(
            real("mount")
                .arg(&device)
                .arg(elsewhere.path())
                .status()
                .unwrap()
                .success()
        );
        let written = fs::write(elsewhere.path().join("repository"), "precious");
        assert!(
            real("umount")
                .arg(elsewhere.path())
                .status()
                .unwrap()
                .success()
        );
        written.unwrap();

        node.boots();
        assert_eq!(formatted(&node), 0);
        assert_eq!(
            node.read(&format!("{DATA}/repository")).unwrap(),
            "precious"
        );
    }
}

#[test]
fn a_volume_with_anything_else_on_it_is_not_touched() {
    // Nothing that anybody knows, within the first MiB.
    let mut node = with_volume(Filesystem::Ext4);
    let device = node.attach("vol-0abc");
    write_at(&device, (1 << 20) - 1, b"x");
    refused(&node, &device, "is not empty: not touched");

    // What blkid knows, and is no file system.
    let mut node = with_volume(Filesystem::Ext4);
    let device = node.attach("vol-0abc");
    assert!(
        real("mkswap")
            .arg("-q")
            .arg(&device)
            .status()
            .unwrap()
            .success()
    );
    refused(&node, &device, "something else (swap)");

    // A table of partitions, without one in it.
    let mut node = with_volume(Filesystem::Ext4);
    let device = node.attach("vol-0abc");
    write_at(&device, 510, &[0x55, 0xaa]);
    refused(&node, &device, "not touched");

    // A file system that is not ours to mount.
    let mut node = with_volume(Filesystem::Ext4);
    let device = node.attach("vol-0abc");
    assert!(
        real("mkfs.vfat")
            .arg(&device)
            .output()
            .is_ok_and(|o| o.status.success())
            || real("mkfs.ext2")
                .arg("-q")
                .arg(&device)
                .status()
                .unwrap()
                .success()
    );
    refused(
        &node,
        &device,
        "which is no file system of ours: not touched",
    );
}

#[test]
fn a_missing_volume_stops_everything() {
    let mut node = with_volume(Filesystem::Ext4);
    // Another one is there.
    let other = node.attach("vol-0def");
    refused(
        &node,
        &other,
        "the volume vol-0abc is not attached, or not to be seen: nothing else is done",
    );
    assert_eq!(node.cloud.tag("gantry:boot").unwrap(), "failed volume");

    node.attach("vol-0abc");
    node.boots();
    assert_eq!(formatted(&node), 1);
}

#[test]
fn files_where_it_should_be_mounted_are_not_hidden() {
    let mut node = with_volume(Filesystem::Ext4);
    node.attach("vol-0abc");
    node.write(&format!("{DATA}/stray"), "x");
    let run = node.boot();
    assert_eq!(run.code, Some(1), "{}", run.said);
    assert!(
        node.report()
            .detail
            .contains("has files in it that the volume would hide")
    );
    assert_eq!(node.read(&format!("{DATA}/stray")).unwrap(), "x");
    fs::remove_file(node.path(&format!("{DATA}/stray"))).unwrap();
    node.boots();
}
