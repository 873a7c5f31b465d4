//! The stages that this node computes, as seen by the machine.

use std::time::Duration;

use super::Machine;
use super::{Asked, Event, LoadRefused, Output, words_for_peer};
use crate::stage::StageOutput;
use crate::wire::limits::MAX_BYTES;
use crate::wire::{Control, Frame, OpenStage, StageRefused, StageRefusedCode};
use crate::{PeerId, PlanEpoch, StageId};

impl Machine {
    /// Whether this node computes nothing for others.
    pub fn is_idle(&self) -> bool {
        !self.stages.helps()
    }

    /// Whether a local stage only stands by.
    pub fn stands_by(&self, stage: StageId) -> bool {
        self.stages.stands_by(stage)
    }

    /// The request for a stage that is being made ready.
    pub fn opening(&self, stage: StageId) -> Option<&OpenStage> {
        self.stages.opening(stage)
    }

    /// Whether more bytes of a peer's data stream should be read now.
    pub fn wants_data(&self, peer: PeerId) -> bool {
        self.stages.has_room_for(peer)
    }

    /// Handles a peer's request for a stage.
    pub(super) fn open_stage(&mut self, now: Duration, from: PeerId, open: OpenStage) {
        match self.why_not_open(&open) {
            None => self.stages.open(now, from, open),
            Some((code, words)) => {
                let refused = StageRefused {
                    session: open.session,
                    epoch: open.epoch,
                    code,
                    words,
                    available_bytes: 0,
                };
                self.note_refusal(from, &refused);
                self.send(from, refused);
            }
        }
    }

    /// Reports to this node's owner that a peer was refused a stage.
    fn note_refusal(&mut self, peer: PeerId, refused: &StageRefused) {
        self.event(Event::Refused {
            peer,
            asked: Asked::Stage(refused.session),
            why: refused.words.clone(),
        });
    }

    fn why_not_open(&self, open: &OpenStage) -> Option<(StageRefusedCode, String)> {
        let neighbours = [open.predecessor, open.successor];
        if self.hands_over {
            let words = "this device is about to stop helping".to_owned();
            return Some((StageRefusedCode::Unwilling, words));
        }
        let profile = self.announced.own.as_ref();
        if let Some(unwilling) = profile.and_then(|profile| profile.unwilling()) {
            return Some((StageRefusedCode::Unwilling, unwilling.to_string()));
        }
        if self.outdated {
            let words = "this device must be updated before it helps: it cannot read all of the circle's log";
            return Some((StageRefusedCode::Unwilling, words.to_owned()));
        }
        let own = self.arithmetic();
        if open.arithmetic != own {
            let words = format!(
                "this device computes by the arithmetic {own}, not {}: update Potluck on both devices",
                open.arithmetic
            );
            return Some((StageRefusedCode::Unsupported, words));
        }
        // A node has one stage per session: a neighbour that is this node itself would mix the
        // stage's frames with those of this node's own sessions.
        let stranger = |peer: &PeerId| *peer == self.me || !self.circle.contains(*peer);
        if neighbours.iter().any(stranger) {
            let words = "its neighbours in the ring are not other members of the circle".to_owned();
            return Some((StageRefusedCode::Unsupported, words));
        }
        if self.sessions.contains_key(&open.session) {
            let words = "choose another session".to_owned();
            return Some((StageRefusedCode::TooManySessions, words));
        }
        None
    }

    /// Delivers a message from one of this node's sessions to its local stage.
    pub(super) fn own_stage_message(&mut self, now: Duration, message: Control) {
        match message {
            Control::OpenStage(open) => self.stages.open(now, self.me, open),
            Control::CloseStage(close) => self.stages.close(self.me, close),
            Control::SessionQuery(query) => self.stages.query(now, self.me, query.session),
            _ => {}
        }
    }

    /// Handles hidden states for a stage.
    pub(super) fn stage_frame(&mut self, now: Duration, from: PeerId, frame: Frame) {
        self.stages.handle_frame(now, from, frame);
    }

    pub(super) fn loaded(
        &mut self,
        now: Duration,
        stage: StageId,
        epoch: PlanEpoch,
        result: Result<(), LoadRefused>,
    ) {
        match result {
            Ok(()) => self.stages.loaded(now, stage, epoch, Ok(())),
            Err(refused) => {
                let Some(refused) = self.fetch_instead(now, stage, epoch, refused) else {
                    return;
                };
                let code = match refused.code {
                    // Peers could not read an unknown code and would get no answer.
                    StageRefusedCode::Other(_) => StageRefusedCode::Unsupported,
                    named => named,
                };
                let words = words_for_peer(&refused.words);
                let bytes = refused.available_bytes.min(MAX_BYTES);
                let result = Err((code, words.as_str(), bytes));
                self.stages.loaded(now, stage, epoch, result);
            }
        }
    }

    /// Carries out the stages' outputs. Returns whether there were any.
    pub(super) fn settle_stages(&mut self, now: Duration) -> bool {
        let mut any = false;
        while let Some(output) = self.stages.poll_output() {
            any = true;
            match output {
                StageOutput::Send(to, message) if to == self.me => {
                    self.message_of_own_stage(now, message);
                }
                StageOutput::Send(to, message) => {
                    if let Control::StageRefused(refused) = &message {
                        self.note_refusal(to, refused);
                    }
                    self.send(to, message);
                }
                StageOutput::SendFrame(to, frame) if to == self.me => {
                    // Dropped if the session has ended or moved on.
                    self.session_frame(now, to, frame);
                }
                StageOutput::SendFrame(to, frame) => self.send_frame(to, &frame),
                StageOutput::Load(load) => self.outputs.push_back(Output::Load(load)),
                StageOutput::Compute(step) => self.outputs.push_back(Output::Compute(step)),
                StageOutput::Free(stage) => self.outputs.push_back(Output::Free(stage)),
            }
        }
        any
    }

    /// Delivers a message from a local stage to its session.
    fn message_of_own_stage(&mut self, now: Duration, message: Control) {
        // A device that stops helping others still serves its own sessions.
        if !matches!(message, Control::HandOver(_))
            && let Some(session) = super::control::session_of(&message)
        {
            self.session_message(now, self.me, session, message);
        }
    }
}
