//! The side that shows the invitation.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use super::exchange::{Incoming, Introduction, Local, Message, admit, log_messages};
use super::frame::{Frame, FrameReader, MAX_FRAME, MAX_HANDSHAKE_FRAME, refusal_frame};
use super::noise::{Handshake, Side, Transport};
use super::proposal::{self, Admitter, Change, Confirming, Proposal};
use super::standing::{self, Listed, Wish};
use super::{
    ATTEMPT_TIMEOUT, BeginError, CONFIRM_TIMEOUT, ClockSkew, Event, Invitation, Output, Refusal,
    TRIES,
};
use crate::PeerId;
use crate::circle::DeviceName;

/// Lets one device pair by one invitation, and no other; see the module's documentation.
///
/// Serves one stream at a time: the owner calls [`begin`](Self::begin) for each that comes, and on
/// [`Output::Close`] ends the one it began. Times are since any fixed moment, and never go back.
#[derive(Debug)]
pub struct Inviter {
    invitation: Invitation,
    name: DeviceName,
    wish: Wish,
    closes_at: Duration,
    tries_left: u8,
    refused: u32,
    /// Who proved to have the secret: from then on nobody else may use it.
    claimed_by: Option<PeerId>,
    attempt: Option<Attempt>,
    over: Option<Refusal>,
    outputs: VecDeque<Output>,
}

struct Attempt {
    joiner: PeerId,
    gives_up_at: Duration,
    frames: FrameReader,
    stage: Stage,
}

impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The stage holds keys.
        write!(f, "Attempt({})", self.joiner)
    }
}

enum Stage {
    /// Waits for the joiner's message of the handshake.
    First(Handshake),
    /// Waits for the members of the joiner's circle.
    Members(Box<Exchange>),
    /// Waits for both owners.
    Confirming(Box<Exchange>, Confirming),
    /// Waits for the joiner's log, or word that there is none.
    Log(Box<Exchange>),
    /// Has admitted, and waits for the joiner to have taken the log.
    Done(Transport, DeviceName),
}

struct Exchange {
    transport: Transport,
    admitter: Admitter,
    mine: Introduction,
    theirs: Introduction,
    /// How the two clocks differed when the other's message was there.
    clock: Option<ClockSkew>,
    /// What the owner was shown that pairing changes; `None` until then.
    change: Option<Change>,
    /// The members that were shown, of the circle that is joined.
    shown: Vec<Listed>,
    incoming: Incoming,
}

impl Inviter {
    /// Opens pairing by `invitation`, which this device shows, `now_unix_s` seconds after 1970 (UTC).
    ///
    /// # Errors
    /// [`BeginError`] if the invitation is another device's or has expired, or this device is no
    /// member of its own circle.
    pub fn open(
        now: Duration,
        now_unix_s: u64,
        invitation: Invitation,
        (name, wish): (DeviceName, Wish),
        local: &Local<'_>,
    ) -> Result<Self, BeginError> {
        let me = local.identity.peer_id();
        if invitation.peer() != me {
            return Err(Refusal::WrongPeer.into());
        }
        if !local.circle.contains(me) {
            return Err(Refusal::NotAMember.into());
        }
        invitation.check_open(now_unix_s)?;
        let open_for = Duration::from_secs(invitation.expires_unix_s() - now_unix_s);
        Ok(Self {
            invitation,
            name,
            wish,
            closes_at: now.saturating_add(open_for),
            tries_left: TRIES,
            refused: 0,
            claimed_by: None,
            attempt: None,
            over: None,
            outputs: VecDeque::new(),
        })
    }

    /// The invitation.
    pub fn invitation(&self) -> &Invitation {
        &self.invitation
    }

    /// How many more attempts may fail.
    pub fn tries_left(&self) -> u8 {
        self.tries_left
    }

    /// The number of refused streams and failed attempts.
    pub fn refused(&self) -> u32 {
        self.refused
    }

    /// Whether a device has proved that it knows the secret.
    pub fn is_claimed(&self) -> bool {
        self.claimed_by.is_some()
    }

    /// Why this invitation is over; [`Refusal::Used`] if a device has paired.
    pub fn over(&self) -> Option<Refusal> {
        self.over
    }

    /// Begins an attempt on a stream whose link has authenticated `joiner`. `ephemeral` are 32 random
    /// bytes that are used for nothing else.
    ///
    /// # Errors
    /// Send the refusal's [`to_bytes`](Refusal::to_bytes) on that stream and close it; nothing else changes.
    pub fn begin(
        &mut self,
        now: Duration,
        joiner: PeerId,
        ephemeral: [u8; 32],
    ) -> Result<(), Refusal> {
        self.handle_timeout(now);
        let own = (joiner == self.invitation.peer()).then_some(Refusal::WrongSecret);
        let claimed = self.claimed_by.filter(|peer| *peer != joiner);
        let used = claimed.map(|_| Refusal::Used);
        let busy = self.attempt.as_ref().map(|_| Refusal::Busy);
        if let Some(refusal) = self.over.or(own).or(used).or(busy) {
            self.refused = self.refused.saturating_add(1);
            return Err(refusal);
        }
        let handshake = Handshake::new(Side::Inviter, &self.invitation, joiner, ephemeral);
        self.attempt = Some(Attempt {
            joiner,
            gives_up_at: now.saturating_add(ATTEMPT_TIMEOUT),
            frames: FrameReader::default(),
            stage: Stage::First(handshake),
        });
        Ok(())
    }

    /// Handles received bytes of the stream.
    pub fn handle_bytes(&mut self, now: Duration, mut bytes: &[u8], local: &mut Local<'_>) {
        self.handle_timeout(now);
        while let Some(mut attempt) = self.attempt.take() {
            let limit = match attempt.stage {
                Stage::First(_) => MAX_HANDSHAKE_FRAME,
                Stage::Members(_) | Stage::Confirming(..) | Stage::Log(_) | Stage::Done(..) => {
                    MAX_FRAME
                }
            };
            let joiner = attempt.joiner;
            match attempt.frames.read(&mut bytes, limit) {
                Ok(None) => {
                    self.attempt = Some(attempt);
                    return;
                }
                Ok(Some(Frame::Noise(message))) => {
                    if let Err(why) = self.step(now, attempt, &message, local) {
                        self.fail(joiner, why);
                    }
                }
                Ok(Some(Frame::Refusal(theirs))) => self.end_attempt(joiner, theirs),
                Err(why) => self.fail(joiner, why),
            }
        }
    }

    /// Handles that the other side closed the stream.
    pub fn handle_closed(&mut self) {
        if let Some(attempt) = self.attempt.take() {
            self.end_attempt(attempt.joiner, Refusal::Closed);
        }
    }

    /// Ends an attempt or an invitation whose time is over. An attempt that began in time may continue
    /// after the invitation has expired.
    pub fn handle_timeout(&mut self, now: Duration) {
        if let Some(attempt) = self.attempt.take_if(|attempt| attempt.gives_up_at <= now) {
            self.fail(attempt.joiner, Refusal::TimedOut);
        }
        if self.attempt.is_none() && self.closes_at <= now {
            self.close(Refusal::Expired);
        }
    }

    /// Handles the system's clock. The invitation expires by it as well, because the clock of `now` stands
    /// still while a device sleeps.
    pub fn handle_clock(&mut self, now: Duration, now_unix_s: u64) {
        self.handle_timeout(now);
        let expired = self.invitation.check_open(now_unix_s).is_err();
        if expired && self.attempt.is_none() && self.over.is_none() {
            // Joiners are told that it has expired.
            self.over = Some(Refusal::Expired);
            let why = Refusal::ClockMoved;
            self.outputs.push_back(Output::Event(Event::Over { why }));
        }
    }

    /// Handles the owner's answer to [`Event::Proposed`]; ignored if nothing is proposed.
    pub fn answer(&mut self, now: Duration, agrees: bool) {
        let Some(mut attempt) = self.attempt.take() else {
            return;
        };
        let joiner = attempt.joiner;
        match attempt.stage {
            Stage::Confirming(mut exchange, mut confirming) if agrees && !confirming.by_me => {
                confirming.by_me = true;
                let message = Message::Confirm(confirming.choice);
                self.send(exchange.transport.write(&message.to_plaintext()));
                if confirming.is_complete() {
                    attempt.gives_up_at = now.saturating_add(ATTEMPT_TIMEOUT);
                }
                attempt.stage = after(exchange, confirming);
                self.attempt = Some(attempt);
            }
            Stage::Confirming(..) if !agrees => {
                self.fail(joiner, Refusal::Declined);
                self.close(Refusal::Declined);
            }
            _ => self.attempt = Some(attempt),
        }
    }

    /// Handles that the circle could not be stored and was restored. Drops queued outputs, and tells the
    /// joiner.
    pub fn handle_not_stored(&mut self) {
        let Some(joiner) = self.claimed_by else {
            return;
        };
        self.attempt = None;
        self.over = None;
        self.outputs.clear();
        self.fail(joiner, Refusal::NotStored);
        self.close(Refusal::NotStored);
    }

    /// Ends the invitation for the owner.
    pub fn cancel(&mut self) {
        if let Some(attempt) = self.attempt.take() {
            self.fail(attempt.joiner, Refusal::Cancelled);
        }
        self.close(Refusal::Cancelled);
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    pub fn poll_timeout(&self) -> Option<Duration> {
        match (&self.attempt, self.over) {
            (Some(attempt), _) => Some(attempt.gives_up_at),
            (None, None) => Some(self.closes_at),
            (None, Some(_)) => None,
        }
    }

    /// The next output.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn step(
        &mut self,
        now: Duration,
        mut attempt: Attempt,
        message: &[u8],
        local: &mut Local<'_>,
    ) -> Result<(), Refusal> {
        let joiner = attempt.joiner;
        let next = match attempt.stage {
            Stage::First(handshake) => Some(self.read_first(handshake, message, local)?),
            Stage::Members(mut exchange) => {
                let plaintext = exchange.transport.read(message)?;
                let Message::Members(theirs) = Message::parse(&plaintext)? else {
                    return Err(Refusal::Malformed);
                };
                // This message proves the secret and a fresh key.
                self.claimed_by = Some(joiner);
                let confirming = self.propose(joiner, &mut exchange, theirs, local)?;
                attempt.gives_up_at = now.saturating_add(CONFIRM_TIMEOUT);
                Some(Stage::Confirming(exchange, confirming))
            }
            Stage::Confirming(mut exchange, mut confirming) => {
                let plaintext = exchange.transport.read(message)?;
                if Message::parse(&plaintext)? != Message::Confirm(confirming.choice) {
                    return Err(Refusal::Malformed);
                }
                confirming.by_them = true;
                if confirming.is_complete() {
                    attempt.gives_up_at = now.saturating_add(ATTEMPT_TIMEOUT);
                }
                Some(after(exchange, confirming))
            }
            Stage::Log(mut exchange) => {
                let plaintext = exchange.transport.read(message)?;
                match Message::parse(&plaintext)? {
                    Message::Part(part) => {
                        exchange.incoming.push(part)?;
                        Some(Stage::Log(exchange))
                    }
                    Message::End => self.take_log(joiner, *exchange, local)?,
                    Message::Done | Message::Members(_) | Message::Confirm(_) => {
                        return Err(Refusal::Malformed);
                    }
                }
            }
            Stage::Done(mut transport, name) => {
                let plaintext = transport.read(message)?;
                if Message::parse(&plaintext)? != Message::Done {
                    return Err(Refusal::Malformed);
                }
                self.succeed(joiner, name);
                None
            }
        };
        if let Some(stage) = next {
            attempt.stage = stage;
            self.attempt = Some(attempt);
        }
        Ok(())
    }

    fn read_first(
        &mut self,
        mut handshake: Handshake,
        message: &[u8],
        local: &Local<'_>,
    ) -> Result<Stage, Refusal> {
        let theirs = Introduction::from_bytes(&handshake.read(message)?)?;
        let mine = Introduction::of(local, &self.name, self.wish);
        let admitter = Admitter::choose(&mine, &theirs)?;
        self.send(handshake.write(&mine.to_bytes()));
        Ok(Stage::Members(Box::new(Exchange {
            transport: handshake.finish(),
            admitter,
            clock: ClockSkew::between(mine.unix_s, theirs.unix_s),
            mine,
            theirs,
            change: None,
            shown: Vec::new(),
            incoming: Incoming::default(),
        })))
    }

    /// Sends the members of this device's circle to the joiner, and asks the owner.
    fn propose(
        &mut self,
        joiner: PeerId,
        exchange: &mut Exchange,
        theirs: Vec<Listed>,
        local: &Local<'_>,
    ) -> Result<Confirming, Refusal> {
        let knows = local.circle.contains(joiner);
        let admitter = exchange.admitter;
        let change = admitter.change(true, &exchange.mine, &exchange.theirs, knows);
        change.check_wish(self.wish)?;
        exchange.change = Some(change);
        let mine = standing::list(local.circle, self.invitation.peer());
        let message = Message::Members(mine.clone());
        self.send(exchange.transport.write(&message.to_plaintext()));
        let (circle, members) = match admitter {
            Admitter::Inviter { .. } => (exchange.mine.circle, mine),
            Admitter::Joiner => (exchange.theirs.circle, theirs),
        };
        exchange.shown.clone_from(&members);
        let proposal = Proposal {
            peer: joiner,
            name: exchange.theirs.name.clone(),
            change,
            members,
            clock: exchange.clock,
        };
        let devices = [self.invitation.peer(), joiner];
        let (asked, confirming) = proposal::ask(admitter, devices, circle, proposal);
        self.outputs.push_back(asked);
        Ok(confirming)
    }

    /// The next stage, or `None` if the pairing is done.
    fn take_log(
        &mut self,
        joiner: PeerId,
        exchange: Exchange,
        local: &mut Local<'_>,
    ) -> Result<Option<Stage>, Refusal> {
        let Exchange {
            mut transport,
            admitter,
            mine,
            theirs,
            change,
            shown,
            incoming,
            clock: _,
        } = exchange;
        match admitter {
            Admitter::Inviter { same_circle } => {
                if !same_circle {
                    if !incoming.is_empty() {
                        return Err(Refusal::Malformed);
                    }
                    proposal::check_shown(local.circle, mine.circle, &shown)?;
                }
                let me = self.invitation.peer();
                incoming.merge_into(local.circle, &[me], Refusal::OtherMembers)?;
                // The joiner was revoked since the owner was asked, or by its own log. Nobody has agreed
                // to admit it again.
                if change == Some(Change::Renew) && !local.circle.contains(joiner) {
                    return Err(Refusal::OtherMembers);
                }
                admit(joiner, &theirs.name, local)?;
                for message in log_messages(&local.circle.to_log()) {
                    self.send(transport.write(&message.to_plaintext()));
                }
                Ok(Some(Stage::Done(transport, theirs.name)))
            }
            Admitter::Joiner => {
                let members = [self.invitation.peer(), joiner];
                let circle = incoming.into_circle(theirs.circle, members, &shown)?;
                mine.check_replaceable(local)?;
                *local.circle = circle;
                self.send(transport.write(&Message::Done.to_plaintext()));
                self.succeed(joiner, theirs.name);
                Ok(None)
            }
        }
    }

    fn send(&mut self, frame: Vec<u8>) {
        self.outputs.push_back(Output::Send(frame));
    }

    fn succeed(&mut self, peer: PeerId, name: DeviceName) {
        self.outputs.push_back(Output::Close);
        self.outputs
            .push_back(Output::Event(Event::Paired { peer, name }));
        self.close(Refusal::Used);
    }

    /// Sends a refusal and ends the attempt.
    fn fail(&mut self, peer: PeerId, why: Refusal) {
        self.send(refusal_frame(why));
        self.end_attempt(peer, why);
    }

    fn end_attempt(&mut self, peer: PeerId, why: Refusal) {
        self.outputs.push_back(Output::Close);
        self.refused = self.refused.saturating_add(1);
        self.tries_left = self.tries_left.saturating_sub(1);
        let failed = Event::Failed { peer, why };
        self.outputs.push_back(Output::Event(failed));
        if self.tries_left == 0 {
            self.close(Refusal::Burnt);
        }
    }

    fn close(&mut self, why: Refusal) {
        if self.over.is_none() {
            self.over = Some(why);
            self.outputs.push_back(Output::Event(Event::Over { why }));
        }
    }
}

/// The stage after an owner has agreed.
fn after(exchange: Box<Exchange>, confirming: Confirming) -> Stage {
    if confirming.is_complete() {
        Stage::Log(exchange)
    } else {
        Stage::Confirming(exchange, confirming)
    }
}
