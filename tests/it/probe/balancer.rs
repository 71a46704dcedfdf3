//! A small network load balancer on loopback, and ends that only stand there.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// Whether the balancer writes the PROXY header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    Sent,
    NotSent,
}

/// What stands behind it.
#[derive(Debug, Clone)]
pub enum Behind {
    Socket(PathBuf),
    Port(u16),
    /// No healthy target.
    Nothing,
}

/// Something that listens until it is dropped.
pub struct Listening {
    pub port: u16,
    task: Option<JoinHandle<()>>,
    _held: Option<TcpSocket>,
    _silent: Option<TcpListener>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Listening {
    /// Hands every connection to `serve`, each on its own.
    pub async fn serving<F, S>(serve: S) -> Self
    where
        S: Fn(TcpStream) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let task = tokio::spawn(async move {
            // Connections end with the set they are in, and that ends with this task.
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream));
            }
        });
        Self {
            port,
            task: Some(task),
            _held: None,
            _silent: None,
        }
    }

    /// A port that refuses, and that nobody else can take meanwhile.
    pub fn refusing() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        Self {
            port: socket.local_addr().unwrap().port(),
            task: None,
            _held: Some(socket),
            _silent: None,
        }
    }

    /// A port that takes connections and never says anything.
    pub async fn silent() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        Self {
            port: listener.local_addr().unwrap().port(),
            task: None,
            _held: None,
            _silent: Some(listener),
        }
    }

    /// Answers everything with the same bytes, through TLS if there is a certificate.
    pub async fn saying(words: &'static [u8], tls: Option<TlsAcceptor>) -> Self {
        async fn say(mut stream: impl AsyncRead + AsyncWrite + Unpin, words: &[u8]) {
            let mut asked = vec![0; 4096];
            if stream.read(&mut asked).await.is_ok() {
                let _ = stream.write_all(words).await;
                let _ = stream.shutdown().await;
            }
        }
        Self::serving(move |stream| {
            let tls = tls.clone();
            async move {
                match tls {
                    None => say(stream, words).await,
                    Some(tls) => {
                        if let Ok(stream) = tls.accept(stream).await {
                            say(stream, words).await;
                        }
                    }
                }
            }
        })
        .await
    }

    /// A listener of the balancer: through TLS if it has a certificate, with or without the header.
    pub async fn balancing(tls: Option<TlsAcceptor>, header: Header, behind: Behind) -> Self {
        let behind = Arc::new(behind);
        Self::serving(move |stream| {
            let (tls, behind) = (tls.clone(), Arc::clone(&behind));
            async move {
                match tls {
                    None => balance(stream, header, &behind).await,
                    Some(tls) => {
                        if let Ok(stream) = tls.accept(stream).await {
                            balance(stream, header, &behind).await;
                        }
                    }
                }
            }
        })
        .await
    }
}

/// Joins a visitor to what stands behind. Like AWS's, the header goes out with the visitor's first bytes, so a visitor
/// who waits for the server to speak first waits in vain.
async fn balance(mut visitor: impl AsyncRead + AsyncWrite + Unpin, header: Header, to: &Behind) {
    let mut first = vec![0; 16 * 1024];
    let Ok(count @ 1..) = visitor.read(&mut first).await else {
        return;
    };
    let mut bytes = match header {
        Header::Sent => proxy_header(),
        Header::NotSent => vec![],
    };
    bytes.extend_from_slice(&first[..count]);
    match to {
        Behind::Nothing => {}
        Behind::Socket(path) => {
            join(visitor, UnixStream::connect(path).await.unwrap(), &bytes).await;
        }
        Behind::Port(port) => {
            let address = (Ipv4Addr::LOCALHOST, *port);
            join(visitor, TcpStream::connect(address).await.unwrap(), &bytes).await;
        }
    }
}

async fn join(
    mut visitor: impl AsyncRead + AsyncWrite + Unpin,
    mut server: impl AsyncRead + AsyncWrite + Unpin,
    first: &[u8],
) {
    if server.write_all(first).await.is_ok() {
        let _ = copy_bidirectional(&mut visitor, &mut server).await;
    }
}

/// Says that a visitor from the documentation network came, whoever it was.
fn proxy_header() -> Vec<u8> {
    let visitor: SocketAddr = "203.0.113.7:40000".parse().unwrap();
    let mut bytes = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    bytes.extend([203, 0, 113, 7, 198, 51, 100, 1]);
    bytes.extend(visitor.port().to_be_bytes());
    bytes.extend(443u16.to_be_bytes());
    bytes
}
