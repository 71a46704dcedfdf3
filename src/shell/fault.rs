//! Why a host did not do what was asked: sorted once, named by host and hop.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::output::Status;

/// A host and the way to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The host's name: `gitaly-1`.
    pub host: String,
    /// Where it listens: `10.20.1.5:22`.
    pub address: String,
    pub hop: Hop,
}

/// Which part of the way a fault speaks of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hop {
    /// No way at all: this machine.
    Here,
    /// From here to the host.
    Direct,
    /// From the bastion to the host.
    Through(String),
    /// From here to the bastion, on the way to this host.
    Towards(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, address, hop } = self;
        match hop {
            Hop::Here => write!(f, "{host} (this machine)"),
            Hop::Direct => write!(f, "{host} ({address})"),
            Hop::Through(bastion) => write!(f, "{host} ({address}, through {bastion})"),
            Hop::Towards(node) => write!(f, "{host} ({address}, on the way to {node})"),
        }
    }
}

/// Why there is no answer from a host. A command that ran and failed is an [`super::Exit`], or [`Self::Failed`] where
/// it had to succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShellFault {
    /// No connection: no such name, no route, no answer, or the bastion could not connect to it.
    #[error("{at}: cannot be reached: {why}")]
    Unreachable { at: Box<Place>, why: String },
    /// The address answers, but nothing listens there.
    #[error("{at}: refused the connection: nothing listens on that port")]
    Refused { at: Box<Place> },
    /// It took the connection and then said nothing, or not enough.
    #[error("{at}: took the connection but did not finish the SSH greeting within {}", seconds(*.after))]
    Silent { at: Box<Place>, after: Duration },
    /// Nobody has vouched for this host's key.
    #[error("{at}: host key not known: it shows {found}, and nothing vouches for it")]
    HostKeyUnknown { at: Box<Place>, found: String },
    /// The host shows another key than the one that is known.
    #[error("{at}: HOST KEY CHANGED: it shows {found}, but known is {known}")]
    HostKeyChanged {
        at: Box<Place>,
        found: String,
        known: String,
    },
    /// None of our keys lets this user in.
    #[error("{at}: refused the login as `{user}`; offered: {}", .offered.join(", "))]
    UserRefused {
        at: Box<Place>,
        user: String,
        offered: Vec<String>,
    },
    /// There is no key to offer.
    #[error("{at}: no key to log in with: {why}")]
    NoAgent { at: Box<Place>, why: String },
    /// A key file of ours cannot be used.
    #[error("{at}: the key {} cannot be used: {why}", .path.display())]
    Key {
        at: Box<Place>,
        path: PathBuf,
        why: String,
    },
    /// A command took longer than it may.
    #[error("{at}: `{command}` was still running after {}; {end}{}", seconds(*.limit), last_line(.last))]
    Timeout {
        at: Box<Place>,
        command: String,
        limit: Duration,
        end: Ended,
        last: String,
    },
    /// The line broke while a command was under way.
    #[error("{at}: the line broke during `{command}`: {why}; {ran}{}", last_line(.last))]
    Cut {
        at: Box<Place>,
        command: String,
        why: String,
        ran: Ran,
        last: String,
    },
    /// The other side speaks, but not as agreed.
    #[error("{at}: {why}")]
    Protocol { at: Box<Place>, why: String },
    /// The bastion stands between, and failed.
    #[error("{at}: not reached, because the bastion failed: {cause}")]
    Bastion {
        at: Box<Place>,
        cause: Box<ShellFault>,
    },
    /// A command that had to succeed did not.
    #[error("{at}: `{command}` ended with {status}{}", last_line(.last))]
    Failed {
        at: Box<Place>,
        command: String,
        status: Status,
        last: String,
    },
    /// There is no such file.
    #[error("{at}: there is no file {path:?}")]
    Missing { at: Box<Place>, path: String },
    /// A file could not be written or read.
    #[error("{at}: {path:?} could not be {what}: {why}")]
    File {
        at: Box<Place>,
        path: String,
        what: &'static str,
        why: String,
    },
    /// This machine has no `ssh` to hand over to.
    #[error("{host}: this machine has no `ssh` program")]
    NoClient { host: String },
    /// Something on this machine that should not fail did.
    #[error("{at}: unexpected: {why}")]
    Internal { at: Box<Place>, why: String },
}

/// What became of a command whose time was over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The host has ended it.
    Stopped,
    /// Nobody knows: the host no longer answered.
    Unknown,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stopped => "it has been stopped there",
            Self::Unknown => "the host did not confirm that it was stopped",
        })
    }
}

/// Whether a command had begun when the line broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ran {
    /// The host never heard of it.
    No,
    /// It had begun, or may have.
    Maybe,
}

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::No => "it did not run",
            Self::Maybe => "it may have run, in part or to its end, and may still be running",
        })
    }
}

impl ShellFault {
    /// The host and hop it speaks of. For a failed bastion, the host behind it.
    pub fn place(&self) -> Option<&Place> {
        match self {
            Self::Unreachable { at, .. }
            | Self::Refused { at }
            | Self::Silent { at, .. }
            | Self::HostKeyUnknown { at, .. }
            | Self::HostKeyChanged { at, .. }
            | Self::UserRefused { at, .. }
            | Self::NoAgent { at, .. }
            | Self::Key { at, .. }
            | Self::Timeout { at, .. }
            | Self::Cut { at, .. }
            | Self::Protocol { at, .. }
            | Self::Bastion { at, .. }
            | Self::Failed { at, .. }
            | Self::Missing { at, .. }
            | Self::File { at, .. }
            | Self::Internal { at, .. } => Some(at),
            Self::NoClient { .. } => None,
        }
    }

    /// The host's name.
    pub fn host(&self) -> &str {
        match self {
            Self::NoClient { host } => host,
            _ => self.place().map_or("", |at| &at.host),
        }
    }

    /// Whether trying again later may help without anybody doing anything: a host that is still booting.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Refused { .. } | Self::Silent { .. } => true,
            Self::Cut { ran, .. } => *ran == Ran::No,
            Self::Bastion { cause, .. } => cause.may_pass(),
            _ => false,
        }
    }

    /// What the person should do next; empty when there is nothing better than the message itself.
    pub fn help(&self) -> String {
        match self {
            Self::Unreachable { at, .. } => match &at.hop {
                Hop::Through(bastion) => format!(
                    "look whether {} runs (`gantry status`) and whether its security group lets {bastion} in on port 22.",
                    at.host
                ),
                _ => format!(
                    "look whether {} runs (`gantry status`), and whether `admin_from` in the site file holds the address you come from.",
                    at.host
                ),
            },
            Self::Refused { at } => format!(
                "sshd does not run on {}, or not on that port; a host that is still booting needs a minute more.",
                at.host
            ),
            Self::Silent { at, .. } => format!(
                "{} is overloaded, still booting, or something else listens there; try again in a minute.",
                at.host
            ),
            Self::HostKeyUnknown { at, .. } => format!(
                "a host says its keys in its boot report: look whether {} has finished booting (`gantry status`). Compare the fingerprint with the instance's console output before you trust it.",
                at.host
            ),
            Self::HostKeyChanged { at, .. } => format!(
                "somebody may be listening in, or {} was replaced without gantry. Do not go on before you know which; a replaced host reports its new keys when it boots.",
                at.host
            ),
            Self::UserRefused { .. } => {
                "load a key into the agent (`ssh-add`) or name its file, and see that its public half is in `[network] admin_keys`: machines take it at their next boot or `gantry reconfigure`. A server stops listening after six keys: an agent that holds many may never get to the right one.".into()
            }
            Self::NoAgent { .. } => {
                "start an agent and add the key (`eval \"$(ssh-agent)\"; ssh-add FILE`), or name a key file.".into()
            }
            Self::Key { .. } => "check the file and its passphrase with `ssh-keygen -y -f FILE`.".into(),
            Self::Timeout { .. } => {
                "look on the host what it was waiting for, then run the same command again.".into()
            }
            Self::Cut { at, ran, .. } => match ran {
                Ran::No => "run the same command again.".into(),
                Ran::Maybe => format!(
                    "look on {} whether it still runs before you run the same command again.",
                    at.host
                ),
            },
            Self::Bastion { cause, .. } => cause.help(),
            Self::Missing { .. }
            | Self::File { .. }
            | Self::Protocol { .. }
            | Self::Failed { .. }
            | Self::Internal { .. } => String::new(),
            Self::NoClient { .. } => {
                "install OpenSSH's client (`apt-get install openssh-client`), or use `gantry exec`, which needs none.".into()
            }
        }
    }
}

fn seconds(time: Duration) -> String {
    format!("{} s", time.as_secs_f64())
}

fn last_line(last: &str) -> String {
    if last.is_empty() {
        String::new()
    } else {
        format!("; its last line: {last}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(hop: Hop) -> Place {
        Place {
            host: "gitaly-1".into(),
            address: "10.20.1.5:22".into(),
            hop,
        }
    }

    #[test]
    fn places_say_the_way() {
        let say = |hop| place(hop).to_string();
        assert_eq!(say(Hop::Direct), "gitaly-1 (10.20.1.5:22)");
        assert_eq!(say(Hop::Here), "gitaly-1 (this machine)");
        assert_eq!(
            say(Hop::Through("bastion".into())),
            "gitaly-1 (10.20.1.5:22, through bastion)"
        );
    }

    #[test]
    fn a_failed_bastion_names_both_hosts() {
        let fault = ShellFault::Bastion {
            at: Box::new(place(Hop::Through("bastion".into()))),
            cause: Box::new(ShellFault::Refused {
                at: Box::new(Place {
                    host: "bastion".into(),
                    address: "192.0.2.7:22".into(),
                    hop: Hop::Towards("gitaly-1".into()),
                }),
            }),
        };
        let said = fault.to_string();
        assert!(
            said.starts_with("gitaly-1 (10.20.1.5:22, through bastion): not reached"),
            "{said}"
        );
        assert!(
            said.contains("bastion (192.0.2.7:22, on the way to gitaly-1): refused"),
            "{said}"
        );
        assert_eq!(fault.host(), "gitaly-1");
        assert!(fault.may_pass());
        assert!(fault.help().contains("bastion"));
    }

    #[test]
    fn a_timeout_says_what_ran_how_long_and_its_last_words() {
        let fault = ShellFault::Timeout {
            at: Box::new(place(Hop::Direct)),
            command: "gitlab-ctl reconfigure".into(),
            limit: Duration::from_secs(90),
            end: Ended::Stopped,
            last: "Running handlers".into(),
        };
        assert_eq!(
            fault.to_string(),
            "gitaly-1 (10.20.1.5:22): `gitlab-ctl reconfigure` was still running after 90 s; it has been stopped there; its last line: Running handlers"
        );
    }
}
