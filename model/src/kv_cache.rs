//! The keys and values of one sequence, for a range of layers, in f16; in f32 on a device that has
//! no f16.

use std::ops::Range;

use burn::tensor::{DType, Device, Element, Tensor, TensorData};
use half::f16;

use crate::compute::Compute;
use crate::kernels::cache::CacheShape;
use crate::{ModelConfig, ModelError};

/// Memory for the keys and values of up to [`capacity`](KvCache::capacity) positions, reserved
/// whole when it is made.
#[derive(Debug)]
pub struct KvCache {
    layers: Range<usize>,
    shape: CacheShape,
    capacity: usize,
    device: Device,
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
    /// Reserves room for `capacity` positions of `layers`, where `compute` has its tensors.
    ///
    /// # Errors
    /// The system has no such memory.
    pub fn new(
        config: &ModelConfig,
        layers: Range<usize>,
        capacity: usize,
        compute: &Compute,
    ) -> Result<Self, ModelError> {
        let without_layers = Self {
            layers: layers.start..layers.start,
            shape: config.cache_shape(capacity),
            capacity,
            device: compute.device().clone(),
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
            device,
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
                None => {
                    let reserve = || reserve(elements, &device);
                    Ok(LayerCache::new([reserve()?, reserve()?]))
                }
            }
        });
        Ok(Self {
            of_layers: of_layers.collect::<Result<_, ModelError>>()?,
            layers,
            shape,
            capacity,
            device,
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
        2 * dtype(&self.device).size() * self.shape.elements() * self.layers.len()
    }

    /// The first layer that holds a number which is not finite.
    pub(crate) fn overflowed(&self) -> Option<usize> {
        let finite = |tensor: &Tensor<1>| {
            let data = tensor.to_data();
            data.iter::<f32>().all(f32::is_finite)
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

/// The type of a cache's numbers.
fn dtype(device: &Device) -> DType {
    if device.supports_dtype(DType::F16) {
        DType::F16
    } else {
        DType::F32
    }
}

/// Zeros, written and not only promised by the system, so that memory is found missing here and
/// not in the middle of a conversation.
fn reserve(elements: usize, device: &Device) -> Result<Tensor<1>, ModelError> {
    let dtype = dtype(device);
    let data = match dtype {
        DType::F16 => zeros::<f16>(elements)?,
        _ => zeros::<f32>(elements)?,
    };
    Ok(Tensor::from_data(data, (device, dtype)))
}

fn zeros<E: Element + Default>(elements: usize) -> Result<TensorData, ModelError> {
    let mut values: Vec<E> = Vec::new();
    let missing = |_| ModelError::OutOfMemory {
        bytes: elements.saturating_mul(size_of::<E>()),
    };
    values.try_reserve_exact(elements).map_err(missing)?;
    values.resize(elements, E::default());
    Ok(TensorData::new(values, [elements]))
}
