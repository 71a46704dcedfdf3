//! What `gantry policy` prints.

use std::collections::BTreeSet;

use gantry::kinds::registry;
use gantry::policy::{MOST_CHARACTERS, actions, operator_policy};
use gantry::profile::ProfileName;
use gantry::site::Site;
use serde_json::Value;

fn site() -> Site {
    let mut site = Site::defaults_for(
        ProfileName::Ha3k,
        "acme".parse().unwrap(),
        "gitlab.acme.example".parse().unwrap(),
        "eu-west-1".parse().unwrap(),
    );
    site.site.account = Some("123456789012".parse().unwrap());
    site
}

fn documents() -> Vec<Value> {
    operator_policy(registry::all(), [], &site())["documents"]
        .as_array()
        .unwrap()
        .clone()
}

fn statements() -> Vec<Value> {
    documents()
        .iter()
        .flat_map(|d| d["document"]["Statement"].as_array().unwrap().clone())
        .collect()
}

fn words(value: &Value) -> Vec<String> {
    match value {
        Value::Array(all) => all.iter().map(|v| v.as_str().unwrap().to_owned()).collect(),
        one => vec![one.as_str().unwrap().to_owned()],
    }
}

#[test]
fn every_action_is_allowed_somewhere_and_nothing_else() {
    let allowed: BTreeSet<String> = statements()
        .iter()
        .flat_map(|s| words(&s["Action"]))
        .collect();
    let wanted: BTreeSet<String> = actions(registry::all())
        .into_iter()
        .map(str::to_owned)
        .collect();
    assert_eq!(allowed, wanted);
    assert!(allowed.iter().all(|action| !action.contains('*')));
}

/// Every call in the source names its action, `.read("ec2:DescribeVpcs", …)`: whatever is called must be allowed.
#[test]
fn whatever_the_source_calls_is_allowed() {
    let allowed = actions(registry::all());
    let mut missing = BTreeSet::new();
    let mut folders = vec![std::path::PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/src"
    ))];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                // The sandbox answers calls; it makes none.
                if path.file_name().unwrap() != "sandbox" {
                    folders.push(path);
                }
                continue;
            }
            let text: String = std::fs::read_to_string(&path)
                .unwrap()
                .split_whitespace()
                .collect();
            for call in [".read(\"", ".put(\"", ".write(\""] {
                for (at, _) in text.match_indices(call) {
                    let action = text[at + call.len()..].split('"').next().unwrap();
                    if action.contains(':') && !allowed.contains(action) {
                        missing.insert(format!("{action} in {}", path.display()));
                    }
                }
            }
        }
    }
    assert_eq!(missing, BTreeSet::new());
}

#[test]
fn each_document_fits_a_managed_policy() {
    for document in documents() {
        let length = document["document"].to_string().len();
        assert!(
            length <= MOST_CHARACTERS,
            "{} has {length}",
            document["name"]
        );
    }
}

#[test]
fn statement_names_are_unique_in_a_document() {
    for document in documents() {
        let sids: Vec<_> = document["document"]["Statement"]
            .as_array()
            .unwrap()
            .iter()
            .map(|s| s["Sid"].as_str().unwrap().to_owned())
            .collect();
        let unique: BTreeSet<_> = sids.iter().collect();
        assert_eq!(unique.len(), sids.len(), "{sids:?}");
    }
}

#[test]
fn roles_are_made_and_handed_on_within_the_site_only() {
    for statement in statements() {
        let iam_writes = words(&statement["Action"]).iter().any(|action| {
            action.starts_with("iam:")
                && !action.starts_with("iam:Get")
                && !action.starts_with("iam:List")
        });
        if iam_writes {
            let anywhere = words(&statement["Resource"]).contains(&"*".to_owned());
            assert!(
                !anywhere || statement["Condition"].is_object(),
                "{statement}"
            );
        }
        if words(&statement["Action"]).contains(&"iam:PassRole".to_owned()) {
            assert_eq!(
                statement["Resource"],
                "arn:aws:iam::123456789012:role/gantry/acme/*"
            );
        }
    }
}

#[test]
fn the_policy_as_it_is_printed() {
    let text =
        serde_json::to_string_pretty(&operator_policy(registry::all(), [], &site())).unwrap();
    insta::assert_snapshot!(text);
}
