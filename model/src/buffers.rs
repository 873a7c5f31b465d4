//! Memory of tensors that are no longer used, for the next ones of about the same size.
//!
//! A step makes the same few sizes again and again, and the next step about the same. Large ones would
//! come from the system and go back to it each time, and fresh pages cost more than the arithmetic on
//! them: for the logits of one position, several percent of a token.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::kernels::activations::Activations;

/// More sizes than a decode step uses.
const KEPT: usize = 8;
/// Numbers that are kept in all, at most: 64 MiB. One buffer is kept whatever its size.
const KEPT_NUMBERS: usize = 1 << 24;

/// Activations that are in use at once.
const KEPT_ACTIVATIONS: usize = 2;

/// Unused buffers.
#[derive(Default)]
pub(crate) struct Buffers {
    /// The longest unused first.
    floats: Mutex<VecDeque<Vec<f32>>>,
    /// The last used last.
    activations: Mutex<Vec<Activations>>,
}

impl Buffers {
    /// A buffer of `len` numbers, to be overwritten: what they are is not specified.
    pub(crate) fn take(&self, len: usize) -> Vec<f32> {
        let mut unused = lock(&self.floats);
        let same = unused.iter().rposition(|buffer| buffer.len() == len);
        // Steps of other numbers of rows may have its memory, unless most of that would lie idle.
        let fits = |buffer: &Vec<f32>| (len..=2 * len).contains(&buffer.capacity());
        let fitting = same.or_else(|| unused.iter().rposition(fits));
        match fitting.and_then(|at| unused.remove(at)) {
            Some(mut buffer) => {
                buffer.resize(len, 0.0);
                buffer
            }
            None => vec![0.0; len],
        }
    }

    /// Keeps a buffer for later, in place of the longest unused ones if there are many.
    pub(crate) fn give(&self, buffer: Vec<f32>) {
        let mut unused = lock(&self.floats);
        let mut numbers: usize = unused.iter().map(Vec::capacity).sum();
        numbers += buffer.capacity();
        while unused.len() == KEPT || numbers > KEPT_NUMBERS {
            let Some(oldest) = unused.pop_front() else {
                break;
            };
            numbers -= oldest.capacity();
        }
        unused.push_back(buffer);
    }

    /// Activations to be quantised into.
    pub(crate) fn take_activations(&self) -> Activations {
        lock(&self.activations).pop().unwrap_or_default()
    }

    /// Keeps their memory for the next.
    pub(crate) fn give_activations(&self, activations: Activations) {
        let mut unused = lock(&self.activations);
        if unused.len() < KEPT_ACTIVATIONS {
            unused.push(activations);
        }
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
    fn a_buffer_comes_back_for_its_length_or_most_of_it() {
        let buffers = Buffers::default();
        buffers.give(vec![1.0; 6]);
        assert_eq!(buffers.take(2), [0.0; 2]);
        assert_eq!(buffers.take(7), [0.0; 7]);
        assert_eq!(buffers.take(6), [1.0; 6]);
        assert_eq!(buffers.take(6), [0.0; 6]);
        buffers.give(vec![1.0; 6]);
        let shorter = buffers.take(4);
        assert_eq!(shorter, [1.0; 4]);
        buffers.give(shorter);
        assert_eq!(buffers.take(5), [1.0, 1.0, 1.0, 1.0, 0.0]);
    }

    #[test]
    fn large_buffers_are_few() {
        let buffers = Buffers::default();
        for _ in 0..4 {
            buffers.give(Vec::with_capacity(KEPT_NUMBERS / 2));
        }
        assert_eq!(lock(&buffers.floats).len(), 2);
        buffers.give(Vec::with_capacity(2 * KEPT_NUMBERS));
        assert_eq!(lock(&buffers.floats).len(), 1);
    }

    #[test]
    fn the_longest_unused_is_dropped() {
        let buffers = Buffers::default();
        for power in 0..=KEPT {
            buffers.give(vec![1.0; 1 << power]);
        }
        assert_eq!(buffers.take(1), [1.0], "of the two");
        assert_eq!(buffers.take(1), [0.0]);
        assert_eq!(buffers.take(1 << KEPT), [1.0; 1 << KEPT]);
    }
}
