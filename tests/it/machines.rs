//! The played nodes: a backup is taken, the site changes, and the backup brings everything back.

use std::sync::Arc;
use std::time::Duration;

use gantry::blueprint::Role;
use gantry::cloud::Aws;
use gantry::ops::gitlab::{
    Backup, Check, Installed, Job, Progress, Restore, Thawed, Unit, archive, archive_path,
    backup_id, bring_archive, check, config_files, failed_repositories, freeze, reconfigure, refs,
    restored, running_backup, secrets_mark, silent_mode, start_workers, stop_workers, thaw,
    version,
};
use gantry::ops::{Hosts, point::Edition};
use gantry::profile::ProfileName;
use gantry::sandbox::machines::{Disks, Machines, difference};
use gantry::secret::Secret;
use gantry::shell::{Command, Shell, Status};

use crate::support::stage::Stage;

/// A site with a GitLab in it.
struct Played {
    stage: Stage,
    aws: Aws,
    machines: Machines,
    deploy: &'static str,
}

impl Played {
    async fn new(profile: ProfileName) -> Self {
        let stage = Stage::new(profile);
        stage.install().await;
        let aws = Aws::new(&stage.sandbox.config("eu-west-1"));
        let machines = machines(&stage, "19.5.3").await;
        machines.seed(3).await.unwrap();
        let deploy = if profile == ProfileName::SingleBox {
            "box"
        } else {
            "sidekiq-1"
        };
        Self {
            stage,
            aws,
            machines,
            deploy,
        }
    }

    fn shell(&self) -> Arc<dyn Shell> {
        self.machines.hosts().shell(self.deploy).unwrap()
    }

    /// Carries a long command out to its end.
    async fn carry_out(&self, name: &str, job: &Job) -> Progress {
        let shell = self.shell();
        let unit = Unit::new(name);
        unit.begin(shell.as_ref(), job).await.unwrap();
        loop {
            match unit.watch(shell.as_ref()).await.unwrap() {
                Progress::Running { .. } => {
                    self.stage
                        .sandbox
                        .clock()
                        .sleep(Duration::from_secs(15))
                        .await;
                }
                progress => return progress,
            }
        }
    }

    async fn backup(&self, name: &str, backup: &Backup) -> String {
        match self.carry_out(name, &backup.job()).await {
            Progress::Done { output } => backup_id(&output).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    async fn restore(&self, name: &str, backup: &str) -> Progress {
        let skip = vec![];
        let job = Restore {
            backup: backup.into(),
            skip,
        }
        .job();
        self.carry_out(name, &job).await
    }

    async fn workers(&self, run: bool) {
        let hosts = self.machines.hosts();
        for (name, role) in hosts.nodes() {
            if matches!(role, Role::Box | Role::Rails | Role::Sidekiq) {
                let shell = hosts.shell(&name).unwrap();
                if run {
                    start_workers(shell.as_ref()).await.unwrap();
                } else {
                    stop_workers(shell.as_ref()).await.unwrap();
                }
            }
        }
    }

    /// The keys in a bucket.
    async fn keys(&self, part: &str) -> Vec<String> {
        let bucket = self.bucket(part).await;
        let answer = self
            .aws
            .s3
            .list_objects_v2()
            .bucket(bucket)
            .send()
            .await
            .unwrap();
        let keys = answer.contents().iter().filter_map(|o| o.key());
        keys.map(ToOwned::to_owned).collect()
    }

    async fn bucket(&self, part: &str) -> String {
        let fleet = self.stage.session().await.unwrap().known_fleet().unwrap();
        match part {
            "backups" => fleet.buckets.backups,
            _ => fleet.buckets.gitaly_backups,
        }
    }
}

async fn machines(stage: &Stage, version: &str) -> Machines {
    let installed = Installed {
        version: version.into(),
        edition: Edition::Ee,
    };
    let fleet = stage.session().await.unwrap().known_fleet().unwrap();
    let aws = Aws::new(&stage.sandbox.config("eu-west-1"));
    let clock = stage.sandbox.clock();
    let disks = Disks::Strict(stage.sandbox.clone());
    Machines::open(fleet, installed, aws, clock, disks, None)
        .await
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_backup_brings_everything_back() {
    for (profile, server_side) in [
        (ProfileName::SingleBox, false),
        (ProfileName::SingleBox, true),
        (ProfileName::Poc2k, true),
        (ProfileName::Ha3k, true),
    ] {
        let site = Played::new(profile).await;
        let shell = site.shell();
        assert_eq!(version(shell.as_ref()).await.unwrap().version, "19.5.3");
        let before = site.machines.picture().await.unwrap();
        let sample = refs(shell.as_ref(), 2, "seed").await.unwrap();
        assert_eq!(sample.len(), 2);
        let id = site
            .backup(
                "backup-1",
                &Backup {
                    server_side,
                    ..Backup::default()
                },
            )
            .await;
        assert!(
            site.keys("backups")
                .await
                .contains(&format!("{id}_gitlab_backup.tar"))
        );
        assert_eq!(site.keys("gitaly-backups").await.is_empty(), !server_side);

        site.machines
            .push("group/project-1", "main", "second")
            .await
            .unwrap();
        site.machines.add_project().await.unwrap();
        let changed = site.machines.picture().await.unwrap();
        assert_eq!(difference(&before, &changed).len(), 3, "{profile}");

        // Nobody may write meanwhile.
        assert!(matches!(
            site.restore("restore-1", &id).await,
            Progress::Failed { .. }
        ));
        site.workers(false).await;
        let Progress::Done { output } = site.restore("restore-2", &id).await else {
            panic!("{profile}: not restored")
        };
        assert!(restored(&output));
        site.workers(true).await;
        let after = site.machines.picture().await.unwrap();
        assert_eq!(difference(&before, &after), [""; 0], "{profile}");
        assert_eq!(refs(shell.as_ref(), 2, "seed").await.unwrap(), sample);
    }
}

#[tokio::test(start_paused = true)]
async fn an_increment_needs_every_step_before_it() {
    let site = Played::new(ProfileName::Poc2k).await;
    let whole = Backup {
        server_side: true,
        ..Backup::default()
    };
    let first = site.backup("backup-1", &whole).await;
    site.machines
        .push("group/project-2", "main", "second")
        .await
        .unwrap();
    let before = site.machines.picture().await.unwrap();
    site.stage
        .sandbox
        .clock()
        .sleep(Duration::from_hours(1))
        .await;
    let next = Backup {
        previous: Some(first.clone()),
        ..whole
    };
    let second = site.backup("backup-2", &next).await;
    site.workers(false).await;
    // Back to the first, and forward to the second.
    assert!(matches!(
        site.restore("restore-1", &first).await,
        Progress::Done { .. }
    ));
    let back = site.machines.picture().await.unwrap();
    assert_eq!(difference(&before, &back).len(), 1);
    assert!(matches!(
        site.restore("restore-2", &second).await,
        Progress::Done { .. }
    ));
    let forward = site.machines.picture().await.unwrap();
    assert_eq!(difference(&before, &forward), [""; 0]);
    // The first step goes, and with it everything that builds on it.
    let path = &before.database.projects["group/project-2"];
    let key = format!("{path}/{first}/001.bundle");
    let bucket = site.bucket("gitaly-backups").await;
    site.aws
        .s3
        .delete_object()
        .bucket(bucket)
        .key(key)
        .send()
        .await
        .unwrap();
    let Progress::Failed { output, .. } = site.restore("restore-3", &second).await else {
        panic!("a step is missing")
    };
    let failed: Vec<_> = failed_repositories(&output).into_iter().collect();
    assert_eq!(failed, [format!("{path}.git")]);
}

#[tokio::test(start_paused = true)]
async fn what_does_not_fit_is_refused() {
    let site = Played::new(ProfileName::SingleBox).await;
    let shell = site.shell();
    let id = site.backup("backup-1", &Backup::default()).await;
    let there = archive(shell.as_ref(), &id).await.unwrap();
    site.workers(false).await;
    // Other secrets.
    let mark = secrets_mark(shell.as_ref()).await.unwrap();
    site.machines.rotate_secrets("second").await.unwrap();
    assert!(!check(shell.as_ref(), Check::Secrets).await.unwrap().ok);
    site.carry_out("reconfigure-1", &reconfigure()).await;
    assert_ne!(secrets_mark(shell.as_ref()).await.unwrap(), mark);
    assert!(check(shell.as_ref(), Check::Secrets).await.unwrap().ok);
    let refused = site.restore("restore-1", &id).await;
    assert!(
        refused.last_lines()[0].contains("do not fit"),
        "{refused:?}"
    );
    // A node that does not have the archive, and an address that nobody signed.
    let job = bring_archive(
        Secret::new("http://x/y".into()),
        &archive_path(&id),
        &there.sha256,
    );
    assert!(matches!(
        site.carry_out("bring-1", &job).await,
        Progress::Failed { .. }
    ));
    let gone = site
        .restore("restore-2", "1790000000_2026_09_21_19.5.3-ee")
        .await;
    assert!(gone.last_lines()[0].contains("does not exist"), "{gone:?}");
    // A repository that cannot be read.
    site.machines
        .break_repository("group/project-3")
        .await
        .unwrap();
    let broken = site.carry_out("backup-2", &Backup::default().job()).await;
    let Progress::Failed { output, .. } = broken else {
        panic!("{broken:?}")
    };
    assert_eq!(failed_repositories(&output).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn another_version_restores_nothing() {
    let site = Played::new(ProfileName::SingleBox).await;
    let id = site.backup("backup-1", &Backup::default()).await;
    let there = archive(site.shell().as_ref(), &id).await.unwrap();
    let key = format!("{id}_gitlab_backup.tar");
    let bucket = site.bucket("backups").await;
    // The sandbox has no address; what counts is that it is signed, and names bucket and key.
    let url = format!("https://{bucket}.s3.eu-west-1.amazonaws.com/{key}?X-Amz-Signature=0");
    let newer = Played {
        machines: machines(&site.stage, "19.6.0").await,
        ..site
    };
    let job = bring_archive(Secret::new(url), &archive_path(&id), &there.sha256);
    let brought = newer.carry_out("bring-1", &job).await;
    assert!(matches!(brought, Progress::Done { .. }), "{brought:?}");
    newer.workers(false).await;
    let refused = newer.restore("restore-1", &id).await;
    assert!(
        matches!(&refused, Progress::Failed { output, .. } if output.contains("version mismatch")),
        "{refused:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn nodes_answer_what_their_role_has_and_nothing_else() {
    let site = Played::new(ProfileName::Ha3k).await;
    let hosts = site.machines.hosts();
    let shell = |name: &str| hosts.shell(name).unwrap();
    for (node, what) in [
        ("sidekiq-1", Check::GitLab),
        ("sidekiq-1", Check::Extensions),
        ("sidekiq-1", Check::Migrations),
        ("sidekiq-1", Check::Uploads),
        ("gitaly-1", Check::Gitaly),
        ("praefect-1", Check::Praefect),
        ("praefect-1", Check::PraefectNodes),
        ("praefect-1", Check::DataLoss),
    ] {
        let verdict = check(shell(node).as_ref(), what).await.unwrap();
        assert!(verdict.ok, "{node} {what:?}: {verdict:?}");
    }
    let rails = hosts.of_role(Role::Rails);
    assert!(
        !rails.is_empty() && rails.iter().all(|name| name.starts_with("rails-i-")),
        "{rails:?}"
    );
    assert!(
        check(shell(&rails[0]).as_ref(), Check::Readiness)
            .await
            .unwrap()
            .ok
    );
    let stopped = stop_workers(shell(&rails[0]).as_ref()).await.unwrap();
    assert_eq!(stopped, ["puma"]);
    assert!(
        !check(shell(&rails[0]).as_ref(), Check::Readiness)
            .await
            .unwrap()
            .ok
    );
    for (node, command) in [
        ("gitaly-1", "gitlab-rake"),
        ("bastion", "gitlab-ctl"),
        ("sidekiq-1", "reboot"),
    ] {
        let exit = shell(node).run(&Command::new(command)).await.unwrap();
        assert_eq!(exit.status, Status::Code(127), "{node} {command}");
    }
    let gitaly = shell("gitaly-1");
    let mount = "/var/opt/gitlab/git-data";
    freeze(gitaly.as_ref(), mount, Duration::from_mins(1))
        .await
        .unwrap();
    assert_eq!(thaw(gitaly.as_ref(), mount).await.unwrap(), Thawed::Now);
    freeze(gitaly.as_ref(), mount, Duration::from_mins(1))
        .await
        .unwrap();
    site.stage
        .sandbox
        .clock()
        .sleep(Duration::from_mins(2))
        .await;
    assert_eq!(thaw(gitaly.as_ref(), mount).await.unwrap(), Thawed::Before);
    assert!(
        freeze(shell("sidekiq-1").as_ref(), mount, Duration::from_mins(1))
            .await
            .is_err()
    );
    silent_mode(shell("sidekiq-1").as_ref(), true)
        .await
        .unwrap();
    assert!(site.machines.picture().await.unwrap().database.silent);
    assert!(!config_files(gitaly.as_ref()).await.unwrap().is_empty());
    assert_eq!(
        running_backup(shell("sidekiq-1").as_ref()).await.unwrap(),
        None
    );
}
