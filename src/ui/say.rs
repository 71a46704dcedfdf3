//! Where words go.

use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};

use clap::ValueEnum;
use serde::Serialize;
use serde_json::Value;

/// The form of data on stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// For machines: one JSON document, with "format": 1.
    Json,
}

/// The voice of one command.
#[derive(Debug, Clone)]
pub struct Say {
    pub output: Output,
    pub quiet: bool,
    pub verbose: bool,
    /// Whether stderr is a terminal that can be redrawn.
    pub live: bool,
    /// What machines are told, kept until [`Say::end`].
    document: Arc<Mutex<Option<Value>>>,
}

impl Say {
    pub fn new(output: Output, quiet: bool, verbose: bool, no_color: bool) -> Self {
        if no_color {
            anstream::ColorChoice::Never.write_global();
        }
        let dumb = std::env::var_os("TERM").is_some_and(|t| t == "dumb");
        Self {
            output,
            quiet,
            verbose,
            live: std::io::stderr().is_terminal() && !dumb && !quiet && !no_color,
            document: Arc::default(),
        }
    }

    /// Data for people on stdout; nothing when machines asked.
    pub fn data(&self, text: &str) {
        if self.output == Output::Text {
            print(text);
        }
    }

    /// Data for machines on stdout when the command ends; nothing when people asked. What is told later, an error
    /// after a report of the work, adds its keys to the same document.
    pub fn json(&self, document: &impl Serialize) {
        if self.output != Output::Json {
            return;
        }
        let told = serde_json::to_value(document).unwrap_or_default();
        let mut kept = self.document();
        match (kept.as_mut(), told) {
            (Some(Value::Object(kept)), Value::Object(told)) => {
                for (key, value) in told {
                    kept.entry(key).or_insert(value);
                }
            }
            (_, told) => *kept = Some(told),
        }
    }

    /// The end of the command: prints the one document for machines.
    pub fn end(&self) {
        if let Some(document) = self.document().take() {
            print(&serde_json::to_string_pretty(&document).unwrap_or_default());
        }
    }

    fn document(&self) -> std::sync::MutexGuard<'_, Option<Value>> {
        self.document.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A file on stdout, in its own format whatever was asked for.
    pub fn file(&self, content: &[u8]) {
        print(String::from_utf8_lossy(content).trim_end_matches('\n'));
    }

    /// Conversation on stderr; silent with `--quiet`.
    pub fn tell(&self, text: &str) {
        if !self.quiet {
            complain(text);
        }
    }

    /// Conversation that `--quiet` does not silence.
    pub fn warn(&self, text: &str) {
        complain(text);
    }
}

/// A line on stdout. A reader that went away is no error: `gantry … | head` is fine.
fn print(text: &str) {
    let _ = writeln!(anstream::stdout(), "{text}");
}

/// A line on stderr.
pub(super) fn complain(text: &str) {
    let _ = writeln!(anstream::stderr(), "{text}");
}
