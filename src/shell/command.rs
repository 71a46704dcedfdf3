//! What to run: words, never a line put together by hand.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use super::output::{Keep, Observer};

/// How long a command may run when nobody says otherwise.
const LIMIT: Duration = Duration::from_mins(10);

/// What a command gets between being asked to end and being killed.
pub(super) const MERCY: Duration = Duration::from_secs(5);

/// One word for a POSIX shell, so that the shell reads exactly this text. A NUL byte has no way through; see
/// [`Command::line`].
pub fn quote(word: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_@%+=:,./-".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        Cow::Borrowed(word)
    } else {
        Cow::Owned(format!("'{}'", word.replace('\'', r"'\''")))
    }
}

/// As whom a command runs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum As {
    /// The user who logged in.
    Login,
    /// root, through `sudo`.
    Root,
    /// Somebody else, through `sudo`.
    User(String),
}

/// A command with its arguments, surroundings and limits.
#[derive(Clone)]
pub struct Command {
    words: Vec<String>,
    title: Option<String>,
    env: Vec<(String, String)>,
    input: Arc<Zeroizing<Vec<u8>>>,
    limit: Duration,
    user: As,
    pub(super) keep: Keep,
    pub(super) observer: Option<Arc<dyn Observer>>,
}

impl Command {
    /// A program, found on the host's path.
    pub fn new(program: impl Into<String>) -> Self {
        Self {
            words: vec![program.into()],
            title: None,
            env: Vec::new(),
            input: Arc::default(),
            limit: LIMIT,
            user: As::Login,
            keep: Keep::default(),
            observer: None,
        }
    }

    /// A script for `sh`, known to people under a title. Arguments follow as `$1`, `$2`, …
    pub fn script(title: impl Into<String>, script: impl Into<String>) -> Self {
        let mut command = Self::new("sh");
        command.title = Some(title.into());
        command.args(["-c".to_owned(), script.into(), "sh".to_owned()])
    }

    #[must_use]
    pub fn arg(mut self, word: impl Into<String>) -> Self {
        self.words.push(word.into());
        self
    }

    #[must_use]
    pub fn args<W: Into<String>>(mut self, words: impl IntoIterator<Item = W>) -> Self {
        self.words.extend(words.into_iter().map(Into::into));
        self
    }

    /// Sets a variable. Others on the host can see it while the command runs: secrets go through [`Command::stdin`].
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// What the command reads; without it, an empty input.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Arc::new(Zeroizing::new(bytes.into()));
        self
    }

    /// How long it may run. After that the host asks it to end, and kills it five seconds later.
    #[must_use]
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.limit = limit.max(Duration::from_millis(1));
        self
    }

    /// As whom it runs.
    #[must_use]
    pub fn as_user(mut self, user: As) -> Self {
        self.user = user;
        self
    }

    /// As root.
    #[must_use]
    pub fn sudo(self) -> Self {
        self.as_user(As::Root)
    }

    /// How many bytes of each stream to remember, from the beginning and from the end.
    #[must_use]
    pub fn keep(mut self, head: usize, tail: usize) -> Self {
        self.keep = Keep { head, tail };
        self
    }

    /// Who is told each line as it comes.
    #[must_use]
    pub fn observe(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = Some(observer);
        self
    }

    pub fn limit(&self) -> Duration {
        self.limit
    }

    pub fn user(&self) -> &As {
        &self.user
    }

    /// Its program and arguments.
    pub fn words(&self) -> &[String] {
        &self.words
    }

    /// What it reads.
    pub fn input(&self) -> Arc<Zeroizing<Vec<u8>>> {
        Arc::clone(&self.input)
    }

    /// The command as people would write it; a script by its title. Neither variables nor input are in it.
    pub fn title(&self) -> String {
        self.title.clone().unwrap_or_else(|| self.said())
    }

    /// All its words, quoted.
    pub(super) fn said(&self) -> String {
        let words: Vec<_> = self.words.iter().map(|w| quote(w)).collect();
        words.join(" ")
    }

    /// Whether it can be said at all: a command line cannot carry a NUL byte.
    pub(super) fn sayable(&self) -> bool {
        let variables = self.env.iter().flat_map(|(name, value)| [name, value]);
        !self.words.iter().chain(variables).any(|w| w.contains('\0'))
    }

    /// The line for the host's shell.
    ///
    /// The host itself ends a command that takes too long, by coreutils' `timeout`: a closed SSH channel alone ends
    /// nothing, and a cut line could not carry the wish. `exec` leaves no shell in between, so that a signal that
    /// ended the command is reported as one.
    pub fn line(&self) -> String {
        let mut line = "exec ".to_owned();
        match &self.user {
            As::Login => {}
            As::Root => line += "sudo -n -H -- ",
            As::User(user) => line += &format!("sudo -n -H -u {} -- ", quote(user)),
        }
        if !self.env.is_empty() {
            line += "env ";
            for (name, value) in &self.env {
                line += &format!("{} ", quote(&format!("{name}={value}")));
            }
        }
        line + &format!(
            "timeout -k {} {} {}",
            MERCY.as_secs(),
            self.limit.as_secs_f64(),
            self.said()
        )
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.env.iter().map(|(name, _)| name).collect();
        f.debug_struct("Command")
            .field("words", &self.words)
            .field("env", &names)
            .field("stdin", &format_args!("{} bytes", self.input.len()))
            .field("limit", &self.limit)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a real `sh` makes of the words.
    fn read_by_sh(words: &[String]) -> Vec<String> {
        let quoted: Vec<_> = words.iter().map(|w| quote(w)).collect();
        let out = std::process::Command::new("sh")
            .arg("-c")
            .arg(format!("printf '%s\\0' {}", quoted.join(" ")))
            .output()
            .unwrap();
        assert!(out.status.success(), "{out:?}");
        let text = String::from_utf8(out.stdout).unwrap();
        let mut read: Vec<_> = text.split('\0').map(ToOwned::to_owned).collect();
        assert_eq!(read.pop().as_deref(), Some(""));
        read
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]
        #[test]
        fn sh_reads_back_what_was_quoted(
            words in prop::collection::vec("[^\0]{0,12}|[ '\"\\\\$`!*?~#&|;<>(){}\n\t=-]{0,8}", 1..6)
        ) {
            prop_assert_eq!(read_by_sh(&words), words);
        }
    }

    #[test]
    fn every_single_byte_survives() {
        let words: Vec<_> = (1..=255u8).map(|b| char::from(b).to_string()).collect();
        assert_eq!(read_by_sh(&words), words);
    }

    #[test]
    fn plain_words_stay_readable() {
        assert_eq!(quote("--level=3"), "--level=3");
        assert_eq!(quote(""), "''");
        assert_eq!(quote("it's"), r"'it'\''s'");
        assert_eq!(quote("~"), "'~'");
    }

    #[test]
    fn the_line_has_user_variables_limit_and_words() {
        let command = Command::new("gitlab-rake")
            .arg("a b")
            .env("SKIP", "x y")
            .timeout(Duration::from_millis(1500))
            .as_user(As::User("git".into()));
        assert_eq!(
            command.line(),
            "exec sudo -n -H -u git -- env 'SKIP=x y' timeout -k 5 1.5 gitlab-rake 'a b'"
        );
        assert_eq!(command.title(), "gitlab-rake 'a b'");
    }

    #[test]
    fn debug_shows_neither_input_nor_values() {
        let command = Command::new("tee").env("NAME", "value-x").stdin("hunter2");
        let shown = format!("{command:?}");
        assert!(
            !shown.contains("hunter2") && !shown.contains("value-x"),
            "{shown}"
        );
        assert!(
            shown.contains("NAME") && shown.contains("7 bytes"),
            "{shown}"
        );
    }

    #[test]
    fn a_nul_byte_cannot_be_said() {
        assert!(!Command::new("a").arg("b\0c").sayable());
        assert!(Command::new("a").arg("b").sayable());
    }
}
