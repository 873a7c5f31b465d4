//! TCP connections that end when they have become useless.
//!
//! When a device loses an address, TCP does not report it: the connections from that address retransmit
//! for a quarter of an hour. So this module keeps the local address of each connection and ends the
//! connection when the address goes. Closing sends Yamux's goodbye to the other side, which never
//! finishes on a dead connection, so it is limited to [`GOODBYE`]. Where the system allows it, a
//! connection on which nothing was acknowledged for [`UNACKNOWLEDGED`] is ended, too.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use libp2p::core::muxing::{StreamMuxer, StreamMuxerEvent};
use libp2p::futures::task::AtomicWaker;
use libp2p::futures::{AsyncRead, AsyncWrite};
use libp2p::tcp;
use tokio::time::Sleep;

/// How long closing a connection may take.
const GOODBYE: Duration = Duration::from_millis(500);
/// TCP's user timeout. Longer than the machine waits for a silent peer, so that the machine decides who
/// is gone.
#[cfg(any(target_os = "linux", target_os = "android"))]
const UNACKNOWLEDGED: Duration = Duration::from_secs(20);

/// The open connections and their local addresses.
#[derive(Clone, Default)]
pub(super) struct Sockets(Arc<Mutex<Vec<Open>>>);

/// The local address of a connection, and how to end it.
type Open = (IpAddr, Weak<Cut>);

/// Whether a connection has lost its local address.
#[derive(Default)]
struct Cut {
    is_cut: AtomicBool,
    waker: AtomicWaker,
}

impl Sockets {
    /// Adds a new connection.
    pub(super) fn add(&self, stream: tcp::tokio::TcpStream) -> Socket {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        {
            // If it cannot be set, a dead connection only holds memory for longer.
            let _ = socket2::SockRef::from(&stream.0).set_tcp_user_timeout(Some(UNACKNOWLEDGED));
        }
        let cut = Arc::new(Cut::default());
        if let Ok(local) = stream.0.local_addr() {
            let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            open.retain(|(_, cut)| cut.strong_count() > 0);
            open.push((local.ip(), Arc::downgrade(&cut)));
        }
        Socket { stream, cut }
    }

    /// Ends the connections from an address that this device has lost.
    pub(super) fn lost(&self, ip: IpAddr) {
        let open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lost = open.iter().filter(|(local, _)| *local == ip);
        for cut in lost.filter_map(|(_, cut)| cut.upgrade()) {
            cut.is_cut.store(true, Ordering::Release);
            cut.waker.wake();
        }
    }
}

/// A TCP connection that ends with its local address.
pub(super) struct Socket {
    stream: tcp::tokio::TcpStream,
    cut: Arc<Cut>,
}

impl Socket {
    /// An error once the connection has lost its address. Registers the task, which is woken then.
    fn check(&self, cx: &Context<'_>) -> io::Result<()> {
        self.cut.waker.register(cx.waker());
        if self.cut.is_cut.load(Ordering::Acquire) {
            let words = "this device has another address now";
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, words));
        }
        Ok(())
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_close(cx)
    }
}

/// A multiplexer that closes within [`GOODBYE`], whether or not the other side receives the goodbye.
pub(super) struct Hasty<M> {
    muxer: M,
    closing: Option<Pin<Box<Sleep>>>,
}

impl<M> Hasty<M> {
    pub(super) fn new(muxer: M) -> Self {
        let closing = None;
        Self { muxer, closing }
    }
}

impl<M: StreamMuxer + Unpin> StreamMuxer for Hasty<M> {
    type Substream = M::Substream;
    type Error = M::Error;

    fn poll_inbound(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::Substream, Self::Error>> {
        Pin::new(&mut self.muxer).poll_inbound(cx)
    }

    fn poll_outbound(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::Substream, Self::Error>> {
        Pin::new(&mut self.muxer).poll_outbound(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        if let Poll::Ready(closed) = Pin::new(&mut self.muxer).poll_close(cx) {
            return Poll::Ready(closed);
        }
        let within = || Box::pin(tokio::time::sleep(GOODBYE));
        ready!(self.closing.get_or_insert_with(within).as_mut().poll(cx));
        Poll::Ready(Ok(()))
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<StreamMuxerEvent, Self::Error>> {
        Pin::new(&mut self.muxer).poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::net::Ipv4Addr;

    use libp2p::core::muxing::StreamMuxerExt as _;
    use libp2p::futures::AsyncReadExt as _;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    #[tokio::test]
    async fn a_connection_ends_with_its_local_address() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let stream = TcpStream::connect(address).await.expect("it listens");
        let _far = listener.accept().await.expect("connected");
        let sockets = Sockets::default();
        let mut socket = sockets.add(tcp::tokio::TcpStream(stream));
        let reading = tokio::spawn(async move { socket.read(&mut [0; 8]).await });
        tokio::task::yield_now().await;
        sockets.lost(Ipv4Addr::new(10, 0, 0, 1).into());
        tokio::task::yield_now().await;
        assert!(!reading.is_finished(), "another's address");
        sockets.lost(Ipv4Addr::LOCALHOST.into());
        let read = reading.await.expect("it ends");
        let kind = read.expect_err("ended").kind();
        assert_eq!(kind, io::ErrorKind::ConnectionAborted);
    }

    /// One whose other side never takes a goodbye.
    struct Stuck;

    impl StreamMuxer for Stuck {
        type Substream = tcp::tokio::TcpStream;
        type Error = Infallible;

        fn poll_inbound(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Result<Self::Substream, Infallible>> {
            Poll::Pending
        }

        fn poll_outbound(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Result<Self::Substream, Infallible>> {
            Poll::Pending
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Pending
        }

        fn poll(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Result<StreamMuxerEvent, Infallible>> {
            Poll::Pending
        }
    }

    #[tokio::test]
    async fn closing_ends_though_nobody_takes_the_goodbye() {
        let mut muxer = Hasty::new(Stuck);
        let closing = std::future::poll_fn(|cx| muxer.poll_close_unpin(cx));
        let closed = tokio::time::timeout(Duration::from_secs(30), closing).await;
        assert!(closed.is_ok(), "it closes");
    }
}
