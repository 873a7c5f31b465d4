//! Reported step times, which update the device profile.

use potluck_protocol::LayerRange;
use potluck_protocol::placement::ComputedRows;
use potluck_protocol::stage::{Step, StepPart};
use potluck_protocol::wire::{Dtype, HiddenShape};

use super::{Files, MANIFEST, World, compute, model, stage};
use crate::shape::model_shape;
use crate::stages::MemoryBudget;
use crate::stages::holdings::{Computed, Holdings};

/// A step with two rows of each session, from a position on.
fn rows(world: &World, sessions: &[u64], start_position: u32) -> Step {
    let d_model = world.config.d_model as u32;
    let part = |&session: &u64| StepPart {
        stage: stage(session),
        start_position,
        rows: 2,
        shape: HiddenShape::new(d_model, Dtype::F32, 64).expect("small"),
        hidden: world.ends.embed(&[3, 4]).expect("known tokens"),
    };
    Step {
        number: 1,
        parts: sessions.iter().map(part).collect(),
    }
}

#[test]
fn the_step_of_one_session_says_how_long_what_took() {
    let world = World::new("tiny", 0, None);
    let files = Files([(MANIFEST, model("tiny", 0))].into());
    let mut holdings = Holdings::new(compute(), Box::new(files), MemoryBudget::new(None));
    for session in [1, 2] {
        assert!(holdings.load(&world.order(session, 1..2)).is_ok());
    }
    let shape = model_shape(&world.gguf, &world.config).expect("a small model");
    for (start, first) in [(0, true), (2, false)] {
        let times = holdings
            .compute(&rows(&world, &[1], start), &|_| false)
            .times;
        let [timed] = &times[..] else {
            panic!("{times:?}");
        };
        let computed = ComputedRows {
            layers: LayerRange::new(1, 2).expect("forwards"),
            head: false,
            start,
            rows: 2,
        };
        assert_eq!((timed.computed, timed.first), (computed, first));
        assert_eq!(*timed.model, shape);
        assert!(!timed.took.is_zero());
    }
    // Reused rows are not computed and have no time.
    let Computed { hidden, times, .. } = holdings.compute(&rows(&world, &[1], 0), &|_| false);
    assert!(!hidden[0].is_empty() && times.is_empty(), "{times:?}");
    // Predictions do not cover shared steps.
    let both = holdings
        .compute(&rows(&world, &[1, 2], 0), &|_| false)
        .times;
    assert!(both.len() <= 1, "{both:?}");
    let both = holdings
        .compute(&rows(&world, &[1, 2], 4), &|_| false)
        .times;
    assert!(both.len() <= 1, "{both:?}");
}
