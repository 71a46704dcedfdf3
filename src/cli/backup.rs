//! `gantry backup`, and what its verbs share.

pub mod create;
mod list;
mod open;
mod pin;
mod prune;
mod show;
pub mod verify;

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::CliError;
use crate::app::App;
use crate::exit::Exit;
use crate::ops::point::{
    Listed, Manifest, Points, Purpose, SIGNING_KEY, Signer, Standing, Trusted,
};
use crate::ops::prune::{self as pruning, Judged, PrunePlan};
use crate::ops::retention::Policy;
use crate::session::Session;
use crate::ui::human;

pub use self::list::list_of;
pub use self::prune::prune_of;

/// Take, list, show, verify, open, keep and remove recovery points.
///
/// A recovery point is one moment of the site: database, Git data, objects, secrets and configuration, named by one
/// signed manifest in the backup bucket.
#[derive(Debug, Args)]
pub struct BackupArgs {
    #[command(subcommand)]
    what: BackupCommand,
}

#[derive(Debug, Subcommand)]
enum BackupCommand {
    Create(create::CreateArgs),
    List(list::ListArgs),
    Show(show::ShowArgs),
    Verify(verify::VerifyArgs),
    Open(open::OpenArgs),
    Prune(prune::PruneArgs),
    Pin(pin::PinArgs),
    Unpin(pin::UnpinArgs),
}

/// Whose signatures count.
#[derive(Debug, Args)]
struct Trust {
    /// Take points for true that this key signed, instead of the site's own: for points of an account that is gone.
    #[arg(long = "trust", value_name = "KEY")]
    key: Option<Trusted>,
}

pub async fn run(app: &App, args: &BackupArgs) -> Result<Exit, CliError> {
    match &args.what {
        BackupCommand::Create(args) => create::run(app, args).await,
        BackupCommand::List(args) => list::run(app, args).await,
        BackupCommand::Show(args) => show::run(app, args).await,
        BackupCommand::Verify(args) => verify::run(app, args).await,
        BackupCommand::Open(args) => open::run(app, args).await,
        BackupCommand::Prune(args) => prune::run(app, args).await,
        BackupCommand::Pin(args) => pin::pin(app, args).await,
        BackupCommand::Unpin(args) => pin::unpin(app, args).await,
    }
}

/// The site's signing key.
async fn signer(session: &Session) -> Result<Signer, CliError> {
    let entry = session.names()?.secret(SIGNING_KEY);
    Ok(Signer::of_site(&session.cx, &entry).await?)
}

/// The points in the site's backup bucket.
fn points_of(session: &Session, trusted: Trusted) -> Result<Points, CliError> {
    let bucket = session.names()?.bucket("backups");
    Ok(Points::new(session.cx.clone(), bucket, trusted))
}

async fn open_points(session: &Session, trust: Option<&Trust>) -> Result<Points, CliError> {
    let trusted = match trust.and_then(|trust| trust.key) {
        Some(key) => key,
        None => signer(session).await?.trusted(),
    };
    points_of(session, trusted)
}

/// Every point with what a prune would do with it.
async fn judged(
    app: &App,
    session: &Session,
    points: &Points,
    only: Option<Purpose>,
) -> Result<PrunePlan, CliError> {
    let policy = Policy::of(&session.site.backup).map_err(|error| {
        CliError::usage(format!("`backup.timezone`: {error}")).help(
            "this machine's list of time zones lacks it: update tzdata, or write another zone",
        )
    })?;
    let mut listed = points.list().await?;
    if let Some(only) = only {
        listed.retain(|listed| listed.manifest().map(|said| said.purpose) == Some(only));
    }
    Ok(pruning::plan(
        &policy,
        app.clock.now(),
        listed,
        points.bucket(),
    ))
}

fn size(manifest: &Manifest) -> u64 {
    manifest.parts.iter().map(|part| part.bytes).sum()
}

/// `3 h 20 min ago`, `12 days ago`.
fn age(time: Duration) -> String {
    match time.as_secs() / 86_400 {
        0 | 1 => format!("{} ago", human(time)),
        days => format!("{days} days ago"),
    }
}

fn describe(point: &Judged) -> Value {
    let listed = &point.listed;
    let manifest = listed.manifest();
    let reasons = point.verdict.reasons.iter().map(ToString::to_string);
    json!({
        "id": listed.id,
        "condition": listed.condition(),
        "purpose": manifest.map(|m| m.purpose),
        "began": manifest.map(|m| m.began),
        "ended": manifest.map(|m| m.ended),
        "parts": manifest.map(|m| m.parts.len()),
        "bytes": manifest.map(size),
        "verified": listed.marks.verified,
        "drilled": listed.marks.drilled.as_ref().map(|d| json!({"at": d.at, "outcome": d.outcome})),
        "pinned": listed.marks.pinned,
        "doubts": doubts(listed),
        "fate": point.verdict.fate,
        "reasons": reasons.collect::<Vec<_>>(),
    })
}

/// Everything about a point that cannot be believed.
fn doubts(listed: &Listed) -> Vec<String> {
    let mut doubts = Vec::new();
    if let Standing::Untrusted { why, .. } = &listed.standing {
        doubts.push(format!("its manifest cannot be trusted: {why}"));
    }
    doubts.extend(listed.doubts.iter().cloned());
    doubts
}

fn tell_doubts(app: &App, plan: &PrunePlan) {
    for point in &plan.points {
        for doubt in doubts(&point.listed) {
            app.say.warn(&format!("{}: {doubt}", point.listed.id));
        }
    }
}
