//! How fast this machine reads memory: what bounds decode.

use std::hint::black_box;
use std::time::Instant;

use crate::compute::Compute;

/// Bytes read in a pass: more than the caches of the devices this is for.
const BUFFER_BYTES: usize = 128 << 20;
/// Words a thread takes at a time.
const GRAIN: usize = 1 << 15;
/// Passes, of which the fastest counts.
const PASSES: usize = 5;

/// Bytes read a second from a buffer of 128 MiB by all threads of `compute`: the best of five
/// passes, since other programs can only slow one down. Takes some tens of milliseconds, and the
/// memory for that long.
pub fn read_bandwidth(compute: &Compute) -> f64 {
    let words = vec![1_u64; BUFFER_BYTES / size_of::<u64>()];
    let mut best = f64::INFINITY;
    for _ in 0..PASSES {
        let start = Instant::now();
        compute.team().run(words.len(), GRAIN, &|range| {
            let mut sums = [0_u64; 16];
            for chunk in words[range].chunks_exact(sums.len()) {
                for (sum, &word) in sums.iter_mut().zip(chunk) {
                    *sum = sum.wrapping_add(word);
                }
            }
            black_box(sums);
        });
        best = best.min(start.elapsed().as_secs_f64());
    }
    BUFFER_BYTES as f64 / best
}
