//! The [made-up model](crate::made_up) of the tests: so many layers, one prompt.

use crate::made_up;

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
