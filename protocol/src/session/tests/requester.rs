//! A requester that generates tokens, and finds another placement when one breaks.

use std::time::Duration;

use super::half::peer;
use crate::made_up::{embed, mix, sample};
use crate::placement::Stage;
use crate::session::{Cause, PlacedStage, Session, SessionEvent, SessionOutput, SessionSetup};
use crate::wire::{Answer, ContentHash, Control, Dtype, Frame, HiddenShape, StageOpened};
use crate::world::prompt;
use crate::{Arithmetic, LayerRange, PeerId, PlanEpoch, SessionId};

/// Rows of a prefill step.
const PREFILL: usize = 16;

pub(super) struct Requester {
    pub(super) session: Session,
    /// The prompt and what was generated.
    pub(super) tokens: Vec<u64>,
    wanted: usize,
    /// Nodes that may take the place of one that failed.
    spare: Vec<usize>,
    /// When and why a pipeline broke, and when it worked again.
    pub(super) broken: Vec<(Duration, usize, Cause)>,
    pub(super) ready: Vec<(Duration, u32)>,
    pub(super) answered_at: Vec<Duration>,
    /// How many tokens it guesses ahead.
    pub(super) ahead: usize,
    /// Guesses that follow `tokens` and were submitted.
    drafts: Vec<u64>,
    guesses: u64,
    /// What it guesses from.
    pub(super) foreseen: Vec<u64>,
    /// Drafts that were right, and wrong.
    pub(super) drafted: (usize, usize),
}

/// Stages on these nodes, from the first layer to the last.
pub(super) fn ring(split: &[(usize, u32)]) -> Vec<PlacedStage> {
    let mut first = 0;
    let stages = split.iter().map(|&(node, end)| {
        let layers = LayerRange::new(first, end).expect("forwards");
        first = end;
        let stage = Stage {
            peer: peer(node),
            layers,
        };
        PlacedStage {
            stage,
            memory_bytes: 1 << 20,
        }
    });
    stages.collect()
}

/// A session of this node's.
pub(super) fn session(id: SessionId, node: usize) -> Session {
    Session::new(SessionSetup {
        id,
        requester: peer(node),
        manifest: ContentHash([7; 32]),
        shape: HiddenShape::new(2, Dtype::F32, 64).expect("small"),
        context: 4_096,
        arithmetic: Arithmetic::CANONICAL_1,
    })
}

/// An empty stage says that it is ready.
pub(super) fn opened(session: SessionId, epoch: u32) -> Control {
    StageOpened {
        session,
        epoch: PlanEpoch(epoch),
        held_positions: 0,
    }
    .into()
}

impl Requester {
    pub(super) fn new(node: usize, length: usize, wanted: usize, spare: Vec<usize>) -> Self {
        let session = session(SessionId(900 + node as u64), node);
        let tokens = prompt(length);
        Self {
            session,
            wanted: tokens.len() + wanted,
            tokens,
            spare,
            broken: Vec::new(),
            ready: Vec::new(),
            answered_at: Vec::new(),
            ahead: 0,
            drafts: Vec::new(),
            guesses: 0,
            foreseen: Vec::new(),
            drafted: (0, 0),
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.tokens.len() >= self.wanted
    }

    fn told(&mut self, now: Duration, event: SessionEvent) {
        match event {
            SessionEvent::Answered { hidden, .. } => {
                if let Ok(hidden) = hidden.try_into() {
                    self.answered_at.push(now);
                    self.accept(now, sample(u64::from_le_bytes(hidden)));
                    if !self.is_done() && self.session.is_running() {
                        self.submit(now);
                    }
                }
            }
            SessionEvent::Leaving { peer, .. } => self.replace(now, peer),
            SessionEvent::Broken { peer, cause } => {
                self.broken
                    .push((now, usize::from(peer.public_key()[0]) - 1, cause));
                self.replace(now, peer);
            }
            _ => {}
        }
    }

    /// Goes on until something is to be sent.
    pub(super) fn turn(&mut self, now: Duration) -> Option<(PeerId, Result<Control, Frame>)> {
        while let Some(output) = self.session.poll_output() {
            match output {
                SessionOutput::Send(to, message) => return Some((to, Ok(message))),
                SessionOutput::SendFrame(to, frame) => return Some((to, Err(frame))),
                SessionOutput::Opened { from } => {
                    self.ready.push((now, from));
                    self.reject(now);
                    self.submit(now);
                }
                SessionOutput::Event(event) => self.told(now, event),
            }
        }
        None
    }

    /// All rows that are not in the pipeline, of which the last shall come back.
    fn submit(&mut self, now: Duration) {
        let mut position = self.session.next_position() as usize;
        while position < self.tokens.len() {
            let end = (position + PREFILL).min(self.tokens.len());
            let answer = if end == self.tokens.len() {
                Answer::LastRow
            } else {
                Answer::Done
            };
            let rows = self.tokens[position..end].iter();
            let hidden = rows.flat_map(|&token| embed(token).to_le_bytes()).collect();
            let (start, rows) = (position as u32, (end - position) as u32);
            let submitted = self.session.submit(now, start, rows, answer, hidden);
            submitted.expect("a running session, and the next rows");
            position = end;
        }
        while self.drafts.len() < self.ahead {
            let draft = self.guess();
            self.drafts.push(draft);
            let position = self.session.next_position();
            let hidden = embed(draft).to_le_bytes().to_vec();
            let submitted = self
                .session
                .submit(now, position, 1, Answer::LastRow, hidden);
            submitted.expect("a running session, and the next row");
        }
    }

    /// The token after all others, right two times in three; a wrong one is never the same again.
    fn guess(&mut self) -> u64 {
        self.guesses += 1;
        let index = self.tokens.len() + self.drafts.len();
        match self.foreseen.get(index) {
            Some(right) if !mix(self.guesses, 3).is_multiple_of(3) => *right,
            _ => 1_000 + self.guesses,
        }
    }

    /// What was guessed is not to be in the pipeline any more.
    fn reject(&mut self, now: Duration) {
        self.drafts.clear();
        self.session.roll_back(now, self.tokens.len() as u32);
    }

    fn accept(&mut self, now: Duration, token: u64) {
        self.tokens.push(token);
        match self.drafts.first() {
            Some(draft) if *draft == token => {
                self.drafted.0 += 1;
                self.drafts.remove(0);
            }
            Some(_) => {
                self.drafted.1 += 1;
                // The wrong token's own position is dropped, too.
                self.drafts.clear();
                self.session.roll_back(now, self.tokens.len() as u32 - 1);
            }
            None => {}
        }
    }

    /// The same layers on another node.
    fn replace(&mut self, now: Duration, failed: PeerId) {
        let mut ring = self.session.ring().to_vec();
        assert!(!self.spare.is_empty(), "{:?}", self.broken);
        let spare = self.spare.remove(0);
        for placed in &mut ring {
            if placed.stage.peer == failed {
                placed.stage.peer = peer(spare);
            }
        }
        self.session.place(now, ring).expect("a valid placement");
    }
}
