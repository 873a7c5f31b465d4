//! Memory of tensors that are no longer used, for the next ones of the same size.
//!
//! A step makes the same few sizes again and again. Large ones would come from the system and go
//! back to it each time, and fresh pages cost more than the arithmetic on them: for the logits of
//! one position, several percent of a token.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::kernels::activations::Activations;

/// More sizes than a decode step uses.
const KEPT: usize = 8;

/// Unused buffers.
#[derive(Default)]
pub(crate) struct Buffers {
    /// The longest unused first.
    floats: Mutex<VecDeque<Vec<f32>>>,
    activations: Mutex<Activations>,
}

impl Buffers {
    /// A buffer of `len` numbers, to be overwritten: what they are is not specified.
    pub(crate) fn take(&self, len: usize) -> Vec<f32> {
        let mut unused = lock(&self.floats);
        let fits = unused.iter().rposition(|buffer| buffer.len() == len);
        match fits.and_then(|at| unused.remove(at)) {
            Some(buffer) => buffer,
            None => vec![0.0; len],
        }
    }

    /// Keeps a buffer for later, in place of the longest unused one if there are many.
    pub(crate) fn give(&self, buffer: Vec<f32>) {
        let mut unused = lock(&self.floats);
        if unused.len() == KEPT {
            unused.pop_front();
        }
        unused.push_back(buffer);
    }

    /// Activations to be quantised into.
    pub(crate) fn take_activations(&self) -> Activations {
        std::mem::take(&mut *lock(&self.activations))
    }

    /// Keeps their memory for the next.
    pub(crate) fn give_activations(&self, activations: Activations) {
        *lock(&self.activations) = activations;
    }
}

/// What a panic left behind is as good as anything: buffers are overwritten.
fn lock<T>(buffers: &Mutex<T>) -> MutexGuard<'_, T> {
    buffers.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_for_its_length_only() {
        let buffers = Buffers::default();
        buffers.give(vec![1.0; 5]);
        assert_eq!(buffers.take(4), [0.0; 4]);
        assert_eq!(buffers.take(5), [1.0; 5]);
        assert_eq!(buffers.take(5), [0.0; 5]);
    }

    #[test]
    fn the_longest_unused_is_dropped() {
        let buffers = Buffers::default();
        for len in 1..=KEPT + 1 {
            buffers.give(vec![1.0; len]);
        }
        assert_eq!(buffers.take(1), [0.0]);
        assert_eq!(buffers.take(2), [1.0; 2]);
    }
}
