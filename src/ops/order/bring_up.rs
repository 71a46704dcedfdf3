//! What an install ends with: each node reports, and then its role is looked at.

use std::time::Duration;

use serde_json::json;

use super::super::OpsFault;
use super::super::runbook::{Runbook, Stage, StageCx};
use super::{Order, commands, machine_of, reports};
use crate::blueprint::Role;
use crate::engine::Halt;
use crate::node::Host;
use crate::session::BootState;

/// Stages of the boot program that come after the databases: a node that fails there has prepared them.
const BEHIND_DATABASES: [&str; 3] = ["files", "birth", "reconfigure"];

impl Order {
    /// Every node's report, and every role's checks. A stage waits only for what its check needs, so a node that
    /// fails stops what stands on it and nothing else.
    pub fn bring_up(&self) -> Runbook {
        let mut book = Runbook::new("install nodes", json!({"bundles": &*self.bundles}));
        let of = |role: Role| self.fleet.of_role(role).cloned().collect::<Vec<Host>>();
        // Everybody is reached through the bastion.
        let mut base = Vec::new();
        for host in of(Role::Bastion) {
            base.push(host.name.clone());
            book.add(self.node(host, |_, _, _| async { Ok(()) }));
        }
        if let Some(host) = of(Role::Box).into_iter().next() {
            self.bring_up_box(&mut book, &host);
            return book;
        }

        if self.fleet.database.is_some() {
            let work = self.doing(|order, cx| async move { order.databases(&cx).await });
            book.add(Stage::new("databases", "check", work).after_all(base.clone()));
        }
        let praefect = of(Role::Praefect);
        for host in &praefect {
            let stage = self.node(host.clone(), |order, _, name| async move {
                order.check(&name, &commands::praefect("sql-ping")).await?;
                let migrated = commands::praefect("sql-migrate-status");
                order.check(&name, &migrated).await?;
                Ok(())
            });
            // The first one alone migrates Praefect's database.
            let first = praefect.first().filter(|first| first.name != host.name);
            let first = first.map(|first| first.name.clone());
            book.add(stage.after_all(base.clone()).after_all(first));
        }
        let gitaly = of(Role::Gitaly);
        for host in &gitaly {
            let stage = self.node(host.clone(), |order, _, name| async move {
                order.check(&name, &commands::running(&["gitaly"])).await?;
                Ok(())
            });
            book.add(stage.after_all(base.clone()));
        }
        let mut git: Vec<String> = gitaly.iter().map(|host| host.name.clone()).collect();
        if !praefect.is_empty() {
            let names: Vec<String> = praefect.iter().map(|host| host.name.clone()).collect();
            git.extend(names.clone());
            let work = self.doing(move |order, _| {
                let names = names.clone();
                async move {
                    for name in names {
                        order.check(&name, &commands::praefect("check")).await?;
                    }
                    Ok(())
                }
            });
            book.add(Stage::new("gitaly-cluster", "check", work).after_all(git));
            git = vec!["gitaly-cluster".to_owned()];
        }
        self.bring_up_rails(&mut book, &git);
        for host in of(Role::Monitoring) {
            let stage = self.node(host, |order, cx, name| async move {
                order.prometheus(&cx, &name).await
            });
            book.add(stage.after_all(base.clone()));
        }
        book
    }

    /// The deploy node with its migrations, then the Rails group and the other Sidekiq nodes, then what needs all.
    fn bring_up_rails(&self, book: &mut Runbook, git: &[String]) {
        let Some(deploy) = self.deploy_node().cloned() else {
            return;
        };
        let stage = self.node(deploy.clone(), |order, cx, name| async move {
            order.migrated(&name).await?;
            order.sidekiq(&cx, &name).await
        });
        let stage = stage.after_all(git.iter().cloned()).after("databases");
        book.add(stage.usually(Duration::from_mins(12)));
        let mut all = vec![deploy.name.clone()];
        if self.fleet.of_role(Role::Rails).next().is_some() {
            let work = self.doing(|order, cx| async move { order.rails(&cx).await });
            let stage = Stage::new("rails", "check", work).after(&deploy.name);
            book.add(stage.usually(Duration::from_mins(10)));
            all.push("rails".to_owned());
        }
        let others = self.fleet.of_role(Role::Sidekiq).filter(|h| !h.deploy);
        for host in others.cloned().collect::<Vec<_>>() {
            all.push(host.name.clone());
            let stage = self.node(host, |order, cx, name| async move {
                order.sidekiq(&cx, &name).await
            });
            book.add(stage.after(&deploy.name));
        }
        // Gitaly's own check asks GitLab's internal API, so it comes when Rails nodes answer.
        for host in self.fleet.of_role(Role::Gitaly) {
            let name = host.name.clone();
            let stage = format!("{name}-calls");
            let work = self.doing(move |order, _| {
                let name = name.clone();
                async move {
                    order.check(&name, &commands::gitaly_check()).await?;
                    Ok(())
                }
            });
            all.push(stage.clone());
            book.add(Stage::new(stage, "check", work).after_all([host.name.as_str(), "rails"]));
        }
        let work = self.doing(|order, _| async move { order.gitlab().await });
        let stage = Stage::new("gitlab", "check", work).after_all(all);
        book.add(stage.usually(Duration::from_mins(2)));
    }

    fn bring_up_box(&self, book: &mut Runbook, host: &Host) {
        let stage = self.node(host.clone(), |order, cx, name| async move {
            order.migrated(&name).await?;
            let readiness = commands::readiness(&order.fleet);
            order.until_good(&cx, &name, &readiness).await?;
            if let Some(door) = order.door(Role::Box)? {
                let instance = order.instance(&name)?;
                door.until_healthy(&cx, &name, &instance).await?;
            }
            Ok(())
        });
        book.add(stage.usually(Duration::from_mins(15)));
        let name = host.name.clone();
        let work = self.doing(move |order, _| {
            let name = name.clone();
            async move {
                order.gitlab_checks(&name, &["gitlab:check"]).await?;
                Ok(())
            }
        });
        book.add(Stage::new("gitlab", "check", work).after(&host.name));
    }

    /// A stage that waits for a node's report and then looks at it.
    fn node<F, Fut>(&self, host: Host, look: F) -> Stage
    where
        F: Fn(Self, StageCx, String) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<(), Halt<OpsFault>>> + Send + 'static,
    {
        let id = host.name.clone();
        let work = self.doing(move |order, cx| {
            let (host, look) = (host.clone(), look.clone());
            async move {
                order.until_ready(&cx, &host.name, &host).await?;
                look(order, cx, host.name).await
            }
        });
        Stage::new(id, "check", work).usually(Duration::from_mins(8))
    }

    /// The deploy node prepares the databases when it boots, before its first migration. Here is waited until it is
    /// past that, and looked.
    async fn databases(&self, cx: &StageCx) -> Result<(), Halt<OpsFault>> {
        let (Some(host), Some(database)) = (self.deploy_node(), &self.fleet.database) else {
            return Ok(());
        };
        let bundle = self.bundle(&host.name)?;
        let began = cx.clock.now();
        loop {
            let said = self.reports.of(host.role, cx.clock).await?;
            let state = reports::state(&said, &host.name, bundle);
            let past = match &state {
                BootState::Ready { .. } => true,
                BootState::Failed { stage, .. } | BootState::Waiting { stage, .. } => {
                    BEHIND_DATABASES.contains(&stage.as_str())
                }
                BootState::Silent | BootState::Behind => false,
            };
            if past {
                break;
            }
            if cx.clock.since(began) >= self.patience {
                return Err(super::late(&host.name, &state).into());
            }
            cx.waiting(format!("{}: {state}", host.name));
            cx.pause(reports::PAUSE).await?;
        }
        let command = commands::missing_extensions(database);
        let exit = self.check(&host.name, &command).await?;
        let missing = exit.stdout.text();
        let missing: Vec<&str> = missing.split_whitespace().collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(OpsFault::check(
            "GitLab's database lacks extensions",
            missing.join(", "),
            format!("`gantry ssh {} -- sudo systemctl restart gantry-boot` makes them; its log says what is in the way", host.name),
        )
        .into())
    }

    /// As many machines of the Rails group as there should be at least, each ready, answering, and healthy for the
    /// load balancer.
    async fn rails(&self, cx: &StageCx) -> Result<(), Halt<OpsFault>> {
        let (Some(host), Some(door)) = (
            self.fleet.of_role(Role::Rails).next(),
            self.door(Role::Rails)?,
        ) else {
            return Ok(());
        };
        let least = self.session.profile.rails.as_ref().map_or(1, |r| r.min);
        let began = cx.clock.now();
        let members = loop {
            let members = door.kept().await?;
            if members.len() >= least as usize {
                break members;
            }
            if cx.clock.since(began) >= self.patience {
                return Err(OpsFault::check(
                    "the Rails group is too small",
                    format!("{} of {least} machines are in service", members.len()),
                    "the activity of the Auto Scaling group in the AWS console says why none is started",
                )
                .into());
            }
            cx.waiting(format!(
                "{} of {least} machines are in service",
                members.len()
            ));
            cx.pause(reports::PAUSE).await?;
        };
        for instance in members {
            let name = machine_of(&instance);
            self.until_ready(cx, &name, host).await?;
            let readiness = commands::readiness(&self.fleet);
            self.until_good(cx, &name, &readiness).await?;
            door.until_healthy(cx, &name, &instance).await?;
        }
        // From now on who is ill is ill.
        door.go_on().await?;
        Ok(())
    }

    /// GitLab's own checks, each where it has something to look at.
    async fn gitlab(&self) -> Result<(), Halt<OpsFault>> {
        if let Some(deploy) = self.deploy_node() {
            let tasks = ["gitlab:gitaly:check", "gitlab:sidekiq:check"];
            self.gitlab_checks(&deploy.name, &tasks).await?;
        }
        let door = self.door(Role::Rails)?;
        let Some(door) = door.filter(|_| self.fleet.of_role(Role::Rails).next().is_some()) else {
            return Ok(());
        };
        if let Some(instance) = door.kept().await?.first() {
            let tasks = ["gitlab:gitlab_shell:check", "gitlab:app:check"];
            self.gitlab_checks(&machine_of(instance), &tasks).await?;
        }
        Ok(())
    }
}
