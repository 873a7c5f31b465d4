//! Formats whose weights are numbers of a table of sixteen values.

use std::marker::PhantomData;

use super::super::dequantise::iq4_xs_scale;
use super::super::grids::Grid;
use super::super::planes::{GROUP, Planes};
use super::super::simd::{WORDS, WeightKind, Words};
use super::super::values;
use super::{Format, Halves, Scales, Whole, nibbles, put_half};
use crate::TensorType;

/// Looks words up in a table.
#[inline(always)]
fn looked_up<S: Words>(s: S, table: S::Table, mut words: [S::Word; WORDS]) -> [S::Word; WORDS] {
    for word in &mut words {
        *word = s.word_lookup(*word, table);
    }
    words
}

/// Formats of 32 weights a block, all of which have one scale, read by `$read`.
macro_rules! table_format {
    ($(#[$doc:meta])* $name:ident: $type:ident, $values:ident, $scale:literal bytes, $read:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy)]
        pub(crate) struct $name;

        impl Format for $name {
            const TYPE: TensorType = TensorType::$type;
            const PLANES: Planes = Planes::Nibbles;
            const KIND: WeightKind = WeightKind::LookedUp;
            const HEAD: usize = 0;
            const SCALES: usize = GROUP * $scale;

            type Terms = Whole;
            type Head<S: Words> = S::Table;

            #[inline(always)]
            unsafe fn head<S: Words>(s: S, _block: *const u8, _first: usize) -> S::Table {
                // SAFETY: sixteen values.
                unsafe { s.table(values::$values.as_ptr().cast()) }
            }
            #[inline(always)]
            unsafe fn scales<S: Words>(
                s: S,
                _head: &S::Table,
                sub: *const u8,
                first: usize,
            ) -> Scales<S> {
                // SAFETY: a scale for each of sixteen rows.
                let d = unsafe { s.$read(sub.add($scale * first)) };
                Scales {
                    d: [d, d],
                    m: [d, d],
                }
            }
            #[inline(always)]
            fn looked_up<S: Words>(
                s: S,
                head: &S::Table,
                words: [S::Word; WORDS],
            ) -> [S::Word; WORDS] {
                looked_up(s, *head, words)
            }

            fn pack_head(_stored: &[u8], _row: usize, _to: &mut [u8]) {}
            fn pack_scales(stored: &[u8], _sub: usize, row: usize, to: &mut [u8]) {
                to[$scale * row..$scale * (row + 1)].copy_from_slice(&stored[..$scale]);
            }
            fn codes(stored: &[u8], _sub: usize) -> [u32; WORDS] {
                nibbles(stored, $scale)
            }
        }
    };
}

table_format! {
    Iq4Nl: IQ4_NL, IQ4, 2 bytes, floats_from_f16
}
table_format! {
    Mxfp4: MXFP4, FP4, 1 bytes, floats_from_exponents
}

/// `d` of a block, and the table.
#[derive(Clone, Copy)]
pub(crate) struct TableHead<S: Words> {
    d: S::Floats,
    table: S::Table,
}

#[derive(Clone, Copy)]
pub(crate) struct Iq4Xs;

impl Format for Iq4Xs {
    const TYPE: TensorType = TensorType::IQ4_XS;
    const PLANES: Planes = Planes::Nibbles;
    const KIND: WeightKind = WeightKind::LookedUp;
    const HEAD: usize = 2 * GROUP;
    const SCALES: usize = GROUP;

    type Terms = Whole;
    type Head<S: Words> = TableHead<S>;

    #[inline(always)]
    unsafe fn head<S: Words>(s: S, block: *const u8, first: usize) -> TableHead<S> {
        // SAFETY: sixteen `f16`; sixteen values.
        unsafe {
            TableHead {
                d: s.floats_from_f16(block.add(2 * first)),
                table: s.table(values::IQ4.as_ptr().cast()),
            }
        }
    }
    #[inline(always)]
    unsafe fn scales<S: Words>(
        s: S,
        head: &TableHead<S>,
        sub: *const u8,
        first: usize,
    ) -> Scales<S> {
        // SAFETY: sixteen signed bytes. The product is exact (11 + 6 bits).
        let d = unsafe { s.floats_mul(head.d, s.floats_from_i8(sub.add(first))) };
        Scales {
            d: [d, d],
            m: [d, d],
        }
    }
    #[inline(always)]
    fn looked_up<S: Words>(s: S, head: &TableHead<S>, words: [S::Word; WORDS]) -> [S::Word; WORDS] {
        looked_up(s, head.table, words)
    }

    fn pack_head(stored: &[u8], row: usize, to: &mut [u8]) {
        put_half(stored, 0, row, to);
    }
    fn pack_scales(stored: &[u8], sub: usize, row: usize, to: &mut [u8]) {
        to[row] = iq4_xs_scale(stored, sub) as u8;
    }
    fn codes(stored: &[u8], sub: usize) -> [u32; WORDS] {
        nibbles(stored, 8 + 16 * sub)
    }
}

/// The types of [`Grid`]. Their head has the table and the unit, so that products are the same for
/// all of them; a sub-block has a byte of scale for each half of each row.
#[derive(Clone, Copy)]
pub(crate) struct Coded<G>(PhantomData<G>);

/// Where the table and the unit lie in the head.
const TABLE: usize = 2 * GROUP;
const UNIT: usize = TABLE + 16;

impl<G: Grid> Format for Coded<G> {
    const TYPE: TensorType = G::TYPE;
    const PLANES: Planes = Planes::Nibbles;
    const KIND: WeightKind = WeightKind::LookedUp;
    const AT_ONCE: usize = 2;
    const HEAD: usize = UNIT + 16;
    const SCALES: usize = 2 * GROUP;

    type Terms = Halves;
    type Head<S: Words> = TableHead<S>;

    #[inline(always)]
    unsafe fn head<S: Words>(s: S, block: *const u8, first: usize) -> TableHead<S> {
        // SAFETY: sixteen `f16`, sixteen values, and an `f32`. The product is exact.
        unsafe {
            let unit = f32::from_le_bytes(block.add(UNIT).cast::<[u8; 4]>().read());
            let d = s.floats_from_f16(block.add(2 * first));
            TableHead {
                d: s.floats_mul(d, s.floats(unit)),
                table: s.table(block.add(TABLE)),
            }
        }
    }
    #[inline(always)]
    unsafe fn scales<S: Words>(
        s: S,
        head: &TableHead<S>,
        sub: *const u8,
        first: usize,
    ) -> Scales<S> {
        // SAFETY: sixteen bytes for each half. The products are exact (11 + 5 bits).
        unsafe {
            let a = s.floats_mul(head.d, s.floats_from_u8(sub.add(first)));
            let b = s.floats_mul(head.d, s.floats_from_u8(sub.add(GROUP + first)));
            Scales {
                d: [a, b],
                m: [a, b],
            }
        }
    }
    #[inline(always)]
    fn looked_up<S: Words>(s: S, head: &TableHead<S>, words: [S::Word; WORDS]) -> [S::Word; WORDS] {
        looked_up(s, head.table, words)
    }

    fn pack_head(stored: &[u8], row: usize, to: &mut [u8]) {
        put_half(stored, G::D, row, to);
        let values = G::VALUES.map(|value| value as u8);
        to[TABLE..UNIT].copy_from_slice(&values);
        to[UNIT..Self::HEAD].fill(0);
        to[UNIT..UNIT + 4].copy_from_slice(&G::UNIT.to_le_bytes());
    }
    fn pack_scales(stored: &[u8], sub: usize, row: usize, to: &mut [u8]) {
        [to[row], to[GROUP + row]] = G::sub_block(stored, sub).scales;
    }
    fn codes(stored: &[u8], sub: usize) -> [u32; WORDS] {
        G::sub_block(stored, sub).codes
    }
}
