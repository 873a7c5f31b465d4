//! Packs stored rows.

use super::super::grids;
use super::super::packed_format::{
    Coded, Format, GROUP, Iq4Nl, Iq4Xs, Mxfp4, Q2K, Q3K, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K,
    Q8_0, of_type,
};
use crate::TensorType;

/// Packs `count` of a group's sixteen rows, `row_bytes` each, side by side in `rows`, into `to`.
/// The lanes of rows that do not exist become zeros.
///
/// # Panics
/// If the type is not packed, or a size does not fit.
pub(crate) fn pack(tensor_type: TensorType, rows: &[u8], row_bytes: usize, to: &mut [u8]) {
    macro_rules! with {
        ($format:ty) => {
            pack_group::<$format>(rows, row_bytes, to)
        };
    }
    of_type!(tensor_type, with)
}

fn pack_group<F: Format>(rows: &[u8], row_bytes: usize, to: &mut [u8]) {
    let stored_bytes = F::TYPE.block_bytes();
    let count = rows.len() / row_bytes;
    assert!(rows.len() == count * row_bytes && (1..=GROUP).contains(&count));
    assert_eq!(to.len(), row_bytes / stored_bytes * F::BYTES);
    if count < GROUP {
        to.fill(0);
    }
    for (b, to) in to.chunks_exact_mut(F::BYTES).enumerate() {
        for (row, stored) in rows.chunks_exact(row_bytes).enumerate() {
            let stored = &stored[b * stored_bytes..][..stored_bytes];
            F::pack_head(stored, row, to);
            let subs = to[F::HEAD..].chunks_exact_mut(F::SUB_BYTES);
            for (sub, to) in subs.enumerate() {
                F::pack_scales(stored, sub, row, to);
                F::PLANES.write(F::codes(stored, sub), row, &mut to[F::SCALES..]);
            }
        }
    }
}
