//! How fast gantry sends a gibibyte to S3, against `aws s3 cp` of the same file to the same server in the same run.
//!
//! `cargo bench --bench transfer` starts a real S3 server on loopback and lets both send the file in turn, three times
//! each, as processes of their own; the fastest of each counts. A ratio below 1.0 ends with an error.

// A table on stdout is what a benchmark is for, and a panic is its way to fail.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use gantry::clock::Clock;
use gantry::ops::transfer::{Overwrite, Place};

#[allow(dead_code, reason = "shared with the tests, which use more of it")]
#[path = "../tests/it/moto/python.rs"]
mod python;
#[allow(dead_code, reason = "shared with the tests, which use more of it")]
#[path = "../tests/it/transfer/server.rs"]
mod server;

use server::{ACCESS_KEY, BUCKET, REGION, SECRET_KEY, Server, noise, transfer};

const ROUNDS: usize = 3;
const SIZE: u64 = 1 << 30;

/// What the other process of this binary sends; its presence says that this is the other process.
const SOURCE: &str = "GANTRY_BENCH_SOURCE";

fn main() {
    if let Some(source) = std::env::var_os(SOURCE) {
        return send(Path::new(&source));
    }
    let aws = python::environment("awscli").join("bin/aws");
    let server = Server::start();
    let home = tempfile::tempdir().unwrap();
    let source = home.path().join("source");
    let mut file = std::fs::File::create(&source).unwrap();
    for seed in 0..SIZE >> 22 {
        file.write_all(&noise(seed + 1, 1 << 22)).unwrap();
    }
    drop(file);
    let (mut ours, mut theirs) = (vec![], vec![]);
    for _ in 0..ROUNDS {
        let mut own = Command::new(std::env::current_exe().unwrap());
        own.env_clear().env(SOURCE, &source);
        ours.push(took(own, &server));
        let mut cli = Command::new(&aws);
        cli.env_clear()
            .env("HOME", home.path())
            .env("PATH", "/usr/bin:/bin")
            .args(["s3", "cp", "--only-show-errors"])
            .arg(&source)
            .arg(format!("s3://{BUCKET}/aws"));
        theirs.push(took(cli, &server));
    }
    let (ours, theirs) = (*ours.iter().min().unwrap(), *theirs.iter().min().unwrap());
    let ratio = theirs.as_secs_f64() / ours.as_secs_f64();
    println!("{:<12} {:>8} {:>12}", "WHO", "TIME", "THROUGHPUT");
    for (who, time) in [("gantry", ours), ("aws s3 cp", theirs)] {
        let rate = 1024.0 / time.as_secs_f64();
        println!("{who:<12} {:>6.2} s {rate:>6.0} MiB/s", time.as_secs_f64());
    }
    println!(
        "\nratio of throughputs: {ratio:.2}{}",
        if ratio >= 1.0 {
            ""
        } else {
            "   OVER ITS LIMIT"
        }
    );
    // `exit` drops nothing, and these are gibibytes on disk.
    drop(server);
    drop(home);
    std::process::exit(i32::from(ratio < 1.0));
}

/// How long it takes from its start to its end.
fn took(mut command: Command, server: &Server) -> Duration {
    command
        .env("AWS_ENDPOINT_URL", server.endpoint())
        .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        .env("AWS_DEFAULT_REGION", REGION)
        .env("AWS_EC2_METADATA_DISABLED", "true");
    let began = Instant::now();
    let status = command.status().unwrap();
    let time = began.elapsed();
    assert!(status.success(), "{command:?}: {status}");
    time
}

fn send(source: &Path) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let config = gantry::cloud::configuration(REGION).await;
        let stored = transfer(&config, Clock::System)
            .upload_file(source, &Place::new(BUCKET, "gantry"), Overwrite::Allowed)
            .await
            .unwrap();
        assert_eq!(stored.bytes, SIZE);
    });
}
