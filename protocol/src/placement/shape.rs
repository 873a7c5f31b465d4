//! A model in the numbers that placing its layers depends on.

use crate::profile::Quantisation;

/// Models of more layers are refused.
pub const MOST_LAYERS: usize = 256;

/// A model in numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelShape {
    /// Its transformer blocks, in order.
    pub layers: Vec<LayerShape>,
    /// Values of a position's hidden state.
    pub d_model: u32,
    /// Bytes of the token embedding.
    pub embedding_bytes: u64,
    /// Bytes of the token embedding that one token reads.
    pub embedding_row_bytes: u64,
    /// Output norm and language-model head, all of which a step reads.
    pub head: Vec<Weights>,
    /// Multiply-adds of the head for a position.
    pub head_multiply_adds: u64,
    /// Whether the head's matrix is the embedding, so that memory holds it once.
    pub head_is_embedding: bool,
}

/// One transformer block in numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerShape {
    /// Its weights, by format.
    pub weights: Vec<Weights>,
    /// Multiply-adds of its matrices for a position.
    pub multiply_adds: u64,
    /// Bytes that a position takes in its KV cache.
    pub kv_bytes_per_position: u64,
    /// Positions that attention looks back at; `None` if at all.
    pub window: Option<u32>,
    /// The most positions that its KV cache has room for; `None` if for the whole context.
    pub most_kv_positions: Option<u32>,
}

/// Weights of one format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weights {
    /// The format.
    pub quantisation: Quantisation,
    /// Bytes in it.
    pub bytes: u64,
}

impl ModelShape {
    /// Bytes of what stays with the requester: embedding, output norm and head.
    pub fn ends_bytes(&self) -> u64 {
        let head = bytes_of(&self.head);
        if self.head_is_embedding {
            self.embedding_bytes.max(head)
        } else {
            self.embedding_bytes.saturating_add(head)
        }
    }

    /// Bytes of the whole model and of the KV caches of `context` positions.
    pub fn bytes_with_context(&self, context: u32) -> u64 {
        let layers = self.layers.iter().map(|layer| layer.memory_bytes(context));
        layers.fold(self.ends_bytes(), u64::saturating_add)
    }
}

impl LayerShape {
    /// Bytes of its weights and of KV cache for `context` positions.
    pub fn memory_bytes(&self, context: u32) -> u64 {
        let positions = self
            .most_kv_positions
            .map_or(context, |most| most.min(context));
        let kv = self
            .kv_bytes_per_position
            .saturating_mul(u64::from(positions));
        bytes_of(&self.weights).saturating_add(kv)
    }

    /// Bytes of KV cache that a row reads which follows `positions` others.
    pub(super) fn kv_bytes_read(&self, positions: u32) -> u64 {
        let seen = self
            .window
            .map_or(positions, |window| window.min(positions));
        self.kv_bytes_per_position.saturating_mul(u64::from(seen))
    }
}

pub(super) fn bytes_of(weights: &[Weights]) -> u64 {
    let bytes = weights.iter().map(|weights| weights.bytes);
    bytes.fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tied_head_is_held_once_and_a_window_bounds_what_is_read() {
        let weights = |bytes| Weights {
            quantisation: Quantisation(2),
            bytes,
        };
        let layer = LayerShape {
            weights: vec![weights(100), weights(20)],
            multiply_adds: 200,
            kv_bytes_per_position: 4,
            window: Some(512),
            most_kv_positions: Some(1_100),
        };
        assert_eq!(layer.memory_bytes(1_000), 4_120);
        assert_eq!(layer.memory_bytes(2_000), 4_520);
        assert_eq!(layer.kv_bytes_read(100), 400);
        assert_eq!(layer.kv_bytes_read(1_000), 2_048);

        let mut model = ModelShape {
            layers: vec![layer.clone(), layer],
            d_model: 8,
            embedding_bytes: 50,
            embedding_row_bytes: 1,
            head: vec![weights(50), weights(1)],
            head_multiply_adds: 100,
            head_is_embedding: true,
        };
        assert_eq!(model.ends_bytes(), 51);
        model.head_is_embedding = false;
        assert_eq!(model.ends_bytes(), 101);
        assert_eq!(model.bytes_with_context(10), 101 + 2 * 160);
        assert_eq!(model.bytes_with_context(0), 101 + 2 * 120);
    }
}
