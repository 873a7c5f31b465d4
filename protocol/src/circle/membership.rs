//! Who is a member, as a pure function of a set of entries.

use std::collections::BTreeMap;

use super::entry::{Act, EntryHash};
use super::past::{EntrySet, Placed};
use super::{DeviceName, Member};
use crate::PeerId;

/// The members by a set of entries that holds the past of each of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Membership(BTreeMap<PeerId, Member>);

impl Membership {
    /// The members by the entries at `within`; see the module's documentation for the rules.
    pub(super) fn within(log: &[Placed], within: &EntrySet) -> Self {
        let revocations = revocations(log, within);
        let none = EntrySet::default();
        let of = |peer: PeerId| revocations.get(&peer).unwrap_or(&none);

        // Standing admissions of each peer, ascending. An entry's past comes before it, so one pass
        // meets every admission after those that support it.
        let mut standing: BTreeMap<PeerId, Vec<usize>> = BTreeMap::new();
        for place in within.iter() {
            let entry = &log[place].entry;
            let (peer, stands) = match entry.act() {
                Act::Found { .. } => (entry.author(), true),
                Act::Admit { peer, .. } => {
                    let author = entry.author();
                    let supports = standing.get(&author).map_or(&[][..], Vec::as_slice);
                    (*peer, stands(log, place, supports, of(author)))
                }
                Act::Revoke { .. } | Act::Expel { .. } | Act::Rename { .. } => continue,
            };
            if stands {
                standing.entry(peer).or_default().push(place);
            }
        }

        let mut members = BTreeMap::new();
        for (peer, mut admissions) in standing {
            admissions.retain(|&place| of(peer).is_covered(within, &log[place].past));
            let first = admissions.iter().min_by_key(|&&place| rank(log, place));
            let name = name_of(log, peer, &admissions, within);
            if let (Some(&first), Some(name)) = (first, name) {
                let admitted_by = log[first].entry.author();
                members.insert(
                    peer,
                    Member {
                        peer,
                        name,
                        admitted_by,
                    },
                );
            }
        }
        Self(members)
    }

    pub(super) fn contains(&self, peer: PeerId) -> bool {
        self.0.contains_key(&peer)
    }

    /// Some live admission of a member: one that leads to the founding on the shortest way.
    pub(super) fn admission_of(log: &[Placed], within: &EntrySet, peer: PeerId) -> Option<usize> {
        let admits = |place: &usize| log[*place].entry.admitted() == Some(peer);
        // By its past and itself alone it made the device a member, if it does by all that there is.
        let revocations = revocations(log, within);
        let none = EntrySet::default();
        let of_peer = revocations.get(&peer).unwrap_or(&none);
        let live = |place: &usize| {
            let mut by_itself = log[*place].past.clone();
            by_itself.insert(*place);
            of_peer.is_covered(within, &log[*place].past)
                && Self::within(log, &by_itself).contains(peer)
        };
        let admissions = within.iter().filter(admits).filter(live);
        admissions.min_by_key(|&place| rank(log, place))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn get(&self, peer: PeerId) -> Option<&Member> {
        self.0.get(&peer)
    }

    /// By their PeerIds, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Member> {
        self.0.values()
    }
}

/// The revocations of each peer that has been revoked.
fn revocations(log: &[Placed], within: &EntrySet) -> BTreeMap<PeerId, EntrySet> {
    let mut revocations: BTreeMap<PeerId, EntrySet> = BTreeMap::new();
    for place in within.iter() {
        if let Some(peer) = log[place].entry.act().ends() {
            revocations.entry(peer).or_default().insert(place);
        }
    }
    revocations
}

/// Whether the admission at `place` stands: each revocation of its author is in its past, or it in
/// that of a revocation that is no expulsion, and one of the author's own standing admissions,
/// `supports`, made the author a member in its past.
fn stands(log: &[Placed], place: usize, supports: &[usize], of_author: &EntrySet) -> bool {
    let past = &log[place].past;
    let expels = |revocation: usize| matches!(log[revocation].entry.act(), Act::Expel { .. });
    let is_ordered = |revocation: usize| {
        past.contains(revocation) || (log[revocation].past.contains(place) && !expels(revocation))
    };
    of_author.iter().all(is_ordered)
        && supports.iter().any(|&support| {
            past.contains(support) && of_author.is_covered(past, &log[support].past)
        })
}

/// The order of entries that all agree on: by height, then by hash.
fn rank(log: &[Placed], place: usize) -> (u32, EntryHash) {
    (log[place].height, log[place].entry.hash())
}

/// The name that the last of a member's live admissions and own renamings gives.
fn name_of(
    log: &[Placed],
    peer: PeerId,
    admissions: &[usize],
    within: &EntrySet,
) -> Option<DeviceName> {
    let renamings = within.iter().filter(|&place| {
        let entry = &log[place].entry;
        entry.author() == peer && matches!(entry.act(), Act::Rename { .. })
    });
    let named = admissions.iter().copied().chain(renamings);
    let last = named.max_by_key(|&place| rank(log, place))?;
    log[last].entry.act().name().cloned()
}
