//! Long commands that run under a name, so that they outlive the line to the node and gantry itself.

use std::time::Duration;

use super::unclear;
use crate::engine::Halt;
use crate::ops::OpsFault;
use crate::ops::runbook::StageCx;
use crate::secret::Secret;
use crate::shell::{As, Command, Shell};

/// Where a node keeps what is known of them; only root may look.
const FOLDER: &str = "/var/lib/gantry/units";

/// How much of the output comes back: as much from its beginning as from its end.
const REMEMBERED: usize = 2 << 20;

/// How often is looked when nobody says otherwise.
const LOOK: Duration = Duration::from_secs(15);

pub const BEGIN: &str = include_str!("../../../templates/ops/unit-begin.sh");
pub const WATCH: &str = include_str!("../../../templates/ops/unit-watch.sh");
pub const FORGET: &str = include_str!("../../../templates/ops/unit-forget.sh");

/// A command that takes long, as words.
#[derive(Debug, Clone)]
pub struct Job {
    words: Vec<String>,
    input: Option<Secret>,
    usual: Duration,
}

impl Job {
    pub fn new<W: Into<String>>(words: impl IntoIterator<Item = W>) -> Self {
        Self {
            words: words.into_iter().map(Into::into).collect(),
            input: None,
            usual: Duration::from_mins(10),
        }
    }

    /// One word more.
    #[must_use]
    pub fn also(mut self, word: impl Into<String>) -> Self {
        self.words.push(word.into());
        self
    }

    /// What it reads: the way for values that others on the node must not see.
    #[must_use]
    pub fn input(mut self, input: Secret) -> Self {
        self.input = Some(input);
        self
    }

    /// How long it usually takes.
    #[must_use]
    pub fn usually(mut self, usual: Duration) -> Self {
        self.usual = usual;
        self
    }

    pub fn words(&self) -> &[String] {
        &self.words
    }
}

/// What became of a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// It was never begun, or is forgotten.
    Absent,
    Running {
        last_line: String,
    },
    /// It ended with exit code 0.
    Done {
        output: String,
    },
    /// It ended otherwise. `status` says how; the node was restarted or somebody killed it when there is no code.
    Failed {
        status: String,
        output: String,
    },
}

impl Progress {
    /// The last lines that are not blank, for people: what went wrong is usually said there.
    pub fn last_lines(&self) -> Vec<&str> {
        let (Self::Running { last_line: text }
        | Self::Done { output: text }
        | Self::Failed { output: text, .. }) = self
        else {
            return Vec::new();
        };
        let lines = text.lines().map(str::trim_end);
        let all: Vec<_> = lines.filter(|line| !line.is_empty()).collect();
        all[all.len().saturating_sub(5)..].to_vec()
    }
}

/// The name of a long command on one node. Made of the procedure's id, it is the same when the procedure is taken up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    name: String,
    folder: String,
    user: As,
}

impl Unit {
    /// Letters, digits, `.`, `_` and `-`; anything else becomes `-`.
    pub fn new(name: impl AsRef<str>) -> Self {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let name = name.as_ref().chars();
        Self {
            name: name.map(|c| if plain(c) { c } else { '-' }).collect(),
            folder: FOLDER.into(),
            user: As::Root,
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    fn path(&self) -> String {
        // Never `.` or `..`, whatever the name is.
        format!("{}/unit-{}", self.folder, self.name)
    }

    fn script(&self, what: &str, script: &str) -> Command {
        Command::script(format!("{what} {}", self.name), script)
            .arg(self.path())
            .as_user(self.user.clone())
    }

    /// Begins the command. A unit that was begun before is left as it is, whether it runs or has ended.
    pub async fn begin(&self, shell: &dyn Shell, job: &Job) -> Result<(), OpsFault> {
        let mut command = self
            .script("begin", BEGIN)
            .args(job.words.iter().cloned())
            .timeout(Duration::from_mins(1));
        if let Some(input) = &job.input {
            command = command.stdin(input.reveal().as_bytes());
        }
        shell.must(&command).await?;
        Ok(())
    }

    /// Looks what became of it.
    pub async fn watch(&self, shell: &dyn Shell) -> Result<Progress, OpsFault> {
        let command = self.script("watch", WATCH).keep(REMEMBERED, REMEMBERED);
        let exit = shell.must(&command).await?;
        let text = exit.stdout.text();
        let (first, output) = text.split_once('\n').unwrap_or((&text, ""));
        let output = output.to_owned();
        Ok(match first {
            "absent" => Progress::Absent,
            "running" => Progress::Running {
                last_line: last_line(&output),
            },
            "exit 0" => Progress::Done { output },
            "lost" => Progress::Failed {
                status:
                    "it ended without an exit code: the node was restarted, or somebody killed it"
                        .into(),
                output,
            },
            other => match other.strip_prefix("exit ") {
                Some(code) => Progress::Failed {
                    status: format!("exit code {code}"),
                    output,
                },
                None => return Err(unclear(shell, &format!("the unit {}", self.name), other)),
            },
        })
    }

    /// Removes what the node remembers of it. Refused while it runs; fine when there is nothing.
    pub async fn forget(&self, shell: &dyn Shell) -> Result<(), OpsFault> {
        shell.must(&self.script("forget", FORGET)).await?;
        Ok(())
    }

    /// Begins the command, or finds it, and stays until it ends; tells its last line meanwhile. Returns what it
    /// wrote. An interrupt leaves it running on the node, to be found there by the next run.
    pub async fn see_through(
        &self,
        shell: &dyn Shell,
        job: &Job,
        cx: &StageCx,
    ) -> Result<String, Halt<OpsFault>> {
        self.begin(shell, job).await?;
        loop {
            let progress = self.watch(shell).await?;
            match &progress {
                Progress::Running { last_line } => {
                    cx.waiting(format!("{}: {last_line}", shell.host()));
                    cx.pause(LOOK).await?;
                }
                Progress::Done { output } => return Ok(output.clone()),
                Progress::Failed { status, .. } => {
                    return Err(Halt::Failed(self.failure(shell, job, status, &progress)));
                }
                Progress::Absent => {
                    let why = "it was begun, and is not there any more";
                    return Err(Halt::Failed(self.failure(shell, job, why, &progress)));
                }
            }
        }
    }

    fn failure(&self, shell: &dyn Shell, job: &Job, status: &str, progress: &Progress) -> OpsFault {
        let last = progress.last_lines().join("\n  ");
        let why = if last.is_empty() {
            status.to_owned()
        } else {
            format!("{status}. It said last:\n  {last}")
        };
        OpsFault::check(
            format!("{}: `{}`", shell.host(), job.words.join(" ")),
            why,
            format!(
                "all it wrote is on {} in {}/output",
                shell.host(),
                self.path()
            ),
        )
    }
}

fn last_line(text: &str) -> String {
    let line = text.lines().map(str::trim).rfind(|line| !line.is_empty());
    line.unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests;
