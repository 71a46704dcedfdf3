//! A connection to a host: a thread that owns the session and runs one command after the other.

use std::io::{self, Read as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

use ssh2::Channel;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::hop::{self, Broken};
use super::line::{Line, Socket, Trouble, again};
use super::{Access, Route, login};
use crate::shell::command::MERCY;
use crate::shell::fault::{Ended, Place, Ran, ShellFault};
use crate::shell::output::{Exit, Sink, Status, Stream};
use crate::shell::{Command, worker};

/// How much is read or written in one go.
const PIECE: usize = 32 * 1024;

/// How many pieces of one stream before the others get their turn.
const TURN: usize = 16;

/// A handle on the thread. The thread ends when the handle is dropped, or when it had nothing to do for a while.
#[derive(Debug)]
pub(super) struct Connection {
    jobs: mpsc::UnboundedSender<Job>,
}

#[derive(Debug)]
struct Job {
    command: Command,
    reply: oneshot::Sender<Done>,
}

/// What became of a command.
#[derive(Debug)]
pub(super) struct Done {
    pub result: Result<Exit, ShellFault>,
    /// Whether the host may have heard of the command.
    pub begun: bool,
    /// Whether the connection can be used again.
    pub usable: bool,
}

impl Connection {
    /// Connects and logs in.
    pub async fn open(route: Route, access: Arc<Access>) -> Result<Self, ShellFault> {
        let (jobs, queue) = mpsc::unbounded_channel();
        let (ready, answer) = oneshot::channel();
        let whose = route.clone();
        let name = format!("ssh {}", route.host.name);
        let work = move || async move {
            match connect(&route, &access).await {
                Ok((line, broken)) => {
                    if ready.send(Ok(())).is_ok() {
                        serve(line, broken, &route, &access, queue).await;
                    } else {
                        line.close(None);
                    }
                }
                Err(fault) => drop(ready.send(Err(fault))),
            }
        };
        worker::spawn(name, work).map_err(|e| whose.internal(e))?;
        answer
            .await
            .unwrap_or_else(|_| Err(whose.internal("the thread of this connection ended early")))?;
        Ok(Self { jobs })
    }

    /// Runs a command; `None` if the thread had ended before.
    pub async fn run(&self, command: &Command) -> Option<Done> {
        let (reply, answer) = oneshot::channel();
        let job = Job {
            command: command.clone(),
            reply,
        };
        self.jobs.send(job).ok()?;
        answer.await.ok()
    }
}

async fn connect(route: &Route, access: &Arc<Access>) -> Result<(Line, Broken), ShellFault> {
    let at = route.place();
    let Some(bastion) = &route.bastion else {
        let socket = login::dial(&route.host, &at, access.timings.connect).await?;
        let line = login::log_in(socket, &route.host, &at, access).await?;
        return Ok((line, Broken::default()));
    };
    let hop = hop::open(route, bastion, access).await?;
    let broken = hop.broken.clone();
    let line = login::log_in(Socket::from(hop), &route.host, &at, access).await;
    match (line, broken.why()) {
        (Ok(line), _) => Ok((line, broken)),
        (Err(_), Some(why)) => Err(ShellFault::Bastion {
            at: Box::new(at),
            cause: Box::new(ShellFault::Protocol {
                at: Box::new(hop::place(route, bastion)),
                why: format!("its line broke during the login: {why}"),
            }),
        }),
        (Err(fault), None) => Err(fault),
    }
}

/// Runs commands until there is nothing more to do or the line is no longer good.
async fn serve(
    mut line: Line,
    broken: Broken,
    route: &Route,
    access: &Access,
    mut queue: mpsc::UnboundedReceiver<Job>,
) {
    // libssh2 sends a sign of life only if this much time (at least two seconds) has passed; when to ask it, we
    // decide.
    line.session.set_keepalive(true, 2);
    loop {
        let job = match tokio::time::timeout(access.timings.idle, queue.recv()).await {
            Ok(job) => job,
            Err(_) => {
                // Whoever sends from now on is told; whoever has sent is served.
                queue.close();
                queue.recv().await
            }
        };
        let Some(Job { command, mut reply }) = job else {
            break line.close(None);
        };
        let mut run = Run {
            at: route.place(),
            route,
            access,
            broken: &broken,
            command: &command,
            out: Sink::new(&route.host.name, Stream::Out, &command),
            err: Sink::new(&route.host.name, Stream::Err, &command),
            began: Instant::now(),
        };
        line.heard();
        let (done, channel) = run.all(&mut line, &mut reply).await;
        let usable = done.usable;
        // Nobody may be waiting any more.
        let _ = reply.send(done);
        if !usable {
            break line.close(channel);
        }
        drop(channel);
    }
}

/// One command on its way.
struct Run<'a> {
    at: Place,
    route: &'a Route,
    access: &'a Access,
    broken: &'a Broken,
    command: &'a Command,
    out: Sink,
    err: Sink,
    began: Instant,
}

/// How the exchange with a running command ended.
enum Talk {
    Ended,
    OutOfTime,
    Cut(String),
    /// Nobody waits for the command any more.
    Dropped,
}

impl Run<'_> {
    async fn all(
        &mut self,
        line: &mut Line,
        reply: &mut oneshot::Sender<Done>,
    ) -> (Done, Option<Channel>) {
        let limit = self.access.timings.connect;
        let mut channel = match line.call(limit, |session| session.channel_session()).await {
            Ok(channel) => channel,
            Err(trouble) => return (failed(self.trouble(trouble, Ran::No), false), None),
        };
        self.began = Instant::now();
        let started = line
            .call(limit, |_| channel.exec(&self.command.line()))
            .await;
        if let Err(trouble) = started {
            return (
                failed(self.trouble(trouble, Ran::Maybe), true),
                Some(channel),
            );
        }
        let talk = self.talk(line, &mut channel, reply).await;
        self.out.finish();
        self.err.finish();
        let fault = match talk {
            Talk::Ended => {
                return match self.end(&channel) {
                    Ok(result) => {
                        let usable = line.call(MERCY, |_| channel.close()).await.is_ok();
                        let done = Done {
                            result,
                            begun: true,
                            usable,
                        };
                        (done, Some(channel))
                    }
                    Err(why) => (failed(self.protocol(why), true), Some(channel)),
                };
            }
            Talk::OutOfTime => self.timeout(Ended::Unknown, self.last()),
            Talk::Cut(why) => self.cut(why, Ran::Maybe),
            Talk::Dropped => self.cut("nobody waits for it any more".into(), Ran::Maybe),
        };
        (failed(fault, true), Some(channel))
    }

    /// Feeds the command and listens to it until it has ended.
    async fn talk(
        &mut self,
        line: &mut Line,
        channel: &mut Channel,
        reply: &mut oneshot::Sender<Done>,
    ) -> Talk {
        // The host ends the command when its time is over; this is for a host that does not.
        let hard = self.began + self.command.limit() + 2 * MERCY;
        let interval = self.access.timings.keepalive;
        let mut next_sign = Instant::now() + interval;
        let input = self.command.input();
        let mut sent = 0;
        let mut told_end = false;
        let mut buffer = vec![0; PIECE];
        loop {
            let mut moved = false;
            match feed(channel, &input, &mut sent) {
                Ok(some) => moved |= some,
                Err(why) => return Talk::Cut(why),
            }
            if sent == input.len() && !told_end && !line.is_sending() {
                told_end = true;
                let end = async {
                    line.room().await.ok()?;
                    line.call(MERCY, |_| channel.send_eof()).await.ok()
                };
                // A host that takes nothing more shows below.
                let _ = tokio::time::timeout(MERCY, end).await;
                moved = true;
            }
            for (stream, sink) in [(0, &mut self.out), (1, &mut self.err)] {
                match listen(channel, stream, sink, &mut buffer) {
                    Ok(some) => moved |= some,
                    Err(why) => return Talk::Cut(why),
                }
            }
            if channel.eof() {
                match channel.wait_close() {
                    Ok(()) => return Talk::Ended,
                    Err(error) if again(&error) => {}
                    Err(error) => return Talk::Cut(error.message().to_owned()),
                }
            }
            if moved {
                line.heard();
                if Instant::now() < hard && !reply.is_closed() {
                    continue;
                }
            }
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(hard) => return Talk::OutOfTime,
                () = reply.closed() => return Talk::Dropped,
                () = tokio::time::sleep_until(next_sign) => {
                    if line.silent_for() >= 3 * interval {
                        return Talk::Cut(self.silence(line.silent_for()));
                    }
                    if let Err(why) = sign_of_life(line).await {
                        return Talk::Cut(why);
                    }
                    next_sign = Instant::now() + interval;
                }
                () = line.wait() => {}
            }
        }
    }

    /// A silence has no sender: behind a bastion it may be either.
    fn silence(&self, time: Duration) -> String {
        let time = time.as_secs();
        match &self.route.bastion {
            Some(bastion) => {
                format!(
                    "nothing was heard for {time} s, from it or from {}",
                    bastion.name
                )
            }
            None => format!("nothing was heard for {time} s"),
        }
    }

    /// How the command ended.
    fn end(&mut self, channel: &Channel) -> Result<Result<Exit, ShellFault>, String> {
        let signal = channel.exit_signal().map_err(|e| e.message().to_owned())?;
        let status = match signal.exit_signal {
            Some(name) => Status::Signal(name),
            None => Status::Code(channel.exit_status().map_err(|e| e.message().to_owned())?),
        };
        let exit = Exit {
            status,
            stdout: std::mem::take(&mut self.out.captured),
            stderr: std::mem::take(&mut self.err.captured),
            took: self.began.elapsed(),
        };
        if exit.ran_out(self.command.limit()) {
            return Ok(Err(self.timeout(Ended::Stopped, exit.last_line())));
        }
        Ok(Ok(exit))
    }

    fn trouble(&self, trouble: Trouble, ran: Ran) -> ShellFault {
        match trouble {
            Trouble::Gone(why) => self.cut(why, ran),
            Trouble::Late => self.cut(
                format!(
                    "no answer within {} s",
                    self.access.timings.connect.as_secs_f64()
                ),
                ran,
            ),
            Trouble::Refused { message, .. } => {
                self.protocol(format!("it does not run commands: {message}"))
            }
        }
    }

    /// A broken line: the bastion's, if its hop says so.
    fn cut(&self, why: String, ran: Ran) -> ShellFault {
        let cut = |at, why| ShellFault::Cut {
            at: Box::new(at),
            command: self.command.title(),
            why,
            ran,
            last: self.last(),
        };
        match (&self.route.bastion, self.broken.why()) {
            (Some(bastion), Some(why)) => ShellFault::Bastion {
                at: Box::new(self.at.clone()),
                cause: Box::new(cut(hop::place(self.route, bastion), why)),
            },
            _ => cut(self.at.clone(), why),
        }
    }

    fn timeout(&self, end: Ended, last: String) -> ShellFault {
        ShellFault::Timeout {
            at: Box::new(self.at.clone()),
            command: self.command.title(),
            limit: self.command.limit(),
            end,
            last,
        }
    }

    fn protocol(&self, why: String) -> ShellFault {
        ShellFault::Protocol {
            at: Box::new(self.at.clone()),
            why,
        }
    }

    fn last(&self) -> String {
        let line = self.err.captured.last_line();
        if line.is_empty() {
            self.out.captured.last_line()
        } else {
            line
        }
    }
}

/// The end of a command and of its connection.
fn failed(fault: ShellFault, begun: bool) -> Done {
    Done {
        result: Err(fault),
        begun,
        usable: false,
    }
}

/// Writes what the host takes. Whether anything moved.
fn feed(channel: &mut Channel, input: &[u8], sent: &mut usize) -> Result<bool, String> {
    let before = *sent;
    for _ in 0..TURN {
        // A command that has ended reads nothing more.
        if *sent == input.len() || channel.eof() {
            break;
        }
        match channel.write(&input[*sent..]) {
            Ok(count) => *sent += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(*sent > before)
}

/// Reads what has come. Whether anything has.
fn listen(
    channel: &Channel,
    stream: i32,
    sink: &mut Sink,
    buffer: &mut [u8],
) -> Result<bool, String> {
    let mut moved = false;
    for _ in 0..TURN {
        match channel.stream(stream).read(buffer) {
            Ok(0) => break,
            Ok(count) => {
                sink.push(&buffer[..count]);
                moved = true;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(moved)
}

/// Asks the host for a sign of life, if that does not get in the way of something half sent.
async fn sign_of_life(line: &mut Line) -> Result<(), String> {
    use futures::FutureExt as _;
    if line.is_sending() {
        return Ok(());
    }
    let room = line.room();
    let Some(Ok(())) = tokio::time::timeout(MERCY, room).map(Result::ok).await else {
        // Its buffers are full: it is not listening, and that shows by silence.
        return Ok(());
    };
    match line.session.keepalive_send() {
        Ok(_) => Ok(()),
        Err(error) if again(&error) => Ok(()),
        Err(error) => Err(error.message().to_owned()),
    }
}
