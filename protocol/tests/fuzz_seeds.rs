//! The fuzz targets' properties, with a stable compiler: each starting input of `fuzz/seeds`, and
//! what comes of it by cutting and changing it, holds. So the targets compile and stay true between
//! two runs of the fuzzer.

use std::fs;
use std::path::Path;

#[path = "../fuzz/properties/circle_bytes.rs"]
mod circle_bytes;
#[path = "../fuzz/properties/circle_gossip.rs"]
mod circle_gossip;
#[path = "../fuzz/properties/control.rs"]
mod control;
#[path = "../fuzz/properties/frames.rs"]
mod frames;
#[path = "../fuzz/properties/invitation.rs"]
mod invitation;
#[path = "../fuzz/properties/machine.rs"]
mod machine;
#[path = "../fuzz/properties/pairing.rs"]
mod pairing;

/// How often each seed is changed.
const CHANGES: u64 = 60;

/// Gives the seeds of a target to its property, whole, cut and changed, and an empty input.
fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/seeds")
        .join(target);
    let mut seeds = vec![Vec::new()];
    for entry in fs::read_dir(folder).into_iter().flatten() {
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
fn circle_bytes() {
    replay("circle_bytes", circle_bytes::check);
}

#[test]
fn circle_gossip() {
    replay("circle_gossip", circle_gossip::check);
}

#[test]
fn control() {
    replay("control", control::check);
}

#[test]
fn frames() {
    replay("frames", frames::check);
}

#[test]
fn invitation() {
    replay("invitation", invitation::check);
}

#[test]
fn machine() {
    replay("machine", machine::check);
}

#[test]
fn pairing() {
    replay("pairing", pairing::check);
}
