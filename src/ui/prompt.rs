//! Questions, asked only of people.

use std::io::IsTerminal;

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

fn line(question: &str) -> Option<String> {
    if !std::io::stdin().is_terminal() {
        return None;
    }
    complain(question);
    let mut text = String::new();
    std::io::stdin().read_line(&mut text).ok()?;
    Some(text.trim().to_owned())
}
