use super::*;
use crate::shell::recorder::{Answer, Recorder};

async fn of(what: Check, answer: Answer) -> Verdict {
    let nodes = Recorder::new();
    nodes.on("node", "*").answer(answer);
    check(nodes.shell("node").as_ref(), what).await.unwrap()
}

async fn findings(what: Check, text: &str) -> Vec<String> {
    let verdict = of(what, Answer::out(text)).await;
    assert_eq!(verdict.ok, verdict.findings.is_empty());
    verdict.findings
}

#[tokio::test]
async fn the_instance_is_fine_only_when_it_was_looked_at_to_the_end() {
    let good = "Checking GitLab subtasks ...\n\nChecking Gitaly: ... Finished\n\
        Init script exists? ... skipped (omnibus-gitlab has no init script)\n\
        All projects are in hashed storage? ... yes\n\nChecking GitLab subtasks ... Finished\n";
    assert!(findings(Check::GitLab, good).await.is_empty());
    let bad = "Checking GitLab subtasks ...\n\
        Git user has default SSH configuration? ... \u{1b}[31mno\u{1b}[0m\n  Try fixing it:\n  mkdir ~/backup\n\
        Database is up to date? ... yes\n\nChecking GitLab subtasks ... Finished\n";
    assert_eq!(
        findings(Check::GitLab, bad).await,
        ["Git user has default SSH configuration? ... no (mkdir ~/backup)"]
    );
    assert_eq!(
        findings(Check::GitLab, "Checking GitLab subtasks ...\n").await,
        ["it did not come to its end"]
    );
}

#[tokio::test]
async fn failures_are_counted_and_named() {
    let secrets = |groups: u32| {
        format!(
            "I, [2026-06-11T17:17:54.951815 #2]  INFO -- : Checking encrypted values in the database\n\
             I, [2026-06-11T17:18:12.677708 #2]  INFO -- : - ApplicationSetting failures: 0\n\
             I, [2026-06-11T17:18:14.938335 #2]  INFO -- : - Group failures: {groups}\n\
             I, [2026-06-11T17:18:15.575711 #2]  INFO -- : Done!\n"
        )
    };
    assert!(findings(Check::Secrets, &secrets(0)).await.is_empty());
    assert_eq!(
        findings(Check::Secrets, &secrets(10)).await,
        ["Group failures: 10"]
    );
    let uploads = "Checking integrity of Uploads\n- 1..1350: Failures: 0\n- 1351..2743: Failures: 1\n\
        \x20 - Upload: 1573: No such file or directory\n- 2744..4000: Failures: 0\nDone!\n";
    assert_eq!(
        findings(Check::Uploads, uploads).await,
        [
            "1351..2743: Failures: 1",
            "Upload: 1573: No such file or directory"
        ]
    );
    assert_eq!(
        findings(
            Check::Lfs,
            "Checking integrity of LFS objects\n- 1..9: Failures: 0\n"
        )
        .await,
        ["it did not come to its end"]
    );
}

#[tokio::test]
async fn exit_codes_tell_of_gitaly_and_praefect() {
    for what in [Check::Gitaly, Check::Praefect, Check::PraefectNodes] {
        assert!(of(what, Answer::out("OK\n")).await.ok);
        let verdict = of(what, Answer::code(1, "dial: connection refused\n")).await;
        assert_eq!(
            verdict.findings,
            ["ended with exit code 1: dial: connection refused"]
        );
    }
}

#[tokio::test]
async fn repositories_out_of_reach_are_named() {
    let good = "Virtual storage: default\n  All repositories are available!\n";
    assert!(findings(Check::DataLoss, good).await.is_empty());
    let bad = "Virtual storage: default\n  Repositories:\n    @hashed/3f/db/3fdb.git (unavailable):\n\
        \x20     Primary: gitaly-1\n      In-Sync Storages:\n        gitaly-2, assigned host, unhealthy\n";
    assert_eq!(
        findings(Check::DataLoss, bad).await,
        ["@hashed/3f/db/3fdb.git (unavailable)"]
    );
    assert_eq!(findings(Check::DataLoss, "").await.len(), 1);
}

#[tokio::test]
async fn readiness_names_what_is_not_ready() {
    let good = "{\"status\":\"ok\",\"db_check\":[{\"status\":\"ok\"}]}\n200";
    assert!(findings(Check::Readiness, good).await.is_empty());
    let bad = "{\"status\":\"failed\",\"db_check\":[{\"status\":\"ok\"}],\
        \"gitaly_check\":[{\"status\":\"failed\",\"message\":\"14:connect\",\"labels\":{\"shard\":\"default\"}}]}\n503";
    assert_eq!(
        findings(Check::Readiness, bad).await,
        ["gitaly_check: 14:connect"]
    );
    assert_eq!(
        findings(Check::Readiness, "GitLab is not responding\n502").await,
        ["answers 502"]
    );
    let verdict = of(
        Check::Readiness,
        Answer::code(7, "curl: (7) Failed to connect\n"),
    )
    .await;
    assert!(!verdict.ok);
}

#[tokio::test]
async fn databases_are_asked_for_extensions_and_migrations() {
    let all = "main amcheck\nmain btree_gist\nmain pg_trgm\nmain plpgsql\n";
    assert!(findings(Check::Extensions, all).await.is_empty());
    assert_eq!(
        findings(
            Check::Extensions,
            "main btree_gist\nmain pg_trgm\nmain plpgsql\n"
        )
        .await,
        ["the database main lacks the extension amcheck"]
    );
    assert_eq!(
        findings(Check::Migrations, "ci BackfillX ci_builds 1\nread\n").await,
        ["BackfillX on ci_builds (ci): active"]
    );
}

#[tokio::test]
async fn words_are_those_of_the_documentation() {
    let nodes = Recorder::new();
    let shell = nodes.shell("node");
    for what in [
        Check::GitLab,
        Check::Secrets,
        Check::Artifacts,
        Check::Lfs,
        Check::Uploads,
        Check::Gitaly,
        Check::Praefect,
        Check::PraefectNodes,
        Check::DataLoss,
        Check::Readiness,
    ] {
        check(shell.as_ref(), what).await.unwrap();
    }
    assert_eq!(
        nodes.ran("node"),
        [
            "gitlab-rake gitlab:check SANITIZE=true",
            "gitlab-rake gitlab:doctor:secrets",
            "gitlab-rake gitlab:artifacts:check",
            "gitlab-rake gitlab:lfs:check",
            "gitlab-rake gitlab:uploads:check",
            "/opt/gitlab/embedded/bin/gitaly check /var/opt/gitlab/gitaly/config.toml",
            "/opt/gitlab/embedded/bin/praefect -config /var/opt/gitlab/praefect/config.toml check",
            "/opt/gitlab/embedded/bin/praefect -config /var/opt/gitlab/praefect/config.toml dial-nodes",
            "/opt/gitlab/embedded/bin/praefect -config /var/opt/gitlab/praefect/config.toml dataloss",
            "curl --silent --show-error --max-time 60 --write-out '\\n%{http_code}' 'http://127.0.0.1:8080/-/readiness?all=1'",
        ]
    );
}
