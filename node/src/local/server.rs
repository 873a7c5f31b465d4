//! The node's side of a command's connection.

use std::io;
use std::net::Shutdown;

use potluck_protocol::PeerId;
use potluck_protocol::machine::Reach;

use super::framing;
use super::meant::{device, why_nobody, why_not_to_leave};
use super::message::{Reply, Request};
use super::node::LocalNode;
use super::place::Stream;
use super::replies::Replies;
use super::right::Right;
use super::sessions::{self, Asked};
use super::views::{MemberView, PlanView};
use crate::log;
use crate::net::{NodeSession, OwnerWork, PairingId};
use crate::words::Words;

const NO_CONVERSATION: &str = "no conversation has begun";

/// Serves one command.
pub struct Service {
    pub(super) local: LocalNode,
    pub(super) replies: Replies,
    session: Option<NodeSession>,
    traffic_before: crate::net::Traffic,
    /// A pairing that ends with the connection.
    pub(super) pairing: Option<PairingId>,
    /// Set for a node that gives way to another process's.
    right: Option<Right>,
    /// Held while the command's program computes by itself.
    owner_work: Option<OwnerWork>,
}

impl Service {
    /// Serves a command until it ends its connection, or the node has ended. `right` is set for a
    /// node that gives it up on request.
    ///
    /// # Errors
    /// The connection failed.
    pub(super) fn serve(local: LocalNode, stream: Stream, right: Option<Right>) -> io::Result<()> {
        let mut requests = stream.try_clone()?;
        let mut service = Self {
            local,
            replies: Replies::new(stream),
            session: None,
            traffic_before: crate::net::Traffic::default(),
            pairing: None,
            right,
            owner_work: None,
        };
        let outcome = loop {
            match framing::read::<Request>(&mut requests) {
                Ok(Some((request, payload))) => {
                    if let Err(error) = service.follow(request, payload) {
                        break Err(error);
                    }
                }
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        service.stop_pairing();
        let _ = requests.shutdown(Shutdown::Both);
        outcome
    }

    fn follow(&mut self, request: Request, payload: Vec<u8>) -> io::Result<()> {
        let replied = match request {
            Request::Submit {
                start_position,
                rows,
                last,
            } => match &self.session {
                Some(session) => sessions::submit(session, start_position, rows, last, payload),
                None => Err(Words::new(NO_CONVERSATION)),
            },
            Request::RollBack { position } => match &self.session {
                Some(session) => session.roll_back(position).map_err(Words::from),
                None => Err(Words::new(NO_CONVERSATION)),
            },
            Request::Session { request } => self.begin(&request),
            Request::Invite {
                seconds,
                name,
                wish,
            } => self.invite(seconds, name, wish),
            Request::Join {
                invitation,
                name,
                wish,
            } => self.join(&invitation, name, wish),
            Request::AnswerPairing { peer_id, agrees } => self.answer_pairing(&peer_id, agrees),
            other => match self.answer(&other) {
                Ok(reply) => return self.replies.send(&reply, &[]),
                Err(words) => Err(words),
            },
        };
        replied.or_else(|words| {
            if self.local.node.has_stopped() {
                // The command then looks for another node.
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            self.replies.send(&words.into(), &[])
        })
    }

    /// Answers requests that have a single reply.
    fn answer(&mut self, request: &Request) -> Result<Reply, Words> {
        let node = &self.local.node;
        Ok(match request {
            Request::Node => {
                let names = self.local.names()?;
                let listening = node.listening()?;
                Reply::Node {
                    peer_id: node.peer_id().to_string(),
                    name: names.of(node.peer_id()),
                    listening: listening.iter().map(ToString::to_string).collect(),
                    computes: node.computes(),
                    settings: self.local.settings.clone(),
                }
            }
            Request::Members => {
                let members = node.members()?.into_iter();
                let me = node.peer_id();
                let views = members.map(|(member, status)| MemberView::new(&member, me, status));
                Reply::Members {
                    members: views.collect(),
                }
            }
            Request::ComputeHere => {
                self.owner_work = Some(node.owner_work()?);
                Reply::Done
            }
            Request::GiveWay => {
                let right = self.right.as_ref();
                let right = right.ok_or_else(|| Words::new("this node stays"))?;
                node.stop();
                right.give_up();
                Reply::Done
            }
            Request::Forget {
                device,
                with_admitted,
            } => self.forget(device, *with_admitted)?,
            Request::WouldForget {
                device,
                with_admitted,
            } => self.would_forget(device, *with_admitted)?,
            Request::NewCircle => {
                node.new_circle()?;
                Reply::Done
            }
            Request::Log { after, least } => Reply::Log {
                page: log::recent().after(*after, *least),
            },
            Request::Plan { request } => {
                let asked = Asked::new(&self.local, request)?;
                let caveats = node.look_at_device()?;
                let plan = PlanView {
                    caveats,
                    ..asked.plan(&self.local)?
                };
                Reply::Plan {
                    plan: Box::new(plan),
                }
            }
            Request::Traffic => {
                let since = node.traffic()?.since(self.traffic_before);
                Reply::Traffic {
                    bytes_sent: since.bytes_sent,
                    bytes_received: since.bytes_received,
                }
            }
            _ => return Err(Words::new("this cannot be asked now")),
        })
    }

    /// Resolves the device whose membership should end: its PeerId, its name and the reach. The
    /// error says why no device matches.
    fn to_forget(&self, text: &str, with_admitted: bool) -> Result<(PeerId, String, Reach), Words> {
        let names = self.local.names()?;
        // A former member may have admitted others before it left.
        let gone = || text.parse().ok().filter(|_| with_admitted);
        let peer = match device(&names, text).or_else(gone) {
            Some(peer) if peer == names.this_device => {
                match why_not_to_leave(&names, with_admitted) {
                    Some(words) => return Err(Words::not_meant(words)),
                    None => peer,
                }
            }
            Some(peer) => peer,
            None => return Err(Words::not_meant(why_nobody(&names, text))),
        };
        let reach = if with_admitted {
            Reach::WithAdmitted
        } else {
            Reach::Alone
        };
        Ok((peer, names.of(peer), reach))
    }

    fn forget(&self, text: &str, with_admitted: bool) -> Result<Reply, Words> {
        let (peer, name, reach) = self.to_forget(text, with_admitted)?;
        self.local.node.forget(peer, reach)?;
        let peer_id = peer.to_string();
        Ok(Reply::Forgotten { peer_id, name })
    }

    fn would_forget(&self, text: &str, with_admitted: bool) -> Result<Reply, Words> {
        let (peer, name, reach) = self.to_forget(text, with_admitted)?;
        let members = self.local.node.would_forget(peer, reach)?;
        let me = self.local.node.peer_id();
        let views = members.iter().map(|member| MemberView::offline(member, me));
        Ok(Reply::WouldForget {
            peer_id: peer.to_string(),
            name,
            members: views.collect(),
        })
    }

    fn begin(&mut self, request: &super::SessionRequest) -> Result<(), Words> {
        let node = self.local.node.clone();
        self.traffic_before = node.traffic()?;
        let asked = Asked::new(&self.local, request)?;
        let names = self.local.names()?;
        let (session, events) = asked.begin(&self.local)?;
        self.session = Some(session);
        let replies = self.replies.clone();
        replies.send(&Reply::Started { names }, &[])?;
        let forwarded = std::thread::Builder::new()
            .name("potluck-session".to_owned())
            .spawn(move || sessions::forward(&events, &replies, &node));
        Ok(forwarded.map(drop)?)
    }
}
