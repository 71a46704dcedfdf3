//! Git data, by `gitlab-backup` on the deploy node: through Gitaly's own backups, or in the archive of a box.

use super::{Saving, Taking, bytes_of, index_key};
use crate::blueprint::ARCHIVES;
use crate::engine::Halt;
use crate::ops::OpsFault;
use crate::ops::backup::chain::Next;
use crate::ops::gitlab::{self, Backup, Unit};
use crate::ops::point::{Chain, ObjectIndex, PartName, PointId, Points, Way};
use crate::ops::runbook::StageCx;
use crate::ops::transfer::Place;

/// An archive that `gitlab-backup` wrote and sent to the bucket.
struct Sent {
    backup: String,
    key: String,
    bytes: u64,
    sha256: String,
}

fn unit(point: &PointId) -> Unit {
    Unit::new(format!("backup-{point}"))
}

/// Runs `gitlab-backup`, or finds it running, and compares what is in the bucket with what is on the node.
async fn run(
    stage: &StageCx,
    taking: &Taking,
    point: &PointId,
    backup: &Backup,
) -> Result<Sent, Halt<OpsFault>> {
    let shell = taking.deploy_node()?;
    let output = match unit(point)
        .see_through(shell.as_ref(), &backup.job(), stage)
        .await
    {
        Ok(output) => output,
        Err(Halt::Failed(fault)) => return Err(named(shell.host(), fault).into()),
        Err(Halt::Interrupted) => return Err(Halt::Interrupted),
    };
    let Some(id) = gitlab::backup_id(&output) else {
        return Err(named(
            shell.host(),
            OpsFault::check(
                format!("{}: gitlab-backup", shell.host()),
                "it ended without saying that a backup is done",
                "its output is on the node: `gantry runs show last` names the node",
            ),
        )
        .into());
    };
    let archive = gitlab::archive(shell.as_ref(), &id).await?;
    let key = format!("{ARCHIVES}/{id}_gitlab_backup.tar");
    let cx = &taking.ground.cx;
    let bucket = taking.bucket();
    let stored = cx
        .read("s3:GetObject", || {
            cx.aws().s3.head_object().bucket(bucket).key(&key).send()
        })
        .await;
    let stored = match stored {
        Ok(stored) => stored,
        Err(fault) if fault.is_gone() => {
            return Err(OpsFault::check(
                format!("s3://{bucket}/{key}"),
                "gitlab-backup says that it is done, and the archive is not there",
                "look at `backup_upload_connection` in the deploy node's gitlab.rb, and at what its role may write",
            )
            .into());
        }
        Err(fault) => return Err(fault.into()),
    };
    let bytes = u64::try_from(stored.content_length().unwrap_or_default()).unwrap_or_default();
    if bytes != archive.bytes {
        return Err(OpsFault::check(
            format!("s3://{bucket}/{key}"),
            format!(
                "it has {bytes} bytes, and on the node it has {}",
                archive.bytes
            ),
            "take a new point: the upload was cut short",
        )
        .into());
    }
    Ok(Sent {
        backup: id,
        key,
        bytes,
        sha256: archive.sha256,
    })
}

/// A failed run, with the repositories that it names. One broken repository fails all of them
/// (gitlab-org/gitaly issue 5972).
fn named(host: &str, fault: OpsFault) -> OpsFault {
    let text = fault.to_string();
    let failed: Vec<String> = gitlab::failed_repositories(&text).into_iter().collect();
    if failed.is_empty() {
        return fault;
    }
    let shown = failed
        .iter()
        .take(5)
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    OpsFault::check(
        format!("{host}: gitlab-backup"),
        format!("{} repositories could not be saved: {shown}", failed.len()),
        "check them with `gitlab-rake gitlab:git:fsck` on the deploy node, mend or remove them, and take a new point",
    )
}

/// What `gitlab-backup` is asked for on a box.
pub fn everything() -> Backup {
    Backup {
        directory: Some(ARCHIVES.to_owned()),
        ..Backup::default()
    }
}

/// The archive of a box: its database and its repositories.
pub async fn archive(
    stage: &StageCx,
    taking: &Taking,
    point: &PointId,
    holds: &[PartName],
) -> Result<Saving, Halt<OpsFault>> {
    let sent = run(stage, taking, point, &everything()).await?;
    Ok(Saving {
        began: None,
        bytes: sent.bytes,
        way: Way::Archive {
            bucket: taking.bucket().to_owned(),
            key: sent.key,
            backup: sent.backup,
            sha256: sent.sha256,
            holds: holds.to_vec(),
        },
    })
}

/// Repositories that Gitaly writes by itself, and the list of everything they consist of.
pub async fn server_side(
    stage: &StageCx,
    taking: &Taking,
    point: &PointId,
    next: &Next,
) -> Result<Saving, Halt<OpsFault>> {
    let backup = Backup {
        server_side: true,
        // The command line of the documentation for large sites: the database goes its own way, and objects that lie
        // in S3 are left out anyway.
        skip: vec!["db"],
        previous: next.previous.as_ref().map(|(_, backup)| backup.clone()),
        directory: Some(ARCHIVES.to_owned()),
    };
    if let Some((id, _)) = &next.previous {
        bring(stage, taking, point, id).await?;
    }
    let sent = run(stage, taking, point, &backup).await?;
    let chain = next.chain(point, sent.backup);
    let steps = steps(&taking.points, &chain).await?;
    let bucket = taking.ground.fleet.buckets.gitaly_backups.clone();
    let index = list(taking, &bucket, &steps, point).await?;
    if index.count == 0 {
        return Err(OpsFault::check(
            format!("s3://{bucket}"),
            format!("Gitaly wrote nothing for {}", chain.backup),
            "look at `go_cloud_url` in the gitlab.rb of the Gitaly nodes, and at what their role may write",
        )
        .into());
    }
    Ok(Saving {
        began: None,
        bytes: bytes_of(&index) + sent.bytes,
        way: Way::GitalyServerSide {
            bucket,
            archive_bucket: taking.bucket().to_owned(),
            archive_key: sent.key,
            archive_sha256: sent.sha256,
            chain,
            index,
        },
    })
}

fn bringing(point: &PointId) -> Unit {
    Unit::new(format!("bring-{point}"))
}

/// Brings the archive of the step that this one adds to: `gitlab-backup` unpacks it first, from the node's disk, also where
/// the repositories are in Gitaly's own bucket (lib/backup/manager.rb of GitLab).
async fn bring(
    stage: &StageCx,
    taking: &Taking,
    point: &PointId,
    previous: &PointId,
) -> Result<(), Halt<OpsFault>> {
    let before = taking.points.read(previous).await?;
    let part = before
        .manifest()
        .and_then(|manifest| manifest.part(&PartName::Repositories)?.way());
    let Some(Way::GitalyServerSide {
        archive_bucket,
        archive_key,
        archive_sha256,
        chain,
        ..
    }) = part
    else {
        return Err(OpsFault::check(
            "repositories",
            format!("the step {previous} that they add to cannot be read"),
            "take a whole one: `gantry backup create --whole`",
        )
        .into());
    };
    let shell = taking.deploy_node()?;
    let url = gitlab::lent(&taking.ground.cx, &Place::new(archive_bucket, archive_key)).await?;
    let path = gitlab::archive_path(&chain.backup);
    let job = gitlab::bring_archive(url, &path, archive_sha256);
    bringing(point)
        .see_through(shell.as_ref(), &job, stage)
        .await?;
    Ok(())
}

/// The ids of Gitaly's backups from the whole one of the chain to this one.
async fn steps(points: &Points, chain: &Chain) -> Result<Vec<String>, OpsFault> {
    let mut steps = vec![chain.backup.clone()];
    let mut at = chain.previous.clone();
    while let Some(id) = at.take() {
        let point = points.read(&id).await?;
        let Some(link) = point.manifest().and_then(|manifest| manifest.chain()) else {
            return Err(OpsFault::check(
                "repositories",
                format!("the step {id} that they add to cannot be read"),
                "take a whole one: `gantry backup create --whole`",
            ));
        };
        steps.push(link.backup.clone());
        at.clone_from(&link.previous);
    }
    Ok(steps)
}

/// The list of what Gitaly's bucket holds of these backups.
async fn list(
    taking: &Taking,
    bucket: &str,
    steps: &[String],
    point: &PointId,
) -> Result<ObjectIndex, Halt<OpsFault>> {
    let to = Place::new(taking.bucket(), index_key(point, &PartName::Repositories));
    let of = Place::new(bucket, "");
    let index = taking
        .transfer()
        .write_index_of(&of, &to, |key| belongs(key, steps))
        .await?;
    Ok(index)
}

/// Whether an object of Gitaly's is of one of these backups: its bundles and refs lie in a folder of that name, its
/// manifest is a file of that name (doc/administration/gitaly/backup.md).
pub fn belongs(key: &str, steps: &[String]) -> bool {
    key.split('/').any(|name| {
        let name = name.strip_suffix(".toml").unwrap_or(name);
        steps.iter().any(|step| step == name)
    })
}

/// Removes what the run left on the deploy node: the copies of archives, whose other copies are in the bucket, and what
/// was kept of the commands. Nothing is left when it was done before.
pub async fn tidy(taking: &Taking, point: &PointId, way: Option<&Way>) -> Result<(), OpsFault> {
    let shell = taking.deploy_node()?;
    match way {
        Some(Way::Archive { backup, .. }) => {
            gitlab::remove_archive(shell.as_ref(), backup).await?;
        }
        Some(Way::GitalyServerSide { chain, .. }) => {
            for backup in steps(&taking.points, chain).await?.iter().take(2) {
                gitlab::remove_archive(shell.as_ref(), backup).await?;
            }
            bringing(point).forget(shell.as_ref()).await?;
        }
        _ => {}
    }
    unit(point).forget(shell.as_ref()).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_belongs_to_the_backup_it_is_named_after() {
        let steps = ["1790000000_2026_09_21_19.5.3-ee".to_owned()];
        for (key, expected) in [
            (
                "default/@hashed/ab/cd/abcd.git/1790000000_2026_09_21_19.5.3-ee/001.bundle",
                true,
            ),
            (
                "manifests/default/@hashed/ab/cd/abcd.git/1790000000_2026_09_21_19.5.3-ee.toml",
                true,
            ),
            (
                "manifests/default/@hashed/ab/cd/abcd.git/+latest.toml",
                false,
            ),
            (
                "default/@hashed/ab/cd/abcd.git/1780000000_2026_05_28_19.0.0-ee/001.bundle",
                false,
            ),
        ] {
            assert_eq!(belongs(key, &steps), expected, "{key}");
        }
    }
}
