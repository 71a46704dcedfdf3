//! Verbs that print a file for another program: shells, manuals, editors.

use std::io::{BufRead as _, BufReader, Write as _};
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

#[test]
fn init_asks_for_what_no_flag_says_and_asks_again_for_what_it_does_not_understand() {
    let place = Place::new();
    // `script` gives gantry a terminal to ask on.
    let mut child = Command::new("script")
        .args(["--quiet", "--return", "--command"])
        .arg(format!(
            "'{}' init --region eu-west-1",
            env!("CARGO_BIN_EXE_gantry")
        ))
        .arg("/dev/null")
        .current_dir(place.path())
        .env_clear()
        .env("HOME", place.path())
        .env("PATH", "/usr/bin:/bin")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut answers = child.stdin.take().unwrap();
    // A question more would meet the end of the input.
    answers
        .write_all(b"enormous\nha-5k\ngitlab.example.com\n\n\x04")
        .unwrap();
    let output = child.wait_with_output().unwrap();
    drop(answers);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert_eq!(said.matches("How large?").count(), 2, "{said}");
    assert!(
        said.matches("enormous").count() >= 2,
        "the complaint names it: {said}"
    );
    let site = std::fs::read_to_string(place.file("gantry.toml")).unwrap();
    for line in [
        "name = \"gitlab-example\"",
        "domain = \"gitlab.example.com\"",
        "region = \"eu-west-1\"",
        "profile = \"ha-5k\"",
    ] {
        assert!(site.contains(line), "{line} is missing in:\n{site}");
    }
    // Nobody is there to ask: the flag is named.
    let alone = Place::new();
    let refused = alone.run("init --domain gitlab.example.com");
    assert_eq!(refused.code, 2, "{}", refused.err);
    assert!(refused.err.contains("--profile"), "{}", refused.err);
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
