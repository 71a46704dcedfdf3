//! The deploy node prepares what GitLab expects of PostgreSQL, before its first migration.

use std::os::unix::fs::symlink;

use gantry::blueprint::Role;
use gantry::boot::{DatabaseEntry, Outcome, OwnedDatabase, SecretEntry};

use super::node::{CANARY, FILES, Node};
use crate::support::cloud::script;

/// A deploy node whose package has brought psql.
fn deploy_node() -> Node {
    let node = Node::new(Role::Sidekiq, "sidekiq-1");
    let mut manifest = node.manifest();
    manifest.deploy = true;
    manifest.secrets.push(SecretEntry {
        name: "registry-database-password".into(),
        entry: "gantry/acme/registry-database-password".into(),
        required: true,
    });
    manifest.database = Some(DatabaseEntry {
        host: "main.example.com".into(),
        port: 5432,
        name: "gitlabhq_production".into(),
        user: "gitlab".into(),
        secret: "database-password".into(),
        extensions: vec!["pg_trgm".into(), "amcheck".into()],
        beside: vec![OwnedDatabase {
            name: "registry".into(),
            user: "registry".into(),
            secret: "registry-database-password".into(),
        }],
    });
    node.publish(manifest, &FILES);
    for name in ["database-password", "registry-database-password"] {
        node.cloud.keep(
            &format!("gantry/acme/{name}"),
            Some(&format!("{CANARY}{name}")),
        );
    }
    let psql = node.path("opt/gitlab/embedded/bin/psql");
    std::fs::create_dir_all(psql.parent().unwrap()).unwrap();
    symlink(script("boot/fake"), psql).unwrap();
    node
}

#[test]
fn extensions_and_databases_are_there_before_the_first_migration() {
    let node = deploy_node();
    node.boots();
    let effects = node.effects();
    let at = |word: &str| effects.iter().position(|effect| effect.starts_with(word));
    assert!(at("psql made registry") < at("gitlab-ctl"), "{effects:?}");
    assert!(at("psql made registry").is_some(), "{effects:?}");
    let sql = node.noted("sql");
    assert!(
        sql.starts_with(
            "CREATE EXTENSION IF NOT EXISTS pg_trgm;\nCREATE EXTENSION IF NOT EXISTS amcheck;\n"
        ),
        "{sql}"
    );
    assert!(
        sql.contains("ALTER ROLE registry LOGIN PASSWORD $$SCRAM-SHA-256$4096:"),
        "{sql}"
    );
    assert!(!sql.contains(CANARY), "{sql}");

    node.reboot();
    node.boots();
    assert_eq!(node.effects(), [""; 0], "what is there is left alone");
}

#[test]
fn a_database_that_refuses_is_said() {
    let node = deploy_node();
    node.break_it("psql", "permission denied to create extension");
    assert_eq!(node.boot().code, Some(1));
    let report = node.report();
    assert_eq!(
        (report.outcome, report.stage.as_str()),
        (Outcome::Failed, "databases")
    );
    assert!(
        report
            .detail
            .contains("permission denied to create extension"),
        "{}",
        report.detail
    );
    assert_eq!(node.reconfigured(), [""; 0]);
    node.mend("psql");
    node.boots();
}
