//! A command's side of the connection.

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

/// Replies that were read and wait for the command.
const REPLIES: usize = 64;

/// A connection to a node.
#[derive(Debug)]
pub struct Client {
    requests: Stream,
    replies: Receiver<(Reply, Vec<u8>)>,
}

/// A node does not answer as it should.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The connection.
    #[error("the node does not answer")]
    Connection(#[source] io::Error),
    /// It has ended.
    #[error("the node has stopped")]
    Stopped,
    /// It says why not.
    #[error("{0}")]
    Failed(String),
    /// No device is meant by what a person wrote: why.
    #[error("{0}")]
    NotMeant(String),
    /// It answers what was not asked.
    #[error("the node answers as another version: end it and start it again")]
    OtherAnswer,
}

impl ClientError {
    /// Whether the node is gone, so that another may do what it was asked.
    pub fn is_lost(&self) -> bool {
        matches!(self, Self::Connection(_) | Self::Stopped)
    }
}

impl Client {
    /// Over a socket that a node serves.
    ///
    /// # Errors
    /// The system has no more threads.
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

    /// To a node of this process.
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

    /// Asks.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn send(&mut self, request: &Request, payload: &[u8]) -> Result<(), ClientError> {
        let sent = framing::write(&mut self.requests, request, payload);
        sent.map_err(ClientError::Connection)
    }

    /// The next reply, and its payload; `None` if there is none within this time.
    ///
    /// # Errors
    /// [`ClientError`]; a [`Reply::Failed`] is one.
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

    /// Asks what is answered once.
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

    /// What the node did after the event of this number, as far as it is kept and matters as much as
    /// `least`; some of it, if the page says that there is more.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn log(&mut self, after: u64, least: Level) -> Result<Page, ClientError> {
        match self.ask(&Request::Log { after, least })? {
            Reply::Log { page } => Ok(page),
            _ => Err(ClientError::OtherAnswer),
        }
    }

    /// Where a model's layers should run.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn plan(&mut self, request: SessionRequest) -> Result<PlanView, ClientError> {
        match self.ask(&Request::Plan { request })? {
            Reply::Plan { plan } => Ok(*plan),
            _ => Err(ClientError::OtherAnswer),
        }
    }

    /// Opens pairing for so many seconds: the invitation's text.
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

    /// Lets the node know that this program computes something for the device's owner, until this is
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
        // The thread that reads ends with the connection.
        let _ = self.requests.shutdown(std::net::Shutdown::Both);
    }
}
