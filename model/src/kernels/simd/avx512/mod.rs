//! AVX-512 (F, BW, VL) with VNNI. Eight lanes of `f32` and `i32` are AVX2's; what is wider is the
//! integer arithmetic: two rows a vector in the GEMV (`vpdpbusd` on the high and the low byte of
//! the activations), sixteen rows a vector where weights are packed.

mod words;

use std::arch::x86_64::*;

use super::avx2::{self, Avx2, MOVED_BY};
use super::{ActivationBlock, BlockSums, LANES, Simd, WeightForm, WeightKind};

/// Proof that the CPU has AVX-512 F, BW, VL and VNNI, and all that [`Avx2`] proves.
#[derive(Clone, Copy)]
pub(crate) struct Avx512(Avx2<false>);

impl Avx512 {
    /// # Safety
    /// The CPU has AVX-512 F, BW, VL, VNNI, and AVX2, FMA and F16C.
    pub(crate) unsafe fn new() -> Self {
        // SAFETY: the caller's promise includes this one.
        Self(unsafe { Avx2::new() })
    }
}

/// Methods that are AVX2's.
macro_rules! as_avx2 {
    ($(fn $name:ident $(<$($n:ident),*>)? ($($arg:ident: $type:ty),*) -> $out:ty;)*) => {
        $(
            #[inline(always)]
            fn $name$(<$(const $n: i32),*>)?(self, $($arg: $type),*) -> $out {
                self.0.$name$(::<$($n),*>)?($($arg),*)
            }
        )*
    };
    ($(unsafe fn $name:ident($($arg:ident: $type:ty),*) $(-> $out:ty)?;)*) => {
        $(
            #[inline(always)]
            unsafe fn $name(self, $($arg: $type),*) $(-> $out)? {
                // SAFETY: the caller's promise is this function's.
                unsafe { self.0.$name($($arg),*) }
            }
        )*
    };
}

/// Two rows of 32 bytes in one vector.
#[inline(always)]
fn join(a: __m256i, b: __m256i) -> __m512i {
    // SAFETY: called only from methods of a proof type (AVX-512).
    unsafe { _mm512_inserti64x4::<1>(_mm512_castsi256_si512(a), b) }
}

/// Dot products of eight rows, signed ones moved, with an activation block, for the first and for
/// the second 16 elements.
///
/// # Safety
/// The CPU has AVX-512 and VNNI.
#[inline(always)]
unsafe fn products(kind: WeightKind, rows: &[__m512i; LANES], x: &ActivationBlock) -> [__m256i; 2] {
    // SAFETY: the caller promises the instructions; a block is 64 bytes, aligned to 64.
    unsafe {
        let x: *const __m256i = x.0.as_ptr().cast();
        let high = _mm512_broadcast_i64x4(_mm256_load_si256(x));
        let low = _mm512_broadcast_i64x4(_mm256_load_si256(x.add(1)));
        let mut v = [_mm512_setzero_si512(); 4];
        for i in 0..4 {
            let w = match kind {
                WeightKind::Unsigned => rows[i],
                WeightKind::Signed | WeightKind::LookedUp => {
                    _mm512_xor_si512(rows[i], _mm512_set1_epi8(-128))
                }
            };
            let h = _mm512_dpbusd_epi32(_mm512_setzero_si512(), w, high);
            v[i] = _mm512_dpbusd_epi32(_mm512_slli_epi32::<8>(h), w, low);
        }
        let pair =
            |a, b| _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
        let (a, b) = (pair(v[0], v[1]), pair(v[2], v[3]));
        // Quarters: rows 0..4 of half 0 and of half 1, then rows 4..8 of each.
        let c = _mm512_add_epi32(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
        [
            _mm512_castsi512_si256(_mm512_shuffle_i32x4::<0b1000>(c, c)),
            _mm512_castsi512_si256(_mm512_shuffle_i32x4::<0b1101>(c, c)),
        ]
    }
}

// SAFETY: a value exists only where `Avx512::new`'s promise was kept.
unsafe impl Simd for Avx512 {
    type F32 = __m256;
    type I32 = __m256i;
    type Bytes = __m512i;
    type TileF32 = __m512;

    const ROWS_PER_BYTES: usize = 2;
    const HAS_WIDE_TILES: bool = true;

    as_avx2! {
        fn splat(value: f32) -> Self::F32;
        fn add(a: Self::F32, b: Self::F32) -> Self::F32;
        fn sub(a: Self::F32, b: Self::F32) -> Self::F32;
        fn mul(a: Self::F32, b: Self::F32) -> Self::F32;
        fn div(a: Self::F32, b: Self::F32) -> Self::F32;
        fn fma(a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32;
        fn max(a: Self::F32, b: Self::F32) -> Self::F32;
        fn min(a: Self::F32, b: Self::F32) -> Self::F32;
        fn round_to_i32(a: Self::F32) -> Self::I32;
        fn to_f32(a: Self::I32) -> Self::F32;
        fn f32_bits(a: Self::F32) -> Self::I32;
        fn f32_from_bits(a: Self::I32) -> Self::F32;
        fn splat_i32(value: i32) -> Self::I32;
        fn add_i32(a: Self::I32, b: Self::I32) -> Self::I32;
        fn sub_i32(a: Self::I32, b: Self::I32) -> Self::I32;
        fn and_i32(a: Self::I32, b: Self::I32) -> Self::I32;
        fn or_i32(a: Self::I32, b: Self::I32) -> Self::I32;
        fn max_i32(a: Self::I32, b: Self::I32) -> Self::I32;
        fn shr_i32<N>(a: Self::I32) -> Self::I32;
        fn shl_i32<N>(a: Self::I32) -> Self::I32;
        fn shr_i32_by(a: Self::I32, by: u32) -> Self::I32;
        fn sign_extend_byte(a: Self::I32) -> Self::I32;
        fn f16_pairs_to_f32(a: Self::I32) -> [Self::F32; 2];
        fn prefetch(at: *const u8) -> ();
    }
    as_avx2! {
        unsafe fn load(from: *const f32) -> Self::F32;
        unsafe fn load_f16(from: *const u16) -> Self::F32;
        unsafe fn load_bf16(from: *const u16) -> Self::F32;
        unsafe fn store(value: Self::F32, to: *mut f32);
        unsafe fn store_i32(value: Self::I32, to: *mut i32);
        unsafe fn gather_u32(from: *const u8, stride: usize) -> Self::I32;
    }

    #[inline(always)]
    unsafe fn load_bytes(self, from: *const u8, pair_stride: usize) -> Self::Bytes {
        // SAFETY: the caller promises 32 readable bytes of both rows.
        unsafe {
            join(
                _mm256_loadu_si256(from.cast()),
                _mm256_loadu_si256(from.add(pair_stride).cast()),
            )
        }
    }
    #[inline(always)]
    unsafe fn load_nibbles(self, from: *const u8, pair_stride: usize) -> Self::Bytes {
        // SAFETY: the caller promises 16 readable bytes of both rows.
        unsafe {
            let first = _mm512_broadcast_i32x4(_mm_loadu_si128(from.cast()));
            let second = _mm_loadu_si128(from.add(pair_stride).cast());
            let both = _mm512_mask_broadcast_i32x4(first, 0xFF00, second);
            let shifted = _mm512_srlv_epi64(both, _mm512_setr_epi64(0, 0, 4, 4, 0, 0, 4, 4));
            _mm512_and_si512(shifted, _mm512_set1_epi8(15))
        }
    }
    #[inline(always)]
    unsafe fn load_bits_as_16(self, from: *const u8, pair_stride: usize) -> Self::Bytes {
        // SAFETY: the caller promises 4 readable bytes of both rows.
        unsafe {
            let low = u64::from(from.cast::<u32>().read_unaligned());
            let high = u64::from(from.add(pair_stride).cast::<u32>().read_unaligned());
            _mm512_maskz_mov_epi8(low | (high << 32), _mm512_set1_epi8(16))
        }
    }
    #[inline(always)]
    fn and_bytes(self, a: Self::Bytes, mask: u8) -> Self::Bytes {
        // SAFETY: `self` proves the instructions.
        unsafe { _mm512_and_si512(a, _mm512_set1_epi8(mask as i8)) }
    }
    #[inline(always)]
    fn or_bytes(self, a: Self::Bytes, b: Self::Bytes) -> Self::Bytes {
        // SAFETY: `self` proves the instructions.
        unsafe { _mm512_or_si512(a, b) }
    }
    #[inline(always)]
    fn lookup_bytes(self, a: Self::Bytes, values: &[i8; 16]) -> Self::Bytes {
        // SAFETY: `self` proves the instructions; sixteen bytes are read.
        unsafe {
            let table = _mm512_broadcast_i32x4(_mm_loadu_si128(values.as_ptr().cast()));
            _mm512_shuffle_epi8(table, a)
        }
    }
    #[inline(always)]
    fn shr_bytes<const N: i32>(self, a: Self::Bytes) -> Self::Bytes {
        // SAFETY: `self` proves the instructions.
        unsafe { _mm512_srl_epi16(a, _mm_cvtsi32_si128(N)) }
    }
    #[inline(always)]
    fn shl_bytes<const N: i32>(self, a: Self::Bytes) -> Self::Bytes {
        // SAFETY: `self` proves the instructions.
        unsafe { _mm512_sll_epi16(a, _mm_cvtsi32_si128(N)) }
    }
    #[inline(always)]
    fn zero_bytes(self) -> Self::Bytes {
        // SAFETY: `self` proves the instructions.
        unsafe { _mm512_setzero_si512() }
    }

    #[inline(always)]
    fn dot_rows(
        self,
        form: WeightForm,
        rows: &[Self::Bytes; LANES],
        x: &ActivationBlock,
        sums: &BlockSums,
    ) -> Self::I32 {
        // SAFETY: `self` proves the instructions.
        let [first, second] = unsafe { products(form.kind, rows, x) };
        let moved = self.add_i32(first, second);
        match form.kind {
            WeightKind::Unsigned => moved,
            WeightKind::Signed | WeightKind::LookedUp => {
                self.sub_i32(moved, self.splat_i32(MOVED_BY * sums.whole.value))
            }
        }
    }
    #[inline(always)]
    fn dot_row_halves(
        self,
        form: WeightForm,
        rows: &[Self::Bytes; LANES],
        x: &ActivationBlock,
        sums: &BlockSums,
    ) -> [Self::I32; 2] {
        // SAFETY: `self` proves the instructions.
        let moved = unsafe { products(form.kind, rows, x) };
        match form.kind {
            WeightKind::Unsigned => moved,
            WeightKind::Signed | WeightKind::LookedUp => [
                self.sub_i32(moved[0], self.splat_i32(MOVED_BY * sums.halves[0].value)),
                self.sub_i32(moved[1], self.splat_i32(MOVED_BY * sums.halves[1].value)),
            ],
        }
    }

    #[inline(always)]
    unsafe fn store_block(self, values: [Self::I32; 4], to: *mut ActivationBlock) {
        // SAFETY: the caller promises that `to` is writable; it is aligned to 64.
        unsafe {
            let [first, second] = avx2::high_low(avx2::narrow(values));
            let to: *mut __m256i = to.cast();
            _mm256_store_si256(to, first);
            _mm256_store_si256(to.add(1), second);
        }
    }

    #[inline(always)]
    fn tile_splat(self, value: f32) -> Self::TileF32 {
        // SAFETY: `self` proves the instructions.
        unsafe { _mm512_set1_ps(value) }
    }
    #[inline(always)]
    unsafe fn tile_load(self, from: *const f32) -> Self::TileF32 {
        // SAFETY: `self` proves the instructions; the caller the read.
        unsafe { _mm512_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn tile_store(self, value: Self::TileF32, to: *mut f32) {
        // SAFETY: `self` proves the instructions; the caller the write.
        unsafe { _mm512_storeu_ps(to, value) }
    }
    #[inline(always)]
    fn tile_halves(self, a: Self::TileF32) -> [Self::F32; 2] {
        // SAFETY: `self` proves the instructions.
        unsafe {
            let high = _mm512_extracti64x4_epi64::<1>(_mm512_castps_si512(a));
            [_mm512_castps512_ps256(a), _mm256_castsi256_ps(high)]
        }
    }
    #[inline(always)]
    fn tile_of(self, halves: [Self::F32; 2]) -> Self::TileF32 {
        // SAFETY: `self` proves the instructions.
        unsafe {
            let [low, high] = halves;
            let both = join(_mm256_castps_si256(low), _mm256_castps_si256(high));
            _mm512_castsi512_ps(both)
        }
    }
    #[inline(always)]
    unsafe fn tile_load_f16(self, from: *const u16) -> Self::TileF32 {
        // SAFETY: `self` proves the instructions; the caller the read.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.cast())) }
    }
    #[inline(always)]
    fn tile_max(self, a: Self::TileF32, b: Self::TileF32) -> Self::TileF32 {
        // SAFETY: `self` proves the instructions.
        unsafe { _mm512_max_ps(a, b) }
    }
    #[inline(always)]
    fn tile_add(self, a: Self::TileF32, b: Self::TileF32) -> Self::TileF32 {
        // SAFETY: `self` proves the instructions.
        unsafe { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    fn tile_sub(self, a: Self::TileF32, b: Self::TileF32) -> Self::TileF32 {
        // SAFETY: `self` proves the instructions.
        unsafe { _mm512_sub_ps(a, b) }
    }
    #[inline(always)]
    fn tile_min(self, a: Self::TileF32, b: Self::TileF32) -> Self::TileF32 {
        // SAFETY: `self` proves the instructions.
        unsafe { _mm512_min_ps(a, b) }
    }
    #[inline(always)]
    fn tile_round(self, a: Self::TileF32) -> Self::TileF32 {
        // SAFETY: `self` proves the instructions.
        unsafe { _mm512_roundscale_ps::<_MM_FROUND_TO_NEAREST_INT>(a) }
    }
    #[inline(always)]
    fn tile_scale(self, a: Self::TileF32, n: Self::TileF32) -> Self::TileF32 {
        // SAFETY: `self` proves the instructions.
        unsafe { _mm512_scalef_ps(a, n) }
    }
    #[inline(always)]
    fn tile_mul(self, a: Self::TileF32, b: Self::TileF32) -> Self::TileF32 {
        // SAFETY: `self` proves the instructions.
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    fn tile_fma(self, a: Self::TileF32, b: Self::TileF32, c: Self::TileF32) -> Self::TileF32 {
        // SAFETY: `self` proves the instructions.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
}
