//! What is looked at before anything is saved: with every answer, so that a person sees all of it at once.

use futures::future::join_all;
use serde::{Deserialize, Serialize};

use super::parts::Taking;
use super::plan::{How, PartPlan};
use crate::blueprint::Role;
use crate::cloud::Fault;
use crate::ops::OpsFault;
use crate::ops::gitlab::{self, Check, Installed};
use crate::ops::point::{Engines, Gitlab};
use crate::ops::snapshot::database;

/// Where GitLab stages a backup and keeps its archive.
const BACKUPS: &str = "/var/opt/gitlab/backups";
/// What an archive of a box is made of: its repositories and its database.
const STAGED: [&str; 2] = [
    "/var/opt/gitlab/git-data",
    "/var/opt/gitlab/postgresql/data",
];
/// The metadata of a server-side backup, generously.
const SMALL: u64 = 1 << 30;
/// How many findings of one check are told: a lost Gitaly node may take thousands of repositories with it.
const TOLD: usize = 5;

/// What came of one look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Looked {
    pub name: String,
    pub verdict: Verdict,
    pub seen: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub help: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    Pass,
    /// Nothing that keeps a point from being taken.
    Warn,
    Fail,
}

impl Looked {
    fn new(
        name: impl Into<String>,
        verdict: Verdict,
        seen: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self {
            name: name.into(),
            verdict,
            seen: seen.into(),
            help: help.into(),
        }
    }

    fn pass(name: impl Into<String>, seen: impl Into<String>) -> Self {
        Self::new(name, Verdict::Pass, seen, "")
    }

    fn fault(name: impl Into<String>, fault: &OpsFault) -> Self {
        Self::new(name, Verdict::Fail, fault.to_string(), fault.help())
    }
}

/// What the checks found out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    pub looked: Vec<Looked>,
    /// None where it could not be told.
    pub gitlab: Option<Gitlab>,
    pub engines: Engines,
}

impl Checked {
    /// What keeps a point from being taken.
    pub fn failures(&self) -> impl Iterator<Item = &Looked> {
        self.looked
            .iter()
            .filter(|looked| looked.verdict == Verdict::Fail)
    }

    /// Itself, or a refusal that names everything that is in the way.
    pub fn or_refuse(self) -> Result<Self, OpsFault> {
        let failed: Vec<&Looked> = self.failures().collect();
        if failed.is_empty() {
            return Ok(self);
        }
        let why: Vec<_> = failed
            .iter()
            .map(|looked| format!("{}: {}", looked.name, looked.seen))
            .collect();
        let mut help: Vec<_> = failed
            .iter()
            .map(|looked| looked.help.clone())
            .filter(|help| !help.is_empty())
            .collect();
        help.dedup();
        Err(OpsFault::check(
            "no point is taken",
            why.join("; "),
            help.join("; "),
        ))
    }
}

/// Looks at everything that these parts need.
pub async fn check(taking: &Taking, parts: &[PartPlan]) -> Checked {
    let on_nodes = parts
        .iter()
        .any(|part| !matches!(part.how, How::DatabaseSnapshot { .. }));
    let (mut looked, gitlab) = if on_nodes {
        // Their workers are stopped while disks are saved.
        let stops = parts
            .iter()
            .any(|part| matches!(part.how, How::DiskSnapshots { .. }));
        nodes(taking, !stops).await
    } else {
        (vec![], None)
    };
    let (cluster, busy, space, database, stores, many) = futures::join!(
        cluster(taking, parts),
        busy(taking, parts),
        space(taking, parts),
        databases(taking, parts),
        stores(taking, parts),
        many_snapshots(taking, parts),
    );
    looked.extend(cluster);
    looked.extend(many);
    looked.extend(busy);
    looked.extend(space);
    let (database, postgresql) = database;
    looked.extend(database);
    looked.extend(stores);
    let caches = &taking.ground.sizes.caches;
    Checked {
        looked,
        gitlab,
        engines: Engines {
            postgresql,
            valkey: caches.first().map(|cache| cache.engine_version.to_string()),
        },
    }
}

/// Whether every node answers, and which GitLab they have.
async fn nodes(taking: &Taking, may_miss_rails: bool) -> (Vec<Looked>, Option<Gitlab>) {
    let mut names: Vec<(String, Role)> = taking.hosts.nodes();
    names.retain(|(_, role)| *role != Role::Bastion);
    names.sort();
    let asks: Vec<_> = names
        .iter()
        .map(|(name, _)| version(taking, name))
        .collect();
    let asked = join_all(asks).await;
    let mut looked = Vec::new();
    let mut found: Vec<(&String, Installed)> = Vec::new();
    for ((name, role), answer) in names.iter().zip(asked) {
        match answer {
            Ok(installed) => found.push((name, installed)),
            // A machine that Auto Scaling has just started, or takes away, holds nothing that is saved.
            Err(fault) if *role == Role::Rails && may_miss_rails => looked.push(Looked {
                verdict: Verdict::Warn,
                help: "a machine that is new lets the appliance host in after `gantry schedule install`".into(),
                ..Looked::fault(name, &fault)
            }),
            Err(fault) => looked.push(Looked::fault(name, &fault)),
        }
    }
    let Some((first, installed)) = found.first() else {
        return (looked, None);
    };
    let others: Vec<String> = found
        .iter()
        .filter(|(_, other)| other != installed)
        .map(|(name, other)| format!("{name} has {}", other.version))
        .collect();
    looked.push(if others.is_empty() {
        Looked::pass(
            "nodes",
            format!(
                "{} answer, all with GitLab {}",
                found.len(),
                installed.version
            ),
        )
    } else {
        Looked::new(
            "nodes",
            Verdict::Fail,
            format!(
                "{first} has GitLab {}, and {}",
                installed.version,
                others.join(", ")
            ),
            "finish the upgrade first: a point restores into exactly one version",
        )
    });
    let gitlab = Gitlab {
        version: installed.version.clone(),
        edition: installed.edition,
    };
    (looked, Some(gitlab))
}

/// How many manual snapshots of databases an account may have in a region, unless AWS raised it (Service Quotas, RDS, "Manual
/// DB instance snapshots").
const MANUAL_SNAPSHOTS: usize = 100;

/// What the look at them is called.
const SNAPSHOTS: &str = "database snapshots";

/// Whether the snapshots of databases come near to what AWS allows: nothing but pruning makes room, and timers do not prune.
async fn many_snapshots(taking: &Taking, parts: &[PartPlan]) -> Option<Looked> {
    let takes = |part: &PartPlan| matches!(part.how, How::DatabaseSnapshot { .. });
    if !parts.iter().any(takes) {
        return None;
    }
    let there = match database::manual(&taking.ground.cx).await {
        Ok(there) => there,
        Err(fault) => return Some(Looked::fault(SNAPSHOTS, &fault.into())),
    };
    let seen =
        format!("{there} of {MANUAL_SNAPSHOTS} that AWS allows unless it was asked for more");
    if there * 10 < MANUAL_SNAPSHOTS * 7 {
        return Some(Looked::pass(SNAPSHOTS, seen));
    }
    Some(Looked::new(
        SNAPSHOTS,
        Verdict::Warn,
        seen,
        "`gantry backup prune` drops what [backup.keep] does not keep, with the credentials of an administrator; a higher quota is asked for in Service Quotas (RDS, \"Manual DB instance snapshots\")",
    ))
}

async fn version(taking: &Taking, node: &str) -> Result<Installed, OpsFault> {
    let shell = taking.hosts.shell(node)?;
    gitlab::version(shell.as_ref()).await
}

fn runs_backup(parts: &[PartPlan]) -> bool {
    parts
        .iter()
        .any(|part| matches!(part.how, How::Archive { .. } | How::GitalyServerSide))
}

/// Whether Praefect reaches a whole copy of every repository: of those that it does not reach, Gitaly saves nothing.
async fn cluster(taking: &Taking, parts: &[PartPlan]) -> Option<Looked> {
    if !runs_backup(parts) {
        return None;
    }
    let node = taking.hosts.of_role(Role::Praefect).into_iter().next()?;
    let name = Check::DataLoss.name();
    let asked = async {
        let shell = taking.hosts.shell(&node)?;
        gitlab::check(shell.as_ref(), Check::DataLoss).await
    };
    Some(match asked.await {
        Ok(found) if found.ok => {
            Looked::pass(name, format!("{node} reaches a copy of every repository"))
        }
        Ok(found) => Looked::new(
            name,
            Verdict::Fail,
            format!("{node}: {}", first_of(&found.findings)),
            "bring the Gitaly nodes back that Praefect does not reach (`praefect dial-nodes` names them); what to do about repositories that are lost is in GitLab's documentation (administration/gitaly/praefect/recovery)",
        ),
        Err(fault) => Looked::fault(name, &fault),
    })
}

/// The first findings, and how many more there are.
fn first_of(findings: &[String]) -> String {
    let told = findings.len().min(TOLD);
    let text = findings[..told].join(", ");
    match findings.len() - told {
        0 => text,
        more => format!("{text} and {more} more"),
    }
}

/// Whether somebody else's backup or restore runs: GitLab refuses a second one.
async fn busy(taking: &Taking, parts: &[PartPlan]) -> Option<Looked> {
    if !runs_backup(parts) {
        return None;
    }
    let asked = async {
        let shell = taking.deploy_node()?;
        let running = gitlab::running_backup(shell.as_ref()).await?;
        Ok::<_, OpsFault>((shell.host().to_owned(), running))
    };
    Some(match asked.await {
        Ok((host, None)) => Looked::pass("running backup", format!("none on {host}")),
        Ok((host, Some(running))) => Looked::new(
            "running backup",
            Verdict::Fail,
            format!("{host} is at one already: {running}"),
            "wait until it has ended",
        ),
        Err(fault) => Looked::fault("running backup", &fault),
    })
}

/// Whether the deploy node has room for what it stages
/// (doc/administration/backup_restore/backup_archive_process.md: the staged parts and the archive lie side by side).
async fn space(taking: &Taking, parts: &[PartPlan]) -> Option<Looked> {
    if !runs_backup(parts) {
        return None;
    }
    let whole = parts
        .iter()
        .any(|part| matches!(part.how, How::Archive { .. }));
    let asked = async {
        let shell = taking.deploy_node()?;
        let disk = gitlab::disk(shell.as_ref(), BACKUPS).await?;
        let mut data = 0;
        if whole {
            for path in STAGED {
                data += gitlab::size_of(shell.as_ref(), path)
                    .await?
                    .unwrap_or_default();
            }
        }
        Ok::<_, OpsFault>((disk, data))
    };
    let (disk, data) = match asked.await {
        Ok(found) => found,
        Err(fault) => return Some(Looked::fault("space", &fault)),
    };
    let (need, sum) = need(data);
    let seen = format!(
        "{BACKUPS} has {} free of {}; needed: {sum}",
        size(disk.free),
        size(disk.total)
    );
    Some(if disk.free >= need {
        Looked::pass("space", seen)
    } else {
        Looked::new(
            "space",
            Verdict::Fail,
            seen,
            "remove what is not needed there, or give the volume more room in the site file and run `gantry install`",
        )
    })
}

/// How much room is needed, and how that comes about.
fn need(data: u64) -> (u64, String) {
    if data == 0 {
        return (SMALL, format!("{} for lists and metadata", size(SMALL)));
    }
    let need = data.saturating_mul(2).saturating_add(SMALL);
    let sum = format!(
        "2 x {} (staged, and the archive) + {} = {}",
        size(data),
        size(SMALL),
        size(need)
    );
    (need, sum)
}

/// Bytes for people.
pub fn size(bytes: u64) -> String {
    let units = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    for (unit, power) in units {
        let whole = bytes >> power;
        if whole > 0 {
            let tenth = ((bytes >> (power - 10)) & 1023) * 10 / 1024;
            return format!("{whole}.{tenth} {unit}");
        }
    }
    format!("{bytes} bytes")
}

/// Whether the databases are well, replicas too, and the version of the first.
async fn databases(taking: &Taking, parts: &[PartPlan]) -> (Vec<Looked>, Option<String>) {
    let mut looked = Vec::new();
    let mut version = None;
    for part in parts {
        let How::DatabaseSnapshot { instance } = &part.how else {
            continue;
        };
        match one(taking, instance).await {
            Ok((found, engine)) => {
                looked.extend(found);
                version = version.or(engine);
            }
            Err(fault) => looked.push(Looked::fault(instance, &fault.into())),
        }
    }
    (looked, version)
}

async fn one(taking: &Taking, name: &str) -> Result<(Vec<Looked>, Option<String>), Fault> {
    let cx = &taking.ground.cx;
    let Some(main) = database::instance(cx, name).await? else {
        let looked = Looked::new(
            name,
            Verdict::Fail,
            "RDS does not know this database",
            "`gantry status` shows what exists",
        );
        return Ok((vec![looked], None));
    };
    let mut looked = vec![state(name, &main.status, "the database")];
    for replica in &main.replicas {
        let status = database::instance(cx, replica)
            .await?
            .map_or_else(|| "gone".to_owned(), |found| found.status);
        looked.push(state(replica, &status, "its replica"));
    }
    Ok((looked, Some(main.engine)))
}

fn state(name: &str, status: &str, what: &str) -> Looked {
    match status {
        "available" => Looked::pass(name, format!("{what} is available")),
        // RDS does these by itself, and takes a snapshot after them.
        "backing-up" | "modifying" | "configuring-log-exports" | "storage-optimization" => {
            Looked::new(
                name,
                Verdict::Warn,
                format!("{what} is {status}; its snapshot will wait"),
                "",
            )
        }
        _ => Looked::new(
            name,
            Verdict::Fail,
            format!("{what} is {status}"),
            "look at its events in the RDS console, and wait until it is available",
        ),
    }
}

/// Whether the buckets and the recovery key are there.
async fn stores(taking: &Taking, parts: &[PartPlan]) -> Vec<Looked> {
    let buckets = &taking.ground.fleet.buckets;
    let mut names = vec![buckets.backups.clone()];
    let has = |test: fn(&How) -> bool| parts.iter().any(|part| test(&part.how));
    if has(|how| matches!(how, How::GitalyServerSide)) {
        names.push(buckets.gitaly_backups.clone());
    }
    let mut looked = Vec::new();
    for name in &names {
        looked.push(bucket(taking, name).await);
    }
    if has(|how| matches!(how, How::Sealed)) {
        looked.push(key(taking).await);
    }
    looked
}

async fn bucket(taking: &Taking, name: &str) -> Looked {
    let cx = &taking.ground.cx;
    let asked = cx
        .read("s3:ListBucket", || {
            cx.aws().s3.head_bucket().bucket(name).send()
        })
        .await;
    match asked {
        Ok(_) => Looked::pass(name, "the bucket is there"),
        Err(fault) if fault.is_gone() => Looked::new(
            name,
            Verdict::Fail,
            "there is no such bucket",
            "`gantry install` makes it",
        ),
        Err(fault) => Looked::fault(name, &fault.into()),
    }
}

async fn key(taking: &Taking) -> Looked {
    let arn = match taking.recovery_key() {
        Ok(arn) => arn,
        Err(fault) => return Looked::fault("recovery key", &fault),
    };
    let cx = &taking.ground.cx;
    let asked = cx
        .read("kms:DescribeKey", || {
            cx.aws().kms.describe_key().key_id(&arn).send()
        })
        .await;
    match asked {
        Ok(answer) if answer.key_metadata().is_some_and(|key| key.enabled()) => {
            Looked::pass("recovery key", arn)
        }
        Ok(_) => Looked::new(
            "recovery key",
            Verdict::Fail,
            format!("{arn} is switched off or waits for its deletion"),
            "call it back in the KMS console: without it no sealed part of any point can be opened",
        ),
        Err(fault) => Looked::fault("recovery key", &fault.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_for_people() {
        assert_eq!(size(1_000), "1000 bytes");
        assert_eq!(size(1 << 30), "1.0 GiB");
        assert_eq!(size(3 << 29), "1.5 GiB");
        assert_eq!(size(5 << 40), "5.0 TiB");
    }

    #[test]
    fn the_sum_is_shown() {
        let (bytes, sum) = need(10 << 30);
        assert_eq!(bytes, 21 << 30);
        assert_eq!(
            sum,
            "2 x 10.0 GiB (staged, and the archive) + 1.0 GiB = 21.0 GiB"
        );
        assert_eq!(need(0).0, SMALL);
    }

    #[test]
    fn of_many_findings_the_first_are_told() {
        let findings: Vec<String> = (1..=7).map(|number| format!("{number}.git")).collect();
        assert_eq!(first_of(&findings[..2]), "1.git, 2.git");
        assert_eq!(
            first_of(&findings),
            "1.git, 2.git, 3.git, 4.git, 5.git and 2 more"
        );
    }

    #[test]
    fn all_that_is_in_the_way_is_named_at_once() {
        let checked = Checked {
            looked: vec![
                Looked::pass("a", "fine"),
                Looked::new("b", Verdict::Fail, "broken", "mend b"),
                Looked::new("c", Verdict::Warn, "odd", ""),
                Looked::new("d", Verdict::Fail, "gone", "find d"),
            ],
            gitlab: None,
            engines: Engines {
                postgresql: None,
                valkey: None,
            },
        };
        let refused = checked.or_refuse().unwrap_err();
        assert_eq!(refused.to_string(), "no point is taken: b: broken; d: gone");
        assert_eq!(refused.help(), "mend b; find d");
    }
}
