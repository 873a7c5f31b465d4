//! The side that reads the invitation.

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

/// Tries once to pair by an invitation, on one stream; see the module's documentation.
pub struct Joiner {
    me: PeerId,
    inviter: PeerId,
    mine: Introduction,
    gives_up_at: Duration,
    frames: FrameReader,
    /// `None` when it is over.
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
    /// Has admitted the inviter, and waits for it to have taken the log.
    Done(Transport, DeviceName),
}

struct Exchange {
    transport: Transport,
    admitter: Admitter,
    theirs: Introduction,
    /// How the two clocks differed when the other's message was there.
    clock: Option<ClockSkew>,
    /// Whether this device knew the other one as a member when the owner was asked.
    knows_them: bool,
    /// The members that were shown, of the circle that is joined.
    shown: Vec<Listed>,
    incoming: Incoming,
}

impl Joiner {
    /// Begins to pair on a stream whose link proved that `remote` is at its other end, at a time
    /// `now`. `ephemeral` are 32 random bytes that are used for nothing else.
    ///
    /// # Errors
    /// [`BeginError`] if the invitation is this device's own or another's than
    /// `remote`'s. Nothing has been sent then: the secret stays one. Whether the
    /// invitation has expired says the inviter, whose clock it is of.
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

    /// Takes bytes that came on the stream.
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

    /// The stream was closed by the other side.
    pub fn handle_closed(&mut self) {
        if self.stage.take().is_some() {
            self.end(Refusal::Closed);
        }
    }

    /// The owner's answer to [`Event::Proposed`]. Nothing, if nothing is proposed now.
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

    /// Ends it, as its owner wants.
    pub fn cancel(&mut self) {
        if self.stage.take().is_some() {
            self.fail(Refusal::Cancelled);
        }
    }

    /// The circle as this left it cannot be stored, and is what it was before: what was to be said
    /// since is not, and the other side is told.
    pub fn handle_not_stored(&mut self) {
        self.stage = None;
        self.outputs.clear();
        self.fail(Refusal::NotStored);
    }

    /// Gives up what has taken too long.
    pub fn handle_timeout(&mut self, now: Duration) {
        if self.gives_up_at <= now && self.stage.take().is_some() {
            self.fail(Refusal::TimedOut);
        }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.stage.is_some().then_some(self.gives_up_at)
    }

    /// What to do next.
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
            // Its own clock as it is now, not as it was when this device spoke first.
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

    /// Once both owners have agreed: sends the log, or word that there is none.
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
            // Any device can say that it holds this circle: only one that is known as a member gets
            // the log. Another one gets the news as a member once its own log has shown that it is.
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

    /// Refuses on this side.
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
