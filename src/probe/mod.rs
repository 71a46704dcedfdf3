//! Looking at a site from outside, as its users do.
//!
//! [`run`] makes the observations, each with a time limit of its own and together where none needs another; the
//! judgement is in functions from what was seen to a [`Check`], in the file named for what they judge: `tls`, `web`,
//! `ssh`, `proxy`. Nothing is sent that is a secret, and nothing is changed.

mod check;
mod connect;
mod http;
mod options;
mod proxy;
mod ssh;
mod tls;
mod web;

use std::net::SocketAddr;
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;

pub use self::check::{Check, Name, Verdict};
pub use self::options::{Carried, Options, Ports, ProbeError, Resolve, Target};
pub use self::ssh::HostKey;

use self::check::Place;
use self::connect::{Resolver, connect};
use self::http::{Answer, exchange, get};
use self::proxy::{Health, Way};
use self::ssh::{Heard, Lead};
use self::tls::{Handshake, Trust};

/// Looks at everything and says what was seen, in a fixed order: by name of the check, the site's own name first.
///
/// An error is a mistake of the caller (a file of trust anchors that cannot be read); whatever is wrong with the
/// site is in the checks.
pub async fn run(target: &Target, options: &Options) -> Result<Vec<Check>, ProbeError> {
    let probe = Probe {
        target,
        ports: options.ports,
        timeout: options.timeout,
        trust: Trust::load(&options.ca_files)?,
        resolver: Resolver::new(options.resolve.clone(), options.timeout),
    };
    let mut names = vec![target.domain.clone()];
    names.extend(target.registry.clone());
    // Pages sites have names below the domain, and so has their record.
    names.extend(target.pages.as_ref().map(|p| format!("gantry-probe.{p}")));

    let mut checks: Vec<Check> =
        join_all(names.iter().map(|name| probe.resolver.check(name))).await;
    let known: Vec<bool> = checks
        .iter()
        .map(|check| check.verdict != Verdict::Failed)
        .collect();
    let tls = join_all(
        names
            .iter()
            .zip(&known)
            .map(|(name, known)| probe.tls(name, *known)),
    );
    if known.first().copied().unwrap_or(false) {
        let (tls, web, redirect, ssh) =
            tokio::join!(tls, probe.web(), probe.redirect(), probe.ssh());
        checks.extend(tls);
        checks.extend([web, redirect, ssh].into_iter().flatten());
    } else {
        checks.extend(tls.await);
        checks.extend(probe.unresolved());
    }
    checks.sort_by_key(|check| check.name);
    Ok(checks)
}

/// What all observations share.
struct Probe<'a> {
    target: &'a Target,
    ports: Ports,
    timeout: Duration,
    trust: Trust,
    resolver: Resolver,
}

/// Whether an HTTP request goes through TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layer {
    Tls,
    Plain,
}

/// Whether a request comes behind a PROXY header of our own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Preface {
    Nothing,
    ProxyHeader,
}

impl Probe<'_> {
    fn host(&self) -> &str {
        &self.target.domain
    }

    fn https(&self) -> Place {
        Place::new(
            Name::SignIn,
            format!("https://{}{}", self.host(), web::SIGN_IN_PATH),
        )
    }

    fn git_https(&self) -> Place {
        Place::new(Name::GitHttps, format!("https://{}", self.host()))
    }

    fn socket(&self) -> Place {
        Place::new(
            Name::Websocket,
            format!("wss://{}{}", self.host(), web::CABLE_PATH),
        )
    }

    fn http(&self) -> Place {
        Place::new(Name::Redirect, format!("http://{}", self.host()))
    }

    fn git_ssh(&self) -> Place {
        Place::new(Name::GitSsh, format!("{}:{}", self.host(), self.ports.ssh))
    }

    fn address(way: Way) -> Place {
        Place::new(Name::ClientAddress, way.name())
    }

    /// Everything that cannot be looked at without an address.
    fn unresolved(&self) -> Vec<Check> {
        let mut places = vec![
            self.http(),
            self.https(),
            self.git_https(),
            self.socket(),
            self.git_ssh(),
        ];
        places.extend([Way::Web, Way::Redirect, Way::Ssh].map(Self::address));
        places
            .iter()
            .map(|place| place.skipped("the name does not resolve"))
            .collect()
    }

    async fn tls(&self, host: &str, known: bool) -> Check {
        let place = Place::new(Name::Tls, format!("{host}:{}", self.ports.https));
        if !known {
            return place.skipped("the name does not resolve");
        }
        let seen = match self.open(host, self.ports.https).await {
            Err(refusal) => Handshake::NotReached(refusal),
            Ok(tcp) => match self.trust.handshake(tcp, host, self.timeout).await {
                Err(why) => Handshake::NoTls(why),
                Ok(stream) => Handshake::of(&stream),
            },
        };
        tls::judge(&place, host, &seen, &self.trust, Timestamp::now())
    }

    /// Sign-in page, Git, WebSocket and the address, all over the https port.
    async fn web(&self) -> Vec<Check> {
        let mut checks = vec![];
        let page = self
            .ask(Layer::Tls, web::SIGN_IN_PATH, &[], Preface::Nothing)
            .await;
        if matches!(page, Answer::NotReached(_) | Answer::NoTls(_)) {
            let because = format!("there is no TLS connection: {}", page.text());
            let places = [
                self.https(),
                self.git_https(),
                self.socket(),
                Self::address(Way::Web),
            ];
            checks.extend(places.map(|place| place.skipped(&because)));
            return checks;
        }
        checks.push(web::sign_in(&self.https(), self.host(), &page));
        let led = self.led(Layer::Tls, web::SIGN_IN_PATH, &page).await;
        let ends = proxy::web_ends(&page, led.as_ref());
        if ends != proxy::Ends::Agree {
            let because = "the web side does not answer requests, see sign-in and client-address";
            checks.extend([self.git_https(), self.socket()].map(|place| place.skipped(because)));
            checks.push(self.carried(Way::Web, &ends, Health::Unclear));
            return checks;
        }
        let origin = format!("Origin: https://{}", self.host());
        let key = format!("Sec-WebSocket-Key: {}", web::SOCKET_KEY);
        let upgrade = [
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Protocol: actioncable-v1-json",
            &origin,
            &key,
        ];
        let (git, socket, health) = tokio::join!(
            self.ask(Layer::Tls, web::GIT_PATH, &[], Preface::Nothing),
            self.ask(Layer::Tls, web::CABLE_PATH, &upgrade, Preface::Nothing),
            self.ask(Layer::Tls, web::READINESS_PATH, &[], Preface::Nothing),
        );
        // While GitLab is starting, nginx alone answers, and it knows nothing of who may see the health page.
        let is_up = page.response().is_some_and(|r| r.status < 500);
        let health = if is_up {
            Health::of(&health)
        } else {
            Health::Unclear
        };
        checks.push(web::git_https(&self.git_https(), &git));
        checks.push(web::websocket(&self.socket(), &socket));
        checks.push(self.carried(Way::Web, &ends, health));
        checks
    }

    async fn redirect(&self) -> Vec<Check> {
        let answer = self.ask(Layer::Plain, "/", &[], Preface::Nothing).await;
        let led = self.led(Layer::Plain, "/", &answer).await;
        let ends = proxy::web_ends(&answer, led.as_ref());
        vec![
            web::redirect(&self.http(), self.host(), self.ports.https, &answer),
            self.carried(Way::Redirect, &ends, Health::Unclear),
        ]
    }

    async fn ssh(&self) -> Vec<Check> {
        let port = self.ports.ssh;
        let addresses = match self.resolver.lookup(self.host(), port).await {
            Ok(addresses) => addresses,
            Err(refusal) => {
                let heard = Heard::NotReached(refusal);
                return self.heard(&heard, None, None, None);
            }
        };
        let expected = &self.target.host_keys;
        let talk = |lead| ssh::converse(&addresses, lead, self.timeout);
        let plain = talk(Lead::Nothing).await;
        if plain.is_well() {
            let key = ssh::host_key(&addresses, expected, self.timeout).await;
            return self.heard(&plain, Some(&key), None, None);
        }
        if matches!(plain, Heard::NotReached(_)) {
            return self.heard(&plain, None, None, None);
        }
        let (led, lined) = tokio::join!(talk(Lead::ProxyHeader), talk(Lead::EmptyLine));
        self.heard(&plain, None, Some(&led), Some(&lined))
    }

    fn heard(
        &self,
        plain: &Heard,
        key: Option<&Result<HostKey, String>>,
        led: Option<&Heard>,
        lined: Option<&Heard>,
    ) -> Vec<Check> {
        let (expected, carried) = (&self.target.host_keys, self.target.carried);
        let ends = proxy::ssh_ends(plain, led, lined);
        vec![
            ssh::judge(&self.git_ssh(), plain, key, expected, carried),
            self.carried(Way::Ssh, &ends, Health::Unclear),
        ]
    }

    fn carried(&self, way: Way, ends: &proxy::Ends, health: Health) -> Check {
        let place = Self::address(way);
        if self.target.carried == Carried::Directly {
            return place.skipped("there is no load balancer: visitors reach the node itself");
        }
        proxy::finding(&place, way, ends, health, self.target.carried)
    }

    /// The same request behind a PROXY header of our own, where the plain one got nothing.
    async fn led(&self, layer: Layer, path: &str, plain: &Answer) -> Option<Answer> {
        if *plain != Answer::Closed {
            return None;
        }
        Some(self.ask(layer, path, &[], Preface::ProxyHeader).await)
    }

    /// One request to the site's own name.
    async fn ask(&self, layer: Layer, path: &str, more: &[&str], preface: Preface) -> Answer {
        let port = match layer {
            Layer::Tls => self.ports.https,
            Layer::Plain => self.ports.http,
        };
        let mut tcp = match self.open(self.host(), port).await {
            Ok(tcp) => tcp,
            Err(refusal) => return Answer::NotReached(refusal),
        };
        let mut request = match preface {
            Preface::Nothing => vec![],
            Preface::ProxyHeader => proxy::header_of(&tcp),
        };
        request.extend(get(self.host(), path, more));
        match layer {
            Layer::Plain => exchange(&mut tcp, &request, self.timeout).await,
            Layer::Tls => match self.trust.handshake(tcp, self.host(), self.timeout).await {
                Err(why) => Answer::NoTls(why),
                Ok(mut stream) => exchange(&mut stream, &request, self.timeout).await,
            },
        }
    }

    async fn open(&self, host: &str, port: u16) -> Result<tokio::net::TcpStream, connect::Refusal> {
        let addresses: Vec<SocketAddr> = self.resolver.lookup(host, port).await?;
        connect(&addresses, self.timeout).await
    }
}
