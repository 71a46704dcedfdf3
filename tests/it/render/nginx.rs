//! A real nginx: the fragment that redirects plain HTTP.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use gantry::node::REDIRECT_PATH;
use gantry::profile::ProfileName;

use super::{drawn, site};

/// What a load balancer says before the request, in its second version: a visitor from 198.51.100.7.
const HEADER: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc6\x33\x64\x07\x0a\x14\0\x05\x30\x39\0\x50";

/// A running nginx; it ends with the value.
struct Nginx {
    child: Child,
    at: SocketAddr,
    folder: tempfile::TempDir,
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(folder: &Path) -> Command {
    let mut command = Command::new("/usr/sbin/nginx");
    command
        .arg("-p")
        .arg(folder)
        .args(["-c", "nginx.conf", "-e", "error.log"])
        .stdin(Stdio::null());
    command
}

fn tested(folder: &Path) -> Output {
    command(folder)
        .arg("-t")
        .output()
        .expect("these tests need nginx: apt-get install nginx-light")
}

impl Nginx {
    /// The fragment, on a free port instead of its own, inside the least that nginx needs.
    fn with(fragment: &str) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = free.local_addr().unwrap();
        drop(free);
        let folder = tempfile::tempdir().unwrap();
        let moved = fragment.replace("listen 8081", &format!("listen {at}"));
        assert_ne!(moved, fragment);
        std::fs::write(folder.path().join("redirect.conf"), moved).unwrap();
        let whole = "daemon off;\nmaster_process off;\npid nginx.pid;\nevents {}\nhttp {\n  access_log off;\n  client_body_temp_path body;\n  proxy_temp_path proxy;\n  fastcgi_temp_path fastcgi;\n  uwsgi_temp_path uwsgi;\n  scgi_temp_path scgi;\n  include redirect.conf;\n}\n";
        std::fs::write(folder.path().join("nginx.conf"), whole).unwrap();
        let checked = tested(folder.path());
        assert!(
            checked.status.success(),
            "{}",
            String::from_utf8_lossy(&checked.stderr)
        );
        let child = command(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let nginx = Self { child, at, folder };
        nginx.wait();
        nginx
    }

    /// Until it takes connections.
    fn wait(&self) {
        for _ in 0..200 {
            if TcpStream::connect(self.at).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(25));
        }
        let log = std::fs::read_to_string(self.folder.path().join("error.log"));
        panic!("nginx takes no connection: {log:?}");
    }

    /// Everything it answers.
    fn ask(&self, before: &[u8], host: &str) -> String {
        let mut stream = TcpStream::connect(self.at).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        stream.write_all(before).unwrap();
        let request =
            format!("GET /group/project?a=b HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        // A connection that is cut has answered nothing.
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }
}

fn fragment(front: &str) -> String {
    let more = format!(
        "[front]\nregistry_domain = \"registry.acme.example\"\npages_domain = \"pages.acme.example\"\n{front}\n[registry]\n"
    );
    drawn(site(ProfileName::Poc2k, &more))
        .file("rails", REDIRECT_PATH)
        .to_owned()
}

fn location(answer: &str) -> &str {
    assert!(answer.starts_with("HTTP/1.1 301 "), "{answer}");
    answer
        .lines()
        .find_map(|line| line.strip_prefix("Location: "))
        .unwrap()
}

#[test]
fn plain_http_is_redirected_behind_a_proxy_header() {
    let nginx = Nginx::with(&fragment("proxy_protocol = true"));
    for (host, to) in [
        ("gitlab.acme.example", "gitlab.acme.example"),
        ("registry.acme.example", "registry.acme.example"),
        ("group.pages.acme.example", "group.pages.acme.example"),
        ("evil.example", "gitlab.acme.example"),
        ("10.20.0.5:8081", "gitlab.acme.example"),
    ] {
        let answer = nginx.ask(HEADER, host);
        assert_eq!(location(&answer), format!("https://{to}/group/project?a=b"));
        assert!(!answer.to_lowercase().contains("nginx/"), "{answer}");
    }
    let without = nginx.ask(b"", "gitlab.acme.example");
    assert!(!without.contains("301"), "{without}");
}

#[test]
fn plain_http_is_redirected_without_a_proxy_header() {
    let nginx = Nginx::with(&fragment("proxy_protocol = false"));
    let answer = nginx.ask(b"", "gitlab.acme.example");
    assert_eq!(
        location(&answer),
        "https://gitlab.acme.example/group/project?a=b"
    );
    let with = nginx.ask(HEADER, "gitlab.acme.example");
    assert!(!with.contains("301"), "{with}");
}
