//! The way through a bastion: a channel of a bastion session on one side, a socket pair on the other.
//!
//! A hop has a thread and a bastion session to itself, so nothing it waits for can be waiting for it: one node that
//! does not take its bytes holds up nobody else, and one thread's session is never called from another.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream as Pair;
use std::sync::{Arc, Mutex, PoisonError};

use ssh2::Channel;
use tokio::net::UnixStream;
use tokio::sync::oneshot;

use super::line::{Line, Socket, Trouble, code};
use super::{Access, Endpoint, Route, login};
use crate::shell::fault::{Hop as Part, Place, ShellFault};
use crate::shell::worker;

/// How much is taken at a time. libssh2 sends at most 32 KiB in a packet.
const PIECE: usize = 32 * 1024;

/// The near end of a way through a bastion.
#[derive(Debug)]
pub(super) struct Hop {
    pub socket: Pair,
    pub broken: Broken,
}

/// Why the bastion's part of the way broke, once it has. Written before the socket pair is closed, so whoever finds
/// that closed finds the reason too.
#[derive(Debug, Clone, Default)]
pub(super) struct Broken(Arc<Mutex<Option<String>>>);

impl Broken {
    pub fn why(&self) -> Option<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set(&self, why: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
    }
}

/// The bastion, on the way to a host.
pub(super) fn place(route: &Route, bastion: &Endpoint) -> Place {
    bastion.place(Part::Towards(route.host.name.clone()))
}

/// Opens the way to a host. Faults of the bastion itself come wrapped in [`ShellFault::Bastion`].
pub(super) async fn open(
    route: &Route,
    bastion: &Endpoint,
    access: &Arc<Access>,
) -> Result<Hop, ShellFault> {
    let (ready, answer) = oneshot::channel();
    let broken = Broken::default();
    let (to, via, shared, slot) = (
        route.clone(),
        bastion.clone(),
        Arc::clone(access),
        broken.clone(),
    );
    let name = format!("hop {}", route.host.name);
    let work = move || async move {
        let (line, channel, near, far) = match reach(&to, &via, &shared).await {
            Ok(reached) => reached,
            Err(fault) => return drop(ready.send(Err(fault))),
        };
        carry(line, channel, near, slot, || drop(ready.send(Ok(far)))).await;
    };
    worker::spawn(name, work).map_err(|e| route.internal(e))?;
    let socket = answer
        .await
        .unwrap_or_else(|_| Err(route.internal("the thread of this hop ended early")))?;
    Ok(Hop { socket, broken })
}

async fn reach(
    route: &Route,
    bastion: &Endpoint,
    access: &Access,
) -> Result<(Line, Channel, UnixStream, Pair), ShellFault> {
    let at = place(route, bastion);
    let on_bastion = |cause: ShellFault| ShellFault::Bastion {
        at: Box::new(route.place()),
        cause: Box::new(cause),
    };
    let mut line = {
        let _turn = access.logins.acquire().await;
        let socket = login::dial(bastion, &at, access.timings.connect)
            .await
            .map_err(on_bastion)?;
        login::log_in(socket, bastion, &at, access)
            .await
            .map_err(on_bastion)?
    };
    let host = &route.host;
    let limit = access.timings.connect;
    let opened = line
        .call(limit, |session| {
            session.channel_direct_tcpip(&host.address, host.port, None)
        })
        .await;
    let fault = match opened {
        Ok(channel) => match pair() {
            Ok((near, far)) => return Ok((line, channel, near, far)),
            Err(error) => {
                line.close(Some(channel));
                return Err(route.internal(error));
            }
        },
        Err(Trouble::Late) => ShellFault::Unreachable {
            at: Box::new(route.place()),
            why: format!(
                "{} got no answer from it within {} s",
                bastion.name,
                limit.as_secs_f64()
            ),
        },
        Err(Trouble::Gone(why)) => on_bastion(ShellFault::Protocol {
            at: Box::new(at),
            why,
        }),
        Err(Trouble::Refused {
            code: code::CHANNEL_FAILURE,
            message,
        }) if message.contains("connect failed") => ShellFault::Unreachable {
            at: Box::new(route.place()),
            why: format!("{} could not connect to it", bastion.name),
        },
        Err(Trouble::Refused { message, .. }) => on_bastion(ShellFault::Protocol {
            at: Box::new(at),
            why: format!("it does not forward connections: {message}"),
        }),
    };
    line.close(None);
    Err(fault)
}

fn pair() -> io::Result<(UnixStream, Pair)> {
    let (near, far) = Pair::pair()?;
    near.set_nonblocking(true)?;
    Ok((UnixStream::from_std(near)?, far))
}

/// Carries bytes both ways until one side ends.
async fn carry(
    mut line: Line,
    mut channel: Channel,
    near: UnixStream,
    broken: Broken,
    ready: impl FnOnce(),
) {
    ready();
    if let Err(why) = pump(&mut line, &mut channel, &near).await {
        broken.set(why);
    }
    drop(near);
    line.close(Some(channel));
}

/// Bytes on their way in one direction: taken, and given on as far as `at`.
struct Load {
    bytes: Vec<u8>,
    at: usize,
    end: usize,
}

impl Load {
    fn new() -> Self {
        Self {
            bytes: vec![0; PIECE],
            at: 0,
            end: 0,
        }
    }

    fn rest(&self) -> &[u8] {
        &self.bytes[self.at..self.end]
    }

    fn is_empty(&self) -> bool {
        self.at == self.end
    }

    fn given(&mut self, count: usize) {
        self.at += count;
    }

    fn taken(&mut self, count: usize) {
        (self.at, self.end) = (0, count);
    }
}

/// Nothing is taken from one side before the other has what was taken last: that is all the back pressure there is, and
/// all it needs. The two directions never wait for each other.
async fn pump(line: &mut Line, channel: &mut Channel, near: &UnixStream) -> Result<(), String> {
    let (mut up, mut down) = (Load::new(), Load::new());
    loop {
        let mut moved = false;
        if up.is_empty() {
            match near.try_read(&mut up.bytes) {
                // The node's session has ended: so does its way.
                Ok(0) => return Ok(()),
                Ok(count) => up.taken(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return Ok(()),
            }
        }
        if !up.is_empty() {
            // A packet that is half sent must be offered again unchanged: `up` is not touched before it is gone.
            match channel.write(up.rest()) {
                Ok(count) => {
                    up.given(count);
                    moved |= count > 0;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        if down.is_empty() {
            match channel.read(&mut down.bytes) {
                // The node has closed the connection; what it said before has been handed on.
                Ok(0) if channel.eof() => return Ok(()),
                Ok(count) => {
                    down.taken(count);
                    moved = true;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        if !down.is_empty() {
            match near.try_write(down.rest()) {
                Ok(count) => {
                    down.given(count);
                    moved |= count > 0;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return Ok(()),
            }
        }
        if moved {
            continue;
        }
        tokio::select! {
            () = line.wait() => {}
            _ = near.readable(), if up.is_empty() => {}
            _ = near.writable(), if !down.is_empty() => {}
        }
    }
}

impl From<Hop> for Socket {
    fn from(hop: Hop) -> Self {
        Self::Pair(hop.socket)
    }
}
