//! `gantry policy`

use std::collections::{BTreeMap, BTreeSet};

use clap::{Args, ValueEnum};

use super::CliError;
use super::open::site;
use crate::app::App;
use crate::exit::Exit;
use crate::facts::{Facts, HostedZone};
use crate::kinds::registry;
use crate::ops::drill::site_of;
use crate::policy::{Task, drill_policy, operator_policy};
use crate::session::surveyed;

/// Print the IAM policy that the person running gantry needs.
///
/// Generated from what the site's resources and each verb call; attach it to the role or user whose credentials run
/// gantry.
#[derive(Debug, Args)]
pub struct PolicyArgs {
    /// What that person does with the site
    #[arg(long = "for", value_name = "TASK", value_enum, default_value_t = For::All)]
    pub task: For,
}

/// A part of what gantry does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum For {
    /// Install, plan, status, destroy
    Install,
    /// Change the files of the nodes
    Reconfigure,
    /// Take, verify and prune recovery points and snapshots
    Backup,
    /// Restore
    Restore,
    /// Drills: all of the site that a drill makes, and of this one reading points and marking them
    Drill,
    /// Everything on this site
    All,
}

impl For {
    fn tasks(self) -> Vec<Task> {
        match self {
            Self::Install => vec![Task::Install],
            Self::Reconfigure => vec![Task::Reconfigure],
            Self::Backup => vec![Task::Backup],
            Self::Restore => vec![Task::Restore],
            // A drill's own documents say it.
            Self::Drill => Vec::new(),
            Self::All => Task::ALL.to_vec(),
        }
    }
}

pub fn run(app: &App, args: &PolicyArgs) -> Result<Exit, CliError> {
    let (real, profile) = site(app)?;
    // The same sizes with other kinds around them.
    let site = match args.task {
        For::Drill => site_of(&real, None).map_err(|why| {
            CliError::usage(format!("a drill is not possible: {}", why.why)).help(why.help)
        })?,
        _ => real.clone(),
    };
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
        hosted_zones: vec![HostedZone {
            id: "Z1".into(),
            name: site.site.domain.clone(),
        }],
    };
    let blueprint = crate::blueprint::build(&site, &profile, &facts);
    let used: BTreeSet<&str> = blueprint
        .iter()
        .map(|(_, r)| r.info().kind.as_str())
        .collect();
    let kinds = registry::all().filter(|k| used.contains(k.kind.as_str()));
    let policy = match args.task {
        For::Drill => drill_policy(kinds, surveyed(&site), &real, &site),
        _ => operator_policy(&args.task.tasks(), kinds, surveyed(&site), &site),
    };
    app.say.json(&policy);
    app.say
        .data(&serde_json::to_string_pretty(&policy["documents"]).unwrap_or_default());
    Ok(Exit::Done)
}
