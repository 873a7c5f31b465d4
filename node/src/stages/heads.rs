//! Batching for the head: rows of several conversations share one pass.
//!
//! One pass reads the head's weights once for all its rows, so waiting rows are computed together.
//! The thread whose turn it is computes all of them. Arithmetic is reproducible to the bit, so
//! logits do not depend on this.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The most rows in one pass through the head.
const MOST: usize = 32;

/// The queue at the head.
#[derive(Debug, Default)]
pub(super) struct Heads {
    waiting: Mutex<Vec<Arc<Row>>>,
    turn: Mutex<()>,
    inside: AtomicUsize,
}

/// A row waiting for its logits.
#[derive(Debug)]
struct Row {
    hidden: Vec<u8>,
    logits: Mutex<Option<Vec<f32>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts a thread that wants logits, until dropped.
struct Inside<'h>(&'h AtomicUsize);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Heads {
    /// Calls `read` with the logits of one row. `compute` takes any number of concatenated rows and
    /// calls its second argument with their concatenated logits.
    pub(super) fn logits<T, E>(
        &self,
        hidden: &[u8],
        compute: impl Fn(&[u8], &mut dyn FnMut(&[f32])) -> Result<(), E>,
        read: impl FnOnce(&[f32]) -> T,
    ) -> Result<T, E> {
        let others = self.inside.fetch_add(1, Ordering::Relaxed);
        let _inside = Inside(&self.inside);
        let (mut read, mut value) = (Some(read), None);
        let mut give = |logits: &[f32]| value = read.take().map(|read| read(logits));
        if others == 0 {
            // No other thread is waiting: skip the copies.
            let _turn = lock(&self.turn);
            compute(hidden, &mut give)?;
            return Ok(value.expect("it was computed"));
        }
        let own = Arc::new(Row {
            hidden: hidden.to_vec(),
            logits: Mutex::new(None),
        });
        lock(&self.waiting).push(Arc::clone(&own));
        let turn = lock(&self.turn);
        if lock(&own.logits).is_none() {
            self.compute_waiting(&own, compute)?;
        }
        drop(turn);
        let logits = lock(&own.logits).take();
        give(&logits.expect("it was computed"));
        Ok(value.expect("it was given"))
    }

    /// Computes this row together with others that wait.
    fn compute_waiting<E>(
        &self,
        own: &Arc<Row>,
        compute: impl Fn(&[u8], &mut dyn FnMut(&[f32])) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut waiting = lock(&self.waiting);
        waiting.retain(|row| !Arc::ptr_eq(row, own));
        let others = waiting.len().min(MOST - 1);
        let mut rows: Vec<_> = waiting.drain(..others).collect();
        drop(waiting);
        // Valid rows have equal lengths. A row of another length is refused by its own thread,
        // alone.
        rows.retain(|row| row.hidden.len() == own.hidden.len());
        rows.push(Arc::clone(own));
        let hidden: Vec<u8> = rows.iter().flat_map(|row| &row.hidden).copied().collect();
        compute(&hidden, &mut |logits| {
            let each = logits.len() / rows.len();
            for (row, logits) in rows.iter().zip(logits.chunks_exact(each.max(1))) {
                *lock(&row.logits) = Some(logits.to_vec());
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Barrier;
    use std::thread;
    use std::time::Duration;

    use super::*;

    /// A head whose logits are the row's bytes and their sum.
    fn compute(
        steps: &Mutex<Vec<usize>>,
        hidden: &[u8],
        read: &mut dyn FnMut(&[f32]),
    ) -> Result<(), Infallible> {
        lock(steps).push(hidden.len() / 2);
        // Other rows arrive meanwhile.
        thread::sleep(Duration::from_millis(2));
        let logits = hidden.chunks(2).flat_map(|row| {
            let [a, b] = [f32::from(row[0]), f32::from(row[1])];
            [a, b, a + b]
        });
        read(&logits.collect::<Vec<_>>());
        Ok(())
    }

    #[test]
    fn rows_that_wait_share_a_step_and_each_gets_its_own_logits() {
        let (heads, steps) = (Heads::default(), Mutex::default());
        let begin = Barrier::new(8);
        thread::scope(|scope| {
            for n in 0..8_u8 {
                let (heads, steps, begin) = (&heads, &steps, &begin);
                scope.spawn(move || {
                    let compute =
                        |hidden: &[u8], read: &mut dyn FnMut(&[f32])| compute(steps, hidden, read);
                    for round in 0..20 {
                        begin.wait();
                        let read = heads.logits(&[n, round], compute, <[f32]>::to_vec);
                        let (n, round) = (f32::from(n), f32::from(round));
                        assert_eq!(read, Ok(vec![n, round, n + round]));
                    }
                });
            }
        });
        let steps = lock(&steps);
        assert_eq!(steps.iter().sum::<usize>(), 160);
        assert!(steps.iter().any(|&rows| rows > 1), "{steps:?}");
        assert!(lock(&heads.waiting).is_empty());
    }

    #[test]
    fn a_step_that_fails_is_heard_by_all_who_share_it_and_leaves_nobody_waiting() {
        let heads = Heads::default();
        let begin = Barrier::new(4);
        let failed = |_: &[u8], _: &mut dyn FnMut(&[f32])| {
            thread::sleep(Duration::from_millis(2));
            Err::<(), _>("broken")
        };
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    begin.wait();
                    assert_eq!(heads.logits(&[1, 2], failed, |_| ()), Err("broken"));
                });
            }
        });
        assert!(lock(&heads.waiting).is_empty());
    }
}
