//! Pairing, as a command has it done.

use potluck_protocol::PeerId;
use potluck_protocol::circle::{DeviceName, NotAName};
use potluck_protocol::machine::Event;
use potluck_protocol::pairing::{self, Invitation, Refusal};
use tokio::sync::mpsc::UnboundedReceiver;

use super::message::{PairingWish, Reply};
use super::server::Service;
use crate::net::NodeEvent;
use crate::words::Words;

/// What a command does while two devices pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// It shows an invitation.
    Inviting,
    /// It uses the one of this device.
    Joining(PeerId),
}

/// What a person calls a device.
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
        let invitation = node.invite(seconds, name, wish.into())?;
        self.pairing = Some(Side::Inviting);
        let reply = Reply::Invitation {
            text: invitation.to_string(),
            expires: invitation.expires_unix_s(),
        };
        self.replies.send(&reply, &[])?;
        self.forward_pairing(events, Side::Inviting)
    }

    pub(super) fn join(
        &mut self,
        text: &str,
        name: Option<String>,
        wish: PairingWish,
    ) -> Result<(), Words> {
        let invitation: Invitation = text.parse()?;
        let node = self.local.node.clone();
        let inviter = invitation.peer();
        if inviter == node.peer_id() {
            // A node does not dial itself, and would only say that it knows no way.
            return Err(Refusal::OwnInvitation.into());
        }
        let name = chosen(name)?;
        let events = node.events()?;
        node.join(invitation, name, wish.into())?;
        self.pairing = Some(Side::Joining(inviter));
        self.forward_pairing(events, Side::Joining(inviter))
    }

    pub(super) fn answer_pairing(&self, peer_id: &str, agrees: bool) -> Result<(), Words> {
        let peer = peer_id.parse::<PeerId>()?;
        if self.local.node.answer_pairing(peer, agrees)? {
            Ok(())
        } else {
            Err(Words::new("the pairing is over: try again"))
        }
    }

    /// What a command began and did not wait for is over. A node that has stopped pairs with nobody.
    pub(super) fn stop_pairing(&self) {
        let _ = match self.pairing {
            Some(Side::Inviting) => self.local.node.stop_inviting(),
            Some(Side::Joining(_)) => self.local.node.stop_joining(),
            None => Ok(()),
        };
    }

    /// Tells how pairing goes, until it is over.
    fn forward_pairing(
        &self,
        mut events: UnboundedReceiver<NodeEvent>,
        side: Side,
    ) -> Result<(), Words> {
        let replies = self.replies.clone();
        let forwarded = std::thread::Builder::new()
            .name("potluck-pairing".to_owned())
            .spawn(move || {
                while let Some(event) = events.blocking_recv() {
                    let Some((reply, over)) = pairing_reply(event, side) else {
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
fn pairing_reply(event: NodeEvent, side: Side) -> Option<(Reply, bool)> {
    let joins = |peer| side == Side::Joining(peer);
    let failed = |words| Some((Reply::Failed { words }, true));
    match event {
        NodeEvent::Machine(Event::Pairing(event)) => match event {
            pairing::Event::Proposed(proposal) => {
                let proposal = (*proposal).into();
                Some((Reply::Proposed { proposal }, false))
            }
            pairing::Event::Paired { peer, name } => Some((
                Reply::Paired {
                    peer_id: peer.to_string(),
                    name: name.as_str().to_owned(),
                },
                true,
            )),
            pairing::Event::Failed { peer, why } if joins(peer) => failed(why.to_string()),
            pairing::Event::Failed { peer, why } => Some((
                Reply::PairingFailed {
                    peer_id: peer.to_string(),
                    words: why.to_string(),
                },
                false,
            )),
            pairing::Event::Over { why: Refusal::Used } => None,
            pairing::Event::Over { why } if side == Side::Inviting => Some((
                Reply::PairingOver {
                    words: why.to_string(),
                },
                true,
            )),
            pairing::Event::Over { .. } => None,
        },
        NodeEvent::NotReached(words) if side != Side::Inviting => {
            failed(format!("cannot reach the device that invites: {words}"))
        }
        _ => None,
    }
}
