//! Connection limits, and which connection is closed when there are too many.
//!
//! A connection either *waits* for its next whole request, or is being *answered*. A client that
//! opens many connections and sends little can only take the places of waiting connections; an
//! answer is never cut off for a new connection. Connections that never sent a whole request are
//! closed first, as long as they are at least half of all: a client that keeps its connection alive
//! between requests keeps it however many such connections there are. Among equals, the one that
//! has waited longest is closed.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::Sleep;

use super::room::Room;

/// A client that reads nothing of its answer for this long is considered gone.
const UNREAD: Duration = Duration::from_secs(60);

/// The address at a connection's other end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Remote(pub(super) IpAddr);

/// The current phase of one connection: waiting or being answered.
#[derive(Clone)]
pub(super) struct Phase(Arc<Shared>);

struct Shared {
    /// When it began to wait, in microseconds after the epoch of its [`Connections`]; [`ANSWERED`]
    /// while it is being answered.
    since: AtomicU64,
    /// Whether a whole request has arrived.
    has_asked: AtomicBool,
    epoch: Instant,
    closed: Notify,
}

const ANSWERED: u64 = u64::MAX;

impl Phase {
    fn new(epoch: Instant) -> Self {
        let phase = Self(Arc::new(Shared {
            since: AtomicU64::new(0),
            has_asked: AtomicBool::new(false),
            epoch,
            closed: Notify::new(),
        }));
        phase.waiting();
        phase
    }

    /// Marks the connection as waiting for a request.
    pub(super) fn waiting(&self) {
        let now = u64::try_from(self.0.epoch.elapsed().as_micros());
        let now = now.unwrap_or(ANSWERED - 1);
        self.0.since.store(now, Ordering::Relaxed);
    }

    /// Marks the connection as being answered.
    pub(super) fn answering(&self) {
        self.0.since.store(ANSWERED, Ordering::Relaxed);
        self.0.has_asked.store(true, Ordering::Relaxed);
    }

    /// Resolves when another connection needs this place.
    pub(super) async fn closed(&self) {
        self.0.closed.notified().await;
    }

    fn has_asked(&self) -> bool {
        self.0.has_asked.load(Ordering::Relaxed)
    }

    fn since(&self) -> u64 {
        self.0.since.load(Ordering::Relaxed)
    }
}

/// The port on which a connection arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Door {
    /// The address of `--http`.
    Own,
    /// The address of `--share-at`, with the remote address.
    Shared(IpAddr),
}

/// All connections of one port.
pub(super) struct Connections {
    most: usize,
    /// The memory that the bodies of their requests share.
    room: Room,
    epoch: Instant,
    next: AtomicU64,
    open: Mutex<BTreeMap<u64, Phase>>,
}

impl Connections {
    pub(super) fn new(most: usize, room: Room) -> Arc<Self> {
        Arc::new(Self {
            most,
            room,
            epoch: Instant::now(),
            next: AtomicU64::new(0),
            open: Mutex::default(),
        })
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<u64, Phase>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Number of connections.
    pub(super) fn count(&self) -> usize {
        self.open().len()
    }

    /// Admits a new connection; `None` while every place is being answered.
    pub(super) fn admit(self: &Arc<Self>) -> Option<Admitted> {
        let phase = Phase::new(self.epoch);
        let mut open = self.open();
        if open.len() >= self.most {
            let waiting = || open.iter().filter(|(_, phase)| phase.since() != ANSWERED);
            let silent = waiting().filter(|(_, phase)| !phase.has_asked()).count();
            // Otherwise new connections would have no time to send their request.
            let silent_first = silent >= self.most / 2;
            let place = |phase: &Phase| (silent_first && phase.has_asked(), phase.since());
            let (&longest, _) = waiting().min_by_key(|(_, phase)| place(phase))?;
            if let Some(longest) = open.remove(&longest) {
                longest.0.closed.notify_one();
            }
        }
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        open.insert(id, phase.clone());
        drop(open);
        let all = Arc::clone(self);
        Some(Admitted { id, phase, all })
    }
}

/// An admitted connection. Dropping it frees its place.
pub(super) struct Admitted {
    id: u64,
    pub(super) phase: Phase,
    all: Arc<Connections>,
}

impl Admitted {
    /// The memory for the bodies of its requests.
    pub(super) fn room(&self) -> Room {
        self.all.room.clone()
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.all.open().remove(&self.id);
    }
}

/// A stream that fails if its client stops reading.
pub(super) struct Patient {
    stream: TcpStream,
    unread: Option<Pin<Box<Sleep>>>,
}

impl Patient {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            unread: None,
        }
    }

    /// Passes on the result of a write; an error once nothing could be written for too long.
    fn written<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.unread = None;
            return written;
        }
        let unread = self
            .unread
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(UNREAD)));
        ready!(unread.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.written(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_closed(connection: &Admitted) -> bool {
        let mut closed = std::pin::pin!(connection.phase.closed());
        let mut context = Context::from_waker(std::task::Waker::noop());
        closed.as_mut().poll(&mut context).is_ready()
    }

    #[test]
    fn the_one_that_waited_longest_gives_way_and_answers_are_not_cut_off() {
        let all = Connections::new(3, Room::of(0));
        let admit = || all.admit().expect("a place");
        let answered = admit();
        answered.phase.answering();
        std::thread::sleep(Duration::from_millis(2));
        let first = admit();
        std::thread::sleep(Duration::from_millis(2));
        let second = admit();
        let third = admit();
        assert_eq!(all.count(), 3);
        assert!(is_closed(&first) && !is_closed(&second) && !is_closed(&answered));
        second.phase.answering();
        third.phase.answering();
        assert!(all.admit().is_none(), "all are answered");
        drop(third);
        assert!(all.admit().is_some());
    }

    #[test]
    fn a_connection_that_is_kept_between_requests_outlives_those_that_never_ask() {
        let all = Connections::new(4, Room::of(0));
        let admit = || {
            std::thread::sleep(Duration::from_millis(2));
            all.admit().expect("a place")
        };
        let kept = [admit(), admit()];
        for connection in &kept {
            connection.phase.answering();
            connection.phase.waiting();
        }
        let silent: Vec<_> = (0..20).map(|_| admit()).collect();
        assert!(!kept.iter().any(is_closed));
        assert!(silent[..18].iter().all(is_closed) && !silent[18..].iter().any(is_closed));
        // New connections get half of the places.
        silent[18].phase.answering();
        silent[18].phase.waiting();
        let new = [admit(), admit()];
        assert!(is_closed(&kept[0]) && !is_closed(&kept[1]) && !is_closed(&new[1]));
    }
}
