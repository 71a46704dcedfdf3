//! What is looked up before the blueprint is drawn, on the strict cloud.

use gantry::facts::{Facts, FactsError, Pins, look_up};
use gantry::profile::{self, ProfileName};
use gantry::sandbox::world::Row;
use gantry::site::Site;
use serde_json::json;

use crate::stage::{REGION, Stage};

fn site(domain: &str) -> Site {
    Site::defaults_for(
        ProfileName::Ha3k,
        "acme".parse().unwrap(),
        domain.parse().unwrap(),
        REGION.parse().unwrap(),
    )
}

/// A hosted zone of the account, public or private.
fn zone(stage: &Stage, id: &str, name: &str, private: bool) {
    stage.sandbox.change(|world| {
        let v = json!({"Id": format!("/hostedzone/{id}"), "Name": format!("{name}."),
            "CallerReference": id, "Config": {"PrivateZone": private}});
        let row = Row {
            v,
            ..Row::default()
        };
        world
            .table("global", "route53/hosted_zone")
            .insert(id.to_owned(), row);
    });
}

async fn look(stage: &Stage, site: &Site, pins: &Pins) -> Result<Facts, FactsError> {
    let cloud = stage.cloud.fresh(std::collections::BTreeMap::new());
    look_up(&cloud, site, profile::get(site.site.profile), pins).await
}

#[tokio::test(start_paused = true)]
async fn zones_image_and_hosted_zone_are_found_and_kept() {
    let stage = Stage::new();
    zone(&stage, "Z1", "example.org", false);
    zone(&stage, "Z2", "acme.example.org", false);
    zone(&stage, "Z3", "gitlab.acme.example.org", true);
    let site = site("gitlab.acme.example.org");
    let facts = look(&stage, &site, &Pins::default()).await.unwrap();
    assert_eq!(facts.zones, ["eu-west-1a", "eu-west-1b", "eu-west-1c"]);
    assert!(facts.images["x86_64"].starts_with("ami-"), "{facts:?}");
    let found: Vec<_> = facts
        .hosted_zones
        .iter()
        .map(|zone| (zone.id.as_str(), zone.name.as_str()))
        .collect();
    assert_eq!(found, [("Z2", "acme.example.org")]);
    stage.sandbox.clear_log();
    assert_eq!(look(&stage, &site, &facts.pins()).await.unwrap(), facts);
    assert_eq!(stage.sandbox.log().len(), 2, "offerings, hosted zones");
}

#[tokio::test(start_paused = true)]
async fn pins_are_stronger_than_what_would_be_chosen_now() {
    let stage = Stage::new();
    let pins = Pins(
        [
            ("zones", "eu-west-1c,eu-west-1a,eu-west-1b"),
            ("image-x86_64", "ami-0123456789abcdef0"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into(),
    );
    let facts = look(&stage, &site("gitlab.acme.example"), &pins)
        .await
        .unwrap();
    assert_eq!(facts.zones, ["eu-west-1c", "eu-west-1a", "eu-west-1b"]);
    assert_eq!(facts.images["x86_64"], "ami-0123456789abcdef0");
    assert_eq!(facts.pins(), pins);
}

#[tokio::test(start_paused = true)]
async fn a_zone_that_the_site_file_names_must_be_there() {
    let stage = Stage::new();
    let mut site = site("gitlab.nowhere.example.net");
    site.tls.hosted_zone = Some("nowhere.example.net".parse().unwrap());
    let error = look(&stage, &site, &Pins::default()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "this account has no public hosted zone nowhere.example.net"
    );
}

#[tokio::test(start_paused = true)]
async fn a_type_that_no_zone_has_is_named_with_the_zones() {
    let stage = Stage::new();
    let site = site("gitlab.acme.example");
    let mut sizes = profile::get(ProfileName::Ha3k).clone();
    sizes.praefect.as_mut().unwrap().instance_type = "z9.huge".parse().unwrap();
    let error = look_up(&stage.cloud, &site, &sizes, &Pins::default())
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "eu-west-1 has 0 zones for this site, and it needs 3: eu-west-1a has no z9.huge, eu-west-1b has no z9.huge, eu-west-1c has no z9.huge"
    );
}
