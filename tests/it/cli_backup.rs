//! The real binary, from an installed site to a pruned recovery point, in the sandbox.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use gantry::cloud::Aws;
use gantry::sandbox::{Folder, Sandbox};
use serde_json::Value;

use crate::support::{Place, Said};

/// Slow enough that the parts of a point are of one day, fast enough that nobody waits.
const SPEED: u32 = 2_000;

fn ids(said: &Said) -> Vec<String> {
    let document = said.json();
    let points = document["points"].as_array().unwrap();
    points
        .iter()
        .map(|point| point["id"].as_str().unwrap().to_owned())
        .collect()
}

/// Keeps one point of each age, by this site file.
pub fn keep_one(path: &Path) {
    let text = std::fs::read_to_string(path).unwrap();
    let mut document: toml_edit::DocumentMut = text.parse().unwrap();
    for age in ["hourly", "daily", "weekly", "monthly"] {
        document["backup"]["keep"][age] = toml_edit::value(1);
    }
    std::fs::write(path, document.to_string()).unwrap();
}

fn create(place: &Place, more: &str) -> Value {
    let said = place.ok(&format!("backup create --output json {more}"));
    let document = said.json();
    assert_eq!(document["whole"], true, "{}", said.err);
    document
}

/// Compares an opened configuration with the site file and with what the played nodes have; the names of those nodes.
pub fn opened_nodes(folder: &Path, site_file: &Path, domain: &str) -> BTreeSet<String> {
    let read = |path: &Path| {
        std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    };
    assert_eq!(read(&folder.join("gantry.toml")), read(site_file));
    let mut nodes = BTreeSet::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if !path.is_dir() || name == "bundles" {
            continue;
        }
        assert_eq!(
            read(&path.join("etc/gitlab/gitlab.rb")),
            format!("external_url 'https://{domain}'\n")
        );
        assert_eq!(
            read(&path.join("etc/ssh/ssh_host_ed25519_key")),
            format!("the played host key of {name}\n")
        );
        let bundle = format!("bundles/{name}.tar.gz");
        assert!(folder.join(&bundle).is_file(), "{bundle}");
        nodes.insert(name);
    }
    nodes
}

/// The permissions of a file or a folder.
fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Opens the configuration of a point, and is refused where it should be.
fn opens(place: &Place, point: &str, deploy: &str) {
    let line = format!("backup open {point} --part configuration --to opened --output json");
    let said = place.ok(&line);
    let folder = place.file("opened");
    let nodes = opened_nodes(&folder, &place.file("gantry.toml"), "gitlab.example.com");
    assert!(nodes.contains(deploy), "{nodes:?}");
    assert_eq!(mode(&folder), 0o700);
    let document = said.json();
    assert!(document["files"].as_array().unwrap().len() > nodes.len());
    for file in document["files"].as_array().unwrap() {
        let path = folder.join(file["name"].as_str().unwrap());
        assert_eq!(mode(&path), 0o600);
        assert_eq!(std::fs::metadata(&path).unwrap().len(), file["bytes"]);
    }

    let again = place.run(&line);
    assert_eq!(again.code, 2, "{}\n{}", again.out, again.err);
    let taken = "something is in it already";
    assert!(again.err.contains(taken), "{}", again.err);

    let one = place.ok(&format!("backup open {point} --node {deploy} --to one"));
    let key = format!("{deploy}/etc/ssh/ssh_host_ed25519_key");
    assert!(one.out.contains(&key), "{}", one.out);
    assert!(place.file("one").join(&key).exists());
    assert!(!place.file("one/gantry.toml").exists());
    // Names and sizes are printed, and nothing of what is in the files.
    for voice in [&said.out, &said.err, &one.out, &one.err] {
        assert!(!voice.contains("the played host key"), "{voice}");
    }

    let nobody = place.run(&format!("backup open {point} --node nobody --to none"));
    assert_eq!(nobody.code, 2, "{}\n{}", nobody.out, nobody.err);
    assert!(nobody.err.contains(deploy), "{}", nobody.err);
    let secrets = place.run(&format!("backup open {point} --part secrets --to none"));
    assert_eq!(secrets.code, 2, "{}\n{}", secrets.out, secrets.err);
    assert!(secrets.err.contains("gantry restore"), "{}", secrets.err);
    assert!(!place.file("none").exists());
}

fn cycle(profile: &str) {
    let place = Place::new().at_speed(SPEED);
    place.ok(&format!(
        "install --profile {profile} --name acme --domain gitlab.example.com --yes"
    ));
    keep_one(&place.file("gantry.toml"));

    let dry = place.ok("backup create --dry-run");
    assert!(dry.out.contains("secrets"), "{}", dry.out);
    assert!(dry.out.contains("ok    space"), "{}", dry.out);
    assert!(ids(&place.ok("backup list --output json")).is_empty());

    let first = create(&place, "")["point"].as_str().unwrap().to_owned();
    let second = create(&place, "--whole")["point"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(
        ids(&place.ok("backup list --output json")),
        [first.clone(), second.clone()]
    );
    let shown = place
        .ok(&format!("backup show {second} --output json"))
        .json();
    assert_eq!(shown["manifest"]["profile"], profile);

    let verified = place
        .ok("backup verify --all --read-data 100% --output json")
        .json();
    assert_eq!(verified["sound"], true, "{verified:#}");
    let told = place.ok(&format!("backup verify {second}"));
    assert!(told.out.contains("sound"), "{}", told.out);

    let dry = place.run("backup prune --dry-run");
    assert_eq!(dry.code, 3, "{}\n{}", dry.out, dry.err);
    assert!(dry.out.contains(&first), "{}", dry.out);
    assert_eq!(ids(&place.ok("backup list --output json")).len(), 2);
    place.ok("backup prune --yes");
    assert_eq!(
        ids(&place.ok("backup list --output json")),
        std::slice::from_ref(&second)
    );
    // What is left is still whole.
    let verified = place
        .ok("backup verify --read-data 100% --output json")
        .json();
    assert_eq!(verified["sound"], true, "{verified:#}");

    let taken = place.ok("snapshot create --output json").json();
    assert_eq!(taken["manifest"]["purpose"], "snapshot");
    let listed = ids(&place.ok("snapshot list --output json"));
    assert_eq!(listed, [taken["point"].as_str().unwrap().to_owned()]);

    let deploy = match profile {
        "single-box" => "box",
        _ => "sidekiq-1",
    };
    opens(&place, &second, deploy);
}

/// Changes one bit in the middle of an object; what it was before.
async fn tampered(aws: &Aws, bucket: &str, key: &str) -> Vec<u8> {
    let got = aws.s3.get_object().bucket(bucket).key(key).send().await;
    let before = got.unwrap().body.collect().await.unwrap().to_vec();
    let mut after = before.clone();
    let middle = after.len() / 2;
    after[middle] ^= 1;
    put(aws, bucket, key, after).await;
    before
}

async fn put(aws: &Aws, bucket: &str, key: &str, content: Vec<u8>) {
    let put = aws.s3.put_object().bucket(bucket).key(key);
    put.body(content.into()).send().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_tampered_with_is_not_opened() {
    let place = Place::new().at_speed(SPEED);
    place.ok("install --profile single-box --name acme --domain gitlab.example.com --yes");
    let point = create(&place, "--only configuration")["point"]
        .as_str()
        .unwrap()
        .to_owned();
    let shown = place
        .ok(&format!("backup show {point} --output json"))
        .json();
    let sealed = &shown["manifest"]["parts"][0]["outcome"]["saved"];
    let bucket = sealed["bucket"].as_str().unwrap();
    let key = sealed["key"].as_str().unwrap();
    let region = shown["manifest"]["site"]["region"].as_str().unwrap();
    let folder = Folder::new(place.file(".gantry/sandbox/world"));
    let aws = Aws::new(&Sandbox::open(folder, SPEED).unwrap().config(region));

    let refused = |why: &str| {
        let said = place.run(&format!("backup open {point} --to none"));
        assert_eq!(said.code, 8, "{}\n{}", said.out, said.err);
        assert!(said.err.contains(why), "{}", said.err);
        assert!(!place.file("none").exists());
    };
    let before = tampered(&aws, bucket, key).await;
    refused("its SHA-256 is");
    put(&aws, bucket, key, before).await;
    place.ok(&format!("backup open {point} --to opened"));
    tampered(&aws, bucket, &format!("points/{point}/manifest.json")).await;
    refused("its manifest cannot be trusted");
}

#[test]
fn a_box_goes_round() {
    cycle("single-box");
}

#[test]
fn a_small_site_goes_round() {
    cycle("poc-2k");
}

#[test]
fn a_cluster_goes_round_and_refuses_snapshots_of_its_disks() {
    cycle("ha-3k");
}

#[test]
fn disks_of_a_cluster_are_refused_with_the_reason() {
    let place = Place::new().at_speed(SPEED);
    place.ok("install --profile ha-3k --domain gitlab.example.com --yes");
    let said = place.run("snapshot create --only volumes");
    assert_eq!(said.code, 2, "{}\n{}", said.out, said.err);
    assert!(
        said.err
            .contains("snapshots of the disks of a Gitaly Cluster are not supported by GitLab"),
        "{}",
        said.err
    );
    assert!(said.err.contains("gantry backup create"), "{}", said.err);
}
