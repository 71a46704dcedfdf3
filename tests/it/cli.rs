//! The real binary in the sandbox: the four steps, locks, interrupts, saved plans, JSON, secrets.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::Child;

use gantry::resource::SITE_TAG;
use gantry::sandbox::world::World;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::{Place, Said, difference, picture};

/// The sandbox's world as it lies on disk.
fn world(place: &Place) -> World {
    let text = std::fs::read(place.file(".gantry/sandbox/world/world.json")).unwrap();
    let saved: Value = serde_json::from_slice(&text).unwrap();
    let mut world: World = serde_json::from_value(saved["world"].clone()).unwrap();
    world.tick(i64::MAX / 2);
    world
}

/// Reads a child's stderr until a line contains `text`.
fn listen(child: &mut Child, text: &str) -> BufReader<std::process::ChildStderr> {
    let mut reader = BufReader::new(child.stderr.take().unwrap());
    let mut heard = String::new();
    let mut line = String::new();
    while reader.read_line(&mut line).unwrap() > 0 {
        if line.contains(text) {
            return reader;
        }
        heard.push_str(&line);
        line.clear();
    }
    panic!("never said {text:?}; it said:\n{heard}");
}

fn signal(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

#[test]
fn the_four_steps_of_the_readme() {
    let place = Place::new();
    place.ok("init --profile poc-2k --domain gitlab.example.com");
    place.run("plan");
    // A look at an empty account has written no world yet; this is what one holds.
    let before = picture(&crate::support::stage::empty_sandbox());

    let said = place.poc();
    assert!(said.out.contains("stands in eu-west-1"), "{}", said.out);
    let status = place.ok("status");
    for part in [
        "gitaly-1",
        "sidekiq-1",
        "rails-i-",
        "web ",
        "PostgreSQL",
        "Valkey",
        "load balancer",
        "there is no whole recovery point",
        "Next runs: ",
    ] {
        assert!(
            status.out.contains(part),
            "{part} is missing in:\n{}",
            status.out
        );
    }
    let plan = place.ok("plan");
    assert!(plan.out.starts_with("No changes"), "{}", plan.out);

    let site = "gitlab-example";
    place.ok(&format!(
        "destroy --delete-data --no-final-snapshot --yes --site {site}"
    ));
    assert_eq!(
        difference(&before, &picture(&world(&place))),
        Vec::<String>::new()
    );
}

fn four_steps(profile: &str) {
    let place = Place::new();
    place.ok(&format!(
        "init --profile {profile} --domain gitlab.example.com"
    ));
    let before = picture(&crate::support::stage::empty_sandbox());
    place.ok("install --yes");
    let nodes = place.ok("status --output json").json()["inventory"]["nodes"].clone();
    let machines = world(&place)
        .rows("eu-west-1", "ec2/instance")
        .filter(|(_, row)| row.tags.contains_key(SITE_TAG))
        .count();
    assert_eq!(nodes.as_array().unwrap().len(), machines, "{nodes:#}");
    let plan = place.ok("plan");
    assert!(plan.out.starts_with("No changes"), "{}", plan.out);
    place.ok("destroy --delete-data --no-final-snapshot --yes --site gitlab-example");
    assert_eq!(
        difference(&before, &picture(&world(&place))),
        Vec::<String>::new()
    );
}

#[test]
fn the_four_steps_of_a_single_box() {
    four_steps("single-box");
}

#[test]
fn the_four_steps_of_the_smaller_clusters() {
    four_steps("ha-3k");
    four_steps("ha-5k");
    four_steps("ha-10k");
}

#[test]
fn the_four_steps_of_the_larger_clusters() {
    four_steps("ha-25k");
    four_steps("ha-50k");
}

#[test]
fn the_same_steps_speak_json() {
    let place = Place::new();
    let site = place
        .ok("init --profile single-box --domain gitlab.example.com --output json")
        .json();
    assert_eq!(site["site"], "gitlab-example");
    let plan = place.run("plan --output json");
    assert_eq!(plan.code, 3);
    assert!(plan.json()["totals"]["create"].as_u64().unwrap() > 20);
    let install = place.ok("install --yes --output json").json();
    assert_eq!(install["complete"], true);
    let status = place.ok("status --output json").json();
    assert_eq!(status["inventory"]["nodes"][0]["name"], "box");
    assert_eq!(status["backups"]["objective"]["state"], "no-point");
    assert_eq!(status["backups"]["next"][0]["schedule"], "snapshot");
    assert_eq!(
        place.ok("state show --output json").json()["site"],
        "gitlab-example"
    );
    assert_eq!(
        place.ok("runs list --output json").json()["runs"][0]["verb"],
        "install"
    );
    let run = place.ok("runs show last --output json").json();
    assert_eq!(run["format"], 1);
    assert_eq!(run["head"]["verb"], "install");
    let story = place.ok("runs show last");
    assert!(story.out.contains("ec2/vpc:main"), "{}", story.out);
}

#[test]
fn preflight_says_beforehand_what_an_account_has_no_room_for() {
    let place = Place::new();
    place.ok("init --name first --profile poc-2k --domain gitlab.example.com --region eu-west-1");
    assert!(place.ok("preflight").out.contains("pass  permissions"));
    place.ok("install --yes");
    // Three addresses are in use by now, and five are allowed.
    std::fs::remove_file(place.file("gantry.toml")).unwrap();
    place.ok("init --name second --profile ha-3k --domain gitlab.example.com --region eu-west-1");
    let said = place.run("preflight");
    assert_eq!(said.code, 8, "{}", said.err);
    let wish = "ask for at least 7 of L-0263D0A3 in Service Quotas";
    assert!(said.out.contains(wish), "{}", said.out);
    let document = place.run("preflight --output json").json();
    assert_eq!(document["failed"], 1, "{document:#}");
}

#[test]
fn what_waits_for_a_person_is_no_interruption() {
    let place = Place::new();
    place.ok("init --profile poc-2k --domain git.nowhere.test --region eu-west-1");
    let said = place.run("install --yes");
    assert_eq!(said.code, 4, "{}\n{}", said.out, said.err);
    assert!(said.err.contains("CNAME"), "{}", said.err);
}

#[test]
fn a_second_run_is_refused_and_a_dead_one_recognised() {
    let place = Place::new().at_speed(1);
    let mut first = place.start("install --profile poc-2k --domain gitlab.example.com --yes");
    let _voice = listen(&mut first, "made ");
    let second = place.run("install --yes");
    assert_eq!(second.code, 7, "{}", second.text());
    for part in ["gantry install", "tester", &first.id().to_string(), "since"] {
        assert!(
            second.err.contains(part),
            "{part} is missing in {}",
            second.err
        );
    }
    signal(&first, Signal::KILL);
    first.wait().unwrap();

    let place = place.at_speed(100_000);
    let third = place.ok("install --yes");
    assert!(
        third.err.contains("ended without saying goodbye"),
        "{}",
        third.err
    );
    assert!(place.ok("plan").out.starts_with("No changes"));
}

#[test]
fn ctrl_c_winds_down_and_the_next_run_completes() {
    let place = Place::new().at_speed(1);
    let mut child = place.start("install --profile poc-2k --domain gitlab.example.com --yes");
    let voice = listen(&mut child, "made ");
    signal(&child, Signal::INT);
    let rest: Vec<String> = voice.lines().map_while(Result::ok).collect();
    assert_eq!(child.wait().unwrap().code(), Some(6), "{rest:#?}");
    assert!(
        rest.iter().any(|l| l.contains("nothing new is started")),
        "{rest:#?}"
    );
    assert!(
        rest.iter()
            .any(|l| l.contains("run `gantry install --sandbox` again")),
        "{rest:#?}"
    );

    let place = place.at_speed(100_000);
    let again = place.ok("install --yes");
    assert!(
        again.err.contains("Continuing after the interrupted run"),
        "{}",
        again.err
    );
    assert!(place.ok("plan").out.starts_with("No changes"));
}

#[test]
fn a_saved_plan_is_carried_out_or_refused() {
    let place = Place::new();
    place.ok("init --profile poc-2k --domain gitlab.example.com");
    assert_eq!(place.run("plan --save plan.json").code, 3);
    place.ok("install --plan plan.json");
    let stale = place.run("install --plan plan.json");
    assert_eq!(stale.code, 2, "{}", stale.text());
    assert!(stale.err.contains("the world moved"), "{}", stale.err);

    let file = place.file("gantry.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{text}\n[tags]\nteam = \"blue\"\n")).unwrap();
    assert_eq!(place.run("plan --save plan.json").code, 3);
    std::fs::write(&file, text).unwrap();
    let moved = place.run("install --plan plan.json");
    assert_eq!(moved.code, 2);
    assert!(moved.err.contains("wants something else"), "{}", moved.err);
}

#[test]
fn a_lost_state_directory_comes_back() {
    let place = Place::new();
    place.poc();
    std::fs::remove_dir_all(place.file(".gantry/sandbox/gitlab-example")).unwrap();
    place.ok("state rebuild");
    let plan = place.run("plan");
    assert_eq!(plan.code, 0, "{}", plan.text());
}

#[test]
fn no_secret_is_written_or_said() {
    let place = Place::new();
    let mut said = vec![place.poc()];
    said.push(place.ok("status --all"));
    said.push(place.ok("status --output json"));
    said.push(place.ok("plan --output json"));
    said.push(place.ok("state show --output json"));
    said.push(place.ok("runs show last --output json"));
    let secrets = secrets(&world(&place));
    assert!(
        secrets.len() >= 4,
        "there are secrets to look for: {}",
        secrets.len()
    );
    for Said { out, err, .. } in &said {
        for secret in &secrets {
            assert!(
                !out.contains(secret) && !err.contains(secret),
                "a secret was said"
            );
        }
    }
    let mut files = 0;
    for path in walk(place.path()) {
        if path.ends_with("world/world.json") {
            continue;
        }
        files += 1;
        let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
        for secret in &secrets {
            assert!(!text.contains(secret), "a secret is in {}", path.display());
        }
    }
    assert!(files >= 3, "journal, run and site file were searched");
    // Neither where anybody with an EC2 reader's rights could see it: user data, tags, templates, parameters.
    let world = world(&place);
    for (table, rows) in world
        .tables
        .iter()
        .filter(|(t, _)| !t.ends_with("secretsmanager/secret"))
    {
        for (id, row) in rows {
            let shown = format!("{}{:?}", row.shown(), row.tags);
            for secret in &secrets {
                assert!(!shown.contains(secret), "a secret is in {table} {id}");
            }
        }
    }
}

/// The values of all secrets of a world.
fn secrets(world: &World) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (_, rows) in world
        .tables
        .iter()
        .filter(|(t, _)| t.ends_with("secretsmanager/secret"))
    {
        for row in rows.values() {
            found.extend(
                row.v
                    .get("_value")
                    .and_then(Value::as_str)
                    .filter(|v| v.len() >= 8)
                    .map(ToOwned::to_owned),
            );
        }
    }
    found
}

fn walk(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(walk(&path));
        } else {
            files.push(path);
        }
    }
    files
}

#[test]
fn drift_is_shown_field_by_field_and_put_right() {
    let place = Place::new();
    place.poc();
    let path = place.file(".gantry/sandbox/world/world.json");
    let mut saved: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let databases = saved["world"]["tables"]["eu-west-1/rds/db_instance"]
        .as_object_mut()
        .unwrap();
    for row in databases.values_mut() {
        row["v"]["DeletionProtection"] = Value::from(false);
    }
    std::fs::write(&path, saved.to_string()).unwrap();
    let plan = place.run("plan");
    assert_eq!(plan.code, 3, "{}", plan.text());
    assert!(
        plan.out.contains("rds/db_instance:main") && plan.out.contains("protection"),
        "{}",
        plan.out
    );
    place.ok("install --yes");
    assert_eq!(place.run("plan").code, 0);
}
