//! Whose sessions have a place and memory here, when not all can.

use super::Stages;
use crate::wire::{OpenStage, StageRefusedCode};
use crate::{PeerId, SessionId};

impl Stages {
    /// Whether one more session of a requester has a place; those that stand by give theirs up.
    pub(super) fn makes_place(&mut self, requester: PeerId, open: &OpenStage) -> bool {
        if !open.standby && !self.has_place(requester) {
            self.free_standbys();
        }
        if !self.has_place(requester) && self.is_of_owner_alone(requester, open) {
            self.free_one_of_others();
        }
        self.has_place(requester)
    }

    fn has_place(&self, requester: PeerId) -> bool {
        let of_requester = self.requesters().filter(|of| *of == requester).count();
        let within = requester == self.owner.peer || of_requester < self.limits.each;
        within && self.sessions.len() < self.limits.sessions
    }

    /// Whether a stage is all of the owner's own model: it waits for nobody else, so that no two owners
    /// take from each other for ever.
    fn is_of_owner_alone(&self, requester: PeerId, open: &OpenStage) -> bool {
        let me = self.owner.peer;
        let alone = open.predecessor == me && open.successor == me;
        requester == me && alone && !open.standby
    }

    /// The owner's own stage lacks memory that others have: whether some was freed for it.
    pub(super) fn owner_takes(&mut self, session: SessionId) -> bool {
        let held = self.sessions.get(&session);
        let takes = held.is_some_and(|held| self.is_of_owner_alone(held.requester, &held.open));
        takes && self.free_one_of_others()
    }

    /// Frees the session of another that was not heard of for longest; whether there was any.
    fn free_one_of_others(&mut self) -> bool {
        let others = self.sessions.iter();
        let others = others.filter(|(_, held)| held.requester != self.owner.peer);
        let oldest = others.min_by_key(|(_, held)| held.heard_at);
        let Some((&session, held)) = oldest else {
            return false;
        };
        let (epoch, requester) = (held.open.epoch, held.requester);
        self.free(session);
        let words = "the owner of this device needs the room";
        let code = StageRefusedCode::Memory;
        self.refuse(requester, session, epoch, code, words, 0);
        true
    }

    /// Makes room; whether anything stood by.
    pub(super) fn free_standbys(&mut self) -> bool {
        let standbys = self.sessions.iter().filter(|(_, held)| held.open.standby);
        let standbys = standbys.map(|(&id, held)| (id, held.open.epoch, held.requester));
        let standbys: Vec<_> = standbys.collect();
        for &(session, epoch, requester) in &standbys {
            self.free(session);
            let words = "another conversation needs the room";
            let code = StageRefusedCode::Memory;
            self.refuse(requester, session, epoch, code, words, 0);
        }
        !standbys.is_empty()
    }
}
