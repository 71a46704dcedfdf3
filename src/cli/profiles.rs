//! `gantry profiles`

use clap::{Args, Subcommand};
use serde_json::json;

use super::CliError;
use crate::app::App;
use crate::exit::Exit;
use crate::profile::{self, Profile, ProfileName};
use crate::ui::table;

/// List the reference sizes, or show what one contains.
#[derive(Debug, Args)]
pub struct ProfilesArgs {
    #[command(subcommand)]
    what: Option<ProfilesCommand>,
}

#[derive(Debug, Subcommand)]
enum ProfilesCommand {
    /// Show what one size contains.
    Show {
        /// For example ha-3k.
        name: ProfileName,
    },
}

pub fn run(app: &App, args: &ProfilesArgs) -> Result<Exit, CliError> {
    let Some(ProfilesCommand::Show { name }) = &args.what else {
        app.say
            .json(&json!({"format": 1, "profiles": profile::all().collect::<Vec<_>>()}));
        let rows: Vec<_> = profile::all()
            .map(|p| {
                let nodes = parts(p).iter().map(|(_, n, _)| n).sum::<u32>();
                vec![
                    p.name.to_string(),
                    p.users.to_string(),
                    p.target_rps.headline.to_string(),
                    p.zones.to_string(),
                    nodes.to_string(),
                    p.summary.clone(),
                ]
            })
            .collect();
        app.say.data(&table(
            &["PROFILE", "USERS", "RPS", "ZONES", "NODES", "WHAT IT IS"],
            &rows,
        ));
        return Ok(Exit::Done);
    };
    let profile = profile::get(*name);
    app.say.json(&json!({"format": 1, "profile": profile}));
    app.say.data(&format!(
        "{}: {}\nup to {} users, {} requests/s, {} zones\n",
        profile.name, profile.summary, profile.users, profile.target_rps.headline, profile.zones
    ));
    let mut rows: Vec<Vec<String>> = parts(profile)
        .into_iter()
        .map(|(role, n, kind)| vec![role.to_owned(), n.to_string(), kind])
        .collect();
    for (role, db) in [
        ("database", &profile.database),
        ("praefect database", &profile.praefect_database),
    ] {
        if let Some(db) = db {
            let zones = if db.multi_az { ", Multi-AZ" } else { "" };
            let replicas = if db.read_replicas > 0 {
                format!(", {} read replicas", db.read_replicas)
            } else {
                String::new()
            };
            rows.push(vec![
                role.into(),
                "1".into(),
                format!(
                    "{}, {} GiB {}{zones}{replicas}",
                    db.class,
                    db.storage_gib,
                    db.storage_type.as_str()
                ),
            ]);
        }
    }
    for cache in &profile.caches {
        rows.push(vec![
            format!("cache ({})", cache.name.as_str()),
            (1 + cache.replicas).to_string(),
            cache.node_type.to_string(),
        ]);
    }
    app.say.data(&table(&["PART", "COUNT", "TYPE"], &rows));
    Ok(Exit::Done)
}

/// Node groups: role, count (as a site starts), instance type.
fn parts(profile: &Profile) -> Vec<(&'static str, u32, String)> {
    let mut parts = Vec::new();
    if let Some(one) = &profile.single_box {
        parts.push(("single box", 1, one.instance_type.to_string()));
    }
    if let Some(rails) = &profile.rails {
        parts.push(("rails", rails.desired, rails.instance_type.to_string()));
    }
    if let Some(gitaly) = &profile.gitaly {
        parts.push(("gitaly", gitaly.count, gitaly.instance_type.to_string()));
    }
    let groups = [
        ("sidekiq", &profile.sidekiq),
        ("praefect", &profile.praefect),
        ("monitoring", &profile.monitoring),
        ("bastion", &profile.bastion),
    ];
    for (role, group) in groups {
        if let Some(group) = group {
            parts.push((role, group.count, group.instance_type.to_string()));
        }
    }
    parts
}
