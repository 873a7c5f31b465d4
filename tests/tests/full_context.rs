//! A chat that outgrows its context.

use potluck_tests::Device;

/// The numbers before these words in a line: `41 prompt tokens (30 reused) at …`.
fn number_before(line: &str, words: &str) -> Option<usize> {
    let before = line.split(words).next().filter(|before| before != &line)?;
    let digits = before.rsplit(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

#[test]
fn twenty_turns_read_little_before_they_answer() {
    let device = Device::new();
    let _ = device.potluck(["synth", "tiny.gguf"]).success();
    let lines = (1..=20).map(|number| format!("Tell me fact number {number} about the sea.\n"));
    let arguments = "chat -m tiny.gguf --greedy -n 24 --context 768 --stats --system";
    let arguments = arguments.split(' ').chain(["Always answer in English."]);
    let output = device.potluck_reading(lines.collect::<String>().as_bytes(), arguments);
    let told = output.success().stderr;
    let turns = told.lines().filter_map(|line| {
        let prompt = number_before(line, " prompt token")?;
        Some((prompt, number_before(line, " reused").unwrap_or(0)))
    });
    let turns: Vec<_> = turns.collect();
    assert_eq!(turns.len(), 20, "{told}");
    let read = |&(prompt, reused): &(usize, usize)| prompt - reused;
    let third = read(&turns[2]);
    for (number, turn) in turns.iter().enumerate().skip(1) {
        // What is too little to be read before a message is read with it.
        assert!(read(turn) <= third + 64, "turn {number}: {turn:?}\n{told}");
    }
    let cuts = told.matches("no longer sees").count();
    assert!((2..=8).contains(&cuts), "{cuts} times\n{told}");
}
