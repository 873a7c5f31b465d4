//! AVX2 with FMA and F16C: 256-bit vectors, exact 16-bit multiply-adds (`vpmaddwd`).

use std::arch::x86_64::*;

use super::{ActivationBlock, BlockOrder, Halves, LANES, OfTile, Simd, TILE_ROWS, WeightKind};

/// Proof that the CPU has AVX2, FMA and F16C.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(());

impl Avx2 {
    /// # Safety
    /// The CPU has AVX2, FMA and F16C.
    pub(crate) unsafe fn new() -> Self {
        Self(())
    }
}

/// Splits 32 bytes into the 16-bit values of even and of odd elements.
#[inline(always)]
fn even_odd(kind: WeightKind, q: __m256i) -> [__m256i; 2] {
    // SAFETY: called only from methods of a proof type (AVX2).
    unsafe {
        match kind {
            WeightKind::Unsigned => [
                _mm256_and_si256(q, _mm256_set1_epi16(0x00FF)),
                _mm256_srli_epi16::<8>(q),
            ],
            WeightKind::Signed => [
                _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(q)),
                _mm256_srai_epi16::<8>(q),
            ],
        }
    }
}

/// Adds the four `i32` of each 128-bit half of each row: `[rows 0..8 of half 0, of half 1]`.
#[inline(always)]
pub(super) fn reduce_rows(v: &[__m256i; LANES]) -> [__m256i; 2] {
    // SAFETY: called only from methods of a proof type (AVX2).
    unsafe {
        let pair =
            |a, b| _mm256_add_epi32(_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
        let quad =
            |a, b| _mm256_add_epi32(_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b));
        let low = quad(pair(v[0], v[1]), pair(v[2], v[3]));
        let high = quad(pair(v[4], v[5]), pair(v[6], v[7]));
        [
            _mm256_permute2x128_si256::<0x20>(low, high),
            _mm256_permute2x128_si256::<0x31>(low, high),
        ]
    }
}

/// Packs four vectors of eight `i32` into 32 `i16` in natural order.
#[inline(always)]
pub(super) fn narrow(values: [__m256i; 4]) -> [__m256i; 2] {
    // SAFETY: called only from methods of a proof type (AVX2).
    unsafe {
        [
            _mm256_permute4x64_epi64::<0xD8>(_mm256_packs_epi32(values[0], values[1])),
            _mm256_permute4x64_epi64::<0xD8>(_mm256_packs_epi32(values[2], values[3])),
        ]
    }
}

/// Transposes an 8 × 8 matrix of `i32`.
#[inline(always)]
fn transpose(v: [__m256i; 8]) -> [__m256i; 8] {
    // SAFETY: called only from methods of a proof type (AVX2).
    unsafe {
        let mut a = v;
        for i in 0..4 {
            a[2 * i] = _mm256_unpacklo_epi32(v[2 * i], v[2 * i + 1]);
            a[2 * i + 1] = _mm256_unpackhi_epi32(v[2 * i], v[2 * i + 1]);
        }
        let mut b = a;
        for i in 0..2 {
            b[4 * i] = _mm256_unpacklo_epi64(a[4 * i], a[4 * i + 2]);
            b[4 * i + 1] = _mm256_unpackhi_epi64(a[4 * i], a[4 * i + 2]);
            b[4 * i + 2] = _mm256_unpacklo_epi64(a[4 * i + 1], a[4 * i + 3]);
            b[4 * i + 3] = _mm256_unpackhi_epi64(a[4 * i + 1], a[4 * i + 3]);
        }
        let mut c = b;
        for i in 0..4 {
            c[i] = _mm256_permute2x128_si256::<0x20>(b[i], b[i + 4]);
            c[i + 4] = _mm256_permute2x128_si256::<0x31>(b[i], b[i + 4]);
        }
        c
    }
}

/// Writes eight rows of 32 bytes, widened, as the pairs `[pair][row]` of a panel block.
///
/// # Safety
/// The CPU has AVX2; `panel` is valid for a panel block.
#[inline(always)]
pub(super) unsafe fn pack_pairs(
    kind: WeightKind,
    rows: &[__m256i; LANES],
    offset: i32,
    group: usize,
    panel: *mut u8,
) {
    // SAFETY: pair `p` of sixteen rows takes 64 bytes, sixteen pairs the whole block.
    unsafe {
        let offset = _mm256_set1_epi16(offset as i16);
        for half in 0..2 {
            let mut wide = [_mm256_setzero_si256(); LANES];
            for r in 0..LANES {
                let bytes = if half == 0 {
                    _mm256_castsi256_si128(rows[r])
                } else {
                    _mm256_extracti128_si256::<1>(rows[r])
                };
                let values = match kind {
                    WeightKind::Unsigned => _mm256_cvtepu8_epi16(bytes),
                    WeightKind::Signed => _mm256_cvtepi8_epi16(bytes),
                };
                wide[r] = _mm256_sub_epi16(values, offset);
            }
            let pairs = transpose(wide);
            for (p, pair) in pairs.into_iter().enumerate() {
                let at = panel.add((8 * half + p) * 4 * TILE_ROWS + group * 32);
                _mm256_store_si256(at.cast(), pair);
            }
        }
    }
}

// SAFETY: a value exists only where `Avx2::new`'s promise was kept.
unsafe impl Simd for Avx2 {
    type F32 = __m256;
    type I32 = __m256i;
    type Bytes = __m256i;
    type TileF32 = [__m256; 2];
    type TileI32 = [__m256i; 2];

    const ROWS_PER_BYTES: usize = 1;

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
    unsafe fn gather_u16(self, from: *const u8, stride: usize) -> Self::I32 {
        // SAFETY: the caller promises eight reads, `stride` apart.
        unsafe {
            let at = |r: usize| i32::from(from.add(r * stride).cast::<u16>().read_unaligned());
            _mm256_setr_epi32(at(0), at(1), at(2), at(3), at(4), at(5), at(6), at(7))
        }
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
    fn f16_lanes_to_f32(self, a: Self::I32) -> Self::F32 {
        // SAFETY: `self` proves the instructions.
        unsafe {
            let low = _mm256_and_si256(a, _mm256_set1_epi32(0xFFFF));
            let packed = _mm256_packus_epi32(low, low);
            let halves = _mm256_permute4x64_epi64::<0x08>(packed);
            _mm256_cvtph_ps(_mm256_castsi256_si128(halves))
        }
    }

    #[inline(always)]
    unsafe fn load_bytes(self, from: *const u8, _pair_stride: usize) -> Self::Bytes {
        // SAFETY: the caller promises 32 readable bytes.
        unsafe { _mm256_loadu_si256(from.cast()) }
    }
    #[inline(always)]
    unsafe fn load_nibbles(self, from: *const u8, _pair_stride: usize) -> Self::Bytes {
        // SAFETY: the caller promises 16 readable bytes.
        unsafe {
            let twice = _mm256_broadcastsi128_si256(_mm_loadu_si128(from.cast()));
            let shifted = _mm256_srlv_epi64(twice, _mm256_setr_epi64x(0, 0, 4, 4));
            _mm256_and_si256(shifted, _mm256_set1_epi8(15))
        }
    }
    #[inline(always)]
    unsafe fn load_bits_as_16(self, from: *const u8, _pair_stride: usize) -> Self::Bytes {
        // SAFETY: the caller promises 4 readable bytes.
        unsafe {
            let bits = _mm256_set1_epi32(from.cast::<i32>().read_unaligned());
            let which_byte = _mm256_setr_epi64x(
                0,
                0x0101_0101_0101_0101,
                0x0202_0202_0202_0202,
                0x0303_0303_0303_0303,
            );
            let bit_of_byte = _mm256_set1_epi64x(0x8040_2010_0804_0201_u64 as i64);
            let picked = _mm256_and_si256(_mm256_shuffle_epi8(bits, which_byte), bit_of_byte);
            let set = _mm256_cmpeq_epi8(picked, bit_of_byte);
            _mm256_and_si256(set, _mm256_set1_epi8(16))
        }
    }
    #[inline(always)]
    fn and_bytes(self, a: Self::Bytes, mask: u8) -> Self::Bytes {
        // SAFETY: `self` proves the instructions.
        unsafe { _mm256_and_si256(a, _mm256_set1_epi8(mask as i8)) }
    }
    #[inline(always)]
    fn or_bytes(self, a: Self::Bytes, b: Self::Bytes) -> Self::Bytes {
        // SAFETY: `self` proves the instructions.
        unsafe { _mm256_or_si256(a, b) }
    }
    #[inline(always)]
    fn shr_bytes<const N: i32>(self, a: Self::Bytes) -> Self::Bytes {
        // SAFETY: `self` proves the instructions.
        unsafe { _mm256_srli_epi16::<N>(a) }
    }
    #[inline(always)]
    fn shl_bytes<const N: i32>(self, a: Self::Bytes) -> Self::Bytes {
        // SAFETY: `self` proves the instructions.
        unsafe { _mm256_slli_epi16::<N>(a) }
    }
    #[inline(always)]
    fn zero_bytes(self) -> Self::Bytes {
        // SAFETY: `self` proves the instructions.
        unsafe { _mm256_setzero_si256() }
    }

    #[inline(always)]
    fn dot_rows(
        self,
        kind: WeightKind,
        rows: &[Self::Bytes; LANES],
        x: &ActivationBlock,
        _sums: &[i32; 2],
    ) -> [Self::I32; 2] {
        // SAFETY: `self` proves the instructions; a block is 64 bytes, aligned to 64.
        unsafe {
            let x: *const __m256i = x.0.as_ptr().cast();
            let (x_even, x_odd) = (_mm256_load_si256(x), _mm256_load_si256(x.add(1)));
            let mut partial = [_mm256_setzero_si256(); LANES];
            for r in 0..LANES {
                let [even, odd] = even_odd(kind, rows[r]);
                partial[r] = _mm256_add_epi32(
                    _mm256_madd_epi16(even, x_even),
                    _mm256_madd_epi16(odd, x_odd),
                );
            }
            reduce_rows(&partial)
        }
    }

    #[inline(always)]
    unsafe fn store_block(
        self,
        order: BlockOrder,
        values: [Self::I32; 4],
        to: *mut ActivationBlock,
    ) {
        // SAFETY: the caller promises that `to` is writable; it is aligned to 64.
        unsafe {
            let [low, high] = narrow(values);
            let [first, second] = match order {
                BlockOrder::Gemm => [low, high],
                BlockOrder::Gemv => {
                    let even = |v| _mm256_srai_epi32::<16>(_mm256_slli_epi32::<16>(v));
                    let odd = |v| _mm256_srai_epi32::<16>(v);
                    let join = |a, b| _mm256_permute4x64_epi64::<0xD8>(_mm256_packs_epi32(a, b));
                    [join(even(low), even(high)), join(odd(low), odd(high))]
                }
            };
            let to: *mut __m256i = to.cast();
            _mm256_store_si256(to, first);
            _mm256_store_si256(to.add(1), second);
        }
    }

    #[inline(always)]
    unsafe fn pack_rows(
        self,
        kind: WeightKind,
        rows: &[Self::Bytes; LANES],
        offset: i32,
        group: usize,
        panel: *mut u8,
    ) {
        // SAFETY: the caller's promise is this function's.
        unsafe { pack_pairs(kind, rows, offset, group, panel) }
    }
    #[inline(always)]
    unsafe fn tile_dot<const N: usize>(
        self,
        panel: *const u8,
        halves: Halves,
        x: &[*const ActivationBlock; N],
    ) -> [Self::TileI32; N] {
        let pairs = match halves {
            Halves::Both => 0..16,
            Halves::First => 0..8,
            Halves::Second => 8..16,
        };
        // SAFETY: a panel block holds sixteen pairs of 64 bytes, an activation block sixteen
        // pairs of four.
        unsafe {
            let mut sums = [[_mm256_setzero_si256(); 2]; N];
            for p in pairs {
                let w: *const __m256i = panel.add(p * 4 * TILE_ROWS).cast();
                let (low, high) = (_mm256_load_si256(w), _mm256_load_si256(w.add(1)));
                for n in 0..N {
                    let pair = _mm256_set1_epi32(x[n].cast::<i32>().add(p).read());
                    sums[n][0] = _mm256_add_epi32(sums[n][0], _mm256_madd_epi16(low, pair));
                    sums[n][1] = _mm256_add_epi32(sums[n][1], _mm256_madd_epi16(high, pair));
                }
            }
            sums
        }
    }
    #[inline(always)]
    fn with_tile_positions<T: OfTile<Self>>(self, of: T) {
        of.call::<6>(self);
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
    fn tile_mul(self, a: Self::TileF32, b: Self::TileF32) -> Self::TileF32 {
        [self.mul(a[0], b[0]), self.mul(a[1], b[1])]
    }
    #[inline(always)]
    fn tile_fma(self, a: Self::TileF32, b: Self::TileF32, c: Self::TileF32) -> Self::TileF32 {
        [self.fma(a[0], b[0], c[0]), self.fma(a[1], b[1], c[1])]
    }
    #[inline(always)]
    fn tile_to_f32(self, a: Self::TileI32) -> Self::TileF32 {
        [self.to_f32(a[0]), self.to_f32(a[1])]
    }

    #[inline(always)]
    fn prefetch(self, at: *const u8) {
        // SAFETY: a prefetch of any address is only a hint.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
    }
}
