//! A sequence whose layers several devices compute.
//!
//! The requester makes hidden states of tokens, sends them round the ring, and makes logits of what
//! comes back. It remembers tokens, not hidden states: when a stage is replaced it makes those that
//! the new one lacks again, and by the exactness of the arithmetic they are the same.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::Cancel;
use crate::engine::{ModelError, Sequence, TokenId};
use crate::local::{ClientError, Pipeline, PlacementView, Reply};
use crate::stages::Ends;

/// Prefill steps that are on their way at a time: enough to keep every stage of a small circle
/// busy, few enough that little waits in queues.
const STEPS_ON_THE_WAY: usize = 6;
/// How often a wait looks for the user's wish to stop.
const PATIENCE: Duration = Duration::from_millis(50);

/// A sequence that the circle's devices read together.
pub struct Together<'a> {
    ends: &'a Ends,
    pipeline: Pipeline,
    capacity: usize,
    cancel: Cancel,
    on_notice: &'a mut dyn FnMut(Notice<'_>),
    started: Instant,
    tokens: Vec<TokenId>,
    /// Where rows go, while they can.
    flow: Option<Flow>,
    /// Roll-backs whose mark has not come: answers until then are passed over.
    rolling_back: usize,
    placement: Option<PlacementView>,
    recoveries: Vec<Recovery>,
    /// A failure that no hidden states have come after.
    broken: Option<(Instant, Recovery)>,
}

/// How far a pipeline that works was given rows.
#[derive(Debug, Clone, Copy)]
struct Flow {
    /// The position that is next.
    next: usize,
    /// Steps whose answers are due.
    due: usize,
    /// Rows of a prefill step.
    rows: usize,
}

/// What a person should know while an answer is computed.
#[derive(Debug, Clone, Copy)]
pub enum Notice<'a> {
    /// The layers are placed so.
    Placed(&'a PlacementView),
    /// A device fetches the weights of its layers before it can begin.
    Fetching {
        /// Its PeerId.
        peer_id: &'a str,
        /// Its name.
        name: &'a str,
        /// What has come of them.
        received_bytes: u64,
        /// Those, and what is still missing.
        total_bytes: u64,
    },
    /// All devices are ready: nothing is fetched any more.
    Ready,
    /// A device's stage failed, and why; another placement is looked for.
    Broken(&'a str, &'a str),
    /// A device wants to leave; its layers are moved.
    Leaving(&'a str),
    /// The answer waits for devices: why.
    Waiting(&'a str),
}

/// A failure that an answer survived.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Recovery {
    /// When the failure was noticed, since the sequence began.
    pub time_s: f64,
    /// Whose stage failed.
    pub peer_id: String,
    /// Its name.
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
    /// The requester's part of the model.
    #[error("the model cannot answer")]
    Model(#[from] ModelError),
}

impl<'a> Together<'a> {
    /// A sequence of a conversation that has just begun, with room for so many positions.
    pub fn new(
        ends: &'a Ends,
        pipeline: Pipeline,
        capacity: usize,
        cancel: &Cancel,
        on_notice: &'a mut dyn FnMut(Notice<'_>),
    ) -> Self {
        Self {
            ends,
            pipeline,
            capacity,
            cancel: cancel.clone(),
            on_notice,
            started: Instant::now(),
            tokens: Vec::new(),
            flow: None,
            rolling_back: 0,
            placement: None,
            recoveries: Vec::new(),
            broken: None,
        }
    }

    /// Who computes which layers now.
    pub fn placement(&self) -> Option<&PlacementView> {
        self.placement.as_ref()
    }

    /// Failures so far.
    pub fn recoveries(&self) -> &[Recovery] {
        &self.recoveries
    }

    /// Bytes sent to and received from peers since the conversation began.
    ///
    /// # Errors
    /// [`TogetherError::Node`].
    pub fn traffic(&mut self) -> Result<(u64, u64), TogetherError> {
        self.pipeline.ask_traffic()?;
        loop {
            match self.pipeline.next(PATIENCE)? {
                Some((
                    Reply::Traffic {
                        bytes_sent,
                        bytes_received,
                    },
                    _,
                )) => return Ok((bytes_sent, bytes_received)),
                Some((reply, payload)) => drop(self.follow(reply, payload)),
                None => {}
            }
        }
    }

    /// Sends `all` but what is held through the layers, and waits for the last row's hidden states:
    /// how many tokens were surely read, and those, unless it was stopped before.
    fn pass(
        &mut self,
        all: &[TokenId],
        progress: &mut dyn FnMut(usize) -> bool,
    ) -> Result<(usize, Option<Vec<u8>>), TogetherError> {
        let before = self.tokens.len();
        let mut read = before;
        loop {
            self.submit(all)?;
            let Some((reply, payload)) = self.pipeline.next(PATIENCE)? else {
                if self.cancel.is_cancelled() {
                    return Ok((read, None));
                }
                continue;
            };
            let Some((start, hidden)) = self.follow(reply, payload) else {
                continue;
            };
            if !hidden.is_empty() {
                return Ok((all.len(), Some(hidden)));
            }
            read = read.max(start);
            if !progress(read - before) {
                return Ok((read, None));
            }
        }
    }

    /// Submits as many steps as may be on their way.
    fn submit(&mut self, all: &[TokenId]) -> Result<(), TogetherError> {
        while let Some(flow) = self
            .flow
            .as_mut()
            .filter(|flow| flow.due < STEPS_ON_THE_WAY)
        {
            let start = flow.next;
            let end = all.len().min(start + flow.rows);
            if start >= end {
                return Ok(());
            }
            let hidden = self.ends.embed(&all[start..end])?;
            let rows = position(end - start);
            let last = end == all.len();
            self.pipeline.submit(position(start), rows, last, &hidden)?;
            flow.next = end;
            flow.due += 1;
        }
        Ok(())
    }

    /// Takes in what happened: of an answer the position of its first row, and its hidden states.
    fn follow(&mut self, reply: Reply, payload: Vec<u8>) -> Option<(usize, Vec<u8>)> {
        match reply {
            Reply::Placed { placement } => {
                self.flow = None;
                (self.on_notice)(Notice::Placed(&placement));
                self.placement = Some(placement);
            }
            Reply::Ready { from, prefill_rows } => {
                (self.on_notice)(Notice::Ready);
                self.flow = Some(Flow {
                    // A roll-back that is on its way is not in it.
                    next: (from as usize).min(self.tokens.len()),
                    due: 0,
                    rows: (prefill_rows as usize).max(1),
                });
            }
            Reply::Answered { start_position } if self.rolling_back == 0 => {
                if let Some(flow) = &mut self.flow {
                    flow.due = flow.due.saturating_sub(1);
                }
                if !payload.is_empty() {
                    self.recovered();
                }
                return Some((start_position as usize, payload));
            }
            Reply::Fetching {
                peer_id,
                name,
                received_bytes,
                total_bytes,
            } => (self.on_notice)(Notice::Fetching {
                peer_id: &peer_id,
                name: &name,
                received_bytes,
                total_bytes,
            }),
            Reply::RolledBack => self.rolling_back = self.rolling_back.saturating_sub(1),
            Reply::Leaving { name } => (self.on_notice)(Notice::Leaving(&name)),
            Reply::Broken {
                peer_id,
                name,
                cause,
            } => {
                self.flow = None;
                (self.on_notice)(Notice::Broken(&name, &cause));
                let recovery = Recovery {
                    time_s: self.started.elapsed().as_secs_f64(),
                    peer_id,
                    stage: name,
                    cause,
                    stall_ms: 0.0,
                };
                self.broken.get_or_insert((Instant::now(), recovery));
            }
            Reply::Waiting { words } => (self.on_notice)(Notice::Waiting(&words)),
            _ => {}
        }
        None
    }

    fn recovered(&mut self) {
        if let Some((since, mut recovery)) = self.broken.take() {
            recovery.stall_ms = since.elapsed().as_secs_f64() * 1e3;
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

    /// Forgets positions from `len` on that may have been submitted.
    fn roll_back(&mut self, len: usize) -> Result<(), TogetherError> {
        self.tokens.truncate(len);
        if let Some(flow) = &mut self.flow {
            flow.next = flow.next.min(len);
            flow.due = 0;
        }
        self.rolling_back += 1;
        Ok(self.pipeline.roll_back(position(len))?)
    }
}

impl Sequence for Together<'_> {
    type Error = TogetherError;

    fn tokens(&self) -> &[TokenId] {
        &self.tokens
    }

    fn capacity(&self) -> usize {
        self.capacity
    }

    fn truncate(&mut self, len: usize) {
        if len < self.tokens.len() {
            // A node that has stopped says so when more is to be read.
            let _ = self.roll_back(len);
        }
    }

    fn read<T>(
        &mut self,
        tokens: &[TokenId],
        progress: &mut dyn FnMut(usize) -> bool,
        read: impl FnOnce(&[f32]) -> T,
    ) -> Result<Option<T>, TogetherError> {
        self.check(tokens)?;
        let mut all = self.tokens.clone();
        all.extend_from_slice(tokens);
        let (held, hidden) = self.pass(&all, progress)?;
        self.tokens = all;
        let Some(hidden) = hidden else {
            // What is on its way is not waited for.
            self.roll_back(held)?;
            return Ok(None);
        };
        Ok(Some(self.ends.logits(&hidden, read)?))
    }
}

/// A position as the protocol counts.
fn position(of: usize) -> u32 {
    u32::try_from(of).expect("a session has fewer positions than 32 bits count")
}
