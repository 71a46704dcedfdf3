//! The machines during a restore: workers stopped, configured with what came back, started again.

use std::time::Duration;

use futures::future::try_join_all;

use super::super::order::{at_rest, boot as boot_program, until_serving};
use super::super::runbook::StageCx;
use super::super::{OpsFault, gitlab};
use super::Restoring;
use crate::blueprint::Role;
use crate::cloud::Fault;
use crate::engine::Halt;
use crate::kinds::autoscaling;
use crate::shell::{Command, ShellFault};

/// What an Auto Scaling group does not do while its nodes are stopped on purpose: replace those that do not answer,
/// and start others that would write.
const HELD: [&str; 4] = ["Launch", "Terminate", "ReplaceUnhealthy", "HealthCheck"];

/// Every machine on which GitLab's workers run.
fn workers(r: &Restoring) -> Vec<String> {
    let nodes = r.hosts.nodes().into_iter();
    let runs = nodes.filter(|(_, role)| matches!(role, Role::Rails | Role::Sidekiq | Role::Box));
    runs.map(|(name, _)| name).collect()
}

/// Stops the workers everywhere, and the hands of whoever would start others.
pub async fn stop(r: &Restoring) -> Result<Vec<String>, Halt<OpsFault>> {
    hold(r, true).await?;
    let names = workers(r);
    let stops = names.iter().map(|name| async {
        let shell = r.hosts.shell(name)?;
        gitlab::stop_workers(shell.as_ref()).await
    });
    try_join_all(stops).await?;
    Ok(names)
}

/// Starts them again. One that resists does not keep the others. What was to be silent is made silent first: this is
/// also how they are started when something failed.
///
/// Only when they answer, and the balancer has found them healthy, may their group look at them again: it would replace
/// all of them at once for having stood still.
pub async fn start(r: &Restoring, cx: &StageCx) -> Result<(), Halt<OpsFault>> {
    if r.silent {
        gitlab::silent_mode(r.deploy_node()?.as_ref(), true).await?;
    }
    let mut first = None;
    for name in workers(r) {
        let started = async {
            let shell = r.hosts.shell(&name)?;
            gitlab::start_workers(shell.as_ref()).await
        };
        if let Err(fault) = started.await {
            first.get_or_insert(fault);
        }
    }
    // Interrupted, the group stays held until the release, which waits in peace.
    serving(r, cx).await?;
    hold(r, false).await?;
    first.map_or(Ok(()), |fault| Err(fault.into()))
}

async fn serving(r: &Restoring, cx: &StageCx) -> Result<(), Halt<OpsFault>> {
    if r.ground.sizes.rails.is_none() {
        return Ok(());
    }
    until_serving(cx, &r.ground.cx, &r.ground.names, r.hosts.as_ref()).await
}

/// Empties GitLab's cache, which lies in Valkey and did not go back with the database: it would answer for what is not there
/// any more, and, because numbers are given again, with one thing's text for another. `gitlab-backup restore` does it
/// itself.
pub async fn clear_cache(r: &Restoring) -> Result<(), Halt<OpsFault>> {
    let clear = Command::new("gitlab-rake")
        .arg("cache:clear")
        .timeout(Duration::from_mins(10))
        .sudo();
    let shell = r.deploy_node()?;
    shell.must(&clear).await.map_err(OpsFault::from)?;
    Ok(())
}

async fn hold(r: &Restoring, hold: bool) -> Result<(), Fault> {
    if r.ground.sizes.rails.is_none() {
        return Ok(());
    }
    let group = r.ground.names.auto_scaling_group("rails");
    autoscaling::hold(&r.ground.cx, &group, &HELD, hold).await
}

/// Runs the boot program on every machine with GitLab: it takes the restored secrets from Secrets Manager, mounts what
/// is attached now, and reconfigures. Gitaly before those that need it. What reconfigure started is stopped again.
pub async fn configure(r: &Restoring, cx: &StageCx) -> Result<(), Halt<OpsFault>> {
    // Reconfigure starts workers for a moment. Where Rails reaches the restored database already, it is silent by then.
    if r.silent
        && let Err(fault) = gitlab::silent_mode(r.deploy_node()?.as_ref(), true).await
    {
        cx.note(format!("not silent before it is configured: {fault}"));
    }
    for role in [
        Role::Gitaly,
        Role::Praefect,
        Role::Box,
        Role::Sidekiq,
        Role::Rails,
        Role::Monitoring,
    ] {
        let names = r.hosts.of_role(role);
        if names.is_empty() {
            continue;
        }
        cx.waiting(format!("{role}: {} configured anew", names.len()));
        try_join_all(names.iter().map(|name| boot(r, cx, name))).await?;
    }
    stop(r).await?;
    Ok(())
}

/// How long a machine that was just started may be out of reach.
const STARTS: Duration = Duration::from_mins(10);

const LOOK: Duration = Duration::from_secs(10);

/// The boot program once more; see `templates/boot/gantry-boot.service`. A machine whose volume was changed is just
/// starting.
async fn boot(r: &Restoring, cx: &StageCx, name: &str) -> Result<(), Halt<OpsFault>> {
    let shell = r.hosts.shell(name)?;
    let began = cx.clock.now();
    loop {
        let booted = match shell.run(&at_rest()).await {
            Ok(_) => shell.must(&boot_program()).await.map(drop),
            Err(fault) => Err(fault),
        };
        let Err(fault) = booted else {
            return Ok(());
        };
        let starting = matches!(
            fault,
            ShellFault::Unreachable { .. } | ShellFault::Refused { .. } | ShellFault::Silent { .. }
        );
        if !starting || cx.clock.since(began) >= STARTS {
            return Err(fault.into());
        }
        cx.waiting(format!("{name} starts"));
        cx.pause(LOOK).await?;
    }
}
