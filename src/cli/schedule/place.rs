//! `gantry schedule install`, `gantry schedule remove`.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::super::CliError;
use super::super::hosts::hosts;
use super::super::open::reading;
use crate::app::App;
use crate::blueprint::Role;
use crate::exit::Exit;
use crate::ops::Hosts;
use crate::ops::schedule::{
    Binary, Change, Layout, Placed, Placing, Program, place, remove as take_away, units,
};
use crate::session::Session;
use crate::shell::{Local, Shell};

/// The appliance host, and the machines that its key must open.
struct Ways {
    role: Role,
    node: String,
    host: Arc<dyn Shell>,
    hosts: Arc<dyn Hosts>,
}

/// Where gantry and its timers live: the bastion, or the box.
pub(super) fn appliance(session: &Session) -> Result<(Role, String), CliError> {
    let fleet = session.known_fleet()?;
    let mut candidates = [Role::Bastion, Role::Box].into_iter();
    let found = candidates.find_map(|role| Some((role, fleet.of_role(role).next()?.name.clone())));
    found.ok_or_else(|| CliError::usage("this site has no appliance host"))
}

async fn ways(
    app: &App,
    session: &Session,
    here: bool,
    identities: &[PathBuf],
) -> Result<Ways, CliError> {
    let (role, node) = appliance(session)?;
    let hosts = hosts(app, session, identities).await?;
    let host = if here {
        Arc::new(Local::new(node.clone()))
    } else {
        hosts.shell(&node)?
    };
    Ok(Ways {
        role,
        node,
        host,
        hosts,
    })
}

/// gantry itself: where it is on the host already, or from where the host gets it.
async fn program(
    app: &App,
    session: &Session,
    role: Role,
    here: bool,
    really: bool,
) -> Result<Program, CliError> {
    let unreadable = |error: std::io::Error| {
        CliError::new(
            Exit::Unexpected,
            format!("cannot read gantry's own program: {error}"),
        )
    };
    let path = app.program().map_err(unreadable)?;
    let content = std::fs::read(&path).map_err(unreadable)?;
    let digest = Sha256::digest(&content);
    let sha256: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let from = if here || !really {
        Binary::File(path.display().to_string())
    } else {
        Binary::Url(session.lend_program(role, &sha256, &content).await?)
    };
    Ok(Program { sha256, from })
}

pub async fn install(app: &App, here: bool, dry_run: bool) -> Result<Exit, CliError> {
    let session = reading(app).await?;
    let ways = ways(app, &session, here, &[]).await?;
    let timers = look(app, &session, ways, here).await?;
    let (node, changes) = (timers.ways.node.clone(), timers.changes.clone());
    if dry_run {
        say(app, &node, &changes, "would be");
        return Ok(if changes.is_empty() {
            Exit::Done
        } else {
            Exit::Changes
        });
    }
    put(app, &session, timers, here).await?;
    say(app, &node, &changes, "is");
    Ok(Exit::Done)
}

/// What `install` ends with: the timers as the site file wants them, on machines that can be reached. Answers where they
/// are, and whether anything had to be done for it.
pub async fn settle(
    app: &App,
    session: &Session,
    identities: &[PathBuf],
) -> Result<(String, bool), CliError> {
    let ways = ways(app, session, false, identities).await?;
    let timers = look(app, session, ways, false).await?;
    let (node, changed) = (timers.ways.node.clone(), !timers.changes.is_empty());
    put(app, session, timers, false).await?;
    Ok((node, changed))
}

/// The timers, and what is to be done for them.
struct Timers {
    ways: Ways,
    placing: Placing,
    changes: Vec<Change>,
}

async fn look(app: &App, session: &Session, ways: Ways, here: bool) -> Result<Timers, CliError> {
    let layout = Layout::new(session.cx.site(), &ways.node);
    let placing = Placing {
        units: units(&session.site, &layout)?,
        layout,
        site_file: std::fs::read_to_string(&app.site_file)
            .map_err(|error| CliError::usage(format!("cannot read the site file: {error}")))?,
        journal: std::fs::read(app.site_dir(session.cx.site()).join("journal.jsonl")).ok(),
        program: program(app, session, ways.role, here, false).await?,
    };
    let changes = placing.look(ways.host.as_ref()).await?;
    Ok(Timers {
        ways,
        placing,
        changes,
    })
}

async fn put(app: &App, session: &Session, timers: Timers, here: bool) -> Result<(), CliError> {
    let Timers {
        ways,
        mut placing,
        changes,
    } = timers;
    let binary = placing.layout.binary.clone();
    if changes.iter().any(|change| change.what == binary) {
        placing.program = program(app, session, ways.role, here, true).await?;
    }
    Ok(place(&placing, &changes, ways.host.as_ref(), ways.hosts.as_ref()).await?)
}

pub async fn remove(app: &App, here: bool, dry_run: bool) -> Result<Exit, CliError> {
    let session = reading(app).await?;
    let ways = ways(app, &session, here, &[]).await?;
    let layout = Layout::new(session.cx.site(), &ways.node);
    let (host, hosts) = (ways.host.as_ref(), ways.hosts.as_ref());
    let changes = take_away(&layout, host, hosts, !dry_run).await?;
    say(
        app,
        &ways.node,
        &changes,
        if dry_run { "would be" } else { "is" },
    );
    Ok(if dry_run && !changes.is_empty() {
        Exit::Changes
    } else {
        Exit::Done
    })
}

fn say(app: &App, node: &str, changes: &[Change], verb: &str) {
    app.say
        .json(&json!({"format": 1, "host": node, "changes": changes}));
    if changes.is_empty() {
        app.say.data(&format!(
            "Nothing to do on {node}: everything is as it should be."
        ));
    }
    for change in changes {
        let how = match change.how {
            Placed::New => "new",
            Placed::Changed => "changed",
            Placed::Removed => "removed",
            Placed::Started => "started",
        };
        app.say
            .data(&format!("{node}: {} {verb} {how}", change.what));
    }
}
