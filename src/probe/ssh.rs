//! The SSH side: what the server says first, whether it begins a key exchange, and which key it proves.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use sha2::{Digest, Sha256};
use ssh2::{MethodType, Session};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::check::{Check, Place};
use super::connect::{Refusal, connect, seconds};
use super::options::{Carried, ProbeError};
use super::proxy;

/// What a probe calls itself. RFC 4253 allows no spaces or dashes in the software's version.
const IDENTIFICATION: &str = concat!("SSH-2.0-gantry_", env!("CARGO_PKG_VERSION"), "\r\n");
/// The message number of a server's first packet (RFC 4253 section 12).
const KEXINIT: u8 = 20;
/// RFC 4253 section 6.1 asks for this much of a packet.
const PACKET_LIMIT: u32 = 35_000;
const TALK_LIMIT: usize = 8 * 1024;

/// A public host key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostKey {
    algorithm: String,
    blob: Vec<u8>,
}

impl HostKey {
    /// Reads the key as it travels: its own first field is the algorithm.
    fn of(blob: &[u8]) -> Option<Self> {
        let length = u32::from_be_bytes(blob.get(..4)?.try_into().ok()?);
        let end = 4usize.checked_add(usize::try_from(length).ok()?)?;
        Some(Self {
            algorithm: std::str::from_utf8(blob.get(4..end)?).ok()?.to_owned(),
            blob: blob.to_vec(),
        })
    }

    /// `SHA256:…`, as `ssh-keygen -l` prints it.
    pub fn fingerprint(&self) -> String {
        format!(
            "SHA256:{}",
            STANDARD_NO_PAD.encode(Sha256::digest(&self.blob))
        )
    }

    /// The signature algorithms that prove a key of this kind, best first.
    fn methods(&self) -> &str {
        match self.algorithm.as_str() {
            "ssh-rsa" => "rsa-sha2-512,rsa-sha2-256,ssh-rsa",
            other => other,
        }
    }
}

impl fmt::Display for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.algorithm, self.fingerprint())
    }
}

impl FromStr for HostKey {
    type Err = ProbeError;

    /// `ssh-ed25519 AAAA…`, with or without a comment.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut words = text.split_whitespace();
        let key = words
            .next()
            .zip(words.next())
            .and_then(|(algorithm, blob)| {
                HostKey::of(&STANDARD.decode(blob).ok()?).filter(|key| key.algorithm == algorithm)
            });
        key.ok_or_else(|| ProbeError::HostKey(text.to_owned()))
    }
}

/// What a server says to a client that identifies itself at once.
///
/// At once, because a network load balancer writes its PROXY header together with the client's first bytes: a client
/// that waits for the server would make gitlab-sshd wait for the header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    NotReached(Refusal),
    Talk {
        /// The identification string, when one came.
        ident: Option<String>,
        next: Next,
    },
}

/// What came after the identification string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// The server understood the client and went on.
    KeyExchange,
    /// Words, and then the end.
    Text(String),
    Closed,
    Silent(Duration),
}

/// What a client puts before its identification string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lead {
    Nothing,
    /// A PROXY header of its own: makes a server talk that expects one and gets none.
    ProxyHeader,
    /// An empty line: ends the line that a PROXY header has become for a server that expects none and ignores lines it
    /// does not know, as Go's does.
    EmptyLine,
}

impl Heard {
    /// Whether the server went on to the key exchange.
    pub fn is_well(&self) -> bool {
        matches!(
            self,
            Self::Talk {
                next: Next::KeyExchange,
                ..
            }
        )
    }

    pub fn ident(&self) -> Option<&str> {
        match self {
            Self::Talk { ident, .. } => ident.as_deref(),
            Self::NotReached(_) => None,
        }
    }

    /// As a clause.
    pub fn text(&self) -> String {
        match self {
            Self::NotReached(refusal) => refusal.to_string(),
            Self::Talk { ident, next } => {
                let first = match ident {
                    Some(ident) => format!("the server says `{ident}`"),
                    None => "the server never said who it is".to_owned(),
                };
                match next {
                    Next::KeyExchange => first,
                    Next::Text(words) => format!("{first}, and then `{words}`"),
                    Next::Closed => format!("{first} and closed the connection"),
                    Next::Silent(after) => {
                        format!(
                            "{first}, and it timed out: nothing more for {}",
                            seconds(*after)
                        )
                    }
                }
            }
        }
    }
}

/// Identifies itself and hears what comes.
pub(super) async fn converse(addresses: &[SocketAddr], lead: Lead, timeout: Duration) -> Heard {
    let end = Instant::now() + timeout;
    let mut stream = match connect(addresses, timeout).await {
        Ok(stream) => stream,
        Err(refusal) => return Heard::NotReached(refusal),
    };
    let mut words = match lead {
        Lead::Nothing => vec![],
        Lead::ProxyHeader => proxy::header_of(&stream),
        Lead::EmptyLine => b"\r\n".to_vec(),
    };
    words.extend_from_slice(IDENTIFICATION.as_bytes());
    // A server that closes at once may have said why: reading goes on after a failed write.
    let _ = timeout_at(end, stream.write_all(&words)).await;
    let mut bytes = vec![];
    let mut chunk = [0; 2048];
    loop {
        if let Heard::Talk {
            next: Next::KeyExchange,
            ..
        } = listen(&bytes, Next::Closed)
        {
            return listen(&bytes, Next::Closed);
        }
        if bytes.len() > TALK_LIMIT {
            return listen(&bytes, Next::Closed);
        }
        match timeout_at(end, stream.read(&mut chunk)).await {
            Err(_) => return listen(&bytes, Next::Silent(timeout)),
            Ok(Ok(0) | Err(_)) => return listen(&bytes, Next::Closed),
            Ok(Ok(count)) => bytes.extend_from_slice(&chunk[..count]),
        }
    }
}

/// Takes apart what a server said; `end` is how it ended.
fn listen(bytes: &[u8], end: Next) -> Heard {
    let mut rest = bytes;
    let mut ident = None;
    // Lines before the identification string are allowed to a server (RFC 4253 section 4.2).
    while let Some(length) = rest.iter().position(|b| *b == b'\n') {
        let line = String::from_utf8_lossy(&rest[..length]);
        rest = &rest[length + 1..];
        if line.starts_with("SSH-") {
            ident = Some(line.trim_end().to_owned());
            break;
        }
    }
    let next = if ident.is_some() && begins_key_exchange(rest) {
        Next::KeyExchange
    } else {
        let words = if ident.is_some() { rest } else { bytes };
        let text = String::from_utf8_lossy(words);
        let line = text.lines().map(str::trim).find(|line| !line.is_empty());
        match line.filter(|line| line.chars().all(|c| !c.is_control() && c != '\u{fffd}')) {
            Some(line) => Next::Text(line.chars().take(120).collect()),
            None => end,
        }
    };
    Heard::Talk { ident, next }
}

fn begins_key_exchange(bytes: &[u8]) -> bool {
    let Some(head) = bytes.get(..6) else {
        return false;
    };
    let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
    (2..PACKET_LIMIT).contains(&length) && head[5] == KEXINIT
}

/// Does a whole key exchange and gives the key the server proved to have.
pub(super) async fn host_key(
    addresses: &[SocketAddr],
    expected: &[HostKey],
    timeout: Duration,
) -> Result<HostKey, String> {
    let methods: Vec<_> = expected.iter().map(HostKey::methods).collect();
    if !methods.is_empty()
        && let Ok(key) = exchange(addresses, Some(methods.join(",")), timeout).await
    {
        return Ok(key);
    }
    // A server without any of the expected kinds of key still has one to show.
    exchange(addresses, None, timeout).await
}

async fn exchange(
    addresses: &[SocketAddr],
    methods: Option<String>,
    timeout: Duration,
) -> Result<HostKey, String> {
    let stream = connect(addresses, timeout)
        .await
        .map_err(|refusal| refusal.to_string())?;
    let stream = stream.into_std().map_err(|e| e.to_string())?;
    // libssh2 waits by itself, and gives up by itself.
    let work = tokio::task::spawn_blocking(move || blocking(stream, methods.as_deref(), timeout));
    match tokio::time::timeout(timeout * 2, work).await {
        Err(_) => Err(format!(
            "the key exchange timed out after {}",
            seconds(timeout * 2)
        )),
        Ok(Err(error)) => Err(error.to_string()),
        Ok(Ok(result)) => result,
    }
}

fn blocking(
    stream: std::net::TcpStream,
    methods: Option<&str>,
    timeout: Duration,
) -> Result<HostKey, String> {
    let told = |error: ssh2::Error| error.message().to_owned();
    stream.set_nonblocking(false).map_err(|e| e.to_string())?;
    let mut session = Session::new().map_err(told)?;
    session.set_timeout(u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX));
    if let Some(methods) = methods {
        session
            .method_pref(MethodType::HostKey, methods)
            .map_err(told)?;
    }
    session.set_tcp_stream(stream);
    session.handshake().map_err(told)?;
    let (blob, _) = session
        .host_key()
        .ok_or_else(|| "the server showed no host key".to_owned())?;
    HostKey::of(blob).ok_or_else(|| "the server's host key cannot be read".to_owned())
}

/// The verdict on Git over SSH.
pub(super) fn judge(
    place: &Place,
    heard: &Heard,
    key: Option<&Result<HostKey, String>>,
    expected: &[HostKey],
    carried: Carried,
) -> Check {
    if let Heard::NotReached(refusal) = heard {
        return place.failed(
            refusal.to_string(),
            match refusal {
                Refusal::TimedOut(_) => "packets are dropped: see `network.git_ssh_from` in the site file and the load balancer's security group",
                Refusal::Refused => "nothing listens there: does the load balancer have its ssh listener? `gantry plan` shows what is missing",
                _ => "see that this machine can reach the internet, then try again",
            },
        );
    }
    if !heard.is_well() {
        return place.failed(
            heard.text(),
            "if one end of the proxy protocol is off, client-address below says which; if not, see whether the nodes are \
             healthy and in the target group `ssh`: `gantry status`",
        );
    }
    let ident = heard.ident().unwrap_or_default();
    let server = Server::of(ident);
    let key = match key {
        Some(Ok(key)) => key,
        Some(Err(why)) => {
            return place.failed(
                format!("{server} (`{ident}`) answers, but the key exchange failed: {why}"),
                "see the host keys on the nodes: all Rails nodes need the same, readable by the server",
            );
        }
        None => return place.skipped("the key exchange was not tried"),
    };
    if !expected.is_empty() && !expected.contains(key) {
        let told: Vec<_> = expected.iter().map(ToString::to_string).collect();
        return place.failed(
            format!(
                "{server} proves the host key {key}, and expected was {}",
                told.join(" or ")
            ),
            "all Rails nodes must have the same host keys, those of the secret `ssh-host-keys`: `gantry install` and `gantry exec rails -- sudo systemctl restart gantry-boot`. \
             If the keys are not the site's at all, something else answers: tell users not to accept them",
        );
    }
    let compared = if expected.is_empty() {
        ""
    } else {
        ", which is the expected one"
    };
    if server == Server::OpenSsh && matches!(carried, Carried::ByHeader | Carried::ByPreservation) {
        return place.warning(
            format!("OpenSSH (`{ident}`) answers instead of gitlab-sshd, host key {key}{compared}"),
            "the nodes' port 22 is for the bastion: the target group `ssh` has to lead to gitlab-sshd on port 2222. `gantry \
             install` puts it right",
        );
    }
    place.ok(format!("{server} (`{ident}`), host key {key}{compared}"))
}

/// Which software answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Server {
    GitlabSshd,
    OpenSsh,
    Other,
}

impl Server {
    pub fn of(ident: &str) -> Self {
        if ident.starts_with("SSH-2.0-GitLab-SSHD") {
            Self::GitlabSshd
        } else if ident.starts_with("SSH-2.0-OpenSSH") {
            Self::OpenSsh
        } else {
            Self::Other
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::GitlabSshd => "gitlab-sshd",
            Self::OpenSsh => "OpenSSH",
            Self::Other => "an unknown SSH server",
        })
    }
}

/// The address of this end and of the other, for a PROXY header.
pub(super) fn ends(stream: &TcpStream) -> Option<(SocketAddr, SocketAddr)> {
    Some((stream.local_addr().ok()?, stream.peer_addr().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::{Name, Verdict};

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAfuCHKVTjquxvt6CM6tdG4SLp1Btn/nOeHHE5UOzRdf";

    fn talk(bytes: &[u8]) -> Heard {
        listen(bytes, Next::Closed)
    }

    fn place() -> Place {
        Place::new(Name::GitSsh, "gitlab.example.com:22")
    }

    fn well(ident: &str) -> Heard {
        Heard::Talk {
            ident: Some(ident.to_owned()),
            next: Next::KeyExchange,
        }
    }

    #[test]
    fn a_key_is_read_and_printed_as_ssh_does() {
        let key: HostKey = KEY.parse().unwrap();
        // GitHub's, whose fingerprint is published.
        let other: HostKey =
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl x"
                .parse()
                .unwrap();
        assert_eq!(
            other.to_string(),
            "ssh-ed25519 SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU"
        );
        assert_ne!(key, other);
        for wrong in [
            "",
            "ssh-ed25519",
            "ssh-ed25519 %%",
            &KEY.replace("ed25519 ", "rsa "),
        ] {
            assert!(wrong.parse::<HostKey>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_a_server_says_is_told_apart() {
        let packet = [0, 0, 1, 0, 5, KEXINIT, 7, 7];
        let bytes = [b"SSH-2.0-GitLab-SSHD\r\n".as_slice(), &packet].concat();
        assert_eq!(talk(&bytes), well("SSH-2.0-GitLab-SSHD"));
        let bytes = [b"hello\r\nSSH-2.0-x\n".as_slice(), &packet].concat();
        assert_eq!(talk(&bytes), well("SSH-2.0-x"));
        let Heard::Talk { next, .. } =
            talk(b"SSH-2.0-OpenSSH_9.2p1\r\nInvalid SSH identification string.\r\n")
        else {
            panic!()
        };
        assert_eq!(
            next,
            Next::Text("Invalid SSH identification string.".into())
        );
        assert_eq!(
            talk(b"").text(),
            "the server never said who it is and closed the connection"
        );
        assert_eq!(
            talk(b"HTTP/1.1 400 Bad Request\r\n\r\n").text(),
            "the server never said who it is, and then `HTTP/1.1 400 Bad Request`"
        );
    }

    #[test]
    fn half_a_packet_is_no_key_exchange_yet() {
        let heard = listen(
            b"SSH-2.0-x\r\n\0\0\x01",
            Next::Silent(Duration::from_secs(3)),
        );
        assert!(!heard.is_well());
        assert!(
            heard.text().ends_with("timed out: nothing more for 3 s"),
            "{}",
            heard.text()
        );
    }

    #[test]
    fn keys_are_compared_when_some_are_expected() {
        let key: HostKey = KEY.parse().unwrap();
        let other = HostKey {
            algorithm: "ssh-ed25519".into(),
            blob: b"other".to_vec(),
        };
        let heard = well("SSH-2.0-GitLab-SSHD");
        let judged = |expected: &[HostKey]| {
            judge(
                &place(),
                &heard,
                Some(&Ok(key.clone())),
                expected,
                Carried::ByHeader,
            )
        };
        assert_eq!(judged(&[]).verdict, Verdict::Ok);
        assert!(judged(&[]).detail.contains("gitlab-sshd"));
        assert!(
            judged(&[other.clone(), key.clone()])
                .detail
                .contains("the expected one")
        );
        assert_eq!(judged(&[other]).verdict, Verdict::Failed);
    }

    #[test]
    fn openssh_is_told_apart_where_gitlab_sshd_should_be() {
        let key: HostKey = KEY.parse().unwrap();
        let heard = well("SSH-2.0-OpenSSH_9.2p1");
        let judged = |carried| judge(&place(), &heard, Some(&Ok(key.clone())), &[], carried);
        assert_eq!(judged(Carried::Directly).verdict, Verdict::Ok);
        assert_eq!(judged(Carried::Unknown).verdict, Verdict::Ok);
        assert_eq!(judged(Carried::ByHeader).verdict, Verdict::Warning);
        assert_eq!(judged(Carried::ByPreservation).verdict, Verdict::Warning);
    }
}
