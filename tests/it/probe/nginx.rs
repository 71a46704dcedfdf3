//! A real nginx in the place of GitLab's.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;
use tokio::net::UnixStream;

use super::DOMAIN;
use super::certificates::installed;

/// What the sign-in page is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    Gitlab,
    /// GitLab whose external_url is another.
    GitlabOfAnotherName,
    /// A redirect to another host.
    Elsewhere,
    NotGitlab,
    /// Nothing answers behind nginx.
    Starting,
}

/// What the redirecting server does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Redirect {
    Redirects,
    Serves,
    Elsewhere,
}

/// What becomes of an upgrade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cable {
    Passed,
    /// The header is taken off on the way.
    Stripped,
    /// Something answers with a page.
    Refused,
}

/// What nginx is to be.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    pub web_expects: bool,
    pub redirect_expects: bool,
    pub page: Page,
    pub redirect: Redirect,
    pub cable: Cable,
    /// Where GitLab's WebSocket end is.
    pub cable_port: u16,
    /// Where nothing is.
    pub dead_port: u16,
}

/// It runs until it is dropped.
pub struct Nginx {
    child: Child,
    dir: TempDir,
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // The master would leave its worker behind if it were killed.
        let master = rustix::process::Pid::from_child(&self.child);
        if rustix::process::kill_process(master, rustix::process::Signal::TERM).is_err() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

impl Nginx {
    pub async fn start(wanted: &Wanted) -> Self {
        let program = installed("/usr/sbin/nginx", "nginx-light");
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().to_str().unwrap();
        let expects = |yes: bool| if yes { "proxy_protocol" } else { "" };
        let real_ip = "set_real_ip_from unix:; real_ip_header proxy_protocol;";
        let gitlab = |url: &str| {
            format!(
                "default_type text/html; add_header X-Gitlab-Meta '{{\"version\":\"1\"}}'; \
                 return 200 '<title>Sign in</title><script>gon.gitlab_url=\"{url}\";</script>';"
            )
        };
        let sign_in = match wanted.page {
            Page::Gitlab => gitlab(&format!("https://{DOMAIN}")),
            Page::GitlabOfAnotherName => gitlab("https://old.example.test"),
            Page::Elsewhere => "return 302 https://old.example.test/users/sign_in;".to_owned(),
            Page::NotGitlab => {
                "default_type text/html; return 200 '<title>Welcome to nginx!</title>';".to_owned()
            }
            Page::Starting => format!("proxy_pass http://127.0.0.1:{};", wanted.dead_port),
        };
        let redirect = match wanted.redirect {
            Redirect::Redirects => "return 301 https://$host$request_uri;",
            Redirect::Serves => "return 200 '<title>Sign in</title>';",
            Redirect::Elsewhere => "return 301 https://old.example.test$request_uri;",
        };
        let cable = match wanted.cable {
            Cable::Passed => {
                "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;"
            }
            Cable::Stripped => "proxy_http_version 1.1;",
            Cable::Refused => "default_type text/html; return 403 '<title>No</title>';",
        };
        // Started as root, nginx gives its workers another user, who cannot enter the folder.
        let user = if rustix::process::geteuid().is_root() {
            "user root;"
        } else {
            ""
        };
        let mut text = include_str!("../../support/probe/nginx.conf").to_owned();
        for (word, value) in [
            ("@DIR@", root),
            ("@USER@", user),
            ("@WEB_PROXY@", expects(wanted.web_expects)),
            (
                "@WEB_REAL_IP@",
                if wanted.web_expects { real_ip } else { "" },
            ),
            ("@SIGN_IN@", &sign_in),
            ("@CABLE_PORT@", &wanted.cable_port.to_string()),
            ("@CABLE@", cable),
            ("@REDIRECT_PROXY@", expects(wanted.redirect_expects)),
            ("@REDIRECT@", redirect),
        ] {
            text = text.replace(word, value);
        }
        let config = dir.path().join("nginx.conf");
        std::fs::write(&config, text).unwrap();
        let child = Command::new(program)
            .arg("-p")
            .arg(root)
            .arg("-c")
            .arg(&config)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let nginx = Self { child, dir };
        nginx.wait().await;
        nginx
    }

    pub fn web(&self) -> PathBuf {
        self.dir.path().join("web.sock")
    }

    pub fn redirect(&self) -> PathBuf {
        self.dir.path().join("redirect.sock")
    }

    /// Until both sockets take connections.
    async fn wait(&self) {
        for path in [self.web(), self.redirect()] {
            let mut attempts = tokio::time::interval(std::time::Duration::from_millis(20));
            let mut left = 500;
            while UnixStream::connect(&path).await.is_err() {
                left -= 1;
                let log = std::fs::read_to_string(self.dir.path().join("error.log"));
                assert!(
                    left > 0,
                    "nginx does not listen: {}",
                    log.unwrap_or_default()
                );
                attempts.tick().await;
            }
        }
    }
}
