//! Certificates of every kind, made by openssl.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use tokio_rustls::TlsAcceptor;

use super::DOMAIN;

/// What is to be said of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Good,
    EndsSoon,
    Expired,
    NotYetValid,
    WrongName,
    ExpiredWithWrongName,
    SelfSigned,
}

/// An authority, and one certificate.
pub struct Certificates {
    dir: TempDir,
}

impl Certificates {
    pub fn make(kind: Kind) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let made = Self { dir };
        made.write("ca.cnf", CONFIG);
        made.write("index.txt", "");
        made.write("serial", "01\n");
        let name = match kind {
            Kind::WrongName | Kind::ExpiredWithWrongName => "other.example.test",
            _ => DOMAIN,
        };
        let names = format!(
            "subjectAltName=DNS:{name},DNS:registry.example.test,DNS:*.pages.example.test\n\
             basicConstraints=critical,CA:FALSE\n"
        );
        made.write("leaf.ext", &names);
        let new_key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -config ca.cnf";
        made.openssl(&format!(
            "req -x509 {new_key} -days 30 -extensions authority -subj /CN=Test-Authority -keyout ca.key -out ca.pem"
        ));
        if kind == Kind::SelfSigned {
            made.openssl(&format!(
                "req -x509 {new_key} -days 30 -extensions alone -subj /CN={name} -keyout leaf.key -out leaf.pem"
            ));
            return made;
        }
        made.openssl(&format!(
            "req -new {new_key} -subj /CN={name} -keyout leaf.key -out leaf.csr"
        ));
        // Half a day more, so that a count of whole days is the same however long the test takes.
        let day = |offset: i64| {
            let hours = jiff::SignedDuration::from_hours(24 * offset + 12);
            let moment = jiff::Timestamp::now() + hours;
            moment.strftime("%Y%m%d%H%M%SZ").to_string()
        };
        let (start, end) = match kind {
            Kind::Expired | Kind::ExpiredWithWrongName => (day(-20), day(-10)),
            Kind::NotYetValid => (day(10), day(90)),
            Kind::EndsSoon => (day(-20), day(10)),
            _ => (day(-2), day(90)),
        };
        made.openssl(&format!(
            "ca -batch -notext -config ca.cnf -startdate {start} -enddate {end} -extfile leaf.ext -in leaf.csr -out leaf.pem"
        ));
        made
    }

    /// The authority, as `--ca-file` takes it.
    pub fn authority(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// The certificate itself.
    pub fn leaf(&self) -> PathBuf {
        self.dir.path().join("leaf.pem")
    }

    /// Speaks TLS with this certificate.
    pub fn acceptor(&self) -> TlsAcceptor {
        let chain: Vec<_> = CertificateDer::pem_file_iter(self.leaf())
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        let key = PrivateKeyDer::from_pem_file(self.dir.path().join("leaf.key")).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.dir.path().join(name), text).unwrap();
    }

    fn openssl(&self, words: &str) {
        run(
            Command::new("openssl")
                .args(words.split(' '))
                .current_dir(self.dir.path()),
            "openssl",
        );
    }
}

/// Runs a program that has to be there and has to succeed.
pub fn run(command: &mut Command, package: &str) {
    let output = command
        .output()
        .unwrap_or_else(|e| panic!("{command:?}: {e}; install it: apt-get install {package}"));
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A path that has to exist; `package` has it.
pub fn installed(path: &str, package: &str) -> PathBuf {
    let found = Path::new(path);
    assert!(
        found.exists(),
        "{path} is missing; install it: apt-get install {package}"
    );
    found.to_owned()
}

const CONFIG: &str = "\
[req]
distinguished_name = name
prompt = no
[name]
commonName = replaced
[authority]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign
[alone]
subjectAltName = DNS:gitlab.example.test
[ca]
default_ca = own
[own]
new_certs_dir = .
database = index.txt
serial = serial
certificate = ca.pem
private_key = ca.key
default_md = sha256
default_days = 30
policy = any
unique_subject = no
[any]
commonName = supplied
";
