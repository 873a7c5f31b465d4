//! Which peers have which weights of models to be placed.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use super::Machine;
use super::Output;
use crate::PeerId;
use crate::placement::{Devices, Holdings};
use crate::transfer::StoreOrder;
use crate::wire::{ContentHash, ModelOffer, ModelQuery};

/// Number of models to remember, the most recently requested ones. A user plans with one or two.
const MOST_MODELS: usize = 4;
/// Minimum time between queries for the same model.
const FRESH_FOR: Duration = Duration::from_secs(1);

/// Answers for the most recently requested models, newest last.
#[derive(Debug, Default)]
pub(super) struct Holders(VecDeque<Known>);

#[derive(Debug)]
struct Known {
    manifest: ContentHash,
    holdings: Holdings,
    /// When all devices were last asked.
    asked_at: Duration,
    /// Devices that have not answered yet.
    awaited: BTreeSet<PeerId>,
}

impl Holders {
    /// Handles a device's offer.
    pub(super) fn told(&mut self, from: PeerId, offer: &ModelOffer) {
        let mut known = self.0.iter_mut();
        if let Some(known) = known.find(|known| known.manifest == offer.manifest) {
            known.awaited.remove(&from);
            known.holdings.insert(from, offer.layers.clone());
        }
    }

    /// Forgets a disconnected peer.
    pub(super) fn gone(&mut self, peer: PeerId) {
        for known in &mut self.0 {
            known.awaited.remove(&peer);
            known.holdings.remove(peer);
        }
    }

    fn of(&self, manifest: ContentHash) -> Option<&Known> {
        self.0.iter().find(|known| known.manifest == manifest)
    }

    /// Selects the devices to ask now.
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
    /// Asks this device and all peers which layers of a model they have, for later plans.
    /// [`knows_weights`](Self::knows_weights) reports whether all have answered.
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

    /// Whether all devices that were asked have answered.
    pub fn knows_weights(&self, manifest: ContentHash) -> bool {
        let known = self.holders.of(manifest);
        known.is_some_and(|known| known.awaited.is_empty())
    }

    /// The [devices](Self::devices), and which layers of a model each of them has, as far as [asked
    /// for](Self::find_weights).
    pub fn devices_for(&self, manifest: ContentHash) -> Devices {
        let known = self.holders.of(manifest);
        Devices {
            holdings: known.map_or_else(Holdings::default, |known| known.holdings.clone()),
            ..self.devices()
        }
    }
}
