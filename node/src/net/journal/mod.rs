//! Logs what happens on the network, and reports some of it to the node's owner.
//!
//! The machine does no I/O and logs nothing. The driver passes the machine's inputs and outputs to this
//! module, which keeps the spans listed in [`log`](crate::log), so that an event about a peer, a session or
//! a stage is logged in its span. For events that matter to the owner it returns a [`NodeEvent`], which
//! `up` prints.
//!
//! Events that others can cause any number of times, such as being refused, are logged at intervals with a
//! count (`seldom`), so that nobody can push everything else out of the log.

mod giving;
mod helping;
mod links;
mod pairing;
mod seldom;
mod sessions;

use std::collections::BTreeMap;
use std::time::Duration;

use potluck_protocol::PeerId;
use potluck_protocol::machine::{Asked, Event, Machine};
use potluck_protocol::transfer::Progress;
use potluck_protocol::wire::ContentHash;
use tracing::Span;

use super::report::{AskedFor, NodeEvent};
use giving::Giving;
use helping::Helping;
use links::Links;
use pairing::Pairings;
use sessions::Sessions;

/// The open spans.
#[derive(Default)]
pub(super) struct Journal {
    pub(super) links: Links,
    pub(super) sessions: Sessions,
    pub(super) helping: Helping,
    pub(super) pairings: Pairings,
    pub(super) giving: Giving,
    /// Transfers of weights to this device, and when they began.
    transfers: BTreeMap<ContentHash, (Span, Duration)>,
}

/// A device's name in the circle, or its id if it has none.
fn name(machine: &Machine, peer: PeerId) -> String {
    let member = machine.circle().member(peer);
    member.map_or_else(
        || peer.to_string(),
        |member| member.name.as_str().to_owned(),
    )
}

impl Journal {
    /// Logs an event of the machine, except those of sessions and pairings. Returns an event for the owner, if
    /// it matters to them.
    pub(super) fn event(
        &mut self,
        now: Duration,
        machine: &Machine,
        event: Event,
    ) -> Option<NodeEvent> {
        match &event {
            Event::PeerConnected { peer, software } => {
                self.links.connected(now, machine, *peer, software);
            }
            Event::PeerGone { peer, why } => {
                let (peer, why) = (*peer, self.links.gone(now, machine, *peer, why.clone()));
                return Some(NodeEvent::Machine(Event::PeerGone { peer, why }));
            }
            Event::Refused { peer, asked, why } => {
                let asked = match asked {
                    Asked::Stage(_) => AskedFor::Stage,
                    Asked::Pairing => AskedFor::Pairing,
                };
                return self
                    .links
                    .refused(now, machine, Some(*peer), asked, why.clone());
            }
            Event::MemberJoined(member) => {
                let by = name(machine, member.admitted_by);
                let (who, id) = (member.name.as_str(), member.peer);
                tracing::info!(name = who, %id, by, "a device joined the circle");
            }
            Event::MemberLeft(peer) => tracing::info!(id = %peer, "a device left the circle"),
            Event::Revoked => tracing::warn!("this device was removed from its circle"),
            Event::Copied(peer) => {
                tracing::warn!(name = name(machine, *peer), "two devices run with one id");
            }
            Event::ThisIsCopied { told_by } => {
                let by = name(machine, *told_by);
                tracing::warn!(by, "another device runs with this one's id");
            }
            Event::Outdated { told_by } => {
                let by = name(machine, *told_by);
                tracing::warn!(by, "this program is too old to read the circle's log");
            }
            Event::Fetching(progress) => self.fetching(now, progress),
            Event::Fetched(model) => self.fetched(now, *model, None),
            Event::NotFetched(model, why) => self.fetched(now, *model, Some(why)),
            Event::Session(..) | Event::Pairing(_) => {}
        }
        Some(NodeEvent::Machine(event))
    }

    fn fetching(&mut self, now: Duration, progress: &Progress) {
        let Progress {
            manifest,
            kept_bytes,
            of_bytes,
        } = *progress;
        let (span, _) = self.transfers.entry(manifest).or_insert_with(|| {
            let model = short(&manifest);
            let span = tracing::info_span!("transfer", model);
            tracing::info!(parent: &span, bytes = of_bytes, "weights are fetched");
            (span, now)
        });
        tracing::trace!(parent: &*span, kept_bytes, of_bytes, "weights received");
    }

    fn fetched(&mut self, now: Duration, model: ContentHash, failed: Option<&String>) {
        let (span, since) = self
            .transfers
            .remove(&model)
            .unwrap_or_else(|| (tracing::info_span!("transfer", model = short(&model)), now));
        let after_s = now.saturating_sub(since).as_secs_f32();
        match failed {
            None => tracing::info!(parent: &span, after_s, "the weights are here"),
            Some(why) => {
                tracing::warn!(parent: &span, after_s, why, "the weights could not be fetched");
            }
        }
    }
}

/// The first bytes of a model's hash, for the log.
fn short(model: &ContentHash) -> String {
    let bytes = model.0.iter().take(4);
    bytes.map(|byte| format!("{byte:02x}")).collect()
}
