//! Any message, for property tests.

use std::ops::Range;
use std::time::Duration;

use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;

use crate::pairing::Address;
use crate::profile::{Energy, Measured, OwnerLimits, Power, Profile, Quantisation, Rate, Thermal};
use crate::wire::limits::*;
use crate::wire::*;
use crate::{Arithmetic, LayerRange, Link, PeerId, PlanEpoch, SessionId};

/// Any control message within its limits.
pub(super) fn any_control() -> impl Strategy<Value = Control> {
    prop_oneof![
        any_hello().prop_map(Control::from),
        any_refuse().prop_map(Control::from),
        any_measuring(),
        any_profile_update().prop_map(Control::from),
        any_circle(),
        any_addresses(),
        any_open_stage().prop_map(Control::from),
        any_stage_answer(),
        any_session(),
        any_transfer(),
    ]
}

fn any_hello() -> impl Strategy<Value = Hello> {
    let fields = (any::<u32>(), text(MAX_SOFTWARE_BYTES), any::<u64>());
    fields.prop_map(|(minor, software, run)| Hello {
        minor,
        software,
        run,
    })
}

fn any_refuse() -> impl Strategy<Value = Refuse> {
    let code = prop_oneof![
        Just(RefuseCode::Version),
        Just(RefuseCode::Malformed),
        Just(RefuseCode::NotAMember),
        Just(RefuseCode::TooMany),
        newer_code().prop_map(RefuseCode::Other),
    ];
    (code, text(MAX_WORDS_BYTES)).prop_map(|(code, words)| Refuse { code, words })
}

fn any_measuring() -> impl Strategy<Value = Control> {
    let ping = (any::<[u64; 2]>(), 0..=MAX_OPAQUE_BYTES);
    let ping = ping.prop_map(|([id, sent_at_us], padding_bytes)| Ping {
        id,
        sent_at_us,
        padding_bytes,
    });
    let pong = any::<[u64; 4]>().prop_map(|[id, ping_sent_at_us, one, other]| Pong {
        id,
        ping_sent_at_us,
        received_at_us: one.min(other),
        sent_at_us: one.max(other),
    });
    let alive = (stage(), positions(), any::<bool>());
    let alive = alive.prop_map(|((session, epoch), next_position, shared)| KeepAlive {
        session,
        epoch,
        next_position,
        shared,
    });
    prop_oneof![
        ping.prop_map(Control::from),
        pong.prop_map(Control::from),
        alive.prop_map(Control::from),
    ]
}

fn any_profile_update() -> impl Strategy<Value = ProfileUpdate> {
    let rates = btree_map(any::<u32>(), rate(), 0..=MAX_QUANTISATIONS);
    let link = (measured(duration()), rate(), measured(duration()));
    let link = link.prop_map(|(round_trip, bandwidth, overhead)| Link {
        round_trip,
        bandwidth,
        overhead,
    });
    let links = btree_map(peer(), link, 0..=MAX_LINKS);
    let sent = LAST_MEASURED_US..=u64::MAX;
    (any::<u64>(), sent, any_profile(), rates, links).prop_map(
        |(revision, sent_at_us, mut profile, rates, links)| {
            let rates = rates.into_iter();
            profile.decode = rates.map(|(q, rate)| (Quantisation(q), rate)).collect();
            ProfileUpdate {
                revision,
                sent_at_us,
                profile,
                links,
            }
        },
    )
}

fn any_profile() -> impl Strategy<Value = Profile> {
    let energy = any::<[u64; 4]>().prop_map(|[read, add, sent, received]| Energy {
        picojoules_per_byte_read: read,
        picojoules_per_multiply_add: add,
        picojoules_per_byte_sent: sent,
        picojoules_per_byte_received: received,
    });
    let battery = (0..=100_u8, any::<bool>());
    let battery = battery.prop_map(|(percent, charging)| Power::Battery { percent, charging });
    let power = prop_oneof![Just(Power::Mains), Just(Power::Unknown), battery];
    let thermal = prop_oneof![
        Just(Thermal::Nominal),
        Just(Thermal::Fair),
        Just(Thermal::Serious),
        Just(Thermal::Critical),
    ];
    let limits = (any::<bool>(), 0..=100_u8, any::<bool>(), arithmetic());
    let amounts = (
        measured(0..=MAX_BYTES),
        rate(),
        option::of(rate()),
        measured(duration()),
        option::of(measured(energy)),
    );
    (amounts, measured(power), measured(thermal), limits).prop_map(
        |((budget, kv_read, prefill, stage_overhead, energy), power, thermal, limits)| Profile {
            memory_budget_bytes: budget,
            decode: [].into(),
            kv_read,
            prefill,
            stage_overhead,
            energy,
            power,
            thermal,
            limits: OwnerLimits {
                only_when_charging: limits.0,
                min_battery_percent: limits.1,
            },
            leaving: limits.2,
            arithmetic: limits.3,
            outdated: false,
        },
    )
}

fn arithmetic() -> impl Strategy<Value = Arithmetic> {
    "[a-z0-9-]{1,64}".prop_map(|name| Arithmetic::new(name).expect("a name"))
}

fn any_addresses() -> impl Strategy<Value = Control> {
    let address = "/[!-~]{1,127}".prop_map(|text| Address::new(&text).expect("an address"));
    (peer(), vec(address, 0..=MAX_ADDRESSES))
        .prop_map(|(peer, addresses)| PeerAddresses { peer, addresses }.into())
}

fn any_circle() -> impl Strategy<Value = Control> {
    let bytes = vec(any::<u8>(), 1..1_000);
    (any::<bool>(), bytes).prop_map(|(is_digest, bytes)| {
        if is_digest {
            CircleDigest { digest: bytes }.into()
        } else {
            CircleEntries { entries: bytes }.into()
        }
    })
}

fn any_open_stage() -> impl Strategy<Value = OpenStage> {
    let shape = (1..=MAX_D_MODEL, 1..=MAX_ROWS).prop_map(|(d_model, rows)| {
        let most = MAX_PAYLOAD_BYTES / (4 * d_model);
        HiddenShape::new(d_model, Dtype::F32, rows.min(most)).expect("within limits")
    });
    let peers = (peer(), peer());
    let (standby, last) = (any::<bool>(), any::<bool>());
    let sizes = (
        1..=MAX_POSITIONS,
        shape,
        0..=MAX_BYTES,
        standby,
        last,
        arithmetic(),
    );
    let layers = layers().prop_filter("has layers", |layers| !layers.is_empty());
    (stage(), content(), layers, peers, sizes).prop_map(
        |((session, epoch), manifest, layers, (predecessor, successor), sizes)| OpenStage {
            session,
            epoch,
            manifest,
            layers,
            predecessor,
            successor,
            context: sizes.0,
            shape: sizes.1,
            memory_bytes: sizes.2,
            standby: sizes.3,
            last: sizes.4,
            arithmetic: sizes.5,
        },
    )
}

fn any_stage_answer() -> impl Strategy<Value = Control> {
    let opened = (stage(), positions());
    let opened = opened.prop_map(|((session, epoch), held_positions)| StageOpened {
        session,
        epoch,
        held_positions,
    });
    let code = prop_oneof![
        Just(StageRefusedCode::Memory),
        Just(StageRefusedCode::NoWeights),
        Just(StageRefusedCode::Unwilling),
        Just(StageRefusedCode::TooManySessions),
        Just(StageRefusedCode::Unsupported),
        Just(StageRefusedCode::OldEpoch),
        newer_code().prop_map(StageRefusedCode::Other),
    ];
    let refused = (stage(), code, text(MAX_WORDS_BYTES), 0..=MAX_BYTES);
    let refused = refused.prop_map(|((session, epoch), code, words, bytes)| StageRefused {
        session,
        epoch,
        code,
        words,
        available_bytes: bytes,
    });
    let fetching = (stage(), 1..=MAX_BYTES, 1..=MAX_BYTES);
    let fetching = fetching.prop_map(|((session, epoch), one, other)| StageFetching {
        session,
        epoch,
        received_bytes: one.min(other),
        total_bytes: one.max(other),
    });
    let close = stage().prop_map(|(session, epoch)| CloseStage { session, epoch });
    let reason = prop_oneof![
        Just(HandOverReason::Stopping),
        Just(HandOverReason::Battery),
        Just(HandOverReason::Heat),
        Just(HandOverReason::Owner),
        newer_code().prop_map(HandOverReason::Other),
    ];
    let leaving = (stage(), reason, duration());
    let leaving = leaving.prop_map(|((session, epoch), reason, within)| HandOver {
        session,
        epoch,
        reason,
        within,
    });
    prop_oneof![
        opened.prop_map(Control::from),
        refused.prop_map(Control::from),
        fetching.prop_map(Control::from),
        close.prop_map(Control::from),
        leaving.prop_map(Control::from),
    ]
}

fn any_session() -> impl Strategy<Value = Control> {
    let query = any::<u64>().prop_map(|session| SessionQuery {
        session: SessionId(session),
    });
    let state = (stage(), layers(), positions(), logged());
    let state = state.prop_map(|((session, epoch), layers, held, logged)| SessionState {
        session,
        epoch,
        layers,
        held_positions: held,
        logged,
    });
    prop_oneof![query.prop_map(Control::from), state.prop_map(Control::from)]
}

fn any_transfer() -> impl Strategy<Value = Control> {
    let query = content().prop_map(|manifest| ModelQuery { manifest });
    let held = apart(0..MAX_LAYERS + 1);
    let offer = (content(), held, any::<bool>(), 1..=MAX_MANIFEST_BYTES);
    let offer = offer.prop_map(|(manifest, held, ends, manifest_bytes)| ModelOffer {
        manifest,
        layers: held.map(|(a, b)| LayerRange::new(a, b).expect("ascending")),
        ends,
        manifest_bytes,
    });
    let nothing = content().prop_map(|manifest| ModelOffer {
        manifest,
        layers: Vec::new(),
        ends: false,
        manifest_bytes: 0,
    });
    let range = (0..MAX_BYTES - MAX_PIECE_BYTES, 1..=MAX_PIECE_BYTES);
    let request = (any::<u64>(), content(), range);
    let request = request.prop_map(|(id, content, (first, bytes))| ShardRequest {
        id,
        content,
        range: ByteRange::new(first, first + bytes).expect("ascending"),
    });
    let header = (any::<u64>(), 1..=MAX_PIECE_BYTES);
    let header = header.prop_map(|(id, bytes)| ShardHeader { id, bytes });
    let code = prop_oneof![
        Just(ShardRefusedCode::NotHere),
        Just(ShardRefusedCode::Busy),
        Just(ShardRefusedCode::Range),
        newer_code().prop_map(ShardRefusedCode::Other),
    ];
    let refused = (any::<u64>(), code).prop_map(|(id, code)| ShardRefused { id, code });
    prop_oneof![
        query.prop_map(Control::from),
        offer.prop_map(Control::from),
        nothing.prop_map(Control::from),
        request.prop_map(Control::from),
        header.prop_map(Control::from),
        refused.prop_map(Control::from),
    ]
}

/// What is measured here was measured by then.
const LAST_MEASURED_US: u64 = 1 << 40;

fn measured<T: std::fmt::Debug>(
    value: impl Strategy<Value = T>,
) -> impl Strategy<Value = Measured<T>> {
    (value, 0..=LAST_MEASURED_US).prop_map(|(value, at_us)| Measured { value, at_us })
}

fn rate() -> impl Strategy<Value = Measured<Rate>> {
    measured((1..=u64::MAX).prop_map(|units| Rate::per_second(units).expect("not none")))
}

fn duration() -> impl Strategy<Value = Duration> {
    let most = u64::try_from(MAX_DURATION.as_nanos()).expect("an hour");
    (0..=most).prop_map(Duration::from_nanos)
}

fn positions() -> impl Strategy<Value = u32> {
    0..=MAX_POSITIONS
}

fn logged() -> impl Strategy<Value = Range<u32>> {
    (positions(), positions()).prop_map(|(a, b)| a.min(b)..a.max(b))
}

fn layers() -> impl Strategy<Value = LayerRange> {
    let end = 0..=MAX_LAYERS;
    (end.clone(), end).prop_map(|(a, b)| LayerRange::new(a.min(b), a.max(b)).expect("ascending"))
}

fn stage() -> impl Strategy<Value = (SessionId, PlanEpoch)> {
    (any::<u64>(), any::<u32>()).prop_map(|(s, e)| (SessionId(s), PlanEpoch(e)))
}

fn content() -> impl Strategy<Value = ContentHash> {
    any::<[u8; 32]>().prop_map(ContentHash)
}

fn peer() -> impl Strategy<Value = PeerId> {
    any::<[u8; 32]>().prop_map(PeerId::from_public_key)
}

/// A code that this version has no name for.
fn newer_code() -> impl Strategy<Value = i32> {
    prop_oneof![1_000..=i32::MAX, i32::MIN..0]
}

/// At most so many bytes of text that can be shown.
fn text(most: usize) -> impl Strategy<Value = String> {
    "[a-zé語 ]{0,512}".prop_map(move |mut text| {
        text.truncate(text.floor_char_boundary(most));
        text
    })
}

/// Ranges that are apart, at most as many as a message may have.
fn apart<T>(within: Range<T>) -> impl Strategy<Value = Ranges<T>>
where
    T: Copy + Ord + std::fmt::Debug,
    Range<T>: Strategy<Value = T>,
{
    btree_set(within, 0..=2 * MAX_RANGES).prop_map(|ends| {
        let ends: Vec<_> = ends.into_iter().collect();
        Ranges(
            ends.as_chunks::<2>()
                .0
                .iter()
                .map(|&[a, b]| (a, b))
                .collect(),
        )
    })
}

/// `first..end` of each.
#[derive(Debug, Clone)]
struct Ranges<T>(Vec<(T, T)>);

impl<T: Copy> Ranges<T> {
    fn map<R>(&self, range: impl Fn((T, T)) -> R) -> Vec<R> {
        self.0.iter().copied().map(range).collect()
    }
}
