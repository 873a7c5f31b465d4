//! The node's side of a connection from a command.

use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};

use potluck_protocol::PeerId;
use potluck_protocol::circle::DeviceName;
use potluck_protocol::machine::Event;
use potluck_protocol::pairing::{self, Invitation, Refusal};

use super::framing;
use super::message::{Reply, Request};
use super::sessions::{self, Asked};
use super::socket::Right;
use super::views::{MemberView, Names, PlanView};
use crate::manifest::{KnownFiles, Manifests};
use crate::net::{Node, NodeError, NodeEvent, NodeSession, OwnerWork};
use crate::profile::Caveats;
use crate::words::Words;

/// A node and the model files of its home.
#[derive(Clone)]
pub struct LocalNode {
    /// The node.
    pub node: Node,
    /// The files that its stages may use.
    pub files: KnownFiles,
    /// What is known of files.
    pub manifests: Manifests,
    /// What its owner should know of this device's figures.
    pub caveats: Caveats,
}

impl LocalNode {
    /// What the circle's devices are called.
    pub(super) fn names(&self) -> Result<Names, NodeError> {
        let members = self.node.members()?.into_iter();
        Ok(members
            .map(|(member, _)| (member.peer, member.name.as_str().to_owned()))
            .collect())
    }
}

/// The device that a person means: by its name, its PeerId, or `self`.
pub(super) fn device(names: &Names, me: PeerId, text: &str) -> Option<PeerId> {
    if text == "self" {
        return Some(me);
    }
    if let Ok(peer) = text.parse() {
        return names.contains_key(&peer).then_some(peer);
    }
    let mut named = names.iter().filter(|(_, name)| *name == text);
    match (named.next(), named.next()) {
        (Some((peer, _)), None) => Some(*peer),
        // Two devices of one name are told apart by their ids.
        _ => None,
    }
}

/// Where replies go, from any thread.
#[derive(Clone)]
pub(super) struct Replies(Arc<Mutex<UnixStream>>);

impl Replies {
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

const NO_CONVERSATION: &str = "no conversation has begun";

/// Answers one command.
pub struct Service {
    local: LocalNode,
    replies: Replies,
    session: Option<NodeSession>,
    traffic_before: crate::net::Traffic,
    inviting: bool,
    /// Of a node that gives way to another process's.
    right: Option<Right>,
    /// While its program computes by itself.
    owner_work: Option<OwnerWork>,
}

impl Service {
    /// Serves a command until it ends its connection, or the node has ended. `right` is that of a
    /// node that gives it up if it is asked to.
    ///
    /// # Errors
    /// The connection failed.
    pub(super) fn serve(
        local: LocalNode,
        stream: UnixStream,
        right: Option<Right>,
    ) -> io::Result<()> {
        let mut requests = stream.try_clone()?;
        let mut service = Self {
            local,
            replies: Replies(Arc::new(Mutex::new(stream))),
            session: None,
            traffic_before: crate::net::Traffic::default(),
            inviting: false,
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
        if service.inviting {
            // A node that has stopped invites nobody.
            let _ = service.local.node.stop_inviting();
        }
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
            Request::Invite { seconds, name } => self.invite(seconds, name),
            Request::Join { invitation, name } => self.join(&invitation, name),
            other => match self.answer(&other) {
                Ok(reply) => return self.replies.send(&reply, &[]),
                Err(words) => Err(words),
            },
        };
        replied.or_else(|words| {
            if self.local.node.has_stopped() {
                // Whoever asked looks for another.
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            let Words(words) = words;
            self.replies.send(&Reply::Failed { words }, &[])
        })
    }

    /// What is answered once.
    fn answer(&mut self, request: &Request) -> Result<Reply, Words> {
        let node = &self.local.node;
        Ok(match request {
            Request::Node => {
                let names = self.local.names()?;
                let listening = node.listening()?;
                Reply::Node {
                    peer_id: node.peer_id().to_string(),
                    name: super::views::name_of(&names, node.peer_id()),
                    listening: listening.iter().map(ToString::to_string).collect(),
                    computes: node.computes(),
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
            Request::Forget { device } => {
                self.forget(device)?;
                Reply::Done
            }
            Request::Plan { request } => {
                let asked = Asked::new(&self.local, request)?;
                let plan = PlanView {
                    caveats: self.local.caveats.clone(),
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

    fn forget(&self, text: &str) -> Result<(), Words> {
        let node = &self.local.node;
        let names = self.local.names()?;
        let peer = device(&names, node.peer_id(), text).ok_or_else(|| {
            Words::new(format!(
                "no one device is called {text:?}: `potluck peers` lists names and ids"
            ))
        })?;
        let forgotten = node.forget(peer)?;
        Ok(forgotten?)
    }

    fn begin(&mut self, request: &super::SessionRequest) -> Result<(), Words> {
        let node = self.local.node.clone();
        self.traffic_before = node.traffic()?;
        let asked = Asked::new(&self.local, request)?;
        let names = self.local.names()?;
        let (session, events) = asked.begin(&self.local)?;
        self.session = Some(session);
        let replies = self.replies.clone();
        replies.send(&Reply::Started, &[])?;
        let forwarded = std::thread::Builder::new()
            .name("potluck-session".to_owned())
            .spawn(move || sessions::forward(&events, &replies, &node, &names));
        Ok(forwarded.map(drop)?)
    }

    fn name(&self, name: Option<String>) -> Result<DeviceName, Words> {
        let names = self.local.names()?;
        let before = names.get(&self.local.node.peer_id()).cloned();
        let name = name.or(before).unwrap_or_else(|| "device".to_owned());
        Ok(DeviceName::new(&name)?)
    }

    fn invite(&mut self, seconds: u64, name: Option<String>) -> Result<(), Words> {
        let node = self.local.node.clone();
        let name = self.name(name)?;
        let events = node.events()?;
        let invitation = node.invite(seconds, name)?;
        self.inviting = true;
        let reply = Reply::Invitation {
            text: invitation.to_string(),
            expires: invitation.expires_unix_s(),
        };
        self.replies.send(&reply, &[])?;
        self.forward_pairing(events, None)
    }

    fn join(&mut self, text: &str, name: Option<String>) -> Result<(), Words> {
        let invitation: Invitation = text.parse()?;
        let node = self.local.node.clone();
        let inviter = invitation.peer();
        if inviter == node.peer_id() {
            // A node does not dial itself, and would only say that it knows no way.
            return Err(Refusal::OwnInvitation.into());
        }
        let name = self.name(name)?;
        let events = node.events()?;
        node.join(invitation, name)?;
        self.forward_pairing(events, Some(inviter))
    }

    /// Tells how pairing goes, until it is over. `inviter` is the device that is joined.
    fn forward_pairing(
        &self,
        mut events: tokio::sync::mpsc::UnboundedReceiver<NodeEvent>,
        inviter: Option<PeerId>,
    ) -> Result<(), Words> {
        let replies = self.replies.clone();
        let forwarded = std::thread::Builder::new()
            .name("potluck-pairing".to_owned())
            .spawn(move || {
                while let Some(event) = events.blocking_recv() {
                    let Some((reply, over)) = pairing_reply(event, inviter) else {
                        continue;
                    };
                    if replies.send(&reply, &[]).is_err() || over {
                        return;
                    }
                }
            });
        Ok(forwarded.map(drop)?)
    }
}

/// What is said of an event of pairing, and whether nothing comes after it.
fn pairing_reply(event: NodeEvent, inviter: Option<PeerId>) -> Option<(Reply, bool)> {
    match event {
        NodeEvent::Machine(Event::Pairing(event)) => match event {
            pairing::Event::Paired { peer, name } => Some((
                Reply::Paired {
                    peer_id: peer.to_string(),
                    name: name.as_str().to_owned(),
                },
                true,
            )),
            pairing::Event::Failed { peer, why } if inviter == Some(peer) => Some((
                Reply::Failed {
                    words: why.to_string(),
                },
                true,
            )),
            pairing::Event::Failed { peer, why } => Some((
                Reply::PairingFailed {
                    peer_id: peer.to_string(),
                    words: why.to_string(),
                },
                false,
            )),
            pairing::Event::Over { why: Refusal::Used } => None,
            pairing::Event::Over { why } => Some((
                Reply::PairingOver {
                    words: why.to_string(),
                },
                true,
            )),
        },
        NodeEvent::NotReached(words) if inviter.is_some() => Some((
            Reply::Failed {
                words: format!("cannot reach the device that invites: {words}"),
            },
            true,
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_device_is_meant_by_its_name_or_id_if_that_is_clear() {
        let peer = |byte| PeerId::from_public_key([byte; 32]);
        let mut names: Names = BTreeMap::new();
        names.insert(peer(1), "kitchen".to_owned());
        names.insert(peer(2), "tablet".to_owned());
        names.insert(peer(3), "tablet".to_owned());
        let meant = |text: &str| device(&names, peer(1), text);
        assert_eq!(meant("self"), Some(peer(1)));
        assert_eq!(meant("kitchen"), Some(peer(1)));
        assert_eq!(meant("tablet"), None);
        assert_eq!(meant(&peer(3).to_string()), Some(peer(3)));
        assert_eq!(meant(&peer(4).to_string()), None);
        assert_eq!(meant("garage"), None);
    }
}
