//! What one instance sees of AWS, on loopback, with signatures that are checked; see `tests/support/cloud/server.py`.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

/// A server of its own, ended with the test.
pub struct Cloud {
    folder: tempfile::TempDir,
    port: u16,
    child: Child,
}

/// One call that was made.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
pub struct Call {
    /// `s3:GetObject`, `imds`, `download`
    pub action: String,
    pub resource: String,
    pub status: u16,
    /// AWS's code of a refusal.
    pub code: String,
}

/// Words of the instance's credentials that must never be seen.
pub const SECRET_KEY: &str = "canary/secret+key/0123456789abcdefghij0=";
pub const SESSION: &str = "canary+session/token+0123456789abcdefghijklmnopqrstuvwxyz==";

impl Cloud {
    /// The world of an instance that may read below `prefix` of the bucket, and write below `prefix` + `reports/`.
    pub fn of(bucket: &str, prefix: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let who = json!({
            "region": "eu-west-1", "access_key": "ASIAEXAMPLE", "secret_key": SECRET_KEY, "session": SESSION,
            "profile": "gantry-acme-node", "instance": "i-0123456789abcdef0", "address": "10.20.1.5",
            "bucket": bucket, "readable": prefix, "writable": format!("{prefix}reports/"),
        });
        fs::write(folder.path().join("who.json"), who.to_string()).unwrap();
        let mut child = Command::new("/usr/bin/python3")
            .arg(script("cloud/server.py"))
            .arg(folder.path())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("install python3: the server that stands for AWS needs it");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let port = line
            .strip_prefix("ready ")
            .and_then(|p| p.trim().parse().ok());
        Self {
            folder,
            port: port.expect("the server says its port"),
            child,
        }
    }

    /// The address of a service: `imds`, `s3`, `secrets`, `ec2`, `download`.
    pub fn url(&self, service: &str) -> String {
        format!("http://127.0.0.1:{}/{service}", self.port)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn read(&self, name: &str) -> Value {
        fs::read(self.path(name)).map_or(json!({}), |text| serde_json::from_slice(&text).unwrap())
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Changes who the instance is, or how the services are.
    pub fn set(&self, field: &str, value: impl Into<Value>) {
        let mut who = self.read("who.json");
        who[field] = value.into();
        self.write("who.json", who.to_string());
    }

    /// Puts an object into the bucket, as gantry would.
    pub fn put(&self, key: &str, content: impl AsRef<[u8]>) {
        self.write(&format!("s3/{key}"), content);
    }

    pub fn object(&self, key: &str) -> Option<Vec<u8>> {
        fs::read(self.path(&format!("s3/{key}"))).ok()
    }

    /// The keys in the bucket, sorted.
    pub fn keys(&self) -> Vec<String> {
        let top = self.path("s3");
        let mut keys = Vec::new();
        let mut folders = vec![top.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let key = path.strip_prefix(&top).unwrap();
                    keys.push(key.to_string_lossy().into_owned());
                }
            }
        }
        keys.sort();
        keys
    }

    /// What `download/<path>` serves.
    pub fn serve(&self, path: &str, content: impl AsRef<[u8]>) {
        self.write(&format!("files/{path}"), content);
    }

    /// Makes an entry in Secrets Manager, with or without a value.
    pub fn keep(&self, entry: &str, value: Option<&str>) {
        let mut kept = self.read("secrets.json");
        kept[entry] = json!({ "value": value });
        self.write("secrets.json", kept.to_string());
    }

    pub fn kept(&self, entry: &str) -> Option<String> {
        Some(
            self.read("secrets.json")[entry]["value"]
                .as_str()?
                .to_owned(),
        )
    }

    /// How many versions were put.
    pub fn versions(&self, entry: &str) -> usize {
        self.read("secrets.json")[entry]["versions"]
            .as_object()
            .map_or(0, serde_json::Map::len)
    }

    /// A tag of the instance.
    pub fn tag(&self, key: &str) -> Option<String> {
        Some(self.read("tags.json")[key].as_str()?.to_owned())
    }

    /// The next calls of this action go wrong; see `server.py`.
    pub fn fault(&self, fault: &Value) {
        self.write("faults.json", json!([fault]).to_string());
    }

    /// The calls so far, without those to the metadata service.
    pub fn calls(&self) -> Vec<Call> {
        fs::read_to_string(self.path("calls.jsonl"))
            .unwrap_or_default()
            .lines()
            .map(|line| serde_json::from_str::<Call>(line).unwrap())
            .filter(|call| call.action != "imds")
            .collect()
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A file below `tests/support`.
pub fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/support")
        .join(name)
}
