//! The side that uses an invitation.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use super::exchange::{Incoming, Introduction, Local, Message, admit, log_messages};
use super::frame::{Frame, FrameReader, MAX_FRAME, MAX_HANDSHAKE_FRAME, refusal_frame};
use super::noise::{Handshake, Side, Transport};
use super::proposal::{self, Admitter, Confirming, Proposal};
use super::standing::{self, Listed, Wish};
use super::{
    ATTEMPT_TIMEOUT, BeginError, CONFIRM_TIMEOUT, ClockSkew, Event, Invitation, Output, Refusal,
};
use crate::PeerId;
use crate::circle::DeviceName;

/// One attempt to pair by an invitation, on one stream; see the module's documentation.
pub struct Joiner {
    me: PeerId,
    inviter: PeerId,
    mine: Introduction,
    gives_up_at: Duration,
    frames: FrameReader,
    /// `None` once the attempt is over.
    stage: Option<Stage>,
    outputs: VecDeque<Output>,
}

enum Stage {
    /// Waits for the inviter's message of the handshake.
    Second(Handshake),
    /// Waits for the members of the inviter's circle.
    Members(Box<Exchange>),
    /// Waits for both owners.
    Confirming(Box<Exchange>, Confirming),
    /// Waits for the inviter's log.
    Log(Box<Exchange>),
    /// Has admitted the inviter; waits for it to take the log.
    Done(Transport, DeviceName),
}

struct Exchange {
    transport: Transport,
    admitter: Admitter,
    theirs: Introduction,
    /// The difference of the two clocks when the inviter's message came.
    clock: Option<ClockSkew>,
    /// Whether the inviter was a member of this device's circle when the owner was asked.
    knows_them: bool,
    /// The members of the circle to join, as the owner was shown them.
    shown: Vec<Listed>,
    incoming: Incoming,
}

impl Joiner {
    /// Begins an attempt on a stream whose link has authenticated `remote`. `ephemeral` are 32 random
    /// bytes that are used for nothing else.
    ///
    /// # Errors
    /// [`BeginError`] if the invitation is this device's own or not `remote`'s. Nothing has been sent
    /// then, and the secret stays secret. Expiry is not checked here: the inviter does, by its own
    /// clock.
    pub fn begin(
        now: Duration,
        invitation: &Invitation,
        remote: PeerId,
        (name, wish): (&DeviceName, Wish),
        ephemeral: [u8; 32],
        local: &Local<'_>,
    ) -> Result<Self, BeginError> {
        let me = local.identity.peer_id();
        if invitation.peer() == me {
            return Err(Refusal::OwnInvitation.into());
        }
        if invitation.peer() != remote {
            return Err(Refusal::WrongPeer.into());
        }
        let mine = Introduction::of(local, name, wish);
        let mut handshake = Handshake::new(Side::Joiner, invitation, me, ephemeral);
        let first = handshake.write(&mine.to_bytes());
        Ok(Self {
            me,
            inviter: remote,
            mine,
            gives_up_at: now.saturating_add(ATTEMPT_TIMEOUT),
            frames: FrameReader::default(),
            stage: Some(Stage::Second(handshake)),
            outputs: VecDeque::from([Output::Send(first)]),
        })
    }

    /// Whether it has paired or failed.
    pub fn is_over(&self) -> bool {
        self.stage.is_none()
    }

    /// Handles received bytes of the stream.
    pub fn handle_bytes(&mut self, now: Duration, mut bytes: &[u8], local: &mut Local<'_>) {
        self.handle_timeout(now);
        while let Some(stage) = self.stage.take() {
            let limit = match stage {
                Stage::Second(_) => MAX_HANDSHAKE_FRAME,
                Stage::Members(_) | Stage::Confirming(..) | Stage::Log(_) | Stage::Done(..) => {
                    MAX_FRAME
                }
            };
            match self.frames.read(&mut bytes, limit) {
                Ok(None) => {
                    self.stage = Some(stage);
                    return;
                }
                Ok(Some(Frame::Noise(message))) => match self.step(now, stage, &message, local) {
                    Ok(next) => self.stage = next,
                    Err(why) => self.fail(why),
                },
                Ok(Some(Frame::Refusal(theirs))) => self.end(theirs),
                Err(why) => self.fail(why),
            }
        }
    }

    /// Handles that the other side closed the stream.
    pub fn handle_closed(&mut self) {
        if self.stage.take().is_some() {
            self.end(Refusal::Closed);
        }
    }

    /// Handles the owner's answer to [`Event::Proposed`]; ignored if nothing is proposed.
    pub fn answer(&mut self, now: Duration, agrees: bool, local: &mut Local<'_>) {
        match self.stage.take() {
            Some(Stage::Confirming(mut exchange, mut confirming))
                if agrees && !confirming.by_me =>
            {
                confirming.by_me = true;
                let message = Message::Confirm(confirming.choice);
                self.send(exchange.transport.write(&message.to_plaintext()));
                match self.confirm(now, exchange, confirming, local) {
                    Ok(next) => self.stage = Some(next),
                    Err(why) => self.fail(why),
                }
            }
            Some(Stage::Confirming(..)) if !agrees => self.fail(Refusal::Declined),
            other => self.stage = other,
        }
    }

    /// Ends the attempt for the owner.
    pub fn cancel(&mut self) {
        if self.stage.take().is_some() {
            self.fail(Refusal::Cancelled);
        }
    }

    /// Handles that the circle could not be stored and was restored. Drops queued outputs, and tells the
    /// inviter.
    pub fn handle_not_stored(&mut self) {
        self.stage = None;
        self.outputs.clear();
        self.fail(Refusal::NotStored);
    }

    /// Ends an attempt whose time is over.
    pub fn handle_timeout(&mut self, now: Duration) {
        if self.gives_up_at <= now && self.stage.take().is_some() {
            self.fail(Refusal::TimedOut);
        }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.stage.is_some().then_some(self.gives_up_at)
    }

    /// The next output.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The next stage, or `None` if the pairing is done.
    fn step(
        &mut self,
        now: Duration,
        stage: Stage,
        message: &[u8],
        local: &mut Local<'_>,
    ) -> Result<Option<Stage>, Refusal> {
        match stage {
            Stage::Second(handshake) => self.read_second(handshake, message, local).map(Some),
            Stage::Members(mut exchange) => {
                let plaintext = exchange.transport.read(message)?;
                let Message::Members(theirs) = Message::parse(&plaintext)? else {
                    return Err(Refusal::Malformed);
                };
                let confirming = self.propose(&mut exchange, theirs, local)?;
                self.gives_up_at = now.saturating_add(CONFIRM_TIMEOUT);
                Ok(Some(Stage::Confirming(exchange, confirming)))
            }
            Stage::Confirming(mut exchange, mut confirming) => {
                let plaintext = exchange.transport.read(message)?;
                if Message::parse(&plaintext)? != Message::Confirm(confirming.choice) {
                    return Err(Refusal::Malformed);
                }
                confirming.by_them = true;
                self.confirm(now, exchange, confirming, local).map(Some)
            }
            Stage::Log(mut exchange) => {
                let plaintext = exchange.transport.read(message)?;
                match Message::parse(&plaintext)? {
                    Message::Part(part) => exchange.incoming.push(part)?,
                    Message::End => return self.take_log(*exchange, local).map(|()| None),
                    Message::Done | Message::Members(_) | Message::Confirm(_) => {
                        return Err(Refusal::Malformed);
                    }
                }
                Ok(Some(Stage::Log(exchange)))
            }
            Stage::Done(mut transport, name) => {
                let plaintext = transport.read(message)?;
                if Message::parse(&plaintext)? != Message::Done {
                    return Err(Refusal::Malformed);
                }
                self.succeed(name);
                Ok(None)
            }
        }
    }

    fn read_second(
        &mut self,
        mut handshake: Handshake,
        message: &[u8],
        local: &Local<'_>,
    ) -> Result<Stage, Refusal> {
        let theirs = Introduction::from_bytes(&handshake.read(message)?)?;
        let admitter = Admitter::choose(&theirs, &self.mine)?;
        let mut transport = handshake.finish();
        let members = Message::Members(standing::list(local.circle, self.me));
        self.send(transport.write(&members.to_plaintext()));
        Ok(Stage::Members(Box::new(Exchange {
            transport,
            admitter,
            // Its own clock now, not when it sent its introduction.
            clock: ClockSkew::between(local.unix_s, theirs.unix_s),
            theirs,
            knows_them: false,
            shown: Vec::new(),
            incoming: Incoming::default(),
        })))
    }

    /// Asks the owner.
    fn propose(
        &mut self,
        exchange: &mut Exchange,
        theirs: Vec<Listed>,
        local: &Local<'_>,
    ) -> Result<Confirming, Refusal> {
        let knows = local.circle.contains(self.inviter);
        let change = exchange
            .admitter
            .change(false, &self.mine, &exchange.theirs, knows);
        change.check_wish(self.mine.wish)?;
        exchange.knows_them = knows;
        let (circle, members) = match exchange.admitter {
            Admitter::Inviter { .. } => (exchange.theirs.circle, theirs),
            Admitter::Joiner => (self.mine.circle, standing::list(local.circle, self.me)),
        };
        let admitter = exchange.admitter;
        exchange.shown.clone_from(&members);
        let proposal = Proposal {
            peer: self.inviter,
            name: exchange.theirs.name.clone(),
            change,
            members,
            clock: exchange.clock,
        };
        let devices = [self.inviter, self.me];
        let (asked, confirming) = proposal::ask(admitter, devices, circle, proposal);
        self.outputs.push_back(asked);
        Ok(confirming)
    }

    /// Sends the log, or an empty one, once both owners have agreed.
    fn confirm(
        &mut self,
        now: Duration,
        exchange: Box<Exchange>,
        confirming: Confirming,
        local: &mut Local<'_>,
    ) -> Result<Stage, Refusal> {
        if !confirming.is_complete() {
            return Ok(Stage::Confirming(exchange, confirming));
        }
        self.gives_up_at = now.saturating_add(ATTEMPT_TIMEOUT);
        let mut exchange = exchange;
        let log = match exchange.admitter {
            // Any device can claim to be in this circle, so only a known member gets the log. Another
            // one gets it later, once its own log has proved that it is a member.
            Admitter::Inviter { same_circle } if same_circle && exchange.knows_them => {
                local.circle.to_log()
            }
            Admitter::Inviter { .. } => Vec::new(),
            Admitter::Joiner => {
                proposal::check_shown(local.circle, self.mine.circle, &exchange.shown)?;
                admit(self.inviter, &exchange.theirs.name, local)?;
                local.circle.to_log()
            }
        };
        for message in log_messages(&log) {
            self.send(exchange.transport.write(&message.to_plaintext()));
        }
        Ok(match exchange.admitter {
            Admitter::Inviter { .. } => Stage::Log(exchange),
            Admitter::Joiner => Stage::Done(exchange.transport, exchange.theirs.name),
        })
    }

    fn take_log(&mut self, exchange: Exchange, local: &mut Local<'_>) -> Result<(), Refusal> {
        let Exchange {
            mut transport,
            admitter,
            theirs,
            shown,
            incoming,
            ..
        } = exchange;
        let members = [self.me, self.inviter];
        if matches!(admitter, Admitter::Inviter { same_circle: true }) {
            incoming.merge_into(local.circle, &members, Refusal::BadLog)?;
        } else {
            let circle = incoming.into_circle(theirs.circle, members, &shown)?;
            self.mine.check_replaceable(local)?;
            *local.circle = circle;
        }
        self.send(transport.write(&Message::Done.to_plaintext()));
        self.succeed(theirs.name);
        Ok(())
    }

    fn send(&mut self, frame: Vec<u8>) {
        self.outputs.push_back(Output::Send(frame));
    }

    fn succeed(&mut self, name: DeviceName) {
        let peer = self.inviter;
        self.outputs.push_back(Output::Close);
        self.outputs
            .push_back(Output::Event(Event::Paired { peer, name }));
    }

    /// Sends a refusal and ends the attempt.
    fn fail(&mut self, why: Refusal) {
        self.send(refusal_frame(why));
        self.end(why);
    }

    fn end(&mut self, why: Refusal) {
        let peer = self.inviter;
        self.outputs.push_back(Output::Close);
        self.outputs
            .push_back(Output::Event(Event::Failed { peer, why }));
    }
}

impl fmt::Debug for Joiner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The stage holds keys.
        write!(f, "Joiner(to {})", self.inviter)
    }
}
