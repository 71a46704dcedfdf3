//! The real binary drills a recovery point in the sandbox.

use crate::support::Place;

/// Slow enough that the parts of a point are of one day, fast enough that nobody waits.
const SPEED: u32 = 2_000;

#[test]
fn a_point_is_drilled_and_its_proof_is_shown() {
    let place = Place::new().at_speed(SPEED);
    place.ok("install --profile poc-2k --domain gitlab.example.com --yes");
    let nothing = place.run("drill --yes");
    assert_eq!(nothing.code, 8, "{}\n{}", nothing.out, nothing.err);
    let taken = place.ok("backup create --output json").json();
    let point = taken["point"].as_str().unwrap();

    let dry = place.ok("drill --dry-run --output json").json();
    assert_eq!(dry["point"], point);
    assert_eq!(dry["site"]["name"], "gitlab-example-drill");
    assert!(dry["plan"].as_array().unwrap().len() > 5, "{dry:#}");
    let asked = place.run("drill");
    assert_eq!(asked.code, 2, "{}\n{}", asked.out, asked.err);
    assert!(asked.err.contains("--yes"), "{}", asked.err);

    let drilled = place.ok("drill --yes --output json").json();
    assert_eq!(drilled["complete"], true, "{drilled:#}");
    let proof = &drilled["proof"];
    assert_eq!(proof["sound"], true, "{proof:#}");
    assert!(proof["rto_seconds"].as_u64().unwrap() > 600, "{proof:#}");
    let shown = place.ok(&format!("backup show {point} --output json"));
    assert_eq!(shown.json()["marks"]["drilled"]["proof"], *proof);
    let shown = place.ok(&format!("backup show {point}")).out;
    assert!(shown.contains("it restores, from nothing in"), "{shown}");
    // Both are gone: the site, and what was known of its machines. The site itself is as its file says.
    assert_eq!(left(&place), Vec::<String>::new());
    let state = place.file(".gantry/sandbox/gitlab-example-drill");
    assert!(!state.join("machines.json").exists());
    place.ok("plan");

    // A timer starts the same; its record is one of the schedules'.
    place.ok("schedule run drill --metrics metrics.prom");
    let metrics = std::fs::read_to_string(place.file("metrics.prom")).unwrap();
    for line in [
        "gantry_last_good_drill_timestamp_seconds{site=\"gitlab-example\"}",
        "gantry_schedule_last_run_success{site=\"gitlab-example\",schedule=\"drill\"} 1",
    ] {
        assert!(metrics.contains(line), "{metrics}");
    }
}

#[test]
fn a_kept_site_stands_in_the_way_until_it_is_cleaned() {
    let place = Place::new().at_speed(SPEED);
    place.ok("install --profile single-box --domain gitlab.example.com --yes");
    place.ok("backup create");
    let kept = place.ok("drill --keep --yes");
    assert!(kept.err.contains("STILL STANDS"), "{}", kept.err);
    assert!(left(&place).len() > 5);
    let again = place.run("drill --yes");
    assert_eq!(again.code, 2, "{}\n{}", again.out, again.err);
    assert!(again.err.contains("gantry drill --clean"), "{}", again.err);
    let cleaned = place.ok("drill --clean --output json").json();
    assert_eq!(cleaned["complete"], true);
    assert_eq!(left(&place), Vec::<String>::new());
}

/// What stands in the sandbox with the tag of a drill.
fn left(place: &Place) -> Vec<String> {
    let text = std::fs::read_to_string(place.file(".gantry/sandbox/world/world.json")).unwrap();
    let mut saved: serde_json::Value = serde_json::from_str(&text).unwrap();
    let world: gantry::sandbox::world::World =
        serde_json::from_value(saved["world"].take()).unwrap();
    let tables = world.tables.iter();
    let tagged = tables.flat_map(|(table, rows)| {
        let drills = rows.iter().filter(|(_, row)| {
            let of_drill = row.tags.contains_key("gantry:drill");
            // A key that waits for its deletion costs nothing and does nothing.
            of_drill && row.text("KeyState") != "PendingDeletion" && row.due.is_empty()
        });
        drills.map(move |(id, _)| format!("{table} {id}"))
    });
    tagged.collect()
}
