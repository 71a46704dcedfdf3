//! From an address to a session that may run commands: connect, greet, check the host, log in.

use std::path::Path;
use std::time::Duration;

use ssh2::MethodType;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::line::{Line, Socket, Trouble, code};
use super::{Access, Endpoint};
use crate::secret::Secret;
use crate::shell::fault::{Place, ShellFault};
use crate::shell::hosts::{HostKey, Verdict, fingerprint};
use crate::shell::keys::{ATTEMPTS, is_locked, public_half};

/// Host keys we ask for, best first. No SHA-1, no DSA.
const HOST_KEYS: [&str; 6] = [
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-512",
    "rsa-sha2-256",
];

/// Opens a TCP connection.
pub(super) async fn dial(to: &Endpoint, at: &Place, limit: Duration) -> Result<Socket, ShellFault> {
    let until = Instant::now() + limit;
    let unreachable = |why: String| ShellFault::Unreachable {
        at: Box::new(at.clone()),
        why,
    };
    let late = || unreachable(format!("no answer within {} s", limit.as_secs_f64()));
    let lookup = tokio::net::lookup_host((to.address.as_str(), to.port));
    let addresses = tokio::time::timeout_at(until, lookup)
        .await
        .map_err(|_| late())?
        .map_err(|e| unreachable(format!("its name was not found: {e}")))?;
    let mut fault = unreachable("its name has no address".into());
    for address in addresses {
        match tokio::time::timeout_at(until, TcpStream::connect(address)).await {
            Ok(Ok(socket)) => {
                let socket = socket.into_std().map_err(|e| unreachable(e.to_string()))?;
                // Commands and answers are small; none should wait for the next.
                let _ = socket.set_nodelay(true);
                return Ok(Socket::Tcp(socket));
            }
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                fault = ShellFault::Refused {
                    at: Box::new(at.clone()),
                };
            }
            Ok(Err(error)) => fault = unreachable(error.to_string()),
            Err(_) => return Err(late()),
        }
    }
    Err(fault)
}

/// Greets the host, makes sure that it is the host, and logs in.
pub(super) async fn log_in(
    socket: Socket,
    to: &Endpoint,
    at: &Place,
    access: &Access,
) -> Result<Line, ShellFault> {
    let mut line = Line::new(socket).map_err(|e| ShellFault::Internal {
        at: Box::new(at.clone()),
        why: e.to_string(),
    })?;
    let login = Login { to, at, access };
    let result = login.all(&mut line).await;
    match result {
        Ok(()) => Ok(line),
        Err(fault) => {
            line.close(None);
            Err(fault)
        }
    }
}

struct Login<'a> {
    to: &'a Endpoint,
    at: &'a Place,
    access: &'a Access,
}

/// What the host said to a key.
enum Answer {
    Welcome,
    No,
    /// It does not want to hear any more.
    Enough,
}

impl Login<'_> {
    fn protocol(&self, why: impl Into<String>) -> ShellFault {
        ShellFault::Protocol {
            at: Box::new(self.at.clone()),
            why: why.into(),
        }
    }

    async fn all(&self, line: &mut Line) -> Result<(), ShellFault> {
        self.greet(line).await?;
        self.check_host(line)?;
        self.authenticate(line).await
    }

    async fn greet(&self, line: &mut Line) -> Result<(), ShellFault> {
        let limit = self.access.timings.connect;
        let known = self.access.known.keys(&self.to.name);
        let mut kinds = HOST_KEYS;
        // A host has several keys; ask for one we know, or it would look like a changed one.
        kinds.sort_by_key(|kind| {
            // What an RSA key signs with is chosen apart from the key.
            let of = if kind.starts_with("rsa-") {
                "ssh-rsa"
            } else {
                kind
            };
            !known.iter().any(|key| key.kind() == of)
        });
        line.session
            .method_pref(MethodType::HostKey, &kinds.join(","))
            .map_err(|e| self.protocol(e.message()))?;
        match line.call(limit, |session| session.handshake()).await {
            Ok(()) => Ok(()),
            Err(Trouble::Late) => Err(ShellFault::Silent {
                at: Box::new(self.at.clone()),
                after: limit,
            }),
            Err(Trouble::Gone(_)) => {
                Err(self.protocol("it closed the connection before the SSH greeting was finished"))
            }
            Err(Trouble::Refused { message, .. }) => {
                Err(self.protocol(format!("no agreement on how to talk SSH: {message}")))
            }
        }
    }

    fn check_host(&self, line: &Line) -> Result<(), ShellFault> {
        let shown = line
            .session
            .host_key()
            .and_then(|(blob, _)| HostKey::from_blob(blob.to_vec()))
            .ok_or_else(|| self.protocol("it shows no host key"))?;
        let access = self.access;
        let verdict = access
            .known
            .check(&self.to.name, &shown, access.policy)
            .map_err(|e| ShellFault::Internal {
                at: Box::new(self.at.clone()),
                why: format!("its host key could not be written down: {e}"),
            })?;
        let found = shown.fingerprint();
        match verdict {
            Verdict::Known => Ok(()),
            Verdict::Unknown => Err(ShellFault::HostKeyUnknown {
                at: Box::new(self.at.clone()),
                found,
            }),
            Verdict::Changed(known) => {
                let known: Vec<_> = known.iter().map(HostKey::fingerprint).collect();
                Err(ShellFault::HostKeyChanged {
                    at: Box::new(self.at.clone()),
                    found,
                    known: known.join(", "),
                })
            }
        }
    }

    async fn authenticate(&self, line: &mut Line) -> Result<(), ShellFault> {
        let keys = &self.access.keys;
        let mut offered = Vec::new();
        let mut agent_says = None;
        if let Some(socket) = &keys.agent {
            match self.try_agent(line, socket, &mut offered).await? {
                Ok(Answer::Welcome) => return Ok(()),
                Ok(Answer::Enough) => return Err(self.refused(offered)),
                Ok(Answer::No) if offered.is_empty() => {
                    agent_says = Some(format!("the agent at {} holds no keys", socket.display()));
                }
                Ok(Answer::No) => {}
                Err(why) => {
                    agent_says = Some(format!(
                        "the agent at {} does not answer: {why}",
                        socket.display()
                    ));
                }
            }
        }
        for path in &keys.files {
            match self.try_file(line, path, &mut offered).await? {
                Answer::Welcome => return Ok(()),
                Answer::Enough => return Err(self.refused(offered)),
                Answer::No => {}
            }
        }
        if offered.is_empty() {
            return Err(ShellFault::NoAgent {
                at: Box::new(self.at.clone()),
                why: agent_says
                    .unwrap_or_else(|| "no agent is known and no key file was named".into()),
            });
        }
        offered.extend(agent_says);
        Err(self.refused(offered))
    }

    fn refused(&self, offered: Vec<String>) -> ShellFault {
        ShellFault::UserRefused {
            at: Box::new(self.at.clone()),
            user: self.to.user.clone(),
            offered,
        }
    }

    /// Offers the agent's keys. The inner error says why the agent is of no use.
    async fn try_agent(
        &self,
        line: &mut Line,
        socket: &Path,
        offered: &mut Vec<String>,
    ) -> Result<Result<Answer, String>, ShellFault> {
        let ready = || {
            let mut agent = line.session.agent()?;
            agent.set_identity_path(socket)?;
            agent.connect()?;
            agent.list_identities()?;
            let identities = agent.identities()?;
            Ok::<_, ssh2::Error>((agent, identities))
        };
        let (agent, mut identities) = match ready() {
            Ok(ready) => ready,
            Err(error) => return Ok(Err(error.message().to_owned())),
        };
        // Keys that were named come first: after six wrong ones a host hangs up.
        let named: Vec<_> = self
            .access
            .keys
            .files
            .iter()
            .filter_map(|f| public_half(f))
            .collect();
        identities.sort_by_key(|key| !named.iter().any(|blob| blob == key.blob()));
        let limit = self.access.timings.connect;
        for key in &identities {
            let name = format!("agent key {} {}", key.comment(), fingerprint(key.blob()));
            match said(
                line.call(limit, |_| agent.userauth(&self.to.user, key))
                    .await,
            ) {
                Said::Welcome => return Ok(Ok(Answer::Welcome)),
                Said::No => offered.push(name),
                Said::NotSigned { message } => {
                    offered.push(format!("{name} (not used: {message})"));
                }
                Said::Nothing(why) => return self.gave_up(why, name, offered).map(Ok),
            }
        }
        Ok(Ok(Answer::No))
    }

    async fn try_file(
        &self,
        line: &mut Line,
        path: &Path,
        offered: &mut Vec<String>,
    ) -> Result<Answer, ShellFault> {
        let unusable = |why: String| ShellFault::Key {
            at: Box::new(self.at.clone()),
            path: path.to_owned(),
            why,
        };
        let pem = std::fs::read_to_string(path)
            .map(Secret::new)
            .map_err(|e| unusable(e.to_string()))?;
        let locked = is_locked(pem.reveal());
        let keys = &self.access.keys;
        let limit = self.access.timings.connect;
        let name = match public_half(path) {
            Some(blob) => format!("key file {} {}", path.display(), fingerprint(&blob)),
            None => format!("key file {}", path.display()),
        };
        for attempt in 1..=ATTEMPTS {
            let passphrase = if locked { keys.passphrase(path) } else { None };
            if locked && passphrase.is_none() {
                return Err(unusable("it needs a passphrase, and none was given".into()));
            }
            let result = line
                .call(limit, |session| {
                    session.userauth_pubkey_memory(
                        &self.to.user,
                        None,
                        pem.reveal(),
                        passphrase.as_ref().map(Secret::reveal),
                    )
                })
                .await;
            match said(result) {
                Said::Welcome => return Ok(Answer::Welcome),
                Said::No => {
                    offered.push(name);
                    return Ok(Answer::No);
                }
                Said::NotSigned { message } => {
                    let Some(passphrase) = &passphrase else {
                        return Err(unusable(message));
                    };
                    keys.wrong(path, passphrase);
                    if attempt == ATTEMPTS {
                        return Err(unusable("the passphrase does not open it".into()));
                    }
                }
                Said::Nothing(why) => return self.gave_up(why, name, offered),
            }
        }
        Ok(Answer::No)
    }

    /// The line ended while a key was tried.
    fn gave_up(
        &self,
        why: Nothing,
        name: String,
        offered: &mut Vec<String>,
    ) -> Result<Answer, ShellFault> {
        match why {
            Nothing::Late => Err(ShellFault::Silent {
                at: Box::new(self.at.clone()),
                after: self.access.timings.connect,
            }),
            // A host hangs up on whoever offers too many wrong keys.
            Nothing::HungUp if !offered.is_empty() => {
                offered.push(format!("{name} (the host hung up)"));
                Ok(Answer::Enough)
            }
            Nothing::HungUp => Err(self.protocol("it closed the connection during the login")),
        }
    }
}

/// What came of offering a key.
enum Said {
    Welcome,
    No,
    /// The key could not be used on our side.
    NotSigned {
        message: String,
    },
    Nothing(Nothing),
}

/// Why there is no answer.
enum Nothing {
    Late,
    HungUp,
}

/// libssh2 has one number for three things, and only its words tell them apart.
fn said(result: Result<(), Trouble>) -> Said {
    match result {
        Ok(()) => Said::Welcome,
        Err(Trouble::Late) => Said::Nothing(Nothing::Late),
        Err(Trouble::Gone(_)) => Said::Nothing(Nothing::HungUp),
        Err(Trouble::Refused { code, message }) => match code {
            code::PUBLICKEY_UNVERIFIED if message.starts_with("Waiting for") => {
                Said::Nothing(Nothing::HungUp)
            }
            code::PUBLICKEY_UNVERIFIED if message.starts_with("Callback") => {
                Said::NotSigned { message }
            }
            code::AUTHENTICATION_FAILED | code::PUBLICKEY_UNVERIFIED => Said::No,
            _ => Said::NotSigned { message },
        },
    }
}
