//! SSH servers: a real OpenSSH, and one that begins as gitlab-sshd does.
//!
//! gitlab-sshd itself comes with GitLab only. What is like it here is what a visitor can see of it before signing in: its
//! identification string, its reading of the proxy protocol, and the leniency of Go's SSH library towards lines it does
//! not know. Key exchange and host key are OpenSSH's, started with the connection the way inetd does, with another name
//! written into the program.

use std::net::Shutdown;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::balancer::Listening;
use super::certificates::{installed, run};

const GITLAB: &[u8] = b"GitLab-SSHD";
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// The servers there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    OpenSsh,
    /// `proxy_protocol` off.
    GitlabPlain,
    /// `proxy_policy = 'require'`; without a header it closes at once.
    GitlabRequiring,
    /// The same, of a version that says who it is before it misses the header.
    GitlabRequiringLate,
}

/// It listens until it is dropped.
pub struct Sshd {
    pub listening: Listening,
    home: Arc<Home>,
}

/// The program and its files.
struct Home {
    dir: TempDir,
    program: PathBuf,
}

impl Sshd {
    pub async fn start(server: Server) -> Self {
        let home = Arc::new(Home::make(server));
        let serving = Arc::clone(&home);
        let listening = Listening::serving(move |stream| {
            let home = Arc::clone(&serving);
            async move { serve(stream, server, &home).await }
        })
        .await;
        Self { listening, home }
    }

    /// The public key, as `--host-key` takes it.
    pub fn host_key(&self) -> String {
        std::fs::read_to_string(self.home.dir.path().join("key.pub")).unwrap()
    }
}

impl Home {
    fn make(server: Server) -> Self {
        let sshd = installed("/usr/sbin/sshd", "openssh-server");
        let dir = tempfile::tempdir().unwrap();
        let key = dir.path().join("key");
        make_key(&key, "ed25519");
        // As root, sshd wants the folder its service would make.
        if rustix::process::geteuid().is_root() {
            std::fs::create_dir_all("/run/sshd").unwrap();
        }
        let config = format!("HostKey {}\nUsePAM no\nStrictModes no\n", key.display());
        std::fs::write(dir.path().join("config"), config).unwrap();
        let program = if server == Server::OpenSsh {
            sshd
        } else {
            let program = dir.path().join("sshd");
            std::fs::copy(&sshd, &program).unwrap();
            std::fs::write(&program, renamed(&std::fs::read(&sshd).unwrap())).unwrap();
            program
        };
        Self { dir, program }
    }

    /// Gives a connection to OpenSSH, as inetd would.
    async fn hand_over(&self, stream: TcpStream) {
        let stream = stream.into_std().unwrap();
        stream.set_nonblocking(false).unwrap();
        let other = stream.try_clone().unwrap();
        let mut child = tokio::process::Command::new(&self.program)
            .args(["-i", "-e", "-f"])
            .arg(self.dir.path().join("config"))
            .stdin(std::os::fd::OwnedFd::from(stream))
            .stdout(std::os::fd::OwnedFd::from(other))
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        child.wait().await.unwrap();
    }
}

/// A key pair in two files.
pub fn make_key(path: &Path, kind: &str) {
    run(
        Command::new("ssh-keygen")
            .args(["-q", "-N", "", "-C", "probe", "-t", kind, "-f"])
            .arg(path),
        "openssh-client",
    );
}

/// The program with GitLab's name in place of its own: every text that is nothing but `OpenSSH_` and a version.
fn renamed(program: &[u8]) -> Vec<u8> {
    let own = b"OpenSSH_";
    let mut bytes = program.to_vec();
    let mut changed = 0;
    let mut at = 0;
    while let Some(found) = bytes[at..].windows(own.len()).position(|w| w == own) {
        let start = at + found;
        let length = bytes[start..].iter().position(|b| *b == 0).unwrap();
        let text = &bytes[start..start + length];
        let is_whole = start > 0 && bytes[start - 1] == 0;
        // Tables of other versions' faults hold patterns and lists.
        let is_version = !text.iter().any(|b| b"*?,".contains(b));
        if is_whole && is_version && length >= GITLAB.len() {
            bytes[start..start + length].fill(0);
            bytes[start..start + GITLAB.len()].copy_from_slice(GITLAB);
            changed += 1;
        }
        at = start + length;
    }
    assert!(
        changed > 0,
        "this sshd names itself in another way; the test needs to learn it"
    );
    bytes
}

async fn serve(mut stream: TcpStream, server: Server, home: &Home) {
    match server {
        Server::OpenSsh => home.hand_over(stream).await,
        Server::GitlabRequiring | Server::GitlabRequiringLate => {
            let mut start = [0; 12];
            if stream.read_exact(&mut start).await.is_err() {
                return;
            }
            if start == *SIGNATURE {
                let mut head = [0; 4];
                stream.read_exact(&mut head).await.unwrap();
                let mut rest = vec![0; usize::from(u16::from_be_bytes([head[2], head[3]]))];
                stream.read_exact(&mut rest).await.unwrap();
                return home.hand_over(stream).await;
            }
            if server == Server::GitlabRequiringLate {
                identify(&mut stream).await;
            }
            let stream = stream.into_std().unwrap();
            let _ = stream.shutdown(Shutdown::Both);
        }
        Server::GitlabPlain => {
            let mut first = [0];
            match stream.peek(&mut first).await {
                Ok(1) if first == *b"S" => home.hand_over(stream).await,
                Ok(1) => bewildered(stream).await,
                _ => {}
            }
        }
    }
}

async fn identify(stream: &mut TcpStream) {
    let _ = stream.write_all(b"SSH-2.0-GitLab-SSHD\r\n").await;
}

/// Go's way with a client whose first line is not an identification string: it drops lines until one is, and gives up
/// on a line of 255 bytes.
async fn bewildered(mut stream: TcpStream) {
    identify(&mut stream).await;
    let mut stream = BufReader::new(stream);
    let mut line = vec![];
    while let Ok(1..255) = stream.read_until(b'\n', &mut line).await {
        if line.starts_with(b"SSH-") {
            let mut packet = vec![0, 0, 1, 0, 4, 20];
            packet.resize(4 + 256, 7);
            let _ = stream.write_all(&packet).await;
            // Until the visitor leaves.
            let _ = stream.read_to_end(&mut line).await;
            return;
        }
        line.clear();
    }
}
