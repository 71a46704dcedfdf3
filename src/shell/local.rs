//! Commands on this machine, for the appliance host itself.

use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::time::Instant;

use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::oneshot;

use super::command::MERCY;
use super::fault::{Ended, Hop, Place, ShellFault};
use super::file::{self, RemoteFile, RemotePath};
use super::output::{Exit, Sink, Status, Stream};
use super::{Command, Shell, worker};

/// This machine.
#[derive(Debug, Clone)]
pub struct Local {
    host: String,
}

impl Local {
    /// This machine, under the name it has in the site.
    pub fn new(host: impl Into<String>) -> Self {
        Self { host: host.into() }
    }

    fn internal(&self, why: impl ToString) -> ShellFault {
        ShellFault::Internal {
            at: Box::new(self.place()),
            why: why.to_string(),
        }
    }
}

impl Shell for Local {
    fn host(&self) -> &str {
        &self.host
    }

    fn place(&self) -> Place {
        Place {
            host: self.host.clone(),
            address: String::new(),
            hop: Hop::Here,
        }
    }

    fn run<'a>(&'a self, command: &'a Command) -> BoxFuture<'a, Result<Exit, ShellFault>> {
        Box::pin(async move {
            if !command.sayable() {
                return Err(self.internal("an argument holds a NUL byte"));
            }
            let (mut reply, answer) = oneshot::channel();
            let (place, job) = (self.place(), command.clone());
            worker::spawn(format!("run {}", self.host), move || async move {
                tokio::select! {
                    result = run(&place, &job) => drop(reply.send(result)),
                    () = reply.closed() => {}
                }
            })
            .map_err(|e| self.internal(e))?;
            answer
                .await
                .unwrap_or_else(|_| Err(self.internal("the thread of this command ended early")))
        })
    }

    fn put<'a>(&'a self, file: &'a RemoteFile) -> BoxFuture<'a, Result<(), ShellFault>> {
        Box::pin(file::put(self, file))
    }

    fn get<'a>(&'a self, path: &'a RemotePath) -> BoxFuture<'a, Result<Vec<u8>, ShellFault>> {
        Box::pin(file::get(self, path))
    }
}

async fn run(place: &Place, command: &Command) -> Result<Exit, ShellFault> {
    let internal = |error: std::io::Error| ShellFault::Internal {
        at: Box::new(place.clone()),
        why: error.to_string(),
    };
    let began = Instant::now();
    let mut child = tokio::process::Command::new("/bin/sh")
        .arg("-c")
        .arg(command.line())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(internal)?;
    let mut out = Sink::new(&place.host, Stream::Out, command);
    let mut err = Sink::new(&place.host, Stream::Err, command);
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let input = command.input();
    let feed = async {
        if let Some(mut stdin) = stdin {
            // A command need not read all it is given.
            let _ = stdin.write_all(&input).await;
        }
    };
    let all = async {
        futures::join!(feed, drain(stdout, &mut out), drain(stderr, &mut err));
        child.wait().await
    };
    // The command's own `timeout` comes first; this is for one that slipped away from it.
    let hard = command.limit() + 2 * MERCY;
    let ended = tokio::time::timeout(hard, all).await;
    out.finish();
    err.finish();
    let (stdout, stderr) = (out.captured, err.captured);
    let status = match ended {
        Ok(status) => Some(sort(status.map_err(internal)?)),
        Err(_) => None,
    };
    let exit = Exit {
        status: status.clone().unwrap_or(Status::Signal("KILL".into())),
        stdout,
        stderr,
        took: began.elapsed(),
    };
    if status.is_none() || exit.ran_out(command.limit()) {
        return Err(ShellFault::Timeout {
            at: Box::new(place.clone()),
            command: command.title(),
            limit: command.limit(),
            end: if status.is_some() {
                Ended::Stopped
            } else {
                Ended::Unknown
            },
            last: exit.last_line(),
        });
    }
    Ok(exit)
}

async fn drain(from: Option<impl AsyncRead + Unpin>, into: &mut Sink) {
    let Some(mut from) = from else { return };
    let mut buffer = vec![0; 64 * 1024];
    // A pipe that cannot be read any more is at its end.
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        into.push(&buffer[..count]);
    }
}

fn sort(status: ExitStatus) -> Status {
    match (status.code(), status.signal()) {
        (Some(code), _) => Status::Code(code),
        (None, signal) => Status::Signal(name(signal.unwrap_or_default())),
    }
}

/// The name of a signal on Linux, as SSH says it; `signal(7)`.
fn name(signal: i32) -> String {
    let name = match signal {
        1 => "HUP",
        2 => "INT",
        3 => "QUIT",
        4 => "ILL",
        6 => "ABRT",
        7 => "BUS",
        8 => "FPE",
        9 => "KILL",
        10 => "USR1",
        11 => "SEGV",
        12 => "USR2",
        13 => "PIPE",
        14 => "ALRM",
        15 => "TERM",
        other => return other.to_string(),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use super::super::output::Line;
    use super::*;
    use crate::secret::Secret;

    fn box_() -> Local {
        Local::new("box")
    }

    #[tokio::test(start_paused = true)]
    async fn a_command_runs_with_its_input_and_variables() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&told);
        let command = Command::script("greet", r#"cat; echo "$WHO $1" >&2; exit 3"#)
            .arg("it's")
            .env("WHO", "a b")
            .stdin("one\ntwo")
            .observe(Arc::new(move |line: Line<'_>| {
                into.lock()
                    .unwrap()
                    .push((line.stream, line.text.to_owned()));
            }));
        let exit = box_().run(&command).await.unwrap();
        assert_eq!(exit.status, Status::Code(3));
        assert_eq!(exit.stdout.text(), "one\ntwo");
        assert_eq!(exit.stderr.text(), "a b it's\n");
        let told = told.lock().unwrap();
        let out: Vec<_> = told
            .iter()
            .filter(|(s, _)| *s == Stream::Out)
            .map(|(_, t)| t)
            .collect();
        assert_eq!(out, ["one", "two"]);
        assert!(told.contains(&(Stream::Err, "a b it's".into())));
    }

    #[tokio::test]
    async fn the_end_by_a_signal_is_named() {
        let command = Command::script("die", "kill -SEGV $$");
        let exit = box_().run(&command).await.unwrap();
        assert_eq!(exit.status, Status::Signal("SEGV".into()));
        let fault = box_().must(&command).await.unwrap_err();
        assert_eq!(
            fault.to_string(),
            "box (this machine): `die` ended with signal SEGV"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_command_without_end_is_stopped() {
        let command =
            Command::script("hang", "echo waiting; sleep 1000").timeout(Duration::from_millis(200));
        let fault = box_().run(&command).await.unwrap_err();
        let ShellFault::Timeout { end, last, .. } = &fault else {
            panic!("{fault:?}")
        };
        assert_eq!((*end, last.as_str()), (Ended::Stopped, "waiting"));
    }

    #[tokio::test]
    async fn a_file_comes_back_as_it_went() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("it's a \"name\"\n$x");
        let path = RemotePath::new(path.to_str().unwrap()).unwrap();
        let file = RemoteFile::new(path.clone(), Secret::new("pass\nword".into())).mode(0o640);
        box_().put(&file).await.unwrap();
        assert_eq!(box_().get(&path).await.unwrap(), b"pass\nword");
        let nothing = RemotePath::new("/nowhere/at/all").unwrap();
        let fault = box_().get(&nothing).await.unwrap_err();
        assert_eq!(
            fault.to_string(),
            "box (this machine): there is no file \"/nowhere/at/all\""
        );
        let fault = box_()
            .put(&RemoteFile::new(nothing, "x"))
            .await
            .unwrap_err();
        assert!(
            fault.to_string().contains("could not be written: mktemp"),
            "{fault}"
        );
    }
}
