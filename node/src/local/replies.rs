//! Sends replies to a command.

use std::io;
use std::net::Shutdown;
use std::sync::{Arc, Mutex, PoisonError};

use super::framing;
use super::message::Reply;
use super::place::Stream;

/// The sending end of replies, usable from any thread.
#[derive(Clone)]
pub(super) struct Replies(Arc<Mutex<Stream>>);

impl Replies {
    pub(super) fn new(stream: Stream) -> Self {
        Self(Arc::new(Mutex::new(stream)))
    }

    pub(super) fn send(&self, reply: &Reply, payload: &[u8]) -> io::Result<()> {
        let mut stream = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        framing::write(&mut *stream, reply, payload)
    }

    /// Ends the connection.
    pub(super) fn end(&self) {
        let stream = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = stream.shutdown(Shutdown::Both);
    }
}
