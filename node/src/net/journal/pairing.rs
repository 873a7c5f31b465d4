//! Invitations and joinings.

use potluck_protocol::PeerId;
use potluck_protocol::machine::Machine;
use potluck_protocol::pairing::{Event, Refusal};
use tracing::Span;

use super::name;
use crate::net::underway::PairingId;

/// The pairings in progress: at most one invitation and one joining.
#[derive(Default)]
pub(in crate::net) struct Pairings(Vec<(PairingId, Span)>);

impl Pairings {
    /// This device shows an invitation for this many seconds.
    pub(in crate::net) fn invites(&mut self, of: PairingId, seconds: u64) {
        let span = tracing::info_span!("pairing", side = "inviter");
        tracing::info!(parent: &span, seconds, "an invitation is open");
        self.0.push((of, span));
    }

    /// This device uses an invitation of a peer.
    pub(in crate::net) fn joins(&mut self, of: PairingId, peer: PeerId) {
        let span = tracing::info_span!("pairing", side = "joiner", with = %peer);
        tracing::info!(parent: &span, "an invitation is used");
        self.0.push((of, span));
    }

    fn span(&self, of: PairingId) -> Span {
        let mut known = self.0.iter();
        let found = known.find(|(id, _)| *id == of);
        found.map_or_else(Span::none, |(_, span)| span.clone())
    }

    fn is_over(&mut self, of: PairingId) {
        self.0.retain(|(id, _)| *id != of);
    }

    /// A joining failed before the handshake.
    pub(in crate::net) fn not_reached(&mut self, of: PairingId, why: &str) {
        tracing::warn!(parent: &self.span(of), why, "the inviting device was not reached");
        self.is_over(of);
    }

    /// Logs a pairing event. `joins`: it belongs to a joining, which ends with its first attempt.
    pub(in crate::net) fn event(
        &mut self,
        machine: &Machine,
        of: PairingId,
        joins: bool,
        event: &Event,
    ) {
        let span = self.span(of);
        match event {
            Event::Proposed(proposal) => {
                let (name, id) = (proposal.name.as_str(), proposal.peer);
                tracing::info!(parent: &span, name, %id, "the owner is asked whether to pair");
                if let Some(skew) = proposal.clock {
                    tracing::warn!(parent: &span, name, "the other device's clock is {skew}");
                }
            }
            Event::Paired { peer, name } => {
                tracing::info!(parent: &span, name = name.as_str(), id = %peer, "paired");
            }
            Event::Failed { peer, why } => {
                let name = name(machine, *peer);
                tracing::warn!(parent: &span, name, why = %why, "an attempt to pair failed");
            }
            Event::Over { why: Refusal::Used } => {}
            Event::Over { why } => {
                tracing::info!(parent: &span, why = %why, "the invitation is over");
            }
        }
        let ends = match event {
            Event::Proposed(_) => false,
            Event::Paired { .. } | Event::Failed { .. } => joins,
            Event::Over { .. } => true,
        };
        if ends {
            self.is_over(of);
        }
    }
}
