//! The order in which nodes come up, and in which a change is rolled out over them.
//!
//! [`Order::bring_up`] is what an install ends with. Machines boot by themselves and wait for what they need, so it
//! does little more than to wait for each report and then to look, with GitLab's own checks, before it goes on.
//! [`Order::roll_out`] changes nodes that serve: one at a time, and those behind a load balancer only while nobody is
//! connected to them. Both are runbooks: interrupted, they are taken up where they stopped.

mod bring_up;
mod commands;
mod door;
mod reports;
mod roll_out;
mod serving;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

pub use self::commands::{at_rest, boot, missing_extensions};
pub use self::door::Door;
use self::reports::Reports;
pub use self::serving::until_serving;
use super::runbook::{Act, StageCx, act};
use super::{Hosts, OpsFault};
use crate::blueprint::Role;
use crate::engine::Halt;
use crate::node::{Fleet, Host};
use crate::session::{BootState, Session};
use crate::shell::{Command, Exit};

/// The verb of [`Order::roll_out`] in ledgers.
pub const ROLL_OUT: &str = "reconfigure";

/// How often a check that has to become good is made again.
const AGAIN: Duration = Duration::from_secs(10);

/// How long a service may take to answer after its node is configured; Puma starts in a minute or two.
const STARTS: Duration = Duration::from_mins(10);

/// The target groups of the public load balancer.
pub(super) const PUBLIC: [&str; 3] = ["web", "redirect", "ssh"];

/// A site whose nodes are put in order.
#[derive(Clone)]
pub struct Order {
    session: Arc<Session>,
    hosts: Arc<dyn Hosts>,
    fleet: Arc<Fleet>,
    /// The bundle that each node of the fleet should be, by the node's name.
    bundles: Arc<BTreeMap<String, String>>,
    reports: Reports,
    /// How long a node may take to report that it is ready.
    patience: Duration,
}

impl Order {
    /// `bundles` are the SHA-256 of each node's bundle, by the node's name in the fleet.
    pub fn new(
        session: Arc<Session>,
        hosts: Arc<dyn Hosts>,
        fleet: Fleet,
        bundles: BTreeMap<String, String>,
        patience: Duration,
    ) -> Self {
        Self {
            reports: Reports::new(session.clone(), hosts.clone()),
            session,
            hosts,
            fleet: Arc::new(fleet),
            bundles: Arc::new(bundles),
            patience,
        }
    }

    /// The machines of these nodes that have reported something else than that they are what their bundle says. One
    /// that has said nothing yet is still starting, and is not among them.
    pub async fn behind(
        &self,
        nodes: &BTreeSet<String>,
    ) -> Result<Vec<(String, BootState)>, OpsFault> {
        let mut behind = self.heard(nodes).await?;
        behind.retain(|(_, state)| !matches!(state, BootState::Ready { .. }));
        Ok(behind)
    }

    /// The machines of these nodes that have said anything, with how far they are.
    pub async fn heard(
        &self,
        nodes: &BTreeSet<String>,
    ) -> Result<Vec<(String, BootState)>, OpsFault> {
        let clock = *self.session.cx.clock();
        let mut heard = Vec::new();
        for host in self.fleet.hosts.iter().filter(|h| nodes.contains(&h.name)) {
            let machines = match (host.role, self.door(host.role)?) {
                (Role::Rails, Some(door)) => {
                    let kept = door.kept().await?;
                    kept.iter().map(|instance| machine_of(instance)).collect()
                }
                _ => vec![host.name.clone()],
            };
            let said = self.reports.of(host.role, clock).await?;
            for machine in machines {
                let state = reports::state(&said, &machine, self.bundle(&host.name)?);
                if state != BootState::Silent {
                    heard.push((machine, state));
                }
            }
        }
        Ok(heard)
    }

    /// The work of a stage.
    fn doing<F, Fut>(&self, work: F) -> Act
    where
        F: Fn(Self, StageCx) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), Halt<OpsFault>>> + Send + 'static,
    {
        let order = self.clone();
        act(move |cx| work(order.clone(), cx))
    }

    fn bundle(&self, node: &str) -> Result<&str, OpsFault> {
        let bundle = self.bundles.get(node).map(String::as_str);
        bundle.ok_or_else(|| OpsFault::internal(format!("{node} has no bundle")))
    }

    fn deploy_node(&self) -> Option<&Host> {
        self.fleet.hosts.iter().find(|host| host.deploy)
    }

    /// Waits until a machine reports that it is what its bundle says; `machine` is `rails-<instance>` for a member of
    /// the group, and else the node's name.
    async fn until_ready(
        &self,
        cx: &StageCx,
        machine: &str,
        host: &Host,
    ) -> Result<(), Halt<OpsFault>> {
        let bundle = self.bundle(&host.name)?;
        let began = cx.clock.now();
        loop {
            let said = self.reports.of(host.role, cx.clock).await?;
            let state = reports::state(&said, machine, bundle);
            if matches!(state, BootState::Ready { .. }) {
                return Ok(());
            }
            if cx.clock.since(began) >= self.patience {
                return Err(late(machine, &state).into());
            }
            cx.waiting(state.to_string());
            cx.pause(reports::PAUSE).await?;
        }
    }

    /// Runs a check on a machine; one that does not end with code 0 is what the stage fails of.
    async fn check(&self, machine: &str, command: &Command) -> Result<Exit, OpsFault> {
        let exit = self.hosts.shell(machine)?.run(command).await?;
        if exit.ok() {
            return Ok(exit);
        }
        Err(refused(machine, command, &exit))
    }

    /// Runs a check until it is good, as long as a service may take to start.
    async fn until_good(
        &self,
        cx: &StageCx,
        machine: &str,
        command: &Command,
    ) -> Result<(), Halt<OpsFault>> {
        let began = cx.clock.now();
        let shell = self.hosts.shell(machine)?;
        loop {
            let exit = shell.run(command).await?;
            if exit.ok() {
                return Ok(());
            }
            if cx.clock.since(began) >= STARTS {
                return Err(refused(machine, command, &exit).into());
            }
            cx.waiting(exit.last_line());
            cx.pause(AGAIN).await?;
        }
    }

    /// Rake's checks say what is wrong in their words, and end with code 0 all the same.
    async fn gitlab_checks(&self, machine: &str, tasks: &[&str]) -> Result<(), OpsFault> {
        let command = commands::gitlab_checks(tasks);
        let exit = self.check(machine, &command).await?;
        let text = exit.stdout.text();
        let Some((before, _)) = text.split_once("Try fixing it:") else {
            return Ok(());
        };
        let what = before.lines().rfind(|line| !line.trim().is_empty());
        Err(OpsFault::check(
            format!("{machine}: {}", command.title()),
            what.unwrap_or("a check is not good").trim().to_owned(),
            format!(
                "`gantry ssh {machine} -- sudo {}` says more",
                command.title()
            ),
        ))
    }

    /// Whether every migration ran.
    async fn migrated(&self, machine: &str) -> Result<(), OpsFault> {
        let exit = self.check(machine, &commands::migrations()).await?;
        let text = exit.stdout.text();
        let down: Vec<&str> = text
            .lines()
            .filter(|line| line.trim_start().starts_with("down"))
            .collect();
        let Some(first) = down.first() else {
            return Ok(());
        };
        Err(OpsFault::check(
            format!("{machine}: the database is not migrated"),
            format!(
                "{} migrations did not run, the first is `{}`",
                down.len(),
                first.trim()
            ),
            format!(
                "`gantry ssh {machine} -- sudo gitlab-rake db:migrate` runs them and says what is in the way"
            ),
        ))
    }

    /// The health of a Sidekiq node: its processes, and what they answer.
    async fn sidekiq(&self, cx: &StageCx, machine: &str) -> Result<(), Halt<OpsFault>> {
        self.until_good(cx, machine, &commands::answers(8092, "/readiness"))
            .await
    }

    async fn prometheus(&self, cx: &StageCx, machine: &str) -> Result<(), Halt<OpsFault>> {
        self.until_good(cx, machine, &commands::answers(9090, "/-/ready"))
            .await
    }

    /// An output that AWS gave, from the journal.
    fn output(&self, address: &str, key: &str) -> Option<String> {
        let outputs = self.session.store.state().outputs();
        let output = outputs.0.get(&address.parse().ok()?)?;
        output.get(key).and_then(Value::as_str).map(str::to_owned)
    }

    /// The load balancer that a role stands behind; none where there is none.
    fn door(&self, role: Role) -> Result<Option<Door>, OpsFault> {
        let wanted: &[&str] = match role {
            Role::Rails => &PUBLIC,
            Role::Box if self.fleet.front.balancer => &PUBLIC,
            Role::Praefect => &["praefect"],
            _ => return Ok(None),
        };
        let known = |address: String, key: &str| {
            self.output(&address, key).ok_or_else(|| {
                OpsFault::refused(
                    format!("{address} is not known"),
                    "the journal does not say what AWS made of it",
                    "`gantry state rebuild` reads it again from AWS",
                )
            })
        };
        let mut groups = Vec::new();
        for name in wanted {
            let arn = known(format!("elb/target_group:{name}"), "arn")?;
            groups.push(((*name).to_owned(), arn));
        }
        let keeper = match role {
            Role::Rails => Some(known("autoscaling/group:rails".to_owned(), "name")?),
            _ => None,
        };
        Ok(Some(Door {
            cx: self.session.cx.clone(),
            groups,
            keeper,
        }))
    }

    /// The instance of a fixed node.
    fn instance(&self, node: &str) -> Result<String, OpsFault> {
        let address = format!("ec2/instance:{node}");
        self.output(&address, "id").ok_or_else(|| {
            OpsFault::refused(
                format!("{address} is not known"),
                "the journal does not say what AWS made of it",
                "`gantry state rebuild` reads it again from AWS",
            )
        })
    }
}

/// The name of a member of the Rails group, as it reports.
fn machine_of(instance: &str) -> String {
    crate::boot::report_name(Role::Rails, "rails", instance)
}

fn late(machine: &str, state: &BootState) -> OpsFault {
    OpsFault::check(
        format!("{machine} is not ready"),
        state.to_string(),
        format!(
            "the node goes on trying; `gantry ssh {machine} -- sudo journalctl -u gantry-boot` shows its words"
        ),
    )
}

fn refused(machine: &str, command: &Command, exit: &Exit) -> OpsFault {
    let title = command.title();
    let last = exit.last_line();
    let why = if last.is_empty() {
        exit.status.to_string()
    } else {
        format!("{}: {last}", exit.status)
    };
    OpsFault::check(
        format!("{machine}: {title}"),
        why,
        format!("`gantry ssh {machine}` and look there; then run the same command again"),
    )
}
