//! Work for a process of its own: this binary again, with the job in its environment.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use gantry::clock::Clock;
use gantry::ops::point::ObjectIndex;
use gantry::ops::transfer::{Digest, Object, Overwrite, Place, Share};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::server::{ACCESS_KEY, BUCKET, REGION, SECRET_KEY, Server, transfer};

const JOB: &str = "GANTRY_TEST_TRANSFER_JOB";

#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Verb {
    UploadFile {
        file: PathBuf,
        key: String,
    },
    VerifyFile {
        key: String,
        sha256: Digest,
    },
    Download {
        key: String,
        file: PathBuf,
        sha256: Digest,
    },
    UploadTree {
        folder: PathBuf,
        prefix: String,
        list: String,
    },
    VerifyTree {
        list: ObjectIndex,
        prefix: String,
        share: String,
    },
    RestoreTree {
        list: ObjectIndex,
        prefix: String,
        folder: PathBuf,
    },
}

#[derive(Debug, Serialize, Deserialize)]
struct Job {
    verb: Verb,
    journals: PathBuf,
    answer: PathBuf,
}

/// The other process.
pub struct Worker {
    child: Child,
    answer: PathBuf,
}

/// What it answered, and the most memory it ever had, in MiB.
pub struct Done {
    pub answer: Value,
    pub peak: u64,
}

impl Worker {
    /// Begins; `home` is where it keeps journals and its answer.
    pub fn start(server: &Server, home: &Path, verb: Verb) -> Self {
        let answer = home.join("answer.json");
        let _ = std::fs::remove_file(&answer);
        let job = Job {
            verb,
            journals: home.join("journals"),
            answer: answer.clone(),
        };
        let child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "transfer::job::a_job_is_carried_out",
                "--nocapture",
            ])
            .env_clear()
            .env(JOB, serde_json::to_string(&job).unwrap())
            .env("AWS_ENDPOINT_URL", server.endpoint())
            .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
            .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, answer }
    }

    /// Kills it as `kill -9` does; the most memory it had, in MiB.
    pub fn kill(mut self) -> u64 {
        let peak = peak(&self.child.id().to_string());
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        assert!(!self.answer.exists(), "it was done before it was killed");
        peak
    }

    pub fn wait(mut self) -> Done {
        assert!(self.child.wait().unwrap().success(), "the job failed");
        let text = std::fs::read_to_string(&self.answer).unwrap();
        let mut answer: Value = serde_json::from_str(&text).unwrap();
        let peak = answer["peak"].take().as_u64().unwrap();
        Done {
            answer: answer["answer"].take(),
            peak,
        }
    }
}

/// The peak of a process's resident memory, in MiB.
fn peak(process: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|l| l.starts_with("VmHWM")).unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib / 1024
}

/// In the other process, the job; here, a look at how a job is written down.
#[test]
fn a_job_is_carried_out() {
    let Some(job) = std::env::var_os(JOB) else {
        let verb = Verb::VerifyFile {
            key: "k".into(),
            sha256: Digest::of(b""),
        };
        let text = serde_json::to_string(&verb).unwrap();
        assert!(text.contains("e3b0c442"), "{text}");
        return;
    };
    let job: Job = serde_json::from_str(job.to_str().unwrap()).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let answer = runtime.block_on(carry_out(job.verb, job.journals));
    let answer = json!({"answer": answer, "peak": peak("self")});
    std::fs::write(job.answer, answer.to_string()).unwrap();
}

async fn carry_out(verb: Verb, journals: PathBuf) -> Value {
    let config = gantry::cloud::configuration(REGION).await;
    let transfer = transfer(&config, Clock::System).with_journals(journals);
    let place = |key: &str| Place::new(BUCKET, key);
    let object = |key: &str, sha256| Object {
        sha256: Some(sha256),
        ..Object::newest(place(key))
    };
    match verb {
        Verb::UploadFile { file, key } => {
            let stored = transfer
                .upload_file(&file, &place(&key), Overwrite::Never)
                .await
                .unwrap();
            json!({"bytes": stored.bytes, "sha256": stored.sha256})
        }
        Verb::VerifyFile { key, sha256 } => {
            let problem = transfer.verify_object(&object(&key, sha256)).await.unwrap();
            json!(problem.map(|p| p.to_string()))
        }
        Verb::Download { key, file, sha256 } => {
            let stored = transfer
                .download(&object(&key, sha256), &file)
                .await
                .unwrap();
            json!({"bytes": stored.bytes, "sha256": stored.sha256})
        }
        Verb::UploadTree {
            folder,
            prefix,
            list,
        } => {
            let list = transfer
                .upload_tree(&folder, &place(&prefix), &list)
                .await
                .unwrap();
            serde_json::to_value(list).unwrap()
        }
        Verb::VerifyTree {
            list,
            prefix,
            share,
        } => {
            let share: Share = share.parse().unwrap();
            let findings = transfer
                .verify_index(BUCKET, &list, &place(&prefix), share, 7)
                .await
                .unwrap();
            json!({"good": findings.is_good(), "count": findings.count, "read": findings.read})
        }
        Verb::RestoreTree {
            list,
            prefix,
            folder,
        } => {
            let restored = transfer
                .restore_index(BUCKET, &list, &place(&prefix), &folder)
                .await
                .unwrap();
            json!({"count": restored.count, "bytes": restored.bytes, "kept": restored.kept})
        }
    }
}
