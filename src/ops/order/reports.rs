//! What the nodes report, read once for all who wait.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Mutex;

use super::super::{Hosts, OpsFault};
use crate::blueprint::Role;
use crate::boot::Report;
use crate::clock::Clock;
use crate::session::{BootState, Session};

/// How often the reports of a role are read at most. A boot takes minutes.
pub const PAUSE: Duration = Duration::from_secs(15);

/// A role's reports, by the name of the machine.
type Said = Vec<(String, Report)>;

/// The reports of the site. Whoever knows the ways to the machines hears of each: a report brings the address of a
/// machine and its host keys.
#[derive(Clone)]
pub struct Reports {
    session: Arc<Session>,
    hosts: Arc<dyn Hosts>,
    read: Arc<Mutex<BTreeMap<Role, (Timestamp, Said)>>>,
}

impl Reports {
    pub fn new(session: Arc<Session>, hosts: Arc<dyn Hosts>) -> Self {
        Self {
            session,
            hosts,
            read: Arc::default(),
        }
    }

    /// Those of a role, at most [`PAUSE`] old.
    pub async fn of(&self, role: Role, clock: Clock) -> Result<Said, OpsFault> {
        let mut read = self.read.lock().await;
        if let Some((at, said)) = read.get(&role)
            && clock.since(*at) < PAUSE
        {
            return Ok(said.clone());
        }
        let said = self.session.reports(role).await?;
        for (name, report) in &said {
            self.hosts.heard(name, role, report)?;
        }
        read.insert(role, (clock.now(), said.clone()));
        Ok(said)
    }

    /// How far a machine is, read now.
    pub async fn state(
        &self,
        name: &str,
        role: Role,
        bundle: &str,
        clock: Clock,
    ) -> Result<BootState, OpsFault> {
        self.read.lock().await.remove(&role);
        Ok(state(&self.of(role, clock).await?, name, bundle))
    }
}

/// How far a machine is with a bundle.
pub fn state(said: &[(String, Report)], name: &str, bundle: &str) -> BootState {
    let report = said.iter().find(|(of, _)| of == name);
    report.map_or(BootState::Silent, |(_, report)| {
        BootState::of(report, bundle)
    })
}
