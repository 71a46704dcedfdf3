//! Errors at the edge: what happened, why, what to do next, and the exit code.

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme};
use serde_json::json;

use crate::cloud::Fault;
use crate::exit::Exit;
use crate::facts::FactsError;
use crate::journal::{JournalError, LockError};
use crate::ops::OpsFault;
use crate::ops::schedule::ScheduleFault;
use crate::runs::RunsError;
use crate::session::SessionError;
use crate::shell::ShellFault;
use crate::ui::{Output, Say};

/// Why a command failed.
#[derive(Debug)]
pub struct CliError {
    exit: Exit,
    message: String,
    causes: Vec<String>,
    help: Option<String>,
    diagnostic: Option<Box<dyn Diagnostic + Send + Sync>>,
}

impl CliError {
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            causes: vec![],
            help: None,
            diagnostic: None,
        }
    }

    /// A mistake on the command line.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// A mistake with places in a file to show.
    pub fn diagnostic(exit: Exit, diagnostic: impl Diagnostic + Send + Sync + 'static) -> Self {
        Self {
            diagnostic: Some(Box::new(diagnostic)),
            ..Self::new(exit, "")
        }
    }

    #[must_use]
    pub fn because(mut self, cause: impl Into<String>) -> Self {
        self.causes.push(cause.into());
        self
    }

    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into()).filter(|h| !h.is_empty());
        self
    }

    /// The exit code, and the message with its causes in one line: for records.
    pub fn brief(&self) -> (Exit, String) {
        let mut text = match &self.diagnostic {
            Some(diagnostic) => diagnostic.to_string(),
            None => self.message.clone(),
        };
        for cause in &self.causes {
            text.push_str(&format!(", because {cause}"));
        }
        (self.exit, text)
    }

    /// Says it on stderr (and as JSON on stdout when machines asked), and gives the exit code.
    pub fn report(&self, say: &Say) -> Exit {
        let text = self.text();
        say.warn(text.trim_end());
        if say.output == Output::Json {
            let message = if self.diagnostic.is_some() {
                text
            } else {
                self.message.clone()
            };
            let error = json!({"message": message, "causes": self.causes, "help": self.help});
            say.json(&json!({"format": 1, "error": error, "exit": self.exit as u8}));
        }
        self.exit
    }

    fn text(&self) -> String {
        if let Some(diagnostic) = &self.diagnostic {
            let mut text = String::new();
            let handler = GraphicalReportHandler::new_themed(theme()).with_width(100);
            // Writing into a string cannot fail.
            let _ = handler.render_report(&mut text, diagnostic.as_ref());
            return text;
        }
        let mut text = format!("error: {}", self.message);
        for cause in &self.causes {
            text.push_str(&format!("\n  because {cause}"));
        }
        if let Some(help) = &self.help {
            text.push_str(&format!("\n\nhint: {help}"));
        }
        text
    }
}

fn theme() -> GraphicalTheme {
    use std::io::IsTerminal;
    let plain = anstream::ColorChoice::global() == anstream::ColorChoice::Never
        || !std::io::stderr().is_terminal();
    if plain {
        GraphicalTheme::unicode_nocolor()
    } else {
        GraphicalTheme::unicode()
    }
}

impl From<Fault> for CliError {
    fn from(fault: Fault) -> Self {
        let exit = if matches!(fault, Fault::Internal { .. }) {
            Exit::Unexpected
        } else {
            Exit::Cloud
        };
        let help = fault.help();
        Self::new(exit, fault.to_string()).help(help)
    }
}

impl From<FactsError> for CliError {
    fn from(error: FactsError) -> Self {
        match error {
            FactsError::Aws(fault) => fault.into(),
            other => {
                let help = other.help().map(|h| h.to_string()).unwrap_or_default();
                Self::new(Exit::Cloud, other.to_string()).help(help)
            }
        }
    }
}

impl From<JournalError> for CliError {
    fn from(error: JournalError) -> Self {
        Self::new(Exit::Unexpected, error.to_string()).help(
            "if the journal is damaged, `gantry state rebuild` makes a new one from the tags in AWS and keeps the old file",
        )
    }
}

impl From<LockError> for CliError {
    fn from(error: LockError) -> Self {
        match error {
            LockError::Held(held) => Self::new(Exit::Locked, held.to_string())
                .help("wait until it has ended, or stop it with Ctrl-C there: it can be resumed"),
            LockError::Io { .. } => Self::new(Exit::Unexpected, error.to_string()),
        }
    }
}

impl From<RunsError> for CliError {
    fn from(error: RunsError) -> Self {
        match &error {
            RunsError::Unknown(_) => {
                Self::usage(error.to_string()).help("`gantry runs list` shows the runs there are")
            }
            _ => Self::new(Exit::Unexpected, error.to_string()),
        }
    }
}

impl From<SessionError> for CliError {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Cloud(fault) => fault.into(),
            SessionError::Facts(error) => error.into(),
            SessionError::Journal(error) => error.into(),
            SessionError::WrongPlace(_) => Self::new(Exit::Cloud, error.to_string()).help(
                "nothing was changed. Check AWS_PROFILE and AWS_REGION, and the [site] section of the site file",
            ),
            SessionError::NeedsWord(ref refused) => {
                let flags: Vec<_> = refused.iter().map(|r| format!("--replace {}", r.address)).collect();
                Self::usage(error.to_string())
                    .help(format!("make a backup first; then allow it with {}", flags.join(" ")))
            }
            SessionError::Impossible(_) => Self::usage(error.to_string())
                .help("change the site file; `gantry plan` shows what differs"),
            SessionError::Stale(_) => Self::usage(error.to_string())
                .help("make a new one with `gantry plan --save FILE`, read it, and install that"),
            SessionError::Render(error) => Self::diagnostic(Exit::Unexpected, error),
            SessionError::Bundle(error) => Self::new(Exit::Unexpected, error.to_string())
                .help("this is a mistake in gantry; `gantry render` shows the files"),
            SessionError::Contradiction(_) => Self::new(Exit::Usage, error.to_string())
                .help("the site file asks for something gantry refuses to build; see the names above"),
        }
    }
}

impl From<ShellFault> for CliError {
    fn from(fault: ShellFault) -> Self {
        let help = fault.help();
        let error = Self::new(Exit::Host, fault.to_string());
        if help.is_empty() {
            error
        } else {
            error.help(help)
        }
    }
}

impl From<OpsFault> for CliError {
    fn from(fault: OpsFault) -> Self {
        let exit = match fault {
            OpsFault::Cloud(fault) => return fault.into(),
            OpsFault::Host(fault) => return fault.into(),
            OpsFault::Session(error) => return error.into(),
            OpsFault::Ledger(_) => Exit::Unexpected,
            OpsFault::Check { .. } => Exit::Check,
            OpsFault::Refused { .. } => Exit::Usage,
        };
        Self::new(exit, fault.to_string()).help(fault.help())
    }
}

/// The exit code of a stage that failed. A check that says no is `checked`: some verbs look at machines, some at what
/// was saved.
pub fn exit_of(fault: &OpsFault, checked: Exit) -> Exit {
    match fault {
        OpsFault::Cloud(_) | OpsFault::Session(_) => Exit::Cloud,
        OpsFault::Host(_) => Exit::Host,
        OpsFault::Check { .. } | OpsFault::Refused { .. } => checked,
        OpsFault::Ledger(_) => Exit::Unexpected,
    }
}

impl From<ScheduleFault> for CliError {
    fn from(fault: ScheduleFault) -> Self {
        match fault {
            ScheduleFault::Lock(error) => error.into(),
            ScheduleFault::Record(_) => Self::new(Exit::Unexpected, fault.to_string()).help(
                "if the file is damaged, move it away: the records begin anew, and nothing else is lost",
            ),
        }
    }
}
