//! The TLS side: the handshake, and what is to be said of the certificate.
//!
//! Connections are made without judging the certificate, and the certificate is judged afterwards. That way a bad
//! certificate is one finding with all its reasons, and the other checks still say how the rest of the site is. No
//! secret is ever sent over these connections.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore,
    SignatureScheme,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::check::{Check, Place};
use super::connect::{Refusal, seconds};
use super::options::ProbeError;

/// A certificate that ends sooner than this is worth a warning. ACM and Let's Encrypt renew earlier than that (60 and
/// 30 days before the end), so a certificate this old is one whose renewal fails.
const WARN_BELOW_DAYS: i64 = 21;

/// Whom to trust.
#[derive(Debug, Clone)]
pub(super) struct Trust {
    roots: Arc<RootCertStore>,
    /// The caller's own anchors, as they are: a self-signed certificate among them is trusted as itself.
    own: Vec<CertificateDer<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
    config: Arc<ClientConfig>,
}

impl Trust {
    /// The anchors of this machine, and those of the caller's files.
    pub fn load(files: &[PathBuf]) -> Result<Self, ProbeError> {
        let mut own = vec![];
        for path in files {
            let text = std::fs::read(path).map_err(|source| ProbeError::CaFile {
                path: path.clone(),
                source,
            })?;
            let found: Vec<_> = CertificateDer::pem_slice_iter(&text)
                .filter_map(Result::ok)
                .collect();
            if found.is_empty() {
                return Err(ProbeError::NoCertificate { path: path.clone() });
            }
            own.extend(found);
        }
        let mut roots = RootCertStore::empty();
        // What this machine's store has of unreadable entries is not the site's fault: the rest counts.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        roots.add_parsable_certificates(own.iter().cloned());
        let provider = Arc::new(ring::default_provider());
        let algorithms = provider.signature_verification_algorithms;
        Ok(Self {
            roots: Arc::new(roots),
            own,
            algorithms,
            config: Arc::new(client(provider)?),
        })
    }

    /// Speaks TLS on a connection.
    pub async fn handshake(
        &self,
        tcp: TcpStream,
        host: &str,
        timeout: Duration,
    ) -> Result<TlsStream<TcpStream>, NoTls> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| NoTls::Other(format!("{host} is not a host name")))?;
        let connector = TlsConnector::from(Arc::clone(&self.config));
        match tokio::time::timeout(timeout, connector.connect(name, tcp)).await {
            Err(_) => Err(NoTls::Silent(timeout)),
            Ok(Err(error)) => Err(NoTls::of(&error)),
            Ok(Ok(stream)) => Ok(stream),
        }
    }
}

fn client(provider: Arc<CryptoProvider>) -> Result<ClientConfig, Error> {
    let algorithms = provider.signature_verification_algorithms;
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(JudgedLater(algorithms)))
        .with_no_client_auth())
}

/// Accepts every certificate whose key signed the handshake; [`flaws`] judges it.
#[derive(Debug)]
struct JudgedLater(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for JudgedLater {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

/// Why there was no TLS on a connection that stood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoTls {
    /// The other end knows nothing newer than TLS 1.1.
    TooOld,
    /// No cipher suite in common.
    NoCommonSuite,
    /// The other end has no certificate for this name.
    UnknownName,
    /// It answers something that is not TLS.
    NotTls,
    Closed,
    Silent(Duration),
    Other(String),
}

impl NoTls {
    fn of(error: &std::io::Error) -> Self {
        let inner = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<Error>());
        match inner {
            Some(Error::AlertReceived(AlertDescription::ProtocolVersion)) => Self::TooOld,
            // A client that offers TLS 1.3 and 1.2 is incompatible with a server mostly for this reason; the text
            // of the others says what they are.
            Some(Error::PeerIncompatible(why)) if format!("{why:?}").contains("Tls1") => {
                Self::TooOld
            }
            Some(Error::AlertReceived(AlertDescription::HandshakeFailure)) => Self::NoCommonSuite,
            Some(Error::AlertReceived(AlertDescription::UnrecognisedName)) => Self::UnknownName,
            Some(Error::InvalidMessage(_)) => Self::NotTls,
            Some(other) => Self::Other(other.to_string()),
            None => match error.kind() {
                ErrorKind::UnexpectedEof
                | ErrorKind::ConnectionReset
                | ErrorKind::ConnectionAborted
                | ErrorKind::BrokenPipe => Self::Closed,
                _ => Self::Other(error.to_string()),
            },
        }
    }
}

impl std::fmt::Display for NoTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooOld => f.write_str("the protocol is too old: neither TLS 1.2 nor TLS 1.3"),
            Self::NoCommonSuite => f.write_str("no cipher suite in common"),
            Self::UnknownName => f.write_str("there is no certificate for this name"),
            Self::NotTls => f.write_str("what answers does not speak TLS"),
            Self::Closed => f.write_str("the connection was closed during the TLS handshake"),
            Self::Silent(after) => write!(
                f,
                "the TLS handshake timed out: the port accepts connections, and nothing was said for {}",
                seconds(*after)
            ),
            Self::Other(why) => write!(f, "the TLS handshake failed: {why}"),
        }
    }
}

/// What came of a handshake.
#[derive(Debug, Clone)]
pub(super) enum Handshake {
    NotReached(Refusal),
    NoTls(NoTls),
    Done {
        version: String,
        chain: Vec<CertificateDer<'static>>,
    },
}

impl Handshake {
    pub fn of(stream: &TlsStream<TcpStream>) -> Self {
        let (_, connection) = stream.get_ref();
        let version = match connection.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_3) => "TLS 1.3",
            Some(rustls::ProtocolVersion::TLSv1_2) => "TLS 1.2",
            _ => "TLS",
        };
        Self::Done {
            version: version.to_owned(),
            chain: connection
                .peer_certificates()
                .unwrap_or_default()
                .iter()
                .map(|c| c.clone().into_owned())
                .collect(),
        }
    }
}

/// One thing that is wrong with a certificate. There can be several at once.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Flaw {
    Expired(Timestamp),
    NotYetValid(Timestamp),
    SelfSigned,
    UnknownIssuer {
        issuer: String,
        /// How many certificates came with it.
        others: usize,
    },
    WrongName(Vec<String>),
    Other(String),
}

impl Flaw {
    fn text(&self, host: &str) -> String {
        match self {
            Self::Expired(end) => format!("expired on {}", day(*end)),
            Self::NotYetValid(start) => format!("not yet valid: it begins on {}", day(*start)),
            Self::SelfSigned => "self-signed".to_owned(),
            Self::UnknownIssuer { issuer, .. } => {
                format!(
                    "unknown issuer: it was issued by `{issuer}`, which this machine does not trust"
                )
            }
            Self::WrongName(names) if names.is_empty() => {
                format!("wrong name: it names no host at all, and so not {host}")
            }
            Self::WrongName(names) => {
                format!(
                    "wrong name: it is for {}, and not for {host}",
                    names.join(", ")
                )
            }
            Self::Other(why) => why.clone(),
        }
    }

    fn help(&self) -> &'static str {
        match self {
            Self::Expired(_) => {
                "ACM renews by itself while the validation record stays in the zone: see `aws acm describe-certificate`, \
                 RenewalSummary. On a single box, run `gitlab-ctl renew-le-certs` there"
            }
            Self::NotYetValid(_) => {
                "compare the clock of this machine with the time; if it is right, the certificate was made for later"
            }
            Self::SelfSigned => {
                "let ACM make the certificate: `tls.certificate = \"request\"` in the site file, then `gantry install`. If \
                 it is meant to be so, give it to --ca-file"
            }
            Self::UnknownIssuer { others: 0, .. } => {
                "the server sends the certificate alone: its intermediate certificates may be missing (import them into ACM \
                 as the chain). If the issuer is your own, give its root to --ca-file"
            }
            Self::UnknownIssuer { .. } => {
                "if the issuer is your own, give its root to --ca-file; if not, something stands between this machine and \
                 the site"
            }
            Self::WrongName(_) => {
                "DNS may lead to another server; if it is the right one, the listener has the wrong certificate: see \
                 `tls.certificate`, `front.registry_domain` and `front.pages_domain` in the site file, then `gantry install`"
            }
            Self::Other(_) => "replace the certificate",
        }
    }
}

/// The verdict on one handshake.
pub(super) fn judge(
    place: &Place,
    host: &str,
    seen: &Handshake,
    trust: &Trust,
    now: Timestamp,
) -> Check {
    let (version, chain) = match seen {
        Handshake::NotReached(refusal) => {
            return place.failed(
                refusal.to_string(),
                match refusal {
                    Refusal::Refused => "nothing listens there: does the load balancer have its https listener? `gantry plan` shows what is missing",
                    Refusal::TimedOut(_) => "packets are dropped: see `network.https_from` in the site file and the load balancer's security group",
                    _ => "see that this machine can reach the internet, then try again",
                },
            );
        }
        Handshake::NoTls(why) => return place.failed(why.to_string(), no_tls_help(why)),
        Handshake::Done { version, chain } => (version, chain),
    };
    let Some((leaf, others)) = chain.split_first() else {
        return place.failed(
            "the server showed no certificate",
            "replace the certificate",
        );
    };
    let Ok((_, parsed)) = X509Certificate::from_der(leaf) else {
        return place.failed("the certificate cannot be read", "replace the certificate");
    };
    let flaws = flaws(&parsed, leaf, others, host, trust, now);
    if let Some(first) = flaws.first() {
        let told: Vec<_> = flaws.iter().map(|f| f.text(host)).collect();
        return place.failed(
            format!("the certificate is not good: {}", told.join("; ")),
            first.help(),
        );
    }
    let end = time(parsed.validity().not_after.timestamp());
    let days = (end.as_second() - now.as_second()) / 86_400;
    let issuer = parsed.issuer().to_string();
    if days < WARN_BELOW_DAYS {
        return place.warning(
            format!("{version}, but the certificate expires in {days} days, on {}", day(end)),
            "renewal should have happened by now. ACM: the validation record must be in the zone and the certificate in \
             use. Let's Encrypt on a single box: port 80 must be open to the world; run `gitlab-ctl renew-le-certs`",
        );
    }
    place.ok(format!(
        "{version}; issued by `{issuer}`, good until {} ({days} days)",
        day(end)
    ))
}

fn no_tls_help(why: &NoTls) -> &'static str {
    match why {
        NoTls::TooOld | NoTls::NoCommonSuite => {
            "the listener's TLS policy is too old, or something else than the load balancer answers: `gantry plan` shows \
             whether the listener differs"
        }
        NoTls::UnknownName => {
            "the listener's certificate has to name it: see `tls.certificate` in the site file"
        }
        NoTls::NotTls => {
            "the listener on this port has to be a TLS one, not TCP to a port of the nodes without TLS: `gantry plan` shows \
             the difference"
        }
        NoTls::Closed | NoTls::Silent(_) | NoTls::Other(_) => {
            "see whether the nodes behind it are healthy: `gantry status`"
        }
    }
}

/// Everything wrong with a certificate, the most telling first.
fn flaws(
    parsed: &X509Certificate<'_>,
    leaf: &CertificateDer<'_>,
    others: &[CertificateDer<'static>],
    host: &str,
    trust: &Trust,
    now: Timestamp,
) -> Vec<Flaw> {
    let mut flaws = vec![];
    let (start, end) = (
        time(parsed.validity().not_before.timestamp()),
        time(parsed.validity().not_after.timestamp()),
    );
    // The chain is judged at a moment at which the certificate itself is valid, so that "expired" does not hide
    // "unknown issuer".
    let mut moment = now;
    if now > end {
        flaws.push(Flaw::Expired(end));
        moment = end;
    } else if now < start {
        flaws.push(Flaw::NotYetValid(start));
        moment = start;
    }
    let Ok(certificate) = ParsedCertificate::try_from(leaf) else {
        flaws.push(Flaw::Other("it cannot be read".to_owned()));
        return flaws;
    };
    if let Ok(name) = ServerName::try_from(host)
        && verify_server_name(&certificate, &name).is_err()
    {
        flaws.push(Flaw::WrongName(names(parsed)));
    }
    if !trust.own.iter().any(|own| own.as_ref() == leaf.as_ref()) {
        let at = UnixTime::since_unix_epoch(Duration::from_secs(
            u64::try_from(moment.as_second()).unwrap_or(0),
        ));
        let chain = verify_server_cert_signed_by_trust_anchor(
            &certificate,
            &trust.roots,
            others,
            at,
            trust.algorithms.all,
        );
        flaws.extend(
            chain
                .err()
                .map(|error| chain_flaw(parsed, others.len(), &error)),
        );
    }
    flaws
}

fn chain_flaw(parsed: &X509Certificate<'_>, others: usize, error: &Error) -> Flaw {
    if parsed.issuer() == parsed.subject() {
        return Flaw::SelfSigned;
    }
    match error {
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => Flaw::UnknownIssuer {
            issuer: parsed.issuer().to_string(),
            others,
        },
        Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => Flaw::Other("a certificate of its chain has expired".to_owned()),
        Error::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        ) => Flaw::Other("a certificate of its chain is not yet valid".to_owned()),
        other => Flaw::Other(other.to_string()),
    }
}

/// The host names and addresses a certificate is for.
fn names(parsed: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(extension)) = parsed.subject_alternative_name() else {
        return vec![];
    };
    extension
        .value
        .general_names
        .iter()
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            GeneralName::IPAddress(octets) => match octets.len() {
                4 => <[u8; 4]>::try_from(*octets)
                    .ok()
                    .map(|o| std::net::Ipv4Addr::from(o).to_string()),
                16 => <[u8; 16]>::try_from(*octets)
                    .ok()
                    .map(|o| std::net::Ipv6Addr::from(o).to_string()),
                _ => None,
            },
            _ => None,
        })
        .collect()
}

/// A moment of a certificate. What is beyond the calendar is its end.
fn time(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap_or(if second < 0 {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    })
}

fn day(moment: Timestamp) -> String {
    moment.strftime("%F").to_string()
}
