//! Assigns pairing events to the invitation or joining that they belong to.
//!
//! Several commands may use one node. Each receives, answers and ends only the pairing that it began.

use std::time::Duration;

use potluck_protocol::PeerId;
use potluck_protocol::pairing::{Event, Invitation, Wish};

/// Identifies an invitation or a joining of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PairingId(u64);

/// An invitation that this device is going to use.
pub(super) struct Joining {
    pub(super) id: PairingId,
    pub(super) invitation: Invitation,
    /// What its owner said beforehand.
    pub(super) wish: Wish,
    /// When to give up looking for the inviting device.
    pub(super) until: Duration,
}

/// The pairings of the machine: at most one invitation and one joining, never both with one peer.
#[derive(Debug, Default)]
pub(super) struct Underway {
    last: u64,
    pub(super) inviting: Option<PairingId>,
    pub(super) joining: Option<(PeerId, PairingId)>,
}

impl Underway {
    /// A new id.
    pub(super) fn another(&mut self) -> PairingId {
        self.last += 1;
        PairingId(self.last)
    }

    /// The pairing with a peer.
    pub(super) fn with(&self, peer: PeerId) -> Option<PairingId> {
        match self.joining {
            Some((joined, id)) if joined == peer => Some(id),
            _ => self.inviting,
        }
    }

    /// The pairing that an event belongs to. If the event ends it, it is removed.
    pub(super) fn take_event(&mut self, event: &Event) -> Option<PairingId> {
        let peer = match event {
            Event::Proposed(proposal) => return self.with(proposal.peer),
            Event::Over { .. } => return self.inviting.take(),
            Event::Paired { peer, .. } | Event::Failed { peer, .. } => *peer,
        };
        let of = self.with(peer);
        self.joining.take_if(|(joined, _)| *joined == peer);
        of
    }
}

#[cfg(test)]
mod tests {
    use potluck_protocol::circle::DeviceName;
    use potluck_protocol::pairing::Refusal;

    use super::*;

    fn peer(byte: u8) -> PeerId {
        PeerId::from_public_key([byte; 32])
    }

    fn paired(byte: u8) -> Event {
        let name = DeviceName::new("a device").expect("a name");
        let peer = peer(byte);
        Event::Paired { peer, name }
    }

    fn failed(byte: u8) -> Event {
        let (peer, why) = (peer(byte), Refusal::Closed);
        Event::Failed { peer, why }
    }

    #[test]
    fn an_event_is_of_the_joining_of_that_peer_or_of_the_invitation() {
        let mut underway = Underway::default();
        let (invitation, joining) = (underway.another(), underway.another());
        assert_ne!(invitation, joining);
        underway.inviting = Some(invitation);
        underway.joining = Some((peer(1), joining));
        assert_eq!(underway.with(peer(1)), Some(joining));
        assert_eq!(underway.with(peer(2)), Some(invitation));
        // A try at an invitation ends neither.
        assert_eq!(underway.take_event(&failed(2)), Some(invitation));
        assert_eq!(underway.take_event(&paired(2)), Some(invitation));
        assert_eq!(underway.take_event(&failed(1)), Some(joining));
        assert_eq!(underway.joining, None);
        // The same device may use the invitation then.
        assert_eq!(underway.take_event(&paired(1)), Some(invitation));
        let over = Event::Over { why: Refusal::Used };
        assert_eq!(underway.take_event(&over), Some(invitation));
        assert_eq!(underway.take_event(&over), None);
        assert_eq!(underway.with(peer(2)), None);
    }
}
