//! `gantry policy`

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;

use super::CliError;
use super::open::site;
use crate::app::App;
use crate::exit::Exit;
use crate::facts::{Facts, HostedZone};
use crate::kinds::registry;
use crate::policy::operator_policy;
use crate::session::surveyed;

/// Print the IAM policy that the person running install needs.
///
/// Generated from what the site's resources call; attach it to the role or user whose credentials run gantry.
#[derive(Debug, Args)]
pub struct PolicyArgs {}

pub fn run(app: &App, _: &PolicyArgs) -> Result<Exit, CliError> {
    let (site, profile) = site(app)?;
    // Which kinds are in use does not depend on what is looked up; these stand in for it.
    let zones = ["a", "b", "c"].iter().take(site.network.zones.into());
    let facts = Facts {
        account: site
            .site
            .account
            .clone()
            .unwrap_or_else(|| "123456789012".parse().unwrap_or_else(|_| unreachable!())),
        region: site.site.region.clone(),
        images: BTreeMap::new(),
        zones: zones.map(|z| format!("{}{z}", site.site.region)).collect(),
        hosted_zone: Some(HostedZone {
            id: "Z1".into(),
            name: site.site.domain.clone(),
        }),
    };
    let blueprint = crate::blueprint::build(&site, &profile, &facts);
    let used: BTreeSet<&str> = blueprint
        .iter()
        .map(|(_, r)| r.info().kind.as_str())
        .collect();
    let kinds = registry::all().filter(|k| used.contains(k.kind.as_str()));
    let policy = operator_policy(&crate::policy::Task::ALL, kinds, surveyed(&site), &site);
    app.say.json(&policy);
    app.say
        .data(&serde_json::to_string_pretty(&policy["documents"]).unwrap_or_default());
    Ok(Exit::Done)
}
