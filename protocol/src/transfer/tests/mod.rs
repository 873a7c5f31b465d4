//! What is asked of whom, one by one, and any sequence of inputs.

mod bench;
mod sequences;

use std::time::Duration;

use bench::{Bench, MANIFEST_BYTES, MODEL, PIECES, lacking, layers, offer, peer};

use super::{
    ASK_EVERY, BUSY_FOR, HEDGE_AFTER, Kept, MOST_FETCHES, Missing, Part, STALLED_AFTER,
    STARVED_AFTER, STUCK_AFTER, StoreAnswer, StoreOrder,
};
use crate::wire::limits::MAX_PIECE_BYTES;
use crate::wire::{ContentHash, ModelOffer, ShardRefusedCode};
use crate::world::content;

#[test]
fn the_manifest_comes_of_one_peer_and_is_checked_whole() {
    let mut bench = Bench::new(2);
    bench
        .transfers
        .want(bench.now, MODEL, layers(0, 1))
        .expect("the first");
    bench.drain(2);
    assert!(matches!(&bench.orders[..], [StoreOrder::Prepare { .. }]));
    assert_eq!(bench.queries, 2);
    bench.store(StoreAnswer::Prepared {
        manifest: MODEL,
        result: Ok(Missing::Manifest),
    });
    bench.offers(1, vec![]);
    bench.offers(0, vec![layers(0, 3)]);
    assert_eq!(bench.asked_of(1), [(MODEL, 0), (MODEL, MAX_PIECE_BYTES)]);
    assert_eq!(bench.asked_of(0), []);
    bench.answer(1);
    bench.answer(1);
    for (from, kept) in [(1, Kept::Corrupt), (0, Kept::Kept)] {
        let order = bench.orders.pop();
        assert!(
            matches!(&order, Some(StoreOrder::KeepManifest { bytes, .. })
                if bytes.len() as u64 == MANIFEST_BYTES),
            "{order:?}"
        );
        bench.store(StoreAnswer::ManifestKept {
            manifest: MODEL,
            kept,
        });
        if from == 1 {
            // It was not right: the other is asked.
            assert_eq!(bench.asked_of(1), []);
            bench.answer(0);
            bench.answer(0);
        }
    }
    assert!(matches!(
        bench.orders.last(),
        Some(StoreOrder::Prepare { .. })
    ));
    bench.store(StoreAnswer::Prepared {
        manifest: MODEL,
        result: Ok(Missing::Pieces(vec![])),
    });
    assert_eq!(bench.ended, [Ok(MODEL)]);
    assert_eq!(
        bench.orders.pop(),
        Some(StoreOrder::End { manifest: MODEL })
    );
}

#[test]
fn a_peer_is_asked_first_for_what_the_fewest_have() {
    let mut bench = Bench::wanting(3, layers(0, 3));
    bench.offers(0, vec![layers(0, 3)]);
    // The only one so far: in their order.
    let common = (content(Part::Common), 0);
    assert_eq!(bench.asked_of(0), [common, (content(Part::Layer(0)), 0)]);
    bench.offers(2, vec![layers(0, 1)]);
    bench.offers(1, vec![layers(0, 1), layers(2, 3)]);
    assert_eq!(bench.asked_of(1)[0], (content(Part::Layer(2)), 0));
    assert_eq!(
        bench.asked_of(2)[0],
        (content(Part::Layer(0)), MAX_PIECE_BYTES)
    );
    // Nobody else has it.
    bench.answer(0);
    assert_eq!(bench.asked_of(0)[1], (content(Part::Layer(1)), 0));
}

#[test]
fn pieces_of_who_is_gone_silent_or_busy_are_asked_of_others() {
    let mut bench = Bench::wanting(2, layers(0, 1));
    bench.offers(0, vec![layers(0, 1)]);
    let first = bench.asked_of(0);
    bench.gone(0);
    bench.offers(1, vec![layers(0, 1)]);
    assert_eq!(bench.asked_of(1), first);

    let mut bench = Bench::wanting(2, layers(0, 1));
    bench.offers(0, vec![layers(0, 1)]);
    bench.pass(STALLED_AFTER + ASK_EVERY / 10);
    bench.offers(1, vec![layers(0, 1)]);
    assert_eq!(bench.asked_of(1), first);
    // It is asked again when it has sent something; what others have sent meanwhile is not kept twice.
    bench.answer(1);
    bench.check(Kept::Kept);
    bench.answer(0);
    assert!(
        bench
            .orders
            .iter()
            .all(|o| !matches!(o, StoreOrder::Keep { .. }))
    );
    assert_eq!(bench.asked_of(0).len(), 2);

    let mut bench = Bench::wanting(2, layers(0, 1));
    bench.offers(0, vec![layers(0, 1)]);
    bench.offers(1, vec![layers(0, 1)]);
    bench.refuse(0, ShardRefusedCode::Busy);
    bench.answer(1);
    assert_eq!(bench.asked_of(1).last(), Some(&first[0]));
    assert_eq!(bench.asked_of(0).len(), 1);
    bench.pass(BUSY_FOR);
    assert_eq!(bench.asked_of(0).len(), 2);
    // One that lacks what it offered is not asked again for this model.
    bench.refuse(0, ShardRefusedCode::NotHere);
    bench.refuse(0, ShardRefusedCode::NotHere);
    bench.pass(BUSY_FOR * 2);
    assert_eq!(bench.asked_of(0), []);
    bench.offers(0, vec![layers(0, 1)]);
    assert!(!bench.asked_of(0).is_empty());
}

#[test]
fn the_last_pieces_are_asked_of_two() {
    let mut bench = Bench::wanting(2, layers(0, 1));
    for from in [0, 1] {
        bench.offers(from, vec![layers(0, 1)]);
    }
    for _ in 0..3 {
        bench.answer(1);
        bench.check(Kept::Kept);
    }
    assert_eq!((bench.asked_of(0).len(), bench.asked_of(1).len()), (2, 0));
    bench.pass(HEDGE_AFTER + STALLED_AFTER / 10);
    assert_eq!(bench.asked_of(1), bench.asked_of(0));
    bench.answer(1);
    bench.check(Kept::Kept);
    bench.answer(0);
    bench.answer(0);
    assert_eq!(bench.ended, []);
    bench.check(Kept::Kept);
    assert_eq!(bench.ended, [Ok(MODEL)]);
    // What comes now is nobody's.
    bench.answer(1);
}

#[test]
fn a_fetch_ends_when_nothing_can_come() {
    let words = |bench: &Bench| match &bench.ended[..] {
        [Err(words)] => words.clone(),
        other => panic!("{other:?}"),
    };
    let mut nobody = Bench::wanting(1, layers(0, 1));
    assert_eq!(nobody.ended, []);
    let nothing = ModelOffer {
        manifest_bytes: 0,
        ..offer(vec![])
    };
    nobody.transfers.offered(peer(0), nothing);
    nobody.drain(2);
    assert!(words(&nobody).contains("nobody who is connected"));

    let mut starved = Bench::wanting(1, layers(0, 2));
    starved.offers(0, vec![layers(0, 1)]);
    starved.pass(STARVED_AFTER + Duration::from_millis(300));
    assert!(words(&starved).contains("are missing"));

    let mut stuck = Bench::wanting(1, layers(0, 1));
    stuck.offers(0, vec![layers(0, 1)]);
    stuck.pass(STUCK_AFTER + Duration::from_millis(300));
    assert!(words(&stuck).contains("do not send"));

    let mut full = Bench::wanting(1, layers(0, 1));
    full.offers(0, vec![layers(0, 1)]);
    full.answer(0);
    full.check(Kept::Failed("the disk is full".to_owned()));
    assert_eq!(words(&full), "the disk is full");
    assert!(full.transfers.is_idle());
}

#[test]
fn so_many_models_at_a_time_and_no_more() {
    let mut bench = Bench::new(1);
    let mut want = |model: u8, now: Duration| {
        let manifest = ContentHash([model; 32]);
        bench.transfers.want(now, manifest, layers(0, 1)).is_ok()
    };
    let now = Duration::from_secs(1);
    let most = MOST_FETCHES as u8;
    assert!((0..most).all(|model| want(model, now)));
    assert!(!want(most, now + Duration::from_secs(60)));
    assert!(want(0, now), "it is being fetched");
    bench.transfers.cancel(ContentHash([0; 32]));
    // Each asks all peers: not too often.
    let again = ContentHash([9; 32]);
    let mut want = |now| bench.transfers.want(now, again, layers(0, 1)).is_ok();
    assert!(!want(now) && want(now + Duration::from_millis(100)));
}

#[test]
fn more_layers_of_a_model_join_its_fetch() {
    let mut bench = Bench::wanting(1, layers(0, 1));
    bench.orders.clear();
    let want = |bench: &mut Bench| bench.transfers.want(bench.now, MODEL, layers(0, 2));
    want(&mut bench).expect("the same model");
    bench.drain(2);
    let all = vec![layers(0, 2)];
    let prepare = StoreOrder::Prepare {
        manifest: MODEL,
        layers: all,
    };
    assert_eq!(bench.orders, [prepare]);
    bench.offers(0, vec![layers(0, 2)]);
    for _ in 0..=PIECES {
        bench.answer(0);
        bench.check(Kept::Kept);
    }
    assert_eq!(
        bench.ended,
        [],
        "the store has not said what else is missing"
    );
    let kept = (0..PIECES).map(|piece| (content(Part::Layer(0)), piece));
    let kept = kept.chain([(content(Part::Common), 0)]).collect();
    bench.store(StoreAnswer::Prepared {
        manifest: MODEL,
        result: Ok(Missing::Pieces(lacking(layers(0, 2), &kept))),
    });
    for _ in 0..PIECES {
        bench.answer(0);
        bench.check(Kept::Kept);
    }
    assert_eq!(bench.ended, [Ok(MODEL)]);
}
