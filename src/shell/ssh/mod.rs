//! [`Shell`] over SSH, by libssh2, through a bastion where there is one.
//!
//! A connection is a thread with one session on it; a connection through the bastion is two: the node's session, and a
//! hop that carries its bytes through a bastion session of its own. `docs/design/0009-ssh.md` says why.

mod connection;
mod hop;
mod line;
mod login;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::Semaphore;

use self::connection::Connection;
use super::fault::{Hop, Place, ShellFault};
use super::file::{self, RemoteFile, RemotePath};
use super::hosts::{HostKeyPolicy, KnownHosts};
use super::keys::Keys;
use super::{Command, Exit, Shell};

/// How many logins to a bastion may be under way at once. sshd begins to drop connections at ten (`MaxStartups
/// 10:30:100`); people may be logging in too.
const LOGINS_AT_ONCE: usize = 6;

/// Who logs in on every machine: the user that Ubuntu's images come with.
const USER: &str = "ubuntu";

/// Where a host listens and who logs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The name by which its keys are known.
    pub name: String,
    /// An address or a DNS name.
    pub address: String,
    pub port: u16,
    pub user: String,
}

impl Endpoint {
    /// Port 22, user `ubuntu`.
    pub fn new(name: impl Into<String>, address: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            address: address.into(),
            port: 22,
            user: USER.into(),
        }
    }

    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    #[must_use]
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = user.into();
        self
    }

    fn place(&self, hop: Hop) -> Place {
        Place {
            host: self.name.clone(),
            address: format!("{}:{}", self.address, self.port),
            hop,
        }
    }
}

/// How long to wait for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timings {
    /// For each of: the TCP connection, the SSH greeting, each key that is tried.
    pub connect: Duration,
    /// Between signs of life while a command is silent. Three unanswered ones are a broken line.
    pub keepalive: Duration,
    /// How long a connection without work is kept.
    pub idle: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(15),
            keepalive: Duration::from_secs(15),
            idle: Duration::from_mins(1),
        }
    }
}

/// What all hosts of a site share: keys, known hosts, and patience.
#[derive(Debug)]
pub struct Access {
    keys: Keys,
    known: Arc<KnownHosts>,
    policy: HostKeyPolicy,
    timings: Timings,
    /// One place per login to a bastion.
    logins: Semaphore,
}

impl Access {
    /// Only hosts whose keys are known.
    pub fn new(keys: Keys, known: Arc<KnownHosts>) -> Self {
        Self {
            keys,
            known,
            policy: HostKeyPolicy::KnownOnly,
            timings: Timings::default(),
            logins: Semaphore::new(LOGINS_AT_ONCE),
        }
    }

    #[must_use]
    pub fn policy(mut self, policy: HostKeyPolicy) -> Self {
        self.policy = policy;
        self
    }

    #[must_use]
    pub fn timings(mut self, timings: Timings) -> Self {
        self.timings = timings;
        self
    }
}

/// The way to a host.
#[derive(Debug, Clone)]
struct Route {
    host: Endpoint,
    bastion: Option<Endpoint>,
}

impl Route {
    /// The host, at the end of the way.
    fn place(&self) -> Place {
        self.host.place(match &self.bastion {
            Some(bastion) => Hop::Through(bastion.name.clone()),
            None => Hop::Direct,
        })
    }

    fn internal(&self, why: impl ToString) -> ShellFault {
        ShellFault::Internal {
            at: Box::new(self.place()),
            why: why.to_string(),
        }
    }
}

/// A host reached over SSH.
///
/// Connects when there is something to do, and keeps the connection a while. Commands that overlap get a connection
/// each, so that a long one never holds up a short one.
#[derive(Debug)]
pub struct Ssh {
    route: Route,
    access: Arc<Access>,
    idle: Mutex<Vec<Connection>>,
}

impl Ssh {
    /// A host, and the bastion in front of it.
    pub fn new(host: Endpoint, bastion: Option<Endpoint>, access: Arc<Access>) -> Self {
        Self {
            route: Route { host, bastion },
            access,
            idle: Mutex::default(),
        }
    }

    async fn take(&self) -> Result<(Connection, Age), ShellFault> {
        let kept = self.lock().pop();
        match kept {
            Some(connection) => Ok((connection, Age::Kept)),
            None => {
                let new = Connection::open(self.route.clone(), Arc::clone(&self.access)).await?;
                Ok((new, Age::New))
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn carry_out(&self, command: &Command) -> Result<Exit, ShellFault> {
        if !command.sayable() {
            return Err(self
                .route
                .internal("an argument holds a NUL byte, which no command line can carry"));
        }
        loop {
            let (connection, age) = self.take().await?;
            let Some(done) = connection.run(command).await else {
                if age == Age::New {
                    return Err(self
                        .route
                        .internal("the thread of this connection ended early"));
                }
                continue;
            };
            // A kept connection may have died unnoticed. As long as the host never heard of the command, a new
            // connection may try.
            if !done.begun && done.result.is_err() && age == Age::Kept {
                continue;
            }
            if done.usable {
                self.lock().push(connection);
            }
            return done.result;
        }
    }
}

/// Whether a connection has been used before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Age {
    New,
    Kept,
}

impl Shell for Ssh {
    fn host(&self) -> &str {
        &self.route.host.name
    }

    fn place(&self) -> Place {
        self.route.place()
    }

    fn run<'a>(&'a self, command: &'a Command) -> BoxFuture<'a, Result<Exit, ShellFault>> {
        Box::pin(self.carry_out(command))
    }

    fn put<'a>(&'a self, file: &'a RemoteFile) -> BoxFuture<'a, Result<(), ShellFault>> {
        Box::pin(file::put(self, file))
    }

    fn get<'a>(&'a self, path: &'a RemotePath) -> BoxFuture<'a, Result<Vec<u8>, ShellFault>> {
        Box::pin(file::get(self, path))
    }
}
