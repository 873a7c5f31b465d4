//! The keys and values of one sequence, for a range of layers, in f16.

use std::ops::Range;

use burn::backend::flex::{FlexTensor, Layout};
use burn::backend::{Bytes, DType, Flex, Shape};
use burn::tensor::Tensor;
use half::f16;

use crate::kernels::cache::CacheShape;
use crate::{ModelConfig, ModelError};

/// Memory for the keys and values of up to [`capacity`](KvCache::capacity) positions, reserved
/// whole when it is made.
#[derive(Debug)]
pub struct KvCache {
    layers: Range<usize>,
    shape: CacheShape,
    capacity: usize,
    of_layers: Vec<LayerCache>,
}

/// The keys and values of one layer: always there but while an operation updates them in place,
/// which takes them and puts them back.
#[derive(Debug)]
pub(crate) struct LayerCache(Option<[Tensor<1>; 2]>);

impl LayerCache {
    pub(crate) fn new(keys_and_values: [Tensor<1>; 2]) -> Self {
        Self(Some(keys_and_values))
    }

    /// # Panics
    /// If an operation that took them panicked.
    pub(crate) fn take(&mut self) -> [Tensor<1>; 2] {
        self.0.take().expect("put back by the operation before")
    }

    pub(crate) fn put(&mut self, keys_and_values: [Tensor<1>; 2]) {
        self.0 = Some(keys_and_values);
    }
}

impl KvCache {
    /// Reserves room for `capacity` positions of `layers`.
    ///
    /// # Errors
    /// The system has no such memory.
    pub fn new(
        config: &ModelConfig,
        layers: Range<usize>,
        capacity: usize,
    ) -> Result<Self, ModelError> {
        let without_layers = Self {
            layers: layers.start..layers.start,
            shape: config.cache_shape(capacity),
            capacity,
            of_layers: Vec::new(),
        };
        without_layers.for_layers(layers)
    }

    /// The cache of other layers of the same sequence: those that it already has keep what they hold,
    /// the others are new.
    ///
    /// # Errors
    /// The system has no such memory.
    pub fn for_layers(self, layers: Range<usize>) -> Result<Self, ModelError> {
        let Self {
            layers: before,
            shape,
            capacity,
            of_layers,
        } = self;
        let elements = shape.elements();
        let mut kept: Vec<_> = of_layers.into_iter().map(Some).collect();
        let of_layers = layers.clone().map(|layer| {
            let kept = layer
                .checked_sub(before.start)
                .and_then(|at| kept.get_mut(at));
            match kept.and_then(Option::take) {
                Some(cache) => Ok(cache),
                None => Ok(LayerCache::new([reserve(elements)?, reserve(elements)?])),
            }
        });
        Ok(Self {
            of_layers: of_layers.collect::<Result<_, ModelError>>()?,
            layers,
            shape,
            capacity,
        })
    }

    /// Positions there is room for.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// The layers it serves.
    pub fn layers(&self) -> Range<usize> {
        self.layers.clone()
    }

    /// Bytes reserved.
    pub fn bytes(&self) -> usize {
        2 * size_of::<f16>() * self.shape.elements() * self.layers.len()
    }

    /// The first layer that holds a number which is not finite.
    pub(crate) fn overflowed(&self) -> Option<usize> {
        let finite = |tensor: &Tensor<1>| {
            let tensor = tensor.clone().try_into_primitive::<Flex>().ok();
            let values = tensor.as_ref().and_then(FlexTensor::as_slice::<f16>);
            values.is_none_or(|values| values.iter().all(|value| value.is_finite()))
        };
        let overflowed = |cache: &LayerCache| !cache.0.iter().flatten().all(finite);
        let at = self.of_layers.iter().position(overflowed)?;
        Some(self.layers.start + at)
    }

    pub(crate) fn shape(&self) -> CacheShape {
        self.shape
    }

    pub(crate) fn layer(&mut self, layer: usize) -> &mut LayerCache {
        &mut self.of_layers[layer - self.layers.start]
    }
}

/// Zeros, written and not only promised by the system, so that memory is found missing here and
/// not in the middle of a conversation.
fn reserve(elements: usize) -> Result<Tensor<1>, ModelError> {
    let mut values: Vec<f16> = Vec::new();
    let missing = |_| ModelError::OutOfMemory {
        bytes: elements.saturating_mul(size_of::<f16>()),
    };
    values.try_reserve_exact(elements).map_err(missing)?;
    values.resize(elements, f16::ZERO);
    let layout = Layout::contiguous(Shape::from(vec![elements]));
    let tensor = FlexTensor::new(Bytes::from_elems(values), layout, DType::F16);
    Ok(Tensor::from_primitive::<Flex>(tensor))
}
