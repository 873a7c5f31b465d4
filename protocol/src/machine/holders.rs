//! Which peers have the weights of models that are to be placed.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use super::Machine;
use super::Output;
use crate::PeerId;
use crate::placement::{Devices, Holdings};
use crate::transfer::StoreOrder;
use crate::wire::{ContentHash, ModelOffer, ModelQuery};

/// Of so many models it is known who has them: those that were asked for last. A person plans with
/// one or two.
const MOST_MODELS: usize = 4;
/// Nobody is asked for the same model again within this time.
const FRESH_FOR: Duration = Duration::from_secs(1);

/// What is known of the models that were asked for last, the newest at the end.
#[derive(Debug, Default)]
pub(super) struct Holders(VecDeque<Known>);

#[derive(Debug)]
struct Known {
    manifest: ContentHash,
    holdings: Holdings,
    /// When all were asked.
    asked_at: Duration,
    /// Who has yet to answer.
    awaited: BTreeSet<PeerId>,
}

impl Holders {
    /// A device says what it has.
    pub(super) fn told(&mut self, from: PeerId, offer: &ModelOffer) {
        let mut known = self.0.iter_mut();
        if let Some(known) = known.find(|known| known.manifest == offer.manifest) {
            known.awaited.remove(&from);
            known.holdings.insert(from, offer.layers.clone());
        }
    }

    /// A peer is gone.
    pub(super) fn gone(&mut self, peer: PeerId) {
        for known in &mut self.0 {
            known.awaited.remove(&peer);
            known.holdings.remove(peer);
        }
    }

    fn of(&self, manifest: ContentHash) -> Option<&Known> {
        self.0.iter().find(|known| known.manifest == manifest)
    }

    /// Those of these that are to be asked now.
    fn ask(&mut self, now: Duration, manifest: ContentHash, all: Vec<PeerId>) -> Vec<PeerId> {
        let at = self.0.iter().position(|known| known.manifest == manifest);
        let known = at.and_then(|at| self.0.remove(at));
        let mut known = known.unwrap_or_else(|| Known {
            manifest,
            holdings: Holdings::default(),
            asked_at: now,
            awaited: BTreeSet::new(),
        });
        let stale = now >= known.asked_at + FRESH_FOR;
        if stale {
            known.asked_at = now;
        }
        let asked = all.into_iter().filter(|peer| {
            stale || !(known.awaited.contains(peer) || known.holdings.contains(*peer))
        });
        let asked: Vec<_> = asked.collect();
        known.awaited.extend(&asked);
        self.0.push_back(known);
        if self.0.len() > MOST_MODELS {
            self.0.pop_front();
        }
        asked
    }
}

impl Machine {
    /// Asks this device and all peers which layers of a model they have, for the plans to come.
    /// [`knows_weights`](Self::knows_weights) says whether all have answered.
    pub fn find_weights(&mut self, now: Duration, manifest: ContentHash) {
        let greeted = self.peers.iter().filter(|(_, peer)| peer.greeted.is_some());
        let all = greeted.map(|(&peer, _)| peer).chain([self.me]);
        for peer in self.holders.ask(now, manifest, all.collect()) {
            if peer == self.me {
                let tell = StoreOrder::Tell { to: peer, manifest };
                self.outputs.push_back(Output::Store(tell));
            } else {
                self.send(peer, ModelQuery { manifest });
            }
        }
    }

    /// Whether all who were asked have said which layers of a model they have.
    pub fn knows_weights(&self, manifest: ContentHash) -> bool {
        let known = self.holders.of(manifest);
        known.is_some_and(|known| known.awaited.is_empty())
    }

    /// The [devices](Self::devices), and who of them has which layers of a model, as far as that was
    /// [asked for](Self::find_weights).
    pub fn devices_for(&self, manifest: ContentHash) -> Devices {
        let known = self.holders.of(manifest);
        Devices {
            holdings: known.map_or_else(Holdings::default, |known| known.holdings.clone()),
            ..self.devices()
        }
    }
}
