//! The key-value cache: keys and values of one sequence for a range of layers, in f16, or in f32 on
//! devices without f16. Layers with a sliding window keep a [ring](Ring) of the last positions.

mod reach;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::Arc;

use burn::tensor::{DType, Device, Element, Tensor, TensorData};
use half::f16;

use crate::compute::Compute;
use crate::kernels::cache::{BLOCK, CacheShape};
use crate::{ModelConfig, ModelError};

use crate::kv_ring::{ROLL_BACK, Ring};
pub use reach::Reach;

/// Storage for the keys and values of up to [`capacity`](KvCache::capacity) positions, fully
/// reserved on creation. A layer with a window has room for what it sees and some positions more.
#[derive(Debug)]
pub struct KvCache {
    layers: Range<usize>,
    sizes: Sizes,
    device: Device,
    of_layers: Vec<LayerCache>,
}

/// What the sizes of all layers' caches follow from.
#[derive(Debug, Clone)]
struct Sizes {
    capacity: usize,
    /// The shape of a layer's cache, of no positions.
    heads: CacheShape,
    /// The windows of all layers of the model.
    windows: Arc<[Option<usize>]>,
    roll_back: usize,
}

/// The keys and values of one layer. Always present, except while an operation takes them, updates
/// them in place and puts them back.
#[derive(Debug)]
pub(crate) struct LayerCache {
    keys_and_values: Option<[Tensor<1>; 2]>,
    heads: CacheShape,
    ring: Ring,
}

impl Sizes {
    /// The empty ring of a layer of the model.
    fn ring(&self, layer: usize) -> Ring {
        let window = self.windows.get(layer).copied().flatten();
        Ring::new(window, self.capacity, self.roll_back)
    }
}

impl LayerCache {
    /// A cache with this ring; `heads` gives the sizes of its heads.
    pub(crate) fn new(keys_and_values: [Tensor<1>; 2], heads: CacheShape, ring: Ring) -> Self {
        Self {
            keys_and_values: Some(keys_and_values),
            heads,
            ring,
        }
    }

    /// The sizes of its keys, and of its values.
    pub(crate) fn shape(&self) -> CacheShape {
        shape(self.heads, &self.ring)
    }

    /// The most positions to append before they are read.
    pub(crate) fn at_once(&self) -> usize {
        self.ring.at_once()
    }

    /// # Panics
    /// An operation that had taken them panicked.
    pub(crate) fn take(&mut self) -> [Tensor<1>; 2] {
        let taken = self.keys_and_values.take();
        taken.expect("put back by the operation before")
    }

    pub(crate) fn put(&mut self, keys_and_values: [Tensor<1>; 2]) {
        self.keys_and_values = Some(keys_and_values);
    }

    fn get(&self) -> &[Tensor<1>; 2] {
        let held = self.keys_and_values.as_ref();
        held.expect("put back by the operation before")
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
        let windows = config.attention.iter().map(|attention| attention.window);
        Self::with_windows(
            config,
            windows.collect(),
            layers,
            (capacity, ROLL_BACK),
            compute,
        )
    }

    /// Like [`KvCache::new`], but with these windows in place of the model's, for sequences that can
    /// always be cut back by so many positions.
    ///
    /// # Errors
    /// There is not enough memory.
    pub(crate) fn with_windows(
        config: &ModelConfig,
        windows: Arc<[Option<usize>]>,
        layers: Range<usize>,
        (capacity, roll_back): (usize, usize),
        compute: &Compute,
    ) -> Result<Self, ModelError> {
        let without_layers = Self {
            layers: layers.start..layers.start,
            sizes: Sizes {
                capacity,
                heads: config.cache_shape(),
                windows,
                roll_back,
            },
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
            sizes,
            device,
            of_layers,
        } = self;
        let mut kept: Vec<_> = of_layers.into_iter().map(Some).collect();
        let of_layers = layers.clone().map(|layer| {
            let kept = layer
                .checked_sub(before.start)
                .and_then(|at| kept.get_mut(at));
            match kept.and_then(Option::take) {
                Some(cache) => Ok(cache),
                None => reserve_layer(&sizes, layer, &device),
            }
        });
        Ok(Self {
            of_layers: of_layers.collect::<Result<_, ModelError>>()?,
            layers,
            sizes,
            device,
        })
    }

    /// Copies the first `len` positions into a new cache of `capacity` positions.
    ///
    /// # Errors
    /// There is not enough memory.
    ///
    /// # Panics
    /// Either cache has fewer positions than `len`, or this one does not [hold](Self::holds) `len`.
    pub fn copy_prefix(&self, len: usize, capacity: usize) -> Result<Self, ModelError> {
        assert!(len <= self.capacity() && len <= capacity);
        let sizes = Sizes {
            capacity,
            ..self.sizes.clone()
        };
        let is_f16 = dtype(&self.device) == DType::F16;
        let of_layers = self.layers.clone().zip(&self.of_layers);
        let of_layers = of_layers.map(|(layer, from)| {
            let mut ring = sizes.ring(layer);
            let blocks = ring.take(from.ring.held(len));
            let [keys, values] = from.get();
            let shapes = [from.shape(), shape(sizes.heads, &ring)];
            let copy = |tensor: &Tensor<1>| match is_f16 {
                true => copy_blocks::<f16>(tensor, shapes, blocks.clone()),
                false => copy_blocks::<f32>(tensor, shapes, blocks.clone()),
            };
            let copies = [copy(keys)?, copy(values)?];
            Ok(LayerCache::new(copies, sizes.heads, ring))
        });
        Ok(Self {
            of_layers: of_layers.collect::<Result<_, ModelError>>()?,
            layers: self.layers.clone(),
            sizes,
            device: self.device.clone(),
        })
    }

    /// Fills the blocks of 64 positions behind the first `len` positions, up to position `end`, with
    /// copies of those before. What attention reads there takes as long as any keys and values.
    ///
    /// # Panics
    /// The first block is not full, `end` is beyond the capacity, or the cache does not
    /// [hold](Self::holds) `len`.
    pub(crate) fn repeat(&mut self, len: usize, end: usize) {
        assert!(len >= BLOCK && end <= self.capacity());
        let is_f16 = dtype(&self.device) == DType::F16;
        for layer in &mut self.of_layers {
            let shape = layer.shape();
            layer.ring.append(len, end);
            // In a ring every later block lies where one of these did.
            let blocks = len / BLOCK..end.div_ceil(BLOCK).min(shape.blocks());
            let sizes = [shape.capacity * shape.head_dim, BLOCK * shape.head_dim];
            let repeated = layer.take().map(|tensor| match is_f16 {
                true => repeat::<f16>(tensor, sizes, blocks.clone()),
                false => repeat::<f32>(tensor, sizes, blocks.clone()),
            });
            layer.put(repeated);
        }
    }

    /// Whether a sequence with `len` positions, of those that were computed, can go on from there: no
    /// layer with a window has overwritten what the next position sees.
    pub fn holds(&self, len: usize) -> bool {
        self.of_layers.iter().all(|layer| layer.ring.holds(len))
    }

    /// Whether some of the layers can go on from `len` positions; as [`Self::holds`].
    pub(crate) fn layers_hold(&self, layers: Range<usize>, len: usize) -> bool {
        let own = &self.of_layers[self.within(layers)];
        own.iter().all(|layer| layer.ring.holds(len))
    }

    /// Notes that the positions from `start` up to `end` are computed in some of the layers.
    ///
    /// # Panics
    /// Not all of them [hold](Self::layers_hold) `start`.
    pub(crate) fn append(&mut self, layers: Range<usize>, start: usize, end: usize) {
        let own = self.within(layers);
        for layer in &mut self.of_layers[own] {
            layer.ring.append(start, end);
        }
    }

    fn within(&self, layers: Range<usize>) -> Range<usize> {
        layers.start - self.layers.start..layers.end - self.layers.start
    }

    /// Number of positions reserved.
    pub fn capacity(&self) -> usize {
        self.sizes.capacity
    }

    /// The range of layers.
    pub fn layers(&self) -> Range<usize> {
        self.layers.clone()
    }

    /// Bytes reserved.
    pub fn bytes(&self) -> usize {
        let elements = self.of_layers.iter().map(|layer| layer.shape().elements());
        2 * dtype(&self.device).size() * elements.sum::<usize>()
    }

    /// The first layer that contains a non-finite number.
    pub(crate) fn overflowed(&self) -> Option<usize> {
        let finite = |tensor: &Tensor<1>| {
            let data = tensor.to_data();
            data.iter::<f32>().all(f32::is_finite)
        };
        let overflowed = |cache: &LayerCache| !cache.keys_and_values.iter().flatten().all(finite);
        let at = self.of_layers.iter().position(overflowed)?;
        Some(self.layers.start + at)
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

/// The sizes of a layer's keys, and of its values.
fn shape(heads: CacheShape, ring: &Ring) -> CacheShape {
    CacheShape {
        capacity: ring.positions(),
        ..heads
    }
}

/// An empty cache of a layer of the model.
fn reserve_layer(sizes: &Sizes, layer: usize, device: &Device) -> Result<LayerCache, ModelError> {
    let ring = sizes.ring(layer);
    let elements = shape(sizes.heads, &ring).elements();
    let keys_and_values = [reserve(elements, device)?, reserve(elements, device)?];
    Ok(LayerCache::new(keys_and_values, sizes.heads, ring))
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

/// Copies blocks of the keys or values of a layer into a tensor of another capacity. Of both, each
/// head occupies one contiguous part, in which block `b` is the `b mod blocks`th.
fn copy_blocks<E: Element + Default>(
    tensor: &Tensor<1>,
    [from, to]: [CacheShape; 2],
    blocks: Range<usize>,
) -> Result<Tensor<1>, ModelError> {
    let size = BLOCK * from.head_dim;
    // Only what is used is read, unless it goes around the ring.
    let used = match blocks.end <= from.blocks() {
        true => blocks.clone(),
        false => 0..from.blocks(),
    };
    let data = (!used.is_empty()).then(|| {
        let all: Tensor<2> = tensor
            .clone()
            .reshape([from.kv_heads, from.blocks() * size]);
        all.narrow(1, used.start * size, used.len() * size)
            .into_data()
    });
    let data = data.as_ref().map(|data| data.as_slice::<E>());
    let all = data.map_or(&[][..], |data| data.expect("the cache's own type"));
    let mut values = with_room::<E>(to.elements())?;
    for head in 0..from.kv_heads {
        for place in 0..to.blocks() {
            // The block among them that lies here, if there is one.
            let behind = place + to.blocks() - blocks.start % to.blocks();
            let block = blocks.start + behind % to.blocks();
            match blocks.contains(&block) {
                true => {
                    let place = head * used.len() + block % from.blocks() - used.start;
                    values.extend_from_slice(&all[place * size..][..size]);
                }
                false => values.resize(values.len() + size, E::default()),
            }
        }
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
