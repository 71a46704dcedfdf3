//! `gantry snapshot create` as a runbook: a moment of disks and databases together, then waiting for it.
//!
//! ```text
//! check ── moment ─┬─ database ─ database-copy ─┐
//!                  ├─ volumes ── volumes-copy ──┴─ close ── manifest
//!                  └─ copy-key ─┘
//! ```
//!
//! A change in GitLab goes through database, Gitaly and files, and a snapshot of one while the others go on catches part
//! of it (doc/administration/backup_restore/backup_gitlab.md). Where they are on different disks, the workers are
//! stopped for the moment in which the snapshots begin; where all is on one disk, that disk is frozen and no more.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::copies;
use super::database;
use super::disks::{self, Disk};
use crate::blueprint::Role;
use crate::cloud::Fault;
use crate::engine::Halt;
use crate::kinds::autoscaling;
use crate::ops::OpsFault;
use crate::ops::backup::{
    Ask, Attempted, Checked, Closed, Copied, How, Mode, PartPlan, Saved, Saving, Taking, Trouble,
    add_manifest, attempt, begun, check, closed, copy_database, copy_key, database_part,
    instance_part, kept, purpose_of,
};
use crate::ops::gitlab::{Thawed, freeze, start_workers, stop_workers, thaw};
use crate::ops::order::until_serving;
use crate::ops::point::{DiskImage, Outcome, PartName, PointId, Purpose, RegionCopy, Way};
use crate::ops::runbook::{Act, Runbook, Stage, StageCx, act};

/// The verb of the procedure, in the ledger.
pub const VERB: &str = "snapshot create";

/// How long a disk may be frozen: beginning a snapshot takes seconds, and the node itself lets go after this.
const FROZEN: Duration = Duration::from_mins(1);

/// What an Auto Scaling group leaves off while its machines stand still on purpose.
const LEFT_OFF: [&str; 2] = ["HealthCheck", "ReplaceUnhealthy"];

/// Whether GitLab stands still in the moment of the snapshots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stillness {
    /// Workers are stopped where database and Git data are on different disks.
    Paused,
    /// Nobody is disturbed: each disk is whole in itself, and they may differ by the changes of some seconds.
    Live,
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotAsk {
    #[serde(flatten)]
    pub ask: Ask,
    pub stillness: Stillness,
}

/// What the stage `moment` leaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Moment {
    database: Option<Attempted<database::Begun>>,
    volumes: Option<Attempted<Vec<disks::Begun>>>,
}

/// A data volume that is to be saved, and where it is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub disk: Disk,
    pub mount: String,
}

/// The volumes of these nodes and the machines they are attached to, as the journal knows them.
pub fn targets(
    taking: &Taking,
    nodes: &[String],
    instance: impl Fn(&str) -> Option<String>,
) -> Result<Vec<Target>, OpsFault> {
    let unknown = |node: &String| {
        OpsFault::refused(
            format!("the disk of {node} is not saved"),
            "its volume or its machine is not known",
            "`gantry state rebuild` reads them again from AWS",
        )
    };
    nodes
        .iter()
        .map(|node| {
            let host = taking.ground.fleet.host(node);
            let volume = host.and_then(|host| host.volume.as_ref());
            let volume = volume.ok_or_else(|| unknown(node))?;
            let crate::node::Place::Known(id) = &volume.id else {
                return Err(unknown(node));
            };
            Ok(Target {
                disk: Disk {
                    node: node.clone(),
                    instance: instance(node).ok_or_else(|| unknown(node))?,
                    volume: id.clone(),
                },
                mount: volume.mount.to_owned(),
            })
        })
        .collect()
}

#[derive(Clone)]
struct Shared {
    taking: Arc<Taking>,
    point: PointId,
    parts: Arc<[PartPlan]>,
    targets: Arc<[Target]>,
    stillness: Stillness,
    mode: Mode,
}

/// The stages of a snapshot.
pub fn book(
    taking: &Arc<Taking>,
    point: &PointId,
    parts: &[PartPlan],
    targets: &[Target],
    ask: &SnapshotAsk,
    mode: Mode,
) -> Runbook {
    let shared = Shared {
        taking: taking.clone(),
        point: point.clone(),
        parts: parts.into(),
        targets: targets.into(),
        stillness: ask.stillness,
        mode,
    };
    let mut book = Runbook::new(VERB, serde_json::to_value(ask).unwrap_or_default());
    let (database, volumes) = (shared.database().is_some(), shared.has_volumes());
    let away = taking.ground.away.is_some();
    book.add(Stage::new("check", "check", shared.clone().checks()));
    book.add(
        Stage::new("moment", "begin", shared.clone().moment())
            .usually(Duration::from_secs(30))
            .after("check")
            .leaves_a_mark(shared.clone().let_go()),
    );
    // The names by which the copies of a full point find what they copy.
    if database {
        book.add(Stage::new("database-begin", "name", named()).after("moment"));
        book.add(
            Stage::new("database", "save", shared.clone().wait_for_database())
                .usually(database::USUAL)
                .after("database-begin"),
        );
    }
    if volumes {
        book.add(
            Stage::new("volumes", "save", shared.clone().wait_for_volumes())
                .usually(disks::USUAL)
                .after("moment"),
        );
    }
    let mut ends = Vec::new();
    if away {
        let key = taking.clone();
        let key = act(move |cx| {
            let taking = key.clone();
            async move { copy_key(&taking, &cx).await }
        });
        book.add(Stage::new("copy-key", "ensure", key).after("check"));
    }
    if database {
        ends.push("database");
        if away {
            let (taking, point) = (taking.clone(), point.clone());
            let copy = act(move |cx| {
                let (taking, point) = (taking.clone(), point.clone());
                async move { copy_database(&taking, &point, &cx).await }
            });
            book.add(
                Stage::new("database-copy", "copy", copy)
                    .usually(copies::USUAL)
                    .after_all(["copy-key", "database"]),
            );
            ends.push("database-copy");
        }
    }
    if volumes {
        ends.push("volumes");
        if away {
            book.add(
                Stage::new("volumes-copy", "copy", shared.clone().copy_volumes())
                    .usually(copies::USUAL)
                    .after_all(["copy-key", "volumes"]),
            );
            ends.push("volumes-copy");
        }
    }
    book.add(
        Stage::new("close", "put together", shared.close())
            .after("moment")
            .after_all(ends),
    );
    add_manifest(&mut book, taking);
    book
}

impl Shared {
    fn database(&self) -> Option<(&PartName, &str)> {
        self.parts.iter().find_map(|part| match &part.how {
            How::DatabaseSnapshot { instance } => Some((&part.name, instance.as_str())),
            _ => None,
        })
    }

    fn has_volumes(&self) -> bool {
        !self.targets.is_empty()
    }

    fn snapshot_name(&self, part: &PartName) -> String {
        let names = &self.taking.ground.names;
        names.database_snapshot(instance_part(part), &self.point.stamp())
    }

    fn checks(self) -> Act {
        act(move |_| {
            let shared = self.clone();
            async move { Ok(check(&shared.taking, &shared.parts).await.or_refuse()?) }
        })
    }

    fn moment(self) -> Act {
        act(move |cx: StageCx| {
            let shared = self.clone();
            async move {
                if shared.mode == Mode::Close && !cx.again {
                    return Ok(shared.given_up());
                }
                shared.take(&cx).await
            }
        })
    }

    fn let_go(self) -> Act {
        act(move |cx: StageCx| {
            let shared = self.clone();
            async move {
                // A disk lets go by itself; workers do not start by themselves.
                let thawed = shared.thaw().await;
                // A stage that came through has done so itself, and hours may have gone by.
                if shared.pauses() && cx.output::<Moment>("moment").is_err() {
                    shared.go_on(&cx).await?;
                }
                Ok(thawed?)
            }
        })
    }

    /// The moment of a run that never came to it: nothing is saved.
    fn given_up(&self) -> Moment {
        let trouble = Trouble::of(&OpsFault::check(
            "moment",
            "the run was interrupted before it, and not gone on with in time",
            "take a new point",
        ));
        Moment {
            database: self.database().map(|_| Err(trouble.clone())),
            volumes: self.has_volumes().then_some(Err(trouble)),
        }
    }

    /// Whether the workers are stopped: only where two disks have to be of one moment.
    fn pauses(&self) -> bool {
        self.stillness == Stillness::Paused && self.database().is_some() && self.has_volumes()
    }

    /// Begins every snapshot, with GitLab standing still where that is wanted. What is begun already stays begun.
    async fn take(&self, cx: &StageCx) -> Result<Moment, Halt<OpsFault>> {
        if let Some(found) = self.all_begun(cx).await? {
            return Ok(found);
        }
        // Before anybody has to stand still for it.
        if let Some((_, instance)) = self.database() {
            database::idle(cx, &self.taking.ground.cx, instance).await?;
        }
        let began = cx.clock.now();
        if self.pauses() {
            self.hold(cx, true).await?;
            if let Err(fault) = self.stop().await {
                // Nothing is saved of a site that could not be stopped; what was stopped of it goes on.
                self.go_on(cx).await?;
                return Err(fault.into());
            }
        }
        let moment = self.begin(cx).await;
        let thawed = self.thaw().await;
        if self.pauses() {
            let still = cx.clock.since(began).as_secs();
            cx.note(format!("GitLab stood still for {still} s"));
            self.go_on(cx).await?;
        }
        thawed?;
        moment
    }

    async fn begin(&self, cx: &StageCx) -> Result<Moment, Halt<OpsFault>> {
        let database = self.begin_database(cx).await?;
        let volumes = if self.has_volumes() {
            Some(kept(self.begin_volumes(cx).await)?)
        } else {
            None
        };
        Ok(Moment { database, volumes })
    }

    async fn begin_database(
        &self,
        cx: &StageCx,
    ) -> Result<Option<Attempted<database::Begun>>, Halt<OpsFault>> {
        let Some((part, instance)) = self.database() else {
            return Ok(None);
        };
        let ground = &self.taking.ground;
        let tags = ground.point_tags(&self.point, "database");
        let name = self.snapshot_name(part);
        let begun = database::begin(cx, &ground.cx, instance, &name, &tags).await;
        kept(begun).map(Some)
    }

    async fn begin_volumes(&self, cx: &StageCx) -> Result<Vec<disks::Begun>, Halt<OpsFault>> {
        let mut begun = Vec::new();
        for target in self.targets.iter() {
            let shell = self.taking.hosts.shell(&target.disk.node)?;
            freeze(shell.as_ref(), &target.mount, FROZEN).await?;
            let tags = self
                .taking
                .ground
                .point_tags(&self.point, &target.disk.node);
            let snapshot =
                disks::begin(cx, &self.taking.ground.cx, &self.point, &target.disk, &tags).await;
            let thawed = thaw(shell.as_ref(), &target.mount).await;
            begun.push(snapshot?);
            if thawed? == Thawed::Before {
                cx.note(format!(
                    "the disk of {} was let go before its snapshot had begun: it is of a disk in motion, as after a power cut",
                    target.disk.node
                ));
            }
        }
        Ok(begun)
    }

    /// The moment of an earlier attempt, if all of it is there: then nobody has to stand still again.
    async fn all_begun(&self, cx: &StageCx) -> Result<Option<Moment>, Halt<OpsFault>> {
        if !cx.again {
            return Ok(None);
        }
        let ground = &self.taking.ground;
        if let Some((part, _)) = self.database()
            && database::find(&ground.cx, &self.snapshot_name(part))
                .await?
                .is_none()
        {
            return Ok(None);
        }
        for target in self.targets.iter() {
            if !disks::is_begun(&ground.cx, &self.point, &target.disk).await? {
                return Ok(None);
            }
        }
        // They are found, and none is begun.
        self.found(cx).await.map(Some)
    }

    async fn found(&self, cx: &StageCx) -> Result<Moment, Halt<OpsFault>> {
        let ground = &self.taking.ground;
        let database = self.begin_database(cx).await?;
        let mut volumes = Vec::new();
        for target in self.targets.iter() {
            let tags = ground.point_tags(&self.point, &target.disk.node);
            volumes.push(disks::begin(cx, &ground.cx, &self.point, &target.disk, &tags).await?);
        }
        Ok(Moment {
            database,
            volumes: self.has_volumes().then_some(Ok(volumes)),
        })
    }

    async fn thaw(&self) -> Result<(), OpsFault> {
        for target in self.targets.iter() {
            let shell = self.taking.hosts.shell(&target.disk.node)?;
            thaw(shell.as_ref(), &target.mount).await?;
        }
        Ok(())
    }

    /// The machines with workers: what people reach first, and what works in the background after.
    fn workers(&self) -> Vec<String> {
        let hosts = &self.taking.hosts;
        let mut names = hosts.of_role(Role::Rails);
        names.extend(hosts.of_role(Role::Sidekiq));
        names
    }

    async fn stop(&self) -> Result<(), OpsFault> {
        for node in self.workers() {
            stop_workers(self.taking.hosts.shell(&node)?.as_ref()).await?;
        }
        Ok(())
    }

    /// Starts the workers, and waits until they serve: only then may their group look at them again.
    async fn go_on(&self, cx: &StageCx) -> Result<(), Halt<OpsFault>> {
        let started = self.start().await;
        let ground = &self.taking.ground;
        let hosts = self.taking.hosts.as_ref();
        // Interrupted, the group stays held until the release, which waits in peace.
        until_serving(cx, &ground.cx, &ground.names, hosts).await?;
        self.hold(cx, false).await?;
        Ok(started?)
    }

    /// Tells the group of the Rails machines to leave them alone, or to go on. The appliance host may not; what it pauses by
    /// itself it pauses with that risk, and says so.
    async fn hold(&self, cx: &StageCx, hold: bool) -> Result<(), Halt<OpsFault>> {
        let ground = &self.taking.ground;
        if ground.sizes.rails.is_none() {
            return Ok(());
        }
        let group = ground.names.auto_scaling_group("rails");
        match autoscaling::hold(&ground.cx, &group, &LEFT_OFF, hold).await {
            Err(fault @ Fault::Denied { .. }) => {
                cx.note(format!(
                    "Auto Scaling may replace machines that stand still for longer than half a minute: {fault}"
                ));
                Ok(())
            }
            other => Ok(other?),
        }
    }

    /// Starts them all, whatever happens to one of them.
    async fn start(&self) -> Result<(), OpsFault> {
        let mut first = Ok(());
        for node in self.workers() {
            let started = match self.taking.hosts.shell(&node) {
                Ok(shell) => start_workers(shell.as_ref()).await,
                Err(fault) => Err(fault),
            };
            first = first.and(started);
        }
        first
    }

    fn wait_for_database(self) -> Act {
        act(move |cx: StageCx| {
            let shared = self.clone();
            async move {
                let name = shared
                    .database()
                    .map_or(PartName::Database, |(name, _)| name.clone());
                attempt(&cx, name, async {
                    let begun: database::Begun = begun(&cx, "database-begin")?;
                    let found =
                        database::available(&cx, &shared.taking.ground.cx, &begun.snapshot).await?;
                    Ok(database_part(&begun, found.db_snapshot_arn()))
                })
                .await
            }
        })
    }

    fn wait_for_volumes(self) -> Act {
        act(move |cx: StageCx| {
            let shared = self.clone();
            async move {
                attempt(&cx, PartName::Volumes, async {
                    let begun = volumes(&cx)?;
                    let ids: Vec<String> = begun.iter().map(|b| b.snapshot.clone()).collect();
                    disks::completed(&cx, &shared.taking.ground.cx, &ids).await?;
                    Ok(Saving {
                        began: begun.iter().map(|b| b.began).min(),
                        bytes: begun.iter().map(|b| u64::from(b.gib) << 30).sum(),
                        way: Way::DiskSnapshots {
                            disks: begun.iter().map(image).collect(),
                        },
                    })
                })
                .await
            }
        })
    }

    fn copy_volumes(self) -> Act {
        act(move |cx: StageCx| {
            let shared = self.clone();
            async move {
                let saved: Saved = cx.output("volumes")?;
                let ground = &shared.taking.ground;
                let (Some(away), Some(_)) = (&ground.away, saved.part.way()) else {
                    return Ok(Ok(Vec::<RegionCopy>::new()));
                };
                let copied = async {
                    let key: copies::KeyThere = begun(&cx, "copy-key")?;
                    let begun = volumes(&cx)?;
                    copies::of_disks(&cx, ground, away, &key, &shared.point, &begun).await
                };
                kept(copied.await)
            }
        })
    }

    fn close(self) -> Act {
        act(move |cx: StageCx| {
            let shared = self.clone();
            async move { Ok(shared.closed(&cx)?) }
        })
    }

    fn closed(&self, cx: &StageCx) -> Result<Closed, OpsFault> {
        let checked: Checked = cx.output("check")?;
        let away = self.taking.ground.away.is_some();
        let mut parts = Vec::new();
        let mut troubles: Vec<Trouble> = Vec::new();
        if self.database().is_some() {
            let mut saved: Saved = cx.output("database")?;
            if away {
                match cx.output("database-copy")? {
                    Copied::Done(copy) => {
                        if let Outcome::Saved(Way::DatabaseSnapshot { copies, .. }) =
                            &mut saved.part.outcome
                        {
                            copies.push(copy);
                        }
                    }
                    Copied::Nothing => {}
                    Copied::Failed(trouble) => troubles.push(trouble),
                }
            }
            troubles.extend(saved.trouble);
            parts.push(saved.part);
        }
        if self.has_volumes() {
            let mut saved: Saved = cx.output("volumes")?;
            if away {
                let copied: Attempted<Vec<RegionCopy>> = cx.output("volumes-copy")?;
                match copied {
                    Ok(copies) => {
                        if let Outcome::Saved(Way::DiskSnapshots { disks }) =
                            &mut saved.part.outcome
                        {
                            for (disk, copy) in disks.iter_mut().zip(copies) {
                                disk.copies.push(copy);
                            }
                        }
                    }
                    Err(trouble) => troubles.push(trouble),
                }
            }
            troubles.extend(saved.trouble);
            parts.push(saved.part);
        }
        let purpose = purpose_of(&self.taking, Purpose::Snapshot, &parts)?;
        Ok(closed(
            &self.taking,
            &self.point,
            purpose,
            cx.began(),
            &checked,
            parts,
            troubles,
        ))
    }
}

/// The database snapshot of the moment, under the name by which copies look for it.
fn named() -> Act {
    act(|cx: StageCx| async move {
        let moment: Moment = cx.output("moment")?;
        let database = moment
            .database
            .ok_or_else(|| OpsFault::internal("the moment has no database"))?;
        Ok(database)
    })
}

/// The disk snapshots of the moment, or its trouble with them.
fn volumes(cx: &StageCx) -> Result<Vec<disks::Begun>, OpsFault> {
    let moment: Moment = cx.output("moment")?;
    match moment.volumes {
        Some(Ok(begun)) => Ok(begun),
        Some(Err(trouble)) => Err(OpsFault::check("volumes", trouble.what, trouble.help)),
        None => Err(OpsFault::internal("the moment has no volumes")),
    }
}

fn image(begun: &disks::Begun) -> DiskImage {
    DiskImage {
        node: begun.disk.node.clone(),
        volume: begun.disk.volume.clone(),
        snapshot: begun.snapshot.clone(),
        gib: begun.gib,
        copies: vec![],
    }
}
