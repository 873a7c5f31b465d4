//! A conversation over the circle's devices, through a node in this process or in another.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use potluck_protocol::session::SessionEvent;

use super::client::{Client, ClientError};
use super::message::{Reply, Request, SessionRequest};
use super::node::LocalNode;
use super::sessions::{self, Asked};
use super::views::Names;
use crate::net::{Node, NodeError, NodeSession, Traffic};
use crate::words::{Kind, Words};

/// A running conversation.
pub struct Pipeline {
    names: Names,
    at: At,
}

/// The location of its node.
enum At {
    /// Behind a connection.
    Connection(Client),
    /// In this process.
    Process(Box<Within>),
}

/// A conversation at a node of this process: it needs no thread and no connection.
struct Within {
    node: Node,
    session: NodeSession,
    events: Receiver<SessionEvent>,
    before: Traffic,
    /// A traffic report that was requested and not yet returned.
    traffic: Option<Reply>,
}

impl Client {
    /// Begins a session.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn begin(mut self, request: SessionRequest) -> Result<Pipeline, ClientError> {
        match self.ask(&Request::Session { request })? {
            Reply::Started { names } => Ok(Pipeline {
                names,
                at: At::Connection(self),
            }),
            _ => Err(ClientError::OtherAnswer),
        }
    }
}

impl Pipeline {
    /// Begins a conversation at a node of this process.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn within(local: &LocalNode, request: &SessionRequest) -> Result<Self, ClientError> {
        let begin = || {
            let before = local.node.traffic()?;
            let asked = Asked::new(local, request)?;
            let names = local.names()?;
            let (session, events) = asked.begin(local)?;
            let within = Within {
                node: local.node.clone(),
                session,
                events,
                before,
                traffic: None,
            };
            let at = At::Process(Box::new(within));
            Ok::<_, Words>(Self { names, at })
        };
        begin().map_err(|words| failed(&local.node, words))
    }

    /// The names of the circle's devices when the conversation began.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// The next [`Reply::Session`] or requested report; `None` if there is none within this time.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn next(&mut self, within: Duration) -> Result<Option<Reply>, ClientError> {
        match &mut self.at {
            At::Connection(client) => {
                let next = client.next(within)?;
                Ok(next.map(|(reply, payload)| match reply {
                    Reply::Session { event } => Reply::Session {
                        event: event.with_hidden(payload),
                    },
                    other => other,
                }))
            }
            At::Process(here) => here.next(within),
        }
    }

    /// Submits rows to all layers; rows that are not the next in order are ignored.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn submit(
        &mut self,
        start_position: u32,
        rows: u32,
        last: bool,
        hidden: Vec<u8>,
    ) -> Result<(), ClientError> {
        match &mut self.at {
            At::Connection(client) => {
                let request = Request::Submit {
                    start_position,
                    rows,
                    last,
                };
                client.send(&request, &hidden)
            }
            At::Process(here) => {
                let sent = sessions::submit(&here.session, start_position, rows, last, hidden);
                sent.map_err(|words| failed(&here.node, words))
            }
        }
    }

    /// Drops the positions from this one on.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn roll_back(&mut self, position: u32) -> Result<(), ClientError> {
        match &mut self.at {
            At::Connection(client) => client.send(&Request::RollBack { position }, &[]),
            At::Process(here) => Ok(here.session.roll_back(position)?),
        }
    }

    /// Requests the traffic; [`Reply::Traffic`] follows.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn ask_traffic(&mut self) -> Result<(), ClientError> {
        match &mut self.at {
            At::Connection(client) => client.send(&Request::Traffic, &[]),
            At::Process(here) => {
                let since = here.node.traffic()?.since(here.before);
                here.traffic = Some(Reply::Traffic {
                    bytes_sent: since.bytes_sent,
                    bytes_received: since.bytes_received,
                });
                Ok(())
            }
        }
    }
}

impl Within {
    fn next(&mut self, within: Duration) -> Result<Option<Reply>, ClientError> {
        if let Some(traffic) = self.traffic.take() {
            return Ok(Some(traffic));
        }
        match self.events.recv_timeout(within) {
            Ok(event) => Ok(Some(Reply::Session { event })),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(ClientError::Stopped),
        }
    }
}

impl From<NodeError> for ClientError {
    fn from(error: NodeError) -> Self {
        match error {
            NodeError::Stopped => Self::Stopped,
            other => Self::Failed(crate::words::of(&other)),
        }
    }
}

/// The error for a request that a node of this process could not carry out.
fn failed(node: &Node, Words { kind, words }: Words) -> ClientError {
    match kind {
        _ if node.has_stopped() => ClientError::Stopped,
        Kind::NotMeant => ClientError::NotMeant(words),
        Kind::Failed => ClientError::Failed(words),
    }
}
