//! Steps that are aborted because their sessions were freed.

use std::cell::Cell;

use potluck_protocol::stage::{Step, StepPart};
use potluck_protocol::wire::{Dtype, HiddenShape};

use super::{CONTEXT, Files, MANIFEST, World, compute, model, stage};
use crate::stages::MemoryBudget;
use crate::stages::holdings::Holdings;

/// A step with this many rows for each session.
fn step(world: &World, sessions: &[u64], rows: u32) -> Step {
    let d_model = world.config.d_model as u32;
    let tokens: Vec<u32> = (0..rows).collect();
    let hidden = world.ends.embed(&tokens).expect("known tokens");
    let part = |&session: &u64| StepPart {
        stage: stage(session),
        start_position: 0,
        rows,
        shape: HiddenShape::new(d_model, Dtype::F32, 64).expect("small"),
        hidden: hidden.clone(),
    };
    Step {
        number: 1,
        parts: sessions.iter().map(part).collect(),
    }
}

#[test]
fn a_long_step_ends_between_two_layers_when_nobody_wants_it() {
    let world = World::new("tiny", 0, None);
    let files = Files([(MANIFEST, model("tiny", 0))].into());
    let mut holdings = Holdings::new(compute(), Box::new(files), MemoryBudget::new(None));
    let layers = world.config.layers;
    for session in [1, 2] {
        let load = world.order(session, 0..layers as u32);
        assert!(holdings.load(&load).is_ok());
    }
    let asked = Cell::new(0);
    let long = step(&world, &[1], CONTEXT / 2);
    let whole = holdings.compute(&long, &|_| {
        asked.set(asked.get() + 1);
        false
    });
    let whole = whole.hidden;
    assert_eq!(asked.replace(0), layers, "before each layer");
    assert!(!whole[0].is_empty());

    // Load it anew: rows with known outputs would not be computed at all.
    holdings.free(stage(1));
    assert!(holdings.load(&world.order(1, 0..layers as u32)).is_ok());
    let left_off = holdings.compute(&long, &|_| {
        asked.set(asked.get() + 1);
        asked.get() == 2
    });
    assert_eq!(asked.replace(0), 2, "not one layer more");
    assert_eq!(left_off.hidden, [Vec::<u8>::new()]);

    // One of the two is still wanted. Both are computed, as their rows share the layers.
    let shared = step(&world, &[1, 2], CONTEXT / 2);
    let computed = holdings.compute(&shared, &|of| of == stage(1));
    assert!(computed.hidden.iter().all(|hidden| *hidden == whole[0]));
}

#[test]
fn a_short_step_is_computed_to_its_end() {
    let world = World::new("tiny", 0, None);
    let files = Files([(MANIFEST, model("tiny", 0))].into());
    let mut holdings = Holdings::new(compute(), Box::new(files), MemoryBudget::new(None));
    assert!(
        holdings
            .load(&world.order(1, 0..world.config.layers as u32))
            .is_ok()
    );
    let computed = holdings.compute(&step(&world, &[1], 1), &|_| true);
    assert!(!computed.hidden[0].is_empty());
}
