//! Repositories, and a box's database: by `gitlab-backup restore` on the deploy node.
use super::super::gitlab::{self, Job, Restore, Unit};
use super::super::point::Way;
use super::super::runbook::StageCx;
use super::super::{OpsFault, transfer::Place};
use super::Restoring;
use crate::engine::Halt;
use crate::shell::Shell;

/// Everything beside the database and the repositories lies in S3, and comes back by itself.
const NOT_IN_ARCHIVE: [&str; 8] = [
    "uploads",
    "builds",
    "artifacts",
    "lfs",
    "terraform_state",
    "registry",
    "pages",
    "packages",
];

/// Where the archive is, its checksum, the backup's name, and whether the database comes out of it.
struct Source<'a> {
    archive: Place,
    sha256: &'a str,
    backup: &'a str,
    with_database: bool,
}

fn source(way: &Way) -> Option<Source<'_>> {
    match way {
        Way::Archive {
            bucket,
            key,
            backup,
            sha256,
            ..
        } => Some(Source {
            archive: Place::new(bucket, key),
            sha256,
            backup,
            with_database: true,
        }),
        Way::GitalyServerSide {
            archive_bucket,
            archive_key,
            archive_sha256,
            chain,
            ..
        } => Some(Source {
            archive: Place::new(archive_bucket, archive_key),
            sha256: archive_sha256,
            backup: &chain.backup,
            with_database: false,
        }),
        _ => None,
    }
}

/// The command that brings back what this way holds: repositories, and a box's database. None for ways that hold
/// neither.
pub fn job(way: &Way) -> Option<Job> {
    let source = source(way)?;
    let mut skip = NOT_IN_ARCHIVE.to_vec();
    if !source.with_database {
        skip.push("db");
    }
    let restore = Restore {
        backup: source.backup.to_owned(),
        skip,
    };
    Some(restore.job())
}

/// Brings the archive to the deploy node: `gitlab-backup` does not fetch it from S3 itself
/// (doc/administration/backup_restore/backup_large_reference_architectures.md).
pub async fn bring(r: &Restoring, cx: &StageCx, way: &Way) -> Result<(), Halt<OpsFault>> {
    let source = source(way).ok_or_else(|| OpsFault::internal("nothing to bring"))?;
    let shell = r.deploy_node()?;
    let job = gitlab::bring_archive(
        gitlab::lent(r.points.cloud(), &source.archive).await?,
        &gitlab::archive_path(source.backup),
        source.sha256,
    );
    run(shell.as_ref(), cx, "bring", &job).await?;
    Ok(())
}

/// The runs on the deploy node, in their order.
const RUNS: [&str; 3] = ["bring", "restore", "analyze"];

fn unit(cx: &StageCx, run: &str) -> Unit {
    Unit::new(format!("{}-{run}", cx.id))
}

/// Sees a run through. One that failed is forgotten, so that the next attempt begins it anew.
async fn run(
    shell: &dyn Shell,
    cx: &StageCx,
    name: &str,
    job: &Job,
) -> Result<String, Halt<OpsFault>> {
    let unit = unit(cx, name);
    let seen = unit.see_through(shell, job, cx).await;
    if let Err(Halt::Failed(_)) = &seen {
        // It may still run, behind a line that was cut: then it stays, and is found by the next attempt.
        let _ = unit.forget(shell).await;
    }
    seen
}

/// Restores, and stays until it is through. Begun again after a crash it is the same run on the node, which is
/// forgotten only when it is written down that it is through: see [`tidy`].
pub async fn restore(r: &Restoring, cx: &StageCx, way: &Way) -> Result<(), Halt<OpsFault>> {
    let source = source(way).ok_or_else(|| OpsFault::internal("nothing to restore"))?;
    let shell = r.deploy_node()?;
    let job = job(way).ok_or_else(|| OpsFault::internal("nothing to restore"))?;
    let output = run(shell.as_ref(), cx, "restore", &job).await?;
    if !gitlab::restored(&output) {
        let _ = unit(cx, "restore").forget(shell.as_ref()).await;
        return Err(OpsFault::check(
            format!("{}: gitlab-backup restore", shell.host()),
            "it ended without saying that the restore is done",
            "read its output on the node; then run the restore again",
        )
        .into());
    }
    if source.with_database
        && let Some(said) = gitlab::database_errors(&output)
    {
        let _ = unit(cx, "restore").forget(shell.as_ref()).await;
        return Err(OpsFault::check(
            format!("{}: the database came back with errors", shell.host()),
            said,
            "part of its rows or indexes is missing. Look for room on the node (`df -h`) and at PostgreSQL's log; then run the restore again",
        )
        .into());
    }
    if source.with_database {
        // No restore of a dump brings the planner's statistics back.
        run(shell.as_ref(), cx, "analyze", &gitlab::analyze()).await?;
    }
    Ok(())
}

/// Removes what the runs left on the deploy node. What cannot be removed costs room there and nothing else.
pub async fn tidy(r: &Restoring, cx: &StageCx, way: &Way) -> Result<(), Halt<OpsFault>> {
    let source = source(way).ok_or_else(|| OpsFault::internal("nothing to tidy"))?;
    let shell = r.deploy_node()?;
    let tidied = async {
        for run in RUNS {
            unit(cx, run).forget(shell.as_ref()).await?;
        }
        gitlab::remove_archive(shell.as_ref(), source.backup).await
    };
    if let Err(fault) = tidied.await {
        cx.note(format!("{} was not tidied: {fault}", shell.host()));
    }
    Ok(())
}
