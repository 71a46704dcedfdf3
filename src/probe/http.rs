//! As much of HTTP/1.1 as a probe needs: one request, one answer, a bounded body.
//!
//! No HTTP client: what matters here is what such clients hide, namely whether the other end closed without a word,
//! stayed silent, or answered before it understood the request.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

use super::connect::{Refusal, seconds};
use super::tls::NoTls;

/// Enough of GitLab's sign-in page to recognise it: the page is about 20 KiB.
const BODY_LIMIT: usize = 256 * 1024;

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    NotReached(Refusal),
    NoTls(NoTls),
    /// The other end closed the connection without a word.
    Closed,
    /// The connection stood, and nothing came in this time.
    Silent(Duration),
    /// Something came, and it is not HTTP: the beginning of it.
    Garbled(String),
    Said(Response),
}

/// An answer in HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Response {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The beginning of the body, as text.
    pub body: String,
}

impl Response {
    /// The first header of this name (in lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }

    /// Who says it is answering.
    pub fn server(&self) -> &str {
        self.header("server").unwrap_or_default()
    }

    /// `502 from nginx`, for messages.
    pub fn brief(&self) -> String {
        match self.server() {
            "" => format!("{}", self.status),
            server => format!("{} from {server}", self.status),
        }
    }

    /// The title of a page.
    pub fn title(&self) -> Option<&str> {
        let start = self.body.find("<title>")? + "<title>".len();
        let length = self.body[start..].find("</title>")?;
        Some(self.body[start..start + length].trim()).filter(|t| !t.is_empty())
    }
}

impl Answer {
    pub fn response(&self) -> Option<&Response> {
        match self {
            Self::Said(response) => Some(response),
            _ => None,
        }
    }

    /// As a clause: "the connection was refused".
    pub fn text(&self) -> String {
        match self {
            Self::NotReached(refusal) => refusal.to_string(),
            Self::NoTls(why) => why.to_string(),
            Self::Closed => "the connection was closed without an answer".to_owned(),
            Self::Silent(after) => format!(
                "it timed out: the connection stood, and there was no answer for {}",
                seconds(*after)
            ),
            Self::Garbled(start) => format!("the answer is not HTTP: it begins with {start:?}"),
            Self::Said(response) => format!("the answer was {}", response.brief()),
        }
    }
}

/// One GET. `more` are whole header lines.
pub(super) fn get(host: &str, path: &str, more: &[&str]) -> Vec<u8> {
    let mut text = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: gantry-probe/{}\r\nAccept: */*\r\n",
        env!("CARGO_PKG_VERSION")
    );
    for line in more {
        text.push_str(line);
        text.push_str("\r\n");
    }
    if !more.iter().any(|line| line.starts_with("Connection:")) {
        text.push_str("Connection: close\r\n");
    }
    text.push_str("\r\n");
    text.into_bytes()
}

/// Sends the bytes and hears the answer.
pub(super) async fn exchange<S>(stream: &mut S, request: &[u8], timeout: Duration) -> Answer
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let end = Instant::now() + timeout;
    // An end that dislikes the first bytes answers and closes while the rest is still being written: what it said
    // is worth more than the error of writing.
    let written = timeout_at(end, async {
        stream.write_all(request).await?;
        stream.flush().await
    });
    if written.await.is_err() {
        return Answer::Silent(timeout);
    }
    let mut bytes = Vec::new();
    let mut chunk = vec![0; 16 * 1024];
    loop {
        if bytes.len() >= BODY_LIMIT || is_complete(&bytes) {
            return parse(&bytes);
        }
        match timeout_at(end, stream.read(&mut chunk)).await {
            Err(_) if bytes.is_empty() => return Answer::Silent(timeout),
            Ok(Ok(0) | Err(_)) if bytes.is_empty() => return Answer::Closed,
            Err(_) | Ok(Ok(0) | Err(_)) => return parse(&bytes),
            Ok(Ok(count)) => bytes.extend_from_slice(&chunk[..count]),
        }
    }
}

/// Whether an answer needs no more bytes. One whose length nobody announced ends with the connection.
fn is_complete(bytes: &[u8]) -> bool {
    let Some(body) = head_end(bytes) else {
        return false;
    };
    let Answer::Said(head) = parse(&bytes[..body]) else {
        return true;
    };
    // Nothing follows these but another protocol.
    if head.status == 101 || head.status == 204 || head.status == 304 {
        return true;
    }
    if let Some(length) = head.header("content-length").and_then(|l| l.parse().ok()) {
        return bytes.len() - body >= length;
    }
    is_chunked(&head) && bytes.ends_with(b"\r\n0\r\n\r\n")
}

fn is_chunked(response: &Response) -> bool {
    response
        .header("transfer-encoding")
        .is_some_and(|e| e.eq_ignore_ascii_case("chunked"))
}

fn head_end(bytes: &[u8]) -> Option<usize> {
    bytes
        .windows(4)
        .position(|w| w == b"\r\n\r\n")
        .map(|p| p + 4)
}

fn parse(bytes: &[u8]) -> Answer {
    let garbled = || {
        let start = &bytes[..bytes.len().min(40)];
        Answer::Garbled(String::from_utf8_lossy(start).into_owned())
    };
    let Some(body) = head_end(bytes) else {
        return garbled();
    };
    let head = String::from_utf8_lossy(&bytes[..body]);
    let mut lines = head.lines();
    let status = lines
        .next()
        .filter(|line| line.starts_with("HTTP/1."))
        .and_then(|line| line.split(' ').nth(1))
        .and_then(|code| code.parse().ok());
    let Some(status) = status else {
        return garbled();
    };
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim().to_lowercase(), value.trim().to_owned()))
        .collect();
    let mut response = Response {
        status,
        headers,
        body: String::new(),
    };
    let body = if is_chunked(&response) {
        unchunked(&bytes[body..])
    } else {
        bytes[body..].to_vec()
    };
    response.body = String::from_utf8_lossy(&body).into_owned();
    Answer::Said(response)
}

/// The contents of the chunks that are there; a last one cut short counts.
fn unchunked(mut bytes: &[u8]) -> Vec<u8> {
    let mut body = vec![];
    while let Some(line) = bytes.windows(2).position(|w| w == b"\r\n") {
        let size = std::str::from_utf8(&bytes[..line])
            .ok()
            .and_then(|text| text.split(';').next())
            .and_then(|text| usize::from_str_radix(text.trim(), 16).ok());
        let rest = &bytes[line + 2..];
        match size {
            None | Some(0) => break,
            Some(size) if size >= rest.len() => {
                body.extend_from_slice(rest);
                break;
            }
            Some(size) => {
                body.extend_from_slice(&rest[..size]);
                bytes = rest.get(size + 2..).unwrap_or_default();
            }
        }
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Response {
        match parse(text.as_bytes()) {
            Answer::Said(response) => response,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn reads_heads_and_bodies() {
        let response = said(
            "HTTP/1.1 502 Bad Gateway\r\nServer: nginx\r\nX: a\r\nX: b\r\n\r\n<title> Oh </title>",
        );
        assert_eq!(response.brief(), "502 from nginx");
        assert_eq!(response.header("x"), Some("a"));
        assert_eq!(response.title(), Some("Oh"));
    }

    #[test]
    fn joins_chunks_even_a_cut_one() {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(
            said(&format!("{head}3\r\nGit\r\n3;x=y\r\nLab\r\n0\r\n\r\n")).body,
            "GitLab"
        );
        assert_eq!(said(&format!("{head}3\r\nGit\r\nff\r\nLa")).body, "GitLa");
    }

    #[test]
    fn knows_when_to_stop_reading() {
        let complete = |text: &str| is_complete(text.as_bytes());
        assert!(!complete("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"));
        assert!(!complete("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na"));
        assert!(complete("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab"));
        assert!(!complete("HTTP/1.1 200 OK\r\n\r\nab"));
        assert!(complete(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"
        ));
        assert!(complete("220 mail.example.com\r\n\r\n"));
    }

    #[test]
    fn what_is_not_http_is_shown() {
        let Answer::Garbled(start) = parse(b"SSH-2.0-OpenSSH_9.2p1\r\n") else {
            panic!()
        };
        assert!(start.starts_with("SSH-2.0"));
        assert!(matches!(parse(b"\x15\x03\x01"), Answer::Garbled(_)));
    }

    #[test]
    fn a_request_closes_unless_it_upgrades() {
        let text = |more: &[&str]| String::from_utf8(get("a.example", "/x", more)).unwrap();
        assert!(text(&[]).contains("\r\nConnection: close\r\n\r\n"));
        assert!(!text(&["Connection: Upgrade"]).contains("close"));
    }
}
