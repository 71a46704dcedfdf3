//! The ways to the machines of a site: over SSH, through the bastion, with verified host keys.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::CliError;
use crate::app::App;
use crate::blueprint::Role;
use crate::boot::Report;
use crate::exit::Exit;
use crate::node::Place;
use crate::ops::{Hosts, OpsFault};
use crate::resource::DRILL_TAG;
use crate::session::Session;
use crate::shell::{Access, Endpoint, Keys, KnownHosts, Shell, Ssh};

/// The ways to the machines of a site.
pub struct Ways {
    pub bastion: Option<Endpoint>,
    pub nodes: Vec<(Role, Endpoint)>,
    pub known: Arc<KnownHosts>,
    pub known_file: PathBuf,
}

impl Ways {
    pub fn find(&self, name: &str) -> Result<&Endpoint, CliError> {
        let found = self.nodes.iter().find(|(_, node)| node.name == name);
        found
            .map(|(_, node)| node)
            .ok_or_else(|| CliError::usage(format!("there is no node `{name}`")).help(self.names()))
    }

    pub fn names(&self) -> String {
        let names: Vec<_> = self
            .nodes
            .iter()
            .map(|(_, node)| node.name.as_str())
            .collect();
        format!("there are {}", names.join(", "))
    }

    pub fn shell(&self, node: &Endpoint, access: &Arc<Access>) -> Arc<dyn Shell> {
        let through = self.bastion.clone().filter(|b| b.name != node.name);
        Arc::new(Ssh::new(node.clone(), through, access.clone()))
    }

    /// What a way needs beside the address: the keys of the one who calls, and those of the hosts.
    pub fn access(&self, app: &App, identities: &[PathBuf]) -> Arc<Access> {
        let mut keys = Keys::none();
        if let Some(socket) = app.agent() {
            keys = keys.agent(socket);
        }
        for file in app.ssh_key().iter().chain(identities) {
            keys = keys.file(file);
        }
        Arc::new(Access::new(keys, self.known.clone()))
    }
}

/// The machines of the site, or, where no machine boots, hosts that are played: a small GitLab of gantry's own. It says
/// so.
pub async fn hosts_or_played(
    app: &App,
    session: &Session,
    identities: &[PathBuf],
) -> Result<Arc<dyn Hosts>, CliError> {
    if let Some(played) = app.played_hosts(session).await? {
        app.say.tell(
            "No machine boots here: the nodes are played by a small GitLab of gantry's own, which keeps its data in the state directory.",
        );
        return Ok(Arc::new(played));
    }
    hosts(app, session, identities).await
}

/// The machines of the site, for procedures.
pub async fn hosts(
    app: &App,
    session: &Session,
    identities: &[PathBuf],
) -> Result<Arc<dyn Hosts>, CliError> {
    let ways = ways(app, session).await?;
    let access = ways.access(app, identities);
    Ok(Arc::new(Reached {
        ways: Mutex::new(ways),
        access,
    }))
}

/// Why the machines cannot be reached from here; nothing when it is worth trying.
pub fn out_of_reach(app: &App, session: &Session, identities: &[PathBuf]) -> Option<&'static str> {
    if session.site.network.admin_from.is_empty() {
        return Some(
            "the SSH port is closed to everybody: name your networks in [network] admin_from",
        );
    }
    (app.agent().is_none() && app.ssh_key().is_none() && identities.is_empty())
        .then_some("there is no SSH key: start an agent, or name a key with --identity")
}

/// Hosts over SSH.
struct Reached {
    ways: Mutex<Ways>,
    access: Arc<Access>,
}

impl Hosts for Reached {
    fn nodes(&self) -> Vec<(String, Role)> {
        let ways = self.ways.lock().unwrap_or_else(PoisonError::into_inner);
        let nodes = ways.nodes.iter();
        nodes.map(|(role, at)| (at.name.clone(), *role)).collect()
    }

    fn shell(&self, node: &str) -> Result<Arc<dyn Shell>, OpsFault> {
        let ways = self.ways.lock().unwrap_or_else(PoisonError::into_inner);
        let found = ways.nodes.iter().find(|(_, at)| at.name == node);
        match found {
            Some((_, at)) => Ok(ways.shell(at, &self.access)),
            None => Err(OpsFault::refused(
                format!("there is no node `{node}`"),
                ways.names(),
                "a machine is known once it has reported: `gantry ssh --list`",
            )),
        }
    }

    fn heard(&self, node: &str, role: Role, report: &Report) -> Result<(), OpsFault> {
        let mut ways = self.ways.lock().unwrap_or_else(PoisonError::into_inner);
        ways.known
            .report(node, &report.host_keys)
            .map_err(|error| {
                OpsFault::refused(
                    format!("the host keys of {node} cannot be kept"),
                    error.to_string(),
                    "look at known_hosts in the state directory",
                )
            })?;
        // The addresses of fixed nodes are the journal's.
        if role == Role::Rails && !ways.nodes.iter().any(|(_, at)| at.name == node) {
            ways.nodes
                .push((role, Endpoint::new(node, report.address.as_str())));
        }
        Ok(())
    }
}

/// Refuses where there is nothing to go to.
pub fn no_machines(app: &App) -> Result<(), CliError> {
    if app.has_no_machines() {
        return Err(CliError::usage("there are no machines here to go to").help(
            "the sandbox and emulators make instances that never boot; leave --sandbox out",
        ));
    }
    Ok(())
}

/// Where the machines are: fixed nodes from the journal, those of the Rails group and everybody's host keys from the
/// nodes' own reports.
pub async fn ways(app: &App, session: &Session) -> Result<Ways, CliError> {
    no_machines(app)?;
    let state = session.store.state();
    if state.resources.is_empty() {
        return Err(CliError::usage("nothing exists yet").help("`gantry install` makes it"));
    }
    let fleet = session.known_fleet()?;
    let outputs = state.outputs();
    let public = |name: &str| {
        let address = format!("ec2/elastic_ip:{name}").parse().ok()?;
        let output = outputs.0.get(&address)?;
        Some(output.get("address")?.as_str()?.to_owned())
    };
    let folder = app.site_dir(session.cx.site());
    let known_file = folder.join("known_hosts");
    let unreadable = |error: std::io::Error| {
        CliError::new(
            Exit::Unexpected,
            format!("cannot read or write {}: {error}", known_file.display()),
        )
    };
    let known = KnownHosts::open(&known_file).map_err(unreadable)?;
    let mut nodes = Vec::new();
    let mut roles: Vec<Role> = fleet.hosts.iter().map(|h| h.role).collect();
    roles.dedup();
    for role in roles {
        let reports = learn(session, role, &known).await?;
        for host in fleet.of_role(role) {
            let address = match (&host.address, public(&host.name)) {
                (_, Some(public)) => public,
                (Some(Place::Known(private)), None) => private.clone(),
                _ => continue,
            };
            nodes.push((role, Endpoint::new(host.name.clone(), address)));
        }
        if role == Role::Rails {
            nodes.extend(
                reports
                    .into_iter()
                    .map(|(name, address)| (role, Endpoint::new(name, address))),
            );
        }
    }
    // From the appliance host every node is next door, but not those of a drill: they are in a network of their own.
    let next_door = app.appliance().is_some() && !session.site.tags.contains_key(DRILL_TAG);
    let bastion = nodes
        .iter()
        .find(|(role, _)| *role == Role::Bastion && !next_door)
        .map(|(_, node)| node.clone());
    Ok(Ways {
        bastion,
        nodes,
        known: Arc::new(known),
        known_file,
    })
}

/// Takes the host keys of a role's reports, in place of what was known, and gives the machines' names and addresses.
async fn learn(
    session: &Session,
    role: Role,
    known: &KnownHosts,
) -> Result<Vec<(String, String)>, CliError> {
    let reports = session.reports(role).await?;
    for (name, report) in &reports {
        known.report(name, &report.host_keys).map_err(|error| {
            CliError::new(
                Exit::Unexpected,
                format!("the host keys of {name} cannot be kept: {error}"),
            )
        })?;
    }
    Ok(reports
        .into_iter()
        .map(|(name, report)| (name, report.address))
        .collect())
}
