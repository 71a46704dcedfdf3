//! Speed as counts and ratios, so that the numbers mean the same on any machine.
//!
//! `cargo bench` prints a table: for every profile the cloud time of an install against the longest chain of its
//! graph, and the calls it takes; for ha-50k the processor time and memory of a plan; the start-up of `--help`.
//! A number over its limit is marked and the bench ends with an error.

// A table on stdout is what a benchmark is for, and a panic is its way to fail.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::process::Command;
use std::time::{Duration, Instant};

use gantry::engine::{Event, Stop};
use gantry::profile::ProfileName;
use gantry::session::Collected;

#[allow(dead_code, reason = "shared with the tests, which use more of it")]
#[path = "../tests/it/support/stage.rs"]
mod stage;

use stage::Stage;

fn main() {
    let mut within = true;
    println!(
        "{:<12} {:>9} {:>12} {:>12} {:>7} {:>7} {:>7}",
        "PROFILE", "RESOURCES", "INSTALL", "CHAIN", "RATIO", "CALLS", "PLAN"
    );
    for profile in ProfileName::ALL {
        within &= install(profile);
    }
    within &= plan_of_the_largest();
    within &= start_up();
    std::process::exit(i32::from(!within));
}

fn paused() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime")
}

/// Cloud time against the longest chain of usual times: at most 1.10.
fn install(profile: ProfileName) -> bool {
    paused().block_on(async {
        let stage = Stage::new(profile);
        let heard = Collected::default();
        let began = stage.sandbox.clock().now();
        let report = stage
            .try_install(&Stop::default(), &heard.observer())
            .await
            .expect("an install");
        assert!(report.complete(), "the install completed");
        let took = stage.sandbox.clock().since(began);
        let chain = heard
            .events()
            .iter()
            .find_map(|e| {
                if let Event::Planned { critical, .. } = e {
                    Some(*critical)
                } else {
                    None
                }
            })
            .unwrap_or_default();
        let calls = stage.sandbox.log().len();
        stage.sandbox.clear_log();
        let reading = stage.read().await;
        let plan = stage.sandbox.log().len();
        let ratio = took.as_secs_f64() / chain.as_secs_f64();
        println!(
            "{:<12} {:>9} {:>10.0} s {:>10.0} s {:>7.3} {:>7} {:>7}{}",
            profile.to_string(),
            reading.blueprint.len(),
            took.as_secs_f64(),
            chain.as_secs_f64(),
            ratio,
            calls,
            plan,
            mark(ratio <= 1.10)
        );
        ratio <= 1.10
    })
}

/// Processor time of one plan of ha-50k, and the peak memory of this process after it.
fn plan_of_the_largest() -> bool {
    paused().block_on(async {
        let stage = Stage::new(ProfileName::Ha50k);
        stage
            .try_install(&Stop::default(), &gantry::session::silent())
            .await
            .expect("an install");
        let before = processor_time();
        let reading = stage.read().await;
        let spent = processor_time().checked_sub(before).unwrap();
        assert!(reading.plan.is_empty());
        let memory = peak_megabytes();
        println!(
            "\nplan of ha-50k: {:.3} s of processor time{}",
            spent.as_secs_f64(),
            mark(spent.as_secs_f64() <= 0.5)
        );
        println!(
            "peak memory, sandbox included: {memory} MB{}",
            mark(memory <= 100)
        );
        spent.as_secs_f64() <= 0.5 && memory <= 100
    })
}

/// The median start-up of `gantry --help`.
fn start_up() -> bool {
    let binary = env!("CARGO_BIN_EXE_gantry");
    let mut times: Vec<Duration> = (0..21)
        .map(|_| {
            let began = Instant::now();
            let output = Command::new(binary)
                .arg("--help")
                .output()
                .expect("gantry runs");
            assert!(output.status.success());
            began.elapsed()
        })
        .collect();
    times.sort();
    let median = times[times.len() / 2];
    println!(
        "start-up of --help: {:.1} ms{}",
        median.as_secs_f64() * 1e3,
        mark(median <= Duration::from_millis(30))
    );
    median <= Duration::from_millis(30)
}

fn mark(good: bool) -> &'static str {
    if good { "" } else { "   OVER ITS LIMIT" }
}

fn processor_time() -> Duration {
    // Fields 14 and 15: user and system time in clock ticks of 1/100 s.
    let stat = std::fs::read_to_string("/proc/self/stat").expect("/proc");
    let after = stat.rsplit(')').next().unwrap_or_default();
    let fields: Vec<u64> = after
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|f| f.parse().unwrap_or(0))
        .collect();
    Duration::from_millis(fields.iter().sum::<u64>() * 10)
}

fn peak_megabytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc");
    let line = status
        .lines()
        .find(|l| l.starts_with("VmHWM"))
        .unwrap_or_default();
    line.split_whitespace()
        .nth(1)
        .and_then(|n| n.parse::<u64>().ok())
        .unwrap_or(0)
        / 1024
}
