//! Transfers without machines: what goes out of them, and peers and a store that a test plays.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::transfer::{
    Kept, Lacking, Missing, Part, StoreAnswer, StoreOrder, TransferOutput, Transfers, piece_range,
};
use crate::wire::limits::MAX_PIECE_BYTES;
use crate::wire::{
    ContentHash, Control, ControlReader, Hello, MINOR, ModelOffer, Received, ShardHeader,
    ShardRefused, ShardRefusedCode, ShardRequest,
};
use crate::world::content;
use crate::{LayerRange, PeerId};

pub(super) const MODEL: ContentHash = ContentHash([7; 32]);
pub(super) const MANIFEST_BYTES: u64 = MAX_PIECE_BYTES + 10;
pub(super) const LAYERS: u32 = 3;
pub(super) const PIECES: u32 = 4;

pub(super) fn hello() -> Hello {
    Hello {
        minor: MINOR,
        software: "test".to_owned(),
        run: 0,
    }
}

pub(super) fn peer(byte: u8) -> PeerId {
    PeerId::from_public_key([byte; 32])
}

pub(super) fn layers(first: u32, end: u32) -> LayerRange {
    LayerRange::new(first, end).expect("forwards")
}

pub(super) fn object_bytes(part: Part) -> u64 {
    match part {
        Part::Common => 10,
        Part::Layer(_) => (u64::from(PIECES) - 1) * MAX_PIECE_BYTES + 1,
    }
}

/// All of these layers, but for what is kept.
pub(super) fn lacking(wanted: LayerRange, kept: &BTreeSet<(ContentHash, u32)>) -> Vec<Lacking> {
    let parts = (wanted.first()..wanted.end()).map(Part::Layer);
    let parts = [Part::Common].into_iter().chain(parts);
    let lacking = parts.map(|part| Lacking {
        content: content(part),
        part,
        bytes: object_bytes(part),
        missing: (0..PIECES)
            .filter(|piece| piece_range(object_bytes(part), *piece).is_some())
            .filter(|piece| !kept.contains(&(content(part), *piece)))
            .collect(),
    });
    lacking.collect()
}

pub(super) fn offer(layers: Vec<LayerRange>) -> ModelOffer {
    ModelOffer {
        manifest: MODEL,
        layers,
        ends: false,
        manifest_bytes: MANIFEST_BYTES,
    }
}

/// Transfers, and all that goes out of them.
pub(super) struct Bench {
    pub(super) now: Duration,
    pub(super) transfers: Transfers,
    readers: BTreeMap<PeerId, ControlReader>,
    /// Requests that were not answered.
    pub(super) asked: Vec<(PeerId, ShardRequest)>,
    pub(super) orders: Vec<StoreOrder>,
    pub(super) queries: usize,
    pub(super) ended: Vec<Result<ContentHash, String>>,
}

impl Bench {
    pub(super) fn new(peers: u8) -> Self {
        let mut bench = Self {
            now: Duration::from_secs(9),
            transfers: Transfers::new(hello()),
            readers: BTreeMap::new(),
            asked: Vec::new(),
            orders: Vec::new(),
            queries: 0,
            ended: Vec::new(),
        };
        (0..peers).for_each(|byte| bench.connect(byte));
        bench
    }

    /// The manifest is here, and these layers are wanted.
    pub(super) fn wanting(peers: u8, wanted: LayerRange) -> Self {
        let mut bench = Self::new(peers);
        let began = bench.transfers.want(bench.now, MODEL, wanted);
        began.expect("one at a time");
        bench.drain(2);
        bench.store(StoreAnswer::Prepared {
            manifest: MODEL,
            result: Ok(Missing::Pieces(lacking(wanted, &BTreeSet::new()))),
        });
        bench
    }

    pub(super) fn connect(&mut self, byte: u8) {
        self.readers.insert(peer(byte), ControlReader::new());
        self.transfers.connected(peer(byte));
        self.transfers.greeted(peer(byte));
        let mut bytes = Vec::new();
        Control::from(hello())
            .encode(&mut bytes)
            .expect("within limits");
        self.bytes(byte, &bytes);
    }

    pub(super) fn bytes(&mut self, from: u8, bytes: &[u8]) {
        let taken = self.transfers.handle_bytes(self.now, peer(from), bytes);
        taken.expect("a correct peer");
    }

    pub(super) fn gone(&mut self, byte: u8) {
        self.transfers.gone(peer(byte));
        self.asked.retain(|(of, _)| *of != peer(byte));
    }

    pub(super) fn offers(&mut self, from: u8, layers: Vec<LayerRange>) {
        self.transfers.offered(peer(from), offer(layers));
        self.drain(2);
    }

    pub(super) fn store(&mut self, answer: StoreAnswer) {
        self.transfers.answered(self.now, answer);
        self.drain(2);
    }

    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.transfers.poll_timeout().filter(|due| *due <= end) {
            self.now = due.max(self.now);
            self.transfers.handle_timeout(self.now);
            let due = self.transfers.poll_timeout();
            assert!(due.is_none_or(|due| due > self.now), "it wakes for nothing");
            self.drain(2);
        }
        self.now = end;
    }

    /// Asks with this window, and takes what goes out.
    pub(super) fn drain(&mut self, window: usize) {
        self.transfers.ask(self.now, |_| window);
        while let Some(output) = self.transfers.poll_output() {
            match output {
                TransferOutput::Send(_, message) => {
                    self.queries += usize::from(matches!(message, Control::ModelQuery(_)));
                }
                TransferOutput::SendBytes(to, bytes) => {
                    let mut bytes = bytes.as_slice();
                    let reader = self.readers.get_mut(&to).expect("it is connected");
                    while let Some(received) = reader.read(&mut bytes).expect("well formed") {
                        if let Received::Message(Control::ShardRequest(request)) = received {
                            self.asked.push((to, request));
                        }
                    }
                }
                TransferOutput::Store(order) => self.orders.push(order),
                TransferOutput::Fetched(manifest) => self.ended.push(Ok(manifest)),
                TransferOutput::Failed(_, words) => self.ended.push(Err(words)),
                TransferOutput::Progress(progress) => {
                    assert!(progress.kept_bytes <= progress.of_bytes);
                }
            }
        }
    }

    /// What this peer was asked for and has not answered.
    pub(super) fn asked_of(&self, byte: u8) -> Vec<(ContentHash, u64)> {
        let of = self.asked.iter().filter(|(of, _)| *of == peer(byte));
        of.map(|(_, request)| (request.content, request.range.first()))
            .collect()
    }

    /// The request that this peer answers next.
    pub(super) fn next_of(&mut self, byte: u8) -> ShardRequest {
        let place = self.asked.iter().position(|(of, _)| *of == peer(byte));
        self.asked.remove(place.expect("it was asked")).1
    }

    pub(super) fn answer(&mut self, from: u8) {
        let request = self.next_of(from);
        let header = ShardHeader {
            id: request.id,
            bytes: request.range.bytes(),
        };
        let mut bytes = Vec::new();
        Control::from(header)
            .encode(&mut bytes)
            .expect("within limits");
        bytes.resize(bytes.len() + request.range.bytes() as usize, 1);
        self.bytes(from, &bytes);
        self.drain(2);
    }

    pub(super) fn refuse(&mut self, from: u8, code: ShardRefusedCode) {
        let id = self.next_of(from).id;
        let mut bytes = Vec::new();
        let refused = Control::from(ShardRefused { id, code });
        refused.encode(&mut bytes).expect("within limits");
        self.bytes(from, &bytes);
        self.drain(2);
    }

    /// The store checks the piece that came first.
    pub(super) fn check(&mut self, kept: Kept) {
        let orders = std::mem::take(&mut self.orders).into_iter();
        let mut orders = orders.filter(|order| matches!(order, StoreOrder::Keep { .. }));
        let Some(StoreOrder::Keep { content, piece, .. }) = orders.next() else {
            panic!("nothing came");
        };
        self.orders = orders.collect();
        self.store(StoreAnswer::Kept {
            manifest: MODEL,
            content,
            piece,
            kept,
        });
    }
}
