//! The key-value cache: keys and values of one sequence for a range of layers, in f16, or in f32 on
//! devices without f16.

use std::ops::Range;

use burn::tensor::{DType, Device, Element, Tensor, TensorData};
use half::f16;

use crate::compute::Compute;
use crate::kernels::cache::{BLOCK, CacheShape};
use crate::{ModelConfig, ModelError};

/// Storage for the keys and values of up to [`capacity`](KvCache::capacity) positions, fully
/// reserved on creation.
#[derive(Debug)]
pub struct KvCache {
    layers: Range<usize>,
    shape: CacheShape,
    capacity: usize,
    device: Device,
    of_layers: Vec<LayerCache>,
}

/// The keys and values of one layer. Always present, except while an operation takes them, updates
/// them in place and puts them back.
#[derive(Debug)]
pub(crate) struct LayerCache(Option<[Tensor<1>; 2]>);

impl LayerCache {
    pub(crate) fn new(keys_and_values: [Tensor<1>; 2]) -> Self {
        Self(Some(keys_and_values))
    }

    /// # Panics
    /// An operation that had taken them panicked.
    pub(crate) fn take(&mut self) -> [Tensor<1>; 2] {
        self.0.take().expect("put back by the operation before")
    }

    pub(crate) fn put(&mut self, keys_and_values: [Tensor<1>; 2]) {
        self.0 = Some(keys_and_values);
    }
}

impl KvCache {
    /// Reserves room for `capacity` positions of `layers` on the device of `compute`.
    ///
    /// # Errors
    /// There is not enough memory.
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

    /// Converts the cache to another range of layers of the same sequence. Layers in both ranges
    /// keep their contents; the others are new.
    ///
    /// # Errors
    /// There is not enough memory.
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

    /// Copies the first `len` positions into a new cache of `capacity` positions.
    ///
    /// # Errors
    /// There is not enough memory.
    ///
    /// # Panics
    /// Either cache has fewer positions than `len`.
    pub fn copy_prefix(&self, len: usize, capacity: usize) -> Result<Self, ModelError> {
        assert!(len <= self.capacity && len <= capacity);
        let shape = CacheShape {
            capacity: capacity.next_multiple_of(BLOCK),
            ..self.shape
        };
        let copy = |tensor: &Tensor<1>| match dtype(&self.device) {
            DType::F16 => copy_prefix::<f16>(tensor, [self.shape, shape], len),
            _ => copy_prefix::<f32>(tensor, [self.shape, shape], len),
        };
        let of_layers = self.of_layers.iter().map(|layer| {
            let [keys, values] = layer.0.as_ref().expect("put back by the operation before");
            Ok(LayerCache::new([copy(keys)?, copy(values)?]))
        });
        Ok(Self {
            of_layers: of_layers.collect::<Result<_, ModelError>>()?,
            layers: self.layers.clone(),
            shape,
            capacity,
            device: self.device.clone(),
        })
    }

    /// Fills the blocks of 64 positions behind the first `len` positions, up to position `end`, with
    /// copies of those before. What attention reads there takes as long as any keys and values.
    ///
    /// # Panics
    /// The first block is not full, or `end` is beyond the capacity.
    pub(crate) fn repeat(&mut self, len: usize, end: usize) {
        let (first, end) = (len / BLOCK, end.div_ceil(BLOCK));
        assert!(first > 0 && end * BLOCK <= self.shape.capacity);
        let block = BLOCK * self.shape.head_dim;
        let of_head = self.shape.capacity * self.shape.head_dim;
        let is_f16 = dtype(&self.device) == DType::F16;
        for layer in &mut self.of_layers {
            let repeated = layer.take().map(|tensor| match is_f16 {
                true => repeat::<f16>(tensor, [of_head, block], first..end),
                false => repeat::<f32>(tensor, [of_head, block], first..end),
            });
            layer.put(repeated);
        }
    }

    /// Number of positions reserved.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// The range of layers.
    pub fn layers(&self) -> Range<usize> {
        self.layers.clone()
    }

    /// Bytes reserved.
    pub fn bytes(&self) -> usize {
        2 * dtype(&self.device).size() * self.shape.elements() * self.layers.len()
    }

    /// The first layer that contains a non-finite number.
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

/// Element type of a cache on this device.
fn dtype(device: &Device) -> DType {
    if device.supports_dtype(DType::F16) {
        DType::F16
    } else {
        DType::F32
    }
}

/// Allocates zeros and writes them, because the system may only promise memory. A shortage then
/// shows here instead of in the middle of a conversation.
fn reserve(elements: usize, device: &Device) -> Result<Tensor<1>, ModelError> {
    let dtype = dtype(device);
    let data = match dtype {
        DType::F16 => zeros::<f16>(elements)?,
        _ => zeros::<f32>(elements)?,
    };
    Ok(Tensor::from_data(data, (device, dtype)))
}

fn zeros<E: Element + Default>(elements: usize) -> Result<TensorData, ModelError> {
    let mut values = with_room::<E>(elements)?;
    values.resize(elements, E::default());
    Ok(TensorData::new(values, [elements]))
}

/// Copies the keys or values of a layer's first `len` positions into a tensor of another capacity.
/// Each head occupies one contiguous block of positions, whatever the capacity.
fn copy_prefix<E: Element + Default>(
    tensor: &Tensor<1>,
    [from, to]: [CacheShape; 2],
    len: usize,
) -> Result<Tensor<1>, ModelError> {
    let heads = from.kv_heads;
    let of_head = |positions: usize| positions.next_multiple_of(BLOCK) * from.head_dim;
    let prefix: Tensor<2> = tensor.clone().reshape([heads, of_head(from.capacity)]);
    let prefix = prefix.narrow(1, 0, of_head(len).max(1)).into_data();
    let prefix = prefix.as_slice::<E>().expect("the cache's own type");
    let mut values = with_room::<E>(to.elements())?;
    for head in prefix.chunks_exact(prefix.len() / heads) {
        values.extend_from_slice(&head[..of_head(len)]);
        let end = values.len() + of_head(to.capacity) - of_head(len);
        values.resize(end, E::default());
    }
    let data = TensorData::new(values, [to.elements()]);
    let device = tensor.device();
    Ok(Tensor::from_data(data, (&device, E::dtype())))
}

/// In each head, which takes `of_head` elements, replaces the blocks by copies of those before.
fn repeat<E: Element>(
    tensor: Tensor<1>,
    [of_head, block]: [usize; 2],
    blocks: Range<usize>,
) -> Tensor<1> {
    let device = tensor.device();
    let mut data = tensor.into_data();
    let values = data.as_mut_slice::<E>().expect("the cache's own type");
    for head in values.chunks_exact_mut(of_head) {
        for to in blocks.clone() {
            let from = to % blocks.start * block;
            head.copy_within(from..from + block, to * block);
        }
    }
    Tensor::from_data(data, (&device, E::dtype()))
}

fn with_room<E>(elements: usize) -> Result<Vec<E>, ModelError> {
    let mut values = Vec::new();
    let missing = |_| ModelError::OutOfMemory {
        bytes: elements.saturating_mul(size_of::<E>()),
    };
    values.try_reserve_exact(elements).map_err(missing)?;
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::Gguf;
    use crate::gguf::synth::SynthSpec;

    #[test]
    fn blocks_are_repeated_within_each_head() {
        let spec = SynthSpec::preset("tiny").expect("a preset");
        let gguf = Gguf::parse(spec.to_bytes().expect("valid")).expect("valid");
        let config = ModelConfig::from_gguf(&gguf).expect("valid");
        let compute = Compute::new(None).expect("a usable instruction set");
        let mut cache = KvCache::new(&config, 0..1, 256, &compute).expect("memory");
        let [keys, values] = cache.layer(0).take();
        let device = keys.device();
        let dtype = dtype(&device);
        let numbers = |count: usize| (0..count).map(|i| (i % 1021) as f32).collect::<Vec<_>>();
        let count = keys.dims()[0];
        let filled = TensorData::new(numbers(count), [count]).convert_dtype(dtype);
        let filled = Tensor::<1>::from_data(filled, (&device, dtype));
        cache.layer(0).put([filled, values]);
        cache.repeat(150, 193);
        let [keys, _] = cache.layer(0).take();
        let keys: Vec<f32> = keys.into_data().iter::<f32>().collect();
        let block = BLOCK * cache.shape().head_dim;
        let expected = numbers(count);
        for (head, expected) in keys
            .chunks_exact(4 * block)
            .zip(expected.chunks_exact(4 * block))
        {
            assert_eq!(head[..2 * block], expected[..2 * block]);
            assert_eq!(head[2 * block..], expected[..2 * block]);
        }
    }
}
