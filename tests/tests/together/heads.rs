//! The draft head in the ring: guesses go out as those by lookup do, and no token changes.

use potluck::local::PlacementView;
use potluck_tests::model_path;

use crate::{GREEDY, SAMPLED, alone, asked, circle, question_of};

#[test]
fn guesses_of_a_draft_head_change_no_token() {
    let path = model_path("smollm2:135m");
    let circle = circle(&["laptop", "kitchen", "tablet"], &path);
    let who = ["--placement", "kitchen:0..15,tablet:15..30"];
    let (mut right, mut waits) = (0, false);
    for how in [&GREEDY[..], &SAMPLED] {
        let question = question_of("Why is the sky blue?", &path, 60, how);
        let answer = circle.node("laptop").answer(&asked(&question, &who));
        assert_eq!(answer.tokens, alone(&question).tokens);
        println!("{how:?}: {}", answer.json["drafts"]);
        right += answer.json["drafts"]["right"].as_u64().expect("a number");
        let placement = answer.json["placement"].clone();
        let placement: PlacementView = serde_json::from_value(placement).expect("a placement");
        waits |= placement.drafts() > 0;
    }
    // Far more than lookup finds in a text that hardly repeats itself.
    assert!(right > 10 || !waits, "{right}");
}

#[test]
fn a_model_that_is_its_own_drafter_guesses_all_its_tokens() {
    let path = model_path("smollm2:135m");
    let circle = circle(&["laptop", "kitchen", "tablet"], &path);
    let file = path.display().to_string();
    let who = [
        "--placement",
        "kitchen:0..15,tablet:15..30",
        "--drafter",
        &file,
    ];
    for how in [&GREEDY[..], &SAMPLED] {
        let question = question_of("Why is the sky blue?", &path, 24, how);
        let answer = circle.node("laptop").answer(&asked(&question, &who));
        assert_eq!(answer.tokens, alone(&question).tokens);
        let drafts = &answer.json["drafts"];
        let count = |key: &str| drafts[key].as_u64().expect("a number");
        println!("{how:?}: {drafts}");
        // Those beyond the end are not known to be right.
        assert!(count("sent") <= count("right") + 8, "{drafts}");
    }
}
