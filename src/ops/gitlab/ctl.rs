//! `gitlab-ctl`: the services of a node.

use std::time::Duration;

use super::{Job, unclear};
use crate::ops::OpsFault;
use crate::shell::{Command, Shell};

/// What answers people and what works in the background: both stand still while data is brought back
/// (doc/administration/backup_restore/restore_gitlab.md).
pub const WORKERS: [&str; 2] = ["puma", "sidekiq"];

/// How long runit waits for a service to come up or go down, in seconds, before it calls that a failure. Its own seven
/// are not enough for Sidekiq, which gives its jobs 25 to come to an end, nor for a Puma that answers its last requests.
const PATIENCE: &str = "120";

/// A service of the package on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    pub name: String,
    pub up: bool,
}

fn ctl(verb: &str) -> Command {
    Command::new("gitlab-ctl")
        .arg(verb)
        .env("SVWAIT", PATIENCE)
        .timeout(Duration::from_mins(5))
        .sudo()
}

/// The services the node has, running or not.
pub async fn services(shell: &dyn Shell) -> Result<Vec<Service>, OpsFault> {
    // Its exit code tells of services that are down, which is no fault here.
    let exit = shell.run(&ctl("status")).await?;
    let text = exit.stdout.text();
    let services: Vec<Service> = text.lines().filter_map(read).collect();
    if services.is_empty() {
        return Err(unclear(shell, "its services", &exit.last_line()));
    }
    Ok(services)
}

/// `run: puma: (pid 1234) 56s; run: log: (pid 1200) 60s`, `down: sidekiq: 7s, normally up; run: log: …`
fn read(line: &str) -> Option<Service> {
    let (state, rest) = line.split_once(": ")?;
    let (name, _) = rest.split_once(':')?;
    let up = match state {
        "run" => true,
        "down" | "finish" | "fail" => false,
        _ => return None,
    };
    let name = name.to_owned();
    Some(Service { name, up })
}

/// Stops one service.
pub async fn stop(shell: &dyn Shell, service: &str) -> Result<(), OpsFault> {
    shell.must(&ctl("stop").arg(service)).await?;
    Ok(())
}

/// Starts one service; fine when it runs.
pub async fn start(shell: &dyn Shell, service: &str) -> Result<(), OpsFault> {
    shell.must(&ctl("start").arg(service)).await?;
    Ok(())
}

/// Stops the workers that the node has, and looks that they stand still. Returns their names.
pub async fn stop_workers(shell: &dyn Shell) -> Result<Vec<&'static str>, OpsFault> {
    let there = workers(shell).await?;
    for (worker, _) in &there {
        stop(shell, worker).await?;
    }
    expect(shell, false).await?;
    Ok(there.into_iter().map(|(worker, _)| worker).collect())
}

/// Starts the workers that the node has, and looks that they run.
pub async fn start_workers(shell: &dyn Shell) -> Result<(), OpsFault> {
    for (worker, _) in workers(shell).await? {
        start(shell, worker).await?;
    }
    expect(shell, true).await
}

async fn workers(shell: &dyn Shell) -> Result<Vec<(&'static str, bool)>, OpsFault> {
    let services = services(shell).await?;
    let up = |name: &str| Some(services.iter().find(|s| s.name == name)?.up);
    Ok(WORKERS
        .into_iter()
        .filter_map(|name| Some((name, up(name)?)))
        .collect())
}

async fn expect(shell: &dyn Shell, up: bool) -> Result<(), OpsFault> {
    let wrong: Vec<_> = workers(shell)
        .await?
        .into_iter()
        .filter(|(_, is)| *is != up)
        .map(|(name, _)| name)
        .collect();
    if wrong.is_empty() {
        return Ok(());
    }
    let state = if up { "down" } else { "still running" };
    Err(OpsFault::check(
        format!("{}: {}", shell.host(), wrong.join(", ")),
        format!(
            "{state} after `gitlab-ctl {}`",
            if up { "start" } else { "stop" }
        ),
        format!("look at `gitlab-ctl tail {}` on {}", wrong[0], shell.host()),
    ))
}

/// Makes the node what its gitlab.rb says; migrates the database where the file says so
/// (doc/administration/restart_gitlab.md).
pub fn reconfigure() -> Job {
    Job::new(["gitlab-ctl", "reconfigure"]).usually(Duration::from_mins(5))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::recorder::{Answer, Recorder};

    const UP: &str = "run: gitaly: (pid 9) 56s; run: log: (pid 8) 60s\n\
        run: puma: (pid 12) 56s; run: log: (pid 11) 60s\n";
    const DOWN: &str = "run: gitaly: (pid 9) 56s; run: log: (pid 8) 60s\n\
        down: puma: 1s, normally up; run: log: (pid 11) 60s\n";

    #[tokio::test]
    async fn only_workers_that_are_there_are_stopped() {
        let nodes = Recorder::new();
        nodes
            .on("rails", "gitlab-ctl status")
            .answer(Answer::code(6, ""));
        nodes
            .on("rails", "gitlab-ctl status")
            .answer(Answer::out(DOWN));
        nodes
            .on("rails", "gitlab-ctl status")
            .times(1)
            .answer(Answer::out(UP));
        let shell = nodes.shell("rails");
        assert_eq!(stop_workers(shell.as_ref()).await.unwrap(), ["puma"]);
        assert_eq!(
            nodes.ran("rails"),
            [
                "gitlab-ctl status",
                "gitlab-ctl stop puma",
                "gitlab-ctl status"
            ]
        );
        let fault = start_workers(shell.as_ref()).await.unwrap_err();
        assert_eq!(
            fault.to_string(),
            "rails: puma: down after `gitlab-ctl start`"
        );
    }

    #[tokio::test]
    async fn a_worker_that_does_not_stop_is_named() {
        let nodes = Recorder::new();
        nodes
            .on("rails", "gitlab-ctl status")
            .answer(Answer::out(UP));
        let fault = stop_workers(nodes.shell("rails").as_ref())
            .await
            .unwrap_err();
        assert_eq!(
            fault.to_string(),
            "rails: puma: still running after `gitlab-ctl stop`"
        );
    }

    #[tokio::test]
    async fn a_node_without_gitlab_is_told_so() {
        let nodes = Recorder::new();
        nodes
            .on("x", "*")
            .answer(Answer::code(127, "gitlab-ctl: not found\n"));
        assert!(services(nodes.shell("x").as_ref()).await.is_err());
    }
}
