//! Models whose layers keep only the last positions: 640 of the one here.

use potluck_tests::run;

use crate::{Model, circle};

/// The first message of a conversation that becomes longer than what the layers keep.
fn long() -> String {
    "The road went on and on, over the hills. ".repeat(24)
}

#[test]
fn a_chat_over_the_circle_goes_on_when_its_beginning_changes() {
    let model = Model::windowed();
    let circle = circle(&["laptop", "kitchen"], &model.path);
    let file = model.path.to_str().expect("a path of text");
    let chat = ["chat", "-m", file, "-n", "60", "--seed", "3"];
    // Told again from the beginning after the third line, and a little further back at the fourth.
    let lines = format!(
        "{}\nAnd then?\n/system Answer in French.\nWho went?\n/retry\nWhere to?\n",
        long()
    );
    let laptop = circle.node("laptop");
    let said = |who: &[&str]| {
        let command = laptop.command([&chat[..], who].concat());
        run(command, lines.as_bytes()).success()
    };
    let expected = said(&["--alone"]);
    let split = said(&["--placement", "self:0..5,kitchen:5..12"]);
    assert_eq!(split.stdout, expected.stdout);
    assert!(!split.stderr.contains("error"), "{}", split.stderr);
    assert!(!split.stderr.contains("lost"), "{}", split.stderr);
}
