//! What a command stands on: the environment, the clock, AWS or the sandbox, the directories, the voice.
//!
//! Only this module reads the environment; tests build an [`App`] of their own.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::clock::Clock;
use crate::cloud::{Aws, configuration};
use crate::engine::{Event, Observer, Stop};
use crate::ui::Say;

/// What is said wherever played nodes answer.
pub const PLAYED: &str = "The nodes here are played: no machine boots, and a small GitLab of gantry's own answers in \
    their place.";

/// Where calls to AWS go.
#[derive(Debug, Clone)]
pub enum Target {
    /// AWS, or whatever `AWS_ENDPOINT_URL` names.
    Aws,
    /// The embedded cloud.
    #[cfg(feature = "sandbox")]
    Sandbox(crate::sandbox::Sandbox),
}

/// The surroundings of one command.
#[derive(Clone)]
pub struct App {
    pub say: Say,
    pub target: Target,
    pub clock: Clock,
    pub stop: Stop,
    /// `gantry.toml`, or what `--site-file` says.
    pub site_file: PathBuf,
    /// Under which each site has its folder.
    pub state_root: PathBuf,
    pub assume_yes: bool,
    /// The region of the environment, if it names one.
    pub default_region: Option<String>,
    /// Who runs this, for the lock and the record of runs.
    pub user: String,
    pub host: String,
}

impl App {
    /// The clients for one region.
    pub async fn aws(&self, region: &str) -> Aws {
        match &self.target {
            Target::Aws => Aws::new(&configuration(region).await),
            #[cfg(feature = "sandbox")]
            Target::Sandbox(sandbox) => Aws::new(&sandbox.config(region)),
        }
    }

    /// Whether nothing leaves the machine.
    pub fn is_sandbox(&self) -> bool {
        !matches!(self.target, Target::Aws)
    }

    /// What to type after `gantry` to do this again: in the sandbox still, where this was done there.
    pub fn again(&self, verb: &str) -> String {
        if self.is_sandbox() {
            format!("{verb} --sandbox")
        } else {
            verb.to_owned()
        }
    }

    /// Whether instances here are rows in a table that never boot: the sandbox, or an emulator on this machine.
    pub fn has_no_machines(&self) -> bool {
        self.is_sandbox() || variable("AWS_ENDPOINT_URL").is_some_and(|url| is_loopback(&url))
    }

    /// The way to played nodes, where no machine boots: a small GitLab of gantry's own answers in their place, and
    /// whoever shows its answers says so. None where there are real machines.
    pub async fn played_hosts(
        &self,
        session: &crate::session::Session,
    ) -> Result<Option<crate::ops::Played>, crate::ops::OpsFault> {
        if !self.has_no_machines() {
            return Ok(None);
        }
        self.play(session).await
    }

    #[cfg(feature = "sandbox")]
    async fn play(
        &self,
        session: &crate::session::Session,
    ) -> Result<Option<crate::ops::Played>, crate::ops::OpsFault> {
        use crate::ops::OpsFault;
        use crate::sandbox::machines::{Disks, Machines, installed};
        let disks = match &self.target {
            // No site can be called so.
            Target::Aws => Disks::Remembered(self.state_root.join(".played")),
            Target::Sandbox(sandbox) => Disks::Strict(sandbox.clone()),
        };
        let file = self.site_dir(session.cx.site()).join("machines.json");
        let fleet = session.known_fleet()?;
        let aws = session.cx.aws().clone();
        let package = installed(&session.site);
        let internal =
            |error: crate::sandbox::machines::PlayError| OpsFault::internal(error.to_string());
        let machines = Machines::open(fleet, package, aws, self.clock, disks, Some(file)).await;
        let machines = machines.map_err(internal)?;
        machines.first_life().await.map_err(internal)?;
        Ok(Some(machines.hosts()))
    }

    #[cfg(not(feature = "sandbox"))]
    #[allow(clippy::unused_async, reason = "the other one waits")]
    async fn play(
        &self,
        _session: &crate::session::Session,
    ) -> Result<Option<crate::ops::Played>, crate::ops::OpsFault> {
        Ok(None)
    }

    /// The socket of the SSH agent.
    pub fn agent(&self) -> Option<PathBuf> {
        variable("SSH_AUTH_SOCK").map(PathBuf::from)
    }

    /// On the appliance host: its name among the nodes. The units of its timers say so.
    pub fn appliance(&self) -> Option<String> {
        variable("GANTRY_APPLIANCE")
    }

    /// The private key that runs on the appliance host go onto the nodes with.
    pub fn ssh_key(&self) -> Option<PathBuf> {
        variable("GANTRY_SSH_KEY").map(PathBuf::from)
    }

    /// The file of this program.
    pub fn program(&self) -> std::io::Result<PathBuf> {
        std::env::current_exe()
    }

    /// Where programs are looked for.
    pub fn search_path(&self) -> Option<std::ffi::OsString> {
        std::env::var_os("PATH")
    }

    /// The folder of one site: its journal, its runs, its lock.
    pub fn site_dir(&self, site: &str) -> PathBuf {
        self.state_root.join(site)
    }

    /// A fresh id for a run: sorts by time, and differs between two in one second.
    pub fn run_id(&self) -> String {
        let mut random = [0u8; 3];
        // Without randomness two runs in one second would share an id; the lock keeps them apart anyway.
        let _ = getrandom::fill(&mut random);
        let suffix: String = random.iter().map(|b| format!("{b:02x}")).collect();
        format!("{}-{suffix}", self.clock.now().strftime("%Y%m%dT%H%M%SZ"))
    }

    /// Watches for Ctrl-C: winds down, stops, leaves.
    pub fn watch_interrupts(&self, observe: Observer) {
        let (stop, say) = (self.stop.clone(), self.say.clone());
        tokio::spawn(async move {
            let mut presses = 0u8;
            while interrupt().await {
                presses += 1;
                if presses >= 3 {
                    say.end();
                    std::process::exit(crate::exit::Exit::Interrupted as i32);
                }
                stop.press();
                observe(&Event::Stopping { presses });
            }
        });
    }
}

/// Waits for Ctrl-C or for the polite request to end that timers send; false when neither can be heard.
async fn interrupt() -> bool {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return tokio::signal::ctrl_c().await.is_ok();
    };
    tokio::select! {
        pressed = tokio::signal::ctrl_c() => pressed.is_ok(),
        asked = terminate.recv() => asked.is_some(),
    }
}

/// A variable of the environment that has a value.
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Whether an address of a service is on this machine.
fn is_loopback(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// The region the environment names, as the AWS CLI reads it.
pub fn region_of_environment() -> Option<String> {
    ["AWS_REGION", "AWS_DEFAULT_REGION"]
        .iter()
        .find_map(|key| std::env::var(key).ok())
        .filter(|r| !r.is_empty())
}

/// The names of this machine and its user, for people who find a lock.
pub fn whoami() -> (String, String) {
    let user = std::env::var("USER")
        .or_else(|_| std::env::var("LOGNAME"))
        .unwrap_or_else(|_| "unknown".into());
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or("this host".into(), |h| h.trim().to_owned());
    (user, host)
}

/// Where state lives when nobody says otherwise: `.gantry` beside the site file.
pub fn default_state_root(site_file: &Path) -> PathBuf {
    let dir = site_file
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    dir.join(".gantry")
}

/// Joins observers: each sees every event.
pub fn both(first: Observer, second: Observer) -> Observer {
    Arc::new(move |event| {
        first(event);
        second(event);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_addresses_are_told_from_others() {
        for url in [
            "http://127.0.0.1:5000",
            "http://localhost:4566/",
            "http://[::1]:5000",
        ] {
            assert!(is_loopback(url), "{url}");
        }
        for url in [
            "https://vpce-1.ec2.eu-west-1.vpce.amazonaws.com",
            "http://10.0.0.7:5000",
            "",
        ] {
            assert!(!is_loopback(url), "{url}");
        }
    }
}
