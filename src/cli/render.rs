//! `gantry render`

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::CliError;
use super::open::site;
use crate::app::App;
use crate::exit::Exit;
use crate::journal::LocalStore;
use crate::names::Names;
use crate::node::{Fleet, NodeFiles, render};
use crate::site::AccountId;

/// Write every file of every node, as it would be on the node.
///
/// Needs no AWS account: addresses come from what gantry remembers, and before the first install stand-ins take
/// their place. No secret is in any file; they refer to what a node reads for itself.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gantry render --out files           # files/rails/etc/gitlab/gitlab.rb and so on
  gantry render gitaly-1              # one node, to read
  gantry render --output json")]
pub struct RenderArgs {
    /// Only these nodes or roles.
    #[arg(value_name = "NODE")]
    only: Vec<String>,
    /// Write the files under this folder, one folder a node.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub fn run(app: &App, args: &RenderArgs) -> Result<Exit, CliError> {
    let (site, sizes) = site(app)?;
    let state = LocalStore::peek(&app.site_dir(site.site.name.as_ref()))?;
    let known = state.account.parse().ok().or(site.site.account.clone());
    let account: AccountId = match &known {
        Some(account) => account.clone(),
        None => "000000000000".parse().map_err(|_| {
            CliError::new(
                Exit::Unexpected,
                "the account that stands in for yours is none",
            )
        })?,
    };
    let names = Names::new(site.site.name.clone(), account, site.site.region.clone());
    let fleet = Fleet::of(&site, &sizes, &names, &state.outputs());
    let mut nodes =
        render(&fleet, &site, &sizes).map_err(|e| CliError::diagnostic(Exit::Unexpected, e))?;
    let is = |node: &NodeFiles, word: &String| node.node == *word || node.role.as_str() == word;
    if let Some(stranger) = args
        .only
        .iter()
        .find(|word| !nodes.iter().any(|node| is(node, word)))
    {
        let there: Vec<_> = nodes.iter().map(|n| n.node.as_str()).collect();
        return Err(CliError::usage(format!(
            "there is no node and no role `{stranger}` with files"
        ))
        .help(format!("there are {}", there.join(", "))));
    }
    nodes.retain(|node| args.only.is_empty() || args.only.iter().any(|word| is(node, word)));
    if known.is_none() {
        app.say
            .tell("The account is not known yet: bucket names hold 000000000000 in its place.");
    }
    let unknown = fleet.unknown();
    if !unknown.is_empty() {
        app.say.tell(&format!(
            "{} addresses are known only after the install; names ending in .after-install.invalid stand in for them.",
            unknown.len()
        ));
    }
    app.say
        .json(&json!({"format": 1, "site": site.site.name, "nodes": nodes, "unknown": unknown}));
    match &args.out {
        Some(folder) => {
            let count = write(folder, &nodes)?;
            app.say.data(&format!(
                "{count} files of {} nodes are in {}.",
                nodes.len(),
                folder.display()
            ));
        }
        None => {
            for node in &nodes {
                for file in &node.files {
                    app.say.data(&format!(
                        "==> {} {} ({} {})\n{}",
                        node.node, file.path, file.mode, file.owner, file.content
                    ));
                }
            }
        }
    }
    Ok(Exit::Done)
}

/// Writes the files of nodes under a folder, each node in its own, and takes away what an earlier time left in it.
pub fn write(folder: &Path, nodes: &[NodeFiles]) -> Result<usize, CliError> {
    let trouble = |path: &Path, error: &std::io::Error| {
        CliError::usage(format!("cannot write {}: {error}", path.display()))
            .help("name a folder that can be written, with --out")
    };
    let mut count = 0;
    for node in nodes {
        let root = folder.join(&node.node);
        // Only what this verb writes is taken away: a folder of somebody else's stays.
        let etc = root.join("etc");
        if etc.is_dir() {
            std::fs::remove_dir_all(&etc).map_err(|e| trouble(&etc, &e))?;
        }
        for file in &node.files {
            let path = root.join(file.path.trim_start_matches('/'));
            let parent = path.parent().unwrap_or(&root);
            std::fs::create_dir_all(parent).map_err(|e| trouble(parent, &e))?;
            std::fs::write(&path, &file.content).map_err(|e| trouble(&path, &e))?;
            count += 1;
        }
    }
    Ok(count)
}
