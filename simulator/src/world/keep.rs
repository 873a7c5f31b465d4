//! Weights in the hosts' storage: what they fetch and what they give.

use potluck_protocol::machine::{Event as Told, Input};
use potluck_protocol::transfer::{StoreAnswer, StoreOrder};

use super::{Event, World};
use crate::checks::{CameOf, Seen};
use crate::host::Store;
use crate::network::Stream;

/// What an order costs beside its bytes: it is handed to another thread and back.
const HANDING: u64 = 20;

/// Pieces that may be on their way of one peer when the first of them is found to be wrong, and one.
const MOST_WRONG: u64 = 17;

impl World {
    /// A host's machine wants something done with weights.
    pub(super) fn store(&mut self, host: u32, order: StoreOrder) {
        let of = self.host(host);
        if let StoreOrder::Keep { content, piece, .. } = order {
            let of = CameOf {
                asked: of.store.is_asked(content),
                again: of.store.has_piece(content, piece),
            };
            self.see(Seen::PieceCame { host, of });
        }
        self.host(host).keeper.order(order);
        self.give_on(host);
    }

    /// A host's keeper takes up what its peers have room for.
    pub(super) fn give_on(&mut self, host: u32) {
        let of = &mut self.hosts[host as usize];
        let mut keeper = std::mem::take(&mut of.keeper);
        let of = &self.hosts[host as usize];
        keeper.give_on(|peer| {
            let wire = of.wire_to(of.member(peer)?)?;
            let connection = self.connections.get(wire)?;
            let way = &connection.ways[connection.side_of(host)];
            Some(way.queued_of(Stream::Transfer))
        });
        self.host(host).keeper = keeper;
        self.begin_keeping(host);
    }

    /// A free keeper begins what waits.
    fn begin_keeping(&mut self, host: u32) {
        let of = self.host(host);
        if of.keeper.at.is_some() || !of.runs() {
            return;
        }
        let Some(order) = of.keeper.waiting.pop_front() else {
            return;
        };
        of.keeper.at = Some(order);
        self.keep_on(host);
    }

    /// A keeper works on its current order, from the beginning if its host stood still.
    pub(super) fn keep_on(&mut self, host: u32) {
        let of = self.host(host);
        let Some(order) = &of.keeper.at else {
            return;
        };
        let storage = of.body.hardware.load.per_second();
        let bytes = u128::from(Store::effort(order)) * 1_000_000;
        let micros = HANDING + (bytes / u128::from(storage)) as u64;
        of.keeper.number += 1;
        let number = of.keeper.number;
        self.after(micros, Event::Stored(host, number));
    }

    /// A host's keeper is done.
    pub(super) fn stored(&mut self, host: u32, number: u32) {
        let now = self.now;
        let of = self.host(host);
        if of.keeper.number != number || !of.runs() {
            return;
        }
        let Some(order) = of.keeper.at.take() else {
            return;
        };
        let before = of.store.kept_bytes();
        let answer = of.store.follow(order);
        if of.store.kept_bytes() > before {
            of.fetched_at = now;
        }
        let (wrong, members) = (of.store.refused_now, of.members.len() as u64);
        if wrong > MOST_WRONG * members {
            self.see(Seen::WrongPieces { host, wrong });
        }
        self.trace.event(now, 9, u64::from(host));
        if let Some(answer) = answer {
            if let StoreAnswer::Read { to, .. } = &answer {
                self.host(host).keeper.has_read(*to);
            }
            self.tell(host, Input::Stored(answer));
        }
        self.give_on(host);
    }

    /// A host's machine says something that is of no session.
    pub(super) fn told_of_node(&mut self, host: u32, event: &Told) {
        if let Told::Fetched(_) = event
            && !self.host(host).store.has_all_wanted()
        {
            self.see(Seen::FetchedTooLittle { host });
        }
    }
}
