//! Any sequence of what peers, the store and time may do.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;

use super::bench::{Bench, LAYERS, MODEL, PIECES, lacking, layers, peer};
use crate::transfer::{Kept, Lacking, Missing, StoreAnswer, StoreOrder};
use crate::wire::{ContentHash, ShardRefusedCode};

#[derive(Debug, Clone)]
enum Act {
    Connect(u8),
    Gone(u8),
    Offer(u8, u32, u32),
    Want(u32, u32),
    Cancel,
    Answer(u8),
    Refuse(u8, u8),
    Check(u8),
    Pass(u64),
}

fn any_act() -> impl Strategy<Value = Act> {
    let peer = || 0..3_u8;
    let range = || (0..LAYERS, 1..=LAYERS);
    prop_oneof![
        1 => peer().prop_map(Act::Connect),
        1 => peer().prop_map(Act::Gone),
        4 => (peer(), range()).prop_map(|(p, (a, b))| Act::Offer(p, a, b)),
        3 => range().prop_map(|(a, b)| Act::Want(a, b)),
        1 => Just(Act::Cancel),
        12 => peer().prop_map(Act::Answer),
        2 => (peer(), 0..3_u8).prop_map(|(p, code)| Act::Refuse(p, code)),
        12 => (0..12_u8).prop_map(Act::Check),
        3 => (0..2_500_u64).prop_map(Act::Pass),
    ]
}

/// Plays the store, of which each piece is kept once.
fn obey(bench: &mut Bench, kept: &mut BTreeSet<(ContentHash, u32)>, wrong: bool) {
    if bench.orders.is_empty() {
        return;
    }
    let outcome = if wrong { Kept::Corrupt } else { Kept::Kept };
    match bench.orders.remove(0) {
        StoreOrder::Prepare { manifest, layers } => {
            let all = layers.into_iter().flat_map(|range| lacking(range, kept));
            let mut all: Vec<Lacking> = all.collect();
            all.sort_by_key(|lacking| lacking.part);
            all.dedup_by_key(|lacking| lacking.part);
            let missing = if wrong {
                Missing::Manifest
            } else {
                Missing::Pieces(all)
            };
            let result = Ok(missing);
            bench.store(StoreAnswer::Prepared { manifest, result });
        }
        StoreOrder::KeepManifest { manifest, .. } => bench.store(StoreAnswer::ManifestKept {
            manifest,
            kept: outcome,
        }),
        StoreOrder::Keep {
            manifest,
            content,
            piece,
            ..
        } => {
            if !wrong {
                kept.insert((content, piece));
            }
            bench.store(StoreAnswer::Kept {
                manifest,
                content,
                piece,
                kept: outcome,
            });
        }
        StoreOrder::Tell { .. } | StoreOrder::Read { .. } | StoreOrder::End { .. } => {}
    }
}

fn play(bench: &mut Bench, kept: &mut BTreeSet<(ContentHash, u32)>, act: Act) {
    let asked = |bench: &Bench, byte| !bench.asked_of(byte).is_empty();
    match act {
        Act::Connect(byte) => {
            bench.gone(byte);
            bench.connect(byte);
        }
        Act::Gone(byte) => bench.gone(byte),
        Act::Offer(byte, a, b) if bench.transfers.is_connected(peer(byte)) => {
            bench.offers(byte, vec![layers(a.min(b - 1), b)]);
        }
        Act::Want(a, b) => {
            let _ = bench
                .transfers
                .want(bench.now, MODEL, layers(a.min(b - 1), b));
        }
        Act::Cancel => bench.transfers.cancel(MODEL),
        Act::Answer(byte) if asked(bench, byte) => bench.answer(byte),
        Act::Refuse(byte, code) if asked(bench, byte) => {
            let codes = [
                ShardRefusedCode::Busy,
                ShardRefusedCode::NotHere,
                ShardRefusedCode::Range,
            ];
            bench.refuse(byte, codes[usize::from(code)]);
        }
        Act::Check(how) => obey(bench, kept, how == 0),
        Act::Pass(ms) => bench.pass(Duration::from_millis(ms)),
        Act::Offer(..) | Act::Answer(_) | Act::Refuse(..) => {}
    }
    bench.drain(2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn whatever_happens_a_fetch_ends(acts in prop::collection::vec(any_act(), 1..120)) {
        let mut bench = Bench::new(3);
        let mut kept = BTreeSet::new();
        for act in acts {
            play(&mut bench, &mut kept, act);
            for byte in 0..3 {
                prop_assert!(bench.asked_of(byte).len() <= 2, "a window is kept");
            }
        }
        // A peer that has all and is right ends it well.
        bench.transfers.cancel(MODEL);
        bench.drain(2);
        while !bench.orders.is_empty() {
            obey(&mut bench, &mut kept, false);
        }
        bench.ended.clear();
        bench.pass(Duration::from_secs(5));
        for byte in 0..3 {
            bench.gone(byte);
        }
        bench.connect(9);
        let began = bench.transfers.want(bench.now, MODEL, layers(0, LAYERS));
        prop_assert!(began.is_ok());
        bench.offers(9, vec![layers(0, LAYERS)]);
        for _ in 0..100 {
            while !bench.orders.is_empty() {
                obey(&mut bench, &mut kept, false);
            }
            if !bench.asked_of(9).is_empty() {
                bench.answer(9);
            }
        }
        prop_assert_eq!(&bench.ended, &[Ok(MODEL)]);
        let pieces = LAYERS * PIECES + 1;
        prop_assert_eq!(kept.len(), pieces as usize);
    }
}
