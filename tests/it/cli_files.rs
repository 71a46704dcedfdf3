//! Verbs that print a file for another program: shells, manuals, editors.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use crate::support::command::Place;

#[test]
fn completions_are_scripts_that_bash_understands() {
    let place = Place::new();
    let script = place.ok("completions bash").out;
    assert!(script.contains("preflight") && script.contains("--dry-run"));
    let file = place.file("gantry.bash");
    std::fs::write(&file, script).unwrap();
    let checked = Command::new("bash").arg("-n").arg(&file).status().unwrap();
    assert!(checked.success());
    for shell in ["zsh", "fish", "elvish", "powershell"] {
        let script = place.ok(&format!("completions {shell}")).out;
        assert!(script.contains("preflight"), "{shell}");
    }
    assert_eq!(place.run("completions cobol").code, 2);
}

#[test]
fn every_verb_has_a_manual_page() {
    let place = Place::new();
    place.ok("man --out pages");
    let help = place.ok("--help").out;
    let verbs = help
        .lines()
        .skip_while(|line| !line.starts_with("Commands:"))
        .skip(1)
        .take_while(|line| line.starts_with("  "))
        // What a verb does goes on below it, further in.
        .filter(|line| !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|verb| *verb != "help");
    let mut seen = 0;
    for verb in verbs {
        let page = place.file(&format!("pages/gantry-{verb}.1"));
        let text = std::fs::read_to_string(&page).unwrap_or_else(|e| panic!("{verb}: {e}"));
        assert!(text.contains(".TH"), "{verb}");
        seen += 1;
    }
    assert!(seen > 20, "{seen} verbs: {help}");
    assert!(place.ok("man").out.contains(".TH gantry 1"));
}

/// As `| head -1` does.
#[test]
fn a_reader_who_has_enough_is_no_failure() {
    let place = Place::new();
    for line in [
        "completions bash",
        "man",
        "schema",
        "profiles show ha-50k --output json",
    ] {
        let mut child = place
            .command(line)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut first = String::new();
        let mut out = BufReader::with_capacity(16, child.stdout.take().unwrap());
        out.read_line(&mut first).unwrap();
        drop(out);
        let ended = child.wait_with_output().unwrap();
        let err = String::from_utf8_lossy(&ended.stderr);
        assert_eq!((ended.status.code(), err.as_ref()), (Some(0), ""), "{line}");
    }
}
