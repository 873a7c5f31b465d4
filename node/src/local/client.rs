//! The command's side of the connection.

use std::io;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use super::framing;
use super::message::{PairingWish, Reply, Request, SessionRequest};
use super::node::LocalNode;
use super::place::Stream;
use super::server::Service;
use super::views::{MemberView, PlanView};
use crate::log::{Level, Page};
use crate::words::Kind;

/// Most replies that are buffered for the command.
const REPLIES: usize = 64;

/// A connection to a node.
#[derive(Debug)]
pub struct Client {
    requests: Stream,
    replies: Receiver<(Reply, Vec<u8>)>,
}

/// A request to a node failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The connection failed.
    #[error("the node does not answer")]
    Connection(#[source] io::Error),
    /// The connection has ended.
    #[error("the node has stopped")]
    Stopped,
    /// The node reports why the request failed.
    #[error("{0}")]
    Failed(String),
    /// The text names no device; the message says why.
    #[error("{0}")]
    NotMeant(String),
    /// The reply does not match the request.
    #[error("the node answers as another version: end it and start it again")]
    OtherAnswer,
}

impl ClientError {
    /// Whether the node is gone, so that the request can be repeated at another.
    pub fn is_lost(&self) -> bool {
        matches!(self, Self::Connection(_) | Self::Stopped)
    }
}

impl Client {
    /// Connects over a socket that a node serves.
    ///
    /// # Errors
    /// The system cannot start a thread.
    pub fn over(stream: Stream) -> Result<Self, ClientError> {
        let mut incoming = stream.try_clone().map_err(ClientError::Connection)?;
        let (tell, replies) = mpsc::sync_channel(REPLIES);
        thread::Builder::new()
            .name("potluck-replies".to_owned())
            .spawn(move || {
                while let Ok(Some(reply)) = framing::read::<Reply>(&mut incoming) {
                    if tell.send(reply).is_err() {
                        return;
                    }
                }
            })
            .map_err(ClientError::Connection)?;
        Ok(Self {
            requests: stream,
            replies,
        })
    }

    /// Connects to a node in this process.
    ///
    /// # Errors
    /// The system has no more sockets or threads.
    pub fn within(local: LocalNode) -> Result<Self, ClientError> {
        let (ours, theirs) = Stream::pair().map_err(ClientError::Connection)?;
        thread::Builder::new()
            .name("potluck-command".to_owned())
            .spawn(move || Service::serve(local, theirs, None))
            .map_err(ClientError::Connection)?;
        Self::over(ours)
    }

    /// Sends a request.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn send(&mut self, request: &Request, payload: &[u8]) -> Result<(), ClientError> {
        let sent = framing::write(&mut self.requests, request, payload);
        sent.map_err(ClientError::Connection)
    }

    /// Receives the next reply and its payload; `None` if there is none within this time.
    ///
    /// # Errors
    /// [`ClientError`]; a [`Reply::Failed`] becomes one.
    pub fn next(&mut self, within: Duration) -> Result<Option<(Reply, Vec<u8>)>, ClientError> {
        match self.replies.recv_timeout(within) {
            Ok((Reply::Failed { kind, words }, _)) => Err(match kind {
                Kind::NotMeant => ClientError::NotMeant(words),
                Kind::Failed => ClientError::Failed(words),
            }),
            Ok(reply) => Ok(Some(reply)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(ClientError::Stopped),
        }
    }

    /// Sends a request that has a single reply, and waits for it.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn ask(&mut self, request: &Request) -> Result<Reply, ClientError> {
        self.send(request, &[])?;
        loop {
            if let Some((reply, _)) = self.next(Duration::from_secs(60))? {
                return Ok(reply);
            }
        }
    }

    /// The circle's members, this device among them.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn members(&mut self) -> Result<Vec<MemberView>, ClientError> {
        match self.ask(&Request::Members)? {
            Reply::Members { members } => Ok(members),
            _ => Err(ClientError::OtherAnswer),
        }
    }

    /// One page of the node's events after this number, of level `least` and above. The page says
    /// whether there are more.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn log(&mut self, after: u64, least: Level) -> Result<Page, ClientError> {
        match self.ask(&Request::Log { after, least })? {
            Reply::Log { page } => Ok(page),
            _ => Err(ClientError::OtherAnswer),
        }
    }

    /// Plans where a model's layers should run.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn plan(&mut self, request: SessionRequest) -> Result<PlanView, ClientError> {
        match self.ask(&Request::Plan { request })? {
            Reply::Plan { plan } => Ok(*plan),
            _ => Err(ClientError::OtherAnswer),
        }
    }

    /// Opens pairing for this many seconds; returns the invitation's text.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn invite(
        &mut self,
        seconds: u64,
        name: Option<String>,
        wish: PairingWish,
    ) -> Result<String, ClientError> {
        let request = Request::Invite {
            seconds,
            name,
            wish,
        };
        match self.ask(&request)? {
            Reply::Invitation { text, .. } => Ok(text),
            _ => Err(ClientError::OtherAnswer),
        }
    }

    /// Tells the node that this program computes for the device's owner, until the client is
    /// dropped.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn compute_here(&mut self) -> Result<(), ClientError> {
        self.ask(&Request::ComputeHere).map(drop)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // The reader thread ends with the connection.
        let _ = self.requests.shutdown(std::net::Shutdown::Both);
    }
}
