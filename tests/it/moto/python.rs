//! The Python environments that moto and boto3, and the AWS CLI, live in; each made once for each version of its
//! `requirements.txt`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use serde_json::Value;
use sha2::{Digest, Sha256};

/// A file of `tests/support/moto`.
pub fn support(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/support/moto")
        .join(name)
}

/// An interpreter that knows moto and boto3.
#[derive(Debug, Clone)]
pub struct Python(PathBuf);

impl Python {
    /// The environment, made now if this is the first test that needs it.
    pub fn get() -> &'static Self {
        static PYTHON: OnceLock<Python> = OnceLock::new();
        PYTHON.get_or_init(|| Self(environment("moto").join("bin/python")))
    }

    /// A command that runs one of our scripts, in an empty environment.
    pub fn script(&self, name: &str) -> Command {
        let mut command = Command::new(&self.0);
        command
            .arg(support(name))
            .env_clear()
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("AWS_EC2_METADATA_DISABLED", "true");
        command
    }

    /// Runs a script to its end; it prints one JSON document.
    pub fn json(&self, name: &str, args: &[&str]) -> Value {
        let output = self.script(name).args(args).output().unwrap();
        let printed = check(&format!("{name} {}", args.join(" ")), &output);
        serde_json::from_str(&printed)
            .unwrap_or_else(|e| panic!("{name} printed no JSON: {e}: {printed}"))
    }
}

/// Where environments are kept: `GANTRY_TEST_CACHE`, or beside the build.
fn cache() -> PathBuf {
    let beside_build = || {
        let exe = std::env::current_exe().unwrap();
        // target/debug/deps/it-0123456789abcdef
        exe.ancestors().nth(3).unwrap().to_owned()
    };
    std::env::var_os("GANTRY_TEST_CACHE").map_or_else(beside_build, PathBuf::from)
}

/// The folder of the environment for `tests/support/<what>/requirements.txt`. Several test binaries may want it at
/// once: the first makes it, under a lock.
pub fn environment(what: &str) -> PathBuf {
    let requirements = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/support")
        .join(what)
        .join("requirements.txt");
    let wanted = fs::read(&requirements).unwrap();
    let hash: String = Sha256::digest(&wanted)
        .iter()
        .take(6)
        .map(|b| format!("{b:02x}"))
        .collect();
    let cache = cache();
    fs::create_dir_all(&cache).unwrap();
    let folder = cache.join(format!("{what}-venv-{hash}"));
    let lock = File::create(cache.join(format!("{what}-venv.lock"))).unwrap();
    lock.lock().unwrap();
    let complete = folder.join("complete");
    if !complete.exists() {
        // What a killed attempt left is of no use.
        let _ = fs::remove_dir_all(&folder);
        let folder_word = folder.to_str().unwrap();
        run(
            "making a Python environment",
            "python3",
            &["-m", "venv", folder_word],
        );
        let pip = folder.join("bin/python");
        let args = [
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "-r",
            requirements.to_str().unwrap(),
        ];
        run("installing its packages", pip.to_str().unwrap(), &args);
        fs::write(complete, "").unwrap();
    }
    folder
}

fn run(what: &str, program: &str, args: &[&str]) {
    let output = Command::new(program).args(args).output().unwrap_or_else(|e| {
        panic!("{what}: {program} cannot be run ({e}). The tests over the wire need python3 with venv and pip; install them (Debian: python3-venv python3-pip).")
    });
    check(&format!("{what}: {program} {}", args.join(" ")), &output);
}

fn check(what: &str, output: &Output) -> String {
    assert!(
        output.status.success(),
        "{what}: {}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout.clone()).unwrap()
}
