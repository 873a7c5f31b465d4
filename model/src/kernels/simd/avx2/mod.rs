//! AVX2 with FMA and F16C: 256-bit vectors, exact 16-bit multiply-adds (`vpmaddwd`); and the same with
//! AVX-VNNI, where the activations are two signed bytes (`x = 256·high + low`) and four products a
//! lane are added at once (`vpdpbusd`).

mod products;
mod words;

use std::arch::x86_64::*;

pub(super) use products::{MOVED_BY, high_low, narrow, offset_pair, sum_pair};
use products::{dot_paired_rows, dot_whole_rows, moved_back};

use super::{ActivationBlock, Arrangement, BlockSums, LANES, Simd, WeightForm};

/// Proof that the CPU has AVX2, FMA and F16C, and if `VNNI` AVX-VNNI.
#[derive(Clone, Copy)]
pub(crate) struct Avx2<const VNNI: bool>(());

impl<const VNNI: bool> Avx2<VNNI> {
    /// # Safety
    /// The CPU has AVX2, FMA and F16C, and if `VNNI` AVX-VNNI.
    pub(crate) unsafe fn new() -> Self {
        Self(())
    }
}

/// 16 bytes of a row, and of another, in the halves of a vector.
///
/// # Safety
/// Those reads are valid.
#[inline(always)]
unsafe fn join(a: *const u8, b: *const u8) -> __m256i {
    // SAFETY: the caller promises the reads; called only from methods of a proof type (AVX2).
    unsafe {
        let a = _mm256_castsi128_si256(_mm_loadu_si128(a.cast()));
        _mm256_inserti128_si256::<1>(a, _mm_loadu_si128(b.cast()))
    }
}

// SAFETY: a value exists only where `Avx2::new`'s promise was kept.
unsafe impl<const VNNI: bool> Simd for Avx2<VNNI> {
    type F32 = __m256;
    type I32 = __m256i;
    /// Two rows, see [`Arrangement`].
    type Bytes = [__m256i; 2];
    type TileF32 = [__m256; 2];

    const ROWS_PER_BYTES: usize = 2;
    const HAS_WIDE_TILES: bool = false;

    #[inline(always)]
    fn splat(self, value: f32) -> Self::F32 {
        // SAFETY: `self` proves the instructions.
        unsafe { _mm256_set1_ps(value) }
    }
    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> Self::F32 {
        // SAFETY: `self` proves the instructions; the caller the read.
        unsafe { _mm256_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn load_f16(self, from: *const u16) -> Self::F32 {
        // SAFETY: as for `load`, 16 bytes.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(from.cast())) }
    }
    #[inline(always)]
    unsafe fn load_bf16(self, from: *const u16) -> Self::F32 {
        // SAFETY: as for `load`, 16 bytes.
        unsafe {
            let wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(from.cast()));
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(wide))
        }
    }
    #[inline(always)]
    unsafe fn store(self, value: Self::F32, to: *mut f32) {
        // SAFETY: `self` proves the instructions; the caller the write.
        unsafe { _mm256_storeu_ps(to, value) }
    }
    #[inline(always)]
    fn add(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        // SAFETY: `self` proves the instructions.
        unsafe { _mm256_add_ps(a, b) }
    }
    #[inline(always)]
    fn sub(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        // SAFETY: `self` proves the instructions.
        unsafe { _mm256_sub_ps(a, b) }
    }
    #[inline(always)]
    fn mul(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        // SAFETY: `self` proves the instructions.
        unsafe { _mm256_mul_ps(a, b) }
    }
    #[inline(always)]
    fn div(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        // SAFETY: `self` proves the instructions.
        unsafe { _mm256_div_ps(a, b) }
    }
    #[inline(always)]
    fn fma(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32 {
        // SAFETY: `self` proves the instructions.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    fn max(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        // SAFETY: `self` proves the instructions.
        unsafe { _mm256_max_ps(a, b) }
    }
    #[inline(always)]
    fn min(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        // SAFETY: `self` proves the instructions.
        unsafe { _mm256_min_ps(a, b) }
    }
    #[inline(always)]
    fn round_to_i32(self, a: Self::F32) -> Self::I32 {
        // SAFETY: `self` proves the instructions. The rounding mode is never changed from nearest.
        unsafe { _mm256_cvtps_epi32(a) }
    }
    #[inline(always)]
    fn to_f32(self, a: Self::I32) -> Self::F32 {
        // SAFETY: `self` proves the instructions.
        unsafe { _mm256_cvtepi32_ps(a) }
    }
    #[inline(always)]
    fn f32_bits(self, a: Self::F32) -> Self::I32 {
        // SAFETY: `self` proves the instructions.
        unsafe { _mm256_castps_si256(a) }
    }
    #[inline(always)]
    fn f32_from_bits(self, a: Self::I32) -> Self::F32 {
        // SAFETY: `self` proves the instructions.
        unsafe { _mm256_castsi256_ps(a) }
    }

    #[inline(always)]
    fn splat_i32(self, value: i32) -> Self::I32 {
        // SAFETY: `self` proves the instructions.
        unsafe { _mm256_set1_epi32(value) }
    }
    #[inline(always)]
    unsafe fn store_i32(self, value: Self::I32, to: *mut i32) {
        // SAFETY: `self` proves the instructions; the caller the write.
        unsafe { _mm256_storeu_si256(to.cast(), value) }
    }
    #[inline(always)]
    fn add_i32(self, a: Self::I32, b: Self::I32) -> Self::I32 {
        // SAFETY: `self` proves the instructions.
        unsafe { _mm256_add_epi32(a, b) }
    }
    #[inline(always)]
    fn sub_i32(self, a: Self::I32, b: Self::I32) -> Self::I32 {
        // SAFETY: `self` proves the instructions.
        unsafe { _mm256_sub_epi32(a, b) }
    }
    #[inline(always)]
    fn and_i32(self, a: Self::I32, b: Self::I32) -> Self::I32 {
        // SAFETY: `self` proves the instructions.
        unsafe { _mm256_and_si256(a, b) }
    }
    #[inline(always)]
    fn or_i32(self, a: Self::I32, b: Self::I32) -> Self::I32 {
        // SAFETY: `self` proves the instructions.
        unsafe { _mm256_or_si256(a, b) }
    }
    #[inline(always)]
    fn max_i32(self, a: Self::I32, b: Self::I32) -> Self::I32 {
        // SAFETY: `self` proves the instructions.
        unsafe { _mm256_max_epi32(a, b) }
    }
    #[inline(always)]
    fn shr_i32<const N: i32>(self, a: Self::I32) -> Self::I32 {
        // SAFETY: `self` proves the instructions.
        unsafe { _mm256_srli_epi32::<N>(a) }
    }
    #[inline(always)]
    fn shl_i32<const N: i32>(self, a: Self::I32) -> Self::I32 {
        // SAFETY: `self` proves the instructions.
        unsafe { _mm256_slli_epi32::<N>(a) }
    }
    #[inline(always)]
    fn shr_i32_by(self, a: Self::I32, by: u32) -> Self::I32 {
        // SAFETY: `self` proves the instructions.
        unsafe { _mm256_srl_epi32(a, _mm_cvtsi32_si128(by as i32)) }
    }
    #[inline(always)]
    fn sign_extend_byte(self, a: Self::I32) -> Self::I32 {
        // SAFETY: `self` proves the instructions.
        unsafe { _mm256_srai_epi32::<24>(_mm256_slli_epi32::<24>(a)) }
    }

    #[inline(always)]
    unsafe fn gather_u32(self, from: *const u8, stride: usize) -> Self::I32 {
        // SAFETY: the caller promises eight reads, `stride` apart.
        unsafe {
            let at = |r: usize| _mm_loadu_si32(from.add(r * stride));
            let quad = |r: usize| {
                _mm_unpacklo_epi64(
                    _mm_unpacklo_epi32(at(r), at(r + 1)),
                    _mm_unpacklo_epi32(at(r + 2), at(r + 3)),
                )
            };
            _mm256_set_m128i(quad(4), quad(0))
        }
    }
    #[inline(always)]
    fn f16_pairs_to_f32(self, a: Self::I32) -> [Self::F32; 2] {
        // SAFETY: `self` proves the instructions.
        unsafe {
            let order = _mm256_broadcastsi128_si256(_mm_setr_epi8(
                0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15,
            ));
            let apart = _mm256_permute4x64_epi64::<0xD8>(_mm256_shuffle_epi8(a, order));
            [
                _mm256_cvtph_ps(_mm256_castsi256_si128(apart)),
                _mm256_cvtph_ps(_mm256_extracti128_si256::<1>(apart)),
            ]
        }
    }

    #[inline(always)]
    unsafe fn load_bytes(self, from: *const u8, pair_stride: usize) -> Self::Bytes {
        // SAFETY: the caller promises 32 readable bytes of both rows.
        unsafe {
            [
                _mm256_loadu_si256(from.cast()),
                _mm256_loadu_si256(from.add(pair_stride).cast()),
            ]
        }
    }
    #[inline(always)]
    unsafe fn load_nibbles(self, from: *const u8, pair_stride: usize) -> Self::Bytes {
        // SAFETY: the caller promises 16 readable bytes of both rows.
        unsafe {
            let packed = join(from, from.add(pair_stride));
            let low = _mm256_set1_epi8(15);
            [
                _mm256_and_si256(packed, low),
                _mm256_and_si256(_mm256_srli_epi16::<4>(packed), low),
            ]
        }
    }
    #[inline(always)]
    unsafe fn load_bits_as_16(self, from: *const u8, pair_stride: usize) -> Self::Bytes {
        // SAFETY: the caller promises 4 readable bytes of both rows.
        unsafe {
            let bits = |from: *const u8| _mm256_set1_epi32(from.cast::<i32>().read_unaligned());
            let both = _mm256_blend_epi32::<0xF0>(bits(from), bits(from.add(pair_stride)));
            let bit_of_byte = _mm256_set1_epi64x(0x8040_2010_0804_0201_u64 as i64);
            let spread = |first: i64| {
                let second = first + 0x0101_0101_0101_0101;
                let which_byte = _mm256_setr_epi64x(first, second, first, second);
                let picked = _mm256_and_si256(_mm256_shuffle_epi8(both, which_byte), bit_of_byte);
                let set = _mm256_cmpeq_epi8(picked, bit_of_byte);
                _mm256_and_si256(set, _mm256_set1_epi8(16))
            };
            [spread(0), spread(0x0202_0202_0202_0202)]
        }
    }
    #[inline(always)]
    fn and_bytes(self, a: Self::Bytes, mask: u8) -> Self::Bytes {
        // SAFETY: `self` proves the instructions.
        unsafe {
            [
                _mm256_and_si256(a[0], _mm256_set1_epi8(mask as i8)),
                _mm256_and_si256(a[1], _mm256_set1_epi8(mask as i8)),
            ]
        }
    }
    #[inline(always)]
    fn or_bytes(self, a: Self::Bytes, b: Self::Bytes) -> Self::Bytes {
        // SAFETY: `self` proves the instructions.
        unsafe { [_mm256_or_si256(a[0], b[0]), _mm256_or_si256(a[1], b[1])] }
    }
    #[inline(always)]
    fn lookup_bytes(self, a: Self::Bytes, values: &[i8; 16]) -> Self::Bytes {
        // SAFETY: `self` proves the instructions; sixteen bytes are read.
        unsafe {
            let table = _mm256_broadcastsi128_si256(_mm_loadu_si128(values.as_ptr().cast()));
            [
                _mm256_shuffle_epi8(table, a[0]),
                _mm256_shuffle_epi8(table, a[1]),
            ]
        }
    }
    #[inline(always)]
    fn shr_bytes<const N: i32>(self, a: Self::Bytes) -> Self::Bytes {
        // SAFETY: `self` proves the instructions.
        unsafe { [_mm256_srli_epi16::<N>(a[0]), _mm256_srli_epi16::<N>(a[1])] }
    }
    #[inline(always)]
    fn shl_bytes<const N: i32>(self, a: Self::Bytes) -> Self::Bytes {
        // SAFETY: `self` proves the instructions.
        unsafe { [_mm256_slli_epi16::<N>(a[0]), _mm256_slli_epi16::<N>(a[1])] }
    }
    #[inline(always)]
    fn zero_bytes(self) -> Self::Bytes {
        // SAFETY: `self` proves the instructions.
        unsafe { [_mm256_setzero_si256(); 2] }
    }

    #[inline(always)]
    fn dot_rows(
        self,
        form: WeightForm,
        rows: &[Self::Bytes; LANES],
        x: &ActivationBlock,
        sums: &BlockSums,
    ) -> Self::I32 {
        let moved = match form.arrangement {
            Arrangement::Halves => dot_paired_rows::<VNNI>(form.kind, rows, x),
            Arrangement::Rows => {
                let [first, second] = dot_whole_rows::<VNNI>(form.kind, rows, x);
                self.add_i32(first, second)
            }
        };
        moved_back::<VNNI>(form.kind, moved, sums.whole.value)
    }
    #[inline(always)]
    fn dot_row_halves(
        self,
        form: WeightForm,
        rows: &[Self::Bytes; LANES],
        x: &ActivationBlock,
        sums: &BlockSums,
    ) -> [Self::I32; 2] {
        // No format whose halves have their own scales packs its weights as nibbles alone.
        debug_assert!(form.arrangement == Arrangement::Rows);
        let [first, second] = dot_whole_rows::<VNNI>(form.kind, rows, x);
        [
            moved_back::<VNNI>(form.kind, first, sums.halves[0].value),
            moved_back::<VNNI>(form.kind, second, sums.halves[1].value),
        ]
    }

    #[inline(always)]
    unsafe fn store_block(self, values: [Self::I32; 4], to: *mut ActivationBlock) {
        // SAFETY: the caller promises that `to` is writable; it is aligned to 64.
        unsafe {
            let [low, high] = narrow(values);
            let [first, second] = if VNNI {
                high_low([low, high])
            } else {
                let even = |v| _mm256_srai_epi32::<16>(_mm256_slli_epi32::<16>(v));
                let odd = |v| _mm256_srai_epi32::<16>(v);
                let join = |a, b| _mm256_permute4x64_epi64::<0xD8>(_mm256_packs_epi32(a, b));
                [join(even(low), even(high)), join(odd(low), odd(high))]
            };
            let to: *mut __m256i = to.cast();
            _mm256_store_si256(to, first);
            _mm256_store_si256(to.add(1), second);
        }
    }

    #[inline(always)]
    fn tile_splat(self, value: f32) -> Self::TileF32 {
        [self.splat(value); 2]
    }
    #[inline(always)]
    unsafe fn tile_load(self, from: *const f32) -> Self::TileF32 {
        // SAFETY: the caller promises sixteen values.
        unsafe { [self.load(from), self.load(from.add(LANES))] }
    }
    #[inline(always)]
    unsafe fn tile_store(self, value: Self::TileF32, to: *mut f32) {
        // SAFETY: the caller promises room for sixteen values.
        unsafe {
            self.store(value[0], to);
            self.store(value[1], to.add(LANES));
        }
    }
    #[inline(always)]
    fn tile_halves(self, a: Self::TileF32) -> [Self::F32; 2] {
        a
    }
    #[inline(always)]
    fn tile_of(self, halves: [Self::F32; 2]) -> Self::TileF32 {
        halves
    }
    #[inline(always)]
    fn tile_mul(self, a: Self::TileF32, b: Self::TileF32) -> Self::TileF32 {
        [self.mul(a[0], b[0]), self.mul(a[1], b[1])]
    }
    #[inline(always)]
    fn tile_fma(self, a: Self::TileF32, b: Self::TileF32, c: Self::TileF32) -> Self::TileF32 {
        [self.fma(a[0], b[0], c[0]), self.fma(a[1], b[1], c[1])]
    }

    #[inline(always)]
    fn prefetch(self, at: *const u8) {
        // SAFETY: a prefetch of any address is only a hint.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
    }
}
