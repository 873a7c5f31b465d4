//! Plain Rust arrays: the scalar twin of every instruction set, and the only implementation that
//! every CPU has. It is written to be read; the others are checked against it bit for bit.

mod words;

use half::f16;

use super::{ActivationBlock, BlockSums, LANES, Simd, TILE_ROWS, WeightForm, WeightKind};

/// Arrays and loops.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

fn map<T: Copy, U, const N: usize>(a: [T; N], f: impl Fn(T) -> U) -> [U; N] {
    a.map(f)
}

fn zip<T: Copy, U, const N: usize>(a: [T; N], b: [T; N], f: impl Fn(T, T) -> U) -> [U; N] {
    std::array::from_fn(|i| f(a[i], b[i]))
}

/// Reads `N` unaligned little-endian values.
///
/// # Safety
/// `from` is valid for reading `N` values of `T`.
unsafe fn read<T: Copy, const N: usize>(from: *const T) -> [T; N] {
    // SAFETY: promised by the caller; the read is unaligned.
    unsafe { from.cast::<[T; N]>().read_unaligned() }
}

// SAFETY: no instructions beyond the target's baseline are used.
unsafe impl Simd for Portable {
    type F32 = [f32; LANES];
    type I32 = [i32; LANES];
    type Bytes = [u8; 32];
    type TileF32 = [f32; TILE_ROWS];

    const ROWS_PER_BYTES: usize = 1;
    const HAS_WIDE_TILES: bool = false;

    fn splat(self, value: f32) -> Self::F32 {
        [value; LANES]
    }
    unsafe fn load(self, from: *const f32) -> Self::F32 {
        // SAFETY: the caller's promise is this function's.
        unsafe { read(from) }
    }
    unsafe fn load_f16(self, from: *const u16) -> Self::F32 {
        // SAFETY: the caller's promise is this function's.
        let bits: [u16; LANES] = unsafe { read(from) };
        map(bits, |b| f16::from_bits(b).to_f32())
    }
    unsafe fn load_bf16(self, from: *const u16) -> Self::F32 {
        // SAFETY: the caller's promise is this function's.
        let bits: [u16; LANES] = unsafe { read(from) };
        map(bits, |b| f32::from_bits(u32::from(b) << 16))
    }
    unsafe fn store(self, value: Self::F32, to: *mut f32) {
        // SAFETY: the caller's promise is this function's.
        unsafe { to.cast::<Self::F32>().write_unaligned(value) }
    }
    fn add(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        zip(a, b, |a, b| a + b)
    }
    fn sub(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        zip(a, b, |a, b| a - b)
    }
    fn mul(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        zip(a, b, |a, b| a * b)
    }
    fn div(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        zip(a, b, |a, b| a / b)
    }
    fn fma(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32 {
        std::array::from_fn(|i| a[i].mul_add(b[i], c[i]))
    }
    fn max(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        zip(a, b, |a, b| if a > b { a } else { b })
    }
    fn min(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        zip(a, b, |a, b| if a < b { a } else { b })
    }
    fn round_to_i32(self, a: Self::F32) -> Self::I32 {
        map(a, |a| a.round_ties_even() as i32)
    }
    fn to_f32(self, a: Self::I32) -> Self::F32 {
        map(a, |a| a as f32)
    }
    fn f32_bits(self, a: Self::F32) -> Self::I32 {
        map(a, |a| a.to_bits() as i32)
    }
    fn f32_from_bits(self, a: Self::I32) -> Self::F32 {
        map(a, |a| f32::from_bits(a as u32))
    }

    fn splat_i32(self, value: i32) -> Self::I32 {
        [value; LANES]
    }
    unsafe fn store_i32(self, value: Self::I32, to: *mut i32) {
        // SAFETY: the caller's promise is this function's.
        unsafe { to.cast::<Self::I32>().write_unaligned(value) }
    }
    fn add_i32(self, a: Self::I32, b: Self::I32) -> Self::I32 {
        zip(a, b, i32::wrapping_add)
    }
    fn sub_i32(self, a: Self::I32, b: Self::I32) -> Self::I32 {
        zip(a, b, i32::wrapping_sub)
    }
    fn and_i32(self, a: Self::I32, b: Self::I32) -> Self::I32 {
        zip(a, b, |a, b| a & b)
    }
    fn or_i32(self, a: Self::I32, b: Self::I32) -> Self::I32 {
        zip(a, b, |a, b| a | b)
    }
    fn max_i32(self, a: Self::I32, b: Self::I32) -> Self::I32 {
        zip(a, b, i32::max)
    }
    fn shr_i32<const N: i32>(self, a: Self::I32) -> Self::I32 {
        map(a, |a| ((a as u32) >> N) as i32)
    }
    fn shl_i32<const N: i32>(self, a: Self::I32) -> Self::I32 {
        map(a, |a| a << N)
    }
    fn shr_i32_by(self, a: Self::I32, by: u32) -> Self::I32 {
        map(a, |a| ((a as u32) >> by) as i32)
    }
    fn sign_extend_byte(self, a: Self::I32) -> Self::I32 {
        map(a, |a| i32::from(a as i8))
    }

    unsafe fn gather_u32(self, from: *const u8, stride: usize) -> Self::I32 {
        // SAFETY: the caller promises eight reads, `stride` apart.
        std::array::from_fn(|r| unsafe { i32::from_le_bytes(read(from.add(r * stride))) })
    }
    fn f16_pairs_to_f32(self, a: Self::I32) -> [Self::F32; 2] {
        [0, 16].map(|at| map(a, |a| f16::from_bits((a as u32 >> at) as u16).to_f32()))
    }

    unsafe fn load_bytes(self, from: *const u8, _pair_stride: usize) -> Self::Bytes {
        // SAFETY: the caller promises 32 readable bytes.
        unsafe { read(from) }
    }
    unsafe fn load_nibbles(self, from: *const u8, _pair_stride: usize) -> Self::Bytes {
        // SAFETY: the caller promises 16 readable bytes.
        let packed: [u8; 16] = unsafe { read(from) };
        std::array::from_fn(|i| (packed[i % 16] >> (4 * (i / 16))) & 15)
    }
    unsafe fn load_bits_as_16(self, from: *const u8, _pair_stride: usize) -> Self::Bytes {
        // SAFETY: the caller promises 4 readable bytes.
        let bits = u32::from_le_bytes(unsafe { read(from) });
        std::array::from_fn(|i| ((bits >> i) as u8 & 1) << 4)
    }
    fn and_bytes(self, a: Self::Bytes, mask: u8) -> Self::Bytes {
        map(a, |a| a & mask)
    }
    fn or_bytes(self, a: Self::Bytes, b: Self::Bytes) -> Self::Bytes {
        zip(a, b, |a, b| a | b)
    }
    fn lookup_bytes(self, a: Self::Bytes, values: &[i8; 16]) -> Self::Bytes {
        map(a, |a| values[usize::from(a)] as u8)
    }
    fn shr_bytes<const N: i32>(self, a: Self::Bytes) -> Self::Bytes {
        on_u16(a, |v| v >> N)
    }
    fn shl_bytes<const N: i32>(self, a: Self::Bytes) -> Self::Bytes {
        on_u16(a, |v| v << N)
    }
    fn zero_bytes(self) -> Self::Bytes {
        [0; 32]
    }

    fn dot_rows(
        self,
        form: WeightForm,
        rows: &[Self::Bytes; LANES],
        x: &ActivationBlock,
        sums: &BlockSums,
    ) -> Self::I32 {
        let [first, second] = self.dot_row_halves(form, rows, x, sums);
        self.add_i32(first, second)
    }
    fn dot_row_halves(
        self,
        form: WeightForm,
        rows: &[Self::Bytes; LANES],
        x: &ActivationBlock,
        _sums: &BlockSums,
    ) -> [Self::I32; 2] {
        std::array::from_fn(|half| {
            std::array::from_fn(|r| {
                (16 * half..16 * half + 16)
                    .map(|i| weight(form.kind, rows[r][i]) * i32::from(x.0[i]))
                    .sum()
            })
        })
    }

    unsafe fn store_block(self, values: [Self::I32; 4], to: *mut ActivationBlock) {
        let block = ActivationBlock(std::array::from_fn(|i| values[i / LANES][i % LANES] as i16));
        // SAFETY: the caller promises that `to` is writable.
        unsafe { to.write(block) }
    }

    fn tile_splat(self, value: f32) -> Self::TileF32 {
        [value; TILE_ROWS]
    }
    unsafe fn tile_load(self, from: *const f32) -> Self::TileF32 {
        // SAFETY: the caller's promise is this function's.
        unsafe { read(from) }
    }
    unsafe fn tile_store(self, value: Self::TileF32, to: *mut f32) {
        // SAFETY: the caller's promise is this function's.
        unsafe { to.cast::<Self::TileF32>().write_unaligned(value) }
    }
    fn tile_halves(self, a: Self::TileF32) -> [Self::F32; 2] {
        [0, LANES].map(|first| std::array::from_fn(|i| a[first + i]))
    }
    fn tile_of(self, halves: [Self::F32; 2]) -> Self::TileF32 {
        std::array::from_fn(|i| halves[i / LANES][i % LANES])
    }
    fn tile_mul(self, a: Self::TileF32, b: Self::TileF32) -> Self::TileF32 {
        zip(a, b, |a, b| a * b)
    }
    fn tile_fma(self, a: Self::TileF32, b: Self::TileF32, c: Self::TileF32) -> Self::TileF32 {
        std::array::from_fn(|i| a[i].mul_add(b[i], c[i]))
    }

    fn prefetch(self, _at: *const u8) {}
}

fn weight(kind: WeightKind, byte: u8) -> i32 {
    match kind {
        WeightKind::Unsigned => i32::from(byte),
        WeightKind::Signed | WeightKind::LookedUp => i32::from(byte as i8),
    }
}

fn on_u16(bytes: [u8; 32], f: impl Fn(u16) -> u16) -> [u8; 32] {
    let mut out = [0; 32];
    for (out, pair) in out.chunks_exact_mut(2).zip(bytes.chunks_exact(2)) {
        out.copy_from_slice(&f(u16::from_le_bytes([pair[0], pair[1]])).to_le_bytes());
    }
    out
}
