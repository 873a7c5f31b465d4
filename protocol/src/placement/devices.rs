//! The devices that a placement may use, and why it does not use some.

use std::collections::BTreeMap;

use super::holdings::Holdings;
use super::search::MOST_DEVICES;
use super::text::{Needed, Offered, Percent};
use crate::profile::{Profile, Unwilling};
use crate::{Link, PeerId};

/// The devices of a circle that are in reach, as the requester knows them.
#[derive(Debug, Clone)]
pub struct Devices {
    /// The node whose user asks. Embedding and head stay with it.
    pub requester: PeerId,
    /// All of them, the requester's own too.
    pub profiles: BTreeMap<PeerId, Profile>,
    /// The links between them. A link that is known in one direction only is assumed to be the same in
    /// the other.
    pub links: BTreeMap<(PeerId, PeerId), Link>,
    /// Which devices have which layers of the model.
    pub holdings: Holdings,
}

impl Devices {
    /// The link between two devices, if either has measured it.
    pub fn link(&self, from: PeerId, to: PeerId) -> Option<&Link> {
        let back = || self.links.get(&(to, from));
        self.links.get(&(from, to)).or_else(back)
    }

    /// Why a device does not help the requester now; `None` if it may, or is not in reach. A device
    /// with another arithmetic never does: the parts of an answer would not fit each other.
    pub fn unwilling(&self, peer: PeerId) -> Option<Unwilling> {
        let profile = self.profiles.get(&peer)?;
        let own = self.profiles.get(&self.requester);
        if own.is_some_and(|own| own.arithmetic != profile.arithmetic) {
            return Some(Unwilling::OtherArithmetic);
        }
        profile.unwilling()
    }
}

/// A device that holds no layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unused {
    /// Which.
    pub peer: PeerId,
    /// Why.
    pub reason: UnusedReason,
}

/// Why a device holds no layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnusedReason {
    /// Its owner's limits or its heat.
    #[error("{0}")]
    Unwilling(#[from] Unwilling),
    /// It does not know its energy, which is the objective.
    #[error("its system does not tell what computing takes")]
    EnergyUnknown,
    /// It has no measured speed for any layer's format.
    #[error("no measured speed for the model's formats")]
    Unmeasured,
    /// Not one layer fits.
    #[error(
        "no room for one layer: it has {} for layers, one needs {}",
        Offered(*offers_bytes), Needed(*needs_bytes)
    )]
    NoRoom {
        /// Its budget, less what it holds besides layers.
        offers_bytes: u64,
        /// What the smallest layer needs, with headroom.
        needs_bytes: u64,
    },
    /// It is paired and not in reach.
    #[error("it is away: run `potluck up` on it in this network")]
    Away,
    /// No link to or from it is known.
    #[error("the links to it are not measured")]
    LinkUnknown,
    /// More than [`MOST_DEVICES`] may help, and others promise more.
    #[error("not among the {most} devices that promise most", most = MOST_DEVICES)]
    FilteredOut,
    /// No placement with it is possible, by its links or the room for whole layers.
    #[error("no placement with it has room for all layers and a known link for each hop")]
    NoPlacement,
    /// The best placement with it takes longer or, for throughput, has a slower pace.
    #[error("it would make a step {} slower", Percent(*permille))]
    Slower {
        /// How much longer, in thousandths, rounded up.
        permille: u64,
    },
    /// The best placement with it would have to fetch more, for less than is worth that; see the
    /// [module's page](super).
    #[error("it would save less than 1 %, and more weights would have to be fetched")]
    MoreToFetch,
    /// The best placement with it takes more energy.
    #[error("it would take {} more energy", Percent(*permille))]
    MoreEnergy {
        /// How much more, in thousandths, rounded up.
        permille: u64,
    },
    /// The best placement with it is as good, and has more hops or was found later.
    #[error("it would make nothing better")]
    NoGain,
}
