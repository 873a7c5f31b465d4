//! The GEMV for one or a few positions: weights are read once from memory, several groups at a
//! time.

use std::ops::Range;

use super::super::activations::Factors;
use super::super::packed_format::{Format, GROUP};
use super::super::simd::{ActivationBlock, Part, Simd, WeightKind, Words};
use super::{GEMV_AT_ONCE, Multiply};

/// Streams of groups that a thread reads at once: one sequential stream does not keep a processor's
/// memory busy.
const STREAMS: usize = 4;
/// How far ahead a stream is prefetched, in bytes.
const PREFETCH_AHEAD: usize = 1920;
/// Bytes of weights that stay in a second-level cache until the next pass over them.
const CHUNK: usize = 128 * 1024;

/// The sums of a group for `N` positions, for the first and the second half of its rows where a
/// vector has only half.
type Sums<S, const N: usize> = [[<S as Words>::Floats; N]; 2];

impl<F: Format> Multiply<'_, F> {
    #[inline(always)]
    pub(super) fn gemv<S: Simd>(&self, s: S) {
        let most = if self.positions > GEMV_AT_ONCE {
            (CHUNK / self.w.group_bytes()).max(STREAMS)
        } else {
            self.groups.len().max(1)
        };
        let mut groups = self.groups.clone();
        while !groups.is_empty() {
            let chunk = groups.start..groups.end.min(groups.start + most);
            for first in (0..self.positions).step_by(GEMV_AT_ONCE) {
                match self.positions - first {
                    1 => self.pass::<S, 1>(s, chunk.clone(), first),
                    2 => self.pass::<S, 2>(s, chunk.clone(), first),
                    3 => self.pass::<S, 3>(s, chunk.clone(), first),
                    _ => self.pass::<S, GEMV_AT_ONCE>(s, chunk.clone(), first),
                }
            }
            groups.start = chunk.end;
        }
    }

    /// `N` positions from `position` on times some groups.
    #[inline(always)]
    fn pass<S: Simd, const N: usize>(&self, s: S, groups: Range<usize>, position: usize) {
        let mut x: [(&[ActivationBlock], &[Factors]); N] = [(&[], &[]); N];
        for (n, x) in x.iter_mut().enumerate() {
            *x = self.x.tile(position + n);
        }
        let each = groups.len() / STREAMS;
        let rest = groups.start + each * STREAMS;
        for step in 0..=each {
            // The last step takes the groups that streams of equal length leave over.
            let (first, apart, count) = if step < each {
                (groups.start + step, each, STREAMS)
            } else {
                (rest, 1, groups.end - rest)
            };
            let mut sums: [Sums<S, N>; STREAMS] = [[[s.floats(0.0); N]; 2]; STREAMS];
            let stride = apart * self.w.group_bytes();
            let at = self.w.bytes_from_group(first).as_ptr();
            // SAFETY: `count` groups, `stride` bytes apart.
            unsafe { self.streams(s, at, stride, &x, &mut sums[..count]) };
            for (stream, sums) in sums[..count].iter().enumerate() {
                self.put(s, first + stream * apart, position, sums);
            }
        }
    }

    /// Adds groups' products, `stride` bytes apart, to `sums`.
    ///
    /// # Safety
    /// There are so many groups from `at` on, and every `x` has as many blocks as their rows.
    #[inline(always)]
    unsafe fn streams<S: Simd, const N: usize>(
        &self,
        s: S,
        at: *const u8,
        stride: usize,
        x: &[(&[ActivationBlock], &[Factors]); N],
        sums: &mut [Sums<S, N>],
    ) {
        for b in 0..self.x.blocks() / F::SUBS {
            for (stream, sums) in sums.iter_mut().enumerate() {
                // SAFETY: block `b` of a group; `sub` and `half` stay inside it.
                unsafe {
                    let block = at.add(stream * stride + b * F::BYTES);
                    for (half, sums) in sums.iter_mut().enumerate().take(GROUP / S::ROWS) {
                        let head = F::head(s, block, half * S::ROWS);
                        for sub in 0..F::SUBS {
                            let from = block.add(F::HEAD + sub * F::SUB_BYTES);
                            if half == 0 {
                                prefetch::<S, F>(s, from);
                            }
                            let index = b * F::SUBS + sub;
                            let mut blocks = [std::ptr::null(); N];
                            let mut factors = [x[0].1.get_unchecked(index); N];
                            let of_positions = blocks.iter_mut().zip(&mut factors).zip(x);
                            for ((block, factors), x) in of_positions {
                                *block = opaque(x.0.as_ptr().add(index).cast());
                                *factors = x.1.get_unchecked(index);
                            }
                            add_sub_block::<S, F, N, 1>(
                                s,
                                &head,
                                from,
                                half * S::ROWS,
                                &blocks,
                                &factors,
                                sums,
                            );
                        }
                    }
                }
            }
        }
    }

    /// Stores a group's sums for the positions from `position` on.
    #[inline(always)]
    fn put<S: Simd, const N: usize>(&self, s: S, group: usize, position: usize, sums: &Sums<S, N>) {
        for (half, sums) in sums.iter().enumerate().take(GROUP / S::ROWS) {
            for (n, sum) in sums.iter().enumerate() {
                self.store(s, position + n, group * GROUP + half * S::ROWS, *sum);
            }
        }
    }
}

/// The same address, of which the compiler knows nothing: it would load and spread the activations
/// once for all streams, into more registers than there are, and spill them.
#[inline(always)]
#[expect(
    clippy::pointers_in_nomem_asm_block,
    reason = "no instruction reads it"
)]
fn opaque(mut at: *const i32) -> *const i32 {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    // SAFETY: no instruction.
    unsafe {
        std::arch::asm!("/* {at} */", at = inout(reg) at, options(nomem, nostack, preserves_flags));
    }
    at
}

/// Prefetches what lies [`PREFETCH_AHEAD`] of a sub-block.
#[inline(always)]
fn prefetch<S: Simd, F: Format>(s: S, from: *const u8) {
    for line in 0..F::SUB_BYTES.div_ceil(64) {
        s.prefetch(from.wrapping_add(PREFETCH_AHEAD + 64 * line));
    }
}

/// Adds a sub-block's products with `N` activation blocks: `sum + d_w · d_x · (Σ q · x − offset ·
/// Σ x)`, whole or by halves, then `m_w · s_x`.
///
/// # Safety
/// `from` points at a sub-block; `first` is as for [`Planes::read`](crate::kernels::packed_format::Planes::read);
/// the blocks are readable as [`Words::dot`] says.
#[inline(always)]
pub(super) unsafe fn add_sub_block<S: Simd, F: Format, const N: usize, const STRIDE: usize>(
    s: S,
    head: &F::Head<S>,
    from: *const u8,
    first: usize,
    x: &[*const i32; N],
    factors: &[&Factors; N],
    sums: &mut [S::Floats; N],
) {
    let offset = match F::KIND {
        WeightKind::Unsigned => F::OFFSET,
        WeightKind::Signed => F::OFFSET + S::SIGNED_OFFSET,
    };
    // An offset of 0 leaves nothing of the subtraction.
    let minus = |dot, value| {
        if offset == 0 {
            dot
        } else {
            s.ints_minus(dot, value)
        }
    };
    // SAFETY: the caller's promises are those of what is called.
    unsafe {
        let scales = F::scales(s, head, from, first);
        let mut words = F::PLANES.read(s, from.add(F::SCALES), first);
        if F::KIND == WeightKind::Signed {
            for word in &mut words {
                *word = s.signed(*word);
            }
        }
        if F::HALVES {
            for (half, part) in [Part::First, Part::Second].into_iter().enumerate() {
                let dots = s.dot::<N, STRIDE>(F::KIND, part, &words, x);
                for n in 0..N {
                    let dot = minus(dots[n], offset * factors[n].sums.halves[half]);
                    let d = s.floats_mul(scales.d[half], s.floats(factors[n].scale));
                    sums[n] = s.floats_fma(d, s.floats_from(dot), sums[n]);
                }
            }
        } else {
            let dots = s.dot::<N, STRIDE>(F::KIND, Part::Whole, &words, x);
            for n in 0..N {
                let dot = minus(dots[n], offset * factors[n].sums.whole);
                let d = s.floats_mul(scales.d[0], s.floats(factors[n].scale));
                sums[n] = s.floats_fma(d, s.floats_from(dot), sums[n]);
                if F::HAS_MINIMUM {
                    sums[n] = s.floats_fma(scales.m, s.floats(factors[n].scaled_sum), sums[n]);
                }
            }
        }
    }
}
