//! The layout of a KV cache in f16, made for reading: keys as `[kv_head, block, dimension, 64
//! positions]`, so that 64 scores are computed side by side without any horizontal sum, values as
//! `[kv_head, position, dimension]`. Blocks of a sequence lie in a ring: those behind the last place
//! begin again at the first.

use std::ops::Range;

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::SharedSlice;
use super::simd::LANES;

/// Positions of a cache block.
pub(crate) const BLOCK: usize = 64;

/// Sizes of one layer's cache of keys, or of values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct CacheShape {
    pub(crate) kv_heads: usize,
    /// Coordinates of a head with those that fill it up: a multiple of 8.
    pub(crate) head_dim: usize,
    /// Positions there is room for at once; a multiple of [`BLOCK`].
    pub(crate) capacity: usize,
}

impl CacheShape {
    /// Coordinates that a head of `head_dim` takes: those beyond are 0 and change no product.
    pub(crate) const fn padded(head_dim: usize) -> usize {
        head_dim.next_multiple_of(LANES)
    }

    /// Elements of the key cache, and of the value cache.
    pub(crate) fn elements(&self) -> usize {
        self.kv_heads * self.capacity * self.head_dim
    }

    /// Blocks there is room for at once.
    pub(crate) fn blocks(&self) -> usize {
        self.capacity / BLOCK
    }

    /// Where a block of keys of one head lies: `[head_dim, 64]`.
    pub(super) fn key_block(&self, head: usize, block: usize) -> Range<usize> {
        let size = self.head_dim * BLOCK;
        let start = (head * self.blocks() + block % self.blocks()) * size;
        start..start + size
    }

    /// Where the values of one head from `position` on lie, all of one block: `[count, head_dim]`.
    pub(super) fn value_rows(&self, head: usize, position: usize, count: usize) -> Range<usize> {
        let block = head * self.blocks() + position / BLOCK % self.blocks();
        let start = (block * BLOCK + position % BLOCK) * self.head_dim;
        start..start + count * self.head_dim
    }
}

/// Stores the keys and values of one position, `[kv_heads, head_dim]` each. What fills a head up to
/// the cache's width stays 0, as the cache was made. A key that 16 bits cannot hold makes the value
/// NaN, and so everything that sees it.
///
/// # Panics
/// If the sizes do not match.
///
/// # Safety
/// No other thread touches the place of this position in the caches.
pub(crate) unsafe fn append(
    shape: CacheShape,
    position: usize,
    head_dim: usize,
    key: &[f32],
    value: &[f32],
    keys: SharedSlice<'_, f16>,
    values: SharedSlice<'_, f16>,
) {
    assert!(head_dim <= shape.head_dim);
    let heads = key.chunks_exact(head_dim).zip(value.chunks_exact(head_dim));
    assert_eq!(heads.len(), shape.kv_heads);
    let mut narrow = vec![f16::ZERO; head_dim];
    for (head, (key, value)) in heads.enumerate() {
        // SAFETY: this position's row is ours.
        let row = unsafe { values.part(shape.value_rows(head, position, 1)) };
        row[..head_dim].convert_from_f32_slice(value);
        narrow.convert_from_f32_slice(key);
        // An infinite score could pass for a finite one further on; NaN values cannot.
        if narrow.iter().fold(false, |any, k| any | !k.is_finite()) {
            row[..head_dim].fill(f16::NAN);
        }
        let block = shape.key_block(head, position / BLOCK);
        for (d, &k) in narrow.iter().enumerate() {
            let at = block.start + d * BLOCK + position % BLOCK;
            // SAFETY: this position's elements are ours.
            unsafe { values_of(keys, at)[0] = k };
        }
    }
}

/// # Safety
/// No other thread touches element `at`.
unsafe fn values_of<'a>(slice: SharedSlice<'a, f16>, at: usize) -> &'a mut [f16] {
    // SAFETY: the caller's promise is this function's.
    unsafe { slice.part(at..at + 1) }
}
