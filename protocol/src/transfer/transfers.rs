//! All transfers of a node.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::channel::{Asked, Came, Channel, ChannelError, What};
use super::fetch::{Fetch, Next};
use super::{
    BUSY_FOR, FETCH_PAUSE, Kept, MOST_FETCHES, MOST_READ, MOST_READ_FOR_PEER, Missing,
    STALLED_AFTER, StoreAnswer, StoreOrder, TICK, TransferOutput,
};
use crate::wire::{
    ContentHash, Hello, ModelOffer, ModelQuery, ShardHeader, ShardRefused, ShardRefusedCode,
    ShardRequest,
};
use crate::{LayerRange, PeerId};

/// What a node fetches and gives; see the module's page.
///
/// Times are since any fixed moment, and never go back.
#[derive(Debug)]
pub struct Transfers {
    /// With what a stream begins.
    hello: Hello,
    /// One for each connection.
    channels: BTreeMap<PeerId, Channel>,
    /// Those that may be asked what they have.
    greeted: Vec<PeerId>,
    fetches: BTreeMap<ContentHash, Fetch>,
    /// When those who do not keep to times are looked after next.
    tick_at: Duration,
    /// When the fetches so far would have begun, one each [`FETCH_PAUSE`].
    paid_until: Duration,
    last_id: u64,
    outputs: VecDeque<TransferOutput>,
}

/// As many models are fetched as may be at a time, or one began just now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this device is fetching the weights of other models: try again when it has them")]
pub struct TooMany;

impl Transfers {
    /// None yet. Streams begin with this greeting.
    pub fn new(hello: Hello) -> Self {
        Self {
            hello,
            channels: BTreeMap::new(),
            greeted: Vec::new(),
            fetches: BTreeMap::new(),
            tick_at: Duration::ZERO,
            paid_until: Duration::ZERO,
            last_id: 0,
            outputs: VecDeque::new(),
        }
    }

    /// What is to be done next.
    pub fn poll_output(&mut self) -> Option<TransferOutput> {
        self.outputs.pop_front()
    }

    /// A connection to a member is up.
    pub fn connected(&mut self, peer: PeerId) {
        self.channels.insert(peer, Channel::default());
    }

    /// A member greeted: it may be asked what it has.
    pub fn greeted(&mut self, peer: PeerId) {
        self.greeted.push(peer);
        for (&manifest, fetch) in &mut self.fetches {
            fetch.ask([peer].into_iter());
            let query = ModelQuery { manifest };
            self.outputs
                .push_back(TransferOutput::Send(peer, query.into()));
        }
    }

    /// Whether a connection to this peer is up.
    #[cfg(test)]
    pub(super) fn is_connected(&self, peer: PeerId) -> bool {
        self.channels.contains_key(&peer)
    }

    /// A connection has ended.
    pub fn gone(&mut self, peer: PeerId) {
        self.channels.remove(&peer);
        self.greeted.retain(|other| *other != peer);
        self.fetches.values_mut().for_each(|fetch| fetch.gone(peer));
    }

    /// These layers are wanted here: [`TransferOutput::Fetched`] or [`TransferOutput::Failed`] comes
    /// for the model.
    ///
    /// # Errors
    /// [`TooMany`].
    pub fn want(
        &mut self,
        now: Duration,
        manifest: ContentHash,
        layers: LayerRange,
    ) -> Result<(), TooMany> {
        if !self.fetches.contains_key(&manifest) {
            let paid_until = self.paid_until.max(now) + FETCH_PAUSE;
            let often = paid_until > now + FETCH_PAUSE * MOST_FETCHES;
            if often || self.fetches.len() >= MOST_FETCHES as usize {
                return Err(TooMany);
            }
            self.paid_until = paid_until;
            if self.fetches.is_empty() {
                self.tick_at = now + TICK;
            }
            self.fetches.insert(manifest, Fetch::new(now, manifest));
            self.ask_all(now, manifest);
        }
        if let Some(fetch) = self.fetches.get_mut(&manifest)
            && fetch.want(layers)
        {
            self.prepare(manifest);
        }
        Ok(())
    }

    /// Whether nothing is fetched.
    pub fn is_idle(&self) -> bool {
        self.fetches.is_empty()
    }

    /// The models that are fetched.
    pub fn fetched(&self) -> impl Iterator<Item = ContentHash> {
        self.fetches.keys().copied()
    }

    /// A model is not wanted any more. What was kept stays.
    pub fn cancel(&mut self, manifest: ContentHash) {
        if self.fetches.remove(&manifest).is_some() {
            self.order(StoreOrder::End { manifest });
        }
    }

    /// A peer asks what is here.
    pub fn asked(&mut self, from: PeerId, query: ModelQuery) {
        let ModelQuery { manifest } = query;
        self.order(StoreOrder::Tell { to: from, manifest });
    }

    /// A peer says what it has.
    pub fn offered(&mut self, from: PeerId, offer: ModelOffer) {
        if let Some(fetch) = self.fetches.get_mut(&offer.manifest) {
            fetch.offered(from, offer);
        }
    }

    /// Bytes of a peer's stream for weights.
    ///
    /// # Errors
    /// [`ChannelError`]: the peer is to be dropped.
    pub fn handle_bytes(
        &mut self,
        now: Duration,
        from: PeerId,
        mut bytes: &[u8],
    ) -> Result<(), ChannelError> {
        while let Some(channel) = self.channels.get_mut(&from) {
            let Some(came) = channel.read(now, &mut bytes)? else {
                return Ok(());
            };
            match came {
                Came::Request(request) => self.requested(from, &request),
                Came::Bytes(asked, bytes) => self.came(from, asked, bytes),
                Came::Refused(asked, refused) => self.refused(now, from, asked, refused.code),
                Came::Over(words) => return Err(ChannelError::Refused(words)),
            }
        }
        Ok(())
    }

    /// A peer wants bytes.
    fn requested(&mut self, from: PeerId, request: &ShardRequest) {
        let all: usize = self.channels.values().map(|channel| channel.reading).sum();
        let Some(channel) = self.channels.get_mut(&from) else {
            return;
        };
        let ShardRequest { id, content, range } = *request;
        if channel.reading >= MOST_READ_FOR_PEER || all >= MOST_READ {
            let code = ShardRefusedCode::Busy;
            return self.give(from, ShardRefused { id, code }, &[]);
        }
        channel.reading += 1;
        self.order(StoreOrder::Read {
            to: from,
            id,
            content,
            range,
        });
    }

    /// Sends on the stream for weights.
    fn give(&mut self, to: PeerId, message: impl Into<crate::wire::Control>, bytes: &[u8]) {
        let channel = self.channels.get_mut(&to);
        let written = channel.and_then(|channel| channel.write(&self.hello, message));
        if let Some(mut written) = written {
            written.extend_from_slice(bytes);
            self.outputs
                .push_back(TransferOutput::SendBytes(to, written));
        }
    }

    fn came(&mut self, from: PeerId, asked: Asked, bytes: Vec<u8>) {
        let manifest = asked.manifest;
        let Some(fetch) = self.fetches.get_mut(&manifest) else {
            return;
        };
        let order = match (fetch.came(from, asked.what, &bytes), asked.what) {
            (Next::CheckPiece, What::Piece { content, piece }) => StoreOrder::Keep {
                manifest,
                content,
                piece,
                bytes,
            },
            (Next::CheckManifest(bytes), _) => StoreOrder::KeepManifest { manifest, bytes },
            _ => return,
        };
        self.order(order);
    }

    fn refused(&mut self, now: Duration, from: PeerId, asked: Asked, code: ShardRefusedCode) {
        let fetch = self.fetches.get_mut(&asked.manifest);
        match (fetch, code) {
            (Some(fetch), ShardRefusedCode::Busy) => fetch.refused(from, asked.what),
            // It may have less than it offered; it is asked anew.
            (Some(fetch), _) => fetch.forget_offer(from),
            (None, _) => {}
        }
        if let Some(channel) = self.channels.get_mut(&from) {
            channel.busy_until = now + BUSY_FOR;
        }
    }

    /// The store did what it was told to.
    pub fn answered(&mut self, now: Duration, answer: StoreAnswer) {
        match answer {
            StoreAnswer::Has { to, offer } => self
                .outputs
                .push_back(TransferOutput::Send(to, offer.into())),
            StoreAnswer::Prepared { manifest, result } => {
                let Some(fetch) = self.fetches.get_mut(&manifest) else {
                    return;
                };
                fetch.prepared();
                match result {
                    Ok(Missing::Manifest) => fetch.lacks_manifest(),
                    Ok(Missing::Pieces(lacking)) => fetch.lacks(now, &lacking),
                    Err(words) => self.fail(manifest, words),
                }
            }
            StoreAnswer::ManifestKept { manifest, kept } => {
                let Some(fetch) = self.fetches.get_mut(&manifest) else {
                    return;
                };
                fetch.manifest_checked(now, kept == Kept::Kept);
                match kept {
                    Kept::Kept => self.prepare(manifest),
                    Kept::Corrupt => {}
                    Kept::Failed(words) => self.fail(manifest, words),
                }
            }
            StoreAnswer::Kept {
                manifest,
                content,
                piece,
                kept,
            } => {
                let Some(fetch) = self.fetches.get_mut(&manifest) else {
                    return;
                };
                match kept {
                    Kept::Kept => fetch.piece_checked(now, content, piece, true),
                    Kept::Corrupt => fetch.piece_checked(now, content, piece, false),
                    Kept::Failed(words) => self.fail(manifest, words),
                }
            }
            StoreAnswer::Read { to, id, result } => self.read(to, id, result),
        }
    }

    fn read(&mut self, to: PeerId, id: u64, result: Result<Vec<u8>, ShardRefusedCode>) {
        let Some(channel) = self.channels.get_mut(&to) else {
            return;
        };
        channel.reading = channel.reading.saturating_sub(1);
        match result {
            Ok(bytes) => {
                let header = ShardHeader {
                    id,
                    bytes: bytes.len() as u64,
                };
                self.give(to, header, &bytes);
            }
            Err(code) => self.give(to, ShardRefused { id, code }, &[]),
        }
    }

    /// Asks peers for what is missing: of each so many pieces may be under way as `window` says.
    /// Whether anything came of it, or a fetch has ended.
    pub fn ask(&mut self, now: Duration, window: impl Fn(PeerId) -> usize) -> bool {
        if self.fetches.is_empty() {
            return false;
        }
        let mut any = false;
        let peers: Vec<_> = self.channels.keys().copied().collect();
        for peer in peers {
            let most = window(peer);
            while let Some(request) = self.next_request(now, peer, most) {
                any = true;
                self.give(peer, request, &[]);
            }
        }
        let done = self.fetches.iter().filter(|(_, fetch)| fetch.is_done());
        let done: Vec<_> = done.map(|(&manifest, _)| manifest).collect();
        for manifest in done {
            any = true;
            self.end(manifest, TransferOutput::Fetched(manifest));
        }
        let failed = self.fetches.iter_mut();
        let failed = failed.filter_map(|(&manifest, fetch)| Some((manifest, fetch.failure(now)?)));
        for (manifest, words) in failed.collect::<Vec<_>>() {
            any = true;
            self.fail(manifest, words);
        }
        any
    }

    fn next_request(&mut self, now: Duration, peer: PeerId, most: usize) -> Option<ShardRequest> {
        let channel = self.channels.get_mut(&peer)?;
        let left_alone = channel.stalled || now < channel.busy_until;
        if left_alone || channel.under_way() >= most {
            return None;
        }
        let mut fetches = self.fetches.iter_mut();
        let (asked, range) = fetches.find_map(|(_, fetch)| fetch.next(now, peer))?;
        self.last_id += 1;
        let id = self.last_id;
        channel.ask(now, id, asked);
        Some(ShardRequest {
            id,
            content: asked.content(),
            range,
        })
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn poll_timeout(&self) -> Option<Duration> {
        (!self.fetches.is_empty()).then_some(self.tick_at)
    }

    /// Looks after those who do not keep to times.
    pub fn handle_timeout(&mut self, now: Duration) {
        if self.poll_timeout().is_none_or(|due| now < due) {
            return;
        }
        self.tick_at = now + TICK;
        for (&peer, channel) in &mut self.channels {
            let late = |since: Duration| now >= since + STALLED_AFTER;
            if !channel.stalled && channel.silent_since.is_some_and(late) {
                channel.stalled = true;
                let fetches = self.fetches.values_mut();
                fetches.for_each(|fetch| fetch.release(peer));
            }
        }
        let due = self.fetches.iter().filter(|(_, fetch)| fetch.ask_at <= now);
        let due: Vec<_> = due.map(|(&manifest, _)| manifest).collect();
        for manifest in due {
            self.ask_all(now, manifest);
        }
        let progress = self.fetches.values_mut().filter_map(Fetch::progress);
        self.outputs.extend(progress.map(TransferOutput::Progress));
    }

    /// Asks all peers what they have of a model.
    fn ask_all(&mut self, now: Duration, manifest: ContentHash) {
        if let Some(fetch) = self.fetches.get_mut(&manifest) {
            fetch.ask_all(now, self.greeted.iter().copied());
            for &peer in &self.greeted {
                let query = ModelQuery { manifest };
                self.outputs
                    .push_back(TransferOutput::Send(peer, query.into()));
            }
        }
    }

    fn prepare(&mut self, manifest: ContentHash) {
        if let Some(fetch) = self.fetches.get_mut(&manifest) {
            fetch.prepare();
            let layers = fetch.layers();
            self.order(StoreOrder::Prepare { manifest, layers });
        }
    }

    fn fail(&mut self, manifest: ContentHash, words: String) {
        self.end(manifest, TransferOutput::Failed(manifest, words));
    }

    fn end(&mut self, manifest: ContentHash, output: TransferOutput) {
        if let Some(mut fetch) = self.fetches.remove(&manifest) {
            let progress = fetch.progress().map(TransferOutput::Progress);
            self.outputs.extend(progress);
            self.outputs.push_back(output);
            self.order(StoreOrder::End { manifest });
        }
    }

    fn order(&mut self, order: StoreOrder) {
        self.outputs.push_back(TransferOutput::Store(order));
    }
}
