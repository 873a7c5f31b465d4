//! Pairing: at most one invitation and one joining at a time.

use std::time::Duration;

use super::Machine;
use super::gossip::version;
use super::{Asked, Event, Output};
use crate::PeerId;
use crate::circle::Circle;
use crate::pairing::{
    self, BeginError, First, Invitation, Inviter, Joiner, Local, Refusal, Waiting, Wish,
};

/// The pairing state of a node.
#[derive(Debug, Default)]
pub(super) struct Pairing {
    inviter: Option<Inviter>,
    /// Peers that have not sent a complete message.
    waiting: Waiting,
    /// The peer that the inviter serves: it has sent its first message.
    served: Option<PeerId>,
    joiner: Option<(PeerId, Joiner)>,
    /// The pairing that caused the change of the circle that is being stored.
    changed_by: Option<Side>,
    /// The last reported time of the system's clock, and when it was reported.
    clock: Option<(u64, Duration)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Inviter,
    Joiner,
}

impl Machine {
    /// Opens pairing by an invitation that this device shows. `now_unix_s` is the time in seconds
    /// since 1970 (UTC). Withdraws an earlier invitation. `wish` is the owner's advance decision.
    ///
    /// # Errors
    /// [`BeginError`] if the invitation is another device's or has expired, or this device is not a
    /// member of its own circle.
    pub fn invite(
        &mut self,
        now: Duration,
        now_unix_s: u64,
        invitation: Invitation,
        wish: Wish,
    ) -> Result<(), BeginError> {
        let name = (self.name.clone(), wish);
        self.pairing.clock = Some((now_unix_s, now));
        let local = Local {
            identity: &self.identity,
            circle: &mut self.circle,
            unix_s: Some(now_unix_s),
        };
        let inviter = Inviter::open(now, now_unix_s, invitation, name, &local)?;
        self.stop_inviting(now);
        self.pairing.inviter = Some(inviter);
        Ok(())
    }

    /// Whether an invitation is valid now.
    pub fn is_inviting(&self) -> bool {
        self.pairing.inviter.is_some()
    }

    /// Withdraws the invitation, if any.
    pub fn stop_inviting(&mut self, now: Duration) {
        if let Some(inviter) = &mut self.pairing.inviter {
            inviter.cancel();
            self.settle(now);
        }
    }

    /// Joins by an invitation, on a pairing stream that was opened to `remote`. `ephemeral` are 32
    /// random bytes that are used for nothing else. Pass [`Input::Clock`](super::Input::Clock)
    /// first, so that the other device can report if the two clocks disagree.
    ///
    /// # Errors
    /// [`BeginError`] if the invitation is not `remote`'s, or another pairing is under way. The
    /// stream must then be closed.
    pub fn join(
        &mut self,
        now: Duration,
        invitation: &Invitation,
        remote: PeerId,
        wish: Wish,
        ephemeral: [u8; 32],
    ) -> Result<(), BeginError> {
        let with_remote =
            self.pairing.served == Some(remote) || self.pairing.waiting.contains(remote);
        if self.pairing.joiner.is_some() || with_remote {
            return Err(Refusal::Busy.into());
        }
        let local = Local {
            identity: &self.identity,
            circle: &mut self.circle,
            unix_s: self.pairing.unix_s(now),
        };
        let (name, key) = ((&self.name, wish), ephemeral);
        let joiner = Joiner::begin(now, invitation, remote, name, key, &local)?;
        self.pairing.joiner = Some((remote, joiner));
        self.settle(now);
        Ok(())
    }

    /// Passes on the owner's answer to a peer's [`pairing::Event::Proposed`]. Returns whether an
    /// answer was still expected.
    pub fn answer_pairing(&mut self, now: Duration, peer: PeerId, agrees: bool) -> bool {
        let before = self.circle.clone();
        let Some((side, mut local, pairing)) = self.pairing_with(now, peer) else {
            return false;
        };
        match (side, &mut pairing.inviter, &mut pairing.joiner) {
            (Side::Inviter, Some(inviter), _) => inviter.answer(now, agrees),
            (Side::Joiner, _, Some((_, joiner))) => joiner.answer(now, agrees, &mut local),
            _ => {}
        }
        self.note_pairing(now, side, Some(before));
        self.settle(now);
        true
    }

    /// Cancels joining, if under way.
    pub fn stop_joining(&mut self, now: Duration) {
        if let Some((_, joiner)) = &mut self.pairing.joiner {
            joiner.cancel();
            self.settle(now);
        }
    }

    /// This device's side in a pairing with a peer, and the state that the side needs.
    fn pairing_with(
        &mut self,
        now: Duration,
        peer: PeerId,
    ) -> Option<(Side, Local<'_>, &mut Pairing)> {
        let side = if self.pairing.joins(peer) {
            Side::Joiner
        } else if self.pairing.inviter.is_some() && self.pairing.served == Some(peer) {
            Side::Inviter
        } else {
            return None;
        };
        let local = Local {
            identity: &self.identity,
            circle: &mut self.circle,
            unix_s: self.pairing.unix_s(now),
        };
        Some((side, local, &mut self.pairing))
    }

    /// Stores a pairing's changes before the other side learns of them.
    fn note_pairing(&mut self, now: Duration, side: Side, before: Option<Circle>) {
        let changed = before.filter(|before| version(&self.circle) != version(before));
        if let Some(before) = changed {
            self.pairing.changed_by = Some(side);
            self.note_own_act(now, before);
        }
    }

    /// Updates the system's clock.
    pub(super) fn clock_told(&mut self, now: Duration, now_unix_s: u64) {
        self.pairing.clock = Some((now_unix_s, now));
        if let Some(inviter) = &mut self.pairing.inviter {
            inviter.handle_clock(now, now_unix_s);
        }
    }

    /// Handles a pairing stream opened by a peer.
    pub(super) fn pairing_opened(&mut self, now: Duration, peer: PeerId, ephemeral: [u8; 32]) {
        if self.pairing.joins(peer) {
            // This peer's only stream belongs to the joining.
            return;
        }
        if self.pairing.inviter.is_none() {
            self.refuse_pairing(peer, Refusal::NotOpen);
        } else if self.pairing.served != Some(peer)
            && let Some(oldest) = self.pairing.waiting.open(now, peer, ephemeral)
        {
            self.refuse_pairing(oldest, Refusal::Busy);
        }
    }

    fn refuse_pairing(&mut self, peer: PeerId, why: Refusal) {
        self.event(Event::Refused {
            peer,
            asked: Asked::Pairing,
            why: why.to_string(),
        });
        let refusal = why.to_bytes();
        self.outputs.push_back(Output::SendPairing(peer, refusal));
        self.outputs.push_back(Output::ClosePairing(peer));
    }

    pub(super) fn pairing_bytes(&mut self, now: Duration, peer: PeerId, bytes: &[u8]) {
        if !self.pairing.waiting.contains(peer) {
            return self.served_bytes(now, peer, bytes);
        }
        match self.pairing.waiting.take(peer, bytes) {
            First::Waits => {}
            First::Nonsense => self.refuse_pairing(peer, Refusal::Malformed),
            First::Whole { ephemeral, bytes } => {
                let begun = match &mut self.pairing.inviter {
                    Some(inviter) => inviter.begin(now, peer, ephemeral),
                    None => Err(Refusal::NotOpen),
                };
                match begun {
                    Ok(()) => {
                        self.pairing.served = Some(peer);
                        self.served_bytes(now, peer, &bytes);
                    }
                    Err(why) => self.refuse_pairing(peer, why),
                }
            }
        }
    }

    fn served_bytes(&mut self, now: Duration, peer: PeerId, bytes: &[u8]) {
        // Clone only for peers that have proved to know the secret; others cannot change the
        // circle.
        let before = self.pairing.may_change().then(|| self.circle.clone());
        let Some((side, mut local, pairing)) = self.pairing_with(now, peer) else {
            return;
        };
        match (side, &mut pairing.inviter, &mut pairing.joiner) {
            (Side::Inviter, Some(inviter), _) => inviter.handle_bytes(now, bytes, &mut local),
            (Side::Joiner, _, Some((_, joiner))) => joiner.handle_bytes(now, bytes, &mut local),
            _ => {}
        }
        self.note_pairing(now, side, before);
    }

    pub(super) fn pairing_closed(&mut self, peer: PeerId) {
        if self.pairing.waiting.close(peer) {
            self.outputs.push_back(Output::ClosePairing(peer));
            return;
        }
        let Pairing {
            inviter,
            served,
            joiner,
            ..
        } = &mut self.pairing;
        match (joiner, inviter) {
            (Some((to, joiner)), _) if *to == peer => joiner.handle_closed(),
            (_, Some(inviter)) if *served == Some(peer) => inviter.handle_closed(),
            _ => {}
        }
    }

    /// Ends pairings that have taken too long.
    pub(super) fn pairing_timeout(&mut self, now: Duration) {
        if let Some(inviter) = &mut self.pairing.inviter {
            inviter.handle_timeout(now);
        }
        if let Some((_, joiner)) = &mut self.pairing.joiner {
            joiner.handle_timeout(now);
        }
        for peer in self.pairing.waiting.expire(now) {
            self.refuse_pairing(peer, Refusal::TimedOut);
        }
    }

    /// The authenticated device with which pairing is under way.
    pub fn pairs_with(&self) -> Option<PeerId> {
        self.pairing.served
    }

    /// Carries out the pairings' outputs.
    pub(super) fn settle_pairing(&mut self) {
        if self.unstored.is_some() {
            // Report success only after the change is stored.
            return;
        }
        self.pairing.changed_by = None;
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
                for peer in self.pairing.waiting.end() {
                    self.refuse_pairing(peer, Refusal::NotOpen);
                }
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

/// Whether the served stream ends.
fn ends(outputs: &[pairing::Output]) -> bool {
    outputs.contains(&pairing::Output::Close)
}

impl Pairing {
    /// Whether data from a stream can change the circle.
    fn may_change(&self) -> bool {
        let proven = self.inviter.as_ref().is_some_and(Inviter::is_claimed);
        proven || self.joiner.is_some()
    }

    /// The current time of the system's clock.
    fn unix_s(&self, now: Duration) -> Option<u64> {
        let (unix_s, told_at) = self.clock?;
        Some(unix_s.saturating_add(now.saturating_sub(told_at).as_secs()))
    }

    fn joins(&self, peer: PeerId) -> bool {
        self.joiner.as_ref().is_some_and(|(to, _)| *to == peer)
    }

    /// Undoes a pairing whose change could not be stored.
    pub(super) fn not_stored(&mut self) {
        match (self.changed_by.take(), &mut self.inviter, &mut self.joiner) {
            (Some(Side::Inviter), Some(inviter), _) => inviter.handle_not_stored(),
            (Some(Side::Joiner), _, Some((_, joiner))) => joiner.handle_not_stored(),
            _ => {}
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Duration> {
        let inviter = self.inviter.as_ref().and_then(Inviter::poll_timeout);
        let joiner = self
            .joiner
            .as_ref()
            .and_then(|(_, joiner)| joiner.poll_timeout());
        let waiting = self.waiting.poll_timeout();
        [inviter, joiner, waiting].into_iter().flatten().min()
    }
}
