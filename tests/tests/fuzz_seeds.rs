//! The fuzz targets' properties, with a stable compiler: each starting input, and what comes of it by
//! cutting and changing it, holds. So the targets compile and stay true between two runs of the
//! fuzzer.

use std::fs;

use potluck_tests::workspace;

#[path = "../../protocol/fuzz/properties/circle_bytes.rs"]
mod circle_bytes;
#[path = "../../protocol/fuzz/properties/circle_gossip.rs"]
mod circle_gossip;
#[path = "../../protocol/fuzz/properties/control.rs"]
mod control;
#[path = "../../model/fuzz/properties/draft_head.rs"]
mod draft_head;
#[path = "../../protocol/fuzz/properties/frames.rs"]
mod frames;
#[path = "../../model/fuzz/properties/gguf_parse.rs"]
mod gguf_parse;
#[path = "../../protocol/fuzz/properties/invitation.rs"]
mod invitation;
#[path = "../../protocol/fuzz/properties/machine.rs"]
mod machine;
#[path = "../../protocol/fuzz/properties/pairing.rs"]
mod pairing;
#[path = "../../model/fuzz/properties/template.rs"]
mod template;
#[path = "../../model/fuzz/properties/tokenizer.rs"]
mod tokenizer;

/// How often each seed is changed.
const CHANGES: u64 = 60;

/// Gives the seeds in a folder to a property, whole, cut and changed, and an empty input.
fn replay(folder: &str, check: fn(&[u8])) {
    let folder = workspace().join(folder);
    let mut seeds = vec![Vec::new()];
    for entry in fs::read_dir(folder).expect("a folder of seeds") {
        seeds.push(fs::read(entry.expect("an entry").path()).expect("a seed"));
    }
    for seed in seeds {
        check(&seed);
        for change in 0..CHANGES {
            check(&changed(&seed, change));
        }
    }
}

/// A seed with up to eight bytes changed, and every fourth time cut; always the same.
fn changed(seed: &[u8], change: u64) -> Vec<u8> {
    let mut state = change.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below.max(1) as u64) as usize
    };
    let mut bytes = seed.to_vec();
    for _ in 0..=next(8) {
        let at = next(bytes.len());
        match bytes.get_mut(at) {
            Some(byte) => *byte = next(256) as u8,
            None => bytes.push(next(256) as u8),
        }
    }
    if change % 4 == 3 {
        bytes.truncate(next(bytes.len()));
    }
    bytes
}

#[test]
fn draft_head() {
    replay("model/fuzz/seeds/draft_head", draft_head::check);
}

#[test]
fn gguf_parse() {
    replay("model/fuzz/seeds/gguf_parse", gguf_parse::check);
}

#[test]
fn template() {
    replay("tests/data/templates", template::check);
}

#[test]
fn tokenizer() {
    replay("model/fuzz/seeds/tokenizer", tokenizer::check);
}

#[test]
fn circle_bytes() {
    replay("protocol/fuzz/seeds/circle_bytes", circle_bytes::check);
}

#[test]
fn circle_gossip() {
    replay("protocol/fuzz/seeds/circle_gossip", circle_gossip::check);
}

#[test]
fn control() {
    replay("protocol/fuzz/seeds/control", control::check);
}

#[test]
fn frames() {
    replay("protocol/fuzz/seeds/frames", frames::check);
}

#[test]
fn invitation() {
    replay("protocol/fuzz/seeds/invitation", invitation::check);
}

#[test]
fn machine() {
    replay("protocol/fuzz/seeds/machine", machine::check);
}

#[test]
fn pairing() {
    replay("protocol/fuzz/seeds/pairing", pairing::check);
}
