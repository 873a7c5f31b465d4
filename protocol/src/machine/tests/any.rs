//! Any message and frame, of few sessions, so that they meet.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::device::{circle, identity};
use super::solo::hello;
use crate::profile::tests::profile;
use crate::transfer::{Lacking, Part};
use crate::wire::{
    Answer, ByteRange, CircleDigest, CircleEntries, CloseStage, ContentHash, Control, Dtype, Frame,
    FrameHeader, HandOver, HandOverReason, HiddenShape, KeepAlive, Kind, ModelOffer, ModelQuery,
    OpenStage, Ping, Pong, ProfileUpdate, SessionQuery, SessionState, ShardHeader, ShardRefused,
    ShardRefusedCode, ShardRequest, StageFetching, StageOpened, StageRefused, StageRefusedCode,
};
use crate::{Arithmetic, Branch, LayerRange, PeerId, PlanEpoch, SessionId};

pub(super) fn peer(node: usize) -> PeerId {
    identity(node).peer_id()
}

fn shape() -> HiddenShape {
    HiddenShape::new(2, Dtype::F32, 64).expect("small")
}

pub(super) fn any_frame() -> impl Strategy<Value = Frame> {
    let answers = [Answer::AllRows, Answer::LastRow, Answer::Done];
    let answers = prop::sample::select(answers.to_vec());
    let ids = (0..3_u64, 1..4_u32, 0..2_u32);
    let rows = (0..12_u32, 1..6_u32, prop::bool::ANY);
    (ids, rows, answers).prop_map(|((session, epoch, branch), (start, rows, done), answer)| {
        let dtype = Dtype::F32;
        let header = FrameHeader {
            kind: if done {
                Kind::Done
            } else {
                Kind::Hidden { dtype, answer }
            },
            session: SessionId(session),
            epoch: PlanEpoch(epoch),
            branch: Branch(branch),
            start_position: start,
            rows,
            payload_bytes: 0,
        };
        let bytes = if done { 0 } else { 8 * rows as usize };
        Frame::new(header, vec![0; bytes]).expect("valid")
    })
}

pub(super) fn any_message() -> impl Strategy<Value = Control> {
    let ids = (0..3_u64, 1..4_u32).prop_map(|(id, epoch)| (SessionId(id), PlanEpoch(epoch)));
    let codes = [
        StageRefusedCode::Memory,
        StageRefusedCode::Unwilling,
        StageRefusedCode::TooManySessions,
    ];
    let codes = prop::sample::select(codes.to_vec());
    let numbers = (0..40_u64, 0..400_u64);
    (0..18_u8, ids, numbers, codes).prop_map(|(what, (session, epoch), (small, large), code)| {
        let position = small as u32;
        match what {
            0..4 => open(session, epoch, position, large.is_multiple_of(5)).into(),
            4 => CloseStage { session, epoch }.into(),
            5 => SessionQuery { session }.into(),
            6 | 7 => StageOpened {
                session,
                epoch,
                held_positions: position,
            }
            .into(),
            8 => StageRefused {
                session,
                epoch,
                code,
                words: "no".to_owned(),
                available_bytes: large,
            }
            .into(),
            9 => HandOver {
                session,
                epoch,
                reason: HandOverReason::Heat,
                within: Duration::from_millis(large),
            }
            .into(),
            10 => KeepAlive {
                session,
                epoch,
                next_position: position,
                shared: large.is_multiple_of(2),
            }
            .into(),
            11 if position.is_multiple_of(2) => StageFetching {
                session,
                epoch,
                received_bytes: small,
                total_bytes: small + large + 1,
            }
            .into(),
            11 => state(session, epoch, position).into(),
            12..15 => told(small, large).into(),
            15 => ModelQuery {
                manifest: ContentHash([7; 32]),
            }
            .into(),
            16 => offer(ContentHash([7; 32]), large as u8).into(),
            _ => asked(small, large),
        }
    })
}

fn open(session: SessionId, epoch: PlanEpoch, to: u32, standby: bool) -> OpenStage {
    let last = to.is_multiple_of(2);
    OpenStage {
        session,
        epoch,
        manifest: ContentHash([7; 32]),
        layers: LayerRange::new(0, 1 + to % 3).expect("forwards"),
        predecessor: peer(1 + to as usize % 4),
        successor: peer(1 + to as usize / 4 % 4),
        context: 12,
        shape: shape(),
        memory_bytes: 1,
        standby,
        last,
        arithmetic: Arithmetic::CANONICAL_1,
    }
}

fn state(session: SessionId, epoch: PlanEpoch, held_positions: u32) -> SessionState {
    SessionState {
        session,
        epoch,
        layers: LayerRange::new(0, held_positions % 3).expect("forwards"),
        held_positions,
        logged: 0..0,
    }
}

fn told(revision: u64, budget: u64) -> ProfileUpdate {
    ProfileUpdate {
        revision,
        sent_at_us: 5,
        profile: profile(budget << 20, 1 + budget * 1_000_000),
        links: BTreeMap::new(),
    }
}

fn asked(small: u64, large: u64) -> Control {
    match small % 5 {
        0 => Ping {
            id: small,
            sent_at_us: large,
            padding_bytes: 10,
        }
        .into(),
        1 => Pong {
            id: small,
            ping_sent_at_us: large,
            received_at_us: 7,
            sent_at_us: 9,
        }
        .into(),
        2 => CircleDigest {
            digest: circle(1 + small as usize % 5).digest().to_bytes(),
        }
        .into(),
        3 => {
            let mut other = circle(5);
            let author = 1 + small as usize / 5 % 4;
            other
                .revoke(&identity(author), peer(large as usize % 5))
                .expect("a member");
            let entries = other.batches_for(&circle(1).digest()).remove(0);
            CircleEntries { entries }.into()
        }
        _ => hello().into(),
    }
}

/// Nothing, or some layers.
pub(super) fn offer(manifest: ContentHash, how: u8) -> ModelOffer {
    let some = !how.is_multiple_of(3);
    let layers = LayerRange::new(0, u32::from(how % 5) + 1);
    ModelOffer {
        manifest,
        layers: layers.into_iter().filter(|_| some).collect(),
        ends: some && how.is_multiple_of(2),
        manifest_bytes: u64::from(some) * u64::from(how),
    }
}

/// Some pieces of common and of the first layer.
pub(super) fn lacking(pieces: u32) -> Vec<Lacking> {
    let object = |part, name| Lacking {
        content: ContentHash([name; 32]),
        part,
        bytes: u64::from(pieces) * 100_000,
        missing: (0..pieces).collect(),
    };
    vec![object(Part::Common, 1), object(Part::Layer(0), 2)]
}

/// A message of the stream for weights. The machine's own requests count up from one.
pub(super) fn any_transfer() -> impl Strategy<Value = Control> {
    (1..6_u64, 0..4_u8, 1..300_u64).prop_map(|(id, what, bytes)| match what {
        0 => ShardHeader { id, bytes }.into(),
        1 => ShardRefused {
            id,
            code: ShardRefusedCode::Busy,
        }
        .into(),
        2 => ShardRefused {
            id,
            code: ShardRefusedCode::NotHere,
        }
        .into(),
        _ => ShardRequest {
            id,
            content: ContentHash([7; 32]),
            range: ByteRange::new(bytes, 2 * bytes).expect("some"),
        }
        .into(),
    })
}
