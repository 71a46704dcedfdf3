//! `gantry drill`

mod around;
mod clean;
mod ready;
mod tell;

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use self::around::Around;
use self::clean::{forget, left_over, not_removed, remove};
use self::ready::{Two, alone, begin, considered, nothing_stands, own_address, own_keys, ready};
use self::tell::{conclude, show, tell_plan};
use super::CliError;
use super::hosts::out_of_reach;
use super::open::{Writing, reading, site, sizes};
use super::restore::refused;
use super::taking::{ground, points};
use crate::app::App;
use crate::exit::Exit;
use crate::ops::drill::{Afterwards, Ask, Drill, Proof, go, note, site_of, suits};
use crate::ops::point::{Condition, Listed, PointId, Purpose};
use crate::ops::{FileLedger, OpsFault};
use crate::ui::{Answer, ask_yes};

/// Restore a recovery point onto a site made for it, look at it, and take the site away again.
///
/// Nobody knows whether a point restores until it was restored. A drill makes a second site beside yours, in a network
/// of its own and without visitors, restores the point onto it with a GitLab that lets nothing out, runs GitLab's own
/// checks, compares a sample of repositories, and measures the time. The proof is signed and kept on the point. The
/// second site is removed whatever happens: after a failure and after Ctrl-C at once, and after anything worse by the
/// next drill or by --clean.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gantry drill --dry-run                          # the point, the site, how each part would come back
  gantry drill                                    # the newest whole point; asks first, because it costs money
  gantry drill 20261125T023000Z-1a2b3c --yes
  gantry drill --keep                             # leave the second site standing, to look at it
  gantry drill --clean                            # remove what an earlier drill left

Exit codes: 8 when the point does not restore, or a check of GitLab was not good: that is on the point too, like the
good ones; 6 when it was interrupted, and the next drill begins anew.")]
pub struct DrillArgs {
    /// The point's id, as `gantry backup list` shows it; the newest whole one if none is named.
    point: Option<PointId>,
    /// Say which point, which site and how each part would come back, and stop.
    #[arg(long, conflicts_with_all = ["keep", "clean"])]
    dry_run: bool,
    /// Leave the drill's site standing at the end. It costs what a site costs until --clean removes it.
    #[arg(long, conflicts_with = "clean")]
    keep: bool,
    /// Only remove what an earlier drill left.
    #[arg(long, conflicts_with = "point")]
    clean: bool,
    /// A private key to offer to the nodes. Can be repeated.
    #[arg(long, short = 'i', value_name = "FILE")]
    identity: Vec<PathBuf>,
}

/// Whether somebody has to say yes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Consent {
    Asked,
    /// The site file asked for it.
    Given,
}

/// As a timer starts it: the newest whole point.
pub async fn scheduled(app: &App) -> Result<Exit, CliError> {
    let args = DrillArgs {
        point: None,
        dry_run: false,
        keep: false,
        clean: false,
        identity: Vec::new(),
    };
    let done = drill(app, &args, Consent::Given).await;
    done.map_err(|error| {
        if error.brief().0 == Exit::Cloud && app.appliance().is_some() {
            error.because(RIGHTS)
        } else {
            error
        }
    })
}

/// Said when AWS refuses a drill of the timer.
const RIGHTS: &str = "a drill has the rights of the profile that /etc/gantry/drill.env names, and without one those of \
    the appliance host, which may not make a site (`gantry policy --for drill`)";

pub async fn run(app: &App, args: &DrillArgs) -> Result<Exit, CliError> {
    drill(app, args, Consent::Asked).await
}

async fn drill(app: &App, args: &DrillArgs, consent: Consent) -> Result<Exit, CliError> {
    let (site, _) = site(app)?;
    let real = reading(app).await?;
    let mut drill = site_of(&site, own_address(app, &real)).map_err(|why| {
        CliError::usage(format!(
            "a drill of {} is not possible: {}",
            site.site.name, why.why
        ))
        .help(why.help)
    })?;
    let admins = &mut drill.network.admin_keys;
    for key in own_keys(app, &args.identity) {
        if admins.iter().all(|known| known.body() != key.body()) {
            admins.push(key);
        }
    }
    let ground = ground(app, &real).await?;
    if args.clean {
        return remove(app, &real, drill).await;
    }
    let (signer, points) = points(&real).await?;
    let listed = match &args.point {
        Some(id) => points.read(id).await?,
        None => newest(points.list().await?)?,
    };
    let manifest = listed.restorable()?.clone();
    suits(&mut drill, &manifest)?;
    let two = Two {
        sizes: sizes(&drill)?,
        real,
        ground,
        signer,
        points,
        drill,
        listed,
        manifest,
    };
    if args.dry_run {
        return show(app, args, &two).await;
    }
    let opened = begin(app, &two.real, two.drill.clone(), two.sizes.clone()).await?;
    let lease = alone(app, &two.real, &opened).await?;
    let done = lease.hold(locked(app, args, consent, two, opened)).await?;
    let released = lease.release().await;
    let exit = done?;
    released?;
    Ok(exit)
}

/// The newest whole point that restores onto another site.
fn newest(all: Vec<Listed>) -> Result<Listed, CliError> {
    let restores = |listed: &Listed| {
        let full = listed.manifest().map(|said| said.purpose) == Some(Purpose::Full);
        full && listed.condition() == Condition::Whole
    };
    all.into_iter().rev().find(restores).ok_or_else(|| {
        CliError::new(Exit::Check, "there is no whole recovery point")
            .help("take one with `gantry backup create`")
    })
}

/// With all locks held.
async fn locked(
    app: &App,
    args: &DrillArgs,
    consent: Consent,
    two: Two,
    opened: Writing,
) -> Result<Exit, CliError> {
    if let Some(exit) = left_over(app, args, &two.real, &opened).await? {
        return Ok(exit);
    }
    let session = opened.session.clone();
    nothing_stands(&session).await?;
    let folder = app.site_dir(session.cx.site());
    forget(&folder)?;
    let considered = considered(app, &two).await?;
    if !considered.findings.is_empty() {
        let findings = considered.findings.iter().map(ToString::to_string);
        let proof = Proof::of_faulty(&two.manifest.id, app.clock.now(), findings.collect());
        note(&two.points, &two.signer, &proof).await?;
    }
    if !considered.against.is_empty() {
        return Err(refused(&two.manifest.id, &considered));
    }
    ready(&session).await?;
    if !app.has_no_machines()
        && let Some(why) = out_of_reach(app, &session, &args.identity)
    {
        return Err(
            CliError::usage(format!("the nodes of a drill could not be reached: {why}"))
                .help("nothing was changed"),
        );
    }
    tell_plan(app, args, &two);
    confirm(app, consent, &two)?;
    let opened = Arc::new(opened);
    let going = Arc::new(Drill {
        ask: Ask {
            point: two.manifest.id.clone(),
            afterwards: if args.keep {
                Afterwards::Keep
            } else {
                Afterwards::Remove
            },
        },
        manifest: two.manifest,
        session,
        points: two.points,
        signer: two.signer,
        around: Arc::new(Around::new(app, opened.clone(), &args.identity)),
        journals: folder.join("transfers"),
        observe: opened.observe.clone(),
    });
    let ledgers = app.site_dir(two.real.cx.site());
    let ledger = FileLedger::open(&ledgers, &opened.run).map_err(OpsFault::from)?;
    let came = go(&going, &opened.run, Arc::new(ledger), &app.stop, app.clock)
        .await
        .map_err(|fault| not_removed(opened.session.cx.site(), &fault))?;
    if !args.keep {
        forget(&folder)?;
    }
    conclude(app, args, &opened, &opened.run, came)
}

fn confirm(app: &App, consent: Consent, two: &Two) -> Result<(), CliError> {
    if app.assume_yes || consent == Consent::Given {
        return Ok(());
    }
    let question = format!(
        "Make the site {} and restore {} onto it? For the time it costs what {} costs.",
        two.drill.site.name,
        two.manifest.id,
        two.real.cx.site()
    );
    match ask_yes(&question) {
        Answer::Yes => Ok(()),
        Answer::No => Err(CliError::usage("nothing was made")),
        Answer::Nobody => Err(CliError::usage("nobody is there to say yes")
            .help("pass --yes; --dry-run shows what would be done")),
    }
}
