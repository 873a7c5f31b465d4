//! The thread that serves connections: of this device's clients, and of guests over TLS.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;

use super::connection::{Admitted, Connections, Door, Patient, Remote};

/// Most connections at once.
pub(super) const MOST_CONNECTIONS: usize = 256;
/// Most guest connections at once. They take no places from those of this device.
pub(super) const MOST_SHARED: usize = 128;
/// Memory for the bodies of requests.
pub(super) const ROOM: usize = 128 << 20;
/// Memory for the bodies of guests' requests.
pub(super) const ROOM_SHARED: usize = 64 << 20;
/// Time limit of the TLS handshake.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// Time within which a whole head must arrive, also between two requests.
const HEAD_WITHIN: Duration = Duration::from_secs(75);
/// Most header lines.
const MOST_HEADERS: usize = 100;
/// Largest head, in bytes.
const MOST_HEAD_BYTES: usize = 64 << 10;
/// Pause before the next attempt when the system cannot accept another connection.
const NO_ROOM: Duration = Duration::from_millis(100);

/// The API could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Listening on the address failed.
    #[error(
        "cannot listen on {address} for {}: {} {option}",
        if *option == SHARE_OPTION { "HTTPS" } else { "HTTP" },
        match source.kind() {
            io::ErrorKind::AddrInUse => "another program uses this port: end it, or choose another with",
            _ => "choose another address with",
        }
    )]
    Listen {
        /// The option that sets the address.
        option: &'static str,
        /// The address.
        address: SocketAddr,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The system cannot start a thread.
    #[error("cannot serve HTTP")]
    Threads(#[source] io::Error),
    /// TLS is unavailable.
    #[error(transparent)]
    Certificate(#[from] super::CertificateError),
}

const HTTP_OPTION: &str = "--http";
const SHARE_OPTION: &str = "--share-at";

/// The default port of a shared API.
const SHARED_PORT: u16 = 11436;

/// A bound port. Connections queue until it is served.
pub struct Listening {
    pub(super) listener: TcpListener,
    pub(super) address: SocketAddr,
}

impl Listening {
    /// Listens on an address; port 0 takes any free port.
    ///
    /// # Errors
    /// [`StartError::Listen`].
    pub fn on(address: SocketAddr) -> Result<Self, StartError> {
        Self::of(address, HTTP_OPTION, TcpListener::bind(address))
    }

    /// Listens for guests on this address, or on the default port of all addresses.
    ///
    /// # Errors
    /// [`StartError::Listen`].
    pub fn shared(address: Option<SocketAddr>) -> Result<Self, StartError> {
        if let Some(address) = address {
            return Self::of(address, SHARE_OPTION, TcpListener::bind(address));
        }
        let address = SocketAddr::from((Ipv6Addr::UNSPECIFIED, SHARED_PORT));
        match Self::of(address, SHARE_OPTION, bind_both(address)) {
            // A system without IPv6.
            Err(StartError::Listen { source, .. }) if source.kind() != io::ErrorKind::AddrInUse => {
                let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, SHARED_PORT));
                Self::of(address, SHARE_OPTION, TcpListener::bind(address))
            }
            listening => listening,
        }
    }

    fn of(
        address: SocketAddr,
        option: &'static str,
        bound: io::Result<TcpListener>,
    ) -> Result<Self, StartError> {
        let failed = |source| StartError::Listen {
            option,
            address,
            source,
        };
        let listener = bound.map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address })
    }

    /// The address, with the actual port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Binds an IPv6 address that accepts connections over IPv4 as well.
fn bind_both(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_only_v6(false)?;
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(1024)?;
    Ok(socket.into())
}

/// A port and how its connections are served.
pub(super) struct Entrance {
    pub(super) listening: Listening,
    pub(super) connections: Arc<Connections>,
    /// TLS, for guests.
    pub(super) tls: Option<TlsAcceptor>,
}

/// An API served on a thread of its own until this is dropped.
pub struct Server {
    stopping: watch::Sender<Option<Instant>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(super) fn start(entrances: Vec<Entrance>, router: Router) -> Result<Self, StartError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            // For parsing long bodies; these tasks end on their own.
            .max_blocking_threads(2)
            .build()
            .map_err(StartError::Threads)?;
        let (stopping, stopped) = watch::channel(None);
        let service = TowerToHyperService::new(router);
        let serve = move || {
            runtime.block_on(async {
                let all = entrances.into_iter().map(|entrance| {
                    let (service, stopped) = (service.clone(), stopped.clone());
                    tokio::spawn(serve(entrance, service, stopped))
                });
                for entrance in all.collect::<Vec<_>>() {
                    // If the task panicked, the panic has been printed.
                    let _ = entrance.await;
                }
            });
        };
        let thread = thread::Builder::new().name("potluck-http".to_owned());
        let thread = thread.spawn(serve).map_err(StartError::Threads)?;
        Ok(Self {
            stopping,
            thread: Some(thread),
        })
    }

    /// Stops accepting connections and requests. Running answers may finish within this time.
    pub fn stop(&self, within: Duration) {
        // The first deadline applies.
        self.stopping.send_if_modified(|until| {
            let first = until.is_none();
            until.get_or_insert_with(|| Instant::now() + within);
            first
        });
    }

    /// Whether the thread has ended.
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop(Duration::ZERO);
        if let Some(thread) = self.thread.take() {
            // If the thread panicked, the panic has been printed.
            let _ = thread.join();
        }
    }
}

async fn serve(
    entrance: Entrance,
    service: TowerToHyperService<Router>,
    mut stopped: watch::Receiver<Option<Instant>>,
) {
    let Entrance {
        listening,
        connections,
        tls,
    } = entrance;
    let listener = match tokio::net::TcpListener::from_std(listening.listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(why = %error, "HTTP is not served"),
    };
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.changed() => break,
        };
        match accepted {
            Ok((stream, from)) => {
                // Without a free place the connection is dropped here.
                if let Some(admitted) = connections.admit() {
                    let (service, stopped) = (service.clone(), stopped.clone());
                    let from = Remote(from.ip());
                    // Send each token immediately.
                    let _ = stream.set_nodelay(true);
                    match &tls {
                        None => {
                            let stream = Patient::new(stream);
                            tokio::spawn(converse(
                                stream,
                                (from, Door::Own),
                                admitted,
                                service,
                                stopped,
                            ));
                        }
                        Some(tls) => {
                            let tls = tls.clone();
                            let door = Door::Shared(from.0.to_canonical());
                            tokio::spawn(greet(
                                stream,
                                tls,
                                (from, door),
                                admitted,
                                service,
                                stopped,
                            ));
                        }
                    }
                }
            }
            Err(error) => {
                tracing::warn!(why = %error, "a connection is not taken");
                sleep(NO_ROOM).await;
            }
        }
    }
    drop(listener);
    let until = (*stopped.borrow()).unwrap_or_else(Instant::now);
    while connections.count() > 0 && Instant::now() < until {
        sleep(Duration::from_millis(5)).await;
    }
}

/// Completes the TLS handshake with a client within [`HANDSHAKE_WITHIN`], and serves it.
async fn greet(
    stream: TcpStream,
    tls: TlsAcceptor,
    client: (Remote, Door),
    admitted: Admitted,
    service: TowerToHyperService<Router>,
    mut stopped: watch::Receiver<Option<Instant>>,
) {
    let agreed = tokio::select! {
        agreed = timeout(HANDSHAKE_WITHIN, handshake(stream, tls)) => agreed,
        // Another connection needs the place.
        () = admitted.phase.closed() => return,
        _ = stopped.wait_for(Option::is_some) => return,
    };
    if let Ok(Ok(stream)) = agreed {
        converse(stream, client, admitted, service, stopped).await;
    }
}

/// The first byte of a TLS handshake record.
const TLS_HANDSHAKE: u8 = 22;
/// The answer to clients that do not speak TLS.
const NOT_HTTPS: &str = "this port is for HTTPS: use an address that begins with https://\n";

async fn handshake(
    mut stream: TcpStream,
    tls: TlsAcceptor,
) -> io::Result<impl AsyncRead + AsyncWrite + Unpin> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 1 && first[0] != TLS_HANDSHAKE {
        // Closing a socket with unread data would discard the answer.
        let _ = stream.read(&mut [0; 4096]).await?;
        let length = NOT_HTTPS.len();
        let head = "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\nconnection: close";
        let answer = format!("{head}\r\ncontent-length: {length}\r\n\r\n{NOT_HTTPS}");
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await?;
        return Err(io::ErrorKind::InvalidData.into());
    }
    tls.accept(Patient::new(stream)).await
}

/// Serves the requests of one connection.
async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    (from, door): (Remote, Door),
    admitted: Admitted,
    service: TowerToHyperService<Router>,
    mut stopped: watch::Receiver<Option<Instant>>,
) {
    let (phase, room) = (admitted.phase.clone(), admitted.room());
    let answer = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(phase.clone());
        request.extensions_mut().insert(room.clone());
        request.extensions_mut().insert(from);
        request.extensions_mut().insert(door);
        service.call(request.map(Body::new))
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_headers(MOST_HEADERS)
        .max_header_size(MOST_HEAD_BYTES)
        .max_buf_size(MOST_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), answer);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        // A broken connection is the client's concern.
        _ = connection.as_mut() => true,
        () = admitted.phase.closed() => true,
        _ = stopped.wait_for(Option::is_some) => false,
    };
    if !ended {
        connection.as_mut().graceful_shutdown();
        let until = (*stopped.borrow()).unwrap_or_else(Instant::now);
        tokio::select! {
            _ = connection.as_mut() => {}
            () = sleep_until(until) => {}
        }
    }
}
