//! The thread that serves connections.

use std::io;
use std::net::{SocketAddr, TcpListener};
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
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::connection::{Admitted, Connections, Patient, Remote};

/// Connections at once.
pub(super) const MOST_CONNECTIONS: usize = 256;
/// A connection that sends no whole head for so long ends: between two requests, too.
const HEAD_WITHIN: Duration = Duration::from_secs(75);
/// Lines of a head.
const MOST_HEADERS: usize = 100;
/// Bytes of a head.
const MOST_HEAD_BYTES: usize = 64 << 10;
/// How long to wait where the system has no room for another connection.
const NO_ROOM: Duration = Duration::from_millis(100);

/// An API cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be listened on.
    #[error(
        "cannot listen on {address} for HTTP: {}",
        match source.kind() {
            io::ErrorKind::AddrInUse => "another program uses this port: end it, or choose another with --http",
            _ => "choose another address with --http",
        }
    )]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The system has no more threads.
    #[error("cannot serve HTTP")]
    Threads(#[source] io::Error),
}

/// A port that is this process's: connections wait until they are served.
pub struct Listening {
    pub(super) listener: TcpListener,
    pub(super) address: SocketAddr,
}

impl Listening {
    /// Listens on an address; port 0 is any that is free.
    ///
    /// # Errors
    /// [`StartError::Listen`].
    pub fn on(address: SocketAddr) -> Result<Self, StartError> {
        let failed = |source| StartError::Listen { address, source };
        let listener = TcpListener::bind(address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address })
    }

    /// The address, with its port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// An API that is served on a thread of its own, until this is dropped.
pub struct Server {
    stopping: watch::Sender<Option<Instant>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(super) fn start(
        listening: Listening,
        router: Router,
        connections: Arc<Connections>,
    ) -> Result<Self, StartError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            // For bodies that take long to read; they end when they are read.
            .max_blocking_threads(2)
            .build()
            .map_err(StartError::Threads)?;
        let (stopping, stopped) = watch::channel(None);
        let serve = move || {
            runtime.block_on(async {
                match tokio::net::TcpListener::from_std(listening.listener) {
                    Ok(listener) => serve(listener, &router, &connections, stopped).await,
                    Err(error) => tracing::error!(why = %error, "HTTP is not served"),
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

    /// Takes no more connections and requests. Answers may end within this time.
    pub fn stop(&self, within: Duration) {
        // The first word counts.
        self.stopping.send_if_modified(|until| {
            let first = until.is_none();
            until.get_or_insert_with(|| Instant::now() + within);
            first
        });
    }

    /// Whether its thread has ended.
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop(Duration::ZERO);
        if let Some(thread) = self.thread.take() {
            // Its panic, if it had one, was printed.
            let _ = thread.join();
        }
    }
}

async fn serve(
    listener: tokio::net::TcpListener,
    router: &Router,
    connections: &Arc<Connections>,
    mut stopped: watch::Receiver<Option<Instant>>,
) {
    let service = TowerToHyperService::new(router.clone());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.changed() => break,
        };
        match accepted {
            Ok((stream, from)) => {
                // Without a place it ends here.
                if let Some(admitted) = connections.admit() {
                    let (service, stopped) = (service.clone(), stopped.clone());
                    let from = Remote(from.ip());
                    tokio::spawn(converse(stream, from, admitted, service, stopped));
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

/// Answers the requests of one connection.
async fn converse(
    stream: TcpStream,
    from: Remote,
    admitted: Admitted,
    service: TowerToHyperService<Router>,
    mut stopped: watch::Receiver<Option<Instant>>,
) {
    // A token is sent when it is there.
    let _ = stream.set_nodelay(true);
    let phase = admitted.phase.clone();
    let answer = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(phase.clone());
        request.extensions_mut().insert(from);
        service.call(request.map(Body::new))
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_headers(MOST_HEADERS)
        .max_header_size(MOST_HEAD_BYTES)
        .max_buf_size(MOST_HEAD_BYTES)
        .serve_connection(TokioIo::new(Patient::new(stream)), answer);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        // A connection that broke is the client's affair.
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
