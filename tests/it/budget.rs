//! Few calls: a survey is one paged listing a kind, and its cost does not grow with the site.

use std::collections::BTreeMap;

use gantry::profile::ProfileName;

use crate::support::stage::Stage;

/// The calls of one plan of an installed site, by name.
async fn plan_calls(profile: ProfileName) -> BTreeMap<String, usize> {
    calls_of(Stage::new(profile)).await
}

async fn calls_of(stage: Stage) -> BTreeMap<String, usize> {
    stage.install().await;
    stage.settle().await;
    stage.sandbox.clear_log();
    assert!(stage.read().await.plan.is_empty());
    let mut calls = BTreeMap::new();
    for logged in stage.sandbox.log() {
        *calls.entry(logged.call).or_default() += 1;
    }
    calls
}

/// What AWS has no listing for, and how often it may be asked for one thing of that kind: settings of a bucket,
/// of a balancer, of a group; the tags of a profile; the state of a key.
const ONE_BY_ONE: &[&str] = &[
    "s3:",
    "elasticloadbalancing:DescribeListeners",
    "elasticloadbalancing:DescribeLoadBalancerAttributes",
    "elasticloadbalancing:DescribeTargetGroupAttributes",
    "elasticloadbalancing:DescribeTargetHealth",
    "iam:ListInstanceProfileTags",
    "kms:",
    "acm:DescribeCertificate",
    "rds:DescribeDBParameters",
    "elasticache:DescribeCacheParameters",
    "sns:",
    "logs:ListTagsForResource",
    "route53:ListResourceRecordSets",
    "dlm:GetLifecyclePolicy",
    "secretsmanager:DescribeSecret",
];

#[tokio::test(start_paused = true)]
async fn a_listing_is_asked_for_once_or_by_few_kinds_that_share_it() {
    for (call, times) in plan_calls(ProfileName::Ha3k).await {
        if ONE_BY_ONE.iter().any(|one| call.starts_with(one)) {
            continue;
        }
        // Kinds that read the same listing (groups and their rules, databases and replicas) each ask for it.
        assert!(times <= 4, "{call} is called {times} times in one plan");
    }
}

#[tokio::test(start_paused = true)]
async fn the_largest_site_costs_a_plan_no_more_calls_than_the_smallest_cluster() {
    let smallest = plan_calls(ProfileName::Ha3k).await;
    let mut more = plan_calls(ProfileName::Ha50k).await;
    for (call, times) in smallest {
        let more = more.entry(call).or_default();
        *more = more.saturating_sub(times);
    }
    more.retain(|_, times| *times > 0);
    // From 10k on there are two caches with other memory policies, so two parameter groups; AWS tells the parameters of
    // one group at a time. Nothing else grows.
    let two_caches = [("elasticache:DescribeCacheParameters".to_owned(), 1)];
    assert_eq!(more, two_caches.into());
}

#[tokio::test(start_paused = true)]
async fn a_plan_with_nothing_to_do_costs_at_most_180_calls() {
    for profile in ProfileName::ALL {
        let calls = plan_calls(profile).await;
        let all: usize = calls.values().sum();
        assert!(all <= 180, "{profile}: {all} calls: {calls:#?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_install_costs_at_most_twice_its_changes() {
    let stage = Stage::new(ProfileName::Poc2k);
    stage.install().await;
    let log = stage.sandbox.log();
    let changes = log
        .iter()
        .filter(|logged| !crate::support::deaths::is_read(&logged.call))
        .count();
    assert!(
        log.len() <= 2 * changes,
        "{} calls, {changes} of them changes",
        log.len()
    );
}

#[tokio::test(start_paused = true)]
async fn a_vault_costs_a_few_calls_and_none_where_there_is_none() {
    let of_backup = |calls: BTreeMap<String, usize>| -> BTreeMap<String, usize> {
        let mine = |call: &String| call.starts_with("backup:");
        calls.into_iter().filter(|(call, _)| mine(call)).collect()
    };
    assert_eq!(
        of_backup(plan_calls(ProfileName::Poc2k).await),
        BTreeMap::new()
    );
    let with = of_backup(calls_of(Stage::with_a_vault(ProfileName::Poc2k)).await);
    let wanted = [
        ("backup:GetBackupPlan", 1),
        ("backup:GetBackupSelection", 1),
        ("backup:ListBackupPlans", 1),
        ("backup:ListBackupSelections", 1),
        ("backup:ListBackupVaults", 1),
    ];
    assert_eq!(with, wanted.map(|(call, n)| (call.to_owned(), n)).into());
}

#[tokio::test(start_paused = true)]
async fn a_plan_writes_nothing() {
    for call in plan_calls(ProfileName::Poc2k).await.keys() {
        let action = call.split(':').nth(1).unwrap_or_default();
        let reads = ["Describe", "Get", "List", "Head"]
            .iter()
            .any(|p| action.starts_with(p));
        assert!(reads, "{call} in a plan");
    }
}
