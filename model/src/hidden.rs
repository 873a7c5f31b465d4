//! Hidden states as bytes, as they leave a device and come to another: `f32`, little-endian, row
//! after row. Every bit is kept.

use std::ops::Range;

use burn::tensor::Tensor;

use crate::{ModelError, SequenceStep, Shard, ops};

/// Bytes of a value.
const VALUE_BYTES: usize = size_of::<f32>();

impl Shard {
    /// Bytes of one position's hidden state.
    pub fn hidden_row_bytes(&self) -> usize {
        VALUE_BYTES * self.d_model()
    }

    /// Rows that came as bytes, a part for each sequence in their order, behind some of the shard's
    /// layers.
    ///
    /// # Errors
    /// A part is not as many rows as its sequence's step, or as
    /// [`forward_through`](Self::forward_through).
    pub fn forward_bytes<'a>(
        &self,
        layers: Range<usize>,
        parts: impl Iterator<Item = &'a [u8]> + Clone,
        sequences: &mut [SequenceStep<'_>],
    ) -> Result<Vec<Vec<u8>>, ModelError> {
        let counts: Vec<_> = sequences.iter().map(|sequence| sequence.count).collect();
        let wanted = counts.iter().map(|count| count * self.hidden_row_bytes());
        if !parts.clone().map(<[u8]>::len).eq(wanted) {
            return Err(ModelError::HiddenStates {
                bytes: parts.map(<[u8]>::len).sum(),
                d_model: self.d_model(),
            });
        }
        let hidden = self.hidden_from_bytes(parts)?;
        let hidden = self.forward_through(layers, hidden, sequences)?;
        Ok(self.hidden_to_bytes(hidden, counts.into_iter()))
    }

    /// Hidden states that came as bytes, the parts one after the other.
    ///
    /// # Shapes
    /// Each part whole rows, `[rows, d_model]`; the result `[Σ rows, d_model]`.
    ///
    /// # Errors
    /// A part is not whole rows.
    pub fn hidden_from_bytes<'a>(
        &self,
        parts: impl Iterator<Item = &'a [u8]> + Clone,
    ) -> Result<Tensor<2>, ModelError> {
        let row_bytes = self.hidden_row_bytes();
        let mut bytes = 0;
        for part in parts.clone() {
            if !part.len().is_multiple_of(row_bytes) {
                return Err(ModelError::HiddenStates {
                    bytes: part.len(),
                    d_model: self.d_model(),
                });
            }
            bytes += part.len();
        }
        let mut values = self.compute().buffers().take(bytes / VALUE_BYTES);
        let mut rest = values.as_mut_slice();
        for part in parts {
            let (into, after) = rest.split_at_mut(part.len() / VALUE_BYTES);
            let (from, _) = part.as_chunks::<VALUE_BYTES>();
            for (value, &bytes) in into.iter_mut().zip(from) {
                *value = f32::from_le_bytes(bytes);
            }
            rest = after;
        }
        Ok(ops::tensor_of(values, bytes / row_bytes, self.compute()))
    }

    /// Hidden states as bytes, cut into parts of so many rows each; rows beyond them are left out.
    ///
    /// # Shapes
    /// hidden `[rows, d_model]`.
    ///
    /// # Panics
    /// If there are fewer rows than `counts` add up to.
    pub fn hidden_to_bytes(
        &self,
        hidden: Tensor<2>,
        counts: impl Iterator<Item = usize>,
    ) -> Vec<Vec<u8>> {
        ops::with_values(hidden, self.compute(), |values| {
            let mut rest = values;
            let part = |count: usize| {
                let (part, after) = rest.split_at(count * self.d_model());
                rest = after;
                let mut bytes = vec![0; VALUE_BYTES * part.len()];
                let (into, _) = bytes.as_chunks_mut::<VALUE_BYTES>();
                for (bytes, value) in into.iter_mut().zip(part) {
                    *bytes = value.to_le_bytes();
                }
                bytes
            };
            counts.map(part).collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use crate::gguf::{Gguf, synth::SynthSpec};
    use crate::{Compute, Isa, ModelConfig, ModelError, Shard, ShardRange};

    fn shard_without_layers() -> Shard {
        let spec = SynthSpec::preset("tiny").expect("a preset");
        let gguf = Gguf::parse(spec.to_bytes().expect("valid")).expect("valid");
        let config = ModelConfig::from_gguf(&gguf).expect("valid");
        let range = ShardRange {
            embedding: false,
            layers: 0..0,
            head: false,
        };
        let compute = Compute::with_isa(Isa::SCALAR, Some(NonZeroUsize::MIN));
        Shard::load(&gguf, &config, range, compute).expect("nothing to load")
    }

    #[test]
    fn bytes_come_back_bit_for_bit_in_parts_of_another_cut() {
        let shard = shard_without_layers();
        let row = shard.hidden_row_bytes();
        // Any bits are values: infinities, subnormals and NaNs with a payload among them.
        let mut bytes: Vec<u8> = (0..3 * row).map(|i| (i * 151 % 256) as u8).collect();
        bytes[..12].copy_from_slice(&[0, 0, 128, 127, 1, 0, 0, 0, 1, 2, 160, 255]);
        let (first, second) = bytes.split_at(row);
        for _ in 0..2 {
            let hidden = shard.hidden_from_bytes([first, second].into_iter());
            let hidden = hidden.expect("whole rows");
            assert_eq!(hidden.dims(), [3, 256]);
            let parts = shard.hidden_to_bytes(hidden, [2, 0, 1].into_iter());
            assert_eq!(
                parts.iter().map(Vec::len).collect::<Vec<_>>(),
                [2 * row, 0, row]
            );
            assert!(parts.concat() == bytes);
        }
    }

    #[test]
    fn half_a_row_is_refused() {
        let shard = shard_without_layers();
        let bytes = vec![0; shard.hidden_row_bytes() + 4];
        let error = shard.hidden_from_bytes(std::iter::once(&bytes[..]));
        let error = error.expect_err("not whole rows");
        assert!(matches!(
            error,
            ModelError::HiddenStates {
                bytes: 1028,
                d_model: 256
            }
        ));
    }
}
