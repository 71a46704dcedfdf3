//! What moto lacks is known, closed where gantry depends on it, and no more than that.

use serde_json::Value;

use crate::moto::{Gaps, Handled, Moto, support};

/// The checks that do not come out as `gaps.toml` says.
fn surprises(found: &Value, is_gap: impl Fn(&str) -> bool) -> Vec<String> {
    found
        .as_object()
        .unwrap()
        .iter()
        .filter_map(|(id, said)| {
            let said = said.as_str().unwrap();
            match (is_gap(id), said == "as-aws") {
                (true, true) => Some(format!("{id}: listed as a gap, and there is none")),
                (false, false) => Some(format!("{id}: not listed as a gap: {said}")),
                _ => None,
            }
        })
        .collect()
}

#[test]
fn every_gap_has_a_check() {
    let names = std::fs::read_to_string(support("gaps.py")).unwrap();
    for id in Gaps::read().0.keys() {
        let function = format!("def {}(c):", id.replace('-', "_"));
        assert!(names.contains(&function), "gaps.py has no check for {id}");
    }
}

#[test]
fn moto_as_installed_has_the_listed_gaps_and_no_other() {
    let listed = Gaps::read().0;
    let found = Moto::bare().gaps();
    let surprises = surprises(&found, |id| listed.contains_key(id));
    assert!(surprises.is_empty(), "{surprises:#?}");
}

#[test]
fn the_test_server_has_closed_what_is_patched() {
    let listed = Gaps::read().0;
    let found = Moto::fresh().gaps();
    let surprises = surprises(&found, |id| {
        listed
            .get(id)
            .is_some_and(|g| g.handled != Handled::Patched)
    });
    assert!(surprises.is_empty(), "{surprises:#?}");
}
