//! What preflight says, of an account that is fit and of others.

use std::fmt::Write as _;

use gantry::cloud::Aws;
use gantry::profile::ProfileName;
use gantry::sandbox::{Fate, Refusal};
use gantry::session::{Check, Verdict};
use gantry::site::Site;

use crate::support::stage::{BEGINNING, Stage, account, site};

fn run<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(test)
}

async fn checks(stage: &Stage) -> Vec<Check> {
    stage.session().await.unwrap().preflight().await.unwrap()
}

/// The checks that were not passed.
async fn trouble(stage: &Stage) -> Vec<Check> {
    let mut checks = checks(stage).await;
    checks.retain(|check| check.verdict != Verdict::Pass);
    checks
}

#[test]
fn what_a_site_needs_is_held_against_what_the_account_has() {
    run(async {
        let first = Stage::new(ProfileName::Ha3k);
        first.install().await;
        let second = Site::defaults_for(
            ProfileName::Poc2k,
            "beta".parse().unwrap(),
            "gitlab.example.com".parse().unwrap(),
            "eu-west-1".parse().unwrap(),
        );
        let later = first.sandbox.clock().now();
        let stage = Stage::with(second, first.sandbox.world(), &[], later);
        let mut text = String::new();
        for check in checks(&stage).await {
            let (name, seen) = (&check.name, &check.seen);
            // How many actions there are is the policy's own test.
            let seen = match seen.split_once(" may do the ") {
                Some((who, _)) => format!("{who} may do all actions of install"),
                None => seen.clone(),
            };
            writeln!(text, "{:?} {name}: {seen}", check.verdict).unwrap();
        }
        insta::assert_snapshot!(text);
    });
}

#[test]
fn nothing_is_written() {
    run(async {
        let stage = Stage::new(ProfileName::SingleBox);
        assert_eq!(trouble(&stage).await, []);
        for call in stage.sandbox.log() {
            let action = call.call.split(':').nth(1).unwrap().to_owned();
            let looks = ["Describe", "Get", "List", "Head", "Search", "Simulate"];
            assert!(
                looks.iter().any(|word| action.starts_with(word)),
                "{action} is no look"
            );
        }
    });
}

#[test]
fn a_limit_that_is_too_low_fails_with_the_number_to_ask_for() {
    run(async {
        let mut world = account();
        world.quotas.insert("vcpus".into(), 5);
        world.quotas.insert("addresses".into(), 1);
        let stage = Stage::with(site(ProfileName::Poc2k), world, &[], BEGINNING);
        let trouble = trouble(&stage).await;
        let help: Vec<&str> = trouble.iter().map(|check| check.help.as_str()).collect();
        assert_eq!(
            help,
            [
                "ask for at least 3 of L-0263D0A3 in Service Quotas",
                "ask for at least 28 of L-1216C47A in Service Quotas",
            ]
        );
    });
}

#[test]
fn rights_that_are_missing_are_named_at_once() {
    run(async {
        let mut world = account();
        for action in ["ec2:CreateVpc", "s3:CreateBucket", "iam:CreateRole"] {
            world.quotas.insert(format!("allowed:{action}"), 0);
        }
        let stage = Stage::with(site(ProfileName::Poc2k), world, &[], BEGINNING);
        let trouble = trouble(&stage).await;
        let [check] = trouble.as_slice() else {
            panic!("{trouble:?}");
        };
        assert_eq!(
            (check.name.as_str(), check.verdict),
            ("permissions", Verdict::Fail)
        );
        assert!(
            check
                .seen
                .ends_with("user/sandbox: ec2:CreateVpc, iam:CreateRole, s3:CreateBucket"),
            "{}",
            check.seen
        );
        assert!(check.help.contains("gantry policy"), "{}", check.help);
    });
}

#[test]
fn who_may_not_ask_for_rights_is_only_warned() {
    run(async {
        let stage = Stage::new(ProfileName::Poc2k);
        stage.sandbox.faults(|faults| {
            faults.set(|call, _| {
                if call == "iam:SimulatePrincipalPolicy" {
                    Fate::Refuse(Refusal::new(403, "AccessDenied", "not authorized"))
                } else {
                    Fate::Pass
                }
            });
        });
        let trouble = trouble(&stage).await;
        let [check] = trouble.as_slice() else {
            panic!("{trouble:?}");
        };
        assert_eq!(
            (check.name.as_str(), check.verdict),
            ("permissions", Verdict::Warn)
        );
        assert!(
            check.seen.contains("iam:SimulatePrincipalPolicy"),
            "{}",
            check.seen
        );
    });
}

#[test]
fn a_bucket_that_exists_already_is_named() {
    run(async {
        let stage = Stage::new(ProfileName::Poc2k);
        let name = "gantry-acme-artifacts-123456789012-eu-west-1";
        let place = aws_sdk_s3::types::CreateBucketConfiguration::builder()
            .location_constraint("eu-west-1".into())
            .build();
        Aws::new(&stage.sandbox.config("eu-west-1"))
            .s3
            .create_bucket()
            .bucket(name)
            .create_bucket_configuration(place)
            .send()
            .await
            .unwrap();
        let trouble = trouble(&stage).await;
        let [check] = trouble.as_slice() else {
            panic!("{trouble:?}");
        };
        assert_eq!(
            (check.name.as_str(), check.verdict),
            ("names", Verdict::Fail)
        );
        assert!(check.seen.contains(name), "{}", check.seen);
    });
}
