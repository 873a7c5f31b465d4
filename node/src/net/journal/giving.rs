//! Weights that this device gives to others.

use std::collections::BTreeMap;
use std::time::Duration;

use potluck_protocol::PeerId;
use potluck_protocol::machine::Machine;
use potluck_protocol::transfer::StoreAnswer;
use tracing::Span;

use super::name;

/// Giving is over when a peer has requested nothing for so long.
const OVER: Duration = Duration::from_secs(5);

/// The peers that weights are given to.
#[derive(Default)]
pub(in crate::net) struct Giving(BTreeMap<PeerId, Given>);

struct Given {
    span: Span,
    since: Duration,
    last: Duration,
    bytes: u64,
}

impl Giving {
    /// The store has read a piece for a peer, or could not.
    pub(in crate::net) fn answered(
        &mut self,
        now: Duration,
        machine: &Machine,
        answer: &StoreAnswer,
    ) {
        let StoreAnswer::Read { to, result, .. } = answer else {
            return;
        };
        let given = self.0.entry(*to).or_insert_with(|| {
            let span = tracing::info_span!("giving", name = name(machine, *to), id = %to);
            tracing::info!(parent: &span, "weights are given");
            let (since, last, bytes) = (now, now, 0);
            Given {
                span,
                since,
                last,
                bytes,
            }
        });
        given.last = now;
        match result {
            Ok(bytes) => {
                given.bytes += bytes.len() as u64;
                let (piece, all) = (bytes.len(), given.bytes);
                tracing::trace!(parent: &given.span, piece, all, "a piece is given");
            }
            Err(code) => {
                let why = format!("{code:?}");
                tracing::debug!(parent: &given.span, why, "a piece is not given");
            }
        }
    }

    /// Closes the spans of peers that have requested nothing for [`OVER`].
    pub(in crate::net) fn look(&mut self, now: Duration) {
        self.0.retain(|_, given| {
            let is_over = now.saturating_sub(given.last) >= OVER;
            if is_over {
                let after_s = given.last.saturating_sub(given.since).as_secs_f32();
                let bytes = given.bytes;
                tracing::info!(parent: &given.span, bytes, after_s, "the weights were given");
            }
            !is_over
        });
    }
}
