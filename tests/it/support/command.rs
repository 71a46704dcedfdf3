//! The real binary, in an empty environment and a folder of its own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

/// A folder to run gantry in, removed with the test.
pub struct Place {
    dir: tempfile::TempDir,
    speed: u32,
}

/// What a command said and how it ended.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Place {
    pub fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            speed: 100_000,
        }
    }

    /// The same folder with the sandbox at another speed.
    pub fn at_speed(mut self, speed: u32) -> Self {
        self.speed = speed;
        self
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A file in the folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A command line, ready to be run; the sandbox is chosen by the environment.
    pub fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gantry"));
        command
            .args(line.split_whitespace())
            .current_dir(self.dir.path())
            .env_clear()
            .env("HOME", self.dir.path())
            .env("USER", "tester")
            .env("COLUMNS", "100")
            .env("GANTRY_SANDBOX", "1")
            .env("GANTRY_SANDBOX_SPEED", self.speed.to_string())
            .stdin(Stdio::null());
        command
    }

    /// Runs a command line to its end.
    pub fn run(&self, line: &str) -> Said {
        Said::of(self.command(line).output().unwrap())
    }

    /// Runs a command line that must work.
    pub fn ok(&self, line: &str) -> Said {
        let said = self.run(line);
        assert_eq!(said.code, 0, "gantry {line}:\n{}\n{}", said.out, said.err);
        said
    }

    /// Starts a command line whose stderr can be listened to.
    pub fn start(&self, line: &str) -> Child {
        self.command(line)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Installs poc-2k, as the README does.
    pub fn poc(&self) -> Said {
        self.ok("install --profile poc-2k --domain gitlab.example.com --yes")
    }
}

impl Said {
    fn of(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// stdout as the one JSON document it must be.
    pub fn json(&self) -> Value {
        let document: Value =
            serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {}", self.out));
        assert_eq!(document["format"], 1, "every document says its format");
        document
    }

    /// Both voices, with what differs from run to run replaced.
    pub fn text(&self) -> String {
        let mut text = format!("exit {}\n", self.code);
        for (name, voice) in [("stdout", &self.out), ("stderr", &self.err)] {
            if !voice.trim().is_empty() {
                text.push_str(&format!("--- {name}\n{}\n", voice.trim_end()));
            }
        }
        text
    }
}
