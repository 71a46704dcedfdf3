//! What keeps a recovery point from being taken: the checks name it, and nothing is written.

use std::sync::Arc;

use gantry::ops::backup::Mode;
use gantry::ops::gitlab::{Backup, Unit};
use gantry::ops::{Ledger as _, MemoryLedger};
use gantry::profile::ProfileName;

use crate::support::deaths::is_read;
use crate::taking::{FIRST, Place};

/// Something that is in the way of a backup.
#[derive(Debug, Clone, Copy)]
enum Obstacle {
    NoRoom,
    AnotherBackup,
    FullReplica,
    DataLoss,
}

impl Obstacle {
    /// Puts it in the way; returns how the refusal begins.
    async fn arise(self, place: &Place) -> String {
        let deploy = place.taking.deploy_node().unwrap();
        let node = deploy.host();
        let machines = &place.machines;
        match self {
            Self::NoRoom => {
                machines.fill(node, 1 << 20).await.unwrap();
                "space: /var/opt/gitlab/backups has 1.0 MiB free of 100.0 GiB; needed: ".to_owned()
            }
            Self::AnotherBackup => {
                let unit = Unit::new("by-hand");
                let job = Backup::default().job();
                unit.begin(deploy.as_ref(), &job).await.unwrap();
                format!("running backup: {node} is at one already: process ")
            }
            Self::FullReplica => {
                let replica = place.taking.ground.names.database("main-1");
                place.stage.sandbox.change(|world| {
                    let row = world.get_mut("eu-west-1", "rds/db_instance", &replica);
                    row.unwrap().set("DBInstanceStatus", "storage-full");
                });
                format!("{replica}: its replica is storage-full")
            }
            Self::DataLoss => {
                let project = "group/project-2";
                machines.lose_repository(project).await.unwrap();
                let picture = machines.picture().await.unwrap();
                let path = &picture.database.projects[project];
                format!("praefect dataloss: praefect-1: {path}.git (unavailable)")
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_in_the_way_is_named_and_nothing_is_written() {
    for (profile, obstacle) in [
        (ProfileName::SingleBox, Obstacle::NoRoom),
        (ProfileName::Poc2k, Obstacle::AnotherBackup),
        (ProfileName::Ha10k, Obstacle::FullReplica),
        (ProfileName::Ha3k, Obstacle::DataLoss),
    ] {
        let place = Place::profile(profile).await;
        let named = obstacle.arise(&place).await;
        place.stage.sandbox.clear_log();
        let ledger = MemoryLedger::default();
        let taken = place
            .create_on(FIRST, Arc::new(ledger.clone()), Mode::Take)
            .await
            .unwrap();

        let failures: Vec<_> = taken.report.failures().collect();
        let [("check", refusal)] = failures[..] else {
            panic!("{obstacle:?}: {failures:?}");
        };
        let said = refusal.to_string();
        assert!(
            said.starts_with(&format!("no point is taken: {named}")),
            "{obstacle:?}: {said}"
        );
        assert!(!refusal.help().is_empty(), "{obstacle:?}");

        let log = place.stage.sandbox.log();
        let calls = log.iter().map(|call| call.call.as_str());
        let written: Vec<_> = calls.filter(|call| !is_read(call)).collect();
        assert_eq!(
            written, ["s3:PutObject"; 2],
            "{obstacle:?}: two puts, of the lock, and nothing else"
        );
        assert!(taken.closed.is_none(), "{obstacle:?}");
        assert!(place.taking.points.list().await.unwrap().is_empty());
        // Nobody goes on with it: the next run looks anew.
        let ended = ledger.story().ended;
        assert_eq!(ended.as_deref(), Some("refused by its checks"));
    }
}
