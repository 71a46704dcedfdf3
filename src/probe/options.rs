//! What to probe, and how.

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::ssh::HostKey;

/// The site as its users know it, and what is known of how it was built.
#[derive(Debug, Clone)]
pub struct Target {
    /// The site's own name.
    pub domain: String,
    /// The host name of the container registry.
    pub registry: Option<String>,
    /// The domain under which Pages sites appear; a name below it is probed.
    pub pages: Option<String>,
    pub carried: Carried,
    /// The keys the SSH server may present. Empty: any.
    pub host_keys: Vec<HostKey>,
}

impl Target {
    /// A site of which only the name is known.
    pub fn named(domain: impl Into<String>) -> Self {
        Self {
            domain: domain.into(),
            registry: None,
            pages: None,
            carried: Carried::Unknown,
            host_keys: vec![],
        }
    }
}

/// How the site file says that a visitor's address reaches the nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carried {
    /// There is no site file for this name.
    Unknown,
    /// `front.proxy_protocol = true`: the load balancer writes a PROXY v2 header, the nodes expect it.
    ByHeader,
    /// `front.proxy_protocol = false`: the load balancer keeps the visitor's address on its packets.
    ByPreservation,
    /// There is no load balancer.
    Directly,
}

/// How to look.
#[derive(Debug, Clone)]
pub struct Options {
    /// For each conversation by itself; a check is one conversation, and another two when the first tells of a
    /// half-enabled proxy protocol.
    pub timeout: Duration,
    pub resolve: Vec<Resolve>,
    /// PEM files with further trust anchors, beside those of this machine.
    pub ca_files: Vec<PathBuf>,
    pub ports: Ports,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(10),
            resolve: vec![],
            ca_files: vec![],
            ports: Ports::default(),
        }
    }
}

/// Where the services are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    pub https: u16,
    pub http: u16,
    pub ssh: u16,
}

impl Default for Ports {
    fn default() -> Self {
        Self {
            https: 443,
            http: 80,
            ssh: 22,
        }
    }
}

impl Ports {
    /// Takes one `SERVICE=PORT`.
    pub fn set(&mut self, text: &str) -> Result<(), ProbeError> {
        let wrong = || ProbeError::Port(text.to_owned());
        let (service, port) = text.split_once('=').ok_or_else(wrong)?;
        let port: u16 = port
            .parse()
            .ok()
            .filter(|port| *port > 0)
            .ok_or_else(wrong)?;
        match service {
            "https" => self.https = port,
            "http" => self.http = port,
            "ssh" => self.ssh = port,
            _ => return Err(wrong()),
        }
        Ok(())
    }
}

/// `HOST:PORT:ADDRESS[,ADDRESS]…` as curl reads it: these addresses instead of what DNS says. The host may be `*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolve {
    host: String,
    port: u16,
    addresses: Vec<IpAddr>,
}

impl Resolve {
    /// Whether it speaks of this host.
    pub fn names(&self, host: &str) -> bool {
        self.host == "*" || self.host.eq_ignore_ascii_case(host)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }
}

impl FromStr for Resolve {
    type Err = ProbeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ProbeError::Resolve(text.to_owned());
        let mut parts = text.splitn(3, ':');
        let (Some(host), Some(port), Some(addresses)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(wrong());
        };
        let addresses = addresses
            .split(',')
            .map(|a| a.trim_start_matches('[').trim_end_matches(']').parse())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| wrong())?;
        if host.is_empty() {
            return Err(wrong());
        }
        Ok(Self {
            host: host.to_owned(),
            port: port.parse().map_err(|_| wrong())?,
            addresses,
        })
    }
}

/// Why nothing could be probed: a mistake of the caller, never of the site.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    #[error("`{0}` does not say where a name leads")]
    Resolve(String),
    #[error("`{0}` does not name a service and its port")]
    Port(String),
    #[error("`{0}` is not a public host key")]
    HostKey(String),
    #[error("the file {} of trust anchors cannot be read", path.display())]
    CaFile {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("the file {} holds no certificate in PEM", path.display())]
    NoCertificate { path: PathBuf },
    #[error("TLS cannot be set up here")]
    Tls(#[from] rustls::Error),
}

impl ProbeError {
    /// What to do about it.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Resolve(_) => {
                "write HOST:PORT:ADDRESS, for example gitlab.example.com:443:192.0.2.7"
            }
            Self::Port(_) => "write https=PORT, http=PORT or ssh=PORT",
            Self::HostKey(_) => {
                "write it as `ssh-keyscan` prints it, without the name: ssh-ed25519 AAAA…"
            }
            Self::CaFile { .. } => "check the path and its permissions",
            Self::NoCertificate { .. } => {
                "it should hold one or more blocks that begin with -----BEGIN CERTIFICATE-----"
            }
            Self::Tls(_) => "this is a fault of gantry; please report it",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolve_reads_as_curl_does() {
        let one: Resolve = "gitlab.example.com:443:127.0.0.1".parse().unwrap();
        assert!(one.names("GitLab.example.com"));
        assert!(!one.names("example.com"));
        assert_eq!((one.port(), one.addresses().len()), (443, 1));
        let two: Resolve = "*:22:[2001:db8::1],192.0.2.7".parse().unwrap();
        assert!(two.names("anything"));
        let told: Vec<_> = two.addresses().iter().map(ToString::to_string).collect();
        assert_eq!(told, ["2001:db8::1", "192.0.2.7"]);
    }

    #[test]
    fn a_wrong_resolve_is_shown_as_it_was_written() {
        for text in [
            "",
            "host",
            "host:22",
            "host:x:127.0.0.1",
            "host:22:name",
            ":22:127.0.0.1",
        ] {
            let error = text.parse::<Resolve>().unwrap_err();
            assert!(error.to_string().contains(&format!("`{text}`")), "{error}");
        }
    }

    #[test]
    fn ports_are_set_by_service() {
        let mut ports = Ports::default();
        ports.set("https=8443").unwrap();
        ports.set("ssh=2222").unwrap();
        assert_eq!((ports.https, ports.http, ports.ssh), (8443, 80, 2222));
        for text in ["https", "https=", "https=0", "ftp=21", "http=70000"] {
            assert!(ports.set(text).is_err(), "{text}");
        }
    }
}
