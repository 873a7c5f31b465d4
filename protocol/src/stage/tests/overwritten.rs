//! Stages whose caches no longer hold what rows see.

use super::*;

/// Its layers are there: the requester hears of a stage that holds nothing.
fn opens_again_holding_nothing(stages: &mut Stages) {
    stages.loaded(Duration::ZERO, stage(1), PlanEpoch(2), Ok(()));
    let told = messages(drain(stages));
    assert!(
        matches!(&told[..], [(_, Control::StageOpened(opened))] if opened.held_positions == 0),
        "{told:?}"
    );
}

#[test]
fn a_stage_that_has_overwritten_what_rows_see_says_that_it_holds_nothing_and_takes_all_again() {
    let mut stages = Stages::new(peer(OWNER), limits());
    open_ready(&mut stages, open(1, 1));
    take(&mut stages, frame(1, 1, 0, 0, 3));
    drain(&mut stages);
    stages.computed(Duration::ZERO, 1, vec![vec![0; 12]]);
    drain(&mut stages);
    // Rolled back too far, with another row behind.
    take(&mut stages, frame(1, 1, 1, 1, 1));
    take(&mut stages, frame(1, 1, 1, 2, 1));
    drain(&mut stages);
    stages.overwritten(stage(1));
    stages.computed(Duration::ZERO, 2, vec![Vec::new()]);
    let told = messages(drain(&mut stages));
    let [(to, Control::SessionState(state))] = &told[..] else {
        panic!("{told:?}");
    };
    assert_eq!((*to, state.held_positions), (peer(REQUESTER), 0));
    // The row behind waits for nothing; a later placement finds the stage empty.
    assert_eq!(stages.poll_output(), None);
    stages.open(Duration::ZERO, peer(REQUESTER), open(1, 2));
    drain(&mut stages);
    opens_again_holding_nothing(&mut stages);
    take(&mut stages, frame(1, 2, 0, 0, 2));
    let outputs = drain(&mut stages);
    assert!(
        matches!(outputs[..], [StageOutput::Compute(_)]),
        "{outputs:?}"
    );
}

#[test]
fn a_stage_that_was_opened_again_while_it_found_that_holds_nothing_in_the_new_placement() {
    let mut stages = Stages::new(peer(OWNER), limits());
    open_ready(&mut stages, open(1, 1));
    take(&mut stages, frame(1, 1, 0, 0, 3));
    drain(&mut stages);
    stages.computed(Duration::ZERO, 1, vec![vec![0; 12]]);
    take(&mut stages, frame(1, 1, 1, 1, 1));
    stages.open(Duration::ZERO, peer(REQUESTER), open(1, 2));
    stages.overwritten(stage(1));
    stages.computed(Duration::ZERO, 2, vec![Vec::new()]);
    drain(&mut stages);
    opens_again_holding_nothing(&mut stages);
    take(&mut stages, frame(1, 2, 0, 0, 2));
    drain(&mut stages);
    stages.computed(Duration::ZERO, 3, vec![vec![0; 8]]);
    let outputs = drain(&mut stages);
    assert!(
        matches!(outputs[..], [StageOutput::SendFrame(..)]),
        "{outputs:?}"
    );
}
