//! How fast this machine reads memory: what bounds decode.

use std::hint::black_box;
use std::time::Instant;

use crate::compute::Compute;

/// Bytes read in a pass: more than the caches of the devices this is for.
const BUFFER_BYTES: usize = 128 << 20;
/// Words a thread takes at a time.
const GRAIN: usize = 1 << 18;
/// Places of which a thread reads at once. A processor fetches ahead in each stream by itself, so that
/// one alone does not keep the memory busy; decode reads several rows at once, too.
const STREAMS: usize = 4;
/// Words that are added at once.
const LANES: usize = 16;
/// Passes, of which the fastest counts.
const PASSES: usize = 5;

/// Bytes read a second from a buffer of 128 MiB by all threads of `compute`, in several streams each: the
/// best of five passes, since other programs can only slow one down. Takes some tens of milliseconds,
/// and the memory for that long.
pub fn read_bandwidth(compute: &Compute) -> f64 {
    let words = vec![1_u64; BUFFER_BYTES / size_of::<u64>()];
    let mut best = f64::INFINITY;
    for _ in 0..PASSES {
        let start = Instant::now();
        let bytes = GRAIN * size_of::<u64>();
        compute.team().run(words.len() / GRAIN, bytes, &|range| {
            black_box(sum(&words[range.start * GRAIN..range.end * GRAIN]));
        });
        best = best.min(start.elapsed().as_secs_f64());
    }
    BUFFER_BYTES as f64 / best
}

/// The sum of all words, read in [`STREAMS`] streams.
fn sum(words: &[u64]) -> u64 {
    let mut sums = [0_u64; LANES];
    let mut add = |chunk: &[u64]| {
        for (sum, &word) in sums.iter_mut().zip(chunk) {
            *sum = sum.wrapping_add(word);
        }
    };
    let length = words.len() / STREAMS / LANES * LANES;
    let mut streams: [_; STREAMS] = std::array::from_fn(|at| {
        let stream = &words[at * length..(at + 1) * length];
        stream.chunks_exact(LANES)
    });
    for _ in 0..length / LANES {
        for stream in &mut streams {
            add(stream.next().unwrap_or_default());
        }
    }
    words[STREAMS * length..].chunks(LANES).for_each(add);
    sums.into_iter().fold(0, u64::wrapping_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_read_once_whatever_the_streams_leave_over() {
        for length in [0, 1, 15, 16, 63, 64, 65, 1_000, 4_096, 4_111] {
            let words: Vec<u64> = (0..length).map(|at| 1 + at * at).collect();
            assert_eq!(sum(&words), words.iter().sum::<u64>(), "{length}");
        }
    }
}
