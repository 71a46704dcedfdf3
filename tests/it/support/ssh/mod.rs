//! Real OpenSSH servers on loopback addresses, each with its own host key, all gone at the end of a test.

mod process;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use gantry::shell::{Access, Endpoint, Keys, KnownHosts, Ssh, Timings};
use tempfile::TempDir;

pub use process::until;
use process::{Seen, descendants, kill, signal};

const SSHD: &str = "/usr/sbin/sshd";

/// An address nobody else uses: one of the many that mean this machine.
pub fn address() -> String {
    static NEXT: AtomicU8 = AtomicU8::new(2);
    let process = std::process::id();
    let [.., high, low] = process.to_be_bytes();
    // Each test thread of each process has its own; 250 are enough for one binary.
    let last = NEXT.fetch_add(1, Ordering::SeqCst);
    format!("127.{}.{low}.{last}", 64 + high % 64)
}

/// A port of that address on which nothing listens.
pub fn free_port(address: &str) -> u16 {
    TcpListener::bind((address, 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// Runs a tool of OpenSSH that must succeed.
pub fn tool(program: &str, args: &[&str]) -> String {
    let out = Process::new(program)
        .args(args)
        .env_remove("SSH_AUTH_SOCK")
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|e| panic!("{program}: {e}; install openssh-client and openssh-server"));
    assert!(
        out.status.success(),
        "{program} {args:?}: {}",
        String::from_utf8_lossy(&out.stderr)
    );
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// A folder with keys, and the servers that accept them.
pub struct Lab {
    folder: TempDir,
    pub user: String,
    /// The key that every server accepts.
    pub key: PathBuf,
    pub known: Arc<KnownHosts>,
}

impl Lab {
    pub fn new() -> Self {
        assert!(
            Path::new(SSHD).exists(),
            "{SSHD} is missing: install openssh-server"
        );
        let folder = tempfile::Builder::new()
            .prefix("gantry-ssh")
            .tempdir()
            .unwrap();
        let known = KnownHosts::open(folder.path().join("known_hosts")).unwrap();
        let mut lab = Self {
            user: tool("id", &["-un"]).trim().to_owned(),
            key: PathBuf::new(),
            known: Arc::new(known),
            folder,
        };
        if lab.user == "root" {
            // sshd as root asks for it, and a machine without a running sshd has none.
            fs::create_dir_all("/run/sshd").unwrap();
        }
        lab.key = lab.key_pair("user", &["-t", "ed25519"]);
        lab
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Makes a key pair without passphrase, unless `args` say otherwise.
    pub fn key_pair(&self, name: &str, args: &[&str]) -> PathBuf {
        let path = self.path(name);
        let mut all = vec!["-q", "-C", name, "-f", path.to_str().unwrap()];
        if !args.contains(&"-N") {
            all.extend(["-N", ""]);
        }
        all.extend(args);
        tool("ssh-keygen", &all);
        path
    }

    /// Starts servers, whose keys are known afterwards.
    pub fn servers<const N: usize>(&self, names: [&str; N]) -> [Server; N] {
        self.servers_with(names, "")
    }

    /// Starts servers with lines of their own, which come before the usual ones: the first counts.
    pub fn servers_with<const N: usize>(&self, names: [&str; N], lines: &str) -> [Server; N] {
        let servers = names.map(|name| Server::start(self, name, lines));
        for server in &servers {
            server.wait();
            self.known
                .report(&server.name, [server.host_key()])
                .unwrap();
        }
        servers
    }

    /// What lets us in: the key that every server accepts.
    pub fn keys(&self) -> Keys {
        Keys::none().file(&self.key)
    }

    pub fn access(&self, keys: Keys) -> Access {
        Access::new(keys, Arc::clone(&self.known))
    }

    /// The usual way: straight to a server.
    pub fn direct(&self, server: &Server) -> Ssh {
        Ssh::new(server.endpoint(), None, Arc::new(self.access(self.keys())))
    }

    /// The usual way: through a bastion.
    pub fn through(&self, bastion: &Server, server: &Server) -> Ssh {
        let access = Arc::new(self.access(self.keys()));
        Ssh::new(server.endpoint(), Some(bastion.endpoint()), access)
    }

    /// Lets another key in, on all servers.
    pub fn accept(&self, key: &Path) {
        let file = self.path("authorized_keys");
        let mut all = fs::read_to_string(&file).unwrap_or_default();
        all += &fs::read_to_string(format!("{}.pub", key.display())).unwrap();
        fs::write(file, all).unwrap();
    }
}

/// Little patience, for tests in which something does not answer.
pub fn impatient() -> Timings {
    Timings {
        connect: Duration::from_millis(700),
        keepalive: Duration::from_secs(2),
        ..Timings::default()
    }
}

/// A running sshd.
pub struct Server {
    pub name: String,
    pub address: String,
    pub port: u16,
    user: String,
    folder: PathBuf,
    process: Child,
}

impl Server {
    fn start(lab: &Lab, name: &str, lines: &str) -> Self {
        let folder = lab.path(name);
        fs::create_dir(&folder).unwrap();
        lab.key_pair(&format!("{name}/host"), &["-t", "ed25519"]);
        lab.key_pair(&format!("{name}/host_ecdsa"), &["-t", "ecdsa"]);
        if !lab.path("authorized_keys").exists() {
            lab.accept(&lab.key);
        }
        let address = address();
        let port = free_port(&address);
        let bin = folder.join("bin");
        fs::create_dir(&bin).unwrap();
        sudo(&bin.join("sudo"), &folder.join("sudo.log"));
        // DEBUG1 names the targets of forwarded connections. A home of its own keeps the shell files of whoever runs the
        // tests out of it.
        let config = format!(
            "{lines}\nPort {port}\nListenAddress {address}\nHostKey {dir}/host\nHostKey {dir}/host_ecdsa\nPidFile none\n\
             AuthorizedKeysFile {keys}\nUsePAM no\nStrictModes no\nPermitRootLogin yes\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\nAllowUsers {user}@127.0.0.1\n\
             PrintMotd no\nLogLevel DEBUG1\nSetEnv PATH={bin}:/usr/local/bin:/usr/bin:/bin HOME={dir}\n",
            dir = folder.display(),
            keys = lab.path("authorized_keys").display(),
            user = lab.user,
            bin = bin.display(),
        );
        fs::write(folder.join("sshd_config"), config).unwrap();
        // A log of its own: on stderr, it would be mixed with what commands say.
        fs::write(folder.join("log"), "").unwrap();
        let process = Process::new(SSHD)
            .args(["-D", "-f"])
            .arg(folder.join("sshd_config"))
            .arg("-E")
            .arg(folder.join("log"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            name: name.to_owned(),
            address,
            port,
            user: lab.user.clone(),
            folder,
            process,
        }
    }

    fn wait(&self) {
        until(&format!("sshd of {} listens", self.name), || {
            let log = self.log();
            assert!(!log.contains("fatal"), "{log}");
            log.contains("Server listening on")
        });
    }

    pub fn endpoint(&self) -> Endpoint {
        Endpoint::new(&self.name, &self.address)
            .port(self.port)
            .user(&self.user)
    }

    /// What it says of itself.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap()
    }

    /// The line that a boot report has for it.
    pub fn host_key(&self) -> String {
        fs::read_to_string(self.folder.join("host.pub")).unwrap()
    }

    pub fn host_key_ecdsa(&self) -> String {
        fs::read_to_string(self.folder.join("host_ecdsa.pub")).unwrap()
    }

    /// As whom commands asked `sudo` to run.
    pub fn sudo_log(&self) -> String {
        fs::read_to_string(self.folder.join("sudo.log")).unwrap_or_default()
    }

    /// The server processes of its present sessions.
    fn sessions(&self) -> Vec<Seen> {
        descendants(self.process.id())
            .into_iter()
            .filter(|seen| seen.name.starts_with("sshd"))
            .collect()
    }

    pub fn has_sessions(&self) -> bool {
        !self.sessions().is_empty()
    }

    /// Whether one of its sessions is this end of a TCP connection.
    pub fn holds_port(&self, port: &str) -> bool {
        let sockets = process::sockets_of_port(port.parse().unwrap());
        let sessions = self.sessions();
        sockets
            .iter()
            .any(|inode| sessions.iter().any(|seen| seen.holds(*inode)))
    }

    /// Kills the server's side of all present sessions; the server goes on.
    pub fn cut(&self) {
        let sessions = self.sessions();
        assert!(!sessions.is_empty(), "{} has no session to cut", self.name);
        kill(&sessions);
    }

    /// Freezes the server's side of all present sessions: the connections stay, and nothing answers.
    pub fn freeze(&self) {
        for session in self.sessions() {
            signal(&session, "STOP");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let sessions = descendants(self.process.id());
        let _ = self.process.kill();
        let _ = self.process.wait();
        kill(&sessions);
        // What lost its session runs on with nobody above it, but at home here.
        kill(&process::at_home(&self.folder));
    }
}

/// A `sudo` that writes down whom it was asked to be, and stays who it is.
fn sudo(path: &Path, log: &Path) {
    let script = format!(
        "#!/bin/sh\nprintf '%s\\n' \"$*\" >> {}\nwhile [ \"$1\" != -- ]; do shift; done\nshift\nexec \"$@\"\n",
        log.display()
    );
    fs::write(path, script).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A real agent.
pub struct Agent {
    pub socket: PathBuf,
    process: Child,
}

impl Agent {
    pub fn start(lab: &Lab, name: &str) -> Self {
        let socket = lab.path(name);
        let process = Process::new("ssh-agent")
            .args(["-D", "-a"])
            .arg(&socket)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|e| panic!("ssh-agent: {e}; install openssh-client"));
        until("the agent listens", || socket.exists());
        Self { socket, process }
    }

    pub fn add(&self, key: &Path) {
        let out = Process::new("ssh-add")
            .arg("-q")
            .arg(key)
            .env("SSH_AUTH_SOCK", &self.socket)
            .output()
            .unwrap();
        assert!(out.status.success(), "{out:?}");
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
