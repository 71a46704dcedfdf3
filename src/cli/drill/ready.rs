//! Whether a drill can begin: its site's name and locks, the point, and what AWS has to give.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use super::super::CliError;
use super::super::open::{Writing, writing};
use super::super::taking::holder;
use crate::app::{App, both};
use crate::ops::backup::{DRILL_LOCK_KEY, Ground, Lease};
use crate::ops::drill::{VERB, own};
use crate::ops::point::{Listed, Manifest, Points, Signer};
use crate::ops::restore::{Considered, Onto, against};
use crate::ops::transfer::Share;
use crate::ops::verify::{Look, Wrong, examine_listed};
use crate::profile::Profile;
use crate::runs::{RunHead, record};
use crate::session::{Destroy, InstallOptions, Session};
use crate::site::{Certificate, Site, SshPublicKey};

/// The site that points are taken of, the one of the drill, and the point.
pub(super) struct Two {
    pub(super) real: Session,
    pub(super) ground: Ground,
    pub(super) signer: Signer,
    pub(super) points: Points,
    pub(super) drill: Site,
    pub(super) sizes: Profile,
    pub(super) listed: Listed,
    pub(super) manifest: Manifest,
}

/// The public halves of the keys that are offered to the drill's machines, where they lie beside them.
pub(super) fn own_keys(app: &App, identities: &[PathBuf]) -> Vec<SshPublicKey> {
    let files = app.ssh_key().into_iter().chain(identities.iter().cloned());
    let public = |file: PathBuf| {
        let mut name = file.into_os_string();
        name.push(".pub");
        std::fs::read_to_string(name).ok()?.trim().parse().ok()
    };
    files.filter_map(public).collect()
}

/// The address that this machine has in the world, where it is the appliance host.
pub(super) fn own_address(app: &App, real: &Session) -> Option<Ipv4Addr> {
    let address = format!("ec2/elastic_ip:{}", app.appliance()?)
        .parse()
        .ok()?;
    let outputs = real.store.state().outputs();
    let output = outputs.0.get(&address)?;
    output.get("address")?.as_str()?.parse().ok()
}

/// Takes the lock of the drill's site and opens its journal. The site that is drilled tells the story of the run, too.
pub(super) async fn begin(
    app: &App,
    real: &Session,
    drill: Site,
    profile: Profile,
) -> Result<Writing, CliError> {
    let mut opened = writing(app, drill, profile, VERB).await?;
    let site = real.cx.site();
    let head = RunHead {
        format: 1,
        run: opened.run.clone(),
        verb: VERB.to_owned(),
        site: site.to_owned(),
        at: app.clock.now(),
        version: env!("CARGO_PKG_VERSION").into(),
    };
    let diary = record(&app.site_dir(site), &head, app.clock)?;
    opened.observe = both(opened.observe.clone(), diary);
    app.watch_interrupts(opened.observe.clone());
    Ok(opened)
}

/// On other machines, too, one drill at a time: they would share the site.
pub(super) async fn alone(app: &App, real: &Session, opened: &Writing) -> Result<Lease, CliError> {
    let bucket = real.names()?.bucket("backups");
    let me = holder(app, &opened.run, VERB);
    let at = (bucket.as_str(), DRILL_LOCK_KEY);
    Ok(Lease::take_at(&real.cx, at, &opened.run, &me).await?)
}

/// What stands under the drill's name and is in no ledger here was kept on purpose, or made from another machine.
pub(super) async fn nothing_stands(session: &Session) -> Result<(), CliError> {
    own(&session.cx).await?;
    let plan = session.plan_destroy(&EVERYTHING).await?;
    if plan.is_empty() {
        return Ok(());
    }
    Err(CliError::usage(format!(
        "the site {} stands: an earlier drill kept it, or was begun on another machine",
        plan.site
    ))
    .help("`gantry drill --clean` removes it"))
}

pub(super) const EVERYTHING: Destroy = Destroy {
    delete_data: true,
    final_snapshot: None,
};

/// Looks at the point as `gantry backup verify` does, and compares it with the drill's site. Changes nothing.
pub(super) async fn considered(app: &App, two: &Two) -> Result<Considered, CliError> {
    let look = Look {
        read: "0%".parse::<Share>().map_err(CliError::usage)?,
        seed: 0,
    };
    let examined = examine_listed(&two.ground, &two.points, &two.listed, look).await?;
    for doubt in &examined.doubts {
        app.say.warn(&format!("{}: {doubt}", examined.id));
    }
    let mut findings = examined.findings;
    // A copy in another region is not what a restore takes.
    findings.retain(|finding| finding.wrong != Wrong::Copy);
    Ok(Considered {
        onto: Onto::Other,
        against: against(
            &two.manifest,
            Onto::Other,
            &two.drill,
            &two.sizes,
            &findings,
        ),
        manifest: Some(two.manifest.clone()),
        findings,
        doubts: examined.doubts,
    })
}

/// Whether the site can be made without a person. Writes nothing.
pub(super) async fn ready(session: &Session) -> Result<usize, CliError> {
    let reading = session.read(&InstallOptions::default()).await?;
    let site = &session.site;
    let mut names = site.names();
    if let (Certificate::Request, Some(name)) = (
        &site.tls.certificate,
        names.find(|name| reading.facts.zone_of(name).is_none()),
    ) {
        return Err(CliError::usage(format!(
            "nobody can vouch for the certificate of {name}: the account has no hosted zone for it"
        ))
        .help(
            "name any ACM certificate by its ARN under [tls] certificate: nobody visits a drill",
        ));
    }
    Ok(reading.blueprint.len())
}
