//! The real binary, from an installed site to a pruned recovery point, in the sandbox.

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
pub fn keep_one(path: &std::path::Path) {
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
