//! A domain whose DNS is somebody else's: install says which records to create, does all the rest, and a later
//! run completes.

use gantry::cloud::{Aws, Fault};
use gantry::engine::{Outcome, Stop};
use gantry::profile::ProfileName;
use gantry::sandbox::world::Row;
use gantry::session::silent;
use serde_json::json;

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

    // And the record that leads people to the load balancer.
    let session = stage.session().await.unwrap();
    let records = session.records_by_hand(&stage.read().await.facts);
    let [record] = records.as_slice() else {
        panic!("{records:?}")
    };
    assert!(
        record.starts_with("git.nowhere.test  CNAME  gantry-acme-public-")
            && record.ends_with(".elb.eu-west-1.amazonaws.com"),
        "{record}"
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

#[tokio::test(start_paused = true)]
async fn only_the_names_that_no_hosted_zone_holds_are_left_to_people() {
    let mut site = site(ProfileName::Poc2k);
    site.front.pages_domain = Some("pages.nowhere.test".parse().unwrap());
    let stage = Stage::with(site, account(), &[], BEGINNING);
    let report = stage
        .try_install(&Stop::default(), &silent())
        .await
        .unwrap();
    let failures: Vec<_> = report.failures().collect();
    let [(_, Fault::Parked { message })] = failures.as_slice() else {
        panic!("{failures:?}")
    };
    assert!(
        message.starts_with("no hosted zone of this account holds *.pages.nowhere.test:"),
        "{message}"
    );
    assert_eq!(message.matches("CNAME").count(), 1, "{message}");
    let session = stage.session().await.unwrap();
    let records = session.records_by_hand(&stage.read().await.facts);
    assert_eq!(records.len(), 1);
    assert!(
        records[0].starts_with("*.pages.nowhere.test  CNAME  "),
        "{records:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn each_name_is_proved_in_the_zone_that_holds_it() {
    let mut site = site(ProfileName::Poc2k);
    site.front.pages_domain = Some("pages.example".parse().unwrap());
    let stage = Stage::with(site, account(), &[], BEGINNING);
    stage.sandbox.change(|world| {
        let v = json!({"Id": "/hostedzone/Z9", "Name": "pages.example.", "CallerReference": "9",
            "Config": {"PrivateZone": false}});
        let row = Row {
            v,
            ..Row::default()
        };
        let zones = world.table("global", "route53/hosted_zone");
        zones.insert("Z9".to_owned(), row);
    });
    stage.install().await;
    let records = Aws::new(&stage.sandbox.config("eu-west-1"))
        .route53
        .list_resource_record_sets()
        .hosted_zone_id("Z9")
        .send()
        .await
        .unwrap();
    let mut types: Vec<_> = (records.resource_record_sets().iter())
        .map(|record| record.r#type().as_str())
        .filter(|word| !matches!(*word, "NS" | "SOA"))
        .collect();
    types.sort_unstable();
    assert_eq!(types, ["A", "CNAME"], "the alias and the proof");
    assert!(stage.read().await.plan.is_empty());
}
