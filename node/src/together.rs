//! A sequence whose layers several devices compute.
//!
//! The requester makes hidden states of tokens, sends them round the ring, and makes logits of what
//! comes back. It remembers tokens, not hidden states: when a stage is replaced it makes those that
//! the new one lacks again, and by the exactness of the arithmetic they are the same. For the same
//! reason it may send guesses of the next tokens behind one that is on its way: what was guessed right
//! has arrived the sooner, what was guessed wrong is dropped.
//!
//! A sequence may be kept when nothing is read, as between the turns of a conversation: the devices hold
//! what was read until it is dropped or they fail.
//!
//! The node that it speaks to may be another process's, and end at any time. It begins its conversation
//! again at another one then, and has its tokens read there: the same follow.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use potluck_model::Drafter;
use potluck_protocol::session::{DRAFTS_PAUSE, Feed, RollBack, SessionEvent};
use potluck_protocol::wire::Answer;
use serde::Serialize;

use crate::Cancel;
use crate::engine::{ModelError, Sequence, TokenId};
use crate::local::{ClientError, Names, Pipeline, PlacementView, Reply};
use crate::stages::Ends;
use crate::step_times::StepTimes;

/// How often a wait looks for the user's wish to stop.
const PATIENCE: Duration = Duration::from_millis(50);

/// A node that is lost so often, with no token in between, is not looked for again.
const MOST_LOST: usize = 4;

/// Begins a conversation at the node that runs now.
pub type Connect<'a> = dyn FnMut() -> Result<Pipeline, Box<dyn Error + Send + Sync>> + Send + 'a;

/// Hears what happens to a conversation.
pub type OnNotice<'a> = dyn FnMut(Notice<'_>) + Send + 'a;

/// A sequence that the circle's devices read together.
pub struct Together<'a> {
    ends: &'a Ends,
    connect: Box<Connect<'a>>,
    /// None since the node was lost.
    pipeline: Option<Pipeline>,
    /// How often it was, since a token came.
    lost: usize,
    capacity: usize,
    cancel: Cancel,
    on_notice: Box<OnNotice<'a>>,
    started: Instant,
    feed: Feed<TokenId>,
    /// Guesses tokens, if they are to be sent ahead.
    drafter: Option<Drafter>,
    drafts: Drafts,
    /// Of the ends.
    times: StepTimes,
    /// Others need the stages until then.
    no_drafts_until: Option<Instant>,
    placement: Option<PlacementView>,
    recoveries: Vec<Recovery>,
    /// A failure that no hidden states have come after.
    broken: Option<(Instant, Recovery)>,
    /// Whether the devices that are to compute hold what was read.
    is_held: bool,
}

/// Tokens that were guessed and sent ahead while the one before them was on its way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Drafts {
    /// How many.
    pub sent: u64,
    /// Those that came true.
    pub right: u64,
}

/// What happens while an answer is computed, for who shows it.
#[derive(Debug, Clone, Copy)]
pub enum Notice<'a> {
    /// Something came of the conversation, whose devices have these names.
    Session(&'a SessionEvent, &'a Names),
    /// The node of this device has ended; another one is looked for.
    NodeLost,
}

/// A failure that an answer survived.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Recovery {
    /// When the failure was noticed, since the sequence began.
    pub time_s: f64,
    /// Whose stage failed.
    pub peer_id: String,
    /// Its name.
    pub name: String,
    /// Its name, as `name`; programs that know this key still find it.
    pub stage: String,
    /// Why.
    pub cause: String,
    /// From when the failure was noticed until the hidden states that were asked for came: all that
    /// the new stages lacked was read again by then.
    pub stall_ms: f64,
}

/// Devices cannot compute together.
#[derive(Debug, thiserror::Error)]
pub enum TogetherError {
    /// The node.
    #[error(transparent)]
    Node(#[from] ClientError),
    /// There is no node to begin at.
    #[error(transparent)]
    Connect(Box<dyn Error + Send + Sync>),
    /// The requester's part of the model.
    #[error("the model cannot answer")]
    Model(#[from] ModelError),
}

impl<'a> Together<'a> {
    /// A sequence of a conversation that `connect` begins, with room for so many positions. Whenever
    /// its node is lost it is begun anew.
    ///
    /// # Errors
    /// It cannot be begun.
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
            drafter: None,
            drafts: Drafts::default(),
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

    /// Sends guesses of the tokens to come ahead, where stages would wait meanwhile. That changes no
    /// token.
    pub fn with_drafts(mut self) -> Self {
        self.drafter = Some(Drafter::default());
        self
    }

    /// What came of guesses so far.
    pub fn drafts(&self) -> Drafts {
        self.drafts
    }

    /// How long the head took, the part that this process computes.
    pub fn times(&self) -> &StepTimes {
        &self.times
    }

    /// Who computes which layers now.
    pub fn placement(&self) -> Option<&PlacementView> {
        self.placement.as_ref()
    }

    /// Failures so far.
    pub fn recoveries(&self) -> &[Recovery] {
        &self.recoveries
    }

    /// Bytes sent to and received from peers since the conversation began at the node that it is at;
    /// none if that was lost.
    ///
    /// # Errors
    /// [`TogetherError`].
    pub fn traffic(&mut self) -> Result<(u64, u64), TogetherError> {
        self.say(Pipeline::ask_traffic)?;
        while self.pipeline.is_some() {
            match self.next()? {
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

    /// Takes in what happened while nothing was read: whether the devices still hold what was. Else it
    /// would be read again, as much as they lack.
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

    /// Begins the conversation at a node, if it is at none. Not after a person's wish to stop.
    fn connect(&mut self) -> Result<(), TogetherError> {
        if self.pipeline.is_none() && !self.cancel.is_cancelled() {
            match (self.connect)() {
                Ok(pipeline) => {
                    self.pipeline = Some(pipeline);
                    // What was rolled back at no node is answered by none.
                    self.feed.lost();
                }
                // Looking for one was stopped.
                Err(_) if self.cancel.is_cancelled() => {}
                Err(error) => return Err(TogetherError::Connect(error)),
            }
        }
        Ok(())
    }

    /// Says something to the node, if there is one.
    fn say(
        &mut self,
        what: impl FnOnce(&mut Pipeline) -> Result<(), ClientError>,
    ) -> Result<(), TogetherError> {
        match self.pipeline.as_mut().map(what) {
            Some(Err(error)) => self.failed(error),
            Some(Ok(())) | None => Ok(()),
        }
    }

    /// What the node says next, if anything comes soon.
    fn next(&mut self) -> Result<Option<Reply>, TogetherError> {
        let next = self.pipeline.as_mut().map(|node| node.next(PATIENCE));
        match next.transpose() {
            Ok(next) => Ok(next.flatten()),
            Err(error) => self.failed(error).map(|()| None),
        }
    }

    /// The conversation is over at the node that it was at.
    fn failed(&mut self, error: ClientError) -> Result<(), TogetherError> {
        self.pipeline = None;
        self.is_held = false;
        self.feed.lost();
        self.lost += 1;
        if !error.is_lost() || self.lost > MOST_LOST {
            return Err(error.into());
        }
        tracing::warn!(why = %error, "the node of this device has ended: another is looked for");
        (self.on_notice)(Notice::NodeLost);
        Ok(())
    }

    /// Sends what is to be read through the layers, and waits for the hidden states of the last token;
    /// none if it was stopped before.
    fn pass(
        &mut self,
        drafts: bool,
        progress: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Option<Vec<u8>>, TogetherError> {
        let mut read = self.feed.read();
        let before = read;
        loop {
            self.connect()?;
            // Stages have something to do while the head computes.
            self.submit(drafts)?;
            if let Some(hidden) = self.feed.take_hidden() {
                self.is_held = true;
                return Ok(Some(hidden));
            }
            // Looked at however much is said.
            if self.cancel.is_cancelled() {
                return Ok(None);
            }
            let Some(reply) = self.next()? else {
                // Nothing may come for long, as while a device is waited for.
                if !progress(read.saturating_sub(before)) {
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

    /// Submits as many steps as may be on their way.
    fn submit(&mut self, drafts: bool) -> Result<(), TogetherError> {
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
        while let Some(step) = self.feed.next_step(most, &mut guess) {
            let hidden = self.ends.embed(step.tokens)?;
            let last = step.answer == Answer::LastRow;
            let Some(pipeline) = &mut self.pipeline else {
                break;
            };
            let sent = pipeline.submit(step.start_position, step.rows(), last, hidden);
            if let Err(error) = sent {
                return self.failed(error);
            }
        }
        Ok(())
    }

    /// Takes in what came of the conversation.
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
                }
            }
            SessionEvent::RolledBack => self.feed.rolled_back(),
            SessionEvent::Shared { .. } => {
                self.no_drafts_until = Some(Instant::now() + DRAFTS_PAUSE);
            }
            SessionEvent::Broken { peer, cause } => {
                self.is_held = false;
                self.feed.interrupted();
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

    /// Has the pipeline drop what is not wanted any more.
    fn roll_back(&mut self, back: Option<RollBack>) -> Result<(), TogetherError> {
        match back {
            Some(RollBack(position)) => self.say(|node| node.roll_back(position)),
            None => Ok(()),
        }
    }
}

impl Sequence for Together<'_> {
    type Error = TogetherError;

    fn tokens(&self) -> &[TokenId] {
        self.feed.tokens()
    }

    fn capacity(&self) -> usize {
        self.capacity
    }

    fn truncate(&mut self, len: usize) {
        let back = self.feed.truncate(len);
        // One that cannot be is begun anew when more is to be read.
        let _ = self.roll_back(back);
    }

    fn read<T>(
        &mut self,
        tokens: &[TokenId],
        progress: &mut dyn FnMut(usize) -> bool,
        read: impl FnOnce(&[f32]) -> T,
    ) -> Result<Option<T>, TogetherError> {
        self.check(tokens)?;
        self.lost = 0;
        let guessed = self.feed.drafts().len().min(tokens.len());
        let back = self.feed.read_on(tokens);
        if back.is_none() {
            // None of them was wrong.
            self.drafts.right += guessed as u64;
        }
        self.roll_back(back)?;
        // A prompt keeps the stages busy by itself.
        let Some(hidden) = self.pass(tokens.len() == 1, progress)? else {
            // What is on its way is not waited for.
            let back = self.feed.give_up();
            self.roll_back(back)?;
            return Ok(None);
        };
        let position = self.feed.tokens().len().saturating_sub(1);
        let (times, begin) = (&self.times, Instant::now());
        let value = self.ends.logits(&hidden, |logits| {
            times.head(position, begin.elapsed());
            read(logits)
        })?;
        Ok(Some(value))
    }
}
