//! A change over nodes that serve: one at a time, in the order in which they lean on each other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::super::OpsFault;
use super::super::runbook::{Act, Runbook, Stage, StageCx};
use super::door::Door;
use super::{Order, ROLL_OUT, commands, machine_of};
use crate::blueprint::Role;
use crate::boot::Birth;
use crate::engine::Halt;
use crate::node::Host;
use crate::session::{BootState, Packed};
use crate::shell::{Command, RemoteFile, RemotePath};

/// Where a machine keeps who it is, and which boot program it runs.
const NODE_JSON: &str = "/etc/gantry/node.json";

/// A machine that is changed.
#[derive(Clone)]
struct Machine {
    /// `gitaly-1`, `rails-i-0abc…`
    name: String,
    host: Host,
    /// The load balancer it stands behind, and its instance there.
    behind: Option<(Door, String)>,
}

impl Order {
    /// Brings these nodes of the fleet (`rails` for the whole group) what `packed` says, and runs it there: Gitaly,
    /// Praefect, the deploy node, Rails, the other Sidekiq nodes, monitoring. The first node that is not well
    /// afterwards stops it. A machine of the group that starts meanwhile takes its new bundle by itself.
    pub async fn roll_out(
        &self,
        packed: Vec<Packed>,
        nodes: &BTreeSet<String>,
    ) -> Result<Runbook, OpsFault> {
        let wanted: BTreeMap<&String, &String> = self
            .bundles
            .iter()
            .filter(|(node, _)| nodes.contains(*node))
            .collect();
        let mut book = Runbook::new(ROLL_OUT, json!({"bundles": wanted}));
        let packed = Arc::new(packed);
        let work = self.doing(move |order, _| {
            let packed = packed.clone();
            async move {
                order.session.deliver(&packed).await?;
                Ok(())
            }
        });
        book.add(Stage::new("files", "deliver", work));
        let mut last = "files".to_owned();
        for machine in self.machines(nodes).await? {
            let id = machine.name.clone();
            let stage = self.change(machine).after(last);
            book.add(stage.usually(Duration::from_mins(4)));
            last = id;
        }
        Ok(book)
    }

    /// The machines of these nodes, in their order.
    async fn machines(&self, nodes: &BTreeSet<String>) -> Result<Vec<Machine>, OpsFault> {
        let mut hosts: Vec<&Host> = self
            .fleet
            .hosts
            .iter()
            .filter(|host| nodes.contains(&host.name))
            .collect();
        hosts.sort_by_key(|host| place(host));
        let mut machines = Vec::new();
        for host in hosts {
            let door = self.door(host.role)?;
            if let (Role::Rails, Some(door)) = (host.role, &door) {
                let members = door.kept().await?;
                machines.extend(members.into_iter().map(|instance| Machine {
                    name: machine_of(&instance),
                    host: host.clone(),
                    behind: Some((door.clone(), instance)),
                }));
                continue;
            }
            // A box is alone behind its balancer: there is nobody to take over, so there is nothing to drain.
            let door = door.filter(|_| host.role != Role::Box);
            let behind = match door {
                Some(door) => Some((door, self.instance(&host.name)?)),
                None => None,
            };
            machines.push(Machine {
                name: host.name.clone(),
                host: host.clone(),
                behind,
            });
        }
        Ok(machines)
    }

    fn change(&self, machine: Machine) -> Stage {
        let id = machine.name.clone();
        let Some((door, instance)) = machine.behind.clone() else {
            let work = self.doing(move |order, cx| {
                let machine = machine.clone();
                async move { order.renew(&cx, &machine).await }
            });
            return Stage::new(id, "reconfigure", work);
        };
        let release = self.let_back(&machine, &door, &instance);
        let work = self.doing(move |order, cx| {
            let (machine, door, instance) = (machine.clone(), door.clone(), instance.clone());
            async move {
                if door.keeper.is_some() && !door.kept().await?.contains(&instance) {
                    cx.note(format!("{} is not in the group any more.", machine.name));
                    return Ok(());
                }
                door.hold_keeper(true).await?;
                door.take_out(&cx, &machine.name, &instance).await?;
                order.renew(&cx, &machine).await?;
                door.put_back(&instance).await?;
                door.until_healthy(&cx, &machine.name, &instance).await?;
                door.hold_keeper(false).await?;
                Ok(())
            }
        });
        Stage::new(id, "reconfigure", work).cleaned_up_by(release)
    }

    /// Puts a machine back that was left outside, by a failure, by Ctrl-C or by a crash: if it answers. One that
    /// does not stays outside, because there it does no harm.
    fn let_back(&self, machine: &Machine, door: &Door, instance: &str) -> Act {
        let (machine, door, instance) = (machine.clone(), door.clone(), instance.to_owned());
        self.doing(move |order, cx| {
            let (machine, door, instance) = (machine.clone(), door.clone(), instance.clone());
            async move {
                let put = order
                    .put_back_if_well(&cx, &machine, &door, &instance)
                    .await;
                // Whatever became of the machine, the group looks after its nodes again.
                door.hold_keeper(false).await?;
                put
            }
        })
    }

    async fn put_back_if_well(
        &self,
        cx: &StageCx,
        machine: &Machine,
        door: &Door,
        instance: &str,
    ) -> Result<(), Halt<OpsFault>> {
        if door.has(instance).await? {
            return Ok(());
        }
        let name = &machine.name;
        let well = async {
            let shell = self.hosts.shell(name)?;
            let exit = shell.run(&self.wellness(&machine.host)).await?;
            Ok::<_, OpsFault>((exit.ok(), exit.last_line()))
        };
        let why = match well.await {
            Ok((true, _)) => {
                door.put_back(instance).await?;
                cx.note(format!("{name} is back in the balancer."));
                return Ok(());
            }
            Ok((false, line)) => line,
            Err(fault) => fault.to_string(),
        };
        cx.note(format!(
            "{name} stays out of the balancer, because it does not answer: {why}. `gantry reconfigure {}` goes on with it, and puts it back once it is well.",
            machine.host.name
        ));
        Ok(())
    }

    /// Runs the boot program on a machine, with the bundle it is pointed at, and looks whether it is well.
    async fn renew(&self, cx: &StageCx, machine: &Machine) -> Result<(), Halt<OpsFault>> {
        let (name, host) = (&machine.name, &machine.host);
        let shell = self.hosts.shell(name)?;
        // A machine keeps the boot program that it was born with until it is told of a newer one.
        let path = RemotePath::new(NODE_JSON)
            .ok_or_else(|| OpsFault::internal(format!("{NODE_JSON} is no path")))?;
        let birth = format!("{}\n", self.birth(host).node_json());
        let file = RemoteFile::new(path, birth).mode(0o644).owner("root:root");
        shell.put(&file.sudo()).await?;
        cx.waiting("the boot program");
        shell.run(&commands::at_rest()).await?;
        let exit = shell.run(&commands::boot()).await?;
        let bundle = self.bundle(&host.name)?;
        let state = self
            .reports
            .state(name, host.role, bundle, cx.clock)
            .await?;
        if !exit.ok() || !matches!(state, BootState::Ready { .. }) {
            return Err(super::late(name, &state).into());
        }
        match host.role {
            Role::Bastion => Ok(()),
            Role::Monitoring => self.prometheus(cx, name).await,
            Role::Sidekiq => {
                if host.deploy {
                    self.migrated(name).await?;
                }
                self.sidekiq(cx, name).await
            }
            Role::Gitaly | Role::Praefect | Role::Rails | Role::Box => {
                let command = self.wellness(host);
                self.until_good(cx, name, &command).await
            }
        }
    }

    /// The one question whose answer says that a machine may serve.
    fn wellness(&self, host: &Host) -> Command {
        match host.role {
            Role::Gitaly => commands::gitaly_check(),
            Role::Praefect => commands::praefect("check"),
            _ => commands::readiness(&self.fleet),
        }
    }

    fn birth(&self, host: &Host) -> Birth {
        Birth {
            site: self.fleet.site.as_str().to_owned(),
            node: host.name.clone(),
            role: host.role,
            region: self.fleet.region.as_str().to_owned(),
            bucket: self.fleet.buckets.config.clone(),
        }
    }
}

/// What leans on others comes after them. The bastion, through which all are reached, is last.
fn place(host: &Host) -> (u8, String) {
    let place = match host.role {
        Role::Gitaly => 0,
        Role::Praefect => 1,
        Role::Sidekiq | Role::Box if host.deploy => 2,
        Role::Rails => 3,
        Role::Sidekiq | Role::Box => 4,
        Role::Monitoring => 5,
        Role::Bastion => 6,
    };
    (place, host.name.clone())
}
