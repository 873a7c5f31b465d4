//! Pairing: one invitation at a time, and one joining.

use std::time::Duration;

use super::machine::Machine;
use super::{Event, Output};
use crate::PeerId;
use crate::pairing::{self, BeginError, Invitation, Inviter, Joiner, Local, Refusal};

/// The pairings of a node.
#[derive(Debug, Default)]
pub(super) struct Pairing {
    inviter: Option<Inviter>,
    /// Whose stream the inviter serves.
    served: Option<PeerId>,
    joiner: Option<(PeerId, Joiner)>,
}

impl Machine {
    /// Opens pairing by an invitation that this device shows, at a time that is `now_unix_s` seconds
    /// since 1970 (UTC). An earlier invitation is withdrawn.
    ///
    /// # Errors
    /// [`BeginError`] if the invitation is another device's or has expired, or this device is no
    /// member of its own circle.
    pub fn invite(
        &mut self,
        now: Duration,
        now_unix_s: u64,
        invitation: Invitation,
    ) -> Result<(), BeginError> {
        let name = self.name.clone();
        let local = Local {
            identity: &self.identity,
            circle: &mut self.circle,
        };
        let inviter = Inviter::open(now, now_unix_s, invitation, name, &local)?;
        self.stop_inviting(now);
        self.pairing.inviter = Some(inviter);
        Ok(())
    }

    /// Whether an invitation can be used.
    pub fn is_inviting(&self) -> bool {
        self.pairing.inviter.is_some()
    }

    /// Withdraws the invitation, if there is one.
    pub fn stop_inviting(&mut self, now: Duration) {
        if let Some(inviter) = &mut self.pairing.inviter {
            inviter.cancel();
            self.settle(now);
        }
    }

    /// Pairs by an invitation on a pairing stream that was opened to `remote`. `ephemeral` are 32
    /// random bytes that are used for nothing else.
    ///
    /// # Errors
    /// [`BeginError`] if the invitation has expired or is another's than `remote`'s, or another
    /// pairing is under way: the stream is to be closed.
    pub fn join(
        &mut self,
        now: Duration,
        now_unix_s: u64,
        invitation: &Invitation,
        remote: PeerId,
        ephemeral: [u8; 32],
    ) -> Result<(), BeginError> {
        if self.pairing.joiner.is_some() || self.pairing.served == Some(remote) {
            return Err(Refusal::Busy.into());
        }
        let local = Local {
            identity: &self.identity,
            circle: &mut self.circle,
        };
        let (name, key) = (&self.name, ephemeral);
        let joiner = Joiner::begin(now, now_unix_s, invitation, remote, name, key, &local)?;
        self.pairing.joiner = Some((remote, joiner));
        self.settle(now);
        Ok(())
    }

    /// A peer opened a pairing stream.
    pub(super) fn pairing_opened(&mut self, now: Duration, peer: PeerId, ephemeral: [u8; 32]) {
        if self.pairing.joins(peer) {
            // The one stream with it is that of the joining.
            return;
        }
        let begun = match &mut self.pairing.inviter {
            Some(inviter) => inviter.begin(now, peer, ephemeral),
            None => Err(Refusal::NotOpen),
        };
        match begun {
            Ok(()) => self.pairing.served = Some(peer),
            Err(_) if self.pairing.served == Some(peer) => {}
            Err(refusal) => {
                let refusal = refusal.to_bytes();
                self.outputs.push_back(Output::SendPairing(peer, refusal));
                self.outputs.push_back(Output::ClosePairing(peer));
            }
        }
    }

    pub(super) fn pairing_bytes(&mut self, now: Duration, peer: PeerId, bytes: &[u8]) {
        let mut local = Local {
            identity: &self.identity,
            circle: &mut self.circle,
        };
        let Pairing {
            inviter,
            served,
            joiner,
        } = &mut self.pairing;
        match (joiner, inviter) {
            (Some((to, joiner)), _) if *to == peer => joiner.handle_bytes(now, bytes, &mut local),
            (_, Some(inviter)) if *served == Some(peer) => {
                inviter.handle_bytes(now, bytes, &mut local);
            }
            _ => {}
        }
        // Stored before the other side hears that it is.
        self.note_circle(now, None);
    }

    pub(super) fn pairing_closed(&mut self, peer: PeerId) {
        let Pairing {
            inviter,
            served,
            joiner,
        } = &mut self.pairing;
        match (joiner, inviter) {
            (Some((to, joiner)), _) if *to == peer => joiner.handle_closed(),
            (_, Some(inviter)) if *served == Some(peer) => inviter.handle_closed(),
            _ => {}
        }
    }

    /// Does what pairings want done.
    pub(super) fn settle_pairing(&mut self) {
        if let Some((peer, joiner)) = &mut self.pairing.joiner {
            let peer = *peer;
            let outputs: Vec<_> = std::iter::from_fn(|| joiner.poll_output()).collect();
            if joiner.is_over() {
                self.pairing.joiner = None;
            }
            self.pairing_outputs(Some(peer), outputs);
        }
        if let Some(inviter) = &mut self.pairing.inviter {
            let outputs: Vec<_> = std::iter::from_fn(|| inviter.poll_output()).collect();
            if inviter.over().is_some() && self.pairing.served.is_none_or(|_| ends(&outputs)) {
                self.pairing.inviter = None;
            }
            let served = self.pairing.served;
            if ends(&outputs) {
                self.pairing.served = None;
            }
            self.pairing_outputs(served, outputs);
        }
    }

    fn pairing_outputs(&mut self, peer: Option<PeerId>, outputs: Vec<pairing::Output>) {
        for output in outputs {
            match (output, peer) {
                (pairing::Output::Event(event), _) => self.event(Event::Pairing(event)),
                (pairing::Output::Send(bytes), Some(peer)) => {
                    self.outputs.push_back(Output::SendPairing(peer, bytes));
                }
                (pairing::Output::Close, Some(peer)) => {
                    self.outputs.push_back(Output::ClosePairing(peer));
                }
                (pairing::Output::Send(_) | pairing::Output::Close, None) => {}
            }
        }
    }
}

/// Whether the stream that is served ends.
fn ends(outputs: &[pairing::Output]) -> bool {
    outputs.contains(&pairing::Output::Close)
}

impl Pairing {
    fn joins(&self, peer: PeerId) -> bool {
        self.joiner.as_ref().is_some_and(|(to, _)| *to == peer)
    }

    pub(super) fn poll_timeout(&self) -> Option<Duration> {
        let inviter = self.inviter.as_ref().and_then(Inviter::poll_timeout);
        let joiner = self
            .joiner
            .as_ref()
            .and_then(|(_, joiner)| joiner.poll_timeout());
        [inviter, joiner].into_iter().flatten().min()
    }

    pub(super) fn handle_timeout(&mut self, now: Duration) {
        if let Some(inviter) = &mut self.inviter {
            inviter.handle_timeout(now);
        }
        if let Some((_, joiner)) = &mut self.joiner {
            joiner.handle_timeout(now);
        }
    }
}
