//! `gantry probe` against real servers on loopback: nginx, OpenSSH, and a small load balancer before them.

mod balancer;
mod certificates;
mod nginx;
mod sshd;

use std::time::Duration;

use gantry::probe::{self, Carried, Check, Name, Options, Ports, ProbeError, Target, Verdict};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use self::balancer::Header::{NotSent, Sent};
use self::balancer::{Behind, Header, Listening};
use self::certificates::{Certificates, Kind};
use self::nginx::{Cable, Nginx, Page, Redirect, Wanted};
use self::sshd::{Server, Sshd};

const DOMAIN: &str = "gitlab.example.test";

/// Far beyond what anything here takes, so that no check ends by it unless it is meant to.
const PATIENCE: Duration = Duration::from_mins(1);

/// A site to be probed. As it stands, everything about it is right.
#[derive(Debug, Clone, Copy)]
struct Plan {
    certificate: Kind,
    page: Page,
    cable: Cable,
    redirect: Redirect,
    /// What the balancer sends, and whether nginx expects it.
    web: (Header, bool),
    http: (Header, bool),
    ssh: (Header, Server),
}

const RIGHT: Plan = Plan {
    certificate: Kind::Good,
    page: Page::Gitlab,
    cable: Cable::Passed,
    redirect: Redirect::Redirects,
    web: (Sent, true),
    http: (Sent, true),
    ssh: (Sent, Server::GitlabRequiring),
};

/// The site, until it is dropped.
struct Stand {
    certificates: Certificates,
    sshd: Sshd,
    https: Listening,
    http: Listening,
    ssh: Listening,
    _nginx: Nginx,
    _socket: Listening,
    _dead: Listening,
}

impl Plan {
    async fn stand(self) -> Stand {
        let certificates = Certificates::make(self.certificate);
        let (socket, dead) = (socket_end().await, Listening::refusing());
        let nginx = Nginx::start(&Wanted {
            web_expects: self.web.1,
            redirect_expects: self.http.1,
            page: self.page,
            redirect: self.redirect,
            cable: self.cable,
            cable_port: socket.port,
            dead_port: dead.port,
        })
        .await;
        let sshd = Sshd::start(self.ssh.1).await;
        let tls = Some(certificates.acceptor());
        let to_web = Behind::Socket(nginx.web());
        let to_redirect = Behind::Socket(nginx.redirect());
        let to_ssh = Behind::Port(sshd.listening.port);
        Stand {
            https: Listening::balancing(tls, self.web.0, to_web).await,
            http: Listening::balancing(None, self.http.0, to_redirect).await,
            ssh: Listening::balancing(None, self.ssh.0, to_ssh).await,
            certificates,
            sshd,
            _nginx: nginx,
            _socket: socket,
            _dead: dead,
        }
    }

    /// Stands the site up and probes it.
    async fn probed(self) -> Seen {
        self.stand().await.probe().await
    }
}

impl Stand {
    fn options(&self) -> Options {
        let ports = Ports {
            https: self.https.port,
            http: self.http.port,
            ssh: self.ssh.port,
        };
        Options {
            timeout: PATIENCE,
            resolve: on_loopback(ports),
            ca_files: vec![self.certificates.authority()],
            ports,
        }
    }

    fn target() -> Target {
        Target {
            carried: Carried::ByHeader,
            ..Target::named(DOMAIN)
        }
    }

    async fn probe(&self) -> Seen {
        seen(&Self::target(), &self.options()).await
    }
}

/// Every name on loopback.
fn on_loopback(ports: Ports) -> Vec<probe::Resolve> {
    [ports.https, ports.http, ports.ssh]
        .map(|port| format!("*:{port}:127.0.0.1").parse().unwrap())
        .to_vec()
}

async fn seen(target: &Target, options: &Options) -> Seen {
    Seen(probe::run(target, options).await.unwrap())
}

/// Probes ports that need no site behind them.
async fn ports_seen(ports: Ports, timeout: Duration, trusted: Option<&Certificates>) -> Seen {
    let options = Options {
        timeout,
        resolve: on_loopback(ports),
        ca_files: trusted.map(Certificates::authority).into_iter().collect(),
        ports,
    };
    seen(&Target::named(DOMAIN), &options).await
}

/// GitLab's end of a WebSocket: it upgrades what asks for it, and says what Rails says to everything else.
async fn socket_end() -> Listening {
    Listening::serving(|mut stream| async move {
        let mut asked = vec![0; 4096];
        let Ok(count) = stream.read(&mut asked).await else {
            return;
        };
        let asked = String::from_utf8_lossy(&asked[..count]).to_lowercase();
        let upgrades = asked.contains("upgrade: websocket")
            && asked.contains("sec-websocket-key: dghlihnhbxbszsbub25jzq==");
        let words: &[u8] = if upgrades {
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
              Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
        } else {
            b"HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nContent-Length: 14\r\n\r\nPage not found"
        };
        let _ = stream.write_all(words).await;
        let _ = stream.shutdown().await;
    })
    .await
}

/// What the probe said.
struct Seen(Vec<Check>);

impl Seen {
    #[track_caller]
    fn of(&self, name: Name, subject: &str) -> &Check {
        let found = self
            .0
            .iter()
            .find(|c| c.name == name && c.subject.contains(subject));
        found.unwrap_or_else(|| panic!("no check {name} of {subject} in {:#?}", self.0))
    }

    #[track_caller]
    fn is(&self, name: Name, subject: &str, verdict: Verdict, words: &[&str]) {
        let check = self.of(name, subject);
        let told = format!("{} | {}", check.detail, check.help);
        let all = words.iter().all(|w| told.contains(w));
        assert!(
            check.verdict == verdict && all,
            "wanted {verdict:?} with {words:?}, but: {check:#?}"
        );
        let needs_help = matches!(verdict, Verdict::Failed | Verdict::Warning);
        assert_eq!(check.help.is_empty(), !needs_help, "{check:#?}");
    }

    /// The names and subjects that are not as they should be.
    fn wrong(&self) -> Vec<String> {
        self.0
            .iter()
            .filter(|c| c.verdict != Verdict::Ok)
            .map(|c| format!("{} {}", c.name, c.subject))
            .collect()
    }
}

#[tokio::test]
async fn a_good_site_has_nothing_to_complain_of() {
    let stand = RIGHT.stand().await;
    let target = Target {
        registry: Some("registry.example.test".to_owned()),
        pages: Some("pages.example.test".to_owned()),
        host_keys: vec![stand.sshd.host_key().parse().unwrap()],
        ..Stand::target()
    };
    let seen = seen(&target, &stand.options()).await;
    assert_eq!(seen.wrong(), Vec::<String>::new(), "{:#?}", seen.0);
    let names: Vec<_> = seen.0.iter().map(|c| c.name.as_str()).collect();
    let once = ["redirect", "sign-in", "git-https", "websocket", "git-ssh"];
    let wanted = [&["dns"; 3][..], &["tls"; 3], &once, &["client-address"; 3]].concat();
    assert_eq!(names, wanted);
    seen.is(
        Name::Dns,
        "gantry-probe.pages.example.test",
        Verdict::Ok,
        &["127.0.0.1", "--resolve"],
    );
    seen.is(
        Name::Tls,
        DOMAIN,
        Verdict::Ok,
        &["TLS 1.3", "Test-Authority", "(90 days)"],
    );
    seen.is(
        Name::GitSsh,
        DOMAIN,
        Verdict::Ok,
        &["gitlab-sshd", "SHA256:", "the expected one"],
    );
    seen.is(
        Name::ClientAddress,
        "web",
        Verdict::Ok,
        &["both ends agree", "not the load balancer's"],
    );
    seen.is(
        Name::ClientAddress,
        "ssh",
        Verdict::Ok,
        &["both ends agree", "cannot be told"],
    );
}

// Sent and expected, four times each: which end is wrong?

#[tokio::test]
async fn web_sent_and_expected() {
    let seen = Plan {
        web: (Sent, true),
        ..RIGHT
    }
    .probed()
    .await;
    seen.is(
        Name::ClientAddress,
        "web",
        Verdict::Ok,
        &["nginx answers, so both ends agree"],
    );
    seen.is(Name::SignIn, "", Verdict::Ok, &[]);
}

#[tokio::test]
async fn web_sent_and_not_expected() {
    let stand = Plan {
        web: (Sent, false),
        ..RIGHT
    }
    .stand()
    .await;
    let seen = stand.probe().await;
    let words =
        ["the load balancer sends the PROXY header, but nginx on the nodes does not expect it"];
    seen.is(Name::ClientAddress, "web", Verdict::Failed, &words);
    seen.is(
        Name::ClientAddress,
        "web",
        Verdict::Failed,
        &["front.proxy_protocol = true", "nodes are wrong"],
    );
    seen.is(
        Name::SignIn,
        "",
        Verdict::Failed,
        &["400 from nginx", "client-address"],
    );
    seen.is(Name::GitHttps, "", Verdict::Skipped, &["client-address"]);
    seen.is(Name::Websocket, "", Verdict::Skipped, &["client-address"]);
    seen.is(Name::ClientAddress, "redirect", Verdict::Ok, &[]);

    // The same site, of whose file nothing is known, and one whose file wants it off.
    let unknown = Target::named(DOMAIN);
    let seen = self::seen(&unknown, &stand.options()).await;
    let words = [
        "either",
        "front.proxy_protocol = true",
        "`proxy_protocol_v2.enabled` of the target group `web`",
    ];
    seen.is(Name::ClientAddress, "web", Verdict::Failed, &words);
    let off = Target {
        carried: Carried::ByPreservation,
        ..unknown
    };
    let seen = self::seen(&off, &stand.options()).await;
    seen.is(
        Name::ClientAddress,
        "web",
        Verdict::Failed,
        &["front.proxy_protocol = false", "load balancer is wrong"],
    );
}

#[tokio::test]
async fn web_not_sent_and_expected() {
    let seen = Plan {
        web: (NotSent, true),
        ..RIGHT
    }
    .probed()
    .await;
    let words = [
        "nginx on the nodes expects the PROXY header, but the load balancer does not send it",
        "the load balancer is wrong",
        "turns on `proxy_protocol_v2.enabled` of the target group `web`",
    ];
    seen.is(Name::ClientAddress, "web", Verdict::Failed, &words);
    seen.is(
        Name::SignIn,
        "",
        Verdict::Failed,
        &["closed without an answer", "client-address"],
    );
    seen.is(Name::GitSsh, "", Verdict::Ok, &[]);
}

#[tokio::test]
async fn web_not_sent_and_not_expected() {
    let seen = Plan {
        web: (NotSent, false),
        ..RIGHT
    }
    .probed()
    .await;
    let words = [
        "takes this visitor for an inner address",
        "neither end carries",
        "target group `web`",
    ];
    seen.is(Name::ClientAddress, "web", Verdict::Failed, &words);
    seen.is(Name::SignIn, "", Verdict::Ok, &[]);
}

#[tokio::test]
async fn redirect_sent_and_not_expected() {
    let seen = Plan {
        http: (Sent, false),
        ..RIGHT
    }
    .probed()
    .await;
    let words = [
        "sends the PROXY header, but nginx (its redirecting server) on the nodes does not expect it",
    ];
    seen.is(Name::ClientAddress, "redirect", Verdict::Failed, &words);
    seen.is(
        Name::Redirect,
        "",
        Verdict::Failed,
        &["400 from nginx", "client-address"],
    );
    seen.is(Name::ClientAddress, "web", Verdict::Ok, &[]);
}

#[tokio::test]
async fn redirect_not_sent_and_expected() {
    let seen = Plan {
        http: (NotSent, true),
        ..RIGHT
    }
    .probed()
    .await;
    let words = [
        "(its redirecting server) on the nodes expects",
        "does not send it",
        "target group `redirect`",
    ];
    seen.is(Name::ClientAddress, "redirect", Verdict::Failed, &words);
    seen.is(
        Name::Redirect,
        "",
        Verdict::Failed,
        &["closed without an answer", "client-address"],
    );
}

#[tokio::test]
async fn redirect_not_sent_and_not_expected() {
    let seen = Plan {
        http: (NotSent, false),
        ..RIGHT
    }
    .probed()
    .await;
    seen.is(
        Name::ClientAddress,
        "redirect",
        Verdict::Ok,
        &["both ends agree", "cannot be told"],
    );
}

#[tokio::test]
async fn ssh_sent_and_expected() {
    let seen = Plan {
        ssh: (Sent, Server::GitlabRequiring),
        ..RIGHT
    }
    .probed()
    .await;
    seen.is(
        Name::ClientAddress,
        "ssh",
        Verdict::Ok,
        &["gitlab-sshd answers, so both ends agree"],
    );
    seen.is(
        Name::GitSsh,
        "",
        Verdict::Ok,
        &["gitlab-sshd (`SSH-2.0-GitLab-SSHD"],
    );
}

#[tokio::test]
async fn ssh_sent_to_openssh_which_never_expects_it() {
    let seen = Plan {
        ssh: (Sent, Server::OpenSsh),
        ..RIGHT
    }
    .probed()
    .await;
    let words = [
        "sends the PROXY header, and behind it is OpenSSH, which cannot read it",
        "2222",
    ];
    seen.is(Name::ClientAddress, "ssh", Verdict::Failed, &words);
    let words = [
        "SSH-2.0-OpenSSH",
        "Invalid SSH identification string",
        "client-address",
    ];
    seen.is(Name::GitSsh, "", Verdict::Failed, &words);
    seen.is(Name::ClientAddress, "web", Verdict::Ok, &[]);
}

#[tokio::test]
async fn ssh_sent_to_a_gitlab_sshd_that_does_not_expect_it() {
    let stand = Plan {
        ssh: (Sent, Server::GitlabPlain),
        ..RIGHT
    }
    .stand()
    .await;
    // Such a server says who it is and then nothing more: this is waited for.
    let options = Options {
        timeout: Duration::from_secs(5),
        ..stand.options()
    };
    let seen = seen(&Stand::target(), &options).await;
    let words = [
        "sends the PROXY header, but gitlab-sshd on the nodes does not expect it",
        "gitlab_sshd['proxy_protocol']",
    ];
    seen.is(Name::ClientAddress, "ssh", Verdict::Failed, &words);
    seen.is(
        Name::GitSsh,
        "",
        Verdict::Failed,
        &["SSH-2.0-GitLab-SSHD", "timed out"],
    );
}

#[tokio::test]
async fn ssh_not_sent_and_expected() {
    for (server, first) in [
        (Server::GitlabRequiring, "never said who it is"),
        (Server::GitlabRequiringLate, "SSH-2.0-GitLab-SSHD"),
    ] {
        let seen = Plan {
            ssh: (NotSent, server),
            ..RIGHT
        }
        .probed()
        .await;
        let words = [
            "gitlab-sshd on the nodes expects the PROXY header, but the load balancer does not send it",
            "target group `ssh`",
        ];
        seen.is(Name::ClientAddress, "ssh", Verdict::Failed, &words);
        seen.is(
            Name::GitSsh,
            "",
            Verdict::Failed,
            &[first, "closed", "client-address"],
        );
    }
}

#[tokio::test]
async fn ssh_not_sent_and_not_expected() {
    let seen = Plan {
        ssh: (NotSent, Server::GitlabPlain),
        ..RIGHT
    }
    .probed()
    .await;
    seen.is(
        Name::ClientAddress,
        "ssh",
        Verdict::Ok,
        &["both ends agree", "cannot be told from outside"],
    );
    seen.is(Name::GitSsh, "", Verdict::Ok, &["gitlab-sshd"]);
}

#[tokio::test]
async fn openssh_where_gitlab_sshd_should_be() {
    let stand = Plan {
        ssh: (NotSent, Server::OpenSsh),
        ..RIGHT
    }
    .stand()
    .await;
    let known = stand.probe().await;
    known.is(
        Name::GitSsh,
        "",
        Verdict::Warning,
        &["OpenSSH", "instead of gitlab-sshd", "port 2222"],
    );
    // Without a balancer that is how it should be.
    let alone = Target {
        carried: Carried::Directly,
        ..Target::named(DOMAIN)
    };
    let seen = seen(&alone, &stand.options()).await;
    seen.is(Name::GitSsh, "", Verdict::Ok, &["OpenSSH"]);
    for way in ["web", "redirect", "ssh"] {
        seen.is(
            Name::ClientAddress,
            way,
            Verdict::Skipped,
            &["there is no load balancer"],
        );
    }
}

// Certificates.

async fn certified(kind: Kind) -> Seen {
    Plan {
        certificate: kind,
        ..RIGHT
    }
    .probed()
    .await
}

#[tokio::test]
async fn an_expired_certificate() {
    let seen = certified(Kind::Expired).await;
    seen.is(
        Name::Tls,
        DOMAIN,
        Verdict::Failed,
        &["not good: expired on "],
    );
    assert!(
        !seen.of(Name::Tls, DOMAIN).detail.contains(';'),
        "only that: {:?}",
        seen.0
    );
    // The rest of the site is still looked at.
    seen.is(Name::SignIn, "", Verdict::Ok, &[]);
    assert_eq!(seen.wrong().len(), 1, "{:?}", seen.wrong());
}

#[tokio::test]
async fn a_certificate_that_ends_soon() {
    let seen = certified(Kind::EndsSoon).await;
    seen.is(
        Name::Tls,
        DOMAIN,
        Verdict::Warning,
        &["expires in 10 days, on "],
    );
}

#[tokio::test]
async fn a_certificate_that_has_not_begun() {
    let seen = certified(Kind::NotYetValid).await;
    seen.is(
        Name::Tls,
        DOMAIN,
        Verdict::Failed,
        &["not good: not yet valid: it begins on "],
    );
}

#[tokio::test]
async fn a_certificate_of_another_name() {
    let seen = certified(Kind::WrongName).await;
    let words = [
        "wrong name: it is for other.example.test, registry.example.test, *.pages.example.test, and not for gitlab.example.test",
    ];
    seen.is(Name::Tls, DOMAIN, Verdict::Failed, &words);
}

#[tokio::test]
async fn a_certificate_with_two_faults_has_both_told() {
    let seen = certified(Kind::ExpiredWithWrongName).await;
    seen.is(
        Name::Tls,
        DOMAIN,
        Verdict::Failed,
        &["expired on ", "; wrong name: it is for other.example.test"],
    );
}

#[tokio::test]
async fn a_self_signed_certificate() {
    let stand = Plan {
        certificate: Kind::SelfSigned,
        ..RIGHT
    }
    .stand()
    .await;
    let seen = stand.probe().await;
    seen.is(
        Name::Tls,
        DOMAIN,
        Verdict::Failed,
        &["not good: self-signed", "--ca-file"],
    );
    // Given as an anchor, it is trusted as itself.
    let options = Options {
        ca_files: vec![stand.certificates.leaf()],
        ..stand.options()
    };
    let seen = self::seen(&Stand::target(), &options).await;
    seen.is(Name::Tls, DOMAIN, Verdict::Ok, &[]);
}

#[tokio::test]
async fn a_certificate_of_an_unknown_issuer() {
    let stand = RIGHT.stand().await;
    let options = Options {
        ca_files: vec![],
        ..stand.options()
    };
    let seen = seen(&Stand::target(), &options).await;
    seen.is(
        Name::Tls,
        DOMAIN,
        Verdict::Failed,
        &["unknown issuer", "Test-Authority", "intermediate"],
    );
    assert!(!seen.of(Name::Tls, DOMAIN).detail.contains("self-signed"));
}

#[tokio::test]
async fn a_server_of_the_last_century() {
    // The alert `protocol_version`, with which such servers refuse TLS 1.2 and 1.3.
    let https = Listening::saying(b"\x15\x03\x01\0\x02\x02\x46", None).await;
    let dead = Listening::refusing();
    let ports = Ports {
        https: https.port,
        http: dead.port,
        ssh: dead.port,
    };
    let seen = ports_seen(ports, PATIENCE, None).await;
    seen.is(
        Name::Tls,
        DOMAIN,
        Verdict::Failed,
        &["the protocol is too old"],
    );
    seen.is(
        Name::SignIn,
        "",
        Verdict::Skipped,
        &["no TLS connection", "too old"],
    );
    seen.is(
        Name::ClientAddress,
        "web",
        Verdict::Skipped,
        &["no TLS connection"],
    );
    seen.is(
        Name::Redirect,
        "",
        Verdict::Failed,
        &["the redirect is missing: the connection was refused"],
    );
    seen.is(
        Name::GitSsh,
        "",
        Verdict::Failed,
        &["the connection was refused", "ssh listener"],
    );
}

#[tokio::test]
async fn plain_http_where_tls_should_be() {
    let https = Listening::saying(b"HTTP/1.1 400 Bad Request\r\n\r\n", None).await;
    let ports = Ports {
        https: https.port,
        http: https.port,
        ssh: https.port,
    };
    let seen = ports_seen(ports, PATIENCE, None).await;
    seen.is(Name::Tls, DOMAIN, Verdict::Failed, &["does not speak TLS"]);
    seen.is(
        Name::GitSsh,
        "",
        Verdict::Failed,
        &["never said who it is, and then `HTTP/1.1 400 Bad Request`"],
    );
}

// The redirect.

#[tokio::test]
async fn content_instead_of_a_redirect() {
    let seen = Plan {
        redirect: Redirect::Serves,
        ..RIGHT
    }
    .probed()
    .await;
    seen.is(
        Name::Redirect,
        "",
        Verdict::Failed,
        &[
            "redirect is missing: content is served over plain HTTP",
            "8081",
        ],
    );
}

#[tokio::test]
async fn a_redirect_to_another_host() {
    let seen = Plan {
        redirect: Redirect::Elsewhere,
        ..RIGHT
    }
    .probed()
    .await;
    seen.is(
        Name::Redirect,
        "",
        Verdict::Failed,
        &["wrong place", "old.example.test"],
    );
}

#[tokio::test]
async fn no_listener_for_the_redirect() {
    let mut stand = RIGHT.stand().await;
    stand.http = Listening::refusing();
    let seen = stand.probe().await;
    seen.is(
        Name::Redirect,
        "",
        Verdict::Failed,
        &["redirect is missing: the connection was refused"],
    );
    seen.is(
        Name::ClientAddress,
        "redirect",
        Verdict::Skipped,
        &["refused"],
    );
    seen.is(Name::SignIn, "", Verdict::Ok, &[]);
}

// The sign-in page.

#[tokio::test]
async fn gitlab_is_starting() {
    let seen = Plan {
        page: Page::Starting,
        ..RIGHT
    }
    .probed()
    .await;
    seen.is(
        Name::SignIn,
        "",
        Verdict::Failed,
        &["502 from nginx", "GitLab is starting"],
    );
    seen.is(
        Name::ClientAddress,
        "web",
        Verdict::Ok,
        &["both ends agree"],
    );
}

#[tokio::test]
async fn the_balancer_answers_for_missing_nodes() {
    for (words, told) in [
        (
            &b"HTTP/1.1 502 Bad Gateway\r\nServer: awselb/2.0\r\nContent-Length: 0\r\n\r\n"[..],
            "made no sense",
        ),
        (
            b"HTTP/1.1 503 Service Unavailable\r\nServer: awselb/2.0\r\nContent-Length: 0\r\n\r\n",
            "no targets",
        ),
    ] {
        let certificates = Certificates::make(Kind::Good);
        let https = Listening::saying(words, Some(certificates.acceptor())).await;
        let ports = Ports {
            https: https.port,
            http: https.port,
            ssh: https.port,
        };
        let seen = ports_seen(ports, PATIENCE, Some(&certificates)).await;
        seen.is(Name::Tls, DOMAIN, Verdict::Ok, &[]);
        seen.is(
            Name::SignIn,
            "",
            Verdict::Failed,
            &["from awselb/2.0", told],
        );
    }
}

#[tokio::test]
async fn no_node_behind_a_balancer_that_only_passes_on() {
    let mut stand = RIGHT.stand().await;
    let tls = Some(stand.certificates.acceptor());
    stand.https = Listening::balancing(tls, Sent, Behind::Nothing).await;
    stand.ssh = Listening::balancing(None, Sent, Behind::Nothing).await;
    let seen = stand.probe().await;
    seen.is(
        Name::SignIn,
        "",
        Verdict::Failed,
        &["closed without an answer", "no node is behind"],
    );
    // Nothing is claimed that was not seen.
    seen.is(
        Name::ClientAddress,
        "web",
        Verdict::Skipped,
        &["nothing can be told from silence"],
    );
    seen.is(
        Name::ClientAddress,
        "ssh",
        Verdict::Skipped,
        &["nothing can be told from silence"],
    );
    seen.is(
        Name::GitSsh,
        "",
        Verdict::Failed,
        &["never said who it is and closed", "healthy"],
    );
}

#[tokio::test]
async fn a_page_that_is_not_gitlabs() {
    let seen = Plan {
        page: Page::NotGitlab,
        ..RIGHT
    }
    .probed()
    .await;
    seen.is(
        Name::SignIn,
        "",
        Verdict::Failed,
        &["not GitLab's", "Welcome to nginx!"],
    );
}

#[tokio::test]
async fn a_gitlab_that_takes_itself_for_another() {
    let seen = Plan {
        page: Page::GitlabOfAnotherName,
        ..RIGHT
    }
    .probed()
    .await;
    seen.is(
        Name::SignIn,
        "",
        Verdict::Failed,
        &["takes itself for https://old.example.test", "external_url"],
    );
    let seen = Plan {
        page: Page::Elsewhere,
        ..RIGHT
    }
    .probed()
    .await;
    seen.is(
        Name::SignIn,
        "",
        Verdict::Failed,
        &["another host, `old.example.test`", "external_url"],
    );
}

// The WebSocket.

#[tokio::test]
async fn an_upgrade_that_does_not_arrive() {
    let seen = Plan {
        cable: Cable::Stripped,
        ..RIGHT
    }
    .probed()
    .await;
    seen.is(
        Name::Websocket,
        "",
        Verdict::Warning,
        &["404", "takes off the Upgrade header"],
    );
}

#[tokio::test]
async fn an_upgrade_that_is_refused() {
    let seen = Plan {
        cable: Cable::Refused,
        ..RIGHT
    }
    .probed()
    .await;
    seen.is(
        Name::Websocket,
        "",
        Verdict::Failed,
        &["the upgrade was refused: 403"],
    );
}

// SSH host keys.

#[tokio::test]
async fn a_host_key_that_is_not_expected() {
    let stand = RIGHT.stand().await;
    let dir = tempfile::tempdir().unwrap();
    for kind in ["ed25519", "rsa"] {
        let path = dir.path().join(kind);
        sshd::make_key(&path, kind);
        let other = std::fs::read_to_string(path.with_extension("pub")).unwrap();
        let target = Target {
            host_keys: vec![other.parse().unwrap()],
            ..Stand::target()
        };
        let seen = seen(&target, &stand.options()).await;
        let words = [
            "proves the host key ssh-ed25519 SHA256:",
            "and expected was ssh-",
            kind,
        ];
        seen.is(Name::GitSsh, "", Verdict::Failed, &words);
    }
}

// Names and silence.

#[tokio::test]
async fn a_name_that_does_not_resolve() {
    let options = Options {
        timeout: PATIENCE,
        ..Options::default()
    };
    let seen = seen(&Target::named("gitlab.invalid"), &options).await;
    seen.is(
        Name::Dns,
        "gitlab.invalid",
        Verdict::Failed,
        &["the name does not resolve: "],
    );
    let others: Vec<_> = seen.0.iter().filter(|c| c.name != Name::Dns).collect();
    assert_eq!(others.len(), 9);
    for check in others {
        assert_eq!(check.verdict, Verdict::Skipped, "{check:?}");
        assert_eq!(check.detail, "skipped because the name does not resolve");
    }
}

#[tokio::test]
async fn a_registry_name_that_does_not_resolve_leaves_the_rest_alone() {
    let stand = RIGHT.stand().await;
    let ports = stand.options().ports;
    let own = [ports.https, ports.http, ports.ssh]
        .map(|port| format!("{DOMAIN}:{port}:127.0.0.1").parse().unwrap());
    let options = Options {
        resolve: own.to_vec(),
        ..stand.options()
    };
    let target = Target {
        registry: Some("registry.invalid".to_owned()),
        ..Stand::target()
    };
    let seen = seen(&target, &options).await;
    let port = ports.https;
    assert_eq!(
        seen.wrong(),
        [
            "dns registry.invalid".to_owned(),
            format!("tls registry.invalid:{port}")
        ]
    );
    seen.is(
        Name::Tls,
        "registry",
        Verdict::Skipped,
        &["does not resolve"],
    );
}

#[tokio::test]
async fn servers_that_accept_and_never_answer() {
    let silent = Listening::silent().await;
    let ports = Ports {
        https: silent.port,
        http: silent.port,
        ssh: silent.port,
    };
    let seen = ports_seen(ports, Duration::from_millis(300), None).await;
    seen.is(
        Name::Tls,
        DOMAIN,
        Verdict::Failed,
        &["the TLS handshake timed out", "nothing was said for 0.3 s"],
    );
    seen.is(
        Name::Redirect,
        "",
        Verdict::Failed,
        &["timed out", "no answer for 0.3 s"],
    );
    seen.is(
        Name::GitSsh,
        "",
        Verdict::Failed,
        &["never said who it is", "timed out", "0.3 s"],
    );
    seen.is(
        Name::SignIn,
        "",
        Verdict::Skipped,
        &["no TLS connection", "timed out"],
    );
    for way in ["web", "redirect", "ssh"] {
        seen.is(Name::ClientAddress, way, Verdict::Skipped, &["timed out"]);
    }
}

#[tokio::test]
async fn a_site_that_is_silent_behind_its_tls() {
    let certificates = Certificates::make(Kind::Good);
    let silent = Listening::silent().await;
    let tls = Some(certificates.acceptor());
    let https = Listening::balancing(tls, NotSent, Behind::Port(silent.port)).await;
    let dead = Listening::refusing();
    let ports = Ports {
        https: https.port,
        http: dead.port,
        ssh: dead.port,
    };
    // Time enough for the handshakes; the silence after them is what ends it.
    let seen = ports_seen(ports, Duration::from_secs(5), Some(&certificates)).await;
    seen.is(Name::Tls, DOMAIN, Verdict::Ok, &[]);
    seen.is(
        Name::SignIn,
        "",
        Verdict::Failed,
        &["timed out", "no answer for 5 s"],
    );
    seen.is(
        Name::ClientAddress,
        "web",
        Verdict::Skipped,
        &["nothing can be told from silence"],
    );
}

#[tokio::test]
async fn a_file_of_anchors_without_anchors_is_the_callers_mistake() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ca.pem");
    let options = Options {
        ca_files: vec![path.clone()],
        ..Options::default()
    };
    let target = Target::named(DOMAIN);
    let error = probe::run(&target, &options).await.unwrap_err();
    assert!(matches!(error, ProbeError::CaFile { .. }), "{error}");
    std::fs::write(&path, "not a certificate").unwrap();
    let error = probe::run(&target, &options).await.unwrap_err();
    assert!(matches!(error, ProbeError::NoCertificate { .. }), "{error}");
    assert!(error.to_string().contains("ca.pem"));
}

#[test]
fn checks_read_well_for_machines() {
    let check = Check {
        name: Name::ClientAddress,
        subject: "web".to_owned(),
        verdict: Verdict::Skipped,
        detail: "skipped because of something".to_owned(),
        help: String::new(),
    };
    assert_eq!(
        serde_json::to_string(&check).unwrap(),
        r#"{"name":"client-address","subject":"web","verdict":"skipped","detail":"skipped because of something"}"#
    );
}
