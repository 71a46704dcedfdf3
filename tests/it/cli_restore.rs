//! The real binary restores a recovery point in the sandbox.

use crate::support::Place;

/// Slow enough that the parts of a point are of one day, fast enough that nobody waits.
const SPEED: u32 = 2_000;

fn installed(profile: &str) -> (Place, String) {
    let place = Place::new().at_speed(SPEED);
    place.ok(&format!(
        "install --profile {profile} --domain gitlab.example.com --yes"
    ));
    let taken = place.ok("backup create --output json").json();
    assert_eq!(taken["whole"], true, "{taken:#}");
    let point = taken["point"].as_str().unwrap().to_owned();
    (place, point)
}

#[test]
fn a_point_is_shown_and_restored_and_the_name_is_asked_for() {
    let (place, point) = installed("poc-2k");
    let name = {
        let text = std::fs::read_to_string(place.file("gantry.toml")).unwrap();
        let document: toml_edit::DocumentMut = text.parse().unwrap();
        document["site"]["name"].as_str().unwrap().to_owned()
    };

    let dry = place
        .ok(&format!("restore {point} --dry-run --output json"))
        .json();
    assert_eq!(dry["onto"], "same");
    let parts = dry["plan"].as_array().unwrap();
    assert!(parts.iter().any(|part| part["part"] == "database"));

    let said = place.run(&format!("restore {point} --yes"));
    assert_eq!(said.code, 2, "{}\n{}", said.out, said.err);
    assert!(said.err.contains("--site"), "{}", said.err);
    let said = place.run(&format!("restore {point} --yes --site other"));
    assert_eq!(said.code, 2, "{}\n{}", said.out, said.err);

    let done = place
        .ok(&format!(
            "restore {point} --yes --site {name} --silent --output json"
        ))
        .json();
    assert_eq!(done["complete"], true, "{done:#}");
    let report = &done["report"];
    assert_eq!(report["sound"], true, "{report:#}");
    assert_eq!(report["compared"]["repositories"], 3);
    assert!(report["rto_seconds"].as_u64().unwrap() > 60);
    let aside = report["set_aside"]["the database"].as_str().unwrap();
    assert!(aside.contains("before"), "{aside}");

    // The world is the one that the site file describes.
    place.ok("plan");

    let said = place.run("restore 20200101T000000Z-000000 --yes --site x");
    assert_eq!(said.code, 2, "{}\n{}", said.out, said.err);
}

#[test]
fn another_version_is_refused_with_the_install_that_matches() {
    let (place, point) = installed("poc-2k");
    let path = place.file("gantry.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut document: toml_edit::DocumentMut = text.parse().unwrap();
    document["gitlab"]["version"] = toml_edit::value("18.11.1");
    std::fs::write(&path, document.to_string()).unwrap();
    let said = place.run(&format!("restore {point} --dry-run"));
    assert_eq!(said.code, 2, "{}\n{}", said.out, said.err);
    assert!(said.err.contains("version = "), "{}", said.err);
    assert!(said.err.contains("nothing was changed"), "{}", said.err);
}
