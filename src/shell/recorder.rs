//! Hosts that are played: answers by pattern, and a record of what was asked. For tests.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::future::BoxFuture;

use super::fault::{Hop, Place, ShellFault};
use super::file::{Content, RemoteFile, RemotePath};
use super::output::{Exit, Status};
use super::{As, Command, Shell};

/// What a played host was asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// A command, by its title; `said` has all its words.
    Ran {
        host: String,
        title: String,
        said: String,
        user: As,
        stdin: Vec<u8>,
    },
    /// A file; of a secret only the fingerprint.
    Put {
        host: String,
        path: String,
        mode: u32,
        content: String,
    },
    Got {
        host: String,
        path: String,
    },
}

/// How a played host answers a command.
#[derive(Debug, Clone)]
pub struct Answer {
    status: Result<Status, ShellFault>,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Answer {
    /// Success, with this on stdout.
    pub fn out(text: impl Into<Vec<u8>>) -> Self {
        Self {
            status: Ok(Status::Code(0)),
            stdout: text.into(),
            stderr: Vec::new(),
        }
    }

    /// An exit code, with this on stderr.
    pub fn code(code: i32, text: impl Into<Vec<u8>>) -> Self {
        Self {
            status: Ok(Status::Code(code)),
            stdout: Vec::new(),
            stderr: text.into(),
        }
    }

    /// The end by a signal.
    pub fn signal(name: &str) -> Self {
        Self {
            status: Ok(Status::Signal(name.into())),
            stdout: Vec::new(),
            stderr: Vec::new(),
        }
    }

    /// No answer, but a fault.
    pub fn fault(fault: ShellFault) -> Self {
        Self {
            status: Err(fault),
            stdout: Vec::new(),
            stderr: Vec::new(),
        }
    }
}

#[derive(Debug)]
struct Rule {
    host: String,
    command: String,
    answer: Answer,
    /// How often it still answers; `None` for ever.
    left: Option<usize>,
}

#[derive(Debug, Default)]
struct World {
    rules: Vec<Rule>,
    effects: Vec<Effect>,
    files: BTreeMap<(String, String), Vec<u8>>,
}

/// All played hosts of a test. Clones are the same world.
#[derive(Debug, Clone, Default)]
pub struct Recorder(Arc<Mutex<World>>);

impl Recorder {
    pub fn new() -> Self {
        Self::default()
    }

    /// A host of this world.
    pub fn shell(&self, host: &str) -> Arc<Played> {
        Arc::new(Played {
            host: host.to_owned(),
            world: self.clone(),
        })
    }

    /// Begins a rule: hosts and commands (their titles) by pattern, where `*` stands for any text. The latest rule
    /// that fits answers; without one, every command succeeds and says nothing.
    pub fn on(&self, host: &str, command: &str) -> When {
        When {
            recorder: self.clone(),
            host: host.to_owned(),
            command: command.to_owned(),
            left: None,
        }
    }

    /// Puts a file on a host beforehand.
    pub fn file(&self, host: &str, path: &str, content: impl Into<Vec<u8>>) {
        self.lock()
            .files
            .insert((host.to_owned(), path.to_owned()), content.into());
    }

    /// All that was asked, in order.
    pub fn effects(&self) -> Vec<Effect> {
        self.lock().effects.clone()
    }

    /// The commands a host was asked to run, by title, in order.
    pub fn ran(&self, host: &str) -> Vec<String> {
        self.lock()
            .effects
            .iter()
            .filter_map(|effect| match effect {
                Effect::Ran {
                    host: on, title, ..
                } if on == host => Some(title.clone()),
                _ => None,
            })
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A rule that waits for its answer.
#[derive(Debug)]
#[must_use]
pub struct When {
    recorder: Recorder,
    host: String,
    command: String,
    left: Option<usize>,
}

impl When {
    /// Answers this often, and then leaves it to earlier rules.
    pub fn times(mut self, times: usize) -> Self {
        self.left = Some(times);
        self
    }

    pub fn answer(self, answer: Answer) {
        self.recorder.lock().rules.push(Rule {
            host: self.host,
            command: self.command,
            answer,
            left: self.left,
        });
    }
}

/// A played host.
#[derive(Debug)]
pub struct Played {
    host: String,
    world: Recorder,
}

impl Played {
    fn answer(&self, command: &Command) -> Answer {
        let mut world = self.world.lock();
        world.effects.push(Effect::Ran {
            host: self.host.clone(),
            title: command.title(),
            said: command.said(),
            user: command.user().clone(),
            stdin: command.input().to_vec(),
        });
        let title = command.title();
        let rule = world.rules.iter_mut().rev().find(|rule| {
            rule.left != Some(0) && fits(&rule.host, &self.host) && fits(&rule.command, &title)
        });
        let Some(rule) = rule else {
            return Answer::out("");
        };
        rule.left = rule.left.map(|left| left - 1);
        rule.answer.clone()
    }
}

impl Shell for Played {
    fn host(&self) -> &str {
        &self.host
    }

    fn place(&self) -> Place {
        Place {
            host: self.host.clone(),
            address: "played".into(),
            hop: Hop::Direct,
        }
    }

    fn run<'a>(&'a self, command: &'a Command) -> BoxFuture<'a, Result<Exit, ShellFault>> {
        Box::pin(async move {
            let answer = self.answer(command);
            let (out, err) = (&answer.stdout, &answer.stderr);
            Ok(Exit::played(&self.host, command, answer.status?, out, err))
        })
    }

    fn put<'a>(&'a self, file: &'a RemoteFile) -> BoxFuture<'a, Result<(), ShellFault>> {
        Box::pin(async move {
            let content = match file.content() {
                Content::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                secret @ Content::Secret(_) => format!("{secret:?}"),
            };
            let path = file.path().to_string();
            let mut world = self.world.lock();
            world.effects.push(Effect::Put {
                host: self.host.clone(),
                path: path.clone(),
                mode: file.permissions(),
                content,
            });
            let bytes = file.content().bytes().to_vec();
            world.files.insert((self.host.clone(), path), bytes);
            Ok(())
        })
    }

    fn get<'a>(&'a self, path: &'a RemotePath) -> BoxFuture<'a, Result<Vec<u8>, ShellFault>> {
        Box::pin(async move {
            let mut world = self.world.lock();
            let path = path.to_string();
            world.effects.push(Effect::Got {
                host: self.host.clone(),
                path: path.clone(),
            });
            world
                .files
                .get(&(self.host.clone(), path.clone()))
                .cloned()
                .ok_or_else(|| ShellFault::Missing {
                    at: Box::new(self.place()),
                    path,
                })
        })
    }
}

/// Whether a text fits a pattern in which `*` stands for any text.
fn fits(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let mut parts: Vec<_> = parts.collect();
    let Some(last) = parts.pop() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    #[test]
    fn patterns() {
        for (pattern, text, expected) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("a*", "ab", true),
            ("*b", "ab", true),
            ("a*c*e", "abcde", true),
            ("a*a", "a", false),
            ("*", "", true),
        ] {
            assert_eq!(fits(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[tokio::test]
    async fn the_latest_rule_answers_as_often_as_it_may() {
        let recorder = Recorder::new();
        recorder
            .on("*", "gitlab-ctl *")
            .answer(Answer::out("run\n"));
        recorder
            .on("rails", "gitlab-ctl status")
            .times(1)
            .answer(Answer::signal("TERM"));
        let shell = recorder.shell("rails");
        let command = Command::new("gitlab-ctl").arg("status").sudo();
        assert_eq!(
            shell.run(&command).await.unwrap().status,
            Status::Signal("TERM".into())
        );
        assert!(shell.run(&command).await.unwrap().ok());
        assert_eq!(
            recorder.ran("rails"),
            ["gitlab-ctl status", "gitlab-ctl status"]
        );
        assert!(recorder.ran("gitaly-1").is_empty());
    }

    #[tokio::test]
    async fn files_are_kept_and_secrets_are_not_shown() {
        let recorder = Recorder::new();
        let shell = recorder.shell("rails");
        let path = RemotePath::new("/etc/x").unwrap();
        assert!(matches!(
            shell.get(&path).await,
            Err(ShellFault::Missing { .. })
        ));
        let file = RemoteFile::new(path.clone(), Secret::new("hunter2".into()));
        shell.put(&file).await.unwrap();
        assert_eq!(shell.get(&path).await.unwrap(), b"hunter2");
        assert!(!format!("{:?}", recorder.effects()).contains("hunter2"));
    }
}
