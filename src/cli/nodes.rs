//! What `install` does for the nodes once AWS has what they stand on: their secrets, their files, their boot, and the
//! checks in their order.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::CliError;
use super::hosts::{hosts, out_of_reach};
use super::open::Writing;
use super::procedure::{carry, end, left_over, stages, trouble};
use super::reconfigure::bundles;
use super::render::write;
use super::schedule::settle;
use crate::app::App;
use crate::blueprint::{Role, secret_references};
use crate::engine::StopLevel;
use crate::exit::Exit;
use crate::ops::order::Order;
use crate::secret::Secret;
use crate::session::{Boot, BootState, Change, Delivered, Packed, Reading, Session};
use crate::site::SecretRef;

/// How often the nodes' reports are read. A boot takes minutes.
const PAUSE: Duration = Duration::from_secs(15);

/// What there is to say about the nodes at the end of an install.
pub struct Nodes {
    pub delivered: Vec<Delivered>,
    pub boots: Vec<Boot>,
    /// What became of each stage of the order; empty where it was not gone through.
    pub stages: Vec<Value>,
    /// How the command ends: a node that is late is a host that failed.
    pub exit: Exit,
    /// What went wrong in the order.
    pub trouble: Option<CliError>,
}

/// How the nodes are waited for and reached.
pub struct Care<'a> {
    /// How long to wait for each; zero looks once.
    pub wait: Duration,
    pub identities: &'a [PathBuf],
}

/// Fills secrets, delivers bundles, and goes through the order: each node reports, and is looked at.
pub async fn bring_up(
    app: &App,
    writing: &Writing,
    reading: &Reading,
    care: Care<'_>,
) -> Result<Nodes, CliError> {
    let session = &writing.session;
    let fleet = session.fleet(reading)?;
    let unknown = fleet.unknown();
    if !unknown.is_empty() {
        return Err(CliError::new(
            Exit::Unexpected,
            format!(
                "the files of the nodes need addresses that are not known: {}",
                unknown.join(", ")
            ),
        )
        .help("`gantry state rebuild` reads them again from AWS"));
    }
    let packed = session.pack(&fleet)?;
    let folder = app.site_dir(session.cx.site()).join("nodes");
    let files: Vec<_> = packed.iter().map(|p| p.files.clone()).collect();
    write(&folder, &files)?;
    let written = session
        .fill_secrets(&given(session, &app.site_file)?)
        .await?;
    for name in &written {
        app.say
            .tell(&format!("secret {name}: its value is in Secrets Manager"));
    }
    let readers = readers(&packed, &written);
    let delivered = session.deliver(&packed).await?;
    let changed = delivered.iter().filter(|d| d.change == Change::Pointed);
    app.say.tell(&format!(
        "Nodes: {} rendered, {} with new files; copies are in {}.",
        delivered.len(),
        changed.count(),
        folder.display()
    ));
    if app.has_no_machines() {
        let nodes = match delivered.len() {
            1 => "1 node is".to_owned(),
            several => format!("{several} nodes are"),
        };
        app.say.data(&format!(
            "{nodes} rendered and not booted: {}.",
            if app.is_sandbox() {
                "the sandbox has no machines"
            } else {
                "an emulator has no machines"
            }
        ));
        return Ok(Nodes {
            delivered,
            boots: vec![],
            stages: vec![],
            exit: Exit::Done,
            trouble: None,
        });
    }
    let unreached = out_of_reach(app, session, care.identities);
    if let Some(why) = unreached.filter(|_| !care.wait.is_zero()) {
        app.say.tell(&format!(
            "The checks on the nodes and the timers of the backups are left out: {why}."
        ));
    }
    if care.wait.is_zero() || unreached.is_some() {
        let (boots, exit) = watch(app, writing, &delivered, care.wait).await?;
        return Ok(Nodes {
            delivered,
            boots,
            stages: vec![],
            exit,
            trouble: None,
        });
    }
    let hosts = hosts(app, session, care.identities).await?;
    let order = Order::new(session.clone(), hosts, fleet, bundles(&packed), care.wait);
    let mut all = Vec::new();
    // Machines that serve already, with older files, are changed one at a time.
    let heard = order.heard(&bundles(&packed).into_keys().collect()).await?;
    let mut serving = left_over(app, session)?;
    for (machine, state) in heard {
        let node = node_of(&machine);
        // A node reads its secrets when it boots, and serves with the old ones until then.
        let old = readers.contains(&node) && matches!(state, BootState::Ready { .. });
        if old || state == BootState::Behind {
            serving.insert(node);
        }
    }
    let mut books = Vec::new();
    if !serving.is_empty() {
        books.push(order.roll_out(packed, &serving).await?);
    }
    books.push(order.bring_up());
    let (mut exit, mut wrong) = (Exit::Done, None);
    for book in books {
        let report = carry(app, writing, book).await?;
        all.extend(stages(&report));
        wrong = trouble(&report, "install");
        if wrong.is_some() {
            exit = Exit::Host;
            break;
        }
        exit = end(app, &report, "install");
        if exit != Exit::Done {
            break;
        }
    }
    let boots = session.boots(&delivered).await?;
    if exit == Exit::Done {
        wrong = scheduled(app, session, care.identities).await.err();
        if wrong.is_some() {
            exit = Exit::Host;
        }
    }
    Ok(Nodes {
        delivered,
        boots,
        stages: all,
        exit,
        trouble: wrong,
    })
}

/// The nodes that read any of these secrets.
fn readers(packed: &[Packed], written: &[String]) -> BTreeSet<String> {
    packed
        .iter()
        .filter(|p| p.secrets.iter().any(|name| written.contains(name)))
        .map(|p| p.files.node.clone())
        .collect()
}

/// Brings the timers of the backups up to date on the appliance host.
async fn scheduled(app: &App, session: &Session, identities: &[PathBuf]) -> Result<(), CliError> {
    let (node, changed) = settle(app, session, identities)
        .await
        .map_err(|error| error.because("GitLab stands, and its backups are not scheduled"))?;
    if changed {
        app.say.tell(&format!(
            "The backups are scheduled, by timers on {node}; `gantry schedule show` tells when they run."
        ));
    }
    Ok(())
}

/// The node of the fleet that a machine belongs to.
pub fn node_of(machine: &str) -> String {
    if machine.starts_with("rails-") {
        "rails".to_owned()
    } else {
        machine.to_owned()
    }
}

/// Reads the reports until every fixed node is ready, somebody says stop, or the patience is over. Without any
/// patience it looks once, and what is late is no failure.
async fn watch(
    app: &App,
    writing: &Writing,
    delivered: &[Delivered],
    wait: Duration,
) -> Result<(Vec<Boot>, Exit), CliError> {
    let began = app.clock.now();
    let rails = writing.session.profile.rails.as_ref();
    let least = rails.map_or(0, |rails| rails.min as usize);
    let mut said: BTreeMap<String, BootState> = BTreeMap::new();
    loop {
        let boots = writing.session.boots(delivered).await?;
        for boot in &boots {
            if said.get(&boot.name) != Some(&boot.state) {
                app.say.tell(&format!("{}: {}", boot.name, boot.state));
                said.insert(boot.name.clone(), boot.state.clone());
            }
        }
        let ready = |boot: &Boot| matches!(boot.state, BootState::Ready { .. });
        let members = boots.iter().filter(|boot| boot.role == Role::Rails).count();
        if boots.iter().all(ready) && members >= least {
            writing.session.release_group().await?;
            return Ok((boots, Exit::Done));
        }
        // A machine looks for files when it boots, and not again by itself.
        let behind = |boot: &Boot| boot.state == BootState::Behind;
        if !wait.is_zero() && boots.iter().all(|b| ready(b) || behind(b)) && members >= least {
            let late = boots.iter().filter(|b| behind(b));
            let names: Vec<_> = late.map(|b| b.name.as_str()).collect();
            app.say.warn(&format!(
                "{} serve with older files until they are rolled out: run `gantry reconfigure` where the machines can be reached.",
                names.join(", ")
            ));
            return Ok((boots, Exit::Host));
        }
        if app.stop.level() != StopLevel::Go {
            app.say.warn(
                "Interrupted. The nodes go on by themselves; run `gantry install` again to look.",
            );
            return Ok((boots, Exit::Interrupted));
        }
        if wait.is_zero() {
            return Ok((boots, Exit::Done));
        }
        if app.clock.since(began) >= wait {
            let late: Vec<_> = boots.iter().filter(|b| !ready(b)).collect();
            for boot in &late {
                app.say
                    .warn(&format!("{} is not ready: {}", boot.name, boot.state));
            }
            app.say.warn("The nodes go on trying; run `gantry install` again to look, or `gantry ssh NODE -- sudo journalctl -u gantry-boot`.");
            return Ok((boots, Exit::Host));
        }
        tokio::select! {
            () = app.clock.sleep(PAUSE) => {}
            () = app.stop.reached(StopLevel::WindDown) => {}
        }
    }
}

/// The secrets that the site file takes from the environment or a file, by the name of their entry.
fn given(session: &Session, site_file: &Path) -> Result<BTreeMap<String, Secret>, CliError> {
    let folder = site_file.parent().unwrap_or(Path::new("."));
    let mut given = BTreeMap::new();
    for (name, reference) in secret_references(&session.site, &session.profile) {
        let missing = |what: String, help: &str| {
            CliError::usage(format!(
                "the secret {name} comes from `{reference}`, and {what}"
            ))
            .help(help.to_owned())
        };
        let text = match reference {
            SecretRef::Generate | SecretRef::Arn(_) => continue,
            SecretRef::Env(variable) => crate::app::variable(variable).ok_or_else(|| {
                missing(
                    "the environment has no such variable".into(),
                    "set it for this command, or write another reference",
                )
            })?,
            SecretRef::File(file) => {
                std::fs::read_to_string(folder.join(file)).map_err(|error| {
                    missing(
                        format!("the file cannot be read: {error}"),
                        "paths are relative to the site file's folder",
                    )
                })?
            }
        };
        // Editors end files with a line break that is no part of a password; PEM and license files do not mind.
        let text = text.trim_end_matches(['\r', '\n']).to_owned();
        if text.is_empty() {
            return Err(missing("it is empty".into(), "write the secret there"));
        }
        given.insert(name, Secret::new(text));
    }
    Ok(given)
}
