//! A PostgreSQL server of a test's own, with a socket and a port on loopback that speaks TLS.

use std::ffi::OsStr;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::must;

/// Where Debian and Ubuntu keep the programs of a server, a folder for each version; they are not on the path.
const VERSIONS: &str = "/usr/lib/postgresql";

const NEEDED: &str = "these tests need PostgreSQL with its contrib extensions: apt-get install postgresql (its server programs are looked \
     for in /usr/lib/postgresql/*/bin and on the path)";

/// The first user of the server, who may do everything.
pub const ADMIN: &str = "postgres";

/// A server. Dropping it ends it and removes its data.
pub struct Cluster {
    programs: PathBuf,
    folder: tempfile::TempDir,
    port: u16,
    /// As whom it runs, when that is not us: a server refuses to run as root.
    user: Option<(u32, u32)>,
    runs: bool,
}

impl Cluster {
    /// Makes a server and starts it.
    pub fn start() -> Self {
        let mut cluster = Self {
            programs: programs(),
            folder: tempfile::tempdir().unwrap(),
            port: 0,
            user: user(),
            runs: false,
        };
        cluster.make();
        // The port is free when it is chosen, and may be taken by another test a moment later.
        let mut tries = (0..5).map(|_| cluster.try_to_run());
        let mut said = String::new();
        let runs = tries.any(|tried| match tried {
            Ok(()) => true,
            Err(why) => {
                said = why;
                false
            }
        });
        assert!(runs, "{said}");
        cluster
    }

    fn make(&self) {
        fs::set_permissions(self.folder(), fs::Permissions::from_mode(0o755)).unwrap();
        let own = self.own();
        fs::create_dir(&own).unwrap();
        if let Some((user, group)) = self.user {
            chown(&own, Some(user), Some(group)).unwrap();
        }
        must(self.as_server("initdb").args([
            OsStr::new("--pgdata"),
            self.data().as_os_str(),
            OsStr::new("--username"),
            OsStr::new(ADMIN),
            OsStr::new("--auth-local=trust"),
            OsStr::new("--auth-host=scram-sha-256"),
            OsStr::new("--encoding=UTF8"),
            OsStr::new("--locale=C.UTF-8"),
            OsStr::new("--no-sync"),
        ]));
        let mut openssl = self.plain("openssl".as_ref());
        must(
            openssl
                .args([
                    "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
                ])
                .args([
                    "-subj",
                    "/CN=localhost",
                    "-addext",
                    "subjectAltName=DNS:localhost",
                ])
                .arg("-keyout")
                .arg(self.data().join("server.key"))
                .arg("-out")
                .arg(self.data().join("server.crt")),
        );
    }

    fn try_to_run(&mut self) -> Result<(), String> {
        self.port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let settings = format!(
            "listen_addresses = '127.0.0.1'\nport = {}\nunix_socket_directories = '{}'\nssl = on\n\
             fsync = off\nmax_connections = 20\nshared_buffers = 16MB\nautovacuum = off\n",
            self.port,
            self.socket().display()
        );
        fs::write(self.data().join("postgresql.auto.conf"), settings).unwrap();
        let log = self.own().join("log");
        let output = self
            .as_server("pg_ctl")
            .args(["start", "--wait", "--silent", "--timeout=120", "--pgdata"])
            .arg(self.data())
            .arg("--log")
            .arg(&log)
            .output()
            .unwrap();
        self.runs = output.status.success();
        if self.runs {
            return Ok(());
        }
        Err(format!(
            "PostgreSQL does not start: {}{}",
            String::from_utf8_lossy(&output.stderr),
            fs::read_to_string(log).unwrap_or_default()
        ))
    }

    /// Where the test may put what it needs beside the server.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn own(&self) -> PathBuf {
        self.folder().join("server")
    }

    fn data(&self) -> PathBuf {
        self.own().join("data")
    }

    /// The folder of the socket, which lets everybody in as whoever they say they are.
    pub fn socket(&self) -> PathBuf {
        self.own()
    }

    /// The port on 127.0.0.1, where a password is asked for.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The certificate of the server, which is its own authority; it is for `localhost`.
    pub fn certificate(&self) -> Vec<u8> {
        fs::read(self.data().join("server.crt")).unwrap()
    }

    /// The folder of PostgreSQL's programs.
    pub fn programs(&self) -> &Path {
        &self.programs
    }

    pub fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }

    /// Runs statements as the first user; what they answer, a line a row, columns apart by `|`.
    pub fn sql(&self, database: &str, sql: &str) -> String {
        let mut psql = self.client("psql");
        must(
            psql.args(["--no-psqlrc", "--quiet", "--no-align", "--tuples-only"])
                .args([
                    "--set=ON_ERROR_STOP=1",
                    "--dbname",
                    database,
                    "--command",
                    sql,
                ]),
        )
    }

    /// A whole dump of a database as text: everything about it, in an order that does not change.
    pub fn dump(&self, database: &str) -> String {
        let text = must(self.client("pg_dump").arg(database));
        // Newer programs guard a dump with a key that is another each time.
        let same =
            |line: &&str| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict");
        text.lines().filter(same).collect::<Vec<_>>().join("\n")
    }

    fn client(&self, program: &str) -> Command {
        let mut command = Command::new(self.program(program));
        command
            .env("PGHOST", self.socket())
            .env("PGPORT", self.port.to_string())
            .env("PGUSER", ADMIN)
            .env("PGOPTIONS", "-c client_min_messages=warning");
        command
    }

    /// A program of the server, as the user that it runs as.
    fn as_server(&self, program: &str) -> Command {
        self.plain(self.program(program).as_os_str())
    }

    fn plain(&self, program: &OsStr) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.own()).env("LC_ALL", "C.UTF-8");
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if !self.runs {
            return;
        }
        // In a panic there is nobody left to tell.
        let _ = self
            .as_server("pg_ctl")
            .args(["stop", "--mode=immediate", "--wait", "--silent", "--pgdata"])
            .arg(self.data())
            .output();
    }
}

/// The programs of the newest server that is installed.
fn programs() -> PathBuf {
    let version = |folder: &PathBuf| folder.file_name()?.to_str()?.parse::<u32>().ok();
    let mut installed: Vec<PathBuf> = fs::read_dir(VERSIONS)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|folder| folder.join("bin/initdb").is_file())
        .collect();
    installed.sort_by_key(version);
    let found = installed.pop().map(|folder| folder.join("bin"));
    let path = std::env::var("PATH").unwrap_or_default();
    found
        .or_else(|| std::env::split_paths(&path).find(|folder| folder.join("initdb").is_file()))
        .expect(NEEDED)
}

/// The user `postgres`, which the package makes, when the tests run as root.
fn user() -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let number = |flag: &str| {
        let output = Command::new("id").args([flag, ADMIN]).output().ok()?;
        String::from_utf8(output.stdout).ok()?.trim().parse().ok()
    };
    let user = number("-u").zip(number("-g"));
    assert!(user.is_some(), "there is no user {ADMIN}: {NEEDED}");
    user
}
