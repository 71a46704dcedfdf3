//! Questions, asked only of people.

use std::fmt::Display;
use std::io::IsTerminal;
use std::str::FromStr;

use super::say::complain;

/// What came of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Yes,
    No,
    /// Nobody is there to answer: stdin is not a terminal.
    Nobody,
}

/// A yes-or-no question; anything but a clear yes is no.
pub fn ask_yes(question: &str) -> Answer {
    match line(&format!("{question} [y/N]")) {
        None => Answer::Nobody,
        Some(text) if matches!(text.to_lowercase().as_str(), "y" | "yes") => Answer::Yes,
        Some(_) => Answer::No,
    }
}

/// Asks for a name to be typed, as a guard before destruction.
pub fn ask_name(question: &str, name: &str) -> Answer {
    match line(question) {
        None => Answer::Nobody,
        Some(text) if text == name => Answer::Yes,
        Some(_) => Answer::No,
    }
}

/// Asks until what is typed makes sense; an empty line takes what is usual. None when nobody is there to answer.
pub fn ask<T>(question: &str, usual: Option<&str>) -> Option<T>
where
    T: FromStr,
    T::Err: Display,
{
    let question = match usual {
        Some(usual) => format!("{question} [{usual}]"),
        None => question.to_owned(),
    };
    loop {
        let typed = line(&question)?;
        let text = match usual {
            Some(usual) if typed.is_empty() => usual,
            _ => &typed,
        };
        match text.parse() {
            Ok(value) => return Some(value),
            Err(complaint) => complain(&complaint.to_string()),
        }
    }
}

fn line(question: &str) -> Option<String> {
    if !std::io::stdin().is_terminal() {
        return None;
    }
    complain(question);
    let mut text = String::new();
    // At the end of the input nobody is there any more.
    let read = std::io::stdin().read_line(&mut text).ok()?;
    (read > 0).then(|| text.trim().to_owned())
}
