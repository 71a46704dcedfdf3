//! A real PostgreSQL: prepared, dumped, restored and looked at by the command lines that nodes get.

use std::collections::BTreeSet;
use std::process::Command;

use gantry::boot::{DatabaseEntry, OwnedDatabase, boot_program};
use gantry::node::{Endpoint, Place, RDS_BUNDLE_PATH, SECRETS_PATH};
use gantry::ops::backup::everything;
use gantry::ops::gitlab::{
    self, Check, Migration, Progress, archive_path, archived, backup_id, check, restored,
    running_backup,
};
use gantry::ops::order::missing_extensions;
use gantry::ops::point::{PartName, Way};
use gantry::ops::restore;
use gantry::session::EXTENSIONS;
use gantry::shell::Shell as _;
use serde_json::json;

use crate::support::package::{Cluster, DATABASE, Package, USER, must};

/// Tables as GitLab has them: each kind of thing that a dump must not lose.
const TABLES: &str = r"
CREATE TABLE schema_migrations (version text PRIMARY KEY);
INSERT INTO schema_migrations VALUES ('20260901000000'), ('20260901000001');
CREATE TABLE users (id bigserial PRIMARY KEY, name text NOT NULL, key bytea, preferences jsonb, seen timestamptz);
INSERT INTO users (name, key, preferences, seen)
SELECT 'Zoë ' || n, decode(md5(n::text), 'hex'), CASE WHEN n % 3 > 0 THEN jsonb_build_object('n', n, 'ß', ARRAY[1, n]) END,
    timestamptz '2026-09-01 00:00:00+00' + n * interval '1 hour'
FROM generate_series(1, 500) AS n;
CREATE TABLE projects (id bigserial PRIMARY KEY, creator bigint REFERENCES users, name text NOT NULL, path text UNIQUE);
INSERT INTO projects (creator, name, path) SELECT n, 'Projekt Größe ' || n, E'a\tb\\n' || n FROM generate_series(1, 200) AS n;
CREATE INDEX index_projects_on_name_trigram ON projects USING gin (name gin_trgm_ops);
CREATE TABLE shifts (schedule int NOT NULL, during tstzrange NOT NULL,
    CONSTRAINT one_at_a_time EXCLUDE USING gist (schedule WITH =, during WITH &&));
INSERT INTO shifts SELECT n, tstzrange('2026-09-01', '2026-09-02') FROM generate_series(1, 20) AS n;
CREATE SCHEMA gitlab_partitions_dynamic;
CREATE TABLE events (id bigint NOT NULL, made date NOT NULL, PRIMARY KEY (id, made)) PARTITION BY RANGE (made);
CREATE TABLE gitlab_partitions_dynamic.events_202609 PARTITION OF events FOR VALUES FROM ('2026-09-01') TO ('2026-10-01');
INSERT INTO events SELECT n, '2026-09-15' FROM generate_series(1, 100) AS n;
CREATE VIEW named AS SELECT id, name FROM users WHERE name LIKE 'Zoë%';
CREATE FUNCTION touched() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.seen = '2026-09-01'; RETURN NEW; END $$;
CREATE TRIGGER touch BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION touched();
CREATE SEQUENCE numbers START 7 INCREMENT 3;
SELECT nextval('numbers'), nextval('numbers');
CREATE TABLE batched_background_migrations
    (id bigserial PRIMARY KEY, job_class_name text, table_name text, status smallint NOT NULL);
INSERT INTO batched_background_migrations (job_class_name, table_name, status)
VALUES ('BackfillDone', 'users', 3), ('BackfillOld', 'users', 6), ('BackfillBroken', 'projects', 4);
";

/// What happens to a database between the moment it is saved and the moment somebody is sorry.
const HARM: &str = r"
DELETE FROM projects WHERE id % 7 = 0;
UPDATE users SET name = 'nobody' WHERE id > 400;
DROP INDEX index_projects_on_name_trigram;
CREATE TABLE newer AS SELECT * FROM users;
CREATE VIEW above AS SELECT count(*) FROM newer;
TRUNCATE events;
CREATE TABLE gitlab_partitions_dynamic.events_202610 PARTITION OF events FOR VALUES FROM ('2026-10-01') TO ('2026-11-01');
INSERT INTO schema_migrations VALUES ('20261001000000');
SELECT setval('numbers', 1000);
ALTER TABLE users DROP COLUMN preferences;
DROP TRIGGER touch ON users;
";

/// A box: its database belongs to GitLab's user, its extensions to the first user of the server.
pub fn a_box() -> Package {
    let package = Package::new();
    let cluster = &package.cluster;
    cluster.sql("postgres", &format!("CREATE ROLE {USER} LOGIN"));
    cluster.sql(
        "postgres",
        &format!("CREATE DATABASE {DATABASE} OWNER {USER}"),
    );
    for extension in EXTENSIONS {
        cluster.sql(DATABASE, &format!("CREATE EXTENSION {extension}"));
    }
    package
}

pub fn as_gitlab(cluster: &Cluster, sql: &str) {
    cluster.sql(DATABASE, &format!("SET ROLE {USER}; {sql}"));
}

/// What there is in a database, a line each, so that a difference has a name.
fn picture(cluster: &Cluster) -> BTreeSet<String> {
    const QUESTIONS: [&str; 9] = [
        "SELECT 'extension', extname, extversion, extnamespace::regnamespace FROM pg_extension",
        "SELECT 'database', datname, datdba::regrole, encoding, datcollate FROM pg_database WHERE datname = current_database()",
        "SELECT 'relation', oid::regclass, relkind, relowner::regrole FROM pg_class WHERE relnamespace::regnamespace::text \
         IN ('public', 'gitlab_partitions_dynamic')",
        "SELECT 'column', table_schema, table_name, column_name, data_type, is_nullable, column_default \
         FROM information_schema.columns WHERE table_schema IN ('public', 'gitlab_partitions_dynamic')",
        "SELECT 'index', schemaname, indexdef FROM pg_indexes WHERE schemaname IN ('public', 'gitlab_partitions_dynamic')",
        "SELECT 'constraint', conrelid::regclass, conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid > 0",
        "SELECT 'sequence', schemaname, sequencename, last_value, increment_by FROM pg_sequences",
        "SELECT 'trigger', tgrelid::regclass, tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal",
        "SELECT 'view', viewname, definition FROM pg_views WHERE schemaname = 'public'",
    ];
    let mut seen = BTreeSet::new();
    for question in QUESTIONS {
        let answer = cluster.sql(DATABASE, question);
        seen.extend(answer.lines().map(str::to_owned));
    }
    let tables = cluster.sql(
        DATABASE,
        "SELECT oid::regclass FROM pg_class WHERE relkind IN ('r', 'p') \
         AND relnamespace::regnamespace::text IN ('public', 'gitlab_partitions_dynamic')",
    );
    for table in tables.lines() {
        let rows = format!(
            "SELECT 'rows', '{table}', count(*), md5(string_agg(t::text, E'\\n' ORDER BY t::text)) FROM {table} AS t"
        );
        seen.insert(cluster.sql(DATABASE, &rows).trim().to_owned());
    }
    seen
}

/// The part of a point that holds a box's database.
fn way(backup: &str) -> Way {
    Way::Archive {
        bucket: "backups".into(),
        key: format!("archives/{backup}_gitlab_backup.tar"),
        backup: backup.to_owned(),
        sha256: "0".repeat(64),
        holds: vec![PartName::Database, PartName::Repositories],
    }
}

async fn save(package: &Package) -> String {
    let output = package.done("backup-1", &everything().job()).await;
    assert_eq!(running_backup(package).await.unwrap(), None);
    backup_id(&output).unwrap()
}

async fn bring_back(package: &Package, backup: &str) {
    let job = restore::job(&way(backup)).unwrap();
    let output = package.done("restore-1", &job).await;
    assert!(restored(&output), "{output}");
    let output = package.done("analyze-1", &gitlab::analyze()).await;
    assert_eq!(output, "main analyzed\n");
}

#[tokio::test]
async fn a_changed_database_comes_back_as_it_was_dumped() {
    let package = a_box();
    let cluster = &package.cluster;
    as_gitlab(cluster, TABLES);
    let (before, dump) = (picture(cluster), cluster.dump(DATABASE));
    assert!(before.len() > 60, "{before:#?}");
    for part in [
        "gin_trgm_ops",
        "gist",
        "extension|amcheck",
        "sequence|public|numbers|10|3",
        "rows|users|500",
    ] {
        assert!(
            before.iter().any(|line| line.contains(part)),
            "{part}: {before:#?}"
        );
    }

    let backup = save(&package).await;
    let archive = gitlab::archive(&package, &backup).await.unwrap();
    let file = std::fs::read(package.path(&archive_path(&backup))).unwrap();
    assert_eq!(archive.bytes, file.len() as u64);
    assert_eq!(archive.sha256, gantry::boot::sha256(&file));
    assert_eq!(picture(cluster), before, "a dump changes nothing");

    as_gitlab(cluster, HARM);
    let harmed = picture(cluster);
    assert!(before.difference(&harmed).count() >= 8, "{harmed:#?}");
    assert!(harmed.difference(&before).count() >= 8, "{harmed:#?}");

    bring_back(&package, &backup).await;
    let after = picture(cluster);
    assert_eq!(
        after.symmetric_difference(&before).collect::<Vec<_>>(),
        [""; 0],
        "the database is not what it was"
    );
    assert_eq!(cluster.dump(DATABASE), dump, "to the letter");
    let known = cluster.sql(
        DATABASE,
        "SELECT reltuples FROM pg_class WHERE relname = 'users'",
    );
    assert_eq!(known.trim(), "500", "the planner knows what is there");
    // What the indexes are for works on what came back.
    let plan = cluster.sql(
        DATABASE,
        "SET enable_seqscan = off; EXPLAIN SELECT id FROM projects WHERE name LIKE '%Größe 17%'",
    );
    assert!(plan.contains("index_projects_on_name_trigram"), "{plan}");
    let checked = cluster.sql(
        DATABASE,
        "SELECT bt_index_check(indexrelid, true) FROM pg_index JOIN pg_class ON oid = indexrelid \
         WHERE indrelid IN ('users'::regclass, 'projects'::regclass) AND relam = (SELECT oid FROM pg_am WHERE amname = 'btree')",
    );
    assert_eq!(checked.trim(), "");

    gitlab::remove_archive(&package, &backup).await.unwrap();
    assert!(!package.path(&archive_path(&backup)).exists());
}

#[tokio::test]
async fn a_dump_comes_back_in_another_server_that_has_its_extensions() {
    let from = a_box();
    as_gitlab(&from.cluster, TABLES);
    let backup = save(&from).await;

    let to = a_box();
    as_gitlab(&to.cluster, "CREATE TABLE of_another_site (id int)");
    let path = archive_path(&backup);
    std::fs::copy(from.path(&path), to.path(&path)).unwrap();
    bring_back(&to, &backup).await;
    assert_eq!(picture(&to.cluster), picture(&from.cluster));
    assert_eq!(to.cluster.dump(DATABASE), from.cluster.dump(DATABASE));
}

#[tokio::test]
async fn the_checks_name_what_a_database_lacks() {
    let package = a_box();
    as_gitlab(&package.cluster, TABLES);
    let verdict = check(&package, Check::Extensions).await.unwrap();
    assert!(verdict.ok, "{verdict:?}");
    let broken = Migration {
        database: "main".into(),
        job: "BackfillBroken".into(),
        table: "projects".into(),
        status: "failed",
    };
    assert_eq!(
        gitlab::unfinished_migrations(&package).await.unwrap(),
        [broken]
    );

    let backup = save(&package).await;
    package.cluster.sql(DATABASE, "DROP EXTENSION amcheck");
    let verdict = check(&package, Check::Extensions).await.unwrap();
    assert_eq!(
        verdict.findings,
        ["the database main lacks the extension amcheck"]
    );
    // GitLab's own user may not make this one: a dump says that it is wanted, and cannot bring it along.
    let job = restore::job(&way(&backup)).unwrap();
    let progress = package.carry_out("restore-1", &job).await;
    let said = "permission denied to create extension \"amcheck\"";
    assert!(
        matches!(&progress, Progress::Failed { output, .. } if output.contains(said)),
        "{progress:?}"
    );
    assert!(!check(&package, Check::Extensions).await.unwrap().ok);
}

#[tokio::test]
async fn a_damaged_dump_is_not_restored_in_silence() {
    let package = a_box();
    as_gitlab(&package.cluster, TABLES);
    let backup = save(&package).await;
    let path = package.path(&archive_path(&backup));
    let whole = gitlab::archive(&package, &backup).await.unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let gzip = bytes.windows(3).position(|w| w == [0x1f, 0x8b, 8]).unwrap();
    bytes[gzip + 2000] ^= 0x10;
    std::fs::write(&path, bytes).unwrap();
    let damaged = gitlab::archive(&package, &backup).await.unwrap();
    assert_eq!(damaged.bytes, whole.bytes);
    assert_ne!(
        damaged.sha256, whole.sha256,
        "verify and restore compare it"
    );
    let job = restore::job(&way(&backup)).unwrap();
    let progress = package.carry_out("restore-1", &job).await;
    assert!(
        matches!(&progress, Progress::Failed { output, .. } if !restored(output)),
        "{progress:?}"
    );
    // The repositories have nothing to do with it.
    assert_eq!(
        archived(&package, &backup).await.unwrap(),
        Default::default()
    );
}

/// A node beside a server as RDS gives one: reached by name and TLS, with a first user who may make everything.
struct Beside {
    package: Package,
    entry: DatabaseEntry,
}

const PASSWORD: &str = "it's a \"pass\\word\" $1 größer";

impl Beside {
    fn new() -> Self {
        let package = Package::new();
        let cluster = &package.cluster;
        let quoted = PASSWORD.replace('\'', "''");
        cluster.sql(
            "postgres",
            &format!("CREATE ROLE {USER} SUPERUSER LOGIN PASSWORD '{quoted}'"),
        );
        cluster.sql(
            "postgres",
            &format!("CREATE DATABASE {DATABASE} OWNER {USER}"),
        );
        let secrets =
            json!({"database-password": PASSWORD, "registry-database-password": "registry's"});
        package.write(SECRETS_PATH, secrets.to_string());
        package.write(RDS_BUNDLE_PATH, cluster.certificate());
        let entry = DatabaseEntry {
            host: "localhost".into(),
            port: cluster.port(),
            name: DATABASE.into(),
            user: USER.into(),
            secret: "database-password".into(),
            extensions: EXTENSIONS.map(str::to_owned).to_vec(),
            beside: vec![OwnedDatabase {
                name: "registry".into(),
                user: "registry".into(),
                secret: "registry-database-password".into(),
            }],
        };
        Self { package, entry }
    }

    /// What the boot program does before the first migration; what it said.
    fn prepare(&self) -> Result<String, String> {
        let manifest = json!({"database": self.entry});
        self.package
            .write("/run/manifest.json", manifest.to_string());
        let (program, _) = boot_program();
        let from = program.find("prepare_databases() {").unwrap();
        let until = program[from..].find("\n}\n").unwrap() + from + 3;
        let script = format!("{}\nprepare_databases \"$@\"", &program[from..until]);
        let output = Command::new("bash")
            .args(["-c", &script, "bash"])
            .arg(self.package.path("/run/manifest.json"))
            .arg(self.package.path(SECRETS_PATH))
            .arg(self.package.path("/opt/gitlab/embedded/bin/psql"))
            .arg(self.package.path(RDS_BUNDLE_PATH))
            .output()
            .unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(!said.contains("pass\\word"), "{said}");
        if output.status.success() {
            Ok(said)
        } else {
            Err(said)
        }
    }

    /// The extensions that the deploy node says are missing.
    async fn missing(&self) -> Result<String, String> {
        let endpoint = Endpoint {
            host: Place::Known(self.entry.host.clone()),
            port: self.entry.port,
        };
        let exit = self
            .package
            .run(&missing_extensions(&endpoint))
            .await
            .unwrap();
        let text = exit.stdout.text();
        if exit.ok() {
            Ok(text)
        } else {
            Err(exit.stderr.text())
        }
    }

    /// A statement as somebody who has to say a password.
    fn login(&self, user: &str, password: &str, database: &str, sql: &str) -> String {
        must(
            Command::new(self.package.cluster.program("psql"))
                .args([
                    "--no-psqlrc",
                    "--quiet",
                    "--no-align",
                    "--tuples-only",
                    "--host=localhost",
                ])
                .arg(format!("--port={}", self.entry.port))
                .args(["--username", user, "--dbname", database, "--command", sql])
                .env("PGPASSWORD", password)
                .env("PGSSLMODE", "require"),
        )
    }
}

#[tokio::test]
async fn the_deploy_node_prepares_a_server_and_sees_what_it_lacks() {
    let node = Beside::new();
    let cluster = &node.package.cluster;
    assert_eq!(
        node.missing().await.unwrap(),
        "amcheck\nbtree_gist\npg_trgm\n"
    );
    assert_eq!(
        node.prepare().unwrap(),
        "making the database registry and its user registry\n"
    );
    assert_eq!(node.missing().await.unwrap(), "");
    // The server keeps a verifier that it was given, and the password fits it.
    let owned = "CREATE TABLE of_the_registry (id int); SELECT current_user, ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    assert_eq!(
        node.login("registry", "registry's", "registry", owned),
        "registry|t\n"
    );
    let owner = cluster.sql(
        "postgres",
        "SELECT datdba::regrole FROM pg_database WHERE datname = 'registry'",
    );
    assert_eq!(owner, "registry\n");

    assert_eq!(node.prepare().unwrap(), "", "what is there is left alone");
    cluster.sql(DATABASE, "DROP EXTENSION btree_gist");
    assert_eq!(node.missing().await.unwrap(), "btree_gist\n");
    node.prepare().unwrap();
    assert_eq!(node.missing().await.unwrap(), "");
    // A password that was changed in Secrets Manager reaches the server.
    node.package.write(
        SECRETS_PATH,
        json!({"database-password": PASSWORD, "registry-database-password": "another"}).to_string(),
    );
    node.prepare().unwrap();
    assert_eq!(
        node.login("registry", "another", "registry", "SELECT 1"),
        "1\n"
    );
}

#[tokio::test]
async fn a_server_that_is_not_the_one_is_not_talked_to() {
    let node = Beside::new();
    let other = Cluster::start();
    node.package.write(RDS_BUNDLE_PATH, other.certificate());
    let refused = node.missing().await.unwrap_err();
    assert!(refused.contains("certificate verify failed"), "{refused}");
    let refused = node.prepare().unwrap_err();
    assert!(refused.contains("certificate verify failed"), "{refused}");

    node.package
        .write(RDS_BUNDLE_PATH, node.package.cluster.certificate());
    node.package.write(
        SECRETS_PATH,
        json!({"database-password": "wrong"}).to_string(),
    );
    let refused = node.missing().await.unwrap_err();
    assert!(
        refused.contains("password authentication failed"),
        "{refused}"
    );
}
