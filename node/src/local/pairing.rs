//! Pairing on behalf of a command.

use potluck_protocol::PeerId;
use potluck_protocol::circle::{DeviceName, NotAName};
use potluck_protocol::pairing::{Event, Invitation, Refusal};
use tokio::sync::mpsc::UnboundedReceiver;

use super::message::{PairingWish, Reply};
use super::server::Service;
use crate::net::{NodeEvent, PairingId};
use crate::words::Words;

/// A command's side of a pairing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    /// It shows an invitation.
    Inviting,
    /// It uses another device's invitation.
    Joining,
}

/// Parses the name that a person chose for a device.
fn chosen(name: Option<String>) -> Result<Option<DeviceName>, NotAName> {
    name.map(|name| DeviceName::chosen(&name)).transpose()
}

impl Service {
    pub(super) fn invite(
        &mut self,
        seconds: u64,
        name: Option<String>,
        wish: PairingWish,
    ) -> Result<(), Words> {
        let node = self.local.node.clone();
        let name = chosen(name)?;
        let events = node.events()?;
        let (id, invitation) = node.invite(seconds, name, wish.into())?;
        self.has_begun(id);
        let reply = Reply::Invitation {
            text: invitation.to_string(),
            expires: invitation.expires_unix_s(),
        };
        self.replies.send(&reply, &[])?;
        self.forward_pairing(events, id, Side::Inviting)
    }

    pub(super) fn join(
        &mut self,
        text: &str,
        name: Option<String>,
        wish: PairingWish,
    ) -> Result<(), Words> {
        let invitation: Invitation = text.parse()?;
        let node = self.local.node.clone();
        if invitation.peer() == node.peer_id() {
            // A node cannot dial itself, and would report only that it has no address.
            return Err(Refusal::OwnInvitation.into());
        }
        let name = chosen(name)?;
        let events = node.events()?;
        let id = node.join(invitation, name, wish.into())?;
        self.has_begun(id);
        self.forward_pairing(events, id, Side::Joining)
    }

    /// Passes on the owner's answer to this command's proposal.
    pub(super) fn answer_pairing(&self, peer_id: &str, agrees: bool) -> Result<(), Words> {
        let peer = peer_id.parse::<PeerId>()?;
        let in_time = match self.pairing {
            Some(id) => self.local.node.answer_pairing(id, peer, agrees)?,
            None => false,
        };
        if !in_time {
            let peer_id = peer_id.to_owned();
            self.replies.send(&Reply::AnswerTooLate { peer_id }, &[])?;
        }
        Ok(())
    }

    fn has_begun(&mut self, id: PairingId) {
        self.stop_pairing();
        self.pairing = Some(id);
    }

    /// Stops the pairing that this command began, and no other. A stopped node has none left to
    /// stop.
    pub(super) fn stop_pairing(&mut self) {
        if let Some(id) = self.pairing.take() {
            let _ = self.local.node.stop_pairing(id);
        }
    }

    /// Forwards the events of one pairing until it is over.
    fn forward_pairing(
        &self,
        mut events: UnboundedReceiver<NodeEvent>,
        id: PairingId,
        side: Side,
    ) -> Result<(), Words> {
        let replies = self.replies.clone();
        let forwarded = std::thread::Builder::new()
            .name("potluck-pairing".to_owned())
            .spawn(move || {
                while let Some(event) = events.blocking_recv() {
                    let Some((reply, over)) = pairing_reply(event, id, side) else {
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

/// The reply to the command that owns this pairing, and whether it is the last. `None` for events
/// of other commands' pairings.
fn pairing_reply(event: NodeEvent, id: PairingId, side: Side) -> Option<(Reply, bool)> {
    let failed = |words: String| Some((Reply::from(Words::new(words)), true));
    match event {
        NodeEvent::Pairing { of, event } if of == id => match event {
            Event::Proposed(proposal) => {
                let proposal = (*proposal).into();
                Some((Reply::Proposed { proposal }, false))
            }
            Event::Paired { peer, name } => Some((
                Reply::Paired {
                    peer_id: peer.to_string(),
                    name: name.as_str().to_owned(),
                },
                true,
            )),
            Event::Failed { why, .. } if side == Side::Joining => failed(why.to_string()),
            Event::Failed { peer, why } => Some((
                Reply::PairingFailed {
                    peer_id: peer.to_string(),
                    words: why.to_string(),
                },
                false,
            )),
            Event::Over { why: Refusal::Used } => None,
            Event::Over { why } => Some((
                Reply::PairingOver {
                    words: why.to_string(),
                },
                true,
            )),
        },
        NodeEvent::NotReached { of, why } if of == id => {
            failed(format!("cannot reach the device that invites: {why}"))
        }
        _ => None,
    }
}
