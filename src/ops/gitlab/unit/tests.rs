//! The scripts, run for real on this machine.

use std::fs;
use std::path::Path;

use super::*;
use crate::shell::Local;

/// A unit in a folder of the test's own, without sudo.
fn unit(folder: &Path, name: &str) -> Unit {
    Unit {
        folder: folder.join("units").to_str().unwrap().to_owned(),
        user: As::Login,
        ..Unit::new(name)
    }
}

fn here() -> Local {
    Local::new("here")
}

/// Looks until it has ended.
async fn ended(unit: &Unit) -> Progress {
    let wait = async {
        loop {
            match unit.watch(&here()).await.unwrap() {
                Progress::Running { .. } => {}
                progress => return progress,
            }
        }
    };
    tokio::time::timeout(Duration::from_mins(1), wait)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_command_runs_once_whoever_asks_again() {
    let folder = tempfile::tempdir().unwrap();
    let count = folder.path().join("count");
    let unit = unit(folder.path(), "backup-1");
    let job = Job::new([
        "sh",
        "-c",
        "echo ran >>\"$1\"; echo one; echo two >&2",
        "sh",
    ])
    .also(count.to_str().unwrap());
    assert_eq!(unit.watch(&here()).await.unwrap(), Progress::Absent);
    let (one, two, shell) = (unit.clone(), unit.clone(), here());
    let (one, two) = futures::join!(one.begin(&shell, &job), two.begin(&shell, &job));
    one.unwrap();
    two.unwrap();
    let Progress::Done { output } = ended(&unit).await else {
        panic!("it works")
    };
    assert_eq!(output, "one\ntwo\n");
    unit.begin(&here(), &job).await.unwrap();
    assert_eq!(ended(&unit).await, Progress::Done { output });
    assert_eq!(fs::read_to_string(&count).unwrap(), "ran\n");
    unit.forget(&here()).await.unwrap();
    unit.forget(&here()).await.unwrap();
    assert_eq!(unit.watch(&here()).await.unwrap(), Progress::Absent);
}

#[tokio::test]
async fn a_command_outlives_the_line_and_is_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let gate = folder.path().join("gate");
    rustix::fs::mkfifoat(
        rustix::fs::CWD,
        &gate,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
    )
    .unwrap();
    let unit = unit(folder.path(), "backup-1");
    // It waits until somebody opens the other end.
    let job = Job::new(["sh", "-c", "echo waiting; cat \"$1\"; exit 7", "sh"])
        .also(gate.to_str().unwrap());
    unit.begin(&here(), &job).await.unwrap();
    // The line and the process that began it are gone: everything is read anew.
    let again = unit.clone();
    again.begin(&here(), &job).await.unwrap();
    let seen = async {
        loop {
            let progress = again.watch(&here()).await.unwrap();
            if progress.last_lines() == ["waiting"] {
                return progress;
            }
        }
    };
    let progress = tokio::time::timeout(Duration::from_mins(1), seen)
        .await
        .unwrap();
    assert_eq!(
        progress,
        Progress::Running {
            last_line: "waiting".into()
        }
    );
    let fault = again.forget(&here()).await.unwrap_err();
    assert!(fault.to_string().contains("it still runs"), "{fault}");
    fs::write(&gate, "released\n").unwrap();
    assert_eq!(
        ended(&again).await,
        Progress::Failed {
            status: "exit code 7".into(),
            output: "waiting\nreleased\n".into()
        }
    );
}

#[tokio::test]
async fn a_command_that_was_killed_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let unit = unit(folder.path(), "restore-1");
    // It kills the shell that would write its exit code, and then itself.
    let job = Job::new(["sh", "-c", "echo begun; kill -9 $PPID $$"]);
    unit.begin(&here(), &job).await.unwrap();
    let Progress::Failed { status, output } = ended(&unit).await else {
        panic!("it was killed")
    };
    assert!(
        status.starts_with("it ended without an exit code"),
        "{status}"
    );
    assert_eq!(output, "begun\n");
    // Not begun again behind anybody's back.
    unit.begin(&here(), &job).await.unwrap();
    assert!(matches!(ended(&unit).await, Progress::Failed { .. }));
    unit.forget(&here()).await.unwrap();
}

#[tokio::test]
async fn a_beginning_that_was_cut_short_is_made_up_for() {
    let folder = tempfile::tempdir().unwrap();
    let unit = unit(folder.path(), "x");
    fs::create_dir_all(unit.path()).unwrap();
    fs::write(format!("{}/input.abc", unit.path()), "half").unwrap();
    assert_eq!(unit.watch(&here()).await.unwrap(), Progress::Absent);
    let job = Job::new(["cat"]).input(Secret::new("whole".into()));
    unit.begin(&here(), &job).await.unwrap();
    assert_eq!(
        ended(&unit).await,
        Progress::Done {
            output: "whole".into()
        }
    );
}

#[tokio::test]
async fn what_a_command_reads_is_not_left_behind() {
    let folder = tempfile::tempdir().unwrap();
    let unit = unit(folder.path(), "bring-1");
    let job = Job::new(["sh", "-c", "wc -c"]).input(Secret::new("correct horse".into()));
    unit.begin(&here(), &job).await.unwrap();
    assert_eq!(ended(&unit).await.last_lines(), ["13"]);
    let left: Vec<String> = fs::read_dir(unit.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("input"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(!format!("{job:?}").contains("horse"));
}

#[tokio::test]
async fn a_missing_program_is_a_failure_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let unit = unit(folder.path(), "x");
    unit.begin(&here(), &Job::new(["no-such-program"]))
        .await
        .unwrap();
    let progress = ended(&unit).await;
    assert!(
        matches!(&progress, Progress::Failed { status, .. } if status == "exit code 127"),
        "{progress:?}"
    );
    assert!(
        progress.last_lines()[0].contains("not found"),
        "{progress:?}"
    );
}

#[test]
fn names_stay_in_their_folder() {
    assert_eq!(Unit::new("..").path(), "/var/lib/gantry/units/unit-..");
    assert_eq!(Unit::new("a/../b c").name(), "a-..-b-c");
}

#[test]
fn the_last_lines_are_five_that_say_something() {
    let output = "1\n2\n\n3\n4\n5\n6\n\n";
    let progress = Progress::Failed {
        status: String::new(),
        output: output.into(),
    };
    assert_eq!(progress.last_lines(), ["2", "3", "4", "5", "6"]);
}
