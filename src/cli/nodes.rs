//! What `install` does for the nodes once AWS has what they stand on: their secrets, their files, their boot.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::CliError;
use super::open::Writing;
use super::render::write;
use crate::app::App;
use crate::engine::StopLevel;
use crate::exit::Exit;
use crate::secret::Secret;
use crate::session::{Boot, BootState, Change, Delivered, Reading};
use crate::site::{SecretRef, Site};

/// How often the nodes' reports are read. A boot takes minutes.
const PAUSE: Duration = Duration::from_secs(15);

/// What there is to say about the nodes at the end of an install.
pub struct Nodes {
    pub delivered: Vec<Delivered>,
    pub boots: Vec<Boot>,
    /// Whether the boots were waited for.
    pub exit: Exit,
}

/// Fills secrets, delivers bundles, and waits for the nodes to report, `wait` at most.
pub async fn bring_up(
    app: &App,
    writing: &Writing,
    reading: &Reading,
    wait: Duration,
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
        .fill_secrets(&given(&session.site, &app.site_file)?)
        .await?;
    for name in &written {
        app.say
            .tell(&format!("secret {name}: its value is in Secrets Manager"));
    }
    let delivered = session.deliver(&packed).await?;
    let changed = delivered.iter().filter(|d| d.change == Change::Pointed);
    app.say.tell(&format!(
        "Nodes: {} rendered, {} with new files; copies are in {}.",
        delivered.len(),
        changed.count(),
        folder.display()
    ));
    if app.has_no_machines() {
        app.say.data(&format!(
            "{} nodes are rendered and not booted: {}.",
            delivered.len(),
            if app.is_sandbox() {
                "the sandbox has no machines"
            } else {
                "an emulator has no machines"
            }
        ));
        return Ok(Nodes {
            delivered,
            boots: vec![],
            exit: Exit::Done,
        });
    }
    let (boots, exit) = watch(app, writing, &delivered, wait).await?;
    Ok(Nodes {
        delivered,
        boots,
        exit,
    })
}

/// Reads the reports until every fixed node is ready, somebody says stop, or the patience is over.
async fn watch(
    app: &App,
    writing: &Writing,
    delivered: &[Delivered],
    wait: Duration,
) -> Result<(Vec<Boot>, Exit), CliError> {
    let began = app.clock.now();
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
        if boots.iter().all(ready) {
            return Ok((boots, Exit::Done));
        }
        if app.stop.level() != StopLevel::Go {
            app.say.warn(
                "Interrupted. The nodes go on by themselves; run `gantry install` again to look.",
            );
            return Ok((boots, Exit::Interrupted));
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
        app.clock.sleep(PAUSE).await;
    }
}

/// The secrets that the site file takes from the environment or a file, by the name of their entry.
fn given(site: &Site, site_file: &Path) -> Result<BTreeMap<String, Secret>, CliError> {
    let folder = site_file.parent().unwrap_or(Path::new("."));
    let mut given = BTreeMap::new();
    for (path, reference) in site.secrets() {
        let key = path.to_string();
        let Some(entry) = entry(&key) else { continue };
        let missing = |what: String, help: &str| {
            CliError::usage(format!("`{key}` is `{reference}`, and {what}")).help(help.to_owned())
        };
        let text = match reference {
            SecretRef::Generate | SecretRef::Arn(_) => continue,
            SecretRef::Env(name) => crate::app::variable(name).ok_or_else(|| {
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
        given.insert(entry.to_owned(), Secret::new(text));
    }
    Ok(given)
}

/// The entry of Secrets Manager behind a key of the site file.
fn entry(key: &str) -> Option<&'static str> {
    Some(match key {
        "gitlab.initial_root_password" => "initial-root-password",
        "gitlab.license" => "license",
        "gitlab.activation_code" => "activation-code",
        "smtp.password" => "smtp-password",
        "ldap.password" => "ldap-password",
        "saml.idp_cert" => "saml-idp-cert",
        _ => return None,
    })
}
