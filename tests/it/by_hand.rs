//! A domain whose DNS is somebody else's: install says which records to create, does all the rest, and a later
//! run completes.

use gantry::cloud::Fault;
use gantry::engine::{Outcome, Stop};
use gantry::profile::ProfileName;
use gantry::session::silent;

use crate::support::stage::{BEGINNING, Stage, account, site};

#[tokio::test(start_paused = true)]
async fn without_a_hosted_zone_install_prints_the_records_and_a_later_run_completes() {
    let mut site = site(ProfileName::Poc2k);
    site.site.domain = "git.nowhere.test".parse().unwrap();
    let stage = Stage::with(site, account(), &[], BEGINNING);

    let report = stage
        .try_install(&Stop::default(), &silent())
        .await
        .unwrap();
    let failures: Vec<_> = report.failures().collect();
    assert_eq!(failures.len(), 1, "{failures:?}");
    let (name, fault) = failures[0];
    assert_eq!(name, "acm/validation:git.nowhere.test");
    let Fault::Parked { message } = fault else {
        panic!("{fault:?}")
    };
    for part in [
        "CNAME",
        "git.nowhere.test",
        "acm-validations.aws",
        "install",
    ] {
        assert!(message.contains(part), "{part} is missing in: {message}");
    }
    let blocked: Vec<_> = report
        .outcomes
        .iter()
        .filter(|(_, _, o)| matches!(o, Outcome::Blocked { .. }))
        .map(|(name, _, _)| name.as_str())
        .collect();
    assert_eq!(
        blocked,
        ["elb/listener:https"],
        "only what needs the certificate waits"
    );

    // Nothing changed: the next run says the same and makes nothing.
    let again = stage
        .try_install(&Stop::default(), &silent())
        .await
        .unwrap();
    assert_eq!(again.failures().count(), 1);
    assert_eq!(
        again.outcomes.len(),
        2,
        "the validation and what waits for it"
    );

    stage.sandbox.change(|world| {
        for row in world.table("eu-west-1", "acm/certificate").values_mut() {
            row.set("Status", "ISSUED");
        }
    });
    stage.install().await;
    assert!(stage.read().await.plan.is_empty());
}
