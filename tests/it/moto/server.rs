//! One server for one test, and gantry's binary pointed at it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_types::retry::RetryConfig;
use gantry::cloud::timeouts;
use serde_json::Value;

use super::python::Python;

/// Where the tests build.
pub const REGION: &str = "eu-west-1";

/// A moto server of its own, ended with the test.
pub struct Moto {
    pub url: String,
    child: Child,
    home: tempfile::TempDir,
    credentials: (String, String),
    operators: u32,
}

/// What a command said and how it ended.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// What the person behind the binary may do; see [`Moto::operator`].
#[derive(Debug, Clone)]
pub struct Policy(pub Value);

impl Moto {
    /// A fresh world with the hosted zone `example.com` and Canonical's images in it.
    pub fn fresh() -> Self {
        Self::start(&[])
    }

    /// moto as it is installed, with all its gaps.
    pub fn bare() -> Self {
        Self::start(&["--bare"])
    }

    fn start(more: &[&str]) -> Self {
        // Port 0: the system chooses a free one, and the ready line tells which.
        let home = tempfile::tempdir().unwrap();
        let log = std::fs::File::create(home.path().join("moto.log")).unwrap();
        let mut child = Python::get()
            .script("server.py")
            .arg("0")
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let Some(port) = line.strip_prefix("ready ") else {
            let said = std::fs::read_to_string(home.path().join("moto.log")).unwrap_or_default();
            panic!("moto's server did not start: {said}");
        };
        Self {
            url: format!("http://127.0.0.1:{}", port.trim()),
            child,
            home,
            credentials: ("test".into(), "test".into()),
            operators: 0,
        }
    }

    /// What the server complained about: actions it does not have, and its own failures.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.file("moto.log")).unwrap_or_default()
    }

    /// SDK configuration for this server, with gantry's own timeouts and without the SDK's retries.
    pub fn config(&self, region: &str) -> SdkConfig {
        let (id, secret) = &self.credentials;
        SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .endpoint_url(&self.url)
            .region(Region::new(region.to_owned()))
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .credentials_provider(SharedCredentialsProvider::new(Credentials::from_keys(
                id, secret, None,
            )))
            .sleep_impl(aws_smithy_async::rt::sleep::TokioSleep::new())
            .time_source(aws_smithy_async::time::SystemTimeSource::new())
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts())
            .build()
    }

    /// A file of the folder that gantry runs in: its home, its site file and its state.
    pub fn file(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// The real binary, pointed at this server, in an empty environment and a folder of its own.
    pub fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gantry"));
        command
            .args(line.split_whitespace())
            .current_dir(self.home.path())
            .env_clear()
            .env("HOME", self.home.path())
            .env("USER", "tester")
            .env("COLUMNS", "100")
            .env("AWS_ENDPOINT_URL", &self.url)
            .env("AWS_ACCESS_KEY_ID", &self.credentials.0)
            .env("AWS_SECRET_ACCESS_KEY", &self.credentials.1)
            .env("AWS_REGION", REGION)
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs gantry to its end.
    pub fn gantry(&self, line: &str) -> Said {
        Said::of(&self.command(line).output().unwrap())
    }

    /// Runs gantry, which must work.
    pub fn ok(&self, line: &str) -> Said {
        let said = self.gantry(line);
        assert_eq!(said.code, 0, "gantry {line}:\n{}\n{}", said.out, said.err);
        said
    }

    /// Starts gantry and kills it with -9 after it has written so many lines of progress; tells whether it was
    /// still running then. Counting lines instead of time makes the moments repeatable on any machine.
    pub fn kill_after(&self, line: &str, lines: usize) -> bool {
        let mut child = self.command(line).spawn().unwrap();
        let mut voice = BufReader::new(child.stderr.take().unwrap());
        let mut heard = String::new();
        for _ in 0..lines {
            heard.clear();
            if voice.read_line(&mut heard).unwrap() == 0 {
                child.wait().unwrap();
                return false;
            }
        }
        let running = child.try_wait().unwrap().is_none();
        // SIGKILL on Unix.
        let _ = child.kill();
        child.wait().unwrap();
        running
    }

    /// What an independent client sees of a site; see `witness.py`.
    pub fn witness(&self, site: &str) -> Value {
        Python::get().json("witness.py", &[&self.url, REGION, site])
    }

    /// The gaps this server has, by id: `as-aws`, or what happens instead.
    pub fn gaps(&self) -> Value {
        Python::get().json("gaps.py", &[&self.url])
    }

    /// From now on gantry runs as a user with exactly these policies, and moto enforces them and the signatures.
    pub fn operator(&mut self, policies: &[Policy]) {
        self.stop_enforcing();
        self.operators += 1;
        let user = format!("operator-{}", self.operators);
        let iam = aws_sdk_iam::Client::new(&self.config(REGION));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        self.credentials = runtime.block_on(user_with(&iam, &user, policies));
        self.post("/moto-api/reset-auth", "0");
    }

    /// Everybody may do everything again.
    pub fn stop_enforcing(&mut self) {
        self.post("/moto-api/reset-auth", "inf");
        self.credentials = ("test".into(), "test".into());
    }

    /// A request to moto's own pages. No HTTP client is among our dependencies, and this is one request.
    fn post(&self, path: &str, body: &str) {
        let host = self.url.trim_start_matches("http://");
        let mut stream = TcpStream::connect(host).unwrap();
        let length = body.len();
        write!(
            stream,
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    }
}

/// Makes a user with these policies; an access key of theirs. A user takes ten managed policies of 6144 characters
/// each, so a large set of rights comes in several.
async fn user_with(iam: &aws_sdk_iam::Client, user: &str, policies: &[Policy]) -> (String, String) {
    iam.create_user().user_name(user).send().await.unwrap();
    for (n, policy) in policies.iter().enumerate() {
        let made = iam
            .create_policy()
            .policy_name(format!("{user}-{n}"))
            .policy_document(policy.0.to_string())
            .send()
            .await
            .unwrap();
        iam.attach_user_policy()
            .user_name(user)
            .policy_arn(made.policy().unwrap().arn().unwrap())
            .send()
            .await
            .unwrap();
    }
    let made = iam
        .create_access_key()
        .user_name(user)
        .send()
        .await
        .unwrap();
    let key = made.access_key().unwrap();
    (
        key.access_key_id().to_owned(),
        key.secret_access_key().to_owned(),
    )
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Said {
    fn of(output: &Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// stdout as the one JSON document it must be.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {}", self.out))
    }
}
