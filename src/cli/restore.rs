//! `gantry restore`

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use serde_json::json;

use super::CliError;
use super::hosts::{hosts_or_played, out_of_reach};
use super::open::{Writing, reading, site, writing};
use super::procedure::{carry_told, end, stages, trouble};
use super::taking::{ground, holder, points};
use crate::app::App;
use crate::exit::Exit;
use crate::ops::OpsFault;
use crate::ops::backup::{Ground, Lease};
use crate::ops::point::{Manifest, PointId, Points, Trusted};
use crate::ops::restore::{
    Ask, Considered, Line, Onto, Report, Restoring, VERB, Whose, book, consider, plan, report,
};
use crate::ops::transfer::Share;
use crate::ops::verify::Look;
use crate::session::Session;
use crate::ui::{Answer, ask_name, human, table};

/// Bring a recovery point back, onto this site or another.
///
/// Looks at the point first, as `gantry backup verify` does, and says everything that speaks against it at once. What is
/// replaced is set aside under another name and never deleted: the report says what it is called. GitLab's workers stand
/// still while data is put in place. GitLab's own checks run at the end, and the refs of a sample of repositories are
/// compared. Interrupted, run it again.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gantry restore 20261125T023000Z-1a2b3c --dry-run           # how each part would come back
  gantry restore 20261125T023000Z-1a2b3c                     # asks for the site's name
  gantry restore 20261125T023000Z-1a2b3c --site acme --yes
  gantry restore 20261125T023000Z-1a2b3c --from BUCKET --trust ed25519:…   # a point of another site, onto this one

Exit codes: 8 when something is wrong with the point, or a check of GitLab was not good afterwards; 2 when the point is
of another version or edition, or of another kind of site.")]
pub struct RestoreArgs {
    /// The point's id, as `gantry backup list` shows it.
    point: PointId,
    /// The backup bucket of the site that the point was taken of, if that is another one.
    #[arg(long, value_name = "BUCKET", requires = "trust")]
    from: Option<String>,
    /// The key that the other site signs its points with, as its `gantry backup show` prints it.
    #[arg(long, value_name = "KEY", requires = "from")]
    trust: Option<Trusted>,
    /// How much of the objects' data to read back before; existence and size of all is looked at in any case.
    #[arg(long, value_name = "SHARE", default_value = "0%")]
    read_data: Share,
    /// Let nothing leave the restored GitLab: no mail, no webhooks, no mirrors.
    #[arg(long)]
    silent: bool,
    /// Show how each part would come back, and stop.
    #[arg(long)]
    dry_run: bool,
    /// The site's name, as the word that confirms (asked for otherwise).
    #[arg(long, value_name = "NAME")]
    site: Option<String>,
    /// A private key to offer. Can be repeated.
    #[arg(long, short = 'i', value_name = "FILE")]
    identity: Vec<PathBuf>,
}

/// A point that was looked at, and nothing speaks against.
struct Ready {
    ground: Ground,
    points: Points,
    manifest: Manifest,
    onto: Onto,
    lines: Vec<Line>,
}

pub async fn run(app: &App, args: &RestoreArgs) -> Result<Exit, CliError> {
    let (site, profile) = site(app)?;
    let name = site.site.name.to_string();
    if let Some(said) = args.site.as_ref().filter(|said| **said != name) {
        return Err(CliError::usage(format!(
            "--site says {said}, but the site file is for {name}"
        )));
    }
    if args.dry_run {
        let session = reading(app).await?;
        let ready = ready(app, &session, args).await?;
        show(app, &ready);
        app.say.json(&json!({
            "format": 1, "point": args.point, "onto": ready.onto, "plan": ready.lines,
        }));
        return Ok(Exit::Done);
    }
    let writing = writing(app, site, profile, VERB).await?;
    app.watch_interrupts(writing.observe.clone());
    let session = &writing.session;
    let ready = ready(app, session, args).await?;
    show(app, &ready);
    if !app.has_no_machines()
        && let Some(why) = out_of_reach(app, session, &args.identity)
    {
        return Err(
            CliError::usage(format!("the nodes cannot be reached: {why}"))
                .help("nothing was changed"),
        );
    }
    confirm(app, args, &name)?;
    carry_out(app, &writing, args, ready).await
}

async fn carry_out(
    app: &App,
    writing: &Writing,
    args: &RestoreArgs,
    ready: Ready,
) -> Result<Exit, CliError> {
    let session = &writing.session;
    let site = session.cx.site();
    let ask = Ask {
        point: args.point.clone(),
        from: ready.points.bucket().to_owned(),
        silent: args.silent,
    };
    let restoring = Arc::new(Restoring {
        ground: ready.ground,
        session: session.clone(),
        hosts: hosts_or_played(app, session, &args.identity).await?,
        points: ready.points,
        manifest: ready.manifest,
        onto: ready.onto,
        journals: app.site_dir(site).join("transfers"),
        silent: args.silent,
    });
    let book = book(&restoring, &ask, &writing.observe);
    // Nobody takes a point of a site that is half restored.
    let bucket = restoring.ground.names.bucket("backups");
    let me = holder(app, &writing.run, VERB);
    let lease = Lease::take(&session.cx, &bucket, &writing.run, &me).await?;
    let carried = lease.hold(carry_told(app, writing, book)).await?;
    let released = lease.release().await;
    let (carried, story) = carried?;
    released?;
    let proof = report(&story, &restoring.manifest, site).filter(|_| carried.complete());
    app.say.json(&json!({
        "format": 1,
        "run": writing.run,
        "point": args.point,
        "complete": carried.complete(),
        "stages": stages(&carried),
        "report": proof,
    }));
    let again = app.again(&again(args));
    if let Some(trouble) = trouble(&carried, &again) {
        return Err(trouble);
    }
    let Some(proof) = proof else {
        return Ok(end(app, &carried, &again));
    };
    tell(app, &proof);
    Ok(if proof.sound { Exit::Done } else { Exit::Check })
}

/// What to run to go on.
fn again(args: &RestoreArgs) -> String {
    let mut words = format!("{VERB} {}", args.point);
    if let (Some(from), Some(trust)) = (&args.from, &args.trust) {
        words += &format!(" --from {from} --trust {trust}");
    }
    if args.silent {
        words += " --silent";
    }
    words
}

/// Looks at the point, and refuses with everything that speaks against it. Changes nothing.
async fn ready(app: &App, session: &Session, args: &RestoreArgs) -> Result<Ready, CliError> {
    let ground = ground(app, session).await?;
    let points = match (&args.from, args.trust) {
        (Some(bucket), Some(trusted)) => Points::new(session.cx.clone(), bucket, trusted),
        _ => points(session).await?.1,
    };
    let listed = points.read(&args.point).await?;
    let whose = if args.from.is_some() {
        Whose::Anybody
    } else {
        Whose::Own
    };
    let mut seed = [0; 8];
    // Without randomness the same objects are read each time.
    let _ = getrandom::fill(&mut seed);
    let look = Look {
        read: args.read_data,
        seed: u64::from_le_bytes(seed),
    };
    let considered = consider(&ground, &points, &listed, whose, look).await?;
    for doubt in &considered.doubts {
        app.say.warn(&format!("{}: {doubt}", args.point));
    }
    if !considered.against.is_empty() {
        return Err(refused(&args.point, &considered));
    }
    let onto = considered.onto;
    let Some(manifest) = considered.manifest else {
        return Err(OpsFault::internal("a point without a manifest was found to be sound").into());
    };
    Ok(Ready {
        lines: plan(&manifest, onto),
        ground,
        points,
        manifest,
        onto,
    })
}

/// Everything at once: a person who mends one thing should not meet the next only afterwards.
pub(super) fn refused(point: &PointId, considered: &Considered) -> CliError {
    let exit = if considered.findings.is_empty() {
        Exit::Usage
    } else {
        Exit::Check
    };
    let mut error = CliError::new(
        exit,
        format!("{point} is not restored, and nothing was changed"),
    );
    let mut hints: Vec<&str> = Vec::new();
    for (why, help) in &considered.against {
        error = error.because(why.clone());
        if !hints.contains(&help.as_str()) {
            hints.push(help);
        }
    }
    error.help(hints.join("\n      "))
}

/// --yes alone is not enough: the name must be said.
fn confirm(app: &App, args: &RestoreArgs, name: &str) -> Result<(), CliError> {
    if app.assume_yes && args.site.is_some() {
        return Ok(());
    }
    let help = format!("pass --yes --site {name}; --dry-run shows how each part would come back");
    if app.assume_yes {
        return Err(CliError::usage("restore wants the site's name as well as --yes").help(help));
    }
    let question = format!("Type the site's name ({name}) to restore onto it:");
    match ask_name(&question, name) {
        Answer::Yes => Ok(()),
        Answer::No => Err(CliError::usage(
            "that is not the site's name; nothing was restored",
        )),
        Answer::Nobody => Err(CliError::usage("nobody is there to confirm").help(help)),
    }
}

/// How each part comes back, as a table.
pub(super) fn show_lines(app: &App, lines: &[Line]) {
    let rows: Vec<_> = lines
        .iter()
        .map(|line| {
            vec![
                line.part.to_string(),
                line.how.clone(),
                line.instead.clone(),
            ]
        })
        .collect();
    app.say.tell(&table(
        &["PART", "COMES BACK AS", "WHAT IS THERE NOW"],
        &rows,
    ));
}

fn show(app: &App, ready: &Ready) {
    show_lines(app, &ready.lines);
    let (whose, began) = (&ready.manifest.site.name, ready.manifest.began);
    let began = began.strftime("%F %T UTC");
    app.say.tell(&match ready.onto {
        Onto::Same => format!("A point of this site, of {began}."),
        Onto::Other => format!("A point of the site {whose}, of {began}."),
    });
}

fn tell(app: &App, report: &Report) {
    let seconds = |seconds: u64| human(std::time::Duration::from_secs(seconds));
    app.say.data(&format!(
        "{} is restored onto {}: GitLab serves again after {}, and at most {} of work is lost.",
        report.point,
        report.site,
        seconds(report.rto_seconds),
        seconds(report.rpo_seconds)
    ));
    tell_checks(app, report);
    for (what, name) in &report.set_aside {
        app.say.data(&format!(
            "{what} that was there is kept as {name}; it costs money until you delete it."
        ));
    }
    if !report.sound {
        app.say.warn(
            "Not everything is as it should be. It may have been so before: compare with the same check on the site that the point was taken of.",
        );
    }
}

/// What GitLab's own checks and the comparison of refs said.
pub(super) fn tell_checks(app: &App, report: &Report) {
    for check in &report.checks {
        let word = if check.ok { "ok  " } else { "FAIL" };
        app.say
            .data(&format!("{word}  {}: {}", check.node, check.check));
        for finding in &check.findings {
            app.say.data(&format!("        {finding}"));
        }
    }
    let compared = &report.compared;
    if compared.repositories > 0 {
        app.say.data(&format!(
            "{} of {} repositories compared have the refs of the point.",
            compared.repositories - compared.differing.len() as u64,
            compared.repositories
        ));
    }
    for repository in &compared.differing {
        app.say.data(&format!("FAIL  {repository} differs"));
    }
}
