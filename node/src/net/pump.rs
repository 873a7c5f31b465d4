//! Moves bytes between streams and the driver.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use libp2p::futures::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use libp2p::swarm::ConnectionId;
use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::stream::Purpose;

/// Bytes read at a time.
const PIECE: usize = 64 * 1024;

/// Bytes from a stream, or its end.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) connection: ConnectionId,
    pub(super) purpose: Purpose,
    /// Empty at the end of the stream.
    pub(super) bytes: Vec<u8>,
    /// The error that ended it, if one did.
    pub(super) why: Option<io::Error>,
}

/// The bounded channel to the driver, so that peers are read no faster than the driver handles it.
pub(super) type Arrivals = mpsc::Sender<Arrival>;

/// The writing half of a stream.
type Outgoing = Box<dyn AsyncWrite + Unpin + Send>;

/// Queues bytes for a stream, and closes the stream when dropped.
pub(super) struct Writer {
    queue: mpsc::UnboundedSender<Vec<u8>>,
    stream: Option<oneshot::Sender<Outgoing>>,
    queued: Arc<AtomicUsize>,
}

impl Writer {
    /// A writer whose stream is not open yet; bytes wait until it is. `drained` is notified when the queue
    /// is empty, `arrivals` gets an end when writing fails.
    pub(super) fn new(
        connection: ConnectionId,
        purpose: Purpose,
        drained: Arc<Notify>,
        arrivals: Arrivals,
    ) -> Self {
        let (queue, mut pieces) = mpsc::unbounded_channel::<Vec<u8>>();
        let (give, stream) = oneshot::channel::<Outgoing>();
        let queued = Arc::new(AtomicUsize::new(0));
        let left = Arc::clone(&queued);
        tokio::spawn(async move {
            let Ok(mut stream) = stream.await else {
                return;
            };
            // Weights are read as fast as they are sent, so each piece is reported.
            let often = purpose == Purpose::Transfer;
            let written = write_all(&mut stream, &mut pieces, &left, &drained, often).await;
            if let Err(error) = written {
                let ended = Arrival {
                    connection,
                    purpose,
                    bytes: Vec::new(),
                    why: Some(error),
                };
                // If the driver has ended, nobody needs it.
                let _ = arrivals.send(ended).await;
            }
        });
        Self {
            queue,
            stream: Some(give),
            queued,
        }
    }

    /// Starts writing to the stream; false if there was one already.
    pub(super) fn begin(&mut self, stream: impl AsyncWrite + Unpin + Send + 'static) -> bool {
        let give = self.stream.take();
        give.is_some_and(|give| give.send(Box::new(stream)).is_ok())
    }

    /// Whether bytes wait for a stream that is not open yet.
    pub(super) fn waits_for_stream(&self) -> bool {
        self.stream.is_some() && self.queued() > 0
    }

    pub(super) fn write(&self, bytes: Vec<u8>) {
        let length = bytes.len();
        self.queued.fetch_add(length, Ordering::Relaxed);
        if self.queue.send(bytes).is_err() {
            self.queued.fetch_sub(length, Ordering::Relaxed);
        }
    }

    /// Bytes in the queue.
    pub(super) fn queued(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }
}

/// Writes queued bytes until the queue is closed, then closes the stream. Notifies `drained` when the queue
/// is empty, or with `often` after each piece.
async fn write_all(
    stream: &mut Outgoing,
    pieces: &mut mpsc::UnboundedReceiver<Vec<u8>>,
    left: &AtomicUsize,
    drained: &Notify,
    often: bool,
) -> io::Result<()> {
    while let Some(first) = pieces.recv().await {
        let mut next = Some(first);
        while let Some(piece) = next {
            stream.write_all(&piece).await?;
            left.fetch_sub(piece.len(), Ordering::Relaxed);
            if often {
                drained.notify_one();
            }
            next = pieces.try_recv().ok();
        }
        stream.flush().await?;
        drained.notify_one();
    }
    stream.close().await
}

/// Reads a stream to its end, pausing while `wanted` is false.
pub(super) fn read(
    connection: ConnectionId,
    purpose: Purpose,
    mut stream: impl AsyncRead + Unpin + Send + 'static,
    mut wanted: watch::Receiver<bool>,
    arrivals: Arrivals,
) {
    tokio::spawn(async move {
        let mut buffer = vec![0; PIECE];
        loop {
            // The other end is gone: nobody wants more.
            if wanted.wait_for(|wanted| *wanted).await.is_err() {
                return;
            }
            let read = tokio::select! {
                read = stream.read(&mut buffer) => read,
                () = gone(&mut wanted) => return,
            };
            let (read, why) = match read {
                Ok(read) => (read, None),
                Err(error) => (0, Some(error)),
            };
            let arrival = Arrival {
                connection,
                purpose,
                bytes: buffer[..read].to_vec(),
                why,
            };
            if arrivals.send(arrival).await.is_err() || read == 0 {
                return;
            }
        }
    });
}

/// Completes when the other end of the channel is dropped.
async fn gone(wanted: &mut watch::Receiver<bool>) {
    while wanted.changed().await.is_ok() {}
}
