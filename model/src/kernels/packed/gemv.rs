//! The GEMV for one or a few positions: weights are read once from memory, several groups at a
//! time.

use std::hint::black_box;
use std::ops::Range;

use super::super::activations::Factors;
use super::super::packed_format::{Format, GROUP};
use super::super::simd::{ActivationBlock, Simd, Words};
use super::products::{Apart, Products};
use super::{Multiply, prefetch};
use crate::kernels::rows::Layout;

/// Streams of groups that a thread reads at once: one sequential stream does not keep a processor's
/// memory busy.
const STREAMS: usize = 4;
/// Bytes of weights that stay in a second-level cache until the next pass over them.
const CHUNK: usize = 128 * 1024;

/// The sums of a group for `N` positions, for the first and the second half of its rows where a
/// vector has only half.
type Sums<S, const N: usize> = [[<S as Words>::Floats; N]; 2];

impl<F: Format> Multiply<'_, F> {
    #[inline(always)]
    pub(super) fn gemv<S: Simd>(&self, s: S) {
        let at_once = const { least(S::AT_ONCE, F::AT_ONCE) };
        let is_stored = self.w.layout() == Layout::Stored;
        let most = if self.positions > at_once || is_stored {
            (CHUNK / self.group_bytes()).max(STREAMS)
        } else {
            self.groups.len().max(1)
        };
        let mut scratch = Vec::new();
        let mut rest = self.groups.clone();
        while !rest.is_empty() {
            let groups = rest.start..rest.end.min(rest.start + most);
            let at = match self.w.layout() {
                Layout::Packed => self.w.bytes_from_group(groups.start).as_ptr(),
                Layout::Stored => self.pack_to(groups.clone(), &mut scratch),
            };
            for first in (0..self.positions).step_by(at_once) {
                match (self.positions - first).min(at_once) {
                    1 => self.pass::<S, 1>(s, at, groups.clone(), first),
                    n if n == 2 || at_once == 2 => self.pass::<S, 2>(s, at, groups.clone(), first),
                    3 => self.pass::<S, 3>(s, at, groups.clone(), first),
                    _ => self.pass::<S, 4>(s, at, groups.clone(), first),
                }
            }
            rest.start = groups.end;
        }
    }

    /// `N` positions from `position` on times some groups, which lie packed at `at`.
    #[inline(always)]
    fn pass<S: Simd, const N: usize>(
        &self,
        s: S,
        at: *const u8,
        groups: Range<usize>,
        position: usize,
    ) {
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
            let stride = apart * self.group_bytes();
            let at = at.wrapping_add((first - groups.start) * self.group_bytes());
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
        let products = Products::of::<F>(s);
        // The compiler would unroll a loop of eight whole sub-blocks, to no use.
        let subs = if F::SUBS == 1 { 1 } else { black_box(F::SUBS) };
        for b in 0..self.x.blocks() / F::SUBS {
            for (stream, sums) in sums.iter_mut().enumerate() {
                // SAFETY: block `b` of a group; `sub` and `half` stay inside it.
                unsafe {
                    let block = at.add(stream * stride + b * F::BYTES);
                    for (half, sums) in sums.iter_mut().enumerate().take(GROUP / S::ROWS) {
                        let first = half * S::ROWS;
                        let head = F::head(s, block, first);
                        for sub in 0..subs {
                            if half == 0 {
                                let sub_block = block.add(F::HEAD + sub * F::SUB_BYTES);
                                prefetch(s, sub_block, F::SUB_BYTES);
                            }
                            let index = b * F::SUBS + sub;
                            let mut blocks = [std::ptr::null(); N];
                            let mut factors = [x[0].1.get_unchecked(index); N];
                            let of_positions = blocks.iter_mut().zip(&mut factors).zip(x);
                            for ((block, factors), x) in of_positions {
                                *block = opaque(x.0.as_ptr().add(index).cast());
                                *factors = x.1.get_unchecked(index);
                            }
                            let sub_block = F::sub_block(s, &head, block, sub, first);
                            products.add(s, &sub_block, Apart(blocks), &factors, sums);
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
                let row = group * GROUP + half * S::ROWS;
                self.output().store(s, position + n, row, *sum);
            }
        }
    }
}

const fn least(a: usize, b: usize) -> usize {
    if a < b { a } else { b }
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
