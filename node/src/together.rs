//! A sequence computed by several devices.
//!
//! The requester turns tokens into hidden states, sends them around the ring, and turns the result
//! into logits. It stores tokens, not hidden states: when a stage is replaced, it recomputes the
//! hidden states that the new stage lacks. Arithmetic is reproducible to the bit, so they come out
//! the same. For the same reason it can send speculative tokens behind the one in flight: correct
//! guesses save time, wrong ones are dropped.
//!
//! A sequence may stay open while idle, such as between turns of a conversation. The devices keep
//! its caches until it is dropped or they fail.
//!
//! The node may be another process and may end at any time. The sequence then starts its
//! conversation again at another node, which processes the same tokens again with the same result.

mod reading;
mod trips;

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use potluck_model::{Drafter, Drafts, Reach};
use potluck_protocol::session::{DRAFTS_PAUSE, Feed, RollBack, SessionEvent};
use potluck_protocol::wire::Answer;
use serde::Serialize;

use crate::Cancel;
use crate::engine::{ModelError, Sequence, TokenId};
use crate::local::{ClientError, Names, Pipeline, PlacementView, Reply};
use crate::stages::{Ends, Reservation};
use crate::step_times::StepTimes;
use trips::Trips;

/// How often a wait checks for cancellation.
const PATIENCE: Duration = Duration::from_millis(50);

/// Give up if the node was lost more often than this without a token in between.
const MOST_LOST: usize = 4;

/// Begins a conversation at the currently running node.
pub type Connect<'a> = dyn FnMut() -> Result<Pipeline, Box<dyn Error + Send + Sync>> + Send + 'a;

/// Receives the events of a conversation.
pub type OnNotice<'a> = dyn FnMut(Notice<'_>) + Send + 'a;

/// A sequence computed by the circle's devices.
pub struct Together<'a> {
    ends: &'a Ends,
    connect: Box<Connect<'a>>,
    /// `None` while there is no node.
    pipeline: Option<Pipeline>,
    /// How often the node was lost since the last token.
    lost: usize,
    capacity: usize,
    cancel: Cancel,
    on_notice: Box<OnNotice<'a>>,
    started: Instant,
    feed: Feed<TokenId>,
    /// To which lengths the stages can cut their caches.
    reach: Reach,
    /// Guesses tokens; `None` if speculation is disabled.
    drafter: Option<Drafter>,
    /// Held for the drafter.
    _drafters_memory: Option<Reservation>,
    drafts: Drafts,
    /// Rows under way.
    trips: Trips,
    /// Times of the head.
    times: StepTimes,
    /// Do not speculate before this time, because others need the stages.
    no_drafts_until: Option<Instant>,
    placement: Option<PlacementView>,
    recoveries: Vec<Recovery>,
    /// A failure after which no hidden states have arrived yet.
    broken: Option<(Instant, Recovery)>,
    /// Whether the current devices hold the sequence so far.
    is_held: bool,
}

/// An event while an answer is computed, for display.
#[derive(Debug, Clone, Copy)]
pub enum Notice<'a> {
    /// An event of the conversation, and the names of its devices.
    Session(&'a SessionEvent, &'a Names),
    /// The node of this device has ended; the sequence looks for another one.
    NodeLost,
}

/// A failure that an answer recovered from.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Recovery {
    /// When the failure was noticed, in seconds since the sequence began.
    pub time_s: f64,
    /// The device whose stage failed.
    pub peer_id: String,
    /// The name of that device.
    pub name: String,
    /// The same as `name`, for programs that use this older key.
    pub stage: String,
    /// The cause.
    pub cause: String,
    /// Time from noticing the failure until the requested hidden states arrived. The new stages had
    /// caught up by then.
    pub stall_ms: f64,
}

/// Why devices cannot compute together.
#[derive(Debug, thiserror::Error)]
pub enum TogetherError {
    /// The node failed or refused.
    #[error(transparent)]
    Node(#[from] ClientError),
    /// No node is available to begin at.
    #[error(transparent)]
    Connect(Box<dyn Error + Send + Sync>),
    /// The requester's part of the model failed.
    #[error("the model cannot answer")]
    Model(#[from] ModelError),
}

impl<'a> Together<'a> {
    /// Begins a sequence with room for `capacity` positions, in a conversation that `connect`
    /// opens. It calls `connect` again whenever the node is lost.
    ///
    /// # Errors
    /// The conversation cannot begin.
    pub fn begin(
        ends: &'a Ends,
        connect: Box<Connect<'a>>,
        capacity: usize,
        cancel: &Cancel,
        on_notice: Box<OnNotice<'a>>,
    ) -> Result<Self, TogetherError> {
        let mut sequence = Self {
            ends,
            connect,
            pipeline: None,
            lost: 0,
            capacity,
            cancel: cancel.clone(),
            on_notice,
            started: Instant::now(),
            feed: Feed::new(capacity),
            reach: Reach::new(ends.config(), capacity),
            drafter: None,
            _drafters_memory: None,
            drafts: Drafts::default(),
            trips: Trips::default(),
            times: StepTimes::of(Some(Arc::clone(ends.shape()))),
            no_drafts_until: None,
            placement: None,
            recoveries: Vec::new(),
            broken: None,
            is_held: false,
        };
        sequence.connect()?;
        Ok(sequence)
    }

    /// Enables speculative tokens where stages would otherwise be idle. They do not change the
    /// output.
    pub fn with_drafts(mut self) -> Self {
        let (drafter, memory) = self.ends.drafter(self.capacity);
        self.drafter = Some(drafter);
        self._drafters_memory = memory;
        self
    }

    /// Times of the head, which this process computes.
    pub fn times(&self) -> &StepTimes {
        &self.times
    }

    /// Which device currently computes which layers.
    pub fn placement(&self) -> Option<&PlacementView> {
        self.placement.as_ref()
    }

    /// The failures so far.
    pub fn recoveries(&self) -> &[Recovery] {
        &self.recoveries
    }

    /// Bytes sent to and received from peers since the conversation began at the current node; zero
    /// if that node was lost.
    ///
    /// # Errors
    /// [`TogetherError`].
    pub fn traffic(&mut self) -> Result<(u64, u64), TogetherError> {
        self.say(Pipeline::ask_traffic)?;
        while self.pipeline.is_some() {
            match self.next(PATIENCE)? {
                Some(Reply::Traffic {
                    bytes_sent,
                    bytes_received,
                }) => return Ok((bytes_sent, bytes_received)),
                Some(reply) => self.follow(reply)?,
                None => {}
            }
        }
        Ok((0, 0))
    }

    /// Processes pending events and returns whether the devices still hold the sequence. If not,
    /// the next read recomputes what they lack.
    pub fn is_held(&mut self) -> bool {
        while let Some(pipeline) = &mut self.pipeline {
            let next = match pipeline.next(Duration::ZERO) {
                Ok(Some(reply)) => self.follow(reply),
                Ok(None) => return self.is_held,
                Err(error) => self.failed(error),
            };
            if next.is_err() {
                break;
            }
        }
        false
    }

    /// Begins the conversation at a node if there is none, unless cancelled.
    fn connect(&mut self) -> Result<(), TogetherError> {
        if self.pipeline.is_none() && !self.cancel.is_cancelled() {
            match (self.connect)() {
                Ok(pipeline) => {
                    self.pipeline = Some(pipeline);
                    // A rollback pending at the lost node will not be confirmed.
                    self.feed.lost();
                    self.reach.restart();
                }
                // Cancelled while looking for a node.
                Err(_) if self.cancel.is_cancelled() => {}
                Err(error) => return Err(TogetherError::Connect(error)),
            }
        }
        Ok(())
    }

    /// Sends a message to the node, if there is one.
    fn say(
        &mut self,
        what: impl FnOnce(&mut Pipeline) -> Result<(), ClientError>,
    ) -> Result<(), TogetherError> {
        match self.pipeline.as_mut().map(what) {
            Some(Err(error)) => self.failed(error),
            Some(Ok(())) | None => Ok(()),
        }
    }

    /// The next message from the node, if one arrives in this time.
    fn next(&mut self, patience: Duration) -> Result<Option<Reply>, TogetherError> {
        let next = self.pipeline.as_mut().map(|node| node.next(patience));
        match next.transpose() {
            Ok(next) => Ok(next.flatten()),
            Err(error) => self.failed(error).map(|()| None),
        }
    }

    /// Handles the loss of the node, or returns the error if it is permanent.
    fn failed(&mut self, error: ClientError) -> Result<(), TogetherError> {
        self.pipeline = None;
        self.is_held = false;
        self.feed.lost();
        self.trips.drop_from(0);
        self.lost += 1;
        if !error.is_lost() || self.lost > MOST_LOST {
            return Err(error.into());
        }
        tracing::warn!(why = %error, "the node of this device has ended: another is looked for");
        (self.on_notice)(Notice::NodeLost);
        Ok(())
    }

    /// Sends pending tokens through the layers and waits for the hidden states of the last one.
    /// `None` if it was stopped before.
    fn pass(
        &mut self,
        drafts: bool,
        progress: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Option<Vec<u8>>, TogetherError> {
        let mut read = self.feed.read();
        let before = read;
        loop {
            self.connect()?;
            // Keep the stages busy while the head computes.
            let guessed = self.submit(drafts)?;
            if let Some(hidden) = self.feed.take_hidden() {
                self.is_held = true;
                return Ok(Some(hidden));
            }
            // Checked on every message, however many arrive.
            if self.cancel.is_cancelled() {
                return Ok(None);
            }
            // Another guess can be made at once, unless an answer is there.
            let patience = if guessed { Duration::ZERO } else { PATIENCE };
            let Some(reply) = self.next(patience)? else {
                // Nothing may arrive for a long time, for example while waiting for a device.
                if !guessed && !progress(read.saturating_sub(before)) {
                    return Ok(None);
                }
                continue;
            };
            self.follow(reply)?;
            let all = self.feed.tokens().len();
            let more = self.feed.read() > read && self.feed.read() < all;
            read = self.feed.read();
            if more && !progress(read.saturating_sub(before)) {
                return Ok(None);
            }
        }
    }

    /// Submits as many steps as may be in flight, at most one of them a guess. Returns whether one was.
    fn submit(&mut self, drafts: bool) -> Result<bool, TogetherError> {
        let paused = self
            .no_drafts_until
            .is_some_and(|until| Instant::now() < until);
        let most = match (&self.placement, &self.drafter) {
            (Some(placement), Some(_)) if drafts && !paused => placement.drafts(),
            _ => 0,
        };
        let (drafter, made) = (&mut self.drafter, &mut self.drafts);
        let mut guess = |tokens: &[TokenId], known: usize| {
            let guess = drafter.as_mut()?.guess(tokens, known);
            made.sent += u64::from(guess.is_some());
            guess
        };
        let wanted = self.feed.tokens().len();
        while let Some(step) = self.feed.next_step(most, &mut guess) {
            let (start, rows) = (step.start_position, step.rows());
            self.reach.sent(start as usize + step.tokens.len());
            let hidden = self.ends.embed(step.tokens)?;
            let last = step.answer == Answer::LastRow;
            let Some(pipeline) = &mut self.pipeline else {
                break;
            };
            if let Err(error) = pipeline.submit(start, rows, last, hidden) {
                self.failed(error)?;
                return Ok(false);
            }
            if rows == 1 {
                self.trips.sent(start, Instant::now());
            }
            if start as usize >= wanted {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Handles a message about the conversation.
    fn follow(&mut self, reply: Reply) -> Result<(), TogetherError> {
        let (Reply::Session { event }, Some(pipeline)) = (reply, &self.pipeline) else {
            return Ok(());
        };
        let names = pipeline.names();
        (self.on_notice)(Notice::Session(&event, names));
        match event {
            SessionEvent::Placed(prediction) => {
                self.is_held = false;
                self.feed.interrupted();
                self.trips.drop_from(0);
                self.placement = Some(PlacementView::new(&prediction, names));
            }
            SessionEvent::Ready { from, prefill_rows } => {
                let back = self.feed.ready(from, prefill_rows.get());
                self.roll_back(back)?;
            }
            SessionEvent::Answered {
                start_position,
                hidden,
            } => {
                let wanted = !hidden.is_empty();
                if self.feed.answered(start_position, hidden) && wanted {
                    self.lost = 0;
                    self.recovered();
                    let trip = self.trips.came(start_position, Instant::now());
                    if let (Some(trip), Some(drafter)) = (trip, &mut self.drafter) {
                        drafter.trip_took(trip);
                    }
                }
            }
            SessionEvent::RolledBack => self.feed.rolled_back(),
            SessionEvent::Shared { .. } => {
                self.no_drafts_until = Some(Instant::now() + DRAFTS_PAUSE);
            }
            SessionEvent::Broken { peer, cause } => {
                self.is_held = false;
                self.feed.interrupted();
                self.trips.drop_from(0);
                let name = names.of(peer);
                let recovery = Recovery {
                    time_s: self.started.elapsed().as_secs_f64(),
                    peer_id: peer.to_string(),
                    name: name.clone(),
                    stage: name,
                    cause: cause.to_string(),
                    stall_ms: 0.0,
                };
                self.broken.get_or_insert((Instant::now(), recovery));
            }
            SessionEvent::GivenUp(words) => self.failed(ClientError::Failed(words))?,
            SessionEvent::Fetching { .. }
            | SessionEvent::Leaving { .. }
            | SessionEvent::Waiting(_) => {}
        }
        Ok(())
    }

    fn recovered(&mut self) {
        if let Some((since, mut recovery)) = self.broken.take() {
            recovery.stall_ms = since.elapsed().as_secs_f64() * 1e3;
            let (of, stall_ms) = (recovery.name.as_str(), recovery.stall_ms);
            tracing::info!(of, stall_ms, "the answer goes on after a failure");
            self.recoveries.push(recovery);
        }
    }

    fn check(&self, tokens: &[TokenId]) -> Result<(), ModelError> {
        if tokens.is_empty() {
            return Err(ModelError::EmptyPrompt);
        }
        let free = self.free();
        if tokens.len() > free {
            return Err(ModelError::ContextFull {
                needed: tokens.len(),
                free,
                capacity: self.capacity,
            });
        }
        let vocabulary = self.ends.config().vocabulary;
        match tokens.iter().find(|id| **id as usize >= vocabulary) {
            Some(&id) => Err(ModelError::UnknownToken { id, vocabulary }),
            None => Ok(()),
        }
    }

    /// Tells the pipeline to drop positions that are no longer wanted.
    fn roll_back(&mut self, back: Option<RollBack>) -> Result<(), TogetherError> {
        match back {
            Some(RollBack(position)) => {
                self.trips.drop_from(position);
                self.say(|node| node.roll_back(position))
            }
            None => Ok(()),
        }
    }
}
