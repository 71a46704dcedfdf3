//! What `gantry policy` prints.

use std::collections::BTreeSet;

use gantry::kinds::registry;
use gantry::ops::drill::site_of;
use gantry::policy::{MOST_CHARACTERS, Task, actions, drill_policy, operator_policy};
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
    operator_policy(&Task::ALL, registry::all(), [], &site())["documents"]
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
    let wanted: BTreeSet<String> = actions(&Task::ALL, registry::all())
        .into_iter()
        .map(str::to_owned)
        .collect();
    assert_eq!(allowed, wanted);
    assert!(allowed.iter().all(|action| !action.contains('*')));
}

/// Every call in the source names its action, `.read("ec2:DescribeVpcs", …)`: whatever is called must be allowed.
#[test]
fn whatever_the_source_calls_is_allowed() {
    let allowed = actions(&Task::ALL, registry::all());
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
                && !action.starts_with("iam:Simulate")
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
        serde_json::to_string_pretty(&operator_policy(&Task::ALL, registry::all(), [], &site()))
            .unwrap();
    insta::assert_snapshot!(text);
}

/// The actions that are allowed for one task.
fn allowed_for(task: Task, site: &Site) -> BTreeSet<String> {
    operator_policy(&[task], registry::all(), [], site)["documents"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|d| d["document"]["Statement"].as_array().unwrap().clone())
        .flat_map(|s| words(&s["Action"]))
        .collect()
}

#[test]
fn each_task_asks_for_its_own_rights() {
    let site = site();
    let install = allowed_for(Task::Install, &site);
    let backup = allowed_for(Task::Backup, &site);
    let restore = allowed_for(Task::Restore, &site);
    for action in ["rds:CopyDBSnapshot", "ec2:CreateSnapshots", "sns:Publish"] {
        assert!(
            backup.contains(action) && !install.contains(action),
            "{action}"
        );
    }
    for action in ["rds:DeleteDBSnapshot", "ec2:DeleteSnapshot"] {
        assert!(
            backup.contains(action) && !restore.contains(action),
            "{action}"
        );
    }
    let from_snapshot = "rds:RestoreDBInstanceFromDBSnapshot";
    assert!(restore.contains(from_snapshot) && !backup.contains(from_snapshot));
    for task in [Task::Reconfigure, Task::Backup, Task::Restore] {
        let wide = allowed_for(task, &site);
        assert!(
            !wide.contains("ec2:RunInstances") && !wide.contains("iam:CreateRole"),
            "{task:?}"
        );
        assert!(wide.contains("sts:GetCallerIdentity"), "{task:?}");
    }
}

/// The values of a condition of the statement that has this action.
fn conditions(site: &Site, action: &str, operator: &str, key: &str) -> Vec<String> {
    let policy = operator_policy(&[Task::Install], registry::all(), [], site);
    let documents = policy["documents"].as_array().unwrap();
    let statement = documents
        .iter()
        .flat_map(|d| d["document"]["Statement"].as_array().unwrap())
        .find(|s| words(&s["Action"]).contains(&action.to_owned()))
        .unwrap();
    words(&statement["Condition"][operator][key])
}

#[test]
fn a_role_is_handed_to_aws_backup_only_where_there_is_a_vault() {
    let mut site = site();
    let to = |site: &Site| {
        [
            conditions(site, "iam:PassRole", "StringEquals", "iam:PassedToService"),
            conditions(
                site,
                "iam:CreateServiceLinkedRole",
                "StringEquals",
                "iam:AWSServiceName",
            ),
        ]
    };
    let backup = "backup.amazonaws.com".to_owned();
    assert!(to(&site).iter().all(|services| !services.contains(&backup)));
    site.backup.vault = Some(vault());
    assert!(to(&site).iter().all(|services| services.contains(&backup)));
}

#[test]
fn a_site_without_a_vault_asks_for_no_rights_in_aws_backup() {
    let mut site = site();
    let asked = |site: &Site| {
        let kinds = gantry::session::surveyed(site);
        let policy = operator_policy(&[Task::Install], [], kinds, site).to_string();
        policy.contains("\"backup:")
    };
    assert!(!asked(&site));
    site.backup.vault = Some(vault());
    assert!(asked(&site));
}

fn vault() -> gantry::site::Vault {
    let arn = "arn:aws:backup:eu-west-1:210987654321:backup-vault:acme";
    serde_json::from_value(serde_json::json!({ "arn": arn })).unwrap()
}

#[test]
fn copies_are_the_only_thing_done_in_another_region() {
    let mut site = site();
    site.backup.copy_to_region = Some("eu-central-1".parse().unwrap());
    let policy = operator_policy(&Task::ALL, registry::all(), [], &site);
    let mut there = BTreeSet::new();
    for document in policy["documents"].as_array().unwrap() {
        for statement in document["document"]["Statement"].as_array().unwrap() {
            if statement["Condition"].to_string().contains("eu-central-1") {
                there.extend(words(&statement["Action"]));
            }
        }
    }
    assert!(there.contains("rds:CopyDBSnapshot") && there.contains("ec2:CopySnapshot"));
    let of_copies = ["Snapshot", "Tags", "TagResource", "kms:", "tag:"];
    for action in &there {
        assert!(
            of_copies.iter().any(|word| action.contains(word)),
            "{action}"
        );
        assert!(
            !action.contains("Delete") || action.contains("Snapshot"),
            "{action}"
        );
    }
}

/// All of the drill's site, reading and marking of the site itself, and a denial of everything else there.
#[test]
fn who_runs_drills_may_do_nothing_to_the_site_itself() {
    let (site, drill) = (site(), site_of(&site(), None).unwrap());
    let policy = drill_policy(registry::all(), registry::all(), &site, &drill);
    let documents = policy["documents"].as_array().unwrap();
    let mut names = BTreeSet::new();
    let mut statements = Vec::new();
    for document in documents {
        assert!(names.insert(document["name"].as_str().unwrap().to_owned()));
        let length = document["document"].to_string().len();
        assert!(
            length <= MOST_CHARACTERS,
            "{} has {length}",
            document["name"]
        );
        let all = document["document"]["Statement"].as_array().unwrap();
        statements.extend(all.iter().cloned());
    }
    assert!(
        names.contains("gantry-acme-drill-operator-1") && names.contains("gantry-acme-drilled-1")
    );
    let denied: Vec<_> = statements
        .iter()
        .filter(|s| s["Effect"] == "Deny")
        .collect();
    let [never] = denied[..] else {
        panic!("{denied:?}");
    };
    assert_eq!(
        never["Condition"],
        serde_json::json!({"StringEquals": {"aws:ResourceTag/gantry:site": "acme"}})
    );
    let spared = words(&never["NotAction"]);
    for mutating in ["Delete", "Terminate", "Modify", "Put", "Update", "Create"] {
        let harmless = ["kms:CreateGrant", "cloudwatch:PutMetricData"];
        let found: Vec<_> = spared
            .iter()
            .filter(|a| a.contains(mutating) && !harmless.contains(&a.as_str()))
            .collect();
        assert!(found.is_empty(), "{found:?}");
    }
    // S3 is spared there because it is kept apart by names: nothing is deleted in the buckets of the site itself.
    for statement in statements.iter().filter(|s| s["Effect"] == "Allow") {
        let deletes = words(&statement["Action"])
            .iter()
            .any(|a| a.starts_with("s3:") && (a.contains("Delete") || a.contains("Policy")));
        let on = words(&statement["Resource"]);
        if deletes {
            assert!(
                on.iter().all(|on| on.contains(":::gantry-acme-drill-")),
                "{on:?}"
            );
        }
    }
}
