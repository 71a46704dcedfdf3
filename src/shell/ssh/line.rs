//! One libssh2 session over one socket, never blocking.
//!
//! libssh2 says "again" where it would block, and which way; [`Line::wait`] then sleeps until the socket can go on. A
//! session is used by one thread only.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use ssh2::{BlockDirections, Channel, ErrorCode, Session};
use tokio::io::{Interest, Ready};
use tokio::time::Instant;

/// libssh2's own numbers, as in `libssh2.h`.
pub(super) mod code {
    pub const BANNER_RECV: i32 = -2;
    pub const SOCKET_SEND: i32 = -7;
    pub const SOCKET_DISCONNECT: i32 = -13;
    pub const AUTHENTICATION_FAILED: i32 = -18;
    pub const PUBLICKEY_UNVERIFIED: i32 = -19;
    pub const CHANNEL_FAILURE: i32 = -21;
    pub const EAGAIN: i32 = -37;
    pub const SOCKET_RECV: i32 = -43;
}

/// How long the orderly end of a session may take.
const FAREWELL: Duration = Duration::from_millis(200);

/// What a session runs over.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpStream),
    /// The near end of a hop.
    Pair(UnixStream),
}

impl Socket {
    fn set_nonblocking(&self) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => socket.set_nonblocking(true),
            Self::Pair(socket) => socket.set_nonblocking(true),
        }
    }

    fn shutdown(&self) {
        // It may be down already.
        let _ = match self {
            Self::Tcp(socket) => socket.shutdown(Shutdown::Both),
            Self::Pair(socket) => socket.shutdown(Shutdown::Both),
        };
    }

    /// Whether the socket is ready can be asked from now on: news of it come to the runtime of this thread.
    fn watch(&self) -> io::Result<Watch> {
        Ok(match self {
            Self::Tcp(socket) => Watch::Tcp(tokio::net::TcpStream::from_std(socket.try_clone()?)?),
            Self::Pair(socket) => {
                Watch::Pair(tokio::net::UnixStream::from_std(socket.try_clone()?)?)
            }
        })
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Self::Tcp(socket) => socket.as_raw_fd(),
            Self::Pair(socket) => socket.as_raw_fd(),
        }
    }
}

/// Another handle on the socket, with which nothing is read or written.
#[derive(Debug)]
enum Watch {
    Tcp(tokio::net::TcpStream),
    Pair(tokio::net::UnixStream),
}

impl Watch {
    async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        match self {
            Self::Tcp(socket) => socket.ready(interest).await,
            Self::Pair(socket) => socket.ready(interest).await,
        }
    }

    /// Notes that the socket was found exhausted.
    fn exhausted(&self, interest: Interest) {
        let found = || io::Result::<()>::Err(io::ErrorKind::WouldBlock.into());
        let _ = match self {
            Self::Tcp(socket) => socket.try_io(interest, found),
            Self::Pair(socket) => socket.try_io(interest, found),
        };
    }
}

/// Why a call of libssh2 came to nothing.
#[derive(Debug)]
pub(super) enum Trouble {
    /// It took too long.
    Late,
    /// The connection is gone.
    Gone(String),
    /// libssh2 or the other side says no.
    Refused { code: i32, message: String },
}

impl Trouble {
    pub fn sort(error: &ssh2::Error) -> Self {
        let ErrorCode::Session(code) = error.code() else {
            return Self::Refused {
                code: 0,
                message: error.message().to_owned(),
            };
        };
        match code {
            code::BANNER_RECV | code::SOCKET_SEND | code::SOCKET_DISCONNECT | code::SOCKET_RECV => {
                Self::Gone("the connection was closed".into())
            }
            _ => Self::Refused {
                code,
                message: error.message().to_owned(),
            },
        }
    }
}

/// Whether libssh2 only wants to be called again.
pub(super) fn again(error: &ssh2::Error) -> bool {
    error.code() == ErrorCode::Session(code::EAGAIN)
}

/// libssh2's own handle on the socket.
struct Shared(Arc<Socket>);

impl AsRawFd for Shared {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// A session and its socket.
pub(super) struct Line {
    pub session: Session,
    socket: Arc<Socket>,
    watch: Watch,
    heard: Instant,
}

impl Line {
    /// A session over a connected socket; nothing is said yet.
    pub fn new(socket: Socket) -> io::Result<Self> {
        socket.set_nonblocking()?;
        let mut session = Session::new().map_err(io::Error::from)?;
        session.set_blocking(false);
        let socket = Arc::new(socket);
        session.set_tcp_stream(Shared(Arc::clone(&socket)));
        Ok(Self {
            session,
            watch: socket.watch()?,
            socket,
            heard: Instant::now(),
        })
    }

    /// How long nothing has been heard from the other side.
    pub fn silent_for(&self) -> Duration {
        self.heard.elapsed()
    }

    /// Calls until the call no longer says "again", waiting no longer than this altogether. Time inside the calls does
    /// not count: an agent may be asking a person.
    pub async fn call<T>(
        &mut self,
        limit: Duration,
        mut call: impl FnMut(&mut Session) -> Result<T, ssh2::Error>,
    ) -> Result<T, Trouble> {
        let mut left = limit;
        loop {
            match call(&mut self.session) {
                Ok(value) => return Ok(value),
                Err(error) if again(&error) => {}
                Err(error) => return Err(Trouble::sort(&error)),
            }
            let from = Instant::now();
            if tokio::time::timeout(left, self.wait()).await.is_err() {
                return Err(Trouble::Late);
            }
            left = left.saturating_sub(from.elapsed());
        }
    }

    /// Sleeps until the socket can go on. To be called directly after libssh2 said "again".
    pub async fn wait(&mut self) {
        let wanted = if self.is_sending() {
            Interest::READABLE | Interest::WRITABLE
        } else {
            Interest::READABLE
        };
        // What arrived since libssh2 found the socket exhausted is still in the poller, which runs on this very
        // thread and only while it sleeps: no news are lost here.
        self.watch.exhausted(Interest::READABLE);
        if wanted.is_writable() {
            self.watch.exhausted(Interest::WRITABLE);
        }
        if self
            .watch
            .ready(wanted)
            .await
            .is_ok_and(|ready| ready.is_readable())
        {
            self.heard = Instant::now();
        }
    }

    /// Remembers that the other side has been heard.
    pub fn heard(&mut self) {
        self.heard = Instant::now();
    }

    /// Whether a packet is half sent.
    pub fn is_sending(&self) -> bool {
        matches!(
            self.session.block_directions(),
            BlockDirections::Outbound | BlockDirections::Both
        )
    }

    /// Sleeps until there is room for a small packet.
    ///
    /// libssh2 builds some packets (end of input, signs of life) on the stack and recognises a half sent one by its
    /// address, so these must go out whole. A new registration is needed to learn how things are now: the old one only
    /// tells of changes.
    pub async fn room(&self) -> io::Result<()> {
        self.socket.watch()?.ready(Interest::WRITABLE).await?;
        Ok(())
    }

    /// Ends the session, whatever state it is in.
    pub fn close(self, channel: Option<Channel>) {
        // Without blocking, libssh2 would not free what it still wants to say farewell to; with the socket down, it
        // has nothing to wait for.
        let _ = self.session.disconnect(None, "done", None);
        self.socket.shutdown();
        self.session.set_blocking(true);
        self.session
            .set_timeout(u32::try_from(FAREWELL.as_millis()).unwrap_or(u32::MAX));
        drop(channel);
    }
}
