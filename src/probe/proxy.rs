//! Whether a visitor's address arrives: the two ends of the proxy protocol, told apart from outside.
//!
//! The load balancer may send a PROXY v2 header or not, and the server behind it may expect one or not. A visitor sees:
//!
//! | sent | expected | nginx | gitlab-sshd | OpenSSH |
//! |---|---|---|---|---|
//! | yes | yes | answers | answers | (never expects) |
//! | yes | no | 400 to every request | says who it is, never goes on | "Invalid SSH identification string" |
//! | no | yes | closes without a word | closes, before or after saying who it is | (never expects) |
//! | no | no | answers | answers | answers |
//!
//! Two of these look alike from outside, and each is told apart by an experiment: a server that expects a header and
//! gets none talks to a visitor who brings one, and Go's SSH server, which takes an unexpected header for a line it may
//! ignore, talks to a visitor who ends that line first. Whether both ends are on or both off is told by GitLab's health
//! page, which answers to inner addresses and to nobody else: a visitor for whom it answers has been taken for the load
//! balancer.

use std::net::SocketAddr;

use tokio::net::TcpStream;

use super::check::{Check, Place};
use super::http::{Answer, Response};
use super::options::Carried;
use super::ssh::{Heard, Next, Server, ends};

/// The twelve bytes every PROXY v2 header begins with.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// A PROXY v2 header that says a TCP connection goes from one address to another.
pub(super) fn header(from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    let mut bytes = SIGNATURE.to_vec();
    // Version 2, command PROXY.
    bytes.push(0x21);
    match (from, to) {
        (SocketAddr::V4(from), SocketAddr::V4(to)) => {
            bytes.extend([0x11, 0, 12]);
            bytes.extend(from.ip().octets());
            bytes.extend(to.ip().octets());
        }
        _ => {
            bytes.extend([0x21, 0, 36]);
            for address in [from, to] {
                bytes.extend(match address {
                    SocketAddr::V4(a) => a.ip().to_ipv6_mapped().octets(),
                    SocketAddr::V6(a) => a.ip().octets(),
                });
            }
        }
    }
    bytes.extend(from.port().to_be_bytes());
    bytes.extend(to.port().to_be_bytes());
    bytes
}

/// The header for a connection of our own, saying nothing but the truth.
pub(super) fn header_of(stream: &TcpStream) -> Vec<u8> {
    ends(stream).map_or_else(Vec::new, |(from, to)| header(from, to))
}

/// The three ways in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Web,
    Redirect,
    Ssh,
}

impl Way {
    /// The subject of its check; also the name of its target group.
    pub fn name(self) -> &'static str {
        match self {
            Self::Web => "web",
            Self::Redirect => "redirect",
            Self::Ssh => "ssh",
        }
    }

    fn server(self) -> &'static str {
        match self {
            Self::Web => "nginx",
            Self::Redirect => "nginx (its redirecting server)",
            Self::Ssh => "gitlab-sshd",
        }
    }

    fn setting(self) -> &'static str {
        match self {
            Self::Web | Self::Redirect => "gitlab_rails['nginx']['proxy_protocol']",
            Self::Ssh => "gitlab_sshd['proxy_protocol']",
        }
    }
}

/// What was concluded of the two ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ends {
    /// Both on or both off.
    Agree,
    /// The load balancer sends it, the server does not expect it. For SSH: which server it is.
    SentNotExpected(Option<Server>),
    /// The server expects it, the load balancer does not send it.
    ExpectedNotSent,
    /// Nothing answers, and nothing says that the proxy protocol is why.
    Untold(String),
}

/// The ends of a way that speaks HTTP. `led` is the answer to the same request behind a PROXY header of our own, asked
/// for when the plain request got no answer.
pub(super) fn web_ends(plain: &Answer, led: Option<&Answer>) -> Ends {
    match plain {
        Answer::Said(response) if is_nginx_400(response) => Ends::SentNotExpected(None),
        Answer::Said(_) => Ends::Agree,
        Answer::Closed if led.is_some_and(|led| led.response().is_some()) => Ends::ExpectedNotSent,
        other => Ends::Untold(other.text()),
    }
}

/// nginx says this to bytes that are no request; the probe's own request is one. It says it too, in other words, to a
/// plain request on a TLS port, which is another matter.
fn is_nginx_400(response: &Response) -> bool {
    response.status == 400
        && response.server().starts_with("nginx")
        && !response
            .body
            .contains("plain HTTP request was sent to HTTPS")
}

/// The ends of the SSH way. The other two are what was heard behind a PROXY header of our own and behind an empty line,
/// asked for when the plain conversation came to nothing.
pub(super) fn ssh_ends(plain: &Heard, led: Option<&Heard>, lined: Option<&Heard>) -> Ends {
    let well = |heard: Option<&Heard>| heard.is_some_and(Heard::is_well);
    let server = plain.ident().map(Server::of);
    match plain {
        heard if heard.is_well() => Ends::Agree,
        Heard::Talk {
            next: Next::Text(words),
            ..
        } if words.contains("Invalid SSH identification") => Ends::SentNotExpected(server),
        Heard::Talk { .. } if well(led) => Ends::ExpectedNotSent,
        Heard::Talk { .. } if well(lined) => Ends::SentNotExpected(server),
        other => Ends::Untold(other.text()),
    }
}

/// What GitLab's health page, meant for inner addresses, said to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Health {
    /// It does not know us: our own address arrived, or at least an outer one.
    Closed,
    /// It answered: GitLab takes us for an inner address.
    Open,
    Unclear,
}

impl Health {
    pub fn of(answer: &Answer) -> Self {
        match answer.response().map(|r| r.status) {
            Some(404) => Self::Closed,
            // 503 is the page too: it says which of the parts is not ready.
            Some(200 | 503) => Self::Open,
            _ => Self::Unclear,
        }
    }
}

/// The finding for one way in.
pub(super) fn finding(
    place: &Place,
    way: Way,
    ends: &Ends,
    health: Health,
    carried: Carried,
) -> Check {
    let server = way.server();
    let group = way.name();
    match ends {
        Ends::SentNotExpected(Some(Server::OpenSsh)) => place.failed(
            "the load balancer sends the PROXY header, and behind it is OpenSSH, which cannot read it",
            format!(
                "{}the target group `ssh` has to lead to gitlab-sshd on port 2222 of the nodes; only if OpenSSH is meant, \
                 turn the group's attribute `proxy_protocol_v2.enabled` off",
                configured(carried)
            ),
        ),
        Ends::SentNotExpected(_) => place.failed(
            format!(
                "the load balancer sends the PROXY header, but {server} on the nodes does not expect it"
            ),
            format!(
                "{}{}",
                configured(carried),
                match carried {
                    Carried::ByHeader => format!("the nodes are wrong: `gantry install` and `gantry exec rails -- sudo systemctl restart gantry-boot` turns on {} there", way.setting()),
                    Carried::ByPreservation => format!("the load balancer is wrong: `gantry install` turns off `proxy_protocol_v2.enabled` of the target group `{group}`"),
                    _ => format!("either set `front.proxy_protocol = true` in the site file and `gantry install` and `gantry exec rails -- sudo systemctl restart gantry-boot` ({}), or turn off `proxy_protocol_v2.enabled` of the target group `{group}`", way.setting()),
                }
            ),
        ),
        Ends::ExpectedNotSent => place.failed(
            format!(
                "{server} on the nodes expects the PROXY header, but the load balancer does not send it: a header of our own \
                 gets an answer, a plain connection none"
            ),
            format!(
                "{}{}. Until then anybody can claim any address",
                configured(carried),
                match carried {
                    Carried::ByHeader => format!("the load balancer is wrong: `gantry install` turns on `proxy_protocol_v2.enabled` of the target group `{group}`"),
                    Carried::ByPreservation => format!("the nodes are wrong: `gantry install` and `gantry exec rails -- sudo systemctl restart gantry-boot` turns off {} there", way.setting()),
                    _ => format!("either turn on `proxy_protocol_v2.enabled` of the target group `{group}`, or set `front.proxy_protocol = false` in the site file and `gantry install` and `gantry exec rails -- sudo systemctl restart gantry-boot` ({})", way.setting()),
                }
            ),
        ),
        Ends::Untold(why) => place.skipped(format!("nothing can be told from silence: {why}")),
        Ends::Agree => agreed(place, way, health, carried),
    }
}

fn agreed(place: &Place, way: Way, health: Health, carried: Carried) -> Check {
    let answers = format!("{} answers, so both ends agree", way.server());
    match (way, health) {
        (Way::Web, Health::Open) => {
            let detail = "GitLab takes this visitor for an inner address: its health page, open to the site's own network \
                          only, answers from outside";
            let help = format!(
                "{}most likely neither end carries the visitor's address, and GitLab sees the load balancer's: audit logs, \
                 rate limits and address rules are blind. See `proxy_protocol_v2.enabled` of the target group `web` and {} \
                 on the nodes. If this machine is inside the site's network, probe from outside",
                configured(carried),
                way.setting()
            );
            if carried == Carried::ByHeader {
                place.failed(detail, help)
            } else {
                place.warning(detail, help)
            }
        }
        (Way::Web, Health::Closed) => place.ok(format!(
            "{answers}; the health page, open to the site's own network only, is closed to this machine: GitLab sees an \
             outer address, not the load balancer's"
        )),
        (Way::Web, Health::Unclear) => place.ok(format!(
            "{answers}; which address GitLab sees could not be told"
        )),
        (Way::Redirect | Way::Ssh, _) => place.ok(format!(
            "{answers}; which address it sees cannot be told from outside"
        )),
    }
}

/// What the site file says, as the beginning of a help text.
fn configured(carried: Carried) -> &'static str {
    match carried {
        Carried::ByHeader => "the site file says `front.proxy_protocol = true`: ",
        Carried::ByPreservation => "the site file says `front.proxy_protocol = false`: ",
        Carried::Unknown | Carried::Directly => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::connect::Refusal;
    use crate::probe::{Name, Verdict};

    fn said(status: u16, server: &str) -> Answer {
        Answer::Said(Response {
            status,
            headers: vec![("server".into(), server.into())],
            body: String::new(),
        })
    }

    fn heard(ident: Option<&str>, next: Next) -> Heard {
        Heard::Talk {
            ident: ident.map(str::to_owned),
            next,
        }
    }

    fn found(way: Way, ends: &Ends, health: Health, carried: Carried) -> Check {
        finding(
            &Place::new(Name::ClientAddress, way.name()),
            way,
            ends,
            health,
            carried,
        )
    }

    #[test]
    fn a_header_is_as_the_protocol_has_it() {
        let v4 = header(
            "192.0.2.1:258".parse().unwrap(),
            "198.51.100.7:443".parse().unwrap(),
        );
        assert_eq!(v4.len(), 28);
        assert_eq!(&v4[..16], b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c");
        assert_eq!(&v4[16..], [192, 0, 2, 1, 198, 51, 100, 7, 1, 2, 1, 187]);
        let v6 = header(
            "[2001:db8::1]:1".parse().unwrap(),
            "192.0.2.1:2".parse().unwrap(),
        );
        assert_eq!(v6.len(), 16 + 36);
        assert_eq!(&v6[12..16], b"\x21\x21\0\x24");
    }

    #[test]
    fn the_ends_of_the_web_way() {
        let closed = Answer::Closed;
        let page = said(200, "nginx");
        assert_eq!(web_ends(&page, None), Ends::Agree);
        assert_eq!(web_ends(&said(502, "nginx"), None), Ends::Agree);
        assert_eq!(
            web_ends(&said(400, "nginx/1.22.1"), None),
            Ends::SentNotExpected(None)
        );
        assert_eq!(web_ends(&said(400, "other"), None), Ends::Agree);
        assert_eq!(web_ends(&closed, Some(&page)), Ends::ExpectedNotSent);
        assert!(matches!(web_ends(&closed, Some(&closed)), Ends::Untold(_)));
        assert!(matches!(
            web_ends(&Answer::NotReached(Refusal::Refused), None),
            Ends::Untold(_)
        ));
    }

    #[test]
    fn tls_twice_is_not_a_proxy_header() {
        let Answer::Said(mut response) = said(400, "nginx") else {
            panic!()
        };
        response.body = "The plain HTTP request was sent to HTTPS port".into();
        assert_eq!(web_ends(&Answer::Said(response), None), Ends::Agree);
    }

    #[test]
    fn the_ends_of_the_ssh_way() {
        let gitlab = Some("SSH-2.0-GitLab-SSHD");
        let well = heard(gitlab, Next::KeyExchange);
        let closed = heard(None, Next::Closed);
        assert_eq!(ssh_ends(&well, None, None), Ends::Agree);
        let refused = heard(
            Some("SSH-2.0-OpenSSH_9.2p1"),
            Next::Text("Invalid SSH identification string.".into()),
        );
        assert_eq!(
            ssh_ends(&refused, Some(&refused), Some(&refused)),
            Ends::SentNotExpected(Some(Server::OpenSsh))
        );
        assert_eq!(
            ssh_ends(&closed, Some(&well), Some(&closed)),
            Ends::ExpectedNotSent
        );
        // gitlab-sshd of some versions says who it is before it misses the header.
        let named = heard(gitlab, Next::Closed);
        assert_eq!(
            ssh_ends(&named, Some(&well), Some(&named)),
            Ends::ExpectedNotSent
        );
        let stuck = heard(gitlab, Next::Silent(std::time::Duration::from_secs(1)));
        assert_eq!(
            ssh_ends(&stuck, Some(&stuck), Some(&well)),
            Ends::SentNotExpected(Some(Server::GitlabSshd))
        );
        assert!(matches!(
            ssh_ends(&closed, Some(&closed), Some(&closed)),
            Ends::Untold(_)
        ));
    }

    #[test]
    fn the_site_file_decides_which_end_is_wrong() {
        let sent = Ends::SentNotExpected(None);
        let missed = Ends::ExpectedNotSent;
        for way in [Way::Web, Way::Redirect, Way::Ssh] {
            let help = |ends: &Ends, carried| found(way, ends, Health::Unclear, carried).help;
            let group = format!("of the target group `{}`", way.name());
            assert!(help(&sent, Carried::ByHeader).contains("the nodes are wrong"));
            assert!(help(&sent, Carried::ByPreservation).contains("the load balancer is wrong"));
            assert!(help(&sent, Carried::ByPreservation).contains(&group));
            assert!(help(&missed, Carried::ByHeader).contains("the load balancer is wrong"));
            assert!(help(&missed, Carried::ByHeader).contains(&group));
            assert!(help(&missed, Carried::ByPreservation).contains("the nodes are wrong"));
            for ends in [&sent, &missed] {
                let unknown = help(ends, Carried::Unknown);
                assert!(
                    unknown.contains("either") && unknown.contains(&group),
                    "{unknown}"
                );
                assert!(unknown.contains(way.setting()), "{unknown}");
            }
        }
    }

    #[test]
    fn agreement_is_honest_about_the_address() {
        let web = |health, carried| found(Way::Web, &Ends::Agree, health, carried);
        assert_eq!(web(Health::Closed, Carried::ByHeader).verdict, Verdict::Ok);
        assert_eq!(
            web(Health::Open, Carried::ByHeader).verdict,
            Verdict::Failed
        );
        assert_eq!(
            web(Health::Open, Carried::Unknown).verdict,
            Verdict::Warning
        );
        let ssh = found(Way::Ssh, &Ends::Agree, Health::Unclear, Carried::ByHeader);
        assert_eq!(ssh.verdict, Verdict::Ok);
        assert!(ssh.detail.ends_with("cannot be told from outside"));
        let untold = found(
            Way::Ssh,
            &Ends::Untold("x".into()),
            Health::Open,
            Carried::Unknown,
        );
        assert_eq!(untold.verdict, Verdict::Skipped);
    }
}
