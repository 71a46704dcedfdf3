//! What a command says, and how it ends.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::command::Command;
use super::fault::{Place, ShellFault};

/// A line longer than this is told in pieces.
const LONGEST_LINE: usize = 16 * 1024;

/// How much of a stream is remembered when nobody says otherwise: half from the beginning, half from the end.
const REMEMBERED: usize = 128 * 1024;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Out,
    Err,
}

/// One line of what a command says, without its end. Bytes that are no UTF-8 are replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    pub host: &'a str,
    pub stream: Stream,
    pub text: &'a str,
}

/// Told each line as it comes, from a thread of the shell's own: whoever takes long holds the command up.
pub trait Observer: Send + Sync {
    fn line(&self, line: Line<'_>);
}

impl<F: Fn(Line<'_>) + Send + Sync> Observer for F {
    fn line(&self, line: Line<'_>) {
        self(line);
    }
}

/// How much to remember, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Keep {
    pub head: usize,
    pub tail: usize,
}

impl Default for Keep {
    fn default() -> Self {
        Self {
            head: REMEMBERED / 2,
            tail: REMEMBERED / 2,
        }
    }
}

/// What is remembered of a stream: its beginning, its end, and how much was left out between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captured {
    keep: Keep,
    head: Vec<u8>,
    tail: VecDeque<u8>,
    left_out: u64,
}

impl Captured {
    pub(super) fn new(keep: Keep) -> Self {
        Self {
            keep,
            head: Vec::new(),
            tail: VecDeque::new(),
            left_out: 0,
        }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        let (first, rest) = bytes.split_at(
            bytes
                .len()
                .min(self.keep.head.saturating_sub(self.head.len())),
        );
        self.head.extend_from_slice(first);
        self.tail.extend(rest);
        let over = self.tail.len().saturating_sub(self.keep.tail);
        self.tail.drain(..over);
        self.left_out += over as u64;
    }

    /// How many bytes the command wrote.
    pub fn total(&self) -> u64 {
        self.head.len() as u64 + self.left_out + self.tail.len() as u64
    }

    /// How many of them are not remembered.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// All that was written, unless something was left out.
    pub fn whole(&self) -> Option<Vec<u8>> {
        (self.left_out == 0).then(|| [self.head.clone(), self.end()].concat())
    }

    /// The remembered beginning.
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// The remembered end.
    pub fn end(&self) -> Vec<u8> {
        self.tail.iter().copied().collect()
    }

    /// The text, with a line in the middle that says how much was left out.
    pub fn text(&self) -> String {
        match self.whole() {
            Some(all) => String::from_utf8_lossy(&all).into_owned(),
            None => format!(
                "{}\n[… {} bytes left out …]\n{}",
                String::from_utf8_lossy(&self.head),
                self.left_out,
                String::from_utf8_lossy(&self.end())
            ),
        }
    }

    /// The last line that is not blank; empty when there is none.
    pub fn last_line(&self) -> String {
        let end = if self.tail.is_empty() {
            self.head.clone()
        } else {
            self.end()
        };
        // A last line may begin in the head and end in the tail: with nothing left out, both are one text.
        let end = self.whole().unwrap_or(end);
        String::from_utf8_lossy(&end)
            .lines()
            .map(str::trim)
            .rfind(|line| !line.is_empty())
            .unwrap_or_default()
            .to_owned()
    }
}

impl Default for Captured {
    fn default() -> Self {
        Self::new(Keep::default())
    }
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// By itself, with this code.
    Code(i32),
    /// By a signal, named without `SIG`: `KILL`.
    Signal(String),
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(name) => write!(f, "signal {name}"),
        }
    }
}

/// A command that ran to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    pub status: Status,
    pub stdout: Captured,
    pub stderr: Captured,
    pub took: Duration,
}

impl Exit {
    /// The end of a command that a played host carries out: told to its observer and remembered like a real one.
    pub fn played(host: &str, command: &Command, status: Status, out: &[u8], err: &[u8]) -> Self {
        let told = |stream, bytes: &[u8]| {
            let mut sink = Sink::new(host, stream, command);
            sink.push(bytes);
            sink.finish();
            sink.captured
        };
        Self {
            status,
            stdout: told(Stream::Out, out),
            stderr: told(Stream::Err, err),
            took: Duration::ZERO,
        }
    }

    /// Whether it ended with code 0.
    pub fn ok(&self) -> bool {
        self.status == Status::Code(0)
    }

    /// The line that most likely says why it failed: the last of stderr, or else of stdout.
    pub fn last_line(&self) -> String {
        let line = self.stderr.last_line();
        if line.is_empty() {
            self.stdout.last_line()
        } else {
            line
        }
    }

    /// Itself when it ended with code 0, and otherwise a fault.
    pub fn success(self, at: Place, command: &Command) -> Result<Self, ShellFault> {
        if self.ok() {
            return Ok(self);
        }
        Err(ShellFault::Failed {
            at: Box::new(at),
            command: command.title(),
            last: self.last_line(),
            status: self.status,
        })
    }

    /// Whether this is what a command looks like that the host ended because its time was over.
    pub(super) fn ran_out(&self, limit: Duration) -> bool {
        // 124 is said by `timeout`; 137 and KILL are what is left when it had to kill.
        let killed = matches!(&self.status, Status::Code(124 | 137))
            || self.status == Status::Signal("KILL".into());
        killed && self.took >= limit
    }
}

/// Takes what a command writes: remembers part of it and tells the lines.
pub(super) struct Sink {
    host: String,
    stream: Stream,
    observer: Option<Arc<dyn Observer>>,
    unfinished: Vec<u8>,
    pub captured: Captured,
}

impl Sink {
    pub fn new(host: &str, stream: Stream, command: &Command) -> Self {
        Self {
            host: host.to_owned(),
            stream,
            observer: command.observer.clone(),
            unfinished: Vec::new(),
            captured: Captured::new(command.keep),
        }
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.captured.push(bytes);
        if self.observer.is_none() {
            return;
        }
        let mut rest = bytes;
        while let Some(at) = rest.iter().position(|b| *b == b'\n') {
            self.unfinished.extend_from_slice(&rest[..at]);
            self.tell();
            rest = &rest[at + 1..];
        }
        for piece in rest.chunks(LONGEST_LINE) {
            self.unfinished.extend_from_slice(piece);
            if self.unfinished.len() >= LONGEST_LINE {
                self.tell();
            }
        }
    }

    /// Tells a last line that has no end.
    pub fn finish(&mut self) {
        if !self.unfinished.is_empty() {
            self.tell();
        }
    }

    fn tell(&mut self) {
        let line = std::mem::take(&mut self.unfinished);
        let line = line.strip_suffix(b"\r").unwrap_or(&line);
        if let Some(observer) = &self.observer {
            observer.line(Line {
                host: &self.host,
                stream: self.stream,
                text: &String::from_utf8_lossy(line),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn head_and_tail_are_remembered_and_the_middle_counted() {
        let mut captured = Captured::new(Keep { head: 4, tail: 3 });
        for byte in 0..100u8 {
            captured.push(&[byte]);
        }
        assert_eq!(captured.head(), [0, 1, 2, 3]);
        assert_eq!(captured.end(), [97, 98, 99]);
        assert_eq!((captured.total(), captured.left_out()), (100, 93));
        assert_eq!(captured.whole(), None);
        assert!(captured.text().contains("93 bytes left out"));
    }

    #[test]
    fn one_large_piece_is_cut_like_many_small_ones() {
        let bytes: Vec<u8> = (0..200u8).collect();
        let mut captured = Captured::new(Keep { head: 7, tail: 9 });
        captured.push(&bytes);
        assert_eq!(captured.head(), &bytes[..7]);
        assert_eq!(captured.end(), &bytes[191..]);
        assert_eq!(captured.left_out(), 184);
    }

    #[test]
    fn memory_stays_within_what_is_kept() {
        let mut captured = Captured::default();
        let piece = vec![b'x'; 1 << 20];
        for _ in 0..64 {
            captured.push(&piece);
        }
        assert_eq!(captured.total(), 64 << 20);
        assert_eq!(captured.head().len() + captured.end().len(), REMEMBERED);
    }

    #[test]
    fn the_last_line_may_lie_across_head_and_tail() {
        let mut captured = Captured::new(Keep { head: 8, tail: 8 });
        captured.push(b"one\ntwo three\n\n");
        assert_eq!(captured.last_line(), "two three");
        assert_eq!(Captured::default().last_line(), "");
    }

    #[test]
    fn lines_are_told_whole_whatever_the_pieces() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&told);
        let command = Command::new("x").observe(Arc::new(move |line: Line<'_>| {
            into.lock().unwrap().push(line.text.to_owned());
        }));
        let mut sink = Sink::new("box", Stream::Out, &command);
        for piece in ["on", "e\r\ntwo\n", "\nthr", "ee"] {
            sink.push(piece.as_bytes());
        }
        assert_eq!(*told.lock().unwrap(), ["one", "two", ""]);
        sink.finish();
        sink.finish();
        assert_eq!(told.lock().unwrap().last().unwrap(), "three");
        assert_eq!(told.lock().unwrap().len(), 4);
    }

    #[test]
    fn a_line_without_end_is_told_in_pieces() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&told);
        let command = Command::new("x").observe(Arc::new(move |line: Line<'_>| {
            into.lock().unwrap().push(line.text.len());
        }));
        let mut sink = Sink::new("box", Stream::Out, &command);
        sink.push(&vec![b'x'; 3 * LONGEST_LINE + 1]);
        sink.finish();
        assert_eq!(
            told.lock().unwrap().iter().sum::<usize>(),
            3 * LONGEST_LINE + 1
        );
        assert_eq!(told.lock().unwrap().len(), 4);
    }

    #[test]
    fn only_a_late_end_by_timeout_is_out_of_time() {
        let exit = |status, took| Exit {
            status,
            stdout: Captured::default(),
            stderr: Captured::default(),
            took: Duration::from_secs(took),
        };
        let limit = Duration::from_secs(10);
        assert!(exit(Status::Code(124), 11).ran_out(limit));
        assert!(exit(Status::Signal("KILL".into()), 15).ran_out(limit));
        assert!(!exit(Status::Code(124), 3).ran_out(limit));
        assert!(!exit(Status::Code(1), 11).ran_out(limit));
    }
}
