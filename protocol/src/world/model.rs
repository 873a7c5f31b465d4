//! The [made-up model](crate::made_up) of the tests: so many layers, one prompt.

use crate::made_up;
use crate::transfer::Part;
use crate::wire::ContentHash;

/// Its layers.
pub(crate) const LAYERS: u32 = 12;

/// So many tokens to begin with.
pub(crate) fn prompt(length: usize) -> Vec<u64> {
    made_up::prompt(5, length as u32)
}

/// A prompt, and the tokens that one device generates behind it.
pub(crate) fn alone(prompt: &[u64], wanted: usize) -> Vec<u64> {
    let generated = made_up::generate(LAYERS, prompt, wanted);
    [prompt, &generated].concat()
}

/// What the object of a part of its weights is named by.
pub(crate) fn content(part: Part) -> ContentHash {
    match part {
        Part::Common => ContentHash([100; 32]),
        Part::Layer(layer) => ContentHash([101 + layer as u8; 32]),
    }
}
