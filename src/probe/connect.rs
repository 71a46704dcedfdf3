//! Names to addresses, and addresses to connections.

use std::fmt;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::check::{Check, Name, Place};
use super::options::Resolve;

/// Why there was no connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The name leads nowhere.
    Unresolved(String),
    /// Something answered that nobody listens there.
    Refused,
    /// Nothing answered at all.
    TimedOut(Duration),
    Other(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unresolved(why) => write!(f, "the name does not resolve: {why}"),
            Self::Refused => f.write_str("the connection was refused"),
            Self::TimedOut(after) => {
                write!(f, "the connection timed out after {}", seconds(*after))
            }
            Self::Other(why) => write!(f, "the connection failed: {why}"),
        }
    }
}

/// A time limit as people write it.
pub(super) fn seconds(time: Duration) -> String {
    format!("{} s", time.as_secs_f64())
}

/// Where names lead: what the caller says first, then what this machine's resolver says.
#[derive(Debug, Clone)]
pub(super) struct Resolver {
    told: Vec<Resolve>,
    timeout: Duration,
}

impl Resolver {
    pub fn new(told: Vec<Resolve>, timeout: Duration) -> Self {
        Self { told, timeout }
    }

    /// The addresses of one service; never empty.
    pub async fn lookup(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, Refusal> {
        let told: Vec<_> = self
            .told
            .iter()
            .filter(|r| r.names(host) && r.port() == port)
            .flat_map(|r| r.addresses().iter().map(|ip| SocketAddr::new(*ip, port)))
            .collect();
        if told.is_empty() {
            self.system(host, port).await
        } else {
            Ok(told)
        }
    }

    async fn system(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, Refusal> {
        let deadline = Instant::now() + self.timeout;
        match timeout_at(deadline, tokio::net::lookup_host((host, port))).await {
            Err(_) => Err(Refusal::Unresolved(format!(
                "no answer within {}",
                seconds(self.timeout)
            ))),
            Ok(Err(error)) => Err(Refusal::Unresolved(error.to_string())),
            Ok(Ok(found)) => {
                let found: Vec<_> = found.collect();
                if found.is_empty() {
                    Err(Refusal::Unresolved("it has no address".to_owned()))
                } else {
                    Ok(found)
                }
            }
        }
    }

    /// The check of one name.
    pub async fn check(&self, host: &str) -> Check {
        let place = Place::new(Name::Dns, host);
        let told: Vec<IpAddr> = self
            .told
            .iter()
            .filter(|r| r.names(host))
            .flat_map(|r| r.addresses().iter().copied())
            .collect();
        if told.is_empty() {
            judge(&place, self.system(host, 0).await)
        } else {
            place.ok(format!("{}, as --resolve says", list(told)))
        }
    }
}

fn judge(place: &Place, found: Result<Vec<SocketAddr>, Refusal>) -> Check {
    match found {
        Err(refusal) => place.failed(
            refusal.to_string(),
            "make the record: an alias or CNAME to the load balancer's name, which `gantry status` shows. A new record \
             can take as long as the zone's negative TTL to appear",
        ),
        Ok(found) if found.iter().all(|a| is_private(a.ip())) => place.warning(
            format!(
                "{}: nobody outside can reach that",
                list(found.iter().map(|a| a.ip()))
            ),
            "the resolver of this machine may know an inner view of the zone; ask one outside, or correct the record",
        ),
        Ok(found) => place.ok(list(found.iter().map(|a| a.ip()))),
    }
}

fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_private() || ip.is_loopback() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

/// Every address once, in a fixed order.
fn list(addresses: impl IntoIterator<Item = IpAddr>) -> String {
    let unique: std::collections::BTreeSet<_> = addresses.into_iter().collect();
    let told: Vec<_> = unique.iter().map(ToString::to_string).collect();
    told.join(", ")
}

/// The first of the addresses that accepts. Each gets its share of what is left of the time, so that one dead
/// address does not eat it all.
pub(super) async fn connect(
    addresses: &[SocketAddr],
    timeout: Duration,
) -> Result<TcpStream, Refusal> {
    let end = Instant::now() + timeout;
    let mut refusal = Refusal::TimedOut(timeout);
    for (index, address) in addresses.iter().enumerate() {
        let left = end.saturating_duration_since(Instant::now());
        let others = u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
        match timeout_at(Instant::now() + left / others, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => {
                refusal = Refusal::Refused;
            }
            Ok(Err(error)) => refusal = Refusal::Other(error.to_string()),
            Err(_) => refusal = Refusal::TimedOut(timeout),
        }
    }
    Err(refusal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::Verdict;

    fn judged(addresses: &[&str]) -> Check {
        let found = addresses
            .iter()
            .map(|a| SocketAddr::new(a.parse().unwrap(), 0))
            .collect();
        judge(&Place::new(Name::Dns, "gitlab.example.com"), Ok(found))
    }

    #[test]
    fn addresses_are_told_once() {
        let check = judged(&["198.51.100.2", "198.51.100.1", "198.51.100.2"]);
        assert_eq!(check.verdict, Verdict::Ok);
        assert_eq!(check.detail, "198.51.100.1, 198.51.100.2");
    }

    #[test]
    fn an_inner_address_alone_is_worth_a_word() {
        assert_eq!(judged(&["10.20.0.7"]).verdict, Verdict::Warning);
        assert_eq!(judged(&["10.20.0.7", "198.51.100.1"]).verdict, Verdict::Ok);
        assert_eq!(judged(&["fd00::1"]).verdict, Verdict::Warning);
    }
}
