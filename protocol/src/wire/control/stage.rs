//! Stages: opened, refused, closed, handed over.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{ContentHash, proto};
use crate::wire::check::{
    Checked, Malformed, Problem, arithmetic, duration, layers, memory_bytes, nanoseconds_of, peer,
    positions, within, words,
};
use crate::wire::frame::{Dtype, HiddenShape};
use crate::wire::limits::{MAX_BYTES, MAX_POSITIONS};
use crate::{Arithmetic, LayerRange, PeerId, PlanEpoch, SessionId};

/// From the requester: compute these layers for this session.
///
/// Repeating it changes nothing. A higher epoch moves a stage that the receiver has to new
/// neighbours and keeps the KV caches of layers that it had; a lower one is dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenStage {
    /// The requester's session.
    pub session: SessionId,
    /// The placement that the stage is of.
    pub epoch: PlanEpoch,
    /// The model.
    pub manifest: ContentHash,
    /// At least one.
    pub layers: LayerRange,
    /// Who sends rows to the stage.
    pub predecessor: PeerId,
    /// To whom the stage sends them.
    pub successor: PeerId,
    /// Positions to reserve KV caches for, at least 1.
    pub context: u32,
    /// What the frames of this session may carry.
    pub shape: HiddenShape,
    /// Weights and KV caches as the requester counts them; the receiver counts itself.
    pub memory_bytes: u64,
    /// Whether to reserve and load, but expect no rows until told again without this.
    pub standby: bool,
    /// Whether the rows have gone through all layers here, so that the successor, the requester, gets
    /// what the frames' [`Answer`](crate::wire::Answer)s ask for. Without it all rows go on: the
    /// successor may be the requester's own stage.
    pub last: bool,
    /// How all of the answer is computed: who computes by another refuses.
    pub arithmetic: Arithmetic,
}

impl From<&OpenStage> for proto::OpenStage {
    fn from(open: &OpenStage) -> Self {
        Self {
            session: open.session.0,
            epoch: open.epoch.0,
            manifest: open.manifest.0.to_vec(),
            first_layer: open.layers.first(),
            end_layer: open.layers.end(),
            predecessor: open.predecessor.public_key().to_vec(),
            successor: open.successor.public_key().to_vec(),
            context: open.context,
            d_model: open.shape.d_model(),
            max_rows: open.shape.max_rows(),
            dtype: match open.shape.dtype() {
                Dtype::F32 => proto::Dtype::F32.into(),
            },
            memory_bytes: open.memory_bytes,
            standby: open.standby,
            last: open.last,
            arithmetic: open.arithmetic.name().to_owned(),
        }
    }
}

impl TryFrom<proto::OpenStage> for OpenStage {
    type Error = Malformed;

    fn try_from(open: proto::OpenStage) -> Checked<Self> {
        const LAYERS: &str = "OpenStage.end_layer";
        let layers = layers(LAYERS, open.first_layer, open.end_layer)?;
        if layers.is_empty() {
            return Err(Problem::Order.of(LAYERS));
        }
        let dtype = dtype(open.dtype)?;
        let shape = HiddenShape::new(open.d_model, dtype, open.max_rows);
        Ok(Self {
            session: SessionId(open.session),
            epoch: PlanEpoch(open.epoch),
            manifest: ContentHash::read("OpenStage.manifest", &open.manifest)?,
            layers,
            predecessor: peer("OpenStage.predecessor", &open.predecessor)?,
            successor: peer("OpenStage.successor", &open.successor)?,
            context: within("OpenStage.context", open.context, 1..=MAX_POSITIONS)?,
            shape: shape.map_err(|problem| problem.of("OpenStage.max_rows or d_model"))?,
            memory_bytes: memory_bytes("OpenStage.memory_bytes", open.memory_bytes)?,
            standby: open.standby,
            last: open.last,
            arithmetic: arithmetic("OpenStage.arithmetic", open.arithmetic)?,
        })
    }
}

fn dtype(number: i32) -> Checked<Dtype> {
    const DTYPE: &str = "OpenStage.dtype";
    match proto::Dtype::try_from(number) {
        Ok(proto::Dtype::F32) => Ok(Dtype::F32),
        Ok(proto::Dtype::Unspecified) => Err(Problem::Missing.of(DTYPE)),
        Err(_) => Err(Problem::Unnamed(number).of(DTYPE)),
    }
}

/// The weights are mapped and the memory is reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StageOpened {
    /// The requester's session.
    pub session: SessionId,
    /// The epoch now in force.
    pub epoch: PlanEpoch,
    /// The KV caches hold the positions before this.
    pub held_positions: u32,
}

impl From<&StageOpened> for proto::StageOpened {
    fn from(opened: &StageOpened) -> Self {
        Self {
            session: opened.session.0,
            epoch: opened.epoch.0,
            held_positions: opened.held_positions,
        }
    }
}

impl TryFrom<proto::StageOpened> for StageOpened {
    type Error = Malformed;

    fn try_from(opened: proto::StageOpened) -> Checked<Self> {
        let held = opened.held_positions;
        Ok(Self {
            session: SessionId(opened.session),
            epoch: PlanEpoch(opened.epoch),
            held_positions: positions("StageOpened.held_positions", held)?,
        })
    }
}

/// The stage cannot be, or cannot be any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageRefused {
    /// The requester's session.
    pub session: SessionId,
    /// The epoch that was asked for.
    pub epoch: PlanEpoch,
    /// Why, for programs.
    pub code: StageRefusedCode,
    /// Why, for people: can be shown as it is.
    pub words: String,
    /// What a stage could have here now.
    pub available_bytes: u64,
}

/// Why a stage cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StageRefusedCode {
    /// Not enough memory.
    Memory,
    /// The weights are not here, and nobody gives them.
    NoWeights,
    /// The owner's limits, or heat.
    Unwilling,
    /// Too many sessions.
    TooManySessions,
    /// Not computable here: a format, family, dtype or arithmetic.
    Unsupported,
    /// An epoch below the one in force.
    OldEpoch,
    /// The rows that its predecessor sent it are not numbers. The stage stays.
    NotNumbers,
    /// A reason that a newer minor version added.
    Other(i32),
}

open_code!(StageRefusedCode, proto::StageRefusedCode, "StageRefused.code", {
    Memory, NoWeights, Unwilling, TooManySessions, Unsupported, OldEpoch, NotNumbers,
});

impl From<&StageRefused> for proto::StageRefused {
    fn from(refused: &StageRefused) -> Self {
        Self {
            session: refused.session.0,
            epoch: refused.epoch.0,
            code: refused.code.number(),
            words: refused.words.clone(),
            available_bytes: refused.available_bytes,
        }
    }
}

impl TryFrom<proto::StageRefused> for StageRefused {
    type Error = Malformed;

    fn try_from(refused: proto::StageRefused) -> Checked<Self> {
        const AVAILABLE: &str = "StageRefused.available_bytes";
        Ok(Self {
            session: SessionId(refused.session),
            epoch: PlanEpoch(refused.epoch),
            code: StageRefusedCode::from_number(refused.code)?,
            words: words("StageRefused.words", refused.words)?,
            available_bytes: memory_bytes(AVAILABLE, refused.available_bytes)?,
        })
    }
}

/// A stage is being made ready and waits for weights, which come from other nodes: how far that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StageFetching {
    /// The requester's session.
    pub session: SessionId,
    /// The epoch that was asked for.
    pub epoch: PlanEpoch,
    /// Bytes that have come, at most `total_bytes`.
    pub received_bytes: u64,
    /// Those, and the bytes that are still missing: at least 1.
    pub total_bytes: u64,
}

impl From<&StageFetching> for proto::StageFetching {
    fn from(fetching: &StageFetching) -> Self {
        Self {
            session: fetching.session.0,
            epoch: fetching.epoch.0,
            received_bytes: fetching.received_bytes,
            total_bytes: fetching.total_bytes,
        }
    }
}

impl TryFrom<proto::StageFetching> for StageFetching {
    type Error = Malformed;

    fn try_from(fetching: proto::StageFetching) -> Checked<Self> {
        const RECEIVED: &str = "StageFetching.received_bytes";
        let total_bytes = fetching.total_bytes;
        let total_bytes = within("StageFetching.total_bytes", total_bytes, 1..=MAX_BYTES)?;
        Ok(Self {
            session: SessionId(fetching.session),
            epoch: PlanEpoch(fetching.epoch),
            received_bytes: within(RECEIVED, fetching.received_bytes, 0..=total_bytes)?,
            total_bytes,
        })
    }
}

/// From the requester: free the stages of this session that are of this epoch or older.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CloseStage {
    /// The requester's session.
    pub session: SessionId,
    /// The newest epoch to free.
    pub epoch: PlanEpoch,
}

impl From<&CloseStage> for proto::CloseStage {
    fn from(close: &CloseStage) -> Self {
        Self {
            session: close.session.0,
            epoch: close.epoch.0,
        }
    }
}

impl TryFrom<proto::CloseStage> for CloseStage {
    type Error = Malformed;

    fn try_from(close: proto::CloseStage) -> Checked<Self> {
        Ok(Self {
            session: SessionId(close.session),
            epoch: PlanEpoch(close.epoch),
        })
    }
}

/// From a stage: place these layers elsewhere, it computes on until closed or the time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HandOver {
    /// The requester's session.
    pub session: SessionId,
    /// The stage's epoch.
    pub epoch: PlanEpoch,
    /// Why it leaves.
    pub reason: HandOverReason,
    /// How long it computes on.
    pub within: Duration,
}

/// Why a stage leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HandOverReason {
    /// Told to stop.
    Stopping,
    /// Its battery.
    Battery,
    /// Its heat.
    Heat,
    /// Its own user needs the device.
    Owner,
    /// A reason that a newer minor version added.
    Other(i32),
}

open_code!(HandOverReason, proto::HandOverCode, "HandOver.code", {
    Stopping, Battery, Heat, Owner,
});

impl From<&HandOver> for proto::HandOver {
    fn from(hand_over: &HandOver) -> Self {
        Self {
            session: hand_over.session.0,
            epoch: hand_over.epoch.0,
            code: hand_over.reason.number(),
            within_ns: nanoseconds_of(hand_over.within),
        }
    }
}

impl TryFrom<proto::HandOver> for HandOver {
    type Error = Malformed;

    fn try_from(hand_over: proto::HandOver) -> Checked<Self> {
        Ok(Self {
            session: SessionId(hand_over.session),
            epoch: PlanEpoch(hand_over.epoch),
            reason: HandOverReason::from_number(hand_over.code)?,
            within: duration("HandOver.within_ns", hand_over.within_ns)?,
        })
    }
}
