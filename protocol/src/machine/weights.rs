//! Fetches weights that local stages lack, and serves weights to other devices.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Machine;
use super::{Event, LoadRefused, Output};
use crate::transfer::{ChannelError, Progress, TransferOutput};
use crate::wire::limits::MAX_PIECE_BYTES;
use crate::wire::{ContentHash, StageFetching, StageRefusedCode};
use crate::{PeerId, PlanEpoch, StageId};

/// How long outstanding requests keep a peer's link busy, beyond its round trips. A row of hidden
/// states sent meanwhile is delayed by no more than this.
pub const AHEAD: Duration = Duration::from_millis(30);

/// Minimum interval between progress reports to a requester: often enough for a user to see
/// progress.
pub const TELL_EVERY: Duration = Duration::from_millis(500);

/// Maximum number of pieces requested from one peer at a time.
const MOST_AHEAD: u128 = 16;

/// A stage that lacked weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Awaiting {
    epoch: PlanEpoch,
    manifest: ContentHash,
    /// Whether the weights arrived and the stage is loading again.
    came: bool,
    /// When the last progress report was sent to its requester.
    told_at: Option<Duration>,
}

impl Machine {
    pub(super) fn transfer_bytes(&mut self, now: Duration, from: PeerId, bytes: &[u8]) {
        if !self.peers.contains_key(&from) {
            return;
        }
        self.heard(now, from);
        match self.transfers.handle_bytes(now, from, bytes) {
            Ok(()) => {}
            Err(ChannelError::Control(why)) => self.drop_for(now, from, &why),
            Err(why @ ChannelError::Unasked) => self.drop_faulty(now, from, &why.to_string()),
            Err(why @ ChannelError::Refused(_)) => {
                self.drop_peer(now, from, None, why.to_string());
            }
        }
    }

    /// Fetches the weights that another device's stage lacks. If that is not possible, returns the
    /// refusal.
    pub(super) fn fetch_instead(
        &mut self,
        now: Duration,
        stage: StageId,
        epoch: PlanEpoch,
        refused: LoadRefused,
    ) -> Option<LoadRefused> {
        let opening = self.stages.opening(stage).filter(|open| {
            let of_another = stage.requester != self.me;
            of_another && open.epoch == epoch
        });
        let (StageRefusedCode::NoWeights, Some(open)) = (refused.code, opening) else {
            return Some(refused);
        };
        // Fetching weights would delay the rows of the very conversation for which the stage stands
        // by.
        if open.standby {
            return Some(refused);
        }
        let before = self.awaiting.get(&stage);
        if before.is_some_and(|before| before.epoch == epoch && before.came) {
            return Some(refused);
        }
        if open.memory_bytes > refused.available_bytes {
            let mib = |bytes: u64| bytes.div_ceil(1 << 20);
            return Some(LoadRefused {
                code: StageRefusedCode::Memory,
                words: format!(
                    "the stage takes {} MiB, and {} MiB are free here",
                    mib(open.memory_bytes),
                    mib(refused.available_bytes)
                ),
                available_bytes: refused.available_bytes,
            });
        }
        let manifest = open.manifest;
        if let Err(too_many) = self.transfers.want(now, manifest, open.layers) {
            return Some(LoadRefused {
                words: too_many.to_string(),
                ..refused
            });
        }
        let awaiting = Awaiting {
            epoch,
            manifest,
            came: false,
            told_at: before.and_then(|before| before.told_at),
        };
        self.awaiting.insert(stage, awaiting);
        None
    }

    /// Carries out the transfers' outputs. Returns whether there were any.
    pub(super) fn settle_transfers(&mut self, now: Duration) -> bool {
        let mut any = false;
        if !self.transfers.is_idle() {
            self.cancel_unwanted();
            let peers = self.peers.keys();
            let windows: BTreeMap<_, _> = peers.map(|&peer| (peer, self.window(peer))).collect();
            let window = |peer| windows.get(&peer).copied().unwrap_or(0);
            any = self.transfers.ask(now, window);
        }
        while let Some(output) = self.transfers.poll_output() {
            any = true;
            self.transfer_output(now, output);
        }
        any
    }

    /// Cancels fetches that no stage waits for.
    fn cancel_unwanted(&mut self) {
        let stages = &self.stages;
        self.awaiting.retain(|&stage, awaiting| {
            // A stage reopened in another epoch still lacks the same weights.
            let opening = stages.opening(stage);
            opening.is_some_and(|open| open.manifest == awaiting.manifest)
        });
        let fetched: Vec<_> = self.transfers.fetched().collect();
        for manifest in fetched {
            let mut awaiting = self.awaiting.values();
            if !awaiting.any(|awaiting| awaiting.manifest == manifest && !awaiting.came) {
                self.transfers.cancel(manifest);
            }
        }
    }

    fn transfer_output(&mut self, now: Duration, output: TransferOutput) {
        match output {
            TransferOutput::Send(to, message) => self.send(to, message),
            TransferOutput::SendBytes(to, bytes) => {
                self.outputs.push_back(Output::SendTransfer(to, bytes));
            }
            TransferOutput::Store(order) => self.outputs.push_back(Output::Store(order)),
            TransferOutput::Progress(progress) => {
                self.tell_requesters(now, &progress);
                self.event(Event::Fetching(progress));
            }
            TransferOutput::Fetched(manifest) => {
                self.event(Event::Fetched(manifest));
                for (&stage, awaiting) in &mut self.awaiting {
                    if awaiting.manifest == manifest && !awaiting.came {
                        awaiting.came = true;
                        self.stages.load_again(stage, awaiting.epoch);
                    }
                }
            }
            TransferOutput::Failed(manifest, words) => {
                let words = super::words_for_peer(&words);
                let of_model = self
                    .awaiting
                    .iter()
                    .filter(|(_, awaiting)| awaiting.manifest == manifest && !awaiting.came);
                let of_model: Vec<_> = of_model.map(|(&id, a)| (id, a.epoch)).collect();
                for (stage, epoch) in of_model {
                    let refused = (StageRefusedCode::NoWeights, words.as_str(), 0);
                    self.stages.loaded(now, stage, epoch, Err(refused));
                }
                self.event(Event::NotFetched(manifest, words));
            }
        }
    }

    /// Reports progress to the requesters of stages that wait for this model's weights.
    fn tell_requesters(&mut self, now: Duration, progress: &Progress) {
        // A store without missing weights has nothing to fetch.
        if progress.of_bytes == 0 {
            return;
        }
        let mut due = Vec::new();
        for (&stage, awaiting) in &mut self.awaiting {
            let waits = awaiting.manifest == progress.manifest && !awaiting.came;
            let told = awaiting.told_at.is_some_and(|at| now < at + TELL_EVERY);
            let opening = self.stages.opening(stage);
            if let Some(open) = opening.filter(|_| waits && !told) {
                awaiting.told_at = Some(now);
                let fetching = StageFetching {
                    session: stage.session,
                    epoch: open.epoch,
                    received_bytes: progress.kept_bytes,
                    total_bytes: progress.of_bytes,
                };
                due.push((stage.requester, fetching));
            }
        }
        for (requester, fetching) in due {
            self.send(requester, fetching);
        }
    }

    /// Maximum number of pieces to request from a peer at a time.
    fn window(&self, peer: PeerId) -> usize {
        let asked = self.sessions.values();
        let goes_over = asked.map(|placing| placing.goes_over(peer));
        if goes_over
            .chain([self.stages.runs_over(peer)])
            .any(|runs| runs)
        {
            return 1;
        }
        let Some(link) = self.peers.get(&peer).and_then(super::peer::Peer::link) else {
            return 2;
        };
        let time = 2 * link.round_trip.value + AHEAD;
        let bytes = u128::from(link.bandwidth.value.units_per_second()) * time.as_nanos();
        let pieces = (bytes / 1_000_000_000).div_ceil(u128::from(MAX_PIECE_BYTES));
        usize::try_from(pieces.clamp(2, MOST_AHEAD)).unwrap_or(1)
    }
}
