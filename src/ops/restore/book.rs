//! A restore as a runbook.
//!
//! ```text
//! database-new ─┐                   ┌─ database ─┐
//! volumes-new ──┼─ secrets ── stop ─┼─ volumes ──┴─ converge ─ configure ─ repositories ─┬─ start ─┬─ checks
//! archive ──────┤                   └─ objects-…, registry ──────────────────────────────┘         └─ compare
//! git-objects ──┘
//! ```
//!
//! Onto another site, objects are copied from the beginning: nobody works there yet.
//!
//! What takes long and changes nothing is done first, while GitLab still serves: the new instance, the new volumes, the
//! archive, Gitaly's objects. The workers stand still from `stop` on; should anything fail, they are started again.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::OpsFault;
use super::super::point::{PartName, PointId, Way};
use super::super::runbook::{Act, Runbook, Stage, StageCx, act};
use super::{Onto, Restoring, checks, database, machines, objects, repositories, secrets, volumes};
use crate::engine::{Halt, Observer};
use crate::session::InstallOptions;

/// The verb of the procedure, in the ledger.
pub const VERB: &str = "restore";

/// How long a restore that failed may be gone on with. Its failure let people work again: after that, what it had put back
/// is as far from the rest of the point as what it would have replaced, and all of it is done anew.
pub const FRESH: Duration = Duration::from_hours(6);

/// What was asked for. A run that asks for something else does not take the procedure up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    pub point: PointId,
    /// The bucket that the point is in.
    pub from: String,
    pub silent: bool,
}

/// The stages of a restore.
pub fn book(r: &Arc<Restoring>, ask: &Ask, observe: &Observer) -> Runbook {
    let mut book = Book {
        r: r.clone(),
        stages: Runbook::new(VERB, serde_json::to_value(ask).unwrap_or_default()),
        observe: observe.clone(),
    };
    book.fill();
    book.stages
}

struct Book {
    r: Arc<Restoring>,
    stages: Runbook,
    observe: Observer,
}

impl Book {
    fn act<T, F>(&self, work: F) -> Act
    where
        T: Serialize + Send + 'static,
        F: Fn(
                Arc<Restoring>,
                StageCx,
            ) -> futures::future::BoxFuture<'static, Result<T, Halt<OpsFault>>>
            + Send
            + Sync
            + 'static,
    {
        let r = self.r.clone();
        act(move |cx| work(r.clone(), cx))
    }

    fn way(&self, part: &PartName) -> Option<Way> {
        self.r.manifest.part(part)?.way().cloned()
    }

    fn fill(&mut self) {
        let mut before_stop = Vec::new();
        let mut swaps = Vec::new();
        self.database(&mut before_stop, &mut swaps);
        self.volumes(&mut before_stop, &mut swaps);
        let git = self.way(&PartName::Repositories);
        if let Some(way) = &git {
            self.bring(way, &mut before_stop);
        }
        if self.way(&PartName::Secrets).is_some() {
            let work = self.act(|r, _| Box::pin(async move { secrets::restore(&r).await }));
            // The first change of the site: not before everything is at hand, and was found to be what it should be.
            let stage = Stage::new("secrets", "restore", work).after_all(before_stop.clone());
            self.stages.add(stage);
            before_stop.push("secrets".to_owned());
        }
        let stop = self.act(|r, _| Box::pin(async move { machines::stop(&r).await }));
        let start = self.act(|r, cx| Box::pin(async move { machines::start(&r, &cx).await }));
        self.stages.add(
            Stage::new("stop", "stop workers", stop)
                .after_all(before_stop)
                .leaves_a_mark(start.clone()),
        );
        let mut then: Vec<String> = vec!["stop".into()];
        for (id, stage) in swaps {
            self.stages.add(stage.after("stop"));
            then.push(id);
        }
        self.converge(then);
        let mut all = self.objects();
        let configure =
            self.act(|r, cx| Box::pin(async move { machines::configure(&r, &cx).await }));
        self.stages.add(
            Stage::new("configure", "configure", configure)
                .usually(Duration::from_mins(10))
                .after("converge"),
        );
        let mut last = "configure";
        let went_back = self.way(&PartName::Database);
        if git.is_none()
            && matches!(
                went_back,
                Some(Way::DatabaseSnapshot { .. } | Way::PointInTime { .. })
            )
        {
            let work = self.act(|r, _| Box::pin(async move { machines::clear_cache(&r).await }));
            self.stages
                .add(Stage::new("cache", "clear", work).after(last));
            last = "cache";
        }
        if let Some(way) = git {
            let again = way.clone();
            let work = self.act(move |r, cx| {
                let way = way.clone();
                Box::pin(async move { repositories::restore(&r, &cx, &way).await })
            });
            self.stages.add(
                Stage::new("repositories", "restore", work)
                    .usually(Duration::from_mins(30))
                    .after(last),
            );
            let work = self.act(move |r, cx| {
                let way = again.clone();
                Box::pin(async move { repositories::tidy(&r, &cx, &way).await })
            });
            self.stages
                .add(Stage::new("tidy", "tidy", work).after("repositories"));
            last = "repositories";
        }
        all.push(last.to_owned());
        self.stages
            .add(Stage::new("start", "start workers", start).after_all(all));
        let work = self.act(|r, cx| Box::pin(async move { checks::checks(&r, &cx).await }));
        self.stages.add(
            Stage::new("checks", "check", work)
                .usually(Duration::from_mins(10))
                .after("start"),
        );
        let work = self.act(|r, _| Box::pin(async move { checks::compare(&r).await }));
        self.stages
            .add(Stage::new("compare", "compare", work).after("start"));
    }

    fn database(&mut self, before_stop: &mut Vec<String>, swaps: &mut Vec<(String, Stage)>) {
        let Some(way @ (Way::DatabaseSnapshot { .. } | Way::PointInTime { .. })) =
            self.way(&PartName::Database)
        else {
            return;
        };
        let make = self.act(move |r, cx| {
            let way = way.clone();
            Box::pin(async move { database::make(&r, &cx, &way).await })
        });
        self.stages
            .add(Stage::new("database-new", "make", make).usually(database::USUAL));
        before_stop.push("database-new".into());
        let swap = self.act(|r, cx| {
            Box::pin(async move {
                let made: database::Made = cx.output("database-new")?;
                database::swap(&r, &cx, &made).await
            })
        });
        let stage = Stage::new("database", "swap", swap)
            .usually(Duration::from_mins(5))
            .after("database-new");
        swaps.push(("database".into(), stage));
    }

    fn volumes(&mut self, before_stop: &mut Vec<String>, swaps: &mut Vec<(String, Stage)>) {
        let Some(Way::DiskSnapshots { disks }) = self.way(&PartName::Volumes) else {
            return;
        };
        let make = self.act(move |r, cx| {
            let disks = disks.clone();
            Box::pin(async move { volumes::make(&r, &cx, &disks).await })
        });
        self.stages
            .add(Stage::new("volumes-new", "make", make).usually(volumes::USUAL));
        before_stop.push("volumes-new".into());
        let swap = self.act(|r, cx| {
            Box::pin(async move {
                let made: Vec<volumes::Made> = cx.output("volumes-new")?;
                volumes::swap(&r, &cx, &made).await
            })
        });
        let stage = Stage::new("volumes", "swap", swap)
            .usually(Duration::from_mins(3))
            .after("volumes-new");
        swaps.push(("volumes".into(), stage));
    }

    /// What Gitaly and the deploy node need at hand.
    fn bring(&mut self, way: &Way, before_stop: &mut Vec<String>) {
        // On the same site too: Gitaly reads what is newest in its bucket, and the point names versions. What was deleted
        // or written over since comes back; the rest stays untouched.
        if let Way::GitalyServerSide { bucket, index, .. } = way {
            let (bucket, index) = (bucket.clone(), index.clone());
            let work = self.act(move |r, cx| {
                let (bucket, index) = (bucket.clone(), index.clone());
                Box::pin(async move {
                    let to = r.ground.fleet.buckets.gitaly_backups.clone();
                    objects::bring(&r, &cx, &index, &bucket, &to).await
                })
            });
            self.stages.add(Stage::new("git-objects", "copy", work));
            before_stop.push("git-objects".into());
        }
        let way = way.clone();
        let work = self.act(move |r, cx| {
            let way = way.clone();
            Box::pin(async move { repositories::bring(&r, &cx, &way).await })
        });
        self.stages.add(Stage::new("archive", "bring", work));
        before_stop.push("archive".into());
    }

    /// A stage for each bucket of objects; nobody waits for them but the end.
    fn objects(&mut self) -> Vec<String> {
        let mut stages = Vec::new();
        for part in &self.r.clone().manifest.parts {
            let Some(Way::ObjectVersions { bucket, index }) = part.way().cloned() else {
                continue;
            };
            let name = part.name.clone();
            let work = self.act(move |r, cx| {
                let (name, bucket, index) = (name.clone(), bucket.clone(), index.clone());
                Box::pin(async move {
                    let to = objects::bucket_of(&r, &name)?;
                    objects::bring(&r, &cx, &index, &bucket, &to).await
                })
            });
            let id = part.name.to_string();
            let stage = Stage::new(&id, "restore", work);
            self.stages.add(match self.r.onto {
                // What people delete or overwrite until then would be missing.
                Onto::Same => stage.after("stop"),
                Onto::Other => stage,
            });
            stages.push(id);
        }
        stages
    }

    /// Takes over what was put in place, brings its settings to what the site file says, and points the nodes at files
    /// that name it.
    fn converge(&mut self, after: Vec<String>) {
        let observe = self.observe.clone();
        let work = self.act(move |r, cx| {
            let observe = observe.clone();
            Box::pin(async move { converge(&r, &cx, &observe).await })
        });
        self.stages.add(
            Stage::new("converge", "install", work)
                .usually(Duration::from_mins(5))
                .after_all(after),
        );
    }
}

async fn converge(r: &Restoring, cx: &StageCx, observe: &Observer) -> Result<(), Halt<OpsFault>> {
    let session = &r.session;
    let reading = session.read(&InstallOptions::default()).await?;
    if !reading.plan.is_empty() {
        let run = format!("{}-converge", cx.id);
        let report = session.install(&run, &reading, &cx.stop, observe).await?;
        if report.interrupted() {
            return Err(Halt::Interrupted);
        }
        if let Some((name, fault)) = report.failures().next() {
            return Err(OpsFault::check(
                format!("{name} does not come to what the site file says"),
                fault.to_string(),
                fault.help(),
            )
            .into());
        }
    }
    let reading = session.read(&InstallOptions::default()).await?;
    let fleet = session.fleet(&reading)?;
    let packed = session.pack(&fleet)?;
    session.deliver(&packed).await?;
    Ok(())
}
