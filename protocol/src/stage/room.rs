//! Which sessions get place and memory when there is not enough for all.

use std::time::Duration;

use super::held::Held;
use super::{RESTS_AFTER, Stages};
use crate::wire::{OpenStage, StageRefusedCode};
use crate::{PeerId, StageId};

impl Stages {
    /// Whether one more session of a requester has a place; those that stand by give theirs up.
    pub(super) fn makes_place(
        &mut self,
        now: Duration,
        requester: PeerId,
        open: &OpenStage,
    ) -> bool {
        while !self.has_place(requester) && self.free_lost(requester) {}
        if !open.standby && !self.has_place(requester) {
            self.free_standbys();
        }
        if !self.has_place(requester) && requester == self.owner.peer && !open.standby {
            self.free_one_of_others(now, self.is_alone(open));
        }
        self.has_place(requester)
    }

    fn has_place(&self, requester: PeerId) -> bool {
        let of_requester = self.requesters().filter(|of| *of == requester).count();
        let within = requester == self.owner.peer || of_requester < self.limits.each;
        within && self.stages.len() < self.limits.sessions
    }

    /// Whether a stage of the owner's is all of its model: it waits for nobody else.
    fn is_alone(&self, open: &OpenStage) -> bool {
        let me = self.owner.peer;
        open.predecessor == me && open.successor == me
    }

    /// A stage that is to work lacks memory: whether some was freed for it.
    pub(super) fn makes_room(&mut self, now: Duration, id: StageId) -> bool {
        self.free_lost(id.requester) || self.free_standbys() || self.owner_takes(now, id)
    }

    /// The owner's own stage lacks memory that others have: whether some was freed for it.
    fn owner_takes(&mut self, now: Duration, id: StageId) -> bool {
        let own = self.stages.get(&id).filter(|held| {
            let own = held.requester == self.owner.peer;
            own && !held.open.standby
        });
        match own.map(|held| self.is_alone(&held.open)) {
            Some(alone) => self.free_one_of_others(now, alone),
            None => false,
        }
    }

    /// Frees the session of another that was not heard of for longest, one that is `at_work` too or
    /// only one that rests; whether there was any.
    fn free_one_of_others(&mut self, now: Duration, at_work: bool) -> bool {
        let taken = |held: &&Held| {
            held.requester != self.owner.peer && (at_work || held.rests(now, RESTS_AFTER))
        };
        let others = self.stages.values().filter(taken);
        let Some(oldest) = others.min_by_key(|held| held.heard_at) else {
            return false;
        };
        let (id, epoch) = (oldest.id(), oldest.open.epoch);
        self.free(id);
        let words = "the owner of this device needs the room";
        self.refuse(id, epoch, StageRefusedCode::Memory, words, 0);
        true
    }

    /// Makes room; whether anything stood by.
    pub(super) fn free_standbys(&mut self) -> bool {
        let standbys = self.stages.iter().filter(|(_, held)| held.open.standby);
        let standbys: Vec<_> = standbys.map(|(&id, held)| (id, held.open.epoch)).collect();
        for &(id, epoch) in &standbys {
            self.free(id);
            let words = "another conversation needs the room";
            self.refuse(id, epoch, StageRefusedCode::Memory, words, 0);
        }
        !standbys.is_empty()
    }
}
